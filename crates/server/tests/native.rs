//! The native protocol end to end: two replica files, a real listener, edits by plain SQL.

#![allow(clippy::unwrap_used, reason = "a test ends there")]

mod support;

use haversack_model::{Error, Value};
use haversack_server::native::remote::Credentials;
use support::{
    POINTS, any_record, checkout, client, edit_with_sql, editor, is_equal, layer, remote, request,
    row, start, stored, sync,
};

#[test]
fn what_a_sync_sends_it_does_not_count_as_fetched() {
    let dir = tempfile::tempdir().unwrap();
    let handle = start(&dir);
    let mut remote = remote(&handle);
    let (one, two) = (dir.path().join("one.gpkg"), dir.path().join("two.gpkg"));
    let mut first = checkout(&remote, "one", &one);
    let mut second = checkout(&remote, "two", &two);
    edit_with_sql(&one, "DELETE FROM inspections WHERE OBJECTID = 1");
    edit_with_sql(&one, "UPDATE inspections SET score = 3 WHERE OBJECTID = 2");
    edit_with_sql(&one, "INSERT INTO inspections (name) VALUES ('new')");
    let summary = sync(&mut first, &mut remote).unwrap();
    assert_eq!(
        (summary.applied, summary.put, summary.removed),
        (3, 0, 0),
        "{summary:?}"
    );
    let summary = sync(&mut second, &mut remote).unwrap();
    assert_eq!((summary.put, summary.removed), (2, 1), "{summary:?}");
    // Both remove the same: the second has removed it itself, too, and what others did beside it counts.
    for file in [&one, &two] {
        edit_with_sql(file, "DELETE FROM inspections WHERE OBJECTID = 3");
    }
    edit_with_sql(&one, "UPDATE inspections SET score = 4 WHERE OBJECTID = 4");
    sync(&mut first, &mut remote).unwrap();
    let summary = sync(&mut second, &mut remote).unwrap();
    assert_eq!((summary.put, summary.removed), (1, 0), "{summary:?}");
    assert!(is_equal(&first, &remote) && is_equal(&second, &remote));
}

#[test]
fn two_replicas_edit_apart_and_meet() {
    let dir = tempfile::tempdir().unwrap();
    let handle = start(&dir);
    let mut remote = remote(&handle);
    let (one, two) = (dir.path().join("one.gpkg"), dir.path().join("two.gpkg"));
    let mut first = checkout(&remote, "one", &one);
    let mut second = checkout(&remote, "two", &two);
    assert!(is_equal(&first, &remote) && is_equal(&second, &remote));

    let point = any_record(&handle, POINTS);
    let id = point.global_id.clone();
    let braced = id.braced();
    let table = first.table(POINTS).unwrap().to_owned();
    // Different fields merge; the same field is a conflict.
    edit_with_sql(
        &one,
        &format!(
            "UPDATE {table} SET personnel = 77, remarks = 'from one' WHERE GlobalID = '{braced}'"
        ),
    );
    edit_with_sql(
        &two,
        &format!(
            "UPDATE {table} SET acres = 12.5, remarks = 'from two' WHERE GlobalID = '{braced}'"
        ),
    );
    let summary = sync(&mut first, &mut remote).unwrap();
    assert_eq!((summary.applied, summary.conflicts), (1, 0), "{summary:?}");
    let summary = sync(&mut second, &mut remote).unwrap();
    assert_eq!(summary.conflicts, 1, "{summary:?}");
    sync(&mut first, &mut remote).unwrap();
    let merged = row(&mut first, POINTS, &id).unwrap();
    let field = |name: &str| {
        let at = first.collections()[0].field_index(name).unwrap();
        merged.values[at].clone()
    };
    assert_eq!(field("personnel"), Value::Integer(77));
    assert_eq!(field("acres"), Value::Real(12.5));
    assert_eq!(field("remarks"), Value::from("from one"));
    assert!(is_equal(&first, &remote) && is_equal(&second, &remote));
    let kept = remote.client().conflicts("WildfireSync", false).unwrap();
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0].fields, ["remarks"]);

    let decision = haversack_server::native::wire::Decision {
        keep: "mine".to_owned(),
        record: None,
    };
    let closed = remote
        .client()
        .resolve("WildfireSync", kept[0].id, &decision);
    assert!(closed.unwrap().resolution.is_some());
    sync(&mut first, &mut remote).unwrap();
    assert_eq!(
        stored(&handle, POINTS, &id),
        row(&mut first, POINTS, &id).map(|mut r| {
            r.object_id = stored(&handle, POINTS, &id).and_then(|s| s.object_id);
            r
        })
    );
    assert!(
        remote
            .client()
            .conflicts("WildfireSync", false)
            .unwrap()
            .is_empty()
    );
}

