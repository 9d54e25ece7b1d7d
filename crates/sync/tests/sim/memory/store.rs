//! The store in memory: snapshots are shared states, a write transaction works on a copy and merges at commit.
//!
//! Several write transactions may be open at once, as on a server database: one that changed what another has
//! committed since it began is refused, like a serialisation failure, and must be retried whole. Generations are
//! handed out by `seal`, on the newest state, unless a deliberate fault says otherwise.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use haversack_model::conflict::ConflictId;
use haversack_model::record::Digest;
use haversack_model::store::{
    ChangeQuery, Flow, Head, LastEdit, ReadTx, Store, StoredReply, WriteTx,
};
use haversack_model::{
    BlobHash, Change, Collection, CollectionId, Conflict, Error, Filter, Generation, GlobalId,
    HistoryId, ObjectId, Query, QueryRow, Record, Replica, ReplicaId, Result, Revision, Service,
    Timestamp, Track, Versioned,
};

use super::bug::Bug;
use super::state::{Key, Row, State};

#[derive(Debug)]
struct Shared {
    state: Arc<State>,
    /// The sequence of [`Bug::GenerationAtStart`].
    sequence: u64,
}

/// One service in memory.
#[derive(Debug)]
pub struct MemoryStore {
    shared: Mutex<Shared>,
    pub(super) bug: Option<Bug>,
}

impl MemoryStore {
    pub fn new(service: Service, history: HistoryId, bug: Option<Bug>) -> Self {
        let state = Arc::new(State::new(service, history));
        Self {
            shared: Mutex::new(Shared { state, sequence: 0 }),
            bug,
        }
    }

    fn shared(&self) -> std::sync::MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is committed, to be restored later as a backup.
    pub fn backup(&self) -> Arc<State> {
        Arc::clone(&self.shared().state)
    }

    /// Puts an old state back, as an administrator does after a disaster. The caller starts a new history.
    pub fn restore(&self, backup: Arc<State>) {
        self.shared().state = backup;
    }
}

impl Store for MemoryStore {
    fn begin_read(&self) -> Result<Box<dyn ReadTx + '_>> {
        Ok(Box::new(Snapshot(self.backup())))
    }

    fn begin_write(&self, now: Timestamp) -> Result<Box<dyn WriteTx + '_>> {
        let base = self.backup();
        Ok(Box::new(Transaction {
            store: self,
            now,
            work: Work {
                state: (*base).clone(),
                changed: Changed::default(),
            },
            base,
            savepoint: None,
            sealed_on: None,
        }))
    }
}

struct Snapshot(Arc<State>);

/// What a transaction changed, by key.
#[derive(Clone, Debug, Default)]
pub(super) struct Changed {
    /// Records in the order in which they were first written.
    pub(super) records: Vec<Key>,
    pub(super) touched: BTreeSet<Key>,
    pub(super) replicas: BTreeSet<ReplicaId>,
    pub(super) replies: BTreeSet<ReplicaId>,
    pub(super) last_edits: BTreeSet<(ReplicaId, CollectionId, GlobalId)>,
    pub(super) conflicts: BTreeSet<ConflictId>,
    pub(super) blobs: BTreeSet<BlobHash>,
    pub(super) service: bool,
    /// Head, floor and all rows: the maintenance operations own the whole state.
    pub(super) everything: bool,
    /// Generations taken for changes that are in no record.
    pub(super) extra_generations: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Work {
    pub(super) state: State,
    pub(super) changed: Changed,
}

pub(super) struct Transaction<'a> {
    pub(super) store: &'a MemoryStore,
    pub(super) now: Timestamp,
    pub(super) base: Arc<State>,
    pub(super) work: Work,
    savepoint: Option<Work>,
    /// The committed state that the generations were taken on.
    sealed_on: Option<Arc<State>>,
}

pub(super) fn refused(doing: &'static str) -> Error {
    Error::Store {
        doing,
        source: "another transaction changed the same".into(),
    }
}

