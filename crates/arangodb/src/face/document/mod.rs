//! Documents, one by one and many at once. Source: `spec/arangodb.md` 10.

mod read;
mod render;
mod write;

use http::Method;
use serde_json::Value;

use super::answer::Answer;
use super::call::Call;
use super::problem::{Problem, Result};
use crate::wire::document::{self as wire, Parsed};
use crate::wire::errors::ErrorNum;

pub(crate) use read::{global_id, key_of_handle, load};
pub(crate) use render::render_versioned;
pub(crate) use write::{Duplicate, Options, Target, Verb, finish, is_of_one_document, write};

/// `/_api/document` and what is below it.
pub(crate) fn dispatch(call: &Call, words: &[&str]) -> Result<Answer> {
    match (&call.method, words) {
        (&Method::POST, []) => write::many_or_one(call, call.needed("collection")?, Verb::Insert),
        (&Method::POST, [collection]) => write::many_or_one(call, collection, Verb::Insert),
        (&Method::GET | &Method::HEAD, [collection, key]) => read::one(call, collection, key),
        (&Method::PUT, [collection]) if call.flag("onlyget", false) => read::many(call, collection),
        (&Method::PUT, [collection]) => write::many_or_one(call, collection, Verb::Replace),
        (&Method::PATCH, [collection]) => write::many_or_one(call, collection, Verb::Update),
        (&Method::DELETE, [collection]) => write::many_or_one(call, collection, Verb::Remove),
        (&Method::PUT, [collection, key]) => write::one(call, collection, key, Verb::Replace),
        (&Method::PATCH, [collection, key]) => write::one(call, collection, key, Verb::Update),
        (&Method::DELETE, [collection, key]) => write::one(call, collection, key, Verb::Remove),
        (_, [] | [_] | [_, _]) => Err(Problem::of(ErrorNum::HttpMethodNotAllowed)),
        _ => Err(Problem::of(ErrorNum::SuperfluousSuffices)),
    }
}

/// Takes a document of a client apart.
pub(crate) fn parse(document: Value) -> Result<Parsed> {
    wire::parse(document).map_err(Problem::of)
}
