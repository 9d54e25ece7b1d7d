//! Answers queries, row by row, within a time limit.

use haversack_model::filter::Expr;
use haversack_model::query::{Select, Statistic};
use haversack_model::store::Flow;
use haversack_model::{Filter, ObjectId, Order, Query, QueryRow, Result, Versioned};
use rusqlite::{Row, params_from_iter};

use super::schema::{Layer, TRACK_COLUMNS, record_at, track_at};
use super::view::View;
use crate::error::while_doing;
use crate::gpkg::filter::Printer;
use crate::gpkg::{Sql, aggregate, column};

impl View<'_> {
    pub(super) fn query(
        &self,
        query: &Query,
        visit: &mut dyn FnMut(QueryRow) -> Result<Flow>,
    ) -> Result<()> {
        let layer = self.layer(query.collection)?;
        let mut sql = Sql::default();
        self.print(&mut sql, layer, "t", None, |printer, sql| {
            print_query(sql, layer, query, printer)
        })?;
        let doing = "answering a query";
        let armed = self.deadline.arm(self.limit);
        let mut statement = self
            .connection
            .prepare_cached(&sql.text)
            .map_err(|e| self.failed(doing, e))?;
        let width = statement.column_count();
        let mut rows = statement
            .query(params_from_iter(&sql.params))
            .map_err(|e| self.failed(doing, e))?;
        while let Some(row) = rows.next().map_err(|e| self.failed(doing, e))? {
            let answer = read_row(row, layer, &query.select, width)?;
            if armed.paused(|| visit(answer))?.is_break() {
                break;
            }
        }
        Ok(())
    }
}

fn read_row(row: &Row<'_>, layer: &Layer, select: &Select, width: usize) -> Result<QueryRow> {
    let failed = while_doing("reading a row of an answer");
    Ok(match select {
        Select::Records => QueryRow::Record(Box::new(Versioned {
            record: record_at(row, layer, 0)?,
            track: track_at(row, layer.width()).map_err(&failed)?.0,
        })),
        Select::Ids => QueryRow::Ids(
            ObjectId(row.get(0).map_err(&failed)?),
            layer.global_id(row.get_ref(1).map_err(&failed)?)?,
        ),
        Select::Extent => {
            let bounds: Option<Vec<u8>> = row.get(0).map_err(&failed)?;
            QueryRow::Extent(bounds.as_deref().and_then(aggregate::extent_of))
        }
        Select::Count | Select::Distinct(_) | Select::Statistics { .. } => QueryRow::Values(
            (0..width)
                .map(|at| Ok(column::plain(row.get_ref(at).map_err(&failed)?)))
                .collect::<Result<_>>()?,
        ),
    })
}

fn print_query(sql: &mut Sql, layer: &Layer, query: &Query, printer: &Printer<'_>) -> Result<()> {
    sql.push("SELECT ");
    match &query.select {
        Select::Records => {
            sql.push(&format!(
                "{}, {TRACK_COLUMNS} FROM {} t JOIN haversack_track k \
                 ON k.collection = {} AND k.object_id = t.{}",
                layer.columns("t"),
                layer.table,
                query.collection.0,
                layer.object_id
            ));
            print_where(sql, &query.filter, printer)?;
            print_order(sql, layer, query, printer, &[], true)?;
        }
        Select::Ids => {
            sql.push(&format!(
                "t.{}, t.{} FROM {} t",
                layer.object_id, layer.key_column, layer.table
            ));
            print_where(sql, &query.filter, printer)?;
            print_order(sql, layer, query, printer, &[], true)?;
        }
        Select::Count => {
            sql.push(&format!("COUNT(*) FROM {} t", layer.table));
            print_where(sql, &query.filter, printer)?;
        }
        Select::Extent => {
            match &layer.geometry {
                Some(geometry) => sql.push(&format!("haversack_extent(t.{geometry})")),
                None => sql.push("MAX(NULL)"),
            };
            sql.push(&format!(" FROM {} t", layer.table));
            print_where(sql, &query.filter, printer)?;
        }
        Select::Distinct(exprs) => {
            sql.push("DISTINCT ");
            print_list(sql, exprs, printer)?;
            sql.push(&format!(" FROM {} t", layer.table));
            print_where(sql, &query.filter, printer)?;
            print_order(sql, layer, query, printer, &[], false)?;
        }
        Select::Statistics {
            group_by,
            statistics,
            having,
        } => {
            print_statistics(sql, layer, query, printer, (group_by, statistics, having))?;
        }
    }
    if !matches!(query.select, Select::Count | Select::Extent) {
        if let Some(limit) = query.limit {
            sql.push(" LIMIT ")
                .bind(i64::try_from(limit).unwrap_or(i64::MAX));
        } else if query.offset > 0 {
            sql.push(" LIMIT -1");
        }
        if query.offset > 0 {
            sql.push(" OFFSET ")
                .bind(i64::try_from(query.offset).unwrap_or(i64::MAX));
        }
    }
    Ok(())
}

