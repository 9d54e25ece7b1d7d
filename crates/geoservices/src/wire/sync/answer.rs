//! Writers of answer documents. Records pass through one by one; nothing is kept in memory but one of them.

use std::io::{self, Read as _, Seek as _, SeekFrom, Write};

use base64::engine::general_purpose::STANDARD;
use base64::write::EncoderWriter;
use haversack_model::{Collection, CollectionId, GlobalId, ObjectId, Record, ReplicaId, SyncModel};
use serde_json::{Map, Value, json};
use tempfile::SpooledTempFile;

use super::document::{Generations, ResponseType, TransportType};
use crate::Result;
use crate::wire::crs;
use crate::wire::feature::FeatureWriter;
use crate::wire::geometry::geometry_type;
use crate::wire::json::{write_text, write_value};

/// Bytes of a waiting list that are kept in memory before they go to a temporary file.
const SPOOL_IN_MEMORY: usize = 1 << 20;

/// Comma between the items of a list.
#[derive(Debug, Default)]
struct Commas {
    begun: bool,
}

impl Commas {
    fn next(&mut self, out: &mut dyn Write) -> io::Result<()> {
        if std::mem::replace(&mut self.begun, true) {
            out.write_all(b",")?;
        }
        Ok(())
    }
}

/// Writes the members of an object into an object that is being written, each followed by a comma.
fn members(out: &mut dyn Write, members: &Map<String, Value>) -> io::Result<()> {
    for (name, value) in members {
        write_text(out, name)?;
        out.write_all(b":")?;
        write_value(out, value)?;
        out.write_all(b",")?;
    }
    Ok(())
}

/// The members that all answers begin with. A replica that is not registered has no id and no generations.
fn head(
    name: &str,
    id: Option<ReplicaId>,
    transport: TransportType,
    response: ResponseType,
    generations: &Generations,
) -> Map<String, Value> {
    let mut head = Map::new();
    if response != ResponseType::DataChanges {
        head.insert("replicaName".to_owned(), json!(name));
        let id = id.map(|id| id.to_string().to_uppercase());
        head.insert("replicaID".to_owned(), json!(id.unwrap_or_default()));
    }
    head.insert("transportType".to_owned(), json!(transport.word()));
    head.insert("responseType".to_owned(), json!(response.word()));
    generations.describe(&mut head);
    head
}

/// One attachment in a document.
#[derive(Clone, Debug)]
pub struct AttachmentLine<'a> {
    /// Its number within the layer.
    pub object_id: Option<ObjectId>,
    /// Its identity.
    pub global_id: &'a GlobalId,
    /// The record that it belongs to.
    pub parent: &'a str,
    /// Media type.
    pub content_type: &'a str,
    /// File name.
    pub name: &'a str,
    /// Bytes.
    pub size: i64,
    /// Free text.
    pub keywords: &'a str,
    /// Where its content is, if it is not in the document.
    pub url: Option<&'a str>,
    /// Its content, if it is in the document.
    pub data: Option<&'a [u8]>,
}

impl AttachmentLine<'_> {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut line = Map::new();
        if let Some(id) = self.object_id {
            line.insert("attachmentId".to_owned(), json!(id.0));
        }
        let parent = GlobalId::parse_uuid(self.parent);
        let parent = parent.map_or_else(|_| self.parent.to_owned(), |id| id.braced());
        line.insert("globalId".to_owned(), json!(self.global_id.braced()));
        line.insert("parentGlobalId".to_owned(), json!(parent));
        line.insert("contentType".to_owned(), json!(self.content_type));
        line.insert("size".to_owned(), json!(self.size));
        line.insert("keywords".to_owned(), json!(self.keywords));
        if let Some(url) = self.url {
            line.insert("url".to_owned(), json!(url));
        }
        out.write_all(b"{")?;
        members(out, &line)?;
        if let Some(data) = self.data {
            out.write_all(b"\"data\":\"")?;
            let mut encoder = EncoderWriter::new(&mut *out, &STANDARD);
            encoder.write_all(data)?;
            encoder.finish()?;
            drop(encoder);
            out.write_all(b"\",")?;
        }
        out.write_all(b"\"name\":")?;
        write_text(out, self.name)?;
        out.write_all(b"}")
    }
}

