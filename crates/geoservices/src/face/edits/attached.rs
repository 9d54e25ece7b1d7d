//! Attachments among edits: contents are checked and stored by hash, the attachment is a record of its hidden collection.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use haversack_model::{
    BlobHash, Changes, Collection, Edit, GlobalId, Record, Value as Field, WriteTx,
};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::super::call::{Call, Opened};
use super::super::problem::{Problem, Result};
use super::super::uploads;
use super::plan::{Plan, features};
use super::results::{Slot, Verb, failed};
use crate::wire::json::member;

/// An attachment as a client sends it.
#[derive(Clone, Debug)]
pub(crate) struct Content {
    /// File name.
    pub(crate) name: String,
    /// Media type.
    pub(crate) media_type: String,
    /// Free text.
    pub(crate) keywords: Option<String>,
    /// The bytes, if they were sent.
    pub(crate) bytes: Option<Vec<u8>>,
}

/// Plans `{adds, updates, deletes}` of a layer's attachments.
pub(crate) fn plan(
    plan: &mut Plan<'_>,
    tx: &mut dyn WriteTx,
    collection: &Collection,
    asked: &Value,
) -> Result<[Vec<Slot>; 3]> {
    let Some(members) = asked.as_object() else {
        return Err(Problem::parameter(
            "attachments",
            "use an object with adds, updates and deletes",
        ));
    };
    if !collection.has_attachments {
        return Err(Problem::NotOffered(format!(
            "attachments on layer {}",
            collection.id
        )));
    }
    let list = |name: &str| features(member(members, name).cloned(), "attachments");
    let mut slots = [Vec::new(), Vec::new(), Vec::new()];
    for attachment in list("adds")? {
        let slot = add(plan, tx, collection, &attachment)?;
        slots[0].push(plan.counted(slot));
    }
    for attachment in list("updates")? {
        let slot = update(plan, tx, collection, &attachment)?;
        slots[1].push(plan.counted(slot));
    }
    let deletes = match member(members, "deletes").or_else(|| member(members, "deleteIds")) {
        Some(Value::Array(ids)) => ids.clone(),
        Some(Value::String(ids)) => ids.split(',').map(|id| Value::from(id.trim())).collect(),
        _ => Vec::new(),
    };
    for id in deletes {
        let slot = match id.as_str().map(GlobalId::parse_uuid) {
            Some(Ok(global_id)) => {
                let edit = Edit::Delete {
                    global_id,
                    base: None,
                };
                plan.push(collection.id.attachments(), Verb::Delete, edit, None)
            }
            _ => failed(
                Verb::Delete,
                None,
                "a deletion needs the attachment's global id",
            ),
        };
        slots[2].push(plan.counted(slot));
    }
    Ok(slots)
}

fn add(
    plan: &mut Plan<'_>,
    tx: &mut dyn WriteTx,
    collection: &Collection,
    sent: &Value,
) -> Result<Slot> {
    let (content, id, parent) = match read(plan.call, plan.opened, sent)? {
        Ok(read) => read,
        Err(problem) => return Ok(failed(Verb::Add, None, problem)),
    };
    let Some(parent) = parent else {
        return Ok(failed(
            Verb::Add,
            None,
            "an attachment needs 'parentGlobalId'",
        ));
    };
    let Some(bytes) = &content.bytes else {
        return Ok(failed(
            Verb::Add,
            None,
            "an attachment needs 'data' or 'uploadId'",
        ));
    };
    let id = id.unwrap_or_else(|| plan.call.host.fresh_uuid().into());
    let record = to_record(tx, id, &parent, &content, bytes)?;
    let edit = Edit::Add {
        record,
        undelete: true,
    };
    Ok(plan.push(collection.id.attachments(), Verb::Add, edit, None))
}

fn update(
    plan: &mut Plan<'_>,
    tx: &mut dyn WriteTx,
    collection: &Collection,
    sent: &Value,
) -> Result<Slot> {
    let (content, id, _) = match read(plan.call, plan.opened, sent)? {
        Ok(read) => read,
        Err(problem) => return Ok(failed(Verb::Update, None, problem)),
    };
    let Some(global_id) = id else {
        return Ok(failed(
            Verb::Update,
            None,
            "an update needs the attachment's 'globalId'",
        ));
    };
    let mine = to_changes(tx, &content)?;
    let edit = Edit::Update {
        global_id,
        mine,
        base: None,
    };
    Ok(plan.push(collection.id.attachments(), Verb::Update, edit, None))
}

type Read = (Content, Option<GlobalId>, Option<GlobalId>);

