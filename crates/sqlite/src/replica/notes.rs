//! What the client of a server keeps in the file for itself: texts by topic and name.

use haversack_model::Result;
use rusqlite::{Connection, OptionalExtension, params};

use super::fault::Doing;

/// A note.
pub(super) fn one(conn: &Connection, topic: &str, name: &str) -> Result<Option<String>> {
    conn.prepare_cached("SELECT text FROM haversack_notes WHERE topic = ?1 AND name = ?2")
        .and_then(|mut statement| {
            statement
                .query_row([topic, name], |row| row.get(0))
                .optional()
        })
        .doing("reading a note")
}
/// The notes of a topic, by name.
pub(super) fn all(conn: &Connection, topic: &str) -> Result<Vec<(String, String)>> {
    conn.prepare_cached("SELECT name, text FROM haversack_notes WHERE topic = ?1 ORDER BY name")
        .and_then(|mut statement| {
            statement
                .query_map([topic], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect()
        })
        .doing("reading notes")
}
/// Keeps a note, or drops it.
pub(super) fn store(conn: &Connection, topic: &str, name: &str, text: Option<&str>) -> Result<()> {
    let doing = "keeping a note";
    match text {
        Some(text) => conn
            .prepare_cached(
                "INSERT INTO haversack_notes (topic, name, text) VALUES (?1, ?2, ?3) \
                 ON CONFLICT (topic, name) DO UPDATE SET text = excluded.text",
            )
            .and_then(|mut statement| statement.execute(params![topic, name, text])),
        None => conn
            .prepare_cached("DELETE FROM haversack_notes WHERE topic = ?1 AND name = ?2")
            .and_then(|mut statement| statement.execute([topic, name])),
    }
    .doing(doing)?;
    Ok(())
}
