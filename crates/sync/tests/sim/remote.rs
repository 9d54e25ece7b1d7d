//! The core's own loop, on a network that fails, with others at work while it waits.

use std::cell::Cell;

use haversack_model::conflict::Decided;
use haversack_model::local::{FrozenBatch, ReplicaHeader};
use haversack_model::remote::{BatchReply, Page, Renewed};
use haversack_model::{
    BlobHash, CollectionId, ConflictId, Error, GlobalId, Remote, Result, Timestamp,
};
use haversack_sync::client::{Step, synchronise_in_batches};

use crate::client::told;
use crate::message::{Party, Refusal, Reply, Request};
use crate::oracle::Check;
use crate::sometimes::Rare;
use crate::world::World;

/// The server as one native client reaches it.
struct Line<'w, 's> {
    world: &'w mut World<'s>,
    at: usize,
}

fn cut() -> Error {
    Error::Network("the line was cut".into())
}

impl Line<'_, '_> {
    fn ask(&mut self, request: &Request) -> Result<Reply> {
        match self.try_ask(request) {
            Ok(Some(Reply::Refused { refusal, .. })) => {
                if let Refusal::NewHistory(_, fork) = refusal {
                    self.world.new_history_seen(self.at, fork);
                    self.world.forget_sent(self.at, fork);
                }
                Err(refusal.into_error())
            }
            Ok(Some(reply)) => Ok(reply),
            Ok(None) => Err(cut()),
            Err(failure) => {
                self.world.failure = Some(failure);
                Err(cut())
            }
        }
    }

    fn try_ask(&mut self, request: &Request) -> Check<Option<Reply>> {
        let world = &mut *self.world;
        world.observe(self.at)?;
        world.forget_answers(self.at);
        if !world.calm {
            while world.chance.percent(25) {
                world.native_edit(self.at)?;
                world.seen.saw(Rare::ConcurrentSync);
            }
            if world.chance.percent(world.faults.lost) {
                world.seen.saw(Rare::RequestLost);
                return Ok(None);
            }
        }
        let party = Party::Native(self.at);
        let reply = world.serve(party, world.session(party), request, false)?;
        if !world.calm && world.chance.percent(world.faults.lost) {
            world.seen.saw(Rare::ReplyLost);
            return Ok(None);
        }
        Ok(reply)
    }
}

impl Remote for Line<'_, '_> {
    fn push(&mut self, header: &ReplicaHeader, batch: &FrozenBatch) -> Result<BatchReply> {
        let line = format!("n{} sends batch {} in the loop", self.at, batch.number);
        self.world.trace.note(&line);
        let request = Request::Push {
            header: header.clone(),
            batch: batch.clone(),
            blobs: Vec::new(),
        };
        match self.ask(&request)? {
            Reply::Pushed { reply, .. } => {
                let native = &mut self.world.natives[self.at];
                native.local.answered(batch.number, &reply);
                let outcomes: Vec<_> = reply.receipts.iter().map(|r| r.outcome.clone()).collect();
                self.world.saw_outcomes(&outcomes);
                Ok(reply)
            }
            _ => Err(cut()),
        }
    }

    fn push_while(
        &mut self,
        header: &ReplicaHeader,
        batch: &FrozenBatch,
        meanwhile: &mut dyn FnMut(),
    ) -> Result<BatchReply> {
        self.world.seen.saw(Rare::WorkMeanwhile);
        if self.world.chance.percent(50) {
            meanwhile();
            return self.push(header, batch);
        }
        let reply = self.push(header, batch);
        meanwhile();
        reply
    }

    fn pull(&mut self, header: &ReplicaHeader) -> Result<Page> {
        let request = Request::Pull {
            header: header.clone(),
            most: self.world.page_size,
        };
        match self.ask(&request)? {
            Reply::Page { page, .. } => {
                self.world.saw_page(header, &page);
                let line = format!(
                    "n{} gets in the loop up to {}:{}",
                    self.at,
                    page.cursor.generation,
                    told(&page)
                );
                self.world.trace.note(&line);
                Ok(page)
            }
            _ => Err(cut()),
        }
    }

    fn push_blob(&mut self, _: &ReplicaHeader, hash: BlobHash, _: &[u8]) -> Result<()> {
        self.world.uploaded.push(hash);
        if let Err(failure) = self.world.put_blobs() {
            self.world.failure = Some(failure);
        }
        Ok(())
    }

    fn pull_blob(
        &mut self,
        _: &ReplicaHeader,
        _: CollectionId,
        _: &GlobalId,
        hash: BlobHash,
    ) -> Result<Vec<u8>> {
        let tx = self.world.server.store.begin_read()?;
        tx.blob(hash)?.ok_or_else(|| Error::Refused {
            code: 404,
            message: "there is no such picture".to_owned(),
        })
    }

    fn renew(&mut self, header: &ReplicaHeader) -> Result<Renewed> {
        let request = Request::Renew {
            header: header.clone(),
        };
        match self.ask(&request)? {
            Reply::Renewed { renewed, .. } => {
                self.world.seen.saw(Rare::FileRenewed);
                self.world.forget_own(self.at);
                Ok(renewed)
            }
            _ => Err(cut()),
        }
    }

    fn exchange_decisions(
        &mut self,
        header: &ReplicaHeader,
        decided: &[Decided],
        open: &[ConflictId],
    ) -> Result<Vec<Decided>> {
        let request = Request::Decide {
            header: header.clone(),
            decided: decided.to_vec(),
            open: open.to_vec(),
        };
        match self.ask(&request)? {
            Reply::Decided { stand, .. } => {
                self.world.saw_decisions(self.at, &stand);
                Ok(stand)
            }
            _ => Err(cut()),
        }
    }

    fn release(&mut self, _: &ReplicaHeader) -> Result<()> {
        Ok(())
    }
}

impl World<'_> {
    /// Runs the loop once. A cut line and a killed program are no failures while faults are about.
    pub fn synchronise(&mut self, at: usize) -> Check {
        self.trace.note(&format!("n{at} synchronises"));
        let mut file = self.natives[at].file.handle();
        if !self.calm && self.chance.percent(self.faults.client_crash * 2) {
            file.crash_in(Some(self.chance.below(8) as u32));
        }
        let clock = Cell::new(self.natives[at].clock);
        let now = || {
            clock.set(clock.get() + 1);
            Timestamp(clock.get())
        };
        let mut resyncs = 0;
        // Small ones, so that there are several.
        let most = 1 + self.chance.below(4);
        let mut line = Line { world: self, at };
        let done = synchronise_in_batches(&mut file, &mut line, most, &now, &mut |step| {
            resyncs += u32::from(step == Step::Resync);
        });
        file.crash_in(None);
        self.natives[at].clock = clock.get();
        for _ in 0..resyncs {
            self.seen.saw(Rare::FullResync);
        }
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        self.observe(at)?;
        self.forget_answers(at);
        match done {
            Ok(_) => Ok(()),
            Err(Error::Network(_) | Error::Store { .. }) if !self.calm || self.bug.is_some() => {
                self.trace.note(&format!("n{at} is cut off"));
                Ok(())
            }
            Err(error) => Err(format!("n{at}: the loop ended with: {error}")),
        }
    }
}
