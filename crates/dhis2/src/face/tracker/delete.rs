//! Deletions: the object, and what is below it, stay as tombstones with their content.
//!
//! Source: `spec/dhis2.md` 7.4 and 15.

use super::check::{Refusal, not_of_type, not_shared};
use super::import::Import;
use super::rows::{self, Object, Row};
use crate::face::problem::Result;
use crate::wire::tracker::{Enrollment, Event, Kind, Relationship, TrackedEntity};

/// A row that can be deleted, or why not.
fn find<T: Object>(import: &Import<'_>, uid: &str) -> Result<Result<Row<T>, Refusal>> {
    let (unknown, gone) = match T::KIND {
        Kind::TrackedEntity => ("E1063", "E1114"),
        Kind::Enrollment => ("E1081", "E1113"),
        Kind::Event => ("E1032", "E1082"),
        Kind::Relationship => ("E4016", "E4017"),
    };
    let word = T::KIND.word();
    let found: Option<Row<T>> = rows::load(import.instance, import.tx, uid)?;
    Ok(match found {
        None => Err(Refusal::new(
            unknown,
            format!("{word}: `{uid}`, does not exist."),
        )),
        Some(row) if row.object.is_deleted() => Err(Refusal::new(
            gone,
            format!("{word}: `{uid}`, is already deleted and cannot be modified."),
        )),
        Some(row) => Ok(row),
    })
}

fn bury<T: Object>(import: &mut Import<'_>, mut row: Row<T>) -> Result<()> {
    for tie in row.ties.clone() {
        if let Some(mut relationship) =
            rows::load::<Relationship>(import.instance, import.tx, &tie)?
            && !relationship.object.deleted
        {
            relationship.object.deleted = true;
            rows::store(
                import.instance,
                import.tx,
                relationship,
                import.scope.user.name(),
            )?;
        }
    }
    row.object.set_deleted();
    rows::store(import.instance, import.tx, row, import.scope.user.name())?;
    Ok(())
}

fn outside(unit: &str) -> Refusal {
    Refusal::new(
        "E1000",
        format!("User has no write access to OrganisationUnit: `{unit}`."),
    )
}

pub(crate) fn relationship(import: &mut Import<'_>, uid: &str) -> Result<Option<Refusal>> {
    let row: Row<Relationship> = match find(import, uid)? {
        Ok(row) => row,
        Err(refusal) => return Ok(Some(refusal)),
    };
    for side in [&row.object.from, &row.object.to] {
        let Some((kind, uid)) = side.object() else {
            continue;
        };
        if !super::check::sees_object(import, kind, uid)? {
            return Ok(Some(Refusal::new(
                "E4016",
                format!(
                    "Relationship: `{}`, does not exist.",
                    row.object.relationship
                ),
            )));
        }
    }
    if let Some(refusal) = super::check::not_tied(import, &row.object) {
        return Ok(Some(refusal));
    }
    let sides = [row.object.from.clone(), row.object.to.clone()];
    bury(import, row)?;
    for side in sides {
        if let Some((kind, uid)) = side.object() {
            rows::touch(import.instance, import.tx, kind, uid)?;
        }
    }
    Ok(None)
}

pub(crate) fn event(import: &mut Import<'_>, uid: &str) -> Result<Option<Refusal>> {
    let row: Row<Event> = match find(import, uid)? {
        Ok(row) => row,
        Err(refusal) => return Ok(Some(refusal)),
    };
    if !import.scope.captures(&row.object.org_unit) {
        return Ok(Some(outside(&row.object.org_unit)));
    }
    let (entity, program) = (&row.object.tracked_entity, &row.object.program);
    let stage = Some(row.object.program_stage.as_str());
    let refusal = not_owned(import, entity, program)?;
    if let Some(refusal) = refusal.or_else(|| not_shared(import, program, stage)) {
        return Ok(Some(refusal));
    }
    let (enrollment, entity) = (
        row.object.enrollment.clone(),
        row.object.tracked_entity.clone(),
    );
    bury(import, row)?;
    rows::touch(import.instance, import.tx, Kind::Enrollment, &enrollment)?;
    rows::touch(import.instance, import.tx, Kind::TrackedEntity, &entity)?;
    Ok(None)
}

