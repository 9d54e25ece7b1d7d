//! Uploads: a frozen batch goes to the importer of the server's version, and each edit gets its receipt.
//!
//! Owns: the order of requests, jobs that are followed and found again, what the whole says of each edit. Does not own: states,
//! the outbox and batches (the sync core), what a record looks like on the wire ([`layout`](super::layout)).
//!
//! **Repeats.** The id of a job is kept in the copy before it is asked for. A batch whose answer is missing is pushed again as it was:
//! jobs that are known are asked first, the rest is sent again, which an importer that creates and updates takes without harm.
//! **Payloads that cannot be read** are halved until the object is found that spoils them: one bad record never blocks the others.
//! Rule source: DESIGN 5, `spec/dhis2.md` 6 and 7.

mod collect;
mod conflicts;
mod glass;
mod job;
pub mod outcome;
mod plan;
mod send;
mod uploader;
mod values;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use haversack_model::local::{FrozenBatch, LocalReplica, ReplicaHeader};
use haversack_model::remote::BatchReply;
use haversack_model::{
    CollectionId, Edit, Generation, GlobalId, Outcome, Receipt, Record, RejectCode, ReplicaTx,
    Revision, RowVersion, Timestamp,
};
use serde_json::Value;

pub use conflicts::{StoredConflict, stored_conflicts};
pub use outcome::ImportConflict;
pub use uploader::Uploader;

use super::error::Result;
use super::http::{Answer, Http};
use super::layout::{FILES, Layout};
use crate::wire::version::{Api, Version};
use collect::{Collected, Copy, Doubted, collect};
use outcome::{Fate, Told};
use send::Sender;

/// Topic of the records of which the server may have an earlier state, though none was confirmed. Where one was sent and nobody knows
/// what became of it, the note holds it: what is deleted here since can be told by nothing else.
const DOUBTED: &str = "dhis2 doubted";
/// Notes that a batch is on its way, by its number.
const SENT: &str = "dhis2 sent";
/// Topic of the reasons for which glass was broken: `<tracked entity>/<program>`.
pub const GLASS: &str = "dhis2 glass";

/// Revision of what the server confirmed without telling of it.
const UPLOADED: Revision = Revision(1);

type Key = (CollectionId, GlobalId);

/// How requests get to a server.
pub trait Courier {
    /// Asks for a document.
    fn ask(&self, path: &str, params: &[(&str, &str)]) -> Result<Value>;
    /// Asks without parameters.
    fn get(&self, path: &str) -> Result<Value> {
        self.ask(path, &[])
    }
    /// Sends a document.
    fn post(&self, path: &str, params: &[(&str, &str)], body: Option<&Value>) -> Result<Answer>;
    /// Changes something by its parameters.
    fn put(&self, path: &str, params: &[(&str, &str)]) -> Result<Answer>;
    /// Deletes something.
    fn delete(&self, path: &str, params: &[(&str, &str)]) -> Result<Answer>;
}

impl Courier for Http {
    fn ask(&self, path: &str, params: &[(&str, &str)]) -> Result<Value> {
        Self::get(self, path, params)
    }
    fn post(&self, path: &str, params: &[(&str, &str)], body: Option<&Value>) -> Result<Answer> {
        Self::post(self, path, params, body)
    }
    fn put(&self, path: &str, params: &[(&str, &str)]) -> Result<Answer> {
        Self::put(self, path, params, None)
    }
    fn delete(&self, path: &str, params: &[(&str, &str)]) -> Result<Answer> {
        Self::delete(self, path, params)
    }
}

/// Time, as an upload needs it.
pub trait Pace: std::fmt::Debug + Send {
    /// Lets so much time pass.
    fn wait(&mut self, how_long: Duration);
    /// The wall clock.
    fn now(&self) -> Timestamp;
}

/// The computer's own time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock;

impl Pace for Clock {
    fn wait(&mut self, how_long: Duration) {
        std::thread::sleep(how_long);
    }
    fn now(&self) -> Timestamp {
        Timestamp(jiff::Timestamp::now().as_millisecond())
    }
}

/// Which importer of which server is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Importer {
    /// The server's version.
    pub version: Version,
    /// Which of its two APIs takes uploads.
    pub api: Api,
}

/// Readies a copy for an upload, before its edits are frozen: rows of aggregate data take their places.
///
/// # Errors
/// Those of the copy.
pub fn prepare(tx: &mut dyn ReplicaTx) -> haversack_model::Result<()> {
    let collections = tx.collections()?;
    super::aggregate::settle(tx, &collections)
}

