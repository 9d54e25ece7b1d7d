//! GDAL opens, counts and edits a server's file, as QGIS does.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::path::Path;
use std::process::Command;

use common::Held;
use haversack_model::conformance::fixture::{
    self, AREAS, PLACES, changes, commit, id, matching, place, put_places, seen,
};
use haversack_model::schema::Domain;
use haversack_model::store::Store;
use haversack_model::{Envelope, FieldType, Filter, Record, Service, Value};

/// Runs a program of GDAL and returns what it printed.
fn gdal(program: &str, args: &[&str], file: &Path) -> String {
    let output = Command::new(program).args(args).arg(file).output();
    let output = output.unwrap_or_else(|error| {
        panic!("{program} is needed for this test (Debian: gdal-bin): {error}")
    });
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && !errors.contains("ERROR"),
        "{program} {args:?}: {text}{errors}"
    );
    text
}

fn sql(held: &Held, statement: &str) -> String {
    let file = held.path.to_str().unwrap();
    gdal("ogrinfo", &["-q", file, "-sql"], Path::new(statement))
}

fn edit(held: &Held, statement: &str) {
    let file = held.path.to_str().unwrap();
    let output = Command::new("ogrinfo")
        .args(["-q", file, "-sql", statement])
        .env("OGR_SQLITE_SYNCHRONOUS", "FULL")
        .output()
        .unwrap_or_else(|error| {
            panic!("ogrinfo is needed for this test (Debian: gdal-bin): {error}")
        });
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!errors.contains("ERROR"), "{statement}: {errors}");
}

fn service() -> Service {
    let mut service = fixture::service();
    service.collections[0].fields[1].domain = Some(Domain::Coded {
        name: "counts".into(),
        values: vec![(1.into(), "one".into()), (2.into(), "two".into())],
    });
    service.collections[0].fields[2].domain = Some(Domain::Range {
        name: "sizes".into(),
        min: 0.0,
        max: 100.0,
    });
    service
}

fn held() -> Held {
    let held = Held::new(&service());
    put_places(&held, &[place(1, "oak"), place(2, "ash"), place(3, "Žďár")]);
    let area = Record {
        global_id: id(1),
        object_id: None,
        values: vec!["square".into()],
        geometry: Some(
            Envelope {
                min_x: 0.0,
                min_y: 0.0,
                max_x: 2.0,
                max_y: 2.0,
            }
            .to_polygon(),
        ),
    };
    commit(&held, 2, |tx| {
        tx.put(AREAS, &area, None).unwrap();
    });
    held
}

#[test]
fn layers_tables_and_conflicts_are_listed_and_our_books_are_not() {
    let held = held();
    let listed = gdal("ogrinfo", &[], &held.path);
    for name in [
        "places (Point)",
        "areas",
        "visits (None)",
        "places__attach (None)",
    ] {
        assert!(listed.contains(name), "{name} is missing in {listed}");
    }
    let ours = listed.matches("haversack").count();
    assert_eq!(ours, 1, "only the conflicts are for reading: {listed}");
}

#[test]
fn a_service_of_one_layer_lists_no_books_either() {
    let mut alone = service();
    alone.collections.truncate(1);
    alone.collections[0].has_attachments = false;
    alone.collections[0].relationships.clear();
    let held = Held::new(&alone);
    let listed = gdal("ogrinfo", &["-q"], &held.path);
    // A GeoPackage without any table of attributes would have all its tables listed.
    assert_eq!(
        listed.trim(),
        "1: places (Point)\n2: haversack_conflicts (None)"
    );
}

#[test]
fn a_layer_has_its_rows_types_extent_and_domains() {
    let held = held();
    let summary = gdal("ogrinfo", &["-ro", "-al"], &held.path);
    for part in [
        "Layer name: places",
        "Feature Count: 3",
        "Extent: (1.000000, 1.000000) - (3.000000, 3.000000)",
        "FID Column = OBJECTID",
        "Geometry Column = geom",
        "GlobalID: String (38.0)",
        "seen: DateTime",
        "size: Real",
        "places_count",
        "POINT (2 2)",
        "name (String) = Žďár",
        "seen (DateTime) = 1970/01/04 00:00:00+00",
        "POLYGON ((0 0,2 0,2 2,0 2,0 0))",
    ] {
        assert!(summary.contains(part), "{part:?} is missing in {summary}");
    }
}

