//! What a person asks of a replica file: how many rows are in which state, and what was edited, field by field.
//!
//! Reading only: an editor may hold the file, and nothing is settled here. An edit that was taken back is not counted.

use std::collections::BTreeMap;

use haversack_model::local::ReplicaHeader;
use haversack_model::record::Digest;
use haversack_model::{
    BatchNumber, CollectionId, Geometry, GlobalId, OutboxEntry, Record, Result, SyncState, Theirs,
    Value,
};

use super::fault::Doing;
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
    /// Edits that are not settled, over all layers.
    pub pending: u64,
    /// Conflicts that wait for a decision.
    pub open_conflicts: u64,
    /// The batch that the server has not answered, if any.
    pub unanswered_batch: Option<BatchNumber>,
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
    /// Rows per state. Deleted ones are not among them.
    pub states: BTreeMap<SyncState, u64>,
    /// Records deleted here that the server has not confirmed (`TO_DELETE`).
    pub to_delete: u64,
}

/// What an edit does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A record made here.
    Add,
    /// A record changed here.
    Update,
    /// A record deleted here.
    Delete,
}

/// One version's value of one field.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// That version of the record does not exist.
    Absent,
    /// An attribute.
    Value(Value),
    /// The geometry.
    Geometry(Option<Geometry>),
}

/// One field in which versions differ.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldDiff {
    /// Name of the field or of the geometry column.
    pub field: String,
    /// Last confirmed by the server.
    pub base: Cell,
    /// Here.
    pub mine: Cell,
    /// The server's since, where the file knows of one; otherwise equal to the base.
    pub theirs: Cell,
}

/// One edited record.
#[derive(Clone, Debug, PartialEq)]
pub struct RowDiff {
    /// In which collection.
    pub collection: CollectionId,
    /// Name of the collection.
    pub layer: String,
    /// Which record.
    pub global_id: GlobalId,
    /// Its state.
    pub state: SyncState,
    /// What the edit does.
    pub operation: Operation,
    /// The fields in which mine or theirs differ from the base. An addition lists all that are not null.
    pub fields: Vec<FieldDiff>,
    /// Why it is in its state, if that needs a word.
    pub reason: Option<String>,
}

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

/// An entry with the row in the table; `None` if it turned out to be no edit.
fn edited(
    file: &ReplicaFile,
    layer: &Layer,
    line: &Line,
) -> Result<Option<(OutboxEntry, Option<Readable>)>> {
    if is_reverted(file, layer, line)? {
        return Ok(None);
    }
    let entry = line.entry(&file.conn, layer)?;
    let mine = row::load(&file.conn, layer, &entry.global_id)?;
    Ok(Some((entry, mine)))
}

/// Counts per state of one layer.
fn layer_status(file: &ReplicaFile, layer: &Layer, lines: &[Line]) -> Result<LayerStatus> {
    let rows: i64 = file
        .conn
        .query_row(
            &format!("SELECT count(*) FROM {}", layer.quoted_table()),
            [],
            |row| row.get(0),
        )
        .doing("counting rows")?;
    let mut states = BTreeMap::new();
    let (mut to_delete, mut unsettled) = (0, 0);
    for line in lines.iter().filter(|line| line.collection == layer.id()) {
        if is_reverted(file, layer, line)? {
            continue;
        }
        if line.deleted {
            to_delete += 1;
        } else {
            *states.entry(outbox::state_of(&line.state)?).or_default() += 1;
            unsettled += 1;
        }
    }
    let settled = (rows as u64).saturating_sub(unsettled);
    if settled > 0 {
        states.insert(SyncState::Synced, settled);
    }
    Ok(LayerStatus {
        collection: layer.id(),
        name: layer.collection.name.clone(),
        table: layer.table.clone(),
        rows: rows as u64,
        states,
        to_delete,
    })
}

