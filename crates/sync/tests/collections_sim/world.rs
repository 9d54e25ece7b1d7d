//! A world: its events, decided by a seed, and what must hold after each.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::rc::Rc;

use haversack_model::HistoryId;
use haversack_sync::reconcile::{Error, Method, Report};
use tempfile::TempDir;

use crate::memory::history;
use crate::memory::scenario::Chance;
use crate::side::{Death, Live, Side, body, id, unique};
use crate::spoilt::{Bug, Kept};
use crate::writers::Writers;

/// Events of a world before everything heals.
const EVENTS: u64 = 60;
/// Synchronisations after which a healed world must be equal.
const PATIENCE: u32 = 4;

/// What may come next in a world.
#[derive(Clone, Copy, Debug)]
enum Act {
    Write,
    WriteByHand,
    EditCopy,
    EditCopyByHand,
    Purge,
    PurgeCopy,
    BackUp,
    Restore,
    Kill,
    BackUpCopy,
    RestoreCopy,
    Damage,
    Synchronise,
}

/// How often each comes, before the world's own habits.
const ACTS: [(Act, u64); 13] = [
    (Act::Write, 8),
    (Act::WriteByHand, 1),
    (Act::EditCopy, 2),
    (Act::EditCopyByHand, 1),
    (Act::Purge, 1),
    (Act::PurgeCopy, 1),
    (Act::BackUp, 2),
    (Act::Restore, 2),
    (Act::Kill, 1),
    (Act::BackUpCopy, 1),
    (Act::RestoreCopy, 1),
    (Act::Damage, 1),
    (Act::Synchronise, 8),
];

/// What happened in a world, or in many, and how often.
#[derive(Debug, Default)]
pub(crate) struct Seen(pub(crate) BTreeMap<&'static str, u64>);

impl Seen {
    /// What must happen in the worlds of every store.
    const ALL: [&'static str; 25] = [
        "proven",
        "by a full copy",
        "by comparison",
        "by key",
        "cut",
        "crashed",
        "resumed",
        "refused",
        "overtaken",
        "values exchanged",
        "dead before a merge",
        "dead before a commit",
        "dead after a commit",
        "primary dead between questions",
        "primary purged between questions",
        "primary restored",
        "primary restored between questions",
        "copy edited",
        "copy edited between questions",
        "copy restored",
        "copy begun anew",
        "sums damaged",
        "sums miscounted",
        "cursor lost",
        "tombstones purged",
    ];
    /// And in those of a store that prepares files.
    const OF_FILES: [&'static str; 3] = [
        "prepared file taken",
        "torn prepared file refused",
        "dead with a prepared file",
    ];
    pub(crate) fn add(&mut self, other: &Self) {
        for (what, count) in &other.0 {
            *self.0.entry(what).or_default() += count;
        }
    }
    /// A fault that never happens shows nothing.
    pub(crate) fn missing(&self, with_files: bool) -> Vec<&'static str> {
        let of_files = Self::OF_FILES.into_iter().filter(|_| with_files);
        let all = Self::ALL.into_iter().chain(of_files);
        all.filter(|what| !self.0.contains_key(what)).collect()
    }
}

/// A state of the primary.
pub(crate) type At = (HistoryId, u64);

/// Why a synchronisation ended without a proof.
pub(crate) enum Ended {
    /// The connection broke; the walk may go on.
    Cut,
    /// The process died; perhaps after it had committed.
    Crashed { committed: Option<At> },
    /// It was refused.
    Refused(Error),
}

pub(crate) struct World<S: Side> {
    pub(crate) chance: Rc<RefCell<Chance>>,
    pub(crate) writers: Rc<Writers<S>>,
    pub(crate) copy: Rc<S>,
    backups: Vec<S::Backup>,
    backups_of_copy: Vec<S::Backup>,
    /// What is in the copy.
    pub(crate) before: Live,
    pub(crate) bug: Option<Bug>,
    pub(crate) kept: Rc<RefCell<Kept>>,
    pub(crate) folder: TempDir,
    keys: u64,
    /// Each world has habits: some things it does often, some never.
    weights: [u64; ACTS.len()],
    is_miscounted: bool,
    histories: u128,
    copies: u8,
    /// What was done, in words.
    pub(crate) events: Vec<String>,
    pub(crate) seen: Seen,
}

