//! Past versions, the floor, and new histories.

use uuid::Uuid;

use super::books::replica;
use super::fixture::{PLACES, VISITS, changes, commit, id, name_of, place, put_places, visit};
use crate::store::Store;
use crate::{BlobHash, Error, Filter, Generation, HistoryId, Record, Value};

fn delete(store: &dyn Store, n: u128) -> Generation {
    commit(store, 2, |tx| {
        tx.delete(PLACES, &id(n), None).unwrap();
    })
}

fn prune(store: &dyn Store, upto: Generation) -> Generation {
    let mut floor = Generation::ZERO;
    commit(store, 3, |tx| floor = tx.prune_history(upto).unwrap());
    floor
}

pub fn past_versions_are_read_as_of_any_generation(store: &dyn Store) {
    let empty = store.begin_read().unwrap().head().unwrap().generation;
    let first = put_places(store, &[place(1, "a")]);
    let second = put_places(store, &[place(2, "x"), place(1, "b")]);
    let gone = delete(store, 1);
    let back = put_places(store, &[place(1, "c")]);
    let tx = store.begin_read().unwrap();
    let as_of = |at| {
        let found = tx.record_as_of(PLACES, &id(1), at).unwrap();
        found.map(|versioned| versioned.record.values[0].clone())
    };
    assert_eq!(as_of(empty), None);
    assert_eq!(as_of(first), Some("a".into()));
    assert_eq!(as_of(Generation(second.0 - 1)), Some("a".into()));
    assert_eq!(as_of(second), Some("b".into()));
    assert_eq!(as_of(gone), None);
    assert_eq!(as_of(back), Some("c".into()));
    let then = tx.record_as_of(PLACES, &id(1), first).unwrap().unwrap();
    assert_eq!(then.record.geometry, place(1, "").geometry);
    assert_eq!(then.track.generation, first);
}

pub fn history_lists_replaced_versions_newest_first(store: &dyn Store) {
    for name in ["a", "b", "c"] {
        put_places(store, &[place(1, name)]);
    }
    delete(store, 1);
    let tx = store.begin_read().unwrap();
    let names: Vec<Value> = tx
        .history(PLACES, &id(1))
        .unwrap()
        .into_iter()
        .map(|versioned| versioned.record.values[0].clone())
        .collect();
    assert_eq!(names, ["c".into(), "b".into(), "a".into()]);
}

pub fn pruning_moves_the_floor_and_forgets(store: &dyn Store) {
    put_places(store, &[place(1, "a"), place(2, "b")]);
    put_places(store, &[place(1, "c")]);
    let gone = delete(store, 2);
    put_places(store, &[place(1, "d")]);
    let floor = prune(store, gone);
    assert_eq!(floor, gone);
    let tx = store.begin_read().unwrap();
    assert_eq!(tx.head().unwrap().floor, gone);
    assert_eq!(tx.track(PLACES, &id(2)).unwrap(), None);
    assert_eq!(tx.history(PLACES, &id(1)).unwrap().len(), 1);
    let as_of = tx.record_as_of(PLACES, &id(1), gone).unwrap().unwrap();
    assert_eq!(as_of.record.values[0], "c".into());
    assert_eq!(name_of(&*tx, 1), Some("d".into()));
    drop(tx);
    assert_eq!(prune(store, Generation(1)), gone, "the floor never sinks");
}

pub fn pruning_stops_at_a_replicas_cursor(store: &dyn Store) {
    let cursor = put_places(store, &[place(1, "a")]);
    delete(store, 1);
    let head = put_places(store, &[place(2, "b")]);
    commit(store, 3, |tx| {
        tx.store_replica(&replica(1, cursor)).unwrap();
    });
    assert_eq!(prune(store, head), cursor);
    commit(store, 4, |tx| {
        tx.remove_replica(replica(1, cursor).id).unwrap();
    });
    assert_eq!(prune(store, Generation(u64::MAX)), head);
}

