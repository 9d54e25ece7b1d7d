//! Edits that other programs make in a server's file with plain SQL are tracked like any other.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::Held;
use haversack_model::conformance::fixture::{
    self, PLACES, changes, id, matching, place, put_places, seen,
};
use haversack_model::store::Store;
use haversack_model::{Filter, Generation, GlobalId, Timestamp, Value};
use rusqlite::Connection;

/// A connection as another program has it: spatial functions of its own, no others.
fn stranger(held: &Held) -> Connection {
    let connection = Connection::open(&held.path).unwrap();
    haversack_sqlite::gpkg::functions::register(&connection).unwrap();
    connection
}

fn held() -> (Held, Generation) {
    let held = Held::new(&fixture::service());
    let since = put_places(&held, &[place(1, "oak"), place(2, "ash"), place(3, "elm")]);
    (held, since)
}

fn check(held: &Held) {
    common::check(&held.path);
}

#[test]
fn an_update_in_plain_sql_is_a_change_with_history() {
    let (file, since) = held();
    let before = file.begin_read().unwrap().head().unwrap();
    // Not even the spatial functions: attribute updates need none.
    Connection::open(&file.path)
        .unwrap()
        .execute("UPDATE places SET name = 'yew' WHERE name = 'ash'", [])
        .unwrap();
    let tx = file.begin_read().unwrap();
    let after = tx.head().unwrap();
    assert_eq!(after.generation.0, since.0 + 1);
    assert!(after.stamp > before.stamp && after.revision > before.revision);
    let found = changes(&*tx, since, &Filter::All, &Filter::All).unwrap();
    assert_eq!(seen(&found), [(2, true, true, true)]);
    assert_eq!(found[0].track.revision, after.revision);
    assert_eq!(found[0].track.stamp, after.stamp);
    let then = tx.record_as_of(PLACES, &id(2), since).unwrap().unwrap();
    assert!(then.record.same_content(&place(2, "ash")));
    check(&file);
}

#[test]
fn an_update_that_changes_nothing_takes_nothing() {
    let (file, since) = held();
    Connection::open(&file.path)
        .unwrap()
        .execute("UPDATE places SET name = name, count = count", [])
        .unwrap();
    assert_eq!(file.begin_read().unwrap().head().unwrap().generation, since);
}

#[test]
fn a_row_without_a_global_id_gets_one() {
    let (file, since) = held();
    let plain = stranger(&file);
    plain
        .execute_batch(
            "INSERT INTO places (name, geom) SELECT 'new', geom FROM places WHERE OBJECTID = 1; \
             INSERT INTO places (name, GlobalID, geom) SELECT 'given', \
             '0000000a-0000-4000-8000-00000000000B', geom FROM places WHERE OBJECTID = 1; \
             INSERT INTO places (name, GlobalID, geom) SELECT 'odd', 'no id', geom \
             FROM places WHERE OBJECTID = 1;",
        )
        .unwrap();
    let tx = file.begin_read().unwrap();
    let found = changes(&*tx, since, &Filter::All, &Filter::All).unwrap();
    let names: Vec<&Value> = found
        .iter()
        .map(|c| &c.record.as_ref().unwrap().values[0])
        .collect();
    assert_eq!(names, [&"new".into(), &"given".into(), &"odd".into()]);
    assert_eq!(
        found[1].global_id,
        GlobalId::parse_uuid("0000000A-0000-4000-8000-00000000000B").unwrap()
    );
    for change in [&found[0], &found[2]] {
        let GlobalId::Uuid(uuid) = &change.global_id else {
            panic!("not a UUID");
        };
        assert_eq!(uuid.get_version_num(), 4, "{uuid}");
    }
    assert_ne!(found[0].global_id, found[2].global_id);
    check(&file);
}

#[test]
fn a_deletion_leaves_a_tombstone() {
    let (file, since) = held();
    Connection::open(&file.path)
        .unwrap()
        .execute("DELETE FROM places WHERE OBJECTID <> 2", [])
        .unwrap();
    let tx = file.begin_read().unwrap();
    let found = changes(&*tx, since, &Filter::All, &Filter::All).unwrap();
    assert_eq!(
        seen(&found),
        [(1, false, false, true), (3, false, false, true)]
    );
    assert_eq!(matching(&file, Filter::All), [2]);
    check(&file);
}

