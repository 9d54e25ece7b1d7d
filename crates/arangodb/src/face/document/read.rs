//! Reading documents.

use haversack_model::documents::DocumentRead;
use haversack_model::{Collection, GlobalId, Right, Versioned};
use http::header;
use serde_json::{Value, json};

use super::super::answer::Answer;
use super::super::call::Call;
use super::super::problem::{Problem, Result};
use super::render::render_versioned;
use crate::known;
use crate::wire::errors::ErrorNum;
use crate::wire::revision;

/// The identity in the store of a key on the wire. `None` if it cannot be one of the collection.
pub(crate) fn global_id(collection: &Collection, key: &str) -> Option<GlobalId> {
    if collection.is_documents() {
        return Some(GlobalId::Text(key.into()));
    }
    GlobalId::parse_uuid(key).ok()
}

/// The key of `key` or `collection/key`.
pub(crate) fn key_of_handle(handle: &str) -> &str {
    handle.rsplit_once('/').map_or(handle, |(_, key)| key)
}

/// A live document.
pub(crate) fn load(tx: &dyn DocumentRead, collection: &Collection, key: &str) -> Result<Versioned> {
    let found = match global_id(collection, key) {
        Some(id) => tx.record(collection.id, &id)?,
        None => None,
    };
    found.ok_or_else(|| Problem::of(ErrorNum::DocumentNotFound))
}

/// A revision in a header such as `If-Match`, with or without quotes.
pub(crate) fn header_revision(call: &Call, name: &str) -> Option<String> {
    let text = call.header(name)?.trim();
    Some(text.trim_matches('"').to_owned())
}

/// Who a document is: `_id`, `_key`, `_rev`.
pub(crate) fn identity(name: &str, key: &str, revision: u64) -> Value {
    json!({"_id": format!("{name}/{key}"), "_key": key, "_rev": revision::encode(revision)})
}

/// Refuses a document whose revision is not the wanted one.
pub(crate) fn require_revision(
    name: &str,
    key: &str,
    found: &Versioned,
    wanted: &str,
) -> Result<()> {
    let revision = found.track.revision.0;
    if revision::decode(wanted) == Ok(revision) {
        return Ok(());
    }
    Err(Problem::Conflict {
        found: Box::new(identity(name, key, revision)),
    })
}

/// `GET` and `HEAD` of one document.
pub(crate) fn one(call: &Call, collection: &str, key: &str) -> Result<Answer> {
    let opened = call.open(Right::Read)?;
    let tx = opened.store.read_documents()?;
    let service = tx.service()?;
    let collection = opened.find(&service, collection)?;
    let name = known::wire_name(&service, collection);
    let found = load(tx.as_ref(), collection, key)?;
    let rev = revision::encode(found.track.revision.0);
    let etag = format!("\"{rev}\"");
    if header_revision(call, "if-none-match").is_some_and(|known| known == rev) {
        return Ok(Answer::empty(304).with(header::ETAG, &etag));
    }
    if let Some(wanted) = header_revision(call, "if-match") {
        require_revision(&name, key, &found, &wanted)?;
    }
    let body = render_versioned(&name, collection, &found);
    Ok(Answer::json_text(200, body).with(header::ETAG, &etag))
}

/// `PUT` with `onlyget`: documents in the order in which they were asked for, an error in the place of each that is not there.
pub(crate) fn many(call: &Call, collection: &str) -> Result<Answer> {
    let opened = call.open(Right::Read)?;
    let wanted = call.array()?;
    let tx = opened.store.read_documents()?;
    let service = tx.service()?;
    let collection = opened.find(&service, collection)?;
    let name = known::wire_name(&service, collection);
    let mut out = String::from("[");
    for item in &wanted {
        let handle = match item {
            Value::String(handle) => Some(handle.as_str()),
            Value::Object(members) => ["_key", "_id"]
                .iter()
                .find_map(|name| members.get(*name)?.as_str()),
            _ => None,
        };
        let found = match handle {
            Some(handle) => load(tx.as_ref(), collection, key_of_handle(handle)),
            None => Err(Problem::of(ErrorNum::BadDocumentType)),
        };
        if out.len() > 1 {
            out.push(',');
        }
        match found {
            Ok(found) => out.push_str(&render_versioned(&name, collection, &found)),
            Err(problem) => out.push_str(&problem.to_element().to_string()),
        }
    }
    out.push(']');
    Ok(Answer::json_text(200, out))
}
