//! Frames that are wrong, made up or endless: an error, or a copy that is right all the same; never a panic, a loop or a
//! false "equal".

use haversack_model::Generation;
use haversack_sync::reconcile::{
    Adopt, Cell, Changes, Descend, Error, Get, Head, LeafBits, Limits, List, Open, Options, Order,
    Part, Refusal, Request, Scope, Sketch, Span, Sum, Walk, answer, decode_request, encode_request,
};
use proptest::prelude::*;

use crate::memory::scenario::{body, equal, scattered};
use crate::memory::wire::{lying, parts, stream};
use crate::memory::{Collection, Shared, id, sync_with};

/// Synchronises with a primary that lies; the error. The copy must be as it was.
fn refused(
    primary: &Shared,
    copy: &mut Collection,
    lie: impl FnMut(&Request, Vec<Part>) -> Vec<Part>,
) -> Error {
    let before = (copy.items_up(), copy.live());
    let error = sync_with(&mut *lying(primary, lie), copy, Options::default()).unwrap_err();
    assert_eq!((copy.items_up(), copy.live()), before, "it stays as it was");
    error
}

/// As [`refused`] of a lie that the walk survives: the copy is right in the end.
fn survived(
    primary: &Shared,
    copy: &mut Collection,
    lie: impl FnMut(&Request, Vec<Part>) -> Vec<Part>,
) {
    sync_with(&mut *lying(primary, lie), copy, Options::default()).unwrap();
    assert_eq!(primary.collection.borrow().items_here(), copy.items_up());
}

/// Changes every part of every answer.
fn each(mut change: impl FnMut(&mut Part)) -> impl FnMut(&Request, Vec<Part>) -> Vec<Part> {
    move |_, mut parts| {
        parts.iter_mut().for_each(&mut change);
        parts
    }
}

#[test]
fn a_root_that_belongs_to_no_records_is_never_proven() {
    let (primary, mut copy) = scattered(2000, 30, 1);
    let lie = || {
        each(|part| {
            if let Part::Head(Head { root, .. }) | Part::Root(root) = part {
                root.sum.low ^= 1;
            }
        })
    };
    let error = refused(&primary, &mut copy, lie());
    assert!(matches!(error, Error::Broken(_)), "{error}");
    let error = refused(&primary, &mut Collection::new(3), lie());
    assert!(matches!(error, Error::Broken(_)), "{error}");
}

#[test]
fn an_answer_that_says_equal_with_another_root_is_no_equality() {
    let (primary, mut copy) = scattered(2000, 30, 1);
    let lie = |_: &Request, mut parts: Vec<Part>| {
        parts.retain(|part| matches!(part, Part::Head(_) | Part::End));
        parts
    };
    assert!(matches!(
        refused(&primary, &mut copy, lie),
        Error::Broken(_)
    ));
}

#[test]
fn a_primary_that_hides_a_record_everywhere_is_never_proven() {
    let (primary, mut copy) = scattered(2000, 30, 1);
    let hidden = primary.collection.borrow().generation;
    let lie = each(move |part| {
        if let Part::Changed(records) | Part::Missing(records) = part
            && records.len() > 1
        {
            records.retain(|record| record.generation.0 % 7 != hidden % 7);
        }
    });
    let error = refused(&primary, &mut copy, lie);
    assert!(
        matches!(error, Error::Unproven | Error::Malformed(_)),
        "{error}"
    );
}

#[test]
fn a_primary_that_sends_a_record_that_it_does_not_have_is_never_proven() {
    let (primary, mut copy) = scattered(2000, 30, 1);
    let lie = each(|part| {
        if let Part::Changed(records) | Part::Missing(records) = part
            && let Some(record) = records.first_mut()
        {
            record.global_id = id(1_000_000);
        }
    });
    assert!(matches!(refused(&primary, &mut copy, lie), Error::Unproven));
}

