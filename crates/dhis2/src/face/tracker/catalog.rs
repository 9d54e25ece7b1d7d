//! Metadata as the tracker needs it: typed, and by uid.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use haversack_model::documents::DocumentRead;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::face::instance::Instance;
use crate::face::problem::Result;
use crate::face::sharing::Access;
use crate::wire::pattern::TextPattern;

/// A reference to another object.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Ref {
    pub(crate) id: String,
}

/// A unit in the tree.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Unit {
    pub(crate) path: String,
    pub(crate) code: String,
}

/// A field of tracked entities.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Attribute {
    pub(crate) value_type: String,
    pub(crate) unique: bool,
    pub(crate) generated: bool,
    pub(crate) pattern: Option<String>,
    pub(crate) option_set: Option<Ref>,
}

impl Attribute {
    /// The pattern of its values, if they are generated.
    pub(crate) fn text_pattern(&self) -> Option<TextPattern> {
        let text = self.pattern.as_deref().filter(|_| self.generated)?;
        TextPattern::parse(text).ok()
    }
}

/// An attribute of a type or a program.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Member {
    pub(crate) mandatory: bool,
    pub(crate) tracked_entity_attribute: Ref,
}

/// A type of tracked entities.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct EntityType {
    pub(crate) tracked_entity_type_attributes: Vec<Member>,
    #[serde(flatten)]
    pub(crate) access: Access,
}

/// A program.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(
    clippy::struct_excessive_bools,
    clippy::struct_field_names,
    reason = "each is a member of the dialect"
)]
pub(crate) struct Program {
    pub(crate) name: String,
    pub(crate) program_type: String,
    pub(crate) access_level: String,
    pub(crate) only_enroll_once: bool,
    pub(crate) display_incident_date: bool,
    pub(crate) select_enrollment_dates_in_future: bool,
    pub(crate) select_incident_dates_in_future: bool,
    pub(crate) complete_events_expiry_days: u32,
    pub(crate) expiry_days: u32,
    pub(crate) expiry_period_type: String,
    pub(crate) tracked_entity_type: Option<Ref>,
    pub(crate) program_tracked_entity_attributes: Vec<Member>,
    pub(crate) organisation_units: Vec<Ref>,
    #[serde(flatten)]
    pub(crate) access: Access,
    /// The units of it, from both sides of the link.
    #[serde(skip)]
    pub(crate) units: BTreeSet<String>,
}

impl Program {
    /// Whether its events belong to enrollments.
    pub(crate) fn has_registration(&self) -> bool {
        self.program_type != "WITHOUT_REGISTRATION"
    }
    /// Whether data outside of the capture scope is open to who has it in the search scope.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.access_level.as_str(), "" | "OPEN" | "AUDITED")
    }
    /// Whether an attribute is one of it.
    pub(crate) fn has_attribute(&self, id: &str) -> bool {
        let mut all = self.program_tracked_entity_attributes.iter();
        all.any(|member| member.tracked_entity_attribute.id == id)
    }
}

/// A data element of a stage.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct StageElement {
    pub(crate) compulsory: bool,
    pub(crate) data_element: Ref,
}

/// A stage of a program.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Stage {
    pub(crate) name: String,
    pub(crate) program: Ref,
    pub(crate) repeatable: bool,
    /// When values are looked at: `ON_COMPLETE`, or always.
    pub(crate) validation_strategy: String,
    pub(crate) program_stage_data_elements: Vec<StageElement>,
    #[serde(flatten)]
    pub(crate) access: Access,
}

/// A field of events.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Element {
    pub(crate) value_type: String,
    pub(crate) option_set: Option<Ref>,
}

/// What may be on a side of a relationship.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Constraint {
    pub(crate) relationship_entity: String,
    pub(crate) tracked_entity_type: Option<Ref>,
}

/// A type of relationships.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct RelationshipType {
    pub(crate) name: String,
    pub(crate) bidirectional: bool,
    #[serde(flatten)]
    pub(crate) access: Access,
    pub(crate) from_constraint: Constraint,
    pub(crate) to_constraint: Constraint,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Choice {
    code: String,
    option_set: Option<Ref>,
}

/// The collections that it is read from.
const MADE_OF: &[&str] = &[
    "trackedEntityAttributes",
    "trackedEntityTypes",
    "programs",
    "programStages",
    "dataElements",
    "relationshipTypes",
    "organisationUnits",
    "options",
];

/// All of it.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    pub(crate) units: BTreeMap<String, Unit>,
    pub(crate) attributes: BTreeMap<String, Attribute>,
    pub(crate) types: BTreeMap<String, EntityType>,
    pub(crate) programs: BTreeMap<String, Program>,
    pub(crate) stages: BTreeMap<String, Stage>,
    pub(crate) elements: BTreeMap<String, Element>,
    pub(crate) relationship_types: BTreeMap<String, RelationshipType>,
    /// Codes by option set.
    pub(crate) options: BTreeMap<String, BTreeSet<String>>,
}

impl Catalog {
    /// What a snapshot holds.
    pub(crate) fn load(instance: &Instance, tx: &dyn DocumentRead) -> Result<Arc<Self>> {
        let kept = &instance.memory().catalog;
        kept.get(instance, tx, MADE_OF, || Self::read(instance, tx))
    }
    fn read(instance: &Instance, tx: &dyn DocumentRead) -> Result<Self> {
        let mut catalog = Self {
            attributes: typed(instance, tx, "trackedEntityAttributes")?,
            types: typed(instance, tx, "trackedEntityTypes")?,
            programs: typed(instance, tx, "programs")?,
            stages: typed(instance, tx, "programStages")?,
            elements: typed(instance, tx, "dataElements")?,
            relationship_types: typed(instance, tx, "relationshipTypes")?,
            ..Self::default()
        };
        for program in catalog.programs.values_mut() {
            program.units = program
                .organisation_units
                .iter()
                .map(|unit| unit.id.clone())
                .collect();
        }
        instance.each(tx, "organisationUnits", |unit| {
            let linked = unit.members.get("programs").and_then(Value::as_array);
            for program in linked.into_iter().flatten() {
                let id = program
                    .get("id")
                    .and_then(Value::as_str)
                    .unwrap_or_default();
                if let Some(program) = catalog.programs.get_mut(id) {
                    program.units.insert(unit.id.clone());
                }
            }
            let (path, code) = (unit.text("path").to_owned(), unit.text("code").to_owned());
            catalog.units.insert(unit.id, Unit { path, code });
            Ok(())
        })?;
        for (_, choice) in typed::<Choice>(instance, tx, "options")? {
            if let Some(set) = choice.option_set {
                catalog
                    .options
                    .entry(set.id)
                    .or_default()
                    .insert(choice.code);
            }
        }
        Ok(catalog)
    }
}

/// Objects of a type. One that cannot be read is as if it were not there, and noted in the log.
pub(crate) fn typed<T: DeserializeOwned>(
    instance: &Instance,
    tx: &dyn DocumentRead,
    name: &str,
) -> Result<BTreeMap<String, T>> {
    let mut found = BTreeMap::new();
    instance.each(tx, name, |stored| {
        match serde_json::from_value(Value::Object(stored.members)) {
            Ok(object) => {
                found.insert(stored.id, object);
            }
            Err(error) => {
                tracing::warn!(%error, name, id = stored.id, "a metadata object cannot be used");
            }
        }
        Ok(())
    })?;
    Ok(found)
}
