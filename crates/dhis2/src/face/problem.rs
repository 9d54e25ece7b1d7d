//! What goes wrong, in the dialect: an HTTP status and `{"httpStatus","httpStatusCode","status":"ERROR","message","errorCode"}`, from one match.
//!
//! Details of the inside never reach a client; they are logged. Source: `spec/dhis2.md` 1.

use haversack_model as model;
use http::{HeaderName, header};
use serde_json::{Value, json};

use super::answer::Answer;
use haversack_model::json::BadJson;

/// Result of an operation of the face.
pub(crate) type Result<T, E = Problem> = std::result::Result<T, E>;

/// Why a request is not answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Problem {
    /// A wrong request.
    #[error("{0}")]
    BadRequest(String),
    /// No credentials, or wrong ones.
    #[error("Unauthorized")]
    Unauthorized,
    /// Not allowed.
    #[error("{message}")]
    Forbidden {
        /// The sentence.
        message: String,
        /// The dialect's code; empty if there is none.
        code: &'static str,
    },
    /// Not there, or not for this user.
    #[error("{message}")]
    NotFound {
        /// The sentence.
        message: String,
        /// The dialect's code; empty if there is none.
        code: &'static str,
    },
    /// This cannot be done with this address.
    #[error("Request method is not supported")]
    Method,
    /// It does not go with what is stored.
    #[error("{0}")]
    Conflict(String),
    /// A body that is too large.
    #[error("the request is larger than {0} bytes, or was cut")]
    TooLarge(usize),
    /// Too many logins.
    #[error("too many attempts")]
    TooMany {
        /// Seconds to wait.
        retry_after_s: u32,
    },
    /// A body that is no JSON.
    #[error(transparent)]
    Json(#[from] BadJson),
    /// A store refused.
    #[error(transparent)]
    Model(#[from] model::Error),
    /// A defect or a failing machine; the text is logged, not sent.
    #[error("{0}")]
    Internal(String),
}

impl Problem {
    /// A wrong request.
    pub(crate) fn bad(message: impl Into<String>) -> Self {
        Self::BadRequest(message.into())
    }
    /// Not allowed.
    pub(crate) fn forbidden(message: impl Into<String>) -> Self {
        Self::Forbidden {
            message: message.into(),
            code: "",
        }
    }
    /// Not there.
    pub(crate) fn missing(what: &str, id: &str) -> Self {
        Self::NotFound {
            message: format!("{what} with id {id} could not be found."),
            code: "E1005",
        }
    }
    /// An address of nothing.
    pub(crate) fn no_such_path() -> Self {
        Self::absent(
            "this server has nothing at this address: ask for one of those that COMPAT.md lists under DHIS2",
        )
    }
    /// Something that other servers of the dialect have.
    pub(crate) fn absent(why: &str) -> Self {
        Self::NotFound {
            message: why.to_owned(),
            code: "",
        }
    }

    fn told(&self) -> (u16, String, &'static str) {
        let text = self.to_string();
        match self {
            Self::BadRequest(_) | Self::Json(_) => (400, text, ""),
            Self::Unauthorized => (401, text, ""),
            Self::Forbidden { code, .. } => (403, text, code),
            Self::NotFound { code, .. } => (404, text, code),
            Self::Method => (405, text, ""),
            Self::Conflict(_) => (409, text, ""),
            Self::TooLarge(_) => (413, text, ""),
            Self::TooMany { .. } => (429, text, ""),
            Self::Model(error) => of_model(error),
            Self::Internal(_) => internal(),
        }
    }

    /// The answer, logged where it hides something.
    pub(crate) fn to_answer(&self) -> Answer {
        let (status, message, code) = self.told();
        if status == 500 {
            tracing::error!(error = ?self, "request failed");
        }
        let more = if code.is_empty() {
            Value::Null
        } else {
            json!({"errorCode": code})
        };
        let answer = Answer::message(status, &message, &more);
        match self {
            Self::Unauthorized => {
                answer.with(header::WWW_AUTHENTICATE, "Basic realm=\"Haversack\"")
            }
            Self::TooMany { retry_after_s } => answer.with(
                HeaderName::from_static("retry-after"),
                &retry_after_s.to_string(),
            ),
            _ => answer,
        }
    }
}

fn internal() -> (u16, String, &'static str) {
    let text = "the server failed; its log has the reason under this request's id";
    (500, text.to_owned(), "")
}

fn of_model(error: &model::Error) -> (u16, String, &'static str) {
    use model::Error as E;
    match error {
        E::Invalid { .. } | E::NoField { .. } | E::Refused { .. } => (400, error.to_string(), ""),
        E::Unique { .. } => (409, error.to_string(), ""),
        E::Timeout(_) => (503, error.to_string(), ""),
        E::DiskFull => (
            507,
            "the server's disk is full; nothing was changed".to_owned(),
            "",
        ),
        // `Store`, `Corrupt`, `Network`, and whatever the model adds: an unknown failure is told as one.
        _ => internal(),
    }
}
