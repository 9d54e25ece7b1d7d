//! Reads and writes of document collections beyond those of every collection.

use haversack_model::documents::{
    Difference, DocumentRead, DocumentWrite, Merged, NamedStage, Pin, Staged,
};
use haversack_model::store::Flow;
use haversack_model::{
    CollectionId, Generation, GlobalId, ObjectId, Record, ReplicaId, Result, Revision, Versioned,
};
use rusqlite::params;
use uuid::Uuid;

use super::read::SqliteRead;
use super::schema::{Layer, TRACK_COLUMNS, record_at, track_at};
use super::secondary::difference::Unstaged;
use super::view::{View, each_row};
use super::write::SqliteWrite;
use crate::error::{corrupt, while_doing};

/// Records that a page of a long change holds.
pub(super) const PAGE: usize = 2000;

/// The stored text below which no key is wanted.
fn lower_bound(layer: &Layer, after: Option<&str>) -> String {
    match after {
        None => String::new(),
        Some(after) if layer.collection.is_documents() => after.to_owned(),
        Some(after) => match GlobalId::parse_uuid(after) {
            Ok(id) => id.braced(),
            Err(_not_a_uuid) => format!("{{{}", after.to_uppercase()),
        },
    }
}

impl View<'_> {
    fn by_key(
        &self,
        id: CollectionId,
        after: Option<&str>,
        visit: &mut dyn FnMut(Versioned) -> Result<Flow>,
    ) -> Result<()> {
        let layer = self.layer(id)?;
        let sql = format!(
            "SELECT {}, {TRACK_COLUMNS} FROM {} t CROSS JOIN haversack_track k ON k.collection = {} \
             AND k.object_id = t.{} WHERE t.{key} > ?1 ORDER BY t.{key}",
            layer.columns("t"),
            layer.table,
            id.0,
            layer.object_id,
            key = layer.key_column,
        );
        self.each_versioned(&sql, params![lower_bound(layer, after)], layer, |row| {
            visit(row.0)
        })
    }

    fn each_versioned(
        &self,
        sql: &str,
        values: impl rusqlite::Params,
        layer: &Layer,
        mut visit: impl FnMut((Versioned, Generation)) -> Result<Flow>,
    ) -> Result<()> {
        let doing = "reading documents";
        let mut statement = self.prepare(sql, doing)?;
        let rows = statement.query(values).map_err(while_doing(doing))?;
        each_row(rows, doing, |row| {
            let record = record_at(row, layer, 0)?;
            let (track, since) = track_at(row, layer.width()).map_err(while_doing(doing))?;
            visit((Versioned { record, track }, since))
        })
    }

    fn revisions(
        &self,
        id: CollectionId,
        from: Revision,
        upto: Revision,
        visit: &mut dyn FnMut(Revision, GlobalId) -> Result<Flow>,
    ) -> Result<()> {
        let layer = self.layer(id)?;
        let doing = "reading revisions";
        let mut statement = self.prepare(&revisions_sql(layer), doing)?;
        let rows = statement
            .query(params![bound(from), bound(upto)])
            .map_err(while_doing(doing))?;
        each_row(rows, doing, |row| {
            let revision: i64 = row.get(0).map_err(while_doing(doing))?;
            let id = layer.global_id(row.get_ref(1).map_err(while_doing(doing))?)?;
            visit(Revision(revision as u64), id)
        })
    }

    fn count(&self, id: CollectionId) -> Result<u64> {
        let layer = self.layer(id)?;
        let doing = "counting records";
        let count: i64 = self
            .prepare(&format!("SELECT count(*) FROM {}", layer.table), doing)?
            .query_row([], |row| row.get(0))
            .map_err(while_doing(doing))?;
        Ok(count as u64)
    }

    fn live_as_of(
        &self,
        id: CollectionId,
        at: Generation,
        after: Option<&str>,
        visit: &mut dyn FnMut(Versioned) -> Result<Flow>,
    ) -> Result<()> {
        self.check_cursor(at)?;
        let layer = self.layer(id)?;
        let sql = as_of_sql(layer);
        let values = params![lower_bound(layer, after), at.0 as i64];
        self.each_versioned(&sql, values, layer, |(mut found, since)| {
            if found.track.generation > at {
                // Touched later: as of then it stood at the generation of its content.
                found.track.generation = since;
            }
            visit(found)
        })
    }

    pub(super) fn pins(&self) -> Result<Vec<Pin>> {
        let doing = "reading pins";
        let mut statement = self.prepare(
            "SELECT id, generation, expires_at FROM haversack_pins ORDER BY generation, id",
            doing,
        )?;
        let mut pins = Vec::new();
        let rows = statement.query([]).map_err(while_doing(doing))?;
        each_row(rows, doing, |row| {
            let read = || -> rusqlite::Result<(String, i64, i64)> {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            };
            let (id, generation, expires_at) = read().map_err(while_doing(doing))?;
            pins.push(Pin {
                id: Uuid::parse_str(&id).map_err(|_not_a_uuid| corrupt(format!("pin {id:?}")))?,
                generation: Generation(generation as u64),
                expires_at: haversack_model::Timestamp(expires_at),
            });
            Ok(Flow::Continue(()))
        })?;
        Ok(pins)
    }

    fn staged(&self, id: CollectionId) -> Result<u64> {
        let doing = "counting a stage";
        let count: i64 = self
            .prepare(
                "SELECT count(*) FROM haversack_stage WHERE collection = ?1",
                doing,
            )?
            .query_row([id.0], |row| row.get(0))
            .map_err(while_doing(doing))?;
        Ok(count as u64)
    }
}

