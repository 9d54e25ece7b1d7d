//! The stage of a collection: changes that wait in the file until all of them can be merged in one transaction.

use haversack_model::documents::{Merged, NamedStage, Staged, document};
use haversack_model::store::Flow;
use haversack_model::{CollectionId, Error, GlobalId, Result, Revision, Timestamp, Value};
use rusqlite::params;

use super::documents::{PAGE, bound, live, tracked_by_revision};
use super::schema::Layer;
use super::view::{View, each_row};
use super::write::SqliteWrite;
use crate::error::{corrupt, while_doing};

/// What a staged row is.
pub(super) mod kind {
    /// A document.
    pub(in crate::service) const PUT: i64 = 0;
    /// A tombstone.
    pub(in crate::service) const TOMBSTONE: i64 = 1;
    /// What is here goes.
    pub(in crate::service) const DROPPED: i64 = 2;
    /// What is here is equal, and has this generation of the primary.
    pub(in crate::service) const ADOPTED: i64 = 3;
}

/// A document that is merged.
struct Waiting {
    key: String,
    revision: Revision,
    body: Option<String>,
}

/// What became of one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Became {
    Inserted,
    Replaced,
    Equal,
}

/// Above every key: none has this character.
const ABOVE_ALL: &str = "\u{10ffff}";

impl View<'_> {
    pub(super) fn named_stages(&self) -> Result<Vec<NamedStage>> {
        let doing = "reading what stages are of";
        let mut statement = self.prepare(
            "SELECT collection, origin, named_at FROM haversack_stages ORDER BY collection",
            doing,
        )?;
        let rows = statement
            .query_map([], |row| {
                Ok(NamedStage {
                    collection: CollectionId(row.get(0)?),
                    origin: row.get(1)?,
                    at: Timestamp(row.get(2)?),
                })
            })
            .map_err(while_doing(doing))?;
        rows.collect::<rusqlite::Result<_>>()
            .map_err(while_doing(doing))
    }

    pub(super) fn merged_keys(
        &self,
        id: CollectionId,
        whole: bool,
        (after, upto): (Option<&str>, Option<&str>),
        visit: &mut dyn FnMut(&str, Revision) -> Result<Flow>,
    ) -> Result<()> {
        let layer = self.layer(id)?;
        let staged = "global_id > ?1 AND global_id <= ?2";
        let kept = format!(
            "SELECT t.{key} AS key, k.revision AS revision FROM {table} t CROSS JOIN haversack_track k \
             ON k.collection = {id} AND k.object_id = t.{oid} \
             WHERE t.{key} > ?1 AND t.{key} <= ?2 AND {unstaged}",
            key = layer.key_column,
            table = layer.table,
            oid = layer.object_id,
            id = id.0,
            unstaged = unstaged(id, &format!("t.{}", layer.key_column)),
        );
        let sql = merged_sql(id, staged, (!whole).then_some(&kept), "key");
        let bounds = params![after.unwrap_or_default(), upto.unwrap_or(ABOVE_ALL)];
        self.each_merged(&sql, bounds, visit)
    }

    pub(super) fn merged_revisions(
        &self,
        id: CollectionId,
        whole: bool,
        (from, upto): (Revision, Revision),
        visit: &mut dyn FnMut(&str, Revision) -> Result<Flow>,
    ) -> Result<()> {
        let sql = merged_revisions_sql(self.layer(id)?, whole);
        self.each_merged(&sql, params![bound(from), bound(upto)], visit)
    }

    fn each_merged(
        &self,
        sql: &str,
        bounds: impl rusqlite::Params,
        visit: &mut dyn FnMut(&str, Revision) -> Result<Flow>,
    ) -> Result<()> {
        let doing = "reading what a merge would leave";
        let mut statement = self.prepare(sql, doing)?;
        let rows = statement.query(bounds).map_err(while_doing(doing))?;
        each_row(rows, doing, |row| {
            let revision: i64 = row.get(1).map_err(while_doing(doing))?;
            let key = row.get_ref(0).map_err(while_doing(doing))?;
            let key = key
                .as_str()
                .map_err(|_not_a_text| corrupt("a key that is no text"))?;
            visit(key, Revision(revision as u64))
        })
    }
}

