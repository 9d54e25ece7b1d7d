//! Collections that are kept equal between two servers, over real connections that also break.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod first_copy;
mod follow;
mod making;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use haversack_model::documents::{DocumentStore as _, document, key_of};
use haversack_model::{CollectionId, Error, GlobalId, Host as _, Revision, Service, Store as _};
use haversack_server::grants::Grant;
use haversack_server::native::Client;
use haversack_server::native::pull::{self, Asked, Login, Report, Request};
use haversack_server::native::reconcile_client::Fetching;
use haversack_server::native::remote::{Credentials, Trust};
use haversack_server::native::wire::JobInfo;
use haversack_server::{Handle, Options, clock};
use haversack_sqlite::service::Change;
use haversack_sync::reconcile::Method;
use support::proxy::{Fault, Proxy, Rule};

const NOTES: CollectionId = CollectionId(0);

struct Pair {
    primary: Handle,
    secondary: Handle,
    folders: [tempfile::TempDir; 2],
}

fn start(dir: &tempfile::TempDir, allowed: &[&str]) -> Handle {
    let options = Options {
        dir: dir.path().join("data"),
        port: Some(0),
        user: Some("editor".to_owned()),
        password: Some("secret".to_owned()),
        allow_endpoints: allowed.iter().map(|one| (*one).to_owned()).collect(),
        ..Options::default()
    };
    haversack_server::start(&options).unwrap()
}

/// Two servers; the first has a database with `n` documents.
fn pair(n: u64) -> Pair {
    let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let primary = start(&folders[0], &[]);
    let secondary = start(&folders[1], &["tcp://127.0.0.1:*"]);
    let mut service = Service::of_documents("_system");
    let notes = service.new_documents("notes", false).unwrap();
    assert_eq!(notes.id, NOTES);
    service.collections.push(notes);
    primary.server.create_service(&service, |_| Ok(())).unwrap();
    let pair = Pair {
        primary,
        secondary,
        folders,
    };
    edit(
        &pair.primary,
        (0..n).map(|n| {
            (
                format!("k{n}"),
                Some(format!("{{\"n\":{n},\"text\":\"{}\"}}", "x".repeat(80))),
            )
        }),
    );
    pair
}

fn edit(handle: &Handle, all: impl IntoIterator<Item = (String, Option<String>)>) {
    let store = handle.server.services.store("_system").unwrap();
    let mut tx = store.begin_write(clock::now()).unwrap();
    for (key, body) in all {
        if let Some(body) = body {
            tx.put(NOTES, &document(&key, body), None).unwrap();
        } else {
            let id = GlobalId::Text(key.into());
            assert!(tx.delete(NOTES, &id, None).unwrap());
        }
    }
    tx.commit().unwrap();
}

fn contents(handle: &Handle) -> BTreeMap<String, (Revision, String)> {
    let mut all = BTreeMap::new();
    // What is not there has nothing.
    let Some(store) = handle.server.services.store("_system") else {
        return all;
    };
    let tx = store.read_documents().unwrap();
    let service = tx.service().unwrap();
    let Some(id) = service.collection_named("notes").map(|found| found.id) else {
        return all;
    };
    tx.by_key(id, None, &mut |found| {
        let body = found.record.values[0].as_text().unwrap().to_owned();
        all.insert(
            key_of(&found.record.global_id),
            (found.track.revision, body),
        );
        Ok(ControlFlow::Continue(()))
    })
    .unwrap();
    all
}

fn login() -> Login {
    Login {
        user: "editor".to_owned(),
        password: "secret".to_owned(),
        ..Login::default()
    }
}

fn endpoint(address: std::net::SocketAddr) -> String {
    format!("tcp://{address}")
}

fn request(address: std::net::SocketAddr) -> Request {
    Request {
        from: endpoint(address),
        ..Request::default()
    }
}

fn run(pair: &Pair, request: &Request) -> haversack_server::Result<Report> {
    let server = &pair.secondary.server;
    pull::run(
        server,
        "_system",
        "notes",
        request,
        &login(),
        &mut |_, _, _| {},
    )
}

fn pull(pair: &Pair) -> Report {
    let report = run(pair, &request(pair.primary.address)).unwrap();
    assert_eq!(contents(&pair.primary), contents(&pair.secondary));
    report
}

