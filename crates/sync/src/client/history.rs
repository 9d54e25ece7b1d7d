//! When the past cannot be continued: full resync, a new history of the server, a new identity of the file.

use std::collections::BTreeMap;

use haversack_model::edit::Base;
use haversack_model::local::ReplicaHeader;
use haversack_model::remote::Renewed;
use haversack_model::{
    BatchNumber, Changes, Collection, CollectionId, Cursor, Edit, Generation, GlobalId, HistoryId,
    OutboxEntry, Record, ReplicaTx, Result, Revision, RowVersion, Theirs,
};

use super::decisions::tell_again;
use super::freeze::thaw;
use crate::merge::widen;
use crate::states;

/// Starts a full resync: everything is compared anew. Unsent edits and their bases stay; rows that the server does
/// not name any more go at its end. What has not been named yet has the generation zero.
pub fn start_resync(tx: &mut dyn ReplicaTx, history: HistoryId) -> Result<()> {
    let mut header = tx.header()?;
    let is_new = header.cursor.history != history;
    let unsee = |version: &mut RowVersion| {
        version.generation = Generation::ZERO;
        if is_new {
            // The new history may have given the number to another content.
            version.revision = Revision(0);
        }
    };
    for collection in tx.collections()? {
        for id in tx.confirmed(collection.id)? {
            if let Some(mut version) = tx.version(collection.id, &id)? {
                unsee(&mut version);
                tx.store_version(collection.id, &id, Some(version))?;
            }
        }
    }
    for mut entry in tx.entries()? {
        if let Some((_, version)) = &mut entry.base {
            unsee(version);
        }
        if let Theirs::Row { version, .. } = &mut entry.theirs {
            unsee(version);
        }
        tx.store_entry(&entry)?;
    }
    header.cursor = Cursor::bare(history, Generation::ZERO);
    header.layer_cursors.clear();
    header.download = None;
    header.ahead.clear();
    header.resyncing = true;
    tx.store_header(&header)
}

/// Takes the new identity of a file that was cloned or rewound, which answers the request with the header `asked`: edits
/// keep their bases and are frozen again, from batch 1.
///
/// An answer to what the file is no more is dropped: `false`. It has got another identity since, or has downloaded under its
/// old one, and what the new one is known to hold would be told by the filters of back then.
pub fn renewed(tx: &mut dyn ReplicaTx, asked: &ReplicaHeader, renewed: Renewed) -> Result<bool> {
    let header = tx.header()?;
    if header.id != asked.id || header.cursor != asked.cursor || header.download != asked.download {
        return Ok(false);
    }
    if !renewed.continues {
        doubt_theirs(tx)?;
    }
    thaw(tx)?;
    let mut header = tx.header()?;
    header.id = renewed.id;
    header.next_batch = BatchNumber(1);
    if let Some(sealed) = renewed.cursor.filter(|cursor| *cursor == header.cursor) {
        header.cursor = sealed;
    }
    let history = header.cursor.history;
    tx.store_header(&header)?;
    if !renewed.continues {
        start_resync(tx, history)?;
    }
    Ok(true)
}

/// Follows the server into a new history: first everything that was sent above the fork is pending again, deletions
/// included; then a full resync begins, which alone removes rows.
///
/// Whether the new history has a batch without an answer is not known. It is sent again as well, on the bases that it had:
/// what arrived is equal, or, where others have changed it since, a conflict.
pub fn start_new_history(
    tx: &mut dyn ReplicaTx,
    history: HistoryId,
    fork: Generation,
) -> Result<()> {
    forget_theirs(tx, fork)?;
    thaw(tx)?;
    tell_again(tx)?;
    let mut lost: BTreeMap<(CollectionId, GlobalId), Vec<Edit>> = BTreeMap::new();
    for (collection, edit) in tx.receipts_above(fork)? {
        if matches!(&edit, Edit::Update { mine, .. } if mine.is_empty()) {
            // It had no effect.
            continue;
        }
        let key = (collection, edit.global_id().clone());
        lost.entry(key).or_default().push(edit);
    }
    for ((collection, id), edits) in lost {
        requeue(tx, collection, id, &edits)?;
    }
    // A later history counts its generations from the same fork: there they would seem to be of it.
    tx.remove_receipts_above(fork)?;
    start_resync(tx, history)
}

