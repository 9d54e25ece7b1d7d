//! `extractChanges`.

use serde_json::{Value, json};

use crate::sample::gid_text;
use crate::web::{Client, SERVICE, code, path_of};

const EMBEDDED: (&str, &str) = ("transportType", "esriTransportTypeEmbedded");

/// A client after one add, one update and one deletion in layer 0, and the generation before them.
async fn changed() -> (Client, String) {
    let ada = Client::new().user("ada");
    let root = ada.get(&format!("{SERVICE}?f=json")).await;
    let generation = &root["changeTrackingInfo"]["layerServerGens"][0]["serverGen"];
    let adds = json!([{"attributes": {"name": "new", "GlobalID": gid_text(500)}, "geometry": {"x": 5000, "y": 1}}]).to_string();
    let updates = json!([{"attributes": {"GlobalID": gid_text(1), "height": 11}}]).to_string();
    let params = [
        ("adds", adds.as_str()),
        ("updates", &updates),
        ("deletes", &gid_text(2)),
        ("useGlobalIds", "true"),
    ];
    let answer = ada.post("0/applyEdits", &params).await;
    assert_eq!(answer["deleteResults"][0]["success"], true, "{answer}");
    (ada, format!("[{generation}]"))
}

async fn extract(client: &Client, generations: &str, more: &[(&str, &str)]) -> Value {
    let mut params = vec![("layers", "0"), ("serverGens", generations), EMBEDDED];
    params.extend(more);
    client.post("extractChanges", &params).await
}

#[tokio::test]
async fn only_what_is_asked_for_is_told() {
    let (ada, since) = changed().await;
    let nothing = extract(&ada, &since, &[]).await;
    assert_eq!(
        nothing["edits"][0]["features"],
        json!({"adds": [], "updates": [], "deleteIds": []})
    );
    let all = [
        ("returnInserts", "true"),
        ("returnUpdates", "true"),
        ("returnDeletes", "true"),
    ];
    let told = extract(&ada, &since, &all).await;
    let features = &told["edits"][0]["features"];
    assert_eq!(told["responseType"], "esriDataChangesResponseTypeEdits");
    assert_eq!(features["adds"][0]["attributes"]["GlobalID"], gid_text(500));
    assert_eq!(features["updates"][0]["attributes"]["height"], 11.0);
    assert_eq!(features["deleteIds"], json!([gid_text(2)]));
    let after = format!("[{}]", told["layerServerGens"][0]["serverGen"]);
    let later = extract(&ada, &after, &all).await;
    assert_eq!(later["edits"][0]["features"]["adds"], json!([]));
}

#[tokio::test]
async fn ids_extents_and_deleted_features_can_be_had() {
    let (ada, since) = changed().await;
    let all = [
        ("returnInserts", "true"),
        ("returnUpdates", "true"),
        ("returnDeletes", "true"),
    ];
    let ids = extract(
        &ada,
        &since,
        &[all[0], all[1], all[2], ("returnIdsOnly", "true")],
    )
    .await;
    assert_eq!(
        ids["edits"][0]["objectIds"],
        json!({"adds": [11], "updates": [1], "deletes": [2]})
    );
    let extent = extract(&ada, &since, &[("returnExtentOnly", "true")]).await;
    assert_eq!(
        (
            &extent["edits"][0]["extent"]["xmin"],
            &extent["edits"][0]["extent"]["xmax"]
        ),
        (&json!(100.0), &json!(5000.0))
    );
    let gone = extract(&ada, &since, &[all[2], ("returnDeletedFeatures", "true")]).await;
    let features = &gone["edits"][0]["features"];
    assert_eq!(features["deletes"][0]["attributes"]["name"], "tree 2");
    assert_eq!(features["deleteIds"], json!([gid_text(2)]));
}

