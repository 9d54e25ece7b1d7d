//! Exports: tracked entities with what is in them, events and relationships.
//!
//! Whatever is told passed [`Scope`]. Deleted objects are told with `includeDeleted`, and that is how devices learn of deletions.

use haversack_model::documents::DocumentRead;
use haversack_model::{Right, Timestamp};
use serde::Serialize;
use serde_json::Value;

use super::catalog::Catalog;
use super::rows::{self, Object, Row};
use super::scope::Scope;
use super::select::{self, Units, Window};
use super::{list, missing};
use crate::face::call::Call;
use crate::face::instance::Instance;
use crate::face::metadata::fields::Fields;
use crate::face::metadata::filter::Filter;
use crate::face::problem::{Problem, Result};
use crate::face::system::User;
use crate::wire::date;
use crate::wire::tracker::{Enrollment, Event, Kind, Relationship, TrackedEntity};

/// A snapshot with who reads it.
pub(super) struct Reader<'a> {
    pub(super) instance: &'a Instance,
    pub(super) tx: &'a dyn DocumentRead,
    pub(super) scope: Scope<'a>,
    fields: Fields,
    pub(super) with_deleted: bool,
}

/// Opens a snapshot and does something in it.
pub(super) fn reading<T>(
    call: &Call,
    default_fields: &str,
    work: impl FnOnce(&Reader<'_>) -> Result<T>,
) -> Result<T> {
    call.require_get()?;
    let instance = Instance::open(call, Right::Read)?;
    let tx = instance.store().read_documents()?;
    let user = User::find(&call.principal, &instance, tx.as_ref(), call.host.now())?;
    let catalog = Catalog::load(&instance, tx.as_ref())?;
    work(&Reader {
        instance: &instance,
        tx: tx.as_ref(),
        scope: Scope {
            user: &user,
            catalog: &catalog,
        },
        fields: Fields::parse(call.param("fields").unwrap_or(default_fields))?,
        with_deleted: call.flag("includeDeleted", false),
    })
}

impl Reader<'_> {
    pub(super) fn load<T: Object>(&self, uid: &str) -> Result<Option<Row<T>>> {
        let found = rows::load::<T>(self.instance, self.tx, uid)?;
        Ok(found.filter(|row| self.with_deleted || !row.object.is_deleted()))
    }
    fn children<T: Object>(&self, uids: &[String]) -> Result<Vec<Row<T>>> {
        uids.iter()
            .filter_map(|uid| self.load(uid).transpose())
            .collect()
    }
    pub(super) fn project<T: Serialize>(&self, object: &T) -> Result<Value> {
        let value =
            serde_json::to_value(object).map_err(|error| Problem::Internal(error.to_string()))?;
        self.fields.project(value, &|_, _| Ok(None))
    }

    /// An entity with what is in it: with a program what is of that program, without one what is of all that may be seen.
    fn whole_entity(
        &self,
        row: Row<TrackedEntity>,
        program: Option<&str>,
    ) -> Result<TrackedEntity> {
        let mut enrollments = Vec::new();
        for child in self.children::<Enrollment>(&row.children)? {
            let of = child.object.program.as_str();
            if program.is_none_or(|program| program == of) && self.scope.sees_in(&row.object, of) {
                enrollments.push(self.whole_enrollment(child, &row.object)?);
            }
        }
        let mut entity = row.object;
        entity.relationships = self.ties(&row.ties)?;
        entity.program_owners.retain(|owner| match program {
            Some(program) => program == owner.program,
            None => self.scope.reads_program(&owner.program),
        });
        let of_type = self.scope.catalog.types.get(&entity.tracked_entity_type);
        let of_program = program.and_then(|program| self.scope.catalog.programs.get(program));
        entity.attributes.retain(|attribute| {
            let id = attribute.attribute.as_str();
            let is_of_type = of_type.is_some_and(|of| {
                of.tracked_entity_type_attributes
                    .iter()
                    .any(|m| m.tracked_entity_attribute.id == id)
            });
            is_of_type || of_program.is_some_and(|of| of.has_attribute(id))
        });
        entity.enrollments = enrollments;
        Ok(entity)
    }
    pub(super) fn whole_enrollment(
        &self,
        row: Row<Enrollment>,
        entity: &TrackedEntity,
    ) -> Result<Enrollment> {
        let mut enrollment = row.object;
        let program = self.scope.catalog.programs.get(&enrollment.program);
        for child in self.children::<Event>(&row.children)? {
            let stage = &child.object.program_stage;
            if program.is_some_and(|program| self.scope.reads_stage(program, stage)) {
                enrollment.events.push(self.whole_event(child)?);
            }
        }
        if let Some(program) = program {
            let own = entity
                .attributes
                .iter()
                .filter(|attribute| program.has_attribute(&attribute.attribute));
            enrollment.attributes = own.cloned().collect();
        }
        enrollment.relationships = self.ties(&row.ties)?;
        Ok(enrollment)
    }
    fn whole_event(&self, row: Row<Event>) -> Result<Event> {
        let mut event = row.object;
        event.relationships = self.ties(&row.ties)?;
        Ok(event)
    }
    fn ties(&self, uids: &[String]) -> Result<Vec<Relationship>> {
        let mut seen = Vec::new();
        for row in self.children::<Relationship>(uids)? {
            if self.sees_tie(&row.object)? {
                seen.push(self.named(row.object));
            }
        }
        Ok(seen)
    }
    fn named(&self, mut relationship: Relationship) -> Relationship {
        if let Some(of) = self
            .scope
            .catalog
            .relationship_types
            .get(&relationship.relationship_type)
        {
            relationship.relationship_name.clone_from(&of.name);
            relationship.bidirectional = of.bidirectional;
        }
        relationship
    }
    /// Whether its type and both sides may be seen.
    fn sees_tie(&self, relationship: &Relationship) -> Result<bool> {
        if !self.scope.reads_ties(&relationship.relationship_type) {
            return Ok(false);
        }
        for side in [&relationship.from, &relationship.to] {
            let sees = match side.object() {
                Some((Kind::TrackedEntity, uid)) => {
                    let row = rows::load::<TrackedEntity>(self.instance, self.tx, uid)?;
                    row.is_some_and(|row| self.scope.sees(&row.object))
                }
                Some((Kind::Enrollment, uid)) => {
                    match rows::load::<Enrollment>(self.instance, self.tx, uid)? {
                        Some(row) => self.sees_enrollment(&row.object)?,
                        None => false,
                    }
                }
                Some((Kind::Event, uid)) => match rows::load::<Event>(self.instance, self.tx, uid)?
                {
                    Some(row) => self.sees_event(&row.object)?,
                    None => false,
                },
                _ => false,
            };
            if !sees {
                return Ok(false);
            }
        }
        Ok(true)
    }
    fn sees_enrollment(&self, enrollment: &Enrollment) -> Result<bool> {
        let entity =
            rows::load::<TrackedEntity>(self.instance, self.tx, &enrollment.tracked_entity)?;
        Ok(entity.is_some_and(|entity| self.scope.sees_in(&entity.object, &enrollment.program)))
    }
    fn sees_event(&self, event: &Event) -> Result<bool> {
        let entity = if event.tracked_entity.is_empty() {
            None
        } else {
            rows::load::<TrackedEntity>(self.instance, self.tx, &event.tracked_entity)?
        };
        Ok(self
            .scope
            .sees_event(event, entity.as_ref().map(|row| &row.object)))
    }
}

