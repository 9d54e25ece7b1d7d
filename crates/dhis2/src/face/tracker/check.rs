//! Why an object is not taken in: the codes of `spec/dhis2.md` 7.3.

mod enrollment;
mod event;
mod relationship;
mod rules;

use haversack_model::documents::document;
use serde_json::json;

use super::catalog::{Member, Program};
use super::import::{Import, Strategy};
use super::value::misfit;
use crate::face::files::{self, Wrong};
use crate::face::instance::{Stored, key};
use crate::face::problem::Result;
use crate::face::reserve::document_of;
use crate::wire::report::Problem;
use crate::wire::tracker::{Attribute, Kind, TrackedEntity};

pub(crate) use enrollment::enrollment;
pub(crate) use event::{event, has_event};
pub(crate) use relationship::{not_tied, relationship, sees_object};
pub(crate) use rules::{rules_of_enrollment, rules_of_event};

/// Longest value of an attribute.
const MAX_VALUE: usize = 1200;

/// Why an object is refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: &'static str,
    pub(crate) message: String,
    pub(crate) attribute: Option<String>,
    pub(crate) data_element: Option<String>,
}

impl Refusal {
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            ..Self::default()
        }
    }
    /// As a report tells it of what is not stored.
    pub(crate) fn into_error(self) -> Problem {
        Problem {
            code: self.code.to_owned(),
            message: self.message,
            attribute: self.attribute,
            data_element: self.data_element,
            ..Problem::default()
        }
    }
    /// As a report tells it of what is stored all the same.
    pub(crate) fn into_warning(self) -> Problem {
        Problem {
            is_warning: true,
            ..self.into_error()
        }
    }
    fn of_attribute(mut self, id: &str) -> Self {
        self.attribute = Some(id.to_owned());
        self
    }
    fn of_element(mut self, id: &str) -> Self {
        self.data_element = Some(id.to_owned());
        self
    }
}

/// Whether what is there allows the strategy; `deleted` is that of the object that is there.
pub(crate) fn existence(
    kind: Kind,
    uid: &str,
    deleted: Option<bool>,
    strategy: Strategy,
) -> Option<Refusal> {
    let (exists, unknown, gone) = match kind {
        Kind::TrackedEntity => ("E1002", "E1063", "E1114"),
        Kind::Enrollment => ("E1080", "E1081", "E1113"),
        Kind::Event => ("E1030", "E1032", "E1082"),
        Kind::Relationship => ("E4015", "E4016", "E4017"),
    };
    let word = kind.word();
    match (deleted, strategy) {
        (Some(true), _) => Some(Refusal::new(
            gone,
            format!("{word}: `{uid}`, is already deleted and cannot be modified."),
        )),
        (Some(false), Strategy::Create) => Some(Refusal::new(
            exists,
            format!("{word}: `{uid}`, already exists."),
        )),
        (None, Strategy::Update) => Some(Refusal::new(
            unknown,
            format!("{word}: `{uid}`, does not exist."),
        )),
        _ => None,
    }
}

fn no_capture(unit: &str) -> Refusal {
    Refusal::new(
        "E1000",
        format!("User has no write access to OrganisationUnit: `{unit}`."),
    )
}

fn missing(code: &'static str, member: &str) -> Refusal {
    Refusal::new(code, format!("Missing required property: `{member}`."))
}

fn depends(kind: Kind, uid: &str, parent: Kind, parent_uid: &str) -> Refusal {
    Refusal::new(
        "E5000",
        format!(
            "{} `{uid}` cannot be created because {} `{parent_uid}` referenced by it could not be created.",
            kind.name(),
            parent.name()
        ),
    )
}

pub(crate) fn entity(
    import: &Import<'_>,
    sent: &TrackedEntity,
    known: Option<&TrackedEntity>,
) -> Result<Vec<Refusal>> {
    let catalog = import.scope.catalog;
    for (member, value) in [
        ("trackedEntityType", &sent.tracked_entity_type),
        ("orgUnit", &sent.org_unit),
    ] {
        if value.is_empty() {
            return Ok(vec![missing("E1121", member)]);
        }
    }
    let Some(of) = catalog.types.get(&sent.tracked_entity_type) else {
        return Ok(vec![Refusal::new(
            "E1005",
            format!(
                "Could not find TrackedEntityType: `{}`.",
                sent.tracked_entity_type
            ),
        )]);
    };
    if !catalog.units.contains_key(&sent.org_unit) {
        return Ok(vec![Refusal::new(
            "E1049",
            format!(
                "Could not find OrganisationUnit: `{}`, linked to Tracked Entity.",
                sent.org_unit
            ),
        )]);
    }
    let mut refusals = Vec::new();
    if !of.access.writes_data(import.scope.user) {
        refusals.push(no_type(&sent.tracked_entity_type));
    }
    if !import.scope.captures(&sent.org_unit) {
        refusals.push(no_capture(&sent.org_unit));
    }
    if let Some(known) = known {
        if known.tracked_entity_type != sent.tracked_entity_type {
            refusals.push(Refusal::new(
                "E1126",
                "Not allowed to update Tracked Entity property: trackedEntityType.",
            ));
        }
        // Whoever cannot see it cannot take it over by naming a unit of theirs.
        if !import.scope.sees(known) {
            refusals.push(Refusal::new(
                "E1324",
                format!(
                    "User has no access to TrackedEntity: `{}` in any program of its type.",
                    sent.tracked_entity
                ),
            ));
        }
    }
    attributes(
        import,
        &sent.attributes,
        &sent.tracked_entity,
        &mut refusals,
    )?;
    mandatory(
        &of.tracked_entity_type_attributes,
        "E1090",
        &[&sent.attributes],
        known,
        &mut refusals,
    );
    Ok(refusals)
}

