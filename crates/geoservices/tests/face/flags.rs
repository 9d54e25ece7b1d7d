//! What is advertised works: every flag that a service or layer says is true has a request here that shows it.
//!
//! A flag that nobody looked at fails the test, so that a new one cannot be advertised without its proof.

use serde_json::{Value, json};

use crate::sample::gid_text;
use crate::web::{Client, SERVICE, code, form, path_of};

const EMBEDDED: (&str, &str) = ("transportType", "esriTransportTypeEmbedded");
const STATISTICS: &str =
    r#"[{"statisticType":"count","onStatisticField":"OBJECTID","outStatisticFieldName":"n"}]"#;

/// Flags that tell a fact and promise no operation, with the value that they must have.
const FACTS: [(&str, bool); 7] = [
    ("defaultVisibility", true),
    ("hasAttachments", true),
    ("useStandardizedQueries", true),
    ("enableEditorTracking", true),
    ("allowOthersToQuery", true),
    ("allowOthersToUpdate", true),
    ("allowOthersToDelete", true),
];

/// The names of all flags of a document that are true, at any depth, without those of single fields.
fn raised(document: &Value, found: &mut Vec<String>) {
    let Value::Object(members) = document else {
        return;
    };
    for (name, value) in members {
        match value {
            Value::Bool(true) => found.push(name.clone()),
            Value::Object(_) => raised(value, found),
            _ => {}
        }
    }
}

async fn features(client: &Client, params: &[(&str, &str)]) -> Vec<Value> {
    let answer = client.post("0/query", params).await;
    let found = answer["features"].as_array();
    found
        .unwrap_or_else(|| panic!("{params:?}: {answer}"))
        .clone()
}

async fn count(client: &Client, condition: &str) -> i64 {
    let params = [("where", condition), ("returnCountOnly", "true")];
    let answer = client.post("0/query", &params).await;
    answer["count"]
        .as_i64()
        .unwrap_or_else(|| panic!("{condition}: {answer}"))
}

async fn replica(client: &Client, more: &[(&str, &str)]) -> Value {
    let params = [&[("layers", "0"), EMBEDDED][..], more].concat();
    let answer = client.post("createReplica", &params).await;
    assert!(answer["replicaID"].is_string(), "{params:?}: {answer}");
    answer
}

async fn synchronised(client: &Client, replica: &Value, more: &[(&str, &str)]) -> Value {
    let generation = replica["replicaServerGen"].to_string();
    let params = [
        ("replicaID", replica["replicaID"].as_str().unwrap()),
        ("replicaServerGen", generation.as_str()),
        EMBEDDED,
    ];
    client
        .post("synchronizeReplica", &[&params[..], more].concat())
        .await
}

async fn changes(client: &Client, more: &[(&str, &str)]) -> Value {
    let params = [("layers", "0"), ("returnInserts", "true"), EMBEDDED];
    let answer = client
        .post("extractChanges", &[&params[..], more].concat())
        .await;
    assert!(answer["edits"].is_array(), "{more:?}: {answer}");
    answer["edits"][0].clone()
}

async fn add(client: &Client, attributes: Value, more: &[(&str, &str)]) -> Value {
    let adds = json!([{"attributes": attributes, "geometry": {"x": 1, "y": 1}}]).to_string();
    let params = [&[("adds", adds.as_str())][..], more].concat();
    client.post("0/applyEdits", &params).await["addResults"][0].clone()
}

