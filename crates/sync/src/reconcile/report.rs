//! What a walk did.

use serde::{Deserialize, Serialize};

use super::secondary::Proof;

/// How the difference was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Method {
    /// There was none.
    #[default]
    Equal,
    /// The changes since the last proven generation were all of it.
    Changes,
    /// The tree alone: what differed was on one side only.
    Tree,
    /// Short ids of differing leaves.
    Lists,
    /// One sketch of their union.
    Sketch,
    /// Ids of 16 bytes of differing leaves.
    WideLists,
    /// Everything was copied.
    FullCopy,
}

/// What a walk did, and what it cost.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The strongest method that was needed.
    pub method: Method,
    /// Whether the copies were matched by key.
    pub by_key: bool,
    /// How often the proof failed and a stronger method followed.
    pub failed_proofs: u32,
    /// How often the walk began anew, because the primary's history, key or floor moved.
    pub restarts: u32,
    /// Round trips.
    pub rounds: u32,
    /// Bytes of the questions.
    pub bytes_sent: u64,
    /// Bytes of the answers.
    pub bytes_received: u64,
    /// Those of them that are records: their ids, revisions and bodies.
    pub bytes_of_records: u64,
    /// Records staged, which the copy did not have.
    pub inserted: u64,
    /// Records staged that replace an older version.
    pub replaced: u64,
    /// Tombstones staged.
    pub removed: u64,
    /// Records and tombstones here of which the primary knows nothing.
    pub dropped: u64,
    /// Records that were equal by content and got their generations.
    pub adopted: u64,
    /// What the copy is equal to.
    pub proof: Option<Proof>,
}

impl Report {
    /// Whether the copies were equal to begin with.
    pub fn was_equal(&self) -> bool {
        self.inserted + self.replaced + self.removed + self.dropped == 0
    }
    /// Bytes both ways that are no records.
    pub fn overhead(&self) -> u64 {
        (self.bytes_sent + self.bytes_received).saturating_sub(self.bytes_of_records)
    }
}