#[test]
fn a_primary_that_has_everything_dropped_is_found_out() {
    let (primary, mut copy) = scattered(2000, 2, 1);
    let lie = |question: &Request, mut parts: Vec<Part>| {
        if let Request::List(list) = question {
            parts.retain(|part| !matches!(part, Part::Drops { .. }));
            let (wide, ids) = (list.wide, list.ids.clone());
            parts.insert(0, Part::Drops { wide, ids });
        }
        parts
    };
    // It takes a full copy to be right, but it is right.
    survived(&primary, &mut copy, lie);
}

#[test]
fn prints_that_never_agree_end_in_a_right_copy() {
    let (primary, mut copy) = scattered(2000, 30, 1);
    survived(
        &primary,
        &mut copy,
        each(|part| {
            if let Part::Nodes { families, .. } = part {
                let prints = families.iter_mut().flat_map(|family| &mut family.prints);
                prints.for_each(|print| *print ^= 1);
            }
        }),
    );
}

#[test]
fn prints_that_always_agree_end_in_a_right_copy() {
    let (primary, mut copy) = scattered(2000, 30, 1);
    // It tells no node that differs: so nothing is found, and the proof fails until everything is copied.
    let lie = |_: &Request, mut parts: Vec<Part>| {
        for part in &mut parts {
            if let Part::Nodes { families, .. } = part {
                families.truncate(1);
            }
        }
        parts
    };
    survived(&primary, &mut copy, lie);
}

#[test]
fn a_sketch_that_was_made_up_ends_in_a_right_copy_or_an_error() {
    for forge in 0..4u64 {
        let (primary, mut copy) = scattered(4000, 300, 1);
        let lie = each(move |part| {
            if let Part::Cells(cells) = part {
                for (at, cell) in cells.cells.iter_mut().enumerate() {
                    match forge {
                        0 => *cell = Cell::default(),
                        1 => cell.count = i64::MAX,
                        2 => cell.id = cell.id.rotate_left(at as u32),
                        _ => cell.check ^= 1,
                    }
                }
            }
        });
        let mut wire = lying(&primary, lie);
        match sync_with(&mut *wire, &mut copy, Options::default()) {
            Ok(report) => {
                assert_eq!(primary.collection.borrow().items_here(), copy.items_up());
                assert!(report.rounds < 64);
            }
            Err(error) => assert!(
                matches!(error, Error::Broken(_) | Error::Unproven),
                "{error}"
            ),
        }
    }
}

#[test]
fn parts_that_nobody_asked_for_are_refused() {
    let foreign = {
        let (primary, _) = scattered(500, 30, 1);
        let open = Request::Open(Open {
            history: None,
            key_name: 0,
            bits: LeafBits::NARROWEST,
            root: Sum::ZERO,
            since: Generation(0),
            complete: true,
            has_records: false,
            deep: false,
            attempt: 0,
        });
        parts(&primary, &encode_request(&open)).unwrap()
    };
    let head = foreign
        .iter()
        .find(|part| matches!(part, Part::Head(_)))
        .unwrap()
        .clone();
    let mut extra = vec![
        head,
        Part::Drops {
            wide: true,
            ids: vec![1],
        },
        Part::Cells(haversack_sync::reconcile::Cells {
            from: 0,
            sum: Sum::ZERO,
            cells: vec![Cell::default()],
        }),
        Part::Numbers(vec![haversack_sync::reconcile::LeafNumbers {
            leaf: 1,
            print: 1,
            generations: vec![],
        }]),
    ];
    for part in extra.drain(..) {
        let (primary, mut copy) = scattered(500, 30, 1);
        let lie = |_: &Request, mut parts: Vec<Part>| {
            let at = parts.len() - 1;
            parts.insert(at, part.clone());
            parts
        };
        let error = refused(&primary, &mut copy, lie);
        assert!(matches!(error, Error::Broken(_)), "{error}");
    }
}