fn print_statistics(
    sql: &mut Sql,
    layer: &Layer,
    query: &Query,
    printer: &Printer<'_>,
    (group_by, statistics, having): (&[Expr], &[Statistic], &Filter),
) -> Result<()> {
    print_list(sql, group_by, printer)?;
    for (at, statistic) in statistics.iter().enumerate() {
        if at > 0 || !group_by.is_empty() {
            sql.push(", ");
        }
        printer.aggregate(sql, statistic.kind, statistic.expr.as_ref())?;
    }
    sql.push(&format!(" FROM {} t", layer.table));
    print_where(sql, &query.filter, printer)?;
    if !group_by.is_empty() {
        sql.push(" GROUP BY ");
        print_list(sql, group_by, printer)?;
    }
    if *having != Filter::All {
        sql.push(" HAVING ");
        printer.filter(sql, having)?;
    }
    print_order(sql, layer, query, printer, statistics, false)
}

fn print_list(sql: &mut Sql, exprs: &[Expr], printer: &Printer<'_>) -> Result<()> {
    for (at, expr) in exprs.iter().enumerate() {
        if at > 0 {
            sql.push(", ");
        }
        printer.expr(sql, expr)?;
    }
    Ok(())
}

fn print_where(sql: &mut Sql, filter: &Filter, printer: &Printer<'_>) -> Result<()> {
    if *filter != Filter::All {
        sql.push(" WHERE ");
        printer.condition(sql, filter)?;
    }
    Ok(())
}

/// Prints the sort keys. Rows end with the object id, computed rows with all their columns: pages are stable.
fn print_order(
    sql: &mut Sql,
    layer: &Layer,
    query: &Query,
    printer: &Printer<'_>,
    statistics: &[Statistic],
    rows: bool,
) -> Result<()> {
    let mut by = " ORDER BY ";
    for Order { expr, descending } in &query.order {
        sql.push(by);
        by = ", ";
        let result = match expr {
            Expr::Field(name) => statistics
                .iter()
                .find(|s| s.name.eq_ignore_ascii_case(name)),
            _ => None,
        };
        if let Some(s) = result {
            printer.aggregate(sql, s.kind, s.expr.as_ref())?;
        } else {
            // A bare literal would be read as the number of a column.
            sql.push("(");
            printer.expr(sql, expr)?;
            sql.push(")");
        }
        sql.push(if *descending { " DESC" } else { "" });
    }
    if rows {
        sql.push(&format!("{by}t.{}", layer.object_id));
    } else if let Select::Distinct(keys) | Select::Statistics { group_by: keys, .. } = &query.select
    {
        for key in keys {
            sql.push(by);
            by = ", ";
            sql.push("(");
            printer.expr(sql, key)?;
            sql.push(")");
        }
    }
    Ok(())
}
