//! Long work: the operation runs as a durable job of the host, the client polls its status.
//!
//! A job keeps the whole request, so that it can run again after a restart: operations that run as jobs do no harm when
//! they run twice. Large parameters go to files. Every job ends as `Completed`, `CompletedWithErrors` or `Failed`: the
//! Python client waits for one of the three without limit. Source: `spec/geoservices.md` 6, "Jobs".

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Weak};

use haversack_model::host::{Binding, Job, JobRunner, JobStatus};
use haversack_model::{Host, Principal};
use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::answer::Answer;
use super::call::Call;
use super::problem::{Problem, Result};
use crate::wire::params::Params;

/// The kind of all jobs of this face.
pub(crate) const KIND: &str = "geoservices";
/// Texts longer than this are kept in files beside the job.
const MAX_INLINE: usize = 64 << 10;

/// An operation that may run as a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Operation {
    /// createReplica.
    CreateReplica,
    /// synchronizeReplica.
    SynchronizeReplica,
    /// extractChanges.
    ExtractChanges,
    /// applyEdits of a service.
    ServiceApplyEdits,
    /// applyEdits of a layer.
    LayerApplyEdits(u32),
}

/// What a job keeps.
#[derive(Debug, Serialize, Deserialize)]
struct Request {
    operation: Operation,
    params: BTreeMap<String, String>,
    /// Parameters that are kept in files.
    large: BTreeMap<String, Uuid>,
    base: String,
    /// The id of what the operation makes, fixed before its first run.
    fixed: Uuid,
}

/// Starts a job for a call and answers where its status is.
pub(crate) fn start(call: &Call, service: &str, operation: Operation) -> Result<Answer> {
    let mut request = Request {
        operation,
        params: BTreeMap::new(),
        large: BTreeMap::new(),
        base: call.base.clone(),
        fixed: call.fixed_id(),
    };
    for (name, value) in call.params.iter() {
        if value.len() <= MAX_INLINE {
            request.params.insert(name.to_owned(), value.to_owned());
            continue;
        }
        let mut file = call
            .host
            .create_file(&call.principal, super::uploads::EXTENSION)?;
        std::fs::write(&file.path, value)
            .map_err(|error| Problem::io("keeping a parameter of a job", &error))?;
        name.clone_into(&mut file.name);
        call.host.describe_file(&file)?;
        request.large.insert(name.to_owned(), file.id);
    }
    let job = call
        .host
        .start_job(KIND, &call.principal, service, json!(request).to_string())
        .map_err(|error| match error {
            haversack_model::Error::Invalid { problem, .. } => Problem::TooMany(problem),
            other => Problem::Model(other),
        })?;
    let url = format!("{}/jobs/{}", call.service_url(service), job.id.simple());
    Ok(Answer::Json(json!({"statusUrl": url})))
}

/// `jobs/<id>`: where a job stands. Another's job is as unknown as one that never was.
pub(crate) fn status(call: &Call, service: &str, id: &str) -> Result<Answer> {
    let unknown = || Problem::NotFound("this job".to_owned());
    let id = Uuid::try_parse(id).map_err(|_not_an_id| unknown())?;
    let job = call.host.job(id).ok_or_else(unknown)?;
    let own = job.owner.name == call.principal.name || call.principal.is_admin;
    if !own || job.service != service || job.kind != KIND {
        return Err(unknown());
    }
    Ok(Answer::Json(describe(&job)))
}

fn describe(job: &Job) -> Value {
    let mut told = json!({
        "jobId": job.id.simple().to_string(),
        "submissionTime": job.submitted_at.0,
        "lastUpdatedTime": job.updated_at.0,
    });
    let status = match job.status {
        JobStatus::Pending => "Pending",
        JobStatus::Running => match job.phase.as_str() {
            phase @ ("ImportChanges"
            | "ExportChanges"
            | "ExportingData"
            | "ExportingSnapshot"
            | "ExportAttachments"
            | "ImportAttachments"
            | "ProvisioningReplica") => phase,
            _ => "InProgress",
        },
        JobStatus::Completed => "Completed",
        JobStatus::Failed => "Failed",
    };
    told["status"] = json!(status);
    if let (done, Some(all)) = job.progress {
        told["recordCount"] = json!(all);
        told["processedCount"] = json!(done);
    }
    match job.status {
        JobStatus::Completed => {
            if let Ok(Value::Object(result)) = serde_json::from_str(&job.result) {
                for (name, value) in result {
                    told[name] = value;
                }
            }
        }
        // Not under `error`: that would tell the client that the question for the status failed.
        JobStatus::Failed => told["description"] = json!(job.result),
        JobStatus::Pending | JobStatus::Running => {}
    }
    told
}

