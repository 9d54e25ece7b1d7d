//! The summary: folded in any order, rebuilt, checked, and folded anew to another width.

use haversack_model::Generation;
use haversack_sync::reconcile::{Deltas, FpKey, Item, LEVELS, LeafBits, Node, SelfCheck, Sum};
use proptest::prelude::*;

use crate::memory::{Rows, id};

fn item(n: u64, generation: u64) -> Item {
    Item {
        global_id: id(n),
        generation: Generation(generation),
        deleted: false,
        content: 0,
    }
}

fn rows_of(deltas: &Deltas) -> Rows {
    let mut rows = Rows::default();
    deltas.fold_into(&mut rows).expect("items make a set");
    rows
}

proptest! {
    #[test]
    fn transactions_folded_one_by_one_are_the_summary_of_one_scan(
        writes in prop::collection::vec((0..50u64, any::<bool>()), 1..200),
        each in 1..9usize,
        bits in 6..12u8,
    ) {
        let (key, bits) = (FpKey::new([3; 32]), LeafBits::new(bits).expect("it is one"));
        let mut present = std::collections::BTreeMap::new();
        let mut rows = Rows::default();
        let mut generation = 0;
        for transaction in writes.chunks(each) {
            let mut deltas = Deltas::new(bits);
            for (n, stays) in transaction {
                generation += 37;
                if let Some(before) = present.remove(n) {
                    deltas.remove(before, key.numbered(&item(*n, before)));
                }
                if *stays {
                    present.insert(*n, generation);
                    deltas.add(generation, key.numbered(&item(*n, generation)));
                }
            }
            deltas.fold_into(&mut rows).expect("no delta is lost");
        }
        let mut scan = Deltas::new(bits);
        for (n, generation) in &present {
            scan.add(*generation, key.numbered(&item(*n, *generation)));
        }
        prop_assert_eq!(&rows, &rows_of(&scan));
        let mut check = SelfCheck::default();
        rows.0.iter().for_each(|(node, sum)| check.see(*node, *sum));
        prop_assert!(check.holds(Some(present.len() as u64)));
        prop_assert!(!check.holds(Some(present.len() as u64 + 1)));
    }

    #[test]
    fn leaves_merge_to_wider_ones_without_a_scan(
        generations in prop::collection::btree_set(1..1u64 << 40, 0..200),
        from in 6..20u8,
        wider in 0..20u8,
    ) {
        let key = FpKey::new([3; 32]);
        let from = LeafBits::new(from).expect("it is one");
        let to = LeafBits::new(from.bits() + wider).expect("it is one");
        let summary = |bits| {
            let mut all = Deltas::new(bits);
            for generation in &generations {
                all.add(*generation, key.numbered(&item(*generation, *generation)));
            }
            all
        };
        let wide = Deltas::coarser(from, to, summary(from).level(0));
        prop_assert_eq!(wide, summary(to));
    }
}

#[test]
fn a_row_that_was_changed_alone_fails_the_check() {
    let key = FpKey::new([3; 32]);
    let mut all = Deltas::new(LeafBits::NARROWEST);
    for generation in (1..5000).step_by(3) {
        all.add(generation, key.numbered(&item(generation, generation)));
    }
    for level in 0..=LEVELS {
        let mut rows = rows_of(&all);
        let node = Node { level, index: 0 };
        let sum = rows.0[&node];
        rows.0.insert(
            node,
            sum.plus(Sum {
                count: 0,
                high: 0,
                low: 1,
            }),
        );
        let mut check = SelfCheck::default();
        rows.0.iter().for_each(|(node, sum)| check.see(*node, *sum));
        assert!(!check.holds(None), "level {level}");
    }
}

#[test]
fn leaves_are_folded_anew_when_they_drift_from_64_records_by_four_times() {
    let bits = |bits| LeafBits::new(bits).expect("it is one");
    // Full leaves, and such that lost less than three quarters, stay.
    assert_eq!(bits(6).drifted(64_000, 1000), None);
    assert_eq!(bits(6).drifted(17_000, 1000), None);
    // A collection that has one generation in 32: leaves of 2,048 generations.
    assert_eq!(bits(6).drifted(2_000, 1000), Some(bits(11)));
    assert_eq!(bits(11).drifted(64_000, 1000), None);
    // Full again after a bulk load.
    assert_eq!(bits(11).drifted(2_000_000, 1000), Some(bits(7)));
    // Narrower than 64 places there are none; a few leaves are cheap.
    assert_eq!(bits(6).drifted(1_000_000, 1000), None);
    assert_eq!(bits(6).drifted(10, 10), None);
}
