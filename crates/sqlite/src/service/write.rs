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
    BlobHash, Collection, CollectionId, Conflict, ConflictId, Envelope, Filter, Generation,
    GlobalId, HistoryId, ObjectId, Query, QueryRow, Record, Replica, ReplicaId, Result, Revision,
    Service, Timestamp, Track, Versioned,
};
use rusqlite::types::Value as SqlValue;
use rusqlite::{OptionalExtension, params};

use super::SqliteStore;
use super::connection::Linked;
use super::read::read_through_view;
use super::schema::{Layer, Schema, origin_bytes, track_at};
use super::view::{Located, Seen, View};
use crate::error::{invalid, while_doing};
use crate::gpkg::{blob, column, datetime};

/// A write transaction; dropping it undoes it.
#[derive(Debug)]
pub(super) struct SqliteWrite<'a> {
    store: &'a SqliteStore,
    linked: MutexGuard<'a, Linked>,
    /// The counter when the transaction began.
    began: Head,
    now: Timestamp,
    state: State,
    saved: Option<State>,
    /// The record that was looked up last.
    seen: RefCell<Option<Seen>>,
    finished: bool,
}

/// What a rollback to the savepoint restores besides the file.
#[derive(Clone, Debug)]
struct State {
    schema: Arc<Schema>,
    /// The counter as of now: `generation` and `revision` are the last ones used.
    head: Head,
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
            seen: RefCell::default(),
            finished: false,
        }
    }

    fn view(&self) -> View<'_> {
        View {
            connection: &self.linked.connection,
            deadline: &self.linked.deadline,
            schema: &self.state.schema,
            head: self.state.head,
            limit: self.store.query_limit(),
            seen: Some(&self.seen),
        }
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
    fn next_generation(&mut self) -> Generation {
        let head = &mut self.state.head;
        if head.generation == self.began.generation {
            head.stamp = Timestamp(self.now.0.max(self.began.stamp.0 + 1));
        }
        head.generation = head.generation.next();
        head.generation
    }

    fn next_revision(&mut self, own: Revision) -> Revision {
        let revision = Revision::next(self.now, self.state.head.revision, own);
        self.state.head.revision = revision;
        revision
    }

    /// The present row of a record; what the caller read of it just before is not read again.
    fn locate(&self, layer: &Layer, key: &str) -> Result<Option<Located>> {
        self.view().locate(layer, key)
    }

    fn tombstone(&self, collection: CollectionId, key: &str) -> Result<Option<(i64, Track)>> {
        let doing = "looking for a tombstone";
        self.view()
            .prepare(
                "SELECT k.object_id, k.generation, k.stamp, k.revision, k.deleted, k.origin, \
                 k.content_generation FROM haversack_track k \
                 WHERE k.collection = ?1 AND k.global_id = ?2 AND k.deleted = 1",
                doing,
            )?
            .query_row(params![collection.0, key], |row| {
                Ok((row.get(0)?, track_at(row, 1)?.0))
            })
            .optional()
            .map_err(while_doing(doing))
    }

    /// The generation of a change to a record: its own if it already changed in this transaction.
    fn generation_for(&mut self, present: &Track) -> Generation {
        if present.generation > self.began.generation {
            present.generation
        } else {
            self.next_generation()
        }
    }

    /// Keeps the version that a change replaces, unless this very transaction made it.
    fn keep_version(&self, layer: &Layer, present: &Located, until: Generation) -> Result<()> {
        if present.content_generation > self.began.generation {
            return Ok(());
        }
        let doing = "keeping a replaced version";
        let track = &present.track;
        self.view()
            .prepare(&layer.keep_version, doing)?
            .execute(params![
                present.object_id,
                until.0 as i64,
                present.content_generation.0 as i64,
                track.stamp.0,
                track.revision.0 as i64,
                origin_bytes(track.origin)
            ])
            .map(|_| ())
            .map_err(while_doing(doing))
    }

    /// Writes the row. `update`: the global id is not among the statement's parameters.
    fn write_row(
        &self,
        layer: &Layer,
        update: bool,
        object_id: Option<i64>,
        key: &str,
        record: &Record,
    ) -> Result<Option<Envelope>> {
        let doing = "writing a record";
        let failed = while_doing(doing);
        let collection = &layer.collection;
        if record.values.len() != collection.fields.len() {
            return Err(invalid(
                collection.name.as_str(),
                format!(
                    "a record has {} values, the collection {} fields",
                    record.values.len(),
                    collection.fields.len()
                ),
            ));
        }
        let sql = if update { &layer.update } else { &layer.insert };
        let mut statement = self.view().prepare(sql, doing)?;
        statement
            .raw_bind_parameter(1, object_id)
            .map_err(&failed)?;
        let mut at = 2;
        let mut envelope = None;
        if let Some(own) = &collection.geometry {
            let stored = match &record.geometry {
                None => SqlValue::Null,
                Some(geometry) => {
                    let (bytes, found) = blob::encode(geometry, own.srid);
                    envelope = found;
                    SqlValue::Blob(bytes)
                }
            };
            statement.raw_bind_parameter(at, stored).map_err(&failed)?;
            at += 1;
        } else if record.geometry.is_some() {
            return Err(invalid(collection.name.as_str(), "it has no geometry"));
        }
        if !update {
            statement.raw_bind_parameter(at, key).map_err(&failed)?;
        }
        at += 1;
        for (field, value) in collection.fields.iter().zip(&record.values) {
            let stored = column::to_sql(field, value)?;
            statement.raw_bind_parameter(at, stored).map_err(&failed)?;
            at += 1;
        }
        statement
            .raw_execute()
            .map_err(|error| refused(layer, error))?;
        Ok(envelope)
    }

    fn index(&self, layer: &Layer, object_id: i64, envelope: Option<Envelope>) -> Result<()> {
        let doing = "keeping the spatial index";
        match (&layer.index_put, &layer.index_remove, envelope) {
            (Some(put), _, Some(e)) => self
                .view()
                .prepare(put, doing)?
                .execute(params![object_id, e.min_x, e.max_x, e.min_y, e.max_y]),
            (_, Some(remove), None) => self.view().prepare(remove, doing)?.execute([object_id]),
            _ => return Ok(()),
        }
        .map(|_| ())
        .map_err(while_doing(doing))
    }

    /// Writes the tracking of a record that was located or is a tombstone.
    fn retrack(
        &self,
        collection: CollectionId,
        object_id: i64,
        track: &Track,
        content_generation: Generation,
    ) -> Result<()> {
        let doing = "writing the tracking of a record";
        self.view()
            .prepare(
                "UPDATE haversack_track SET generation = ?3, content_generation = ?4, stamp = ?5, \
                 revision = ?6, deleted = ?7, origin = ?8 WHERE collection = ?1 AND object_id = ?2",
                doing,
            )?
            .execute(params![
                collection.0,
                object_id,
                track.generation.0 as i64,
                content_generation.0 as i64,
                track.stamp.0,
                track.revision.0 as i64,
                track.deleted,
                origin_bytes(track.origin)
            ])
            .map(|_| ())
            .map_err(while_doing(doing))
    }

    fn insert_track(
        &self,
        collection: CollectionId,
        object_id: i64,
        key: &str,
        track: &Track,
    ) -> Result<()> {
        let doing = "writing the tracking of a record";
        self.view()
            .prepare(
                "INSERT INTO haversack_track VALUES (?1, ?2, ?3, ?4, ?4, ?5, ?6, 0, ?7)",
                doing,
            )?
            .execute(params![
                collection.0,
                object_id,
                key,
                track.generation.0 as i64,
                track.stamp.0,
                track.revision.0 as i64,
                origin_bytes(track.origin)
            ])
            .map(|_| ())
            .map_err(while_doing(doing))
    }

    fn put_record(
        &mut self,
        layer: &Layer,
        record: &Record,
        origin: Option<ReplicaId>,
    ) -> Result<ObjectId> {
        let id = layer.collection.id;
        let key = column::global_id_text(&record.global_id)?;
        if let Some(present) = self.locate(layer, &key)? {
            let generation = self.generation_for(&present.track);
            self.keep_version(layer, &present, generation)?;
            let envelope = self.write_row(layer, true, Some(present.object_id), &key, record)?;
            if envelope != present.envelope {
                self.index(layer, present.object_id, envelope)?;
            }
            let track = self.new_track(generation, present.track.revision, false, origin);
            self.retrack(id, present.object_id, &track, generation)?;
            return Ok(ObjectId(present.object_id));
        }
        let tombstone = self.tombstone(id, &key)?;
        let revived = tombstone.as_ref().map(|(object_id, _)| *object_id);
        let envelope = self.write_row(layer, false, revived.filter(|id| *id > 0), &key, record)?;
        let object_id = self.linked.connection.last_insert_rowid();
        if envelope.is_some() {
            self.index(layer, object_id, envelope)?;
        }
        if let Some((old_id, old)) = tombstone {
            let generation = self.generation_for(&old);
            let track = self.new_track(generation, old.revision, false, origin);
            self.retrack(id, old_id, &track, generation)?;
            if old_id != object_id {
                self.view()
                    .prepare(
                        "UPDATE haversack_track SET object_id = ?3 \
                         WHERE collection = ?1 AND object_id = ?2",
                        "moving the tracking of a record",
                    )?
                    .execute(params![id.0, old_id, object_id])
                    .map_err(while_doing("moving the tracking of a record"))?;
            }
        } else {
            let generation = self.next_generation();
            let track = self.new_track(generation, Revision(0), false, origin);
            self.insert_track(id, object_id, &key, &track)?;
        }
        Ok(ObjectId(object_id))
    }

    fn new_track(
        &mut self,
        generation: Generation,
        own: Revision,
        deleted: bool,
        origin: Option<ReplicaId>,
    ) -> Track {
        Track {
            generation,
            stamp: self.state.head.stamp,
            revision: self.next_revision(own),
            deleted,
            origin,
        }
    }

    fn delete_record(
        &mut self,
        layer: &Layer,
        id: &GlobalId,
        origin: Option<ReplicaId>,
    ) -> Result<bool> {
        let key = column::global_id_text(id)?;
        let Some(present) = self.locate(layer, &key)? else {
            return Ok(false);
        };
        let generation = self.generation_for(&present.track);
        self.keep_version(layer, &present, generation)?;
        let doing = "deleting a record";
        self.view()
            .prepare(&layer.delete, doing)?
            .execute([present.object_id])
            .map_err(while_doing(doing))?;
        if present.envelope.is_some() {
            self.index(layer, present.object_id, None)?;
        }
        let track = self.new_track(generation, present.track.revision, true, origin);
        self.retrack(layer.collection.id, present.object_id, &track, generation)?;
        Ok(true)
    }

    fn touch_record(&mut self, layer: &Layer, id: &GlobalId) -> Result<()> {
        let key = column::global_id_text(id)?;
        let Some(present) = self.locate(layer, &key)? else {
            return Err(invalid("touch", format!("{id} is not a live record")));
        };
        let generation = self.generation_for(&present.track);
        let track = Track {
            generation,
            stamp: self.state.head.stamp,
            ..present.track
        };
        self.retrack(
            layer.collection.id,
            present.object_id,
            &track,
            present.content_generation,
        )
    }

    /// Runs a change of one collection's records.
    fn change<T>(
        &mut self,
        collection: CollectionId,
        change: impl FnOnce(&mut Self, &Layer) -> Result<T>,
    ) -> Result<T> {
        self.check_open()?;
        let schema = Arc::clone(&self.state.schema);
        let layer = schema.layer(collection)?;
        let before = self.state.head;
        let done = change(self, layer);
        *self.seen.borrow_mut() = None;
        let done = done.map_err(|error| {
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

/// The error of a row that a column's own rules refuse.
fn refused(layer: &Layer, error: rusqlite::Error) -> haversack_model::Error {
    if error.sqlite_error_code() == Some(rusqlite::ErrorCode::ConstraintViolation) {
        return invalid(layer.collection.name.as_str(), error.to_string());
    }
    crate::error::from_sqlite("writing a record", error)
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
        self.change(collection, |tx, layer| tx.put_record(layer, record, origin))
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
        self.saved = Some(self.state.clone());
        Ok(())
    }
    fn rollback_to_savepoint(&mut self) -> Result<()> {
        let Some(saved) = &self.saved else {
            return Err(invalid("the transaction", "it has no savepoint"));
        };
        self.batch("ROLLBACK TO haversack", "returning to a savepoint")?;
        self.state = saved.clone();
        *self.seen.borrow_mut() = None;
        Ok(())
    }
    fn commit(mut self: Box<Self>) -> Result<Head> {
        let head = self.seal()?;
        let committed = self.batch("COMMIT", "committing");
        if let Err(error) = committed {
            return Err(self.store.note(error));
        }
        self.finished = true;
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
        let floor = self.view().prune(upto, self.now)?;
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
        self.state.head = head;
        self.began = head;
        Ok(head)
    }
}
