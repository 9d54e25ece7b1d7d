//! `POST metadata`: objects by type, in one transaction.
//!
//! Source: `spec/dhis2.md` 15.

use haversack_model::Right;
use haversack_model::documents::{DocumentRead, DocumentWrite, document};
use serde_json::{Map, Value, json};

use super::TYPES;
use crate::face::answer::Answer;
use crate::face::call::Call;
use crate::face::instance::{Instance, Stored, key};
use crate::face::problem::{Problem, Result};
use crate::face::sharing::{Access, MEMBERS};
use crate::face::system::User;
use crate::face::tracker::rows;
use crate::wire::pattern::TextPattern;
use crate::wire::report::Stats;
use crate::wire::{date, uid};

/// What is done with objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Strategy {
    CreateAndUpdate,
    Create,
    Update,
    Delete,
}

/// What became of the objects of a type.
#[derive(Debug, Default)]
struct TypeReport {
    stats: Stats,
    objects: Vec<Value>,
}

/// Loads metadata. With `atomicMode=ALL`, the default, one object that is refused keeps all others out.
pub(crate) fn import(call: &Call) -> Result<Answer> {
    let instance = Instance::open(call, Right::Publish)?;
    let strategy = match call.param("importStrategy").unwrap_or("CREATE_AND_UPDATE") {
        "CREATE_AND_UPDATE" | "NEW_AND_UPDATES" => Strategy::CreateAndUpdate,
        "CREATE" => Strategy::Create,
        "UPDATE" => Strategy::Update,
        "DELETE" => Strategy::Delete,
        other => {
            return Err(Problem::bad(format!(
                "the import strategy {other:?} is not known"
            )));
        }
    };
    let is_atomic = call.param("atomicMode").is_none_or(|mode| mode != "NONE");
    let only_validates = call.param("importMode") == Some("VALIDATE");
    let mut body = call.object()?;
    let mut tx = instance.store().write_documents(call.host.now())?;
    let user = User::find(&call.principal, &instance, tx.as_ref(), call.host.now())?;
    let created = commit_date(tx.as_ref(), call)?;
    let mut all = Stats::default();
    let mut reports = Vec::new();
    let mut has_errors = false;
    for name in TYPES {
        let Some(Value::Array(objects)) = body.remove(*name) else {
            continue;
        };
        let collection = instance.collection(name)?;
        let mut report = TypeReport::default();
        for (index, object) in objects.into_iter().enumerate() {
            report.stats.total += 1;
            let done = store(
                &instance,
                tx.as_mut(),
                (call, &user),
                (name, collection),
                object,
                strategy,
                &created,
            )?;
            match done {
                Ok(done) => report.stats += done,
                Err((id, code, message)) => {
                    report.stats.ignored += 1;
                    report.objects.push(
                        json!({"klass": name, "index": index, "uid": id, "errorReports": [
                        {"message": message, "errorCode": code, "mainId": id, "mainKlass": name}]}),
                    );
                }
            }
        }
        has_errors |= !report.objects.is_empty();
        all += report.stats;
        reports.push((*name, report));
    }
    let is_refused = has_errors && is_atomic;
    if is_refused {
        let total = all.total;
        all = Stats {
            ignored: total,
            total,
            ..Stats::default()
        };
    }
    if is_refused || only_validates {
        drop(tx);
    } else {
        tx.commit()?;
    }
    let reports: Vec<Value> = reports
        .into_iter()
        .map(|(name, report)| json!({"klass": name, "stats": report.stats, "objectReports": report.objects}))
        .collect();
    let status = if has_errors { "ERROR" } else { "OK" };
    let response = json!({"responseType": "ImportReport", "status": status, "stats": all, "typeReports": reports});
    let (code, message) = if has_errors {
        (
            409,
            "One or more errors occurred, please see full details in import report.",
        )
    } else {
        (200, "Import was successful.")
    };
    Ok(Answer::message(
        code,
        message,
        &json!({"status": status, "stats": all, "typeReports": reports_of(&response), "response": response}),
    ))
}

/// Below 2.38 the report stood at the top; some clients still look there.
fn reports_of(response: &Value) -> Value {
    response["typeReports"].clone()
}

