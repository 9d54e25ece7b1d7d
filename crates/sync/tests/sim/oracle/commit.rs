//! After every commit of the server: nothing twice, nothing silently overwritten, nothing back from the dead,
//! conflicts with a cause, receipts that tell the truth.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use haversack_model::store::Flow;
use haversack_model::{
    Changes, Conflict, ConflictKind, Edit, Filter, Generation, Outcome, Query, QueryRow, ReadTx,
    Record, Store, Versioned,
};

use super::{Check, Oracle, Seen};
use crate::ground::{Key, all, short, token_of, tokens};
use crate::message::Party;
use crate::server::{Asked, Written};

/// All live records.
pub fn rows(tx: &dyn ReadTx) -> haversack_model::Result<BTreeMap<Key, Versioned>> {
    let mut rows = BTreeMap::new();
    for collection in all() {
        tx.query(&Query::records(collection, Filter::All), &mut |row| {
            if let QueryRow::Record(row) = row {
                rows.insert((collection, row.record.global_id.clone()), *row);
            }
            Ok(Flow::Continue(()))
        })?;
    }
    Ok(rows)
}

/// What changed in one commit.
struct Delta<'a> {
    key: &'a Key,
    old: Option<Arc<Record>>,
    new: Option<&'a Record>,
}

impl Oracle {
    /// A transaction that was undone has left no trace (G14).
    pub fn untouched(&self, store: &dyn Store) -> Check {
        let tx = store.begin_read().map_err(|error| error.to_string())?;
        let now = rows(&*tx).map_err(|error| error.to_string())?;
        let live = self.ledger.view.values().filter(|s| s.record.is_some());
        let same = live.count() == now.len()
            && now.iter().all(|(key, row)| {
                let seen = self.ledger.view.get(key).and_then(|s| s.record.as_deref());
                seen.is_some_and(|seen| seen.same_content(&row.record))
            });
        if same {
            Ok(())
        } else {
            Err("G14: a transaction that was undone has left a trace".to_owned())
        }
    }

    /// Looks at what a commit did.
    pub fn committed(
        &mut self,
        store: &dyn Store,
        by: &Written,
        foreign_seen: &BTreeSet<u64>,
    ) -> Check<Vec<Conflict>> {
        let tx = store.begin_read().map_err(|error| error.to_string())?;
        let head = tx.head().map_err(|error| error.to_string())?;
        if let Some((history, generation)) = self.ledger.head {
            if (history, generation) == (head.history, head.generation) && by.asked.is_empty() {
                return Ok(Vec::new());
            }
            if history != head.history && !by.new_history {
                return Err("the history changed by itself".to_owned());
            }
            if generation > head.generation {
                return Err(format!(
                    "the head went back from {generation} to {}",
                    head.generation
                ));
            }
        }
        self.ledger.head = Some((head.history, head.generation));
        let conflicts = self.new_conflicts(&*tx)?;
        let now = rows(&*tx).map_err(|error| error.to_string())?;
        let mut keys: BTreeSet<&Key> = now.keys().collect();
        let before = self.ledger.view.clone();
        keys.extend(before.keys());
        let mut changed = 0;
        for key in keys {
            let seen = before.get(key);
            let old = seen.and_then(|seen| seen.record.clone());
            let new = now.get(key);
            let same = match (&old, new) {
                (None, None) => true,
                (Some(old), Some(new)) => old.same_content(&new.record),
                _ => false,
            };
            let track = match new {
                Some(new) => Some(new.track),
                None => tx.track(key.0, &key.1).map_err(|error| error.to_string())?,
            };
            let generation = track.map_or(head.generation, |track| track.generation);
            if let (Some(seen), Some(_)) = (seen, new)
                && generation < seen.generation
            {
                return Err(format!(
                    "the generation of {} went back from {} to {generation}",
                    short(key),
                    seen.generation
                ));
            }
            if !same {
                changed += 1;
                let delta = Delta {
                    key,
                    old,
                    new: new.map(|new| &new.record),
                };
                let was_dead = seen.is_some_and(|seen| seen.record.is_none());
                self.one(&delta, was_dead, by, &conflicts, foreign_seen, seen)?;
            }
            if let Some(new) = new {
                let seen = Seen {
                    generation,
                    record: Some(Arc::new(new.record.clone())),
                    deleted: None,
                };
                self.ledger.view.insert(key.clone(), seen);
            } else if !same {
                self.ever_dead.insert(key.clone());
                let seen = Seen {
                    generation,
                    record: None,
                    deleted: seen.and_then(|seen| seen.record.clone()),
                };
                self.ledger.view.insert(key.clone(), seen);
            }
        }
        if (by.rolled_back || by.replayed) && changed > 0 {
            return Err("G2/G14: a request without effect changed something".to_owned());
        }
        self.check_receipts(by, &now)?;
        self.note_gone_with_parent(by, &now);
        for (asked, receipt) in by.asked.iter().zip(&by.receipts) {
            if receipt.left {
                // Its sender does not have it any more, and may meet its own edit as another's.
                for token in super::local::tokens_of(&asked.edit) {
                    self.change(token, |mark| mark.exempt = true);
                }
            }
        }
        for conflict in &conflicts {
            self.check_conflict(conflict, by, &before)?;
        }
        Ok(conflicts)
    }

