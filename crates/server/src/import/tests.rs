use std::sync::Arc;

use haversack_geoservices::wire::geometry::normalised;
use haversack_model::store::Flow;
use haversack_model::{Filter, Query, QueryRow, Record, Shape, Store as _};

use super::*;

fn server() -> (tempfile::TempDir, Arc<Server>) {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::open(&dir.path().join("data")).unwrap();
    (dir, server)
}

fn request(service: &str, format: Source) -> Request {
    Request {
        format,
        service: service.to_owned(),
        layer: None,
        name: None,
    }
}

fn import(server: &Server, file: &Path, request: &Request) -> Result<Report> {
    run(server, file, request, None, &mut |_, _, _| {})
}

fn import_text(dir: &Path, server: &Server, text: &str, request: &Request) -> Result<Report> {
    let file = dir.join("things.geojson");
    std::fs::write(&file, text).unwrap();
    import(server, &file, request)
}

fn records(server: &Server, service: &str, layer: u32) -> Vec<Record> {
    let store = server.services.store(service).unwrap();
    let tx = store.begin_read().unwrap();
    let mut found = Vec::new();
    let query = Query::records(CollectionId(layer), Filter::All);
    tx.query(&query, &mut |row| {
        if let QueryRow::Record(one) = row {
            found.push(one.record);
        }
        Ok(Flow::Continue(()))
    })
    .unwrap();
    found
}

/// The folder with the real data. It is not in the repository: `cargo xtask test` looks for it beside the checkout, and
/// where it is not there leaves the tests named `the_real_data_..` out and counts them as skipped.
fn fixtures() -> PathBuf {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let shared = std::env::var_os("HAVERSACK_SHARED").map_or(beside, PathBuf::from);
    let folder = shared.join("fixtures/geo");
    assert!(
        folder.is_dir(),
        "there is no {}: set HAVERSACK_SHARED to the folder that holds fixtures/geo",
        folder.display()
    );
    folder
}

#[test]
fn single_and_multi_geometries_nulls_and_names_in_many_scripts_are_kept() {
    let (dir, server) = server();
    let text = r#"{"type": "FeatureCollection", "name": "Ώδε", "features": [
        {"type": "Feature", "properties": {"name": "Ελλάδα", "n": 1, "x": null}, "geometry":
            {"type": "Polygon", "coordinates": [[[0, 0], [4, 0], [4, 4], [0, 0]], [[1, 0.5], [2, 1], [2, 0.5], [1, 0.5]]]}},
        {"type": "Feature", "properties": {"name": "日本", "n": 2.5, "更多": true}, "geometry":
            {"type": "MultiPolygon", "coordinates": [[[[0, 0], [1, 0], [1, 1]]], [[[5, 5], [6, 5], [6, 6], [5, 5]]]]}},
        {"type": "Feature", "properties": null, "geometry": null}
    ]}"#;
    let report = import_text(
        dir.path(),
        &server,
        text,
        &request("Lands", Source::Geojson),
    )
    .unwrap();
    assert_eq!(report.layers[0].records, 3);
    let found = records(&server, "Lands", 0);
    assert_eq!(
        found[0].values,
        [
            Value::from("Ελλάδα"),
            Value::Real(1.0),
            Value::Null,
            Value::Null
        ]
    );
    assert_eq!(
        found[1].values,
        [
            Value::from("日本"),
            Value::Real(2.5),
            Value::Null,
            Value::Integer(1)
        ]
    );
    assert!(found[2].values.iter().all(Value::is_null) && found[2].geometry.is_none());
    let Shape::MultiPolygon(parts) = found[0].geometry.as_ref().unwrap().shape() else {
        panic!("{:?}", found[0].geometry);
    };
    assert_eq!((parts.len(), parts[0].len()), (1, 2), "the hole is kept");
    let Shape::MultiPolygon(parts) = found[1].geometry.as_ref().unwrap().shape() else {
        panic!("{:?}", found[1].geometry);
    };
    assert_eq!(parts[0][0].len(), 4, "an open ring is closed");
}

