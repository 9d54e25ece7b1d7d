//! A country that was put back to a backup: what it lost is on this server, and is sent again.
//!
//! Everything is fetched anew, whatever is chosen for apps. Before that every record of the copy is held as if somebody had just entered it, so that
//! nothing is overwritten; then each is compared with what came. What the country does not have any more is sent again as something
//! new, with the files that it names. Where it has another version its own stands, since nobody can tell whose is newer, and what was here is kept in a conflict. If pages or
//! data sets failed, nothing of them is taken for lost, and the next round begins again; but not for ever.
//!
//! **Reports.** Values and completions are asked for in all the periods in which there are some. The country tells which of them are deleted: that is another
//! version, which stands. One that the country could not have told of, since no data set has its element any more, is left alone.
//!
//! **Reserved values.** The country may not know any more what it reserved after the backup, and does not say. So the pool is given up and filled anew. What devices
//! have already is theirs; if the country gives it once more, it is not given out here again (`remote::reserved`).
//!
//! That it was put back is seen by its time, and by what changed last of all that this server knows: the tracked entity and the data value are asked for in every round.

use std::collections::BTreeSet;

use haversack_model::local::LocalReplica;
use haversack_model::{
    ConflictKind, GlobalId, OutboxEntry, Record, ReplicaTx, Resolution, RowVersion, SyncState,
    Theirs, Timestamp, Winner,
};

use super::edit::{Clash, is_same};
use super::round::{SERVER_DATE, ends_round};
use super::{OWN, Result, WHO, aggregate, name_of, named};
use crate::remote::copy::{self, CAME};
use crate::remote::layout::{DATA_VALUES, Layout, MARKS, NOTES, Table};
use crate::remote::server::Server;
use crate::remote::{metadata, pull, reserved};
use crate::wire::date;
use crate::wire::period::Period;
use crate::wire::tracker::Kind;

/// Topic of the records that are held.
const HELD: &str = "dhis2 uplink held";

/// Name of what changed last in the country, and when: `<uid> <time>`; of tracked entities, and of data values.
const WITNESSES: [&str; 2] = ["witness", "witness of values"];
/// Name by which a comparison is begun and not ended: how often it was tried.
const COMPARING: &str = "comparing";
/// How often it is tried: a page may fail for ever, and everything is fetched each time.
const MAX_TRIES: u32 = 12;

/// What of a comparison came whole.
#[derive(Debug)]
pub(super) struct CameWhole {
    pub(super) tracker: bool,
    /// Data sets whose values and completions did not come.
    pub(super) failed_sets: BTreeSet<String>,
}

fn is_report(table: &Table) -> bool {
    aggregate::collection_of(table).is_some()
}

/// Whether the country went back: its time is before what it was, or what changed there last did not, or a comparison was begun and not ended.
pub(super) fn is_due(server: &Server, copy: &mut dyn LocalReplica) -> Result<bool> {
    let (known, witnesses) = {
        let tx = copy.begin()?;
        if tx.note(OWN, COMPARING)?.is_some() {
            return Ok(true);
        }
        (tx.note(OWN, SERVER_DATE)?, witnesses(&*tx)?)
    };
    let known = known.and_then(|text| date::parse(&text));
    if known > date::parse(&server.server_date) {
        return Ok(true);
    }
    for witness in witnesses {
        let changed_at = match &witness.value {
            Some((table, row)) => pull::value_changed_at(server, table, row),
            None => pull::changed_at(server, &witness.uid),
        };
        match changed_at {
            Ok(changed_at) if changed_at < witness.at => return Ok(true),
            Err(error) if ends_round(&error) => return Err(error.into()),
            // Another round asks again.
            Ok(_) | Err(_) => {}
        }
    }
    Ok(false)
}

/// What changed last in the country.
struct Witness {
    uid: String,
    at: Option<Timestamp>,
    /// Of a data value, which is asked for by what it is about.
    value: Option<(Table, Record)>,
}

