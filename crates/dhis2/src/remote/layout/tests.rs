use serde_json::json;

use haversack_model::{FieldType, Value};

use super::*;
use crate::wire::tracker::{Event, Item, Relationship, TrackedEntity};

fn described(id: &str, name: &str, value_type: &str) -> Described {
    Described {
        id: id.to_owned(),
        name: name.to_owned(),
        value_type: value_type.to_owned(),
        options: Vec::new(),
    }
}

fn schema() -> Schema {
    Schema {
        entity_types: vec![EntityType {
            id: "typePerson1".into(),
            name: "Person".into(),
            feature_type: "POINT".into(),
            attributes: vec![described("attrName001", "Name", "TEXT")],
        }],
        programs: vec![
            Program {
                id: "progChild01".into(),
                name: "Child".into(),
                entity_type: "typePerson1".into(),
                attributes: vec![
                    described("attrName001", "Name", "TEXT"),
                    described("attrAge0001", "Age", "INTEGER"),
                ],
                stages: vec![Stage {
                    id: "stageVisit1".into(),
                    name: "Visit".into(),
                    elements: vec![described("elemWeight1", "Weight", "NUMBER")],
                    ..Stage::default()
                }],
                ..Program::default()
            },
            Program {
                id: "progCount01".into(),
                name: "Count".into(),
                stages: vec![Stage {
                    id: "stageCount1".into(),
                    name: "Count".into(),
                    ..Stage::default()
                }],
                ..Program::default()
            },
        ],
    }
}

fn layout() -> Layout {
    Layout::of(&plan(&[], &schema()))
}

fn person() -> TrackedEntity {
    serde_json::from_value(json!({
        "trackedEntity": "person00001", "trackedEntityType": "typePerson1", "orgUnit": "unit0000001",
        "createdAt": "2026-01-01T00:00:00.000", "updatedAt": "2026-01-02T00:00:00.000",
        "geometry": {"type": "Point", "coordinates": [1.5, 2.5]},
        "attributes": [{"attribute": "attrName001", "value": "Ada"}, {"attribute": "attrAge0001", "value": "36"}],
        "programOwners": [{"program": "progChild01", "orgUnit": "unit0000002"}],
        "enrollments": [{"enrollment": "enrol000001", "program": "progChild01", "orgUnit": "unit0000001",
            "enrolledAt": "2026-01-01T00:00:00.000", "status": "ACTIVE", "followUp": true,
            "events": [{"event": "event000001", "enrollment": "enrol000001", "program": "progChild01",
                "programStage": "stageVisit1", "orgUnit": "unit0000001", "status": "ACTIVE",
                "occurredAt": "2026-01-03T00:00:00.000", "assignedUser": {"uid": "user0000001", "username": "nurse"},
                "dataValues": [{"dataElement": "elemWeight1", "value": "40.5", "providedElsewhere": true}]}]}]
    }))
    .unwrap()
}

#[test]
fn each_type_program_and_stage_has_a_layer_with_columns_of_its_own() {
    let layout = layout();
    let people = layout.entities("typePerson1").unwrap();
    let enrollments = layout.enrollments("progChild01").unwrap();
    let visits = layout.events("stageVisit1").unwrap();
    assert!(
        layout.enrollments("progCount01").is_none(),
        "nobody is enrolled there"
    );
    assert!(layout.events("stageCount1").is_some());
    assert!(people.column("name").is_some() && people.column("age").is_none());
    assert!(
        enrollments.column("age").is_some() && enrollments.column("name").is_none(),
        "attributes of the type are with the type"
    );
    let weight = visits.column("weight").unwrap();
    assert_eq!(visits.collection.fields[weight].kind, FieldType::Double);
    assert_eq!(visits.value_of_column(weight), Some("elemWeight1"));
    assert!(visits.collection.has_uids());
}