#[test]
fn the_spatial_index_of_gdal_is_ours() {
    let held = held();
    let file = held.path.to_str().unwrap();
    let near = gdal(
        "ogrinfo",
        &["-ro", "-q", "-spat", "1.5", "1.5", "2.5", "2.5", file],
        Path::new("places"),
    );
    assert!(near.contains("ash") && !near.contains("oak"), "{near}");
    let has = sql(&held, "SELECT HasSpatialIndex('places', 'geom')");
    assert!(has.contains("= 1"), "{has}");
}

#[test]
fn edits_of_gdal_are_tracked() {
    let held = held();
    let since = held.begin_read().unwrap().head().unwrap().generation;
    edit(&held, "UPDATE places SET name = 'yew' WHERE name = 'ash'");
    edit(&held, "DELETE FROM places WHERE name = 'oak'");
    edit(
        &held,
        "INSERT INTO places (name, geom) SELECT 'new', geom FROM places WHERE name = 'yew'",
    );
    let tx = held.begin_read().unwrap();
    let found = changes(&*tx, since, &Filter::All, &Filter::All).unwrap();
    assert_eq!(
        seen(&found)[..2],
        [(2, true, true, true), (1, false, false, true)]
    );
    assert_eq!(found[2].record.as_ref().unwrap().values[0], "new".into());
    assert_eq!(
        found[2].record.as_ref().unwrap().geometry,
        place(2, "").geometry
    );
    drop(tx);
    put_places(&held, &[place(4, "ours again")]);
    assert!(gdal("ogrinfo", &["-ro", "-al", "-so"], &held.path).contains("Feature Count: 4"));
}

#[test]
fn rows_that_ogr2ogr_appends_are_tracked() {
    let held = held();
    let since = held.begin_read().unwrap().head().unwrap().generation;
    let json = held.path.with_file_name("more.geojson");
    let features: Vec<String> = (0..200)
        .map(|n| {
            format!(
                r#"{{"type":"Feature","properties":{{"name":"n{n}","count":{n},"seen":"2024-02-29T12:00:00Z"}},"geometry":{{"type":"Point","coordinates":[{n},1]}}}}"#
            )
        })
        .collect();
    let text = format!(
        r#"{{"type":"FeatureCollection","features":[{}]}}"#,
        features.join(",")
    );
    std::fs::write(&json, text).unwrap();
    let target = held.path.to_str().unwrap();
    gdal(
        "ogr2ogr",
        &["-append", "-f", "GPKG", "-nln", "places", target],
        &json,
    );
    let tx = held.begin_read().unwrap();
    let found = changes(&*tx, since, &Filter::All, &Filter::All).unwrap();
    assert_eq!(found.len(), 200);
    let record = found[7].record.as_ref().unwrap();
    assert_eq!(record.values[0], "n7".into());
    assert_eq!(record.values[3], Value::Integer(1_709_208_000_000));
    assert_eq!(tx.head().unwrap().generation.0, since.0 + 200);
    drop(tx);
    assert_eq!(matching(&held, Filter::All).len(), 203);
    let kind = service().collections[0].fields[3].kind;
    assert_eq!(kind, FieldType::Date);
    assert_eq!(PLACES.0, 0);
}

#[test]
fn a_copy_that_gdal_makes_has_every_row() {
    let held = held();
    let copy = held.path.with_file_name("copy.geojson");
    let source = held.path.to_str().unwrap();
    let output = Command::new("ogr2ogr")
        .args(["-f", "GeoJSON", copy.to_str().unwrap(), source, "places"])
        .output()
        .unwrap_or_else(|error| {
            panic!("ogr2ogr is needed for this test (Debian: gdal-bin): {error}")
        });
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = std::fs::read_to_string(copy).unwrap();
    let parsed: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(parsed["features"].as_array().unwrap().len(), 3);
}
