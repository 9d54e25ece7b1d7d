//! From the database's errors to the model's, which callers act on.

use haversack_model::Error;
use rusqlite::ErrorCode;

/// Names what was being done when the database failed, for `map_err`.
pub fn while_doing(doing: &'static str) -> impl Fn(rusqlite::Error) -> Error {
    move |source| from_sqlite(doing, source)
}

/// The model's error for one of SQLite.
pub fn from_sqlite(doing: &'static str, source: rusqlite::Error) -> Error {
    let source = match source {
        // It would print the whole statement, which may be a megabyte.
        rusqlite::Error::SqlInputError { error, msg, .. } => {
            rusqlite::Error::SqliteFailure(error, Some(msg))
        }
        other => other,
    };
    match source.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => Error::DiskFull,
        Some(ErrorCode::SystemIoFailure) if has_no_room(&source) => Error::DiskFull,
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            Error::Corrupt(format!("{doing}: {source}"))
        }
        Some(ErrorCode::Unknown) if source.to_string().contains("integer overflow") => {
            Error::Invalid {
                what: "statistics".to_owned(),
                problem: "the sum is larger than a 64-bit integer".to_owned(),
            }
        }
        Some(ErrorCode::Unknown) if is_too_large(&source) => Error::Invalid {
            what: "filter".to_owned(),
            problem: "it is too large: use fewer conditions or shorter lists".to_owned(),
        },
        _ => Error::Store {
            doing,
            source: Box::new(source),
        },
    }
}

/// Whether there was no room for the index beside a write-ahead log, which is made at the first access.
fn has_no_room(error: &rusqlite::Error) -> bool {
    error
        .sqlite_error()
        .is_some_and(|error| error.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE)
}

/// Whether a statement is over one of SQLite's limits.
fn is_too_large(error: &rusqlite::Error) -> bool {
    let text = error.to_string();
    [
        "variable number must be between",
        "too many SQL variables",
        "Expression tree is too large",
        "too many terms",
        "parser stack",
    ]
    .iter()
    .any(|limit| text.contains(limit))
}

/// Whether the statement was stopped by the progress handler.
pub(crate) fn is_interrupted(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted)
}

/// Stored text or bytes that do not mean what they should.
pub(crate) fn corrupt(what: impl std::fmt::Display) -> Error {
    Error::Corrupt(what.to_string())
}

/// A value, a name or a request that does not fit.
pub(crate) fn invalid(what: impl Into<String>, problem: impl Into<String>) -> Error {
    Error::Invalid {
        what: what.into(),
        problem: problem.into(),
    }
}
