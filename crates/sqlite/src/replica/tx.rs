//! The transaction through which the sync core reads and writes a replica file.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};

use haversack_model::conflict::Decided;
use haversack_model::local::{FrozenBatch, OutboxEntry, Removal, ReplicaHeader, RowVersion};
use haversack_model::{
    BatchNumber, BlobHash, Collection, CollectionId, Conflict, ConflictId, Cursor, Edit, Envelope,
    Generation, GlobalId, HistoryId, Outcome, Receipt, Record, ReplicaTx, Result, Seal, Theirs,
};
use rusqlite::{Connection, OptionalExtension, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::fault::{Doing, damaged};
use super::layer::Layer;
use super::outbox::{self, Line, Which};
use super::row::Readable;
use super::{Known, attachments, check, find, header, migrate, row, schema_version, shape};

/// How many numbers of the file's counter a transaction takes at a time.
const NUMBERS: i64 = 256;
/// How many lines and rows a transaction remembers: those of a batch, and some.
const REMEMBERED: usize = 4096;

type Key = (CollectionId, GlobalId);

/// An open transaction. Its writes to layers are not captured: a row in `haversack_writer` switches the triggers off, set
/// and taken away within the transaction, so that no crash can leave it and no other program can see it.
#[derive(Debug)]
pub(crate) struct Tx<'a> {
    conn: &'a Connection,
    /// The layers as this transaction sees them.
    layers: Vec<Layer>,
    /// The layers as the file has them, replaced at commit.
    home: &'a mut Known,
    is_open: bool,
    /// Whether the triggers are switched off.
    is_writing: Cell<bool>,
    /// Lines of the outbox that were read and not changed since: the core settles what it just read.
    lines: RefCell<HashMap<Key, Line>>,
    /// Rows that were read to see whether they can be frozen, which is what comes next.
    rows: RefCell<HashMap<Key, Record>>,
    /// The next number of the range that was taken of the file's counter, and the end of the range.
    numbers: Cell<(i64, i64)>,
    /// Boxes of written geometries per layer, by which the layer's extent grows.
    extents: RefCell<BTreeMap<CollectionId, Envelope>>,
}

/// Which lock a transaction starts with.
#[derive(Clone, Copy, Debug)]
enum Lock {
    /// None that a program which is writing would hold against it.
    Read,
    /// The file's only write lock.
    Write,
}

impl<'a> Tx<'a> {
    /// Begins a transaction for reading: one moment of the file, also while another program has edits open.
    pub(crate) fn begin_reading(conn: &'a Connection, home: &'a mut Known) -> Result<Self> {
        Self::start(conn, home, Lock::Read)
    }

    fn start(conn: &'a Connection, home: &'a mut Known, lock: Lock) -> Result<Self> {
        conn.execute_batch(match lock {
            Lock::Read => "BEGIN",
            Lock::Write => "BEGIN IMMEDIATE",
        })
        .doing("waiting for the file")?;
        let mut tx = Self {
            conn,
            layers: Vec::new(),
            home,
            is_open: true,
            is_writing: Cell::new(false),
            lines: RefCell::default(),
            rows: RefCell::default(),
            numbers: Cell::new((0, 0)),
            extents: RefCell::default(),
        };
        if let Lock::Write = lock {
            migrate::run(conn)?;
        }
        tx.home.refresh(conn)?;
        tx.layers.clone_from(&tx.home.layers);
        let problems = check::problems(conn, &tx.layers)?;
        if problems.is_empty() {
            Ok(tx)
        } else {
            Err(check::refusal(&problems))
        }
    }

    /// Begins a transaction that may write.
    pub(crate) fn begin(conn: &'a Connection, home: &'a mut Known) -> Result<Self> {
        let tx = Self::start(conn, home, Lock::Write)?;
        for layer in tx.layers.iter().filter(|layer| layer.is_attachments()) {
            if attachments::has_new(conn, layer)? {
                tx.start_writing()?;
                attachments::take_in(conn, layer)?;
            }
        }
        Ok(tx)
    }

