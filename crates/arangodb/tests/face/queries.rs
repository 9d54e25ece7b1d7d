//! Queries that change documents, simple queries, and what is not offered.

use serde_json::{Value, json};

use crate::web::{Client, Told};

async fn filled() -> Client {
    let client = Client::new();
    let people = json!([
        {"_key": "a", "town": "Bonn", "n": 1, "at": {"x": 1, "y": 2}},
        {"_key": "b", "town": "Bonn", "n": 2},
        {"_key": "c", "town": "Köln", "n": 3, "at": {"x": 1}},
    ]);
    client.fill("c", people).await;
    client
}

async fn query(client: &Client, text: &str, bind: Value) -> Told {
    let body = json!({"query": text, "bindVars": bind});
    client.post("/_api/cursor", body).await
}

fn executed(told: &Told) -> (u64, u64) {
    assert_eq!(told.status, 201, "{}", told.text);
    let told = told.json();
    assert_eq!(told["result"], json!([]));
    let stats = &told["extra"]["stats"];
    let of = |name: &str| stats[name].as_u64().unwrap();
    (of("writesExecuted"), of("writesIgnored"))
}

/// The documents without what the server gives them.
async fn bodies(client: &Client) -> Vec<Value> {
    let strip = |mut document: Value| {
        document.as_object_mut().unwrap().remove("_id");
        document.as_object_mut().unwrap().remove("_rev");
        document
    };
    client.all("c").await.into_iter().map(strip).collect()
}

#[tokio::test]
async fn a_query_updates_replaces_and_removes_what_it_finds() {
    let client = filled().await;
    let text = "FOR d IN @@c FILTER d.town == @town UPDATE d WITH @body IN @@c OPTIONS {keepNull: @keep, mergeObjects: @merge}";
    let bind = json!({"@c": "c", "town": "Bonn", "body": {"at": {"x": 9}, "n": null}, "keep": false, "merge": true});
    assert_eq!(executed(&query(&client, text, bind).await), (2, 0));
    let told = query(
        &client,
        "FOR d IN c FILTER d.n == 3 REPLACE d WITH {was: d.town} IN c",
        json!({}),
    );
    assert_eq!(executed(&told.await), (1, 0));
    let expected = [
        json!({"_key": "a", "town": "Bonn", "at": {"x": 9, "y": 2}}),
        json!({"_key": "b", "town": "Bonn", "at": {"x": 9}}),
        json!({"_key": "c", "was": "Köln"}),
    ];
    assert_eq!(bodies(&client).await, expected);
    let told = query(
        &client,
        "FOR d IN c SORT d._key DESC LIMIT 1, 1 REMOVE d IN c",
        json!({}),
    );
    assert_eq!(executed(&told.await), (1, 0));
    assert_eq!(
        bodies(&client).await,
        [&expected[0], &expected[2]].map(Clone::clone)
    );
}

#[tokio::test]
async fn a_change_that_one_document_refuses_changes_none_unless_errors_are_to_be_ignored() {
    let client = filled().await;
    let index = json!({"type": "persistent", "fields": ["n"], "unique": true});
    assert_eq!(
        client.post("/_api/index?collection=c", index).await.status,
        201
    );
    let before = bodies(&client).await;
    let text = "FOR d IN c UPDATE d WITH {n: 7} IN c";
    assert_eq!(query(&client, text, json!({})).await.error(), (409, 1210));
    assert_eq!(bodies(&client).await, before);
    let text = "FOR d IN c UPDATE d WITH {n: 7} IN c OPTIONS {ignoreErrors: true}";
    assert_eq!(executed(&query(&client, text, json!({})).await), (1, 2));
    let text = "FOR d IN c REPLACE d WITH 'no object' IN c";
    assert_eq!(query(&client, text, json!({})).await.error(), (400, 1227));
}

#[tokio::test]
async fn who_may_only_read_changes_nothing_by_a_query() {
    let client = filled().await;
    let before = client.host.fingerprint();
    let reader = client.user("eve");
    for text in [
        "UPDATE d WITH {n: 7} IN c",
        "REPLACE d WITH {} IN c",
        "REMOVE d IN c",
    ] {
        let told = query(&reader, &format!("FOR d IN c {text}"), json!({})).await;
        assert_eq!(told.error(), (403, 11), "{text}: {}", told.text);
    }
    for path in [
        "remove-by-keys",
        "remove-by-example",
        "replace-by-example",
        "update-by-example",
    ] {
        let body =
            json!({"collection": "c", "example": {"n": 1}, "newValue": {"n": 2}, "keys": ["a"]});
        let told = reader.put(&format!("/_api/simple/{path}"), body).await;
        assert_eq!(told.error(), (403, 11), "{path}: {}", told.text);
    }
    assert_eq!(client.host.fingerprint(), before);
}

