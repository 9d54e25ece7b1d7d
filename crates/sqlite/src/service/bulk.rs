//! Many documents at once into a collection that is empty: two statements and a sum, not some statements for each.

use haversack_model::{CollectionId, Generation, GlobalId, Result};
use haversack_sync::reconcile::{Deltas, Item};
use rusqlite::params;

use super::connection::USUAL_CACHE_KIB;
use super::schema::Layer;
use super::stage::kind;
use super::summary::Side;
use super::write::SqliteWrite;
use crate::error::while_doing;
use crate::gpkg::layer::{create_key_index, drop_key_index};

/// Page cache meanwhile: rows are appended, and building an index takes as much again.
const CACHE_KIB: i64 = 16_000;

/// Where rows come from, as SQL. Their places are 1, 2, 3 and so on.
pub(super) struct Source<'a> {
    /// What stands after `FROM`, in the order of places.
    pub(super) from: &'a str,
    pub(super) place: &'a str,
    pub(super) key: &'a str,
    pub(super) body: &'a str,
    pub(super) deleted: &'a str,
    pub(super) up: &'a str,
}

impl SqliteWrite<'_> {
    /// Inserts all rows; the one at place 1 gets the generation after `before`. Indexes are built at the end: keys, which come in no order,
    /// are sorted first, and only the whole must be unique.
    pub(super) fn insert_all(&self, layer: &Layer, before: u64, source: &Source<'_>) -> Result<()> {
        let cache = |kib: i64| {
            let connection = &self.linked.connection;
            let set = connection.pragma_update(Some("main"), "cache_size", -kib);
            set.map_err(while_doing("inserting many documents"))
        };
        cache(CACHE_KIB)?;
        let done = self.insert_rows(layer, before, source);
        cache(USUAL_CACHE_KIB)?;
        done
    }

    fn insert_rows(&self, layer: &Layer, before: u64, source: &Source<'_>) -> Result<()> {
        let failed = while_doing("inserting many documents");
        let connection = &self.linked.connection;
        let offset: i64 = connection
            .query_row(
                "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = ?1",
                [&layer.collection.table],
                |row| row.get(0),
            )
            .map_err(&failed)?;
        let has_indexes = !layer.collection.indexes.is_empty();
        if has_indexes {
            self.drop_indexes(layer)?;
        }
        drop_key_index(connection, &layer.collection)?;
        let Source {
            from,
            place,
            key,
            body,
            deleted,
            up,
        } = source;
        connection
            .execute(
                &format!(
                    "INSERT INTO main.{} ({}, {}, document) SELECT * FROM (SELECT ?1 + {place}, {key}, {body} \
                     AS body FROM {from}) WHERE body IS NOT NULL",
                    layer.table, layer.object_id, layer.key_column
                ),
                [offset],
            )
            .map_err(&failed)?;
        create_key_index(connection, &layer.collection, true)?;
        connection
            .execute(
                &format!(
                    "INSERT INTO main.haversack_track (collection, object_id, global_id, generation, \
                     content_generation, stamp, revision, deleted, up_generation) \
                     SELECT ?1, CASE WHEN {deleted} THEN -(?2 + {place}) ELSE ?3 + {place} END, {key}, \
                     ?2 + {place}, ?2 + {place}, ?4, revision, {deleted}, {up} FROM {from}"
                ),
                params![
                    layer.collection.id.0,
                    before as i64,
                    offset,
                    self.state.head.stamp.0
                ],
            )
            .map_err(&failed)?;
        if has_indexes {
            self.create_indexes(layer)?;
        }
        Ok(())
    }

    /// Takes a stage of documents alone into a collection that has nothing. How many; `None` if it is another stage or
    /// collection: then one after the other is merged.
    pub(super) fn take_stage(&mut self, id: CollectionId) -> Result<Option<u64>> {
        if self.has_records(id)? {
            return Ok(None);
        }
        let doing = "looking at a stage";
        let (count, first, last, others): (u64, i64, i64, u64) = self
            .view()
            .prepare(
                "SELECT count(*), coalesce(min(rowid), 0), coalesce(max(rowid), 0), \
                 coalesce(sum(kind <> ?2), 0) FROM haversack_stage WHERE collection = ?1",
                doing,
            )?
            .query_row(params![id.0, kind::PUT], |row| {
                Ok((
                    row.get::<_, i64>(0)? as u64,
                    row.get(1)?,
                    row.get(2)?,
                    row.get::<_, i64>(3)? as u64,
                ))
            })
            .map_err(while_doing(doing))?;
        if count == 0 || others > 0 || (last - first) as u64 != count - 1 {
            return Ok(None);
        }
        let before = self.state.head.generation.0;
        self.next_generations(count);
        let from = format!(
            "main.haversack_stage NOT INDEXED WHERE rowid BETWEEN {first} AND {last} ORDER BY rowid"
        );
        let place = format!("(rowid - {})", first - 1);
        self.change(id, |tx, layer| {
            tx.insert_all(
                layer,
                before,
                &Source {
                    from: &from,
                    place: &place,
                    key: "global_id",
                    body: "body",
                    deleted: "0",
                    up: "NULL",
                },
            )
        })?;
        self.note_edit(id)?;
        let here = self.sum_keys(id, before, &from)?;
        if let Some(here) = here {
            self.fold(id, Side::Here, &here)?;
        }
        Ok(Some(count))
    }

    /// The sum of keys that get generations one after the other; `None` if no sums are kept.
    fn sum_keys(&self, id: CollectionId, before: u64, from: &str) -> Result<Option<Deltas>> {
        let Some(summary) = self.view().summary(id, Side::Here)?.filter(|s| !s.stale) else {
            return Ok(None);
        };
        let failed = while_doing("summing a stage up");
        let mut sums = Deltas::new(summary.bits);
        let mut statement = self
            .linked
            .connection
            .prepare(&format!("SELECT global_id FROM {from}"))
            .map_err(&failed)?;
        let mut rows = statement.query([]).map_err(&failed)?;
        let mut generation = before;
        while let Some(row) = rows.next().map_err(&failed)? {
            generation += 1;
            let item = Item {
                global_id: GlobalId::Text(row.get::<_, String>(0).map_err(&failed)?.into()),
                generation: Generation(generation),
                deleted: false,
                content: 0,
            };
            sums.add(generation, summary.key.numbered(&item));
        }
        Ok(Some(sums))
    }
}
