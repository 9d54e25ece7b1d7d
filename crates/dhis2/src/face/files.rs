//! File resources: contents that values of attributes and data elements name.
//!
//! A file is sent first, and gets its uid here; then the record that names it. Whoever sent a file reads it by its own address, everybody else by
//! the record that names it, if they see that. Source: `spec/dhis2.md` 9.

use axum::extract::{FromRequest as _, Multipart, Request};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use haversack_model::documents::{DocumentRead, DocumentWrite, document};
use haversack_model::{Right, Timestamp};
use http::request::Parts;
use http::{Method, header};
use md5::Digest as _;
use serde_json::{Value, json};

use super::aggregate;
use super::answer::Answer;
use super::call::Call;
use super::instance::{Instance, Stored};
use super::problem::{Problem, Result};
use super::tracker::{read, rows};
use crate::wire::{date, uid};

/// The collection of what is known of files.
const RESOURCES: &str = "fileResources";
/// Their contents, as Base64.
const CONTENTS: &str = "fileContents";
/// The member that tells which record names a file; never told.
const OWNER: &str = "assignedTo";
/// Most bytes of a file, as the app's own limit.
const MAX_BYTES: usize = 6_000_000;

/// A file as it was sent.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) name: String,
    /// `image/png`.
    pub(crate) kind: String,
    pub(crate) content: Bytes,
}

/// The part `file` of a form; `None` if the body is no form, or has none.
pub(crate) async fn part(parts: &Parts, body: &Bytes) -> Result<Option<Part>> {
    let kind = parts.headers.get(header::CONTENT_TYPE);
    let is_form = kind
        .and_then(|kind| kind.to_str().ok())
        .is_some_and(|kind| kind.starts_with("multipart/form-data"));
    if !is_form {
        return Ok(None);
    }
    let unreadable =
        |_| Problem::bad("the form cannot be read; send the file as its part \"file\"");
    let mut request = Request::new(body.clone().into());
    *request.headers_mut() = parts.headers.clone();
    let mut form = Multipart::from_request(request, &())
        .await
        .map_err(|_no_form| Problem::bad("the form has no boundary"))?;
    while let Some(field) = form.next_field().await.map_err(unreadable)? {
        if field.name() != Some("file") {
            continue;
        }
        let name = field.file_name().unwrap_or("file").to_owned();
        let kind = field
            .content_type()
            .unwrap_or("application/octet-stream")
            .to_owned();
        let content = field.bytes().await.map_err(unreadable)?;
        return Ok(Some(Part {
            name,
            kind,
            content,
        }));
    }
    Ok(None)
}

/// `fileResources` and what is below it.
pub(crate) fn dispatch(call: &Call, words: &[&str]) -> Result<Answer> {
    match words {
        [] if call.method == Method::POST => store(call),
        [] => Err(Problem::Method),
        [id] => {
            let (_, mut found) = own(call, id)?;
            found.members.shift_remove(OWNER);
            Ok(Answer::json(200, Value::Object(found.members)))
        }
        [id, "data"] => {
            let (instance, found) = own(call, id)?;
            content(&instance, &found)
        }
        _ => Err(Problem::no_such_path()),
    }
}

fn store(call: &Call) -> Result<Answer> {
    let instance = Instance::open(call, Right::Edit)?;
    let file = call.file.as_ref();
    let file = file.ok_or_else(|| Problem::bad("send the file as the part \"file\" of a form"))?;
    if file.content.len() > MAX_BYTES {
        return Err(Problem::TooLarge(MAX_BYTES));
    }
    let domain = call.param("domain").unwrap_or("DATA_VALUE");
    let is_name = !domain.is_empty() && domain.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
    if !is_name {
        return Err(Problem::bad(format!("domain {domain:?} is not known")));
    }
    let mut tx = instance.store().write_documents(call.host.now())?;
    let id = uid::from_random(call.host.fresh_uuid().as_u128());
    let now = rows::commit_time(tx.as_ref(), call.host.now())?;
    let told = keep(
        &instance,
        tx.as_mut(),
        (&id, domain),
        file,
        (&call.principal.name, now),
    )?;
    tx.commit()?;
    let more = json!({"response": {"responseType": "FileResource", "fileResource": told}});
    Ok(Answer::message(202, "The file is stored", &more))
}

