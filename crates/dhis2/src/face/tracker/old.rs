//! The tracker API up to 2.41: the same imports and exports with other names and import summaries.
//!
//! `strategy=SYNC` writes what is sent and deletes what is sent with `deleted`; everything is taken in object by object, and what is refused is told
//! in the summary of its object. Source: `spec/dhis2.md` 5.1 and 6.

use std::collections::BTreeSet;

use haversack_model::Right;
use http::Method;
use serde_json::{Map, Value, json};

use super::import::{Options, Strategy};
use super::{enrollments, jobs, read};
use crate::face::answer::Answer;
use crate::face::call::Call;
use crate::face::instance::Instance;
use crate::face::problem::{Problem, Result};
use crate::wire::report::{Outcome, Report, Stats, Told, Verdict};
use crate::wire::tracker::{Kind, Payload};
use crate::wire::{json as strict, shape, uid};

/// The kind of a collection of the old API, except of what the new one calls the same.
pub(crate) fn kind_of(collection: &str) -> Option<Kind> {
    match collection {
        "trackedEntityInstances" => Some(Kind::TrackedEntity),
        "enrollments" => Some(Kind::Enrollment),
        "events" => Some(Kind::Event),
        "relationships" => Some(Kind::Relationship),
        _ => None,
    }
}

/// Name of the collection, and of the member that holds a uid.
fn names(kind: Kind) -> (&'static str, &'static str) {
    match kind {
        Kind::TrackedEntity => ("trackedEntityInstances", "trackedEntityInstance"),
        other => (other.collection(), other.member()),
    }
}

/// `trackedEntityInstances`, `enrollments`, `events` and `relationships`, and single ones.
pub(crate) fn dispatch(call: &Call, kind: Kind, words: &[&str]) -> Result<Answer> {
    match (&call.method, words) {
        (&Method::POST, []) => {
            let objects = sent(call, kind)?;
            let is_deleting =
                call.param("strategy").or(call.param("importStrategy")) == Some("DELETE");
            import(call, kind, objects, is_deleting)
        }
        (&Method::PUT, [id]) => {
            let mut object = call.object()?;
            object.insert(names(kind).1.to_owned(), json!(id));
            import(call, kind, vec![Value::Object(object)], false)
        }
        (&Method::DELETE, [id]) => import(call, kind, vec![json!({ names(kind).1: id })], true),
        (_, []) => list(call, kind),
        (_, [id]) => one(call, kind, id),
        _ => Err(Problem::no_such_path()),
    }
}

fn list(call: &Call, kind: Kind) -> Result<Answer> {
    let call = with_new_names(call);
    let answer = match kind {
        Kind::TrackedEntity => read::entities(&call)?,
        Kind::Event => read::events(&call)?,
        Kind::Relationship => read::relationships(&call)?,
        Kind::Enrollment => enrollments::many(&call)?,
    };
    let mut told = Map::new();
    for (name, value) in answer.as_object().cloned().unwrap_or_default() {
        match value {
            Value::Array(objects) => {
                let objects = objects
                    .into_iter()
                    .map(|object| projected(&call, kind, object))
                    .collect::<Result<_>>()?;
                told.insert(names(kind).0.to_owned(), Value::Array(objects));
            }
            pager if name == "pager" => {
                told.insert(name, pager);
            }
            // The flat numbers are of the new API alone.
            _ => {}
        }
    }
    Ok(Answer::json(200, Value::Object(told)))
}

fn one(call: &Call, kind: Kind, id: &str) -> Result<Answer> {
    let call = with_new_names(call);
    let object = match kind {
        Kind::TrackedEntity => read::entity(&call, id)?,
        Kind::Enrollment => enrollments::one(&call, id)?,
        Kind::Event => read::event(&call, id)?,
        Kind::Relationship => read::relationship(&call, id)?,
    };
    Ok(Answer::json(200, projected(&call, kind, object)?))
}

fn projected(call: &Call, kind: Kind, object: Value) -> Result<Value> {
    let old = shape::to_old(kind, object);
    let default = if kind == Kind::TrackedEntity {
        "*,!enrollments,!relationships,!programOwners"
    } else {
        "*"
    };
    let fields = call.param(OLD_FIELDS).unwrap_or(default);
    crate::face::metadata::fields::Fields::parse(fields)?.project(old, &|_, _| Ok(None))
}

/// Where the fields are kept that were asked for by their old names.
const OLD_FIELDS: &str = "old fields";

/// The same request with the parameters of the new API; all fields are read, as they are projected by their old names.
fn with_new_names(call: &Call) -> Call {
    let mut renamed = call.clone();
    for (name, value) in &mut renamed.query {
        let new = match name.as_str() {
            "fields" => OLD_FIELDS,
            "trackedEntityInstance" | "tei" => "trackedEntity",
            "lastUpdatedStartDate" | "lastUpdated" => "updatedAfter",
            "programStartDate" | "programEnrollmentStartDate" => "enrollmentEnrolledAfter",
            "programEndDate" | "programEnrollmentEndDate" => "enrollmentEnrolledBefore",
            "startDate" => "occurredAfter",
            "endDate" => "occurredBefore",
            _ => continue,
        };
        new.clone_into(name);
        if name == "updatedAfter" {
            *value = value.trim().to_owned();
        }
    }
    renamed.query.push(("fields".to_owned(), "*".to_owned()));
    renamed
}

