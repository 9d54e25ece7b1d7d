//! How much either side accepts of the other.

use serde::{Deserialize, Serialize};

/// Bounds on frames and walks. Both sides may have their own; a question beyond the other's is refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Largest question, in bytes.
    pub max_request_bytes: u64,
    /// Largest frame of an answer, in bytes; also the largest record.
    pub max_frame_bytes: u64,
    /// All that one walk may receive, in bytes.
    pub max_received_bytes: u64,
    /// Most short ids, nodes or leaves of one question.
    pub max_listed: u64,
    /// Most questions of one walk.
    pub max_rounds: u32,
    /// A page of records is read in one short transaction: so many of them,
    pub page_records: usize,
    /// or so many bytes.
    pub page_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_request_bytes: 24 << 20,
            max_frame_bytes: 64 << 20,
            max_received_bytes: 1 << 42,
            max_listed: 1 << 20,
            max_rounds: 64,
            page_records: 2000,
            page_bytes: 512 << 10,
        }
    }
}
