//! What becomes of edits: online ones and every upload end here.
//!
//! Owns: rights and row filters (old row and new), the verb of an edit, conflicts and which version they store, stamps
//! of editor fields, what a deletion takes along, one receipt per edit in order. Does not own: the shape of values
//! (`validate`), the merge of fields (`merge`), generations (the store). Rule source: DESIGN 5.
//!
//! A conflict is found field by field under every policy: what others changed beside my fields is never overwritten.
//! The policy decides what clashes: `client` stores my values, `server` keeps the server's whole row, `merge` keeps
//! the server's values of the clashing fields and stores my others. The losing version is a conflict row every time.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use haversack_model::{
    Access, Collection, CollectionId, Conflict, Edit, Error, Filter, Generation, ObjectId, Outcome,
    Policy, Receipt, RejectCode, ReplicaId, Result, Right, RowVersion, Timestamp, Versioned,
    WriteTx,
};
use uuid::Uuid;

use crate::validate::{self, Refusal};

mod family;
mod record;

/// Who uploads, and under which rules.
#[derive(Clone, Copy, Debug)]
pub struct Uploader<'a> {
    /// User name, for conflicts and editor tracking; empty for the anonymous user.
    pub user: &'a str,
    /// The replica that uploads; `None` for an online edit.
    pub replica: Option<ReplicaId>,
    /// What to do about conflicts.
    pub policy: Policy,
    /// What the user may do.
    pub access: &'a Access,
    /// Up to where the sender had seen the service's changes, if it says so.
    pub cursor: Option<Generation>,
}

/// A source of fresh ids.
pub struct Ids<'a>(pub &'a mut dyn FnMut() -> Uuid);

impl std::fmt::Debug for Ids<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ids")
    }
}

/// What became of a request's edits.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Applied {
    /// One per edit, in order.
    pub receipts: Vec<Receipt>,
    /// The conflicts met, as stored.
    pub conflicts: Vec<Conflict>,
    /// All or nothing was asked, an edit failed, and nothing was stored.
    pub rolled_back: bool,
}

/// Applies edits in order and seals the transaction: afterwards only its books can be written.
///
/// Edits that fail are rejected with a reason and do not hinder the others, unless `all_or_nothing`.
///
/// # Errors
/// Those of the store. A rejected edit is no error.
pub fn apply_edits(
    tx: &mut dyn WriteTx,
    by: &Uploader<'_>,
    edits: &[(CollectionId, Edit)],
    all_or_nothing: bool,
    now: Timestamp,
    ids: &mut Ids<'_>,
) -> Result<Applied> {
    let manner = Manner {
        all_or_nothing,
        brief: false,
    };
    apply_as(tx, by, edits, manner, now, ids)
}

/// As [`apply_edits`], for a sender that keeps what it sent: see [`Manner::brief`].
pub(crate) fn apply_batch(
    tx: &mut dyn WriteTx,
    by: &Uploader<'_>,
    edits: &[(CollectionId, Edit)],
    now: Timestamp,
    ids: &mut Ids<'_>,
) -> Result<Applied> {
    let manner = Manner {
        all_or_nothing: false,
        brief: true,
    };
    apply_as(tx, by, edits, manner, now, ids)
}

fn apply_as(
    tx: &mut dyn WriteTx,
    by: &Uploader<'_>,
    edits: &[(CollectionId, Edit)],
    manner: Manner,
    now: Timestamp,
    ids: &mut Ids<'_>,
) -> Result<Applied> {
    let edits: Vec<_> = edits.iter().map(|(id, edit)| (*id, edit)).collect();
    apply_with_cursors(tx, by, &edits, &|_| by.cursor, manner, now, ids)
}

/// How a request is applied and answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner {
    /// An edit that fails undoes all.
    pub(crate) all_or_nothing: bool,
    /// A record that ends as exactly what its sender has is told by its version alone.
    pub(crate) brief: bool,
}

