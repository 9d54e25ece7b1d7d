//! Rateless sketches: coded cells of a set of short ids, any run of them, from a stream of items.
//!
//! Each id is in cell 0 and in ever rarer later ones, so any prefix of about 1.4 cells for each differing id decodes the
//! difference of two sets. A side that answers one question at a time keeps nothing: it streams its items through the
//! run that was asked for. Blocks grow with the estimate of the difference, so that is done twice or three times.
//! Source: Yang, Gilad, Alizadeh, "Practical Rateless Set Reconciliation" (2024), with its index mapping.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use serde::{Deserialize, Serialize};

use super::error::{Error, Result};
use super::key::FpKey;

/// Bytes of a cell on the wire, nearly always.
pub(crate) const CELL_BYTES: u64 = 17;

/// The exclusive or of the ids in it and of their checks, and how many; of a difference, more there than here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cell {
    /// Of the ids.
    pub id: u64,
    /// Of their keyed checks.
    pub check: u64,
    /// How many.
    pub count: i64,
}

impl Cell {
    fn put(&mut self, id: u64, check: u64, times: i64) {
        self.id ^= id;
        self.check ^= check;
        self.count = self.count.wrapping_add(times);
    }
    fn minus(self, other: Self) -> Self {
        Self {
            id: self.id ^ other.id,
            check: self.check ^ other.check,
            count: self.count.wrapping_sub(other.count),
        }
    }
    fn is_empty(self) -> bool {
        self == Self::default()
    }
}

/// The cells that an id is in, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Indices {
    state: u64,
    next: u64,
}

impl Indices {
    fn of(check: u64) -> Self {
        Self {
            state: check | 1,
            next: 0,
        }
    }
    /// Steps over the present one. Only roots and quotients, which are the same on every machine.
    fn advance(&mut self) {
        self.state = self.state.wrapping_mul(0xda94_2042_e4dd_58b5);
        let stretch = 4_294_967_296.0 / (self.state as f64 + 1.0).sqrt() - 1.0;
        let step = ((self.next as f64 + 1.5) * stretch).ceil();
        self.next = self.next.saturating_add((step as u64).max(1));
    }
}

/// A run of cells of one set, filled by streaming its ids.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    from: u64,
    cells: Vec<Cell>,
}

impl Block {
    pub(crate) fn new(from: u64, upto: u64) -> Self {
        Self {
            from,
            cells: vec![Cell::default(); (upto - from) as usize],
        }
    }
    pub(crate) fn add(&mut self, id: u64, check: u64) {
        let upto = self.from + self.cells.len() as u64;
        let mut indices = Indices::of(check);
        while indices.next < upto {
            if let Some(at) = indices.next.checked_sub(self.from) {
                self.cells[at as usize].put(id, check, 1);
            }
            indices.advance();
        }
    }
    pub(crate) fn into_cells(self) -> Vec<Cell> {
        self.cells
    }
}

/// An id of the difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Found {
    id: u64,
    check: u64,
    /// 1: there only, -1: here only.
    sign: i64,
    indices: Indices,
}

/// Decodes the difference of two sets out of growing blocks of their cells.
///
/// What was found is taken out of later cells by a queue of next indices, so nothing is ever encoded again.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Decoder {
    cells: Vec<Cell>,
    found: Vec<Found>,
    queue: BinaryHeap<Reverse<(u64, u32)>>,
    estimate: f64,
}

impl Decoder {
    pub(crate) fn len(&self) -> u64 {
        self.cells.len() as u64
    }
    /// Adds the next cells of both sides and finds what can be found.
    ///
    /// # Errors
    /// [`Error::Broken`] if more is found than so many cells can hold: they were made up.
    pub(crate) fn extend(
        &mut self,
        theirs: &[Cell],
        ours: &[Cell],
        key: &FpKey,
        salt: u8,
    ) -> Result<()> {
        let start = self.cells.len();
        let pairs = theirs.iter().zip(ours);
        self.cells
            .extend(pairs.map(|(theirs, ours)| theirs.minus(*ours)));
        let upto = self.len();
        while let Some(&Reverse((index, at))) = self.queue.peek() {
            if index >= upto {
                break;
            }
            self.queue.pop();
            let found = &mut self.found[at as usize];
            self.cells[index as usize].put(found.id, found.check, -found.sign);
            found.indices.advance();
            self.queue.push(Reverse((found.indices.next, at)));
        }
        self.estimate = self.found.len() as f64 + self.undecoded(start);
        let mut pending: Vec<usize> = (start..self.cells.len()).collect();
        while let Some(at) = pending.pop() {
            let cell = self.cells[at];
            if cell.count.unsigned_abs() != 1 || cell.check != key.check(cell.id, salt) {
                continue;
            }
            if self.found.len() >= self.cells.len() {
                return Err(Error::Broken("a sketch holds more than it can"));
            }
            let mut indices = Indices::of(cell.check);
            while indices.next < upto {
                let index = indices.next as usize;
                self.cells[index].put(cell.id, cell.check, -cell.count);
                if self.cells[index].count.unsigned_abs() == 1 {
                    pending.push(index);
                }
                indices.advance();
            }
            self.queue
                .push(Reverse((indices.next, self.found.len() as u32)));
            self.found.push(Found {
                id: cell.id,
                check: cell.check,
                sign: cell.count,
                indices,
            });
        }
        Ok(())
    }
    /// Whether all was found: cell 0 holds everything that was not.
    pub(crate) fn is_complete(&self) -> bool {
        self.cells.first().is_some_and(|cell| cell.is_empty())
    }
    /// About how many ids differ. The counts of a cell scatter with the number of ids that could be in it.
    pub(crate) fn estimate(&self) -> f64 {
        self.estimate.max(self.found.len() as f64 + 1.0)
    }
    /// Ids that are there only, and here only.
    pub(crate) fn into_difference(self) -> (Vec<u64>, Vec<u64>) {
        let (there, here): (Vec<Found>, Vec<Found>) =
            self.found.into_iter().partition(|found| found.sign > 0);
        let ids = |found: Vec<Found>| {
            let mut ids: Vec<u64> = found.into_iter().map(|found| found.id).collect();
            ids.sort_unstable();
            ids
        };
        (ids(there), ids(here))
    }

