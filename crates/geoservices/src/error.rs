//! What can go wrong while reading or speaking the dialect.
//!
//! Every variant names what was wrong, so that a face can put the text into `details` as it is.

use crate::wire::sql::SqlError;

/// Result with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure of parsing, of a codec or of a server elsewhere.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A request parameter is missing or has no legal value.
    #[error("'{name}': {problem}")]
    Parameter {
        /// Name of the parameter as documented.
        name: String,
        /// What is wrong and which values are legal.
        problem: String,
    },
    /// A JSON document does not have the expected form.
    #[error("{at}: {problem}")]
    Document {
        /// Where in which document, such as `adds[3].attributes`.
        at: String,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// An attribute value that does not fit its field.
    #[error("field '{field}': {problem}")]
    Field {
        /// The field.
        field: String,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// A geometry that cannot be stored.
    #[error("geometry: {problem}")]
    Geometry {
        /// What is wrong.
        problem: String,
    },
    /// A clause in the query language that is not understood.
    #[error("'{parameter}': {source}")]
    Sql {
        /// The parameter that held it.
        parameter: String,
        /// What is wrong with it.
        source: SqlError,
    },
    /// A spatial reference of which no definition is known.
    #[error("spatial reference {wkid} is not known")]
    UnknownWkid {
        /// The code.
        wkid: i64,
    },
    /// A coordinate outside the area of a projection.
    #[error("cannot transform from EPSG:{from} to EPSG:{to}: {problem}")]
    Reproject {
        /// EPSG code of the source.
        from: i32,
        /// EPSG code of the target.
        to: i32,
        /// The reason.
        problem: String,
    },
    /// The network failed; whether a request took effect is unknown.
    #[error("{doing}: {source}")]
    Network {
        /// What was being done.
        doing: &'static str,
        /// What failed.
        source: reqwest::Error,
    },
    /// The other server answered with an error.
    #[error("the server refused: {message} (code {code})")]
    Refused {
        /// Its code.
        code: i64,
        /// Its words.
        message: String,
    },
    /// The other server answered with an HTTP status that says no more.
    #[error("the server answered with HTTP status {status}")]
    Status {
        /// The status.
        status: u16,
    },
    /// The other server sends elsewhere. Credentials and edits are not taken there.
    #[error("the server redirects to {to:?}, which is not followed; give the right address")]
    Redirected {
        /// Where to.
        to: String,
    },
    /// An answer is larger than allowed.
    #[error("the answer is larger than {max_bytes} bytes")]
    TooLarge {
        /// The limit.
        max_bytes: u64,
    },
    /// An answer or a job takes longer than allowed.
    #[error("{doing} took longer than {seconds} s")]
    TooSlow {
        /// What was waited for.
        doing: &'static str,
        /// The limit.
        seconds: u64,
    },
    /// Reading or writing a stream failed.
    #[error("reading or writing failed: {0}")]
    Io(#[from] std::io::Error),
    /// A failure behind the traits of the model.
    #[error(transparent)]
    Model(#[from] haversack_model::Error),
}

impl Error {
    /// A [`Error::Parameter`].
    pub fn parameter(name: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Parameter {
            name: name.into(),
            problem: problem.into(),
        }
    }
    /// A [`Error::Document`].
    pub fn document(at: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Document {
            at: at.into(),
            problem: problem.into(),
        }
    }
    /// A [`Error::Field`].
    pub fn field(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Field {
            field: field.into(),
            problem: problem.into(),
        }
    }
    /// A [`Error::Geometry`].
    pub fn geometry(problem: impl Into<String>) -> Self {
        Self::Geometry {
            problem: problem.into(),
        }
    }
}

/// For callers of the model's traits: whatever leaves open whether a request took effect is a failure of the network,
/// so that it is sent again.
impl From<Error> for haversack_model::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Model(error) => error,
            Error::Refused { code, message } => Self::Refused { code, message },
            Error::Redirected { .. } => Self::Refused {
                code: 0,
                message: error.to_string(),
            },
            Error::Parameter { name, problem } => Self::Invalid {
                what: name,
                problem,
            },
            Error::Io(source) if source.kind() == std::io::ErrorKind::StorageFull => Self::DiskFull,
            other => Self::Network(Box::new(other)),
        }
    }
}
