//! Long work: jobs, also over a restart.

use serde_json::{Value, json};

use crate::sample::gid_text;
use crate::web::{Client, SERVICE, code, path_of};

async fn status(client: &Client, answer: &Value) -> Value {
    let path = path_of(&answer["statusUrl"]);
    assert!(
        !path.ends_with("/status"),
        "the Python client would append another"
    );
    let plain = client.get(&format!("{path}?f=json")).await;
    assert_eq!(client.get(&format!("{path}/status?f=json")).await, plain);
    plain
}

#[tokio::test]
async fn a_replica_is_made_by_a_job() {
    let ada = Client::new().user("ada");
    let params = [
        ("layers", "0"),
        ("replicaName", "slow"),
        ("async", "True"),
        ("transportType", "esriTransportTypeEmbedded"),
    ];
    let answer = ada.post("createReplica", &params).await;
    assert_eq!(status(&ada, &answer).await["status"], "Pending");
    assert!(ada.host.run_jobs());
    let done = status(&ada, &answer).await;
    assert_eq!(
        (&done["status"], &done["replicaName"]),
        (&json!("Completed"), &json!("slow"))
    );
    let (_, body) = ada.fetch(&path_of(&done["resultUrl"])).await;
    let document: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(
        document["layers"][0]["features"].as_array().unwrap().len(),
        10
    );
    assert_eq!(document["replicaID"], done["replicaID"]);
}

#[tokio::test]
async fn a_job_that_runs_again_after_a_restart_does_no_harm() {
    let ada = Client::new().user("ada");
    let made = ada
        .post("createReplica", &[("layers", "0"), ("async", "true")])
        .await;
    ada.host.run_jobs_and_die();
    assert_eq!(status(&ada, &made).await["status"], "Pending");
    // The same data, another process.
    let ada = Client::of(&ada.host).user("ada");
    ada.host.run_jobs();
    let done = status(&ada, &made).await;
    assert_eq!(done["status"], "Completed", "{done}");
    let listed = ada.get(&format!("{SERVICE}/replicas?f=json")).await;
    assert_eq!(listed.as_array().unwrap().len(), 1, "one replica, not two");

    let id = done["replicaID"].as_str().unwrap();
    let generation = done["replicaServerGen"].to_string();
    let long = "x".repeat(70_000);
    let edits = json!([{"id": 0, "adds": [{"attributes": {"GlobalID": gid_text(500), "name": "once", "unknown": long}}]}]).to_string();
    let params = [
        ("replicaID", id),
        ("replicaServerGen", &generation),
        ("edits", &edits),
        ("async", "true"),
    ];
    let asked = ada.post("synchronizeReplica", &params).await;
    ada.host.run_jobs_and_die();
    let count = [("where", "name = 'once'"), ("returnCountOnly", "true")];
    assert_eq!(ada.post("0/query", &count).await["count"], 1);
    let before = ada.host.store_generation();
    ada.host.run_jobs();
    let done = status(&ada, &asked).await;
    assert_eq!(done["status"], "Completed", "{done}");
    assert_eq!(
        ada.host.store_generation(),
        before,
        "the second run changed nothing"
    );
    let document = ada.get(&path_of(&done["resultUrl"])).await;
    assert_eq!(document["edits"][0]["addResults"][0]["success"], true);
}

#[tokio::test]
async fn edits_may_be_a_job_too() {
    let ada = Client::new().user("ada");
    let answer = ada
        .post("0/applyEdits", &[("deletes", "1"), ("async", "true")])
        .await;
    ada.host.run_jobs();
    let done = status(&ada, &answer).await;
    assert_eq!(done["deleteResults"][0]["success"], true, "{done}");
    let answer = ada
        .post(
            "applyEdits",
            &[("edits", r#"[{"id":0,"deletes":[2]}]"#), ("async", "true")],
        )
        .await;
    ada.host.run_jobs();
    let done = status(&ada, &answer).await;
    let file = ada.get(&path_of(&done["resultUrl"])).await;
    assert_eq!(file[0]["deleteResults"][0]["objectId"], 2);
}

#[tokio::test]
async fn a_job_that_fails_says_so_and_is_its_owners_alone() {
    let client = Client::new();
    let ada = client.user("ada");
    let answer = ada
        .post("createReplica", &[("layers", "0"), ("async", "true")])
        .await;
    client.host.grant("ada", &[], Vec::new());
    client.host.run_jobs();
    let failed = status(&ada, &answer).await;
    assert_eq!(failed["status"], "Failed");
    assert!(
        failed.get("error").is_none() && failed["description"].is_string(),
        "{failed}"
    );
    let path = path_of(&answer["statusUrl"]);
    assert_eq!(code(&client.user("bob").get(&path).await), 404);
    assert_eq!(client.user("root").get(&path).await["status"], "Failed");
}

#[tokio::test]
async fn what_is_wrong_is_told_at_once_and_starts_no_job() {
    let ada = Client::new().user("ada");
    for (operation, params) in [
        ("createReplica", vec![("layers", "9")]),
        ("createReplica", vec![("syncModel", "both")]),
        ("synchronizeReplica", vec![("replicaID", "x")]),
        ("extractChanges", vec![("layers", "0")]),
    ] {
        let mut params = params.clone();
        params.push(("async", "true"));
        assert_eq!(
            code(&ada.post(operation, &params).await),
            400,
            "{operation}"
        );
    }
    assert!(!ada.host.run_jobs());
}

/// What a host holds (stores, folders, locks) ends with it, whatever was mounted on it.
#[test]
fn a_host_that_is_let_go_is_not_held_by_the_face() {
    let client = Client::new();
    let host = std::sync::Arc::downgrade(&client.host);
    assert!(host.upgrade().is_some());
    drop(client);
    assert!(host.upgrade().is_none());
}
