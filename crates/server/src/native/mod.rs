//! Our own API under `/v1`: wire types, the server's side, and the client's side that implements
//! [`Remote`](haversack_model::Remote).
//!
//! JSON throughout; batches and pages travel compressed (zstd). Errors are `application/problem+json` with `code`, `message`
//! and `what`. The document at `/v1/openapi.json` describes every route.

mod copies;
pub mod pull;
mod pull_arangodb;
pub mod reconcile_client;
pub mod remote;
pub mod wire;

mod admin;
mod answer;
mod call;
mod changed;
mod checkout;
mod collection_file;
mod conflicts;
mod download;
mod face;
mod files;
mod first_copy;
mod here;
mod making;
mod openapi;
mod prepare;
mod problem;
mod reconcile;
mod replica_remote;
mod replicas;
mod services;
mod sync;
mod visits;
mod waiting;

pub use download::Compression;
pub(crate) use face::router;
pub use remote::Client;
pub use replica_remote::NativeRemote;
