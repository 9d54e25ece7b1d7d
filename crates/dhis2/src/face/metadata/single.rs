//! Single metadata objects and the lists in them: made, replaced, patched and deleted.
//!
//! Each request is one transaction; what `POST metadata` refuses is refused here. Who moves an organisation unit moves what is below it.

use haversack_model::documents::{DocumentRead, DocumentWrite, document};
use haversack_model::{CollectionId, Right};
use http::{Method, header};
use serde_json::{Map, Value, json};

use super::write::{self, Refusal, Strategy};
use super::{patch, read};
use crate::face::answer::Answer;
use crate::face::call::Call;
use crate::face::instance::{Instance, Stored, key};
use crate::face::problem::{Problem, Result};
use crate::face::sharing::Access;
use crate::face::system::User;
use crate::wire::{json as strict, uid};

/// `POST`, `PUT`, `PATCH` and `DELETE` of `<type>` and `<type>/<uid>`; reads of both.
pub(crate) fn dispatch(call: &Call, name: &str, words: &[&str]) -> Result<Answer> {
    let is_read = call.method == Method::GET || call.method == Method::HEAD;
    match (words, &call.method) {
        ([], _) if is_read => read::list(call, name),
        ([id], _) if is_read => read::one(call, name, id),
        ([], &Method::POST) => create(call, name),
        ([id], &Method::PUT) => change(call, name, id, |members| {
            let created = members.get("created").cloned();
            *members = call.object()?;
            members.extend(created.map(|created| ("created".to_owned(), created)));
            Ok(())
        }),
        ([id], &Method::PATCH) => change(call, name, id, |members| {
            patch::apply(members, strict::parse(&call.body)?)
        }),
        ([id], &Method::DELETE) => delete(call, name, id),
        ([id, list], _) if is_read => read::inner(call, name, id, list),
        ([id, list], &Method::POST | &Method::PUT) => {
            let wanted = Wanted::of(call)?;
            change(call, name, id, |members| {
                let items = items_of(members, list)?;
                if call.method == Method::PUT {
                    items.clear();
                }
                wanted.apply(items);
                Ok(())
            })
        }
        ([id, list, item], &Method::POST | &Method::PUT | &Method::DELETE) => {
            let one = vec![uid_of(item)?];
            let (additions, deletions) = if call.method == Method::DELETE {
                (Vec::new(), one)
            } else {
                (one, Vec::new())
            };
            let wanted = Wanted {
                additions,
                deletions,
            };
            change(call, name, id, |members| {
                wanted.apply(items_of(members, list)?);
                Ok(())
            })
        }
        ([] | [_] | [_, _] | [_, _, _], _) => Err(Problem::Method),
        _ => Err(Problem::no_such_path()),
    }
}

fn uid_of(text: &str) -> Result<String> {
    if uid::is_uid(text) {
        return Ok(text.to_owned());
    }
    let shown: String = text.chars().take(40).collect();
    Err(Problem::bad(format!("{shown:?} is no UID")))
}

/// Which references of a list come and go.
struct Wanted {
    additions: Vec<String>,
    deletions: Vec<String>,
}

impl Wanted {
    /// `{"additions": [{"id"}], "deletions": [{"id"}]}`, or `{"identifiableObjects": [{"id"}]}`.
    fn of(call: &Call) -> Result<Self> {
        let mut body = call.object()?;
        let mut ids = |name: &str| -> Result<Vec<String>> {
            let list = match body.shift_remove(name) {
                None | Some(Value::Null) => Vec::new(),
                Some(Value::Array(list)) => list,
                Some(_) => return Err(Problem::bad(format!("{name} must be a list"))),
            };
            let ids = list.iter().map(|item| {
                let id = item.get("id").and_then(Value::as_str);
                uid_of(id.unwrap_or_default())
            });
            ids.collect()
        };
        let mut additions = ids("additions")?;
        additions.extend(ids("identifiableObjects")?);
        Ok(Self {
            additions,
            deletions: ids("deletions")?,
        })
    }
    fn apply(&self, items: &mut Vec<Value>) {
        let has = |item: &Value, id: &String| item.get("id").and_then(Value::as_str) == Some(id);
        items.retain(|item| !self.deletions.iter().any(|id| has(item, id)));
        for id in &self.additions {
            if !items.iter().any(|item| has(item, id)) {
                items.push(json!({ "id": id }));
            }
        }
    }
}

/// The list of references that a member is; one that is not there is empty.
fn items_of<'a>(members: &'a mut Map<String, Value>, list: &str) -> Result<&'a mut Vec<Value>> {
    if super::type_of_member(list).is_none() {
        return Err(Problem::no_such_path());
    }
    let value = members.entry(list).or_insert_with(|| json!([]));
    let items = value.as_array_mut();
    items.ok_or_else(|| Problem::bad(format!("{list} is no list")))
}

/// Tells what became of one object.
fn report(name: &str, status: u16, id: &str, refusal: Option<Refusal>) -> Answer {
    let (status, message, errors) = match refusal {
        None => (status, "", json!([])),
        Some((_, code, message)) => {
            let error =
                json!({"message": message, "errorCode": code, "mainId": id, "mainKlass": name});
            let message = "One or more errors occurred, please see full details in import report.";
            (409, message, json!([error]))
        }
    };
    let response =
        json!({"responseType": "ObjectReport", "klass": name, "uid": id, "errorReports": errors});
    Answer::message(status, message, &json!({"response": response}))
}

/// Stores the whole object by the rules of every import; tells why not, if not.
fn keep(
    (call, user): (&Call, &User),
    instance: &Instance,
    tx: &mut dyn DocumentWrite,
    of: (&str, CollectionId),
    members: Map<String, Value>,
    strategy: Strategy,
) -> Result<Option<Refusal>> {
    let created = write::commit_date(tx, call)?;
    let object = Value::Object(members);
    Ok(write::store(instance, tx, (call, user), of, object, strategy, &created)?.err())
}