    /// Whichever decision a conflict got first stands.
    pub fn decisions_stand(&mut self, store: &dyn Store) -> Check {
        let tx = store.begin_read().map_err(|error| error.to_string())?;
        let mut replaced = false;
        tx.conflicts(false, &mut |conflict| {
            if let Some(resolution) = conflict.resolution {
                let stands = self.ledger.decisions.entry(conflict.id);
                replaced |= *stands.or_insert_with(|| resolution.clone()) != resolution;
            } else {
                replaced |= self.ledger.decisions.contains_key(&conflict.id);
            }
            Ok(Flow::Continue(()))
        })
        .map_err(|error| error.to_string())?;
        if replaced {
            return Err(
                "G6: another decision took the place of the one that closed a conflict".to_owned(),
            );
        }
        Ok(())
    }

    fn new_conflicts(&mut self, tx: &dyn ReadTx) -> Check<Vec<Conflict>> {
        let mut found = Vec::new();
        tx.conflicts(false, &mut |conflict| {
            if !self.ledger.conflicts.contains(&conflict.id) {
                found.push(conflict);
            }
            Ok(Flow::Continue(()))
        })
        .map_err(|error| error.to_string())?;
        for conflict in &found {
            self.ledger.conflicts.insert(conflict.id);
            for version in [&conflict.base, &conflict.mine, &conflict.theirs] {
                let held = version.iter().flat_map(tokens).map(|(_, token)| token);
                self.ledger.in_conflict.extend(held);
            }
        }
        Ok(found)
    }

    fn one(
        &mut self,
        delta: &Delta<'_>,
        was_dead: bool,
        by: &Written,
        conflicts: &[Conflict],
        foreign_seen: &BTreeSet<u64>,
        seen: Option<&Seen>,
    ) -> Check {
        let key = delta.key;
        // What was refused is not what changed it: it may have gone with its parent.
        let asked = by.asked.iter().enumerate().find(|(at, asked)| {
            let receipt = by.receipts.get(*at).map(|receipt| &receipt.outcome);
            asked.key == *key && !matches!(receipt, Some(Outcome::Rejected { .. }))
        });
        let asked = asked.map(|(_, asked)| asked);
        let is_conflict = conflicts
            .iter()
            .any(|c| (c.collection, &c.global_id) == (key.0, &key.1));
        if let (true, Some(_)) = (was_dead, delta.new) {
            let tombstone = seen.map_or(Generation::ZERO, |seen| seen.generation);
            let meant = match asked.map(|asked| (&asked.edit, asked.cursor)) {
                Some((Edit::Add { undelete, .. }, cursor)) => *undelete || tombstone <= cursor,
                _ => false,
            };
            if !meant && !is_conflict {
                return Err(format!("G9: {} came back from the dead", short(key)));
            }
        }
        if let Some(new) = delta.new {
            for (at, token) in tokens(new) {
                let stood = delta
                    .old
                    .as_ref()
                    .is_some_and(|old| old.values[at] == new.values[at]);
                if stood {
                    continue;
                }
                let deleted = seen.and_then(|seen| seen.deleted.as_ref());
                let before = delta.old.as_ref().or(deleted);
                if let Some(before) = before.and_then(|old| token_of(old.values.get(at)?)) {
                    self.change(before, |mark| mark.followed_by.extend([token]));
                }
                let count = self.ledger.applied.entry(token).or_default();
                *count += 1;
                if *count == 1 || self.is_exempt(token) {
                    continue;
                }
                if delta.old.is_none() && was_dead {
                    self.change(token, |mark| mark.exempt = true);
                    continue;
                }
                return Err(format!("G2: e{token} of {} took effect twice", short(key)));
            }
        }
        if let (Some(old), Some(asked), false) = (&delta.old, asked, is_conflict) {
            self.not_overwritten(delta, old, asked, by, foreign_seen)?;
        }
        Ok(())
    }

