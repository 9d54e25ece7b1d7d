//! The primary's side of a collection sync: one question in the body, the answer as a stream of frames.
//!
//! Nothing is remembered between two questions. Whoever reads slowly holds no snapshot: each page was read before it is sent.
//! A collection is copied whole, so a grant with a row filter on it does not do.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use http::header::{CONTENT_TYPE, HeaderValue};
use tokio::sync::{mpsc, oneshot};

use haversack_model::{Access, CollectionId, Filter, Host as _, Right, Store as _};
use haversack_sqlite::SqliteStore;
use haversack_sync::reconcile::{self, Error, Limits};

use super::call::{Call, Incoming, body, caller};
use super::problem::{Problem, Result};
use crate::{Server, clock};

/// Media type of questions and answers.
pub(super) const FRAMES: &str = "application/vnd.haversack.frames";
/// Names the copy that asks: server, service, collection.
pub(super) const COPY: &str = "haversack-copy";
/// Bytes of a page of records: what a connection that is cut again and again must carry to bring the copy nearer.
const PAGE_BYTES: usize = 64 << 10;
/// Pieces of an answer that wait for a slow reader.
const PIECES: usize = 4;

/// Answers one question about a collection.
pub(super) async fn answer(
    server: Arc<Server>,
    service: String,
    collection: String,
    incoming: Incoming,
    request: Request,
) -> Response {
    let question = match body(request, Limits::default().max_request_bytes).await {
        Ok(bytes) => bytes,
        Err(problem) => return problem.into_response(),
    };
    let (send, receive) = mpsc::channel::<std::io::Result<Bytes>>(PIECES);
    let (begun, begins) = oneshot::channel();
    let span = tracing::Span::current();
    tokio::task::spawn_blocking(move || {
        span.in_scope(|| {
            let mut answering = Answering {
                begun: Some(begun),
                send,
            };
            let done = caller(&server, &incoming).and_then(|who| {
                let call = Call {
                    server,
                    who,
                    headers: incoming.headers,
                };
                tell(&call, &service, &collection, &question, &mut answering)
            });
            answering.end(done);
        });
    });
    match begins.await {
        Ok(Ok(())) => {
            let pieces = futures_util::stream::unfold(receive, |mut receive| async move {
                receive.recv().await.map(|piece| (piece, receive))
            });
            let kind = HeaderValue::from_static(FRAMES);
            ([(CONTENT_TYPE, kind)], Body::from_stream(pieces)).into_response()
        }
        Ok(Err(problem)) => problem.into_response(),
        Err(_it_panicked) => Problem::internal().into_response(),
    }
}

/// An answer on its way.
struct Answering {
    /// Until the first piece, a refusal can still have a status of its own.
    begun: Option<oneshot::Sender<Result<()>>>,
    send: mpsc::Sender<std::io::Result<Bytes>>,
}

impl Answering {
    fn piece(&mut self, piece: &[u8]) -> reconcile::Result<()> {
        if let Some(begun) = self.begun.take() {
            // Nobody listens any more: the next line says so.
            let _gone = begun.send(Ok(()));
        }
        self.send
            .blocking_send(Ok(Bytes::copy_from_slice(piece)))
            .map_err(|_gone| Error::Broken("nobody reads the answer"))
    }
    fn end(mut self, done: Result<()>) {
        let Err(problem) = done else { return };
        if let Some(begun) = self.begun.take() {
            let _gone = begun.send(Err(problem));
        } else {
            // The connection is cut, so that what came is not taken for the whole.
            let cut = std::io::Error::other("the answer ended early");
            let _gone = self.send.blocking_send(Err(cut));
        }
    }
}

fn tell(
    call: &Call,
    service: &str,
    collection: &str,
    question: &[u8],
    answering: &mut Answering,
) -> Result<()> {
    let (store, id) = open(call, service, collection)?;
    if is_of_itself(call, service, collection) {
        let problem = format!("it is this server: {collection:?} cannot be a copy of itself");
        return Err(Problem::bad("from", problem));
    }
    if is_asked_again(question) && !store.check_summaries(id, clock::now())? {
        tracing::error!(
            service,
            collection,
            "a summary was damaged and was built anew"
        );
    }
    let primary = store.primary(id, clock::now());
    let limits = Limits {
        page_bytes: PAGE_BYTES,
        ..Limits::default()
    };
    reconcile::answer(&primary, question, &limits, &mut |piece| {
        answering.piece(piece)
    })
    .map_err(|error| match error {
        Error::Store(error) => error.into(),
        Error::Malformed(_) | Error::Broken(_) | Error::Limit { .. } => {
            Problem::bad("body", error.to_string())
        }
        error => {
            tracing::error!(%error, "a question could not be answered");
            Problem::internal()
        }
    })
}

fn is_of_itself(call: &Call, service: &str, collection: &str) -> bool {
    let asks = call.headers.get(COPY).map(HeaderValue::as_bytes);
    let asks = asks.and_then(|asks| std::str::from_utf8(asks).ok());
    let Some((server, rest)) = asks.and_then(|asks| asks.split_once('/')) else {
        return false;
    };
    let same = rest
        .split_once('/')
        .is_some_and(|(of, name)| of.eq_ignore_ascii_case(service) && name == collection);
    same && server == call.server.server_id().simple().to_string()
}

/// Whether a proof failed at the other end: then this side looks for damage before it answers.
fn is_asked_again(question: &[u8]) -> bool {
    let asked = reconcile::decode_request(question);
    matches!(asked, Ok(reconcile::Request::Open(open)) if open.attempt > 0)
}

/// Whether a grant lets its holder copy a collection: the whole of it.
pub(super) fn may_copy(access: &Access, id: CollectionId) -> bool {
    access.allows(Right::Sync) && access.filter(id) == Filter::All
}

/// A collection that the caller may copy whole.
pub(super) fn open(
    call: &Call,
    service: &str,
    collection: &str,
) -> Result<(Arc<SqliteStore>, CollectionId)> {
    let (_, access) = call.service(service, Right::Sync)?;
    let store = call.server.services.store(service);
    let store = store.ok_or_else(|| Problem::missing("service"))?;
    let definition = store.begin_read()?.service()?;
    let found = definition.collection_named(collection);
    let id = found.ok_or_else(|| Problem::missing("collection"))?.id;
    if !may_copy(&access, id) {
        return Err(Problem::forbidden(
            "your grant shows a part of this collection; it can only be copied whole",
        ));
    }
    Ok((store, id))
}
