//! Attachments of a feature, one by one: list, bytes, add, update, delete, and a query over many.
//!
//! An attachment is a record of the layer's hidden collection, so it is edited like one: tracked, told to replicas, and
//! guarded by the row filter of its parent. Source: `spec/geoservices.md` 5, "Attachments".

use std::collections::BTreeMap;

use haversack_model::filter::Expr;
use haversack_model::query::Query;
use haversack_model::schema::attachment_field as at;
use haversack_model::{
    BlobHash, Collection, CollectionId, Edit, Filter, GlobalId, ObjectId, ReadTx, Record, Right,
    Value as Field, WriteTx,
};
use serde_json::{Value, json};

use super::answer::Answer;
use super::call::{Call, Opened};
use super::edits::attached::{Content, to_changes, to_record};
use super::edits::commit;
use super::edits::plan::ids_of;
use super::edits::results::{Fate, Slot, Verb, array, failed, verdict};
use super::problem::{Problem, Result};
use super::query::{filter, records::stream};
use super::uploads;

/// Most ids in one condition on parents.
const MAX_PARENTS: usize = 10_000;

/// What an attachment record says.
#[derive(Debug)]
pub(crate) struct Told<'a>(pub(crate) &'a Record);

impl Told<'_> {
    fn text(&self, position: usize) -> Option<&str> {
        self.0.values.get(position).and_then(Field::as_text)
    }
    /// Global id of the record that it belongs to.
    pub(crate) fn parent(&self) -> Option<GlobalId> {
        GlobalId::parse_uuid(self.text(at::PARENT)?).ok()
    }
    /// File name.
    pub(crate) fn name(&self) -> &str {
        self.text(at::NAME).unwrap_or("attachment")
    }
    /// Media type.
    pub(crate) fn content_type(&self) -> &str {
        self.text(at::CONTENT_TYPE)
            .unwrap_or("application/octet-stream")
    }
    /// Bytes.
    pub(crate) fn size(&self) -> i64 {
        self.0
            .values
            .get(at::SIZE)
            .and_then(Field::as_integer)
            .unwrap_or(0)
    }
    /// Where its content is.
    pub(crate) fn hash(&self) -> Option<BlobHash> {
        BlobHash::from_hex(self.text(at::SHA256)?)
    }
    /// The attachment as clients list it.
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "id": self.0.object_id.map(|id| id.0),
            "globalId": self.0.global_id.braced(),
            "parentGlobalId": self.text(at::PARENT),
            "name": self.name(),
            "contentType": self.content_type(),
            "size": self.size(),
            "keywords": self.text(at::KEYWORDS).unwrap_or_default(),
            "exifInfo": null,
        })
    }
}

/// URL of an attachment's content.
pub(crate) fn url(call: &Call, service: &str, layer: CollectionId, parent: i64, id: i64) -> String {
    format!(
        "{}/{layer}/{parent}/attachments/{id}",
        call.service_url(service)
    )
}

/// Opens a layer with attachments.
fn open(opened: &Opened, id: CollectionId) -> Result<&Collection> {
    let collection = opened.collection(id)?;
    if collection.has_attachments {
        Ok(collection)
    } else {
        Err(Problem::NotOffered(format!("attachments on layer {id}")))
    }
}

/// The record that carries the attachments, if the principal may see it.
fn parent(tx: &dyn ReadTx, opened: &Opened, id: CollectionId, object_id: i64) -> Result<GlobalId> {
    let ids = Filter::ObjectIds(vec![ObjectId(object_id)]);
    let found = ids_of(tx, id, opened.access.filter(id).and(ids))?;
    let (_, global_id) = found
        .into_iter()
        .next()
        .ok_or_else(|| Problem::NotFound(format!("feature {object_id}")))?;
    Ok(global_id)
}

/// Attachments of some records.
fn of_parents(
    tx: &dyn ReadTx,
    layer: CollectionId,
    parents: &[GlobalId],
    more: &Filter,
    visit: &mut dyn FnMut(Record) -> Result<()>,
) -> Result<()> {
    for some in parents.chunks(1000) {
        let list = some
            .iter()
            .map(|id| Expr::Literal(Field::Text(id.braced())));
        let of_parents = Filter::In {
            expr: Expr::Field("parent".to_owned()),
            list: list.collect(),
        };
        let query = Query::records(layer.attachments(), of_parents.and(more.clone()));
        stream(tx, &query, u64::MAX - 1, visit)?;
    }
    Ok(())
}

