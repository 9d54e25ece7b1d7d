//! Copies of data that nobody registers: file geodatabases, and `extractChanges` between two generations.
//!
//! extractChanges touches no replica: it is the download of one that never was. Source: `spec/geoservices.md` 6, "Others".

pub(crate) mod filegdb;

use std::collections::BTreeSet;
use std::io::Write as _;

use haversack_model::{
    Collection, CollectionId, Envelope, Error, Filter, Generation, GlobalId, ReadTx, ReplicaLayer,
    Right,
};
use haversack_sync::register::effective_filter;
use haversack_sync::{DeltaChange, Sent};
use serde_json::{Value, json};

use super::answer::{Answer, Spool};
use super::call::{Call, Opened};
use super::files;
use super::jobs::{self, Operation};
use super::metadata::extent;
use super::problem::{Problem, Result};
use super::query::records::Style;
use super::replica::asked::{self, filters, layer_ids, read_dialect};
use super::replica::create::tell_url;
use super::replica::document::{Writer, io, open_object};
use super::replica::export::{self, Changes, Range, told};
use crate::wire::json::{integer, member, write_text};
use crate::wire::params::Params;

/// What extractChanges was asked for.
#[derive(Debug)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "one flag of the request each"
)]
struct Asked {
    /// Layers with their own filters, and the range of generations of each.
    layers: Vec<(CollectionId, Filter, Generation, Generation)>,
    srid: Option<i32>,
    inserts: bool,
    updates: bool,
    deletes: bool,
    ids_only: bool,
    extent_only: bool,
    deleted_features: bool,
    attachments: bool,
    attachments_by_url: bool,
    compare: Vec<String>,
    embedded: bool,
}

/// `extractChanges`.
pub(crate) fn extract_changes(call: &Call, name: &str) -> Result<Answer> {
    let opened = open(call, name)?;
    let tx = opened.store.begin_read()?;
    let asked = Asked::of_call(call, &opened, tx.as_ref())?;
    drop(tx);
    if asked.embedded && !call.params.flag("async", false)? {
        return now(call, name);
    }
    jobs::start(call, name, Operation::ExtractChanges)
}

fn open(call: &Call, name: &str) -> Result<Opened> {
    let opened = call.open(name, Right::Read)?;
    opened.offers("ChangeTracking")?;
    Ok(opened)
}

/// `extractChanges`, at once.
pub(crate) fn now(call: &Call, name: &str) -> Result<Answer> {
    let opened = open(call, name)?;
    let tx = opened.store.begin_read()?;
    let asked = Asked::of_call(call, &opened, tx.as_ref())?;
    let embedded = asked.embedded && call.job.is_none();
    let gens = asked.layers.iter().map(
        |(id, _, since, upto)| json!({"id": id.0, "minServerGen": since.0, "serverGen": upto.0}),
    );
    let mut told = json!({
        "layerServerGens": gens.collect::<Vec<_>>(),
        "transportType": if embedded { "esriTransportTypeEmbedded" } else { "esriTransportTypeUrl" },
        "responseType": "esriDataChangesResponseTypeEdits",
    });
    let mut out = Spool::new();
    open_object(&mut out, &told)?;
    out.write_all(b"\"edits\":[").map_err(io)?;
    let mut first = true;
    for (id, filter, since, upto) in &asked.layers {
        super::replica::document::separate(&mut out, &mut first)?;
        let layer = Layer {
            call,
            opened: &opened,
            tx: tx.as_ref(),
            asked: &asked,
            collection: opened.collection(*id)?,
            since: *since,
            upto: *upto,
        };
        layer.write(&mut out, filter)?;
    }
    out.write_all(b"]}").map_err(io)?;
    if embedded {
        return Ok(Answer::Spooled {
            content: out,
            content_type: "application/json; charset=utf-8",
        });
    }
    let url = files::keep(call, &mut out, "json", "changes")?;
    tell_url(&mut told, &url);
    Ok(Answer::Json(told))
}

