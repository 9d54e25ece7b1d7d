//! What the sync core relies on: rows, versions, entries, batches, and that its writes are not captured.

use haversack_model::local::{FrozenBatch, LocalReplica, Removal};
use haversack_model::{
    BatchNumber, Changes, Edit, FieldType, Generation, OutboxEntry, Outcome, Receipt, Record,
    Revision, RowVersion, SyncState, Theirs, Value,
};
use haversack_sqlite::replica::{Options, ReplicaFile};

use crate::support::{Fixture, PARKS, field, gid, header, park, parks, version};

#[test]
fn writes_of_a_transaction_are_not_captured_and_a_dropped_one_leaves_nothing() {
    let fixture = Fixture::new(3);
    let mut file = fixture.open();
    let mut tx = file.begin().unwrap();
    let mut changed = park(1);
    changed.values[0] = "from the server".into();
    tx.put_row(PARKS, &changed).unwrap();
    tx.remove_row(PARKS, &gid(2)).unwrap();
    tx.put_row(PARKS, &park(9)).unwrap();
    drop(tx);
    assert!(
        file.begin()
            .unwrap()
            .row(PARKS, &gid(1))
            .unwrap()
            .unwrap()
            .same_content(&park(1))
    );
    let mut tx = file.begin().unwrap();
    tx.put_row(PARKS, &changed).unwrap();
    tx.remove_row(PARKS, &gid(2)).unwrap();
    tx.put_row(PARKS, &park(9)).unwrap();
    tx.commit().unwrap();
    assert!(fixture.entries().is_empty());
    assert_eq!(fixture.ids().len(), 3);
    assert_eq!(fixture.ids()[0].0, 1, "a replaced row keeps its object id");
}

#[test]
fn entries_survive_as_they_were_stored() {
    let fixture = Fixture::new(1);
    let mut mine = park(1);
    mine.values[2] = Value::Text("not a number".into());
    let entry = OutboxEntry {
        collection: PARKS,
        global_id: gid(1),
        edit_no: 44,
        state: SyncState::Uploading,
        deleted: false,
        base: Some((park(1), version(1))),
        theirs: Theirs::Row {
            record: park(1),
            version: version(7),
        },
        batch: Some(BatchNumber(3)),
        frozen_no: Some(43),
        sent: Some(Some(mine)),
        reason: Some("why".into()),
    };
    let mut removed = entry.clone();
    removed.global_id = gid(2);
    removed.edit_no = 45;
    removed.theirs = Theirs::Removed(Removal::Left);
    removed.sent = Some(None);
    removed.base = None;
    let mut file = fixture.open();
    let mut tx = file.begin().unwrap();
    for stored in [&entry, &removed] {
        tx.store_entry(stored).unwrap();
        tx.store_entry(stored).unwrap();
    }
    assert_eq!(tx.entries().unwrap(), [entry.clone(), removed.clone()]);
    assert_eq!(tx.in_batch(BatchNumber(3)).unwrap().len(), 2);
    assert!(tx.pending(10).unwrap().is_empty());
    assert!(tx.next_edit_no().unwrap() > 45);
    tx.remove_entry(PARKS, &gid(1)).unwrap();
    tx.remove_entry(PARKS, &gid(2)).unwrap();
    tx.commit().unwrap();
    let kept: i64 = rusqlite::Connection::open(&fixture.path)
        .unwrap()
        .query_row("SELECT count(*) FROM haversack_kept_0", [], |row| {
            row.get(0)
        })
        .unwrap();
    assert_eq!(kept, 0, "what was kept aside for an entry goes with it");
}

