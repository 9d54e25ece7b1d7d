//! What passes up and down, and what becomes of what meets.

use haversack_model::{ConflictKind, Winner};
use serde_json::json;

use crate::world::{World, aged, named, person, visit};

#[test]
fn a_clinic_has_what_the_country_has_and_rounds_without_news_change_nothing() {
    let world = World::new();
    assert_eq!(world.clinic.name(1), "Name 1");
    assert_eq!(world.clinic.age(1), "30");
    world.assert_equal(&[1, 2, 3]);
    let (here, above) = (world.clinic.generation(), world.country.generation());
    for _ in 0..2 {
        let done = world.round_with_metadata(true);
        assert_eq!((done.collected, done.sent, done.installed), (0, 0, 0));
        assert_eq!(done.metadata, 0);
    }
    assert_eq!(world.clinic.generation(), here);
    assert_eq!(world.country.generation(), above);
}

#[test]
fn everything_that_devices_do_goes_up_with_its_uids_and_comes_back_as_no_edit() {
    let world = World::new();
    world.clinic.send(&named(1, "device"));
    world.clinic.send(&aged(1, "31"));
    world.clinic.send(&json!({"trackedEntities": [person(9)]}));
    world
        .clinic
        .send(&json!({"events": [visit(2, "11.5", "COMPLETED")]}));
    let mut note = aged(3, "30");
    note["enrollments"][0]["notes"] = json!([{"note": "newNote0001", "value": "seen"}]);
    world.clinic.send(&note);
    world
        .clinic
        .delete(&json!({"events": [{"event": "hvEv0000003"}]}));
    let tie = json!({"relationships": [{"relationship": "newTie00001", "relationshipType": "hvRelType01",
        "from": {"trackedEntity": {"trackedEntity": "hvTe0000001"}}, "to": {"trackedEntity": {"trackedEntity": "hvTe0000009"}}}]});
    world.clinic.send(&tie);
    let done = world.round();
    assert!(done.sent >= 8, "{done:?}");
    assert_eq!(done.refused, 0, "{:?}", world.state());
    assert_eq!(world.country.name(1), "device");
    assert_eq!(world.country.age(1), "31");
    assert_eq!(world.country.name(9), "Name 9");
    assert_eq!(world.country.event(3), serde_json::Value::Null);
    world.assert_equal(&[1, 2, 3, 9]);
    assert_eq!(world.state().waiting, 0);
    let again = world.round();
    assert_eq!((again.collected, again.sent, again.installed), (0, 0, 0));
}

#[test]
fn everything_that_the_country_does_comes_down_and_goes_up_as_no_edit() {
    let world = World::new();
    world.country.send(&named(1, "country"));
    world.country.send(&aged(2, "32"));
    world
        .country
        .send(&json!({"events": [visit(2, "12.5", "COMPLETED")]}));
    world
        .country
        .delete(&json!({"events": [{"event": "hvEv0000001"}]}));
    world.country.send(&json!({"trackedEntities": [person(8)]}));
    world
        .country
        .delete(&json!({"trackedEntities": [{"trackedEntity": "hvTe0000003"}]}));
    let done = world.round();
    assert_eq!((done.collected, done.sent), (0, 0), "{done:?}");
    assert_eq!(world.clinic.name(1), "country");
    assert_eq!(world.clinic.entity(3), serde_json::Value::Null);
    world.assert_equal(&[1, 2, 3, 8]);
    let again = world.round();
    assert_eq!((again.collected, again.sent, again.installed), (0, 0, 0));
}

#[test]
fn different_fields_of_a_record_meet() {
    let world = World::new();
    world
        .clinic
        .send(&json!({"events": [visit(1, "61.5", "ACTIVE")]}));
    world.clinic.send(&named(2, "device"));
    world.country.send(&json!({"events": [{"event": "hvEv0000001", "enrollment": "hvEn0000001", "programStage": "hvStage0001", "orgUnit": "hvOuFacil01",
        "status": "COMPLETED", "occurredAt": "2026-10-02"}]}));
    world.country.send(&aged(2, "33"));
    let done = world.round();
    assert_eq!(done.clashes, 0, "{:?}", world.conflicts());
    for place in [&world.country, &world.clinic] {
        let event = place.event(1);
        assert_eq!(event["status"], "COMPLETED");
        assert_eq!(event["dataValues"][0]["value"], "61.5");
        assert_eq!(
            (place.name(2), place.age(2)),
            ("device".to_owned(), "33".to_owned())
        );
    }
    assert!(world.conflicts().is_empty());
}

#[test]
fn the_same_field_on_both_sides_is_a_conflict_that_keeps_both_and_says_whose_it_is() {
    let world = World::new();
    let units = json!([{"id": "hvOuFacil01"}]);
    let ada = json!({"users": [{"id": "clinicUser1", "username": "ada", "organisationUnits": units, "teiSearchOrganisationUnits": units}]});
    let told = world.clinic.http.post("metadata", &[], Some(&ada)).unwrap();
    assert_eq!(told.status, 200);
    world.clinic.send_as("ada", &named(1, "device"));
    world.country.send(&named(1, "country"));
    let done = world.round();
    assert_eq!(done.clashes, 1);
    let conflicts = world.conflicts();
    let [conflict] = conflicts.as_slice() else {
        panic!("{conflicts:?}");
    };
    assert_eq!(conflict.kind, ConflictKind::UpdateUpdate);
    assert_eq!(
        (conflict.user.as_str(), conflict.winner),
        ("ada", Winner::Mine)
    );
    let shown =
        |record: &Option<haversack_model::Record>| format!("{:?}", record.as_ref().unwrap());
    assert!(shown(&conflict.base).contains("Name 1"));
    assert!(shown(&conflict.mine).contains("device"));
    assert!(shown(&conflict.theirs).contains("country"));
    assert_eq!(world.country.name(1), "device");
    assert_eq!(world.clinic.name(1), "device");
    // It is told once.
    world.round();
    assert_eq!(world.conflicts().len(), 1);
}

