//! Batches: a pinned generation of one database, for as long as somebody asks.
//!
//! Nothing is locked and no transaction stays open: the store keeps what is needed to read as of the generation. A batch is
//! prolonged by every use. A restart of the server ends batches; their pins run out. Source: `spec/arangodb.md` 6.3.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use haversack_model::documents::Pin;
use haversack_model::{CollectionId, Generation, Right, Timestamp};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::super::answer::Answer;
use super::super::body::seconds;
use super::super::call::{Call, Opened};
use super::super::problem::{Problem, Result};
use super::logger;
use crate::wire::errors::ErrorNum;

/// How long a batch counts if nobody says, in seconds.
const DEFAULT_TTL_S: u64 = 7200;
/// The longest that it may count without being used.
const MAX_TTL_S: u64 = 86_400;
/// Most batches of one server.
const MAX_BATCHES: usize = 1000;

#[derive(Debug, Default)]
pub(crate) struct Batches(Mutex<BTreeMap<u64, Batch>>);

/// A snapshot that somebody reads.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    pub(crate) id: u64,
    database: String,
    pub(crate) generation: Generation,
    pin: Uuid,
    ttl_ms: i64,
    expires_at: Timestamp,
    /// When the pin in the store runs out; always later than the batch.
    pinned_until: Timestamp,
    /// Who reads it.
    client: Map<String, Value>,
    /// Where each chunk of a dump ended: the keys after which the next ones begin.
    pub(crate) dumps: BTreeMap<CollectionId, Vec<String>>,
}

impl Batches {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Batch>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// Notes where a chunk of a dump ended.
    pub(crate) fn note_dump(&self, id: u64, collection: CollectionId, chunk: usize, last: String) {
        if let Some(batch) = self.lock().get_mut(&id) {
            let ends = batch.dumps.entry(collection).or_default();
            ends.truncate(chunk);
            ends.push(last);
        }
    }
    /// Who reads what, for the state of the logger.
    pub(super) fn clients(&self, database: &str, now: Timestamp) -> Vec<Value> {
        let batches = self.lock();
        let live = batches
            .values()
            .filter(|b| b.database == database && b.expires_at > now);
        live.map(|batch| {
            let mut told = Value::Object(batch.client.clone());
            told["expires"] = Value::from(logger::time(batch.expires_at));
            told["lastServedTick"] = Value::from(logger::tick(batch.generation));
            told
        })
        .collect()
    }
}

fn unknown() -> Problem {
    Problem::told(ErrorNum::CursorNotFound, "batch not found")
}

fn ttl(body: &Map<String, Value>) -> Option<i64> {
    let ttl = seconds(body, "ttl")?;
    Some(ttl.clamp(1, MAX_TTL_S) as i64 * 1000)
}

/// `POST batch`.
pub(super) fn create(call: &Call) -> Result<Answer> {
    let opened = call.open(Right::Sync)?;
    let Value::Object(body) = call.json()? else {
        return Err(Problem::bad_parameter("the body must be an object"));
    };
    let now = call.host().now();
    sweep(call, now);
    if call.face.batches.lock().len() >= MAX_BATCHES {
        return Err(Problem::told(ErrorNum::HttpUnavailable, "too many batches"));
    }
    let ttl_ms = ttl(&body).unwrap_or(DEFAULT_TTL_S as i64 * 1000);
    let mut tx = opened.store.write_documents(now)?;
    let generation = tx.head()?.generation;
    let mut batch = Batch {
        id: call.face.ids.next(),
        database: opened.name.clone(),
        generation,
        pin: call.host().fresh_uuid(),
        ttl_ms,
        expires_at: Timestamp(now.0 + ttl_ms),
        pinned_until: Timestamp(0),
        client: client(call, now),
        dumps: BTreeMap::new(),
    };
    batch.pinned_until = Timestamp(now.0 + 2 * ttl_ms);
    tx.pin(&batch.pin())?;
    tx.commit()?;
    let mut told = json!({"id": batch.id.to_string(), "lastTick": logger::tick(generation)});
    call.face.batches.lock().insert(batch.id, batch);
    if call.flag("state", false) {
        told["state"] = logger::told(call, &opened)?;
    }
    Ok(Answer::json(200, told))
}

