//! The seam between the sync core and a database: one service, read by snapshots and written by transactions.
//!
//! A store is done when it passes the conformance suite. Transactions are blocking: a server calls them from
//! threads made for that. Dropping a transaction without commit undoes it.

use std::fmt::Debug;
use std::ops::ControlFlow;

use crate::{
    BatchNumber, BlobHash, Collection, CollectionId, Conflict, ConflictId, Filter, Generation,
    GlobalId, HistoryId, Query, QueryRow, Record, Replica, ReplicaId, Result, Revision, Service,
    Timestamp, Track, Versioned,
};

/// One service in a database.
pub trait Store: Send + Sync + Debug {
    /// A snapshot: all its reads see one generation.
    fn begin_read(&self) -> Result<Box<dyn ReadTx + '_>>;
    /// The write transaction; one at a time. `now` is the wall clock, used for display stamps and revisions only.
    fn begin_write(&self, now: Timestamp) -> Result<Box<dyn WriteTx + '_>>;
}

/// Where a service's history stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The history.
    pub history: HistoryId,
    /// The last generation handed out and committed.
    pub generation: Generation,
    /// The stamp of the last commit.
    pub stamp: Timestamp,
    /// The last revision made here.
    pub revision: Revision,
    /// Lowest generation from which a cursor can be continued: all tombstones and history above it exist.
    pub floor: Generation,
}

/// One entry of a download: what the store knows of a record's membership at two points.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Which record.
    pub global_id: GlobalId,
    /// Its tracking now.
    pub track: Track,
    /// The record now; `None` for a tombstone.
    pub record: Option<Record>,
    /// Whether it matches the present filter now.
    pub matches: bool,
    /// Whether it existed and matched the earlier filter as of the earlier generation.
    pub matched: bool,
}

/// Asks for [`Change`]s.
#[derive(Clone, Debug)]
pub struct ChangeQuery<'a> {
    /// In which collection.
    pub collection: CollectionId,
    /// Generations above this one,
    pub since: Generation,
    /// up to and including this one.
    pub upto: Generation,
    /// The filter now.
    pub filter: &'a Filter,
    /// The filter as of `since`.
    pub filter_then: &'a Filter,
}

/// Continue or stop a streamed read.
pub type Flow = ControlFlow<()>;

/// A snapshot of a service.
pub trait ReadTx {
    /// Where the history stands in this snapshot.
    fn head(&self) -> Result<Head>;
    /// Up to which generation another history, an ancestor of the present one, is common with it. `None` if that
    /// history is unknown, which is safe: a replica then sends again all that it ever sent.
    fn common_with(&self, history: HistoryId) -> Result<Option<Generation>> {
        let head = self.head()?;
        Ok((head.history == history).then_some(head.generation))
    }
    /// The service's definition.
    fn service(&self) -> Result<Service>;
    /// The definition of one collection, hidden ones included.
    ///
    /// # Errors
    /// [`Error::NoCollection`](crate::Error::NoCollection).
    fn collection(&self, id: CollectionId) -> Result<Collection>;
    /// A live record.
    fn record(&self, collection: CollectionId, id: &GlobalId) -> Result<Option<Versioned>>;
    /// Tracking of a record, live or tombstone.
    fn track(&self, collection: CollectionId, id: &GlobalId) -> Result<Option<Track>>;
    /// The record as it was at a generation: `None` if it did not exist or was deleted then.
    ///
    /// # Errors
    /// [`Error::Resync`](crate::Error::Resync) if the generation is below the floor.
    fn record_as_of(
        &self,
        collection: CollectionId,
        id: &GlobalId,
        at: Generation,
    ) -> Result<Option<Versioned>>;
    /// Whether a live record matches a filter.
    fn matches(&self, collection: CollectionId, id: &GlobalId, filter: &Filter) -> Result<bool>;
    /// Records changed or touched in a range, in generation order. Costs O(changes).
    ///
    /// A `since` of zero is never below the floor: who has nothing needs no tombstones. It is how a full resync reads.
    ///
    /// # Errors
    /// [`Error::Resync`](crate::Error::Resync) if `since` is below the floor.
    fn changes(
        &self,
        query: &ChangeQuery<'_>,
        visit: &mut dyn FnMut(Change) -> Result<Flow>,
    ) -> Result<()>;
    /// Live records that match, with generations above `after`, in generation order: the pages of a full resync, for
    /// which no history and no tombstones are needed. Stores with an index do better than this scan.
    fn live_after(
        &self,
        collection: CollectionId,
        after: Generation,
        filter: &Filter,
        visit: &mut dyn FnMut(Versioned) -> Result<Flow>,
    ) -> Result<()> {
        let query = ChangeQuery {
            collection,
            since: Generation::ZERO,
            upto: self.head()?.generation,
            filter,
            filter_then: filter,
        };
        self.changes(&query, &mut |change| match change.record {
            Some(record) if change.matches && change.track.generation > after => visit(Versioned {
                record,
                track: change.track,
            }),
            _ => Ok(Flow::Continue(())),
        })
    }
    /// Live records with generation at most `query.since` that match exactly one of the two filters. A scan.
    fn membership(
        &self,
        query: &ChangeQuery<'_>,
        visit: &mut dyn FnMut(Change) -> Result<Flow>,
    ) -> Result<()>;
    /// Answers a query, row by row.
    fn query(&self, query: &Query, visit: &mut dyn FnMut(QueryRow) -> Result<Flow>) -> Result<()>;
    /// Order-independent digest of the records that match: count and the wrapping sum of a 128-bit hash of each
    /// record's global id and content. Equal digests mean equal rows, on server and replica alike.
    fn digest(&self, collection: CollectionId, filter: &Filter) -> Result<crate::record::Digest>;

