//! Reader of the documents that servers answer: whole replicas and changes, as a stream.
//!
//! Features are handed on one by one, so a document of any size takes little memory. Nothing is trusted: an unknown layer,
//! a value that does not fit, a key that occurs twice end the reading with an error, and what was handed on before must
//! not be kept (callers stage it in one transaction).

use std::fmt;
use std::io::Read;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use haversack_model::{CollectionId, Generation, GlobalId, Service};
use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::{Map, Value as Json};

use crate::wire::crs;
use crate::wire::feature::{FeatureReader, IncomingFeature, global_id};
use crate::wire::json::{integer, kind, member, problem, strict};
use crate::{Error, Result};

/// Most items of a layer that come before its id, which must be known to read them.
const MAX_WAITING: usize = 10_000;

/// Which list an item stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All records of a layer.
    All,
    /// Records that are new to the replica.
    Added,
    /// Records that changed.
    Updated,
}

/// Takes what a document holds, in its order.
pub trait DocumentVisitor {
    /// A layer of whole data begins: what the replica has of it is replaced.
    fn layer(&mut self, layer: CollectionId) -> Result<()>;
    /// A record; its global id is there.
    fn feature(&mut self, layer: CollectionId, part: Part, feature: IncomingFeature) -> Result<()>;
    /// A record is gone.
    fn removed(&mut self, layer: CollectionId, id: GlobalId) -> Result<()>;
    /// An attachment of the layer.
    fn attachment(
        &mut self,
        layer: CollectionId,
        part: Part,
        line: IncomingAttachmentLine,
    ) -> Result<()>;
    /// An attachment of the layer is gone.
    fn attachment_removed(&mut self, layer: CollectionId, id: GlobalId) -> Result<()>;
}

/// An attachment as it is told.
#[derive(Clone, Debug, PartialEq)]
pub struct IncomingAttachmentLine {
    /// Its identity.
    pub global_id: GlobalId,
    /// The record that it belongs to.
    pub parent: GlobalId,
    /// File name.
    pub name: String,
    /// Media type.
    pub content_type: String,
    /// Bytes, if told.
    pub bytes: Option<i64>,
    /// Free text.
    pub keywords: String,
    /// Its number within the layer, by which it can be fetched.
    pub attachment_id: Option<i64>,
    /// Where its content is.
    pub content: AttachmentContent,
}

/// Where the content of an attachment is.
#[derive(Clone, Debug, PartialEq)]
pub enum AttachmentContent {
    /// In the document.
    Data(Vec<u8>),
    /// Under this address.
    Url(String),
    /// Not told.
    Unknown,
}

/// What a document says of itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DocumentHead {
    /// Members that are no lists: names, ids, generations, addresses, an error.
    pub members: Map<String, Json>,
    /// Results of uploaded edits per layer, as they stand there.
    pub results: Vec<(CollectionId, Map<String, Json>)>,
    /// Results of uploaded attachments per layer.
    pub attachment_results: Vec<(CollectionId, Map<String, Json>)>,
    /// Whether there was a list of layers or edits at all.
    pub has_data: bool,
}

