//! What data is, in Haversack: ids, values, schema, geometry, records, filters, edits, conflicts and
//! replicas, and the few traits ([`Store`], [`ReplicaTx`], [`Remote`]) behind which databases and
//! networks stand.
//!
//! This crate does no I/O and reads no clock: time and fresh ids are arguments. The wall is tested.

pub mod access;
pub mod blob;
pub mod conflict;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod copies;
mod cursor;
pub mod documents;
pub mod edit;
pub mod error;
pub mod filter;
pub mod geometry;
mod hash;
pub mod host;
pub mod id;
pub mod json;
pub mod local;
pub mod query;
pub mod record;
pub mod remote;
pub mod replica;
pub mod schema;
pub mod store;
pub mod value;
mod versions;

pub use access::{Access, Level, Principal, Right};
pub use blob::BlobHash;
pub use conflict::{Conflict, ConflictId, ConflictKind, Resolution, Winner};
pub use cursor::{Cursor, Seal};
pub use edit::{Changes, Edit, Outcome, Receipt, RejectCode};
pub use error::{Error, Result};
pub use filter::Filter;
pub use geometry::{Envelope, Geometry, Position, Shape};
pub use host::{Host, Job, JobStatus};
pub use id::{
    BatchNumber, CollectionId, Generation, GlobalId, HistoryId, ObjectId, ReplicaId, Revision,
    Timestamp,
};
pub use local::{OutboxEntry, ReplicaTx, RowVersion, SyncState, Theirs};
pub use query::{Order, Query, QueryRow, Select, Statistic};
pub use record::{Record, Track, Versioned};
pub use remote::Remote;
pub use replica::{Direction, Policy, Replica, ReplicaLayer, SyncModel};
pub use schema::{Collection, CollectionKind, Domain, Field, FieldType, GeometryColumn, Service};
pub use store::{Change, ReadTx, Store, WriteTx};
pub use value::Value;
pub use versions::Versions;
