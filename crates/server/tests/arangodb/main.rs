//! Copies that are ordered by ArangoDB's protocol between two real servers: natively where both can, else by that protocol; and
//! pulls from a server that speaks nothing else.

#![allow(
    clippy::unwrap_used,
    clippy::needless_pass_by_value,
    reason = "a test fails by panicking, and makes its bodies where it sends them"
)]

mod cut;
mod grants;
mod refused;
#[path = "../support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use haversack_server::native::pull::{self, Login, Report, Request};
use haversack_server::{Handle, Options};
use haversack_sqlite::service::Change;
use serde_json::{Value, json};
use support::gate::{Gate, hidden};

fn start(dir: &tempfile::TempDir) -> Handle {
    let options = Options {
        dir: dir.path().join("data"),
        port: Some(0),
        user: Some("editor".to_owned()),
        password: Some("secret".to_owned()),
        allow_endpoints: vec!["tcp://127.0.0.1:*".to_owned()],
        ..Options::default()
    };
    haversack_server::start(&options).unwrap()
}

struct Pair {
    primary: Handle,
    secondary: Handle,
    folders: [tempfile::TempDir; 2],
}

/// Sends a request as a client of ArangoDB does; gives status and body.
fn ask(handle: &Handle, method: &str, path: &str, body: Value) -> (u16, Value) {
    ask_at(&handle.http_url(), method, path, body)
}

fn ask_at(url: &str, method: &str, path: &str, body: Value) -> (u16, Value) {
    ask_as(url, "editor", method, path, body)
}

fn ask_as(url: &str, user: &str, method: &str, path: &str, body: Value) -> (u16, Value) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::blocking::Client::builder()
        .timeout(Duration::from_mins(2))
        .build()
        .unwrap();
    let answer = client
        .request(method.parse().unwrap(), format!("{url}{path}"))
        .basic_auth(user, Some("secret"))
        .body(body.to_string())
        .send()
        .unwrap();
    let status = answer.status().as_u16();
    (status, answer.json().unwrap_or_default())
}

/// Two servers; the first has a collection `c` with `n` documents.
fn pair(n: usize) -> Pair {
    let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let pair = Pair {
        primary: start(&folders[0]),
        secondary: start(&folders[1]),
        folders,
    };
    ask(
        &pair.primary,
        "POST",
        "/_api/collection",
        json!({"name": "c"}),
    );
    let all = (0..n).map(|n| json!({"_key": format!("k{n}"), "n": n, "text": "x".repeat(60)}));
    let (status, told) = ask(
        &pair.primary,
        "POST",
        "/_api/document/c?silent=true",
        all.collect(),
    );
    assert_eq!(status, 202, "{told}");
    pair
}

/// All documents with their revisions.
fn all(handle: &Handle, name: &str) -> Value {
    let query = json!({"query": format!("FOR d IN {name} RETURN d"), "batchSize": 1_000_000});
    let (status, told) = ask(handle, "POST", "/_api/cursor", query);
    assert_eq!(status, 201, "{told}");
    told["result"].clone()
}

fn order(address: std::net::SocketAddr, more: Value) -> Value {
    let mut order = json!({
        "endpoint": format!("tcp://{address}"), "username": "editor", "password": "secret",
        "restrictType": "include", "restrictCollections": ["c"], "incremental": true,
    });
    for (name, value) in more.as_object().unwrap() {
        order[name] = value.clone();
    }
    order
}

fn sync(pair: &Pair, gate: &Gate, more: Value) -> (u16, Value) {
    let order = order(gate.address, more);
    ask(&pair.secondary, "PUT", "/_api/replication/sync", order)
}

/// Each side changes, in another way each time.
fn drift(pair: &Pair, time: usize) {
    let key = |n: usize| format!("/k{}", time * 10 + n);
    let new = |name: &str| json!({"_key": format!("{name}{time}")});
    for (handle, method, path, body) in [
        (
            &pair.primary,
            "PATCH",
            key(1),
            json!({"n": -1 - 2 * time as i64}),
        ),
        (&pair.primary, "DELETE", key(2), json!({})),
        (&pair.primary, "POST", String::new(), new("new")),
        (
            &pair.secondary,
            "PATCH",
            key(3),
            json!({"n": -2 - 2 * time as i64}),
        ),
        (&pair.secondary, "DELETE", key(4), json!({})),
        (&pair.secondary, "POST", String::new(), new("only")),
    ] {
        let (status, told) = ask(handle, method, &format!("/_api/document/c{path}"), body);
        assert!(status < 300, "{method} {path}: {told}");
    }
}