impl DocumentHead {
    /// A text member that is not empty.
    pub fn text(&self, name: &str) -> Option<&str> {
        let text = member(&self.members, name).and_then(Json::as_str);
        text.filter(|text| !text.trim().is_empty())
    }
    /// The replica's generation.
    pub fn generation(&self) -> Option<Generation> {
        let number = member(&self.members, "replicaServerGen").and_then(integer)?;
        u64::try_from(number).ok().map(Generation)
    }
    /// The layers' generations; some servers write the list as text.
    pub fn layer_generations(&self) -> Vec<(CollectionId, Generation)> {
        let parsed;
        let list = match member(&self.members, "layerServerGens") {
            Some(Json::Array(list)) => list,
            Some(Json::String(text)) => {
                parsed = crate::wire::json::parse(text.as_bytes(), "layerServerGens");
                match &parsed {
                    Ok(Json::Array(list)) => list,
                    _ => return Vec::new(),
                }
            }
            _ => return Vec::new(),
        };
        let one = |item: &Json| {
            let item = item.as_object()?;
            let id = u32::try_from(member(item, "id").and_then(integer)?).ok()?;
            let generation = u64::try_from(member(item, "serverGen").and_then(integer)?).ok()?;
            Some((CollectionId(id), Generation(generation)))
        };
        list.iter().filter_map(one).collect()
    }
    /// Where the result is, under the names in use.
    pub fn url(&self) -> Option<&str> {
        ["resultUrl", "responseUrl", "URL"]
            .into_iter()
            .find_map(|name| self.text(name))
    }
    /// Code and words of an error answer.
    pub fn error(&self) -> Option<(i64, String)> {
        let error = member(&self.members, "error")?;
        let Json::Object(members) = error else {
            return Some((500, error.to_string()));
        };
        let code = member(members, "code").and_then(integer).unwrap_or(500);
        let mut words: Vec<&str> = Vec::new();
        words.extend(member(members, "message").and_then(Json::as_str));
        if let Some(Json::Array(details)) = member(members, "details") {
            words.extend(details.iter().filter_map(Json::as_str));
        }
        let words: Vec<&str> = words.into_iter().filter(|w| !w.trim().is_empty()).collect();
        Some((code, words.join(": ")))
    }
}

/// Reads a document and hands on what it holds. `srid` is the reference of geometry that names none; `None`: the layer's.
///
/// # Errors
/// [`Error::Document`] for what is no such document or breaks off; what the visitor says.
pub fn read_document(
    reader: impl Read,
    service: &Service,
    srid: Option<i32>,
    visitor: &mut dyn DocumentVisitor,
) -> Result<DocumentHead> {
    let mut failure = None;
    let mut json = serde_json::Deserializer::from_reader(reader);
    let mut reading = Reading {
        service,
        srid,
        visitor,
        failure: &mut failure,
        head: DocumentHead::default(),
    };
    let read = (&mut reading)
        .deserialize(&mut json)
        .and_then(|()| json.end());
    let head = std::mem::take(&mut reading.head);
    match (read, failure) {
        (Ok(()), _) => Ok(head),
        (Err(_), Some(error)) => Err(error),
        (Err(e), None) => Err(Error::document("the server's answer", problem(&e))),
    }
}

struct Reading<'a> {
    service: &'a Service,
    srid: Option<i32>,
    visitor: &'a mut dyn DocumentVisitor,
    /// The error behind an error of the JSON reader.
    failure: &'a mut Option<Error>,
    head: DocumentHead,
}

impl Reading<'_> {
    /// Passes an error of ours through the JSON reader.
    fn pass<T, E: serde::de::Error>(&mut self, result: Result<T>) -> Result<T, E> {
        result.map_err(|error| {
            let text = error.to_string();
            self.failure.get_or_insert(error);
            E::custom(text)
        })
    }
}

impl<'de> DeserializeSeed<'de> for &mut Reading<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for &mut Reading<'_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            let lists = match key.as_str() {
                "layers" | "edits" => true,
                key if self.head.members.contains_key(key) => {
                    return Err(A::Error::custom(format!("the key {key:?} occurs twice")));
                }
                _ => false,
            };
            if lists {
                self.head.has_data = true;
                map.next_value_seed(Layers(self))?;
            } else {
                let value = map.next_value_seed(strict())?;
                self.head.members.insert(key, value);
            }
        }
        Ok(())
    }
}

struct Layers<'r, 'a>(&'r mut Reading<'a>);

impl<'de> DeserializeSeed<'de> for Layers<'_, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Layers<'_, '_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of layers")
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(OneLayer(self.0))?.is_some() {}
        Ok(())
    }
}

struct OneLayer<'r, 'a>(&'r mut Reading<'a>);

impl<'de> DeserializeSeed<'de> for OneLayer<'_, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_map(self)
    }
}

/// The lists of a layer.
#[derive(Clone, Copy, Debug, PartialEq)]
enum List {
    Features(Part),
    Removed,
    Attachments(Part),
    AttachmentsRemoved,
}

