//! A synchronisation that is cut anywhere and goes on from what is in the file.

use haversack_model::conformance::documents::NOTES;
use haversack_sync::reconcile::{Limits, Options, Step, Walk, answer};

use crate::common::Held;
use crate::ground::{NOW, bodies, edit, equal, file, put, sync};

/// Carries bytes until `cut` of them were received in this life, then forgets everything that is not in the file. Whether
/// it came to its end.
fn live(primary: &Held, copy: &Held, cut: usize) -> bool {
    let mut secondary = copy.store.secondary(NOTES, NOW).unwrap();
    let saved = secondary.saved().unwrap();
    let mut walk = match &saved {
        Some(state) => serde_json::from_str(state).unwrap(),
        None => Walk::new(Options::default()),
    };
    let mut question = if saved.is_some() {
        walk.resume(&mut secondary).unwrap()
    } else {
        walk.start(&mut secondary).unwrap()
    };
    let mut received = 0;
    loop {
        let mut stream = Vec::new();
        let small = Limits {
            page_records: 20,
            ..Limits::default()
        };
        answer(
            &primary.store.primary(NOTES, NOW),
            &question,
            &small,
            &mut |piece| {
                stream.extend_from_slice(piece);
                Ok(())
            },
        )
        .unwrap();
        let mut next = None;
        for piece in stream.chunks(700) {
            received += piece.len();
            if received > cut {
                return false;
            }
            match walk.feed(&mut secondary, piece).unwrap() {
                Step::More => {
                    if secondary.unwritten() > 30 {
                        let state = serde_json::to_string(&walk).unwrap();
                        secondary.save(Some(&state)).unwrap();
                    }
                }
                Step::Ask(ask) => next = Some(ask),
                Step::Done(_) => return true,
            }
        }
        question = next.unwrap();
        let state = serde_json::to_string(&walk).unwrap();
        secondary.save(Some(&state)).unwrap();
    }
}

fn converges(primary: &Held, copy: &Held, cut: usize) -> u32 {
    let mut lives = 1;
    while !live(primary, copy, cut) {
        lives += 1;
        assert!(lives < 200, "it does not come nearer");
    }
    assert_eq!(bodies(primary), bodies(copy));
    assert!(copy.store.check_summaries(NOTES, NOW).unwrap());
    lives
}

#[test]
fn a_full_copy_goes_on_where_it_was_cut() {
    let (primary, copy) = (file(), file());
    put(&primary, 0, 2000, 0);
    let lives = converges(&primary, &copy, 12_000);
    assert!(lives > 4 && lives < 30, "{lives}");
}

#[test]
fn a_walk_is_cut_at_every_step_and_the_old_documents_stay_until_the_end() {
    let (primary, copy) = equal(1500);
    edit(
        &copy,
        (0..1500)
            .step_by(50)
            .map(|n| (format!("k{n}"), Some("{\"mine\":1}".to_owned()))),
    );
    put(&primary, 700, 800, 1);
    let before = bodies(&copy);
    let mut cut = 1;
    while !live(&primary, &copy, cut) {
        assert_eq!(bodies(&copy), before);
        cut += 997;
    }
    assert_eq!(bodies(&primary), bodies(&copy));
}

#[test]
fn copies_made_apart_are_cut_too() {
    let (primary, copy) = (file(), file());
    put(&primary, 0, 800, 0);
    put(&copy, 300, 1000, 0);
    converges(&primary, &copy, 30_000);
}

#[test]
fn an_edit_of_the_copy_between_two_lives_is_put_back() {
    let (primary, copy) = equal(300);
    put(&primary, 0, 300, 1);
    assert!(!live(&primary, &copy, 9000));
    edit(&copy, [("k7", Some("{}".to_owned()))]);
    let mut secondary = copy.store.secondary(NOTES, NOW).unwrap();
    // Whoever finds that the proof fails begins anew.
    haversack_sync::reconcile::Secondary::begin(
        &mut secondary,
        haversack_sync::reconcile::Base::Kept,
    )
    .unwrap();
    assert!(secondary.saved().unwrap().is_none());
    drop(secondary);
    sync(&primary, &copy);
}

/// Synchronises copies that were made apart, and edits a document that both have after so many answers. `None`: it was done before.
fn edited_after(answers: usize) -> Option<bool> {
    let (primary, copy) = (file(), file());
    put(&primary, 0, 800, 0);
    put(&copy, 0, 800, 0);
    edit(&copy, [("k9", Some("{}".to_owned()))]);
    let mut secondary = copy.store.secondary(NOTES, NOW).unwrap();
    let mut walk = Walk::new(Options::default());
    let mut question = walk.start(&mut secondary).unwrap();
    for at in 0.. {
        if at == answers {
            edit(&copy, [("k305", Some("{\"mine\":1}".to_owned()))]);
        }
        let mut stream = Vec::new();
        let source = primary.store.primary(NOTES, NOW);
        answer(&source, &question, &Limits::default(), &mut |piece| {
            stream.extend_from_slice(piece);
            Ok(())
        })
        .unwrap();
        match walk.feed(&mut secondary, &stream) {
            Ok(Step::Ask(next)) => question = next,
            Ok(_done) if at < answers => return None,
            Ok(_done) => {
                assert_eq!(bodies(&primary), bodies(&copy), "after {answers} answers");
                return Some(true);
            }
            Err(_refused) => break,
        }
    }
    secondary.give_up().unwrap();
    drop(secondary);
    sync(&primary, &copy);
    Some(false)
}

#[test]
fn a_document_that_is_edited_while_copies_are_matched_by_key_is_not_taken_for_equal() {
    let ended: Vec<bool> = (0..).map_while(edited_after).collect();
    assert!(ended.len() > 2, "{ended:?}");
    assert!(ended.contains(&false), "{ended:?}");
}
