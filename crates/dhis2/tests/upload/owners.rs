//! What other units own: glass that is broken, and entities that are handed over.

use std::cell::Cell;

use haversack_dhis2::remote::http::Answer;
use serde_json::json;

use crate::world::{Meddler, NEW, OLD, World};

/// A server whose first report refuses an enrollment because of its owner, and what depends on it.
fn refusing<'a>(world: &'a World, level: &'static str, scope: &'static str) -> Meddler<'a> {
    let mut meddler = Meddler::new(&world.http);
    let is_first = Cell::new(true);
    meddler.before = Box::new(move |line, _| {
        let body = match line {
            "GET programs/hvProgram01" => json!({ "accessLevel": level }),
            "GET me" => json!({"organisationUnits": [{"id": scope}]}),
            "GET organisationUnits/hvOuFacil01" => json!({"path": "/hvOuRoot001/hvOuFacil01"}),
            "POST tracker/ownership/override" => json!({"message": "Temporary Ownership granted"}),
            report if report.ends_with("/report") && is_first.replace(false) => json!({
                "validationReport": {"errorReports": [
                    {"trackerType": "ENROLLMENT", "uid": "hvEn0000001", "errorCode": "E1102", "message": "not yours"},
                    {"trackerType": "EVENT", "uid": "hvEv0000001", "errorCode": "E5000", "message": "depends"}]},
                "bundleReport": {"typeReportMap": {"TRACKED_ENTITY": {"objectReports": [{"uid": "hvTe0000001"}]}}}
            }),
            _ => return None,
        };
        Some(Ok(Answer { status: 200, body }))
    });
    meddler
}

#[test]
fn what_another_unit_owns_in_a_protected_program_goes_through_broken_glass() {
    let world = World::new();
    world.family(1);
    let meddler = refusing(&world, "PROTECTED", "hvOuFacil02");
    let summary = world.upload_by(&meddler, NEW).unwrap();
    assert_eq!((summary.applied, summary.rejected.len()), (3, 0));
    assert_eq!(meddler.count("POST tracker/ownership/override"), 1);
    assert_eq!(world.states(), []);
}

#[test]
fn the_glass_stays_whole_in_open_programs_and_at_units_of_ones_own() {
    for (level, scope) in [
        ("OPEN", "hvOuFacil02"),
        ("CLOSED", "hvOuFacil02"),
        ("PROTECTED", "hvOuRoot001"),
    ] {
        let world = World::new();
        world.family(1);
        let meddler = refusing(&world, level, scope);
        let summary = world.upload_by(&meddler, NEW).unwrap();
        assert_eq!(
            meddler.count("POST tracker/ownership/override"),
            0,
            "{level}"
        );
        assert_eq!((summary.applied, summary.rejected.len()), (1, 2), "{level}");
        let unsettled = world.unsettled();
        assert_eq!(unsettled[1].2, "waits for parent", "{level}");
        assert!(
            unsettled[0].2.contains("break the glass"),
            "{}",
            unsettled[0].2
        );
    }
}

#[test]
fn an_enrollment_that_names_another_owner_is_handed_over() {
    for api in [NEW, OLD] {
        let world = World::new();
        world.family(1);
        world.upload(api);
        world.sql("UPDATE follow_up_enrollments SET owner = 'hvOuFacil02'");
        let meddler = Meddler::new(&world.http);
        let summary = world.upload_by(&meddler, api).unwrap();
        assert_eq!(
            (summary.applied, meddler.count("PUT")),
            (1, 1),
            "{api:?}: {summary:?}"
        );
        assert_eq!(
            world.entity(1)["programOwners"][0]["orgUnit"],
            "hvOuFacil02"
        );
        // Only when it was changed.
        world.sql("UPDATE follow_up_enrollments SET status = 'COMPLETED'");
        world.upload_by(&meddler, api).unwrap();
        assert_eq!(meddler.count("PUT"), 1);
    }
}
