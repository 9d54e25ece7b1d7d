//! The books beside the records: replicas, replies, last edits, conflicts, blobs.

use uuid::Uuid;

use super::fixture::{PLACES, commit, id, place, put_places};
use crate::conflict::{ConflictKind, Resolution, Winner};
use crate::store::{Flow, LastEdit, Store, StoredReply};
use crate::{
    BatchNumber, BlobHash, Conflict, ConflictId, Direction, Filter, Generation, Outcome, Policy,
    RejectCode, Replica, ReplicaId, ReplicaLayer, SyncModel, Timestamp, Value,
};

/// A replica of the places at a cursor.
pub fn replica(n: u128, cursor: Generation) -> Replica {
    let filter = Filter::Spatial {
        relation: crate::filter::SpatialRelation::Intersects,
        geometry: super::fixture::point(0.1, 0.2),
    };
    Replica {
        id: ReplicaId(Uuid::from_u128(n)),
        name: "tablet".into(),
        owner: "ann".into(),
        native: true,
        sync_model: SyncModel::PerLayer,
        direction: Direction::Bidirectional,
        policy: Policy::Merge,
        layers: vec![ReplicaLayer {
            collection: PLACES,
            cursor,
            filter: filter.clone(),
            filters: vec![(Generation::ZERO, filter)],
        }],
        schema_version: 1,
        created_at: Timestamp(5),
        synced_at: Timestamp(6),
        is_dormant: false,
        last_batch: BatchNumber(7),
        dialect: "{\"where\":\"1=1\"}".into(),
    }
}

fn conflict(n: u128, at: i64) -> Conflict {
    let mut odd = place(1, "mine");
    odd.values[1] = Value::Integer(i64::MAX);
    odd.values[2] = Value::Real(0.1 + 0.2);
    Conflict {
        id: ConflictId(Uuid::from_u128(n)),
        collection: PLACES,
        global_id: id(1),
        kind: ConflictKind::UpdateUpdate,
        base: Some(place(1, "base")),
        mine: Some(odd),
        theirs: None,
        fields: vec!["name".into(), "geom".into()],
        policy: Policy::Merge,
        winner: Winner::Theirs,
        reason: "both changed the name".into(),
        replica: Some(ReplicaId(Uuid::from_u128(3))),
        user: "ann".into(),
        at: Timestamp(at),
        generation: Generation(4),
        resolution: None,
    }
}

fn last_edit(generation: u64) -> LastEdit {
    LastEdit {
        hash: [9; 32],
        sent: Some(place(1, "sent")),
        generation: Generation(generation),
        outcome: Outcome::Rejected {
            code: RejectCode::InvalidValue,
            reason: "name is too long".into(),
        },
    }
}

fn reply(n: u64) -> StoredReply {
    StoredReply {
        batch: BatchNumber(n),
        hash: [n as u8; 32],
        reply: vec![0, 1, n as u8],
    }
}

pub fn replicas_are_kept_and_forgotten_with_what_is_theirs(store: &dyn Store) {
    let (one, two) = (replica(1, Generation(3)), replica(2, Generation(0)));
    commit(store, 1, |tx| {
        tx.store_replica(&one).unwrap();
        tx.store_replica(&two).unwrap();
        tx.store_reply(one.id, &reply(1)).unwrap();
        tx.store_last_edit(one.id, PLACES, &id(1), &last_edit(1))
            .unwrap();
    });
    let changed = Replica {
        synced_at: Timestamp(99),
        ..one.clone()
    };
    commit(store, 2, |tx| tx.store_replica(&changed).unwrap());
    let tx = store.begin_read().unwrap();
    assert_eq!(tx.replica(one.id).unwrap().as_ref(), Some(&changed));
    assert_eq!(tx.replicas().unwrap().len(), 2);
    drop(tx);
    commit(store, 3, |tx| {
        assert!(tx.remove_replica(one.id).unwrap());
        assert!(!tx.remove_replica(one.id).unwrap());
    });
    let tx = store.begin_read().unwrap();
    assert_eq!(tx.replica(one.id).unwrap(), None);
    assert_eq!(tx.stored_reply(one.id).unwrap(), None);
    assert_eq!(tx.last_edit(one.id, PLACES, &id(1)).unwrap(), None);
    assert_eq!(tx.replicas().unwrap(), [two]);
}

