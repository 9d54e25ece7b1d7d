//! First copies from a file that the primary prepared: what comes of good ones, and that no other is taken.

use std::path::{Path, PathBuf};

use haversack_model::conformance::documents::NOTES;
use haversack_model::{Error, Store as _};
use haversack_sync::reconcile::Method;
use rusqlite::Connection;

use super::ground::{NOW, bodies, body, contents, edit, file, put, sync};
use crate::common::Held;

const N: u64 = 3000;

/// A primary with documents and tombstones, and its prepared file.
fn prepared(folder: &Path) -> (Held, PathBuf) {
    let primary = file();
    put(&primary, 0, N, 0);
    edit(&primary, (0..20).map(|n| (format!("k{n}"), None)));
    edit(&primary, [("a/b %?#".to_owned(), Some(body(1, 1)))]);
    let path = folder.join("prepared #1?.sqlite");
    primary.store.prepare_collection(NOTES, &path, NOW).unwrap();
    (primary, path)
}

fn take(copy: &Held, path: &Path) -> Result<(), Error> {
    let mut copy = copy.store.secondary(NOTES, NOW)?;
    assert!(copy.is_new()?);
    copy.take_prepared(path).map(|_proof| ())
}

#[test]
fn a_copy_filled_from_a_prepared_file_is_proven_equal_in_one_round_trip() {
    let folder = tempfile::tempdir().unwrap();
    let (primary, path) = prepared(folder.path());
    let copy = file();
    take(&copy, &path).unwrap();
    assert_eq!(contents(&primary), contents(&copy));
    let report = sync(&primary, &copy);
    assert_eq!((report.method, report.rounds), (Method::Equal, 1));
    // The copy has a feed of its own, and can be copied further.
    let further = file();
    sync(&copy, &further);
    assert_eq!(bodies(&primary), bodies(&further));
}

#[test]
fn a_file_that_was_taken_over_leaves_every_index_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let (_primary, path) = prepared(folder.path());
    let copy = file();
    let indexes = || -> Vec<String> {
        let connection = Connection::open(copy.store.path()).unwrap();
        let mut statement = connection
            .prepare("SELECT sql FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL ORDER BY sql")
            .unwrap();
        let found = statement.query_map([], |row| row.get(0)).unwrap();
        found.map(|sql| sql.unwrap()).collect()
    };
    let before = indexes();
    let keys = "CREATE UNIQUE INDEX \"_notes_global_id\"";
    assert!(before.iter().any(|sql| sql.starts_with(keys)));
    take(&copy, &path).unwrap();
    assert_eq!(indexes(), before);
}

#[test]
fn what_the_primary_wrote_after_the_file_comes_with_the_next_question() {
    let folder = tempfile::tempdir().unwrap();
    let (primary, path) = prepared(folder.path());
    put(&primary, 100, 110, 7);
    edit(&primary, [("k200", None)]);
    let copy = file();
    take(&copy, &path).unwrap();
    let report = sync(&primary, &copy);
    assert_eq!((report.method, report.rounds), (Method::Changes, 1));
    assert_eq!((report.replaced, report.removed), (10, 1));
}

#[test]
fn a_copy_that_has_documents_is_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let (_primary, path) = prepared(folder.path());
    let copy = file();
    put(&copy, 0, 5, 3);
    let before = contents(&copy);
    let mut secondary = copy.store.secondary(NOTES, NOW).unwrap();
    assert!(!secondary.is_new().unwrap());
    let refused = secondary.take_prepared(&path);
    assert!(matches!(refused, Err(Error::Invalid { .. })), "{refused:?}");
    assert_eq!(contents(&copy), before);
}

