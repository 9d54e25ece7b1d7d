//! What a download settles instead of an answer is kept as an answer would have kept it: a server that is put back to before
//! it forgets that too, and it is sent again. What is doubted is no proof of anything.

use std::cell::RefCell;

use haversack_model::local::Removal;
use haversack_model::remote::Renewed;
use haversack_model::{Changes, Filter, Generation, Policy, Remote, Store, Theirs};
use haversack_sync::client;

use crate::ground::{Ground, TREES, equals, id, set, tree};
use crate::scene::Scene;

/// The file gets a new identity, as a copy does.
fn renew(scene: &mut Scene<'_>) {
    let header = scene.file.header().clone();
    let renewed: Renewed = scene.remote.renew(&header).expect("an identity");
    assert!(renewed.continues);
    assert!(scene.write(|tx| client::renewed(tx, &header, renewed)));
}

#[test]
fn an_edit_that_others_made_too_is_sent_to_a_server_that_forgot_theirs() {
    let (ground, replies) = (Ground::new(), RefCell::default());
    let mut scene = Scene::new(&ground, &replies);
    let backup = ground.store.backup();
    scene.file.edit_update(TREES, &id(7), &set(0, "elm"));
    ground.update(7, set(0, "elm"));
    let page = scene.pull();
    scene.store_page(&page);
    assert_eq!(scene.entry(), None, "it is settled");
    ground.put_back(backup);

    scene.sync();

    let stored = ground.record(TREES, &id(7)).expect("a record").record;
    assert_eq!(stored.values[0], "elm".into());
}

#[test]
fn a_deletion_that_others_made_too_is_sent_to_a_server_that_forgot_theirs() {
    let (ground, replies) = (Ground::new(), RefCell::default());
    let mut scene = Scene::new(&ground, &replies);
    let backup = ground.store.backup();
    scene.file.edit_delete(TREES, &id(7));
    ground.delete(7);
    let page = scene.pull();
    scene.store_page(&page);
    assert_eq!(scene.entry(), None, "it is settled");
    ground.put_back(backup);

    scene.sync();

    assert!(ground.record(TREES, &id(7)).is_none());
}

#[test]
fn an_add_whose_answer_was_lost_and_that_came_back_is_sent_to_a_server_that_forgot_it() {
    let (ground, replies) = (Ground::new(), RefCell::default());
    let mut scene = Scene::new(&ground, &replies);
    let backup = ground.store.backup();
    scene.file.edit_insert(TREES, tree(9, "yew", 9));
    scene.send_and_see_it_in_a_page();
    renew(&mut scene);
    scene.sync();
    assert_eq!(scene.file.outbox().count(), 0, "it is settled");
    ground.put_back(backup);

    scene.sync();

    assert!(ground.record(TREES, &id(9)).is_some());
}

/// The server does not know the replica: it may have been put back to before what it showed of the add.
#[test]
fn an_add_that_was_shown_before_the_replica_was_forgotten_meets_another_of_its_id_as_a_conflict() {
    let (ground, replies) = (Ground::new(), RefCell::default());
    let mut scene = Scene::new(&ground, &replies);
    let backup = ground.store.backup();
    scene.file = scene.remote.checkout("ann", Policy::Merge, Filter::All);
    scene.sync();
    scene.file.edit_insert(TREES, tree(9, "yew", 9));
    scene.send_and_see_it_in_a_page();
    ground.put_back(backup);
    ground.add(&tree(9, "fir", 1));

    scene.sync();

    let conflicts = scene.write(|tx| tx.conflicts(true));
    let mine = conflicts[0].mine.as_ref().expect("a version");
    assert_eq!(mine.values[0], "yew".into());
}

