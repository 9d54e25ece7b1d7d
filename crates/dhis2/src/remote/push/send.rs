//! Requests are made, their answers read; what an answer leaves open is found again after a restart.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use haversack_model::local::LocalReplica;
use haversack_model::{BatchNumber, RejectCode, ReplicaId};
use serde_json::Value;
use sha2::Digest as _;
use tracing::{info, warn};

use super::collect::Item;
use super::glass::{self, Glass};
use super::job::{Followed, follow};
use super::outcome::{Fate, Sent, Told, decide};
use super::plan::{Request, Verb, plan};
use super::{Courier, GLASS, Importer, Pace};
use crate::remote::error::{Error, Result};
use crate::wire::report::{self, Report};
use crate::wire::tracker::Kind;

/// Topic of the jobs whose reports are not read yet: `<replica>/<batch>/<hash of the request>`.
const JOBS: &str = "dhis2 jobs";
/// How often a request is sent in one upload whose job the server forgets.
const SENDINGS: u32 = 2;

/// What a request was answered with.
enum Answered {
    /// What became of its objects.
    Report(Report),
    /// It was not taken as a whole.
    Unread(String),
}

/// Sends the objects of one batch.
pub(super) struct Sender<'a> {
    courier: &'a dyn Courier,
    importer: Importer,
    file: &'a mut dyn LocalReplica,
    pace: &'a mut dyn Pace,
    /// What the names of its jobs begin with.
    batch: String,
    glass: Glass,
    told: BTreeMap<usize, Told>,
}

impl<'a> Sender<'a> {
    pub(super) fn new(
        courier: &'a dyn Courier,
        importer: Importer,
        file: &'a mut dyn LocalReplica,
        pace: &'a mut dyn Pace,
        (replica, number): (ReplicaId, BatchNumber),
    ) -> Self {
        Self {
            courier,
            importer,
            file,
            pace,
            batch: format!("{replica}/{number}/"),
            glass: Glass::default(),
            told: BTreeMap::new(),
        }
    }

    /// What became of each object, by its place.
    ///
    /// # Errors
    /// As [`super::push`].
    pub(super) fn send_all(&mut self, items: &[Item]) -> Result<BTreeMap<usize, Told>> {
        self.forget_settled()?;
        for request in plan(items, self.importer.api, self.importer.version) {
            self.send(items, &request)?;
        }
        self.send_through_glass(items)?;
        self.let_children_wait(items);
        self.hand_over(items);
        Ok(std::mem::take(&mut self.told))
    }

    fn send(&mut self, items: &[Item], request: &Request) -> Result<()> {
        let answered = match request.verb {
            Verb::Write | Verb::Delete => self.send_as_job(items, request)?,
            Verb::Families(kind) => self.send_families(items, request, kind)?,
            Verb::DeleteOld(kind) => self.delete(items, request, kind)?,
        };
        match answered {
            Answered::Report(report) => {
                let all: Vec<Sent> = request
                    .places()
                    .filter_map(|at| items.get(at))
                    .map(|item| item.sent.clone())
                    .collect();
                for at in request.places() {
                    let Some(item) = items.get(at) else { continue };
                    let mut told = decide(self.importer.api, &item.sent, &all, &report);
                    for conflict in &mut told.conflicts {
                        if conflict.value.is_empty() {
                            conflict.value = item.value_of(&conflict.field).unwrap_or_default();
                        }
                    }
                    self.told.insert(at, told);
                }
                Ok(())
            }
            Answered::Unread(problem) => {
                if let Some((first, second)) = request.halves() {
                    self.send(items, &first)?;
                    return self.send(items, &second);
                }
                self.refuse(request, &problem);
                Ok(())
            }
        }
    }

    /// A family that the server does not take.
    fn refuse(&mut self, request: &Request, problem: &str) {
        for (no, at) in request.places().enumerate() {
            let fate = if no == 0 {
                let reason = format!("the server does not take it: {problem}");
                Fate::Refused(RejectCode::Refused, reason)
            } else {
                Fate::Waits("what it belongs to was refused".to_owned())
            };
            let conflicts = Vec::new();
            self.told.insert(at, Told { fate, conflicts });
        }
    }

