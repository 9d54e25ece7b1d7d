//! How tracker objects are stored: each its own document, with the uids of its children and of the relationships that name it.
//!
//! A deleted object stays, with `deleted`: other devices learn of it from that, for ever. When an object changed is told by its commit, so changing
//! an event touches its enrollment and its tracked entity, and whoever asks for changed entities finds it.

use haversack_model::documents::{DocumentRead, DocumentWrite, document};
use haversack_model::{Timestamp, Versioned};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::face::instance::{Instance, key};
use crate::face::problem::{Problem, Result};
use crate::wire::tracker::{Enrollment, Event, Kind, Relationship, Times, TrackedEntity};
use crate::wire::{date, uid};

/// A tracker object.
pub(crate) trait Object: Serialize + DeserializeOwned + Clone + PartialEq + Default {
    const KIND: Kind;
    fn uid(&self) -> &str;
    fn times(&mut self) -> &mut Times;
    fn is_deleted(&self) -> bool;
    fn set_deleted(&mut self);
}

macro_rules! objects {
    ($($type:ident($kind:ident, $uid:ident);)*) => {$(
        impl Object for $type {
            const KIND: Kind = Kind::$kind;
            fn uid(&self) -> &str {
                &self.$uid
            }
            fn times(&mut self) -> &mut Times {
                &mut self.times
            }
            fn is_deleted(&self) -> bool {
                self.deleted
            }
            fn set_deleted(&mut self) {
                self.deleted = true;
            }
        }
    )*};
}

objects! {
    TrackedEntity(TrackedEntity, tracked_entity);
    Enrollment(Enrollment, enrollment);
    Event(Event, event);
    Relationship(Relationship, relationship);
}

/// An object as it is stored.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(bound = "T: Object")]
pub(crate) struct Row<T> {
    pub(crate) object: T,
    /// Uids of enrollments or events.
    #[serde(default)]
    pub(crate) children: Vec<String>,
    /// Uids of relationships.
    #[serde(default)]
    pub(crate) ties: Vec<String>,
    /// Who of this server changed it last; empty if it came from another one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) by: String,
}

/// Reads a row; when it changed is told from its commit.
pub(crate) fn read<T: Object>(found: &Versioned) -> Result<Row<T>> {
    let body = found
        .record
        .values
        .first()
        .and_then(haversack_model::Value::as_text)
        .unwrap_or_default();
    let mut row: Row<T> = serde_json::from_str(body).map_err(|error| {
        Problem::Internal(format!("a stored tracker object cannot be read: {error}"))
    })?;
    row.object.times().updated_at = date::format(found.track.stamp);
    Ok(row)
}

/// The row of a uid, deleted ones as well.
pub(crate) fn load<T: Object>(
    instance: &Instance,
    tx: &dyn DocumentRead,
    uid: &str,
) -> Result<Option<Row<T>>> {
    // Where nothing is named nothing is found.
    if !uid::is_uid(uid) {
        return Ok(None);
    }
    let collection = instance.collection(T::KIND.collection())?;
    tx.record(collection, &key(uid))?
        .as_ref()
        .map(read)
        .transpose()
}

/// Stores a row, if it differs from what is there, as changed by somebody; gives whether it did.
pub(crate) fn store<T: Object>(
    instance: &Instance,
    tx: &mut dyn DocumentWrite,
    mut row: Row<T>,
    by: &str,
) -> Result<bool> {
    let collection = instance.collection(T::KIND.collection())?;
    row.object.times().updated_at.clear();
    let written = |row: &Row<T>| {
        serde_json::to_string(row).map_err(|error| Problem::Internal(error.to_string()))
    };
    let body = written(&row)?;
    let uid = row.object.uid().to_owned();
    let known = tx.record(collection, &key(&uid))?;
    let is_same = known.is_some_and(|known| {
        known
            .record
            .values
            .first()
            .and_then(haversack_model::Value::as_text)
            == Some(body.as_str())
    });
    if !is_same {
        by.clone_into(&mut row.by);
        tx.put(collection, &document(&uid, written(&row)?), None)?;
    }
    Ok(!is_same)
}

/// Tells that something in an object's family changed.
pub(crate) fn touch(
    instance: &Instance,
    tx: &mut dyn DocumentWrite,
    kind: Kind,
    uid: &str,
) -> Result<()> {
    let collection = instance.collection(kind.collection())?;
    if !uid.is_empty()
        && tx
            .track(collection, &key(uid))?
            .is_some_and(|track| !track.deleted)
    {
        tx.touch(collection, &key(uid))?;
    }
    Ok(())
}

/// The time that the commit of a transaction will have at least.
pub(crate) fn commit_time(tx: &dyn DocumentRead, now: Timestamp) -> Result<Timestamp> {
    Ok(Timestamp(now.0.max(tx.head()?.stamp.0 + 1)))
}