/// Sends a batch and waits for what became of it. [`prepare`] comes before the batch is frozen.
///
/// # Errors
/// Whatever leaves open what became of the batch: it stays frozen, and is pushed again.
pub fn push(
    courier: &dyn Courier,
    importer: Importer,
    file: &mut dyn LocalReplica,
    pace: &mut dyn Pace,
    header: &ReplicaHeader,
    batch: &FrozenBatch,
) -> Result<BatchReply> {
    let (layout, mut collected, pieces, seen) = {
        let tx = file.begin()?;
        let layout = Layout::of(&tx.collections()?);
        let copy = Frozen::of(&*tx, batch)?;
        let mut collected = collect(&layout, &batch.edits, &copy)?;
        let pieces = pieces(&layout, &mut collected, batch, &copy)?;
        (layout, collected, pieces, copy.seen)
    };
    let was_lost = begin(file, batch)?;
    let mut sender = Sender::new(courier, importer, file, pace, (header.id, batch.number));
    let told = sender.send_all(&collected.items)?;
    let told_of_pieces = values::send_all(courier, importer.version, &pieces)?;
    let now = pace.now();
    for (piece, told) in pieces.iter().zip(&told_of_pieces) {
        collected.decided.insert(piece.at, told.fate.clone());
    }
    let fates = fates(batch, &collected, &told);
    let mut tx = file.begin()?;
    conflicts::store(&mut *tx, &layout, &collected, &told, now)?;
    conflicts::store_of_values(&mut *tx, &layout, &pieces, &told_of_pieces, now)?;
    for ((collection, edit), fate) in batch.edits.iter().zip(&fates) {
        doubt(&mut *tx, *collection, edit, fate, was_lost)?;
    }
    tx.store_note(SENT, &batch.number.to_string(), None)?;
    tx.commit()?;
    Ok(reply(header, batch, fates, &seen))
}

/// Notes that a batch is on its way. Whether it was before: then nobody knows what became of that.
fn begin(file: &mut dyn LocalReplica, batch: &FrozenBatch) -> haversack_model::Result<bool> {
    let name = batch.number.to_string();
    let mut tx = file.begin()?;
    let was_lost = tx.note(SENT, &name)?.is_some();
    if !was_lost {
        tx.store_note(SENT, &name, Some(""))?;
        tx.commit()?;
    }
    Ok(was_lost)
}

/// Remembers of what was not stored whether the server may have it all the same: then the next upload tells all of it.
fn doubt(
    tx: &mut dyn ReplicaTx,
    collection: CollectionId,
    edit: &Edit,
    fate: &Fate,
    was_lost: bool,
) -> haversack_model::Result<()> {
    let id = edit.global_id();
    let name = doubted(collection, id);
    match edit {
        Edit::Add { .. } | Edit::Delete { .. } if fate.is_stored() => {
            tx.store_note(DOUBTED, &name, None)
        }
        Edit::Add { record, .. } if was_lost => {
            let sent = serde_json::to_string(record).unwrap_or_default();
            tx.store_note(DOUBTED, &name, Some(&sent))
        }
        Edit::Add { .. } if matches!(fate, Fate::Waits(_)) => {
            let known = tx.note(DOUBTED, &name)?.unwrap_or_default();
            tx.store_note(DOUBTED, &name, Some(&known))
        }
        // The base of one that waits is doubted by whoever reads the reply.
        Edit::Update { .. } if was_lost && !fate.is_stored() => {
            let Some(mut entry) = tx.entry(collection, id)? else {
                return Ok(());
            };
            if let Some((_, version)) = &mut entry.base {
                *version = RowVersion::UNKNOWN;
            }
            tx.store_entry(&entry)
        }
        Edit::Add { .. } | Edit::Update { .. } | Edit::Delete { .. } => Ok(()),
    }
}

/// The edits of aggregate data.
fn pieces(
    layout: &Layout,
    collected: &mut Collected,
    batch: &FrozenBatch,
    copy: &Frozen<'_>,
) -> haversack_model::Result<Vec<values::Piece>> {
    let edits = batch.edits.iter().enumerate();
    let mut edits = edits
        .filter(|(_, (of, _))| values::is_aggregate(layout, *of))
        .peekable();
    if edits.peek().is_none() {
        return Ok(Vec::new());
    }
    let ground = values::Ground::load(copy.tx, layout)?;
    let mut pieces = Vec::new();
    for (at, (of, edit)) in edits {
        let Some(table) = layout.table(*of) else {
            continue;
        };
        match values::piece(&ground, table, at, edit, copy)? {
            Ok(piece) => pieces.push(piece),
            Err(fate) => drop(collected.decided.insert(at, fate)),
        }
    }
    Ok(pieces)
}

