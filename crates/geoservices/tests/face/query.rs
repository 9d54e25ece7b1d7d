//! `query` and what belongs to it.

use serde_json::{Value, json};

use crate::sample::gid_text;
use crate::web::{Client, SERVICE, code};

async fn query(params: &[(&str, &str)]) -> Value {
    Client::new().post("0/query", params).await
}

/// Numbers of the trees of an answer, by their names.
fn trees(answer: &Value) -> Vec<i64> {
    let features = answer["features"]
        .as_array()
        .unwrap_or_else(|| panic!("{answer}"));
    let number = |feature: &Value| {
        let name = feature["attributes"]["name"].as_str().unwrap();
        name.trim_start_matches("tree ").parse().unwrap()
    };
    features.iter().map(number).collect()
}

#[tokio::test]
async fn a_condition_chooses_records() {
    for (condition, expected) in [
        ("1=1", (1..=10).collect::<Vec<_>>()),
        ("height > 7", vec![8, 9]),
        ("height IS NULL", vec![10]),
        ("name LIKE 'tree 1%'", vec![1, 10]),
        ("kind IN (1) AND NOT height BETWEEN 2 AND 8", vec![1, 9]),
        ("planted = TIMESTAMP '1970-01-03 00:00:00'", vec![2]),
        ("UPPER(name) = 'TREE 4' OR OBJECTID = 3", vec![3, 4]),
        ("kind = 3", vec![]),
    ] {
        let answer = query(&[("where", condition), ("outFields", "name")]).await;
        assert_eq!(trees(&answer), expected, "{condition}");
    }
}

#[tokio::test]
async fn ids_choose_records() {
    let by_object_id = query(&[("objectIds", "3, 5"), ("outFields", "name")]).await;
    assert_eq!(trees(&by_object_id), [3, 5]);
    let ids = format!("{},{}", gid_text(7), gid_text(8).to_lowercase());
    let by_global_id = query(&[("globalIds", &ids), ("outFields", "name")]).await;
    assert_eq!(trees(&by_global_id), [7, 8]);
}

#[tokio::test]
async fn a_geometry_chooses_records_in_any_reference() {
    let polygon = r#"{"rings":[[[150,0],[150,100],[350,100],[350,0],[150,0]]]}"#;
    for (geometry, more) in [
        ("150, 0, 350, 100", ("geometryType", "esriGeometryEnvelope")),
        (
            r#"{"xmin":150,"ymin":0,"xmax":350,"ymax":100}"#,
            ("spatialRel", "esriSpatialRelIntersects"),
        ),
        (polygon, ("spatialRel", "esriSpatialRelWithin")),
        (polygon, ("spatialRel", "esriSpatialRelEnvelopeIntersects")),
        ("0.001348,0,0.003144,0.000898", ("inSR", "4326")),
        (
            r#"{"xmin":0.001348,"ymin":0,"xmax":0.003144,"ymax":0.000898,"spatialReference":{"wkid":4326}}"#,
            ("inSR", "3857"),
        ),
        (
            r#"{"geometry":{"xmin":150,"ymin":0,"xmax":350,"ymax":100},"geometryType":"esriGeometryEnvelope"}"#,
            ("inSR", "102100"),
        ),
    ] {
        let answer = query(&[("geometry", geometry), more, ("outFields", "name")]).await;
        assert_eq!(trees(&answer), [2, 3], "{geometry} {more:?}");
    }
    let world = query(&[
        ("geometry", "-180,-90,180,90"),
        ("inSR", "4326"),
        ("returnCountOnly", "true"),
    ])
    .await;
    assert_eq!(
        world,
        json!({"count": 10}),
        "the poles are cut off, not refused"
    );
}

