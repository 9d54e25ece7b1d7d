//! What goes wrong, in the dialect: HTTP 200 with `{"error":{code, message, details}}`, from one exhaustive match.
//!
//! Only two things are not HTTP 200: the refusal of a path that cannot be decoded and of a method that does not exist.
//! Details of the inside never reach a client; they are logged with the request id. Source: `spec/geoservices.md` 7.

use haversack_model as model;
use serde_json::{Value, json};
use uuid::Uuid;

const INVALID: &str = "Cannot perform operation. Invalid operation parameters.";

/// Result of an operation of the face.
pub(crate) type Result<T, E = Problem> = std::result::Result<T, E>;

/// Why a request is not answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Problem {
    /// A parameter or a document is missing or wrong.
    #[error(transparent)]
    Wire(#[from] crate::Error),
    /// A resource that does not exist.
    #[error("{0} does not exist")]
    NotFound(String),
    /// An operation that this service does not offer.
    #[error("this service does not offer {0}")]
    NotOffered(String),
    /// A replica that does not exist or is another's: the same answer for both.
    #[error("'replicaID': there is no such replica")]
    NoReplica,
    /// No credentials where some are needed.
    #[error("Token Required")]
    TokenRequired,
    /// Credentials that are wrong or have expired.
    #[error("Invalid Token")]
    InvalidToken,
    /// Wrong user name or password.
    #[error("Invalid username or password.")]
    WrongPassword,
    /// Credentials that do not suffice.
    #[error("you do not have permission to {0}")]
    Forbidden(String),
    /// The method does not fit the operation.
    #[error("use {0}")]
    Method(&'static str),
    /// A body or a file that is larger than allowed.
    #[error("the request is larger than {0} bytes")]
    TooLarge(usize),
    /// Too many attempts or jobs.
    #[error("{0}")]
    TooMany(String),
    /// All edits were undone because one failed.
    #[error("an edit failed and everything was rolled back")]
    RolledBack(Vec<String>),
    /// The core or a store refused.
    #[error(transparent)]
    Model(#[from] model::Error),
    /// A defect or a failing machine; the text is logged, not sent.
    #[error("{0}")]
    Internal(String),
}

impl Problem {
    /// A wrong parameter.
    pub(crate) fn parameter(name: &str, problem: &str) -> Self {
        Self::Wire(crate::Error::parameter(name, problem))
    }
    /// Puts the name of a parameter before what is wrong within it.
    pub(crate) fn within(name: &str) -> impl Fn(crate::Error) -> Self + '_ {
        move |error| {
            let named = match &error {
                crate::Error::Parameter { name: inner, .. }
                | crate::Error::Sql {
                    parameter: inner, ..
                } => inner == name,
                _ => false,
            };
            if named {
                Self::Wire(error)
            } else {
                Self::parameter(name, &error.to_string())
            }
        }
    }
    /// A clause that is not understood.
    pub(crate) fn sql(name: &str, source: crate::wire::sql::SqlError) -> Self {
        Self::Wire(crate::Error::Sql {
            parameter: name.to_owned(),
            source,
        })
    }
    /// A failing file or process of this machine.
    pub(crate) fn io(doing: &str, error: &std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::StorageFull {
            return Self::Model(model::Error::DiskFull);
        }
        Self::Internal(format!("{doing}: {error}"))
    }

    /// Code, message and details for the client.
    fn told(&self, request: Uuid) -> (i64, &'static str, Vec<String>) {
        const UNABLE: &str = "Unable to complete operation.";
        let text = self.to_string();
        match self {
            Self::NoReplica => (400, INVALID, vec![text]),
            Self::Wire(error) => told_of_wire(error, request),
            Self::NotOffered(_) => (400, "Unsupported operation.", vec![text]),
            Self::RolledBack(details) => {
                let mut all = vec![text];
                all.extend(details.iter().cloned());
                (400, UNABLE, all)
            }
            Self::NotFound(_) => (404, "Not found.", vec![text]),
            Self::TokenRequired => (499, "Token Required", vec![]),
            Self::InvalidToken => (498, "Invalid Token", vec![]),
            Self::WrongPassword => (400, UNABLE, vec![text]),
            Self::Forbidden(_) => (403, "You do not have permissions.", vec![text]),
            Self::Method(_) => (405, "Method not allowed.", vec![text]),
            Self::TooLarge(_) => (413, "Request too large.", vec![text]),
            Self::TooMany(_) => (429, "Too many requests.", vec![text]),
            Self::Model(error) => told_of_model(error, request),
            Self::Internal(_) => internal(request),
        }
    }
    /// Whether the text must stay inside.
    fn is_internal(&self) -> bool {
        matches!(
            self,
            Self::Internal(_)
                | Self::Wire(crate::Error::Io(_))
                | Self::Model(
                    model::Error::Store { .. }
                        | model::Error::Corrupt(_)
                        | model::Error::Network(_)
                        | model::Error::DiskFull
                )
        )
    }
    /// The body, logged where it hides something.
    pub(crate) fn to_json(&self, request: Uuid) -> Value {
        if self.is_internal() {
            tracing::error!(%request, error = ?self, "request failed");
        }
        let (code, message, details) = self.told(request);
        json!({"error": {"code": code, "message": message, "details": details}})
    }
    /// Code and text of a failed single edit or job.
    pub(crate) fn sentence(&self, request: Uuid) -> String {
        let (_, message, details) = self.told(request);
        if details.is_empty() {
            message.to_owned()
        } else {
            details.join("; ")
        }
    }
}

fn told_of_wire(error: &crate::Error, request: Uuid) -> (i64, &'static str, Vec<String>) {
    match error {
        crate::Error::Model(inner) => told_of_model(inner, request),
        crate::Error::Io(_) => internal(request),
        _ => (400, INVALID, vec![error.to_string()]),
    }
}

fn told_of_model(error: &model::Error, request: Uuid) -> (i64, &'static str, Vec<String>) {
    use model::Error as E;
    let text = error.to_string();
    match error {
        E::NoReplica(_) => Problem::NoReplica.told(request),
        E::NoField { .. }
        | E::Invalid { .. }
        | E::BatchOrder { .. }
        | E::BatchReused(_)
        | E::Refused { .. } => (400, INVALID, vec![text]),
        E::Resync { .. } => (
            400,
            "The replica's generation is not available any more: create the replica again.",
            vec![text],
        ),
        E::NoCollection(_) => (404, "Not found.", vec![text]),
        E::Timeout(_) => (504, "The operation took too long.", vec![text]),
        E::DiskFull => (
            500,
            "Unable to complete operation.",
            vec!["the server's disk is full; nothing was changed".to_owned()],
        ),
        // `Store`, `Corrupt`, `Network`, and whatever the model adds: an unknown failure is told as one.
        _ => internal(request),
    }
}

fn internal(request: Uuid) -> (i64, &'static str, Vec<String>) {
    (
        500,
        "Unable to complete operation.",
        vec![format!(
            "the server failed; its log names the cause under request {request}"
        )],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_inside_stays_inside() {
        let problem = Problem::Internal("SELECT secret FROM /var/lib".to_owned());
        let body = problem.to_json(Uuid::nil()).to_string();
        assert!(!body.contains("secret"), "{body}");
        assert!(body.contains(&Uuid::nil().to_string()), "{body}");
    }

    #[test]
    fn a_wrong_parameter_is_named_in_the_details() {
        let body = Problem::parameter("where", "no field 'x'").to_json(Uuid::nil());
        assert_eq!(body["error"]["code"], 400);
        assert_eq!(body["error"]["details"][0], "'where': no field 'x'");
    }
}
