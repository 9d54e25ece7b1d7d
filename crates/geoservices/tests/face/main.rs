//! The face over a real store, request by request: every operation of the dialect, every sync model and direction.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod access;
mod attachments;
mod bad_input;
mod device;
mod edits;
mod extract;
mod flags;
mod forms;
mod host;
mod jobs;
mod metadata;
mod portal;
mod protocol;
mod query;
mod replicas;
mod sample;
mod sweep;
mod synchronise;
mod synchronise_attachments;
mod synchronise_edits;
mod uploads;
mod web;
