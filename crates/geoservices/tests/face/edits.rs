//! Edits while online.

use serde_json::{Value, json};

use crate::sample::gid_text;
use crate::web::{Client, SERVICE, code};

async fn tree(client: &Client, id: i64) -> Value {
    let answer = client.get(&format!("{SERVICE}/0/{id}?f=json")).await;
    answer["feature"].clone()
}

#[tokio::test]
async fn each_edit_has_its_result_in_order() {
    let client = Client::new().user("ada");
    let adds =
        json!([{"attributes": {"name": "new", "height": 2.5}, "geometry": {"x": 5, "y": 6}}])
            .to_string();
    let updates = json!([{"attributes": {"OBJECTID": 2, "height": 22}}, {"attributes": {"OBJECTID": 99, "height": 1}}]).to_string();
    let params = [
        ("adds", adds.as_str()),
        ("updates", &updates),
        ("deletes", "3,98"),
        ("rollbackOnFailure", "false"),
        ("returnEditMoment", "true"),
    ];
    let answer = client.post("0/applyEdits", &params).await;
    assert_eq!(answer["addResults"][0]["success"], true, "{answer}");
    assert_eq!(answer["updateResults"][0]["objectId"], 2);
    assert_eq!(answer["updateResults"][1]["error"]["code"], 1019);
    assert_eq!(answer["deleteResults"][0]["success"], true);
    assert_eq!(answer["deleteResults"][1]["error"]["code"], 1018);
    assert!(answer["editMoment"].is_i64());
    let id = answer["addResults"][0]["objectId"].as_i64().unwrap();
    let added = tree(&client, id).await;
    assert_eq!(
        (&added["attributes"]["height"], &added["geometry"]["x"]),
        (&json!(2.5), &json!(5.0))
    );
    assert_eq!(
        (
            &added["attributes"]["creator"],
            &added["attributes"]["editor"]
        ),
        (&json!("ada"), &json!("ada"))
    );
    let second = tree(&client, 2).await;
    assert_eq!(
        (
            &second["attributes"]["height"],
            &second["attributes"]["name"]
        ),
        (&json!(22.0), &json!("tree 2"))
    );
}

#[tokio::test]
async fn one_failure_undoes_all_unless_told_otherwise() {
    let client = Client::new().user("ada");
    let before = client.host.fingerprint();
    for bad in [
        json!({"attributes": {"OBJECTID": 2, "height": "high"}}),
        json!({"attributes": {"OBJECTID": 2, "kind": 77}}),
        json!({"attributes": {"OBJECTID": 2, "name": "x".repeat(51)}}),
        json!({"attributes": {"OBJECTID": 2}, "geometry": {"paths": [[[0, 0], [1, 1]]]}}),
    ] {
        let updates = json!([{"attributes": {"OBJECTID": 1, "height": 5}}, bad]).to_string();
        let answer = client.post("0/applyEdits", &[("updates", &updates)]).await;
        assert_eq!(
            answer["updateResults"][0]["error"]["code"], 1003,
            "{answer}"
        );
        assert_eq!(answer["updateResults"][1]["success"], false, "{answer}");
        assert_eq!(client.host.fingerprint(), before);
    }
}

#[tokio::test]
async fn global_ids_of_the_client_are_kept_when_asked_for() {
    let client = Client::new().user("ada");
    let id = gid_text(0xabc);
    let adds = json!([{"attributes": {"name": "mine", "GlobalID": id}}]).to_string();
    let kept = client
        .post("0/applyEdits", &[("adds", &adds), ("useGlobalIds", "true")])
        .await;
    assert_eq!(kept["addResults"][0]["globalId"], id);
    let object_id = &kept["addResults"][0]["objectId"];
    let again = client
        .post("0/applyEdits", &[("adds", &adds), ("useGlobalIds", "true")])
        .await;
    assert_eq!(
        (
            &again["addResults"][0]["success"],
            &again["addResults"][0]["objectId"]
        ),
        (&json!(true), object_id),
        "a repeat is no second row"
    );
    let other = adds.replace("mine", "another");
    let taken = client
        .post(
            "0/applyEdits",
            &[("adds", &other), ("useGlobalIds", "true")],
        )
        .await;
    assert_eq!(taken["addResults"][0]["error"]["code"], 1017);
    let ignored = client.post("0/applyEdits", &[("adds", &other)]).await;
    assert_ne!(ignored["addResults"][0]["globalId"], id);
    let updates = json!([{"attributes": {"GlobalID": id, "name": "renamed"}}]).to_string();
    let by_id = client
        .post(
            "0/applyEdits",
            &[
                ("updates", &updates),
                ("deletes", &gid_text(4)),
                ("useGlobalIds", "true"),
            ],
        )
        .await;
    assert_eq!(
        (
            &by_id["updateResults"][0]["success"],
            &by_id["deleteResults"][0]["success"]
        ),
        (&json!(true), &json!(true)),
        "{by_id}"
    );
}

