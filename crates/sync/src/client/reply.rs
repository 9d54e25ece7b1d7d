//! The answer to a batch: each receipt settles its edit, or what was edited since is rebased on it.

use std::collections::BTreeMap;

use haversack_model::edit::Base;
use haversack_model::local::{FrozenBatch, Removal, ReplicaHeader};
use haversack_model::remote::BatchReply;
use haversack_model::{
    BatchNumber, Changes, Collection, CollectionId, Conflict, Edit, Error, Generation, OutboxEntry,
    Outcome, Receipt, Record, RejectCode, ReplicaTx, Result, Revision, RowVersion, Theirs,
    Timestamp, Winner,
};

use super::WAITS_FOR_PARENT;
use super::freeze::{parents, put_confirmed, remove_confirmed, unsent_parent};
use crate::merge::{take_fields, whole, widen};
use crate::states::{self, Event, Step};

/// Keeps the answer to a batch, which [`settle_answered`] or [`apply_reply`] settles: the next batch can be sent then, since
/// the server, which remembers its last answer alone, is not asked for this one again.
///
/// # Errors
/// [`Error::Corrupt`] if the answer does not fit the batch.
pub(super) fn keep_answer(
    tx: &mut dyn ReplicaTx,
    batch: &FrozenBatch,
    reply: &BatchReply,
) -> Result<()> {
    check_receipts(batch, reply)?;
    tx.store_answer(batch.number, reply)
}

/// Settles the batches whose answers were kept when a sync was cut; gives those answers.
pub(super) fn settle_answered(tx: &mut dyn ReplicaTx) -> Result<Vec<BatchReply>> {
    let mut settled = Vec::new();
    while let Some((number, reply)) = tx.answered_batch()? {
        let batch = tx.batch(number)?.ok_or_else(|| {
            Error::Corrupt(format!(
                "there is an answer to batch {number}, which is gone"
            ))
        })?;
        settle(tx, &batch, &reply)?;
        settled.push(reply);
    }
    Ok(settled)
}

/// Stores the answer to a batch: gives the outcomes, in the batch's order. An answer to a batch that does not wait
/// for one (a repeat) changes nothing and gives none.
///
/// # Errors
/// [`Error::Corrupt`] if the answer does not fit the batch; nothing is changed then.
pub fn apply_reply(
    tx: &mut dyn ReplicaTx,
    number: BatchNumber,
    reply: &BatchReply,
    now: Timestamp,
) -> Result<Vec<Outcome>> {
    // Times are for display, and the conflicts bring theirs from the server.
    let _ = now;
    let Some(batch) = tx.batch(number)? else {
        return Ok(Vec::new());
    };
    settle(tx, &batch, reply)?;
    let outcomes = reply.receipts.iter().map(|receipt| &receipt.outcome);
    Ok(outcomes.cloned().collect())
}

/// As [`apply_reply`], for a batch that this sync has sent; gives whether it waited for the answer.
pub(super) fn settle_sent(
    tx: &mut dyn ReplicaTx,
    batch: &FrozenBatch,
    reply: &BatchReply,
) -> Result<bool> {
    let waits = tx.has_batch(batch)?;
    if waits {
        settle(tx, batch, reply)?;
    }
    Ok(waits)
}

