//! What can go wrong while a server is opened, run or administered.

use std::path::PathBuf;

/// Result with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure that an operator can act on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another process holds the data directory.
    #[error("another server runs on {}{}", dir.display(), url.as_ref().map(|u| format!(" at {u}")).unwrap_or_default())]
    Locked {
        /// The directory.
        dir: PathBuf,
        /// Where that server listens, if it said so.
        url: Option<String>,
    },
    /// A file or folder of the data directory failed.
    #[error("{doing} {}: {source}", path.display())]
    File {
        /// What was being done.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The database of users, jobs and files failed.
    #[error("{doing}: {source}")]
    Database {
        /// What was being done.
        doing: &'static str,
        /// The database's error.
        source: rusqlite::Error,
    },
    /// The database was written by a newer program.
    #[error("{} was written by a newer version of this program (format {found}, known {known})", path.display())]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: i64,
        /// The newest one known here.
        known: i64,
    },
    /// The configuration file cannot be read.
    #[error("configuration {}: {source}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        source: Box<toml::de::Error>,
    },
    /// Something asked for does not fit.
    #[error("{what}: {problem}")]
    Invalid {
        /// What was wrong.
        what: String,
        /// How, and what would be right.
        problem: String,
    },
    /// Something named does not exist.
    #[error("there is no {what} {name:?}")]
    Missing {
        /// What sort of thing.
        what: &'static str,
        /// The name looked up.
        name: String,
    },
    /// Something to be made exists already.
    #[error("there is already a {what} {name:?}")]
    Exists {
        /// What sort of thing.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// The certificate cannot be made.
    #[error("making a certificate: {0}")]
    MakeCertificate(#[source] rcgen::Error),
    /// The certificate or its key cannot be used.
    #[error("using the certificate: {0}")]
    UseCertificate(#[source] rustls::Error),
    /// A password hash failed, which means that memory ran out or that a stored hash is damaged.
    #[error("password hash: {0}")]
    PasswordHash(String),
    /// The core or a store refused.
    #[error(transparent)]
    Model(#[from] haversack_model::Error),
}

impl Error {
    /// A value that does not fit, in the words of its reader.
    pub fn invalid(what: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Invalid {
            what: what.into(),
            problem: problem.into(),
        }
    }
}

/// Adds to an I/O error what was done with which file.
pub(crate) fn at_path(
    doing: &'static str,
    path: impl Into<PathBuf>,
) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.into();
    move |source| Error::File {
        doing,
        path,
        source,
    }
}

/// Adds to a database error what was being done.
pub(crate) fn while_doing(doing: &'static str) -> impl FnOnce(rusqlite::Error) -> Error {
    move |source| Error::Database { doing, source }
}
