//! One case: a server, clients, the messages between them, and the actions that chance picks.

use std::collections::BTreeMap;
use std::sync::Arc;

use haversack_model::access::{Access, Right};
use haversack_model::local::ReplicaHeader;
use haversack_model::{
    BatchNumber, BlobHash, CollectionId, Cursor, Direction, Edit, Error, Filter, Generation,
    Policy, Record, Replica, ReplicaId, RowVersion, SyncModel,
};
use haversack_sync::{Ids, NewReplica};

use crate::chance::Chance;
use crate::client::Native;
use crate::foreign::Foreign;
use crate::ground::{self, Key, PLOTS, SIZES, TREES, VISITS, pictures};
use crate::memory::bug::Bug;
use crate::memory::{MemoryReplica, SharedReplica, State};
use crate::message::{Message, Party, Reply, Request};
use crate::oracle::{Check, Ledger, Oracle, rows};
use crate::people::{Deed, Habits, deed};
use crate::server::{Server, SimStore, user_name};
use crate::sometimes::{Rare, Sometimes};
use crate::trace::Trace;

/// How often things go wrong, in a hundred.
#[derive(Clone, Copy, Debug)]
pub struct Faults {
    pub lost: usize,
    pub doubled: usize,
    pub server_crash: usize,
    pub client_crash: usize,
    pub held: usize,
}

macro_rules! actions {
    ($($name:ident = $weight:expr),* $(,)?) => {
        /// What chance may pick.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        enum Action { $($name),* }
        const ACTIONS: &[(Action, u32)] = &[$((Action::$name, $weight)),*];
    };
}

actions! {
    NativeEdit = 30,
    NativeSend = 14,
    NativePull = 14,
    NativeDecide = 4,
    NativeSync = 5,
    ForeignEdit = 14,
    ForeignSend = 10,
    ForeignGiveUp = 3,
    Deliver = 55,
    Online = 10,
    Direct = 5,
    Commit = 12,
    Race = 6,
    Prune = 3,
    Grant = 3,
    BackUpServer = 2,
    RestoreServer = 1,
    BackUpFile = 2,
    RestoreFile = 1,
    CloneFile = 1,
    AddColumn = 1,
}

/// A case in progress.
pub struct World<'s> {
    pub chance: Chance,
    pub server: Server<'s>,
    pub natives: Vec<Native>,
    pub foreigns: Vec<Foreign>,
    pub bag: Vec<Message>,
    pub oracle: Oracle,
    pub seen: Sometimes,
    pub trace: Trace,
    pub bug: Option<Bug>,
    pub habits: Habits,
    pub faults: Faults,
    /// No faults any more: the case comes to rest.
    pub calm: bool,
    pub page_size: usize,
    /// Pictures that foreign clients uploaded.
    pub uploaded: Vec<BlobHash>,
    pub weights: Vec<u32>,
    pub backups: Vec<(Arc<State>, Ledger)>,
    pub columns: u32,
    /// What each native replica was registered with, to register it anew.
    pub registered: BTreeMap<ReplicaId, (usize, NewReplica)>,
    /// What went wrong inside a call of the core.
    pub failure: Option<String>,
}

pub fn rights() -> Vec<Right> {
    vec![Right::Read, Right::Edit, Right::Sync]
}