fn settle(tx: &mut dyn ReplicaTx, batch: &FrozenBatch, reply: &BatchReply) -> Result<()> {
    let number = batch.number;
    check_receipts(batch, reply)?;
    let mut header = tx.header()?;
    let cursor = header.cursor;
    let mut has_more_ahead = false;
    let collections: BTreeMap<_, _> = tx.collections()?.into_iter().map(|c| (c.id, c)).collect();
    for conflict in &reply.conflicts {
        let entry = tx.entry(conflict.collection, &conflict.global_id)?;
        let entry = entry.filter(|entry| entry.batch == Some(number));
        tx.store_conflict(&complete(conflict.clone(), entry.as_ref()))?;
    }
    let mut released = false;
    for ((_, edit), receipt) in batch.edits.iter().zip(&reply.receipts) {
        let Some(mut entry) = tx.entry(receipt.collection, &receipt.global_id)? else {
            continue;
        };
        // A record that was thawed or given up meanwhile does not carry the batch any more.
        if entry.batch != Some(number) {
            continue;
        }
        entry.batch = None;
        if let Outcome::Rejected { code, reason } = &receipt.outcome {
            if *code == RejectCode::Untold {
                send_again(tx, entry, reason)?;
                continue;
            }
            // A child of an add that was refused with it waits until that is mended.
            let waits =
                *code == RejectCode::NoParent && unsent_parent(tx, &collections, &entry)?.is_some();
            reject(tx, entry, if waits { WAITS_FOR_PARENT } else { reason })?;
            continue;
        }
        keep_receipt(tx, reply.generation, edit, receipt, &entry)?;
        released |= matches!(edit, Edit::Add { .. });
        let truth = truth(edit, receipt, &entry, reply.generation);
        let shape = collections.get(&receipt.collection);
        let told = match &receipt.outcome {
            Outcome::Warned { reason } if !edited_again(&entry) => {
                Some((reason, fitted(truth.clone(), shape)))
            }
            _ => None,
        };
        let truth = fitted(newer(truth, &entry, reply.generation, &header), shape);
        let ahead = match &truth {
            Truth::Row(_, known) if known.generation > cursor.generation => Some(*known),
            _ => None,
        };
        let common = match &truth {
            Truth::Row(..) => None,
            Truth::Gone(_) => common(&entry, &receipt.outcome, &reply.conflicts, &collections),
        };
        match told {
            Some((reason, Truth::Row(record, version))) => {
                warned(tx, entry, (record, version), truth, reason)?;
            }
            _ => settle_entry(tx, entry, truth, common)?,
        }
        // Not what was merely sent, and not of a server that knows no versions.
        let after = receipt.after.as_ref().map(|after| after.track.revision);
        let named = receipt.version.map(|version| version.revision).or(after);
        let is_told = named.is_some_and(|revision| revision != Revision(0));
        match ahead {
            // The comparison that is under way has yet to name it.
            Some(_) if header.resyncing => unsee(tx, receipt)?,
            Some(version) if is_told => {
                header.ahead.insert(version);
                has_more_ahead = true;
            }
            _ => {}
        }
    }
    tx.remove_batch(number)?;
    if has_more_ahead {
        tx.store_header(&header)?;
    }
    if released {
        release_children(tx, &collections, batch)?;
    }
    Ok(())
}

fn unsee(tx: &mut dyn ReplicaTx, receipt: &Receipt) -> Result<()> {
    let (collection, id) = (receipt.collection, &receipt.global_id);
    let unseen = tx.version(collection, id)?.map(|version| RowVersion {
        generation: Generation::ZERO,
        ..version
    });
    tx.store_version(collection, id, unseen)?;
    if let Some(mut entry) = tx.entry(collection, id)?
        && let Some((_, version)) = &mut entry.base
    {
        version.generation = Generation::ZERO;
        tx.store_entry(&entry)?;
    }
    Ok(())
}

fn check_receipts(batch: &FrozenBatch, reply: &BatchReply) -> Result<()> {
    let fits = batch.edits.len() == reply.receipts.len()
        && batch
            .edits
            .iter()
            .zip(&reply.receipts)
            .all(|((collection, edit), receipt)| {
                *collection == receipt.collection && *edit.global_id() == receipt.global_id
            });
    if fits {
        Ok(())
    } else {
        Err(Error::Corrupt(format!(
            "the answer to batch {} names other records than the batch",
            batch.number
        )))
    }
}

/// The server tells of the versions what it knows; this side has its own in full.
fn complete(mut conflict: Conflict, entry: Option<&OutboxEntry>) -> Conflict {
    let Some(entry) = entry else {
        return conflict;
    };
    if let Some(Some(sent)) = &entry.sent {
        conflict.mine = Some(sent.clone());
    }
    if let Some((base, _)) = &entry.base {
        conflict.base = Some(base.clone());
    }
    conflict
}

