//! A way to a server that notes what is asked, and may hide that the server is a Haversack.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;

/// What is done to an answer: the request's method and path with its query, and the answer's status and body. `None` never answers.
pub(crate) type Alter = dyn Fn(&str, &str, u16, Vec<u8>) -> Option<(u16, Vec<u8>)> + Send + Sync;

/// A proxy for requests, each answer of which may be altered.
pub(crate) struct Gate {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
    alter: Arc<Mutex<Arc<Alter>>>,
    _runtime: tokio::runtime::Runtime,
}

impl Gate {
    /// A way to a server that alters nothing.
    pub(crate) fn start(target: SocketAddr) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let seen = Arc::<Mutex<Vec<String>>>::default();
        let alter: Arc<Alter> = Arc::new(|_, _, status, body| Some((status, body)));
        let alter = Arc::new(Mutex::new(alter));
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let (notes, altering) = (Arc::clone(&seen), Arc::clone(&alter));
        let router = Router::new().fallback(move |request: Request| {
            let (client, notes) = (client.clone(), Arc::clone(&notes));
            let altering = Arc::clone(&altering);
            async move {
                let (parts, body) = request.into_parts();
                let (method, path) = (parts.method.to_string(), parts.uri.to_string());
                notes.lock().unwrap().push(format!("{method} {path}"));
                let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
                let mut headers = parts.headers;
                headers.remove("host");
                let asked = client
                    .request(parts.method, format!("http://{target}{path}"))
                    .headers(headers)
                    .body(body);
                let Ok(answer) = asked.send().await else {
                    return Response::builder().status(502).body(Body::empty()).unwrap();
                };
                let mut headers = answer.headers().clone();
                for name in ["content-length", "transfer-encoding", "connection"] {
                    headers.remove(name);
                }
                let status = answer.status().as_u16();
                let body = answer.bytes().await.map(|body| body.to_vec());
                let alter = Arc::clone(&altering.lock().unwrap());
                let altered = alter(&method, &path, status, body.unwrap_or_default());
                let Some((status, body)) = altered else {
                    return std::future::pending().await;
                };
                let mut response = Response::new(Body::from(body));
                *response.status_mut() = http::StatusCode::from_u16(status).unwrap();
                *response.headers_mut() = headers;
                response
            }
        });
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self {
            address,
            seen,
            alter,
            _runtime: runtime,
        }
    }
    /// A way on which the server looks like one that speaks only ArangoDB's protocols.
    pub(crate) fn hiding(target: SocketAddr) -> Self {
        let gate = Self::start(target);
        gate.alter(|_, path, status, body| Some(hidden(path, status, body)));
        gate
    }
    /// Alters answers from now on.
    pub(crate) fn alter(
        &self,
        alter: impl Fn(&str, &str, u16, Vec<u8>) -> Option<(u16, Vec<u8>)> + Send + Sync + 'static,
    ) {
        *self.alter.lock().unwrap() = Arc::new(alter);
    }
    /// The requests since this was last asked.
    pub(crate) fn seen(&self) -> Vec<String> {
        std::mem::take(&mut *self.seen.lock().unwrap())
    }
}

/// An answer without what tells of a Haversack.
pub(crate) fn hidden(path: &str, status: u16, body: Vec<u8>) -> (u16, Vec<u8>) {
    if path.starts_with("/v1") {
        let nothing = r#"{"error":true,"code":404,"errorNum":404,"errorMessage":"unknown path"}"#;
        return (404, nothing.into());
    }
    let is_told = path.contains("/batch") || path.contains("/logger-state");
    match String::from_utf8(body) {
        Ok(text) if is_told => (status, text.replace("\"haversack\":", "\"other\":").into()),
        Ok(text) => (status, text.into()),
        Err(error) => (status, error.into_bytes()),
    }
}
