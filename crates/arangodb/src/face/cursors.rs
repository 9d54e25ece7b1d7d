//! Cursors: results of queries, batch by batch. Source: `spec/arangodb.md` 10.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use haversack_model::{CollectionId, Filter, Right, Timestamp};
use http::Method;
use serde_json::{Map, Value, json};

use super::answer::Answer;
use super::call::Call;
use super::problem::{Problem, Result};
use super::query::{self, Changed, Rows};
use crate::known;
use crate::wire::aql::{End, Query};
use crate::wire::errors::ErrorNum;

/// Results in a batch if the client does not say.
const DEFAULT_BATCH: u64 = 1000;
/// How long a cursor waits for its next use, in milliseconds.
const TTL_MS: i64 = 600_000;
/// Most cursors of one user.
const MAX_CURSORS: usize = 100;

#[derive(Debug, Default)]
pub(crate) struct Cursors(Mutex<BTreeMap<u64, Cursor>>);

#[derive(Debug)]
struct Cursor {
    owner: String,
    database: String,
    /// The collection that was asked.
    of: CollectionId,
    rows: Rows,
    batch: u64,
    counted: Option<u64>,
    changed: Changed,
    expires_at: Timestamp,
}

/// `/_api/cursor` and what is below it.
pub(crate) fn dispatch(call: &Call, words: &[&str]) -> Result<Answer> {
    match (&call.method, words) {
        (&Method::POST, []) => begin(call),
        (&Method::POST | &Method::PUT, [id]) => next(call, id),
        (&Method::DELETE, [id]) => {
            take(call, id)?;
            Ok(Answer::ok(202, json!({"id": id})))
        }
        (_, [] | [_]) => Err(Problem::of(ErrorNum::HttpMethodNotAllowed)),
        _ => Err(Problem::of(ErrorNum::HttpNotFound)),
    }
}

fn begin(call: &Call) -> Result<Answer> {
    call.open(Right::Read)?;
    let body = call.object()?;
    let text = body
        .get("query")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let empty = Map::new();
    let bind = body
        .get("bindVars")
        .and_then(Value::as_object)
        .unwrap_or(&empty);
    let query = Query::parse(text, bind)?;
    let is_counted = body.get("count").and_then(Value::as_bool).unwrap_or(false);
    let batch = body.get("batchSize").and_then(Value::as_u64);
    answer(call, &query, batch, is_counted)
}

/// Runs a query and gives the first batch of its results.
pub(super) fn answer(
    call: &Call,
    query: &Query,
    batch: Option<u64>,
    is_counted: bool,
) -> Result<Answer> {
    let opened = match &query.end {
        End::Return { .. } => call.open(Right::Read)?,
        End::Write(_) => call.open_to_edit()?,
    };
    let (rows, of, changed) = match &query.end {
        End::Return { result, distinct } => {
            let tx = opened.store.read_documents()?;
            let service = tx.service()?;
            let collection = opened.find(&service, &query.collection)?;
            let name = known::wire_name(&service, collection);
            let result = (result, *distinct);
            let rows = query::rows(query, result, tx.as_ref(), collection, &name)?;
            (rows, collection.id, Changed::default())
        }
        End::Write(write) => {
            let changed = query::change(call, &opened, query, write)?;
            (Rows::none()?, CollectionId(0), changed)
        }
    };
    let mut cursor = Cursor {
        owner: call.principal.name.clone(),
        database: opened.name,
        of,
        counted: is_counted.then_some(rows.left),
        rows,
        batch: batch.unwrap_or(DEFAULT_BATCH).max(1),
        changed,
        expires_at: Timestamp(0),
    };
    let id = call.face.ids.next();
    let told = cursor.tell(201, id)?;
    keep(call, id, cursor)?;
    Ok(told)
}

fn next(call: &Call, id: &str) -> Result<Answer> {
    let (id, mut cursor) = take(call, id)?;
    let told = cursor.tell(200, id)?;
    keep(call, id, cursor)?;
    Ok(told)
}

fn keep(call: &Call, id: u64, mut cursor: Cursor) -> Result<()> {
    if cursor.rows.left == 0 {
        return Ok(());
    }
    let now = call.host().now();
    let mut cursors = call
        .face
        .cursors
        .0
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    cursors.retain(|_, cursor| cursor.expires_at > now);
    if cursors
        .values()
        .filter(|other| other.owner == cursor.owner)
        .count()
        >= MAX_CURSORS
    {
        return Err(Problem::told(
            ErrorNum::ResourceLimit,
            "too many open cursors",
        ));
    }
    cursor.expires_at = Timestamp(now.0 + TTL_MS);
    cursors.insert(id, cursor);
    Ok(())
}

/// A cursor of this user and database; whoever has it is alone with it.
fn take(call: &Call, id: &str) -> Result<(u64, Cursor)> {
    let opened = call.open(Right::Read)?;
    let now = call.host().now();
    let unknown = || Problem::of(ErrorNum::CursorNotFound);
    let id: u64 = id.parse().map_err(|_not_a_number| unknown())?;
    let mut cursors = call
        .face
        .cursors
        .0
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let is_own = cursors.get(&id).is_some_and(|cursor| {
        cursor.owner == call.principal.name
            && cursor.database == call.route.database
            && cursor.expires_at > now
            // What was granted may have been taken back.
            && opened.access.filter(cursor.of) == Filter::All
    });
    let cursor = is_own.then(|| cursors.remove(&id)).flatten();
    cursor.map(|cursor| (id, cursor)).ok_or_else(unknown)
}

impl Cursor {
    /// The next batch.
    fn tell(&mut self, status: u16, id: u64) -> Result<Answer> {
        let rows = self.rows.take(self.batch)?;
        let has_more = self.rows.left > 0;
        let writes =
            json!({"writesExecuted": self.changed.executed, "writesIgnored": self.changed.ignored});
        let mut rest = json!({
            "hasMore": has_more, "extra": {"warnings": [], "stats": writes}, "cached": false, "error": false, "code": status,
        });
        if has_more {
            rest["id"] = Value::from(id.to_string());
        }
        if let Some(counted) = self.counted {
            rest["count"] = Value::from(counted);
        }
        let rest = rest.to_string();
        Ok(Answer::json_text(
            status,
            format!(r#"{{"result":[{rows}],{}"#, &rest[1..]),
        ))
    }
}
