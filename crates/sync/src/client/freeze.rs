//! From the outbox to a numbered batch, and back where the batch is given up.

use std::collections::{BTreeMap, BTreeSet};

use haversack_model::edit::Base;
use haversack_model::local::{FrozenBatch, Removal};
use haversack_model::schema::attachment_field;
use haversack_model::{
    BatchNumber, Changes, Collection, CollectionId, CollectionKind, Direction, Edit, Generation,
    GlobalId, OutboxEntry, Outcome, Receipt, Record, ReplicaTx, Result, Revision, RowVersion,
    SyncState, Theirs, Timestamp, Value,
};

use super::reply::settle_answered;
use super::{MAX_BATCH, WAITS_FOR_PARENT};
use crate::merge::whole;
use crate::states::{self, Event, Step};
use crate::validate::stamped_fields;

type Key = (CollectionId, GlobalId);

/// Freezes the pending edits as the next batch, or gives the unanswered one again. `None`: nothing to send.
///
/// Parents come before their children; children of a refused add wait. Edits without effect leave the outbox.
pub fn freeze(tx: &mut dyn ReplicaTx, now: Timestamp) -> Result<Option<FrozenBatch>> {
    // The batch holds no time: its bytes must be the same whenever it is sent.
    let _ = now;
    freeze_at_most(tx, MAX_BATCH)
}

/// As [`freeze`], with at most so many edits in a new batch.
pub(super) fn freeze_at_most(tx: &mut dyn ReplicaTx, most: usize) -> Result<Option<FrozenBatch>> {
    match tx.unanswered_batch()? {
        Some(batch) => Ok(Some(batch)),
        None => freeze_next(tx, most),
    }
}

/// The batch after one that is under way: the one that a sync which was cut has frozen, or a new one of what is pending. What
/// is under way is not pending.
pub(super) fn freeze_after(
    tx: &mut dyn ReplicaTx,
    under_way: BatchNumber,
    most: usize,
) -> Result<Option<FrozenBatch>> {
    match tx.batch(BatchNumber(under_way.0 + 1))? {
        Some(batch) => Ok(Some(batch)),
        None => freeze_next(tx, most),
    }
}

fn freeze_next(tx: &mut dyn ReplicaTx, most: usize) -> Result<Option<FrozenBatch>> {
    let mut header = tx.header()?;
    if header.direction == Direction::Download {
        return Ok(None);
    }
    let collections: BTreeMap<_, _> = tx.collections()?.into_iter().map(|c| (c.id, c)).collect();
    loop {
        let pending = tx.pending(most)?;
        if pending.is_empty() {
            return Ok(None);
        }
        let number = header.next_batch;
        let mut edits = Vec::new();
        for entry in in_order(tx, &collections, pending, most)? {
            if let Some(edit) = freeze_one(tx, entry, number)? {
                edits.push(edit);
            }
        }
        // What was pending had no effect or waits: there may be more behind it.
        if edits.is_empty() {
            continue;
        }
        let batch = FrozenBatch {
            number,
            edits,
            cursor: header.cursor,
        };
        header.next_batch = BatchNumber(number.0 + 1);
        tx.store_header(&header)?;
        tx.store_batch(&batch)?;
        return Ok(Some(batch));
    }
}

/// The entries with unsent parents before their children. Children of refused parents are set aside.
fn in_order(
    tx: &mut dyn ReplicaTx,
    collections: &BTreeMap<CollectionId, Collection>,
    pending: Vec<OutboxEntry>,
    most: usize,
) -> Result<Vec<OutboxEntry>> {
    let mut ordered = Vec::with_capacity(pending.len());
    let mut placed = BTreeSet::new();
    for entry in pending {
        // A child first meets its line of unsent parents; the eldest goes first.
        let mut line = vec![entry];
        let mut seen = BTreeSet::new();
        let mut waits = false;
        while let Some(youngest) = line.last() {
            let key = (youngest.collection, youngest.global_id.clone());
            if !seen.insert(key.clone()) {
                line.pop();
                break;
            }
            let Some(parent) = unsent_parent(tx, collections, youngest)? else {
                break;
            };
            if parent.state == SyncState::Error {
                waits = true;
                break;
            }
            line.push(parent);
        }
        for entry in line.into_iter().rev() {
            let key = (entry.collection, entry.global_id.clone());
            if waits {
                set_aside(tx, entry)?;
            } else if placed.insert(key) {
                ordered.push(entry);
            }
        }
    }
    // Deletions last: a child may have been given to another parent before the old one, which takes its children
    // along, was deleted. Of those the children first: each meets what others did to it as a conflict.
    ordered.sort_by_key(|entry| {
        let depth = if entry.deleted {
            depth(collections, entry.collection, 0)
        } else {
            0
        };
        (entry.deleted, usize::MAX - depth)
    });
    // Parents that came along may exceed the limit; what is cut off stays pending. A prefix keeps parents first.
    ordered.truncate(most);
    Ok(ordered)
}

