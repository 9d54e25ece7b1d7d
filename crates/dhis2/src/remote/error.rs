//! What can go wrong when a DHIS2 server is spoken to.

/// Result with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure that a caller can act on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Something that the caller named does not do.
    #[error("{what}: {problem}")]
    Parameter {
        /// What.
        what: &'static str,
        /// Why, and what would be right.
        problem: String,
    },
    /// The network failed; whether the request took effect is unknown.
    #[error("{doing}: {source}")]
    Network {
        /// What was being done.
        doing: &'static str,
        /// Why.
        source: reqwest::Error,
    },
    /// The answer broke off, or was too large or too slow.
    #[error("the answer to {path} {problem}")]
    Answer {
        /// What was asked for.
        path: String,
        /// What was wrong with it.
        problem: String,
    },
    /// The server sent us elsewhere.
    #[error("the server redirects to {to:?}; use that address")]
    Redirected {
        /// Where.
        to: String,
    },
    /// User name, password or token are wrong.
    #[error("the server does not accept this login")]
    BadCredentials,
    /// The account was disabled. The server's users expect that their data is removed then.
    #[error("this account is disabled")]
    AccountDisabled,
    /// The account is locked for some time.
    #[error("this account is locked; wait, or ask an administrator")]
    AccountLocked,
    /// It does not speak the dialect.
    #[error("{url} is no DHIS2 server: {problem}")]
    NotDhis2 {
        /// Its address.
        url: String,
        /// What it said instead.
        problem: String,
    },
    /// The server refused.
    #[error("the server refused {path}: {message} ({status})")]
    Refused {
        /// What was asked for.
        path: String,
        /// HTTP status.
        status: u16,
        /// The dialect's code, such as `E1005`, if it gave one.
        code: Option<String>,
        /// Its words.
        message: String,
    },
    /// There is no value to give out, and the server gave none.
    #[error("no reserved value of attribute {attribute} is left{}{problem}", if problem.is_empty() { "" } else { ": " })]
    NoReservedValues {
        /// Which attribute.
        attribute: String,
        /// Why there are no more; empty if that is not known.
        problem: String,
    },
    /// The copy failed.
    #[error(transparent)]
    Model(#[from] haversack_model::Error),
}

impl Error {
    /// Whether asking again may help: the network, or a server that is out of order for now.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Network { .. } | Self::Answer { .. } => true,
            Self::Refused { status, .. } => matches!(status, 429 | 500..),
            _ => false,
        }
    }
    /// HTTP status of a refusal.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }
}

impl From<Error> for haversack_model::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Model(error) => error,
            Error::BadCredentials | Error::AccountDisabled | Error::AccountLocked => {
                Self::Refused {
                    code: 401,
                    message: error.to_string(),
                }
            }
            Error::Refused { status, .. } => Self::Refused {
                code: i64::from(status),
                message: error.to_string(),
            },
            Error::Parameter { what, problem } => Self::Invalid {
                what: what.to_owned(),
                problem,
            },
            error => Self::Network(Box::new(error)),
        }
    }
}