fn client(handle: &Handle, user: &str, password: &str) -> Client {
    client_at(&handle.http_url(), user, password)
}

fn client_at(url: &str, user: &str, password: &str) -> Client {
    let credentials = Credentials::Basic {
        user: user.to_owned(),
        password: password.to_owned(),
    };
    Client::new(url, credentials, &Trust::default()).unwrap()
}

#[test]
fn a_collection_is_copied_and_kept_equal_at_the_cost_of_what_changed() {
    let pair = pair(3000);
    let first = pull(&pair);
    assert!(first.created);
    assert_eq!(
        (first.walk.method, first.walk.inserted),
        (Method::FullCopy, 3000)
    );
    let again = pull(&pair);
    assert_eq!((again.walk.method, again.walk.rounds), (Method::Equal, 1));
    assert!(again.walk.bytes_sent + again.walk.bytes_received < 150);
    edit(
        &pair.primary,
        [
            ("k7".to_owned(), Some("{}".to_owned())),
            ("k8".to_owned(), None),
            ("new".to_owned(), Some("{}".to_owned())),
        ],
    );
    let walk = pull(&pair).walk;
    assert_eq!((walk.inserted, walk.replaced, walk.removed), (1, 1, 1));
    assert!(walk.bytes_received < 400, "{walk:?}");
}

#[test]
fn a_dry_run_lists_what_would_change_and_changes_nothing() {
    let pair = pair(100);
    pull(&pair);
    edit(
        &pair.primary,
        [
            ("k7".to_owned(), Some("{}".to_owned())),
            ("k8".to_owned(), None),
            ("new".to_owned(), Some("{}".to_owned())),
        ],
    );
    edit(
        &pair.secondary,
        [("mine".to_owned(), Some("{}".to_owned()))],
    );
    let before = contents(&pair.secondary);
    let mut dry = Request {
        dry_run: true,
        ..request(pair.primary.address)
    };
    let report = run(&pair, &dry).unwrap();
    let found: Vec<_> = report
        .differences
        .iter()
        .map(|one| (one.key.as_str(), one.change))
        .collect();
    let expected = [
        ("k7", Change::Replace),
        ("k8", Change::Remove),
        ("mine", Change::Remove),
        ("new", Change::Insert),
    ];
    assert_eq!(found, expected);
    dry.list = Some(2);
    let report = run(&pair, &dry).unwrap();
    assert!(report.more && report.differences.len() == 2);
    assert_eq!(contents(&pair.secondary), before);
    pull(&pair);
    assert!(run(&pair, &dry).unwrap().differences.is_empty());
}

#[test]
fn a_deep_comparison_finds_damage_that_no_generation_tells_of() {
    let pair = pair(300);
    pull(&pair);
    let store = pair.secondary.server.services.store("_system").unwrap();
    let plain = rusqlite::Connection::open(store.path()).unwrap();
    plain
        .execute_batch(
            "DROP TRIGGER haversack_update_notes; \
             UPDATE notes SET document = '{\"damaged\":1}' WHERE _key = 'k7'",
        )
        .unwrap();
    let shallow = Request {
        dry_run: true,
        ..request(pair.primary.address)
    };
    assert!(run(&pair, &shallow).unwrap().differences.is_empty());
    let deep = Request {
        deep: true,
        ..shallow
    };
    let report = run(&pair, &deep).unwrap();
    assert_eq!(report.differences.len(), 1);
    run(
        &pair,
        &Request {
            dry_run: false,
            ..deep
        },
    )
    .unwrap();
    assert_eq!(contents(&pair.primary), contents(&pair.secondary));
}

#[test]
fn a_copy_through_a_connection_that_breaks_goes_on_where_it_was() {
    for fault in [
        Fault::CutRequest(100),
        Fault::CutResponse(30_000),
        Fault::SwallowAfter(60_000),
        Fault::Reset(90_000),
    ] {
        let pair = pair(3000);
        let rule: Arc<Rule> = Arc::new(move |n| if n % 2 == 0 { fault } else { Fault::None });
        let proxy = Proxy::start(pair.primary.address, rule);
        let mut asked = request(proxy.address);
        asked.max_wait_s = Some(20);
        // What was not reached at all is asked again by whoever wants the copy.
        let done = (0..5).find_map(|_| run(&pair, &asked).ok());
        assert!(done.is_some(), "{fault:?}");
        assert_eq!(contents(&pair.primary), contents(&pair.secondary));
        assert!(proxy.connections() > 1);
    }
}

