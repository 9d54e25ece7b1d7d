//! Batches, pages, digests and blobs of native replicas.

use axum::body::Bytes;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderValue};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use haversack_model::local::FrozenBatch;
use haversack_model::schema::attachment_field;
use haversack_model::{
    Access, BlobHash, CollectionId, Cursor, Error, GlobalId, Replica, ReplicaId, Right, Store,
};
use haversack_sqlite::replica::Sealer as _;
use haversack_sync::{Ids, Pull, Uploader, native, register};

use super::answer::{already_packed, json, pack, packed, parse, unpack};
use super::call::Call;
use super::problem::{Problem, Result};
use super::wire::{CollectionDigest, Digests, PullRequest};
use crate::cursors::Standing;
use crate::{clock, secret};

/// Applies a numbered batch, once.
pub(super) fn push(
    call: &Call,
    service: &str,
    id: Uuid,
    number: u64,
    body: &Bytes,
) -> Result<Response> {
    let (store, access) = call.service(service, Right::Sync)?;
    check_key(call, id, number)?;
    let bytes = unpack(&call.headers, body, call.max_json())?;
    let batch: FrozenBatch = parse(&bytes)?;
    if batch.number.0 != number {
        let message = format!("the path says {number}, the body {}", batch.number);
        return Err(Problem::bad("batch", message));
    }
    let hash = *blake3::hash(&bytes).as_bytes();
    check_cursor(call, service, store.as_ref(), id, batch.cursor)?;
    let now = clock::now();
    let mut tx = store.begin_write(now)?;
    let mut replica = find(tx.as_ref(), call, id)?;
    register::refresh_filters(tx.as_mut(), &mut replica, &access)?;
    let by = Uploader {
        user: &call.who.name,
        replica: Some(replica.id),
        policy: replica.policy,
        access: &access,
        cursor: Some(batch.cursor.generation),
    };
    let reply = native::push(
        tx.as_mut(),
        &replica,
        &by,
        &batch,
        hash,
        &|reply| pack(reply).unwrap_or_default(),
        now,
        &mut Ids(&mut secret::random_uuid),
    )?;
    if reply.is_empty() {
        // The reason was logged where packing failed. Dropping the transaction undoes the batch.
        return Err(Problem::internal());
    }
    tx.commit()?;
    metrics::counter!("haversack_batches_total").increment(1);
    tracing::info!(replica = %replica.id, batch = number, edits = batch.edits.len(), "batch applied");
    already_packed(&call.headers, reply)
}

/// The key says again which batch this is: a proxy that mixes requests up is noticed.
fn check_key(call: &Call, id: Uuid, number: u64) -> Result<()> {
    let expected = format!("{}/{number}", ReplicaId(id));
    let key = call.headers.get("idempotency-key");
    let key = key.and_then(|value| value.to_str().ok());
    if key != Some(expected.as_str()) {
        let message = format!("it must be {expected}");
        return Err(Problem::bad("idempotency-key", message));
    }
    Ok(())
}

/// Refuses a cursor that this server did not hand out for this replica, before anything is done. An authentic one above
/// the head proves that the service was rewound to a backup: a new history begins, so that no replica takes what follows
/// for what it saw before. One without a seal proves nothing: above the head it gets a resync.
pub(super) fn check_cursor(
    call: &Call,
    service: &str,
    store: &dyn Store,
    id: Uuid,
    cursor: Cursor,
) -> Result<()> {
    let cursors = call.server.cursors.of(service);
    match cursors.standing(ReplicaId(id), cursor) {
        Standing::Forged => {
            tracing::warn!(replica = %id, user = call.who.name, service, "a cursor was refused that this server did not hand out");
            let message = "this server did not hand it out for this replica; `haversack sync --resync` compares everything anew, unsent edits stay";
            Err(Problem::bad("cursor", message))
        }
        Standing::Bare => Ok(()),
        Standing::Authentic => note_rewind(call, store, cursor),
    }
}

fn note_rewind(call: &Call, store: &dyn Store, cursor: Cursor) -> Result<()> {
    let head = store.begin_read()?.head()?;
    if cursor.history != head.history || cursor.generation <= head.generation {
        return Ok(());
    }
    let mut tx = store.begin_write(clock::now())?;
    let mut fresh = secret::random_uuid;
    if native::start_history_if_rewound(tx.as_mut(), cursor, &mut Ids(&mut fresh))? {
        let head = tx.commit()?;
        tracing::warn!(user = call.who.name, asked = %cursor.generation, history = %head.history, "a replica is ahead: the service was rewound, a new history begins");
    }
    Ok(())
}

fn find(
    tx: &dyn haversack_model::ReadTx,
    call: &Call,
    id: Uuid,
) -> haversack_model::Result<Replica> {
    register::find(tx, ReplicaId(id), &call.who)
}

/// The page of changes after a cursor.
pub(super) fn pull(call: &Call, service: &str, id: Uuid, body: &Bytes) -> Result<Response> {
    let (store, access) = call.service(service, Right::Sync)?;
    let asked: PullRequest = parse(&unpack(&call.headers, body, call.max_json())?)?;
    check_cursor(call, service, store.as_ref(), id, asked.cursor)?;
    let replica = fresh_replica(call, store.as_ref(), id, &access)?;
    let limit = call.server.config.page_changes.max(1) as usize;
    let mut page = {
        let tx = store.begin_read()?;
        native::pull(
            tx.as_ref(),
            &replica,
            &Pull {
                cursor: asked.cursor,
                download: asked.download,
                ahead: asked.ahead,
                schema_version: asked.schema_version,
                max_changes: asked.max_changes.unwrap_or(limit).clamp(1, limit),
            },
        )?
    };
    page.cursor = call
        .server
        .cursors
        .of(service)
        .seal(replica.id, page.cursor);
    if !page.more {
        note_synced(call, store.as_ref(), &replica, asked.cursor)?;
    }
    tracing::info!(replica = %replica.id, changes = page.changes.len(), more = page.more, "page sent");
    packed(&call.headers, &page)
}

