//! What an upload sends of each edit, decided here because the dialect knows no versions: three-way by field, with the
//! rules and policies of the sync core.

use haversack_model::local::FrozenBatch;
use haversack_model::{
    Changes, Collection, CollectionId, Conflict, ConflictId, ConflictKind, Edit, Generation,
    GlobalId, Outcome, Policy, Record, RejectCode, ReplicaId, Timestamp, Value, Winner,
};
use haversack_sync::merge::{Merge, three_way, whole, winner};
use sha2::{Digest as _, Sha256};

use crate::wire::sync::settable;

/// What the server has of a record since the replica's cursor.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Newer {
    /// What the replica knows of it.
    Unchanged,
    /// Another version.
    Row(Record),
    /// Nothing.
    Gone,
}

/// What to send of an edit.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Send {
    /// Nothing: it is so already, or the server's version stands.
    Nothing,
    Add(Record),
    Update(Changes),
    Delete,
}

/// The decision on one edit.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Decision {
    pub(super) send: Send,
    /// What becomes of the edit if the server takes what is sent.
    pub(super) outcome: Outcome,
    /// The record on the server then, where it differs from what was frozen.
    pub(super) after: Option<Record>,
    pub(super) conflict: Option<Conflict>,
}

/// Who uploads, and what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Uploading<'a> {
    pub(super) replica: ReplicaId,
    pub(super) policy: Policy,
    pub(super) user: &'a str,
    pub(super) batch: &'a FrozenBatch,
    pub(super) now: Timestamp,
    /// Where the server stood when it was asked for its changes.
    pub(super) seen: Generation,
}

impl Decision {
    fn plain(send: Send) -> Self {
        Self {
            send,
            outcome: Outcome::Applied,
            after: None,
            conflict: None,
        }
    }
    pub(super) fn rejected(code: RejectCode, reason: impl Into<String>) -> Self {
        Self {
            outcome: Outcome::Rejected {
                code,
                reason: reason.into(),
            },
            ..Self::plain(Send::Nothing)
        }
    }
}

/// The versions of a clash.
struct Clash {
    kind: ConflictKind,
    base: Option<Record>,
    mine: Option<Record>,
    theirs: Option<Record>,
    fields: Vec<String>,
    winner: Winner,
    reason: String,
}

