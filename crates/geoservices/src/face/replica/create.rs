//! `createReplica`: data and generation from one snapshot, then the registration.
//!
//! The data is written before the replica is registered, so that writers never wait for a long export. The registered
//! cursor is the snapshot's generation, not the one of the moment of registration: nothing falls between the two.

use haversack_model::{CollectionId, Filter, Generation, Policy, ReadTx, Right, SyncModel};
use haversack_sync::Ids;
use haversack_sync::register::{NewReplica, effective_filter, register};
use serde_json::{Value, json};

use super::super::answer::{Answer, Spool};
use super::super::call::{Call, Opened};
use super::super::extract::filegdb;
use super::super::files;
use super::super::jobs::{self, Operation};
use super::super::problem::{Problem, Result};
use super::asked::{Asked, DataFormat};
use super::dialect::AttachmentsDirection;
use super::document::{Writer, io, open_object};
use super::{estimate, id_text, model_name, tell_generations};

/// `createReplica`.
pub(crate) fn create(call: &Call, name: &str) -> Result<Answer> {
    if call.params.flag("async", false)? {
        // What is wrong is told at once, not by a job.
        let opened = call.open(name, Right::Read)?;
        let asked = Asked::of_call(call, &opened)?;
        let layers = effective_layers(&opened, &asked, &own_filters(&opened, &asked)?);
        check_size(call, opened.store.begin_read()?.as_ref(), &asked, &layers)?;
        return jobs::start(call, name, Operation::CreateReplica);
    }
    now(call, name)
}

/// `createReplica`, at once.
pub(crate) fn now(call: &Call, name: &str) -> Result<Answer> {
    let opened = call.open(name, Right::Read)?;
    let asked = Asked::of_call(call, &opened)?;
    let id = haversack_model::ReplicaId(call.fixed_id());
    let tx = opened.store.begin_read()?;
    let head = tx.head()?;
    let own = own_filters(&opened, &asked)?;
    let layers = effective_layers(&opened, &asked, &own);
    check_size(call, tx.as_ref(), &asked, &layers)?;
    let mut told = json!({
        "replicaName": asked.name,
        "replicaID": id_text(id),
        "transportType": if asked.embedded { "esriTransportTypeEmbedded" } else { "esriTransportTypeUrl" },
        "responseType": "esriReplicaResponseTypeData",
        "syncModel": asked.model.map_or("none", model_name),
        "targetType": "client",
    });
    if let Some(model) = asked.model {
        let gens: Vec<_> = asked
            .layers
            .iter()
            .map(|(id, _)| (*id, head.generation))
            .collect();
        tell_generations(&mut told, model, &gens);
    }
    let url = match asked.format {
        DataFormat::FileGdb => Some(filegdb::export(
            call,
            &opened,
            tx.as_ref(),
            &layers,
            asked.dialect.replica_sr,
            &asked.name,
        )?),
        DataFormat::Json => None,
    };
    let mut content = Spool::new();
    if url.is_none() {
        write(
            call,
            &opened,
            tx.as_ref(),
            &asked,
            &layers,
            &told,
            &mut content,
        )?;
    }
    drop(tx);
    if let Some(model) = asked.model {
        register_at(call, &opened, &asked, model, own, id, head.generation)?;
    }
    if asked.embedded {
        return Ok(Answer::Spooled {
            content,
            content_type: "application/json; charset=utf-8",
        });
    }
    let url = match url {
        Some(url) => url,
        None => files::keep(call, &mut content, "json", &asked.name)?,
    };
    tell_url(&mut told, &url);
    Ok(Answer::Json(told))
}

/// The URL of the result under the names that clients look for.
pub(crate) fn tell_url(told: &mut Value, url: &str) {
    told["URL"] = json!(url);
    told["resultUrl"] = json!(url);
}

fn check_size(
    call: &Call,
    tx: &dyn ReadTx,
    asked: &Asked,
    layers: &[(CollectionId, Filter, Option<Filter>)],
) -> Result<()> {
    let with_contents = asked.format == DataFormat::Json && !asked.dialect.attachments_by_url;
    estimate::check(call, tx, layers, with_contents)
}

/// The filters to register: those of layers, and of attachments where they go along.
fn own_filters(opened: &Opened, asked: &Asked) -> Result<Vec<(CollectionId, Filter)>> {
    let mut own = asked.layers.clone();
    let wanted =
        asked.dialect.return_attachments || asked.dialect.attachments != AttachmentsDirection::None;
    for (id, _) in &asked.layers {
        if wanted && opened.collection(*id)?.has_attachments {
            own.push((id.attachments(), Filter::All));
        }
    }
    Ok(own)
}

/// What is exported: each layer's effective filter, and that of its attachments if they are returned.
fn effective_layers(
    opened: &Opened,
    asked: &Asked,
    own: &[(CollectionId, Filter)],
) -> Vec<(CollectionId, Filter, Option<Filter>)> {
    let effective = |id| effective_filter(id, own, &opened.access);
    asked
        .layers
        .iter()
        .map(|(id, _)| {
            let attached = own.iter().any(|(other, _)| *other == id.attachments());
            let attached = attached && asked.dialect.return_attachments;
            (
                *id,
                effective(*id),
                attached.then(|| effective(id.attachments())),
            )
        })
        .collect()
}

fn write(
    call: &Call,
    opened: &Opened,
    tx: &dyn ReadTx,
    asked: &Asked,
    layers: &[(CollectionId, Filter, Option<Filter>)],
    told: &Value,
    out: &mut Spool,
) -> Result<()> {
    let writer = Writer {
        call,
        opened,
        srid: asked.dialect.replica_sr,
        attachments_by_url: asked.dialect.attachments_by_url,
    };
    open_object(out, told)?;
    std::io::Write::write_all(out, b"\"layers\":").map_err(io)?;
    writer.layers(out, tx, layers)?;
    std::io::Write::write_all(out, b"}").map_err(io)
}

fn register_at(
    call: &Call,
    opened: &Opened,
    asked: &Asked,
    model: SyncModel,
    own: Vec<(CollectionId, Filter)>,
    id: haversack_model::ReplicaId,
    generation: Generation,
) -> Result<()> {
    let mut tx = opened.store.begin_write(call.now())?;
    // A job that runs again finds the replica of its first run, which nobody has heard of.
    tx.remove_replica(id)?;
    if tx.head()?.floor > generation {
        return Err(Problem::Internal(
            "history was cleaned during the export".to_owned(),
        ));
    }
    let new = NewReplica {
        name: asked.name.clone(),
        owner: call.principal.name.clone(),
        native: false,
        sync_model: model,
        direction: asked.direction,
        policy: Policy::Client,
        layers: own,
        dialect: asked.dialect.to_text(),
    };
    let mut made = || id.0;
    let mut replica = register(
        tx.as_mut(),
        new,
        &opened.access,
        call.now(),
        &mut Ids(&mut made),
    )?;
    for layer in &mut replica.layers {
        layer.cursor = generation;
    }
    tx.store_replica(&replica)?;
    tx.commit()?;
    Ok(())
}
