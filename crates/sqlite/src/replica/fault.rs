//! Turns errors of SQLite into errors of the model, with what was being done.

use haversack_model::{Error, Result};
use rusqlite::ErrorCode;

use crate::error::from_sqlite;

/// Adds to a failure of SQLite what was being done.
pub(crate) trait Doing<T> {
    /// `what` names the step, such as `reading the outbox`.
    fn doing(self, what: &'static str) -> Result<T>;
}

impl<T> Doing<T> for rusqlite::Result<T> {
    fn doing(self, what: &'static str) -> Result<T> {
        self.map_err(|source| fault(what, source))
    }
}

/// The model's error for an error of SQLite. A lock that another program holds is told in words that help.
pub(crate) fn fault(doing: &'static str, source: rusqlite::Error) -> Error {
    if is_busy(&source) {
        return Error::Invalid {
            what: "replica file".to_owned(),
            problem: format!(
                "another program kept it locked ({doing}); save or close its edits and try again, nothing was lost"
            ),
        };
    }
    from_sqlite(doing, source)
}

/// Whether another program holds a lock.
pub(crate) fn is_busy(source: &rusqlite::Error) -> bool {
    matches!(
        source.sqlite_error_code(),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
    )
}

/// A sentence about damaged stored text.
pub(crate) fn damaged(what: &str, why: impl std::fmt::Display) -> Error {
    Error::Corrupt(format!("{what}: {why}"))
}
