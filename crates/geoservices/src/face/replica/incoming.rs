//! The upload of a synchronisation: `edits` of a request become edits of the core, with a place for each result.
//!
//! Records are addressed by global id; object ids in edits are ignored. Both known forms are read: the arrays within
//! `features`, and directly on the layer. Source: `spec/geoservices.md` 6, "synchronizeReplica".

use std::collections::BTreeMap;

use haversack_model::{CollectionId, GlobalId, WriteTx};
use haversack_sync::ForeignEdit;
use serde_json::{Map, Value};

use super::super::call::{Call, Opened};
use super::super::edits::attached::{read, to_changes, to_record};
use super::super::edits::layer::{delete_ids, uploaded};
use super::super::edits::plan::features;
use super::super::edits::results::{Fate, LayerSlots, Slot, Verb, failed};
use super::super::problem::{Problem, Result};
use crate::wire::codes;
use crate::wire::feature::FeatureReader;
use crate::wire::json::{integer, member};

/// The edits of one request.
#[derive(Debug, Default)]
pub(crate) struct Incoming {
    pub(crate) slots: Vec<LayerSlots>,
    pub(crate) edits: Vec<(CollectionId, ForeignEdit)>,
    /// Why edits failed before anything was applied.
    pub(crate) failures: Vec<String>,
}

/// The `edits` of a request as JSON, by layer: from the parameter or from a committed upload.
pub(crate) fn sent(
    call: &Call,
    opened: &Opened,
) -> Result<Vec<(CollectionId, Map<String, Value>)>> {
    const NAME: &str = "edits";
    let upload = ["editsUploadID", "editsUploadId"];
    let sent = if upload.iter().any(|name| call.params.has(name)) {
        uploaded(call, opened)?
    } else {
        call.params.json(NAME)?
    };
    let sent = match sent {
        Some(Value::Object(wrapper)) => {
            let inner = member(&wrapper, "edits").or_else(|| member(&wrapper, "layers"));
            Some(inner.cloned().unwrap_or(Value::Object(wrapper)))
        }
        other => other,
    };
    let wrong = |problem: &str| Problem::parameter(NAME, problem);
    let layers = match sent {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(layers)) => layers,
        Some(layer @ Value::Object(_)) => vec![layer],
        Some(_) => return Err(wrong("use an array of {id, features}")),
    };
    let mut all = Vec::new();
    for layer in layers {
        let Value::Object(members) = layer else {
            return Err(wrong("each entry must be an object"));
        };
        let id = member(&members, "id")
            .and_then(integer)
            .and_then(|id| u32::try_from(id).ok())
            .map(CollectionId)
            .ok_or_else(|| wrong("each entry needs the layer's 'id'"))?;
        all.push((id, members));
    }
    Ok(all)
}

/// What the upload is read for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules<'a> {
    pub(crate) call: &'a Call,
    pub(crate) opened: &'a Opened,
    /// Reference of geometry that names none.
    pub(crate) srid: Option<i32>,
    /// Whether attachments may be uploaded.
    pub(crate) attachments: bool,
}

impl Incoming {
    /// Reads the edits of one layer.
    pub(crate) fn add_layer(
        &mut self,
        tx: &mut dyn WriteTx,
        rules: Rules<'_>,
        id: CollectionId,
        members: &Map<String, Value>,
    ) -> Result<()> {
        let none = Map::new();
        let inner = member(members, "features").and_then(Value::as_object);
        let inner = inner.unwrap_or(&none);
        let value = |name: &str| {
            member(inner, name)
                .or_else(|| member(members, name))
                .cloned()
        };
        let collection = rules.opened.collection(id)?;
        let mut reader = FeatureReader::from_client(collection).in_reference(rules.srid);
        let mut adds = Vec::new();
        for feature in features(value("adds"), "edits")? {
            let slot = match reader.read(&feature) {
                Ok(feature) => match feature.global_id.clone() {
                    Some(global_id) => {
                        let record = feature.to_record(collection, global_id);
                        self.push(id, Verb::Add, ForeignEdit::Add(record, feature.changes))
                    }
                    None => failed(Verb::Add, None, needs(&collection.global_id_field)),
                },
                Err(error) => unreadable(Verb::Add, &error),
            };
            adds.push(self.counted(slot));
        }
        let mut updates = Vec::new();
        for feature in features(value("updates"), "edits")? {
            let slot = match reader.read(&feature) {
                Ok(feature) => match feature.global_id {
                    Some(global_id) => {
                        let mine = feature.changes;
                        self.push(id, Verb::Update, ForeignEdit::Update { global_id, mine })
                    }
                    None => failed(Verb::Update, None, needs(&collection.global_id_field)),
                },
                Err(error) => unreadable(Verb::Update, &error),
            };
            updates.push(self.counted(slot));
        }
        let named = value("deleteIds").or_else(|| value("deletes"));
        let deletes = self.deletes(id, delete_ids(named)?);
        let attachments = match member(members, "attachments").and_then(Value::as_object) {
            Some(sent) => Some(self.attachments(tx, rules, id, sent)?),
            None => None,
        };
        self.slots.push(LayerSlots {
            id,
            adds,
            updates,
            deletes,
            attachments,
        });
        Ok(())
    }