#[test]
fn an_edit_during_an_upload_keeps_the_batch_and_raises_the_number() {
    let fixture = Fixture::new(1);
    fixture.plain_sql("UPDATE City_parks SET trees = 5");
    let mut file = fixture.open();
    let mut tx = file.begin().unwrap();
    let mut entry = tx.pending(10).unwrap().remove(0);
    entry.state = SyncState::Uploading;
    entry.batch = Some(BatchNumber(1));
    entry.frozen_no = Some(entry.edit_no);
    entry.sent = Some(tx.row(PARKS, &gid(1)).unwrap());
    tx.store_entry(&entry).unwrap();
    tx.commit().unwrap();
    fixture.plain_sql("UPDATE City_parks SET trees = 6");
    let tx = file.begin().unwrap();
    let now = tx.entry(PARKS, &gid(1)).unwrap().unwrap();
    assert_eq!(now.batch, Some(BatchNumber(1)));
    assert!(now.edit_no > now.frozen_no.unwrap());
    assert_eq!(now.base, entry.base);
    assert_eq!(now.sent.unwrap().unwrap().values[2], Value::Integer(5));
    assert!(tx.pending(10).unwrap().is_empty());
}

#[test]
fn an_addition_that_was_sent_does_not_vanish_when_it_is_deleted() {
    let fixture = Fixture::new(0);
    fixture.python(
        "ds = gdal.OpenEx(path, gdal.OF_UPDATE); layer = ds.GetLayer(0)\n\
         f = ogr.Feature(layer.GetLayerDefn()); layer.CreateFeature(f)\n",
    );
    let mut file = fixture.open();
    let mut tx = file.begin().unwrap();
    let mut entry = tx.pending(10).unwrap().remove(0);
    entry.frozen_no = Some(entry.edit_no);
    tx.store_entry(&entry).unwrap();
    tx.commit().unwrap();
    fixture.plain_sql("DELETE FROM City_parks");
    let entries = fixture.entries();
    assert_eq!(entries.len(), 1, "the server may have it");
    assert!(entries[0].deleted);
}

#[test]
fn an_edit_taken_back_installs_what_the_server_has_meanwhile() {
    let fixture = Fixture::new(1);
    fixture.plain_sql("UPDATE City_parks SET trees = 5");
    let mut file = fixture.open();
    let mut tx = file.begin().unwrap();
    let mut entry = tx.entry(PARKS, &gid(1)).unwrap().unwrap();
    let mut theirs = park(1);
    theirs.values[0] = "renamed there".into();
    entry.theirs = Theirs::Row {
        record: theirs.clone(),
        version: version(70),
    };
    tx.store_entry(&entry).unwrap();
    tx.commit().unwrap();
    fixture.plain_sql("UPDATE City_parks SET trees = 1");
    assert!(fixture.entries().is_empty());
    assert!(fixture.row(&gid(1)).unwrap().same_content(&theirs));
    let seen = fixture
        .open()
        .begin()
        .unwrap()
        .version(PARKS, &gid(1))
        .unwrap();
    assert_eq!(seen, Some(version(70)));
}

#[test]
fn a_row_that_cannot_be_read_is_set_aside_and_blocks_no_other() {
    let options = Options {
        spatial_index: false,
    };
    let fixture = Fixture::with(3, options);
    fixture.plain_sql(
        "UPDATE City_parks SET SHAPE = x'00' WHERE OBJECTID = 1; UPDATE City_parks SET trees = 'many' WHERE OBJECTID = 2",
    );
    let mut file = fixture.open();
    let tx = file.begin().unwrap();
    let pending = tx.pending(10).unwrap();
    assert_eq!(pending.len(), 1);
    assert_eq!(pending[0].global_id, gid(2));
    let refused = tx.entry(PARKS, &gid(1)).unwrap().unwrap();
    assert_eq!(refused.state, SyncState::Error);
    assert!(refused.reason.unwrap().contains("SHAPE"));
    tx.commit().unwrap();
    assert!(
        file.digest(PARKS)
            .unwrap_err()
            .to_string()
            .contains("SHAPE")
    );
}

