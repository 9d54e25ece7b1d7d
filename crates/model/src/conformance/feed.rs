//! The feed: commit order, and what each record was for the earlier filter.

use super::fixture::{
    PLACES, VISITS, changes, commit, id, number, place, put_places, seen, set, visit,
};
use crate::filter::{Comparison, Expr};
use crate::store::{ChangeQuery, Flow, Store};
use crate::{Filter, Generation, Timestamp, Value};

fn named(name: &str) -> Filter {
    Filter::Compare {
        left: Expr::Field("name".into()),
        op: Comparison::Equal,
        right: Expr::Literal(name.into()),
    }
}

pub fn generations_are_dense_and_in_commit_order(store: &dyn Store) {
    let first = put_places(store, &[place(1, "a"), place(2, "b"), place(3, "c")]);
    assert_eq!(first.0, 3);
    let second = commit(store, 2, |tx| {
        tx.put(PLACES, &place(2, "b2"), None).unwrap();
        tx.put(PLACES, &place(2, "b3"), None).unwrap();
        tx.put(PLACES, &place(4, "d"), None).unwrap();
        tx.delete(PLACES, &id(1), None).unwrap();
    });
    assert_eq!(second.0, 6, "each changed record takes one generation");
    let tx = store.begin_read().unwrap();
    let mut generations: Vec<u64> = [1, 2, 3, 4]
        .iter()
        .map(|n| tx.track(PLACES, &id(*n)).unwrap().unwrap().generation.0)
        .collect();
    generations.sort_unstable();
    assert_eq!(generations, [3, 4, 5, 6]);
}

pub fn the_stamp_grows_with_every_commit_whatever_the_clock(store: &dyn Store) {
    let mut last = Timestamp(0);
    for now in [1_000, 1_000, 10, 5_000] {
        commit(store, now, |tx| {
            tx.put(PLACES, &place(1, "a"), None).unwrap();
        });
        let tx = store.begin_read().unwrap();
        let head = tx.head().unwrap();
        assert!(head.stamp > last && head.stamp.0 >= now);
        let track = tx.track(PLACES, &id(1)).unwrap().unwrap();
        assert_eq!(track.stamp, head.stamp);
        last = head.stamp;
    }
}

pub fn revisions_grow_and_ignore_a_clock_that_goes_back(store: &dyn Store) {
    let mut last = crate::Revision(0);
    for now in [2_000, 3, 2_000] {
        commit(store, now, |tx| {
            tx.put(PLACES, &place(1, "a"), None).unwrap();
            tx.put(PLACES, &place(2, "b"), None).unwrap();
        });
        let tx = store.begin_read().unwrap();
        let one = tx.track(PLACES, &id(1)).unwrap().unwrap().revision;
        let two = tx.track(PLACES, &id(2)).unwrap().unwrap().revision;
        assert!(one > last && two > one);
        assert_eq!(tx.head().unwrap().revision, two);
        last = two;
    }
    assert!(last.timestamp() >= Timestamp(2_000));
}

pub fn a_commit_without_changes_takes_nothing(store: &dyn Store) {
    put_places(store, &[place(1, "a")]);
    let before = store.begin_read().unwrap().head().unwrap();
    commit(store, 9_000, |_| {});
    assert_eq!(store.begin_read().unwrap().head().unwrap(), before);
}

pub fn a_sealed_transaction_keeps_only_books(store: &dyn Store) {
    let mut tx = store.begin_write(Timestamp(1)).unwrap();
    tx.put(PLACES, &place(1, "a"), None).unwrap();
    let head = tx.seal().unwrap();
    assert_eq!(head.generation.0, 1);
    assert!(tx.put(PLACES, &place(2, "b"), None).is_err());
    assert!(tx.delete(PLACES, &id(1), None).is_err());
    assert!(tx.touch(PLACES, &id(1)).is_err());
    tx.store_blob(crate::BlobHash([1; 32]), b"x").unwrap();
    assert_eq!(tx.seal().unwrap(), head);
    assert_eq!(tx.commit().unwrap(), head);
}

pub fn changes_come_once_each_in_generation_order(store: &dyn Store) {
    let since = put_places(store, &[place(1, "a"), place(2, "b"), place(3, "c")]);
    put_places(store, &[place(3, "x"), place(1, "y")]);
    put_places(store, &[place(4, "z"), place(3, "w")]);
    let tx = store.begin_read().unwrap();
    let found = changes(&*tx, since, &Filter::All, &Filter::All).unwrap();
    assert_eq!(
        seen(&found),
        [
            (1, true, true, true),
            (4, true, true, false),
            (3, true, true, true)
        ]
    );
    assert!(found.is_sorted_by_key(|c| c.track.generation));
    assert_eq!(found[2].record.as_ref().unwrap().values[0], "w".into());
    let head = tx.head().unwrap().generation;
    assert!(
        changes(&*tx, head, &Filter::All, &Filter::All)
            .unwrap()
            .is_empty()
    );
}

