//! The simulator of the sync core: a server and its clients in one thread, driven by a seed.
//!
//! `HAVERSACK_SIM_SEED=n` replays one case and prints its events; `HAVERSACK_SIM_SECONDS=n` runs seed after seed for so
//! long. `oracle` says what must hold, `memory::bug` lists the deliberate bugs that must be found, `sometimes` the rare
//! states that must occur.
//!
//! The fixed seeds pass. Beyond them there is at least one open find, so a long `cargo xtask sim SECONDS` may fail: seed
//! 1405 ends in a conflict of a replica with its own edit, after a merge whose answer said that the record had left.
//!
//! Also open, and therefore switched off. What these showed is not yet told apart into faults of the core and faults of
//! the oracle, and nothing here proves these paths:
//! - `world::OFF`: a column added in mid-life and copies of a file ended in other rows than the server's in about two of a
//!   hundred cases each; restoring the server or a file more often;
//! - giving edits up in the middle of a case, and adding a record again offline that was seen deleted: about one case in
//!   a thousand (`client::native_decide`, `client::native_edit`).
//!
//! With them are off: the deliberate bugs of a server that keeps its history over a restore, of one that does not jump
//! ahead in the new one, and of a copied file that goes unnoticed; the rare states of a new history and a new schema.
//!
//! Not simulated yet: the same world over the store on SQLite, and over real replica files.
#![allow(unreachable_pub, reason = "a test program is its own outside")]

mod case;
mod chance;
mod client;
mod foreign;
mod ground;
#[allow(dead_code, reason = "the tests of the core use more of it")]
mod memory;
mod message;
mod oracle;
mod people;
mod remote;
mod rest;
mod serve;
mod server;
mod sometimes;
mod trace;
mod upkeep;
mod world;

use std::time::{Duration, Instant};

use case::{Case, replay};
use sometimes::Sometimes;

/// Seeds of a run without a time.
const SEEDS: u64 = if cfg!(debug_assertions) { 300 } else { 1000 };

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().expect("a number"))
}

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
        let done = Case {
            print: true,
            ..case(seed)
        }
        .run();
        assert_eq!(done.failure, None, "seed {seed}");
        return;
    }
    let begun = Instant::now();
    let time = number("HAVERSACK_SIM_SECONDS").map(Duration::from_secs);
    let mut rare = Sometimes::default();
    let mut events = 0;
    let mut seed = 0;
    while seed < SEEDS || time.is_some_and(|time| begun.elapsed() < time) {
        let done = case(seed).run();
        assert_eq!(done.failure, None, "{}", replay(seed));
        rare.add(&done.seen);
        events += done.events;
        if seed % 50 == 0 {
            let again = case(seed).run();
            assert_eq!(
                done.hash,
                again.hash,
                "{}: it does not replay",
                replay(seed)
            );
        }
        seed += 1;
    }
    println!(
        "{seed} cases with {events} events in {:.0?}",
        begun.elapsed()
    );
    assert_eq!(rare.missing(), [], "these states never occurred");
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
