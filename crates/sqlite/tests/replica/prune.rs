//! What a replica file forgets after a sync, and what it must not.

use haversack_model::local::{LocalReplica as _, RowVersion};
use haversack_model::schema::attachment_field;
use haversack_model::{BlobHash, Collection, Generation, Record, Revision, Value};
use haversack_sqlite::replica::{Options, Pruned, ReplicaFile};
use rusqlite::Connection;

use crate::support::{Fixture, gid, header, parks};

fn count(fixture: &Fixture, table: &str) -> i64 {
    Connection::open(&fixture.path)
        .unwrap()
        .query_row(&format!("SELECT count(*) FROM {table}"), [], |row| {
            row.get(0)
        })
        .unwrap()
}

fn set_cursor(file: &mut ReplicaFile, generation: u64, resyncing: bool) {
    let mut tx = file.begin().unwrap();
    let mut header = tx.header().unwrap();
    header.cursor.generation = Generation(generation);
    header.resyncing = resyncing;
    tx.store_header(&header).unwrap();
    tx.commit().unwrap();
}

#[test]
fn receipts_go_when_they_are_both_old_and_many() {
    let fixture = Fixture::new(1);
    let mut file = fixture.open();
    Connection::open(&fixture.path)
        .unwrap()
        .execute_batch(
            "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 20010) \
             INSERT INTO haversack_receipts (generation, collection, global_id, outcome, edit, receipt) \
             SELECT n, 0, 'x', 'applied', '{}', '{}' FROM n",
        )
        .unwrap();
    // A day of much work on a quiet service: a backup of yesterday may be put back.
    set_cursor(&mut file, 30_000, false);
    assert_eq!(file.prune().unwrap(), Pruned::default());
    // A busy service and little work here: the same.
    set_cursor(&mut file, 1_000_006, false);
    assert_eq!(file.prune().unwrap().receipts, 5);
    set_cursor(&mut file, 9_000_000, true);
    assert_eq!(file.prune().unwrap(), Pruned::default(), "in a comparison");
    set_cursor(&mut file, 9_000_000, false);
    assert_eq!(file.prune().unwrap().receipts, 5);
    assert_eq!(count(&fixture, "haversack_receipts"), 20_000);
    let oldest = file.begin().unwrap().receipts_above(Generation(10));
    assert!(
        oldest.is_err(),
        "the made-up edits cannot be read, but are there"
    );
}

/// A file with attachments, each of other content.
fn with_attachments(names: &[&str]) -> (Fixture, Collection) {
    let fixture = Fixture::new(0);
    std::fs::remove_file(&fixture.path).unwrap();
    let mut layer = parks();
    layer.has_attachments = true;
    let hidden = layer.attachments();
    let collections = [layer, hidden.clone()];
    let mut file =
        ReplicaFile::create(&fixture.path, &collections, &header(), Options::default()).unwrap();
    let mut tx = file.begin().unwrap();
    for (n, name) in (1..).zip(names) {
        let hash = hash_of(name);
        let mut values = vec![Value::Null; hidden.fields.len()];
        values[attachment_field::PARENT] = gid(99).braced().into();
        values[attachment_field::SHA256] = hash.to_string().into();
        let record = Record {
            global_id: gid(n),
            object_id: None,
            values,
            geometry: None,
        };
        let version = RowVersion {
            revision: Revision(1),
            generation: Generation(1),
        };
        tx.put_row(hidden.id, &record).unwrap();
        tx.store_version(hidden.id, &gid(n), Some(version)).unwrap();
        tx.store_blob(hash, name.as_bytes()).unwrap();
    }
    tx.commit().unwrap();
    (fixture, hidden)
}

/// Any number that is told apart from others will do for a hash here.
fn hash_of(name: &str) -> BlobHash {
    let mut hash = [7; 32];
    hash[..name.len()].copy_from_slice(name.as_bytes());
    BlobHash(hash)
}

fn kept(fixture: &Fixture, names: &[&str]) -> Vec<bool> {
    let mut file = fixture.open();
    let tx = file.begin().unwrap();
    let is_kept = |name: &&str| tx.blob(hash_of(name)).unwrap().is_some();
    names.iter().map(is_kept).collect()
}

#[test]
fn content_goes_when_nothing_names_it() {
    let names = ["stays", "gone", "unsent", "receipt", "batch", "conflict"];
    let (fixture, hidden) = with_attachments(&names);
    let mut file = fixture.open();
    assert_eq!(file.prune().unwrap(), Pruned::default(), "all are named");
    // Deleted here and not told yet: the base names it.
    fixture.plain_sql("DELETE FROM City_parks_attachments WHERE rowid = 3");
    let mut tx = file.begin().unwrap();
    for n in [2, 4, 5, 6] {
        tx.remove_row(hidden.id, &gid(n)).unwrap();
        tx.store_version(hidden.id, &gid(n), None).unwrap();
    }
    tx.commit().unwrap();
    let says = |name: &str| format!("{{\"sha256\": \"{}\"}}", hash_of(name));
    let conn = Connection::open(&fixture.path).unwrap();
    conn.execute(
        "INSERT INTO haversack_receipts (generation, collection, global_id, outcome, edit, receipt) VALUES (9, ?1, 'x', 'applied', ?2, '{}')",
        (hidden.id.0, says("receipt")),
    )
    .unwrap();
    conn.execute(
        "INSERT INTO haversack_batches (number, history, generation, edits) VALUES (1, 'x', 9, ?1)",
        [says("batch")],
    )
    .unwrap();
    conn.execute(
        "INSERT INTO haversack_conflicts VALUES ('x', ?1, 'x', 1, 'x', 'x', 'x', 'x', NULL, ?2)",
        (hidden.id.0, says("conflict")),
    )
    .unwrap();
    set_cursor(&mut file, 100, true);
    assert_eq!(file.prune().unwrap(), Pruned::default(), "in a comparison");
    set_cursor(&mut file, 100, false);
    let gone = Pruned {
        receipts: 0,
        blobs: 1,
    };
    assert_eq!(file.prune().unwrap(), gone);
    let expected = [true, false, true, true, true, true];
    assert_eq!(kept(&fixture, &names), expected);
}

#[test]
fn nothing_goes_from_a_file_that_must_be_repaired() {
    let names = ["stays"];
    let (fixture, _) = with_attachments(&names);
    fixture.plain_sql("DROP TABLE City_parks_attachments");
    let mut file = fixture.open();
    assert!(!file.problems().unwrap().is_empty());
    assert_eq!(file.prune().unwrap(), Pruned::default());
    assert_eq!(count(&fixture, "haversack_blobs"), 1);
}
