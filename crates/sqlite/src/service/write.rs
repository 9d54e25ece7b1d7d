//! The write transaction.
//!
//! SQLite has one writer, and the lock is held from the first statement. So tracking is written with each record,
//! under the generation that it will have: the next of the block that [`WriteTx::seal`] takes from the counter row
//! in one step when all data is written. Nobody sees any of it before the commit.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::{Arc, MutexGuard};

use haversack_model::record::Digest;
use haversack_model::store::{
    Change, ChangeQuery, Flow, Head, LastEdit, ReadTx, StoredReply, WriteTx,
};
use haversack_model::{
    BlobHash, Collection, CollectionId, Conflict, ConflictId, Filter, Generation, GlobalId,
    HistoryId, ObjectId, Query, QueryRow, Record, Replica, ReplicaId, Result, Revision, Service,
    Timestamp, Track, Versioned,
};
use rusqlite::params;

use super::SqliteStore;
use super::connection::Linked;
use super::journal::Journal;
use super::read::read_through_view;
use super::schema::{Layer, Schema};
use super::view::{Memory, View};
use crate::error::{invalid, while_doing};
use crate::gpkg::datetime;

/// Notes on summaries that wait before they are summed up.
const JOURNAL: usize = 8192;

/// A write transaction; dropping it undoes it.
#[derive(Debug)]
pub(super) struct SqliteWrite<'a> {
    store: &'a SqliteStore,
    pub(super) linked: MutexGuard<'a, Linked>,
    /// The counter when the transaction began.
    pub(super) began: Head,
    now: Timestamp,
    pub(super) state: State,
    saved: Option<State>,
    pub(super) memory: RefCell<Memory>,
    finished: bool,
    pub(super) journal: Journal,
}

/// What a rollback to the savepoint restores besides the file.
#[derive(Clone, Debug)]
pub(super) struct State {
    schema: Arc<Schema>,
    /// The counter as of now: `generation` and `revision` are the last ones used.
    pub(super) head: Head,
    /// Collections whose rows changed.
    changed: BTreeSet<CollectionId>,
    sealed: bool,
}

impl<'a> SqliteWrite<'a> {
    pub(super) fn new(
        store: &'a SqliteStore,
        linked: MutexGuard<'a, Linked>,
        schema: Arc<Schema>,
        head: Head,
        now: Timestamp,
    ) -> Self {
        Self {
            store,
            linked,
            began: head,
            now,
            state: State {
                schema,
                head,
                changed: BTreeSet::new(),
                sealed: false,
            },
            saved: None,
            memory: RefCell::default(),
            finished: false,
            journal: Journal::default(),
        }
    }

