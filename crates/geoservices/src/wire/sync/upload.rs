//! Writer of the edits that a client uploads (`edits` of synchronizeReplica).

use std::io::{self, Write};

use base64::engine::general_purpose::STANDARD;
use base64::write::EncoderWriter;
use haversack_model::{Changes, Collection, GlobalId, Record, Value};
use serde_json::{Map, json};

use crate::Result;
use crate::wire::feature::{Column, FeatureWriter};
use crate::wire::geometry::GeometryOptions;
use crate::wire::json::{write_text, write_value};

/// The edits of one layer.
#[derive(Clone, Debug)]
pub struct LayerUpload<'a> {
    /// The layer.
    pub collection: &'a Collection,
    /// New records.
    pub adds: Vec<Record>,
    /// New values of some fields.
    pub updates: Vec<(GlobalId, Changes)>,
    /// Records to delete.
    pub deletes: Vec<GlobalId>,
    /// New attachments.
    pub attachment_adds: Vec<AttachmentUpload<'a>>,
    /// Attachments with other content or another name.
    pub attachment_updates: Vec<AttachmentUpload<'a>>,
    /// Attachments to delete.
    pub attachment_deletes: Vec<GlobalId>,
}

impl<'a> LayerUpload<'a> {
    /// No edits.
    pub fn new(collection: &'a Collection) -> Self {
        Self {
            collection,
            adds: Vec::new(),
            updates: Vec::new(),
            deletes: Vec::new(),
            attachment_adds: Vec::new(),
            attachment_updates: Vec::new(),
            attachment_deletes: Vec::new(),
        }
    }
}

/// One attachment.
#[derive(Clone, Debug)]
pub struct AttachmentUpload<'a> {
    /// Its identity.
    pub global_id: GlobalId,
    /// The record that it belongs to, if known.
    pub parent: Option<String>,
    /// File name.
    pub name: Option<String>,
    /// Media type.
    pub content_type: Option<String>,
    /// Free text.
    pub keywords: Option<String>,
    /// Its content, unless that stays as it is.
    pub content: Option<UploadContent<'a>>,
}

/// The content of an attachment.
#[derive(Clone, Copy, Debug)]
pub enum UploadContent<'a> {
    /// Sent along.
    Data(&'a [u8]),
    /// Uploaded before, under this id.
    Upload(&'a str),
}

/// Writes `[{id, features:{adds, updates, deleteIds}, attachments:{..}}]`.
///
/// Values of read-only fields and of editor tracking are left out: the server makes them.
///
/// # Errors
/// [`crate::Error::Io`].
pub fn write_upload(out: &mut dyn Write, layers: &[LayerUpload<'_>]) -> Result<()> {
    list(out, layers, |out, layer| {
        write!(
            out,
            r#"{{"id":{},"features":{{"adds":"#,
            layer.collection.id
        )?;
        let settable = settable(layer.collection);
        list(out, &layer.adds, |out, record| {
            let mut columns = vec![Column::GlobalId];
            columns.extend(settable.iter().map(|at| Column::Field(*at)));
            FeatureWriter::new(layer.collection)
                .columns(columns)
                .write(out, record)
        })?;
        out.write_all(b",\"updates\":")?;
        list(out, &layer.updates, |out, (id, changes)| {
            update(out, layer.collection, &settable, id, changes)
        })?;
        out.write_all(b",\"deleteIds\":")?;
        list(out, &layer.deletes, |out, id| {
            Ok(write_text(out, &id.braced())?)
        })?;
        out.write_all(b"},\"attachments\":{\"adds\":")?;
        list(out, &layer.attachment_adds, |out, one| {
            Ok(attachment(out, one)?)
        })?;
        out.write_all(b",\"updates\":")?;
        list(out, &layer.attachment_updates, |out, one| {
            Ok(attachment(out, one)?)
        })?;
        out.write_all(b",\"deleteIds\":")?;
        list(out, &layer.attachment_deletes, |out, id| {
            Ok(write_text(out, &id.braced())?)
        })?;
        Ok(out.write_all(b"}}")?)
    })
}

fn list<T>(
    out: &mut dyn Write,
    items: &[T],
    mut one: impl FnMut(&mut dyn Write, &T) -> Result<()>,
) -> Result<()> {
    out.write_all(b"[")?;
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            out.write_all(b",")?;
        }
        one(out, item)?;
    }
    Ok(out.write_all(b"]")?)
}

/// Positions of the fields that a client may set.
pub(crate) fn settable(collection: &Collection) -> Vec<usize> {
    let tracked = collection.editor_fields.as_ref();
    let is_tracked = |name: &str| {
        tracked.is_some_and(|e| {
            [&e.created_at, &e.creator, &e.edited_at, &e.editor]
                .iter()
                .any(|field| field.eq_ignore_ascii_case(name))
        })
    };
    let fields = collection.fields.iter().enumerate();
    fields
        .filter(|(_, field)| field.editable && !is_tracked(&field.name))
        .map(|(at, _)| at)
        .collect()
}

fn update(
    out: &mut dyn Write,
    collection: &Collection,
    settable: &[usize],
    id: &GlobalId,
    changes: &Changes,
) -> Result<()> {
    let mut record = Record {
        global_id: id.clone(),
        object_id: None,
        values: vec![Value::Null; collection.fields.len()],
        geometry: None,
    };
    changes.apply_to(&mut record);
    let set = changes.values.keys().filter(|at| settable.contains(at));
    let mut columns = vec![Column::GlobalId];
    columns.extend(set.map(|at| Column::Field(*at)));
    FeatureWriter::new(collection)
        .columns(columns)
        .geometry(changes.geometry.is_some().then_some(GeometryOptions::ALL))
        .write(out, &record)
}

fn attachment(out: &mut dyn Write, one: &AttachmentUpload<'_>) -> io::Result<()> {
    let mut members = Map::new();
    members.insert("globalId".to_owned(), json!(one.global_id.braced()));
    for (name, text) in [
        ("parentGlobalId", &one.parent),
        ("name", &one.name),
        ("contentType", &one.content_type),
        ("keywords", &one.keywords),
    ] {
        if let Some(text) = text {
            members.insert(name.to_owned(), json!(text));
        }
    }
    if let Some(UploadContent::Upload(id)) = one.content {
        members.insert("uploadId".to_owned(), json!(id));
    }
    let Some(UploadContent::Data(data)) = one.content else {
        return write_value(out, &members.into());
    };
    out.write_all(b"{")?;
    for (name, value) in &members {
        write_text(out, name)?;
        out.write_all(b":")?;
        write_value(out, value)?;
        out.write_all(b",")?;
    }
    out.write_all(b"\"data\":\"")?;
    let mut encoder = EncoderWriter::new(&mut *out, &STANDARD);
    encoder.write_all(data)?;
    encoder.finish()?;
    drop(encoder);
    out.write_all(b"\"}")
}
