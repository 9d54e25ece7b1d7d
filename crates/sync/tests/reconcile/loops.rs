//! Copies of copies: what is equal takes no generation, so a loop of them comes to rest.

use haversack_sync::reconcile::Options;

use crate::memory::scenario::{Chance, body, edit, equal};
use crate::memory::{Collection, Shared, id, sync};

/// One round of A → B → C → A. The generations of all three afterwards.
fn round(ring: &mut [Shared; 3]) -> Vec<u64> {
    for (from, to) in [(0, 1), (1, 2), (2, 0)] {
        let mut copy = ring[to].collection.replace(Collection::new(0));
        sync(&ring[from], &mut copy, Options::default()).unwrap();
        *ring[to].collection.borrow_mut() = copy;
    }
    ring.iter()
        .map(|one| one.collection.borrow().generation)
        .collect()
}

#[test]
fn a_loop_of_three_copies_comes_to_rest() {
    let (a, _) = equal(500);
    let mut ring = [
        a,
        Shared::new(Collection::new(2)),
        Shared::new(Collection::new(3)),
    ];
    let first = round(&mut ring);
    assert_eq!(
        round(&mut ring),
        first,
        "nothing was written, so nothing moves"
    );
    // An edit at A goes round once; B and C take a generation for it, A does not take another.
    let before = ring[0].collection.borrow().generation;
    edit(
        &mut ring[0].collection.borrow_mut(),
        500,
        20,
        &mut Chance::new(1),
    );
    let written = ring[0].collection.borrow().generation - before;
    let after = round(&mut ring);
    assert_eq!(after[0], first[0] + written);
    assert_eq!(round(&mut ring), after);
    let live = ring[0].collection.borrow().live();
    assert!(
        ring.iter()
            .all(|one| one.collection.borrow().live() == live)
    );
    assert!(ring.iter().all(|one| one.collection.borrow().is_sound()));
}

#[test]
fn a_chain_passes_changes_and_tombstones_on() {
    let (a, mut b) = equal(300);
    let mut c = Collection::new(3);
    for seed in 0..5 {
        edit(
            &mut a.collection.borrow_mut(),
            300,
            30,
            &mut Chance::new(seed),
        );
        a.collection
            .borrow_mut()
            .put([(id(9000 + seed), body(9000, seed))]);
        sync(&a, &mut b, Options::default()).unwrap();
        let middle = Shared::new(b);
        sync(&middle, &mut c, Options::default()).unwrap();
        b = middle.collection.into_inner();
        assert_eq!(a.collection.borrow().live(), c.live());
    }
}
