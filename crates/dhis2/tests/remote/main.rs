//! The client of a DHIS2 server, against a small server that does what it is told: failing, cut and late answers, every version's shapes.

#![allow(
    clippy::unwrap_used,
    reason = "a panic with its line is what a test wants"
)]

mod fake;
mod faults;
mod glass;
mod metadata;
mod order;
mod replayed;
mod reports;
mod settings;
mod stubs;
mod words;
