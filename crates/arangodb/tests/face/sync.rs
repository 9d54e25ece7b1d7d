//! Copies between two servers that work: whole, by revision trees, by keys.

use serde_json::{Value, json};

use haversack_model::Host as _;

use crate::host::TestHost;
use crate::web::Client;

fn documents(count: usize) -> Value {
    let all = (0..count)
        .map(|n| json!({"_key": format!("k{n:05}"), "n": n, "text": format!("document {n}")}));
    all.collect()
}

/// Drifts both sides apart in every way.
async fn drift(here: &Client, there: &Client) {
    for (method, path, body) in [
        ("PATCH", "/_api/document/c/k00001", json!({"n": -1})),
        ("DELETE", "/_api/document/c/k00002", json!({})),
        (
            "POST",
            "/_api/document/c",
            json!({"_key": "testi$!%20%44+abc=", "n": "new"}),
        ),
        (
            "POST",
            "/_api/document/c",
            json!({"_key": "zz", "n": "last"}),
        ),
        (
            "POST",
            "/_api/document/c",
            json!({"_key": "A", "n": "first"}),
        ),
    ] {
        let told = here.send(method, path, &[], &body.to_string()).await;
        assert!(told.status < 300, "{}", told.text);
    }
    for (method, path, body) in [
        ("PATCH", "/_api/document/c/k00003", json!({"n": -3})),
        ("DELETE", "/_api/document/c/k00004", json!({})),
        ("POST", "/_api/document/c", json!({"_key": "only-here"})),
        ("POST", "/_api/document/c", json!({"_key": "zzz"})),
        ("POST", "/_api/document/c", json!({"_key": "0"})),
    ] {
        let told = there.send(method, path, &[], &body.to_string()).await;
        assert!(told.status < 300, "{}", told.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_copy_holds_every_document_with_its_revision() {
    let (here, there) = (Client::new(), Client::new());
    here.fill("c", documents(3000)).await;
    let primary = here.listen().await;
    let told = there
        .sync(&primary, &["c"], json!({"chunkSize": 20_000}))
        .await;
    assert_eq!(told.status, 200, "{}", told.text);
    assert_eq!(told.json()["collections"][0]["name"], "c");
    assert!(
        told.json()["lastLogTick"]
            .as_str()
            .unwrap()
            .parse::<u64>()
            .unwrap()
            >= 3000
    );
    assert_eq!(there.all("c").await, here.all("c").await);
    let seen = primary.seen();
    assert!(
        seen.iter().filter(|line| line.contains("/dump?")).count() > 5,
        "several chunks"
    );
    assert!(
        seen.last()
            .unwrap()
            .starts_with("DELETE /_db/_system/_api/replication/batch/")
    );
    assert_eq!(here.host.pins(), 0, "the batch is released");
    let state = there.get("/_api/replication/applier-state").await.json();
    assert_eq!(state["state"]["progress"]["message"], "finished");
}

#[tokio::test(flavor = "multi_thread")]
async fn differences_are_made_up_by_revision_trees() {
    // A secondary whose clock is behind counts on from revisions of the primary, and may meet others of them.
    let at = |clock| Client::of(TestHost::at(clock));
    let (here, there) = (at(1_800_000_000_000), at(1_800_000_500_000));
    here.fill("c", documents(500)).await;
    let primary = here.listen().await;
    there.sync(&primary, &["c"], json!({})).await;
    drift(&here, &there).await;
    primary.seen();
    let told = there
        .sync(&primary, &["c"], json!({"incremental": true}))
        .await;
    assert_eq!(told.status, 200, "{}", told.text);
    assert_eq!(there.all("c").await, here.all("c").await);
    let seen = primary.seen();
    assert!(
        seen.iter().any(|line| line.contains("/revisions/ranges?")),
        "{seen:?}"
    );
    assert!(
        seen.iter()
            .all(|line| !line.contains("/dump?") && !line.contains("/keys")),
        "{seen:?}"
    );
    there
        .sync(&primary, &["c"], json!({"incremental": true}))
        .await;
    let seen = primary.seen();
    assert!(
        seen.iter()
            .all(|line| !line.contains("/revisions/documents")),
        "nothing is left: {seen:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn where_revisions_repeat_keys_are_compared() {
    let (here, there) = (Client::new(), Client::new());
    here.fill("c", documents(7000)).await;
    for key in ["one", "two"] {
        let body = json!({"_key": key, "_rev": "_ZAAHwuy---", "n": key});
        let told = here.post("/_api/document/c?isRestore=true", body).await;
        assert_eq!(told.json()["_rev"], "_ZAAHwuy---");
    }
    let primary = here.listen().await;
    let told = there.sync(&primary, &["c"], json!({})).await;
    assert_eq!(told.status, 200, "{}", told.text);
    assert_eq!(there.all("c").await, here.all("c").await);
    drift(&here, &there).await;
    primary.seen();
    let told = there
        .sync(&primary, &["c"], json!({"incremental": true}))
        .await;
    assert_eq!(told.status, 200, "{}", told.text);
    assert_eq!(there.all("c").await, here.all("c").await);
    let seen = primary.seen();
    assert!(
        seen.iter().any(|line| line.contains("type=docs")),
        "{seen:?}"
    );
    assert!(
        seen.iter()
            .any(|line| line.starts_with("DELETE") && line.contains("/keys/")),
        "{seen:?}"
    );
    here.put("/_api/collection/c/truncate", json!({})).await;
    there
        .sync(&primary, &["c"], json!({"incremental": true}))
        .await;
    assert_eq!(there.all("c").await, Vec::<Value>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_does_not_know_trees_is_asked_for_keys() {
    let (here, there) = (Client::new(), Client::new());
    here.fill("c", documents(300)).await;
    let primary = here.listen().await;
    there.sync(&primary, &["c"], json!({})).await;
    drift(&here, &there).await;
    primary.fail(|_, path, response| {
        let refused = http::Response::builder().status(501).body("{}".into());
        Some(if path.contains("/revisions/") {
            refused.unwrap()
        } else {
            response
        })
    });
    let told = there
        .sync(&primary, &["c"], json!({"incremental": true}))
        .await;
    assert_eq!(told.status, 200, "{}", told.text);
    assert_eq!(there.all("c").await, here.all("c").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_copy_is_of_the_snapshot_whatever_is_written_meanwhile() {
    let (here, there) = (Client::new(), Client::new());
    here.fill("c", documents(2000)).await;
    let before = here.all("c").await;
    let primary = here.listen().await;
    let (writer, handle) = (here.clone(), tokio::runtime::Handle::current());
    primary.fail(move |_, path, response| {
        if path.contains("/dump?") {
            let writer = writer.clone();
            let written = handle.spawn(async move {
                for verb in ["PATCH", "DELETE"] {
                    let key = if verb == "PATCH" { "k01999" } else { "k01998" };
                    writer
                        .send(verb, &format!("/_api/document/c/{key}"), &[], r#"{"n":0}"#)
                        .await;
                }
                writer.post("/_api/document/c", json!({})).await
            });
            drop(written);
        }
        Some(response)
    });
    let told = there
        .sync(&primary, &["c"], json!({"chunkSize": 5000}))
        .await;
    assert_eq!(told.status, 200, "{}", told.text);
    assert_eq!(there.all("c").await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_of_another_origin_is_replaced_and_known_again() {
    let (here, there) = (Client::new(), Client::new());
    here.fill("c", documents(10)).await;
    there.fill("c", json!([{"_key": "mine"}])).await;
    let primary = here.listen().await;
    let guid = |client: &Client| {
        let client = client.clone();
        async move { client.get("/_api/collection/c").await.json()["globallyUniqueId"].clone() }
    };
    assert_ne!(guid(&here).await, guid(&there).await);
    there
        .sync(&primary, &["c"], json!({"incremental": true}))
        .await;
    assert!(
        primary.seen().iter().any(|line| line.contains("/dump?")),
        "it was copied whole"
    );
    assert_eq!(guid(&here).await, guid(&there).await);
    assert_eq!(there.all("c").await, here.all("c").await);
    there
        .sync(&primary, &["c"], json!({"incremental": true}))
        .await;
    assert!(
        primary.seen().iter().all(|line| !line.contains("/dump?")),
        "then by difference"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn indexes_follow_the_primary_and_values_may_change_places() {
    let (here, there) = (Client::new(), Client::new());
    here.fill("c", documents(100)).await;
    let index = json!({"type": "persistent", "fields": ["n"], "unique": true, "name": "by_n"});
    assert_eq!(
        here.post("/_api/index?collection=c", index).await.status,
        201
    );
    let primary = here.listen().await;
    there.sync(&primary, &["c"], json!({})).await;
    // All values are permuted.
    for n in 0..100 {
        let body = json!({"n": 1000 + n}).to_string();
        here.send("PATCH", &format!("/_api/document/c/k{n:05}"), &[], &body)
            .await;
    }
    for n in 0..100 {
        let body = json!({"n": 99 - n}).to_string();
        let told = here
            .send("PATCH", &format!("/_api/document/c/k{n:05}"), &[], &body)
            .await;
        assert_eq!(told.status, 202, "{}", told.text);
    }
    let told = there
        .sync(&primary, &["c"], json!({"incremental": true}))
        .await;
    assert_eq!(told.status, 200, "{}", told.text);
    assert_eq!(there.all("c").await, here.all("c").await);
    let refused = there.post("/_api/document/c", json!({"n": 5})).await;
    assert_eq!(refused.error(), (409, 1210), "the entries work");
    // An index of our own that the primary's documents do not fit.
    let own = json!({"type": "persistent", "fields": ["kind"], "unique": true, "sparse": true, "name": "own"});
    assert_eq!(
        there.post("/_api/index?collection=c", own).await.status,
        201
    );
    for n in 0..2 {
        let body = json!({"kind": "same"}).to_string();
        here.send("PATCH", &format!("/_api/document/c/k{n:05}"), &[], &body)
            .await;
    }
    let before = there.host.fingerprint();
    let told = there
        .sync(&primary, &["c"], json!({"incremental": true}))
        .await;
    assert_eq!(told.error(), (409, 1210), "{}", told.text);
    assert_eq!(there.host.fingerprint(), before, "and nothing was changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_exist_there_stays_here() {
    let (here, there) = (Client::new(), Client::new());
    there.fill("c", documents(3)).await;
    let primary = here.listen().await;
    let before = there.host.fingerprint();
    let told = there.sync(&primary, &["c"], json!({})).await;
    assert_eq!(
        (told.status, &told.json()["collections"]),
        (200, &json!([]))
    );
    assert_eq!(there.host.fingerprint(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_gave_the_same_revisions_to_different_documents_become_equal() {
    let (here, there) = (Client::new(), Client::new());
    here.fill("c", documents(500)).await;
    let primary = here.listen().await;
    there.sync(&primary, &["c"], json!({})).await;
    let made = here.post("/_api/document/c", json!({"_key": "one"})).await;
    let taken = made.json()["_rev"].clone();
    let other = json!({"_key": "other", "_rev": taken});
    let told = there.post("/_api/document/c?isRestore=true", other).await;
    assert_eq!(told.json()["_rev"], taken, "both trees are equal now");
    let told = there
        .sync(&primary, &["c"], json!({"incremental": true}))
        .await;
    assert_eq!(told.status, 200, "{}", told.text);
    assert_eq!(there.all("c").await, here.all("c").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn collections_that_are_only_in_the_same_place_of_their_services_are_not_taken_for_the_same()
{
    let (here, there) = (Client::new(), Client::new());
    // Made by none of the dialect's ways: they have no identity of their own.
    for (client, name) in [(&here, "theirs"), (&there, "ours")] {
        client.get("/_api/collection").await;
        let store = client.host.documents("_system").unwrap();
        let mut tx = store.write_documents(client.host.now()).unwrap();
        let mut service = tx.service().unwrap();
        let made = service.new_documents(name, false).unwrap();
        service.collections.push(made);
        tx.store_service(&service).unwrap();
        tx.commit().unwrap();
        let path = format!("/_api/document/{name}");
        let told = client.post(&path, json!({"_key": name})).await;
        assert_eq!(told.status, 202, "{}", told.text);
    }
    let primary = here.listen().await;
    for incremental in [false, true] {
        let more = json!({"incremental": incremental});
        let told = there.sync(&primary, &["theirs"], more).await;
        assert_eq!(told.status, 200, "{}", told.text);
        assert_eq!(there.all("ours").await[0]["_key"], "ours");
        assert_eq!(there.all("theirs").await[0]["_key"], "theirs");
    }
}
