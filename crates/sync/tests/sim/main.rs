//! The simulator of the sync core: a server and its clients in one thread, driven by a seed.
//!
//! `oracle` says what must hold, `memory::bug` lists the deliberate bugs that must be found, `sometimes` the rare
//! states that must occur. `cargo xtask sim` runs it and sets what it reads from the environment:
//!
//! | variable | what it does |
//! | --- | --- |
//! | `HAVERSACK_SIM_SEED=n` | replays one case and prints its events |
//! | `HAVERSACK_SIM_SQLITE=1` | the named or fresh cases run on the real store, not on the one in memory |
//! | `HAVERSACK_SIM_SECONDS=n` | after the fixed seeds runs fresh ones for so long |
//! | `HAVERSACK_SIM_CASES=n` | after the fixed seeds runs so many fresh ones |
//! | `HAVERSACK_SIM_FROM=n` | the first of the fresh seeds |
//! | `HAVERSACK_SIM_ALL=1` | goes on after a failure, and lists all of them at the end |
//!
//! Not simulated yet: the same world over real replica files.
#![allow(unreachable_pub, reason = "a test program is its own outside")]

mod case;
mod chance;
mod checkout;
mod client;
mod decide;
mod foreign;
mod ground;
#[allow(dead_code, reason = "the tests of the core use more of it")]
mod memory;
mod message;
mod online;
mod oracle;
mod people;
mod remote;
mod rest;
mod run;
mod serve;
mod server;
mod sometimes;
mod spoilt;
mod stores;
mod trace;
mod upkeep;
mod world;

use std::time::Duration;

use case::{Case, On};
use run::{Plan, must_hold, number, run};

/// Seeds of every run.
const SEEDS: u64 = if cfg!(debug_assertions) { 300 } else { 1000 };
/// Of these, with the server's store on SQLite.
const SEEDS_ON_SQLITE: u64 = if cfg!(debug_assertions) { 30 } else { 300 };

fn case(seed: u64) -> Case {
    Case {
        seed,
        bug: None,
        on: On::Memory,
        print: false,
    }
}

/// Runs the case that the environment names, with its events printed, if it is one on this store; whether one is named.
fn replays(on: On) -> bool {
    let Some(seed) = number("HAVERSACK_SIM_SEED") else {
        return false;
    };
    if on == asked_for() {
        let printed = Case {
            on,
            print: true,
            ..case(seed)
        };
        assert_eq!(printed.run().failure, None, "seed {seed}");
    }
    true
}

/// Runs the fresh cases that the environment asks for, if they are on this store.
fn run_fresh(on: On) {
    let seconds = number("HAVERSACK_SIM_SECONDS");
    let cases = number("HAVERSACK_SIM_CASES");
    if on == asked_for() && seconds.or(cases).is_some() {
        let fresh = Plan {
            first: number("HAVERSACK_SIM_FROM").unwrap_or(SEEDS),
            count: cases.unwrap_or(0),
            time: seconds.map(Duration::from_secs),
        };
        must_hold(&run(fresh, |seed| Case { on, ..case(seed) }), on);
    }
}

fn asked_for() -> On {
    match number("HAVERSACK_SIM_SQLITE") {
        Some(_) => On::Sqlite,
        None => On::Memory,
    }
}

#[test]
fn every_seed_keeps_the_guarantees() {
    if replays(On::Memory) {
        return;
    }
    let fixed = Plan {
        first: 0,
        count: SEEDS,
        time: None,
    };
    let tally = run(fixed, case);
    must_hold(&tally, On::Memory);
    assert_eq!(tally.seen.missing(), [], "these states never occurred");
    run_fresh(On::Memory);
}

/// The same seeds are other cases there: one transaction at a time.
#[test]
fn every_seed_keeps_the_guarantees_on_sqlite() {
    if replays(On::Sqlite) {
        return;
    }
    let fixed = Plan {
        first: 0,
        count: SEEDS_ON_SQLITE,
        time: None,
    };
    let on_sqlite = |seed| Case {
        on: On::Sqlite,
        ..case(seed)
    };
    must_hold(&run(fixed, on_sqlite), On::Sqlite);
    run_fresh(On::Sqlite);
}

/// The test of the test: a generator or an oracle that has become too weak fails here.
#[test]
fn every_deliberate_bug_is_found() {
    if number("HAVERSACK_SIM_SEED").is_some() {
        return;
    }
    for &(bug, budget) in memory::bug::ALL {
        let spoilt = |seed| Case {
            bug: Some(bug),
            ..case(seed)
        };
        let found = (0..budget).find(|&seed| spoilt(seed).run().failure.is_some());
        let Some(seed) = found else {
            panic!("{bug:?} was not found in {budget} seeds");
        };
        let right = case(seed).run().failure;
        assert_eq!(right, None, "{bug:?}: seed {seed} fails without it, too");
        println!("{bug:?}: seed {seed} of {budget}");
    }
}
