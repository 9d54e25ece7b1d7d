//! A conflict: a row that someone can read, closed only by a decision.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{CollectionId, Generation, GlobalId, Policy, Record, ReplicaId, Timestamp};

/// Identity of a conflict; the same on server and replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ConflictId(pub Uuid);

impl std::fmt::Display for ConflictId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

/// Two versions that could not both stay.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Conflict {
    /// Its id.
    pub id: ConflictId,
    /// In which collection.
    pub collection: CollectionId,
    /// About which record.
    pub global_id: GlobalId,
    /// What clashed.
    pub kind: ConflictKind,
    /// The last version that both sides knew; `None` if there was none or it is unknown.
    pub base: Option<Record>,
    /// The uploader's version; `None` if it was a deletion.
    pub mine: Option<Record>,
    /// The server's version at that time; `None` if it was deleted.
    pub theirs: Option<Record>,
    /// Names of the fields in which all three differ; the geometry under its column name.
    pub fields: Vec<String>,
    /// The rule that chose.
    pub policy: Policy,
    /// Which version was stored.
    pub winner: Winner,
    /// One sentence for people.
    pub reason: String,
    /// The replica that uploaded, if one did.
    pub replica: Option<ReplicaId>,
    /// Who uploaded.
    pub user: String,
    /// When.
    pub at: Timestamp,
    /// Generation at which the winner stood.
    pub generation: Generation,
    /// The decision that closed it, if any.
    pub resolution: Option<Resolution>,
}

/// What clashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConflictKind {
    /// Both set the same field, differently.
    UpdateUpdate,
    /// Mine updates what the server deleted.
    UpdateDelete,
    /// Mine deletes what the server updated.
    DeleteUpdate,
    /// Both added the same global id with different content.
    AddAdd,
}

/// Which version a policy stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Winner {
    /// The uploader's.
    Mine,
    /// The server's.
    Theirs,
    /// Field by field: the uploader's changes where they did not clash, the server's where they did.
    Merged,
}

/// How a conflict was closed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Resolution {
    /// What was decided: which version, or `edited` for another content.
    pub kept: String,
    /// Who decided.
    pub user: String,
    /// When.
    pub at: Timestamp,
    /// On a replica: whether the server knows. On a server always so.
    #[serde(default)]
    pub told: bool,
}

/// A decision on its way between replica and server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decided {
    /// Which conflict it closes.
    pub conflict: ConflictId,
    /// How.
    pub resolution: Resolution,
}
