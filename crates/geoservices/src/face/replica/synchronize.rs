//! `synchronizeReplica`: first the upload, then the download, both by the rules of the sync core.
//!
//! The client's generation counts, not what the server remembers: a client that lost the answer asks again with the old
//! one and gets the same changes. Everything that can be wrong is checked before the first edit is applied.

use std::collections::BTreeMap;

use haversack_model::{
    CollectionId, Direction, Error, Filter, Generation, Replica, ReplicaLayer, SyncModel,
};
use haversack_sync::foreign::import;
use haversack_sync::register::{find, refresh_filters};
use haversack_sync::{Ids, Sent, Uploader};
use serde_json::{Map, Value, json};

use super::super::answer::{Answer, Spool};
use super::super::call::{Call, Opened};
use super::super::edits::results::{self, LayerResults, array};
use super::super::files;
use super::super::jobs::{self, Operation};
use super::super::problem::{Problem, Result};
use super::asked;
use super::create::tell_url;
use super::dialect::{AttachmentsDirection, Dialect};
use super::document::{Writer, io, open_object};
use super::export::{self, Changes, Range};
use super::incoming::{self, Incoming, Rules};
use super::{estimate, id_text, open, parse_id, tell_generations};

/// What flows for one layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    Upload,
    Download,
    Both,
    /// All of it anew.
    Snapshot,
}

const FLOWS: [(&str, Flow); 4] = [
    ("bidirectional", Flow::Both),
    ("upload", Flow::Upload),
    ("download", Flow::Download),
    ("snapshot", Flow::Snapshot),
];

impl Flow {
    fn uploads(self) -> bool {
        matches!(self, Self::Upload | Self::Both)
    }
    fn downloads(self) -> bool {
        matches!(self, Self::Download | Self::Both)
    }
}

/// One layer of the request.
#[derive(Clone, Copy, Debug)]
struct Wanted {
    id: CollectionId,
    flow: Flow,
    /// The generation that the client has.
    since: Option<Generation>,
}

/// `synchronizeReplica`.
pub(crate) fn synchronize(call: &Call, name: &str) -> Result<Answer> {
    if call.params.flag("async", false)? {
        let opened = open(call, name)?;
        let tx = opened.store.begin_read()?;
        let id = parse_id(call.params.required("replicaID")?)?;
        let replica = find(tx.as_ref(), id, &call.principal)?;
        wanted(call, &replica)?;
        incoming::sent(call, &opened)?;
        return jobs::start(call, name, Operation::SynchronizeReplica);
    }
    now(call, name)
}

/// `synchronizeReplica`, at once.
pub(crate) fn now(call: &Call, name: &str) -> Result<Answer> {
    let opened = open(call, name)?;
    let params = &call.params;
    let id = parse_id(params.required("replicaID")?)?;
    params.choice("dataFormat", &[("json", ())])?;
    let embedded = asked::embedded(params)? && call.job.is_none();
    let close = params.flag("closeReplica", false)?;
    let tx = opened.store.begin_read()?;
    let replica = find(tx.as_ref(), id, &call.principal)?;
    let head = tx.head()?;
    let layers = wanted(call, &replica)?;
    for layer in layers.iter().filter(|layer| layer.flow != Flow::Snapshot) {
        check_generation(layer, head.generation, head.floor)?;
    }
    let dialect = checked_dialect(&opened, &replica)?;
    let with_contents = !params.flag("returnAttachmentsDataByUrl", true)?;
    let anew = snapshot(&replica, &layers, &dialect);
    estimate::check(call, tx.as_ref(), &anew, with_contents)?;
    drop(tx);
    let sent = incoming::sent(call, &opened)?;
    check_upload(call, &opened, &replica, &layers, &sent)?;

    let imported = upload(call, &opened, replica, &dialect, &layers, &sent)?;
    let answer = download(call, &opened, &imported, &dialect, &layers, embedded)?;
    if close {
        let mut tx = opened.store.begin_write(call.now())?;
        haversack_sync::unregister(tx.as_mut(), id, &call.principal)?;
        tx.commit()?;
    }
    Ok(answer)
}