fn witnesses(tx: &dyn ReplicaTx) -> Result<Vec<Witness>> {
    let layout = Layout::of(&tx.collections()?);
    let mut found = Vec::new();
    for name in WITNESSES {
        let note = tx.note(OWN, name)?.unwrap_or_default();
        let Some((uid, at)) = note.split_once(' ') else {
            continue;
        };
        let value = if name == WITNESSES[0] {
            None
        } else {
            let id = GlobalId::Text(uid.into());
            let table = layout.table(DATA_VALUES);
            let row = tx.row(DATA_VALUES, &id)?.zip(table);
            let Some((row, table)) = row else {
                // It is not here any more either.
                continue;
            };
            Some((table.clone(), row))
        };
        found.push(Witness {
            uid: uid.to_owned(),
            at: date::parse(at),
            value,
        });
    }
    Ok(found)
}

/// Looks for the witnesses among what came, which is not in the face yet.
pub(super) fn find_witnesses(tx: &mut dyn ReplicaTx) -> Result<()> {
    let layout = Layout::of(&tx.collections()?);
    let came = tx.notes(CAME)?;
    for name in WITNESSES {
        let is_of = |table: &Table| {
            if name == WITNESSES[0] {
                table.role.kind() == Some(Kind::TrackedEntity)
            } else {
                table.id() == DATA_VALUES
            }
        };
        let known = tx.note(OWN, name)?.unwrap_or_default();
        let at = known.split_once(' ').and_then(|(_, at)| date::parse(at));
        let mut newest = (at, known);
        for (name, _) in &came {
            let found = named(name).and_then(|(of, id)| Some((layout.table(of)?, id)));
            let Some((table, id)) = found.filter(|(table, _)| is_of(table)) else {
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
        tx.store_note(OWN, name, Some(&newest.1))?;
    }
    Ok(())
}

/// Holds every record of the copy on which nothing waits, and forgets up to when the copy had all of it.
pub(super) fn hold(tx: &mut dyn ReplicaTx) -> Result<()> {
    for name in WITNESSES {
        tx.store_note(OWN, name, None)?;
    }
    if tx.note(OWN, COMPARING)?.is_none() {
        reserved::give_up(tx)?;
        tx.store_note(OWN, COMPARING, Some(""))?;
    }
    for id in tx.confirmed(MARKS)? {
        metadata::remove(tx, MARKS, &id)?;
    }
    let layout = Layout::of(&tx.collections()?);
    let is_compared =
        |table: &&Table| table.role.kind().is_some() || table.id() == NOTES || is_report(table);
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

/// The periods of values and completions of which the country did not speak yet.
pub(super) fn untold_periods(tx: &dyn ReplicaTx) -> Result<Vec<String>> {
    let layout = Layout::of(&tx.collections()?);
    let mut periods = BTreeSet::new();
    for (name, _) in tx.notes(HELD)? {
        let found = named(&name).and_then(|(of, id)| Some((layout.table(of)?, id)));
        let Some((table, id)) = found.filter(|(table, _)| is_report(table)) else {
            continue;
        };
        if let Some(entry) = tx.entry(table.id(), &id)?
            && matches!(became(table, &entry), Became::Untold)
            && let Some((base, _)) = &entry.base
        {
            let period = table.text(base, "period");
            if Period::parse(&period).is_some() {
                periods.insert(period);
            }
        }
    }
    Ok(periods.into_iter().collect())
}

/// Compares them with what came; gives how many conflicts there are. If not all came nothing is taken for lost: the next round begins again.
pub(super) fn settle(
    tx: &mut dyn ReplicaTx,
    came_whole: &CameWhole,
    now: Timestamp,
) -> Result<usize> {
    let layout = Layout::of(&tx.collections()?);
    let askable = Askable::load(tx, &layout, came_whole)?;
    let (mut lost, mut clashes) = (BTreeSet::new(), 0);
    for (name, _) in tx.notes(HELD)? {
        let found = named(&name).and_then(|(of, id)| Some((layout.table(of)?, id)));
        if let Some((table, id)) = found
            && let Some(entry) = tx.entry(table.id(), &id)?
        {
            match became(table, &entry) {
                Became::Untold if !askable.has(table, &entry) => {
                    release(tx, table, &entry)?;
                }
                Became::Lost | Became::Untold => {
                    super::files::send_again(tx, table, &entry.global_id)?;
                    send_again(tx, entry)?;
                    lost.insert(name.clone());
                }
                Became::Same => release(tx, table, &entry)?,
                Became::Deleted => {
                    let_go_of_deleted(tx, table, &entry)?;
                    clashes += 1;
                }
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
    let tries = tx.note(OWN, COMPARING)?;
    let tries = tries.and_then(|text| text.parse().ok()).unwrap_or(0) + 1;
    if came_whole.tracker && came_whole.failed_sets.is_empty() {
        tx.store_note(OWN, COMPARING, None)?;
    } else if tries >= MAX_TRIES {
        tracing::warn!(failed = ?came_whole, "not everything could be compared: what did not come is left as it is");
        tx.store_note(OWN, COMPARING, None)?;
    } else {
        tx.store_note(OWN, COMPARING, Some(&tries.to_string()))?;
    }
    tracing::warn!(
        lost = lost.len(),
        conflicts = clashes,
        "the upper server was put back to a backup: what it lost is sent again, where it has another version that one stands"
    );
    Ok(clashes)
}

/// What the country would have told: tracker data, if all came; elements and data sets that came, in units where data is entered.
struct Askable {
    tracker: bool,
    elements: BTreeSet<String>,
    data_sets: BTreeSet<String>,
    units: BTreeSet<String>,
}

impl Askable {
    fn load(tx: &dyn ReplicaTx, layout: &Layout, came_whole: &CameWhole) -> Result<Self> {
        let mut found = Self {
            tracker: came_whole.tracker,
            elements: BTreeSet::new(),
            data_sets: BTreeSet::new(),
            units: BTreeSet::new(),
        };
        let sets = pull::data_sets(tx, layout)?.into_iter();
        for set in sets.filter(|set| !came_whole.failed_sets.contains(&set.id)) {
            let elements = set.elements.split(',').map(str::to_owned);
            found.elements.extend(elements);
            found.data_sets.insert(set.id);
        }
        if let Some(table) = layout.metadata("organisationUnits") {
            for id in tx.confirmed(table.id())? {
                let row = tx.row(table.id(), &id)?;
                if row.is_some_and(|row| table.text(&row, "scope") == "capture") {
                    found.units.insert(id.to_string());
                }
            }
        }
        Ok(found)
    }
    /// Whether a record would have been told.
    fn has(&self, table: &Table, entry: &OutboxEntry) -> bool {
        let Some((base, _)) = entry.base.as_ref().filter(|_| is_report(table)) else {
            return self.tracker;
        };
        let is_known = if table.id() == DATA_VALUES {
            self.elements.contains(&table.text(base, "data_element"))
        } else {
            self.data_sets.contains(&table.text(base, "data_set"))
        };
        is_known
            && self.units.contains(&table.text(base, "org_unit"))
            && Period::parse(&table.text(base, "period")).is_some()
    }
}

/// What became of a held record in the country.
enum Became {
    /// The country did not speak of it.
    Untold,
    /// What it belongs to came without it.
    Lost,
    /// A value or a completion was taken back there.
    Deleted,
    Same,
    Other,
}

fn became(table: &Table, entry: &OutboxEntry) -> Became {
    let Some((base, version)) = &entry.base else {
        return Became::Same;
    };
    match &entry.theirs {
        Theirs::Removed(_) if is_report(table) => Became::Deleted,
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

/// Lets a deletion stand; what was here is in the conflict that came with it. What a device has changed meanwhile stays an edit.
fn let_go_of_deleted(tx: &mut dyn ReplicaTx, table: &Table, entry: &OutboxEntry) -> Result<()> {
    let (collection, id) = (entry.collection, &entry.global_id);
    let base = entry.base.as_ref().map(|(base, _)| base);
    let is_as_held = match (base, tx.row(collection, id)?) {
        (Some(base), Some(row)) => is_same(table, base, &row),
        _ => false,
    };
    if !is_as_held {
        return Ok(());
    }
    for mut conflict in tx.conflicts(true)? {
        let is_of = conflict.collection == collection && conflict.global_id == *id;
        if is_of && conflict.kind == ConflictKind::UpdateDelete {
            conflict.winner = Winner::Theirs;
            "the country was put back to a backup and has it deleted; that stands"
                .clone_into(&mut conflict.reason);
            tx.store_conflict(&conflict)?;
        }
    }
    tx.remove_row(collection, id)?;
    tx.remove_entry(collection, id)?;
    tx.store_version(collection, id, None)?;
    Ok(copy::came(tx, collection, id)?)
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