#[tokio::test]
async fn the_service_edits_several_layers_at_once() {
    let client = Client::new().user("ada");
    let edits = json!([
        {"id": 0, "adds": [{"attributes": {"name": "a"}}]},
        {"id": 2, "adds": [{"attributes": {"name": "b", "tree": gid_text(2)}}], "deletes": [1]},
    ])
    .to_string();
    let answer = client.post("applyEdits", &[("edits", &edits)]).await;
    assert_eq!(answer[0]["id"], 0);
    assert_eq!(answer[1]["addResults"][0]["success"], true, "{answer}");
    assert_eq!(answer[1]["deleteResults"][0]["objectId"], 1);
    let before = client.host.fingerprint();
    let bad = json!([{"id": 0, "deletes": "1"}, {"id": 2, "deletes": [77]}]).to_string();
    let answer = client.post("applyEdits", &[("edits", &bad)]).await;
    assert_eq!(answer[0]["deleteResults"][0]["error"]["code"], 1003);
    assert_eq!(client.host.fingerprint(), before);
}

#[tokio::test]
async fn features_are_added_updated_and_deleted_by_their_own_operations() {
    let client = Client::new().user("ada");
    let added = client
        .post(
            "0/addFeatures",
            &[("features", r#"[{"attributes":{"name":"x"}}]"#)],
        )
        .await;
    let id = added["addResults"][0]["objectId"].as_i64().unwrap();
    let features = json!([{"attributes": {"OBJECTID": id, "height": 1}}]).to_string();
    let updated = client
        .post("0/updateFeatures", &[("features", &features)])
        .await;
    assert_eq!(updated["updateResults"][0]["success"], true);
    let gone = client
        .post("0/deleteFeatures", &[("objectIds", &id.to_string())])
        .await;
    assert_eq!(gone["deleteResults"][0]["objectId"], id);
    let by_condition = client
        .post("0/deleteFeatures", &[("where", "kind = 2")])
        .await;
    assert_eq!(by_condition["deleteResults"].as_array().unwrap().len(), 5);
    let by_place = client
        .post(
            "0/deleteFeatures",
            &[
                ("geometry", "0,0,350,100"),
                ("returnDeleteResults", "false"),
            ],
        )
        .await;
    assert_eq!(by_place, json!({"success": true}));
    let left = client
        .post("0/query", &[("where", "1=1"), ("returnCountOnly", "true")])
        .await;
    assert_eq!(left["count"], 3);
}

#[tokio::test]
async fn calculate_sets_values_and_expressions() {
    let client = Client::new().user("ada");
    let expression =
        r#"[{"field":"height","sqlExpression":"height * 10"},{"field":"kind","value":3}]"#;
    let params = [("where", "kind = 1"), ("calcExpression", expression)];
    let answer = client.post("0/calculate", &params).await;
    assert_eq!(answer, json!({"success": true, "updatedFeatureCount": 5}));
    let changed = tree(&client, 3).await;
    assert_eq!(
        (
            &changed["attributes"]["height"],
            &changed["attributes"]["kind"]
        ),
        (&json!(30.0), &json!(3))
    );
    let before = client.host.fingerprint();
    let outside = client
        .post(
            "0/calculate",
            &[
                ("where", "1=1"),
                ("calcExpression", r#"{"field":"kind","value":9}"#),
            ],
        )
        .await;
    assert_eq!(code(&outside), 400);
    assert_eq!(client.host.fingerprint(), before);
}

#[tokio::test]
async fn who_may_not_edit_does_not() {
    let client = Client::new();
    let before = client.host.fingerprint();
    for (user, expected) in [(client.clone(), 499), (client.user("eve"), 403)] {
        for (path, params) in [
            ("0/applyEdits", vec![("deletes", "1")]),
            ("0/addFeatures", vec![("features", "[]")]),
            ("0/deleteFeatures", vec![("where", "1=1")]),
            ("0/calculate", vec![("where", "1=1")]),
            ("applyEdits", vec![("edits", "[]")]),
            ("0/1/addAttachment", vec![]),
            ("uploads/register", vec![("itemName", "x")]),
        ] {
            assert_eq!(code(&user.post(path, &params).await), expected, "{path}");
        }
    }
    assert_eq!(client.host.fingerprint(), before);
}
