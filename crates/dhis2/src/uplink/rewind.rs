//! A country that was put back to a backup: what it lost is on this server, and is sent again.
//!
//! Everything is fetched anew. Before that every record of the copy is held as if somebody had just entered it, so that nothing is overwritten;
//! then each is compared with what came. What the country does not have any more is sent again as something new. Where it has
//! another version its own stands, since nobody can tell whose is newer, and what was here is kept in a conflict. Reports are not
//! compared: they are fetched for some periods only.
//!
//! That it was put back is seen by its time, and by the tracked entity that changed last of all that this server knows: it is asked for in every round.

use std::collections::BTreeSet;

use haversack_model::local::LocalReplica;
use haversack_model::{
    ConflictKind, GlobalId, OutboxEntry, ReplicaTx, Resolution, RowVersion, SyncState, Theirs,
    Timestamp, Winner,
};

use super::edit::{Clash, is_same};
use super::round::{SERVER_DATE, ends_round};
use super::{OWN, Result, WHO, name_of, named};
use crate::remote::copy::{self, CAME};
use crate::remote::layout::{Layout, NOTES, Table};
use crate::remote::pull;
use crate::remote::server::Server;
use crate::wire::date;
use crate::wire::tracker::Kind;

/// Topic of the records that are held.
const HELD: &str = "dhis2 uplink held";

/// Name of the tracked entity that changed last in the country, and when: `<uid> <time>`.
const WITNESS: &str = "witness";

/// Whether the country went back: its time is before what it was, or what changed there last did not, or a comparison was begun and not ended.
pub(super) fn is_due(server: &Server, copy: &mut dyn LocalReplica) -> Result<bool> {
    let (known, witness) = {
        let tx = copy.begin()?;
        if !tx.notes(HELD)?.is_empty() {
            return Ok(true);
        }
        (tx.note(OWN, SERVER_DATE)?, tx.note(OWN, WITNESS)?)
    };
    let known = known.and_then(|text| date::parse(&text));
    if known > date::parse(&server.server_date) {
        return Ok(true);
    }
    let Some((uid, at)) = witness.as_deref().and_then(|text| text.split_once(' ')) else {
        return Ok(false);
    };
    match pull::changed_at(server, uid) {
        Ok(changed_at) => Ok(changed_at < date::parse(at)),
        Err(error) if ends_round(&error) => Err(error.into()),
        // Another round asks again.
        Err(_) => Ok(false),
    }
}

/// Looks for the witness among what came, which is not in the face yet.
pub(super) fn find_witness(tx: &mut dyn ReplicaTx) -> Result<()> {
    let layout = Layout::of(&tx.collections()?);
    let known = tx.note(OWN, WITNESS)?.unwrap_or_default();
    let at = known.split_once(' ').and_then(|(_, at)| date::parse(at));
    let mut newest = (at, known);
    for (name, _) in tx.notes(CAME)? {
        let found = named(&name).and_then(|(of, id)| Some((layout.table(of)?, id)));
        let found = found.filter(|(table, _)| table.role.kind() == Some(Kind::TrackedEntity));
        let Some((table, id)) = found else {
            continue;
        };
        if tx.entry(table.id(), &id)?.is_none()
            && let Some(row) = tx.row(table.id(), &id)?
        {
            let text = table.text(&row, "updated_at");
            let at = date::parse(&text);
            if at > newest.0 {
                newest = (at, format!("{id} {text}"));
            }
        }
    }
    Ok(tx.store_note(OWN, WITNESS, Some(&newest.1))?)
}

/// Holds every record of the copy on which nothing waits.
pub(super) fn hold(tx: &mut dyn ReplicaTx) -> Result<()> {
    tx.store_note(OWN, WITNESS, None)?;
    let layout = Layout::of(&tx.collections()?);
    let is_compared = |table: &&Table| table.role.kind().is_some() || table.id() == NOTES;
    for table in layout.tables().filter(is_compared) {
        for id in tx.confirmed(table.id())? {
            let Some(row) = tx.row(table.id(), &id)? else {
                continue;
            };
            // Stubs are fetched one by one, where they are missing.
            if tx.entry(table.id(), &id)?.is_some() || table.flag(&row, "is_stub") {
                continue;
            }
            let entry = OutboxEntry {
                collection: table.id(),
                global_id: id.clone(),
                edit_no: tx.next_edit_no()?,
                state: SyncState::ToUpdate,
                deleted: false,
                base: Some((row, RowVersion::UNKNOWN)),
                theirs: Theirs::Unchanged,
                batch: None,
                frozen_no: None,
                sent: None,
                reason: None,
            };
            tx.store_entry(&entry)?;
            tx.store_note(HELD, &name_of(table.id(), &id), Some(""))?;
        }
    }
    Ok(())
}