/// As [`apply_edits`], with the cursor that the sender named for each collection.
pub(crate) fn apply_with_cursors(
    tx: &mut dyn WriteTx,
    by: &Uploader<'_>,
    edits: &[(CollectionId, &Edit)],
    cursor_of: &dyn Fn(CollectionId) -> Option<Generation>,
    manner: Manner,
    now: Timestamp,
    ids: &mut Ids<'_>,
) -> Result<Applied> {
    let all_or_nothing = manner.all_or_nothing;
    if all_or_nothing {
        tx.savepoint()?;
    }
    let mut applying = Applying {
        tx,
        by,
        now,
        ids,
        all_or_nothing,
        edits,
        cursor_of,
        is_as_sent: false,
        object_id: None,
        shapes: BTreeMap::new(),
        watched: None,
        conflicts: Vec::new(),
    };
    let mut outcomes = Vec::with_capacity(edits.len());
    // Which edits their sender need not be told more of, with the record's object id.
    let mut as_sent = Vec::new();
    let mut last_of = HashMap::new();
    let mut rolled_back = false;
    for (at, (collection, edit)) in edits.iter().enumerate() {
        applying.is_as_sent = false;
        applying.object_id = None;
        let outcome = applying.one(*collection, edit)?;
        if manner.brief {
            as_sent.push(applying.is_as_sent.then_some(applying.object_id));
            last_of.insert((*collection, edit.global_id()), at);
        }
        rolled_back = all_or_nothing && matches!(outcome, Outcome::Rejected { .. });
        outcomes.push(outcome);
        if rolled_back {
            break;
        }
    }
    if rolled_back {
        applying.tx.rollback_to_savepoint()?;
        applying.conflicts.clear();
        roll_back_outcomes(&mut outcomes, edits.len());
    }
    let mut conflicts = applying.conflicts;
    tx.seal()?;
    for conflict in &mut conflicts {
        if let Some(track) = tx.track(conflict.collection, &conflict.global_id)? {
            conflict.generation = track.generation;
        }
        tx.store_conflict(conflict)?;
    }
    let mut receipts = Vec::with_capacity(edits.len());
    for (at, ((collection, edit), outcome)) in edits.iter().zip(outcomes).enumerate() {
        let global_id = edit.global_id().clone();
        if let Some(Some(object_id)) = as_sent.get(at)
            && last_of.get(&(*collection, &global_id)) == Some(&at)
            && let Some(track) = tx.track(*collection, &global_id)?
            && !track.deleted
        {
            receipts.push(Receipt {
                collection: *collection,
                global_id,
                outcome,
                object_id: *object_id,
                after: None,
                version: Some(RowVersion {
                    revision: track.revision,
                    generation: track.generation,
                }),
                left: false,
            });
            continue;
        }
        let after = match outcome {
            Outcome::Rejected { .. } => None,
            _ => tx.record(*collection, &global_id)?,
        };
        let is_stored = match outcome {
            Outcome::Applied | Outcome::Merged | Outcome::Warned { .. } => {
                !matches!(edit, Edit::Delete { .. })
            }
            Outcome::Conflict { mine_won, .. } => mine_won && !matches!(edit, Edit::Delete { .. }),
            Outcome::Rejected { .. } => false,
        };
        receipts.push(Receipt {
            collection: *collection,
            global_id,
            outcome,
            object_id: after.as_ref().and_then(|after| after.record.object_id),
            // What was stored and is not here went with its parent, later in the same request. No download tells of
            // it: the receipt must.
            left: is_stored && after.is_none(),
            after,
            version: None,
        });
    }
    Ok(Applied {
        receipts,
        conflicts,
        rolled_back,
    })
}

fn roll_back_outcomes(outcomes: &mut Vec<Outcome>, count: usize) {
    let failed = outcomes.pop();
    let undone = || Outcome::Rejected {
        code: RejectCode::RolledBack,
        reason: "another edit of the request failed, and all or nothing was asked".to_owned(),
    };
    for outcome in outcomes.iter_mut() {
        *outcome = undone();
    }
    outcomes.extend(failed);
    outcomes.resize_with(count, undone);
}

/// A collection with what the user may see of it.
struct Shape {
    collection: Collection,
    grant: Filter,
    stamped: Vec<usize>,
}

/// The work on one request.
struct Applying<'t, 'a, 'i> {
    tx: &'t mut dyn WriteTx,
    by: &'a Uploader<'a>,
    now: Timestamp,
    ids: &'a mut Ids<'i>,
    all_or_nothing: bool,
    /// All of the request.
    edits: &'a [(CollectionId, &'a Edit)],
    /// What the sender had seen of a collection.
    cursor_of: &'a dyn Fn(CollectionId) -> Option<Generation>,
    /// Whether the record of the present edit is now exactly what its sender has.
    is_as_sent: bool,
    /// Its object id, if it was found or stored.
    object_id: Option<ObjectId>,
    shapes: BTreeMap<CollectionId, Rc<Shape>>,
    watched: Option<Vec<family::Watch>>,
    conflicts: Vec<Conflict>,
}