impl<'s> World<'s> {
    /// A world as a seed makes it.
    pub fn new(
        store: &'s dyn SimStore,
        mut chance: Chance,
        bug: Option<Bug>,
        trace: Trace,
    ) -> Self {
        let mut weights: Vec<u32> = ACTIONS
            .iter()
            .map(|(_, weight)| weight * [0, 1, 1, 2, 4][chance.below(5)])
            .collect();
        for (index, weight) in weights.iter_mut().enumerate() {
            let essential = [
                Action::NativeEdit,
                Action::NativeSend,
                Action::NativePull,
                Action::Deliver,
            ];
            if essential.contains(&ACTIONS[index].0) {
                *weight = (*weight).max(ACTIONS[index].1);
            }
        }
        if !store.is_concurrent() {
            for (index, (action, _)) in ACTIONS.iter().enumerate() {
                let needs_more = [
                    Action::Commit,
                    Action::Race,
                    Action::BackUpServer,
                    Action::RestoreServer,
                ];
                if needs_more.contains(action) {
                    weights[index] = 0;
                }
            }
        }
        let rate = |chance: &mut Chance, most: usize| match chance.below(3) {
            0 => 0,
            1 => most / 3,
            _ => most,
        };
        let faults = Faults {
            lost: rate(&mut chance, 20),
            doubled: rate(&mut chance, 20),
            server_crash: rate(&mut chance, 10),
            client_crash: rate(&mut chance, 10),
            held: if store.is_concurrent() {
                rate(&mut chance, 30)
            } else {
                0
            },
        };
        let habits = Habits {
            wrong: rate(&mut chance, 12),
            adds: 3 + chance.below(4) as u32,
            updates: 8 + chance.below(8) as u32,
            deletes: chance.below(5) as u32,
            undeletes: chance.below(3) as u32,
            pictures: chance.percent(60),
        };
        let page_size = [1, 2, 3, 1000][chance.below(4)];
        let users = (0..3)
            .map(|_| Access {
                rights: rights(),
                filters: Vec::new(),
            })
            .collect();
        Self {
            chance,
            server: Server::new(store, users, bug),
            natives: Vec::new(),
            foreigns: Vec::new(),
            bag: Vec::new(),
            oracle: Oracle::default(),
            seen: Sometimes::default(),
            trace,
            bug,
            habits,
            faults,
            calm: false,
            page_size,
            uploaded: Vec::new(),
            weights,
            backups: Vec::new(),
            columns: 0,
            registered: BTreeMap::new(),
            failure: None,
        }
    }

    /// Fills the service and checks replicas out.
    pub fn populate(&mut self) -> Check {
        for _ in 0..4 + self.chance.below(8) {
            self.online(true)?;
        }
        for user in 0..3 {
            if self.chance.percent(30) {
                self.change_grant(user);
            }
        }
        for _ in 0..2 + self.chance.below(2) {
            let user = self.chance.below(3);
            self.check_out(user)?;
        }
        for at in 0..self.chance.below(3) {
            let user = self.chance.below(3);
            let mut layers = vec![TREES, PLOTS, VISITS, pictures()];
            if self.chance.percent(30) {
                layers = vec![TREES, VISITS];
            }
            let shapes = self.shapes(&layers)?;
            let mut client = Foreign::new(ReplicaId(self.chance.uuid()), user, shapes);
            client.layers = layers;
            client.whole_rows = self.chance.percent(50);
            client.per_layer = self.chance.percent(40);
            self.foreigns.push(client);
            self.foreign_check_out(at)?;
        }
        Ok(())
    }

    fn shapes(&self, layers: &[CollectionId]) -> Check<Vec<haversack_model::Collection>> {
        let tx = self.server.store.begin_read().map_err(fail)?;
        layers
            .iter()
            .map(|layer| tx.collection(*layer).map_err(fail))
            .collect()
    }

    pub fn some_filter(&mut self, collection: CollectionId) -> Filter {
        match self.chance.below(6) {
            0 | 1 => Filter::All,
            2 if collection != VISITS && collection.attachments_of().is_none() => {
                ground::west_of(self.chance.below(8))
            }
            3 if collection == VISITS => {
                ground::of_trees(ground::size_up_to(self.chance.below(SIZES)))
            }
            _ if collection.attachments_of().is_some() => Filter::All,
            _ => ground::size_up_to(self.chance.below(SIZES)),
        }
    }

