//! The simulated server: requests in transactions that may be held open, refused, or killed before their commit.

use std::cell::RefCell;

use haversack_model::edit::Base;
use haversack_model::local::ReplicaHeader;
use haversack_model::remote::{BatchReply, Page, Renewed};
use haversack_model::store::Flow;
use haversack_model::{
    Access, CollectionId, ConflictId, Edit, Error, Generation, GlobalId, Outcome, Policy,
    Principal, Receipt, Replica, ReplicaId, Resolution, Result, Right, Store, Timestamp, WriteTx,
};
use haversack_sync::native::{Pull, note_cursor};
use haversack_sync::{ForeignEdit, Ids, Uploader, apply_edits, decision, native, register};

use crate::chance::Chance;
use crate::ground::Key;
use crate::memory::bug::Bug;
use crate::message::{Exchange, Exchanged, Party, Refusal, Reply, Request};
use crate::spoilt::standing;
use crate::stores::Backup;

/// A store that the simulator can run on.
pub trait SimStore: Store {
    /// What is committed, to be restored later.
    fn backup(&self) -> Backup;
    /// Puts an old state back. No transaction is open.
    fn restore(&self, backup: &Backup);
    /// Whether several write transactions can be open at once.
    fn is_concurrent(&self) -> bool;
}

/// An edit as the oracle looks at it.
#[derive(Clone, Debug)]
pub struct Asked {
    pub key: Key,
    pub edit: Edit,
    /// Up to where its sender had seen the collection.
    pub cursor: Generation,
}

/// What a transaction did, for the oracle.
#[derive(Clone, Debug, Default)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "what befell a request, in any combination"
)]
pub struct Written {
    pub party: Option<Party>,
    pub asked: Vec<Asked>,
    pub receipts: Vec<Receipt>,
    pub rolled_back: bool,
    /// The stored reply was given again.
    pub replayed: bool,
    pub new_history: bool,
    /// The sender is no more: its file was put back since, or has another identity.
    pub is_late: bool,
    /// How many edits of a foreign client were recognised as repeats.
    pub repeats: usize,
}

/// A transaction that is held open.
pub struct Open<'s> {
    pub tx: Box<dyn WriteTx + 's>,
    pub party: Party,
    pub session: u64,
    pub request: Request,
    pub done: (Reply, Written),
    /// Generation of the head when it was done, to see whether others committed meanwhile.
    pub head: Generation,
}

/// The service and who may use it.
pub struct Server<'s> {
    pub store: &'s dyn SimStore,
    /// What each user may do.
    pub users: Vec<Access>,
    pub bug: Option<Bug>,
    pub clock: i64,
    /// How often, in a hundred, something is said about an edit that was stored.
    pub warns: usize,
    /// Answers to batches; what is stored with a batch is the index.
    replies: RefCell<Vec<BatchReply>>,
    pub open: Vec<Open<'s>>,
}

pub fn user_name(user: usize) -> String {
    format!("u{user}")
}

fn user_of(replica: &Replica) -> usize {
    replica.owner[1..].parse().unwrap_or(0)
}

impl<'s> Server<'s> {
    pub fn new(store: &'s dyn SimStore, users: Vec<Access>, bug: Option<Bug>) -> Self {
        Self {
            store,
            users,
            bug,
            clock: 1_700_000_000_000,
            warns: 0,
            replies: RefCell::new(Vec::new()),
            open: Vec::new(),
        }
    }

    pub fn now(&mut self, chance: &mut Chance) -> Timestamp {
        Timestamp(chance.tick(&mut self.clock))
    }