/// Why an object was refused: its uid, a code, a sentence.
pub(super) type Refusal = (String, &'static str, String);

/// The date of the commit that a transaction will be.
pub(super) fn commit_date(tx: &dyn DocumentRead, call: &Call) -> Result<String> {
    Ok(date::format(rows::commit_time(tx, call.host.now())?))
}

/// Stores or deletes one object.
pub(super) fn store(
    instance: &Instance,
    tx: &mut dyn DocumentWrite,
    (call, user): (&Call, &User),
    (name, collection): (&str, haversack_model::CollectionId),
    object: Value,
    strategy: Strategy,
    created: &str,
) -> Result<std::result::Result<Stats, Refusal>> {
    let Value::Object(mut members) = object else {
        return Ok(Err((
            String::new(),
            "E3000",
            "an object is needed".to_owned(),
        )));
    };
    let id = match members.get("id") {
        None | Some(Value::Null)
            if matches!(strategy, Strategy::Create | Strategy::CreateAndUpdate) =>
        {
            uid::from_random(call.host.fresh_uuid().as_u128())
        }
        Some(Value::String(id)) => id.clone(),
        _ => String::new(),
    };
    if !uid::is_uid(&id) {
        return Ok(Err((
            id.clone(),
            "E4014",
            format!("Invalid UID `{id}` for property `id`"),
        )));
    }
    let found = tx.record(collection, &key(&id))?;
    let refused = match (strategy, found.is_some()) {
        (Strategy::Create, true) => Some(("E5003", format!("{name} `{id}` exists"))),
        (Strategy::Update | Strategy::Delete, false) => Some((
            "E5001",
            format!("No matching object for reference `{id}` of {name}"),
        )),
        _ => None,
    };
    if let Some((code, message)) = refused {
        return Ok(Err((id, code, message)));
    }
    let known = found.as_ref().map(Stored::read).transpose()?;
    let kept = known.as_ref().filter(|known| {
        let access = Access::of(&known.members);
        !access.may_change(user)
    });
    if kept.is_some() {
        return Ok(Err((id.clone(), "E3001", unshared(user, name, &id))));
    }
    if strategy == Strategy::Delete {
        tx.delete(collection, &key(&id), None)?;
        return Ok(Ok(Stats {
            deleted: 1,
            ..Stats::default()
        }));
    }
    members.insert("id".to_owned(), json!(id));
    if name == "organisationUnits" {
        place(instance, tx, &id, &mut members)?;
    }
    if let Some(message) = unusable(name, &members) {
        return Ok(Err((id, "E4000", message)));
    }
    let first = known
        .as_ref()
        .and_then(|known| known.members.get("created").cloned());
    members.insert(
        "created".to_owned(),
        first.unwrap_or_else(|| json!(created)),
    );
    // Told from the commit, and never stored.
    members.shift_remove("lastUpdated");
    // An object that comes without sharing says nothing of it, and opens nothing: `sharing` as null does.
    if let Some(known) = &known
        && !MEMBERS.iter().any(|member| members.contains_key(*member))
    {
        for member in MEMBERS {
            let kept = known.members.get(member).cloned();
            members.extend(kept.map(|kept| (member.to_owned(), kept)));
        }
    }
    // Told of who asks, by the sharing.
    if Access::of(&members).is_shared() {
        members.shift_remove("access");
    }
    let is_same = known.is_some_and(|known| known.members == members);
    if !is_same {
        tx.put(
            collection,
            &document(&id, Value::Object(members).to_string()),
            None,
        )?;
    }
    Ok(Ok(if found.is_some() {
        Stats {
            updated: 1,
            ..Stats::default()
        }
    } else {
        Stats {
            created: 1,
            ..Stats::default()
        }
    }))
}

/// What is said to who may not change an object by its sharing.
pub(super) fn unshared(user: &User, name: &str, id: &str) -> String {
    format!(
        "User `{}` is not allowed to update {name} `{id}`",
        user.name()
    )
}

/// Tells the path and the level of an organisation unit from its parent, if they are not given.
fn place(
    instance: &Instance,
    tx: &dyn DocumentRead,
    id: &str,
    members: &mut Map<String, Value>,
) -> Result<()> {
    let is_given = |name: &str| members.get(name).is_some_and(|given| !given.is_null());
    let has_level = is_given("level");
    if !is_given("path") {
        let parent = members.get("parent").and_then(|parent| parent.get("id"));
        let above = match parent.and_then(Value::as_str) {
            None => String::new(),
            Some(parent) => match instance.object(tx, "organisationUnits", parent)? {
                Some(parent) => parent.text("path").to_owned(),
                // Without a path it is refused.
                None => return Ok(()),
            },
        };
        // One that would lie below itself has no place.
        if !above.split('/').any(|name| name == id) {
            members.insert("path".to_owned(), json!(format!("{above}/{id}")));
        }
    }
    let path = members.get("path").and_then(Value::as_str);
    if let Some(levels) = path.map(|path| path.matches('/').count())
        && !has_level
    {
        members.insert("level".to_owned(), json!(levels));
    }
    Ok(())
}

/// What in an object would make it fail later, where nobody would see why.
fn unusable(name: &str, members: &Map<String, Value>) -> Option<String> {
    let text = |member: &str| {
        members
            .get(member)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    match name {
        "trackedEntityAttributes" if members.get("generated") == Some(&Value::Bool(true)) => {
            TextPattern::parse(text("pattern"))
                .err()
                .map(|error| error.to_string())
        }
        "organisationUnits" => {
            let id = text("id");
            let fits = text("path").starts_with('/') && text("path").ends_with(&format!("/{id}"));
            (!fits).then(|| {
                "the path of an organisation unit begins with / and ends with its id".to_owned()
            })
        }
        _ => None,
    }
}
