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

use super::{House, Result, WHO, name_of};
use crate::face::files::{self, Part};
use crate::face::instance::Instance;
use crate::remote::files::SENT;
use crate::remote::http::FetchedFile;
use crate::remote::layout::{FILES, Layout, Role, Table};
use crate::wire::uid;

/// Files that are written in one transaction: devices wait for it.
const AT_ONCE: usize = 4;

/// Which file of this server is which one of the country's.
#[derive(Debug, Default)]
pub(super) struct Names {
    above: BTreeMap<String, String>,
    here: BTreeMap<String, String>,
}

impl Names {
    pub(super) fn load(tx: &dyn ReplicaTx) -> Result<Self> {
        let above: BTreeMap<String, String> = tx.notes(SENT)?.into_iter().collect();
        let turned = above
            .iter()
            .map(|(here, above)| (above.clone(), here.clone()));
        let here = turned.collect();
        Ok(Self { above, here })
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
        (instance, face): (&Instance, &dyn DocumentRead),
    ) -> Result<()> {
        for at in columns(table) {
            let slot = record.values.get_mut(at);
            if let Some(Cell::Text(text)) = slot
                && let Some(name) = self.here.get(text)
                && files::is_kept(instance, face, name)?
            {
                text.clone_from(name);
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
        let entry = OutboxEntry {
            collection: FILES,
            global_id: id.clone(),
            edit_no: tx.next_edit_no()?,
            state: SyncState::ToPost,
            deleted: false,
            base: None,
            theirs: Theirs::Unchanged,
            batch: None,
            frozen_no: None,
            sent: None,
            reason: None,
        };
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
            let own = names.here.get(&above);
            let is_here = match own {
                Some(own) => files::is_kept(instance, &*read, own)?,
                None => false,
            };
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

/// Forgets files that the country refused and nothing names any more.
pub(super) fn tidy(tx: &mut dyn ReplicaTx) -> Result<()> {
    let entries = tx.entries()?;
    let is_refused =
        |entry: &&OutboxEntry| entry.collection == FILES && entry.state == SyncState::Error;
    let refused: Vec<&OutboxEntry> = entries.iter().filter(is_refused).collect();
    if refused.is_empty() {
        return Ok(());
    }
    let layout = Layout::of(&tx.collections()?);
    let mut named = std::collections::BTreeSet::new();
    for entry in &entries {
        let Some(table) = layout.table(entry.collection) else {
            continue;
        };
        let Some(row) = tx.row(table.id(), &entry.global_id)? else {
            continue;
        };
        for at in columns(table) {
            if let Some(Cell::Text(text)) = row.values.get(at) {
                named.insert(text.clone());
            }
        }
    }
    for entry in refused {
        if !named.contains(&entry.global_id.to_string()) {
            tx.remove_row(FILES, &entry.global_id)?;
            tx.remove_entry(FILES, &entry.global_id)?;
        }
    }
    Ok(())
}
