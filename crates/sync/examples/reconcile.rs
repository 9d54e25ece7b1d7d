//! Bytes and round trips of reconciliation with a million records, and the budgets that they must keep.
//!
//! `cargo run --release -p haversack-sync --example reconcile [RECORDS]`. Fails if a budget is exceeded.

#![allow(clippy::print_stdout, reason = "a table for people")]

#[path = "../tests/reconcile/memory/mod.rs"]
mod memory;

use std::process::ExitCode;

use haversack_sync::reconcile::{Options, Report};

use memory::scenario::{Chance, body, edit, equal, scattered};
use memory::{Collection, Shared, id, sync};

/// What a row of the table may cost.
struct Budget {
    rounds: u32,
    overhead: u64,
    whole: u64,
}

fn main() -> ExitCode {
    let n = std::env::args().nth(1).and_then(|n| n.parse().ok());
    let n: u64 = n.unwrap_or(1_000_000);
    let mut table = Table { kept: true };
    println!("n = {n}");
    println!("what | d | method | rounds | bytes beyond the records | all bytes | records");

    let (primary, mut copy) = equal(n);
    table.row("equal", 0, &primary, &mut copy, 1, 200, 200);
    copy.lose_cursor();
    table.row("equal, cursor lost", 0, &primary, &mut copy, 2, 200, 200);
    let new = (n..n + 1000).map(|at| (id(at), body(at, 0)));
    primary.collection.borrow_mut().put(new);
    copy.lose_cursor();
    table.row(
        "new, cursor lost",
        1000,
        &primary,
        &mut copy,
        2,
        4 << 10,
        300 << 10,
    );
    let mut chance = Chance::new(1);
    for d in [10, 1000, 100_000] {
        edit(&mut primary.collection.borrow_mut(), n, d, &mut chance);
        table.row(
            "edits since the cursor",
            d,
            &primary,
            &mut copy,
            1,
            200 + 5 * d,
            30 << 20,
        );
    }
    for d in [10, 1000, 100_000] {
        edit(&mut primary.collection.borrow_mut(), n, d, &mut chance);
        let newest = primary.collection.borrow().generation;
        primary.collection.borrow_mut().purge(newest);
        copy.lose_cursor();
        let what = "edits, tombstones purged, cursor lost";
        let (overhead, whole) = budget(d);
        table.row(what, d, &primary, &mut copy, 8, overhead, whole);
    }
    drop((primary, copy));

    for d in [1, 10, 1000, 100_000] {
        let (primary, mut copy) = scattered(n, d, d);
        let (overhead, whole) = budget(d);
        table.row(
            "scattered on both sides",
            d,
            &primary,
            &mut copy,
            8,
            overhead,
            whole,
        );
    }

    let (primary, _) = equal(n);
    let mut copy = Collection::new(3);
    table.row("empty copy", n, &primary, &mut copy, 1, 5 * n, 200 * n);
    let mut apart = Collection::new(4);
    apart.put((0..n).map(|at| (id(at), body(at, u64::from(at % 1000 == 0)))));
    table.row(
        "made apart, by key",
        n / 1000,
        &primary,
        &mut apart,
        8,
        6 * n,
        8 * n,
    );
    if table.kept {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Bytes beyond the records, and with them.
fn budget(d: u64) -> (u64, u64) {
    match d {
        0..=10 => (8 << 10, 15 << 10),
        11..=1000 => (150 << 10, 300 << 10),
        _ => (15 << 20, 30 << 20),
    }
}

struct Table {
    kept: bool,
}

impl Table {
    #[expect(
        clippy::too_many_arguments,
        reason = "one call is one row of the table"
    )]
    fn row(
        &mut self,
        what: &str,
        d: u64,
        primary: &Shared,
        copy: &mut Collection,
        rounds: u32,
        overhead: u64,
        whole: u64,
    ) {
        let report = sync(primary, copy, Options::default()).expect("they become equal");
        let is_equal = primary.collection.borrow().items_here() == copy.items_up();
        let budget = Budget {
            rounds,
            overhead,
            whole,
        };
        let keeps = is_equal && budget.holds(&report);
        let records = report.inserted + report.replaced + report.removed;
        println!(
            "{what} | {d} | {:?} | {} | {} | {} | {records}{}",
            report.method,
            report.rounds,
            report.overhead(),
            report.bytes_sent + report.bytes_received,
            if keeps { "" } else { " | BUDGET EXCEEDED" },
        );
        self.kept &= keeps;
    }
}

impl Budget {
    fn holds(&self, report: &Report) -> bool {
        report.rounds <= self.rounds
            && report.overhead() <= self.overhead
            && report.bytes_sent + report.bytes_received <= self.whole
    }
}