impl Transaction<'_> {
    fn state(&self) -> &State {
        &self.work.state
    }

    fn remember(&mut self, key: &Key) {
        if !self.work.changed.records.contains(key) {
            self.work.changed.records.push(key.clone());
        }
    }

    fn must_be_open(&self) -> Result<()> {
        match self.sealed_on {
            None => Ok(()),
            Some(_) => Err(Error::Corrupt(
                "a record was changed after the generations were taken".to_owned(),
            )),
        }
    }

    /// The track of a row that is written now; its generation is settled by `seal`.
    fn provisional(&mut self, key: &Key, deleted: bool, origin: Option<ReplicaId>) -> Track {
        let generation = match self.store.bug {
            Some(Bug::GenerationAtStart) => {
                let mut shared = self.store.shared();
                shared.sequence = shared.sequence.max(shared.state.head.generation.0) + 1;
                Generation(shared.sequence)
            }
            _ => Generation(u64::MAX),
        };
        let own = self
            .state()
            .rows
            .get(key)
            .map_or(Revision(0), |row| row.track.revision);
        let revision = Revision::next(self.now, self.state().head.revision, own);
        self.work.state.head.revision = revision;
        Track {
            generation,
            stamp: self.now,
            revision,
            deleted,
            origin,
        }
    }
}

/// Both kinds of transaction read a [`State`] the same way.
macro_rules! read_through {
    ($self:ident => $state:expr) => {
        fn head(&$self) -> Result<Head> {
            Ok($state.head)
        }
        fn common_with(&$self, history: HistoryId) -> Result<Option<Generation>> {
            if $state.head.history == history {
                return Ok(Some($state.head.generation));
            }
            // Whoever follows a history that was left later than an earlier fork shares only what came before that fork.
            let at = $state.ancestors.iter().position(|(ancestor, _)| *ancestor == history);
            Ok(at.and_then(|at| $state.ancestors[at..].iter().map(|(_, fork)| *fork).min()))
        }
        fn service(&$self) -> Result<Service> {
            Ok((*$state.service).clone())
        }
        fn collection(&$self, id: CollectionId) -> Result<Collection> {
            $state.collection(id).cloned()
        }
        fn record(&$self, collection: CollectionId, id: &GlobalId) -> Result<Option<Versioned>> {
            $state.record(collection, id)
        }
        fn track(&$self, collection: CollectionId, id: &GlobalId) -> Result<Option<Track>> {
            Ok($state.track(collection, id))
        }
        fn record_as_of(&$self, collection: CollectionId, id: &GlobalId, at: Generation) -> Result<Option<Versioned>> {
            $state.record_as_of(collection, id, at)
        }
        fn matches(&$self, collection: CollectionId, id: &GlobalId, filter: &Filter) -> Result<bool> {
            let shape = $state.collection(collection)?;
            let found = $state.record(collection, id)?;
            Ok(found.is_some_and(|found| $state.is_match(shape, &found.record, filter)))
        }
        fn changes(&$self, query: &ChangeQuery<'_>, visit: &mut dyn FnMut(Change) -> Result<Flow>) -> Result<()> {
            $state.changes(query, visit)
        }
        fn membership(&$self, query: &ChangeQuery<'_>, visit: &mut dyn FnMut(Change) -> Result<Flow>) -> Result<()> {
            $state.membership(query, visit)
        }
        fn query(&$self, query: &Query, visit: &mut dyn FnMut(QueryRow) -> Result<Flow>) -> Result<()> {
            $state.query(query, visit)
        }
        fn digest(&$self, collection: CollectionId, filter: &Filter) -> Result<Digest> {
            $state.digest(collection, filter)
        }
        fn replica(&$self, id: ReplicaId) -> Result<Option<Replica>> {
            Ok($state.replicas.get(&id).map(|replica| (**replica).clone()))
        }
        fn replicas(&$self) -> Result<Vec<Replica>> {
            Ok($state.replicas.values().map(|replica| (**replica).clone()).collect())
        }
        fn stored_reply(&$self, replica: ReplicaId) -> Result<Option<StoredReply>> {
            Ok($state.replies.get(&replica).map(|reply| (**reply).clone()))
        }
        fn last_edit(&$self, replica: ReplicaId, collection: CollectionId, id: &GlobalId) -> Result<Option<LastEdit>> {
            Ok($state.last_edits.get(&(replica, collection, id.clone())).map(|edit| (**edit).clone()))
        }
        fn conflict(&$self, id: ConflictId) -> Result<Option<Conflict>> {
            Ok($state.conflicts.get(&id).map(|conflict| (**conflict).clone()))
        }
        fn conflicts(&$self, open_only: bool, visit: &mut dyn FnMut(Conflict) -> Result<Flow>) -> Result<()> {
            let mut found: Vec<_> = $state.conflicts.values().collect();
            found.sort_by_key(|conflict| (conflict.at, conflict.id));
            for conflict in found {
                if (!open_only || conflict.resolution.is_none()) && visit((**conflict).clone())?.is_break() {
                    break;
                }
            }
            Ok(())
        }
        fn blob(&$self, hash: BlobHash) -> Result<Option<Vec<u8>>> {
            Ok($state.blobs.get(&hash).map(|content| content.to_vec()))
        }
        fn has_blob(&$self, hash: BlobHash) -> Result<bool> {
            Ok($state.blobs.contains_key(&hash))
        }
        fn history(&$self, collection: CollectionId, id: &GlobalId) -> Result<Vec<Versioned>> {
            $state.history(collection, id)
        }
    };
}

