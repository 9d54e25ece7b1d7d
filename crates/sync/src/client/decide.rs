//! Decisions of people: how a conflict is closed, edits given up, refused edits tried again.

use haversack_model::local::Removal;
use haversack_model::{
    Collection, CollectionId, Conflict, ConflictId, Error, GlobalId, OutboxEntry, Record,
    ReplicaTx, Resolution, Result, RowVersion, SyncState, Theirs, Timestamp, Winner,
};

use super::Choice;
use super::freeze::install_theirs;
use crate::decision::decide_for;
use crate::merge::{take_fields, widen};
use crate::states::{self, Event, Step};

/// Closes a conflict. Where the choice is not what is stored, it becomes a new local edit, sent with the next sync.
///
/// # Errors
/// [`Error::Invalid`] if there is no such conflict, it is closed, or an edited record has another id.
pub fn resolve(
    tx: &mut dyn ReplicaTx,
    conflict: ConflictId,
    choice: Choice,
    user: &str,
    now: Timestamp,
) -> Result<()> {
    let invalid = |problem: &str| Error::Invalid {
        what: format!("conflict {conflict}"),
        problem: problem.to_owned(),
    };
    let mut found = tx
        .conflict(conflict)?
        .ok_or_else(|| invalid("there is none of this id"))?;
    if found.resolution.is_some() {
        return Err(invalid("it was decided already"));
    }
    let (kept, wanted) = match choice {
        Choice::Mine => ("mine", found.mine.clone()),
        Choice::Theirs => ("theirs", found.theirs.clone()),
        Choice::Base => match &found.base {
            Some(base) => ("base", Some(base.clone())),
            None => return Err(invalid("the version that both started from is not known")),
        },
        Choice::Edited(record) if record.global_id == found.global_id => ("edited", Some(record)),
        Choice::Edited(_) => return Err(invalid("the edited record has another global id")),
    };
    let stands = match found.winner {
        Winner::Mine => kept == "mine",
        Winner::Theirs => kept == "theirs",
        Winner::Merged => false,
    };
    if !stands {
        edit_to(tx, &found, wanted, kept == "edited")?;
    }
    found.resolution = Some(Resolution {
        told: false,
        kept: kept.to_owned(),
        user: user.to_owned(),
        at: now,
    });
    tx.store_conflict(&found)
}

/// Makes a version the local one, as if someone had edited the row to it.
fn edit_to(
    tx: &mut dyn ReplicaTx,
    conflict: &Conflict,
    wanted: Option<Record>,
    is_edited: bool,
) -> Result<()> {
    let (collection, id) = (conflict.collection, &conflict.global_id);
    let collections = tx.collections()?;
    let shape = collections
        .iter()
        .find(|shape| shape.id == collection)
        .ok_or(Error::NoCollection(collection))?;
    let entry = tx.entry(collection, id)?;
    let row = match (tx.row(collection, id)?, &entry) {
        // It is outside of this part.
        (None, None) => standing(shape, conflict),
        (row, _) => row,
    };
    let wanted = wanted.map(|mut chosen| {
        // The version may be of an older shape.
        widen(&mut chosen, shape);
        match &row {
            Some(row) => decide_for(shape, conflict, row, &chosen, is_edited),
            None => chosen,
        }
    });
    // A row that was made here anew may be deleted already without the server's being told of.
    let is_unasked = |entry: &OutboxEntry| entry.deleted && entry.base.is_none();
    let is_same = match (&row, &wanted) {
        (Some(row), Some(wanted)) => row.same_content(wanted),
        (None, None) => !entry.as_ref().is_some_and(is_unasked),
        _ => false,
    };
    if is_same {
        return Ok(());
    }
    let mut entry = match entry {
        Some(entry) => entry,
        None => new_entry(tx, conflict, row)?,
    };
    match &wanted {
        Some(record) => tx.put_row(collection, record)?,
        None => tx.remove_row(collection, id)?,
    }
    if wanted.is_none() && entry.base.is_none() {
        base_on_servers(&mut entry, standing(shape, conflict));
    }
    entry.deleted = wanted.is_none();
    entry.edit_no = tx.next_edit_no()?;
    entry.state = states::pending(entry.base.is_some());
    entry.reason = None;
    tx.store_entry(&entry)
}