    fn send_as_job(&mut self, items: &[Item], request: &Request) -> Result<Answered> {
        let path = request.path(items);
        let params = request.params(self.importer.version);
        let body = request.body(items);
        let name = format!("{}{}", self.batch, hash(&params, &body));
        let known = self.file.begin()?.note(JOBS, &name)?;
        if let Some(id) = known {
            if let Some(report) = self.wait_for(&id, true)? {
                return Ok(Answered::Report(report));
            }
            info!(
                job = id,
                "the server has forgotten the job; its objects are sent again"
            );
        }
        for _ in 0..SENDINGS {
            let answer = match self.courier.post(&path, &params, Some(&body)) {
                Ok(answer) => answer,
                Err(error) => return unread(error),
            };
            let Ok(id) = report::job_id(&answer.body) else {
                // Some answer at once, whatever was asked for.
                return match Report::of_job(&answer.body) {
                    Ok(report) => Ok(Answered::Report(report)),
                    Err(problem) if answer.status == 409 => Ok(Answered::Unread(problem.told)),
                    Err(problem) => Err(no_report(&path, &problem.to_string())),
                };
            };
            // Before anything else can go wrong.
            self.keep_job(&name, Some(&id))?;
            if let Some(report) = self.wait_for(&id, false)? {
                return Ok(Answered::Report(report));
            }
            self.keep_job(&name, None)?;
            warn!(job = id, "the server has forgotten the job");
        }
        Err(no_report(
            &path,
            "was a job that the server forgets; it is sent again with the next upload",
        ))
    }

    /// The report of a job; `None` if the server does not know the job.
    fn wait_for(&mut self, id: &str, is_old: bool) -> Result<Option<Report>> {
        match follow(self.courier, self.pace, id, is_old)? {
            Followed::Done(report) => Ok(Some(report)),
            Followed::Lost => Ok(None),
            Followed::Open => Err(no_report(
                &format!("tracker/jobs/{id}"),
                "is not there yet: the server is still at work, and the next upload asks again",
            )),
        }
    }

    fn keep_job(&mut self, name: &str, id: Option<&str>) -> Result<()> {
        let mut tx = self.file.begin()?;
        tx.store_note(JOBS, name, id)?;
        Ok(tx.commit()?)
    }

    /// Jobs of other batches are settled.
    fn forget_settled(&mut self) -> Result<()> {
        let mut tx = self.file.begin()?;
        let mut has_changed = false;
        for (name, _) in tx.notes(JOBS)? {
            if !name.starts_with(&self.batch) {
                tx.store_note(JOBS, &name, None)?;
                has_changed = true;
            }
        }
        if has_changed {
            tx.commit()?;
        }
        Ok(())
    }

    fn send_families(&mut self, items: &[Item], request: &Request, kind: Kind) -> Result<Answered> {
        let path = request.path(items);
        let params = request.params(self.importer.version);
        let body = request.body(items);
        let answer = match self.courier.post(&path, &params, Some(&body)) {
            Ok(answer) => answer,
            Err(error) => return unread(error),
        };
        match Report::of_summaries(kind, &answer.body) {
            Ok(report) => Ok(Answered::Report(report)),
            Err(problem) if answer.status == 409 => Ok(Answered::Unread(problem.told)),
            Err(problem) => Err(no_report(&path, &problem.to_string())),
        }
    }

    fn delete(&mut self, items: &[Item], request: &Request, kind: Kind) -> Result<Answered> {
        let path = request.path(items);
        let mut done = Report::default();
        if let Some(item) = request.places().next().and_then(|at| items.get(at)) {
            done.note(kind, &item.sent.uid, report::Outcome::default());
        }
        let answer = match self.courier.delete(&path, &[]) {
            Ok(answer) => answer,
            // It is gone.
            Err(error) if error.status() == Some(404) => return Ok(Answered::Report(done)),
            Err(error) => return unread(error),
        };
        match Report::of_summaries(kind, &answer.body) {
            Ok(report) if !report.outcomes.is_empty() => Ok(Answered::Report(report)),
            _ if answer.status < 300 => Ok(Answered::Report(done)),
            Ok(report) => {
                let said = report.unnamed.iter().flat_map(|told| &told.problems);
                let said: Vec<&str> = said.map(|problem| problem.message.as_str()).collect();
                Ok(Answered::Unread(said.join("; ")))
            }
            Err(problem) => Ok(Answered::Unread(problem.told)),
        }
    }

    /// What was sent apart from its parent gets an error of its own when that was refused: it waits for it all the same.
    fn let_children_wait(&mut self, items: &[Item]) {
        for (at, item) in items.iter().enumerate() {
            let is_refused = |at: usize| {
                let told = self.told.get(&at);
                told.is_some_and(|told| matches!(told.fate, Fate::Refused(..)))
            };
            if item.sent.kind == Some(Kind::Relationship) || !is_refused(at) {
                continue;
            }
            let is_orphan = items.iter().enumerate().any(|(place, parent)| {
                let mut parents = item.sent.parents.iter();
                parent.sent.is_new
                    && parents.any(|(kind, uid)| parent.key() == (Some(*kind), uid.as_str()))
                    && is_refused(place)
            });
            if is_orphan {
                self.orphan(at);
            }
        }
    }
    fn orphan(&mut self, at: usize) {
        if let Some(told) = self.told.get_mut(&at) {
            let reason = "what it belongs to was refused".to_owned();
            told.fate = Fate::Refused(RejectCode::NoParent, reason);
        }
    }

