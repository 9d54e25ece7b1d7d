//! Copies of document collections, each side a service file, reconciled without a network.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../common/mod.rs"]
mod common;

mod copies;
mod ground;
mod interrupted;
mod others;
mod prepared;
mod random;
