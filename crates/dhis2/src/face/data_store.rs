//! `dataStore`: JSON that apps keep on the server, by namespace and key.
//!
//! Everybody with the right to read the instance reads it, who may edit writes. Source: `spec/dhis2.md` 3 and 11.

use haversack_model::Right;
use haversack_model::documents::document;
use http::Method;
use serde_json::{Value, json};

use super::answer::Answer;
use super::call::Call;
use super::instance::{Instance, key};
use super::problem::{Problem, Result};
use super::reserve::document_of;
use crate::wire::json as text;

const ENTRIES: &str = "dataStore";

/// `dataStore`, `dataStore/<namespace>`, `dataStore/<namespace>/<key>`.
pub(crate) fn dispatch(call: &Call, words: &[&str]) -> Result<Answer> {
    match words {
        [] => namespaces(call),
        [space] => keys(call, space),
        [space, name] => entry(call, space, name),
        _ => Err(Problem::no_such_path()),
    }
}

fn absent(message: &str) -> Problem {
    Problem::NotFound {
        message: message.to_owned(),
        code: "E1005",
    }
}

fn namespaces(call: &Call) -> Result<Answer> {
    call.require_get()?;
    let instance = Instance::open(call, Right::Read)?;
    let mut found = std::collections::BTreeSet::new();
    instance.each(
        instance.store().read_documents()?.as_ref(),
        ENTRIES,
        |entry| {
            found.insert(entry.text("namespace").to_owned());
            Ok(())
        },
    )?;
    Ok(Answer::json(200, json!(found)))
}

fn keys(call: &Call, space: &str) -> Result<Answer> {
    check_namespace(space)?;
    let prefix = format!("{space}.");
    let mut found = Vec::new();
    if call.method == Method::DELETE {
        let instance = Instance::open(call, Right::Edit)?;
        let mut tx = instance.store().write_documents(call.host.now())?;
        instance.each_with(tx.as_ref(), ENTRIES, &prefix, |entry| {
            found.push(entry.id);
            Ok(())
        })?;
        if found.is_empty() {
            return Err(absent("Namespace not found"));
        }
        for id in found {
            tx.delete(instance.collection(ENTRIES)?, &key(&id), None)?;
        }
        tx.commit()?;
        return Ok(Answer::message(
            200,
            "The namespace is removed",
            &Value::Null,
        ));
    }
    call.require_get()?;
    if call.param("fields").is_some() || call.param("filter").is_some() {
        return Err(Problem::bad(
            "this server does not query a whole namespace: leave out fields and filter to get the keys, and ask for each of them",
        ));
    }
    let instance = Instance::open(call, Right::Read)?;
    instance.each_with(
        instance.store().read_documents()?.as_ref(),
        ENTRIES,
        &prefix,
        |entry| {
            found.push(entry.text("key").to_owned());
            Ok(())
        },
    )?;
    if found.is_empty() {
        return Err(absent("Namespace not found"));
    }
    found.sort();
    Ok(Answer::json(200, json!(found)))
}

fn entry(call: &Call, space: &str, name: &str) -> Result<Answer> {
    check_namespace(space)?;
    let id = document_of(space, name);
    let is_read = call.method == Method::GET || call.method == Method::HEAD;
    let instance = Instance::open(call, if is_read { Right::Read } else { Right::Edit })?;
    if is_read {
        let tx = instance.store().read_documents()?;
        let found = instance.object(tx.as_ref(), ENTRIES, &id)?;
        let mut found = found.ok_or_else(|| absent("Key not found"))?;
        let value = found.members.remove("value").unwrap_or_default();
        return Ok(Answer::json(200, value));
    }
    let mut tx = instance.store().write_documents(call.host.now())?;
    let collection = instance.collection(ENTRIES)?;
    let is_there = tx.record(collection, &key(&id))?.is_some();
    let (status, message) = match call.method {
        Method::POST if is_there => {
            return Err(Problem::Conflict(format!(
                "Key '{name}' already exists in namespace '{space}'"
            )));
        }
        Method::POST => (201, "The key is stored"),
        Method::PUT => (if is_there { 200 } else { 201 }, "The key is stored"),
        Method::DELETE if !is_there => return Err(absent("Key not found")),
        Method::DELETE => (200, "The key is removed"),
        _ => return Err(Problem::Method),
    };
    if call.method == Method::DELETE {
        tx.delete(collection, &key(&id), None)?;
    } else {
        let value = text::parse(&call.body)?;
        let body = json!({"namespace": space, "key": name, "value": value});
        tx.put(collection, &document(&id, body.to_string()), None)?;
    }
    tx.commit()?;
    Ok(Answer::message(status, message, &Value::Null))
}

/// Namespaces are the beginnings of keys, so they hold no dots.
fn check_namespace(space: &str) -> Result<()> {
    let fits = (1..=100).contains(&space.len())
        && space
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    if fits {
        return Ok(());
    }
    Err(Problem::bad(
        "a namespace is 1 to 100 letters, digits, _ or -",
    ))
}
