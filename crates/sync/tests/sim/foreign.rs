//! Foreign clients, like those of feature services: rows, generations per layer, no batch numbers, no base versions.
//!
//! Such a client is locked while it waits for an answer. When none comes, people go on editing and it asks again with
//! the same generations and perhaps other edits.

use std::collections::{BTreeMap, BTreeSet};

use haversack_model::{Changes, Collection, CollectionId, Generation, Record, ReplicaId};
use haversack_sync::{DeltaChange, ForeignEdit};

use crate::ground::{Key, short, tokens};
use crate::message::{Exchange, Exchanged, Party, Reply, Request};
use crate::oracle::Check;
use crate::people::{Deed, deed};
use crate::sometimes::Rare;
use crate::world::World;

/// Local work on one record.
#[derive(Clone, Debug)]
enum Dirty {
    Add(Record),
    Update(Changes),
    Delete,
}

#[derive(Clone, Debug)]
struct Work {
    dirty: Dirty,
    /// How many requests it was in: the server may have it.
    sent: u32,
    marks: BTreeMap<usize, u64>,
}

/// A foreign client.
#[derive(Debug)]
pub struct Foreign {
    pub replica: ReplicaId,
    pub user: usize,
    pub layers: Vec<CollectionId>,
    pub shapes: Vec<Collection>,
    /// The server's rows as far as told.
    pub shadow: BTreeMap<Key, Record>,
    work: BTreeMap<Key, Work>,
    pub cursors: BTreeMap<CollectionId, Generation>,
    awaiting: Option<Vec<Key>>,
    attempt: u64,
    /// The last attempt that was answered: older requests are not under way any more.
    pub answered: u64,
    /// The last attempt that the server stored: an older one does not come later.
    pub stored: u64,
    /// Tokens that it ever had.
    pub seen: BTreeSet<u64>,
    /// It sends whole rows, not only what changed.
    pub whole_rows: bool,
    pub per_layer: bool,
    /// It must check out again.
    pub is_outdated: bool,
}

impl Foreign {
    pub fn new(replica: ReplicaId, user: usize, shapes: Vec<Collection>) -> Self {
        Self {
            replica,
            user,
            layers: Vec::new(),
            shapes,
            shadow: BTreeMap::new(),
            work: BTreeMap::new(),
            cursors: BTreeMap::new(),
            awaiting: None,
            attempt: 0,
            answered: 0,
            stored: 0,
            seen: BTreeSet::new(),
            whole_rows: true,
            per_layer: false,
            is_outdated: false,
        }
    }

    /// What its user sees: the server's rows with the unsent work over them.
    pub fn rows(&self) -> BTreeMap<Key, Record> {
        let mut rows = self.shadow.clone();
        for (key, work) in &self.work {
            match &work.dirty {
                Dirty::Add(record) => drop(rows.insert(key.clone(), record.clone())),
                Dirty::Update(changes) => {
                    if let Some(row) = rows.get_mut(key) {
                        changes.apply_to(row);
                    }
                }
                Dirty::Delete => drop(rows.remove(key)),
            }
        }
        rows
    }

    pub fn is_waiting(&self) -> bool {
        self.awaiting.is_some()
    }

    /// Takes the rows of a new checkout; what is unsent is put over them as far as it fits.
    pub fn check_out(
        &mut self,
        replica: ReplicaId,
        cursor: Generation,
        rows: BTreeMap<Key, Record>,
    ) -> (Vec<u64>, Vec<u64>) {
        self.replica = replica;
        self.is_outdated = false;
        self.awaiting = None;
        self.cursors = self.layers.iter().map(|layer| (*layer, cursor)).collect();
        for row in rows.values() {
            self.seen.extend(tokens(row).map(|(_, token)| token));
        }
        self.shadow = rows;
        let mut touched = Vec::new();
        let mut dropped = Vec::new();
        for (key, work) in &mut self.work {
            touched.extend(work.marks.values().copied());
            let was_sent = std::mem::take(&mut work.sent) > 0;
            match (&work.dirty, self.shadow.get(key)) {
                // The server may have it, outside of this part: this is for a person to look at.
                (Dirty::Add(_), None) if was_sent => dropped.push(key.clone()),
                (Dirty::Add(record), Some(row)) => {
                    work.dirty = Dirty::Update(Changes::between(row, record));
                }
                (Dirty::Update(_) | Dirty::Delete, None) => dropped.push(key.clone()),
                _ => {}
            }
        }
        let mut lost = Vec::new();
        for key in dropped {
            let work = self.work.remove(&key);
            lost.extend(work.into_iter().flat_map(|work| work.marks.into_values()));
        }
        (touched, lost)
    }
}