/// `<layer>/<object id>/attachments`.
pub(crate) fn list(call: &Call, name: &str, id: CollectionId, object_id: i64) -> Result<Answer> {
    let opened = call.open(name, Right::Read)?;
    open(&opened, id)?;
    let tx = opened.store.begin_read()?;
    let parent = parent(tx.as_ref(), &opened, id, object_id)?;
    let with_url = call.params.flag("returnUrl", false)?;
    let mut infos = Vec::new();
    of_parents(tx.as_ref(), id, &[parent], &Filter::All, &mut |record| {
        let mut told = Told(&record).to_json();
        if let (true, Some(number)) = (with_url, record.object_id) {
            told["url"] = json!(url(call, name, id, object_id, number.0));
        }
        infos.push(told);
        Ok(())
    })?;
    Ok(Answer::Json(json!({"attachmentInfos": infos})))
}

/// `<layer>/<object id>/attachments/<id>`: the bytes.
pub(crate) fn bytes(
    call: &Call,
    name: &str,
    id: CollectionId,
    object_id: i64,
    attachment: i64,
) -> Result<Answer> {
    let opened = call.open(name, Right::Read)?;
    open(&opened, id)?;
    let tx = opened.store.begin_read()?;
    let parent = parent(tx.as_ref(), &opened, id, object_id)?;
    let record = find(tx.as_ref(), id, &parent, attachment)?;
    let told = Told(&record);
    let gone = || Problem::NotFound(format!("the content of attachment {attachment}"));
    let content = tx.blob(told.hash().ok_or_else(gone)?)?.ok_or_else(gone)?;
    Ok(Answer::Bytes {
        content,
        content_type: told.content_type().to_owned(),
        name: told.name().to_owned(),
    })
}

fn find(tx: &dyn ReadTx, id: CollectionId, parent: &GlobalId, attachment: i64) -> Result<Record> {
    let mut found = None;
    let ids = Filter::ObjectIds(vec![ObjectId(attachment)]);
    of_parents(tx, id, std::slice::from_ref(parent), &ids, &mut |record| {
        found = Some(record);
        Ok(())
    })?;
    found.ok_or_else(|| Problem::NotFound(format!("attachment {attachment}")))
}

/// The content that a request brings: a file part, or a committed upload.
fn sent(call: &Call, opened: &Opened) -> Result<Content> {
    let keywords = call.params.text("keywords").map(str::to_owned);
    if let Some(id) = call.params.text("uploadId") {
        let (bytes, name) = uploads::content(call, opened, id, "uploadId")?;
        return Ok(Content {
            media_type: guess_type(&name).to_owned(),
            name,
            keywords,
            bytes: Some(bytes),
        });
    }
    let part = call
        .file("attachment")
        .ok_or_else(|| Problem::parameter("attachment", "send a file, or name an uploadId"))?;
    let media_type = match part.content_type.as_str() {
        "" | "application/octet-stream" => guess_type(&part.file_name).to_owned(),
        kind => kind.to_owned(),
    };
    Ok(Content {
        name: part.file_name.clone(),
        media_type,
        keywords,
        bytes: Some(part.content.to_vec()),
    })
}

/// Media type by a file name's end; the Python client sends none.
fn guess_type(name: &str) -> &'static str {
    let extension = name.rsplit('.').next().unwrap_or_default();
    match extension.to_ascii_lowercase().as_str() {
        "jpg" | "jpeg" => "image/jpeg",
        "png" => "image/png",
        "gif" => "image/gif",
        "tif" | "tiff" => "image/tiff",
        "heic" => "image/heic",
        "webp" => "image/webp",
        "txt" => "text/plain",
        "csv" => "text/csv",
        "json" => "application/json",
        "pdf" => "application/pdf",
        "zip" => "application/zip",
        "mp3" => "audio/mpeg",
        "mp4" => "video/mp4",
        "mov" => "video/quicktime",
        _ => "application/octet-stream",
    }
}

