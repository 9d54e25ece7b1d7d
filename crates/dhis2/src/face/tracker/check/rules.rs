//! What program rules say of an enrollment or an event that is otherwise as it should be: errors and warnings, mandatory fields, assigned values.
//!
//! A rule that cannot be read or evaluated refuses nothing: whoever asks for warnings is told of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::event::holds_values;
use super::{Refusal, attributes, misfit};
use crate::face::problem::Result;
use crate::face::tracker::import::Import;
use crate::face::tracker::plan::{beside, note_plans, within};
use crate::face::tracker::rows::{self, Row};
use crate::face::tracker::rules::Rules;
use crate::rules::{
    Deed, Effect, Facts, Kind, Known, Occurrence, ProgramRules, Ruling, Subject, Target,
};
use crate::wire::tracker::{Attribute, DataValue, Enrollment, Event, TrackedEntity};
use crate::wire::{date, tracker};

/// A value of something by its uid.
type Values = BTreeMap<String, String>;

/// Says what the rules say of an event, and puts in what they assign.
pub(crate) fn rules_of_event(
    import: &mut Import<'_>,
    sent: &mut Event,
    known: Option<&Row<Event>>,
    (parent, entity): (Option<&Row<Enrollment>>, Option<&TrackedEntity>),
) -> Result<Vec<Refusal>> {
    let Some(rules) = import.rules.clone() else {
        return Ok(Vec::new());
    };
    let (Some(own), Some(stage)) = (
        rules.of(&sent.program),
        import.scope.catalog.stages.get(&sent.program_stage),
    ) else {
        return Ok(Vec::new());
    };
    let is_due = stage.validation_strategy != "ON_COMPLETE" || sent.status == "COMPLETED";
    if !holds_values(&sent.status) || !is_due {
        return Ok(Vec::new());
    }
    let stored = known.map(|known| known.object.data_values.as_slice());
    let stored = stored.unwrap_or_default();
    let mut values = Values::new();
    for value in stored.iter().chain(&sent.data_values) {
        set(&mut values, &value.data_element, value.value.as_deref());
    }
    let others = match parent.filter(|_| own.looks_around()) {
        Some(parent) => events_of(import, parent, &sent.event)?,
        None => Vec::new(),
    };
    let elements: BTreeSet<&str> = stage
        .program_stage_data_elements
        .iter()
        .map(|member| member.data_element.id.as_str())
        .collect();
    let current = Current {
        event: Some((sent, &values)),
        enrollment: parent.map(|parent| &parent.object),
        attributes: entity.map(values_of).unwrap_or_default(),
    };
    let ruling = current.ruling(import, (&rules, own), &others, &|target| match target {
        Target::Nothing | Target::Stage(_) => true,
        Target::Element(id) => elements.contains(id.as_str()),
        Target::Attribute(_) => false,
    });
    let is_complete = sent.status == "COMPLETED";
    let mut said = Said::of(&ruling);
    for effect in &ruling.effects {
        let Some(id) = said.hear(effect, is_complete) else {
            continue;
        };
        let given = sent
            .data_values
            .iter()
            .find(|value| value.data_element == id);
        if effect.deed == Deed::Mandatory {
            let refusal = match given {
                Some(given) if given.value.is_none() => Some(effect.refusal(
                    "E1314",
                    format!("DataElement `{id}` is mandatory and is not to be deleted"),
                )),
                _ if !values.contains_key(id) => Some(effect.refusal(
                    "E1301",
                    format!("Mandatory DataElement `{id}` is not present"),
                )),
                _ => None,
            };
            said.refusals.extend(refusal);
            continue;
        }
        let of = import.scope.catalog.elements.get(id);
        let value_type = of.map_or("", |of| of.value_type.as_str());
        let options = of.and_then(|of| of.option_set.as_ref());
        let options = options.map(|set| import.scope.catalog.options.get(&set.id));
        let fits = |value: &str| {
            misfit(value_type, value).is_none()
                && options.is_none_or(|codes| codes.is_some_and(|codes| codes.contains(value)))
        };
        let given = given.and_then(|given| given.value.as_deref());
        match assigned(effect, given, value_type, fits) {
            Assigned::Value(value) => {
                said.warnings.push(effect.refusal(
                    "E1308",
                    format!("DataElement `{id}` of the event is set to its calculated value"),
                ));
                set(&mut values, id, value.as_deref());
                if given.is_some() {
                    continue;
                }
                sent.data_values.retain(|there| there.data_element != id);
                sent.data_values.push(DataValue {
                    data_element: id.to_owned(),
                    value,
                    ..DataValue::default()
                });
            }
            Assigned::Differs => said.refusals.push(effect.refusal(
                "E1307",
                format!(
                    "DataElement `{id}` must be empty or its calculated value `{}`",
                    effect.data.as_deref().unwrap_or_default()
                ),
            )),
            Assigned::Unfit => said.warnings.push(effect.unfit(id)),
        }
    }
    if said.refusals.is_empty() {
        let of = (tracker::Kind::Event, sent.event.as_str());
        note_plans(import, of, &ruling, &beside(sent));
    }
    Ok(said.told(import))
}