/// Stores a file under an id, of a domain, as somebody's; gives what is told of it.
pub(crate) fn keep(
    instance: &Instance,
    tx: &mut dyn DocumentWrite,
    (id, domain): (&str, &str),
    file: &Part,
    (who, now): (&str, Timestamp),
) -> Result<Value> {
    let digest = u128::from_be_bytes(md5::Md5::digest(&file.content).into());
    let told = json!({"id": id, "name": file.name, "displayName": file.name, "contentType": file.kind, "contentLength": file.content.len(),
        "contentMd5": format!("{digest:032x}"), "domain": domain, "storageStatus": "STORED", "hasMultipleStorageFiles": false, "created": date::format(now),
        "createdBy": {"username": who}});
    let bytes = json!({"content": STANDARD.encode(&file.content)});
    for (collection, body) in [(RESOURCES, &told), (CONTENTS, &bytes)] {
        tx.put(
            instance.collection(collection)?,
            &document(id, body.to_string()),
            None,
        )?;
    }
    Ok(told)
}

/// Whether there is a file of an id.
pub(crate) fn is_kept(instance: &Instance, tx: &dyn DocumentRead, id: &str) -> Result<bool> {
    Ok(instance.object(tx, RESOURCES, id)?.is_some())
}

/// The file of an id, with its content.
pub(crate) fn load(instance: &Instance, tx: &dyn DocumentRead, id: &str) -> Result<Option<Part>> {
    let Some(found) = instance.object(tx, RESOURCES, id)? else {
        return Ok(None);
    };
    Ok(Some(Part {
        name: found.text("name").to_owned(),
        kind: found.text("contentType").to_owned(),
        content: bytes(instance, tx, id)?.into(),
    }))
}

fn bytes(instance: &Instance, tx: &dyn DocumentRead, id: &str) -> Result<Vec<u8>> {
    let stored = instance.object(tx, CONTENTS, id)?;
    let bytes = stored.and_then(|stored| STANDARD.decode(stored.text("content")).ok());
    bytes.ok_or_else(|| Problem::Internal(format!("file {id} has no content")))
}

/// A file of whoever asks; an administrator has all.
fn own(call: &Call, id: &str) -> Result<(Instance, Stored)> {
    call.require_get()?;
    let instance = Instance::open(call, Right::Read)?;
    let found = instance.object(instance.store().read_documents()?.as_ref(), RESOURCES, id)?;
    let is_own = |found: &Stored| {
        let by = found
            .members
            .get("createdBy")
            .and_then(|by| by.get("username"));
        call.principal.is_admin || by.and_then(Value::as_str) == Some(call.principal.name.as_str())
    };
    let found = found.filter(is_own);
    let found = found.ok_or_else(|| Problem::missing("FileResource", id))?;
    Ok((instance, found))
}

fn content(instance: &Instance, found: &Stored) -> Result<Answer> {
    let tx = instance.store().read_documents()?;
    Ok(Answer::bytes(
        found.text("contentType"),
        found.text("name"),
        bytes(instance, tx.as_ref(), &found.id)?,
    ))
}

/// The file that a record names by a value, which whoever asks may see.
fn named(call: &Call, value: Option<&str>) -> Result<Answer> {
    let absent = || Problem::NotFound {
        message: "there is no file in this value".to_owned(),
        code: "E1005",
    };
    let id = value.ok_or_else(absent)?;
    let instance = Instance::open(call, Right::Read)?;
    let found = instance.object(instance.store().read_documents()?.as_ref(), RESOURCES, id)?;
    content(&instance, &found.ok_or_else(absent)?)
}

