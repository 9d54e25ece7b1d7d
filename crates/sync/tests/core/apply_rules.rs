//! Rights, row filters, stamps, families and all-or-nothing.

use haversack_model::schema::attachment_field;
use haversack_model::{
    Access, BlobHash, Edit, Filter, Level, Outcome, Policy, Record, RejectCode, Right, Store, Value,
};
use haversack_sync::Uploader;

use crate::ground::{
    BRANCHES, Ground, TREES, all_rights, equals, field, id, point, set, stamped_service, tree,
};

fn by(access: &Access) -> Uploader<'_> {
    Uploader {
        user: "ann",
        replica: None,
        policy: Policy::Merge,
        access,
        cursor: None,
    }
}

fn add(record: Record) -> Edit {
    Edit::Add {
        record,
        undelete: false,
    }
}

fn code(outcome: &Outcome) -> Option<RejectCode> {
    match outcome {
        Outcome::Rejected { code, .. } => Some(*code),
        _ => None,
    }
}

#[test]
fn one_bad_edit_does_not_hinder_the_others() {
    let ground = Ground::new();
    let bad = Record {
        values: vec![Value::Null, "tall".into(), Value::Null],
        ..tree(2, "", 0)
    };
    let applied = ground.online(&[
        (TREES, add(tree(1, "oak", 1))),
        (TREES, add(bad)),
        (TREES, add(tree(3, "elm", 3))),
    ]);
    let codes: Vec<_> = applied.receipts.iter().map(|r| code(&r.outcome)).collect();
    assert_eq!(codes, [None, Some(RejectCode::InvalidValue), None]);
    assert!(ground.record(TREES, &id(1)).is_some() && ground.record(TREES, &id(3)).is_some());
}

#[test]
fn all_or_nothing_leaves_no_trace_of_a_failed_request() {
    let ground = Ground::new();
    ground.add(&tree(1, "oak", 1));
    let before = ground.head();
    let access = all_rights();
    let edits = [
        (TREES, add(tree(2, "elm", 2))),
        (
            TREES,
            Edit::Update {
                global_id: id(9),
                mine: set(0, "ash"),
                base: None,
            },
        ),
        (
            TREES,
            Edit::Delete {
                global_id: id(1),
                base: None,
            },
        ),
    ];
    let applied = ground.apply(&by(&access), &edits, true);
    assert!(applied.rolled_back);
    let codes: Vec<_> = applied.receipts.iter().map(|r| code(&r.outcome)).collect();
    assert_eq!(
        codes,
        [
            Some(RejectCode::RolledBack),
            Some(RejectCode::NotFound),
            Some(RejectCode::RolledBack)
        ]
    );
    assert_eq!(ground.head(), before);
    assert_eq!(ground.record(TREES, &id(2)), None);
    assert!(ground.record(TREES, &id(1)).is_some());
}

#[test]
fn row_filters_bind_the_old_row_and_the_new_one() {
    let ground = Ground::new();
    ground.add(&tree(1, "oak", 1));
    ground.add(&tree(2, "oak", 2));
    let access = Access {
        filters: vec![(TREES, equals("height", 1))],
        ..all_rights()
    };
    let update = |number, mine| {
        (
            TREES,
            Edit::Update {
                global_id: id(number),
                mine,
                base: None,
            },
        )
    };
    let applied = ground.apply(
        &by(&access),
        &[
            update(1, set(0, "elm")),
            // Out of reach: nobody learns that it exists.
            update(2, set(0, "elm")),
            (
                TREES,
                Edit::Delete {
                    global_id: id(2),
                    base: None,
                },
            ),
            // May not be moved out of one's reach, nor made there.
            update(1, set(1, 5)),
            (TREES, add(tree(3, "ash", 3))),
            (TREES, add(tree(4, "ash", 1))),
        ],
        false,
    );
    let codes: Vec<_> = applied.receipts.iter().map(|r| code(&r.outcome)).collect();
    assert_eq!(
        codes,
        [
            None,
            Some(RejectCode::NotFound),
            Some(RejectCode::NotFound),
            Some(RejectCode::Forbidden),
            Some(RejectCode::Forbidden),
            None
        ]
    );
    let first = ground.record(TREES, &id(1)).expect("the tree").record;
    assert_eq!(first.values[..2], ["elm".into(), 1.into()]);
    assert_eq!(ground.record(TREES, &id(3)), None);
    assert!(ground.record(TREES, &id(4)).is_some());
}

