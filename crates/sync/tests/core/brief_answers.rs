//! Answers to our own clients leave out what the replica has, and nothing else.

use std::cell::RefCell;

use haversack_model::edit::Base;
use haversack_model::local::{FrozenBatch, RowVersion};
use haversack_model::remote::BatchReply;
use haversack_model::{Changes, Edit, Filter, Outcome, Policy, Receipt, Record, Remote, Versioned};
use haversack_sync::merge::whole;

use crate::ground::{Ground, TREES, all_rights, equals, id, set, stamped_service, tree};
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
    stamped.values.resize(7, haversack_model::Value::Null);
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