/// Documents after a key as of a generation. Both halves go by the index of their keys: who reads a page does not pay for the rest.
fn as_of_sql(layer: &Layer) -> String {
    format!(
        "SELECT {now}, {TRACK_COLUMNS} FROM {table} t CROSS JOIN haversack_track k \
             ON k.collection = {id} AND k.object_id = t.{oid} \
             WHERE t.{key} > ?1 AND k.content_generation <= ?2 \
             UNION ALL SELECT {then}, h.haversack_from, h.haversack_stamp, h.haversack_revision, 0, \
             h.haversack_origin, h.haversack_from FROM {history} h \
             WHERE h.{key} > ?1 AND h.haversack_from <= ?2 AND h.haversack_until > ?2 ORDER BY 2",
        now = layer.columns("t"),
        then = layer.columns("h"),
        table = layer.table,
        history = layer.history,
        oid = layer.object_id,
        key = layer.key_column,
        id = layer.collection.id.0,
    )
}

/// Records with a revision in between, in their order.
fn revisions_sql(layer: &Layer) -> String {
    format!(
        "SELECT k.revision, k.global_id FROM {} WHERE {} AND k.revision BETWEEN ?1 AND ?2 ORDER BY k.revision",
        tracked_by_revision(layer),
        live(layer)
    )
}

/// The table of versions as `k`, read by the index of revisions. SQLite would not take it by itself: it reckons with few records in
/// a collection and would read them all for each revision.
pub(super) fn tracked_by_revision(layer: &Layer) -> String {
    if layer.collection.is_documents() {
        format!(
            "haversack_track k INDEXED BY haversack_revisions_{}",
            layer.collection.id.0
        )
    } else {
        "haversack_track k".to_owned()
    }
}

/// That a version in `k` is of a record that is there. The number of the collection is in the text: the index of revisions is made for
/// it alone.
pub(super) fn live(layer: &Layer) -> String {
    format!("k.collection = {} AND k.deleted = 0", layer.collection.id.0)
}

/// A revision as it is stored.
pub(super) fn bound(revision: Revision) -> i64 {
    i64::try_from(revision.0).unwrap_or(i64::MAX)
}

macro_rules! documents_through_view {
    ($type:ty) => {
        impl DocumentRead for $type {
            fn by_key(
                &self,
                collection: CollectionId,
                after: Option<&str>,
                visit: &mut dyn FnMut(Versioned) -> Result<Flow>,
            ) -> Result<()> {
                self.view().by_key(collection, after, visit)
            }
            fn revisions(
                &self,
                collection: CollectionId,
                from: Revision,
                upto: Revision,
                visit: &mut dyn FnMut(Revision, GlobalId) -> Result<Flow>,
            ) -> Result<()> {
                self.view().revisions(collection, from, upto, visit)
            }
            fn count(&self, collection: CollectionId) -> Result<u64> {
                self.view().count(collection)
            }
            fn live_as_of(
                &self,
                collection: CollectionId,
                at: Generation,
                after: Option<&str>,
                visit: &mut dyn FnMut(Versioned) -> Result<Flow>,
            ) -> Result<()> {
                self.view().live_as_of(collection, at, after, visit)
            }
            fn pins(&self) -> Result<Vec<Pin>> {
                self.view().pins()
            }
            fn staged(&self, collection: CollectionId) -> Result<u64> {
                self.view().staged(collection)
            }
            fn named_stages(&self) -> Result<Vec<NamedStage>> {
                self.view().named_stages()
            }
            fn merged_keys(
                &self,
                collection: CollectionId,
                whole: bool,
                bounds: (Option<&str>, Option<&str>),
                visit: &mut dyn FnMut(&str, Revision) -> Result<Flow>,
            ) -> Result<()> {
                self.view().merged_keys(collection, whole, bounds, visit)
            }
            fn merged_revisions(
                &self,
                collection: CollectionId,
                whole: bool,
                bounds: (Revision, Revision),
                visit: &mut dyn FnMut(&str, Revision) -> Result<Flow>,
            ) -> Result<()> {
                self.view()
                    .merged_revisions(collection, whole, bounds, visit)
            }
            fn differences(
                &self,
                collection: CollectionId,
                whole: bool,
                most: usize,
            ) -> Result<Vec<Difference>> {
                let unstaged = if whole { Unstaged::Go } else { Unstaged::Stay };
                self.view().staged_differences(collection, unstaged, most)
            }
        }
    };
}