#[test]
fn what_the_country_refuses_is_kept_with_its_reason_and_the_correction_goes_up() {
    let world = World::new();
    world
        .country
        .send(&json!({"trackedEntities": [coded("otherPerson", "C-1")]}));
    world
        .clinic
        .send(&json!({"trackedEntities": [coded("newPerson01", "C-1"), person(9)]}));
    let done = world.round();
    assert_eq!(done.refused, 1, "{done:?}");
    assert_eq!(world.country.name(9), "Name 9", "others are not held up");
    let state = world.state();
    assert_eq!((state.refused, state.waiting), (1, 0));
    let said = &state.said[0];
    assert_eq!(said.conflict.code, "E1064");
    assert_eq!(
        (said.conflict.object.as_str(), said.user.as_str()),
        ("newPerson01", "root")
    );
    world
        .clinic
        .send(&json!({"trackedEntities": [coded("newPerson01", "C-2")]}));
    let done = world.round();
    assert_eq!((done.sent, done.refused), (1, 0));
    assert!(world.state().said.is_empty(), "{:?}", world.state());
}

fn coded(uid: &str, code: &str) -> serde_json::Value {
    json!({"trackedEntity": uid, "trackedEntityType": "hvTeType001", "orgUnit": "hvOuFacil01",
        "attributes": [{"attribute": "hvAttrCode1", "value": code}]})
}

#[test]
fn an_edit_of_what_the_country_deleted_stays_until_somebody_decides() {
    let world = World::new();
    world
        .clinic
        .send(&json!({"events": [visit(1, "61.5", "ACTIVE")]}));
    world
        .country
        .delete(&json!({"events": [{"event": "hvEv0000001"}]}));
    world.round();
    assert_eq!(world.clinic.event(1)["dataValues"][0]["value"], "61.5");
    let conflicts = world.conflicts();
    assert_eq!(conflicts.len(), 1, "{conflicts:?}");
    assert_eq!(conflicts[0].kind, ConflictKind::UpdateDelete);
    assert_eq!(conflicts[0].user, "root");
}

#[test]
fn what_the_country_shares_with_its_own_users_shuts_nobody_out_of_the_clinic() {
    let world = World::new();
    let program = |place: &crate::world::Place| {
        let path = "programs/hvProgram01";
        place.http.get(path, &[("fields", "*")]).unwrap()
    };
    let mut shared = program(&world.country);
    shared["sharing"] =
        json!({"public": "--------", "userGroups": {"ofACountry1": {"access": "rwrw----"}}});
    let body = json!({ "programs": [shared] });
    let told = world.country.http.post("metadata", &[], Some(&body));
    assert_eq!(told.unwrap().body["status"], "OK");
    let users = json!({"users": [{"id": "hvUser00ada", "username": "ada", "organisationUnits": [{"id": "hvOuRoot001"}]}]});
    let told = world.clinic.http.post("metadata", &[], Some(&users));
    assert_eq!(told.unwrap().body["status"], "OK");
    world.round_with_metadata(true);
    assert!(program(&world.country).get("sharing").is_some());
    assert!(program(&world.clinic).get("sharing").is_none());
    world.clinic.send_as("ada", &aged(1, "31"));
    world.round();
    assert_eq!(world.country.age(1), "31");
}

#[test]
fn what_the_same_rule_plans_here_and_in_the_country_is_one_event() {
    let world = World::new();
    let rules = json!({"programRules": [{"id": "hvRulePlan1", "name": "Again", "program": {"id": "hvProgram01"},
        "condition": "V{event_status} == 'COMPLETED'", "programRuleActions": [{"id": "hvActPlan01",
            "programRuleActionType": "SCHEDULEEVENT", "data": "d2:addDays(V{event_date}, 28)", "programStage": {"id": "hvStage0001"}}]}]});
    let told = world
        .country
        .http
        .post("metadata", &[], Some(&rules))
        .unwrap();
    assert_eq!(told.status, 200, "{}", told.body);
    world.round_with_metadata(true);
    let planned = |place: &crate::world::Place| {
        let entity = place.entity(2);
        let events = entity["enrollments"][0]["events"].as_array().unwrap();
        let mut uids: Vec<String> = events
            .iter()
            .filter(|event| event["status"] == "SCHEDULE")
            .map(|event| event["event"].as_str().unwrap().to_owned())
            .collect();
        uids.sort();
        uids
    };
    world
        .clinic
        .send(&json!({"events": [visit(2, "11.5", "COMPLETED")]}));
    let here = planned(&world.clinic);
    assert_eq!(here.len(), 1, "{here:?}");
    let done = world.round();
    assert_eq!(done.refused, 0, "{:?}", world.state());
    assert_eq!(planned(&world.country), here);
    assert_eq!(planned(&world.clinic), here);
    world.assert_equal(&[1, 2, 3]);
    assert_eq!(world.state().waiting, 0);
    let again = world.round();
    assert_eq!((again.collected, again.sent, again.installed), (0, 0, 0));
}
