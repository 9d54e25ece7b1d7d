//! What a person asks of a replica file: how many rows are in which state, and what was edited.
//!
//! Reading only, in one transaction each: an editor may hold the file, and nothing is settled here. An edit that was taken
//! back is not counted.

use std::collections::BTreeMap;

use haversack_model::local::ReplicaHeader;
use haversack_model::record::Digest;
use haversack_model::{
    BatchNumber, Collection, CollectionId, GlobalId, OutboxEntry, Record, Result, SyncState,
};

use super::fault::{Doing, damaged};
use super::layer::Layer;
use super::outbox::{self, Line, Which};
use super::row::{self, Readable};
use super::{Problem, ReplicaFile};

/// The state of a replica file.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// What the file says of itself; the last sync is in it.
    pub header: ReplicaHeader,
    /// Per collection, attachment collections included, in the order of their numbers.
    pub layers: Vec<LayerStatus>,
    /// Edits that the next sync sends.
    pub pending: u64,
    /// Conflicts that wait for a decision.
    pub open_conflicts: u64,
    /// The batch that the server has not answered, if any.
    pub unanswered_batch: Option<BatchNumber>,
    /// Edits whose state needs a word, oldest first.
    pub troubled: Vec<Troubled>,
    /// Why edits may have been missed; empty if nothing is wrong.
    pub problems: Vec<Problem>,
}

/// The state of one collection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerStatus {
    /// Which.
    pub collection: CollectionId,
    /// Name for people.
    pub name: String,
    /// Name of its table.
    pub table: String,
    /// Rows in the table.
    pub rows: u64,
    /// Edited records per state, but for those of `to_delete`.
    pub states: BTreeMap<SyncState, u64>,
    /// Records deleted here whose deletion was not sent (`TO_DELETE`).
    pub to_delete: u64,
}

/// An edit that was refused, or waits for something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Troubled {
    /// In which collection.
    pub collection: CollectionId,
    /// Which record.
    pub global_id: GlobalId,
    /// Its state.
    pub state: SyncState,
    /// Whether it is a deletion.
    pub deleted: bool,
    /// Why.
    pub reason: String,
}

/// Takes an edit, with its collection and the row as it is in the file.
pub type VisitEdit<'a> = dyn FnMut(&Collection, OutboxEntry, Option<Record>) -> Result<()> + 'a;

/// Whether an edit was taken back. Cheap for all but plain updates, of which base and row are compared.
fn is_reverted(file: &ReplicaFile, layer: &Layer, line: &Line) -> Result<bool> {
    let (true, Some((no, _))) = (line.is_plain_update(), line.base) else {
        return Ok(false);
    };
    let Some(base) = row::load_kept(&file.conn, layer, no)? else {
        return Ok(false);
    };
    Ok(match row::load(&file.conn, layer, &base.global_id)? {
        Some(Readable::Record(mine)) => base.same_content(&mine),
        _ => false,
    })
}

/// Counts of one layer, before its edits are added.
fn layer_status(file: &ReplicaFile, layer: &Layer) -> Result<LayerStatus> {
    let count = format!("SELECT count(*) FROM {}", layer.quoted_table());
    let rows: i64 = file
        .conn
        .query_row(&count, [], |row| row.get(0))
        .doing("counting rows")?;
    Ok(LayerStatus {
        collection: layer.id(),
        name: layer.collection.name.clone(),
        table: layer.table.clone(),
        rows: rows.unsigned_abs(),
        states: BTreeMap::new(),
        to_delete: 0,
    })
}

impl ReplicaFile {
    /// Counts by state, what is pending, the last sync, and what is wrong with the file.
    pub fn status(&self) -> Result<Status> {
        let _moment = self.moment()?;
        let problems = self.problems()?;
        let count = |sql: &str| -> Result<Option<i64>> {
            self.conn
                .query_row(sql, [], |row| row.get(0))
                .doing("reading the status")
        };
        let mut status = Status {
            header: self.header()?,
            layers: Vec::new(),
            pending: 0,
            open_conflicts: count("SELECT count(*) FROM haversack_conflicts WHERE kept IS NULL")?
                .unwrap_or_default()
                .unsigned_abs(),
            unanswered_batch: count("SELECT min(number) FROM haversack_batches")?
                .map(|number| BatchNumber(number.unsigned_abs())),
            troubled: Vec::new(),
            problems,
        };
        for layer in &self.known.layers {
            if !status.problems.iter().any(|p| p.hides(layer)) {
                status.layers.push(layer_status(self, layer)?);
            }
        }
        for line in outbox::lines(&self.conn, Which::All, usize::MAX)? {
            self.count(&mut status, line)?;
        }
        Ok(status)
    }

    fn count(&self, status: &mut Status, line: Line) -> Result<()> {
        let layer = self.layer(line.collection)?;
        let state = outbox::state_of(&line.state)?;
        let Some(counts) = status
            .layers
            .iter_mut()
            .find(|counts| counts.collection == line.collection)
        else {
            return Ok(());
        };
        if is_reverted(self, layer, &line)? {
            return Ok(());
        }
        let is_unsent = matches!(state, SyncState::ToPost | SyncState::ToUpdate);
        status.pending += u64::from(is_unsent || state == SyncState::Uploading);
        if is_unsent && line.deleted {
            counts.to_delete += 1;
        } else {
            *counts.states.entry(state).or_default() += 1;
        }
        if let Some(reason) = line.reason {
            status.troubled.push(Troubled {
                collection: line.collection,
                global_id: layer
                    .collection
                    .parse_id(&line.global_id)
                    .map_err(|why| damaged("haversack_outbox.global_id", why))?,
                state,
                deleted: line.deleted,
                reason,
            });
        }
        Ok(())
    }

    /// Visits every edit that is not settled, oldest first, with the row as it is here: none if it is deleted, or if it
    /// cannot be read; then the entry's reason says why.
    pub fn each_edit(&self, visit: &mut VisitEdit<'_>) -> Result<()> {
        let _moment = self.moment()?;
        for line in outbox::lines(&self.conn, Which::All, usize::MAX)? {
            let layer = self.layer(line.collection)?;
            if is_reverted(self, layer, &line)? {
                continue;
            }
            let mut entry = line.entry(&self.conn, layer)?;
            let mine = match row::load(&self.conn, layer, &entry.global_id)? {
                Some(Readable::Record(record)) => Some(record),
                Some(Readable::No(why)) => {
                    entry.reason = Some(why);
                    None
                }
                None => None,
            };
            visit(&layer.collection, entry, mine)?;
        }
        Ok(())
    }

    /// Holds one moment of the file until it is dropped, so that all reads see the same.
    fn moment(&self) -> Result<rusqlite::Transaction<'_>> {
        self.conn
            .unchecked_transaction()
            .doing("waiting for the file")
    }

    /// Order-independent digest of all rows of a collection, the same that a server computes of equal rows. A row that
    /// cannot be read is an error that names it.
    pub fn digest(&self, collection: CollectionId) -> Result<Digest> {
        let layer = self.layer(collection)?;
        let mut digest = Digest::default();
        row::each(&self.conn, layer, &mut |found| {
            digest.add(row::readable(layer, found)?.content_hash());
            Ok(())
        })?;
        Ok(digest)
    }
}
