//! `query/alias`: a short address for a question that is too long for one.
//!
//! Apps make one where something on the way refuses long addresses. Aliases are forgotten when the server begins anew, or when too many were made
//! since; apps then make them again. An alias is a question of whoever uses it, with no rights of who made it.

use std::collections::{BTreeMap, VecDeque};

use http::Method;
use serde_json::{Value, json};
use sha2::Digest as _;

use super::answer::Answer;
use super::call::Call;
use super::memory::locked;
use super::problem::{Problem, Result};
use super::{dispatch, route};

/// How many are kept, and how long the longest may be.
const MAX_ALIASES: usize = 1000;
const MAX_BYTES: usize = 256 << 10;

/// Targets by their ids.
#[derive(Debug, Default)]
pub(crate) struct Aliases {
    targets: BTreeMap<String, String>,
    order: VecDeque<String>,
}

impl Aliases {
    fn keep(&mut self, id: &str, target: &str) {
        if self
            .targets
            .insert(id.to_owned(), target.to_owned())
            .is_none()
        {
            self.order.push_back(id.to_owned());
        }
        if self.order.len() > MAX_ALIASES
            && let Some(oldest) = self.order.pop_front()
        {
            self.targets.remove(&oldest);
        }
    }
}

/// `POST query/alias`, `POST query/alias/redirect`, `GET query/alias/<id>`.
pub(crate) fn dispatch(call: &Call, words: &[&str]) -> Result<Answer> {
    match (&call.method, words) {
        (&Method::POST, []) => {
            let (id, target) = make(call)?;
            let path = format!("/query/alias/{id}");
            let base = call.host.base_url().unwrap_or_default();
            let href = format!("{base}/api{path}");
            Ok(Answer::json(
                200,
                json!({"id": id, "path": path, "href": href, "target": target}),
            ))
        }
        (&Method::POST, ["redirect"]) => {
            let (id, _) = make(call)?;
            let base = call.host.base_url().unwrap_or_default();
            let address = format!("{base}/api/query/alias/{id}");
            let answer = Answer::message(303, "See Other", &Value::Null);
            Ok(answer.with(http::header::LOCATION, &address))
        }
        (_, []) => Err(Problem::Method),
        (_, [id]) => {
            call.require_get()?;
            let target = locked(&call.memory.aliases).targets.get(*id).cloned();
            let target = target.ok_or_else(|| Problem::NotFound {
                message: "Query alias not found".to_owned(),
                code: "E1005",
            })?;
            dispatch::dispatch(&question(call, &target)?)
        }
        _ => Err(Problem::no_such_path()),
    }
}

fn make(call: &Call) -> Result<(String, String)> {
    let body = call.object()?;
    let target = body.get("target").and_then(Value::as_str);
    let target = target.ok_or_else(|| Problem::bad("target is needed"))?;
    if target.len() > MAX_BYTES {
        return Err(Problem::bad("the target is too long"));
    }
    question(call, target)?;
    let hash = sha2::Sha256::digest(target.as_bytes());
    let id = hash.iter().take(20).map(|byte| format!("{byte:02x}"));
    let id: String = id.collect();
    locked(&call.memory.aliases).keep(&id, target);
    Ok((id, target.to_owned()))
}

/// The request that a target means: an address of this server below `/api`, or a whole one with its host left out.
fn question(call: &Call, target: &str) -> Result<Call> {
    let wrong = || Problem::bad("the target must be an address below /api");
    let path = match target.split_once("://") {
        Some((_, rest)) => &rest[rest.find('/').ok_or_else(wrong)?..],
        None => target,
    };
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    // What is in front of it may be the folder in which a proxy shows this server.
    let at = path.find("/api/").ok_or_else(wrong)?;
    let segments = route::segments(&path[at..])?;
    if segments.first().is_none_or(|first| first == "query") {
        return Err(wrong());
    }
    Ok(Call {
        segments,
        query: route::query(query)?,
        method: Method::GET,
        body: bytes::Bytes::new(),
        file: None,
        ..call.clone()
    })
}
