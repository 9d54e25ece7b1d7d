//! The face over real stores, and the secondary against it: request by request, and with a primary that lies, falls silent or dies.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod access;
mod faults;
mod grants;
mod host;
mod lies;
mod protocol;
mod queries;
mod resumed;
mod sync;
mod web;
