//! Numbers that look random and are the same on every machine.
//!
//! The generator is SplitMix64 (Steele, Lea, Flood 2014): eight lines, and no library's next version changes it.

/// A seeded sequence.
#[derive(Debug)]
pub(super) struct Chance(u64);

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A whole number from `low` up to and including `high`.
    pub(super) fn whole(&mut self, low: i64, high: i64) -> i64 {
        let span = (high - low) as u64 + 1;
        low + (self.next() % span) as i64
    }

    /// A number from `low` to `high`, with at most `digits` decimals.
    pub(super) fn number(&mut self, low: f64, high: f64, digits: i32) -> f64 {
        let unit = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        let scale = 10_f64.powi(digits);
        ((low + (high - low) * unit) * scale).round() / scale
    }

    /// One of a list.
    pub(super) fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[(self.next() % list.len() as u64) as usize]
    }

    /// True once in `n` times.
    pub(super) fn once_in(&mut self, n: u64) -> bool {
        self.next().is_multiple_of(n)
    }
}
