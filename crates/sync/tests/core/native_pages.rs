//! Downloads in pages while others go on editing, schema changes, and batches out of order.

use std::cell::RefCell;

use haversack_model::local::{LocalReplica, ReplicaHeader};
use haversack_model::remote::Page;
use haversack_model::{
    Error, FieldType, Filter, Generation, GlobalId, Policy, Remote, Store, Value,
};
use haversack_sync::{client, native};

use crate::ground::{BRANCHES, Ground, TREES, all_rights, equals, field, id, set, tree};
use crate::loopback::Loopback;
use crate::memory::MemoryReplica;

fn remote<'a>(
    ground: &'a Ground,
    replies: &'a RefCell<Vec<haversack_model::remote::BatchReply>>,
    page_size: usize,
) -> Loopback<'a> {
    Loopback {
        ground,
        user: "ann".to_owned(),
        access: all_rights(),
        page_size,
        lose_reply: false,
        replies,
    }
}

fn sync(ground: &Ground, remote: &mut Loopback<'_>, file: &mut MemoryReplica) -> client::Summary {
    client::synchronise(file, remote, &|| ground.now(), &mut |_| {}).expect("a sync")
}

/// Stores a page as an answer to the file's present request.
fn store(file: &mut MemoryReplica, asked: &ReplicaHeader, page: &Page) -> bool {
    let mut tx = file.begin().expect("a transaction");
    let stored = client::apply_page(&mut *tx, asked, page)
        .expect("a page stored")
        .is_some();
    tx.commit().expect("a commit");
    stored
}

fn trees(file: &MemoryReplica) -> Vec<GlobalId> {
    let rows = file
        .rows()
        .filter(|((collection, _), _)| *collection == TREES);
    rows.map(|((_, id), _)| id.clone()).collect()
}

#[test]
fn a_row_that_left_before_the_first_page_is_removed_by_a_later_one() {
    let ground = Ground::new();
    for number in 1..=3 {
        ground.add(&tree(number, "oak", 1));
    }
    let replies = RefCell::default();
    let mut remote = remote(&ground, &replies, 1);
    let mut file = remote.checkout("ann", Policy::Merge, equals("height", 1));
    sync(&ground, &mut remote, &mut file);
    assert_eq!(trees(&file).len(), 3);

    // It leaves, then another changes, then it changes again: the feed shows it only after the other.
    ground.update(1, set(1, 2));
    ground.update(2, set(0, "elm"));
    ground.update(1, set(0, "fir"));
    for expected_more in [true, false] {
        let asked = file.header().clone();
        let page = remote.pull(&asked).expect("a page");
        assert_eq!(page.more, expected_more);
        assert!(store(&mut file, &asked, &page));
    }

    assert_eq!(trees(&file), [id(2), id(3)]);
}

#[test]
fn a_filter_that_changes_between_pages_compares_everything_anew() {
    let ground = Ground::new();
    for number in 1..=3 {
        ground.add(&tree(number, "oak", 1));
    }
    let replies = RefCell::default();
    let mut remote = remote(&ground, &replies, 1);
    let mut file = remote.checkout("ann", Policy::Merge, Filter::All);
    sync(&ground, &mut remote, &mut file);
    for number in 1..=3 {
        ground.update(number, set(1, 2));
    }
    let asked = file.header().clone();
    let page = remote.pull(&asked).expect("a page");
    assert!(page.more && store(&mut file, &asked, &page));

    // The first tree was on the page; now the grant takes it away.
    remote.access.filters = vec![(TREES, equals("name", "elm"))];
    ground.update(3, set(0, "elm"));
    assert!(sync(&ground, &mut remote, &mut file).resynced);
    assert_eq!(trees(&file), [id(3)]);
}

#[test]
fn a_full_comparison_tells_only_of_the_rows_that_differ() {
    let ground = Ground::new();
    for number in 1..=3 {
        ground.add(&tree(number, "oak", 1));
    }
    let replies = RefCell::default();
    let mut remote = remote(&ground, &replies, 2);
    let mut file = remote.checkout("ann", Policy::Merge, Filter::All);
    sync(&ground, &mut remote, &mut file);
    let mut compare_anew = || {
        let mut tx = file.begin().expect("a transaction");
        let history = tx.header().expect("a header").cursor.history;
        client::start_resync(&mut *tx, history).expect("begun anew");
        tx.commit().expect("a commit");
        let summary = sync(&ground, &mut remote, &mut file);
        (summary.put, summary.removed)
    };
    assert_eq!(compare_anew(), (0, 0));
    ground.update(2, set(1, 2));
    ground.delete(3);
    assert_eq!(compare_anew(), (1, 1));
}

