//! What arrives: the stream is cut into parts, each is checked against what was asked, records are staged at once.

use std::collections::BTreeMap;

use haversack_model::Generation;

use crate::reconcile::cells::Cell;
use crate::reconcile::codec::{decode_part, unframed};
use crate::reconcile::error::{Error, Result};
use crate::reconcile::frame::{Cells, Family, Head, LeafNumbers, Part, Refusal, Root, Scope};
use crate::reconcile::item::{Delivered, MAX_GENERATION, Order, Span};
use crate::reconcile::key::FpKey;
use crate::reconcile::secondary::{Base, Secondary};
use crate::reconcile::sum::Sum;
use crate::reconcile::tree::{Deltas, LEVELS};

use super::settle::WIDE;
use super::{Phase, Step, Suspect, Walk, key_of};

const UNASKED: Error = Error::Broken("a part was not asked for");

/// The answer to the open question, as far as it came.
#[derive(Clone, Debug, Default)]
pub(super) struct Inbox {
    /// Bytes of a part that is not whole yet.
    bytes: Vec<u8>,
    key: Option<FpKey>,
    pub(super) has_head: bool,
    pub(super) nodes: BTreeMap<u8, BTreeMap<u64, Family>>,
    prints: u64,
    pub(super) drops: Vec<u128>,
    pub(super) cells: Vec<Cell>,
    pub(super) cells_sum: Option<Sum>,
    pub(super) numbers: Vec<LeafNumbers>,
    numbers_upto: Option<u64>,
    pub(super) is_numbered: bool,
    /// Leaves that could not be numbered.
    pub(super) stale: Vec<Suspect>,
    last_missing: Generation,
    pub(super) has_root: bool,
    pub(super) refused: Option<Refusal>,
}

impl Walk {
    pub(super) fn receive(&mut self, copy: &mut dyn Secondary, piece: &[u8]) -> Result<Step> {
        let mut stream = std::mem::take(&mut self.inbox.bytes);
        stream.extend_from_slice(piece);
        let mut rest = stream.as_slice();
        while let Some((frame, taken)) = unframed(rest, self.options.limits.max_frame_bytes)? {
            let part = decode_part(frame)?;
            rest = &rest[taken..];
            if part == Part::End {
                if !rest.is_empty() {
                    return Err(Error::Malformed("bytes follow the end of the answer"));
                }
                return self.turn(copy);
            }
            self.take(copy, part)?;
        }
        let taken = stream.len() - rest.len();
        stream.drain(..taken);
        self.inbox.bytes = stream;
        Ok(Step::More)
    }

    fn take(&mut self, copy: &mut dyn Secondary, part: Part) -> Result<()> {
        if self.inbox.refused.is_some() {
            // Of another epoch; its end is awaited.
            return Ok(());
        }
        if self.phase == Phase::Open && !self.inbox.has_head {
            return match part {
                Part::Head(head) => self.take_head(copy, &head),
                Part::Refused(refusal) => {
                    self.inbox.refused = Some(refusal);
                    Ok(())
                }
                _ => Err(Error::Broken("an answer begins without a head")),
            };
        }
        match part {
            Part::Head(_) | Part::End => Err(UNASKED),
            Part::Missing(records) => self.take_missing(copy, records),
            Part::Changed(records) => self.take_changed(copy, records),
            Part::Nodes { level, families } => self.take_nodes(level, families),
            Part::Drops { wide, ids } => self.take_drops(wide, ids),
            Part::Cells(cells) => self.take_cells(cells),
            Part::Numbers(leaves) => self.take_numbers(leaves),
            Part::Root(root) => self.take_root(copy, root),
            Part::Refused(refusal) => {
                self.inbox.refused = Some(refusal);
                Ok(())
            }
        }
    }

    fn take_head(&mut self, copy: &mut dyn Secondary, head: &Head) -> Result<()> {
        self.inbox.has_head = true;
        check_root(&head.root)?;
        let is_first = self.scope.is_none();
        let same_history = self.history == Some(head.history);
        if !is_first && (head.key.is_some() || !same_history || head.order == Order::Key) {
            // What is staged was counted under another key or in another history.
            self.inbox.refused = Some(Refusal::Epoch);
            return Ok(());
        }
        if let Some(key) = head.key {
            copy.rekey(&FpKey::new(key))?;
            self.held = copy.state()?.root;
        }
        let key = key_of(copy)?;
        self.root = head.root;
        self.scope = Some(Scope {
            epoch: key.epoch(head.history),
            order: head.order,
            bits: head.bits,
            salt: self.attempt,
        });
        self.history = Some(head.history);
        match head.order {
            Order::Generation => {
                self.widen(head)?;
                // A primary that was rewound has nothing of what came later.
                self.since = self.since.min(head.root.generation);
                if !same_history {
                    let fork = head.fork.unwrap_or_default();
                    self.since = self.since.min(fork);
                    let later = Span {
                        from: fork.0.saturating_add(1),
                        upto: u64::MAX,
                    };
                    self.drop_spans(copy, &key, &[later])?;
                }
            }
            Order::Key => {
                copy.begin(Base::Unnumbered)?;
                self.base = Base::Unnumbered;
                self.held = Sum::ZERO;
                self.since = head.root.generation;
                self.report.by_key = true;
            }
        }
        self.raise_floor(copy, &key, head.root.floor)?;
        self.asked_since = self.since;
        self.inbox.key = Some(key);
        Ok(())
    }
    /// Takes the width of the compared leaves, which may be wider than ours.
    fn widen(&mut self, head: &Head) -> Result<()> {
        let own = self.staged.bits();
        if head.bits < own {
            return Err(Error::Broken("the compared leaves are too narrow"));
        }
        self.staged = Deltas::coarser(own, head.bits, self.staged.level(0));
        Ok(())
    }

