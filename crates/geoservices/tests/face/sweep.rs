//! A sweep: every parameter of every operation gets every hostile value. Whatever comes back is the dialect's own answer,
//! and what is refused has changed nothing.
//!
//! Bad values that have one right answer are in `bad_input.rs`; here it is the number that counts. Source: `GUARANTEES.md` 4.2 and 4.3.

use axum::body::Body;
use http::header;
use serde_json::Value;

use crate::web::{Client, SERVICE, form};

const EMBEDDED: (&str, &str) = ("transportType", "esriTransportTypeEmbedded");
const STATISTICS: &str =
    r#"[{"statisticType":"count","onStatisticField":"OBJECTID","outStatisticFieldName":"n"}]"#;

type Operation = (&'static str, &'static [(&'static str, &'static str)]);

/// Operations below the service, with parameters that are right.
const OPERATIONS: &[Operation] = &[
    ("", &[("f", "json")]),
    ("layers", &[("f", "json")]),
    ("0", &[("f", "json")]),
    (
        "0/query",
        &[
            ("where", "1=1"),
            ("objectIds", "1,2"),
            ("globalIds", ""),
            ("geometry", "0,0,500,100"),
            ("geometryType", "esriGeometryEnvelope"),
            ("inSR", "3857"),
            ("spatialRel", "esriSpatialRelIntersects"),
            ("distance", "0"),
            ("outSR", "4326"),
            ("outFields", "name"),
            ("orderByFields", "name"),
            ("returnGeometry", "true"),
            ("returnIdsOnly", "false"),
            ("returnCountOnly", "false"),
            ("returnExtentOnly", "false"),
            ("returnZ", "false"),
            ("returnM", "false"),
            ("resultOffset", "0"),
            ("resultRecordCount", "5"),
            ("geometryPrecision", "2"),
            ("maxAllowableOffset", "1"),
            ("quantizationParameters", ""),
            ("resultType", "standard"),
            ("sqlFormat", "standard"),
            ("time", "0"),
            ("historicMoment", ""),
            ("f", "json"),
        ],
    ),
    (
        "0/query",
        &[
            ("where", "1=1"),
            ("outStatistics", STATISTICS),
            ("groupByFieldsForStatistics", "kind"),
            ("having", "COUNT(OBJECTID) > 0"),
            ("orderByFields", "n"),
            ("f", "pbf"),
        ],
    ),
    (
        "0/query",
        &[
            ("returnDistinctValues", "true"),
            ("outFields", "kind"),
            ("f", "geojson"),
        ],
    ),
    (
        "0/queryRelatedRecords",
        &[
            ("objectIds", "1"),
            ("relationshipId", "0"),
            ("outFields", "*"),
            ("definitionExpression", "1=1"),
            ("orderByFields", "name"),
        ],
    ),
    ("0/validateSQL", &[("sql", "1=1"), ("sqlType", "where")]),
    ("0/1", &[("outFields", "*"), ("outSR", "4326")]),
    (
        "0/applyEdits",
        &[
            (
                "adds",
                r#"[{"attributes":{"name":"x"},"geometry":{"x":1,"y":2}}]"#,
            ),
            ("updates", r#"[{"attributes":{"OBJECTID":1,"height":4}}]"#),
            ("deletes", "999"),
            ("useGlobalIds", "false"),
            ("rollbackOnFailure", "true"),
            ("attachments", ""),
            ("editsUploadId", ""),
            ("editsUploadFormat", "json"),
            ("returnEditMoment", "true"),
            ("async", "false"),
        ],
    ),
    (
        "applyEdits",
        &[
            (
                "edits",
                r#"[{"id":0,"updates":[{"attributes":{"OBJECTID":1,"height":4}}]}]"#,
            ),
            ("useGlobalIds", "false"),
            ("rollbackOnFailure", "true"),
            ("honorSequenceOfEdits", "true"),
            ("async", "false"),
        ],
    ),
    (
        "0/addFeatures",
        &[
            ("features", r#"[{"attributes":{"name":"x"}}]"#),
            ("rollbackOnFailure", "true"),
        ],
    ),
    (
        "0/updateFeatures",
        &[
            ("features", r#"[{"attributes":{"OBJECTID":1,"name":"x"}}]"#),
            ("useGlobalIds", "false"),
        ],
    ),
    (
        "0/deleteFeatures",
        &[
            ("objectIds", "999"),
            ("where", "1=0"),
            ("geometry", "90000,0,90001,1"),
            ("returnDeleteResults", "true"),
        ],
    ),
    (
        "0/calculate",
        &[
            ("where", "OBJECTID = 1"),
            ("calcExpression", r#"[{"field":"height","value":3}]"#),
            ("sqlFormat", "standard"),
        ],
    ),
    (
        "0/queryAttachments",
        &[
            ("definitionExpression", "1=1"),
            ("objectIds", "1"),
            ("globalIds", ""),
            ("attachmentTypes", "text/plain"),
            ("keywords", "a"),
            ("size", "0,100"),
            ("returnUrl", "true"),
            ("returnCountOnly", "true"),
        ],
    ),
    ("0/1/attachments", &[("returnUrl", "true")]),
    (
        "0/1/addAttachment",
        &[("uploadId", "i0"), ("keywords", "a"), ("globalId", "")],
    ),
    (
        "0/1/updateAttachment",
        &[("attachmentId", "1"), ("uploadId", "i0")],
    ),
    ("0/1/deleteAttachments", &[("attachmentIds", "999")]),
    ("uploads/upload", &[("description", "x"), ("filename", "x")]),
    (
        "uploads/register",
        &[("itemName", "x"), ("description", "x")],
    ),
    ("uploads/i0/commit", &[("parts", "1,2")]),
    (
        "createReplica",
        &[
            ("replicaName", "field"),
            ("layers", "0"),
            ("layerQueries", r#"{"0":{"where":"1=1"}}"#),
            ("geometry", "0,0,500,100"),
            ("geometryType", "esriGeometryEnvelope"),
            ("inSR", "3857"),
            ("spatialRel", "esriSpatialRelIntersects"),
            ("replicaSR", "3857"),
            ("returnAttachments", "false"),
            ("returnAttachmentsDataByUrl", "true"),
            ("attachmentsSyncDirection", "none"),
            EMBEDDED,
            ("async", "false"),
            ("syncModel", "none"),
            ("targetType", "client"),
            ("syncDirection", "bidirectional"),
            ("dataFormat", "json"),
            ("replicaOptions", ""),
        ],
    ),
    ("unRegisterReplica", &[("replicaID", "0")]),
    ("replicas", &[("returnLastSyncDate", "true")]),
    (
        "extractChanges",
        &[
            ("layers", "0"),
            ("serverGens", "[0]"),
            ("layerServerGens", ""),
            ("layerQueries", ""),
            ("geometry", "0,0,500,100"),
            ("inSR", "3857"),
            ("outSR", "3857"),
            ("returnInserts", "true"),
            ("returnUpdates", "true"),
            ("returnDeletes", "true"),
            ("returnIdsOnly", "false"),
            ("returnExtentOnly", "false"),
            ("returnDeletedFeatures", "true"),
            ("returnAttachments", "true"),
            ("fieldsToCompare", "name"),
            ("dataFormat", "json"),
            EMBEDDED,
        ],
    ),
];

/// The same for a replica of the test: `replicaID` is put before these.
const SYNCHRONISE: &[(&str, &str)] = &[
    ("replicaServerGen", "1"),
    ("syncLayers", ""),
    ("syncDirection", "bidirectional"),
    ("edits", r#"[{"id":0,"features":{"deleteIds":[]}}]"#),
    ("editsUploadID", ""),
    ("editsUploadFormat", "json"),
    ("returnIdsForAdds", "false"),
    ("returnAttachmentsDataByUrl", "true"),
    ("dataFormat", "json"),
    EMBEDDED,
    ("rollbackOnFailure", "false"),
    ("async", "false"),
];

fn hostile() -> Vec<String> {
    let mut values: Vec<String> = [
        "",
        " ",
        "null",
        "none",
        "true",
        "-1",
        "0",
        "1e309",
        "NaN",
        "-0.0",
        "99999999999999999999",
        "-9223372036854775808",
        "[",
        "{",
        "[]",
        "{}",
        "[{}]",
        "[null]",
        "[[]]",
        "{\"a\":1,\"a\":2}",
        "{\"__proto__\":{\"admin\":true}}",
        "[{\"id\":-1}]",
        "[{\"id\":0,\"adds\":7}]",
        "[{\"attributes\":7}]",
        "[{\"attributes\":{\"OBJECTID\":1e400}}]",
        "[{\"attributes\":{\"name\":\"\\ud800\"}}]",
        "[{\"attributes\":{\"name\":\"\\u0000\"}}]",
        "[{\"attributes\":{\"name\":{}}}]",
        "[{\"geometry\":{\"x\":\"a\"}}]",
        "[{\"geometry\":{\"rings\":[[[0,0]]]}}]",
        "{\"x\":1e999,\"y\":0}",
        "{\"xmin\":5,\"ymin\":5,\"xmax\":1,\"ymax\":1}",
        "{\"rings\":[],\"paths\":[]}",
        "\"",
        "'",
        "';--",
        "1=1; DROP TABLE trees",
        "1 UNION SELECT * FROM haversack_track",
        "name = load_extension('x')",
        "CASE WHEN",
        "((",
        "a\u{0}b",
        "\u{feff}x",
        "\u{202e}txt",
        "../../etc/passwd",
        "%2e%2e%2f",
        "<script>alert(1)</script>",
        "*",
        ",",
        "1,,2",
        "http://169.254.169.254/",
        "{00000000-0000-0000-0000-000000000000}",
        "esriTransportTypeUrl;",
    ]
    .map(str::to_owned)
    .to_vec();
    values.push("[".repeat(200) + &"]".repeat(200));
    values.push("(".repeat(1000) + "1=1");
    values.push("x".repeat(70_000));
    values.push(vec!["7"; 20_000].join(","));
    values
}

/// What a request came to: its status, and its JSON if it is JSON.
async fn post(client: &Client, path: &str, params: &[(&str, &str)]) -> (u16, Option<Value>) {
    let request = client
        .request("POST", path)
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    let (parts, body) = client
        .raw(request.body(Body::from(form(params))).unwrap())
        .await;
    (parts.status.as_u16(), serde_json::from_slice(&body).ok())
}

/// Codes of the dialect for what is wrong with a request.
const CODES: [i64; 6] = [400, 403, 404, 405, 413, 498];

/// Sends each hostile value in the place of each parameter, after those of `fixed`; the number of requests.
async fn sweep(
    client: &Client,
    path: &str,
    fixed: &[(&str, &str)],
    right: &[(&str, &str)],
) -> usize {
    let all: Vec<_> = fixed.iter().chain(right).copied().collect();
    let is_right = post(client, path, &all)
        .await
        .1
        .is_none_or(|a| a["error"].is_null());
    let mut before = client.host.fingerprint();
    for at in fixed.len()..all.len() {
        for value in hostile() {
            let mut params = all.clone();
            params[at].1 = &value;
            let (status, answer) = post(client, path, &params).await;
            let after = client.host.fingerprint();
            let shown: String = value.chars().take(60).collect();
            let case = format!("{path} {}={shown:?}", all[at].0);
            assert_eq!(status, 200, "{case}");
            if let Some(error) = answer.as_ref().and_then(|a| a.get("error")) {
                // An empty value is an absent one; then it may be another parameter that has no sense any more.
                let is_there = !["", "null", "none"].contains(&value.trim());
                check(error, (is_right && is_there).then_some(all[at].0), &case);
                assert_eq!(
                    after, before,
                    "{case} was refused and changed something: {error}"
                );
            }
            before = after;
        }
    }
    right.len() * hostile().len()
}

/// An error is one of the dialect's. With everything else right it names the parameter that is wrong.
fn check(error: &Value, name: Option<&str>, case: &str) {
    let code = error["code"].as_i64().unwrap();
    assert!(CODES.contains(&code), "{case}: {error}");
    assert!(error["message"].is_string(), "{case}: {error}");
    let details: Vec<String> = serde_json::from_value(error["details"].clone()).unwrap();
    let told = details.join(" ").to_lowercase();
    if let Some(name) = name.filter(|_| code == 400) {
        assert!(told.contains(&name.to_lowercase()), "{case}: {error}");
    }
    for inside in [
        "sqlite",
        "panicked",
        ".rs:",
        "/tmp",
        "no such table",
        "syntax error",
    ] {
        assert!(
            case.contains(inside) || !told.contains(inside),
            "{case}: {error}"
        );
    }
}

#[tokio::test]
async fn no_value_of_any_parameter_breaks_an_operation() {
    let mut sent = 0;
    for (operation, right) in OPERATIONS {
        let client = Client::new().user("ada");
        sent += sweep(&client, &format!("{SERVICE}/{operation}"), &[], right).await;
    }
    assert!(sent > 7000, "{sent}");
}

#[tokio::test]
async fn no_value_of_any_parameter_breaks_a_synchronisation() {
    for model in ["perReplica", "perLayer"] {
        let client = Client::new().user("ada");
        let made = [("layers", "0"), ("syncModel", model), EMBEDDED];
        let made = client.post("createReplica", &made).await;
        let id = made["replicaID"].as_str().unwrap();
        let layers = r#"[{"id":0,"serverGen":1,"syncDirection":"bidirectional"}]"#;
        let mut right = SYNCHRONISE.to_vec();
        if model == "perLayer" {
            right[1].1 = layers;
        }
        let path = format!("{SERVICE}/synchronizeReplica");
        sweep(&client, &path, &[("replicaID", id)], &right).await;
    }
}

#[tokio::test]
async fn no_value_of_any_parameter_breaks_the_portal() {
    for (path, right) in [
        (
            "sharing/rest/generateToken",
            &[
                ("username", "ada"),
                ("password", "secret"),
                ("client", "referer"),
                ("referer", "http"),
                ("ip", ""),
                ("expiration", "60"),
            ][..],
        ),
        (
            "sharing/rest/search",
            &[
                ("q", "trees AND (type:\"feature service\")"),
                ("start", "1"),
                ("num", "10"),
                ("sortField", "avgRating"),
                ("sortOrder", "desc"),
            ][..],
        ),
        (
            "sharing/rest/oauth2/token",
            &[("grant_type", "authorization_code"), ("code", "x")][..],
        ),
        (
            "rest/services/Trees/FeatureServer/0/query",
            &[("token", "x"), ("f", "json")][..],
        ),
    ] {
        let client = Client::new();
        sweep(&client, &format!("/arcgis/{path}"), &[], right).await;
    }
    let root = Client::new().user("root");
    let right = [
        ("layers", "0"),
        ("minServerGen", "0"),
        ("retentionPeriod", "1"),
        ("retentionPeriodUnits", "days"),
        ("replicaId", ""),
    ];
    let path = SERVICE.replace("rest/services", "rest/admin/services");
    sweep(&root, &format!("{path}/cleanupChangeTracking"), &[], &right).await;
}