    /// Registers a replica and reads its part, in one transaction.
    pub fn register(
        &mut self,
        user: usize,
        layers: &[CollectionId],
        native: bool,
    ) -> Check<(Replica, Generation, BTreeMap<Key, Record>)> {
        let policy = [Policy::Merge, Policy::Client, Policy::Server][self.chance.below(3)];
        let layers = layers
            .iter()
            .map(|layer| (*layer, self.some_filter(*layer)))
            .collect();
        let new = NewReplica {
            name: String::new(),
            owner: user_name(user),
            native,
            sync_model: SyncModel::PerReplica,
            direction: Direction::Bidirectional,
            policy,
            layers,
            dialect: String::new(),
        };
        let access = self.server.users[user].clone();
        let mut tx = self.server.begin(&mut self.chance).map_err(fail)?;
        let now = self.server.now(&mut self.chance);
        let ids = &mut || self.chance.uuid();
        let replica = haversack_sync::register(&mut *tx, new.clone(), &access, now, &mut Ids(ids))
            .map_err(fail)?;
        tx.commit().map_err(fail)?;
        self.registered.insert(replica.id, (user, new));
        let cursor = self
            .server
            .store
            .begin_read()
            .and_then(|tx| tx.head())
            .map_err(fail)?;
        let view = crate::oracle::server_view(self.server.store, replica.id).map_err(fail)?;
        let rows = view
            .into_iter()
            .map(|(key, row)| {
                let record = Record {
                    object_id: None,
                    ..row.record
                };
                (key, record)
            })
            .collect();
        Ok((replica, cursor.generation, rows))
    }

    /// A new native client with a checked-out file, filled or empty.
    fn check_out(&mut self, user: usize) -> Check {
        let layers = [TREES, PLOTS, VISITS, pictures()];
        let (replica, generation, rows) = self.register(user, &layers, true)?;
        let prepared = self.chance.percent(70);
        let tx = self.server.store.begin_read().map_err(fail)?;
        let head = tx.head().map_err(fail)?;
        let service = tx.service().map_err(fail)?;
        let header = ReplicaHeader {
            id: replica.id,
            name: String::new(),
            url: String::new(),
            protocol: "native".to_owned(),
            cursor: Cursor::bare(
                head.history,
                if prepared {
                    generation
                } else {
                    Generation::ZERO
                },
            ),
            layer_cursors: Vec::new(),
            direction: Direction::Bidirectional,
            policy: replica.policy,
            next_batch: BatchNumber(1),
            schema_version: service.schema_version,
            // An empty file is filled by a comparison with all that the server has.
            resyncing: !prepared,
            download: None,
            ahead: haversack_model::Versions::default(),
            synced_at: None,
            filter: String::new(),
        };
        let file = SharedReplica::new(MemoryReplica::new(header, self.shapes(&layers)?), self.bug);
        let at = self.natives.len();
        self.natives.push(Native::new(file));
        if prepared {
            let mut versions = Vec::new();
            for key in rows.keys() {
                let track = tx.track(key.0, &key.1).map_err(fail)?;
                versions.push(track.map(|track| RowVersion {
                    revision: track.revision,
                    generation: track.generation,
                }));
            }
            drop(tx);
            let calm = std::mem::replace(&mut self.calm, true);
            self.step(at, |tx, _| {
                for ((key, row), version) in rows.iter().zip(versions) {
                    tx.put_row(key.0, row)?;
                    tx.store_version(key.0, &key.1, version)?;
                }
                Ok(())
            })?;
            self.calm = calm;
        }
        self.trace.note(&format!(
            "n{at} checks out, as user {user}, {:?}",
            replica.policy
        ));
        Ok(())
    }

    /// One action.
    pub fn act(&mut self) -> Check {
        let Some(index) = self.chance.weighted(&self.weights) else {
            return Ok(());
        };
        self.run(ACTIONS[index].0)?;
        match self.failure.take() {
            Some(failure) => Err(failure),
            None => Ok(()),
        }
    }

