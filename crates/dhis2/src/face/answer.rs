//! What an operation gives back, and its form on the wire.

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde_json::{Value, json};

/// A status, headers and a body.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    status: u16,
    headers: Vec<(HeaderName, String)>,
    body: Bytes,
}

impl Answer {
    /// A JSON document.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "callers build the document for this"
    )]
    pub(crate) fn json(status: u16, body: Value) -> Self {
        Self::text(status, "application/json;charset=UTF-8", body.to_string())
    }
    /// Text of some type.
    pub(crate) fn text(status: u16, kind: &str, body: String) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Bytes::from(body),
        }
        .with(header::CONTENT_TYPE, kind)
    }
    /// A file, for keeping: what is in it is never shown as a page of this server.
    pub(crate) fn bytes(kind: &str, name: &str, content: Vec<u8>) -> Self {
        let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '\\' | '%');
        let name: String = name
            .chars()
            .map(|c| if plain(c) { c } else { '_' })
            .collect();
        Self {
            status: 200,
            headers: Vec::new(),
            body: Bytes::from(content),
        }
        .with(header::CONTENT_TYPE, kind)
        .with(header::X_CONTENT_TYPE_OPTIONS, "nosniff")
        .with(
            header::CONTENT_DISPOSITION,
            &format!("attachment; filename=\"{name}\""),
        )
    }
    /// The dialect's message, with what else is to be told.
    pub(crate) fn message(status: u16, message: &str, more: &Value) -> Self {
        let mut body = json!({
            "httpStatus": reason(status), "httpStatusCode": status, "status": if status < 400 { "OK" } else { "ERROR" },
            "message": message,
        });
        for (name, value) in more.as_object().into_iter().flatten() {
            body[name.as_str()] = value.clone();
        }
        Self::json(status, body)
    }
    /// One more header.
    pub(crate) fn with(mut self, name: HeaderName, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    /// The body, if the status is that of a refusal.
    pub(crate) fn refusal(&self) -> Option<String> {
        (self.status >= 400).then(|| String::from_utf8_lossy(&self.body).into_owned())
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

/// The words of a status: `Not Found`.
pub(crate) fn reason(status: u16) -> &'static str {
    let known = StatusCode::from_u16(status).ok();
    known
        .and_then(|status| status.canonical_reason())
        .unwrap_or("Error")
}
