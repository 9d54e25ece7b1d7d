//! Reader of the edits that a client uploads.
//!
//! One bad edit must not hinder the others, so each is a result of its own; only what is no document of edits at all, or
//! names an unknown layer, is an error of the whole. Features are turned into edits one by one as they are read.

use std::fmt;
use std::io::Read;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use haversack_model::schema::attachment_field;
use haversack_model::{BlobHash, CollectionId, GlobalId, ObjectId, Record, Service, Value};
use haversack_sync::ForeignEdit;
use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::Value as Json;

use crate::wire::feature::{FeatureReader, IncomingFeature, global_id};
use crate::wire::json::{Strict, integer, kind, member, problem};
use crate::{Error, Result};

/// The edits of one layer.
#[derive(Debug)]
pub struct IncomingLayer {
    /// Which layer.
    pub id: CollectionId,
    /// Features to add, in the order sent.
    pub adds: Vec<IncomingEdit>,
    /// Features to update.
    pub updates: Vec<IncomingEdit>,
    /// Features to delete.
    pub deletes: Vec<IncomingEdit>,
    /// Attachments to add.
    pub attachment_adds: Vec<Result<IncomingAttachment>>,
    /// Attachments to update.
    pub attachment_updates: Vec<Result<IncomingAttachment>>,
    /// Attachments to delete.
    pub attachment_deletes: Vec<Result<GlobalId>>,
}

impl IncomingLayer {
    fn new(id: CollectionId) -> Self {
        Self {
            id,
            adds: Vec::new(),
            updates: Vec::new(),
            deletes: Vec::new(),
            attachment_adds: Vec::new(),
            attachment_updates: Vec::new(),
            attachment_deletes: Vec::new(),
        }
    }
}

/// One edit of a feature.
#[derive(Debug)]
pub struct IncomingEdit {
    /// The record's identity, if it could be read.
    pub global_id: Option<GlobalId>,
    /// The object id that the client named; for its result only, rows are addressed by global id.
    pub object_id: Option<ObjectId>,
    /// The edit, or why it is none.
    pub edit: Result<ForeignEdit>,
}

/// One edit of an attachment.
#[derive(Clone, Debug, PartialEq)]
pub struct IncomingAttachment {
    /// Its identity.
    pub global_id: GlobalId,
    /// The record that it belongs to; an update may leave it out.
    pub parent: Option<GlobalId>,
    /// File name.
    pub name: Option<String>,
    /// Media type.
    pub content_type: Option<String>,
    /// Free text.
    pub keywords: Option<String>,
    /// Its content; an update may leave it as it is.
    pub content: Option<UploadedContent>,
}

/// Where the content of an attachment comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum UploadedContent {
    /// It was sent along.
    Data(Vec<u8>),
    /// It was uploaded before, under this id.
    Upload(String),
    /// It was uploaded before, under this address. Only addresses of this server's own uploads may be followed.
    Url(String),
}

impl IncomingAttachment {
    /// The record of an add in the layer's attachment collection.
    pub fn to_record(&self, parent: &GlobalId, hash: BlobHash, bytes: i64) -> Record {
        let text = |text: &Option<String>| text.clone().map_or(Value::Null, Value::Text);
        let mut values = vec![Value::Null; 6];
        values[attachment_field::PARENT] = Value::Text(parent.braced());
        values[attachment_field::NAME] = text(&self.name);
        values[attachment_field::CONTENT_TYPE] = text(&self.content_type);
        values[attachment_field::SIZE] = Value::Integer(bytes);
        values[attachment_field::SHA256] = Value::Text(hash.to_string());
        values[attachment_field::KEYWORDS] = text(&self.keywords);
        Record {
            global_id: self.global_id.clone(),
            object_id: None,
            values,
            geometry: None,
        }
    }
}

/// Reads a document of edits: an array of layers, or an object that holds it under `edits` or `layers`. A layer's features
/// stand under `features` or on the layer itself. `srid` is the reference of geometry that names none.
///
/// # Errors
/// [`Error::Document`] for what is no such document.
pub fn read_edits(
    reader: impl Read,
    service: &Service,
    srid: Option<i32>,
) -> Result<Vec<IncomingLayer>> {
    let mut json = serde_json::Deserializer::from_reader(reader);
    let layers = Document { service, srid }
        .deserialize(&mut json)
        .and_then(|layers| json.end().map(|()| layers));
    layers.map_err(|e| Error::document("edits", problem(&e)))
}

#[derive(Clone, Copy)]
struct Document<'a> {
    service: &'a Service,
    srid: Option<i32>,
}