/// Says what the rules say of an enrollment, and puts in what they assign.
pub(crate) fn rules_of_enrollment(
    import: &mut Import<'_>,
    sent: &mut Enrollment,
    known: Option<&Row<Enrollment>>,
    entity: &TrackedEntity,
) -> Result<Vec<Refusal>> {
    let Some(rules) = import.rules.clone() else {
        return Ok(Vec::new());
    };
    let (Some(own), Some(program)) = (
        rules.of(&sent.program),
        import.scope.catalog.programs.get(&sent.program),
    ) else {
        return Ok(Vec::new());
    };
    let mut values = values_of(entity);
    for given in &sent.attributes {
        set(&mut values, &given.attribute, given.value.as_deref());
    }
    let events = match known.filter(|_| own.looks_around()) {
        Some(known) => events_of(import, known, "")?,
        None => Vec::new(),
    };
    let current = Current {
        event: None,
        enrollment: Some(sent),
        attributes: values.clone(),
    };
    let ruling = current.ruling(import, (&rules, own), &events, &|target| match target {
        Target::Nothing | Target::Stage(_) => true,
        Target::Element(_) => false,
        Target::Attribute(id) => program.has_attribute(id),
    });
    let is_complete = sent.status == "COMPLETED";
    let mut said = Said::of(&ruling);
    for effect in &ruling.effects {
        let Some(id) = said.hear(effect, is_complete) else {
            continue;
        };
        let given = sent.attributes.iter().find(|given| given.attribute == id);
        if effect.deed == Deed::Mandatory {
            let refusal = match given {
                Some(given) if given.value.as_deref().is_none_or(str::is_empty) => {
                    Some(effect.refusal(
                        "E1317",
                        format!("Attribute `{id}` is mandatory and is not to be deleted"),
                    ))
                }
                _ if !values.contains_key(id) => Some(effect.refusal(
                    "E1306",
                    format!("Mandatory Attribute `{id}` is not present"),
                )),
                _ => None,
            };
            said.refusals.extend(refusal);
            continue;
        }
        let of = import.scope.catalog.attributes.get(id);
        let value_type = of.map_or("", |of| of.value_type.as_str());
        let new = Attribute {
            attribute: id.to_owned(),
            value: effect.data.clone(),
            ..Attribute::default()
        };
        // Also unique ones, and those that follow a pattern.
        let mut wrong = Vec::new();
        let new = [new];
        attributes(import, &new, &sent.tracked_entity, &mut wrong)?;
        let given = given.and_then(|given| given.value.as_deref());
        match assigned(effect, given, value_type, |_| wrong.is_empty()) {
            Assigned::Value(value) => {
                said.warnings.push(effect.refusal(
                    "E1310",
                    format!("Attribute `{id}` is set to its calculated value"),
                ));
                set(&mut values, id, value.as_deref());
                if given.is_some() {
                    continue;
                }
                sent.attributes.retain(|there| there.attribute != id);
                sent.attributes.extend(new);
            }
            Assigned::Differs => said.refusals.push(effect.refusal(
                "E1309",
                format!(
                    "Attribute `{id}` must be empty or its calculated value `{}`",
                    effect.data.as_deref().unwrap_or_default()
                ),
            )),
            Assigned::Unfit => said.warnings.push(effect.unfit(id)),
        }
    }
    if said.refusals.is_empty() {
        let of = (tracker::Kind::Enrollment, sent.enrollment.as_str());
        note_plans(import, of, &ruling, &within(sent));
    }
    Ok(said.told(import))
}

fn set(values: &mut Values, id: &str, value: Option<&str>) {
    match value.filter(|value| !value.is_empty()) {
        Some(value) => values.insert(id.to_owned(), value.to_owned()),
        None => values.remove(id),
    };
}

fn values_of(entity: &TrackedEntity) -> Values {
    let mut values = Values::new();
    for attribute in &entity.attributes {
        set(
            &mut values,
            &attribute.attribute,
            attribute.value.as_deref(),
        );
    }
    values
}

