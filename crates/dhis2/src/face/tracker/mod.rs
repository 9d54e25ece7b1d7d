//! Tracker data: imports with their jobs and reports, and exports; by the API from 2.40 on and by the old one.

pub(crate) mod catalog;
pub(crate) mod chain;
mod check;
mod delete;
mod enrollments;
mod import;
pub(crate) mod jobs;
mod list;
mod notes;
pub(crate) mod old;
pub(crate) mod ownership;
mod plan;
pub(crate) mod read;
pub(crate) mod rows;
pub(crate) mod rules;
pub(crate) mod scope;
mod select;
pub(crate) mod value;

use http::Method;

use super::answer::Answer;
use super::call::Call;
use super::problem::{Problem, Result};
use crate::wire::tracker::Kind;

/// `tracker` and what is below it.
pub(crate) fn dispatch(call: &Call, words: &[&str]) -> Result<Answer> {
    match (&call.method, words) {
        (&Method::POST, []) => jobs::import(call),
        (_, []) => Err(Problem::Method),
        (_, ["ownership", operation]) => ownership::dispatch(call, operation),
        (_, ["jobs", id]) => jobs::progress(call, id),
        (_, ["jobs", id, "report"]) => jobs::report(call, id),
        (_, ["trackedEntities"]) => told(read::entities(call)?),
        (_, ["trackedEntities", uid]) => told(read::entity(call, uid)?),
        (_, ["enrollments"]) => told(enrollments::many(call)?),
        (_, ["enrollments", uid]) => told(enrollments::one(call, uid)?),
        (_, ["events"]) => told(read::events(call)?),
        (_, ["events", uid]) => told(read::event(call, uid)?),
        (_, ["relationships"]) => told(read::relationships(call)?),
        (_, ["relationships", uid]) => told(read::relationship(call, uid)?),
        _ => Err(Problem::no_such_path()),
    }
}

#[expect(clippy::unnecessary_wraps, reason = "the last step of an operation")]
fn told(body: serde_json::Value) -> Result<Answer> {
    Ok(Answer::json(200, body))
}

/// What is told of an object that is not there, or not for whoever asks.
fn missing(kind: Kind, uid: &str) -> Problem {
    Problem::missing(kind.word(), uid)
}