/// Whether a request shows that a flag of the query is true.
async fn shows_query(ada: &Client, flag: &str) -> Option<bool> {
    let all = ("where", "1=1");
    let grouped = [
        all,
        ("outStatistics", STATISTICS),
        ("groupByFieldsForStatistics", "kind"),
    ];
    Some(match flag {
        "supportsPagination" => {
            let page = [all, ("resultOffset", "8"), ("resultRecordCount", "5")];
            features(ada, &page).await.len() == 2
        }
        "supportsOrderBy" | "supportsAdvancedQueries" => {
            let ordered = [("where", "height > 0"), ("orderByFields", "height DESC")];
            features(ada, &ordered).await[0]["attributes"]["OBJECTID"] == 9
        }
        "supportsDistinct" => {
            let distinct = [("outFields", "kind"), ("returnDistinctValues", "true")];
            features(ada, &distinct).await.len() == 2
        }
        "supportsStatistics" => features(ada, &grouped[..2]).await[0]["attributes"]["n"] == 10,
        "supportsPaginationOnAggregatedQueries" => {
            let page = [
                &grouped[..],
                &[("resultOffset", "1"), ("resultRecordCount", "1")],
            ];
            features(ada, &page.concat()).await.len() == 1
        }
        "supportsCountDistinct" => {
            let params = [
                ("outFields", "kind"),
                ("returnDistinctValues", "true"),
                ("returnCountOnly", "true"),
            ];
            ada.post("0/query", &params).await["count"] == 2
        }
        "supportsHavingClause" => {
            let having = [&grouped[..], &[("having", "MAX(height) > 8.5")]];
            features(ada, &having.concat()).await.len() == 1
        }
        "supportsSqlExpression" => {
            let sum = r#"[{"statisticType":"sum","onStatisticField":"height * 2","outStatisticFieldName":"s"}]"#;
            let told = features(ada, &[all, ("outStatistics", sum)]).await;
            told[0]["attributes"]["s"] == 90.0 && count(ada, "height * 2 > 17").await == 1
        }
        "supportsReturningQueryExtent" => {
            let answer = ada
                .post("0/query", &[all, ("returnExtentOnly", "true")])
                .await;
            answer["extent"]["xmax"] == 1000.0
        }
        "supportsQueryWithResultType" => {
            let tile = [all, ("resultType", "tile"), ("f", "json")];
            features(ada, &tile).await.len() == 10
        }
        "supportsQueryAttachments" => {
            attach(ada, 1).await;
            let found = ada
                .post("0/queryAttachments", &[("definitionExpression", "1=1")])
                .await;
            found["attachmentGroups"][0]["parentObjectId"] == 1
        }
        "supportsCoordinatesQuantization" => {
            let grid = json!({"tolerance": 10, "extent": {"xmin": 0, "ymin": 0, "xmax": 1000, "ymax": 100}});
            let grid = [all, ("quantizationParameters", &grid.to_string())];
            features(ada, &grid).await[0]["geometry"] == json!({"x": 10, "y": 5})
        }
        "supportsValidateSql" => {
            let answer = ada.post("0/validateSQL", &[("sql", "height > 1")]).await;
            answer["isValidSQL"] == true
        }
        _ => return None,
    })
}

async fn attach(client: &Client, row: i64) -> Value {
    let file = ("attachment", "a.txt", &b"text"[..]);
    let answer = client
        .post_file(&format!("0/{row}/addAttachment"), &[], file)
        .await;
    assert_eq!(answer["addAttachmentResult"]["success"], true, "{answer}");
    answer
}

