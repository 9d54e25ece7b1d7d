//! Primaries that lie, fall silent or die: each copy fails with its number, and what was here is as it was.

use axum::body::Body;
use axum::response::Response;
use serde_json::{Value, json};

use crate::web::{Client, Primary};

/// A primary and a secondary whose copy is older, and differs.
pub(crate) async fn pair() -> (Client, Client, Primary) {
    let (here, there) = (Client::new(), Client::new());
    let all = (0..50).map(|n| json!({"_key": format!("k{n:02}"), "n": n}));
    here.fill("c", all.collect()).await;
    let primary = here.listen().await;
    let told = there.sync(&primary, &["c"], json!({})).await;
    assert_eq!(told.status, 200, "{}", told.text);
    here.send("PATCH", "/_api/document/c/k07", &[], r#"{"n":-7}"#)
        .await;
    here.delete("/_api/document/c/k08").await;
    here.post("/_api/document/c", json!({"_key": "new"})).await;
    primary.seen();
    (here, there, primary)
}

pub(crate) fn with(status: u16, body: impl Into<Body>) -> Response {
    Response::builder()
        .status(status)
        .body(body.into())
        .unwrap()
}

/// The same answer with another body.
pub(crate) fn instead(response: Response, body: String) -> Response {
    let (mut parts, _) = response.into_parts();
    parts.headers.remove("content-length");
    Response::from_parts(parts, Body::from(body))
}

/// Orders a copy from the primary with its fault, which must fail so; then one without, which must work.
pub(crate) async fn must_fail(
    pair: &(Client, Client, Primary),
    order: Value,
    error: (u16, u64),
    why: &str,
) {
    let (here, there, primary) = pair;
    let before = there.host.fingerprint();
    let mut order = order;
    if order.get("initialSyncMaxWaitTime").is_none() {
        order["initialSyncMaxWaitTime"] = json!(1.5);
    }
    let told = there.sync(primary, &["c"], order).await;
    assert_eq!(told.error(), error, "{why}: {}", told.text);
    assert!(
        !told.text.contains("secret"),
        "{why}: the password is told: {}",
        told.text
    );
    assert_eq!(
        there.host.fingerprint(),
        before,
        "{why}: what was here was changed"
    );
    if error.1 == 1401 && !told.text.contains("was cut") {
        assert_eq!(there.host.staged(), 0, "{why}: what it said is believed");
    }
    let state = there.get("/_api/replication/applier-state").await.json();
    assert_eq!(state["state"]["lastError"]["errorNum"], error.1, "{why}");
    primary.heal();
    let told = there.sync(primary, &["c"], json!({})).await;
    assert_eq!(told.status, 200, "{why}, then healed: {}", told.text);
    assert_eq!(
        there.all("c").await,
        here.all("c").await,
        "{why}, then healed"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_that_leaves_documents_out_is_seen() {
    let pair = pair().await;
    pair.2.fail(|_, path, response| {
        Some(if path.contains("/dump?") {
            instead(
                response,
                r#"{"_key":"k00","_id":"c/k00","_rev":"_k1ZYo-----","n":0}"#.to_owned() + "\n",
            )
        } else {
            response
        })
    });
    must_fail(&pair, json!({}), (500, 1401), "a truncated dump").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dumps_that_are_none_are_refused() {
    let pair = pair().await;
    for (body, why) in [
        (
            r#"{"_key":"k00","_id":"other/k00","_rev":"_k1ZYo-----"}"#,
            "a document of another collection",
        ),
        (
            r#"{"_key":"k00","_id":"c/k01","_rev":"_k1ZYo-----"}"#,
            "a document with two keys",
        ),
        (
            r#"{"_key":"k00","_id":"c/k00"}"#,
            "a document without a revision",
        ),
        (
            r#"{"_key":"a/b","_rev":"_k1ZYo-----"}"#,
            "a key that is none",
        ),
        (
            r#"{"_key":"a","_key":"b","_rev":"_k1ZYo-----"}"#,
            "a name twice",
        ),
        (r#"{"type":2001,"data":{}}"#, "a marker of another kind"),
        (r#"{"_key":"k00","_rev":"_k1Z"#, "a line that was cut"),
        ("<html>", "a page"),
    ] {
        pair.2.fail(move |_, path, response| {
            Some(if path.contains("/dump?") {
                instead(response, body.to_owned())
            } else {
                response
            })
        });
        must_fail(&pair, json!({}), (500, 1401), why).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_that_lies_is_found_out() {
    let pair = pair().await;
    pair.2.fail(|_, path, response| {
        Some(if path.contains("/revisions/documents") {
            instead(response, "[]".to_owned())
        } else {
            response
        })
    });
    must_fail(
        &pair,
        json!({"incremental": true}),
        (500, 1401),
        "no documents",
    )
    .await;
    pair.2.fail(|_, path, response| {
        Some(if path.contains("/revisions/ranges") {
            instead(response, r#"{"ranges":[[]]}"#.to_owned())
        } else {
            response
        })
    });
    pair.0
        .send("PATCH", "/_api/document/c/k09", &[], r#"{"n":-9}"#)
        .await;
    // Ranges that lead nowhere do not make both equal: all is copied, and the dump tells the truth.
    let told = pair
        .1
        .sync(&pair.2, &["c"], json!({"incremental": true}))
        .await;
    assert_eq!(told.status, 200, "{}", told.text);
    assert_eq!(pair.1.all("c").await, pair.0.all("c").await);
    pair.0
        .send("PATCH", "/_api/document/c/k10", &[], r#"{"n":-9}"#)
        .await;
    pair.2.fail(|_, path, response| {
        Some(if path.contains("/revisions/tree") {
            instead(
                response,
                r#"{"version":1,"maxDepth":6,"count":7}"#.to_owned(),
            )
        } else {
            response
        })
    });
    must_fail(
        &pair,
        json!({"incremental": true}),
        (500, 1401),
        "a tree that is none",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_primary_is_given_up_in_time_at_every_step() {
    for step in ["/batch?", "/inventory?", "/dump?", "/revisions/tree"] {
        let pair = pair().await;
        pair.2.fail(move |method, path, response| {
            (method == "DELETE" || !path.contains(step)).then_some(response)
        });
        must_fail(
            &pair,
            json!({"initialSyncMaxWaitTime": 0.7}),
            (500, 1400),
            step,
        )
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_stops_in_the_middle_is_given_up_in_time() {
    let pair = pair().await;
    pair.2.fail(|_, path, response| {
        if !path.contains("/dump?") {
            return Some(response);
        }
        let (parts, _) = response.into_parts();
        let part = futures_util::stream::iter([Ok::<_, std::io::Error>(
            bytes::Bytes::from_static(b"{\"_key\""),
        )]);
        let body = futures_util::StreamExt::chain(part, futures_util::stream::pending());
        let mut response = Response::from_parts(parts, Body::from_stream(body));
        response.headers_mut().remove("content-length");
        Some(response)
    });
    must_fail(
        &pair,
        json!({"initialSyncMaxWaitTime": 0.7}),
        (500, 1400),
        "half a body",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_redirects_and_other_versions_have_their_numbers() {
    let pair = pair().await;
    pair.2.fail(|_, path, response| {
        Some(if path.contains("/inventory?") {
            with(500, r#"{"errorMessage":"it hurts"}"#)
        } else {
            response
        })
    });
    must_fail(&pair, json!({}), (500, 1402), "an error of the primary").await;
    pair.2.fail(|_, path, response| {
        let elsewhere = || {
            Response::builder()
                .status(307)
                .header("location", "http://127.0.0.1:1/")
                .body(Body::empty())
        };
        Some(if path.contains("/inventory?") {
            elsewhere().unwrap()
        } else {
            response
        })
    });
    must_fail(&pair, json!({}), (500, 1401), "a redirect").await;
    for (version, number) in [("2.8.11", 1403), ("4.0.0", 1403), ("x", 1403)] {
        pair.2.fail(move |_, path, response| {
            let state = json!({"state": {"lastLogTick": "7"}, "server": {"version": version, "serverId": "9"}});
            let body = json!({"id": "1", "lastTick": "7", "state": state}).to_string();
            Some(if path.contains("/batch?") { instead(response, body) } else { response })
        });
        must_fail(&pair, json!({}), (500, number), version).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_runs_out_ends_the_copy() {
    let pair = pair().await;
    pair.2.fail(|_, path, response| {
        let gone = r#"{"error":true,"code":404,"errorNum":1600,"errorMessage":"cursor not found"}"#;
        Some(if path.contains("/dump?") {
            with(404, gone)
        } else {
            response
        })
    });
    must_fail(&pair, json!({}), (500, 1402), "an expired batch").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_batch_is_released_after_a_failure_too() {
    let (here, there, primary) = pair().await;
    primary.fail(|_, path, response| {
        Some(if path.contains("/dump?") {
            with(500, "")
        } else {
            response
        })
    });
    there
        .sync(&primary, &["c"], json!({"initialSyncMaxWaitTime": 1}))
        .await;
    assert!(
        primary.seen().last().unwrap().starts_with("DELETE"),
        "the last request releases the batch"
    );
    assert_eq!(here.host.pins(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_fails_leaves_no_collection_behind() {
    let (here, there) = (Client::new(), Client::new());
    here.fill("c", json!([{"_key": "a"}])).await;
    let primary = here.listen().await;
    primary.fail(|_, path, response| {
        Some(if path.contains("/dump?") {
            with(500, "")
        } else {
            response
        })
    });
    let before = there.host.fingerprint();
    assert_eq!(
        there.sync(&primary, &["c"], json!({})).await.error(),
        (500, 1402)
    );
    assert_eq!(there.host.fingerprint(), before);
    assert_eq!(there.get("/_api/collection/c").await.error(), (404, 1203));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_copy_at_a_time_and_it_can_be_stopped() {
    let (_here, there, primary) = pair().await;
    primary.fail(|method, path, response| {
        (method == "DELETE" || !path.contains("/dump?")).then_some(response)
    });
    let before = there.host.fingerprint();
    let (first, behind) = (there.clone(), primary.clone());
    let under_way = tokio::spawn(async move { first.sync(&behind, &["c"], json!({})).await });
    while !primary.seen().iter().any(|line| line.contains("/dump?")) {
        tokio::task::yield_now().await;
    }
    assert_eq!(
        there.sync(&primary, &["c"], json!({})).await.error(),
        (400, 1411)
    );
    there.put("/_api/replication/applier-stop", json!({})).await;
    assert_eq!(under_way.await.unwrap().error(), (500, 1412));
    assert_eq!(there.host.fingerprint(), before);
    primary.heal();
    assert_eq!(there.sync(&primary, &["c"], json!({})).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn ourselves_and_forbidden_places_are_refused() {
    let client = Client::new();
    let primary = client.listen().await;
    assert_eq!(
        client.sync(&primary, &["c"], json!({})).await.error(),
        (500, 1405)
    );
    primary.seen();
    for endpoint in [
        "tcp://10.0.0.1:8529",
        "tcp://localhost:1",
        "ssl://127.0.0.1:1",
    ] {
        assert_eq!(
            client
                .sync(&primary, &["c"], json!({"endpoint": endpoint}))
                .await
                .error(),
            (403, 11),
            "{endpoint}"
        );
    }
    for endpoint in [
        "unix:///run/x",
        "file:///etc/passwd",
        "tcp://root@127.0.0.1:1",
        "",
    ] {
        assert_eq!(
            client
                .sync(&primary, &["c"], json!({"endpoint": endpoint}))
                .await
                .error(),
            (400, 400),
            "{endpoint}"
        );
    }
    assert_eq!(primary.seen(), Vec::<String>::new(), "nobody was asked");
}

/// An answer whose pieces come one after the other, with a pause before each.
fn dripping(response: Response, pieces: Vec<bytes::Bytes>, pause: std::time::Duration) -> Response {
    let (mut parts, _) = response.into_parts();
    parts.headers.remove("content-length");
    let pieces = futures_util::stream::iter(pieces);
    let pieces = futures_util::StreamExt::then(pieces, move |piece| async move {
        tokio::time::sleep(pause).await;
        Ok::<_, std::io::Error>(piece)
    });
    Response::from_parts(parts, Body::from_stream(pieces))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_does_not_end_is_given_up() {
    let pair = pair().await;
    pair.2.fail(|_, path, response| {
        Some(if path.contains("/dump?") {
            let piece = bytes::Bytes::from(vec![b'x'; 8 << 20]);
            dripping(response, vec![piece; 64], std::time::Duration::ZERO)
        } else {
            response
        })
    });
    must_fail(
        &pair,
        json!({"initialSyncMaxWaitTime": 60}),
        (500, 1401),
        "an endless line",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_primary_that_keeps_sending_is_healthy_and_its_batch_is_prolonged() {
    use haversack_arangodb::remote::{self, Order};
    use haversack_arangodb::wire::config::Config;
    use haversack_arangodb::wire::endpoint::Endpoint;
    use haversack_model::Host as _;
    use std::time::Duration;
    let (here, there, primary) = pair().await;
    let line = r#"{"_key":"a","_id":"d/a","_rev":"_k1ZYo-----","n":0}"#.to_owned() + "\n";
    here.post("/_api/collection", json!({"name": "d"})).await;
    let body = json!({"_key": "a", "_rev": "_k1ZYo-----", "n": 0});
    let told = here.post("/_api/document/d?isRestore=true", body).await;
    assert_eq!(told.status, 202, "{}", told.text);
    primary.fail(move |_, path, response| {
        let pieces = line.bytes().map(|byte| bytes::Bytes::from(vec![byte]));
        Some(if path.contains("/dump?") {
            dripping(response, pieces.collect(), Duration::from_millis(60))
        } else {
            response
        })
    });
    let port = primary.port;
    let host = std::sync::Arc::clone(&there.host);
    let copied = tokio::task::spawn_blocking(move || {
        let mut config = Config::default();
        let order = json!({
            "endpoint": format!("tcp://127.0.0.1:{port}"), "username": "root", "password": "secret",
            "restrictType": "include", "restrictCollections": ["d"], "initialSyncMaxWaitTime": 1.0,
        });
        config.merge(order.as_object().unwrap());
        let store = host.documents("_system").unwrap();
        let next = std::cell::Cell::new(1 << 40);
        remote::synchronise(&Order {
            store: store.as_ref(),
            database: "_system",
            endpoint: Endpoint::parse(&config.endpoint).unwrap(),
            config: &config,
            server: 7,
            batch_ttl: Duration::from_secs(2),
            next_id: &|| next.replace(next.get() + 1),
            now: &|| host.now(),
            progress: &|_| {},
            stop: std::sync::Arc::default(),
            ca: None,
            more_ca: None,
            insecure: false,
            copies: None,
            local: None,
            since: None,
            may_replace: &|_| true,
            dry_run: None,
        })
        .map(|copied| copied.to_json())
    });
    let copied = copied.await.unwrap().unwrap();
    assert_eq!(copied["collections"][0]["name"], "d");
    assert_eq!(there.all("d").await, here.all("d").await);
    let seen = primary.seen();
    let prolonged = seen
        .iter()
        .filter(|line| line.starts_with("PUT") && line.contains("/batch/"));
    assert!(prolonged.count() >= 3, "{seen:?}");
    assert!(seen.last().unwrap().starts_with("DELETE"));
    assert_eq!(here.host.pins(), 0);
}
