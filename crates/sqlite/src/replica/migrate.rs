//! Numbered migrations of the `haversack_*` tables of a replica file. A merged one is never edited.
//!
//! A file is brought to the newest layout by the first transaction of the sync core on it, and only read before that.

use haversack_model::{Error, Result};
use rusqlite::Connection;

use super::fault::Doing;

/// Each entry brings a file from the layout before it to its own. New files have the newest at once (`tables.sql`).
const MIGRATIONS: &[(u32, &str)] = &[(2, include_str!("migrations/0002_seals.sql"))];

/// The oldest layout that can be brought up to date.
const OLDEST: u32 = 1;

/// The layout that this program writes.
pub(crate) const NEWEST: u32 = MIGRATIONS[MIGRATIONS.len() - 1].0;

/// Brings the tables to the newest layout, inside the caller's transaction.
pub(crate) fn run(conn: &Connection) -> Result<()> {
    let doing = "bringing a replica file up to date";
    let text: String = conn
        .prepare_cached("SELECT value FROM haversack_header WHERE name = 'format'")
        .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
        .doing(doing)?;
    let found = check(&text)?;
    if found == NEWEST {
        return Ok(());
    }
    for (_, sql) in MIGRATIONS.iter().filter(|(version, _)| *version > found) {
        conn.execute_batch(sql).doing(doing)?;
    }
    conn.execute(
        "UPDATE haversack_header SET value = ?1 WHERE name = 'format'",
        [NEWEST.to_string()],
    )
    .doing(doing)?;
    Ok(())
}

/// The number of a layout that this program can read.
pub(crate) fn check(format: &str) -> Result<u32> {
    format
        .parse()
        .ok()
        .filter(|found| (OLDEST..=NEWEST).contains(found))
        .ok_or_else(|| Error::Invalid {
            what: "replica file".to_owned(),
            problem: format!("its format is {format:?}; this program knows {OLDEST} to {NEWEST}"),
        })
}
