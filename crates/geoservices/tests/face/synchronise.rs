//! synchronizeReplica: every model, transport and direction, two replicas that meet, the end of a replica.

use serde_json::json;

use crate::device::{Device, edit_online, edits, feature, none};
use crate::sample::gid_text;
use crate::web::{Client, SERVICE, code};

#[tokio::test]
async fn two_replicas_meet_in_every_model_and_transport() {
    for model in ["perReplica", "perLayer"] {
        for embedded in [true, false] {
            let client = Client::new();
            let (ada, bob) = (client.user("ada"), client.user("bob"));
            let mut first = Device::new(&ada, model, embedded, &[]).await;
            let mut second = Device::new(&bob, model, embedded, &[]).await;
            let add = json!({"attributes": {"name": "added", "GlobalID": gid_text(500)}, "geometry": {"x": 7, "y": 8}});
            let mine = edits(&[add], &[feature(1, &json!({"height": 11}))], &[2]);
            let told = first.sync("bidirectional", &mine).await;
            for results in ["addResults", "updateResults", "deleteResults"] {
                assert_eq!(told["edits"][0][results][0]["success"], true, "{told}");
            }
            let yours = edits(
                &[],
                &[
                    feature(1, &json!({"kind": 3})),
                    feature(3, &json!({"name": "three"})),
                ],
                &[4],
            );
            second.sync("bidirectional", &yours).await;
            first.sync("bidirectional", &none()).await;
            let server = first.server("1=1").await;
            assert_eq!(first.rows, server, "{model} embedded={embedded}");
            assert_eq!(second.rows, server, "{model} embedded={embedded}");
            let one = &server[&gid_text(1)]["attributes"];
            assert_eq!(
                (&one["height"], &one["kind"]),
                (&json!(11.0), &json!(3)),
                "both edits of one row stay"
            );
            assert!(!server.contains_key(&gid_text(2)) && server.contains_key(&gid_text(500)));
        }
    }
}

#[tokio::test]
async fn an_added_row_never_comes_back_as_another_add() {
    let ada = Client::new().user("ada");
    for model in ["perReplica", "perLayer"] {
        let mut device = Device::new(&ada, model, true, &[]).await;
        let id = 500 + u128::from(device.per_layer);
        let told = device
            .sync(
                "bidirectional",
                &edits(&[feature(id, &json!({"name": "new"}))], &[], &[]),
            )
            .await;
        let features = &told["edits"][0]["features"];
        assert_eq!(
            features["adds"],
            none(),
            "a naive client would insert it twice"
        );
        // The server stamped it, so it is not an exact echo: it comes as an update.
        assert_eq!(features["updates"][0]["attributes"]["creator"], "ada");
    }
}

#[tokio::test]
async fn an_upload_hands_out_no_generation_and_skips_nothing() {
    for model in ["perReplica", "perLayer"] {
        let client = Client::new();
        let (ada, bob) = (client.user("ada"), client.user("bob"));
        let mut device = Device::new(&ada, model, true, &[]).await;
        edit_online(&bob, &json!({"OBJECTID": 5, "height": 55})).await;
        let before = device.generation;
        let told = device
            .sync(
                "upload",
                &edits(&[], &[feature(6, &json!({"height": 66}))], &[]),
            )
            .await;
        assert_eq!(device.generation, before);
        assert_eq!(told["edits"][0]["features"]["updates"], none());
        device.sync("download", &none()).await;
        assert_eq!(device.rows, device.server("1=1").await, "{model}");
    }
}

#[tokio::test]
async fn a_download_sends_nothing_and_an_empty_one_has_no_edits() {
    for model in ["perReplica", "perLayer"] {
        for embedded in [true, false] {
            let client = Client::new();
            let mut device = Device::new(&client.user("ada"), model, embedded, &[]).await;
            let empty = device.ask("download", &none(), &[]).await;
            assert_eq!(empty["responseType"], "esriReplicaResponseTypeNoEdits");
            assert!(empty.get("URL").is_none());
            edit_online(&client.user("bob"), &json!({"OBJECTID": 5, "height": 55})).await;
            let told = device.ask("download", &none(), &[]).await;
            assert_eq!(told["responseType"], "esriReplicaResponseTypeEdits");
            assert_eq!(told.get("URL").is_some(), !embedded);
            device.sync("download", &none()).await;
            assert_eq!(device.rows, device.server("1=1").await);
            let refused = device.ask("download", &edits(&[], &[], &[1]), &[]).await;
            assert!(refused.to_string().contains("'edits'"), "{refused}");
        }
    }
}