#[tokio::test]
async fn a_polygon_is_found_by_every_relation_that_holds() {
    let client = Client::new();
    for (relation, geometry, expected) in [
        ("esriSpatialRelContains", r#"{"x":100,"y":50}"#, 1),
        ("esriSpatialRelContains", r#"{"x":50,"y":50}"#, 0),
        ("esriSpatialRelIntersects", r#"{"x":50,"y":50}"#, 1),
        ("esriSpatialRelTouches", r#"{"x":50,"y":50}"#, 1),
        ("esriSpatialRelOverlaps", "0,50,100,200", 1),
        ("esriSpatialRelWithin", "0,-10,400,200", 1),
        ("esriSpatialRelWithin", "0,10,400,200", 0),
        (
            "esriSpatialRelCrosses",
            r#"{"paths":[[[0,50],[400,50]]]}"#,
            1,
        ),
    ] {
        let params = [
            ("geometry", geometry),
            ("spatialRel", relation),
            ("returnCountOnly", "true"),
        ];
        let answer = client.post("1/query", &params).await;
        assert_eq!(answer["count"], expected, "{relation} {geometry}");
    }
}

#[tokio::test]
async fn fields_order_and_pages_are_as_asked() {
    let answer = query(&[
        ("where", "1=1"),
        ("outFields", "name,height"),
        ("orderByFields", "kind DESC, height DESC"),
        ("resultRecordCount", "3"),
        ("resultOffset", "1"),
        ("returnGeometry", "false"),
    ])
    .await;
    assert_eq!(trees(&answer), [6, 4, 2]);
    assert_eq!(answer["exceededTransferLimit"], true);
    assert_eq!(answer["fields"].as_array().unwrap().len(), 2);
    assert!(answer["features"][0].get("geometry").is_none());
    let last = query(&[
        ("where", "1=1"),
        ("outFields", "name"),
        ("resultOffset", "9"),
    ])
    .await;
    assert_eq!(trees(&last), [10]);
    assert!(last.get("exceededTransferLimit").is_none());
}

#[tokio::test]
async fn ids_come_in_the_order_asked_for() {
    let answer = query(&[
        ("where", "1=1"),
        ("returnIdsOnly", "true"),
        ("orderByFields", "height DESC"),
        ("resultRecordCount", "3"),
    ])
    .await;
    assert_eq!(answer["objectIds"], json!([9, 8, 7]));
}

#[tokio::test]
async fn what_would_change_the_answer_and_is_not_offered_is_refused() {
    let place = [("geometry", "100,50"), ("returnCountOnly", "true")];
    let near = query(&[place[0], place[1], ("distance", "500")]).await;
    assert_eq!(
        near["error"]["details"][0],
        "'distance': it is not offered here"
    );
    let then = query(&[("where", "1=1"), ("historicMoment", "1700000000000")]).await;
    assert_eq!(code(&then), 400);
    let at = query(&[place[0], place[1], ("distance", "0")]).await;
    assert_eq!(at["count"], 1);
}

#[tokio::test]
async fn counts_ids_and_extents_ignore_pages() {
    let all = ("where", "kind=1");
    let count = query(&[all, ("returnCountOnly", "True"), ("resultRecordCount", "2")]).await;
    assert_eq!(count, json!({"count": 5}));
    let ids = query(&[all, ("returnIdsOnly", "true")]).await;
    assert_eq!(
        ids,
        json!({"objectIdFieldName": "OBJECTID", "objectIds": [1, 3, 5, 7, 9]})
    );
    let both = query(&[
        all,
        ("returnExtentOnly", "true"),
        ("returnCountOnly", "true"),
    ])
    .await;
    assert_eq!(both["count"], 5);
    assert_eq!(
        (&both["extent"]["xmin"], &both["extent"]["xmax"]),
        (&json!(100.0), &json!(900.0))
    );
    let degrees = query(&[all, ("returnExtentOnly", "true"), ("outSR", "4326")]).await;
    assert!((degrees["extent"]["xmax"].as_f64().unwrap() - 0.008_084_8).abs() < 1e-6);
}

#[tokio::test]
async fn statistics_are_grouped_and_filtered() {
    let statistics = json!([
        {"statisticType": "count", "onStatisticField": "OBJECTID", "outStatisticFieldName": "n"},
        {"statisticType": "sum", "onStatisticField": "height", "outStatisticFieldName": "total"},
        {"statisticType": "max", "onStatisticField": "planted", "outStatisticFieldName": "latest"},
    ])
    .to_string();
    let params = [
        ("where", "1=1"),
        ("outStatistics", &statistics),
        ("groupByFieldsForStatistics", "kind"),
        ("orderByFields", "total DESC"),
    ];
    let answer = query(&params).await;
    let rows = |answer: &Value| -> Vec<Value> {
        let features = answer["features"].as_array().unwrap();
        features
            .iter()
            .map(|feature| feature["attributes"].clone())
            .collect()
    };
    assert_eq!(
        rows(&answer),
        [
            json!({"kind": 1, "n": 5, "total": 25.0, "latest": 777_600_000}),
            json!({"kind": 2, "n": 5, "total": 20.0, "latest": 864_000_000}),
        ]
    );
    assert_eq!(answer["fields"][3]["type"], "esriFieldTypeDate");
    let having = query(&[
        params[0],
        params[1],
        params[2],
        ("having", "SUM(height) > 22"),
    ])
    .await;
    assert_eq!(rows(&having).len(), 1);
}

#[tokio::test]
async fn distinct_values_come_once() {
    let params = [
        ("where", "1=1"),
        ("outFields", "kind"),
        ("returnDistinctValues", "true"),
        ("orderByFields", "kind DESC"),
    ];
    let answer = query(&params).await;
    let kinds = answer["features"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| f["attributes"]["kind"].clone());
    assert_eq!(kinds.collect::<Vec<_>>(), [json!(2), json!(1)]);
    let count = query(&[params[0], params[1], params[2], ("returnCountOnly", "true")]).await;
    assert_eq!(count, json!({"count": 2}));
}

#[tokio::test]
async fn geometry_is_given_in_the_reference_and_precision_asked_for() {
    let params = [
        ("objectIds", "1"),
        ("outSR", "4326"),
        ("geometryPrecision", "4"),
    ];
    let answer = query(&params).await;
    assert_eq!(answer["spatialReference"]["wkid"], 4326);
    assert_eq!(
        answer["features"][0]["geometry"],
        json!({"x": 0.0009, "y": 0.0004})
    );
    let usual = query(&[("objectIds", "1")]).await;
    assert_eq!(
        usual["features"][0]["geometry"],
        json!({"x": 100.0, "y": 50.0})
    );
    assert_eq!(
        usual["features"][0]["attributes"]
            .as_object()
            .unwrap()
            .len(),
        2,
        "id and display field"
    );
}

#[tokio::test]
async fn rings_run_clockwise_on_the_wire_and_can_be_quantised() {
    let client = Client::new();
    let answer = client.post("1/query", &[("where", "1=1")]).await;
    let ring = &answer["features"][0]["geometry"]["rings"][0];
    let points: Vec<(f64, f64)> = serde_json::from_value(ring.clone()).unwrap();
    let doubled: f64 = points
        .windows(2)
        .map(|w| w[0].0 * w[1].1 - w[1].0 * w[0].1)
        .sum();
    assert!(doubled < 0.0, "an exterior ring is clockwise: {ring}");
    let grid = r#"{"mode":"view","originPosition":"upperLeft","tolerance":10,"extent":{"xmin":0,"ymin":0,"xmax":400,"ymax":100}}"#;
    let answer = client
        .post(
            "1/query",
            &[("where", "1=1"), ("quantizationParameters", grid)],
        )
        .await;
    assert_eq!(answer["transform"]["scale"][0], 10.0);
    let ring: Vec<(i64, i64)> =
        serde_json::from_value(answer["features"][0]["geometry"]["rings"][0].clone()).unwrap();
    let end = ring
        .iter()
        .fold((0, 0), |at, step| (at.0 + step.0, at.1 + step.1));
    assert_eq!(end, ring[0], "the steps lead back to the start: {ring:?}");
}

#[tokio::test]
async fn geojson_is_in_degrees() {
    let answer = query(&[
        ("objectIds", "1,2"),
        ("outFields", "*"),
        ("f", "geojson"),
        ("resultRecordCount", "1"),
    ])
    .await;
    assert_eq!(answer["type"], "FeatureCollection");
    let feature = &answer["features"][0];
    assert_eq!(feature["properties"]["name"], "tree 1");
    assert_eq!(feature["geometry"]["type"], "Point");
    assert!(feature["geometry"]["coordinates"][0].as_f64().unwrap() < 0.001);
    assert_eq!(answer["properties"]["exceededTransferLimit"], true);
}

#[tokio::test]
async fn one_feature_is_read_by_its_id() {
    let feature = Client::new().get(&format!("{SERVICE}/0/4?f=json")).await;
    assert_eq!(feature["feature"]["attributes"]["name"], "tree 4");
    assert_eq!(feature["feature"]["geometry"]["x"], 400.0);
}

#[tokio::test]
async fn related_records_are_found_from_both_ends() {
    let client = Client::new();
    let params = [
        ("objectIds", "1,2,9"),
        ("relationshipId", "0"),
        ("outFields", "name"),
    ];
    let from_trees = client.post("0/queryRelatedRecords", &params).await;
    let groups = from_trees["relatedRecordGroups"].as_array().unwrap();
    assert_eq!(groups.len(), 2);
    assert_eq!(groups[0]["objectId"], 1);
    assert_eq!(groups[0]["relatedRecords"].as_array().unwrap().len(), 2);
    assert_eq!(
        groups[1]["relatedRecords"][0]["attributes"]["name"],
        "inspection 103"
    );
    let from_table = client.post("2/queryRelatedRecords", &params).await;
    let groups = from_table["relatedRecordGroups"].as_array().unwrap();
    assert_eq!(
        groups[1]["relatedRecords"][0]["attributes"]["name"],
        "tree 1"
    );
    assert_eq!(from_table["geometryType"], "esriGeometryPoint");
    let counted = client
        .post(
            "0/queryRelatedRecords",
            &[params[0], params[1], ("returnCountOnly", "true")],
        )
        .await;
    assert_eq!(counted["relatedRecordGroups"][0]["count"], 2);
}

#[tokio::test]
async fn a_clause_is_validated_without_being_run() {
    let client = Client::new();
    let good = client
        .post(
            "0/validateSQL",
            &[("sql", "height > 3"), ("sqlType", "where")],
        )
        .await;
    assert_eq!(good, json!({"isValidSQL": true, "validationErrors": []}));
    let bad = client.post("0/validateSQL", &[("sql", "heigth > 3")]).await;
    assert_eq!(bad["isValidSQL"], false);
    assert!(
        bad["validationErrors"][0]["description"]
            .as_str()
            .unwrap()
            .contains("heigth")
    );
    let expression = client
        .post(
            "0/validateSQL",
            &[("sql", "height * 2"), ("sqlType", "expression")],
        )
        .await;
    assert_eq!(expression["isValidSQL"], true);
    let statement = client
        .post(
            "0/validateSQL",
            &[("sql", "DROP TABLE trees"), ("sqlType", "statement")],
        )
        .await;
    assert_eq!(code(&statement), 400);
}
