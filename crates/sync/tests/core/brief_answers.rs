//! Answers to our own clients leave out what the replica has, and nothing else.

use std::cell::RefCell;

use haversack_model::edit::Base;
use haversack_model::local::{FrozenBatch, LocalReplica, RowVersion};
use haversack_model::remote::BatchReply;
use haversack_model::{
    Changes, Edit, FieldType, Filter, GlobalId, Outcome, Policy, Receipt, Record, Remote, Revision,
    Store, Value, Versioned,
};
use haversack_sync::client::{self, Summary};
use haversack_sync::merge::whole;

use crate::ground::{Ground, TREES, all_rights, equals, field, id, set, stamped_service, tree};
use crate::loopback::Loopback;
use crate::memory::MemoryReplica;

fn remote<'a>(ground: &'a Ground, replies: &'a RefCell<Vec<BatchReply>>) -> Loopback<'a> {
    Loopback {
        ground,
        user: "ann".to_owned(),
        access: all_rights(),
        page_size: 100,
        lose_reply: false,
        replies,
    }
}

fn push(remote: &mut Loopback<'_>, file: &MemoryReplica, edits: Vec<Edit>) -> Vec<Receipt> {
    let header = file.header();
    let batch = FrozenBatch {
        number: header.next_batch,
        edits: edits.into_iter().map(|edit| (TREES, edit)).collect(),
        cursor: header.cursor,
    };
    remote.push(header, &batch).expect("a reply").receipts
}

fn add(record: Record) -> Edit {
    Edit::Add {
        record,
        undelete: false,
    }
}

fn update(from: &Versioned, mine: Changes) -> Edit {
    Edit::Update {
        global_id: from.record.global_id.clone(),
        mine,
        base: Some(Base {
            revision: from.track.revision,
            content: whole(&from.record),
        }),
    }
}

fn stored(ground: &Ground, number: u128) -> Versioned {
    ground.record(TREES, &id(number)).expect("it is stored")
}

fn version(of: &Versioned) -> RowVersion {
    RowVersion {
        revision: of.track.revision,
        generation: of.track.generation,
    }
}

#[test]
fn a_receipt_names_the_version_alone_of_what_is_stored_as_it_was_sent() {
    let ground = Ground::new();
    ground.add(&tree(1, "oak", 1));
    let replies = RefCell::default();
    let mut remote = remote(&ground, &replies);
    let file = remote.checkout("ann", Policy::Merge, Filter::All);
    let edits = vec![
        update(&stored(&ground, 1), set(1, 2)),
        add(tree(2, "elm", 3)),
    ];
    let receipts = push(&mut remote, &file, edits);
    for (number, receipt) in (1..).zip(&receipts) {
        let now = stored(&ground, number);
        assert_eq!(receipt.outcome, Outcome::Applied);
        assert_eq!(receipt.after, None, "tree {number}");
        assert_eq!(receipt.version, Some(version(&now)));
        assert_eq!(receipt.object_id, now.record.object_id);
    }
}

#[test]
fn a_receipt_tells_all_of_a_record_to_which_others_or_the_server_added() {
    let ground = Ground::new();
    ground.add(&tree(1, "oak", 1));
    ground.add(&tree(2, "elm", 1));
    let replies = RefCell::default();
    let mut remote = remote(&ground, &replies);
    let file = remote.checkout("ann", Policy::Merge, Filter::All);
    let (merged, rounded) = (stored(&ground, 1), stored(&ground, 2));
    ground.update(1, set(0, "fir"));
    let edits = vec![
        update(&merged, set(1, 2)),
        // It is kept as a whole number, which is not what the sender has.
        update(&rounded, set(1, 7.0)),
    ];
    let receipts = push(&mut remote, &file, edits);
    for (number, receipt) in (1..).zip(&receipts) {
        let told = receipt.after.as_ref().expect("all of it is told");
        assert_eq!(*told, stored(&ground, number), "tree {number}");
        assert_eq!(receipt.version, None);
    }

    let ground = Ground::of(stamped_service());
    let mut stamped = tree(1, "oak", 1);
    stamped.values.resize(7, Value::Null);
    let replies = RefCell::default();
    let mut remote = self::remote(&ground, &replies);
    let file = remote.checkout("ann", Policy::Merge, Filter::All);
    let receipts = push(&mut remote, &file, vec![add(stamped)]);
    let told = receipts[0].after.as_ref().expect("the stamps are told");
    assert_eq!(*told, stored(&ground, 1));
}

#[test]
fn a_receipt_tells_what_a_later_edit_of_the_same_batch_made_of_the_record() {
    let ground = Ground::new();
    ground.add(&tree(1, "oak", 1));
    let replies = RefCell::default();
    let mut remote = remote(&ground, &replies);
    let file = remote.checkout("ann", Policy::Merge, Filter::All);
    let base = stored(&ground, 1);
    let edits = vec![update(&base, set(1, 2)), update(&base, set(0, "fir"))];
    let receipts = push(&mut remote, &file, edits);
    let now = stored(&ground, 1);
    assert_eq!(now.record.values, tree(1, "fir", 2).values);
    for receipt in receipts {
        assert_eq!(receipt.after.as_ref(), Some(&now));
    }
}

