//! The collection here that is to become that of the primary: which it is, and how its new content takes its place.
//!
//! It is found by its global id, else by its name. One that is not here is made under a name that nobody sees, and gets its own
//! with its content. Source: `spec/arangodb.md` 5, steps 4 and 6.

use std::any::Any;
use std::collections::BTreeSet;

use haversack_model::documents::{DocumentRead, DocumentStore, DocumentWrite, Index, NamedStage};
use haversack_model::{Collection, CollectionId, CollectionKind, Timestamp};
use serde_json::Value;

use super::primary::Found;
use super::stage::Origin;
use super::{Done, Error, Order, Result};
use crate::aside::{self, is_unfinished};
use crate::definition;
use crate::known::{self, GUID, REVISIONS_REPEAT, WORKED_ON};
use crate::wire::parameters::CollectionType;

/// How the content comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// All of it.
    Full,
    /// What differs.
    Incremental,
}

/// A collection that is being written.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) id: CollectionId,
    pub(super) way: Way,
    /// Whether it was made for this.
    is_new: bool,
    /// Keeps other copies away.
    _held: Option<Box<dyn Any + Send>>,
}

impl Target {
    /// Finds or makes the collection, and keeps other copies away from it.
    pub(super) fn prepare(order: &Order<'_>, found: &Found) -> Result<Self> {
        let parameters = &found.parameters;
        let now = (order.now)();
        let mut tx = order.store.write_documents(now)?;
        let mut service = tx.service()?;
        // One that was never given an identity is told as its place in its service: a collection of another server has that, too.
        let is_kept = |c: &Collection| {
            c.properties.get(GUID).and_then(Value::as_str) == Some(&parameters.guid)
        };
        let by_guid = service
            .collections
            .iter()
            .find(|c| !parameters.guid.is_empty() && is_kept(c))
            .filter(|_| order.local.is_none());
        let by_name = service
            .collections
            .iter()
            .find(|c| known::wire_name(&service, c) == found.local);
        if let (Some(one), Some(other)) = (by_guid, by_name)
            && one.id != other.id
            && !is_unfinished(one)
        {
            return Err(Error::NameTaken(found.local.clone()));
        }
        // What a copy that was killed left under a name of its own.
        let aside = aside::of(&service, &found.local);
        let local = by_name.or(by_guid).or(aside);
        let seen = local.filter(|local| !is_unfinished(local));
        if !(order.may_replace)(seen.map(|local| local.id)) {
            return Err(Error::NotGranted(found.local.clone()));
        }
        let (id, way, is_new) = match local {
            Some(local) if !local.is_documents() => {
                return Err(Error::ReadOnly(found.local.clone()));
            }
            Some(local) => {
                let is_same = (by_guid.is_some() || order.local.is_some()) && !is_unfinished(local);
                let is_incremental = order.config.incremental && is_same && tx.count(local.id)? > 0;
                let way = if is_incremental {
                    Way::Incremental
                } else {
                    Way::Full
                };
                (local.id, way, is_unfinished(local))
            }
            None => {
                let is_edge = parameters.kind == CollectionType::Edge;
                let id = aside::begin(&mut service, &found.local, is_edge, (order.next_id)())?;
                let made = service.collections.iter_mut().find(|made| made.id == id);
                if let Some(made) = made {
                    let guid = Value::from(parameters.guid.as_str());
                    made.properties.insert(GUID.to_owned(), guid);
                }
                (id, Way::Full, true)
            }
        };
        if is_new {
            aside::work_on(&mut service, id, now);
            tx.store_service(&service)?;
        }
        let held = match order.copies {
            None => None,
            Some(copies) => {
                let held = copies.hold(order.database, id);
                Some(held.ok_or_else(|| Error::Busy(found.local.clone()))?)
            }
        };
        tx.commit()?;
        Ok(Self {
            id,
            way,
            is_new,
            _held: held,
        })
    }

