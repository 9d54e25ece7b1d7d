//! Collections: making, telling, changing, dropping. Source: `spec/arangodb.md` 10.

mod figures;

use haversack_model::documents::{DocumentRead, DocumentWrite};
use haversack_model::{Collection, CollectionKind, Right, Service};
use http::Method;
use serde_json::{Map, Value, json};

use super::answer::Answer;
use super::call::{Call, Opened};
use super::grants;
use super::problem::{Problem, Result};
use crate::known::{self, GUID};
use crate::wire::errors::ErrorNum;
use crate::wire::key;
use crate::wire::parameters::{CollectionType, kept_properties};
use crate::wire::revision;

/// `/_api/collection` and what is below it.
pub(crate) fn dispatch(call: &Call, words: &[&str]) -> Result<Answer> {
    match (&call.method, words) {
        (&Method::GET, []) => list(call),
        (&Method::POST, []) => create(call),
        (&Method::GET, [name]) => tell(call, name, |_, service, collection| {
            Ok(known::parameters(service, collection).to_brief())
        }),
        (&Method::GET, [name, "properties"]) => tell(call, name, |_, service, collection| {
            Ok(known::parameters(service, collection).to_properties())
        }),
        (&Method::GET, [name, "count"]) => tell(call, name, |tx, service, collection| {
            let mut told = known::parameters(service, collection).to_properties();
            told["count"] = Value::from(tx.count(collection.id)?);
            Ok(told)
        }),
        (&Method::GET, [name, "figures"]) => {
            let details = call.flag("details", false);
            tell(call, name, |tx, service, collection| {
                figures::figures(tx, service, collection, details)
            })
        }
        (&Method::GET, [name, "revision"]) => tell(call, name, |tx, service, collection| {
            let mut told = known::parameters(service, collection).to_properties();
            told["revision"] =
                Value::from(revision::encode(figures::last_revision(tx, collection)?));
            Ok(told)
        }),
        (&Method::GET, [name, "checksum"]) => {
            let revisions = call.flag("withRevisions", false);
            let data = call.flag("withData", false);
            tell(call, name, |tx, service, collection| {
                figures::checksum(tx, service, collection, revisions, data)
            })
        }
        (&Method::GET, [name, "shards"]) => tell(call, name, |_, service, collection| {
            let mut told = known::parameters(service, collection).to_properties();
            told["shards"] = json!([]);
            Ok(told)
        }),
        (&Method::PUT, [name, "load" | "unload"]) => tell(call, name, |_, service, collection| {
            Ok(known::parameters(service, collection).to_brief())
        }),
        (
            &Method::PUT,
            [
                name,
                "loadIndexesIntoMemory" | "recalculateCount" | "compact",
            ],
        ) => tell(call, name, |_, service, collection| {
            let mut told = known::parameters(service, collection).to_brief();
            told["result"] = Value::Bool(true);
            Ok(told)
        }),
        (&Method::PUT, [name, "properties"]) => change(call, name),
        (&Method::PUT, [name, "rename"]) => rename(call, name),
        (&Method::PUT, [name, "truncate"]) => truncate(call, name),
        (&Method::DELETE, [name]) => remove(call, name),
        (&Method::GET | &Method::PUT, [_, _]) => Err(Problem::of(ErrorNum::HttpNotFound)),
        (_, [] | [_] | [_, _]) => Err(Problem::of(ErrorNum::HttpMethodNotAllowed)),
        _ => Err(Problem::of(ErrorNum::SuperfluousSuffices)),
    }
}

fn tell(
    call: &Call,
    name: &str,
    what: impl FnOnce(&dyn DocumentRead, &Service, &Collection) -> Result<Value>,
) -> Result<Answer> {
    let opened = call.open(Right::Read)?;
    let tx = opened.store.read_documents()?;
    let service = tx.service()?;
    let collection = opened.find(&service, name)?;
    Ok(Answer::ok(200, what(tx.as_ref(), &service, collection)?))
}

fn list(call: &Call) -> Result<Answer> {
    let opened = call.open(Right::Read)?;
    let service = opened.store.read_documents()?.service()?;
    let exclude_system = call.flag("excludeSystem", false);
    let told: Vec<Value> = opened
        .visible(&service)
        .map(|collection| known::parameters(&service, collection))
        .filter(|parameters| !(exclude_system && key::is_system(&parameters.name)))
        .map(|parameters| parameters.to_brief())
        .collect();
    Ok(Answer::ok(200, json!({"result": told})))
}

