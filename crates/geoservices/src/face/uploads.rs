//! Uploads: files that a client sends ahead, whole or in parts, to name them by id in a later request.
//!
//! An upload is a file of the host that belongs to its sender. Its state is kept in the file's note; parts are files of
//! their own until the commit joins them. Source: `spec/geoservices.md` 5, "Uploads".

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write as _};
use std::sync::Mutex;

use haversack_model::host::StoredFile;
use haversack_model::{Right, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::answer::Answer;
use super::call::{Call, Opened};
use super::problem::{Problem, Result};

/// Extension of uploads and their parts.
pub(crate) const EXTENSION: &str = "upload";
/// Most parts of one upload.
const MAX_PARTS: usize = 10_000;

/// Notes are read, changed and written back: one at a time. The host's data directory has one process.
static NOTES: Mutex<()> = Mutex::new(());

/// What is remembered of an upload, in the note of its file.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    service: String,
    item_name: String,
    description: String,
    date: Timestamp,
    committed: bool,
    /// Part number to the part's file and size.
    parts: BTreeMap<u32, (Uuid, u64)>,
}

/// Operations below `uploads`.
pub(crate) fn dispatch(call: &Call, service: &str, words: &[&str]) -> Result<Answer> {
    let opened = call.open(service, Right::Edit)?;
    opened.offers("Uploads")?;
    match words {
        ["info"] => Ok(Answer::Json(json!({
            "maxUploadFileSize": max_bytes(call),
            "maxUploadFileSizeUnit": "BYTE",
        }))),
        ["upload"] => upload(call, &opened),
        ["register"] => register(call, &opened),
        [id] => find(call, &opened, id).map(|(file, note)| Answer::Json(item(&file, &note))),
        [id, "uploadpart"] => upload_part(call, &opened, id),
        [id, "parts"] => {
            let (_, note) = find(call, &opened, id)?;
            let parts: Vec<String> = note.parts.keys().map(u32::to_string).collect();
            Ok(Answer::Json(json!({"parts": parts})))
        }
        [id, "commit"] => commit(call, &opened, id),
        [id, "delete"] => delete(call, &opened, id),
        _ => Err(Problem::NotFound("this upload resource".to_owned())),
    }
}

/// The file of a committed upload.
pub(crate) fn committed(
    call: &Call,
    opened: &Opened,
    id: &str,
    parameter: &str,
) -> Result<StoredFile> {
    let unknown = || Problem::parameter(parameter, "there is no such upload");
    let (file, note) = find(call, opened, id).map_err(|_unknown| unknown())?;
    if note.committed {
        Ok(file)
    } else {
        Err(Problem::parameter(parameter, "the upload is not committed"))
    }
}

/// The content of a committed upload and the name it was sent under.
pub(crate) fn content(
    call: &Call,
    opened: &Opened,
    id: &str,
    parameter: &str,
) -> Result<(Vec<u8>, String)> {
    let file = committed(call, opened, id, parameter)?;
    let failed = |error: io::Error| Problem::io("reading an upload", &error);
    let length = std::fs::metadata(&file.path).map_err(failed)?.len();
    if length > max_bytes(call) {
        return Err(Problem::TooLarge(call.host.max_body_bytes()));
    }
    let bytes = std::fs::read(&file.path).map_err(failed)?;
    Ok((bytes, file.name))
}

/// An upload is used in one piece, so it may be as large as a request, however many parts it comes in.
fn max_bytes(call: &Call) -> u64 {
    call.host.max_body_bytes() as u64
}

fn item(file: &StoredFile, note: &Note) -> Value {
    json!({
        "itemID": format!("i{}", file.id.simple()),
        "itemName": note.item_name,
        "description": note.description,
        "date": note.date.0,
        "committed": note.committed,
    })
}

fn answer(file: &StoredFile, note: &Note) -> Answer {
    Answer::Json(json!({"success": true, "item": item(file, note)}))
}

fn create(call: &Call, opened: &Opened, name: &str, committed: bool) -> Result<(StoredFile, Note)> {
    let mut file = call.host.create_file(&call.principal, EXTENSION)?;
    let note = Note {
        service: opened.name.clone(),
        item_name: name.to_owned(),
        description: call
            .params
            .text("description")
            .unwrap_or_default()
            .to_owned(),
        date: call.now(),
        committed,
        parts: BTreeMap::new(),
    };
    write(&file, &[])?;
    store_note(call, &mut file, &note)?;
    Ok((file, note))
}

fn store_note(call: &Call, file: &mut StoredFile, note: &Note) -> Result<()> {
    file.name.clone_from(&note.item_name);
    file.note = json!(note).to_string();
    Ok(call.host.describe_file(file)?)
}

