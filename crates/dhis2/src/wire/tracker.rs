//! Tracker objects in the shape of the new API, which is the one that everything here works with; [`super::shape`] leads to it
//! from the old one and back.
//!
//! Reading is lenient as real servers and clients are: unknown members are ignored, null is as if it were absent, numbers and
//! booleans are taken where a text is meant. Dates stay texts here. An absent or null `value` of an attribute or data value means
//! that it is to be removed, and is written as an explicit null.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// A person or thing that is followed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TrackedEntity {
    /// Its uid; empty if the sender gave none, as everywhere below.
    #[serde(deserialize_with = "text")]
    pub tracked_entity: String,
    /// Its type.
    #[serde(deserialize_with = "text")]
    pub tracked_entity_type: String,
    /// Where it was registered.
    #[serde(deserialize_with = "text")]
    pub org_unit: String,
    /// Times of the server and the device.
    #[serde(flatten)]
    pub times: Times,
    /// Whether it was deleted.
    #[serde(deserialize_with = "or_default")]
    pub deleted: bool,
    /// Whether it is not in use.
    #[serde(deserialize_with = "or_default")]
    pub inactive: bool,
    /// Whether it may be another one registered twice.
    #[serde(deserialize_with = "or_default")]
    pub potential_duplicate: bool,
    /// GeoJSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub geometry: Option<Value>,
    /// Values of its type's attributes.
    #[serde(deserialize_with = "or_default")]
    pub attributes: Vec<Attribute>,
    /// Which unit owns it in which program.
    #[serde(deserialize_with = "or_default")]
    pub program_owners: Vec<ProgramOwner>,
    /// What it is enrolled in.
    #[serde(deserialize_with = "or_default")]
    pub enrollments: Vec<Enrollment>,
    /// To what it relates.
    #[serde(deserialize_with = "or_default")]
    pub relationships: Vec<Relationship>,
}

/// A tracked entity's time in a program.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Enrollment {
    /// Its uid.
    #[serde(deserialize_with = "text")]
    pub enrollment: String,
    /// Whose.
    #[serde(deserialize_with = "text")]
    pub tracked_entity: String,
    /// In what.
    #[serde(deserialize_with = "text")]
    pub program: String,
    /// Where.
    #[serde(deserialize_with = "text")]
    pub org_unit: String,
    /// `ACTIVE`, `COMPLETED` or `CANCELLED`.
    #[serde(deserialize_with = "text", skip_serializing_if = "String::is_empty")]
    pub status: String,
    /// When it began.
    #[serde(deserialize_with = "text", skip_serializing_if = "String::is_empty")]
    pub enrolled_at: String,
    /// When what it is about happened.
    #[serde(deserialize_with = "text", skip_serializing_if = "String::is_empty")]
    pub occurred_at: String,
    /// When it was completed.
    #[serde(deserialize_with = "text", skip_serializing_if = "String::is_empty")]
    pub completed_at: String,
    /// Whether someone should look at it.
    #[serde(alias = "followup", deserialize_with = "or_default")]
    pub follow_up: bool,
    /// Times of the server and the device.
    #[serde(flatten)]
    pub times: Times,
    /// Whether it was deleted.
    #[serde(deserialize_with = "or_default")]
    pub deleted: bool,
    /// Combination of category options.
    #[serde(deserialize_with = "text", skip_serializing_if = "String::is_empty")]
    pub attribute_option_combo: String,
    /// GeoJSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub geometry: Option<Value>,
    /// Values of the program's attributes.
    #[serde(deserialize_with = "or_default")]
    pub attributes: Vec<Attribute>,
    /// Notes.
    #[serde(deserialize_with = "or_default")]
    pub notes: Vec<Note>,
    /// What happened.
    #[serde(deserialize_with = "or_default")]
    pub events: Vec<Event>,
    /// To what it relates.
    #[serde(deserialize_with = "or_default")]
    pub relationships: Vec<Relationship>,
}

