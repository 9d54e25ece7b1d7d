//! Nodes of both sides, level by level: which differ, which are there only, which are here only.

use std::collections::BTreeMap;

use crate::reconcile::error::{Error, Result};
use crate::reconcile::frame::Family;
use crate::reconcile::item::Order;
use crate::reconcile::key::FpKey;
use crate::reconcile::report::Method;
use crate::reconcile::secondary::Secondary;
use crate::reconcile::tree::FAN_BITS;

use super::settle::WIDE;
use super::virtual_copy::Sums;
use super::{Phase, Sketching, Step, Suspect, Walk};

/// A list so short saves the round trip that a sketch takes more.
const SHORT_LIST_BYTES: u64 = 2048;
/// A sketch cannot win when a differing leaf holds fewer records than this.
const FULL_LEAF: u64 = 6;

impl Walk {
    /// Compares all levels that were told, from the coarsest on. The suspects become the differing nodes of the finest.
    pub(super) fn compare(&mut self, copy: &mut dyn Secondary, key: &FpKey) -> Result<()> {
        let mut told = std::mem::take(&mut self.inbox.nodes);
        let sums = self.sums(copy, key)?;
        let mut parents = None;
        if self.phase == Phase::Descend {
            self.level -= 1;
            parents = Some(std::mem::take(&mut self.suspects));
            // None of their children may be left there.
            told.entry(self.level).or_default();
        } else if let Some(top) = told.keys().next_back() {
            self.level = *top;
        }
        while let Some(families) = told.remove(&self.level) {
            let first = parents.is_none();
            self.compare_level(copy, key, &sums, parents.as_deref(), &families)?;
            if self.level == 0 || !told.contains_key(&(self.level - 1)) {
                break;
            }
            if first && self.suspects.is_empty() {
                break;
            }
            self.level -= 1;
            parents = Some(std::mem::take(&mut self.suspects));
        }
        Ok(())
    }

    fn compare_level(
        &mut self,
        copy: &mut dyn Secondary,
        key: &FpKey,
        sums: &Sums,
        parents: Option<&[Suspect]>,
        families: &BTreeMap<u64, Family>,
    ) -> Result<()> {
        let scope = self.scope()?;
        let mut ours = BTreeMap::new();
        let mut theirs = BTreeMap::new();
        match parents {
            None => {
                self.nodes(copy, sums, self.level, (0, u64::MAX), &mut ours)?;
                families
                    .values()
                    .try_for_each(|family| unfold(family, &mut theirs))?;
            }
            Some(parents) => {
                for parent in parents {
                    let first = parent.index << FAN_BITS;
                    let run = (first, first | ((1 << FAN_BITS) - 1));
                    self.nodes(copy, sums, self.level, run, &mut ours)?;
                    if let Some(family) = families.get(&parent.index) {
                        unfold(family, &mut theirs)?;
                    }
                }
            }
        }
        ours.retain(|_, sum| !sum.is_zero());
        if scope.order == Order::Generation {
            // What is later than the changes that are here comes with the next changes.
            let newest = scope.bits.index(self.level, self.since.0);
            theirs.retain(|index, _| *index <= newest);
        }
        let mut here_only = Vec::new();
        if self.level == 0 {
            let there_only = theirs.keys().filter(|index| !ours.contains_key(index));
            self.compared += (ours.len() + there_only.count()) as u64;
        }
        for (&index, &sum) in &ours {
            match theirs.remove(&index) {
                Some(print) if print == key.print(sum, scope.salt) => {}
                Some(_) => self.suspects.push(Suspect {
                    index,
                    count: sum.count,
                }),
                None => here_only.push(self.node_span(self.level, index)?),
            }
        }
        for index in theirs.into_keys() {
            self.fetch.push(self.node_span(self.level, index)?);
        }
        self.drop_spans(copy, key, &here_only)
    }

    /// What follows a comparison.
    pub(super) fn choose(&mut self, copy: &mut dyn Secondary, caught_up: bool) -> Result<Step> {
        if self.suspects.is_empty() {
            self.wanted.clear();
            if self.fetch.is_empty() {
                return self.settle(copy, caught_up);
            }
            self.note(Method::Tree);
            return self.go(copy, Phase::Get);
        }
        if self.level > 0 {
            return self.go(copy, Phase::Descend);
        }
        // A damaged summary of the copy may count anything.
        let records = self
            .suspects
            .iter()
            .fold(0_u64, |sum, suspect| sum.saturating_add(suspect.count));
        let leaves = self.suspects.len() as u64;
        if self.attempt >= WIDE
            || records.saturating_mul(8) <= SHORT_LIST_BYTES
            || records < FULL_LEAF * leaves
            || leaves > self.options.limits.max_listed
        {
            return self.go_list(copy);
        }
        self.note(Method::Sketch);
        self.sketch = Some(Sketching::new(first_cells(leaves, self.compared, records)));
        self.go(copy, Phase::Sketch)
    }
    pub(super) fn go_list(&mut self, copy: &mut dyn Secondary) -> Result<Step> {
        self.sketch = None;
        self.next = 0;
        self.note(if self.attempt >= WIDE {
            Method::WideLists
        } else {
            Method::Lists
        });
        self.go(copy, Phase::List)
    }
    pub(super) fn note(&mut self, method: Method) {
        self.report.method = self.report.method.max(method);
    }
}

/// How many cells to ask for first: differences scattered over so many leaves hit so many of them.
fn first_cells(differing: u64, compared: u64, records: u64) -> u64 {
    let (differing, compared) = (differing as f64, compared.max(differing + 1) as f64);
    let scattered = -compared * (1.0 - differing / compared).ln();
    let cells = 1.5 * scattered.min(2.0 * differing) + 12.0;
    // A quarter of what lists would take is enough to learn how many differ.
    (cells as u64).min(records / 8).max(16)
}

fn unfold(family: &Family, into: &mut BTreeMap<u64, u32>) -> Result<()> {
    if family.parent >> (64 - FAN_BITS) != 0 {
        return Err(Error::Broken("there is no such node"));
    }
    let children = (0..64).filter(|child| family.present >> child & 1 == 1);
    for (child, print) in children.zip(&family.prints) {
        into.insert(family.parent << FAN_BITS | child, *print);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_block_of_a_sketch_fits_scattered_differences() {
        // 20 of 1280 compared leaves: about one difference each.
        assert!((36..60).contains(&first_cells(20, 1280, 1280)));
        // 1870 of 15,625: about 2,000 differences.
        assert!((2700..3200).contains(&first_cells(1870, 15_625, 120_000)));
        // All of them: a sample is enough to see how many.
        assert!(first_cells(15_625, 15_625, 1_000_000) <= 125_000);
        assert_eq!(first_cells(1, 1, 0), 16);
    }
}
