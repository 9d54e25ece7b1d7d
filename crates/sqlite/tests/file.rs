//! The file of a service: making it, opening it again, and limits.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::time::Duration;

use common::Held;
use haversack_model::conformance::fixture::{self, PLACES, id, place, put_places, rows};
use haversack_model::documents::{DocumentStore, document};
use haversack_model::filter::{Comparison, Expr};
use haversack_model::store::Store;
use haversack_model::{Error, Filter, Query, Timestamp, Value};
use haversack_sqlite::SqliteStore;

#[test]
fn what_was_put_is_there_after_opening_again() {
    let held = Held::new(&fixture::service());
    let generation = put_places(&held, &[place(1, "oak"), place(2, "ash")]);
    let before = held.begin_read().unwrap().head().unwrap();
    let held = held.reopened();
    let tx = held.begin_read().unwrap();
    assert_eq!(tx.head().unwrap(), before);
    assert_eq!(before.generation, generation);
    let oak = tx.record(PLACES, &id(1)).unwrap().unwrap();
    assert!(oak.record.same_content(&place(1, "oak")));
    assert_eq!(tx.service().unwrap(), fixture::service());
}

#[test]
fn a_file_that_exists_is_not_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.gpkg");
    std::fs::write(&path, "notes").unwrap();
    let error = SqliteStore::create(&path, &fixture::service()).unwrap_err();
    assert!(error.to_string().ends_with("the file exists"), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "notes");
}

#[test]
fn a_service_that_cannot_be_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bad.gpkg");
    let mut service = fixture::service();
    service.collections[1].table = "gpkg_contents".into();
    let error = SqliteStore::create(&path, &service).unwrap_err();
    assert!(matches!(error, Error::Invalid { .. }), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_file_of_something_else_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.gpkg");
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("CREATE TABLE t (a)").unwrap();
    drop(other);
    let error = SqliteStore::open(&path).unwrap_err();
    assert!(
        error.to_string().contains("not the file of a service"),
        "{error}"
    );
    std::fs::write(
        &path,
        "no database at all, only some text that is long enough",
    )
    .unwrap();
    assert!(SqliteStore::open(&path).is_err());
    assert!(SqliteStore::open(folder.path().join("missing.gpkg")).is_err());
}

#[test]
fn a_file_of_a_newer_program_is_refused() {
    let held = Held::new(&fixture::service());
    let plain = rusqlite::Connection::open(&held.path).unwrap();
    plain
        .execute("INSERT INTO haversack_format VALUES (99)", [])
        .unwrap();
    let error = SqliteStore::open(&held.path).unwrap_err();
    assert!(error.to_string().contains("newer"), "{error}");
}

#[test]
fn a_query_that_takes_too_long_is_stopped() {
    let held = Held::new(&fixture::service());
    let places: Vec<_> = (1..=2_000).map(|n| place(n, "a")).collect();
    put_places(&held, &places);
    held.store.set_query_limit(Duration::from_millis(20));
    let slow = Filter::Not(Box::new(Filter::In {
        expr: Expr::Field("count".into()),
        list: (0..10_000)
            .map(|n| Expr::Binary {
                left: Box::new(Expr::Field("count".into())),
                op: haversack_model::filter::Arithmetic::Add,
                right: Box::new(Expr::Literal(Value::Integer(n + 1))),
            })
            .collect(),
    }));
    let tx = held.begin_read().unwrap();
    let error = rows(&*tx, &Query::records(PLACES, slow)).unwrap_err();
    assert!(matches!(error, Error::Timeout(20)), "{error}");
    // The connection is good for the next question.
    let quick = Filter::Compare {
        left: Expr::Field("count".into()),
        op: Comparison::Equal,
        right: Expr::Literal(Value::Integer(7)),
    };
    assert_eq!(rows(&*tx, &Query::records(PLACES, quick)).unwrap().len(), 1);
}

#[test]
fn a_slow_reader_of_the_answer_is_not_a_slow_query() {
    let held = Held::new(&fixture::service());
    put_places(&held, &[place(1, "a"), place(2, "b")]);
    let limit = Duration::from_millis(50);
    held.store.set_query_limit(limit);
    let tx = held.begin_read().unwrap();
    let mut seen = 0;
    tx.query(&Query::records(PLACES, Filter::All), &mut |_| {
        let began = std::time::Instant::now();
        while began.elapsed() < limit * 2 {
            std::hint::spin_loop();
        }
        seen += 1;
        Ok(std::ops::ControlFlow::Continue(()))
    })
    .unwrap();
    assert_eq!(seen, 2);
}

