//! Asynchronous jobs: requests whose client comes back for the answer.
//!
//! Fetching an answer forgets it. Jobs are their owner's; those of others are as unknown as those that never were. They outlive a
//! restart of the server: answers as they were; what was cut off has one that says so.
//! Source: `spec/arangodb.md` 4.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use haversack_model::{Host, Timestamp};
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
/// Most bytes of an answer that is kept over a restart.
const MAX_KEPT: usize = 16 << 20;
/// What the keys begin with under which the host keeps jobs.
const KEPT: &str = "arangodb job ";

#[derive(Debug, Default)]
pub(crate) struct Jobs(Mutex<BTreeMap<u64, Job>>);

#[derive(Debug)]
struct Job {
    owner: String,
    begun_at: Timestamp,
    /// What was asked: the words of its path.
    what: String,
    answer: Option<Answer>,
}

impl Job {
    fn kept(&self) -> Vec<u8> {
        let answer = self.answer.as_ref().map(|answer| {
            let is_small = answer.len() <= MAX_KEPT;
            let kept = is_small.then(|| answer.to_kept()).flatten();
            kept.unwrap_or_else(|| json!(false))
        });
        json!({"owner": self.owner, "begun": self.begun_at.0, "what": self.what, "answer": answer})
            .to_string()
            .into_bytes()
    }

    /// A job of an earlier run of the server.
    fn of_earlier(kept: &[u8]) -> Option<Self> {
        let kept: Value = serde_json::from_slice(kept).ok()?;
        let what = kept["what"].as_str()?.to_owned();
        let answer = match &kept["answer"] {
            Value::Null => cut_off(&what).to_answer(),
            Value::Bool(_too_large) => Problem::told(
                ErrorNum::HttpUnavailable,
                "it was done, but the server was restarted since, and its answer was too large to be kept",
            )
            .to_answer(),
            answer => Answer::from_kept(answer)?,
        };
        Some(Self {
            owner: kept["owner"].as_str()?.to_owned(),
            begun_at: Timestamp(kept["begun"].as_i64()?),
            what,
            answer: Some(answer),
        })
    }
}

/// What a request has come to that a restart of the server cut off.
fn cut_off(what: &str) -> Problem {
    if what == "_api/replication/sync" || what == "replication/sync" {
        return Problem::told(
            ErrorNum::ReplicationStopped,
            "the server was restarted; order it again: what was here is as it was, and what arrived natively is kept",
        );
    }
    Problem::told(
        ErrorNum::HttpUnavailable,
        "the server was restarted while this ran; whether it took effect is not known",
    )
}

fn key(id: u64) -> String {
    format!("{KEPT}{id}")
}

impl Jobs {
    /// The jobs that a host keeps.
    pub(crate) fn of(host: &dyn Host) -> Self {
        let kept = host.kept().map_or(Ok(Vec::new()), |kept| kept.kept(KEPT));
        let kept = kept.unwrap_or_else(|error| {
            tracing::error!(%error, "jobs of an earlier run cannot be read");
            Vec::new()
        });
        let jobs = kept.into_iter().filter_map(|(key, job)| {
            let id = key.strip_prefix(KEPT)?.parse().ok()?;
            Some((id, Job::of_earlier(&job)?))
        });
        Self(Mutex::new(jobs.collect()))
    }
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Job>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// Remembers that a job began.
    pub(crate) fn begin(&self, host: &dyn Host, id: u64, owner: &str, what: String) -> Result<()> {
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
            begun_at: host.now(),
            what,
            answer: None,
        };
        if let Some(kept) = host.kept() {
            kept.keep(&key(id), &job.kept())?;
        }
        jobs.insert(id, job);
        Ok(())
    }
    /// Keeps what came out of a job, unless it was deleted meanwhile.
    pub(crate) fn end(&self, host: &dyn Host, id: u64, answer: Answer) {
        let mut jobs = self.lock();
        let Some(job) = jobs.get_mut(&id) else { return };
        job.answer = Some(answer);
        if let Some(kept) = host.kept()
            && let Err(error) = kept.keep(&key(id), &job.kept())
        {
            tracing::error!(%error, job = id, "an answer is not kept over a restart");
        }
    }
    /// Forgets the jobs that are not to stay.
    fn retain(&self, host: &dyn Host, mut stays: impl FnMut(&Job) -> bool) -> Result<()> {
        let mut jobs = self.lock();
        let gone: Vec<u64> = jobs
            .iter()
            .filter(|(_, job)| !stays(job))
            .map(|(id, _)| *id)
            .collect();
        for id in gone {
            if let Some(kept) = host.kept() {
                kept.forget(&key(id))?;
            }
            jobs.remove(&id);
        }
        Ok(())
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
    if let Some(kept) = call.host().kept() {
        kept.forget(&key(id))?;
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
    let (jobs, host) = (&call.face.jobs, call.host());
    let is_own = |job: &Job| job.owner == call.principal.name;
    match word {
        "all" => jobs.retain(host, |job| !is_own(job))?,
        "expired" => {
            let stamp = call.number("stamp")?;
            let stamp = stamp.ok_or_else(|| Problem::bad_parameter("'stamp' is needed"))?;
            let before = Timestamp(
                i64::try_from(stamp)
                    .unwrap_or(i64::MAX)
                    .saturating_mul(1000),
            );
            jobs.retain(host, |job| {
                !is_own(job) || job.answer.is_none() || job.begun_at >= before
            })?;
        }
        id => {
            let id = number(id)?;
            state(call, id)?;
            if let Some(kept) = host.kept() {
                kept.forget(&key(id))?;
            }
            jobs.lock().remove(&id);
        }
    }
    Ok(Answer::json(200, json!({"result": true})))
}