    fn layer(&self, id: CollectionId) -> Result<&Layer> {
        find(&self.layers, id)
    }

    /// Switches capture off before the first write to a layer.
    fn start_writing(&self) -> Result<()> {
        if !self.is_writing.replace(true) {
            self.conn
                .execute("INSERT INTO haversack_writer (note) VALUES ('sync')", [])
                .doing("beginning to write")?;
        }
        Ok(())
    }

    fn entry_of(&self, line: &Line) -> Result<OutboxEntry> {
        line.entry(self.conn, self.layer(line.collection)?)
    }

    /// The line of a record, from memory if it was read before.
    fn take_line(&self, collection: CollectionId, id: &GlobalId) -> Result<Option<Line>> {
        match self.lines.borrow_mut().remove(&(collection, id.clone())) {
            Some(line) => Ok(Some(line)),
            None => outbox::line(self.conn, collection, id),
        }
    }

    fn remember(&self, entry: &OutboxEntry, line: Line) {
        let mut lines = self.lines.borrow_mut();
        if lines.len() < REMEMBERED {
            lines.insert((entry.collection, entry.global_id.clone()), line);
        }
    }

    fn forget_row(&self, collection: CollectionId, id: &GlobalId) {
        let mut rows = self.rows.borrow_mut();
        if !rows.is_empty() {
            rows.remove(&(collection, id.clone()));
        }
    }

    /// A number of the file's counter, of a range that this transaction took.
    fn number(&self) -> Result<i64> {
        let (mut next, mut end) = self.numbers.get();
        if next == end {
            next = row::take_numbers(self.conn, NUMBERS)?;
            end = next + NUMBERS;
        }
        self.numbers.set((next + 1, end));
        Ok(next)
    }

    /// The row that an entry is about; its object id is known, if nobody changed that.
    fn edited_row(
        &self,
        layer: &Layer,
        line: &Line,
        entry: &OutboxEntry,
    ) -> Result<Option<Readable>> {
        if let Some(fid) = line.fid
            && let Some(found) = row::load_known(self.conn, layer, fid, &line.global_id)?
        {
            return Ok(Some(found));
        }
        row::load(self.conn, layer, &entry.global_id)
    }

    /// An entry that can be frozen; `None` if the edit turned out to be none, or cannot be sent as it is.
    fn freezable(&self, line: &Line) -> Result<Option<OutboxEntry>> {
        let layer = self.layer(line.collection)?;
        let entry = line.entry(self.conn, layer)?;
        if entry.deleted {
            return Ok(Some(entry));
        }
        match self.edited_row(layer, line, &entry)? {
            Some(Readable::Record(mine)) => {
                let reverted = match &entry.base {
                    Some((base, _)) => line.is_plain_update() && base.same_content(&mine),
                    None => false,
                };
                if !reverted {
                    let mut rows = self.rows.borrow_mut();
                    if rows.len() < REMEMBERED {
                        rows.insert((entry.collection, entry.global_id.clone()), mine);
                    }
                    return Ok(Some(entry));
                }
                self.settle_reverted(layer, line, &entry)?;
                Ok(None)
            }
            Some(Readable::No(why)) => {
                self.refuse(line, &why)?;
                Ok(None)
            }
            None => {
                self.refuse(line, "the row is gone, but nothing noticed its deletion")?;
                Ok(None)
            }
        }
    }

    /// Edited and edited back: the entry goes, and what the server has meanwhile is installed.
    fn settle_reverted(&self, layer: &Layer, line: &Line, entry: &OutboxEntry) -> Result<()> {
        outbox::remove(self.conn, layer, line)?;
        match &entry.theirs {
            Theirs::Unchanged => {}
            Theirs::Row { record, version } => {
                self.write_row(layer, record)?;
                row::store_version(self.conn, layer, &entry.global_id, Some(*version))?;
            }
            Theirs::Removed(Removal::Deleted | Removal::Left | Removal::Revoked) => {
                self.delete_row(layer, &entry.global_id)?;
                row::store_version(self.conn, layer, &entry.global_id, None)?;
            }
        }
        Ok(())
    }

