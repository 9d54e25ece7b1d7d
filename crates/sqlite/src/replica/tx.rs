//! The transaction through which the sync core reads and writes a replica file.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};

use haversack_model::conflict::Decided;
use haversack_model::local::{FrozenBatch, OutboxEntry, Removal, ReplicaHeader, RowVersion};
use haversack_model::remote::BatchReply;
use haversack_model::{
    BatchNumber, BlobHash, Collection, CollectionId, Conflict, ConflictId, Edit, Envelope,
    Generation, GlobalId, Receipt, Record, ReplicaTx, Result, Theirs,
};
use rusqlite::{Connection, params};

use super::fault::{Doing, damaged};
use super::layer::Layer;
use super::outbox::{self, Line, Which};
use super::row::Readable;
use super::{
    Known, attachments, batches, check, conflicts, find, header, notes, recent, row,
    schema_version, shape,
};

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
    fn confirm(
        &mut self,
        collection: CollectionId,
        id: &GlobalId,
        version: RowVersion,
    ) -> Result<()> {
        let layer = self.layer(collection)?;
        if recent::confirm(self.conn, layer, id, version)? {
            return Ok(());
        }
        row::store_version(self.conn, layer, id, Some(version))
    }
    fn confirmed(&self, collection: CollectionId) -> Result<Vec<GlobalId>> {
        let layer = self.layer(collection)?;
        let sql = format!("SELECT global_id FROM {}", layer.version_table());
        let texts: Vec<String> = self
            .conn
            .prepare_cached(&sql)
            .and_then(|mut statement| statement.query_map([], |row| row.get(0))?.collect())
            .doing("reading the confirmed ids")?;
        texts
            .iter()
            .map(|text| {
                let parsed = layer.collection.parse_id(text);
                parsed.map_err(|why| damaged("a confirmed id", why))
            })
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

    fn batch(&self, number: BatchNumber) -> Result<Option<FrozenBatch>> {
        batches::batch(self.conn, number)
    }
    fn has_batch(&self, batch: &FrozenBatch) -> Result<bool> {
        batches::has(self.conn, &self.home.texts, batch)
    }
    fn unanswered_batch(&self) -> Result<Option<FrozenBatch>> {
        batches::unanswered(self.conn)
    }
    fn answered_batch(&self) -> Result<Option<(BatchNumber, BatchReply)>> {
        batches::answered(self.conn)
    }
    fn store_batch(&mut self, batch: &FrozenBatch) -> Result<()> {
        batches::store(self.conn, &mut self.home.texts, batch)
    }
    fn store_answer(&mut self, number: BatchNumber, answer: &BatchReply) -> Result<()> {
        batches::store_answer(self.conn, number, answer)
    }
    fn remove_batch(&mut self, number: BatchNumber) -> Result<()> {
        batches::remove(self.conn, number)
    }
    fn store_receipt(
        &mut self,
        generation: Generation,
        edit: &Edit,
        receipt: &Receipt,
    ) -> Result<()> {
        batches::store_receipt(self.conn, generation, edit, receipt)
    }
    fn receipts_above(&self, generation: Generation) -> Result<Vec<(CollectionId, Edit)>> {
        batches::receipts_above(self.conn, generation)
    }
    fn remove_receipts_above(&mut self, generation: Generation) -> Result<()> {
        batches::remove_receipts_above(self.conn, generation)
    }

    fn store_conflict(&mut self, conflict: &Conflict) -> Result<()> {
        conflicts::store(self.conn, conflict)
    }
    fn conflicts(&self, open_only: bool) -> Result<Vec<Conflict>> {
        conflicts::all(self.conn, open_only)
    }
    fn conflict(&self, id: ConflictId) -> Result<Option<Conflict>> {
        conflicts::one(self.conn, id)
    }
    fn untold_decisions(&self) -> Result<Vec<Decided>> {
        conflicts::untold(self.conn)
    }

    fn blob(&self, hash: BlobHash) -> Result<Option<Vec<u8>>> {
        attachments::load(self.conn, hash)
    }
    fn store_blob(&mut self, hash: BlobHash, content: &[u8]) -> Result<()> {
        attachments::store(self.conn, hash, content)
    }

    fn note(&self, topic: &str, name: &str) -> Result<Option<String>> {
        notes::one(self.conn, topic, name)
    }
    fn notes(&self, topic: &str) -> Result<Vec<(String, String)>> {
        notes::all(self.conn, topic)
    }
    fn store_note(&mut self, topic: &str, name: &str, text: Option<&str>) -> Result<()> {
        notes::store(self.conn, topic, name, text)
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
