//! What can go wrong between two copies of a collection.

/// Result with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure of a reconciliation. Nothing was committed in any of them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Bytes that are no frame.
    #[error("a frame cannot be read: {0}")]
    Malformed(&'static str),
    /// A frame that cannot be an answer to what was asked, or a question that cannot be asked.
    #[error("the other side broke the protocol: {0}")]
    Broken(&'static str),
    /// More than was agreed.
    #[error("{what} is beyond the limit of {limit}")]
    Limit {
        /// What was too much.
        what: &'static str,
        /// How much is allowed.
        limit: u64,
    },
    /// The primary's summary contradicts itself; it has to be rebuilt there.
    #[error("the primary's summary is damaged and must be rebuilt there")]
    PrimaryDamaged,
    /// Even a full copy does not have the fingerprint that the primary named.
    #[error("the copy is not what the primary says it has; nothing was changed")]
    Unproven,
    /// The primary kept changing under the walk: its history, its key, or what it has purged.
    #[error("the primary moved {0} times under the walk; nothing was changed")]
    Unsteady(u32),
    /// A store failed.
    #[error(transparent)]
    Store(#[from] haversack_model::Error),
}