/// How many collections up the records of one belong to others. Circles are cut.
fn depth(
    collections: &BTreeMap<CollectionId, Collection>,
    of: CollectionId,
    below: usize,
) -> usize {
    let Some(collection) = collections.get(&of).filter(|_| below < collections.len()) else {
        return 0;
    };
    if let CollectionKind::Attachments { parent } = collection.kind {
        return 1 + depth(collections, parent, below + 1);
    }
    let ends = collection.relationships.iter().filter(|end| !end.is_origin);
    ends.filter(|end| {
        collections.get(&end.related).is_some_and(|origin| {
            let mut others = origin.relationships.iter();
            others.any(|other| other.id == end.id && other.is_origin && other.composite)
        })
    })
    .map(|end| 1 + depth(collections, end.related, below + 1))
    .max()
    .unwrap_or(0)
}

fn set_aside(tx: &mut dyn ReplicaTx, mut entry: OutboxEntry) -> Result<()> {
    if let Step::To(state) = states::step(Event::ParentRejected, Some(entry.state)) {
        entry.state = state;
        entry.reason = Some(WAITS_FOR_PARENT.to_owned());
        tx.store_entry(&entry)?;
    }
    Ok(())
}

/// The outbox entry of a record's parent if that was made here and is not on the server yet.
pub(super) fn unsent_parent(
    tx: &dyn ReplicaTx,
    collections: &BTreeMap<CollectionId, Collection>,
    entry: &OutboxEntry,
) -> Result<Option<OutboxEntry>> {
    if entry.deleted || !has_parents(collections, entry.collection) {
        return Ok(None);
    }
    let Some(row) = tx.row(entry.collection, &entry.global_id)? else {
        return Ok(None);
    };
    for (collection, id) in parents(collections, entry.collection, &row) {
        if let Some(parent) = tx.entry(collection, &id)?
            && parent.base.is_none()
            && parent.batch.is_none()
            && !parent.deleted
        {
            return Ok(Some(parent));
        }
    }
    Ok(None)
}

/// Whether records of a collection can belong to others.
fn has_parents(collections: &BTreeMap<CollectionId, Collection>, of: CollectionId) -> bool {
    collections.get(&of).is_some_and(|collection| {
        matches!(collection.kind, CollectionKind::Attachments { .. })
            || collection.relationships.iter().any(|end| !end.is_origin)
    })
}

/// The records that a record belongs to: an attachment's, and the origins of composite relationships.
pub(super) fn parents(
    collections: &BTreeMap<CollectionId, Collection>,
    of: CollectionId,
    row: &Record,
) -> Vec<Key> {
    let Some(collection) = collections.get(&of) else {
        return Vec::new();
    };
    let id_at = |at: usize, origin: &Collection| match row.values.get(at) {
        Some(Value::Text(text)) => origin.parse_id(text).ok(),
        _ => None,
    };
    if let CollectionKind::Attachments { parent } = collection.kind {
        let origin = collections.get(&parent);
        return origin
            .and_then(|origin| id_at(attachment_field::PARENT, origin))
            .map(|id| (parent, id))
            .into_iter()
            .collect();
    }
    let ends = collection.relationships.iter().filter(|end| !end.is_origin);
    ends.filter_map(|end| {
        let origin = collections.get(&end.related)?;
        let other = origin
            .relationships
            .iter()
            .find(|other| other.id == end.id && other.is_origin && other.composite)?;
        let by_id = other
            .key_field
            .eq_ignore_ascii_case(&origin.global_id_field);
        let at = collection.field_index(&end.key_field)?;
        by_id
            .then(|| id_at(at, origin))
            .flatten()
            .map(|id| (end.related, id))
    })
    .collect()
}