#[tokio::test]
async fn a_snapshot_replaces_everything() {
    for model in ["perReplica", "perLayer"] {
        let client = Client::new();
        let mut device = Device::new(&client.user("ada"), model, true, &[]).await;
        edit_online(&client.user("bob"), &json!({"OBJECTID": 5, "height": 55})).await;
        device.rows.clear();
        let told = device.sync("snapshot", &none()).await;
        assert_eq!(
            told["responseType"],
            "esriReplicaResponseTypeReplacementData"
        );
        assert_eq!(device.rows, device.server("1=1").await);
        let empty = device.sync("bidirectional", &none()).await;
        assert_eq!(
            empty["responseType"], "esriReplicaResponseTypeNoEdits",
            "its generation is the present one"
        );
    }
}

#[tokio::test]
async fn a_closed_replica_is_gone_after_its_last_answer() {
    let client = Client::new();
    let device = Device::new(&client.user("ada"), "perReplica", true, &[]).await;
    let sent = edits(&[], &[feature(1, &json!({"height": 11}))], &[]);
    let told = device
        .ask("bidirectional", &sent, &[("closeReplica", "true")])
        .await;
    assert_eq!(told["edits"][0]["updateResults"][0]["success"], true);
    let again = device.ask("bidirectional", &none(), &[]).await;
    assert_eq!(code(&again), 400);
    let info = device
        .client
        .get(&format!("{SERVICE}/replicas/{}?f=json", device.id))
        .await;
    assert_eq!(code(&info), 400);
}

#[tokio::test]
async fn who_only_reads_only_downloads() {
    let client = Client::new();
    let mut device = Device::new(&client.user("eve"), "perReplica", true, &[]).await;
    edit_online(&client.user("bob"), &json!({"OBJECTID": 5, "height": 55})).await;
    device.sync("bidirectional", &none()).await;
    assert_eq!(device.rows, device.server("1=1").await);
    let before = client.host.fingerprint();
    assert_eq!(
        code(
            &device
                .ask("bidirectional", &edits(&[], &[], &[1]), &[])
                .await
        ),
        403
    );
    assert_eq!(client.host.fingerprint(), before);
}

#[tokio::test]
async fn a_generation_that_cannot_be_continued_asks_for_a_new_replica() {
    for model in ["perReplica", "perLayer"] {
        let client = Client::new();
        let mut device = Device::new(&client.user("ada"), model, true, &[]).await;
        let before = client.host.fingerprint();
        device.generation = 9_999;
        let sent = edits(&[], &[], &[1]);
        let answer = device.ask("bidirectional", &sent, &[]).await;
        assert_eq!(code(&answer), 400);
        assert!(
            answer.to_string().contains("create the replica again"),
            "{answer}"
        );
        assert_eq!(
            client.host.fingerprint(),
            before,
            "and none of its edits is applied"
        );
    }
}

#[tokio::test]
async fn layers_of_a_replica_are_synchronised_each_in_its_own_direction() {
    let client = Client::new();
    let ada = client.user("ada");
    let params = [
        ("layers", "0,2"),
        ("syncModel", "perLayer"),
        ("transportType", "esriTransportTypeEmbedded"),
    ];
    let made = ada.post("createReplica", &params).await;
    let generation = made["layerServerGens"][0]["serverGen"].as_i64().unwrap();
    edit_online(&client.user("bob"), &json!({"OBJECTID": 5, "height": 55})).await;
    let layers = json!([
        {"id": 0, "serverGen": generation, "syncDirection": "download"},
        {"id": 2, "syncDirection": "snapshot"},
    ])
    .to_string();
    let id = made["replicaID"].as_str().unwrap();
    let answer = ada
        .post(
            "synchronizeReplica",
            &[("replicaID", id), ("syncLayers", &layers), params[2]],
        )
        .await;
    assert_eq!(
        answer["responseType"], "esriReplicaResponseTypeEditsAndData",
        "{answer}"
    );
    assert_eq!(
        answer["edits"][0]["features"]["updates"][0]["attributes"]["height"],
        55.0
    );
    assert_eq!(answer["layers"][0]["id"], 2);
    assert_eq!(answer["layerServerGens"].as_array().unwrap().len(), 2);
}