/// Applies edits of attachments that were planned in `tx`.
fn apply(
    call: &Call,
    opened: &Opened,
    tx: Box<dyn WriteTx + '_>,
    layer: CollectionId,
    planned: &[(Verb, Edit)],
) -> Result<Vec<Value>> {
    let edits: Vec<_> = planned
        .iter()
        .map(|(_, edit)| (layer.attachments(), edit.clone()))
        .collect();
    let applied = commit(call, opened, tx, &edits, false)?;
    let told: Vec<_> = planned
        .iter()
        .enumerate()
        .map(|(position, (verb, edit))| {
            let slot = Slot {
                verb: *verb,
                global_id: Some(edit.global_id().clone()),
                object_id: None,
                fate: Fate::Receipt(position),
            };
            verdict(&slot, &applied.receipts)
        })
        .collect();
    Ok(array(&told))
}

/// `addAttachment`.
pub(crate) fn add(call: &Call, name: &str, id: CollectionId, object_id: i64) -> Result<Answer> {
    let opened = call.open(name, Right::Edit)?;
    opened.offers("Update")?;
    open(&opened, id)?;
    let content = sent(call, &opened)?;
    let asked = call.params.global_ids("globalId")?.unwrap_or_default();
    let own = asked.into_iter().next();
    let mut tx = opened.store.begin_write(call.now())?;
    let parent = parent(&*tx as &dyn ReadTx, &opened, id, object_id)?;
    let own = own.unwrap_or_else(|| call.host.fresh_uuid().into());
    let bytes = content.bytes.clone().unwrap_or_default();
    let record = to_record(tx.as_mut(), own, &parent, &content, &bytes)?;
    let edit = Edit::Add {
        record,
        undelete: true,
    };
    let told = apply(call, &opened, tx, id, &[(Verb::Add, edit)])?;
    Ok(Answer::Json(json!({"addAttachmentResult": told.first()})))
}

/// `updateAttachment`.
pub(crate) fn update(call: &Call, name: &str, id: CollectionId, object_id: i64) -> Result<Answer> {
    let opened = call.open(name, Right::Edit)?;
    opened.offers("Update")?;
    open(&opened, id)?;
    call.params.required("attachmentId")?;
    let attachment = call
        .params
        .integer("attachmentId", i64::MIN..=i64::MAX)?
        .unwrap_or_default();
    let content = sent(call, &opened)?;
    let mut tx = opened.store.begin_write(call.now())?;
    let parent = parent(&*tx as &dyn ReadTx, &opened, id, object_id)?;
    let record = find(&*tx as &dyn ReadTx, id, &parent, attachment)?;
    let mine = to_changes(tx.as_mut(), &content)?;
    let edit = Edit::Update {
        global_id: record.global_id,
        mine,
        base: None,
    };
    let told = apply(call, &opened, tx, id, &[(Verb::Update, edit)])?;
    Ok(Answer::Json(
        json!({"updateAttachmentResult": told.first()}),
    ))
}

/// `deleteAttachments`.
pub(crate) fn delete(call: &Call, name: &str, id: CollectionId, object_id: i64) -> Result<Answer> {
    let opened = call.open(name, Right::Edit)?;
    opened.offers("Update")?;
    open(&opened, id)?;
    call.params.required("attachmentIds")?;
    let wanted = filter::object_ids(&call.params, "attachmentIds")?.unwrap_or_default();
    let tx = opened.store.begin_write(call.now())?;
    let parent = parent(&*tx as &dyn ReadTx, &opened, id, object_id)?;
    let mut found = BTreeMap::new();
    let ids = Filter::ObjectIds(wanted.clone());
    of_parents(&*tx as &dyn ReadTx, id, &[parent], &ids, &mut |record| {
        if let Some(number) = record.object_id {
            found.insert(number, record.global_id);
        }
        Ok(())
    })?;
    let planned = wanted
        .iter()
        .filter_map(|number| found.get(number))
        .map(|global_id| {
            let edit = Edit::Delete {
                global_id: global_id.clone(),
                base: None,
            };
            (Verb::Delete, edit)
        });
    let mut done = apply(call, &opened, tx, id, &planned.collect::<Vec<_>>())?.into_iter();
    let results = wanted.iter().map(|number| {
        let mut told = if found.contains_key(number) {
            done.next().unwrap_or_default()
        } else {
            let slot = failed(
                Verb::Delete,
                None,
                format!("there is no attachment {number}"),
            );
            verdict(&slot, &[]).to_json()
        };
        told["objectId"] = json!(number.0);
        told
    });
    Ok(Answer::Json(
        json!({"deleteAttachmentResults": results.collect::<Vec<_>>()}),
    ))
}

