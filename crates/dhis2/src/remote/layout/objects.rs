//! Between tracker objects of the wire and records of a copy.

use haversack_model::Record;
use serde_json::Value as Json;

use super::Table;
use crate::wire::geojson;
use crate::wire::tracker::{
    AssignedUser, Attribute, DataValue, Enrollment, EnrollmentItem, EntityItem, Event, EventItem,
    Item, Kind, Note, ProgramOwner, Relationship, Times, TrackedEntity,
};

impl Table {
    /// The record of a tracked entity. Attributes without a column here are those of programs: see [`Self::of_enrollment`].
    pub fn of_entity(&self, entity: &TrackedEntity) -> Record {
        let mut record = self.begin(
            &entity.tracked_entity,
            &entity.times,
            entity.geometry.as_ref(),
        );
        self.put(&mut record, "org_unit", &entity.org_unit);
        self.put_flag(&mut record, "inactive", entity.inactive);
        self.put_flag(
            &mut record,
            "potential_duplicate",
            entity.potential_duplicate,
        );
        self.put_values(&mut record, attributes(&entity.attributes));
        // Some clients send the type's attributes with an enrollment alone.
        for enrollment in entity.enrollments.iter().filter(|e| !e.deleted) {
            self.put_values(&mut record, attributes(&enrollment.attributes));
        }
        let children = entity.enrollments.iter().filter(|child| !child.deleted);
        let children = children.map(|child| child.enrollment.as_str());
        self.put(&mut record, "children", &joined(children));
        record
    }
    /// The record of an enrollment. `entity` may hold values of the program's attributes, where it does not itself.
    pub fn of_enrollment(&self, enrollment: &Enrollment, entity: &TrackedEntity) -> Record {
        let mut record = self.begin(
            &enrollment.enrollment,
            &enrollment.times,
            enrollment.geometry.as_ref(),
        );
        let owner = entity
            .program_owners
            .iter()
            .find(|owner| owner.program == enrollment.program);
        let of = if enrollment.tracked_entity.is_empty() {
            &entity.tracked_entity
        } else {
            &enrollment.tracked_entity
        };
        for (column, text) in [
            ("tracked_entity", of.as_str()),
            ("org_unit", &enrollment.org_unit),
            ("owner", owner.map_or("", |owner| owner.org_unit.as_str())),
            ("status", &enrollment.status),
            ("enrolled_at", &enrollment.enrolled_at),
            ("occurred_at", &enrollment.occurred_at),
            ("completed_at", &enrollment.completed_at),
            ("attribute_option_combo", &enrollment.attribute_option_combo),
        ] {
            self.put(&mut record, column, text);
        }
        self.put_flag(&mut record, "follow_up", enrollment.follow_up);
        // The first counts.
        self.put_values(&mut record, attributes(&enrollment.attributes));
        self.put_values(&mut record, attributes(&entity.attributes));
        let children = enrollment.events.iter().filter(|child| !child.deleted);
        let children = children.map(|child| child.event.as_str());
        self.put(&mut record, "children", &joined(children));
        record
    }
    /// The record of an event.
    pub fn of_event(&self, event: &Event) -> Record {
        let mut record = self.begin(&event.event, &event.times, event.geometry.as_ref());
        let elsewhere = event.data_values.iter().filter(|v| v.provided_elsewhere);
        let elsewhere = joined(elsewhere.map(|value| value.data_element.as_str()));
        for (column, text) in [
            ("enrollment", event.enrollment.as_str()),
            ("org_unit", &event.org_unit),
            ("status", &event.status),
            ("occurred_at", &event.occurred_at),
            ("scheduled_at", &event.scheduled_at),
            ("completed_at", &event.completed_at),
            ("attribute_option_combo", &event.attribute_option_combo),
            (
                "attribute_category_options",
                &event.attribute_category_options,
            ),
            ("assigned_user", &event.assigned_user.uid),
            ("assigned_username", &event.assigned_user.username),
            ("provided_elsewhere", &elsewhere),
        ] {
            self.put(&mut record, column, text);
        }
        self.put_flag(&mut record, "follow_up", event.follow_up);
        let values = event.data_values.iter();
        let values = values.filter_map(|v| Some((v.data_element.as_str(), v.value.as_deref()?)));
        self.put_values(&mut record, values);
        record
    }
    /// The record of a relationship.
    pub fn of_relationship(&self, relationship: &Relationship) -> Record {
        let side = |item: &Item| match item.object() {
            Some((kind, uid)) => (kind.member(), uid.to_owned()),
            None => ("", String::new()),
        };
        let (from, to) = (side(&relationship.from), side(&relationship.to));
        self.record(
            &relationship.relationship,
            &[
                ("relationship_type", &relationship.relationship_type),
                ("from_kind", from.0),
                ("from_uid", &from.1),
                ("to_kind", to.0),
                ("to_uid", &to.1),
                ("created_at", &relationship.times.created_at),
                ("updated_at", &relationship.times.updated_at),
            ],
        )
    }
    /// The record of a remark on an enrollment or event.
    pub fn of_note(&self, note: &Note, (kind, parent): (Kind, &str)) -> Record {
        self.record(
            &note.note,
            &[
                ("parent_kind", kind.member()),
                ("parent", parent),
                ("value", &note.value),
                ("stored_at", &note.stored_at),
                ("stored_by", &note.stored_by),
            ],
        )
    }

