//! Fetches what differs by sorted keys, chunk by chunk. Source: `spec/arangodb.md` 7.

use haversack_model::CollectionId;
use serde_json::{Value, json};
use std::collections::BTreeMap;

use super::primary::{Found, ON, Primary};
use super::stage::Stage;
use super::target::Target;
use super::{Done, Error, Order, Result};
use crate::wire::chunk::ChunkHash;
use crate::wire::key::{self, encode};
use crate::wire::revision;

/// Keys in a chunk.
const CHUNK: u64 = 5000;

/// Makes one collection equal to the primary's. What is staged already counts as if it were here; with `whole` nothing else does.
pub(super) fn fetch(
    order: &Order<'_>,
    primary: &Primary<'_>,
    found: &Found,
    target: &Target,
    whole: bool,
) -> Result<Done> {
    let name = &found.parameters.name;
    (order.progress)(&format!("comparing collection '{name}' by keys"));
    let (id, count) = primary.keys(name)?;
    let mut stage = Stage::new(order, target.id);
    let staged = stage_differences(
        order,
        primary,
        name,
        (target.id, whole),
        (&id, count),
        &mut stage,
    );
    stage.flush()?;
    primary.forget_keys(&id);
    staged?;
    (order.progress)(&format!("updating collection '{name}'"));
    let done = target.merge(order, found, whole, |tx| {
        let ours = tx.count(target.id)?;
        if ours == count {
            return Ok(true);
        }
        Err(Error::invalid(format!(
            "what the leader sent of {name:?} makes {ours} documents, it counts {count}"
        )))
    })?;
    done.ok_or_else(|| Error::invalid("a copy is not what was fetched"))
}

/// What is here in a part of the keys: revisions by key.
type Local = BTreeMap<String, String>;

fn stage_differences(
    order: &Order<'_>,
    primary: &Primary<'_>,
    name: &str,
    of: (CollectionId, bool),
    (id, count): (&str, u64),
    stage: &mut Stage<'_, '_>,
) -> Result<()> {
    let chunks = if count == 0 {
        Vec::new()
    } else {
        primary.chunks(id, CHUNK)?
    };
    let mut before: Option<String> = None;
    for (at, chunk) in chunks.iter().enumerate() {
        let text = |name: &str| chunk.get(name).and_then(Value::as_str);
        let (Some(low), Some(high), Some(hash)) = (text("low"), text("high"), text("hash")) else {
            return Err(Error::invalid("a chunk of keys has no low, high or hash"));
        };
        let is_in_order = low <= high && before.as_deref().is_none_or(|before| before < low);
        if !is_in_order || !key::is_key(low) || !key::is_key(high) {
            return Err(Error::invalid(
                "chunks of keys are not in the order of their keys",
            ));
        }
        let mut local = local(order, of, before.as_deref(), Some(high))?;
        let within = local.split_off(low);
        for (key, _) in local {
            stage.remove(key)?;
        }
        if !is_equal(&within, low, high, hash) {
            chunk_differences(primary, name, id, at, low, within, stage)?;
        }
        (order.progress)(&format!(
            "comparing collection '{name}' by keys: {} of {} chunks",
            at + 1,
            chunks.len()
        ));
        before = Some(high.to_owned());
    }
    for (key, _) in local(order, of, before.as_deref(), None)? {
        stage.remove(key)?;
    }
    Ok(())
}

/// What is here above one key, up to another.
fn local(
    order: &Order<'_>,
    (collection, whole): (CollectionId, bool),
    after: Option<&str>,
    upto: Option<&str>,
) -> Result<Local> {
    let mut found = Local::new();
    let tx = order.store.read_documents()?;
    tx.merged_keys(collection, whole, (after, upto), &mut |key, revision| {
        found.insert(key.to_owned(), revision::encode(revision.0));
        ON
    })?;
    Ok(found)
}

fn is_equal(local: &Local, low: &str, high: &str, hash: &str) -> bool {
    let mut ours = ChunkHash::default();
    for (key, revision) in local {
        ours.add(key, revision);
    }
    local.contains_key(low) && local.contains_key(high) && hash == ours.value().to_string()
}

fn chunk_differences(
    primary: &Primary<'_>,
    name: &str,
    id: &str,
    at: usize,
    low: &str,
    mut local: Local,
    stage: &mut Stage<'_, '_>,
) -> Result<()> {
    let query = format!("chunk={at}&chunkSize={CHUNK}&low={}", encode(low));
    let theirs = primary.of_chunk(id, &format!("type=keys&{query}"), String::new())?;
    let (mut positions, mut wanted) = (Vec::new(), Vec::new());
    let mut last: Option<&str> = None;
    for (position, pair) in theirs.iter().enumerate() {
        let [Value::String(key), Value::String(rev)] =
            pair.as_array().map(Vec::as_slice).unwrap_or_default()
        else {
            return Err(Error::invalid(
                "a key of a chunk is no pair of key and revision",
            ));
        };
        if last.is_some_and(|last| last >= key.as_str()) {
            return Err(Error::invalid("the keys of a chunk are not in order"));
        }
        last = Some(key);
        if local.remove(key).as_ref() != Some(rev) {
            positions.push(position);
            wanted.push((key.as_str(), rev.as_str()));
        }
    }
    for (key, _) in local {
        stage.remove(key)?;
    }
    let mut done = 0;
    let body = json!(positions).to_string();
    while done < positions.len() {
        let documents = primary.of_chunk(
            id,
            &format!("type=docs&{query}&offset={done}"),
            body.clone(),
        )?;
        if documents.len() <= done || documents.len() > positions.len() {
            return Err(Error::invalid(
                "another number of documents than was asked for",
            ));
        }
        let total = documents.len();
        for (document, (key, rev)) in documents.into_iter().zip(&wanted).skip(done) {
            let (found, revision) = stage.put(document, name)?;
            if found != *key || revision::decode(rev) != Ok(revision) {
                return Err(Error::invalid("another document than was asked for"));
            }
        }
        done = total;
    }
    Ok(())
}
