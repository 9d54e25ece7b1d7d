//! From features as sent to edits of the core, with a place for the result of each.

use std::collections::BTreeMap;

use haversack_model::query::{Query, Select};
use haversack_model::store::Flow;
use haversack_model::{
    Collection, CollectionId, Edit, Filter, GlobalId, ObjectId, QueryRow, ReadTx, WriteTx,
};
use serde_json::Value;

use super::super::call::{Call, Opened};
use super::super::problem::{Problem, Result};
use super::results::{Fate, LayerSlots, Slot, Verb, failed};
use super::{LayerEdits, Options};
use crate::wire::codes;
use crate::wire::feature::{FeatureReader, IncomingFeature};

/// Object ids that are looked up at a time.
const LOOKUP: usize = 1000;

/// All edits of a request.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    pub(super) call: &'a Call,
    pub(super) opened: &'a Opened,
    options: Options,
    /// The places of results, layer by layer.
    pub(crate) slots: Vec<LayerSlots>,
    /// What the core is to apply.
    pub(crate) edits: Vec<(CollectionId, Edit)>,
    /// How many places failed before anything was applied.
    pub(crate) failures: usize,
}

impl<'a> Plan<'a> {
    /// An empty plan.
    pub(crate) fn new(call: &'a Call, opened: &'a Opened, options: Options) -> Self {
        Self {
            call,
            opened,
            options,
            slots: Vec::new(),
            edits: Vec::new(),
            failures: 0,
        }
    }

    /// Plans the edits of one layer.
    pub(crate) fn add_layer(&mut self, tx: &mut dyn WriteTx, asked: &LayerEdits) -> Result<()> {
        let collection = self.opened.collection(asked.id)?;
        let mut reader = FeatureReader::from_client(collection);
        let mut adds = Vec::new();
        for feature in &asked.adds {
            let slot = match reader.read(feature) {
                Ok(feature) => self.add(tx, collection, &feature)?,
                Err(error) => unreadable(Verb::Add, &error),
            };
            adds.push(self.counted(slot));
        }
        let read: Vec<_> = asked.updates.iter().map(|f| reader.read(f)).collect();
        let ids = self.look_up(tx, collection, &wanted(&read, &asked.deletes))?;
        let mut updates = Vec::new();
        for feature in read {
            let slot = match feature {
                Ok(feature) => self.update(collection, feature, &ids),
                Err(error) => unreadable(Verb::Update, &error),
            };
            updates.push(self.counted(slot));
        }
        let mut deletes = Vec::new();
        for id in &asked.deletes {
            let slot = self.delete(collection, id, &ids);
            deletes.push(self.counted(slot));
        }
        let attachments = match &asked.attachments {
            None => None,
            Some(asked) => Some(super::attached::plan(self, tx, collection, asked)?),
        };
        self.slots.push(LayerSlots {
            id: asked.id,
            adds,
            updates,
            deletes,
            attachments,
        });
        Ok(())
    }

    /// Adds an edit and gives the place of its receipt.
    pub(super) fn push(
        &mut self,
        collection: CollectionId,
        verb: Verb,
        edit: Edit,
        object_id: Option<ObjectId>,
    ) -> Slot {
        let slot = Slot {
            verb,
            global_id: Some(edit.global_id().clone()),
            object_id,
            fate: Fate::Receipt(self.edits.len()),
        };
        self.edits.push((collection, edit));
        slot
    }

    /// Counts a place that failed.
    pub(super) fn counted(&mut self, slot: Slot) -> Slot {
        self.failures += usize::from(matches!(slot.fate, Fate::Failed { .. }));
        slot
    }

    fn add(
        &mut self,
        tx: &mut dyn WriteTx,
        collection: &Collection,
        feature: &IncomingFeature,
    ) -> Result<Slot> {
        let named = feature.global_id.clone();
        let global_id = named
            .filter(|_| self.options.use_global_ids)
            .unwrap_or_else(|| GlobalId::from(self.call.host.fresh_uuid()));
        if let Some(stored) = tx.record(collection.id, &global_id)? {
            // A client that lost the answer sends the add again; another record of this id is a mistake.
            let mut wanted = stored.record.clone();
            feature.changes.apply_to(&mut wanted);
            let mut slot = if wanted.same_content(&stored.record) {
                Slot {
                    verb: Verb::Add,
                    global_id: None,
                    object_id: stored.record.object_id,
                    fate: Fate::Done,
                }
            } else {
                failed(
                    Verb::Add,
                    None,
                    "there is another record with this global id",
                )
            };
            slot.global_id = Some(global_id);
            return Ok(slot);
        }
        let record = feature.to_record(collection, global_id);
        let edit = Edit::Add {
            record,
            undelete: true,
        };
        Ok(self.push(collection.id, Verb::Add, edit, None))
    }

