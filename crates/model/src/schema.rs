//! What a service holds: its collections, their fields, domains and relationships.

use serde::{Deserialize, Serialize};

use crate::documents::{Index, Properties};
use crate::id::InvalidId;
use crate::{CollectionId, GlobalId, Value};

/// A named set of collections: the unit of commit order, access, placement and file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Service {
    /// Name in URLs: letters, digits, `_` and `-`.
    pub name: String,
    /// Title for people.
    pub title: String,
    /// Free text.
    pub description: String,
    /// Credit line.
    pub copyright: String,
    /// Capability words, such as `Query` and `Sync`, as advertised.
    pub capabilities: Vec<String>,
    /// EPSG code of the service; layers may differ.
    pub srid: i32,
    /// Grows with every change of any collection's shape.
    pub schema_version: u32,
    /// In ascending order of id. Hidden attachment collections are not listed here.
    pub collections: Vec<Collection>,
}

impl Service {
    /// The collection with this id; attachment collections are found too, through [`Collection::attachments`].
    pub fn collection(&self, id: CollectionId) -> Option<&Collection> {
        self.collections.iter().find(|c| c.id == id)
    }
    /// Whether a capability word is among the advertised ones, ignoring case.
    pub fn has_capability(&self, word: &str) -> bool {
        self.capabilities
            .iter()
            .any(|c| c.eq_ignore_ascii_case(word))
    }
}

/// Records of one shape.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Collection {
    /// Number within the service.
    pub id: CollectionId,
    /// Name for people; any text.
    pub name: String,
    /// Name of its table in the store's file; an SQL identifier without surprises.
    pub table: String,
    /// Layer, table, hidden attachments or documents.
    pub kind: CollectionKind,
    /// Free text.
    pub description: String,
    /// Name of the integer key column (`OBJECTID`).
    pub object_id_field: String,
    /// Name of the global id column (`GlobalID`).
    pub global_id_field: String,
    /// Field to show for a record.
    pub display_field: Option<String>,
    /// The geometry column, for layers.
    pub geometry: Option<GeometryColumn>,
    /// Attribute fields, without the object id, the global id and the geometry.
    pub fields: Vec<Field>,
    /// Whether records may carry attachments.
    pub has_attachments: bool,
    /// Relationships that start or end here.
    pub relationships: Vec<Relationship>,
    /// Editor tracking columns, if any.
    pub editor_fields: Option<EditorFields>,
    /// Largest page of a query.
    pub max_record_count: u32,
    /// Indexes of a document collection. A store enforces those that are unique.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub indexes: Vec<Index>,
    /// What a face keeps with a document collection, and a remote with the collections of a copy; nobody else reads it, but for
    /// [`Self::IDS`].
    #[serde(default, skip_serializing_if = "Properties::is_empty")]
    pub properties: Properties,
}

impl Collection {
    /// Name of the property that says what the global ids of a layer or table look like.
    pub const IDS: &'static str = "ids";
    /// Value of [`Self::IDS`] where they are uids: a letter and ten letters or digits. Everywhere else features have UUIDs.
    pub const UIDS: &'static str = "uid";

    /// Whether the records of this layer or table are named by texts, new ones by uids.
    pub fn has_uids(&self) -> bool {
        let ids = self.properties.get(Self::IDS);
        ids.and_then(serde_json::Value::as_str) == Some(Self::UIDS)
    }
    /// The global id that a text names in this collection.
    ///
    /// # Errors
    /// [`InvalidId`] if it is none.
    pub fn parse_id(&self, text: &str) -> Result<GlobalId, InvalidId> {
        if self.has_uids() {
            return Ok(GlobalId::Text(text.into()));
        }
        GlobalId::parse_uuid(text)
    }

    /// Position of a field in [`Record::values`](crate::Record::values), by name, ignoring ASCII case.
    pub fn field_index(&self, name: &str) -> Option<usize> {
        self.fields
            .iter()
            .position(|f| f.name.eq_ignore_ascii_case(name))
    }

    /// The hidden collection of this layer's attachments: `parent`, `name`, `content_type`, `size`, `sha256`,
    /// `keywords`, in that order.
    pub fn attachments(&self) -> Self {
        let field = |name: &str, kind| Field {
            name: name.to_owned(),
            alias: name.to_owned(),
            kind,
            length: None,
            nullable: true,
            editable: true,
            domain: None,
            default: Value::Null,
        };
        Self {
            id: self.id.attachments(),
            name: format!("{} attachments", self.name),
            table: format!("{}__attach", self.table),
            kind: CollectionKind::Attachments { parent: self.id },
            description: String::new(),
            object_id_field: "ATTACHMENTID".to_owned(),
            global_id_field: "GlobalID".to_owned(),
            display_field: None,
            geometry: None,
            fields: vec![
                field("parent", FieldType::Guid),
                field("name", FieldType::String),
                field("content_type", FieldType::String),
                field("size", FieldType::BigInteger),
                field("sha256", FieldType::String),
                field("keywords", FieldType::String),
            ],
            has_attachments: false,
            relationships: Vec::new(),
            editor_fields: None,
            max_record_count: self.max_record_count,
            indexes: Vec::new(),
            properties: Properties::new(),
        }
    }
}

