//! Grants of single collections, given by ArangoDB's protocol and held by every face of the server.

use haversack_model::{Host as _, Store as _};
use haversack_server::native::Client;
use haversack_server::native::remote::{Credentials, Trust};
use haversack_server::{Handle, clock};
use serde_json::{Value, json};

use crate::{ask, ask_as, order, start};

/// A server with the user `ada`, who may read and write the database `shop` with its collections `open` and `closed`.
fn shop(folder: &tempfile::TempDir) -> Handle {
    let server = start(folder);
    for (path, body) in [
        ("/_api/user", json!({"user": "ada", "passwd": "secret"})),
        (
            "/_api/database",
            json!({"name": "shop", "users": [{"username": "ada"}]}),
        ),
        ("/_db/shop/_api/collection", json!({"name": "open"})),
        ("/_db/shop/_api/collection", json!({"name": "closed"})),
        ("/_db/shop/_api/document/open", json!({"_key": "k"})),
        ("/_db/shop/_api/document/closed", json!({"_key": "k"})),
    ] {
        let (status, told) = ask(&server, "POST", path, body);
        assert!(status < 300, "{path}: {told}");
    }
    server
}

fn grant(server: &Handle, of: &str, level: &str) -> Value {
    let path = format!("/_api/user/ada/database/{of}");
    let (status, told) = ask(server, "PUT", &path, json!({"grant": level}));
    assert_eq!(status, 200, "{of}: {told}");
    told
}

fn level(server: &Handle, of: &str) -> Value {
    let path = format!("/_api/user/ada/database/{of}");
    ask(server, "GET", &path, json!({})).1["result"].clone()
}

/// Which of reading and writing ada may do with a collection.
fn may(server: &Handle, collection: &str) -> (bool, bool) {
    let path = format!("/_db/shop/_api/document/{collection}");
    let url = server.http_url();
    let read = ask_as(&url, "ada", "GET", &format!("{path}/k"), json!({})).0;
    let written = ask_as(&url, "ada", "POST", &path, json!({})).0;
    assert!(
        matches!(read, 200 | 403) && matches!(written, 202 | 403),
        "{read} {written}"
    );
    (read == 200, written == 202)
}

#[test]
fn a_level_of_a_collection_is_given_told_kept_and_taken_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = shop(&folder);
    assert_eq!(
        level(&server, "shop/closed"),
        "rw",
        "a database's grant covers its collections"
    );
    assert_eq!(grant(&server, "shop/closed", "none")["shop/closed"], "none");
    assert_eq!(may(&server, "closed"), (false, false));
    assert_eq!(may(&server, "open"), (true, true));
    grant(&server, "shop", "ro");
    assert_eq!(may(&server, "open"), (true, false));
    grant(&server, "shop/open", "rw");
    assert_eq!(may(&server, "open"), (true, true));
    grant(&server, "shop/*", "none");
    grant(&server, "*/*", "ro");
    grant(&server, "shop/closed", "ro");
    server.stop();
    server = start(&folder);
    assert_eq!(
        may(&server, "closed"),
        (true, false),
        "it outlives a restart"
    );
    for (of, effective, configured) in [
        ("shop", "ro", "ro"),
        ("shop/open", "rw", "rw"),
        ("shop/closed", "ro", "ro"),
        ("shop/*", "none", "none"),
        ("shop/_system_one", "ro", "undefined"),
        ("shop/not_there", "none", "undefined"),
        ("*/*", "none", "ro"),
        ("nowhere", "none", "undefined"),
    ] {
        assert_eq!(level(&server, of), effective, "{of}");
        let of = format!("{of}?configured=true");
        assert_eq!(level(&server, &of), configured, "{of}");
    }
    let all = json!({
        "_system": {"permission": "undefined", "collections": {"*": "undefined"}},
        "shop": {"permission": "ro", "collections": {"open": "rw", "closed": "ro", "*": "none"}},
        "*": {"permission": "none", "collections": {"*": "ro"}},
    });
    let path = "/_api/user/ada/database";
    let told = ask(&server, "GET", &format!("{path}?full=true"), json!({})).1;
    for (database, of) in all.as_object().unwrap() {
        let found = &told["result"][database];
        assert!(
            found == of || (database == "_system" && found.is_null()),
            "{database}: {found}"
        );
    }
    let told = ask(&server, "GET", path, json!({})).1;
    assert_eq!(told["result"], json!({"shop": "ro"}));
    // The nearest that is left holds.
    for (of, then) in [("shop/closed", "none"), ("shop/*", "ro"), ("*/*", "ro")] {
        let path = format!("/_api/user/ada/database/{of}");
        for _again in 0..2 {
            assert_eq!(ask(&server, "DELETE", &path, json!({})).0, 202);
        }
        assert_eq!(level(&server, "shop/closed"), then, "without {of}");
    }
    assert_eq!(
        ask(&server, "DELETE", "/_api/user/ada/database/shop", json!({})).0,
        202
    );
    assert_eq!(level(&server, "shop/open?configured=true"), "undefined");
    assert_eq!(may(&server, "open"), (false, false));
    server.stop();
}

