//! Many cases at once, on all cores: which seeds, for how long, and what is printed of a failure.
#![allow(clippy::print_stdout, reason = "a run is read by a person")]

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::case::{Case, Done, On};
use crate::sometimes::Sometimes;

/// The number in a variable of the environment.
pub fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().expect("a number"))
}

/// Which cases to run: so many, and then more until the time is up.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub first: u64,
    pub count: u64,
    pub time: Option<Duration>,
}

/// What a run came to.
#[derive(Debug, Default)]
pub struct Tally {
    pub cases: u64,
    pub events: u64,
    pub seen: Sometimes,
    /// Failures by seed.
    pub failures: BTreeMap<u64, String>,
}

impl Tally {
    fn add(&mut self, seed: u64, done: Done) {
        self.cases += 1;
        self.events += done.events;
        self.seen.add(&done.seen);
        if let Some(failure) = done.failure {
            self.failures.insert(seed, failure);
        }
    }
}

/// Runs cases until the plan is done or one has failed; with `HAVERSACK_SIM_ALL=1` failures are collected.
///
/// One case in fifty is run twice: it must replay exactly.
pub fn run(plan: Plan, case: impl Fn(u64) -> Case + Sync) -> Tally {
    let begun = Instant::now();
    let next = AtomicU64::new(plan.first);
    let stop = AtomicBool::new(false);
    let go_on = number("HAVERSACK_SIM_ALL").is_some();
    let tally = Mutex::new(Tally::default());
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            let is_due = seed - plan.first < plan.count
                || plan.time.is_some_and(|time| begun.elapsed() < time);
            if !is_due || stop.load(Ordering::Relaxed) {
                return;
            }
            let mut done = case(seed).run();
            if seed.is_multiple_of(50)
                && done.failure.is_none()
                && case(seed).run().hash != done.hash
            {
                done.failure = Some("it does not replay".to_owned());
            }
            stop.fetch_or(done.failure.is_some() && !go_on, Ordering::Relaxed);
            tally.lock().expect("no thread panics").add(seed, done);
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    let tally = tally.into_inner().expect("no thread panics");
    println!(
        "{} cases from seed {} with {} events in {:.0?}",
        tally.cases,
        plan.first,
        tally.events,
        begun.elapsed()
    );
    tally
}

/// Fails with how to see each failure again.
pub fn must_hold(tally: &Tally, on: On) {
    let failures = &tally.failures;
    let sqlite = if on == On::Sqlite { "--sqlite " } else { "" };
    for (seed, failure) in failures {
        println!("seed {seed}: {failure}\n  replay with: cargo xtask sim {sqlite}--seed {seed}");
    }
    assert!(failures.is_empty(), "{} cases failed", failures.len());
}
