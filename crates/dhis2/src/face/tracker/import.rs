//! Takes an upload in: one transaction, object by object, parents before children; deletions the other way round.
//!
//! With `atomicMode=OBJECT` what is refused is left out, and what depends on it with it; with `ALL` nothing is stored if anything is refused. The
//! caller stores the report in the same transaction. Source: `spec/dhis2.md` 7.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use haversack_model::Timestamp;
use haversack_model::documents::DocumentWrite;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::catalog::Catalog;
use super::check::{self, Refusal};
use super::delete;
use super::plan::Plan;
use super::rows::{self, Object, Row};
use super::rules::Rules;
use super::scope::Scope;
use crate::face::files;
use crate::face::instance::Instance;
use crate::face::problem::Result;
use crate::face::system::User;
use crate::wire::report::{Outcome, Report, Stats, Verdict};
use crate::wire::tracker::{
    AssignedUser, Enrollment, Event, Kind, Payload, ProgramOwner, Relationship, TrackedEntity,
};
use crate::wire::{date, uid};

/// What is done with objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum Strategy {
    #[default]
    CreateAndUpdate,
    Create,
    Update,
    Delete,
}

/// How an upload is taken in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a parameter of the dialect"
)]
pub(crate) struct Options {
    pub(crate) strategy: Strategy,
    /// Whether one refusal keeps everything out.
    pub(crate) is_atomic: bool,
    /// Whether nothing is stored in any case.
    pub(crate) only_validates: bool,
    /// Whether warnings are told.
    pub(crate) with_warnings: bool,
    /// Whether program rules are left out.
    #[serde(default)]
    pub(crate) skips_rules: bool,
}

/// An upload under way.
pub(crate) struct Import<'a> {
    pub(crate) instance: &'a Instance,
    pub(crate) tx: &'a mut dyn DocumentWrite,
    pub(crate) scope: Scope<'a>,
    pub(crate) options: Options,
    /// The rules of programs, if any are to be heeded.
    pub(super) rules: Option<Arc<Rules>>,
    /// When the commit will be.
    pub(crate) now: Timestamp,
    pub(crate) fresh: &'a dyn Fn() -> Uuid,
    pub(crate) report: Report,
    pub(crate) by_kind: BTreeMap<Kind, Stats>,
    /// What is said of the object at hand, which is stored all the same.
    pub(super) warnings: Vec<Refusal>,
    /// Events that rules want planned.
    pub(super) plans: Vec<Plan>,
    rejected: BTreeSet<(Kind, String)>,
    made: BTreeSet<(Kind, String)>,
}

/// What an upload came to.
#[derive(Debug)]
pub(crate) struct Imported {
    pub(crate) report: Report,
    /// What was not there before.
    pub(crate) made: BTreeSet<(Kind, String)>,
    /// The report as it is told.
    pub(crate) told: Value,
    /// Whether nothing of it may be committed.
    pub(crate) is_refused: bool,
}

/// Takes an upload in.
pub(crate) fn run(
    instance: &Instance,
    tx: &mut dyn DocumentWrite,
    user: &User,
    catalog: &Catalog,
    payload: Payload,
    options: Options,
    (now, fresh): (Timestamp, &dyn Fn() -> Uuid),
) -> Result<Imported> {
    let now = rows::commit_time(tx, now)?;
    let has_rules = options.strategy != Strategy::Delete && !options.skips_rules;
    let rules = if has_rules {
        Rules::load(instance, tx, catalog)?
    } else {
        None
    };
    let mut import = Import {
        instance,
        tx,
        scope: Scope { user, catalog },
        options,
        rules,
        now,
        fresh,
        report: Report::default(),
        by_kind: BTreeMap::new(),
        warnings: Vec::new(),
        plans: Vec::new(),
        rejected: BTreeSet::new(),
        made: BTreeSet::new(),
    };
    let flat = payload.flat();
    if options.strategy == Strategy::Delete {
        import.delete_all(&flat)?;
    } else {
        import.write_all(flat)?;
    }
    Ok(import.finish())
}

