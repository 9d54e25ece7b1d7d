//! A replica file in memory, with the capture that triggers do in a real one.

use std::cell::{Ref, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use haversack_model::conflict::ConflictId;
use haversack_model::local::{FrozenBatch, LocalReplica, ReplicaHeader};
use haversack_model::remote::BatchReply;
use haversack_model::{
    BatchNumber, BlobHash, Changes, Collection, CollectionId, Conflict, Edit, Error, Generation,
    GlobalId, OutboxEntry, Receipt, Record, ReplicaTx, Result, RowVersion, SyncState, Theirs,
};

use super::bug::Bug;
use super::cheap::Cheap;
use super::spoil::spoil;
use super::state::Key;

/// Everything in the file. A clone is a copy of the file.
#[derive(Clone, Debug)]
pub struct File {
    pub header: ReplicaHeader,
    pub collections: Arc<Vec<Collection>>,
    edit_no: u64,
    pub rows: Cheap<BTreeMap<Key, Arc<Record>>>,
    pub versions: Cheap<BTreeMap<Key, RowVersion>>,
    pub outbox: Cheap<BTreeMap<Key, OutboxEntry>>,
    pub batches: Cheap<BTreeMap<BatchNumber, Arc<FrozenBatch>>>,
    pub answers: Cheap<BTreeMap<BatchNumber, Arc<BatchReply>>>,
    pub receipts: Cheap<Vec<(Generation, CollectionId, Edit)>>,
    pub conflicts: Cheap<BTreeMap<ConflictId, Conflict>>,
    pub blobs: Cheap<BTreeMap<BlobHash, Arc<[u8]>>>,
    pub notes: Cheap<BTreeMap<(String, String), String>>,
}

/// What happened to a file, for the oracle.
#[derive(Clone, Debug)]
pub enum FileEvent {
    /// A batch was frozen.
    Frozen(Arc<FrozenBatch>),
    /// A batch is no longer waiting for an answer.
    Unfrozen(Arc<FrozenBatch>),
    /// The server's new history is followed: what it forgot is pending again.
    NewHistory,
}

/// A replica file in memory. A clone is a copy of the file.
#[derive(Clone, Debug)]
pub struct MemoryReplica {
    file: File,
    /// Grows with every change, so that a transaction held across one is noticed.
    serial: u64,
    /// So many commits later one fails, as in a crash.
    crash_in: Option<u32>,
    bug: Option<Bug>,
    /// Counts the occasions of a bug that strikes now and then.
    occasions: u32,
    events: Vec<FileEvent>,
}

impl MemoryReplica {
    pub fn new(header: ReplicaHeader, collections: Vec<Collection>) -> Self {
        let file = File {
            header,
            collections: Arc::new(collections),
            edit_no: 0,
            rows: Cheap::default(),
            versions: Cheap::default(),
            outbox: Cheap::default(),
            batches: Cheap::default(),
            answers: Cheap::default(),
            notes: Cheap::default(),
            receipts: Cheap::default(),
            conflicts: Cheap::default(),
            blobs: Cheap::default(),
        };
        Self {
            file,
            serial: 0,
            crash_in: None,
            bug: None,
            occasions: 0,
            events: Vec::new(),
        }
    }

    /// All rows in the file.
    pub fn rows(&self) -> impl Iterator<Item = (&Key, &Record)> {
        self.file.rows.iter().map(|(key, record)| (key, &**record))
    }

    /// All outbox entries.
    pub fn outbox(&self) -> impl Iterator<Item = &OutboxEntry> {
        self.file.outbox.values()
    }

    pub fn header(&self) -> &ReplicaHeader {
        &self.file.header
    }

    /// Someone adds a row, as the insert trigger sees it.
    pub fn edit_insert(&mut self, collection: CollectionId, record: Record) {
        self.serial += 1;
        self.file.edit_insert(collection, record);
    }

    /// Someone sets fields of a row, as the update trigger sees it. `false` if there is no such row.
    pub fn edit_update(
        &mut self,
        collection: CollectionId,
        id: &GlobalId,
        changes: &Changes,
    ) -> bool {
        self.serial += 1;
        self.file.edit_update(collection, id, changes)
    }

    /// Someone deletes a row, as the delete trigger sees it. `false` if there is no such row.
    pub fn edit_delete(&mut self, collection: CollectionId, id: &GlobalId) -> bool {
        self.serial += 1;
        self.file.edit_delete(collection, id)
    }

    /// Makes what a transaction did durable, unless the program is killed.
    fn store(&mut self, serial: u64, mut work: File) -> Result<()> {
        if self.serial != serial {
            return Err(Error::Corrupt(
                "a transaction was held while the file was changed".to_owned(),
            ));
        }
        match self.crash_in {
            Some(0) => {
                self.crash_in = None;
                return Err(crash());
            }
            Some(more) => self.crash_in = Some(more - 1),
            None => {}
        }
        if let Some(bug) = self.bug {
            self.occasions += 1;
            let strikes = self.occasions.is_multiple_of(2);
            if spoil(bug, &mut self.file, &mut work, strikes) {
                return Err(crash());
            }
        }
        for (number, batch) in self.file.batches.iter() {
            if !work.batches.contains_key(number) {
                self.events.push(FileEvent::Unfrozen(Arc::clone(batch)));
            }
        }
        // What was answered is settled before what the server forgot is unsent again.
        if self.file.header.cursor.history != work.header.cursor.history {
            self.events.push(FileEvent::NewHistory);
        }
        for (number, batch) in work.batches.iter() {
            if !self.file.batches.contains_key(number) {
                self.events.push(FileEvent::Frozen(Arc::clone(batch)));
            }
        }
        self.file = work;
        self.serial += 1;
        Ok(())
    }
}

/// A replica file that several programs have open.
#[derive(Debug)]
pub struct SharedReplica(Rc<RefCell<MemoryReplica>>);

impl SharedReplica {
    pub fn new(replica: MemoryReplica, bug: Option<Bug>) -> Self {
        Self(Rc::new(RefCell::new(MemoryReplica { bug, ..replica })))
    }

    /// The same file, opened once more.
    pub fn handle(&self) -> Self {
        Self(Rc::clone(&self.0))
    }

    /// A copy of the file as it is.
    pub fn copy(&self) -> Self {
        let replica = self.0.borrow().clone();
        Self(Rc::new(RefCell::new(MemoryReplica {
            crash_in: None,
            events: Vec::new(),
            ..replica
        })))
    }

    /// What the file holds.
    pub fn file(&self) -> Ref<'_, File> {
        Ref::map(self.0.borrow(), |replica| &replica.file)
    }

    /// Someone works on the file with another program.
    pub fn edit<T>(&self, work: impl FnOnce(&mut MemoryReplica) -> T) -> T {
        work(&mut self.0.borrow_mut())
    }

    /// Someone puts the content of a picture into the file.
    pub fn put_blob(&self, hash: BlobHash, content: &[u8]) {
        let mut replica = self.0.borrow_mut();
        replica.serial += 1;
        replica.file.blobs.insert(hash, content.into());
    }

    /// Lets a commit fail: the next one, or one after it.
    pub fn crash_in(&self, commits: Option<u32>) {
        self.0.borrow_mut().crash_in = commits;
    }

    /// What happened since the last call.
    pub fn take_events(&self) -> Vec<FileEvent> {
        std::mem::take(&mut self.0.borrow_mut().events)
    }
}

