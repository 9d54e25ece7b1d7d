//! The service that is simulated: two layers, a table whose records belong to trees, pictures of trees.
//!
//! Texts written by simulated people are tokens, each used once in a case, so that the oracle can tell where every
//! single edit went. `size` is a small number that filters look at and that the domain limits.

use haversack_model::filter::{Comparison, Expr, SpatialRelation};
use haversack_model::schema::{Cardinality, GeometryColumn, GeometryKind, Relationship};
use haversack_model::{
    Collection, CollectionId, CollectionKind, Domain, Envelope, Field, FieldType, Filter, Geometry,
    GlobalId, Position, Record, Service, Shape, Value,
};

pub type Key = (CollectionId, GlobalId);

pub const TREES: CollectionId = CollectionId(0);
pub const PLOTS: CollectionId = CollectionId(1);
pub const VISITS: CollectionId = CollectionId(2);
/// Positions of the fields that hold tokens.
pub const TOKENS: [usize; 2] = [0, 1];
pub const SIZE: usize = 2;
/// Position of the tree's id in a visit.
pub const TREE: usize = 3;
/// Sizes that the domain allows are below this.
pub const SIZES: usize = 6;

pub fn pictures() -> CollectionId {
    TREES.attachments()
}

/// All collections, hidden ones included.
pub fn all() -> [CollectionId; 4] {
    [TREES, PLOTS, VISITS, pictures()]
}

pub fn text_field(name: &str) -> Field {
    Field {
        name: name.to_owned(),
        alias: name.to_owned(),
        kind: FieldType::String,
        length: Some(80),
        nullable: true,
        editable: true,
        domain: None,
        default: Value::Null,
    }
}

fn collection(id: CollectionId, name: &str) -> Collection {
    let size = Field {
        kind: FieldType::Integer,
        length: None,
        domain: Some(Domain::Range {
            name: "sizes".to_owned(),
            min: 0.0,
            max: SIZES as f64 - 1.0,
        }),
        ..text_field("size")
    };
    Collection {
        id,
        name: name.to_owned(),
        table: name.to_owned(),
        kind: CollectionKind::Layer,
        description: String::new(),
        object_id_field: "OBJECTID".to_owned(),
        global_id_field: "GlobalID".to_owned(),
        display_field: None,
        geometry: Some(GeometryColumn {
            name: "geom".to_owned(),
            kind: GeometryKind::Point,
            srid: 3857,
            has_z: false,
            has_m: false,
        }),
        fields: vec![text_field("name"), text_field("note"), size],
        has_attachments: id == TREES,
        relationships: Vec::new(),
        editor_fields: None,
        max_record_count: 1000,
        indexes: Vec::new(),
        properties: std::collections::BTreeMap::new(),
    }
}

/// The service; visits go with their trees where `composite`.
pub fn service(composite: bool) -> Service {
    let end = |related, is_origin, key_field: &str| Relationship {
        id: 0,
        name: "visits".to_owned(),
        related,
        is_origin,
        cardinality: Cardinality::OneToMany,
        key_field: key_field.to_owned(),
        composite,
    };
    let mut trees = collection(TREES, "trees");
    trees.relationships.push(end(VISITS, true, "GlobalID"));
    let mut visits = collection(VISITS, "visits");
    visits.kind = CollectionKind::Table;
    visits.geometry = None;
    visits.fields.push(Field {
        kind: FieldType::Guid,
        length: None,
        ..text_field("tree")
    });
    visits.relationships.push(end(TREES, false, "tree"));
    Service {
        name: "simulated".to_owned(),
        title: String::new(),
        description: String::new(),
        copyright: String::new(),
        capabilities: vec!["Query".to_owned(), "Sync".to_owned()],
        srid: 3857,
        schema_version: 1,
        collections: vec![trees, collection(PLOTS, "plots"), visits],
    }
}

pub fn token(number: u64) -> Value {
    Value::Text(format!("e{number}"))
}

/// The number of a token.
pub fn token_of(value: &Value) -> Option<u64> {
    value.as_text()?.strip_prefix('e')?.parse().ok()
}

/// All tokens of a record with the positions of their fields.
pub fn tokens(record: &Record) -> impl Iterator<Item = (usize, u64)> {
    let fields = record.values.iter().enumerate();
    fields.filter_map(|(at, value)| Some((at, token_of(value)?)))
}

pub fn point(x: usize) -> Geometry {
    Geometry::from_shape(&Shape::Point(Some(Position::xy(x as f64, 0.0))))
}

/// Records up to a size.
pub fn size_up_to(limit: usize) -> Filter {
    Filter::Compare {
        left: Expr::Field("size".to_owned()),
        op: Comparison::LessOrEqual,
        right: Expr::Literal(Value::Integer(limit as i64)),
    }
}

/// Records west of a line.
pub fn west_of(x: usize) -> Filter {
    let area = Envelope {
        min_x: -1.0,
        min_y: -1.0,
        max_x: x as f64 + 0.5,
        max_y: 1.0,
    };
    Filter::Spatial {
        relation: SpatialRelation::Intersects,
        geometry: area.to_polygon(),
    }
}

/// Visits of the trees that match.
pub fn of_trees(filter: Filter) -> Filter {
    Filter::ParentMatches {
        field: "tree".to_owned(),
        parent: TREES,
        filter: Box::new(filter),
    }
}

/// A short name for traces.
pub fn short(key: &Key) -> String {
    let id = key.1.to_string();
    let digits = id.get(1..5).unwrap_or(&id);
    match key.0.attachments_of() {
        Some(layer) => format!("{layer}a:{digits}"),
        None => format!("{}:{digits}", key.0),
    }
}
