//! The tables that every copy has: relationships, notes, what the program keeps of itself, and metadata.

use haversack_model::schema::{EditorFields, GeometryKind};
use haversack_model::{Collection, CollectionId, CollectionKind, FieldType, GeometryColumn};
use serde_json::{Value, json};

use super::columns::{field, text};
use super::property;

/// Relationships between tracker objects.
pub const RELATIONSHIPS: CollectionId = CollectionId(1);
/// Remarks on enrollments and events.
pub const NOTES: CollectionId = CollectionId(2);
/// What is known of the server and of the user of the copy: `name`, `value`.
pub const INSTANCE: CollectionId = CollectionId(3);
/// Up to when which part was downloaded.
pub const MARKS: CollectionId = CollectionId(4);
/// References of metadata to objects that did not come.
pub const VIOLATIONS: CollectionId = CollectionId(5);
/// Why the server refused what was sent, or accepted it with a warning.
pub const IMPORT_CONFLICTS: CollectionId = CollectionId(6);
/// Values that the server reserved for this copy.
pub const RESERVED_VALUES: CollectionId = CollectionId(7);

/// Aggregate data: a row for each value.
pub const DATA_VALUES: CollectionId = CollectionId(8);
/// Which data sets are complete for which period and unit.
pub const COMPLETIONS: CollectionId = CollectionId(9);

/// Pictures and documents that values name.
pub const FILES: CollectionId = CollectionId(10);

/// Metadata tables have the numbers from this one on, in the order of [`METADATA`].
const FIRST_METADATA: u32 = 20;
/// Layers of tracker objects have the numbers from this one on.
pub(super) const FIRST_LAYER: u32 = 100;

/// EPSG code of all coordinates of the dialect.
const DEGREES: i32 = 4326;

/// A type of metadata and the columns of its table. Each has `name`, `code` and `object`, the JSON text of all that came.
#[derive(Clone, Copy, Debug)]
pub struct MetadataTable {
    /// The collection of the web API.
    pub of: &'static str,
    /// Further columns, and where in the object their texts are.
    pub columns: &'static [(&'static str, &'static str)],
    /// Members that refer to objects of other types: where, and which type.
    pub references: &'static [(&'static str, &'static str)],
}

const fn plain(of: &'static str) -> MetadataTable {
    MetadataTable {
        of,
        columns: &[],
        references: &[],
    }
}

