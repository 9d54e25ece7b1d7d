//! Copies without generations in common: imported twice, restored, of another key; and contents that were damaged.

use haversack_sync::reconcile::{FpKey, LeafBits, Method, Options};

use crate::memory::scenario::{Chance, body, edit, equal, scattered};
use crate::memory::{Collection, Shared, history, id, sync};

fn are_equal(primary: &Shared, copy: &Collection) {
    let primary = primary.collection.borrow();
    assert_eq!(primary.items_here(), copy.items_up());
    assert_eq!(primary.live(), copy.live());
    assert!(copy.is_sound());
}

#[test]
fn the_same_data_imported_twice_is_matched_by_key_and_no_record_is_sent() {
    let (primary, _) = equal(5000);
    let mut apart = Collection::new(4);
    apart.put((0..5000).rev().map(|at| (id(at), body(at, 0))));
    let generation = apart.generation;
    let report = sync(&primary, &mut apart, Options::default()).unwrap();
    are_equal(&primary, &apart);
    assert!(report.by_key && report.was_equal());
    assert_eq!((report.adopted, report.bytes_of_records), (5000, 0));
    assert!(
        report.rounds <= 3 && report.overhead() < 5 * 5000,
        "{report:?}"
    );
    // Nothing of it changed, so it took no generation.
    assert_eq!(apart.generation, generation);
    // From now on the two share generations.
    edit(
        &mut primary.collection.borrow_mut(),
        5000,
        10,
        &mut Chance::new(1),
    );
    let report = sync(&primary, &mut apart, Options::default()).unwrap();
    are_equal(&primary, &apart);
    assert_eq!((report.by_key, report.rounds), (false, 1));
}

#[test]
fn copies_made_apart_become_equal_whatever_differs() {
    for differing in [1, 20, 900] {
        let (primary, _) = equal(3000);
        primary.collection.borrow_mut().delete((0..40).map(id));
        let mut apart = Collection::new(4);
        apart.put((20..2900).map(|at| (id(at), body(at, u64::from(at % 1000 < differing)))));
        apart.put((5000..5010).map(|at| (id(at), body(at, 0))));
        apart.delete((100..110).map(id));
        let report = sync(&primary, &mut apart, Options::default()).unwrap();
        are_equal(&primary, &apart);
        assert!(report.by_key && report.rounds <= 8, "{report:?}");
        assert_eq!(report.failed_proofs, 0);
    }
}

#[test]
fn a_copy_that_has_nothing_in_common_is_copied_whole() {
    let (primary, _) = equal(3000);
    let mut apart = Collection::new(4);
    apart.put((10_000..13_000).map(|at| (id(at), body(at, 0))));
    let report = sync(&primary, &mut apart, Options::default()).unwrap();
    are_equal(&primary, &apart);
    assert_eq!(report.method, Method::FullCopy);
}

#[test]
fn a_copy_of_an_emptied_primary_is_emptied() {
    let (primary, mut copy) = equal(500);
    let mut apart = Collection::new(4);
    apart.put((0..500).map(|at| (id(at), body(at, 0))));
    {
        let mut primary = primary.collection.borrow_mut();
        primary.delete((0..500).map(id));
        let newest = primary.generation;
        primary.purge(newest);
    }
    for copy in [&mut copy, &mut apart] {
        sync(&primary, copy, Options::default()).unwrap();
        are_equal(&primary, copy);
        assert!(copy.live().is_empty());
    }
}

#[test]
fn damaged_content_is_found_by_a_deep_comparison_alone() {
    let (primary, mut copy) = equal(3000);
    copy.rows.get_mut(&id(77)).unwrap().body = b"damaged".as_slice().into();
    let report = sync(&primary, &mut copy, Options::default()).unwrap();
    assert!(report.was_equal());
    let deep = Options {
        deep: true,
        ..Options::default()
    };
    let report = sync(&primary, &mut copy, deep).unwrap();
    assert_eq!((report.replaced, report.by_key), (1, true));
    are_equal(&primary, &copy);
}

