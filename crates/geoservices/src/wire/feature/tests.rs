use haversack_model::schema::{
    Collection, CollectionKind, EditorFields, Field, FieldType, GeometryColumn, GeometryKind,
};
use haversack_model::{CollectionId, GlobalId, ObjectId, Record, Value};
use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;

pub(crate) fn field(name: &str, kind: FieldType) -> Field {
    Field {
        name: name.into(),
        alias: name.into(),
        kind,
        length: (kind == FieldType::String).then_some(50),
        nullable: true,
        editable: true,
        domain: None,
        default: Value::Null,
    }
}

/// A layer with one field of every type, editor tracking and points in Web Mercator.
pub(crate) fn trees() -> Collection {
    Collection {
        id: CollectionId(0),
        name: "Trees".into(),
        table: "trees".into(),
        kind: CollectionKind::Layer,
        description: String::new(),
        object_id_field: "OBJECTID".into(),
        global_id_field: "GlobalID".into(),
        display_field: Some("name".into()),
        geometry: Some(GeometryColumn {
            name: "shape".into(),
            kind: GeometryKind::Point,
            srid: 3857,
            has_z: false,
            has_m: false,
        }),
        fields: vec![
            field("name", FieldType::String),
            field("height", FieldType::Double),
            field("girth", FieldType::Single),
            field("age", FieldType::Integer),
            field("rank", FieldType::SmallInteger),
            field("cells", FieldType::BigInteger),
            field("planted", FieldType::Date),
            field("seen_on", FieldType::DateOnly),
            field("seen_at", FieldType::TimeOnly),
            field("heard", FieldType::TimestampOffset),
            field("park", FieldType::Guid),
            field("leaf", FieldType::Blob),
            field("created_date", FieldType::Date),
            field("created_user", FieldType::String),
            field("last_edited_date", FieldType::Date),
            field("last_edited_user", FieldType::String),
        ],
        has_attachments: true,
        relationships: Vec::new(),
        editor_fields: Some(EditorFields {
            created_at: "created_date".into(),
            creator: "created_user".into(),
            edited_at: "last_edited_date".into(),
            editor: "last_edited_user".into(),
        }),
        max_record_count: 2000,
        indexes: Vec::new(),
        properties: std::collections::BTreeMap::new(),
    }
}

const ID: &str = "{0F1E2D3C-4B5A-6978-8796-A5B4C3D2E1F0}";

fn full() -> Json {
    json!({
        "attributes": {
            "OBJECTID": 7, "GlobalID": ID, "name": "Élan \"x\"", "height": 12.5, "girth": 0.1, "age": 40,
            "rank": -3, "cells": 9_007_199_254_740_993_i64, "planted": 1_700_000_000_000_i64,
            "seen_on": "2026-05-01", "seen_at": "12:30:00", "heard": "2026-05-01T12:00:00+02:00",
            "park": ID, "leaf": "AQID", "created_date": 5, "created_user": "ann",
            "last_edited_date": 6, "last_edited_user": "bob",
        },
        "geometry": {"x": 1.5, "y": 2.5}
    })
}

fn write(collection: &Collection, record: &Record) -> Json {
    let mut out = Vec::new();
    FeatureWriter::new(collection)
        .write(&mut out, record)
        .expect("memory");
    serde_json::from_slice(&out).expect("JSON")
}

#[test]
fn a_feature_of_every_type_survives_the_round_trip() {
    let trees = trees();
    let read = FeatureReader::from_server(&trees)
        .read(&full())
        .expect("fits");
    assert_eq!(read.object_id, Some(ObjectId(7)));
    assert_eq!(
        read.global_id.as_ref().map(GlobalId::braced).as_deref(),
        Some(ID)
    );
    assert_eq!(read.changes.values[&1], Value::Real(12.5));
    assert_eq!(read.changes.values[&3], Value::Integer(40));
    assert_eq!(read.changes.values[&11], Value::Blob(vec![1, 2, 3]));
    let mut record = read.to_record(&trees, read.global_id.clone().expect("sent"));
    record.object_id = read.object_id;
    assert_eq!(write(&trees, &record), full());
}

#[test]
fn a_client_cannot_set_editor_tracking_or_read_only_fields() {
    let mut trees = trees();
    trees.fields[3].editable = false;
    let read = FeatureReader::from_client(&trees)
        .read(&full())
        .expect("fits");
    for skipped in [3, 12, 13, 14, 15] {
        assert!(!read.changes.values.contains_key(&skipped), "{skipped}");
    }
    assert_eq!(read.changes.values.len(), 11);
}

#[test]
fn a_partial_update_names_only_what_it_names() {
    let trees = trees();
    let mut reader = FeatureReader::from_client(&trees);
    let partial =
        json!({"attributes": {"globalid": ID.to_lowercase(), "NAME": null, "Shape__Length": 3}});
    let read = reader.read(&partial).expect("fits");
    assert_eq!(read.global_id.map(|id| id.braced()).as_deref(), Some(ID));
    assert_eq!(
        read.changes.values.into_iter().collect::<Vec<_>>(),
        [(0, Value::Null)]
    );
    assert_eq!(read.changes.geometry, None);
    let cleared = reader
        .read(&json!({"attributes": {}, "geometry": null}))
        .expect("fits");
    assert_eq!(cleared.changes.geometry, Some(None));
}

