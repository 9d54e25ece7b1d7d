//! Reader of a server's descriptions: the service's root and its layers become a [`Service`].
//!
//! Field types that this program cannot keep (XML, rasters) are left out, so they are neither shown nor written.
//! Source: `spec/geoservices.md` 3 and 4.

use haversack_model::schema::{
    Cardinality, Collection, CollectionKind, Domain, EditorFields, Field, FieldType,
    GeometryColumn, Relationship, Service,
};
use haversack_model::{CollectionId, Value};
use serde_json::{Map, Value as Json};
use sha2::{Digest as _, Sha256};

use crate::wire::crs;
use crate::wire::feature::read_value;
use crate::wire::geometry::kind_of_type;
use crate::wire::json::{integer, member};
use crate::{Error, Result};

/// What a service can do for replicas, as it says itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "one for each capability of the protocol"
)]
pub struct SyncCapabilities {
    /// One generation for all layers.
    pub per_replica: bool,
    /// One generation per layer.
    pub per_layer: bool,
    /// Work as jobs.
    pub jobs: bool,
    /// Directions can be chosen.
    pub directions: bool,
}

impl SyncCapabilities {
    /// Reads `syncCapabilities`. Where it says nothing of the models, the one of old servers is meant.
    pub fn read(root: &Map<String, Json>) -> Self {
        let empty = Map::new();
        let told = member(root, "syncCapabilities").and_then(Json::as_object);
        let told = told.unwrap_or(&empty);
        let says = |name: &str, default: bool| {
            member(told, name)
                .and_then(Json::as_bool)
                .unwrap_or(default)
        };
        Self {
            per_replica: says("supportsPerReplicaSync", true),
            per_layer: says("supportsPerLayerSync", false),
            jobs: says("supportsAsync", false),
            directions: says("supportsSyncDirectionControl", false),
        }
    }
}

/// Numbers of the layers and tables that a root lists.
///
/// # Errors
/// [`Error::Document`] if it lists none or is no root of a feature service.
pub fn layer_ids(root: &Map<String, Json>) -> Result<Vec<CollectionId>> {
    let mut ids = Vec::new();
    for list in ["layers", "tables"] {
        for entry in member(root, list)
            .and_then(Json::as_array)
            .into_iter()
            .flatten()
        {
            let id = entry.as_object().and_then(|entry| member(entry, "id"));
            let id = id.and_then(integer).and_then(|id| u32::try_from(id).ok());
            let id = id
                .map(CollectionId)
                .filter(|id| id.attachments_of().is_none());
            ids.push(id.ok_or_else(|| Error::document("the service", "a layer has no number"))?);
        }
    }
    ids.sort_unstable();
    ids.dedup();
    if ids.is_empty() {
        let problem = "lists no layers: is the address that of a FeatureServer?";
        return Err(Error::document("the service", problem));
    }
    Ok(ids)
}

/// Reads a service from its root and the documents of its layers and tables.
///
/// # Errors
/// [`Error::Document`] that names the layer and what is missing. A layer without a GlobalID field cannot be synchronised.
pub fn read_service(
    name: &str,
    root: &Map<String, Json>,
    layers: &[Map<String, Json>],
) -> Result<Service> {
    let text = |key: &str| {
        let value = member(root, key).and_then(Json::as_str);
        value.unwrap_or_default().to_owned()
    };
    let capabilities = text("capabilities");
    let srid = member(root, "spatialReference")
        .and_then(|reference| crs::from_json(reference, "spatialReference").ok());
    let mut collections = Vec::new();
    for layer in layers {
        let taken: Vec<String> = collections
            .iter()
            .map(|c: &Collection| c.table.clone())
            .collect();
        collections.push(read_layer(layer, srid, &taken)?);
    }
    collections.sort_by_key(|c| c.id);
    Ok(Service {
        name: name.to_owned(),
        title: name.to_owned(),
        description: text("description"),
        copyright: text("copyrightText"),
        capabilities: capabilities
            .split(',')
            .map(|word| word.trim().to_owned())
            .filter(|word| !word.is_empty())
            .collect(),
        srid: srid.unwrap_or(4326),
        schema_version: schema_version(&collections),
        collections,
    })
}

/// A number that changes when the shape of a collection does. Such servers have no version of their own.
fn schema_version(collections: &[Collection]) -> u32 {
    let mut hash = Sha256::new();
    for collection in collections {
        hash.update(format!(
            "{}|{:?}|",
            collection.id,
            collection.geometry.as_ref().map(|g| g.kind)
        ));
        for field in &collection.fields {
            let shape = (&field.name, field.kind, field.length, field.nullable);
            hash.update(format!("{shape:?}|"));
        }
    }
    let hash = hash.finalize();
    // Zero would look like "none".
    u32::from_le_bytes([hash[0], hash[1], hash[2], hash[3]]).max(1)
}