fn write(file: &StoredFile, content: &[u8]) -> Result<()> {
    std::fs::write(&file.path, content).map_err(|error| Problem::io("writing an upload", &error))
}

fn find(call: &Call, opened: &Opened, id: &str) -> Result<(StoredFile, Note)> {
    let unknown = || Problem::NotFound("this upload".to_owned());
    let id = id.trim().trim_start_matches(['i', 'I']);
    let id = Uuid::try_parse(id).map_err(|_not_an_id| unknown())?;
    let file = call.host.file(id, &call.principal).ok_or_else(unknown)?;
    let note: Note = serde_json::from_str(&file.note).map_err(|_no_upload| unknown())?;
    if file.extension != EXTENSION || note.service != opened.name {
        return Err(unknown());
    }
    Ok((file, note))
}

fn upload(call: &Call, opened: &Opened) -> Result<Answer> {
    let part = call
        .file("file")
        .ok_or_else(|| Problem::parameter("file", "it is required"))?;
    let name = call.params.text("filename").unwrap_or(&part.file_name);
    let (file, note) = create(call, opened, name, true)?;
    write(&file, &part.content)?;
    Ok(answer(&file, &note))
}

fn register(call: &Call, opened: &Opened) -> Result<Answer> {
    let name = call.params.required("itemName")?;
    let (file, note) = create(call, opened, name, false)?;
    Ok(answer(&file, &note))
}

fn upload_part(call: &Call, opened: &Opened, id: &str) -> Result<Answer> {
    let number = call
        .params
        .integer("partId", 1..=MAX_PARTS as i64)?
        .and_then(|n| u32::try_from(n).ok())
        .ok_or_else(|| Problem::parameter("partId", "it is required"))?;
    let sent = call
        .file("file")
        .ok_or_else(|| Problem::parameter("file", "it is required"))?;
    find(call, opened, id)?;
    let part = call.host.create_file(&call.principal, EXTENSION)?;
    call.host.describe_file(&part)?;
    write(&part, &sent.content)?;

    let guard = NOTES
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let (mut file, mut note) = find(call, opened, id)?;
    let others: u64 = note.parts.values().map(|(_, size)| size).sum();
    let problem = if note.committed {
        Some(Problem::parameter(
            "uploadId",
            "the upload is already committed",
        ))
    } else if others + sent.content.len() as u64 > max_bytes(call) {
        Some(Problem::TooLarge(call.host.max_body_bytes()))
    } else {
        None
    };
    if let Some(problem) = problem {
        call.host.remove_file(part.id)?;
        return Err(problem);
    }
    let replaced = note
        .parts
        .insert(number, (part.id, sent.content.len() as u64));
    store_note(call, &mut file, &note)?;
    drop(guard);
    if let Some((old, _)) = replaced {
        call.host.remove_file(old)?;
    }
    Ok(Answer::Json(
        json!({"success": true, "partId": number.to_string()}),
    ))
}

fn commit(call: &Call, opened: &Opened, id: &str) -> Result<Answer> {
    let _guard = NOTES
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let (mut file, mut note) = find(call, opened, id)?;
    // A client that lost the answer commits again.
    if note.committed {
        return Ok(answer(&file, &note));
    }
    let order: Vec<i64> = match call.params.ids("parts")? {
        Some(order) => order,
        None => note.parts.keys().map(|n| i64::from(*n)).collect(),
    };
    let mut paths = Vec::new();
    for number in &order {
        let part = u32::try_from(*number)
            .ok()
            .and_then(|number| note.parts.get(&number))
            .and_then(|(part, _)| call.host.file(*part, &call.principal))
            .ok_or_else(|| Problem::parameter("parts", &format!("part {number} was not sent")))?;
        paths.push(part.path);
    }
    let joined = (|| {
        let mut target = File::create(&file.path)?;
        for path in paths {
            io::copy(&mut File::open(path)?, &mut target)?;
        }
        target.flush()
    })();
    joined.map_err(|error| Problem::io("joining the parts of an upload", &error))?;
    let parts = std::mem::take(&mut note.parts);
    note.committed = true;
    store_note(call, &mut file, &note)?;
    for (part, _) in parts.into_values() {
        call.host.remove_file(part)?;
    }
    Ok(answer(&file, &note))
}

fn delete(call: &Call, opened: &Opened, id: &str) -> Result<Answer> {
    let _guard = NOTES
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let (file, note) = find(call, opened, id)?;
    for (part, _) in note.parts.into_values() {
        call.host.remove_file(part)?;
    }
    call.host.remove_file(file.id)?;
    Ok(Answer::Json(json!({"success": true})))
}
