//! Who may do what: nobody anything, readers nothing that changes, and no address that gets around it.

use serde_json::json;

use crate::web::Client;

/// One request for every operation.
const OPERATIONS: &[(&str, &str)] = &[
    ("GET", "/_api/version"),
    ("GET", "/_api/engine"),
    ("GET", "/_admin/server/role"),
    ("GET", "/_api/database"),
    ("GET", "/_api/database/user"),
    ("GET", "/_api/database/current"),
    ("POST", "/_api/database"),
    ("DELETE", "/_api/database/x"),
    ("GET", "/_api/user"),
    ("POST", "/_api/user"),
    ("DELETE", "/_api/user/root"),
    ("PUT", "/_api/user/root/database/_system"),
    ("GET", "/_api/collection"),
    ("POST", "/_api/collection"),
    ("GET", "/_api/collection/c/checksum"),
    ("PUT", "/_api/collection/c/truncate"),
    ("DELETE", "/_api/collection/c"),
    ("POST", "/_api/document/c"),
    ("GET", "/_api/document/c/k"),
    ("PUT", "/_api/document/c/k"),
    ("PATCH", "/_api/document/c/k"),
    ("DELETE", "/_api/document/c/k"),
    ("PUT", "/_api/document/c?onlyget=true"),
    ("POST", "/_api/import?collection=c"),
    ("GET", "/_api/index?collection=c"),
    ("POST", "/_api/index?collection=c"),
    ("DELETE", "/_api/index/c/1"),
    ("POST", "/_api/cursor"),
    ("PUT", "/_api/cursor/1"),
    ("PUT", "/_api/simple/all"),
    ("PUT", "/_api/simple/remove-by-keys"),
    ("PUT", "/_api/simple/nonsense"),
    ("GET", "/_api/gharial"),
    ("POST", "/_api/transaction/begin"),
    ("GET", "/_admin/server/mode"),
    ("GET", "/_api/view"),
    ("GET", "/_api/job/done"),
    ("PUT", "/_api/job/1"),
    ("POST", "/_api/replication/batch"),
    ("PUT", "/_api/replication/batch/1"),
    ("DELETE", "/_api/replication/batch/1"),
    ("GET", "/_api/replication/inventory?batchId=1"),
    ("GET", "/_api/replication/dump?collection=c&batchId=1"),
    ("POST", "/_api/replication/keys?collection=c&batchId=1"),
    ("GET", "/_api/replication/keys/1-1"),
    ("PUT", "/_api/replication/keys/1-1?type=keys"),
    ("DELETE", "/_api/replication/keys/1-1"),
    (
        "GET",
        "/_api/replication/revisions/tree?collection=c&batchId=1",
    ),
    (
        "PUT",
        "/_api/replication/revisions/ranges?collection=c&batchId=1",
    ),
    (
        "PUT",
        "/_api/replication/revisions/documents?collection=c&batchId=1",
    ),
    ("GET", "/_api/replication/logger-state"),
    ("GET", "/_api/replication/server-id"),
    ("GET", "/_api/replication/logger-first-tick"),
    ("GET", "/_api/replication/logger-follow"),
    ("GET", "/_api/replication/applier-state"),
    ("GET", "/_api/replication/applier-config"),
    ("PUT", "/_api/replication/applier-start"),
    ("PUT", "/_api/replication/applier-stop"),
    ("PUT", "/_api/replication/sync"),
    ("PUT", "/_api/replication/make-slave"),
    ("GET", "/_api/replication/nonsense"),
    ("GET", "/_api/wal/tail"),
    ("GET", "/_api/wal/range"),
    ("GET", "/_api/wal/lastTick"),
    ("GET", "/_api/nonsense"),
    ("GET", "/_admin/nonsense"),
];

#[tokio::test]
async fn nobody_learns_anything() {
    let client = Client::new();
    client.fill("c", json!([{"_key": "k"}])).await;
    let before = client.host.fingerprint();
    let nobody = client.user("");
    for (method, path) in OPERATIONS {
        for path in [
            (*path).to_owned(),
            format!("/_db/_system{path}"),
            format!("/_db/nowhere{path}"),
        ] {
            for asynchronous in [false, true] {
                let headers: &[(&str, &str)] = if asynchronous {
                    &[("x-arango-async", "store")]
                } else {
                    &[]
                };
                let told = nobody.send(method, &path, headers, "{}").await;
                assert_eq!(told.error(), (401, 11), "{method} {path}: {}", told.text);
                assert_eq!(told.headers.get_all("www-authenticate").iter().count(), 2);
            }
        }
    }
    assert_eq!(client.host.fingerprint(), before);
}

