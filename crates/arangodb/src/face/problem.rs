//! What goes wrong, in the dialect: an HTTP status and `{"error":true,"code","errorNum","errorMessage"}`, from one match.
//!
//! Details of the inside never reach a client; they are logged. Source: `spec/arangodb.md` 1 and 11.

use haversack_model as model;
use http::{HeaderName, header};
use serde_json::{Value, json};

use super::answer::Answer;
use crate::wire::aql::BadQuery;
use crate::wire::errors::ErrorNum;
use haversack_model::json::BadJson;

/// Result of an operation of the face.
pub(crate) type Result<T, E = Problem> = std::result::Result<T, E>;

/// Why a request is not answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Problem {
    /// A number of the dialect with a sentence.
    #[error("{message}")]
    Told {
        /// The number.
        num: ErrorNum,
        /// The sentence.
        message: String,
    },
    /// A precondition failed; the document as it is.
    #[error("conflict, _rev values do not match")]
    Conflict {
        /// Its identity: `_id`, `_key`, `_rev`.
        found: Box<Value>,
    },
    /// No credentials, or wrong ones.
    #[error("not authorized to execute this request")]
    Unauthorized,
    /// Too many logins.
    #[error("too many attempts")]
    TooMany {
        /// Seconds to wait.
        retry_after_s: u32,
    },
    /// A body that is no JSON.
    #[error(transparent)]
    Json(#[from] BadJson),
    /// A query that is not understood.
    #[error(transparent)]
    Query(#[from] BadQuery),
    /// A store refused.
    #[error(transparent)]
    Model(#[from] model::Error),
    /// A defect or a failing machine; the text is logged, not sent.
    #[error("{0}")]
    Internal(String),
}

impl Problem {
    /// A problem by its number, with the usual text.
    pub(crate) fn of(num: ErrorNum) -> Self {
        Self::told(num, num.text())
    }
    /// A problem by its number, with a sentence.
    pub(crate) fn told(num: ErrorNum, message: impl Into<String>) -> Self {
        Self::Told {
            num,
            message: message.into(),
        }
    }
    /// A wrong request.
    pub(crate) fn bad_parameter(message: impl Into<String>) -> Self {
        Self::told(ErrorNum::HttpBadParameter, message)
    }
    /// A body that is too large.
    pub(crate) fn too_large(max_bytes: usize) -> Self {
        Self::told(
            ErrorNum::HttpTooLarge,
            format!("the request is larger than {max_bytes} bytes, or was cut"),
        )
    }

    /// Number and sentence for the client.
    pub(crate) fn number(&self) -> (ErrorNum, String) {
        let text = self.to_string();
        let num = match self {
            Self::Told { num, .. } => *num,
            Self::Conflict { .. } => ErrorNum::Conflict,
            Self::Unauthorized => ErrorNum::Forbidden,
            Self::TooMany { .. } => ErrorNum::HttpTooMany,
            Self::Json(_) => ErrorNum::CorruptedJson,
            Self::Query(BadQuery::Syntax { .. }) => ErrorNum::QueryParse,
            Self::Query(BadQuery::Bind(_)) => ErrorNum::BindParameterMissing,
            Self::Model(error) => return of_model(error),
            Self::Internal(_) => return (ErrorNum::Internal, ErrorNum::Internal.text().to_owned()),
        };
        (num, text)
    }

    /// The body for one document of many.
    pub(crate) fn to_element(&self) -> Value {
        let (num, message) = self.number();
        let mut body = json!({"error": true, "errorNum": num.number(), "errorMessage": message});
        if let Self::Conflict { found } = self {
            extend(&mut body, found);
        }
        body
    }

    /// The answer, logged where it hides something.
    pub(crate) fn to_answer(&self) -> Answer {
        let (num, message) = self.number();
        if num == ErrorNum::Internal {
            tracing::error!(error = ?self, "request failed");
        }
        let status = match self {
            Self::Unauthorized => 401,
            _ => num.status(),
        };
        let mut body = json!({
            "error": true, "code": status, "errorNum": num.number(), "errorMessage": message,
        });
        if let Self::Conflict { found } = self {
            extend(&mut body, found);
        }
        let answer = Answer::json(status, body);
        match self {
            // Both, as clients look for either.
            Self::Unauthorized => answer
                .with(
                    header::WWW_AUTHENTICATE,
                    "Bearer token_type=\"JWT\", realm=\"Haversack\"",
                )
                .with(header::WWW_AUTHENTICATE, "Basic realm=\"Haversack\""),
            Self::TooMany { retry_after_s } => answer.with(
                HeaderName::from_static("retry-after"),
                &retry_after_s.to_string(),
            ),
            _ => answer,
        }
    }
}

fn extend(body: &mut Value, with: &Value) {
    for (name, value) in with.as_object().into_iter().flatten() {
        body[name.as_str()] = value.clone();
    }
}

fn of_model(error: &model::Error) -> (ErrorNum, String) {
    use model::Error as E;
    let num = match error {
        E::Unique { .. } => ErrorNum::UniqueConstraint,
        E::Invalid { .. } | E::NoField { .. } | E::Refused { .. } => ErrorNum::HttpBadParameter,
        E::NoCollection(_) => ErrorNum::CollectionNotFound,
        E::Timeout(_) => ErrorNum::LockTimeout,
        E::Resync { .. } => ErrorNum::CursorNotFound,
        E::DiskFull => {
            let text = "the server's disk is full; nothing was changed";
            return (ErrorNum::ResourceLimit, text.to_owned());
        }
        // `Store`, `Corrupt`, `Network`, and whatever the model adds: an unknown failure is told as one.
        _ => return (ErrorNum::Internal, ErrorNum::Internal.text().to_owned()),
    };
    (num, error.to_string())
}