pub fn a_record_that_left_the_filter_was_matched_then(store: &dyn Store) {
    let since = put_places(store, &[place(1, "oak"), place(2, "ash")]);
    put_places(store, &[place(1, "elm"), place(2, "yew")]);
    let tx = store.begin_read().unwrap();
    let found = changes(&*tx, since, &named("oak"), &named("oak")).unwrap();
    assert_eq!(
        seen(&found),
        [(1, true, false, true), (2, true, false, false)]
    );
}

pub fn a_record_that_entered_the_filter_was_not_matched_then(store: &dyn Store) {
    let since = put_places(store, &[place(1, "ash")]);
    put_places(store, &[place(1, "elm")]);
    put_places(store, &[place(1, "oak")]);
    let tx = store.begin_read().unwrap();
    let found = changes(&*tx, since, &named("oak"), &named("oak")).unwrap();
    assert_eq!(seen(&found), [(1, true, true, false)]);
    // The version that counts is the one at the cursor, not the one before the last.
    let found = changes(&*tx, since, &named("oak"), &named("ash")).unwrap();
    assert_eq!(seen(&found), [(1, true, true, true)]);
    let found = changes(&*tx, since, &named("oak"), &named("elm")).unwrap();
    assert_eq!(seen(&found), [(1, true, true, false)]);
}

pub fn a_record_deleted_after_the_cursor_was_matched_if_it_was_in(store: &dyn Store) {
    let since = put_places(store, &[place(1, "oak"), place(2, "ash")]);
    commit(store, 2, |tx| {
        tx.delete(PLACES, &id(1), None).unwrap();
        tx.delete(PLACES, &id(2), None).unwrap();
    });
    let tx = store.begin_read().unwrap();
    let found = changes(&*tx, since, &named("oak"), &named("oak")).unwrap();
    assert_eq!(
        seen(&found),
        [(1, false, false, true), (2, false, false, false)]
    );
}

pub fn a_record_made_and_deleted_after_the_cursor_was_never_in(store: &dyn Store) {
    let since = put_places(store, &[place(1, "oak")]);
    put_places(store, &[place(2, "oak")]);
    commit(store, 3, |tx| {
        tx.delete(PLACES, &id(2), None).unwrap();
    });
    commit(store, 4, |tx| {
        tx.put(PLACES, &place(3, "oak"), None).unwrap();
        tx.delete(PLACES, &id(3), None).unwrap();
    });
    let tx = store.begin_read().unwrap();
    let found = changes(&*tx, since, &Filter::All, &Filter::All).unwrap();
    assert!(
        found.iter().all(|c| c.record.is_none() && !c.matched),
        "{found:?}"
    );
}

pub fn a_touch_is_a_change_without_history(store: &dyn Store) {
    let since = put_places(store, &[place(1, "oak")]);
    let touched = commit(store, 2, |tx| {
        tx.touch(PLACES, &id(1)).unwrap();
    });
    assert_eq!(touched.0, since.0 + 1);
    let tx = store.begin_read().unwrap();
    let found = changes(&*tx, since, &named("oak"), &named("oak")).unwrap();
    assert_eq!(seen(&found), [(1, true, true, true)]);
    assert!(tx.history(PLACES, &id(1)).unwrap().is_empty());
    drop(tx);
    put_places(store, &[place(1, "elm")]);
    let tx = store.begin_read().unwrap();
    for at in [since, touched] {
        let then = tx.record_as_of(PLACES, &id(1), at).unwrap().unwrap();
        assert_eq!(then.record.values[0], "oak".into(), "as of {at}");
        assert!(then.track.generation <= at);
    }
    assert_eq!(tx.history(PLACES, &id(1)).unwrap().len(), 1);
}

pub fn a_touch_keeps_revision_and_content(store: &dyn Store) {
    put_places(store, &[place(1, "oak")]);
    let before = store
        .begin_read()
        .unwrap()
        .record(PLACES, &id(1))
        .unwrap()
        .unwrap();
    commit(store, 9_999, |tx| {
        tx.touch(PLACES, &id(1)).unwrap();
        assert!(tx.touch(PLACES, &id(9)).is_err());
    });
    let after = store
        .begin_read()
        .unwrap()
        .record(PLACES, &id(1))
        .unwrap()
        .unwrap();
    assert_eq!(after.record, before.record);
    assert_eq!(after.track.revision, before.track.revision);
    assert!(after.track.generation > before.track.generation);
    assert!(after.track.stamp > before.track.stamp);
}

