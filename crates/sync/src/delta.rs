//! What a replica is told: the download from one generation to another, through its filters.
//!
//! Owns: which changes a replica hears of, and as what. Does not own: pages and cursors (`native`, the faces).
//! The filter that belongs to the client's cursor decides what it had; the present one what it gets. A change is left
//! out only if the stored content equals what this same request sent. Rule source: DESIGN 5.

use std::collections::BTreeMap;

use haversack_model::local::Removal;
use haversack_model::store::{Change, ChangeQuery, Flow};
use haversack_model::{
    CollectionId, Filter, Generation, GlobalId, ReadTx, Record, ReplicaLayer, Result, Versioned,
};

/// One change, as a replica is told.
#[derive(Clone, Debug, PartialEq)]
pub enum DeltaChange {
    /// A record that the replica did not have.
    Add(Versioned),
    /// A newer version of one that it had.
    Update(Versioned),
    /// One that it must not have any more.
    Remove {
        /// Which record.
        global_id: GlobalId,
        /// Why.
        removal: Removal,
    },
}

/// What the sender of a request has of a record after it.
#[derive(Clone, Debug, PartialEq)]
pub enum Held {
    /// Some version that is not known in full.
    Unknown,
    /// Nothing: it removed the record.
    Nothing,
    /// This.
    Record(Record),
}

/// What a request sent.
#[derive(Clone, Debug, Default)]
pub struct Sent(BTreeMap<(CollectionId, GlobalId), Held>);

impl Sent {
    /// Notes what the sender has of a record.
    pub fn note(&mut self, collection: CollectionId, id: GlobalId, held: Held) {
        self.0.insert((collection, id), held);
    }
    fn get(&self, collection: CollectionId, id: &GlobalId) -> Option<&Held> {
        if self.0.is_empty() {
            return None;
        }
        self.0.get(&(collection, id.clone()))
    }
    fn is_exactly(&self, collection: CollectionId, id: &GlobalId, stored: Option<&Record>) -> bool {
        match (self.get(collection, id), stored) {
            (Some(Held::Nothing), None) => true,
            (Some(Held::Record(sent)), Some(stored)) => sent.same_content(stored),
            _ => false,
        }
    }
}

/// Tells all changes of one layer with `since < generation <= upto`, oldest first, and then what entered or left
/// because the filter itself changed.
///
/// # Errors
/// [`Error::Resync`](haversack_model::Error::Resync) if `since` is below the floor.
pub fn delta(
    tx: &dyn ReadTx,
    layer: &ReplicaLayer,
    since: Generation,
    upto: Generation,
    sent: &Sent,
    visit: &mut dyn FnMut(DeltaChange) -> Result<Flow>,
) -> Result<()> {
    let mut stopped = false;
    let range = Range {
        had: since,
        since,
        upto,
        is_forgotten: false,
    };
    changed(tx, layer, &range, sent, &mut |_, change| {
        let flow = visit(change)?;
        stopped |= flow.is_break();
        Ok(flow)
    })?;
    if stopped {
        return Ok(());
    }
    entered_or_left(tx, layer, since, sent, &mut |change| {
        let flow = visit(change)?;
        stopped |= flow.is_break();
        Ok(flow)
    })?;
    if stopped {
        return Ok(());
    }
    gone_at_once(tx, layer, since, sent, visit)
}

/// What this request stored and took away again with its parent: no generation tells of it.
fn gone_at_once(
    tx: &dyn ReadTx,
    layer: &ReplicaLayer,
    since: Generation,
    sent: &Sent,
    visit: &mut dyn FnMut(DeltaChange) -> Result<Flow>,
) -> Result<()> {
    for ((collection, id), held) in &sent.0 {
        if *collection != layer.collection || !matches!(held, Held::Record(_)) {
            continue;
        }
        let track = tx.track(*collection, id)?;
        if track.is_some_and(|track| !track.deleted || track.generation > since) {
            continue;
        }
        let remove = DeltaChange::Remove {
            global_id: id.clone(),
            removal: Removal::Deleted,
        };
        if visit(remove)?.is_break() {
            break;
        }
    }
    Ok(())
}

/// Which changes: `since < generation <= upto`, for a replica that had what there was as of `had`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Range {
    pub(crate) had: Generation,
    pub(crate) since: Generation,
    pub(crate) upto: Generation,
    /// Whether versions that an earlier page of this download may have named are forgotten.
    pub(crate) is_forgotten: bool,
}

