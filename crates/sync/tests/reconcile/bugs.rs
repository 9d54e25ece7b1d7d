//! Deliberate bugs of stores: each is found, none ends as a false "equal", and the copy stays as it was.

use haversack_model::Error as StoreError;
use haversack_sync::reconcile::{Deltas, Error, LeafBits, Method, Node, NodeRows, Options, Sum};

use crate::memory::scenario::{body, equal, scattered};
use crate::memory::{Collection, Shared, id, sync};

/// Writes a record at the primary and forgets the deltas.
fn write_without_deltas(primary: &mut Collection, n: u64) {
    let nodes = primary.nodes.clone();
    primary.put([(id(n), body(n, 1))]);
    primary.nodes = nodes;
}

fn fails(primary: &Shared, copy: &mut Collection) -> Error {
    let before = (copy.items_up(), copy.live());
    let error = sync(primary, copy, Options::default()).unwrap_err();
    assert_eq!((copy.items_up(), copy.live()), before, "it stays as it was");
    error
}

#[test]
fn a_lost_delta_at_the_primary_is_never_taken_for_equal() {
    let (primary, mut copy) = equal(2000);
    write_without_deltas(&mut primary.collection.borrow_mut(), 7);
    assert!(!primary.collection.borrow().is_sound() || copy.is_sound());
    copy.lose_cursor();
    copy.lose(&id(300), None);
    assert!(matches!(fails(&primary, &mut copy), Error::Unproven));
    // A rebuild heals it.
    primary.collection.borrow_mut().refold(LeafBits::NARROWEST);
    sync(&primary, &mut copy, Options::default()).unwrap();
    assert_eq!(primary.collection.borrow().items_here(), copy.items_up());
}

#[test]
fn a_delta_lost_on_one_level_is_called_damage() {
    let (primary, mut copy) = scattered(2000, 30, 1);
    {
        let mut primary = primary.collection.borrow_mut();
        let node = Node { level: 1, index: 2 };
        let sum = primary.nodes.load_node(node).unwrap();
        let one = Sum {
            low: 1,
            ..Sum::ZERO
        };
        primary.nodes.store_node(node, sum.plus(one)).unwrap();
        primary.nodes.store_node(Node::ROOT, sum).unwrap();
    }
    assert!(matches!(fails(&primary, &mut copy), Error::PrimaryDamaged));
}

#[test]
fn a_tombstone_that_was_forgotten_is_found_as_a_record_here_only() {
    let (primary, mut copy) = equal(2000);
    {
        // The deletion is purged although a cursor below it exists, and the floor does not tell.
        let mut primary = primary.collection.borrow_mut();
        primary.delete([id(5), id(900)]);
        let newest = primary.generation;
        primary.purge(newest);
        primary.floor = 0;
    }
    let report = sync(&primary, &mut copy, Options::default()).unwrap();
    assert_eq!(report.dropped, 2);
    assert_eq!(primary.collection.borrow().live(), copy.live());
}

#[test]
fn a_tombstone_that_went_without_its_delta_is_never_proven() {
    let (primary, mut copy) = equal(2000);
    {
        let mut primary = primary.collection.borrow_mut();
        primary.delete([id(5)]);
        let nodes = primary.nodes.clone();
        let newest = primary.generation;
        primary.purge(newest);
        primary.nodes = nodes;
    }
    assert!(!primary.collection.borrow().is_sound());
    assert!(matches!(fails(&primary, &mut copy), Error::Unproven));
}

#[test]
fn a_stale_summary_of_the_copy_is_healed_by_a_full_copy() {
    let (primary, mut copy) = scattered(2000, 30, 1);
    // Rows of the summary that no record stands behind.
    let mut stale = Deltas::new(copy.up_bits);
    let key = copy.up_key.clone().unwrap();
    stale.add(40, key.numbered(&Collection::item(&id(77_777), 40, false)));
    stale.fold_into(&mut copy.up_nodes).unwrap();
    assert!(!copy.is_sound());
    let report = sync(&primary, &mut copy, Options::default()).unwrap();
    assert_eq!((report.method, report.failed_proofs), (Method::FullCopy, 3));
    assert!(copy.is_sound());
    assert_eq!(primary.collection.borrow().items_here(), copy.items_up());
}

#[test]
fn a_copy_whose_summary_counts_what_cannot_be_becomes_equal_once_it_is_built_anew() {
    for count in [0, 1 << 61, u64::MAX / 2, u64::MAX] {
        for damaged in [|node| node == Node::ROOT, |node: Node| node.level == 0] {
            let (primary, mut copy) = scattered(2000, 30, 1);
            let before = copy.items_up();
            for (node, sum) in &mut copy.up_nodes.0 {
                if damaged(*node) {
                    sum.count = count;
                }
            }
            if sync(&primary, &mut copy, Options::default()).is_err() {
                assert_eq!(copy.items_up(), before, "it stays as it was");
                copy.rebuild_up();
                sync(&primary, &mut copy, Options::default()).unwrap();
            }
            assert_eq!(primary.collection.borrow().items_here(), copy.items_up());
        }
    }
}

#[test]
fn a_stale_summary_that_looks_equal_is_found_by_its_count() {
    let (primary, mut copy) = equal(2000);
    let nodes = copy.up_nodes.clone();
    copy.lose(&id(9), None);
    copy.up_nodes = nodes;
    copy.proven = Some(copy.up_nodes.root());
    // The walk cannot know: the sums are equal. The store's own check does.
    assert!(
        sync(&primary, &mut copy, Options::default())
            .unwrap()
            .was_equal()
    );
    assert!(!copy.is_sound());
    copy.rebuild_up();
    sync(&primary, &mut copy, Options::default()).unwrap();
    assert_eq!(primary.collection.borrow().live(), copy.live());
}

#[test]
fn folding_onto_rows_that_lack_a_delta_is_refused() {
    let mut collection = Collection::new(1);
    collection.put([(id(1), body(1, 0))]);
    let mut removal = Deltas::new(LeafBits::NARROWEST);
    let item = Collection::item(&id(1), 1, false);
    removal.remove(1, collection.key.numbered(&item));
    removal.fold_into(&mut collection.nodes).unwrap();
    assert!(collection.nodes.0.is_empty(), "rows that reach zero go");
    let again = removal.fold_into(&mut collection.nodes);
    assert!(matches!(again, Err(StoreError::Corrupt(_))));
}

#[test]
fn a_commit_that_would_not_be_what_was_proven_changes_nothing() {
    let (primary, mut copy) = scattered(2000, 30, 1);
    let before = copy.items_up();
    // Somebody edits the copy between the last answer and the commit: simulated by a stage that loses a record.
    copy.forgets_a_staged_record = true;
    let error = sync(&primary, &mut copy, Options::default()).unwrap_err();
    assert!(matches!(error, Error::Store(StoreError::Corrupt(_))));
    assert_eq!(copy.items_up(), before);
}
