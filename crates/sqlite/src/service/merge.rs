//! The merge of a copy's stage, by global id and in one transaction.

use haversack_model::documents::document;
use haversack_model::store::Flow;
use haversack_model::{CollectionId, Error, Generation, GlobalId, Result, Revision, Track};
use haversack_sync::reconcile::{Base, Proof};
use rusqlite::{OptionalExtension, params};

use super::documents::PAGE;
use super::schema::Layer;
use super::stage::kind;
use super::summary::{Side, item};
use super::view::{View, each_row};
use super::write::SqliteWrite;
use crate::error::{corrupt, while_doing};

/// What a copy knows of a record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Numbered {
    pub(super) object_id: i64,
    pub(super) deleted: bool,
    /// The generation here.
    pub(super) generation: Generation,
    /// The primary's.
    pub(super) up: Option<Generation>,
}

/// A staged change.
struct Waiting {
    key: String,
    kind: i64,
    generation: Generation,
    revision: Revision,
    body: Option<String>,
}

impl View<'_> {
    /// The tracking row of a key, live or tombstone.
    pub(super) fn numbered(&self, id: CollectionId, key: &str) -> Result<Option<Numbered>> {
        let doing = "looking for a record of a copy";
        let layer = self.layer(id)?;
        let read = |row: &rusqlite::Row<'_>| {
            Ok(Numbered {
                object_id: row.get(0)?,
                deleted: row.get(1)?,
                generation: Generation(row.get::<_, i64>(2)? as u64),
                up: row
                    .get::<_, Option<i64>>(3)?
                    .map(|up| Generation(up as u64)),
            })
        };
        let columns = "k.object_id, k.deleted, k.generation, k.up_generation";
        let live = self
            .prepare(
                &format!(
                    "SELECT {columns} FROM {} t JOIN haversack_track k ON k.collection = ?1 \
                     AND k.object_id = t.{} WHERE t.{} = ?2",
                    layer.table, layer.object_id, layer.key_column
                ),
                doing,
            )?
            .query_row(params![id.0, key], read)
            .optional()
            .map_err(while_doing(doing))?;
        if live.is_some() {
            return Ok(live);
        }
        self.prepare(
            &format!(
                "SELECT {columns} FROM haversack_track k WHERE k.collection = ?1 \
                 AND k.global_id = ?2 AND k.deleted = 1"
            ),
            doing,
        )?
        .query_row(params![id.0, key], read)
        .optional()
        .map_err(while_doing(doing))
    }

    pub(super) fn up_generation(
        &self,
        id: CollectionId,
        object_id: i64,
    ) -> Result<Option<Generation>> {
        let doing = "reading the primary's generation";
        self.prepare(
            "SELECT up_generation FROM haversack_track WHERE collection = ?1 AND object_id = ?2",
            doing,
        )?
        .query_row(params![id.0, object_id], |row| row.get::<_, Option<i64>>(0))
        .optional()
        .map(|found| found.flatten().map(|up| Generation(up as u64)))
        .map_err(while_doing(doing))
    }
}