impl ReplicaFile {
    /// Counts by state, what is pending, the last sync, and what is wrong with the file.
    pub fn status(&self) -> Result<Status> {
        let problems = self.problems()?;
        let lines = outbox::lines(&self.conn, Which::All, usize::MAX)?;
        let mut layers = Vec::new();
        for layer in &self.known.layers {
            let is_gone = problems.iter().any(|p| p.hides(layer));
            if !is_gone {
                layers.push(layer_status(self, layer, &lines)?);
            }
        }
        let count = |sql: &str| -> Result<Option<i64>> {
            self.conn
                .query_row(sql, [], |row| row.get(0))
                .doing("reading the status")
        };
        let pending = layers
            .iter()
            .map(|layer| {
                let edits = layer
                    .states
                    .iter()
                    .filter(|(s, _)| **s != SyncState::Synced);
                layer.to_delete + edits.map(|(_, n)| n).sum::<u64>()
            })
            .sum();
        Ok(Status {
            header: self.header()?,
            layers,
            pending,
            open_conflicts: count("SELECT count(*) FROM haversack_conflicts WHERE kept IS NULL")?
                .unwrap_or_default() as u64,
            unanswered_batch: count("SELECT min(number) FROM haversack_batches")?
                .map(|number| BatchNumber(number as u64)),
            problems,
        })
    }

    /// Visits every edited record, oldest edit first, with the fields in which its versions differ.
    pub fn diff(&self, visit: &mut dyn FnMut(RowDiff) -> Result<()>) -> Result<()> {
        for line in outbox::lines(&self.conn, Which::All, usize::MAX)? {
            let layer = self.layer(line.collection)?;
            let Some((entry, mine)) = edited(self, layer, &line)? else {
                continue;
            };
            visit(row_diff(layer, entry, mine))?;
        }
        Ok(())
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

fn row_diff(layer: &Layer, entry: OutboxEntry, mine: Option<Readable>) -> RowDiff {
    let (mine, problem) = match mine {
        Some(Readable::Record(record)) => (Some(record), None),
        Some(Readable::No(why)) => (None, Some(why)),
        None => (None, None),
    };
    let base = entry.base.as_ref().map(|(record, _)| record);
    let theirs = match &entry.theirs {
        Theirs::Unchanged => base,
        Theirs::Row { record, .. } => Some(record),
        Theirs::Removed(_) => None,
    };
    let operation = match (entry.deleted, base) {
        (true, _) => Operation::Delete,
        (false, None) => Operation::Add,
        (false, Some(_)) => Operation::Update,
    };
    let mut fields = Vec::new();
    let mut add = |field: &str, cell: &dyn Fn(&Record) -> Cell| {
        let of = |record: Option<&Record>| record.map_or(Cell::Absent, cell);
        let diff = FieldDiff {
            field: field.to_owned(),
            base: of(base),
            mine: of(mine.as_ref()),
            theirs: of(theirs),
        };
        let is_nothing = |cell: &Cell| {
            matches!(
                cell,
                Cell::Absent | Cell::Value(Value::Null) | Cell::Geometry(None)
            )
        };
        let cells = [&diff.base, &diff.mine, &diff.theirs];
        let differ = diff.base != diff.mine || diff.base != diff.theirs;
        if differ && !cells.into_iter().all(is_nothing) {
            fields.push(diff);
        }
    };
    for (at, field) in layer.collection.fields.iter().enumerate() {
        add(&field.name, &|record| {
            Cell::Value(record.values.get(at).cloned().unwrap_or_default())
        });
    }
    if let Some(geometry) = &layer.collection.geometry {
        add(&geometry.name, &|record| {
            Cell::Geometry(record.geometry.clone())
        });
    }
    RowDiff {
        collection: layer.id(),
        layer: layer.collection.name.clone(),
        global_id: entry.global_id,
        state: entry.state,
        operation,
        fields,
        reason: problem.or(entry.reason),
    }
}
