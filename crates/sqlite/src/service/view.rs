//! What can be read of a service in one snapshot: records, tracking, past versions, digests.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

use haversack_model::record::Digest;
use haversack_model::store::{Flow, Head};
use haversack_model::{
    CollectionId, Envelope, Error, Filter, Generation, GlobalId, Record, Result, Revision,
    Timestamp, Track, Versioned,
};
use rusqlite::types::ValueRef;
use rusqlite::{CachedStatement, Connection, OptionalExtension, Row, params, params_from_iter};

use super::connection::Deadline;
use super::schema::{Layer, Schema, record_at, track_at};
use crate::error::{corrupt, from_sqlite, is_interrupted, while_doing};
use crate::gpkg::filter::Printer;
use crate::gpkg::{Sql, blob};

/// One snapshot of a service. Cheap to copy.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) connection: &'a Connection,
    pub(super) deadline: &'a Deadline,
    pub(super) schema: &'a Schema,
    pub(super) head: Head,
    pub(super) limit: Duration,
    /// What a write transaction remembers.
    pub(super) memory: Option<&'a RefCell<Memory>>,
}

/// The present row of a record, as a change of it needs it.
#[derive(Clone, Debug)]
pub(super) struct Located {
    pub(super) object_id: i64,
    pub(super) track: Track,
    /// Since when the content stands.
    pub(super) content_generation: Generation,
    pub(super) envelope: Option<Envelope>,
}

/// What a write transaction need not read again.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// The record that was looked up last, since its change comes next.
    seen: Option<Seen>,
    /// The tracking of records that it wrote, as far as there is room.
    written: HashMap<(CollectionId, String), (Track, Generation)>,
}

impl Memory {
    /// How many written records are remembered: as many as a batch has, and some.
    const ROOM: usize = 4096;

    /// A record was written.
    pub(super) fn wrote(&mut self, id: CollectionId, key: String, track: Track, since: Generation) {
        self.seen = None;
        if self.written.len() < Self::ROOM {
            self.written.insert((id, key), (track, since));
        } else {
            self.written.remove(&(id, key));
        }
    }
    /// Nothing of it holds any more.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }
    /// What was looked up does not hold any more.
    pub(super) fn changed(&mut self) {
        self.seen = None;
    }
}

/// A record that was looked up, and what was found.
#[derive(Debug)]
struct Seen {
    collection: CollectionId,
    key: String,
    located: Option<Located>,
}

/// Reads the counter row, and with it the version of the schema.
pub(super) fn read_counter(connection: &Connection) -> Result<(Head, u32)> {
    connection
        .prepare_cached(
            "SELECT history, generation, stamp, revision, floor, schema_version \
             FROM haversack_counter WHERE id = 1",
        )
        .and_then(|mut statement| {
            statement.query_row([], |row| {
                Ok((
                    row.get::<_, String>(0)?,
                    Generation(row.get::<_, i64>(1)? as u64),
                    Timestamp(row.get(2)?),
                    Revision(row.get::<_, i64>(3)? as u64),
                    Generation(row.get::<_, i64>(4)? as u64),
                    row.get::<_, u32>(5)?,
                ))
            })
        })
        .map_err(while_doing("reading the counter"))
        .and_then(|(history, generation, stamp, revision, floor, version)| {
            let head = Head {
                history: history
                    .parse()
                    .map_err(|_not_an_id| corrupt(format!("history id {history:?}")))?,
                generation,
                stamp,
                revision,
                floor,
            };
            Ok((head, version))
        })
}

