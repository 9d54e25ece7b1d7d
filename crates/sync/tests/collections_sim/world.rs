//! A world: its events, decided by a seed, and what must hold after each.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use haversack_model::{Error as StoreError, GlobalId, HistoryId};
use haversack_sync::reconcile::{Deltas, Error, Limits, Method, Options, Step, Walk, answer};

use crate::copy::{Bug, Copy, unique};
use crate::memory::scenario::Chance;
use crate::memory::{Collection, Shared, history, id};

/// Events of a world before everything heals.
const EVENTS: u64 = 60;
/// Synchronisations after which a healed world must be equal.
const PATIENCE: u32 = 4;

/// Live records of the primary at each generation of each history.
type Past = BTreeMap<(HistoryId, u64), BTreeMap<GlobalId, Vec<u8>>>;

/// What happened in a world, or in many.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    proven: u64,
    cut: u64,
    resumed: u64,
    crashed: u64,
    restored: u64,
    overtaken: u64,
    swapped: u64,
    refused: u64,
    whole: u64,
    sketched_or_listed: u64,
    by_key: u64,
    damaged: u64,
}

impl Seen {
    pub(crate) fn add(&mut self, other: &Self) {
        self.proven += other.proven;
        self.cut += other.cut;
        self.resumed += other.resumed;
        self.crashed += other.crashed;
        self.restored += other.restored;
        self.overtaken += other.overtaken;
        self.swapped += other.swapped;
        self.refused += other.refused;
        self.whole += other.whole;
        self.sketched_or_listed += other.sketched_or_listed;
        self.by_key += other.by_key;
        self.damaged += other.damaged;
    }
    pub(crate) fn all_happened(&self) -> bool {
        [
            self.proven,
            self.cut,
            self.resumed,
            self.crashed,
            self.restored,
            self.overtaken,
            self.swapped,
            self.refused,
            self.whole,
            self.sketched_or_listed,
            self.by_key,
            self.damaged,
        ]
        .iter()
        .all(|count| *count > 0)
    }
}

/// Why a synchronisation ended without a proof.
enum Ended {
    /// The connection broke; the walk may go on.
    Cut,
    /// The process died.
    Crashed,
    /// It was refused.
    Refused(Error),
}

pub(crate) struct World {
    chance: Rc<RefCell<Chance>>,
    primary: Rc<Shared>,
    past: Rc<RefCell<Past>>,
    backups: Vec<Collection>,
    copy: Copy,
    /// What a crash leaves: the copy and the state of its walk.
    disk: (Copy, Option<String>),
    keys: u64,
    histories: u128,
    /// What was done, in words.
    pub(crate) events: Vec<String>,
    pub(crate) seen: Seen,
}

/// A body with a unique value.
fn body(value: u64, version: u64) -> Vec<u8> {
    let mut body = value.to_be_bytes().to_vec();
    body.extend(version.to_be_bytes());
    body
}

/// One transaction of somebody at the primary: values are never in two records.
fn write(primary: &mut Collection, chance: &mut Chance, keys: u64) -> bool {
    let live: Vec<(GlobalId, Vec<u8>)> = primary.live().into_iter().collect();
    let value = |primary: &Collection| (primary.generation + 1) * 1000;
    match chance.below(10) {
        0..=1 if live.len() > 1 => {
            let (a, b) = (
                chance.below(live.len() as u64),
                chance.below(live.len() as u64),
            );
            let (a, b) = (&live[a as usize], &live[b as usize]);
            if a.0 != b.0 {
                primary.put([(a.0.clone(), b.1.clone()), (b.0.clone(), a.1.clone())]);
            }
            true
        }
        2 if !live.is_empty() => {
            // One goes, and another takes its value.
            let at = chance.below(live.len() as u64) as usize;
            let heir = id(chance.below(keys) + keys);
            let gone = live[at].clone();
            let takes = (gone.0 != heir).then(|| (heir, Some(gone.1.clone())));
            primary.write(std::iter::once((gone.0, None)).chain(takes));
            true
        }
        3 if !live.is_empty() => {
            let at = chance.below(live.len() as u64) as usize;
            primary.delete([live[at].0.clone()]);
            false
        }
        4 => {
            let many = chance.below(keys);
            let first = value(primary);
            primary.put((0..many).map(|n| (id(n), body(first + n, n))));
            false
        }
        _ => {
            let new = body(value(primary), chance.below(1000));
            primary.put([(id(chance.below(keys)), new)]);
            false
        }
    }
}

fn remember(primary: &Collection, past: &RefCell<Past>) {
    let at = (primary.history, primary.generation);
    past.borrow_mut().insert(at, primary.live());
}