    /// Sends again what broken glass may let through.
    fn send_through_glass(&mut self, items: &[Item]) -> Result<()> {
        let api = self.importer.api;
        let mut opened = Vec::new();
        for (at, item) in items.iter().enumerate() {
            let may_help = self
                .told
                .get(&at)
                .is_some_and(|told| glass::may_help(api, item, told));
            if !may_help || item.sent.is_delete {
                continue;
            }
            let first = self.first_reason(item)?;
            let (courier, version) = (self.courier, self.importer.version);
            if self.glass.opens(courier, version, item, first.as_deref()) {
                opened.push(at);
            }
        }
        if opened.is_empty() {
            return Ok(());
        }
        // What depends on them was refused with them.
        let depends = |item: &Item| {
            let mut parents = item.sent.parents.iter();
            parents.any(|(kind, uid)| {
                opened
                    .iter()
                    .any(|at| items[*at].key() == (Some(*kind), uid))
            })
        };
        let is_open = |at: &usize| {
            let told = self.told.get(at);
            told.is_some_and(|told| !told.fate.is_stored()) && depends(&items[*at])
        };
        let more: Vec<usize> = (0..items.len())
            .filter(|at| !opened.contains(at) && is_open(at))
            .collect();
        opened.extend(more);
        opened.sort_unstable();
        let again: Vec<Item> = opened.iter().map(|at| items[*at].clone()).collect();
        let before = std::mem::take(&mut self.told);
        for request in plan(&again, api, self.importer.version) {
            self.send(&again, &request)?;
        }
        let after = std::mem::replace(&mut self.told, before);
        let after = after.into_iter();
        self.told
            .extend(after.filter_map(|(at, told)| Some((*opened.get(at)?, told))));
        Ok(())
    }

    /// Why the user broke the glass before.
    fn first_reason(&mut self, item: &Item) -> Result<Option<String>> {
        let program = item.object.get("program").and_then(Value::as_str);
        let mut parents = item.sent.parents.iter();
        let entity = parents.find(|of| of.0 == Kind::TrackedEntity);
        match (entity, program) {
            (Some((_, entity)), Some(program)) => {
                let name = format!("{entity}/{program}");
                Ok(self.file.begin()?.note(GLASS, &name)?)
            }
            _ => Ok(None),
        }
    }

    /// Gives tracked entities to other units, once the enrollments that say so are stored.
    fn hand_over(&mut self, items: &[Item]) {
        let version = self.importer.version;
        for (at, item) in items.iter().enumerate() {
            let is_stored = self.told.get(&at).is_some_and(|told| told.fate.is_stored());
            let Some((entity, program, unit)) = item.hand_over.as_ref().filter(|_| is_stored)
            else {
                continue;
            };
            let params = [
                (version.glass_parameter(), entity.as_str()),
                ("program", program),
                (version.transfer_parameter(), unit),
            ];
            let refusal = match self.courier.put("tracker/ownership/transfer", &params) {
                Ok(answer) if answer.status < 300 => continue,
                Ok(answer) => answer.body.get("message").map_or_else(
                    || format!("HTTP status {}", answer.status),
                    |said| said.as_str().unwrap_or_default().to_owned(),
                ),
                Err(error) => error.to_string(),
            };
            if let Some(told) = self.told.get_mut(&at) {
                let reason = format!("it is stored, but could not be handed over: {refusal}");
                told.fate = Fate::Refused(RejectCode::Forbidden, reason);
            }
        }
    }
}

/// Names the request whatever process makes it.
fn hash(params: &[(&str, &str)], body: &Value) -> String {
    let text = format!("{params:?}{body}");
    let digest = sha2::Sha256::digest(text.as_bytes());
    digest.iter().fold(String::new(), |mut hex, byte| {
        let _infallible = write!(hex, "{byte:02x}");
        hex
    })
}

/// A request that was not taken because of what is in it.
fn unread(error: Error) -> Result<Answered> {
    match &error {
        Error::Refused {
            status: 400 | 413 | 414 | 422,
            message,
            ..
        } => Ok(Answered::Unread(message.clone())),
        // A uid that is none leads to no address.
        Error::Parameter {
            what: "path",
            problem,
        } => Ok(Answered::Unread(problem.clone())),
        _ => Err(error),
    }
}

fn no_report(path: &str, problem: &str) -> Error {
    Error::Answer {
        path: path.to_owned(),
        problem: problem.to_owned(),
    }
}