impl Asked {
    fn of_call(call: &Call, opened: &Opened, tx: &dyn ReadTx) -> Result<Self> {
        let params = &call.params;
        let flag = |name: &str| params.flag(name, false);
        params.choice("dataFormat", &[("json", ())])?;
        let head = tx.head()?;
        let ranges = ranges(params, opened, head.generation)?;
        let dialect = read_dialect(params, opened)?;
        let ids: Vec<CollectionId> = ranges.iter().map(|(id, _, _)| *id).collect();
        let mut layers = Vec::new();
        let filters = filters(opened, &dialect, &ids)?;
        for ((id, since, upto), (_, filter)) in ranges.into_iter().zip(filters) {
            let reason = if since > head.generation {
                Some("the service has not reached it")
            } else if since < head.floor && since > Generation::ZERO {
                Some("its history is not kept any more")
            } else {
                None
            };
            if let Some(reason) = reason {
                return Err(Problem::Model(Error::Resync {
                    asked: since,
                    reason,
                }));
            }
            layers.push((id, filter, since, upto.min(head.generation)));
        }
        Ok(Self {
            layers,
            srid: dialect.replica_sr,
            inserts: flag("returnInserts")?,
            updates: flag("returnUpdates")?,
            deletes: flag("returnDeletes")?,
            ids_only: flag("returnIdsOnly")?,
            extent_only: flag("returnExtentOnly")?,
            deleted_features: flag("returnDeletedFeatures")?,
            attachments: flag("returnAttachments")?,
            attachments_by_url: params.flag("returnAttachmentsDataByUrl", true)?,
            compare: compared(params)?,
            embedded: asked::embedded(params)?,
        })
    }
}

/// Which layers, from which generation to which.
fn ranges(
    params: &Params,
    opened: &Opened,
    head: Generation,
) -> Result<Vec<(CollectionId, Generation, Generation)>> {
    const LAYERS: &str = "layerServerGens";
    const ALL: &str = "serverGens";
    let named = layer_ids(params, opened)?;
    if let Some(sent) = params.json(LAYERS)? {
        let wrong = |problem: &str| Problem::parameter(LAYERS, problem);
        let sent = match sent {
            Value::Array(sent) => sent,
            one @ Value::Object(_) => vec![one],
            _ => return Err(wrong("use an array of {id, serverGen}")),
        };
        let mut all = Vec::new();
        for entry in &sent {
            let members = entry
                .as_object()
                .ok_or_else(|| wrong("use an array of {id, serverGen}"))?;
            let number = |name: &str| member(members, name).and_then(integer);
            let id = number("id")
                .and_then(|id| u32::try_from(id).ok())
                .map(CollectionId);
            let id = id
                .filter(|id| opened.service.collection(*id).is_some())
                .ok_or_else(|| wrong("each entry needs the 'id' of a layer"))?;
            let since = number("serverGen")
                .and_then(|n| u64::try_from(n).ok())
                .ok_or_else(|| wrong("each entry needs 'serverGen'"))?;
            if !params.has("layers") || named.contains(&id) {
                all.push((id, Generation(since), head));
            }
        }
        return Ok(all);
    }
    let sent = params
        .ids(ALL)?
        .ok_or_else(|| Problem::parameter(ALL, "send serverGens or layerServerGens"))?;
    let wrong = || Problem::parameter(ALL, "use [from] or [from, to], from 0");
    let generation = |n: &i64| {
        u64::try_from(*n)
            .map(Generation)
            .map_err(|_negative| wrong())
    };
    let (since, upto) = match sent.as_slice() {
        [since] => (generation(since)?, head),
        [since, upto] => (generation(since)?, generation(upto)?),
        _ => return Err(wrong()),
    };
    if upto < since {
        return Err(wrong());
    }
    Ok(named.into_iter().map(|id| (id, since, upto)).collect())
}

/// `fieldsToCompare`: names, or `{fields: [names]}`.
fn compared(params: &Params) -> Result<Vec<String>> {
    const NAME: &str = "fieldsToCompare";
    let Some(text) = params.text(NAME) else {
        return Ok(Vec::new());
    };
    if !text.trim_start().starts_with('{') {
        return Ok(params.words(NAME)?.unwrap_or_default());
    }
    let sent = params.object(NAME)?.unwrap_or_default();
    let names = member(&sent, "fields").and_then(Value::as_array);
    let names = names.ok_or_else(|| Problem::parameter(NAME, "use {\"fields\": [names]}"))?;
    let names = names.iter().filter_map(Value::as_str);
    Ok(names.map(str::to_owned).collect())
}

/// The changes of one layer.
struct Layer<'a> {
    call: &'a Call,
    opened: &'a Opened,
    tx: &'a dyn ReadTx,
    asked: &'a Asked,
    collection: &'a Collection,
    since: Generation,
    upto: Generation,
}

