//! Answers that say something else than is usual: codes that nobody knows, errors with 200, successes with 409, warnings.

use haversack_dhis2::remote::families;
use haversack_dhis2::remote::http::Answer;
use haversack_dhis2::remote::pull::{self, Downloaded, Request};
use haversack_dhis2::wire::tracker::Kind;
use haversack_model::{SyncState, Timestamp};
use haversack_sqlite::replica::ReplicaFile;
use serde_json::{Value, json};

use crate::world::{Meddler, NEW, OLD, World};

pub(crate) fn pairs(all: &[(&str, &str)]) -> Vec<(String, String)> {
    let all = all.iter();
    all.map(|(uid, state)| ((*uid).to_owned(), (*state).to_owned()))
        .collect()
}

fn stored(uid: &str) -> Value {
    json!({"objectReports": [{"uid": uid, "errorReports": []}]})
}

/// Makes the summary of an object say something else.
pub(crate) fn say(body: &mut Value, uid: &str, status: &str, conflicts: &Value) {
    match body {
        Value::Array(items) => items
            .iter_mut()
            .for_each(|item| say(item, uid, status, conflicts)),
        Value::Object(members) => {
            if members.get("reference").is_some_and(|of| of == uid) {
                members.insert("status".to_owned(), json!(status));
                members.insert("conflicts".to_owned(), conflicts.clone());
            }
            for member in members.values_mut() {
                say(member, uid, status, conflicts);
            }
        }
        _ => {}
    }
}

#[test]
fn codes_that_nobody_knows_are_kept_with_a_hint_and_every_state_is_right() {
    for api in [NEW, OLD] {
        let world = World::new();
        world.family(1);
        let mut meddler = Meddler::new(&world.http);
        meddler.after = Box::new(|line, mut answer: Answer| {
            if line.ends_with("/report") {
                answer.body = json!({"status": "SPLENDID", "validationReport": {
                    "errorReports": [
                        {"message": "The moon is wrong.", "errorCode": "E9876", "trackerType": "EVENT", "uid": "hvEv0000001", "args": []},
                        {"message": "No such planet.", "errorCode": "E9877", "trackerType": "PLANET", "uid": "hvTe0000001"},
                        "just a sentence", 7, null],
                    "warningReports": [{"message": "Look up.", "errorCode": "W1", "trackerType": "ENROLLMENT", "uid": "hvEn0000001"}]},
                    "bundleReport": {"typeReportMap": {"TRACKED_ENTITY": stored("hvTe0000001"), "ENROLLMENT": stored("hvEn0000001"),
                        "PLANET": stored("hvEv0000001"), "EVENT": null}}});
            } else if line.starts_with("GET tracker/jobs/") {
                answer.body = json!([{"level": "APOCALYPSE", "category": "TRACKER_IMPORT_JOB_9", "completed": true, "data": {"x": 1}}]);
            } else if line.starts_with("POST trackedEntityInstances") {
                let moon = json!([{"object": "hvDeWeight1", "value": "the_moon_is_wrong", "errorCode": "E9876"}]);
                say(&mut answer.body, "hvEv0000001", "ERROR", &moon);
                say(&mut answer.body, "hvEn0000001", "SPLENDID", &json!([]));
            }
            Ok(answer)
        });
        let told = world.upload_by(&meddler, api).unwrap();
        assert_eq!(
            (told.applied, told.rejected.len()),
            (2, 1),
            "{api:?}: {told:?}"
        );
        assert_eq!(
            world.states(),
            pairs(&[("hvEv0000001", "ERROR")]),
            "{api:?}"
        );
        let said = world.conflicts();
        let of_event = said.iter().find(|s| s.conflict.object == "hvEv0000001");
        let of_event = &of_event.unwrap().conflict;
        assert_eq!(of_event.code, "E9876", "{api:?}");
        assert!(of_event.message.contains("moon"), "{of_event:?}");
        assert!(
            !of_event.hint.is_empty() && !of_event.is_warning,
            "{of_event:?}"
        );
        world.sql("UPDATE follow_up_visit SET weight = 11");
        assert_eq!(world.upload(api).applied, 1);
        assert_eq!(world.states(), []);
    }
}

