//! Edits of other programs, damage, and leaves that do not fit any more.

use haversack_model::conformance::documents::NOTES;
use haversack_sync::reconcile::Options;
use rusqlite::Connection;

use crate::ground::{NOW, bodies, edit, equal, put, sync, sync_with};

fn plain(held: &crate::common::Held, sql: &str) {
    Connection::open(&held.path)
        .unwrap()
        .execute_batch(sql)
        .unwrap();
}

#[test]
fn edits_of_other_programs_are_in_the_sums_of_the_primary() {
    let (primary, copy) = equal(200);
    plain(
        &primary,
        "UPDATE _notes SET document = '{\"by\":\"hand\"}' WHERE _key IN ('k1', 'k2'); \
         DELETE FROM _notes WHERE _key = 'k3'; \
         INSERT INTO _notes (_key, document) VALUES ('hand', '{}'); \
         INSERT OR REPLACE INTO _notes (_key, document) VALUES ('k4', '{\"by\":\"hand\"}'); \
         INSERT INTO _notes (document) VALUES ('{\"key\":\"none\"}'); \
         UPDATE _notes SET document = '{}' WHERE _key = 'hand'",
    );
    // One is edited again before anybody looks.
    edit(&primary, [("k1", Some("{\"by\":\"us\"}".to_owned()))]);
    let report = sync(&primary, &copy);
    assert_eq!((report.replaced, report.removed), (3, 1), "{report:?}");
    assert_eq!(report.inserted, 2);
}

#[test]
fn edits_of_other_programs_take_records_of_a_copy_out_of_its_sums() {
    let (primary, copy) = equal(200);
    plain(
        &copy,
        "UPDATE _notes SET document = '{\"by\":\"hand\"}' WHERE _key IN ('k1', 'k2'); \
         DELETE FROM _notes WHERE _key = 'k3'; \
         INSERT OR REPLACE INTO _notes (_key, document) VALUES ('k4', '{\"by\":\"hand\"}'); \
         INSERT INTO _notes (_key, document) VALUES ('hand', '{}')",
    );
    assert!(copy.store.check_summaries(NOTES, NOW).unwrap());
    sync(&primary, &copy);
    plain(
        &copy,
        "INSERT INTO _notes (_key, document) VALUES ('hand', '{}')",
    );
    sync(&primary, &copy);
    assert_eq!(bodies(&copy).len(), 200);
}

#[test]
fn what_is_no_json_object_is_refused_for_other_programs_too() {
    let (primary, _copy) = equal(2);
    let plain = Connection::open(&primary.path).unwrap();
    for document in ["'[]'", "'{'", "NULL", "'x'"] {
        let refused = plain.execute(&format!("UPDATE _notes SET document = {document}"), []);
        assert!(refused.is_err(), "{document}");
    }
}

#[test]
fn a_damaged_summary_is_found_and_built_anew() {
    for damage in [
        "UPDATE haversack_sums SET low = low + 1 WHERE level = 0",
        "DELETE FROM haversack_sums WHERE level = 1",
        "UPDATE haversack_sums SET items = items + 1",
    ] {
        let (primary, copy) = equal(500);
        plain(&primary, damage);
        assert!(!primary.store.check_summaries(NOTES, NOW).unwrap());
        assert!(primary.store.check_summaries(NOTES, NOW).unwrap());
        sync(&primary, &copy);
        plain(&copy, damage);
        put(&primary, 3, 9, 1);
        assert!(!copy.store.check_summaries(NOTES, NOW).unwrap());
        sync(&primary, &copy);
    }
}

/// What damage may make of a file's sums, on one level or on all.
const DAMAGES: [&str; 10] = [
    "UPDATE haversack_sums SET items = items + 1 WHERE level = 0",
    "UPDATE haversack_sums SET items = 0 WHERE level = 0",
    "UPDATE haversack_sums SET items = -1 WHERE level = 0",
    "UPDATE haversack_sums SET items = 9223372036854775807 WHERE level = 0",
    "UPDATE haversack_sums SET high = high + 1 WHERE level = 1",
    "UPDATE haversack_sums SET items = 0 WHERE level = 4",
    "UPDATE haversack_sums SET items = -1 WHERE level = 4",
    "UPDATE haversack_sums SET items = items + 1, low = low + 1",
    "DELETE FROM haversack_sums WHERE level IN (0, 2)",
    "DELETE FROM haversack_sums",
];

