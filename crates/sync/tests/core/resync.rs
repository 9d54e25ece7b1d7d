//! Full comparisons: what the server does not name any more goes, what is unsent stays, with what the server has now.

use std::cell::RefCell;

use haversack_model::local::{Removal, Theirs};
use haversack_model::{Filter, Generation, Policy, RowVersion};
use haversack_sync::client;

use crate::ground::{Ground, TREES, all_rights, equals, id, set, tree};
use crate::scene::Scene;

/// Everything is compared anew; the first page has been stored.
fn begin(scene: &mut Scene<'_>) {
    scene.write(|tx| {
        let history = tx.header()?.cursor.history;
        client::start_resync(tx, history)
    });
}

fn download(scene: &mut Scene<'_>) {
    loop {
        let page = scene.pull();
        scene.store_page(&page);
        if !page.1.more {
            return;
        }
    }
}

#[test]
fn an_edit_given_up_in_the_middle_leaves_no_row_that_the_server_has_not() {
    let (ground, replies) = (Ground::new(), RefCell::default());
    let mut scene = Scene::new(&ground, &replies);
    scene.file.edit_update(TREES, &id(7), &set(0, "elm"));
    ground.delete(7);
    begin(&mut scene);
    scene.write(|tx| client::discard(tx, TREES, &id(7)));
    assert_eq!(scene.name(), Some("oak".into()), "not known better yet");

    download(&mut scene);

    assert_eq!(scene.name(), None);
}

#[test]
fn a_version_beside_an_edit_that_is_not_named_any_more_is_gone() {
    let (ground, replies) = (Ground::new(), RefCell::default());
    let mut scene = Scene::new(&ground, &replies);
    scene.file.edit_update(TREES, &id(7), &set(0, "elm"));
    // It leaves and comes back changed: there is a version beside the edit, and no confirmed row.
    let mine = all_rights();
    scene.remote.access.filters = vec![(TREES, equals("height", 9))];
    download(&mut scene);
    assert_eq!(
        scene.entry().expect("an entry").theirs,
        Theirs::Removed(Removal::Revoked)
    );
    scene.remote.access = mine;
    ground.update(7, set(1, 5));
    download(&mut scene);
    let entry = scene.entry().expect("an entry");
    assert!(matches!(&entry.theirs, Theirs::Row { .. }), "{entry:?}");
    ground.delete(7);

    begin(&mut scene);
    download(&mut scene);

    let entry = scene.entry().expect("an entry");
    assert_eq!(entry.theirs, Theirs::Removed(Removal::Left));
}

#[test]
fn a_touched_record_is_not_news_beside_an_edit() {
    let (ground, replies) = (Ground::new(), RefCell::default());
    let mut scene = Scene::new(&ground, &replies);
    scene.file.edit_update(TREES, &id(7), &set(0, "elm"));
    begin(&mut scene);
    download(&mut scene);

    let entry = scene.entry().expect("an entry");
    assert_eq!(entry.theirs, Theirs::Unchanged);
    let known = entry.known().expect("a version");
    assert!(known.generation > Generation::ZERO, "it was seen");
    assert_ne!(known, RowVersion::UNKNOWN);
}

/// A refusal proves that nothing of the batch was stored. A deletion that pages told meanwhile is of the record's earlier life.
#[test]
fn an_add_that_was_refused_is_not_taken_for_one_that_arrived_and_was_deleted() {
    let (ground, replies) = (Ground::new(), RefCell::default());
    let mut scene = Scene::new(&ground, &replies);
    scene.file.edit_delete(TREES, &id(7));
    let batch = scene.freeze();
    let reply = scene.push(&batch);
    scene.store_reply(&batch, &reply);
    scene.file.edit_insert(TREES, tree(7, "elm", 2));
    scene.freeze();
    let page = scene.pull();
    scene.store_page(&page);
    assert_eq!(
        scene.entry().expect("an entry").theirs,
        Theirs::Removed(Removal::Deleted)
    );

    scene.write(client::thaw_refused);
    scene.sync();

    assert_eq!(scene.name(), Some("elm".into()));
    assert!(ground.record(TREES, &id(7)).is_some(), "it was sent again");
}

/// After a copy nobody knows whether the add arrived. If it did not, it is kept in a conflict and not lost.
#[test]
fn an_add_of_which_nobody_knows_whether_it_arrived_is_told_once_more() {
    let (ground, replies) = (Ground::new(), RefCell::default());
    let mut scene = Scene::new(&ground, &replies);
    scene.file.edit_delete(TREES, &id(7));
    let batch = scene.freeze();
    let reply = scene.push(&batch);
    scene.store_reply(&batch, &reply);
    scene.file.edit_insert(TREES, tree(7, "elm", 2));
    scene.freeze();
    let page = scene.pull();
    scene.store_page(&page);

    scene.write(client::thaw);
    scene.sync();

    let conflicts = scene.write(|tx| tx.conflicts(true));
    let kept = conflicts[0].mine.as_ref().expect("a version");
    assert_eq!(kept.values[0], "elm".into());
    assert_eq!(scene.name(), None, "a deletion is not undone by a doubt");
}

#[test]
fn an_answers_version_that_pages_pass_goes_though_its_edit_was_given_up_meanwhile() {
    let (ground, replies) = (Ground::new(), RefCell::default());
    let mut scene = Scene::new(&ground, &replies);
    let remote = &scene.remote;
    scene.file = remote.checkout("ann", Policy::Merge, Filter::All);
    scene.sync();
    scene.file.edit_insert(TREES, tree(9, "yew", 9));
    let batch = scene.freeze();
    let reply = scene.push(&batch);
    scene.store_reply(&batch, &reply);
    for name in ["ash", "fir", "box"] {
        ground.add(&tree(
            name.len() as u128 + u128::from(name.as_bytes()[0]),
            name,
            1,
        ));
    }
    // It leaves the part: the pages of this download do not name it, for it was not there when that began.
    scene.remote.access.filters = vec![(TREES, equals("height", 1))];
    scene.remote.page_size = 1;
    let page = scene.pull();
    scene.store_page(&page);
    scene.file.edit_update(TREES, &id(9), &set(0, "elm"));
    let page = scene.pull();
    scene.store_page(&page);
    scene.write(|tx| client::discard(tx, TREES, &id(9)));

    download(&mut scene);

    assert!(!scene.file.rows().any(|((_, of), _)| *of == id(9)));
}

#[test]
fn the_number_of_a_refused_batch_is_used_again() {
    let (ground, replies) = (Ground::new(), RefCell::default());
    let mut scene = Scene::new(&ground, &replies);
    scene.file.edit_update(TREES, &id(7), &set(0, "elm"));
    let refused = scene.freeze();
    scene.write(client::thaw_refused);
    scene.file.edit_update(TREES, &id(7), &set(0, "ash"));

    let batch = scene.freeze();

    assert_eq!(batch.number, refused.number);
    scene.push(&batch);
}
