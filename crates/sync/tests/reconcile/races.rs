//! Writers at the primary during the walk, and walks that are cut off: the copy ends as one snapshot of the primary.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use haversack_model::GlobalId;
use haversack_sync::reconcile::{Limits, Options, Report, Step, Walk, answer};

use crate::memory::scenario::{Chance, body, edit, equal, scattered};
use crate::memory::{Collection, Shared, id, sync};

type Items = BTreeSet<(u64, GlobalId, bool)>;
type Log = Rc<RefCell<BTreeMap<u64, (Items, BTreeMap<GlobalId, Vec<u8>>)>>>;

/// A primary that somebody writes to before `times` of its snapshots, and what it was at each generation.
fn busy(primary: Shared, seed: u64, times: u32, purges: bool) -> (Shared, Log) {
    let log = Log::default();
    let note = |log: &Log, primary: &Collection| {
        let was = (primary.items_here(), primary.live());
        log.borrow_mut().insert(primary.generation, was);
    };
    note(&log, &primary.collection.borrow());
    let (mut chance, mut left) = (Chance::new(seed), times);
    let writer = {
        let log = Rc::clone(&log);
        move |primary: &mut Collection| {
            if left == 0 {
                return;
            }
            left -= 1;
            let edits: Vec<_> = (0..=chance.below(20))
                .map(|at| {
                    let of = chance.below(2200);
                    (id(of), (at % 4 != 0).then(|| body(of, 1000 + at)))
                })
                .collect();
            primary.write(edits);
            if purges && chance.below(3) == 0 {
                primary.purge(primary.generation - chance.below(40));
            }
            note(&log, primary);
        }
    };
    (primary.written_by(writer), log)
}

fn is_a_snapshot(copy: &Collection, log: &Log, report: &Report) {
    let generation = report.proof.unwrap().generation.0;
    let log = log.borrow();
    let (items, live) = log.get(&generation).expect("the proof names a generation");
    assert_eq!(&copy.items_up(), items);
    assert_eq!(&copy.live(), live);
    assert!(copy.is_sound());
}

#[test]
fn a_copy_of_a_busy_primary_is_one_snapshot_of_it() {
    for seed in 0..20 {
        let (primary, mut copy) = scattered(2000, [3, 40, 900][seed as usize % 3], seed);
        let (primary, log) = busy(primary, seed, 1 + seed as u32 % 12, false);
        let report = sync(&primary, &mut copy, Options::default()).unwrap();
        assert_eq!(report.failed_proofs, 0, "{report:?}");
        is_a_snapshot(&copy, &log, &report);
    }
}

#[test]
fn purges_during_the_walk_lose_nothing() {
    for seed in 0..20 {
        let (primary, mut copy) = scattered(2000, 60, seed);
        let (primary, log) = busy(primary, seed, 12, true);
        let report = sync(&primary, &mut copy, Options::default()).unwrap();
        is_a_snapshot(&copy, &log, &report);
    }
}

#[test]
fn a_full_copy_of_a_busy_primary_is_one_snapshot_of_it() {
    let (primary, _) = equal(2000);
    let (primary, log) = busy(primary, 5, 30, false);
    let mut copy = Collection::new(3);
    let small_pages = Limits {
        page_records: 100,
        ..Limits::default()
    };
    let mut walk = Walk::new(Options::default());
    let question = walk.start(&mut copy).unwrap();
    let mut done = None;
    answer(&primary, &question, &small_pages, &mut |piece| {
        if let Step::Done(report) = walk.feed(&mut copy, piece)? {
            done = Some(report);
        }
        Ok(())
    })
    .unwrap();
    is_a_snapshot(&copy, &log, &done.unwrap());
}

#[test]
fn writers_that_never_rest_do_not_keep_an_answer_from_its_end() {
    let (primary, mut copy) = equal(2000);
    let mut at = 0;
    let primary = primary.written_by(move |primary| {
        at += 1;
        primary.put((0..120).map(|of| (id(of), body(of, at))));
    });
    copy.lose_cursor();
    let small_pages = Limits {
        page_records: 100,
        ..Limits::default()
    };
    let report = crate::memory::sync_with(
        &mut |question, send| answer(&primary, question, &small_pages, send),
        &mut copy,
        Options::default(),
    )
    .unwrap();
    let generation = report.proof.unwrap().generation.0;
    assert_eq!(generation, primary.collection.borrow().generation);
    assert_eq!(primary.collection.borrow().items_here(), copy.items_up());
}

