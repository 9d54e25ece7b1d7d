//! A data directory that commands work on: through the server that holds it, or opened when none does.

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
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

impl Directory {
    /// Finds the way in.
    ///
    /// # Errors
    /// If it can neither be opened nor its server be reached.
    pub(crate) fn open(root: &Path) -> Result<Self> {
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