/// The same for edits.
async fn shows_edits(ada: &Client, flag: &str) -> Option<bool> {
    Some(match flag {
        "allowGeometryUpdates" => {
            let moved = r#"[{"attributes":{"OBJECTID":1},"geometry":{"x":5,"y":6}}]"#;
            ada.post("0/updateFeatures", &[("features", moved)]).await;
            let place = features(ada, &[("objectIds", "1")]).await[0]["geometry"].clone();
            place["x"] == 5.0 && place["y"] == 6.0
        }
        "supportsApplyEditsWithGlobalIds" => {
            let named = json!({"name": "named", "GlobalID": gid_text(700)});
            add(ada, named, &[("useGlobalIds", "true")]).await["globalId"] == gid_text(700)
        }
        "supportsRollbackOnFailureParameter" => {
            let before = ada.host.fingerprint();
            let deletes = [("deletes", "1,999"), ("rollbackOnFailure", "true")];
            ada.post("0/applyEdits", &deletes).await;
            let kept = ada.host.fingerprint() == before;
            ada.post(
                "0/applyEdits",
                &[deletes[0], ("rollbackOnFailure", "false")],
            )
            .await;
            kept && count(ada, "OBJECTID = 1").await == 0
        }
        "supportsCalculate" => {
            let half = r#"[{"field":"height","sqlExpression":"height / 2"}]"#;
            let params = [("where", "OBJECTID = 8"), ("calcExpression", half)];
            ada.post("0/calculate", &params).await["success"] == true
                && count(ada, "OBJECTID = 8 AND height = 4").await == 1
        }
        "supportsAttachmentsByUploadId" => {
            let sent = ada
                .post_file("uploads/upload", &[], ("file", "u.txt", b"sent ahead"))
                .await;
            let id = sent["item"]["itemID"].as_str().unwrap().to_owned();
            let answer = ada.post("0/1/addAttachment", &[("uploadId", &id)]).await;
            answer["addAttachmentResult"]["success"] == true
        }
        _ => return None,
    })
}

/// The same for synchronisation.
async fn shows_sync(ada: &Client, flag: &str) -> Option<bool> {
    let new = json!([{"id": 0, "features": {"adds": [
        {"attributes": {"GlobalID": gid_text(701), "name": "new"}, "geometry": {"x": 1, "y": 1}},
        {"attributes": {"name": "nameless"}},
    ]}}])
    .to_string();
    Some(match flag {
        "syncEnabled" | "supportsPerReplicaSync" | "supportsDisconnectedEditing" => {
            let made = replica(ada, &[("syncModel", "perReplica")]).await;
            made["replicaServerGen"].is_u64()
                && synchronised(ada, &made, &[]).await["replicaServerGen"].is_u64()
        }
        "supportsPerLayerSync" => {
            let made = replica(ada, &[("syncModel", "perLayer")]).await;
            let layers = made["layerServerGens"].to_string();
            let told = synchronised(ada, &made, &[("syncLayers", &layers)]).await;
            told["layerServerGens"] == made["layerServerGens"]
        }
        "supportsSyncModelNone" => {
            replica(ada, &[("syncModel", "none")]).await;
            ada.get(&format!("{SERVICE}/replicas?f=json")).await == json!([])
        }
        "supportsAttachmentsSyncDirection" => {
            let up = [
                ("returnAttachments", "true"),
                ("attachmentsSyncDirection", "upload"),
            ];
            let (up, both) = (replica(ada, &up).await, replica(ada, &up[..1]).await);
            attach(ada, 1).await;
            let told = |answer: &Value| {
                answer["edits"][0]["attachments"]["adds"]
                    .as_array()
                    .map(Vec::len)
            };
            told(&synchronised(ada, &up, &[]).await) != Some(1)
                && told(&synchronised(ada, &both, &[]).await) == Some(1)
        }
        "supportsRollbackOnFailure" => {
            let made = replica(ada, &[]).await;
            let edits = [("edits", new.as_str()), ("rollbackOnFailure", "true")];
            let undone = synchronised(ada, &made, &edits).await;
            let kept = count(ada, "name = 'new'").await == 0;
            synchronised(ada, &made, &edits[..1]).await;
            kept && code(&undone) == 400 && count(ada, "name = 'new'").await == 1
        }
        "supportsSyncDirectionControl" => {
            let made = replica(ada, &[]).await;
            let sent = [("edits", new.as_str()), ("syncDirection", "upload")];
            let up = synchronised(ada, &made, &sent).await;
            let down = synchronised(ada, &made, &[("syncDirection", "download")]).await;
            up["edits"][0]["features"]["adds"] == json!([])
                && down["edits"][0]["features"]["adds"]
                    .as_array()
                    .unwrap()
                    .len()
                    == 1
        }
        "syncCanReturnChanges" => {
            let made = replica(ada, &[]).await;
            add(ada, json!({"name": "more"}), &[]).await;
            let told = synchronised(ada, &made, &[]).await;
            told["edits"][0]["features"]["adds"][0]["attributes"]["name"] == "more"
        }
        "supportsAsync" => {
            let params = [("layers", "0"), ("async", "true")];
            let status = path_of(&ada.post("createReplica", &params).await["statusUrl"]);
            ada.host.run_jobs();
            ada.get(&format!("{status}?f=json")).await["status"] == "Completed"
        }
        "supportsReturnLastSyncDate" => {
            replica(ada, &[]).await;
            let path = format!("{SERVICE}/replicas?f=json&returnLastSyncDate=true");
            ada.get(&path).await[0]["lastSyncDate"].is_i64()
        }
        _ => return None,
    })
}