impl<S: Side> World<S> {
    pub(crate) fn new(seed: u64, bug: Option<Bug>) -> Self {
        let mut chance = Chance::new(seed);
        let keys = [3, 12, 60, 400][chance.below(4) as usize];
        let weights = ACTS.map(|(_, weight)| {
            weight * [0, 1, 1, 4][chance.below(4) as usize] + u64::from(weight > 7)
        });
        let chance = Rc::new(RefCell::new(chance));
        Self {
            writers: Rc::new(Writers::new(Rc::clone(&chance), keys, bug)),
            chance,
            copy: Rc::new(S::new(2)),
            backups: Vec::new(),
            backups_of_copy: Vec::new(),
            before: Live::new(),
            bug,
            kept: Rc::default(),
            folder: tempfile::tempdir().unwrap(),
            keys,
            weights,
            is_miscounted: false,
            histories: 100,
            copies: 2,
            events: Vec::new(),
            seen: Seen::default(),
        }
    }
    pub(crate) fn below(&self, n: u64) -> u64 {
        self.chance.borrow_mut().below(n)
    }
    pub(crate) fn tell(&mut self, event: impl Into<String>) {
        self.events.push(event.into());
    }
    pub(crate) fn saw(&mut self, what: &'static str) {
        *self.seen.0.entry(what).or_default() += 1;
    }
    /// Where a prepared file goes.
    pub(crate) fn prepared(&self) -> PathBuf {
        let path = self.folder.path().join("prepared.sqlite");
        let _none_before = std::fs::remove_file(&path);
        path
    }

    /// All events; then everything heals.
    pub(crate) fn run(&mut self) -> Result<(), String> {
        for _ in 0..EVENTS {
            self.step()?;
        }
        for _ in 0..PATIENCE {
            self.synchronise(false)?;
        }
        if self.copy.live() != self.writers.primary.live() {
            return Err("a healed world is not equal in the end".to_owned());
        }
        // Rows that nobody had to compare may still be damaged; who looks for it heals it.
        let is_sound = self.copy.check() || self.is_miscounted && self.copy.check();
        if !is_sound || !self.writers.primary.check() {
            return Err("the sums are not those of the records".to_owned());
        }
        Ok(())
    }

    fn step(&mut self) -> Result<(), String> {
        let mut at = self.below(self.weights.iter().sum());
        let acts = ACTS.into_iter().zip(self.weights);
        let due = acts
            .map(|((act, _), weight)| (act, weight))
            .find(|(_, weight)| {
                let is_due = at < *weight;
                at = at.wrapping_sub(*weight);
                is_due
            });
        match due.map_or(Act::Synchronise, |(act, _)| act) {
            Act::Write => self.write(),
            Act::WriteByHand => {
                self.writers.write_by_hand();
                self.tell("another program writes to the primary");
            }
            Act::EditCopy => self.edit_copy(false),
            Act::EditCopyByHand => self.edit_copy(true),
            Act::Purge => {
                self.writers.purge();
                self.tell("the primary forgets old tombstones");
            }
            Act::PurgeCopy => {
                self.copy.purge(self.copy.head().1);
                self.saw("tombstones purged");
                self.tell("the copy forgets its tombstones");
            }
            Act::BackUp => {
                self.backups.push(self.writers.primary.backup());
                self.tell("the primary is backed up");
                self.write();
                self.synchronise(true)?;
            }
            Act::Restore => {
                if self.restore() {
                    self.saw("primary restored");
                }
                // Written after the backup and again after it came back: the same numbers for other records, if they could be.
                self.write();
                self.synchronise(true)?;
            }
            Act::Kill => self.kill_primary(),
            Act::BackUpCopy => {
                self.backups_of_copy.push(self.copy.backup());
                self.tell("the copy is backed up");
            }
            Act::RestoreCopy => self.copy_goes_back(),
            Act::Damage => self.damage(),
            Act::Synchronise => self.synchronise(true)?,
        }
        Ok(())
    }

