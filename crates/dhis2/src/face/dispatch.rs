//! From a route to the one operation that answers it.

use http::Method;

use super::answer::Answer;
use super::call::Call;
use super::problem::{Problem, Result};
use super::{absent, aggregate, alias, data_store, files, metadata, reserve, system, tracker};

/// Runs the operation that a route names.
pub(crate) fn dispatch(call: &Call) -> Result<Answer> {
    let words: Vec<&str> = call.segments.iter().map(String::as_str).collect();
    let is_open = matches!(words.as_slice(), ["ping" | "loginConfig"]);
    // Who is nobody learns not even which addresses there are.
    if !is_open {
        call.require_login()?;
    }
    if let Some(sentence) = absent::why(&words) {
        return Err(Problem::absent(sentence));
    }
    match words.as_slice() {
        [
            "tracker",
            "trackedEntities",
            entity,
            "attributes",
            attribute,
            "file" | "image",
        ]
        | [
            "trackedEntityInstances",
            entity,
            attribute,
            "file" | "image",
        ] => {
            return files::of_attribute(call, entity, attribute);
        }
        [
            "tracker",
            "events",
            event,
            "dataValues",
            element,
            "file" | "image",
        ] => {
            return files::of_event(call, event, element);
        }
        ["events", "files"] => {
            let of = |name: &str| call.param(name).unwrap_or_default();
            return files::of_event(call, of("eventUid"), of("dataElementUid"));
        }
        _ => {}
    }
    if let [collection, rest @ ..] = words.as_slice()
        && let Some(kind) = tracker::old::kind_of(collection)
    {
        return tracker::old::dispatch(call, kind, rest);
    }
    match words.as_slice() {
        ["ping"] => system::ping(call),
        ["loginConfig"] => system::login_config(call),
        ["system", "info"] => system::info(call),
        ["me"] => system::me(call),
        ["me", "authorization"] => system::authorities(call),
        ["userSettings"] => system::user_settings(call),
        ["systemSettings"] => system::system_settings(call),
        ["dataStore", rest @ ..] => data_store::dispatch(call, rest),
        ["dataValueSets"] => aggregate::values::sets(call),
        ["dataValues"] => aggregate::values::one(call),
        ["dataValues", "files"] => files::of_value(call),
        ["fileResources", rest @ ..] => files::dispatch(call, rest),
        ["completeDataSetRegistrations"] => aggregate::completions::dispatch(call),
        ["metadata"] if call.method == Method::POST => metadata::write::import(call),
        ["metadata"] => metadata::read::everything(call),
        [
            "trackedEntityAttributes",
            id,
            operation @ ("generate" | "generateAndReserve" | "requiredValues"),
        ] => reserve::dispatch(call, id, operation),
        ["query", "alias", rest @ ..] => alias::dispatch(call, rest),
        ["tracker", rest @ ..] => tracker::dispatch(call, rest),
        ["categoryOptions", "orgUnits"] => metadata::special::units_of_options(call),
        ["filledOrganisationUnitLevels"] => metadata::special::filled_levels(call),
        ["identifiableObjects", id] => metadata::special::of_any_type(call, id),
        ["dataApprovals", "multiple"] => metadata::special::approvals(call),
        ["organisationUnits.geojson"] => metadata::special::outlines(call, None),
        ["organisationUnits", id] if id.ends_with(".geojson") => {
            metadata::special::outlines(call, id.strip_suffix(".geojson"))
        }
        [collection, rest @ ..] if metadata::is_type(collection) => {
            metadata::single::dispatch(call, collection, rest)
        }
        _ => Err(Problem::no_such_path()),
    }
}
