//! The tracker API from 2.40 on: imports with their jobs and reports, and exports.

pub(crate) mod catalog;
mod check;
mod delete;
mod import;
pub(crate) mod jobs;
mod read;
mod rows;
mod scope;
mod select;
mod value;

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
        (_, ["jobs", id]) => jobs::progress(call, id),
        (_, ["jobs", id, "report"]) => jobs::report(call, id),
        (_, ["trackedEntities"]) => read::entities(call),
        (_, ["trackedEntities", uid]) => read::entity(call, uid),
        (_, ["enrollments", uid]) => read::enrollment(call, uid),
        (_, ["events"]) => read::events(call),
        (_, ["events", uid]) => read::event(call, uid),
        (_, ["relationships"]) => read::relationships(call),
        (_, ["relationships", uid]) => read::relationship(call, uid),
        _ => Err(Problem::no_such_path()),
    }
}

/// What is told of an object that is not there, or not for whoever asks.
fn missing(kind: Kind, uid: &str) -> Problem {
    Problem::missing(kind.word(), uid)
}
