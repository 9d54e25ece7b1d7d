//! Answers and pages that cross each other on the way: two programs synchronise one file, or an answer comes late.

use std::cell::RefCell;

use haversack_model::local::{LocalReplica, Removal, Theirs};
use haversack_model::remote::{BatchReply, RemoteChange};
use haversack_model::{Changes, FieldType, Filter, Outcome, Policy, Store, SyncState, Value};
use haversack_sync::client::{self, Choice};

use crate::ground::{Ground, TREES, equals, field, id, set, tree};
use crate::scene::Scene;

#[test]
fn a_page_that_overtook_the_answer_knows_better() {
    let (ground, replies) = (Ground::new(), RefCell::default());
    let mut scene = Scene::new(&ground, &replies);
    scene.file.edit_update(TREES, &id(7), &set(0, "elm"));
    let batch = scene.freeze();
    let reply = scene.push(&batch);
    ground.update(7, set(0, "ash"));
    let page = scene.pull();
    scene.store_page(&page);
    assert_eq!(
        scene.name(),
        Some("elm".into()),
        "work under way is not overwritten"
    );

    scene.store_reply(&batch, &reply);

    assert_eq!(scene.name(), Some("ash".into()));
    assert_eq!(scene.file.outbox().count(), 0);
}

#[test]
fn a_removal_that_overtook_the_answer_knows_better() {
    let (ground, replies) = (Ground::new(), RefCell::default());
    let mut scene = Scene::new(&ground, &replies);
    scene.file.edit_update(TREES, &id(7), &set(0, "elm"));
    let batch = scene.freeze();
    let reply = scene.push(&batch);
    ground.delete(7);
    let page = scene.pull();
    scene.store_page(&page);
    scene.store_reply(&batch, &reply);
    assert_eq!(scene.name(), None);
    assert_eq!(scene.file.outbox().count(), 0);
}

/// An answer that stored everything, and has something to say about it.
fn with_warnings(mut reply: BatchReply) -> BatchReply {
    for receipt in &mut reply.receipts {
        assert_eq!(receipt.outcome, Outcome::Applied);
        receipt.outcome = Outcome::Warned {
            reason: "look".to_owned(),
        };
    }
    reply
}

/// The server may have stored it without the value that it warned of.
#[test]
fn what_was_warned_of_stays_though_a_page_overtook_the_answer() {
    let (ground, replies) = (Ground::new(), RefCell::default());
    let mut scene = Scene::new(&ground, &replies);
    scene.file.edit_update(TREES, &id(7), &set(0, "elm"));
    let batch = scene.freeze();
    let reply = with_warnings(scene.push(&batch));
    ground.update(7, set(0, "ash"));
    let page = scene.pull();
    scene.store_page(&page);

    scene.store_reply(&batch, &reply);

    assert_eq!(scene.name(), Some("elm".into()));
    let entry = scene.entry().expect("an entry");
    assert_eq!(entry.state, SyncState::Warning);
    assert!(
        matches!(&entry.theirs, Theirs::Row { record, .. } if record.values[0] == "ash".into())
    );
}

#[test]
fn what_was_warned_of_stays_though_a_removal_overtook_the_answer() {
    let (ground, replies) = (Ground::new(), RefCell::default());
    let mut scene = Scene::new(&ground, &replies);
    scene.file.edit_update(TREES, &id(7), &set(0, "elm"));
    let batch = scene.freeze();
    let reply = with_warnings(scene.push(&batch));
    ground.delete(7);
    let page = scene.pull();
    scene.store_page(&page);

    scene.store_reply(&batch, &reply);

    assert_eq!(scene.name(), Some("elm".into()));
    let entry = scene.entry().expect("an entry");
    assert_eq!(entry.state, SyncState::Warning);
    assert_eq!(entry.theirs, Theirs::Removed(Removal::Deleted));
}

#[test]
fn what_is_sent_again_after_a_warning_stays_in_the_file() {
    let (ground, replies) = (Ground::new(), RefCell::default());
    let mut scene = Scene::new(&ground, &replies);
    scene.file.edit_update(TREES, &id(7), &set(0, "elm"));
    let batch = scene.freeze();
    let reply = with_warnings(scene.push(&batch));
    scene.store_reply(&batch, &reply);
    scene.sync();
    assert_eq!(scene.write(client::retry), 1);

    scene.sync();

    assert_eq!(scene.name(), Some("elm".into()));
    assert_eq!(scene.entry(), None);
}

