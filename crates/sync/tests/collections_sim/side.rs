//! A side of a world: a collection in a store whose process can die and whose file can be put back.
//!
//! What a world does to its sides is written once, for every store; each store says what it means there.

use std::collections::BTreeMap;
use std::path::Path;

use haversack_model::{GlobalId, HistoryId, Result};
use haversack_sync::reconcile::{Primary, Proof, Secondary};

/// Live records by id.
pub(crate) type Live = BTreeMap<GlobalId, String>;
/// A record put, or deleted.
pub(crate) type Edit = (GlobalId, Option<String>);

pub(crate) fn id(n: u64) -> GlobalId {
    GlobalId::Text(format!("k{n}").into())
}

/// A body with a value that no other record of a collection may have.
pub(crate) fn body(value: u64, version: u64) -> String {
    format!("{{\"value\":{value},\"version\":{version}}}")
}

/// The unique value of a body.
pub(crate) fn unique(body: &str) -> &str {
    let (_, rest) = body.split_once(':').expect("a body begins with its value");
    rest.split(',').next().expect("a value ends somewhere")
}

/// When, while a copy is merged, its process dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Death {
    BeforeMerge,
    /// All is merged, nothing is committed.
    BeforeCommit,
    /// All is committed, and nobody was told.
    AfterCommit,
}

/// A copy under a walk, which keeps the walk's state in the same store.
pub(crate) trait Copying: Secondary {
    /// Keeps what is staged together with the state of the walk that staged it.
    fn save(&mut self, walk: Option<&str>) -> Result<()>;
    fn saved(&self) -> Result<Option<String>>;
    /// Ends a walk that failed, as a client does.
    fn give_up(&mut self) -> Result<()>;
    /// Takes over a file that a primary prepared, if the store knows such files and the copy is new.
    fn take_prepared(&mut self, file: &Path) -> Result<Option<Proof>>;
}

pub(crate) trait Side: Sized {
    type Backup;
    /// An empty collection. The number tells its history and its key apart from others'.
    fn new(number: u8) -> Self;
    fn head(&self) -> (HistoryId, u64);
    fn live(&self) -> Live;
    /// One transaction of somebody who works here.
    fn write(&self, edits: &[Edit]) -> Result<()>;
    /// One transaction of another program.
    fn write_by_hand(&self, edits: &[Edit]);
    /// Forgets tombstones at or below a generation.
    fn purge(&self, upto: u64);
    fn backup(&self) -> Self::Backup;
    fn put_back(&self, backup: &Self::Backup);
    /// Begins a new history; `is_told`: it knows which one it goes on from.
    fn start_history(&self, history: HistoryId, is_told: bool);
    /// The process dies, and another opens what it left.
    fn die(&self);
    /// The process dies before this is committed.
    fn die_amid(&self, edits: &[Edit]);
    /// Whether the process died in a merge; nothing but `die` follows.
    fn is_dead(&self) -> bool;
    /// Throws the collection away for a new one.
    fn renew(&self, number: u8);
    /// Forgets up to where a copy was proven.
    fn lose_cursor(&self);
    /// Adds to the copy's sums an item that no record stands behind, if it has sums.
    fn damage(&self, place: u64) -> bool;
    /// Makes all rows of a level of the copy's sums count so many items.
    fn miscount(&self, level: u8, count: u64);
    /// Does something of which the collection's own sums learn nothing: a deliberate bug.
    fn without_sums(&self, work: &mut dyn FnMut());
    /// Whether the sums were those of the records; if not, they are built anew.
    fn check(&self) -> bool;
    fn with_primary<T>(&self, work: impl FnOnce(&dyn Primary) -> T) -> T;
    fn with_copy<T>(&self, death: Option<Death>, work: impl FnOnce(&mut dyn Copying) -> T) -> T;
    /// Writes the whole collection into a file for copies that have nothing, if the store can.
    fn prepare(&self, file: &Path) -> bool;
}
