//! What a native client's own file must show: unsynced work is never overwritten (G5), whatever steps are done.

use std::collections::{BTreeMap, BTreeSet};

use haversack_model::local::Removal;
use haversack_model::remote::BatchReply;
use haversack_model::{BatchNumber, Edit, Outcome, SyncState, Theirs, Value};

use super::{Check, Oracle};
use crate::ground::{Key, short, token_of, tokens};
use crate::memory::{File, FileEvent};
use crate::message::Party;

/// Local work on one record that is not settled.
#[derive(Clone, Debug, Default)]
struct Mine {
    /// The tokens to be shown, by field, with the number of their edit.
    fields: BTreeMap<usize, (u64, u64)>,
    /// The number of the edit that deleted it.
    deleted: Option<u64>,
}

/// What the oracle knows of one file.
#[derive(Clone, Debug, Default)]
pub struct Local {
    mine: BTreeMap<Key, Mine>,
    edits: u64,
    /// The last edit at the time a batch was frozen.
    frozen: BTreeMap<BatchNumber, u64>,
    /// Answers that were handed to the core.
    answered: BTreeMap<BatchNumber, Told>,
    /// The tokens that were stored with a warning, by record: they are shown until somebody does something about it.
    warned: BTreeMap<Key, Vec<(usize, u64)>>,
}

/// What an answer says of records.
#[derive(Clone, Debug, Default)]
struct Told {
    refused: BTreeSet<Key>,
    warned: BTreeSet<Key>,
}

fn sent_in(file: &File, token: u64) -> bool {
    let mut edits = file.batches.values().flat_map(|batch| &batch.edits);
    edits.any(|(_, edit)| tokens_of(edit).contains(&token))
}

pub fn tokens_of(edit: &Edit) -> Vec<u64> {
    let fields = fields_of(edit).into_iter();
    fields.map(|(_, token)| token).collect()
}

fn fields_of(edit: &Edit) -> Vec<(usize, u64)> {
    match edit {
        Edit::Add { record, .. } => tokens(record).collect(),
        Edit::Update { mine, .. } => {
            let values = mine.values.iter();
            values
                .filter_map(|(at, v)| Some((*at, token_of(v)?)))
                .collect()
        }
        Edit::Delete { .. } => Vec::new(),
    }
}

impl Local {
    /// Someone set tokens in a row.
    pub fn set(&mut self, oracle: &mut Oracle, file: &File, key: &Key, fields: &[(usize, u64)]) {
        self.edits += 1;
        self.warned.remove(key);
        let mine = self.mine.entry(key.clone()).or_default();
        mine.deleted = None;
        for &(at, token) in fields {
            if let Some((old, _)) = mine.fields.insert(at, (token, self.edits))
                && !sent_in(file, old)
            {
                oracle.change(old, |mark| mark.superseded = true);
            }
        }
    }

    /// Someone deleted a row.
    pub fn delete(&mut self, oracle: &mut Oracle, file: &File, key: &Key, party: Party) {
        self.edits += 1;
        self.warned.remove(key);
        oracle
            .replaced
            .push((party, key.clone(), oracle.marks.len() as u64));
        // An add that was never sent, and that the server does not have, is nothing to tell of.
        let is_told = file.outbox.get(key).is_some_and(|entry| {
            let is_there = !matches!(
                entry.theirs,
                Theirs::Unchanged | Theirs::Removed(Removal::Deleted)
            );
            entry.base.is_some() || entry.frozen_no.is_some() || is_there
        });
        let old = self.mine.remove(key).unwrap_or_default();
        for (token, _) in old.fields.into_values() {
            if !sent_in(file, token) {
                oracle.change(token, |mark| mark.superseded = true);
            }
        }
        if is_told {
            let mine = self.mine.entry(key.clone()).or_default();
            mine.deleted = Some(self.edits);
        }
    }

    /// The local work on a record is given up, or became something else, by a decision.
    pub fn give_up(&mut self, oracle: &mut Oracle, key: &Key) {
        self.edits += 1;
        self.warned.remove(key);
        for (token, _) in self
            .mine
            .remove(key)
            .unwrap_or_default()
            .fields
            .into_values()
        {
            oracle.change(token, |mark| mark.lost = true);
        }
    }

    /// A decision has become a deletion, which is to be told.
    pub fn decided_to_delete(&mut self, key: &Key) {
        self.mine.entry(key.clone()).or_default().deleted = Some(self.edits);
    }

    /// What was warned of is sent again.
    pub fn retried(&mut self) {
        self.warned.clear();
    }

    /// An answer is about to be stored.
    pub fn answered(&mut self, number: BatchNumber, reply: &BatchReply) {
        let mut told = Told::default();
        for receipt in &reply.receipts {
            let key = (receipt.collection, receipt.global_id.clone());
            match receipt.outcome {
                Outcome::Rejected { .. } => told.refused.insert(key),
                Outcome::Warned { .. } => told.warned.insert(key),
                _ => false,
            };
        }
        self.answered.insert(number, told);
    }

    /// An answer that is neither settled nor kept in the file by now never will be: the program was killed. What becomes of
    /// the batch later is another matter.
    pub fn forget_answers(&mut self, file: &File) {
        self.answered
            .retain(|number, _| file.answers.contains_key(number));
    }

