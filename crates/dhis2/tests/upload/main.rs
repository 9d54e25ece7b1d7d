//! Uploads of a copy to the face of a real server: by both importers, with everything that goes wrong on the way.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../face/host.rs"]
#[allow(dead_code, reason = "the tests of the face use more of it")]
mod host;

mod aggregate;
mod answers;
mod faults;
mod files;
mod old_moods;
mod owners;
mod pool;
mod retry;
mod round_trip;
mod rules;
mod states;
mod world;
