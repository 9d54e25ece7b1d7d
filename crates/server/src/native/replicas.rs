//! The life of native replicas: register, list, renew, release.

use axum::body::Bytes;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use uuid::Uuid;

use haversack_geoservices::wire::crs::Transform;
use haversack_model::filter::SpatialRelation;
use haversack_model::remote::Renewed;
use haversack_model::{
    Access, Collection, CollectionId, Envelope, Error, Filter, ReadTx, Replica, ReplicaId, Right,
    Service, Store, SyncModel,
};
use haversack_sqlite::replica::Sealer as _;
use haversack_sync::{Ids, NewReplica, register as core};

use super::answer::{json, parse, unpack};
use super::call::Call;
use super::prepare;
use super::problem::{Problem, Result};
use super::sync::check_cursor;
use super::wire::{LayerRequest, Registered, RenewRequest, ReplicaInfo, ReplicaRequest};
use crate::{clock, parse_condition, secret};

/// Registers a replica and starts to prepare its file.
pub(super) fn register(call: &Call, service: &str, body: &Bytes) -> Result<Response> {
    let (store, access) = call.service(service, Right::Sync)?;
    let asked: ReplicaRequest = parse(&unpack(&call.headers, body, call.max_json())?)?;
    if asked.name.is_empty() || asked.name.chars().count() > 200 {
        return Err(Problem::bad("name", "it must have 1 to 200 characters"));
    }
    let replica = match registered_before(call, store.as_ref(), &asked)? {
        Some(known) => known,
        None => store_new(call, store.as_ref(), &access, &asked)?,
    };
    let job = prepare::start(call, service, replica.id)?;
    tracing::info!(replica = %replica.id, user = call.who.name, service, "replica registered");
    let mut response = json(&Registered {
        replica: replica.id,
        job,
    })?;
    *response.status_mut() = StatusCode::CREATED;
    Ok(response)
}

/// The replica that an earlier request with the same key registered, whose answer may have been lost.
fn registered_before(
    call: &Call,
    store: &dyn Store,
    asked: &ReplicaRequest,
) -> Result<Option<Replica>> {
    let Some(key) = asked.key else {
        return Ok(None);
    };
    let key = key.to_string();
    let is_it = |replica: &Replica| {
        replica.owner == call.who.name
            && replica.native
            && replica.dialect.contains(&key)
            && serde_json::from_str::<ReplicaRequest>(&replica.dialect)
                .is_ok_and(|before| before == *asked)
    };
    Ok(store.begin_read()?.replicas()?.into_iter().find(is_it))
}

fn store_new(
    call: &Call,
    store: &dyn Store,
    access: &Access,
    asked: &ReplicaRequest,
) -> Result<Replica> {
    let now = clock::now();
    let mut tx = store.begin_write(now)?;
    let service = tx.service()?;
    let layers = layers_of(&service, asked)?;
    let new = NewReplica {
        name: asked.name.clone(),
        owner: call.who.name.clone(),
        native: true,
        sync_model: SyncModel::PerReplica,
        direction: asked.direction,
        policy: asked.policy,
        layers,
        dialect: serde_json::to_string(asked).map_err(|e| Problem::bad("body", e.to_string()))?,
    };
    let replica = core::register(
        tx.as_mut(),
        new,
        access,
        now,
        &mut Ids(&mut secret::random_uuid),
    )?;
    tx.commit()?;
    Ok(replica)
}

/// The collections of a replica with their filters: what was asked for, or all, and their attachments.
fn layers_of(service: &Service, asked: &ReplicaRequest) -> Result<Vec<(CollectionId, Filter)>> {
    let mut layers = Vec::new();
    let mut add = |collection: &Collection, filter: Filter| {
        layers.push((collection.id, filter));
        if asked.attachments && collection.has_attachments {
            layers.push((collection.id.attachments(), Filter::All));
        }
    };
    if asked.layers.is_empty() {
        for collection in service.layers_and_tables() {
            add(collection, Filter::All);
        }
        return Ok(layers);
    }
    for layer in &asked.layers {
        let collection = service
            .collection(layer.collection)
            .filter(|collection| !collection.is_documents())
            .ok_or(Error::NoCollection(layer.collection))?;
        add(collection, filter_of(layer, collection)?);
    }
    Ok(layers)
}

