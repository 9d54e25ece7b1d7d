//! The end of each answer: what follows, whether the proof holds, and what is stronger if it does not.

use haversack_model::Generation;

use crate::reconcile::error::{Error, Result};
use crate::reconcile::frame::Refusal;
use crate::reconcile::item::Order;
use crate::reconcile::report::Method;
use crate::reconcile::secondary::{Base, Proof, Secondary};
use crate::reconcile::sum::Sum;
use crate::reconcile::tree::Deltas;

use super::{Phase, Step, Walk};

/// How often a walk begins anew because the primary moved under it.
const MOST_RESTARTS: u32 = 4;
/// Which attempt lists ids of 16 bytes.
pub(super) const WIDE: u8 = 2;
/// Which attempt copies everything.
const FULL_COPY: u8 = 3;

impl Walk {
    /// An answer has ended.
    pub(super) fn turn(&mut self, copy: &mut dyn Secondary) -> Result<Step> {
        match self.inbox.refused {
            Some(Refusal::Epoch) => return self.begin_anew(copy),
            Some(Refusal::Damaged) => return Err(Error::PrimaryDamaged),
            None => {}
        }
        let key = self.key(copy)?;
        match self.phase {
            Phase::Open => self.opened(copy),
            Phase::Descend => {
                self.compare(copy, &key)?;
                self.choose(copy, false)
            }
            Phase::List => self.listed_answer(copy, &key),
            Phase::Sketch => self.sketched_answer(copy, &key),
            Phase::Adopt => self.numbered_answer(copy),
            Phase::Get | Phase::Changes => self.settle(copy, true),
            Phase::Done => Err(Error::Broken("an answer follows that nobody asked for")),
        }
    }

    fn opened(&mut self, copy: &mut dyn Secondary) -> Result<Step> {
        if !self.inbox.has_head {
            return Err(Error::Broken("an answer begins without a head"));
        }
        let by_key = self.scope()?.order == Order::Key;
        if !by_key && self.held == self.root.sum {
            return self.settle(copy, true);
        }
        // Who has nothing has no nodes.
        if by_key || !self.inbox.nodes.is_empty() || self.root.sum.count == 0 {
            let key = self.key(copy)?;
            self.compare(copy, &key)?;
            return self.choose(copy, true);
        }
        if self.wants_tree {
            return Err(Error::Broken(
                "there is a difference, and no tree to find it",
            ));
        }
        self.wants_tree = true;
        self.go(copy, Phase::Open)
    }

    /// Nothing is left to compare. `caught_up`: the primary's root was told after all that is staged.
    pub(super) fn settle(&mut self, copy: &mut dyn Secondary, caught_up: bool) -> Result<Step> {
        if self.scope()?.order == Order::Key && !self.numbered {
            return self.go_number(copy);
        }
        if self.held == self.root.sum {
            return self.finish(copy);
        }
        if !caught_up {
            return self.go(copy, Phase::Changes);
        }
        if self.base != Base::Void && self.root.floor > self.asked_since {
            // Tombstones were purged before they were told.
            return self.reopen(copy);
        }
        self.report.failed_proofs += 1;
        self.attempt += 1;
        match self.attempt {
            ..FULL_COPY => self.open_again(copy),
            FULL_COPY => self.go_full_copy(copy),
            _ => Err(Error::Unproven),
        }
    }

    fn finish(&mut self, copy: &mut dyn Secondary) -> Result<Step> {
        let history = self.history.ok_or(Error::Broken("no history was told"))?;
        let proof = Proof {
            history,
            generation: self.root.generation,
            floor: self.root.floor,
            root: self.root.sum,
        };
        self.phase = Phase::Done;
        self.report.proof = Some(proof);
        let state = copy.state()?;
        if !self.report.was_equal() {
            self.note(if state.has_records {
                Method::Changes
            } else {
                Method::FullCopy
            });
        }
        let is_known =
            state.history == Some(history) && state.since == proof.generation && state.complete;
        let is_unchanged = self.base == Base::Kept
            && self.staged.is_empty()
            && self.report.was_equal()
            && is_known;
        if !self.options.dry_run && !is_unchanged {
            copy.commit(&proof)?;
        }
        Ok(Step::Done(Box::new(self.report.clone())))
    }

    /// Builds a full copy aside.
    pub(super) fn go_full_copy(&mut self, copy: &mut dyn Secondary) -> Result<Step> {
        copy.begin(Base::Void)?;
        self.base = Base::Void;
        self.attempt = FULL_COPY;
        self.staged = Deltas::new(self.staged.bits());
        self.held = Sum::ZERO;
        self.since = Generation::ZERO;
        if let Some(scope) = &mut self.scope {
            scope.order = Order::Generation;
        }
        self.forget_found();
        self.forget_counts();
        self.note(Method::FullCopy);
        self.go(copy, Phase::Changes)
    }
    /// The primary moved under the walk: compare again what is staged so far.
    fn reopen(&mut self, copy: &mut dyn Secondary) -> Result<Step> {
        self.count_restart()?;
        self.open_again(copy)
    }
    fn open_again(&mut self, copy: &mut dyn Secondary) -> Result<Step> {
        self.forget_found();
        self.wants_tree = true;
        self.go(copy, Phase::Open)
    }
    /// Another history, or another key: nothing that is staged counts.
    fn begin_anew(&mut self, copy: &mut dyn Secondary) -> Result<Step> {
        self.count_restart()?;
        self.begin(copy)?;
        self.forget_counts();
        self.go(copy, Phase::Open)
    }
    fn count_restart(&mut self) -> Result<()> {
        self.report.restarts += 1;
        if self.report.restarts > MOST_RESTARTS {
            return Err(Error::Unsteady(self.report.restarts));
        }
        Ok(())
    }
    fn forget_found(&mut self) {
        self.suspects.clear();
        self.fetch.clear();
        self.wanted.clear();
        self.stale.clear();
        self.to_number.clear();
        self.sketch = None;
        (self.compared, self.next, self.level) = (0, 0, 0);
    }
    fn forget_counts(&mut self) {
        let report = &mut self.report;
        (report.inserted, report.replaced, report.removed) = (0, 0, 0);
        (report.dropped, report.adopted) = (0, 0);
    }
}