fn client(call: &Call, now: Timestamp) -> Map<String, Value> {
    let mut told = Map::new();
    for name in ["syncerId", "serverId", "clientInfo"] {
        told.insert(
            name.to_owned(),
            Value::from(call.param(name).unwrap_or_default()),
        );
    }
    told.insert("time".to_owned(), Value::from(logger::time(now)));
    told
}

impl Batch {
    fn pin(&self) -> Pin {
        Pin {
            id: self.pin,
            generation: self.generation,
            expires_at: self.pinned_until,
        }
    }
}

/// `PUT batch/<id>`.
pub(super) fn extend(call: &Call, id: &str) -> Result<Answer> {
    let opened = call.open(Right::Sync)?;
    let given = ttl(&call.object()?);
    used(call, &opened, id, given)?;
    Ok(Answer::empty(204))
}

/// `DELETE batch/<id>`.
pub(super) fn remove(call: &Call, id: &str) -> Result<Answer> {
    let opened = call.open(Right::Sync)?;
    let batch = used(call, &opened, id, None)?;
    call.face.batches.lock().remove(&batch.id);
    let mut tx = opened.store.write_documents(call.host().now())?;
    tx.unpin(batch.pin)?;
    tx.commit()?;
    Ok(Answer::empty(204))
}

/// The batch that a request names, and the database that it belongs to.
pub(super) fn of(call: &Call, missing: ErrorNum) -> Result<(Opened, Batch)> {
    let opened = call.open(Right::Sync)?;
    let id = call.param("batchId").filter(|id| !id.is_empty());
    let id = id.ok_or_else(|| Problem::told(missing, "'batchId' parameter is required"))?;
    match used(call, &opened, id, None) {
        Ok(batch) => Ok((opened, batch)),
        Err(Problem::Told {
            num: ErrorNum::CursorNotFound,
            message,
        }) => Err(Problem::told(missing, message)),
        Err(other) => Err(other),
    }
}

/// A batch by its id, prolonged.
pub(super) fn used(call: &Call, opened: &Opened, id: &str, ttl_ms: Option<i64>) -> Result<Batch> {
    let now = call.host().now();
    let id: u64 = id.parse().map_err(|_not_a_number| unknown())?;
    let batch = {
        let mut batches = call.face.batches.lock();
        let batch = batches.get_mut(&id);
        let batch = batch.filter(|b| b.database == opened.name && b.expires_at > now);
        let batch = batch.ok_or_else(unknown)?;
        let ttl = batch.ttl_ms.max(ttl_ms.unwrap_or(0));
        batch.expires_at = Timestamp(batch.expires_at.0.max(now.0 + ttl));
        if batch.pinned_until >= batch.expires_at {
            return Ok(batch.clone());
        }
        batch.pinned_until = Timestamp(now.0 + 2 * ttl);
        batch.clone()
    };
    let mut tx = opened.store.write_documents(now)?;
    tx.pin(&batch.pin())?;
    tx.commit()?;
    Ok(batch)
}

/// Forgets batches that have run out, and what they pinned.
fn sweep(call: &Call, now: Timestamp) {
    let gone: Vec<Batch> = {
        let mut batches = call.face.batches.lock();
        let gone: Vec<u64> = batches
            .iter()
            .filter(|(_, b)| b.expires_at <= now)
            .map(|(id, _)| *id)
            .collect();
        gone.iter().filter_map(|id| batches.remove(id)).collect()
    };
    for batch in gone {
        let Some(store) = call.host().documents(&batch.database) else {
            continue;
        };
        let unpinned = store.write_documents(now).and_then(|mut tx| {
            tx.unpin(batch.pin)?;
            tx.commit()
        });
        if let Err(error) = unpinned {
            tracing::warn!(%error, "a pin stays until it runs out");
        }
    }
}
