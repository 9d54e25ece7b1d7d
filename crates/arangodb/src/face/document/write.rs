//! Writing documents: one transaction a request. Of many at once each stands for itself: one that fails leaves the others.

use std::collections::BTreeMap;

use haversack_model::documents::{self, DocumentWrite, body_of};
use haversack_model::{Collection, GlobalId, Revision};
use http::{HeaderName, header};
use serde_json::{Map, Value};

use super::super::answer::Answer;
use super::super::call::{Call, Opened};
use super::super::collections;
use super::super::problem::{Problem, Result};
use super::parse;
use super::read::{header_revision, identity, key_of_handle, load, require_revision};
use crate::known::{self, REVISIONS_REPEAT};
use crate::wire::document::{Parsed, render};
use crate::wire::errors::ErrorNum;
use crate::wire::revision;

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    /// Makes a document.
    Insert,
    /// Gives a document new content.
    Replace,
    /// Changes attributes of a document.
    Update,
    /// Removes a document.
    Remove,
}

/// What an insert does with a key that is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Duplicate {
    /// It fails.
    #[default]
    Conflict,
    /// It leaves what is there.
    Ignore,
    /// It replaces what is there.
    Replace,
    /// It updates what is there.
    Update,
}

/// How it is done.
#[derive(Clone, Copy, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a parameter of the dialect"
)]
pub(crate) struct Options {
    pub(crate) duplicate: Duplicate,
    pub(crate) keep_null: bool,
    pub(crate) merge_objects: bool,
    pub(crate) ignore_revs: bool,
    /// The document keeps the revision that it names.
    pub(crate) is_restore: bool,
}

/// Where it is done.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) collection: Collection,
    pub(crate) name: String,
    /// Whether a document was given the revision of another one.
    pub(crate) repeats: bool,
}

/// What became of one document.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    key: String,
    old: Option<(u64, String)>,
    new: Option<String>,
    /// The revision it has, where the transaction does not give one.
    revision: Option<u64>,
    is_insert: bool,
}

impl Written {
    /// Whether there was a document of this key.
    pub(crate) fn had_old(&self) -> bool {
        self.old.is_some()
    }
    /// Whether nothing was done, as the key was there.
    pub(crate) fn was_ignored(&self) -> bool {
        self.is_insert && self.revision.is_some() && self.new.is_none()
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            duplicate: Duplicate::Conflict,
            keep_null: true,
            merge_objects: true,
            ignore_revs: true,
            is_restore: false,
        }
    }
}

impl Options {
    fn of(call: &Call) -> Result<Self> {
        let duplicate = match call.param("overwriteMode") {
            Some("ignore") => Duplicate::Ignore,
            Some("replace") => Duplicate::Replace,
            Some("update") => Duplicate::Update,
            Some("conflict") => Duplicate::Conflict,
            Some(_) => return Err(Problem::bad_parameter("this overwriteMode is not known")),
            None if call.flag("overwrite", false) => Duplicate::Replace,
            None => Duplicate::Conflict,
        };
        Ok(Self {
            duplicate,
            keep_null: call.flag("keepNull", true),
            merge_objects: call.flag("mergeObjects", true),
            ignore_revs: call.flag("ignoreRevs", true),
            is_restore: call.flag("isRestore", false),
        })
    }
}

impl Target {
    /// Where a request writes, in its transaction.
    pub(crate) fn of(tx: &dyn DocumentWrite, opened: &Opened, name: &str) -> Result<Self> {
        let service = tx.service()?;
        let collection = opened.find_writable(&service, name)?;
        Ok(Self {
            name: known::wire_name(&service, collection),
            collection: collection.clone(),
            repeats: false,
        })
    }
}

