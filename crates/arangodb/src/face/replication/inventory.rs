//! The inventory: every collection with its parameters and indexes. Source: `spec/arangodb.md` 6.4.

use haversack_model::{Right, Service};
use serde_json::{Map, Value, json};

use super::super::answer::Answer;
use super::super::call::{Call, Opened};
use super::super::problem::{Problem, Result};
use super::super::route::SYSTEM;
use super::{batch, logger};
use crate::definition;
use crate::known;
use crate::wire::errors::ErrorNum;
use crate::wire::key;

/// `GET inventory`.
pub(super) fn inventory(call: &Call) -> Result<Answer> {
    let (opened, _batch) = batch::of(call, ErrorNum::CursorNotFound)?;
    let is_global = call.flag("global", false);
    if is_global && opened.name != SYSTEM {
        return Err(Problem::told(
            ErrorNum::Forbidden,
            "global inventory can only be fetched from within _system database",
        ));
    }
    let state = logger::told(call, &opened)?;
    let mut told = json!({"state": state["state"], "tick": state["state"]["lastLogTick"]});
    if is_global {
        let mut databases = Map::new();
        for name in call.host().service_names() {
            let mut other = call.clone();
            other.route.database.clone_from(&name);
            if let Ok(opened) = other.open(Right::Sync) {
                let collections = collections(call, &opened, &service(&opened)?);
                let told =
                    json!({"id": name, "name": name, "collections": collections, "views": []});
                databases.insert(name, told);
            }
        }
        told["databases"] = Value::Object(databases);
    } else {
        told["collections"] = collections(call, &opened, &service(&opened)?);
        told["views"] = json!([]);
    }
    Ok(Answer::json(200, told))
}

fn service(opened: &Opened) -> Result<Service> {
    Ok(opened.store.read_documents()?.service()?)
}

fn collections(call: &Call, opened: &Opened, service: &Service) -> Value {
    let include_system = call.flag("includeSystem", true);
    let include_queues = call.flag("includeFoxxQueues", false);
    let wanted = call.param("collection").filter(|name| !name.is_empty());
    let told = opened.visible(service).filter_map(|collection| {
        let parameters = known::parameters(service, collection);
        let name = &parameters.name;
        let is_left_out = key::is_never_replicated(name, include_queues)
            || (key::is_system(name) && !include_system)
            || wanted.is_some_and(|wanted| wanted != name);
        if is_left_out {
            return None;
        }
        let indexes: Vec<Value> = collection.indexes.iter().map(definition::to_json).collect();
        Some(json!({"parameters": parameters.to_inventory(), "indexes": indexes}))
    });
    Value::Array(told.collect())
}
