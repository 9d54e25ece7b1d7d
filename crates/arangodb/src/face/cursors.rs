//! Queries and their results, batch by batch. Results wait in a file without a name, so that memory stays bounded.
//!
//! A query sees one snapshot. What is sorted is held in memory, up to a limit. Source: `spec/arangodb.md` 10 and 17.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Seek as _, SeekFrom, Write as _};
use std::ops::ControlFlow;
use std::sync::{Mutex, PoisonError};

use haversack_model::documents::DocumentRead;
use haversack_model::{Collection, CollectionId, Filter, Right, Timestamp};
use http::Method;
use serde_json::{Map, Value, json};

use super::answer::Answer;
use super::call::Call;
use super::document::render_versioned;
use super::problem::{Problem, Result};
use crate::known;
use crate::wire::aql::{self, Query, Step};
use crate::wire::errors::ErrorNum;

/// Results in a batch if the client does not say.
const DEFAULT_BATCH: u64 = 1000;
/// How long a cursor waits for its next use, in milliseconds.
const TTL_MS: i64 = 600_000;
/// Most cursors of one user.
const MAX_CURSORS: usize = 100;
/// Most bytes that a query sorts.
const MAX_SORTED: usize = 256 << 20;
/// Largest batch in bytes.
const MAX_BATCH: usize = 32 << 20;

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
    expires_at: Timestamp,
}

