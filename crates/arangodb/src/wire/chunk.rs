//! The chunk hash of the keys protocol.
//!
//! Both sides XOR the hashes of the keys and revisions of a chunk. It is order-independent and cancels, so equal hashes are
//! no proof; between two Haversacks nothing relies on it. Source: `spec/arangodb.md` 7.

use xxhash_rust::xxh64::Xxh64;

const START: u64 = 0x1234_5678;
const SEED: u64 = 0xdead_beef;
/// Longest text that VelocyPack writes with one byte before it.
const SHORT: usize = 126;

/// The running hash of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkHash(u64);

impl Default for ChunkHash {
    fn default() -> Self {
        Self(START)
    }
}

impl ChunkHash {
    /// Adds a document.
    pub fn add(&mut self, key: &str, revision: &str) {
        self.0 ^= hash(key) ^ hash(revision);
    }
    /// The hash so far.
    pub fn value(self) -> u64 {
        self.0
    }
}

/// XXH64 of a text as VelocyPack writes it.
pub fn hash(text: &str) -> u64 {
    let mut hasher = Xxh64::new(SEED);
    if text.len() <= SHORT {
        hasher.update(&[0x40 + text.len() as u8]);
    } else {
        hasher.update(&[0xbf]);
        hasher.update(&(text.len() as u64).to_le_bytes());
    }
    hasher.update(text.as_bytes());
    hasher.digest()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_vectors_hold() {
        assert_eq!(hash("a"), 3_446_796_096_589_431_253);
        assert_eq!(hash("_k1ZYo-----"), 13_098_497_939_958_143_418);
        let mut chunk = ChunkHash::default();
        chunk.add("a", "_k1ZYo-----");
        chunk.add("b", "_k1ZYoFq--F");
        assert_eq!(chunk.value(), 17_598_849_973_060_700_756);
    }

    #[test]
    fn long_texts_have_the_long_head() {
        let bytes: Vec<u8> = [&[0xbf_u8][..], &127_u64.to_le_bytes(), &[b'x'; 127]].concat();
        let expected = xxhash_rust::xxh64::xxh64(&bytes, SEED);
        assert_eq!(hash(&"x".repeat(127)), expected);
    }
}
