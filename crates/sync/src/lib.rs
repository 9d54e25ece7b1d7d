#![doc = include_str!("../README.md")]

// Tests within the crate share a store with those outside, which call it by this name.
#[cfg(test)]
extern crate self as haversack_sync;

pub mod apply;
pub mod client;
pub mod decision;
pub mod delta;
pub mod foreign;
pub mod merge;
pub mod native;
pub mod reconcile;
pub mod register;
pub mod states;
pub mod validate;

pub use apply::{Applied, Ids, Uploader, apply_edits};
pub use delta::{DeltaChange, Held, Sent, delta};
pub use foreign::{ForeignEdit, import};
pub use haversack_model::{Error, Result};
pub use native::{Pull, pull, push};
pub use register::{NewReplica, find, refresh_filters, register, unregister};