#[test]
fn batches_receipts_and_conflicts_come_back() {
    let fixture = Fixture::new(1);
    let mut file = fixture.open();
    let mut tx = file.begin().unwrap();
    let edit = Edit::Update {
        global_id: gid(1),
        mine: Changes {
            values: [(1, Value::Real(0.1 + 0.2))].into(),
            geometry: Some(park(1).geometry),
        },
        base: None,
    };
    let batch = FrozenBatch {
        number: BatchNumber(1),
        edits: vec![(PARKS, edit.clone())],
        cursor: header().cursor,
    };
    tx.store_batch(&batch).unwrap();
    assert_eq!(tx.unanswered_batch().unwrap(), Some(batch));
    let receipt = Receipt {
        collection: PARKS,
        global_id: gid(1),
        outcome: Outcome::Applied,
        object_id: None,
        after: None,
        version: None,
        left: false,
    };
    tx.store_receipt(Generation(10), &edit, &receipt).unwrap();
    assert_eq!(tx.receipts_above(Generation(9)).unwrap(), [(PARKS, edit)]);
    assert!(tx.receipts_above(Generation(10)).unwrap().is_empty());
    tx.remove_receipts_above(Generation(10)).unwrap();
    assert_eq!(tx.receipts_above(Generation(9)).unwrap().len(), 1);
    tx.remove_receipts_above(Generation(9)).unwrap();
    assert!(tx.receipts_above(Generation(9)).unwrap().is_empty());
    tx.remove_batch(BatchNumber(1)).unwrap();
    assert_eq!(tx.unanswered_batch().unwrap(), None);
    let mut changed = tx.header().unwrap();
    changed.next_batch = BatchNumber(2);
    changed.resyncing = true;
    changed.synced_at = Some(haversack_model::Timestamp(5));
    tx.store_header(&changed).unwrap();
    tx.commit().unwrap();
    assert_eq!(fixture.open().header().unwrap(), changed);
}

#[test]
fn status_and_diff_tell_what_was_edited_field_by_field() {
    let fixture = Fixture::new(4);
    fixture.python(
        "ds = gdal.OpenEx(path, gdal.OF_UPDATE); layer = ds.GetLayer(0)\n\
         f = layer.GetFeature(1); f['name'] = 'renamed'; layer.SetFeature(f)\n\
         f = layer.GetFeature(2); f['trees'] = 3; layer.SetFeature(f); f['trees'] = 2; layer.SetFeature(f)\n\
         layer.DeleteFeature(3)\n\
         f = ogr.Feature(layer.GetLayerDefn()); f['name'] = 'new'; layer.CreateFeature(f)\n",
    );
    let file = fixture.open();
    let told = file.status().unwrap();
    assert_eq!(told.pending, 3);
    let layer = &told.layers[0];
    assert_eq!((layer.rows, layer.to_delete), (4, 1));
    let states: Vec<_> = layer.states.iter().map(|(s, n)| (*s, *n)).collect();
    assert_eq!(states, [(SyncState::ToPost, 1), (SyncState::ToUpdate, 1)]);
    let mut edits = Vec::new();
    file.each_edit(&mut |_layer, entry, mine| {
        edits.push((entry.deleted, entry.base.map(|(base, _)| base), mine));
        Ok(())
    })
    .unwrap();
    let [update, delete, add] = &edits[..] else {
        panic!("three edits are told, the one that was taken back is not: {edits:?}");
    };
    let name = |record: &Option<Record>| record.as_ref().map(|r| r.values[0].clone());
    assert_eq!(name(&update.1), Some("park 1".into()));
    assert_eq!(name(&update.2), Some("renamed".into()));
    assert!(delete.0 && delete.2.is_none());
    assert!(add.1.is_none() && name(&add.2) == Some("new".into()));
}

