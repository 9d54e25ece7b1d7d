//! Events that program rules plan: once, after what was sent, and never against it.

#![expect(
    clippy::needless_pass_by_value,
    reason = "the cases read better without borrows"
)]

use serde_json::{Value, json};

use crate::tracker::family;
use crate::web::Client;

const WEIGHT: &str = "hvDeWeight1";
const WARNED: &str = "reportMode=WARNINGS";

/// A rule with its one action, which plans an event.
fn rule(n: u32, condition: &str, stage: &str, date: &str) -> Value {
    let stage = Some(stage).filter(|stage| !stage.is_empty());
    let action = json!({"programRuleActionType": "SCHEDULEEVENT", "data": date, "programStage": stage.map(|id| json!({"id": id}))});
    json!({"id": format!("hvRule{n:05}"), "name": "Plan", "program": {"id": "hvProgram01"}, "condition": condition,
        "programRuleActions": [action]})
}

/// Underweight is looked at again after four weeks, at fifty who is discharged comes back once, and who is enrolled is visited.
async fn world() -> Client {
    let client = Client::with_users("hvOuRoot001").await;
    let stage = |id: &str, more: bool| {
        json!({"id": id, "name": id, "program": {"id": "hvProgram01"}, "repeatable": more,
            "programStageDataElements": [{"dataElement": {"id": WEIGHT}}]})
    };
    let metadata = json!({
        "programStages": [stage("hvStage0001", true), stage("hvStgOne001", false)],
        "programRuleVariables": [{"id": "hvRuleVar01", "name": "weight", "program": {"id": "hvProgram01"},
            "programRuleVariableSourceType": "DATAELEMENT_CURRENT_EVENT", "dataElement": {"id": WEIGHT}}],
        "programRules": [
            rule(1, "#{weight} > 0 && #{weight} < 5", "hvStage0001", "d2:addDays(V{event_date}, 28)"),
            rule(2, "#{weight} == 50", "hvStgOne001", "d2:addDays(V{event_date}, 7)"),
            rule(3, "!d2:hasValue('weight') && V{enrollment_status} == 'COMPLETED'", "hvStage0001", "d2:addDays(V{enrollment_date}, 90)"),
            rule(4, "#{weight} == 60", "", "d2:addDays(V{event_date}, 7)"),
            rule(5, "#{weight} == 70", "hvStage0001", "d2:addDays(V{event_date}, -60)"),
            {"id": "hvRule00006", "name": "Thin", "program": {"id": "hvProgram01"}, "condition": "#{weight} == 3",
                "programRuleActions": [{"programRuleActionType": "SHOWERROR", "content": "nobody is as thin"}]}
        ]
    });
    client.put(family(1, "hvOuFacil01")).await;
    let told = client.post("/api/metadata", metadata).await;
    assert_eq!(told.status, 200, "{}", told.text);
    client.user("ada")
}

fn visit(n: u32, weight: &str, more: Value) -> Value {
    let mut event = json!({"event": format!("hvEv{n:07}"), "enrollment": "hvEn0000001", "program": "hvProgram01", "programStage": "hvStage0001",
        "orgUnit": "hvOuFacil01", "occurredAt": "2026-10-05", "dataValues": [{"dataElement": WEIGHT, "value": weight}]});
    let members = event.as_object_mut().unwrap();
    members.extend(more.as_object().unwrap().clone());
    json!({ "events": [event] })
}

fn both(first: Value, second: Value) -> Value {
    json!({"events": [first["events"][0], second["events"][0]]})
}

/// What is said of an upload that is taken in.
async fn warnings(client: &Client, parameters: &str, body: Value) -> Vec<String> {
    let told = client.import(&format!("{WARNED}&{parameters}"), body).await;
    assert_eq!(told.status, 200, "{}", told.text);
    let told = told.json();
    let all = told["validationReport"]["warningReports"].as_array();
    all.unwrap()
        .iter()
        .map(|one| one["errorCode"].as_str().unwrap().to_owned())
        .collect()
}

/// The events that are to come, by their days.
async fn to_come(client: &Client) -> Vec<Value> {
    let told = client
        .json("/api/tracker/enrollments/hvEn0000001?fields=*,events[*]")
        .await;
    let all = told["events"].as_array().unwrap();
    let mut found: Vec<Value> = all
        .iter()
        .filter(|event| event["status"] == "SCHEDULE")
        .cloned()
        .collect();
    found.sort_by_key(|event| event["scheduledAt"].to_string());
    found
}