fn create(call: &Call, name: &str) -> Result<Answer> {
    let instance = Instance::open(call, Right::Publish)?;
    let collection = instance.collection(name)?;
    let mut members = call.object()?;
    let given = members.get("id").and_then(Value::as_str);
    let id = given.map_or_else(
        || uid::from_random(call.host.fresh_uuid().as_u128()),
        str::to_owned,
    );
    members.insert("id".to_owned(), json!(id));
    let mut tx = instance.store().write_documents(call.host.now())?;
    let of = (name, collection);
    let user = User::find(&call.principal, &instance, tx.as_ref(), call.host.now())?;
    let refused = keep(
        (call, &user),
        &instance,
        tx.as_mut(),
        of,
        members,
        Strategy::Create,
    )?;
    if refused.is_some() {
        return Ok(report(name, 409, &id, refused));
    }
    tx.commit()?;
    let base = call.host.base_url().unwrap_or_default();
    let address = format!("{base}/api/{name}/{id}");
    Ok(report(name, 201, &id, None).with(header::LOCATION, &address))
}

/// An object that somebody may see.
fn seen(
    instance: &Instance,
    tx: &dyn DocumentRead,
    user: &User,
    name: &str,
    id: &str,
) -> Result<Stored> {
    match instance.object(tx, name, id)? {
        Some(found) if read::shows(instance, tx, user, name, &found)? => Ok(found),
        _ => Err(Problem::missing(name, id)),
    }
}

/// Changes an object that is there.
fn change(
    call: &Call,
    name: &str,
    id: &str,
    work: impl FnOnce(&mut Map<String, Value>) -> Result<()>,
) -> Result<Answer> {
    let instance = Instance::open(call, Right::Publish)?;
    let collection = instance.collection(name)?;
    let mut tx = instance.store().write_documents(call.host.now())?;
    let user = User::find(&call.principal, &instance, tx.as_ref(), call.host.now())?;
    let found = seen(&instance, tx.as_ref(), &user, name, id)?;
    let mut members = found.members.clone();
    work(&mut members)?;
    if members.get("id").is_some_and(|now| now != &json!(id)) {
        let message = format!("Property `id` of {name} cannot change");
        let refusal = (id.to_owned(), "E4014", message);
        return Ok(report(name, 409, id, Some(refusal)));
    }
    members.insert("id".to_owned(), json!(id));
    let parent =
        |members: &Map<String, Value>| members.get("parent").and_then(|it| it.get("id")).cloned();
    let has_moved = name == "organisationUnits" && parent(&members) != parent(&found.members);
    if has_moved {
        members.shift_remove("path");
        members.shift_remove("level");
    }
    let of = (name, collection);
    let refused = keep(
        (call, &user),
        &instance,
        tx.as_mut(),
        of,
        members,
        Strategy::Update,
    )?;
    if refused.is_some() {
        return Ok(report(name, 409, id, refused));
    }
    if has_moved && let Some(now) = instance.object(tx.as_ref(), name, id)? {
        move_below(&instance, tx.as_mut(), collection, found.text("path"), &now)?;
    }
    tx.commit()?;
    Ok(report(name, 200, id, None))
}

/// Gives everything below a moved unit its new path and level.
fn move_below(
    instance: &Instance,
    tx: &mut dyn DocumentWrite,
    collection: CollectionId,
    old: &str,
    now: &Stored,
) -> Result<()> {
    let mut below = Vec::new();
    let prefix = format!("{old}/");
    instance.each(tx, "organisationUnits", |unit| {
        if unit.text("path").starts_with(&prefix) {
            below.push(unit);
        }
        Ok(())
    })?;
    for mut unit in below {
        let rest = unit.text("path").strip_prefix(old).unwrap_or_default();
        let path = format!("{}{rest}", now.text("path"));
        let level = path.matches('/').count();
        unit.members.insert("path".to_owned(), json!(path));
        unit.members.insert("level".to_owned(), json!(level));
        let body = Value::Object(unit.members).to_string();
        tx.put(collection, &document(&unit.id, body), None)?;
    }
    Ok(())
}

fn delete(call: &Call, name: &str, id: &str) -> Result<Answer> {
    let instance = Instance::open(call, Right::Publish)?;
    let mut tx = instance.store().write_documents(call.host.now())?;
    let user = User::find(&call.principal, &instance, tx.as_ref(), call.host.now())?;
    let found = seen(&instance, tx.as_ref(), &user, name, id)?;
    if !Access::of(&found.members).may_change(&user) {
        let refusal = (id.to_owned(), "E3001", write::unshared(&user, name, id));
        return Ok(report(name, 409, id, Some(refusal)));
    }
    if let Some(user) = holder(&instance, tx.as_ref(), name, id)? {
        let message = format!(
            "Object could not be deleted because it is associated with another object: {user}"
        );
        let refusal = (id.to_owned(), "E4030", message);
        return Ok(report(name, 409, id, Some(refusal)));
    }
    tx.delete(instance.collection(name)?, &key(id), None)?;
    tx.commit()?;
    Ok(report(name, 200, id, None))
}

/// What would be left without its place if an organisation unit went: a unit below it.
fn holder(
    instance: &Instance,
    tx: &dyn DocumentRead,
    name: &str,
    id: &str,
) -> Result<Option<String>> {
    let mut found = None;
    if name == "organisationUnits" {
        let inner = format!("/{id}/");
        instance.each(tx, name, |unit| {
            if unit.text("path").contains(&inner) {
                found = Some(unit.id);
            }
            Ok(())
        })?;
    }
    Ok(found)
}