/// The condition that nothing is staged of a key.
fn unstaged(id: CollectionId, key: &str) -> String {
    format!(
        "NOT EXISTS (SELECT 1 FROM haversack_stage s WHERE s.collection = {} AND s.global_id = {key})",
        id.0
    )
}

pub(super) fn merged_revisions_sql(layer: &Layer, whole: bool) -> String {
    let id = layer.collection.id;
    let kept = format!(
        "SELECT k.global_id AS key, k.revision AS revision FROM {} WHERE {} AND k.revision BETWEEN ?1 AND ?2 AND {}",
        tracked_by_revision(layer),
        live(layer),
        unstaged(id, "k.global_id"),
    );
    let staged = "revision BETWEEN ?1 AND ?2";
    merged_sql(id, staged, (!whole).then_some(&kept), "revision")
}

/// Keys and revisions of what is staged, and of what stays beside it.
fn merged_sql(id: CollectionId, within: &str, kept: Option<&String>, order: &str) -> String {
    let kept = kept.map_or_else(String::new, |kept| format!("UNION ALL {kept}"));
    format!(
        "SELECT global_id AS key, revision AS revision FROM haversack_stage \
         WHERE collection = {} AND kind = {} AND {within} {kept} ORDER BY {order}",
        id.0,
        kind::PUT
    )
}