/// Does one thing with one document.
pub(crate) fn write(
    call: &Call,
    tx: &mut dyn DocumentWrite,
    target: &mut Target,
    verb: Verb,
    document: Parsed,
    options: Options,
) -> Result<Written> {
    let Parsed {
        key,
        revision: named,
        body,
    } = document;
    let key = match key {
        Some(key) => key,
        None if verb == Verb::Insert => call.face.ids.next().to_string(),
        None => return Err(Problem::of(ErrorNum::KeyMissing)),
    };
    let found = match load(&*tx, &target.collection, &key) {
        Ok(found) => Some(found),
        Err(Problem::Told {
            num: ErrorNum::DocumentNotFound,
            ..
        }) => None,
        Err(other) => return Err(other),
    };
    let old = found.as_ref().map(|found| {
        (
            found.track.revision.0,
            body_of(&target.collection, &found.record),
        )
    });
    if verb != Verb::Insert {
        let found = found
            .as_ref()
            .ok_or_else(|| Problem::of(ErrorNum::DocumentNotFound))?;
        if let Some(named) = named.filter(|_| !options.ignore_revs) {
            require_revision(&target.name, &key, found, &revision::encode(named))?;
        }
    }
    let id = GlobalId::Text(key.as_str().into());
    if verb == Verb::Remove {
        tx.delete(target.collection.id, &id, None)?;
        return Ok(Written {
            key,
            revision: old.as_ref().map(|(rev, _)| *rev),
            old,
            new: None,
            is_insert: false,
        });
    }
    let is_update = match (verb, &old, options.duplicate) {
        (Verb::Insert, Some(_), Duplicate::Conflict) => {
            let text = format!(
                "unique constraint violated - in index primary of type primary over '_key'; conflicting key: {key}"
            );
            return Err(Problem::told(ErrorNum::UniqueConstraint, text));
        }
        (Verb::Insert, Some((rev, _)), Duplicate::Ignore) => {
            return Ok(Written {
                revision: Some(*rev),
                key,
                old,
                new: None,
                is_insert: true,
            });
        }
        (Verb::Update, _, _) | (Verb::Insert, Some(_), Duplicate::Update) => true,
        _ => false,
    };
    let body = match &old {
        Some((_, text)) if is_update => {
            let mut merged: Map<String, Value> = serde_json::from_str(text).map_err(|error| {
                Problem::Internal(format!("a stored document is no JSON: {error}"))
            })?;
            merge(&mut merged, body, options);
            merged
        }
        _ => body,
    };
    if collections::is_edge(&target.collection) {
        check_ends(&body)?;
    }
    let text = Value::Object(body).to_string();
    let record = documents::document(&key, text.as_str());
    let kept = named.filter(|_| options.is_restore);
    if let Some(kept) = kept {
        target.repeats |= is_taken(tx, target, kept, &id)?;
        tx.put_revision(target.collection.id, &record, Revision(kept), None)?;
    } else {
        tx.put(target.collection.id, &record, None)?;
    }
    Ok(Written {
        key,
        old,
        new: Some(text),
        revision: kept,
        is_insert: verb == Verb::Insert,
    })
}

/// Whether another document has a revision.
fn is_taken(
    tx: &mut dyn DocumentWrite,
    target: &Target,
    revision: u64,
    id: &GlobalId,
) -> Result<bool> {
    let mut taken = false;
    let at = Revision(revision);
    tx.revisions(target.collection.id, at, at, &mut |_, other| {
        taken |= other != *id;
        Ok(std::ops::ControlFlow::Continue(()))
    })?;
    Ok(taken)
}

fn check_ends(body: &Map<String, Value>) -> Result<()> {
    for name in ["_from", "_to"] {
        let end = body
            .get(name)
            .and_then(Value::as_str)
            .and_then(|end| end.split_once('/'));
        let fits = end.is_some_and(|(collection, key)| {
            crate::wire::key::is_collection_name(collection) && crate::wire::key::is_key(key)
        });
        if !fits {
            return Err(Problem::of(ErrorNum::EdgeAttribute));
        }
    }
    Ok(())
}

/// Changes attributes as an update does.
fn merge(into: &mut Map<String, Value>, from: Map<String, Value>, options: Options) {
    for (name, value) in from {
        if value.is_null() && !options.keep_null {
            into.shift_remove(&name);
            continue;
        }
        match (into.get_mut(&name), value) {
            (Some(Value::Object(old)), Value::Object(new)) if options.merge_objects => {
                merge(old, new, options);
            }
            (_, value) => {
                into.insert(name, value);
            }
        }
    }
}

/// One document by the key in the path.
pub(crate) fn one(call: &Call, collection: &str, key: &str, verb: Verb) -> Result<Answer> {
    let options = Options::of(call)?;
    let mut document = if verb == Verb::Remove {
        Parsed::default()
    } else {
        parse(call.json()?)?
    };
    document.key = Some(key.to_owned());
    let wanted = header_revision(call, "if-match");
    single(call, collection, verb, document, options, wanted)
}

/// One document or many, as the body is an object or an array.
pub(crate) fn many_or_one(call: &Call, collection: &str, verb: Verb) -> Result<Answer> {
    let options = Options::of(call)?;
    match call.json()? {
        Value::Array(items) => many(call, collection, verb, items, options),
        body => single(call, collection, verb, parse(body)?, options, None),
    }
}

fn single(
    call: &Call,
    collection: &str,
    verb: Verb,
    document: Parsed,
    options: Options,
    wanted: Option<String>,
) -> Result<Answer> {
    let opened = call.open_to_edit()?;
    let mut tx = opened.store.write_documents(call.host().now())?;
    let mut target = Target::of(tx.as_ref(), &opened, collection)?;
    if let (Some(wanted), Some(key)) = (wanted, &document.key) {
        let found = load(&*tx, &target.collection, key)?;
        require_revision(&target.name, key, &found, &wanted)?;
    }
    let written = write(call, tx.as_mut(), &mut target, verb, document, options)?;
    finish(tx.as_mut(), &target)?;
    let told = told(call, tx.as_mut(), &target, &written)?;
    tx.commit()?;
    let etag = told["_rev"].as_str().unwrap_or_default().to_owned();
    let id = told["_id"].as_str().unwrap_or_default().to_owned();
    let status = if written.was_ignored() {
        200
    } else {
        status(call, &target, verb)
    };
    let body = if call.flag("silent", false) {
        "{}".to_owned()
    } else {
        told.to_string()
    };
    Ok(Answer::json_text(status, body)
        .with(header::ETAG, &format!("\"{etag}\""))
        .with(
            header::LOCATION,
            &format!("/_db/{}/_api/document/{id}", opened.name),
        ))
}