/// The replica with its filters as the user's grants are now.
fn fresh_replica(call: &Call, store: &dyn Store, id: Uuid, access: &Access) -> Result<Replica> {
    let replica = find(store.begin_read()?.as_ref(), call, id)?;
    if !register::filters_are_stale(&replica, access) {
        return Ok(replica);
    }
    let mut tx = store.begin_write(clock::now())?;
    let mut replica = find(tx.as_ref(), call, id)?;
    register::refresh_filters(tx.as_mut(), &mut replica, access)?;
    tx.commit()?;
    Ok(replica)
}

/// Remembers how far the replica has come, so that history that it does not need any more can go.
fn note_synced(call: &Call, store: &dyn Store, replica: &Replica, cursor: Cursor) -> Result<()> {
    const OFTEN_ENOUGH_MS: i64 = 60_000;
    let now = clock::now();
    let is_known = replica
        .layers
        .iter()
        .all(|layer| layer.cursor >= cursor.generation);
    if is_known && !replica.is_dormant && now.0 - replica.synced_at.0 < OFTEN_ENOUGH_MS {
        return Ok(());
    }
    let mut tx = store.begin_write(now)?;
    let mut replica = find(tx.as_ref(), call, replica.id.0)?;
    native::note_cursor(&mut replica, cursor.generation);
    replica.synced_at = now;
    replica.schema_version = tx.service()?.schema_version;
    tx.store_replica(&replica)?;
    tx.commit()?;
    Ok(())
}

/// Digests of what the replica may hold.
pub(super) fn digest(call: &Call, service: &str, id: Uuid) -> Result<Response> {
    let (store, access) = call.service(service, Right::Sync)?;
    let replica = fresh_replica(call, store.as_ref(), id, &access)?;
    let cursors = call.server.cursors.of(service);
    let tx = store.begin_read()?;
    let head = tx.head()?;
    let mut collections = Vec::with_capacity(replica.layers.len());
    for layer in &replica.layers {
        collections.push(CollectionDigest {
            collection: layer.collection,
            digest: tx.digest(layer.collection, layer.filter_now())?,
        });
    }
    json(&Digests {
        cursor: cursors.seal(replica.id, Cursor::bare(head.history, head.generation)),
        collections,
    })
}

/// Stores the content of an attachment ahead of the batch that names it.
pub(super) fn put_blob(
    call: &Call,
    service: &str,
    id: Uuid,
    hash: &str,
    body: &Bytes,
) -> Result<Response> {
    let (store, access) = call.service(service, Right::Sync)?;
    if !access.allows(Right::Edit) {
        return Err(Problem::forbidden("this needs the right \"edit\""));
    }
    let hash = parse_hash(hash)?;
    find(store.begin_read()?.as_ref(), call, id)?;
    let found = BlobHash(Sha256::digest(body).into());
    if found != hash {
        return Err(Problem::bad("body", format!("its SHA-256 is {found}")));
    }
    if store.begin_read()?.has_blob(hash)? {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let mut tx = store.begin_write(clock::now())?;
    tx.store_blob(hash, body)?;
    tx.commit()?;
    Ok(StatusCode::CREATED.into_response())
}

/// Content of an attachment that the replica may see. A hash alone opens nothing: it names an attachment of a visible record.
pub(super) fn get_blob(
    call: &Call,
    service: &str,
    id: Uuid,
    hash: &str,
    (collection, attachment): (u32, &str),
) -> Result<Response> {
    let (store, access) = call.service(service, Right::Sync)?;
    let hash = parse_hash(hash)?;
    let attachment =
        GlobalId::parse_uuid(attachment).map_err(|e| Problem::bad("attachment", e.to_string()))?;
    let replica = fresh_replica(call, store.as_ref(), id, &access)?;
    let tx = store.begin_read()?;
    let asked = CollectionId(collection);
    let layer = replica
        .layers
        .iter()
        .find(|l| l.collection == asked || Some(l.collection) == hidden(asked))
        .ok_or(Error::NoCollection(asked))?;
    let is_visible = tx.matches(layer.collection, &attachment, layer.filter_now())?;
    let record = tx
        .record(layer.collection, &attachment)?
        .filter(|_| is_visible)
        .ok_or_else(|| Problem::missing("attachment"))?;
    let named = record.record.values.get(attachment_field::SHA256);
    if named.and_then(|v| v.as_text()) != Some(hash.to_string().as_str()) {
        return Err(Problem::missing("attachment"));
    }
    let content = tx.blob(hash)?.ok_or_else(|| Problem::missing("blob"))?;
    let kind = HeaderValue::from_static("application/octet-stream");
    Ok(([(CONTENT_TYPE, kind)], content).into_response())
}

fn hidden(layer: CollectionId) -> Option<CollectionId> {
    layer
        .attachments_of()
        .is_none()
        .then(|| layer.attachments())
}

fn parse_hash(text: &str) -> Result<BlobHash> {
    BlobHash::from_hex(text).ok_or_else(|| Problem::bad("sha256", "it must be 64 hex digits"))
}
