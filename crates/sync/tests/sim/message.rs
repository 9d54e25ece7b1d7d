//! What travels between clients and the server: a bag without order, from which messages are lost and doubled.

use haversack_model::conflict::Decided;
use haversack_model::local::{FrozenBatch, ReplicaHeader};
use haversack_model::remote::{BatchReply, Page, Renewed};
use haversack_model::{
    BlobHash, CollectionId, ConflictId, Edit, Error, Generation, HistoryId, ReplicaId,
};
use haversack_sync::{DeltaChange, ForeignEdit};

/// A request to the server.
#[derive(Clone, Debug)]
pub enum Request {
    /// A numbered batch with the pictures that go ahead of it.
    Push {
        header: ReplicaHeader,
        batch: FrozenBatch,
        blobs: Vec<(BlobHash, Vec<u8>)>,
    },
    Pull {
        header: ReplicaHeader,
        most: usize,
    },
    Renew {
        header: ReplicaHeader,
    },
    /// Decisions of conflicts made in a file, and the conflicts that are open there.
    Decide {
        header: ReplicaHeader,
        decided: Vec<Decided>,
        open: Vec<ConflictId>,
    },
    /// Someone closes a conflict on the server.
    Resolve {
        user: usize,
        conflict: ConflictId,
        kept: &'static str,
    },
    Foreign(Exchange),
    Online {
        user: usize,
        edits: Vec<(CollectionId, Edit)>,
        all_or_nothing: bool,
    },
    /// Someone who writes into the store's tables without our help.
    Direct {
        edits: Vec<(CollectionId, Edit)>,
    },
}

/// One synchronisation of a foreign client: its edits up, the changes since its generations down.
#[derive(Clone, Debug)]
pub struct Exchange {
    pub replica: ReplicaId,
    /// Number of the client's attempt: it waits for the answer to the last one alone.
    pub attempt: u64,
    pub cursors: Vec<(CollectionId, Generation)>,
    pub edits: Vec<(CollectionId, ForeignEdit)>,
    pub all_or_nothing: bool,
}

/// The answer to an [`Exchange`].
#[derive(Clone, Debug)]
pub struct Exchanged {
    pub attempt: u64,
    /// Per edit: whether it was accepted.
    pub accepted: Vec<bool>,
    pub changes: Vec<(CollectionId, DeltaChange)>,
    pub cursors: Vec<(CollectionId, Generation)>,
}

/// An answer of the server.
#[derive(Clone, Debug)]
pub enum Reply {
    Pushed {
        replica: ReplicaId,
        batch: FrozenBatch,
        reply: BatchReply,
    },
    Page {
        asked: ReplicaHeader,
        page: Page,
    },
    Renewed {
        asked: ReplicaHeader,
        renewed: Renewed,
    },
    Exchanged(Exchanged),
    /// The decisions that stand on the server.
    Decided {
        asked: ReplicaHeader,
        stand: Vec<Decided>,
    },
    /// Refused, to a native client.
    Refused {
        asked: ReplicaHeader,
        refusal: Refusal,
        /// The batch that was refused, if it was one.
        batch: Option<FrozenBatch>,
    },
    /// The generations of a foreign client cannot be continued.
    Outdated {
        attempt: u64,
    },
    /// An online edit was done; nobody waits.
    Done,
}

/// The errors that a client can act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    NewHistory(HistoryId, Generation),
    Resync(Generation),
    BatchReused(u64),
    BatchOrder(u64, u64),
    NoReplica(ReplicaId),
}

impl Refusal {
    /// The refusal in an error of the core; other errors are given back.
    pub fn of(error: Error) -> Result<Self, Error> {
        Ok(match error {
            Error::NewHistory { history, fork } => Self::NewHistory(history, fork),
            Error::Resync { asked, .. } => Self::Resync(asked),
            Error::BatchReused(number) => Self::BatchReused(number),
            Error::BatchOrder { sent, last } => Self::BatchOrder(sent, last),
            Error::NoReplica(id) => Self::NoReplica(id),
            error => return Err(error),
        })
    }

    pub fn into_error(self) -> Error {
        match self {
            Self::NewHistory(history, fork) => Error::NewHistory { history, fork },
            Self::Resync(asked) => Error::Resync {
                asked,
                reason: "told by the server",
            },
            Self::BatchReused(number) => Error::BatchReused(number),
            Self::BatchOrder(sent, last) => Error::BatchOrder { sent, last },
            Self::NoReplica(id) => Error::NoReplica(id),
        }
    }
}

/// Who sends and receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Party {
    Native(usize),
    Foreign(usize),
    Online,
}

/// A message under way, with the number of its client's session: another session does not read its answer.
#[derive(Clone, Debug)]
pub enum Message {
    Up(Party, u64, Box<Request>),
    Down(Party, u64, Box<Reply>),
}
