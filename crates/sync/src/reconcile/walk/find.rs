//! What differs within leaves: by lists, or by a sketch of their union.

use crate::reconcile::cells::{Block, CELL_BYTES, Decoder};
use crate::reconcile::error::{Error, Result};
use crate::reconcile::key::FpKey;
use crate::reconcile::secondary::Secondary;
use crate::reconcile::sum::Sum;

use super::settle::WIDE;
use super::{Phase, Sketching, Step, Walk};

/// How many times the leaves of a sketch may change under it before lists are used: each is of one snapshot.
const MOST_MOVES: u8 = 2;

/// The share of the primary's items that are missing here from which on a full copy is cheaper than cells for each of
/// them: records of about 150 bytes against 36 bytes of cells for a pair of items.
const MOSTLY_MISSING: f64 = 0.75;

impl Sketching {
    pub(super) fn new(upto: u64) -> Self {
        Self {
            decoder: Decoder::default(),
            upto,
            sums: None,
            moves: 0,
        }
    }
}

impl Walk {
    /// A list was answered: what is here only is marked, the next leaves are listed.
    pub(super) fn listed_answer(&mut self, copy: &mut dyn Secondary, key: &FpKey) -> Result<Step> {
        let mut drops = std::mem::take(&mut self.inbox.drops);
        drops.sort_unstable();
        let listed = self.listed().to_vec();
        let spans = self.leaf_spans(&listed)?;
        let (scope, wide) = (self.scope()?, self.attempt >= WIDE);
        let mut items = Vec::new();
        self.visit(copy, key, &spans, |item, hash| {
            let id = if wide {
                hash.0
            } else {
                u128::from(key.short(hash, scope.salt))
            };
            if drops.binary_search(&id).is_ok() {
                items.push(item);
            }
        })?;
        self.drop_items(copy, key, items)?;
        self.next += listed.len() as u64;
        if (self.next as usize) < self.suspects.len() {
            return self.go(copy, Phase::List);
        }
        self.settle(copy, true)
    }

    /// Cells came: decode, ask for more, or give up for lists.
    pub(super) fn sketched_answer(
        &mut self,
        copy: &mut dyn Secondary,
        key: &FpKey,
    ) -> Result<Step> {
        let scope = self.scope()?;
        let mut sketch = self
            .sketch
            .take()
            .ok_or(Error::Broken("no sketch was begun"))?;
        let cells = std::mem::take(&mut self.inbox.cells);
        let from = sketch.decoder.len();
        let theirs = self
            .inbox
            .cells_sum
            .filter(|_| from + cells.len() as u64 == sketch.upto);
        let theirs = theirs.ok_or(Error::Broken("cells are missing"))?;
        let mut block = Block::new(from, sketch.upto);
        let mut ours = Sum::ZERO;
        let spans = self.leaf_spans(&self.suspects)?;
        self.visit(copy, key, &spans, |_, hash| {
            let id = key.short(hash, scope.salt);
            block.add(id, key.check(id, scope.salt));
            ours = ours.plus(Sum::of(hash));
        })?;
        if *sketch.sums.get_or_insert((theirs, ours)) != (theirs, ours) {
            // The leaves changed between two blocks, so they are of different sets: all cells again, in one block.
            if sketch.moves >= MOST_MOVES {
                return self.go_list(copy);
            }
            self.sketch = Some(Sketching {
                moves: sketch.moves + 1,
                ..Sketching::new(sketch.upto)
            });
            return self.go(copy, Phase::Sketch);
        }
        sketch
            .decoder
            .extend(&cells, &block.into_cells(), key, scope.salt)?;
        if sketch.decoder.is_complete() {
            let (there, here) = sketch.decoder.into_difference();
            return self.sketched(copy, key, there, &here);
        }
        let records = theirs.count.max(ours.count);
        let estimate = sketch.decoder.estimate();
        let net = theirs.count as f64 - ours.count as f64;
        if f64::midpoint(estimate, net) > MOSTLY_MISSING * self.root.sum.count as f64 {
            return self.go_full_copy(copy);
        }
        let cells = sketch.decoder.len();
        let enough = (1.42 * estimate) as u64 + 16;
        let upto = enough.max(cells + cells / 4);
        if upto * CELL_BYTES > records.saturating_mul(8) {
            return self.go_list(copy);
        }
        sketch.upto = upto.min(cells + self.options.limits.max_listed);
        self.sketch = Some(sketch);
        self.go(copy, Phase::Sketch)
    }
    /// A sketch was decoded.
    fn sketched(
        &mut self,
        copy: &mut dyn Secondary,
        key: &FpKey,
        there: Vec<u64>,
        here: &[u64],
    ) -> Result<Step> {
        let salt = self.scope()?.salt;
        let spans = self.leaf_spans(&self.suspects)?;
        let mut items = Vec::new();
        self.visit(copy, key, &spans, |item, hash| {
            if here.binary_search(&key.short(hash, salt)).is_ok() {
                items.push(item);
            }
        })?;
        self.drop_items(copy, key, items)?;
        if there.len() as u64 > self.options.limits.max_listed {
            return self.go_list(copy);
        }
        self.wanted = there;
        if self.wanted.is_empty() && self.fetch.is_empty() {
            return self.settle(copy, false);
        }
        self.go(copy, Phase::Get)
    }
}