/// The layers of a replica, without their attachments.
fn held(replica: &Replica) -> Vec<CollectionId> {
    let layers = replica.layers.iter().map(|layer| layer.collection);
    layers.filter(|id| id.attachments_of().is_none()).collect()
}

/// The layers of the request with their directions and generations.
fn wanted(call: &Call, replica: &Replica) -> Result<Vec<Wanted>> {
    let params = &call.params;
    let overall = params.choice("syncDirection", &FLOWS)?;
    let held = held(replica);
    let layers = match replica.sync_model {
        SyncModel::PerReplica => {
            // The Python client sends a word as `syncLayers` here; it means nothing.
            let since = generation(params.integer("replicaServerGen", 0..=i64::MAX)?);
            let flow = overall.unwrap_or(Flow::Both);
            if flow.downloads() && since.is_none() {
                return Err(Problem::parameter("replicaServerGen", "it is required"));
            }
            held.iter()
                .map(|id| Wanted {
                    id: *id,
                    flow,
                    since,
                })
                .collect()
        }
        SyncModel::PerLayer => sync_layers(call, &held, overall)?,
    };
    Ok(layers)
}

fn generation(number: Option<i64>) -> Option<Generation> {
    number.and_then(|n| u64::try_from(n).ok()).map(Generation)
}

fn sync_layers(call: &Call, held: &[CollectionId], overall: Option<Flow>) -> Result<Vec<Wanted>> {
    const NAME: &str = "syncLayers";
    let wrong = |problem: &str| Problem::parameter(NAME, problem);
    let sent = match call.params.json(NAME)? {
        Some(Value::Array(sent)) => sent,
        Some(one @ Value::Object(_)) => vec![one],
        _ => return Err(wrong("use an array of {id, serverGen, syncDirection}")),
    };
    let mut layers: Vec<Wanted> = Vec::new();
    for entry in &sent {
        let members = entry
            .as_object()
            .ok_or_else(|| wrong("each entry must be an object"))?;
        let number = |name: &str| {
            crate::wire::json::member(members, name).and_then(crate::wire::json::integer)
        };
        let id = number("id")
            .and_then(|id| u32::try_from(id).ok())
            .map(CollectionId);
        let id = id
            .filter(|id| held.contains(id))
            .ok_or_else(|| wrong("each entry needs the 'id' of a layer of the replica"))?;
        if layers.iter().any(|layer| layer.id == id) {
            return Err(wrong(&format!("layer {id} is named twice")));
        }
        let flow = match crate::wire::json::member(members, "syncDirection") {
            None => overall.unwrap_or(Flow::Both),
            Some(Value::String(word)) => crate::wire::params::choose(NAME, word, &FLOWS)?,
            Some(_) => return Err(wrong("'syncDirection' must be a word")),
        };
        let since = number("serverGen").filter(|n| *n >= 0);
        if flow.downloads() && since.is_none() {
            return Err(wrong(&format!("layer {id} needs 'serverGen'")));
        }
        let since = generation(since);
        layers.push(Wanted { id, flow, since });
    }
    if layers.is_empty() {
        return Err(wrong("name at least one layer"));
    }
    Ok(layers)
}

/// A generation that never was, or whose history is gone, cannot be continued.
fn check_generation(layer: &Wanted, head: Generation, floor: Generation) -> Result<()> {
    let Some(asked) = layer.since else {
        return Ok(());
    };
    let reason = if asked > head {
        "the service has not reached it"
    } else if asked < floor && layer.flow.downloads() {
        "its history is not kept any more"
    } else {
        return Ok(());
    };
    Err(Problem::Model(Error::Resync { asked, reason }))
}

