//! Uploads of clients without batch numbers and base versions: repeats are recognised, bases are found.
//!
//! Owns: what a foreign edit started from, and whether it was sent before. Does not own: applying (`apply`), the
//! client's wire form (its face). Rule source: DESIGN 5, "Foreign clients".
//!
//! The server keeps the last edit of each record per foreign replica until that replica's cursor passes it. The same
//! edit from a cursor below is a repeat and changes nothing. Otherwise the base is the later of the version as of the
//! cursor and what this replica last sent.

use std::collections::BTreeMap;

use haversack_model::edit::Base;
use haversack_model::store::LastEdit;
use haversack_model::{
    Changes, CollectionId, Edit, Error, Generation, GlobalId, Outcome, Receipt, Record, Replica,
    ReplicaId, Result, Revision, Timestamp, Value, Versioned, Winner, WriteTx,
};

use crate::apply::{Manner, apply_with_cursors};
use crate::delta::Held;
use crate::merge::{take_fields, whole, widen};
use crate::{Applied, Ids, Sent, Uploader};

/// One edit of a client that knows no base versions.
#[derive(Clone, Debug, PartialEq)]
pub enum ForeignEdit {
    /// A new record, and which of its fields were given.
    Add(Record, Changes),
    /// New values; clients send whole rows or only what changed.
    Update {
        /// Of which record.
        global_id: GlobalId,
        /// What was given.
        mine: Changes,
    },
    /// Removal.
    Delete(GlobalId),
}

impl ForeignEdit {
    /// The record that the edit is about.
    pub fn global_id(&self) -> &GlobalId {
        match self {
            Self::Add(record, _) => &record.global_id,
            Self::Update { global_id, .. } | Self::Delete(global_id) => global_id,
        }
    }
}

/// Applies the edits of a foreign replica and seals the transaction, like [`apply_edits`](crate::apply_edits).
///
/// `cursors` holds the generation per collection that the client names; where it names none, the replica's last known
/// one counts. What is given back beside the outcome tells the download of the same request what its sender has.
///
/// # Errors
/// [`Error::Resync`] if a cursor is below the retained history. Those of the store.
#[expect(
    clippy::too_many_arguments,
    reason = "the transaction, who, what, and the two sources of chance"
)]
pub fn import(
    tx: &mut dyn WriteTx,
    replica: &Replica,
    cursors: &[(CollectionId, Option<Generation>)],
    by: &Uploader<'_>,
    edits: &[(CollectionId, ForeignEdit)],
    all_or_nothing: bool,
    now: Timestamp,
    ids: &mut Ids<'_>,
) -> Result<(Applied, Sent)> {
    let by = Uploader {
        replica: Some(replica.id),
        ..*by
    };
    let cursor_of = |collection: CollectionId| {
        let named = cursors.iter().find(|(id, _)| *id == collection);
        named.and_then(|(_, cursor)| *cursor).or_else(|| {
            let layer = replica
                .layers
                .iter()
                .find(|layer| layer.collection == collection);
            layer.map(|layer| layer.cursor)
        })
    };
    let mut plans: Vec<Plan> = Vec::with_capacity(edits.len());
    let mut planned: BTreeMap<(CollectionId, &GlobalId), usize> = BTreeMap::new();
    for (collection, edit) in edits {
        let key = (*collection, edit.global_id());
        // Of two edits of one record in a request, the second starts from the first.
        let earlier = planned
            .insert(key, plans.len())
            .map(|at| plans[at].mine.clone());
        plans.push(plan(
            tx,
            replica.id,
            *collection,
            edit,
            cursor_of(*collection),
            earlier,
        )?);
    }
    let fresh: Vec<_> = plans
        .iter()
        .filter_map(|plan| match &plan.step {
            Planned::Apply(edit) => Some((plan.collection, edit)),
            Planned::Repeat(_) => None,
        })
        .collect();
    let manner = Manner {
        all_or_nothing,
        brief: false,
    };
    let applied = apply_with_cursors(tx, &by, &fresh, &cursor_of, manner, now, ids)?;
    let done = finish(tx, replica, plans, applied)?;
    // What every cursor has passed is no repeat any more.
    let cursors = replica
        .layers
        .iter()
        .map(|layer| cursor_of(layer.collection));
    if let Some(passed) = cursors.min().flatten() {
        tx.prune_last_edits(replica.id, passed)?;
    }
    Ok(done)
}

/// What is to be done about one edit.
struct Plan {
    collection: CollectionId,
    global_id: GlobalId,
    hash: [u8; 32],
    step: Planned,
    /// What the sender has of the record after its edit.
    mine: Held,
}

enum Planned {
    Apply(Edit),
    Repeat(Outcome),
}

