//! Collisions that chance would not bring about in a lifetime, forced: each is found by the proof and resolved.

use std::collections::HashMap;

use super::{FpKey, Item, Method, Options, Order, Report, Sum};

#[path = "../../tests/reconcile/memory/mod.rs"]
mod memory;

use memory::scenario::{body, scattered};
use memory::{Collection, Shared, id, sync};

/// Two global ids that, each alone in a leaf with generation 1, have the same print without salt.
fn colliding(key: &FpKey) -> (u64, u64) {
    let mut seen = HashMap::new();
    for n in 0.. {
        let item = Collection::item(&id(n), 1, false);
        let print = key.print(Sum::of(key.numbered(&item)), 0);
        if let Some(other) = seen.insert(print, n) {
            return (other, n);
        }
    }
    unreachable!("there are more numbers than prints")
}

#[test]
fn nodes_with_the_same_print_are_told_apart_by_the_next_salt() {
    let primary = Shared::new(Collection::new(1));
    let (here, there) = colliding(&primary.collection.borrow().key);
    let mut copy = Collection::new(2);
    primary
        .collection
        .borrow_mut()
        .put([(id(there), body(1, 0))]);
    sync(&primary, &mut copy, Options::default()).unwrap();
    // The primary is another now, in the same history, and its only leaf looks the same.
    let mut other = Collection::new(1);
    other.put([(id(here), body(1, 0))]);
    let primary = Shared::new(other);
    copy.lose_cursor();
    let report = sync(&primary, &mut copy, Options::default()).unwrap();
    assert_eq!(report.failed_proofs, 1, "{report:?}");
    assert!(report.method < Method::FullCopy);
    assert_eq!(primary.collection.borrow().items_here(), copy.items_up());
}

/// What it takes when short ids of the first salts have so few bits that most collide. Sums are of the full hashes.
fn narrowed(d: u64, bits: u32, salts: u8) -> Report {
    let (primary, mut copy) = scattered(3000, d, d);
    primary.collection.borrow_mut().key.narrow = Some((bits, salts));
    copy.up_key.as_mut().expect("it has a key").narrow = Some((bits, salts));
    let report = sync(&primary, &mut copy, Options::default()).expect("they become equal");
    assert!(copy.is_sound());
    assert_eq!(primary.collection.borrow().items_here(), copy.items_up());
    report
}

#[test]
fn short_ids_that_collide_in_lists_and_sketches_are_told_apart_by_the_next_salt() {
    for (d, bits) in [(2, 3), (2, 5), (400, 8), (400, 12), (900, 10)] {
        let report = narrowed(d, bits, 1);
        assert!(report.failed_proofs >= 1, "{d} {bits}: {report:?}");
        assert!(report.method < Method::WideLists, "{d} {bits}: {report:?}");
    }
}

#[test]
fn short_ids_that_collide_whatever_the_salt_are_told_apart_by_whole_hashes() {
    for (d, bits) in [(2, 3), (400, 8), (900, 10)] {
        let report = narrowed(d, bits, u8::MAX);
        assert_eq!(report.failed_proofs, 2, "{d} {bits}: {report:?}");
        assert_eq!(report.method, Method::WideLists, "{d} {bits}: {report:?}");
    }
}

#[test]
fn the_same_generation_and_id_without_the_mark_of_deletion_is_another_item() {
    let key = FpKey::new([1; 32]);
    let live = Collection::item(&id(1), 7, false);
    let dead = Item {
        deleted: true,
        ..live.clone()
    };
    assert_ne!(key.numbered(&live), key.numbered(&dead));
    assert_ne!(key.numbered(&live), FpKey::new([2; 32]).numbered(&live));
    assert_ne!(key.numbered(&live), key.item(Order::Key, &live));
}