#[tokio::test]
async fn a_rule_plans_an_event_where_it_says_and_tells_of_it() {
    let ada = world().await;
    let light = visit(5, "4", json!({"attributeOptionCombo": "hvComboTen1"}));
    assert_eq!(
        warnings(&ada, "importMode=VALIDATE", light.clone()).await,
        ["E1320"]
    );
    assert!(to_come(&ada).await.is_empty());
    let told = ada.import(WARNED, light).await.json();
    let planned = to_come(&ada).await;
    assert_eq!(planned.len(), 1, "{planned:?}");
    let planned = &planned[0];
    for (member, value) in [
        ("scheduledAt", "2026-11-02T00:00:00.000"),
        ("program", "hvProgram01"),
        ("programStage", "hvStage0001"),
        ("orgUnit", "hvOuFacil01"),
        ("trackedEntity", "hvTe0000001"),
        ("attributeOptionCombo", "hvComboTen1"),
    ] {
        assert_eq!(planned[member], value, "{member}: {planned}");
    }
    assert_eq!(planned["dataValues"], json!([]));
    assert!(
        planned.get("occurredAt").is_none_or(Value::is_null),
        "{planned}"
    );
    let uid = planned["event"].as_str().unwrap();
    assert_eq!(told["stats"]["created"], 2, "{told}");
    let said = &told["validationReport"]["warningReports"][0];
    assert_eq!(
        (&said["uid"], &said["trackerType"]),
        (&json!("hvEv0000005"), &json!("EVENT"))
    );
    assert_eq!(
        said["message"],
        format!(
            "Program rule `hvRule00001`: Event `{uid}` of ProgramStage `hvStage0001` is planned for 2026-11-02."
        )
    );
    let reports = told["bundleReport"]["typeReportMap"]["EVENT"]["objectReports"].to_string();
    assert!(reports.contains(uid), "{reports}");
}

#[tokio::test]
async fn what_is_sent_again_or_elsewhere_plans_the_same_event_and_none_that_was_deleted() {
    let (ada, elsewhere) = (world().await, world().await);
    ada.put(visit(5, "4", json!({}))).await;
    assert_eq!(
        warnings(&ada, "", visit(5, "4.5", json!({}))).await,
        ["E1322"]
    );
    let planned = to_come(&ada).await;
    assert_eq!(planned.len(), 1, "{planned:?}");
    elsewhere.put(visit(5, "4", json!({}))).await;
    assert_eq!(to_come(&elsewhere).await[0]["event"], planned[0]["event"]);
    // As a clinic sends what its own rules planned, together with why.
    let elsewhere = world().await;
    let sent = both(visit(5, "4", json!({})), json!({"events": planned}));
    assert_eq!(warnings(&elsewhere, "", sent).await, ["E1322"]);
    let there = to_come(&elsewhere).await;
    assert_eq!(there.len(), 1);
    assert_eq!(there[0]["event"], planned[0]["event"]);
    // Somebody moves it: it is the same visit.
    let mut moved = planned[0].clone();
    moved["scheduledAt"] = json!("2026-11-09");
    ada.put(json!({ "events": [moved] })).await;
    assert_eq!(
        warnings(&ada, "", visit(5, "4", json!({}))).await,
        ["E1322"]
    );
    assert_eq!(to_come(&ada).await.len(), 1);
    ada.import(
        "importStrategy=DELETE",
        json!({"events": [{"event": planned[0]["event"]}]}),
    )
    .await;
    assert_eq!(
        warnings(&ada, "", visit(5, "4", json!({}))).await,
        ["E1322"]
    );
    assert!(to_come(&ada).await.is_empty());
    // Another day is another visit, with an upload that only changes what is there, too.
    let later = visit(5, "4", json!({"occurredAt": "2026-10-06"}));
    assert_eq!(
        warnings(&ada, "importStrategy=UPDATE", later).await,
        ["E1320"]
    );
    assert_eq!(to_come(&ada).await.len(), 1);
}

