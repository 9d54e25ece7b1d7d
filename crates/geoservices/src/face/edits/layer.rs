//! Edits of one layer: `applyEdits`, `addFeatures`, `updateFeatures`, `deleteFeatures`.

use haversack_model::{CollectionId, Right};
use serde_json::{Value, json};

use super::super::answer::Answer;
use super::super::call::{Call, Opened};
use super::super::jobs::{self, Operation};
use super::super::problem::{Problem, Result};
use super::super::query::filter;
use super::super::uploads;
use super::plan::{features, ids_of};
use super::results::{LayerResults, Verdict, array};
use super::{LayerEdits, Options, apply};
use crate::wire::json::{self as wire_json, member};

/// `applyEdits`.
pub(crate) fn apply_edits(call: &Call, name: &str, id: CollectionId) -> Result<Answer> {
    if call.params.flag("async", false)? {
        let opened = call.open(name, Right::Edit)?;
        opened.collection(id)?;
        return jobs::start(call, name, Operation::LayerApplyEdits(id.0));
    }
    now(call, name, id)
}

/// `applyEdits`, at once.
pub(crate) fn now(call: &Call, name: &str, id: CollectionId) -> Result<Answer> {
    let opened = call.open(name, Right::Edit)?;
    opened.collection(id)?;
    let options = Options {
        use_global_ids: call.params.flag("useGlobalIds", false)?,
        rollback: call.params.flag("rollbackOnFailure", true)?,
    };
    let mut edits = read(call, &opened, id)?;
    if edits.attachments.is_some() && !options.use_global_ids {
        return Err(Problem::parameter(
            "attachments",
            "they need useGlobalIds=true",
        ));
    }
    if let Some(uploaded) = uploaded(call, &opened)? {
        let value = |name: &str| uploaded.as_object().and_then(|o| member(o, name)).cloned();
        edits.adds.extend(features(value("adds"), "adds")?);
        edits.updates.extend(features(value("updates"), "updates")?);
        edits.deletes.extend(delete_ids(value("deletes"))?);
        edits.attachments = edits.attachments.or_else(|| value("attachments"));
    }
    let results = apply(call, &opened, &[edits], options)?;
    let mut told = results.first().map_or(Value::Null, LayerResults::to_json);
    if call.params.flag("returnEditMoment", false)? {
        told["editMoment"] = json!(call.now().0);
    }
    Ok(Answer::Json(told))
}

fn read(call: &Call, opened: &Opened, id: CollectionId) -> Result<LayerEdits> {
    opened.collection(id)?;
    let params = &call.params;
    Ok(LayerEdits {
        id,
        adds: features(params.json("adds")?, "adds")?,
        updates: features(params.json("updates")?, "updates")?,
        deletes: params.words("deletes")?.unwrap_or_default(),
        attachments: params.object("attachments")?.map(Value::Object),
    })
}

/// The edits of a committed upload, if one is named.
pub(crate) fn uploaded(call: &Call, opened: &Opened) -> Result<Option<Value>> {
    const NAME: &str = "editsUploadId";
    let Some(id) = call.params.text(NAME) else {
        return Ok(None);
    };
    call.params.choice("editsUploadFormat", &[("json", ())])?;
    let (bytes, _) = uploads::content(call, opened, id, NAME)?;
    Ok(Some(wire_json::parse(&bytes, NAME)?))
}

/// Ids to delete, from JSON: an array or a text of several.
pub(crate) fn delete_ids(value: Option<Value>) -> Result<Vec<String>> {
    match value {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(text
            .split(',')
            .map(|id| id.trim().to_owned())
            .filter(|id| !id.is_empty())
            .collect()),
        Some(Value::Array(ids)) => ids
            .iter()
            .map(|id| match id {
                Value::String(id) => Ok(id.trim().to_owned()),
                Value::Number(id) => Ok(id.to_string()),
                _ => Err(Problem::parameter("deletes", "use a list of ids")),
            })
            .collect(),
        Some(Value::Number(id)) => Ok(vec![id.to_string()]),
        Some(_) => Err(Problem::parameter("deletes", "use a list of ids")),
    }
}

/// `addFeatures` and `updateFeatures`.
pub(crate) fn features_only(
    call: &Call,
    name: &str,
    id: CollectionId,
    adding: bool,
) -> Result<Answer> {
    let opened = call.open(name, Right::Edit)?;
    opened.collection(id)?;
    let sent = features(call.params.json("features")?, "features")?;
    if call.params.text("features").is_none() {
        return Err(Problem::parameter("features", "it is required"));
    }
    let (adds, updates) = if adding {
        (sent, Vec::new())
    } else {
        (Vec::new(), sent)
    };
    let edits = LayerEdits {
        id,
        adds,
        updates,
        deletes: Vec::new(),
        attachments: None,
    };
    let options = Options {
        use_global_ids: call.params.flag("useGlobalIds", false)?,
        rollback: call.params.flag("rollbackOnFailure", true)?,
    };
    let results = apply(call, &opened, &[edits], options)?;
    let layer = results.first();
    let mut told = if adding {
        json!({"addResults": layer.map_or_else(Vec::new, |l| array(&l.adds))})
    } else {
        json!({"updateResults": layer.map_or_else(Vec::new, |l| array(&l.updates))})
    };
    if call.params.flag("returnEditMoment", false)? {
        told["editMoment"] = json!(call.now().0);
    }
    Ok(Answer::Json(told))
}

/// `deleteFeatures`: by ids, condition or place.
pub(crate) fn delete_features(call: &Call, name: &str, id: CollectionId) -> Result<Answer> {
    let opened = call.open(name, Right::Edit)?;
    let collection = opened.collection(id)?;
    let params = &call.params;
    let narrowed = ["objectIds", "globalIds", "where", "geometry"];
    if !narrowed.iter().any(|name| params.has(name)) {
        return Err(Problem::parameter(
            "objectIds",
            "say what to delete: objectIds, where or geometry",
        ));
    }
    // Ids that do not exist are told one by one, so they are not part of the condition.
    let by_ids = params.has("objectIds") && !params.has("where") && !params.has("geometry");
    let deletes = if by_ids {
        let ids = filter::object_ids(params, "objectIds")?.unwrap_or_default();
        ids.iter().map(ToString::to_string).collect()
    } else {
        let condition = filter::of_params(params, &opened, collection)?;
        let tx = opened.store.begin_read()?;
        let ids = ids_of(tx.as_ref(), id, condition)?;
        ids.iter().map(|(id, _)| id.to_string()).collect()
    };
    let edits = LayerEdits {
        id,
        adds: Vec::new(),
        updates: Vec::new(),
        deletes,
        attachments: None,
    };
    let options = Options {
        use_global_ids: false,
        rollback: params.flag("rollbackOnFailure", true)?,
    };
    let results = apply(call, &opened, &[edits], options)?;
    let verdicts: &[Verdict] = results.first().map_or(&[], |layer| &layer.deletes);
    if !params.flag("returnDeleteResults", true)? {
        super::refuse_failures(verdicts)?;
        return Ok(Answer::Json(json!({"success": true})));
    }
    Ok(Answer::Json(json!({"deleteResults": array(verdicts)})))
}
