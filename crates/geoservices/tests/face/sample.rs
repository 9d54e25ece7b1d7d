//! The service of these tests: trees with attachments, beds, and inspections of trees.

use haversack_model::schema::{Cardinality, Domain, EditorFields, GeometryKind, Relationship};
use haversack_model::{
    Collection, CollectionId, CollectionKind, Field, FieldType, Geometry, GeometryColumn, GlobalId,
    Position, Record, Service, Shape, Store, Timestamp, Value,
};
use uuid::Uuid;

pub(crate) const TREES: CollectionId = CollectionId(0);
pub(crate) const BEDS: CollectionId = CollectionId(1);
pub(crate) const INSPECTIONS: CollectionId = CollectionId(2);

fn field(name: &str, kind: FieldType) -> Field {
    Field {
        name: name.to_owned(),
        alias: name.to_owned(),
        kind,
        length: (kind == FieldType::String).then_some(50),
        nullable: true,
        editable: true,
        domain: None,
        default: Value::Null,
    }
}

fn collection(id: CollectionId, name: &str, geometry: Option<GeometryKind>) -> Collection {
    Collection {
        id,
        name: name.to_owned(),
        table: name.to_lowercase(),
        kind: if geometry.is_some() {
            CollectionKind::Layer
        } else {
            CollectionKind::Table
        },
        description: String::new(),
        object_id_field: "OBJECTID".to_owned(),
        global_id_field: "GlobalID".to_owned(),
        display_field: Some("name".to_owned()),
        geometry: geometry.map(|kind| GeometryColumn {
            name: "SHAPE".to_owned(),
            kind,
            srid: 3857,
            has_z: false,
            has_m: false,
        }),
        fields: vec![Field {
            nullable: false,
            default: "".into(),
            ..field("name", FieldType::String)
        }],
        has_attachments: false,
        relationships: Vec::new(),
        editor_fields: None,
        max_record_count: 100,
        indexes: Vec::new(),
        properties: std::collections::BTreeMap::new(),
    }
}

fn relationship(related: CollectionId, is_origin: bool, key: &str) -> Relationship {
    Relationship {
        id: 0,
        name: "tree_inspections".to_owned(),
        related,
        is_origin,
        cardinality: Cardinality::OneToMany,
        key_field: key.to_owned(),
        composite: false,
    }
}

pub(crate) fn service() -> Service {
    let mut trees = collection(TREES, "Trees", Some(GeometryKind::Point));
    trees.fields.extend([
        field("height", FieldType::Double),
        Field {
            domain: Some(Domain::Coded {
                name: "kinds".to_owned(),
                values: vec![
                    (Value::Integer(1), "oak".to_owned()),
                    (Value::Integer(2), "ash".to_owned()),
                    (Value::Integer(3), "elm".to_owned()),
                ],
            }),
            ..field("kind", FieldType::Integer)
        },
        field("planted", FieldType::Date),
        field("created_at", FieldType::Date),
        field("creator", FieldType::String),
        field("edited_at", FieldType::Date),
        field("editor", FieldType::String),
    ]);
    trees.has_attachments = true;
    trees.editor_fields = Some(EditorFields {
        created_at: "created_at".to_owned(),
        creator: "creator".to_owned(),
        edited_at: "edited_at".to_owned(),
        editor: "editor".to_owned(),
    });
    trees.relationships = vec![relationship(INSPECTIONS, true, "GlobalID")];
    let beds = collection(BEDS, "Beds", Some(GeometryKind::Polygon));
    let mut inspections = collection(INSPECTIONS, "Inspections", None);
    inspections.fields.push(field("tree", FieldType::Guid));
    inspections.relationships = vec![relationship(TREES, false, "tree")];
    Service {
        name: "Trees".to_owned(),
        title: "Trees of the town".to_owned(),
        description: "For tests.".to_owned(),
        copyright: String::new(),
        capabilities: [
            "Create",
            "Delete",
            "Query",
            "Sync",
            "Update",
            "Uploads",
            "Editing",
            "ChangeTracking",
            "Extract",
        ]
        .map(str::to_owned)
        .to_vec(),
        srid: 3857,
        schema_version: 1,
        collections: vec![trees, beds, inspections],
    }
}

/// Global id number `n`.
pub(crate) fn gid(n: u128) -> GlobalId {
    GlobalId::Uuid(Uuid::from_u128(n))
}

/// The same as text on the wire.
pub(crate) fn gid_text(n: u128) -> String {
    gid(n).braced()
}

/// Ten trees in a row along x = 100, 200, .. 1000 at y = 50: odd ones are oaks, even ones ashes, tree 10 has no height;
/// one bed around trees 1 to 3; inspections 101 and 102 of tree 1, and 103 of tree 9.
pub(crate) fn fill(store: &dyn Store) {
    let mut tx = store.begin_write(Timestamp(1_700_000_000_000)).unwrap();
    for n in 1..=10_u8 {
        let height = if n == 10 {
            Value::Null
        } else {
            Value::Real(f64::from(n))
        };
        let place = Position::xy(100.0 * f64::from(n), 50.0);
        let mut values = vec![
            Value::Text(format!("tree {n}")),
            height,
            Value::Integer(if n % 2 == 1 { 1 } else { 2 }),
            Value::Integer(86_400_000 * i64::from(n)),
        ];
        values.extend([Value::Null, Value::Null, Value::Null, Value::Null]);
        let tree = Record {
            global_id: gid(n.into()),
            object_id: None,
            values,
            geometry: Some(Geometry::from_shape(&Shape::Point(Some(place)))),
        };
        tx.put(TREES, &tree, None).unwrap();
    }
    let corners = [
        (50.0, 0.0),
        (350.0, 0.0),
        (350.0, 100.0),
        (50.0, 100.0),
        (50.0, 0.0),
    ];
    let ring = corners.iter().map(|&(x, y)| Position::xy(x, y)).collect();
    let bed = Record {
        global_id: gid(50),
        object_id: None,
        values: vec!["north".into()],
        geometry: Some(Geometry::from_shape(&Shape::MultiPolygon(vec![vec![ring]]))),
    };
    tx.put(BEDS, &bed, None).unwrap();
    for (n, tree) in [(101, 1), (102, 1), (103, 9)] {
        let inspection = Record {
            global_id: gid(n),
            object_id: None,
            values: vec![
                Value::Text(format!("inspection {n}")),
                Value::Text(gid_text(tree)),
            ],
            geometry: None,
        };
        tx.put(INSPECTIONS, &inspection, None).unwrap();
    }
    tx.commit().unwrap();
}
