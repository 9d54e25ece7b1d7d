//! Bad input: the error names the parameter, nothing changes, nothing panics.

use crate::sample::gid_text;
use crate::web::{Client, SERVICE};

type Case = (
    &'static str,
    &'static [(&'static str, &'static str)],
    &'static str,
);

/// Operation below the service, parameters, and what the error must name.
const CASES: &[Case] = &[
    ("0/query", &[("where", "1=1; DROP TABLE trees")], "where"),
    ("0/query", &[("where", "unknown = 1")], "where"),
    ("0/query", &[("where", "name = 'x' --")], "where"),
    (
        "0/query",
        &[("where", "name = (SELECT name FROM trees)")],
        "where",
    ),
    ("0/query", &[("where", "load_extension('x') = 1")], "where"),
    ("0/query", &[("where", "name = '")], "where"),
    ("0/query", &[("where", "((((")], "where"),
    ("0/query", &[("objectIds", "1,two")], "objectIds"),
    ("0/query", &[("globalIds", "not-an-id")], "globalIds"),
    ("0/query", &[("outFields", "name,nothing")], "outFields"),
    ("0/query", &[("outFields", "name;--")], "outFields"),
    ("0/query", &[("orderByFields", "nothing")], "orderByFields"),
    (
        "0/query",
        &[("orderByFields", "name; DELETE")],
        "orderByFields",
    ),
    ("0/query", &[("geometry", "{\"x\":")], "geometry"),
    ("0/query", &[("geometry", "1,2,3")], "geometry"),
    ("0/query", &[("geometry", "5,5,1,1")], "geometry"),
    ("0/query", &[("geometry", "NaN,0,1,1")], "geometry"),
    (
        "0/query",
        &[("geometry", "{\"x\":1,\"x\":2,\"y\":1}")],
        "geometry",
    ),
    (
        "0/query",
        &[("geometry", "0,0,1,1"), ("geometryType", "circle")],
        "geometryType",
    ),
    (
        "0/query",
        &[("geometry", "0,0,1,1"), ("spatialRel", "near")],
        "spatialRel",
    ),
    (
        "0/query",
        &[("geometry", "0,0,1,1"), ("inSR", "999999")],
        "inSR",
    ),
    ("0/query", &[("outSR", "north")], "outSR"),
    (
        "0/query",
        &[("returnGeometry", "perhaps")],
        "returnGeometry",
    ),
    ("0/query", &[("resultOffset", "-1")], "resultOffset"),
    (
        "0/query",
        &[("resultRecordCount", "many")],
        "resultRecordCount",
    ),
    (
        "0/query",
        &[("geometryPrecision", "99")],
        "geometryPrecision",
    ),
    (
        "0/query",
        &[("maxAllowableOffset", "-1")],
        "maxAllowableOffset",
    ),
    (
        "0/query",
        &[("quantizationParameters", "[]")],
        "quantizationParameters",
    ),
    (
        "0/query",
        &[("quantizationParameters", "{\"tolerance\":0}")],
        "quantizationParameters",
    ),
    ("0/query", &[("outStatistics", "[]")], "outStatistics"),
    (
        "0/query",
        &[(
            "outStatistics",
            "[{\"statisticType\":\"guess\",\"onStatisticField\":\"height\",\"outStatisticFieldName\":\"x\"}]",
        )],
        "outStatistics",
    ),
    (
        "0/query",
        &[(
            "outStatistics",
            "[{\"statisticType\":\"sum\",\"onStatisticField\":\"nothing\",\"outStatisticFieldName\":\"x\"}]",
        )],
        "outStatistics",
    ),
    ("0/query", &[("returnDistinctValues", "true")], "outFields"),
    (
        "0/query",
        &[("returnDistinctValues", "true"), ("outFields", "[]")],
        "outFields",
    ),
    ("0/query", &[("sqlFormat", "oracle")], "sqlFormat"),
    ("0/query", &[("f", "kmz")], "f"),
    ("", &[("f", "xml")], "f"),
    ("0", &[("f", "xml")], "f"),
    ("createReplica", &[("layers", "0"), ("f", "xml")], "f"),
    (
        "2/query",
        &[("returnExtentOnly", "true")],
        "returnExtentOnly",
    ),
    (
        "0/queryRelatedRecords",
        &[("objectIds", "1")],
        "relationshipId",
    ),
    (
        "0/queryRelatedRecords",
        &[("objectIds", "1"), ("relationshipId", "7")],
        "relationshipId",
    ),
    (
        "0/queryRelatedRecords",
        &[("relationshipId", "0")],
        "objectIds",
    ),
    (
        "0/queryAttachments",
        &[("definitionExpression", "x ~ 1")],
        "definitionExpression",
    ),
    ("0/validateSQL", &[], "sql"),
    ("0/applyEdits", &[("adds", "7")], "adds"),
    (
        "0/applyEdits",
        &[("adds", "[{\"attributes\":{},\"attributes\":{}}]")],
        "adds",
    ),
    ("0/applyEdits", &[("updates", "[")], "updates"),
    ("0/applyEdits", &[("deletes", "[{}]")], "deletes"),
    ("0/applyEdits", &[("attachments", "{}")], "attachments"),
    (
        "0/applyEdits",
        &[("attachments", "[]"), ("useGlobalIds", "true")],
        "attachments",
    ),
    ("0/applyEdits", &[("editsUploadId", "i0")], "editsUploadId"),
    (
        "0/applyEdits",
        &[("rollbackOnFailure", "sometimes")],
        "rollbackOnFailure",
    ),
    ("0/addFeatures", &[], "features"),
    ("0/addFeatures", &[("features", "nonsense")], "features"),
    ("0/updateFeatures", &[("features", "\"x\"")], "features"),
    ("0/deleteFeatures", &[], "objectIds"),
    ("0/deleteFeatures", &[("where", "1=1 OR")], "where"),
    ("0/deleteFeatures", &[("geometry", "x")], "geometry"),
    ("0/calculate", &[("calcExpression", "[]")], "where"),
    ("0/calculate", &[("where", "1=1")], "calcExpression"),
    (
        "0/calculate",
        &[
            ("where", "1=1"),
            ("calcExpression", "[{\"field\":\"nothing\",\"value\":1}]"),
        ],
        "nothing",
    ),
    (
        "0/calculate",
        &[
            ("where", "1=1"),
            (
                "calcExpression",
                "[{\"field\":\"height\",\"sqlExpression\":\"1;2\"}]",
            ),
        ],
        "calcExpression",
    ),
    ("applyEdits", &[], "edits"),
    ("applyEdits", &[("edits", "[{\"id\":9}]")], "edits"),
    ("applyEdits", &[("edits", "[7]")], "edits"),
    ("0/1/addAttachment", &[], "attachment"),
    ("0/1/addAttachment", &[("uploadId", "i7")], "uploadId"),
    ("0/1/updateAttachment", &[], "attachmentId"),
    ("0/1/deleteAttachments", &[], "attachmentIds"),
    (
        "0/1/deleteAttachments",
        &[("attachmentIds", "x")],
        "attachmentIds",
    ),
    ("uploads/upload", &[], "file"),
    ("uploads/register", &[], "itemName"),
    ("createReplica", &[("layers", "0,9")], "layers"),
    ("createReplica", &[("layers", "[]")], "layers"),
    ("createReplica", &[("layers", "x")], "layers"),
    ("createReplica", &[("syncModel", "perRow")], "syncModel"),
    ("createReplica", &[("targetType", "server")], "targetType"),
    ("createReplica", &[("dataFormat", "sqlite")], "dataFormat"),
    (
        "createReplica",
        &[("dataFormat", "shapefile"), ("syncModel", "none")],
        "dataFormat",
    ),
    (
        "createReplica",
        &[("transportType", "carrier pigeon")],
        "transportType",
    ),
    (
        "createReplica",
        &[("attachmentsSyncDirection", "Download")],
        "attachmentsSyncDirection",
    ),
    (
        "createReplica",
        &[("syncDirection", "sideways")],
        "syncDirection",
    ),
    ("createReplica", &[("layerQueries", "[1]")], "layerQueries"),
    (
        "createReplica",
        &[("layerQueries", "{\"0\":{\"where\":\"1=1; DROP TABLE x\"}}")],
        "layerQueries",
    ),
    (
        "createReplica",
        &[("layerQueries", "{\"0\":{\"queryOption\":\"some\"}}")],
        "layerQueries",
    ),
    (
        "createReplica",
        &[("layerQueries", "{\"0\":{\"where\":7}}")],
        "layerQueries",
    ),
    ("createReplica", &[("geometry", "north")], "geometry"),
    ("createReplica", &[("inSR", "x")], "inSR"),
    ("createReplica", &[("replicaSR", "999999")], "replicaSR"),
    (
        "createReplica",
        &[("replicaOptions", "{\"refReplicaId\":\"x\"}")],
        "replicaOptions",
    ),
    ("createReplica", &[("async", "later")], "async"),
    ("unRegisterReplica", &[], "replicaID"),
    ("unRegisterReplica", &[("replicaID", "x")], "replicaID"),
    ("synchronizeReplica", &[], "replicaID"),
    (
        "synchronizeReplica",
        &[("replicaID", "../../etc")],
        "replicaID",
    ),
    ("extractChanges", &[], "serverGens"),
    (
        "extractChanges",
        &[("serverGens", "[0]"), ("dataFormat", "sqlite")],
        "dataFormat",
    ),
    (
        "extractChanges",
        &[("layerServerGens", "[{\"id\":9,\"serverGen\":1}]")],
        "layerServerGens",
    ),
    (
        "extractChanges",
        &[("layerServerGens", "{}")],
        "layerServerGens",
    ),
    (
        "extractChanges",
        &[
            ("serverGens", "[0]"),
            ("returnUpdates", "true"),
            ("fieldsToCompare", "nothing"),
            ("transportType", "esriTransportTypeEmbedded"),
        ],
        "fieldsToCompare",
    ),
];