#[test]
fn a_file_is_read_while_another_program_has_edits_open() {
    for journal in ["WAL", "DELETE"] {
        let fixture = Fixture::new(3);
        let other = rusqlite::Connection::open(&fixture.path).unwrap();
        other.pragma_update(None, "journal_mode", journal).unwrap();
        other
            .execute_batch("BEGIN IMMEDIATE; UPDATE City_parks SET name = 'not saved yet'")
            .unwrap();
        let mut file = fixture.open();
        file.set_patience(std::time::Duration::ZERO).unwrap();
        assert_eq!(file.status().unwrap().pending, 0, "{journal}");
        let before = file.read(|tx| tx.row(PARKS, &gid(1))).unwrap().unwrap();
        assert_eq!(before.values[0], "park 1".into());
        assert!(file.is_locked().unwrap(), "{journal}");
        other.execute_batch("COMMIT").unwrap();
        assert!(!file.is_locked().unwrap(), "{journal}");
        assert_eq!(file.status().unwrap().pending, 3, "{journal}");
    }
}

#[test]
fn a_new_column_and_a_new_layer_arrive_and_are_captured() {
    let fixture = Fixture::new(2);
    let mut wider = parks();
    let mut column = field("colour", FieldType::String);
    column.default = "green".into();
    wider.fields.push(column);
    let hidden = wider.attachments();
    let mut file = fixture.open();
    fixture.plain_sql("UPDATE City_parks SET trees = 9 WHERE OBJECTID = 1");
    let mut tx = file.begin().unwrap();
    tx.store_collections(&[wider.clone(), hidden.clone()])
        .unwrap();
    assert_eq!(
        tx.row(PARKS, &gid(1)).unwrap().unwrap().values[4],
        "green".into()
    );
    let entry = tx.entry(PARKS, &gid(1)).unwrap().unwrap();
    assert_eq!(entry.base.unwrap().0.values[4], "green".into());
    tx.commit().unwrap();
    assert!(file.problems().unwrap().is_empty());
    fixture.plain_sql("UPDATE City_parks SET colour = 'blue' WHERE OBJECTID = 2");
    let entries = fixture.entries();
    assert_eq!(entries.len(), 2);
    assert_eq!(file.collections(), [wider, hidden]);

    let mut narrower = parks();
    narrower.fields.pop();
    let mut tx = file.begin().unwrap();
    let error = tx.store_collections(&[narrower]).unwrap_err().to_string();
    assert!(error.contains("visited"), "{error}");
}

#[test]
fn an_attachment_put_in_by_sql_gets_its_hash_and_is_an_addition() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.gpkg");
    let mut layer = parks();
    layer.has_attachments = true;
    let hidden = layer.attachments();
    let mut file = ReplicaFile::create(
        &path,
        &[layer, hidden.clone()],
        &header(),
        Options::default(),
    )
    .unwrap();
    crate::support::python(
        &path,
        "import sqlite3\nc = sqlite3.connect(path)\n\
         c.execute(\"INSERT INTO City_parks_attachments (parent, name, content_type, content) VALUES (?, 'a.txt', 'text/plain', ?)\",\n\
         ('{00000000-0000-0000-0000-0000ABCD0001}', b'abc'))\nc.commit()\n",
    );
    let tx = file.begin().unwrap();
    let pending = tx.pending(10).unwrap();
    assert_eq!(pending.len(), 1);
    assert_eq!(pending[0].state, SyncState::ToPost);
    let row = tx.row(hidden.id, &pending[0].global_id).unwrap().unwrap();
    let sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(row.values[3], Value::Integer(3));
    assert_eq!(row.values[4], sha256.into());
    let hash = haversack_model::BlobHash::from_hex(sha256).unwrap();
    assert_eq!(tx.blob(hash).unwrap().as_deref(), Some(&b"abc"[..]));
    tx.commit().unwrap();
    // Other content for the same attachment is an update of it.
    crate::support::python(
        &path,
        "import sqlite3\nc = sqlite3.connect(path)\n\
         c.execute('UPDATE City_parks_attachments SET content = ?', (b'abcd',))\nc.commit()\n",
    );
    let tx = file.begin().unwrap();
    let row = tx.row(hidden.id, &pending[0].global_id).unwrap().unwrap();
    assert_eq!(row.values[3], Value::Integer(4));
}

