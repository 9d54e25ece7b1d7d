//! Native reconciliation: makes a copy of a collection equal to its primary, at a cost in proportion to the difference.
//!
//! A **primary** numbers every change of a record with a generation. A **secondary** keeps, beside its own generations,
//! the primary's generation of each record. So both have a set of items, (global id, primary's generation, deleted?), and
//! a record that differs is an item that one of them lacks. How the two sets are made equal:
//!
//! 1. **What is newer.** The secondary says up to where it has changes, and the sum of all its items: a count and 128 bits.
//!    Whatever is newer it cannot have, so the primary sends that at once. If the sum then is the primary's, it is done, in
//!    one round trip: that is every ordinary sync.
//! 2. **Where they differ.** Otherwise the primary tells the prints of a [tree](Deltas) of sums over generations; the
//!    secondary asks for the children of those nodes that differ. What only one side has is known by then. Within leaves
//!    that both have, the secondary lists eight bytes an item, or, if that would be much, asks for a *sketch*: cells of
//!    17 bytes, about 1.4 for each item that differs, however many are equal.
//! 3. **What was written meanwhile.** No step locks the primary or keeps a snapshot open. A record that was rewritten
//!    under the walk is among the changes since it began, which every walk ends with. Until then what is found is
//!    staged, and what is here only is marked.
//! 4. **The proof.** The changes end with a generation and a sum of one snapshot. The copy is merged only if with its
//!    stage it has exactly that sum; the store checks it once more in the transaction. If not, the walk is repeated with
//!    another salt, then with lists of 16 bytes, then everything is copied aside.
//!
//! Copies that were made apart (the same data imported twice, or a history that was lost) have no generations in common.
//! They are compared in [`Order::Key`]: the same tree over a hash of the global id, of items (global id, hash of the
//! content). Afterwards the secondary takes over the primary's generations.
//!
//! | who | has |
//! | --- | --- |
//! | primary's store | [`Primary`] and [`Snapshot`]: reads. [`Deltas`] folded into its rows in each writing transaction |
//! | secondary's store | [`Secondary`]: the copy, the stage, the commit; a summary over the *primary's* generations |
//! | server | [`answer`]: one question in, an answer out in pieces; nothing is remembered in between |
//! | client | [`Walk`]: gives questions, takes answers; can be stored and resumed between any two |
//!
//! No clock, no input or output, no randomness: the caller draws the key of a collection, and carries the bytes.
//! Rule source: DESIGN 6; what it costs: `docs/decisions/0014-reconcile.md`.

mod cells;
mod codec;
#[cfg(test)]
mod collisions;
mod error;
mod frame;
mod item;
mod key;
mod limits;
mod primary;
mod report;
mod secondary;
mod sum;
mod tree;
mod walk;

pub use cells::Cell;
pub use codec::{decode_part, decode_request, encode_part, encode_request};
pub use error::{Error, Result};
pub use frame::{
    Adopt, Cells, Changes, Descend, Family, Get, Head, LeafNumbers, List, Open, Part, Refusal,
    Request, Root, Scope, Sketch,
};
pub use item::{Delivered, Item, MAX_GENERATION, Order, Span};
pub use key::FpKey;
pub use limits::Limits;
pub use primary::{Primary, PrimaryState, Snapshot, answer};
pub use report::{Method, Report};
pub use secondary::{Base, Proof, Secondary, SecondaryState};
pub use sum::{ItemHash, Sum};
pub use tree::{Deltas, LEVELS, LeafBits, Node, NodeRows, SelfCheck};
pub use walk::{Options, Step, Walk};
