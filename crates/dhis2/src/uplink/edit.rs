//! What a device changed, as an edit in the outbox of the copy.
//!
//! The copy's own row is what the country has, with what waits to be sent. Only fields that the device changed are touched. Where
//! the country had changed such a field, too, a conflict keeps its value.

use haversack_model::local::Removal;
use haversack_model::{
    Conflict, ConflictId, ConflictKind, GlobalId, OutboxEntry, Policy, Record, ReplicaTx,
    RowVersion, SyncState, Theirs, Timestamp, Value, Winner,
};
use haversack_sync::states;
use uuid::Uuid;

use super::{Result, WHO, name_of};
use crate::remote::layout::{Role, Table};

/// Columns that say nothing of what somebody entered.
const KEPT: &[&str] = &[
    "created_at",
    "updated_at",
    "created_at_client",
    "updated_at_client",
    "stored_at",
    "stored_by",
    "assigned_username",
    "is_stub",
    "children",
];

/// A record before and after what a device did.
pub(super) struct Edited<'a> {
    pub(super) before: Option<&'a Record>,
    pub(super) after: Option<&'a Record>,
    /// Who did it.
    pub(super) by: &'a str,
}

/// Positions of the columns that people fill in; the geometry counts as one more.
pub(super) fn columns(table: &Table) -> impl Iterator<Item = usize> {
    let fields = table.collection.fields.iter().enumerate();
    // By which data set a value came is the copy's own.
    let is_value = table.role == Role::DataValues;
    fields
        .filter(move |(_, field)| !(is_value && field.name == "data_set"))
        .filter(|(_, field)| !KEPT.contains(&field.name.as_str()))
        .map(|(at, _)| at)
}

/// Whether two records are the same but for what the program notes itself.
pub(super) fn is_same(table: &Table, a: &Record, b: &Record) -> bool {
    a.geometry == b.geometry && columns(table).all(|at| a.values.get(at) == b.values.get(at))
}

/// Puts it into the outbox; gives whether there was anything to do.
pub(super) fn edit(
    tx: &mut dyn ReplicaTx,
    table: &Table,
    id: &GlobalId,
    told: &Edited<'_>,
    now: Timestamp,
) -> Result<bool> {
    let done = match (told.before, told.after) {
        (_, Some(after)) => put(tx, table, told.before, after, told.by, now)?,
        (Some(_), None) => delete(tx, table, id)?,
        (None, None) => false,
    };
    if done {
        tx.store_note(WHO, &name_of(table.id(), id), Some(told.by))?;
    }
    Ok(done)
}

/// Without a history nobody knows which side is newer: the copy's row stands, and what devices see is kept in a conflict.
pub(super) fn keep_both(
    tx: &mut dyn ReplicaTx,
    table: &Table,
    after: Option<&Record>,
    by: &str,
    now: Timestamp,
) -> Result<()> {
    let Some(after) = after else {
        return Ok(());
    };
    let id = &after.global_id;
    match tx.row(table.id(), id)? {
        Some(row) if !is_same(table, &row, after) => {
            let differs = columns(table).filter(|at| row.values.get(*at) != after.values.get(*at));
            let fields = differs.map(|at| table.collection.fields[at].name.clone());
            let clash = Clash {
                kind: ConflictKind::AddAdd,
                base: None,
                fields: fields.collect(),
                mine: Some(after.clone()),
                theirs: Some(row),
                winner: Winner::Theirs,
            };
            clash.store(tx, table, id, by, now)
        }
        _ => Ok(()),
    }
}

fn put(
    tx: &mut dyn ReplicaTx,
    table: &Table,
    before: Option<&Record>,
    after: &Record,
    by: &str,
    now: Timestamp,
) -> Result<bool> {
    let (collection, id) = (table.id(), &after.global_id);
    let entry = tx.entry(collection, id)?;
    let Some(row) = tx.row(collection, id)? else {
        return add(tx, table, entry, before, after);
    };
    let mut mine = row.clone();
    let mut clashes = Vec::new();
    for at in columns(table) {
        let (was, is, there) = (
            before.and_then(|before| before.values.get(at)),
            after.values.get(at),
            row.values.get(at),
        );
        // What a device left empty in something new takes nothing away.
        let is_left = |value: &&Value| before.is_none() && **value == Value::Null;
        let Some(value) = is.filter(|value| was != is && there != is && !is_left(value)) else {
            continue;
        };
        let is_free = before.is_none() && there == Some(&Value::Null);
        if was != there && !is_free {
            clashes.push(table.collection.fields[at].name.clone());
        }
        if let Some(slot) = mine.values.get_mut(at) {
            slot.clone_from(value);
        }
    }
    let was = before.and_then(|before| before.geometry.as_ref());
    if was != after.geometry.as_ref() && row.geometry != after.geometry {
        if was != row.geometry.as_ref() {
            clashes.push("geometry".to_owned());
        }
        mine.geometry.clone_from(&after.geometry);
    }
    if mine.same_content(&row) {
        return Ok(false);
    }
    if !clashes.is_empty() {
        let conflict = Clash {
            kind: if before.is_some() {
                ConflictKind::UpdateUpdate
            } else {
                ConflictKind::AddAdd
            },
            base: before.cloned(),
            mine: Some(mine.clone()),
            theirs: Some(row.clone()),
            fields: clashes,
            winner: Winner::Mine,
        };
        conflict.store(tx, table, id, by, now)?;
    }
    let mut entry = match entry {
        Some(entry) => entry,
        None => fresh(tx, table, row)?,
    };
    entry.deleted = false;
    tx.put_row(collection, &mine)?;
    pend(tx, entry)
}

