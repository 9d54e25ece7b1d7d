//! Which unit owns a tracked entity in a program: handing over, and breaking the glass.
//!
//! Whoever may search a protected program's entity may see it for three hours after giving a reason; the reason is kept. Source: `spec/dhis2.md` 5.4.

use haversack_model::documents::{DocumentWrite, document};
use haversack_model::{GlobalId, Right, Timestamp};
use http::Method;
use serde_json::{Value, json};

use super::catalog::Catalog;
use super::rows::{self, Row};
use super::scope::Scope;
use super::{missing, select};
use crate::face::answer::Answer;
use crate::face::call::Call;
use crate::face::instance::{Instance, key};
use crate::face::problem::{Problem, Result};
use crate::face::reserve::document_of;
use crate::face::system::User;
use crate::wire::date;
use crate::wire::tracker::{Kind, TrackedEntity};

/// Where broken glass is kept.
pub(crate) const BROKEN: &str = "temporaryOwners";
/// For how long it stays broken.
const LASTS_MS: i64 = 3 * 3_600_000;

/// `tracker/ownership/override` and `tracker/ownership/transfer`.
pub(super) fn dispatch(call: &Call, operation: &str) -> Result<Answer> {
    let instance = Instance::open(call, Right::Edit)?;
    let mut tx = instance.store().write_documents(call.host.now())?;
    let user = User::find(&call.principal, &instance, &*tx, call.host.now())?;
    let catalog = Catalog::load(&instance, &*tx)?;
    let scope = Scope {
        user: &user,
        catalog: &catalog,
    };
    let uid = select::uids(call, &["trackedEntity", "trackedEntityInstance"])?
        .into_iter()
        .next();
    let uid = uid.ok_or_else(|| Problem::bad("trackedEntity is needed"))?;
    let program =
        select::one_uid(call, "program")?.ok_or_else(|| Problem::bad("program is needed"))?;
    let row: Option<Row<TrackedEntity>> = rows::load(&instance, &*tx, &uid)?;
    let row = row.filter(|row| {
        !row.object.deleted && (scope.sees(&row.object) || scope.sees_in(&row.object, &program))
    });
    let row = row.ok_or_else(|| missing(Kind::TrackedEntity, &uid))?;
    let message = match (&call.method, operation) {
        (&Method::POST, "override") => {
            break_glass(call, &instance, tx.as_mut(), &scope, &row.object, &program)?;
            "Temporary Ownership granted"
        }
        (&Method::PUT, "transfer") => {
            transfer(call, &instance, tx.as_mut(), &scope, row, &program)?;
            "Ownership transferred"
        }
        (_, "override" | "transfer") => return Err(Problem::Method),
        _ => return Err(Problem::no_such_path()),
    };
    tx.commit()?;
    Ok(Answer::message(200, message, &Value::Null))
}

fn break_glass(
    call: &Call,
    instance: &Instance,
    tx: &mut dyn DocumentWrite,
    scope: &Scope<'_>,
    entity: &TrackedEntity,
    program: &str,
) -> Result<()> {
    let reason = call
        .param("reason")
        .map(str::trim)
        .filter(|reason| !reason.is_empty());
    let reason = reason.ok_or_else(|| Problem::bad("reason is needed"))?;
    let owner = entity
        .program_owners
        .iter()
        .find(|owner| owner.program == program);
    let known = scope
        .catalog
        .programs
        .get(program)
        .filter(|program| program.access.reads_data(scope.user));
    let (Some(owner), Some(known)) = (owner, known) else {
        return Err(missing(Kind::TrackedEntity, &entity.tracked_entity));
    };
    if known.access_level == "CLOSED" && !scope.captures(&owner.org_unit) {
        return Err(Problem::forbidden("PROGRAM_ACCESS_CLOSED"));
    }
    if !scope.searches(&owner.org_unit) {
        return Err(Problem::forbidden("OWNERSHIP_ACCESS_DENIED"));
    }
    let now = call.host.now();
    let collection = instance.collection(BROKEN)?;
    let mut stale: Vec<GlobalId> = Vec::new();
    instance.each(tx, BROKEN, |broken| {
        if date::parse(broken.text("until")).is_none_or(|until| until <= now) {
            stale.push(key(&broken.id));
        }
        Ok(())
    })?;
    for id in stale {
        tx.delete(collection, &id, None)?;
    }
    let broken = json!({"user": call.principal.name, "trackedEntity": entity.tracked_entity, "program": program, "reason": reason,
        "created": date::format(now), "until": date::format(Timestamp(now.0 + LASTS_MS))});
    let id = document_of(
        &entity.tracked_entity,
        &format!("{program} {}", call.principal.name),
    );
    tx.put(collection, &document(&id, broken.to_string()), None)?;
    Ok(())
}

fn transfer(
    call: &Call,
    instance: &Instance,
    tx: &mut dyn DocumentWrite,
    scope: &Scope<'_>,
    mut row: Row<TrackedEntity>,
    program: &str,
) -> Result<()> {
    let unit = select::uids(call, &["orgUnit", "ou"])?.into_iter().next();
    let unit = unit.ok_or_else(|| Problem::bad("orgUnit is needed"))?;
    if !scope.reads_program(program) {
        return Err(missing(Kind::TrackedEntity, &row.object.tracked_entity));
    }
    if !scope
        .catalog
        .programs
        .get(program)
        .is_some_and(|program| program.units.contains(&unit))
    {
        return Err(Problem::Conflict(format!(
            "the organisation unit {unit} is not one of program {program}"
        )));
    }
    let uid = row.object.tracked_entity.clone();
    let owner = row
        .object
        .program_owners
        .iter_mut()
        .find(|owner| owner.program == program);
    let owner = owner.ok_or_else(|| missing(Kind::TrackedEntity, &uid))?;
    if !scope.captures(&owner.org_unit) {
        return Err(Problem::forbidden("OWNERSHIP_ACCESS_DENIED"));
    }
    owner.org_unit = unit;
    rows::store(instance, tx, row, scope.user.name())?;
    Ok(())
}
