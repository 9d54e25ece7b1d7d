//! Rows of grants: every way to read and every way to write obeys them.

use haversack_model::filter::{Comparison, Expr};
use haversack_model::{Filter, Right, Value as Field};
use serde_json::json;

use crate::sample::{TREES, gid_text};
use crate::web::{Client, SERVICE, code};

/// `bob` sees and edits oaks only.
fn oaks(client: &Client) -> Client {
    let oaks = Filter::Compare {
        left: Expr::Field("kind".to_owned()),
        op: Comparison::Equal,
        right: Expr::Literal(Field::Integer(1)),
    };
    let rights = [Right::Read, Right::Edit, Right::Sync, Right::Extract];
    client.host.grant("bob", &rights, vec![(TREES, oaks)]);
    client.user("bob")
}

#[tokio::test]
async fn hidden_rows_are_hidden_from_every_way_to_read() {
    let client = Client::new();
    let bob = oaks(&client);
    let ada = client.user("ada");
    ada.post_file(
        "0/2/addAttachment",
        &[("f", "json")],
        ("attachment", "x.txt", b"x"),
    )
    .await;
    let count = bob
        .post("0/query", &[("where", "1=1"), ("returnCountOnly", "true")])
        .await;
    assert_eq!(count["count"], 5);
    let ids = bob
        .post(
            "0/query",
            &[("objectIds", "1,2"), ("returnIdsOnly", "true")],
        )
        .await;
    assert_eq!(ids["objectIds"], json!([1]));
    let extent = bob
        .post("0/query", &[("where", "1=1"), ("returnExtentOnly", "true")])
        .await;
    assert_eq!(extent["extent"]["xmax"], 900.0);
    let layer = bob.get(&format!("{SERVICE}/0?f=json")).await;
    assert!(layer["extent"]["xmax"].as_f64().unwrap() < 1000.0);
    let statistics =
        r#"[{"statisticType":"max","onStatisticField":"OBJECTID","outStatisticFieldName":"m"}]"#;
    let most = bob
        .post(
            "0/query",
            &[("where", "1=1"), ("outStatistics", statistics)],
        )
        .await;
    assert_eq!(most["features"][0]["attributes"]["m"], 9);
    let distinct = bob
        .post(
            "0/query",
            &[("outFields", "kind"), ("returnDistinctValues", "true")],
        )
        .await;
    assert_eq!(distinct["features"].as_array().unwrap().len(), 1);
    let related = bob
        .post(
            "2/queryRelatedRecords",
            &[("objectIds", "1,2,3"), ("relationshipId", "0")],
        )
        .await;
    assert_eq!(
        related["relatedRecordGroups"].as_array().unwrap().len(),
        3,
        "trees 1 and 9 are oaks"
    );
    for path in ["0/2", "0/2/attachments", "0/2/attachments/1"] {
        assert_eq!(
            code(&bob.get(&format!("{SERVICE}/{path}?f=json")).await),
            404,
            "{path}"
        );
    }
    let attached = bob
        .post("0/queryAttachments", &[("definitionExpression", "1=1")])
        .await;
    assert_eq!(attached["attachmentGroups"], json!([]));
    let params = [
        ("layers", "0"),
        ("syncModel", "perReplica"),
        ("transportType", "esriTransportTypeEmbedded"),
        ("returnAttachments", "true"),
    ];
    let replica = bob.post("createReplica", &params).await;
    assert_eq!(
        replica["layers"][0]["features"].as_array().unwrap().len(),
        5
    );
    assert_eq!(replica["layers"][0]["attachments"], json!([]));
    let changes = [
        ("layers", "0"),
        ("serverGens", "[0]"),
        ("returnInserts", "true"),
        ("transportType", "esriTransportTypeEmbedded"),
    ];
    let changes = bob.post("extractChanges", &changes).await;
    assert_eq!(
        changes["edits"][0]["features"]["adds"]
            .as_array()
            .unwrap()
            .len(),
        5,
        "{changes}"
    );
}

