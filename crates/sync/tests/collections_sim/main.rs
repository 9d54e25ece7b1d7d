//! Collection sync under faults: seeded worlds of a primary, a copy and a connection that breaks, in memory.
//!
//! Each world is a list of events that a seed decides: writes and exchanges of unique values at the primary, edits of the copy,
//! purges, backups put back, and synchronisations that are cut, resumed, overtaken by writers, and crashed. After each event the
//! copy must be what it was, or exactly what the primary was at the generation that was proven (G11). `cargo xtask sim
//! --collections --seed N` replays one and prints its events.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../reconcile/memory/mod.rs"]
mod memory;

mod copy;
mod world;

use copy::Bug;
use world::{Seen, World};

/// Seeds that every run of the tests takes.
const FIXED: u64 = 300;
/// Seeds among which each deliberate bug must be found.
const SEARCHED: u64 = 300;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn a_copy_is_what_it_was_or_what_the_primary_was() {
    if let Some(seed) = number("HAVERSACK_SIM_SEED") {
        let mut world = World::new(seed, None);
        let ended = world.run();
        for (at, event) in world.events.iter().enumerate() {
            println!("{at:3} {event}");
        }
        ended.unwrap_or_else(|why| panic!("seed {seed}: {why}"));
        return;
    }
    let from = number("HAVERSACK_SIM_FROM").unwrap_or(0);
    let fresh = number("HAVERSACK_SIM_CASES").unwrap_or(0);
    let mut seen = Seen::default();
    for seed in (0..FIXED).chain(from..from + fresh) {
        let mut world = World::new(seed, None);
        let ended = world.run();
        if let Err(why) = ended {
            panic!("{why}\nreplay: cargo xtask sim --collections --seed {seed}");
        }
        seen.add(&world.seen);
    }
    // A fault that never happens shows nothing.
    assert!(seen.all_happened(), "{seen:?}");
}

#[test]
fn the_same_seed_is_the_same_world() {
    for seed in 0..20 {
        let told = |()| {
            let mut world = World::new(seed, None);
            world.run().unwrap();
            world.events
        };
        assert_eq!(told(()), told(()));
    }
}

#[test]
fn each_deliberate_bug_is_found() {
    for bug in Bug::ALL {
        let found = (0..SEARCHED).find_map(|seed| World::new(seed, Some(bug)).run().err());
        let why = found.unwrap_or_else(|| panic!("{bug:?} was not found in {SEARCHED} worlds"));
        println!("{bug:?}: {why}");
    }
}