#[test]
fn grants_that_cannot_be_are_refused_and_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let server = shop(&folder);
    let ro = json!({"grant": "ro"});
    for (method, path, body, error) in [
        ("PUT", "ada/database/shop/nothing", ro.clone(), (404, 1203)),
        (
            "DELETE",
            "ada/database/shop/nothing",
            json!({}),
            (404, 1203),
        ),
        ("PUT", "ada/database/nowhere/open", ro.clone(), (404, 1228)),
        ("PUT", "ada/database/nowhere/*", ro.clone(), (404, 1228)),
        ("PUT", "ada/database/*/open", ro.clone(), (400, 400)),
        ("PUT", "ada/database/shop/_queues", ro.clone(), (400, 10)),
        (
            "PUT",
            "ada/database/shop/open",
            json!({"grant": "all"}),
            (400, 400),
        ),
        ("PUT", "ada/database/shop/open", json!({}), (400, 400)),
        ("PUT", "nobody/database/shop/open", ro.clone(), (404, 1703)),
        ("GET", "nobody/database/shop/open", json!({}), (404, 1703)),
        ("POST", "ada/database/shop/open", ro.clone(), (405, 405)),
        ("PUT", "ada/database/shop/open/k", ro.clone(), (400, 400)),
    ] {
        let path = format!("/_api/user/{path}");
        let (status, told) = ask(&server, method, &path, body);
        assert_eq!(
            (status, told["errorNum"].as_u64().unwrap()),
            error,
            "{method} {path}: {told}"
        );
    }
    assert_eq!(level(&server, "shop/open?configured=true"), "undefined");
    // A user may read of their own grants, and give themselves none.
    let url = server.http_url();
    let path = "/_api/user/ada/database/shop/open";
    assert_eq!(
        ask_as(&url, "ada", "GET", path, json!({})).1["result"],
        "rw"
    );
    for method in ["PUT", "DELETE"] {
        let (status, told) = ask_as(&url, "ada", method, path, ro.clone());
        assert_eq!((status, &told["errorNum"]), (403, &json!(11)), "{told}");
    }
}

#[test]
fn a_grant_follows_its_collection_and_is_inherited_by_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let server = shop(&folder);
    grant(&server, "shop/closed", "none");
    let renamed = "/_db/shop/_api/collection/closed/rename";
    assert_eq!(
        ask(&server, "PUT", renamed, json!({"name": "renamed"})).0,
        200
    );
    assert_eq!(may(&server, "renamed"), (false, false));
    grant(&server, "shop/renamed", "ro");
    assert_eq!(
        ask(
            &server,
            "DELETE",
            "/_db/shop/_api/collection/renamed",
            json!({})
        )
        .0,
        200
    );
    ask(
        &server,
        "POST",
        "/_db/shop/_api/collection",
        json!({"name": "later"}),
    );
    assert_eq!(level(&server, "shop/later?configured=true"), "undefined");
    // Nor by what is made under the number without this protocol.
    grant(&server, "shop/later", "none");
    assert_eq!(
        ask(&server, "DELETE", "/_api/database/shop", json!({})).0,
        200
    );
    ask(
        &server,
        "POST",
        "/_api/database",
        json!({"name": "shop", "users": [{"username": "ada"}]}),
    );
    for name in ["a", "b"] {
        ask(
            &server,
            "POST",
            "/_db/shop/_api/collection",
            json!({"name": name}),
        );
        assert_eq!(level(&server, &format!("shop/{name}")), "rw");
    }
    // Whoever makes a collection may write in it, whatever holds for the others.
    grant(&server, "shop/*", "none");
    let url = server.http_url();
    let path = "/_db/shop/_api/collection";
    assert_eq!(
        ask_as(&url, "ada", "POST", path, json!({"name": "own"})).0,
        200
    );
    ask(
        &server,
        "POST",
        "/_db/shop/_api/document/own",
        json!({"_key": "k"}),
    );
    assert_eq!(may(&server, "own"), (true, true));
    // A user who comes later under the name has nothing of it.
    assert_eq!(ask(&server, "DELETE", "/_api/user/ada", json!({})).0, 202);
    ask(
        &server,
        "POST",
        "/_api/user",
        json!({"user": "ada", "passwd": "secret"}),
    );
    assert_eq!(level(&server, "shop/own?configured=true"), "undefined");
}