impl<'de> DeserializeSeed<'de> for Document<'_> {
    type Value = Vec<IncomingLayer>;
    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Document<'_> {
    type Value = Vec<IncomingLayer>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of layers with their edits")
    }
    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Vec::new())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut layers: Vec<IncomingLayer> = Vec::new();
        while let Some(layer) = seq.next_element_seed(Layer(self))? {
            if layers.iter().any(|known| known.id == layer.id) {
                return Err(A::Error::custom(format!("layer {} occurs twice", layer.id)));
            }
            layers.push(layer);
        }
        Ok(layers)
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut layers = None;
        while let Some(key) = map.next_key::<String>()? {
            if key.eq_ignore_ascii_case("edits") || key.eq_ignore_ascii_case("layers") {
                if layers.is_some() {
                    return Err(A::Error::custom("the edits occur twice"));
                }
                layers = Some(map.next_value_seed(self)?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        layers.ok_or_else(|| A::Error::custom("an object of edits needs 'edits'"))
    }
}

/// The lists of a layer.
#[derive(Clone, Copy, Debug, PartialEq)]
enum List {
    Adds,
    Updates,
    Deletes,
    AttachmentAdds,
    AttachmentUpdates,
    AttachmentDeletes,
}

struct Layer<'a>(Document<'a>);

impl<'de> DeserializeSeed<'de> for Layer<'_> {
    type Value = IncomingLayer;
    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<IncomingLayer, D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Layer<'_> {
    type Value = IncomingLayer;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with the id of a layer and its edits")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<IncomingLayer, A::Error> {
        let mut state = State {
            document: self.0,
            layer: None,
            waiting: Vec::new(),
        };
        let mut seen: Vec<String> = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            let key = key.to_ascii_lowercase();
            if seen.contains(&key) {
                return Err(A::Error::custom(format!("the key {key:?} occurs twice")));
            }
            match key.as_str() {
                "id" | "layerid" => {
                    let id = map.next_value_seed(Strict::new())?;
                    state.begin(&id).map_err(A::Error::custom)?;
                }
                "features" => map.next_value_seed(Lists {
                    state: &mut state,
                    attachments: false,
                })?,
                "attachments" => map.next_value_seed(Lists {
                    state: &mut state,
                    attachments: true,
                })?,
                other => match list_of(other, false) {
                    Some(list) => map.next_value_seed(Items {
                        state: &mut state,
                        list,
                    })?,
                    None => {
                        map.next_value::<IgnoredAny>()?;
                    }
                },
            }
            seen.push(key);
        }
        state.end().map_err(A::Error::custom)
    }
}

fn list_of(key: &str, attachments: bool) -> Option<List> {
    Some(match (key, attachments) {
        ("adds", false) => List::Adds,
        ("updates", false) => List::Updates,
        ("deleteids" | "deletes", false) => List::Deletes,
        ("adds", true) => List::AttachmentAdds,
        ("updates", true) => List::AttachmentUpdates,
        ("deleteids" | "deletes", true) => List::AttachmentDeletes,
        _ => return None,
    })
}

/// A layer that is being read. Items that come before the layer's id wait for it.
struct State<'a> {
    document: Document<'a>,
    layer: Option<(IncomingLayer, FeatureReader<'a>)>,
    waiting: Vec<(List, Json)>,
}

impl State<'_> {
    fn begin(&mut self, id: &Json) -> Result<(), String> {
        let known = integer(id)
            .and_then(|id| u32::try_from(id).ok())
            .and_then(|id| self.document.service.collection(CollectionId(id)));
        let Some(collection) = known else {
            let ids: Vec<String> = self
                .document
                .service
                .collections
                .iter()
                .map(|c| c.id.to_string())
                .collect();
            return Err(format!("there is no layer {id}; legal: {}", ids.join(", ")));
        };
        let reader = FeatureReader::from_client(collection).in_reference(self.document.srid);
        self.layer = Some((IncomingLayer::new(collection.id), reader));
        for (list, item) in std::mem::take(&mut self.waiting) {
            self.item(list, item);
        }
        Ok(())
    }

    fn item(&mut self, list: List, item: Json) {
        let Some((layer, reader)) = &mut self.layer else {
            self.waiting.push((list, item));
            return;
        };
        match list {
            List::Adds => layer.adds.push(feature(reader, &item, true)),
            List::Updates => layer.updates.push(feature(reader, &item, false)),
            List::Deletes => layer.deletes.push(deletion(&item)),
            List::AttachmentAdds => layer.attachment_adds.push(attachment(&item)),
            List::AttachmentUpdates => layer.attachment_updates.push(attachment(&item)),
            List::AttachmentDeletes => layer.attachment_deletes.push(global_id("deleteIds", &item)),
        }
    }

    fn end(self) -> Result<IncomingLayer, &'static str> {
        self.layer
            .map(|(layer, _)| layer)
            .ok_or("a layer of edits needs 'id'")
    }
}