/// Positions of the fields of an attachment collection.
pub mod attachment_field {
    /// `parent`: braced global id of the record that it belongs to.
    pub const PARENT: usize = 0;
    /// `name`: file name.
    pub const NAME: usize = 1;
    /// `content_type`: media type.
    pub const CONTENT_TYPE: usize = 2;
    /// `size`: bytes.
    pub const SIZE: usize = 3;
    /// `sha256`: lower-case hex of the content's hash, under which the blob is kept.
    pub const SHA256: usize = 4;
    /// `keywords`: free text.
    pub const KEYWORDS: usize = 5;
}

/// What sort of collection it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CollectionKind {
    /// Records with geometry.
    Layer,
    /// Records without geometry.
    Table,
    /// Hidden child collection of a layer or table.
    Attachments {
        /// The collection whose records own the attachments.
        parent: CollectionId,
    },
    /// Documents without a schema: a key, a revision and a JSON text.
    Documents {
        /// Whether they are edges, which name two other documents.
        edges: bool,
    },
}

/// The geometry column of a layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GeometryColumn {
    /// Column name in the file.
    pub name: String,
    /// Which shapes it holds.
    pub kind: GeometryKind,
    /// EPSG code of the stored coordinates.
    pub srid: i32,
    /// Whether coordinates carry z.
    pub has_z: bool,
    /// Whether coordinates carry m.
    pub has_m: bool,
}

/// The shapes of a layer: single and multi forms share one kind, as in feature services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GeometryKind {
    /// One point.
    Point,
    /// Several points.
    Multipoint,
    /// Line strings, single or multi.
    Polyline,
    /// Polygons, single or multi.
    Polygon,
}

/// One attribute field.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Field {
    /// Column name.
    pub name: String,
    /// Name for people.
    pub alias: String,
    /// Type of its values.
    pub kind: FieldType,
    /// Longest text in characters, if limited.
    pub length: Option<u32>,
    /// Whether null is allowed.
    pub nullable: bool,
    /// Whether clients may set it.
    pub editable: bool,
    /// Allowed values.
    pub domain: Option<Domain>,
    /// Value of a record that does not name the field.
    pub default: Value,
}

/// Type of an attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FieldType {
    /// 16-bit integer.
    SmallInteger,
    /// 32-bit integer.
    Integer,
    /// 64-bit integer.
    BigInteger,
    /// 32-bit float.
    Single,
    /// 64-bit float.
    Double,
    /// Text.
    String,
    /// Milliseconds since 1970 UTC in [`Value::Integer`]; ISO 8601 text in the file.
    Date,
    /// `YYYY-MM-DD` text.
    DateOnly,
    /// `HH:MM:SS` text.
    TimeOnly,
    /// ISO 8601 with offset, text.
    TimestampOffset,
    /// Braced upper-case UUID text.
    Guid,
    /// Bytes.
    Blob,
}

/// Allowed values of a field.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Domain {
    /// A list of codes with names.
    Coded {
        /// Name of the domain.
        name: String,
        /// Code and name for people.
        values: Vec<(Value, String)>,
    },
    /// An inclusive range.
    Range {
        /// Name of the domain.
        name: String,
        /// Lowest allowed value.
        min: f64,
        /// Highest allowed value.
        max: f64,
    },
}

/// A relationship, told from one of its ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relationship {
    /// Number within the service; both ends share it.
    pub id: u32,
    /// Name for people.
    pub name: String,
    /// The collection at the other end.
    pub related: CollectionId,
    /// Whether this end is the origin (holds the key that the other end points at).
    pub is_origin: bool,
    /// How many records of the other end belong to one here.
    pub cardinality: Cardinality,
    /// Field at this end: the global id field at the origin, a GUID field at the destination.
    pub key_field: String,
    /// Whether deleting the origin record deletes its related records.
    pub composite: bool,
}

/// How many records relate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cardinality {
    /// One to one.
    OneToOne,
    /// One to many.
    OneToMany,
}

/// Names of the columns that the server stamps on edits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EditorFields {
    /// Creation time.
    pub created_at: String,
    /// Creator's user name.
    pub creator: String,
    /// Time of the last edit.
    pub edited_at: String,
    /// Last editor's user name.
    pub editor: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collection_says_what_its_ids_look_like() {
        let mut collection = Collection::documents(CollectionId(1), "People", "people", false);
        let uuid = "9f1c33b2-0000-4000-8000-0123456789ab";
        assert!(collection.parse_id("hvTe0000001").is_err());
        let key = (Collection::IDS.to_owned(), Collection::UIDS.into());
        collection.properties.extend([key]);
        assert_eq!(
            collection.parse_id(uuid).unwrap(),
            GlobalId::Text(uuid.into())
        );
    }
}