    fn take_missing(&mut self, copy: &mut dyn Secondary, records: Vec<Delivered>) -> Result<()> {
        if !matches!(self.phase, Phase::List | Phase::Get | Phase::Adopt) || self.inbox.has_root {
            return Err(UNASKED);
        }
        self.apply_numbers(copy)?;
        let key = self.key(copy)?;
        for record in records {
            if record.generation <= self.inbox.last_missing {
                return Err(Error::Broken("records are not in order"));
            }
            self.inbox.last_missing = record.generation;
            self.stage(copy, &key, record)?;
        }
        Ok(())
    }
    fn take_changed(&mut self, copy: &mut dyn Secondary, records: Vec<Delivered>) -> Result<()> {
        let asked = match self.phase {
            Phase::Open => self.scope()?.order == Order::Generation,
            Phase::Descend | Phase::Sketch => false,
            _ => true,
        };
        if !asked || self.inbox.has_root {
            return Err(UNASKED);
        }
        self.apply_numbers(copy)?;
        let key = self.key(copy)?;
        for record in records {
            if record.generation <= self.since {
                return Err(Error::Broken("changes are not in order"));
            }
            self.since = record.generation;
            self.stage(copy, &key, record)?;
        }
        Ok(())
    }
    fn take_root(&mut self, copy: &mut dyn Secondary, root: Root) -> Result<()> {
        if self.inbox.has_root || matches!(self.phase, Phase::Descend | Phase::Sketch) {
            return Err(UNASKED);
        }
        check_root(&root)?;
        if root.generation < self.since {
            return Err(Error::Broken("the root is older than the changes"));
        }
        self.apply_numbers(copy)?;
        self.inbox.has_root = true;
        self.root = root;
        self.since = root.generation;
        let key = self.key(copy)?;
        self.raise_floor(copy, &key, root.floor)
    }
    fn take_nodes(&mut self, level: u8, families: Vec<Family>) -> Result<()> {
        if !matches!(self.phase, Phase::Open | Phase::Descend) || level >= LEVELS {
            return Err(UNASKED);
        }
        let prints: usize = families.iter().map(|family| family.prints.len() + 1).sum();
        self.inbox.prints += prints as u64;
        let most = 4 * self.options.limits.max_listed;
        if self.inbox.prints > most {
            return Err(Error::Limit {
                what: "a tree",
                limit: most,
            });
        }
        let nodes = self.inbox.nodes.entry(level).or_default();
        for family in families {
            if nodes.insert(family.parent, family).is_some() {
                return Err(Error::Broken("a node is told twice"));
            }
        }
        Ok(())
    }
    fn take_drops(&mut self, wide: bool, ids: Vec<u128>) -> Result<()> {
        let listed = self
            .listed()
            .iter()
            .fold(0_u64, |sum, suspect| sum.saturating_add(suspect.count));
        let told = (self.inbox.drops.len() + ids.len()) as u64;
        if self.phase != Phase::List || wide != (self.attempt >= WIDE) || told > listed {
            return Err(UNASKED);
        }
        self.inbox.drops.extend(ids);
        Ok(())
    }
    fn take_cells(&mut self, told: Cells) -> Result<()> {
        let sketch = self.sketch.as_ref().filter(|_| self.phase == Phase::Sketch);
        let sketch = sketch.ok_or(UNASKED)?;
        let next = sketch.decoder.len() + self.inbox.cells.len() as u64;
        let same = self.inbox.cells_sum.is_none_or(|sum| sum == told.sum);
        if told.from != next || next + told.cells.len() as u64 > sketch.upto || !same {
            return Err(Error::Broken("cells do not follow each other"));
        }
        self.inbox.cells_sum = Some(told.sum);
        self.inbox.cells.extend(told.cells);
        Ok(())
    }
    fn take_numbers(&mut self, leaves: Vec<LeafNumbers>) -> Result<()> {
        if self.phase != Phase::Adopt || self.inbox.is_numbered {
            return Err(UNASKED);
        }
        for leaf in leaves {
            if self
                .inbox
                .numbers_upto
                .is_some_and(|upto| leaf.leaf <= upto)
            {
                return Err(Error::Broken("leaves are not in order"));
            }
            self.inbox.numbers_upto = Some(leaf.leaf);
            self.inbox.numbers.push(leaf);
        }
        Ok(())
    }

    /// The key, read once for an answer.
    pub(super) fn key(&mut self, copy: &dyn Secondary) -> Result<FpKey> {
        if let Some(key) = &self.inbox.key {
            return Ok(key.clone());
        }
        let key = key_of(copy)?;
        self.inbox.key = Some(key.clone());
        Ok(key)
    }
}

fn check_root(root: &Root) -> Result<()> {
    if root.generation.0 > MAX_GENERATION || root.floor > root.generation {
        return Err(Error::Broken("there is no such generation"));
    }
    Ok(())
}