#[test]
fn a_file_of_points_lines_and_areas_becomes_three_layers() {
    let (dir, server) = server();
    let feature = |kind: &str, coordinates: &str| {
        format!(
            r#"{{"type": "Feature", "properties": {{"k": "{kind}"}}, "geometry": {{"type": "{kind}", "coordinates": {coordinates}}}}}"#
        )
    };
    let features = [
        feature("Point", "[1, 2]"),
        feature("LineString", "[[1, 2], [3, 4]]"),
        feature("MultiPoint", "[[5, 6], [7, 8]]"),
        feature("Polygon", "[[[0, 0], [1, 0], [1, 1], [0, 0]]]"),
    ];
    let text = format!(
        r#"{{"features": [{}], "type": "FeatureCollection"}}"#,
        features.join(",")
    );
    let report = import_text(dir.path(), &server, &text, &request("Mix", Source::Geojson)).unwrap();
    let names: Vec<_> = report
        .layers
        .iter()
        .map(|l| (l.name.as_str(), l.records))
        .collect();
    assert_eq!(
        names,
        [
            ("things points", 2),
            ("things lines", 1),
            ("things areas", 1)
        ]
    );
    let points = records(&server, "Mix", 0);
    assert!(
        matches!(points[0].geometry.as_ref().unwrap().shape(), Shape::MultiPoint(p) if p.len() == 1)
    );
}