/// What was seen in a history that is no more is no proof that something arrived; nor is what was seen before a resync,
/// at a generation that nobody knows any more.
fn forget_theirs(tx: &mut dyn ReplicaTx, fork: Generation) -> Result<()> {
    let is_lost = |seen: Generation| seen > fork || seen == Generation::ZERO;
    for mut entry in tx.entries()? {
        if matches!(&entry.theirs, Theirs::Row { version, .. } if is_lost(version.generation)) {
            entry.theirs = Theirs::Unchanged;
            // Whoever sent it to the lost history may bring it into the new one, so that deleting it must be told.
            entry.frozen_no.get_or_insert(0);
            tx.store_entry(&entry)?;
        }
    }
    Ok(())
}

/// A server that forgot the replica was perhaps put back to before what it showed.
fn doubt_theirs(tx: &mut dyn ReplicaTx) -> Result<()> {
    for mut entry in tx.entries()? {
        if let Theirs::Row { version, .. } = &mut entry.theirs {
            *version = RowVersion::UNKNOWN;
            tx.store_entry(&entry)?;
        }
    }
    Ok(())
}

/// Makes the edits of one record, which the server forgot, pending again.
fn requeue(
    tx: &mut dyn ReplicaTx,
    collection: CollectionId,
    id: GlobalId,
    edits: &[Edit],
) -> Result<()> {
    let Some(first) = edits.first() else {
        return Ok(());
    };
    let base = match first {
        Edit::Add { .. } => None,
        Edit::Update { base, .. } | Edit::Delete { base, .. } => base.as_ref(),
    };
    // Without a base all of the record is from here, also where the first to be told was that a refused add is gone.
    let added = edits.iter().find_map(|edit| match edit {
        Edit::Add { record, .. } => Some(record),
        _ => None,
    });
    let added = added.filter(|_| base.is_none());
    let sent = replay(edits);
    let row = tx.row(collection, &id)?;
    let shape = tx.collections()?.into_iter().find(|c| c.id == collection);
    // It was sent before columns were added.
    let wide = |mut record: Record| {
        if let Some(shape) = &shape {
            widen(&mut record, shape);
        }
        record
    };
    if let Some(entry) = tx.entry(collection, &id)? {
        let was_added = added.is_some();
        return requeue_edited(tx, entry, was_added, base, sent.as_ref(), shape.as_ref());
    }
    let (base, mine) = match (row, sent) {
        // Deleted last; if it is back, others brought it back after that.
        (Some(_), None) => return Ok(()),
        (None, None) if matches!(first, Edit::Add { .. }) => return Ok(()),
        (None, None) => (base.map(|base| wide(record_of(&id, base))), None),
        (row, Some(sent)) => {
            let known = match (added, row, base) {
                // What others have set in a column that was added since is theirs.
                (Some(record), _, _) => wide(record.clone()),
                (None, Some(row), _) => row,
                (None, None, Some(base)) => wide(record_of(&id, base)),
                // Nothing of it is here or was kept: there is nothing to send again.
                (None, None, None) => return Ok(()),
            };
            let mut mine = known.clone();
            sent.apply_to(&mut mine);
            let base = base.map(|base| {
                let mut record = known;
                restrict(&base.content, &sent, shape.as_ref()).apply_to(&mut record);
                record
            });
            (base, Some(mine))
        }
    };
    if base.is_none() {
        // The new history never had it: the end of the resync must not take it for deleted there.
        tx.store_version(collection, &id, None)?;
    }
    let is_new = base.is_none();
    let revision = first_revision(first);
    let base = base.map(|record| {
        let version = RowVersion {
            revision,
            generation: Generation::ZERO,
        };
        (record, version)
    });
    match &mine {
        Some(mine) => tx.put_row(collection, mine)?,
        None => tx.remove_row(collection, &id)?,
    }
    let entry = OutboxEntry {
        collection,
        global_id: id,
        edit_no: tx.next_edit_no()?,
        state: states::pending(base.is_some()),
        deleted: mine.is_none(),
        base,
        theirs: Theirs::Unchanged,
        batch: None,
        // The new history may have it from others all the same, so that deleting it must be told.
        frozen_no: is_new.then_some(0),
        sent: added.is_some().then(|| mine.clone()),
        reason: None,
    };
    tx.store_entry(&entry)
}