#[test]
fn a_new_column_of_the_server_takes_the_place_of_one_that_was_added_here() {
    let fixture = Fixture::new(2);
    fixture.plain_sql(
        "ALTER TABLE City_parks ADD COLUMN Colour TEXT; \
         UPDATE City_parks SET Colour = 'mine' WHERE OBJECTID = 1",
    );
    let mut wider = parks();
    wider.fields.push(field("colour", FieldType::String));
    let mut file = fixture.open();
    let mut tx = file.begin().unwrap();
    tx.store_collections(std::slice::from_ref(&wider)).unwrap();
    tx.commit().unwrap();
    assert_eq!(fixture.row(&gid(1)).unwrap().values[4], Value::Null);
    let kept: String = rusqlite::Connection::open(&fixture.path)
        .unwrap()
        .query_row(
            "SELECT colour_here FROM City_parks WHERE OBJECTID = 1",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(kept, "mine");
    fixture.plain_sql("UPDATE City_parks SET colour = 'red' WHERE OBJECTID = 2");
    assert_eq!(fixture.entries().len(), 1);
}

#[test]
fn an_edit_of_a_row_that_an_answer_confirmed_stands_on_the_answered_version() {
    let at = |number| RowVersion {
        revision: Revision(number),
        generation: Generation(number),
    };
    let fixture = Fixture::new(1);
    let mut file = fixture.open();
    let mut tx = file.begin().unwrap();
    let before = tx.version(PARKS, &gid(1)).unwrap().unwrap();
    tx.confirm(PARKS, &gid(1), at(70)).unwrap();
    tx.confirm(PARKS, &gid(1), at(71)).unwrap();
    tx.confirm(PARKS, &gid(9), at(71)).unwrap();
    assert_ne!(before, at(71));
    assert_eq!(tx.version(PARKS, &gid(1)).unwrap(), Some(at(71)));
    assert_eq!(tx.version(PARKS, &gid(9)).unwrap(), Some(at(71)));
    tx.commit().unwrap();
    fixture.plain_sql("UPDATE City_parks SET trees = trees + 1");
    let mut tx = file.begin().unwrap();
    let entry = tx.entry(PARKS, &gid(1)).unwrap().unwrap();
    assert_eq!(entry.base.unwrap().1, at(71));
    assert_eq!(tx.pending(9).unwrap()[0].base.as_ref().unwrap().1, at(71));
    // What a page brings goes into the table of versions; the base of the edit stays.
    tx.store_version(PARKS, &gid(1), Some(at(80))).unwrap();
    assert_eq!(tx.version(PARKS, &gid(1)).unwrap(), Some(at(80)));
    let entry = tx.entry(PARKS, &gid(1)).unwrap().unwrap();
    assert_eq!(entry.base.unwrap().1, at(71));
    tx.store_version(PARKS, &gid(1), None).unwrap();
    assert_eq!(tx.version(PARKS, &gid(1)).unwrap(), None);
}

#[test]
fn notes_are_kept_by_topic_in_files_of_older_layouts_too() {
    let fixture = Fixture::new(1);
    rusqlite::Connection::open(&fixture.path)
        .unwrap()
        .execute_batch(
            "DROP TABLE haversack_notes; UPDATE haversack_header SET value = '3' WHERE name = 'format'",
        )
        .unwrap();
    let mut file = fixture.open();
    let mut tx = file.begin().unwrap();
    for (topic, name) in [("jobs", "b"), ("jobs", "a"), ("values", "a")] {
        tx.store_note(topic, name, Some(name)).unwrap();
    }
    tx.store_note("values", "a", None).unwrap();
    tx.store_note("jobs", "b", Some("it's")).unwrap();
    tx.commit().unwrap();
    let mut file = fixture.open();
    let tx = file.begin().unwrap();
    let kept = [("a", "a"), ("b", "it's")].map(|(name, text)| (name.to_owned(), text.to_owned()));
    assert_eq!(tx.notes("jobs").unwrap(), kept);
    assert_eq!(tx.note("jobs", "b").unwrap().as_deref(), Some("it's"));
    assert_eq!(tx.note("values", "a").unwrap(), None);
}
