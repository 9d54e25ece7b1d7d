//! Stores on SQLite: the files of a server's services and of replicas, both valid GeoPackages.
//!
//! [`service::SqliteStore`] is the server's store, one file per service. What both kinds of file share, from
//! geometry blobs to printed filters, is in [`gpkg`]. [`replica::ReplicaFile`] is a checked-out part that any program may
//! edit; [`rtree`] loads spatial indexes in bulk.

pub mod error;
pub mod gpkg;
pub mod replica;
mod reserve;
pub mod rtree;
pub mod service;

pub use replica::ReplicaFile;
pub use service::SqliteStore;
