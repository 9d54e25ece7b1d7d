//! synchronizeReplica: every model and direction, lost answers, filters, conflicts, attachments, two replicas that meet.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::sample::gid_text;
use crate::web::{Client, SERVICE, code, path_of};

/// An offline client in memory: what it holds of layer 0, and where it stands.
#[derive(Debug)]
struct Device {
    client: Client,
    id: String,
    per_layer: bool,
    embedded: bool,
    generation: i64,
    rows: BTreeMap<String, Value>,
    attachments: BTreeMap<String, Value>,
}

fn key(feature: &Value) -> String {
    feature["attributes"]["GlobalID"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// Attributes and geometry without the server's own number.
fn content(feature: &Value) -> Value {
    let mut feature = feature.clone();
    feature["attributes"]
        .as_object_mut()
        .unwrap()
        .remove("OBJECTID");
    feature
}

impl Device {
    async fn new(client: &Client, model: &str, embedded: bool, more: &[(&str, &str)]) -> Self {
        let transport = if embedded {
            "esriTransportTypeEmbedded"
        } else {
            "esriTransportTypeUrl"
        };
        let mut params = vec![
            ("layers", "0"),
            ("syncModel", model),
            ("transportType", transport),
        ];
        params.extend(more);
        let answer = client.post("createReplica", &params).await;
        let mut device = Self {
            client: client.clone(),
            id: answer["replicaID"]
                .as_str()
                .unwrap_or_else(|| panic!("{answer}"))
                .to_owned(),
            per_layer: model == "perLayer",
            embedded,
            generation: 0,
            rows: BTreeMap::new(),
            attachments: BTreeMap::new(),
        };
        let document = device.document(&answer).await;
        device.take_snapshot(&document);
        device.take_generation(&document);
        device
    }

    /// The whole answer: itself, or the file that it names.
    async fn document(&self, answer: &Value) -> Value {
        assert!(answer.get("error").is_none(), "{answer}");
        if self.embedded || answer.get("URL").is_none() {
            return answer.clone();
        }
        serde_json::from_slice(&self.client.fetch(&path_of(&answer["URL"])).await.1).unwrap()
    }

    fn take_snapshot(&mut self, document: &Value) {
        self.rows.clear();
        for feature in document["layers"][0]["features"].as_array().unwrap() {
            self.rows.insert(key(feature), content(feature));
        }
    }

    fn take_generation(&mut self, document: &Value) {
        let told = if self.per_layer {
            &document["layerServerGens"][0]["serverGen"]
        } else {
            &document["replicaServerGen"]
        };
        self.generation = told.as_i64().unwrap_or(self.generation);
    }

    /// Sends a synchronisation and gives the whole answer, without taking it over.
    async fn ask(&self, direction: &str, edits: &Value, more: &[(&str, &str)]) -> Value {
        let (generation, edits) = (self.generation.to_string(), edits.to_string());
        let layers = json!([{"id": 0, "serverGen": self.generation, "syncDirection": direction}])
            .to_string();
        let transport = if self.embedded {
            "esriTransportTypeEmbedded"
        } else {
            "esriTransportTypeUrl"
        };
        let mut params = vec![
            ("replicaID", self.id.as_str()),
            ("transportType", transport),
            ("edits", &edits),
        ];
        if self.per_layer {
            params.push(("syncLayers", &layers));
        } else {
            params.extend([
                ("replicaServerGen", generation.as_str()),
                ("syncDirection", direction),
                ("syncLayers", "perReplica"),
            ]);
        }
        params.extend(more);
        self.client.post("synchronizeReplica", &params).await
    }

    /// Synchronises and takes the answer over. What the device deletes is gone from it before it says so.
    async fn sync(&mut self, direction: &str, edits: &Value) -> Value {
        for id in edits[0]["features"]["deleteIds"]
            .as_array()
            .into_iter()
            .flatten()
        {
            self.rows.remove(id.as_str().unwrap());
        }
        let document = self.document(&self.ask(direction, edits, &[]).await).await;
        self.take(&document);
        document
    }

    fn take(&mut self, document: &Value) {
        for layer in document["edits"].as_array().into_iter().flatten() {
            for verb in ["adds", "updates"] {
                for feature in layer["features"][verb].as_array().into_iter().flatten() {
                    self.rows.insert(key(feature), content(feature));
                }
                for attachment in layer["attachments"][verb].as_array().into_iter().flatten() {
                    let id = attachment["globalId"].as_str().unwrap().to_owned();
                    self.attachments.insert(id, attachment.clone());
                }
            }
            for id in layer["features"]["deleteIds"]
                .as_array()
                .into_iter()
                .flatten()
            {
                self.rows.remove(id.as_str().unwrap());
            }
            for id in layer["attachments"]["deleteIds"]
                .as_array()
                .into_iter()
                .flatten()
            {
                self.attachments.remove(id.as_str().unwrap());
            }
        }
        if document.get("layers").is_some() {
            self.take_snapshot(document);
        }
        self.take_generation(document);
    }

    /// What the server holds of layer 0 under a condition.
    async fn server(&self, condition: &str) -> BTreeMap<String, Value> {
        let params = [
            ("where", condition),
            ("outFields", "*"),
            ("returnZ", "true"),
        ];
        let answer = self.client.post("0/query", &params).await;
        let features = answer["features"]
            .as_array()
            .unwrap_or_else(|| panic!("{answer}"));
        features
            .iter()
            .map(|feature| (key(feature), content(feature)))
            .collect()
    }
}

fn feature(n: u128, attributes: &Value) -> Value {
    let mut feature = json!({"attributes": attributes});
    feature["attributes"]["GlobalID"] = json!(gid_text(n));
    feature
}

fn edits(adds: &[Value], updates: &[Value], deletes: &[u128]) -> Value {
    let deletes: Vec<String> = deletes.iter().map(|n| gid_text(*n)).collect();
    json!([{"id": 0, "features": {"adds": adds, "updates": updates, "deleteIds": deletes}}])
}

fn none() -> Value {
    json!([])
}

async fn edit_online(client: &Client, attributes: &Value) {
    let features = json!([{"attributes": attributes}]).to_string();
    let answer = client
        .post("0/updateFeatures", &[("features", &features)])
        .await;
    assert_eq!(answer["updateResults"][0]["success"], true, "{answer}");
}

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

#[tokio::test]
async fn attachments_travel_both_ways_under_their_own_ids() {
    for (embedded, by_url) in [(true, "false"), (false, "true")] {
        let client = Client::new();
        let (ada, bob) = (client.user("ada"), client.user("bob"));
        let with = [
            ("returnAttachments", "true"),
            ("attachmentsSyncDirection", "bidirectional"),
        ];
        let mut first = Device::new(&ada, "perLayer", embedded, &with).await;
        let mut second = Device::new(&bob, "perReplica", embedded, &with).await;
        let id = gid_text(0xa1);
        let sent = json!([{"id": 0, "attachments": {"adds": [{
            "globalId": id, "parentGlobalId": gid_text(1), "name": "x.txt", "contentType": "text/plain", "data": "aGVsbG8=",
        }]}}]);
        let told = first.sync("bidirectional", &sent).await;
        assert_eq!(
            told["edits"][0]["attachments"]["addResults"][0]["globalId"], id,
            "{told}"
        );
        let answer = second
            .ask(
                "bidirectional",
                &none(),
                &[("returnAttachmentDatabyURL", by_url)],
            )
            .await;
        let document = second.document(&answer).await;
        second.take(&document);
        let arrived = &second.attachments[&id];
        assert_eq!(arrived["parentGlobalId"], gid_text(1));
        if embedded {
            assert_eq!(arrived["data"], "aGVsbG8=");
        } else {
            assert_eq!(bob.fetch(&path_of(&arrived["url"])).await.1, b"hello");
        }
        let gone = json!([{"id": 0, "attachments": {"deleteIds": [id]}}]);
        second.sync("bidirectional", &gone).await;
        first.attachments.insert(id.clone(), Value::Null);
        first.sync("bidirectional", &none()).await;
        assert!(first.attachments.is_empty());
    }
}

#[tokio::test]
async fn attachments_stay_home_when_they_are_not_synchronised() {
    let client = Client::new();
    let ada = client.user("ada");
    let device = Device::new(
        &ada,
        "perReplica",
        true,
        &[
            ("returnAttachments", "true"),
            ("attachmentsSyncDirection", "none"),
        ],
    )
    .await;
    ada.post_file(
        "0/1/addAttachment",
        &[("f", "json")],
        ("attachment", "x.txt", b"x"),
    )
    .await;
    let sent = json!([{"id": 0, "attachments": {"adds": [{"globalId": gid_text(0xa2), "parentGlobalId": gid_text(1), "data": "aA=="}]}}]);
    let told = device.ask("bidirectional", &sent, &[]).await;
    assert_eq!(
        told["edits"][0]["attachments"]["addResults"][0]["success"], false,
        "never silently"
    );
    assert_eq!(told["edits"][0]["attachments"]["adds"], none());
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
