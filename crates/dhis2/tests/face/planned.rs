//! Events that are still to come, or that were skipped: which statuses they may have, and what they may hold.

#![expect(
    clippy::needless_pass_by_value,
    reason = "the cases read better without borrows"
)]

use haversack_model::Host as _;
use haversack_model::documents::document;
use serde_json::{Value, json};

use crate::tracker::family;
use crate::web::Client;

const WEIGHT: &str = "hvDeWeight1";
const TO_COME: [&str; 3] = ["SCHEDULE", "OVERDUE", "SKIPPED"];
const TOOK_PLACE: [&str; 3] = ["ACTIVE", "VISITED", "COMPLETED"];

fn with(mut object: Value, more: Value) -> Value {
    let members = object.as_object_mut().unwrap();
    members.extend(more.as_object().unwrap().clone());
    object
}

fn weighing(value: Value) -> Value {
    json!([{"dataElement": WEIGHT, "value": value}])
}

/// An event of the first person.
fn visit(n: u32, status: &str, more: Value) -> Value {
    let event = json!({"event": format!("hvEv{n:07}"), "enrollment": "hvEn0000001", "program": "hvProgram01", "programStage": "hvStage0001",
        "orgUnit": "hvOuFacil01", "occurredAt": "2026-10-05", "scheduledAt": "2026-10-05", "status": status});
    json!({ "events": [with(event, more)] })
}

/// An event of a program in which nobody is enrolled.
fn single(n: u32, status: &str) -> Value {
    let of = json!({"enrollment": null, "program": "hvEventPrg1", "programStage": "hvStage0002"});
    visit(n, status, of)
}

async fn world() -> Client {
    let client = Client::with_users("hvOuRoot001").await;
    client.put(family(1, "hvOuFacil01")).await;
    let stages = json!({"programStages": [
        {"id": "hvStage0001", "name": "Visit", "program": {"id": "hvProgram01"}, "repeatable": true,
            "programStageDataElements": [{"dataElement": {"id": WEIGHT}}]},
        {"id": "hvStgOne001", "name": "Discharge", "program": {"id": "hvProgram01"}, "repeatable": false,
            "programStageDataElements": []}
    ]});
    let told = client.post("/api/metadata", stages).await;
    assert_eq!(told.status, 200, "{}", told.text);
    client.user("ada")
}

/// Changes what is stored of an event past all checks.
fn edit(client: &Client, uid: &str, change: impl FnOnce(&mut Value)) {
    let store = client.host.documents("dhis2").unwrap();
    let mut tx = store.write_documents(client.host.now()).unwrap();
    let service = tx.service().unwrap();
    let events = service.collection_named("events").unwrap().id;
    let id = document(uid, "").global_id;
    let stored = tx.record(events, &id).unwrap().unwrap().record;
    let mut row: Value = serde_json::from_str(stored.values[0].as_text().unwrap()).unwrap();
    change(&mut row["object"]);
    tx.put(events, &document(uid, row.to_string()), None)
        .unwrap();
    tx.commit().unwrap();
}

async fn codes(client: &Client, body: Value) -> Vec<String> {
    let codes = client.codes("", body).await;
    codes.into_iter().map(|(_, code)| code).collect()
}

#[tokio::test]
async fn what_took_place_is_not_planned_or_skipped_again() {
    let ada = world().await;
    for (n, before) in (20..).zip(TOOK_PLACE) {
        ada.put(visit(
            n,
            before,
            json!({"dataValues": weighing(json!("11"))}),
        ))
        .await;
        for after in TO_COME {
            let refused = codes(&ada, visit(n, after, json!({}))).await;
            assert_eq!(refused, ["E1316"], "{before} to {after}");
        }
        let told = ada.json(&format!("/api/tracker/events/hvEv{n:07}")).await;
        assert_eq!(told["status"], before);
        assert_eq!(told["dataValues"][0]["value"], "11");
        for after in TOOK_PLACE {
            ada.put(visit(n, after, json!({}))).await;
        }
    }
    // The other way round, and among those that are to come, everything goes.
    for (n, before) in (30..).zip(TO_COME) {
        ada.put(visit(n, before, json!({}))).await;
        for after in TO_COME {
            ada.put(visit(n, after, json!({}))).await;
        }
        ada.put(visit(
            n,
            "ACTIVE",
            json!({"dataValues": weighing(json!("11"))}),
        ))
        .await;
    }
}

