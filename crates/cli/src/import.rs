//! Loads GeoJSON and GeoPackage files into services.
//!
//! A [`Source`] is read twice and never held in memory: once to learn its shape (and to find what cannot be loaded,
//! before anything is written), once to load the rows.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use haversack_model::schema::GeometryKind;
use haversack_model::{FieldType, Geometry, Shape, Value};
use uuid::Uuid;

mod geojson;
mod geopackage;
mod load;
mod shape;

pub(crate) use load::{Target, existing_layer, load, new_layers, new_service};

/// One layer or table of a file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Dataset {
    /// Name for people.
    pub(crate) name: String,
    /// EPSG code of its coordinates.
    pub(crate) srid: i32,
    /// Kind of its geometries; `None` for a table.
    pub(crate) kind: Option<GeometryKind>,
    /// Whether any position has z.
    pub(crate) has_z: bool,
    /// Whether any position has m.
    pub(crate) has_m: bool,
    /// Attributes, without keys and geometry.
    pub(crate) fields: Vec<SourceField>,
    /// Rows to load.
    pub(crate) rows: u64,
}

/// One attribute of a file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SourceField {
    /// Name in the file.
    pub(crate) name: String,
    /// Narrowest type that holds every value.
    pub(crate) kind: FieldType,
    /// Longest text in characters, if the file limits it.
    pub(crate) length: Option<u32>,
}

/// One row, its values in the order of [`Dataset::fields`].
#[derive(Debug)]
pub(crate) struct Row {
    /// Identity that the file gives it.
    pub(crate) global_id: Option<Uuid>,
    /// Attribute values.
    pub(crate) values: Vec<Value>,
    /// Geometry in the dataset's CRS.
    pub(crate) geometry: Option<Geometry>,
}

/// Is called with each row.
pub(crate) type Visit<'a> = &'a mut dyn FnMut(Row) -> Result<()>;

/// A file that can be read more than once.
pub(crate) trait Source {
    /// What is in it.
    fn datasets(&self) -> &[Dataset];
    /// Reads all rows of one dataset.
    fn read(&self, dataset: usize, visit: Visit<'_>) -> Result<()>;
}

/// Opens a file by its content, whatever its name.
///
/// # Errors
/// If it is neither GeoJSON nor GeoPackage, or holds something that cannot be loaded; nothing was written then.
pub(crate) fn open(path: &Path) -> Result<Box<dyn Source>> {
    let mut head = [0; 16];
    let read = File::open(path)
        .and_then(|mut file| file.read(&mut head))
        .with_context(|| format!("reading {}", path.display()))?;
    if head.starts_with(b"SQLite format 3\0") {
        return Ok(Box::new(geopackage::GeoPackage::open(path)?));
    }
    let first = head[..read]
        .iter()
        .find(|byte| !byte.is_ascii_whitespace() && !b"\xef\xbb\xbf".contains(byte));
    if first == Some(&b'{') {
        return Ok(Box::new(geojson::GeoJson::open(path)?));
    }
    bail!(
        "{} is neither GeoJSON nor GeoPackage; convert it first, for example with `ogr2ogr -f GPKG`",
        path.display()
    )
}

/// The name of a file without folder and extension.
fn stem(path: &Path) -> String {
    path.file_stem().map_or_else(
        || "layer".to_owned(),
        |stem| stem.to_string_lossy().into_owned(),
    )
}

/// The same geometry in the form that a layer of this kind keeps.
fn fit(geometry: Geometry, kind: GeometryKind) -> Geometry {
    match (kind, geometry.shape()) {
        (GeometryKind::Multipoint, Shape::Point(point)) => {
            Geometry::from_shape(&Shape::MultiPoint(point.into_iter().collect()))
        }
        _ => geometry,
    }
}