#[test]
fn objects_come_back_from_records_as_they_were() {
    let layout = layout();
    let person = person();
    let people = layout.entities("typePerson1").unwrap();
    let record = people.of_entity(&person);
    let back = people.entity(&record);
    assert_eq!(back.attributes.len(), 1, "the other one is of the program");
    assert_eq!(back.attributes[0].value.as_deref(), Some("Ada"));
    assert_eq!(back.geometry, person.geometry);
    assert_eq!(
        (back.times, back.org_unit),
        (person.times.clone(), person.org_unit.clone())
    );
    assert_eq!(people.children(&record), ["enrol000001"]);

    let enrollments = layout.enrollments("progChild01").unwrap();
    let record = enrollments.of_enrollment(&person.enrollments[0], &person);
    let (back, owner) = enrollments.enrollment(&record);
    assert_eq!(back.tracked_entity, "person00001");
    assert_eq!(back.attributes[0].value.as_deref(), Some("36"));
    assert!(back.follow_up);
    assert_eq!(owner.unwrap().org_unit, "unit0000002");

    let visits = layout.events("stageVisit1").unwrap();
    let event = &person.enrollments[0].events[0];
    let record = visits.of_event(event);
    assert_eq!(
        record.values[visits.column("weight").unwrap()],
        Value::Real(40.5)
    );
    assert_eq!(&visits.event(&record), event);
}

#[test]
fn relationships_and_notes_come_back_as_they_were() {
    let layout = layout();
    let ties = layout.table(RELATIONSHIPS).unwrap();
    let relationship = Relationship {
        relationship: "tie00000001".into(),
        relationship_type: "tieType0001".into(),
        from: serde_json::from_value::<Item>(json!({"trackedEntity": {"trackedEntity": "a"}}))
            .unwrap(),
        to: serde_json::from_value::<Item>(json!({"event": {"event": "b"}})).unwrap(),
        ..Relationship::default()
    };
    let record = ties.of_relationship(&relationship);
    assert_eq!(ties.relationship(&record), relationship);
    let notes = layout.table(NOTES).unwrap();
    let note = crate::wire::tracker::Note {
        note: "note0000001".into(),
        value: "was away".into(),
        ..Default::default()
    };
    let record = notes.of_note(&note, (Kind::Event, "event000001"));
    assert_eq!(
        notes.note(&record),
        (note, Some(Kind::Event), "event000001".into())
    );
}

#[test]
fn a_copy_grows_and_keeps_its_numbers_and_names() {
    let first = plan(&[], &schema());
    let mut wanted = schema();
    wanted.entity_types[0].name = "People".into();
    wanted.entity_types[0].attributes[0].name = "Full name".into();
    let attribute = described("attrPhone01", "Phone", "PHONE_NUMBER");
    wanted.entity_types[0].attributes.insert(0, attribute);
    wanted.programs.remove(1);
    let second = plan(&first, &wanted);
    let (before, after) = (Layout::of(&first), Layout::of(&second));
    let people = |layout: &Layout| layout.entities("typePerson1").unwrap().clone();
    let (old, new) = (people(&before), people(&after));
    assert_eq!(old.id(), new.id());
    assert_eq!(
        new.column_of_value("attrName001"),
        old.column_of_value("attrName001")
    );
    let renamed = &new.collection.fields[new.column("name").unwrap()];
    assert_eq!(renamed.alias, "Full name");
    assert_eq!(new.column("phone"), Some(old.collection.fields.len()));
    assert!(
        after.events("stageCount1").is_some(),
        "unsent work may be in it"
    );
    assert_eq!(plan(&second, &wanted), second, "nothing more to do");
}

#[test]
fn a_place_that_cannot_be_drawn_is_none() {
    let layout = layout();
    let visits = layout.events("stageVisit1").unwrap();
    let event = Event {
        geometry: Some(json!({"type": "Point", "coordinates": []})),
        ..Event::default()
    };
    assert!(visits.of_event(&event).geometry.is_none());
}