/// The stored texts, read again by the same parsers as fresh ones: what does not parse any more is not run.
fn checked_dialect(opened: &Opened, replica: &Replica) -> Result<Dialect> {
    let dialect = Dialect::of(replica);
    let held = held(replica);
    asked::filters(opened, &dialect, &held)?;
    Ok(dialect)
}

fn check_upload(
    call: &Call,
    opened: &Opened,
    replica: &Replica,
    layers: &[Wanted],
    sent: &[(CollectionId, Map<String, Value>)],
) -> Result<()> {
    if sent.is_empty() {
        return Ok(());
    }
    if replica.direction == Direction::Download || !asked::may_upload(call, opened) {
        return Err(Problem::Forbidden(
            "upload with this replica: it only downloads".to_owned(),
        ));
    }
    for (id, _) in sent {
        let layer = layers.iter().find(|layer| layer.id == *id);
        let layer = layer.ok_or_else(|| {
            Problem::parameter(
                "edits",
                &format!("layer {id} is not part of this synchronisation"),
            )
        })?;
        if !layer.flow.uploads() {
            let problem = format!("layer {id} does not upload in this direction");
            return Err(Problem::parameter("edits", &problem));
        }
    }
    Ok(())
}

/// What the upload left.
#[derive(Debug)]
struct Imported {
    replica: Replica,
    sent: Sent,
    results: Vec<LayerResults>,
}

/// Applies the edits and keeps the replica's books, in one transaction.
fn upload(
    call: &Call,
    opened: &Opened,
    mut replica: Replica,
    dialect: &Dialect,
    layers: &[Wanted],
    sent: &[(CollectionId, Map<String, Value>)],
) -> Result<Imported> {
    let rollback = call.params.flag("rollbackOnFailure", false)?;
    let now = call.now();
    let mut tx = opened.store.begin_write(now)?;
    // Read again within the transaction: another request may have gone before.
    replica = find(&*tx, replica.id, &call.principal)?;
    refresh_filters(tx.as_mut(), &mut replica, &opened.access)?;
    let mut incoming = Incoming::default();
    let rules = Rules {
        call,
        opened,
        srid: dialect.replica_sr,
        attachments: dialect.attachments != AttachmentsDirection::None,
    };
    for (id, members) in sent {
        incoming.add_layer(tx.as_mut(), rules, *id, members)?;
    }
    if rollback && !incoming.failures.is_empty() {
        return Err(rolled_back(incoming.failures));
    }
    let mut echo = Sent::default();
    let mut receipts = Vec::new();
    if !incoming.edits.is_empty() {
        let uploader = Uploader {
            user: &call.principal.name,
            replica: Some(replica.id),
            policy: replica.policy,
            access: &opened.access,
            cursor: None,
        };
        let mut fresh = || call.host.fresh_uuid();
        let (applied, sent) = import(
            tx.as_mut(),
            &replica,
            &cursors(layers),
            &uploader,
            &incoming.edits,
            rollback,
            now,
            &mut Ids(&mut fresh),
        )?;
        if applied.rolled_back {
            let told = results::of(incoming.slots, &applied.receipts);
            let reasons = told.iter().flat_map(|layer| {
                let three = [&layer.adds, &layer.updates, &layer.deletes];
                three
                    .into_iter()
                    .flatten()
                    .filter_map(results::Verdict::description)
            });
            return Err(rolled_back(reasons.collect()));
        }
        echo = sent;
        receipts = applied.receipts;
    }
    keep_books(&mut replica, layers, now);
    tx.store_replica(&replica)?;
    tx.commit()?;
    Ok(Imported {
        replica,
        sent: echo,
        results: results::of(incoming.slots, &receipts),
    })
}

fn rolled_back(mut reasons: Vec<String>) -> Problem {
    reasons.dedup();
    reasons.truncate(20);
    Problem::RolledBack(reasons)
}

