//! The seam between the sync core and a replica file: rows, their confirmed versions, and the outbox.
//!
//! Every unsent record has three versions: *base* (last confirmed by the server), *mine* (the row in the table) and
//! *theirs* (the latest server version or removal, replaced by each download). Writes through this trait are not
//! captured as edits.

use serde::{Deserialize, Serialize};

use crate::conflict::Decided;
use crate::remote::BatchReply;
use crate::{
    BatchNumber, BlobHash, Collection, CollectionId, Conflict, ConflictId, Cursor, Direction, Edit,
    Generation, GlobalId, Policy, Receipt, Record, ReplicaId, Result, Revision,
};

/// What a replica knows of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum SyncState {
    /// Equal to the server as far as known.
    Synced,
    /// Made here, unknown to the server.
    ToPost,
    /// Known to the server, changed or deleted here.
    ToUpdate,
    /// In a batch whose outcome is open.
    Uploading,
    /// Accepted, with a conflict.
    Warning,
    /// Refused by the server; the reason is kept.
    Error,
    /// Fetched only as the other side of a relationship; read-only.
    Relationship,
}

/// The server's present version of an unsent record.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum Theirs {
    /// Nothing newer than the base has been seen.
    #[default]
    Unchanged,
    /// A newer version.
    Row {
        /// Its content.
        record: Record,
        /// Its version.
        version: RowVersion,
    },
    /// It is gone.
    Removed(Removal),
}

/// Why a record is not in the replica any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Removal {
    /// Deleted on the server.
    Deleted,
    /// It left the replica's filter.
    Left,
    /// Access was taken away.
    Revoked,
}

/// A version that the server confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RowVersion {
    /// Version of the content.
    pub revision: Revision,
    /// Generation at which the server had it.
    pub generation: Generation,
}

impl RowVersion {
    /// That of something which was sent and not named by the server: its content decides.
    pub const UNKNOWN: Self = Self {
        revision: Revision(0),
        generation: Generation::ZERO,
    };
}

/// A record that was edited here and not yet settled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OutboxEntry {
    /// In which collection.
    pub collection: CollectionId,
    /// Which record.
    pub global_id: GlobalId,
    /// Counter of local edits in the file: grows with every edit of any record.
    pub edit_no: u64,
    /// `ToPost`, `ToUpdate`, `Uploading`, `Warning` or `Error`.
    pub state: SyncState,
    /// Whether mine is a deletion.
    pub deleted: bool,
    /// Last confirmed version; `None` for a record made here.
    pub base: Option<(Record, RowVersion)>,
    /// The server's version since.
    pub theirs: Theirs,
    /// The unresolved batch that carries it, if one does.
    pub batch: Option<BatchNumber>,
    /// The value of `edit_no` when it was last frozen: a larger one now means that it was edited again. Stays when a
    /// batch is thawed: an add that was once frozen may be on the server, so deleting it must be told, while one that
    /// never was just vanishes.
    pub frozen_no: Option<u64>,
    /// What was frozen (`None` inside: a deletion). A later edit is rebased on it after the receipt.
    pub sent: Option<Option<Record>>,
    /// Why it is in `Error`, `Warning` or waiting, for people.
    pub reason: Option<String>,
}

impl OutboxEntry {
    /// The newest version of the server that is known beside mine; `None` if it is removed or was never seen.
    pub fn known(&self) -> Option<RowVersion> {
        match &self.theirs {
            Theirs::Row { version, .. } => Some(*version),
            Theirs::Removed(_) => None,
            Theirs::Unchanged => self.base.as_ref().map(|(_, version)| *version),
        }
    }
}