/// The record has later local edits: they stay, on a base that goes back to before what was lost. What others have set since
/// over what was lost is theirs, and not sent in their place.
fn requeue_edited(
    tx: &mut dyn ReplicaTx,
    mut entry: OutboxEntry,
    was_added: bool,
    base: Option<&Base>,
    sent: Option<&Changes>,
    shape: Option<&Collection>,
) -> Result<()> {
    // What was sent last, and has no receipt, may stand for the base: then it is here, and no one else's.
    let stands =
        |known: &Record| matches!(&entry.sent, Some(Some(sent)) if sent.same_content(known));
    if let (Some((known, _)), Some(sent)) = (&entry.base, sent)
        && !stands(known)
        && let Some(mut mine) = tx.row(entry.collection, &entry.global_id)?
    {
        let since = Changes::between(known, &mine);
        let mut again = sent.clone();
        again.values.retain(|at, _| !since.values.contains_key(at));
        again.geometry = again.geometry.filter(|_| since.geometry.is_none());
        again.apply_to(&mut mine);
        tx.put_row(entry.collection, &mine)?;
    }
    if was_added && entry.deleted {
        // Others may have brought the record into the new history: the deletion is to be told.
    } else if was_added {
        entry.base = None;
        // The new history may have it from others all the same, so that deleting it must be told.
        entry.frozen_no.get_or_insert(0);
        tx.store_version(entry.collection, &entry.global_id, None)?;
    } else if let (Some((record, version)), Some(base)) = (&mut entry.base, base) {
        match sent {
            Some(sent) => restrict(&base.content, sent, shape).apply_to(record),
            None => base.content.apply_to(record),
        }
        version.revision = base.revision;
        version.generation = Generation::ZERO;
    }
    // Seen in a history that is no more.
    entry.theirs = Theirs::Unchanged;
    if entry.state != haversack_model::SyncState::Error {
        entry.state = states::pending(entry.base.is_some());
    }
    tx.store_entry(&entry)
}

/// What all edits together set; `None` if the last one deletes.
fn replay(edits: &[Edit]) -> Option<Changes> {
    let mut sent = Some(Changes::default());
    for edit in edits {
        sent = match edit {
            Edit::Delete { .. } => None,
            Edit::Add { record, .. } => Some(crate::merge::whole(record)),
            Edit::Update { mine, .. } => {
                let mut all = sent.unwrap_or_default();
                all.values.extend(mine.values.clone());
                if mine.geometry.is_some() {
                    all.geometry.clone_from(&mine.geometry);
                }
                Some(all)
            }
        };
    }
    sent
}

/// Of the values of a base those that were set over it. Columns that were added since had their default in it.
fn restrict(base: &Changes, to: &Changes, shape: Option<&Collection>) -> Changes {
    let mut values = base.clone();
    values.values.retain(|at, _| to.values.contains_key(at));
    for (at, field) in shape
        .iter()
        .flat_map(|shape| shape.fields.iter().enumerate())
    {
        if to.values.contains_key(&at) && !values.values.contains_key(&at) {
            values.values.insert(at, field.default.clone());
        }
    }
    if to.geometry.is_none() {
        values.geometry = None;
    }
    values
}

fn first_revision(edit: &Edit) -> Revision {
    match edit {
        Edit::Add { .. } => Revision(0),
        Edit::Update { base, .. } | Edit::Delete { base, .. } => {
            base.as_ref().map_or(Revision(0), |base| base.revision)
        }
    }
}

/// A record from a base that holds all of it.
fn record_of(id: &GlobalId, base: &Base) -> Record {
    Record {
        global_id: id.clone(),
        object_id: None,
        values: base.content.values.values().cloned().collect(),
        geometry: base.content.geometry.clone().flatten(),
    }
}