impl Uploading<'_> {
    /// Decides on one edit of a layer or table.
    pub(super) fn decide(&self, collection: &Collection, edit: &Edit, newer: Newer) -> Decision {
        match (edit, newer) {
            (Edit::Add { record, .. }, Newer::Unchanged | Newer::Gone) => {
                Decision::plain(Send::Add(record.clone()))
            }
            (Edit::Add { record, .. }, Newer::Row(theirs)) => self.add(collection, record, theirs),
            (Edit::Update { mine, .. }, _) if settable_part(collection, mine).is_empty() => {
                let reason = format!(
                    "{} cannot be set here: the server makes it",
                    names(collection, mine).join(", ")
                );
                Decision::rejected(RejectCode::InvalidValue, reason)
            }
            (Edit::Update { mine, .. }, Newer::Unchanged) => {
                Decision::plain(Send::Update(settable_part(collection, mine)))
            }
            (Edit::Update { mine, base, .. }, Newer::Row(theirs)) => {
                let base = base.as_ref().map(|base| &base.content);
                self.update(collection, mine, base, theirs)
            }
            (Edit::Update { global_id, .. }, Newer::Gone) => {
                self.update_of_deleted(collection, edit, global_id)
            }
            (Edit::Delete { .. }, Newer::Unchanged) => Decision::plain(Send::Delete),
            (Edit::Delete { .. }, Newer::Gone) => Decision::plain(Send::Nothing),
            (Edit::Delete { base, .. }, Newer::Row(theirs)) => {
                let base = base.as_ref().map(|base| &base.content);
                self.delete(collection, base, theirs)
            }
        }
    }

    fn add(&self, collection: &Collection, record: &Record, theirs: Record) -> Decision {
        let mine = settable_part(collection, &whole(record));
        // Nothing is known of a common past, so every difference is a clash; what is equal was stored by a first try.
        let merge = three_way(&Changes::default(), &mine, &theirs);
        if merge.clashes.is_empty() {
            return Decision {
                after: Some(theirs),
                ..Decision::plain(Send::Nothing)
            };
        }
        let clash = Clash {
            kind: ConflictKind::AddAdd,
            base: None,
            mine: Some(record.clone()),
            fields: names(collection, &merge.clashes),
            winner: winner(self.policy, ConflictKind::AddAdd, false),
            reason: format!(
                "both sides added {} with different content",
                record.global_id
            ),
            theirs: Some(theirs.clone()),
        };
        self.clashed(collection, clash, &merge, theirs)
    }

    fn update(
        &self,
        collection: &Collection,
        mine: &Changes,
        base: Option<&Changes>,
        theirs: Record,
    ) -> Decision {
        let mine = settable_part(collection, mine);
        let known = base.cloned().unwrap_or_default();
        let merge = three_way(&known, &mine, &theirs);
        if merge.clashes.is_empty() {
            let mut after = theirs;
            merge.free.apply_to(&mut after);
            let mut decision = Decision {
                after: Some(after),
                outcome: Outcome::Merged,
                ..Decision::plain(Send::Update(merge.free.clone()))
            };
            if merge.free.is_empty() {
                (decision.send, decision.outcome) = (Send::Nothing, Outcome::Applied);
            }
            return decision;
        }
        let mut base_record = theirs.clone();
        known.apply_to(&mut base_record);
        let mut mine_record = base_record.clone();
        mine.apply_to(&mut mine_record);
        let fields = names(collection, &merge.clashes);
        let clash = Clash {
            kind: ConflictKind::UpdateUpdate,
            base: base.map(|_| base_record),
            mine: Some(mine_record),
            theirs: Some(theirs.clone()),
            winner: winner(
                self.policy,
                ConflictKind::UpdateUpdate,
                !merge.free.is_empty(),
            ),
            reason: format!("both sides changed {}", fields.join(", ")),
            fields,
        };
        self.clashed(collection, clash, &merge, theirs)
    }

    /// The deletion stands whatever the policy: a partial edit is not enough to make the record anew.
    fn update_of_deleted(&self, collection: &Collection, edit: &Edit, id: &GlobalId) -> Decision {
        let Edit::Update { mine, base, .. } = edit else {
            return Decision::rejected(RejectCode::Refused, "is no update");
        };
        let mut record = Record {
            global_id: id.clone(),
            object_id: None,
            values: vec![Value::Null; collection.fields.len()],
            geometry: None,
        };
        let mut base_record = None;
        if let Some(base) = base {
            base.content.apply_to(&mut record);
            base_record = Some(record.clone());
        }
        mine.apply_to(&mut record);
        let clash = Clash {
            kind: ConflictKind::UpdateDelete,
            base: base_record,
            mine: Some(record),
            theirs: None,
            fields: names(collection, mine),
            winner: Winner::Theirs,
            reason: format!("the server had deleted {id}, and this side changed it"),
        };
        self.conflict(collection, id, clash, Send::Nothing, None)
    }

    fn delete(&self, collection: &Collection, base: Option<&Changes>, theirs: Record) -> Decision {
        let id = theirs.global_id.clone();
        let unchanged = base.is_some_and(|base| {
            let now = settable_part(collection, &whole(&theirs));
            let then = settable_part(collection, base);
            now.values == then.values && now.geometry == then.geometry
        });
        if unchanged {
            return Decision::plain(Send::Delete);
        }
        let mut base_record = theirs.clone();
        if let Some(base) = base {
            base.apply_to(&mut base_record);
        }
        let clash = Clash {
            kind: ConflictKind::DeleteUpdate,
            base: base.map(|_| base_record),
            mine: None,
            theirs: Some(theirs.clone()),
            fields: Vec::new(),
            winner: winner(self.policy, ConflictKind::DeleteUpdate, false),
            reason: format!("this side deleted {id}, and the server had changed it"),
        };
        match clash.winner {
            Winner::Mine => self.conflict(collection, &id, clash, Send::Delete, None),
            _ => self.conflict(collection, &id, clash, Send::Nothing, Some(theirs)),
        }
    }

    /// Sends what the winner leaves to send.
    fn clashed(
        &self,
        collection: &Collection,
        clash: Clash,
        merge: &Merge,
        theirs: Record,
    ) -> Decision {
        let id = theirs.global_id.clone();
        let mut after = theirs;
        let mut send = Changes::default();
        if clash.winner != Winner::Theirs {
            send = merge.free.clone();
        }
        if clash.winner == Winner::Mine {
            send.values.extend(merge.clashes.values.clone());
            if merge.clashes.geometry.is_some() {
                send.geometry.clone_from(&merge.clashes.geometry);
            }
        }
        send.apply_to(&mut after);
        let send = if send.is_empty() {
            Send::Nothing
        } else {
            Send::Update(send)
        };
        self.conflict(collection, &id, clash, send, Some(after))
    }

    fn conflict(
        &self,
        collection: &Collection,
        id: &GlobalId,
        clash: Clash,
        send: Send,
        after: Option<Record>,
    ) -> Decision {
        let conflict = Conflict {
            id: self.conflict_id(collection.id, id),
            collection: collection.id,
            global_id: id.clone(),
            kind: clash.kind,
            base: clash.base,
            mine: clash.mine,
            theirs: clash.theirs,
            fields: clash.fields,
            policy: self.policy,
            winner: clash.winner,
            reason: clash.reason,
            replica: Some(self.replica),
            user: self.user.to_owned(),
            at: self.now,
            generation: self.seen,
            resolution: None,
        };
        Decision {
            send,
            outcome: Outcome::Conflict {
                conflict: conflict.id,
                mine_won: clash.winner == Winner::Mine,
            },
            after,
            conflict: Some(conflict),
        }
    }

    /// The same for a batch that is sent again, so that it is one conflict and not two.
    fn conflict_id(&self, collection: CollectionId, id: &GlobalId) -> ConflictId {
        let mut hash = Sha256::new();
        hash.update(self.replica.0.as_bytes());
        hash.update(self.batch.number.0.to_be_bytes());
        hash.update(collection.0.to_be_bytes());
        hash.update(id.as_bytes());
        let hash = hash.finalize();
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hash[..16]);
        ConflictId(uuid::Builder::from_random_bytes(bytes).into_uuid())
    }
}

/// The part of some changes that a client may set: the server makes the rest.
fn settable_part(collection: &Collection, changes: &Changes) -> Changes {
    let settable = settable(collection);
    let mut part = changes.clone();
    part.values.retain(|at, _| settable.contains(at));
    if collection.geometry.is_none() {
        part.geometry = None;
    }
    part
}

fn names(collection: &Collection, changes: &Changes) -> Vec<String> {
    let fields = changes
        .values
        .keys()
        .filter_map(|at| collection.fields.get(*at));
    let mut names: Vec<String> = fields.map(|field| field.name.clone()).collect();
    if changes.geometry.is_some() {
        names.extend(
            collection
                .geometry
                .as_ref()
                .map(|column| column.name.clone()),
        );
    }
    names
}