    pub fn begin(&mut self, chance: &mut Chance) -> Result<Box<dyn WriteTx + 's>> {
        let now = self.now(chance);
        self.store.begin_write(now)
    }

    pub fn replica(tx: &dyn WriteTx, id: ReplicaId) -> Result<(Replica, usize)> {
        let replica = tx.replica(id)?.ok_or(Error::NoReplica(id))?;
        let user = user_of(&replica);
        Ok((replica, user))
    }

    /// Brings a replica's filters up to date with its user's grants, as at the start of every sync. Gives whether
    /// something was stored.
    pub fn freshen(&mut self, id: ReplicaId, chance: &mut Chance) -> Result<bool> {
        let Some(mut replica) = self.store.begin_read()?.replica(id)? else {
            return Ok(false);
        };
        let access = self.users[user_of(&replica)].clone();
        if !register::filters_are_stale(&replica, &access) {
            return Ok(false);
        }
        let mut tx = self.begin(chance)?;
        register::refresh_filters(&mut *tx, &mut replica, &access)?;
        tx.commit()?;
        Ok(true)
    }

    /// Does a request in a transaction that the caller commits.
    pub fn execute(
        &mut self,
        tx: &mut dyn WriteTx,
        party: Party,
        request: &Request,
        chance: &mut Chance,
    ) -> Result<(Reply, Written)> {
        let now = self.now(chance);
        match request {
            Request::Push {
                header,
                batch,
                blobs,
            } => {
                for (hash, content) in blobs {
                    tx.store_blob(*hash, content)?;
                }
                self.push(tx, party, header, batch, now, chance)
            }
            Request::Renew { header } => {
                let (replica, user) = Self::replica(tx, header.id)?;
                let principal = Principal {
                    name: user_name(user),
                    is_admin: false,
                };
                let ids = &mut || chance.uuid();
                let renewed = register::renew(tx, replica.id, &principal, now, &mut Ids(ids))?;
                let reply = Reply::Renewed {
                    asked: header.clone(),
                    renewed: Renewed {
                        id: renewed.id,
                        continues: true,
                        cursor: None,
                    },
                };
                Ok((reply, Written::default()))
            }
            Request::Decide {
                header,
                decided,
                open,
            } => {
                let (replica, user) = Self::replica(tx, header.id)?;
                let by = Principal {
                    name: user_name(user),
                    is_admin: false,
                };
                let may_edit = self.users[user].allows(Right::Edit);
                let open: &[_] = match self.bug {
                    Some(Bug::DecisionNotTold) => &[],
                    _ => open,
                };
                if self.bug == Some(Bug::LastDecisionWins) {
                    Self::reopen(tx, decided)?;
                }
                let stand = decision::exchange(tx, &replica, &by, may_edit, decided, open, now)?;
                let reply = Reply::Decided {
                    asked: header.clone(),
                    stand,
                };
                Ok((reply, Written::default()))
            }
            Request::Resolve {
                user,
                conflict,
                kept,
            } => self.resolve(tx, *user, *conflict, kept, now, chance),
            Request::Foreign(exchange) => self.exchange(tx, party, exchange, now, chance),
            Request::Online {
                user,
                edits,
                all_or_nothing,
            } => {
                let name = user_name(*user);
                let by = Uploader {
                    user: &name,
                    replica: None,
                    policy: Policy::Merge,
                    access: &self.users[*user],
                    cursor: None,
                };
                let ids = &mut || chance.uuid();
                let applied = apply_edits(tx, &by, edits, *all_or_nothing, now, &mut Ids(ids))?;
                let written = Written {
                    party: Some(party),
                    asked: asked(edits, Generation(u64::MAX)),
                    receipts: applied.receipts,
                    rolled_back: applied.rolled_back,
                    ..Written::default()
                };
                Ok((Reply::Done, written))
            }
            Request::Direct { edits } => {
                for (collection, edit) in edits {
                    match edit {
                        Edit::Add { record, .. } => drop(tx.put(*collection, record, None)?),
                        Edit::Update {
                            global_id, mine, ..
                        } => {
                            if let Some(mut row) = tx.record(*collection, global_id)? {
                                mine.apply_to(&mut row.record);
                                tx.put(*collection, &row.record, None)?;
                            }
                        }
                        Edit::Delete { global_id, .. } => {
                            tx.delete(*collection, global_id, None)?;
                        }
                    }
                }
                let written = Written {
                    party: Some(party),
                    asked: asked(edits, Generation(u64::MAX)),
                    ..Written::default()
                };
                Ok((Reply::Done, written))
            }
            Request::Pull { .. } => Err(Error::Corrupt("a pull only reads".to_owned())),
        }
    }

    fn push(
        &mut self,
        tx: &mut dyn WriteTx,
        party: Party,
        header: &ReplicaHeader,
        batch: &haversack_model::local::FrozenBatch,
        now: Timestamp,
        chance: &mut Chance,
    ) -> Result<(Reply, Written)> {
        let (mut replica, user) = Self::replica(tx, header.id)?;
        let hash = *blake3::hash(format!("{batch:?}").as_bytes()).as_bytes();
        let mut sent = batch.clone();
        self.spoil_push(tx, &mut replica, &mut sent, hash)?;
        let name = user_name(user);
        let by = Uploader {
            user: &name,
            replica: Some(replica.id),
            policy: replica.policy,
            access: &self.users[user],
            cursor: None,
        };
        let before = self.replies.borrow().len();
        let encode = |reply: &BatchReply| {
            let mut replies = self.replies.borrow_mut();
            replies.push(reply.clone());
            (replies.len() - 1).to_le_bytes().to_vec()
        };
        let ids = &mut || chance.uuid();
        let bytes = native::push(tx, &replica, &by, &sent, hash, &encode, now, &mut Ids(ids))?;
        let index = bytes.try_into().map(usize::from_le_bytes);
        let index = index.map_err(|_bytes| Error::Corrupt("a stored reply".to_owned()))?;
        if self.replies.borrow().len() > before {
            self.warn(&batch.edits, index, chance);
        }
        let replies = self.replies.borrow();
        let reply = replies[index].clone();
        let written = Written {
            party: Some(party),
            asked: asked(&batch.edits, batch.cursor.generation),
            receipts: reply.receipts.clone(),
            replayed: replies.len() == before,
            ..Written::default()
        };
        let reply = Reply::Pushed {
            replica: header.id,
            batch: batch.clone(),
            reply,
        };
        Ok((reply, written))
    }

    /// Says something about some edits of a new answer, as importers do that store what they do not like.
    fn warn(&self, edits: &[(CollectionId, Edit)], answer: usize, chance: &mut Chance) {
        let mut replies = self.replies.borrow_mut();
        for ((_, edit), receipt) in edits.iter().zip(&mut replies[answer].receipts) {
            let is_here = !matches!(edit, Edit::Delete { .. }) && !receipt.left;
            let is_stored = matches!(receipt.outcome, Outcome::Applied | Outcome::Merged);
            if is_here && is_stored && chance.percent(self.warns) {
                receipt.outcome = Outcome::Warned {
                    reason: "it looks odd".to_owned(),
                };
            }
        }
    }

    /// Someone closes a conflict here: what is kept is stored as an online edit of theirs.
    fn resolve(
        &self,
        tx: &mut dyn WriteTx,
        user: usize,
        id: ConflictId,
        kept: &str,
        now: Timestamp,
        chance: &mut Chance,
    ) -> Result<(Reply, Written)> {
        let nothing = (Reply::Done, Written::default());
        let open = tx.conflict(id)?.filter(|found| found.resolution.is_none());
        let Some(mut conflict) = open else {
            return Ok(nothing);
        };
        let wanted = match kept {
            "mine" => conflict.mine.as_ref(),
            _ => conflict.theirs.as_ref(),
        };
        let edit = decision::edit_for(tx, &conflict, wanted, false)?;
        let edits: Vec<_> = edit
            .map(|edit| (conflict.collection, edit))
            .into_iter()
            .collect();
        let name = user_name(user);
        let by = Uploader {
            user: &name,
            replica: None,
            policy: Policy::Client,
            access: &self.users[user],
            cursor: None,
        };
        let ids = &mut || chance.uuid();
        let applied = apply_edits(tx, &by, &edits, true, now, &mut Ids(ids))?;
        if !applied.rolled_back {
            conflict.resolution = Some(Resolution {
                told: true,
                kept: kept.to_owned(),
                user: name.clone(),
                at: now,
            });
            tx.store_conflict(&conflict)?;
        }
        let written = Written {
            party: Some(Party::Online),
            asked: asked(&edits, Generation(u64::MAX)),
            receipts: applied.receipts,
            rolled_back: applied.rolled_back,
            ..Written::default()
        };
        Ok((Reply::Done, written))
    }

    fn exchange(
        &mut self,
        tx: &mut dyn WriteTx,
        party: Party,
        exchange: &Exchange,
        now: Timestamp,
        chance: &mut Chance,
    ) -> Result<(Reply, Written)> {
        let (mut replica, user) = Self::replica(tx, exchange.replica)?;
        let head = tx.head()?;
        for (_, cursor) in &exchange.cursors {
            if *cursor > head.generation || (*cursor < head.floor && cursor.0 > 0) {
                return Err(Error::Resync {
                    asked: *cursor,
                    reason: "the generation cannot be continued",
                });
            }
        }
        let name = user_name(user);
        let by = Uploader {
            user: &name,
            replica: Some(replica.id),
            policy: replica.policy,
            access: &self.users[user],
            cursor: None,
        };
        let cursors: Vec<_> = exchange
            .cursors
            .iter()
            .map(|(collection, cursor)| (*collection, Some(*cursor)))
            .collect();
        let cursor_of = |collection| {
            let found = exchange.cursors.iter().find(|(id, _)| *id == collection);
            found.map_or(Generation::ZERO, |(_, cursor)| *cursor)
        };
        let mut repeats = 0;
        for (collection, edit) in &exchange.edits {
            let last = tx.last_edit(replica.id, *collection, edit.global_id())?;
            repeats +=
                usize::from(last.is_some_and(|last| last.generation > cursor_of(*collection)));
        }
        let ids = &mut || chance.uuid();
        let (applied, sent) = haversack_sync::import(
            tx,
            &replica,
            &cursors,
            &by,
            &exchange.edits,
            exchange.all_or_nothing,
            now,
            &mut Ids(ids),
        )?;
        let upto = tx.head()?.generation;
        let mut changes = Vec::new();
        let told = self.spoilt(&replica);
        for layer in &told.layers {
            let (collection, since) = (layer.collection, cursor_of(layer.collection));
            if !exchange.cursors.iter().any(|(id, _)| *id == collection) {
                continue;
            }
            haversack_sync::delta(tx, layer, since, upto, &sent, &mut |change| {
                changes.push((collection, change));
                Ok(Flow::Continue(()))
            })?;
        }
        // A layer without a generation in the request keeps its own.
        for layer in &mut replica.layers {
            layer.cursor = layer.cursor.max(cursor_of(layer.collection));
        }
        tx.store_replica(&replica)?;
        let accepted = |receipt: &Receipt| !matches!(receipt.outcome, Outcome::Rejected { .. });
        let reply = Reply::Exchanged(Exchanged {
            attempt: exchange.attempt,
            accepted: applied.receipts.iter().map(accepted).collect(),
            changes,
            cursors: exchange.cursors.iter().map(|(id, _)| (*id, upto)).collect(),
        });
        let edits = exchange.edits.iter().map(|(collection, edit)| Asked {
            key: (*collection, edit.global_id().clone()),
            edit: plain(edit),
            cursor: cursor_of(*collection),
        });
        let written = Written {
            party: Some(party),
            asked: edits.collect(),
            receipts: applied.receipts,
            rolled_back: applied.rolled_back,
            repeats,
            ..Written::default()
        };
        Ok((reply, written))
    }

    /// One page for a native client.
    pub fn pull(&mut self, header: &ReplicaHeader, most: usize) -> Result<Page> {
        let tx = self.store.begin_read()?;
        let replica = tx.replica(header.id)?.ok_or(Error::NoReplica(header.id))?;
        let asked = Pull {
            cursor: header.cursor,
            download: header
                .download
                .filter(|_| self.bug != Some(Bug::PageForgetsStart)),
            ahead: match self.bug {
                Some(Bug::HeldByGeneration) => standing(&*tx, &header.ahead)?,
                _ => header.ahead.clone(),
            },
            schema_version: header.schema_version,
            max_changes: most,
        };
        let mut page = native::pull(&*tx, &self.spoilt(&replica), &asked)?;
        self.spoil_page(&*tx, &replica, header, &mut page);
        Ok(page)
    }

    /// Notes what a replica has, after a page that continued its cursor.
    pub fn note(&mut self, header: &ReplicaHeader, chance: &mut Chance) -> Result<()> {
        let mut tx = self.begin(chance)?;
        let Some(mut replica) = tx.replica(header.id)? else {
            return Ok(());
        };
        note_cursor(&mut replica, header.cursor.generation);
        tx.store_replica(&replica)?;
        tx.commit()?;
        Ok(())
    }

    /// Starts a new history if a request proves that the server was rewound.
    pub fn rewound(&mut self, header: &ReplicaHeader, chance: &mut Chance) -> Result<bool> {
        if self.bug == Some(Bug::SameHistory) {
            return Ok(false);
        }
        let mut tx = self.begin(chance)?;
        let ids = &mut || chance.uuid();
        if !native::start_history_if_rewound(&mut *tx, header.cursor, &mut Ids(ids))? {
            return Ok(false);
        }
        tx.commit()?;
        Ok(true)
    }
}