/// A record that the copy does not hold: it is new, or the country has removed it meanwhile.
fn add(
    tx: &mut dyn ReplicaTx,
    table: &Table,
    entry: Option<OutboxEntry>,
    before: Option<&Record>,
    after: &Record,
) -> Result<bool> {
    let mut entry = entry.unwrap_or_else(|| OutboxEntry {
        collection: table.id(),
        global_id: after.global_id.clone(),
        edit_no: 0,
        state: SyncState::ToPost,
        deleted: false,
        base: before.map(|before| (before.clone(), RowVersion::UNKNOWN)),
        theirs: if before.is_some() {
            Theirs::Removed(Removal::Deleted)
        } else {
            Theirs::Unchanged
        },
        batch: None,
        frozen_no: None,
        sent: None,
        reason: None,
    });
    entry.deleted = false;
    tx.put_row(table.id(), after)?;
    pend(tx, entry)
}

fn delete(tx: &mut dyn ReplicaTx, table: &Table, id: &GlobalId) -> Result<bool> {
    let collection = table.id();
    let Some(row) = tx.row(collection, id)? else {
        return Ok(false);
    };
    let entry = tx.entry(collection, id)?;
    tx.remove_row(collection, id)?;
    let mut entry = match entry {
        // Nobody above has heard of it.
        Some(entry)
            if entry.base.is_none()
                && entry.frozen_no.is_none()
                && entry.theirs == Theirs::Unchanged =>
        {
            tx.remove_entry(collection, id)?;
            return Ok(true);
        }
        Some(entry) => entry,
        None => fresh(tx, table, row)?,
    };
    entry.deleted = true;
    pend(tx, entry)
}

fn fresh(tx: &dyn ReplicaTx, table: &Table, row: Record) -> Result<OutboxEntry> {
    let version = tx.version(table.id(), &row.global_id)?;
    Ok(OutboxEntry {
        collection: table.id(),
        global_id: row.global_id.clone(),
        edit_no: 0,
        state: SyncState::ToUpdate,
        deleted: false,
        base: Some((row, version.unwrap_or(RowVersion::UNKNOWN))),
        theirs: Theirs::Unchanged,
        batch: None,
        frozen_no: None,
        sent: None,
        reason: None,
    })
}

fn pend(tx: &mut dyn ReplicaTx, mut entry: OutboxEntry) -> Result<bool> {
    entry.edit_no = tx.next_edit_no()?;
    entry.state = states::pending(entry.base.is_some());
    entry.reason = None;
    tx.store_entry(&entry)?;
    Ok(true)
}

/// Two versions that could not both stay. The device's is sent, as this dialect's servers take what comes last.
pub(super) struct Clash {
    pub(super) kind: ConflictKind,
    pub(super) base: Option<Record>,
    pub(super) mine: Option<Record>,
    pub(super) theirs: Option<Record>,
    pub(super) fields: Vec<String>,
    pub(super) winner: Winner,
}

impl Clash {
    pub(super) fn store(
        self,
        tx: &mut dyn ReplicaTx,
        table: &Table,
        id: &GlobalId,
        by: &str,
        now: Timestamp,
    ) -> Result<()> {
        let reason = match self.kind {
            ConflictKind::DeleteUpdate => {
                "it was deleted here and changed above; the deletion is sent".to_owned()
            }
            ConflictKind::AddAdd if self.winner == Winner::Mine => format!(
                "it was made here and above, with other {}; what was entered here is sent",
                self.fields.join(", ")
            ),
            ConflictKind::AddAdd => {
                "it differs here from what was synchronised with the country, and the history that tells which is newer is gone".to_owned()
            }
            _ if self.winner == Winner::Theirs => format!(
                "the country was put back to a backup and has other {}; its version stands",
                self.fields.join(", ")
            ),
            _ => format!(
                "{} was changed here and above; what was entered here is sent",
                self.fields.join(", ")
            ),
        };
        let header = tx.header()?;
        let conflict = Conflict {
            id: ConflictId(Uuid::new_v4()),
            collection: table.id(),
            global_id: id.clone(),
            kind: self.kind,
            base: self.base,
            mine: self.mine,
            theirs: self.theirs,
            fields: self.fields,
            policy: Policy::Client,
            winner: self.winner,
            reason,
            replica: Some(header.id),
            user: by.to_owned(),
            at: now,
            generation: header.cursor.generation,
            resolution: None,
        };
        tracing::warn!(collection = table.collection.name, record = %id, user = by, reason = conflict.reason, "a conflict with the country is kept");
        Ok(tx.store_conflict(&conflict)?)
    }
}