    /// A registered replica.
    fn replica(&self, id: ReplicaId) -> Result<Option<Replica>>;
    /// All registered replicas.
    fn replicas(&self) -> Result<Vec<Replica>>;
    /// The stored reply of a native replica's last batch: its number, the hash of the batch, the reply.
    fn stored_reply(&self, replica: ReplicaId) -> Result<Option<StoredReply>>;
    /// The last edit that a foreign replica sent for a record.
    fn last_edit(
        &self,
        replica: ReplicaId,
        collection: CollectionId,
        id: &GlobalId,
    ) -> Result<Option<LastEdit>>;
    /// A conflict.
    fn conflict(&self, id: ConflictId) -> Result<Option<Conflict>>;
    /// Conflicts in order of time, open ones only if asked so.
    fn conflicts(
        &self,
        open_only: bool,
        visit: &mut dyn FnMut(Conflict) -> Result<Flow>,
    ) -> Result<()>;
    /// Content of a blob.
    fn blob(&self, hash: BlobHash) -> Result<Option<Vec<u8>>>;
    /// Whether a blob is here.
    fn has_blob(&self, hash: BlobHash) -> Result<bool>;
    /// Versions of a record that updates and deletes replaced, newest first, as far as history is retained.
    fn history(&self, collection: CollectionId, id: &GlobalId) -> Result<Vec<Versioned>>;
}

/// A write transaction: stage records, take their generations, keep the books, commit.
pub trait WriteTx: ReadTx {
    /// Inserts or replaces a record. Its object id is kept if it exists, else made. `origin` is for audit.
    ///
    /// Reads of this transaction see the row at once, with a provisional track until [`Self::seal`].
    fn put(
        &mut self,
        collection: CollectionId,
        record: &Record,
        origin: Option<ReplicaId>,
    ) -> Result<crate::ObjectId>;
    /// Removes a record and leaves a tombstone. `false` if it was not live.
    fn delete(
        &mut self,
        collection: CollectionId,
        id: &GlobalId,
        origin: Option<ReplicaId>,
    ) -> Result<bool>;
    /// Gives a live record a new generation and stamp, keeping revision and content.
    fn touch(&mut self, collection: CollectionId, id: &GlobalId) -> Result<()>;
    /// Takes one generation for a change that is in no record: of a filter, a grant.
    fn take_generation(&mut self) -> Result<Generation>;
    /// Takes one block of generations for all staged changes and writes their tracking. Afterwards records cannot
    /// be changed any more, only the books. Called by commit if nobody did.
    fn seal(&mut self) -> Result<Head>;
    /// Marks the point to which [`Self::rollback_to_savepoint`] returns. One level.
    fn savepoint(&mut self) -> Result<()>;
    /// Undoes everything since the savepoint.
    fn rollback_to_savepoint(&mut self) -> Result<()>;
    /// Makes it durable.
    fn commit(self: Box<Self>) -> Result<Head>;

    /// Registers or replaces a replica.
    fn store_replica(&mut self, replica: &Replica) -> Result<()>;
    /// Forgets a replica, its stored reply and last edits. `false` if unknown.
    fn remove_replica(&mut self, id: ReplicaId) -> Result<bool>;
    /// Keeps the reply to a native batch; replaces the previous one.
    fn store_reply(&mut self, replica: ReplicaId, reply: &StoredReply) -> Result<()>;
    /// Keeps what a foreign replica last sent for a record.
    fn store_last_edit(
        &mut self,
        replica: ReplicaId,
        collection: CollectionId,
        id: &GlobalId,
        edit: &LastEdit,
    ) -> Result<()>;
    /// Forgets last edits of a replica at or below a generation.
    fn prune_last_edits(&mut self, replica: ReplicaId, upto: Generation) -> Result<()>;
    /// Adds a conflict or replaces it with its resolution. Of two transactions that replace the same one at once only one
    /// can commit, so that a decision that was made stands.
    fn store_conflict(&mut self, conflict: &Conflict) -> Result<()>;
    /// Keeps a blob; the hash was checked by the caller.
    fn store_blob(&mut self, hash: BlobHash, content: &[u8]) -> Result<()>;
    /// Replaces the service's definition. New nullable columns are added to tables; other changes of a table's
    /// shape are refused.
    fn store_service(&mut self, service: &Service) -> Result<()>;
    /// Removes tombstones and history at or below a generation, never past the cursor of a replica that is not dormant; the
    /// floor follows.
    /// Blobs that nothing names are removed too, once they are a week old: they arrive before the batch that names them.
    fn prune_history(&mut self, upto: Generation) -> Result<Generation>;
    /// Begins a new history: forks at the present head and jumps to the next multiple of 2^40.
    fn start_history(&mut self, id: HistoryId) -> Result<Head>;
}

/// The reply to the last native batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredReply {
    /// Number of the batch.
    pub batch: BatchNumber,
    /// Hash of its content.
    pub hash: [u8; 32],
    /// The reply as it was sent.
    pub reply: Vec<u8>,
}

/// The last edit of a record by a foreign replica, kept until its cursor passes it.
#[derive(Clone, Debug, PartialEq)]
pub struct LastEdit {
    /// Hash of the edit as sent.
    pub hash: [u8; 32],
    /// What was sent, as the whole record; `None` for a deletion.
    pub sent: Option<Record>,
    /// Generation in which it took effect.
    pub generation: Generation,
    /// What it was told.
    pub outcome: crate::Outcome,
}