    /// What a sender had not seen is not overwritten without a conflict (G6).
    fn not_overwritten(
        &self,
        delta: &Delta<'_>,
        old: &Record,
        asked: &Asked,
        by: &Written,
        foreign_seen: &BTreeSet<u64>,
    ) -> Check {
        let base = match &asked.edit {
            Edit::Update { base, .. } | Edit::Delete { base, .. } => base.as_ref(),
            Edit::Add { .. } => None,
        };
        if delta.new.is_none() && !matches!(asked.edit, Edit::Delete { .. }) {
            // It went with its parent, which the same request deleted.
            return Ok(());
        }
        for (at, token) in tokens(old) {
            if delta
                .new
                .is_some_and(|new| new.values[at] == old.values[at])
            {
                continue;
            }
            let knew = match by.party {
                Some(Party::Native(_)) => base
                    .and_then(|base| base.content.values.get(&at))
                    .is_some_and(|value| *value == old.values[at]),
                Some(Party::Foreign(_)) => {
                    let mark = self.marks.get(token as usize);
                    foreign_seen.contains(&token) || mark.is_some_and(|m| Some(m.party) == by.party)
                }
                _ => true,
            };
            if !knew {
                return Err(format!(
                    "G6: e{token} of {} was overwritten by one who had not seen it, without a conflict: {:?}",
                    short(delta.key),
                    asked.edit
                ));
            }
        }
        Ok(())
    }

    /// What a request stored and removed again with its parent was superseded by its own sender.
    fn note_gone_with_parent(&mut self, by: &Written, now: &BTreeMap<Key, Versioned>) {
        let deletes = |asked: &Asked| matches!(asked.edit, Edit::Delete { .. });
        if !by.asked.iter().any(deletes) {
            return;
        }
        for asked in by
            .asked
            .iter()
            .filter(|asked| !now.contains_key(&asked.key))
        {
            for token in super::local::tokens_of(&asked.edit) {
                self.change(token, |mark| mark.superseded = true);
            }
        }
    }

    fn check_receipts(&self, by: &Written, now: &BTreeMap<Key, Versioned>) -> Check {
        if by.receipts.len() != by.asked.len() && !by.receipts.is_empty() {
            return Err("G1: an edit has no receipt".to_owned());
        }
        for (asked, receipt) in by.asked.iter().zip(&by.receipts) {
            if (receipt.collection, &receipt.global_id) != (asked.key.0, &asked.key.1) {
                return Err("G1: a receipt names another record".to_owned());
            }
            if let Outcome::Conflict { conflict, .. } = receipt.outcome
                && !by.replayed
                && by.repeats == 0
                && !self.ledger.conflicts.contains(&conflict)
            {
                return Err(format!(
                    "G6: the conflict about {} is not on the server",
                    short(&asked.key)
                ));
            }
            let told = matches!(
                receipt.outcome,
                Outcome::Applied | Outcome::Merged | Outcome::Warned { .. }
            );
            if !told || by.replayed || !matches!(by.party, Some(Party::Native(_))) {
                continue;
            }
            let row = now.get(&asked.key).map(|row| &row.record);
            let went_with_parent = by
                .asked
                .iter()
                .any(|other| matches!(other.edit, Edit::Delete { .. }));
            let is_true = match (&asked.edit, row) {
                (Edit::Delete { .. }, row) => row.is_none(),
                (_, None) => went_with_parent,
                (Edit::Add { record, .. }, Some(row)) => {
                    let given = record.values.iter().zip(&row.values);
                    given.clone().all(|(a, b)| a == b) && record.geometry == row.geometry
                }
                (Edit::Update { mine, .. }, Some(row)) => {
                    let values = mine.values.iter();
                    values.clone().all(|(&at, value)| row.values[at] == *value)
                        && mine.geometry.as_ref().is_none_or(|g| *g == row.geometry)
                }
            };
            if !is_true {
                return Err(format!(
                    "G1: the receipt of {} says {:?}, and it is not so",
                    short(&asked.key),
                    receipt.outcome
                ));
            }
        }
        Ok(())
    }