fn is_native(seen: &[String]) -> bool {
    seen.iter().any(|line| line.ends_with("/reconcile"))
}

fn has_dump(seen: &[String]) -> bool {
    let of_arango = ["/dump?", "/revisions/", "/keys"];
    seen.iter()
        .any(|line| of_arango.iter().any(|one| line.contains(one)))
}

#[test]
fn an_order_between_two_haversacks_is_carried_out_natively() {
    let pair = pair(3000);
    let index = json!({"type": "persistent", "fields": ["n"], "unique": true, "sparse": true, "name": "by_n"});
    assert_eq!(
        ask(&pair.primary, "POST", "/_api/index?collection=c", index).0,
        201
    );
    let gate = Gate::start(pair.primary.address);
    for (round, more) in [json!({"incremental": false}), json!({}), json!({})]
        .into_iter()
        .enumerate()
    {
        if round > 0 {
            drift(&pair, round);
        }
        let (status, told) = sync(&pair, &gate, more);
        assert_eq!(status, 200, "{told}");
        assert_eq!(told["collections"][0]["name"], "c");
        assert!(told["collections"][0]["id"].is_string());
        let tick: u64 = told["lastLogTick"].as_str().unwrap().parse().unwrap();
        assert!(tick >= 3000, "{told}");
        assert_eq!(
            all(&pair.secondary, "c"),
            all(&pair.primary, "c"),
            "round {round}"
        );
        let seen = gate.seen();
        assert!(is_native(&seen) && !has_dump(&seen), "{seen:?}");
        assert!(
            seen.last().unwrap().starts_with("DELETE"),
            "the batch is released: {seen:?}"
        );
    }
    let guid =
        |handle| ask(handle, "GET", "/_api/collection/c", json!({})).1["globallyUniqueId"].clone();
    assert_eq!(
        guid(&pair.primary),
        guid(&pair.secondary),
        "it is known again"
    );
    let told = ask(
        &pair.secondary,
        "GET",
        "/_api/index?collection=c",
        json!({}),
    )
    .1;
    assert_eq!(told["indexes"][1]["name"], "by_n");
    let (_, told) = ask(
        &pair.secondary,
        "GET",
        "/_api/replication/applier-state",
        json!({}),
    );
    assert_eq!(told["state"]["progress"]["message"], "finished");
}

#[test]
fn where_the_native_way_is_not_there_or_refused_the_protocols_of_arangodb_go_on() {
    for case in ["no hint", "not there", "refused", "broken"] {
        let pair = pair(300);
        let gate = Gate::start(pair.primary.address);
        gate.alter(move |_, path, status, body| {
            Some(match case {
                "no hint" => hidden(path, status, body),
                "not there" if path.starts_with("/v1") => (404, Vec::new()),
                "refused" if path.starts_with("/v1") => (403, b"{\"message\":\"no\"}".to_vec()),
                "broken" if path.ends_with("/reconcile") => (200, b"<html>".to_vec()),
                _ => (status, body),
            })
        });
        for (time, more) in [json!({"incremental": false}), json!({})]
            .into_iter()
            .enumerate()
        {
            let (status, told) = sync(&pair, &gate, more);
            assert_eq!(status, 200, "{case}: {told}");
            assert_eq!(all(&pair.secondary, "c"), all(&pair.primary, "c"), "{case}");
            assert!(has_dump(&gate.seen()), "{case}");
            drift(&pair, time);
        }
    }
}

#[test]
fn a_collection_that_came_by_the_other_protocol_keeps_the_revisions_of_the_primary() {
    let pair = pair(300);
    let hiding = Gate::hiding(pair.primary.address);
    assert_eq!(sync(&pair, &hiding, json!({})).0, 200);
    // The same content with a revision of its own.
    let told = ask(&pair.secondary, "GET", "/_api/document/c/k9", json!({})).1;
    let body = json!({"n": told["n"], "text": told["text"]});
    assert!(ask(&pair.secondary, "PUT", "/_api/document/c/k9", body).0 < 300);
    drift(&pair, 0);
    let gate = Gate::start(pair.primary.address);
    let (status, told) = sync(&pair, &gate, json!({}));
    assert_eq!(status, 200, "{told}");
    assert!(is_native(&gate.seen()));
    assert_eq!(all(&pair.secondary, "c"), all(&pair.primary, "c"));
}