fn plan(
    tx: &dyn WriteTx,
    replica: ReplicaId,
    collection: CollectionId,
    edit: &ForeignEdit,
    cursor: Option<Generation>,
    earlier: Option<Held>,
) -> Result<Plan> {
    let id = edit.global_id();
    let hash = hash(collection, edit);
    let last = tx.last_edit(replica, collection, id)?;
    let plan = |step, mine| Plan {
        collection,
        global_id: id.clone(),
        hash,
        step,
        mine,
    };
    if let Some(last) = &last
        && earlier.is_none()
        && last.hash == hash
        && cursor.is_none_or(|cursor| cursor < last.generation)
    {
        return Ok(plan(
            Planned::Repeat(last.outcome.clone()),
            held(last.sent.clone()),
        ));
    }
    let base = match earlier {
        Some(Held::Unknown | Held::Nothing) => None,
        Some(Held::Record(record)) => Some(Known {
            revision: Revision(0),
            record,
            settled: None,
        }),
        None => base_of(tx, collection, id, cursor, last)?,
    };
    let (edit, mine) = as_edit(edit, base);
    Ok(plan(Planned::Apply(edit), mine))
}

/// A version that the sender knows.
struct Known {
    revision: Revision,
    record: Record,
    /// What it sent and lost: kept in a conflict, and no edit any more.
    settled: Option<Record>,
}

/// The later of the version as of the cursor and what this replica last sent, as far as that was stored; `None` if neither
/// is known, or the record was gone.
fn base_of(
    tx: &dyn WriteTx,
    collection: CollectionId,
    id: &GlobalId,
    cursor: Option<Generation>,
    last: Option<LastEdit>,
) -> Result<Option<Known>> {
    let seen: Option<Versioned> = match cursor {
        Some(cursor) => match tx.record_as_of(collection, id, cursor) {
            Err(Error::NoCollection(_)) => None,
            other => other?,
        },
        None => None,
    };
    let last = last.filter(|last| cursor.is_none_or(|cursor| last.generation > cursor));
    let Some(last) = last else {
        return Ok(seen.map(|seen| Known {
            revision: seen.track.revision,
            record: seen.record,
            settled: None,
        }));
    };
    let shape = tx.collection(collection)?;
    let Some(mut sent) = last.sent else {
        return Ok(None);
    };
    widen(&mut sent, &shape);
    let dispute = match last.outcome {
        Outcome::Conflict {
            conflict,
            mine_won: false,
        } => tx.conflict(conflict)?,
        _ => None,
    };
    // What it started from when it lost: the version as of the cursor, unless an edit before that one was stored.
    let started = dispute.as_ref().and_then(|dispute| {
        let mut base = dispute.base.clone();
        base.iter_mut().for_each(|base| widen(base, &shape));
        match (base, seen) {
            (Some(base), Some(seen)) if !base.same_content(&seen.record) => {
                Some((base, Revision(0)))
            }
            (_, Some(seen)) => Some((seen.record, seen.track.revision)),
            (base, None) => base.map(|base| (base, Revision(0))),
        }
    });
    let (Some(dispute), Some((started, revision))) = (dispute, started) else {
        // What was sent is no stored version: its content decides.
        return Ok(Some(Known {
            revision: Revision(0),
            record: sent,
            settled: None,
        }));
    };
    if dispute.winner != Winner::Merged {
        return Ok(Some(Known {
            revision,
            record: started,
            settled: Some(sent),
        }));
    }
    let mut record = sent.clone();
    take_fields(&shape, &dispute.fields, &started, &mut record);
    Ok(Some(Known {
        revision: Revision(0),
        record,
        settled: Some(sent),
    }))
}

/// The edit with its base, and what its sender has afterwards.
fn as_edit(edit: &ForeignEdit, base: Option<Known>) -> (Edit, Held) {
    match (edit, base) {
        // It has the record: the verb comes from the base.
        (ForeignEdit::Add(record, given), Some(base)) => {
            update(record.global_id.clone(), given, &base)
        }
        (ForeignEdit::Add(record, _), None) => {
            let add = Edit::Add {
                record: record.clone(),
                undelete: false,
            };
            (add, Held::Record(record.clone()))
        }
        (ForeignEdit::Update { global_id, mine }, Some(base)) => {
            update(global_id.clone(), mine, &base)
        }
        (ForeignEdit::Update { global_id, mine }, None) => {
            let update = Edit::Update {
                global_id: global_id.clone(),
                mine: mine.clone(),
                base: None,
            };
            (update, Held::Unknown)
        }
        (ForeignEdit::Delete(global_id), base) => {
            let delete = Edit::Delete {
                global_id: global_id.clone(),
                base: base.map(|base| Base {
                    revision: base.revision,
                    content: whole(&base.record),
                }),
            };
            (delete, Held::Nothing)
        }
    }
}

