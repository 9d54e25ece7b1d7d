//! The face: what ArangoDB's clients, and secondaries that copy from us, talk to.
//!
//! Owns: routes, login, the dialect's bodies, statuses and error numbers, batches, cursors and asynchronous jobs. Does not own:
//! codecs ([`crate::wire`]), the data (`DocumentStore`), users and grants (the [`Host`]). The server mounts it:
//! `Router::new().merge(face::router(host))`; its addresses are `/_api`, `/_db`, `/_open` and `/_admin`.
//!
//! Every request takes one way: `route::Route` decodes its path once, `login` finds who asks, `dispatch` runs one operation on a
//! thread for blocking work, and `problem` turns what went wrong into the dialect's error. With `x-arango-async` the client gets the
//! id of a job instead, and the operation goes on without it. Source: `spec/arangodb.md`.

mod absent;
mod answer;
mod body;
mod call;
mod collections;
mod cursors;
mod databases;
mod dispatch;
mod document;
mod grants;
mod ids;
mod import;
mod indexes;
mod jobs;
mod jwt;
mod login;
mod problem;
mod query;
mod replication;
mod route;
mod simple;
mod users;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use axum::routing::any;
use bytes::Bytes;
use haversack_model::Host;
use haversack_model::host::Connection;
use http::request::Parts;
use http::{HeaderName, header};

use answer::Answer;
use call::Call;
use problem::{Problem, Result};
use route::Route;

const ASYNC: HeaderName = HeaderName::from_static("x-arango-async");
const ASYNC_ID: HeaderName = HeaderName::from_static("x-arango-async-id");

/// What the face keeps between requests. All of it ends with the process but jobs, which the host keeps; the rest is in the store.
#[derive(Debug)]
pub(crate) struct Face {
    pub(crate) host: Arc<dyn Host>,
    pub(crate) ids: ids::Ids,
    pub(crate) jobs: jobs::Jobs,
    pub(crate) cursors: cursors::Cursors,
    pub(crate) batches: replication::batch::Batches,
    pub(crate) appliers: replication::applier::Appliers,
}

/// The face on a host, with its addresses at the root.
pub fn router(host: Arc<dyn Host>) -> Router {
    let face = Arc::new(Face {
        ids: ids::Ids::new(host.now()),
        jobs: jobs::Jobs::of(host.as_ref()),
        cursors: cursors::Cursors::default(),
        batches: replication::batch::Batches::default(),
        appliers: replication::applier::Appliers::default(),
        host,
    });
    let handler = any(move |request: Request| {
        let face = Arc::clone(&face);
        async move { respond(face, request).await }
    });
    ["/_api", "/_db", "/_open", "/_admin"]
        .into_iter()
        .fold(Router::new(), |router, root| {
            router
                .route(root, handler.clone())
                .route(&format!("{root}/"), handler.clone())
                .route(&format!("{root}/{{*rest}}"), handler.clone())
        })
}

async fn respond(face: Arc<Face>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let answered = match prepare(&face, &parts, body).await {
        Ok(call) => run(&face, call, asynchronous(&parts)).await,
        Err(problem) => Err(problem),
    };
    let answer = answered.unwrap_or_else(|problem| problem.to_answer());
    answer.into_response(parts.method == http::Method::HEAD)
}

/// Reads a request and finds who sent it.
async fn prepare(face: &Arc<Face>, parts: &Parts, body: Body) -> Result<Call> {
    let route = Route::decode(parts.uri.path())?;
    let body = read(parts, body, face.host.max_body_bytes()).await?;
    let query = parts.uri.query().map(route::query).unwrap_or_default();
    let connection = parts.extensions.get::<Connection>();
    let credential = parts.headers.get(header::AUTHORIZATION).cloned();
    let mut call = Call {
        face: Arc::clone(face),
        principal: haversack_model::Principal::anonymous(),
        route,
        method: parts.method.clone(),
        query,
        headers: parts.headers.clone(),
        body,
        address: connection.map_or_else(String::new, |c| c.peer.ip().to_string()),
    };
    blocking(move || {
        call.principal = login::principal(&call, credential.as_ref())?;
        Ok(call)
    })
    .await
}

/// Runs an operation, or begins it and answers with the id of its job.
async fn run(face: &Arc<Face>, call: Call, asynchronous: Option<bool>) -> Result<Answer> {
    let Some(is_stored) = asynchronous else {
        return blocking(move || dispatch::dispatch(&call)).await;
    };
    if call.principal.is_anonymous() {
        return Err(Problem::Unauthorized);
    }
    let id = face.ids.next();
    let (face, jobs, what) = (
        Arc::clone(face),
        Arc::clone(face),
        call.route.segments.join("/"),
    );
    let owner = call.principal.name.clone();
    if is_stored {
        blocking(move || jobs.jobs.begin(jobs.host.as_ref(), id, &owner, what)).await?;
    }
    // Not awaited: a client that goes away does not stop it.
    tokio::spawn(async move {
        let answered = blocking(move || dispatch::dispatch(&call)).await;
        let answer = answered.unwrap_or_else(|problem| problem.to_answer());
        if is_stored {
            let kept = blocking(move || {
                face.jobs.end(face.host.as_ref(), id, answer);
                Ok(())
            })
            .await;
            if let Err(problem) = kept {
                tracing::error!(?problem, job = id, "the end of a job could not be kept");
            }
        }
    });
    let answer = Answer::empty(202);
    Ok(if is_stored {
        answer.with(ASYNC_ID, &id.to_string())
    } else {
        answer
    })
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Problem::Internal(format!("an operation stopped: {error}")))?
}

/// Whether the client does not want to wait: `true` if it will come for the result.
fn asynchronous(parts: &Parts) -> Option<bool> {
    let value = parts.headers.get(ASYNC)?.to_str().ok()?;
    match value.to_ascii_lowercase().as_str() {
        "store" => Some(true),
        "true" => Some(false),
        _ => None,
    }
}

async fn read(parts: &Parts, body: Body, max_bytes: usize) -> Result<Bytes> {
    let announced = parts.headers.get(header::CONTENT_LENGTH);
    let announced = announced.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > max_bytes as u64) {
        return Err(Problem::too_large(max_bytes));
    }
    axum::body::to_bytes(body, max_bytes)
        .await
        .map_err(|_cut_or_too_large| Problem::too_large(max_bytes))
}
