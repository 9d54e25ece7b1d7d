//! Files: pictures and documents that values name.
//!
//! The country gives a file that is sent to it another uid. Devices keep the one that they know: documents of the face name a file by the uid
//! that it got here, the copy by the country's, and [`Names`] stands between them.

use std::collections::BTreeMap;

use bytes::Bytes;
use haversack_model::documents::DocumentRead;
use haversack_model::local::LocalReplica;
use haversack_model::{
    GlobalId, OutboxEntry, Record, ReplicaTx, SyncState, Theirs, Timestamp, Value as Cell,
};
use haversack_sync::states;
use serde::{Deserialize, Serialize};

use super::{Error, House, Result, WHO, name_of};
use crate::face::files::{self, Part};
use crate::face::instance::Instance;
use crate::remote::files::SENT;
use crate::remote::http::FetchedFile;
use crate::remote::layout::{FILES, Layout, Role, Table};
use crate::remote::metadata::content_revision;
use crate::wire::uid;

/// Files that are written in one transaction: devices wait for it.
const AT_ONCE: usize = 4;
/// Topic of the files that the country refused, by their uids.
const REFUSED: &str = "dhis2 uplink refused files";
/// After how long a refused file is first offered again, and at most.
const FIRST_MS: i64 = 3_600_000;
const LONGEST_MS: i64 = 24 * FIRST_MS;

/// Which file of this server is which one of the country's.
#[derive(Debug, Default)]
pub(super) struct Names {
    above: BTreeMap<String, String>,
    /// Several, where the country lost a file and got it once more.
    here: BTreeMap<String, Vec<String>>,
}

impl Names {
    pub(super) fn load(tx: &dyn ReplicaTx) -> Result<Self> {
        let above: BTreeMap<String, String> = tx.notes(SENT)?.into_iter().collect();
        let mut here: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, above) in &above {
            here.entry(above.clone()).or_default().push(name.clone());
        }
        Ok(Self { above, here })
    }
    /// The name that the face has for a file of the country.
    fn kept(
        &self,
        above: &str,
        (instance, face): (&Instance, &dyn DocumentRead),
    ) -> Result<Option<&str>> {
        for name in self.here.get(above).into_iter().flatten() {
            if files::is_kept(instance, face, name)? {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }
    /// Lets a record of the face name files as the copy does.
    pub(super) fn go_up(&self, table: &Table, record: &mut Record) {
        for at in columns(table) {
            let slot = record.values.get_mut(at);
            if let Some(Cell::Text(text)) = slot
                && let Some(name) = self.above.get(text)
            {
                text.clone_from(name);
            }
        }
    }
    /// Lets a record of the copy name files as the face does, where it has them under a name of its own.
    pub(super) fn come_down(
        &self,
        table: &Table,
        record: &mut Record,
        face: (&Instance, &dyn DocumentRead),
    ) -> Result<()> {
        for at in columns(table) {
            let slot = record.values.get_mut(at);
            if let Some(Cell::Text(text)) = slot
                && let Some(name) = self.kept(text, face)?
            {
                name.clone_into(text);
            }
        }
        Ok(())
    }
}

/// Columns whose values may name files.
fn columns(table: &Table) -> impl Iterator<Item = usize> {
    let value = table
        .column("value")
        .filter(|_| table.role == Role::DataValues);
    let values = table.values().iter().map(|(at, _)| *at);
    values.chain(value)
}

/// Puts the files that a record names into the copy, where it does not have them: they are sent before the record is.
pub(super) fn collect(
    instance: &Instance,
    read: &dyn DocumentRead,
    tx: &mut dyn ReplicaTx,
    (layout, table): (&Layout, &Table),
    (record, by): (&Record, &str),
) -> Result<()> {
    let Some(to) = layout.table(FILES) else {
        return Ok(());
    };
    for at in columns(table) {
        let Some(Cell::Text(name)) = record.values.get(at) else {
            continue;
        };
        let id = GlobalId::Text(name.as_str().into());
        let is_known = tx.row(FILES, &id)?.is_some() || tx.entry(FILES, &id)?.is_some();
        if !uid::is_uid(name) || is_known {
            continue;
        }
        let Some(file) = files::load(instance, read, name)? else {
            continue;
        };
        let file = FetchedFile {
            name: file.name,
            content_type: file.kind,
            content: file.content.into(),
        };
        tx.put_row(FILES, &to.of_file(name, &file))?;
        let entry = fresh(tx, id.clone())?;
        tx.store_entry(&entry)?;
        tx.store_note(WHO, &name_of(FILES, &id), Some(by))?;
    }
    Ok(())
}

/// Writes the files of the copy that the face does not have; gives how many.
pub(super) fn install(house: &House, copy: &mut dyn LocalReplica, now: Timestamp) -> Result<usize> {
    let instance = &house.instance;
    let missing = {
        let (read, tx) = (instance.store().read_documents()?, copy.begin()?);
        let names = Names::load(&*tx)?;
        let mut missing = Vec::new();
        for id in tx.confirmed(FILES)? {
            let above = id.to_string();
            let is_here = names.kept(&above, (instance, &*read))?.is_some();
            if !is_here && !files::is_kept(instance, &*read, &above)? {
                missing.push(id);
            }
        }
        missing
    };
    for some in missing.chunks(AT_ONCE) {
        let tx = copy.begin()?;
        let layout = Layout::of(&tx.collections()?);
        let Some(table) = layout.table(FILES) else {
            return Ok(0);
        };
        let mut face = instance.store().write_documents(now)?;
        for id in some {
            let Some(row) = tx.row(FILES, id)? else {
                continue;
            };
            let content = match table.cell(&row, "content") {
                Some(Cell::Blob(content)) => Bytes::from(content.clone()),
                _ => continue,
            };
            let file = Part {
                name: table.text(&row, "name"),
                kind: table.text(&row, "content_type"),
                content,
            };
            let named = (id.to_string(), "DATA_VALUE");
            files::keep(
                instance,
                face.as_mut(),
                (&named.0, named.1),
                &file,
                ("", now),
            )?;
        }
        face.commit()?;
    }
    Ok(missing.len())
}

/// When a file that the country refused is offered again.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Refused {
    /// How often it was.
    times: u32,
    /// When it is due.
    again_at: Timestamp,
    /// A sum of what names it.
    named_by: u64,
}