fn read_layer(
    layer: &Map<String, Json>,
    service_srid: Option<i32>,
    taken: &[String],
) -> Result<Collection> {
    let text = |key: &str| {
        let value = member(layer, key).and_then(Json::as_str);
        value.unwrap_or_default().to_owned()
    };
    let id = member(layer, "id")
        .and_then(integer)
        .and_then(|id| u32::try_from(id).ok());
    let name = text("name");
    let at = format!("layer {name:?}");
    let wrong = |problem: &str| Error::document(at.clone(), problem);
    let id = CollectionId(id.ok_or_else(|| wrong("has no number"))?);
    let listed = member(layer, "fields").and_then(Json::as_array);
    let listed: Vec<&Map<String, Json>> = listed
        .ok_or_else(|| wrong("lists no fields"))?
        .iter()
        .filter_map(Json::as_object)
        .collect();
    let named = |key: &str, of_type: &str| {
        let told = text(key);
        let typed = listed.iter().find(|field| type_word(field) == of_type);
        let typed = typed
            .and_then(|field| member(field, "name"))
            .and_then(Json::as_str);
        if told.is_empty() {
            typed.map(str::to_owned)
        } else {
            Some(told)
        }
    };
    let object_id_field = named("objectIdField", "esriFieldTypeOID")
        .ok_or_else(|| wrong("names no object id field"))?;
    let global_id_field = named("globalIdField", "esriFieldTypeGlobalID")
        .ok_or_else(|| wrong("has no GlobalID field, so its rows cannot be synchronised"))?;
    let mut fields: Vec<Field> = Vec::new();
    for field in &listed {
        if let Some(field) = read_field(field, &at)?
            && !field.name.eq_ignore_ascii_case(&object_id_field)
            && !field.name.eq_ignore_ascii_case(&global_id_field)
        {
            if fields
                .iter()
                .any(|other| other.name.eq_ignore_ascii_case(&field.name))
            {
                return Err(wrong(&format!("has the field {:?} twice", field.name)));
            }
            fields.push(field);
        }
    }
    let geometry = geometry_column(layer, service_srid, &fields, &at)?;
    Ok(Collection {
        id,
        table: table_name(&name, id, taken),
        kind: if geometry.is_some() {
            CollectionKind::Layer
        } else {
            CollectionKind::Table
        },
        description: text("description"),
        display_field: Some(text("displayField")).filter(|name| !name.is_empty()),
        geometry,
        has_attachments: member(layer, "hasAttachments")
            .and_then(Json::as_bool)
            .unwrap_or(false),
        relationships: relationships(layer),
        editor_fields: editor_fields(layer),
        max_record_count: member(layer, "maxRecordCount")
            .and_then(integer)
            .and_then(|n| u32::try_from(n).ok())
            .unwrap_or(1000),
        indexes: Vec::new(),
        properties: std::collections::BTreeMap::new(),
        name,
        object_id_field,
        global_id_field,
        fields,
    })
}

fn type_word(field: &Map<String, Json>) -> &str {
    member(field, "type")
        .and_then(Json::as_str)
        .unwrap_or_default()
}

/// The dialect's name of a type, and the type; the ids and the geometry are no attributes.
fn field_type(word: &str) -> Option<FieldType> {
    Some(match word {
        "esriFieldTypeSmallInteger" => FieldType::SmallInteger,
        "esriFieldTypeInteger" => FieldType::Integer,
        "esriFieldTypeBigInteger" => FieldType::BigInteger,
        "esriFieldTypeSingle" => FieldType::Single,
        "esriFieldTypeDouble" => FieldType::Double,
        "esriFieldTypeString" => FieldType::String,
        "esriFieldTypeDate" => FieldType::Date,
        "esriFieldTypeDateOnly" => FieldType::DateOnly,
        "esriFieldTypeTimeOnly" => FieldType::TimeOnly,
        "esriFieldTypeTimestampOffset" => FieldType::TimestampOffset,
        "esriFieldTypeGUID" => FieldType::Guid,
        "esriFieldTypeBlob" => FieldType::Blob,
        _ => return None,
    })
}

fn read_field(field: &Map<String, Json>, at: &str) -> Result<Option<Field>> {
    let Some(kind) = field_type(type_word(field)) else {
        return Ok(None);
    };
    let text = |key: &str| member(field, key).and_then(Json::as_str);
    let flag = |key: &str| member(field, key).and_then(Json::as_bool).unwrap_or(true);
    let name = text("name").filter(|name| !name.trim().is_empty());
    let name = name.ok_or_else(|| Error::document(at, "has a field without a name"))?;
    let length = member(field, "length")
        .and_then(integer)
        .and_then(|n| u32::try_from(n).ok());
    let mut read = Field {
        name: name.to_owned(),
        alias: text("alias").unwrap_or(name).to_owned(),
        kind,
        // Servers tell a length for every type; it limits text only.
        length: length.filter(|n| kind == FieldType::String && (1..1_000_000).contains(n)),
        nullable: flag("nullable"),
        editable: flag("editable"),
        domain: None,
        default: Value::Null,
    };
    read.domain = member(field, "domain").and_then(|domain| read_domain(&read, domain));
    // A default that does not fit its own field is the server's mistake, not a reason to refuse the layer.
    if let Some(default) = member(field, "defaultValue") {
        read.default = read_value(&read, default).unwrap_or_default();
    }
    Ok(Some(read))
}