/// The deletion is sent so often that nothing is known any more of what was to be deleted.
#[test]
fn a_deletion_without_a_base_is_told_again_after_a_restore() {
    let (ground, replies) = (Ground::new(), RefCell::default());
    let mut scene = Scene::new(&ground, &replies);
    scene.file.edit_insert(TREES, tree(9, "yew", 9));
    let batch = scene.freeze();
    scene.push(&batch);
    let backup = ground.store.backup();
    scene.file.edit_delete(TREES, &id(9));
    ground.delete(9);
    renew(&mut scene);
    scene.freeze();
    renew(&mut scene);
    let batch = scene.freeze();
    let reply = scene.push(&batch);
    scene.store_reply(&batch, &reply);
    assert_eq!(scene.file.outbox().count(), 0, "it is settled");
    ground.put_back(backup);

    scene.sync();

    let conflicts = scene.write(|tx| tx.conflicts(true));
    assert_eq!(conflicts.len(), 1, "it meets the tree that is back");
}

/// Nobody knows whether the new history has it, so it waits to be sent again; then the download shows it as it was sent.
#[test]
fn an_add_that_comes_back_is_the_base_of_what_was_edited_since() {
    let (ground, replies) = (Ground::new(), RefCell::default());
    let mut scene = Scene::new(&ground, &replies);
    scene.file.edit_insert(TREES, tree(9, "yew", 9));
    let batch = scene.freeze();
    scene.push(&batch);
    let fork = ground.head();
    ground.start_history();
    let history = ground.store.begin_read().expect("a snapshot");
    let history = history.head().expect("a head").history;
    scene.write(|tx| client::start_new_history(tx, history, fork));
    scene.file.edit_update(TREES, &id(9), &set(0, "elm"));

    scene.sync();

    let stored = ground.record(TREES, &id(9)).expect("a record").record;
    assert_eq!(stored.values[0], "elm".into());
    let conflicts = scene.write(|tx| tx.conflicts(false));
    assert_eq!(conflicts, [], "it is in conflict with nobody");
}

#[test]
fn an_update_that_came_back_is_the_base_of_what_was_edited_since_under_a_new_identity() {
    let (ground, replies) = (Ground::new(), RefCell::default());
    let mut scene = Scene::new(&ground, &replies);
    scene.file.edit_update(TREES, &id(7), &set(0, "elm"));
    let batch = scene.freeze();
    scene.push(&batch);
    scene.file.edit_update(TREES, &id(7), &set(0, "yew"));
    let page = scene.pull();
    scene.store_page(&page);
    renew(&mut scene);

    scene.sync();

    let stored = ground.record(TREES, &id(7)).expect("a record").record;
    assert_eq!(stored.values[0], "yew".into());
    let conflicts = scene.write(|tx| tx.conflicts(false));
    assert_eq!(conflicts, [], "it is in conflict with nobody");
}