/// All types that are downloaded.
pub const METADATA: &[MetadataTable] = &[
    plain("constants"),
    plain("organisationUnitLevels"),
    MetadataTable {
        of: "organisationUnits",
        columns: &[
            ("path", "/path"),
            ("level", "/level"),
            ("parent", "/parent/id"),
            ("opening_date", "/openingDate"),
            ("closed_date", "/closedDate"),
            // Of the user, not of the unit: `capture` or `search`.
            ("scope", "/haversackScope"),
        ],
        // The units above the user's roots do not come.
        references: &[],
    },
    MetadataTable {
        of: "programs",
        columns: &[
            ("program_type", "/programType"),
            ("access_level", "/accessLevel"),
            ("tracked_entity_type", "/trackedEntityType/id"),
        ],
        references: &[
            ("/trackedEntityType", "trackedEntityTypes"),
            ("/categoryCombo", "categoryCombos"),
            (
                "/programTrackedEntityAttributes/*/trackedEntityAttribute",
                "trackedEntityAttributes",
            ),
        ],
    },
    MetadataTable {
        of: "programStages",
        columns: &[("program", "/program/id"), ("sort_order", "/sortOrder")],
        references: &[
            ("/program", "programs"),
            ("/programStageDataElements/*/dataElement", "dataElements"),
        ],
    },
    MetadataTable {
        of: "trackedEntityTypes",
        columns: &[],
        references: &[(
            "/trackedEntityTypeAttributes/*/trackedEntityAttribute",
            "trackedEntityAttributes",
        )],
    },
    MetadataTable {
        of: "trackedEntityAttributes",
        columns: &[
            ("value_type", "/valueType"),
            ("pattern", "/pattern"),
            ("generated", "/generated"),
            ("option_set", "/optionSet/id"),
        ],
        references: &[("/optionSet", "optionSets")],
    },
    MetadataTable {
        of: "programRules",
        columns: &[("program", "/program/id")],
        references: &[("/program", "programs")],
    },
    MetadataTable {
        of: "relationshipTypes",
        columns: &[],
        references: &[
            ("/fromConstraint/trackedEntityType", "trackedEntityTypes"),
            ("/toConstraint/trackedEntityType", "trackedEntityTypes"),
        ],
    },
    plain("optionSets"),
    MetadataTable {
        of: "options",
        columns: &[
            ("option_set", "/optionSet/id"),
            ("sort_order", "/sortOrder"),
        ],
        references: &[("/optionSet", "optionSets")],
    },
    plain("optionGroups"),
    plain("trackedEntityInstanceFilters"),
    plain("eventFilters"),
    plain("programStageWorkingLists"),
    MetadataTable {
        of: "dataSets",
        columns: &[("period_type", "/periodType")],
        references: &[
            ("/dataSetElements/*/dataElement", "dataElements"),
            ("/categoryCombo", "categoryCombos"),
        ],
    },
    MetadataTable {
        of: "dataElements",
        columns: &[
            ("value_type", "/valueType"),
            ("option_set", "/optionSet/id"),
        ],
        references: &[
            ("/optionSet", "optionSets"),
            ("/categoryCombo", "categoryCombos"),
        ],
    },
    plain("validationRules"),
    MetadataTable {
        of: "categoryCombos",
        columns: &[],
        references: &[("/categories/*", "categories")],
    },
    MetadataTable {
        of: "categories",
        columns: &[],
        references: &[("/categoryOptions/*", "categoryOptions")],
    },
    plain("categoryOptions"),
    plain("programIndicators"),
    plain("indicators"),
    plain("indicatorTypes"),
    plain("legendSets"),
    plain("attributes"),
    // Tables are numbered by their place here, so new types come last.
    MetadataTable {
        of: "categoryOptionCombos",
        columns: &[("category_combo", "/categoryCombo/id")],
        references: &[
            ("/categoryCombo", "categoryCombos"),
            ("/categoryOptions/*", "categoryOptions"),
        ],
    },
    plain("visualizations"),
    plain("eventVisualizations"),
    plain("expressionDimensionItems"),
    plain("icons"),
];

/// The number of a metadata type's table.
pub fn metadata_table(of: &str) -> Option<CollectionId> {
    let at = METADATA.iter().position(|table| table.of == of)?;
    Some(CollectionId(FIRST_METADATA + u32::try_from(at).ok()?))
}

/// The tables that every copy has.
pub fn fixed() -> Vec<Collection> {
    let mut all = vec![
        table(
            RELATIONSHIPS,
            "Relationships",
            "relationships",
            &[
                "relationship_type",
                "from_kind",
                "from_uid",
                "to_kind",
                "to_uid",
                "created_at",
                "updated_at",
            ],
        ),
        table(
            NOTES,
            "Notes",
            "notes",
            &["parent_kind", "parent", "value", "stored_at", "stored_by"],
        ),
        table(INSTANCE, "DHIS2 instance", "kept", &["value"]),
        table(
            MARKS,
            "DHIS2 marks",
            "kept",
            &[
                "program",
                "org_units",
                "selection",
                "most",
                "server_date",
                "downloaded_at",
            ],
        ),
        table(
            VIOLATIONS,
            "DHIS2 missing references",
            "kept",
            &["from_type", "from_uid", "member", "to_type", "to_uid"],
        ),
        table(
            IMPORT_CONFLICTS,
            "DHIS2 import conflicts",
            "kept",
            &[
                "kind",
                "object",
                "code",
                "field",
                "value",
                "status",
                "message",
                "hint",
                "created_at",
            ],
        ),
        table(
            RESERVED_VALUES,
            "DHIS2 reserved values",
            "kept",
            &[
                "attribute",
                "org_unit",
                "pattern",
                "key",
                "value",
                "created_at",
                "expires_at",
                "valid_until",
            ],
        ),
    ];
    all.push(data_values());
    all.push(completions());
    all.push(files());
    for metadata in METADATA {
        all.extend(metadata_table(metadata.of).map(|id| of_metadata(id, metadata)));
    }
    all
}

