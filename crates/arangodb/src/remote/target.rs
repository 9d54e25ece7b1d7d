//! The collection here that is to become that of the primary: which it is, and how its new content takes its place.
//!
//! It is found by its global id, else by its name. One that is not here is made under a name that nobody sees, and gets its own
//! with its content. Source: `spec/arangodb.md` 5, steps 4 and 6.

use haversack_model::documents::{DocumentRead, DocumentWrite, Index};
use haversack_model::{Collection, CollectionId, CollectionKind, Service};
use serde_json::Value;

use super::primary::Found;
use super::{Error, Order, Result};
use crate::definition;
use crate::known::{self, GUID, REVISIONS_REPEAT, UNFINISHED};
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
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) id: CollectionId,
    pub(super) way: Way,
    /// Whether it was made for this.
    is_new: bool,
}

impl Target {
    /// Finds or makes the collection, and empties its stage.
    pub(super) fn prepare(order: &Order<'_>, found: &Found) -> Result<Self> {
        let parameters = &found.parameters;
        let mut tx = order.store.write_documents((order.now)())?;
        let mut service = tx.service()?;
        let by_guid = service
            .collections
            .iter()
            .find(|c| !parameters.guid.is_empty() && known::guid(&service, c) == parameters.guid);
        let by_name = service
            .collections
            .iter()
            .find(|c| known::wire_name(&service, c) == parameters.name);
        if let (Some(one), Some(other)) = (by_guid, by_name)
            && one.id != other.id
            && !one.properties.contains_key(UNFINISHED)
        {
            return Err(Error::NameTaken(parameters.name.clone()));
        }
        let local = by_name.or(by_guid);
        let target = match local {
            Some(local) if !local.is_documents() => {
                return Err(Error::ReadOnly(parameters.name.clone()));
            }
            Some(local) => {
                let is_same = by_guid.is_some() && !local.properties.contains_key(UNFINISHED);
                let is_incremental = order.config.incremental && is_same && tx.count(local.id)? > 0;
                Self {
                    id: local.id,
                    way: if is_incremental {
                        Way::Incremental
                    } else {
                        Way::Full
                    },
                    is_new: local.properties.contains_key(UNFINISHED),
                }
            }
            None => {
                let aside = format!("_unfinished_{}", (order.next_id)());
                let is_edge = parameters.kind == CollectionType::Edge;
                let mut made = service.new_documents(&aside, is_edge)?;
                made.properties
                    .insert(UNFINISHED.to_owned(), Value::Bool(true));
                made.properties
                    .insert(GUID.to_owned(), Value::from(parameters.guid.as_str()));
                let id = made.id;
                service.collections.push(made);
                service.schema_version += 1;
                tx.store_service(&service)?;
                Self {
                    id,
                    way: Way::Full,
                    is_new: true,
                }
            }
        };
        tx.clear_stage(target.id)?;
        tx.commit()?;
        Ok(target)
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

    /// Merges the stage and takes over the definition, in one transaction. With `whole` the stage is all that is left.
    /// `proof` looks at the result before it counts.
    pub(super) fn merge(
        &self,
        order: &Order<'_>,
        found: &Found,
        whole: bool,
        proof: impl FnOnce(&dyn DocumentRead) -> Result<bool>,
    ) -> Result<bool> {
        let indexes = read_indexes(order, found);
        let mut tx = order.store.write_documents((order.now)())?;
        let mut service = tx.service()?;
        // First away with what the new content need not fit, last what it must.
        self.alter(&mut service, |collection| {
            collection.indexes.retain(|known| match self.way {
                Way::Full => indexes.iter().any(|new| is_equal(known, new)),
                Way::Incremental => indexes.iter().all(|new| {
                    is_equal(known, new) || (known.id != new.id && known.name != new.name)
                }),
            });
        })?;
        tx.store_service(&service)?;
        tx.merge_stage(self.id, whole)?;
        self.alter(&mut service, |collection| {
            for new in &indexes {
                if !collection.indexes.iter().any(|known| is_equal(known, new)) {
                    collection.indexes.push(new.clone());
                }
            }
            self.take_over(collection, found);
        })?;
        service.schema_version += 1;
        tx.store_service(&service)?;
        let read: &dyn DocumentWrite = tx.as_ref();
        if !proof(read)? {
            return Ok(false);
        }
        tx.commit()?;
        Ok(true)
    }

    fn alter(&self, service: &mut Service, change: impl FnOnce(&mut Collection)) -> Result<()> {
        let collection = service
            .collections
            .iter_mut()
            .find(|collection| collection.id == self.id);
        let collection = collection.ok_or(haversack_model::Error::NoCollection(self.id))?;
        change(collection);
        Ok(())
    }

    fn take_over(&self, collection: &mut Collection, found: &Found) {
        let parameters = &found.parameters;
        collection.name.clone_from(&parameters.name);
        collection.kind = CollectionKind::Documents {
            edges: parameters.kind == CollectionType::Edge,
        };
        if self.way == Way::Full {
            collection.properties.clear();
        }
        collection.properties.remove(UNFINISHED);
        collection.properties.extend(parameters.kept.clone());
        if !parameters.guid.is_empty() {
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

fn read_indexes(order: &Order<'_>, found: &Found) -> Vec<Index> {
    let all = found.indexes.iter().filter_map(|index| {
        match definition::from_json(index, (order.next_id)()) {
            Ok(index) => Some(index),
            Err(problem) => {
                tracing::warn!(
                    problem,
                    collection = found.parameters.name,
                    "an index of the primary was not copied"
                );
                None
            }
        }
    });
    all.collect()
}

fn is_equal(a: &Index, b: &Index) -> bool {
    a.id == b.id && a.name == b.name && definition::is_same(a, b)
}