documents_through_view!(SqliteRead<'_>);
documents_through_view!(SqliteWrite<'_>);

impl DocumentWrite for SqliteWrite<'_> {
    fn put_revision(
        &mut self,
        collection: CollectionId,
        record: &Record,
        revision: Revision,
        origin: Option<ReplicaId>,
    ) -> Result<ObjectId> {
        self.change(collection, |tx, layer| {
            tx.put_record(layer, record, Some(revision), origin)
        })
    }

    fn truncate(&mut self, collection: CollectionId) -> Result<u64> {
        let mut removed = 0;
        loop {
            let mut page = Vec::new();
            self.view().by_key(collection, None, &mut |found| {
                page.push(found.record.global_id);
                Ok(if page.len() >= PAGE {
                    Flow::Break(())
                } else {
                    Flow::Continue(())
                })
            })?;
            if page.is_empty() {
                return Ok(removed);
            }
            for id in &page {
                self.change(collection, |tx, layer| tx.delete_record(layer, id, None))?;
            }
            removed += page.len() as u64;
        }
    }

    fn pin(&mut self, pin: &Pin) -> Result<()> {
        self.view().check_cursor(pin.generation)?;
        let doing = "keeping a pin";
        self.view()
            .prepare(
                "INSERT OR REPLACE INTO haversack_pins VALUES (?1, ?2, ?3)",
                doing,
            )?
            .execute(params![
                pin.id.to_string(),
                pin.generation.0 as i64,
                pin.expires_at.0
            ])
            .map(|_| ())
            .map_err(while_doing(doing))
    }

    fn unpin(&mut self, id: Uuid) -> Result<bool> {
        let doing = "removing a pin";
        self.view()
            .prepare("DELETE FROM haversack_pins WHERE id = ?1", doing)?
            .execute([id.to_string()])
            .map(|removed| removed > 0)
            .map_err(while_doing(doing))
    }

    fn name_stage(&mut self, stage: &NamedStage) -> Result<()> {
        self.name_stage_of(stage)
    }
    fn clear_stage(&mut self, collection: CollectionId) -> Result<()> {
        self.empty_stage(collection)?;
        // What a walk of the other protocol had staged is gone, so that it cannot go on.
        self.forget_walk(collection)
    }
    fn stage(&mut self, collection: CollectionId, change: &Staged) -> Result<()> {
        self.stage_document(collection, change)
    }
    fn merge_stage(&mut self, collection: CollectionId, whole: bool) -> Result<Merged> {
        self.merge_documents(collection, whole)
    }
}

#[cfg(test)]
mod tests {
    use haversack_model::conformance::documents::{NOTES, with_documents};

    use super::super::SqliteStore;
    use super::*;

    #[test]
    fn a_page_of_a_dump_is_read_without_sorting_what_follows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.gpkg");
        let store = SqliteStore::create(path, &with_documents()).unwrap();
        let read = store.read().unwrap();
        let view = read.view();
        let plan = plan(&view, &as_of_sql(view.layer(NOTES).unwrap()));
        assert!(!plan.is_empty());
        assert!(
            plan.iter().all(|line| !line.contains("TEMP B-TREE")),
            "{plan:#?}"
        );
    }

    #[test]
    fn a_document_is_found_by_its_revision_without_reading_the_others() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.gpkg");
        let store = SqliteStore::create(path, &with_documents()).unwrap();
        let read = store.read().unwrap();
        let view = read.view();
        let layer = view.layer(NOTES).unwrap();
        let by_revision = format!("haversack_revisions_{}", NOTES.0);
        let by_revision = format!("SEARCH k USING INDEX {by_revision} (revision>? AND revision<?)");
        let alone = plan(&view, &revisions_sql(layer));
        assert_eq!(alone, [by_revision.as_str()]);
        let merged = plan(
            &view,
            &super::super::stage::merged_revisions_sql(layer, false),
        );
        assert!(merged.contains(&by_revision), "{merged:#?}");
    }

    fn plan(view: &View<'_>, sql: &str) -> Vec<String> {
        let mut statement = view
            .connection
            .prepare(&format!("EXPLAIN QUERY PLAN {sql}"))
            .unwrap();
        let lines = statement.query_map(params!["", 1], |row| row.get(3));
        lines.unwrap().map(|line| line.unwrap()).collect()
    }
}