/// What of tracked entities is asked for.
struct Asked {
    units: Units,
    program: Option<String>,
    entity_type: Option<String>,
    uids: Vec<String>,
    status: Option<String>,
    follow_up: Option<bool>,
    enrolled_after: Option<Timestamp>,
    enrolled_before: Option<Timestamp>,
    attributes: Vec<(String, Filter)>,
}

impl Asked {
    fn of(call: &Call, reader: &Reader<'_>) -> Result<Self> {
        let asked = Self {
            units: Units::of(call, &reader.scope)?,
            program: select::one_uid(call, "program")?,
            entity_type: select::one_uid(call, "trackedEntityType")?,
            uids: select::uids(call, &["trackedEntities", "trackedEntity"])?,
            status: call
                .param("programStatus")
                .or(call.param("enrollmentStatus"))
                .map(str::to_owned),
            follow_up: call.param("followUp").map(|text| text == "true"),
            enrolled_after: select::time(call, "enrollmentEnrolledAfter")?,
            enrolled_before: select::time(call, "enrollmentEnrolledBefore")?,
            attributes: attribute_filters(call)?,
        };
        let of_enrollments = asked.status.is_some()
            || asked.follow_up.is_some()
            || asked.enrolled_after.is_some()
            || asked.enrolled_before.is_some();
        match &asked.program {
            Some(program) if !reader.scope.catalog.programs.contains_key(program) => {
                Err(Problem::bad(format!(
                    "Program is specified but does not exist: {program}"
                )))
            }
            None if of_enrollments => Err(Problem::bad(
                "Program must be defined when enrollments are asked about",
            )),
            None if asked.entity_type.is_none() && asked.uids.is_empty() => Err(Problem::bad(
                "Either a program or tracked entity type must be specified",
            )),
            _ => Ok(asked),
        }
    }
    fn wants(&self, reader: &Reader<'_>, row: &Row<TrackedEntity>) -> Result<bool> {
        let entity = &row.object;
        if (entity.deleted && !reader.with_deleted)
            || self
                .entity_type
                .as_ref()
                .is_some_and(|of| *of != entity.tracked_entity_type)
            || (!self.uids.is_empty() && !self.uids.contains(&entity.tracked_entity))
        {
            return Ok(false);
        }
        let unit = match &self.program {
            Some(program) => {
                let owner = entity
                    .program_owners
                    .iter()
                    .find(|owner| owner.program == *program);
                match owner.filter(|_| reader.scope.sees_in(entity, program)) {
                    Some(owner) => owner.org_unit.as_str(),
                    None => return Ok(false),
                }
            }
            None if reader.scope.sees(entity) => entity.org_unit.as_str(),
            None => return Ok(false),
        };
        if !self.units.holds(&reader.scope, unit) || !self.has_attributes(entity) {
            return Ok(false);
        }
        let asks_enrollments = self.status.is_some()
            || self.follow_up.is_some()
            || self.enrolled_after.is_some()
            || self.enrolled_before.is_some();
        if !asks_enrollments {
            return Ok(true);
        }
        for child in reader.children::<Enrollment>(&row.children)? {
            let enrollment = child.object;
            let enrolled = date::parse(&enrollment.enrolled_at);
            let is_one = self
                .program
                .as_ref()
                .is_some_and(|program| *program == enrollment.program)
                && self
                    .status
                    .as_ref()
                    .is_none_or(|status| *status == enrollment.status)
                && self
                    .follow_up
                    .is_none_or(|flag| flag == enrollment.follow_up)
                && self
                    .enrolled_after
                    .is_none_or(|at| enrolled.is_some_and(|enrolled| enrolled >= at))
                && self
                    .enrolled_before
                    .is_none_or(|at| enrolled.is_some_and(|enrolled| enrolled <= at));
            if is_one {
                return Ok(true);
            }
        }
        Ok(false)
    }
    fn has_attributes(&self, entity: &TrackedEntity) -> bool {
        self.attributes.iter().all(|(id, filter)| {
            let value = entity
                .attributes
                .iter()
                .find(|attribute| attribute.attribute == *id);
            let value = value.and_then(|attribute| attribute.value.clone());
            filter.passes(&serde_json::json!({"value": value}))
        })
    }
}