#[test]
fn an_upsert_of_a_row_keeps_its_identity() {
    for recursive in ["ON", "OFF"] {
        let (file, since) = held();
        let plain = stranger(&file);
        plain
            .execute_batch(&format!(
                "PRAGMA recursive_triggers = {recursive}; \
                 INSERT OR REPLACE INTO places (OBJECTID, name, geom) \
                 SELECT 2, 'upserted', geom FROM places WHERE OBJECTID = 1"
            ))
            .unwrap();
        let tx = file.begin_read().unwrap();
        let found = changes(&*tx, since, &Filter::All, &Filter::All).unwrap();
        assert_eq!(
            seen(&found),
            [(2, true, true, true)],
            "recursive {recursive}"
        );
        let then = tx.record_as_of(PLACES, &id(2), since).unwrap().unwrap();
        assert!(then.record.same_content(&place(2, "ash")));
        check(&file);
    }
}

#[test]
fn a_replaced_row_of_the_same_identity_is_an_update() {
    for recursive in ["ON", "OFF"] {
        let (file, since) = held();
        stranger(&file)
            .execute_batch(&format!(
                "PRAGMA recursive_triggers = {recursive}; \
                 INSERT OR REPLACE INTO places (GlobalID, name, geom) \
                 SELECT GlobalID, 'again', geom FROM places WHERE OBJECTID = 2"
            ))
            .unwrap();
        let tx = file.begin_read().unwrap();
        let found = changes(&*tx, since, &Filter::All, &Filter::All).unwrap();
        assert_eq!(
            seen(&found),
            [(2, true, true, true)],
            "recursive {recursive}"
        );
        assert_eq!(found[0].record.as_ref().unwrap().values[0], "again".into());
        check(&file);
    }
}

#[test]
fn a_row_in_the_place_of_another_record_deletes_that_one() {
    for recursive in ["ON", "OFF"] {
        let (file, since) = held();
        stranger(&file)
            .execute_batch(&format!(
                "PRAGMA recursive_triggers = {recursive}; \
                 INSERT OR REPLACE INTO places (OBJECTID, GlobalID, name, geom) \
                 SELECT 2, '{{00000000-0000-0000-0000-000000000009}}', 'other', geom \
                 FROM places WHERE OBJECTID = 1"
            ))
            .unwrap();
        let tx = file.begin_read().unwrap();
        let found = changes(&*tx, since, &Filter::All, &Filter::All).unwrap();
        assert_eq!(
            seen(&found),
            [(2, false, false, true), (9, true, true, false)],
            "recursive {recursive}"
        );
        drop(tx);
        check(&file);
        // The displaced record can come back.
        put_places(&file, &[place(2, "back")]);
        check(&file);
    }
}

#[test]
fn an_ignored_insert_changes_nothing() {
    let (file, since) = held();
    stranger(&file)
        .execute_batch(
            "INSERT OR IGNORE INTO places (OBJECTID, name, geom) \
             SELECT 2, 'ignored', geom FROM places WHERE OBJECTID = 1",
        )
        .unwrap();
    assert_eq!(file.begin_read().unwrap().head().unwrap().generation, since);
    assert_eq!(matching(&file, Filter::All), [1, 2, 3]);
    // What was kept aside does no harm to the next edit.
    put_places(&file, &[place(2, "later")]);
    stranger(&file)
        .execute_batch("UPDATE places SET name = 'x' WHERE OBJECTID = 2")
        .unwrap();
    let tx = file.begin_read().unwrap();
    let then = tx.record_as_of(PLACES, &id(2), since).unwrap().unwrap();
    assert!(then.record.same_content(&place(2, "ash")));
}

#[test]
fn a_deleted_row_put_back_under_its_old_key_is_the_same_record() {
    let (file, since) = held();
    stranger(&file)
        .execute_batch(
            "CREATE TEMP TABLE cut AS SELECT * FROM places WHERE OBJECTID = 2; \
             DELETE FROM places WHERE OBJECTID = 2; \
             INSERT INTO places (OBJECTID, name, geom) SELECT OBJECTID, name, geom FROM cut",
        )
        .unwrap();
    let tx = file.begin_read().unwrap();
    let found = changes(&*tx, since, &Filter::All, &Filter::All).unwrap();
    assert_eq!(seen(&found), [(2, true, true, true)]);
    check(&file);
}

