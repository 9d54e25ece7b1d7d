//! Indexes: unique ones are kept by the store, all are told as they were made. Source: `spec/arangodb.md` 10.

use haversack_model::documents::Index;
use haversack_model::{Collection, Right};
use http::Method;
use serde_json::{Map, Value, json};

use super::answer::Answer;
use super::call::Call;
use super::collections;
use super::problem::{Problem, Result};
use crate::definition::{from_json, is_same, to_json};
use crate::known;
use crate::wire::errors::ErrorNum;

/// `/_api/index` and what is below it.
pub(crate) fn dispatch(call: &Call, words: &[&str]) -> Result<Answer> {
    match (&call.method, words) {
        (&Method::GET, []) => list(call),
        (&Method::POST, [] | ["persistent" | "hash" | "skiplist" | "geo" | "ttl" | "fulltext"]) => {
            create(call)
        }
        (&Method::GET, [collection, id]) => one(call, collection, id),
        (&Method::DELETE, [collection, id]) => remove(call, collection, id),
        (_, [] | [_, _]) => Err(Problem::of(ErrorNum::HttpMethodNotAllowed)),
        _ => Err(Problem::of(ErrorNum::HttpNotFound)),
    }
}

/// The indexes of a collection with those that every collection has; ids without the collection's name.
pub(crate) fn of_collection(collection: &Collection) -> Vec<Value> {
    let mut all = vec![json!({
        "id": "0", "type": "primary", "name": "primary", "fields": ["_key"], "unique": true, "sparse": false,
    })];
    if collections::is_edge(collection) {
        for (id, name, field) in [("1", "edge_from", "_from"), ("2", "edge_to", "_to")] {
            all.push(json!({
                "id": id, "type": "edge", "name": name, "fields": [field], "unique": false, "sparse": false,
            }));
        }
    }
    all.extend(collection.indexes.iter().map(to_json));
    all
}

fn with_collection(mut told: Value, collection: &str) -> Value {
    told["id"] = Value::from(format!(
        "{collection}/{}",
        told["id"].as_str().unwrap_or_default()
    ));
    told
}

fn list(call: &Call) -> Result<Answer> {
    let opened = call.open(Right::Read)?;
    let service = opened.store.read_documents()?.service()?;
    let collection = opened.find(&service, call.needed("collection")?)?;
    let name = known::wire_name(&service, collection);
    let all = of_collection(collection)
        .into_iter()
        .map(|told| with_collection(told, &name));
    let all: Vec<Value> = all.collect();
    let by_id: Map<String, Value> = all
        .iter()
        .map(|told| {
            (
                told["id"].as_str().unwrap_or_default().to_owned(),
                told.clone(),
            )
        })
        .collect();
    Ok(Answer::ok(
        200,
        json!({"indexes": all, "identifiers": by_id}),
    ))
}

fn one(call: &Call, collection: &str, id: &str) -> Result<Answer> {
    let opened = call.open(Right::Read)?;
    let service = opened.store.read_documents()?.service()?;
    let collection = opened.find(&service, collection)?;
    let found = of_collection(collection)
        .into_iter()
        .find(|told| told["id"] == id || told["name"] == id);
    let found = found.ok_or_else(|| Problem::of(ErrorNum::IndexNotFound))?;
    Ok(Answer::ok(
        200,
        with_collection(found, &known::wire_name(&service, collection)),
    ))
}

fn create(call: &Call) -> Result<Answer> {
    let opened = call.open(Right::Publish)?;
    let mut body = call.object()?;
    if let Some(kind) = call.route.segments.get(2) {
        body.entry("type")
            .or_insert_with(|| Value::from(kind.as_str()));
    }
    let index = from_json(&body, call.face.ids.next()).map_err(Problem::bad_parameter)?;
    let mut tx = opened.store.write_documents(call.host().now())?;
    let mut service = tx.service()?;
    let found = opened.find_alterable(&service, call.needed("collection")?)?;
    let (id, name) = (found.id, found.name.clone());
    let told = |index: &Index, is_new: bool| {
        let mut told = with_collection(to_json(index), &name);
        told["isNewlyCreated"] = Value::Bool(is_new);
        Answer::ok(if is_new { 201 } else { 200 }, told)
    };
    if let Some(same) = found.indexes.iter().find(|known| is_same(known, &index)) {
        return Ok(told(same, false));
    }
    if found
        .indexes
        .iter()
        .any(|known| known.name == index.name || known.id == index.id)
    {
        return Err(Problem::told(
            ErrorNum::DuplicateName,
            "an index of this name or id exists",
        ));
    }
    for collection in service.collections.iter_mut().filter(|c| c.id == id) {
        collection.indexes.push(index.clone());
    }
    service.schema_version += 1;
    tx.store_service(&service)?;
    tx.commit()?;
    Ok(told(&index, true))
}

fn remove(call: &Call, collection: &str, id: &str) -> Result<Answer> {
    let opened = call.open(Right::Publish)?;
    let mut tx = opened.store.write_documents(call.host().now())?;
    let mut service = tx.service()?;
    let found = opened.find_alterable(&service, collection)?;
    if matches!(id, "0" | "primary") || (collections::is_edge(found) && matches!(id, "1" | "2")) {
        return Err(Problem::told(
            ErrorNum::Forbidden,
            "this index cannot be removed",
        ));
    }
    let (collection, name) = (found.id, found.name.clone());
    let mut removed = None;
    for collection in service
        .collections
        .iter_mut()
        .filter(|c| c.id == collection)
    {
        let at = collection
            .indexes
            .iter()
            .position(|known| known.id == id || known.name == id);
        removed = at.map(|at| collection.indexes.remove(at));
    }
    let removed = removed.ok_or_else(|| Problem::of(ErrorNum::IndexNotFound))?;
    service.schema_version += 1;
    tx.store_service(&service)?;
    tx.commit()?;
    Ok(Answer::ok(
        200,
        json!({"id": format!("{name}/{}", removed.id)}),
    ))
}