pub fn the_last_reply_replaces_the_one_before(store: &dyn Store) {
    let owner = ReplicaId(Uuid::from_u128(1));
    for n in [1, 2] {
        commit(store, 1, |tx| tx.store_reply(owner, &reply(n)).unwrap());
    }
    let tx = store.begin_read().unwrap();
    assert_eq!(tx.stored_reply(owner).unwrap(), Some(reply(2)));
    let other = ReplicaId(Uuid::from_u128(2));
    assert_eq!(tx.stored_reply(other).unwrap(), None);
}

pub fn last_edits_are_kept_until_pruned(store: &dyn Store) {
    let owner = ReplicaId(Uuid::from_u128(1));
    let deletion = LastEdit {
        sent: None,
        outcome: Outcome::Applied,
        ..last_edit(5)
    };
    commit(store, 1, |tx| {
        tx.store_last_edit(owner, PLACES, &id(1), &last_edit(3))
            .unwrap();
        tx.store_last_edit(owner, PLACES, &id(2), &deletion)
            .unwrap();
    });
    let tx = store.begin_read().unwrap();
    assert_eq!(
        tx.last_edit(owner, PLACES, &id(1)).unwrap(),
        Some(last_edit(3))
    );
    assert_eq!(tx.last_edit(owner, PLACES, &id(2)).unwrap(), Some(deletion));
    drop(tx);
    commit(store, 2, |tx| {
        tx.prune_last_edits(owner, Generation(3)).unwrap();
    });
    let tx = store.begin_read().unwrap();
    assert_eq!(tx.last_edit(owner, PLACES, &id(1)).unwrap(), None);
    assert!(tx.last_edit(owner, PLACES, &id(2)).unwrap().is_some());
}

pub fn conflicts_come_back_exactly_in_order_of_time(store: &dyn Store) {
    let (late, early) = (conflict(1, 20), conflict(2, 10));
    commit(store, 1, |tx| {
        tx.store_conflict(&late).unwrap();
        tx.store_conflict(&early).unwrap();
    });
    let listed = |open_only| {
        let tx = store.begin_read().unwrap();
        let mut all = Vec::new();
        tx.conflicts(open_only, &mut |conflict| {
            all.push(conflict);
            Ok(Flow::Continue(()))
        })
        .unwrap();
        all
    };
    assert_eq!(listed(true), [early.clone(), late.clone()]);
    let closed = Conflict {
        resolution: Some(Resolution {
            told: true,
            kept: "mine".into(),
            user: "bob".into(),
            at: Timestamp(30),
        }),
        ..early
    };
    commit(store, 2, |tx| tx.store_conflict(&closed).unwrap());
    assert_eq!(listed(true), std::slice::from_ref(&late));
    assert_eq!(listed(false), [closed.clone(), late]);
    let tx = store.begin_read().unwrap();
    assert_eq!(tx.conflict(closed.id).unwrap(), Some(closed));
    assert_eq!(tx.conflict(ConflictId(Uuid::nil())).unwrap(), None);
}

pub fn blobs_are_kept_once(store: &dyn Store) {
    let hash = BlobHash([7; 32]);
    let content: Vec<u8> = (0..100_000u32).map(|n| n as u8).collect();
    for _ in 0..2 {
        commit(store, 1, |tx| tx.store_blob(hash, &content).unwrap());
    }
    let tx = store.begin_read().unwrap();
    assert!(tx.has_blob(hash).unwrap());
    assert_eq!(tx.blob(hash).unwrap(), Some(content));
    assert_eq!(tx.blob(BlobHash([8; 32])).unwrap(), None);
    assert!(!tx.has_blob(BlobHash([8; 32])).unwrap());
}

pub fn books_roll_back_with_the_records(store: &dyn Store) {
    put_places(store, &[place(1, "a")]);
    let owner = replica(1, Generation(1));
    let mut tx = store.begin_write(Timestamp(2)).unwrap();
    tx.store_replica(&owner).unwrap();
    tx.store_conflict(&conflict(1, 1)).unwrap();
    tx.store_reply(owner.id, &reply(1)).unwrap();
    drop(tx);
    let tx = store.begin_read().unwrap();
    assert_eq!(tx.replica(owner.id).unwrap(), None);
    assert_eq!(tx.stored_reply(owner.id).unwrap(), None);
    assert_eq!(tx.conflict(conflict(1, 1).id).unwrap(), None);
}