impl<'de> Visitor<'de> for OneLayer<'_, '_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with the id of a layer")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut layer = LayerState {
            srid: self.0.srid,
            reading: self.0,
            open: None,
            waiting: Vec::new(),
            attachment_results: Map::new(),
        };
        let mut results = Map::new();
        let mut seen: Vec<String> = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            if seen.contains(&key) {
                return Err(A::Error::custom(format!("the key {key:?} occurs twice")));
            }
            match key.as_str() {
                "id" => {
                    let id = map.next_value_seed(strict())?;
                    layer.begin(&id)?;
                }
                "spatialReference" => {
                    let reference = map.next_value_seed(strict())?;
                    layer.reference(&reference)?;
                }
                "features" => map.next_value_seed(Lists {
                    layer: &mut layer,
                    attachments: false,
                })?,
                "attachments" => map.next_value_seed(Lists {
                    layer: &mut layer,
                    attachments: true,
                })?,
                name if name.to_ascii_lowercase().ends_with("results") => {
                    let value = map.next_value_seed(strict())?;
                    results.insert(key.clone(), value);
                }
                name => match list_of(name, false) {
                    Some(list) => map.next_value_seed(Items {
                        layer: &mut layer,
                        list,
                    })?,
                    None => {
                        map.next_value::<IgnoredAny>()?;
                    }
                },
            }
            seen.push(key);
        }
        let Some((id, _)) = &layer.open else {
            return Err(A::Error::custom("a layer needs 'id'"));
        };
        let id = *id;
        let attached = std::mem::take(&mut layer.attachment_results);
        if !attached.is_empty() {
            self.0.head.attachment_results.push((id, attached));
        }
        if !results.is_empty() {
            self.0.head.results.push((id, results));
        }
        Ok(())
    }
}

fn list_of(key: &str, attachments: bool) -> Option<List> {
    Some(match (key, attachments) {
        ("adds", false) => List::Features(Part::Added),
        ("updates", false) => List::Features(Part::Updated),
        ("deleteIds" | "deletes", false) => List::Removed,
        ("adds", true) => List::Attachments(Part::Added),
        ("updates", true) => List::Attachments(Part::Updated),
        ("deleteIds" | "deletes", true) => List::AttachmentsRemoved,
        _ => return None,
    })
}

struct LayerState<'r, 'a> {
    reading: &'r mut Reading<'a>,
    srid: Option<i32>,
    open: Option<(CollectionId, FeatureReader<'a>)>,
    waiting: Vec<(List, Json)>,
    attachment_results: Map<String, Json>,
}

impl LayerState<'_, '_> {
    fn begin<E: serde::de::Error>(&mut self, id: &Json) -> Result<(), E> {
        let service = self.reading.service;
        let collection = integer(id)
            .and_then(|id| u32::try_from(id).ok())
            .and_then(|id| service.collection(CollectionId(id)))
            .ok_or_else(|| E::custom(format!("there is no layer {id} in this service")))?;
        let reader = FeatureReader::from_server(collection).in_reference(self.srid);
        self.open = Some((collection.id, reader));
        for (list, item) in std::mem::take(&mut self.waiting) {
            self.item(list, item)?;
        }
        Ok(())
    }

    /// The reference of the layer's geometry in this document, which stands before its features.
    fn reference<E: serde::de::Error>(&mut self, reference: &Json) -> Result<(), E> {
        if !reference.is_null() {
            let read = crs::from_json(reference, "spatialReference");
            self.srid = Some(self.reading.pass(read)?);
            if let Some((_, reader)) = &mut self.open {
                reader.set_reference(self.srid);
            }
        }
        Ok(())
    }

    /// Tells the visitor that a layer of whole data begins.
    fn whole<E: serde::de::Error>(&mut self) -> Result<(), E> {
        let Some((id, _)) = &self.open else {
            return Err(E::custom("a layer's 'id' must come before its features"));
        };
        let told = self.reading.visitor.layer(*id);
        self.reading.pass(told)
    }