/// The same for extractChanges.
async fn shows_changes(ada: &Client, flag: &str) -> Option<bool> {
    let from_the_first = ("serverGens", "[0]");
    Some(match flag {
        "supportsServerGens" => {
            let told = changes(ada, &[from_the_first]).await;
            told["features"]["adds"].as_array().unwrap().len() == 10
        }
        "supportsReturnIdsOnly" => {
            let told = changes(ada, &[from_the_first, ("returnIdsOnly", "true")]).await;
            told["objectIds"]["adds"].as_array().unwrap().len() == 10
        }
        "supportsReturnExtentOnly" => {
            let told = changes(ada, &[from_the_first, ("returnExtentOnly", "true")]).await;
            told["extent"]["xmax"] == 1000.0
        }
        "supportsReturnAttachments" => {
            attach(ada, 1).await;
            let told = changes(ada, &[from_the_first, ("returnAttachments", "true")]).await;
            told["attachments"]["adds"].as_array().unwrap().len() == 1
        }
        "supportsLayerQueries" => {
            let query = ("layerQueries", r#"{"0":{"where":"height > 7"}}"#);
            let told = changes(ada, &[from_the_first, query]).await;
            told["features"]["adds"].as_array().unwrap().len() == 2
        }
        "supportsGeometry" => {
            let told = changes(ada, &[from_the_first, ("geometry", "0,0,250,100")]).await;
            told["features"]["adds"].as_array().unwrap().len() == 2
        }
        "supportsReturnFeature" => {
            let since = format!("[{}]", ada.host.store_generation());
            ada.post("0/deleteFeatures", &[("objectIds", "2")]).await;
            let deleted = [
                ("serverGens", since.as_str()),
                ("returnDeletes", "true"),
                ("returnDeletedFeatures", "true"),
            ];
            let told = changes(ada, &deleted).await;
            told["features"]["deletes"][0]["attributes"]["name"] == "tree 2"
        }
        _ => return None,
    })
}

/// Whether a word of `capabilities` is true.
async fn shows_word(ada: &Client, word: &str) -> Option<bool> {
    Some(match word {
        "Query" => count(ada, "1=1").await == 10,
        "Create" | "Editing" => add(ada, json!({"name": "new"}), &[]).await["success"] == true,
        "Update" => shows_edits(ada, "allowGeometryUpdates").await?,
        "Delete" => {
            let answer = ada.post("0/deleteFeatures", &[("objectIds", "1")]).await;
            answer["deleteResults"][0]["success"] == true
        }
        "Uploads" => shows_edits(ada, "supportsAttachmentsByUploadId").await?,
        "Sync" => shows_sync(ada, "syncEnabled").await?,
        "ChangeTracking" => shows_changes(ada, "supportsServerGens").await?,
        "Extract" => {
            let copy = [
                ("layers", "0"),
                ("syncModel", "none"),
                ("dataFormat", "json"),
            ];
            ada.post("createReplica", &copy).await["URL"].is_string()
        }
        _ => return None,
    })
}

async fn shows(flag: &str) -> Option<bool> {
    let ada = &Client::new().user("ada");
    if let Some(shown) = shows_query(ada, flag).await {
        return Some(shown);
    }
    if let Some(shown) = shows_edits(ada, flag).await {
        return Some(shown);
    }
    if let Some(shown) = shows_sync(ada, flag).await {
        return Some(shown);
    }
    shows_changes(ada, flag).await
}

#[tokio::test]
async fn every_advertised_flag_is_true_of_what_the_service_does() {
    let ada = Client::new().user("ada");
    let root = ada.get(&format!("{SERVICE}?f=json")).await;
    let layer = ada.get(&format!("{SERVICE}/0?f=json")).await;
    let mut flags = Vec::new();
    raised(&root, &mut flags);
    raised(&layer, &mut flags);
    flags.sort();
    flags.dedup();
    assert!(flags.len() > 30, "{flags:?}");
    for flag in &flags {
        // What the anonymous user may do follows from the grants.
        if flag.starts_with("allowAnonymous") || FACTS.contains(&(flag, true)) {
            continue;
        }
        let shown = shows(flag).await;
        assert_eq!(shown, Some(true), "{flag} is advertised");
    }
    let words = root["capabilities"].as_str().unwrap();
    assert_eq!(layer["capabilities"], words);
    for word in words.split(',') {
        let ada = Client::new().user("ada");
        assert_eq!(
            shows_word(&ada, word).await,
            Some(true),
            "{word} is a capability"
        );
    }
}

#[tokio::test]
async fn every_advertised_format_is_answered() {
    let ada = Client::new().user("ada");
    let root = ada.get(&format!("{SERVICE}?f=json")).await;
    for format in root["supportedQueryFormats"].as_str().unwrap().split(", ") {
        let path = format!(
            "{SERVICE}/0/query?{}",
            form(&[("where", "1=1"), ("f", format)])
        );
        let (parts, body) = ada.fetch(&path).await;
        let kind = parts.headers["content-type"].to_str().unwrap();
        let wanted = match format {
            "JSON" => "application/json",
            "geoJSON" => "application/geo+json",
            "PBF" => "application/x-protobuf",
            other => panic!("{other} is advertised"),
        };
        assert!(kind.starts_with(wanted), "{format}: {kind}");
        assert!(
            !String::from_utf8_lossy(&body).contains("\"error\""),
            "{format}"
        );
    }
    for format in root["supportedExportFormats"].as_str().unwrap().split(',') {
        let copy = [
            ("layers", "0"),
            ("syncModel", "none"),
            ("dataFormat", format),
        ];
        let answer = ada.post("createReplica", &copy).await;
        assert!(
            format.is_empty() || answer["URL"].is_string(),
            "{format}: {answer}"
        );
    }
}

#[tokio::test]
async fn what_is_not_advertised_is_refused() {
    let ada = Client::new().user("ada");
    let root = ada.get(&format!("{SERVICE}?f=json")).await;
    assert_eq!(
        root["syncCapabilities"]["supportsRegisteringExistingData"],
        false
    );
    let existing = [
        ("layers", "0"),
        ("replicaOptions", r#"{"newReplica":true}"#),
    ];
    assert_eq!(code(&ada.post("createReplica", &existing).await), 400);
    assert_eq!(
        root["syncCapabilities"]["supportsBiDirectionalSyncForServer"],
        false
    );
    let server = [("layers", "0"), ("targetType", "server")];
    assert_eq!(code(&ada.post("createReplica", &server).await), 400);
    for operation in ["append", "truncate", "queryTopFeatures", "queryBins"] {
        assert_eq!(
            code(&ada.post(&format!("0/{operation}"), &[]).await),
            404,
            "{operation}"
        );
    }
}
