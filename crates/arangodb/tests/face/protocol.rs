//! The primary's side of the protocols, request by request, as the reference has them.

use haversack_model::documents::{DocumentWrite, document};
use haversack_model::{Collection, CollectionId, CollectionKind, GlobalId, Host as _, Record};
use serde_json::{Value, json};

use crate::web::{Client, Told};

async fn filled() -> (Client, String) {
    let client = Client::new();
    let all = (0..100).map(|n| json!({"_key": format!("k{n:02}"), "n": n}));
    client.fill("c", all.collect()).await;
    let told = client
        .post("/_api/replication/batch", json!({"ttl": 600}))
        .await;
    assert_eq!(told.status, 200, "{}", told.text);
    let id = told.json()["id"].as_str().unwrap().to_owned();
    assert!(id.parse::<u64>().unwrap() > 0);
    (client, id)
}

fn more(told: &Told) -> (&str, &str) {
    (
        told.header("x-arango-replication-checkmore"),
        told.header("x-arango-replication-lastincluded"),
    )
}

#[tokio::test]
async fn a_dump_goes_on_by_itself_or_from_where_it_is_told() {
    let (client, batch) = filled().await;
    let dump = format!("/_api/replication/dump?collection=c&batchId={batch}&chunkSize=1000");
    let first = client.get(&format!("{dump}&from=0")).await;
    assert_eq!((first.status, more(&first)), (200, ("true", "1")));
    assert_eq!(
        first.header("content-type"),
        "application/x-arango-dump; charset=utf-8"
    );
    assert!(
        first
            .text
            .starts_with(r#"{"type":2300,"data":{"_key":"k00","_id":"c/k00","#),
        "{}",
        first.text
    );
    let again = client.get(&format!("{dump}&from=0")).await;
    assert_eq!(again.text, first.text, "a repeated request gives the same");
    let second = client
        .get(&format!("{dump}&from=1&useEnvelope=false"))
        .await;
    assert_eq!(more(&second).1, "2");
    assert!(second.text.starts_with(r#"{"_key":"#), "{}", second.text);
    let mut lines = first.text.lines().count() + second.text.lines().count();
    loop {
        let part = client.get(&dump).await;
        lines += part.text.lines().count();
        if more(&part).0 == "false" {
            break;
        }
    }
    assert_eq!(lines, 100);
    let end = client.get(&dump).await;
    assert_eq!(
        (end.status, end.text.as_str(), more(&end)),
        (204, "", ("false", "0"))
    );
}

#[tokio::test]
async fn wrong_requests_have_the_numbers_of_the_reference() {
    let (client, batch) = filled().await;
    for (method, path, error) in [
        (
            "GET",
            "/_api/replication/dump?batchId=1".to_owned(),
            (400, 400),
        ),
        (
            "GET",
            "/_api/replication/dump?collection=c".to_owned(),
            (404, 404),
        ),
        (
            "GET",
            "/_api/replication/dump?collection=c&batchId=7".to_owned(),
            (404, 404),
        ),
        (
            "GET",
            format!("/_api/replication/dump?collection=x&batchId={batch}"),
            (400, 400),
        ),
        ("GET", "/_api/replication/inventory".to_owned(), (404, 1600)),
        (
            "GET",
            "/_api/replication/inventory?batchId=7".to_owned(),
            (404, 1600),
        ),
        (
            "GET",
            "/_api/replication/revisions/tree?collection=c".to_owned(),
            (404, 404),
        ),
        (
            "GET",
            format!("/_api/replication/revisions/tree?collection=x&batchId={batch}"),
            (404, 1203),
        ),
        ("PUT", "/_api/replication/batch/7".to_owned(), (404, 1600)),
        (
            "DELETE",
            "/_api/replication/batch/7".to_owned(),
            (404, 1600),
        ),
        ("PATCH", "/_api/replication/batch/7".to_owned(), (405, 405)),
        ("GET", "/_api/replication/nonsense".to_owned(), (400, 400)),
        (
            "GET",
            "/_api/replication/server-id/x".to_owned(),
            (400, 601),
        ),
        (
            "GET",
            "/_api/replication/clusterInventory".to_owned(),
            (403, 1471),
        ),
        ("GET", "/_api/wal/tail?from=9&to=3".to_owned(), (400, 400)),
        (
            "PUT",
            "/_api/replication/applier-start".to_owned(),
            (400, 1410),
        ),
        ("PUT", "/_api/job".to_owned(), (400, 400)),
        ("GET", "/_api/job/nonsense".to_owned(), (400, 400)),
        ("GET", "/_api/document/c/none".to_owned(), (404, 1202)),
        ("GET", "/_api/document/none/k".to_owned(), (404, 1203)),
        ("GET", "/_db/none/_api/collection".to_owned(), (404, 1228)),
        ("POST", "/_api/collection".to_owned(), (400, 1208)),
    ] {
        let told = client.send(method, &path, &[], "{}").await;
        assert_eq!(told.error(), error, "{method} {path}: {}", told.text);
        let body = told.json();
        assert_eq!(
            (&body["error"], &body["code"]),
            (&json!(true), &json!(error.0))
        );
    }
    for body in ["", "x", r#"{"a":1,"a":2}"#] {
        let told = client
            .send("POST", "/_api/replication/batch", &[], body)
            .await;
        assert_eq!(told.error(), (400, 600), "{body}");
    }
}

#[tokio::test]
async fn revisions_are_told_by_range_and_resumed() {
    let (client, batch) = filled().await;
    let of = format!("collection=c&batchId={batch}");
    let tree = client
        .get(&format!(
            "/_api/replication/revisions/tree?{of}&onlyPopulated=true"
        ))
        .await;
    assert_eq!(tree.json()["count"], 100);
    assert!(tree.text.len() < 1000, "{}", tree.text.len());
    let all = client.all("c").await;
    let revs: Vec<&str> = all
        .iter()
        .map(|document| document["_rev"].as_str().unwrap())
        .collect();
    let ranges = json!([["_bpq8a-----", revs[9]], [revs[10], "_zzzzzzzzzz"]]);
    let path = format!("/_api/replication/revisions/ranges?{of}&resume=_bpq8a-----");
    let told = client.put(&path, ranges).await.json();
    assert_eq!(told["ranges"][0], json!(revs[..10]));
    assert_eq!(told["ranges"][1], json!(revs[10..]));
    assert_eq!(told.get("resume"), None);
    let path = format!("/_api/replication/revisions/ranges?{of}&resume={}", revs[5]);
    let told = client
        .put(&path, json!([["_bpq8a-----", revs[4]], [revs[5], revs[7]]]))
        .await
        .json();
    assert_eq!(
        told["ranges"],
        json!([revs[5..=7]]),
        "from the range that contains it on"
    );
    let path = format!("/_api/replication/revisions/documents?{of}");
    let told = client.put(&path, json!(revs[3..6])).await.json();
    assert_eq!(told, json!(all[3..6]));
    for bad in [
        json!([[revs[1], revs[0]]]),
        json!([["?", "x"]]),
        json!([[revs[0]]]),
        json!(7),
    ] {
        let told = client
            .put(
                &format!("/_api/replication/revisions/ranges?{of}"),
                bad.clone(),
            )
            .await;
        assert_eq!(told.error(), (400, 400), "{bad}");
    }
}

#[tokio::test]
async fn everything_of_a_batch_is_of_its_snapshot() {
    let (client, batch) = filled().await;
    let of = format!("collection=c&batchId={batch}");
    let ask = |what: &'static str| {
        let (client, of) = (client.clone(), of.clone());
        async move {
            match what {
                "tree" => {
                    client
                        .get(&format!(
                            "/_api/replication/revisions/tree?{of}&onlyPopulated=true"
                        ))
                        .await
                }
                "dump" => {
                    client
                        .get(&format!(
                            "/_api/replication/dump?{of}&from=0&chunkSize=9999999"
                        ))
                        .await
                }
                _ => {
                    client
                        .post(&format!("/_api/replication/keys?{of}"), Value::Null)
                        .await
                }
            }
            .text
        }
    };
    let (tree, dump, keys) = (ask("tree").await, ask("dump").await, ask("keys").await);
    client
        .send("PATCH", "/_api/document/c/k50", &[], r#"{"n":"changed"}"#)
        .await;
    client.delete("/_api/document/c/k51").await;
    client
        .post("/_api/document/c", json!({"_key": "new"}))
        .await;
    assert_eq!(
        (ask("tree").await, ask("dump").await, ask("keys").await),
        (tree, dump, keys.clone())
    );
    let id = serde_json::from_str::<Value>(&keys).unwrap()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let chunks = client
        .get(&format!("/_api/replication/keys/{id}?chunkSize=100"))
        .await
        .json();
    assert_eq!(
        (&chunks[0]["low"], &chunks[0]["high"]),
        (&json!("k00"), &json!("k99"))
    );
    let path =
        format!("/_api/replication/keys/{id}?type=docs&chunk=0&chunkSize=100&low=k00&offset=0");
    let told = client.put(&path, json!([50, 51])).await.json();
    assert_eq!((&told[0]["n"], &told[1]["n"]), (&json!(50), &json!(51)));
    let path = format!("/_api/replication/keys/{id}?type=keys&chunk=0&chunkSize=100&low=%zz");
    assert_eq!(
        client
            .put(&path, json!([]))
            .await
            .json()
            .as_array()
            .unwrap()
            .len(),
        100,
        "a low that cannot be decoded"
    );
    let path =
        format!("/_api/replication/keys/{id}?type=docs&chunk=0&chunkSize=100&low=k00&offset=1");
    assert_eq!(
        client.put(&path, json!([1, 2])).await.json()[0],
        Value::Null,
        "what was sent is a placeholder"
    );
    let path = format!("/_api/replication/keys/{id}?type=other&chunk=0");
    assert_eq!(client.put(&path, json!([])).await.error(), (400, 400));
    assert_eq!(
        client
            .delete(&format!("/_api/replication/keys/{id}"))
            .await
            .status,
        202
    );
}

/// Of a layer: revisions within ranges, and the records that have some of them.
async fn of_layer(client: &Client, batch: &str, ranges: &Value, revs: &Value) -> (Value, Value) {
    let of = format!("collection=Trees&batchId={batch}");
    let path = |what| format!("/_db/Parks/_api/replication/revisions/{what}?{of}");
    let told = client.put(&path("ranges"), ranges.clone()).await.json();
    let records = client.put(&path("documents"), revs.clone()).await.json();
    (told["ranges"].clone(), records)
}

#[tokio::test]
async fn a_layer_is_told_by_its_revisions_as_it_was() {
    let client = Client::new();
    let made = client.post("/_api/database", json!({"name": "Parks"}));
    assert_eq!(made.await.status, 201);
    let store = client.host.documents("Parks").unwrap();
    let change = |change: &dyn Fn(&mut dyn DocumentWrite)| {
        let mut tx = store.write_documents(client.host.now()).unwrap();
        change(&mut *tx);
        tx.commit().unwrap();
    };
    let id = |n: u32| GlobalId::Uuid(uuid::Uuid::from_u128(u128::from(n) + 1));
    let tree = |n: u32, species: &str| Record {
        global_id: id(n),
        ..document("", species)
    };
    change(&|tx| {
        let mut service = tx.service().unwrap();
        let mut layer = Collection::documents(CollectionId(0), "Trees", "Trees", false);
        layer.kind = CollectionKind::Table;
        layer.global_id_field = "GlobalID".to_owned();
        service.collections.push(layer);
        tx.store_service(&service).unwrap();
        for n in 0..6 {
            tx.put(CollectionId(0), &tree(n, "oak"), None).unwrap();
        }
    });
    let told = client.post("/_db/Parks/_api/replication/batch", json!({"ttl": 600}));
    let told = told.await.json();
    let batch = told["id"].as_str().unwrap();
    let (all, _) = of_layer(
        &client,
        batch,
        &json!([["_bpq8a-----", "_zzzzzzzzzz"]]),
        &json!([]),
    )
    .await;
    let revs: Vec<&str> = all[0]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    assert_eq!(revs.len(), 6);
    let ranges = json!([
        ["_bpq8a-----", "_bpq8a----A"],
        ["_bpq8a---A-", "_bpq8a---B-"],
        ["_bpq8a---C-", revs[0]],
        [revs[2], revs[3]],
        [revs[5], "_zzzzzzzzzz"],
    ]);
    let some = json!([revs[1], revs[4]]);
    let before = of_layer(&client, batch, &ranges, &some).await;
    assert_eq!(
        before.0,
        json!([[], [], [revs[0]], [revs[2], revs[3]], [revs[5]]])
    );
    let keys: Vec<&Value> = before
        .1
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["_rev"])
        .collect();
    assert_eq!(keys, [revs[1], revs[4]]);
    change(&|tx| {
        tx.put(CollectionId(0), &tree(1, "elm"), None).unwrap();
        tx.put(CollectionId(0), &tree(3, "elm"), None).unwrap();
        tx.delete(CollectionId(0), &tree(4, "").global_id, None)
            .unwrap();
        tx.put(CollectionId(0), &tree(7, "elm"), None).unwrap();
    });
    assert_eq!(of_layer(&client, batch, &ranges, &some).await, before);
}

#[tokio::test]
async fn the_tail_tells_changes_in_their_order() {
    let (client, _) = filled().await;
    let state = client.get("/_api/replication/logger-state").await.json();
    assert_eq!(
        (&state["state"]["running"], &state["server"]["engine"]),
        (&json!(true), &json!("rocksdb"))
    );
    let tick = state["state"]["lastLogTick"].as_str().unwrap().to_owned();
    let nothing = client.get(&format!("/_api/wal/tail?from={tick}")).await;
    assert_eq!((nothing.status, more(&nothing)), (204, ("false", "0")));
    client.fill("d", json!([{"_key": "x"}])).await;
    client.delete("/_api/document/c/k10").await;
    client
        .send("PATCH", "/_api/document/c/k11", &[], r#"{"n":0}"#)
        .await;
    let told = client.get(&format!("/_api/wal/tail?from={tick}")).await;
    let lines: Vec<Value> = told
        .text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let brief: Vec<_> = lines
        .iter()
        .map(|line| {
            (
                line["type"].as_u64().unwrap(),
                line["data"]["_key"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(brief, [(2300, "x"), (2302, "k10"), (2300, "k11")]);
    assert_eq!(told.header("x-arango-replication-frompresent"), "true");
    let legacy = client
        .get(&format!(
            "/_api/replication/logger-follow?from={tick}&collection=d"
        ))
        .await;
    let line: Value = serde_json::from_str(&legacy.text).unwrap();
    assert_eq!(
        (&line["cname"], &line["database"]),
        (&json!("d"), &json!("_system"))
    );
    assert_eq!(legacy.header("x-arango-replication-active"), "true");
    // One change at a time.
    let (mut from, mut seen) = (tick, 0);
    loop {
        let told = client
            .get(&format!("/_api/wal/tail?from={from}&chunkSize=1"))
            .await;
        seen += told.text.lines().count();
        from = told.header("x-arango-replication-lastscanned").to_owned();
        if more(&told).0 == "false" {
            break;
        }
    }
    assert_eq!(seen, 3);
}
