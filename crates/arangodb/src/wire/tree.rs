//! The revision tree: 262,144 buckets of revisions, each with a count and a hash, by which two copies find what differs.
//!
//! A bucket is a slice of time. The range doubles to the right or to the left as revisions need it, in steps that keep trees
//! with the same origin aligned. Source: `spec/arangodb.md` 8.1 and 8.2.

use std::fmt::Write as _;

use serde_json::{Map, Value};
use xxhash_rust::xxh64::Xxh64;

use super::revision;

/// Number of buckets: eight children on each of six levels.
const BUCKETS: usize = 262_144;
const DEPTH: u64 = 6;
/// Width of a new tree.
const FIRST_WIDTH: u64 = 1 << 24;
/// Where the range of a new tree begins: 2021-01-01.
pub const ORIGIN: u64 = 1_687_640_290_099_200_000;

/// A count of revisions and the XOR of their hashes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Node {
    count: u64,
    hash: u64,
}

/// The tree of one collection at one point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    min: u64,
    width: u64,
    origin: u64,
    total: Node,
    buckets: Vec<Node>,
}

/// What a tree does not see: which document has which revision. Two servers may give the same revision to two documents in the same
/// millisecond.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest(u64);

impl Digest {
    /// Adds a document.
    pub fn add(&mut self, key: &str, revision: u64) {
        let mut hasher = Xxh64::new(revision);
        hasher.update(key.as_bytes());
        self.0 = self.0.wrapping_add(hasher.digest());
    }
    /// As it stands on the wire.
    pub fn text(&self) -> String {
        self.0.to_string()
    }
}

/// Why a tree cannot be built, read or compared.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// A revision far away from all others, which the range cannot reach.
    #[error("the revision {0} is out of the range of the tree")]
    OutOfRange(u64),
    /// The text is no tree.
    #[error("not a revision tree: {0}")]
    Malformed(&'static str),
    /// Two trees that do not align.
    #[error("the two trees begin at different origins")]
    OtherOrigin,
}

impl Default for Tree {
    fn default() -> Self {
        Self {
            min: ORIGIN,
            width: FIRST_WIDTH,
            origin: ORIGIN,
            total: Node::default(),
            buckets: vec![Node::default(); BUCKETS],
        }
    }
}

/// FNV-1a of the eight bytes of a revision, the lowest first.
pub fn hash(revision: u64) -> u64 {
    revision
        .to_le_bytes()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash: u64, &byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        })
}

impl Tree {
    /// Adds a revision.
    ///
    /// # Errors
    /// [`TreeError::OutOfRange`].
    pub fn add(&mut self, revision: u64) -> Result<(), TreeError> {
        while revision >= self.max() {
            self.grow_right().ok_or(TreeError::OutOfRange(revision))?;
        }
        while revision < self.min {
            self.grow_left().ok_or(TreeError::OutOfRange(revision))?;
        }
        let at = ((revision - self.min) / self.bucket_width()) as usize;
        let hash = hash(revision);
        for node in [&mut self.buckets[at], &mut self.total] {
            node.count += 1;
            node.hash ^= hash;
        }
        Ok(())
    }

    /// How many revisions it holds.
    pub fn count(&self) -> u64 {
        self.total.count
    }

    /// The XOR of all hashes.
    pub fn hash(&self) -> u64 {
        self.total.hash
    }

    fn max(&self) -> u64 {
        self.min + self.width
    }
    fn bucket_width(&self) -> u64 {
        self.width / BUCKETS as u64
    }
    /// Whether the buckets must be paired with one in between, so that the origin stays on the edge of one.
    fn shifts(&self) -> bool {
        !(self.origin.abs_diff(self.min)).is_multiple_of(2 * self.bucket_width())
    }

