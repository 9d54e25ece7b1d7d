//! Types and codecs of the dialect, shared by the face and the remote. No sockets, no clock, no randomness.
//!
//! Source: `spec/dhis2.md`.

pub mod conflict_text;
pub mod date;
pub mod geojson;
pub mod json;
pub mod page;
pub mod pattern;
pub mod period;
pub mod report;
pub mod shape;
pub mod tracker;
pub mod uid;
pub mod version;