impl ReadTx for Snapshot {
    read_through!(self => self.0);
}

impl ReadTx for Transaction<'_> {
    read_through!(self => self.state());
}

impl WriteTx for Transaction<'_> {
    fn put(
        &mut self,
        collection: CollectionId,
        record: &Record,
        origin: Option<ReplicaId>,
    ) -> Result<ObjectId> {
        self.must_be_open()?;
        self.state().collection(collection)?;
        let key = (collection, record.global_id.clone());
        let existing = self
            .state()
            .rows
            .get(&key)
            .and_then(|row| row.record.as_ref()?.object_id);
        let object_id = existing.unwrap_or_else(|| {
            let next = self.work.state.next_object.entry(collection).or_insert(0);
            *next += 1;
            ObjectId(*next)
        });
        let track = self.provisional(&key, false, origin);
        let record = Arc::new(Record {
            object_id: Some(object_id),
            ..record.clone()
        });
        self.remember(&key);
        self.work.changed.touched.remove(&key);
        self.work.state.rows.insert(
            key,
            Row {
                track,
                content_since: track.generation,
                record: Some(record),
            },
        );
        Ok(object_id)
    }

    fn delete(
        &mut self,
        collection: CollectionId,
        id: &GlobalId,
        origin: Option<ReplicaId>,
    ) -> Result<bool> {
        self.must_be_open()?;
        let key = (collection, id.clone());
        if self.state().record(collection, id)?.is_none() {
            return Ok(false);
        }
        let track = self.provisional(&key, true, origin);
        self.remember(&key);
        self.work.changed.touched.remove(&key);
        self.work.state.rows.insert(
            key,
            Row {
                track,
                content_since: track.generation,
                record: None,
            },
        );
        Ok(true)
    }

    fn touch(&mut self, collection: CollectionId, id: &GlobalId) -> Result<()> {
        self.must_be_open()?;
        if self.store.bug == Some(Bug::NoTouch) {
            return Ok(());
        }
        let key = (collection, id.clone());
        if self.state().record(collection, id)?.is_some()
            && !self.work.changed.records.contains(&key)
        {
            self.remember(&key);
            self.work.changed.touched.insert(key);
        }
        Ok(())
    }

    fn take_generation(&mut self) -> Result<Generation> {
        self.must_be_open()?;
        self.work.changed.extra_generations += 1;
        self.work.changed.everything = true;
        let head = &mut self.work.state.head;
        head.generation = head.generation.next();
        Ok(head.generation)
    }

    fn seal(&mut self) -> Result<Head> {
        if self.sealed_on.is_none() {
            let newest = self.store.backup();
            self.merge_onto(&newest)?;
            self.number();
            self.sealed_on = Some(newest);
        }
        Ok(self.state().head)
    }

    fn savepoint(&mut self) -> Result<()> {
        self.savepoint = Some(self.work.clone());
        Ok(())
    }

    fn rollback_to_savepoint(&mut self) -> Result<()> {
        self.must_be_open()?;
        match &self.savepoint {
            Some(work) => self.work = work.clone(),
            None => return Err(Error::Corrupt("there is no savepoint".to_owned())),
        }
        Ok(())
    }

    fn commit(mut self: Box<Self>) -> Result<Head> {
        self.seal()?;
        let newest = self.store.backup();
        let sealed_on = self
            .sealed_on
            .clone()
            .unwrap_or_else(|| Arc::clone(&newest));
        if !Arc::ptr_eq(&newest, &sealed_on) {
            if self.store.bug != Some(Bug::GenerationAtStart) {
                return Err(refused("commit"));
            }
            // The faulty store lets a transaction commit below what others have already seen.
            let seen = newest.head;
            self.merge_onto(&newest)?;
            let head = &mut self.work.state.head;
            head.generation = head.generation.max(seen.generation);
            head.stamp = head.stamp.max(seen.stamp);
        }
        let head = self.state().head;
        let state = Arc::new(std::mem::replace(
            &mut self.work.state,
            (*self.base).clone(),
        ));
        self.store.shared().state = state;
        Ok(head)
    }

    fn store_replica(&mut self, replica: &Replica) -> Result<()> {
        self.work.changed.replicas.insert(replica.id);
        self.work
            .state
            .replicas
            .insert(replica.id, Arc::new(replica.clone()));
        Ok(())
    }

    fn remove_replica(&mut self, id: ReplicaId) -> Result<bool> {
        self.work.changed.replicas.insert(id);
        self.work.changed.replies.insert(id);
        self.work.state.replies.remove(&id);
        let edits: Vec<_> = self
            .state()
            .last_edits
            .keys()
            .filter(|(of, _, _)| *of == id)
            .cloned()
            .collect();
        for key in edits {
            self.work.state.last_edits.remove(&key);
            self.work.changed.last_edits.insert(key);
        }
        Ok(self.work.state.replicas.remove(&id).is_some())
    }

    fn store_reply(&mut self, replica: ReplicaId, reply: &StoredReply) -> Result<()> {
        self.work.changed.replies.insert(replica);
        self.work
            .state
            .replies
            .insert(replica, Arc::new(reply.clone()));
        Ok(())
    }

    fn store_last_edit(
        &mut self,
        replica: ReplicaId,
        collection: CollectionId,
        id: &GlobalId,
        edit: &LastEdit,
    ) -> Result<()> {
        if self.store.bug == Some(Bug::LastEditForgotten) {
            return Ok(());
        }
        let key = (replica, collection, id.clone());
        self.work.changed.last_edits.insert(key.clone());
        self.work
            .state
            .last_edits
            .insert(key, Arc::new(edit.clone()));
        Ok(())
    }

    fn prune_last_edits(&mut self, replica: ReplicaId, upto: Generation) -> Result<()> {
        let passed = |(key, edit): (&(ReplicaId, CollectionId, GlobalId), &Arc<LastEdit>)| {
            (key.0 == replica && edit.generation <= upto).then(|| key.clone())
        };
        for key in self
            .state()
            .last_edits
            .iter()
            .filter_map(passed)
            .collect::<Vec<_>>()
        {
            self.work.state.last_edits.remove(&key);
            self.work.changed.last_edits.insert(key);
        }
        Ok(())
    }

    fn store_conflict(&mut self, conflict: &Conflict) -> Result<()> {
        if self.store.bug == Some(Bug::LosingEditNotStored) {
            return Ok(());
        }
        self.work.changed.conflicts.insert(conflict.id);
        self.work
            .state
            .conflicts
            .insert(conflict.id, Arc::new(conflict.clone()));
        Ok(())
    }

    fn store_blob(&mut self, hash: BlobHash, content: &[u8]) -> Result<()> {
        self.work.changed.blobs.insert(hash);
        self.work.state.blobs.insert(hash, content.into());
        Ok(())
    }

    fn store_service(&mut self, service: &Service) -> Result<()> {
        self.work.changed.service = true;
        self.work.state.set_service(Arc::new(service.clone()));
        Ok(())
    }

    fn prune_history(&mut self, upto: Generation) -> Result<Generation> {
        self.work.changed.everything = true;
        let is_faulty = self.store.bug == Some(Bug::PruneWithoutFloor);
        let floor_before = self.state().head.floor;
        let floor = self.work.state.prune(upto, is_faulty);
        if is_faulty {
            self.work.state.head.floor = floor_before;
        }
        Ok(floor)
    }

    fn start_history(&mut self, id: HistoryId) -> Result<Head> {
        const STEP: u64 = 1 << 40;
        self.work.changed.everything = true;
        let state = &mut self.work.state;
        state
            .ancestors
            .push((state.head.history, state.head.generation));
        state.head.history = id;
        if self.store.bug == Some(Bug::NoJump) {
            return Ok(state.head);
        }
        state.head.generation = Generation((state.head.generation.0 / STEP + 1) * STEP);
        // Bare generations that foreign clients kept are below it.
        state.head.floor = state.head.generation;
        Ok(state.head)
    }
}