impl World {
    pub(crate) fn new(seed: u64, bug: Option<Bug>) -> Self {
        let mut chance = Chance::new(seed);
        let keys = [3, 12, 60, 400][chance.below(4) as usize];
        let copy = Copy::new(bug);
        let world = Self {
            chance: Rc::new(RefCell::new(chance)),
            primary: Rc::new(Shared::new(Collection::new(1))),
            past: Rc::default(),
            backups: Vec::new(),
            disk: (copy.clone(), None),
            copy,
            keys,
            histories: 100,
            events: Vec::new(),
            seen: Seen::default(),
        };
        remember(&world.primary.collection.borrow(), &world.past);
        world
    }
    fn below(&self, n: u64) -> u64 {
        self.chance.borrow_mut().below(n)
    }
    fn tell(&mut self, event: String) {
        self.events.push(event);
    }

    /// All events; then everything heals.
    pub(crate) fn run(&mut self) -> Result<(), String> {
        for _ in 0..EVENTS {
            self.step()?;
        }
        for _ in 0..PATIENCE {
            self.synchronise(false)?;
        }
        let primary = self.primary.collection.borrow();
        if self.copy.inner.live() != primary.live() {
            return Err("a healed world is not equal in the end".to_owned());
        }
        if !self.copy.inner.is_sound() {
            return Err("the sums of the copy are not those of its records".to_owned());
        }
        Ok(())
    }

    fn step(&mut self) -> Result<(), String> {
        match self.below(20) {
            0..=7 => {
                let keys = self.keys;
                let swapped = {
                    let mut primary = self.primary.collection.borrow_mut();
                    let swapped = write(&mut primary, &mut self.chance.borrow_mut(), keys);
                    remember(&primary, &self.past);
                    swapped
                };
                self.seen.swapped += u64::from(swapped);
                self.tell(format!(
                    "the primary is written, values exchanged: {swapped}"
                ));
            }
            8..=9 => {
                let at = self.below(self.keys);
                let value = self.below(1 << 40) | 1 << 62;
                if self.below(3) == 0 {
                    self.copy.inner.delete([id(at)]);
                } else {
                    self.copy.inner.put([(id(at), body(value, 0))]);
                }
                self.disk.0 = self.copy.clone();
                self.tell(format!("record {at} of the copy is edited"));
            }
            10 => {
                let mut primary = self.primary.collection.borrow_mut();
                let newest = primary.generation;
                primary.purge(newest / 2);
                drop(primary);
                self.tell("the primary forgets old tombstones".to_owned());
            }
            11 => {
                self.backups.push(self.primary.collection.borrow().clone());
                self.tell("the primary is backed up".to_owned());
            }
            12 if !self.backups.is_empty() => self.restore(),
            13 if self.copy.inner.up_key.is_some() => self.damage(),
            _ => self.synchronise(true)?,
        }
        Ok(())
    }

    /// A backup is put back: a new history, whose generations begin where the backup ended.
    fn restore(&mut self) {
        let at = self.below(self.backups.len() as u64) as usize;
        let mut restored = self.backups[at].clone();
        self.histories += 1;
        // A server that knows how far it shares its past with its former self says so; another does not.
        restored.common.clear();
        if self.below(2) == 0 {
            restored
                .common
                .insert(restored.history, restored.generation);
        }
        restored.history = history(self.histories);
        remember(&restored, &self.past);
        *self.primary.collection.borrow_mut() = restored;
        self.seen.restored += 1;
        self.tell(format!("backup {at} is put back"));
    }

    /// Rows of the copy's summary that no record stands behind: only a full copy heals them.
    fn damage(&mut self) {
        let place = self.below(100) + 1;
        let copy = &mut self.copy.inner;
        let key = copy.up_key.clone().unwrap();
        let mut stale = Deltas::new(copy.up_bits);
        let item = Collection::item(&id(u64::MAX - place), place, false);
        stale.add(place, key.numbered(&item));
        stale.fold_into(&mut copy.up_nodes).unwrap();
        self.disk.0 = self.copy.clone();
        self.seen.damaged += 1;
        self.tell("the sums of the copy are damaged".to_owned());
    }

