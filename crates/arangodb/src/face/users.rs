//! Users. What they may do is in [`super::grants`]. Source: `spec/arangodb.md` 10.

use haversack_model::host::Users;
use http::Method;
use serde_json::{Map, Value, json};

use super::answer::Answer;
use super::call::Call;
use super::grants;
use super::problem::{Problem, Result};
use crate::wire::errors::ErrorNum;

/// `/_api/user` and what is below it.
pub(crate) fn dispatch(call: &Call, words: &[&str]) -> Result<Answer> {
    call.require_login()?;
    let is_self = words
        .first()
        .is_some_and(|user| *user == call.principal.name);
    if !(is_self && call.method == Method::GET) {
        call.require_admin()?;
    }
    let book = book(call)?;
    match (&call.method, words) {
        (&Method::GET, []) => {
            let users = book.list()?;
            let users = users.iter().map(|user| told(&user.name));
            Ok(Answer::ok(
                200,
                json!({"result": users.collect::<Vec<_>>()}),
            ))
        }
        (&Method::POST, []) => {
            let body = call.object()?;
            let name = create(book, &body)?;
            Ok(Answer::ok(201, told(&name)))
        }
        (&Method::GET, [user]) => {
            require(book, user)?;
            Ok(Answer::ok(200, told(user)))
        }
        (&Method::PUT | &Method::PATCH, [user]) => {
            require(book, user)?;
            let body = call.object()?;
            require_active(&body)?;
            if let Some(password) = body.get("passwd").and_then(Value::as_str) {
                book.set_password(user, password)?;
            }
            Ok(Answer::ok(200, told(user)))
        }
        (&Method::DELETE, [user]) => {
            require(book, user)?;
            book.remove(user)?;
            Ok(Answer::ok(202, json!({})))
        }
        (_, [user, "database", rest @ ..]) => {
            require(book, user)?;
            grants::dispatch(call, book, user, rest)
        }
        _ => Err(Problem::of(ErrorNum::HttpMethodNotAllowed)),
    }
}

fn book(call: &Call) -> Result<&dyn Users> {
    call.host()
        .users()
        .ok_or_else(|| Problem::of(ErrorNum::NotImplemented))
}

fn told(user: &str) -> Value {
    json!({"user": user, "active": true, "extra": {}})
}

fn require(book: &dyn Users, user: &str) -> Result<()> {
    let is_known = book
        .list()?
        .iter()
        .any(|known| known.name.eq_ignore_ascii_case(user));
    if is_known {
        return Ok(());
    }
    Err(Problem::of(ErrorNum::UserNotFound))
}

/// Whoever is to be kept out must not be let in because this server does not know how.
fn require_active(body: &Map<String, Value>) -> Result<()> {
    if body.get("active") == Some(&Value::Bool(false)) {
        return Err(Problem::told(
            ErrorNum::NotImplemented,
            "users that are not active are not kept here: change the password, or remove the user",
        ));
    }
    Ok(())
}

fn create(book: &dyn Users, body: &Map<String, Value>) -> Result<String> {
    let text = |names: [&str; 2]| names.iter().find_map(|name| body.get(*name)?.as_str());
    let name =
        text(["user", "username"]).ok_or_else(|| Problem::bad_parameter("'user' is needed"))?;
    let password = text(["passwd", "password"]).unwrap_or_default();
    if require(book, name).is_ok() {
        return Err(Problem::of(ErrorNum::UserDuplicate));
    }
    require_active(body)?;
    book.add(name, password)?;
    Ok(name.to_owned())
}

/// The user whom a body names; one who does not exist yet is made.
pub(crate) fn found_or_made<'a>(
    call: &'a Call,
    body: &Map<String, Value>,
) -> Result<(&'a dyn Users, String)> {
    let book = book(call)?;
    let known = body.get("username").and_then(Value::as_str);
    let name = match known {
        Some(name) if require(book, name).is_ok() => name.to_owned(),
        _ => create(book, body)?,
    };
    Ok((book, name))
}
