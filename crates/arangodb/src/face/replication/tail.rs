//! The tail of the log: what became of documents after a tick, oldest first. Source: `spec/arangodb.md` 6.6.
//!
//! The feed is compact: of a document that changed twice the last change alone is told. Definitions are not in it.

use std::ops::ControlFlow;

use haversack_model::documents::key_of;
use haversack_model::store::ChangeQuery;
use haversack_model::{Collection, Filter, Generation, Right, Service, Versioned};
use http::HeaderName;

use super::super::answer::{Answer, DUMP};
use super::super::call::Call;
use super::super::document::render_versioned;
use super::super::problem::{Problem, Result};
use super::logger::tick;
use crate::known;
use crate::wire::{key, marker, revision};

pub(super) const CHECK_MORE: HeaderName = HeaderName::from_static("x-arango-replication-checkmore");
pub(super) const LAST_INCLUDED: HeaderName =
    HeaderName::from_static("x-arango-replication-lastincluded");
pub(super) const LAST_SCANNED: HeaderName =
    HeaderName::from_static("x-arango-replication-lastscanned");
pub(super) const LAST_TICK: HeaderName = HeaderName::from_static("x-arango-replication-lasttick");
pub(super) const FROM_PRESENT: HeaderName =
    HeaderName::from_static("x-arango-replication-frompresent");
const ACTIVE: HeaderName = HeaderName::from_static("x-arango-replication-active");

/// Bytes in an answer if the client does not say.
const DEFAULT_CHUNK: u64 = 1 << 20;
/// Most bytes that are held.
const MAX_CHUNK: u64 = 16 << 20;
/// Changes of one collection that are looked at for an answer.
const MAX_CHANGES: usize = 5000;

/// Which of the two twins asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// `wal/tail`.
    Wal,
    /// `logger-follow`.
    Logger,
}

/// `wal/tail` and `logger-follow`.
pub(super) fn tail(call: &Call, form: Form) -> Result<Answer> {
    let opened = call.open(Right::Sync)?;
    let from = Generation(call.number("from")?.unwrap_or(0));
    let to = call.number("to")?;
    if to.is_some_and(|to| to == 0 || to < from.0) {
        return Err(Problem::bad_parameter("invalid from/to values"));
    }
    let size = call
        .number("chunkSize")?
        .filter(|&size| size > 0)
        .unwrap_or(DEFAULT_CHUNK);
    let size = size.min(MAX_CHUNK) as usize;
    let tx = opened.store.read_documents()?;
    let head = tx.head()?;
    let service = tx.service()?;
    let is_present = from >= head.floor || from.0 <= 1;
    // What is below the floor cannot be told: the client learns so, and gets what there is.
    let since = if is_present { from } else { head.floor };
    let upto = Generation(to.unwrap_or(u64::MAX).min(head.generation.0)).max(since);
    let include_system = call.flag("includeSystem", true);
    let wanted = call.param("collection").filter(|name| !name.is_empty());
    let mut found: Vec<(Generation, String)> = Vec::new();
    let mut complete_to = upto;
    for collection in opened.visible(&service) {
        let name = known::wire_name(&service, collection);
        let is_wanted = wanted.is_none_or(|wanted| {
            wanted == name
                || wanted == known::wire_id(collection)
                || wanted == known::guid(&service, collection)
        });
        if !is_wanted || (key::is_system(&name) && !include_system) {
            continue;
        }
        let query = ChangeQuery {
            collection: collection.id,
            since,
            upto,
            filter: &Filter::All,
            filter_then: &Filter::All,
        };
        let (mut count, mut bytes) = (0, 0);
        tx.changes(&query, &mut |change| {
            if count == MAX_CHANGES || bytes >= size {
                return Ok(ControlFlow::Break(()));
            }
            let found_now = change.record.map(|record| Versioned {
                record,
                track: change.track,
            });
            let gone = (key_of(&change.global_id), change.track.revision.0);
            let line = line(
                form,
                &opened.name,
                &service,
                collection,
                change.track.generation,
                found_now.as_ref(),
                &gone,
            );
            count += 1;
            bytes += line.len();
            found.push((change.track.generation, line));
            if count == MAX_CHANGES || bytes >= size {
                complete_to = complete_to.min(change.track.generation);
            }
            Ok(ControlFlow::Continue(()))
        })?;
    }
    found.sort_unstable_by_key(|(generation, _)| *generation);
    found.retain(|(generation, _)| *generation <= complete_to);
    let mut out = String::new();
    let mut last = None;
    let mut all = found.into_iter();
    for (generation, line) in all.by_ref() {
        out.push_str(&line);
        last = Some(generation);
        if out.len() >= size {
            break;
        }
    }
    let scanned = if all.len() > 0 {
        last.unwrap_or(complete_to)
    } else {
        complete_to
    };
    let included = last.map_or_else(|| "0".to_owned(), tick);
    let kind = if out.is_empty() { 204 } else { 200 };
    let answer = Answer::text(kind, DUMP, out)
        .with(CHECK_MORE, if scanned < upto { "true" } else { "false" })
        .with(LAST_INCLUDED, &included)
        .with(LAST_SCANNED, &tick(scanned))
        .with(LAST_TICK, &tick(head.generation))
        .with(FROM_PRESENT, if is_present { "true" } else { "false" });
    Ok(match form {
        Form::Wal => answer,
        Form::Logger => answer.with(ACTIVE, "true"),
    })
}

fn line(
    form: Form,
    database: &str,
    service: &Service,
    collection: &Collection,
    generation: Generation,
    found: Option<&Versioned>,
    (key, revision): &(String, u64),
) -> String {
    let name = known::wire_name(service, collection);
    let (kind, data) = if let Some(found) = found {
        (marker::DOCUMENT, render_versioned(&name, collection, found))
    } else {
        let rev = revision::encode(*revision);
        (
            marker::REMOVE,
            format!(r#"{{"_key":"{key}","_rev":"{rev}"}}"#),
        )
    };
    let tick = tick(generation);
    match form {
        Form::Wal => {
            let guid = known::guid(service, collection);
            format!(
                "{{\"tick\":\"{tick}\",\"type\":{kind},\"db\":\"{database}\",\"cuid\":\"{guid}\",\"tid\":\"0\",\"data\":{data}}}\n"
            )
        }
        Form::Logger => {
            let id = known::wire_id(collection);
            format!(
                "{{\"tick\":\"{tick}\",\"type\":{kind},\"database\":\"{database}\",\"cid\":\"{id}\",\"cname\":\"{name}\",\"tid\":\"0\",\"data\":{data}}}\n"
            )
        }
    }
}
