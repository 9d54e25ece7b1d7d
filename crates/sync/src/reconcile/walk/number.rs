//! Copies that were matched by key take the primary's generations, leaf by leaf.
//!
//! Within an equal leaf both sides have the same records, so their generations in the order of short ids are enough:
//! three bytes a record. A leaf that changed meanwhile is listed once more and numbered again.

use std::collections::BTreeMap;

use crate::reconcile::error::{Error, Result};
use crate::reconcile::item::{Item, MAX_GENERATION, Order, Span, covers, singles};
use crate::reconcile::key::KEY_PLACE_BITS;
use crate::reconcile::secondary::Secondary;
use crate::reconcile::sum::Sum;

use super::{Phase, Step, Suspect, Walk};

/// How often leaves that changed while they were numbered are listed again before everything is copied.
const MOST_STALE_ROUNDS: u32 = 3;

impl Walk {
    /// Asks for all generations, in runs of about as many records as may be listed at once.
    pub(super) fn go_number(&mut self, copy: &mut dyn Secondary) -> Result<Step> {
        if self.to_number.is_empty() {
            let mut records = 0;
            copy.contents(&mut |_| {
                records += 1;
                Ok(())
            })?;
            let last: u64 = ((1 << KEY_PLACE_BITS) - 1) >> self.scope()?.bits.bits();
            let runs = records / self.options.limits.max_listed + 1;
            let each = (last + 1).div_ceil(runs);
            let starts = (0..runs).map(|run| run * each).filter(|from| *from <= last);
            self.to_number = starts
                .map(|from| {
                    vec![Span {
                        from,
                        upto: (from + each - 1).min(last),
                    }]
                })
                .rev()
                .collect();
        }
        self.go(copy, Phase::Adopt)
    }

    /// Gives the records of each told leaf their generations if the leaf is equal.
    pub(super) fn apply_numbers(&mut self, copy: &mut dyn Secondary) -> Result<()> {
        if self.phase != Phase::Adopt || self.inbox.is_numbered {
            return Ok(());
        }
        self.inbox.is_numbered = true;
        let (key, scope) = (self.key(copy)?, self.scope()?);
        let asked = self.to_number.last().cloned().unwrap_or_default();
        let mut spans = Vec::new();
        for run in &asked {
            spans.push(Span {
                from: self.node_span(0, run.from)?.from,
                upto: self.node_span(0, run.upto)?.upto,
            });
        }
        let mut standing: BTreeMap<u64, (Sum, Vec<(u64, Item)>)> = BTreeMap::new();
        self.visit(copy, &key, &spans, |item, hash| {
            let leaf = scope.bits.index(0, key.place(Order::Key, &item));
            let (sum, items) = standing.entry(leaf).or_default();
            *sum = sum.plus(Sum::of(hash));
            items.push((key.short(hash, scope.salt), item));
        })?;
        for told in std::mem::take(&mut self.inbox.numbers) {
            if !covers(&asked, told.leaf) {
                return Err(Error::Broken("a leaf was not asked for"));
            }
            let (sum, mut items) = standing.remove(&told.leaf).unwrap_or_default();
            let is_equal = key.print(sum, scope.salt) == told.print;
            if !is_equal || items.len() != told.generations.len() {
                self.inbox.stale.push(Suspect {
                    index: told.leaf,
                    count: sum.count,
                });
                continue;
            }
            items.sort_unstable_by_key(|(id, _)| *id);
            for ((_, mut item), generation) in items.into_iter().zip(told.generations) {
                if item.generation == generation {
                    continue;
                }
                if generation.0 == 0 || generation.0 > MAX_GENERATION {
                    return Err(Error::Broken("there is no such generation"));
                }
                self.uncount(&key, &item);
                item.generation = generation;
                self.count(&key, &item);
                copy.adopt(&item.global_id, generation)?;
                self.report.adopted += 1;
            }
        }
        // Leaves with records here of which nothing was told.
        let untold = standing.into_iter().map(|(index, (sum, _))| Suspect {
            index,
            count: sum.count,
        });
        self.inbox.stale.extend(untold);
        Ok(())
    }

    /// Leaves were numbered: go on with the next ones; list those again that changed meanwhile.
    pub(super) fn numbered_answer(&mut self, copy: &mut dyn Secondary) -> Result<Step> {
        self.apply_numbers(copy)?;
        self.stale.append(&mut self.inbox.stale);
        self.to_number.pop();
        if !self.to_number.is_empty() {
            return self.go(copy, Phase::Adopt);
        }
        if self.stale.is_empty() {
            self.numbered = true;
            return self.settle(copy, true);
        }
        self.stale_rounds += 1;
        if self.stale_rounds > MOST_STALE_ROUNDS {
            return self.go_full_copy(copy);
        }
        self.suspects = std::mem::take(&mut self.stale);
        self.suspects.sort_unstable_by_key(|suspect| suspect.index);
        let leaves: Vec<u64> = self.suspects.iter().map(|suspect| suspect.index).collect();
        self.to_number = vec![singles(&leaves)];
        self.fetch.clear();
        self.go_list(copy)
    }
}