fn rejected((code, reason): Refusal) -> Outcome {
    Outcome::Rejected { code, reason }
}

impl Applying<'_, '_, '_> {
    fn one(&mut self, id: CollectionId, edit: &Edit) -> Result<Outcome> {
        let shape = match self.shape(id) {
            Ok(shape) => shape,
            Err(Error::NoCollection(id)) => {
                return Ok(rejected((
                    RejectCode::Refused,
                    format!("there is no collection {id} in this service"),
                )));
            }
            Err(error) => return Err(error),
        };
        if !self.by.access.may_edit(id) {
            let what = if self.by.access.allows(Right::Edit) {
                "this collection"
            } else {
                "this service"
            };
            return Ok(rejected((
                RejectCode::Forbidden,
                format!("this user may not edit {what}"),
            )));
        }
        let fitted = match validate::fit_edit(&shape.collection, edit) {
            Ok(edit) => edit,
            Err(refusal) => return Ok(rejected(refusal)),
        };
        let is_kept_as_sent = shape.stamped.is_empty() && fitted == *edit;
        let edit = fitted;
        let current = self.tx.record(id, edit.global_id())?;
        if current.is_some() && !self.may_see(&shape, edit.global_id())? {
            return Ok(rejected(out_of_reach(&edit)));
        }
        self.object_id = current
            .as_ref()
            .and_then(|current| current.record.object_id);
        match edit {
            Edit::Add { record, undelete } => {
                let outcome = self.add(&shape, record, undelete, current)?;
                self.is_as_sent = is_kept_as_sent && outcome == Outcome::Applied;
                Ok(outcome)
            }
            Edit::Update {
                global_id,
                mine,
                base,
            } => {
                // Of the present version the sender has all; to another one, others have added.
                let is_present = current.as_ref().is_some_and(|current| {
                    base.as_ref()
                        .is_some_and(|base| base.revision == current.track.revision)
                });
                let outcome = self.update(&shape, &global_id, mine, base.as_ref(), current)?;
                self.is_as_sent = is_kept_as_sent && is_present && outcome == Outcome::Applied;
                Ok(outcome)
            }
            Edit::Delete { global_id, base } => {
                self.delete(&shape, &global_id, base.as_ref(), current)
            }
        }
    }

    fn shape(&mut self, id: CollectionId) -> Result<Rc<Shape>> {
        if let Some(shape) = self.shapes.get(&id) {
            return Ok(Rc::clone(shape));
        }
        let collection = self.tx.collection(id)?;
        let mut grant = self.by.access.filter(id);
        // Attachments are seen with their records.
        if let Some(parent) = id.attachments_of() {
            let of_parent = self.by.access.filter(parent);
            if of_parent != Filter::All {
                grant = grant.and(Filter::ParentMatches {
                    field: "parent".to_owned(),
                    parent,
                    filter: Box::new(of_parent),
                });
            }
        }
        let shape = Rc::new(Shape {
            stamped: validate::stamped_fields(&collection),
            grant,
            collection,
        });
        self.shapes.insert(id, Rc::clone(&shape));
        Ok(shape)
    }

    fn may_see(&self, shape: &Shape, id: &haversack_model::GlobalId) -> Result<bool> {
        match &shape.grant {
            Filter::All => Ok(true),
            grant => self.tx.matches(shape.collection.id, id, grant),
        }
    }
}

/// A record that the user may not see: an update must not tell that it exists, an add cannot help it.
fn out_of_reach(edit: &Edit) -> Refusal {
    match edit {
        Edit::Add { record, .. } => (
            RejectCode::Forbidden,
            format!(
                "{} is the id of a record out of this user's reach",
                record.global_id
            ),
        ),
        _ => not_found(edit.global_id()),
    }
}

fn not_found(id: &haversack_model::GlobalId) -> Refusal {
    (RejectCode::NotFound, format!("there is no record {id}"))
}

/// Whether a version named by its content is the present one. Columns that its sender's file lacks count as their default.
fn is_all_of(shape: &Shape, base: &haversack_model::Changes, current: &Versioned) -> bool {
    let fields = current.record.values.iter().enumerate();
    fields
        .filter(|(at, _)| !shape.stamped.contains(at))
        .all(|(at, value)| match base.values.get(&at) {
            Some(known) => known == value,
            None => at >= base.values.len() && shape.collection.fields[at].default == *value,
        })
        && base.geometry.as_ref() == Some(&current.record.geometry)
}