#[test]
fn an_answer_that_repeats_itself_without_end_is_refused_at_its_first_repeat() {
    for repeats in ["changed", "missing", "nodes", "root"] {
        let (primary, mut copy) = scattered(2000, 300, 1);
        primary
            .collection
            .borrow_mut()
            .put((0..5).map(|at| (id(at), body(at, 9))));
        let lie = |_: &Request, told: Vec<Part>| {
            let is_it = |part: &Part| match part {
                Part::Changed(_) => repeats == "changed",
                Part::Missing(_) => repeats == "missing",
                Part::Nodes { .. } => repeats == "nodes",
                Part::Root(_) => repeats == "root",
                _ => false,
            };
            let twice = told.into_iter().flat_map(|part| {
                let times = if is_it(&part) { 2 } else { 1 };
                vec![part; times]
            });
            twice.collect()
        };
        let error = refused(&primary, &mut copy, lie);
        assert!(matches!(error, Error::Broken(_)), "{repeats}: {error}");
    }
}

#[test]
fn a_primary_that_refuses_for_ever_is_left() {
    for (refusal, unsteady) in [(Refusal::Epoch, true), (Refusal::Damaged, false)] {
        let (primary, mut copy) = scattered(500, 30, 1);
        let lie = |_: &Request, _: Vec<Part>| vec![Part::Refused(refusal), Part::End];
        let error = refused(&primary, &mut copy, lie);
        assert_eq!(matches!(error, Error::Unsteady(_)), unsteady, "{error}");
        assert_eq!(matches!(error, Error::PrimaryDamaged), !unsteady, "{error}");
    }
}

#[test]
fn a_frame_longer_than_agreed_is_refused_before_it_comes() {
    let (_, mut copy) = equal(10);
    let mut walk = Walk::new(Options::default());
    walk.start(&mut copy).unwrap();
    // The length of a frame of 2^62 bytes, and nothing of it.
    let length = [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x40];
    let error = walk.feed(&mut copy, &length).unwrap_err();
    assert!(matches!(error, Error::Limit { .. }), "{error}");
}