impl Refused {
    fn load(tx: &dyn ReplicaTx, uid: &str) -> Result<Option<Self>> {
        let text = tx.note(REFUSED, uid)?;
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
    }
    /// Hours double from one to a day.
    fn pause_ms(times: u32) -> i64 {
        LONGEST_MS.min(FIRST_MS << times.saturating_sub(1).min(16))
    }
}

/// Makes files that were refused pending again, each after a while that doubles, or when what names it was edited since.
pub(super) fn offer_again(tx: &mut dyn ReplicaTx, now: Timestamp) -> Result<()> {
    let entries = tx.entries()?;
    let refused = tx.notes(REFUSED)?;
    if refused.is_empty() {
        return Ok(());
    }
    let named_by = named_by(tx, &entries)?;
    for (uid, _) in refused {
        let id = GlobalId::Text(uid.as_str().into());
        let entry = tx.entry(FILES, &id)?;
        let Some(mut entry) = entry.filter(|entry| entry.state == SyncState::Error) else {
            if tx.entry(FILES, &id)?.is_none() {
                tx.store_note(REFUSED, &uid, None)?;
            }
            continue;
        };
        let is_due = Refused::load(tx, &uid)?.is_none_or(|known| {
            // A clock that was put back makes nothing wait for longer than that.
            let left = known.again_at.0.saturating_sub(now.0);
            let named_by = named_by.get(&uid).copied().unwrap_or_default();
            !(1..=LONGEST_MS).contains(&left) || named_by != known.named_by
        });
        if is_due {
            entry.state = states::pending(entry.base.is_some());
            tx.store_entry(&entry)?;
        }
    }
    Ok(())
}