/// After the resync nobody knows at which generation it was seen, so that it is not among what the fork has undone.
fn seen_before_a_resync_and_forgotten(edit: impl Fn(&mut Scene<'_>)) -> Ground {
    let ground = Ground::new();
    {
        let replies = RefCell::default();
        let mut scene = Scene::new(&ground, &replies);
        let backup = ground.store.backup();
        edit(&mut scene);
        let batch = scene.freeze();
        scene.push(&batch);
        let page = scene.pull();
        scene.store_page(&page);
        let history = scene.file.header().cursor.history;
        scene.write(|tx| client::start_resync(tx, history));
        ground.put_back(backup);

        scene.sync();
    }
    ground
}

#[test]
fn an_add_seen_before_a_resync_is_sent_to_a_server_that_forgot_it() {
    let ground = seen_before_a_resync_and_forgotten(|scene| {
        scene.file.edit_insert(TREES, tree(9, "yew", 9));
    });
    assert!(ground.record(TREES, &id(9)).is_some());
}

#[test]
fn an_update_seen_before_a_resync_is_sent_to_a_server_that_forgot_it() {
    let ground = seen_before_a_resync_and_forgotten(|scene| {
        scene.file.edit_update(TREES, &id(7), &set(0, "elm"));
    });
    let stored = ground.record(TREES, &id(7)).expect("a record").record;
    assert_eq!(stored.values[0], "elm".into());
}

/// The batch arrives without an answer, and is given up; by then its edit has been taken back.
#[test]
fn an_edit_that_was_taken_back_after_it_was_sent_is_taken_back_on_the_server() {
    let (ground, replies) = (Ground::new(), RefCell::default());
    let mut scene = Scene::new(&ground, &replies);
    let before = ground.record(TREES, &id(7)).expect("a record").record;
    scene.file.edit_update(TREES, &id(7), &set(0, "elm"));
    let batch = scene.freeze();
    scene.push(&batch);
    renew(&mut scene);
    let back = Changes {
        values: [(0, before.values[0].clone())].into(),
        geometry: None,
    };
    scene.file.edit_update(TREES, &id(7), &back);

    scene.sync();

    let stored = ground.record(TREES, &id(7)).expect("a record").record;
    assert_eq!(stored.values[0], before.values[0]);
    let conflicts = scene.write(|tx| tx.conflicts(false));
    assert_eq!(conflicts, [], "it is in conflict with nobody");
}

/// The file was put back to before it sent the record, and the server shows it.
#[test]
fn the_deletion_of_an_add_that_the_server_shows_is_told() {
    let (ground, replies) = (Ground::new(), RefCell::default());
    let mut scene = Scene::new(&ground, &replies);
    scene.file.edit_insert(TREES, tree(9, "yew", 9));
    ground.add(&tree(9, "fir", 1));
    let page = scene.pull();
    scene.store_page(&page);
    scene.file.edit_delete(TREES, &id(9));

    scene.sync();

    let conflicts = scene.write(|tx| tx.conflicts(true));
    assert_eq!(conflicts.len(), 1, "it meets the tree that is there");
}

/// A copy of the file has sent the record, which lies outside of what the file holds.
#[test]
fn the_deletion_of_an_add_that_has_left_is_told() {
    let (ground, replies) = (Ground::new(), RefCell::default());
    let mut scene = Scene::filtered(&ground, &replies, equals("height", 1));
    scene.file.edit_insert(TREES, tree(9, "yew", 1));
    ground.add(&tree(9, "fir", 1));
    let page = scene.pull();
    scene.store_page(&page);
    ground.update(9, set(1, 2));
    let page = scene.pull();
    scene.store_page(&page);
    let entry = scene.write(|tx| tx.entry(TREES, &id(9)));
    let theirs = entry.map(|entry| entry.theirs);
    assert_eq!(theirs, Some(Theirs::Removed(Removal::Left)));
    scene.file.edit_delete(TREES, &id(9));

    scene.sync();

    let stands = ground.record(TREES, &id(9)).is_some();
    let conflicts = scene.write(|tx| tx.conflicts(true));
    assert!(!stands || conflicts.len() == 1, "the server was told");
}

/// Whoever has sent it to the lost history brings it into the new one, too.
#[test]
fn the_deletion_of_an_add_that_a_lost_history_showed_is_told() {
    let (ground, replies) = (Ground::new(), RefCell::default());
    let mut scene = Scene::new(&ground, &replies);
    let backup = ground.store.backup();
    scene.file.edit_insert(TREES, tree(9, "yew", 9));
    ground.add(&tree(9, "fir", 1));
    let page = scene.pull();
    scene.store_page(&page);
    scene.file.edit_delete(TREES, &id(9));
    ground.put_back(backup);
    let history = ground.store.begin_read().expect("a snapshot");
    let history = history.head().expect("a head").history;
    scene.write(|tx| client::start_new_history(tx, history, Generation::ZERO));

    let batch = scene.freeze();

    let told = batch
        .edits
        .iter()
        .any(|(_, edit)| *edit.global_id() == id(9));
    assert!(told, "{batch:?}");
}

/// Two processes work on the file: one asked for a new identity, the other downloaded meanwhile.
#[test]
fn a_new_identity_is_dropped_if_the_file_has_gone_on_under_its_old_one() {
    let (ground, replies) = (Ground::new(), RefCell::default());
    let mut scene = Scene::new(&ground, &replies);
    let asked = scene.file.header().clone();
    let renewed: Renewed = scene.remote.renew(&asked).expect("an identity");
    ground.update(7, set(0, "elm"));
    let page = scene.pull();
    scene.store_page(&page);

    assert!(!scene.write(|tx| client::renewed(tx, &asked, renewed)));

    assert_eq!(scene.file.header().id, asked.id);
}
