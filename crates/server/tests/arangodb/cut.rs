//! Orders between two Haversacks that were cut, and what is left of them.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use haversack_model::{Store as _, Timestamp};
use haversack_server::{Handle, clock};
use serde_json::json;

use crate::support::gate::Gate;
use crate::support::proxy::{Fault, Proxy, Rule};
use crate::{Pair, all, ask, ask_at, order, pair, start, sync};

/// Names of what arrived of copies, beside the services' files.
fn parts(handle: &Handle) -> Vec<String> {
    let store = handle.server.services.store("_system").unwrap();
    let found = std::fs::read_dir(store.path().parent().unwrap()).unwrap();
    let names = found.map(|one| one.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.contains(".part")).collect()
}

/// How much has arrived of the first collection.
fn arrived(services: &Path) -> u64 {
    std::fs::metadata(services.join("_system.copy-0.part")).map_or(0, |found| found.len())
}

/// How many collections there are, hidden ones included.
fn collections(handle: &Handle) -> usize {
    let store = handle.server.services.store("_system").unwrap();
    let tx = store.begin_read().unwrap();
    tx.service().unwrap().collections.len()
}

fn in_days(days: i64) -> Timestamp {
    Timestamp(clock::now().0 + days * 86_400_000)
}

/// A first copy of which a part has arrived.
fn cut() -> (Pair, Gate) {
    let pair = pair(25_000);
    let gate = Gate::start(pair.primary.address);
    let fetched = AtomicBool::new(false);
    gate.alter(move |_, path, status, body| {
        let is_later = path.starts_with("/v1/files/") && fetched.swap(true, Ordering::SeqCst);
        (!is_later).then_some((status, body))
    });
    let (status, told) = sync(&pair, &gate, json!({"initialSyncMaxWaitTime": 1}));
    assert_eq!((status, &told["errorNum"]), (500, &json!(1400)), "{told}");
    assert_eq!(collections(&pair.secondary), 1);
    assert_eq!(
        parts(&pair.secondary).len(),
        2,
        "the part, and what it is of"
    );
    let told = ask(&pair.secondary, "GET", "/_api/collection", json!({})).1;
    assert_eq!(told["result"], json!([]), "nobody sees it");
    (pair, gate)
}

#[test]
fn what_a_cut_order_left_goes_when_nobody_went_on_with_it_for_long() {
    let (pair, gate) = cut();
    pair.secondary.server.sweep_copies(clock::now()).unwrap();
    assert_eq!(collections(&pair.secondary), 1, "it may still go on");
    pair.secondary.server.sweep_copies(in_days(3)).unwrap();
    assert_eq!(collections(&pair.secondary), 0);
    assert_eq!(parts(&pair.secondary), Vec::<String>::new());
    gate.alter(|_, _, status, body| Some((status, body)));
    assert_eq!(sync(&pair, &gate, json!({})).0, 200);
    assert_eq!(all(&pair.secondary, "c"), all(&pair.primary, "c"));
    pair.secondary.server.sweep_copies(in_days(3)).unwrap();
    assert_eq!(all(&pair.secondary, "c"), all(&pair.primary, "c"));
}

#[test]
fn what_an_order_works_on_is_not_taken_for_what_a_cut_one_left() {
    let (pair, gate) = cut();
    gate.alter(|_, path, status, body| (!path.starts_with("/v1/files/")).then_some((status, body)));
    gate.seen();
    std::thread::scope(|scope| {
        let more = json!({"initialSyncMaxWaitTime": 60});
        let under_way = scope.spawn(|| sync(&pair, &gate, more));
        while !gate.seen().iter().any(|one| one.contains("/v1/files/")) {
            std::thread::sleep(Duration::from_millis(5));
        }
        pair.secondary.server.sweep_copies(in_days(3)).unwrap();
        assert_eq!(collections(&pair.secondary), 1);
        ask(
            &pair.secondary,
            "PUT",
            "/_api/replication/applier-stop",
            json!({}),
        );
        let (status, told) = under_way.join().unwrap();
        assert_eq!((status, &told["errorNum"]), (500, &json!(1412)), "{told}");
    });
}