    fn run(&mut self, action: Action) -> Check {
        let native = self.chance.below(self.natives.len());
        let foreign = self.chance.below(self.foreigns.len().max(1));
        if self.foreigns.is_empty()
            && matches!(
                action,
                Action::ForeignEdit | Action::ForeignSend | Action::ForeignGiveUp
            )
        {
            return Ok(());
        }
        match action {
            Action::NativeEdit => self.native_edit(native),
            Action::NativeSend => self.native_send(native),
            Action::NativePull => {
                self.native_pull(native);
                Ok(())
            }
            Action::NativeDecide => self.native_decide(native),
            Action::NativeSync => self.native_sync(native),
            Action::ForeignEdit => {
                self.foreign_edit(foreign);
                Ok(())
            }
            Action::ForeignSend if self.foreigns[foreign].is_outdated => {
                self.foreign_check_out(foreign)
            }
            Action::ForeignSend => {
                self.foreign_send(foreign);
                Ok(())
            }
            Action::ForeignGiveUp => {
                self.foreign_give_up(foreign);
                Ok(())
            }
            Action::Deliver => self.deliver(),
            Action::Online => self.online(false),
            Action::Direct => self.direct(),
            Action::Commit => self.commit_open(),
            Action::Race => self.race(native),
            Action::Prune => self.prune(),
            Action::Grant => {
                let user = self.chance.below(3);
                self.change_grant(user);
                Ok(())
            }
            Action::BackUpServer => {
                if let Some(state) = self.server.store.backup() {
                    self.backups.push((state, self.oracle.ledger.clone()));
                    self.trace.note("the server is backed up");
                }
                Ok(())
            }
            Action::RestoreServer => self.restore_server(),
            Action::BackUpFile => {
                let client = &mut self.natives[native];
                if client.backups.len() < 2 {
                    let copy = (client.file.copy(), client.local.clone());
                    client.backups.push(copy);
                    self.trace.note(&format!("n{native} is backed up"));
                }
                Ok(())
            }
            Action::RestoreFile => {
                self.restore_file(native);
                Ok(())
            }
            Action::CloneFile => {
                self.clone_file(native);
                Ok(())
            }
            Action::AddColumn => self.add_column(),
        }
    }

    fn online(&mut self, only_adds: bool) -> Check {
        let tx = self.server.store.begin_read().map_err(fail)?;
        let held = rows(&*tx).map_err(fail)?;
        let shapes = self.shapes(&ground::all())?;
        drop(tx);
        let held = held
            .into_iter()
            .map(|(key, row)| (key, row.record))
            .collect();
        let graves: Vec<Key> = self.oracle.ever_dead.iter().cloned().collect();
        let mut habits = self.habits;
        if only_adds {
            habits = Habits {
                updates: 0,
                deletes: 0,
                undeletes: 0,
                wrong: 0,
                ..habits
            };
        }
        let mut edits = Vec::new();
        for _ in 0..=self.chance.below(3) {
            let done = deed(
                &mut self.chance,
                &mut self.oracle,
                Party::Online,
                habits,
                &shapes,
                &held,
                &graves,
            );
            match done {
                Some(Deed::Add {
                    key, record, blob, ..
                }) => {
                    self.uploaded.extend(blob);
                    if graves.contains(&key) {
                        self.seen.saw(Rare::Undelete);
                    }
                    edits.push((
                        key.0,
                        Edit::Add {
                            record,
                            undelete: false,
                        },
                    ));
                }
                Some(Deed::Update { key, changes, .. }) => edits.push((
                    key.0,
                    Edit::Update {
                        global_id: key.1,
                        mine: changes,
                        base: None,
                    },
                )),
                Some(Deed::Delete { key }) => edits.push((
                    key.0,
                    Edit::Delete {
                        global_id: key.1,
                        base: None,
                    },
                )),
                None => {}
            }
        }
        edits.dedup_by(|a, b| a.1.global_id() == b.1.global_id());
        self.put_blobs()?;
        let request = Request::Online {
            user: self.chance.below(3),
            edits,
            all_or_nothing: self.chance.percent(20),
        };
        self.trace.note("someone edits online");
        self.serve(Party::Online, &request, !only_adds)?;
        Ok(())
    }

    /// Stores the pictures that were uploaded ahead of edits.
    pub fn put_blobs(&mut self) -> Check {
        if self.uploaded.is_empty() {
            return Ok(());
        }
        let mut tx = self.server.begin(&mut self.chance).map_err(fail)?;
        for hash in self.uploaded.drain(..) {
            tx.store_blob(hash, &hash.0).map_err(fail)?;
        }
        tx.commit().map_err(fail)?;
        Ok(())
    }