#[test]
fn what_does_not_fit_is_refused_with_the_number_of_the_feature() {
    let (dir, server) = server();
    for (text, expected) in [
        (
            r#"{"type": "FeatureCollection", "features": [{"type": "Feature", "geometry": {"type": "Point", "coordinates": [1]}}]}"#,
            "feature 1",
        ),
        (
            r#"{"type": "FeatureCollection", "features": [{"type": "Feature", "geometry": {"type": "GeometryCollection", "geometries": []}}]}"#,
            "GeometryCollection",
        ),
        (r#"{"type": "Topology"}"#, "Topology"),
        (r#"{"type": "FeatureCollection"}"#, "features"),
        (r#"{"type": "FeatureCollection", "features": [{"#, "line 1"),
        (
            r#"{"type": "FeatureCollection", "crs": {"properties": {"name": "local"}}, "features": []}"#,
            "local",
        ),
    ] {
        let refused = import_text(dir.path(), &server, text, &request("Bad", Source::Geojson));
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains(expected), "{refused}");
    }
    assert!(server.services.names().is_empty(), "nothing was made");
}

#[test]
fn a_file_that_fails_in_the_middle_leaves_nothing() {
    let (dir, server) = server();
    let feature = |n: u32, name: &str| {
        format!(
            r#"{{"type": "Feature", "properties": {{"name": "{name}", "n": {n}}}, "geometry": {{"type": "Point", "coordinates": [1, 2]}}}}"#
        )
    };
    let file = |last: &str| {
        let many: Vec<_> = (0..6000).map(|n| feature(n, "a")).collect();
        format!(
            r#"{{"type": "FeatureCollection", "features": [{}, {last}]}}"#,
            many.join(",")
        )
    };
    let few = format!(
        r#"{{"type": "FeatureCollection", "features": [{}]}}"#,
        feature(1, "short")
    );
    import_text(dir.path(), &server, &few, &request("Kept", Source::Geojson)).unwrap();
    let append = Request {
        layer: Some(CollectionId(0)),
        ..request("Kept", Source::Geojson)
    };
    // The field takes 32 bits in the layer that is there; the number in the last row has more.
    let text = file(&feature(1, "a").replace("\"n\": 1", "\"n\": 8000000000"));
    let refused = import_text(dir.path(), &server, &text, &append).unwrap_err();
    assert!(refused.to_string().contains("record 6001"), "{refused}");
    assert_eq!(records(&server, "Kept", 0).len(), 1);
    let left: Vec<_> = std::fs::read_dir(dir.path().join("data/services"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .filter(|name| name.to_string_lossy().starts_with(".new"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn an_uploaded_file_is_called_by_the_name_that_people_gave_it() {
    let (dir, server) = server();
    let named = Request {
        name: Some("parks".to_owned()),
        ..request("Bad", Source::Geojson)
    };
    let refused = import_text(dir.path(), &server, "{", &named).unwrap_err();
    assert!(
        refused.to_string().starts_with("parks.geojson: "),
        "{refused}"
    );
}

#[test]
fn a_second_file_is_appended_by_field_names_and_keeps_its_ids() {
    let (dir, server) = server();
    let id = "0a0b0c0d-0000-4000-8000-000000000001";
    let one = format!(
        r#"{{"type": "FeatureCollection", "features": [{{"type": "Feature", "properties": {{"GlobalID": "{{{id}}}", "name": "a", "n": 1}}, "geometry": {{"type": "Point", "coordinates": [1, 2, 3]}}}}]}}"#
    );
    import_text(
        dir.path(),
        &server,
        &one,
        &request("Things", Source::Geojson),
    )
    .unwrap();
    assert_eq!(
        records(&server, "Things", 0)[0]
            .global_id
            .braced()
            .to_lowercase(),
        format!("{{{id}}}")
    );
    let two = r#"{"type": "FeatureCollection", "features": [{"type": "Feature", "properties": {"N": 2, "extra": 1, "NAME": "b"}, "geometry": {"type": "Point", "coordinates": [3, 4]}}]}"#;
    let append = Request {
        layer: Some(CollectionId(0)),
        ..request("Things", Source::Geojson)
    };
    let report = import_text(dir.path(), &server, two, &append).unwrap();
    assert_eq!(report.layers[0].ignored_fields, ["extra"]);
    // The first file again: its id is in use, so the copy gets another.
    import_text(dir.path(), &server, &one, &append).unwrap();
    let found = records(&server, "Things", 0);
    assert_eq!(found[1].values, [Value::from("b"), Value::Integer(2)]);
    assert_eq!(found.len(), 3);
    assert_ne!(found[2].global_id, found[0].global_id);
    let lines = r#"{"type": "FeatureCollection", "features": [{"type": "Feature", "properties": {}, "geometry": {"type": "LineString", "coordinates": [[1, 2], [3, 4]]}}]}"#;
    let refused = import_text(dir.path(), &server, lines, &append).unwrap_err();
    assert!(refused.to_string().contains("Polyline"), "{refused}");
}

#[test]
fn the_real_data_loads_and_comes_back_as_it_was() {
    let (_dir, server) = server();
    let mut files = 0;
    for entry in std::fs::read_dir(fixtures()).unwrap() {
        let path = entry.unwrap().path();
        if Source::of_file(&path) != Some(Source::Geojson) {
            continue;
        }
        files += 1;
        let service = format!("S{files}");
        let report = import(&server, &path, &request(&service, Source::Geojson)).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let document: serde_json::Value = serde_json::from_str(&text).unwrap();
        let features = document["features"].as_array().unwrap();
        assert_eq!(report.layers.len(), 1, "{}", path.display());
        assert_eq!(report.layers[0].records, features.len() as u64);
        assert_eq!(report.layers[0].renamed_fields, []);
        let store = server.services.store(&service).unwrap();
        let fields = store
            .begin_read()
            .unwrap()
            .collection(CollectionId(0))
            .unwrap()
            .fields;
        for (record, feature) in records(&server, &service, 0).iter().zip(features) {
            for (field, value) in fields.iter().zip(&record.values) {
                let written = &feature["properties"][&field.name];
                let fits = convert::value(field.kind, written).unwrap();
                assert_eq!(*value, fits, "{}: {}", path.display(), field.name);
            }
            let shape = convert::geometry(&feature["geometry"]).unwrap();
            let written = shape.map(|s| normalised(&Geometry::from_shape(&s)));
            assert_eq!(record.geometry, written);
        }
    }
    assert_eq!(files, 6);
}

#[test]
fn a_service_file_imports_into_another_service_with_its_ids() {
    let (dir, server) = server();
    let text = r#"{"type": "FeatureCollection", "features": [
        {"type": "Feature", "properties": {"name": "a", "when": "2026-02-28T10:00:00Z", "day": "2026-02-28", "n": 5000000000}, "geometry": {"type": "LineString", "coordinates": [[1, 2], [3, 4]]}},
        {"type": "Feature", "properties": {"name": null, "when": null, "day": null, "n": null}, "geometry": null}]}"#;
    import_text(
        dir.path(),
        &server,
        text,
        &request("First", Source::Geojson),
    )
    .unwrap();
    let file = server.services.store("First").unwrap().path().to_owned();
    let report = import(&server, &file, &request("Second", Source::Gpkg)).unwrap();
    assert_eq!(report.layers[0].records, 2);
    let (first, second) = (records(&server, "First", 0), records(&server, "Second", 0));
    for (a, b) in first.iter().zip(&second) {
        assert!(a.same_content(b), "{a:?}\n{b:?}");
    }
}

#[test]
fn a_hostile_file_is_refused_and_runs_nothing() {
    let (dir, server) = server();
    let file = dir.path().join("hostile.gpkg");
    let made = rusqlite::Connection::open(&file).unwrap();
    made.execute_batch(
        "CREATE TABLE gpkg_contents (table_name TEXT, identifier TEXT, data_type TEXT);
         CREATE TABLE base (fid INTEGER PRIMARY KEY, big BLOB);
         INSERT INTO base VALUES (1, 'x');
         CREATE VIEW bomb AS SELECT 1 AS fid, zeroblob(1000000000) AS big;
         INSERT INTO gpkg_contents VALUES ('bomb', 'bomb', 'attributes');",
    )
    .unwrap();
    drop(made);
    let refused = import(&server, &file, &request("Bad", Source::Gpkg)).unwrap_err();
    assert!(refused.to_string().contains("view"), "{refused}");
    std::fs::write(&file, "SQLite format 3\0 but not really").unwrap();
    assert!(import(&server, &file, &request("Bad", Source::Gpkg)).is_err());
    assert!(server.services.names().is_empty());
    let left = std::fs::read_dir(server.dir.files()).unwrap().count();
    assert_eq!(left, 0, "copies are removed");
}

#[test]
fn a_file_that_gdal_wrote_loads_with_its_types() {
    let (dir, server) = server();
    let text = r#"{"type": "FeatureCollection", "features": [
        {"type": "Feature", "properties": {"name": "ä", "n": 7, "big": 5000000000, "x": 1.5, "day": "2026-02-28", "ok": true}, "geometry": {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 0]]]}},
        {"type": "Feature", "properties": {"name": null, "n": null, "big": null, "x": null, "day": null, "ok": null}, "geometry": {"type": "MultiPolygon", "coordinates": [[[[2, 2], [3, 2], [3, 3], [2, 2]]]]}}]}"#;
    let (from, to) = (dir.path().join("from.geojson"), dir.path().join("to.gpkg"));
    std::fs::write(&from, text).unwrap();
    let made = std::process::Command::new("ogr2ogr")
        .args([
            "-f",
            "GPKG",
            "-a_srs",
            "EPSG:4326",
            "-nln",
            "lands",
            "-nlt",
            "PROMOTE_TO_MULTI",
        ])
        .args([&to, &from])
        .status();
    assert!(
        made.is_ok_and(|status| status.success()),
        "ogr2ogr is needed: `cargo xtask test` installs it"
    );
    let report = import(&server, &to, &request("Lands", Source::Gpkg)).unwrap();
    assert_eq!((report.layers.len(), report.layers[0].records), (1, 2));
    assert_eq!(report.layers[0].name, "lands");
    let store = server.services.store("Lands").unwrap();
    let collection = store
        .begin_read()
        .unwrap()
        .collection(CollectionId(0))
        .unwrap();
    let kinds: Vec<_> = collection
        .fields
        .iter()
        .map(|f| (f.name.as_str(), f.kind))
        .collect();
    assert_eq!(
        kinds,
        [
            ("name", FieldType::String),
            ("n", FieldType::Integer),
            ("big", FieldType::BigInteger),
            ("x", FieldType::Double),
            ("day", FieldType::DateOnly),
            ("ok", FieldType::SmallInteger),
        ]
    );
    let found = records(&server, "Lands", 0);
    assert_eq!(
        found[0].values,
        [
            Value::from("ä"),
            Value::Integer(7),
            Value::Integer(5_000_000_000),
            Value::Real(1.5),
            Value::from("2026-02-28"),
            Value::Integer(1)
        ]
    );
    assert!(found[1].values.iter().all(Value::is_null));
    assert_eq!(collection.geometry.unwrap().srid, 4326);
}

