//! Numbered migrations of the `haversack_*` tables of a service file. A merged one is never edited.

use haversack_model::Result;
use rusqlite::Connection;

use crate::error::{invalid, while_doing};
use crate::gpkg::core;

/// Each entry brings the file from the version before it to its own.
const MIGRATIONS: &[(u32, &str)] = &[
    (1, include_str!("migrations/0001_books.sql")),
    (2, include_str!("migrations/0002_collections.sql")),
    (3, include_str!("migrations/0003_stage.sql")),
    (4, include_str!("migrations/0004_stages.sql")),
];

/// The version that this program writes.
pub(super) const NEWEST: u32 = MIGRATIONS[MIGRATIONS.len() - 1].0;

/// Brings the tables to the newest version, inside the caller's transaction. Returns whether anything changed.
pub(super) fn run(connection: &Connection) -> Result<bool> {
    let failed = while_doing("migrating a service file");
    connection
        .execute_batch("CREATE TABLE IF NOT EXISTS haversack_format (version INTEGER NOT NULL)")
        .map_err(&failed)?;
    let found: u32 = connection
        .query_row(
            "SELECT coalesce(max(version), 0) FROM haversack_format",
            [],
            |row| row.get(0),
        )
        .map_err(&failed)?;
    if found > NEWEST {
        return Err(invalid(
            "the service file",
            format!("its format {found} is newer than this program's {NEWEST}"),
        ));
    }
    for (version, sql) in MIGRATIONS.iter().filter(|(version, _)| *version > found) {
        connection.execute_batch(sql).map_err(&failed)?;
        connection
            .execute("INSERT INTO haversack_format VALUES (?1)", [version])
            .map_err(&failed)?;
    }
    if found < NEWEST {
        core::register_own_tables(connection).map_err(&failed)?;
    }
    Ok(found < NEWEST)
}
