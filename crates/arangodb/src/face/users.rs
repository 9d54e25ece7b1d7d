//! Users and what they may do with databases. Grants are for whole databases: `rw`, `ro` or `none`. Source: `spec/arangodb.md` 10.

use haversack_model::host::Users;
use haversack_model::{Principal, Right};
use http::Method;
use serde_json::{Map, Value, json};

use super::answer::Answer;
use super::call::Call;
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
            if let Some(password) = call.object()?.get("passwd").and_then(Value::as_str) {
                book.set_password(user, password)?;
            }
            Ok(Answer::ok(200, told(user)))
        }
        (&Method::DELETE, [user]) => {
            require(book, user)?;
            book.remove(user)?;
            Ok(Answer::ok(202, json!({})))
        }
        (&Method::GET, [user, "database"]) => {
            require(book, user)?;
            let names = call.host().service_names();
            let all = names
                .iter()
                .map(|name| (name.clone(), Value::from(level(call, book, user, name))));
            Ok(Answer::ok(
                200,
                json!({"result": all.collect::<Map<_, _>>()}),
            ))
        }
        (&Method::GET, [user, "database", name]) => {
            require(book, user)?;
            Ok(Answer::ok(
                200,
                json!({"result": level(call, book, user, name)}),
            ))
        }
        (&Method::PUT, [user, "database", name]) => {
            require(book, user)?;
            let body = call.object()?;
            let rights = match body.get("grant").and_then(Value::as_str) {
                Some("rw") => READ_WRITE,
                Some("ro") => &[Right::Read],
                Some("none") => &[],
                _ => return Err(Problem::bad_parameter("'grant' must be rw, ro or none")),
            };
            book.grant(user, name, rights)?;
            Ok(Answer::ok(200, json!({(*name): body["grant"]})))
        }
        (&Method::DELETE, [user, "database", name]) => {
            require(book, user)?;
            book.revoke(user, name)?;
            Ok(Answer::ok(202, json!({})))
        }
        (_, [_, "database", _, _]) => Err(Problem::told(
            ErrorNum::NotImplemented,
            "grants are for whole databases here",
        )),
        _ => Err(Problem::of(ErrorNum::HttpMethodNotAllowed)),
    }
}

/// What `rw` stands for.
const READ_WRITE: &[Right] = &[
    Right::Read,
    Right::Edit,
    Right::Sync,
    Right::Extract,
    Right::Publish,
];

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

fn create(book: &dyn Users, body: &Map<String, Value>) -> Result<String> {
    let text = |names: [&str; 2]| names.iter().find_map(|name| body.get(*name)?.as_str());
    let name =
        text(["user", "username"]).ok_or_else(|| Problem::bad_parameter("'user' is needed"))?;
    let password = text(["passwd", "password"]).unwrap_or_default();
    if require(book, name).is_ok() {
        return Err(Problem::of(ErrorNum::UserDuplicate));
    }
    book.add(name, password)?;
    Ok(name.to_owned())
}

/// Lets a user work with a new database; one who does not exist yet is made.
pub(crate) fn add_to_database(
    call: &Call,
    body: &Map<String, Value>,
    database: &str,
) -> Result<()> {
    let book = book(call)?;
    let known = body.get("username").and_then(Value::as_str);
    let name = match known {
        Some(name) if require(book, name).is_ok() => name.to_owned(),
        _ => create(book, body)?,
    };
    Ok(book.grant(&name, database, READ_WRITE)?)
}

/// What a user may do with a database.
fn level(call: &Call, book: &dyn Users, user: &str, database: &str) -> &'static str {
    let is_admin = book.list().is_ok_and(|users| {
        users
            .iter()
            .any(|known| known.is_admin && known.name.eq_ignore_ascii_case(user))
    });
    let principal = Principal {
        name: user.to_owned(),
        is_admin,
    };
    let access = call.host().access(&principal, database);
    if access.allows(Right::Edit) {
        "rw"
    } else if access.allows(Right::Read) {
        "ro"
    } else {
        "none"
    }
}
