//! Databases: services of this server. Source: `spec/arangodb.md` 10.

use haversack_model::{Right, Service};
use http::Method;
use serde_json::{Map, Value, json};

use super::answer::Answer;
use super::call::Call;
use super::grants;
use super::problem::{Problem, Result};
use super::route::SYSTEM;
use crate::wire::errors::ErrorNum;

/// `/_api/database` and what is below it.
pub(crate) fn dispatch(call: &Call, words: &[&str]) -> Result<Answer> {
    match (&call.method, words) {
        (&Method::GET, []) => {
            call.require_admin()?;
            call.require_system()?;
            let mut names = call.host().service_names();
            if !names.iter().any(|name| name == SYSTEM) {
                names.insert(0, SYSTEM.to_owned());
            }
            Ok(Answer::ok(200, json!({"result": names})))
        }
        (&Method::GET, ["user"]) => {
            call.require_login()?;
            let mut names = call.host().service_names();
            if !names.iter().any(|name| name == SYSTEM) {
                names.insert(0, SYSTEM.to_owned());
            }
            names.retain(|name| {
                call.host()
                    .access(&call.principal, name)
                    .allows(Right::Read)
            });
            Ok(Answer::ok(200, json!({"result": names})))
        }
        (&Method::GET, ["current"]) => {
            let opened = call.open(Right::Read)?;
            let result = json!({
                "id": opened.name, "name": opened.name, "path": "", "isSystem": opened.name == SYSTEM,
            });
            Ok(Answer::ok(200, json!({"result": result})))
        }
        (&Method::POST, []) => create(call),
        (&Method::DELETE, [name]) => remove(call, name),
        (_, [] | [_]) => Err(Problem::of(ErrorNum::HttpMethodNotAllowed)),
        _ => Err(Problem::of(ErrorNum::HttpNotFound)),
    }
}

fn create(call: &Call) -> Result<Answer> {
    call.require_admin()?;
    call.require_system()?;
    let body = call.object()?;
    let name = body.get("name").and_then(Value::as_str).unwrap_or_default();
    let fits = (1..=64).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if !fits {
        return Err(Problem::of(ErrorNum::DatabaseName));
    }
    let known = call.host().service_names();
    if known.iter().any(|known| known.eq_ignore_ascii_case(name)) {
        return Err(Problem::of(ErrorNum::DuplicateName));
    }
    call.host().create_service(&Service::of_documents(name))?;
    for user in body
        .get("users")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let empty = Map::new();
        grants::add_to_database(call, user.as_object().unwrap_or(&empty), name)?;
    }
    Ok(Answer::ok(201, json!({"result": true})))
}

fn remove(call: &Call, name: &str) -> Result<Answer> {
    call.require_admin()?;
    call.require_system()?;
    if name == SYSTEM {
        return Err(Problem::told(
            ErrorNum::Forbidden,
            "the system database cannot be removed",
        ));
    }
    let found = call.host().documents(name);
    let found = found.filter(|_| {
        call.host()
            .service_names()
            .iter()
            .any(|known| known == name)
    });
    let store = found.ok_or_else(|| Problem::of(ErrorNum::DatabaseNotFound))?;
    let service = store.read_documents()?.service()?;
    if service.layers_and_tables().next().is_some() {
        return Err(Problem::told(
            ErrorNum::Forbidden,
            "this database is a feature service with layers or tables, which this protocol does not remove",
        ));
    }
    drop(store);
    if !call.host().remove_service(name)? {
        return Err(Problem::of(ErrorNum::DatabaseNotFound));
    }
    Ok(Answer::ok(200, json!({"result": true})))
}