/// Clients send whole rows: only what differs from the base, and from what lost before, is theirs.
fn update(global_id: GlobalId, given: &Changes, base: &Known) -> (Edit, Held) {
    let mut after = base.record.clone();
    given.apply_to(&mut after);
    let mut mine = Changes::between(&base.record, &after);
    if let Some(settled) = &base.settled {
        mine.values
            .retain(|at, value| settled.values.get(*at) != Some(value));
        mine.geometry.take_if(|mine| *mine == settled.geometry);
    }
    let edit = Edit::Update {
        global_id,
        mine,
        base: Some(Base {
            revision: base.revision,
            content: whole(&base.record),
        }),
    };
    (edit, Held::Record(after))
}

/// Puts the receipts of repeats in their places, keeps the last edits, and notes what the sender has.
fn finish(
    tx: &mut dyn WriteTx,
    replica: &Replica,
    plans: Vec<Plan>,
    mut applied: Applied,
) -> Result<(Applied, Sent)> {
    let mut sent = Sent::default();
    let mut fresh = std::mem::take(&mut applied.receipts).into_iter();
    for plan in plans {
        let receipt = match plan.step {
            Planned::Repeat(outcome) => {
                let after = tx.record(plan.collection, &plan.global_id)?;
                Receipt {
                    collection: plan.collection,
                    global_id: plan.global_id.clone(),
                    outcome,
                    object_id: after.as_ref().and_then(|after| after.record.object_id),
                    after,
                    version: None,
                    left: false,
                }
            }
            Planned::Apply(_) => {
                let receipt = fresh.next().ok_or_else(|| {
                    Error::Corrupt("an edit was left without a receipt".to_owned())
                })?;
                if !matches!(receipt.outcome, Outcome::Rejected { .. }) {
                    keep_last_edit(tx, replica.id, &plan.mine, plan.hash, &receipt)?;
                }
                receipt
            }
        };
        // The sender keeps a refused edit for itself; it may be told what the server has.
        let held = match receipt.outcome {
            Outcome::Rejected { .. } => Held::Unknown,
            _ => plan.mine,
        };
        sent.note(plan.collection, plan.global_id, held);
        applied.receipts.push(receipt);
    }
    Ok((applied, sent))
}

fn keep_last_edit(
    tx: &mut dyn WriteTx,
    replica: ReplicaId,
    mine: &Held,
    hash: [u8; 32],
    receipt: &Receipt,
) -> Result<()> {
    let generation = match tx.track(receipt.collection, &receipt.global_id)? {
        Some(track) => track.generation,
        None => tx.head()?.generation,
    };
    // Without a base the sender's row is not known in full; the server's is the best that can be kept.
    let sent = match mine {
        Held::Record(record) => Some(record.clone()),
        Held::Nothing => None,
        Held::Unknown => receipt.after.as_ref().map(|after| after.record.clone()),
    };
    let edit = LastEdit {
        hash,
        sent,
        generation,
        outcome: receipt.outcome.clone(),
    };
    tx.store_last_edit(replica, receipt.collection, &receipt.global_id, &edit)
}

fn held(sent: Option<Record>) -> Held {
    sent.map_or(Held::Nothing, Held::Record)
}

/// A hash of an edit as it was sent, equal for equal edits.
fn hash(collection: CollectionId, edit: &ForeignEdit) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    let mut put = |tag: u8, bytes: &[u8]| {
        hasher.update(&[tag]);
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    put(0, &collection.0.to_le_bytes());
    put(1, edit.global_id().as_bytes());
    let changes = match edit {
        ForeignEdit::Add(_, given) => {
            put(2, b"add");
            Some(given)
        }
        ForeignEdit::Update { mine, .. } => {
            put(2, b"update");
            Some(mine)
        }
        ForeignEdit::Delete(_) => {
            put(2, b"delete");
            None
        }
    };
    if let Some(changes) = changes {
        for (at, value) in &changes.values {
            put(3, &(*at as u64).to_le_bytes());
            match value {
                Value::Null => put(4, &[]),
                Value::Integer(n) => put(5, &n.to_le_bytes()),
                Value::Real(x) => put(6, &(x + 0.0).to_le_bytes()),
                Value::Text(text) => put(7, text.as_bytes()),
                Value::Blob(bytes) => put(8, bytes),
            }
        }
        match &changes.geometry {
            None => {}
            Some(None) => put(9, &[]),
            Some(Some(geometry)) => put(10, geometry.as_wkb()),
        }
    }
    *hasher.finalize().as_bytes()
}
