//! Conflicts that a file keeps, and the decisions on them.

use haversack_model::conflict::Decided;
use haversack_model::{Conflict, ConflictId, Result};
use rusqlite::{Connection, OptionalExtension, params};

use super::fault::Doing;
use super::json::{from_json, json};

/// Keeps a conflict; an earlier state of the same one is replaced.
pub(super) fn store(conn: &Connection, conflict: &Conflict) -> Result<()> {
    let text = json("haversack_conflicts", conflict)?;
    conn
        .prepare_cached(
            "INSERT INTO haversack_conflicts (id, collection, global_id, at_ms, kind, fields, winner, reason, kept, conflict) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) \
             ON CONFLICT (id) DO UPDATE SET at_ms = excluded.at_ms, kind = excluded.kind, fields = excluded.fields, \
             winner = excluded.winner, reason = excluded.reason, kept = excluded.kept, conflict = excluded.conflict",
        )
        .and_then(|mut statement| {
            statement.execute(params![
                conflict.id.to_string(),
                conflict.collection.0,
                conflict.global_id.to_string(),
                conflict.at.0,
                format!("{:?}", conflict.kind),
                conflict.fields.join(", "),
                format!("{:?}", conflict.winner),
                conflict.reason,
                conflict.resolution.as_ref().map(|r| r.kept.as_str()),
                text
            ])
        })
        .doing("keeping a conflict")?;
    Ok(())
}
/// Conflicts, oldest first.
pub(super) fn all(conn: &Connection, open_only: bool) -> Result<Vec<Conflict>> {
    let texts: Vec<String> = conn
        .prepare_cached(
            "SELECT conflict FROM haversack_conflicts WHERE kept IS NULL OR NOT ?1 ORDER BY at_ms, id",
        )
        .and_then(|mut statement| {
            statement
                .query_map([open_only], |row| row.get(0))?
                .collect()
        })
        .doing("reading conflicts")?;
    texts
        .iter()
        .map(|text| from_json("haversack_conflicts", text))
        .collect()
}

/// One conflict.
pub(super) fn one(conn: &Connection, id: ConflictId) -> Result<Option<Conflict>> {
    let text: Option<String> = conn
        .prepare_cached("SELECT conflict FROM haversack_conflicts WHERE id = ?1")
        .and_then(|mut statement| {
            statement
                .query_row([id.to_string()], |row| row.get(0))
                .optional()
        })
        .doing("reading a conflict")?;
    text.map(|text| from_json("haversack_conflicts", &text))
        .transpose()
}
/// Decisions that the server does not know yet; settled ones, of which there may be many, are not read.
pub(super) fn untold(conn: &Connection) -> Result<Vec<Decided>> {
    let rows: Vec<(String, String)> = conn
        .prepare_cached(
            "SELECT id, json_extract(conflict, '$.resolution') FROM haversack_conflicts \
             WHERE kept IS NOT NULL AND NOT coalesce(json_extract(conflict, '$.resolution.told'), 0) ORDER BY at_ms, id",
        )
        .and_then(|mut statement| {
            statement
                .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect()
        })
        .doing("reading decisions")?;
    rows.iter()
        .map(|(id, resolution)| {
            Ok(Decided {
                conflict: from_json("haversack_conflicts.id", &format!("{id:?}"))?,
                resolution: from_json("haversack_conflicts", resolution)?,
            })
        })
        .collect()
}
