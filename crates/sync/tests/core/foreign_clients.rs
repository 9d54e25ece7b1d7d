//! Clients without batch numbers: repeats, bases, echoes.

use haversack_model::local::Removal;
use haversack_model::store::Flow;
use haversack_model::{
    Changes, CollectionId, Direction, Edit, Filter, Generation, Outcome, Policy, Record, Replica,
    Store, SyncModel, Value,
};
use haversack_sync::merge::whole;
use haversack_sync::{
    Applied, DeltaChange, ForeignEdit, Ids, NewReplica, Sent, Uploader, delta, import, register,
};

use crate::ground::{BRANCHES, Ground, TREES, all_rights, equals, id, set, tree};

fn checkout(ground: &Ground, policy: Policy, filter: Filter) -> Replica {
    checkout_layers(ground, policy, vec![(TREES, filter)])
}

fn checkout_layers(
    ground: &Ground,
    policy: Policy,
    layers: Vec<(CollectionId, Filter)>,
) -> Replica {
    let mut fresh = || ground.fresh();
    let mut tx = ground
        .store
        .begin_write(ground.now())
        .expect("a transaction");
    let new = NewReplica {
        name: "tablet".to_owned(),
        owner: "ann".to_owned(),
        native: false,
        sync_model: SyncModel::PerLayer,
        direction: Direction::Bidirectional,
        policy,
        layers,
        dialect: String::new(),
    };
    let replica = register(
        &mut *tx,
        new,
        &all_rights(),
        ground.now(),
        &mut Ids(&mut fresh),
    )
    .expect("a replica");
    tx.commit().expect("a commit");
    replica
}

/// One synchronisation from a cursor: outcome, what is told, the new cursor.
fn sync(
    ground: &Ground,
    replica: &Replica,
    cursor: Generation,
    edits: &[ForeignEdit],
) -> (Applied, Vec<DeltaChange>, Generation) {
    let edits: Vec<_> = edits.iter().map(|edit| (TREES, edit.clone())).collect();
    sync_layers(ground, replica, cursor, &edits)
}

fn sync_layers(
    ground: &Ground,
    replica: &Replica,
    cursor: Generation,
    edits: &[(CollectionId, ForeignEdit)],
) -> (Applied, Vec<DeltaChange>, Generation) {
    let layers = replica.layers.iter();
    let cursors: Vec<_> = layers
        .map(|layer| (layer.collection, Some(cursor)))
        .collect();
    let (applied, sent, head) = import_from(ground, replica, &cursors, edits);
    (applied, told(ground, replica, cursor, &sent), head)
}

/// The upload of one synchronisation, with the cursor of each layer.
fn import_from(
    ground: &Ground,
    replica: &Replica,
    cursors: &[(CollectionId, Option<Generation>)],
    edits: &[(CollectionId, ForeignEdit)],
) -> (Applied, Sent, Generation) {
    let access = all_rights();
    let by = Uploader {
        user: "ann",
        replica: Some(replica.id),
        policy: replica.policy,
        access: &access,
        cursor: None,
    };
    let mut fresh = || ground.fresh();
    let mut tx = ground
        .store
        .begin_write(ground.now())
        .expect("a transaction");
    let (applied, sent) = import(
        &mut *tx,
        replica,
        cursors,
        &by,
        edits,
        false,
        ground.now(),
        &mut Ids(&mut fresh),
    )
    .expect("an import");
    let head = tx.commit().expect("a commit").generation;
    (applied, sent, head)
}

fn told(ground: &Ground, replica: &Replica, since: Generation, sent: &Sent) -> Vec<DeltaChange> {
    let tx = ground.store.begin_read().expect("a snapshot");
    let mut told = Vec::new();
    let head = tx.head().expect("a head").generation;
    for layer in &replica.layers {
        delta(&*tx, layer, since, head, sent, &mut |change| {
            told.push(change);
            Ok(Flow::Continue(()))
        })
        .expect("a delta");
    }
    told
}

fn update(number: u128, mine: Changes) -> ForeignEdit {
    ForeignEdit::Update {
        global_id: id(number),
        mine,
    }
}

fn add(record: &Record) -> ForeignEdit {
    ForeignEdit::Add(record.clone(), whole(record))
}

fn name(ground: &Ground, number: u128) -> Option<Value> {
    ground
        .record(TREES, &id(number))
        .map(|found| found.record.values[0].clone())
}

