//! The order-free fingerprint of a set of items: a count and two wrapping sums of their keyed hashes.
//!
//! Sums commute, so deltas can be folded in any order; removal is subtraction; neighbours merge by addition.

use serde::{Deserialize, Serialize};

/// Keyed 128-bit hash of an [`Item`](super::Item).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ItemHash(pub u128);

/// Count and wrapping sums; of a difference, all three wrap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sum {
    /// How many items.
    pub count: u64,
    /// Wrapping sum of the high halves of their hashes.
    pub high: u64,
    /// Wrapping sum of the low halves.
    pub low: u64,
}

impl Sum {
    /// Nothing.
    pub const ZERO: Self = Self {
        count: 0,
        high: 0,
        low: 0,
    };

    /// One item.
    pub fn of(hash: ItemHash) -> Self {
        Self {
            count: 1,
            high: (hash.0 >> 64) as u64,
            low: hash.0 as u64,
        }
    }
    /// Both together.
    pub fn plus(self, other: Self) -> Self {
        Self {
            count: self.count.wrapping_add(other.count),
            high: self.high.wrapping_add(other.high),
            low: self.low.wrapping_add(other.low),
        }
    }
    /// This without the other.
    pub fn minus(self, other: Self) -> Self {
        Self {
            count: self.count.wrapping_sub(other.count),
            high: self.high.wrapping_sub(other.high),
            low: self.low.wrapping_sub(other.low),
        }
    }
    /// Whether nothing is in it.
    pub fn is_zero(self) -> bool {
        self == Self::ZERO
    }
    /// Whether this can be the sum of a set: no set has less than no items, and the sums of none are zero.
    pub fn is_of_a_set(self) -> bool {
        i64::try_from(self.count).is_ok() && (self.count > 0 || self.is_zero())
    }
}
