//! Puts documents beside the collection, some thousands to a transaction.

use haversack_model::documents::Staged;
use haversack_model::{CollectionId, Revision};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::primary::{Found, Primary};
use super::{Error, Order, Result};
use crate::wire::document;

/// Changes in one transaction.
const PART: usize = 20_000;
/// Bytes in one transaction.
const PART_BYTES: usize = 8 << 20;

/// What a stage is of. It is kept with the stage, so that the next order knows whether it may go on with what a cut one left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Origin {
    /// The number of the primary.
    leader: u64,
    /// The identity of the collection there.
    guid: String,
    /// Whether all documents were to be staged, or those that differ.
    whole: bool,
    /// The tick of its last snapshot.
    tick: u64,
}

impl Origin {
    pub(super) fn of(primary: &Primary<'_>, found: &Found, whole: bool) -> Self {
        Self {
            leader: primary.leader,
            guid: found.parameters.guid.clone(),
            whole,
            tick: primary.generation().0,
        }
    }
    /// Whether what was staged of this one helps with that one: it is the same collection of the same primary, which was not set
    /// back since; and there is more of it than what had differed.
    pub(super) fn leads_to(&self, next: &Self) -> bool {
        self.leader == next.leader
            && self.guid == next.guid
            && !next.guid.is_empty()
            && self.tick <= next.tick
            && (self.whole || !next.whole)
    }
    /// The same once an order goes on with it.
    pub(super) fn taken_up_by(self, next: &Self) -> Self {
        Self {
            tick: next.tick,
            ..self
        }
    }
    /// As it is kept.
    pub(super) fn to_text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
    pub(super) fn from_text(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

/// Collects changes and stages them part by part.
pub(super) struct Stage<'a, 'o> {
    order: &'a Order<'o>,
    collection: CollectionId,
    waiting: Vec<Staged>,
    bytes: usize,
    /// How many were staged.
    pub(super) count: u64,
}

impl<'a, 'o> Stage<'a, 'o> {
    pub(super) fn new(order: &'a Order<'o>, collection: CollectionId) -> Self {
        Self {
            order,
            collection,
            waiting: Vec::new(),
            bytes: 0,
            count: 0,
        }
    }

    /// A document of the primary; gives its key and revision.
    pub(super) fn put(&mut self, found: Value, name: &str) -> Result<(String, u64)> {
        let id = found.get("_id").and_then(Value::as_str).map(str::to_owned);
        let parsed = document::parse(found)
            .map_err(|num| Error::invalid(format!("a document: {}", num.text())))?;
        let key = parsed
            .key
            .ok_or_else(|| Error::invalid("a document without a key"))?;
        let revision = parsed
            .revision
            .ok_or_else(|| Error::invalid("a document without a revision"))?;
        // Documents of old primaries carry the number of the collection in front of the key.
        let is_of_another = id.is_some_and(|id| {
            let (collection, of) = id.split_once('/').unwrap_or_default();
            of != key || (collection != name && !collection.bytes().all(|b| b.is_ascii_digit()))
        });
        if is_of_another {
            return Err(Error::invalid(format!(
                "document {key:?} belongs to another collection"
            )));
        }
        let body = Value::Object(parsed.body).to_string();
        self.add(Staged {
            key: key.clone(),
            document: Some((Revision(revision), body)),
        })?;
        Ok((key, revision))
    }

    /// A document that is no more.
    pub(super) fn remove(&mut self, key: String) -> Result<()> {
        self.add(Staged {
            key,
            document: None,
        })
    }

    fn add(&mut self, change: Staged) -> Result<()> {
        self.bytes += change.key.len() + change.document.as_ref().map_or(0, |(_, body)| body.len());
        self.waiting.push(change);
        self.count += 1;
        if self.waiting.len() >= PART || self.bytes >= PART_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    /// Stages what waits.
    pub(super) fn flush(&mut self) -> Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let mut tx = self.order.store.write_documents((self.order.now)())?;
        for change in self.waiting.drain(..) {
            tx.stage(self.collection, &change)?;
        }
        tx.commit()?;
        self.bytes = 0;
        Ok(())
    }
}
