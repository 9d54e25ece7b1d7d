//! The forms of an answer: protocol buffers and GeoJSON for all that a query can ask, z and m in each of them.
//!
//! The messages below are written after the public definition, apart from the face's own; real parsers of other
//! people read the same answers in `e2e/test_31_js_formats.cjs`.

use haversack_model::{
    Geometry, Position, Record, Service, Shape, Store, Timestamp, Value as Field,
};
use prost::Message;
use serde_json::{Value, json};

use crate::host::TestHost;
use crate::sample::{self, BEDS, gid};
use crate::web::{Client, SERVICE, form};

#[derive(Clone, PartialEq, Message)]
struct Root {
    #[prost(message, optional, tag = "2")]
    result: Option<QueryResult>,
}
#[derive(Clone, PartialEq, Message)]
struct QueryResult {
    #[prost(message, optional, tag = "1")]
    features: Option<Features>,
    #[prost(message, optional, tag = "2")]
    count: Option<Count>,
    #[prost(message, optional, tag = "3")]
    ids: Option<Ids>,
}
#[derive(Clone, PartialEq, Message)]
struct Count {
    #[prost(uint64, tag = "1")]
    count: u64,
}
#[derive(Clone, PartialEq, Message)]
struct Ids {
    #[prost(uint64, repeated, tag = "3")]
    ids: Vec<u64>,
}
#[derive(Clone, PartialEq, Message)]
struct Features {
    #[prost(int32, tag = "7")]
    geometry_type: i32,
    #[prost(bool, tag = "9")]
    exceeded: bool,
    #[prost(bool, tag = "10")]
    has_z: bool,
    #[prost(bool, tag = "11")]
    has_m: bool,
    #[prost(message, optional, tag = "12")]
    transform: Option<Transform>,
    #[prost(message, repeated, tag = "13")]
    fields: Vec<FieldOf>,
    #[prost(message, repeated, tag = "15")]
    rows: Vec<Feature>,
}
#[derive(Clone, PartialEq, Message)]
struct Transform {
    #[prost(int32, tag = "1")]
    origin: i32,
    #[prost(message, optional, tag = "2")]
    scale: Option<Four>,
    #[prost(message, optional, tag = "3")]
    translate: Option<Four>,
}
#[derive(Clone, PartialEq, Message)]
struct Four {
    #[prost(double, tag = "1")]
    x: f64,
    #[prost(double, tag = "2")]
    y: f64,
    #[prost(double, tag = "3")]
    m: f64,
    #[prost(double, tag = "4")]
    z: f64,
}
#[derive(Clone, PartialEq, Message)]
struct FieldOf {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(int32, tag = "2")]
    kind: i32,
}
#[derive(Clone, PartialEq, Message)]
struct Feature {
    #[prost(message, repeated, tag = "1")]
    attributes: Vec<Attribute>,
    #[prost(message, optional, tag = "2")]
    geometry: Option<Place>,
}
#[derive(Clone, PartialEq, Message)]
struct Attribute {
    #[prost(string, optional, tag = "1")]
    text: Option<String>,
    #[prost(double, optional, tag = "3")]
    real: Option<f64>,
    #[prost(sint64, optional, tag = "8")]
    integer: Option<i64>,
}
#[derive(Clone, PartialEq, Message)]
struct Place {
    #[prost(uint32, repeated, tag = "2")]
    lengths: Vec<u32>,
    #[prost(sint64, repeated, tag = "3")]
    coords: Vec<i64>,
}

impl Features {
    /// All positions of a feature, part by part, as x, y, then z and m where they are told.
    fn positions(&self, at: usize) -> Vec<Vec<f64>> {
        let transform = self.transform.clone().unwrap();
        let (scale, move_by) = (transform.scale.unwrap(), transform.translate.unwrap());
        let down = if transform.origin == 0 { -1.0 } else { 1.0 };
        let place = self.rows[at].geometry.clone().unwrap();
        let width = 2 + usize::from(self.has_z) + usize::from(self.has_m);
        let mut all = Vec::new();
        let mut numbers = place.coords.chunks(width);
        let lengths = if place.lengths.is_empty() {
            vec![1]
        } else {
            place.lengths
        };
        for length in lengths {
            let (mut x, mut y) = (0, 0);
            for step in numbers.by_ref().take(length as usize) {
                (x, y) = (x + step[0], y + step[1]);
                let mut position = vec![
                    x as f64 * scale.x + move_by.x,
                    down * y as f64 * scale.y + move_by.y,
                ];
                let mut heights = step[2..].iter();
                if self.has_z {
                    position.push(*heights.next().unwrap() as f64 * scale.z + move_by.z);
                }
                if self.has_m {
                    position.push(*heights.next().unwrap() as f64 * scale.m + move_by.m);
                }
                all.push(position.iter().map(|n| (n * 1e6).round() / 1e6).collect());
            }
        }
        all
    }
}