/// Values that fit, that nobody else has, and of generated attributes ones that their pattern makes.
fn attributes(
    import: &Import<'_>,
    sent: &[Attribute],
    entity: &str,
    refusals: &mut Vec<Refusal>,
) -> Result<()> {
    for given in sent {
        let id = given.attribute.as_str();
        if id.is_empty() {
            refusals.push(Refusal::new("E1075", "Attribute: missing uid."));
            continue;
        }
        let Some(attribute) = import.scope.catalog.attributes.get(id) else {
            let refusal = Refusal::new("E1006", format!("Attribute: `{id}`, does not exist."));
            refusals.push(refusal.of_attribute(id));
            continue;
        };
        let Some(value) = given.value.as_deref() else {
            continue;
        };
        let mut refuse =
            |code, message: String| refusals.push(Refusal::new(code, message).of_attribute(id));
        if value.chars().count() > MAX_VALUE {
            refuse(
                "E1077",
                format!(
                    "Attribute: `{id}`, text value exceeded the maximum allowed length: `{MAX_VALUE}`."
                ),
            );
            continue;
        }
        if let Some(word) = misfit(&attribute.value_type, value) {
            refuse(
                "E1007",
                format!(
                    "Error validating attribute value type: `{}`; Error: `{word}`.",
                    attribute.value_type
                ),
            );
        }
        let of = (attribute.value_type.as_str(), value);
        let owner = format!("{entity}.{id}");
        match files::wrong(import.instance, import.tx, of, Some(&owner))? {
            Some(Wrong::Missing) => refuse("E1084", no_file(value)),
            Some(Wrong::Taken) => refuse("E1009", other_file(value)),
            None => {}
        }
        if let Some(set) = &attribute.option_set
            && !import
                .scope
                .catalog
                .options
                .get(&set.id)
                .is_some_and(|options| options.contains(value))
        {
            refuse(
                "E1125",
                format!(
                    "Value `{value}` is not a valid option code in option set `{}`",
                    set.id
                ),
            );
        }
        if let Some(pattern) = attribute.text_pattern()
            && !pattern.fits(value)
        {
            refuse(
                "E1008",
                format!("Value `{value}` does not match the attribute pattern of `{id}`"),
            );
        }
        if attribute.unique && owner_of(import, id, value)?.is_some_and(|owner| owner != entity) {
            refuse(
                "E1064",
                format!("Non-unique attribute value `{value}` for attribute `{id}`"),
            );
        }
    }
    Ok(())
}

fn no_file(value: &str) -> String {
    format!("File resource: `{value}`, reference could not be found.")
}

fn other_file(value: &str) -> String {
    format!("File resource: `{value}`, has already been assigned to a different object.")
}

/// Mandatory attributes are there, and are not removed.
fn mandatory(
    members: &[Member],
    code: &'static str,
    sent: &[&[Attribute]],
    known: Option<&TrackedEntity>,
    refusals: &mut Vec<Refusal>,
) {
    for member in members.iter().filter(|member| member.mandatory) {
        let id = member.tracked_entity_attribute.id.as_str();
        let given = sent
            .iter()
            .flat_map(|list| list.iter())
            .find(|attribute| attribute.attribute == id);
        let stored = known.and_then(|known| {
            known
                .attributes
                .iter()
                .find(|attribute| attribute.attribute == id)
        });
        match (given, stored) {
            (Some(given), _) if given.value.as_deref().is_none_or(str::is_empty) => {
                refusals.push(
                    Refusal::new(
                        "E1076",
                        format!("Attribute `{id}` is mandatory and cannot be null"),
                    )
                    .of_attribute(id),
                );
            }
            (None, None) => refusals.push(
                Refusal::new(code, format!("Missing mandatory attribute `{id}`.")).of_attribute(id),
            ),
            _ => {}
        }
    }
}

