//! Copies that were cut: the next order fetches what is missing, and what it makes is a snapshot of the primary.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use axum::response::Response;
use futures_util::StreamExt as _;
use haversack_arangodb::remote::remove_left;
use haversack_model::{Host as _, Timestamp};
use serde_json::{Value, json};

use crate::faults::with;
use crate::host::TestHost;
use crate::lies::altered;
use crate::web::{Client, Primary};

const DAY: i64 = 86_400_000;

fn documents(count: usize, text: &str) -> Value {
    let all = (0..count).map(|n| json!({"_key": format!("k{n:05}"), "n": n, "text": text}));
    all.collect()
}

/// How an order is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    Connection,
    Silence,
    ExpiredBatch,
    Stop,
}

/// What compares the second time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Trees,
    Keys,
}

/// A primary whose answers are counted, and that may be cut off after so many bytes of documents.
#[derive(Clone, Debug, Default)]
struct Line {
    carried: Arc<AtomicU64>,
    cuts: Arc<AtomicU64>,
}

impl Line {
    fn begin(&self, primary: &Primary, by: By, cut: Option<(Cut, u64)>) {
        let carried = Arc::clone(&self.carried);
        let cuts = Arc::clone(&self.cuts);
        carried.store(0, Ordering::SeqCst);
        cuts.store(0, Ordering::SeqCst);
        primary.fail(move |_, path, response| {
            if by == By::Keys && path.contains("/revisions/") {
                return Some(with(501, "{}"));
            }
            let bytes = response.body().size_hint().exact().unwrap();
            let is_of_documents = ["/dump?", "/revisions/documents", "type=docs"];
            let is_of_documents = is_of_documents.iter().any(|part| path.contains(part));
            let before = carried.load(Ordering::SeqCst);
            let is_over = |(_, after): &(Cut, u64)| is_of_documents && before + bytes > *after;
            let Some((how, _)) = cut.filter(is_over) else {
                carried.fetch_add(bytes, Ordering::SeqCst);
                return Some(response);
            };
            cuts.fetch_add(1, Ordering::SeqCst);
            match how {
                Cut::Connection => Some(broken(response)),
                Cut::Silence | Cut::Stop => None,
                Cut::ExpiredBatch => Some(with(404, "{}")),
            }
        });
    }
    fn carried(&self) -> u64 {
        self.carried.load(Ordering::SeqCst)
    }
}

/// An answer whose connection breaks within it.
fn broken(response: Response) -> Response {
    let (mut parts, _) = response.into_parts();
    parts.headers.remove("content-length");
    let part = futures_util::stream::iter([Ok(bytes::Bytes::from_static(b"{\"_key\":"))]);
    let end = futures_util::stream::once(async {
        // So that the beginning is on its way.
        tokio::time::sleep(Duration::from_millis(50)).await;
        Err(std::io::Error::other("cut"))
    });
    Response::from_parts(parts, Body::from_stream(part.chain(end)))
}