/// The record left while its edit was sent again, and the answer comes in the middle of a comparison whose pages have passed it.
#[test]
fn what_is_sent_again_does_not_outlive_a_comparison_that_does_not_name_it() {
    let (ground, replies) = (Ground::new(), RefCell::default());
    let mut scene = Scene::filtered(&ground, &replies, equals("height", 1));
    scene.file.edit_update(TREES, &id(7), &set(0, "elm"));
    let batch = scene.freeze();
    let reply = with_warnings(scene.push(&batch));
    scene.store_reply(&batch, &reply);
    ground.add(&tree(8, "fir", 1));
    ground.add(&tree(9, "yew", 1));
    scene.sync();
    scene.write(client::retry);
    let batch = scene.freeze();
    let reply = scene.push(&batch);
    ground.update(7, set(1, 9));
    ground.add(&tree(10, "oak", 1));
    ground.add(&tree(11, "oak", 1));
    scene.write(|tx| {
        let history = tx.header()?.cursor.history;
        client::start_resync(tx, history)
    });
    scene.remote.page_size = 3;
    let page = scene.pull();
    scene.store_page(&page);

    scene.store_reply(&batch, &reply);
    scene.sync();

    assert_eq!(scene.name(), None);
}

#[test]
fn a_page_read_before_the_upload_does_not_bring_the_old_version_back() {
    let (ground, replies) = (Ground::new(), RefCell::default());
    let mut scene = Scene::new(&ground, &replies);
    ground.update(7, set(1, 2));
    let page = scene.pull();
    scene.file.edit_update(TREES, &id(7), &set(0, "elm"));
    let batch = scene.freeze();
    let reply = scene.push(&batch);
    scene.store_reply(&batch, &reply);
    scene.store_page(&page);
    assert_eq!(scene.name(), Some("elm".into()));
}

#[test]
fn an_answer_changes_only_records_that_still_carry_its_batch() {
    let (ground, replies) = (Ground::new(), RefCell::default());
    let mut scene = Scene::new(&ground, &replies);
    scene.file.edit_update(TREES, &id(7), &set(0, "elm"));
    let batch = scene.freeze();
    let reply = scene.push(&batch);
    // Another program gave the edit a new life.
    let mut tx = scene.file.begin().expect("a transaction");
    let mut entry = tx.entry(TREES, &id(7)).expect("a read").expect("an entry");
    entry.batch = None;
    entry.state = SyncState::ToUpdate;
    tx.store_entry(&entry).expect("stored");
    tx.commit().expect("a commit");

    scene.store_reply(&batch, &reply);

    let kept: Vec<_> = scene.file.outbox().collect();
    assert_eq!(kept, [&entry]);
}

#[test]
fn an_answer_that_comes_twice_is_stored_once() {
    let (ground, replies) = (Ground::new(), RefCell::default());
    let mut scene = Scene::new(&ground, &replies);
    scene.file.edit_update(TREES, &id(7), &set(0, "elm"));
    let batch = scene.freeze();
    let reply = scene.push(&batch);
    assert_eq!(scene.store_reply(&batch, &reply), 1);
    scene.file.edit_update(TREES, &id(7), &set(0, "ash"));
    assert_eq!(scene.store_reply(&batch, &reply), 0);
    assert_eq!(scene.file.outbox().count(), 1, "the later edit still waits");
    scene.sync();
    assert_eq!(scene.name(), Some("ash".into()));
}

#[test]
fn rows_with_unsent_work_keep_the_servers_version_beside_them() {
    let (ground, replies) = (Ground::new(), RefCell::default());
    let mut scene = Scene::new(&ground, &replies);
    scene.file.edit_update(TREES, &id(7), &set(0, "elm"));
    ground.update(7, set(1, 5));
    let page = scene.pull();
    scene.store_page(&page);
    assert_eq!(scene.name(), Some("elm".into()));
    let entry = scene.file.outbox().next().expect("an entry");
    assert!(matches!(&entry.theirs, Theirs::Row { record, .. } if record.values[1] == 5.into()));

    // Giving the edit up installs it, though the cursor has passed it.
    let mut tx = scene.file.begin().expect("a transaction");
    client::discard(&mut *tx, TREES, &id(7)).expect("given up");
    tx.commit().expect("a commit");
    let row = scene.file.rows().next().expect("a row").1;
    assert_eq!(row.values[..2], ["oak".into(), 5.into()]);
}

