//! What becomes of every pair of operations under every policy, and of identical ones.
//!
//! The replica knows tree 7 as `oak` (or knows none, where it adds it); the other side has changed it meanwhile.

use haversack_model::edit::Base;
use haversack_model::{
    Changes, ConflictKind, Edit, Outcome, Policy, Record, ReplicaId, Revision, Store, Winner,
};
use haversack_sync::merge::whole;
use haversack_sync::{Applied, Uploader};
use uuid::Uuid;

use crate::ground::{Ground, TREES, all_rights, id, set, tree};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Operation {
    Add,
    Update,
    Delete,
}

use ConflictKind::{AddAdd, DeleteUpdate, UpdateDelete, UpdateUpdate};
use Operation::{Add, Delete, Update};
use Policy::{Client, Merge, Server};
use Winner::{Mine, Theirs};

const POLICIES: [Policy; 3] = [Merge, Client, Server];

/// Mine, theirs, the conflict, who wins under merge, client and server, and the name that is stored then.
type Row = (
    Operation,
    Operation,
    Option<ConflictKind>,
    [Winner; 3],
    [Option<&'static str>; 3],
);

const TABLE: [Row; 9] = [
    (
        Add,
        Add,
        Some(AddAdd),
        [Theirs, Mine, Theirs],
        [Some("ash"), Some("elm"), Some("ash")],
    ),
    (
        Add,
        Update,
        Some(AddAdd),
        [Theirs, Mine, Theirs],
        [Some("ash"), Some("elm"), Some("ash")],
    ),
    (
        Add,
        Delete,
        Some(UpdateDelete),
        [Theirs, Mine, Theirs],
        [None, Some("elm"), None],
    ),
    // Theirs is an add where the record was deleted and made anew.
    (
        Update,
        Add,
        Some(UpdateUpdate),
        [Theirs, Mine, Theirs],
        [Some("ash"), Some("elm"), Some("ash")],
    ),
    (
        Update,
        Update,
        Some(UpdateUpdate),
        [Theirs, Mine, Theirs],
        [Some("ash"), Some("elm"), Some("ash")],
    ),
    (
        Update,
        Delete,
        Some(UpdateDelete),
        [Theirs, Mine, Theirs],
        [None, Some("elm"), None],
    ),
    (
        Delete,
        Add,
        Some(DeleteUpdate),
        [Theirs, Mine, Theirs],
        [Some("ash"), None, Some("ash")],
    ),
    (
        Delete,
        Update,
        Some(DeleteUpdate),
        [Theirs, Mine, Theirs],
        [Some("ash"), None, Some("ash")],
    ),
    (Delete, Delete, None, [Mine, Mine, Mine], [None, None, None]),
];

/// What the replica knows: the base, unless it adds the record itself.
fn known(ground: &Ground, mine: Operation, theirs: Operation) -> Option<(Record, Revision)> {
    if mine == Add && theirs == Add {
        return None;
    }
    ground.add(&tree(7, "oak", 1));
    let base = ground.record(TREES, &id(7)).expect("the tree");
    (mine != Add).then_some((base.record, base.track.revision))
}

fn theirs_does(ground: &Ground, theirs: Operation, known: bool, name: &str) {
    match theirs {
        Add => {
            if known {
                ground.delete(7);
            }
            ground.add(&tree(7, name, 1));
        }
        Update => ground.update(7, set(0, name)),
        Delete => ground.delete(7),
    }
}

fn mine_does(mine: Operation, base: Option<(Record, Revision)>, name: &str) -> Edit {
    let base = base.map(|(record, revision)| Base {
        revision,
        content: whole(&record),
    });
    match mine {
        Add => Edit::Add {
            record: tree(7, name, 1),
            undelete: false,
        },
        Update => Edit::Update {
            global_id: id(7),
            mine: set(0, name),
            base,
        },
        Delete => Edit::Delete {
            global_id: id(7),
            base,
        },
    }
}

fn upload(
    ground: &Ground,
    policy: Policy,
    cursor: haversack_model::Generation,
    edit: Edit,
) -> Applied {
    let access = all_rights();
    let by = Uploader {
        user: "ann",
        replica: Some(ReplicaId(Uuid::from_u128(5))),
        policy,
        access: &access,
        cursor: Some(cursor),
    };
    ground.apply(&by, &[(TREES, edit)], false)
}

#[test]
fn every_pair_of_operations_has_its_outcome_under_every_policy() {
    for (mine, theirs, kind, winners, stored) in TABLE {
        for (at, policy) in POLICIES.into_iter().enumerate() {
            let case = format!("mine {mine:?}, theirs {theirs:?}, {policy:?}");
            let ground = Ground::new();
            let base = known(&ground, mine, theirs);
            let cursor = ground.head();
            theirs_does(&ground, theirs, mine != Add || theirs != Add, "ash");
            let before = ground.record(TREES, &id(7)).map(|found| found.record);
            let edit = mine_does(mine, base.clone(), "elm");

            let applied = upload(&ground, policy, cursor, edit);

            let now = ground.record(TREES, &id(7)).map(|found| found.record);
            let name = now.as_ref().and_then(|now| now.values[0].as_text());
            assert_eq!(name, stored[at], "{case}");
            let outcome = &applied.receipts[0].outcome;
            let Some(kind) = kind else {
                assert_eq!(*outcome, Outcome::Applied, "{case}");
                assert!(applied.conflicts.is_empty(), "{case}");
                continue;
            };
            let Outcome::Conflict { conflict, mine_won } = outcome else {
                panic!("{case}: {outcome:?}");
            };
            let kept = ground
                .store
                .begin_read()
                .expect("a snapshot")
                .conflict(*conflict);
            let kept = kept.expect("a read").expect("the conflict is stored");
            assert_eq!((kept.kind, kept.winner), (kind, winners[at]), "{case}");
            assert_eq!(*mine_won, winners[at] == Mine, "{case}");
            assert_eq!(
                kept.base.as_ref().map(|r| &r.values),
                base.as_ref().map(|(r, _)| &r.values),
                "{case}"
            );
            assert_eq!(kept.theirs, before, "{case}: the server's version is kept");
            let mine_name = kept.mine.as_ref().and_then(|mine| mine.values[0].as_text());
            assert_eq!(
                mine_name,
                (mine != Delete).then_some("elm"),
                "{case}: mine is kept"
            );
            assert_eq!(kept.resolution, None, "{case}");
            assert_eq!(applied.conflicts, [kept], "{case}");
        }
    }
}

#[test]
fn both_sides_doing_the_same_is_no_conflict() {
    for policy in POLICIES {
        for both in [Add, Update, Delete] {
            let case = format!("both {both:?}, {policy:?}");
            let ground = Ground::new();
            let base = known(&ground, both, both);
            let cursor = ground.head();
            theirs_does(&ground, both, false, "ash");
            let before = ground.head();

            let applied = upload(&ground, policy, cursor, mine_does(both, base, "ash"));

            assert_eq!(applied.receipts[0].outcome, Outcome::Applied, "{case}");
            assert!(applied.conflicts.is_empty(), "{case}");
            assert_eq!(
                ground.head(),
                before,
                "{case}: an equal version takes no generation"
            );
        }
    }
}

#[test]
fn changes_of_different_fields_are_merged_under_every_policy() {
    for policy in POLICIES {
        let ground = Ground::new();
        let base = known(&ground, Update, Update).expect("a base");
        let cursor = ground.head();
        ground.update(7, set(1, 30));

        let edit = mine_does(Update, Some(base), "elm");
        let applied = upload(&ground, policy, cursor, edit);

        assert_eq!(applied.receipts[0].outcome, Outcome::Merged, "{policy:?}");
        let now = ground.record(TREES, &id(7)).expect("the tree").record;
        assert_eq!(now.values[..2], ["elm".into(), 30.into()], "{policy:?}");
        let after = applied.receipts[0].after.as_ref().expect("an after-image");
        assert_eq!(
            after.record, now,
            "{policy:?}: the receipt tells the new base"
        );
    }
}

#[test]
fn a_clash_beside_a_free_field_is_decided_by_field_only_under_merge() {
    for (policy, winner, stored) in [
        (Merge, Winner::Merged, ["ash", "bob"]),
        (Client, Mine, ["elm", "bob"]),
        (Server, Theirs, ["ash", "ann"]),
    ] {
        let ground = Ground::new();
        let mut record = tree(7, "oak", 1);
        record.values[2] = "ann".into();
        ground.add(&record);
        let base = ground.record(TREES, &id(7)).expect("the tree");
        let cursor = ground.head();
        ground.update(7, set(0, "ash"));
        let mut mine: Changes = set(0, "elm");
        mine.values.insert(2, "bob".into());
        let edit = Edit::Update {
            global_id: id(7),
            mine,
            base: Some(Base {
                revision: base.track.revision,
                content: whole(&base.record),
            }),
        };

        let applied = upload(&ground, policy, cursor, edit);

        assert_eq!(applied.conflicts[0].winner, winner, "{policy:?}");
        assert_eq!(applied.conflicts[0].fields, ["name"], "{policy:?}");
        let now = ground.record(TREES, &id(7)).expect("the tree").record;
        assert_eq!(
            [&now.values[0], &now.values[2]],
            stored.map(haversack_model::Value::from).each_ref(),
            "{policy:?}"
        );
    }
}

#[test]
fn a_deleted_record_comes_back_only_by_an_add_that_knows_of_the_deletion() {
    let ground = Ground::new();
    ground.add(&tree(7, "oak", 1));
    ground.delete(7);
    let seen = ground.head();
    let unseen = haversack_model::Generation(seen.0 - 1);

    let edit = mine_does(Add, None, "elm");
    let applied = upload(&ground, Merge, unseen, edit.clone());
    assert!(matches!(
        applied.receipts[0].outcome,
        Outcome::Conflict {
            mine_won: false,
            ..
        }
    ));
    assert_eq!(ground.record(TREES, &id(7)), None);

    let applied = upload(&ground, Merge, seen, edit);
    assert_eq!(applied.receipts[0].outcome, Outcome::Applied);
    assert!(ground.record(TREES, &id(7)).is_some());
}