async fn pbf(client: &Client, layer: u32, params: &[(&str, &str)]) -> QueryResult {
    let path = format!("{SERVICE}/{layer}/query?f=pbf&{}", form(params));
    let (parts, body) = client.fetch(&path).await;
    assert_eq!(parts.headers["content-type"], "application/x-protobuf");
    Root::decode(body.as_slice()).unwrap().result.unwrap()
}

/// The beds with heights and measures; one bed with a hole.
fn with_heights() -> Client {
    let mut service: Service = sample::service();
    for column in service
        .collections
        .iter_mut()
        .filter_map(|c| c.geometry.as_mut())
    {
        (column.has_z, column.has_m) = (true, true);
    }
    let host = TestHost::of(&service, &|store: &dyn Store| {
        let mut tx = store.begin_write(Timestamp(1_700_000_000_000)).unwrap();
        let at = |x, y, z, m| Position {
            x,
            y,
            z: Some(z),
            m: Some(m),
        };
        let ring = vec![
            at(0.0, 0.0, 1.5, 10.0),
            at(100.0, 0.0, -2.25, 20.0),
            at(100.0, 100.0, 3.0, 30.0),
            at(0.0, 0.0, 1.5, 10.0),
        ];
        let bed = Record {
            global_id: gid(50),
            object_id: None,
            values: vec![Field::Text("high".to_owned())],
            geometry: Some(Geometry::from_shape(&Shape::Polygon(vec![ring]))),
        };
        tx.put(BEDS, &bed, None).unwrap();
        tx.commit().unwrap();
    });
    Client::of(&host).user("ada")
}

#[tokio::test]
async fn protocol_buffers_hold_the_fields_and_coordinates() {
    let client = Client::new();
    let params = [
        ("where", "OBJECTID < 3"),
        ("outFields", "OBJECTID,name,height"),
    ];
    let told = pbf(&client, 0, &params).await.features.unwrap();
    let names: Vec<_> = told
        .fields
        .iter()
        .map(|f| (f.name.as_str(), f.kind))
        .collect();
    assert_eq!(names, [("OBJECTID", 6), ("name", 4), ("height", 3)]);
    let second = &told.rows[1].attributes;
    assert_eq!(second[0].integer, Some(2));
    assert_eq!(second[1].text.as_deref(), Some("tree 2"));
    assert_eq!(second[2].real, Some(2.0));
    assert_eq!(told.positions(0), [[100.0, 50.0]]);
    assert!(!told.has_z && !told.has_m);
    // arcgis-pbf-parser 0.0.4 takes every grid for one that counts downwards from its origin.
    assert_eq!(told.transform.unwrap().origin, 0);
    let page = pbf(&client, 0, &[("where", "1=1"), ("resultRecordCount", "4")]).await;
    let page = page.features.unwrap();
    assert!(page.exceeded && page.rows.len() == 4);
}

#[tokio::test]
async fn protocol_buffers_count_and_list_ids() {
    let client = Client::new();
    let all = ("where", "1=1");
    let counted = pbf(&client, 0, &[all, ("returnCountOnly", "true")]).await;
    assert_eq!(counted.count.unwrap().count, 10);
    let listed = pbf(
        &client,
        0,
        &[("where", "height > 7"), ("returnIdsOnly", "true")],
    )
    .await;
    assert_eq!(listed.ids.unwrap().ids, [8, 9]);
    let table = pbf(&client, 2, &[all]).await.features.unwrap();
    assert_eq!((table.geometry_type, table.rows.len()), (127, 3));
}