fn asked(edits: &[(CollectionId, Edit)], cursor: Generation) -> Vec<Asked> {
    let one = |(collection, edit): &(CollectionId, Edit)| Asked {
        key: (*collection, edit.global_id().clone()),
        edit: edit.clone(),
        cursor,
    };
    edits.iter().map(one).collect()
}

/// A foreign edit in the oracle's terms, without a base.
fn plain(edit: &ForeignEdit) -> Edit {
    match edit {
        ForeignEdit::Add(record, _) => Edit::Add {
            record: record.clone(),
            undelete: false,
        },
        ForeignEdit::Update { global_id, mine } => Edit::Update {
            global_id: global_id.clone(),
            mine: mine.clone(),
            base: None::<Base>,
        },
        ForeignEdit::Delete(global_id) => Edit::Delete {
            global_id: GlobalId::clone(global_id),
            base: None,
        },
    }
}

/// The refusal that a native client is told.
pub fn refused(request: &Request, error: Error) -> Result<Reply> {
    let (header, batch) = match request {
        Request::Push { header, batch, .. } => (header, Some(batch.clone())),
        Request::Pull { header, .. }
        | Request::Renew { header }
        | Request::Decide { header, .. } => (header, None),
        _ => return Err(error),
    };
    Ok(Reply::Refused {
        asked: header.clone(),
        refusal: Refusal::of(error)?,
        batch,
    })
}