#[test]
fn each_connection_that_breaks_brings_the_copy_nearer() {
    let pair = pair(3000);
    let proxy = Proxy::start(
        pair.primary.address,
        Arc::new(|_| Fault::CutResponse(100_000)),
    );
    let asked = request(proxy.address);
    let done = (0..20).find_map(|_| run(&pair, &asked).ok());
    assert!(done.is_some(), "each answer brings 100 kB of about 400");
    assert_eq!(contents(&pair.primary), contents(&pair.secondary));
}

#[test]
fn an_equal_collection_costs_less_than_a_thousand_bytes_on_the_wire() {
    let pair = pair(1000);
    pull(&pair);
    let proxy = Proxy::start(pair.primary.address, Arc::new(|_| Fault::None));
    let store = pair.secondary.server.services.store("_system").unwrap();
    let id = store
        .begin_read()
        .unwrap()
        .service()
        .unwrap()
        .collection_named("notes")
        .unwrap()
        .id;
    let token = client(&pair.primary, "editor", "secret")
        .log_in("editor", "secret", std::time::Duration::from_mins(1))
        .unwrap()
        .token;
    let url = format!("http://{}", proxy.address);
    let client = Client::new(&url, Credentials::Token(token), &Trust::default()).unwrap();
    let mut copy = store.secondary(id, clock::now()).unwrap();
    let report = client
        .fetch_collection(
            "_system",
            "notes",
            &mut copy,
            &Fetching::default(),
            &mut |_| {},
        )
        .unwrap();
    assert_eq!(report.method, Method::Equal);
    assert!(proxy.sent_by_server() < 600, "{}", proxy.sent_by_server());
}

#[test]
fn a_primary_that_goes_away_leaves_the_old_documents() {
    let mut pair = pair(200);
    pull(&pair);
    edit(&pair.primary, [("k1".to_owned(), Some("{}".to_owned()))]);
    let before = contents(&pair.secondary);
    let address = pair.primary.address;
    let folder = tempfile::tempdir().unwrap();
    let primary = std::mem::replace(&mut pair.primary, start(&folder, &[]));
    primary.stop();
    let gone = run(&pair, &request(address));
    assert!(gone.is_err(), "{gone:?}");
    assert_eq!(contents(&pair.secondary), before);
}

