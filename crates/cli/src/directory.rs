//! A data directory that commands work on: through the server that holds it, or opened when none does.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, bail};
use haversack_server::native::Client;
use haversack_server::native::remote::Credentials;
use haversack_server::{DataDir, Server};

use crate::args::ConnectArgs;
use crate::connect;

/// The way into a data directory.
pub(crate) enum Directory {
    /// Nobody else has it; opened here.
    Opened(Arc<Server>),
    /// A server holds it; we speak to that as its operator.
    Running(Client),
}

/// Refuses a file where a directory is meant.
///
/// # Errors
/// If it is one.
pub(crate) fn refuse_file(root: &Path) -> Result<()> {
    if root.is_file() {
        bail!("{} is a file, not a folder", root.display());
    }
    Ok(())
}

impl Directory {
    /// Finds the way into a directory that must be there.
    ///
    /// # Errors
    /// As [`Self::open`], and if it is no data directory.
    pub(crate) fn open_existing(root: &Path) -> Result<Self> {
        refuse_file(root)?;
        if !DataDir::exists(root) {
            bail!(
                "{} is not a data directory; `haversack serve {}` makes one",
                root.display(),
                root.display()
            );
        }
        Self::open(root)
    }

    /// Finds the way in.
    ///
    /// # Errors
    /// If it can neither be opened nor its server be reached.
    pub(crate) fn open(root: &Path) -> Result<Self> {
        refuse_file(root)?;
        if let Some(running) = DataDir::running(root) {
            let operator = Credentials::Token(running.token);
            return Ok(Self::Running(connect::with_credentials(
                &running.url,
                operator,
                &ConnectArgs::default(),
            )?));
        }
        Ok(Self::Opened(Server::open(root)?))
    }
}
