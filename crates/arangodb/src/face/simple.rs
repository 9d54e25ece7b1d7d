//! Simple queries, which drivers of before 2020 send for lists and examples; each is a query of the language or a few documents by key.
//!
//! Source: `spec/arangodb.md` 10; arangojs 7 and 8 `collection`, pyArango `query`.

use haversack_model::Right;
use http::Method;
use serde_json::{Map, Value, json};

use super::answer::Answer;
use super::call::Call;
use super::cursors;
use super::document::{self, Options, Target, Verb, key_of_handle, load, render_versioned};
use super::problem::{Problem, Result};
use super::query;
use crate::known;
use crate::wire::aql::{Change, Comparison, End, Expr, Query, Step, Write};
use crate::wire::document::Parsed;
use crate::wire::errors::ErrorNum;

/// `/_api/simple` and what is below it: always `PUT`, with the collection in the body.
pub(crate) fn dispatch(call: &Call, words: &[&str]) -> Result<Answer> {
    if call.method != Method::PUT {
        call.require_login()?;
        return Err(Problem::of(ErrorNum::HttpMethodNotAllowed));
    }
    match words {
        ["all" | "by-example"] => list(call, Expr::Document),
        ["all-keys"] => all_keys(call),
        ["first-example"] => first(call),
        ["any"] => any(call),
        ["lookup-by-keys"] => lookup(call),
        ["remove-by-keys"] => remove(call),
        ["remove-by-example"] => change(call, "deleted", |_content| Change::Remove),
        ["replace-by-example"] => change(call, "replaced", Change::Replace),
        ["update-by-example"] => change(call, "updated", Change::Update),
        _ => {
            call.require_login()?;
            Err(Problem::told(
                ErrorNum::HttpNotFound,
                "this simple query is not offered; say it as a query: POST /_api/cursor",
            ))
        }
    }
}

/// The query that a body means: those documents of its collection that are like its example, some skipped, at most so many.
fn read(body: &Map<String, Value>, end: End) -> Result<Query> {
    let needed = || Problem::bad_parameter("'collection' is required in the body");
    let collection = body.get("collection").and_then(Value::as_str);
    let mut steps = Vec::new();
    for (path, value) in members(body.get("example"))? {
        let attribute = path.split('.').fold(Expr::Document, |of, name| {
            Expr::Member(Box::new(of), Box::new(Expr::Value(Value::from(name))))
        });
        steps.push(Step::Filter(Expr::Compare(
            Comparison::Equal,
            Box::new(attribute),
            Box::new(Expr::Value(value)),
        )));
    }
    let whole = |name: &str| body.get(name).and_then(Value::as_u64);
    let (skip, limit) = (
        whole("skip"),
        whole("limit").or_else(|| option(body, "limit")?.as_u64()),
    );
    if skip.is_some() || limit.is_some() {
        steps.push(Step::Limit {
            offset: skip.unwrap_or(0),
            count: limit,
        });
    }
    Ok(Query {
        collection: collection.ok_or_else(needed)?.to_owned(),
        steps,
        end,
    })
}

fn members(object: Option<&Value>) -> Result<Map<String, Value>> {
    match object {
        None | Some(Value::Null) => Ok(Map::new()),
        Some(Value::Object(members)) => Ok(members.clone()),
        Some(_) => Err(Problem::bad_parameter("an object is needed")),
    }
}

/// What is chosen beside a body or in its `options`.
fn option<'a>(body: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    body.get(name)
        .or_else(|| body.get("options")?.get(name))
        .filter(|chosen| !chosen.is_null())
}

fn returning(result: Expr) -> End {
    End::Return {
        result,
        distinct: false,
    }
}

fn list(call: &Call, result: Expr) -> Result<Answer> {
    let body = call.object()?;
    let batch = body.get("batchSize").and_then(Value::as_u64);
    cursors::answer(call, &read(&body, returning(result))?, batch, true)
}

/// Keys, ids or addresses of all documents.
fn all_keys(call: &Call) -> Result<Answer> {
    let body = call.object()?;
    let attribute = match body.get("type").and_then(Value::as_str).unwrap_or("path") {
        "key" => "_key",
        "id" | "path" => "_id",
        _ => return Err(Problem::bad_parameter("'type' is key, id or path")),
    };
    let name = Expr::Value(Value::from(attribute));
    list(call, Expr::Member(Box::new(Expr::Document), Box::new(name)))
}

