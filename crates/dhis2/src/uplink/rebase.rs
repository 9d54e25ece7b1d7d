//! What waits to be sent is put onto what the country has by now, field by field.
//!
//! The importers of this dialect take whole objects: an edit that was made on an older version would put other fields back. Where both
//! sides changed the same field, what the country had is kept in a conflict.

use haversack_model::{
    ConflictKind, OutboxEntry, Record, ReplicaTx, SyncState, Theirs, Timestamp, Value, Winner,
};
use haversack_sync::states;

use super::edit::{Clash, columns, is_same};
use super::{Result, WHO, name_of};
use crate::remote::layout::{Layout, Table};

/// Rebases all edits that are not under way; gives how many conflicts there were.
pub(super) fn rebase(tx: &mut dyn ReplicaTx, now: Timestamp) -> Result<usize> {
    let layout = Layout::of(&tx.collections()?);
    let mut clashes = 0;
    for entry in tx.entries()? {
        let is_pending = matches!(entry.state, SyncState::ToPost | SyncState::ToUpdate);
        let Some(table) = layout.table(entry.collection) else {
            continue;
        };
        if entry.batch.is_none() && is_pending && matches!(entry.theirs, Theirs::Row { .. }) {
            clashes += usize::from(one(tx, table, entry, now)?);
        }
    }
    Ok(clashes)
}

fn one(
    tx: &mut dyn ReplicaTx,
    table: &Table,
    mut entry: OutboxEntry,
    now: Timestamp,
) -> Result<bool> {
    let Theirs::Row { record, version } = &entry.theirs else {
        return Ok(false);
    };
    let (theirs, version) = (record.clone(), *version);
    let id = entry.global_id.clone();
    let known = entry.base.as_ref().map(|(base, _)| base.clone());
    // Of what was made on both sides all was empty before.
    let base = known.clone().unwrap_or_else(|| Record {
        values: vec![Value::Null; theirs.values.len()],
        geometry: None,
        ..theirs.clone()
    });
    let (mine, fields) = if entry.deleted {
        (None, Vec::new())
    } else {
        let Some(row) = tx.row(table.id(), &id)? else {
            return Ok(false);
        };
        let (mine, fields) = merged(table, &base, &row, &theirs);
        (Some(mine), fields)
    };
    // What the server notes itself is no change.
    let is_clash = !fields.is_empty() || (entry.deleted && !is_same(table, &base, &theirs));
    if is_clash {
        let kind = match (&known, entry.deleted) {
            (_, true) => ConflictKind::DeleteUpdate,
            (Some(_), _) => ConflictKind::UpdateUpdate,
            (None, _) => ConflictKind::AddAdd,
        };
        let by = tx.note(WHO, &name_of(table.id(), &id))?.unwrap_or_default();
        let clash = Clash {
            kind,
            base: known,
            mine: mine.clone(),
            theirs: Some(theirs.clone()),
            fields,
            winner: Winner::Mine,
        };
        clash.store(tx, table, &id, &by, now)?;
    }
    if let Some(mine) = &mine {
        tx.put_row(table.id(), mine)?;
        if mine.same_content(&theirs) {
            tx.confirm(table.id(), &id, version)?;
            tx.remove_entry(table.id(), &id)?;
            return Ok(is_clash);
        }
    }
    entry.base = Some((theirs, version));
    entry.theirs = Theirs::Unchanged;
    entry.state = states::pending(true);
    tx.store_entry(&entry)?;
    Ok(is_clash)
}

/// Theirs with what is changed in mine, and the names of the fields that both changed.
fn merged(table: &Table, base: &Record, mine: &Record, theirs: &Record) -> (Record, Vec<String>) {
    let mut merged = theirs.clone();
    merged.object_id = mine.object_id;
    let mut clashes = Vec::new();
    for at in columns(table) {
        let value = |of: &Record| of.values.get(at).cloned().unwrap_or_default();
        let (was, is, there) = (value(base), value(mine), value(theirs));
        if was == is {
            continue;
        }
        if there != was && there != is {
            clashes.push(table.collection.fields[at].name.clone());
        }
        if let Some(slot) = merged.values.get_mut(at) {
            *slot = is;
        }
    }
    if base.geometry != mine.geometry {
        if theirs.geometry != base.geometry && theirs.geometry != mine.geometry {
            clashes.push("geometry".to_owned());
        }
        merged.geometry.clone_from(&mine.geometry);
    }
    (merged, clashes)
}