impl File {
    fn edit_insert(&mut self, collection: CollectionId, record: Record) {
        let key = (collection, record.global_id.clone());
        let undone_delete = self.outbox.get(&key).is_some_and(|entry| entry.deleted);
        self.rows.insert(key.clone(), Arc::new(record));
        if undone_delete {
            let entry = self.captured(&key, None);
            entry.deleted = false;
        } else {
            self.captured(&key, None).state = SyncState::ToPost;
        }
    }

    fn edit_update(&mut self, collection: CollectionId, id: &GlobalId, changes: &Changes) -> bool {
        let key = (collection, id.clone());
        let Some(old) = self.rows.get(&key).cloned() else {
            return false;
        };
        let mut record = (*old).clone();
        changes.apply_to(&mut record);
        self.rows.insert(key.clone(), Arc::new(record));
        self.captured(&key, Some(&old));
        true
    }

    fn edit_delete(&mut self, collection: CollectionId, id: &GlobalId) -> bool {
        let key = (collection, id.clone());
        let Some(old) = self.rows.remove(&key) else {
            return false;
        };
        let entry = self.captured(&key, Some(&old));
        entry.deleted = true;
        let never_sent = entry.base.is_none() && entry.frozen_no.is_none();
        if never_sent && entry.theirs == Theirs::Unchanged {
            self.outbox.remove(&key);
        }
        true
    }

    /// The outbox entry of an edit: the first one keeps the base version, a later one does not replace it.
    fn captured(&mut self, key: &Key, old: Option<&Arc<Record>>) -> &mut OutboxEntry {
        self.edit_no += 1;
        let version = self.versions.get(key).copied();
        let base = old
            .zip(version)
            .map(|(record, version)| ((**record).clone(), version));
        let entry = self
            .outbox
            .entry(key.clone())
            .or_insert_with(|| OutboxEntry {
                collection: key.0,
                global_id: key.1.clone(),
                edit_no: 0,
                state: if base.is_some() {
                    SyncState::ToUpdate
                } else {
                    SyncState::ToPost
                },
                deleted: false,
                base,
                theirs: Theirs::Unchanged,
                batch: None,
                frozen_no: None,
                sent: None,
                reason: None,
            });
        entry.edit_no = self.edit_no;
        entry.state = haversack_sync::states::pending(entry.base.is_some());
        entry
    }
}

