//! Requests to a face, and faces behind a socket whose answers a test may change on their way.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::Response;
use base64::Engine as _;
use haversack_arangodb::face;
use http::HeaderMap;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::host::{PASSWORD, TestHost};

/// A face with a user who asks it.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) host: Arc<TestHost>,
    pub(crate) router: Router,
    user: &'static str,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Told {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {}", self.text))
    }
    /// Status and error number.
    pub(crate) fn error(&self) -> (u16, u64) {
        (self.status, self.json()["errorNum"].as_u64().unwrap_or(0))
    }
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }
}

impl Client {
    /// A fresh server, asked by an administrator.
    pub(crate) fn new() -> Self {
        Self::of(TestHost::new())
    }
    /// A server, asked by an administrator.
    pub(crate) fn of(host: Arc<TestHost>) -> Self {
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
    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Told {
        let mut request = Request::builder().method(method).uri(path);
        if !self.user.is_empty() {
            let pair = base64::engine::general_purpose::STANDARD
                .encode(format!("{}:{PASSWORD}", self.user));
            request = request.header("authorization", format!("Basic {pair}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
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
            headers: parts.headers,
            text: String::from_utf8(body.to_vec()).unwrap(),
        }
    }
    pub(crate) async fn get(&self, path: &str) -> Told {
        self.send("GET", path, &[], "").await
    }
    pub(crate) async fn post(&self, path: &str, body: Value) -> Told {
        self.send("POST", path, &[], &body.to_string()).await
    }
    pub(crate) async fn put(&self, path: &str, body: Value) -> Told {
        self.send("PUT", path, &[], &body.to_string()).await
    }
    pub(crate) async fn delete(&self, path: &str) -> Told {
        self.send("DELETE", path, &[], "").await
    }
    /// A collection with documents.
    pub(crate) async fn fill(&self, name: &str, documents: Value) {
        self.post("/_api/collection", json!({"name": name})).await;
        let told = self
            .post(&format!("/_api/document/{name}"), documents)
            .await;
        assert_eq!(told.status, 202, "{}", told.text);
        assert!(!told.text.contains("errorNum"), "{}", told.text);
    }
    /// All documents of a collection in the order of their keys.
    pub(crate) async fn all(&self, name: &str) -> Vec<Value> {
        let query = json!({"query": format!("FOR d IN {name} RETURN d"), "batchSize": 1_000_000});
        let told = self.post("/_api/cursor", query).await;
        assert_eq!(told.status, 201, "{}", told.text);
        told.json()["result"].as_array().unwrap().clone()
    }
    /// Puts the face behind a socket.
    pub(crate) async fn listen(&self) -> Primary {
        let primary = Primary {
            port: 0,
            seen: Arc::default(),
            fault: Arc::default(),
        };
        let tampered = primary.clone();
        let router =
            self.router
                .clone()
                .layer(middleware::from_fn(move |request: Request, next: Next| {
                    let tampered = tampered.clone();
                    async move { tampered.pass(request, next).await }
                }));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move { axum::serve(listener, router).await });
        Primary { port, ..primary }
    }
    /// Orders a copy from a primary.
    pub(crate) async fn sync(&self, primary: &Primary, names: &[&str], more: Value) -> Told {
        let mut order = json!({
            "endpoint": format!("tcp://127.0.0.1:{}", primary.port), "username": "root", "password": PASSWORD,
            "restrictType": "include", "restrictCollections": names,
        });
        for (name, value) in more.as_object().unwrap() {
            order[name] = value.clone();
        }
        self.put("/_api/replication/sync", order).await
    }
}

/// What is done to an answer: the request's method and path with its query, and the answer. `None` never answers.
pub(crate) type Fault = dyn Fn(&str, &str, Response) -> Option<Response> + Send + Sync;

/// A face behind a socket.
#[derive(Clone)]
pub(crate) struct Primary {
    pub(crate) port: u16,
    seen: Arc<Mutex<Vec<String>>>,
    fault: Arc<Mutex<Option<Arc<Fault>>>>,
}

impl Primary {
    async fn pass(&self, request: Request, next: Next) -> Response {
        let (method, path) = (request.method().to_string(), request.uri().to_string());
        self.seen.lock().unwrap().push(format!("{method} {path}"));
        let response = next.run(request).await;
        let fault = self.fault.lock().unwrap().clone();
        let answer = match fault {
            None => Some(response),
            Some(fault) => fault(&method, &path, response),
        };
        match answer {
            Some(response) => response,
            None => std::future::pending().await,
        }
    }
    /// Changes answers from now on.
    pub(crate) fn fail(
        &self,
        fault: impl Fn(&str, &str, Response) -> Option<Response> + Send + Sync + 'static,
    ) {
        *self.fault.lock().unwrap() = Some(Arc::new(fault));
    }
    /// Changes nothing from now on.
    pub(crate) fn heal(&self) {
        *self.fault.lock().unwrap() = None;
    }
    /// The requests since this was last asked.
    pub(crate) fn seen(&self) -> Vec<String> {
        std::mem::take(&mut *self.seen.lock().unwrap())
    }
}
