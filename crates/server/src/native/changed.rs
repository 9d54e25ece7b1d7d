//! Waiting for a change: a request that is answered as soon as something was committed, or when it has waited long enough.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use reqwest::Method as Verb;
use serde::Deserialize;

use haversack_model::{HistoryId, Store as _};
use haversack_sync::reconcile::Proof;

use super::answer::json;
use super::call::{Call, Incoming, answer};
use super::problem::Result;
use super::reconcile;
use super::remote::{Client, answered};
use crate::Server;

/// Longest wait of one request.
const LONGEST: Duration = Duration::from_mins(1);
/// How often it is looked: other programs edit the file, too, and tell nobody.
const LOOK: Duration = Duration::from_millis(100);
/// What an answer may take beside the wait.
const ANSWER: Duration = Duration::from_secs(30);

/// What the caller knows, and how long it waits.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct Known {
    history: HistoryId,
    generation: u64,
    #[serde(default)]
    wait_s: u64,
}

/// Answers when the collection's service stands elsewhere than the caller knows it: 200 with where; 204 if it does not come to that.
pub(super) async fn wait(
    server: Arc<Server>,
    (service, collection): (String, String),
    known: Known,
    incoming: Incoming,
) -> Response {
    let _counted = server.pulls.wait();
    let upto = Instant::now() + Duration::from_secs(known.wait_s).min(LONGEST);
    loop {
        let is_over = Instant::now() >= upto || server.pulls.stopping().load(Ordering::Relaxed);
        let of = (service.clone(), collection.clone());
        let told = answer(Arc::clone(&server), incoming.clone(), move |call| {
            look(call, &of, known)
        })
        .await;
        if is_over || told.status() != StatusCode::NO_CONTENT {
            return told;
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn look(call: &Call, (service, collection): &(String, String), known: Known) -> Result<Response> {
    let (store, _id) = reconcile::open(call, service, collection)?;
    let head = store.begin_read()?.head()?;
    if (head.history, head.generation.0) == (known.history, known.generation) {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    json(&serde_json::json!({ "history": head.history, "generation": head.generation }))
}

impl Server {
    /// How many requests wait for a change.
    pub fn waiting(&self) -> usize {
        self.pulls.waiting()
    }
}

impl Client {
    /// Waits until the service of a collection stands elsewhere than when a copy was proven, but not much longer than so. Whether
    /// it came to that.
    ///
    /// # Errors
    /// [`haversack_model::Error::Refused`] also if the server does not know the question.
    pub fn wait_for_change(
        &self,
        (service, collection): (&str, &str),
        proof: &Proof,
        longest: Duration,
    ) -> haversack_model::Result<bool> {
        let path = format!(
            "/v1/services/{service}/collections/{collection}/changed?history={}&generation={}&wait_s={}",
            proof.history,
            proof.generation.0,
            longest.min(LONGEST).as_secs()
        );
        let request = self.request(Verb::GET, &path)?.timeout(longest + ANSWER);
        Ok(answered(request)?.status() != StatusCode::NO_CONTENT)
    }
}
