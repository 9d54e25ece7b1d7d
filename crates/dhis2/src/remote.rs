//! The client of a DHIS2 server: brings its metadata and tracker data into a copy, and the copy's edits back.
//!
//! Blocking. Nothing that a server says is trusted: answers are limited in size and time, redirects are not followed,
//! credentials go to the server's own origin only. A copy is an ordinary replica file ([`layout`] says which table holds
//! what), so capture, states, protection of unsent work and conflicts are those of every replica. Source: `spec/dhis2.md`.

pub mod aggregate;
pub mod copy;
pub mod error;
pub mod families;
pub mod files;
pub mod http;
pub mod layout;
pub mod metadata;
pub mod proof;
pub mod pull;
pub mod push;
pub mod reserved;
pub mod server;
pub mod settings;

/// What [`ReplicaHeader::protocol`](haversack_model::local::ReplicaHeader::protocol) says of a copy.
pub const PROTOCOL: &str = "dhis2";
