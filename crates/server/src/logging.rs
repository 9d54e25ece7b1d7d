//! The log: events with fields on standard error, as text or JSON lines.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

use crate::Config;
use crate::error::{Error, Result};

/// Starts the log of this process. A second call does nothing.
///
/// # Errors
/// [`Error::Invalid`] for a filter or format that does not exist.
pub(crate) fn start(config: &Config) -> Result<()> {
    let filter = EnvFilter::try_new(&config.log_level)
        .map_err(|e| Error::invalid("log_level", e.to_string()))?;
    let builder = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        // It would be told on standard error again, and a panic when nobody reads that any more.
        .log_internal_errors(false)
        .with_ansi(std::io::stderr().is_terminal())
        .with_env_filter(filter)
        .with_target(false);
    // An error means that the process has a log already: in-process servers share their program's.
    let _ = match config.log_format.as_str() {
        "text" => builder.try_init(),
        "json" => builder.json().flatten_event(true).try_init(),
        other => {
            return Err(Error::invalid(
                format!("log_format {other:?}"),
                "it must be text or json",
            ));
        }
    };
    Ok(())
}