#[test]
fn a_walk_receives_no_more_than_it_may() {
    let (primary, _) = equal(2000);
    let mut copy = Collection::new(3);
    let mut options = Options::default();
    options.limits.max_received_bytes = 50_000;
    let error = crate::memory::sync(&primary, &mut copy, options).unwrap_err();
    assert!(matches!(error, Error::Limit { .. }), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn bytes_that_were_changed_on_the_way_never_make_a_wrong_copy(
        seed in 0..6u64,
        answer_at in 0..5usize,
        deed in 0..5u8,
        at in any::<prop::sample::Index>(),
        bit in 0..8u8,
    ) {
        let (primary, mut copy) = match seed {
            0..3 => scattered(400, [2, 30, 150][seed as usize], seed),
            3 => (equal(300).0, Collection::new(3)),
            _ => (equal(300).0, {
                let mut apart = Collection::new(4);
                apart.put((0..300).map(|at| (id(at), body(at, u64::from(at % 20 == 0)))));
                apart
            }),
        };
        let before = (copy.items_up(), copy.live());
        let mut answers = 0;
        let outcome = sync_with(
            &mut |question, send| {
                let mut told = parts(&primary, question)?;
                let is_it = answers == answer_at;
                answers += 1;
                if is_it && deed > 1 {
                    let at = at.index(told.len());
                    match deed {
                        2 => drop(told.remove(at)),
                        3 => told.insert(at, told[at].clone()),
                        _ => told.swap(0, at),
                    }
                }
                let mut bytes = stream(&told);
                if is_it && deed <= 1 {
                    let at = at.index(bytes.len());
                    match deed {
                        0 => bytes[at] ^= 1 << bit,
                        _ => bytes.truncate(at),
                    }
                }
                send(&bytes)
            },
            &mut copy,
            Options::default(),
        );
        if outcome.is_ok() {
            // Content that was changed on the way is not seen by generations; ids and generations are.
            prop_assert_eq!(primary.collection.borrow().items_here(), copy.items_up());
        } else {
            prop_assert_eq!((copy.items_up(), copy.live()), before);
        }
        prop_assert!(copy.is_sound());
    }

    #[test]
    fn no_question_makes_a_primary_panic_or_answer_without_end(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        kind in 1..8u8,
        scoped in any::<bool>(),
    ) {
        let (primary, _) = equal(200);
        let mut question = vec![kind];
        if scoped {
            question.extend(epoch_of(&primary).to_le_bytes());
            question.extend([bytes.first().map_or(0, |byte| byte & 1), 6, 0]);
        }
        question.extend(bytes);
        bounded(&primary, &question)?;
    }

    #[test]
    fn no_well_formed_question_makes_a_primary_panic(
        kind in 0..6u8,
        order in prop_oneof![Just(Order::Generation), Just(Order::Key)],
        bits in 6..43u8,
        mut numbers in prop::collection::btree_set(prop_oneof![0..300u64, any::<u64>()], 0..20),
        since in prop_oneof![Just(0), Just(u64::MAX - 1), 0..400u64],
        level in any::<u8>(),
        from in prop_oneof![0..100u64, any::<u64>()],
        length in prop_oneof![0..100u64, any::<u64>()],
    ) {
        let (primary, _) = equal(200);
        let scope = Scope {
            epoch: epoch_of(&primary),
            order,
            bits: LeafBits::new(bits).unwrap(),
            salt: level,
        };
        let leaves: Vec<u64> = std::mem::take(&mut numbers).into_iter().collect();
        let fetch: Vec<Span> = leaves
            .chunks(2)
            .filter(|pair| pair.len() == 2)
            .map(|pair| Span { from: pair[0], upto: pair[1] })
            .collect();
        let generation = Generation(since);
        let since = Some(generation);
        let ids = leaves.clone();
        let request = match kind {
            0 => Request::Descend(Descend { scope, level, nodes: leaves }),
            1 => Request::List(List {
                scope,
                wide: level % 2 == 0,
                leaves,
                ids: ids.into_iter().map(u128::from).collect(),
                fetch,
                since,
            }),
            2 => Request::Sketch(Sketch { scope, leaves, from, upto: from.saturating_add(length) }),
            3 => Request::Get(Get { scope, leaves, ids, fetch, since }),
            4 => Request::Adopt(Adopt { scope, leaves: fetch, since }),
            _ => Request::Changes(Changes { scope, since: generation }),
        };
        let bytes = encode_request(&request);
        prop_assert_eq!(decode_request(&bytes).unwrap(), request);
        bounded(&primary, &bytes)?;
    }
}

/// The epoch that questions to this primary must name.
fn epoch_of(primary: &Shared) -> u64 {
    let mut copy = Collection::new(9);
    copy.put([(id(7), body(7, 7))]);
    let mut epoch = 0;
    let mut wire = lying(primary, |question, parts| {
        if let Request::List(List { scope, .. }) | Request::Descend(Descend { scope, .. }) =
            question
        {
            epoch = scope.epoch;
        }
        if let Request::Adopt(Adopt { scope, .. }) | Request::Get(Get { scope, .. }) = question {
            epoch = scope.epoch;
        }
        parts
    });
    sync_with(&mut *wire, &mut copy, Options::default()).unwrap();
    drop(wire);
    epoch
}

/// Asks; whatever comes is no longer than all records and some cells.
fn bounded(primary: &Shared, question: &[u8]) -> Result<(), TestCaseError> {
    let limits = Limits {
        max_listed: 1000,
        ..Limits::default()
    };
    let mut bytes = 0;
    let outcome = answer(primary, question, &limits, &mut |piece| {
        bytes += piece.len();
        Ok(())
    });
    prop_assert!(bytes < 200_000);
    if let Err(error) = outcome {
        let is_theirs = matches!(
            error,
            Error::Malformed(_) | Error::Broken(_) | Error::Limit { .. }
        );
        prop_assert!(is_theirs, "{}", error);
    }
    Ok(())
}