#[test]
fn an_edited_global_id_is_set_back() {
    let (file, since) = held();
    Connection::open(&file.path)
        .unwrap()
        .execute_batch(
            "UPDATE places SET GlobalID = NULL WHERE OBJECTID = 1; \
             UPDATE places SET GlobalID = '{0000000A-0000-4000-8000-00000000000B}', name = 'x' \
             WHERE OBJECTID = 2",
        )
        .unwrap();
    let tx = file.begin_read().unwrap();
    let found = changes(&*tx, since, &Filter::All, &Filter::All).unwrap();
    assert_eq!(seen(&found), [(2, true, true, true)]);
    assert_eq!(matching(&file, Filter::All), [1, 2, 3]);
    check(&file);
}

#[test]
fn a_moved_key_keeps_the_record() {
    let (file, since) = held();
    stranger(&file)
        .execute("UPDATE places SET OBJECTID = 77 WHERE OBJECTID = 2", [])
        .unwrap();
    let tx = file.begin_read().unwrap();
    let found = changes(&*tx, since, &Filter::All, &Filter::All).unwrap();
    assert_eq!(seen(&found), [(2, true, true, true)]);
    assert_eq!(found[0].record.as_ref().unwrap().object_id.unwrap().0, 77);
    check(&file);
}

#[test]
fn an_edit_that_is_rolled_back_was_never_there() {
    let (file, since) = held();
    let mut plain = stranger(&file);
    let tx = plain.transaction().unwrap();
    tx.execute_batch("DELETE FROM places; UPDATE haversack_counter SET stamp = 9e15")
        .unwrap();
    tx.rollback().unwrap();
    assert_eq!(file.begin_read().unwrap().head().unwrap().generation, since);
    check(&file);
}

#[test]
fn deleting_a_row_deletes_its_attachments() {
    let (file, _) = held();
    let mut tx = file.begin_write(Timestamp(2)).unwrap();
    let mut record = place(50, "");
    record.values = vec![
        id(2).braced().into(),
        "a.txt".into(),
        "text/plain".into(),
        Value::Integer(1),
        Value::Null,
        Value::Null,
    ];
    record.geometry = None;
    tx.put(PLACES.attachments(), &record, None).unwrap();
    tx.commit().unwrap();
    Connection::open(&file.path)
        .unwrap()
        .execute("DELETE FROM places WHERE OBJECTID = 2", [])
        .unwrap();
    let tx = file.begin_read().unwrap();
    assert!(
        tx.track(PLACES.attachments(), &id(50))
            .unwrap()
            .unwrap()
            .deleted
    );
}

#[test]
fn triggers_that_were_dropped_come_back_and_rows_are_accounted_for() {
    let (file, since) = held();
    let version = |file: &Held| -> i64 {
        Connection::open(&file.path)
            .unwrap()
            .query_row("PRAGMA schema_version", [], |row| row.get(0))
            .unwrap()
    };
    let before = version(&file);
    let file = file.reopened();
    assert_eq!(
        version(&file),
        before,
        "opening an intact file changes nothing"
    );
    stranger(&file)
        .execute_batch(
            "DROP TRIGGER haversack_insert_places; DROP TRIGGER haversack_delete_places; \
             DELETE FROM places WHERE OBJECTID = 2; \
             INSERT INTO places (name, geom) SELECT 'unseen', geom FROM places WHERE OBJECTID = 1",
        )
        .unwrap();
    let file = file.reopened();
    let tx = file.begin_read().unwrap();
    let found = changes(&*tx, since, &Filter::All, &Filter::All).unwrap();
    assert_eq!(found.len(), 2);
    assert!(found[0].record.is_none() && found[1].record.is_some());
    check(&file);
    stranger(&file).execute("DELETE FROM places", []).unwrap();
    check(&file);
    assert!(matching(&file, Filter::All).is_empty());
}

#[test]
fn a_new_column_is_captured_too() {
    let (file, since) = held();
    let mut service = fixture::service();
    service.collections[0]
        .fields
        .push(fixture::field("height", haversack_model::FieldType::Double));
    let mut tx = file.begin_write(Timestamp(2)).unwrap();
    tx.store_service(&service).unwrap();
    tx.commit().unwrap();
    let plain = Connection::open(&file.path).unwrap();
    plain
        .execute("UPDATE places SET height = 2.5 WHERE OBJECTID = 1", [])
        .unwrap();
    plain
        .execute("UPDATE places SET height = 3.5 WHERE OBJECTID = 1", [])
        .unwrap();
    let tx = file.begin_read().unwrap();
    let found = changes(&*tx, since, &Filter::All, &Filter::All).unwrap();
    assert_eq!(found.len(), 1);
    let past = tx.history(PLACES, &id(1)).unwrap();
    assert_eq!(past[0].record.values[5], Value::Real(2.5));
}