    pub(super) fn view(&self) -> View<'_> {
        View {
            connection: &self.linked.connection,
            deadline: &self.linked.deadline,
            schema: &self.state.schema,
            head: self.state.head,
            limit: self.store.query_limit(),
            memory: Some(&self.memory),
        }
    }

    pub(super) fn schema(&self) -> Arc<Schema> {
        Arc::clone(&self.state.schema)
    }

    fn check_open(&self) -> Result<()> {
        if self.state.sealed {
            return Err(invalid(
                "the transaction",
                "records cannot be changed after its generations were taken",
            ));
        }
        Ok(())
    }

    /// Takes the next generation; the first one of a transaction advances the stamp.
    pub(super) fn next_generation(&mut self) -> Generation {
        let head = &mut self.state.head;
        if head.generation == self.began.generation {
            head.stamp = Timestamp(self.now.0.max(self.began.stamp.0 + 1));
        }
        head.generation = head.generation.next();
        head.generation
    }

    /// Takes so many generations at once: those after the last one.
    pub(super) fn next_generations(&mut self, count: u64) {
        if count > 0 {
            let first = self.next_generation();
            self.state.head.generation = Generation(first.0 + count - 1);
        }
    }

    pub(super) fn next_revision(&mut self, own: Revision) -> Revision {
        let revision = Revision::next(self.now, self.state.head.revision, own);
        self.state.head.revision = revision;
        revision
    }

    /// Runs a change of one collection's records.
    pub(super) fn change<T>(
        &mut self,
        collection: CollectionId,
        change: impl FnOnce(&mut Self, &Layer) -> Result<T>,
    ) -> Result<T> {
        self.check_open()?;
        let schema = Arc::clone(&self.state.schema);
        let layer = schema.layer(collection)?;
        let before = self.state.head;
        if self.saved.is_none() && self.journal.mark() > JOURNAL {
            self.journal.absorb();
        }
        let mark = self.journal.mark();
        let done = change(self, layer);
        self.memory.borrow_mut().changed();
        let done = done.map_err(|error| {
            self.journal.undo(mark);
            let error = self.store.note(error);
            self.forget(layer, before)
                .map_or_else(|worse| worse, |()| error)
        })?;
        if !self.state.changed.contains(&collection) {
            self.state.changed.insert(collection);
        }
        Ok(done)
    }

    /// Undoes what a refused change left: its generation and the version kept for it.
    fn forget(&mut self, layer: &Layer, before: Head) -> Result<()> {
        if self.state.head.generation != before.generation {
            let doing = "undoing a refused change";
            self.linked
                .connection
                .execute(
                    &format!("DELETE FROM {} WHERE haversack_until > ?1", layer.history),
                    [before.generation.0 as i64],
                )
                .map_err(while_doing(doing))?;
        }
        self.state.head = before;
        *self.memory.borrow_mut() = Memory::default();
        Ok(())
    }

    /// Tells GIS programs that layers changed, and that no kept box of theirs holds.
    fn mark_contents(&self) -> Result<()> {
        let doing = "marking changed layers";
        let when =
            datetime::to_text(self.now.0).unwrap_or_else(|| "1970-01-01T00:00:00.000Z".into());
        for id in &self.state.changed {
            let layer = self.state.schema.layer(*id)?;
            self.view()
                .prepare(
                    "UPDATE gpkg_contents SET last_change = ?2, min_x = NULL, min_y = NULL, \
                     max_x = NULL, max_y = NULL WHERE table_name = ?1",
                    doing,
                )?
                .execute(params![layer.collection.table, when])
                .map_err(while_doing(doing))?;
        }
        Ok(())
    }

    fn batch(&self, sql: &str, doing: &'static str) -> Result<()> {
        self.linked
            .connection
            .execute_batch(sql)
            .map_err(while_doing(doing))
    }
}

impl Drop for SqliteWrite<'_> {
    fn drop(&mut self) {
        if !self.finished && !self.linked.connection.is_autocommit() {
            let rolled_back = self.linked.connection.execute_batch("ROLLBACK");
            if let Err(error) = rolled_back {
                tracing::error!(%error, "a transaction could not be rolled back");
            }
        }
    }
}

