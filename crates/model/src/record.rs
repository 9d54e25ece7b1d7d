//! A record, and what the store knows about its changes.

use serde::{Deserialize, Serialize};

use crate::{Generation, Geometry, GlobalId, ObjectId, ReplicaId, Revision, Timestamp, Value};

/// One row of a collection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Identity across copies.
    pub global_id: GlobalId,
    /// Key in this file's table; `None` until the store assigned one. Never compared, never sent to be kept.
    pub object_id: Option<ObjectId>,
    /// One value per [`Collection::fields`](crate::Collection::fields), in that order.
    pub values: Vec<Value>,
    /// In the collection's own CRS.
    pub geometry: Option<Geometry>,
}

impl Record {
    /// Whether two versions of a record hold the same content; object ids do not count.
    pub fn same_content(&self, other: &Self) -> bool {
        self.global_id == other.global_id
            && self.values == other.values
            && self.geometry == other.geometry
    }
}

/// The tracking row of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Track {
    /// Generation of the last change or touch.
    pub generation: Generation,
    /// Time of the commit that last changed or touched it here; strictly increasing per commit.
    pub stamp: Timestamp,
    /// Version of the content.
    pub revision: Revision,
    /// Whether this is a tombstone.
    pub deleted: bool,
    /// The replica whose upload made the change. For audit only: never decides what a download holds.
    pub origin: Option<ReplicaId>,
}

/// A record with its tracking.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Versioned {
    /// The content.
    pub record: Record,
    /// What is known of its last change.
    pub track: Track,
}

/// Order-independent digest of a set of records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digest {
    /// How many.
    pub count: u64,
    /// Wrapping sum of a 128-bit hash of each record, high and low half.
    pub sum: (u64, u64),
}

impl Digest {
    /// Adds one record's hash.
    pub fn add(&mut self, hash: u128) {
        self.count += 1;
        self.sum.0 = self.sum.0.wrapping_add((hash >> 64) as u64);
        self.sum.1 = self.sum.1.wrapping_add(hash as u64);
    }
}
