//! Import of GeoJSON and GeoPackage files into a service: a new layer with inferred fields, or an existing one.
//!
//! A file is read twice: once to find out fields and geometry, once to load. Rows stream; all of them are one
//! transaction.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use haversack_model::schema::GeometryKind;
use uuid::Uuid;

use haversack_model::{CollectionId, FieldType, Geometry, Store as _, Value};

use crate::Server;
use crate::error::{Error, Result};

mod convert;
mod geojson;
mod geopackage;
mod infer;
mod journal;
mod load;
mod names;

/// Kind of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// GeoJSON, RFC 7946; the older `crs` member is heeded.
    Geojson,
    /// GeoPackage of any version, as GDAL and QGIS write it.
    Gpkg,
}

impl Source {
    /// By name.
    pub fn parse(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "geojson" | "json" => Some(Self::Geojson),
            "gpkg" | "geopackage" => Some(Self::Gpkg),
            _ => None,
        }
    }
    /// By the extension of a file.
    pub fn of_file(path: &Path) -> Option<Self> {
        Self::parse(path.extension()?.to_str()?)
    }
    /// The name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Geojson => "geojson",
            Self::Gpkg => "gpkg",
        }
    }
}

/// What to import where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Kind of the file.
    pub format: Source,
    /// Service; made if it does not exist.
    pub service: String,
    /// Layer to append to; a new one is made otherwise.
    pub layer: Option<CollectionId>,
    /// Name of the new layer; the file's own otherwise.
    pub name: Option<String>,
}

/// What was imported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Into which service.
    pub service: String,
    /// Into which layers.
    pub layers: Vec<Loaded>,
}

/// One layer that was loaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loaded {
    /// Number of the layer.
    pub layer: CollectionId,
    /// Its name.
    pub name: String,
    /// Records added.
    pub records: u64,
    /// Fields of the file for which the layer has none.
    pub ignored_fields: Vec<String>,
    /// Fields whose names could not be kept: the file's name and the layer's.
    pub renamed_fields: Vec<(String, String)>,
}

/// Progress: what is being done, records done, all records if known.
pub type Progress<'a> = &'a mut dyn FnMut(&str, u64, Option<u64>);

/// A layer of a file.
#[derive(Clone, Debug, PartialEq)]
struct SourceLayer {
    name: String,
    fields: Vec<SourceField>,
    geometry: Option<SourceGeometry>,
    count: u64,
}

/// A field of a file.
#[derive(Clone, Debug, PartialEq)]
struct SourceField {
    name: String,
    kind: FieldType,
    length: Option<u32>,
}

/// The geometry of a layer of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct SourceGeometry {
    kind: GeometryKind,
    srid: i32,
    has_z: bool,
    has_m: bool,
}

/// One row of a file: a value per field of its layer.
#[derive(Clone, Debug, PartialEq)]
struct SourceRow {
    values: Vec<Value>,
    geometry: Option<Geometry>,
    global_id: Option<Uuid>,
}

/// What a format gives.
trait Reader {
    /// The layers of the file, after a first pass over it.
    fn layers(&self) -> &[SourceLayer];
    /// The rows of one layer, in the file's order.
    fn read(&mut self, layer: usize, visit: &mut dyn FnMut(SourceRow) -> Result<()>) -> Result<()>;
}

/// Imports a file. What the same key has loaded is not loaded again.
///
/// # Errors
/// [`Error::Invalid`] names what in the file does not fit, with the number of the feature. Nothing of it
/// is stored then.
pub fn run(
    server: &Server,
    file: &Path,
    request: &Request,
    key: Option<Uuid>,
    progress: Progress<'_>,
) -> Result<Report> {
    if let Some(key) = key
        && let Some(report) = finished(server, request, key)?
    {
        return Ok(report);
    }
    let stem = file.file_stem().and_then(|s| s.to_str()).unwrap_or("layer");
    let fallback = request.name.as_deref().unwrap_or(stem);
    read_and_load(server, file, request, (key, fallback), progress).map_err(|error| match error {
        // An uploaded file has a name of ours, which says nothing to whoever sent it.
        Error::Invalid { what, problem } if file.file_name().is_some_and(|own| *own == *what) => {
            let kind = request.format.name();
            Error::invalid(format!("{fallback}.{kind}"), problem)
        }
        error => error,
    })
}

fn read_and_load(
    server: &Server,
    file: &Path,
    request: &Request,
    (key, fallback): (Option<Uuid>, &str),
    progress: Progress<'_>,
) -> Result<Report> {
    let mut reader: Box<dyn Reader> = match request.format {
        Source::Geojson => Box::new(geojson::GeoJson::open(file, fallback, progress)?),
        Source::Gpkg => Box::new(geopackage::GeoPackage::open(server, file)?),
    };
    if reader.layers().is_empty() {
        return Err(invalid(file, "it holds no layer"));
    }
    load::load(server, reader.as_mut(), request, key, progress)
}

/// The report of an import that is done, if it is.
///
/// # Errors
/// The store's.
pub fn finished(server: &Server, request: &Request, key: Uuid) -> Result<Option<Report>> {
    let Some(store) = server.services.store(&request.service) else {
        return Ok(None);
    };
    let tx = store.begin_read()?;
    let done = journal::load(tx.as_ref(), key)?;
    Ok(done.map(|layers| Report {
        service: request.service.clone(),
        layers,
    }))
}

fn invalid(file: &Path, problem: impl Into<String>) -> Error {
    let name: PathBuf = file.file_name().map(Into::into).unwrap_or_default();
    Error::invalid(name.display().to_string(), problem)
}

#[cfg(test)]
mod tests;