/// Orders a copy that is cut after so many bytes.
async fn cut(
    there: &Client,
    primary: &Primary,
    line: &Line,
    by: By,
    how: (Cut, u64),
    more: &Value,
) {
    line.begin(primary, by, Some(how));
    let wait = match how.0 {
        Cut::Connection => 1.9,
        Cut::Silence => 0.7,
        Cut::ExpiredBatch | Cut::Stop => 60.0,
    };
    let mut order = json!({"chunkSize": 5000, "initialSyncMaxWaitTime": wait});
    for (name, value) in more.as_object().unwrap() {
        order[name] = value.clone();
    }
    let ordering = tokio::spawn({
        let (there, primary) = (there.clone(), primary.clone());
        async move { there.sync(&primary, &["c"], order).await }
    });
    if how.0 == Cut::Stop {
        while line.cuts.load(Ordering::SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        there.put("/_api/replication/applier-stop", json!({})).await;
    }
    let told = ordering.await.unwrap();
    let expected = match how.0 {
        Cut::Connection => 1401,
        Cut::Silence => 1400,
        Cut::ExpiredBatch => 1402,
        Cut::Stop => 1412,
    };
    assert_eq!(told.error(), (500, expected), "{how:?}: {}", told.text);
}

/// Both have the same documents with the same revisions. It names the first that differs, not all.
async fn same(there: &Client, here: &Client, what: &str) {
    let (ours, theirs) = (there.all("c").await, here.all("c").await);
    let differing = ours
        .iter()
        .zip(&theirs)
        .find(|(ours, theirs)| ours != theirs);
    assert_eq!(differing, None, "{what}");
    assert_eq!(ours.len(), theirs.len(), "{what}");
}

/// Documents change, go and come, in each half of the keys.
async fn edit(here: &Client, round: usize) {
    let key = |n: usize| format!("/_api/document/c/k{n:05}");
    for (method, path, body) in [
        ("PATCH", key(10 * round), json!({"n": -1})),
        ("DELETE", key(10 * round + 1), json!({})),
        (
            "POST",
            "/_api/document/c".to_owned(),
            json!({"_key": format!("A{round}")}),
        ),
        ("PATCH", key(2980 - 10 * round), json!({"n": -2})),
        ("DELETE", key(2981 - 10 * round), json!({})),
    ] {
        let told = here.send(method, &path, &[], &body.to_string()).await;
        assert!(told.status < 300, "{}", told.text);
    }
}

/// What a copy of all costs, and a primary that has it.
async fn begin(line: &Line) -> (Client, Primary, u64) {
    let here = Client::new();
    here.fill("c", documents(3000, &"x".repeat(200))).await;
    let primary = here.listen().await;
    line.begin(&primary, By::Trees, None);
    let told = Client::new()
        .sync(&primary, &["c"], json!({"chunkSize": 5000}))
        .await;
    assert_eq!(told.status, 200, "{}", told.text);
    (here, primary, line.carried())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_after_a_dump_that_was_cut_fetches_only_what_is_missing() {
    let line = Line::default();
    let (here, primary, whole) = begin(&line).await;
    let cases = [
        (Cut::Connection, By::Trees),
        (Cut::Silence, By::Trees),
        (Cut::ExpiredBatch, By::Trees),
        (Cut::Stop, By::Trees),
        (Cut::Connection, By::Keys),
        (Cut::Stop, By::Keys),
    ];
    for (round, (how, by)) in cases.into_iter().enumerate() {
        let is_seen = round % 2 == 0;
        let there = Client::new();
        if is_seen {
            there.fill("c", documents(10, "older")).await;
        }
        let before = there.host.fingerprint();
        cut(
            &there,
            &primary,
            &line,
            by,
            (how, whole * 9 / 10),
            &json!({}),
        )
        .await;
        let first = line.carried();
        assert!(first > whole * 7 / 10, "{how:?}: {first} of {whole}");
        if is_seen {
            assert_eq!(there.host.fingerprint(), before, "{how:?}");
        } else {
            assert_eq!(there.get("/_api/collection/c").await.status, 404);
        }
        edit(&here, round).await;
        line.begin(&primary, by, None);
        let told = there.sync(&primary, &["c"], json!({})).await;
        assert_eq!(told.status, 200, "{how:?} {by:?}: {}", told.text);
        same(&there, &here, &format!("{how:?} {by:?}")).await;
        let again = line.carried();
        assert!(
            again < whole * 4 / 10,
            "{how:?} {by:?}: {first} then {again} of {whole} bytes"
        );
        assert_eq!(there.host.staged(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_that_are_cut_again_and_again_get_to_the_end() {
    let line = Line::default();
    let (here, primary, whole) = begin(&line).await;
    for by in [By::Trees, By::Keys] {
        let there = Client::new();
        let mut sum = 0;
        for part in [3, 4] {
            // The documents that are missing come in one answer, which does not fit at first.
            cut(
                &there,
                &primary,
                &line,
                by,
                (Cut::Connection, whole * part as u64 / 10),
                &json!({}),
            )
            .await;
            sum += line.carried();
            edit(&here, part).await;
        }
        line.begin(&primary, by, None);
        let told = there.sync(&primary, &["c"], json!({})).await;
        assert_eq!(told.status, 200, "{}", told.text);
        same(&there, &here, "a snapshot").await;
        sum += line.carried();
        assert!(
            sum < whole * 15 / 10,
            "{by:?}: {sum} bytes in all, {whole} at once"
        );
        here.put("/_api/collection/c/truncate", json!({})).await;
        here.fill("c", documents(3000, &"x".repeat(200))).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incremental_order_that_was_cut_goes_on() {
    let line = Line::default();
    let (here, primary, _) = begin(&line).await;
    for by in [By::Trees, By::Keys] {
        let there = Client::new();
        line.begin(&primary, by, None);
        assert_eq!(there.sync(&primary, &["c"], json!({})).await.status, 200);
        let before = there.all("c").await;
        // Answers of 5,000 documents at most: a part of them arrives.
        let more = documents(9000, &"y".repeat(200));
        let told = here
            .post("/_api/document/c?overwriteMode=replace", more)
            .await;
        assert_eq!(told.status, 202);
        assert_eq!(
            here.all("c").await.len(),
            9000,
            "{}",
            &told.text[told.text.len() - 300..]
        );
        let incremental = json!({"incremental": true});
        line.begin(&primary, by, None);
        let other = Client::new();
        other.sync(&primary, &["c"], json!({})).await;
        let whole = line.carried();
        cut(
            &there,
            &primary,
            &line,
            by,
            (Cut::ExpiredBatch, whole * 9 / 10),
            &incremental,
        )
        .await;
        assert_eq!(there.all("c").await, before);
        assert!(
            there.host.staged() >= 5000,
            "{by:?}: {}",
            there.host.staged()
        );
        edit(&here, 1).await;
        line.begin(&primary, by, None);
        let told = there.sync(&primary, &["c"], incremental).await;
        assert_eq!(told.status, 200, "{}", told.text);
        same(&there, &here, "a snapshot").await;
        let again = line.carried();
        assert!(again < whole * 7 / 10, "{by:?}: {again} of {whole} bytes");
        here.put("/_api/collection/c/truncate", json!({})).await;
        here.fill("c", documents(3000, &"x".repeat(200))).await;
    }
}

/// A secondary with what a cut order left of a primary.
async fn left_over(line: &Line, primary: &Primary, whole: u64) -> Client {
    let there = Client::new();
    there.fill("c", documents(10, "older")).await;
    let how = (Cut::ExpiredBatch, whole * 9 / 10);
    cut(&there, primary, line, By::Trees, how, &json!({})).await;
    assert!(there.host.staged() > 2000);
    there
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_staged_of_another_primary_or_collection_is_not_gone_on_with() {
    let line = Line::default();
    let (here, primary, whole) = begin(&line).await;
    for other in ["server", "collection", "no identity"] {
        let there = left_over(&line, &primary, whole).await;
        primary.fail(move |_, path, response| {
            let number = json!("7");
            Some(match other {
                "server" if path.contains("/batch?") && response.status() == 200 => {
                    altered(response, |told| {
                        told["state"]["server"]["serverId"] = number;
                    })
                }
                "collection" | "no identity" if path.contains("/inventory?") => {
                    altered(response, |told| {
                        for one in told["collections"].as_array_mut().unwrap() {
                            let guid = if other == "collection" { "h7/7" } else { "" };
                            one["parameters"]["globallyUniqueId"] = json!(guid);
                        }
                    })
                }
                _ => response,
            })
        });
        primary.seen();
        let told = there.sync(&primary, &["c"], json!({})).await;
        assert_eq!(told.status, 200, "{other}: {}", told.text);
        let seen = primary.seen();
        assert!(
            seen.iter().any(|one| one.contains("/dump?")),
            "{other}: {seen:?}"
        );
        same(&there, &here, other).await;
    }
    // The same primary, whose collection was dropped and made again meanwhile.
    let there = left_over(&line, &primary, whole).await;
    here.delete("/_api/collection/c").await;
    here.fill("c", documents(2000, "made again")).await;
    primary.heal();
    let told = there.sync(&primary, &["c"], json!({})).await;
    assert_eq!(told.status, 200, "{}", told.text);
    same(&there, &here, "a snapshot").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_was_set_back_is_copied_anew() {
    let line = Line::default();
    let here = Client::of(TestHost::at(1_800_000_000_000));
    here.fill("c", json!([{"_key": "before"}])).await;
    // As it will be when it is brought back from its backup, its clock set back as well: the same revisions are given to others.
    let clock = 1_800_000_100_000;
    let restored = Client::of(here.host.as_of_now(clock));
    here.host.turn_to(clock);
    here.fill("c", documents(3000, &"x".repeat(200))).await;
    let primary = here.listen().await;
    line.begin(&primary, By::Trees, None);
    Client::new()
        .sync(&primary, &["c"], json!({"chunkSize": 5000}))
        .await;
    let there = left_over(&line, &primary, line.carried()).await;
    restored.host.turn_to(clock);
    restored.fill("c", documents(2900, "another text")).await;
    let revision = |client: &Client| {
        let client = client.clone();
        async move { client.get("/_api/document/c/k00007").await.json()["_rev"].clone() }
    };
    assert_eq!(
        revision(&here).await,
        revision(&restored).await,
        "that is what makes it hard"
    );
    let primary = restored.listen().await;
    let told = there.sync(&primary, &["c"], json!({})).await;
    assert_eq!(told.status, 200, "{}", told.text);
    same(&there, &restored, "set back").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secondary_that_was_killed_goes_on_with_what_it_had_written() {
    let line = Line::default();
    let here = Client::new();
    here.fill("c", documents(40, &"x".repeat(300_000))).await;
    let primary = here.listen().await;
    for seen_before in [false, true] {
        let there = Client::new();
        if seen_before {
            there.fill("c", documents(10, "older")).await;
        }
        let before = there.host.fingerprint();
        line.begin(&primary, By::Trees, Some((Cut::Silence, 11_000_000)));
        let ordering = tokio::spawn({
            let (there, primary) = (there.clone(), primary.clone());
            let order = json!({"chunkSize": 1_000_000, "initialSyncMaxWaitTime": 60});
            async move { there.sync(&primary, &["c"], order).await }
        });
        while there.host.staged() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let killed = Client::of(there.host.as_of_now(there.host.now().0));
        there.put("/_api/replication/applier-stop", json!({})).await;
        ordering.await.unwrap();
        if seen_before {
            assert_eq!(killed.host.fingerprint(), before);
        } else {
            assert_eq!(killed.get("/_api/collection/c").await.status, 404);
        }
        here.send("PATCH", "/_api/document/c/k00001", &[], r#"{"n":-1}"#)
            .await;
        here.delete("/_api/document/c/k00039").await;
        line.begin(&primary, By::Trees, None);
        let told = killed.sync(&primary, &["c"], json!({})).await;
        assert_eq!(told.status, 200, "{}", told.text);
        same(&killed, &here, "killed").await;
        assert!(line.carried() < 6_000_000, "{} bytes", line.carried());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_came_back_for_is_removed_after_a_day() {
    let line = Line::default();
    let (here, primary, whole) = begin(&line).await;
    let there = left_over(&line, &primary, whole).await;
    let before = there.host.fingerprint();
    let store = there.host.documents("_system").unwrap();
    let sweep = |hours: i64| {
        let now = there.host.now().0 + hours * 3_600_000;
        let times = (Timestamp(now), Timestamp(now - DAY));
        remove_left(store.as_ref(), times, &|_| Some(Box::new(()))).unwrap()
    };
    assert_eq!(sweep(23), 0);
    assert!(there.host.staged() > 0);
    assert_eq!(sweep(25), 1);
    assert_eq!(there.host.staged(), 0);
    assert_eq!(there.host.fingerprint(), before);
    assert_eq!(sweep(25), 0);
    primary.heal();
    assert_eq!(there.sync(&primary, &["c"], json!({})).await.status, 200);
    same(&there, &here, "a snapshot").await;
}
