//! What stands before a server: a way that breaks at a request, one on which requests wait, and servers of other versions.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use serde_json::{Value, json};

#[derive(Debug)]
pub(crate) struct Gate {
    way: Mutex<Way>,
    bell: Condvar,
    held: tokio::sync::watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Way {
    /// Requests that still pass; after them the server is away.
    left: Option<usize>,
    /// Whether a request met the break.
    is_broken: bool,
    /// Requests that wait.
    waiting: usize,
    version: Option<&'static str>,
    /// The end of a path that is refused, and how often it was.
    refused: Option<(&'static str, usize)>,
}

enum Passes {
    Whole,
    Unanswered,
    Not,
}

impl Gate {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            way: Mutex::default(),
            bell: Condvar::new(),
            held: tokio::sync::watch::Sender::new(false),
        })
    }
    pub(crate) fn before(self: &Arc<Self>, router: Router) -> Router {
        router.layer(from_fn_with_state(Arc::clone(self), pass))
    }
    /// The server goes away after so many requests; the next one takes effect without an answer.
    pub(crate) fn break_after(&self, requests: usize) {
        let mut way = self.way.lock().unwrap();
        way.left = Some(requests);
        way.is_broken = false;
    }
    /// The server is back; tells whether it was missed.
    pub(crate) fn mend(&self) -> bool {
        let mut way = self.way.lock().unwrap();
        way.left = None;
        way.is_broken
    }
    /// The server says that it is of this version.
    pub(crate) fn says(&self, version: &'static str) {
        self.way.lock().unwrap().version = Some(version);
    }
    /// What is sent to such a path is refused from now on.
    pub(crate) fn refuse(&self, path: &'static str) {
        self.way.lock().unwrap().refused = Some((path, 0));
    }
    /// How often it was.
    pub(crate) fn refused(&self) -> usize {
        self.way.lock().unwrap().refused.unwrap().1
    }
    /// Nothing is refused any more.
    pub(crate) fn accept(&self) {
        self.way.lock().unwrap().refused = None;
    }
    fn refuses(&self, path: &str) -> bool {
        let mut way = self.way.lock().unwrap();
        let found = way.refused.as_mut().filter(|(end, _)| path.ends_with(end));
        found.map(|(_, times)| *times += 1).is_some()
    }
    /// Requests wait, until they are let go.
    pub(crate) fn hold(&self) {
        self.held.send_replace(true);
    }
    pub(crate) fn let_go(&self) {
        self.held.send_replace(false);
    }
    /// Waits for a request that waits.
    pub(crate) fn await_guest(&self) {
        let way = self.way.lock().unwrap();
        let most = Duration::from_mins(1);
        let waited = self
            .bell
            .wait_timeout_while(way, most, |way| way.waiting == 0);
        assert!(!waited.unwrap().1.timed_out(), "nobody came");
    }
    fn come(&self) -> Passes {
        let mut way = self.way.lock().unwrap();
        match way.left {
            None => Passes::Whole,
            Some(0) => {
                let is_first = !std::mem::replace(&mut way.is_broken, true);
                if is_first {
                    Passes::Unanswered
                } else {
                    Passes::Not
                }
            }
            Some(left) => {
                way.left = Some(left - 1);
                Passes::Whole
            }
        }
    }
}

async fn pass(State(gate): State<Arc<Gate>>, request: Request, next: Next) -> Response {
    if *gate.held.borrow() {
        gate.way.lock().unwrap().waiting += 1;
        gate.bell.notify_all();
        let mut held = gate.held.subscribe();
        held.wait_for(|is_held| !is_held).await.unwrap();
        gate.way.lock().unwrap().waiting -= 1;
    }
    if gate.refuses(request.uri().path()) {
        // Whoever is cut off while it sends tries again.
        let _whole = axum::body::to_bytes(request.into_body(), 1 << 20).await;
        let body =
            json!({"httpStatusCode": 409, "status": "ERROR", "message": "There is no room for it"});
        return (StatusCode::CONFLICT, axum::Json(body)).into_response();
    }
    let is_info = request.uri().path().ends_with("system/info");
    let away = || StatusCode::BAD_GATEWAY.into_response();
    let answer = match gate.come() {
        Passes::Whole => next.run(request).await,
        Passes::Unanswered => {
            next.run(request).await;
            return away();
        }
        Passes::Not => return away(),
    };
    let version = gate.way.lock().unwrap().version;
    match version {
        Some(version) if is_info => {
            let body = axum::body::to_bytes(answer.into_body(), 1 << 20).await;
            let mut told: Value = serde_json::from_slice(&body.unwrap()).unwrap();
            told["version"] = json!(version);
            axum::Json(told).into_response()
        }
        _ => answer,
    }
}
