//! Events that program rules plan, as `SCHEDULEEVENT` asks for: in a stage, at a date, in the enrollment at hand.
//!
//! They are made once all that was sent is stored, so that what people entered goes before what a rule wants. Nothing of a rule refuses an upload:
//! what cannot be planned is left out, and who asks for warnings is told (E1319, E1321, E1322). The uid of such an event follows from its enrollment,
//! its stage and its day: an upload that is sent again, or comes by way of a clinic that heeds the same rules, plans nothing twice, and what somebody
//! skipped or deleted is not planned again.

use sha2::Digest as _;

use super::catalog::Stage;
use super::check::{self, Refusal};
use super::import::Import;
use super::rows::{self, Row};
use crate::face::problem::Result;
use crate::rules::{Deed, Effect, Ruling};
use crate::wire::report::Outcome;
use crate::wire::tracker::{Enrollment, Event, Kind, TrackedEntity};
use crate::wire::{date, uid};

/// An event that a rule wants, until all that was sent is stored.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Because of which object; it is told of it.
    of: (Kind, String),
    /// The rule's uid and what its date came to.
    effect: Effect,
    /// Where, in which enrollment and for which combination; without stage, date and uid.
    event: Event,
}

/// Notes what rules want planned because of an object that is not refused.
pub(super) fn note_plans(import: &mut Import<'_>, of: (Kind, &str), ruling: &Ruling, like: &Event) {
    for effect in &ruling.effects {
        if effect.deed == Deed::Schedule {
            import.plans.push(Plan {
                of: (of.0, of.1.to_owned()),
                effect: effect.clone(),
                event: like.clone(),
            });
        }
    }
}

/// An event in the enrollment of another, with nothing of it but what they share.
pub(super) fn beside(sent: &Event) -> Event {
    Event {
        enrollment: sent.enrollment.clone(),
        program: sent.program.clone(),
        org_unit: sent.org_unit.clone(),
        attribute_option_combo: sent.attribute_option_combo.clone(),
        attribute_category_options: sent.attribute_category_options.clone(),
        ..Event::default()
    }
}

/// An event in an enrollment.
pub(super) fn within(sent: &Enrollment) -> Event {
    Event {
        enrollment: sent.enrollment.clone(),
        program: sent.program.clone(),
        org_unit: sent.org_unit.clone(),
        ..Event::default()
    }
}

impl Import<'_> {
    /// Makes an event that a rule wants, whatever is done with what was sent.
    pub(super) fn plan(&mut self, plan: &Plan) -> Result<()> {
        let said = match planned(self, plan)? {
            Err(why) => why,
            Ok(event) => {
                let told = plan.told(&event);
                let strategy = std::mem::take(&mut self.options.strategy);
                let done = self.one(event, Self::event);
                self.options.strategy = strategy;
                done?;
                told
            }
        };
        if self.options.with_warnings {
            let (kind, uid) = &plan.of;
            let problems = vec![said.into_warning()];
            let outcome = Outcome {
                problems,
                ..Outcome::default()
            };
            self.report.note(*kind, uid, outcome);
        }
        Ok(())
    }
}

impl Plan {
    fn told(&self, event: &Event) -> Refusal {
        let (uid, stage) = (&event.event, &event.program_stage);
        let day = day(&event.scheduled_at);
        self.effect.refusal(
            "E1320",
            format!("Event `{uid}` of ProgramStage `{stage}` is planned for {day}"),
        )
    }
    /// Why there is none.
    fn no(&self, code: &'static str, text: impl std::fmt::Display) -> Refusal {
        self.effect
            .refusal(code, format!("no event is planned: {text}"))
    }
}