/// The edit that an entry amounts to, with the entry marked as sent. `None`: nothing is to be told.
fn freeze_one(
    tx: &mut dyn ReplicaTx,
    mut entry: OutboxEntry,
    number: BatchNumber,
) -> Result<Option<(CollectionId, Edit)>> {
    let row = if entry.deleted {
        None
    } else {
        tx.row(entry.collection, &entry.global_id)?
    };
    let global_id = entry.global_id.clone();
    let edit = match (&row, &entry.base) {
        (Some(row), None) => Edit::Add {
            record: Record {
                object_id: None,
                ..row.clone()
            },
            undelete: entry.theirs == Theirs::Removed(Removal::Deleted),
        },
        (Some(row), Some((base, version))) => {
            let mut mine = Changes::between(base, row);
            let mut content = whole(base);
            // An add whose answer was lost stands for the base: the server, which shows something else, may never have had it.
            let may_lack = match &entry.theirs {
                Theirs::Unchanged => true,
                Theirs::Row { .. } => {
                    matches!(&entry.sent, Some(Some(sent)) if sent.same_content(base))
                }
                Theirs::Removed(_) => false,
            };
            if *version == RowVersion::UNKNOWN && may_lack {
                // The server may have what was sent before instead of the base.
                mine = whole(row);
                content = Changes::default();
            } else if mine.is_empty() {
                let is_gone = matches!(entry.theirs, Theirs::Removed(_));
                match &entry.sent {
                    // It was sent once, nobody knows with what effect, and then taken back: that is to be told.
                    Some(Some(sent)) if !sent.same_content(row) => {
                        mine = Changes::between(sent, row);
                        content = whole(sent);
                    }
                    // An add that may never have arrived, of a record that is gone: the server is told all of it and keeps
                    // it, if it is news, in a conflict.
                    Some(Some(_)) if *version == RowVersion::UNKNOWN && is_gone => {
                        mine = whole(row);
                        content = Changes::default();
                    }
                    _ => {
                        install_theirs(tx, &entry)?;
                        return Ok(None);
                    }
                }
            }
            // Of a row that is gone there, the server may have nothing to complete the losing version from.
            if !matches!(entry.theirs, Theirs::Removed(_)) {
                content.values.retain(|at, _| mine.values.contains_key(at));
                if mine.geometry.is_none() {
                    content.geometry = None;
                }
            }
            Edit::Update {
                global_id,
                mine,
                base: Some(Base {
                    revision: version.revision,
                    content,
                }),
            }
        }
        (None, Some((base, version))) => Edit::Delete {
            global_id,
            base: Some(Base {
                revision: version.revision,
                content: whole(base),
            }),
        },
        // Never sent, and the server does not have it: it need not hear of it.
        (None, None) if entry.frozen_no.is_none() && !is_there(&entry.theirs) => {
            install_theirs(tx, &entry)?;
            return Ok(None);
        }
        // Never sent as far as this file knows, the server has it from a former life of the file or from a copy of it.
        (None, None) => Edit::Delete {
            global_id,
            base: entry
                .sent
                .as_ref()
                .and_then(Option::as_ref)
                .map(|sent| Base {
                    revision: Revision(0),
                    content: whole(sent),
                }),
        },
    };
    if let Step::To(state) = states::step(Event::Freeze, Some(entry.state)) {
        entry.state = state;
    }
    if entry.base.is_none() && matches!(entry.theirs, Theirs::Removed(_)) {
        // The add has heeded the deletion; what a download tells from now on is news about the add itself.
        entry.theirs = Theirs::Unchanged;
    }
    entry.batch = Some(number);
    entry.frozen_no = Some(entry.edit_no);
    entry.sent = Some(row);
    entry.reason = None;
    let collection = entry.collection;
    tx.store_frozen(&entry)?;
    Ok(Some((collection, edit)))
}

/// Whether the server told of a record that it has, within this replica's filter or outside of it.
fn is_there(theirs: &Theirs) -> bool {
    match theirs {
        Theirs::Row { .. } | Theirs::Removed(Removal::Left | Removal::Revoked) => true,
        Theirs::Unchanged | Theirs::Removed(Removal::Deleted) => false,
    }
}

/// Settles a record without local changes on the newest version that is known of the server.
pub(super) fn install_theirs(tx: &mut dyn ReplicaTx, entry: &OutboxEntry) -> Result<()> {
    let (collection, id) = (entry.collection, &entry.global_id);
    match (&entry.theirs, &entry.base) {
        (Theirs::Row { record, version }, _) => {
            put_confirmed(tx, collection, record, *version)?;
        }
        (Theirs::Removed(_), _) | (Theirs::Unchanged, None) => {
            remove_confirmed(tx, collection, id)?;
        }
        (Theirs::Unchanged, Some((base, version))) => {
            // Pages may have passed it since, which only the table of versions tells.
            let passed = tx.version(collection, id)?;
            let passed = passed.filter(|passed| passed.revision == version.revision);
            put_confirmed(tx, collection, base, passed.unwrap_or(*version))?;
        }
    }
    tx.remove_entry(collection, id)
}

pub(super) fn put_confirmed(
    tx: &mut dyn ReplicaTx,
    collection: CollectionId,
    record: &Record,
    version: RowVersion,
) -> Result<()> {
    tx.put_row(collection, record)?;
    tx.store_version(collection, &record.global_id, Some(version))
}