#[test]
fn a_primary_that_is_silent_at_any_point_of_a_prepared_file_is_given_up_in_time() {
    let pair = pair(25_000);
    for silent in [
        "the file",
        "the job",
        "a job that does not get on",
        "a range",
        "within a range",
    ] {
        let gate = Gate::start(pair.primary.address);
        gate.alter(move |method, path, status, body| {
            let is_silent = match silent {
                "the file" => method == "POST" && path.ends_with("/file"),
                "the job" => path.starts_with("/v1/jobs/"),
                "a range" => path.starts_with("/v1/files/"),
                _ => false,
            };
            let is_job = path.starts_with("/v1/jobs/") && silent.starts_with("a job");
            let body = if is_job {
                let told = String::from_utf8(body).unwrap();
                told.replace("\"Completed\"", "\"Running\"").into_bytes()
            } else {
                body
            };
            (!is_silent).then_some((status, body))
        });
        // A proxy carries bytes, not answers: it can stand still within one. Nothing comes by connections after that.
        let rule: Arc<Rule> = Arc::new(|n| match n {
            0 | 1 => Fault::StandStill(700_000),
            _ => Fault::HalfOpen,
        });
        let still = Proxy::start(pair.primary.address, rule);
        // A busy machine may take a while to prepare the file of which a part is to arrive.
        let (way, wait) = if silent == "within a range" {
            (still.address, 5.0)
        } else {
            (gate.address, 0.5)
        };
        let order = order(way, json!({"initialSyncMaxWaitTime": wait}));
        let (status, told) = ask(&pair.secondary, "PUT", "/_api/replication/sync", order);
        assert_eq!(
            (status, &told["errorNum"]),
            (500, &json!(1400)),
            "{silent}: {told}"
        );
        let told = ask(&pair.secondary, "GET", "/_api/collection", json!({})).1;
        assert_eq!(told["result"], json!([]), "{silent}");
        let arrived = arrived(&pair.secondary.server.dir.services());
        assert_eq!(arrived > 500_000, silent == "within a range", "{arrived}");
    }
    let gate = Gate::start(pair.primary.address);
    assert_eq!(sync(&pair, &gate, json!({})).0, 200);
    assert_eq!(all(&pair.secondary, "c"), all(&pair.primary, "c"));
}

#[test]
fn an_order_whose_file_was_taken_over_is_complete_although_the_primary_is_silent_then() {
    let pair = pair(25_000);
    let gate = Gate::start(pair.primary.address);
    gate.alter(|_, path, status, body| (!path.ends_with("/reconcile")).then_some((status, body)));
    let (status, told) = sync(&pair, &gate, json!({"initialSyncMaxWaitTime": 1}));
    assert_eq!(status, 200, "{told}");
    let state = ask(
        &pair.primary,
        "GET",
        "/_api/replication/logger-state",
        json!({}),
    )
    .1;
    assert_eq!(told["lastLogTick"], state["state"]["lastLogTick"]);
    assert_eq!(all(&pair.secondary, "c"), all(&pair.primary, "c"));
    // One more is not complete: it has heard of nothing.
    let (status, told) = sync(&pair, &gate, json!({"initialSyncMaxWaitTime": 1}));
    assert_eq!((status, &told["errorNum"]), (500, &json!(1400)), "{told}");
    assert_eq!(all(&pair.secondary, "c"), all(&pair.primary, "c"));
}

#[test]
fn a_primary_that_stands_still_within_a_range_keeps_nobody_from_stopping() {
    let pair = pair(25_000);
    let still = Proxy::start(
        pair.primary.address,
        Arc::new(|_| Fault::StandStill(700_000)),
    );
    let Pair {
        primary: _primary,
        secondary,
        folders: _folders,
    } = pair;
    let url = secondary.http_url();
    let services = secondary.server.dir.services();
    let wait_for = |bytes| {
        while arrived(&services) < bytes {
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    std::thread::scope(|scope| {
        let order = || order(still.address, json!({}));
        let stopped = || {
            let url = url.as_str();
            scope.spawn(move || ask_at(url, "PUT", "/_api/replication/sync", order()))
        };
        let by_order = stopped();
        wait_for(500_000);
        ask_at(&url, "PUT", "/_api/replication/applier-stop", json!({}));
        let (status, told) = by_order.join().unwrap();
        assert_eq!((status, &told["errorNum"]), (500, &json!(1412)), "{told}");
        let by_end = stopped();
        wait_for(1_000_000);
        secondary.stop();
        let (status, told) = by_end.join().unwrap();
        assert_eq!((status, &told["errorNum"]), (500, &json!(1412)), "{told}");
    });
}

#[test]
fn the_result_of_a_job_is_fetched_after_a_restart() {
    let mut pair = pair(50);
    let order = order(pair.primary.address, json!({})).to_string();
    let asked = reqwest::blocking::Client::new()
        .put(format!(
            "{}/_api/replication/sync",
            pair.secondary.http_url()
        ))
        .basic_auth("editor", Some("secret"))
        .header("x-arango-async", "store")
        .body(order)
        .send()
        .unwrap();
    let id = asked.headers()["x-arango-async-id"].to_str().unwrap();
    let path = format!("/_api/job/{id}");
    while ask(&pair.secondary, "GET", &path, json!({})).0 == 204 {
        std::thread::sleep(Duration::from_millis(5));
    }
    pair.secondary.stop();
    pair.secondary = start(&pair.folders[1]);
    let (status, told) = ask(&pair.secondary, "PUT", &path, json!({}));
    assert_eq!(
        (status, &told["collections"][0]["name"]),
        (200, &json!("c"))
    );
    assert_eq!(ask(&pair.secondary, "PUT", &path, json!({})).0, 404);
}
