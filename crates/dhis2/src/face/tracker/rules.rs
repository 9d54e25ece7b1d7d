//! The program rules of the instance, read from its metadata into what [`crate::rules`] evaluates: once for as long as nothing of them changes.
//!
//! Variables and actions are objects of their own, or whole ones within their program or rule, as copies of other servers have them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use haversack_model::documents::DocumentRead;
use serde::Deserialize;
use serde_json::Value;

use super::catalog::{Catalog, Ref, typed};
use crate::face::instance::Instance;
use crate::face::problem::Result;
use crate::rules::{Action, Deed, Kind, ProgramRules, Rule, Source, Target, Variable};

/// The collections that they are read from.
const MADE_OF: &[&str] = &[
    "programRules",
    "programRuleActions",
    "programRuleVariables",
    "programs",
    "constants",
    "dataElements",
    "trackedEntityAttributes",
    "options",
    "organisationUnits",
    "organisationUnitGroups",
];

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RuleRow {
    condition: Option<String>,
    priority: Option<i64>,
    program: Option<Ref>,
    program_stage: Option<Ref>,
    program_rule_actions: Option<Vec<ActionRow>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ActionRow {
    id: String,
    program_rule_action_type: Option<String>,
    data: Option<String>,
    content: Option<String>,
    data_element: Option<Ref>,
    tracked_entity_attribute: Option<Ref>,
    program_stage: Option<Ref>,
    program_rule: Option<Ref>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct VariableRow {
    name: String,
    program: Option<Ref>,
    program_rule_variable_source_type: Option<String>,
    data_element: Option<Ref>,
    tracked_entity_attribute: Option<Ref>,
    program_stage: Option<Ref>,
    constant: Option<Ref>,
    use_code_for_option_set: Option<bool>,
    value_type: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ProgramRow {
    program_rule_variables: Option<Vec<VariableRow>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct OptionRow {
    code: String,
    name: String,
    option_set: Option<Ref>,
}

/// The rules of all programs that have some.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    by_program: BTreeMap<String, ProgramRules>,
    /// By their uids.
    pub(super) constants: BTreeMap<String, String>,
    /// Units of groups, by the uids and the codes of these.
    pub(super) groups: BTreeMap<String, BTreeSet<String>>,
}

impl Rules {
    /// What a snapshot holds; nothing if no program has a rule.
    pub(super) fn load(
        instance: &Instance,
        tx: &dyn DocumentRead,
        catalog: &Catalog,
    ) -> Result<Option<Arc<Self>>> {
        let kept = &instance.memory().rules;
        let rules = kept.get(instance, tx, MADE_OF, || Self::read(instance, tx, catalog))?;
        Ok((!rules.by_program.is_empty()).then_some(rules))
    }
    /// Those of a program.
    pub(super) fn of(&self, program: &str) -> Option<&ProgramRules> {
        self.by_program.get(program)
    }

    fn read(instance: &Instance, tx: &dyn DocumentRead, catalog: &Catalog) -> Result<Self> {
        let rows = typed::<RuleRow>(instance, tx, "programRules")?;
        let mut rules = Self::default();
        if rows.is_empty() {
            return Ok(rules);
        }
        for (id, constant) in typed::<BTreeMap<String, Value>>(instance, tx, "constants")? {
            let value = constant.get("value").map(|value| match value {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            });
            rules.constants.extend(value.map(|value| (id, value)));
        }
        rules.read_groups(instance, tx)?;
        let mut actions: BTreeMap<String, ActionRow> = typed(instance, tx, "programRuleActions")?;
        for (id, action) in &mut actions {
            action.id.clone_from(id);
        }
        let mut variables = rules.variables(instance, tx, catalog)?;
        let mut by_program: BTreeMap<String, Vec<Rule>> = BTreeMap::new();
        for (id, row) in rows {
            let program = row.program.as_ref().map(|program| program.id.clone());
            let rule = rule(&id, &row, &actions);
            by_program
                .entry(program.unwrap_or_default())
                .or_default()
                .push(rule);
        }
        for (program, rows) in by_program {
            let variables = variables.remove(&program).unwrap_or_default();
            rules
                .by_program
                .insert(program, ProgramRules::new(rows, variables));
        }
        Ok(rules)
    }

    /// Groups know their units, and units their groups.
    fn read_groups(&mut self, instance: &Instance, tx: &dyn DocumentRead) -> Result<()> {
        let ids = |value: Option<&Value>| -> Vec<String> {
            let all = value.and_then(Value::as_array).into_iter().flatten();
            let ids = all.filter_map(|one| one.get("id").and_then(Value::as_str));
            ids.map(str::to_owned).collect()
        };
        let mut units: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        instance.each(tx, "organisationUnits", |unit| {
            for group in ids(unit.members.get("organisationUnitGroups")) {
                units.entry(group).or_default().insert(unit.id.clone());
            }
            Ok(())
        })?;
        instance.each(tx, "organisationUnitGroups", |group| {
            let of = units.entry(group.id.clone()).or_default();
            of.extend(ids(group.members.get("organisationUnits")));
            let code = group.text("code");
            if !code.is_empty() {
                self.groups.insert(code.to_owned(), of.clone());
            }
            Ok(())
        })?;
        self.groups.extend(units);
        Ok(())
    }

    /// Variables by their programs.
    fn variables(
        &self,
        instance: &Instance,
        tx: &dyn DocumentRead,
        catalog: &Catalog,
    ) -> Result<BTreeMap<String, Vec<Variable>>> {
        let mut options: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        for (_, option) in typed::<OptionRow>(instance, tx, "options")? {
            if let Some(set) = option.option_set {
                let of = options.entry(set.id).or_default();
                of.insert(option.code, option.name);
            }
        }
        let mut found: BTreeMap<String, Vec<Variable>> = BTreeMap::new();
        for (program, row) in typed::<ProgramRow>(instance, tx, "programs")? {
            let rows = row.program_rule_variables.into_iter().flatten();
            let read = rows.filter_map(|row| self.variable(row, catalog, &options));
            found.entry(program).or_default().extend(read);
        }
        for (_, row) in typed::<VariableRow>(instance, tx, "programRuleVariables")? {
            let program = row.program.as_ref().map(|program| program.id.clone());
            let read = self.variable(row, catalog, &options);
            found
                .entry(program.unwrap_or_default())
                .or_default()
                .extend(read);
        }
        Ok(found)
    }

    /// A variable; one that stands for its object alone, or that nothing says where it comes from, is none.
    fn variable(
        &self,
        row: VariableRow,
        catalog: &Catalog,
        options: &BTreeMap<String, BTreeMap<String, String>>,
    ) -> Option<Variable> {
        let id = |of: &Option<Ref>| of.as_ref().map(|of| of.id.clone());
        let element = || id(&row.data_element);
        let source = match row.program_rule_variable_source_type.as_deref()? {
            "DATAELEMENT_CURRENT_EVENT" => Source::Current(element()?),
            "DATAELEMENT_NEWEST_EVENT_PROGRAM" => Source::Newest {
                element: element()?,
                stage: None,
            },
            "DATAELEMENT_NEWEST_EVENT_PROGRAM_STAGE" => Source::Newest {
                element: element()?,
                stage: Some(id(&row.program_stage)?),
            },
            "DATAELEMENT_PREVIOUS_EVENT" => Source::Previous(element()?),
            "TEI_ATTRIBUTE" => Source::Attribute(id(&row.tracked_entity_attribute)?),
            "CALCULATED_VALUE" => Source::Calculated,
            "CONSTANT" => Source::Constant(self.constants.get(&id(&row.constant)?)?.clone()),
            _ => return None,
        };
        let (value_type, set) = match &source {
            Source::Current(id) | Source::Previous(id) | Source::Newest { element: id, .. } => {
                let element = catalog.elements.get(id);
                element.map(|of| (of.value_type.clone(), of.option_set.clone()))
            }
            Source::Attribute(id) => {
                let attribute = catalog.attributes.get(id);
                attribute.map(|of| (of.value_type.clone(), of.option_set.clone()))
            }
            Source::Constant(_) => Some(("NUMBER".to_owned(), None)),
            Source::Calculated => None,
        }
        .unwrap_or_else(|| (row.value_type.clone().unwrap_or_default(), None));
        let set = set.filter(|_| row.use_code_for_option_set != Some(true));
        let options = set.and_then(|set| options.get(&set.id)).cloned();
        Some(Variable {
            name: row.name,
            source,
            // The name of an option is a text, whatever its code is.
            kind: if options.is_some() {
                Kind::Text
            } else {
                Kind::of(&value_type)
            },
            options: options.unwrap_or_default(),
        })
    }
}

fn rule(id: &str, row: &RuleRow, actions: &BTreeMap<String, ActionRow>) -> Rule {
    // Whole ones in the rule, those that it names, and those that name it.
    let mut own: BTreeMap<&str, &ActionRow> = BTreeMap::new();
    let mut unnamed = Vec::new();
    for action in row.program_rule_actions.iter().flatten() {
        let whole = match &action.program_rule_action_type {
            Some(_) => Some(action),
            None => actions.get(&action.id),
        };
        match whole {
            Some(whole) if action.id.is_empty() => unnamed.push(whole),
            Some(whole) => {
                own.insert(&action.id, whole);
            }
            None => {}
        }
    }
    let naming = actions.values().filter(|action| {
        let of = action.program_rule.as_ref();
        of.is_some_and(|of| of.id == id)
    });
    for action in naming {
        own.entry(&action.id).or_insert(action);
    }
    let all = own.into_values().chain(unnamed);
    Rule::new(
        id.to_owned(),
        row.program_stage.as_ref().map(|stage| stage.id.clone()),
        row.priority,
        row.condition.as_deref().unwrap_or_default(),
        all.filter_map(action).collect(),
    )
}

/// An action that an import heeds.
fn action(row: &ActionRow) -> Option<Action> {
    let deed = Deed::named(row.program_rule_action_type.as_deref()?)?;
    let id = |of: &Option<Ref>| of.as_ref().map(|of| of.id.clone());
    let target = if deed == Deed::Schedule {
        id(&row.program_stage).map(Target::Stage)
    } else {
        let attribute = || id(&row.tracked_entity_attribute).map(Target::Attribute);
        id(&row.data_element)
            .map(Target::Element)
            .or_else(attribute)
    };
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    Some(Action::new(
        deed,
        target.unwrap_or_default(),
        text(&row.content),
        &text(&row.data),
    ))
}