#[test]
fn an_edit_of_a_new_column_counts_though_its_base_is_older() {
    let (ground, replies) = (Ground::new(), RefCell::default());
    let mut scene = Scene::new(&ground, &replies);
    scene.file.edit_update(TREES, &id(7), &set(0, "elm"));
    let mut tx = ground
        .store
        .begin_write(ground.now())
        .expect("a transaction");
    let mut service = tx.service().expect("a service");
    service.schema_version += 1;
    service.collections[0]
        .fields
        .push(field("bark", FieldType::String));
    tx.store_service(&service).expect("a new column");
    tx.commit().expect("a commit");
    let page = scene.pull();
    scene.store_page(&page);
    scene.file.edit_update(TREES, &id(7), &set(3, "rough"));
    scene.sync();
    let stored = ground.record(TREES, &id(7)).expect("the tree").record;
    assert_eq!(
        [&stored.values[0], &stored.values[3]],
        [&"elm".into(), &"rough".into()]
    );
}

#[test]
fn what_came_and_went_between_two_downloads_does_not_stay() {
    let (ground, replies) = (Ground::new(), RefCell::default());
    let mut scene = Scene::new(&ground, &replies);
    scene.file.edit_insert(TREES, tree(9, "birch", 1));
    let batch = scene.freeze();
    let reply = scene.push(&batch);
    scene.store_reply(&batch, &reply);
    ground.delete(9);

    let page = scene.pull();
    scene.store_page(&page);

    assert!(!scene.file.rows().any(|((_, of), _)| *of == id(9)));
}

#[test]
fn a_late_answer_brings_nothing_back_that_has_gone_since() {
    let (ground, replies) = (Ground::new(), RefCell::default());
    let mut scene = Scene::new(&ground, &replies);
    scene.file.edit_insert(TREES, tree(9, "birch", 1));
    let batch = scene.freeze();
    let reply = scene.push(&batch);
    ground.delete(9);
    let page = scene.pull();
    scene.store_page(&page);

    scene.store_reply(&batch, &reply);

    assert!(!scene.file.rows().any(|((_, of), _)| *of == id(9)));
    assert_eq!(scene.file.outbox().count(), 0);
}

#[test]
fn a_record_that_left_and_is_back_as_it_was_is_known_beside_the_edit() {
    let (ground, replies) = (Ground::new(), RefCell::default());
    let mut scene = Scene::new(&ground, &replies);
    scene.file.edit_update(TREES, &id(7), &set(0, "elm"));
    let (asked, mut page) = scene.pull();
    let base = scene.file.outbox().next().and_then(|e| e.base.clone());
    let (record, version) = base.expect("a base");
    page.changes = vec![RemoteChange::Remove {
        collection: TREES,
        global_id: id(7),
        removal: Removal::Left,
    }];
    scene.store_page(&(asked, page));
    let (asked, mut page) = scene.pull();
    page.changes = vec![RemoteChange::Put {
        collection: TREES,
        record,
        version,
    }];
    scene.store_page(&(asked, page));

    let entry = scene.file.outbox().next().expect("an entry");
    assert_eq!(entry.theirs, Theirs::Unchanged);
}

/// Tree 7 gets a name and a grower here. Before the answer someone else has renamed it and moved it out of this part,
/// and it has been edited here once more.
fn edited_again_after_a_lost_edit(mine: &Changes) -> Vec<Value> {
    let (ground, replies) = (Ground::new(), RefCell::default());
    let mut scene = Scene::filtered(&ground, &replies, equals("height", 1));
    scene.file.edit_update(TREES, &id(7), mine);
    let batch = scene.freeze();
    let mut theirs = set(0, "ash");
    theirs.values.insert(1, 9.into());
    ground.update(7, theirs);
    let reply = scene.push(&batch);
    scene.file.edit_update(TREES, &id(7), &set(0, "fir"));
    scene.store_reply(&batch, &reply);
    let entry = scene.file.outbox().next().expect("an entry");
    assert_eq!(entry.theirs, Theirs::Removed(Removal::Left));
    let (base, _) = entry.base.clone().expect("a base");
    base.values
}