fn took_effect(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Applied | Outcome::Merged | Outcome::Warned { .. } => true,
        Outcome::Conflict { mine_won, .. } => *mine_won,
        Outcome::Rejected { .. } => false,
    }
}

/// Keeps what was sent, with all of its base: after a rewind of the server it is sent again. Of what had no effect it
/// is kept that an answer told of the record.
fn keep_receipt(
    tx: &mut dyn ReplicaTx,
    generation: Generation,
    edit: &Edit,
    receipt: &Receipt,
    entry: &OutboxEntry,
) -> Result<()> {
    if !took_effect(&receipt.outcome) {
        let nothing = Edit::Update {
            global_id: receipt.global_id.clone(),
            mine: Changes::default(),
            base: None,
        };
        return tx.store_receipt(generation, &nothing, receipt);
    }
    let mut edit = edit.clone();
    if let (Edit::Update { base, .. }, Some((record, version))) = (&mut edit, &entry.base) {
        *base = Some(Base {
            revision: version.revision,
            content: whole(record),
        });
    }
    tx.store_receipt(generation, &edit, receipt)
}

fn reject(tx: &mut dyn ReplicaTx, mut entry: OutboxEntry, reason: &str) -> Result<()> {
    // The old base stays. An edit made since is a new attempt.
    entry.state = if edited_again(&entry) {
        states::pending(entry.base.is_some())
    } else {
        match states::step(Event::Rejected, Some(entry.state)) {
            Step::To(state) => state,
            _ => states::pending(entry.base.is_some()),
        }
    };
    entry.sent = None;
    entry.reason = Some(reason.to_owned());
    tx.store_entry(&entry)
}

/// What became of it is not known: the server has the base or what was sent, so the base is doubted and the next upload
/// tells all of it. It goes behind all that waits, so that it does not keep others from being sent.
fn send_again(tx: &mut dyn ReplicaTx, mut entry: OutboxEntry, reason: &str) -> Result<()> {
    if states::step(Event::Untold, Some(entry.state)) == Step::Pending {
        entry.state = states::pending(entry.base.is_some());
    }
    if let Some((_, version)) = &mut entry.base {
        *version = RowVersion::UNKNOWN;
    }
    entry.edit_no = tx.next_edit_no()?;
    entry.reason = Some(reason.to_owned());
    tx.store_entry(&entry)
}

/// The server has it, and said something about it: what is here stays as it is until somebody edits it or gives it up, also
/// where a page that overtook the answer knows better.
fn warned(
    tx: &mut dyn ReplicaTx,
    mut entry: OutboxEntry,
    stored: (Record, RowVersion),
    now: Truth,
    reason: &str,
) -> Result<()> {
    put_confirmed(tx, entry.collection, &stored.0, stored.1)?;
    entry.state = match states::step(Event::Warned, Some(entry.state)) {
        Step::To(state) => state,
        _ => states::pending(true),
    };
    entry.theirs = match now {
        Truth::Row(record, _) if record.same_content(&stored.0) => Theirs::Unchanged,
        Truth::Row(record, version) => Theirs::Row { record, version },
        Truth::Gone(removal) => Theirs::Removed(removal),
    };
    entry.base = Some(stored);
    entry.sent = None;
    entry.reason = Some(reason.to_owned());
    tx.store_entry(&entry)
}

fn edited_again(entry: &OutboxEntry) -> bool {
    entry.frozen_no.is_none_or(|frozen| entry.edit_no > frozen)
}

/// What the server has of a record.
#[derive(Clone)]
enum Truth {
    Row(Record, RowVersion),
    Gone(Removal),
}