/// The same, for a replica of the test.
const SYNC_CASES: &[(&[(&str, &str)], &str)] = &[
    (&[], "replicaServerGen"),
    (&[("replicaServerGen", "x")], "replicaServerGen"),
    (&[("replicaServerGen", "-1")], "replicaServerGen"),
    (
        &[("replicaServerGen", "1"), ("syncDirection", "up")],
        "syncDirection",
    ),
    (&[("replicaServerGen", "1"), ("edits", "{")], "edits"),
    (&[("replicaServerGen", "1"), ("edits", "7")], "edits"),
    (
        &[("replicaServerGen", "1"), ("edits", "[{\"id\":1}]")],
        "edits",
    ),
    (
        &[("replicaServerGen", "1"), ("edits", "[{\"adds\":[]}]")],
        "edits",
    ),
    (
        &[
            ("replicaServerGen", "1"),
            ("edits", "[{\"id\":0,\"adds\":7}]"),
        ],
        "edits",
    ),
    (
        &[("replicaServerGen", "1"), ("editsUploadID", "i7")],
        "editsUploadId",
    ),
    (
        &[("replicaServerGen", "1"), ("dataFormat", "sqlite")],
        "dataFormat",
    ),
    (
        &[("replicaServerGen", "1"), ("transportType", "x")],
        "transportType",
    ),
    (
        &[("replicaServerGen", "1"), ("rollbackOnFailure", "x")],
        "rollbackOnFailure",
    ),
];

