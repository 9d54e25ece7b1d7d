//! Decimal numbers that this server gives once: keys of documents, ids of jobs, batches, cursors, collections and indexes.

use std::sync::atomic::{AtomicU64, Ordering};

use haversack_model::Timestamp;

/// Gives numbers in ascending order. They begin at the time of the start, so that a later start begins above.
#[derive(Debug)]
pub(crate) struct Ids(AtomicU64);

impl Ids {
    /// Numbers from a time on. Up to the year 2255 they are exact in JavaScript; 1,000 a millisecond go before a restart could
    /// meet them again.
    pub(crate) fn new(now: Timestamp) -> Self {
        Self(AtomicU64::new(
            now.0.max(1).unsigned_abs().saturating_mul(1000),
        ))
    }
    /// The next number.
    pub(crate) fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}
