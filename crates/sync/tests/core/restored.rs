//! A server that was put back to a backup: what it forgot is sent again, deletions included, and what was seen since is no
//! proof of anything.

use std::cell::RefCell;

use haversack_model::local::Removal;
use haversack_model::{Error, Generation, Remote, Right, Store, Theirs};
use haversack_sync::{client, native};

use crate::ground::{Ground, TREES, all_rights, equals, id, set, tree};
use crate::scene::Scene;

/// The server is put back to before an earlier restore, so it does not know the history of the file's cursor.
#[test]
fn a_deletion_is_told_though_the_add_before_it_counts_as_forgotten() {
    let (ground, replies) = (Ground::new(), RefCell::default());
    let mut scene = Scene::new(&ground, &replies);
    scene.file.edit_insert(TREES, tree(9, "yew", 9));
    scene.sync();
    let backup = ground.store.backup();
    ground.start_history();
    scene.sync();
    ground.put_back(backup);

    scene.file.edit_delete(TREES, &id(9));
    scene.sync();

    assert!(ground.record(TREES, &id(9)).is_none());
}

#[test]
fn a_deletion_of_an_add_that_waits_to_be_sent_again_is_told() {
    let (ground, replies) = (Ground::new(), RefCell::default());
    let mut scene = Scene::new(&ground, &replies);
    scene.file.edit_insert(TREES, tree(9, "yew", 9));
    scene.sync();
    let backup = ground.store.backup();
    ground.start_history();
    scene.sync();
    ground.put_back(backup);
    let history = ground.store.begin_read().expect("a snapshot");
    let history = history.head().expect("a head").history;
    scene.write(|tx| client::start_new_history(tx, history, Generation::ZERO));

    scene.file.edit_delete(TREES, &id(9));
    scene.sync();

    assert!(ground.record(TREES, &id(9)).is_none());
}

#[test]
fn an_add_that_a_page_showed_in_a_lost_history_is_sent_again() {
    let (ground, replies) = (Ground::new(), RefCell::default());
    let mut scene = Scene::new(&ground, &replies);
    let backup = ground.store.backup();
    scene.file.edit_insert(TREES, tree(9, "yew", 9));
    scene.send_and_see_it_in_a_page();
    ground.put_back(backup);

    scene.sync();

    assert!(ground.record(TREES, &id(9)).is_some());
}

#[test]
fn an_add_that_a_page_showed_is_sent_again_to_a_server_that_forgot_the_replica() {
    let (ground, replies) = (Ground::new(), RefCell::default());
    let mut scene = Scene::new(&ground, &replies);
    scene.file.edit_insert(TREES, tree(9, "yew", 9));
    scene.send_and_see_it_in_a_page();
    let mut tx = ground
        .store
        .begin_write(ground.now())
        .expect("a transaction");
    tx.remove_replica(scene.file.header().id)
        .expect("a replica less");
    tx.commit().expect("a commit");
    ground.delete(9);

    scene.sync();

    let conflicts = scene.write(|tx| tx.conflicts(true));
    assert_eq!(conflicts.len(), 1, "it meets the deletion");
}

/// Otherwise the file would take a new identity first, on what it saw in the lost history.
#[test]
fn a_new_history_is_told_before_batches_are_counted() {
    let (ground, replies) = (Ground::new(), RefCell::default());
    let mut scene = Scene::new(&ground, &replies);
    let backup = ground.store.backup();
    for name in ["elm", "ash"] {
        scene.file.edit_update(TREES, &id(7), &set(0, name));
        scene.sync();
    }
    ground.put_back(backup);
    scene.file.edit_update(TREES, &id(7), &set(0, "fir"));
    let batch = scene.freeze();

    let header = scene.file.header().clone();
    let refused = scene.remote.push(&header, &batch);

    assert!(
        matches!(refused, Err(Error::NewHistory { .. })),
        "{refused:?}"
    );
}