impl Import<'_> {
    fn write_all(&mut self, payload: Payload) -> Result<()> {
        for entity in payload.tracked_entities {
            self.one(entity, Self::entity)?;
        }
        for enrollment in payload.enrollments {
            self.one(enrollment, Self::enrollment)?;
        }
        for event in payload.events {
            self.one(event, Self::event)?;
        }
        for plan in std::mem::take(&mut self.plans) {
            self.plan(&plan)?;
        }
        for relationship in payload.relationships {
            self.one(relationship, Self::relationship)?;
        }
        Ok(())
    }

    fn delete_all(&mut self, payload: &Payload) -> Result<()> {
        for relationship in &payload.relationships {
            self.count(
                Kind::Relationship,
                &relationship.relationship,
                delete::relationship,
            )?;
        }
        for event in &payload.events {
            self.count(Kind::Event, &event.event, delete::event)?;
        }
        for enrollment in &payload.enrollments {
            self.count(Kind::Enrollment, &enrollment.enrollment, delete::enrollment)?;
        }
        for entity in &payload.tracked_entities {
            self.count(Kind::TrackedEntity, &entity.tracked_entity, delete::entity)?;
        }
        Ok(())
    }

    fn count(
        &mut self,
        kind: Kind,
        uid: &str,
        delete: impl FnOnce(&mut Self, &str) -> Result<Option<Refusal>>,
    ) -> Result<()> {
        let refusal = delete(self, uid)?;
        let deleted = u64::from(refusal.is_none());
        self.note(
            kind,
            uid,
            refusal.into_iter().collect(),
            Stats {
                deleted,
                ..Stats::default()
            },
        );
        Ok(())
    }

    /// One object: its uid, the check that it may be made or changed, and then the work.
    pub(super) fn one<T: Object + WithUid>(
        &mut self,
        mut object: T,
        work: impl FnOnce(&mut Self, &mut T, Option<Row<T>>) -> Result<Result<Row<T>, Vec<Refusal>>>,
    ) -> Result<()> {
        if object.uid().is_empty() {
            object.set_uid(uid::from_random((self.fresh)().as_u128()));
        }
        let uid = object.uid().to_owned();
        let kind = T::KIND;
        if !uid::is_uid(&uid) {
            let refusal = Refusal::new(
                "E1048",
                format!("Object: `{uid}`, uid: `{uid}`, has an invalid uid format."),
            );
            self.note(kind, &uid, vec![refusal], Stats::default());
            return Ok(());
        }
        let known: Option<Row<T>> = rows::load(self.instance, self.tx, &uid)?;
        let refusal = check::existence(
            kind,
            &uid,
            known.as_ref().map(|row| row.object.is_deleted()),
            self.options.strategy,
        );
        if let Some(refusal) = refusal {
            self.note(kind, &uid, vec![refusal], Stats::default());
            return Ok(());
        }
        let is_new = known.is_none();
        let made = known.as_ref().map(|row| {
            let mut object = row.object.clone();
            object.times().clone()
        });
        match work(self, &mut object, known)? {
            Err(refusals) => self.note(kind, &uid, refusals, Stats::default()),
            Ok(mut row) => {
                let times = row.object.times();
                match made {
                    Some(made) => {
                        times.created_at = made.created_at;
                        if times.created_at_client.is_empty() {
                            times.created_at_client = made.created_at_client;
                        }
                    }
                    None => times.created_at = date::format(self.now),
                }
                rows::store(self.instance, self.tx, row, self.scope.user.name())?;
                let stats = if is_new {
                    Stats {
                        created: 1,
                        ..Stats::default()
                    }
                } else {
                    Stats {
                        updated: 1,
                        ..Stats::default()
                    }
                };
                self.note(kind, &uid, Vec::new(), stats);
            }
        }
        Ok(())
    }

    /// Notes what became of an object.
    fn note(&mut self, kind: Kind, uid: &str, refusals: Vec<Refusal>, mut stats: Stats) {
        stats.total = 1;
        if stats.created > 0 {
            self.made.insert((kind, uid.to_owned()));
        }
        if !refusals.is_empty() {
            stats = Stats {
                ignored: 1,
                total: 1,
                ..Stats::default()
            };
            self.rejected.insert((kind, uid.to_owned()));
        }
        *self.by_kind.entry(kind).or_default() += stats;
        self.report.stats += stats;
        let verdict = if refusals.is_empty() {
            Verdict::Success
        } else {
            Verdict::Error
        };
        let warnings = std::mem::take(&mut self.warnings);
        let said = refusals.into_iter().map(Refusal::into_error);
        let warnings = warnings.into_iter().map(Refusal::into_warning);
        let problems = said.chain(warnings).collect();
        self.report.note(kind, uid, Outcome { verdict, problems });
    }

    /// Whether an object of this upload was refused.
    pub(crate) fn is_rejected(&self, kind: Kind, uid: &str) -> bool {
        self.rejected.contains(&(kind, uid.to_owned()))
    }

    fn finish(mut self) -> Imported {
        let is_refused =
            self.options.only_validates || (self.options.is_atomic && self.report.has_errors());
        if is_refused && !self.options.only_validates {
            // Nothing of it is stored: only the refusals are told.
            self.report
                .outcomes
                .retain(|_, outcome| outcome.verdict == Verdict::Error);
            let total = self.report.stats.total;
            self.report.stats = Stats {
                ignored: total,
                total,
                ..Stats::default()
            };
        }
        let by_kind: Vec<(Kind, Stats)> = self.by_kind.into_iter().collect();
        let told = self
            .report
            .to_job(&by_kind, !is_refused, self.options.with_warnings);
        Imported {
            report: self.report,
            made: self.made,
            told,
            is_refused,
        }
    }

    fn entity(
        &mut self,
        sent: &mut TrackedEntity,
        known: Option<Row<TrackedEntity>>,
    ) -> Result<Result<Row<TrackedEntity>, Vec<Refusal>>> {
        let refusals = check::entity(self, sent, known.as_ref().map(|row| &row.object))?;
        if !refusals.is_empty() {
            return Ok(Err(refusals));
        }
        let mut row = known.unwrap_or_default();
        let mut object = std::mem::take(sent);
        let given = std::mem::take(&mut object.attributes);
        object.attributes = std::mem::take(&mut row.object.attributes);
        object.program_owners = std::mem::take(&mut row.object.program_owners);
        if object.geometry.is_none() {
            object.geometry = row.object.geometry.take();
        }
        self.set_attributes(&mut object, given)?;
        row.object = object;
        Ok(Ok(row))
    }

    /// Sets attributes of a tracked entity; an absent value removes one.
    fn set_attributes(
        &mut self,
        entity: &mut TrackedEntity,
        given: Vec<crate::wire::tracker::Attribute>,
    ) -> Result<()> {
        let now = date::format(self.now);
        for mut attribute in given {
            let known = entity
                .attributes
                .iter()
                .position(|there| there.attribute == attribute.attribute);
            let old = known.map(|at| entity.attributes[at].clone());
            let old_value = old.as_ref().and_then(|old| old.value.clone());
            if old_value == attribute.value {
                continue;
            }
            check::release_value(self, &attribute.attribute, old_value.as_deref())?;
            let Some(value) = attribute.value.clone() else {
                entity
                    .attributes
                    .retain(|there| there.attribute != attribute.attribute);
                continue;
            };
            check::take_value(self, &attribute.attribute, &value, &entity.tracked_entity)?;
            if let Some(of) = self.scope.catalog.attributes.get(&attribute.attribute) {
                let owner = format!("{}.{}", entity.tracked_entity, attribute.attribute);
                files::assign(self.instance, self.tx, (&of.value_type, &value), &owner)?;
            }
            attribute.created_at = old.map_or_else(|| now.clone(), |old| old.created_at);
            attribute.updated_at.clone_from(&now);
            match known {
                Some(at) => entity.attributes[at] = attribute,
                None => entity.attributes.push(attribute),
            }
        }
        Ok(())
    }

    fn enrollment(
        &mut self,
        sent: &mut Enrollment,
        known: Option<Row<Enrollment>>,
    ) -> Result<Result<Row<Enrollment>, Vec<Refusal>>> {
        let parent: Option<Row<TrackedEntity>> =
            rows::load(self.instance, self.tx, &sent.tracked_entity)?;
        let refusals = check::enrollment(
            self,
            sent,
            known.as_ref().map(|row| &row.object),
            parent.as_ref(),
        )?;
        let (true, Some(mut parent)) = (refusals.is_empty(), parent) else {
            return Ok(Err(refusals));
        };
        let refusals = check::rules_of_enrollment(self, sent, known.as_ref(), &parent.object)?;
        if !refusals.is_empty() {
            return Ok(Err(refusals));
        }
        let is_new = known.is_none();
        let mut row = known.unwrap_or_default();
        let mut object = std::mem::take(sent);
        let given = std::mem::take(&mut object.attributes);
        object.notes = self.notes(std::mem::take(&mut row.object.notes), object.notes);
        if object.status.is_empty() {
            "ACTIVE".clone_into(&mut object.status);
        }
        if is_new {
            parent.children.push(object.enrollment.clone());
        }
        let is_owned = parent
            .object
            .program_owners
            .iter()
            .any(|owner| owner.program == object.program);
        if !is_owned {
            parent.object.program_owners.push(ProgramOwner {
                tracked_entity: object.tracked_entity.clone(),
                program: object.program.clone(),
                org_unit: object.org_unit.clone(),
            });
        }
        self.set_attributes(&mut parent.object, given)?;
        let uid = object.tracked_entity.clone();
        rows::store(self.instance, self.tx, parent, self.scope.user.name())?;
        rows::touch(self.instance, self.tx, Kind::TrackedEntity, &uid)?;
        row.object = object;
        Ok(Ok(row))
    }

    pub(super) fn event(
        &mut self,
        sent: &mut Event,
        known: Option<Row<Event>>,
    ) -> Result<Result<Row<Event>, Vec<Refusal>>> {
        if let Some(stage) = self.scope.catalog.stages.get(&sent.program_stage)
            && sent.program.is_empty()
        {
            sent.program.clone_from(&stage.program.id);
        }
        let parent: Option<Row<Enrollment>> = rows::load(self.instance, self.tx, &sent.enrollment)?;
        let entity: Option<Row<TrackedEntity>> = match &parent {
            Some(parent) => rows::load(self.instance, self.tx, &parent.object.tracked_entity)?,
            None => None,
        };
        let refusals = check::event(
            self,
            sent,
            known.as_ref(),
            parent.as_ref(),
            entity.as_ref().map(|row| &row.object),
        )?;
        if !refusals.is_empty() {
            return Ok(Err(refusals));
        }
        let around = (parent.as_ref(), entity.as_ref().map(|row| &row.object));
        let refusals = check::rules_of_event(self, sent, known.as_ref(), around)?;
        if !refusals.is_empty() {
            return Ok(Err(refusals));
        }
        let is_new = known.is_none();
        let mut row = known.unwrap_or_default();
        let mut object = std::mem::take(sent);
        object.notes = self.notes(std::mem::take(&mut row.object.notes), object.notes);
        let given = std::mem::replace(
            &mut object.data_values,
            std::mem::take(&mut row.object.data_values),
        );
        let now = date::format(self.now);
        for mut value in given {
            let at = object
                .data_values
                .iter()
                .position(|there| there.data_element == value.data_element);
            if value.value.is_none() {
                object
                    .data_values
                    .retain(|there| there.data_element != value.data_element);
                continue;
            }
            if let (Some(of), Some(text)) = (
                self.scope.catalog.elements.get(&value.data_element),
                &value.value,
            ) {
                let owner = format!("{}.{}", object.event, value.data_element);
                files::assign(self.instance, self.tx, (&of.value_type, text), &owner)?;
            }
            value.updated_at.clone_from(&now);
            match at {
                Some(at) if object.data_values[at].value == value.value => {}
                Some(at) => {
                    value.created_at = std::mem::take(&mut object.data_values[at].created_at);
                    object.data_values[at] = value;
                }
                None => {
                    value.created_at.clone_from(&now);
                    object.data_values.push(value);
                }
            }
        }
        if object.status.is_empty() {
            "ACTIVE".clone_into(&mut object.status);
        }
        if object.assigned_user.is_nobody() {
            object.assigned_user = AssignedUser::default();
        }
        if let Some(mut parent) = parent {
            object
                .tracked_entity
                .clone_from(&parent.object.tracked_entity);
            let (enrollment, entity) = (
                parent.object.enrollment.clone(),
                parent.object.tracked_entity.clone(),
            );
            if is_new {
                parent.children.push(object.event.clone());
                rows::store(self.instance, self.tx, parent, self.scope.user.name())?;
            }
            rows::touch(self.instance, self.tx, Kind::Enrollment, &enrollment)?;
            rows::touch(self.instance, self.tx, Kind::TrackedEntity, &entity)?;
        }
        row.object = object;
        Ok(Ok(row))
    }

    fn relationship(
        &mut self,
        sent: &mut Relationship,
        known: Option<Row<Relationship>>,
    ) -> Result<Result<Row<Relationship>, Vec<Refusal>>> {
        if let Some(known) = known {
            // A relationship is never changed: sending it again is a repeat.
            return Ok(Ok(known));
        }
        let refusals = check::relationship(self, sent)?;
        if !refusals.is_empty() {
            return Ok(Err(refusals));
        }
        let object = std::mem::take(sent);
        for side in [&object.from, &object.to] {
            let Some((kind, uid)) = side.object() else {
                continue;
            };
            match kind {
                Kind::TrackedEntity => self.tie::<TrackedEntity>(uid, &object.relationship)?,
                Kind::Enrollment => self.tie::<Enrollment>(uid, &object.relationship)?,
                Kind::Event => self.tie::<Event>(uid, &object.relationship)?,
                Kind::Relationship => {}
            }
        }
        Ok(Ok(Row {
            object,
            ..Row::default()
        }))
    }

    fn tie<T: Object>(&mut self, uid: &str, relationship: &str) -> Result<()> {
        if let Some(mut row) = rows::load::<T>(self.instance, self.tx, uid)? {
            row.ties.push(relationship.to_owned());
            rows::store(self.instance, self.tx, row, self.scope.user.name())?;
        }
        Ok(())
    }
}

/// Objects that can be given a uid.
pub(crate) trait WithUid {
    fn set_uid(&mut self, uid: String);
}

macro_rules! uids {
    ($($type:ident($uid:ident);)*) => {$(
        impl WithUid for $type {
            fn set_uid(&mut self, uid: String) {
                self.$uid = uid;
            }
        }
    )*};
}

uids! {
    TrackedEntity(tracked_entity);
    Enrollment(enrollment);
    Event(event);
    Relationship(relationship);
}