impl World<'_> {
    pub fn foreign_edit(&mut self, at: usize) {
        if self.foreigns[at].is_waiting() || self.foreigns[at].is_outdated {
            return;
        }
        let rows = self.foreigns[at].rows();
        let party = Party::Foreign(at);
        let habits = crate::people::Habits {
            undeletes: 0,
            ..self.habits
        };
        let client = &mut self.foreigns[at];
        let done = deed(
            &mut self.chance,
            &mut self.oracle,
            party,
            habits,
            &client.shapes,
            &rows,
            &[],
        );
        let Some(done) = done else { return };
        match done {
            Deed::Add {
                key,
                record,
                marks,
                blob,
            } => {
                if !client.layers.contains(&key.0) {
                    for (_, token) in marks {
                        self.oracle.change(token, |mark| mark.superseded = true);
                    }
                    return;
                }
                self.trace
                    .note(&format!("f{at} adds {} {:?}", short(&key), record.values));
                if let Some(hash) = blob {
                    self.uploaded.push(hash);
                }
                let work = Work {
                    dirty: Dirty::Add(record),
                    sent: 0,
                    marks: marks.into_iter().collect(),
                };
                client.work.insert(key, work);
            }
            Deed::Update {
                key,
                changes,
                marks,
            } => {
                self.trace
                    .note(&format!("f{at} sets {} {:?}", short(&key), changes.values));
                let work = client.work.entry(key).or_insert_with(|| Work {
                    dirty: Dirty::Update(Changes::default()),
                    sent: 0,
                    marks: BTreeMap::new(),
                });
                match &mut work.dirty {
                    Dirty::Add(record) => changes.apply_to(record),
                    Dirty::Update(all) => {
                        all.values.extend(changes.values);
                        if changes.geometry.is_some() {
                            all.geometry = changes.geometry;
                        }
                    }
                    Dirty::Delete => {}
                }
                for (at, token) in marks {
                    if let Some(old) = work.marks.insert(at, token) {
                        self.oracle.change(old, |mark| mark.superseded = true);
                    }
                }
            }
            Deed::Delete { key } => {
                self.trace.note(&format!("f{at} deletes {}", short(&key)));
                let known = client.shadow.contains_key(&key);
                let sent = match client.work.remove(&key) {
                    Some(work) => {
                        for token in work.marks.into_values() {
                            self.oracle.change(token, |mark| mark.superseded = true);
                        }
                        work.sent
                    }
                    None => 0,
                };
                if known || sent > 0 {
                    let work = Work {
                        dirty: Dirty::Delete,
                        sent,
                        marks: BTreeMap::new(),
                    };
                    client.work.insert(key, work);
                }
            }
        }
    }

    /// Sends what is unsent and asks for what is new, all layers or some.
    pub fn foreign_send(&mut self, at: usize) {
        let client = &mut self.foreigns[at];
        if client.is_waiting() || client.is_outdated {
            return;
        }
        let mut layers = client.layers.clone();
        if client.per_layer && !self.calm && self.chance.percent(50) {
            let keep = self.chance.below(layers.len());
            layers = vec![layers[keep]];
        }
        let (mut adds, mut updates, mut deletes) = (Vec::new(), Vec::new(), Vec::new());
        let mut keys = Vec::new();
        for (key, work) in &mut client.work {
            if !layers.contains(&key.0) {
                continue;
            }
            work.sent += 1;
            keys.push(key.clone());
            match &work.dirty {
                Dirty::Add(record) => {
                    let given = haversack_sync::merge::whole(record);
                    adds.push((key.0, ForeignEdit::Add(record.clone(), given)));
                }
                Dirty::Update(changes) => {
                    let mut mine = changes.clone();
                    if client.whole_rows
                        && let Some(row) = client.shadow.get(key)
                    {
                        mine = haversack_sync::merge::whole(row);
                        mine.values.extend(changes.values.clone());
                        if changes.geometry.is_some() {
                            mine.geometry.clone_from(&changes.geometry);
                        }
                    }
                    let update = ForeignEdit::Update {
                        global_id: key.1.clone(),
                        mine,
                    };
                    updates.push((key.0, update));
                }
                Dirty::Delete => deletes.push((key.0, ForeignEdit::Delete(key.1.clone()))),
            }
        }
        adds.append(&mut updates);
        adds.append(&mut deletes);
        keys.clear();
        keys.extend(
            adds.iter()
                .map(|(collection, edit)| (*collection, edit.global_id().clone())),
        );
        client.attempt += 1;
        let exchange = Exchange {
            replica: client.replica,
            attempt: client.attempt,
            cursors: layers
                .iter()
                .map(|layer| {
                    (
                        *layer,
                        client.cursors.get(layer).copied().unwrap_or_default(),
                    )
                })
                .collect(),
            edits: adds,
            all_or_nothing: !self.calm && self.chance.percent(15),
        };
        self.trace.note(&format!(
            "f{at} exchanges {} edits ({}) since {:?}",
            exchange.edits.len(),
            keys.iter().map(short).collect::<Vec<_>>().join(" "),
            exchange
                .cursors
                .iter()
                .map(|(_, g)| g.0)
                .collect::<Vec<_>>()
        ));
        client.awaiting = Some(keys);
        self.up(Party::Foreign(at), Request::Foreign(exchange));
    }

    /// No answer came: people go on.
    pub fn foreign_give_up(&mut self, at: usize) {
        let client = &mut self.foreigns[at];
        if client.awaiting.take().is_some() {
            client.attempt += 1;
            self.trace.note(&format!("f{at} waits no longer"));
        }
    }

    pub fn foreign_receive(&mut self, at: usize, reply: Reply) {
        match reply {
            Reply::Exchanged(answer) => self.foreign_answered(at, answer),
            Reply::Outdated { attempt } => {
                let client = &mut self.foreigns[at];
                if client.attempt == attempt && client.awaiting.take().is_some() {
                    client.is_outdated = true;
                    self.trace.note(&format!("f{at} must check out again"));
                }
            }
            _ => {}
        }
    }

    fn foreign_answered(&mut self, at: usize, answer: Exchanged) {
        let client = &mut self.foreigns[at];
        if client.attempt != answer.attempt {
            return;
        }
        let Some(keys) = client.awaiting.take() else {
            return;
        };
        client.answered = answer.attempt;
        let told: Vec<String> = answer
            .changes
            .iter()
            .map(|(collection, change)| match change {
                DeltaChange::Add(v) | DeltaChange::Update(v) => {
                    format!("+{}", short(&(*collection, v.record.global_id.clone())))
                }
                DeltaChange::Remove { global_id, .. } => {
                    format!("-{}", short(&(*collection, global_id.clone())))
                }
            })
            .collect();
        self.trace.note(&format!(
            "f{at} gets {}; {} of {} edits accepted",
            told.join(" "),
            answer.accepted.iter().filter(|accepted| **accepted).count(),
            keys.len()
        ));
        for (key, accepted) in keys.iter().zip(&answer.accepted) {
            if !accepted {
                if let Some(work) = client.work.get_mut(key) {
                    // Refused: the server has nothing of it, unless it stored an earlier request. What is sent again
                    // from the generations of this answer is meant again.
                    for token in work.marks.values() {
                        self.oracle.change(*token, |mark| {
                            mark.refused = true;
                            mark.exempt |= work.sent > 1;
                        });
                    }
                }
                self.seen.saw(Rare::Rejected);
                continue;
            }
            let Some(work) = client.work.remove(key) else {
                continue;
            };
            match work.dirty {
                Dirty::Add(record) => drop(client.shadow.insert(key.clone(), record)),
                Dirty::Update(changes) => {
                    if let Some(row) = client.shadow.get_mut(key) {
                        changes.apply_to(row);
                    }
                }
                Dirty::Delete => drop(client.shadow.remove(key)),
            }
        }
        for (collection, change) in answer.changes {
            match change {
                DeltaChange::Add(version) | DeltaChange::Update(version) => {
                    let mut record = version.record;
                    record.object_id = None;
                    client.seen.extend(tokens(&record).map(|(_, token)| token));
                    let key = (collection, record.global_id.clone());
                    client.shadow.insert(key, record);
                }
                DeltaChange::Remove { global_id, .. } => {
                    let key = (collection, global_id);
                    client.shadow.remove(&key);
                    // An add that was never sent is not what the server tells of.
                    let is_of_no_use = client
                        .work
                        .get(&key)
                        .is_some_and(|work| work.sent > 0 || !matches!(work.dirty, Dirty::Add(_)));
                    if is_of_no_use && let Some(work) = client.work.remove(&key) {
                        for token in work.marks.values() {
                            self.oracle.change(*token, |mark| mark.lost = true);
                        }
                    }
                }
            }
        }
        for (layer, cursor) in answer.cursors {
            client.cursors.insert(layer, cursor);
        }
    }

    /// Gives up what the server refuses.
    pub fn foreign_discard(&mut self, at: usize) {
        let client = &mut self.foreigns[at];
        for work in std::mem::take(&mut client.work).into_values() {
            for token in work.marks.into_values() {
                self.oracle.change(token, |mark| mark.lost = true);
            }
        }
    }

    /// Checks out anew what cannot be continued.
    pub fn foreign_check_out(&mut self, at: usize) -> Check {
        let layers = self.foreigns[at].layers.clone();
        let user = self.foreigns[at].user;
        let (replica, cursor, rows) = self.register(user, &layers, false)?;
        self.trace.note(&format!("f{at} checks out"));
        let (touched, lost) = self.foreigns[at].check_out(replica.id, cursor, rows);
        for token in touched {
            self.oracle.change(token, |mark| mark.exempt = true);
        }
        for token in lost {
            self.oracle.change(token, |mark| mark.lost = true);
        }
        Ok(())
    }
}
