//! What a synchronisation makes of two files.

use haversack_model::conformance::documents::{NOTES, PEOPLE};
use haversack_model::conformance::fixture::{PLACES, place};
use haversack_model::documents::document;
use haversack_model::{GlobalId, Store as _};
use haversack_sync::reconcile::{Method, Options};

use crate::ground::{
    NOW, bodies, body, contents, edit, equal, file, head, pull, put, root, sync, sync_with,
};

#[test]
fn a_copy_has_the_documents_of_the_primary_with_their_revisions() {
    let (primary, copy) = equal(500);
    assert_eq!(contents(&primary), contents(&copy));
    assert_eq!(root(&copy).count, 500);
}

#[test]
fn equal_copies_take_one_round_trip_and_no_generation() {
    let (primary, copy) = equal(500);
    let before = head(&copy);
    let report = sync(&primary, &copy);
    assert_eq!((report.method, report.rounds), (Method::Equal, 1));
    assert!(
        report.bytes_sent + report.bytes_received < 150,
        "{report:?}"
    );
    assert_eq!(head(&copy), before);
}

#[test]
fn only_what_changed_is_told() {
    let (primary, copy) = equal(500);
    let before = head(&copy);
    edit(
        &primary,
        [
            ("k3", Some(body(3, 1))),
            ("k4", None),
            ("new", Some("{}".to_owned())),
        ],
    );
    let report = sync(&primary, &copy);
    assert_eq!((report.method, report.rounds), (Method::Changes, 1));
    assert_eq!(
        (report.inserted, report.replaced, report.removed),
        (1, 1, 1)
    );
    assert_eq!(head(&copy).0, before.0 + 3);
    assert_eq!(contents(&primary), contents(&copy));
}

#[test]
fn what_was_edited_in_the_copy_is_put_back() {
    let (primary, copy) = equal(500);
    edit(
        &copy,
        [
            ("k3", Some(body(3, 9))),
            ("k4", None),
            ("mine", Some("{}".to_owned())),
        ],
    );
    put(&primary, 100, 110, 1);
    let report = sync(&primary, &copy);
    assert!(report.method >= Method::Tree, "{report:?}");
    edit(&copy, [("mine", Some("{}".to_owned()))]);
    sync(&primary, &copy);
    assert_eq!(
        bodies(&copy).len(),
        500,
        "what only the copy has goes, although no item tells of it"
    );
}

#[test]
fn a_copy_that_missed_purged_tombstones_loses_what_they_were_of() {
    let (primary, copy) = equal(300);
    edit(
        &primary,
        [("k3", None), ("k200", None), ("k5", Some(body(5, 1)))],
    );
    let mut tx = primary.store.begin_write(NOW).unwrap();
    let upto = tx.head().unwrap().generation;
    tx.prune_history(upto).unwrap();
    tx.commit().unwrap();
    assert!(primary.store.check_summaries(NOTES, NOW).unwrap());
    let report = sync(&primary, &copy);
    assert_eq!(report.dropped, 2, "{report:?}");
    assert_eq!(bodies(&copy).len(), 298);
}

#[test]
fn a_copy_keeps_the_primarys_tombstones_as_long_as_the_primary() {
    let (primary, copy) = equal(100);
    edit(&primary, [("k3", None), ("k4", None)]);
    sync(&primary, &copy);
    let prune = |held: &crate::common::Held| {
        let mut tx = held.store.begin_write(NOW).unwrap();
        let upto = tx.head().unwrap().generation;
        tx.prune_history(upto).unwrap();
        tx.commit().unwrap();
    };
    prune(&copy);
    let report = sync(&primary, &copy);
    assert_eq!((report.method, report.rounds), (Method::Equal, 1));
    // One of them comes back here, below the floor of this file.
    edit(&copy, [("k4", Some(body(4, 1)))]);
    sync(&primary, &copy);
    prune(&primary);
    sync(&primary, &copy);
    assert_eq!(root(&copy).count, 98);
    put(&primary, 3, 5, 2);
    sync(&primary, &copy);
}

#[test]
fn copies_that_were_made_apart_are_matched_by_key() {
    let (primary, copy) = (file(), file());
    put(&primary, 0, 300, 0);
    put(&copy, 100, 400, 0);
    edit(&copy, [("k150", Some(body(150, 7)))]);
    let before = head(&copy);
    let report = sync(&primary, &copy);
    assert!(report.by_key);
    assert_eq!(report.adopted, 199);
    assert_eq!(head(&copy).0 - before.0, 100 + 1 + 100);
    let report = sync(&primary, &copy);
    assert_eq!((report.method, report.rounds), (Method::Equal, 1));
    put(&primary, 10, 20, 1);
    assert_eq!(sync(&primary, &copy).method, Method::Changes);
}

