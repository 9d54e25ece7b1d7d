//! What travels under `/v1`. Both sides use these types; the records, batches and pages within are the model's own.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use haversack_model::conflict::Decided;
use haversack_model::local::Download;
use haversack_model::record::Digest;
use haversack_model::{
    Collection, CollectionId, Conflict, ConflictId, Cursor, Direction, Generation, HistoryId,
    Policy, Record, ReplicaId, Service, Timestamp, Versions,
};

/// Version of the API, the `1` of `/v1`.
pub const API: u32 = 1;

/// Answer of `GET /v1`: how a client finds out that a server speaks this API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Discovery {
    /// `haversack`.
    pub product: String,
    /// The program's version.
    pub version: String,
    /// [`API`].
    pub api: u32,
    /// User name of the caller; empty for the anonymous user.
    pub user: String,
    /// The server's own id, by which it knows itself again.
    #[serde(default)]
    pub server: Option<Uuid>,
}

/// Body of `POST /v1/login`.
#[derive(Clone, Serialize, Deserialize)]
#[allow(missing_debug_implementations, reason = "holds a password")]
pub struct Login {
    /// User name.
    pub user: String,
    /// Password.
    pub password: String,
    /// Wanted life of the token; a year at most.
    pub lifetime_ms: Option<u64>,
}

/// Answer of `POST /v1/login`.
#[derive(Clone, Serialize, Deserialize)]
#[allow(missing_debug_implementations, reason = "holds a token")]
pub struct LoggedIn {
    /// For `Authorization: Bearer`.
    pub token: String,
    /// When it ends.
    pub expires_at: Timestamp,
    /// User name as it is written.
    pub user: String,
    /// Whether it administers the server.
    pub is_admin: bool,
}

/// One service in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceSummary {
    /// Name in URLs.
    pub name: String,
    /// Title for people.
    pub title: String,
    /// What the caller may do with it.
    pub rights: Vec<String>,
}

/// Answer of `GET /v1/services/{service}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceInfo {
    /// Its definition.
    pub service: Service,
    /// Where its history stands.
    pub cursor: Cursor,
    /// Lowest generation from which a replica can continue.
    pub floor: Generation,
    /// What the caller may do with it.
    pub rights: Vec<String>,
}

/// Body of `POST /v1/services/{service}/replicas`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReplicaRequest {
    /// Name for people.
    pub name: String,
    /// URL of the feature service as the client addresses it; kept in the file for the next sync.
    pub url: String,
    /// Which layers and tables; empty for all.
    #[serde(default)]
    pub layers: Vec<LayerRequest>,
    /// How conflicts are decided.
    #[serde(default = "merge")]
    pub policy: Policy,
    /// What flows.
    #[serde(default = "both_ways")]
    pub direction: Direction,
    /// Whether attachments come along.
    #[serde(default)]
    pub attachments: bool,
    /// Whether the file gets a spatial index. Without one, programs that lack spatial functions can insert too.
    #[serde(default = "yes")]
    pub spatial_index: bool,
    /// A random key of the client's: asked for again with the same one, the same replica is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Uuid>,
}

fn merge() -> Policy {
    Policy::Merge
}
fn both_ways() -> Direction {
    Direction::Bidirectional
}
fn yes() -> bool {
    true
}

/// One layer or table of a replica to be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerRequest {
    /// Which one.
    pub collection: CollectionId,
    /// Which records: a where clause of standardised queries.
    #[serde(rename = "where", default)]
    pub condition: Option<String>,
    /// Which records: those whose geometry touches this box (least x, least y, greatest x, greatest y).
    #[serde(default)]
    pub bbox: Option<[f64; 4]>,
    /// EPSG code of the box; the layer's own if absent.
    #[serde(default)]
    pub bbox_srid: Option<i32>,
}

/// A registered replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registered {
    /// Its identity.
    pub replica: ReplicaId,
    /// The job that prepares its file.
    pub job: Uuid,
}

/// A replica in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaInfo {
    /// Its identity.
    pub id: ReplicaId,
    /// Name for people.
    pub name: String,
    /// User name of its owner; empty for the anonymous user.
    pub owner: String,
    /// Whether it speaks this API.
    pub native: bool,
    /// Which layers and tables it holds, hidden attachment collections left out.
    pub collections: Vec<CollectionId>,
    /// What flows.
    pub direction: Direction,
    /// How conflicts are decided.
    pub policy: Policy,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last synchronised.
    pub synced_at: Timestamp,
}