    /// Tokens of work that is not settled.
    pub fn pending(&self) -> impl Iterator<Item = u64> {
        let fields = self.mine.values().flat_map(|mine| mine.fields.values());
        fields.map(|(token, _)| *token)
    }

    pub fn observe(&mut self, oracle: &mut Oracle, file: &File, events: &[FileEvent]) -> Check {
        for event in events {
            match event {
                FileEvent::NewHistory => self.take_up(file),
                FileEvent::Frozen(batch) => {
                    self.frozen.insert(batch.number, self.edits);
                }
                FileEvent::Unfrozen(batch) => {
                    let upto = self.frozen.remove(&batch.number).unwrap_or(0);
                    if let Some(told) = self.answered.remove(&batch.number) {
                        self.settle(oracle, batch, upto, &told);
                    } else {
                        self.answered.clear();
                        let sent = batch.edits.iter().flat_map(|(_, edit)| tokens_of(edit));
                        let shown: BTreeSet<_> = self.pending().collect();
                        for token in sent.filter(|token| !shown.contains(token)) {
                            // Thawed after it was overwritten: it may never be sent.
                            oracle.change(token, |mark| mark.superseded = true);
                        }
                    }
                }
            }
        }
        self.check(oracle, file)
    }

    /// What the server forgot is work again: to be shown, and to be given up by a decision alone.
    fn take_up(&mut self, file: &File) {
        self.edits += 1;
        self.warned.clear();
        for (key, entry) in file.outbox.iter() {
            let mine = self.mine.entry(key.clone()).or_default();
            if entry.deleted {
                mine.deleted.get_or_insert(self.edits);
                continue;
            }
            let base = entry.base.as_ref().map(|(base, _)| base);
            for (at, token) in file.rows.get(key).into_iter().flat_map(|row| tokens(row)) {
                let was = base.and_then(|base| token_of(base.values.get(at)?));
                if was != Some(token) {
                    mine.fields.entry(at).or_insert((token, self.edits));
                }
            }
        }
    }

    fn settle(
        &mut self,
        oracle: &mut Oracle,
        batch: &haversack_model::local::FrozenBatch,
        upto: u64,
        told: &Told,
    ) {
        for (collection, edit) in &batch.edits {
            let key = (*collection, edit.global_id().clone());
            self.warned.remove(&key);
            if told.refused.contains(&key) {
                // Refused, and edited away meanwhile: nothing is left to be tried again.
                let shown: BTreeSet<_> = self.pending().collect();
                for token in tokens_of(edit).into_iter().filter(|t| !shown.contains(t)) {
                    oracle.change(token, |mark| mark.superseded = true);
                }
                continue;
            }
            let Some(mine) = self.mine.get_mut(&key) else {
                continue;
            };
            mine.fields.retain(|_, (_, number)| *number > upto);
            mine.deleted = mine.deleted.filter(|number| *number > upto);
            if mine.fields.is_empty() && mine.deleted.is_none() {
                self.mine.remove(&key);
                if told.warned.contains(&key) {
                    self.warned.insert(key, fields_of(edit));
                }
            }
        }
    }

    fn check(&mut self, oracle: &Oracle, file: &File) -> Check {
        let mut done = Vec::new();
        for (key, mine) in &self.mine {
            let row = file.rows.get(key);
            if !file.outbox.contains_key(key) {
                let arrived = mine
                    .fields
                    .values()
                    .all(|(token, _)| oracle.is_applied(*token) || oracle.is_exempt(*token));
                let gone = mine.deleted.is_none()
                    || oracle.ever_dead.contains(key)
                    || !oracle.ledger.view.contains_key(key);
                if arrived && gone {
                    done.push(key.clone());
                    continue;
                }
                return Err(format!(
                    "G5: the unsent edit of {} was forgotten",
                    short(key)
                ));
            }
            if mine.deleted.is_some() {
                if row.is_some() {
                    return Err(format!("G5: {}, deleted here, is back", short(key)));
                }
                continue;
            }
            for (at, (token, _)) in &mine.fields {
                let shown = row.and_then(|row| token_of(row.values.get(*at)?));
                if shown != Some(*token) {
                    return Err(format!(
                        "G5: the unsent e{token} of {} is not shown, but {:?}",
                        short(key),
                        row.and_then(|row| row.values.get(*at))
                            .unwrap_or(&Value::Null)
                    ));
                }
            }
        }
        for key in done {
            self.mine.remove(&key);
        }
        for (key, fields) in &self.warned {
            let row = file.rows.get(key);
            let mut shown = fields.iter().map(|(at, token)| {
                row.and_then(|row| token_of(row.values.get(*at)?)) == Some(*token)
            });
            if !file.outbox.contains_key(key) || !shown.all(|is_shown| is_shown) {
                return Err(format!("G5: what {} was warned of is not kept", short(key)));
            }
        }
        for entry in file.outbox.values() {
            if let Some(number) = entry.batch
                && !file.batches.contains_key(&number)
            {
                return Err(format!(
                    "an entry waits for the answer to batch {number}, which nobody will send"
                ));
            }
            if entry.state == SyncState::Error && entry.reason.is_none() {
                return Err("G1: an edit was refused without a reason".to_owned());
            }
        }
        Ok(())
    }
}