    fn update(
        &mut self,
        collection: &Collection,
        feature: IncomingFeature,
        ids: &BTreeMap<ObjectId, GlobalId>,
    ) -> Slot {
        let by_object_id = || feature.object_id.and_then(|id| ids.get(&id).cloned());
        let (found, needed) = if self.options.use_global_ids {
            (feature.global_id.clone(), &collection.global_id_field)
        } else {
            (by_object_id(), &collection.object_id_field)
        };
        let Some(global_id) = found else {
            let mut slot = match feature.object_id {
                Some(id) if !self.options.use_global_ids => missing(Verb::Update, id),
                _ => failed(Verb::Update, None, format!("an update needs '{needed}'")),
            };
            slot.object_id = feature.object_id;
            slot.global_id = feature.global_id;
            return slot;
        };
        let edit = Edit::Update {
            global_id,
            mine: feature.changes,
            base: None,
        };
        self.push(collection.id, Verb::Update, edit, feature.object_id)
    }

    fn delete(
        &mut self,
        collection: &Collection,
        id: &str,
        ids: &BTreeMap<ObjectId, GlobalId>,
    ) -> Slot {
        if self.options.use_global_ids {
            return match GlobalId::parse_uuid(id) {
                Ok(global_id) => {
                    let edit = Edit::Delete {
                        global_id,
                        base: None,
                    };
                    self.push(collection.id, Verb::Delete, edit, None)
                }
                Err(error) => failed(Verb::Delete, None, error.to_string()),
            };
        }
        let Ok(object_id) = id.parse().map(ObjectId) else {
            return failed(Verb::Delete, None, "a deletion needs an object id");
        };
        let Some(global_id) = ids.get(&object_id).cloned() else {
            let mut slot = missing(Verb::Delete, object_id);
            slot.object_id = Some(object_id);
            return slot;
        };
        let edit = Edit::Delete {
            global_id,
            base: None,
        };
        self.push(collection.id, Verb::Delete, edit, Some(object_id))
    }

    /// Global ids of the records that have these object ids and that the principal may see.
    fn look_up(
        &self,
        tx: &mut dyn WriteTx,
        collection: &Collection,
        wanted: &[ObjectId],
    ) -> Result<BTreeMap<ObjectId, GlobalId>> {
        if self.options.use_global_ids {
            return Ok(BTreeMap::new());
        }
        let visible = self.opened.access.filter(collection.id);
        let mut found = BTreeMap::new();
        for ids in wanted.chunks(LOOKUP) {
            let filter = visible.clone().and(Filter::ObjectIds(ids.to_vec()));
            found.extend(ids_of(&*tx, collection.id, filter)?);
        }
        Ok(found)
    }
}

/// The ids of all records that match.
pub(crate) fn ids_of(
    tx: &(impl ReadTx + ?Sized),
    collection: CollectionId,
    filter: Filter,
) -> Result<Vec<(ObjectId, GlobalId)>> {
    let query = Query {
        select: Select::Ids,
        ..Query::records(collection, filter)
    };
    let mut found = Vec::new();
    tx.query(&query, &mut |row| {
        if let QueryRow::Ids(object_id, global_id) = row {
            found.push((object_id, global_id));
        }
        Ok(Flow::Continue(()))
    })?;
    Ok(found)
}

fn wanted(read: &[crate::Result<IncomingFeature>], deletes: &[String]) -> Vec<ObjectId> {
    let updates = read.iter().flatten().filter_map(|f| f.object_id);
    let deletes = deletes
        .iter()
        .filter_map(|id| id.parse().ok().map(ObjectId));
    updates.chain(deletes).collect()
}

fn missing(verb: Verb, id: ObjectId) -> Slot {
    failed(
        verb,
        None,
        format!("there is no record with object id {id}"),
    )
}

fn unreadable(verb: Verb, error: &crate::Error) -> Slot {
    let code = match error {
        crate::Error::Geometry { .. }
        | crate::Error::Reproject { .. }
        | crate::Error::UnknownWkid { .. } => Some(codes::EDIT_GEOMETRY),
        _ => None,
    };
    failed(verb, code, error.to_string())
}

/// The features of a parameter: an array of objects.
pub(crate) fn features(value: Option<Value>, name: &str) -> Result<Vec<Value>> {
    match value {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(features)) => Ok(features),
        Some(feature @ Value::Object(_)) => Ok(vec![feature]),
        Some(_) => Err(Problem::parameter(name, "use an array of features")),
    }
}
