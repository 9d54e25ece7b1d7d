//! What a walk may cost: bytes and round trips, of small collections. `examples/reconcile.rs` does it with a million.

use haversack_sync::reconcile::{Method, Options};

use crate::memory::scenario::{Chance, edit, equal, scattered};
use crate::memory::{Shared, id, sync};

const N: u64 = 20_000;

fn is_equal(primary: &Shared, copy: &crate::memory::Collection) {
    let primary = primary.collection.borrow();
    assert_eq!(primary.items_here(), copy.items_up());
    assert_eq!(primary.live(), copy.live());
    assert!(copy.is_sound());
}

#[test]
fn nothing_to_do_is_one_round_trip_of_200_bytes() {
    let (primary, mut copy) = equal(N);
    let report = sync(&primary, &mut copy, Options::default()).unwrap();
    assert_eq!((report.rounds, report.method), (1, Method::Equal));
    assert!(report.overhead() <= 200, "{report:?}");
    // A copy that does not know how far it is pays the same.
    copy.lose_cursor();
    let report = sync(&primary, &mut copy, Options::default()).unwrap();
    assert_eq!((report.rounds, report.method), (1, Method::Equal));
    assert!(report.overhead() <= 200, "{report:?}");
}

#[test]
fn tombstones_that_were_purged_cost_nothing() {
    let (primary, mut copy) = equal(N);
    primary.collection.borrow_mut().delete((0..500).map(id));
    sync(&primary, &mut copy, Options::default()).unwrap();
    let newest = primary.collection.borrow().generation;
    primary.collection.borrow_mut().purge(newest);
    let report = sync(&primary, &mut copy, Options::default()).unwrap();
    is_equal(&primary, &copy);
    assert_eq!((report.rounds, report.method), (1, Method::Equal));
    assert!(report.overhead() <= 200, "{report:?}");
}

#[test]
fn changes_since_the_cursor_are_one_round_trip() {
    let (primary, mut copy) = equal(N);
    edit(
        &mut primary.collection.borrow_mut(),
        N,
        1000,
        &mut Chance::new(1),
    );
    let report = sync(&primary, &mut copy, Options::default()).unwrap();
    is_equal(&primary, &copy);
    assert_eq!((report.rounds, report.method), (1, Method::Changes));
    assert!(report.overhead() <= 200 + 4 * 1000, "{report:?}");
}

#[test]
fn new_records_with_the_cursor_lost_cost_little_beyond_themselves() {
    let (primary, mut copy) = equal(N);
    let new = (N..N + 1000).map(|at| (id(at), vec![7; 110]));
    primary.collection.borrow_mut().put(new);
    copy.lose_cursor();
    let report = sync(&primary, &mut copy, Options::default()).unwrap();
    is_equal(&primary, &copy);
    assert_eq!(report.rounds, 1);
    assert!(report.overhead() <= 6 << 10, "{report:?}");
}

#[test]
fn differences_anywhere_cost_in_proportion_to_them() {
    for (d, most, rounds) in [(1, 3 << 10, 4), (10, 8 << 10, 6), (1000, 60 << 10, 8)] {
        let (primary, mut copy) = scattered(N, d, d);
        let report = sync(&primary, &mut copy, Options::default()).unwrap();
        is_equal(&primary, &copy);
        assert!(report.rounds <= rounds, "{d}: {report:?}");
        assert!(report.overhead() <= most, "{d}: {report:?}");
        assert_eq!(report.failed_proofs, 0, "{d}: {report:?}");
    }
}

#[test]
fn a_copy_that_missed_half_of_everything_still_takes_eight_round_trips() {
    let (primary, mut copy) = scattered(N, N / 2, 9);
    let report = sync(&primary, &mut copy, Options::default()).unwrap();
    is_equal(&primary, &copy);
    assert!(report.rounds <= 8, "{report:?}");
    assert!(report.overhead() <= 20 * N, "{report:?}");
}

#[test]
fn an_empty_copy_is_filled_in_one_round_trip() {
    let (primary, _) = equal(N);
    let mut copy = crate::memory::Collection::new(3);
    let report = sync(&primary, &mut copy, Options::default()).unwrap();
    is_equal(&primary, &copy);
    assert_eq!((report.rounds, report.inserted), (1, N));
    assert!(report.overhead() <= 5 * N, "{report:?}");
}