#[test]
fn the_other_faces_hold_what_was_granted_of_a_collection() {
    let folder = tempfile::tempdir().unwrap();
    let server = shop(&folder);
    let credentials = Credentials::Basic {
        user: "ada".to_owned(),
        password: "secret".to_owned(),
    };
    let trust = Trust {
        pem: None,
        ca: Some(server.certificate()),
        insecure: false,
        pinned: None,
    };
    let client = Client::new(&server.url(), credentials, &trust).unwrap();
    let code = |path: &str| match client.send("POST", path, None) {
        Err(haversack_model::Error::Refused { code, .. }) => code,
        other => panic!("{path}: {other:?}"),
    };
    let names = || {
        let found = client.service("shop").unwrap().service.collections;
        found.into_iter().map(|one| one.name).collect::<Vec<_>>()
    };
    assert_eq!(names(), ["open", "closed"]);
    let path = |what| format!("/v1/services/shop/collections/closed/{what}");
    assert_eq!(
        code(&path("reconcile")),
        400,
        "no question, but one that may be put"
    );
    grant(&server, "shop/closed", "ro");
    assert_eq!(code(&path("reconcile")), 400);
    assert_eq!(code(&path("pull")), 403, "it would be replaced");
    grant(&server, "shop/closed", "none");
    assert_eq!(code(&path("reconcile")), 403);
    assert_eq!(code(&path("file")), 403);
    assert_eq!(names(), ["open"]);
    grant(&server, "shop/*", "ro");
    assert_eq!(code("/v1/services/shop/collections/fresh/pull"), 403);
    let ada = haversack_model::Principal {
        name: "ada".to_owned(),
        is_admin: false,
    };
    let access = server.server.access(&ada, "shop");
    assert_eq!(
        access.of_all_collections().rights,
        [],
        "of what has no collections for its users"
    );
}

#[test]
fn a_crash_between_a_collection_and_its_grants_leaves_none_to_the_next_one() {
    let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let (primary, mut server) = (start(&folders[0]), shop(&folders[1]));
    ask(
        &primary,
        "POST",
        "/_api/collection",
        json!({"name": "closed"}),
    );
    ask(
        &primary,
        "POST",
        "/_api/document/closed",
        json!({"_key": "k"}),
    );
    grant(&server, "shop", "ro");
    grant(&server, "shop/open", "none");
    grant(&server, "shop/closed", "rw");
    // Dropped, and no more than that: as it is when it dies right then.
    let store = server.server.services.store("shop").unwrap();
    let mut tx = store.begin_write(clock::now()).unwrap();
    let mut service = tx.service().unwrap();
    assert_eq!(service.collections.pop().unwrap().name, "closed");
    service.schema_version += 1;
    tx.store_service(&service).unwrap();
    tx.commit().unwrap();
    drop(store);
    server.stop();
    server = start(&folders[1]);
    let mut order = order(primary.address, json!({"database": "_system"}));
    order["restrictCollections"] = json!(["closed"]);
    let (status, told) = ask(&server, "PUT", "/_db/shop/_api/replication/sync", order);
    assert_eq!(status, 200, "{told}");
    assert_eq!(level(&server, "shop/closed"), "ro");
    assert_eq!(may(&server, "closed"), (true, false));
    assert_eq!(
        may(&server, "open"),
        (false, false),
        "what is there keeps its own"
    );
}
