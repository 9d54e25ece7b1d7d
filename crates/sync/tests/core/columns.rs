//! A column is added while files are out: what they hold beside their rows gets it, and what they were told in the older
//! schema is told again.

use std::cell::RefCell;

use haversack_model::{FieldType, Store, Value};
use haversack_sync::client;

use crate::ground::{BRANCHES, Ground, TREES, field, id, set, tree};
use crate::scene::Scene;

/// Place of the column among the fields of trees.
const ADDED: usize = 3;

fn add_column(ground: &Ground) {
    let mut tx = ground
        .store
        .begin_write(ground.now())
        .expect("a transaction");
    let mut service = tx.service().expect("a service");
    service.schema_version += 1;
    let mut added = field("bark", FieldType::String);
    added.default = Value::from("plain");
    service.collections[0].fields.push(added);
    tx.store_service(&service).expect("stored");
    tx.commit().expect("a commit");
}

fn bark(scene: &Scene<'_>) -> Option<Value> {
    let found = scene.file.rows().find(|((_, of), _)| *of == id(7));
    found.map(|(_, row)| row.values[ADDED].clone())
}

#[test]
fn an_answer_of_before_does_not_lose_what_was_set_in_the_column() {
    let (ground, replies) = (Ground::new(), RefCell::default());
    let mut scene = Scene::new(&ground, &replies);
    scene.file.edit_update(TREES, &id(7), &set(0, "elm"));
    let batch = scene.freeze();
    let reply = scene.push(&batch);
    add_column(&ground);
    let page = scene.pull();
    scene.store_page(&page);
    scene.file.edit_update(TREES, &id(7), &set(ADDED, "rough"));

    scene.store_reply(&batch, &reply);

    assert_eq!(bark(&scene), Some("rough".into()));
    scene.sync();
    let stored = ground.record(TREES, &id(7)).expect("a record").record;
    assert_eq!(stored.values[ADDED], "rough".into());
    assert_eq!(stored.values[0], "elm".into());
}

/// The file learnt of a version with a value in the column before it learnt of the column.
#[test]
fn a_version_that_did_not_fit_is_told_again_after_a_late_answer() {
    let (ground, replies) = (Ground::new(), RefCell::default());
    let mut scene = Scene::new(&ground, &replies);
    add_column(&ground);
    ground.update(7, set(ADDED, "rough"));
    scene.file.edit_update(TREES, &id(7), &set(0, "elm"));
    let first = scene.freeze();
    let reply = scene.push(&first);
    scene.store_reply(&first, &reply);
    scene.file.edit_update(TREES, &id(7), &set(0, "ash"));
    let second = scene.freeze();
    let page = scene.pull();
    let reply = scene.push(&second);
    scene.store_page(&page);
    scene.store_reply(&second, &reply);

    scene.sync();

    assert_eq!(bark(&scene), Some("rough".into()));
}

#[test]
fn a_deletion_of_a_row_that_did_not_fit_meets_what_it_lacked() {
    let (ground, replies) = (Ground::new(), RefCell::default());
    let mut scene = Scene::new(&ground, &replies);
    add_column(&ground);
    ground.update(7, set(ADDED, "rough"));
    scene.file.edit_update(TREES, &id(7), &set(0, "elm"));
    let batch = scene.freeze();
    let reply = scene.push(&batch);
    scene.store_reply(&batch, &reply);
    scene.file.edit_delete(TREES, &id(7));

    let page = scene.pull();
    scene.store_page(&page);
    scene.sync();

    let conflicts = scene.write(|tx| tx.conflicts(true));
    let theirs = conflicts[0].theirs.as_ref().expect("a version");
    assert_eq!(theirs.values[ADDED], "rough".into());
}

/// It came and went between two cursors, so no page names it; the answer that brought it was told in the older schema.
#[test]
fn what_was_sent_and_went_with_its_parent_goes_though_the_schema_changed() {
    let (ground, replies) = (Ground::new(), RefCell::default());
    let mut scene = Scene::new(&ground, &replies);
    ground.add(&tree(8, "fir", 1));
    let branch = haversack_model::Record {
        global_id: id(70),
        object_id: None,
        values: vec![id(7).braced().into(), "a branch".into()],
        geometry: None,
    };
    scene.file.edit_insert(BRANCHES, branch);
    let batch = scene.freeze();
    add_column(&ground);
    let page = scene.pull();
    let reply = scene.push(&batch);
    scene.store_reply(&batch, &reply);
    scene.store_page(&page);
    scene.file.edit_update(TREES, &id(8), &set(0, "pine"));
    let batch = scene.freeze();
    let reply = scene.push(&batch);
    scene.store_reply(&batch, &reply);
    ground.delete(7);

    let page = scene.pull();
    scene.store_page(&page);

    assert!(!scene.file.rows().any(|((_, of), _)| *of == id(70)));
}

/// The base of what was sent first knows nothing of the column, in which every record had the default then.
#[test]
fn what_was_set_in_the_column_is_sent_again_though_an_edit_of_before_is_too() {
    let (ground, replies) = (Ground::new(), RefCell::default());
    let mut scene = Scene::new(&ground, &replies);
    let backup = ground.store.backup();
    scene.file.edit_update(TREES, &id(7), &set(0, "elm"));
    scene.sync();
    add_column(&ground);
    scene.sync();
    scene.file.edit_update(TREES, &id(7), &set(ADDED, "rough"));
    scene.sync();
    ground.put_back(backup);
    add_column(&ground);

    scene.sync();

    let stored = ground.record(TREES, &id(7)).expect("a record").record;
    assert_eq!(stored.values[0], "elm".into());
    assert_eq!(stored.values[ADDED], "rough".into());
}

#[test]
fn an_add_of_before_is_sent_again_without_what_others_set_in_the_column() {
    let (ground, replies) = (Ground::new(), RefCell::default());
    let mut scene = Scene::new(&ground, &replies);
    let backup = ground.store.backup();
    scene.file.edit_insert(TREES, tree(9, "yew", 9));
    scene.sync();
    add_column(&ground);
    ground.update(9, set(ADDED, "rough"));
    scene.sync();
    ground.put_back(backup);
    add_column(&ground);

    scene.sync();

    let stored = ground.record(TREES, &id(9)).expect("a record").record;
    assert_eq!(stored.values[0], "yew".into());
    assert_eq!(stored.values[ADDED], "plain".into());
}

/// The page with the column comes twice; between, an answer told a version, and the next page says that it stands.
#[test]
fn a_page_with_the_column_that_comes_again_is_dropped() {
    let (ground, replies) = (Ground::new(), RefCell::default());
    let mut scene = Scene::new(&ground, &replies);
    add_column(&ground);
    let (asked, page) = scene.pull();
    scene.store_page(&(asked.clone(), page.clone()));
    scene.file.edit_update(TREES, &id(7), &set(0, "elm"));
    let batch = scene.freeze();
    let reply = scene.push(&batch);
    scene.store_reply(&batch, &reply);
    let next = scene.pull();

    let stored = scene.write(|tx| client::apply_page(tx, &asked, &page));
    assert_eq!(stored, None);

    scene.store_page(&next);
    assert_eq!(scene.name(), Some("elm".into()));
}
