//! Why an event is not taken in.

use super::{
    Refusal, depends, misfit, missing, no_capture, no_file, not_owned, not_shared, of_program,
    other_file,
};
use crate::face::files::{self, Wrong};
use crate::face::problem::Result;
use crate::face::tracker::catalog::{Program, Stage};
use crate::face::tracker::import::Import;
use crate::face::tracker::rows::{self, Row};
use crate::wire::date;
use crate::wire::period::Period;
use crate::wire::tracker::{DataValue, Enrollment, Event, Kind, TrackedEntity};

pub(crate) fn event(
    import: &Import<'_>,
    sent: &Event,
    known: Option<&Row<Event>>,
    parent: Option<&Row<Enrollment>>,
    entity: Option<&TrackedEntity>,
) -> Result<Vec<Refusal>> {
    let catalog = import.scope.catalog;
    for (member, value) in [
        ("programStage", &sent.program_stage),
        ("orgUnit", &sent.org_unit),
    ] {
        if value.is_empty() {
            return Ok(vec![missing("E1123", member)]);
        }
    }
    let Some(stage) = catalog.stages.get(&sent.program_stage) else {
        return Ok(vec![Refusal::new(
            "E1013",
            format!(
                "Could not find ProgramStage: `{}`, linked to Event.",
                sent.program_stage
            ),
        )]);
    };
    let Some(program) = catalog.programs.get(&sent.program) else {
        return Ok(vec![Refusal::new(
            "E1010",
            format!(
                "Could not find Program: `{}`, linked to Event.",
                sent.program
            ),
        )]);
    };
    if !catalog.units.contains_key(&sent.org_unit) {
        return Ok(vec![Refusal::new(
            "E1011",
            format!(
                "Could not find OrganisationUnit: `{}`, linked to Event.",
                sent.org_unit
            ),
        )]);
    }
    let mut refusals = Vec::new();
    if stage.program.id != sent.program {
        refusals.push(Refusal::new(
            "E1089",
            format!(
                "Event: `{}`, has a ProgramStage that is not of Program `{}`.",
                sent.event, sent.program
            ),
        ));
    }
    if program.has_registration() {
        if sent.enrollment.is_empty() {
            return Ok(vec![Refusal::new(
                "E1033",
                format!("Event: `{}`, Enrollment value is NULL.", sent.event),
            )]);
        }
        if import.is_rejected(Kind::Enrollment, &sent.enrollment) {
            return Ok(vec![depends(
                Kind::Event,
                &sent.event,
                Kind::Enrollment,
                &sent.enrollment,
            )]);
        }
        let Some(parent) = parent.filter(|parent| !parent.object.deleted) else {
            return Ok(vec![Refusal::new(
                "E1081",
                format!("Enrollment: `{}`, does not exist.", sent.enrollment),
            )]);
        };
        // What is damaged is told apart from what was never there.
        let Some(entity) = entity.filter(|entity| !entity.deleted) else {
            return Ok(vec![Refusal::new(
                "E1313",
                format!(
                    "Event: `{}`, the TrackedEntity `{}` of its Enrollment `{}` is not there.",
                    sent.event, parent.object.tracked_entity, sent.enrollment
                ),
            )]);
        };
        if parent.object.program != sent.program {
            refusals.push(Refusal::new("E1079", format!("Event: `{}`, Program: `{}` is different from Program defined in Enrollment `{}`.", sent.event, sent.program, sent.enrollment)));
        }
        refusals.extend(not_owned(import, entity, &sent.program));
        if known.is_none() && !stage.repeatable && has_event(import, parent, &sent.program_stage)? {
            refusals.push(Refusal::new(
                "E1039",
                format!(
                    "ProgramStage: `{}`, is not repeatable and an event already exists.",
                    sent.program_stage
                ),
            ));
        }
    } else if known.is_some_and(|known| !import.scope.captures(&known.object.org_unit)) {
        refusals.push(no_capture(&sent.org_unit));
    }
    refusals.extend(not_shared(import, &sent.program, Some(&sent.program_stage)));
    of_program(
        import,
        program,
        &sent.program,
        &sent.org_unit,
        &mut refusals,
        "E1029",
    );
    if let Some(known) = known {
        for (member, now, then) in [
            (
                "programStage",
                &sent.program_stage,
                &known.object.program_stage,
            ),
            ("enrollment", &sent.enrollment, &known.object.enrollment),
        ] {
            if now != then {
                refusals.push(Refusal::new(
                    "E1128",
                    format!("Not allowed to update Event property: {member}."),
                ));
            }
        }
    }
    event_dates(sent, &mut refusals);
    status(sent, known.map(|row| &row.object), program, &mut refusals);
    expiry(
        import,
        sent,
        known.map(|row| &row.object),
        program,
        &mut refusals,
    );
    data_values(
        import,
        sent,
        stage,
        known.map(|row| &row.object),
        &mut refusals,
    )?;
    Ok(refusals)
}

