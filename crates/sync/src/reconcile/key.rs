//! The key under which one collection's items are hashed, and every hash that is made of it.
//!
//! Sums of unkeyed hashes fall to somebody who may choose records. So each collection has a random key; only
//! authenticated secondaries get it. A hash here is BLAKE3 with that key and one byte that says what it is for.

use std::fmt;

use haversack_model::HistoryId;
use serde::{Deserialize, Serialize};

use super::item::{Item, Order};
use super::sum::{ItemHash, Sum};

/// How many bits a place by key has.
pub(crate) const KEY_PLACE_BITS: u32 = 48;

/// What a hash is for.
#[derive(Clone, Copy)]
enum Use {
    Numbered = 1,
    Content = 2,
    Place = 3,
    Short = 4,
    Check = 5,
    Node = 6,
    Name = 7,
    Epoch = 8,
}

/// A collection's fingerprint key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FpKey {
    bytes: [u8; 32],
    /// Tests force collisions by cutting short ids of the first salts to so many bits.
    #[cfg(test)]
    #[serde(skip)]
    pub(crate) narrow: Option<(u32, u8)>,
}

impl fmt::Debug for FpKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FpKey({:016x})", self.name())
    }
}

impl FpKey {
    /// A key of random bytes, drawn by the caller.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self {
            bytes,
            #[cfg(test)]
            narrow: None,
        }
    }
    /// The secret bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.bytes
    }
    /// What the key is called where it must not be told. Never zero.
    pub fn name(&self) -> u64 {
        low_64(&self.hash(Use::Name, &[], &[])).max(1)
    }
    /// Names a history and the key: walks of another epoch cannot go on.
    pub(crate) fn epoch(&self, history: HistoryId) -> u64 {
        low_64(&self.hash(Use::Epoch, history.0.as_bytes(), &[]))
    }
    /// The hash of an item in the sums by generation.
    pub fn numbered(&self, item: &Item) -> ItemHash {
        let mut head = [0; 9];
        head[..8].copy_from_slice(&item.generation.0.to_le_bytes());
        head[8] = u8::from(item.deleted);
        self.item_hash(Use::Numbered, &head, item)
    }
    /// The hash of an item by an order.
    pub(crate) fn item(&self, order: Order, item: &Item) -> ItemHash {
        match order {
            Order::Generation => self.numbered(item),
            Order::Key => self.item_hash(Use::Content, &item.content.to_le_bytes(), item),
        }
    }
    /// Where an item stands in an order.
    pub(crate) fn place(&self, order: Order, item: &Item) -> u64 {
        match order {
            Order::Generation => item.generation.0,
            Order::Key => {
                let hash = self.hash(Use::Place, &[], item.global_id.as_bytes());
                low_64(&hash) >> (64 - KEY_PLACE_BITS)
            }
        }
    }
    /// Eight bytes that stand for an item in lists and sketches; another salt gives other ones.
    pub(crate) fn short(&self, hash: ItemHash, salt: u8) -> u64 {
        let id = low_64(&self.hash(Use::Short, &[salt], &hash.0.to_le_bytes()));
        #[cfg(test)]
        if let Some((bits, salts)) = self.narrow
            && salt < salts
        {
            return id >> (64 - bits);
        }
        id
    }
    /// Proves that a cell of a sketch holds one item; also the seed of the cells that it is in.
    pub(crate) fn check(&self, id: u64, salt: u8) -> u64 {
        low_64(&self.hash(Use::Check, &[salt], &id.to_le_bytes()))
    }
    /// Four bytes that stand for a node. A false "equal" is caught by the root.
    pub(crate) fn print(&self, sum: Sum, salt: u8) -> u32 {
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&sum.count.to_le_bytes());
        bytes[8..16].copy_from_slice(&sum.high.to_le_bytes());
        bytes[16..].copy_from_slice(&sum.low.to_le_bytes());
        low_64(&self.hash(Use::Node, &[salt], &bytes)) as u32
    }

    fn item_hash(&self, purpose: Use, head: &[u8], item: &Item) -> ItemHash {
        let hash = self.hash(purpose, head, item.global_id.as_bytes());
        let (half, _) = hash.split_first_chunk().expect("a hash has 32 bytes");
        ItemHash(u128::from_le_bytes(*half))
    }
    /// The head has one length for each use, so no two inputs are written alike.
    fn hash(&self, purpose: Use, head: &[u8], tail: &[u8]) -> [u8; 32] {
        let mut block = [0; 64];
        let (first, length) = (1 + head.len(), 1 + head.len() + tail.len());
        if length <= block.len() {
            block[0] = purpose as u8;
            block[1..first].copy_from_slice(head);
            block[first..length].copy_from_slice(tail);
            return *blake3::keyed_hash(&self.bytes, &block[..length]).as_bytes();
        }
        let mut hasher = blake3::Hasher::new_keyed(&self.bytes);
        hasher.update(&[purpose as u8]).update(head).update(tail);
        *hasher.finalize().as_bytes()
    }
}

fn low_64(hash: &[u8; 32]) -> u64 {
    let (eight, _) = hash.split_first_chunk().expect("a hash has 32 bytes");
    u64::from_le_bytes(*eight)
}
