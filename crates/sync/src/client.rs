//! The replica's side of a sync, in steps and as a loop.
//!
//! Owns: the outbox of a replica from freeze to receipt, what a download may overwrite, full resync, and the decision
//! of conflicts. Does not own: capture of edits (triggers in the replica file), the network ([`Remote`]).
//! Each step is one transaction on the file; no step holds one across the network. Rule source: DESIGN 5.

use haversack_model::local::{FrozenBatch, LocalReplica, ReplicaHeader};
use haversack_model::remote::{BatchReply, Page};
use haversack_model::{
    BatchNumber, Changes, CollectionId, ConflictId, Cursor, Error, GlobalId, Outcome, Record,
    Remote, ReplicaTx, Result, Timestamp,
};

/// Most edits of one batch.
pub const MAX_BATCH: usize = 2000;

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
    /// Records added or replaced by the download.
    pub put: u64,
    /// Records removed by the download.
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

/// Freezes the pending edits as the next batch, or gives the unanswered one again. `None`: nothing to send.
pub fn freeze(tx: &mut dyn ReplicaTx, now: Timestamp) -> Result<Option<FrozenBatch>> {
    let _ = (tx, now);
    Err(unfinished())
}
/// Stores the answer to a batch.
pub fn apply_reply(
    tx: &mut dyn ReplicaTx,
    number: BatchNumber,
    reply: &BatchReply,
    now: Timestamp,
) -> Result<Vec<Outcome>> {
    let _ = (tx, number, reply, now);
    Err(unfinished())
}
/// Stores a page that answers the request with the cursor `asked`. A page for another cursor is dropped (`false`).
pub fn apply_page(tx: &mut dyn ReplicaTx, asked: &ReplicaHeader, page: &Page) -> Result<bool> {
    let _ = (tx, asked, page);
    Err(unfinished())
}
/// Synchronises until nothing is left to do on either side.
pub fn synchronise(
    local: &mut dyn LocalReplica,
    remote: &mut dyn Remote,
    clock: &dyn Fn() -> Timestamp,
    progress: &mut dyn FnMut(Step),
) -> Result<Summary> {
    let _ = (local, remote, clock, progress);
    Err(unfinished())
}
/// What [`synchronise`] would do. Nothing is stored on either side.
pub fn preview(local: &mut dyn LocalReplica, remote: &mut dyn Remote) -> Result<Preview> {
    let _ = (local, remote);
    Err(unfinished())
}
/// Closes a conflict. Where the choice is not what is stored, it becomes a new local edit.
pub fn resolve(
    tx: &mut dyn ReplicaTx,
    conflict: ConflictId,
    choice: Choice,
    user: &str,
    now: Timestamp,
) -> Result<()> {
    let _ = (tx, conflict, choice, user, now);
    Err(unfinished())
}
/// Gives up local edits of a record: the server's version is installed.
pub fn discard(tx: &mut dyn ReplicaTx, collection: CollectionId, id: &GlobalId) -> Result<()> {
    let _ = (tx, collection, id);
    Err(unfinished())
}
/// Makes rejected edits pending again; gives how many.
pub fn retry(tx: &mut dyn ReplicaTx) -> Result<usize> {
    let _ = tx;
    Err(unfinished())
}
/// Starts a full resync against a history: unsent edits stay, rows that the server no longer has go at its end.
pub fn start_resync(tx: &mut dyn ReplicaTx, to: Cursor) -> Result<()> {
    let _ = (tx, to);
    Err(unfinished())
}
fn unfinished() -> Error {
    Error::Corrupt("unfinished".into())
}