/// `queryAttachments`.
pub(crate) fn query(call: &Call, name: &str, id: CollectionId) -> Result<Answer> {
    let opened = call.open(name, Right::Read)?;
    let collection = open(&opened, id)?;
    let params = &call.params;
    let mut parents = opened.access.filter(id);
    parents = parents.and(filter::condition(
        params,
        "definitionExpression",
        &opened,
        collection,
    )?);
    parents = parents.and(filter::condition(params, "where", &opened, collection)?);
    if let Some(ids) = filter::object_ids(params, "objectIds")? {
        parents = parents.and(Filter::ObjectIds(ids));
    }
    if let Some(ids) = params.global_ids("globalIds")? {
        parents = parents.and(Filter::GlobalIds(ids));
    }
    let wanted = Wanted::of_call(call)?;
    let count_only = params.flag("returnCountOnly", false)?;
    let with_url = params.flag("returnUrl", false)?;
    let tx = opened.store.begin_read()?;
    let owners = ids_of(tx.as_ref(), id, parents)?;
    let numbers: BTreeMap<GlobalId, ObjectId> = owners
        .into_iter()
        .map(|(number, id)| (id, number))
        .collect();
    let keys: Vec<GlobalId> = numbers.keys().cloned().collect();
    let mut groups: BTreeMap<ObjectId, (GlobalId, Vec<Value>)> = BTreeMap::new();
    for some in keys.chunks(MAX_PARENTS) {
        of_parents(tx.as_ref(), id, some, &Filter::All, &mut |record| {
            let told = Told(&record);
            let Some(parent) = told.parent().filter(|_| wanted.matches(&told)) else {
                return Ok(());
            };
            let Some(owner) = numbers.get(&parent) else {
                return Ok(());
            };
            let mut info = told.to_json();
            if let (true, Some(number)) = (with_url, record.object_id) {
                info["url"] = json!(url(call, name, id, owner.0, number.0));
            }
            let group = groups.entry(*owner).or_insert_with(|| (parent, Vec::new()));
            group.1.push(info);
            Ok(())
        })?;
    }
    let groups = groups.into_iter().map(|(number, (global_id, infos))| {
        let mut told = json!({
            "parentObjectId": number.0,
            "parentGlobalId": global_id.braced(),
        });
        if count_only {
            told["count"] = json!(infos.len());
        } else {
            told["attachmentInfos"] = json!(infos);
        }
        told
    });
    Ok(Answer::Json(json!({
        "fields": [],
        "attachmentGroups": groups.collect::<Vec<_>>(),
    })))
}

/// Conditions on the attachments themselves.
#[derive(Debug)]
struct Wanted {
    types: Vec<String>,
    keywords: Vec<String>,
    smallest: i64,
    largest: i64,
}

impl Wanted {
    fn of_call(call: &Call) -> Result<Self> {
        let list = |name: &str| -> Result<Vec<String>> {
            let words = call.params.words(name)?.unwrap_or_default();
            Ok(words.iter().map(|word| word.to_lowercase()).collect())
        };
        let sizes = call.params.ids("size")?.unwrap_or_default();
        Ok(Self {
            types: list("attachmentTypes")?,
            keywords: list("keywords")?,
            smallest: sizes.first().copied().unwrap_or(0),
            largest: sizes.get(1).copied().unwrap_or(i64::MAX),
        })
    }

    fn matches(&self, told: &Told<'_>) -> bool {
        let kind = told.content_type().to_lowercase();
        let words = told.text(at::KEYWORDS).unwrap_or_default().to_lowercase();
        let has_type = |wanted: &String| kind == *wanted || kind.starts_with(&format!("{wanted}/"));
        let has_word = |wanted: &String| words.split(',').any(|word| word.trim() == wanted);
        (self.types.is_empty() || self.types.iter().any(has_type))
            && (self.keywords.is_empty() || self.keywords.iter().any(has_word))
            && (self.smallest..=self.largest).contains(&told.size())
    }
}
