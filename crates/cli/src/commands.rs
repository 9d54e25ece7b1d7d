//! One module per command. Each gets its arguments and the output, and says how it ended.

pub(crate) mod conflicts;
pub(crate) mod diff;
pub(crate) mod status;
