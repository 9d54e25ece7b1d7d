//! The summary of a collection: sums of runs of places, in levels, and the batched way to keep them up.
//!
//! A leaf covers `2^bits` places, a node 64 of the level below; four levels are stored, and the root. Rows that reach
//! count zero go away, so superseded generations cost nothing. A store collects the [`Deltas`] of a transaction and folds
//! them, one row a touched node, before it commits. Whoever rebuilds a summary adds every item to empty deltas.
//! Rule source: DESIGN 6.

use std::collections::BTreeMap;

use haversack_model::{Error, Result};
use serde::{Deserialize, Serialize};

use super::key::KEY_PLACE_BITS;
use super::sum::{ItemHash, Sum};

/// How many bits a level adds: a node has 64 children.
pub(crate) const FAN_BITS: u32 = 6;
/// About how many records a leaf holds.
const LEAF_RECORDS: u64 = 64;
/// How many levels are stored below the root.
pub const LEVELS: u8 = 4;

/// How many places a leaf covers, as a power of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct LeafBits(u8);

impl LeafBits {
    /// 64 places: what a collection begins with, and fits one whose generations are all its own.
    pub const NARROWEST: Self = Self(6);
    /// The widest whose fourth level still has a number.
    pub const WIDEST: Self = Self(42);

    /// The width of so many bits, if there is one.
    pub fn new(bits: u8) -> Option<Self> {
        (Self::NARROWEST.0..=Self::WIDEST.0)
            .contains(&bits)
            .then_some(Self(bits))
    }
    /// The number of bits.
    pub fn bits(self) -> u8 {
        self.0
    }
    /// The node of a level in which a place is.
    pub fn index(self, level: u8, place: u64) -> u64 {
        place >> self.shift(level)
    }
    /// The width for about 64 records a leaf when so many stand by key.
    pub(crate) fn by_key(count: u64) -> Self {
        let leaves = (count / LEAF_RECORDS).max(1).next_power_of_two();
        let bits = KEY_PLACE_BITS.saturating_sub(leaves.trailing_zeros()) as u8;
        Self(bits.clamp(Self::NARROWEST.0, Self::WIDEST.0))
    }
    /// The width to fold anew to, once leaves drifted from 64 records by four times. Wider: [`Deltas::coarser`] of
    /// the leaf rows; narrower: a scan.
    pub fn drifted(self, count: u64, leaves: u64) -> Option<Self> {
        // A few leaves are cheap, however empty.
        if leaves < 2 * LEAF_RECORDS && count <= leaves * LEAF_RECORDS {
            return None;
        }
        let each = (count / leaves.max(1)).max(1);
        // A damaged root may count anything.
        let bits = if each.saturating_mul(4) < LEAF_RECORDS {
            self.0 + (LEAF_RECORDS / each).ilog2() as u8
        } else if each > LEAF_RECORDS * 4 {
            self.0.saturating_sub((each / LEAF_RECORDS).ilog2() as u8)
        } else {
            return None;
        };
        let to = Self(bits.clamp(Self::NARROWEST.0, Self::WIDEST.0));
        (to != self).then_some(to)
    }
    pub(crate) fn shift(self, level: u8) -> u32 {
        u32::from(self.0) + FAN_BITS * u32::from(level)
    }
    /// The stored level whose rows merge to a level of a coarser width, and how many bits they merge by.
    fn stored(self, shape: Self, level: u8) -> Option<(u8, u32)> {
        let over = shape.shift(level).checked_sub(self.shift(0))?;
        let stored = (over / FAN_BITS).min(u32::from(LEVELS) - 1);
        Some((stored as u8, over - stored * FAN_BITS))
    }
}

impl TryFrom<u8> for LeafBits {
    type Error = &'static str;
    fn try_from(bits: u8) -> Result<Self, &'static str> {
        Self::new(bits).ok_or("no such leaf width")
    }
}
impl From<LeafBits> for u8 {
    fn from(bits: LeafBits) -> Self {
        bits.0
    }
}

/// Names one row of a summary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Node {
    /// 0 is a leaf, [`LEVELS`] the root.
    pub level: u8,
    /// Which one of its level.
    pub index: u64,
}

impl Node {
    /// The sum of everything.
    pub const ROOT: Self = Self {
        level: LEVELS,
        index: 0,
    };
}

/// The rows of a stored summary, within a write transaction.
pub trait NodeRows {
    /// A row; zero if there is none.
    fn load_node(&mut self, node: Node) -> Result<Sum>;
    /// Writes a row; one that is zero is removed.
    fn store_node(&mut self, node: Node, sum: Sum) -> Result<()>;
}

/// What a transaction adds to the leaves and takes from them, or, from nothing, a whole summary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deltas {
    bits: LeafBits,
    leaves: BTreeMap<u64, Sum>,
}