fn data_values() -> Collection {
    let mut made = table(
        DATA_VALUES,
        "Data values",
        "dataValues",
        &[
            "data_element",
            "period",
            "org_unit",
            "category_option_combo",
            "attribute_option_combo",
            "value",
            "comment",
            "data_set",
            "stored_by",
            "created_at",
            "updated_at",
        ],
    );
    made.fields.push(flag("follow_up"));
    made.editor_fields = Some(stamps());
    made
}

fn completions() -> Collection {
    let mut made = table(
        COMPLETIONS,
        "Data set completions",
        "completions",
        &[
            "data_set",
            "period",
            "org_unit",
            "attribute_option_combo",
            "date",
            "stored_by",
            "updated_at",
        ],
    );
    made.editor_fields = Some(stamps());
    made
}

fn files() -> Collection {
    let mut made = table(FILES, "Files", "files", &["name", "content_type"]);
    made.fields
        .push(field("content", "content", FieldType::Blob));
    made
}

/// Columns that the server stamps; they are no change of content.
fn stamps() -> EditorFields {
    EditorFields {
        created_at: "created_at".to_owned(),
        creator: "created_by".to_owned(),
        edited_at: "updated_at".to_owned(),
        editor: "stored_by".to_owned(),
    }
}

fn of_metadata(id: CollectionId, of: &MetadataTable) -> Collection {
    let mut columns = vec!["name", "code"];
    columns.extend(of.columns.iter().map(|(name, _)| *name));
    columns.push("object");
    let mut made = table(id, &format!("DHIS2 {}", words(of.of)), "metadata", &columns);
    made.properties
        .insert(property::OF.to_owned(), json!(of.of));
    if of.of == "organisationUnits" {
        made.kind = CollectionKind::Layer;
        made.geometry = Some(geometry(GeometryKind::Polygon));
    }
    made
}

/// `trackedEntityTypes` as `tracked entity types`.
fn words(name: &str) -> String {
    let mut text = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            text.push(' ');
        }
        text.push(c.to_ascii_lowercase());
    }
    text
}

fn table(id: CollectionId, name: &str, role: &str, columns: &[&str]) -> Collection {
    let mut made = collection(id, name, role);
    made.fields = columns.iter().map(|column| text(column)).collect();
    made
}

/// A collection without fields.
pub(super) fn collection(id: CollectionId, name: &str, role: &str) -> Collection {
    let properties = [
        (Collection::IDS.to_owned(), json!(Collection::UIDS)),
        (property::ROLE.to_owned(), Value::from(role)),
    ];
    Collection {
        id,
        name: name.to_owned(),
        table: super::columns::slug(name),
        kind: CollectionKind::Table,
        description: String::new(),
        object_id_field: "fid".to_owned(),
        global_id_field: "uid".to_owned(),
        display_field: None,
        geometry: None,
        fields: Vec::new(),
        has_attachments: false,
        relationships: Vec::new(),
        editor_fields: None,
        max_record_count: 1000,
        indexes: Vec::new(),
        properties: properties.into_iter().collect(),
    }
}

/// The geometry column of all layers.
pub(super) fn geometry(kind: GeometryKind) -> GeometryColumn {
    GeometryColumn {
        name: "geom".to_owned(),
        kind,
        srid: DEGREES,
        has_z: false,
        has_m: false,
    }
}

/// A column that holds 0 or 1.
pub(super) fn flag(name: &str) -> haversack_model::Field {
    field(name, name, FieldType::SmallInteger)
}