#[test]
fn rows_made_and_deleted_by_plain_sql_reach_the_other_replica() {
    let dir = tempfile::tempdir().unwrap();
    let handle = start(&dir);
    let mut remote = remote(&handle);
    let (one, two) = (dir.path().join("one.gpkg"), dir.path().join("two.gpkg"));
    let mut first = checkout(&remote, "one", &one);
    let mut second = checkout(&remote, "two", &two);
    edit_with_sql(
        &one,
        "INSERT INTO inspections (name, score) VALUES ('new here', 5)",
    );
    edit_with_sql(
        &one,
        "DELETE FROM inspections WHERE OBJECTID = (SELECT min(OBJECTID) FROM inspections)",
    );
    let summary = sync(&mut first, &mut remote).unwrap();
    assert_eq!(summary.applied, 2, "{summary:?}");
    sync(&mut second, &mut remote).unwrap();
    assert!(is_equal(&first, &remote) && is_equal(&second, &remote));
    let count: i64 = rusqlite::Connection::open(&two)
        .unwrap()
        .query_row(
            "SELECT count(*) FROM inspections WHERE name = 'new here'",
            [],
            |r| r.get(0),
        )
        .unwrap();
    assert_eq!(count, 1);
}

#[test]
fn a_filtered_replica_holds_what_its_condition_says() {
    let dir = tempfile::tempdir().unwrap();
    let handle = start(&dir);
    let remote = remote(&handle);
    let path = dir.path().join("some.gpkg");
    let mut request = request("some", "");
    request.attachments = false;
    request.layers = vec![layer(0, Some("status = 'active' AND severity >= 3"))];
    let id = remote
        .client()
        .checkout("WildfireSync", &request, &path, &mut |_, _, _| {})
        .unwrap();
    let file = haversack_sqlite::replica::ReplicaFile::open(&path).unwrap();
    assert_eq!(file.header().unwrap().id, id);
    assert!(is_equal(&file, &remote));
    let digests = remote.client().digests("WildfireSync", id).unwrap();
    assert_eq!(digests.collections.len(), 1);
    let count = digests.collections[0].digest.count;
    assert!(count > 20 && count < 200, "{count}");
    let mut bad = request.clone();
    bad.layers = vec![layer(
        0,
        Some("status = 'active'; DROP TABLE response_points"),
    )];
    let elsewhere = dir.path().join("bad.gpkg");
    let refused = remote
        .client()
        .checkout("WildfireSync", &bad, &elsewhere, &mut |_, _, _| {});
    assert!(
        matches!(refused, Err(Error::Refused { code: 400, .. })),
        "{refused:?}"
    );
}

#[test]
fn a_replica_is_its_owners_and_nobody_learns_whether_another_exists() {
    let dir = tempfile::tempdir().unwrap();
    let handle = start(&dir);
    let accounts = &handle.server.accounts;
    accounts
        .add("bob", "builder1", false, haversack_server::clock::now())
        .unwrap();
    let remote = remote(&handle);
    let file = checkout(&remote, "mine", &dir.path().join("mine.gpkg"));
    let id = file.header().unwrap().id;
    let bob = client(
        &handle,
        Credentials::Basic {
            user: "bob".to_owned(),
            password: "builder1".to_owned(),
        },
    );
    let foreign = bob.digests("WildfireSync", id).unwrap_err();
    let unknown = bob
        .digests("WildfireSync", haversack_model::ReplicaId(id.0))
        .unwrap_err();
    assert!(matches!(foreign, Error::NoReplica(_)), "{foreign:?}");
    assert_eq!(foreign.to_string(), unknown.to_string());
    assert!(bob.replicas("WildfireSync").unwrap().is_empty());
    assert_eq!(
        client(&handle, editor())
            .replicas("WildfireSync")
            .unwrap()
            .len(),
        1
    );
    let refused = bob.service("Nothing").unwrap_err();
    assert!(matches!(refused, Error::Refused { code: 404, .. }));
    let anonymous = client(&handle, Credentials::Anonymous);
    assert!(
        anonymous.replicas("Ports").is_err(),
        "the right to sync is not granted there"
    );
    assert_eq!(anonymous.services().unwrap().len(), 2);
}