/// What a replica file says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReplicaHeader {
    /// Its identity.
    pub id: ReplicaId,
    /// Name for people.
    pub name: String,
    /// URL of the feature service that it was checked out from.
    pub url: String,
    /// `native` or `geoservices`: how the server is spoken to.
    pub protocol: String,
    /// Up to where the server's changes have been stored. A foreign server without a history id has a nil one.
    pub cursor: Cursor,
    /// Cursor per layer where the dialect keeps one each; empty otherwise.
    pub layer_cursors: Vec<(CollectionId, Generation)>,
    /// What it may do.
    pub direction: Direction,
    /// How conflicts are decided.
    pub policy: Policy,
    /// Number of the next batch to freeze.
    pub next_batch: BatchNumber,
    /// Version of the schema in the file.
    pub schema_version: u32,
    /// A full resync is under way: a row whose confirmed generation is zero has not been seen in it yet, and is
    /// removed when the last page was stored.
    pub resyncing: bool,
    /// The download that is under way, while pages of it are missing; sent with the next request.
    pub download: Option<Download>,
    /// Versions above the cursor that answers to uploads brought and the file holds: the next download leaves them out.
    pub ahead: crate::Versions,
    /// Milliseconds of the last complete sync; `None` before the first.
    pub synced_at: Option<crate::Timestamp>,
    /// Text of the filters given at checkout, for people and for foreign servers (JSON).
    pub filter: String,
}

/// A download in pages that is under way. Pages are read from newer and newer snapshots, so what the replica had is
/// told by where the download began, not by the cursor of its last page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Download {
    /// The cursor before its first page; zero for a full resync.
    pub from: Generation,
    /// The last change of the replica's filters that its pages heeded. After another one it begins anew.
    pub filters: Generation,
    /// The head when its first page was read: what was deleted since must be told, or it begins anew.
    #[serde(default)]
    pub begun: Generation,
}

/// A frozen batch: never altered, sent until it is answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FrozenBatch {
    /// Its number.
    pub number: BatchNumber,
    /// Its edits, in the order to apply.
    pub edits: Vec<(CollectionId, Edit)>,
    /// The cursor of the replica when it was frozen.
    pub cursor: Cursor,
}

/// One transaction on a replica file. Dropping it without commit undoes it.
pub trait ReplicaTx {
    /// The header.
    fn header(&self) -> Result<ReplicaHeader>;
    /// Replaces the header.
    fn store_header(&mut self, header: &ReplicaHeader) -> Result<()>;
    /// Definitions of the collections in the file, attachment collections included.
    fn collections(&self) -> Result<Vec<Collection>>;
    /// Replaces the definitions of these collections. New nullable columns are added to their tables; other changes
    /// of a table's shape are refused.
    fn store_collections(&mut self, collections: &[Collection]) -> Result<()>;
    /// The next number of a local edit, from the counter that numbers captured edits too.
    fn next_edit_no(&mut self) -> Result<u64>;

    /// The row in the table: mine.
    fn row(&self, collection: CollectionId, id: &GlobalId) -> Result<Option<Record>>;
    /// Inserts or replaces a row, without capture. Keeps its object id if it exists.
    fn put_row(&mut self, collection: CollectionId, record: &Record) -> Result<()>;
    /// Removes a row, without capture.
    fn remove_row(&mut self, collection: CollectionId, id: &GlobalId) -> Result<()>;
    /// The confirmed version of a row.
    fn version(&self, collection: CollectionId, id: &GlobalId) -> Result<Option<RowVersion>>;
    /// Sets (`None`: forgets) the confirmed version of a row.
    fn store_version(
        &mut self,
        collection: CollectionId,
        id: &GlobalId,
        version: Option<RowVersion>,
    ) -> Result<()>;
    /// As [`Self::store_version`], for a row that is as the server has it and whose edit, if there is one, is removed in this
    /// transaction.
    fn confirm(
        &mut self,
        collection: CollectionId,
        id: &GlobalId,
        version: RowVersion,
    ) -> Result<()> {
        self.store_version(collection, id, Some(version))
    }
    /// All rows' ids of a collection with a confirmed version, in any order; for a full resync.
    fn confirmed(&self, collection: CollectionId) -> Result<Vec<GlobalId>>;

