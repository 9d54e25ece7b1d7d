//! What keeping the sums of a collection costs a writer: the same edits with and without them, in one process.

use std::path::Path;

use anyhow::Result;
use haversack_model::documents::document;
use haversack_model::{CollectionId, Service, Store as _, Timestamp};
use haversack_sqlite::SqliteStore;

use super::pair::{body, key};
use crate::median;

const ROUNDS: usize = 5;
const AT_ONCE: usize = 100;
const ID: CollectionId = CollectionId(0);

/// CPU with sums over CPU without: of inserts, and of updates. Both in transactions of 100.
pub(crate) fn measure(folder: &Path, documents: u64) -> Result<(f64, f64)> {
    let (mut inserts, mut updates) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let mut spent = Vec::new();
        for sums in [true, false] {
            let path = folder.join(format!("upkeep-{round}-{sums}.gpkg"));
            let mut service = Service::of_documents("upkeep");
            service
                .collections
                .push(service.new_documents("documents", false)?);
            let store = SqliteStore::create(&path, &service)?;
            if !sums {
                rusqlite::Connection::open(&path)?
                    .execute("DELETE FROM haversack_summaries", [])?;
            }
            let by_inserts = cpu_of(|| put(&store, (0..documents).map(|n| (n, 0))))?;
            let edits = (0..documents).map(|at| (at * 7919 % documents, 1));
            let by_updates = cpu_of(|| put(&store, edits))?;
            spent.push((by_inserts, by_updates));
            drop(store);
            std::fs::remove_file(&path)?;
        }
        inserts.push(spent[0].0 / spent[1].0);
        updates.push(spent[0].1 / spent[1].1);
    }
    Ok((median(inserts), median(updates)))
}

fn put(store: &SqliteStore, all: impl Iterator<Item = (u64, u64)>) -> Result<()> {
    let mut all = all.peekable();
    while all.peek().is_some() {
        let mut tx = store.begin_write(Timestamp(1_780_000_000_000))?;
        for (n, version) in all.by_ref().take(AT_ONCE) {
            tx.put(ID, &document(&key(n), body(n, version)), None)?;
        }
        tx.commit()?;
    }
    Ok(())
}

fn cpu_of(work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let before = crate::tracking::cpu_seconds()?;
    work()?;
    Ok(crate::tracking::cpu_seconds()? - before)
}