#[test]
fn a_receipt_tells_that_a_record_stored_as_sent_lies_outside_of_the_part() {
    let ground = Ground::new();
    ground.add(&tree(1, "oak", 1));
    let replies = RefCell::default();
    let mut remote = remote(&ground, &replies);
    let file = remote.checkout("ann", Policy::Merge, equals("height", 1));
    let edits = vec![update(&stored(&ground, 1), set(1, 2))];
    let receipts = push(&mut remote, &file, edits);
    assert!(receipts[0].left);
    assert_eq!((&receipts[0].after, receipts[0].version), (&None, None));
}

/// A file of all trees with one of them edited, and the edit on the server.
fn uploaded(ground: &Ground, remote: &mut Loopback<'_>, filter: Filter) -> MemoryReplica {
    let mut file = remote.checkout("ann", Policy::Merge, filter);
    sync(ground, remote, &mut file);
    assert!(file.edit_update(TREES, &id(1), &set(0, "yew")));
    file.edit_insert(TREES, tree(9, "box", 1));
    upload(ground, remote, &mut file);
    file
}

fn sync(ground: &Ground, remote: &mut Loopback<'_>, file: &mut MemoryReplica) -> Summary {
    client::synchronise(file, remote, &|| ground.now(), &mut |_| {}).expect("a sync")
}

/// The first half of a sync.
fn upload(ground: &Ground, remote: &mut Loopback<'_>, file: &mut MemoryReplica) {
    let mut tx = file.begin().expect("a transaction");
    let batch = client::freeze(&mut *tx, ground.now()).expect("frozen");
    tx.commit().expect("a commit");
    let batch = batch.expect("there is something to send");
    let reply = remote.push(file.header(), &batch).expect("a reply");
    let mut tx = file.begin().expect("a transaction");
    client::apply_reply(&mut *tx, batch.number, &reply, ground.now()).expect("applied");
    tx.commit().expect("a commit");
}

fn names(file: &MemoryReplica) -> Vec<(GlobalId, Value)> {
    let trees = file.rows().filter(|((of, _), _)| *of == TREES);
    trees
        .map(|((_, id), row)| (id.clone(), row.values[0].clone()))
        .collect()
}

#[test]
fn a_download_leaves_out_what_the_receipts_told() {
    let ground = Ground::new();
    ground.add(&tree(1, "oak", 1));
    ground.add(&tree(2, "elm", 1));
    let replies = RefCell::default();
    let mut remote = remote(&ground, &replies);
    let mut file = uploaded(&ground, &mut remote, Filter::All);
    ground.update(2, set(0, "fir"));
    let page = remote.pull(file.header()).expect("a page");
    assert_eq!(page.changes.len(), 1, "of the others: {:?}", page.changes);
    assert!(page.held.contains(version(&stored(&ground, 1))));
    sync(&ground, &mut remote, &mut file);
    assert!(file.header().ahead.is_empty());
    assert_eq!(
        names(&file),
        [
            (id(1), "yew".into()),
            (id(2), "fir".into()),
            (id(9), "box".into())
        ]
    );
}

#[test]
fn a_download_tells_what_others_made_of_a_record_after_the_receipt() {
    let ground = Ground::new();
    ground.add(&tree(1, "oak", 1));
    let replies = RefCell::default();
    let mut remote = remote(&ground, &replies);
    let mut file = uploaded(&ground, &mut remote, equals("height", 1));
    ground.update(1, set(0, "ash"));
    // It came and went between two cursors: no page names it.
    ground.update(9, set(1, 5));
    sync(&ground, &mut remote, &mut file);
    assert_eq!(names(&file), [(id(1), "ash".into())]);
}

#[test]
fn a_version_of_the_same_generation_that_the_replica_does_not_hold_is_told() {
    let ground = Ground::new();
    ground.add(&tree(1, "oak", 1));
    let replies = RefCell::default();
    let mut remote = remote(&ground, &replies);
    let file = uploaded(&ground, &mut remote, Filter::All);
    // As after the server was restored to a backup, and others edited it.
    let mut header = file.header().clone();
    header.ahead.clear();
    header.ahead.insert(RowVersion {
        revision: Revision(7),
        ..version(&stored(&ground, 1))
    });
    let page = remote.pull(&header).expect("a page");
    assert_eq!(page.changes.len(), 2);
    assert!(page.held.is_empty());
}

#[test]
fn a_new_field_comes_with_the_download_for_rows_that_a_receipt_told_before() {
    for page_size in [100, 1] {
        let ground = Ground::new();
        ground.add(&tree(1, "oak", 1));
        ground.add(&tree(2, "elm", 1));
        let replies = RefCell::default();
        let mut remote = remote(&ground, &replies);
        let mut file = remote.checkout("ann", Policy::Merge, Filter::All);
        sync(&ground, &mut remote, &mut file);
        remote.page_size = page_size;
        let mut tx = ground.store.begin_write(ground.now()).expect("begun");
        let mut service = tx.service().expect("a service");
        service.schema_version = 2;
        let fields = &mut service.collections[0].fields;
        fields.push(field("age", FieldType::Integer));
        tx.store_service(&service).expect("stored");
        tx.commit().expect("a commit");
        ground.update(2, set(3, 50));
        ground.update(1, set(3, 80));
        // Merged with what the replica has no field for.
        assert!(file.edit_update(TREES, &id(1), &set(0, "yew")));
        upload(&ground, &mut remote, &mut file);
        sync(&ground, &mut remote, &mut file);
        let row = file.rows().find(|((_, of), _)| *of == id(1));
        let (_, row) = row.expect("the row");
        assert_eq!(row.values[0], "yew".into());
        assert_eq!(row.values.get(3), Some(&80.into()), "pages of {page_size}");
    }
}
