//! Types and codecs of the dialect, shared by the face and the remote. No sockets, no clock.
//!
//! Source: `spec/arangodb.md`.

pub mod aql;
pub mod chunk;
pub mod config;
pub mod document;
pub mod dump;
pub mod endpoint;
pub mod errors;
pub mod json;
pub mod key;
pub mod marker;
pub mod parameters;
pub mod revision;
pub mod tree;
