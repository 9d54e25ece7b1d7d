//! What is asked of metadata in ways of its own: units of category options, levels and outlines of units, approvals, objects of any
//! type.

use std::collections::BTreeMap;

use haversack_model::Right;
use serde_json::{Map, Value, json};

use crate::face::answer::Answer;
use crate::face::call::Call;
use crate::face::instance::{Instance, Stored};
use crate::face::problem::{Problem, Result};
use crate::face::system::User;
use crate::wire::uid;

use super::TYPES;
use super::read::{self, shows};

/// `GET categoryOptions/orgUnits?categoryOptions=a,b`: the units of each; none where an option is for all of them.
pub(crate) fn units_of_options(call: &Call) -> Result<Answer> {
    call.require_get()?;
    let instance = Instance::open(call, Right::Read)?;
    let tx = instance.store().read_documents()?;
    let user = User::find(&call.principal, &instance, tx.as_ref(), call.host.now())?;
    let mut told: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    let asked = call.params("categoryOptions");
    for id in asked
        .flat_map(|text| text.split(','))
        .filter(|id| !id.is_empty())
    {
        if !uid::is_uid(id) {
            return Err(Problem::bad("categoryOptions must be valid UIDs"));
        }
        if let Some(option) = instance.object(tx.as_ref(), "categoryOptions", id)?
            && shows(&instance, tx.as_ref(), &user, "categoryOptions", &option)?
        {
            let units = option.members.get("organisationUnits");
            let units = units.and_then(Value::as_array).into_iter().flatten();
            let units = units.filter_map(|unit| unit.get("id").cloned());
            told.insert(id.to_owned(), units.collect());
        }
    }
    Ok(Answer::json(200, json!(told)))
}

/// `GET dataApprovals/multiple`: an instance without approval workflows has no approvals.
pub(crate) fn approvals(call: &Call) -> Result<Answer> {
    call.require_get()?;
    Instance::open(call, Right::Read)?;
    Ok(Answer::json(200, json!([])))
}

/// `GET identifiableObjects/<uid>`: an object whose type is not known.
pub(crate) fn of_any_type(call: &Call, id: &str) -> Result<Answer> {
    call.require_get()?;
    let found = {
        let instance = Instance::open(call, Right::Read)?;
        let tx = instance.store().read_documents()?;
        let mut found = None;
        for of in TYPES {
            if instance.object(tx.as_ref(), of, id)?.is_some() {
                found = Some(*of);
                break;
            }
        }
        found
    };
    let of = found.ok_or_else(|| Problem::missing("identifiableObjects", id))?;
    read::one(call, of, id)
}

/// `GET filledOrganisationUnitLevels`: a level for each depth that there are units of, named where somebody did.
pub(crate) fn filled_levels(call: &Call) -> Result<Answer> {
    call.require_get()?;
    let instance = Instance::open(call, Right::Read)?;
    let tx = instance.store().read_documents()?;
    let level_of = |object: &Stored| object.members.get("level").and_then(Value::as_u64);
    let mut levels: BTreeMap<u64, Value> = BTreeMap::new();
    instance.each(tx.as_ref(), "organisationUnits", |unit| {
        if let Some(level) = level_of(&unit) {
            let unnamed = || json!({"name": format!("Level {level}"), "level": level});
            levels.entry(level).or_insert_with(unnamed);
        }
        Ok(())
    })?;
    instance.each(tx.as_ref(), "organisationUnitLevels", |named| {
        if let Some(told) = level_of(&named).and_then(|level| levels.get_mut(&level)) {
            *told = Value::Object(named.members);
        }
        Ok(())
    })?;
    Ok(Answer::json(200, levels.into_values().collect()))
}

/// `GET organisationUnits.geojson?level&parent` and `organisationUnits/<uid>.geojson`.
pub(crate) fn outlines(call: &Call, id: Option<&str>) -> Result<Answer> {
    call.require_get()?;
    let instance = Instance::open(call, Right::Read)?;
    let tx = instance.store().read_documents()?;
    let body = if let Some(id) = id {
        let unit = instance.object(tx.as_ref(), "organisationUnits", id)?;
        feature(&unit.ok_or_else(|| Problem::missing("organisationUnits", id))?)
    } else {
        let levels = call.params("level").flat_map(|text| text.split(','));
        let levels = levels.map(|level| {
            let level: Result<u64, _> = level.parse();
            level.map_err(|_no_number| Problem::bad("level must be a number"))
        });
        let levels: Vec<u64> = levels.collect::<Result<_>>()?;
        let parents: Vec<String> = call.params("parent").map(|id| format!("/{id}/")).collect();
        let mut features = Vec::new();
        instance.each(tx.as_ref(), "organisationUnits", |unit| {
            let level = unit.members.get("level").and_then(Value::as_u64);
            let path = unit.text("path");
            let is_one = (levels.is_empty() || level.is_some_and(|level| levels.contains(&level)))
                && (parents.is_empty() || parents.iter().any(|parent| path.contains(parent)));
            if is_one && unit.members.get("geometry").is_some_and(Value::is_object) {
                features.push(feature(&unit));
            }
            Ok(())
        })?;
        json!({"type": "FeatureCollection", "features": features})
    };
    Ok(Answer::text(
        200,
        "application/json+geojson;charset=UTF-8",
        body.to_string(),
    ))
}

fn feature(unit: &Stored) -> Value {
    let mut properties = Map::new();
    for (name, member) in [("code", "code"), ("name", "name"), ("level", "level")] {
        if let Some(value) = unit.members.get(member) {
            properties.insert(name.to_owned(), value.clone());
        }
    }
    let parent = unit
        .members
        .get("parent")
        .and_then(|parent| parent.get("id"));
    properties.insert("parent".to_owned(), parent.cloned().unwrap_or_default());
    let path: Vec<&str> = unit
        .text("path")
        .split('/')
        .filter(|id| !id.is_empty())
        .collect();
    let above = path.len().saturating_sub(1);
    properties.insert("parentGraph".to_owned(), json!(path[..above].join("/")));
    let geometry = unit.members.get("geometry").cloned().unwrap_or_default();
    json!({"type": "Feature", "id": unit.id, "geometry": geometry, "properties": properties})
}
