//! EsriJSON and GeoJSON geometry.
//!
//! Inside, rings follow GeoJSON and OGC: exterior counter-clockwise, holes clockwise, holes with their exterior. On
//! the wire of this dialect it is the other way round and all rings stand in one list. Lines and polygons are read
//! as multi-part geometries always, so that one content has one form.
//! Source: GeoServices "Geometry objects"; RFC 7946 section 3.1.6.

mod geojson;
mod read;
mod rings;
mod write;

pub use geojson::write_geojson;
pub use read::{EsriGeometry, envelope_from_text, fit, from_text, read};
pub use rings::normalised;
pub use write::{GeometryOptions, geometry_type, kind_of_type, write_envelope, write_esri};

#[cfg(test)]
mod tests;