fn create(call: &Call) -> Result<Answer> {
    let opened = call.open(Right::Publish)?;
    let body = call.object()?;
    let name = body.get("name").and_then(Value::as_str).unwrap_or_default();
    if !key::is_collection_name(name) {
        return Err(Problem::of(ErrorNum::IllegalName));
    }
    let is_system = body
        .get("isSystem")
        .and_then(Value::as_bool)
        .unwrap_or(false);
    if key::is_system(name) && !is_system {
        return Err(Problem::told(
            ErrorNum::IllegalName,
            "names of the system need isSystem",
        ));
    }
    let kind = match body.get("type") {
        None | Some(Value::Null) => CollectionType::Document,
        Some(kind) => kind
            .as_u64()
            .and_then(CollectionType::of)
            .ok_or_else(|| Problem::told(ErrorNum::CollectionType, "'type' must be 2 or 3"))?,
    };
    let mut tx = opened.store.write_documents(call.host().now())?;
    let mut service = tx.service()?;
    if !known::is_free_name(&service, name) {
        return Err(Problem::of(ErrorNum::DuplicateName));
    }
    let guid = known::fresh_guid(call.host().server_id(), call.face.ids.next());
    let collection = add(&mut service, name, kind, &guid, kept_properties(&body))?;
    tx.store_service(&service)?;
    grants::begin_collection(call, &opened, collection.id)?;
    tx.commit()?;
    let told = known::parameters(&service, &collection).to_properties();
    Ok(Answer::ok(200, told))
}

/// Adds a collection to a definition, and gives it back.
pub(crate) fn add(
    service: &mut Service,
    name: &str,
    kind: CollectionType,
    guid: &str,
    kept: Map<String, Value>,
) -> Result<Collection> {
    let mut collection = service.new_documents(name, kind == CollectionType::Edge)?;
    collection.properties = kept.into_iter().collect();
    collection
        .properties
        .insert(GUID.to_owned(), Value::from(guid));
    service.collections.push(collection.clone());
    service.schema_version += 1;
    Ok(collection)
}

/// Changes a definition in a transaction of its own.
fn alter(
    call: &Call,
    name: &str,
    change: impl FnOnce(&Opened, &mut Service, usize, &mut dyn DocumentWrite) -> Result<()>,
) -> Result<Answer> {
    let opened = call.open(Right::Publish)?;
    let mut tx = opened.store.write_documents(call.host().now())?;
    let mut service = tx.service()?;
    let id = opened.find_alterable(&service, name)?.id;
    let at = service.collections.iter().position(|c| c.id == id);
    let at = at.ok_or_else(|| Problem::of(ErrorNum::CollectionNotFound))?;
    change(&opened, &mut service, at, tx.as_mut())?;
    service.schema_version += 1;
    tx.store_service(&service)?;
    let told = service.collection(id).map_or_else(
        || json!({"id": known::wire_id(&Collection::documents(id, "", "", false))}),
        |collection| known::parameters(&service, collection).to_properties(),
    );
    tx.commit()?;
    Ok(Answer::ok(200, told))
}

fn change(call: &Call, name: &str) -> Result<Answer> {
    let body = call.object()?;
    alter(call, name, |_, service, at, _| {
        service.collections[at]
            .properties
            .extend(kept_properties(&body));
        Ok(())
    })
}

fn rename(call: &Call, name: &str) -> Result<Answer> {
    let body = call.object()?;
    let new = body.get("name").and_then(Value::as_str).unwrap_or_default();
    if !key::is_collection_name(new) || key::is_system(new) != key::is_system(name) {
        return Err(Problem::of(ErrorNum::IllegalName));
    }
    alter(call, name, |_, service, at, _| {
        if service.collections[at].name != new && !known::is_free_name(service, new) {
            return Err(Problem::of(ErrorNum::DuplicateName));
        }
        new.clone_into(&mut service.collections[at].name);
        Ok(())
    })
}

fn truncate(call: &Call, name: &str) -> Result<Answer> {
    let opened = call.open_to_edit()?;
    let mut tx = opened.store.write_documents(call.host().now())?;
    let service = tx.service()?;
    let collection = opened.find_writable(&service, name)?;
    tx.truncate(collection.id)?;
    tx.commit()?;
    Ok(Answer::ok(
        200,
        known::parameters(&service, collection).to_brief(),
    ))
}

fn remove(call: &Call, name: &str) -> Result<Answer> {
    let is_system = call.flag("isSystem", false);
    let mut gone = None;
    let removed = alter(call, name, |opened, service, at, _| {
        if key::is_system(&service.collections[at].name) && !is_system {
            return Err(Problem::told(
                ErrorNum::Forbidden,
                "collections of the system need isSystem",
            ));
        }
        gone = Some((opened.name.clone(), service.collections.remove(at).id));
        Ok(())
    })?;
    if let Some((database, id)) = gone {
        grants::end_collection(call, &database, id)?;
    }
    Ok(removed)
}

/// Whether documents of a collection need ends.
pub(crate) fn is_edge(collection: &Collection) -> bool {
    collection.kind == CollectionKind::Documents { edges: true }
}