/// Who has a value of a unique attribute.
fn owner_of(import: &Import<'_>, attribute: &str, value: &str) -> Result<Option<String>> {
    let collection = import.instance.collection("takenValues")?;
    let found = import
        .tx
        .record(collection, &key(&document_of(attribute, value)))?;
    let found = found.as_ref().map(Stored::read).transpose()?;
    Ok(found.map(|found| found.text("trackedEntity").to_owned()))
}

/// Notes who has a value of a unique attribute.
pub(crate) fn take_value(
    import: &mut Import<'_>,
    attribute: &str,
    value: &str,
    entity: &str,
) -> Result<()> {
    if import
        .scope
        .catalog
        .attributes
        .get(attribute)
        .is_some_and(|attribute| attribute.unique)
    {
        let collection = import.instance.collection("takenValues")?;
        let row = json!({"attribute": attribute, "value": value, "trackedEntity": entity});
        import.tx.put(
            collection,
            &document(&document_of(attribute, value), row.to_string()),
            None,
        )?;
    }
    Ok(())
}

/// Gives a value of a unique attribute back.
pub(crate) fn release_value(
    import: &mut Import<'_>,
    attribute: &str,
    value: Option<&str>,
) -> Result<()> {
    if let Some(value) = value {
        let collection = import.instance.collection("takenValues")?;
        import
            .tx
            .delete(collection, &key(&document_of(attribute, value)), None)?;
    }
    Ok(())
}

fn no_type(of: &str) -> Refusal {
    let text = format!("User has no data write access to TrackedEntityType: `{of}`.");
    Refusal::new("E1001", text)
}

fn no_program(id: &str) -> Refusal {
    let text = format!("User has no data write access to Program: `{id}`.");
    Refusal::new("E1091", text)
}

pub(super) fn no_stage(id: &str) -> Refusal {
    let text = format!("User has no data write access to ProgramStage: `{id}`.");
    Refusal::new("E1095", text)
}

/// Why somebody may not delete an entity, going by its type. What a type left behind that is gone may be.
pub(super) fn not_of_type(import: &Import<'_>, of: &str) -> Option<Refusal> {
    let known = import.scope.catalog.types.get(of)?;
    (!known.access.writes_data(import.scope.user)).then(|| no_type(of))
}

/// Why somebody may not enter or delete data of a program, or of one of its stages: enrollments and events without registration go by the
/// program, events of enrollments by their stage.
pub(super) fn not_shared(
    import: &Import<'_>,
    program: &str,
    stage: Option<&str>,
) -> Option<Refusal> {
    let (user, catalog) = (import.scope.user, import.scope.catalog);
    let of = catalog.programs.get(program)?;
    match stage.filter(|_| of.has_registration()) {
        None => (!of.access.writes_data(user)).then(|| no_program(program)),
        Some(id) => {
            let stage = catalog.stages.get(id)?;
            (!stage.access.writes_data(user)).then(|| no_stage(id))
        }
    }
}

fn of_program(
    import: &Import<'_>,
    program: &Program,
    id: &str,
    unit: &str,
    refusals: &mut Vec<Refusal>,
    mismatch: &'static str,
) {
    if !program.units.contains(unit) {
        refusals.push(Refusal::new(
            mismatch,
            format!("OrganisationUnit: `{unit}`, and Program: `{id}`, don't match."),
        ));
    }
    if !import.scope.captures(unit) {
        refusals.push(no_capture(unit));
    }
}

/// Why somebody may not enter or delete what an entity has in a program: its owner there is a unit out of reach, or the program is about
/// a type that may not be read, against which broken glass helps nobody, or may not be read itself.
pub(crate) fn not_owned(
    import: &Import<'_>,
    entity: &TrackedEntity,
    program: &str,
) -> Option<Refusal> {
    let of = import.scope.catalog.programs.get(program);
    let of = of.and_then(|program| program.tracked_entity_type.as_ref());
    let is_hidden = |id: &str| {
        let of = import.scope.catalog.types.get(id);
        of.is_some_and(|of| !of.access.reads_data(import.scope.user))
    };
    if let Some(of) = of.filter(|of| is_hidden(&of.id)) {
        let text = format!(
            "User has no data read access to Program: `{program}`, TrackedEntityType: `{}`.",
            of.id
        );
        return Some(Refusal::new("E1104", text));
    }
    if !import.scope.reads_program(program) {
        let text = format!("User has no data read access to Program: `{program}`.");
        return Some(Refusal::new("E1096", text));
    }
    let has_owner = entity
        .program_owners
        .iter()
        .any(|owner| owner.program == program);
    let in_reach = if has_owner {
        import.scope.sees_in(entity, program)
    } else {
        import.scope.sees(entity)
    };
    let text = || {
        let entity = &entity.tracked_entity;
        format!(
            "User does not have access to the TrackedEntity: `{entity}`, Program: `{program}`, combination."
        )
    };
    (!in_reach).then(|| Refusal::new("E1102", text()))
}
