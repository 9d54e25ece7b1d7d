//! `completeDataSetRegistrations`: who says that the values of a data set are complete for a period and a unit.

use haversack_model::Right;
use haversack_model::documents::{DocumentWrite, document};
use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Ground, Strategy, Summary, Wanted, is_deleted, stored, words};
use crate::face::answer::Answer;
use crate::face::call::Call;
use crate::face::instance::Instance;
use crate::face::problem::{Problem, Result};
use crate::wire::date;
use crate::wire::period::Period;

/// The collection.
pub(crate) const COMPLETIONS: &str = "completions";

/// A completion, as it is sent and told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Completion {
    pub(super) data_set: String,
    pub(super) period: String,
    pub(super) organisation_unit: String,
    pub(super) attribute_option_combo: String,
    /// When it was completed.
    pub(super) date: String,
    pub(super) stored_by: String,
    /// `false` takes it back.
    pub(super) completed: bool,
    pub(super) deleted: bool,
}

impl Default for Completion {
    fn default() -> Self {
        let empty = String::new;
        Self {
            data_set: empty(),
            period: empty(),
            organisation_unit: empty(),
            attribute_option_combo: empty(),
            date: empty(),
            stored_by: empty(),
            completed: true,
            deleted: false,
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Body {
    complete_data_set_registrations: Vec<Completion>,
}

/// `GET`, `POST` and `DELETE completeDataSetRegistrations`.
pub(crate) fn dispatch(call: &Call) -> Result<Answer> {
    match call.method {
        Method::POST => {
            let body: Body = serde_json::from_value(Value::Object(call.object()?))
                .map_err(|error| Problem::bad(format!("the body has no completions: {error}")))?;
            let mut all = body.complete_data_set_registrations;
            if Strategy::of(call)? == Strategy::Delete {
                all.iter_mut().for_each(|one| one.completed = false);
            }
            let is_dry = call.flag("dryRun", false);
            Ok(write(call, &all, is_dry)?.answer(is_dry))
        }
        Method::DELETE => take_back(call),
        _ => export(call),
    }
}

fn write(call: &Call, all: &[Completion], is_dry: bool) -> Result<Summary> {
    let instance = Instance::open(call, Right::Edit)?;
    let mut tx = instance.store().write_documents(call.host.now())?;
    let ground = Ground::load(call, &instance, tx.as_ref())?;
    let summary = store_all(call, &instance, tx.as_mut(), &ground, all)?;
    if !is_dry {
        tx.commit()?;
    }
    Ok(summary)
}

/// `DELETE ..?ds&pe&ou&cc&cp`: the values may change again.
fn take_back(call: &Call) -> Result<Answer> {
    let of = |name: &str| call.param(name).unwrap_or_default().to_owned();
    if call.params("cp").any(|option| !option.is_empty()) {
        return Err(Problem::bad(
            "completions by category options (cc and cp) are not kept; send attributeOptionCombo by POST with completed=false",
        ));
    }
    let mut all = Vec::new();
    for set in words(call, "ds") {
        all.push(Completion {
            data_set: set,
            period: of("pe"),
            organisation_unit: of("ou"),
            completed: false,
            ..Completion::default()
        });
    }
    if all.is_empty() {
        return Err(Problem::Conflict("ds is not named".to_owned()));
    }
    let summary = write(call, &all, false)?;
    if summary.conflicts.is_empty() {
        Ok(Answer::text(
            204,
            "application/json;charset=UTF-8",
            String::new(),
        ))
    } else {
        Ok(summary.answer(false))
    }
}

/// Stores what can be stored, within a transaction of the caller.
pub(super) fn store_all(
    call: &Call,
    instance: &Instance,
    tx: &mut dyn DocumentWrite,
    ground: &Ground,
    all: &[Completion],
) -> Result<Summary> {
    let mut summary = Summary::default();
    for (at, given) in all.iter().enumerate() {
        match refusal(ground, given) {
            Some((object, code, why)) => {
                summary.refuse(at, (object, code, format!("{object}: {why}")));
            }
            None => store(call, instance, tx, ground, given, &mut summary)?,
        }
    }
    Ok(summary)
}

fn refusal<'a>(
    ground: &Ground,
    given: &'a Completion,
) -> Option<(&'a str, &'static str, &'static str)> {
    let set = ground.sets.get(&given.data_set);
    let Some(set) = set.filter(|set| set.access.writes_data(&ground.user)) else {
        return Some((
            &given.data_set,
            "E7600",
            "there is no such data set that you may write",
        ));
    };
    let Some(period) = Period::parse(&given.period) else {
        return Some((&given.period, "E7611", "it is no period"));
    };
    if !set.period_type.is_empty() && set.period_type != period.kind() {
        return Some((
            &given.period,
            "E7611",
            "it is not of the type of its data set",
        ));
    }
    let unit = given.organisation_unit.as_str();
    if !ground.catalog.units.contains_key(unit) {
        return Some((unit, "E7612", "there is no such organisation unit"));
    }
    if !ground.captures(unit) {
        return Some((unit, "E7617", "it is outside of where you enter data"));
    }
    let combo = given.attribute_option_combo.as_str();
    if !combo.is_empty() && !ground.has_combo(combo) {
        return Some((combo, "E7615", "there is no such category option combo"));
    }
    (given.completed && !set.is_open(period, ground.today)).then_some((
        &given.period,
        "E7641",
        "it lies further ahead than its data set allows",
    ))
}

fn store(
    call: &Call,
    instance: &Instance,
    tx: &mut dyn DocumentWrite,
    ground: &Ground,
    given: &Completion,
    summary: &mut Summary,
) -> Result<()> {
    let mut now = given.clone();
    if now.attribute_option_combo.is_empty() {
        now.attribute_option_combo
            .clone_from(&ground.sets.default_combo);
    }
    now.deleted = !now.completed;
    if date::parse(&now.date).is_none() {
        now.date = ground.today.to_string();
    }
    if now.stored_by.is_empty() {
        now.stored_by.clone_from(&call.principal.name);
    }
    let id = format!(
        "{}.{}.{}.{}",
        now.data_set, now.period, now.organisation_unit, now.attribute_option_combo
    );
    let known = stored(instance, tx, COMPLETIONS, &id)?;
    let lives = known.as_ref().is_some_and(|known| !is_deleted(known));
    let body = json!(now);
    let is_same = known.is_some_and(|known| Value::Object(known.members) == body);
    match (now.deleted, lives) {
        (true, false) => summary.ignored += 1,
        _ if is_same => summary.ignored += 1,
        (true, true) => summary.deleted += 1,
        (false, true) => summary.updated += 1,
        (false, false) => summary.imported += 1,
    }
    if !is_same && (lives || !now.deleted) {
        let collection = instance.collection(COMPLETIONS)?;
        tx.put(collection, &document(&id, body.to_string()), None)?;
    }
    Ok(())
}

fn export(call: &Call) -> Result<Answer> {
    call.require_get()?;
    let instance = Instance::open(call, Right::Read)?;
    let tx = instance.store().read_documents()?;
    let ground = Ground::load(call, &instance, tx.as_ref())?;
    let wanted = Wanted::of(call, &ground)?;
    let sets: std::collections::BTreeSet<String> = words(call, "dataSet").collect();
    if sets.is_empty() {
        return Err(Problem::Conflict("name a dataSet".to_owned()));
    }
    let with_deleted = call.flag("includeDeleted", false);
    let mut told = Vec::new();
    for id in sets {
        ground.readable(&id)?;
        instance.each_with(tx.as_ref(), COMPLETIONS, &format!("{id}."), |found| {
            let unit = found.text("organisationUnit");
            if (with_deleted || !is_deleted(&found)) && wanted.has(&ground, &found, unit) {
                let mut members = found.members;
                members.insert("lastUpdated".to_owned(), date::format(found.stamp).into());
                members.remove("deleted");
                told.push(Value::Object(members));
            }
            Ok(())
        })?;
    }
    Ok(Answer::json(
        200,
        json!({"completeDataSetRegistrations": told}),
    ))
}
