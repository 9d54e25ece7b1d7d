//! Records: what is put comes back, what is undone is gone.

use super::fixture::{
    HOSTILE, PLACES, WIDE, commit, id, matching, name_of, number, place, put_places,
};
use crate::filter::{Comparison, Expr};
use crate::store::Store;
use crate::{FieldType, Filter, Record, Timestamp, Value};

pub fn a_record_comes_back_as_it_was_put(store: &dyn Store) {
    let record = place(7, "seven");
    let generation = put_places(store, std::slice::from_ref(&record));
    let tx = store.begin_read().unwrap();
    let found = tx.record(PLACES, &id(7)).unwrap().unwrap();
    assert!(found.record.same_content(&record), "{:?}", found.record);
    assert!(found.record.object_id.is_some());
    assert_eq!(found.track.generation, generation);
    assert!(!found.track.deleted);
    assert_eq!(tx.track(PLACES, &id(7)).unwrap(), Some(found.track));
    assert_eq!(tx.record(PLACES, &id(8)).unwrap(), None);
    assert_eq!(tx.track(PLACES, &id(8)).unwrap(), None);
}

pub fn a_row_of_71_columns_comes_back(store: &dyn Store) {
    let kinds = store.begin_read().unwrap().collection(WIDE).unwrap().fields;
    let values: Vec<Value> = kinds
        .iter()
        .enumerate()
        .map(|(n, field)| match field.kind {
            FieldType::SmallInteger | FieldType::Integer => Value::Integer(-(n as i64)),
            FieldType::BigInteger => Value::Integer(i64::MAX - n as i64),
            FieldType::Single => Value::Real(f64::from(0.1f32)),
            FieldType::Double => Value::Real(0.1 + n as f64),
            FieldType::String => Value::Text(format!("text {n} '\"%_")),
            FieldType::Date => Value::Integer(1_700_000_000_123 + n as i64),
            FieldType::DateOnly => "2024-02-29".into(),
            FieldType::TimeOnly => "23:59:58".into(),
            FieldType::TimestampOffset => "2024-02-29T12:00:00+02:00".into(),
            FieldType::Guid => id(n as u128).braced().into(),
            FieldType::Blob => Value::Blob(vec![0, 255, n as u8]),
        })
        .collect();
    let record = Record {
        global_id: id(1),
        object_id: None,
        values,
        geometry: None,
    };
    let empty = Record {
        global_id: id(2),
        values: vec![Value::Null; 71],
        ..record.clone()
    };
    commit(store, 1, |tx| {
        tx.put(WIDE, &record, None).unwrap();
        tx.put(WIDE, &empty, None).unwrap();
    });
    let tx = store.begin_read().unwrap();
    for wanted in [&record, &empty] {
        let found = tx.record(WIDE, &wanted.global_id).unwrap().unwrap();
        assert_eq!(found.record.values, wanted.values);
    }
}

pub fn texts_of_many_scripts_come_back(store: &dyn Store) {
    let texts = [
        "Žďár nad Sázavou",
        "東京都",
        "مدينة",
        "naïve 🌲",
        "a\u{0}b",
        "line\nbreak",
        "",
    ];
    let places: Vec<Record> = texts
        .iter()
        .zip(1..)
        .map(|(text, n)| place(n, text))
        .collect();
    put_places(store, &places);
    for (text, n) in texts.iter().zip(1u32..) {
        let tx = store.begin_read().unwrap();
        assert_eq!(name_of(&*tx, n), Some((*text).into()));
        let filter = Filter::Compare {
            left: Expr::Field("name".into()),
            op: Comparison::Equal,
            right: Expr::Literal((*text).into()),
        };
        assert_eq!(matching(store, filter), [u128::from(n)], "{text:?}");
    }
}

