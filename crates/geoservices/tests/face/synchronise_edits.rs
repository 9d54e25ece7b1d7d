//! The edits of synchronizeReplica: lost answers, filters, conflicts, bad edits, the forms in which clients write them.

use serde_json::json;

use crate::device::{Device, edit_online, edits, feature, none};
use crate::sample::gid_text;
use crate::web::{Client, code};

#[tokio::test]
async fn a_lost_answer_is_asked_for_again_and_takes_effect_once() {
    for model in ["perReplica", "perLayer"] {
        let client = Client::new();
        let mut device = Device::new(&client.user("ada"), model, true, &[]).await;
        let sent = edits(
            &[feature(500, &json!({"name": "once"}))],
            &[feature(1, &json!({"height": 11}))],
            &[2],
        );
        let lost = device.ask("bidirectional", &sent, &[]).await;
        let fingerprint = client.host.store_generation();
        // Someone else goes on in between.
        edit_online(&client.user("bob"), &json!({"OBJECTID": 5, "height": 55})).await;
        let between = client.host.store_generation();
        let repeated = device.sync("bidirectional", &sent).await;
        assert_eq!(
            client.host.store_generation(),
            between,
            "the repeat changed nothing"
        );
        assert!(between > fingerprint);
        for results in ["addResults", "updateResults", "deleteResults"] {
            assert_eq!(repeated["edits"][0][results][0]["success"], true);
            assert_eq!(
                lost["edits"][0][results][0]["globalId"],
                repeated["edits"][0][results][0]["globalId"]
            );
        }
        device.sync("bidirectional", &none()).await;
        let server = device.server("1=1").await;
        assert_eq!(device.rows, server);
        assert_eq!(server.len(), 10, "one more, one less");
    }
}