fn many(
    call: &Call,
    collection: &str,
    verb: Verb,
    items: Vec<Value>,
    options: Options,
) -> Result<Answer> {
    let opened = call.open_to_edit()?;
    let mut tx = opened.store.write_documents(call.host().now())?;
    let mut target = Target::of(tx.as_ref(), &opened, collection)?;
    let mut outcomes = Vec::with_capacity(items.len());
    for item in items {
        tx.savepoint()?;
        let document = match item {
            Value::String(handle) if verb == Verb::Remove => Ok(Parsed {
                key: Some(key_of_handle(&handle).to_owned()),
                ..Parsed::default()
            }),
            item => parse(item),
        };
        let outcome = document
            .and_then(|document| write(call, tx.as_mut(), &mut target, verb, document, options));
        if let Err(problem) = &outcome {
            if !is_of_one_document(problem) {
                return outcome.map(|_| Answer::empty(500));
            }
            tx.rollback_to_savepoint()?;
        }
        outcomes.push(outcome);
    }
    finish(tx.as_mut(), &target)?;
    let is_silent = call.flag("silent", false);
    let mut told_all = Vec::new();
    let mut codes: BTreeMap<String, u64> = BTreeMap::new();
    for outcome in &outcomes {
        match outcome {
            Ok(_) if is_silent => {}
            Ok(written) => told_all.push(told(call, tx.as_mut(), &target, written)?),
            Err(problem) => {
                let (num, _) = problem.number();
                *codes.entry(num.number().to_string()).or_default() += 1;
                told_all.push(problem.to_element());
            }
        }
    }
    tx.commit()?;
    let answer = Answer::json(status(call, &target, verb), Value::Array(told_all));
    if codes.is_empty() {
        return Ok(answer);
    }
    let codes = serde_json::to_string(&codes).unwrap_or_default();
    Ok(answer.with(HeaderName::from_static("x-arango-error-codes"), &codes))
}

/// Whether a failure is of one document, and not of the whole transaction.
pub(crate) fn is_of_one_document(problem: &Problem) -> bool {
    !matches!(
        problem.number().0,
        ErrorNum::Internal | ErrorNum::ResourceLimit | ErrorNum::LockTimeout
    )
}

/// Notes that revisions repeat, and gives all changes their revisions.
pub(crate) fn finish(tx: &mut dyn DocumentWrite, target: &Target) -> Result<()> {
    if target.repeats && !target.collection.properties.contains_key(REVISIONS_REPEAT) {
        let mut service = tx.service()?;
        for collection in service
            .collections
            .iter_mut()
            .filter(|c| c.id == target.collection.id)
        {
            collection
                .properties
                .insert(REVISIONS_REPEAT.to_owned(), Value::Bool(true));
        }
        tx.store_service(&service)?;
    }
    tx.seal()?;
    Ok(())
}

/// What is told of a written document.
fn told(
    call: &Call,
    tx: &mut dyn DocumentWrite,
    target: &Target,
    written: &Written,
) -> Result<Value> {
    let id = GlobalId::Text(written.key.as_str().into());
    let revision = match written.revision {
        Some(revision) => revision,
        None => tx
            .track(target.collection.id, &id)?
            .map_or(0, |track| track.revision.0),
    };
    let mut told = identity(&target.name, &written.key, revision);
    let whole = |revision: u64, body: &str| {
        let text = render(&target.name, &written.key, revision, body);
        serde_json::from_str(&text).unwrap_or(Value::Null)
    };
    if let Some((old, body)) = &written.old {
        if written.new.is_some() {
            told["_oldRev"] = Value::from(revision::encode(*old));
        }
        if call.flag("returnOld", false) {
            told["old"] = whole(*old, body);
        }
    }
    if let Some(body) = written
        .new
        .as_ref()
        .filter(|_| call.flag("returnNew", false))
    {
        told["new"] = whole(revision, body);
    }
    Ok(told)
}

/// 201 or 200 where it was asked that the change be durable, as it always is here.
fn status(call: &Call, target: &Target, verb: Verb) -> u16 {
    let always = target
        .collection
        .properties
        .get("waitForSync")
        .and_then(Value::as_bool);
    match (call.flag("waitForSync", always.unwrap_or(false)), verb) {
        (true, Verb::Remove) => 200,
        (true, _) => 201,
        (false, _) => 202,
    }
}