/// Calls `visit` for each row until it says stop.
pub(super) fn each_row(
    mut rows: rusqlite::Rows<'_>,
    doing: &'static str,
    mut visit: impl FnMut(&Row<'_>) -> Result<Flow>,
) -> Result<()> {
    while let Some(row) = rows.next().map_err(while_doing(doing))? {
        if visit(row)?.is_break() {
            break;
        }
    }
    Ok(())
}

impl<'a> View<'a> {
    pub(super) fn layer(&self, id: CollectionId) -> Result<&'a Layer> {
        self.schema.layer(id)
    }

    pub(super) fn prepare(&self, sql: &str, doing: &'static str) -> Result<CachedStatement<'a>> {
        self.connection
            .prepare_cached(sql)
            .map_err(while_doing(doing))
    }

    /// Gives a printer for a collection under an alias.
    pub(super) fn print(
        &self,
        sql: &mut Sql,
        layer: &Layer,
        alias: &str,
        as_of: Option<Generation>,
        print: impl FnOnce(&Printer<'_>, &mut Sql) -> Result<()>,
    ) -> Result<()> {
        let find = |id| self.schema.find(id);
        let printer = Printer {
            find: &find,
            collection: &layer.collection,
            alias: alias.to_owned(),
            as_of,
        };
        print(&printer, sql)
    }

    /// The error of a statement: a time limit that passed has its own.
    pub(super) fn failed(&self, doing: &'static str, error: rusqlite::Error) -> Error {
        if is_interrupted(&error) {
            Error::Timeout(self.limit.as_millis() as u64)
        } else {
            from_sqlite(doing, error)
        }
    }

    pub(super) fn record(
        &self,
        id: CollectionId,
        global_id: &GlobalId,
    ) -> Result<Option<Versioned>> {
        let layer = self.layer(id)?;
        let key = layer.key(global_id)?;
        let doing = "reading a record";
        let mut statement = self.prepare(&layer.select_by_id, doing)?;
        let mut rows = statement.query([&key]).map_err(while_doing(doing))?;
        let Some(row) = rows.next().map_err(while_doing(doing))? else {
            self.remember(id, key, None);
            return Ok(None);
        };
        let record = record_at(row, layer, 0)?;
        let (track, content_generation) =
            track_at(row, layer.width()).map_err(while_doing(doing))?;
        if let (Some(_), Some(object_id)) = (self.memory, record.object_id) {
            let located = Located {
                object_id: object_id.0,
                track,
                content_generation,
                envelope: match row.get_ref(2).map_err(while_doing(doing))? {
                    ValueRef::Blob(bytes) => blob::envelope(bytes),
                    _ => None,
                },
            };
            self.remember(id, key, Some(located));
        }
        Ok(Some(Versioned { record, track }))
    }

    fn remember(&self, collection: CollectionId, key: String, located: Option<Located>) {
        if let Some(memory) = self.memory {
            memory.borrow_mut().seen = Some(Seen {
                collection,
                key,
                located,
            });
        }
    }

    /// The present row of a record, from memory if it was looked up last.
    pub(super) fn locate(&self, layer: &Layer, key: &str) -> Result<Option<Located>> {
        if let Some(memory) = self.memory
            && let Some(seen) = &memory.borrow().seen
            && seen.collection == layer.collection.id
            && seen.key == key
        {
            return Ok(seen.located.clone());
        }
        let doing = "looking for a record";
        self.prepare(&layer.locate, doing)?
            .query_row([key], |row| {
                let (track, content_generation) = track_at(row, 1)?;
                let envelope = match row.get_ref(7)? {
                    ValueRef::Blob(bytes) => blob::envelope(bytes),
                    _ => None,
                };
                Ok(Located {
                    object_id: row.get(0)?,
                    track,
                    content_generation,
                    envelope,
                })
            })
            .optional()
            .map_err(while_doing(doing))
    }

    /// The tracking of a record and the generation since which its content stands.
    pub(super) fn tracking(
        &self,
        id: CollectionId,
        global_id: &GlobalId,
    ) -> Result<Option<(Track, Generation)>> {
        let layer = self.layer(id)?;
        let key = layer.key(global_id)?;
        let doing = "reading the tracking of a record";
        if let Some(memory) = self.memory {
            let memory = memory.borrow();
            // A key of its own only where something was written.
            if !memory.written.is_empty()
                && let Some(known) = memory.written.get(&(id, key.clone()))
            {
                return Ok(Some(*known));
            }
        }
        if let Some(live) = self.locate(layer, &key)? {
            return Ok(Some((live.track, live.content_generation)));
        }
        self.prepare(
            "SELECT k.generation, k.stamp, k.revision, k.deleted, k.origin, k.content_generation \
             FROM haversack_track k WHERE k.collection = ?1 AND k.global_id = ?2 AND k.deleted = 1",
            doing,
        )?
        .query_row(params![id.0, key], |row| track_at(row, 0))
        .optional()
        .map_err(while_doing(doing))
    }

    /// Refuses generations that this history cannot answer for.
    pub(super) fn check_cursor(&self, at: Generation) -> Result<()> {
        let reason = if at < self.head.floor {
            "it is below the retained history"
        } else if at > self.head.generation {
            "it is above the head: the server's data was rewound"
        } else {
            return Ok(());
        };
        Err(Error::Resync { asked: at, reason })
    }

    pub(super) fn record_as_of(
        &self,
        id: CollectionId,
        global_id: &GlobalId,
        at: Generation,
    ) -> Result<Option<Versioned>> {
        self.check_cursor(at)?;
        let now = self.tracking(id, global_id)?;
        if let Some((track, since)) = now
            && since <= at
        {
            if track.deleted {
                return Ok(None);
            }
            let mut versioned = self.record(id, global_id)?;
            if let Some(found) = &mut versioned
                && track.generation > at
            {
                // Touched later: as of then it stood at the generation of its content.
                found.track.generation = since;
            }
            return Ok(versioned);
        }
        let layer = self.layer(id)?;
        let versions = self.versions(
            layer,
            global_id,
            "AND h.haversack_from <= ?2 AND h.haversack_until > ?2 ORDER BY h.haversack_until LIMIT 1",
            Some(at),
        )?;
        Ok(versions.into_iter().next())
    }

    pub(super) fn history(&self, id: CollectionId, global_id: &GlobalId) -> Result<Vec<Versioned>> {
        let layer = self.layer(id)?;
        self.versions(layer, global_id, "ORDER BY h.haversack_until DESC", None)
    }

    fn versions(
        &self,
        layer: &Layer,
        global_id: &GlobalId,
        which: &str,
        at: Option<Generation>,
    ) -> Result<Vec<Versioned>> {
        let doing = "reading past versions of a record";
        let sql = format!(
            "SELECT {}, h.haversack_from, h.haversack_stamp, h.haversack_revision, 0, \
             h.haversack_origin, h.haversack_from FROM {} h \
             WHERE h.{} = ?1 AND h.haversack_until > 0 {which}",
            layer.columns("h"),
            layer.history,
            layer.key_column
        );
        let mut statement = self.prepare(&sql, doing)?;
        let mut values = vec![layer.key(global_id)?.into()];
        values.extend(at.map(|at| rusqlite::types::Value::from(at.0 as i64)));
        let rows = statement
            .query(params_from_iter(values))
            .map_err(while_doing(doing))?;
        let mut versions = Vec::new();
        each_row(rows, doing, |row| {
            versions.push(Versioned {
                record: record_at(row, layer, 0)?,
                track: track_at(row, layer.width()).map_err(while_doing(doing))?.0,
            });
            Ok(Flow::Continue(()))
        })?;
        Ok(versions)
    }

    pub(super) fn matches(
        &self,
        id: CollectionId,
        global_id: &GlobalId,
        filter: &Filter,
    ) -> Result<bool> {
        let layer = self.layer(id)?;
        let mut sql = Sql::new(format!(
            "SELECT 1 FROM {} t WHERE t.{} = ",
            layer.table, layer.key_column
        ));
        sql.bind(layer.key(global_id)?).push(" AND ");
        self.print(&mut sql, layer, "t", None, |printer, sql| {
            printer.filter(sql, filter)
        })?;
        let doing = "matching a record";
        let _armed = self.deadline.arm(self.limit);
        self.prepare(&sql.text, doing)?
            .exists(params_from_iter(&sql.params))
            .map_err(|e| self.failed(doing, e))
    }

    /// Calls `visit` for each live record that matches, in no promised order, without a time limit.
    pub(super) fn scan(
        &self,
        layer: &Layer,
        filter: &Filter,
        mut visit: impl FnMut(Record) -> Result<Flow>,
    ) -> Result<()> {
        let doing = "scanning a collection";
        let mut sql = Sql::new(format!(
            "SELECT {} FROM {} t WHERE ",
            layer.columns("t"),
            layer.table
        ));
        self.print(&mut sql, layer, "t", None, |printer, sql| {
            printer.condition(sql, filter)
        })?;
        let mut statement = self.prepare(&sql.text, doing)?;
        let rows = statement
            .query(params_from_iter(&sql.params))
            .map_err(while_doing(doing))?;
        each_row(rows, doing, |row| visit(record_at(row, layer, 0)?))
    }

    pub(super) fn digest(&self, id: CollectionId, filter: &Filter) -> Result<Digest> {
        let layer = self.layer(id)?;
        let mut digest = Digest::default();
        self.scan(layer, filter, |record| {
            digest.add(record.content_hash());
            Ok(Flow::Continue(()))
        })?;
        Ok(digest)
    }
}
