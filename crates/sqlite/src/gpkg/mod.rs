//! What server and replica files share: GeoPackage tables, geometry blobs, column values, SQL functions and
//! the printer of filters.
//!
//! Source: OGC 12-128r17 (GeoPackage 1.3).

pub mod aggregate;
pub mod blob;
pub mod column;
pub mod core;
pub mod datetime;
pub mod expr;
pub mod filter;
pub mod functions;
pub mod ident;
pub mod layer;
pub mod spatial;
pub mod sql;

pub use ident::{quote_ident, quote_text};
pub use sql::Sql;