#[tokio::test]
async fn ranges_one_after_another_leave_nothing_out() {
    let (ada, since) = changed().await;
    let since: u64 = since.trim_matches(['[', ']']).parse().unwrap();
    let middle = ada.host.store_generation();
    // The same rows again, and one more: behind the first range.
    let updates = json!([
        {"attributes": {"GlobalID": gid_text(1), "height": 12}},
        {"attributes": {"GlobalID": gid_text(500), "name": "newer"}},
        {"attributes": {"GlobalID": gid_text(3), "height": 33}},
    ])
    .to_string();
    let params = [("updates", updates.as_str()), ("useGlobalIds", "true")];
    let answer = ada.post("0/applyEdits", &params).await;
    assert_eq!(answer["updateResults"][1]["success"], true, "{answer}");
    let all = [
        ("returnInserts", "true"),
        ("returnUpdates", "true"),
        ("returnDeletes", "true"),
    ];
    let ids = |told: &Value, name: &str| {
        let list = told["edits"][0]["features"][name].as_array().unwrap();
        let mut ids: Vec<String> = list
            .iter()
            .map(|f| f["attributes"]["GlobalID"].as_str().unwrap().to_owned())
            .collect();
        ids.sort();
        ids
    };
    let first = extract(&ada, &format!("[{since},{middle}]"), &all).await;
    assert_eq!(ids(&first, "adds"), [gid_text(500)], "{first}");
    assert_eq!(ids(&first, "updates"), [gid_text(1)], "{first}");
    assert_eq!(
        first["edits"][0]["features"]["deleteIds"],
        json!([gid_text(2)])
    );
    assert_eq!(first["layerServerGens"][0]["serverGen"], middle);
    let second = extract(&ada, &format!("[{middle}]"), &all).await;
    assert_eq!(ids(&second, "adds"), [""; 0]);
    assert_eq!(ids(&second, "updates"), [1, 3, 500].map(gid_text));
}

#[tokio::test]
async fn changes_can_be_narrowed() {
    let (ada, since) = changed().await;
    let updates = ("returnUpdates", "true");
    let height = extract(
        &ada,
        &since,
        &[updates, ("fieldsToCompare", r#"{"fields":["height"]}"#)],
    )
    .await;
    assert_eq!(
        height["edits"][0]["features"]["updates"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let name = extract(&ada, &since, &[updates, ("fieldsToCompare", "name")]).await;
    assert_eq!(name["edits"][0]["features"]["updates"], json!([]));
    let place = extract(
        &ada,
        &since,
        &[("returnInserts", "true"), ("geometry", "0,0,10,10")],
    )
    .await;
    assert_eq!(place["edits"][0]["features"]["adds"], json!([]));
    let gens = format!(
        "[{{\"id\":0,\"serverGen\":{}}}]",
        since.trim_matches(['[', ']'])
    );
    let params = [
        ("layerServerGens", gens.as_str()),
        ("returnInserts", "true"),
        EMBEDDED,
        ("layerQueries", r#"{"0":{"where":"name = 'new'"}}"#),
    ];
    let by_layer = ada.post("extractChanges", &params).await;
    assert_eq!(by_layer["edits"].as_array().unwrap().len(), 1);
    assert_eq!(
        by_layer["edits"][0]["features"]["adds"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn by_url_it_is_a_job_whose_file_tolerates_a_query() {
    let (ada, since) = changed().await;
    let params = [
        ("layers", "0"),
        ("serverGens", since.as_str()),
        ("returnInserts", "true"),
    ];
    let answer = ada.post("extractChanges", &params).await;
    let status = path_of(&answer["statusUrl"]);
    assert_eq!(
        ada.get(&format!("{status}?f=json")).await["status"],
        "Pending"
    );
    ada.host.run_jobs();
    let done = ada.get(&format!("{status}?f=json")).await;
    assert_eq!(done["status"], "Completed", "{done}");
    let file = ada
        .get(&format!("{}?f=json", path_of(&done["resultUrl"])))
        .await;
    assert_eq!(
        file["edits"][0]["features"]["adds"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn it_registers_nothing_and_needs_a_possible_generation() {
    let (ada, _) = changed().await;
    let before = ada.host.fingerprint();
    for generations in ["[99999]", "[5,1]", "x", "[-1]", "[1,2,3]"] {
        let answer = extract(&ada, generations, &[]).await;
        assert_eq!(code(&answer), 400, "{generations}");
    }
    assert_eq!(ada.host.fingerprint(), before);
}
