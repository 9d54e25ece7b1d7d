//! From a decoded path to the one operation that answers it.
//!
//! Every resource answers GET and POST alike. The administrative tree is the same as the public one, as clients send
//! there what changes a service.

use haversack_model::CollectionId;

use super::answer::Answer;
use super::call::Call;
use super::problem::{Problem, Result};
use super::route::Path;
use super::{attachments, edits, extract, files, jobs, metadata, portal, query, replica, uploads};

/// Runs the operation that a path names.
pub(crate) fn dispatch(call: &Call, path: &Path) -> Result<Answer> {
    let (segments, words) = (path.segments.as_slice(), path.words());
    match words.as_slice() {
        [] | ["info" | "rest"] | ["rest", "info"] => Ok(Answer::Json(portal::info(call))),
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
        [] => metadata::catalogue(call),
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
        ["applyedits"] => edits::service::apply_edits(call, name),
        ["createreplica"] => replica::create::create(call, name),
        ["synchronizereplica"] => replica::synchronize::synchronize(call, name),
        ["unregisterreplica"] => replica::unregister(call, name),
        ["replicas"] => replica::list(call, name),
        ["replicas", id] => replica::info(call, name, id),
        ["extractchanges"] => extract::extract_changes(call, name),
        ["cleanupchangetracking"] => replica::cleanup(call, name),
        ["jobs", id] | ["jobs", id, "status"] => jobs::status(call, name, id),
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
        ["query"] => query::query(call, name, id),
        ["queryrelatedrecords"] => query::related::query(call, name, id),
        ["validatesql"] => query::validate::validate(call, name, id),
        ["applyedits"] => edits::layer::apply_edits(call, name, id),
        ["addfeatures"] => edits::layer::features_only(call, name, id, true),
        ["updatefeatures"] => edits::layer::features_only(call, name, id, false),
        ["deletefeatures"] => edits::layer::delete_features(call, name, id),
        ["calculate"] => edits::calculate::calculate(call, name, id),
        ["queryattachments"] => attachments::query(call, name, id),
        [row, rest @ ..] => match row.parse() {
            Ok(row) => feature(call, name, id, row, rest),
            Err(_not_a_row) => Err(Problem::NotFound(format!("resource '{}'", segments[0]))),
        },
    }
}

fn feature(call: &Call, name: &str, id: CollectionId, row: i64, words: &[&str]) -> Result<Answer> {
    match words {
        [] => query::one(call, name, id, row),
        ["attachments"] => attachments::list(call, name, id, row),
        ["attachments", attachment] => match attachment.parse() {
            Ok(attachment) => attachments::bytes(call, name, id, row, attachment),
            Err(_not_a_number) => Err(Problem::NotFound("this attachment".to_owned())),
        },
        ["addattachment"] => attachments::add(call, name, id, row),
        ["updateattachment"] => attachments::update(call, name, id, row),
        ["deleteattachments"] => attachments::delete(call, name, id, row),
        _ => Err(Problem::NotFound("this resource".to_owned())),
    }
}
