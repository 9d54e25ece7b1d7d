//! What users may do with databases and collections: `rw`, `ro` or `none`.
//!
//! A collection's own level holds before the one that is granted of all collections (`*`) of its database, that before the one of all
//! collections of all databases, and that before the database's. Collections of the system go with their database. Who may not read a
//! database gets nothing of its collections. Whoever administers the server may do everything. Source: `spec/arangodb.md` 10.

use haversack_model::host::Users;
use haversack_model::{Access, CollectionId, Filter, Level, Principal, Right, Service};
use http::Method;
use serde_json::{Map, Value, json};

use super::answer::Answer;
use super::call::{Call, Opened};
use super::problem::{Problem, Result};
use super::users;
use crate::known;
use crate::wire::errors::ErrorNum;
use crate::wire::key;

/// What stands for all databases, or for all collections.
const ALL: &str = "*";
/// No collection has this number: it has the level of all that are not named.
pub(crate) const UNNAMED: CollectionId = CollectionId(u32::MAX);

/// What `rw` of a database stands for.
pub(crate) const READ_WRITE: &[Right] = &[
    Right::Read,
    Right::Edit,
    Right::Sync,
    Right::Extract,
    Right::Publish,
];

/// `/_api/user/<user>/database` and what is below it, for a user who is there.
pub(crate) fn dispatch(
    call: &Call,
    book: &dyn Users,
    user: &str,
    words: &[&str],
) -> Result<Answer> {
    match (&call.method, words) {
        (&Method::GET, []) if call.flag("full", false) => all_configured(call, book, user),
        (&Method::GET, []) => all(call, book, user),
        (&Method::GET, [database]) => {
            let level = if call.flag("configured", false) {
                configured(book, user, database)?
            } else {
                of_database(&access(call, book, user, database)?)
            };
            Ok(Answer::ok(200, json!({"result": level})))
        }
        (&Method::GET, [database, collection]) => {
            let level = if call.flag("configured", false) {
                let (id, levels) = (
                    find(call, database, collection)?,
                    book.levels(user, database)?,
                );
                configured_of(&levels, id)
            } else {
                effective(call, book, user, (database, collection))?
            };
            Ok(Answer::ok(200, json!({"result": level})))
        }
        (&Method::PUT, [database]) => {
            let (rights, word) = match grant(call)? {
                (Level::Write, word) => (READ_WRITE, word),
                (Level::Read, word) => (&[Right::Read][..], word),
                (Level::None, word) => (&[][..], word),
            };
            book.grant(user, database, rights)?;
            Ok(Answer::ok(200, json!({(*database): word})))
        }
        (&Method::PUT, [database, collection]) => {
            let (id, (level, word)) = (grantable(call, database, collection)?, grant(call)?);
            book.grant_collection(user, database, id, level)?;
            Ok(Answer::ok(
                200,
                json!({format!("{database}/{collection}"): word}),
            ))
        }
        (&Method::DELETE, [database]) => {
            book.revoke(user, database)?;
            Ok(Answer::ok(202, json!({})))
        }
        (&Method::DELETE, [database, collection]) => {
            let id = grantable(call, database, collection)?;
            book.revoke_collection(user, database, id)?;
            Ok(Answer::ok(202, json!({})))
        }
        (_, [] | [_] | [_, _]) => Err(Problem::of(ErrorNum::HttpMethodNotAllowed)),
        _ => Err(Problem::bad_parameter("the path goes on too far")),
    }
}

/// The body of a grant.
fn grant(call: &Call) -> Result<(Level, &'static str)> {
    let body = call.object()?;
    match body.get("grant").and_then(Value::as_str) {
        Some("rw") => Ok((Level::Write, "rw")),
        Some("ro") => Ok((Level::Read, "ro")),
        Some("none") => Ok((Level::None, "none")),
        _ => Err(Problem::bad_parameter("'grant' must be rw, ro or none")),
    }
}

fn word(level: Level) -> &'static str {
    match level {
        Level::None => "none",
        Level::Read => "ro",
        Level::Write => "rw",
    }
}

fn service(call: &Call, database: &str) -> Result<Option<Service>> {
    let store = call.host().documents(database);
    Ok(match store {
        Some(store) => Some(store.read_documents()?.service()?),
        None => None,
    })
}

/// A collection, or `None` for all of them.
fn grantable(call: &Call, database: &str, collection: &str) -> Result<Option<CollectionId>> {
    if database == ALL {
        return match collection {
            ALL => Ok(None),
            _ => Err(Problem::bad_parameter(
                "of all databases ('*') only all collections ('*') can be granted; name the database",
            )),
        };
    }
    let service = service(call, database)?;
    let service = service.ok_or_else(|| Problem::of(ErrorNum::DatabaseNotFound))?;
    if collection == ALL {
        return Ok(None);
    }
    if key::is_system(collection) {
        return Err(Problem::told(
            ErrorNum::BadParameter,
            "collections of the system go with their database and are not granted",
        ));
    }
    let found = known::find(&service, collection);
    let found = found.ok_or_else(|| Problem::of(ErrorNum::CollectionNotFound))?;
    Ok(Some(found.id))
}

