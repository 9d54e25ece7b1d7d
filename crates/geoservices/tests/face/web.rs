//! Requests to the face, as clients send them.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use haversack_geoservices::face;
use http::{Request, header};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tower::ServiceExt as _;

use crate::host::TestHost;

/// Path of the service of these tests.
pub(crate) const SERVICE: &str = "/arcgis/rest/services/Trees/FeatureServer";

/// A client of the face, perhaps logged in.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) host: Arc<TestHost>,
    router: Router,
    token: Option<String>,
}

impl Client {
    /// The anonymous user of a fresh host.
    pub(crate) fn new() -> Self {
        Self::of(&TestHost::new())
    }
    /// The anonymous user of a host.
    pub(crate) fn of(host: &Arc<TestHost>) -> Self {
        let router = Router::new().nest("/arcgis", face::router(Arc::clone(host) as _));
        Self {
            host: Arc::clone(host),
            router,
            token: None,
        }
    }
    /// The same host as this user.
    pub(crate) fn user(&self, name: &str) -> Self {
        Self {
            token: Some(self.host.token(name)),
            ..self.clone()
        }
    }

    /// Sends any request.
    pub(crate) async fn send(&self, request: Request<Body>) -> Response {
        self.router.clone().oneshot(request).await.unwrap()
    }
    /// GET of a whole path; the JSON of the answer.
    pub(crate) async fn get(&self, path: &str) -> Value {
        let response = self
            .send(self.request("GET", path).body(Body::empty()).unwrap())
            .await;
        json(response).await
    }
    /// GET of a whole path; status, headers and bytes.
    pub(crate) async fn fetch(&self, path: &str) -> (http::response::Parts, Vec<u8>) {
        self.raw(self.request("GET", path).body(Body::empty()).unwrap())
            .await
    }
    /// Sends any request; status, headers and bytes of the answer.
    pub(crate) async fn raw(&self, request: Request<Body>) -> (http::response::Parts, Vec<u8>) {
        let (parts, body) = self.send(request).await.into_parts();
        (parts, body.collect().await.unwrap().to_bytes().to_vec())
    }
    /// POST of a form to a path below the service.
    pub(crate) async fn post(&self, path: &str, params: &[(&str, &str)]) -> Value {
        self.post_to(&format!("{SERVICE}/{path}"), params).await
    }
    /// POST of a form to a whole path.
    pub(crate) async fn post_to(&self, path: &str, params: &[(&str, &str)]) -> Value {
        let request = self
            .request("POST", path)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Body::from(form(params)))
            .unwrap();
        json(self.send(request).await).await
    }
    /// POST of a multipart body with one file to a path below the service.
    pub(crate) async fn post_file(
        &self,
        path: &str,
        params: &[(&str, &str)],
        (field, name, content): (&str, &str, &[u8]),
    ) -> Value {
        let mut body = Vec::new();
        for (name, value) in params {
            body.extend(
                format!(
                    "--edge\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
                )
                .bytes(),
            );
        }
        let head = format!(
            "--edge\r\nContent-Disposition: form-data; name=\"{field}\"; filename=\"{name}\"\r\n\r\n"
        );
        body.extend(head.bytes());
        body.extend(content);
        body.extend(b"\r\n--edge--\r\n");
        let request = self
            .request("POST", &format!("{SERVICE}/{path}"))
            .header(header::CONTENT_TYPE, "multipart/form-data; boundary=edge")
            .body(Body::from(body))
            .unwrap();
        json(self.send(request).await).await
    }
    /// The start of a request with this client's credentials.
    pub(crate) fn request(&self, method: &str, path: &str) -> http::request::Builder {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "server.example:8443");
        if let Some(token) = &self.token {
            request = request.header("X-Esri-Authorization", format!("Bearer {token}"));
        }
        request
    }
}

/// An urlencoded form.
pub(crate) fn form(params: &[(&str, &str)]) -> String {
    let encode = |text: &str| {
        text.bytes().fold(String::new(), |mut out, byte| {
            let _ = write!(out, "%{byte:02X}");
            out
        })
    };
    let pairs = params
        .iter()
        .map(|(name, value)| format!("{name}={}", encode(value)));
    pairs.collect::<Vec<_>>().join("&")
}

/// The JSON of an answer, which the dialect always sends with HTTP 200.
pub(crate) async fn json(response: Response) -> Value {
    assert_eq!(response.status(), 200);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    serde_json::from_slice(&body)
        .unwrap_or_else(|_| panic!("not JSON: {}", String::from_utf8_lossy(&body)))
}

/// The part of a URL behind the host.
pub(crate) fn path_of(url: &Value) -> String {
    let url = url.as_str().unwrap_or_else(|| panic!("no URL: {url}"));
    let rest = url.split("://").nth(1).unwrap();
    rest[rest.find('/').unwrap()..].to_owned()
}

/// Code of an error answer.
pub(crate) fn code(answer: &Value) -> i64 {
    answer["error"]["code"]
        .as_i64()
        .unwrap_or_else(|| panic!("no error: {answer}"))
}