fn read_domain(field: &Field, domain: &Json) -> Option<Domain> {
    let members = domain.as_object()?;
    let name = member(members, "name")
        .and_then(Json::as_str)
        .unwrap_or_default()
        .to_owned();
    if let Some(range) = member(members, "range").and_then(Json::as_array) {
        let [min, max] = range.as_slice() else {
            return None;
        };
        return Some(Domain::Range {
            name,
            min: min.as_f64()?,
            max: max.as_f64()?,
        });
    }
    let values = member(members, "codedValues").and_then(Json::as_array)?;
    let values = values.iter().filter_map(|coded| {
        let coded = coded.as_object()?;
        let code = read_value(field, member(coded, "code")?).ok()?;
        let name = member(coded, "name")
            .and_then(Json::as_str)
            .unwrap_or_default();
        Some((code, name.to_owned()))
    });
    Some(Domain::Coded {
        name,
        values: values.collect(),
    })
}

fn geometry_column(
    layer: &Map<String, Json>,
    service_srid: Option<i32>,
    fields: &[Field],
    at: &str,
) -> Result<Option<GeometryColumn>> {
    let Some(word) = member(layer, "geometryType").and_then(Json::as_str) else {
        return Ok(None);
    };
    let wrong = |problem: String| Error::document(at, problem);
    let kind = kind_of_type(word).ok_or_else(|| {
        wrong(format!(
            "has geometry of type {word:?}, which is not supported"
        ))
    })?;
    let own = ["sourceSpatialReference", "spatialReference"]
        .into_iter()
        .find_map(|key| member(layer, key));
    let own = own.or_else(|| {
        let extent = member(layer, "extent").and_then(Json::as_object)?;
        member(extent, "spatialReference")
    });
    let srid = match own {
        Some(reference) => crs::from_json(reference, "spatialReference")?,
        None => service_srid.ok_or_else(|| wrong("names no spatial reference".to_owned()))?,
    };
    let flag = |key: &str| member(layer, key).and_then(Json::as_bool).unwrap_or(false);
    let is_taken = |name: &str| {
        fields
            .iter()
            .any(|field| field.name.eq_ignore_ascii_case(name))
    };
    let name = ["shape", "geom", "geometry", "the_geom"]
        .into_iter()
        .find(|name| !is_taken(name));
    Ok(Some(GeometryColumn {
        name: name.unwrap_or("haversack_shape").to_owned(),
        kind,
        srid,
        has_z: flag("hasZ"),
        has_m: flag("hasM"),
    }))
}

fn relationships(layer: &Map<String, Json>) -> Vec<Relationship> {
    let listed = member(layer, "relationships").and_then(Json::as_array);
    let one = |told: &Json| {
        let told = told.as_object()?;
        let number = |key: &str| {
            member(told, key)
                .and_then(integer)
                .and_then(|n| u32::try_from(n).ok())
        };
        let text = |key: &str| member(told, key).and_then(Json::as_str);
        Some(Relationship {
            id: number("id")?,
            name: text("name").unwrap_or_default().to_owned(),
            related: CollectionId(number("relatedTableId")?),
            is_origin: text("role") == Some("esriRelRoleOrigin"),
            cardinality: match text("cardinality")? {
                "esriRelCardinalityOneToOne" => Cardinality::OneToOne,
                "esriRelCardinalityOneToMany" => Cardinality::OneToMany,
                // Many to many needs a table between, which replicas do not have.
                _ => return None,
            },
            key_field: text("keyField")?.to_owned(),
            composite: member(told, "composite")
                .and_then(Json::as_bool)
                .unwrap_or(false),
        })
    };
    listed.into_iter().flatten().filter_map(one).collect()
}

fn editor_fields(layer: &Map<String, Json>) -> Option<EditorFields> {
    let told = member(layer, "editFieldsInfo")?.as_object()?;
    let text = |key: &str| member(told, key).and_then(Json::as_str).map(str::to_owned);
    Some(EditorFields {
        created_at: text("creationDateField")?,
        creator: text("creatorField")?,
        edited_at: text("editDateField")?,
        editor: text("editorField")?,
    })
}

/// A table name without surprises: ASCII letters, digits and `_`, not taken by another layer.
fn table_name(name: &str, id: CollectionId, taken: &[String]) -> String {
    let mut table: String = name
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_lowercase()
            } else {
                '_'
            }
        })
        .take(60)
        .collect();
    if !table.starts_with(|c: char| c.is_ascii_alphabetic())
        || table.starts_with("sqlite")
        || table.starts_with("gpkg")
    {
        table = format!("layer_{table}");
    }
    if taken.contains(&table) || table.trim_matches('_').is_empty() {
        table = format!("{table}_{id}");
    }
    table
}

#[cfg(test)]
mod tests;