#[tokio::test]
async fn rows_enter_and_leave_the_filter_of_a_replica() {
    for model in ["perReplica", "perLayer"] {
        let client = Client::new();
        let bob = client.user("bob");
        let filter = ("layerQueries", r#"{"0":{"where":"height > 5"}}"#);
        let mut device = Device::new(&client.user("ada"), model, true, &[filter]).await;
        assert_eq!(device.rows.len(), 4);
        edit_online(&bob, &json!({"OBJECTID": 1, "height": 100})).await;
        edit_online(&bob, &json!({"OBJECTID": 9, "height": 1})).await;
        let told = device.sync("bidirectional", &none()).await;
        let features = &told["edits"][0]["features"];
        assert_eq!(
            features["adds"][0]["attributes"]["name"], "tree 1",
            "{features}"
        );
        assert_eq!(features["deleteIds"], json!([gid_text(9)]));
        assert_eq!(device.rows, device.server("height > 5").await);
        // Its own edit may take a row out of the filter: it must hear so.
        let told = device
            .sync(
                "bidirectional",
                &edits(&[], &[feature(8, &json!({"height": 2}))], &[]),
            )
            .await;
        assert_eq!(
            told["edits"][0]["features"]["deleteIds"],
            json!([gid_text(8)])
        );
        assert_eq!(device.rows, device.server("height > 5").await);
    }
}

#[tokio::test]
async fn the_last_sync_wins_and_the_loser_is_kept() {
    let client = Client::new();
    let mut device = Device::new(&client.user("ada"), "perReplica", true, &[]).await;
    edit_online(&client.user("bob"), &json!({"OBJECTID": 1, "height": 50})).await;
    let told = device
        .sync(
            "bidirectional",
            &edits(&[], &[feature(1, &json!({"height": 60}))], &[]),
        )
        .await;
    assert_eq!(told["edits"][0]["updateResults"][0]["success"], true);
    assert_eq!(
        device.server("OBJECTID = 1").await[&gid_text(1)]["attributes"]["height"],
        60.0
    );
    let conflicts = client.host.conflicts();
    assert_eq!(conflicts.len(), 1, "{conflicts:?}");
    assert_eq!(conflicts[0].fields, ["height"]);
}

#[tokio::test]
async fn one_bad_edit_does_not_block_the_others_unless_asked() {
    let client = Client::new();
    let device = Device::new(&client.user("ada"), "perReplica", true, &[]).await;
    let bad = feature(2, &json!({"kind": 77}));
    let unread = feature(3, &json!({"height": "high"}));
    let nameless = json!({"attributes": {"name": "no id"}});
    let sent = edits(
        &[nameless],
        &[feature(1, &json!({"height": 11})), bad, unread],
        &[999],
    );
    let before = client.host.fingerprint();
    let refused = device
        .ask("bidirectional", &sent, &[("rollbackOnFailure", "true")])
        .await;
    assert_eq!(code(&refused), 400, "{refused}");
    assert_eq!(client.host.fingerprint(), before);
    let told = device.ask("bidirectional", &sent, &[]).await;
    let results = &told["edits"][0];
    assert_eq!(results["addResults"][0]["success"], false);
    let success: Vec<bool> = (0..3)
        .map(|at| results["updateResults"][at]["success"].as_bool().unwrap())
        .collect();
    assert_eq!(success, [true, false, false], "{results}");
    assert!(
        results["updateResults"][2]["error"]["description"]
            .as_str()
            .unwrap()
            .contains("height")
    );
    assert_eq!(
        results["deleteResults"][0]["success"], true,
        "what is not there is gone"
    );
}

#[tokio::test]
async fn all_known_forms_of_edits_are_read() {
    let client = Client::new();
    let device = Device::new(&client.user("ada"), "perReplica", true, &[]).await;
    for (n, form) in [
        (
            1,
            json!([{"id": 0, "updates": [feature(1, &json!({"height": 70}))]}]),
        ),
        (
            2,
            json!({"edits": [{"id": 0, "features": {"updates": [feature(2, &json!({"height": 70}))]}}]}),
        ),
        (
            3,
            json!({"layers": [{"id": "0", "updates": [feature(3, &json!({"height": 70}))]}]}),
        ),
        (
            4,
            json!({"id": 0, "updates": [feature(4, &json!({"height": 70, "OBJECTID": 9}))]}),
        ),
    ] {
        let told = device.ask("bidirectional", &form, &[]).await;
        assert_eq!(
            told["edits"][0]["updateResults"][0]["success"], true,
            "{form}: {told}"
        );
        assert_eq!(device.server("height = 70").await.len(), n);
    }
    let content = edits(&[], &[], &[5]).to_string();
    let ada = client.user("ada");
    let upload = ada
        .post_file(
            "uploads/upload",
            &[("f", "json")],
            ("file", "edits.json", content.as_bytes()),
        )
        .await;
    let id = upload["item"]["itemID"].as_str().unwrap();
    let told = device
        .ask(
            "bidirectional",
            &none(),
            &[("editsUploadID", id), ("editsUploadFormat", "json")],
        )
        .await;
    assert_eq!(
        told["edits"][0]["deleteResults"][0]["success"], true,
        "{told}"
    );
}

#[tokio::test]
async fn geometry_of_edits_is_in_the_reference_of_the_replica() {
    let client = Client::new();
    let mut device = Device::new(
        &client.user("ada"),
        "perReplica",
        true,
        &[("replicaSR", "4326")],
    )
    .await;
    let mut moved = feature(1, &json!({}));
    moved["geometry"] = json!({"x": 0.000_898_315_284, "y": 0.000_898_315_284});
    device
        .sync("bidirectional", &edits(&[], &[moved], &[]))
        .await;
    let stored = &device.server("OBJECTID = 1").await[&gid_text(1)]["geometry"];
    assert!(
        (stored["x"].as_f64().unwrap() - 100.0).abs() < 1e-3,
        "{stored}"
    );
    assert!(
        (stored["y"].as_f64().unwrap() - 100.0).abs() < 1e-3,
        "{stored}"
    );
}
