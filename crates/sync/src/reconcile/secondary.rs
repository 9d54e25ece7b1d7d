//! The secondary's copy and its stage, as a walk needs them of a store.
//!
//! A walk changes nothing but the stage until it is proven; then [`Secondary::commit`] merges the stage in one
//! transaction. Whoever keeps the stage in the same file as the walk's own state can go on after a crash.

use haversack_model::{Generation, GlobalId, HistoryId, Result};
use serde::{Deserialize, Serialize};

use super::item::{Delivered, Item, Span};
use super::key::FpKey;
use super::sum::Sum;
use super::tree::LeafBits;

/// Where a copy stands, without its stage.
#[derive(Clone, Debug, PartialEq)]
pub struct SecondaryState {
    /// The primary's history from which its generations are.
    pub history: Option<HistoryId>,
    /// The primary's key, if it was told before.
    pub key: Option<FpKey>,
    /// The width of the leaves of its summary of the primary's generations.
    pub bits: LeafBits,
    /// The root of that summary.
    pub root: Sum,
    /// The generation that was proven last; the newest that it has if none was.
    pub since: Generation,
    /// Whether `root` is the one that was proven at `since`: neither a local edit nor damage has come since.
    pub complete: bool,
    /// Whether it has any record, with a generation of the primary or without.
    pub has_records: bool,
}

/// What of a copy counts while a stage is filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Base {
    /// All of it.
    Kept,
    /// Its records, but not their generations of the primary: they are given anew.
    Unnumbered,
    /// Nothing: a full copy is built aside. What is not staged when it is committed goes.
    Void,
}

/// What a commit must reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// The primary's history.
    pub history: HistoryId,
    /// Up to here the copy has everything.
    pub generation: Generation,
    /// The primary has no tombstones at or below this generation.
    pub floor: Generation,
    /// The sum of all items of the primary at that generation.
    pub root: Sum,
}

/// A copy of a primary's collection, with a stage in which changes wait until they are proven.
///
/// Its items carry the **primary's** generations; the store's own are never seen here. A record that was edited here
/// has no item until the primary's version of it is back: the store takes it out of the summary in the transaction of
/// the edit. Tombstones keep their items until the walk drops them, however old they are.
pub trait Secondary {
    /// Where the copy stands.
    fn state(&self) -> Result<SecondaryState>;
    /// Rows of its summary with `from <= index <= upto`, in order; without the stage.
    fn nodes(
        &self,
        level: u8,
        from: u64,
        upto: u64,
        visit: &mut dyn FnMut(u64, Sum) -> Result<()>,
    ) -> Result<()>;
    /// Items whose generation is in the runs, with the stage applied, in order.
    fn items(&self, spans: &[Span], visit: &mut dyn FnMut(Item) -> Result<()>) -> Result<()>;
    /// Items of tombstones at or below a generation, with the stage applied.
    fn tombstones(&self, upto: Generation, visit: &mut dyn FnMut(Item) -> Result<()>)
    -> Result<()>;
    /// All live records with the hash of their content, with the stage applied, in any order; those without a
    /// generation of the primary with zero. A scan.
    fn contents(&self, visit: &mut dyn FnMut(Item) -> Result<()>) -> Result<()>;
    /// What it has of a record, with the stage applied: an item, a record without a generation (zero), or nothing.
    fn held(&self, id: &GlobalId) -> Result<Option<Item>>;

    /// Takes another key for its summary, at once: one scan, the same width.
    fn rekey(&mut self, key: &FpKey) -> Result<()>;
    /// Empties the stage. From now on so much of the copy counts.
    fn begin(&mut self, base: Base) -> Result<()>;
    /// Stages a record or a tombstone; it replaces what was there or staged.
    fn stage(&mut self, record: Delivered) -> Result<()>;
    /// Marks that the primary does not have what is here of a record. A record staged later takes the mark away.
    fn mark_dropped(&mut self, id: &GlobalId) -> Result<()>;
    /// Gives a record that is equal by content, here or staged, its generation of the primary.
    fn adopt(&mut self, id: &GlobalId, generation: Generation) -> Result<()>;
    /// Merges the stage by global id, in one transaction, and empties it: an equal record keeps its local generation
    /// and takes none, so that loops of copies end; a changed one gets a new one; a dropped one, and a live one without
    /// a generation of the primary, becomes a local tombstone. Notes the cursor and the floor.
    ///
    /// # Errors
    /// Any, with nothing changed, if the root of the summary is not that of the proof.
    fn commit(&mut self, proof: &Proof) -> Result<()>;
}