fn truth(edit: &Edit, receipt: &Receipt, entry: &OutboxEntry, generation: Generation) -> Truth {
    if receipt.left {
        return Truth::Gone(Removal::Left);
    }
    if let Some(after) = &receipt.after {
        let version = RowVersion {
            revision: after.track.revision,
            generation: after.track.generation,
        };
        return Truth::Row(after.record.clone(), version);
    }
    let lost = matches!(
        receipt.outcome,
        Outcome::Conflict {
            mine_won: false,
            ..
        }
    );
    match (&entry.sent, edit) {
        // The server tells no after-image: it has what was sent.
        (Some(Some(sent)), Edit::Add { .. } | Edit::Update { .. }) if !lost => {
            let known = entry
                .base
                .as_ref()
                .map_or(Revision(0), |(_, version)| version.revision);
            let version = match (receipt.version, edit) {
                // The base was doubted since: the file may lack what the server takes it to have. The next page tells.
                (
                    Some(version),
                    Edit::Update {
                        base: Some(base), ..
                    },
                ) if base.revision != known => RowVersion {
                    revision: Revision(0),
                    ..version
                },
                (Some(version), _) => version,
                (None, _) => RowVersion {
                    revision: known,
                    generation,
                },
            };
            Truth::Row(sent.clone(), version)
        }
        _ => Truth::Gone(Removal::Deleted),
    }
}

/// Columns may have been added since the answer was given, or not be in the file yet: then it holds less than that version.
fn fitted(mut truth: Truth, shape: Option<&Collection>) -> Truth {
    if let (Truth::Row(record, known), Some(shape)) = (&mut truth, shape) {
        widen(record, shape);
        if record.values.len() > shape.fields.len() {
            known.revision = Revision(0);
        }
    }
    truth
}

/// A page that was stored while the answer was under way may know better than the answer.
fn newer(
    truth: Truth,
    entry: &OutboxEntry,
    generation: Generation,
    header: &ReplicaHeader,
) -> Truth {
    let cursor = header.cursor;
    let answered = match &truth {
        Truth::Row(_, known) => known.generation,
        Truth::Gone(_) => generation,
    };
    let seen = entry
        .known()
        .map_or(Generation::ZERO, |known| known.generation);
    match (&entry.theirs, &truth) {
        (Theirs::Row { record, version }, _) if seen > answered => {
            Truth::Row(record.clone(), *version)
        }
        // What others made of it since is what it was before.
        (Theirs::Unchanged, _) if seen > answered => match &entry.base {
            Some((record, version)) => Truth::Row(record.clone(), *version),
            None => truth,
        },
        (Theirs::Removed(removal), Truth::Row(_, known))
            if cursor.generation >= known.generation =>
        {
            Truth::Gone(*removal)
        }
        // Pages passed that version and did not name the record: it had gone again. Where the base is doubted, the file had it
        // all the time, unless everything is being compared.
        (Theirs::Unchanged | Theirs::Row { .. }, Truth::Row(_, known))
            if cursor.generation >= known.generation
                && seen < known.generation
                && (header.resyncing || entry.known() != Some(RowVersion::UNKNOWN)) =>
        {
            Truth::Gone(Removal::Left)
        }
        _ => truth,
    }
}

/// The newest version that both sides know of a record of which the server tells nothing more: what was sent, as far
/// as it was stored, over the base.
fn common(
    entry: &OutboxEntry,
    outcome: &Outcome,
    conflicts: &[Conflict],
    collections: &BTreeMap<CollectionId, Collection>,
) -> Option<(Record, RowVersion)> {
    let base = entry.base.as_ref();
    let sent = entry.sent.clone().flatten().map(|sent| {
        let version = base.map_or(RowVersion::UNKNOWN, |(_, version)| *version);
        (sent, version)
    });
    let Outcome::Conflict {
        conflict,
        mine_won: false,
    } = outcome
    else {
        return sent;
    };
    let merged = conflicts
        .iter()
        .find(|found| found.id == *conflict && found.winner == Winner::Merged);
    match (merged, sent, base, collections.get(&entry.collection)) {
        (Some(merged), Some((mut sent, version)), Some((base, _)), Some(collection)) => {
            take_fields(collection, &merged.fields, base, &mut sent);
            Some((sent, version))
        }
        _ => entry.base.clone(),
    }
}