#[tokio::test]
async fn every_encoding_of_an_address_is_the_same_address() {
    let nobody = Client::new().user("");
    for path in [
        "/_api/%75ser",
        "/_api//user",
        "/_api/us%65r/",
        "/_db/_system/_ap%69/user",
        "/_db/%5fsystem/%5fapi/user",
    ] {
        assert_eq!(nobody.get(path).await.error(), (401, 11), "{path}");
    }
    for path in [
        "/_api/%2e%2e/user",
        "/_api/x%2fuser",
        "/_api/%2575ser",
        "/_api/user%00",
        "/_db/a%5cb/_api/user",
    ] {
        assert_eq!(nobody.get(path).await.error(), (400, 400), "{path}");
    }
    assert_eq!(nobody.get("/%5fapi/user").await.status, 404, "no such root");
}

#[tokio::test]
async fn who_may_only_read_changes_nothing() {
    let client = Client::new();
    client.fill("c", json!([{"_key": "k"}])).await;
    let before = client.host.fingerprint();
    let reader = client.user("eve");
    for (method, path) in OPERATIONS.iter().filter(|(method, _)| *method != "GET") {
        let told = reader.send(method, path, &[], r#"{"query":"x"}"#).await;
        assert!(
            told.status >= 400,
            "{method} {path}: {} {}",
            told.status,
            told.text
        );
    }
    assert_eq!(client.host.fingerprint(), before);
    assert_eq!(reader.get("/_api/document/c/k").await.status, 200);
    assert_eq!(
        reader.get("/_api/replication/logger-state").await.error(),
        (403, 11)
    );
    let stranger = client.user("mallory");
    for path in ["/_api/document/c/k", "/_db/nowhere/_api/document/c/k"] {
        assert_eq!(
            stranger.get(path).await.error(),
            (403, 11),
            "{path}: existing or not is not told"
        );
    }
}

#[tokio::test]
async fn jobs_are_their_owners() {
    let client = Client::new();
    let told = client
        .send("GET", "/_api/version", &[("x-arango-async", "store")], "")
        .await;
    assert_eq!((told.status, told.text.as_str()), (202, ""));
    let id = told.header("x-arango-async-id").to_owned();
    let path = format!("/_api/job/{id}");
    for method in ["GET", "PUT", "DELETE"] {
        let other = client.user("ada").send(method, &path, &[], "").await;
        assert_eq!(other.error(), (404, 404), "{method}");
    }
    let mut told = client.put(&path, json!({})).await;
    while told.status == 204 {
        assert!(told.headers.get("x-arango-async-id").is_none());
        tokio::task::yield_now().await;
        told = client.put(&path, json!({})).await;
    }
    assert_eq!(
        (told.status, told.json()["server"].as_str()),
        (200, Some("arango"))
    );
    assert_eq!(told.header("x-arango-async-id"), id);
    assert_eq!(
        client.put(&path, json!({})).await.error(),
        (404, 404),
        "fetched is forgotten"
    );
}

#[tokio::test]
async fn jobs_outlive_a_restart_of_the_server() {
    let client = Client::new();
    let mut ids = Vec::new();
    for path in ["/_api/version", "/_api/collection/nothing", "/_api/version"] {
        let told = client
            .send("GET", path, &[("x-arango-async", "store")], "")
            .await;
        let id = told.header("x-arango-async-id").to_owned();
        while client.get(&format!("/_api/job/{id}")).await.status == 204 {
            tokio::task::yield_now().await;
        }
        ids.push(format!("/_api/job/{id}"));
    }
    assert_eq!(client.delete(&ids[2]).await.status, 200);
    let again = Client::of(client.host.clone());
    let other = again.user("ada").send("PUT", &ids[0], &[], "").await;
    assert_eq!(other.error(), (404, 404), "they are still their owners'");
    let told = again.put(&ids[0], json!({})).await;
    assert_eq!(told.status, 200);
    assert_eq!(told.json()["server"], "arango");
    assert!(ids[0].ends_with(told.header("x-arango-async-id")));
    let told = again.put(&ids[1], json!({})).await;
    assert_eq!(told.error(), (404, 1203), "a refusal is kept, too");
    let third = Client::of(client.host.clone());
    for id in &ids {
        let told = third.put(id, json!({})).await;
        assert_eq!(told.error(), (404, 404), "fetched or deleted is forgotten");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_a_restart_cut_off_says_so() {
    use haversack_model::host::Kept as _;
    let client = Client::new();
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let order = json!({"endpoint": format!("tcp://{}", silent.local_addr().unwrap()), "initialSyncMaxWaitTime": 60});
    let store = [("x-arango-async", "store")];
    let told = client
        .send("PUT", "/_api/replication/sync", &store, &order.to_string())
        .await;
    let order = told.header("x-arango-async-id").to_owned();
    let (_connection, _) = silent.accept().await.unwrap();
    // Another request, as it is kept while it runs.
    let running = json!({"owner": "root", "begun": 1, "what": "_api/cursor", "answer": null});
    let running = running.to_string();
    client
        .host
        .keep("arangodb job 77", running.as_bytes())
        .unwrap();
    let again = Client::of(client.host.clone());
    for (id, status, number) in [(order.as_str(), 500, 1412), ("77", 503, 503)] {
        let path = format!("/_api/job/{id}");
        assert_eq!(again.get(&path).await.status, 200, "it has ended");
        let told = again.put(&path, json!({})).await;
        assert_eq!(told.error(), (status, number), "{}", told.text);
        assert!(told.text.contains("restarted"), "{}", told.text);
        assert_eq!(again.put(&path, json!({})).await.error(), (404, 404));
    }
    client
        .put("/_api/replication/applier-stop", json!({}))
        .await;
}

#[tokio::test]
async fn a_password_opens_with_a_token_that_drivers_accept() {
    let client = Client::new().user("");
    let told = client
        .post(
            "/_open/auth",
            json!({"username": "ada", "password": "secret"}),
        )
        .await;
    let jwt = told.json()["jwt"].as_str().unwrap().to_owned();
    assert_eq!(jwt.split('.').count(), 3);
    let bearer = format!("bearer {jwt}");
    let told = client
        .send(
            "GET",
            "/_api/database/current",
            &[("authorization", &bearer)],
            "",
        )
        .await;
    assert_eq!(told.status, 200, "{}", told.text);
    let broken = format!("bearer {}x", &jwt[..jwt.len() - 2]);
    let told = client
        .send(
            "GET",
            "/_api/database/current",
            &[("authorization", &broken)],
            "",
        )
        .await;
    assert_eq!(told.error(), (401, 11));
    let wrong = client
        .post(
            "/_open/auth",
            json!({"username": "ada", "password": "wrong"}),
        )
        .await;
    assert_eq!(wrong.error(), (401, 401));
}

#[tokio::test]
async fn a_database_that_is_a_feature_service_is_not_removed() {
    use haversack_model::{Collection, CollectionId, CollectionKind, Host as _};
    let client = Client::new();
    for (name, is_layer) in [("shop", false), ("Parks", true)] {
        let told = client.post("/_api/database", json!({"name": name})).await;
        assert_eq!(told.status, 201, "{}", told.text);
        if is_layer {
            let store = client.host.documents(name).unwrap();
            let mut tx = store.write_documents(client.host.now()).unwrap();
            let mut service = tx.service().unwrap();
            let mut table = Collection::documents(CollectionId(0), "Trees", "Trees", false);
            table.kind = CollectionKind::Table;
            table.global_id_field = "GlobalID".to_owned();
            service.collections.push(table);
            tx.store_service(&service).unwrap();
            tx.commit().unwrap();
        }
    }
    assert_eq!(client.delete("/_api/database/shop").await.status, 200);
    let told = client.delete("/_api/database/Parks").await;
    assert_eq!(told.error(), (403, 11), "{}", told.text);
    assert!(told.text.contains("feature service"), "{}", told.text);
    assert!(client.host.documents("Parks").is_some());
    assert_eq!(
        client.delete("/_api/database/shop").await.error(),
        (404, 1228)
    );
}
