//! One synchronisation of a world: a real walk over a connection that breaks, between processes that die.

use haversack_model::Error as StoreError;
use haversack_sync::reconcile::{
    Error, Limits, Options, Proof, Report, Result, Step, Walk, answer,
};

use crate::side::{Copying, Death, Side};
use crate::spoilt::Spoilt;
use crate::world::{At, Ended, World};
use crate::writers::Busy;

fn at(proof: &Proof) -> At {
    (proof.history, proof.generation.0)
}

impl<S: Side> World<S> {
    /// A walk until it is proven, or something ends it.
    pub(crate) fn walk(
        &mut self,
        held: &mut dyn Copying,
        death: Option<Death>,
        with_faults: bool,
    ) -> std::result::Result<(At, Report), Ended> {
        let (side, writers) = (self.copy.clone(), self.writers.clone());
        let kept = self.kept.clone();
        let dies = matches!(death, Some(Death::BeforeMerge | Death::BeforeCommit));
        let sides = (&*side, &writers.primary);
        let mut copy = Spoilt::new(held, self.bug, sides, &kept, dies);
        let first = self.first_copy(&mut copy, death, with_faults);
        first.and_then(|()| self.go(&mut copy, death, with_faults))
    }

    /// What an error means: the death of the process, if that was due, or a refusal.
    fn failed(
        &mut self,
        copy: &mut dyn Copying,
        death: Option<Death>,
        proof: Option<At>,
        error: Error,
    ) -> Ended {
        if self.copy.is_dead() {
            self.saw(match death {
                Some(Death::BeforeMerge) => "dead before a merge",
                Some(Death::BeforeCommit) => "dead before a commit",
                _ => "dead after a commit",
            });
            let committed = proof.filter(|_| death == Some(Death::AfterCommit));
            return Ended::Crashed { committed };
        }
        // As the client does: what led to a failure is not gone on with.
        copy.give_up().unwrap();
        Ended::Refused(error)
    }

    /// Where the copy has nothing: perhaps a file that the primary prepared.
    fn first_copy(
        &mut self,
        copy: &mut dyn Copying,
        death: Option<Death>,
        with_faults: bool,
    ) -> std::result::Result<(), Ended> {
        let wanted = self.below(2) == 0;
        let file = self.prepared();
        let then = self.writers.primary.head();
        if !wanted || !self.before.is_empty() || !self.writers.primary.prepare(&file) {
            return Ok(());
        }
        let is_torn = with_faults && self.below(3) == 0;
        if is_torn {
            let whole = std::fs::read(&file).unwrap();
            let some = self.below(whole.len() as u64) as usize;
            std::fs::write(&file, &whole[..some]).unwrap();
        }
        match copy.take_prepared(&file) {
            Ok(None) => {}
            Ok(Some(proof)) => {
                self.saw("prepared file taken");
                self.tell(format!("a file of {:?} is taken over", at(&proof)));
                let live = self.copy.live();
                let is_right = self.must_be(&live, at(&proof)).is_ok();
                // What is wrong is found by the comparison with what was before.
                if is_right {
                    self.before = live;
                }
            }
            Err(_torn) if is_torn && !self.copy.is_dead() => self.saw("torn prepared file refused"),
            Err(error) => {
                if self.copy.is_dead() {
                    self.saw("dead with a prepared file");
                }
                return Err(self.failed(copy, death, Some(then), error.into()));
            }
        }
        Ok(())
    }

    fn go(
        &mut self,
        copy: &mut dyn Copying,
        death: Option<Death>,
        with_faults: bool,
    ) -> std::result::Result<(At, Report), Ended> {
        let odds = if with_faults { self.below(12) + 1 } else { 0 };
        let limits = Limits {
            page_records: [2000, 40, 7][self.below(3) as usize],
            ..Limits::default()
        };
        let is_busy = with_faults && self.below(3) == 0;
        self.writers.hurried.set(if is_busy { 6 } else { 0 });
        *self.writers.first.borrow_mut() = None;
        if is_busy {
            self.saw("overtaken");
        }
        let wants_more = self.below(4) > 0;
        let saved = copy.saved().unwrap().filter(|_| wants_more);
        let mut walk = match &saved {
            Some(state) => serde_json::from_str(state).unwrap(),
            None => Walk::new(Options::default()),
        };
        let begun = if saved.is_some() {
            self.saw("resumed");
            walk.resume(copy)
        } else {
            walk.start(copy)
        };
        let mut question = begun.map_err(|error| self.failed(copy, death, None, error))?;
        loop {
            let told = self.answer(&question, &limits);
            let pieces = told.map_err(|error| self.failed(copy, death, None, error))?;
            let is_struck = odds > 0 && self.below(odds + 3) == 0;
            let struck = is_struck.then(|| self.below(pieces.len() as u64) as usize);
            let mut next = None;
            for (n, piece) in pieces.iter().enumerate() {
                if struck == Some(n) {
                    if self.below(2) == 0 {
                        return Err(Ended::Crashed { committed: None });
                    }
                    save(copy, &walk);
                    return Err(Ended::Cut);
                }
                match walk.feed(copy, piece) {
                    Err(error) => {
                        let proof = walk.report().proof.as_ref().map(at);
                        return Err(self.failed(copy, death, proof, error));
                    }
                    Ok(Step::More) => assert!(n + 1 < pieces.len(), "an answer has an end"),
                    Ok(step) => next = Some(step),
                }
                if with_faults && next.is_none() && self.below(12) == 0 {
                    save(copy, &walk);
                }
            }
            match next {
                Some(Step::Done(report)) => {
                    let proof = report.proof.expect("what is done is proven");
                    return Ok((at(&proof), *report));
                }
                Some(Step::Ask(ask)) => question = ask,
                _ => panic!("an answer has no end"),
            }
            if with_faults {
                save(copy, &walk);
                self.meanwhile();
            }
        }
    }

    /// The answer of the primary, in pieces of any size.
    fn answer(&mut self, question: &[u8], limits: &Limits) -> Result<Vec<Vec<u8>>> {
        let writers = self.writers.clone();
        let mut pieces = Vec::new();
        writers.primary.with_primary(|primary| {
            let busy = Busy {
                writers: &writers,
                primary,
            };
            answer(&busy, question, limits, &mut |piece| {
                pieces.push(piece.to_vec());
                Ok(())
            })
        })?;
        let size = [usize::MAX, 900, 100][self.below(3) as usize];
        if size == usize::MAX {
            return Ok(pieces);
        }
        Ok(pieces.concat().chunks(size).map(<[u8]>::to_vec).collect())
    }

    /// What happens between two questions.
    fn meanwhile(&mut self) {
        match self.below(30) {
            0 => {
                self.edit_copy(false);
                self.saw("copy edited between questions");
            }
            1 => {
                self.edit_copy(true);
                self.saw("copy edited between questions");
            }
            2 => {
                self.kill_primary();
                self.saw("primary dead between questions");
            }
            3 if self.restore() => self.saw("primary restored between questions"),
            4 => {
                self.writers.purge();
                self.saw("primary purged between questions");
            }
            _ => {}
        }
    }
}

fn save(copy: &mut dyn Copying, walk: &Walk) {
    let state = serde_json::to_string(walk).unwrap();
    let saved: std::result::Result<(), StoreError> = copy.save(Some(&state));
    saved.unwrap();
}