/// The objects of a body: `{"events":[..]}` or one object.
fn sent(call: &Call, kind: Kind) -> Result<Vec<Value>> {
    let (collection, _) = names(kind);
    match strict::parse(&call.body)? {
        Value::Object(mut members) => match members.shift_remove(collection) {
            Some(Value::Array(objects)) => Ok(objects),
            Some(_) => Err(Problem::bad(format!("{collection} must be a list"))),
            None => Ok(vec![Value::Object(members)]),
        },
        _ => Err(Problem::bad("an object is needed")),
    }
}

/// Objects with those in them, in their order, each with its uid.
#[derive(Debug, Default)]
struct Sorted {
    written: Payload,
    deleted: Payload,
}

fn import(call: &Call, kind: Kind, objects: Vec<Value>, is_deleting: bool) -> Result<Answer> {
    let instance = Instance::open(call, Right::Edit)?;
    let mut sorted = Sorted::default();
    let mut told = Vec::with_capacity(objects.len());
    for object in objects {
        let new = shape::to_new(kind, object);
        told.push(sort(call, kind, new, is_deleting, &mut sorted)?);
    }
    // Deletions first: an event that is deleted and made anew in one request is not refused as a repeat. If only the first of the two transactions
    // takes effect, sending the request again does the rest.
    let mut report = Report::default();
    let mut made = BTreeSet::new();
    for (payload, strategy) in [
        (sorted.deleted, Strategy::Delete),
        (sorted.written, Strategy::CreateAndUpdate),
    ] {
        if payload.is_empty() {
            continue;
        }
        let options = Options {
            strategy,
            ..Options::default()
        };
        let part = jobs::import_now(call, &instance, payload, options)?;
        made.extend(part.made);
        for ((kind, uid), outcome) in part.report.outcomes {
            let is_gone = strategy == Strategy::Delete
                && outcome
                    .problems
                    .iter()
                    .all(|problem| GONE.contains(&problem.code.as_str()));
            report.note(
                kind,
                &uid,
                if is_gone { Outcome::default() } else { outcome },
            );
        }
    }
    for one in &mut told {
        count(&report, &made, one);
    }
    let (status, body) = report.to_summaries(&told);
    Ok(Answer::json(status, body))
}

/// Codes of deletions of what is not there, which are successes for this API: a device that sends one again is done.
const GONE: [&str; 8] = [
    "E1063", "E1114", "E1081", "E1113", "E1032", "E1082", "E4016", "E4017",
];

/// Notes what was done with an object and with those in it.
fn count(report: &Report, made: &BTreeSet<(Kind, String)>, told: &mut Told) {
    let Some((kind, uid)) = &told.object else {
        return;
    };
    let was_refused = report
        .outcome(*kind, uid)
        .is_some_and(|outcome| outcome.verdict == Verdict::Error);
    if was_refused {
        told.count = Stats {
            ignored: 1,
            ..Stats::default()
        };
    } else if made.contains(&(*kind, uid.clone())) {
        told.count = Stats {
            created: 1,
            ..Stats::default()
        };
    }
    for child in &mut told.children {
        count(report, made, child);
    }
}

/// Puts an object where it belongs, and those in it; what is below a deleted one goes with it.
fn sort(
    call: &Call,
    kind: Kind,
    object: Value,
    is_deleting: bool,
    sorted: &mut Sorted,
) -> Result<Told> {
    let Value::Object(mut members) = object else {
        return Err(Problem::bad("an object is needed"));
    };
    let member = kind.member();
    let known = members
        .get(member)
        .and_then(Value::as_str)
        .filter(|id| !id.is_empty());
    let id = known.map_or_else(
        || uid::from_random(call.host.fresh_uuid().as_u128()),
        str::to_owned,
    );
    members.insert(member.to_owned(), json!(id));
    let is_deleted = is_deleting || members.get("deleted") == Some(&Value::Bool(true));
    let below = match kind {
        Kind::TrackedEntity => Some((Kind::Enrollment, "enrollments")),
        Kind::Enrollment => Some((Kind::Event, "events")),
        Kind::Event | Kind::Relationship => None,
    };
    let mut told = Told {
        object: Some((kind, id.clone())),
        count: if is_deleted {
            Stats {
                deleted: 1,
                ..Stats::default()
            }
        } else {
            Stats {
                updated: 1,
                ..Stats::default()
            }
        },
        children: Vec::new(),
    };
    if let Some((child_kind, name)) = below
        && let Some(Value::Array(children)) = members.shift_remove(name)
        && !is_deleted
    {
        for mut child in children {
            for (parent, value) in [
                (member, json!(id)),
                (
                    "program",
                    members.get("program").cloned().unwrap_or_default(),
                ),
            ] {
                if let Value::Object(inner) = &mut child {
                    inner.entry(parent).or_insert(value);
                }
            }
            told.children
                .push(sort(call, child_kind, child, false, sorted)?);
        }
    }
    let payload = if is_deleted {
        &mut sorted.deleted
    } else {
        &mut sorted.written
    };
    let value = Value::Object(members);
    let wrong =
        |error: serde_json::Error| Problem::bad(format!("the payload cannot be read: {error}"));
    match kind {
        Kind::TrackedEntity => payload
            .tracked_entities
            .push(serde_json::from_value(value).map_err(wrong)?),
        Kind::Enrollment => payload
            .enrollments
            .push(serde_json::from_value(value).map_err(wrong)?),
        Kind::Event => payload
            .events
            .push(serde_json::from_value(value).map_err(wrong)?),
        Kind::Relationship => payload
            .relationships
            .push(serde_json::from_value(value).map_err(wrong)?),
    }
    Ok(told)
}