#[test]
fn a_row_that_goes_while_everything_is_compared_is_removed_by_a_later_page() {
    for floor in [false, true] {
        let ground = Ground::new();
        for number in 1..=4 {
            ground.add(&tree(number, "oak", 1));
        }
        let replies = RefCell::default();
        let mut remote = remote(&ground, &replies, 1);
        if floor {
            let mut tx = ground
                .store
                .begin_write(ground.now())
                .expect("a transaction");
            let head = tx.head().expect("a head").generation;
            tx.prune_history(head).expect("pruned");
            tx.commit().expect("a commit");
        }
        let mut file = remote.checkout("ann", Policy::Merge, equals("height", 1));
        for _ in 0..2 {
            let asked = file.header().clone();
            let page = remote.pull(&asked).expect("a page");
            assert!(page.more && store(&mut file, &asked, &page));
        }
        assert_eq!(trees(&file), [id(1), id(2)]);
        ground.delete(1);
        ground.update(2, set(1, 2));
        sync(&ground, &mut remote, &mut file);
        assert_eq!(trees(&file), [id(3), id(4)], "floor: {floor}");
    }
}

#[test]
fn a_row_that_came_with_one_page_and_left_before_the_next_is_removed() {
    let ground = Ground::new();
    ground.add(&tree(1, "oak", 1));
    let replies = RefCell::default();
    let mut remote = remote(&ground, &replies, 1);
    let mut file = remote.checkout("ann", Policy::Merge, equals("height", 1));
    sync(&ground, &mut remote, &mut file);
    ground.add(&tree(2, "elm", 1));
    ground.update(1, set(0, "fir"));
    let asked = file.header().clone();
    let page = remote.pull(&asked).expect("a page");
    assert!(page.more && store(&mut file, &asked, &page));
    assert_eq!(trees(&file), [id(1), id(2)]);
    ground.delete(2);
    ground.add(&tree(2, "elm", 2));
    sync(&ground, &mut remote, &mut file);
    assert_eq!(trees(&file), [id(1)]);
}

/// It went and came back between two pages, so that no tombstone tells of it, nor its history.
#[test]
fn a_row_that_came_back_outside_the_filter_is_removed_though_history_is_forgotten() {
    let ground = Ground::new();
    for number in 1..=4 {
        ground.add(&tree(number, "oak", 1));
    }
    let replies = RefCell::default();
    let mut remote = remote(&ground, &replies, 1);
    let mut file = remote.checkout("ann", Policy::Merge, equals("height", 1));
    let fetch = |remote: &mut Loopback<'_>, file: &mut MemoryReplica| {
        let asked = file.header().clone();
        let page = remote.pull(&asked).expect("a page");
        assert!(page.more && store(file, &asked, &page));
    };
    fetch(&mut remote, &mut file);
    assert_eq!(trees(&file), [id(1)]);
    ground.delete(1);
    ground.add(&tree(5, "oak", 1));
    ground.add(&tree(6, "oak", 1));
    ground.add(&tree(1, "oak", 2));
    for _ in 2..=5 {
        fetch(&mut remote, &mut file);
    }
    let mut tx = ground
        .store
        .begin_write(ground.now())
        .expect("a transaction");
    let header = file.header();
    let mut replica = tx.replica(header.id).expect("read").expect("a replica");
    native::note_cursor(&mut replica, header.cursor.generation);
    tx.store_replica(&replica).expect("stored");
    tx.prune_history(header.cursor.generation).expect("pruned");
    tx.commit().expect("a commit");

    sync(&ground, &mut remote, &mut file);

    assert_eq!(trees(&file), [2, 3, 4, 5, 6].map(id));
}

#[test]
fn a_page_for_another_cursor_is_dropped() {
    let ground = Ground::new();
    ground.add(&tree(1, "oak", 1));
    let replies = RefCell::default();
    let mut remote = remote(&ground, &replies, 100);
    let mut file = remote.checkout("ann", Policy::Merge, Filter::All);
    let asked = file.header().clone();
    let late = remote.pull(&asked).expect("a page");
    ground.delete(1);
    sync(&ground, &mut remote, &mut file);
    assert!(
        !store(&mut file, &asked, &late),
        "another process was faster"
    );
    assert!(trees(&file).is_empty());
}

#[test]
fn a_new_column_arrives_before_its_rows_and_can_be_edited_at_once() {
    let ground = Ground::new();
    ground.add(&tree(1, "oak", 1));
    let replies = RefCell::default();
    let mut remote = remote(&ground, &replies, 100);
    let mut file = remote.checkout("ann", Policy::Merge, Filter::All);
    sync(&ground, &mut remote, &mut file);
    // Edited before the change of schema is known here: sent in the old shape.
    file.edit_insert(TREES, tree(2, "elm", 2));
    file.edit_update(TREES, &id(1), &set(1, 9));

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
    ground.update(1, set(3, "rough"));
    let done = sync(&ground, &mut remote, &mut file);
    assert!(done.rejected.is_empty(), "{:?}", done.rejected);
    assert_eq!(file.header().schema_version, 2);

    file.edit_update(TREES, &id(2), &set(3, "smooth"));
    sync(&ground, &mut remote, &mut file);
    for (number, height, bark) in [(1, 9, "rough"), (2, 2, "smooth")] {
        let stored = ground.record(TREES, &id(number)).expect("the tree").record;
        assert_eq!(
            stored.values[1..],
            [height.into(), Value::Null, bark.into()],
            "tree {number}"
        );
    }
}