/// The document of a whole replica: begin, per layer its records and then its attachments, end.
pub struct ReplicaDocument<'w> {
    out: &'w mut dyn Write,
    layers: Commas,
    items: Commas,
    place: Place,
}

impl std::fmt::Debug for ReplicaDocument<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReplicaDocument")
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    Layers,
    Features,
    Attachments,
}

impl<'w> ReplicaDocument<'w> {
    /// Begins the document. `response` is [`ResponseType::Data`] or [`ResponseType::ReplacementData`].
    pub fn begin(
        out: &'w mut dyn Write,
        name: &str,
        id: Option<ReplicaId>,
        transport: TransportType,
        response: ResponseType,
        model: Option<SyncModel>,
        generations: &Generations,
    ) -> Result<Self> {
        let mut head = head(name, id, transport, response, generations);
        let model = match model {
            Some(SyncModel::PerReplica) => "perReplica",
            Some(SyncModel::PerLayer) => "perLayer",
            None => "none",
        };
        head.insert("syncModel".to_owned(), json!(model));
        head.insert("targetType".to_owned(), json!("client"));
        out.write_all(b"{")?;
        members(out, &head)?;
        out.write_all(b"\"layers\":[")?;
        Ok(Self {
            out,
            layers: Commas::default(),
            items: Commas::default(),
            place: Place::Layers,
        })
    }

    /// Begins a layer. `srid` is the reference of its geometry here; `fields` is as in the layer's description.
    pub fn layer(
        &mut self,
        collection: &Collection,
        srid: Option<i32>,
        fields: &Value,
    ) -> Result<()> {
        self.end_layer()?;
        self.layers.next(self.out)?;
        let mut told = Map::new();
        told.insert("id".to_owned(), json!(collection.id.0));
        told.insert("name".to_owned(), json!(collection.name));
        told.insert(
            "objectIdFieldName".to_owned(),
            json!(collection.object_id_field),
        );
        told.insert(
            "globalIdFieldName".to_owned(),
            json!(collection.global_id_field),
        );
        if let Some(column) = &collection.geometry {
            told.insert("geometryType".to_owned(), json!(geometry_type(column.kind)));
            told.insert("hasZ".to_owned(), json!(column.has_z));
            told.insert("hasM".to_owned(), json!(column.has_m));
            let reference = crs::to_json(srid.unwrap_or(column.srid));
            told.insert("spatialReference".to_owned(), reference);
        }
        told.insert("fields".to_owned(), fields.clone());
        self.out.write_all(b"{")?;
        members(self.out, &told)?;
        self.out.write_all(b"\"features\":[")?;
        (self.items, self.place) = (Commas::default(), Place::Features);
        Ok(())
    }

    /// Writes a record of the layer.
    pub fn feature(&mut self, writer: &FeatureWriter<'_>, record: &Record) -> Result<()> {
        debug_assert_eq!(
            self.place,
            Place::Features,
            "features come before attachments"
        );
        self.items.next(self.out)?;
        writer.write(self.out, record)
    }

    /// Writes an attachment of the layer; no record may follow.
    pub fn attachment(&mut self, line: &AttachmentLine<'_>) -> Result<()> {
        self.begin_attachments()?;
        self.items.next(self.out)?;
        Ok(line.write(self.out)?)
    }

    fn begin_attachments(&mut self) -> Result<()> {
        if self.place == Place::Features {
            self.out.write_all(b"],\"attachments\":[")?;
            (self.items, self.place) = (Commas::default(), Place::Attachments);
        }
        Ok(())
    }

    fn end_layer(&mut self) -> Result<()> {
        if self.place != Place::Layers {
            self.begin_attachments()?;
            self.out.write_all(b"]}")?;
            self.place = Place::Layers;
        }
        Ok(())
    }

