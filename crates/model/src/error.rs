//! What can go wrong behind the traits of this crate.

use crate::{CollectionId, Generation, ReplicaId};

/// Result with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure that a caller can act on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No collection of this id.
    #[error("there is no collection {0} in this service")]
    NoCollection(CollectionId),
    /// No field of this name.
    #[error("there is no field {field:?} in {collection:?}")]
    NoField {
        /// The name looked up.
        field: String,
        /// The collection's name.
        collection: String,
    },
    /// No replica of this id, or not this user's.
    #[error("there is no replica {0}")]
    NoReplica(ReplicaId),
    /// The cursor is below the retained history, above the head or of another history.
    #[error("generation {asked} cannot be continued ({reason}); check the replica out again")]
    Resync {
        /// What the client named.
        asked: Generation,
        /// Why.
        reason: &'static str,
    },
    /// The server's history is not the cursor's: it was restored or promoted. Generations up to the fork are common.
    #[error(
        "the server began a new history after generation {fork}; what was sent later must be sent again"
    )]
    NewHistory {
        /// The present history.
        history: crate::HistoryId,
        /// The last common generation; zero if it is not known.
        fork: Generation,
    },
    /// A batch number that does not follow.
    #[error("batch {sent} does not follow batch {last}")]
    BatchOrder {
        /// What was sent.
        sent: u64,
        /// The last one applied.
        last: u64,
    },
    /// A batch number that was used with other content: the file was cloned or rewound.
    #[error("batch {0} was already applied with other content")]
    BatchReused(u64),
    /// A value that does not fit where it is going.
    #[error("{what}: {problem}")]
    Invalid {
        /// What was wrong: a field, a parameter.
        what: String,
        /// How, and what would be right.
        problem: String,
    },
    /// A unique index refused a document.
    #[error("unique index {index:?} has these values already, in document {conflicting:?}")]
    Unique {
        /// Name of the index.
        index: String,
        /// Id of the index.
        index_id: String,
        /// Key of the document that was refused.
        key: String,
        /// Key of the document that has the values.
        conflicting: String,
    },
    /// The query took longer than allowed.
    #[error("the query took longer than {0} ms and was stopped")]
    Timeout(u64),
    /// The disk is full.
    #[error("the disk is full: free some space; nothing was lost")]
    DiskFull,
    /// An invariant of stored data is broken.
    #[error("stored data is damaged: {0}")]
    Corrupt(String),
    /// The network failed; whether the request took effect is unknown.
    #[error("{0}")]
    Network(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The other side refused.
    #[error("the server refused: {message} (code {code})")]
    Refused {
        /// The server's code.
        code: i64,
        /// The server's words.
        message: String,
    },
    /// The database failed.
    #[error("{doing}: {source}")]
    Store {
        /// What was being done.
        doing: &'static str,
        /// The database's error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
