//! Types and codecs of the dialect, shared by the face and the remote. No sockets, no clock.
//!
//! Source: `spec/geoservices.md`; RFC 7946 for GeoJSON.

pub mod codes;
pub mod crs;
pub mod feature;
pub mod geometry;
pub mod json;
pub mod metadata;
pub mod params;
pub mod sql;
pub mod sync;