/// The client's generation of every collection, those of attachments included.
fn cursors(layers: &[Wanted]) -> Vec<(CollectionId, Option<Generation>)> {
    layers
        .iter()
        .flat_map(|layer| {
            [
                (layer.id, layer.since),
                (layer.id.attachments(), layer.since),
            ]
        })
        .collect()
}

/// What the client names it has for sure; what it is about to get it may never get.
fn keep_books(replica: &mut Replica, layers: &[Wanted], now: haversack_model::Timestamp) {
    replica.synced_at = now;
    replica.is_dormant = false;
    for wanted in layers.iter().filter(|layer| layer.flow.downloads()) {
        for layer in &mut replica.layers {
            let of = layer
                .collection
                .attachments_of()
                .unwrap_or(layer.collection);
            if let (true, Some(since)) = (of == wanted.id, wanted.since) {
                layer.cursor = layer.cursor.max(since);
            }
        }
    }
}

/// Writes the answer: results of the upload, changes of the download, snapshots.
fn download(
    call: &Call,
    opened: &Opened,
    imported: &Imported,
    dialect: &Dialect,
    layers: &[Wanted],
    embedded: bool,
) -> Result<Answer> {
    let replica = &imported.replica;
    let tx = opened.store.begin_read()?;
    let head = tx.head()?;
    let writer = Writer {
        call,
        opened,
        srid: dialect.replica_sr,
        attachments_by_url: call.params.flag("returnAttachmentsDataByUrl", true)?,
    };
    let with_attachments = dialect.attachments == AttachmentsDirection::Bidirectional;
    let layer_of = |id: CollectionId| replica.layers.iter().find(|l| l.collection == id);
    let mut changes: BTreeMap<CollectionId, (Changes, Option<Changes>)> = BTreeMap::new();
    for wanted in layers.iter().filter(|layer| layer.flow.downloads()) {
        let (Some(since), Some(layer)) = (wanted.since, layer_of(wanted.id)) else {
            continue;
        };
        let range = Range {
            since,
            upto: head.generation,
            sent: &imported.sent,
        };
        let features = export::features(&writer, tx.as_ref(), layer, range)?;
        let attached = match layer_of(wanted.id.attachments()) {
            Some(layer) if with_attachments => Some(export::attachments(
                &writer,
                tx.as_ref(),
                wanted.id,
                layer,
                range,
            )?),
            _ => None,
        };
        changes.insert(wanted.id, (features, attached));
    }
    let snapshot = snapshot(replica, layers, dialect);
    let told = head_of_answer(
        replica,
        layers,
        head.generation,
        embedded,
        &imported.results,
        &changes,
        &snapshot,
    );
    let nothing = told["responseType"] == "esriReplicaResponseTypeNoEdits";
    if nothing && !embedded {
        return Ok(Answer::Json(told));
    }
    let mut out = Spool::new();
    open_object(&mut out, &told)?;
    write_edits(&mut out, layers, &imported.results, &mut changes)?;
    if !snapshot.is_empty() {
        std::io::Write::write_all(&mut out, b",\"layers\":").map_err(io)?;
        writer.layers(&mut out, tx.as_ref(), &snapshot)?;
    }
    std::io::Write::write_all(&mut out, b"}").map_err(io)?;
    if embedded {
        return Ok(Answer::Spooled {
            content: out,
            content_type: "application/json; charset=utf-8",
        });
    }
    let mut short = told;
    let url = files::keep(call, &mut out, "json", &replica.name)?;
    tell_url(&mut short, &url);
    Ok(Answer::Json(short))
}

