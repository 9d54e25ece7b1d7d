//! The remote against our own face over real HTTP: what one side writes the other one reads.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

#[path = "../face/host.rs"]
#[allow(dead_code, reason = "the tests of the face use the rest")]
mod host;
#[path = "../face/sample.rs"]
#[allow(dead_code, reason = "the tests of the face use the rest")]
mod sample;

mod field;
mod syncing;