#[tokio::test]
async fn a_row_cannot_be_moved_into_or_out_of_what_is_hidden() {
    let client = Client::new();
    let bob = oaks(&client);
    let before = client.host.fingerprint();
    for (path, name, value) in [
        (
            "0/updateFeatures",
            "features",
            json!([{"attributes": {"OBJECTID": 2, "name": "mine"}}]),
        ),
        (
            "0/updateFeatures",
            "features",
            json!([{"attributes": {"OBJECTID": 1, "kind": 2}}]),
        ),
        (
            "0/addFeatures",
            "features",
            json!([{"attributes": {"name": "ash", "kind": 2}}]),
        ),
        ("0/deleteFeatures", "objectIds", json!(2)),
    ] {
        let answer = bob.post(path, &[(name, &value.to_string())]).await;
        let results = answer.as_object().unwrap().values().next().unwrap();
        assert_eq!(results[0]["success"], false, "{path}: {answer}");
        assert_eq!(client.host.fingerprint(), before, "{path}");
    }
    let by_id = json!([{"attributes": {"GlobalID": gid_text(2), "name": "mine"}}]).to_string();
    let params = [
        ("updates", by_id.as_str()),
        ("deletes", &gid_text(4)),
        ("useGlobalIds", "true"),
        ("rollbackOnFailure", "false"),
    ];
    let answer = bob.post("0/applyEdits", &params).await;
    assert_eq!(answer["updateResults"][0]["success"], false, "{answer}");
    assert_eq!(client.host.fingerprint(), before, "{answer}");
    let none = bob.post("0/deleteFeatures", &[("where", "kind = 2")]).await;
    assert_eq!(none["deleteResults"], json!([]));
    let calculated = bob
        .post(
            "0/calculate",
            &[
                ("where", "kind = 2"),
                ("calcExpression", r#"{"field":"height","value":1}"#),
            ],
        )
        .await;
    assert_eq!(calculated["updatedFeatureCount"], 0);
}

#[tokio::test]
async fn a_right_that_is_taken_away_takes_its_rows_from_the_replica() {
    let client = Client::new();
    let bob = client.user("bob");
    let params = [
        ("layers", "0"),
        ("transportType", "esriTransportTypeEmbedded"),
    ];
    let replica = bob.post("createReplica", &params).await;
    assert_eq!(
        replica["layers"][0]["features"].as_array().unwrap().len(),
        10
    );
    let bob = oaks(&client);
    let generation = replica["replicaServerGen"].to_string();
    let id = replica["replicaID"].as_str().unwrap();
    let sync = [
        ("replicaID", id),
        ("replicaServerGen", &generation),
        ("syncDirection", "download"),
        ("transportType", "esriTransportTypeEmbedded"),
    ];
    let answer = bob.post("synchronizeReplica", &sync).await;
    let mut gone: Vec<String> =
        serde_json::from_value(answer["edits"][0]["features"]["deleteIds"].clone()).unwrap();
    gone.sort();
    assert_eq!(gone, [2, 4, 6, 8, 10].map(gid_text));
    let again = bob.post("synchronizeReplica", &sync).await;
    assert_eq!(
        again["edits"], answer["edits"],
        "a lost answer is told again"
    );
}

#[tokio::test]
async fn a_service_without_editing_takes_uploads_from_who_manages_it_alone() {
    let mut service = crate::sample::service();
    service.capabilities = ["Query", "Sync"].map(str::to_owned).to_vec();
    let host = crate::host::TestHost::of(&service, &crate::sample::fill);
    let anonymous = Client::of(&host);
    let edits =
        json!([{"id": 0, "features": {"updates": [{"attributes": {"GlobalID": gid_text(1), "name": "new"}}]}}])
            .to_string();
    for (user, direction) in [("ada", "download"), ("root", "bidirectional")] {
        let client = anonymous.user(user);
        let embedded = ("transportType", "esriTransportTypeEmbedded");
        let made = client
            .post("createReplica", &[("layers", "0"), embedded])
            .await;
        let id = made["replicaID"].as_str().unwrap();
        let info = client.get(&format!("{SERVICE}/replicas/{id}?f=json")).await;
        assert_eq!(info["syncDirection"], direction, "{user}");
        let before = host.fingerprint();
        let sync = [
            ("replicaID", id),
            ("syncDirection", "upload"),
            ("edits", &edits),
            embedded,
        ];
        let answer = client.post("synchronizeReplica", &sync).await;
        if user == "root" {
            assert_eq!(answer["edits"][0]["updateResults"][0]["success"], true);
        } else {
            assert_eq!(code(&answer), 403, "{answer}");
            assert_eq!(host.fingerprint(), before);
        }
    }
    let root = anonymous
        .user("ada")
        .get(&format!("{SERVICE}?f=json"))
        .await;
    assert_eq!(root["supportedExportFormats"], "", "Extract is not offered");
}
