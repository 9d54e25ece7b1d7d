//! The keys protocol: sorted keys in chunks with a hash each, then the keys and documents of chunks that differ.
//!
//! The list is not kept: its id names batch and collection, and every request reads the snapshot again.
//! Source: `spec/arangodb.md` 7.

use std::ops::ControlFlow;

use haversack_model::documents::key_of;
use haversack_model::{Service, Versioned};
use serde_json::{Value, json};

use super::super::answer::Answer;
use super::super::call::{Call, Opened};
use super::super::document::{global_id, render_versioned};
use super::super::problem::{Problem, Result};
use super::batch::{self, Batch};
use super::snapshot::Snapshot;
use crate::known;
use crate::wire::chunk::ChunkHash;
use crate::wire::errors::ErrorNum;
use crate::wire::revision;

/// Documents in an answer stop after about so many bytes.
const MAX_BYTES: usize = 8 << 20;
/// Above so many documents a quick request is told the count alone.
const QUICK_LIMIT: u64 = 1_000_000;

/// `POST keys`.
pub(super) fn create(call: &Call) -> Result<Answer> {
    let (opened, batch) = batch::of(call, ErrorNum::CursorNotFound)?;
    let tx = opened.store.read_documents()?;
    let service = tx.service()?;
    let collection = find(&opened, &service, call.needed("collection")?)?;
    let count = Snapshot::new(tx.as_ref(), collection, batch.generation)?.count()?;
    if call.flag("quick", false) && count > QUICK_LIMIT {
        return Ok(Answer::json(200, json!({"count": count})));
    }
    let id = format!("{}-{}", batch.id, known::wire_id(collection));
    Ok(Answer::json(200, json!({"id": id, "count": count})))
}

fn find<'a>(
    opened: &Opened,
    service: &'a Service,
    text: &str,
) -> Result<&'a haversack_model::Collection> {
    match opened.find(service, text) {
        Err(Problem::Told {
            num: ErrorNum::CollectionNotFound,
            ..
        }) => Err(Problem::bad_parameter("there is no such collection")),
        found => found,
    }
}

/// What a list's id names: the batch, and the number of the collection.
fn opened<'a>(call: &Call, id: &'a str) -> Result<(Opened, Batch, &'a str)> {
    let opened = call.open(haversack_model::Right::Sync)?;
    let unknown = || Problem::told(ErrorNum::CursorNotFound, "there is no such list of keys");
    let (batch, collection) = id.split_once('-').ok_or_else(unknown)?;
    let batch = batch::used(call, &opened, batch, None)?;
    Ok((opened, batch, collection))
}

fn chunk_size(call: &Call) -> Result<u64> {
    let size = call.number("chunkSize")?.unwrap_or(0);
    Ok(match size {
        0..100 => 5000,
        size => size.min(20_000),
    })
}

/// `GET keys/<id>`.
pub(super) fn chunks(call: &Call, id: &str) -> Result<Answer> {
    struct Chunk {
        low: String,
        high: String,
        hash: ChunkHash,
        count: u64,
    }
    let (opened, batch, collection) = opened(call, id)?;
    let size = chunk_size(call)?;
    let tx = opened.store.read_documents()?;
    let service = tx.service()?;
    let collection = find(&opened, &service, collection)?;
    let mut told = Vec::new();
    let mut open: Option<Chunk> = None;
    let finish = |chunk: Chunk| json!({"low": chunk.low, "high": chunk.high, "hash": chunk.hash.value().to_string()});
    Snapshot::new(tx.as_ref(), collection, batch.generation)?.by_key(None, &mut |found| {
        let (key, rev) = pair(&found);
        let chunk = open.get_or_insert_with(|| Chunk {
            low: key.clone(),
            high: String::new(),
            hash: ChunkHash::default(),
            count: 0,
        });
        chunk.hash.add(&key, &rev);
        chunk.high = key;
        chunk.count += 1;
        if chunk.count == size {
            told.extend(open.take().map(finish));
        }
        ControlFlow::Continue(())
    })?;
    told.extend(open.map(finish));
    Ok(Answer::json(200, Value::Array(told)))
}