#[tokio::test]
async fn simple_queries_list_find_and_change() {
    let client = filled().await;
    let ask = async |path: &str, body: Value| {
        let told = client.put(&format!("/_api/simple/{path}"), body).await;
        assert!(told.status < 300, "{path}: {}", told.text);
        told.json()
    };
    let keys = |told: &Value| -> Vec<String> {
        let of = |one: &Value| one["_key"].as_str().unwrap_or_default().to_owned();
        told["result"].as_array().unwrap().iter().map(of).collect()
    };
    let told = ask("all", json!({"collection": "c", "skip": 1, "limit": 1})).await;
    assert_eq!(
        (keys(&told), &told["count"]),
        (vec!["b".to_owned()], &json!(1))
    );
    let told = ask("all", json!({"collection": "c", "batchSize": 2})).await;
    assert_eq!(
        (keys(&told).len(), &told["hasMore"], &told["count"]),
        (2, &json!(true), &json!(3))
    );
    let next = client
        .put(
            &format!("/_api/cursor/{}", told["id"].as_str().unwrap()),
            json!({}),
        )
        .await;
    assert_eq!(keys(&next.json()), ["c"]);
    for (kind, expected) in [("key", "a"), ("id", "c/a")] {
        let told = ask("all-keys", json!({"collection": "c", "type": kind})).await;
        assert_eq!(told["result"][0], expected);
    }
    let told = ask(
        "by-example",
        json!({"collection": "c", "example": {"town": "Bonn", "at.x": 1}}),
    )
    .await;
    assert_eq!(keys(&told), ["a"]);
    let told = ask(
        "first-example",
        json!({"collection": "c", "example": {"n": 2}}),
    )
    .await;
    assert_eq!(told["document"]["_key"], "b");
    let none = json!({"collection": "c", "example": {"n": 99}});
    assert_eq!(
        client.put("/_api/simple/first-example", none).await.error(),
        (404, 404)
    );
    let told = ask("any", json!({"collection": "c"})).await;
    assert!(told["document"]["_key"].is_string(), "{told}");
    let told = ask(
        "lookup-by-keys",
        json!({"collection": "c", "keys": ["c", "none", "c/a"]}),
    )
    .await;
    let found: Vec<&Value> = told["documents"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["_key"])
        .collect();
    assert_eq!(found, ["c", "a"]);
    let told = ask("update-by-example", json!({"collection": "c", "example": {"town": "Bonn"}, "newValue": {"n": null}, "keepNull": false, "limit": 1})).await;
    assert_eq!(told["updated"], 1);
    let told = ask(
        "replace-by-example",
        json!({"collection": "c", "example": {"town": "Köln"}, "newValue": {"v": 1}}),
    )
    .await;
    assert_eq!(told["replaced"], 1);
    let told = ask(
        "remove-by-example",
        json!({"collection": "c", "example": {"n": 2}}),
    )
    .await;
    assert_eq!(told["deleted"], 1);
    assert_eq!(
        bodies(&client).await,
        [
            json!({"_key": "a", "town": "Bonn", "at": {"x": 1, "y": 2}}),
            json!({"_key": "c", "v": 1})
        ]
    );
    let told = ask(
        "remove-by-keys",
        json!({"collection": "c", "keys": ["a", "none"]}),
    )
    .await;
    assert_eq!((&told["removed"], &told["ignored"]), (&json!(1), &json!(1)));
    for (path, body) in [
        ("all", json!({})),
        ("all-keys", json!({"collection": "c", "type": "x"})),
        ("lookup-by-keys", json!({"collection": "c", "keys": [1]})),
        ("by-example", json!({"collection": "c", "example": 1})),
        ("remove-by-example", json!({"collection": "c"})),
    ] {
        let told = client.put(&format!("/_api/simple/{path}"), body).await;
        assert_eq!(told.status, 400, "{path}: {}", told.text);
    }
    let told = client
        .put("/_api/simple/near", json!({"collection": "c"}))
        .await;
    assert_eq!(told.error(), (404, 404));
    let told = client
        .put("/_api/simple/all", json!({"collection": "none"}))
        .await;
    assert_eq!(told.error(), (404, 1203));
}

#[tokio::test]
async fn what_is_not_offered_says_what_to_do_instead() {
    let client = Client::new();
    assert_eq!(
        client.get("/_api/gharial").await.json()["graphs"],
        json!([])
    );
    assert_eq!(client.get("/_api/foxx").await.json(), json!([]));
    assert_eq!(
        client.get("/_admin/server/mode").await.json()["mode"],
        "default"
    );
    for (method, path, word) in [
        ("POST", "/_api/gharial", "edges"),
        ("POST", "/_api/transaction/begin", "one request"),
        ("POST", "/_api/transaction-js", "code"),
        ("POST", "/_api/foxx", "services"),
        ("POST", "/_api/query", "/_api/cursor"),
        ("GET", "/_admin/metrics/v2", "/metrics"),
        ("GET", "/_admin/log/entries", "standard error"),
    ] {
        let told = client.send(method, path, &[], "{}").await;
        assert_eq!(told.error(), (501, 9), "{path}: {}", told.text);
        let sentence = told.json()["errorMessage"].as_str().unwrap().to_owned();
        assert!(sentence.contains(word), "{path}: {sentence}");
    }
    assert_eq!(client.get("/_api/nonsense").await.error(), (404, 404));
}

#[tokio::test]
async fn whole_seconds_of_an_applier_are_told_as_integers() {
    let client = Client::new();
    let config = client.get("/_api/replication/applier-config").await;
    assert_eq!(config.status, 200, "{}", config.text);
    for name in ["initialSyncMaxWaitTime", "requestTimeout", "connectTimeout"] {
        assert!(config.json()[name].is_u64(), "{name}: {}", config.text);
    }
}