/// Runs the jobs of this face.
pub(crate) struct Runner {
    /// The server, which holds its runners.
    pub(crate) host: Weak<dyn Host>,
}

impl fmt::Debug for Runner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runner").finish_non_exhaustive()
    }
}

impl JobRunner for Runner {
    fn run(
        &self,
        job: &Job,
        progress: &mut dyn FnMut(&str, u64, Option<u64>),
    ) -> std::result::Result<String, String> {
        self.work(job, progress).map_err(|problem| {
            // Logged by `to_json` where the text hides something.
            let _ = problem.to_json(job.id);
            problem.sentence(job.id)
        })
    }
}

impl Runner {
    fn work(&self, job: &Job, progress: &mut dyn FnMut(&str, u64, Option<u64>)) -> Result<String> {
        let request: Request = serde_json::from_str(&job.request)
            .map_err(|error| Problem::Internal(format!("a job's request: {error}")))?;
        let host = self.host.upgrade();
        let host = host.ok_or_else(|| Problem::Internal("the server is stopping".to_owned()))?;
        let call = call(host, &job.owner, &request)?;
        let service = &job.service;
        let (answer, phase) = match request.operation {
            Operation::CreateReplica => {
                progress("ExportingData", 0, None);
                (
                    super::replica::create::now(&call, service)?,
                    "ExportingData",
                )
            }
            Operation::SynchronizeReplica => {
                progress("ImportChanges", 0, None);
                (
                    super::replica::synchronize::now(&call, service)?,
                    "ExportChanges",
                )
            }
            Operation::ExtractChanges => {
                progress("ExportChanges", 0, None);
                (super::extract::now(&call, service)?, "ExportChanges")
            }
            Operation::ServiceApplyEdits => {
                progress("ImportChanges", 0, None);
                (super::edits::service::now(&call, service)?, "ImportChanges")
            }
            Operation::LayerApplyEdits(layer) => {
                progress("ImportChanges", 0, None);
                let layer = haversack_model::CollectionId(layer);
                (
                    super::edits::layer::now(&call, service, layer)?,
                    "ImportChanges",
                )
            }
        };
        progress(phase, 1, Some(1));
        // Its files stay until they expire: a server that dies now runs the job once more.
        result(&call, answer)
    }
}

/// The call as it was made.
fn call(host: Arc<dyn Host>, owner: &Principal, request: &Request) -> Result<Call> {
    let mut params = Params::new();
    for (name, value) in &request.params {
        params.add(name, value)?;
    }
    for (name, id) in &request.large {
        let file = host
            .file(*id, owner)
            .ok_or_else(|| Problem::NotFound(format!("the stored parameter '{name}'")))?;
        let text = std::fs::read_to_string(&file.path)
            .map_err(|error| Problem::io("reading a parameter of a job", &error))?;
        params.add(name, text)?;
    }
    Ok(Call {
        host,
        principal: owner.clone(),
        params,
        files: Vec::new(),
        method: Method::POST,
        base: request.base.clone(),
        address: String::new(),
        binding: Binding::None,
        job: Some(request.fixed),
    })
}

/// The answer of the operation as the job's result; whatever is not a short answer goes to a file.
fn result(call: &Call, answer: Answer) -> Result<String> {
    let mut told = match answer {
        Answer::Json(Value::Object(told)) => Value::Object(told),
        Answer::Json(other) => {
            let mut content = super::answer::Spool::new();
            serde_json::to_writer(&mut content, &other)
                .map_err(|error| Problem::Internal(error.to_string()))?;
            json!({"resultUrl": super::files::keep(call, &mut content, "json", "result")?})
        }
        Answer::Spooled { mut content, .. } => {
            json!({"resultUrl": super::files::keep(call, &mut content, "json", "result")?})
        }
        _ => json!({}),
    };
    if let Some(url) = told.get("URL").cloned() {
        told["resultUrl"] = url;
    }
    Ok(told.to_string())
}