#[test]
fn a_silent_primary_is_given_up_in_time_natively_too_and_the_next_order_goes_on() {
    let pair = pair(3000);
    let gate = Gate::start(pair.primary.address);
    sync(&pair, &gate, json!({}));
    let before = all(&pair.secondary, "c");
    drift(&pair, 0);
    ask(
        &pair.secondary,
        "DELETE",
        "/_api/document/c/only0",
        json!({}),
    );
    let before_sync = all(&pair.secondary, "c");
    assert_ne!(before, before_sync);
    gate.alter(|_, path, status, body| (!path.ends_with("/reconcile")).then_some((status, body)));
    let begun = Instant::now();
    let (status, told) = sync(&pair, &gate, json!({"initialSyncMaxWaitTime": 0.7}));
    assert_eq!((status, &told["errorNum"]), (500, &json!(1400)), "{told}");
    assert!(begun.elapsed() >= Duration::from_millis(600));
    assert!(!told.to_string().contains("secret"));
    assert_eq!(all(&pair.secondary, "c"), before_sync);
    assert!(gate.seen().last().unwrap().starts_with("DELETE"));
    gate.alter(|_, _, status, body| Some((status, body)));
    assert_eq!(sync(&pair, &gate, json!({})).0, 200);
    assert_eq!(all(&pair.secondary, "c"), all(&pair.primary, "c"));
}

#[test]
fn a_native_copy_can_be_stopped_and_keeps_others_away() {
    let pair = pair(500);
    let gate = Gate::start(pair.primary.address);
    sync(&pair, &gate, json!({}));
    drift(&pair, 0);
    gate.alter(|_, path, status, body| (!path.ends_with("/reconcile")).then_some((status, body)));
    gate.seen();
    std::thread::scope(|scope| {
        let under_way = scope.spawn(|| sync(&pair, &gate, json!({})));
        while !is_native(&gate.seen()) {
            std::thread::yield_now();
        }
        let (status, told) = sync(&pair, &gate, json!({}));
        assert_eq!((status, &told["errorNum"]), (400, &json!(1411)));
        let busy = run(&pair, pair.primary.address, &Request::default()).unwrap_err();
        assert!(busy.contains("already"), "{busy}");
        ask(
            &pair.secondary,
            "PUT",
            "/_api/replication/applier-stop",
            json!({}),
        );
        let (status, told) = under_way.join().unwrap();
        assert_eq!((status, &told["errorNum"]), (500, &json!(1412)), "{told}");
    });
    gate.alter(|_, _, status, body| Some((status, body)));
    assert_eq!(sync(&pair, &gate, json!({})).0, 200);
    assert_eq!(all(&pair.secondary, "c"), all(&pair.primary, "c"));
}

#[test]
fn a_server_that_stops_ends_an_order_that_waits_for_its_primary() {
    let pair = pair(50);
    let gate = Gate::start(pair.primary.address);
    sync(&pair, &gate, json!({}));
    gate.alter(|_, path, status, body| (!path.ends_with("/reconcile")).then_some((status, body)));
    gate.seen();
    let Pair {
        primary: _primary,
        secondary,
        folders: _folders,
    } = pair;
    let url = secondary.http_url();
    std::thread::scope(|scope| {
        let under_way = scope.spawn(|| {
            let order = order(gate.address, json!({}));
            ask_at(&url, "PUT", "/_api/replication/sync", order)
        });
        while !is_native(&gate.seen()) {
            std::thread::yield_now();
        }
        secondary.stop();
        let (status, told) = under_way.join().unwrap();
        assert_eq!((status, &told["errorNum"]), (500, &json!(1412)), "{told}");
    });
}

#[test]
fn a_large_first_copy_that_is_ordered_natively_is_a_file_with_its_indexes() {
    let pair = pair(25_000);
    let index = json!({"type": "persistent", "fields": ["n"], "unique": true, "name": "by_n"});
    ask(&pair.primary, "POST", "/_api/index?collection=c", index);
    let gate = Gate::start(pair.primary.address);
    let (status, told) = sync(&pair, &gate, json!({"incremental": false}));
    assert_eq!(status, 200, "{told}");
    let seen = gate.seen();
    assert!(
        seen.iter().any(|one| one.starts_with("GET /v1/files/")),
        "{seen:#?}"
    );
    assert!(is_native(&seen) && !has_dump(&seen), "{seen:#?}");
    assert_eq!(all(&pair.secondary, "c"), all(&pair.primary, "c"));
    let again = json!({"_key": "other", "n": 7});
    let (status, told) = ask(&pair.secondary, "POST", "/_api/document/c", again);
    assert_eq!((status, &told["errorNum"]), (409, &json!(1210)), "{told}");
    drift(&pair, 0);
    assert_eq!(sync(&pair, &gate, json!({})).0, 200);
    assert_eq!(all(&pair.secondary, "c"), all(&pair.primary, "c"));
}

