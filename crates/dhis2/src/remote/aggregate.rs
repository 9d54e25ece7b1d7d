//! Aggregate data in a copy: rows that people add find the uid that follows from what they are about.
//!
//! Whoever adds a row of data values in QGIS gives it no uid, and cannot know whether the server has a value for the same element,
//! period and unit. Before each download and each upload such a row takes its place: it is an edit of the value that is there, or a new one.

use std::collections::BTreeSet;

use haversack_model::{Collection, GlobalId, OutboxEntry, ReplicaTx, Result, SyncState, Theirs};

use super::layout::{AggregateKey, Layout, Role, Table};

/// Gives rows that were added by people the uids of what they are about. Where such a value is under way already, it is a later edit of it.
///
/// # Errors
/// Those of the file.
pub fn settle(tx: &mut dyn ReplicaTx, collections: &[Collection]) -> Result<()> {
    let layout = Layout::of(collections);
    let mut combo = None;
    for entry in tx.entries()? {
        let Some(table) = layout
            .table(entry.collection)
            .filter(|table| is_ours(table))
        else {
            continue;
        };
        // What the server has confirmed has its place.
        if entry.base.is_some() || entry.batch.is_some() || entry.deleted {
            continue;
        }
        if combo.is_none() {
            combo = Some(default_combo(tx, &layout)?);
        }
        let Some(row) = tx.row(table.id(), &entry.global_id)? else {
            continue;
        };
        let key = table.aggregate_key(&row, combo.as_ref().and_then(Option::as_deref));
        let is_there = entry.global_id == GlobalId::Text(key.uid().into());
        // One that lacks something is refused when it is sent.
        if !is_there && key.missing(table).is_none() {
            take_place(tx, table, &entry, &key)?;
        }
    }
    Ok(())
}

fn is_ours(table: &Table) -> bool {
    matches!(table.role, Role::DataValues | Role::Completions)
}

/// Moves a row to the uid of its key. The edit that was made last counts.
fn take_place(
    tx: &mut dyn ReplicaTx,
    table: &Table,
    from: &OutboxEntry,
    key: &AggregateKey,
) -> Result<()> {
    let Some(row) = tx.row(table.id(), &from.global_id)? else {
        return Ok(());
    };
    let record = table.under_key(&row, key);
    let there = tx.entry(table.id(), &record.global_id)?;
    let mut entry = match there {
        Some(there) => there,
        None => OutboxEntry {
            base: match tx.version(table.id(), &record.global_id)? {
                Some(version) => tx
                    .row(table.id(), &record.global_id)?
                    .map(|base| (base, version)),
                None => None,
            },
            theirs: Theirs::Unchanged,
            global_id: record.global_id.clone(),
            edit_no: 0,
            ..from.clone()
        },
    };
    tx.remove_entry(table.id(), &from.global_id)?;
    tx.remove_row(table.id(), &from.global_id)?;
    if from.edit_no < entry.edit_no && !entry.deleted {
        return Ok(());
    }
    entry.edit_no = entry.edit_no.max(from.edit_no);
    entry.deleted = false;
    entry.reason = None;
    entry.state = if entry.base.is_some() {
        SyncState::ToUpdate
    } else {
        SyncState::ToPost
    };
    let is_same = entry.base.as_ref().is_some_and(|(base, _)| {
        base.same_content(&record) && entry.theirs == Theirs::Unchanged && entry.batch.is_none()
    });
    if is_same {
        tx.remove_entry(table.id(), &record.global_id)?;
        if let Some((base, _)) = &entry.base {
            tx.put_row(table.id(), base)?;
        }
        return Ok(());
    }
    tx.put_row(table.id(), &record)?;
    tx.store_entry(&entry)
}

/// The combination of what has no categories.
fn default_combo(tx: &dyn ReplicaTx, layout: &Layout) -> Result<Option<String>> {
    let Some(combos) = layout.metadata("categoryOptionCombos") else {
        return Ok(None);
    };
    let mut found = BTreeSet::new();
    for id in tx.confirmed(combos.id())? {
        let row = tx.row(combos.id(), &id)?;
        if row.is_some_and(|row| combos.text(&row, "name") == "default") {
            found.insert(id.to_string());
        }
    }
    Ok(found.pop_first())
}
