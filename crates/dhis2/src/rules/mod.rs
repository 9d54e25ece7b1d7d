//! Program rules, as the dialect's engine evaluates them: pure, from values to effects.
//!
//! Owns: the language of expressions, rule variables, rules and what they come to. Does not own: where rules and values are stored, and what an
//! import does with an effect (`face::tracker`). A rule that cannot be read or evaluated is passed over, and said so; it never refuses data.
//! Rule source: the dialect's rule engine, by what it documents of variables, functions and actions.

mod expression;
mod facts;
mod fault;
mod function;
mod rule;
mod value;
mod variable;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

pub(crate) use facts::{Facts, Kind, Known};
pub(crate) use rule::{Action, Deed, Effect, Rule, Ruling, Target, rule};
pub(crate) use variable::{Occurrence, Source, Subject, Variable};

/// The rules of a program, with its variables.
#[derive(Clone, Debug, Default)]
pub(crate) struct ProgramRules {
    /// In the order in which they are evaluated.
    rules: Vec<Rule>,
    variables: Vec<Variable>,
    /// Whether other events than the one at hand matter.
    looks_around: bool,
}

impl ProgramRules {
    /// Puts rules in their order.
    pub(crate) fn new(mut rules: Vec<Rule>, variables: Vec<Variable>) -> Self {
        rules.sort_by_key(|rule| (rule.priority.is_none(), rule.priority));
        let around: BTreeSet<&str> = variables
            .iter()
            .filter(|variable| variable.looks_around())
            .map(|variable| variable.name.as_str())
            .collect();
        let mut all = rules.iter();
        let looks_around = all.any(|rule| {
            rule.asks_for("event_count", &|name| {
                around.contains(name) || name == "event_count"
            })
        });
        Self {
            rules,
            variables,
            looks_around,
        }
    }
    /// Whether other events than the one at hand matter.
    pub(crate) fn looks_around(&self) -> bool {
        self.looks_around
    }
    /// What is known of the variables.
    pub(crate) fn known(&self, of: &Subject<'_>) -> BTreeMap<String, Known> {
        let variables = self.variables.iter();
        variables
            .map(|variable| (variable.name.clone(), variable.known(of)))
            .collect()
    }
    /// What they come to for an event of a stage, or for an enrollment.
    pub(crate) fn rule(
        &self,
        facts: &mut Facts<'_>,
        stage: Option<&str>,
        keeps: impl Fn(&Target) -> bool,
    ) -> Ruling {
        rule(&self.rules, facts, stage, keeps)
    }
}
