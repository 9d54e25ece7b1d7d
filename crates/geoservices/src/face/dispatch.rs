//! From a decoded path to the one operation that answers it.
//!
//! Every resource answers GET and POST alike. The administrative tree is the same as the public one, as clients send
//! there what changes a service.

use haversack_model::CollectionId;

use super::answer::Answer;
use super::call::Call;
use super::problem::{Problem, Result};
use super::route::Path;
use super::{files, metadata, portal, uploads};

/// Runs the operation that a path names.
pub(crate) fn dispatch(call: &Call, path: &Path) -> Result<Answer> {
    let (segments, words) = (path.segments.as_slice(), path.words());
    match words.as_slice() {
        [] | ["info"] | ["rest"] | ["rest", "info"] => Ok(Answer::Json(portal::info(call))),
        ["sharing", "rest", rest @ ..] => portal::dispatch(call, &segments[2..], rest),
        ["sharing", rest @ ..] => portal::dispatch(call, &segments[1..], rest),
        ["tokens", "generatetoken"] => portal::tokens::generate(call),
        ["rest", "files", _] => files::download(call, &segments[2]),
        ["rest", "services", rest @ ..] => services(call, &segments[2..], rest),
        ["rest", "admin", "services", rest @ ..] => services(call, &segments[3..], rest),
        _ => Err(Problem::NotFound("this resource".to_owned())),
    }
}

fn services(call: &Call, segments: &[String], words: &[&str]) -> Result<Answer> {
    match words {
        [] => Ok(metadata::catalogue(call)),
        [_, "featureserver", rest @ ..] => service(call, &segments[0], &segments[2..], rest),
        // The administrative form of the name.
        [name, rest @ ..] if name.ends_with(".featureserver") => {
            let name = &segments[0][..segments[0].len() - ".featureserver".len()];
            service(call, name, &segments[1..], rest)
        }
        _ => Err(Problem::NotFound(format!("service '{}'", segments[0]))),
    }
}

fn service(call: &Call, name: &str, segments: &[String], words: &[&str]) -> Result<Answer> {
    match words {
        [] => metadata::service(call, name),
        ["layers"] => metadata::layers(call, name),
        ["uploads", rest @ ..] => uploads::dispatch(call, name, rest),
        [id, rest @ ..] => {
            let id = id
                .parse()
                .map_err(|_not_a_layer| Problem::NotFound(format!("resource '{}'", segments[0])))?;
            layer(call, name, CollectionId(id), &segments[1..], rest)
        }
    }
}

fn layer(
    call: &Call,
    name: &str,
    id: CollectionId,
    segments: &[String],
    words: &[&str],
) -> Result<Answer> {
    match words {
        [] => metadata::one_layer(call, name, id),
        _ => Err(Problem::NotFound(format!("resource '{}'", segments[0]))),
    }
}
