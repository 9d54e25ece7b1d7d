//! Replicas: create, list, describe, synchronise, unregister. The rules are the sync core's; here is the dialect.
//!
//! A replica is its owner's alone: another's id is answered like one that never was. Anonymous replicas share one owner.
//! Source: `spec/geoservices.md` 6; `DESIGN.md` 5, "Foreign clients".

pub(crate) mod asked;
pub(crate) mod create;
pub(crate) mod dialect;
pub(crate) mod document;
pub(crate) mod estimate;
pub(crate) mod export;
pub(crate) mod incoming;
pub(crate) mod synchronize;

use haversack_model::{Generation, Replica, ReplicaId, Right, SyncModel};
use haversack_sync::register;
use serde_json::{Value, json};

use super::answer::Answer;
use super::call::{Call, Opened};
use super::problem::{Problem, Result};
use dialect::Dialect;

/// Opens a service for replicas.
pub(crate) fn open(call: &Call, name: &str) -> Result<Opened> {
    let opened = call.open(name, Right::Sync)?;
    opened.offers("Sync")?;
    Ok(opened)
}

/// The id in a parameter or path: with or without braces, any case.
pub(crate) fn parse_id(text: &str) -> Result<ReplicaId> {
    text.parse().map_err(|_not_an_id| Problem::NoReplica)
}

/// The id as clients get it: upper case without braces.
pub(crate) fn id_text(id: ReplicaId) -> String {
    id.to_string().to_uppercase()
}

/// `replicas`: the principal's own, or all for an administrator.
pub(crate) fn list(call: &Call, name: &str) -> Result<Answer> {
    let opened = open(call, name)?;
    let with_date = call.params.flag("returnLastSyncDate", false)?;
    let tx = opened.store.begin_read()?;
    let everyone = call.principal.is_admin || opened.access.allows(Right::Admin);
    let mine = |replica: &Replica| everyone || replica.owner == call.principal.name;
    let told = tx.replicas()?.into_iter().filter(mine).map(|replica| {
        let mut told = json!({
            "replicaName": replica.name,
            "replicaID": id_text(replica.id),
        });
        if with_date {
            told["lastSyncDate"] = json!(replica.synced_at.0);
        }
        told
    });
    Ok(Answer::Json(Value::Array(told.collect())))
}

/// `replicas/<id>`.
pub(crate) fn info(call: &Call, name: &str, id: &str) -> Result<Answer> {
    let opened = open(call, name)?;
    let tx = opened.store.begin_read()?;
    let replica = register::find(tx.as_ref(), parse_id(id)?, &call.principal)?;
    let dialect = Dialect::of(&replica);
    let layers = replica
        .layers
        .iter()
        .filter(|layer| layer.collection.attachments_of().is_none());
    let mut told = json!({
        "replicaName": replica.name,
        "replicaID": id_text(replica.id),
        "replicaOwner": replica.owner,
        "syncModel": model_name(replica.sync_model),
        "targetType": "client",
        "syncDirection": dialect::direction_name(replica.direction),
        "creationDate": replica.created_at.0,
        "lastSyncDate": replica.synced_at.0,
        "returnAttachments": dialect.return_attachments,
        "attachmentsSyncDirection": dialect.attachments.name(),
        "spatialRel": dialect.spatial_rel.as_deref().unwrap_or("esriSpatialRelIntersects"),
        "geometryType": dialect.geometry_type,
        "geometry": dialect.geometry_json(),
        "inSR": dialect.in_sr.map(crate::wire::crs::to_json),
        "spatialReference": crate::wire::crs::to_json(dialect.replica_sr.unwrap_or(opened.service.srid)),
        "layers": layers.clone().map(|l| dialect.describe_layer(l.collection)).collect::<Vec<_>>(),
    });
    let gens = layers.map(|layer| (layer.collection, layer.cursor));
    tell_generations(&mut told, replica.sync_model, &gens.collect::<Vec<_>>());
    Ok(Answer::Json(told))
}

/// Name of a sync model.
pub(crate) fn model_name(model: SyncModel) -> &'static str {
    match model {
        SyncModel::PerReplica => "perReplica",
        SyncModel::PerLayer => "perLayer",
    }
}

/// Adds `replicaServerGen` or `layerServerGens`.
pub(crate) fn tell_generations(
    told: &mut Value,
    model: SyncModel,
    layers: &[(haversack_model::CollectionId, Generation)],
) {
    match model {
        SyncModel::PerReplica => {
            let lowest = layers.iter().map(|(_, generation)| generation.0).min();
            told["replicaServerGen"] = json!(lowest.unwrap_or(0));
        }
        SyncModel::PerLayer => {
            // The second number counts what came from a sibling server: clients have none.
            let all = layers.iter().map(|(id, generation)| {
                json!({"id": id.0, "serverGen": generation.0, "serverSibGen": -1})
            });
            told["layerServerGens"] = json!(all.collect::<Vec<_>>());
        }
    }
}

/// `unRegisterReplica`; `*` is all of them, for administrators.
pub(crate) fn unregister(call: &Call, name: &str) -> Result<Answer> {
    let opened = open(call, name)?;
    let text = call.params.required("replicaID")?;
    let mut tx = opened.store.begin_write(call.now())?;
    if text.trim() == "*" {
        if !call.principal.is_admin && !opened.access.allows(Right::Admin) {
            call.require(&opened.access, Right::Admin)?;
        }
        for replica in tx.replicas()? {
            tx.remove_replica(replica.id)?;
        }
    } else {
        register::unregister(tx.as_mut(), parse_id(text)?, &call.principal)?;
    }
    tx.commit()?;
    Ok(Answer::Json(json!({"success": true})))
}

/// `cleanupChangeTracking`: forgets history that no replica needs. Asking twice does no harm.
pub(crate) fn cleanup(call: &Call, name: &str) -> Result<Answer> {
    let opened = call.open(name, Right::Admin)?;
    let params = &call.params;
    params.ids("layers")?;
    let head = opened.store.begin_read()?.head()?;
    let upto = match params.integer("minServerGen", 0..=i64::MAX)? {
        Some(generation) => Generation(generation as u64).min(head.generation),
        // A period says how long history is kept; generations carry no dates that could be compared with it, so a
        // period of zero cleans everything and any other leaves it to the configured retention.
        None => match params.integer("retentionPeriod", 0..=i64::MAX)? {
            Some(0) | None => head.generation,
            Some(_) => head.floor,
        },
    };
    params.choice(
        "retentionPeriodUnits",
        &["seconds", "minutes", "hours", "days"].map(|word| (word, ())),
    )?;
    let mut tx = opened.store.begin_write(call.now())?;
    if let Some(id) = params.text("replicaId") {
        register::unregister(tx.as_mut(), parse_id(id)?, &call.principal)?;
    }
    tx.prune_history(upto)?;
    tx.commit()?;
    Ok(Answer::Json(json!({"success": true})))
}
