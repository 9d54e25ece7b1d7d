//! `applyEdits` of a service: several layers in one transaction.

use haversack_model::{CollectionId, Right};
use serde_json::{Value, json};

use super::super::answer::Answer;
use super::super::call::Call;
use super::super::jobs::{self, Operation};
use super::super::problem::{Problem, Result};
use super::layer::{delete_ids, uploaded};
use super::plan::features;
use super::{LayerEdits, Options, apply};
use crate::wire::json::{integer, member};

/// `applyEdits`.
pub(crate) fn apply_edits(call: &Call, name: &str) -> Result<Answer> {
    if call.params.flag("async", false)? {
        call.open(name, Right::Edit)?;
        return jobs::start(call, name, Operation::ServiceApplyEdits);
    }
    now(call, name)
}

/// `applyEdits`, at once.
pub(crate) fn now(call: &Call, name: &str) -> Result<Answer> {
    let opened = call.open(name, Right::Edit)?;
    let options = Options {
        use_global_ids: call.params.flag("useGlobalIds", false)?,
        rollback: call.params.flag("rollbackOnFailure", true)?,
    };
    // Layers are edited in the order in which they are named, with or without this parameter.
    call.params.flag("honorSequenceOfEdits", true)?;
    let sent = match uploaded(call, &opened)? {
        Some(uploaded) => Some(uploaded),
        None => call.params.json("edits")?,
    };
    let sent = match sent {
        Some(Value::Object(wrapper)) if member(&wrapper, "edits").is_some() => {
            member(&wrapper, "edits").cloned()
        }
        other => other,
    };
    let Some(Value::Array(sent)) = sent else {
        return Err(Problem::parameter(
            "edits",
            "use an array of {id, adds, updates, deletes}",
        ));
    };
    let mut layers = Vec::new();
    for edits in &sent {
        let layer = read(edits)?;
        opened.collection(layer.id).map_err(|_unknown| {
            Problem::parameter("edits", &format!("there is no layer {}", layer.id))
        })?;
        if layer.attachments.is_some() && !options.use_global_ids {
            return Err(Problem::parameter(
                "edits",
                "attachments need useGlobalIds=true",
            ));
        }
        layers.push(layer);
    }
    let results = apply(call, &opened, &layers, options)?;
    let told: Vec<Value> = results
        .iter()
        .map(|layer| {
            let mut told = layer.to_json();
            told["id"] = json!(layer.id.0);
            told
        })
        .collect();
    Ok(Answer::Json(Value::Array(told)))
}

fn read(edits: &Value) -> Result<LayerEdits> {
    let members = edits
        .as_object()
        .ok_or_else(|| Problem::parameter("edits", "each entry must be an object with an id"))?;
    let id = member(members, "id")
        .and_then(integer)
        .and_then(|id| u32::try_from(id).ok())
        .ok_or_else(|| Problem::parameter("edits", "each entry needs the layer's 'id'"))?;
    let value = |name: &str| member(members, name).cloned();
    Ok(LayerEdits {
        id: CollectionId(id),
        adds: features(value("adds"), "edits")?,
        updates: features(value("updates"), "edits")?,
        deletes: delete_ids(value("deletes"))?,
        attachments: value("attachments"),
    })
}