    fn grow_right(&mut self) -> Option<()> {
        let shift = self.shifts();
        let bucket = self.bucket_width();
        let (min, width) = if shift {
            (self.min.checked_sub(bucket)?, self.width.checked_mul(2)?)
        } else {
            (self.min, self.width.checked_mul(2)?)
        };
        min.checked_add(width)?;
        self.fold(|at| usize::midpoint(at, usize::from(shift)));
        (self.min, self.width) = (min, width);
        Some(())
    }

    fn grow_left(&mut self) -> Option<()> {
        let shift = self.shifts();
        let bucket = self.bucket_width();
        let width = self.width.checked_mul(2)?;
        let min = if shift {
            (self.min + bucket).checked_sub(self.width)?
        } else {
            self.min.checked_sub(self.width)?
        };
        min.checked_add(width)?;
        self.fold(|at| (BUCKETS + at - usize::from(shift)) / 2);
        (self.min, self.width) = (min, width);
        Some(())
    }

    fn fold(&mut self, place: impl Fn(usize) -> usize) {
        if self.total.count == 0 {
            return;
        }
        let mut folded = vec![Node::default(); BUCKETS];
        for (at, node) in self.buckets.iter().enumerate() {
            if node.count > 0 {
                let target = &mut folded[place(at)];
                target.count += node.count;
                target.hash ^= node.hash;
            }
        }
        self.buckets = folded;
    }

    /// The inclusive ranges of revisions in which two trees differ, in ascending order, adjacent ones merged.
    ///
    /// # Errors
    /// [`TreeError::OtherOrigin`] if they do not align; [`TreeError::OutOfRange`] if they cannot be brought to one width.
    pub fn differences(&self, other: &Self) -> Result<Vec<(u64, u64)>, TreeError> {
        if self.origin != other.origin {
            return Err(TreeError::OtherOrigin);
        }
        let (mut ours, mut theirs) = (self.clone(), other.clone());
        while ours.width != theirs.width {
            let (narrow, wide) = if ours.width < theirs.width {
                (&mut ours, &theirs)
            } else {
                (&mut theirs, &ours)
            };
            let grown = if wide.min < narrow.min {
                narrow.grow_left()
            } else {
                narrow.grow_right()
            };
            grown.ok_or(TreeError::OutOfRange(wide.min))?;
        }
        let bucket = ours.bucket_width();
        if !ours.min.abs_diff(theirs.min).is_multiple_of(bucket) {
            return Err(TreeError::OtherOrigin);
        }
        let start = ours.min.min(theirs.min);
        let end = ours.max().max(theirs.max());
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        let mut low = start;
        while low < end {
            let outside = |tree: &Self| low < tree.min || low >= tree.max();
            if outside(&ours) && outside(&theirs) {
                // A gap between two ranges, which may be as wide as the one who sent them likes.
                low = ours.min.max(theirs.min);
            }
            if ours.node(low) != theirs.node(low) {
                let high = low + bucket - 1;
                match ranges.last_mut() {
                    Some(last) if last.1 + 1 == low => last.1 = high,
                    _ => ranges.push((low, high)),
                }
            }
            low += bucket;
        }
        Ok(ranges)
    }

    fn node(&self, low: u64) -> Node {
        if low < self.min || low >= self.max() {
            return Node::default();
        }
        self.buckets[((low - self.min) / self.bucket_width()) as usize]
    }