impl SqliteWrite<'_> {
    pub(super) fn forget_walk(&self, id: CollectionId) -> Result<()> {
        let doing = "forgetting a synchronisation";
        self.view()
            .prepare(
                "UPDATE haversack_upstreams SET walk = NULL WHERE collection = ?1",
                doing,
            )?
            .execute([id.0])
            .map(|_| ())
            .map_err(while_doing(doing))
    }

    /// Merges the stage. An equal record keeps its generation here and takes none.
    pub(super) fn merge_copy(
        &mut self,
        id: CollectionId,
        base: Base,
        unnumbered: bool,
    ) -> Result<()> {
        if base != Base::Kept {
            self.forget_numbers(id)?;
            self.remove_where(
                id,
                "NOT EXISTS (SELECT 1 FROM haversack_stage s WHERE s.collection = k.collection \
                 AND s.global_id = k.global_id)",
            )?;
        }
        let is_empty = !self.has_records(id)?;
        let mut indexed = true;
        let (mut after, mut last_key) = (-1, String::new());
        loop {
            let page = self.waiting_page(id, after, &last_key)?;
            let Some(last) = page.last() else { break };
            (after, last_key) = (last.generation.0 as i64, last.key.clone());
            for waiting in page {
                if is_empty && waiting.kind == kind::PUT {
                    // Nothing can be in the way: each key is staged once.
                    self.change(id, |tx, layer| tx.insert_copied(layer, &waiting))?;
                    continue;
                }
                let mut merged = self.merge_waiting(id, &waiting);
                if indexed && matches!(merged, Err(Error::Unique { .. })) {
                    // Two documents may exchange their values: only the whole must be unique.
                    indexed = false;
                    self.with_layer(id, |tx, layer| tx.drop_indexes(layer))?;
                    merged = self.merge_waiting(id, &waiting);
                }
                merged?;
            }
        }
        if unnumbered || base != Base::Kept {
            self.remove_where(id, "k.up_generation IS NULL")?;
        }
        if !indexed {
            self.with_layer(id, |tx, layer| tx.create_indexes(layer))?;
        }
        self.journal.edited.remove(&id);
        self.empty_stage(id)
    }

    pub(super) fn has_records(&self, id: CollectionId) -> Result<bool> {
        let doing = "looking for records of a copy";
        self.view()
            .prepare("SELECT 1 FROM haversack_track WHERE collection = ?1", doing)?
            .exists([id.0])
            .map_err(while_doing(doing))
    }

    /// Inserts a document of which a copy has nothing yet, with its generation of the primary.
    fn insert_copied(&mut self, layer: &Layer, waiting: &Waiting) -> Result<()> {
        let id = layer.collection.id;
        let body = waiting.body.as_deref().unwrap_or_default();
        let record = document(&waiting.key, body);
        self.write_row(layer, false, None, &waiting.key, &record)?;
        let object_id = self.linked.connection.last_insert_rowid();
        let generation = self.next_generation();
        let track = Track {
            generation,
            stamp: self.state.head.stamp,
            revision: waiting.revision,
            deleted: false,
            origin: None,
        };
        let doing = "writing the tracking of a copied document";
        self.view()
            .prepare(
                "INSERT INTO haversack_track (collection, object_id, global_id, generation, \
                 content_generation, stamp, revision, up_generation) \
                 VALUES (?1, ?2, ?3, ?4, ?4, ?5, ?6, ?7)",
                doing,
            )?
            .execute(params![
                id.0,
                object_id,
                waiting.key,
                generation.0 as i64,
                track.stamp.0,
                track.revision.0 as i64,
                waiting.generation.0 as i64
            ])
            .map_err(while_doing(doing))?;
        self.note_change(layer, &waiting.key, None, &track)?;
        let up = item(layer, &waiting.key, waiting.generation, false);
        self.note_item(id, Side::Up, &up, true)
    }

    fn merge_waiting(&mut self, id: CollectionId, waiting: &Waiting) -> Result<()> {
        let schema = self.schema();
        let layer = schema.layer(id)?;
        let global_id = GlobalId::Text(waiting.key.as_str().into());
        match waiting.kind {
            kind::PUT => {
                let body = waiting.body.as_deref().unwrap_or_default();
                self.merge_one(id, &waiting.key, waiting.revision, body)?;
                self.number(layer, &waiting.key, waiting.generation)
            }
            kind::TOMBSTONE => {
                if self.view().numbered(id, &waiting.key)?.is_none() {
                    self.change(id, |tx, layer| {
                        tx.insert_tombstone(layer, &waiting.key, waiting.revision)
                    })?;
                } else {
                    self.change(id, |tx, layer| tx.delete_record(layer, &global_id, None))?;
                }
                self.number(layer, &waiting.key, waiting.generation)
            }
            kind::ADOPTED => self.number(layer, &waiting.key, waiting.generation),
            _ => {
                let Some(present) = self.view().numbered(id, &waiting.key)? else {
                    return Ok(());
                };
                if !present.deleted {
                    return self
                        .change(id, |tx, layer| tx.delete_record(layer, &global_id, None))
                        .map(|_was_live| ());
                }
                self.unnumber(layer, &waiting.key, present.object_id, true)?;
                if present.generation <= self.state.head.floor {
                    // Only the primary's generation kept it.
                    self.remove_track(id, present.object_id)?;
                }
                Ok(())
            }
        }
    }

    /// Gives a record its generation of the primary.
    fn number(&mut self, layer: &Layer, key: &str, generation: Generation) -> Result<()> {
        let id = layer.collection.id;
        let Some(present) = self.view().numbered(id, key)? else {
            return Err(corrupt(format!("a copy has no record {key:?}")));
        };
        if let Some(up) = present.up {
            self.note_item(id, Side::Up, &item(layer, key, up, present.deleted), false)?;
        }
        self.set_up(id, present.object_id, Some(generation))?;
        self.note_item(
            id,
            Side::Up,
            &item(layer, key, generation, present.deleted),
            true,
        )
    }

    fn insert_tombstone(&mut self, layer: &Layer, key: &str, revision: Revision) -> Result<()> {
        let generation = self.next_generation();
        let track = Track {
            generation,
            stamp: self.state.head.stamp,
            revision,
            deleted: true,
            origin: None,
        };
        let doing = "keeping a tombstone of the primary";
        self.view()
            .prepare(
                "INSERT INTO haversack_track (collection, object_id, global_id, generation, \
                 content_generation, stamp, revision, deleted) VALUES (?1, -?3, ?2, ?3, ?3, ?4, ?5, 1)",
                doing,
            )?
            .execute(params![
                layer.collection.id.0,
                key,
                generation.0 as i64,
                track.stamp.0,
                revision.0 as i64
            ])
            .map_err(while_doing(doing))?;
        self.note_change(layer, key, None, &track)
    }

    fn remove_track(&self, id: CollectionId, object_id: i64) -> Result<()> {
        let doing = "forgetting a tombstone";
        self.view()
            .prepare(
                "DELETE FROM haversack_track WHERE collection = ?1 AND object_id = ?2",
                doing,
            )?
            .execute(params![id.0, object_id])
            .map(|_| ())
            .map_err(while_doing(doing))
    }

    /// All records lose their generations of the primary, and the summary of those begins anew: a damaged one does not
    /// outlive a full copy.
    fn forget_numbers(&mut self, id: CollectionId) -> Result<()> {
        let doing = "forgetting the primary's generations";
        self.view()
            .prepare(
                "UPDATE haversack_track SET up_generation = NULL \
                 WHERE collection = ?1 AND up_generation IS NOT NULL",
                doing,
            )?
            .execute([id.0])
            .map_err(while_doing(doing))?;
        let summary = self.view().summary(id, Side::Up)?;
        let summary = summary.ok_or_else(|| corrupt("a copy has no key"))?;
        self.rebuild(id, Side::Up, &summary.key, summary.bits)
    }

    /// Deletes live records of which something is true.
    fn remove_where(&mut self, id: CollectionId, condition: &str) -> Result<()> {
        let doing = "looking for what the primary does not have";
        let sql = format!(
            "SELECT k.object_id, k.global_id FROM haversack_track k WHERE k.collection = ?1 \
             AND k.object_id > ?2 AND k.deleted = 0 AND {condition} ORDER BY k.object_id LIMIT {PAGE}"
        );
        let mut after = 0_i64;
        loop {
            let mut page: Vec<String> = Vec::new();
            let view = self.view();
            let mut statement = view.prepare(&sql, doing)?;
            let rows = statement
                .query(params![id.0, after])
                .map_err(while_doing(doing))?;
            each_row(rows, doing, |row| {
                after = row.get(0).map_err(while_doing(doing))?;
                page.push(row.get(1).map_err(while_doing(doing))?);
                Ok(Flow::Continue(()))
            })?;
            drop(statement);
            if page.is_empty() {
                return Ok(());
            }
            for key in page {
                let global_id = GlobalId::Text(key.into());
                self.change(id, |tx, layer| tx.delete_record(layer, &global_id, None))?;
            }
        }
    }

    /// The next changes of the stage, in the order of the primary's generations.
    fn waiting_page(&self, id: CollectionId, after: i64, last_key: &str) -> Result<Vec<Waiting>> {
        let doing = "reading a stage";
        let view = self.view();
        let mut statement = view.prepare(
            "SELECT global_id, kind, generation, revision, body FROM haversack_stage \
             WHERE collection = ?1 AND (generation, global_id) > (?2, ?3) \
             ORDER BY generation, global_id LIMIT ?4",
            doing,
        )?;
        let rows = statement
            .query(params![id.0, after, last_key, PAGE as i64])
            .map_err(while_doing(doing))?;
        let mut page = Vec::new();
        each_row(rows, doing, |row| {
            let read = || -> rusqlite::Result<Waiting> {
                Ok(Waiting {
                    key: row.get(0)?,
                    kind: row.get(1)?,
                    generation: Generation(row.get::<_, i64>(2)? as u64),
                    revision: Revision(row.get::<_, i64>(3)? as u64),
                    body: row.get(4)?,
                })
            };
            page.push(read().map_err(while_doing(doing))?);
            Ok(Flow::Continue(()))
        })?;
        Ok(page)
    }

    /// Notes what a copy was proven to be.
    pub(super) fn note_proof(&self, id: CollectionId, proof: &Proof) -> Result<()> {
        let doing = "noting what was proven";
        self.view()
            .prepare(
                "UPDATE haversack_upstreams SET history = ?2, since = ?3, floor = ?4, proven_items = ?5, \
                 proven_high = ?6, proven_low = ?7, unnumbered = 0, base = 0, walk = NULL \
                 WHERE collection = ?1",
                doing,
            )?
            .execute(params![
                id.0,
                proof.history.to_string(),
                proof.generation.0 as i64,
                proof.floor.0 as i64,
                proof.root.count as i64,
                proof.root.high as i64,
                proof.root.low as i64
            ])
            .map(|_| ())
            .map_err(while_doing(doing))
    }
}
