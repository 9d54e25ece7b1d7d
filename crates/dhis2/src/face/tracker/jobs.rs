//! Imports as jobs: `POST tracker`, where it stands, and its report.
//!
//! A job is one of the server's durable jobs; its report is stored in the transaction of the import itself, under a uid made of the job's id. So a job
//! that runs again after a restart finds that it is done, and a report is there exactly if the import took effect. A job that is given up, as one
//! that ended the server each time it ran, is told as completed with an empty report: what was sent waits on the device, and is sent again.
//!
//! Reports are kept for a week, and the last 500 of them; more as long as they are not an hour old. A device whose report is gone sends again.

use std::ops::ControlFlow;
use std::sync::{Arc, Weak};

use haversack_model::documents::{DocumentWrite, document};
use haversack_model::host::JobRunner;
use haversack_model::{
    CollectionId, Filter, Host, Job, JobStatus, Principal, Query, QueryRow, Right, Timestamp,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::catalog::Catalog;
use super::import::{self, Imported, Options, Strategy};
use crate::face::answer::Answer;
use crate::face::call::Call;
use crate::face::instance::{INSTANCE, Instance, Stored, key};
use crate::face::memory::Memory;
use crate::face::problem::{Problem, Result};
use crate::face::system::User;
use crate::wire::report::Report;
use crate::wire::tracker::Payload;
use crate::wire::{date, json as strict, uid};

/// The kind of these jobs.
pub(crate) const KIND: &str = "dhis2.import";
/// Where they are kept.
const JOBS: &str = "trackerJobs";
/// How long they are kept.
const LASTS_MS: i64 = 7 * 86_400_000;
/// How many are kept.
const MAX_JOBS: u64 = 500;
/// For how long they are kept though there are more.
const WAITED_FOR_MS: i64 = 3_600_000;
/// Most that one import removes, so that none takes long.
const MAX_PRUNED: u64 = 100;

/// All that a job needs, also after a restart.
#[derive(Debug, Serialize, Deserialize)]
struct Order {
    options: Options,
    payload: Payload,
}

fn options(call: &Call) -> Result<Options> {
    let strategy = match call.param("importStrategy").unwrap_or("CREATE_AND_UPDATE") {
        "CREATE_AND_UPDATE" => Strategy::CreateAndUpdate,
        "CREATE" => Strategy::Create,
        "UPDATE" => Strategy::Update,
        "DELETE" => Strategy::Delete,
        other => {
            return Err(Problem::bad(format!(
                "the import strategy {other:?} is not known"
            )));
        }
    };
    let is_atomic = match call.param("atomicMode").unwrap_or("ALL") {
        "ALL" => true,
        "OBJECT" => false,
        other => {
            return Err(Problem::bad(format!(
                "the atomic mode {other:?} is not known"
            )));
        }
    };
    Ok(Options {
        strategy,
        is_atomic,
        only_validates: call.param("importMode") == Some("VALIDATE"),
        skips_rules: call.flag("skipRuleEngine", false),
        with_warnings: matches!(call.param("reportMode"), Some("WARNINGS" | "FULL")),
    })
}

/// `POST tracker`: a job, or with `async=false` the report.
pub(crate) fn import(call: &Call) -> Result<Answer> {
    let instance = Instance::open(call, Right::Edit)?;
    let options = options(call)?;
    let body = strict::parse(&call.body)?;
    let payload: Payload = serde_json::from_value(body)
        .map_err(|error| Problem::bad(format!("the payload cannot be read: {error}")))?;
    if !call.flag("async", true) {
        let told = import_now(call, &instance, payload, options)?.told;
        let status = if told["status"] == "ERROR" { 409 } else { 200 };
        return Ok(Answer::json(status, told));
    }
    let order = serde_json::to_string(&Order { options, payload })
        .map_err(|error| Problem::Internal(error.to_string()))?;
    let job = call.host.start_job(KIND, &call.principal, INSTANCE, order);
    let job = job.map_err(|error| Problem::Conflict(error.to_string()))?;
    let id = uid::from_random(job.id.as_u128());
    accept(call, &instance, &id, job.id)?;
    let location = call.host.base_url().unwrap_or_default();
    let response = json!({"responseType": "TrackerJob", "id": id, "location": format!("{location}/api/tracker/jobs/{id}")});
    Ok(Answer::message(
        200,
        "Tracker job added",
        &json!({"response": response}),
    ))
}

/// Notes that there is a job, unless it is done already.
fn accept(call: &Call, instance: &Instance, id: &str, job: Uuid) -> Result<()> {
    let collection = instance.collection(JOBS)?;
    let mut tx = instance.store().write_documents(call.host.now())?;
    if tx.record(collection, &key(id))?.is_none() {
        let row = json!({"owner": call.principal.name, "created": date::format(call.host.now()), "job": job});
        tx.put(collection, &document(id, row.to_string()), None)?;
        tx.commit()?;
    }
    Ok(())
}

/// Imports without a job.
pub(crate) fn import_now(
    call: &Call,
    instance: &Instance,
    payload: Payload,
    options: Options,
) -> Result<Imported> {
    let host = call.host.as_ref();
    let mut tx = instance.store().write_documents(host.now())?;
    let user = User::find(&call.principal, instance, &*tx, host.now())?;
    let catalog = Catalog::load(instance, &*tx)?;
    let fresh = || host.fresh_uuid();
    let imported = import::run(
        instance,
        tx.as_mut(),
        &user,
        &catalog,
        payload,
        options,
        (host.now(), &fresh),
    )?;
    if !imported.is_refused {
        tx.commit()?;
    }
    Ok(imported)
}

/// Imports, once: the report of a job that is done is given again.
fn run(
    host: &dyn Host,
    owner: &Principal,
    instance: &Instance,
    id: &str,
    order: Order,
) -> Result<Value> {
    let jobs = instance.collection(JOBS)?;
    let mut tx = instance.store().write_documents(host.now())?;
    if let Some(found) = tx.record(jobs, &key(id))? {
        let mut known = Stored::read(&found)?.members;
        if let Some(report) = known.remove("report") {
            return Ok(report);
        }
    }
    let user = User::find(owner, instance, &*tx, host.now())?;
    let catalog = Catalog::load(instance, &*tx)?;
    let fresh = || host.fresh_uuid();
    let imported = import::run(
        instance,
        tx.as_mut(),
        &user,
        &catalog,
        order.payload,
        order.options,
        (host.now(), &fresh),
    )?;
    if imported.is_refused {
        drop(tx);
        tx = instance.store().write_documents(host.now())?;
    }
    let stats = imported.report.stats;
    let message = format!(
        "Import complete with status {}, {} created, {} updated, {} deleted, {} ignored",
        imported.told["status"].as_str().unwrap_or_default(),
        stats.created,
        stats.updated,
        stats.deleted,
        stats.ignored
    );
    let row = json!({"owner": owner.name, "created": date::format(host.now()), "message": message, "report": imported.told});
    tx.put(jobs, &document(id, row.to_string()), None)?;
    prune(tx.as_mut(), jobs, host.now())?;
    tx.commit()?;
    Ok(imported.told)
}

/// Removes the jobs that were asked for first, if they are too old or too many.
fn prune(tx: &mut dyn DocumentWrite, jobs: CollectionId, now: Timestamp) -> Result<()> {
    let mut surplus = tx.count(jobs)?.saturating_sub(MAX_JOBS);
    let query = Query {
        limit: Some(MAX_PRUNED),
        ..Query::records(jobs, Filter::All)
    };
    let mut old = Vec::new();
    tx.query(&query, &mut |row| {
        let QueryRow::Record(found) = row else {
            return Ok(ControlFlow::Continue(()));
        };
        let age = now.0.saturating_sub(found.track.stamp.0);
        let goes = age > LASTS_MS || (surplus > 0 && age > WAITED_FOR_MS);
        if !goes {
            return Ok(ControlFlow::Break(()));
        }
        surplus = surplus.saturating_sub(1);
        old.push(found.record.global_id);
        Ok(ControlFlow::Continue(()))
    })?;
    for id in old {
        tx.delete(jobs, &id, None)?;
    }
    Ok(())
}

/// A job of whoever asks.
fn find(call: &Call, id: &str) -> Result<Stored> {
    call.require_get()?;
    let instance = Instance::open(call, Right::Read)?;
    let found = instance.object(instance.store().read_documents()?.as_ref(), JOBS, id)?;
    let own =
        found.filter(|job| call.principal.is_admin || job.text("owner") == call.principal.name);
    own.ok_or_else(|| Problem::missing("Job", id))
}

/// Where a job stands that has no report.
enum Stand {
    Waits,
    Runs,
    /// It was given up, for a reason.
    Failed(String),
    /// The server knows nothing of it any more.
    Lost,
}

impl Stand {
    fn of(call: &Call, job: &Stored) -> Self {
        let known = job
            .text("job")
            .parse()
            .ok()
            .and_then(|id| call.host.job(id));
        match known {
            None => Self::Lost,
            Some(job) => match job.status {
                JobStatus::Pending => Self::Waits,
                // Completed is what it will be in a moment: its report is stored first.
                JobStatus::Running | JobStatus::Completed => Self::Runs,
                JobStatus::Failed => Self::Failed(job.result),
            },
        }
    }
}

/// `GET tracker/jobs/<uid>`.
pub(crate) fn progress(call: &Call, id: &str) -> Result<Answer> {
    let job = find(call, id)?;
    let (level, message, is_done) = if job.members.contains_key("report") {
        ("INFO", job.text("message").to_owned(), true)
    } else {
        match Stand::of(call, &job) {
            Stand::Waits => ("INFO", "waiting".to_owned(), false),
            Stand::Runs => ("INFO", "running".to_owned(), false),
            Stand::Failed(why) => ("ERROR", format!("Import failed: {why}"), true),
            Stand::Lost => return Err(Problem::missing("Job", id)),
        }
    };
    Ok(Answer::json(
        200,
        json!([{"uid": id, "id": id, "level": level, "category": "TRACKER_IMPORT_JOB", "time": job.text("created"),
            "message": message, "completed": is_done}]),
    ))
}

/// `GET tracker/jobs/<uid>/report`.
pub(crate) fn report(call: &Call, id: &str) -> Result<Answer> {
    let mut job = find(call, id)?;
    if let Some(report) = job.members.remove("report") {
        return Ok(Answer::json(200, report));
    }
    match Stand::of(call, &job) {
        // Nothing of it took effect, and nothing is said of any object.
        Stand::Failed(why) => {
            let mut told = Report::default().to_job(&[], false, false);
            told["status"] = json!("ERROR");
            told["message"] = json!(why);
            Ok(Answer::json(200, told))
        }
        _ => Err(Problem::missing("Job report", id)),
    }
}

/// Runs imports.
#[derive(Debug)]
pub(crate) struct Runner {
    /// The host, which holds its runners.
    pub(crate) host: Weak<dyn Host>,
    pub(crate) memory: Arc<Memory>,
}

impl JobRunner for Runner {
    fn run(
        &self,
        job: &Job,
        _progress: &mut dyn FnMut(&str, u64, Option<u64>),
    ) -> std::result::Result<String, String> {
        let order: Order = serde_json::from_str(&job.request).map_err(|error| error.to_string())?;
        let id = uid::from_random(job.id.as_u128());
        let host = self.host.upgrade().ok_or("the server is stopping")?;
        let instance = Instance::open_as(&host, &self.memory, &job.owner, Right::Edit)
            .map_err(|problem| problem.to_string())?;
        let told = run(host.as_ref(), &job.owner, &instance, &id, order)
            .map_err(|problem| problem.to_string())?;
        Ok(told["status"].to_string())
    }
}
