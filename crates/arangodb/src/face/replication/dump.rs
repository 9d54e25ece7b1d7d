//! Dumps: a whole collection as lines, chunk by chunk. Source: `spec/arangodb.md` 6.5 and 17.
//!
//! A chunk is known by its number: `from` names the last one that a client has, so a request that is repeated gives the same
//! documents again. Without `from` the next chunk follows the last one that was given.

use std::ops::ControlFlow;

use haversack_model::documents::key_of;
use http::HeaderName;

use super::super::answer::{Answer, DUMP};
use super::super::call::Call;
use super::super::document::render_versioned;
use super::super::problem::{Problem, Result};
use super::batch;
use super::snapshot::Snapshot;
use crate::known;
use crate::wire::dump::{DEFAULT_CHUNK, MAX_CHUNK, enveloped};
use crate::wire::errors::ErrorNum;

const CHECK_MORE: HeaderName = HeaderName::from_static("x-arango-replication-checkmore");
const LAST_INCLUDED: HeaderName = HeaderName::from_static("x-arango-replication-lastincluded");
/// Largest chunk that is held in memory, whatever is asked for.
const MAX_HELD: u64 = 16 << 20;

/// `GET dump`.
pub(super) fn dump(call: &Call) -> Result<Answer> {
    let name = call.needed("collection")?.to_owned();
    let (opened, batch) = batch::of(call, ErrorNum::HttpNotFound)?;
    let size = call
        .number("chunkSize")?
        .filter(|&size| size > 0)
        .unwrap_or(DEFAULT_CHUNK);
    let size = size.min(MAX_CHUNK).min(MAX_HELD) as usize;
    let is_bare = !call.flag("useEnvelope", true);
    let tx = opened.store.read_documents()?;
    let service = tx.service()?;
    let collection = match opened.find(&service, &name) {
        Err(Problem::Told {
            num: ErrorNum::CollectionNotFound,
            ..
        }) => {
            return Err(Problem::bad_parameter("there is no such collection"));
        }
        found => found?,
    };
    let ends = batch
        .dumps
        .get(&collection.id)
        .map_or(&[][..], Vec::as_slice);
    let chunk = match call.number("from")? {
        Some(from) => usize::try_from(from).unwrap_or(usize::MAX),
        None => ends.len(),
    };
    let after = match chunk.checked_sub(1) {
        None => None,
        Some(last) => {
            let end = ends.get(last).map(String::as_str);
            Some(end.ok_or_else(|| Problem::bad_parameter("'from' is not where a chunk ended"))?)
        }
    };
    let wire_name = known::wire_name(&service, collection);
    let mut out = String::new();
    let (mut last, mut has_more) = (None, false);
    Snapshot::new(tx.as_ref(), collection, batch.generation)?.by_key(after, &mut |found| {
        if out.len() >= size {
            has_more = true;
            return ControlFlow::Break(());
        }
        let text = render_versioned(&wire_name, collection, &found);
        if is_bare {
            out.push_str(&text);
        } else {
            out.push_str(&enveloped(&text));
        }
        out.push('\n');
        last = Some(key_of(&found.record.global_id));
        ControlFlow::Continue(())
    })?;
    let Some(last) = last else {
        return Ok(Answer::empty(204)
            .with(CHECK_MORE, "false")
            .with(LAST_INCLUDED, "0"));
    };
    call.face
        .batches
        .note_dump(batch.id, collection.id, chunk, last);
    Ok(Answer::text(200, DUMP, out)
        .with(CHECK_MORE, if has_more { "true" } else { "false" })
        .with(LAST_INCLUDED, &(chunk + 1).to_string()))
}