#[test]
fn batches_out_of_order_are_refused_and_change_nothing() {
    let ground = Ground::new();
    let replies = RefCell::default();
    let mut remote = remote(&ground, &replies, 100);
    let mut file = remote.checkout("ann", Policy::Merge, Filter::All);
    file.edit_insert(TREES, tree(1, "oak", 1));
    let mut tx = file.begin().expect("a transaction");
    let mut batch = client::freeze(&mut *tx, ground.now())
        .expect("frozen")
        .expect("a batch");
    drop(tx);
    batch.number.0 = 3;
    let before = ground.head();
    let refused = remote.push(file.header(), &batch);
    assert!(
        matches!(refused, Err(Error::BatchOrder { sent: 3, last: 0 })),
        "{refused:?}"
    );
    assert_eq!(ground.head(), before);
}

#[test]
fn the_outbox_is_sent_in_batches_of_limited_size_with_parents_first() {
    let ground = Ground::new();
    let replies = RefCell::default();
    let mut remote = remote(&ground, &replies, 100);
    let mut file = remote.checkout("ann", Policy::Merge, Filter::All);
    let branch = |number: u128, of: u128| haversack_model::Record {
        global_id: id(number),
        object_id: None,
        values: vec![id(of).braced().into(), Value::Null],
        geometry: None,
    };
    let count = client::MAX_BATCH as u128 + 10;
    file.edit_insert(TREES, tree(1, "oak", 1));
    for number in 0..count {
        file.edit_insert(BRANCHES, branch(100_000 + number, 1));
    }
    // Edited last, so that it is last in the outbox; its branches still need it first.
    file.edit_update(TREES, &id(1), &set(0, "elm"));

    let mut tx = file.begin().expect("a transaction");
    let batch = client::freeze(&mut *tx, ground.now())
        .expect("frozen")
        .expect("a batch");
    assert_eq!(batch.edits.len(), client::MAX_BATCH);
    assert_eq!(*batch.edits[0].1.global_id(), id(1));
    drop(tx);
    let done = sync(&ground, &mut remote, &mut file);
    assert_eq!((done.applied, done.rejected.len()), (count as u64 + 1, 0));
    assert_eq!(file.outbox().count(), 0);
    assert_eq!(file.header().next_batch.0, 3);
}

#[test]
fn attachments_follow_their_record_into_and_out_of_a_replica() {
    let ground = Ground::new();
    ground.add(&tree(1, "oak", 1));
    let replies = RefCell::default();
    let mut ann = remote(&ground, &replies, 100);
    let mut file = ann.checkout("ann", Policy::Merge, equals("height", 2));
    let hash = haversack_model::BlobHash([7; 32]);
    let mut tx = ground
        .store
        .begin_write(ground.now())
        .expect("a transaction");
    tx.store_blob(hash, b"leaf").expect("a blob");
    tx.commit().expect("a commit");
    let mut values = vec![Value::Null; 6];
    values[haversack_model::schema::attachment_field::PARENT] = id(1).braced().into();
    values[haversack_model::schema::attachment_field::SHA256] = hash.to_string().into();
    let attachment = haversack_model::Record {
        global_id: id(11),
        object_id: None,
        values,
        geometry: None,
    };
    let add = haversack_model::Edit::Add {
        record: attachment,
        undelete: false,
    };
    ground.online(&[(TREES.attachments(), add)]);
    sync(&ground, &mut ann, &mut file);
    assert_eq!(file.rows().count(), 0);

    // Only the tree changes; its attachment changes membership with it.
    ground.update(1, set(1, 2));
    sync(&ground, &mut ann, &mut file);
    assert_eq!(file.rows().count(), 2, "the tree and its attachment");

    // The tree leaves while everything is compared in pages, after a page that named the attachment.
    let mut other = remote(&ground, &replies, 1);
    let mut second = other.checkout("ann", Policy::Merge, equals("height", 2));
    ground.add(&tree(2, "elm", 2));
    while !second.rows().any(|((of, _), _)| *of == TREES.attachments()) {
        let asked = second.header().clone();
        let page = other.pull(&asked).expect("a page");
        assert!(page.more && store(&mut second, &asked, &page));
    }
    ground.update(1, set(1, 3));
    sync(&ground, &mut other, &mut second);
    assert_eq!(second.rows().count(), 1, "the other tree");
    ground.update(1, set(1, 2));
    ground.delete(2);
    sync(&ground, &mut ann, &mut file);
    assert_eq!(file.rows().count(), 2);
    let tx = file.begin().expect("a transaction");
    assert_eq!(
        tx.blob(hash).expect("a read"),
        Some(b"leaf".to_vec()),
        "the content came along"
    );
    drop(tx);

    ground.update(1, set(1, 3));
    sync(&ground, &mut ann, &mut file);
    assert_eq!(file.rows().count(), 0);
    assert!(file.header().cursor.generation > Generation::ZERO);
}
