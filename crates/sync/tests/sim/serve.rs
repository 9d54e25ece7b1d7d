//! How the world's server answers a request: refusals, killed and held transactions, and what the oracle sees of it.

use std::collections::BTreeSet;

use haversack_model::local::ReplicaHeader;
use haversack_model::remote::{Page, RemoteChange, Renewed};
use haversack_model::{ConflictKind, Error, ReplicaId};
use haversack_sync::{Ids, register};

use crate::memory::bug::Bug;
use crate::message::{Message, Party, Reply, Request};
use crate::oracle::Check;
use crate::server::{Open, Written, refused};
use crate::sometimes::Rare;
use crate::world::{World, fail, is_done};

impl World<'_> {
    /// Answers a request of a client's session, now or, if it may be held, later. `None`: no answer is sent yet.
    pub fn serve(
        &mut self,
        party: Party,
        session: u64,
        request: &Request,
        may_hold: bool,
    ) -> Check<Option<Reply>> {
        if let (Party::Foreign(at), Request::Foreign(exchange)) = (party, request)
            && (exchange.attempt <= self.foreigns[at].answered
                || exchange.attempt < self.foreigns[at].stored)
        {
            // Without numbers of requests nobody can tell a late copy from a new one: its connection is long closed.
            return Ok(None);
        }
        if let Some(id) = replica_of(request)
            && self.server.freshen(id, &mut self.chance).map_err(fail)?
        {
            self.seen.saw(Rare::GrantChanged);
            self.observed(&Written::default())?;
        }
        if let Request::Pull { header, most } = request {
            return self.serve_pull(header, *most);
        }
        if self.bug == Some(Bug::HalfBatch) {
            // Refusals of the half are no matter: the whole will be refused too.
            drop(self.server.store_half(request, &mut self.chance));
        }
        for _ in 0..6 {
            let mut tx = self.server.begin(&mut self.chance).map_err(fail)?;
            let head = tx.head().map_err(fail)?.generation;
            let done = self
                .server
                .execute(&mut *tx, party, request, &mut self.chance);
            let (reply, mut written) = match done {
                Ok(done) => done,
                Err(Error::Store { .. }) => continue,
                Err(error) => {
                    drop(tx);
                    return self.refuse(party, session, request, error);
                }
            };
            written.is_late = self.is_late(party, session, request);
            let hold = may_hold
                && !self.calm
                && self.server.open.len() < 2
                && self.server.store.is_concurrent()
                && self.chance.percent(self.faults.held);
            if hold {
                self.trace.note("  the server holds the transaction");
                let open = Open {
                    tx,
                    party,
                    session,
                    request: request.clone(),
                    done: (reply, written),
                    head,
                };
                self.server.open.push(open);
                return Ok(None);
            }
            if !self.calm && self.chance.percent(self.faults.server_crash) {
                drop(tx);
                self.trace.note("  the server is killed before the commit");
                self.seen.saw(Rare::ServerCrash);
                self.oracle.untouched(self.server.store)?;
                return Ok(None);
            }
            match tx.commit() {
                Ok(_) => {
                    self.stored(party, request);
                    self.trace_receipts(&written);
                    self.observed(&written)?;
                    self.oracle.decisions_stand(self.server.store)?;
                    if let Reply::Renewed { asked, renewed } = &reply
                        && let Some(known) = self.registered.get(&asked.id).cloned()
                    {
                        self.registered.insert(renewed.id, known);
                    }
                    return Ok(Some(reply));
                }
                Err(Error::Store { .. }) => {}
                Err(error) => return Err(fail(error)),
            }
        }
        Err("a transaction was refused again and again".to_owned())
    }

    /// Whether the file that sent a request was put back since, or has another identity by now: under that it has sent the same again,
    /// and may have gone on.
    fn is_late(&self, party: Party, session: u64, request: &Request) -> bool {
        let is_former = match (party, replica_of(request)) {
            (Party::Native(at), Some(id)) => self.natives[at].file.file().header.id != id,
            _ => false,
        };
        is_former || session != self.session(party)
    }

    fn stored(&mut self, party: Party, request: &Request) {
        if let (Party::Foreign(at), Request::Foreign(exchange)) = (party, request) {
            let client = &mut self.foreigns[at];
            client.stored = client.stored.max(exchange.attempt);
        }
    }

    fn trace_receipts(&mut self, written: &Written) {
        for receipt in &written.receipts {
            let key = (receipt.collection, receipt.global_id.clone());
            let line = format!(
                "  {} {:?}{}{}",
                crate::ground::short(&key),
                receipt.outcome,
                if receipt.left { ", left" } else { "" },
                if written.replayed { " (again)" } else { "" },
            );
            self.trace.note(&line);
        }
    }

    /// A held transaction commits; if it is refused, the request is done again whole.
    pub fn commit_open(&mut self) -> Check {
        if self.server.open.is_empty() {
            return Ok(());
        }
        let at = self.chance.below(self.server.open.len());
        let mut open = self.server.open.remove(at);
        open.done.1.is_late = self.is_late(open.party, open.session, &open.request);
        let head = self
            .server
            .store
            .begin_read()
            .and_then(|tx| tx.head())
            .map_err(fail)?;
        let reply = match open.tx.commit() {
            Ok(_) => {
                self.trace.note("  a held transaction commits");
                if head.generation > open.head {
                    self.seen.saw(Rare::ConcurrentCommits);
                }
                self.stored(open.party, &open.request);
                self.trace_receipts(&open.done.1);
                self.observed(&open.done.1)?;
                if let Reply::Renewed { asked, renewed } = &open.done.0
                    && let Some(known) = self.registered.get(&asked.id).cloned()
                {
                    self.registered.insert(renewed.id, known);
                }
                Some(open.done.0)
            }
            Err(Error::Store { .. }) => {
                self.trace
                    .note("  a held transaction is refused and done again");
                self.seen.saw(Rare::RetriedWhole);
                self.serve(open.party, open.session, &open.request, false)?
            }
            Err(error) => return Err(fail(error)),
        };
        if let Some(reply) = reply.filter(|reply| !is_done(reply)) {
            self.bag
                .push(Message::Down(open.party, open.session, Box::new(reply)));
        }
        Ok(())
    }

    fn serve_pull(&mut self, header: &ReplicaHeader, most: usize) -> Check<Option<Reply>> {
        let now = self
            .server
            .store
            .begin_read()
            .and_then(|tx| tx.head())
            .map_err(fail)?;
        if self
            .server
            .open
            .iter()
            .any(|open| open.head < now.generation)
        {
            self.seen.saw(Rare::PulledBetweenCommits);
        }
        match self.server.pull(header, most) {
            Ok(page) => {
                self.server.note(header, &mut self.chance).map_err(fail)?;
                self.observed(&Written::default())?;
                Ok(Some(Reply::Page {
                    asked: header.clone(),
                    page,
                }))
            }
            Err(error) => {
                let request = Request::Pull {
                    header: header.clone(),
                    most,
                };
                self.refuse(Party::Online, 0, &request, error)
            }
        }
    }

    fn refuse(
        &mut self,
        party: Party,
        session: u64,
        request: &Request,
        error: Error,
    ) -> Check<Option<Reply>> {
        if let Request::Foreign(exchange) = request {
            return match error {
                Error::Resync { .. } | Error::NoReplica(_) => Ok(Some(Reply::Outdated {
                    attempt: exchange.attempt,
                })),
                error => Err(fail(error)),
            };
        }
        let header = match request {
            Request::Push { header, .. } | Request::Pull { header, .. } => header,
            Request::Decide { header, .. } if matches!(error, Error::NoReplica(_)) => header,
            Request::Renew { header } => return self.register_anew(header),
            _ => return Err(fail(error)),
        };
        if let Error::Resync { .. } = error
            && self
                .server
                .rewound(header, &mut self.chance)
                .map_err(fail)?
        {
            self.seen.saw(Rare::RewindNoticed);
            let written = Written {
                new_history: true,
                ..Written::default()
            };
            self.observed(&written)?;
            return self.serve(party, session, request, false);
        }
        refused(request, error).map(Some).map_err(fail)
    }

    /// A replica that the server forgot is registered as it was the first time.
    fn register_anew(&mut self, asked: &ReplicaHeader) -> Check<Option<Reply>> {
        let Some((user, new)) = self.registered.get(&asked.id).cloned() else {
            return Err("a replica that never was registered".to_owned());
        };
        let access = self.server.users[user].clone();
        let mut tx = self.server.begin(&mut self.chance).map_err(fail)?;
        let now = self.server.now(&mut self.chance);
        let ids = &mut || self.chance.uuid();
        let replica = register(&mut *tx, new.clone(), &access, now, &mut Ids(ids)).map_err(fail)?;
        tx.commit().map_err(fail)?;
        self.registered.insert(replica.id, (user, new));
        Ok(Some(Reply::Renewed {
            asked: asked.clone(),
            renewed: Renewed {
                id: replica.id,
                continues: false,
                cursor: None,
            },
        }))
    }

    /// Lets the oracle look at a commit.
    pub fn observed(&mut self, written: &Written) -> Check {
        let none = BTreeSet::new();
        let seen = match written.party {
            Some(Party::Foreign(at)) => &self.foreigns[at].seen,
            _ => &none,
        };
        let conflicts = self.oracle.committed(self.server.store, written, seen)?;
        for conflict in conflicts {
            self.seen.saw(match conflict.kind {
                ConflictKind::UpdateUpdate | ConflictKind::AddAdd => Rare::Conflict,
                ConflictKind::UpdateDelete | ConflictKind::DeleteUpdate => Rare::DeletionConflict,
            });
        }
        if written.replayed {
            self.seen.saw(Rare::StoredReplyReplayed);
        }
        if written.rolled_back {
            self.seen.saw(Rare::RolledBack);
        }
        if written.repeats > 0 {
            self.seen.saw(Rare::ForeignRepeat);
        }
        if matches!(written.party, Some(Party::Foreign(_))) && written.receipts.len() > 1 {
            self.seen.saw(Rare::EchoSuppressed);
        }
        Ok(())
    }

    /// What a page tells that is rare.
    pub fn saw_page(&mut self, asked: &ReplicaHeader, page: &Page) {
        for change in &page.changes {
            match change {
                RemoteChange::Remove { removal, .. } => {
                    if *removal != haversack_model::local::Removal::Deleted {
                        self.seen.saw(Rare::RowLeft);
                    }
                }
                RemoteChange::Put { version, .. } => {
                    let is_old = version.generation <= asked.cursor.generation;
                    if is_old && !asked.resyncing {
                        self.seen.saw(Rare::RowEntered);
                    }
                }
            }
        }
    }
}

fn replica_of(request: &Request) -> Option<ReplicaId> {
    match request {
        Request::Push { header, .. } | Request::Pull { header, .. } => Some(header.id),
        Request::Foreign(exchange) => Some(exchange.replica),
        _ => None,
    }
}