/// Compares them with what came; gives how many conflicts there are. If not all came nothing is taken for lost: the next round asks again.
pub(super) fn settle(tx: &mut dyn ReplicaTx, is_whole: bool, now: Timestamp) -> Result<usize> {
    let layout = Layout::of(&tx.collections()?);
    let (mut lost, mut clashes) = (BTreeSet::new(), 0);
    for (name, _) in tx.notes(HELD)? {
        let found = named(&name).and_then(|(of, id)| Some((layout.table(of)?, id)));
        if let Some((table, id)) = found
            && let Some(entry) = tx.entry(table.id(), &id)?
        {
            match became(table, &entry) {
                Became::Untold if !is_whole => release(tx, table, &entry)?,
                Became::Lost | Became::Untold => {
                    send_again(tx, entry)?;
                    lost.insert(name.clone());
                }
                Became::Same => release(tx, table, &entry)?,
                Became::Other => {
                    keep_both(tx, table, &entry, now)?;
                    clashes += 1;
                    release(tx, table, &entry)?;
                }
            }
        }
        tx.store_note(HELD, &name, None)?;
    }
    close(tx, &lost)?;
    tracing::warn!(
        lost = lost.len(),
        conflicts = clashes,
        "the upper server was put back to a backup: what it lost is sent again, where it has another version that one stands"
    );
    Ok(clashes)
}

/// What became of a held record in the country.
enum Became {
    /// The country did not speak of it.
    Untold,
    /// What it belongs to came without it.
    Lost,
    Same,
    Other,
}

fn became(table: &Table, entry: &OutboxEntry) -> Became {
    let Some((base, version)) = &entry.base else {
        return Became::Same;
    };
    match &entry.theirs {
        Theirs::Removed(_) => Became::Lost,
        Theirs::Row { record, .. } if is_same(table, base, record) => Became::Same,
        Theirs::Row { .. } => Became::Other,
        Theirs::Unchanged if *version == RowVersion::UNKNOWN => Became::Untold,
        Theirs::Unchanged => Became::Same,
    }
}

/// As something that the country never had.
fn send_again(tx: &mut dyn ReplicaTx, mut entry: OutboxEntry) -> Result<()> {
    tx.store_version(entry.collection, &entry.global_id, None)?;
    entry.base = None;
    entry.theirs = Theirs::Unchanged;
    entry.state = SyncState::ToPost;
    Ok(tx.store_entry(&entry)?)
}

/// That something was missing is no conflict, if it is sent again.
fn close(tx: &mut dyn ReplicaTx, lost: &BTreeSet<String>) -> Result<()> {
    for mut conflict in tx.conflicts(true)? {
        let name = name_of(conflict.collection, &conflict.global_id);
        if conflict.kind == ConflictKind::UpdateDelete && lost.contains(&name) {
            conflict.resolution = Some(Resolution {
                kept: "mine".to_owned(),
                user: String::new(),
                at: conflict.at,
                told: true,
            });
            tx.store_conflict(&conflict)?;
        }
    }
    Ok(())
}

/// Lets go of a record: it is as the country has it. What a device has changed meanwhile stays an edit.
fn release(tx: &mut dyn ReplicaTx, table: &Table, entry: &OutboxEntry) -> Result<()> {
    let (collection, id) = (entry.collection, &entry.global_id);
    let is_edited = match (&entry.base, tx.row(collection, id)?) {
        (Some((base, _)), Some(row)) => !is_same(table, base, &row),
        _ => true,
    };
    if is_edited {
        return Ok(());
    }
    match (&entry.theirs, &entry.base) {
        (Theirs::Row { record, version }, _) => {
            tx.put_row(collection, record)?;
            tx.confirm(collection, id, *version)?;
            copy::came(tx, collection, id)?;
        }
        (_, Some((_, version))) if *version != RowVersion::UNKNOWN => {
            tx.confirm(collection, id, *version)?;
        }
        _ => {}
    }
    tx.remove_entry(collection, id)?;
    Ok(())
}

fn keep_both(
    tx: &mut dyn ReplicaTx,
    table: &Table,
    entry: &OutboxEntry,
    now: Timestamp,
) -> Result<()> {
    let (Some((base, _)), Theirs::Row { record, .. }) = (&entry.base, &entry.theirs) else {
        return Ok(());
    };
    let id: &GlobalId = &entry.global_id;
    let differs = super::edit::columns(table)
        .filter(|at| base.values.get(*at) != record.values.get(*at))
        .map(|at| table.collection.fields[at].name.clone());
    let clash = Clash {
        kind: ConflictKind::UpdateUpdate,
        base: None,
        mine: Some(base.clone()),
        theirs: Some(record.clone()),
        fields: differs.collect(),
        winner: Winner::Theirs,
    };
    let by = tx.note(WHO, &name_of(table.id(), id))?.unwrap_or_default();
    clash.store(tx, table, id, &by, now)
}
