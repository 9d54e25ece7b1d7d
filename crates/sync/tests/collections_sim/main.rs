//! Collection sync under faults: seeded worlds of a primary, a copy and a connection that breaks.
//!
//! Each world is a list of events that a seed decides: writes and exchanges of unique values at the primary, edits of the copy by
//! us and by other programs, purges, backups of either side put back, deaths of either process, and synchronisations that are cut,
//! resumed, overtaken by writers, and killed in the middle of their merge. After each the copy must be what it was, or exactly what
//! the primary was at the generation that was proven (G11).
//!
//! The same worlds run over a store in memory and over service files, the store that servers keep collections in. `cargo xtask sim
//! --collections --seed N` replays one and prints its events, with `--sqlite` over files.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "a run is read by a person")]

#[path = "../reconcile/memory/mod.rs"]
mod memory;

mod in_file;
mod in_memory;
mod side;
mod spoilt;
mod walk;
mod world;
mod writers;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use in_file::InFile;
use in_memory::InMemory;
use side::Side;
use spoilt::Bug;
use world::{Seen, World};

/// Seeds that every run of the tests takes.
const FIXED: u64 = 300;
/// Of these, over files.
const FIXED_IN_FILES: u64 = if cfg!(debug_assertions) { 40 } else { 300 };
/// Seeds among which each deliberate bug must be found.
const SEARCHED: u64 = 100;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs the world that the environment names, with its events printed; whether one is named.
fn replays<S: Side>() -> bool {
    let Some(seed) = number("HAVERSACK_SIM_SEED") else {
        return false;
    };
    let mut world = World::<S>::new(seed, None);
    let ended = world.run();
    for (at, event) in world.events.iter().enumerate() {
        println!("{at:3} {event}");
    }
    ended.unwrap_or_else(|why| panic!("seed {seed}: {why}"));
    true
}

fn on_all_cores(work: impl Fn() + Sync) {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(&work);
        }
    });
}

/// Runs the fixed worlds, and fresh ones if the environment asks for them, on all cores. What happened in them.
fn all_hold<S: Side>(fixed: u64, is_asked_for: bool, replay: &str) -> Seen {
    let from = number("HAVERSACK_SIM_FROM").unwrap_or(0);
    let fresh = number("HAVERSACK_SIM_CASES").filter(|_| is_asked_for);
    let seeds: Vec<u64> = (0..fixed).chain(from..from + fresh.unwrap_or(0)).collect();
    let (next, seen) = (AtomicU64::new(0), Mutex::new(Seen::default()));
    let work = || {
        while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
            let mut world = World::<S>::new(*seed, None);
            if let Err(why) = world.run() {
                panic!("{why}\nreplay: cargo xtask sim --collections {replay}--seed {seed}");
            }
            seen.lock().unwrap().add(&world.seen);
        }
    };
    on_all_cores(work);
    seen.into_inner().unwrap()
}

fn is_over_files() -> bool {
    number("HAVERSACK_SIM_SQLITE").is_some()
}

#[test]
fn a_copy_is_what_it_was_or_what_the_primary_was() {
    if number("HAVERSACK_SIM_SEED").is_some() && is_over_files() || replays::<InMemory>() {
        return;
    }
    let seen = all_hold::<InMemory>(FIXED, !is_over_files(), "");
    assert_eq!(seen.missing(false), Vec::<&str>::new(), "{seen:?}");
}

#[test]
fn a_copy_in_a_file_is_what_it_was_or_what_the_primary_was() {
    if number("HAVERSACK_SIM_SEED").is_some() && !is_over_files() || replays::<InFile>() {
        return;
    }
    let seen = all_hold::<InFile>(FIXED_IN_FILES, is_over_files(), "--sqlite ");
    assert_eq!(seen.missing(true), Vec::<&str>::new(), "{seen:?}");
}

fn replays_alike<S: Side>(seeds: u64) {
    for seed in 0..seeds {
        let told = || {
            let mut world = World::<S>::new(seed, None);
            world.run().unwrap();
            world.events
        };
        assert_eq!(told(), told());
    }
}

#[test]
fn the_same_seed_is_the_same_world() {
    replays_alike::<InMemory>(20);
    replays_alike::<InFile>(3);
}

/// The first world in which a bug is found, and what is wrong there.
fn find<S: Side>(bug: Bug) -> Option<(u64, String)> {
    let found = (0..SEARCHED).find_map(|seed| {
        let why = World::<S>::new(seed, Some(bug)).run().err()?;
        Some((seed, why))
    });
    if let Some((seed, why)) = &found {
        println!("{bug:?}: seed {seed}: {why}");
        let right = World::<S>::new(*seed, None).run();
        assert_eq!(right, Ok(()), "{bug:?}: seed {seed} fails without it, too");
    }
    found
}

/// The test of the test: worlds or an oracle that have become too weak fail here.
fn find_all<S: Side>() {
    let (next, missed) = (AtomicU64::new(0), Mutex::new(Vec::new()));
    on_all_cores(|| {
        while let Some(bug) = Bug::ALL.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
            if find::<S>(*bug).is_none() {
                missed.lock().unwrap().push(*bug);
            }
        }
    });
    let missed = missed.into_inner().unwrap();
    assert_eq!(missed, [], "not found in {SEARCHED} worlds");
}

#[test]
fn each_deliberate_bug_is_found() {
    find_all::<InMemory>();
}

#[test]
fn each_deliberate_bug_is_found_in_files() {
    find_all::<InFile>();
}