/// Why what an entity has in a program may not be deleted, although its unit is one's own. What a program left behind that is gone may be.
fn not_owned(import: &Import<'_>, entity: &str, program: &str) -> Result<Option<Refusal>> {
    if !import.scope.catalog.programs.contains_key(program) {
        return Ok(None);
    }
    let entity: Option<Row<TrackedEntity>> = rows::load(import.instance, import.tx, entity)?;
    Ok(entity.and_then(|entity| super::check::not_owned(import, &entity.object, program)))
}

fn live_children<T: Object>(import: &Import<'_>, uids: &[String]) -> Result<Vec<Row<T>>> {
    let mut live = Vec::new();
    for uid in uids {
        if let Some(row) = rows::load::<T>(import.instance, import.tx, uid)?
            && !row.object.is_deleted()
        {
            live.push(row);
        }
    }
    Ok(live)
}

pub(crate) fn enrollment(import: &mut Import<'_>, uid: &str) -> Result<Option<Refusal>> {
    let row: Row<Enrollment> = match find(import, uid)? {
        Ok(row) => row,
        Err(refusal) => return Ok(Some(refusal)),
    };
    if !import.scope.captures(&row.object.org_unit) {
        return Ok(Some(outside(&row.object.org_unit)));
    }
    let (entity, program) = (&row.object.tracked_entity, &row.object.program);
    let refusal = not_owned(import, entity, program)?;
    if let Some(refusal) = refusal.or_else(|| not_shared(import, program, None)) {
        return Ok(Some(refusal));
    }
    let events: Vec<Row<Event>> = live_children(import, &row.children)?;
    if !events.is_empty() && !import.scope.user.may("F_ENROLLMENT_CASCADE_DELETE") {
        return Ok(Some(Refusal::new(
            "E1103",
            format!(
                "User needs authority `F_ENROLLMENT_CASCADE_DELETE` to delete Enrollment `{uid}` which has Events."
            ),
        )));
    }
    for event in events {
        bury(import, event)?;
    }
    let entity = row.object.tracked_entity.clone();
    bury(import, row)?;
    rows::touch(import.instance, import.tx, Kind::TrackedEntity, &entity)?;
    Ok(None)
}

pub(crate) fn entity(import: &mut Import<'_>, uid: &str) -> Result<Option<Refusal>> {
    let row: Row<TrackedEntity> = match find(import, uid)? {
        Ok(row) => row,
        Err(refusal) => return Ok(Some(refusal)),
    };
    if !import.scope.captures(&row.object.org_unit) {
        return Ok(Some(outside(&row.object.org_unit)));
    }
    if let Some(refusal) = not_of_type(import, &row.object.tracked_entity_type) {
        return Ok(Some(refusal));
    }
    let enrollments: Vec<Row<Enrollment>> = live_children(import, &row.children)?;
    if !enrollments.is_empty() && !import.scope.user.may("F_TEI_CASCADE_DELETE") {
        return Ok(Some(Refusal::new(
            "E1100",
            format!(
                "User needs authority `F_TEI_CASCADE_DELETE` to delete TrackedEntity `{uid}` which has Enrollments."
            ),
        )));
    }
    for enrollment in enrollments {
        for event in live_children::<Event>(import, &enrollment.children)? {
            bury(import, event)?;
        }
        bury(import, enrollment)?;
    }
    for attribute in row.object.attributes.clone() {
        super::check::release_value(import, &attribute.attribute, attribute.value.as_deref())?;
    }
    bury(import, row)?;
    Ok(None)
}