#[test]
fn a_geometry_in_another_reference_is_transformed_to_the_layers() {
    let trees = trees();
    let feature = json!({"geometry": {"x": 14.42, "y": 50.09}});
    let read = FeatureReader::from_client(&trees)
        .in_reference(Some(4326))
        .read(&feature)
        .expect("fits");
    let envelope = read
        .changes
        .geometry
        .flatten()
        .and_then(|g| g.envelope())
        .expect("a point");
    assert!(
        (envelope.min_x - 1_605_227.057_239).abs() < 1e-3,
        "{envelope:?}"
    );
}

#[test]
fn values_are_read_as_clients_spell_them() {
    for (kind, sent, expected) in [
        (FieldType::Integer, json!(5.0), Value::Integer(5)),
        (FieldType::Integer, json!("5"), Value::Integer(5)),
        (FieldType::Double, json!(5), Value::Real(5.0)),
        (FieldType::String, json!(5), Value::from("5")),
        (
            FieldType::Date,
            json!("2023-11-14T22:13:20Z"),
            Value::Integer(1_700_000_000_000),
        ),
        (
            FieldType::Date,
            json!("2023-11-14 22:13:20"),
            Value::Integer(1_700_000_000_000),
        ),
        (
            FieldType::Date,
            json!("1700000000000"),
            Value::Integer(1_700_000_000_000),
        ),
        (FieldType::Date, json!(1.5), Value::Integer(1)),
        (
            FieldType::Guid,
            json!("0f1e2d3c4b5a69788796a5b4c3d2e1f0"),
            Value::from(ID),
        ),
    ] {
        assert_eq!(
            read_value(&field("f", kind), &sent).ok(),
            Some(expected),
            "{kind:?} {sent}"
        );
    }
}

#[test]
fn a_value_that_does_not_fit_is_refused_with_the_fields_name() {
    for (kind, sent) in [
        (FieldType::SmallInteger, json!(40_000)),
        (FieldType::Integer, json!(3_000_000_000_i64)),
        (FieldType::Integer, json!(1.5)),
        (FieldType::Integer, json!(true)),
        (FieldType::BigInteger, json!(1e19)),
        (FieldType::Single, json!(1e300)),
        (FieldType::Double, json!("tall")),
        (FieldType::Double, json!("NaN")),
        (FieldType::String, json!(["a"])),
        (FieldType::Date, json!(i64::MAX)),
        (FieldType::Date, json!("yesterday")),
        (FieldType::DateOnly, json!("2026-02-30")),
        (FieldType::TimeOnly, json!("25:00")),
        (FieldType::TimestampOffset, json!("2026-05-01T12:00:00")),
        (FieldType::Guid, json!("tree")),
        (FieldType::Blob, json!("***")),
    ] {
        let refusal = read_value(&field("age", kind), &sent).expect_err(&sent.to_string());
        assert!(
            refusal.to_string().starts_with("field 'age': needs "),
            "{refusal}"
        );
    }
}

#[test]
fn columns_are_selected_by_name_and_an_unknown_one_is_named() {
    let trees = trees();
    let select = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
        Column::select(&trees, Some(&names))
    };
    assert_eq!(
        Column::select(&trees, None).ok(),
        Some(vec![Column::ObjectId, Column::Field(0)])
    );
    assert_eq!(select(&["*"]).map(|c| c.len()).ok(), Some(18));
    assert_eq!(
        select(&["NAME", "objectid", "name"]).ok(),
        Some(vec![Column::Field(0), Column::ObjectId])
    );
    let refusal = select(&["colour"]).expect_err("unknown").to_string();
    assert_eq!(
        refusal,
        r#"'outFields': there is no field "colour" in "Trees""#
    );
}

#[test]
fn geojson_carries_id_geometry_and_properties() {
    let trees = trees();
    let read = FeatureReader::from_server(&trees)
        .read(&full())
        .expect("fits");
    let mut record = read.to_record(&trees, read.global_id.clone().expect("sent"));
    record.object_id = Some(ObjectId(7));
    let mut out = Vec::new();
    FeatureWriter::new(&trees)
        .columns(vec![Column::Field(0)])
        .write_geojson(&mut out, &record)
        .expect("memory");
    assert_eq!(
        String::from_utf8(out).expect("text"),
        r#"{"type":"Feature","id":7,"geometry":{"type":"Point","coordinates":[1.5,2.5]},"properties":{"name":"Élan \"x\""}}"#
    );
}

proptest! {
    #[test]
    fn any_value_for_any_field_gives_a_value_or_an_error(
        at in 0..16_usize,
        sent in prop_oneof![
            any::<i64>().prop_map(Json::from), any::<f64>().prop_map(Json::from),
            "\\PC{0,20}".prop_map(Json::from), Just(Json::Null), Just(json!([1])), any::<bool>().prop_map(Json::from),
        ],
    ) {
        let trees = trees();
        if let Ok(value) = read_value(&trees.fields[at], &sent) {
            // What was accepted is written so that it reads as the same value.
            let mut out = Vec::new();
            write_field_value(&mut out, trees.fields[at].kind, &value).expect("memory");
            let json: Json = serde_json::from_slice(&out).expect("JSON");
            prop_assert_eq!(read_value(&trees.fields[at], &json).ok(), Some(value));
        }
    }
}
