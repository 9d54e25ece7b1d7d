//! Collections kept identical: walks between two collections in memory.

#![allow(
    clippy::unwrap_used,
    reason = "a test may: a panic with its line is what it wants"
)]

mod apart;
mod budgets;
mod bugs;
mod converge;
mod hostile;
mod loops;
mod memory;
mod peers;
mod races;
mod tree;
