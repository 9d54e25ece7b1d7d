//! Whatever two copies hold, a walk makes them equal, and finds what a naive comparison finds.

use std::collections::BTreeSet;

use haversack_sync::reconcile::{LeafBits, Options};
use proptest::prelude::*;

use crate::memory::scenario::body;
use crate::memory::{Collection, Shared, id, sync};

/// What somebody does to a primary or to its copy.
#[derive(Clone, Debug)]
enum Deed {
    Put(u64),
    Delete(u64),
    Purge(u64),
    Sync,
    /// The copy loses what it has of a record.
    Lose(u64),
    /// Somebody edits the copy.
    EditCopy(u64),
    LoseCursor,
    Refold(u8),
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        10 => (0..400u64).prop_map(Deed::Put),
        3 => (0..400u64).prop_map(Deed::Delete),
        1 => (0..3000u64).prop_map(Deed::Purge),
        1 => Just(Deed::Sync),
        4 => (0..400u64).prop_map(Deed::Lose),
        1 => (0..400u64).prop_map(Deed::EditCopy),
        1 => Just(Deed::LoseCursor),
        1 => (6..12u8).prop_map(Deed::Refold),
    ]
}

fn done(deeds: &[Deed]) -> (Shared, Collection) {
    let (primary, mut copy) = (Shared::new(Collection::new(1)), Collection::new(2));
    primary
        .collection
        .borrow_mut()
        .put((0..200).map(|at| (id(at), body(at, 0))));
    sync(&primary, &mut copy, Options::default()).unwrap();
    for (at, deed) in deeds.iter().enumerate() {
        let at = at as u64;
        match deed {
            Deed::Put(n) => primary
                .collection
                .borrow_mut()
                .put([(id(*n), body(*n, at))]),
            Deed::Delete(n) => primary.collection.borrow_mut().delete([id(*n)]),
            Deed::Purge(upto) => {
                let newest = primary.collection.borrow().generation;
                primary.collection.borrow_mut().purge(*upto.min(&newest));
            }
            Deed::Sync => {
                sync(&primary, &mut copy, Options::default()).unwrap();
            }
            Deed::Lose(n) => copy.lose(&id(*n), None),
            Deed::EditCopy(n) => copy.put([(id(*n), b"mine".to_vec())]),
            Deed::LoseCursor => copy.lose_cursor(),
            Deed::Refold(bits) => {
                let bits = LeafBits::new(*bits).unwrap();
                primary.collection.borrow_mut().refold(bits);
            }
        }
    }
    (primary, copy)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn a_walk_makes_them_equal(deeds in prop::collection::vec(deed(), 0..300)) {
        let (primary, mut copy) = done(&deeds);
        let report = sync(&primary, &mut copy, Options::default()).unwrap();
        let primary = primary.collection.borrow();
        prop_assert_eq!(primary.items_here(), copy.items_up());
        prop_assert_eq!(primary.live(), copy.live());
        prop_assert!(primary.is_sound() && copy.is_sound());
        prop_assert!(report.rounds <= 8, "{:?}", report);
        prop_assert_eq!(report.failed_proofs, 0);
    }

    #[test]
    fn a_dry_run_finds_exactly_the_difference_and_changes_nothing(
        deeds in prop::collection::vec(deed(), 0..200),
    ) {
        let (primary, mut copy) = done(&deeds);
        let here = primary.collection.borrow().items_here();
        let there = copy.items_up();
        let before = copy.live();
        let options = Options { dry_run: true, ..Options::default() };
        sync(&primary, &mut copy, options).unwrap();
        prop_assert_eq!(&copy.items_up(), &there);
        prop_assert_eq!(copy.live(), before);
        let (staged, dropped) = copy.staged();
        let missing: BTreeSet<_> =
            here.difference(&there).map(|(generation, id, _)| (*generation, id.clone())).collect();
        prop_assert_eq!(&staged, &missing);
        let named: BTreeSet<_> = missing.into_iter().map(|(_, id)| id).collect();
        let extra: BTreeSet<_> = there
            .difference(&here)
            .map(|(_, id, _)| id.clone())
            .filter(|id| !named.contains(id))
            .collect();
        prop_assert_eq!(dropped, extra);
    }
}