pub(super) fn remove_confirmed(
    tx: &mut dyn ReplicaTx,
    collection: CollectionId,
    id: &GlobalId,
) -> Result<()> {
    tx.remove_row(collection, id)?;
    tx.store_version(collection, id, None)
}

/// Gives up all unanswered batches; what was answered is settled first. Their edits are pending again, on the bases that they had. Nobody knows whether
/// the server has stored them.
pub fn thaw(tx: &mut dyn ReplicaTx) -> Result<()> {
    let collections = tx.collections()?;
    thaw_each(tx, |tx, entry| {
        let Some(Some(sent)) = &entry.sent else {
            return Ok(());
        };
        match entry.theirs.clone() {
            // What was sent has come back: it did arrive. What was seen before a resync, or by a server that may have been
            // put back since, is no proof of that: it has no generation.
            Theirs::Row { record, version }
                if version.generation != Generation::ZERO
                    && is_stored(&collections, entry.collection, sent, &record) =>
            {
                has_arrived(tx, entry, &record, version)?;
            }
            // Deleted since, or in an earlier life: neither is undone without being asked for.
            Theirs::Removed(_) if entry.base.is_none() => {
                entry.base = Some((sent.clone(), RowVersion::UNKNOWN));
            }
            _ => {}
        }
        Ok(())
    })?;
    Ok(())
}

/// What was sent, and whose answer was not stored, is on the server: it is the base of what was edited since.
pub(super) fn has_arrived(
    tx: &mut dyn ReplicaTx,
    entry: &mut OutboxEntry,
    record: &Record,
    version: RowVersion,
) -> Result<()> {
    let sent = made_here(entry, record.clone());
    keep_seen(tx, entry.collection, &sent, version)?;
    entry.base = Some((record.clone(), version));
    entry.theirs = Theirs::Unchanged;
    entry.sent = None;
    Ok(())
}

/// The edit that an entry with a row amounts to, with all of its base.
pub(super) fn made_here(entry: &OutboxEntry, mine: Record) -> Edit {
    match &entry.base {
        None => Edit::Add {
            record: mine,
            undelete: false,
        },
        Some((base, version)) => Edit::Update {
            global_id: entry.global_id.clone(),
            mine: Changes::between(base, &mine),
            base: Some(Base {
                revision: version.revision,
                content: whole(base),
            }),
        },
    }
}

/// Keeps an edit that a download has shown to be on the server, as the answer to it would have been kept: a server that
/// is put back to before that version forgets it, and it is sent again.
pub(super) fn keep_seen(
    tx: &mut dyn ReplicaTx,
    collection: CollectionId,
    edit: &Edit,
    version: RowVersion,
) -> Result<()> {
    let receipt = Receipt {
        collection,
        global_id: edit.global_id().clone(),
        outcome: Outcome::Applied,
        object_id: None,
        after: None,
        version: (!matches!(edit, Edit::Delete { .. })).then_some(version),
        left: false,
    };
    tx.store_receipt(version.generation, edit, &receipt)
}

/// As [`thaw`], for batches that the server has refused: it did not store them, and their numbers are free.
pub fn thaw_refused(tx: &mut dyn ReplicaTx) -> Result<()> {
    if let Some(first) = thaw_each(tx, |_, _| Ok(()))? {
        let mut header = tx.header()?;
        header.next_batch = first;
        tx.store_header(&header)?;
    }
    Ok(())
}

/// Whether a record is what was sent, but for the stamps that the server puts on it.
pub(super) fn is_stored(
    collections: &[Collection],
    of: CollectionId,
    sent: &Record,
    record: &Record,
) -> bool {
    let mut stamped = sent.clone();
    if let Some(collection) = collections.iter().find(|collection| collection.id == of) {
        for at in stamped_fields(collection) {
            if let (Some(to), Some(from)) = (stamped.values.get_mut(at), record.values.get(at)) {
                to.clone_from(from);
            }
        }
    }
    stamped.same_content(record)
}

/// Gives the number of the first batch.
fn thaw_each(
    tx: &mut dyn ReplicaTx,
    prepare: impl Fn(&mut dyn ReplicaTx, &mut OutboxEntry) -> Result<()>,
) -> Result<Option<BatchNumber>> {
    settle_answered(tx)?;
    let mut first = None;
    while let Some(batch) = tx.unanswered_batch()? {
        for mut entry in tx.in_batch(batch.number)? {
            prepare(tx, &mut entry)?;
            entry.batch = None;
            if states::step(Event::Thaw, Some(entry.state)) == Step::Pending {
                entry.state = states::pending(entry.base.is_some());
            }
            tx.store_entry(&entry)?;
        }
        tx.remove_batch(batch.number)?;
        first.get_or_insert(batch.number);
    }
    Ok(first)
}