#[test]
fn copies_that_are_matched_by_key_follow_a_busy_primary_too() {
    for seed in 0..10 {
        let (primary, _) = equal(2000);
        let (primary, log) = busy(primary, seed, 8, seed % 2 == 0);
        let mut apart = Collection::new(4);
        apart.put((5..2050).map(|at| (id(at), body(at, u64::from(at % 50 == 0)))));
        let report = sync(&primary, &mut apart, Options::default()).unwrap();
        assert!(report.by_key);
        // Leaves that changed under the numbers are listed again: that is no failed proof.
        assert_eq!(report.failed_proofs, 0, "{report:?}");
        is_a_snapshot(&apart, &log, &report);
    }
}

/// Synchronises; every answer is cut off at a random place once, and the walk is stored and read between any two.
fn resumed(primary: &Shared, copy: &mut Collection, chance: &mut Chance) -> Report {
    let limits = Limits::default();
    let mut walk = Walk::new(Options::default());
    let mut question = walk.start(copy).unwrap();
    for _ in 0..100 {
        let mut bytes = Vec::new();
        answer(primary, &question, &limits, &mut |piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        })
        .unwrap();
        if chance.below(2) == 0 {
            let cut = chance.below(bytes.len() as u64) as usize;
            for piece in bytes[..cut].chunks(1 + chance.below(5000) as usize) {
                assert_eq!(walk.feed(copy, piece).unwrap(), Step::More);
            }
            let stored = serde_json::to_string(&walk).unwrap();
            walk = serde_json::from_str(&stored).unwrap();
            question = walk.resume(copy).unwrap();
            continue;
        }
        let mut next = Step::More;
        for piece in bytes.chunks(1 + chance.below(5000) as usize) {
            assert_eq!(next, Step::More);
            next = walk.feed(copy, piece).unwrap();
        }
        match next {
            Step::Ask(ask) => question = ask,
            Step::Done(report) => return *report,
            Step::More => panic!("the answer has no end"),
        }
    }
    panic!("the walk does not end");
}

#[test]
fn a_walk_that_is_cut_anywhere_goes_on_where_it_was() {
    for seed in 0..12 {
        let (primary, mut copy) = match seed % 3 {
            0 => scattered(2000, 10, seed),
            1 => scattered(2000, 700, seed),
            _ => (equal(2000).0, {
                let mut apart = Collection::new(4);
                apart.put((0..2000).map(|at| (id(at), body(at, u64::from(at % 50 == 0)))));
                apart
            }),
        };
        let (primary, log) = busy(primary, seed, 4, false);
        let report = resumed(&primary, &mut copy, &mut Chance::new(seed));
        is_a_snapshot(&copy, &log, &report);
    }
}

#[test]
fn a_cut_copy_does_not_send_again_what_was_staged() {
    let (primary, mut copy) = equal(100);
    edit(
        &mut primary.collection.borrow_mut(),
        20_000,
        10_000,
        &mut Chance::new(3),
    );
    let mut walk = Walk::new(Options::default());
    let question = walk.start(&mut copy).unwrap();
    let mut bytes = Vec::new();
    let limits = Limits::default();
    answer(&primary, &question, &limits, &mut |piece| {
        bytes.extend_from_slice(piece);
        Ok(())
    })
    .unwrap();
    let half = bytes.len() / 2;
    assert_eq!(walk.feed(&mut copy, &bytes[..half]).unwrap(), Step::More);
    let question = walk.resume(&mut copy).unwrap();
    let mut again = Vec::new();
    answer(&primary, &question, &limits, &mut |piece| {
        again.extend_from_slice(piece);
        Ok(())
    })
    .unwrap();
    assert!(
        again.len() < bytes.len() * 7 / 10,
        "{} of {}",
        again.len(),
        bytes.len()
    );
    assert!(matches!(
        walk.feed(&mut copy, &again).unwrap(),
        Step::Done(_)
    ));
    assert_eq!(primary.collection.borrow().items_here(), copy.items_up());
}
