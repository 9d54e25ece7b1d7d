//! A clinic: the face of one server over data that is synchronised with the face of another one.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../face/host.rs"]
#[allow(dead_code, reason = "the tests of the face use more of it")]
mod host;

mod aggregate;
mod deaths;
mod faults;
mod gate;
mod glass;
mod refused;
mod rewind;
mod rounds;
mod settings;
mod world;