    /// Whether a cut order staged something that is of use; then it is this order's.
    pub(super) fn goes_on(&self, order: &Order<'_>, origin: &Origin) -> Result<bool> {
        let tx = order.store.read_documents()?;
        let before = tx.named_stages()?;
        let before = before.iter().find(|stage| stage.collection == self.id);
        let before = before.and_then(|before| Origin::from_text(&before.origin));
        let before = before.filter(|before| before.leads_to(origin));
        let Some(before) = before.filter(|_| tx.staged(self.id).is_ok_and(|count| count > 0))
        else {
            return Ok(false);
        };
        drop(tx);
        let mut tx = order.store.write_documents((order.now)())?;
        tx.name_stage(&self.named(order, &before.taken_up_by(origin)))?;
        tx.commit()?;
        Ok(true)
    }

    /// Empties the stage, and notes what comes into it.
    pub(super) fn begin(&self, order: &Order<'_>, origin: &Origin) -> Result<()> {
        let mut tx = order.store.write_documents((order.now)())?;
        tx.clear_stage(self.id)?;
        tx.name_stage(&self.named(order, origin))?;
        tx.commit()?;
        Ok(())
    }

    fn named(&self, order: &Order<'_>, origin: &Origin) -> NamedStage {
        NamedStage {
            collection: self.id,
            origin: origin.to_text(),
            at: (order.now)(),
        }
    }

    /// Whether anything arrived.
    pub(super) fn has_staged(&self, order: &Order<'_>) -> bool {
        let staged = order.store.read_documents();
        staged
            .and_then(|tx| tx.staged(self.id))
            .is_ok_and(|count| count > 0)
    }

    /// Removes what was made for a copy that failed; what was there before stays as it was.
    pub(super) fn give_up(&self, order: &Order<'_>) {
        let removed = order
            .store
            .write_documents((order.now)())
            .and_then(|mut tx| {
                tx.clear_stage(self.id)?;
                if self.is_new {
                    let mut service = tx.service()?;
                    service
                        .collections
                        .retain(|collection| collection.id != self.id);
                    service.schema_version += 1;
                    tx.store_service(&service)?;
                }
                tx.commit()
            });
        if let Err(error) = removed {
            tracing::warn!(%error, "what was staged stays until the next synchronisation");
        }
    }

    /// The primary's indexes, as far as there is their kind here.
    pub(super) fn indexes(&self, order: &Order<'_>, found: &Found) -> Vec<Index> {
        let all = found.indexes.iter().filter_map(|index| {
            match definition::from_json(index, (order.next_id)()) {
                Ok(index) => Some(index),
                Err(problem) => {
                    tracing::warn!(
                        problem,
                        collection = found.parameters.name,
                        id = %self.id,
                        "an index of the primary was not copied"
                    );
                    None
                }
            }
        });
        all.collect()
    }

    /// Merges the stage and takes over the definition, in one transaction. With `whole` the stage is all that is left.
    /// `proof` looks at the result before it counts; `None` if it refused.
    pub(super) fn merge(
        &self,
        order: &Order<'_>,
        found: &Found,
        whole: bool,
        proof: impl FnOnce(&dyn DocumentRead) -> Result<bool>,
    ) -> Result<Option<Done>> {
        let indexes = self.indexes(order, found);
        let mut tx = order.store.write_documents((order.now)())?;
        let mut done = Done {
            is_whole: whole,
            ..Done::default()
        };
        if let Some(most) = order.dry_run {
            done.differences = tx.differences(self.id, whole, most.saturating_add(1))?;
            done.more = done.differences.len() > most;
            done.differences.truncate(most);
        }
        self.make_room(tx.as_mut(), &indexes)?;
        done.merged = tx.merge_stage(self.id, whole)?;
        self.define(tx.as_mut(), &indexes, found)?;
        let read: &dyn DocumentWrite = tx.as_ref();
        if !proof(read)? {
            return Ok(None);
        }
        // A dry run went all the way, and is forgotten.
        if order.dry_run.is_none() {
            tx.commit()?;
        }
        Ok(Some(done))
    }

    /// Before the documents are merged: away with the indexes that they need not fit.
    pub(super) fn make_room(
        &self,
        tx: &mut dyn DocumentWrite,
        indexes: &[Index],
    ) -> haversack_model::Result<()> {
        self.alter(tx, |collection| {
            collection.indexes.retain(|known| match self.way {
                Way::Full => indexes.iter().any(|new| is_equal(known, new)),
                Way::Incremental => indexes.iter().all(|new| {
                    is_equal(known, new) || (known.id != new.id && known.name != new.name)
                }),
            });
        })
    }

