//! What an operation gives back, and its form on the wire.

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde_json::{Value, json};

/// Media type of JSON.
const JSON: &str = "application/json; charset=utf-8";
/// Media type of dumps and tails.
pub(crate) const DUMP: &str = "application/x-arango-dump; charset=utf-8";

/// A status, headers and a body. Bodies are cheap to copy, as the result of a job may be asked for again.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    status: u16,
    headers: Vec<(HeaderName, String)>,
    body: Bytes,
}

impl Answer {
    /// Nothing but a status.
    pub(crate) fn empty(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Bytes::new(),
        }
    }
    /// A JSON document.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "callers build the document for this"
    )]
    pub(crate) fn json(status: u16, body: Value) -> Self {
        Self::text(status, JSON, body.to_string())
    }
    /// JSON that is text already.
    pub(crate) fn json_text(status: u16, body: String) -> Self {
        Self::text(status, JSON, body)
    }
    /// An object, with `error` and `code` as the administrative operations have them.
    pub(crate) fn ok(status: u16, mut body: Value) -> Self {
        body["error"] = Value::Bool(false);
        body["code"] = Value::from(status);
        Self::json(status, body)
    }
    /// Text of some type.
    pub(crate) fn text(status: u16, kind: &str, body: String) -> Self {
        Self {
            body: Bytes::from(body),
            ..Self::empty(status)
        }
        .with(header::CONTENT_TYPE, kind)
    }
    /// One more header.
    pub(crate) fn with(mut self, name: HeaderName, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }
    /// As it is kept over a restart; `None` if it is no text.
    pub(crate) fn to_kept(&self) -> Option<Value> {
        let headers = self
            .headers
            .iter()
            .map(|(name, value)| json!([name.as_str(), value]));
        let body = std::str::from_utf8(&self.body).ok()?;
        Some(json!({"status": self.status, "headers": headers.collect::<Value>(), "body": body}))
    }
    /// As it was kept.
    pub(crate) fn from_kept(kept: &Value) -> Option<Self> {
        let mut answer = Self {
            body: Bytes::from(kept["body"].as_str()?.to_owned()),
            ..Self::empty(u16::try_from(kept["status"].as_u64()?).ok()?)
        };
        for header in kept["headers"].as_array()? {
            let name = header[0].as_str()?.parse().ok()?;
            answer = answer.with(name, header[1].as_str()?);
        }
        Some(answer)
    }
    /// Size of the body.
    pub(crate) fn len(&self) -> usize {
        self.body.len()
    }

    /// On the wire; an answer to HEAD has no body.
    pub(crate) fn into_response(self, is_head: bool) -> Response {
        let body = if is_head {
            Body::empty()
        } else {
            Body::from(self.body)
        };
        let mut response = Response::new(body);
        *response.status_mut() = StatusCode::from_u16(self.status).unwrap_or_default();
        for (name, value) in self.headers {
            if let Ok(value) = HeaderValue::from_str(&value) {
                response.headers_mut().append(name, value);
            }
        }
        response
    }
}
