//! What change tracking costs: inserts through the store, against the same inserts into the same table without it.

use std::path::Path;

use anyhow::{Context as _, Result};
use haversack_model::{Store as _, Timestamp};
use haversack_sqlite::SqliteStore;
use haversack_sqlite::gpkg::layer::{TableOptions, column_names, create, ident_list};
use haversack_sqlite::gpkg::{blob, column, core, functions, quote_ident};
use rusqlite::Connection;
use rusqlite::types::{ToSqlOutput, Value as SqlValue};

use crate::layer::{LAYER, TABLE, collection, record, service};
use crate::report::{Bound, Figure};
use crate::{figure, median};

const ROWS: u64 = 100_000;
const BATCH: u64 = 1_000;
const ROUNDS: usize = 3;

pub(crate) fn measure(folder: &Path) -> Result<Figure> {
    let (mut tracked, mut plain) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        tracked.push(with_tracking(
            &folder.join(format!("tracked-{round}.gpkg")),
        )?);
        plain.push(without(&folder.join(format!("plain-{round}.gpkg")))?);
    }
    let (tracked, plain) = (median(tracked), median(plain));
    Ok(figure(
        "tracking",
        format!(
            "CPU of {ROWS} inserts in batches of {BATCH}: {tracked:.2} s with tracking, {plain:.2} s without (R-tree and unique GlobalID in both)"
        ),
        tracked / plain - 1.0,
        Bound::AtMost(0.40),
    ))
}

fn with_tracking(path: &Path) -> Result<f64> {
    let store = SqliteStore::create(path, &service("Tracked"))?;
    let begun = cpu_seconds()?;
    for first in (0..ROWS).step_by(BATCH as usize) {
        let mut tx = store.begin_write(Timestamp(1_780_000_000_000))?;
        for n in first..first + BATCH {
            tx.put(LAYER, &record(n), None)?;
        }
        tx.commit()?;
    }
    Ok(cpu_seconds()? - begun)
}

/// The same table, made by the same code, and the same conversions of values.
fn without(path: &Path) -> Result<f64> {
    let collection = collection();
    let mut db = Connection::open(path)?;
    db.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;")?;
    functions::register(&db)?;
    core::create(&db)?;
    create(
        &db,
        &collection,
        TableOptions {
            spatial_index: true,
            unique_global_id: true,
        },
    )?;
    let names = column_names(&collection);
    let sql = format!(
        "INSERT INTO {} ({}) VALUES ({})",
        quote_ident(TABLE),
        ident_list(&names, ""),
        vec!["?"; names.len()].join(", ")
    );
    let begun = cpu_seconds()?;
    for first in (0..ROWS).step_by(BATCH as usize) {
        let tx = db.transaction()?;
        {
            let mut insert = tx.prepare_cached(&sql)?;
            for n in first..first + BATCH {
                let record = record(n);
                let geometry = record.geometry.as_ref().context("it has a place")?;
                let mut values = vec![
                    ToSqlOutput::Owned(SqlValue::Blob(blob::encode(geometry, 4326).0)),
                    ToSqlOutput::Owned(SqlValue::Text(record.global_id.braced())),
                ];
                for (field, value) in collection.fields.iter().zip(&record.values) {
                    values.push(column::to_sql(field, value)?);
                }
                insert.execute(rusqlite::params_from_iter(values))?;
            }
        }
        tx.commit()?;
    }
    Ok(cpu_seconds()? - begun)
}

/// CPU time of this process so far, user and system.
pub(crate) fn cpu_seconds() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let after_name = stat
        .rsplit_once(')')
        .context("the name stands in parentheses")?
        .1;
    let numbers: Vec<&str> = after_name.split_whitespace().collect();
    // utime and stime are fields 14 and 15; the state after the name is field 3. Linux counts in hundredths.
    let ticks: u64 = numbers[11].parse::<u64>()? + numbers[12].parse::<u64>()?;
    Ok(ticks as f64 / 100.0)
}