    /// After it: the indexes that they must fit, and everything else of the definition.
    pub(super) fn define(
        &self,
        tx: &mut dyn DocumentWrite,
        indexes: &[Index],
        found: &Found,
    ) -> haversack_model::Result<()> {
        self.alter(tx, |collection| {
            for new in indexes {
                if !collection.indexes.iter().any(|known| is_equal(known, new)) {
                    collection.indexes.push(new.clone());
                }
            }
            self.take_over(collection, found);
        })
    }

    /// Changes the collection's definition, if that makes a difference.
    fn alter(
        &self,
        tx: &mut dyn DocumentWrite,
        change: impl FnOnce(&mut Collection),
    ) -> haversack_model::Result<()> {
        let mut service = tx.service()?;
        let collection = service
            .collections
            .iter_mut()
            .find(|collection| collection.id == self.id);
        let collection = collection.ok_or(haversack_model::Error::NoCollection(self.id))?;
        let before = collection.clone();
        change(collection);
        if *collection == before {
            return Ok(());
        }
        service.schema_version += 1;
        tx.store_service(&service)
    }

    fn take_over(&self, collection: &mut Collection, found: &Found) {
        let parameters = &found.parameters;
        collection.kind = CollectionKind::Documents {
            edges: parameters.kind == CollectionType::Edge,
        };
        if self.way == Way::Full {
            collection.properties.clear();
        }
        aside::finish(collection, &found.local);
        collection.properties.extend(parameters.kept.clone());
        // A copy under another name is another collection.
        if !parameters.guid.is_empty() && found.local == parameters.name {
            collection
                .properties
                .insert(GUID.to_owned(), Value::from(parameters.guid.as_str()));
        }
        if parameters.sync_by_revision {
            collection.properties.remove(REVISIONS_REPEAT);
        } else {
            // Perhaps two documents share a revision there: then they do here.
            collection
                .properties
                .insert(REVISIONS_REPEAT.to_owned(), Value::Bool(true));
        }
    }
}

/// Removes what cut orders left beside the collections of a database and no order has worked on since some time. `hold` keeps
/// copies away from a collection, unless one is under way. How many were removed.
///
/// # Errors
/// The store's.
pub fn remove_left(
    store: &dyn DocumentStore,
    (now, since): (Timestamp, Timestamp),
    hold: &dyn Fn(CollectionId) -> Option<Box<dyn Any + Send>>,
) -> haversack_model::Result<usize> {
    let is_left = |collection: &Collection| {
        let worked_on = collection.properties.get(WORKED_ON).and_then(Value::as_i64);
        is_unfinished(collection) && worked_on.is_none_or(|worked_on| worked_on < since.0)
    };
    let (service, stages) = {
        let tx = store.read_documents()?;
        (tx.service()?, tx.named_stages()?)
    };
    let is_old = |stage: &NamedStage| stage.at < since;
    if !service.collections.iter().any(is_left) && !stages.iter().any(is_old) {
        return Ok(0);
    }
    let mut tx = store.write_documents(now)?;
    let mut service = tx.service()?;
    let begun: Vec<_> = service.collections.iter().filter(|c| is_left(c)).collect();
    let mut left: BTreeSet<_> = begun.iter().map(|collection| collection.id).collect();
    let old = tx.named_stages()?.into_iter().filter(is_old);
    left.extend(old.map(|stage| stage.collection));
    let mut kept = Vec::new();
    for id in left {
        if let Some(held) = hold(id) {
            tx.clear_stage(id)?;
            kept.push((id, held));
        }
    }
    if kept.is_empty() {
        return Ok(0);
    }
    let before = service.collections.len();
    service
        .collections
        .retain(|one| !is_left(one) || kept.iter().all(|(id, _)| *id != one.id));
    if service.collections.len() < before {
        service.schema_version += 1;
        tx.store_service(&service)?;
    }
    tx.commit()?;
    Ok(kept.len())
}

fn is_equal(a: &Index, b: &Index) -> bool {
    a.id == b.id && a.name == b.name && definition::is_same(a, b)
}
