//! The face: what DHIS2's clients talk to.
//!
//! Owns: routes, login, the dialect's bodies and statuses, metadata, reserved values, tracker data with their imports, aggregate data, files, what apps keep. Does not own: codecs ([`crate::wire`]), the data
//! (`DocumentStore`), users and grants (the [`Host`]). The server mounts it: `Router::new().merge(face::router(host))`; its addresses are `/api`.
//!
//! All of it is one service, [`INSTANCE`]: each metadata type and each kind of tracker object is a document collection of it. It is made when an
//! administrator first asks. Source: `spec/dhis2.md` 11.

mod absent;
pub(crate) mod aggregate;
mod alias;
mod answer;
mod call;
mod data_store;
mod dispatch;
pub(crate) mod files;
pub(crate) mod instance;
mod login;
mod memory;
pub(crate) mod metadata;
pub(crate) mod problem;
pub(crate) mod reserve;
mod route;
pub(crate) mod sharing;
pub(crate) mod system;
pub(crate) mod tracker;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use axum::routing::any;
use bytes::Bytes;
use haversack_model::host::Connection;
use haversack_model::{Host, Principal};
use http::header;
use http::request::Parts;

use answer::Answer;
use call::Call;
use memory::Memory;
use problem::{Problem, Result};

pub use instance::INSTANCE;

/// The face on a host, with its addresses at the root.
pub fn router(host: Arc<dyn Host>) -> Router {
    let memory = Arc::new(Memory::default());
    let runner = tracker::jobs::Runner {
        host: Arc::downgrade(&host),
        memory: Arc::clone(&memory),
    };
    host.register_job_runner(tracker::jobs::KIND, Arc::new(runner));
    let handler = any(move |request: Request| {
        let (host, memory) = (Arc::clone(&host), Arc::clone(&memory));
        async move { respond(host, memory, request).await }
    });
    Router::new()
        .route("/api", handler.clone())
        .route("/api/", handler.clone())
        .route("/api/{*rest}", handler)
}

/// Does what a POST to an address below `/api` does, without a network: for samples and tools. The query is as it is in a URL.
///
/// # Errors
/// The body of the refusal.
pub fn post(
    host: &Arc<dyn Host>,
    principal: &Principal,
    path: &str,
    query: &str,
    body: impl Into<Bytes>,
) -> std::result::Result<(), String> {
    let posted = || {
        let call = Call {
            host: Arc::clone(host),
            memory: Arc::default(),
            principal: principal.clone(),
            segments: route::segments(path)?,
            method: http::Method::POST,
            query: route::query(query)?,
            body: body.into(),
            file: None,
        };
        dispatch::dispatch(&call)
    };
    let answer = posted().unwrap_or_else(|problem| problem.to_answer());
    answer.refusal().map_or(Ok(()), Err)
}

async fn respond(host: Arc<dyn Host>, memory: Arc<Memory>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let is_head = parts.method == http::Method::HEAD;
    let answered = match read(&parts, body, host.max_body_bytes()).await {
        Ok(body) => run(host, memory, parts, body).await,
        Err(problem) => Err(problem),
    };
    let answer = answered.unwrap_or_else(|problem| problem.to_answer());
    answer.into_response(is_head)
}

async fn run(
    host: Arc<dyn Host>,
    memory: Arc<Memory>,
    parts: Parts,
    body: Bytes,
) -> Result<Answer> {
    let file = files::part(&parts, &body).await?;
    let work = move || {
        let address = parts.extensions.get::<Connection>();
        let address =
            address.map_or_else(String::new, |connection| connection.peer.ip().to_string());
        let segments = route::segments(parts.uri.path())?;
        let query = route::query(parts.uri.query().unwrap_or_default())?;
        let credential = parts.headers.get(header::AUTHORIZATION);
        let principal = login::principal(host.as_ref(), credential, &address)?;
        let call = Call {
            host,
            memory,
            principal,
            segments,
            method: parts.method,
            query,
            body,
            file,
        };
        dispatch::dispatch(&call)
    };
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Problem::Internal(format!("an operation stopped: {error}")))?
}

async fn read(parts: &Parts, body: Body, max_bytes: usize) -> Result<Bytes> {
    let announced = parts.headers.get(header::CONTENT_LENGTH);
    let announced = announced.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > max_bytes as u64) {
        return Err(Problem::TooLarge(max_bytes));
    }
    axum::body::to_bytes(body, max_bytes)
        .await
        .map_err(|_cut_or_too_large| Problem::TooLarge(max_bytes))
}
