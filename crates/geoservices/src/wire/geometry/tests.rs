use haversack_model::schema::{GeometryColumn, GeometryKind};
use haversack_model::{Geometry, Position, Shape};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn esri(geometry: &Geometry) -> Value {
    let mut out = Vec::new();
    write_esri(&mut out, geometry, GeometryOptions::ALL).expect("memory");
    serde_json::from_slice(&out).expect("JSON")
}

fn geojson(geometry: &Geometry) -> Value {
    let mut out = Vec::new();
    write_geojson(&mut out, geometry, GeometryOptions::ALL).expect("memory");
    serde_json::from_slice(&out).expect("JSON")
}

fn read_ok(value: &Value) -> Geometry {
    read(value).expect("a geometry").geometry
}

fn refusal(value: &Value) -> String {
    read(value).expect_err("no geometry").to_string()
}

/// A square with its lower left corner at (x, y); clockwise, as exteriors are on the wire.
fn square(x: f64, y: f64, side: f64) -> Value {
    json!([
        [x, y],
        [x, y + side],
        [x + side, y + side],
        [x + side, y],
        [x, y]
    ])
}

fn reversed(ring: &Value) -> Value {
    let mut items = ring.as_array().expect("a ring").clone();
    items.reverse();
    Value::Array(items)
}