#[tokio::test]
async fn what_is_to_come_takes_no_values_and_keeps_those_of_older_servers() {
    let ada = world().await;
    for status in TO_COME {
        let given = json!({"dataValues": weighing(json!("11"))});
        assert_eq!(codes(&ada, visit(5, status, given)).await, ["E1315"]);
        let none = json!({"dataValues": weighing(Value::Null)});
        assert_eq!(codes(&ada, visit(5, status, none)).await, [""; 0]);
    }
    // As an older server took it in.
    ada.put(visit(6, "SCHEDULE", json!({}))).await;
    edit(&ada, "hvEv0000006", |event| {
        event["dataValues"] = weighing(json!("11"));
    });
    let read = ada.json("/api/tracker/events/hvEv0000006").await;
    assert_eq!(read["dataValues"][0]["value"], "11");
    let moved = json!({"scheduledAt": "2026-10-09", "dataValues": weighing(json!("11"))});
    ada.put(visit(6, "SCHEDULE", moved)).await;
    let other = json!({"dataValues": weighing(json!("12"))});
    assert_eq!(codes(&ada, visit(6, "SCHEDULE", other)).await, ["E1315"]);
    let none = json!({"dataValues": weighing(Value::Null)});
    ada.put(visit(6, "SCHEDULE", none)).await;
    let read = ada.json("/api/tracker/events/hvEv0000006").await;
    assert_eq!(read["dataValues"], json!([]));
}

#[tokio::test]
async fn events_of_no_enrollment_take_place_or_are_not_there() {
    let ada = world().await;
    ada.put(single(41, "ACTIVE")).await;
    for status in TO_COME {
        assert_eq!(codes(&ada, single(40, status)).await, ["E1318"]);
        assert_eq!(codes(&ada, single(41, status)).await, ["E1318"]);
    }
    for status in TOOK_PLACE {
        ada.put(single(41, status)).await;
    }
}

#[tokio::test]
async fn a_skipped_event_leaves_room_for_another_of_its_stage() {
    let ada = world().await;
    let of = json!({"programStage": "hvStgOne001"});
    ada.put(visit(50, "SCHEDULE", of.clone())).await;
    assert_eq!(
        codes(&ada, visit(51, "ACTIVE", of.clone())).await,
        ["E1039"]
    );
    ada.put(visit(50, "SKIPPED", of.clone())).await;
    ada.put(visit(51, "ACTIVE", of)).await;
}

#[tokio::test]
async fn the_old_api_says_in_its_summary_what_a_status_does_not_allow() {
    let ada = world().await;
    let old = |status: &str, values: Value| {
        json!({"events": [{"event": "hvEv0000001", "enrollment": "hvEn0000001", "program": "hvProgram01", "programStage": "hvStage0001",
            "orgUnit": "hvOuFacil01", "eventDate": "2026-10-02", "dueDate": "2026-10-02", "status": status, "dataValues": values}]})
    };
    let told = ada
        .post("/api/events?strategy=SYNC", old("SCHEDULE", json!([])))
        .await;
    assert_eq!(told.status, 409, "{}", told.text);
    let summary = &told.json()["response"]["importSummaries"][0];
    assert_eq!(summary["status"], "ERROR", "{summary}");
    assert!(
        summary
            .to_string()
            .contains("from status `ACTIVE` back to `SCHEDULE`"),
        "{summary}"
    );
    let told = ada
        .post(
            "/api/events?strategy=SYNC",
            old("ACTIVE", weighing(json!("12"))),
        )
        .await;
    assert_eq!(told.status, 200, "{}", told.text);
}