/// A job, as shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobInfo {
    /// Its id.
    pub id: Uuid,
    /// What sort of work.
    pub kind: String,
    /// Where it stands.
    pub status: haversack_model::JobStatus,
    /// What it is doing.
    pub phase: String,
    /// Units done.
    pub done: u64,
    /// All units, if known.
    pub total: Option<u64>,
    /// What came out: a document, or the reason of a failure as text.
    pub result: serde_json::Value,
}

/// Result of the job that prepares a replica's file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreparedFile {
    /// Path of the file on the server, from the origin: `/v1/files/{id}`.
    pub path: String,
    /// Its size.
    pub bytes: u64,
}

/// Body of `POST /v1/services/{service}/replicas/{replica}/pull`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PullRequest {
    /// Up to where the replica has stored the server's changes.
    pub cursor: Cursor,
    /// The download under way, as its last page said.
    #[serde(default)]
    pub download: Option<Download>,
    /// Versions above the cursor that the replica holds, as receipts named them: they are left out of the page where
    /// they stand, and named in its `held`.
    #[serde(default)]
    pub ahead: Versions,
    /// Version of the schema in the file.
    pub schema_version: u32,
    /// Most changes wanted in the page; the server's limit holds too.
    #[serde(default)]
    pub max_changes: Option<usize>,
}

/// Body of `POST /v1/services/{service}/replicas/{replica}/renew`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RenewRequest {
    /// The cursor that the file wants to continue from.
    pub cursor: Cursor,
    /// What the file holds, for a server that does not know the replica (any more).
    #[serde(default)]
    pub registration: Option<ReplicaRequest>,
}

/// Digest of one collection, as a replica may see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CollectionDigest {
    /// Which one.
    pub collection: CollectionId,
    /// Count and sum of hashes.
    pub digest: Digest,
}

/// Answer of `GET /v1/services/{service}/replicas/{replica}/digest`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digests {
    /// Generation at which they were taken.
    pub cursor: Cursor,
    /// One per collection of the replica.
    pub collections: Vec<CollectionDigest>,
}

/// Body of `POST /v1/services/{service}/conflicts/{conflict}` and `POST /v1/upstream/conflicts/{conflict}`: the decision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// `mine` (the uploader's version), `theirs` (the server's at that time), `base`, `stored` (as it is now) or `edited`.
    pub keep: String,
    /// The content for `edited`.
    #[serde(default)]
    pub record: Option<Record>,
}

/// Answer of `GET /v1/upstream/conflicts`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct KeptConflicts {
    /// Definitions that the conflicts need to be read.
    pub collections: Vec<Collection>,
    /// The conflicts, in order of time.
    pub conflicts: Vec<Conflict>,
}

/// Body of `POST /v1/services/{service}/replicas/{replica}/decisions`; the answer is a list of [`Decided`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Decisions {
    /// What was decided in the file.
    pub decided: Vec<Decided>,
    /// What waits for a decision in the file.
    pub open: Vec<ConflictId>,
}

/// Body of `POST /v1/users` and `PUT /v1/users/{user}/password`.
#[derive(Clone, Serialize, Deserialize)]
#[allow(missing_debug_implementations, reason = "holds a password")]
pub struct NewUser {
    /// User name; ignored where the path names it.
    #[serde(default)]
    pub name: String,
    /// Password.
    pub password: String,
    /// Whether it administers the server.
    #[serde(default)]
    pub is_admin: bool,
}

/// An error, as `application/problem+json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProblemBody {
    /// For programs.
    pub code: String,
    /// For people.
    pub message: String,
    /// What was wrong: a parameter, a header, a path segment.
    pub what: String,
    /// Numbers that a client acts on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<Detail>,
}

/// Numbers of errors that a replica acts on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Detail {
    /// There is no such replica.
    NoReplica(ReplicaId),
    /// The cursor cannot be continued.
    Resync {
        /// What the client named.
        asked: Generation,
    },
    /// The server began a new history.
    NewHistory {
        /// The present one.
        history: HistoryId,
        /// The last common generation.
        fork: Generation,
    },
    /// A batch number that does not follow.
    BatchOrder {
        /// What was sent.
        sent: u64,
        /// The last one applied.
        last: u64,
    },
    /// A batch number that was used with other content.
    BatchReused(u64),
}