#[test]
fn a_cloned_file_gets_an_identity_of_its_own_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let handle = start(&dir);
    let mut remote = remote(&handle);
    let one = dir.path().join("one.gpkg");
    let mut first = checkout(&remote, "one", &one);
    drop(std::mem::replace(&mut first, {
        let copy = dir.path().join("copy.gpkg");
        std::fs::copy(&one, &copy).unwrap();
        haversack_sqlite::replica::ReplicaFile::open(&copy).unwrap()
    }));
    let mut copy = first;
    let mut first = haversack_sqlite::replica::ReplicaFile::open(&one).unwrap();
    edit_with_sql(&one, "UPDATE inspections SET score = 1 WHERE OBJECTID = 1");
    edit_with_sql(
        &dir.path().join("copy.gpkg"),
        "UPDATE inspections SET score = 2 WHERE OBJECTID = 2",
    );
    sync(&mut first, &mut remote).unwrap();
    sync(&mut copy, &mut remote).unwrap();
    sync(&mut first, &mut remote).unwrap();
    assert_ne!(first.header().unwrap().id, copy.header().unwrap().id);
    assert!(is_equal(&first, &remote) && is_equal(&copy, &remote));
}

#[test]
fn after_a_stop_the_files_are_whole_and_replicas_go_on_with_the_next_server() {
    let dir = tempfile::tempdir().unwrap();
    let handle = start(&dir);
    let one = dir.path().join("one.gpkg");
    let mut file = checkout(&remote(&handle), "one", &one);
    handle.stop();
    for entry in std::fs::read_dir(dir.path().join("data/services")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(!name.ends_with("-wal"), "{name}");
    }
    let handle = start(&dir);
    let mut remote = remote(&handle);
    edit_with_sql(&one, "UPDATE inspections SET score = 99 WHERE OBJECTID = 1");
    assert_eq!(sync(&mut file, &mut remote).unwrap().applied, 1);
    assert!(is_equal(&file, &remote));
}

/// A user with a grant on the points of one status.
fn bob(handle: &haversack_server::Handle, rows: &str) -> Credentials {
    use haversack_server::grants::{Grant, parse_rights};
    let accounts = &handle.server.accounts;
    if !accounts.exists("bob").unwrap() {
        let now = haversack_server::clock::now();
        accounts.add("bob", "builder1", false, now).unwrap();
    }
    let grant = Grant {
        principal: "bob".to_owned(),
        service: "WildfireSync".to_owned(),
        rights: parse_rights("edit,sync").unwrap(),
        filters: vec![(POINTS, rows.to_owned())],
    };
    handle.server.grant(&grant).unwrap();
    Credentials::Basic {
        user: "bob".to_owned(),
        password: "builder1".to_owned(),
    }
}

#[test]
fn a_row_filter_of_a_grant_bounds_the_replica_and_a_narrower_one_takes_rows_away() {
    let dir = tempfile::tempdir().unwrap();
    let handle = start(&dir);
    let wide = bob(&handle, "severity >= 3");
    let mut remote =
        haversack_server::native::NativeRemote::new(client(&handle, wide), "WildfireSync");
    let path = dir.path().join("bob.gpkg");
    let mut file = checkout(&remote, "bob", &path);
    let table = file.table(POINTS).unwrap().to_owned();
    let count = |condition: &str| -> i64 {
        let connection = rusqlite::Connection::open(&path).unwrap();
        let sql = format!("SELECT count(*) FROM {table} WHERE {condition}");
        connection.query_row(&sql, [], |row| row.get(0)).unwrap()
    };
    assert_eq!(count("severity < 3"), 0);
    let before = count("severity = 3");
    assert!(before > 10, "{before}");
    bob(&handle, "severity >= 4");
    sync(&mut file, &mut remote).unwrap();
    assert_eq!(
        count("severity = 3"),
        0,
        "what may not be read any more is gone"
    );
    assert!(count("severity >= 4") > 10);
    assert!(is_equal(&file, &remote));
    // A row may not be moved out of the part that its editor may see.
    edit_with_sql(
        &path,
        &format!(
            "UPDATE {table} SET severity = 1 WHERE OBJECTID = (SELECT min(OBJECTID) FROM {table})"
        ),
    );
    let summary = sync(&mut file, &mut remote).unwrap();
    assert_eq!(
        (summary.applied, summary.rejected.len()),
        (0, 1),
        "{summary:?}"
    );
}
