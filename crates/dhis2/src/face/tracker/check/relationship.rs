//! Why a relationship is not taken in.

use super::{Refusal, depends, missing};
use crate::face::problem::Result;
use crate::face::tracker::import::Import;
use crate::face::tracker::rows;
use crate::wire::tracker::{Enrollment, Event, Kind, Relationship, TrackedEntity};

fn no_tie(uid: &str) -> Refusal {
    let text = format!("User has no write access to Relationship: `{uid}`.");
    Refusal::new("E4020", text)
}

/// Why somebody may not delete a relationship, going by its type.
pub(crate) fn not_tied(import: &Import<'_>, known: &Relationship) -> Option<Refusal> {
    let of = &known.relationship_type;
    let of = import.scope.catalog.relationship_types.get(of)?;
    (!of.access.writes_data(import.scope.user)).then(|| no_tie(&known.relationship))
}

pub(crate) fn relationship(import: &Import<'_>, sent: &Relationship) -> Result<Vec<Refusal>> {
    if sent.relationship_type.is_empty() {
        return Ok(vec![missing("E1124", "relationshipType")]);
    }
    let Some(of) = import
        .scope
        .catalog
        .relationship_types
        .get(&sent.relationship_type)
    else {
        return Ok(vec![Refusal::new(
            "E4006",
            format!(
                "Could not find relationship type: `{}`.",
                sent.relationship_type
            ),
        )]);
    };
    if !of.access.writes_data(import.scope.user) {
        return Ok(vec![no_tie(&sent.relationship)]);
    }
    let (Some(from), Some(to)) = (sent.from.object(), sent.to.object()) else {
        return Ok(vec![Refusal::new(
            "E4001",
            format!(
                "Relationship: `{}` must have exactly one object on each side.",
                sent.relationship
            ),
        )]);
    };
    let mut refusals = Vec::new();
    if from == to {
        refusals.push(Refusal::new(
            "E4000",
            format!(
                "Relationship: `{}` cannot link to itself.",
                sent.relationship
            ),
        ));
    }
    for ((kind, uid), constraint) in [(from, &of.from_constraint), (to, &of.to_constraint)] {
        let expected = match constraint.relationship_entity.as_str() {
            "TRACKED_ENTITY_INSTANCE" => Some(Kind::TrackedEntity),
            "PROGRAM_INSTANCE" => Some(Kind::Enrollment),
            "PROGRAM_STAGE_INSTANCE" => Some(Kind::Event),
            _ => None,
        };
        if expected.is_some_and(|expected| expected != kind) {
            refusals.push(Refusal::new(
                "E4010",
                format!(
                    "Relationship: a {} is not what its type has on this side.",
                    kind.word()
                ),
            ));
        }
        if let (Kind::TrackedEntity, Some(wanted)) = (kind, &constraint.tracked_entity_type)
            && let Some(row) = rows::load::<TrackedEntity>(import.instance, import.tx, uid)?
            && row.object.tracked_entity_type != wanted.id
        {
            refusals.push(Refusal::new(
                "E4014",
                format!(
                    "Relationship: a TrackedEntity of type `{}` is needed on this side, not of type `{}`.",
                    wanted.id, row.object.tracked_entity_type
                ),
            ));
        }
        if import.is_rejected(kind, uid) {
            refusals.push(depends(Kind::Relationship, &sent.relationship, kind, uid));
        } else if !sees_object(import, kind, uid)? {
            refusals.push(Refusal::new(
                "E4012",
                format!(
                    "Could not find `{}`: `{uid}`, linked to Relationship.",
                    kind.word()
                ),
            ));
        }
    }
    if refusals.is_empty() && is_there(import, sent, of.bidirectional, from)? {
        refusals.push(Refusal::new(
            "E4018",
            format!(
                "Relationship: `{}`, links the same two objects as another one of its type.",
                sent.relationship
            ),
        ));
    }
    Ok(refusals)
}

/// Whether a relationship of the type ties these two already; one that goes both ways also the other way round.
fn is_there(
    import: &Import<'_>,
    sent: &Relationship,
    is_bidirectional: bool,
    (kind, uid): (Kind, &str),
) -> Result<bool> {
    let (instance, tx) = (import.instance, &*import.tx);
    let ties = match kind {
        Kind::TrackedEntity => rows::load::<TrackedEntity>(instance, tx, uid)?.map(|row| row.ties),
        Kind::Enrollment => rows::load::<Enrollment>(instance, tx, uid)?.map(|row| row.ties),
        Kind::Event => rows::load::<Event>(instance, tx, uid)?.map(|row| row.ties),
        Kind::Relationship => None,
    };
    let sides = (sent.from.object(), sent.to.object());
    for tie in ties.unwrap_or_default() {
        let Some(row) = rows::load::<Relationship>(instance, tx, &tie)? else {
            continue;
        };
        let other = row.object;
        let (from, to) = (other.from.object(), other.to.object());
        let is_same = (from, to) == sides || (is_bidirectional && (to, from) == sides);
        if !other.deleted && is_same && other.relationship_type == sent.relationship_type {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether an object is there, not deleted, and may be seen.
pub(crate) fn sees_object(import: &Import<'_>, kind: Kind, uid: &str) -> Result<bool> {
    let load_entity = |uid: &str| rows::load::<TrackedEntity>(import.instance, import.tx, uid);
    Ok(match kind {
        Kind::TrackedEntity => load_entity(uid)?
            .is_some_and(|row| !row.object.deleted && import.scope.sees(&row.object)),
        Kind::Enrollment => match rows::load::<Enrollment>(import.instance, import.tx, uid)? {
            Some(row) if !row.object.deleted => {
                let entity = load_entity(&row.object.tracked_entity)?;
                entity
                    .is_some_and(|entity| import.scope.sees_in(&entity.object, &row.object.program))
            }
            _ => false,
        },
        Kind::Event => match rows::load::<Event>(import.instance, import.tx, uid)? {
            Some(row) if !row.object.deleted => {
                let entity = load_entity(&row.object.tracked_entity)?;
                import
                    .scope
                    .sees_event(&row.object, entity.as_ref().map(|entity| &entity.object))
            }
            _ => false,
        },
        Kind::Relationship => false,
    })
}
