//! A checked-out part of a service, as the server remembers it.

use serde::{Deserialize, Serialize};

use crate::{BatchNumber, CollectionId, Filter, Generation, ReplicaId, Timestamp};

/// A registered replica.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Replica {
    /// Its identity.
    pub id: ReplicaId,
    /// Name for people.
    pub name: String,
    /// User name of the owner; the anonymous user's is empty.
    pub owner: String,
    /// Whether it speaks the native protocol (numbered batches) or a foreign one.
    pub native: bool,
    /// How its generations are counted.
    pub sync_model: SyncModel,
    /// What it may do.
    pub direction: Direction,
    /// How conflicts are decided when it uploads.
    pub policy: Policy,
    /// What it holds, per collection, attachment collections included.
    pub layers: Vec<ReplicaLayer>,
    /// Version of the schema that it was created with or last told.
    pub schema_version: u32,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last synchronised.
    pub synced_at: Timestamp,
    /// It has not synchronised for so long that it does not hold history back any more. Its next sync ends that.
    #[serde(default)]
    pub is_dormant: bool,
    /// Last native batch applied; zero before the first.
    pub last_batch: BatchNumber,
    /// What its dialect wants remembered (texts of filters, options), opaque to the core.
    pub dialect: String,
}

/// One collection of a replica.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReplicaLayer {
    /// Which collection.
    pub collection: CollectionId,
    /// Last generation that the replica is known to have. For retention and information: what a download
    /// starts from is what the client says.
    pub cursor: Generation,
    /// The replica's own filter, as asked for at creation.
    pub filter: Filter,
    /// Effective filters (the replica's own and its owner's grant), oldest first: the filter in force from that
    /// generation on. At least one. A change takes a generation of its own, so that a cursor tells which holds.
    pub filters: Vec<(Generation, Filter)>,
}

impl ReplicaLayer {
    /// The filter in force now.
    pub fn filter_now(&self) -> &Filter {
        self.filters
            .last()
            .map_or(&Filter::All, |(_, filter)| filter)
    }
    /// The filter that was in force at `generation`.
    pub fn filter_at(&self, generation: Generation) -> &Filter {
        self.filters
            .iter()
            .rev()
            .find(|(from, _)| *from <= generation)
            .map_or_else(|| self.filter_now(), |(_, f)| f)
    }
}

/// How generations are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SyncModel {
    /// One number for all layers.
    PerReplica,
    /// One number per layer.
    PerLayer,
}

/// What flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Direction {
    /// Both ways.
    Bidirectional,
    /// Only to the server.
    Upload,
    /// Only from the server.
    Download,
}

/// Which version a conflict stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Policy {
    /// Three-way by field; clashing fields keep the server's value until someone decides.
    Merge,
    /// The uploader's: the last sync wins.
    Client,
    /// The server's.
    Server,
}