fn feature(reader: &mut FeatureReader<'_>, item: &Json, is_add: bool) -> IncomingEdit {
    let collection = reader.collection();
    let edit = |read: &IncomingFeature| {
        let id = read.global_id.clone().ok_or_else(|| {
            let problem = "is required: rows are addressed by it, offline and online";
            Error::field(collection.global_id_field.clone(), problem)
        })?;
        Ok(if is_add {
            let record = read.to_record(collection, id);
            ForeignEdit::Add(record, read.changes.clone())
        } else {
            ForeignEdit::Update {
                global_id: id,
                mine: read.changes.clone(),
            }
        })
    };
    let read = reader.read(item);
    match read {
        Ok(read) => IncomingEdit {
            edit: edit(&read),
            global_id: read.global_id,
            object_id: read.object_id,
        },
        Err(error) => IncomingEdit {
            // The result of a refused row still has to say which row it was.
            global_id: item
                .get("attributes")
                .and_then(Json::as_object)
                .and_then(|a| member(a, &collection.global_id_field))
                .and_then(|value| global_id("GlobalID", value).ok()),
            object_id: None,
            edit: Err(error),
        },
    }
}

fn deletion(item: &Json) -> IncomingEdit {
    let id = global_id("deleteIds", item);
    IncomingEdit {
        global_id: id.as_ref().ok().cloned(),
        object_id: None,
        edit: id.map(ForeignEdit::Delete),
    }
}

fn attachment(item: &Json) -> Result<IncomingAttachment> {
    let Json::Object(members) = item else {
        let problem = format!("must be an object, not {}", kind(item));
        return Err(Error::document("attachments", problem));
    };
    let text = |name: &str| {
        let value = member(members, name).and_then(Json::as_str);
        value.filter(|text| !text.is_empty()).map(str::to_owned)
    };
    let id = |name: &str| {
        let value = member(members, name);
        value.map(|value| global_id(name, value)).transpose()
    };
    let own = id("globalId")?.ok_or_else(|| Error::field("globalId", "is required"))?;
    let content = if let Some(data) = member(members, "data") {
        let bytes = data
            .as_str()
            .and_then(|text| STANDARD.decode(text.trim()).ok());
        let bytes = bytes.ok_or_else(|| Error::field("data", "must be base64"))?;
        Some(UploadedContent::Data(bytes))
    } else if let Some(upload) = text("uploadId") {
        Some(UploadedContent::Upload(upload))
    } else {
        text("url").map(UploadedContent::Url)
    };
    Ok(IncomingAttachment {
        global_id: own,
        parent: id("parentGlobalId")?,
        name: text("name"),
        content_type: text("contentType"),
        keywords: text("keywords"),
        content,
    })
}

/// The object with the lists `adds`, `updates`, `deleteIds`.
struct Lists<'s, 'a> {
    state: &'s mut State<'a>,
    attachments: bool,
}

impl<'de> DeserializeSeed<'de> for Lists<'_, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Lists<'_, '_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with adds, updates and deleteIds")
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen: Vec<List> = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            let Some(list) = list_of(&key.to_ascii_lowercase(), self.attachments) else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            if seen.contains(&list) {
                return Err(A::Error::custom(format!("{key:?} occurs twice")));
            }
            seen.push(list);
            map.next_value_seed(Items {
                state: self.state,
                list,
            })?;
        }
        Ok(())
    }
}

/// One list; null is an empty one, and ids may stand in one text, separated by commas.
struct Items<'s, 'a> {
    state: &'s mut State<'a>,
    list: List,
}

impl<'de> DeserializeSeed<'de> for Items<'_, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Items<'_, '_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        if !matches!(self.list, List::Deletes | List::AttachmentDeletes) {
            return Err(E::custom("expected an array"));
        }
        for id in text.split(',').map(str::trim).filter(|id| !id.is_empty()) {
            self.state.item(self.list, Json::from(id));
        }
        Ok(())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(item) = seq.next_element_seed(Strict::new())? {
            self.state.item(self.list, item);
        }
        Ok(())
    }
}
