//! Numbered migrations of the `haversack_*` tables of a replica file. A merged one is never edited.
//!
//! A file is brought to the newest layout when it is opened.

use haversack_model::{Error, Result};
use rusqlite::{Connection, TransactionBehavior};

use super::fault::Doing;
use crate::gpkg::core;

/// Each entry brings a file from the layout before it to its own. New files have the newest at once (`tables.sql`).
const MIGRATIONS: &[(u32, &str)] = &[
    (2, include_str!("migrations/0002_seals.sql")),
    (3, include_str!("migrations/0003_uploads.sql")),
    (4, include_str!("migrations/0004_notes.sql")),
];

/// The oldest layout that can be brought up to date.
const OLDEST: u32 = 1;

/// The layout that this program writes.
pub(crate) const NEWEST: u32 = MIGRATIONS[MIGRATIONS.len() - 1].0;

/// Brings the tables to the newest layout.
pub(crate) fn run(conn: &mut Connection) -> Result<()> {
    if layout(conn)? == NEWEST {
        return Ok(());
    }
    let doing = "bringing a replica file up to date";
    let tx = conn
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .doing(doing)?;
    step_up(&tx)?;
    tx.commit().doing(doing)
}

fn layout(conn: &Connection) -> Result<u32> {
    let text: String = conn
        .query_row(
            "SELECT value FROM haversack_header WHERE name = 'format'",
            [],
            |row| row.get(0),
        )
        .doing("reading the layout of a replica file")?;
    check(&text)
}

fn step_up(conn: &Connection) -> Result<()> {
    let doing = "bringing a replica file up to date";
    // Another program may have been first.
    let found = layout(conn)?;
    for (_, sql) in MIGRATIONS.iter().filter(|(version, _)| *version > found) {
        conn.execute_batch(sql).doing(doing)?;
    }
    core::register_own_tables(conn).doing(doing)?;
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