/// What is wrong with a value that ought to name a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// It names none.
    Missing,
    /// It names one that another record has named first.
    Taken,
}

/// Whether values of a type name files.
fn names_files(value_type: &str) -> bool {
    matches!(value_type, "FILE_RESOURCE" | "IMAGE")
}

/// Whether a value ought to name a file, and does not, or one of another owner than `owner`; without an owner everybody may name it.
pub(crate) fn wrong(
    instance: &Instance,
    tx: &dyn DocumentRead,
    (value_type, value): (&str, &str),
    owner: Option<&str>,
) -> Result<Option<Wrong>> {
    if !names_files(value_type) {
        return Ok(None);
    }
    if !uid::is_uid(value) {
        return Ok(Some(Wrong::Missing));
    }
    let Some(found) = instance.object(tx, RESOURCES, value)? else {
        return Ok(Some(Wrong::Missing));
    };
    let first = found.text(OWNER);
    let is_taken = owner.is_some_and(|owner| !first.is_empty() && first != owner);
    Ok(is_taken.then_some(Wrong::Taken))
}

/// Notes which record names a file: no other one may then.
pub(crate) fn assign(
    instance: &Instance,
    tx: &mut dyn DocumentWrite,
    (value_type, value): (&str, &str),
    owner: &str,
) -> Result<()> {
    if !names_files(value_type) {
        return Ok(());
    }
    let found = instance.object(tx, RESOURCES, value)?;
    if let Some(mut found) = found.filter(|found| found.text(OWNER).is_empty()) {
        found.members.insert(OWNER.to_owned(), json!(owner));
        found.members.insert("assigned".to_owned(), json!(true));
        let body = Value::Object(found.members).to_string();
        tx.put(
            instance.collection(RESOURCES)?,
            &document(&found.id, body),
            None,
        )?;
    }
    Ok(())
}

/// Looks for `{<name>: <id>, value}` in lists of a tracker object, those of its children as well.
fn value_of<'a>(told: &'a Value, list: &str, name: &str, id: &str) -> Option<&'a str> {
    let own = told
        .get(list)
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    let mut own = own.filter(|one| one.get(name).and_then(Value::as_str) == Some(id));
    let below = || {
        let mut enrollments = told
            .get("enrollments")
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        enrollments.find_map(|one| value_of(one, list, name, id))
    };
    own.find_map(|one| one.get("value").and_then(Value::as_str))
        .or_else(below)
}

fn with_fields(call: &Call, fields: &str) -> Call {
    let mut call = call.clone();
    call.query.retain(|(name, _)| name != "fields");
    call.query.push(("fields".to_owned(), fields.to_owned()));
    call
}

/// `GET tracker/trackedEntities/<uid>/attributes/<attribute>/file`, and by the old address.
pub(crate) fn of_attribute(call: &Call, entity: &str, attribute: &str) -> Result<Answer> {
    call.require_get()?;
    let asked = with_fields(
        call,
        "attributes[attribute,value],enrollments[attributes[attribute,value]]",
    );
    let told = read::entity(&asked, entity)?;
    named(call, value_of(&told, "attributes", "attribute", attribute))
}

/// `GET tracker/events/<uid>/dataValues/<element>/file`, and by the old address.
pub(crate) fn of_event(call: &Call, event: &str, element: &str) -> Result<Answer> {
    call.require_get()?;
    let told = read::event(&with_fields(call, "dataValues[dataElement,value]"), event)?;
    named(call, value_of(&told, "dataValues", "dataElement", element))
}

/// `GET dataValues/files?de&pe&ou&co`.
pub(crate) fn of_value(call: &Call) -> Result<Answer> {
    call.require_get()?;
    let value = aggregate::values::find(call)?;
    named(call, value.as_deref())
}