/// The other events of an enrollment.
fn events_of(import: &Import<'_>, parent: &Row<Enrollment>, but: &str) -> Result<Vec<Event>> {
    let mut found = Vec::new();
    for uid in parent.children.iter().filter(|uid| *uid != but) {
        let row: Option<Row<Event>> = rows::load(import.instance, import.tx, uid)?;
        found.extend(row.map(|row| row.object).filter(|event| !event.deleted));
    }
    Ok(found)
}

/// What is at hand.
struct Current<'a> {
    event: Option<(&'a Event, &'a Values)>,
    enrollment: Option<&'a Enrollment>,
    attributes: Values,
}

impl Current<'_> {
    /// What the rules come to for it, with its other events.
    fn ruling(
        &self,
        import: &Import<'_>,
        (rules, own): (&Arc<Rules>, &ProgramRules),
        others: &[Event],
        keeps: &dyn Fn(&Target) -> bool,
    ) -> Ruling {
        let mut events = Vec::with_capacity(others.len() + 1);
        if let Some((event, values)) = self.event {
            let values = values
                .iter()
                .map(|(id, value)| (id.as_str(), value.as_str()));
            events.push((true, occurrence(event, values.collect())));
        }
        for event in others {
            let values = event.data_values.iter();
            let values = values
                .filter_map(|value| Some((value.data_element.as_str(), value.value.as_deref()?)));
            events.push((false, occurrence(event, values.collect())));
        }
        // The one at hand stays before others of the same time.
        events.sort_by(|a, b| b.1.at.cmp(&a.1.at));
        let attributes = self.attributes.iter();
        let subject = Subject {
            attributes: attributes
                .map(|(id, value)| (id.as_str(), value.as_str()))
                .collect(),
            current: events.iter().position(|(is_current, _)| *is_current),
            events: events.into_iter().map(|(_, event)| event).collect(),
        };
        let granted = import.scope.user.roles();
        let unit = match (self.event, self.enrollment) {
            (Some((event, _)), _) => event.org_unit.as_str(),
            (None, Some(enrollment)) => enrollment.org_unit.as_str(),
            (None, None) => "",
        };
        let mut facts = Facts {
            variables: own.known(&subject),
            environment: self.environment(import, unit, subject.events.len()),
            constants: &rules.constants,
            groups: &rules.groups,
            roles: &granted,
            unit,
        };
        let stage = self.event.map(|(event, _)| event.program_stage.as_str());
        own.rule(&mut facts, stage, keeps)
    }

    /// The variables that the dialect always has.
    fn environment(
        &self,
        import: &Import<'_>,
        unit: &str,
        events: usize,
    ) -> BTreeMap<&'static str, Known> {
        let catalog = import.scope.catalog;
        let mut all = BTreeMap::new();
        let mut put = |name: &'static str, kind: Kind, text: &str| {
            let value = Some(text.to_owned()).filter(|text| !text.is_empty());
            let known = Known {
                kind,
                candidates: value.iter().cloned().collect(),
                value,
                date: None,
            };
            all.insert(name, known);
        };
        put("current_date", Kind::Text, &day(&date::format(import.now)));
        put("environment", Kind::Text, "Server");
        put("org_unit", Kind::Text, unit);
        put(
            "orgunit_code",
            Kind::Text,
            catalog.units.get(unit).map_or("", |unit| &unit.code),
        );
        put("event_count", Kind::Number, &events.to_string());
        let program = match (self.event, self.enrollment) {
            (Some((event, _)), _) => &event.program,
            (None, Some(enrollment)) => &enrollment.program,
            (None, None) => "",
        };
        let program = catalog.programs.get(program);
        put(
            "program_name",
            Kind::Text,
            program.map_or("", |program| &program.name),
        );
        if let Some(enrollment) = self.enrollment {
            put("enrollment_id", Kind::Text, &enrollment.enrollment);
            put("enrollment_count", Kind::Number, "1");
            put("tei_count", Kind::Number, "1");
            put("enrollment_date", Kind::Text, &day(&enrollment.enrolled_at));
            put("incident_date", Kind::Text, &day(&enrollment.occurred_at));
            put(
                "enrollment_status",
                Kind::Text,
                or_active(&enrollment.status),
            );
        }
        if let Some((event, _)) = self.event {
            put("event_id", Kind::Text, &event.event);
            put("event_date", Kind::Text, &day(at(event)));
            put("event_status", Kind::Text, or_active(&event.status));
            put("due_date", Kind::Text, &day(&event.scheduled_at));
            put("completed_date", Kind::Text, &day(&event.completed_at));
            put("program_stage_id", Kind::Text, &event.program_stage);
            let stage = catalog.stages.get(&event.program_stage);
            put(
                "program_stage_name",
                Kind::Text,
                stage.map_or("", |stage| &stage.name),
            );
        }
        all
    }
}

