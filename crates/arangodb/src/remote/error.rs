//! Why a synchronisation failed, each with its number in the dialect. Source: `spec/arangodb.md` 3.

use haversack_model as model;

use crate::wire::config::BadConfig;
use crate::wire::endpoint::BadEndpoint;
use crate::wire::errors::ErrorNum;

/// Result with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A synchronisation that failed. What was there is still there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The order contradicts itself.
    #[error(transparent)]
    Config(#[from] BadConfig),
    /// The order names no server.
    #[error(transparent)]
    Endpoint(#[from] BadEndpoint),
    /// The endpoint leads to an address that the list does not name.
    #[error("connecting to this endpoint is not allowed; see --allow-endpoint")]
    NotAllowed,
    /// The file of certificates does not do.
    #[error("the certificates by which leaders are known cannot be read: {0}")]
    Certificates(String),
    /// Another copy of the collection is under way.
    #[error("the collection {0:?} is being synchronised already")]
    Busy(String),
    /// The primary does not answer.
    #[error("no response from leader: {0}")]
    NoResponse(String),
    /// The primary's answer is not understood, incomplete or contradicts itself.
    #[error("invalid response from leader: {0}")]
    InvalidResponse(String),
    /// An answer of the primary ended before its end.
    #[error("invalid response from leader: {0}")]
    Cut(String),
    /// The primary answered with an error.
    #[error("leader answered {what} with HTTP {status}: {body}")]
    Leader {
        /// What was asked.
        what: &'static str,
        /// Its status.
        status: u16,
        /// The beginning of what it said.
        body: String,
    },
    /// A primary of another major version.
    #[error("leader is of version {0}; only 3.x can be copied from")]
    Incompatible(String),
    /// The primary is this very server.
    #[error("leader is this server itself")]
    Loop,
    /// It was told to stop.
    #[error("the synchronisation was stopped")]
    Stopped,
    /// Whoever gave the order may not write the collection here.
    #[error("your grant does not let you replace the collection {0:?}")]
    NotGranted(String),
    /// The collection here cannot be replaced.
    #[error("the collection {0:?} is a layer or table here and cannot be replaced by a copy")]
    ReadOnly(String),
    /// The name is that of another collection.
    #[error("another collection is called {0:?} here")]
    NameTaken(String),
    /// The store refused.
    #[error(transparent)]
    Model(#[from] model::Error),
}

impl Error {
    /// The number in the dialect.
    pub fn number(&self) -> ErrorNum {
        match self {
            Self::Config(BadConfig::NoEndpoint)
            | Self::Endpoint(_)
            | Self::Model(model::Error::Invalid { .. }) => ErrorNum::HttpBadParameter,
            Self::Config(_) => ErrorNum::InvalidApplierConfig,
            Self::Busy(_) => ErrorNum::ApplierRunning,
            Self::NotAllowed | Self::NotGranted(_) => ErrorNum::Forbidden,
            Self::NoResponse(_) => ErrorNum::NoResponse,
            Self::InvalidResponse(_) | Self::Cut(_) => ErrorNum::InvalidResponse,
            Self::Leader { .. } => ErrorNum::LeaderError,
            Self::Incompatible(_) => ErrorNum::LeaderIncompatible,
            Self::Loop => ErrorNum::ReplicationLoop,
            Self::Stopped => ErrorNum::ReplicationStopped,
            Self::ReadOnly(_) => ErrorNum::ReadOnly,
            Self::NameTaken(_) => ErrorNum::DuplicateName,
            Self::Model(model::Error::Unique { .. }) => ErrorNum::UniqueConstraint,
            Self::Model(model::Error::DiskFull) => ErrorNum::ResourceLimit,
            Self::Model(_) | Self::Certificates(_) => ErrorNum::Internal,
        }
    }
    /// Whether it went well until it was cut off: what arrived is as good as what did not.
    pub(super) fn is_a_cut(&self) -> bool {
        matches!(
            self,
            Self::NoResponse(_) | Self::Cut(_) | Self::Leader { .. } | Self::Stopped
        )
    }
    /// Whether the primary said that it does not do this.
    pub(super) fn is_unsupported(&self) -> bool {
        matches!(
            self,
            Self::Leader {
                status: 404 | 405 | 501,
                ..
            }
        )
    }
    /// An answer that is not understood.
    pub(super) fn invalid(what: impl Into<String>) -> Self {
        Self::InvalidResponse(what.into())
    }
}