/// A visit, a form filled in.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Event {
    /// Its uid.
    #[serde(deserialize_with = "text")]
    pub event: String,
    /// In which enrollment; none in programs without registration.
    #[serde(deserialize_with = "text", skip_serializing_if = "String::is_empty")]
    pub enrollment: String,
    /// Whose; told by servers.
    #[serde(deserialize_with = "text", skip_serializing_if = "String::is_empty")]
    pub tracked_entity: String,
    /// Of which program.
    #[serde(deserialize_with = "text")]
    pub program: String,
    /// In which of its stages.
    #[serde(deserialize_with = "text")]
    pub program_stage: String,
    /// Where.
    #[serde(deserialize_with = "text")]
    pub org_unit: String,
    /// `ACTIVE`, `COMPLETED`, `SCHEDULE`, `OVERDUE`, `SKIPPED` or `VISITED`.
    #[serde(deserialize_with = "text", skip_serializing_if = "String::is_empty")]
    pub status: String,
    /// When it happened.
    #[serde(deserialize_with = "text", skip_serializing_if = "String::is_empty")]
    pub occurred_at: String,
    /// When it should.
    #[serde(deserialize_with = "text", skip_serializing_if = "String::is_empty")]
    pub scheduled_at: String,
    /// When it was completed.
    #[serde(deserialize_with = "text", skip_serializing_if = "String::is_empty")]
    pub completed_at: String,
    /// Whether someone should look at it; below 2.41 servers write it `followup`.
    #[serde(alias = "followup", deserialize_with = "or_default")]
    pub follow_up: bool,
    /// Times of the server and the device.
    #[serde(flatten)]
    pub times: Times,
    /// Whether it was deleted.
    #[serde(deserialize_with = "or_default")]
    pub deleted: bool,
    /// Combination of category options.
    #[serde(deserialize_with = "text", skip_serializing_if = "String::is_empty")]
    pub attribute_option_combo: String,
    /// Its category options.
    #[serde(deserialize_with = "text", skip_serializing_if = "String::is_empty")]
    pub attribute_category_options: String,
    /// To whom it is given.
    #[serde(
        deserialize_with = "or_default",
        skip_serializing_if = "AssignedUser::is_nobody"
    )]
    pub assigned_user: AssignedUser,
    /// GeoJSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub geometry: Option<Value>,
    /// What was filled in.
    #[serde(deserialize_with = "or_default")]
    pub data_values: Vec<DataValue>,
    /// Notes.
    #[serde(deserialize_with = "or_default")]
    pub notes: Vec<Note>,
    /// To what it relates.
    #[serde(deserialize_with = "or_default")]
    pub relationships: Vec<Relationship>,
}

/// When an object was made and changed: on the server, and on the device that did it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Times {
    /// Made, by the server's clock.
    #[serde(deserialize_with = "text", skip_serializing_if = "String::is_empty")]
    pub created_at: String,
    /// Changed, by the server's clock.
    #[serde(deserialize_with = "text", skip_serializing_if = "String::is_empty")]
    pub updated_at: String,
    /// Made, by the device's clock.
    #[serde(deserialize_with = "text", skip_serializing_if = "String::is_empty")]
    pub created_at_client: String,
    /// Changed, by the device's clock.
    #[serde(deserialize_with = "text", skip_serializing_if = "String::is_empty")]
    pub updated_at_client: String,
}

/// The value of an attribute.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Attribute {
    /// Which.
    #[serde(deserialize_with = "text")]
    pub attribute: String,
    /// Its value; none removes it.
    #[serde(deserialize_with = "scalar")]
    pub value: Option<String>,
    /// When it was first set.
    #[serde(deserialize_with = "text", skip_serializing_if = "String::is_empty")]
    pub created_at: String,
    /// When it was last set.
    #[serde(deserialize_with = "text", skip_serializing_if = "String::is_empty")]
    pub updated_at: String,
}

/// The value of a data element in an event.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DataValue {
    /// Which.
    #[serde(deserialize_with = "text")]
    pub data_element: String,
    /// Its value; none removes it.
    #[serde(deserialize_with = "scalar")]
    pub value: Option<String>,
    /// Whether it was found elsewhere.
    #[serde(deserialize_with = "or_default")]
    pub provided_elsewhere: bool,
    /// When it was first set.
    #[serde(deserialize_with = "text", skip_serializing_if = "String::is_empty")]
    pub created_at: String,
    /// When it was last set.
    #[serde(deserialize_with = "text", skip_serializing_if = "String::is_empty")]
    pub updated_at: String,
}

/// A remark.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Note {
    /// Its uid.
    #[serde(deserialize_with = "text")]
    pub note: String,
    /// What it says.
    #[serde(deserialize_with = "text")]
    pub value: String,
    /// When it was stored.
    #[serde(deserialize_with = "text", skip_serializing_if = "String::is_empty")]
    pub stored_at: String,
    /// By whom.
    #[serde(deserialize_with = "text", skip_serializing_if = "String::is_empty")]
    pub stored_by: String,
}

/// The unit that owns a tracked entity in a program.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProgramOwner {
    /// Which tracked entity.
    #[serde(deserialize_with = "text", skip_serializing_if = "String::is_empty")]
    pub tracked_entity: String,
    /// In which program.
    #[serde(deserialize_with = "text")]
    pub program: String,
    /// Who owns it.
    #[serde(deserialize_with = "text")]
    pub org_unit: String,
}