/// The number of a collection, if there is one of this name.
fn find(call: &Call, database: &str, collection: &str) -> Result<Option<CollectionId>> {
    let service = service(call, database)?;
    let found = service.and_then(|service| Some(known::find(&service, collection)?.id));
    Ok(found.or((collection != ALL).then_some(UNNAMED)))
}

/// What a user may do with a database and its collections.
fn access(call: &Call, book: &dyn Users, user: &str, database: &str) -> Result<Access> {
    let is_admin = book
        .list()?
        .iter()
        .any(|known| known.is_admin && known.name.eq_ignore_ascii_case(user));
    let principal = Principal {
        name: user.to_owned(),
        is_admin,
    };
    Ok(call.host().access(&principal, database))
}

fn of_database(access: &Access) -> &'static str {
    if access.allows(Right::Edit) {
        "rw"
    } else if access.allows(Right::Read) {
        "ro"
    } else {
        "none"
    }
}

/// What a user may do with a collection.
fn effective(
    call: &Call,
    book: &dyn Users,
    user: &str,
    (database, collection): (&str, &str),
) -> Result<&'static str> {
    let access = access(call, book, user, database)?;
    let found = find(call, database, collection)?;
    if key::is_system(collection) && found == Some(UNNAMED) {
        return Ok(of_database(&access));
    }
    let id = found.unwrap_or(UNNAMED);
    Ok(
        if !access.allows(Right::Read) || access.filter(id) != Filter::All {
            "none"
        } else if access.may_edit(id) {
            "rw"
        } else {
            "ro"
        },
    )
}

/// What a user was granted of a database, and nothing that follows from other grants.
fn configured(book: &dyn Users, user: &str, database: &str) -> Result<&'static str> {
    let rights = book.granted(user, database)?;
    Ok(rights.map_or("undefined", |rights| {
        of_database(&Access {
            rights,
            ..Access::default()
        })
    }))
}

/// The same of a collection.
fn configured_of(
    levels: &[(Option<CollectionId>, Level)],
    wanted: Option<CollectionId>,
) -> &'static str {
    let found = levels.iter().find(|(of, _)| *of == wanted);
    found.map_or("undefined", |(_, level)| word(*level))
}

/// The databases that a user may see.
fn all(call: &Call, book: &dyn Users, user: &str) -> Result<Answer> {
    let mut told = Map::new();
    for name in call.host().service_names() {
        let level = of_database(&access(call, book, user, &name)?);
        if level != "none" {
            told.insert(name, Value::from(level));
        }
    }
    Ok(Answer::ok(200, json!({"result": told})))
}

/// All databases with their collections, and what was granted of each.
fn all_configured(call: &Call, book: &dyn Users, user: &str) -> Result<Answer> {
    let mut told = Map::new();
    for name in call.host().service_names() {
        let levels = book.levels(user, &name)?;
        let mut collections = Map::new();
        for collection in service(call, &name)?.iter().flat_map(|service| {
            known::all(service).map(|one| (known::wire_name(service, one), one.id))
        }) {
            let (of, id) = collection;
            collections.insert(of, Value::from(configured_of(&levels, Some(id))));
        }
        collections.insert(ALL.to_owned(), Value::from(configured_of(&levels, None)));
        let permission = configured(book, user, &name)?;
        told.insert(
            name,
            json!({"permission": permission, "collections": collections}),
        );
    }
    let levels = book.levels(user, ALL)?;
    let permission = of_database(&access(call, book, user, ALL)?);
    let collections = json!({ALL: configured_of(&levels, None)});
    told.insert(
        ALL.to_owned(),
        json!({"permission": permission, "collections": collections}),
    );
    Ok(Answer::ok(200, json!({"result": told})))
}

/// Before a new collection counts: nobody has inherited a grant of an earlier one, and whoever makes it may write in it.
pub(crate) fn begin_collection(call: &Call, opened: &Opened, id: CollectionId) -> Result<()> {
    let Some(book) = call.host().users() else {
        return Ok(());
    };
    book.forget_collection(&opened.name, id)?;
    let of_others = opened.access.level(UNNAMED);
    if of_others.is_some_and(|level| level != Level::Write) {
        let user = &call.principal.name;
        book.grant_collection(user, &opened.name, Some(id), Level::Write)?;
    }
    Ok(())
}

/// After a collection is gone: so are the grants of it.
pub(crate) fn end_collection(call: &Call, database: &str, id: CollectionId) -> Result<()> {
    match call.host().users() {
        Some(book) => Ok(book.forget_collection(database, id)?),
        None => Ok(()),
    }
}

/// Lets a user work with a new database; one who does not exist yet is made.
pub(crate) fn add_to_database(
    call: &Call,
    body: &Map<String, Value>,
    database: &str,
) -> Result<()> {
    let (book, name) = users::found_or_made(call, body)?;
    Ok(book.grant(&name, database, READ_WRITE)?)
}