#[test]
fn after_a_known_fork_only_what_is_later_is_compared_anew() {
    let (primary, mut copy) = scattered(3000, 0, 1);
    // A backup of the primary, taken now; the copy goes on a little with the old one.
    let backup = primary.collection.borrow().clone();
    edit(
        &mut primary.collection.borrow_mut(),
        3000,
        50,
        &mut Chance::new(1),
    );
    sync(&primary, &mut copy, Options::default()).unwrap();
    let fork = backup.generation;
    let mut restored = backup;
    restored.common.insert(restored.history, fork);
    restored.history = history(99);
    restored.generation = 1 << 40;
    edit(&mut restored, 3000, 30, &mut Chance::new(2));
    let restored = Shared::new(restored);
    let report = sync(&restored, &mut copy, Options::default()).unwrap();
    are_equal(&restored, &copy);
    assert!(!report.by_key && report.rounds <= 4, "{report:?}");
    assert!(
        report.inserted + report.replaced + report.removed <= 90,
        "{report:?}"
    );
}

#[test]
fn after_an_unknown_fork_copies_are_matched_by_key() {
    let (primary, mut copy) = equal(3000);
    let mut restored = primary.collection.borrow().clone();
    restored.history = history(99);
    edit(&mut restored, 3000, 30, &mut Chance::new(2));
    let restored = Shared::new(restored);
    let report = sync(&restored, &mut copy, Options::default()).unwrap();
    are_equal(&restored, &copy);
    assert!(
        report.by_key && report.inserted + report.replaced <= 30,
        "{report:?}"
    );
}

#[test]
fn a_primary_that_was_rewound_in_the_same_history_is_followed() {
    let (primary, mut copy) = equal(3000);
    let rewound = Shared::new(primary.collection.borrow().clone());
    edit(
        &mut primary.collection.borrow_mut(),
        3000,
        50,
        &mut Chance::new(1),
    );
    sync(&primary, &mut copy, Options::default()).unwrap();
    sync(&rewound, &mut copy, Options::default()).unwrap();
    are_equal(&rewound, &copy);
}

#[test]
fn a_new_key_costs_a_scan_and_no_record() {
    let (primary, mut copy) = equal(3000);
    {
        let mut primary = primary.collection.borrow_mut();
        primary.key = FpKey::new([9; 32]);
        primary.refold(LeafBits::NARROWEST);
    }
    let report = sync(&primary, &mut copy, Options::default()).unwrap();
    are_equal(&primary, &copy);
    assert_eq!((report.rounds, report.bytes_of_records), (1, 0));
}

#[test]
fn a_key_or_a_history_that_changes_during_the_walk_begins_it_anew() {
    for changes_key in [true, false] {
        let (primary, mut copy) = scattered(3000, 200, 4);
        let mut at = 0;
        let primary = primary.written_by(move |primary| {
            at += 1;
            match at {
                3 if changes_key => {
                    primary.key = FpKey::new([9; 32]);
                    primary.refold(LeafBits::NARROWEST);
                }
                3 => {
                    primary.common.insert(primary.history, primary.generation);
                    primary.history = history(99);
                }
                _ => {}
            }
        });
        let report = sync(&primary, &mut copy, Options::default()).unwrap();
        are_equal(&primary, &copy);
        assert_eq!(report.restarts, 1, "{report:?}");
    }
}

#[test]
fn two_widths_of_leaves_are_compared_at_the_coarser() {
    for (here, there) in [(6, 9), (9, 6), (7, 12), (12, 8), (20, 6), (6, 42)] {
        let (primary, mut copy) = scattered(4000, 60, 3);
        primary
            .collection
            .borrow_mut()
            .refold(LeafBits::new(here).unwrap());
        copy.up_bits = LeafBits::new(there).unwrap();
        copy.rebuild_up();
        let report = sync(&primary, &mut copy, Options::default()).unwrap();
        are_equal(&primary, &copy);
        assert!(
            report.rounds <= 8 && report.failed_proofs == 0,
            "{report:?}"
        );
    }
}

#[test]
fn an_edit_of_the_copy_is_replaced_by_what_the_primary_has() {
    let (primary, mut copy) = equal(1000);
    copy.put([
        (id(5), b"mine".to_vec()),
        (id(70_000), b"mine alone".to_vec()),
    ]);
    copy.delete([id(6)]);
    let report = sync(&primary, &mut copy, Options::default()).unwrap();
    are_equal(&primary, &copy);
    assert_eq!(report.inserted + report.replaced, 2, "{report:?}");
}
