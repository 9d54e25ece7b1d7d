//! The job that writes a replica's file: rows copied from a snapshot, ready to be fetched in ranges.

use std::sync::{Arc, Weak};

use axum::response::Response;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use haversack_model::host::JobRunner;
use haversack_model::local::ReplicaHeader;
use haversack_model::{BatchNumber, Cursor, Host as _, Job, Replica, ReplicaId, Right, Store as _};
use haversack_sqlite::replica::{Checkout, Options, prepare_replica};
use haversack_sync::register;

use super::answer::json;
use super::call::Call;
use super::problem::Result;
use super::replicas;
use super::wire::{PreparedFile, Registered, ReplicaRequest};
use crate::{Server, clock};

const KIND: &str = "native.prepare";
const MEDIA_TYPE: &str = "application/geopackage+sqlite3";

#[derive(Debug, Serialize, Deserialize)]
struct Request {
    replica: ReplicaId,
}

/// Names the runner of these jobs.
pub(super) fn register_runner(server: &Arc<Server>) {
    let runner = Runner {
        server: Arc::downgrade(server),
    };
    server.jobs.register(KIND, Arc::new(runner));
}

/// Starts to prepare the file of a replica.
pub(super) fn start(call: &Call, service: &str, replica: ReplicaId) -> Result<Uuid> {
    let request = serde_json::to_string(&Request { replica }).expect("an id is JSON");
    let job = call.server.start_job(KIND, &call.who, service, request)?;
    Ok(job.id)
}

/// Prepares a file anew, as of now.
pub(super) fn again(call: &Call, service: &str, id: Uuid) -> Result<Response> {
    let (store, _access) = call.service(service, Right::Sync)?;
    let replica = replicas::find(store.begin_read()?.as_ref(), call, id)?;
    let job = start(call, service, replica.id)?;
    let mut response = json(&Registered {
        replica: replica.id,
        job,
    })?;
    *response.status_mut() = StatusCode::ACCEPTED;
    Ok(response)
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
            if !matches!(
                error,
                crate::Error::Model(haversack_model::Error::NoReplica(_))
            ) {
                tracing::error!(%error, job = %job.id, "a replica file could not be prepared");
            }
            public_reason(&error)
        })
    }
}

/// The reason without internals: what a client can act on is told, the rest is in the log.
fn public_reason(error: &crate::Error) -> String {
    use haversack_model::Error as E;
    match error {
        crate::Error::Invalid { .. }
        | crate::Error::Model(
            E::NoReplica(_) | E::NoCollection(_) | E::DiskFull | E::Timeout(_) | E::Invalid { .. },
        ) => error.to_string(),
        _ => "the file could not be prepared; the server's log has the reason".to_owned(),
    }
}

fn prepare(
    server: &Server,
    job: &Job,
    progress: &mut dyn FnMut(&str, u64, Option<u64>),
) -> crate::Result<String> {
    let request: Request = serde_json::from_str(&job.request)
        .map_err(|e| crate::Error::invalid("job", e.to_string()))?;
    let store = server
        .services
        .store(&job.service)
        .ok_or_else(|| crate::Error::Missing {
            what: "service",
            name: job.service.clone(),
        })?;
    let access = server.access(&job.owner, &job.service);
    let replica = {
        let mut tx = store.begin_write(clock::now())?;
        let mut replica = register::find(tx.as_ref(), request.replica, &job.owner)?;
        register::refresh_filters(tx.as_mut(), &mut replica, &access)?;
        tx.commit()?;
        replica
    };
    let asked: ReplicaRequest = serde_json::from_str(&replica.dialect)
        .map_err(|e| crate::Error::invalid("replica", e.to_string()))?;
    let mut file = server.create_file(&job.owner, "gpkg")?;
    let checkout = Checkout {
        layers: replica
            .layers
            .iter()
            .map(|layer| (layer.collection, layer.filter_now()))
            .collect(),
        header: header_of(&replica, &asked),
        options: Options {
            spatial_index: asked.spatial_index,
        },
        content: asked.attachments,
        seal: &server.cursors.of(&job.service),
    };
    if let Err(error) = prepare_replica(&store, &checkout, &file.path, progress) {
        server.remove_file(file.id)?;
        return Err(error.into());
    }
    file.name = format!("{}.gpkg", replica.name);
    MEDIA_TYPE.clone_into(&mut file.content_type);
    server.describe_file(&file)?;
    let bytes = std::fs::metadata(&file.path).map_or(0, |m| m.len());
    let prepared = PreparedFile {
        path: format!("/v1/files/{}", file.id),
        bytes,
    };
    Ok(serde_json::to_string(&prepared).expect("a path and a number are JSON"))
}

fn header_of(replica: &Replica, asked: &ReplicaRequest) -> ReplicaHeader {
    ReplicaHeader {
        id: replica.id,
        name: replica.name.clone(),
        url: asked.url.clone(),
        protocol: "native".to_owned(),
        // Replaced by the snapshot's.
        cursor: Cursor::bare(
            haversack_model::HistoryId(Uuid::nil()),
            haversack_model::Generation::ZERO,
        ),
        layer_cursors: Vec::new(),
        direction: replica.direction,
        policy: replica.policy,
        next_batch: BatchNumber(1),
        schema_version: replica.schema_version,
        resyncing: false,
        download: None,
        ahead: haversack_model::Versions::default(),
        synced_at: None,
        filter: serde_json::to_string(&asked.layers).unwrap_or_default(),
    }
}
