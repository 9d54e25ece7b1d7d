//! One case: a server, clients, the messages between them, and the actions that chance picks.

use std::collections::BTreeMap;

use haversack_model::access::{Access, Right};
use haversack_model::{BlobHash, Error, ReplicaId};
use haversack_sync::NewReplica;

use crate::chance::Chance;
use crate::client::Native;
use crate::foreign::Foreign;
use crate::memory::bug::Bug;
use crate::message::{Message, Party, Reply};
use crate::oracle::{Check, Ledger, Oracle};
use crate::people::Habits;
use crate::server::{Server, SimStore};
use crate::sometimes::{Rare, Sometimes};
use crate::stores::Backup;
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
    NativeTell = 3,
    ServerDecide = 3,
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
    pub backups: Vec<(Backup, Ledger)>,
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
                if matches!(action, Action::Commit | Action::Race) {
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
                ..Access::default()
            })
            .collect();
        let mut server = Server::new(store, users, bug);
        server.warns = rate(&mut chance, 8);
        Self {
            chance,
            server,
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
            Action::NativeTell => {
                self.native_tell(native);
                Ok(())
            }
            Action::ServerDecide => self.server_decide(),
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
                let state = self.server.store.backup();
                self.backups.push((state, self.oracle.ledger.clone()));
                self.trace.note("the server is backed up");
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
                if let Some(reply) = self.serve(party, session, &request, true)? {
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