    /// Ends the document.
    pub fn end(mut self) -> Result<()> {
        self.end_layer()?;
        Ok(self.out.write_all(b"]}")?)
    }
}

/// Three lists of one object, filled in any order: the first goes straight out, the others wait in spools.
struct Lists {
    names: [&'static str; 3],
    direct: Commas,
    waiting: [Option<SpooledTempFile>; 2],
}

impl Lists {
    /// Begins the object with these members and the first list.
    fn begin(
        out: &mut dyn Write,
        first: &Map<String, Value>,
        names: [&'static str; 3],
    ) -> io::Result<Self> {
        out.write_all(b"{")?;
        members(out, first)?;
        write!(out, "\"{}\":[", names[0])?;
        Ok(Self {
            names,
            direct: Commas::default(),
            waiting: [None, None],
        })
    }
    fn item(
        &mut self,
        out: &mut dyn Write,
        list: usize,
        write: impl FnOnce(&mut dyn Write) -> Result<()>,
    ) -> Result<()> {
        if list == 0 {
            self.direct.next(out)?;
            return write(out);
        }
        match &mut self.waiting[list - 1] {
            Some(spool) => {
                spool.write_all(b",")?;
                write(spool)
            }
            none => write(none.insert(tempfile::spooled_tempfile(SPOOL_IN_MEMORY))),
        }
    }
    fn end(self, out: &mut dyn Write) -> io::Result<()> {
        for (name, spool) in self.names[1..].iter().zip(self.waiting) {
            write!(out, "],\"{name}\":[")?;
            if let Some(mut spool) = spool {
                spool.seek(SeekFrom::Start(0))?;
                copy(&mut spool, out)?;
            }
        }
        out.write_all(b"]}")
    }
}

fn copy(from: &mut SpooledTempFile, out: &mut dyn Write) -> io::Result<()> {
    let mut chunk = vec![0; 64 << 10];
    loop {
        let count = from.read(&mut chunk)?;
        if count == 0 {
            return Ok(());
        }
        out.write_all(&chunk[..count])?;
    }
}

/// The document of changes: begin; per layer results, changed records and changed attachments; end.
pub struct EditsDocument<'w> {
    out: &'w mut dyn Write,
    layers: Commas,
    open: Option<OpenLayer>,
    changes: u64,
}

struct OpenLayer {
    lists: Lists,
    /// `features` or `objectIds` are being written; afterwards attachments.
    in_attachments: bool,
}

impl std::fmt::Debug for EditsDocument<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EditsDocument")
            .field("changes", &self.changes)
            .finish_non_exhaustive()
    }
}

impl<'w> EditsDocument<'w> {
    /// Begins the document; what is only known at its end is written there.
    pub fn begin(out: &'w mut dyn Write) -> Result<Self> {
        out.write_all(b"{\"edits\":[")?;
        Ok(Self {
            out,
            layers: Commas::default(),
            open: None,
            changes: 0,
        })
    }

    /// Begins a layer with its results (`addResults`, ..), which stand on the layer object.
    pub fn layer(&mut self, id: CollectionId, results: &Map<String, Value>) -> Result<()> {
        self.start(id, results, "features", ["adds", "updates", "deleteIds"])
    }

    /// Begins a layer of which only object ids are given.
    pub fn layer_of_ids(&mut self, id: CollectionId) -> Result<()> {
        self.start(id, &Map::new(), "objectIds", ["adds", "updates", "deletes"])
    }

