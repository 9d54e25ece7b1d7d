//! Services over the API: discovery, definitions, import, history.

use std::sync::{Arc, Weak};

use axum::body::Bytes;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use futures_util::StreamExt as _;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt as _;
use uuid::Uuid;

use haversack_arangodb::aside::is_unfinished;
use haversack_model::host::{JobRunner, StoredFile};
use haversack_model::store::Head;
use haversack_model::{
    Collection, CollectionId, Cursor, Filter, GlobalId, Host as _, Job, Level, Principal, Right,
    Service,
};

use super::admin::job_info;
use super::answer::{json, packed, parse, unpack};
use super::call::{Call, Incoming, answer, caller};
use super::problem::{Problem, Result};
use super::wire::{API, Discovery, ServiceInfo, ServiceSummary};
use crate::grants::right_word;
use crate::import::{self, Source};
use crate::{Server, clock, secret};

const IMPORT: &str = "import";

/// What this server is.
pub(super) fn discover(call: &Call) -> Result<Response> {
    json(&Discovery {
        product: "haversack".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        api: API,
        user: call.who.name.clone(),
        server: Some(call.server.server_id()),
    })
}

fn words(rights: &[Right]) -> Vec<String> {
    rights.iter().map(|r| right_word(*r).to_owned()).collect()
}

/// The services that the caller may read.
pub(super) fn list(call: &Call) -> Result<Response> {
    let mut listed = Vec::new();
    for name in call.server.service_names() {
        let access = call.server.access(&call.who, &name);
        let Some(store) = call
            .server
            .service(&name)
            .filter(|_| access.allows(Right::Read))
        else {
            continue;
        };
        listed.push(ServiceSummary {
            title: store.begin_read()?.service()?.title,
            name,
            rights: words(&access.rights),
        });
    }
    json(&listed)
}

/// Definition of a service, and where it stands.
pub(super) fn show(call: &Call, name: &str) -> Result<Response> {
    let (store, access) = call.service(name, Right::Read)?;
    let tx = store.begin_read()?;
    let head = tx.head()?;
    let mut service = tx.service()?;
    service.collections.retain(|collection| {
        access.level(collection.id) != Some(Level::None) && !is_unfinished(collection)
    });
    json(&ServiceInfo {
        service,
        cursor: sealed(call, name, &head),
        floor: head.floor,
        rights: words(&access.rights),
    })
}

/// Makes a service.
pub(super) fn create(call: &Call, body: &Bytes) -> Result<Response> {
    call.admin()?;
    let service: Service = parse(&unpack(&call.headers, body, call.max_json())?)?;
    call.server.create_service(&service, |_store| Ok(()))?;
    tracing::info!(service = service.name, user = call.who.name, "service made");
    Ok(StatusCode::CREATED.into_response())
}

/// Adds a layer or table.
pub(super) fn add_collection(call: &Call, name: &str, body: &Bytes) -> Result<Response> {
    let (store, _access) = call.service(name, Right::Publish)?;
    let collection: Collection = parse(&unpack(&call.headers, body, call.max_json())?)?;
    let mut tx = store.begin_write(clock::now())?;
    let mut service = tx.service()?;
    if service.collection(collection.id).is_some() {
        let message = format!("there is already a collection {}", collection.id);
        return Err(Problem::new(StatusCode::CONFLICT, "exists", message, "id"));
    }
    service.collections.push(collection);
    service.collections.sort_by_key(|c| c.id);
    service.schema_version += 1;
    tx.store_service(&service)?;
    tx.commit()?;
    Ok(StatusCode::CREATED.into_response())
}

/// Begins a new history.
pub(super) fn new_history(call: &Call, name: &str) -> Result<Response> {
    let (store, _access) = call.service(name, Right::Admin)?;
    let mut tx = store.begin_write(clock::now())?;
    tx.start_history(haversack_model::HistoryId(secret::random_uuid()))?;
    let head = tx.commit()?;
    tracing::warn!(service = name, user = call.who.name, history = %head.history, "a new history begins");
    json(&sealed(call, name, &head))
}

fn sealed(call: &Call, service: &str, head: &Head) -> Cursor {
    let cursor = Cursor::bare(head.history, head.generation);
    call.server.cursors.of(service).seal_for_nobody(cursor)
}

/// Versions of a record that were replaced. Who sees only part of the rows sees the past of none: a row may have been
/// outside that part.
pub(super) fn record_history(
    call: &Call,
    name: &str,
    collection: u32,
    record: &str,
) -> Result<Response> {
    let (store, access) = call.service(name, Right::Read)?;
    let collection = CollectionId(collection);
    if access.filter(collection) != Filter::All {
        return Err(Problem::forbidden(
            "history is for those who may read all rows",
        ));
    }
    let id = GlobalId::parse_uuid(record).map_err(|e| Problem::bad("record", e.to_string()))?;
    let tx = store.begin_read()?;
    tx.collection(collection)?;
    packed(&call.headers, &tx.history(collection, &id)?)
}

