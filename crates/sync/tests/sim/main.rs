//! The simulator of the sync core: a server and its clients in one thread, driven by a seed.
//!
//! `oracle` says what must hold, `memory::bug` lists the deliberate bugs that must be found, `sometimes` the rare
//! states that must occur. `cargo xtask sim` runs it and sets what it reads from the environment:
//!
//! | variable | what it does |
//! | --- | --- |
//! | `HAVERSACK_SIM_SEED=n` | replays one case and prints its events |
//! | `HAVERSACK_SIM_SECONDS=n` | after the fixed seeds runs fresh ones for so long |
//! | `HAVERSACK_SIM_CASES=n` | after the fixed seeds runs so many fresh ones |
//! | `HAVERSACK_SIM_FROM=n` | the first of the fresh seeds |
//! | `HAVERSACK_SIM_ALL=1` | goes on after a failure, and lists all of them at the end |
//!
//! Not simulated yet: the same world over the store on SQLite, and over real replica files.
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
mod trace;
mod upkeep;
mod world;

use std::time::Duration;

use case::Case;
use run::{Plan, must_hold, number, run};

/// Seeds of every run.
const SEEDS: u64 = if cfg!(debug_assertions) { 300 } else { 1000 };

fn case(seed: u64) -> Case {
    Case {
        seed,
        bug: None,
        print: false,
    }
}

#[test]
fn every_seed_keeps_the_guarantees() {
    if let Some(seed) = number("HAVERSACK_SIM_SEED") {
        let printed = Case {
            print: true,
            ..case(seed)
        };
        assert_eq!(printed.run().failure, None, "seed {seed}");
        return;
    }
    let fixed = Plan {
        first: 0,
        count: SEEDS,
        time: None,
    };
    let tally = run(fixed, case);
    must_hold(&tally.failures);
    assert_eq!(tally.seen.missing(), [], "these states never occurred");
    let seconds = number("HAVERSACK_SIM_SECONDS");
    let cases = number("HAVERSACK_SIM_CASES");
    if seconds.or(cases).is_some() {
        let fresh = Plan {
            first: number("HAVERSACK_SIM_FROM").unwrap_or(SEEDS),
            count: cases.unwrap_or(0),
            time: seconds.map(Duration::from_secs),
        };
        must_hold(&run(fresh, case).failures);
    }
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
