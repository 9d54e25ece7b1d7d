//! The feed: what changed in a range of generations, and what each record was for the earlier filter.

use haversack_model::store::{Change, ChangeQuery, Flow};
use haversack_model::{CollectionId, Filter, Generation, GlobalId, Result, Versioned};
use rusqlite::params_from_iter;

use super::schema::{Layer, TRACK_COLUMNS, record_at, track_at};
use super::view::{View, each_row};
use crate::error::while_doing;
use crate::gpkg::Sql;

impl View<'_> {
    /// Prints whether the filter is true of the row under `alias`.
    fn truth(&self, sql: &mut Sql, layer: &Layer, alias: &str, filter: &Filter) -> Result<()> {
        self.truth_as_of(sql, layer, alias, filter, None)
    }

    fn truth_as_of(
        &self,
        sql: &mut Sql,
        layer: &Layer,
        alias: &str,
        filter: &Filter,
        as_of: Option<Generation>,
    ) -> Result<()> {
        sql.push("((");
        self.print(sql, layer, alias, as_of, |printer, sql| {
            printer.filter(sql, filter)
        })?;
        sql.push(") IS TRUE)");
        Ok(())
    }

    pub(super) fn changes(
        &self,
        query: &ChangeQuery<'_>,
        visit: &mut dyn FnMut(Change) -> Result<Flow>,
    ) -> Result<()> {
        // Who has nothing needs no tombstones: zero is never below the floor.
        if query.since != Generation::ZERO {
            self.check_cursor(query.since)?;
        }
        let layer = self.layer(query.collection)?;
        let since = query.since.0 as i64;
        let mut sql = Sql::new(format!(
            "SELECT {}, {TRACK_COLUMNS}, k.global_id, ",
            layer.columns("t")
        ));
        self.truth(&mut sql, layer, "t", query.filter)?;
        sql.push(", CASE WHEN k.deleted = 0 AND k.content_generation <= ")
            .bind(since)
            .push(" THEN ");
        self.truth_as_of(&mut sql, layer, "t", query.filter_then, Some(query.since))?;
        sql.push(&format!(
            " ELSE EXISTS (SELECT 1 FROM {} h WHERE h.{} = k.global_id AND h.haversack_from <= ",
            layer.history, layer.key_column
        ));
        sql.bind(since)
            .push(" AND h.haversack_until > ")
            .bind(since);
        sql.push(" AND ");
        self.truth_as_of(&mut sql, layer, "h", query.filter_then, Some(query.since))?;
        sql.push(&format!(
            ") END FROM haversack_track k LEFT JOIN {} t ON t.{} = k.object_id AND k.deleted = 0 \
             WHERE k.collection = {} AND k.generation > ",
            layer.table, layer.object_id, query.collection.0
        ));
        sql.bind(since).push(" AND k.generation <= ");
        sql.bind(i64::try_from(query.upto.0).unwrap_or(i64::MAX));
        sql.push(" ORDER BY k.generation");
        self.each_change(&sql, layer, visit)
    }

    pub(super) fn membership(
        &self,
        query: &ChangeQuery<'_>,
        visit: &mut dyn FnMut(Change) -> Result<Flow>,
    ) -> Result<()> {
        self.check_cursor(query.since)?;
        let layer = self.layer(query.collection)?;
        let mut sql = Sql::new(format!(
            "SELECT * FROM (SELECT {}, {TRACK_COLUMNS}, k.global_id, ",
            layer.columns("t")
        ));
        self.truth(&mut sql, layer, "t", query.filter)?;
        sql.push(" AS haversack_now, ");
        self.truth_as_of(&mut sql, layer, "t", query.filter_then, Some(query.since))?;
        sql.push(&format!(
            " AS haversack_then FROM {} t JOIN haversack_track k \
             ON k.collection = {} AND k.object_id = t.{} WHERE k.generation <= ",
            layer.table, query.collection.0, layer.object_id
        ));
        sql.bind(query.since.0 as i64)
            .push(") WHERE haversack_now <> haversack_then");
        self.each_change(&sql, layer, visit)
    }

    pub(super) fn live_after(
        &self,
        id: CollectionId,
        after: Generation,
        filter: &Filter,
        visit: &mut dyn FnMut(Versioned) -> Result<Flow>,
    ) -> Result<()> {
        let layer = self.layer(id)?;
        let mut sql = Sql::new(format!(
            "SELECT {}, {TRACK_COLUMNS} FROM haversack_track k CROSS JOIN {} t \
             ON t.{} = k.object_id WHERE k.collection = {} AND k.deleted = 0 AND k.generation > ",
            layer.columns("t"),
            layer.table,
            layer.object_id,
            id.0
        ));
        sql.bind(i64::try_from(after.0).unwrap_or(i64::MAX))
            .push(" AND ");
        self.print(&mut sql, layer, "t", None, |printer, sql| {
            printer.filter(sql, filter)
        })?;
        sql.push(" ORDER BY k.generation");
        let doing = "reading live records";
        let mut statement = self.prepare(&sql.text, doing)?;
        let rows = statement
            .query(params_from_iter(&sql.params))
            .map_err(while_doing(doing))?;
        each_row(rows, doing, |row| {
            visit(Versioned {
                record: record_at(row, layer, 0)?,
                track: track_at(row, layer.width()).map_err(while_doing(doing))?.0,
            })
        })
    }

    fn each_change(
        &self,
        sql: &Sql,
        layer: &Layer,
        visit: &mut dyn FnMut(Change) -> Result<Flow>,
    ) -> Result<()> {
        let doing = "reading changes";
        let failed = while_doing(doing);
        let mut statement = self.prepare(&sql.text, doing)?;
        let rows = statement
            .query(params_from_iter(&sql.params))
            .map_err(&failed)?;
        let after = layer.width();
        each_row(rows, doing, |row| {
            let (track, _) = track_at(row, after).map_err(&failed)?;
            let record = if track.deleted {
                None
            } else {
                Some(record_at(row, layer, 0)?)
            };
            let global_id: GlobalId = match &record {
                Some(record) => record.global_id.clone(),
                None => layer.global_id(row.get_ref(after + 6).map_err(&failed)?)?,
            };
            visit(Change {
                global_id,
                matches: record.is_some() && row.get(after + 7).map_err(&failed)?,
                matched: row.get(after + 8).map_err(&failed)?,
                track,
                record,
            })
        })
    }
}