#[test]
fn an_import_that_was_cut_begins_anew_and_one_that_is_done_loads_nothing_twice() {
    let (dir, server) = server();
    let features: Vec<String> = (0..12_345)
        .map(|n| format!(r#"{{"type": "Feature", "properties": {{"n": {n}}}, "geometry": {{"type": "Point", "coordinates": [{n}, 1]}}}}"#))
        .collect();
    let text = format!(
        r#"{{"type": "FeatureCollection", "features": [{}]}}"#,
        features.join(",")
    );
    let file = dir.path().join("many.geojson");
    std::fs::write(&file, text).unwrap();
    let asked = request("Many", Source::Geojson);
    let key = Uuid::from_u128(1);
    // The program ends in the middle: the service was never there.
    for stop_at in [5_000, 10_000] {
        let cut = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            run(&server, &file, &asked, Some(key), &mut |phase, done, _| {
                assert!(phase != "loading" || done != stop_at, "the end");
            })
        }));
        assert!(cut.is_err());
        assert!(server.services.store("Many").is_none());
        assert_eq!(finished(&server, &asked, key).unwrap(), None);
    }
    let report = run(&server, &file, &asked, Some(key), &mut |_, _, _| {}).unwrap();
    assert_eq!(report.layers[0].records, 12_345);
    let found = records(&server, "Many", 0);
    let numbers: std::collections::BTreeSet<_> =
        found.iter().map(|one| one.values[0].as_integer()).collect();
    assert_eq!((found.len(), numbers.len()), (12_345, 12_345));
    let layers = server.services.store("Many").unwrap();
    assert_eq!(
        layers
            .begin_read()
            .unwrap()
            .service()
            .unwrap()
            .collections
            .len(),
        1
    );

    // Done, and killed before the job was noted as done: nothing is loaded again, the file may be gone.
    assert_eq!(
        finished(&server, &asked, key).unwrap(),
        Some(report.clone())
    );
    assert_eq!(
        run(&server, &file, &asked, Some(key), &mut |_, _, _| {}).unwrap(),
        report
    );
    assert_eq!(records(&server, "Many", 0).len(), 12_345);
    // Appending with another key loads again, as asked; cut, it leaves nothing behind either.
    let more = Request {
        layer: Some(CollectionId(0)),
        ..asked
    };
    let cut = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        run(
            &server,
            &file,
            &more,
            Some(Uuid::from_u128(2)),
            &mut |phase, done, _| {
                assert!(phase != "loading" || done != 5_000, "the end");
            },
        )
    }));
    assert!(cut.is_err());
    assert_eq!(records(&server, "Many", 0).len(), 12_345);
    run(
        &server,
        &file,
        &more,
        Some(Uuid::from_u128(2)),
        &mut |_, _, _| {},
    )
    .unwrap();
    assert_eq!(records(&server, "Many", 0).len(), 24_690);
}