fn counts(geometry: &Geometry) -> Vec<usize> {
    match geometry.shape() {
        Shape::MultiPolygon(polygons) => polygons.iter().map(Vec::len).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn holes_are_given_to_the_smallest_exterior_around_them() {
    let rings = json!({"rings": [
        square(0.0, 0.0, 100.0), reversed(&square(10.0, 10.0, 80.0)),
        square(20.0, 20.0, 60.0), reversed(&square(30.0, 30.0, 10.0)),
        square(200.0, 0.0, 10.0),
    ]});
    let geometry = read_ok(&rings);
    assert_eq!(counts(&geometry), [2, 2, 1]);
    let Shape::MultiPolygon(polygons) = geometry.shape() else {
        panic!("polygons");
    };
    let has_corner = |ring: &[Position], at: f64| ring.contains(&Position::xy(at, at));
    assert!(has_corner(&polygons[0][1], 10.0) && has_corner(&polygons[1][1], 30.0));
    assert_eq!(
        read_ok(&esri(&geometry)),
        geometry,
        "the round trip is exact"
    );
}

#[test]
fn rings_with_the_orientation_of_geojson_keep_their_holes() {
    let outer = reversed(&square(0.0, 0.0, 10.0));
    let hole = square(2.0, 2.0, 3.0);
    let geometry = read_ok(&json!({"rings": [outer, hole]}));
    assert_eq!(counts(&geometry), [2]);
    let written = esri(&geometry);
    assert_eq!(
        written["rings"][0],
        square(0.0, 0.0, 10.0),
        "the exterior is turned clockwise"
    );
}

#[test]
fn an_open_ring_is_closed_and_one_that_encloses_nothing_is_dropped() {
    let geometry = read_ok(&json!({"rings": [[[0, 0], [0, 1], [1, 1]], [[5, 5], [6, 6], [5, 5]]]}));
    assert_eq!(counts(&geometry), [1]);
    assert!(
        refusal(&json!({"rings": [[[5, 5], [6, 6], [5, 5]]]})).contains("no ring encloses an area")
    );
}

#[test]
fn z_and_m_are_told_apart_by_their_flags() {
    let only_m = read_ok(&json!({"hasM": true, "paths": [[[1, 2, 3], [4, 5, null]]]}));
    let Shape::MultiLineString(lines) = only_m.shape() else {
        panic!("a line");
    };
    assert_eq!((lines[0][0].z, lines[0][0].m), (None, Some(3.0)));
    assert_eq!(
        esri(&only_m),
        json!({"hasM": true, "paths": [[[1.0, 2.0, 3.0], [4.0, 5.0, null]]]})
    );
    let both = json!({"hasZ": true, "hasM": true, "points": [[1.0, 2.0, 3.0, 4.0]]});
    assert_eq!(esri(&read_ok(&both)), both);
    assert_eq!(
        esri(&read_ok(&json!({"x": 1.5, "y": 2, "z": 3}))),
        json!({"x": 1.5, "y": 2.0, "z": 3.0})
    );
}

#[test]
fn empty_geometries_stay_empty_and_keep_their_kind() {
    for (empty, kind) in [
        (json!({"x": null, "y": null}), GeometryKind::Point),
        (json!({"x": "NaN"}), GeometryKind::Point),
        (json!({"points": []}), GeometryKind::Multipoint),
        (json!({"paths": []}), GeometryKind::Polyline),
        (json!({"rings": []}), GeometryKind::Polygon),
    ] {
        let geometry = read_ok(&empty);
        assert!(geometry.is_empty(), "{empty}");
        assert_eq!(geometry.kind(), kind, "{empty}");
        assert!(read_ok(&esri(&geometry)).is_empty(), "{empty}");
    }
}

#[test]
fn what_cannot_be_stored_is_refused_by_name() {
    for (bad, word) in [
        (json!({"curveRings": []}), "curveRings"),
        (json!({"curvePaths": []}), "true curves"),
        (
            json!({"paths": [[[0, 0], {"c": [[1, 1], [2, 2]]}]]}),
            "curve",
        ),
        (json!({"x": 1}), "both x and y"),
        (json!({"x": "a", "y": 2}), "must be a number"),
        (json!({"paths": 5}), "'paths' must be an array"),
        (json!({"paths": [[[1, 2]]]}), "two positions"),
        (json!({"points": [[1]]}), "two numbers"),
        (
            json!({"xmin": 2, "ymin": 0, "xmax": 1, "ymax": 1}),
            "minimum is above",
        ),
        (json!({}), "none of"),
        (json!([1, 2]), "must be an object"),
        (
            json!({"x": 1, "y": 2, "spatialReference": {"wkid": 7}}),
            "spatial reference 7",
        ),
    ] {
        assert!(refusal(&bad).contains(word), "{bad}: {}", refusal(&bad));
    }
}

#[test]
fn a_filter_is_read_from_json_numbers_or_an_old_wrapper() {
    let text = |text: &str| from_text(text, "geometry");
    let bounds = |text: &str| from_text(text, "geometry").expect(text).geometry.envelope();
    let expected = bounds("1,2,3,4");
    assert_eq!(bounds(" 1, 2,3 , 4 "), expected);
    assert_eq!(
        bounds(r#"{"xmin":1,"ymin":2,"xmax":3,"ymax":4,"spatialReference":{"wkid":4326}}"#),
        expected
    );
    assert_eq!(
        bounds(
            r#"{"geometry":{"xmin":1,"ymin":2,"xmax":3,"ymax":4},"geometryType":"esriGeometryEnvelope"}"#
        ),
        expected
    );
    assert_eq!(
        text("5,6").expect("a point").geometry.kind(),
        GeometryKind::Point
    );
    for bad in ["1,2,3", "a,b,c,d", "3,2,1,4", "1,NaN,3,4", "{", ""] {
        assert!(text(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_geometry_is_made_to_fit_its_layer() {
    let column = GeometryColumn {
        name: "shape".into(),
        kind: GeometryKind::Point,
        srid: 4326,
        has_z: true,
        has_m: false,
    };
    let flat = Geometry::from_shape(&Shape::Point(Some(Position::xy(1.0, 2.0))));
    let Shape::Point(Some(p)) = fit(&flat, &column).expect("a point").shape() else {
        panic!("a point");
    };
    assert_eq!((p.z, p.m), (Some(0.0), None));
    let line = read_ok(&json!({"paths": [[[0, 0], [1, 1]]]}));
    assert_eq!(
        fit(&line, &column).expect_err("a line").to_string(),
        "geometry: is a polyline, the layer holds points"
    );
}

#[test]
fn geojson_turns_rings_as_rfc_7946_says() {
    let geometry =
        read_ok(&json!({"rings": [square(0.0, 0.0, 10.0), reversed(&square(2.0, 2.0, 3.0))]}));
    let written = geojson(&geometry);
    assert_eq!(written["type"], "Polygon");
    assert_eq!(written["coordinates"][0], reversed(&square(0.0, 0.0, 10.0)));
    assert_eq!(
        geojson(&read_ok(&json!({"paths": [[[0, 0], [1, 1]]]})))["type"],
        "LineString"
    );
    assert_eq!(geojson(&read_ok(&json!({"x": null}))), Value::Null);
}

#[test]
fn precision_rounds_and_the_reference_is_named_when_asked() {
    let geometry = Geometry::from_shape(&Shape::Point(Some(Position::xy(1.23456, 2.0))));
    let mut out = Vec::new();
    let options = GeometryOptions {
        precision: Some(2),
        srid: Some(3857),
        ..GeometryOptions::ALL
    };
    write_esri(&mut out, &geometry, options).expect("memory");
    assert_eq!(
        String::from_utf8(out).expect("text"),
        r#"{"x":1.23,"y":2.0,"spatialReference":{"wkid":102100,"latestWkid":3857}}"#
    );
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-1e6..1e6_f64).prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-z]{0,3}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
            proptest::collection::vec(
                (
                    prop_oneof![
                        Just("x"),
                        Just("y"),
                        Just("points"),
                        Just("paths"),
                        Just("rings"),
                        Just("hasZ"),
                        Just("hasM"),
                        Just("xmin"),
                        Just("spatialReference"),
                        Just("wkid"),
                        Just("c"),
                    ],
                    inner
                ),
                0..5
            )
            .prop_map(|members| members
                .into_iter()
                .map(|(k, v)| (k.to_owned(), v))
                .collect()),
        ]
    })
}

fn polygon() -> impl Strategy<Value = Geometry> {
    let ring = (
        (-100.0..100.0_f64),
        (-100.0..100.0_f64),
        (0.1..50.0_f64),
        any::<bool>(),
    );
    proptest::collection::vec(ring, 0..8).prop_map(|rings| {
        let rings: Vec<Value> = rings
            .into_iter()
            .map(|(x, y, side, turn)| {
                if turn {
                    reversed(&square(x, y, side))
                } else {
                    square(x, y, side)
                }
            })
            .collect();
        read_ok(&json!({"rings": rings}))
    })
}

proptest! {
    #[test]
    fn any_json_gives_a_geometry_or_an_error(value in json_value()) {
        let _ = read(&value);
    }

    #[test]
    fn any_text_gives_a_filter_or_an_error(text in "\\PC{0,60}") {
        let _ = from_text(&text, "geometry");
    }

    #[test]
    fn what_was_read_once_is_stable(geometry in polygon()) {
        prop_assert_eq!(&normalised(&geometry), &geometry);
        // Overlapping rings may be sorted anew once, never again.
        let again = read_ok(&esri(&geometry));
        prop_assert_eq!(read_ok(&esri(&again)), again);
    }
}
