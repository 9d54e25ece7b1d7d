//! One module per command. Each gets its arguments and the output, and says how it ended.

pub(crate) mod config;
pub(crate) mod import;
pub(crate) mod serve;
pub(crate) mod user;