/// The copy's cursor stands below the tombstones that are kept: the original went on under the same identity.
#[test]
fn a_copy_in_the_middle_of_a_comparison_misses_no_deletion() {
    let (ground, replies) = (Ground::new(), RefCell::default());
    let mut scene = Scene::new(&ground, &replies);
    ground.add(&tree(8, "fir", 1));
    scene.sync();
    scene.write(|tx| {
        let history = tx.header()?.cursor.history;
        client::start_resync(tx, history)
    });
    scene.remote.page_size = 1;
    let page = scene.pull();
    scene.store_page(&page);
    assert!(scene.name().is_some(), "the first page has told of tree 7");
    ground.delete(7);
    ground.add(&tree(9, "yew", 1));
    let mut tx = ground
        .store
        .begin_write(ground.now())
        .expect("a transaction");
    let head = tx.head().expect("a head").generation;
    let id = scene.file.header().id;
    let mut replica = tx.replica(id).expect("a read").expect("a replica");
    native::note_cursor(&mut replica, head);
    tx.store_replica(&replica).expect("stored");
    tx.commit().expect("a commit");
    let mut tx = ground
        .store
        .begin_write(ground.now())
        .expect("a transaction");
    assert_eq!(tx.prune_history(head).expect("pruned"), head);
    tx.commit().expect("a commit");

    scene.sync();

    assert_eq!(scene.name(), None);
}

/// Others have set the field since, and the file has seen it; that is theirs to send again.
#[test]
fn a_forgotten_edit_is_sent_again_without_what_others_set_over_it() {
    let (ground, replies) = (Ground::new(), RefCell::default());
    let mut scene = Scene::new(&ground, &replies);
    let backup = ground.store.backup();
    scene.file.edit_update(TREES, &id(7), &set(0, "elm"));
    scene.sync();
    ground.update(7, set(0, "fir"));
    scene.sync();
    scene.file.edit_update(TREES, &id(7), &set(1, 5));
    ground.put_back(backup);

    scene.sync();

    let stored = ground.record(TREES, &id(7)).expect("a record").record;
    assert_eq!(stored.values[..2], ["elm".into(), 5.into()]);
}

/// Sent to a server that has deleted the record since, it is the base of what waits, and without a receipt all the same.
#[test]
fn what_was_sent_last_stays_when_an_older_edit_is_forgotten() {
    let (ground, replies) = (Ground::new(), RefCell::default());
    let mut scene = Scene::new(&ground, &replies);
    let (backup, fork) = (ground.store.backup(), ground.head());
    scene.file.edit_insert(TREES, tree(9, "yew", 9));
    scene.sync();
    ground.put_back(backup);
    let follow = |scene: &mut Scene<'_>| {
        let history = ground.store.begin_read().expect("a snapshot");
        let history = history.head().expect("a head").history;
        scene.write(|tx| client::start_new_history(tx, history, fork));
    };
    follow(&mut scene);
    let header = scene.file.header().clone();
    let renewed = scene.remote.renew(&header).expect("an identity");
    assert!(scene.write(|tx| client::renewed(tx, &header, renewed)));
    let page = scene.pull();
    scene.store_page(&page);
    scene.file.edit_update(TREES, &id(9), &set(0, "elm"));
    scene.send_and_see_it_in_a_page();
    ground.delete(9);
    let page = scene.pull();
    scene.store_page(&page);
    ground.start_history();

    follow(&mut scene);

    let row = scene.write(|tx| tx.row(TREES, &id(9)));
    assert_eq!(row.expect("a row").values[0], "elm".into());
}

/// A record that was deleted here while it was refused, and made anew, lies outside of what the file holds, so that nothing of it is here.
#[test]
fn an_add_after_a_deletion_without_a_base_is_sent_again() {
    let (ground, replies) = (Ground::new(), RefCell::default());
    let mut scene = Scene::filtered(&ground, &replies, equals("height", 1));
    let backup = ground.store.backup();
    ground.add(&tree(8, "elm", 1));
    scene.remote.access.rights = vec![Right::Read, Right::Sync];
    scene.file.edit_insert(TREES, tree(9, "yew", 1));
    let batch = scene.freeze();
    scene.file.edit_delete(TREES, &id(9));
    let refusal = scene.push(&batch);
    scene.store_reply(&batch, &refusal);
    scene.remote.access = all_rights();
    let batch = scene.freeze();
    let answer = scene.push(&batch);
    scene.file.edit_insert(TREES, tree(9, "fir", 2));
    scene.store_reply(&batch, &answer);
    scene.sync();
    assert!(ground.record(TREES, &id(9)).is_some());
    ground.put_back(backup);

    scene.sync();

    let stored = ground.record(TREES, &id(9)).expect("a record").record;
    assert_eq!(stored.values[0], "fir".into());
}