#[test]
fn a_copy_whose_sums_are_damaged_is_equal_after_one_synchronisation_that_failed() {
    for damage in DAMAGES {
        let (primary, copy) = equal(500);
        edit(&copy, [("k7", None), ("k300", Some("{}".to_owned()))]);
        put(&primary, 3, 9, 1);
        edit(&primary, [("k100", None)]);
        plain(&copy, damage);
        let before = bodies(&copy);
        if let Err(error) = sync_with(&primary, &copy, Options::default()) {
            assert_eq!(bodies(&copy), before, "{damage}: {error}");
            let mut failed = copy.store.secondary(NOTES, NOW).unwrap();
            failed.give_up().unwrap();
        }
        let again = sync_with(&primary, &copy, Options::default());
        assert!(again.is_ok(), "{damage}: {again:?}");
        assert_eq!(bodies(&primary), bodies(&copy), "{damage}");
    }
}

#[test]
fn edits_of_other_programs_that_do_not_fit_damaged_sums_are_not_taken_for_equal() {
    // The rows of the lower levels take the edit, the damaged one refuses it, and the root never hears of it.
    let damage = "UPDATE haversack_sums SET items = 0 WHERE level = 2; \
         DELETE FROM _notes WHERE _key = 'k3'";
    for is_copy in [true, false] {
        let (primary, copy) = equal(200);
        plain(if is_copy { &copy } else { &primary }, damage);
        let report = sync(&primary, &copy);
        assert!(!report.was_equal(), "{report:?}");
    }
}

#[test]
fn an_edit_of_a_copy_whose_sums_were_given_up_is_put_back() {
    let (primary, copy) = equal(200);
    plain(&copy, "UPDATE haversack_sums SET items = 0 WHERE level = 1");
    // The first finds the damage, the second comes before anything is built anew.
    put(&copy, 29, 30, 7);
    put(&copy, 32, 33, 7);
    sync(&primary, &copy);
}

#[test]
fn an_edit_succeeds_although_the_sums_are_damaged() {
    let (primary, copy) = equal(500);
    plain(&primary, "DELETE FROM haversack_sums WHERE level = 0");
    put(&primary, 3, 9, 1);
    sync(&primary, &copy);
}

#[test]
fn edits_without_any_trigger_are_found_when_the_file_is_opened() {
    let (primary, copy) = equal(200);
    let folder = primary.path.parent().unwrap().to_owned();
    plain(
        &primary,
        "DROP TRIGGER haversack_note_update; DROP TRIGGER haversack_insert__notes; \
         UPDATE _notes SET document = '{\"n\":1}' WHERE _key = 'k1'; \
         INSERT INTO _notes (_key, document) VALUES ('hand', '{}')",
    );
    let primary = primary.reopened();
    assert!(folder.exists());
    let report = sync(&primary, &copy);
    assert_eq!((report.replaced, report.inserted), (1, 1));
}

#[test]
fn leaves_are_folded_anew_when_they_hold_too_few() {
    let (primary, copy) = equal(20_000);
    // Generations are thinned: what is left is spread over many leaves.
    for round in 1..4 {
        edit(
            &primary,
            (0..20_000)
                .filter(|n| n % 16 != 0)
                .map(|n| (format!("k{n}"), Some(crate::ground::body(n, round)))),
        );
    }
    edit(
        &primary,
        (0..20_000)
            .filter(|n| n % 16 != 0)
            .map(|n| (format!("k{n}"), None)),
    );
    let mut tx = haversack_model::Store::begin_write(&primary.store, NOW).unwrap();
    let upto = tx.head().unwrap().generation;
    tx.prune_history(upto).unwrap();
    tx.commit().unwrap();
    sync(&primary, &copy);
    let bits: u8 = Connection::open(&primary.path)
        .unwrap()
        .query_row(
            &format!(
                "SELECT bits FROM haversack_summaries WHERE side = 0 AND collection = {}",
                NOTES.0
            ),
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert!(bits > 6, "{bits}");
    put(&primary, 0, 32, 9);
    sync(&primary, &copy);
}