/// The layers that are sent anew, each with its filter and that of its attachments.
fn snapshot(
    replica: &Replica,
    layers: &[Wanted],
    dialect: &Dialect,
) -> Vec<(CollectionId, Filter, Option<Filter>)> {
    let layer_of = |id: CollectionId| replica.layers.iter().find(|l| l.collection == id);
    let filters = |layer: &ReplicaLayer| {
        let attached = layer_of(layer.collection.attachments());
        let attached = attached.filter(|_| dialect.return_attachments);
        (
            layer.collection,
            layer.filter_now().clone(),
            attached.map(|layer| layer.filter_now().clone()),
        )
    };
    layers
        .iter()
        .filter(|layer| layer.flow == Flow::Snapshot)
        .filter_map(|wanted| layer_of(wanted.id))
        .map(filters)
        .collect()
}

fn head_of_answer(
    replica: &Replica,
    layers: &[Wanted],
    head: Generation,
    embedded: bool,
    results: &[LayerResults],
    changes: &BTreeMap<CollectionId, (Changes, Option<Changes>)>,
    snapshot: &[(CollectionId, Filter, Option<Filter>)],
) -> Value {
    let any = |(features, attached): &(Changes, Option<Changes>)| {
        !features.is_empty() || attached.as_ref().is_some_and(|changes| !changes.is_empty())
    };
    let edits = !results.is_empty() || changes.values().any(any);
    let response = match (snapshot.is_empty(), edits) {
        (false, true) => "esriReplicaResponseTypeEditsAndData",
        (false, false) => "esriReplicaResponseTypeReplacementData",
        (true, true) => "esriReplicaResponseTypeEdits",
        (true, false) => "esriReplicaResponseTypeNoEdits",
    };
    let mut told = json!({
        "replicaName": replica.name,
        "replicaID": id_text(replica.id),
        "transportType": if embedded { "esriTransportTypeEmbedded" } else { "esriTransportTypeUrl" },
        "responseType": response,
    });
    // A new generation goes to who got everything up to it; an upload alone keeps the client's own.
    let gens: Vec<_> = layers
        .iter()
        .filter_map(|layer| match layer.flow {
            Flow::Upload => layer.since.map(|since| (layer.id, since)),
            _ => Some((layer.id, head)),
        })
        .collect();
    if !gens.is_empty() {
        tell_generations(&mut told, replica.sync_model, &gens);
    }
    told
}

/// Writes `"edits":[..]`.
fn write_edits(
    out: &mut Spool,
    layers: &[Wanted],
    results: &[LayerResults],
    changes: &mut BTreeMap<CollectionId, (Changes, Option<Changes>)>,
) -> Result<()> {
    use std::io::Write as _;
    out.write_all(b"\"edits\":[").map_err(io)?;
    let mut first = true;
    for layer in layers.iter().filter(|layer| layer.flow != Flow::Snapshot) {
        let uploaded = results.iter().find(|result| result.id == layer.id);
        let downloaded = changes.get_mut(&layer.id);
        if uploaded.is_none() && downloaded.is_none() {
            continue;
        }
        super::document::separate(out, &mut first)?;
        let mut told = json!({"id": layer.id.0});
        let mut attached_results = None;
        if let Some(results) = uploaded {
            told["addResults"] = json!(array(&results.adds));
            told["updateResults"] = json!(array(&results.updates));
            told["deleteResults"] = json!(array(&results.deletes));
            attached_results = results
                .attachments
                .as_ref()
                .map(|[adds, updates, deletes]| {
                    json!({
                        "addResults": array(adds),
                        "updateResults": array(updates),
                        "deleteResults": array(deletes),
                    })
                });
        }
        open_object(out, &told)?;
        let mut none = (Changes::none(), None);
        let (features, attachments) = downloaded.unwrap_or(&mut none);
        out.write_all(b"\"features\":").map_err(io)?;
        features.copy_to(out, None)?;
        if attachments.is_some() || attached_results.is_some() {
            out.write_all(b",\"attachments\":").map_err(io)?;
            let mut empty = Changes::none();
            let attachments = attachments.as_mut().unwrap_or(&mut empty);
            attachments.copy_to(out, attached_results.as_ref())?;
        }
        out.write_all(b"}").map_err(io)?;
    }
    out.write_all(b"]").map_err(io)
}
