//! Stores on SQLite: the files of a server's services and of replicas, both valid GeoPackages.
//!
//! [`service::SqliteStore`] is the server's store, one file per service. What both kinds of file share, from
//! geometry blobs to printed filters, is in [`gpkg`].

pub mod error;
pub mod gpkg;
pub mod service;

pub use service::SqliteStore;