impl Deltas {
    /// None yet.
    pub fn new(bits: LeafBits) -> Self {
        Self {
            bits,
            leaves: BTreeMap::new(),
        }
    }
    /// The width of its leaves.
    pub fn bits(&self) -> LeafBits {
        self.bits
    }
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.leaves.is_empty()
    }
    /// An item came.
    pub fn add(&mut self, place: u64, hash: ItemHash) {
        self.change(self.bits.index(0, place), |sum| sum.plus(Sum::of(hash)));
    }
    /// An item went.
    pub fn remove(&mut self, place: u64, hash: ItemHash) {
        self.change(self.bits.index(0, place), |sum| sum.minus(Sum::of(hash)));
    }
    fn change(&mut self, leaf: u64, to: impl FnOnce(Sum) -> Sum) {
        let sum = self.leaves.entry(leaf).or_default();
        *sum = to(*sum);
        if sum.is_zero() {
            self.leaves.remove(&leaf);
        }
    }
    /// All that changed.
    pub fn total(&self) -> Sum {
        self.leaves
            .values()
            .fold(Sum::ZERO, |all, sum| all.plus(*sum))
    }
    /// The rows of one level, in order; of [`LEVELS`] the root.
    pub fn level(&self, level: u8) -> Vec<(u64, Sum)> {
        let mut rows: Vec<(u64, Sum)> = Vec::new();
        for (leaf, sum) in &self.leaves {
            let index = if level >= LEVELS {
                0
            } else {
                leaf >> (FAN_BITS * u32::from(level))
            };
            match rows.last_mut() {
                Some(last) if last.0 == index => last.1 = last.1.plus(*sum),
                _ => rows.push((index, *sum)),
            }
        }
        rows.retain(|(_, sum)| !sum.is_zero());
        rows
    }
    /// The leaves in a run of nodes of a level, added to those nodes.
    pub(crate) fn add_to(&self, level: u8, from: u64, upto: u64, nodes: &mut BTreeMap<u64, Sum>) {
        let by = FAN_BITS * u32::from(level);
        let last = (upto << by) | ((1 << by) - 1);
        for (leaf, sum) in self.leaves.range(from << by..=last) {
            let node = nodes.entry(leaf >> by).or_default();
            *node = node.plus(*sum);
        }
    }
    /// Folds everything into stored rows: one load and one store for each touched node.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if a row would be the sum of no set: a delta was lost earlier, and a rebuild is due.
    pub fn fold_into(&self, rows: &mut dyn NodeRows) -> Result<()> {
        for level in 0..=LEVELS {
            for (index, delta) in self.level(level) {
                let node = Node { level, index };
                let sum = rows.load_node(node)?.plus(delta);
                if !sum.is_of_a_set() {
                    return Err(Error::Corrupt(format!(
                        "node {index} of level {level} of the summary does not fit its records"
                    )));
                }
                rows.store_node(node, sum)?;
            }
        }
        Ok(())
    }
    /// The whole summary with wider leaves, of the leaf rows alone: sums merge.
    pub fn coarser(
        from: LeafBits,
        to: LeafBits,
        leaves: impl IntoIterator<Item = (u64, Sum)>,
    ) -> Self {
        let by = u32::from(to.0.saturating_sub(from.0));
        let mut wide = Self::new(to);
        for (leaf, sum) in leaves {
            wide.change(leaf >> by, |all| all.plus(sum));
        }
        wide
    }
}

/// Checks that a stored summary agrees with itself: the root is the sum of every level, and of so many records.
#[derive(Clone, Debug, Default)]
pub struct SelfCheck([Sum; LEVELS as usize + 1]);

impl SelfCheck {
    /// Sees a row.
    pub fn see(&mut self, node: Node, sum: Sum) {
        let level = usize::from(node.level.min(LEVELS));
        self.0[level] = self.0[level].plus(sum);
    }
    /// Whether all levels agree. `count` is how many records the collection has, tombstones included, if it was counted.
    pub fn holds(&self, count: Option<u64>) -> bool {
        let root = self.0[usize::from(LEVELS)];
        self.0.iter().all(|level| *level == root)
            && root.is_of_a_set()
            && count.is_none_or(|count| count == root.count)
    }
}

/// Reads stored rows: level, first and last index, and what to call for each.
pub(crate) type ReadNodes<'a> =
    dyn Fn(u8, u64, u64, &mut dyn FnMut(u64, Sum) -> Result<()>) -> Result<()> + 'a;

/// Adds the nodes of a level of a shape, in a run, from rows that are stored with the same or narrower leaves.
///
/// # Errors
/// [`Error::Corrupt`] if the stored leaves are wider than those of the shape.
pub(crate) fn read_level(
    own: LeafBits,
    shape: LeafBits,
    level: u8,
    (from, upto): (u64, u64),
    read: &ReadNodes<'_>,
    nodes: &mut BTreeMap<u64, Sum>,
) -> Result<()> {
    let (stored, by) = own
        .stored(shape, level)
        .ok_or_else(|| Error::Corrupt("leaves are wider than those compared".to_owned()))?;
    let last = upto.checked_shl(by).filter(|&last| last >> by == upto);
    let last = last.map_or(u64::MAX, |last| last | ((1 << by) - 1));
    read(stored, from << by, last, &mut |index, sum| {
        let node = nodes.entry(index >> by).or_default();
        *node = node.plus(sum);
        Ok(())
    })
}
