//! Reader of features that clients send and servers answer.

use std::collections::BTreeMap;

use haversack_model::{Changes, Collection, Geometry, GlobalId, ObjectId, Record};
use serde_json::{Map, Value as Json};

use super::value::read_value;
use crate::wire::crs::Transform;
use crate::wire::geometry::{fit, read};
use crate::wire::json::{integer, kind, member};
use crate::{Error, Result};

/// Reads features of one collection.
#[derive(Debug)]
pub struct FeatureReader<'a> {
    collection: &'a Collection,
    /// Reference of geometries that name none; `None` is the layer's own.
    srid: Option<i32>,
    /// Whether values of read-only and editor-tracking fields are kept. A server skips them, a remote keeps them.
    keep_read_only: bool,
    transforms: BTreeMap<i32, Option<Transform>>,
}

/// A feature as sent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct IncomingFeature {
    /// Its object id, if it named one.
    pub object_id: Option<ObjectId>,
    /// Its global id, if it named one.
    pub global_id: Option<GlobalId>,
    /// The fields and geometry that it named. A partial update names some.
    pub changes: Changes,
}

impl IncomingFeature {
    /// The whole record of an add: absent fields get their defaults.
    pub fn to_record(&self, collection: &Collection, global_id: GlobalId) -> Record {
        let mut record = Record {
            global_id,
            object_id: None,
            values: collection
                .fields
                .iter()
                .map(|field| field.default.clone())
                .collect(),
            geometry: None,
        };
        self.changes.apply_to(&mut record);
        record
    }
}

impl<'a> FeatureReader<'a> {
    /// Reads what a client sends: values of read-only and editor-tracking fields are skipped.
    pub fn from_client(collection: &'a Collection) -> Self {
        Self {
            collection,
            srid: None,
            keep_read_only: false,
            transforms: BTreeMap::new(),
        }
    }
    /// Reads what a server answers: every field counts.
    pub fn from_server(collection: &'a Collection) -> Self {
        Self {
            keep_read_only: true,
            ..Self::from_client(collection)
        }
    }
    /// The collection whose features are read.
    pub fn collection(&self) -> &'a Collection {
        self.collection
    }
    /// Takes geometries that name no reference as being in this one (`inSR`, `replicaSR`).
    #[must_use]
    pub fn in_reference(mut self, srid: Option<i32>) -> Self {
        self.srid = srid;
        self
    }
    /// As [`Self::in_reference`], from here on.
    pub fn set_reference(&mut self, srid: Option<i32>) {
        self.srid = srid;
    }

    /// Reads `{attributes, geometry}`.
    ///
    /// # Errors
    /// [`Error::Document`] for another form; [`Error::Field`] and [`Error::Geometry`] for what does not fit.
    pub fn read(&mut self, feature: &Json) -> Result<IncomingFeature> {
        let Json::Object(members) = feature else {
            return Err(Error::document(
                "feature",
                format!("must be an object, not {}", kind(feature)),
            ));
        };
        let mut incoming = match member(members, "attributes") {
            None => IncomingFeature::default(),
            Some(Json::Object(attributes)) => self.attributes(attributes)?,
            Some(other) => {
                return Err(Error::document(
                    "attributes",
                    format!("must be an object, not {}", kind(other)),
                ));
            }
        };
        if let (Some(geometry), Some(_)) = (members.get("geometry"), &self.collection.geometry) {
            incoming.changes.geometry = Some(self.geometry(geometry)?);
        }
        Ok(incoming)
    }

    fn attributes(&self, attributes: &Map<String, Json>) -> Result<IncomingFeature> {
        let collection = self.collection;
        let mut incoming = IncomingFeature::default();
        for (name, value) in attributes {
            if name.eq_ignore_ascii_case(&collection.object_id_field) {
                incoming.object_id = match value {
                    Json::Null => None,
                    value => Some(integer(value).map(ObjectId).ok_or_else(|| {
                        Error::field(name, format!("needs a whole number, got {}", kind(value)))
                    })?),
                };
            } else if name.eq_ignore_ascii_case(&collection.global_id_field) {
                incoming.global_id = match value {
                    Json::Null => None,
                    Json::String(text) if text.trim().is_empty() => None,
                    value => Some(global_id(name, value)?),
                };
            } else if let Some(at) = self.settable(name) {
                let value = read_value(&collection.fields[at], value)?;
                incoming.changes.values.insert(at, value);
            }
        }
        Ok(incoming)
    }

    /// Position of a field that takes values from this sender.
    fn settable(&self, name: &str) -> Option<usize> {
        let at = self.collection.field_index(name)?;
        let tracked = self.collection.editor_fields.as_ref().is_some_and(|e| {
            [&e.created_at, &e.creator, &e.edited_at, &e.editor]
                .iter()
                .any(|field| field.eq_ignore_ascii_case(name))
        });
        let read_only = tracked || !self.collection.fields[at].editable;
        (self.keep_read_only || !read_only).then_some(at)
    }

    fn geometry(&mut self, value: &Json) -> Result<Option<Geometry>> {
        let Some(column) = self
            .collection
            .geometry
            .as_ref()
            .filter(|_| !value.is_null())
        else {
            return Ok(None);
        };
        let sent = read(value)?;
        let srid = sent.srid.or(self.srid).unwrap_or(column.srid);
        let transform = match self.transforms.entry(srid) {
            std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::btree_map::Entry::Vacant(new) => {
                new.insert(Transform::between(srid, column.srid)?)
            }
        };
        let geometry = match transform {
            Some(transform) => transform.geometry(&sent.geometry)?,
            None => sent.geometry,
        };
        fit(&geometry, column).map(Some)
    }
}

/// A global id in any of the forms that clients write.
pub(crate) fn global_id(name: &str, value: &Json) -> Result<GlobalId> {
    value
        .as_str()
        .and_then(|text| GlobalId::parse_uuid(text).ok())
        .ok_or_else(|| {
            let shown: String = value.to_string().chars().take(60).collect();
            Error::field(
                name,
                format!("needs a global id such as {{8-4-4-4-12 hex digits}}, got {shown}"),
            )
        })
}