#[test]
fn a_repeat_from_the_same_cursor_changes_nothing() {
    let ground = Ground::new();
    ground.add(&tree(1, "oak", 1));
    let replica = checkout(&ground, Policy::Client, Filter::All);
    let cursor = ground.head();
    let edits = [update(1, set(0, "elm")), add(&tree(2, "ash", 2))];
    let (first, ..) = sync(&ground, &replica, cursor, &edits);
    // The answer was lost, and someone else went on.
    ground.update(1, set(0, "fir"));
    ground.delete(2);
    let before = ground.head();

    let (again, told, _) = sync(&ground, &replica, cursor, &edits);

    assert_eq!(ground.head(), before, "nothing was applied");
    let outcomes = |applied: &Applied| {
        applied
            .receipts
            .iter()
            .map(|r| r.outcome.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(outcomes(&again), outcomes(&first));
    assert_eq!(name(&ground, 1), Some("fir".into()));
    assert_eq!(name(&ground, 2), None);
    assert_eq!(told.len(), 2, "it learns what the others did: {told:?}");
}

#[test]
fn the_same_edit_from_a_later_cursor_is_meant() {
    let ground = Ground::new();
    ground.add(&tree(1, "oak", 1));
    let replica = checkout(&ground, Policy::Client, Filter::All);
    let edit = [update(1, set(0, "elm"))];
    sync(&ground, &replica, ground.head(), &edit);
    ground.update(1, set(0, "fir"));
    // The cursor says that it has seen the other's change.
    let (applied, ..) = sync(&ground, &replica, ground.head(), &edit);

    assert_eq!(applied.receipts[0].outcome, Outcome::Applied);
    assert_eq!(name(&ground, 1), Some("elm".into()));
}

#[test]
fn whole_rows_are_merged_against_the_version_as_of_the_cursor() {
    let ground = Ground::new();
    ground.add(&tree(1, "oak", 1));
    let replica = checkout(&ground, Policy::Client, Filter::All);
    let cursor = ground.head();
    ground.update(1, set(1, 30));

    // The client sends its whole row, with the old height in it.
    let (applied, told, _) = sync(
        &ground,
        &replica,
        cursor,
        &[update(1, whole(&tree(1, "elm", 1)))],
    );

    assert_eq!(applied.receipts[0].outcome, Outcome::Merged);
    let now = ground.record(TREES, &id(1)).expect("the tree").record;
    assert_eq!(now.values[..2], ["elm".into(), 30.into()]);
    assert!(
        matches!(&told[..], [DeltaChange::Update(version)] if version.record == now),
        "{told:?}"
    );
}

#[test]
fn a_second_edit_before_the_answer_starts_from_what_was_sent() {
    let ground = Ground::new();
    ground.add(&tree(1, "oak", 1));
    let replica = checkout(&ground, Policy::Merge, Filter::All);
    let cursor = ground.head();
    sync(
        &ground,
        &replica,
        cursor,
        &[update(1, set(0, "elm")), add(&tree(2, "ash", 2))],
    );

    // No answer came; the user edits on, and the client sends whole rows from the old cursor.
    let edits = [
        update(1, whole(&tree(1, "elm", 9))),
        add(&tree(2, "ash", 9)),
    ];
    let (applied, ..) = sync(&ground, &replica, cursor, &edits);

    assert!(applied.conflicts.is_empty(), "{:?}", applied.conflicts);
    for (number, stored) in [(1, "elm"), (2, "ash")] {
        let now = ground.record(TREES, &id(number)).expect("the tree").record;
        assert_eq!(now.values[..2], [stored.into(), 9.into()]);
    }
}

#[test]
fn only_an_exact_echo_is_left_out() {
    let ground = Ground::new();
    for number in 1..=3 {
        ground.add(&tree(number, "oak", 1));
    }
    let replica = checkout(&ground, Policy::Server, Filter::All);
    let cursor = ground.head();
    ground.update(2, set(1, 30));
    ground.update(3, set(0, "fir"));

    let edits = [1, 2, 3].map(|number| update(number, set(0, "elm")));
    let (_, told, _) = sync(&ground, &replica, cursor, &edits);

    let ids: Vec<_> = told
        .iter()
        .map(|change| match change {
            DeltaChange::Update(version) => version.record.global_id.clone(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(ids.len(), 2, "the first is stored as sent");
    assert!(
        ids.contains(&id(2)) && ids.contains(&id(3)),
        "the merged and the lost one are told: {ids:?}"
    );
}

#[test]
fn an_echo_that_left_the_filter_is_told() {
    let ground = Ground::new();
    ground.add(&tree(1, "oak", 1));
    let replica = checkout(&ground, Policy::Client, equals("height", 1));
    let cursor = ground.head();
    let edits = [
        update(1, set(1, 2)),
        add(&tree(2, "elm", 2)),
        add(&tree(3, "ash", 1)),
    ];
    let (_, told, _) = sync(&ground, &replica, cursor, &edits);
    let removed: Vec<_> = told
        .iter()
        .map(|change| match change {
            DeltaChange::Remove { global_id, .. } => global_id.clone(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(removed, [id(1), id(2)]);
}

#[test]
fn an_update_of_a_row_that_was_deleted_is_a_conflict() {
    for (policy, mine_won) in [(Policy::Client, true), (Policy::Server, false)] {
        let ground = Ground::new();
        ground.add(&tree(1, "oak", 1));
        let replica = checkout(&ground, policy, Filter::All);
        let cursor = ground.head();
        ground.delete(1);
        let (applied, ..) = sync(&ground, &replica, cursor, &[update(1, set(0, "elm"))]);
        assert!(
            matches!(applied.receipts[0].outcome, Outcome::Conflict { mine_won: won, .. } if won == mine_won)
        );
        assert_eq!(name(&ground, 1).is_some(), mine_won);
        assert_eq!(
            applied.conflicts[0]
                .mine
                .as_ref()
                .map(|mine| &mine.values[0]),
            Some(&"elm".into())
        );
    }
}

#[test]
fn rows_enter_and_leave_when_the_grant_changes() {
    let ground = Ground::new();
    ground.add(&tree(1, "oak", 1));
    ground.add(&tree(2, "oak", 2));
    let mut replica = checkout(&ground, Policy::Client, Filter::All);
    let cursor = ground.head();
    let mut access = all_rights();
    access.filters = vec![(TREES, equals("height", 2))];
    let mut tx = ground
        .store
        .begin_write(ground.now())
        .expect("a transaction");
    haversack_sync::refresh_filters(&mut *tx, &mut replica, &access).expect("new filters");
    tx.commit().expect("a commit");

    let gone = told(&ground, &replica, cursor, &Sent::default());
    assert!(
        matches!(&gone[..], [DeltaChange::Remove { global_id, removal: Removal::Revoked }] if *global_id == id(1)),
        "{gone:?}"
    );
    assert!(
        told(&ground, &replica, ground.head(), &Sent::default()).is_empty(),
        "told once"
    );

    let before = ground.head();
    let mut tx = ground
        .store
        .begin_write(ground.now())
        .expect("a transaction");
    haversack_sync::refresh_filters(&mut *tx, &mut replica, &all_rights()).expect("new filters");
    tx.commit().expect("a commit");
    let back = told(&ground, &replica, before, &Sent::default());
    assert!(
        matches!(&back[..], [DeltaChange::Add(version)] if version.record.global_id == id(1)),
        "{back:?}"
    );
}

#[test]
fn what_a_sender_added_comes_back_as_an_update() {
    let ground = Ground::of(crate::ground::stamped_service());
    let replica = checkout(&ground, Policy::Client, Filter::All);
    let mut record = tree(1, "oak", 1);
    record.values.resize(7, Value::Null);
    let cursor = ground.head();
    let (_, told, _) = sync(&ground, &replica, cursor, &[add(&record)]);
    // The stamps differ from what was sent, so it is told; a naive client would insert an add twice.
    assert!(
        matches!(&told[..], [DeltaChange::Update(version)] if version.record.values[4] == "ann".into()),
        "{told:?}"
    );
}

/// Its answer was lost, so that it deletes the parent without having seen what others had set.
#[test]
fn a_child_that_was_merged_with_an_edit_of_the_sender_is_kept_when_its_parent_is_deleted() {
    let ground = Ground::new();
    ground.add(&tree(1, "oak", 1));
    ground.add(&tree(2, "elm", 1));
    let branch = Record {
        global_id: id(20),
        object_id: None,
        values: vec![id(1).braced().into(), "long".into()],
        geometry: None,
    };
    let added = Edit::Add {
        record: branch,
        undelete: false,
    };
    ground.online(&[(BRANCHES, added)]);
    let layers = vec![(TREES, Filter::All), (BRANCHES, Filter::All)];
    let replica = checkout_layers(&ground, Policy::Client, layers);
    let before = ground.head();
    let theirs = Edit::Update {
        global_id: id(20),
        mine: set(1, "longer"),
        base: None,
    };
    ground.online(&[(BRANCHES, theirs)]);
    let cursors = [(TREES, Some(before)), (BRANCHES, Some(before))];
    let moved = [(BRANCHES, update(20, set(0, id(2).braced())))];
    let (merged, ..) = import_from(&ground, &replica, &cursors, &moved);
    assert_eq!(merged.receipts[0].outcome, Outcome::Merged);

    let edits = [(TREES, ForeignEdit::Delete(id(2)))];
    let (applied, ..) = import_from(&ground, &replica, &cursors, &edits);

    let kept = applied.conflicts[0].theirs.as_ref().expect("a version");
    assert_eq!(kept.values[1], "longer".into());
}

#[test]
fn a_child_that_went_with_its_parent_in_one_request_is_told_to_be_gone_also_to_a_repeat() {
    let ground = Ground::new();
    ground.add(&tree(1, "oak", 1));
    let layers = vec![(TREES, Filter::All), (BRANCHES, Filter::All)];
    let replica = checkout_layers(&ground, Policy::Client, layers);
    let cursor = ground.head();
    let branch = Record {
        global_id: id(20),
        object_id: None,
        values: vec![id(1).braced().into(), "long".into()],
        geometry: None,
    };
    let edits = [
        (BRANCHES, add(&branch)),
        (TREES, ForeignEdit::Delete(id(1))),
    ];
    for _ in 0..2 {
        let (_, told, _) = sync_layers(&ground, &replica, cursor, &edits);
        assert!(ground.record(BRANCHES, &id(20)).is_none());
        let gone = DeltaChange::Remove {
            global_id: id(20),
            removal: Removal::Deleted,
        };
        assert_eq!(told, [gone]);
    }
}

#[test]
fn what_lost_is_not_the_base_of_the_next_request_and_no_edit_any_more() {
    let ground = Ground::new();
    ground.add(&tree(1, "oak", 1));
    let replica = checkout(&ground, Policy::Server, Filter::All);
    let cursor = ground.head();
    ground.update(1, set(0, "fir"));
    let mut mine = set(0, "elm");
    mine.values.insert(1, 5.into());
    let (first, ..) = sync(&ground, &replica, cursor, &[update(1, mine.clone())]);
    assert!(matches!(
        first.receipts[0].outcome,
        Outcome::Conflict {
            mine_won: false,
            ..
        }
    ));
    // The answer was lost, and the height is set once more.
    mine.values.insert(1, 6.into());

    let (again, ..) = sync(&ground, &replica, cursor, &[update(1, mine)]);

    assert_eq!(again.conflicts, []);
    let stored = ground.record(TREES, &id(1)).expect("the tree").record;
    assert_eq!(stored.values[..2], ["fir".into(), 6.into()]);
}

/// Each request starts from the same generation, because no answer came: the first was stored, the second lost.
#[test]
fn an_edit_that_was_stored_is_what_the_next_starts_from_though_one_between_them_lost() {
    let ground = Ground::new();
    ground.add(&tree(7, "oak", 1));
    let replica = checkout(&ground, Policy::Server, Filter::All);
    let cursor = ground.head();
    sync(&ground, &replica, cursor, &[update(7, set(0, "elm"))]);
    ground.update(7, set(1, 5));
    let mut both = set(0, "elm");
    both.values.insert(1, 4.into());
    let (applied, ..) = sync(&ground, &replica, cursor, &[update(7, both.clone())]);
    assert!(matches!(
        applied.receipts[0].outcome,
        Outcome::Conflict { .. }
    ));

    both.values.insert(0, "ash".into());
    let (applied, ..) = sync(&ground, &replica, cursor, &[update(7, both)]);

    assert_ne!(applied.receipts[0].outcome, Outcome::Applied);
    let stored = ground.record(TREES, &id(7)).expect("a record").record;
    assert_eq!(stored.values[0], "ash".into());
    assert!(applied.conflicts.is_empty(), "{:?}", applied.conflicts);
}

#[test]
fn a_child_that_changed_since_the_cursor_of_its_own_layer_is_kept_when_its_parent_is_deleted() {
    let ground = Ground::new();
    ground.add(&tree(1, "oak", 1));
    let branch = Record {
        global_id: id(20),
        object_id: None,
        values: vec![id(1).braced().into(), "long".into()],
        geometry: None,
    };
    let add = Edit::Add {
        record: branch,
        undelete: false,
    };
    ground.online(&[(BRANCHES, add)]);
    let layers = vec![(TREES, Filter::All), (BRANCHES, Filter::All)];
    let replica = checkout_layers(&ground, Policy::Client, layers);
    let before = ground.head();
    let update = Edit::Update {
        global_id: id(20),
        mine: set(1, "longer"),
        base: None,
    };
    ground.online(&[(BRANCHES, update)]);

    // It has asked for the changes of the trees since, and not for those of the branches.
    let cursors = [(TREES, Some(ground.head())), (BRANCHES, Some(before))];
    let edits = [(TREES, ForeignEdit::Delete(id(1)))];
    let (applied, ..) = import_from(&ground, &replica, &cursors, &edits);

    let kept = applied.conflicts[0].theirs.as_ref().expect("a version");
    assert_eq!(kept.values[1], "longer".into());
}