#[test]
fn who_may_not_copy_is_refused() {
    let pair = pair(10);
    let server = &pair.primary.server;
    let ask = |user: &str| {
        let path = "/v1/services/_system/collections/notes/reconcile";
        let refused = client(&pair.primary, user, "secret").send("POST", path, None);
        match refused {
            Err(Error::Refused { code, .. }) => code,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(
        ask("editor"),
        400,
        "an administrator is only told that this is no question"
    );
    server
        .accounts
        .add("ben", "secret", false, clock::now())
        .unwrap();
    assert_eq!(ask("ben"), 404, "without a grant the service is not there");
    let grant = |rights: &str, filters: Vec<(CollectionId, String)>| {
        server
            .grant(&Grant {
                principal: "ben".to_owned(),
                service: "_system".to_owned(),
                rights: haversack_server::grants::parse_rights(rights).unwrap(),
                filters,
            })
            .unwrap();
    };
    grant("read", Vec::new());
    assert_eq!(ask("ben"), 403);
    grant(
        "read,sync",
        vec![(NOTES, "document is not null".to_owned())],
    );
    assert_eq!(ask("ben"), 403, "a part cannot be copied");
    grant("read,sync", Vec::new());
    assert_eq!(ask("ben"), 400);
    assert_eq!(ask("nobody"), 401);
}

#[test]
fn a_server_connects_only_where_its_operator_allowed_it() {
    let pair = pair(50);
    let post = |from: String, user: &str| {
        let asked = Asked {
            request: Request {
                from,
                ..Request::default()
            },
            login: login(),
        };
        let path = "/v1/services/_system/collections/notes/pull";
        let body = serde_json::to_value(&asked).unwrap();
        client(&pair.secondary, user, "secret").send("POST", path, Some(&body))
    };
    for from in [
        "tcp://127.0.0.2:8529",
        "http://localhost:80",
        "ssl://127.0.0.1:1",
    ] {
        let refused = post(from.to_owned(), "editor");
        assert!(
            matches!(refused, Err(Error::Refused { code: 403, .. })),
            "{refused:?}"
        );
    }
    let accounts = &pair.secondary.server.accounts;
    accounts.add("ben", "secret", false, clock::now()).unwrap();
    let refused = post(endpoint(pair.primary.address), "ben");
    assert!(
        matches!(refused, Err(Error::Refused { code: 403, .. })),
        "{refused:?}"
    );
    let job: JobInfo =
        serde_json::from_value(post(endpoint(pair.primary.address), "editor").unwrap()).unwrap();
    let report = client(&pair.secondary, "editor", "secret")
        .wait_for(job.id, &mut |_, _, _| {})
        .unwrap();
    let report: Report = serde_json::from_value(report).unwrap();
    assert_eq!(report.walk.inserted, 50);
    assert_eq!(contents(&pair.primary), contents(&pair.secondary));
    let job = pair.secondary.server.job(job.id).unwrap();
    assert!(!job.request.contains("secret"), "no password is kept");
}

#[test]
fn a_redirect_is_not_followed() {
    use std::io::{Read as _, Write as _};
    let pair = pair(10);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let target = pair.primary.address;
    std::thread::spawn(move || {
        for stream in listener.incoming().take(3).flatten() {
            let mut stream = stream;
            let mut head = [0; 4096];
            let _read = stream.read(&mut head);
            let answer = format!(
                "HTTP/1.1 307 Temporary Redirect\r\nlocation: http://{target}/v1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            );
            let _written = stream.write_all(answer.as_bytes());
        }
    });
    let refused = run(&pair, &request(address));
    assert!(refused.is_err());
    assert!(pair.secondary.server.services.store("_system").is_none());
}

#[test]
fn a_collection_is_no_copy_of_itself_but_may_be_one_of_another_of_its_server() {
    let pair = pair(20);
    let server = &pair.primary.server;
    let own = request(pair.primary.address);
    let refused = pull::run(
        server,
        "_system",
        "notes",
        &own,
        &login(),
        &mut |_, _, _| {},
    );
    let text = refused.unwrap_err().to_string();
    assert!(text.contains("cannot be a copy of itself"), "{text}");
    let of_notes = Request {
        collection: "notes".to_owned(),
        ..own
    };
    let report = pull::run(
        server,
        "_system",
        "copy",
        &of_notes,
        &login(),
        &mut |_, _, _| {},
    );
    assert_eq!(report.unwrap().walk.inserted, 20);
}

#[test]
fn an_equal_collection_is_one_question_and_nothing_else() {
    let pair = pair(100);
    pull(&pair);
    let proxy = Proxy::start(pair.primary.address, Arc::new(|_| Fault::None));
    let token = client(&pair.primary, "editor", "secret")
        .log_in("editor", "secret", std::time::Duration::from_mins(1))
        .unwrap()
        .token;
    let login = Login {
        token,
        ..Login::default()
    };
    let server = &pair.secondary.server;
    let asked = request(proxy.address);
    let pulled = pull::run(
        server,
        "_system",
        "notes",
        &asked,
        &login,
        &mut |_, _, _| {},
    );
    assert_eq!(pulled.unwrap().walk.method, Method::Equal);
    let answers = proxy.sent_by_server();
    assert!(answers < 600, "{answers} bytes: more than one answer");
}

#[test]
fn a_primary_that_lost_the_collection_says_so() {
    let pair = pair(100);
    pull(&pair);
    let mut elsewhere = request(pair.primary.address);
    elsewhere.collection = "other".to_owned();
    let told = run(&pair, &elsewhere).unwrap_err().to_string();
    assert!(told.contains("has no collection \"other\""), "{told}");
    assert_eq!(contents(&pair.primary), contents(&pair.secondary));
}
