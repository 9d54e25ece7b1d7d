//! Requests to a face.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use base64::Engine as _;
use haversack_dhis2::face;
use http_body_util::BodyExt as _;
use serde_json::Value;
use tower::ServiceExt as _;

use crate::host::{PASSWORD, TestHost};

/// A face with a user who asks it.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) host: Arc<TestHost>,
    router: Router,
    user: &'static str,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) status: u16,
    pub(crate) text: String,
}

impl Told {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {}", self.text))
    }
}

impl Client {
    /// A fresh server with metadata, asked by an administrator.
    pub(crate) async fn new() -> Self {
        let client = Self::empty();
        let told = client.send("POST", "/api/metadata", &metadata()).await;
        assert_eq!(told.status, 200, "{}", told.text);
        client
    }
    /// A fresh server, asked by an administrator.
    pub(crate) fn empty() -> Self {
        let host = TestHost::new();
        Self {
            router: face::router(Arc::clone(&host) as _),
            host,
            user: "root",
        }
    }
    /// The same server, asked by another user; nobody is the empty name.
    pub(crate) fn user(&self, user: &'static str) -> Self {
        Self {
            user,
            ..self.clone()
        }
    }
    pub(crate) async fn send(&self, method: &str, path: &str, body: &str) -> Told {
        self.send_as(method, path, "application/json", body).await
    }
    pub(crate) async fn send_as(&self, method: &str, path: &str, kind: &str, body: &str) -> Told {
        let request = Request::builder().method(method).uri(path);
        let mut request = request.header("content-type", kind);
        if !self.user.is_empty() {
            let pair = base64::engine::general_purpose::STANDARD
                .encode(format!("{}:{PASSWORD}", self.user));
            request = request.header("authorization", format!("Basic {pair}"));
        }
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let (parts, body) = self
            .router
            .clone()
            .oneshot(request)
            .await
            .unwrap()
            .into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Told {
            status: parts.status.as_u16(),
            text: String::from_utf8(body.to_vec()).unwrap(),
        }
    }
    pub(crate) async fn get(&self, path: &str) -> Told {
        self.send("GET", path, "").await
    }
    /// A GET that succeeds.
    pub(crate) async fn json(&self, path: &str) -> Value {
        let told = self.get(path).await;
        assert_eq!(told.status, 200, "{path}: {}", told.text);
        told.json()
    }
    pub(crate) async fn post(&self, path: &str, body: Value) -> Told {
        self.send("POST", path, &body.to_string()).await
    }
}

/// Two programs, three organisation units, generated attributes.
pub(crate) fn metadata() -> String {
    include_str!("../../samples/metadata.json").to_owned()
}