fn settle_entry(
    tx: &mut dyn ReplicaTx,
    mut entry: OutboxEntry,
    truth: Truth,
    common: Option<(Record, RowVersion)>,
) -> Result<()> {
    let collection = entry.collection;
    let id = entry.global_id.clone();
    let sent = entry.sent.take();
    if !edited_again(&entry) {
        match truth {
            // Not edited since: the row is what was sent.
            Truth::Row(record, version) if matches!(&sent, Some(Some(sent)) if sent.same_content(&record)) =>
            {
                tx.confirm(collection, &id, version)?;
            }
            Truth::Row(record, version) => put_confirmed(tx, collection, &record, version)?,
            Truth::Gone(_) => remove_confirmed(tx, collection, &id)?,
        }
        return tx.remove_entry(collection, &id);
    }
    let mine = if entry.deleted {
        None
    } else {
        tx.row(collection, &id)?
    };
    match (truth, mine) {
        (Truth::Row(server, version), Some(mine)) => {
            // What was sent is the base of what was edited since.
            let rebased = match sent.flatten() {
                Some(sent) => {
                    let mut rebased = server.clone();
                    Changes::between(&sent, &mine).apply_to(&mut rebased);
                    rebased
                }
                None => mine,
            };
            put_confirmed(tx, collection, &rebased, version)?;
            if rebased.same_content(&server) {
                return tx.remove_entry(collection, &id);
            }
            entry.base = Some((server, version));
            entry.theirs = Theirs::Unchanged;
        }
        (Truth::Row(server, version), None) => {
            tx.store_version(collection, &id, Some(version))?;
            entry.base = Some((server, version));
            entry.theirs = Theirs::Unchanged;
        }
        (Truth::Gone(removal), None) => {
            let sent = sent.flatten();
            let is_deleted = removal == Removal::Deleted;
            if sent.is_none() && (is_deleted || common.is_none()) {
                remove_confirmed(tx, collection, &id)?;
                return tx.remove_entry(collection, &id);
            }
            // Deleted here since: that is still to be told where it lives outside of this part, and where what was sent has
            // met a deletion, since whoever decides for it brings it back.
            tx.store_version(collection, &id, None)?;
            entry.base = if is_deleted {
                sent.map(|sent| (sent, RowVersion::UNKNOWN))
            } else {
                common
            };
            entry.theirs = Theirs::Removed(removal);
        }
        (Truth::Gone(removal), Some(_)) => {
            tx.store_version(collection, &id, None)?;
            // Edited since what was sent: the next upload meets a deletion and is a conflict. Made anew after a
            // deletion that was sent: that is meant, and brings the record back.
            entry.base = common;
            entry.theirs = Theirs::Removed(removal);
        }
    }
    entry.state = states::pending(entry.base.is_some());
    entry.reason = None;
    tx.store_entry(&entry)
}

/// Children that waited for a parent of this batch are pending again.
fn release_children(
    tx: &mut dyn ReplicaTx,
    collections: &BTreeMap<CollectionId, Collection>,
    batch: &FrozenBatch,
) -> Result<()> {
    let waiting: Vec<_> = tx
        .entries()?
        .into_iter()
        .filter(|entry| entry.reason.as_deref() == Some(WAITS_FOR_PARENT))
        .collect();
    for mut entry in waiting {
        let Some(row) = tx.row(entry.collection, &entry.global_id)? else {
            continue;
        };
        let parents = parents(collections, entry.collection, &row);
        let is_free = batch.edits.iter().any(|(collection, edit)| {
            parents
                .iter()
                .any(|(of, id)| of == collection && id == edit.global_id())
        });
        if is_free && states::step(Event::Retry, Some(entry.state)) == Step::Pending {
            entry.state = states::pending(entry.base.is_some());
            entry.reason = None;
            tx.store_entry(&entry)?;
        }
    }
    Ok(())
}