/// Rule (a): the records changed in the range, each with its generation.
pub(crate) fn changed(
    tx: &dyn ReadTx,
    layer: &ReplicaLayer,
    range: &Range,
    sent: &Sent,
    visit: &mut dyn FnMut(Generation, DeltaChange) -> Result<Flow>,
) -> Result<()> {
    let filter_then = layer.filter_at(range.had);
    let query = ChangeQuery {
        collection: layer.collection,
        since: range.since,
        upto: range.upto,
        filter: layer.filter_now(),
        filter_then,
    };
    // Whether the parent matched back then is not told by the record's own history, and on a later page the store
    // answers for that page alone: where in doubt, rather tell one removal too many.
    let doubtful = looks_at_a_parent(filter_then) || range.had != range.since;
    tx.changes(&query, &mut |mut change| {
        if doubtful && !change.matches && !change.matched {
            change.matched = may_be_held(tx, layer, &change.global_id, range)?;
        }
        match as_told(tx, layer, change, sent)? {
            Some((generation, told)) => visit(generation, told),
            None => Ok(Flow::Continue(())),
        }
    })
}

/// Whether a record existed at any time from where the download began, before its present version: a page may have
/// told of it. A touch leaves no version, so the one as of the page's own beginning is looked up too.
fn may_be_held(
    tx: &dyn ReadTx,
    layer: &ReplicaLayer,
    id: &GlobalId,
    range: &Range,
) -> Result<bool> {
    let collection = layer.collection;
    for at in [range.had, range.since] {
        if at > Generation::ZERO && tx.record_as_of(collection, id, at)?.is_some() {
            return Ok(true);
        }
    }
    let history = tx.history(collection, id)?;
    let mut versions = history.iter();
    Ok(range.is_forgotten || versions.any(|version| version.track.generation > range.had))
}

/// Rule (b): older records that match exactly one of the filter as of the cursor and the present one. A scan.
pub(crate) fn entered_or_left(
    tx: &dyn ReadTx,
    layer: &ReplicaLayer,
    since: Generation,
    sent: &Sent,
    visit: &mut dyn FnMut(DeltaChange) -> Result<Flow>,
) -> Result<()> {
    let (then, now) = (layer.filter_at(since), layer.filter_now());
    if then == now || since == Generation::ZERO {
        return Ok(());
    }
    let query = ChangeQuery {
        collection: layer.collection,
        since,
        upto: since,
        filter: now,
        filter_then: then,
    };
    tx.membership(
        &query,
        &mut |change| match as_told(tx, layer, change, sent)? {
            Some((_, told)) => visit(told),
            None => Ok(Flow::Continue(())),
        },
    )
}

fn as_told(
    tx: &dyn ReadTx,
    layer: &ReplicaLayer,
    change: Change,
    sent: &Sent,
) -> Result<Option<(Generation, DeltaChange)>> {
    let Change {
        global_id,
        track,
        record,
        matches,
        matched,
    } = change;
    let collection = layer.collection;
    let echo = sent.is_exactly(collection, &global_id, record.as_ref());
    let told = match record {
        Some(record) if matches => {
            if echo {
                return Ok(None);
            }
            let version = Versioned { record, track };
            // What its sender added comes back (stamped, merged) as a newer version of a row that it has.
            let holds = sent
                .get(collection, &global_id)
                .is_some_and(|held| *held != Held::Nothing);
            if matched || holds {
                DeltaChange::Update(version)
            } else {
                DeltaChange::Add(version)
            }
        }
        record => {
            if echo && record.is_none() {
                return Ok(None);
            }
            // What this request sent, its sender has: it must be told that it lies outside.
            if !matched && sent.get(collection, &global_id).is_none() {
                return Ok(None);
            }
            let removal = if record.is_none() {
                Removal::Deleted
            } else if tx.matches(collection, &global_id, &layer.filter)? {
                Removal::Revoked
            } else {
                Removal::Left
            };
            DeltaChange::Remove { global_id, removal }
        }
    };
    Ok(Some((track.generation, told)))
}

pub(crate) fn looks_at_a_parent(filter: &Filter) -> bool {
    match filter {
        Filter::ParentMatches { .. } => true,
        Filter::And(all) | Filter::Or(all) => all.iter().any(looks_at_a_parent),
        Filter::Not(one) => looks_at_a_parent(one),
        _ => false,
    }
}