/// `filter=<attribute>:<operator>:<value>`.
fn attribute_filters(call: &Call) -> Result<Vec<(String, Filter)>> {
    let read = call.params("filter").map(|text| {
        let (id, rest) = text.split_once(':').unwrap_or((text, "!null"));
        if !crate::wire::uid::is_uid(id) {
            return Err(Problem::bad("a filter begins with the UID of an attribute"));
        }
        let rest = rest
            .replacen("sw:", "startsWith:", 1)
            .replacen("ew:", "endsWith:", 1);
        let filter = Filter::parse(&format!("value:{rest}"))?;
        Ok((id.to_owned(), filter))
    });
    read.collect()
}

/// What a list of tracked entities tells if the client does not say.
const ENTITY_FIELDS: &str = "*,!relationships,!enrollments,!events,!programOwners";

/// `GET tracker/trackedEntities`.
pub(crate) fn entities(call: &Call) -> Result<Value> {
    reading(call, ENTITY_FIELDS, |reader| {
        let asked = Asked::of(call, reader)?;
        let mut page = Vec::new();
        let window = list::pages(
            call,
            (reader.instance, reader.tx),
            |found| {
                let row = rows::read(found)?;
                Ok(asked.wants(reader, &row)?.then_some(row))
            },
            |row| {
                let entity = reader.whole_entity(row, asked.program.as_deref())?;
                page.push(reader.project(&entity)?);
                Ok(())
            },
        )?;
        Ok(window.answer("trackedEntities", &page))
    })
}

/// `GET tracker/trackedEntities/<uid>`.
pub(crate) fn entity(call: &Call, uid: &str) -> Result<Value> {
    reading(call, ENTITY_FIELDS, |reader| {
        let program = select::one_uid(call, "program")?;
        let row: Option<Row<TrackedEntity>> = reader.load(uid)?;
        let row = row.filter(|row| match &program {
            Some(program) => reader.scope.sees_in(&row.object, program),
            None => reader.scope.sees(&row.object),
        });
        let row = row.ok_or_else(|| missing(Kind::TrackedEntity, uid))?;
        let entity = reader.whole_entity(row, program.as_deref())?;
        reader.project(&entity)
    })
}