#[test]
fn a_new_history_of_the_primary_costs_no_full_copy() {
    let (primary, copy) = equal(300);
    edit(&primary, [("k3", None)]);
    sync(&primary, &copy);
    let mut tx = primary.store.begin_write(NOW).unwrap();
    tx.start_history(haversack_model::HistoryId(uuid::Uuid::from_u128(9)))
        .unwrap();
    tx.commit().unwrap();
    put(&primary, 5, 8, 1);
    let report = sync(&primary, &copy);
    assert!(!report.by_key && report.replaced == 3, "{report:?}");
}

#[test]
fn a_chain_and_a_loop_of_copies_end() {
    let (first, second) = equal(200);
    let third = file();
    sync(&second, &third);
    edit(&first, [("k1", None), ("k2", Some(body(2, 1)))]);
    sync(&first, &second);
    assert_eq!(sync(&second, &third).method, Method::Changes);
    assert_eq!(contents(&first), contents(&third));
    let before = head(&first);
    // The first of the chain becomes a copy of its last.
    sync(&third, &first);
    assert_eq!(head(&first), before, "equal documents take no generation");
    sync(&first, &second);
    assert_eq!(contents(&first), contents(&second));
}

#[test]
fn a_touch_is_told_and_changes_no_content() {
    let (primary, copy) = equal(50);
    let before = head(&copy);
    let mut tx = primary.store.begin_write(NOW).unwrap();
    tx.touch(NOTES, &GlobalId::Text("k7".into())).unwrap();
    tx.commit().unwrap();
    sync(&primary, &copy);
    assert_eq!(head(&copy), before);
}

#[test]
fn documents_may_exchange_the_values_of_a_unique_index() {
    let (primary, copy) = (file(), file());
    let write = |of: &str, values: [(&str, &str); 2]| {
        let mut tx = primary.store.begin_write(NOW).unwrap();
        for (key, _) in values {
            tx.delete(PEOPLE, &GlobalId::Text(key.into()), None)
                .unwrap();
        }
        for (key, mail) in values {
            let body = format!("{{\"mail\":\"{mail}\",\"of\":\"{of}\"}}");
            tx.put(PEOPLE, &document(key, body), None).unwrap();
        }
        tx.commit().unwrap();
    };
    let sync = || pull((&primary, PEOPLE), (&copy, PEOPLE), Options::default()).unwrap();
    write("first", [("1", "x"), ("2", "y")]);
    sync();
    write("second", [("1", "y"), ("2", "x")]);
    assert_eq!(sync().replaced, 2);
    let mut tx = copy.store.begin_write(NOW).unwrap();
    let refused = tx.put(PEOPLE, &document("3", "{\"mail\":\"x\"}"), None);
    assert!(matches!(
        refused,
        Err(haversack_model::Error::Unique { .. })
    ));
}

#[test]
fn a_dry_run_changes_nothing_and_says_what_would() {
    let (primary, copy) = equal(100);
    edit(
        &primary,
        [
            ("k3", Some(body(3, 1))),
            ("k4", None),
            ("z", Some("{}".to_owned())),
        ],
    );
    let before = (contents(&copy), head(&copy));
    let options = Options {
        dry_run: true,
        ..Options::default()
    };
    let report = sync_with(&primary, &copy, options).unwrap();
    assert_eq!(
        (report.inserted, report.replaced, report.removed),
        (1, 1, 1)
    );
    assert_eq!((contents(&copy), head(&copy)), before);
    assert_eq!(sync(&primary, &copy).inserted, 1);
}

#[test]
fn a_layer_is_copied_as_documents() {
    let (primary, copy) = (file(), file());
    let mut tx = primary.store.begin_write(NOW).unwrap();
    for n in 0..200 {
        tx.put(PLACES, &place(n, "a"), None).unwrap();
    }
    tx.commit().unwrap();
    let sync = || pull((&primary, PLACES), (&copy, NOTES), Options::default()).unwrap();
    assert_eq!(sync().inserted, 200);
    let mut tx = primary.store.begin_write(NOW).unwrap();
    tx.put(PLACES, &place(7, "b"), None).unwrap();
    tx.delete(PLACES, &haversack_model::conformance::fixture::id(8), None)
        .unwrap();
    tx.commit().unwrap();
    let report = sync();
    assert_eq!((report.replaced, report.removed), (1, 1));
    assert_eq!(bodies(&copy).len(), 199);
    assert!(
        bodies(&copy)
            .values()
            .any(|body| body.contains("\"name\":\"b\""))
    );
    assert!(primary.store.check_summaries(PLACES, NOW).unwrap());
    assert_eq!(sync().method, Method::Equal);
}
