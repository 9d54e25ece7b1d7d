//! Exports of enrollments: one, and lists of them.

use serde_json::Value;

use super::read::{Reader, reading};
use super::rows::{self, Row};
use super::select::{self, Units, Window};
use super::{list, missing};
use crate::face::call::Call;
use crate::face::problem::{Problem, Result};
use crate::wire::date;
use crate::wire::tracker::{Enrollment, Kind, TrackedEntity};

/// What is told of enrollments if the client does not say.
const FIELDS: &str = "*,!relationships,!events,!attributes";

/// An enrollment that whoever asks may see, with its tracked entity.
fn seen(
    reader: &Reader<'_>,
    row: Row<Enrollment>,
) -> Result<Option<(Row<Enrollment>, TrackedEntity)>> {
    let entity =
        rows::load::<TrackedEntity>(reader.instance, reader.tx, &row.object.tracked_entity)?;
    let entity = entity.map(|entity| entity.object);
    let entity = entity.filter(|entity| reader.scope.sees_in(entity, &row.object.program));
    Ok(entity.map(|entity| (row, entity)))
}

/// `GET tracker/enrollments/<uid>`.
pub(crate) fn one(call: &Call, uid: &str) -> Result<Value> {
    reading(call, FIELDS, |reader| {
        let none = || missing(Kind::Enrollment, uid);
        let row: Row<Enrollment> = reader.load(uid)?.ok_or_else(none)?;
        let (row, entity) = seen(reader, row)?.ok_or_else(none)?;
        reader.project(&reader.whole_enrollment(row, &entity)?)
    })
}

/// `GET tracker/enrollments`.
pub(crate) fn many(call: &Call) -> Result<Value> {
    reading(call, FIELDS, |reader| {
        let units = Units::of(call, &reader.scope)?;
        let uids = select::uids(call, &["enrollments", "enrollment"])?;
        let program = select::one_uid(call, "program")?;
        if let Some(program) = &program
            && !reader.scope.catalog.programs.contains_key(program)
        {
            return Err(Problem::bad(format!(
                "Program is specified but does not exist: {program}"
            )));
        }
        let of = select::one_uid(call, "trackedEntity")?;
        let of_type = select::one_uid(call, "trackedEntityType")?;
        let status = ["status", "enrollmentStatus", "programStatus"];
        let status = status.iter().find_map(|name| call.param(name));
        let follow_up = call.param("followUp").map(|text| text == "true");
        let time =
            |new, old| -> Result<_> { Ok(select::time(call, new)?.or(select::time(call, old)?)) };
        let after = time("enrolledAfter", "enrollmentEnrolledAfter")?;
        let before = time("enrolledBefore", "enrollmentEnrolledBefore")?;
        let wants = |row: Row<Enrollment>| -> Result<_> {
            let one = &row.object;
            let enrolled = date::parse(&one.enrolled_at);
            let is_one = (reader.with_deleted || !one.deleted)
                && program
                    .as_ref()
                    .is_none_or(|program| *program == one.program)
                && of.as_ref().is_none_or(|of| *of == one.tracked_entity)
                && status.is_none_or(|status| status == one.status)
                && follow_up.is_none_or(|flag| flag == one.follow_up)
                && after.is_none_or(|at| enrolled.is_some_and(|enrolled| enrolled >= at))
                && before.is_none_or(|at| enrolled.is_some_and(|enrolled| enrolled <= at));
            if !is_one {
                return Ok(None);
            }
            let found = seen(reader, row)?;
            Ok(found.filter(|(row, entity)| {
                let mut owners = entity.program_owners.iter();
                let owner = owners.find(|owner| owner.program == row.object.program);
                of_type
                    .as_ref()
                    .is_none_or(|of| *of == entity.tracked_entity_type)
                    && owner.is_some_and(|owner| units.holds(&reader.scope, &owner.org_unit))
            }))
        };
        let mut page = Vec::new();
        let mut put = |(row, entity): (Row<Enrollment>, TrackedEntity)| {
            page.push(reader.project(&reader.whole_enrollment(row, &entity)?)?);
            Ok(())
        };
        let window = if uids.is_empty() {
            let wants = |found: &_| wants(rows::read(found)?);
            list::pages(call, (reader.instance, reader.tx), wants, put)?
        } else {
            let mut window = Window::of(call)?;
            for uid in &uids {
                if let Some(row) = reader.load(uid)?
                    && let Some(found) = wants(row)?
                    && window.takes()
                {
                    put(found)?;
                }
            }
            window
        };
        Ok(window.answer("enrollments", &page))
    })
}
