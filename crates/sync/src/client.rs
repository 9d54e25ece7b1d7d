//! The replica's side of a sync, in steps and as a loop.
//!
//! Owns: the outbox of a replica from freeze to receipt, what a download may overwrite, full resync, and the decision
//! of conflicts. Does not own: capture of edits (triggers in the replica file), the network
//! ([`Remote`](haversack_model::Remote)). Each step is one transaction on the file; none is held across the network.
//! Rule source: DESIGN 5.

use haversack_model::{Changes, CollectionId, GlobalId, Record};

mod decide;
mod decisions;
mod echo;
mod freeze;
mod history;
mod page;
mod preview;
mod reply;
mod run;

pub use decide::{discard, resolve, retry};
pub use decisions::{apply_decisions, to_exchange};
pub use freeze::{freeze, thaw, thaw_refused};
pub use history::{renewed, start_new_history, start_resync};
pub use page::apply_page;
pub use preview::preview;
pub use reply::apply_reply;
pub use run::{synchronise, synchronise_in_batches, upload};

/// Most edits of one batch.
pub const MAX_BATCH: usize = 2000;

/// The reason of an entry whose parent was refused.
pub const WAITS_FOR_PARENT: &str = "waits for parent";

/// Where a sync stands.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// Content of attachments is being sent: done, all.
    Blobs(u64, u64),
    /// A batch of so many edits is being sent.
    Uploading(usize),
    /// A batch was answered: edits settled so far.
    Uploaded(u64),
    /// A page was stored: changes so far.
    Downloaded(u64),
    /// Content of attachments is being fetched: done, all.
    BlobsFetched(u64, u64),
    /// The file was cloned or rewound; it got a new identity.
    Renewed,
    /// The server did not know the replica (any more); it was registered again.
    RegisteredAgain,
    /// The server's history cannot be continued: everything is compared anew; unsent edits stay.
    Resync,
}

/// What a sync did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    /// Edits stored as sent.
    pub applied: u64,
    /// Edits stored together with changes of others.
    pub merged: u64,
    /// Edits that met a conflict.
    pub conflicts: u64,
    /// Edits that were refused, with the reasons.
    pub rejected: Vec<(CollectionId, GlobalId, String)>,
    /// Edits of which the server did not say what became: they wait, and the next sync sends them again.
    pub untold: u64,
    /// Records added or replaced by the download; not what this sync had sent itself, nor what a comparison found equal.
    pub put: u64,
    /// Records removed by the download; not what this sync had removed itself.
    pub removed: u64,
    /// Whether everything was compared anew.
    pub resynced: bool,
}

/// How a person decides a conflict.
#[derive(Clone, Debug, PartialEq)]
pub enum Choice {
    /// The version that this replica uploaded.
    Mine,
    /// The server's version at that time.
    Theirs,
    /// The version that both started from.
    Base,
    /// Another content.
    Edited(Record),
}

/// What a sync would do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Preview {
    /// What would be uploaded and, as far as can be told, what would become of it.
    pub uploads: Vec<PlannedUpload>,
    /// How many records of a collection the download would put and remove.
    pub downloads: Vec<(CollectionId, u64, u64)>,
}

/// One edit that would be uploaded.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedUpload {
    /// In which collection.
    pub collection: CollectionId,
    /// Of which record.
    pub global_id: GlobalId,
    /// Last confirmed version.
    pub base: Option<Record>,
    /// The version here; `None`: deleted.
    pub mine: Option<Record>,
    /// The server's version now, `None`: it has none.
    pub theirs: Option<Record>,
    /// What this replica changed.
    pub changes: Changes,
    /// Those of the changes that clash with the server's.
    pub clashes: Changes,
    /// Whether it would be a conflict: clashes, or update against delete.
    pub conflict: bool,
}
