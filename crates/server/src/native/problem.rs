//! Errors as answers: the one place that maps them to status, code and words.

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};

use haversack_model::host::LoginError;

use super::wire::{Detail, ProblemBody};

/// Result of a handler.
pub(super) type Result<T, E = Problem> = std::result::Result<T, E>;

/// An error on its way to the client.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    body: Box<ProblemBody>,
    retry_after_s: Option<u32>,
}

impl Problem {
    pub(super) fn new(
        status: StatusCode,
        code: &str,
        message: impl Into<String>,
        what: &str,
    ) -> Self {
        Self {
            status,
            body: Box::new(ProblemBody {
                code: code.to_owned(),
                message: message.into(),
                what: what.to_owned(),
                detail: None,
            }),
            retry_after_s: None,
        }
    }
    pub(super) fn bad(what: &str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid", message, what)
    }
    pub(super) fn missing(what: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "notFound",
            format!("there is no such {what}, or it is not for you"),
            what,
        )
    }
    pub(super) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", message, "authorization")
    }
    pub(super) fn unauthorized(message: impl Into<String>) -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "unauthorized",
            message,
            "authorization",
        )
    }
    pub(super) fn too_large(limit: u64) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "tooLarge",
            format!("the body has more than {limit} bytes"),
            "body",
        )
    }
    pub(super) fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "the request could not be answered; the log has the reason under this request's id",
            "server",
        )
    }
    fn with(mut self, detail: Detail) -> Self {
        self.body.detail = Some(detail);
        self
    }
}

impl From<LoginError> for Problem {
    fn from(error: LoginError) -> Self {
        let LoginError::TooManyAttempts { retry_after_s } = error;
        let mut problem = Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "tooManyAttempts",
            error.to_string(),
            "authorization",
        );
        problem.retry_after_s = Some(retry_after_s);
        problem
    }
}

impl From<haversack_model::Error> for Problem {
    fn from(error: haversack_model::Error) -> Self {
        use haversack_model::Error as E;
        let (status, code, what) = match &error {
            E::NoCollection(_) => (StatusCode::NOT_FOUND, "notFound", "collection"),
            E::NoField { .. } => (StatusCode::BAD_REQUEST, "noField", "field"),
            E::NoReplica(_) => (StatusCode::NOT_FOUND, "noReplica", "replica"),
            E::Resync { .. } => (StatusCode::GONE, "resync", "cursor"),
            E::NewHistory { .. } => (StatusCode::GONE, "newHistory", "cursor"),
            E::BatchOrder { .. } => (StatusCode::CONFLICT, "batchOrder", "batch"),
            E::BatchReused(_) => (StatusCode::UNPROCESSABLE_ENTITY, "batchReused", "batch"),
            E::Invalid { what, .. } => (StatusCode::BAD_REQUEST, "invalid", what.as_str()),
            E::Timeout(_) => (StatusCode::SERVICE_UNAVAILABLE, "timeout", "query"),
            E::DiskFull => (StatusCode::INSUFFICIENT_STORAGE, "diskFull", "server"),
            E::Refused { code: 403, .. } => (StatusCode::FORBIDDEN, "forbidden", "authorization"),
            E::Refused { .. } => (StatusCode::BAD_REQUEST, "refused", "request"),
            _ => {
                tracing::error!(%error, "a request failed");
                return Self::internal();
            }
        };
        let message = match &error {
            E::Refused { message, .. } => message.clone(),
            other => other.to_string(),
        };
        let problem = Self::new(status, code, message, what);
        match error {
            E::NoReplica(id) => problem.with(Detail::NoReplica(id)),
            E::Resync { asked, .. } => problem.with(Detail::Resync { asked }),
            E::NewHistory { history, fork } => problem.with(Detail::NewHistory { history, fork }),
            E::BatchOrder { sent, last } => problem.with(Detail::BatchOrder { sent, last }),
            E::BatchReused(number) => problem.with(Detail::BatchReused(number)),
            _ => problem,
        }
    }
}

impl From<crate::Error> for Problem {
    fn from(error: crate::Error) -> Self {
        use crate::Error as E;
        let message = error.to_string();
        match error {
            E::Model(error) => error.into(),
            E::Invalid { what, .. } => Self::bad(&what, message),
            E::Missing { what, .. } => Self::new(StatusCode::NOT_FOUND, "notFound", message, what),
            E::Exists { what, .. } => Self::new(StatusCode::CONFLICT, "exists", message, what),
            error => {
                tracing::error!(%error, "a request failed");
                Self::internal()
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let text = serde_json::to_string(&self.body).unwrap_or_default();
        let kind = HeaderValue::from_static("application/problem+json");
        let mut response = (self.status, [(CONTENT_TYPE, kind)], text).into_response();
        let headers = response.headers_mut();
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after_s {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
