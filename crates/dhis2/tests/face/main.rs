//! The face over a real store, request by request.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod host;
mod metadata;
mod reserve;
mod web;
