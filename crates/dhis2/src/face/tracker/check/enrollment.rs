//! Why an enrollment is not taken in.

use super::{Refusal, attributes, depends, mandatory, missing, not_owned, not_shared, of_program};
use crate::face::problem::Result;
use crate::face::tracker::catalog::Program;
use crate::face::tracker::import::Import;
use crate::face::tracker::rows::{self, Row};
use crate::wire::date;
use crate::wire::tracker::{Enrollment, Kind, TrackedEntity};

pub(crate) fn enrollment(
    import: &Import<'_>,
    sent: &Enrollment,
    known: Option<&Enrollment>,
    parent: Option<&Row<TrackedEntity>>,
) -> Result<Vec<Refusal>> {
    let catalog = import.scope.catalog;
    for (member, value) in [
        ("program", &sent.program),
        ("orgUnit", &sent.org_unit),
        ("trackedEntity", &sent.tracked_entity),
    ] {
        if value.is_empty() {
            return Ok(vec![missing("E1122", member)]);
        }
    }
    if import.is_rejected(Kind::TrackedEntity, &sent.tracked_entity) {
        return Ok(vec![depends(
            Kind::Enrollment,
            &sent.enrollment,
            Kind::TrackedEntity,
            &sent.tracked_entity,
        )]);
    }
    let Some(parent) = parent.filter(|parent| !parent.object.deleted) else {
        return Ok(vec![Refusal::new(
            "E1068",
            format!(
                "Could not find TrackedEntity: `{}`, linked to Enrollment.",
                sent.tracked_entity
            ),
        )]);
    };
    let Some(program) = catalog.programs.get(&sent.program) else {
        return Ok(vec![Refusal::new(
            "E1069",
            format!(
                "Could not find Program: `{}`, linked to Enrollment.",
                sent.program
            ),
        )]);
    };
    if !catalog.units.contains_key(&sent.org_unit) {
        return Ok(vec![Refusal::new(
            "E1070",
            format!(
                "Could not find OrganisationUnit: `{}`, linked to Enrollment.",
                sent.org_unit
            ),
        )]);
    }
    let mut refusals = Vec::new();
    if !program.has_registration() {
        refusals.push(Refusal::new(
            "E1014",
            format!(
                "Provided Program: `{}`, is a Program without registration.",
                sent.program
            ),
        ));
    }
    if program
        .tracked_entity_type
        .as_ref()
        .is_some_and(|of| of.id != parent.object.tracked_entity_type)
    {
        refusals.push(Refusal::new(
            "E1022",
            format!(
                "TrackedEntity: `{}`, must have same TrackedEntityType as Program `{}`.",
                sent.tracked_entity, sent.program
            ),
        ));
    }
    refusals.extend(not_shared(import, &sent.program, None));
    of_program(
        import,
        program,
        &sent.program,
        &sent.org_unit,
        &mut refusals,
        "E1041",
    );
    refusals.extend(not_owned(import, &parent.object, &sent.program));
    if let Some(known) = known {
        for (member, now, then) in [
            ("program", &sent.program, &known.program),
            ("trackedEntity", &sent.tracked_entity, &known.tracked_entity),
        ] {
            if now != then {
                refusals.push(Refusal::new(
                    "E1127",
                    format!("Not allowed to update Enrollment property: {member}."),
                ));
            }
        }
    }
    enrollment_dates(import, sent, program, &mut refusals);
    if !matches!(
        sent.status.as_str(),
        "" | "ACTIVE" | "COMPLETED" | "CANCELLED"
    ) {
        refusals.push(Refusal::new(
            "E1052",
            format!(
                "Enrollment: `{}`, status `{}` is not valid.",
                sent.enrollment, sent.status
            ),
        ));
    }
    if sent.status != "CANCELLED" {
        others(import, sent, program, parent, &mut refusals)?;
    }
    for attribute in &sent.attributes {
        if catalog.attributes.contains_key(&attribute.attribute)
            && !program.has_attribute(&attribute.attribute)
        {
            let refusal = Refusal::new(
                "E1019",
                format!(
                    "Only Program attributes are allowed for Enrollment; Non valid attribute: `{}`.",
                    attribute.attribute
                ),
            );
            refusals.push(refusal.of_attribute(&attribute.attribute));
        }
    }
    attributes(
        import,
        &sent.attributes,
        &sent.tracked_entity,
        &mut refusals,
    )?;
    mandatory(
        &program.program_tracked_entity_attributes,
        "E1018",
        &[&sent.attributes],
        Some(&parent.object),
        &mut refusals,
    );
    Ok(refusals)
}

fn enrollment_dates(
    import: &Import<'_>,
    sent: &Enrollment,
    program: &Program,
    refusals: &mut Vec<Refusal>,
) {
    // A device's clock may be a day ahead of ours, in another zone.
    let is_future =
        |text: &str| date::parse(text).is_some_and(|at| at.0 > import.now.0 + 86_400_000);
    match date::parse(&sent.enrolled_at) {
        None => refusals.push(Refusal::new(
            "E1025",
            "Property enrolledAt is null or no date.",
        )),
        Some(_) if is_future(&sent.enrolled_at) && !program.select_enrollment_dates_in_future => {
            refusals.push(Refusal::new(
                "E1020",
                format!(
                    "Enrollment date: `{}`, cannot be a future date.",
                    sent.enrolled_at
                ),
            ));
        }
        Some(_) => {}
    }
    if sent.occurred_at.is_empty() {
        if program.display_incident_date {
            refusals.push(Refusal::new(
                "E1023",
                "Property occurredAt is null or no date.",
            ));
        }
    } else if date::parse(&sent.occurred_at).is_none() {
        refusals.push(Refusal::new(
            "E1023",
            "Property occurredAt is null or no date.",
        ));
    } else if is_future(&sent.occurred_at) && !program.select_incident_dates_in_future {
        refusals.push(Refusal::new(
            "E1021",
            format!(
                "Incident date: `{}`, cannot be a future date.",
                sent.occurred_at
            ),
        ));
    }
}

fn others(
    import: &Import<'_>,
    sent: &Enrollment,
    program: &Program,
    parent: &Row<TrackedEntity>,
    refusals: &mut Vec<Refusal>,
) -> Result<()> {
    for uid in &parent.children {
        let Some(other) = rows::load::<Enrollment>(import.instance, import.tx, uid)? else {
            continue;
        };
        let other = other.object;
        let is_itself = other.enrollment == sent.enrollment;
        if other.deleted
            || is_itself
            || other.program != sent.program
            || other.status == "CANCELLED"
        {
            continue;
        }
        let (entity, id) = (&sent.tracked_entity, &sent.program);
        if program.only_enroll_once {
            refusals.push(Refusal::new("E1016", format!("TrackedEntity: `{entity}`, already has an enrollment in Program: `{id}`, and this program only allows enrolling one time.")));
            break;
        }
        if other.status == "ACTIVE" && matches!(sent.status.as_str(), "" | "ACTIVE") {
            refusals.push(Refusal::new(
                "E1015",
                format!(
                    "TrackedEntity: `{entity}`, already has an active Enrollment in Program `{id}`."
                ),
            ));
            break;
        }
    }
    Ok(())
}
