//! The GeoServices dialect: feature services with Sync, spoken in both directions.
//!
//! [`wire`] holds the types and codecs that both directions share. [`remote`] is the client of such a server, a
//! [`haversack_model::Remote`].

pub mod error;
pub mod face;
pub mod remote;
pub mod wire;

pub use error::{Error, Result};