#[test]
fn an_edit_that_lost_is_not_the_base_of_the_next_one() {
    let base = edited_again_after_a_lost_edit(&set(0, "elm"));
    assert_eq!(base, ["oak".into(), 1.into(), Value::Null]);
}

#[test]
fn of_an_edit_that_was_merged_only_the_stored_fields_are_the_base_of_the_next_one() {
    let mut mine = set(0, "elm");
    mine.values.insert(2, "ann".into());
    let base = edited_again_after_a_lost_edit(&mine);
    assert_eq!(base, ["oak".into(), 1.into(), "ann".into()]);
}

#[test]
fn a_record_that_both_sides_brought_back_does_not_vanish_with_the_answer() {
    let (ground, replies) = (Ground::new(), RefCell::default());
    let mut scene = Scene::new(&ground, &replies);
    scene.file.edit_update(TREES, &id(7), &set(0, "elm"));
    ground.delete(7);
    scene.sync();
    assert_eq!(scene.name(), None);
    let mut tx = scene.file.begin().expect("a transaction");
    let conflict = tx.conflicts(true).expect("conflicts")[0].id;
    client::resolve(&mut *tx, conflict, Choice::Base, "ann", ground.now()).expect("resolved");
    tx.commit().expect("a commit");
    ground.add(&tree(7, "ash", 3));
    let page = scene.pull();
    scene.store_page(&page);
    assert_eq!(scene.name(), Some("oak".into()));

    scene.sync();

    assert_eq!(
        scene.name(),
        Some("ash".into()),
        "the server's, in a conflict"
    );
}

#[test]
fn a_version_that_follows_at_once_is_seen_beside_an_edit() {
    let (ground, replies) = (Ground::new(), RefCell::default());
    let mut scene = Scene::new(&ground, &replies);
    ground.add(&tree(8, "fir", 1));
    scene.sync();
    scene.file.edit_update(TREES, &id(7), &set(0, "elm"));
    let batch = scene.freeze();
    let reply = scene.push(&batch);
    scene.store_reply(&batch, &reply);
    ground.update(8, set(0, "pine"));
    ground.update(7, set(0, "ash"));
    scene.remote.page_size = 1;
    // It passes the answer's version of tree 7 and does not name it, because there is a newer one.
    let page = scene.pull();
    scene.store_page(&page);
    scene.file.edit_update(TREES, &id(7), &set(1, 4));

    let page = scene.pull();
    scene.store_page(&page);

    let entry = scene.file.outbox().next().expect("an entry");
    assert!(
        matches!(&entry.theirs, Theirs::Row { record, .. } if record.values[0] == "ash".into())
    );
}

#[test]
fn an_earlier_page_does_not_remove_what_an_answer_brought_back() {
    let (ground, replies) = (Ground::new(), RefCell::default());
    let mut scene = Scene::new(&ground, &replies);
    scene.file = scene.remote.checkout("ann", Policy::Client, Filter::All);
    scene.sync();
    scene.file.edit_update(TREES, &id(7), &set(0, "elm"));
    ground.delete(7);
    let page = scene.pull();
    let batch = scene.freeze();
    let reply = scene.push(&batch);
    scene.store_reply(&batch, &reply);

    scene.store_page(&page);

    assert_eq!(scene.name(), Some("elm".into()));
    scene.sync();
    assert_eq!(scene.name(), Some("elm".into()));
}

#[test]
fn a_page_with_the_content_of_the_base_knows_better_than_an_older_answer() {
    let (ground, replies) = (Ground::new(), RefCell::default());
    let mut scene = Scene::new(&ground, &replies);
    scene.file.edit_update(TREES, &id(7), &set(0, "elm"));
    let batch = scene.freeze();
    let reply = scene.push(&batch);
    ground.update(7, set(0, "oak"));
    let page = scene.pull();
    scene.store_page(&page);

    scene.store_reply(&batch, &reply);

    assert_eq!(scene.name(), Some("oak".into()));
}