/// To whom an event is given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AssignedUser {
    /// Uid of the user.
    #[serde(deserialize_with = "text", skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// Name of the user.
    #[serde(deserialize_with = "text", skip_serializing_if = "String::is_empty")]
    pub username: String,
}

impl AssignedUser {
    /// Whether there is none.
    pub fn is_nobody(&self) -> bool {
        self.uid.is_empty() && self.username.is_empty()
    }
}

/// A tie between two objects.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Relationship {
    /// Its uid.
    #[serde(deserialize_with = "text")]
    pub relationship: String,
    /// Its type.
    #[serde(deserialize_with = "text")]
    pub relationship_type: String,
    /// Name of its type; told by servers.
    #[serde(deserialize_with = "text", skip_serializing_if = "String::is_empty")]
    pub relationship_name: String,
    /// Times of the server and the device.
    #[serde(flatten)]
    pub times: Times,
    /// Whether it was deleted.
    #[serde(deserialize_with = "or_default")]
    pub deleted: bool,
    /// Whether it reads the same from both sides; told by servers.
    #[serde(deserialize_with = "or_default")]
    pub bidirectional: bool,
    /// One side.
    #[serde(deserialize_with = "or_default")]
    pub from: Item,
    /// The other side.
    #[serde(deserialize_with = "or_default")]
    pub to: Item,
}

/// A side of a relationship: one of the three is there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Item {
    /// A tracked entity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tracked_entity: Option<EntityItem>,
    /// An enrollment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enrollment: Option<EnrollmentItem>,
    /// An event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<EventItem>,
}

impl Item {
    /// Kind and uid of the object, if exactly one is named.
    pub fn object(&self) -> Option<(Kind, &str)> {
        let entity = self.tracked_entity.as_ref();
        let enrollment = self.enrollment.as_ref();
        let event = self.event.as_ref();
        let all = [
            entity.map(|item| (Kind::TrackedEntity, item.tracked_entity.as_str())),
            enrollment.map(|item| (Kind::Enrollment, item.enrollment.as_str())),
            event.map(|item| (Kind::Event, item.event.as_str())),
        ];
        let mut named = all.into_iter().flatten();
        named.next().filter(|_| named.next().is_none())
    }
}

macro_rules! items {
    ($($(#[$doc:meta])* $name:ident($field:ident);)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        pub struct $name {
            /// Its uid.
            #[serde(deserialize_with = "text")]
            pub $field: String,
        }
    )*};
}

items! {
    /// A tracked entity as a side.
    EntityItem(tracked_entity);
    /// An enrollment as a side.
    EnrollmentItem(enrollment);
    /// An event as a side.
    EventItem(event);
}

/// The four kinds of tracker objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[allow(missing_docs, reason = "the names say it")]
pub enum Kind {
    TrackedEntity,
    Enrollment,
    Event,
    Relationship,
}

impl Kind {
    /// All of them, parents before children.
    pub const ALL: [Self; 4] = [
        Self::TrackedEntity,
        Self::Enrollment,
        Self::Event,
        Self::Relationship,
    ];

    /// The name in job reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::TrackedEntity => "TRACKED_ENTITY",
            Self::Enrollment => "ENROLLMENT",
            Self::Event => "EVENT",
            Self::Relationship => "RELATIONSHIP",
        }
    }
    /// The kind of a name in job reports.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
    /// The collection in payloads of the new API.
    pub fn collection(self) -> &'static str {
        match self {
            Self::TrackedEntity => "trackedEntities",
            Self::Enrollment => "enrollments",
            Self::Event => "events",
            Self::Relationship => "relationships",
        }
    }
    /// The member that holds the uid in the new API.
    pub fn member(self) -> &'static str {
        match self {
            Self::TrackedEntity => "trackedEntity",
            Self::Enrollment => "enrollment",
            Self::Event => "event",
            Self::Relationship => "relationship",
        }
    }
    /// The word in sentences.
    pub fn word(self) -> &'static str {
        match self {
            Self::TrackedEntity => "TrackedEntity",
            Self::Enrollment => "Enrollment",
            Self::Event => "Event",
            Self::Relationship => "Relationship",
        }
    }
}

