//! Bulk import: lines or an array of documents, or a line of names and lines of values. Source: `spec/arangodb.md` 10.
//!
//! Every 5,000 documents are committed, unless `complete` asks for all or nothing.

use http::Method;
use serde_json::{Map, Value, json};

use super::answer::Answer;
use super::call::Call;
use super::document::{self, Duplicate, Options, Target, Verb, parse};
use super::problem::{Problem, Result};
use crate::wire::errors::ErrorNum;
use crate::wire::json as strict;

/// Documents between two commits.
const PART: usize = 5000;

#[derive(Debug, Default)]
struct Tally {
    created: u64,
    errors: u64,
    empty: u64,
    updated: u64,
    ignored: u64,
    details: Vec<String>,
}

/// `POST /_api/import`.
pub(crate) fn import(call: &Call) -> Result<Answer> {
    if call.method != Method::POST {
        return Err(Problem::of(ErrorNum::HttpMethodNotAllowed));
    }
    let opened = call.open_to_edit()?;
    let name = call.needed("collection")?;
    let duplicate = match call.param("onDuplicate") {
        None | Some("error" | "") => Duplicate::Conflict,
        Some("update") => Duplicate::Update,
        Some("replace") => Duplicate::Replace,
        Some("ignore") => Duplicate::Ignore,
        Some(_) => return Err(Problem::bad_parameter("this onDuplicate is not known")),
    };
    let options = Options {
        duplicate,
        keep_null: true,
        merge_objects: true,
        ignore_revs: true,
        is_restore: false,
    };
    let is_complete = call.flag("complete", false);
    let mut tally = Tally::default();
    let items = documents(call, &mut tally)?;
    if is_complete && tally.errors > 0 {
        let first = tally.details.first().cloned().unwrap_or_default();
        return Err(Problem::bad_parameter(first));
    }
    let mut items = items.into_iter().enumerate().peekable();
    let mut is_first = true;
    while is_first || items.peek().is_some() {
        let mut tx = opened.store.write_documents(call.host().now())?;
        let mut target = Target::of(tx.as_ref(), &opened, name)?;
        if std::mem::take(&mut is_first) && call.flag("overwrite", false) {
            tx.truncate(target.collection.id)?;
        }
        let part = if is_complete { usize::MAX } else { PART };
        for (at, item) in items.by_ref().take(part) {
            tx.savepoint()?;
            let outcome = item
                .and_then(|item| parse(prefixed(call, item)))
                .and_then(|parsed| {
                    document::write(
                        call,
                        tx.as_mut(),
                        &mut target,
                        Verb::Insert,
                        parsed,
                        options,
                    )
                });
            match outcome {
                Ok(written) if written.was_ignored() => tally.ignored += 1,
                Ok(written) if written.had_old() => tally.updated += 1,
                Ok(_) => tally.created += 1,
                Err(problem) if is_complete || !document::is_of_one_document(&problem) => {
                    return Err(problem);
                }
                Err(problem) => {
                    tx.rollback_to_savepoint()?;
                    tally.errors += 1;
                    tally.details.push(format!("at position {at}: {problem}"));
                }
            }
        }
        document::finish(tx.as_mut(), &target)?;
        tx.commit()?;
    }
    let mut told = json!({
        "created": tally.created, "errors": tally.errors, "empty": tally.empty, "updated": tally.updated,
        "ignored": tally.ignored,
    });
    if call.flag("details", false) {
        told["details"] = json!(tally.details);
    }
    let mut told = told;
    told["error"] = Value::Bool(false);
    Ok(Answer::json(201, told))
}

/// Puts the collections in front of the ends of an edge.
fn prefixed(call: &Call, mut item: Value) -> Value {
    for (name, prefix) in [("_from", "fromPrefix"), ("_to", "toPrefix")] {
        let end = item.get(name).and_then(Value::as_str);
        if let (Some(end), Some(prefix)) = (end, call.param(prefix))
            && !end.contains('/')
        {
            let slash = if prefix.ends_with('/') { "" } else { "/" };
            item[name] = Value::from(format!("{prefix}{slash}{end}"));
        }
    }
    item
}

/// The documents of a body; what cannot be read is an error in its place.
fn documents(call: &Call, tally: &mut Tally) -> Result<Vec<Result<Value>>> {
    let is_array = match call.param("type") {
        Some("documents") => false,
        Some("array" | "list") => true,
        Some("auto") => call.body.trim_ascii_start().starts_with(b"["),
        None | Some("") => return tuples(call, tally),
        Some(_) => return Err(Problem::bad_parameter("this type is not known")),
    };
    if is_array {
        return Ok(call.array()?.into_iter().map(Ok).collect());
    }
    Ok(lines(call, tally))
}

fn lines(call: &Call, tally: &mut Tally) -> Vec<Result<Value>> {
    let mut found = Vec::new();
    for line in call
        .body
        .split(|&byte| byte == b'\n')
        .map(<[u8]>::trim_ascii)
    {
        if line.is_empty() {
            tally.empty += 1;
        } else {
            found.push(strict::parse(line).map_err(Problem::Json));
        }
    }
    // The end of the last line is not an empty one.
    if call.body.ends_with(b"\n") || call.body.is_empty() {
        tally.empty = tally.empty.saturating_sub(1);
    }
    found
}

/// A line of attribute names, and a line of values for each document.
fn tuples(call: &Call, tally: &mut Tally) -> Result<Vec<Result<Value>>> {
    let mut rows = lines(call, tally).into_iter();
    let Some(Ok(Value::Array(names))) = rows.next() else {
        return Err(Problem::bad_parameter(
            "the first line must be an array of names",
        ));
    };
    let names: Option<Vec<String>> = names
        .into_iter()
        .map(|name| name.as_str().map(str::to_owned))
        .collect();
    let names = names.ok_or_else(|| Problem::bad_parameter("names must be texts"))?;
    let documents = rows.map(|row| match row? {
        Value::Array(values) if values.len() == names.len() => {
            let members = names.iter().cloned().zip(values);
            Ok(Value::Object(
                members
                    .filter(|(_, value)| !value.is_null())
                    .collect::<Map<_, _>>(),
            ))
        }
        _ => Err(Problem::bad_parameter(
            "a line has another number of values than names",
        )),
    });
    Ok(documents.collect())
}