    /// The tree as JSON; `only_populated` writes empty buckets as runs to skip. `digest` is a member of our own, which others
    /// ignore.
    pub fn to_json(&self, only_populated: bool, digest: &Digest) -> String {
        let mut out = format!(
            r#"{{"version":1,"maxDepth":{DEPTH},"rangeMin":"{}","rangeMax":"{}","initialRangeMin":"{}","count":{},"hash":{},"nodes":["#,
            revision::encode(self.min),
            revision::encode(self.max()),
            revision::encode(self.origin),
            self.count(),
            self.hash(),
        );
        let mut empty = 0_u32;
        let mut first = true;
        for node in &self.buckets {
            if only_populated && node.count == 0 {
                empty += 1;
                continue;
            }
            let skipped = std::mem::take(&mut empty);
            let skip = match skipped {
                0 => String::new(),
                1 => "{}".to_owned(),
                n => format!(r#"{{"skip":{n}}}"#),
            };
            for part in [
                skip,
                format!(r#"{{"count":{},"hash":{}}}"#, node.count, node.hash),
            ] {
                if part.is_empty() {
                    continue;
                }
                if !std::mem::take(&mut first) {
                    out.push(',');
                }
                let _ = write!(out, "{part}");
            }
        }
        let _ = write!(out, r#"],"digest":"{}"}}"#, digest.text());
        out
    }

    /// Reads a tree, and checks that its buckets add up to its summary.
    ///
    /// # Errors
    /// [`TreeError::Malformed`] says what is wrong.
    pub fn from_json(value: &Value) -> Result<Self, TreeError> {
        let bad = TreeError::Malformed;
        let members = value.as_object().ok_or(bad("it is no object"))?;
        if number(members, "version") != Some(1) {
            return Err(bad("its version is not 1"));
        }
        if number(members, "maxDepth") != Some(DEPTH) {
            return Err(bad("its depth is not 6"));
        }
        let bound = |name: &str| {
            let text = members.get(name).and_then(Value::as_str);
            text.and_then(|text| revision::decode(text).ok())
        };
        let (Some(min), Some(max), Some(origin)) = (
            bound("rangeMin"),
            bound("rangeMax"),
            bound("initialRangeMin"),
        ) else {
            return Err(bad("a bound of its range is missing"));
        };
        let width = max.checked_sub(min).filter(|width| width.is_power_of_two());
        let width = width
            .filter(|&width| width >= FIRST_WIDTH)
            .ok_or(bad("the width of its range is no power of two"))?;
        if !origin.abs_diff(min).is_multiple_of(width / BUCKETS as u64) {
            return Err(bad("its origin is not on the edge of a bucket"));
        }
        let nodes = members.get("nodes").and_then(Value::as_array);
        let nodes = nodes.ok_or(bad("it has no nodes"))?;
        let buckets = read_nodes(nodes)?;
        let total = buckets.iter().fold(Node::default(), |sum, node| Node {
            count: sum.count + node.count,
            hash: sum.hash ^ node.hash,
        });
        let tree = Self {
            min,
            width,
            origin,
            total,
            buckets,
        };
        if number(members, "count") != Some(tree.count()) {
            return Err(bad("its buckets do not add up to its count"));
        }
        if number(members, "hash") != Some(tree.hash()) {
            return Err(bad("its buckets do not add up to its hash"));
        }
        Ok(tree)
    }
}

fn number(members: &Map<String, Value>, name: &str) -> Option<u64> {
    members.get(name).and_then(Value::as_u64)
}

fn read_nodes(nodes: &[Value]) -> Result<Vec<Node>, TreeError> {
    let mut buckets = Vec::with_capacity(BUCKETS);
    for node in nodes {
        let members = node.as_object();
        let members = members.ok_or(TreeError::Malformed("a node is no object"))?;
        let empty = number(members, "skip").unwrap_or(u64::from(members.is_empty()));
        if empty.max(1) > (BUCKETS - buckets.len()) as u64 {
            return Err(TreeError::Malformed("it has too many nodes"));
        }
        if empty > 0 {
            buckets.resize(buckets.len() + empty as usize, Node::default());
            continue;
        }
        let (Some(count), Some(hash)) = (number(members, "count"), number(members, "hash")) else {
            return Err(TreeError::Malformed("a node has no count or hash"));
        };
        // The sum of so many cannot overflow, and no collection has more.
        if count > u64::from(u32::MAX) * 1000 {
            return Err(TreeError::Malformed("the count of a node is too large"));
        }
        buckets.push(Node { count, hash });
    }
    buckets.resize(BUCKETS, Node::default());
    Ok(buckets)
}

#[cfg(test)]
mod tests;