    /// Estimates how many ids are left in cells from `start` on, before anything is taken out of them.
    fn undecoded(&self, start: usize) -> f64 {
        let net = self.cells.first().map_or(0.0, |cell| cell.count as f64);
        let (mut sum, mut cells) = (0.0, 0.0);
        for (at, cell) in self.cells.iter().enumerate().skip(start.max(1)) {
            let share = 2.0 / (at as f64 + 2.0);
            let apart = cell.count as f64 - net * share;
            sum += apart * apart / (share * (1.0 - share));
            cells += 1.0;
        }
        if cells == 0.0 {
            return net.abs();
        }
        f64::max(sum / cells, net.abs())
    }
}

/// How many ids are in a cell of a set of so many, about. Counts are written as what they differ from it.
pub(crate) fn expected(items: u64, index: u64) -> i64 {
    (u128::from(items) * 2 / (u128::from(index) + 2)) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> FpKey {
        FpKey::new([7; 32])
    }
    fn block(ids: impl IntoIterator<Item = u64>, from: u64, upto: u64) -> Vec<Cell> {
        let mut block = Block::new(from, upto);
        for id in ids {
            block.add(id, key().check(id, 0));
        }
        block.into_cells()
    }
    fn ids(n: u64, of: u64) -> Vec<u64> {
        (0..n)
            .map(|i| (of << 32 | i).wrapping_mul(0x9e37_79b9_7f4a_7c15))
            .collect()
    }

    #[test]
    fn blocks_of_a_stream_are_the_cells_of_one_long_sketch() {
        let set = ids(500, 1);
        let whole = block(set.clone(), 0, 300);
        let mut parts = block(set.clone(), 0, 7);
        parts.extend(block(set.clone(), 7, 100));
        parts.extend(block(set, 100, 300));
        assert_eq!(whole, parts);
    }

    #[test]
    fn a_thousand_differences_decode_from_1500_cells_and_are_estimated_from_64() {
        let common = ids(5000, 1);
        let there: Vec<u64> = common.iter().copied().chain(ids(700, 2)).collect();
        let here: Vec<u64> = common.into_iter().chain(ids(300, 3)).collect();
        let mut decoder = Decoder::default();
        let mut upto = 0;
        for next in [64, 1500] {
            let (theirs, ours) = (
                block(there.clone(), upto, next),
                block(here.clone(), upto, next),
            );
            decoder.extend(&theirs, &ours, &key(), 0).unwrap();
            upto = next;
            if next == 64 {
                assert!(!decoder.is_complete());
                let estimate = decoder.estimate();
                assert!((500.0..2000.0).contains(&estimate), "{estimate}");
            }
        }
        assert!(decoder.is_complete());
        let mut expected = (ids(700, 2), ids(300, 3));
        expected.0.sort_unstable();
        expected.1.sort_unstable();
        assert_eq!(decoder.into_difference(), expected);
    }

    #[test]
    fn cells_that_were_made_up_end_in_an_error_or_undecoded() {
        // Each cell claims another single id, which is in none of its other cells.
        let forged: Vec<Cell> = (0..64)
            .map(|id| Cell {
                id,
                check: key().check(id, 0),
                count: 1,
            })
            .collect();
        let mut decoder = Decoder::default();
        let outcome = decoder.extend(&forged, &block([], 0, 64), &key(), 0);
        assert!(outcome.is_err() || !decoder.is_complete());
    }
}
