//! The wall clock: the one place of the server that reads it.

use std::time::{SystemTime, UNIX_EPOCH};

use haversack_model::Timestamp;

/// Milliseconds since 1970, now.
pub fn now() -> Timestamp {
    at(SystemTime::now())
}

/// A time of the system, such as a file's.
pub(crate) fn at(time: SystemTime) -> Timestamp {
    let since = time.duration_since(UNIX_EPOCH);
    Timestamp(since.map_or(0, |d| d.as_millis() as i64))
}