pub fn a_parent_that_changed_is_seen_as_of_then(store: &dyn Store) {
    let since = commit(store, 1, |tx| {
        tx.put(PLACES, &place(1, "oak"), None).unwrap();
        tx.put(PLACES, &place(2, "oak"), None).unwrap();
        for n in 1..=3 {
            tx.put(VISITS, &visit(10 + n, n, "x"), None).unwrap();
        }
    });
    commit(store, 2, |tx| {
        tx.put(PLACES, &place(1, "elm"), None).unwrap();
        tx.delete(PLACES, &id(2), None).unwrap();
        tx.put(PLACES, &place(3, "oak"), None).unwrap();
        for n in 11..=13 {
            tx.touch(VISITS, &id(n)).unwrap();
        }
    });
    let filter = Filter::ParentMatches {
        field: "place".into(),
        parent: PLACES,
        filter: Box::new(named("oak")),
    };
    let tx = store.begin_read().unwrap();
    let mut found = Vec::new();
    let query = ChangeQuery {
        collection: VISITS,
        since,
        upto: tx.head().unwrap().generation,
        filter: &filter,
        filter_then: &filter,
    };
    tx.changes(&query, &mut |change| {
        found.push((number(&change.global_id), change.matches, change.matched));
        Ok(Flow::Continue(()))
    })
    .unwrap();
    assert_eq!(
        found,
        [(11, false, true), (12, false, true), (13, true, false)]
    );
}

pub fn a_taken_generation_is_nobodys(store: &dyn Store) {
    let since = put_places(store, &[place(1, "a")]);
    let after = commit(store, 2, |tx| {
        let taken = tx.take_generation().unwrap();
        assert_eq!(taken.0, since.0 + 1);
        tx.put(PLACES, &place(2, "b"), None).unwrap();
    });
    assert_eq!(after.0, since.0 + 2);
    let tx = store.begin_read().unwrap();
    let found = changes(&*tx, since, &Filter::All, &Filter::All).unwrap();
    assert_eq!(seen(&found), [(2, true, true, false)]);
}

pub fn membership_lists_what_one_filter_has_and_the_other_not(store: &dyn Store) {
    let names = ["oak", "ash", "oak", "elm"];
    let places: Vec<_> = names
        .iter()
        .zip(1..)
        .map(|(name, n)| place(n, name))
        .collect();
    let since = put_places(store, &places);
    put_places(store, &[place(3, "ash"), place(5, "ash")]);
    let tx = store.begin_read().unwrap();
    let (now, then) = (named("ash"), named("oak"));
    let query = ChangeQuery {
        collection: PLACES,
        since,
        upto: tx.head().unwrap().generation,
        filter: &now,
        filter_then: &then,
    };
    let mut found = Vec::new();
    tx.membership(&query, &mut |change| {
        assert!(change.record.is_some());
        found.push(change);
        Ok(Flow::Continue(()))
    })
    .unwrap();
    found.sort_by_key(|change| number(&change.global_id));
    assert_eq!(
        seen(&found),
        [(1, true, false, true), (2, true, true, false)]
    );
}

pub fn changes_stop_when_told(store: &dyn Store) {
    put_places(store, &[place(1, "a"), place(2, "b"), place(3, "c")]);
    let tx = store.begin_read().unwrap();
    let query = ChangeQuery {
        collection: PLACES,
        since: Generation::ZERO,
        upto: Generation(2),
        filter: &Filter::All,
        filter_then: &Filter::All,
    };
    let mut visited = 0;
    tx.changes(&query, &mut |_| {
        visited += 1;
        Ok(Flow::Continue(()))
    })
    .unwrap();
    assert_eq!(visited, 2, "up to and including generation 2");
    visited = 0;
    tx.changes(&query, &mut |_| {
        visited += 1;
        Ok(Flow::Break(()))
    })
    .unwrap();
    assert_eq!(visited, 1);
    let refused = tx.changes(&query, &mut |_| {
        Err(crate::Error::Corrupt("the visitor's own error".into()))
    });
    assert!(matches!(refused, Err(crate::Error::Corrupt(_))));
}

pub fn live_records_page_by_generation(store: &dyn Store) {
    put_places(store, &[place(1, "a"), place(2, "b"), place(3, "a")]);
    commit(store, 2, |tx| {
        tx.delete(PLACES, &id(2), None).unwrap();
        tx.put(PLACES, &place(1, "a"), None).unwrap();
        tx.put(PLACES, &place(4, "b"), None).unwrap();
    });
    let tx = store.begin_read().unwrap();
    let page = |after: u64, filter: &Filter| {
        let mut found = Vec::new();
        tx.live_after(PLACES, Generation(after), filter, &mut |versioned| {
            found.push(number(&versioned.record.global_id));
            Ok(Flow::Continue(()))
        })
        .unwrap();
        found
    };
    assert_eq!(page(0, &Filter::All), [3, 1, 4]);
    assert_eq!(page(3, &Filter::All), [1, 4]);
    assert_eq!(page(0, &named("a")), [3, 1]);
    let is_null = Filter::Not(Box::new(Filter::IsNull(Expr::Literal(Value::Null))));
    assert!(set(&page(0, &is_null)).is_empty());
}