pub fn a_put_of_a_known_id_replaces_and_keeps_the_object_id(store: &dyn Store) {
    put_places(store, &[place(1, "old"), place(2, "other")]);
    let before = store
        .begin_read()
        .unwrap()
        .record(PLACES, &id(1))
        .unwrap()
        .unwrap();
    let mut changed = place(1, "new");
    changed.geometry = None;
    commit(store, 2, |tx| {
        let object_id = tx.put(PLACES, &changed, None).unwrap();
        assert_eq!(Some(object_id), before.record.object_id);
    });
    let tx = store.begin_read().unwrap();
    let after = tx.record(PLACES, &id(1)).unwrap().unwrap();
    assert!(after.record.same_content(&changed));
    assert_eq!(after.record.object_id, before.record.object_id);
    assert!(after.track.revision > before.track.revision);
    assert_eq!(matching(store, Filter::All), [1, 2]);
}

pub fn a_deleted_record_is_gone_and_has_a_tombstone(store: &dyn Store) {
    put_places(store, &[place(1, "a"), place(2, "b")]);
    let generation = commit(store, 2, |tx| {
        assert!(tx.delete(PLACES, &id(1), None).unwrap());
        assert!(!tx.delete(PLACES, &id(1), None).unwrap());
    });
    let tx = store.begin_read().unwrap();
    assert_eq!(tx.record(PLACES, &id(1)).unwrap(), None);
    let track = tx.track(PLACES, &id(1)).unwrap().unwrap();
    assert!(track.deleted);
    assert_eq!(track.generation, generation);
    assert_eq!(matching(store, Filter::All), [2]);
}

pub fn deleting_the_unknown_says_so(store: &dyn Store) {
    let before = put_places(store, &[place(1, "a")]);
    let after = commit(store, 2, |tx| {
        assert!(!tx.delete(PLACES, &id(9), None).unwrap());
    });
    assert_eq!(before, after);
}

pub fn an_undeleted_record_is_one_record(store: &dyn Store) {
    put_places(store, &[place(1, "a")]);
    let since = commit(store, 2, |tx| {
        tx.delete(PLACES, &id(1), None).unwrap();
    });
    let dead = store
        .begin_read()
        .unwrap()
        .track(PLACES, &id(1))
        .unwrap()
        .unwrap();
    put_places(store, &[place(1, "back")]);
    let tx = store.begin_read().unwrap();
    let found = tx.record(PLACES, &id(1)).unwrap().unwrap();
    assert_eq!(found.record.values[0], "back".into());
    assert!(found.track.revision > dead.revision && found.track.generation > since);
    assert_eq!(tx.track(PLACES, &id(1)).unwrap(), Some(found.track));
    let feed = super::fixture::changes(&*tx, crate::Generation::ZERO, &Filter::All, &Filter::All);
    assert_eq!(feed.unwrap().len(), 1);
    assert_eq!(tx.record_as_of(PLACES, &id(1), since).unwrap(), None);
}

pub fn a_refused_record_leaves_no_trace(store: &dyn Store) {
    let before = put_places(store, &[place(1, "a")]);
    let mut wrong = place(1, "b");
    wrong.values[1] = "not a number".into();
    let mut short = place(2, "c");
    short.values.pop();
    let after = commit(store, 2, |tx| {
        assert!(tx.put(PLACES, &wrong, None).is_err());
        assert!(tx.put(PLACES, &short, None).is_err());
        tx.put(PLACES, &place(3, "d"), None).unwrap();
    });
    assert_eq!(after.0, before.0 + 1, "refused records take no generation");
    let tx = store.begin_read().unwrap();
    assert_eq!(name_of(&*tx, 1), Some("a".into()));
    assert!(tx.history(PLACES, &id(1)).unwrap().is_empty());
    assert_eq!(matching(store, Filter::All), [1, 3]);
}

pub fn a_dropped_transaction_leaves_no_trace(store: &dyn Store) {
    let before = put_places(store, &[place(1, "a")]);
    let mut tx = store.begin_write(Timestamp(5)).unwrap();
    tx.put(PLACES, &place(1, "b"), None).unwrap();
    tx.put(PLACES, &place(2, "c"), None).unwrap();
    tx.seal().unwrap();
    drop(tx);
    let tx = store.begin_read().unwrap();
    assert_eq!(tx.head().unwrap().generation, before);
    assert_eq!(name_of(&*tx, 1), Some("a".into()));
    assert_eq!(name_of(&*tx, 2), None);
    assert!(tx.history(PLACES, &id(1)).unwrap().is_empty());
}

