//! What was refused or warned of is sent again when that is asked for, and not before.

use std::cell::Cell;
use std::rc::Rc;

use haversack_dhis2::remote::http::Answer;
use haversack_model::local::LocalReplica as _;
use haversack_sqlite::replica::ReplicaFile;
use haversack_sync::client;
use serde_json::{Value, json};

use crate::answers::{download, pairs, say};
use crate::world::{Meddler, NEW, OLD, World};

/// Makes everything pending again that can be; gives how many records.
fn retry(world: &World) -> usize {
    let mut file = ReplicaFile::open(&world.path).unwrap();
    let mut tx = file.begin().unwrap();
    let count = client::retry(&mut *tx).unwrap();
    tx.commit().unwrap();
    count
}

#[test]
fn what_the_old_importer_refused_or_warned_of_is_sent_again_if_errors_are_retried_and_only_then() {
    let world = World::with_metadata();
    world.family(1);
    world.family(2);
    let is_strict = Rc::new(Cell::new(true));
    let mut meddler = Meddler::new(&world.http);
    let strict = Rc::clone(&is_strict);
    meddler.after = Box::new(move |line, mut answer: Answer| {
        if line.starts_with("POST trackedEntityInstances") && strict.get() {
            let left_out = json!([{"object": "hvDeWeight1", "value": "value_not_numeric"}]);
            say(&mut answer.body, "hvEv0000001", "WARNING", &left_out);
            say(&mut answer.body, "hvEv0000002", "ERROR", &left_out);
        }
        Ok(answer)
    });
    let told = world.upload_by(&meddler, OLD).unwrap();
    assert_eq!((told.applied, told.rejected.len()), (5, 1), "{told:?}");
    // The server left both values out.
    let without = |n: u32| {
        json!({"event": format!("hvEv{n:07}"), "enrollment": format!("hvEn{n:07}"), "program": "hvProgram01", "programStage": "hvStage0001",
        "orgUnit": "hvOuFacil01", "status": "ACTIVE", "occurredAt": "2026-10-02", "dataValues": [{"dataElement": "hvDeWeight1", "value": null}]})
    };
    let body = json!({"events": [without(1), without(2)]});
    let told = world
        .http
        .post("tracker", &[("async", "false")], Some(&body));
    assert_eq!(told.unwrap().status, 200);
    let weight = |n: u32| {
        let event = &world.entity(n)["enrollments"][0]["events"][0];
        event["dataValues"][0]["value"].clone()
    };
    assert_eq!((weight(1), weight(2)), (Value::Null, Value::Null));

    is_strict.set(false);
    let both = pairs(&[("hvEv0000001", "WARNING"), ("hvEv0000002", "ERROR")]);
    assert_eq!(world.states(), both);
    let requests = meddler.count("POST");
    assert_eq!(world.upload_by(&meddler, OLD).unwrap().applied, 0);
    assert_eq!(meddler.count("POST"), requests, "nothing is sent by itself");
    assert_eq!(world.states(), both);
    assert_eq!(world.conflicts().len(), 2);

    // What came from the server meanwhile is no reason to leave it alone.
    assert_eq!(download(&world).protected, 2);
    assert_eq!(world.states(), both);
    assert_eq!(retry(&world), 2);
    assert_eq!(world.upload_by(&meddler, OLD).unwrap().applied, 2);
    assert_eq!(world.states(), []);
    assert_eq!(world.conflicts(), []);
    assert_eq!((weight(1), weight(2)), (json!("10"), json!("10")));
    assert_eq!(retry(&world), 0);
}

#[test]
fn what_the_new_importer_refused_is_sent_again_if_errors_are_retried_and_what_it_warned_of_is_stored()
 {
    let world = World::with_metadata();
    world.family(1);
    world.family(2);
    let is_strict = Rc::new(Cell::new(true));
    let mut meddler = Meddler::new(&world.http);
    let strict = Rc::clone(&is_strict);
    meddler.after = Box::new(move |line, mut answer: Answer| {
        if line.ends_with("/report") && strict.get() {
            let said = |uid: &str| json!({"message": "Look.", "errorCode": "E1302", "trackerType": "EVENT", "uid": uid, "args": []});
            answer.body["validationReport"] = json!({"errorReports": [said("hvEv0000002")], "warningReports": [said("hvEv0000001")]});
        }
        Ok(answer)
    });
    let told = world.upload_by(&meddler, NEW).unwrap();
    assert_eq!((told.applied, told.rejected.len()), (5, 1), "{told:?}");
    is_strict.set(false);
    let refused = pairs(&[("hvEv0000002", "ERROR")]);
    assert_eq!(world.states(), refused);
    assert_eq!(world.upload_by(&meddler, NEW).unwrap().applied, 0);
    assert_eq!(world.states(), refused);
    assert_eq!(retry(&world), 1);
    assert_eq!(world.upload_by(&meddler, NEW).unwrap().applied, 1);
    assert_eq!(world.states(), []);
}