/// What became of each edit, in the batch's order.
fn fates(batch: &FrozenBatch, collected: &Collected, told: &BTreeMap<usize, Told>) -> Vec<Fate> {
    let untold = || Fate::Waits("it was not sent".to_owned());
    let mut fates: Vec<Fate> = (0..batch.edits.len())
        .map(|at| collected.decided.get(&at).cloned().unwrap_or_else(untold))
        .collect();
    let mut set = |at: usize, fate: Fate| {
        if let Some(slot) = fates.get_mut(at) {
            *slot = fate;
        }
    };
    for (place, item) in collected.items.iter().enumerate() {
        let Some(told) = told.get(&place) else {
            continue;
        };
        if let Some(at) = item.at {
            set(at, told.fate.clone());
        }
        for note in &item.notes {
            let fate = match &told.fate {
                Fate::Stored | Fate::Warned(_) => Fate::Stored,
                Fate::Refused(..) | Fate::Waits(_) => {
                    Fate::Waits("it waits for what it is about".to_owned())
                }
            };
            set(*note, fate);
        }
    }
    fates
}

/// The dialect has neither versions nor generations: what was stored keeps the place that the record had in what was downloaded.
/// So the next page that names it is news, and one that does not says nothing of it.
fn reply(
    header: &ReplicaHeader,
    batch: &FrozenBatch,
    fates: Vec<Fate>,
    seen: &BTreeMap<Key, Generation>,
) -> BatchReply {
    let version = |key: Key, edit: &Edit, fate: &Fate| {
        let has_row = fate.is_stored() && !matches!(edit, Edit::Delete { .. });
        has_row.then(|| RowVersion {
            revision: UPLOADED,
            generation: seen.get(&key).copied().unwrap_or(Generation::ZERO),
        })
    };
    let edits = batch.edits.iter().zip(fates);
    let receipts = edits.map(|((collection, edit), fate)| Receipt {
        collection: *collection,
        global_id: edit.global_id().clone(),
        version: version((*collection, edit.global_id().clone()), edit, &fate),
        outcome: match fate {
            Fate::Stored => Outcome::Applied,
            Fate::Warned(reason) => Outcome::Warned { reason },
            Fate::Refused(code, reason) => Outcome::Rejected { code, reason },
            Fate::Waits(reason) => Outcome::Rejected {
                code: RejectCode::Untold,
                reason,
            },
        },
        object_id: None,
        after: None,
        left: false,
    });
    BatchReply {
        receipts: receipts.collect(),
        conflicts: Vec::new(),
        generation: header.cursor.generation,
    }
}

fn doubted(collection: CollectionId, id: &GlobalId) -> String {
    format!("{collection}/{id}")
}

/// Records as a batch has them.
struct Frozen<'a> {
    tx: &'a dyn ReplicaTx,
    sent: BTreeMap<Key, Record>,
    /// Generation of the newest version of each record that was downloaded.
    seen: BTreeMap<Key, Generation>,
}

impl<'a> Frozen<'a> {
    fn of(tx: &'a dyn ReplicaTx, batch: &FrozenBatch) -> haversack_model::Result<Self> {
        let mut frozen = Self {
            tx,
            sent: BTreeMap::new(),
            seen: BTreeMap::new(),
        };
        for entry in tx.in_batch(batch.number)? {
            let known = entry.known();
            let key = (entry.collection, entry.global_id);
            if let Some(known) = known {
                frozen.seen.insert(key.clone(), known.generation);
            }
            if let Some(sent) = entry.sent.flatten() {
                frozen.sent.insert(key, sent);
            }
        }
        Ok(frozen)
    }
}

impl Copy for Frozen<'_> {
    fn record(
        &self,
        collection: CollectionId,
        id: &GlobalId,
    ) -> haversack_model::Result<Option<Record>> {
        match self.sent.get(&(collection, id.clone())) {
            Some(record) => Ok(Some(record.clone())),
            None => self.tx.row(collection, id),
        }
    }
    fn is_unsent_file(&self, uid: &str) -> haversack_model::Result<bool> {
        let id = GlobalId::Text(uid.into());
        Ok(self.tx.entry(FILES, &id)?.is_some())
    }
    fn doubted(
        &self,
        collection: CollectionId,
        id: &GlobalId,
    ) -> haversack_model::Result<Option<Doubted>> {
        let note = self.tx.note(DOUBTED, &doubted(collection, id))?;
        // Notes of earlier versions hold nothing.
        Ok(note.map(|note| Doubted {
            sent: serde_json::from_str(&note).ok(),
        }))
    }
}
