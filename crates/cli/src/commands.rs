//! One module per command. Each gets its arguments and the output, and says how it ended.

pub(crate) mod checkout;
pub(crate) mod compare;
pub(crate) mod config;
pub(crate) mod conflicts;
pub(crate) mod demo;
pub(crate) mod diff;
pub(crate) mod import;
pub(crate) mod job;
pub(crate) mod login;
pub(crate) mod pull;
pub(crate) mod repair;
pub(crate) mod replicas;
pub(crate) mod serve;
pub(crate) mod status;
pub(crate) mod sync;
pub(crate) mod tracker;
pub(crate) mod user;
pub(crate) mod verify;
