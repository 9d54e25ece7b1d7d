//! The revision tree protocol: the tree, the revisions within ranges, and documents by revision. Source: `spec/arangodb.md` 8.
//!
//! A revision must name one document: a collection in which two share one is not supported here, and clients fall back to keys.

use std::ops::ControlFlow;

use haversack_model::documents::key_of;
use haversack_model::{Collection, Revision};
use serde_json::{Value, json};

use super::super::answer::Answer;
use super::super::call::Call;
use super::super::document::render_versioned;
use super::super::problem::{Problem, Result};
use super::batch;
use super::snapshot::Snapshot;
use crate::known;
use crate::wire::errors::ErrorNum;
use crate::wire::revision;
use crate::wire::tree::{Digest, Tree};

/// Revisions in one answer.
const MAX_REVISIONS: usize = 65_536;
/// Documents that may be asked for at once.
const MAX_DOCUMENTS: usize = 5000;
/// Documents in an answer stop after about so many bytes.
const MAX_BYTES: usize = 16 << 20;
const LAST: Revision = Revision(i64::MAX as u64);

/// Runs something over the snapshot of the collection that a request names.
fn with_snapshot<T>(
    call: &Call,
    what: impl FnOnce(&Snapshot<'_>, &Collection, &str) -> Result<T>,
) -> Result<T> {
    let name = call.needed("collection")?.to_owned();
    let (opened, batch) = batch::of(call, ErrorNum::HttpNotFound)?;
    let tx = opened.store.read_documents()?;
    let service = tx.service()?;
    let collection = opened.find(&service, &name)?;
    let snapshot = Snapshot::new(tx.as_ref(), collection, batch.generation)?;
    what(
        &snapshot,
        collection,
        &known::wire_name(&service, collection),
    )
}

fn unsupported() -> Problem {
    Problem::told(
        ErrorNum::NotImplemented,
        "the revisions of this collection cannot be compared; compare its keys",
    )
}

/// `GET revisions/tree`, and `POST`, which has nothing to rebuild: the tree is made from the data each time.
pub(super) fn tree(call: &Call, is_rebuild: bool) -> Result<Answer> {
    let (tree, digest) = with_snapshot(call, |snapshot, _, _| {
        let (mut tree, mut digest) = (Tree::default(), Digest::default());
        let (mut last, mut is_supported) = (None, true);
        snapshot.revisions(Revision(0), LAST, &mut |revision, id| {
            digest.add(&key_of(id), revision.0);
            is_supported = last != Some(revision) && tree.add(revision.0).is_ok();
            last = Some(revision);
            if is_supported {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        })?;
        if is_supported {
            Ok((tree, digest))
        } else {
            Err(unsupported())
        }
    })?;
    if is_rebuild {
        return Ok(Answer::empty(204));
    }
    let only_populated = call.flag("onlyPopulated", false);
    Ok(Answer::json_text(
        200,
        tree.to_json(only_populated, &digest),
    ))
}

fn read_revision(value: &Value) -> Result<Revision> {
    let revision = value.as_str().and_then(|text| revision::decode(text).ok());
    revision
        .map(Revision)
        .ok_or_else(|| Problem::bad_parameter("a revision is none"))
}

/// `PUT revisions/ranges`.
pub(super) fn ranges(call: &Call) -> Result<Answer> {
    let bad = || Problem::bad_parameter("the body must be ascending ranges of revisions");
    let mut wanted = Vec::new();
    for range in call.array()? {
        let [left, right] = range.as_array().map(Vec::as_slice).unwrap_or_default() else {
            return Err(bad());
        };
        let (left, right) = (read_revision(left)?, read_revision(right)?);
        let follows = wanted.last().is_none_or(|(_, before)| *before < left);
        if left >= right || !follows {
            return Err(bad());
        }
        wanted.push((left, right));
    }
    let resume = match call.param("resume").filter(|text| !text.is_empty()) {
        None => Revision(0),
        Some(text) => read_revision(&Value::from(text))?,
    };
    with_snapshot(call, |snapshot, _, _| {
        let wanted: Vec<(Revision, Revision)> = wanted
            .into_iter()
            .filter(|(_, right)| *right >= resume)
            .map(|(left, right)| (left.max(resume), right))
            .collect();
        let mut told: Vec<Vec<String>> = vec![Vec::new(); wanted.len()];
        let (mut count, mut cut) = (0, None);
        snapshot.within(&wanted, &mut |at, revision, _| {
            if count == MAX_REVISIONS {
                cut = Some((at, revision));
                return ControlFlow::Break(());
            }
            count += 1;
            if let Some(told) = told.get_mut(at) {
                told.push(revision::encode(revision.0));
            }
            ControlFlow::Continue(())
        })?;
        if let Some((at, _)) = cut {
            told.truncate(at + 1);
        }
        let mut body = json!({"ranges": told});
        if let Some((_, cut)) = cut {
            body["resume"] = Value::from(revision::encode(cut.0));
        }
        Ok(Answer::json(200, body))
    })
}

/// `PUT revisions/documents`.
pub(super) fn documents(call: &Call) -> Result<Answer> {
    let wanted: Vec<Revision> = call
        .array()?
        .iter()
        .map(read_revision)
        .collect::<Result<_>>()?;
    let is_ascending = wanted.windows(2).all(|pair| pair[0] < pair[1]);
    if !is_ascending || wanted.len() > MAX_DOCUMENTS {
        let text = format!("the body must be at most {MAX_DOCUMENTS} ascending revisions");
        return Err(Problem::bad_parameter(text));
    }
    let max_bytes = match call.number("chunkSize")? {
        Some(size) if size > 0 => (size as usize).min(MAX_BYTES),
        _ => MAX_BYTES,
    };
    with_snapshot(call, |snapshot, collection, name| {
        let ids = snapshot.of_revisions(&wanted)?;
        let mut out = String::from("[");
        for revision in wanted {
            if out.len() > max_bytes {
                break;
            }
            let found = match ids.get(&revision) {
                Some(id) => snapshot.document(id)?,
                None => None,
            };
            if out.len() > 1 {
                out.push(',');
            }
            match found {
                Some(found) => out.push_str(&render_versioned(name, collection, &found)),
                None => out.push_str("{}"),
            }
        }
        out.push(']');
        Ok(Answer::json_text(200, out))
    })
}