    fn start(
        &mut self,
        id: CollectionId,
        results: &Map<String, Value>,
        key: &str,
        names: [&'static str; 3],
    ) -> Result<()> {
        self.end_layer()?;
        self.layers.next(self.out)?;
        write!(self.out, "{{\"id\":{id},")?;
        members(self.out, results)?;
        write!(self.out, "\"{key}\":")?;
        self.open = Some(OpenLayer {
            lists: Lists::begin(self.out, &Map::new(), names)?,
            in_attachments: false,
        });
        Ok(())
    }

    fn item(
        &mut self,
        list: usize,
        write: impl FnOnce(&mut dyn Write) -> Result<()>,
    ) -> Result<()> {
        self.changes += 1;
        let open = self
            .open
            .as_mut()
            .expect("a layer was begun before its items");
        open.lists.item(self.out, list, write)
    }

    /// A record that is new to the replica.
    pub fn add(&mut self, writer: &FeatureWriter<'_>, record: &Record) -> Result<()> {
        self.item(0, |out| writer.write(out, record))
    }
    /// A record that changed.
    pub fn update(&mut self, writer: &FeatureWriter<'_>, record: &Record) -> Result<()> {
        self.item(1, |out| writer.write(out, record))
    }
    /// A record or attachment that is gone.
    pub fn remove(&mut self, id: &GlobalId) -> Result<()> {
        self.item(2, |out| Ok(write_text(out, &id.braced())?))
    }
    /// A removed record with what is left of it: `{"attributes":{..}}`.
    pub fn remove_feature(&mut self, writer: &FeatureWriter<'_>, record: &Record) -> Result<()> {
        self.item(2, |out| writer.write(out, record))
    }
    /// An object id of one of the three lists: added (0), changed (1), removed (2).
    pub fn object_id(&mut self, list: usize, id: ObjectId) -> Result<()> {
        self.item(list.min(2), |out| Ok(write!(out, "{id}")?))
    }

    /// Begins the layer's attachments, with the results of its attachment edits; no record may follow.
    pub fn attachments(&mut self, results: &Map<String, Value>) -> Result<()> {
        let open = self
            .open
            .take()
            .expect("a layer was begun before its attachments");
        open.lists.end(self.out)?;
        self.out.write_all(b",\"attachments\":")?;
        self.open = Some(OpenLayer {
            lists: Lists::begin(self.out, results, ["adds", "updates", "deleteIds"])?,
            in_attachments: true,
        });
        Ok(())
    }
    /// An attachment that is new to the replica.
    pub fn add_attachment(&mut self, line: &AttachmentLine<'_>) -> Result<()> {
        self.item(0, |out| Ok(line.write(out)?))
    }
    /// An attachment that changed.
    pub fn update_attachment(&mut self, line: &AttachmentLine<'_>) -> Result<()> {
        self.item(1, |out| Ok(line.write(out)?))
    }

    fn end_layer(&mut self) -> Result<()> {
        let Some(open) = self.open.take() else {
            return Ok(());
        };
        open.lists.end(self.out)?;
        if !open.in_attachments {
            self.out.write_all(b",\"attachments\":")?;
            Lists::begin(self.out, &Map::new(), ["adds", "updates", "deleteIds"])?.end(self.out)?;
        }
        Ok(self.out.write_all(b"}")?)
    }

    /// How many changes were written so far.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Ends the document; gives how many changes it holds. An upload hands out no generation: the client keeps its own.
    pub fn end(
        mut self,
        name: &str,
        id: Option<ReplicaId>,
        transport: TransportType,
        response: ResponseType,
        generations: &Generations,
    ) -> Result<u64> {
        self.end_layer()?;
        self.out.write_all(b"]")?;
        for (name, value) in head(name, id, transport, response, generations) {
            self.out.write_all(b",")?;
            write_text(self.out, &name)?;
            self.out.write_all(b":")?;
            write_value(self.out, &value)?;
        }
        self.out.write_all(b"}")?;
        Ok(self.changes)
    }
}

/// The short answer beside a file: what its document begins with, and where it is. Clients look for the address under
/// three names, in the order `resultUrl`, `responseUrl`, `URL`.
pub fn short_answer(
    name: &str,
    id: Option<ReplicaId>,
    response: ResponseType,
    generations: &Generations,
    url: Option<&str>,
) -> Value {
    let mut answer = head(name, id, TransportType::Url, response, generations);
    if let Some(url) = url {
        for name in ["URL", "resultUrl"] {
            answer.insert(name.to_owned(), json!(url));
        }
    }
    Value::Object(answer)
}