    /// The record of a file that was fetched.
    pub fn of_file(&self, uid: &str, file: &crate::remote::http::FetchedFile) -> Record {
        let cells = [
            ("name", file.name.as_str()),
            ("content_type", file.content_type.as_str()),
        ];
        let mut record = self.record(uid, &cells);
        let at = self.column("content");
        if let Some(slot) = at.and_then(|at| record.values.get_mut(at)) {
            *slot = haversack_model::Value::Blob(file.content.clone());
        }
        record
    }

    /// The tracked entity of a record, without children. Columns that are null are attributes without a value.
    pub fn entity(&self, record: &Record) -> TrackedEntity {
        let entity_type = match &self.role {
            super::Role::TrackedEntities { entity_type } => entity_type.clone(),
            _ => String::new(),
        };
        TrackedEntity {
            tracked_entity: record.global_id.to_string(),
            tracked_entity_type: entity_type,
            org_unit: self.text(record, "org_unit"),
            times: self.times(record),
            inactive: self.flag(record, "inactive"),
            potential_duplicate: self.flag(record, "potential_duplicate"),
            geometry: place(record),
            attributes: self.attributes(record),
            ..TrackedEntity::default()
        }
    }
    /// The enrollment of a record, without events and notes; its owner too, if it is known.
    pub fn enrollment(&self, record: &Record) -> (Enrollment, Option<ProgramOwner>) {
        let program = self.program();
        let of = self.text(record, "tracked_entity");
        let owner = self.text(record, "owner");
        let owner = (!owner.is_empty()).then(|| ProgramOwner {
            tracked_entity: of.clone(),
            program: program.clone(),
            org_unit: owner,
        });
        let enrollment = Enrollment {
            enrollment: record.global_id.to_string(),
            tracked_entity: of,
            program,
            org_unit: self.text(record, "org_unit"),
            status: self.text(record, "status"),
            enrolled_at: self.text(record, "enrolled_at"),
            occurred_at: self.text(record, "occurred_at"),
            completed_at: self.text(record, "completed_at"),
            follow_up: self.flag(record, "follow_up"),
            times: self.times(record),
            attribute_option_combo: self.text(record, "attribute_option_combo"),
            geometry: place(record),
            attributes: self.attributes(record),
            ..Enrollment::default()
        };
        (enrollment, owner)
    }
    /// The event of a record, without notes.
    pub fn event(&self, record: &Record) -> Event {
        let stage = match &self.role {
            super::Role::Events { stage, .. } => stage.clone(),
            _ => String::new(),
        };
        let elsewhere = self.text(record, "provided_elsewhere");
        let values = self.values().iter().filter_map(|(at, uid)| {
            let value = super::value_out(record.values.get(*at)?)?;
            Some(DataValue {
                data_element: uid.clone(),
                value: Some(value),
                provided_elsewhere: elsewhere.split(',').any(|of| of == uid),
                ..DataValue::default()
            })
        });
        Event {
            event: record.global_id.to_string(),
            enrollment: self.text(record, "enrollment"),
            program: self.program(),
            program_stage: stage,
            org_unit: self.text(record, "org_unit"),
            status: self.text(record, "status"),
            occurred_at: self.text(record, "occurred_at"),
            scheduled_at: self.text(record, "scheduled_at"),
            completed_at: self.text(record, "completed_at"),
            follow_up: self.flag(record, "follow_up"),
            times: self.times(record),
            attribute_option_combo: self.text(record, "attribute_option_combo"),
            attribute_category_options: self.text(record, "attribute_category_options"),
            assigned_user: AssignedUser {
                uid: self.text(record, "assigned_user"),
                username: self.text(record, "assigned_username"),
            },
            geometry: place(record),
            data_values: values.collect(),
            ..Event::default()
        }
    }
    /// The relationship of a record.
    pub fn relationship(&self, record: &Record) -> Relationship {
        let side = |kind: &str, uid: &str| {
            let uid = self.text(record, uid);
            let mut item = Item::default();
            match self.text(record, kind).as_str() {
                "trackedEntity" => {
                    item.tracked_entity = Some(EntityItem {
                        tracked_entity: uid,
                    });
                }
                "enrollment" => item.enrollment = Some(EnrollmentItem { enrollment: uid }),
                "event" => item.event = Some(EventItem { event: uid }),
                _ => {}
            }
            item
        };
        Relationship {
            relationship: record.global_id.to_string(),
            relationship_type: self.text(record, "relationship_type"),
            from: side("from_kind", "from_uid"),
            to: side("to_kind", "to_uid"),
            times: Times {
                created_at: self.text(record, "created_at"),
                updated_at: self.text(record, "updated_at"),
                ..Times::default()
            },
            ..Relationship::default()
        }
    }
    /// The remark of a record, and the uid of the enrollment or event that it is on.
    pub fn note(&self, record: &Record) -> (Note, Option<Kind>, String) {
        let kind = match self.text(record, "parent_kind").as_str() {
            "enrollment" => Some(Kind::Enrollment),
            "event" => Some(Kind::Event),
            _ => None,
        };
        let note = Note {
            note: record.global_id.to_string(),
            value: self.text(record, "value"),
            stored_at: self.text(record, "stored_at"),
            stored_by: self.text(record, "stored_by"),
        };
        (note, kind, self.text(record, "parent"))
    }