#[test]
fn a_unique_index_here_that_refuses_documents_natively_leaves_what_was_there() {
    let pair = pair(50);
    let gate = Gate::start(pair.primary.address);
    sync(&pair, &gate, json!({}));
    let own = json!({"type": "persistent", "fields": ["kind"], "unique": true, "sparse": true, "name": "own"});
    ask(&pair.secondary, "POST", "/_api/index?collection=c", own);
    for n in 0..2 {
        ask(
            &pair.primary,
            "PATCH",
            &format!("/_api/document/c/k{n}"),
            json!({"kind": "same"}),
        );
    }
    let before = all(&pair.secondary, "c");
    let (status, told) = sync(&pair, &gate, json!({}));
    assert_eq!((status, &told["errorNum"]), (409, &json!(1210)), "{told}");
    assert!(is_native(&gate.seen()));
    assert_eq!(all(&pair.secondary, "c"), before);
    // Copied whole, what only this side has goes, and its index with it.
    let (status, told) = sync(&pair, &gate, json!({"incremental": false}));
    assert_eq!(status, 200, "{told}");
    assert_eq!(all(&pair.secondary, "c"), all(&pair.primary, "c"));
}

fn run(pair: &Pair, address: std::net::SocketAddr, request: &Request) -> Result<Report, String> {
    let login = Login {
        user: "editor".to_owned(),
        password: "secret".to_owned(),
        ..Login::default()
    };
    let mut request = request.clone();
    request.from = format!("tcp://{address}");
    let server = &pair.secondary.server;
    pull::run(server, "_system", "c", &request, &login, &mut |_, _, _| {})
        .map_err(|error| error.to_string())
}

#[test]
fn a_pull_from_a_server_that_speaks_only_arangodb_is_the_same_command() {
    let pair = pair(1500);
    let gate = Gate::hiding(pair.primary.address);
    let first = run(&pair, gate.address, &Request::default()).unwrap();
    assert!(first.created && first.tick.is_some());
    assert_eq!(first.walk.inserted, 1500);
    assert!(first.walk.bytes_received > 1500 * 60);
    assert!(!is_native(&gate.seen()));
    assert_eq!(all(&pair.secondary, "c"), all(&pair.primary, "c"));
    drift(&pair, 0);
    let before = all(&pair.secondary, "c");
    let dry = Request {
        dry_run: true,
        ..Request::default()
    };
    let told = run(&pair, gate.address, &dry).unwrap();
    assert!(
        !gate.seen().iter().any(|line| line.contains("/dump?")),
        "it was compared by revisions"
    );
    let found: Vec<_> = told
        .differences
        .iter()
        .map(|d| (d.key.as_str(), d.change))
        .collect();
    let expected = [
        ("k1", Change::Replace),
        ("k2", Change::Remove),
        ("k3", Change::Replace),
        ("k4", Change::Insert),
        ("new0", Change::Insert),
        ("only0", Change::Remove),
    ];
    assert_eq!(found, expected);
    assert_eq!(all(&pair.secondary, "c"), before, "nothing was changed");
    let incremental = Request {
        incremental: true,
        ..Request::default()
    };
    let second = run(&pair, gate.address, &incremental).unwrap();
    assert_eq!(
        (
            second.walk.inserted,
            second.walk.replaced,
            second.walk.removed
        ),
        (2, 2, 2)
    );
    assert_eq!(all(&pair.secondary, "c"), all(&pair.primary, "c"));
    assert!(
        run(&pair, gate.address, &dry)
            .unwrap()
            .differences
            .is_empty()
    );
    assert!(gate.seen().iter().any(|line| line.starts_with("DELETE")));
    let deep = Request {
        deep: true,
        ..Request::default()
    };
    assert!(
        run(&pair, gate.address, &deep)
            .unwrap_err()
            .contains("--deep")
    );
    let nowhere = Request {
        collection: "nowhere".to_owned(),
        ..Request::default()
    };
    assert!(
        run(&pair, gate.address, &nowhere)
            .unwrap_err()
            .contains("no collection \"nowhere\"")
    );
}