impl LocalReplica for MemoryReplica {
    fn begin(&mut self) -> Result<Box<dyn ReplicaTx + '_>> {
        Ok(Box::new(Transaction {
            serial: self.serial,
            work: self.file.clone(),
            home: Home::Own(self),
        }))
    }
}

impl LocalReplica for SharedReplica {
    fn begin(&mut self) -> Result<Box<dyn ReplicaTx + '_>> {
        let replica = self.0.borrow();
        Ok(Box::new(Transaction {
            serial: replica.serial,
            work: replica.file.clone(),
            home: Home::Shared(&self.0),
        }))
    }
}

/// Where a transaction's work goes.
enum Home<'a> {
    Own(&'a mut MemoryReplica),
    Shared(&'a RefCell<MemoryReplica>),
}

struct Transaction<'a> {
    home: Home<'a>,
    serial: u64,
    work: File,
}

fn crash() -> Error {
    Error::Store {
        doing: "commit",
        source: "the program was killed".into(),
    }
}

impl ReplicaTx for Transaction<'_> {
    fn header(&self) -> Result<ReplicaHeader> {
        Ok(self.work.header.clone())
    }

    fn store_header(&mut self, header: &ReplicaHeader) -> Result<()> {
        self.work.header = header.clone();
        Ok(())
    }

    fn collections(&self) -> Result<Vec<Collection>> {
        Ok((*self.work.collections).clone())
    }

    fn store_collections(&mut self, collections: &[Collection]) -> Result<()> {
        let mut all = (*self.work.collections).clone();
        for new in collections {
            match all.iter_mut().find(|old| old.id == new.id) {
                Some(old) => old.clone_from(new),
                None => all.push(new.clone()),
            }
        }
        for ((collection, _), record) in self.work.rows.iter_mut() {
            let Some(shape) = all.iter().find(|shape| shape.id == *collection) else {
                continue;
            };
            let missing = shape.fields.get(record.values.len()..).unwrap_or_default();
            if !missing.is_empty() {
                Arc::make_mut(record)
                    .values
                    .extend(missing.iter().map(|field| field.default.clone()));
            }
        }
        self.work.collections = Arc::new(all);
        Ok(())
    }

    fn next_edit_no(&mut self) -> Result<u64> {
        self.work.edit_no += 1;
        Ok(self.work.edit_no)
    }

    fn row(&self, collection: CollectionId, id: &GlobalId) -> Result<Option<Record>> {
        Ok(self
            .work
            .rows
            .get(&(collection, id.clone()))
            .map(|record| (**record).clone()))
    }

    fn put_row(&mut self, collection: CollectionId, record: &Record) -> Result<()> {
        let mut record = record.clone();
        if let Some(shape) = self.work.collections.iter().find(|c| c.id == collection) {
            // A table has no columns for fields of a newer schema.
            record.values.truncate(shape.fields.len());
        }
        self.work
            .rows
            .insert((collection, record.global_id.clone()), Arc::new(record));
        Ok(())
    }

    fn remove_row(&mut self, collection: CollectionId, id: &GlobalId) -> Result<()> {
        self.work.rows.remove(&(collection, id.clone()));
        Ok(())
    }

    fn version(&self, collection: CollectionId, id: &GlobalId) -> Result<Option<RowVersion>> {
        Ok(self.work.versions.get(&(collection, id.clone())).copied())
    }

    fn store_version(
        &mut self,
        collection: CollectionId,
        id: &GlobalId,
        version: Option<RowVersion>,
    ) -> Result<()> {
        let key = (collection, id.clone());
        match version {
            Some(version) => drop(self.work.versions.insert(key, version)),
            None => drop(self.work.versions.remove(&key)),
        }
        Ok(())
    }

    fn confirmed(&self, collection: CollectionId) -> Result<Vec<GlobalId>> {
        let ids = self
            .work
            .versions
            .keys()
            .filter(|(of, _)| *of == collection);
        Ok(ids.map(|(_, id)| id.clone()).collect())
    }

    fn entry(&self, collection: CollectionId, id: &GlobalId) -> Result<Option<OutboxEntry>> {
        Ok(self.work.outbox.get(&(collection, id.clone())).cloned())
    }

    fn store_entry(&mut self, entry: &OutboxEntry) -> Result<()> {
        self.work
            .outbox
            .insert((entry.collection, entry.global_id.clone()), entry.clone());
        Ok(())
    }

    fn remove_entry(&mut self, collection: CollectionId, id: &GlobalId) -> Result<()> {
        self.work.outbox.remove(&(collection, id.clone()));
        Ok(())
    }

    fn pending(&self, limit: usize) -> Result<Vec<OutboxEntry>> {
        let waits = |entry: &OutboxEntry| {
            entry.batch.is_none() && matches!(entry.state, SyncState::ToPost | SyncState::ToUpdate)
        };
        let mut entries = self.entries()?;
        entries.retain(waits);
        entries.truncate(limit);
        Ok(entries)
    }

    fn in_batch(&self, batch: BatchNumber) -> Result<Vec<OutboxEntry>> {
        let mut entries = self.entries()?;
        entries.retain(|entry| entry.batch == Some(batch));
        Ok(entries)
    }

    fn entries(&self) -> Result<Vec<OutboxEntry>> {
        let mut entries: Vec<_> = self.work.outbox.values().cloned().collect();
        entries.sort_by_key(|entry| entry.edit_no);
        Ok(entries)
    }

    fn batch(&self, number: BatchNumber) -> Result<Option<FrozenBatch>> {
        let found = self.work.batches.get(&number);
        Ok(found.map(|batch| (**batch).clone()))
    }

    fn unanswered_batch(&self) -> Result<Option<FrozenBatch>> {
        let mut batches = self.work.batches.values();
        let found = batches.find(|batch| !self.work.answers.contains_key(&batch.number));
        Ok(found.map(|batch| (**batch).clone()))
    }

    fn answered_batch(&self) -> Result<Option<(BatchNumber, BatchReply)>> {
        let first = self.work.answers.iter().next();
        Ok(first.map(|(number, answer)| (*number, (**answer).clone())))
    }

    fn store_answer(&mut self, number: BatchNumber, answer: &BatchReply) -> Result<()> {
        if self.work.batches.contains_key(&number) {
            self.work.answers.insert(number, Arc::new(answer.clone()));
        }
        Ok(())
    }

    fn store_batch(&mut self, batch: &FrozenBatch) -> Result<()> {
        self.work
            .batches
            .insert(batch.number, Arc::new(batch.clone()));
        Ok(())
    }

    fn remove_batch(&mut self, number: BatchNumber) -> Result<()> {
        self.work.batches.remove(&number);
        self.work.answers.remove(&number);
        Ok(())
    }

    fn store_receipt(
        &mut self,
        generation: Generation,
        edit: &Edit,
        receipt: &Receipt,
    ) -> Result<()> {
        self.work
            .receipts
            .push((generation, receipt.collection, edit.clone()));
        Ok(())
    }

    fn receipts_above(&self, generation: Generation) -> Result<Vec<(CollectionId, Edit)>> {
        let above = self
            .work
            .receipts
            .iter()
            .filter(|(at, _, _)| *at > generation);
        Ok(above
            .map(|(_, collection, edit)| (*collection, edit.clone()))
            .collect())
    }

    fn remove_receipts_above(&mut self, generation: Generation) -> Result<()> {
        self.work.receipts.retain(|(at, _, _)| *at <= generation);
        Ok(())
    }

    fn store_conflict(&mut self, conflict: &Conflict) -> Result<()> {
        self.work.conflicts.insert(conflict.id, conflict.clone());
        Ok(())
    }

    fn conflicts(&self, open_only: bool) -> Result<Vec<Conflict>> {
        let mut found: Vec<_> = self.work.conflicts.values().cloned().collect();
        found.retain(|conflict| !open_only || conflict.resolution.is_none());
        found.sort_by_key(|conflict| (conflict.at, conflict.id));
        Ok(found)
    }

    fn blob(&self, hash: BlobHash) -> Result<Option<Vec<u8>>> {
        Ok(self.work.blobs.get(&hash).map(|content| content.to_vec()))
    }

    fn store_blob(&mut self, hash: BlobHash, content: &[u8]) -> Result<()> {
        self.work.blobs.insert(hash, content.into());
        Ok(())
    }

    fn note(&self, topic: &str, name: &str) -> Result<Option<String>> {
        let key = (topic.to_owned(), name.to_owned());
        Ok(self.work.notes.get(&key).cloned())
    }

    fn notes(&self, topic: &str) -> Result<Vec<(String, String)>> {
        let of_topic = self.work.notes.iter().filter(|((of, _), _)| of == topic);
        Ok(of_topic
            .map(|((_, name), text)| (name.clone(), text.clone()))
            .collect())
    }

    fn store_note(&mut self, topic: &str, name: &str, text: Option<&str>) -> Result<()> {
        let key = (topic.to_owned(), name.to_owned());
        match text {
            Some(text) => drop(self.work.notes.insert(key, text.to_owned())),
            None => drop(self.work.notes.remove(&key)),
        }
        Ok(())
    }

    fn commit(self: Box<Self>) -> Result<()> {
        match self.home {
            Home::Own(replica) => replica.store(self.serial, self.work),
            Home::Shared(replica) => replica.borrow_mut().store(self.serial, self.work),
        }
    }
}