fn check(answer: &serde_json::Value, named: &str, case: &str) {
    let code = answer["error"]["code"].as_i64();
    assert!(
        code.is_some_and(|code| (400..=404).contains(&code)),
        "{case}: {answer}"
    );
    let details = answer["error"]["details"].to_string();
    assert!(
        details.contains(named),
        "{case}: {named} is not named in {answer}"
    );
    for inside in ["SELECT", "sqlite", "SQL logic", "src/", ".rs", "/tmp"] {
        let sent = case.contains(inside);
        assert!(sent || !details.contains(inside), "{case}: {answer}");
    }
}

#[tokio::test]
async fn bad_input_is_named_and_changes_nothing() {
    let ada = Client::new().user("ada");
    let before = ada.host.fingerprint();
    for (operation, params, named) in CASES {
        let answer = ada.post(operation, params).await;
        check(&answer, named, &format!("{operation} {params:?}"));
        assert_eq!(ada.host.fingerprint(), before, "{operation} {params:?}");
    }
}

#[tokio::test]
async fn bad_synchronisations_are_named_and_change_nothing() {
    let ada = Client::new().user("ada");
    let made = ada.post("createReplica", &[("layers", "0")]).await;
    let id = made["replicaID"].as_str().unwrap();
    let before = ada.host.fingerprint();
    for (params, named) in SYNC_CASES {
        let mut all = vec![("replicaID", id)];
        all.extend(*params);
        let answer = ada.post("synchronizeReplica", &all).await;
        check(&answer, named, &format!("synchronizeReplica {params:?}"));
        assert_eq!(ada.host.fingerprint(), before, "{params:?}");
    }
    let made = ada
        .post(
            "createReplica",
            &[("layers", "0"), ("syncModel", "perLayer")],
        )
        .await;
    let id = made["replicaID"].as_str().unwrap();
    let before = ada.host.fingerprint();
    for layers in [
        "perLayer",
        "[]",
        "[{\"id\":0}]",
        "[{\"id\":1,\"serverGen\":1}]",
        "[{\"id\":0,\"serverGen\":1},{\"id\":0,\"serverGen\":1}]",
        "[{\"id\":0,\"serverGen\":1,\"syncDirection\":\"x\"}]",
    ] {
        let answer = ada
            .post(
                "synchronizeReplica",
                &[("replicaID", id), ("syncLayers", layers)],
            )
            .await;
        check(&answer, "syncLayers", layers);
        assert_eq!(ada.host.fingerprint(), before, "{layers}");
    }
}

