//! The frames: what a secondary asks, and the parts that a primary answers with.
//!
//! A question is one message. An answer is a stream of parts that ends with [`Part::End`], so that a million records
//! are one round trip and no large buffer. Their bytes are in `codec`; for people both are JSON by serde.

use haversack_model::{Generation, HistoryId};
use serde::{Deserialize, Serialize};

use super::cells::Cell;
use super::item::{Delivered, Order, Span};
use super::sum::Sum;
use super::tree::LeafBits;

/// A question.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Request {
    /// Begins, with what the secondary has.
    Open(Open),
    /// Asks for the children of nodes.
    Descend(Descend),
    /// Lists short ids of leaves; asks for what to drop and what is missing.
    List(List),
    /// Asks for cells of the union of leaves.
    Sketch(Sketch),
    /// Asks for records by short id.
    Get(Get),
    /// Asks for the generations of leaves that are equal by key.
    Adopt(Adopt),
    /// Asks for what changed.
    Changes(Changes),
}

/// What the secondary has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Open {
    /// The primary's history from which it has generations.
    pub history: Option<HistoryId>,
    /// The name of the key under which its sums are; zero if it has none.
    pub key_name: u64,
    /// The width of its leaves.
    pub bits: LeafBits,
    /// The sum of its items.
    pub root: Sum,
    /// Up to here it knows of changes; whatever is later it cannot have.
    pub since: Generation,
    /// Whether it has all up to there. Otherwise the answer begins the tree at once.
    pub complete: bool,
    /// Whether it has any record, numbered or not.
    pub has_records: bool,
    /// Whether contents are to be compared, too: by key, whatever the history.
    pub deep: bool,
    /// How often the proof failed before. It salts every short id and print.
    pub attempt: u8,
}

/// What all questions after the first name, so that no answer mixes two states.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// Names the history and the key.
    pub epoch: u64,
    /// How the copies are compared.
    pub order: Order,
    /// How wide the compared leaves are.
    pub bits: LeafBits,
    /// Salt of short ids and prints.
    pub salt: u8,
}

/// See [`Request::Descend`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Descend {
    /// What is compared.
    pub scope: Scope,
    /// Level of the nodes, above zero.
    pub level: u8,
    /// Which nodes, in order.
    pub nodes: Vec<u64>,
}

/// See [`Request::List`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct List {
    /// What is compared.
    pub scope: Scope,
    /// Whether ids have 16 bytes instead of 8.
    pub wide: bool,
    /// Which leaves, in order.
    pub leaves: Vec<u64>,
    /// What the secondary has in them.
    pub ids: Vec<u128>,
    /// Runs of places of which it has nothing.
    pub fetch: Vec<Span>,
    /// Add what changed after this.
    pub since: Option<Generation>,
}

/// See [`Request::Sketch`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sketch {
    /// What is compared.
    pub scope: Scope,
    /// Which leaves, in order.
    pub leaves: Vec<u64>,
    /// The first cell.
    pub from: u64,
    /// The one after the last.
    pub upto: u64,
}

/// See [`Request::Get`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Get {
    /// What is compared.
    pub scope: Scope,
    /// The leaves in which the ids are, in order.
    pub leaves: Vec<u64>,
    /// Which short ids.
    pub ids: Vec<u64>,
    /// Runs of places of which the secondary has nothing.
    pub fetch: Vec<Span>,
    /// Add what changed after this.
    pub since: Option<Generation>,
}

/// See [`Request::Adopt`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Adopt {
    /// What is compared; by key.
    pub scope: Scope,
    /// Runs of leaves.
    pub leaves: Vec<Span>,
    /// Last: add all tombstones, and what changed after this.
    pub since: Option<Generation>,
}

/// See [`Request::Changes`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Changes {
    /// What is compared.
    pub scope: Scope,
    /// After which generation.
    pub since: Generation,
}

/// A part of an answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Part {
    /// The first part of the answer to [`Request::Open`]. If its root is the secondary's, the copies are equal.
    Head(Head),
    /// Records that the walk found missing, by rising generation.
    Missing(Vec<Delivered>),
    /// Records that changed, by rising generation.
    Changed(Vec<Delivered>),
    /// Nodes of one level, in order.
    Nodes {
        /// Their level.
        level: u8,
        /// By parent; whoever has a parent here has all of its children here.
        families: Vec<Family>,
    },
    /// Short ids that the primary does not have.
    Drops {
        /// Whether they have 16 bytes.
        wide: bool,
        /// Which.
        ids: Vec<u128>,
    },
    /// Cells of a sketch.
    Cells(Cells),
    /// Generations of leaves by key.
    Numbers(Vec<LeafNumbers>),
    /// All changes up to a generation were told, and this is the sum of all items in the same snapshot.
    Root(Root),
    /// The primary does not go on.
    Refused(Refusal),
    /// The answer is complete.
    End,
}

/// Where the primary stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Head {
    /// Its history.
    pub history: HistoryId,
    /// How the copies are compared.
    pub order: Order,
    /// How wide the compared leaves are.
    pub bits: LeafBits,
    /// Up to which generation the secondary's history is this one.
    pub fork: Option<Generation>,
    /// The key, if the secondary named another.
    pub key: Option<[u8; 32]>,
    /// The sum at a generation.
    pub root: Root,
}

/// Generation and sum of one snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    /// The newest generation.
    pub generation: Generation,
    /// All tombstones above this one exist; those at or below it do not.
    pub floor: Generation,
    /// The sum of all items, by generation.
    pub sum: Sum,
}

/// The children of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Family {
    /// Index of the parent, one level up.
    pub parent: u64,
    /// A bit for each child that there is.
    pub present: u64,
    /// A print for each of these.
    pub prints: Vec<u32>,
}

/// A block of a sketch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cells {
    /// Index of the first cell.
    pub from: u64,
    /// The sum of all items that are in the sketch: two blocks fit together only if they are of the same.
    pub sum: Sum,
    /// The cells.
    pub cells: Vec<Cell>,
}

/// The generations of a leaf by key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LeafNumbers {
    /// Which leaf.
    pub leaf: u64,
    /// Its print.
    pub print: u32,
    /// One for each record, in the order of the records' short ids.
    pub generations: Vec<Generation>,
}

/// Why a primary does not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// Its history, its key or the width of its leaves is another than that of the walk. Begin again.
    Epoch,
    /// Its summary contradicts itself.
    Damaged,
}
