//! What is compared: items, the places where they stand, and runs of places.

use haversack_model::{Generation, GlobalId, Revision};
use serde::{Deserialize, Serialize};

/// No generation is above this one: clients that read numbers as doubles must be able to name it.
pub const MAX_GENERATION: u64 = 1 << 53;

/// By what two copies are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// By the primary's generations: the copies share a history. Drift is mostly recent and so lies close together.
    Generation,
    /// By a hash of the global id, with the content: copies that were made apart, or whose history was lost.
    Key,
}

/// One member of the set that two copies compare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Which record.
    pub global_id: GlobalId,
    /// The **primary's** generation of its last change. Zero in a secondary: it has none yet.
    pub generation: Generation,
    /// Whether it is a tombstone.
    pub deleted: bool,
    /// Hash of the content; compared by [`Order::Key`] alone, and zero where nobody asked for it.
    pub content: u128,
}

/// A record on its way: the newest version of it, or its tombstone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivered {
    /// Which record.
    pub global_id: GlobalId,
    /// The primary's generation of it.
    pub generation: Generation,
    /// Version of the content.
    pub revision: Revision,
    /// The record as both stores write it for each other; `None` for a tombstone. Opaque here.
    pub body: Option<Box<[u8]>>,
}

impl Delivered {
    /// The item that a copy has once it holds this.
    pub fn item(&self) -> Item {
        Item {
            global_id: self.global_id.clone(),
            generation: self.generation,
            deleted: self.body.is_none(),
            content: 0,
        }
    }
}

/// A run of places, both ends included. By generation these are generations, by key places of the hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// The first.
    pub from: u64,
    /// The last.
    pub upto: u64,
}

impl Span {
    /// Everything.
    pub const ALL: Self = Self {
        from: 0,
        upto: u64::MAX,
    };
}

/// Joins runs that touch. They must be in order.
pub(crate) fn joined(spans: impl IntoIterator<Item = Span>) -> Vec<Span> {
    let mut all: Vec<Span> = Vec::new();
    for span in spans {
        match all.last_mut() {
            Some(last)
                if last
                    .upto
                    .checked_add(1)
                    .is_none_or(|next| next >= span.from) =>
            {
                last.upto = last.upto.max(span.upto);
            }
            _ => all.push(span),
        }
    }
    all
}

/// The runs of single places, in order.
pub(crate) fn singles(places: &[u64]) -> Vec<Span> {
    joined(places.iter().map(|&place| Span {
        from: place,
        upto: place,
    }))
}

/// Whether a place lies in one of the runs, which are in order.
pub(crate) fn covers(spans: &[Span], place: u64) -> bool {
    let after = spans.partition_point(|span| span.from <= place);
    after > 0 && spans[after - 1].upto >= place
}
