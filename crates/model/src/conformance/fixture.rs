//! The service that the suite works on, and short ways to write and read it.

use std::collections::BTreeSet;

use uuid::Uuid;

use crate::schema::{Cardinality, GeometryKind, Relationship};
use crate::store::{Change, ChangeQuery, Flow, ReadTx, Store, WriteTx};
use crate::{
    Collection, CollectionId, CollectionKind, Field, FieldType, Filter, Generation, Geometry,
    GeometryColumn, GlobalId, Position, Query, QueryRow, Record, Result, Select, Service, Shape,
    Timestamp, Value,
};

/// Layer of points with attachments.
pub const PLACES: CollectionId = CollectionId(0);
/// Layer of polygons.
pub const AREAS: CollectionId = CollectionId(1);
/// Table whose field `place` holds the global id of a place.
pub const VISITS: CollectionId = CollectionId(2);
/// Table of 71 fields.
pub const WIDE: CollectionId = CollectionId(3);
/// A name that only quoting makes safe.
pub const HOSTILE: &str = "drop\"table '); --";

/// A nullable field.
pub fn field(name: &str, kind: FieldType) -> Field {
    Field {
        name: name.to_owned(),
        alias: name.to_owned(),
        kind,
        length: None,
        nullable: true,
        editable: true,
        domain: None,
        default: Value::Null,
    }
}

fn collection(id: CollectionId, name: &str, kind: Option<GeometryKind>) -> Collection {
    Collection {
        id,
        name: name.to_owned(),
        table: name.to_lowercase(),
        kind: if kind.is_some() {
            CollectionKind::Layer
        } else {
            CollectionKind::Table
        },
        description: String::new(),
        object_id_field: "OBJECTID".to_owned(),
        global_id_field: "GlobalID".to_owned(),
        display_field: None,
        geometry: kind.map(|kind| GeometryColumn {
            name: "geom".to_owned(),
            kind,
            srid: 4326,
            has_z: false,
            has_m: false,
        }),
        fields: Vec::new(),
        has_attachments: false,
        relationships: Vec::new(),
        editor_fields: None,
        max_record_count: 1000,
        indexes: Vec::new(),
        properties: std::collections::BTreeMap::new(),
    }
}

/// The definition of the suite's service.
pub fn service() -> Service {
    let mut places = collection(PLACES, "Places", Some(GeometryKind::Point));
    places.has_attachments = true;
    places.fields = vec![
        field("name", FieldType::String),
        field("count", FieldType::Integer),
        field("size", FieldType::Double),
        field("seen", FieldType::Date),
        field(HOSTILE, FieldType::String),
    ];
    let mut areas = collection(AREAS, "Areas", Some(GeometryKind::Polygon));
    areas.fields = vec![field("name", FieldType::String)];
    let mut visits = collection(VISITS, "Visits", None);
    visits.fields = vec![
        field("place", FieldType::Guid),
        field("note", FieldType::String),
    ];
    let relationship = |related, is_origin, key: &str| Relationship {
        id: 0,
        name: "visits".to_owned(),
        related,
        is_origin,
        cardinality: Cardinality::OneToMany,
        key_field: key.to_owned(),
        composite: false,
    };
    places.relationships = vec![relationship(VISITS, true, "GlobalID")];
    visits.relationships = vec![relationship(PLACES, false, "place")];
    let mut wide = collection(WIDE, "Wide", None);
    let kinds = [
        FieldType::SmallInteger,
        FieldType::Integer,
        FieldType::BigInteger,
        FieldType::Single,
        FieldType::Double,
        FieldType::String,
        FieldType::Date,
        FieldType::DateOnly,
        FieldType::TimeOnly,
        FieldType::TimestampOffset,
        FieldType::Guid,
        FieldType::Blob,
    ];
    wide.fields = (0..71)
        .map(|n| field(&format!("f{n}"), kinds[n % kinds.len()]))
        .collect();
    Service {
        name: "suite".to_owned(),
        title: "Suite".to_owned(),
        description: String::new(),
        copyright: String::new(),
        capabilities: vec!["Query".to_owned(), "Sync".to_owned()],
        srid: 4326,
        schema_version: 1,
        collections: vec![places, areas, visits, wide],
    }
}