#[tokio::test]
async fn computed_rows_come_as_protocol_buffers_and_geojson_too() {
    let client = Client::new();
    let statistics = json!([
        {"statisticType": "count", "onStatisticField": "OBJECTID", "outStatisticFieldName": "n"},
        {"statisticType": "max", "onStatisticField": "height", "outStatisticFieldName": "top"},
    ])
    .to_string();
    let grouped = [
        ("where", "1=1"),
        ("outStatistics", statistics.as_str()),
        ("groupByFieldsForStatistics", "kind"),
        ("orderByFields", "kind"),
    ];
    let told = pbf(&client, 0, &grouped).await.features.unwrap();
    let names: Vec<_> = told
        .fields
        .iter()
        .map(|f| (f.name.as_str(), f.kind))
        .collect();
    assert_eq!(names, [("kind", 1), ("n", 1), ("top", 3)]);
    let first = &told.rows[0].attributes;
    assert_eq!(
        (first[0].integer, first[1].integer, first[2].real),
        (Some(1), Some(5), Some(9.0))
    );

    let distinct = [
        ("outFields", "kind"),
        ("returnDistinctValues", "true"),
        ("resultRecordCount", "1"),
    ];
    let told = pbf(&client, 0, &distinct).await.features.unwrap();
    assert!(told.exceeded && told.rows.len() == 1);
    let counted = pbf(
        &client,
        0,
        &[distinct[0], distinct[1], ("returnCountOnly", "true")],
    )
    .await;
    assert_eq!(counted.count.unwrap().count, 2);
    let geojson = client
        .post("0/query", &[distinct[0], distinct[1], ("f", "geojson")])
        .await;
    let row =
        |kind: i64| json!({"type": "Feature", "geometry": null, "properties": {"kind": kind}});
    assert_eq!(
        geojson,
        json!({"type": "FeatureCollection", "features": [row(1), row(2)]})
    );
}

#[tokio::test]
async fn z_and_m_come_when_asked_for_in_every_form() {
    let client = with_heights();
    let both = [("where", "1=1"), ("returnZ", "true"), ("returnM", "true")];
    // On the wire an exterior ring runs clockwise, the stored one the other way.
    let ring = [
        [0.0, 0.0, 1.5, 10.0],
        [100.0, 100.0, 3.0, 30.0],
        [100.0, 0.0, -2.25, 20.0],
        [0.0, 0.0, 1.5, 10.0],
    ];
    let told = client.post("1/query", &both).await;
    assert_eq!((&told["hasZ"], &told["hasM"]), (&json!(true), &json!(true)));
    assert_eq!(told["features"][0]["geometry"]["rings"], json!([ring]));

    let told = pbf(&client, 1, &both).await.features.unwrap();
    assert!(told.has_z && told.has_m);
    assert_eq!(told.positions(0), ring);
    let flat = pbf(&client, 1, &both[..1]).await.features.unwrap();
    assert!(!flat.has_z && !flat.has_m);
    assert_eq!(flat.positions(0), ring.map(|p| p[..2].to_vec()));
    let measured = pbf(&client, 1, &[both[0], both[2]]).await.features.unwrap();
    assert_eq!(measured.positions(0), ring.map(|p| vec![p[0], p[1], p[3]]));

    let grid = json!({"tolerance": 10, "extent": {"xmin": 0, "ymin": 0, "xmax": 100, "ymax": 100}})
        .to_string();
    let grid = ("quantizationParameters", grid.as_str());
    let told = client
        .post("1/query", &[both[0], both[1], both[2], grid])
        .await;
    let step = told["transform"]["scale"][2].as_f64().unwrap();
    assert_eq!(told["transform"]["scale"][3], step);
    let part: Vec<[f64; 4]> =
        serde_json::from_value(told["features"][0]["geometry"]["rings"][0].clone()).unwrap();
    let heights = part.iter().map(|p| [p[2] * step, p[3] * step]);
    let rounded: Vec<_> = heights
        .map(|p| p.map(|n| (n * 1e3).round() / 1e3))
        .collect();
    assert_eq!(rounded, ring.map(|p| [p[2], p[3]]), "z and m are not steps");
    let told = pbf(&client, 1, &[both[0], both[1], both[2], grid])
        .await
        .features
        .unwrap();
    assert_eq!(told.positions(0), ring);

    let told = client
        .post("1/query", &[both[0], ("f", "geojson"), ("outSR", "3857")])
        .await;
    let positions: &Value = &told["features"][0]["geometry"]["coordinates"][0];
    assert_eq!(positions[1], json!([100.0, 0.0, -2.25]));
}
