//! The first things that anybody does with a service file.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::ops::ControlFlow;

use haversack_model::schema::GeometryKind;
use haversack_model::store::{ChangeQuery, Store};
use haversack_model::{
    Collection, CollectionId, CollectionKind, Field, FieldType, Filter, Generation, Geometry,
    GeometryColumn, GlobalId, Position, Query, QueryRow, Record, Service, Shape, Timestamp, Value,
};
use haversack_sqlite::SqliteStore;
use uuid::Uuid;

fn service() -> Service {
    let field = |name: &str, kind| Field {
        name: name.into(),
        alias: name.into(),
        kind,
        length: None,
        nullable: true,
        editable: true,
        domain: None,
        default: Value::Null,
    };
    Service {
        name: "parks".into(),
        title: "Parks".into(),
        description: String::new(),
        copyright: String::new(),
        capabilities: vec!["Query".into(), "Sync".into()],
        srid: 4326,
        schema_version: 1,
        collections: vec![Collection {
            id: CollectionId(0),
            name: "Trees".into(),
            table: "trees".into(),
            kind: CollectionKind::Layer,
            description: String::new(),
            object_id_field: "OBJECTID".into(),
            global_id_field: "GlobalID".into(),
            display_field: None,
            geometry: Some(GeometryColumn {
                name: "geom".into(),
                kind: GeometryKind::Point,
                srid: 4326,
                has_z: false,
                has_m: false,
            }),
            fields: vec![
                field("name", FieldType::String),
                field("planted", FieldType::Date),
            ],
            has_attachments: true,
            relationships: vec![],
            editor_fields: None,
            max_record_count: 1000,
        }],
    }
}

fn tree(n: u128, name: &str) -> Record {
    Record {
        global_id: GlobalId::Uuid(Uuid::from_u128(n)),
        object_id: None,
        values: vec![name.into(), Value::Integer(1_000 * n as i64)],
        geometry: Some(Geometry::from_shape(&Shape::Point(Some(Position::xy(
            n as f64, 1.0,
        ))))),
    }
}

#[test]
fn what_was_put_is_there_after_opening_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("parks.gpkg");
    let layer = CollectionId(0);
    let store = SqliteStore::create(&path, &service()).unwrap();
    let mut tx = store.begin_write(Timestamp(1_000_000)).unwrap();
    tx.put(layer, &tree(1, "oak"), None).unwrap();
    tx.put(layer, &tree(2, "ash"), None).unwrap();
    assert_eq!(tx.commit().unwrap().generation, Generation(2));
    drop(store);

    let store = SqliteStore::open(&path).unwrap();
    let tx = store.begin_read().unwrap();
    let oak = tx.record(layer, &tree(1, "").global_id).unwrap().unwrap();
    assert!(oak.record.same_content(&tree(1, "oak")));
    let mut names = Vec::new();
    tx.query(&Query::records(layer, Filter::All), &mut |row| {
        if let QueryRow::Record(found) = row {
            names.push(found.record.values[0].clone());
        }
        Ok(ControlFlow::Continue(()))
    })
    .unwrap();
    assert_eq!(names, ["oak".into(), "ash".into()]);
}

#[test]
fn changes_tell_what_is_new_and_what_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let layer = CollectionId(0);
    let store = SqliteStore::create(dir.path().join("p.gpkg"), &service()).unwrap();
    let mut tx = store.begin_write(Timestamp(1)).unwrap();
    for n in 1..=3 {
        tx.put(layer, &tree(n, "t"), None).unwrap();
    }
    let since = tx.commit().unwrap().generation;
    let mut tx = store.begin_write(Timestamp(2)).unwrap();
    assert!(tx.delete(layer, &tree(2, "").global_id, None).unwrap());
    tx.put(layer, &tree(3, "new"), None).unwrap();
    tx.commit().unwrap();
    let tx = store.begin_read().unwrap();
    let mut seen = Vec::new();
    let query = ChangeQuery {
        collection: layer,
        since,
        upto: tx.head().unwrap().generation,
        filter: &Filter::All,
        filter_then: &Filter::All,
    };
    tx.changes(&query, &mut |change| {
        seen.push((
            change.global_id,
            change.record.is_some(),
            change.matches,
            change.matched,
        ));
        Ok(ControlFlow::Continue(()))
    })
    .unwrap();
    assert_eq!(
        seen,
        [
            (tree(2, "").global_id, false, false, true),
            (tree(3, "").global_id, true, true, true),
        ]
    );
    let then = tx
        .record_as_of(layer, &tree(3, "").global_id, since)
        .unwrap()
        .unwrap();
    assert_eq!(then.record.values[0], "t".into());
}
