//! Downloads: a document of changes, staged in a file and given in pages.
//!
//! The cursor moves with the last page only: a sync that is cut in between asks for the same changes again.

use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Seek as _, SeekFrom, Write as _};

use haversack_model::local::{Removal, ReplicaHeader};
use haversack_model::remote::{Page, RemoteChange};
use haversack_model::schema::attachment_field;
use haversack_model::{
    CollectionId, Cursor, Generation, GlobalId, Record, ReplicaId, Revision, RowVersion, Service,
    SyncModel, Value,
};

use super::blobs::Blobs;
use super::checkout::cursors;
use super::http::Http;
use super::request::Kept;
use super::{GeoServicesRemote, document};
use crate::wire::feature::IncomingFeature;
use crate::wire::sync::{DocumentVisitor, IncomingAttachmentLine, Part};
use crate::{Error, Result};

/// Changes of one page.
const PAGE: usize = 2_000;

/// What a download is for: a replica with a cursor.
type Asked = (ReplicaId, Cursor, Vec<(CollectionId, Generation)>);

fn asked(header: &ReplicaHeader) -> Asked {
    (header.id, header.cursor, header.layer_cursors.clone())
}

/// A document that was read and checked, as lines in a temporary file.
#[derive(Debug)]
pub(super) struct Staged {
    asked: Asked,
    rows: BufReader<File>,
    left: u64,
    cursor: Cursor,
    layer_cursors: Vec<(CollectionId, Generation)>,
}

impl Staged {
    pub(super) fn left(&self) -> u64 {
        self.left
    }

    /// The next changes, at most so many.
    pub(super) fn next(&mut self, most: usize) -> Result<Vec<RemoteChange>> {
        let count = self.left.min(most as u64);
        let mut changes = Vec::new();
        let mut line = Vec::new();
        for _ in 0..count {
            line.clear();
            self.rows.read_until(b'\n', &mut line)?;
            let mut change: RemoteChange = serde_json::from_slice(&line)
                .map_err(|e| Error::document("a staged download", format!("is damaged: {e}")))?;
            if let RemoteChange::Put {
                collection,
                version,
                ..
            } = &mut change
            {
                version.generation = self.generation(*collection);
            }
            changes.push(change);
        }
        self.left -= count;
        Ok(changes)
    }

    /// The generation at which the server had a row: it tells none for rows, so that of the document.
    fn generation(&self, collection: CollectionId) -> Generation {
        let layer = collection.attachments_of().unwrap_or(collection);
        let own = self.layer_cursors.iter().find(|(id, _)| *id == layer);
        let told = own.map_or(self.cursor.generation, |(_, generation)| *generation);
        // Zero means "not seen" in a full resync.
        told.max(Generation(1))
    }
}

/// Takes a document into a file of lines.
pub(super) struct Stage<'a> {
    service: &'a Service,
    http: &'a Http,
    blobs: &'a Blobs,
    attachments: bool,
    rows: BufWriter<File>,
    count: u64,
}

impl<'a> Stage<'a> {
    pub(super) fn new(
        service: &'a Service,
        http: &'a Http,
        blobs: &'a Blobs,
        attachments: bool,
    ) -> Result<Self> {
        Ok(Self {
            service,
            http,
            blobs,
            attachments,
            rows: BufWriter::new(tempfile::tempfile()?),
            count: 0,
        })
    }

    fn push(&mut self, change: &RemoteChange) -> Result<()> {
        serde_json::to_writer(&mut self.rows, change).map_err(std::io::Error::from)?;
        self.rows.write_all(b"\n")?;
        self.count += 1;
        Ok(())
    }

    pub(super) fn finish(
        self,
        header: &ReplicaHeader,
        cursor: Cursor,
        layer_cursors: Vec<(CollectionId, Generation)>,
    ) -> Result<Staged> {
        let mut file = self
            .rows
            .into_inner()
            .map_err(std::io::IntoInnerError::into_error)?;
        file.seek(SeekFrom::Start(0))?;
        Ok(Staged {
            asked: asked(header),
            rows: BufReader::new(file),
            left: self.count,
            cursor,
            layer_cursors,
        })
    }
}

/// A version whose generation is filled in when the row is given.
const VERSION: RowVersion = RowVersion {
    revision: Revision(0),
    generation: Generation::ZERO,
};

impl DocumentVisitor for Stage<'_> {
    fn layer(&mut self, _: CollectionId) -> Result<()> {
        Ok(())
    }
    fn feature(&mut self, layer: CollectionId, _: Part, feature: IncomingFeature) -> Result<()> {
        let record = record_of(self.service, layer, &feature)?;
        self.push(&RemoteChange::Put {
            collection: layer,
            record,
            version: VERSION,
        })
    }
    fn removed(&mut self, layer: CollectionId, id: GlobalId) -> Result<()> {
        // The dialect does not tell deletions from rows that left the filter.
        self.push(&RemoteChange::Remove {
            collection: layer,
            global_id: id,
            removal: Removal::Deleted,
        })
    }
    fn attachment(
        &mut self,
        layer: CollectionId,
        _: Part,
        line: IncomingAttachmentLine,
    ) -> Result<()> {
        if !self.attachments {
            return Ok(());
        }
        let told = line.bytes;
        let fetched = self.blobs.fetched(self.http, line.content)?;
        let bytes = fetched.map(|(_, bytes)| bytes as i64).or(told);
        // The dialect does not tell an empty text from none.
        let text = |text: String| {
            if text.is_empty() {
                Value::Null
            } else {
                Value::Text(text)
            }
        };
        let mut values = vec![Value::Null; 6];
        values[attachment_field::PARENT] = Value::Text(line.parent.braced());
        values[attachment_field::NAME] = text(line.name);
        values[attachment_field::CONTENT_TYPE] = text(line.content_type);
        values[attachment_field::SIZE] = bytes.map_or(Value::Null, Value::Integer);
        values[attachment_field::SHA256] =
            fetched.map_or(Value::Null, |(hash, _)| Value::Text(hash.to_string()));
        values[attachment_field::KEYWORDS] = text(line.keywords);
        self.push(&RemoteChange::Put {
            collection: layer.attachments(),
            record: Record {
                global_id: line.global_id,
                object_id: None,
                values,
                geometry: None,
            },
            version: VERSION,
        })
    }
    fn attachment_removed(&mut self, layer: CollectionId, id: GlobalId) -> Result<()> {
        if !self.attachments {
            return Ok(());
        }
        self.push(&RemoteChange::Remove {
            collection: layer.attachments(),
            global_id: id,
            removal: Removal::Deleted,
        })
    }
}