    /// Someone writes into the tables: names of records without children.
    fn direct(&mut self) -> Check {
        let tx = self.server.store.begin_read().map_err(fail)?;
        let held = rows(&*tx).map_err(fail)?;
        drop(tx);
        let plots: Vec<_> = held.keys().filter(|key| key.0 == PLOTS).cloned().collect();
        let Some(key) = self.chance.pick(&plots).cloned() else {
            return Ok(());
        };
        let number = self.oracle.mark(Party::Online, &key, 0);
        let mut mine = haversack_model::Changes::default();
        mine.values.insert(0, ground::token(number));
        let edit = if self.chance.percent(20) {
            Edit::Delete {
                global_id: key.1.clone(),
                base: None,
            }
        } else {
            Edit::Update {
                global_id: key.1.clone(),
                mine,
                base: None,
            }
        };
        self.trace
            .note(&format!("someone writes {} with SQL", ground::short(&key)));
        let edits = vec![(key.0, edit)];
        self.serve(Party::Online, &Request::Direct { edits }, true)?;
        Ok(())
    }

    /// Two transactions commit in the order opposite to that of their writes, with a pull between.
    fn race(&mut self, native: usize) -> Check {
        let held = std::mem::replace(&mut self.faults.held, 100);
        self.direct()?;
        self.faults.held = 0;
        self.online(false)?;
        self.faults.held = held;
        let header = self.natives[native].file.file().header.clone();
        let most = self.page_size;
        if let Some(reply) = self.serve(
            Party::Native(native),
            &Request::Pull { header, most },
            false,
        )? {
            self.native_receive(native, reply)?;
        }
        self.commit_open()
    }

    /// One message arrives, is lost or doubled.
    fn deliver(&mut self) -> Check {
        if self.bag.is_empty() {
            return Ok(());
        }
        let at = self.chance.below(self.bag.len());
        let message = self.bag.swap_remove(at);
        if !self.calm {
            if self.chance.percent(self.faults.lost) {
                let rare = match &message {
                    Message::Up(..) => Rare::RequestLost,
                    Message::Down(..) => Rare::ReplyLost,
                };
                self.seen.saw(rare);
                return Ok(());
            }
            if self.chance.percent(self.faults.doubled) {
                self.bag.push(message.clone());
            }
        }
        self.take(message)
    }

    fn take(&mut self, message: Message) -> Check {
        match message {
            Message::Up(party, session, request) => {
                self.put_blobs()?;
                if let Some(reply) = self.serve(party, &request, true)? {
                    self.bag
                        .push(Message::Down(party, session, Box::new(reply)));
                }
                Ok(())
            }
            Message::Down(party, session, reply) => {
                if session != self.session(party) {
                    return Ok(());
                }
                match party {
                    Party::Native(at) => self.native_receive(at, *reply),
                    Party::Foreign(at) => {
                        self.foreign_receive(at, *reply);
                        Ok(())
                    }
                    Party::Online => Ok(()),
                }
            }
        }
    }

    /// Everything under way arrives.
    pub fn flush(&mut self) -> Check {
        while !self.server.open.is_empty() {
            self.commit_open()?;
        }
        while !self.bag.is_empty() {
            self.deliver()?;
        }
        Ok(())
    }

    pub fn session(&self, party: Party) -> u64 {
        match party {
            Party::Native(at) => self.natives[at].session,
            _ => 0,
        }
    }

    /// The core's own loop, on a network that fails and with others at work meanwhile.
    fn native_sync(&mut self, at: usize) -> Check {
        self.synchronise(at)
    }
}

#[allow(clippy::needless_pass_by_value, reason = "its place is in map_err")]
pub fn fail(error: Error) -> String {
    format!("unexpected: {error}")
}

/// For what is not a reply to anyone.
pub fn is_done(reply: &Reply) -> bool {
    matches!(reply, Reply::Done)
}