/// Results that are left, one a line.
#[derive(Debug)]
struct Rows {
    reader: BufReader<File>,
    left: u64,
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
    let opened = call.open(Right::Read)?;
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
    let batch = body
        .get("batchSize")
        .and_then(Value::as_u64)
        .unwrap_or(DEFAULT_BATCH);
    let is_counted = body.get("count").and_then(Value::as_bool).unwrap_or(false);
    let (rows, of) = {
        let tx = opened.store.read_documents()?;
        let service = tx.service()?;
        let collection = opened.find(&service, &query.collection)?;
        let name = known::wire_name(&service, collection);
        let rows = execute(&query, tx.as_ref(), collection, &name)?;
        (rows, collection.id)
    };
    let mut cursor = Cursor {
        owner: call.principal.name.clone(),
        database: opened.name,
        of,
        counted: is_counted.then_some(rows.left),
        rows,
        batch: batch.max(1),
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
        let mut rest = json!({
            "hasMore": has_more, "extra": {"warnings": [], "stats": {}}, "cached": false, "error": false, "code": status,
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

impl Rows {
    fn take(&mut self, count: u64) -> Result<String> {
        let mut out = String::new();
        for _ in 0..count.min(self.left) {
            if out.len() > MAX_BATCH {
                break;
            }
            if !out.is_empty() {
                out.push(',');
            }
            self.reader
                .read_line(&mut out)
                .map_err(|error| failed(&error))?;
            out.truncate(out.trim_end_matches('\n').len());
            self.left -= 1;
        }
        Ok(out)
    }
}

fn failed(error: &std::io::Error) -> Problem {
    if error.kind() == std::io::ErrorKind::StorageFull {
        return Problem::Model(haversack_model::Error::DiskFull);
    }
    Problem::Internal(format!("results of a query: {error}"))
}

/// Writes results to the file; JSON text has no line breaks of its own.
struct Sink {
    writer: BufWriter<File>,
    count: u64,
    distinct: Option<BTreeSet<String>>,
}

impl Sink {
    fn new(is_distinct: bool) -> Result<Self> {
        let file = tempfile::tempfile().map_err(|error| failed(&error))?;
        Ok(Self {
            writer: BufWriter::new(file),
            count: 0,
            distinct: is_distinct.then(BTreeSet::new),
        })
    }
    fn add(&mut self, row: &str) -> Result<()> {
        if let Some(seen) = &mut self.distinct
            && !seen.insert(row.to_owned())
        {
            return Ok(());
        }
        let written = self.writer.write_all(row.as_bytes());
        written
            .and_then(|()| self.writer.write_all(b"\n"))
            .map_err(|error| failed(&error))?;
        self.count += 1;
        Ok(())
    }
    fn finish(self) -> Result<Rows> {
        let file = self
            .writer
            .into_inner()
            .map_err(|error| failed(error.error()));
        let mut file = file?;
        file.seek(SeekFrom::Start(0))
            .map_err(|error| failed(&error))?;
        Ok(Rows {
            reader: BufReader::new(file),
            left: self.count,
        })
    }
}

/// Runs a query. The steps before the first sort stream; those from it on work on what is left in memory.
fn execute(
    query: &Query,
    tx: &dyn DocumentRead,
    collection: &Collection,
    name: &str,
) -> Result<Rows> {
    let mut sink = Sink::new(query.distinct)?;
    let mut random = random();
    let sorts_from = query
        .steps
        .iter()
        .position(|step| matches!(step, Step::Sort(_)));
    let (streamed, held) = query
        .steps
        .split_at(sorts_from.unwrap_or(query.steps.len()));
    let mut limits: Vec<(u64, u64)> = streamed.iter().map(limit_of).collect();
    let mut rows: Vec<Map<String, Value>> = Vec::new();
    let (mut bytes, mut problem) = (0, None);
    tx.by_key(collection.id, None, &mut |found| {
        let text = render_versioned(name, collection, &found);
        if query.is_whole() {
            problem = sink.add(&text).err();
            return Ok(flow(problem.is_none()));
        }
        let Ok(Value::Object(document)) = serde_json::from_str(&text) else {
            problem = Some(Problem::Internal(
                "a stored document is no object".to_owned(),
            ));
            return Ok(ControlFlow::Break(()));
        };
        match pass(streamed, &mut limits, &document, &mut random) {
            Passed::Yes => {}
            Passed::No => return Ok(ControlFlow::Continue(())),
            Passed::NoneAnyMore => return Ok(ControlFlow::Break(())),
        }
        if sorts_from.is_some() {
            bytes += text.len();
            rows.push(document);
            if bytes > MAX_SORTED {
                let text = "the query sorts more than 256 MiB of documents";
                problem = Some(Problem::told(ErrorNum::ResourceLimit, text));
            }
        } else {
            problem = sink
                .add(&query.result.value(&document, &mut random).to_string())
                .err();
        }
        Ok(flow(problem.is_none()))
    })?;
    if let Some(problem) = problem {
        return Err(problem);
    }
    for step in held {
        apply(step, &mut rows, &mut random);
    }
    for row in &rows {
        sink.add(&query.result.value(row, &mut random).to_string())?;
    }
    sink.finish()
}

fn flow(goes_on: bool) -> ControlFlow<()> {
    if goes_on {
        ControlFlow::Continue(())
    } else {
        ControlFlow::Break(())
    }
}

enum Passed {
    Yes,
    No,
    NoneAnyMore,
}

/// What a step still skips and lets through.
fn limit_of(step: &Step) -> (u64, u64) {
    match step {
        Step::Limit { offset, count } => (*offset, count.unwrap_or(u64::MAX)),
        Step::Filter(_) | Step::Sort(_) => (0, u64::MAX),
    }
}

fn pass(
    steps: &[Step],
    limits: &mut [(u64, u64)],
    document: &Map<String, Value>,
    random: &mut dyn FnMut() -> f64,
) -> Passed {
    for (step, (skip, left)) in steps.iter().zip(limits) {
        match step {
            Step::Filter(condition) if !condition.holds(document, random) => return Passed::No,
            Step::Filter(_) | Step::Sort(_) => {}
            Step::Limit { .. } if *skip > 0 => {
                *skip -= 1;
                return Passed::No;
            }
            Step::Limit { .. } if *left == 0 => return Passed::NoneAnyMore,
            Step::Limit { .. } => *left -= 1,
        }
    }
    Passed::Yes
}

fn apply(step: &Step, rows: &mut Vec<Map<String, Value>>, random: &mut dyn FnMut() -> f64) {
    match step {
        Step::Filter(condition) => rows.retain(|row| condition.holds(row, random)),
        Step::Limit { offset, count } => {
            let skip = usize::try_from(*offset)
                .unwrap_or(usize::MAX)
                .min(rows.len());
            rows.drain(..skip);
            rows.truncate(count.map_or(usize::MAX, |count| count as usize));
        }
        Step::Sort(keys) => {
            let mut keyed: Vec<(Vec<Value>, Map<String, Value>)> = std::mem::take(rows)
                .into_iter()
                .map(|row| {
                    (
                        keys.iter()
                            .map(|(key, _)| key.value(&row, random))
                            .collect(),
                        row,
                    )
                })
                .collect();
            keyed.sort_by(|(a, _), (b, _)| {
                let orders = keys
                    .iter()
                    .zip(a.iter().zip(b))
                    .map(|((_, descending), (a, b))| {
                        let order = aql::order(a, b);
                        if *descending { order.reverse() } else { order }
                    });
                orders.fold(std::cmp::Ordering::Equal, std::cmp::Ordering::then)
            });
            *rows = keyed.into_iter().map(|(_, row)| row).collect();
        }
    }
}

/// Numbers for `RAND()`: good enough for a random document.
fn random() -> impl FnMut() -> f64 {
    let mut state = uuid::Uuid::new_v4().as_u128() as u64 | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1_u64 << 53) as f64
    }
}
