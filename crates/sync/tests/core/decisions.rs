//! Decisions of people about records that are not in the file any more, or that others brought back.

use std::cell::RefCell;

use haversack_model::local::{Removal, Theirs};
use haversack_model::remote::BatchReply;
use haversack_model::{Edit, Outcome, Right, SyncState};
use haversack_sync::client::{self, Choice};

use crate::ground::{Ground, TREES, all_rights, equals, id, set, tree};
use crate::scene::Scene;

fn decide(scene: &mut Scene<'_>, choice: Choice) {
    let now = scene.ground.now();
    scene.write(|tx| {
        let conflict = tx.conflicts(true)?[0].id;
        client::resolve(tx, conflict, choice, "ann", now)
    });
}

#[test]
fn a_decision_about_a_record_that_has_left_changes_only_what_the_conflict_was_about() {
    let (ground, replies) = (Ground::new(), RefCell::default());
    let mut scene = Scene::filtered(&ground, &replies, equals("height", 1));
    scene.file.edit_update(TREES, &id(7), &set(0, "elm"));
    let mut theirs = set(0, "ash");
    theirs.values.insert(1, 9.into());
    ground.update(7, theirs);
    scene.sync();
    assert_eq!(scene.name(), None, "it has left");
    ground.update(7, set(2, "bob"));

    decide(&mut scene, Choice::Mine);
    scene.sync();

    let stored = ground.record(TREES, &id(7)).expect("the tree").record;
    assert_eq!(stored.values, ["elm".into(), 9.into(), "bob".into()]);
    assert!(scene.write(|tx| tx.conflicts(true)).is_empty());
}

#[test]
fn an_add_that_was_never_sent_and_is_deleted_gives_way_to_the_servers_record() {
    let (ground, replies) = (Ground::new(), RefCell::default());
    let mut scene = Scene::new(&ground, &replies);
    scene.file.edit_insert(TREES, tree(9, "elm", 1));
    ground.add(&tree(9, "ash", 1));
    let page = scene.pull();
    scene.store_page(&page);
    scene.file.edit_delete(TREES, &id(9));

    scene.sync();

    let kept = scene.file.rows().find(|((_, of), _)| *of == id(9));
    assert_eq!(kept.expect("the tree").1.values[0], "ash".into());
}

#[test]
fn a_decision_to_delete_what_both_sides_brought_back_deletes_it() {
    let (ground, replies) = (Ground::new(), RefCell::default());
    let mut scene = Scene::new(&ground, &replies);
    ground.update(7, set(0, "ash"));
    scene.file.edit_delete(TREES, &id(7));
    scene.sync();
    assert_eq!(scene.name(), Some("ash".into()), "the deletion lost");
    ground.delete(7);
    scene.sync();
    scene.file.edit_insert(TREES, tree(7, "elm", 1));
    ground.add(&tree(7, "fir", 1));
    let page = scene.pull();
    scene.store_page(&page);

    decide(&mut scene, Choice::Mine);
    scene.sync();

    assert_eq!(scene.name(), None);
    assert!(ground.record(TREES, &id(7)).is_none());
}

/// Tree 7 was deleted here, and moved out of this part and kept by others.
fn deleted_here_and_moved_away<'a>(
    ground: &'a Ground,
    replies: &'a RefCell<Vec<BatchReply>>,
) -> Scene<'a> {
    let mut scene = Scene::filtered(ground, replies, equals("height", 1));
    scene.file.edit_delete(TREES, &id(7));
    ground.update(7, set(1, 9));
    scene.sync();
    assert!(ground.record(TREES, &id(7)).is_some(), "the deletion lost");
    scene
}

#[test]
fn a_decision_to_delete_a_record_that_was_made_anew_deletes_the_servers_too() {
    let (ground, replies) = (Ground::new(), RefCell::default());
    let mut scene = deleted_here_and_moved_away(&ground, &replies);
    scene.file.edit_insert(TREES, tree(7, "elm", 1));

    decide(&mut scene, Choice::Mine);
    scene.sync();

    assert!(ground.record(TREES, &id(7)).is_none());
    assert_eq!(scene.name(), None);
    assert!(scene.write(|tx| tx.conflicts(true)).is_empty());
}