    fn deletes(&mut self, collection: CollectionId, ids: Vec<String>) -> Vec<Slot> {
        let mut slots = Vec::new();
        for id in ids {
            let slot = match GlobalId::parse_uuid(&id) {
                Ok(global_id) => {
                    self.push(collection, Verb::Delete, ForeignEdit::Delete(global_id))
                }
                Err(error) => failed(Verb::Delete, None, error.to_string()),
            };
            slots.push(self.counted(slot));
        }
        slots
    }

    fn attachments(
        &mut self,
        tx: &mut dyn WriteTx,
        rules: Rules<'_>,
        layer: CollectionId,
        sent: &Map<String, Value>,
    ) -> Result<[Vec<Slot>; 3]> {
        let hidden = layer.attachments();
        let list = |name: &str| features(member(sent, name).cloned(), "edits");
        let refused = !rules.attachments || !rules.opened.collection(layer)?.has_attachments;
        let mut all = [Vec::new(), Vec::new(), Vec::new()];
        for (at, verb, name) in [(0, Verb::Add, "adds"), (1, Verb::Update, "updates")] {
            for attachment in list(name)? {
                let slot = if refused {
                    failed(
                        verb,
                        None,
                        "attachments are not synchronised in this direction",
                    )
                } else {
                    self.attachment(tx, rules, layer, verb, &attachment)?
                };
                all[at].push(self.counted(slot));
            }
        }
        let named = member(sent, "deleteIds")
            .or_else(|| member(sent, "deletes"))
            .cloned();
        let ids = delete_ids(named)?;
        if refused {
            for _ in &ids {
                let why = "attachments are not synchronised in this direction";
                let slot = failed(Verb::Delete, None, why);
                all[2].push(self.counted(slot));
            }
        } else {
            all[2] = self.deletes(hidden, ids);
        }
        Ok(all)
    }

    fn attachment(
        &mut self,
        tx: &mut dyn WriteTx,
        rules: Rules<'_>,
        layer: CollectionId,
        verb: Verb,
        sent: &Value,
    ) -> Result<Slot> {
        let (content, id, parent) = match read(rules.call, rules.opened, sent)? {
            Ok(read) => read,
            Err(problem) => return Ok(failed(verb, None, problem)),
        };
        let Some(id) = id else {
            return Ok(failed(verb, None, needs("globalId")));
        };
        let edit = match verb {
            Verb::Add => {
                let (Some(parent), Some(bytes)) = (parent, content.bytes.as_ref()) else {
                    let why = "an attachment needs 'parentGlobalId' and 'data' or 'uploadId'";
                    return Ok(failed(verb, None, why));
                };
                let record = to_record(tx, id, &parent, &content, bytes)?;
                let given = haversack_model::Changes {
                    values: record
                        .values
                        .iter()
                        .cloned()
                        .enumerate()
                        .collect::<BTreeMap<_, _>>(),
                    geometry: None,
                };
                ForeignEdit::Add(record, given)
            }
            _ => ForeignEdit::Update {
                global_id: id,
                mine: to_changes(tx, &content)?,
            },
        };
        Ok(self.push(layer.attachments(), verb, edit))
    }

    fn push(&mut self, collection: CollectionId, verb: Verb, edit: ForeignEdit) -> Slot {
        let global_id = match &edit {
            ForeignEdit::Add(record, _) => &record.global_id,
            ForeignEdit::Update { global_id, .. } | ForeignEdit::Delete(global_id) => global_id,
        };
        let slot = Slot {
            verb,
            global_id: Some(global_id.clone()),
            object_id: None,
            fate: Fate::Receipt(self.edits.len()),
        };
        self.edits.push((collection, edit));
        slot
    }

    fn counted(&mut self, slot: Slot) -> Slot {
        if let Fate::Failed { description, .. } = &slot.fate {
            self.failures.push(description.clone());
        }
        slot
    }
}

fn needs(field: &str) -> String {
    format!("an edit of a replica needs '{field}'")
}

fn unreadable(verb: Verb, error: &crate::Error) -> Slot {
    let code = matches!(
        error,
        crate::Error::Geometry { .. } | crate::Error::Reproject { .. }
    )
    .then_some(codes::EDIT_GEOMETRY);
    failed(verb, code, error.to_string())
}