/// The whole record of a feature that a server told.
pub(super) fn record_of(
    service: &Service,
    layer: CollectionId,
    feature: &IncomingFeature,
) -> Result<Record> {
    let collection = service
        .collection(layer)
        .ok_or(haversack_model::Error::NoCollection(layer))?;
    let id = feature.global_id.clone().ok_or_else(|| {
        Error::field(
            &collection.global_id_field,
            "is missing in a record of the server",
        )
    })?;
    Ok(feature.to_record(collection, id))
}

/// For documents of which only the head counts.
#[derive(Debug)]
pub(super) struct Ignore;

impl DocumentVisitor for Ignore {
    fn layer(&mut self, _: CollectionId) -> Result<()> {
        Ok(())
    }
    fn feature(&mut self, _: CollectionId, _: Part, _: IncomingFeature) -> Result<()> {
        Ok(())
    }
    fn removed(&mut self, _: CollectionId, _: GlobalId) -> Result<()> {
        Ok(())
    }
    fn attachment(&mut self, _: CollectionId, _: Part, _: IncomingAttachmentLine) -> Result<()> {
        Ok(())
    }
    fn attachment_removed(&mut self, _: CollectionId, _: GlobalId) -> Result<()> {
        Ok(())
    }
}

/// Parameters of synchronizeReplica for a direction.
pub(super) fn params(
    header: &ReplicaHeader,
    kept: &Kept,
    service: &Service,
    direction: &'static str,
) -> Result<Vec<(&'static str, String)>> {
    let mut params = vec![
        ("replicaID", header.id.to_string().to_uppercase()),
        ("transportType", "esriTransportTypeEmbedded".to_owned()),
        ("dataFormat", "json".to_owned()),
        ("returnAttachmentsDataByUrl", "true".to_owned()),
        ("rollbackOnFailure", "false".to_owned()),
        ("async", "false".to_owned()),
        ("closeReplica", "false".to_owned()),
        ("syncDirection", direction.to_owned()),
    ];
    match kept.sync_model {
        SyncModel::PerReplica => {
            params.push(("replicaServerGen", header.cursor.generation.to_string()));
        }
        SyncModel::PerLayer => {
            let layers = kept.layers(service)?.into_iter().map(|id| {
                let known = header.layer_cursors.iter().find(|(of, _)| *of == id);
                let generation = known.map_or(Generation::ZERO, |(_, generation)| *generation);
                serde_json::json!({"id": id.0, "serverGen": generation.0, "syncDirection": direction})
            });
            params.push((
                "syncLayers",
                layers.collect::<serde_json::Value>().to_string(),
            ));
        }
    }
    Ok(params)
}

/// The next page of changes after the header's cursor; a full resync reads a snapshot.
pub(super) fn page(remote: &mut GeoServicesRemote, header: &ReplicaHeader) -> Result<Page> {
    let continues = remote
        .staged
        .as_ref()
        .is_some_and(|staged| staged.asked == asked(header));
    let mut staged = match remote.staged.take().filter(|_| continues) {
        Some(staged) => staged,
        None => stage(remote, header)?,
    };
    let changes = staged.next(PAGE)?;
    let more = staged.left > 0;
    let (cursor, layer_cursors) = if more {
        (header.cursor, header.layer_cursors.clone())
    } else {
        (staged.cursor, staged.layer_cursors.clone())
    };
    let schema =
        (header.schema_version != remote.service.schema_version).then(|| remote.service.clone());
    if more {
        remote.staged = Some(staged);
    }
    Ok(Page {
        schema,
        changes,
        cursor,
        layer_cursors,
        more,
        download: None,
        held: haversack_model::Versions::default(),
    })
}

fn stage(remote: &mut GeoServicesRemote, header: &ReplicaHeader) -> Result<Staged> {
    let kept = Kept::of(header)?;
    let is_resync = header.resyncing || header.cursor.generation == Generation::ZERO;
    let direction = if is_resync { "snapshot" } else { "download" };
    let params = params(header, &kept, &remote.service, direction)?;
    let params: Vec<(&str, &str)> = params.iter().map(|(n, v)| (*n, v.as_str())).collect();
    let mut document = document::ask(&mut remote.http, "synchronizeReplica", &params, &mut |_| {})?;
    let mut stage = Stage::new(
        &remote.service,
        &remote.http,
        &remote.blobs,
        kept.request.attachments,
    )?;
    let head = document.read(&remote.service, &mut stage)?;
    let layers = kept.layers(&remote.service)?;
    let cursors = cursors(&head, kept.sync_model, &layers)?;
    if cursors.cursor.generation < header.cursor.generation {
        return Err(Error::document(
            "the server's answer",
            "goes back behind the replica's generation",
        ));
    }
    stage.finish(header, cursors.cursor, cursors.layers)
}