fn filter_of(layer: &LayerRequest, collection: &Collection) -> Result<Filter> {
    let text = layer.condition.as_deref().unwrap_or_default().trim();
    let condition = if text.is_empty() {
        Filter::All
    } else {
        parse_condition(text, collection)?
    };
    let Some(bbox) = layer.bbox else {
        return Ok(condition);
    };
    let Some(column) = &collection.geometry else {
        let message = format!("{} has no geometry", collection.name);
        return Err(Problem::bad("bbox", message));
    };
    let [min_x, min_y, max_x, max_y] = bbox;
    if !bbox.iter().all(|x| x.is_finite()) || min_x > max_x || min_y > max_y {
        let message = "it must be least x, least y, greatest x, greatest y";
        return Err(Problem::bad("bbox", message));
    }
    let mut envelope = Envelope {
        min_x,
        min_y,
        max_x,
        max_y,
    };
    let srid = layer.bbox_srid.unwrap_or(column.srid);
    let refused = |e: &dyn std::error::Error| Problem::bad("bbox_srid", e.to_string());
    if let Some(transform) = Transform::between(srid, column.srid).map_err(|e| refused(&e))? {
        envelope = transform.envelope(&envelope).map_err(|e| refused(&e))?;
    }
    Ok(condition.and(Filter::Spatial {
        relation: SpatialRelation::Intersects,
        geometry: envelope.to_polygon(),
    }))
}

/// The caller's replicas; all of them for administrators of the service.
pub(super) fn list(call: &Call, service: &str) -> Result<Response> {
    let (store, access) = call.service(service, Right::Sync)?;
    let tx = store.begin_read()?;
    let sees_all = access.allows(Right::Admin);
    let replicas: Vec<_> = tx
        .replicas()?
        .iter()
        .filter(|replica| sees_all || replica.owner == call.who.name)
        .map(info)
        .collect();
    json(&replicas)
}

/// One replica.
pub(super) fn show(call: &Call, service: &str, id: Uuid) -> Result<Response> {
    let (store, _access) = call.service(service, Right::Sync)?;
    let tx = store.begin_read()?;
    json(&info(&find(tx.as_ref(), call, id)?))
}

/// Unregisters a replica.
pub(super) fn release(call: &Call, service: &str, id: Uuid) -> Result<Response> {
    let (store, _access) = call.service(service, Right::Sync)?;
    let mut tx = store.begin_write(clock::now())?;
    core::unregister(tx.as_mut(), ReplicaId(id), &call.who)?;
    tx.commit()?;
    tracing::info!(replica = %id, user = call.who.name, service, "replica released");
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Gives a replica a new identity: its file was cloned or put back, it was released, or a restored backup does not know it.
pub(super) fn renew(call: &Call, service: &str, id: Uuid, body: &Bytes) -> Result<Response> {
    let (store, access) = call.service(service, Right::Sync)?;
    let asked: RenewRequest = parse(&unpack(&call.headers, body, call.max_json())?)?;
    check_cursor(call, service, store.as_ref(), id, asked.cursor)?;
    let now = clock::now();
    let mut tx = store.begin_write(now)?;
    let head = tx.head()?;
    let mut fresh = secret::random_uuid;
    let old = ReplicaId(id);
    let renewed = match core::renew(tx.as_mut(), old, &call.who, now, &mut Ids(&mut fresh)) {
        Ok(renewed) => renewed,
        // Another's stays as unknown as it was: a file is not taken over by a wrong login.
        Err(Error::NoReplica(_)) if tx.replica(old)?.is_none() => {
            drop(tx);
            return register_again(call, store.as_ref(), &access, &asked, old);
        }
        Err(error) => return Err(error.into()),
    };
    let continues = asked.cursor.history == head.history
        && asked.cursor.generation >= head.floor
        && asked.cursor.generation <= head.generation;
    tx.commit()?;
    tracing::info!(replica = %renewed.id, was = %old, user = call.who.name, service, "replica renewed");
    let cursors = call.server.cursors.of(service);
    json(&Renewed {
        id: renewed.id,
        continues,
        cursor: continues.then(|| cursors.seal(renewed.id, asked.cursor)),
    })
}

/// Registers a replica anew that the service does not know: it was released, or made after the backup from which the
/// service was restored. What its file holds is compared anew; unsent edits stay in the file and come with its next
/// batches. Why: docs/decisions/0016.
fn register_again(
    call: &Call,
    store: &dyn Store,
    access: &Access,
    asked: &RenewRequest,
    old: ReplicaId,
) -> Result<Response> {
    let Some(registration) = &asked.registration else {
        return Err(Error::NoReplica(old).into());
    };
    let replica = store_new(call, store, access, registration)?;
    tracing::info!(replica = %replica.id, was = %old, user = call.who.name, "an unknown replica was registered again");
    json(&Renewed {
        id: replica.id,
        continues: false,
        cursor: None,
    })
}

pub(super) fn find(tx: &dyn ReadTx, call: &Call, id: Uuid) -> Result<Replica> {
    Ok(core::find(tx, ReplicaId(id), &call.who)?)
}

fn info(replica: &Replica) -> ReplicaInfo {
    let shown = replica.layers.iter().map(|layer| layer.collection);
    ReplicaInfo {
        id: replica.id,
        name: replica.name.clone(),
        owner: replica.owner.clone(),
        native: replica.native,
        collections: shown.filter(|id| id.attachments_of().is_none()).collect(),
        direction: replica.direction,
        policy: replica.policy,
        created_at: replica.created_at,
        synced_at: replica.synced_at,
    }
}