/// Reads an attachment: its content, its own id and its parent's. The inner error is of this attachment alone.
pub(crate) fn read(
    call: &Call,
    opened: &Opened,
    sent: &Value,
) -> Result<std::result::Result<Read, String>> {
    let Some(members) = sent.as_object() else {
        return Ok(Err("an attachment must be an object".to_owned()));
    };
    let text = |name: &str| member(members, name).and_then(Value::as_str);
    let id = |name: &str| {
        text(name)
            .filter(|t| !t.trim().is_empty())
            .map(GlobalId::parse_uuid)
    };
    let (Ok(own), Ok(parent)) = (id("globalId").transpose(), id("parentGlobalId").transpose())
    else {
        return Ok(Err(
            "'globalId' and 'parentGlobalId' must be global ids".to_owned()
        ));
    };
    let mut content = Content {
        name: text("name").unwrap_or_default().to_owned(),
        media_type: text("contentType").unwrap_or_default().to_owned(),
        keywords: text("keywords").map(str::to_owned),
        bytes: None,
    };
    if let Some(data) = text("data") {
        let compact: String = data.chars().filter(|c| !c.is_ascii_whitespace()).collect();
        match STANDARD.decode(compact) {
            Ok(bytes) => content.bytes = Some(bytes),
            Err(_not_base64) => return Ok(Err("'data' must be base64".to_owned())),
        }
    } else if let Some(upload) = text("uploadId") {
        match uploads::content(call, opened, upload, "uploadId") {
            Ok((bytes, name)) => {
                content.bytes = Some(bytes);
                if content.name.is_empty() {
                    content.name = name;
                }
            }
            Err(problem @ (Problem::Wire(_) | Problem::TooLarge(_))) => {
                return Ok(Err(problem.to_string()));
            }
            Err(problem) => return Err(problem),
        }
    } else if text("url").is_some() {
        // The server fetches nothing on a client's word.
        return Ok(Err(
            "'url' is not fetched: send 'data' or 'uploadId'".to_owned()
        ));
    }
    Ok(Ok((content, own, parent)))
}

/// The record of a new attachment; its content is stored in this transaction.
pub(crate) fn to_record(
    tx: &mut dyn WriteTx,
    id: GlobalId,
    parent: &GlobalId,
    content: &Content,
    bytes: &[u8],
) -> Result<Record> {
    let hash = store(tx, bytes)?;
    Ok(Record {
        global_id: id,
        object_id: None,
        values: vec![
            Field::Text(parent.braced()),
            Field::Text(name_of(content)),
            Field::Text(type_of(content)),
            Field::Integer(bytes.len() as i64),
            Field::Text(hash.to_string()),
            content.keywords.clone().map_or(Field::Null, Field::Text),
        ],
        geometry: None,
    })
}

/// What an update of an attachment sets.
pub(crate) fn to_changes(tx: &mut dyn WriteTx, content: &Content) -> Result<Changes> {
    use haversack_model::schema::attachment_field as at;
    let mut mine = Changes::default();
    if !content.name.is_empty() {
        mine.values.insert(at::NAME, Field::Text(name_of(content)));
    }
    if !content.media_type.is_empty() {
        mine.values
            .insert(at::CONTENT_TYPE, Field::Text(type_of(content)));
    }
    if let Some(keywords) = &content.keywords {
        mine.values
            .insert(at::KEYWORDS, Field::Text(keywords.clone()));
    }
    if let Some(bytes) = &content.bytes {
        let hash = store(tx, bytes)?;
        mine.values
            .insert(at::SIZE, Field::Integer(bytes.len() as i64));
        mine.values
            .insert(at::SHA256, Field::Text(hash.to_string()));
    }
    Ok(mine)
}

fn store(tx: &mut dyn WriteTx, bytes: &[u8]) -> Result<BlobHash> {
    let mut sum = [0; 32];
    sum.copy_from_slice(&Sha256::digest(bytes));
    let hash = BlobHash(sum);
    tx.store_blob(hash, bytes)?;
    Ok(hash)
}

fn name_of(content: &Content) -> String {
    // A name and no path: some clients send where the file was.
    let name = content.name.rsplit(['/', '\\']).next().unwrap_or_default();
    let name: String = name.chars().filter(|c| !c.is_control()).take(250).collect();
    if name.is_empty() {
        "attachment".to_owned()
    } else {
        name
    }
}

fn type_of(content: &Content) -> String {
    let kind = content
        .media_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim();
    let plausible =
        kind.contains('/') && kind.len() <= 120 && kind.chars().all(|c| c.is_ascii_graphic());
    if plausible {
        kind.to_ascii_lowercase()
    } else {
        "application/octet-stream".to_owned()
    }
}