#[test]
fn errors_with_200_and_successes_with_409_are_what_their_bodies_say() {
    for flipped in [200, 409] {
        let world = World::new();
        world.family(1);
        world.family(2);
        world.sql("UPDATE follow_up_visit SET weight = 'many' WHERE uid = 'hvEv0000002'");
        let mut meddler = Meddler::new(&world.http);
        meddler.after = Box::new(move |line, answer: Answer| {
            let status = if line.starts_with("POST") {
                flipped
            } else {
                answer.status
            };
            Ok(Answer { status, ..answer })
        });
        let told = world.upload_by(&meddler, OLD).unwrap();
        assert_eq!((told.applied, told.rejected.len()), (5, 1), "{flipped}");
        assert_eq!(
            world.states(),
            pairs(&[("hvEv0000002", "ERROR")]),
            "{flipped}"
        );
    }
    // The new importer at once, though it was asked for a job.
    for status in [200, 409] {
        let world = World::new();
        world.family(1);
        let mut meddler = Meddler::new(&world.http);
        meddler.before = Box::new(move |line, _| {
            let report = json!({"status": "ERROR", "validationReport": {"errorReports": [
                {"message": "no", "errorCode": "E1302", "trackerType": "EVENT", "uid": "hvEv0000001"}]},
                "bundleReport": {"typeReportMap": {"TRACKED_ENTITY": stored("hvTe0000001"), "ENROLLMENT": stored("hvEn0000001")}}});
            (line == "POST tracker").then(|| {
                Ok(Answer {
                    status,
                    body: report,
                })
            })
        });
        let told = world.upload_by(&meddler, NEW).unwrap();
        assert_eq!((told.applied, told.rejected.len()), (2, 1), "{status}");
        assert_eq!(
            world.states(),
            pairs(&[("hvEv0000001", "ERROR")]),
            "{status}"
        );
    }
    // A refusal with 200 that is no report settles nothing.
    for api in [NEW, OLD] {
        let world = World::new();
        world.family(1);
        let mut meddler = Meddler::new(&world.http);
        meddler.before = Box::new(|line, _| {
            let body = json!({"httpStatus": "Conflict", "httpStatusCode": 409, "status": "ERROR", "message": "not today"});
            line.starts_with("POST")
                .then_some(Ok(Answer { status: 200, body }))
        });
        assert!(world.upload_by(&meddler, api).is_err(), "{api:?}");
        assert_eq!(world.states().len(), 3);
        assert_eq!(world.upload(api).applied, 3, "{api:?}");
    }
}

pub(crate) fn download(world: &World) -> Downloaded {
    let mut file = ReplicaFile::open(&world.path).unwrap();
    let (request, now) = (Request::default(), Timestamp(1_795_262_400_000));
    pull::download(&world.server(), &mut file, &request, &|| now, &mut |_| {}).unwrap()
}

#[test]
fn what_the_old_importer_warns_of_stays_as_it_is_until_somebody_mends_it() {
    let world = World::with_metadata();
    world.family(1);
    let mut meddler = Meddler::new(&world.http);
    meddler.after = Box::new(|line, mut answer: Answer| {
        if line.starts_with("POST trackedEntityInstances") {
            let left_out = json!([{"object": "hvDeWeight1", "value": "value_not_numeric"}]);
            say(&mut answer.body, "hvEv0000001", "WARNING", &left_out);
        }
        Ok(answer)
    });
    let told = world.upload_by(&meddler, OLD).unwrap();
    assert_eq!((told.applied, told.untold, told.rejected.len()), (3, 0, 0));
    let unsettled = world.unsettled();
    let [(uid, state, reason)] = unsettled.as_slice() else {
        panic!("{unsettled:?}");
    };
    assert_eq!((uid.as_str(), state.as_str()), ("hvEv0000001", "WARNING"));
    assert!(reason.contains("value_not_numeric"), "{reason}");
    let said = &world.conflicts()[0].conflict;
    assert_eq!(
        (said.field.as_str(), said.value.as_str()),
        ("hvDeWeight1", "10")
    );
    assert!(said.is_warning && !said.hint.is_empty(), "{said:?}");
    let mut file = ReplicaFile::open(&world.path).unwrap();
    let counts = file.read(|tx| families::counts(tx)).unwrap();
    for kind in [Kind::TrackedEntity, Kind::Enrollment, Kind::Event] {
        assert_eq!(
            counts[&kind].get(&SyncState::Warning),
            Some(&1),
            "{counts:?}"
        );
    }
    drop(file);

    // The server left the value out; here it stays, and is not sent again by itself.
    let without = json!({"events": [{"event": "hvEv0000001", "enrollment": "hvEn0000001", "program": "hvProgram01", "programStage": "hvStage0001",
        "orgUnit": "hvOuFacil01", "status": "ACTIVE", "occurredAt": "2026-10-02", "dataValues": [{"dataElement": "hvDeWeight1", "value": null}]}]});
    let told = world
        .http
        .post("tracker", &[("async", "false")], Some(&without))
        .unwrap();
    assert_eq!(told.status, 200, "{}", told.body);
    let found = download(&world);
    assert_eq!((found.protected, found.failed.len()), (1, 0), "{found:?}");
    assert_eq!(
        world.cell("SELECT CAST(weight AS INTEGER) FROM follow_up_visit"),
        "10"
    );
    assert_eq!(world.states(), pairs(&[("hvEv0000001", "WARNING")]));
    assert_eq!(world.upload(OLD).applied, 0);
    assert_eq!(world.states(), pairs(&[("hvEv0000001", "WARNING")]));

    world.sql("UPDATE follow_up_visit SET weight = 11");
    assert_eq!(world.upload(OLD).applied, 1);
    assert_eq!(world.states(), []);
    assert_eq!(world.conflicts(), []);
    let event = &world.entity(1)["enrollments"][0]["events"][0];
    assert_eq!(event["dataValues"][0]["value"], "11");
    download(&world);
    assert_eq!(
        world.cell("SELECT CAST(weight AS INTEGER) FROM follow_up_visit"),
        "11"
    );
}
