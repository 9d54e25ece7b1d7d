//! An offline client of a foreign make: it keeps its rows and its generation itself, and compares with the server.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::sample::gid_text;
use crate::web::{Client, path_of};

#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) client: Client,
    pub(crate) id: String,
    pub(crate) per_layer: bool,
    pub(crate) embedded: bool,
    pub(crate) generation: i64,
    pub(crate) rows: BTreeMap<String, Value>,
    pub(crate) attachments: BTreeMap<String, Value>,
}

pub(crate) fn key(feature: &Value) -> String {
    feature["attributes"]["GlobalID"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// Attributes and geometry without the server's own number.
pub(crate) fn content(feature: &Value) -> Value {
    let mut feature = feature.clone();
    feature["attributes"]
        .as_object_mut()
        .unwrap()
        .remove("OBJECTID");
    feature
}

impl Device {
    pub(crate) async fn new(
        client: &Client,
        model: &str,
        embedded: bool,
        more: &[(&str, &str)],
    ) -> Self {
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
    pub(crate) async fn document(&self, answer: &Value) -> Value {
        assert!(answer.get("error").is_none(), "{answer}");
        if self.embedded || answer.get("URL").is_none() {
            return answer.clone();
        }
        serde_json::from_slice(&self.client.fetch(&path_of(&answer["URL"])).await.1).unwrap()
    }

    pub(crate) fn take_snapshot(&mut self, document: &Value) {
        self.rows.clear();
        for feature in document["layers"][0]["features"].as_array().unwrap() {
            self.rows.insert(key(feature), content(feature));
        }
    }

    pub(crate) fn take_generation(&mut self, document: &Value) {
        let told = if self.per_layer {
            &document["layerServerGens"][0]["serverGen"]
        } else {
            &document["replicaServerGen"]
        };
        self.generation = told.as_i64().unwrap_or(self.generation);
    }

    /// Sends a synchronisation and gives the whole answer, without taking it over.
    pub(crate) async fn ask(&self, direction: &str, edits: &Value, more: &[(&str, &str)]) -> Value {
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
    pub(crate) async fn sync(&mut self, direction: &str, edits: &Value) -> Value {
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

    pub(crate) fn take(&mut self, document: &Value) {
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
    pub(crate) async fn server(&self, condition: &str) -> BTreeMap<String, Value> {
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

pub(crate) fn feature(n: u128, attributes: &Value) -> Value {
    let mut feature = json!({"attributes": attributes});
    feature["attributes"]["GlobalID"] = json!(gid_text(n));
    feature
}

pub(crate) fn edits(adds: &[Value], updates: &[Value], deletes: &[u128]) -> Value {
    let deletes: Vec<String> = deletes.iter().map(|n| gid_text(*n)).collect();
    json!([{"id": 0, "features": {"adds": adds, "updates": updates, "deleteIds": deletes}}])
}

pub(crate) fn none() -> Value {
    json!([])
}

pub(crate) async fn edit_online(client: &Client, attributes: &Value) {
    let features = json!([{"attributes": attributes}]).to_string();
    let answer = client
        .post("0/updateFeatures", &[("features", &features)])
        .await;
    assert_eq!(answer["updateResults"][0]["success"], true, "{answer}");
}