fn first(call: &Call) -> Result<Answer> {
    let found = one(call, &read(&call.object()?, returning(Expr::Document))?)?;
    let found = found.ok_or_else(|| Problem::told(ErrorNum::HttpNotFound, "no match"))?;
    Ok(Answer::ok(200, json!({"document": found})))
}

/// A document at random; null if there is none.
fn any(call: &Call) -> Result<Answer> {
    let mut query = read(&call.object()?, returning(Expr::Document))?;
    query
        .steps
        .insert(0, Step::Sort(vec![(Expr::Random, false)]));
    let found = one(call, &query)?;
    Ok(Answer::ok(200, json!({"document": found})))
}

fn one(call: &Call, query: &Query) -> Result<Option<Value>> {
    let opened = call.open(Right::Read)?;
    let tx = opened.store.read_documents()?;
    let service = tx.service()?;
    let collection = opened.find(&service, &query.collection)?;
    let name = known::wire_name(&service, collection);
    query::first(&query.steps, tx.as_ref(), collection, &name)
}

/// The documents of some keys that are there.
fn lookup(call: &Call) -> Result<Answer> {
    let body = call.object()?;
    let opened = call.open(Right::Read)?;
    let tx = opened.store.read_documents()?;
    let service = tx.service()?;
    let query = read(&body, returning(Expr::Document))?;
    let collection = opened.find(&service, &query.collection)?;
    let name = known::wire_name(&service, collection);
    let mut found = Vec::new();
    for key in keys(&body)? {
        match load(tx.as_ref(), collection, key_of_handle(&key)) {
            Ok(document) => found.push(render_versioned(&name, collection, &document)),
            Err(problem) if is_absent(&problem) => {}
            Err(problem) => return Err(problem),
        }
    }
    let found = found.join(",");
    let text = format!(r#"{{"documents":[{found}],"error":false,"code":200}}"#);
    Ok(Answer::json_text(200, text))
}

/// Removes the documents of some keys, in one transaction.
fn remove(call: &Call) -> Result<Answer> {
    let body = call.object()?;
    let query = read(&body, returning(Expr::Document))?;
    let keys = keys(&body)?;
    let opened = call.open_to_edit()?;
    let mut tx = opened.store.write_documents(call.host().now())?;
    let mut target = Target::of(tx.as_ref(), &opened, &query.collection)?;
    let (mut removed, mut ignored) = (0_u64, 0_u64);
    for key in keys {
        let document = Parsed {
            key: Some(key_of_handle(&key).to_owned()),
            ..Parsed::default()
        };
        let options = Options::default();
        let written = document::write(
            call,
            tx.as_mut(),
            &mut target,
            Verb::Remove,
            document,
            options,
        );
        match written {
            Ok(_) => removed += 1,
            Err(problem) if is_absent(&problem) => ignored += 1,
            Err(problem) => return Err(problem),
        }
    }
    document::finish(tx.as_mut(), &target)?;
    tx.commit()?;
    Ok(Answer::ok(
        200,
        json!({"removed": removed, "ignored": ignored}),
    ))
}

fn is_absent(problem: &Problem) -> bool {
    problem.number().0 == ErrorNum::DocumentNotFound
}

fn keys(body: &Map<String, Value>) -> Result<Vec<String>> {
    let items = body.get("keys").and_then(Value::as_array);
    let keys = items.and_then(|items| {
        let key = |item: &Value| item.as_str().map(str::to_owned);
        items.iter().map(key).collect()
    });
    keys.ok_or_else(|| Problem::bad_parameter("'keys' must be an array of keys"))
}

/// Changes the documents that are like an example; `told` names their number.
fn change(call: &Call, told: &str, how: impl FnOnce(Expr) -> Change) -> Result<Answer> {
    let body = call.object()?;
    if !body.get("example").is_some_and(Value::is_object) {
        return Err(Problem::bad_parameter("'example' must be an object"));
    }
    let content = Value::Object(members(body.get("newValue"))?);
    let flag = |name: &str| option(&body, name).and_then(Value::as_bool).unwrap_or(true);
    let write = Write {
        change: how(Expr::Value(content)),
        keep_null: flag("keepNull"),
        merge_objects: flag("mergeObjects"),
        ignore_errors: false,
    };
    let query = read(&body, End::Write(write.clone()))?;
    let changed = query::change(call, &call.open_to_edit()?, &query, &write)?;
    Ok(Answer::ok(200, json!({told: changed.executed})))
}