    /// Sets an entry aside that cannot be sent, so that it blocks no other.
    fn refuse(&self, line: &Line, why: &str) -> Result<()> {
        self.conn
            .prepare_cached(
                "UPDATE haversack_outbox SET state = 'ERROR', reason = ?3 WHERE collection = ?1 AND global_id = ?2",
            )
            .and_then(|mut statement| {
                statement.execute(params![line.collection.0, line.global_id, why])
            })
            .doing("setting an edit aside")?;
        Ok(())
    }

    fn write_row(&self, layer: &Layer, record: &Record) -> Result<()> {
        self.start_writing()?;
        self.forget_row(layer.id(), &record.global_id);
        if let Some(envelope) = row::store(self.conn, layer, record)? {
            let mut extents = self.extents.borrow_mut();
            extents
                .entry(layer.id())
                .and_modify(|all| *all = all.union(envelope))
                .or_insert(envelope);
        }
        Ok(())
    }

    fn delete_row(&self, layer: &Layer, id: &GlobalId) -> Result<()> {
        self.start_writing()?;
        self.forget_row(layer.id(), id);
        self.conn
            .prepare_cached(&layer.sql.delete_row)
            .and_then(|mut statement| statement.execute([id.to_string()]))
            .doing("removing a row")?;
        Ok(())
    }

    /// Lets the extents of layers grow, by which GIS programs zoom. A layer without one stays so.
    fn grow_extents(&self) -> Result<()> {
        for (id, envelope) in self.extents.borrow().iter() {
            let layer = self.layer(*id)?;
            self.conn
                .prepare_cached(
                    "UPDATE gpkg_contents SET last_change = strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), \
                     min_x = min(min_x, ?2), min_y = min(min_y, ?3), max_x = max(max_x, ?4), max_y = max(max_y, ?5) \
                     WHERE lower(table_name) = lower(?1)",
                )
                .and_then(|mut statement| {
                    statement.execute(params![
                        layer.table,
                        envelope.min_x,
                        envelope.min_y,
                        envelope.max_x,
                        envelope.max_y
                    ])
                })
                .doing("writing the extent")?;
        }
        Ok(())
    }
}

impl Drop for Tx<'_> {
    fn drop(&mut self) {
        if self.is_open && !self.conn.is_autocommit() {
            // Nothing is lost if this fails: closing the connection rolls back too.
            let _rolled_back = self.conn.execute_batch("ROLLBACK");
        }
    }
}

fn json<T: Serialize>(what: &str, value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|why| damaged(what, why))
}
fn from_json<T: DeserializeOwned>(what: &str, text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|why| damaged(what, why))
}

/// A word for people.
fn outcome_word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Applied => "applied",
        Outcome::Merged => "merged",
        Outcome::Conflict { .. } => "conflict",
        Outcome::Rejected { .. } => "rejected",
    }
}