/// The server is put back to the same backup twice, so that both histories count from there.
#[test]
fn what_was_sent_in_a_lost_history_is_not_taken_for_news_of_a_later_one() {
    let (ground, replies) = (Ground::new(), RefCell::default());
    let mut scene = Scene::new(&ground, &replies);
    let backup = ground.store.backup();
    ground.start_history();
    for name in ["elm", "ash", "fir"] {
        ground.update(7, set(0, name));
    }
    scene.file.edit_insert(TREES, tree(9, "yew", 9));
    scene.sync();
    ground.put_back(backup);
    scene.sync();
    scene.file.edit_update(TREES, &id(9), &set(0, "oak"));
    scene.sync();
    let backup = ground.store.backup();
    ground.put_back(backup);

    scene.sync();

    let stored = ground.record(TREES, &id(9)).expect("a record").record;
    assert_eq!(stored.values[0], "oak".into());
    assert_eq!(scene.write(|tx| tx.conflicts(false)), []);
}

/// Others deleted the record while it was under way, and the server was put back to before that.
#[test]
fn an_add_that_never_arrived_is_told_to_a_server_that_shows_another_record_of_its_id() {
    let (ground, replies) = (Ground::new(), RefCell::default());
    let mut scene = Scene::new(&ground, &replies);
    scene.file.edit_delete(TREES, &id(7));
    let batch = scene.freeze();
    let answer = scene.push(&batch);
    scene.store_reply(&batch, &answer);
    ground.add(&tree(7, "fir", 1));
    let backup = ground.store.backup();
    ground.delete(7);
    scene.file.edit_insert(TREES, tree(7, "yew", 9));
    scene.freeze();
    let page = scene.pull();
    scene.store_page(&page);
    let theirs = scene.entry().map(|entry| entry.theirs.clone());
    assert_eq!(theirs, Some(Theirs::Removed(Removal::Deleted)));
    ground.put_back(backup);

    scene.sync();

    let conflicts = scene.write(|tx| tx.conflicts(true));
    let mine = conflicts.iter().filter_map(|found| found.mine.as_ref());
    let kept: Vec<_> = mine.map(|mine| mine.values[0].clone()).collect();
    assert_eq!(kept, ["yew".into()]);
}

#[test]
fn what_a_page_showed_to_have_arrived_is_not_told_over_what_others_set_in_a_new_history() {
    let (ground, replies) = (Ground::new(), RefCell::default());
    let mut scene = Scene::new(&ground, &replies);
    scene.file.edit_update(TREES, &id(7), &set(0, "elm"));
    scene.send_and_see_it_in_a_page();
    scene.file.edit_update(TREES, &id(7), &set(1, 5));
    let fork = ground.head();
    ground.start_history();
    let history = ground.store.begin_read().expect("a snapshot");
    let history = history.head().expect("a head").history;
    ground.update(7, set(0, "fir"));
    scene.write(|tx| client::start_new_history(tx, history, fork));

    scene.sync();

    let stored = ground.record(TREES, &id(7)).expect("a record").record;
    assert_eq!(stored.values[..2], ["fir".into(), 5.into()]);
    assert_eq!(scene.write(|tx| tx.conflicts(false)), []);
}

/// Others have changed the record in the new history, and moved it out of what the file holds.
#[test]
fn what_a_page_showed_to_have_arrived_is_not_told_of_a_record_that_left_in_a_new_history() {
    let (ground, replies) = (Ground::new(), RefCell::default());
    let mut scene = Scene::filtered(&ground, &replies, equals("height", 1));
    scene.file.edit_update(TREES, &id(7), &set(0, "elm"));
    scene.send_and_see_it_in_a_page();
    let fork = ground.head();
    ground.start_history();
    let history = ground.store.begin_read().expect("a snapshot");
    let history = history.head().expect("a head").history;
    let mut theirs = set(0, "fir");
    theirs.values.insert(1, 9.into());
    ground.update(7, theirs);
    scene.write(|tx| client::start_new_history(tx, history, fork));

    scene.sync();

    assert_eq!(scene.write(|tx| tx.conflicts(false)), []);
    let stored = ground.record(TREES, &id(7)).expect("a record").record;
    assert_eq!(stored.values[..2], ["fir".into(), 9.into()]);
    assert_eq!(scene.name(), None);
}