#[test]
fn a_prepared_file_that_lies_is_refused_and_nothing_of_it_stays() {
    let lies: &[(&str, &str)] = &[
        (
            "a row less",
            "DELETE FROM documents WHERE rowid = (SELECT max(rowid) FROM documents)",
        ),
        (
            "a row more",
            "INSERT INTO documents VALUES ('foreign', 1, 1, '{}')",
        ),
        (
            "another key",
            "UPDATE documents SET key = 'foreign' WHERE rowid = 7",
        ),
        (
            "another generation",
            "UPDATE documents SET generation = generation - 1 WHERE rowid = 7",
        ),
        (
            "a generation that is none yet",
            "UPDATE documents SET generation = 1 << 40 WHERE rowid = 7",
        ),
        (
            "a document that is a tombstone",
            "UPDATE documents SET body = NULL WHERE rowid = 900",
        ),
        (
            "no JSON",
            "UPDATE documents SET body = '{' WHERE rowid = 900",
        ),
        (
            "bytes for a body",
            "UPDATE documents SET body = x'7b7d' WHERE rowid = 900",
        ),
        (
            "a key that is too long",
            "UPDATE documents SET key = printf('%.300c', 'k') WHERE rowid = 7",
        ),
        (
            "a gap",
            "UPDATE documents SET rowid = 1000000 WHERE rowid = 7",
        ),
        (
            "a negative place",
            "UPDATE documents SET rowid = -9223372036854775807 WHERE rowid = 7",
        ),
        (
            "a key twice",
            "UPDATE documents SET key = (SELECT key FROM documents WHERE rowid = 900) WHERE rowid = 901",
        ),
        ("a wrong count", "UPDATE about SET items = items + 1"),
        ("an impossible count", "UPDATE about SET items = -1"),
        ("a wrong sum", "UPDATE about SET low = low + 1"),
        (
            "another key of sums",
            "UPDATE about SET fp_key = randomblob(32)",
        ),
        (
            "a short key of sums",
            "UPDATE about SET fp_key = randomblob(31)",
        ),
        ("no such leaves", "UPDATE about SET bits = 99"),
        ("no history", "UPDATE about SET history = 'none'"),
        ("nothing of itself", "DELETE FROM about"),
        ("a view", "CREATE VIEW more AS SELECT 1"),
        (
            "a trigger",
            "CREATE TRIGGER more AFTER INSERT ON about BEGIN SELECT 1; END",
        ),
        ("an index", "CREATE INDEX more ON documents (key)"),
        (
            "a view for a table",
            "ALTER TABLE documents RENAME TO hidden; CREATE VIEW documents AS SELECT * FROM hidden",
        ),
        (
            "another table",
            "DROP TABLE documents; CREATE TABLE documents (key TEXT, generation, revision, body)",
        ),
        (
            "a log",
            "PRAGMA journal_mode = WAL; UPDATE about SET low = low + 1",
        ),
    ];
    let folder = tempfile::tempdir().unwrap();
    let (primary, path) = prepared(folder.path());
    let copy = file();
    for (at, (what, sql)) in lies.iter().enumerate() {
        let lie = folder.path().join(format!("lie-{at}.sqlite"));
        std::fs::copy(&path, &lie).unwrap();
        let connection = Connection::open(&lie).unwrap();
        connection.execute_batch(sql).unwrap();
        drop(connection);
        let refused = take(&copy, &lie);
        assert!(refused.is_err(), "{what} was taken");
        assert!(contents(&copy).is_empty(), "{what} left something");
    }
    for bytes in [0, 100, 4096, 10_000] {
        let cut = folder.path().join(format!("cut-{bytes}.sqlite"));
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&cut, &whole[..bytes]).unwrap();
        assert!(take(&copy, &cut).is_err(), "{bytes} bytes were taken");
    }
    // The copy is as good as new.
    take(&copy, &path).unwrap();
    assert_eq!(sync(&primary, &copy).method, Method::Equal);
}

#[test]
fn a_collection_that_shares_its_file_with_others_is_taken_beside_them() {
    let folder = tempfile::tempdir().unwrap();
    let (primary, path) = prepared(folder.path());
    let copy = file();
    // Documents were here before, and are tombstones no more.
    put(&copy, 0, 50, 9);
    edit(&copy, (0..50).map(|n| (format!("k{n}"), None)));
    let mut tx = copy.store.begin_write(NOW).unwrap();
    let head = tx.head().unwrap().generation;
    tx.prune_history(head).unwrap();
    tx.commit().unwrap();
    take(&copy, &path).unwrap();
    assert_eq!(sync(&primary, &copy).method, Method::Equal);
}