/// The body of an import by the new API.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Payload {
    /// Tracked entities, perhaps with what is in them.
    #[serde(deserialize_with = "or_default")]
    pub tracked_entities: Vec<TrackedEntity>,
    /// Enrollments, perhaps with their events.
    #[serde(deserialize_with = "or_default")]
    pub enrollments: Vec<Enrollment>,
    /// Events.
    #[serde(deserialize_with = "or_default")]
    pub events: Vec<Event>,
    /// Relationships.
    #[serde(deserialize_with = "or_default")]
    pub relationships: Vec<Relationship>,
}

impl Payload {
    /// The same objects without nesting: children name their parents, where the sender left that to the nesting.
    #[must_use]
    pub fn flat(self) -> Self {
        let mut flat = Self {
            relationships: self.relationships,
            ..Self::default()
        };
        for mut entity in self.tracked_entities {
            for mut enrollment in std::mem::take(&mut entity.enrollments) {
                fill(&mut enrollment.tracked_entity, &entity.tracked_entity);
                flat.take_enrollment(enrollment);
            }
            flat.relationships.append(&mut entity.relationships);
            flat.tracked_entities.push(entity);
        }
        for enrollment in self.enrollments {
            flat.take_enrollment(enrollment);
        }
        for event in self.events {
            flat.take_event(event);
        }
        flat
    }
    fn take_enrollment(&mut self, mut enrollment: Enrollment) {
        for mut event in std::mem::take(&mut enrollment.events) {
            fill(&mut event.enrollment, &enrollment.enrollment);
            fill(&mut event.program, &enrollment.program);
            self.take_event(event);
        }
        self.relationships.append(&mut enrollment.relationships);
        self.enrollments.push(enrollment);
    }
    fn take_event(&mut self, mut event: Event) {
        self.relationships.append(&mut event.relationships);
        self.events.push(event);
    }
    /// How many objects there are at the top.
    pub fn len(&self) -> usize {
        self.tracked_entities.len()
            + self.enrollments.len()
            + self.events.len()
            + self.relationships.len()
    }
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn fill(slot: &mut String, with: &str) {
    if slot.is_empty() {
        with.clone_into(slot);
    }
}

/// Null is as if it were absent.
fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// A text; null is empty, other scalars are their texts.
fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(scalar(deserializer)?.unwrap_or_default())
}

/// A text or null; other scalars are their texts.
fn scalar<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Scalar {
        Text(String),
        Flag(bool),
        Number(serde_json::Number),
    }
    Ok(
        Option::<Scalar>::deserialize(deserializer)?.map(|scalar| match scalar {
            Scalar::Text(text) => text,
            Scalar::Flag(flag) => flag.to_string(),
            Scalar::Number(number) => number.to_string(),
        }),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_removed_value_is_told_from_an_empty_one() {
        let read: Vec<DataValue> = serde_json::from_value(json!([
            {"dataElement": "a", "value": null}, {"dataElement": "b"}, {"dataElement": "c", "value": ""},
            {"dataElement": "d", "value": 7}, {"dataElement": "e", "value": true}
        ]))
        .unwrap();
        let values: Vec<Option<&str>> = read.iter().map(|v| v.value.as_deref()).collect();
        assert_eq!(values, [None, None, Some(""), Some("7"), Some("true")]);
        let written = serde_json::to_value(&read[0]).unwrap();
        assert_eq!(written["value"], Value::Null);
        assert!(written.as_object().unwrap().contains_key("value"));
    }

    #[test]
    fn nested_objects_come_apart_and_name_their_parents() {
        let payload: Payload = serde_json::from_value(json!({"trackedEntities": [{
            "trackedEntity": "t", "relationships": [{"relationship": "r1"}],
            "enrollments": [{"enrollment": "e", "program": "p", "events": [
                {"event": "v", "relationships": [{"relationship": "r2"}]}
            ]}]
        }], "events": null}))
        .unwrap();
        let flat = payload.flat();
        assert_eq!(flat.enrollments[0].tracked_entity, "t");
        assert_eq!(flat.events[0].enrollment, "e");
        assert_eq!(flat.events[0].program, "p");
        assert_eq!(flat.relationships.len(), 2);
        assert!(flat.tracked_entities[0].enrollments.is_empty());
        assert_eq!(flat.len(), 5);
    }

    #[test]
    fn a_side_of_a_relationship_names_one_object() {
        let item: Item = serde_json::from_value(
            json!({"trackedEntity": {"trackedEntity": "t", "deleted": false}}),
        )
        .unwrap();
        assert_eq!(item.object(), Some((Kind::TrackedEntity, "t")));
        assert_eq!(Item::default().object(), None);
        let two = Item {
            event: Some(EventItem {
                event: "v".to_owned(),
            }),
            ..item
        };
        assert_eq!(two.object(), None);
    }
}