#[test]
fn a_decision_to_delete_a_record_whose_new_life_was_refused_deletes_the_servers_too() {
    let (ground, replies) = (Ground::new(), RefCell::default());
    let mut scene = deleted_here_and_moved_away(&ground, &replies);
    scene.file.edit_insert(TREES, tree(7, "elm", 1));
    scene.remote.access.rights = vec![Right::Read, Right::Sync];
    scene.sync();
    scene.remote.access = all_rights();
    let state = scene.entry().map(|entry| entry.state);
    assert_eq!(state, Some(SyncState::Error), "the add was refused");

    decide(&mut scene, Choice::Mine);
    scene.sync();

    assert!(ground.record(TREES, &id(7)).is_none());
    assert!(scene.write(|tx| tx.conflicts(true)).is_empty());
}

#[test]
fn a_decision_to_delete_what_is_deleted_here_already_is_of_the_servers_record() {
    let (ground, replies) = (Ground::new(), RefCell::default());
    let mut scene = deleted_here_and_moved_away(&ground, &replies);
    scene.file.edit_insert(TREES, tree(7, "elm", 1));
    ground.update(7, set(1, 1));
    let page = scene.pull();
    scene.store_page(&page);
    scene.file.edit_delete(TREES, &id(7));

    decide(&mut scene, Choice::Mine);
    scene.sync();

    assert!(ground.record(TREES, &id(7)).is_none());
    assert!(scene.write(|tx| tx.conflicts(true)).is_empty());
}

/// The server's record has moved on since the conflict, unseen: the decision was not about that.
#[test]
fn a_decision_to_delete_what_others_have_set_since_is_a_conflict_again() {
    let (ground, replies) = (Ground::new(), RefCell::default());
    let mut scene = deleted_here_and_moved_away(&ground, &replies);
    scene.file.edit_insert(TREES, tree(7, "elm", 1));
    ground.update(7, set(0, "ash"));

    decide(&mut scene, Choice::Mine);
    scene.sync();

    let stored = ground.record(TREES, &id(7)).expect("the tree").record;
    assert_eq!(stored.values[0], "ash".into());
    assert_eq!(scene.write(|tx| tx.conflicts(true)).len(), 1);
}

#[test]
fn a_decision_to_delete_a_record_that_was_made_anew_outlives_a_new_history() {
    let (ground, replies) = (Ground::new(), RefCell::default());
    let mut scene = deleted_here_and_moved_away(&ground, &replies);
    let backup = ground.store.backup();
    ground.add(&tree(8, "fir", 1));
    scene.sync();
    scene.file.edit_insert(TREES, tree(7, "elm", 1));
    decide(&mut scene, Choice::Mine);
    ground.put_back(backup);

    scene.sync();

    assert!(ground.record(TREES, &id(7)).is_none());
}

/// Somebody decides for the edit, which brings the record back, while its answer is under way.
#[test]
fn a_deletion_after_an_edit_that_met_a_deletion_is_still_told() {
    let (ground, replies) = (Ground::new(), RefCell::default());
    let mut scene = Scene::new(&ground, &replies);
    scene.file.edit_update(TREES, &id(7), &set(0, "elm"));
    ground.delete(7);
    let batch = scene.freeze();
    let answer = scene.push(&batch);
    ground.add(&tree(7, "elm", 1));
    scene.file.edit_delete(TREES, &id(7));
    scene.store_reply(&batch, &answer);

    scene.sync();

    assert!(ground.record(TREES, &id(7)).is_none());
}

#[test]
fn a_deletion_after_an_add_that_lost_outside_of_the_part_is_still_told() {
    let (ground, replies) = (Ground::new(), RefCell::default());
    let mut scene = Scene::filtered(&ground, &replies, equals("height", 1));
    scene.file.edit_insert(TREES, tree(9, "elm", 1));
    let batch = scene.freeze();
    ground.add(&tree(9, "ash", 5));
    let reply = scene.push(&batch);
    assert!(matches!(
        reply.receipts[0].outcome,
        Outcome::Conflict { .. }
    ));
    assert!(reply.receipts[0].left);
    scene.file.edit_delete(TREES, &id(9));
    scene.store_reply(&batch, &reply);

    let entry = scene.file.outbox().next().expect("an entry");
    assert_eq!(entry.theirs, Theirs::Removed(Removal::Left));
    let batch = scene.freeze();
    assert!(matches!(&batch.edits[0].1, Edit::Delete { .. }));
    let reply = scene.push(&batch);
    assert!(matches!(
        reply.receipts[0].outcome,
        Outcome::Conflict { .. }
    ));
}