pub fn a_savepoint_undoes_only_what_followed(store: &dyn Store) {
    let generation = commit(store, 1, |tx| {
        tx.put(PLACES, &place(1, "kept"), None).unwrap();
        tx.savepoint().unwrap();
        tx.put(PLACES, &place(1, "undone"), None).unwrap();
        tx.put(PLACES, &place(2, "undone"), None).unwrap();
        tx.rollback_to_savepoint().unwrap();
        assert_eq!(name_of(tx, 1), Some("kept".into()));
        tx.put(PLACES, &place(3, "after"), None).unwrap();
        tx.rollback_to_savepoint().unwrap();
        tx.put(PLACES, &place(4, "after"), None).unwrap();
    });
    assert_eq!(generation.0, 2, "undone changes take no generation");
    assert_eq!(matching(store, Filter::All), [1, 4]);
}

pub fn a_transaction_reads_its_own_writes(store: &dyn Store) {
    commit(store, 1, |tx| {
        tx.put(PLACES, &place(1, "a"), None).unwrap();
        let found = tx.record(PLACES, &id(1)).unwrap().unwrap();
        assert_eq!(found.record.values[0], "a".into());
        assert!(tx.matches(PLACES, &id(1), &Filter::All).unwrap());
        tx.delete(PLACES, &id(1), None).unwrap();
        assert_eq!(tx.record(PLACES, &id(1)).unwrap(), None);
        assert!(!tx.matches(PLACES, &id(1), &Filter::All).unwrap());
        assert!(tx.track(PLACES, &id(1)).unwrap().unwrap().deleted);
    });
}

pub fn a_snapshot_does_not_move(store: &dyn Store) {
    put_places(store, &[place(1, "a")]);
    let tx = store.begin_read().unwrap();
    let head = tx.head().unwrap();
    put_places(store, &[place(1, "b"), place(2, "c")]);
    assert_eq!(tx.head().unwrap(), head);
    assert_eq!(name_of(&*tx, 1), Some("a".into()));
    assert_eq!(name_of(&*tx, 2), None);
    let later = store.begin_read().unwrap();
    assert_eq!(name_of(&*later, 1), Some("b".into()));
}

pub fn attachments_are_records_of_a_hidden_collection(store: &dyn Store) {
    let hidden = PLACES.attachments();
    let record = Record {
        global_id: id(50),
        object_id: None,
        values: vec![
            id(1).braced().into(),
            "photo.jpg".into(),
            "image/jpeg".into(),
            Value::Integer(3),
            "ab".repeat(32).into(),
            Value::Null,
        ],
        geometry: None,
    };
    put_places(store, &[place(1, "a")]);
    let since = commit(store, 2, |tx| {
        tx.put(hidden, &record, None).unwrap();
    });
    let tx = store.begin_read().unwrap();
    assert_eq!(tx.collection(hidden).unwrap().fields.len(), 6);
    let found = tx.record(hidden, &id(50)).unwrap().unwrap();
    assert!(found.record.same_content(&record));
    assert_eq!(found.track.generation, since);
    let parent = Filter::ParentMatches {
        field: "parent".into(),
        parent: PLACES,
        filter: Box::new(Filter::GlobalIds(vec![id(1)])),
    };
    assert!(tx.matches(hidden, &id(50), &parent).unwrap());
    assert!(
        !tx.service()
            .unwrap()
            .collections
            .iter()
            .any(|c| c.id == hidden)
    );
    assert!(
        tx.collection(PLACES)
            .unwrap()
            .field_index(HOSTILE)
            .is_some()
    );
    assert_eq!(number(&found.record.global_id), 50);
}