    fn write(&mut self) {
        let exchanged = self.writers.write();
        self.tell("the primary is written");
        if exchanged {
            self.saw("values exchanged");
        }
    }
    /// Somebody or something else than a synchronisation changed the copy.
    fn copy_changed(&mut self) {
        self.kept.borrow_mut().lie = None;
        self.before = self.copy.live();
    }
    pub(crate) fn edit_copy(&mut self, by_hand: bool) {
        let at = self.below(self.keys);
        let value = self.below(1 << 40) | 1 << 62;
        let edit = (id(at), (self.below(3) > 0).then(|| body(value, 0)));
        if by_hand {
            self.copy.write_by_hand(std::slice::from_ref(&edit));
        } else {
            self.copy.write(std::slice::from_ref(&edit)).unwrap();
        }
        self.kept.borrow_mut().edited.insert(edit.0, edit.1);
        self.copy_changed();
        self.saw("copy edited");
        self.tell(format!("record {at} of the copy is edited"));
    }
    /// A backup of the primary is put back, if there is one: a new history.
    pub(crate) fn restore(&mut self) -> bool {
        if self.backups.is_empty() {
            self.backups.push(self.writers.primary.backup());
            self.tell("the primary is backed up");
            return false;
        }
        // Often the newest: then much is the same again, down to the numbers.
        let newest = self.backups.len() - 1;
        let at = match self.below(2) {
            0 => newest,
            _ => self.below(self.backups.len() as u64) as usize,
        };
        let primary = &self.writers.primary;
        primary.put_back(&self.backups[at]);
        self.histories += 1;
        // A server that knows how far it shares its past with its former self says so; another does not.
        let is_told = self.below(2) == 0;
        if self.bug != Some(Bug::HistoryKept) {
            primary.start_history(history(self.histories), is_told);
        }
        self.writers.remember();
        self.tell(format!("backup {at} is put back"));
        true
    }
    pub(crate) fn kill_primary(&mut self) {
        if self.below(2) == 0 {
            self.writers.primary.die();
        } else {
            self.writers.die_amid();
        }
        self.tell("the primary dies and comes back");
    }
    fn copy_goes_back(&mut self) {
        let backups = self.backups_of_copy.len() as u64;
        let at = self.below(2 * backups + 1);
        if at < backups {
            self.copy.put_back(&self.backups_of_copy[at as usize]);
            self.saw("copy restored");
            self.tell(format!("backup {at} of the copy is put back"));
        } else {
            self.copies = self.copies % 100 + 2;
            self.copy.renew(self.copies);
            self.saw("copy begun anew");
            self.tell("the copy is begun anew");
        }
        self.kept.borrow_mut().edited.clear();
        self.copy_changed();
    }
    fn damage(&mut self) {
        let (place, level) = (self.below(100) + 1, self.below(5) as u8);
        match self.below(4) {
            0 => {
                self.copy.lose_cursor();
                self.saw("cursor lost");
                self.tell("the copy forgets up to where it was proven");
            }
            1 => {
                let count = [0, 1, 1 << 61, u64::MAX][self.below(4) as usize];
                self.copy.miscount(level, count);
                self.is_miscounted = true;
                self.saw("sums miscounted");
                self.tell(format!("level {level} of the copy's sums counts {count}"));
            }
            _ => {
                if self.copy.damage(place) {
                    self.saw("sums damaged");
                    self.tell("the sums of the copy are damaged");
                }
            }
        }
        self.copy_changed();
    }

    /// One synchronisation, perhaps with faults; afterwards the copy is what it was, or what the primary was.
    fn synchronise(&mut self, with_faults: bool) -> Result<(), String> {
        let death = [Death::BeforeMerge, Death::BeforeCommit, Death::AfterCommit]
            .get(self.below(15) as usize)
            .copied()
            .filter(|_| with_faults);
        let copy = Rc::clone(&self.copy);
        let ended = copy.with_copy(death, |held| self.walk(held, death, with_faults));
        if copy.is_dead() || matches!(ended, Err(Ended::Crashed { .. })) {
            copy.die();
        }
        let after = copy.live();
        match ended {
            Ok((at, report)) => {
                self.count(&report);
                self.tell(format!("synchronised to {at:?} by {:?}", report.method));
                self.must_be(&after, at)?;
            }
            Err(Ended::Crashed {
                committed: Some(at),
            }) => {
                self.tell(format!("the process died when {at:?} was committed"));
                self.must_be(&after, at)?;
            }
            Err(why) => {
                let why = match why {
                    Ended::Cut => "cut".to_owned(),
                    Ended::Crashed { .. } => "crashed".to_owned(),
                    Ended::Refused(error) => format!("refused: {error}"),
                };
                self.saw(match why.as_str() {
                    "cut" => "cut",
                    "crashed" => "crashed",
                    _ => "refused",
                });
                self.tell(format!("a synchronisation ended: {why}"));
                if after != self.before {
                    return Err(format!("a synchronisation that was {why} changed the copy"));
                }
            }
        }
        let values: BTreeSet<&str> = after.values().map(|body| unique(body)).collect();
        if values.len() != after.len() {
            return Err("two records of the copy have one value".to_owned());
        }
        self.before = after;
        Ok(())
    }

    fn count(&mut self, report: &Report) {
        self.saw("proven");
        match report.method {
            Method::FullCopy => self.saw("by a full copy"),
            Method::Tree | Method::Lists | Method::Sketch => self.saw("by comparison"),
            _ => {}
        }
        if report.by_key {
            self.saw("by key");
        }
    }
    pub(crate) fn must_be(&self, copy: &Live, at: At) -> Result<(), String> {
        match self.writers.then(at) {
            None => Err(format!("the primary never was at {at:?}")),
            Some(then) if then != *copy => {
                Err(format!("the copy is not what the primary was at {at:?}"))
            }
            Some(_) => Ok(()),
        }
    }
}