/// Notes when files that were refused now are due.
pub(super) fn note_refused(
    tx: &mut dyn ReplicaTx,
    refused: &[(String, String)],
    now: Timestamp,
) -> Result<()> {
    if refused.is_empty() {
        return Ok(());
    }
    let named_by = named_by(tx, &tx.entries()?)?;
    for (uid, _) in refused {
        let id = GlobalId::Text(uid.as_str().into());
        let entry = tx.entry(FILES, &id)?;
        // Others were in nobody's way, and are offered with each round.
        if entry.is_none_or(|entry| entry.state != SyncState::Error) {
            continue;
        }
        let times = Refused::load(tx, uid)?.map_or(0, |known| known.times) + 1;
        let next = Refused {
            times,
            again_at: Timestamp(now.0.saturating_add(Refused::pause_ms(times))),
            named_by: named_by.get(uid).copied().unwrap_or_default(),
        };
        let text = serde_json::to_string(&next)
            .map_err(|error| Error::Face(format!("a note cannot be written: {error}")))?;
        tx.store_note(REFUSED, uid, Some(&text))?;
    }
    Ok(())
}

/// When a refused file is offered again.
pub(super) fn again_at(tx: &dyn ReplicaTx, uid: &str) -> Result<Option<Timestamp>> {
    Ok(Refused::load(tx, uid)?.map(|known| known.again_at))
}

/// A sum of the edited records that name a file, by the files.
fn named_by(tx: &dyn ReplicaTx, entries: &[OutboxEntry]) -> Result<BTreeMap<String, u64>> {
    let layout = Layout::of(&tx.collections()?);
    let mut found = BTreeMap::new();
    for entry in entries {
        let Some(table) = layout.table(entry.collection) else {
            continue;
        };
        let Some(row) = tx.row(table.id(), &entry.global_id)? else {
            continue;
        };
        for at in columns(table) {
            if let Some(Cell::Text(text)) = row.values.get(at) {
                let sum: &mut u64 = found.entry(text.clone()).or_default();
                *sum = sum.wrapping_add(content_revision(&row).0);
            }
        }
    }
    Ok(found)
}

/// Has the files sent again that a record names: the country lost both.
pub(super) fn send_again(tx: &mut dyn ReplicaTx, table: &Table, id: &GlobalId) -> Result<()> {
    let Some(row) = tx.row(table.id(), id)? else {
        return Ok(());
    };
    for at in columns(table) {
        let Some(Cell::Text(name)) = row.values.get(at) else {
            continue;
        };
        let file = GlobalId::Text(name.as_str().into());
        if !uid::is_uid(name) || tx.row(FILES, &file)?.is_none() {
            continue;
        }
        if tx.entry(FILES, &file)?.is_none() {
            tx.store_version(FILES, &file, None)?;
            let entry = fresh(tx, file)?;
            tx.store_entry(&entry)?;
        }
    }
    Ok(())
}

/// A file that the country does not have.
fn fresh(tx: &mut dyn ReplicaTx, id: GlobalId) -> Result<OutboxEntry> {
    Ok(OutboxEntry {
        collection: FILES,
        global_id: id,
        edit_no: tx.next_edit_no()?,
        state: SyncState::ToPost,
        deleted: false,
        base: None,
        theirs: Theirs::Unchanged,
        batch: None,
        frozen_no: None,
        sent: None,
        reason: None,
    })
}

/// Forgets files that the country refused and nothing names any more.
pub(super) fn tidy(tx: &mut dyn ReplicaTx) -> Result<()> {
    let entries = tx.entries()?;
    let is_refused =
        |entry: &&OutboxEntry| entry.collection == FILES && entry.state == SyncState::Error;
    let refused: Vec<&OutboxEntry> = entries.iter().filter(is_refused).collect();
    if refused.is_empty() {
        return Ok(());
    }
    let named = named_by(tx, &entries)?;
    for entry in refused {
        if !named.contains_key(&entry.global_id.to_string()) {
            tx.remove_row(FILES, &entry.global_id)?;
            tx.remove_entry(FILES, &entry.global_id)?;
        }
    }
    Ok(())
}