impl ReplicaTx for Tx<'_> {
    fn header(&self) -> Result<ReplicaHeader> {
        header::load(self.conn)
    }
    fn store_header(&mut self, header: &ReplicaHeader) -> Result<()> {
        header::store(self.conn, header)
    }
    fn collections(&self) -> Result<Vec<Collection>> {
        Ok(self.layers.iter().map(|l| l.collection.clone()).collect())
    }

    fn store_collections(&mut self, collections: &[Collection]) -> Result<()> {
        self.start_writing()?;
        self.rows.borrow_mut().clear();
        for collection in collections {
            if let Some(layer) = self.layers.iter_mut().find(|l| l.id() == collection.id) {
                *layer = shape::change(self.conn, layer, collection)?;
            } else {
                let layer = shape::add(self.conn, &self.layers, collection)?;
                self.layers.push(layer);
            }
        }
        Ok(())
    }
    fn next_edit_no(&mut self) -> Result<u64> {
        self.number().map(|no| no as u64)
    }

    fn row(&self, collection: CollectionId, id: &GlobalId) -> Result<Option<Record>> {
        let known = self.rows.borrow_mut().remove(&(collection, id.clone()));
        if known.is_some() {
            return Ok(known);
        }
        let layer = self.layer(collection)?;
        row::load(self.conn, layer, id)?
            .map(|found| row::readable(layer, found))
            .transpose()
    }
    fn put_row(&mut self, collection: CollectionId, record: &Record) -> Result<()> {
        self.write_row(self.layer(collection)?, record)
    }
    fn remove_row(&mut self, collection: CollectionId, id: &GlobalId) -> Result<()> {
        self.delete_row(self.layer(collection)?, id)
    }
    fn version(&self, collection: CollectionId, id: &GlobalId) -> Result<Option<RowVersion>> {
        row::version(self.conn, self.layer(collection)?, id)
    }
    fn store_version(
        &mut self,
        collection: CollectionId,
        id: &GlobalId,
        version: Option<RowVersion>,
    ) -> Result<()> {
        row::store_version(self.conn, self.layer(collection)?, id, version)
    }
    fn confirmed(&self, collection: CollectionId) -> Result<Vec<GlobalId>> {
        let sql = format!(
            "SELECT global_id FROM {}",
            self.layer(collection)?.version_table()
        );
        let texts: Vec<String> = self
            .conn
            .prepare_cached(&sql)
            .and_then(|mut statement| statement.query_map([], |row| row.get(0))?.collect())
            .doing("reading the confirmed ids")?;
        texts
            .iter()
            .map(|text| GlobalId::parse_uuid(text).map_err(|why| damaged("a confirmed id", why)))
            .collect()
    }

    fn entry(&self, collection: CollectionId, id: &GlobalId) -> Result<Option<OutboxEntry>> {
        let Some(line) = outbox::line(self.conn, collection, id)? else {
            return Ok(None);
        };
        let entry = self.entry_of(&line)?;
        self.remember(&entry, line);
        Ok(Some(entry))
    }
    fn store_entry(&mut self, entry: &OutboxEntry) -> Result<()> {
        let old = self.take_line(entry.collection, &entry.global_id)?;
        let layer = self.layer(entry.collection)?;
        outbox::store(self.conn, layer, entry, old.as_ref(), &|| self.number())
    }
    fn store_frozen(&mut self, entry: &OutboxEntry) -> Result<()> {
        match self.take_line(entry.collection, &entry.global_id)? {
            Some(old) => {
                let layer = self.layer(entry.collection)?;
                outbox::store_frozen(self.conn, layer, entry, &old, &|| self.number())
            }
            None => self.store_entry(entry),
        }
    }
    fn remove_entry(&mut self, collection: CollectionId, id: &GlobalId) -> Result<()> {
        match self.take_line(collection, id)? {
            Some(line) => outbox::remove(self.conn, self.layer(collection)?, &line),
            None => Ok(()),
        }
    }
    fn pending(&self, limit: usize) -> Result<Vec<OutboxEntry>> {
        let mut found = Vec::new();
        let mut after = 0;
        while found.len() < limit {
            let lines = outbox::lines(self.conn, Which::PendingAfter(after), limit - found.len())?;
            let Some(last) = lines.last() else { break };
            after = last.edit_no;
            for line in lines {
                if let Some(entry) = self.freezable(&line)? {
                    self.remember(&entry, line);
                    found.push(entry);
                }
            }
        }
        Ok(found)
    }
    fn in_batch(&self, batch: BatchNumber) -> Result<Vec<OutboxEntry>> {
        let lines = outbox::lines(self.conn, Which::Batch(batch), usize::MAX)?;
        lines.iter().map(|line| self.entry_of(line)).collect()
    }
    fn entries(&self) -> Result<Vec<OutboxEntry>> {
        let lines = outbox::lines(self.conn, Which::All, usize::MAX)?;
        lines.iter().map(|line| self.entry_of(line)).collect()
    }

    fn unanswered_batch(&self) -> Result<Option<FrozenBatch>> {
        let found: Option<(i64, String, i64, String, Option<String>)> = self
            .conn
            .prepare_cached(
                "SELECT number, history, generation, edits, seal FROM haversack_batches ORDER BY number LIMIT 1",
            )
            .and_then(|mut statement| {
                statement
                    .query_row([], |row| {
                        Ok((
                            row.get(0)?,
                            row.get(1)?,
                            row.get(2)?,
                            row.get(3)?,
                            row.get(4)?,
                        ))
                    })
                    .optional()
            })
            .doing("reading a batch")?;
        let Some((number, history, generation, edits, seal)) = found else {
            return Ok(None);
        };
        Ok(Some(FrozenBatch {
            number: BatchNumber(number as u64),
            edits: from_json("haversack_batches.edits", &edits)?,
            cursor: Cursor {
                history: history
                    .parse::<HistoryId>()
                    .map_err(|why| damaged("haversack_batches.history", why))?,
                generation: Generation(generation as u64),
                seal: match seal {
                    Some(text) => Some(header::seal("haversack_batches.seal", &text)?),
                    None => None,
                },
            },
        }))
    }
    fn store_batch(&mut self, batch: &FrozenBatch) -> Result<()> {
        self.conn
            .prepare_cached(
                "INSERT INTO haversack_batches (number, history, generation, edits, seal) VALUES (?1, ?2, ?3, ?4, ?5) \
                 ON CONFLICT (number) DO UPDATE SET history = excluded.history, generation = excluded.generation, \
                 edits = excluded.edits, seal = excluded.seal",
            )
            .and_then(|mut statement| {
                statement.execute(params![
                    batch.number.0 as i64,
                    batch.cursor.history.to_string(),
                    batch.cursor.generation.0 as i64,
                    json("haversack_batches.edits", &batch.edits)
                        .map_err(|why| rusqlite::Error::ToSqlConversionFailure(Box::new(why)))?,
                    batch.cursor.seal.map(Seal::to_hex)
                ])
            })
            .doing("keeping a batch")?;
        Ok(())
    }
    fn remove_batch(&mut self, number: BatchNumber) -> Result<()> {
        self.conn
            .execute(
                "DELETE FROM haversack_batches WHERE number = ?1",
                [number.0 as i64],
            )
            .doing("forgetting a batch")?;
        Ok(())
    }
    fn store_receipt(
        &mut self,
        generation: Generation,
        edit: &Edit,
        receipt: &Receipt,
    ) -> Result<()> {
        let (edit, answer) = (
            json("haversack_receipts.edit", edit)?,
            json("haversack_receipts.receipt", receipt)?,
        );
        self.conn
            .prepare_cached(
                "INSERT INTO haversack_receipts (generation, collection, global_id, outcome, edit, receipt) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )
            .and_then(|mut statement| {
                statement.execute(params![
                    generation.0 as i64,
                    receipt.collection.0,
                    receipt.global_id.to_string(),
                    outcome_word(&receipt.outcome),
                    edit,
                    answer
                ])
            })
            .doing("keeping a receipt")?;
        Ok(())
    }
    fn receipts_above(&self, generation: Generation) -> Result<Vec<(CollectionId, Edit)>> {
        let rows: Vec<(u32, String)> = self
            .conn
            .prepare_cached(
                "SELECT collection, edit FROM haversack_receipts WHERE generation > ?1 ORDER BY no",
            )
            .and_then(|mut statement| {
                statement
                    .query_map([generation.0 as i64], |row| Ok((row.get(0)?, row.get(1)?)))?
                    .collect()
            })
            .doing("reading receipts")?;
        rows.into_iter()
            .map(|(collection, edit)| {
                Ok((
                    CollectionId(collection),
                    from_json("haversack_receipts.edit", &edit)?,
                ))
            })
            .collect()
    }

    fn store_conflict(&mut self, conflict: &Conflict) -> Result<()> {
        let text = json("haversack_conflicts", conflict)?;
        self.conn
            .prepare_cached(
                "INSERT INTO haversack_conflicts (id, collection, global_id, at_ms, kind, fields, winner, reason, kept, conflict) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) \
                 ON CONFLICT (id) DO UPDATE SET at_ms = excluded.at_ms, kind = excluded.kind, fields = excluded.fields, \
                 winner = excluded.winner, reason = excluded.reason, kept = excluded.kept, conflict = excluded.conflict",
            )
            .and_then(|mut statement| {
                statement.execute(params![
                    conflict.id.to_string(),
                    conflict.collection.0,
                    conflict.global_id.to_string(),
                    conflict.at.0,
                    format!("{:?}", conflict.kind),
                    conflict.fields.join(", "),
                    format!("{:?}", conflict.winner),
                    conflict.reason,
                    conflict.resolution.as_ref().map(|r| r.kept.as_str()),
                    text
                ])
            })
            .doing("keeping a conflict")?;
        Ok(())
    }
    fn conflicts(&self, open_only: bool) -> Result<Vec<Conflict>> {
        let texts: Vec<String> = self
            .conn
            .prepare_cached(
                "SELECT conflict FROM haversack_conflicts WHERE kept IS NULL OR NOT ?1 ORDER BY at_ms, id",
            )
            .and_then(|mut statement| {
                statement
                    .query_map([open_only], |row| row.get(0))?
                    .collect()
            })
            .doing("reading conflicts")?;
        texts
            .iter()
            .map(|text| from_json("haversack_conflicts", text))
            .collect()
    }

    fn conflict(&self, id: ConflictId) -> Result<Option<Conflict>> {
        let text: Option<String> = self
            .conn
            .prepare_cached("SELECT conflict FROM haversack_conflicts WHERE id = ?1")
            .and_then(|mut statement| {
                statement
                    .query_row([id.to_string()], |row| row.get(0))
                    .optional()
            })
            .doing("reading a conflict")?;
        text.map(|text| from_json("haversack_conflicts", &text))
            .transpose()
    }
    fn untold_decisions(&self) -> Result<Vec<Decided>> {
        // Only these are read: a file may keep many that are settled.
        let rows: Vec<(String, String)> = self
            .conn
            .prepare_cached(
                "SELECT id, json_extract(conflict, '$.resolution') FROM haversack_conflicts \
                 WHERE kept IS NOT NULL AND NOT coalesce(json_extract(conflict, '$.resolution.told'), 0) ORDER BY at_ms, id",
            )
            .and_then(|mut statement| {
                statement
                    .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
                    .collect()
            })
            .doing("reading decisions")?;
        rows.iter()
            .map(|(id, resolution)| {
                Ok(Decided {
                    conflict: from_json("haversack_conflicts.id", &format!("{id:?}"))?,
                    resolution: from_json("haversack_conflicts", resolution)?,
                })
            })
            .collect()
    }

    fn blob(&self, hash: BlobHash) -> Result<Option<Vec<u8>>> {
        attachments::load(self.conn, hash)
    }
    fn store_blob(&mut self, hash: BlobHash, content: &[u8]) -> Result<()> {
        attachments::store(self.conn, hash, content)
    }

    fn commit(mut self: Box<Self>) -> Result<()> {
        self.grow_extents()?;
        if self.is_writing.get() {
            self.conn
                .execute("DELETE FROM haversack_writer", [])
                .doing("ending a transaction")?;
        }
        let version = schema_version(self.conn)?;
        self.conn.execute_batch("COMMIT").doing("saving the file")?;
        self.is_open = false;
        self.home.layers = std::mem::take(&mut self.layers);
        self.home.schema_version = version;
        Ok(())
    }
}