    /// A conflict has a cause: theirs differs from the base and from mine, and theirs is not the sender's own.
    fn check_conflict(
        &self,
        conflict: &Conflict,
        by: &Written,
        before: &BTreeMap<Key, Seen>,
    ) -> Check {
        let key = (conflict.collection, conflict.global_id.clone());
        let name = short(&key);
        let Some(asked) = by.asked.iter().find(|asked| asked.key == key) else {
            return Ok(());
        };
        let old = before.get(&key).and_then(|seen| seen.record.as_deref());
        if conflict.kind == ConflictKind::UpdateDelete {
            // A child may have gone with its parent just before, in the same request.
            let with_parent = by
                .asked
                .iter()
                .any(|other| matches!(other.edit, Edit::Delete { .. }));
            return match old {
                Some(_) if !with_parent => {
                    Err(format!("G6: {name} is not deleted, as a conflict says"))
                }
                _ => Ok(()),
            };
        }
        let Some(old) = old else {
            return Err(format!("G6: a conflict with {name}, which does not live"));
        };
        if !conflict
            .theirs
            .as_ref()
            .is_some_and(|t| t.same_content(old))
        {
            return Err(format!(
                "G6: the conflict about {name} keeps another version"
            ));
        }
        match (&asked.edit, conflict.kind) {
            (Edit::Update { mine, base, .. }, ConflictKind::UpdateUpdate) => {
                let known = base.as_ref().map(|base| &base.content);
                if by.party.is_some_and(|p| matches!(p, Party::Native(_)))
                    && !clashes(mine, known, old)
                {
                    return Err(format!("G6: the conflict about {name} has no cause"));
                }
                // What was still under way when the file was put back is of another life: what was edited and sent in
                // this one is as unknown to it as another's. All that was there before may come again anyway.
                let own = !by.is_late
                    && mine.values.iter().any(|(&at, value)| {
                        let token = token_of(&old.values[at]);
                        *value != old.values[at]
                            && conflict.fields.contains(&field_name(at))
                            && token.is_some_and(|token| self.is_own(token, by.party))
                    });
                if own {
                    return Err(format!(
                        "G2: {name} is in conflict with its sender's own edit: {:?} over {old:?}",
                        asked.edit
                    ));
                }
                Ok(())
            }
            (Edit::Delete { base, .. }, ConflictKind::DeleteUpdate) => {
                let same = base.as_ref().is_some_and(|base| {
                    let mut was = old.clone();
                    base.content.apply_to(&mut was);
                    was.same_content(old) && base.content.values.len() == old.values.len()
                });
                if same {
                    Err(format!("G6: the conflict about {name} has no cause"))
                } else {
                    Ok(())
                }
            }
            _ => Ok(()),
        }
    }

    fn is_own(&self, token: u64, party: Option<Party>) -> bool {
        let mark = self.marks.get(token as usize);
        mark.is_some_and(|mark| Some(mark.party) == party && !mark.exempt && !mark.shaken)
    }
}

fn field_name(at: usize) -> String {
    ["name", "note", "size"]
        .get(at)
        .copied()
        .unwrap_or("")
        .to_owned()
}

fn clashes(mine: &Changes, base: Option<&Changes>, theirs: &Record) -> bool {
    let values = mine.values.iter().any(|(&at, value)| {
        *value != theirs.values[at]
            && base.and_then(|base| base.values.get(&at)) != Some(&theirs.values[at])
    });
    let geometry = mine.geometry.as_ref().is_some_and(|mine| {
        *mine != theirs.geometry
            && base.and_then(|base| base.geometry.as_ref()) != Some(&theirs.geometry)
    });
    values || geometry
}
