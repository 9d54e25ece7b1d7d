//! Rules: their conditions and actions, read once, and what they come to.

use super::expression::{Expression, Origin};
use super::facts::{Facts, Known};
use super::fault::Fault;

/// What an action does, of those that an import heeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    Error,
    Warning,
    ErrorOnComplete,
    WarningOnComplete,
    Mandatory,
    Assign,
    Schedule,
}

impl Deed {
    /// By the dialect's name; what only shows or hides is none.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "SHOWERROR" => Self::Error,
            "SHOWWARNING" => Self::Warning,
            "ERRORONCOMPLETE" => Self::ErrorOnComplete,
            "WARNINGONCOMPLETE" => Self::WarningOnComplete,
            "SETMANDATORYFIELD" => Self::Mandatory,
            "ASSIGN" => Self::Assign,
            "SCHEDULEEVENT" => Self::Schedule,
            _ => return None,
        })
    }
}

/// What an action is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Target {
    #[default]
    Nothing,
    Element(String),
    Attribute(String),
    Stage(String),
}

impl Target {
    /// The uid of what it is.
    pub(crate) fn id(&self) -> Option<&str> {
        match self {
            Self::Nothing => None,
            Self::Element(id) | Self::Attribute(id) | Self::Stage(id) => Some(id),
        }
    }
}

/// An action of a rule.
#[derive(Clone, Debug)]
pub(crate) struct Action {
    deed: Deed,
    target: Target,
    content: String,
    data: Result<Option<Expression>, Fault>,
}

impl Action {
    /// With the text of the expression of its data; empty if it has none.
    pub(crate) fn new(deed: Deed, target: Target, content: String, data: &str) -> Self {
        let data = match data.trim() {
            "" => Ok(None),
            text => Expression::parse(text).map(Some),
        };
        Self {
            deed,
            target,
            content,
            data,
        }
    }
    /// The variable that it assigns to: `#{name}` as its content, and no field.
    fn variable(&self) -> Option<&str> {
        let is_assigned = self.deed == Deed::Assign && self.target == Target::Nothing;
        let name = self.content.trim().strip_prefix("#{")?.strip_suffix('}')?;
        is_assigned.then_some(name)
    }
}

/// A rule of a program.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) id: String,
    /// The only stage for whose events it holds; such a rule says nothing of enrollments.
    pub(crate) stage: Option<String>,
    /// The lowest first, those without one at the end.
    pub(crate) priority: Option<i64>,
    condition: Result<Expression, Fault>,
    actions: Vec<Action>,
}

impl Rule {
    /// With the text of its condition; an empty one never holds.
    pub(crate) fn new(
        id: String,
        stage: Option<String>,
        priority: Option<i64>,
        condition: &str,
        actions: Vec<Action>,
    ) -> Self {
        let condition = match condition.trim() {
            "" => Ok(Expression::Bool(false)),
            text => Expression::parse(text),
        };
        Self {
            id,
            stage,
            priority,
            condition,
            actions,
        }
    }
    /// Whether it asks for one of the dialect's variables, or for a rule variable of which something holds.
    pub(crate) fn asks_for(&self, environment: &str, holds: &dyn Fn(&str) -> bool) -> bool {
        let data = self
            .actions
            .iter()
            .filter_map(|action| action.data.as_ref().ok()?.as_ref());
        let mut found = false;
        for expression in self.condition.as_ref().ok().into_iter().chain(data) {
            expression.each_variable(&mut |origin, name| {
                found |= match origin {
                    Origin::Rule => holds(name),
                    Origin::Environment => name == environment,
                    Origin::Constant => false,
                };
            });
        }
        found
    }
}

/// What a rule wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Effect {
    /// The uid of the rule.
    pub(crate) rule: String,
    pub(crate) deed: Deed,
    pub(crate) target: Target,
    pub(crate) content: String,
    /// What the expression came to; nothing if there is none, or it came to an empty text.
    pub(crate) data: Option<String>,
}

/// What rules come to for one enrollment or event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ruling {
    pub(crate) effects: Vec<Effect>,
    /// Uids of rules that were passed over, with what is wrong with them.
    pub(crate) faults: Vec<(String, Fault)>,
}

/// What rules come to, in their order; `stage` is that of an event, `keeps` says which targets the object has.
pub(crate) fn rule(
    rules: &[Rule],
    facts: &mut Facts<'_>,
    stage: Option<&str>,
    keeps: impl Fn(&Target) -> bool,
) -> Ruling {
    let mut ruling = Ruling::default();
    for rule in rules {
        let is_one = rule.stage.is_none() || rule.stage.as_deref() == stage;
        if !is_one {
            continue;
        }
        match holds(rule, facts) {
            Ok(false) => continue,
            Ok(true) => {}
            Err(fault) => {
                ruling.faults.push((rule.id.clone(), fault));
                continue;
            }
        }
        for action in rule.actions.iter().filter(|action| keeps(&action.target)) {
            match data(action, facts) {
                Err(fault) => ruling.faults.push((rule.id.clone(), fault)),
                Ok(data) => match action.variable() {
                    Some(name) => {
                        let known = Known {
                            value: data,
                            ..Known::default()
                        };
                        facts.variables.insert(name.to_owned(), known);
                    }
                    None => ruling.effects.push(Effect {
                        rule: rule.id.clone(),
                        deed: action.deed,
                        target: action.target.clone(),
                        content: action.content.clone(),
                        data,
                    }),
                },
            }
        }
    }
    ruling
}

fn holds(rule: &Rule, facts: &Facts<'_>) -> Result<bool, Fault> {
    let condition = rule.condition.as_ref().map_err(Clone::clone)?;
    Ok(facts.value(condition)?.holds())
}

fn data(action: &Action, facts: &Facts<'_>) -> Result<Option<String>, Fault> {
    let Some(data) = action.data.as_ref().map_err(Clone::clone)? else {
        return Ok(None);
    };
    let text = facts.value(data)?.to_text();
    Ok(Some(text).filter(|text| !text.is_empty()))
}