fn or_active(status: &str) -> &str {
    if status.is_empty() { "ACTIVE" } else { status }
}

/// When an event happened, or should.
fn at(event: &Event) -> &str {
    if event.occurred_at.is_empty() {
        &event.scheduled_at
    } else {
        &event.occurred_at
    }
}

fn occurrence<'a>(event: &'a Event, values: Vec<(&'a str, &'a str)>) -> Occurrence<'a> {
    Occurrence {
        stage: &event.program_stage,
        at: date::parse(at(event)).map(date::format).unwrap_or_default(),
        values,
    }
}

/// The day of a time; nothing if it is none.
fn day(text: &str) -> String {
    let at = date::parse(text).map(date::format);
    at.map(|at| at.chars().take(10).collect())
        .unwrap_or_default()
}

/// What an assignment comes to.
enum Assigned {
    /// The value is put in; nothing takes one away.
    Value(Option<String>),
    /// Another one was sent.
    Differs,
    /// It does not fit its field.
    Unfit,
}

fn assigned(
    effect: &Effect,
    given: Option<&str>,
    value_type: &str,
    fits: impl Fn(&str) -> bool,
) -> Assigned {
    let calculated = effect.data.as_deref();
    if calculated.is_some_and(|value| !fits(value)) {
        return Assigned::Unfit;
    }
    let number = |text: &str| text.parse::<f64>().ok();
    let is_same = |given: &str| {
        let both = number(given).zip(calculated.and_then(number));
        let is_number = Kind::of(value_type) == Kind::Number;
        calculated == Some(given)
            || (is_number && both.is_some_and(|(a, b)| (a - b).abs() <= f64::EPSILON * a.abs()))
    };
    match given.filter(|given| !given.is_empty()) {
        Some(given) if !is_same(given) => Assigned::Differs,
        _ => Assigned::Value(effect.data.clone()),
    }
}

impl Effect {
    /// What is said of its field, or of the object.
    pub(crate) fn refusal(&self, code: &'static str, text: impl std::fmt::Display) -> Refusal {
        let refusal = Refusal::new(code, format!("Program rule `{}`: {text}.", self.rule));
        match &self.target {
            Target::Nothing | Target::Stage(_) => refusal,
            Target::Element(id) => refusal.of_element(id),
            Target::Attribute(id) => refusal.of_attribute(id),
        }
    }
    /// The sentence of whoever made the rule, with what its expression came to.
    fn sentence(&self) -> Refusal {
        let parts = [Some(self.content.as_str()), self.data.as_deref()];
        let parts = parts.into_iter().flatten().filter(|part| !part.is_empty());
        let text = parts.collect::<Vec<_>>().join(" ");
        let refusal = self.refusal("E1300", "");
        Refusal {
            message: format!("Program rule `{}`: {text}", self.rule),
            ..refusal
        }
    }
    fn unfit(&self, id: &str) -> Refusal {
        let value = self.data.as_deref().unwrap_or_default();
        self.refusal(
            "E1300",
            format!("the calculated value `{value}` does not fit `{id}`, and is not put in"),
        )
    }
}

/// What is said of an object.
struct Said {
    refusals: Vec<Refusal>,
    warnings: Vec<Refusal>,
}

impl Said {
    /// Begins with the rules that were passed over.
    fn of(ruling: &Ruling) -> Self {
        let faults = ruling.faults.iter();
        let warnings = faults.map(|(rule, fault)| {
            let text = format!("Program rule `{rule}` was passed over: {fault}.");
            Refusal::new("E1300", text)
        });
        Self {
            refusals: Vec::new(),
            warnings: warnings.collect(),
        }
    }
    /// Hears what only is to be said; gives the field of what is to be done.
    fn hear<'a>(&mut self, effect: &'a Effect, is_complete: bool) -> Option<&'a str> {
        match effect.deed {
            Deed::Error => self.refusals.push(effect.sentence()),
            Deed::Warning => self.warnings.push(effect.sentence()),
            Deed::ErrorOnComplete if is_complete => self.refusals.push(effect.sentence()),
            Deed::WarningOnComplete if is_complete => self.warnings.push(effect.sentence()),
            // Planned once all that was sent is stored.
            Deed::ErrorOnComplete | Deed::WarningOnComplete | Deed::Schedule => {}
            Deed::Mandatory | Deed::Assign => return effect.target.id(),
        }
        None
    }
    /// The refusals; warnings are kept for whoever asks for them.
    fn told(self, import: &mut Import<'_>) -> Vec<Refusal> {
        if import.options.with_warnings {
            import.warnings.extend(self.warnings);
        }
        self.refusals
    }
}
