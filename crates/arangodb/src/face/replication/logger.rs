//! What a primary says of itself: its number, its version, its ticks. A tick is a generation. Source: `spec/arangodb.md` 6.1, 6.2.

use haversack_model::{Generation, Right, Timestamp};
use serde_json::{Value, json};

use super::super::answer::Answer;
use super::super::call::{Call, Opened};
use super::super::dispatch::VERSION;
use super::super::problem::Result;
use crate::known::server_number;

/// A generation on the wire; never zero, which would mean that nothing can be copied.
pub(super) fn tick(generation: Generation) -> String {
    generation.0.max(1).to_string()
}

/// A time on the wire.
pub(super) fn time(at: Timestamp) -> String {
    let at = jiff::Timestamp::from_millisecond(at.0).unwrap_or_default();
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The server as it names itself. Another Haversack recognises it by the last member.
pub(super) fn server(call: &Call) -> Value {
    json!({
        "version": VERSION, "serverId": server_number(call.host().server_id()).to_string(), "engine": "rocksdb",
        "haversack": env!("CARGO_PKG_VERSION"),
    })
}

/// The state of the logger, as an object.
pub(super) fn told(call: &Call, opened: &Opened) -> Result<Value> {
    let head = opened.store.read_documents()?.head()?;
    let now = call.host().now();
    let last = tick(head.generation);
    Ok(json!({
        "state": {
            "running": true, "lastLogTick": last, "lastUncommittedLogTick": last, "totalEvents": head.generation.0,
            "time": time(now),
        },
        "server": server(call),
        "clients": call.face.batches.clients(&opened.name, now),
    }))
}

/// `GET server-id`.
pub(super) fn server_id(call: &Call) -> Result<Answer> {
    call.open(Right::Read)?;
    let id = server_number(call.host().server_id());
    Ok(Answer::json(200, json!({"serverId": id.to_string()})))
}

/// `GET logger-state`.
pub(super) fn state(call: &Call) -> Result<Answer> {
    let opened = call.open(Right::Sync)?;
    Ok(Answer::json(200, told(call, &opened)?))
}

/// The first and the last tick that can be told.
fn span(opened: &Opened) -> Result<(Generation, Generation)> {
    let head = opened.store.read_documents()?.head()?;
    Ok((head.floor, head.generation))
}

/// `GET logger-first-tick`.
pub(super) fn first_tick(call: &Call) -> Result<Answer> {
    let (first, _) = span(&call.open(Right::Sync)?)?;
    Ok(Answer::json(200, json!({"firstTick": tick(first)})))
}

/// `GET logger-tick-ranges`.
pub(super) fn tick_ranges(call: &Call) -> Result<Answer> {
    let (first, last) = span(&call.open(Right::Sync)?)?;
    let range =
        json!({"datafile": "", "status": "open", "tickMin": tick(first), "tickMax": tick(last)});
    Ok(Answer::json(200, json!([range])))
}

/// `GET wal/range`.
pub(super) fn range(call: &Call) -> Result<Answer> {
    let (first, last) = span(&call.open(Right::Sync)?)?;
    let now = time(call.host().now());
    Ok(Answer::json(
        200,
        json!({"time": now, "tickMin": tick(first), "tickMax": tick(last), "server": server(call)}),
    ))
}

/// `GET wal/lastTick`.
pub(super) fn last_tick(call: &Call) -> Result<Answer> {
    let (_, last) = span(&call.open(Right::Sync)?)?;
    let now = time(call.host().now());
    Ok(Answer::json(
        200,
        json!({"time": now, "tick": tick(last), "server": server(call)}),
    ))
}