/// The event that is to be made of a plan, or why there is none.
fn planned(import: &Import<'_>, plan: &Plan) -> Result<Result<Event, Refusal>> {
    let (event, stage) = match dated(import, plan) {
        Ok(found) => found,
        Err(why) => return Ok(Err(why)),
    };
    let Some((parent, entity)) = family(import, &event)? else {
        return Ok(Err(plan.no("E1300", "there is no enrollment")));
    };
    let id = &event.program_stage;
    let is_there = !stage.repeatable && check::has_event(import, &parent, id)?;
    if is_there || has_same_day(import, &parent, &event)? {
        let text = format!("there is one of ProgramStage `{id}` already");
        return Ok(Err(plan.no("E1322", text)));
    }
    let wrong = check::event(import, &event, None, Some(&parent), Some(&entity))?;
    Ok(match wrong.first() {
        Some(first) => Err(plan.no("E1300", first.message.trim_end_matches('.'))),
        None => Ok(event),
    })
}

/// With stage, date and uid, in a stage in which the user enters data.
fn dated<'a>(import: &Import<'a>, plan: &Plan) -> std::result::Result<(Event, &'a Stage), Refusal> {
    let mut event = plan.event.clone();
    let catalog = import.scope.catalog;
    let id = plan.effect.target.id().unwrap_or_default();
    let stage = catalog.stages.get(id);
    let Some(stage) = stage.filter(|stage| stage.program.id == event.program) else {
        return Err(plan.no("E1300", "no stage of the program is named"));
    };
    let text = plan.effect.data.as_deref().unwrap_or_default();
    let Some(at) = date::parse(text).and_then(|at| date::of_day(date::civil(at).date())) else {
        return Err(plan.no("E1319", format!("`{text}` is no date")));
    };
    if !stage.access.writes_data(import.scope.user) {
        let why = check::no_stage(id).message;
        return Err(plan.no("E1321", why.trim_end_matches('.')));
    }
    id.clone_into(&mut event.program_stage);
    event.scheduled_at = date::format(at);
    "SCHEDULE".clone_into(&mut event.status);
    event.event = uid_of(&event, stage.repeatable);
    Ok((event, stage))
}

fn day(at: &str) -> &str {
    at.split('T').next().unwrap_or_default()
}

/// The same for the same enrollment, stage and day, wherever it is planned; of a stage that is not repeated for every day.
fn uid_of(event: &Event, is_repeated: bool) -> String {
    let day = if is_repeated {
        day(&event.scheduled_at)
    } else {
        ""
    };
    let text = format!("{} {} {day}", event.enrollment, event.program_stage);
    let hash = sha2::Sha256::digest(text.as_bytes());
    let bits = hash.iter().take(16);
    uid::from_random(bits.fold(0, |bits, byte| bits << 8 | u128::from(*byte)))
}

fn family(import: &Import<'_>, event: &Event) -> Result<Option<(Row<Enrollment>, TrackedEntity)>> {
    let parent: Option<Row<Enrollment>> =
        rows::load(import.instance, import.tx, &event.enrollment)?;
    let Some(parent) = parent else {
        return Ok(None);
    };
    let entity: Option<Row<TrackedEntity>> =
        rows::load(import.instance, import.tx, &parent.object.tracked_entity)?;
    Ok(entity.map(|entity| (parent, entity.object)))
}

/// Whether the enrollment has an event of the stage for that day, whatever became of it since, or had this one, and somebody deleted it.
fn has_same_day(import: &Import<'_>, parent: &Row<Enrollment>, event: &Event) -> Result<bool> {
    for uid in &parent.children {
        let found: Option<Row<Event>> = rows::load(import.instance, import.tx, uid)?;
        let is_same = |there: &Event| {
            let at = date::parse(&there.scheduled_at).map(date::format);
            let is_then = at.is_some_and(|at| day(&at) == day(&event.scheduled_at));
            there.event == event.event
                || (!there.deleted && there.program_stage == event.program_stage && is_then)
        };
        if found.is_some_and(|row| is_same(&row.object)) {
            return Ok(true);
        }
    }
    Ok(false)
}
