//! Asynchronous jobs: requests whose client comes back for the answer.
//!
//! Fetching an answer forgets it. Jobs are their owner's; those of others are as unknown as those that never were.
//! Source: `spec/arangodb.md` 4.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use haversack_model::Timestamp;
use http::Method;
use serde_json::{Value, json};

use super::ASYNC_ID;
use super::answer::Answer;
use super::call::Call;
use super::problem::{Problem, Result};
use crate::wire::errors::ErrorNum;

/// Most jobs of one owner that are remembered, running ones included.
const MAX_JOBS: usize = 1000;
/// Most bytes of answers that wait for one owner.
const MAX_BYTES: usize = 256 << 20;

#[derive(Debug, Default)]
pub(crate) struct Jobs(Mutex<BTreeMap<u64, Job>>);

#[derive(Debug)]
struct Job {
    owner: String,
    begun_at: Timestamp,
    answer: Option<Answer>,
}

impl Jobs {
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Job>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// Remembers that a job began.
    pub(crate) fn begin(&self, id: u64, owner: &str, now: Timestamp) -> Result<()> {
        let mut jobs = self.lock();
        let own = jobs.values().filter(|job| job.owner == owner);
        let (count, bytes) = own.fold((0, 0), |(count, bytes), job| {
            (
                count + 1,
                bytes + job.answer.as_ref().map_or(0, Answer::len),
            )
        });
        if count >= MAX_JOBS || bytes >= MAX_BYTES {
            let text = "too many jobs: fetch or delete the results of earlier ones";
            return Err(Problem::told(ErrorNum::HttpUnavailable, text));
        }
        let job = Job {
            owner: owner.to_owned(),
            begun_at: now,
            answer: None,
        };
        jobs.insert(id, job);
        Ok(())
    }
    /// Keeps what came out of a job, unless it was deleted meanwhile.
    pub(crate) fn end(&self, id: u64, answer: Answer) {
        if let Some(job) = self.lock().get_mut(&id) {
            job.answer = Some(answer);
        }
    }
}

/// `/_api/job` and what is below it.
pub(crate) fn dispatch(call: &Call, words: &[&str]) -> Result<Answer> {
    call.require_login()?;
    match (&call.method, words) {
        (&Method::PUT, [id]) => fetch(call, number(id)?),
        (&Method::PUT, [id, "cancel"]) => cancel(call, number(id)?),
        (&Method::GET, [word]) => match number(word) {
            Ok(id) => Ok(Answer::empty(state(call, id)?)),
            Err(_a_kind) => list(call, word),
        },
        (&Method::DELETE, [word]) => delete(call, word),
        (&Method::PUT | &Method::GET | &Method::DELETE, _) => {
            Err(Problem::bad_parameter("the id of a job is needed"))
        }
        _ => Err(Problem::of(ErrorNum::HttpMethodNotAllowed)),
    }
}

fn number(text: &str) -> Result<u64> {
    let fits = text.starts_with(|c: char| ('1'..='9').contains(&c));
    let number = fits.then(|| text.parse().ok()).flatten();
    number.ok_or_else(|| Problem::bad_parameter("this is not the id of a job"))
}

fn unknown() -> Problem {
    Problem::of(ErrorNum::HttpNotFound)
}

/// The status that tells how far a job is.
fn state(call: &Call, id: u64) -> Result<u16> {
    let jobs = call.face.jobs.lock();
    let job = jobs.get(&id).filter(|job| job.owner == call.principal.name);
    let job = job.ok_or_else(unknown)?;
    Ok(if job.answer.is_some() { 200 } else { 204 })
}

fn fetch(call: &Call, id: u64) -> Result<Answer> {
    if state(call, id)? == 204 {
        return Ok(Answer::empty(204));
    }
    let answer = call.face.jobs.lock().remove(&id).and_then(|job| job.answer);
    Ok(answer.ok_or_else(unknown)?.with(ASYNC_ID, &id.to_string()))
}

fn cancel(call: &Call, id: u64) -> Result<Answer> {
    state(call, id)?;
    call.face
        .appliers
        .stop_all_of(&call.route.database, &call.principal);
    Ok(Answer::json(200, json!({"result": true})))
}

fn list(call: &Call, kind: &str) -> Result<Answer> {
    let is_done = match kind {
        "done" => true,
        "pending" => false,
        _ => return Err(Problem::bad_parameter("use done or pending")),
    };
    let count = call.number("count")?.unwrap_or(100);
    let jobs = call.face.jobs.lock();
    let wanted = jobs
        .iter()
        .filter(|(_, job)| job.owner == call.principal.name && job.answer.is_some() == is_done);
    let ids = wanted
        .take(count as usize)
        .map(|(id, _)| Value::from(id.to_string()));
    Ok(Answer::json(200, Value::Array(ids.collect())))
}

fn delete(call: &Call, word: &str) -> Result<Answer> {
    let mut jobs = call.face.jobs.lock();
    let is_own = |job: &Job| job.owner == call.principal.name;
    match word {
        "all" => jobs.retain(|_, job| !is_own(job)),
        "expired" => {
            let stamp = call.number("stamp")?;
            let stamp = stamp.ok_or_else(|| Problem::bad_parameter("'stamp' is needed"))?;
            let before = Timestamp(
                i64::try_from(stamp)
                    .unwrap_or(i64::MAX)
                    .saturating_mul(1000),
            );
            jobs.retain(|_, job| !is_own(job) || job.answer.is_none() || job.begun_at >= before);
        }
        id => {
            let id = number(id)?;
            if !jobs.get(&id).is_some_and(is_own) {
                return Err(unknown());
            }
            jobs.remove(&id);
        }
    }
    Ok(Answer::json(200, json!({"result": true})))
}