#[test]
fn a_stage_of_one_protocol_is_never_taken_for_that_of_the_other() {
    let pair = pair(60_000);
    let gate = Gate::start(pair.primary.address);
    // The first answer comes, those after it do not: what arrived is kept with the walk.
    let answers = std::sync::atomic::AtomicU32::new(0);
    gate.alter(move |_, path, status, mut body| {
        // By a file the copy would be complete before the first question.
        if path.ends_with("/file") {
            return Some((404, b"{}".to_vec()));
        }
        if path.ends_with("/reconcile") {
            let n = answers.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            if n > 0 {
                return None;
            }
            body.truncate(body.len() / 2);
        }
        Some((status, body))
    });
    let hasty = Request {
        max_wait_s: Some(1),
        ..Request::default()
    };
    assert!(run(&pair, gate.address, &hasty).is_err());
    let hiding = Gate::hiding(pair.primary.address);
    run(&pair, hiding.address, &Request::default()).unwrap();
    assert_eq!(all(&pair.secondary, "c"), all(&pair.primary, "c"));
    drift(&pair, 0);
    gate.alter(|_, _, status, body| Some((status, body)));
    run(&pair, gate.address, &Request::default()).unwrap();
    assert_eq!(all(&pair.secondary, "c"), all(&pair.primary, "c"));
}

#[test]
fn an_encrypted_primary_is_known_by_the_certificates_that_the_operator_named() {
    let folders = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let primary = start(&folders[0]);
    ask(&primary, "POST", "/_api/collection", json!({"name": "c"}));
    ask(&primary, "POST", "/_api/document/c", json!({"_key": "a"}));
    let order = json!({
        "endpoint": format!("ssl://127.0.0.1:{}", primary.address.port()), "username": "editor", "password": "secret",
        "restrictType": "include", "restrictCollections": ["c"], "initialSyncMaxWaitTime": 20,
    });
    for (folder, ca) in folders[1..].iter().zip([None, Some(primary.certificate())]) {
        let options = Options {
            dir: folder.path().join("data"),
            port: Some(0),
            user: Some("editor".to_owned()),
            password: Some("secret".to_owned()),
            allow_endpoints: vec!["ssl://127.0.0.1:*".to_owned()],
            endpoint_ca: ca.clone(),
            ..Options::default()
        };
        let secondary = haversack_server::start(&options).unwrap();
        let (status, told) = ask(&secondary, "PUT", "/_api/replication/sync", order.clone());
        if ca.is_some() {
            assert_eq!(status, 200, "{told}");
            assert_eq!(all(&secondary, "c"), all(&primary, "c"));
        } else {
            assert_eq!((status, &told["errorNum"]), (500, &json!(1400)), "{told}");
            assert_eq!(
                ask(&secondary, "GET", "/_api/collection/c", json!({})).0,
                404
            );
        }
    }
}

#[test]
fn a_job_that_a_restart_cut_off_says_so_and_the_same_order_goes_on() {
    let mut pair = pair(200);
    let gate = Gate::start(pair.primary.address);
    gate.alter(|_, path, status, body| (!path.ends_with("/reconcile")).then_some((status, body)));
    let order = json!({
        "from": format!("tcp://{}", gate.address), "login": {"user": "editor", "password": "secret"}, "max_wait_s": 300,
    });
    let path = "/v1/services/_system/collections/c/pull";
    let send = |handle: &Handle, method: &str, path: &str, body: &Value| {
        let client = reqwest::blocking::Client::new();
        let url = format!("{}{path}", handle.http_url());
        let request = client.request(method.parse().unwrap(), url);
        let request = request.basic_auth("editor", Some("secret")).json(body);
        request.send().unwrap().json::<Value>().unwrap()
    };
    let job = send(&pair.secondary, "POST", path, &order)["id"].clone();
    while !is_native(&gate.seen()) {
        std::thread::yield_now();
    }
    let empty = tempfile::tempdir().unwrap();
    drop(std::mem::replace(&mut pair.secondary, start(&empty)));
    pair.secondary = start(&pair.folders[1]);
    let ended = loop {
        let shown = send(
            &pair.secondary,
            "GET",
            &format!("/v1/jobs/{}", job.as_str().unwrap()),
            &json!({}),
        );
        if shown["status"] != "Pending" && shown["status"] != "Running" {
            break shown;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_eq!(ended["status"], "Failed", "{ended}");
    assert!(
        ended["result"].as_str().unwrap().contains("ask again"),
        "{ended}"
    );
    gate.alter(|_, _, status, body| Some((status, body)));
    run(&pair, gate.address, &Request::default()).unwrap();
    assert_eq!(all(&pair.secondary, "c"), all(&pair.primary, "c"));
}