/// Whether an enrollment has an event of a stage; one that was skipped did not take place, and leaves room for another.
pub(crate) fn has_event(
    import: &Import<'_>,
    enrollment: &Row<Enrollment>,
    stage: &str,
) -> Result<bool> {
    for uid in &enrollment.children {
        let found = rows::load::<Event>(import.instance, import.tx, uid)?;
        let counts = |event: &Event| {
            !event.deleted && event.program_stage == stage && event.status != "SKIPPED"
        };
        if found.is_some_and(|row| counts(&row.object)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether events of a status hold values: those that took place do, those to come and those that did not do not.
pub(super) fn holds_values(status: &str) -> bool {
    !matches!(status, "SCHEDULE" | "OVERDUE" | "SKIPPED")
}

/// Whether an event may have its status: one that took place stays so, only events of enrollments are planned, and what is planned has no values.
/// What is there already, as older servers took it in, may stay.
fn status(sent: &Event, known: Option<&Event>, program: &Program, refusals: &mut Vec<Refusal>) {
    if holds_values(&sent.status) {
        return;
    }
    let (now, then) = (&sent.status, known.map(|known| known.status.as_str()));
    if !program.has_registration() && then.is_none_or(holds_values) {
        refusals.push(Refusal::new(
            "E1318",
            format!("Event: `{}`, status `{now}` is for events of enrollments alone, and its Program has none.", sent.event),
        ));
    } else if let Some(then) = then.filter(|then| holds_values(then)) {
        let then = if then.is_empty() { "ACTIVE" } else { then };
        refusals.push(Refusal::new(
            "E1316",
            format!(
                "Event: `{}`, cannot go from status `{then}` back to `{now}`.",
                sent.event
            ),
        ));
    }
    let stored = known.map_or(&[][..], |known| known.data_values.as_slice());
    let is_new = |given: &DataValue| {
        let same = |there: &DataValue| {
            there.data_element == given.data_element && there.value == given.value
        };
        given.value.is_some() && !stored.iter().any(same)
    };
    if sent.data_values.iter().any(is_new) {
        refusals.push(Refusal::new(
            "E1315",
            format!("Event: `{}`, status `{now}` takes no data values; those that do are ACTIVE, COMPLETED and VISITED.", sent.event),
        ));
    }
}

fn event_dates(sent: &Event, refusals: &mut Vec<Refusal>) {
    match sent.status.as_str() {
        "SCHEDULE" | "OVERDUE" | "SKIPPED" => {
            if date::parse(&sent.scheduled_at).is_none() {
                refusals.push(Refusal::new(
                    "E1050",
                    "Event ScheduledAt date is missing or no date.",
                ));
            }
        }
        "" | "ACTIVE" | "COMPLETED" | "VISITED" => {
            if date::parse(&sent.occurred_at).is_none() {
                refusals.push(Refusal::new(
                    "E1031",
                    "Event OccurredAt date is missing or no date.",
                ));
            }
        }
        other => refusals.push(Refusal::new(
            "E1052",
            format!("Event status `{other}` is not valid."),
        )),
    }
    if !sent.completed_at.is_empty() && sent.status != "COMPLETED" {
        refusals.push(Refusal::new(
            "E1051",
            "Event completedAt must be null when status is not `COMPLETED`.",
        ));
    }
}

/// Whether it is too late: so many days after the event was completed, or after the end of its period. Who may edit what has expired always may.
fn expiry(
    import: &Import<'_>,
    sent: &Event,
    known: Option<&Event>,
    program: &Program,
    refusals: &mut Vec<Refusal>,
) {
    const DAY_MS: i64 = 86_400_000;
    if import.scope.user.may("F_EDIT_EXPIRED") {
        return;
    }
    let is_past =
        |from: i64, days: u32| import.now.0 > from.saturating_add(i64::from(days) * DAY_MS);
    let completed = [Some(sent), known].into_iter().flatten();
    let completed = completed
        .map(|event| date::parse(&event.completed_at))
        .next_back();
    if let (days @ 1.., "COMPLETED", Some(Some(at))) = (
        program.complete_events_expiry_days,
        sent.status.as_str(),
        completed,
    ) && is_past(at.0, days)
    {
        refusals.push(Refusal::new(
            "E1043",
            format!("Event: `{}`, completeness date has expired. Not possible to make changes to this event.", sent.event),
        ));
    }
    let (days, kind) = (program.expiry_days, program.expiry_period_type.as_str());
    if days == 0 || kind.is_empty() {
        return;
    }
    let at = date::parse(&sent.occurred_at).or_else(|| date::parse(&sent.scheduled_at));
    let Some(at) = at else {
        refusals.push(Refusal::new(
            "E1046",
            format!(
                "Event: `{}`, needs to have at least one (event or schedule) date.",
                sent.event
            ),
        ));
        return;
    };
    let period = Period::of(kind, date::civil(at).date());
    // The last day of the period is still in it.
    let end = period.and_then(|period| date::parse(&period.end().to_string()));
    if end.is_some_and(|end| is_past(end.0 + DAY_MS, days)) {
        refusals.push(Refusal::new(
            "E1047",
            format!("Event: `{}`, date belongs to an expired period. It is not possible to create such event.", sent.event),
        ));
    }
}

fn data_values(
    import: &Import<'_>,
    sent: &Event,
    stage: &Stage,
    known: Option<&Event>,
    refusals: &mut Vec<Refusal>,
) -> Result<()> {
    let catalog = import.scope.catalog;
    for given in &sent.data_values {
        let id = given.data_element.as_str();
        let mut refuse =
            |code, message: String| refusals.push(Refusal::new(code, message).of_element(id));
        let Some(element) = catalog.elements.get(id) else {
            refuse(
                "E1304",
                format!("DataElement `{id}` is not a valid data element"),
            );
            continue;
        };
        if !stage
            .program_stage_data_elements
            .iter()
            .any(|member| member.data_element.id == id)
        {
            refuse(
                "E1305",
                format!(
                    "DataElement `{id}` is not part of `{}` program stage.",
                    sent.program_stage
                ),
            );
        }
        let Some(value) = given.value.as_deref() else {
            continue;
        };
        if let Some(word) = misfit(&element.value_type, value) {
            refuse(
                "E1302",
                format!("DataElement `{id}` is not valid: `{word}`."),
            );
        }
        let of = (element.value_type.as_str(), value);
        let owner = format!("{}.{id}", sent.event);
        match files::wrong(import.instance, import.tx, of, Some(&owner))? {
            Some(Wrong::Missing) => refuse("E1084", no_file(value)),
            Some(Wrong::Taken) => refuse("E1009", other_file(value)),
            None => {}
        }
        if let Some(set) = &element.option_set
            && !catalog
                .options
                .get(&set.id)
                .is_some_and(|options| options.contains(value))
        {
            refuse(
                "E1302",
                format!("DataElement `{id}` is not valid: `value_not_valid_option`."),
            );
        }
    }
    if sent.status != "COMPLETED" {
        return Ok(());
    }
    for member in stage
        .program_stage_data_elements
        .iter()
        .filter(|member| member.compulsory)
    {
        let id = member.data_element.id.as_str();
        let has = |event: &Event| {
            event
                .data_values
                .iter()
                .find(|value| value.data_element == id)
                .map(|value| value.value.is_some())
        };
        if !has(sent).or_else(|| known.and_then(has)).unwrap_or(false) {
            refusals.push(
                Refusal::new(
                    "E1303",
                    format!("Mandatory DataElement `{id}` is not present"),
                )
                .of_element(id),
            );
        }
    }
    Ok(())
}