#[test]
fn without_the_right_to_edit_everything_is_refused() {
    let ground = Ground::new();
    let access = Access {
        rights: vec![Right::Read, Right::Sync],
        ..Access::default()
    };
    let applied = ground.apply(&by(&access), &[(TREES, add(tree(1, "oak", 1)))], false);
    assert_eq!(
        code(&applied.receipts[0].outcome),
        Some(RejectCode::Forbidden)
    );
    assert_eq!(ground.record(TREES, &id(1)), None);
}

#[test]
fn a_collection_may_be_granted_apart_from_its_service() {
    let ground = Ground::new();
    for (number, rights, level, is_applied) in [
        (1, vec![Right::Read, Right::Edit], Level::Read, false),
        (2, vec![Right::Read, Right::Edit], Level::None, false),
        (3, vec![Right::Read], Level::Write, true),
        (4, vec![], Level::Write, false),
    ] {
        let access = Access {
            rights,
            levels: vec![(Some(TREES), level)],
            ..Access::default()
        };
        let edit = (TREES, add(tree(number, "oak", 1)));
        let applied = ground.apply(&by(&access), &[edit], false);
        let refused = code(&applied.receipts[0].outcome);
        assert_eq!(refused.is_none(), is_applied, "{level:?}: {refused:?}");
        let stored = ground.record(TREES, &id(number));
        assert_eq!(stored.is_some(), is_applied, "{level:?}");
    }
}

#[test]
fn editors_are_stamped_and_their_own_words_for_it_ignored() {
    let ground = Ground::of(stamped_service());
    let mut record = tree(1, "oak", 1);
    record.values.extend([
        Value::Integer(5),
        "eve".into(),
        Value::Integer(6),
        "eve".into(),
    ]);
    ground.online(&[(TREES, add(record))]);
    let made = ground.record(TREES, &id(1)).expect("the tree").record;
    assert_eq!(
        [&made.values[4], &made.values[6]],
        [&"web".into(), &"web".into()]
    );
    assert_ne!(made.values[3], Value::Integer(5));

    let access = all_rights();
    let edit = Edit::Update {
        global_id: id(1),
        mine: set(0, "elm"),
        base: None,
    };
    ground.apply(&by(&access), &[(TREES, edit)], false);
    let edited = ground.record(TREES, &id(1)).expect("the tree").record;
    assert_eq!(edited.values[3..5], made.values[3..5], "who made it stays");
    assert_eq!(edited.values[6], "ann".into());
    assert!(edited.values[5].as_integer() > made.values[5].as_integer());
}

#[test]
fn geometry_must_be_of_the_layers_kind_and_may_have_z() {
    let ground = Ground::new();
    let line = haversack_model::Geometry::from_shape(&haversack_model::Shape::LineString(vec![]));
    let high = haversack_model::Geometry::from_shape(&haversack_model::Shape::Point(Some(
        haversack_model::Position {
            z: Some(3.0),
            ..haversack_model::Position::xy(1.0, 2.0)
        },
    )));
    let with = |number, geometry| {
        let record = Record {
            geometry: Some(geometry),
            ..tree(number, "oak", 1)
        };
        (TREES, add(record))
    };
    let applied = ground.online(&[
        with(1, line),
        with(2, high.clone()),
        with(3, point(1.0, 2.0)),
    ]);
    let codes: Vec<_> = applied.receipts.iter().map(|r| code(&r.outcome)).collect();
    assert_eq!(codes, [Some(RejectCode::InvalidGeometry), None, None]);
    let stored = ground.record(TREES, &id(2)).expect("the tree").record;
    assert_eq!(
        stored.geometry,
        Some(high),
        "the z that came is the z that is kept"
    );
}

#[test]
fn a_missing_value_becomes_the_default_where_null_is_not_allowed() {
    let mut service = crate::ground::service();
    let mut kind = field("kind", haversack_model::FieldType::String);
    kind.nullable = false;
    kind.default = "tree".into();
    service.collections[0].fields.push(kind);
    let ground = Ground::of(service);
    // A record of the older shape, without the field.
    ground.add(&tree(1, "oak", 1));
    assert_eq!(
        ground
            .record(TREES, &id(1))
            .expect("the tree")
            .record
            .values[3],
        "tree".into()
    );
}

fn attachment(number: u128, parent: u128, hash: BlobHash) -> Record {
    let mut values = vec![Value::Null; 6];
    values[attachment_field::PARENT] = id(parent).braced().into();
    values[attachment_field::NAME] = "leaf.jpg".into();
    values[attachment_field::SHA256] = hash.to_string().into();
    Record {
        global_id: id(number),
        object_id: None,
        values,
        geometry: None,
    }
}

fn branch(number: u128, of: u128) -> Record {
    Record {
        global_id: id(number),
        object_id: None,
        values: vec![id(of).braced().into(), "low".into()],
        geometry: None,
    }
}

