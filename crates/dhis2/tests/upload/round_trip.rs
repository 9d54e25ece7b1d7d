//! Edits of every kind go up by both importers, are refused, mended and stored.

use serde_json::json;

use crate::world::{NEW, OLD, World};

#[test]
fn edits_of_every_kind_arrive_by_both_importers() {
    for api in [NEW, OLD] {
        let world = World::new();
        world.family(1);
        world.family(2);
        world.sql(
            "INSERT INTO single_visit_form (uid, org_unit, status, occurred_at, weight) VALUES ('hvEv0000099', 'hvOuFacil01', 'ACTIVE', '2026-10-02', 7.5);
             INSERT INTO relationships (uid, relationship_type, from_kind, from_uid, to_kind, to_uid)
               VALUES ('hvRl0000001', 'hvRelType01', 'trackedEntity', 'hvTe0000001', 'trackedEntity', 'hvTe0000002');",
        );
        let told = world.upload(api);
        assert_eq!(told.rejected, [], "{api:?}");
        assert_eq!((told.applied, told.untold), (8, 0), "{api:?}");
        assert_eq!(world.states(), [], "{api:?}");
        let entity = world.entity(1);
        assert_eq!(
            entity["enrollments"][0]["events"][0]["dataValues"][0]["value"],
            "10"
        );
        assert_eq!(
            entity["relationships"].as_array().unwrap().len(),
            1,
            "{api:?}"
        );
        let single = world.http.get("tracker/events/hvEv0000099", &[]).unwrap();
        assert_eq!(single["dataValues"][0]["value"], "7.5");

        // What others set meanwhile stays; what is emptied here goes.
        let other = json!({"trackedEntities": [{"trackedEntity": "hvTe0000001", "trackedEntityType": "hvTeType001", "orgUnit": "hvOuFacil01",
            "attributes": [{"attribute": "hvAttrCode1", "value": "A-1"}]}]});
        let params = [("async", "false")];
        assert_eq!(
            world
                .http
                .post("tracker", &params, Some(&other))
                .unwrap()
                .status,
            200
        );
        world.sql(
            "UPDATE person SET given_name = 'Ada' WHERE uid = 'hvTe0000001';
             UPDATE follow_up_visit SET weight = NULL, occurred_at = '2026-10-05' WHERE uid = 'hvEv0000001';
             UPDATE follow_up_enrollments SET status = 'COMPLETED' WHERE uid = 'hvEn0000001';
             DELETE FROM single_visit_form;
             DELETE FROM relationships;
             DELETE FROM follow_up_visit WHERE uid = 'hvEv0000002';",
        );
        let told = world.upload(api);
        assert_eq!(told.rejected, [], "{api:?}");
        assert_eq!((told.applied, told.untold), (6, 0), "{api:?}");
        assert_eq!(world.states(), []);
        let entity = world.entity(1);
        let mut values: Vec<&str> = entity["attributes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|attribute| attribute["value"].as_str().unwrap())
            .collect();
        values.sort_unstable();
        assert_eq!(values, ["30", "A-1", "Ada"], "{api:?}");
        let enrollment = &entity["enrollments"][0];
        assert_eq!(enrollment["status"], "COMPLETED");
        assert_eq!(enrollment["events"][0]["dataValues"], json!([]), "{api:?}");
        assert!(
            enrollment["events"][0]["occurredAt"]
                .as_str()
                .unwrap()
                .starts_with("2026-10-05")
        );
        assert_eq!(entity["relationships"], json!([]), "{api:?}");
        assert_eq!(world.entity(2)["enrollments"][0]["events"], json!([]));
        // A whole family goes.
        world.sql(
            "DELETE FROM follow_up_visit; DELETE FROM follow_up_enrollments; DELETE FROM person;",
        );
        let told = world.upload(api);
        assert_eq!(told.rejected, [], "{api:?}");
        assert_eq!(world.states(), []);
        assert!(
            world
                .http
                .get("tracker/trackedEntities/hvTe0000002", &[])
                .is_err()
        );
        assert_eq!(world.upload(api).applied, 0, "nothing is left to send");
    }
}

#[test]
fn a_note_goes_with_what_it_is_about() {
    for api in [NEW, OLD] {
        let world = World::new();
        world.family(1);
        world.upload(api);
        world.sql(
            "INSERT INTO notes (uid, parent_kind, parent, value) VALUES ('hvNo0000001', 'event', 'hvEv0000001', 'look here');",
        );
        let told = world.upload(api);
        assert_eq!(told.rejected, []);
        assert_eq!((told.applied, world.states().len()), (1, 0), "{api:?}");
        let event = &world.entity(1)["enrollments"][0]["events"][0];
        assert_eq!(event["notes"][0]["value"], "look here", "{api:?}");
        assert_eq!(event["dataValues"][0]["value"], "10", "the rest stays");
        world.sql("UPDATE notes SET value = 'otherwise'");
        let told = world.upload(api);
        assert_eq!(told.rejected.len(), 1, "notes are not changed");
    }
}

#[test]
fn a_refused_value_is_shown_its_children_wait_and_all_goes_when_it_is_mended() {
    for api in [NEW, OLD] {
        let world = World::new();
        world.family(1);
        world.family(2);
        world.sql("UPDATE person SET age = -3 WHERE uid = 'hvTe0000001'");
        let told = world.upload(api);
        assert_eq!(told.applied, 3, "{api:?}: the other family is stored");
        let states = world.unsettled();
        let all: Vec<(&str, &str)> = states
            .iter()
            .map(|(uid, state, _)| (uid.as_str(), state.as_str()))
            .collect();
        assert_eq!(
            all,
            [
                ("hvEn0000001", "ERROR"),
                ("hvEv0000001", "ERROR"),
                ("hvTe0000001", "ERROR")
            ],
            "{api:?}"
        );
        for (uid, _, reason) in &states[..2] {
            assert_eq!(reason, "waits for parent", "{uid}");
        }
        assert!(
            states[2].2.contains("E1007") && states[2].2.contains("correct it"),
            "{}",
            states[2].2
        );
        let conflicts = world.conflicts();
        let of_person: Vec<_> = conflicts
            .iter()
            .filter(|c| c.conflict.object == "hvTe0000001")
            .collect();
        let conflict = &of_person[0].conflict;
        assert_eq!(
            (conflict.kind.as_str(), conflict.code.as_str()),
            ("trackedEntity", "E1007"),
            "{api:?}"
        );
        assert_eq!(
            (conflict.field.as_str(), conflict.value.as_str()),
            ("hvAttrAge01", "-3"),
            "{api:?}"
        );
        assert!(!conflict.hint.is_empty() && !conflict.message.is_empty());

        assert_eq!(
            world.upload(api).applied,
            0,
            "what was refused is not sent again by itself"
        );
        world.sql("UPDATE person SET age = 3 WHERE uid = 'hvTe0000001'");
        let told = world.upload(api);
        assert_eq!((told.applied, told.rejected.len()), (3, 0), "{api:?}");
        assert_eq!(world.states(), []);
        assert!(world.conflicts().is_empty(), "{:?}", world.conflicts());
        assert_eq!(
            world.entity(1)["enrollments"][0]["events"][0]["event"],
            "hvEv0000001"
        );
    }
}
