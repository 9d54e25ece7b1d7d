//! The face over a real store, request by request.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod aggregate;
mod codes;
mod data_store;
mod files;
mod host;
mod import;
mod jobs;
mod lists;
mod metadata;
mod odd;
mod old;
mod planned;
mod read;
mod reserve;
mod rules;
mod schedule;
mod scope;
mod sharing;
mod single;
mod tracker;
mod web;
