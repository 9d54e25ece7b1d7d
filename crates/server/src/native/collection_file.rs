//! The job that writes a document collection into a file, for a first copy of it elsewhere; the file is fetched in ranges.
//!
//! A small collection is not worth a file: it is told record by record in one answer. Who may copy the collection may have it
//! prepared.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Weak};

use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use haversack_model::host::JobRunner;
use haversack_model::{CollectionId, Host as _, Job};

use super::admin::job_info;
use super::answer::json;
use super::call::Call;
use super::problem::{Problem, Result};
use super::reconcile;
use super::waiting::GLANCE;
use super::wire::PreparedFile;
use crate::{Server, clock};

const KIND: &str = "native.collection";
const MEDIA_TYPE: &str = "application/vnd.sqlite3";
/// From so many documents on a file is quicker than an answer.
pub(super) const WORTH_A_FILE: u64 = 20_000;

#[derive(Debug, Serialize, Deserialize)]
struct Request {
    collection: CollectionId,
}

/// Names the runner of these jobs.
pub(super) fn register_runner(server: &Arc<Server>) {
    let runner = Runner {
        server: Arc::downgrade(server),
    };
    server.jobs.register(KIND, Arc::new(runner));
}

/// Starts to prepare a collection, or says (204) that its records are better asked for.
pub(super) fn start(call: &Call, service: &str, collection: &str) -> Result<Response> {
    let (store, id) = reconcile::open(call, service, collection)?;
    if store
        .preparable(id)?
        .is_none_or(|items| items < WORTH_A_FILE)
    {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let request = serde_json::to_string(&Request { collection: id }).expect("an id is JSON");
    let job = call.server.start_job(KIND, &call.who, service, request)?;
    let mut response = json(&job_info(&job))?;
    *response.status_mut() = StatusCode::ACCEPTED;
    Ok(response)
}

/// Removes a prepared file that its owner has fetched.
pub(super) fn remove(call: &Call, id: Uuid) -> Result<Response> {
    let file = call.server.file(id, &call.who);
    let file = file.ok_or_else(|| Problem::missing("file"))?;
    call.server.remove_file(file.id)?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

#[derive(Debug)]
struct Runner {
    server: Weak<Server>,
}

impl JobRunner for Runner {
    fn run(
        &self,
        job: &Job,
        progress: &mut dyn FnMut(&str, u64, Option<u64>),
    ) -> std::result::Result<String, String> {
        let server = self.server.upgrade().ok_or("the server is stopping")?;
        prepare(&server, job, progress).map_err(|error| {
            tracing::error!(%error, job = %job.id, "a collection could not be prepared");
            "the collection could not be prepared; the server's log has the reason".to_owned()
        })
    }
}

fn prepare(
    server: &Server,
    job: &Job,
    progress: &mut dyn FnMut(&str, u64, Option<u64>),
) -> crate::Result<String> {
    let request: Request = serde_json::from_str(&job.request)
        .map_err(|error| crate::Error::invalid("job", error.to_string()))?;
    let store = server.services.store(&job.service);
    let store = store.ok_or_else(|| crate::Error::Missing {
        what: "service",
        name: job.service.clone(),
    })?;
    // A restart may have come in between.
    if !reconcile::may_copy(&server.access(&job.owner, &job.service), request.collection) {
        return Err(crate::Error::invalid(
            "job",
            "its owner may not copy any more",
        ));
    }
    let mut file = server.create_file(&job.owner, "sqlite")?;
    let path = &file.path;
    let written = std::thread::scope(|scope| {
        let (done, is_done) = channel();
        scope.spawn(move || {
            // Whoever waits has panicked, if nobody takes it.
            let _gone = done.send(store.prepare_collection(request.collection, path, clock::now()));
        });
        loop {
            // Who waits for the file sees that it grows.
            let bytes = std::fs::metadata(path).map_or(0, |found| found.len());
            progress("writing the collection", bytes, None);
            match is_done.recv_timeout(GLANCE) {
                Ok(written) => return written,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    let stopped = "the work on it ended unexpectedly".to_owned();
                    return Err(haversack_model::Error::Corrupt(stopped));
                }
            }
        }
    });
    if let Err(error) = written {
        server.remove_file(file.id)?;
        return Err(error.into());
    }
    MEDIA_TYPE.clone_into(&mut file.content_type);
    server.describe_file(&file)?;
    let bytes = std::fs::metadata(&file.path).map_or(0, |found| found.len());
    let prepared = PreparedFile {
        path: format!("/v1/files/{}", file.id),
        bytes,
    };
    Ok(serde_json::to_string(&prepared).expect("a path and a number are JSON"))
}
