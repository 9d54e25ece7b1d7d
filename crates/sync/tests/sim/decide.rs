//! Decisions of people: about conflicts, on either side, and about their own edits.

use haversack_model::conflict::Decided;
use haversack_model::local::ReplicaHeader;
use haversack_model::store::Flow;
use haversack_model::{Conflict, SyncState};
use haversack_sync::client::{self, Choice};

use crate::client::Stepped;
use crate::ground::{Key, short, tokens};
use crate::message::{Party, Request};
use crate::oracle::{Check, Mark};
use crate::sometimes::Rare;
use crate::world::{World, fail};

impl World<'_> {
    /// A person decides: about a conflict, to give edits up, or to try refused ones again.
    pub fn native_decide(&mut self, at: usize) -> Check {
        match self.chance.below(4) {
            0 | 1 => return self.native_resolve(at),
            2 => return self.native_give_up(at),
            _ => {}
        }
        self.native_retry(at)
    }

    /// Refused edits are tried again, and all of what was warned of is told again: what others have set since meets it.
    fn native_retry(&mut self, at: usize) -> Check {
        self.trace.note(&format!("n{at} tries refused edits again"));
        let file = self.natives[at].file.handle();
        let file = file.file();
        let entries = file.outbox.iter();
        let warned = entries.filter(|(_, entry)| entry.state == SyncState::Warning);
        let rows = warned.filter_map(|(key, _)| file.rows.get(key));
        let told: Vec<u64> = rows.flat_map(|row| tokens(row)).map(|(_, t)| t).collect();
        drop(file);
        for token in &told {
            self.oracle.change(*token, |mark| mark.exempt = true);
        }
        self.natives[at].local.retried();
        let done = self.step(at, |tx, _| client::retry(tx))?;
        if matches!(done, Stepped::Done(_)) && !told.is_empty() {
            self.seen.saw(Rare::WarningSentAgain);
        }
        Ok(())
    }

    fn native_give_up(&mut self, at: usize) -> Check {
        let idle: Vec<Key> = self.natives[at]
            .file
            .file()
            .outbox
            .iter()
            .filter(|(_, entry)| entry.batch.is_none())
            .map(|(key, _)| key.clone())
            .collect();
        match self.chance.pick(&idle).cloned() {
            Some(key) => self.native_discard(at, &key),
            None => Ok(()),
        }
    }

    pub fn native_discard(&mut self, at: usize, key: &Key) -> Check {
        self.trace
            .note(&format!("n{at} gives up its edits of {}", short(key)));
        // The person decides even if the program is killed and asked again.
        self.natives[at].local.give_up(&mut self.oracle, key);
        let done = self.step(at, |tx, _| client::discard(tx, key.0, &key.1))?;
        if let Stepped::Killed = done {
            let calm = std::mem::replace(&mut self.calm, true);
            self.step(at, |tx, _| client::discard(tx, key.0, &key.1))?;
            self.calm = calm;
        }
        self.seen.saw(Rare::Discarded);
        Ok(())
    }

    fn native_resolve(&mut self, at: usize) -> Check {
        let open: Vec<_> = self.natives[at]
            .file
            .file()
            .conflicts
            .values()
            .filter(|conflict| conflict.resolution.is_none())
            .cloned()
            .collect();
        let Some(conflict) = self.chance.pick(&open).cloned() else {
            return Ok(());
        };
        let key = (conflict.collection, conflict.global_id.clone());
        let entry = self.natives[at].file.file().outbox.get(&key).cloned();
        if entry.is_some_and(|entry| entry.state == SyncState::Uploading) {
            return Ok(());
        }
        let choice = match (self.chance.below(3), &conflict.base) {
            (0, _) => Choice::Mine,
            (1, Some(_)) => Choice::Base,
            _ => Choice::Theirs,
        };
        self.trace
            .note(&format!("n{at} decides about {}: {choice:?}", short(&key)));
        self.may_come_again(&conflict);
        // It left: what this client did to it since the conflict is as unknown to it as what others did.
        let has_left = !self.natives[at].file.file().rows.contains_key(&key);
        let own = |mark: &Mark| mark.party == Party::Native(at) && mark.key == key;
        for mark in self.oracle.marks.iter_mut().filter(|mark| own(mark)) {
            mark.exempt |= has_left;
            // A server that is put back is told the decision, not what came before it.
            mark.frail = true;
        }
        self.natives[at].local.give_up(&mut self.oracle, &key);
        let calm = std::mem::replace(&mut self.calm, true);
        self.step(at, |tx, now| {
            client::resolve(tx, conflict.id, choice, "someone", now)
        })?;
        self.calm = calm;
        let entry = self.natives[at].file.file().outbox.get(&key).cloned();
        if entry.is_some_and(|entry| entry.deleted) {
            let made = self.oracle.marks.len() as u64;
            self.natives[at].local.decided_to_delete(&key);
            self.oracle.replaced.push((Party::Native(at), key, made));
        }
        self.seen.saw(Rare::Resolved);
        Ok(())
    }

    /// Tells the server what was decided here, and asks about what is open.
    pub fn native_tell(&mut self, at: usize) {
        let file = self.natives[at].file.handle();
        let header = file.file().header.clone();
        let known: Vec<_> = file.file().conflicts.values().cloned().collect();
        if known.is_empty() {
            return;
        }
        let open = known.iter().filter(|found| found.resolution.is_none());
        let open = open.map(|found| found.id).collect();
        let untold = known.iter().filter_map(|found| {
            let resolution = found.resolution.clone().filter(|made| !made.told)?;
            Some(Decided {
                conflict: found.id,
                resolution,
            })
        });
        let request = Request::Decide {
            header,
            decided: untold.collect(),
            open,
        };
        self.trace.note(&format!("n{at} tells what was decided"));
        self.up(Party::Native(at), request);
    }

    pub fn native_told(&mut self, at: usize, asked: &ReplicaHeader, stand: &[Decided]) -> Check {
        if self.natives[at].file.file().header.id != asked.id {
            return Ok(());
        }
        self.trace
            .note(&format!("n{at} is told of {} decisions", stand.len()));
        self.saw_decisions(at, stand);
        self.step(at, |tx, _| client::apply_decisions(tx, stand))?;
        Ok(())
    }

    /// What was decided elsewhere, or at the same time.
    pub fn saw_decisions(&mut self, at: usize, stand: &[Decided]) {
        let file = self.natives[at].file.file();
        for told in stand {
            let here = file.conflicts.get(&told.conflict);
            match here.map(|found| &found.resolution) {
                Some(None) => self.seen.saw(Rare::DecidedThere),
                Some(Some(mine)) if mine.kept != told.resolution.kept => {
                    self.seen.saw(Rare::DecidedTwice);
                }
                _ => {}
            }
        }
    }

    /// Someone decides on the server.
    pub fn server_decide(&mut self) -> Check {
        let mut open = Vec::new();
        let tx = self.server.store.begin_read().map_err(fail)?;
        tx.conflicts(true, &mut |conflict| {
            open.push(conflict);
            Ok(Flow::Continue(()))
        })
        .map_err(fail)?;
        drop(tx);
        let Some(conflict) = self.chance.pick(&open).cloned() else {
            return Ok(());
        };
        let kept = ["mine", "theirs"][self.chance.below(2)];
        let key = (conflict.collection, conflict.global_id.clone());
        self.trace
            .note(&format!("someone decides about {}: {kept}", short(&key)));
        self.may_come_again(&conflict);
        let request = Request::Resolve {
            user: self.chance.below(3),
            conflict: conflict.id,
            kept,
        };
        self.serve(Party::Online, 0, &request, true)?;
        Ok(())
    }

    /// A decision brings versions back.
    fn may_come_again(&mut self, conflict: &Conflict) {
        for version in [&conflict.base, &conflict.mine, &conflict.theirs] {
            for (_, token) in version.iter().flat_map(tokens) {
                self.oracle.change(token, |mark| mark.exempt = true);
            }
        }
    }
}