    /// One synchronisation, perhaps with faults; afterwards the copy is what it was, or what the primary was.
    fn synchronise(&mut self, with_faults: bool) -> Result<(), String> {
        self.copy.history = Some(self.primary.collection.borrow().history);
        let before = self.copy.inner.live();
        let is_resumed = self.disk.1.is_some() && self.below(4) > 0;
        let ended = self.walk(with_faults, is_resumed);
        let after = self.copy.inner.live();
        match ended {
            Ok((at, method, by_key)) => {
                self.seen.proven += 1;
                self.seen.whole += u64::from(method == Method::FullCopy);
                let compared = matches!(method, Method::Lists | Method::Sketch | Method::Tree);
                self.seen.sketched_or_listed += u64::from(compared);
                self.seen.by_key += u64::from(by_key);
                self.tell(format!("synchronised to {at:?} by {method:?}"));
                let past = self.past.borrow();
                let Some(then) = past.get(&at) else {
                    return Err(format!("the primary never was at {at:?}"));
                };
                if after != *then {
                    return Err(format!("the copy is not what the primary was at {at:?}"));
                }
            }
            Err(why) => {
                match &why {
                    Ended::Cut => self.seen.cut += 1,
                    Ended::Crashed => self.seen.crashed += 1,
                    Ended::Refused(_) => self.seen.refused += 1,
                }
                let why = match why {
                    Ended::Cut => "cut".to_owned(),
                    Ended::Crashed => "crashed".to_owned(),
                    Ended::Refused(error) => format!("refused: {error}"),
                };
                self.tell(format!("a synchronisation ended: {why}"));
                if after != before {
                    return Err(format!("a synchronisation that was {why} changed the copy"));
                }
            }
        }
        let mut values: Vec<_> = after.values().map(|body| unique(body)).collect();
        values.sort_unstable();
        values.dedup();
        if values.len() != after.len() {
            return Err("two records of the copy have one value".to_owned());
        }
        Ok(())
    }

    fn save(&mut self, walk: Option<&Walk>) {
        let state = walk.map(|walk| serde_json::to_string(walk).unwrap());
        self.disk = (self.copy.clone(), state);
    }

    fn walk(
        &mut self,
        with_faults: bool,
        is_resumed: bool,
    ) -> Result<((HistoryId, u64), Method, bool), Ended> {
        let odds = if with_faults { self.below(12) + 1 } else { 0 };
        let strikes = |world: &Self| odds > 0 && world.below(odds + 3) == 0;
        let saved = self.disk.1.take().filter(|_| is_resumed);
        let mut walk = match &saved {
            Some(state) => serde_json::from_str(state).unwrap(),
            None => Walk::new(Options::default()),
        };
        self.write_meanwhile(with_faults);
        let first = if saved.is_some() {
            self.seen.resumed += 1;
            walk.resume(&mut self.copy)
        } else {
            walk.start(&mut self.copy)
        };
        let mut question = first.map_err(|error| self.refused(error))?;
        loop {
            let mut pieces = Vec::new();
            let primary = Rc::clone(&self.primary);
            answer(&*primary, &question, &Limits::default(), &mut |piece| {
                pieces.push(piece.to_vec());
                Ok(())
            })
            .map_err(|error| self.refused(error))?;
            let mut next = None;
            let count = pieces.len();
            for (at, piece) in pieces.into_iter().enumerate() {
                if strikes(self) {
                    if self.below(2) == 0 {
                        // What was saved last is all that is left.
                        let (copy, state) = self.disk.clone();
                        self.copy = copy;
                        self.disk.1 = state;
                        return Err(Ended::Crashed);
                    }
                    self.save(Some(&walk));
                    return Err(Ended::Cut);
                }
                match walk.feed(&mut self.copy, &piece) {
                    Err(error) => return Err(self.refused(error)),
                    Ok(Step::More) => assert!(at + 1 < count, "an answer has an end"),
                    Ok(step) => next = Some(step),
                }
                if with_faults && self.below(6) == 0 && next.is_none() {
                    self.save(Some(&walk));
                }
            }
            match next {
                Some(Step::Done(report)) => {
                    self.save(None);
                    let proof = report.proof.expect("what is done is proven");
                    let at = (proof.history, proof.generation.0);
                    return Ok((at, report.method, report.by_key));
                }
                Some(Step::Ask(ask)) => question = ask,
                _ => return Err(self.refused(Error::Malformed("an answer has no end"))),
            }
        }
    }

    /// As the client does: what led to a failure is not gone on with.
    fn refused(&mut self, error: Error) -> Ended {
        use haversack_sync::reconcile::{Base, Secondary as _};
        let begun: Result<(), StoreError> = self.copy.begin(Base::Kept);
        begun.unwrap();
        self.save(None);
        Ended::Refused(error)
    }

    /// Writers of the primary between two of its snapshots.
    fn write_meanwhile(&mut self, with_faults: bool) {
        let is_busy = with_faults && self.below(3) == 0;
        if !is_busy {
            *self.primary.writer.borrow_mut() = None;
            return;
        }
        self.seen.overtaken += 1;
        let (chance, past, keys) = (Rc::clone(&self.chance), Rc::clone(&self.past), self.keys);
        let mut left = 6;
        *self.primary.writer.borrow_mut() = Some(Box::new(move |primary| {
            if left > 0 {
                left -= 1;
                write(primary, &mut chance.borrow_mut(), keys);
                remember(primary, &past);
            }
        }));
    }
}
