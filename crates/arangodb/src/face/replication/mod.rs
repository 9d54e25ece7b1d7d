//! Replication: what secondaries ask of a primary, and the order to be one. Source: `spec/arangodb.md` 3 and 5 to 9.

pub(crate) mod applier;
pub(crate) mod batch;
mod dump;
mod inventory;
mod keys;
mod logger;
mod revisions;
mod snapshot;
mod sync;
mod tail;

use haversack_model::Right;
use http::Method;
use serde_json::json;

use super::answer::Answer;
use super::call::Call;
use super::problem::{Problem, Result};
use crate::wire::errors::ErrorNum;

/// `/_api/replication` and `/_api/wal` and what is below them.
pub(crate) fn dispatch(call: &Call, words: &[&str]) -> Result<Answer> {
    let (get, put) = (call.method == Method::GET, call.method == Method::PUT);
    let (post, delete) = (call.method == Method::POST, call.method == Method::DELETE);
    match words {
        ["wal", "range"] if get => logger::range(call),
        ["wal", "lastTick"] if get => logger::last_tick(call),
        ["wal", "tail"] if get || put => tail::tail(call, tail::Form::Wal),
        ["wal", "open-transactions"] | ["replication", "determine-open-transactions"] if get => {
            open_transactions(call)
        }
        ["wal", "properties"] => {
            call.open(Right::Sync)?;
            Err(Problem::of(ErrorNum::NotImplemented))
        }
        ["replication", "logger-follow"] if get || put => tail::tail(call, tail::Form::Logger),
        ["replication", "server-id"] if get => logger::server_id(call),
        ["replication", "logger-state"] if get => logger::state(call),
        ["replication", "logger-first-tick"] if get => logger::first_tick(call),
        ["replication", "logger-tick-ranges"] if get => logger::tick_ranges(call),
        ["replication", "batch"] if post => batch::create(call),
        ["replication", "batch", id] if put => batch::extend(call, id),
        ["replication", "batch", id] if delete => batch::remove(call, id),
        ["replication", "barrier"] if post => {
            call.open(Right::Sync)?;
            Ok(Answer::json(
                200,
                json!({"id": call.face.ids.next().to_string()}),
            ))
        }
        ["replication", "barrier"] if get => {
            call.open(Right::Sync)?;
            Ok(Answer::json(200, json!([])))
        }
        ["replication", "barrier", _] if put || delete => {
            call.open(Right::Sync)?;
            Ok(Answer::empty(204))
        }
        ["replication", "inventory"] if get => inventory::inventory(call),
        ["replication", "clusterInventory"] if get => {
            call.open(Right::Sync)?;
            Err(Problem::of(ErrorNum::ClusterOnly))
        }
        ["replication", "dump"] if get => dump::dump(call),
        ["replication", "keys"] if post => keys::create(call),
        ["replication", "keys", id] if get => keys::chunks(call, id),
        ["replication", "keys", id] if put => keys::fetch(call, id),
        ["replication", "keys", id] if delete => keys::remove(call, id),
        ["replication", "revisions", "tree"] if get || post => revisions::tree(call, post),
        ["replication", "revisions", "ranges"] if put => revisions::ranges(call),
        ["replication", "revisions", "documents"] if put => revisions::documents(call),
        ["replication", "applier-state"] if get => applier::state(call),
        ["replication", "applier-state"] if delete => applier::forget(call),
        ["replication", "applier-state-all"] if get => applier::state_all(call),
        ["replication", "applier-config"] if get || put => applier::config(call, put),
        ["replication", "applier-start"] if put => applier::start(call),
        ["replication", "applier-stop"] if put => applier::stop(call),
        ["replication", "sync"] if put => sync::order(call),
        ["replication", "make-slave" | "make-follower"] if put => {
            call.open(Right::Publish)?;
            Err(applier::not_continuous())
        }
        _ => Err(refusal(call, words)),
    }
}

/// Why no operation answers: the method is another, the path goes on, or there is no such command.
fn refusal(call: &Call, words: &[&str]) -> Problem {
    const COMMANDS: [&str; 24] = [
        "logger-follow",
        "server-id",
        "logger-state",
        "logger-first-tick",
        "logger-tick-ranges",
        "determine-open-transactions",
        "batch",
        "barrier",
        "inventory",
        "clusterInventory",
        "dump",
        "keys",
        "revisions",
        "applier-state",
        "applier-state-all",
        "applier-config",
        "applier-start",
        "applier-stop",
        "sync",
        "make-slave",
        "make-follower",
        "range",
        "lastTick",
        "tail",
    ];
    if call.principal.is_anonymous() {
        return Problem::Unauthorized;
    }
    match words {
        [_, command, rest @ ..] if COMMANDS.contains(command) => {
            let takes_more = matches!(*command, "batch" | "barrier" | "keys" | "revisions");
            if rest.is_empty() || takes_more {
                Problem::of(ErrorNum::HttpMethodNotAllowed)
            } else {
                Problem::of(ErrorNum::SuperfluousSuffices)
            }
        }
        _ => Problem::bad_parameter("invalid command"),
    }
}

fn open_transactions(call: &Call) -> Result<Answer> {
    call.open(Right::Sync)?;
    Ok(Answer::json(200, json!([]))
        .with(tail::LAST_TICK, "0")
        .with(tail::FROM_PRESENT, "true"))
}