/// Brought back by both sides, or made here anew while the server's record lies outside of this part: the one to delete is the
/// server's. As long as nobody knows what became of an add, the deletion is of what was sent.
fn base_on_servers(entry: &mut OutboxEntry, standing: Option<Record>) {
    match (&entry.theirs, standing) {
        (Theirs::Row { record, version }, _) => {
            entry.base = Some((record.clone(), *version));
            entry.theirs = Theirs::Unchanged;
        }
        (Theirs::Unchanged | Theirs::Removed(Removal::Left | Removal::Revoked), Some(record))
            if entry.batch.is_none() && entry.sent.is_none() =>
        {
            entry.base = Some((record, RowVersion::UNKNOWN));
            entry.theirs = Theirs::Removed(Removal::Left);
        }
        _ => {}
    }
}

/// What the server had after the conflict.
fn standing(shape: &Collection, conflict: &Conflict) -> Option<Record> {
    let (mine, theirs) = (&conflict.mine, &conflict.theirs);
    let mut stands = match conflict.winner {
        Winner::Mine => mine.clone()?,
        Winner::Theirs => theirs.clone()?,
        Winner::Merged => {
            let mut merged = mine.clone()?;
            take_fields(shape, &conflict.fields, theirs.as_ref()?, &mut merged);
            merged
        }
    };
    widen(&mut stands, shape);
    Some(stands)
}

fn new_entry(tx: &dyn ReplicaTx, conflict: &Conflict, row: Option<Record>) -> Result<OutboxEntry> {
    let version = tx.version(conflict.collection, &conflict.global_id)?;
    let (base, theirs) = match (row, version) {
        (Some(row), Some(version)) => (Some((row, version)), Theirs::Unchanged),
        (Some(row), None) => {
            let base = (row, RowVersion::UNKNOWN);
            (Some(base), Theirs::Removed(Removal::Left))
        }
        // Who decides for a deleted record has seen the deletion and means to bring it back.
        (None, _) => (None, Theirs::Removed(Removal::Deleted)),
    };
    Ok(OutboxEntry {
        collection: conflict.collection,
        global_id: conflict.global_id.clone(),
        edit_no: 0,
        state: SyncState::ToUpdate,
        deleted: false,
        base,
        theirs,
        batch: None,
        frozen_no: None,
        sent: None,
        reason: None,
    })
}

/// Gives up the local edits of a record: the newest known version of the server is installed.
///
/// # Errors
/// [`Error::Invalid`] if the record is in a batch without an answer, or has no edits.
pub fn discard(tx: &mut dyn ReplicaTx, collection: CollectionId, id: &GlobalId) -> Result<()> {
    let invalid = |problem: &str| Error::Invalid {
        what: format!("record {id}"),
        problem: problem.to_owned(),
    };
    let entry = tx
        .entry(collection, id)?
        .ok_or_else(|| invalid("it has no edits to give up"))?;
    if entry.batch.is_some() {
        return Err(invalid(
            "its edit is under way to the server; synchronise first",
        ));
    }
    install_theirs(tx, &entry)
}

/// Makes refused edits, and those that were accepted with a warning, pending again; gives how many. What was warned of the server may
/// not have stored: its base is doubted, and all of it is told again, whatever came from the server since.
pub fn retry(tx: &mut dyn ReplicaTx) -> Result<usize> {
    let mut count = 0;
    for mut entry in tx.entries()? {
        if !matches!(entry.state, SyncState::Error | SyncState::Warning)
            || states::step(Event::Retry, Some(entry.state)) != Step::Pending
        {
            continue;
        }
        if let (SyncState::Warning, Some((record, version))) = (entry.state, &mut entry.base) {
            entry.sent = Some(Some(record.clone()));
            *version = RowVersion::UNKNOWN;
        }
        entry.state = states::pending(entry.base.is_some());
        tx.store_entry(&entry)?;
        count += 1;
    }
    Ok(count)
}
