//! Writer of features, straight to a stream.

use std::io::Write;

use haversack_model::{Collection, Record, Value};

use super::value::write_field_value;
use crate::wire::crs::Transform;
use crate::wire::geometry::{GeometryOptions, write_esri, write_geojson};
use crate::wire::json::write_text;
use crate::{Error, Result};

/// One column of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// The object id.
    ObjectId,
    /// The global id.
    GlobalId,
    /// A field by its position.
    Field(usize),
}

impl Column {
    /// All columns of a collection, in the order of its layer JSON.
    pub fn all(collection: &Collection) -> Vec<Self> {
        let fields = (0..collection.fields.len()).map(Self::Field);
        [Self::ObjectId, Self::GlobalId]
            .into_iter()
            .chain(fields)
            .collect()
    }
    /// Finds a column by name, ignoring case.
    pub fn find(collection: &Collection, name: &str) -> Option<Self> {
        if name.eq_ignore_ascii_case(&collection.object_id_field) {
            Some(Self::ObjectId)
        } else if name.eq_ignore_ascii_case(&collection.global_id_field) {
            Some(Self::GlobalId)
        } else {
            collection.field_index(name).map(Self::Field)
        }
    }
    /// Its name.
    pub fn name(self, collection: &Collection) -> &str {
        match self {
            Self::ObjectId => &collection.object_id_field,
            Self::GlobalId => &collection.global_id_field,
            Self::Field(at) => &collection.fields[at].name,
        }
    }
    /// Columns of `outFields`: `*`, or names. Without it the object id and the display field.
    ///
    /// # Errors
    /// [`Error::Parameter`] that names the unknown field.
    pub fn select(collection: &Collection, names: Option<&[String]>) -> Result<Vec<Self>> {
        let Some(names) = names else {
            let display = collection.display_field.as_deref();
            let display = display.and_then(|name| Self::find(collection, name));
            let mut columns = vec![Self::ObjectId];
            columns.extend(display.filter(|column| *column != Self::ObjectId));
            return Ok(columns);
        };
        if names.iter().any(|name| name == "*") {
            return Ok(Self::all(collection));
        }
        let mut columns = Vec::new();
        for name in names {
            let bare = name.trim_matches('"');
            let column = Self::find(collection, bare).ok_or_else(|| {
                Error::parameter(
                    "outFields",
                    format!("there is no field {bare:?} in {:?}", collection.name),
                )
            })?;
            if !columns.contains(&column) {
                columns.push(column);
            }
        }
        Ok(columns)
    }
}

/// Writes records of one collection as features.
#[derive(Debug)]
pub struct FeatureWriter<'a> {
    collection: &'a Collection,
    columns: Vec<Column>,
    geometry: Option<GeometryOptions>,
    transform: Option<&'a Transform>,
}

impl<'a> FeatureWriter<'a> {
    /// Writes all columns, and the geometry in the layer's reference.
    pub fn new(collection: &'a Collection) -> Self {
        Self {
            columns: Column::all(collection),
            geometry: collection.geometry.as_ref().map(|_| GeometryOptions::ALL),
            transform: None,
            collection,
        }
    }
    /// Writes these columns only.
    #[must_use]
    pub fn columns(mut self, columns: Vec<Column>) -> Self {
        self.columns = columns;
        self
    }
    /// Writes geometry like this, or none.
    #[must_use]
    pub fn geometry(mut self, options: Option<GeometryOptions>) -> Self {
        self.geometry = options.filter(|_| self.collection.geometry.is_some());
        self
    }
    /// Transforms geometry on the way.
    #[must_use]
    pub fn transform(mut self, transform: Option<&'a Transform>) -> Self {
        self.transform = transform;
        self
    }

    /// Writes `{"attributes":{..},"geometry":{..}}`.
    ///
    /// # Errors
    /// [`Error::Reproject`] if a coordinate has no image; [`Error::Io`].
    pub fn write(&self, out: &mut dyn Write, record: &Record) -> Result<()> {
        out.write_all(br#"{"attributes":"#)?;
        self.attributes(out, record)?;
        if let Some(options) = self.geometry {
            out.write_all(br#","geometry":"#)?;
            match self.placed(record)? {
                Some(geometry) => write_esri(out, &geometry, options)?,
                None => out.write_all(b"null")?,
            }
        }
        out.write_all(b"}")?;
        Ok(())
    }

    /// Writes a GeoJSON feature; the transform must lead to WGS 84.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn write_geojson(&self, out: &mut dyn Write, record: &Record) -> Result<()> {
        out.write_all(br#"{"type":"Feature","#)?;
        if let Some(id) = record.object_id {
            write!(out, r#""id":{id},"#)?;
        }
        out.write_all(br#""geometry":"#)?;
        match (self.geometry, self.placed(record)?) {
            (Some(options), Some(geometry)) => write_geojson(out, &geometry, options)?,
            _ => out.write_all(b"null")?,
        }
        out.write_all(br#","properties":"#)?;
        self.attributes(out, record)?;
        out.write_all(b"}")?;
        Ok(())
    }

    fn placed(&self, record: &Record) -> Result<Option<haversack_model::Geometry>> {
        if self.geometry.is_none() {
            return Ok(None);
        }
        match (&record.geometry, self.transform) {
            (Some(geometry), Some(transform)) => transform.geometry(geometry).map(Some),
            (geometry, _) => Ok(geometry.clone()),
        }
    }

    fn attributes(&self, out: &mut dyn Write, record: &Record) -> Result<()> {
        out.write_all(b"{")?;
        for (at, column) in self.columns.iter().enumerate() {
            if at > 0 {
                out.write_all(b",")?;
            }
            write_text(out, column.name(self.collection))?;
            out.write_all(b":")?;
            match *column {
                Column::ObjectId => match record.object_id {
                    Some(id) => write!(out, "{id}")?,
                    None => out.write_all(b"null")?,
                },
                Column::GlobalId => write_text(out, &record.global_id.braced())?,
                Column::Field(position) => {
                    let kind = self.collection.fields[position].kind;
                    let value = record.values.get(position).unwrap_or(&Value::Null);
                    write_field_value(out, kind, value)?;
                }
            }
        }
        out.write_all(b"}")?;
        Ok(())
    }
}
