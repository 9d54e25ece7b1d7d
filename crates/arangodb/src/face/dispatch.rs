//! From a decoded route to the one operation that answers it.

use haversack_model::Right;
use http::Method;
use serde_json::json;

use super::answer::Answer;
use super::call::Call;
use super::problem::{Problem, Result};
use super::{
    absent, collections, cursors, databases, document, import, indexes, jobs, login, replication,
    simple, users,
};
use crate::wire::errors::ErrorNum;

/// The version that we answer as: the last one with the whole of replication.
pub(crate) const VERSION: &str = "3.11.0";

/// Runs the operation that a route names.
pub(crate) fn dispatch(call: &Call) -> Result<Answer> {
    let words = call.route.words();
    // Who is nobody and has no rights learns not even what is wrong with the request.
    if call.principal.is_anonymous() && words.first() != Some(&"_open") {
        let access = call.host().access(&call.principal, &call.route.database);
        if !access.allows(Right::Read) {
            return Err(Problem::Unauthorized);
        }
    }
    match words.as_slice() {
        ["_open", "auth"] => login::open_auth(call),
        ["_api" | "_admin", "version"] => version(call),
        ["_api", "engine"] => told(
            call,
            json!({"name": "rocksdb", "supports": {"dfdb": false, "indexes": ["primary", "edge", "persistent", "hash", "skiplist", "geo", "ttl", "fulltext", "inverted"]}}),
        ),
        ["_admin", "server", "role"] => {
            told(call, json!({"role": "SINGLE", "error": false, "code": 200}))
        }
        ["_admin", "server", "mode"] => told(
            call,
            json!({"mode": "default", "readOnly": false, "error": false, "code": 200}),
        ),
        ["_admin", "server", "availability"] => told(
            call,
            json!({"mode": "default", "error": false, "code": 200}),
        ),
        ["_admin", "status"] => told(
            call,
            json!({"server": "arango", "license": "community", "version": VERSION, "mode": "server"}),
        ),
        ["_admin", "time"] => told(
            call,
            json!({"time": call.host().now().0 as f64 / 1000.0, "error": false, "code": 200}),
        ),
        ["_api", "job", rest @ ..] => jobs::dispatch(call, rest),
        ["_api", "database", rest @ ..] => databases::dispatch(call, rest),
        ["_api", "user", rest @ ..] => users::dispatch(call, rest),
        ["_api", "collection", rest @ ..] => collections::dispatch(call, rest),
        ["_api", "document", rest @ ..] => document::dispatch(call, rest),
        ["_api", "import"] => import::import(call),
        ["_api", "index", rest @ ..] => indexes::dispatch(call, rest),
        ["_api", "cursor", rest @ ..] => cursors::dispatch(call, rest),
        ["_api", "simple", rest @ ..] => simple::dispatch(call, rest),
        ["_api", "view" | "analyzer", ..] => {
            call.open(Right::Read)?;
            match call.method {
                Method::GET if words.len() == 2 => Ok(Answer::ok(200, json!({"result": []}))),
                _ => Err(Problem::of(ErrorNum::NotImplemented)),
            }
        }
        ["_api", "replication" | "wal", ..] => replication::dispatch(call, &words[1..]),
        _ => absent::answer(call, &words),
    }
}

/// What is told to whoever is logged in.
fn told(call: &Call, body: serde_json::Value) -> Result<Answer> {
    call.require_login()?;
    if call.method != Method::GET && call.method != Method::HEAD {
        return Err(Problem::of(ErrorNum::HttpMethodNotAllowed));
    }
    Ok(Answer::json(200, body))
}

fn version(call: &Call) -> Result<Answer> {
    let mut body = json!({"server": "arango", "license": "community", "version": VERSION});
    if call.flag("details", false) {
        body["details"] = json!({"server-name": "haversack", "server-version": env!("CARGO_PKG_VERSION"), "mode": "server", "role": "SINGLE"});
    }
    told(call, body)
}