/// The global id of number `n`.
pub fn id(n: u128) -> GlobalId {
    GlobalId::Uuid(Uuid::from_u128(n))
}

/// A point.
pub fn point(x: f64, y: f64) -> Geometry {
    Geometry::from_shape(&Shape::Point(Some(Position::xy(x, y))))
}

/// Place number `n`: at (n, n), with this name and count `n`, seen `n` days after 1970.
pub fn place(n: u32, name: &str) -> Record {
    Record {
        global_id: id(n.into()),
        object_id: None,
        values: vec![
            name.into(),
            i64::from(n).into(),
            (f64::from(n) / 2.0).into(),
            Value::Integer(i64::from(n) * 86_400_000),
            Value::Null,
        ],
        geometry: Some(point(n.into(), n.into())),
    }
}

/// A visit of a place.
pub fn visit(n: u32, place: u32, note: &str) -> Record {
    Record {
        global_id: id(n.into()),
        object_id: None,
        values: vec![id(place.into()).braced().into(), note.into()],
        geometry: None,
    }
}

/// Runs a transaction and commits it; returns the generation reached.
pub fn commit(store: &dyn Store, now: i64, work: impl FnOnce(&mut dyn WriteTx)) -> Generation {
    let mut tx = store.begin_write(Timestamp(now)).unwrap();
    work(&mut *tx);
    tx.commit().unwrap().generation
}

/// Puts places in one transaction.
pub fn put_places(store: &dyn Store, places: &[Record]) -> Generation {
    commit(store, 1, |tx| {
        for place in places {
            tx.put(PLACES, place, None).unwrap();
        }
    })
}

/// The name of a place, if it lives.
pub fn name_of(tx: &dyn ReadTx, n: u32) -> Option<Value> {
    let found = tx.record(PLACES, &id(n.into())).unwrap()?;
    Some(found.record.values[0].clone())
}

/// All rows of an answer.
pub fn rows(tx: &dyn ReadTx, query: &Query) -> Result<Vec<QueryRow>> {
    let mut rows = Vec::new();
    tx.query(query, &mut |row| {
        rows.push(row);
        Ok(Flow::Continue(()))
    })?;
    Ok(rows)
}

/// Ids of the places that match, as numbers.
pub fn matching(store: &dyn Store, filter: Filter) -> Vec<u128> {
    let tx = store.begin_read().unwrap();
    let query = Query {
        select: Select::Ids,
        ..Query::records(PLACES, filter)
    };
    let ids = rows(&*tx, &query)
        .unwrap()
        .into_iter()
        .map(|row| match row {
            QueryRow::Ids(_, id) => number(&id),
            other => panic!("not ids: {other:?}"),
        });
    ids.collect()
}

/// The number of a global id.
pub fn number(id: &GlobalId) -> u128 {
    match id {
        GlobalId::Uuid(uuid) => uuid.as_u128(),
        GlobalId::Text(text) => panic!("not a UUID: {text}"),
    }
}

/// Changes of places since a generation.
pub fn changes(
    tx: &dyn ReadTx,
    since: Generation,
    filter: &Filter,
    filter_then: &Filter,
) -> Result<Vec<Change>> {
    let query = ChangeQuery {
        collection: PLACES,
        since,
        upto: tx.head()?.generation,
        filter,
        filter_then,
    };
    let mut found = Vec::new();
    tx.changes(&query, &mut |change| {
        found.push(change);
        Ok(Flow::Continue(()))
    })?;
    Ok(found)
}

/// What a change says of one record: number, lives, matches, matched.
pub fn seen(changes: &[Change]) -> Vec<(u128, bool, bool, bool)> {
    let one = |c: &Change| {
        (
            number(&c.global_id),
            c.record.is_some(),
            c.matches,
            c.matched,
        )
    };
    changes.iter().map(one).collect()
}

/// Numbers as a set.
pub fn set(numbers: &[u128]) -> BTreeSet<u128> {
    numbers.iter().copied().collect()
}
