//! What importers said is kept in the copy, for people and their programs: one row a sentence, replaced when the object is sent again.

use std::collections::BTreeMap;

use haversack_model::{GlobalId, ReplicaTx, Result, RowVersion, Timestamp};
use sha2::Digest as _;

use super::collect::{Collected, Item};
use super::outcome::{ImportConflict, Told};
use super::values::Piece;
use crate::remote::layout::{IMPORT_CONFLICTS, Layout, Table};
use crate::wire::tracker::Kind;
use crate::wire::{date, uid};

/// A sentence that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredConflict {
    /// What was said about which object.
    pub conflict: ImportConflict,
    /// When it was read, by this computer's clock.
    pub at: String,
}

/// Replaces what is kept of the objects that were sent.
pub(super) fn store(
    tx: &mut dyn ReplicaTx,
    layout: &Layout,
    collected: &Collected,
    told: &BTreeMap<usize, Told>,
    now: Timestamp,
) -> Result<()> {
    let Some(table) = layout.table(IMPORT_CONFLICTS) else {
        return Ok(());
    };
    for (place, item) in collected.items.iter().enumerate() {
        let Some(told) = told.get(&place) else {
            continue;
        };
        drop_from(tx, about(item), told.conflicts.len())?;
        for (no, conflict) in told.conflicts.iter().enumerate() {
            let mut conflict = conflict.clone();
            if conflict.field.is_empty() {
                conflict.field = field(tx, layout, item, &conflict.message)?.unwrap_or_default();
            }
            if conflict.value.is_empty() {
                conflict.value = item.value_of(&conflict.field).unwrap_or_default();
            }
            put(tx, table, &row(about(item), no), &conflict, now)?;
        }
    }
    Ok(())
}

/// As [`store`], for aggregate data.
pub(super) fn store_of_values(
    tx: &mut dyn ReplicaTx,
    layout: &Layout,
    pieces: &[Piece],
    told: &[Told],
    now: Timestamp,
) -> Result<()> {
    let Some(table) = layout.table(IMPORT_CONFLICTS) else {
        return Ok(());
    };
    for (piece, told) in pieces.iter().zip(told) {
        let id = piece.id.to_string();
        let about = (piece.kind(), id.as_str());
        drop_from(tx, about, told.conflicts.len())?;
        for (no, conflict) in told.conflicts.iter().enumerate() {
            put(tx, table, &row(about, no), conflict, now)?;
        }
    }
    Ok(())
}

/// Kind and uid of an object.
fn about(item: &Item) -> (&'static str, &str) {
    let kind = item.sent.kind.map_or("note", Kind::member);
    (kind, &item.sent.uid)
}

/// The attribute or data element that a sentence is about: one that it names, or the only one that was sent of a value type that it names.
/// E1007 tells the type alone.
fn field(
    tx: &dyn ReplicaTx,
    layout: &Layout,
    item: &Item,
    message: &str,
) -> Result<Option<String>> {
    let words: Vec<&str> = message
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .collect();
    let sent = item.fields();
    if let Some(named) = sent.iter().find(|uid| words.contains(uid)) {
        return Ok(Some((*named).to_owned()));
    }
    let mut of_type = Vec::new();
    for uid in sent {
        for metadata in ["trackedEntityAttributes", "dataElements"] {
            let Some(table) = layout.metadata(metadata) else {
                continue;
            };
            let found = tx.row(table.id(), &GlobalId::Text(uid.into()))?;
            let value_type = found.map(|row| table.text(&row, "value_type"));
            if value_type.is_some_and(|of| !of.is_empty() && words.contains(&of.as_str())) {
                of_type.push(uid.to_owned());
            }
        }
    }
    let is_only = of_type.len() == 1;
    Ok(of_type.pop().filter(|_| is_only))
}

fn put(
    tx: &mut dyn ReplicaTx,
    table: &Table,
    id: &GlobalId,
    conflict: &ImportConflict,
    now: Timestamp,
) -> Result<()> {
    let status = if conflict.is_warning {
        "WARNING"
    } else {
        "ERROR"
    };
    let record = table.record(
        &id.to_string(),
        &[
            ("kind", &conflict.kind),
            ("object", &conflict.object),
            ("code", &conflict.code),
            ("field", &conflict.field),
            ("value", &conflict.value),
            ("status", status),
            ("message", &conflict.message),
            ("hint", &conflict.hint),
            ("created_at", &date::format(now)),
        ],
    );
    tx.put_row(IMPORT_CONFLICTS, &record)?;
    // A row with a version is no edit that waits.
    let version = RowVersion {
        generation: RowVersion::UNKNOWN.generation.next(),
        ..RowVersion::UNKNOWN
    };
    tx.store_version(IMPORT_CONFLICTS, id, Some(version))
}

/// Drops the sentences about an object from this one on.
fn drop_from(tx: &mut dyn ReplicaTx, about: (&str, &str), first: usize) -> Result<()> {
    for no in first.. {
        let id = row(about, no);
        if tx.row(IMPORT_CONFLICTS, &id)?.is_none() {
            break;
        }
        tx.remove_row(IMPORT_CONFLICTS, &id)?;
        tx.store_version(IMPORT_CONFLICTS, &id, None)?;
    }
    Ok(())
}

/// Where the n-th sentence about an object is kept.
fn row((kind, uid): (&str, &str), no: usize) -> GlobalId {
    let name = format!("{kind}/{uid}/{no}");
    let digest = sha2::Sha256::digest(name.as_bytes());
    let bits = digest
        .iter()
        .take(16)
        .fold(0, |bits: u128, byte| bits << 8 | u128::from(*byte));
    GlobalId::Text(uid::from_random(bits).into())
}

/// All that is kept, by object.
///
/// # Errors
/// Those of the file.
pub fn stored_conflicts(tx: &dyn ReplicaTx) -> Result<Vec<StoredConflict>> {
    let layout = Layout::of(&tx.collections()?);
    let Some(table) = layout.table(IMPORT_CONFLICTS) else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    for id in tx.confirmed(IMPORT_CONFLICTS)? {
        let Some(record) = tx.row(IMPORT_CONFLICTS, &id)? else {
            continue;
        };
        let text = |column: &str| table.text(&record, column);
        found.push(StoredConflict {
            conflict: ImportConflict {
                kind: text("kind"),
                object: text("object"),
                code: text("code"),
                field: text("field"),
                value: text("value"),
                is_warning: text("status") == "WARNING",
                message: text("message"),
                hint: text("hint"),
            },
            at: text("created_at"),
        });
    }
    found.sort_by(|a, b| {
        let key = |of: &StoredConflict| (of.at.clone(), of.conflict.object.clone());
        key(a).cmp(&key(b))
    });
    Ok(found)
}