read_through_view!(SqliteWrite<'_>);

impl WriteTx for SqliteWrite<'_> {
    fn put(
        &mut self,
        collection: CollectionId,
        record: &Record,
        origin: Option<ReplicaId>,
    ) -> Result<ObjectId> {
        self.change(collection, |tx, layer| {
            tx.put_record(layer, record, None, origin)
        })
    }
    fn delete(
        &mut self,
        collection: CollectionId,
        id: &GlobalId,
        origin: Option<ReplicaId>,
    ) -> Result<bool> {
        self.change(collection, |tx, layer| tx.delete_record(layer, id, origin))
    }
    fn touch(&mut self, collection: CollectionId, id: &GlobalId) -> Result<()> {
        self.change(collection, |tx, layer| tx.touch_record(layer, id))
    }
    fn take_generation(&mut self) -> Result<Generation> {
        self.check_open()?;
        Ok(self.next_generation())
    }
    fn seal(&mut self) -> Result<Head> {
        if !self.state.sealed {
            self.fold_summaries()?;
            let head = self.state.head;
            if head.generation != self.began.generation {
                let doing = "taking generations";
                self.view()
                    .prepare(
                        "UPDATE haversack_counter SET generation = ?1, stamp = ?2, revision = ?3 \
                         WHERE id = 1",
                        doing,
                    )?
                    .execute(params![
                        head.generation.0 as i64,
                        head.stamp.0,
                        head.revision.0 as i64
                    ])
                    .map_err(while_doing(doing))?;
                self.mark_contents()?;
            }
            self.state.sealed = true;
        }
        Ok(self.state.head)
    }
    fn savepoint(&mut self) -> Result<()> {
        let again = if self.saved.is_some() {
            "RELEASE haversack; "
        } else {
            ""
        };
        self.batch(
            &format!("{again}SAVEPOINT haversack"),
            "marking a savepoint",
        )?;
        self.journal.absorb();
        self.saved = Some(self.state.clone());
        Ok(())
    }
    fn rollback_to_savepoint(&mut self) -> Result<()> {
        let Some(saved) = &self.saved else {
            return Err(invalid("the transaction", "it has no savepoint"));
        };
        self.batch("ROLLBACK TO haversack", "returning to a savepoint")?;
        self.state = saved.clone();
        self.journal.undo(0);
        *self.memory.borrow_mut() = Memory::default();
        Ok(())
    }
    fn commit(mut self: Box<Self>) -> Result<Head> {
        let head = self.seal()?;
        let committed = self.batch("COMMIT", "committing");
        if let Err(error) = committed {
            return Err(self.store.note(error));
        }
        self.finished = true;
        self.store.checkpoints.committed(&self.linked.connection);
        self.store.remember(&self.state.schema);
        Ok(head)
    }

    fn store_replica(&mut self, replica: &Replica) -> Result<()> {
        self.view().store_replica(replica)
    }
    fn remove_replica(&mut self, id: ReplicaId) -> Result<bool> {
        self.view().remove_replica(id)
    }
    fn store_reply(&mut self, replica: ReplicaId, reply: &StoredReply) -> Result<()> {
        self.view().store_reply(replica, reply)
    }
    fn store_last_edit(
        &mut self,
        replica: ReplicaId,
        collection: CollectionId,
        id: &GlobalId,
        edit: &LastEdit,
    ) -> Result<()> {
        self.view().store_last_edit(replica, collection, id, edit)
    }
    fn prune_last_edits(&mut self, replica: ReplicaId, upto: Generation) -> Result<()> {
        self.view().prune_last_edits(replica, upto)
    }
    fn store_conflict(&mut self, conflict: &Conflict) -> Result<()> {
        self.view().store_conflict(conflict)
    }
    fn store_blob(&mut self, hash: BlobHash, content: &[u8]) -> Result<()> {
        self.view().store_blob(hash, content, self.now)
    }
    fn store_service(&mut self, service: &Service) -> Result<()> {
        let stored = self.view().alter(service)?;
        self.state.schema = Arc::new(Schema::new(stored));
        Ok(())
    }
    fn prune_history(&mut self, upto: Generation) -> Result<Generation> {
        let floor = self.view().floor_for(upto, self.now)?;
        self.note_purge(floor)?;
        self.view().prune(floor, self.now)?;
        if self.state.sealed {
            self.fold_summaries()?;
        }
        self.state.head.floor = floor;
        Ok(floor)
    }
    fn start_history(&mut self, id: HistoryId) -> Result<Head> {
        if self.state.head.generation != self.began.generation || self.state.sealed {
            return Err(invalid(
                "the transaction",
                "a new history starts before any change of its own",
            ));
        }
        let head = self.view().start_history(id, self.now)?;
        // No tombstone is above the new floor: the sums are built anew.
        self.batch(
            "UPDATE haversack_summaries SET stale = 1 WHERE side = 0",
            "starting a new history",
        )?;
        self.journal = Journal::default();
        self.state.head = head;
        self.began = head;
        Ok(head)
    }
}