/// `GET tracker/events`.
pub(crate) fn events(call: &Call) -> Result<Value> {
    reading(call, "*,!relationships", |reader| {
        let units = Units::of(call, &reader.scope)?;
        let uids = select::uids(call, &["events", "event"])?;
        let (after, before) = (
            select::time(call, "occurredAfter")?,
            select::time(call, "occurredBefore")?,
        );
        let same = ["program", "programStage", "enrollment", "trackedEntity"]
            .into_iter()
            .map(|name| Ok((name, select::one_uid(call, name)?)))
            .collect::<Result<Vec<_>>>()?;
        let status = call.param("status");
        let wants = |event: &Event| {
            let occurred = date::parse(&event.occurred_at);
            let is_same = same.iter().all(|(name, wanted)| {
                let value = match *name {
                    "program" => &event.program,
                    "programStage" => &event.program_stage,
                    "enrollment" => &event.enrollment,
                    _ => &event.tracked_entity,
                };
                wanted.as_ref().is_none_or(|wanted| wanted == value)
            });
            is_same
                && (reader.with_deleted || !event.deleted)
                && status.is_none_or(|status| status == event.status)
                && after.is_none_or(|at| occurred.is_some_and(|occurred| occurred >= at))
                && before.is_none_or(|at| occurred.is_some_and(|occurred| occurred <= at))
                && units.holds(&reader.scope, &event.org_unit)
        };
        let mut page = Vec::new();
        let sees = |row: &Row<Event>| -> Result<bool> {
            Ok(wants(&row.object) && reader.sees_event(&row.object)?)
        };
        let mut put = |row: Row<Event>| {
            page.push(reader.project(&reader.whole_event(row)?)?);
            Ok(())
        };
        let window = if uids.is_empty() {
            let wants = |found: &_| {
                let row: Row<Event> = rows::read(found)?;
                Ok(sees(&row)?.then_some(row))
            };
            list::pages(call, (reader.instance, reader.tx), wants, put)?
        } else {
            let mut window = Window::of(call)?;
            for uid in &uids {
                if let Some(row) = reader.load(uid)?
                    && sees(&row)?
                    && window.takes()
                {
                    put(row)?;
                }
            }
            window
        };
        Ok(window.answer("events", &page))
    })
}

/// `GET tracker/events/<uid>`.
pub(crate) fn event(call: &Call, uid: &str) -> Result<Value> {
    reading(call, "*,!relationships", |reader| {
        let row: Row<Event> = reader.load(uid)?.ok_or_else(|| missing(Kind::Event, uid))?;
        if !reader.sees_event(&row.object)? {
            return Err(missing(Kind::Event, uid));
        }
        reader.project(&reader.whole_event(row)?)
    })
}

/// `GET tracker/relationships?trackedEntity=..`, of an enrollment or of an event.
pub(crate) fn relationships(call: &Call) -> Result<Value> {
    reading(call, "*", |reader| {
        let ties = if let Some(uid) = select::one_uid(call, "trackedEntity")? {
            let row: Option<Row<TrackedEntity>> = reader.load(&uid)?;
            row.ok_or_else(|| missing(Kind::TrackedEntity, &uid))?.ties
        } else if let Some(uid) = select::one_uid(call, "enrollment")? {
            let row: Option<Row<Enrollment>> = reader.load(&uid)?;
            row.ok_or_else(|| missing(Kind::Enrollment, &uid))?.ties
        } else if let Some(uid) = select::one_uid(call, "event")? {
            let row: Option<Row<Event>> = reader.load(&uid)?;
            row.ok_or_else(|| missing(Kind::Event, &uid))?.ties
        } else {
            return Err(Problem::bad(
                "one of trackedEntity, enrollment or event must be given",
            ));
        };
        let mut window = Window::of(call)?;
        let mut page = Vec::new();
        for relationship in reader.ties(&ties)? {
            if window.takes() {
                page.push(reader.project(&relationship)?);
            }
        }
        Ok(window.answer("relationships", &page))
    })
}

/// `GET tracker/relationships/<uid>`.
pub(crate) fn relationship(call: &Call, uid: &str) -> Result<Value> {
    reading(call, "*", |reader| {
        let row: Row<Relationship> = reader
            .load(uid)?
            .ok_or_else(|| missing(Kind::Relationship, uid))?;
        if !reader.sees_tie(&row.object)? {
            return Err(missing(Kind::Relationship, uid));
        }
        reader.project(&reader.named(row.object))
    })
}
