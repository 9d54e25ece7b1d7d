//! The Haversack server: listener, users and access, jobs, files, our own API, and the faces that it mounts.
//!
//! [`serve()`] runs one as a process, [`start`] within another program. Commands on a data directory
//! either go through the server that holds it ([`DataDir::running`]) or open it as a [`Server`] without a listener.

pub mod accounts;
pub mod clock;
pub mod config;
pub mod datadir;
pub mod endpoints;
pub mod error;
pub mod files;
pub mod grants;
pub mod import;
pub mod jobs;
pub mod native;
pub mod secret;
pub mod serve;
pub mod services;
pub mod tls;
pub mod upstream;
mod users;

mod attempts;
mod course;
mod cursors;
mod db;
mod http;
mod kept;
mod listener;
mod logging;
mod marks;
mod sample;
mod stall;
mod state;

pub use config::{Config, Setting};
pub use datadir::{DataDir, Running};
pub use error::{Error, Result};
pub use serve::{Handle, Options, serve, start};
pub use state::{Server, parse_condition};