#[tokio::test]
async fn what_people_enter_goes_before_what_a_rule_wants() {
    let ada = world().await;
    // Both in one upload, the reason first.
    let own = visit(6, "51", json!({"programStage": "hvStgOne001"}));
    let sent = both(visit(5, "50", json!({})), own);
    assert_eq!(warnings(&ada, "", sent).await, ["E1322"]);
    assert!(to_come(&ada).await.is_empty());
    assert_eq!(ada.get("/api/tracker/events/hvEv0000006").await.status, 200);
    // What was skipped leaves room.
    let of = json!({"programStage": "hvStgOne001", "status": "SKIPPED", "scheduledAt": "2026-10-20", "dataValues": []});
    ada.import(
        "importStrategy=DELETE",
        json!({"events": [{"event": "hvEv0000006"}]}),
    )
    .await;
    ada.put(visit(7, "", of)).await;
    assert_eq!(
        warnings(&ada, "", visit(5, "50", json!({}))).await,
        ["E1320"]
    );
    let mut planned = to_come(&ada).await.remove(0);
    assert_eq!(planned["scheduledAt"], "2026-10-12T00:00:00.000");
    // But what a rule planned once and somebody skipped is not planned for another day.
    planned["status"] = json!("SKIPPED");
    ada.put(json!({ "events": [planned] })).await;
    let later = visit(5, "50", json!({"occurredAt": "2026-10-06"}));
    assert_eq!(warnings(&ada, "", later).await, ["E1322"]);
    assert!(to_come(&ada).await.is_empty());
}

#[tokio::test]
async fn an_enrollment_plans_an_event_too() {
    let ada = world().await;
    let done = json!({"enrollments": [{"enrollment": "hvEn0000001", "trackedEntity": "hvTe0000001", "program": "hvProgram01",
        "orgUnit": "hvOuFacil01", "enrolledAt": "2026-10-01", "occurredAt": "2026-10-01", "status": "COMPLETED",
        "attributes": [{"attribute": "hvAttrName1", "value": "N"}]}]});
    assert_eq!(warnings(&ada, "", done.clone()).await, ["E1320"]);
    assert_eq!(
        to_come(&ada).await[0]["scheduledAt"],
        "2026-12-30T00:00:00.000"
    );
    assert_eq!(warnings(&ada, "", done).await, ["E1322"]);
}

#[tokio::test]
async fn what_cannot_be_planned_refuses_nothing_and_what_is_refused_plans_nothing() {
    let ada = world().await;
    assert_eq!(
        warnings(&ada, "", visit(5, "60", json!({}))).await,
        ["E1300"]
    );
    // A day that nobody enters data for any more.
    let expiry = json!([{"op": "add", "path": "/expiryDays", "value": 5}, {"op": "add", "path": "/expiryPeriodType", "value": "Monthly"}]);
    let told = ada
        .user("root")
        .send("PATCH", "/api/programs/hvProgram01", &expiry.to_string())
        .await;
    assert_eq!(told.status, 200, "{}", told.text);
    let recent = visit(6, "70", json!({"occurredAt": "2026-11-20"}));
    assert_eq!(warnings(&ada, "", recent).await, ["E1300"]);
    let light = |more: Value| visit(8, "4", more);
    let expired = light(json!({}));
    assert_eq!(ada.codes("", expired).await[0].1, "E1047");
    let recent = light(json!({"occurredAt": "2026-11-20"}));
    let told = ada.import("skipRuleEngine=true", recent.clone()).await;
    assert_eq!(told.status, 200, "{}", told.text);
    let thin = visit(9, "3", json!({"occurredAt": "2026-11-20"}));
    assert_eq!(ada.codes("", thin).await[0].1, "E1300");
    // Nothing is stored of what is refused as a whole.
    let wrong = visit(9, "heavy", json!({"occurredAt": "2026-11-20"}));
    let told = ada
        .post("/api/tracker?async=false", both(recent.clone(), wrong))
        .await;
    assert_eq!(told.status, 409, "{}", told.text);
    assert!(to_come(&ada).await.is_empty());
    ada.put(recent).await;
    assert_eq!(to_come(&ada).await.len(), 1);
}

#[tokio::test]
async fn the_old_api_plans_events_and_tells_of_what_was_sent_alone() {
    let ada = world().await;
    let old = json!({"events": [{"event": "hvEv0000005", "enrollment": "hvEn0000001", "program": "hvProgram01", "programStage": "hvStage0001",
        "orgUnit": "hvOuFacil01", "eventDate": "2026-10-05", "dataValues": [{"dataElement": WEIGHT, "value": "4"}]}]});
    let told = ada.post("/api/events?strategy=SYNC", old).await;
    assert_eq!(told.status, 200, "{}", told.text);
    let told = told.json();
    let response = &told["response"];
    assert_eq!(response["imported"], 1, "{told}");
    assert_eq!(
        response["importSummaries"].as_array().unwrap().len(),
        1,
        "{told}"
    );
    let planned = to_come(&ada).await;
    let uid = planned[0]["event"].as_str().unwrap();
    let read = ada.json(&format!("/api/events/{uid}")).await;
    assert_eq!(
        (&read["status"], &read["dueDate"]),
        (&json!("SCHEDULE"), &json!("2026-11-02T00:00:00.000"))
    );
}
