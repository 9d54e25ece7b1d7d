//! What a copy of a document collection costs between two service files: bytes, round trips, time and CPU of both sides in one
//! process, and what keeping the sums costs a writer. Run with
//! `cargo run --release -p haversack-sqlite --example collections [DOCUMENTS]`.
//!
//! Bytes are those of questions and answers; the headers of a transport are not in it.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a program for the terminal"
)]

use std::path::Path;
use std::time::Instant;

use haversack_model::documents::document;
use haversack_model::{CollectionId, GlobalId, Service, Store as _, Timestamp};
use haversack_sqlite::SqliteStore;
use haversack_sync::reconcile::{Limits, Options, Report, Secondary as _, Step, Walk, answer};

const DOCUMENTS: CollectionId = CollectionId(0);
const NOW: Timestamp = Timestamp(1_700_000_000_000);

fn store(folder: &Path, name: &str) -> SqliteStore {
    let mut service = Service::of_documents("bench");
    let all = service.new_documents("documents", false).unwrap();
    service.collections.push(all);
    SqliteStore::create(folder.join(name), &service).unwrap()
}

/// About 150 bytes with its key and revision.
fn body(n: u64, version: u64) -> String {
    format!(
        "{{\"n\":{n},\"version\":{version},\"name\":\"{:x<88}\"}}",
        ""
    )
}

/// A key that lies anywhere among the others.
fn key(n: u64) -> String {
    format!("{:016x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

fn put(store: &SqliteStore, all: impl Iterator<Item = (u64, Option<u64>)>, each: usize) {
    let mut all = all.peekable();
    while all.peek().is_some() {
        let mut tx = store.begin_write(NOW).unwrap();
        for (n, version) in all.by_ref().take(each) {
            if let Some(version) = version {
                tx.put(DOCUMENTS, &document(&key(n), body(n, version)), None)
                    .unwrap();
            } else {
                tx.delete(DOCUMENTS, &GlobalId::Text(key(n).into()), None)
                    .unwrap();
            }
        }
        tx.commit().unwrap();
    }
}

/// CPU seconds of this process.
fn cpu() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after = text.rsplit(')').next().unwrap_or_default();
    let ticks = |at: usize| -> f64 {
        let field = after.split_whitespace().nth(at);
        field.and_then(|field| field.parse().ok()).unwrap_or(0.0)
    };
    (ticks(11) + ticks(12)) / 100.0
}

/// Peak of the resident memory in MB.
fn peak() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kb = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kb.unwrap_or(0) / 1000
}

fn sync(primary: &SqliteStore, copy: &SqliteStore) -> Report {
    let mut copy = copy.secondary(DOCUMENTS, NOW).unwrap();
    let mut walk = Walk::new(Options::default());
    let mut question = walk.start(&mut copy).unwrap();
    loop {
        let mut last = Step::More;
        let primary = primary.primary(DOCUMENTS, NOW);
        answer(&primary, &question, &Limits::default(), &mut |piece| {
            last = walk.feed(&mut copy, piece)?;
            if copy.unwritten() >= 20_000 {
                copy.save(Some(&serde_json::to_string(&walk).unwrap()))?;
            }
            Ok(())
        })
        .unwrap();
        match last {
            Step::Ask(next) => question = next,
            Step::Done(report) => return *report,
            Step::More => return walk.report().clone(),
        }
    }
}

fn measured(what: &str, primary: &SqliteStore, copy: &SqliteStore) {
    let (began, before) = (Instant::now(), cpu());
    let report = sync(primary, copy);
    let bytes = report.bytes_sent + report.bytes_received;
    println!(
        "| {what} | {:?} | {} | {} | {bytes} | {:.3} | {:.2} | {} |",
        report.method,
        report.rounds,
        report.overhead(),
        began.elapsed().as_secs_f64(),
        cpu() - before,
        peak(),
    );
}

/// CPU of updates in transactions of 100, with and without sums.
fn upkeep(folder: &Path, n: u64) {
    let mut all = Vec::new();
    for sums in [true, false, true, false, true, false] {
        let store = store(folder, &format!("upkeep-{}.gpkg", all.len()));
        if !sums {
            let plain = rusqlite::Connection::open(store.path()).unwrap();
            plain
                .execute_batch("DELETE FROM haversack_summaries")
                .unwrap();
        }
        let before = cpu();
        put(&store, (0..n).map(|n| (n, Some(0))), 100);
        let inserted = cpu() - before;
        let before = cpu();
        put(&store, (0..n).map(|at| (at * 7919 % n, Some(1))), 100);
        all.push((sums, inserted, cpu() - before));
    }
    let median = |sums: bool, of: fn(&(bool, f64, f64)) -> f64| {
        let mut found: Vec<f64> = all.iter().filter(|one| one.0 == sums).map(of).collect();
        found.sort_by(f64::total_cmp);
        found[found.len() / 2]
    };
    for (what, of) in [
        ("inserts", (|one| one.1) as fn(&(bool, f64, f64)) -> f64),
        ("updates", |one| one.2),
    ] {
        let (with, without) = (median(true, of), median(false, of));
        println!(
            "upkeep: CPU of {n} {what}, 100 a transaction: {with:.2} s with sums, {without:.2} s without: {:+.1} %",
            (with / without - 1.0) * 100.0
        );
    }
}

fn main() {
    let n: u64 = std::env::args()
        .nth(1)
        .and_then(|text| text.parse().ok())
        .unwrap_or(1_000_000);
    let folder = tempfile::tempdir().unwrap();
    let (primary, copy) = (
        store(folder.path(), "a.gpkg"),
        store(folder.path(), "b.gpkg"),
    );
    put(&primary, (0..n).map(|n| (n, Some(0))), 10_000);
    println!("{n} documents");
    println!(
        "| what | method | round trips | beyond the documents | all bytes | s | CPU s | peak MB |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- |");
    measured("full copy", &primary, &copy);
    measured("equal", &primary, &copy);
    let mut version = 1;
    for d in [10, 1000, 100_000] {
        let d = d.min(n / 2);
        version += 1;
        let edits = (0..d).map(|at| {
            let of = (at * 7919 + version * 31) % n;
            match at % 10 {
                0 => (n * version + at, Some(version)),
                1 => (of, None),
                _ => (of, Some(version)),
            }
        });
        put(&primary, edits, 1000);
        measured(&format!("{d} edits since"), &primary, &copy);
    }
    for d in [10, 1000, 10_000] {
        let d = d.min(n / 2);
        version += 1;
        // The copy is edited itself: what differs is anywhere, and its cursor proves nothing.
        let edits = (0..d).map(|at| ((at * 7919 + version * 31) % n, Some(version)));
        put(&copy, edits, 1000);
        measured(&format!("{d} edits of the copy"), &primary, &copy);
    }
    let state = copy.secondary(DOCUMENTS, NOW).unwrap().state().unwrap();
    assert!(state.complete);
    upkeep(folder.path(), 50_000.min(n));
}
