//! Runs queries: over one snapshot, or changing what they find in one transaction. Results wait in a file without a name, so that
//! memory stays bounded; what is sorted or changed is held in memory, up to a limit. Source: `spec/arangodb.md` 10 and 17.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Seek as _, SeekFrom, Write as _};
use std::ops::ControlFlow;

use haversack_model::Collection;
use haversack_model::documents::DocumentRead;
use serde_json::{Map, Value};

use super::call::{Call, Opened};
use super::document::{self, Options, Target, Verb, render_versioned};
use super::problem::{Problem, Result};
use crate::wire::aql::{self, Change, Expr, Query, Step, Write};
use crate::wire::document::Parsed;
use crate::wire::errors::ErrorNum;

/// Most bytes of documents that a query sorts or changes.
const MAX_HELD: usize = 256 << 20;
/// Largest batch in bytes.
const MAX_BATCH: usize = 32 << 20;

/// Results that are left, one a line.
#[derive(Debug)]
pub(super) struct Rows {
    reader: BufReader<File>,
    pub(super) left: u64,
}

/// What became of the documents that a query changes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Changed {
    pub(super) executed: u64,
    pub(super) ignored: u64,
}

impl Rows {
    /// Nothing.
    pub(super) fn none() -> Result<Self> {
        Sink::new(false)?.finish()
    }
    /// The next results, with commas between them.
    pub(super) fn take(&mut self, count: u64) -> Result<String> {
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

/// The results of a query that changes nothing.
pub(super) fn rows(
    query: &Query,
    (result, is_distinct): (&Expr, bool),
    tx: &dyn DocumentRead,
    collection: &Collection,
    name: &str,
) -> Result<Rows> {
    let mut sink = Sink::new(is_distinct)?;
    if query.is_whole() {
        let mut problem = None;
        tx.by_key(collection.id, None, &mut |found| {
            problem = sink.add(&render_versioned(name, collection, &found)).err();
            Ok(flow(problem.is_none()))
        })?;
        return problem.map_or_else(|| sink.finish(), Err);
    }
    let mut random = random();
    documents(&query.steps, tx, collection, name, &mut |found| {
        sink.add(&result.value(&found, &mut random).to_string())
    })?;
    sink.finish()
}

/// The first document of those that are left by the steps of a query.
pub(super) fn first(
    steps: &[Step],
    tx: &dyn DocumentRead,
    collection: &Collection,
    name: &str,
) -> Result<Option<Value>> {
    let limit = Step::Limit {
        offset: 0,
        count: Some(1),
    };
    let steps: Vec<Step> = steps.iter().cloned().chain([limit]).collect();
    let mut first = None;
    documents(&steps, tx, collection, name, &mut |found| {
        first = Some(Value::Object(found));
        Ok(())
    })?;
    Ok(first)
}

/// Changes what a query finds: all of it, or nothing if one document refuses and errors are not to be ignored.
pub(super) fn change(
    call: &Call,
    opened: &Opened,
    query: &Query,
    write: &Write,
) -> Result<Changed> {
    let (verb, content) = match &write.change {
        Change::Update(content) => (Verb::Update, Some(content)),
        Change::Replace(content) => (Verb::Replace, Some(content)),
        Change::Remove => (Verb::Remove, None),
    };
    let options = Options {
        keep_null: write.keep_null,
        merge_objects: write.merge_objects,
        ..Options::default()
    };
    let mut tx = opened.store.write_documents(call.host().now())?;
    let mut target = Target::of(tx.as_ref(), opened, &query.collection)?;
    let (mut held, mut bytes, mut random) = (Vec::new(), 0, random());
    let (collection, name) = (target.collection.clone(), target.name.clone());
    documents(
        &query.steps,
        tx.as_ref(),
        &collection,
        &name,
        &mut |found| {
            let key = found["_key"].as_str().unwrap_or_default().to_owned();
            let body = content.map_or(Value::Object(Map::new()), |content| {
                content.value(&found, &mut random)
            });
            bytes += key.len() + body.to_string().len();
            if bytes > MAX_HELD {
                let text = "the query changes more than 256 MiB of documents";
                return Err(Problem::told(ErrorNum::ResourceLimit, text));
            }
            held.push((key, body));
            Ok(())
        },
    )?;
    let mut changed = Changed::default();
    for (key, body) in held {
        tx.savepoint()?;
        let written = document::parse(body).and_then(|parsed| {
            let document = Parsed {
                key: Some(key),
                revision: None,
                body: parsed.body,
            };
            document::write(call, tx.as_mut(), &mut target, verb, document, options)
        });
        match written {
            Ok(_) => changed.executed += 1,
            Err(problem) if write.ignore_errors && document::is_of_one_document(&problem) => {
                tx.rollback_to_savepoint()?;
                changed.ignored += 1;
            }
            Err(problem) => return Err(problem),
        }
    }
    document::finish(tx.as_mut(), &target)?;
    tx.commit()?;
    Ok(changed)
}

/// The documents that are left by the steps of a query, in their order. The steps before the first sort stream; those from it on
/// work on what is left in memory.
fn documents(
    steps: &[Step],
    tx: &dyn DocumentRead,
    collection: &Collection,
    name: &str,
    visit: &mut dyn FnMut(Map<String, Value>) -> Result<()>,
) -> Result<()> {
    let mut random = random();
    let sorts_from = steps.iter().position(|step| matches!(step, Step::Sort(_)));
    let (streamed, held) = steps.split_at(sorts_from.unwrap_or(steps.len()));
    let mut limits: Vec<(u64, u64)> = streamed.iter().map(limit_of).collect();
    let mut rows: Vec<Map<String, Value>> = Vec::new();
    let (mut bytes, mut problem) = (0, None);
    tx.by_key(collection.id, None, &mut |found| {
        let text = render_versioned(name, collection, &found);
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
            if bytes > MAX_HELD {
                let text = "the query sorts more than 256 MiB of documents";
                problem = Some(Problem::told(ErrorNum::ResourceLimit, text));
            }
        } else {
            problem = visit(document).err();
        }
        Ok(flow(problem.is_none()))
    })?;
    if let Some(problem) = problem {
        return Err(problem);
    }
    for step in held {
        apply(step, &mut rows, &mut random);
    }
    rows.into_iter().try_for_each(visit)
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