#[test]
fn attachments_need_their_record_and_their_content() {
    let ground = Ground::new();
    ground.add(&tree(1, "oak", 1));
    let here = BlobHash([1; 32]);
    let mut tx = ground
        .store
        .begin_write(ground.now())
        .expect("a transaction");
    tx.store_blob(here, b"leaf").expect("a blob");
    tx.commit().expect("a commit");
    let attachments = TREES.attachments();
    let applied = ground.online(&[
        (attachments, add(attachment(11, 1, here))),
        (attachments, add(attachment(12, 2, here))),
        (attachments, add(attachment(13, 1, BlobHash([2; 32])))),
    ]);
    let codes: Vec<_> = applied.receipts.iter().map(|r| code(&r.outcome)).collect();
    assert_eq!(
        codes,
        [None, Some(RejectCode::NoParent), Some(RejectCode::NoBlob)]
    );
}

#[test]
fn a_deleted_record_takes_its_attachments_and_composite_children_along() {
    let ground = Ground::new();
    ground.add(&tree(1, "oak", 1));
    ground.add(&tree(2, "elm", 1));
    let here = BlobHash([1; 32]);
    let mut tx = ground
        .store
        .begin_write(ground.now())
        .expect("a transaction");
    tx.store_blob(here, b"leaf").expect("a blob");
    tx.commit().expect("a commit");
    ground.online(&[
        (TREES.attachments(), add(attachment(11, 1, here))),
        (TREES.attachments(), add(attachment(12, 2, here))),
        (BRANCHES, add(branch(21, 1))),
        (BRANCHES, add(branch(22, 2))),
    ]);
    ground.delete(1);
    for (collection, number, lives) in [
        (TREES.attachments(), 11, false),
        (TREES.attachments(), 12, true),
        (BRANCHES, 21, false),
        (BRANCHES, 22, true),
    ] {
        assert_eq!(
            ground.record(collection, &id(number)).is_some(),
            lives,
            "{number}"
        );
    }
}

#[test]
fn a_child_that_others_changed_is_kept_in_a_conflict_when_its_parent_goes() {
    let ground = Ground::new();
    ground.add(&tree(1, "oak", 1));
    ground.online(&[(BRANCHES, add(branch(21, 1)))]);
    let cursor = ground.head();
    ground.online(&[(
        BRANCHES,
        Edit::Update {
            global_id: id(21),
            mine: set(1, "high"),
            base: None,
        },
    )]);
    let base = ground.record(TREES, &id(1)).expect("the tree");
    let access = all_rights();
    let by = Uploader {
        replica: Some(haversack_model::ReplicaId(uuid::Uuid::from_u128(5))),
        cursor: Some(cursor),
        ..by(&access)
    };
    let delete = Edit::Delete {
        global_id: id(1),
        base: Some(haversack_model::edit::Base {
            revision: base.track.revision,
            content: haversack_sync::merge::whole(&base.record),
        }),
    };
    let applied = ground.apply(&by, &[(TREES, delete)], false);
    assert_eq!(applied.receipts[0].outcome, Outcome::Applied);
    assert_eq!(ground.record(BRANCHES, &id(21)), None);
    let kept = applied
        .conflicts
        .iter()
        .find(|c| c.global_id == id(21))
        .expect("a conflict");
    assert_eq!(
        kept.theirs.as_ref().map(|r| &r.values[1]),
        Some(&"high".into())
    );
}

#[test]
fn fields_that_nobody_may_set_are_refused_only_when_they_change() {
    let mut service = crate::ground::service();
    service.collections[0].fields[2].editable = false;
    let ground = Ground::of(service);
    ground.add(&tree(1, "oak", 1));
    let mut same = set(0, "elm");
    same.values.insert(2, Value::Null);
    let update = |mine| {
        (
            TREES,
            Edit::Update {
                global_id: id(1),
                mine,
                base: None,
            },
        )
    };
    let applied = ground.online(&[update(same), update(set(2, "eve"))]);
    let codes: Vec<_> = applied.receipts.iter().map(|r| code(&r.outcome)).collect();
    assert_eq!(codes, [None, Some(RejectCode::InvalidValue)]);
}

#[test]
fn a_filter_that_matches_nothing_hides_everything() {
    let ground = Ground::new();
    ground.add(&tree(1, "oak", 1));
    let access = Access {
        filters: vec![(TREES, Filter::Nothing)],
        ..all_rights()
    };
    let edit = Edit::Update {
        global_id: id(1),
        mine: set(0, "elm"),
        base: None,
    };
    let applied = ground.apply(&by(&access), &[(TREES, edit)], false);
    assert_eq!(
        code(&applied.receipts[0].outcome),
        Some(RejectCode::NotFound)
    );
}