/// Query of an import.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ImportQuery {
    /// `geojson` or `gpkg`.
    format: String,
    /// Layer to append to; a new one is made otherwise.
    layer: Option<u32>,
    /// Name of the new layer; the file's own otherwise.
    name: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct ImportJob {
    file: Uuid,
    request: import::Request,
}

/// Receives a file and starts to import it.
pub(super) async fn import(
    server: Arc<Server>,
    service: String,
    query: ImportQuery,
    incoming: Incoming,
    request: Request,
) -> Response {
    let Some(format) = Source::parse(&query.format) else {
        return Problem::bad("format", "it must be geojson or gpkg").into_response();
    };
    let prepared = {
        let (server, incoming, service) = (Arc::clone(&server), incoming.clone(), service.clone());
        let extension = query.format.clone();
        tokio::task::spawn_blocking(move || {
            let who = caller(&server, &incoming)?;
            may_import(&server, &who, &service, query.layer.map(CollectionId))?;
            Ok::<_, Problem>(server.create_file(&who, &extension)?)
        })
        .await
    };
    let file = match prepared {
        Ok(Ok(file)) => file,
        Ok(Err(problem)) => return problem.into_response(),
        Err(_panicked) => return Problem::internal().into_response(),
    };
    if let Err(problem) = receive(&file, request).await {
        return problem.into_response();
    }
    answer(server, incoming, move |call| {
        let request = ImportJob {
            file: file.id,
            request: import::Request {
                format,
                service: service.clone(),
                layer: query.layer.map(CollectionId),
                name: query.name,
            },
        };
        let request = serde_json::to_string(&request).expect("plain fields are JSON");
        let job = call
            .server
            .start_job(IMPORT, &call.who, &service, request)?;
        let mut response = json(&job_info(&job))?;
        *response.status_mut() = StatusCode::ACCEPTED;
        Ok(response)
    })
    .await
}

fn may_import(
    server: &Server,
    who: &Principal,
    service: &str,
    layer: Option<CollectionId>,
) -> Result<()> {
    let access = server.access(who, service);
    let exists = server.service(service).is_some();
    let may = if exists {
        access.allows(Right::Publish)
    } else {
        who.is_admin
    };
    if !may {
        return Err(Problem::forbidden("this needs the right \"publish\""));
    }
    if layer.is_some_and(|layer| !access.may_alter(layer)) {
        return Err(Problem::forbidden(
            "your grant does not let you change this layer",
        ));
    }
    Ok(crate::services::check_name(service)?)
}

async fn receive(file: &StoredFile, request: Request) -> Result<()> {
    let failed = |error: std::io::Error| {
        tracing::error!(%error, "an upload could not be stored");
        Problem::internal()
    };
    let mut to = tokio::fs::File::create(&file.path).await.map_err(failed)?;
    let mut body = request.into_body().into_data_stream();
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(|_cut| {
            Problem::bad(
                "body",
                "it was cut off, or is larger than this server accepts",
            )
        })?;
        to.write_all(&chunk).await.map_err(failed)?;
    }
    to.flush().await.map_err(failed)
}

/// Names the runner of imports.
pub(super) fn register_runner(server: &Arc<Server>) {
    let runner = Importer {
        server: Arc::downgrade(server),
    };
    server.jobs.register(IMPORT, Arc::new(runner));
}

#[derive(Debug)]
struct Importer {
    server: Weak<Server>,
}

impl JobRunner for Importer {
    fn run(
        &self,
        job: &Job,
        progress: &mut dyn FnMut(&str, u64, Option<u64>),
    ) -> std::result::Result<String, String> {
        let server = self.server.upgrade().ok_or("the server is stopping")?;
        let asked: ImportJob =
            serde_json::from_str(&job.request).map_err(|e| format!("the job is damaged: {e}"))?;
        let done = import::finished(&server, &asked.request, job.id);
        let report = if let Some(report) = done.map_err(|error| error.to_string())? {
            report
        } else {
            let file = server
                .file(asked.file, &job.owner)
                .ok_or("the uploaded file has expired")?;
            import::run(&server, &file.path, &asked.request, Some(job.id), progress)
                .map_err(|error| error.to_string())?
        };
        // What cannot be removed now expires.
        let _ = server.remove_file(asked.file);
        serde_json::to_string(&report).map_err(|e| e.to_string())
    }
}