    /// The uids of children that the server told with a record.
    pub fn children(&self, record: &Record) -> Vec<String> {
        let text = self.text(record, "children");
        let uids = text.split(',').filter(|uid| !uid.is_empty());
        uids.map(str::to_owned).collect()
    }
    /// Marks a record as the mere other side of a relationship.
    pub fn set_stub(&self, record: &mut Record) {
        self.put_flag(record, "is_stub", true);
    }
    /// Whether a record is the mere other side of a relationship: it is not to be edited.
    pub fn is_stub(&self, record: &Record) -> bool {
        self.flag(record, "is_stub")
    }

    fn begin(&self, uid: &str, times: &Times, geometry: Option<&Json>) -> Record {
        let mut record = self.empty(uid);
        record.geometry = geometry.and_then(geojson::read);
        for (column, text) in [
            ("created_at", &times.created_at),
            ("updated_at", &times.updated_at),
            ("created_at_client", &times.created_at_client),
            ("updated_at_client", &times.updated_at_client),
        ] {
            self.put(&mut record, column, text);
        }
        self.put_flag(&mut record, "is_stub", false);
        record
    }
    fn times(&self, record: &Record) -> Times {
        Times {
            created_at: self.text(record, "created_at"),
            updated_at: self.text(record, "updated_at"),
            created_at_client: self.text(record, "created_at_client"),
            updated_at_client: self.text(record, "updated_at_client"),
        }
    }
    fn program(&self) -> String {
        match &self.role {
            super::Role::Enrollments { program } | super::Role::Events { program, .. } => {
                program.clone()
            }
            _ => String::new(),
        }
    }
    /// Sets values that have a column and none yet.
    fn put_values<'a>(
        &self,
        record: &mut Record,
        values: impl Iterator<Item = (&'a str, &'a str)>,
    ) {
        for (uid, text) in values {
            let Some(at) = self.column_of_value(uid) else {
                continue;
            };
            if let (Some(field), Some(slot)) =
                (self.collection.fields.get(at), record.values.get_mut(at))
                && slot.is_null()
            {
                *slot = super::value_in(field.kind, text);
            }
        }
    }
    fn attributes(&self, record: &Record) -> Vec<Attribute> {
        let all = self.values().iter().filter_map(|(at, uid)| {
            Some(Attribute {
                attribute: uid.clone(),
                value: Some(super::value_out(record.values.get(*at)?)?),
                ..Attribute::default()
            })
        });
        all.collect()
    }
}

fn attributes(all: &[Attribute]) -> impl Iterator<Item = (&str, &str)> {
    all.iter()
        .filter_map(|found| Some((found.attribute.as_str(), found.value.as_deref()?)))
}

/// Uids in order, so that another order of the same is no change.
fn joined<'a>(uids: impl Iterator<Item = &'a str>) -> String {
    let mut all: Vec<&str> = uids.collect();
    all.sort_unstable();
    all.join(",")
}

fn place(record: &Record) -> Option<Json> {
    let place = record.geometry.as_ref().map(geojson::write);
    place.filter(|json| !json.is_null())
}