pub fn a_cursor_below_the_floor_must_resync(store: &dyn Store) {
    let first = put_places(store, &[place(1, "a")]);
    let head = put_places(store, &[place(1, "b"), place(2, "c")]);
    prune(store, head);
    let tx = store.begin_read().unwrap();
    let error = changes(&*tx, first, &Filter::All, &Filter::All).unwrap_err();
    assert!(matches!(error, Error::Resync { asked, .. } if asked == first));
    let error = tx.record_as_of(PLACES, &id(1), first).unwrap_err();
    assert!(matches!(error, Error::Resync { .. }));
    assert!(
        changes(&*tx, head, &Filter::All, &Filter::All)
            .unwrap()
            .is_empty()
    );
}

pub fn a_cursor_above_the_head_must_resync(store: &dyn Store) {
    let head = put_places(store, &[place(1, "a")]);
    let tx = store.begin_read().unwrap();
    let error = changes(&*tx, head.next(), &Filter::All, &Filter::All).unwrap_err();
    assert!(matches!(error, Error::Resync { asked, .. } if asked == head.next()));
}

pub fn zero_is_never_below_the_floor(store: &dyn Store) {
    put_places(store, &[place(1, "a"), place(2, "b")]);
    let head = delete(store, 2);
    prune(store, head);
    let tx = store.begin_read().unwrap();
    let found = changes(&*tx, Generation::ZERO, &Filter::All, &Filter::All).unwrap();
    assert_eq!(found.len(), 1);
}

pub fn a_new_history_jumps_and_puts_old_cursors_below_the_floor(store: &dyn Store) {
    let old = put_places(store, &[place(1, "a")]);
    let history = HistoryId(Uuid::from_u128(99));
    commit(store, 2, |tx| {
        let head = tx.start_history(history).unwrap();
        assert_eq!(head.generation.0, 1 << 40);
        assert_eq!(head.history, history);
    });
    let tx = store.begin_read().unwrap();
    let head = tx.head().unwrap();
    assert_eq!((head.history, head.floor.0), (history, 1 << 40));
    assert!(matches!(
        changes(&*tx, old, &Filter::All, &Filter::All),
        Err(Error::Resync { .. })
    ));
    drop(tx);
    let next = put_places(store, &[place(2, "b")]);
    assert_eq!(next.0, (1 << 40) + 1);
    let again = HistoryId(Uuid::from_u128(100));
    commit(store, 3, |tx| {
        assert_eq!(tx.start_history(again).unwrap().generation.0, 2 << 40);
    });
}

pub fn ancestors_of_a_history_are_known(store: &dyn Store) {
    let first = store.begin_read().unwrap().head().unwrap().history;
    let fork = put_places(store, &[place(1, "a")]);
    let (second, third) = (
        HistoryId(Uuid::from_u128(98)),
        HistoryId(Uuid::from_u128(99)),
    );
    commit(store, 2, |tx| {
        tx.start_history(second).unwrap();
    });
    commit(store, 3, |tx| {
        tx.start_history(third).unwrap();
    });
    let tx = store.begin_read().unwrap();
    assert_eq!(tx.common_with(first).unwrap(), Some(fork));
    assert_eq!(tx.common_with(second).unwrap(), Some(Generation(1 << 40)));
    assert_eq!(tx.common_with(third).unwrap(), Some(Generation(2 << 40)));
    assert_eq!(tx.common_with(HistoryId(Uuid::nil())).unwrap(), None);
}

pub fn unreferenced_blobs_are_collected(store: &dyn Store) {
    let (named, orphan) = (BlobHash([0xab; 32]), BlobHash([0xcd; 32]));
    let attachment = Record {
        global_id: id(50),
        object_id: None,
        values: vec![
            id(1).braced().into(),
            "a.txt".into(),
            "text/plain".into(),
            Value::Integer(1),
            named.to_string().into(),
            Value::Null,
        ],
        geometry: None,
    };
    let head = commit(store, 1, |tx| {
        tx.store_blob(named, b"a").unwrap();
        tx.store_blob(orphan, b"b").unwrap();
        tx.put(PLACES.attachments(), &attachment, None).unwrap();
        tx.put(VISITS, &visit(1, 1, "x"), None).unwrap();
    });
    prune(store, head);
    let has = |hash| store.begin_read().unwrap().has_blob(hash).unwrap();
    assert!(has(orphan), "the batch that names it may still come");
    commit(store, 30 * 86_400_000, |tx| {
        tx.prune_history(head).unwrap();
    });
    assert!(has(named));
    assert!(!has(orphan));
}
