//! Result objects: what became of each edit, in the words of the dialect.

use haversack_model::{CollectionId, GlobalId, ObjectId, Outcome, Receipt, RejectCode};
use serde_json::{Map, Value, json};

use crate::wire::codes;

/// What an edit does, for its result code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    /// Adds a record.
    Add,
    /// Updates one.
    Update,
    /// Deletes one.
    Delete,
}

impl Verb {
    fn code(self) -> i64 {
        match self {
            Self::Add => codes::EDIT_INSERT,
            Self::Update => codes::EDIT_UPDATE,
            Self::Delete => codes::EDIT_DELETE,
        }
    }
}

/// The place of one edit's result.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    pub(crate) verb: Verb,
    /// The record, as far as it is known.
    pub(crate) global_id: Option<GlobalId>,
    pub(crate) object_id: Option<ObjectId>,
    pub(crate) fate: Fate,
}

/// Where the result of an edit comes from.
#[derive(Clone, Debug)]
pub(crate) enum Fate {
    /// The receipt at this position.
    Receipt(usize),
    /// Nothing had to be done.
    Done,
    /// It could not be read or addressed.
    Failed {
        /// Result code.
        code: i64,
        /// Why.
        description: String,
    },
}

/// The places of one layer.
#[derive(Debug)]
pub(crate) struct LayerSlots {
    pub(crate) id: CollectionId,
    pub(crate) adds: Vec<Slot>,
    pub(crate) updates: Vec<Slot>,
    pub(crate) deletes: Vec<Slot>,
    pub(crate) attachments: Option<[Vec<Slot>; 3]>,
}

/// One result.
#[derive(Clone, Debug)]
pub(crate) struct Verdict {
    pub(crate) global_id: Option<GlobalId>,
    pub(crate) object_id: Option<ObjectId>,
    pub(crate) error: Option<(i64, String)>,
}

impl Verdict {
    /// The result object.
    pub(crate) fn to_json(&self) -> Value {
        let mut told = Map::new();
        told.insert("objectId".into(), json!(self.object_id.map(|id| id.0)));
        told.insert("uniqueId".into(), json!(self.object_id.map(|id| id.0)));
        told.insert(
            "globalId".into(),
            json!(self.global_id.as_ref().map(GlobalId::braced)),
        );
        told.insert("success".into(), json!(self.error.is_none()));
        if let Some((code, description)) = &self.error {
            let error = json!({"code": code, "description": description});
            told.insert("error".into(), error);
        }
        Value::Object(told)
    }
    /// Why it failed, if it did.
    pub(crate) fn description(&self) -> Option<String> {
        self.error
            .as_ref()
            .map(|(_, description)| description.clone())
    }
}

/// The results of one layer.
#[derive(Debug)]
pub(crate) struct LayerResults {
    pub(crate) id: CollectionId,
    pub(crate) adds: Vec<Verdict>,
    pub(crate) updates: Vec<Verdict>,
    pub(crate) deletes: Vec<Verdict>,
    pub(crate) attachments: Option<[Vec<Verdict>; 3]>,
}

impl LayerResults {
    /// `{addResults, updateResults, deleteResults[, attachments]}`.
    pub(crate) fn to_json(&self) -> Value {
        let mut told = json!({
            "addResults": array(&self.adds),
            "updateResults": array(&self.updates),
            "deleteResults": array(&self.deletes),
        });
        if let Some([adds, updates, deletes]) = &self.attachments {
            told["attachments"] = json!({
                "addResults": array(adds),
                "updateResults": array(updates),
                "deleteResults": array(deletes),
            });
        }
        told
    }
}

/// Result objects in order.
pub(crate) fn array(verdicts: &[Verdict]) -> Vec<Value> {
    verdicts.iter().map(Verdict::to_json).collect()
}

/// Results from receipts.
pub(crate) fn of(slots: Vec<LayerSlots>, receipts: &[Receipt]) -> Vec<LayerResults> {
    each(slots, &|slot| verdict(slot, receipts))
}

/// Results when something could not be read and all or nothing was asked.
pub(crate) fn rolled_back(slots: Vec<LayerSlots>) -> Vec<LayerResults> {
    each(slots, &|slot| {
        let error = match &slot.fate {
            Fate::Failed { code, description } => (*code, description.clone()),
            _ => (
                codes::EDIT_ROLLED_BACK,
                "rolled back: another edit of the request failed".to_owned(),
            ),
        };
        Verdict {
            global_id: slot.global_id.clone(),
            object_id: slot.object_id,
            error: Some(error),
        }
    })
}

fn each(slots: Vec<LayerSlots>, judge: &dyn Fn(&Slot) -> Verdict) -> Vec<LayerResults> {
    let all = |slots: &[Slot]| slots.iter().map(judge).collect::<Vec<_>>();
    slots
        .into_iter()
        .map(|layer| LayerResults {
            id: layer.id,
            adds: all(&layer.adds),
            updates: all(&layer.updates),
            deletes: all(&layer.deletes),
            attachments: layer
                .attachments
                .map(|three| three.map(|slots| all(&slots))),
        })
        .collect()
}

/// The result of one place.
pub(crate) fn verdict(slot: &Slot, receipts: &[Receipt]) -> Verdict {
    let mut told = Verdict {
        global_id: slot.global_id.clone(),
        object_id: slot.object_id,
        error: None,
    };
    match &slot.fate {
        Fate::Done => {}
        Fate::Failed { code, description } => told.error = Some((*code, description.clone())),
        Fate::Receipt(at) => {
            if let Some(receipt) = receipts.get(*at) {
                told.object_id = receipt.object_id.or(slot.object_id);
                told.error = failure(slot.verb, &receipt.outcome);
            } else {
                let missing = "the edit was not reached".to_owned();
                told.error = Some((codes::EDIT_FAILED, missing));
            }
        }
    }
    told
}

/// Code and text of an outcome that is a failure to the client. A conflict is none: it was decided and is kept.
fn failure(verb: Verb, outcome: &Outcome) -> Option<(i64, String)> {
    let Outcome::Rejected { code, reason } = outcome else {
        return None;
    };
    let code = match code {
        RejectCode::InvalidGeometry => codes::EDIT_GEOMETRY,
        RejectCode::NoParent => codes::EDIT_NO_PARENT,
        RejectCode::RolledBack => codes::EDIT_ROLLED_BACK,
        RejectCode::Forbidden => codes::FORBIDDEN,
        RejectCode::InvalidValue
        | RejectCode::NotFound
        | RejectCode::Deleted
        | RejectCode::NoBlob
        | RejectCode::Refused
        | RejectCode::Untold => verb.code(),
    };
    Some((code, reason.clone()))
}

/// A failed place.
pub(crate) fn failed(verb: Verb, code: Option<i64>, description: impl Into<String>) -> Slot {
    Slot {
        verb,
        global_id: None,
        object_id: None,
        fate: Fate::Failed {
            code: code.unwrap_or_else(|| verb.code()),
            description: description.into(),
        },
    }
}
