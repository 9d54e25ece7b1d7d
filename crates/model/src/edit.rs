//! What a client asks to change, and what became of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    CollectionId, ConflictId, Geometry, GlobalId, ObjectId, Record, Revision, RowVersion, Value,
    Versioned,
};

/// One edit of one record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Edit {
    /// A new record. With `undelete`, one that the sender knows to be deleted and wants back.
    Add {
        /// All of it.
        record: Record,
        /// The sender saw the tombstone and means it.
        undelete: bool,
    },
    /// New values of some fields.
    Update {
        /// Of which record.
        global_id: GlobalId,
        /// What the sender set.
        mine: Changes,
        /// The version that the sender edited, if it knows.
        base: Option<Base>,
    },
    /// Removal.
    Delete {
        /// Of which record.
        global_id: GlobalId,
        /// The version that the sender removed, if it knows.
        base: Option<Base>,
    },
}

impl Edit {
    /// The record that the edit is about.
    pub fn global_id(&self) -> &GlobalId {
        match self {
            Self::Add { record, .. } => &record.global_id,
            Self::Update { global_id, .. } | Self::Delete { global_id, .. } => global_id,
        }
    }
}

/// New values by field position; absent fields stay.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Changes {
    /// Value by position in [`Collection::fields`](crate::Collection::fields).
    pub values: BTreeMap<usize, Value>,
    /// `Some` sets the geometry, `Some(None)` to null.
    pub geometry: Option<Option<Geometry>>,
}

impl Changes {
    /// Whether nothing is set.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty() && self.geometry.is_none()
    }
    /// What must be set on `from` to get `to`.
    pub fn between(from: &Record, to: &Record) -> Self {
        // A version of an older shape has nulls where fields were added since.
        let was = |at: usize| from.values.get(at).unwrap_or(&Value::Null);
        let values = to.values.iter().enumerate();
        Self {
            values: values
                .filter(|(at, value)| was(*at) != *value)
                .map(|(at, value)| (at, value.clone()))
                .collect(),
            geometry: (from.geometry != to.geometry).then(|| to.geometry.clone()),
        }
    }
    /// Sets the values on a record.
    pub fn apply_to(&self, record: &mut Record) {
        for (&at, value) in &self.values {
            if let Some(slot) = record.values.get_mut(at) {
                *slot = value.clone();
            }
        }
        if let Some(geometry) = &self.geometry {
            record.geometry.clone_from(geometry);
        }
    }
}

/// The version that an edit started from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Base {
    /// Its revision.
    pub revision: Revision,
    /// Its content: for an update at least the fields that the edit sets; for a delete all of it.
    pub content: Changes,
}

/// What became of one edit. Every edit gets exactly one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    /// In which collection.
    pub collection: CollectionId,
    /// Of which record.
    pub global_id: GlobalId,
    /// What became of it.
    pub outcome: Outcome,
    /// Object id of the record here, if it exists.
    pub object_id: Option<ObjectId>,
    /// The record after the edit, when it exists and differs from what the sender has; the sender's next base.
    pub after: Option<Versioned>,
    /// The version of the record after the edit where `after` is left out because the record is exactly what the sender
    /// has. `None` from servers that know no versions.
    #[serde(default)]
    pub version: Option<RowVersion>,
    /// The record is outside the sender's part of the collection: the sender drops its copy.
    pub left: bool,
}

/// The outcome of an edit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Outcome {
    /// Stored as sent, or already so.
    Applied,
    /// Stored together with changes of others to other fields.
    Merged,
    /// Stored, with reservations: what the sender has of it stays until somebody has looked at it.
    Warned {
        /// What there is to look at, for people.
        reason: String,
    },
    /// Someone else had changed the same; the losing version is kept in the conflict.
    Conflict {
        /// The conflict row.
        conflict: ConflictId,
        /// Whether the sender's version was stored.
        mine_won: bool,
    },
    /// Refused; nothing of it was stored.
    Rejected {
        /// Why, for programs.
        code: RejectCode,
        /// Why, for people, naming what was wrong.
        reason: String,
    },
}

/// Why an edit was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RejectCode {
    /// A value does not fit its field.
    InvalidValue,
    /// The geometry does not fit the layer.
    InvalidGeometry,
    /// The record to update does not exist and never did.
    NotFound,
    /// The record to update was deleted, and policy refuses to bring it back.
    Deleted,
    /// The attachment's parent does not exist.
    NoParent,
    /// The attachment's content is missing.
    NoBlob,
    /// The sender may not do this.
    Forbidden,
    /// Another edit of the same request failed and the request asked for all or nothing.
    RolledBack,
    /// A schema or batch rule.
    Refused,
    /// The answer does not say what became of it: it waits, and is sent again.
    Untold,
}
