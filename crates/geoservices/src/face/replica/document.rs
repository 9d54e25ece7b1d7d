//! The document of a replica's data: layers with their features and attachments, streamed.

use std::io::Write;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use haversack_model::query::Query;
use haversack_model::{CollectionId, Filter, ReadTx, Record};
use serde_json::{Value, json};

use super::super::answer::Spool;
use super::super::attachments::{Told, url};
use super::super::call::{Call, Opened};
use super::super::problem::{Problem, Result};
use super::super::query::records::{Style, head, stream};
use crate::wire::crs::Transform;
use crate::wire::feature::Column;
use crate::wire::geometry::GeometryOptions;

/// Writes documents of replicas.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Writer<'a> {
    pub(crate) call: &'a Call,
    pub(crate) opened: &'a Opened,
    /// Reference of geometry; each layer's own if none was asked for.
    pub(crate) srid: Option<i32>,
    /// Attachments by URL, or with their content.
    pub(crate) attachments_by_url: bool,
}

/// A failure to write an answer.
#[allow(clippy::needless_pass_by_value, reason = "it is handed to `map_err`")]
pub(crate) fn io(error: std::io::Error) -> Problem {
    Problem::io("writing an answer", &error)
}

impl<'a> Writer<'a> {
    /// All columns and the whole geometry of a layer.
    pub(crate) fn style(&self, id: CollectionId) -> Result<Style<'a>> {
        let collection = self.opened.collection(id)?;
        let own = collection.geometry.as_ref().map(|column| column.srid);
        let srid = self.srid.or(own).unwrap_or(self.opened.service.srid);
        let transform = match own {
            Some(own) => Transform::between(own, srid).map_err(Problem::within("replicaSR"))?,
            None => None,
        };
        Ok(Style {
            collection,
            columns: Column::all(collection),
            geometry: own.map(|_| GeometryOptions::ALL),
            srid,
            transform,
            thin: None,
            grid: None,
        })
    }

    /// Writes `[{id, .., features, attachments}, ..]`. A filter of attachments is there if they are wanted.
    pub(crate) fn layers(
        &self,
        out: &mut Spool,
        tx: &dyn ReadTx,
        layers: &[(CollectionId, Filter, Option<Filter>)],
    ) -> Result<()> {
        out.write_all(b"[").map_err(io)?;
        for (at, (id, filter, attachments)) in layers.iter().enumerate() {
            if at > 0 {
                out.write_all(b",").map_err(io)?;
            }
            let style = self.style(*id)?;
            write!(out, "{{\"id\":{id},").map_err(io)?;
            let mut start = Vec::new();
            head(&mut start, &style).map_err(io)?;
            // Without its opening brace: the object is open already.
            out.write_all(&start[1..]).map_err(io)?;
            out.write_all(b"\"features\":[").map_err(io)?;
            let mut first = true;
            let query = Query::records(*id, filter.clone());
            stream(tx, &query, u64::MAX - 1, &mut |record| {
                separate(out, &mut first)?;
                style.write(out, &record)
            })?;
            out.write_all(b"]").map_err(io)?;
            if let Some(attached) = attachments {
                out.write_all(b",\"attachments\":[").map_err(io)?;
                self.attachments(out, tx, *id, attached)?;
                out.write_all(b"]").map_err(io)?;
            }
            out.write_all(b"}").map_err(io)?;
        }
        out.write_all(b"]").map_err(io)
    }

    fn attachments(
        &self,
        out: &mut Spool,
        tx: &dyn ReadTx,
        layer: CollectionId,
        filter: &Filter,
    ) -> Result<()> {
        let mut first = true;
        let query = Query::records(layer.attachments(), filter.clone());
        stream(tx, &query, u64::MAX - 1, &mut |record| {
            let told = self.attachment(tx, layer, &record)?;
            separate(out, &mut first)?;
            write!(out, "{told}").map_err(io)
        })?;
        Ok(())
    }

    /// One attachment, with its content or the URL of it.
    pub(crate) fn attachment(
        &self,
        tx: &dyn ReadTx,
        layer: CollectionId,
        record: &Record,
    ) -> Result<Value> {
        let told = Told(record);
        let number = record.object_id.map(|id| id.0);
        let mut value = told.to_json();
        value["attachmentId"] = json!(number);
        let parent = match told.parent() {
            Some(parent) => tx.record(layer, &parent)?,
            None => None,
        };
        let parent = parent.and_then(|parent| parent.record.object_id);
        value["parentObjectId"] = json!(parent.map(|id| id.0));
        if self.attachments_by_url {
            if let (Some(parent), Some(number)) = (parent, number) {
                let place = url(self.call, &self.opened.name, layer, parent.0, number);
                value["url"] = json!(place);
            }
        } else {
            let content = match told.hash() {
                Some(hash) => tx.blob(hash)?,
                None => None,
            };
            value["data"] = json!(content.map(|bytes| STANDARD.encode(bytes)));
        }
        Ok(value)
    }
}

/// Writes a comma before all but the first.
pub(crate) fn separate(out: &mut dyn Write, first: &mut bool) -> Result<()> {
    if std::mem::take(first) {
        Ok(())
    } else {
        out.write_all(b",").map_err(io)
    }
}

/// Writes the members of an object and leaves it open: `{"a":1,"b":2,`.
pub(crate) fn open_object(out: &mut Spool, members: &Value) -> Result<()> {
    let text = members.to_string();
    let inner = text.strip_suffix('}').unwrap_or(&text);
    out.write_all(inner.as_bytes()).map_err(io)?;
    if inner.len() > 1 {
        out.write_all(b",").map_err(io)?;
    }
    Ok(())
}
