//! People at the primary: what they write, and what the primary was after each of their transactions.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use haversack_model::{HistoryId, Result};
use haversack_sync::reconcile::{Primary, PrimaryState, Snapshot};

use crate::memory::scenario::Chance;
use crate::side::{Edit, Live, Side, body, id};
use crate::spoilt::{Bug, SpoiltSnapshot};

/// Live records of the primary at each generation of each history.
type Past = BTreeMap<(HistoryId, u64), Live>;

/// The primary and those who write to it.
pub(crate) struct Writers<S> {
    pub(crate) primary: S,
    chance: Rc<RefCell<Chance>>,
    past: RefCell<Past>,
    keys: u64,
    bug: Option<Bug>,
    /// How many transactions are still to come between two snapshots of an answer.
    pub(crate) hurried: Cell<u32>,
    /// Where the primary stood when a walk began.
    pub(crate) first: RefCell<Option<PrimaryState>>,
}

/// Edits of one transaction in which values are never in two records, and whether records exchange values.
fn edits(live: Live, generation: u64, chance: &mut Chance, keys: u64) -> (Vec<Edit>, bool) {
    let live: Vec<(haversack_model::GlobalId, String)> = live.into_iter().collect();
    let new = (generation + 1) * 1000;
    match chance.below(10) {
        0..=1 if live.len() > 1 => {
            let mut one = || &live[chance.below(live.len() as u64) as usize];
            let (a, b) = (one(), one());
            if a.0 == b.0 {
                return (Vec::new(), false);
            }
            let exchanged = vec![
                (a.0.clone(), Some(b.1.clone())),
                (b.0.clone(), Some(a.1.clone())),
            ];
            (exchanged, true)
        }
        2 if !live.is_empty() => {
            // One goes, and another takes its value.
            let (gone, value) = &live[chance.below(live.len() as u64) as usize];
            let heir = id(chance.below(keys) + keys);
            let takes = (*gone != heir).then(|| (heir, Some(value.clone())));
            let goes = std::iter::once((gone.clone(), None));
            (goes.chain(takes).collect(), true)
        }
        3 if !live.is_empty() => {
            let at = chance.below(live.len() as u64) as usize;
            (vec![(live[at].0.clone(), None)], false)
        }
        4 => {
            let many = 0..chance.below(keys);
            let all = many.map(|n| (id(n), Some(body(new + n, n))));
            (all.collect(), false)
        }
        _ => {
            let written = body(new, chance.below(1000));
            (vec![(id(chance.below(keys)), Some(written))], false)
        }
    }
}

impl<S: Side> Writers<S> {
    pub(crate) fn new(chance: Rc<RefCell<Chance>>, keys: u64, bug: Option<Bug>) -> Self {
        let writers = Self {
            primary: S::new(1),
            chance,
            past: RefCell::default(),
            keys,
            bug,
            hurried: Cell::new(0),
            first: RefCell::default(),
        };
        writers.remember();
        writers
    }
    fn below(&self, n: u64) -> u64 {
        self.chance.borrow_mut().below(n)
    }
    pub(crate) fn remember(&self) {
        let live = self.primary.live();
        self.past.borrow_mut().insert(self.primary.head(), live);
    }
    /// What the primary was.
    pub(crate) fn then(&self, at: (HistoryId, u64)) -> Option<Live> {
        self.past.borrow().get(&at).cloned()
    }
    fn next(&self) -> (Vec<Edit>, bool) {
        let (live, generation) = (self.primary.live(), self.primary.head().1);
        edits(live, generation, &mut self.chance.borrow_mut(), self.keys)
    }
    /// Somebody writes; whether records exchanged values.
    pub(crate) fn write(&self) -> bool {
        let (edits, exchanged) = self.next();
        let write = || self.primary.write(&edits).unwrap();
        if self.bug == Some(Bug::SumsForgotten) && self.below(4) == 0 {
            self.primary.without_sums(&mut { write });
        } else {
            write();
        }
        self.remember();
        exchanged
    }
    /// Another program writes.
    pub(crate) fn write_by_hand(&self) {
        let new = (self.primary.head().1 + 1) * 1000 + 999;
        let at = id(self.below(self.keys));
        let edit = (self.below(3) > 0).then(|| body(new, 7));
        self.primary.write_by_hand(&[(at, edit)]);
        self.remember();
    }
    /// Somebody writes, and the process dies before the commit.
    pub(crate) fn die_amid(&self) {
        let (edits, _) = self.next();
        self.primary.die_amid(&edits);
    }
    pub(crate) fn purge(&self) {
        let upto = self.primary.head().1.saturating_sub(self.below(20));
        if self.bug == Some(Bug::TombstoneForgotten) {
            let purge = || self.primary.purge(upto);
            self.primary.without_sums(&mut { purge });
        } else {
            self.primary.purge(upto);
        }
    }
}

/// The primary as a walk sees it: others write between its snapshots.
pub(crate) struct Busy<'a, S> {
    pub(crate) writers: &'a Writers<S>,
    pub(crate) primary: &'a dyn Primary,
}

impl<S: Side> Primary for Busy<'_, S> {
    fn snapshot(&self) -> Result<Box<dyn Snapshot + '_>> {
        let writers = self.writers;
        if let Some(left) = writers.hurried.get().checked_sub(1) {
            writers.hurried.set(left);
            writers.write();
        }
        Ok(Box::new(SpoiltSnapshot {
            snapshot: self.primary.snapshot()?,
            bug: writers.bug,
            first: &writers.first,
        }))
    }
}
