//! Writes one record: its row, its place in the spatial index, its past version and its tracking.

use haversack_model::{
    CollectionId, Envelope, Generation, GlobalId, ObjectId, Record, ReplicaId, Result, Revision,
    Track, Value,
};
use rusqlite::types::Value as SqlValue;
use rusqlite::{ErrorCode, OptionalExtension, params};

use super::schema::{Layer, origin_bytes, track_at};
use super::view::Located;
use super::write::SqliteWrite;
use crate::error::{invalid, while_doing};
use crate::gpkg::{blob, column};

impl SqliteWrite<'_> {
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
    pub(super) fn write_row(
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
            .map_err(|error| self.refused(layer, key, record, error))?;
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
        key: String,
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
            .map_err(while_doing(doing))?;
        let mut memory = self.memory.borrow_mut();
        memory.wrote(collection, key, *track, content_generation);
        Ok(())
    }

    fn insert_track(
        &self,
        collection: CollectionId,
        object_id: i64,
        key: String,
        track: &Track,
    ) -> Result<()> {
        let doing = "writing the tracking of a record";
        self.view()
            .prepare(
                "INSERT INTO haversack_track (collection, object_id, global_id, generation, \
                 content_generation, stamp, revision, deleted, origin) \
                 VALUES (?1, ?2, ?3, ?4, ?4, ?5, ?6, 0, ?7)",
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
            .map_err(while_doing(doing))?;
        let mut memory = self.memory.borrow_mut();
        memory.wrote(collection, key, *track, track.generation);
        Ok(())
    }

    pub(super) fn put_record(
        &mut self,
        layer: &Layer,
        record: &Record,
        revision: Option<Revision>,
        origin: Option<ReplicaId>,
    ) -> Result<ObjectId> {
        let id = layer.collection.id;
        let key = layer.key(&record.global_id)?;
        if let Some(present) = self.locate(layer, &key)? {
            let generation = self.generation_for(&present.track);
            self.keep_version(layer, &present, generation)?;
            let envelope = self.write_row(layer, true, Some(present.object_id), &key, record)?;
            if envelope != present.envelope {
                self.index(layer, present.object_id, envelope)?;
            }
            let revision = revision.unwrap_or_else(|| self.next_revision(present.track.revision));
            let track = self.new_track(generation, revision, false, origin);
            self.unnumber(layer, &key, present.object_id, false)?;
            self.note_change(layer, &key, Some(&present.track), &track)?;
            self.retrack(id, present.object_id, key, &track, generation)?;
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
            let revision = revision.unwrap_or_else(|| self.next_revision(old.revision));
            let track = self.new_track(generation, revision, false, origin);
            self.unnumber(layer, &key, old_id, true)?;
            self.note_change(layer, &key, Some(&old), &track)?;
            self.retrack(id, old_id, key, &track, generation)?;
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
            let revision = revision.unwrap_or_else(|| self.next_revision(Revision(0)));
            let track = self.new_track(generation, revision, false, origin);
            self.note_edit(id)?;
            self.note_change(layer, &key, None, &track)?;
            self.insert_track(id, object_id, key, &track)?;
        }
        Ok(ObjectId(object_id))
    }

    fn new_track(
        &self,
        generation: Generation,
        revision: Revision,
        deleted: bool,
        origin: Option<ReplicaId>,
    ) -> Track {
        Track {
            generation,
            stamp: self.state.head.stamp,
            revision,
            deleted,
            origin,
        }
    }

    pub(super) fn delete_record(
        &mut self,
        layer: &Layer,
        id: &GlobalId,
        origin: Option<ReplicaId>,
    ) -> Result<bool> {
        let key = layer.key(id)?;
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
        let revision = self.next_revision(present.track.revision);
        let track = self.new_track(generation, revision, true, origin);
        self.unnumber(layer, &key, present.object_id, false)?;
        self.note_change(layer, &key, Some(&present.track), &track)?;
        self.retrack(
            layer.collection.id,
            present.object_id,
            key,
            &track,
            generation,
        )?;
        Ok(true)
    }

    pub(super) fn touch_record(&mut self, layer: &Layer, id: &GlobalId) -> Result<()> {
        let key = layer.key(id)?;
        let Some(present) = self.locate(layer, &key)? else {
            return Err(invalid("touch", format!("{id} is not a live record")));
        };
        let generation = self.generation_for(&present.track);
        let track = Track {
            generation,
            stamp: self.state.head.stamp,
            ..present.track
        };
        self.note_change(layer, &key, Some(&present.track), &track)?;
        self.retrack(
            layer.collection.id,
            present.object_id,
            key,
            &track,
            present.content_generation,
        )
    }
}

impl SqliteWrite<'_> {
    /// The error of a row that a column's own rules or a unique index refuse.
    fn refused(
        &self,
        layer: &Layer,
        key: &str,
        record: &Record,
        error: rusqlite::Error,
    ) -> haversack_model::Error {
        let is_documents = layer.collection.is_documents();
        if let (true, [Value::Text(body)]) = (is_documents, record.values.as_slice()) {
            let is_constraint = error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation);
            if is_constraint
                && let Ok(Some(conflict)) = self.view().unique_conflict(layer, key, body)
            {
                return conflict;
            }
            if is_constraint || error.to_string().contains("malformed JSON") {
                return invalid("document", "it is not a JSON object");
            }
        }
        if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) {
            return invalid(layer.collection.name.as_str(), error.to_string());
        }
        crate::error::from_sqlite("writing a record", error)
    }
}