#[test]
fn a_spatial_index_that_a_program_removed_is_there_again() {
    let held = Held::new(&fixture::service());
    put_places(&held, &[place(1, "a"), place(2, "b")]);
    let path = held.path.clone();
    let keep = held.closed();
    let plain = rusqlite::Connection::open(&path).unwrap();
    let triggers: Vec<String> = plain
        .prepare(
            "SELECT name FROM sqlite_schema WHERE type = 'trigger' AND name LIKE 'rtree_places%'",
        )
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(triggers.len(), 6);
    for name in triggers {
        plain
            .execute_batch(&format!("DROP TRIGGER {name}"))
            .unwrap();
    }
    plain.execute_batch("DROP TABLE rtree_places_geom").unwrap();
    drop(plain);
    let store = SqliteStore::open(&path).unwrap();
    put_places(&store, &[place(3, "c")]);
    let near = Filter::Spatial {
        relation: haversack_model::filter::SpatialRelation::Intersects,
        geometry: fixture::point(2.0, 2.0),
    };
    assert_eq!(fixture::matching(&store, near), [2]);
    common::check(&path);
    drop(keep);
}

#[test]
fn a_filter_beyond_the_limits_is_bad_input() {
    let held = Held::new(&fixture::service());
    put_places(&held, &[place(1, "a")]);
    let huge = Filter::In {
        expr: Expr::Field("count".into()),
        list: vec![Expr::Negate(Box::new(Expr::Literal(Value::Integer(1)))); 40_000],
    };
    let tx = held.begin_read().unwrap();
    let error = rows(&*tx, &Query::records(PLACES, huge)).unwrap_err();
    assert!(matches!(error, Error::Invalid { .. }), "{error}");
}

#[test]
fn an_export_sees_one_snapshot_and_writes_its_target() {
    let held = Held::new(&fixture::service());
    put_places(&held, &[place(1, "a"), place(2, "b")]);
    let target = held.path.with_file_name("target.gpkg");
    let snapshot = held.store.snapshot_into(&target).unwrap();
    put_places(&held, &[place(3, "c")]);
    snapshot
        .connection()
        .execute_batch(
            "CREATE TABLE target.copy AS SELECT t.GlobalID, k.revision FROM places t \
             JOIN haversack_track k ON k.collection = 0 AND k.object_id = t.OBJECTID",
        )
        .unwrap();
    assert_eq!(snapshot.head().generation.0, 2);
    snapshot.finish().unwrap();
    let copied: i64 = rusqlite::Connection::open(&target)
        .unwrap()
        .query_row("SELECT count(*) FROM copy", [], |row| row.get(0))
        .unwrap();
    assert_eq!(copied, 2);
}

#[test]
fn a_file_of_the_first_format_is_brought_to_the_present_one() {
    let held = Held::new(&fixture::service());
    put_places(&held, &[place(1, "a")]);
    let (path, folder) = (held.path.clone(), held.closed());
    let plain = rusqlite::Connection::open(&path).unwrap();
    let later: Vec<String> = plain
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name LIKE 'haversack~_%' ESCAPE '~'")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    let first = include_str!("../src/service/migrations/0001_books.sql");
    plain
        .execute_batch(
            "DROP TRIGGER haversack_note_insert; DROP TRIGGER haversack_note_update; \
             DROP TRIGGER haversack_note_delete",
        )
        .unwrap();
    for table in later {
        let is_first = first.contains(&format!("CREATE TABLE {table} ("));
        if !is_first && table != "haversack_format" && !table.starts_with("haversack_history_") {
            plain.execute_batch(&format!("DROP TABLE {table}")).unwrap();
        }
    }
    plain
        .execute_batch(
            "DROP INDEX haversack_track_up; ALTER TABLE haversack_track DROP COLUMN up_generation; \
             DELETE FROM haversack_format WHERE version > 1",
        )
        .unwrap();
    drop(plain);
    let store = SqliteStore::open(&path).unwrap();
    let mut tx = store.write_documents(Timestamp(9)).unwrap();
    let mut wanted = tx.service().unwrap();
    let notes = wanted.new_documents("notes", false).unwrap();
    wanted.collections.push(notes.clone());
    tx.store_service(&wanted).unwrap();
    tx.put(notes.id, &document("a", "{}"), None).unwrap();
    tx.commit().unwrap();
    let tx = store.begin_read().unwrap();
    assert!(tx.record(PLACES, &id(1)).unwrap().is_some());
    drop(tx);
    drop((store, folder));
}