    fn item<E: serde::de::Error>(&mut self, list: List, item: Json) -> Result<(), E> {
        let Some((id, reader)) = &mut self.open else {
            if self.waiting.len() == MAX_WAITING {
                return Err(E::custom("a layer's 'id' must come before its features"));
            }
            self.waiting.push((list, item));
            return Ok(());
        };
        let id = *id;
        let visitor = &mut *self.reading.visitor;
        let done = match list {
            List::Features(part) => reader.read(&item).and_then(|feature| {
                if feature.global_id.is_none() {
                    let field = reader.collection().global_id_field.clone();
                    return Err(Error::field(field, "is missing in a record of the server"));
                }
                visitor.feature(id, part, feature)
            }),
            List::Removed => removed(&item, &reader.collection().global_id_field)
                .and_then(|gone| visitor.removed(id, gone)),
            List::Attachments(part) => {
                attachment(&item).and_then(|line| visitor.attachment(id, part, line))
            }
            List::AttachmentsRemoved => {
                removed(&item, "globalId").and_then(|gone| visitor.attachment_removed(id, gone))
            }
        };
        self.reading.pass(done)
    }
}

/// A removed row: its global id, or what is left of the row.
fn removed(item: &Json, field: &str) -> Result<GlobalId> {
    let inner = item.get("attributes").unwrap_or(item);
    let id = inner.as_object().and_then(|members| member(members, field));
    global_id("deleteIds", id.unwrap_or(item))
}

fn attachment(item: &Json) -> Result<IncomingAttachmentLine> {
    let Json::Object(members) = item else {
        let problem = format!("must be an object, not {}", kind(item));
        return Err(Error::document("attachments", problem));
    };
    let text = |name: &str| {
        let value = member(members, name).and_then(Json::as_str);
        value.unwrap_or_default().to_owned()
    };
    let id = |name: &str| {
        let value = member(members, name);
        let value = value.ok_or_else(|| Error::field(name, "is missing in an attachment"))?;
        global_id(name, value)
    };
    let content = if let Some(data) = member(members, "data") {
        let bytes = data.as_str().and_then(|t| STANDARD.decode(t.trim()).ok());
        AttachmentContent::Data(bytes.ok_or_else(|| Error::field("data", "must be base64"))?)
    } else {
        match text("url") {
            url if url.is_empty() => AttachmentContent::Unknown,
            url => AttachmentContent::Url(url),
        }
    };
    Ok(IncomingAttachmentLine {
        global_id: id("globalId")?,
        parent: id("parentGlobalId")?,
        name: text("name"),
        content_type: text("contentType"),
        bytes: member(members, "size").and_then(integer),
        keywords: text("keywords"),
        attachment_id: member(members, "attachmentId")
            .or_else(|| member(members, "id"))
            .and_then(integer),
        content,
    })
}

/// `features` or `attachments`: an array in documents of whole data, an object of lists in documents of changes.
struct Lists<'s, 'r, 'a> {
    layer: &'s mut LayerState<'r, 'a>,
    attachments: bool,
}

impl<'de> DeserializeSeed<'de> for Lists<'_, '_, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Lists<'_, '_, '_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array, or an object with adds, updates and deleteIds")
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<(), A::Error> {
        let list = if self.attachments {
            List::Attachments(Part::All)
        } else {
            self.layer.whole()?;
            List::Features(Part::All)
        };
        Items {
            layer: self.layer,
            list,
        }
        .visit_seq(seq)
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen: Vec<List> = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            let Some(list) = list_of(&key, self.attachments) else {
                if self.attachments && key.ends_with("Results") {
                    let value = map.next_value_seed(strict())?;
                    self.layer.attachment_results.insert(key, value);
                } else {
                    map.next_value::<IgnoredAny>()?;
                }
                continue;
            };
            if seen.contains(&list) {
                return Err(A::Error::custom(format!("{key:?} occurs twice")));
            }
            seen.push(list);
            map.next_value_seed(Items {
                layer: self.layer,
                list,
            })?;
        }
        Ok(())
    }
}

struct Items<'s, 'r, 'a> {
    layer: &'s mut LayerState<'r, 'a>,
    list: List,
}

impl<'de> DeserializeSeed<'de> for Items<'_, '_, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Items<'_, '_, '_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(item) = seq.next_element_seed(strict())? {
            self.layer.item(self.list, item)?;
        }
        Ok(())
    }
}
