//! Numbers of a collection: counts, sizes, the last revision, and the checksum.
//!
//! The checksum is the sum of a hash for each document, so it does not depend on the order; content is hashed with its attributes
//! sorted. Equal content has equal checksums on any two servers of ours.

use std::ops::ControlFlow;

use haversack_model::documents::{DocumentRead, body_of, key_of};
use haversack_model::{Collection, Revision, Service};
use serde_json::{Value, json};
use xxhash_rust::xxh64::Xxh64;

use super::super::indexes;
use super::super::problem::Result;
use crate::known;
use crate::wire::revision;

/// The highest revision of a document; zero if there are none.
pub(super) fn last_revision(tx: &dyn DocumentRead, collection: &Collection) -> Result<u64> {
    let mut last = 0;
    tx.revisions(
        collection.id,
        Revision(0),
        Revision(i64::MAX as u64),
        &mut |revision, _| {
            last = last.max(revision.0);
            Ok(ControlFlow::Continue(()))
        },
    )?;
    Ok(last)
}

/// `figures` of a collection.
pub(super) fn figures(
    tx: &dyn DocumentRead,
    service: &Service,
    collection: &Collection,
    details: bool,
) -> Result<Value> {
    let count = tx.count(collection.id)?;
    let mut size = 0_u64;
    tx.by_key(collection.id, None, &mut |document| {
        size += body_of(collection, &document.record).len() as u64;
        Ok(ControlFlow::Continue(()))
    })?;
    let all = indexes::of_collection(collection);
    let mut told = known::parameters(service, collection).to_properties();
    told["count"] = Value::from(count);
    told["figures"] = json!({
        "indexes": {"count": all.len(), "size": 0}, "documentsSize": size, "cacheInUse": false, "cacheSize": 0,
        "cacheUsage": 0,
    });
    if details {
        let entries: Vec<Value> = all
            .iter()
            .map(|index| json!({"id": index["id"], "type": index["type"], "count": count}))
            .collect();
        told["figures"]["engine"] = json!({"documents": count, "indexes": entries});
    }
    Ok(told)
}

/// `checksum` of a collection.
pub(super) fn checksum(
    tx: &dyn DocumentRead,
    service: &Service,
    collection: &Collection,
    revisions: bool,
    data: bool,
) -> Result<Value> {
    let (mut sum, mut last) = (0_u64, 0);
    tx.by_key(collection.id, None, &mut |document| {
        let mut hasher = Xxh64::new(0);
        hasher.update(key_of(&document.record.global_id).as_bytes());
        if revisions {
            hasher.update(&[0]);
            hasher.update(&document.track.revision.0.to_le_bytes());
        }
        if data {
            hasher.update(&[1]);
            let body = body_of(collection, &document.record);
            let body = serde_json::from_str(&body).unwrap_or(Value::String(body));
            hasher.update(sorted(&body).to_string().as_bytes());
        }
        sum = sum.wrapping_add(hasher.digest());
        last = last.max(document.track.revision.0);
        Ok(ControlFlow::Continue(()))
    })?;
    let mut told = known::parameters(service, collection).to_properties();
    told["checksum"] = Value::from(sum.to_string());
    told["revision"] = Value::from(revision::encode(last));
    Ok(told)
}

/// A value with the attributes of its objects in order.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
        Value::Object(members) => {
            let mut pairs: Vec<_> = members.iter().collect();
            pairs.sort_by(|a, b| a.0.cmp(b.0));
            let pairs = pairs
                .into_iter()
                .map(|(name, value)| (name.clone(), sorted(value)));
            Value::Object(pairs.collect())
        }
        other => other.clone(),
    }
}