    /// The outbox entry of a record.
    fn entry(&self, collection: CollectionId, id: &GlobalId) -> Result<Option<OutboxEntry>>;
    /// Adds or replaces an outbox entry.
    fn store_entry(&mut self, entry: &OutboxEntry) -> Result<()>;
    /// Stores an entry that was just frozen: it was given by [`Self::pending`] or [`Self::entry`] in this transaction, and
    /// its number and base are as they were then.
    fn store_frozen(&mut self, entry: &OutboxEntry) -> Result<()> {
        self.store_entry(entry)
    }
    /// Removes an outbox entry: the record is settled.
    fn remove_entry(&mut self, collection: CollectionId, id: &GlobalId) -> Result<()>;
    /// At most `limit` entries that can be frozen (not in an unresolved batch, state `ToPost` or `ToUpdate`), by `edit_no`.
    fn pending(&self, limit: usize) -> Result<Vec<OutboxEntry>>;
    /// The entries of an unresolved batch.
    fn in_batch(&self, batch: BatchNumber) -> Result<Vec<OutboxEntry>>;
    /// All entries, by `edit_no`; for `status` and `diff`.
    fn entries(&self) -> Result<Vec<OutboxEntry>>;

    /// A batch that is not settled.
    fn batch(&self, number: BatchNumber) -> Result<Option<FrozenBatch>>;
    /// Whether the file has exactly this batch, not settled.
    fn has_batch(&self, batch: &FrozenBatch) -> Result<bool> {
        Ok(self.batch(batch.number)?.as_ref() == Some(batch))
    }
    /// The oldest batch without an answer.
    fn unanswered_batch(&self) -> Result<Option<FrozenBatch>>;
    /// The oldest batch that is not settled although its answer is here, and the answer.
    fn answered_batch(&self) -> Result<Option<(BatchNumber, BatchReply)>>;
    /// Keeps a frozen batch.
    fn store_batch(&mut self, batch: &FrozenBatch) -> Result<()>;
    /// Keeps the answer to a batch until that is settled. Does nothing if the batch is not there.
    fn store_answer(&mut self, number: BatchNumber, answer: &BatchReply) -> Result<()>;
    /// Forgets a settled batch and its answer.
    fn remove_batch(&mut self, number: BatchNumber) -> Result<()>;
    /// Keeps a receipt, with the edit that it answers and the generation of the answer, so that a rewind of the
    /// server can be repaired.
    fn store_receipt(
        &mut self,
        generation: Generation,
        edit: &Edit,
        receipt: &Receipt,
    ) -> Result<()>;
    /// Kept edits whose receipts name a generation above this one, oldest first.
    fn receipts_above(&self, generation: Generation) -> Result<Vec<(CollectionId, Edit)>>;
    /// Forgets those, whose edits are unsent again: their generations are of a history that is no more.
    fn remove_receipts_above(&mut self, generation: Generation) -> Result<()>;

    /// Adds or replaces a conflict.
    fn store_conflict(&mut self, conflict: &Conflict) -> Result<()>;
    /// Conflicts in order of time.
    fn conflicts(&self, open_only: bool) -> Result<Vec<Conflict>>;
    /// A conflict.
    fn conflict(&self, id: ConflictId) -> Result<Option<Conflict>> {
        let all = self.conflicts(false)?;
        Ok(all.into_iter().find(|conflict| conflict.id == id))
    }
    /// Decisions made here that the server does not know yet.
    fn untold_decisions(&self) -> Result<Vec<Decided>> {
        let all = self.conflicts(false)?.into_iter();
        let untold = all.filter_map(|conflict| {
            let resolution = conflict.resolution.filter(|r| !r.told)?;
            Some(Decided {
                conflict: conflict.id,
                resolution,
            })
        });
        Ok(untold.collect())
    }

    /// Content of an attachment kept in the file.
    fn blob(&self, hash: BlobHash) -> Result<Option<Vec<u8>>>;
    /// Keeps the content of an attachment.
    fn store_blob(&mut self, hash: BlobHash, content: &[u8]) -> Result<()>;

    /// What the client of a server has kept in the file for itself under this name.
    fn note(&self, topic: &str, name: &str) -> Result<Option<String>>;
    /// All notes of a topic, by name.
    fn notes(&self, topic: &str) -> Result<Vec<(String, String)>>;
    /// Keeps a note, or drops it.
    fn store_note(&mut self, topic: &str, name: &str, text: Option<&str>) -> Result<()>;

    /// Makes it durable.
    fn commit(self: Box<Self>) -> Result<()>;
}

/// A replica file: transactions on it. Locks are held for moments only, never across the network.
pub trait LocalReplica {
    /// Begins a transaction, waiting for other programs that are writing.
    fn begin(&mut self) -> Result<Box<dyn ReplicaTx + '_>>;
}
