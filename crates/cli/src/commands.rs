//! One module per command. Each gets its arguments and the output, and says how it ended.

pub(crate) mod config;
pub(crate) mod conflicts;
pub(crate) mod diff;
pub(crate) mod import;
pub(crate) mod serve;
pub(crate) mod status;
pub(crate) mod user;