fn pair(found: &Versioned) -> (String, String) {
    (
        key_of(&found.record.global_id),
        revision::encode(found.track.revision.0),
    )
}

/// `PUT keys/<id>`.
pub(super) fn fetch(call: &Call, id: &str) -> Result<Answer> {
    let wants_keys = match call.param("type") {
        Some("keys") => true,
        Some("docs") => false,
        _ => return Err(Problem::bad_parameter("'type' must be keys or docs")),
    };
    let (opened, batch, collection) = opened(call, id)?;
    let chunk = call
        .number("chunk")?
        .ok_or_else(|| Problem::bad_parameter("'chunk' is needed"))?;
    let size = chunk_size(call)?;
    let positions = if wants_keys {
        None
    } else {
        Some(positions(call, size)?)
    };
    let offset = call.number("offset")?;
    let tx = opened.store.read_documents()?;
    let service = tx.service()?;
    let collection = find(&opened, &service, collection)?;
    let name = known::wire_name(&service, collection);
    let snapshot = Snapshot::new(tx.as_ref(), collection, batch.generation)?;
    // A low that is no key of the snapshot, perhaps as it was badly encoded, leaves the number of the chunk.
    let first = match call.param("low").and_then(|low| global_id(collection, low)) {
        Some(id) => snapshot.document(&id)?,
        None => None,
    };
    let skip = if first.is_some() {
        0
    } else {
        chunk.saturating_mul(size)
    };
    let after = first.as_ref().map(|first| key_of(&first.record.global_id));
    let mut rows = Rows {
        positions,
        offset: offset.unwrap_or(0),
        stops: offset.is_some(),
        at: 0,
        taken: 0,
        out: String::from("["),
    };
    let (mut skipped, mut seen) = (0, 0);
    let mut goes_on = true;
    let mut take = |found: &Versioned| {
        if skipped < skip {
            skipped += 1;
            return true;
        }
        seen += 1;
        rows.take(found, |found| render_versioned(&name, collection, found)) && seen < size
    };
    if let Some(first) = &first {
        goes_on = take(first);
    }
    if goes_on {
        snapshot.by_key(after.as_deref(), &mut |found| {
            if take(&found) {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        })?;
    }
    rows.out.push(']');
    Ok(Answer::json_text(200, rows.out))
}

/// Positions within the chunk, in ascending order.
fn positions(call: &Call, size: u64) -> Result<Vec<u64>> {
    let wanted: Option<Vec<u64>> = call.array()?.iter().map(Value::as_u64).collect();
    let wanted = wanted.filter(|wanted| {
        wanted.windows(2).all(|pair| pair[0] < pair[1]) && wanted.iter().all(|&at| at < size)
    });
    wanted.ok_or_else(|| {
        Problem::bad_parameter("the body must be ascending positions within the chunk")
    })
}

/// The answer for a chunk: its keys, or the documents at some positions.
struct Rows {
    positions: Option<Vec<u64>>,
    /// So many of the positions were sent before: they are placeholders now.
    offset: u64,
    /// Whether the answer may stop early.
    stops: bool,
    at: u64,
    taken: usize,
    out: String,
}

impl Rows {
    /// Takes the next document of the chunk; `false` if no more are needed.
    fn take(&mut self, found: &Versioned, render: impl Fn(&Versioned) -> String) -> bool {
        let at = self.at;
        self.at += 1;
        let Some(positions) = &self.positions else {
            let (key, rev) = pair(found);
            self.push(&json!([key, rev]).to_string());
            return true;
        };
        if positions.get(self.taken) != Some(&at) {
            return self.taken < positions.len();
        }
        let all = positions.len();
        self.taken += 1;
        if (self.taken as u64) <= self.offset {
            self.push("null");
        } else {
            self.push(&render(found));
        }
        self.taken < all && !(self.stops && self.out.len() >= MAX_BYTES)
    }
    fn push(&mut self, item: &str) {
        if self.out.len() > 1 {
            self.out.push(',');
        }
        self.out.push_str(item);
    }
}

/// `DELETE keys/<id>`.
pub(super) fn remove(call: &Call, id: &str) -> Result<Answer> {
    call.open(haversack_model::Right::Sync)?;
    Ok(Answer::ok(202, json!({"id": id})))
}