impl Layer<'_> {
    fn write(&self, out: &mut Spool, filter: &Filter) -> Result<()> {
        let id = self.collection.id;
        let attached = self.asked.attachments && self.collection.has_attachments;
        let own = [(id, filter.clone()), (id.attachments(), Filter::All)];
        let layer = self.layer(id, &own);
        let none = Sent::default();
        let range = Range {
            since: self.since,
            upto: self.upto,
            sent: &none,
        };
        let writer = Writer {
            call: self.call,
            opened: self.opened,
            srid: self.asked.srid,
            attachments_by_url: self.asked.attachments_by_url,
        };
        let style = writer.style(id)?;
        let compare = self.compare()?;
        write!(out, "{{\"id\":{id},").map_err(io)?;
        if self.asked.extent_only {
            let mut all: Option<Envelope> = None;
            told(self.tx, &layer, range, &mut |change| {
                if let DeltaChange::Add(version) | DeltaChange::Update(version) = change
                    && let Some(one) = style.placed(&version.record)?.and_then(|g| g.envelope())
                {
                    all = Some(all.map_or(one, |e| e.union(one)));
                }
                Ok(())
            })?;
            let place = all.map_or(Value::Null, |e| extent::to_json(&e, style.srid));
            return write!(out, "\"extent\":{place}}}").map_err(io);
        }
        let mut changes = if self.asked.deleted_features && !self.asked.ids_only {
            Changes::with_deleted()
        } else {
            Changes::none()
        };
        told(self.tx, &layer, range, &mut |change| {
            self.one(&style, &compare, change, &mut changes)
        })?;
        let (name, deletions) = if self.asked.ids_only {
            ("objectIds", "deletes")
        } else {
            ("features", "deleteIds")
        };
        write!(out, "\"{name}\":").map_err(io)?;
        changes.copy_named(out, None, deletions)?;
        if attached && !self.asked.ids_only {
            let hidden = self.layer(id.attachments(), &own);
            let mut changes = export::attachments(&writer, self.tx, id, &hidden, range)?;
            out.write_all(b",\"attachments\":").map_err(io)?;
            changes.copy_to(out, None)?;
        }
        out.write_all(b"}").map_err(io)
    }

    /// A layer of a replica that never was.
    fn layer(&self, id: CollectionId, own: &[(CollectionId, Filter)]) -> ReplicaLayer {
        let effective = effective_filter(id, own, &self.opened.access);
        ReplicaLayer {
            collection: id,
            cursor: self.since,
            filter: effective.clone(),
            filters: vec![(Generation::ZERO, effective)],
        }
    }

    fn compare(&self) -> Result<BTreeSet<usize>> {
        let position = |name: &String| {
            self.collection.field_index(name).ok_or_else(|| {
                Problem::parameter("fieldsToCompare", &format!("there is no field {name:?}"))
            })
        };
        self.asked.compare.iter().map(position).collect()
    }

    fn one(
        &self,
        style: &Style<'_>,
        compare: &BTreeSet<usize>,
        change: DeltaChange,
        changes: &mut Changes,
    ) -> Result<()> {
        let asked = self.asked;
        let id = self.collection.id;
        let (version, list) = match change {
            DeltaChange::Add(version) if asked.inserts => (version, &mut changes.adds),
            DeltaChange::Update(version) if asked.updates => {
                if !compare.is_empty() {
                    let global_id = &version.record.global_id;
                    let then = self.tx.record_as_of(id, global_id, self.since)?;
                    let same = then.is_some_and(|then| {
                        compare
                            .iter()
                            .all(|at| then.record.values.get(*at) == version.record.values.get(*at))
                    });
                    if same {
                        return Ok(());
                    }
                }
                (version, &mut changes.updates)
            }
            DeltaChange::Remove { global_id, .. } if asked.deletes => {
                return self.removed(style, &global_id, changes);
            }
            _ => return Ok(()),
        };
        let mut text = Vec::new();
        if asked.ids_only {
            text = json!(version.record.object_id.map(|id| id.0))
                .to_string()
                .into();
        } else {
            style.write(&mut text, &version.record)?;
        }
        list.push(&text)
    }

    fn removed(
        &self,
        style: &Style<'_>,
        global_id: &GlobalId,
        changes: &mut Changes,
    ) -> Result<()> {
        let asked = self.asked;
        let then = if asked.deleted_features || asked.ids_only {
            self.tx
                .record_as_of(self.collection.id, global_id, self.since)?
        } else {
            None
        };
        let mut text = Vec::new();
        match &then {
            Some(then) if asked.ids_only => {
                let number = json!(then.record.object_id.map(|id| id.0));
                text = number.to_string().into();
            }
            _ => write_text(&mut text, &global_id.braced()).map_err(io)?,
        }
        changes.deletes.push(&text)?;
        if let (Some(then), Some(deleted)) = (&then, &mut changes.deleted) {
            let mut text = Vec::new();
            style.write(&mut text, &then.record)?;
            deleted.push(&text)?;
        }
        Ok(())
    }
}