impl SqliteWrite<'_> {
    pub(super) fn empty_stage(&self, id: CollectionId) -> Result<()> {
        let doing = "emptying a stage";
        for sql in [
            "DELETE FROM haversack_stage WHERE collection = ?1",
            "DELETE FROM haversack_stages WHERE collection = ?1",
        ] {
            self.view()
                .prepare(sql, doing)?
                .execute([id.0])
                .map_err(while_doing(doing))?;
        }
        Ok(())
    }

    pub(super) fn name_stage_of(&self, stage: &NamedStage) -> Result<()> {
        let doing = "naming a stage";
        self.view()
            .prepare(
                "INSERT OR REPLACE INTO haversack_stages VALUES (?1, ?2, ?3)",
                doing,
            )?
            .execute(params![stage.collection.0, stage.origin, stage.at.0])
            .map(|_| ())
            .map_err(while_doing(doing))
    }

    pub(super) fn stage_document(&self, id: CollectionId, change: &Staged) -> Result<()> {
        let key = self
            .view()
            .layer(id)?
            .key(&GlobalId::Text(change.key.as_str().into()))?;
        let (kind, revision, body) = match &change.document {
            Some((revision, body)) => (kind::PUT, *revision, Some(body)),
            None => (kind::DROPPED, Revision(0), None),
        };
        let doing = "staging a document";
        self.view()
            .prepare(
                "INSERT OR REPLACE INTO haversack_stage VALUES (?1, ?2, ?3, 0, ?4, ?5)",
                doing,
            )?
            .execute(params![id.0, key, kind, revision.0 as i64, body])
            .map(|_| ())
            .map_err(while_doing(doing))
    }

    pub(super) fn merge_documents(&mut self, id: CollectionId, whole: bool) -> Result<Merged> {
        if let Some(inserted) = self.take_stage(id)? {
            self.empty_stage(id)?;
            return Ok(Merged {
                inserted,
                ..Merged::default()
            });
        }
        let mut merged = Merged::default();
        if whole {
            merged.removed += self.remove_unstaged(id)?;
        }
        let mut indexed = true;
        let mut after = String::new();
        loop {
            let page = self.staged_page(id, &after)?;
            let Some(last) = page.last() else { break };
            after.clone_from(&last.key);
            for waiting in &page {
                let Some(body) = &waiting.body else {
                    let global_id = GlobalId::Text(waiting.key.as_str().into());
                    let was_live =
                        self.change(id, |tx, layer| tx.delete_record(layer, &global_id, None))?;
                    merged.removed += u64::from(was_live);
                    continue;
                };
                let mut became = self.merge_one(id, &waiting.key, waiting.revision, body);
                if indexed && matches!(became, Err(Error::Unique { .. })) {
                    // Two documents may exchange their values: only the whole must be unique.
                    indexed = false;
                    self.with_layer(id, |tx, layer| tx.drop_indexes(layer))?;
                    became = self.merge_one(id, &waiting.key, waiting.revision, body);
                }
                match became? {
                    Became::Inserted => merged.inserted += 1,
                    Became::Replaced => merged.replaced += 1,
                    Became::Equal => merged.equal += 1,
                }
            }
        }
        if !indexed {
            self.with_layer(id, |tx, layer| tx.create_indexes(layer))?;
        }
        self.empty_stage(id)?;
        Ok(merged)
    }

    /// Puts a document unless it is there with equal content; then only its revision is taken over.
    pub(super) fn merge_one(
        &mut self,
        id: CollectionId,
        key: &str,
        revision: Revision,
        body: &str,
    ) -> Result<Became> {
        let global_id = GlobalId::Text(key.into());
        let present = self.view().record(id, &global_id)?;
        let Some(present) = present else {
            let record = document(key, body);
            self.change(id, |tx, layer| {
                tx.put_record(layer, &record, Some(revision), None)
            })?;
            return Ok(Became::Inserted);
        };
        if present.record.values.first().and_then(Value::as_text) == Some(body) {
            if present.track.revision != revision {
                self.set_revision(id, present.record.object_id.map_or(0, |id| id.0), revision)?;
            }
            return Ok(Became::Equal);
        }
        let record = document(key, body);
        self.change(id, |tx, layer| {
            tx.put_record(layer, &record, Some(revision), None)
        })?;
        Ok(Became::Replaced)
    }

    fn set_revision(&self, id: CollectionId, object_id: i64, revision: Revision) -> Result<()> {
        let doing = "taking over a revision";
        self.view()
            .prepare(
                "UPDATE haversack_track SET revision = ?3 WHERE collection = ?1 AND object_id = ?2",
                doing,
            )?
            .execute(params![id.0, object_id, revision.0 as i64])
            .map_err(while_doing(doing))?;
        self.memory.borrow_mut().forget();
        Ok(())
    }

    pub(super) fn with_layer<T>(
        &mut self,
        id: CollectionId,
        work: impl FnOnce(&mut Self, &Layer) -> Result<T>,
    ) -> Result<T> {
        let schema = self.schema();
        work(self, schema.layer(id)?)
    }

    fn remove_unstaged(&mut self, id: CollectionId) -> Result<u64> {
        let schema = self.schema();
        let layer = schema.layer(id)?;
        let sql = format!(
            "SELECT t.{key} FROM {table} t WHERE t.{key} > ?1 AND NOT EXISTS \
             (SELECT 1 FROM haversack_stage s WHERE s.collection = {id} AND s.global_id = t.{key}) \
             ORDER BY t.{key} LIMIT {PAGE}",
            key = layer.key_column,
            table = layer.table,
            id = id.0,
        );
        let (mut removed, mut after) = (0, String::new());
        loop {
            let page = self.texts(&sql, &after)?;
            let Some(last) = page.last() else {
                return Ok(removed);
            };
            after.clone_from(last);
            for key in &page {
                let global_id = layer.global_id(rusqlite::types::ValueRef::Text(key.as_bytes()))?;
                self.change(id, |tx, layer| tx.delete_record(layer, &global_id, None))?;
                removed += 1;
            }
        }
    }

    fn texts(&self, sql: &str, after: &str) -> Result<Vec<String>> {
        let doing = "reading keys";
        let view = self.view();
        let mut statement = view.prepare(sql, doing)?;
        let rows = statement
            .query_map([after], |row| row.get(0))
            .map_err(while_doing(doing))?;
        rows.collect::<rusqlite::Result<_>>()
            .map_err(while_doing(doing))
    }

    fn staged_page(&self, id: CollectionId, after: &str) -> Result<Vec<Waiting>> {
        let doing = "reading a stage";
        let view = self.view();
        let mut statement = view.prepare(
            "SELECT global_id, revision, body FROM haversack_stage \
             WHERE collection = ?1 AND global_id > ?2 ORDER BY global_id LIMIT ?3",
            doing,
        )?;
        let rows = statement
            .query(params![id.0, after, PAGE as i64])
            .map_err(while_doing(doing))?;
        let mut page = Vec::new();
        each_row(rows, doing, |row| {
            let read = || -> rusqlite::Result<Waiting> {
                Ok(Waiting {
                    key: row.get(0)?,
                    revision: Revision(row.get::<_, i64>(1)? as u64),
                    body: row.get(2)?,
                })
            };
            page.push(read().map_err(while_doing(doing))?);
            Ok(Flow::Continue(()))
        })?;
        Ok(page)
    }
}