#[tokio::test]
async fn limits_end_what_is_too_much() {
    let ada = Client::new().user("ada");
    let deep = format!("{}name = 'x'{}", "(".repeat(500), ")".repeat(500));
    let long = format!("name = '{}'", "x".repeat(70_000));
    let many: Vec<String> = (0..20_000).map(|n| n.to_string()).collect();
    let many = many.join(",");
    let nested = format!("{}1{}", "[".repeat(100), "]".repeat(100));
    for (name, value) in [
        ("where", &deep),
        ("where", &long),
        ("objectIds", &many),
        ("outStatistics", &nested),
    ] {
        let answer = ada.post("0/query", &[(name, value)]).await;
        assert!(
            answer["error"]["details"].to_string().contains(name),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn odd_bodies_are_refused_by_name() {
    let ada = Client::new().user("ada");
    for (kind, body, named) in [
        ("text/xml", "<x/>", "Content-Type"),
        ("multipart/form-data", "x", "Content-Type"),
        (
            "multipart/form-data; boundary=b",
            "--b\r\nnonsense",
            "multipart",
        ),
        ("application/json", "[1]", "the request body"),
        (
            "application/json",
            "{\"where\":\"1=1\",\"where\":\"2=2\"}",
            "occurs twice",
        ),
        ("application/x-www-form-urlencoded", "where=a%00b", "where"),
    ] {
        let request = ada
            .request("POST", &format!("{SERVICE}/0/query"))
            .header("content-type", kind);
        let request = request.body(axum::body::Body::from(body)).unwrap();
        let answer = crate::web::json(ada.send(request).await).await;
        assert!(
            answer["error"]["details"].to_string().contains(named),
            "{kind}: {answer}"
        );
    }
    let invalid = ada
        .request("POST", &format!("{SERVICE}/0/query"))
        .header("content-type", "application/x-www-form-urlencoded");
    let invalid = invalid
        .body(axum::body::Body::from(vec![b'w', b'=', 0xff]))
        .unwrap();
    let answer = crate::web::json(ada.send(invalid).await).await;
    assert!(answer.to_string().contains("UTF-8"), "{answer}");
}

#[tokio::test]
async fn results_of_failed_edits_name_the_field() {
    let ada = Client::new().user("ada");
    let before = ada.host.fingerprint();
    for (attributes, named) in [
        (r#"{"OBJECTID":1,"height":"tall"}"#, "height"),
        (r#"{"OBJECTID":1,"kind":2.5}"#, "kind"),
        (r#"{"OBJECTID":1,"name":null}"#, "name"),
        (r#"{"OBJECTID":1,"planted":"yesterday"}"#, "planted"),
        (r#"{"OBJECTID":"x"}"#, "OBJECTID"),
        (r#"{"height":1}"#, "OBJECTID"),
    ] {
        let features = format!("[{{\"attributes\":{attributes}}}]");
        let answer = ada
            .post("0/updateFeatures", &[("features", &features)])
            .await;
        let why = answer["updateResults"][0]["error"]["description"].as_str();
        assert!(
            why.is_some_and(|why| why.contains(named)),
            "{attributes}: {answer}"
        );
        assert_eq!(ada.host.fingerprint(), before);
    }
    let unknown = format!(
        "[{{\"attributes\":{{\"GlobalID\":\"{}\",\"height\":1}}}}]",
        gid_text(999)
    );
    let answer = ada
        .post(
            "0/applyEdits",
            &[("updates", &unknown), ("useGlobalIds", "true")],
        )
        .await;
    assert_eq!(answer["updateResults"][0]["success"], false);
}
