//! Program rules in imports, by both APIs: what they refuse, warn of, ask for and put in.

#![expect(
    clippy::needless_pass_by_value,
    reason = "the cases read better without borrows"
)]

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::tracker::family;
use crate::web::Client;

/// Where something is said of rules.
const SOURCES: [&str; 2] = [
    include_str!("../../src/face/tracker/check/rules.rs"),
    include_str!("../../src/face/tracker/plan.rs"),
];
const WARNED: &str = "reportMode=WARNINGS";

fn variable(id: &str, name: &str, source: &str, more: Value) -> Value {
    let mut variable = json!({"id": id, "name": name, "program": {"id": "hvProgram01"}, "programRuleVariableSourceType": source,
        "useCodeForOptionSet": true});
    let members = variable.as_object_mut().unwrap();
    members.extend(more.as_object().unwrap().clone());
    variable
}

fn rule(id: &str, priority: u32, condition: &str, action: &str) -> Value {
    json!({"id": id, "name": id, "program": {"id": "hvProgram01"}, "priority": priority, "condition": condition,
        "programRuleActions": [{"id": action}]})
}

fn action(id: &str, of: &str, more: Value) -> Value {
    let mut action = json!({"id": id, "programRuleActionType": of, "content": null, "data": null});
    let members = action.as_object_mut().unwrap();
    members.extend(more.as_object().unwrap().clone());
    action
}

/// A program with a rule of each kind.
fn metadata() -> Value {
    let current = "DATAELEMENT_CURRENT_EVENT";
    let element = |id: &str| json!({"dataElement": {"id": id}});
    let attribute = |id: &str| json!({"trackedEntityAttribute": {"id": id}});
    let attributes = ["hvAttrName1", "hvAttrCode1", "hvAttrAge01", "hvAttrGroup"].map(attribute);
    let stage = |id: &str, more: Value| {
        let elements = ["hvDeWeight1", "hvDeHeight1", "hvDeIndex01", "hvDeNote001"].map(element);
        let mut stage = json!({"id": id, "name": "Visit", "program": {"id": "hvProgram01"}, "repeatable": true,
            "programStageDataElements": elements});
        stage
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        stage
    };
    let plan = |stage: &str, date: &str| json!({"programStage": {"id": stage}, "data": date});
    json!({
        "dataElements": [
            {"id": "hvDeHeight1", "name": "Height", "valueType": "NUMBER"}, {"id": "hvDeIndex01", "name": "Index", "valueType": "NUMBER"},
            {"id": "hvDeNote001", "name": "Why", "valueType": "TEXT"}, {"id": "hvDeOther01", "name": "Elsewhere", "valueType": "TEXT"}
        ],
        "trackedEntityAttributes": [{"id": "hvAttrGroup", "name": "Age group", "valueType": "TEXT"}],
        "programs": [{"id": "hvProgram01", "name": "Follow-up", "programType": "WITH_REGISTRATION", "trackedEntityType": {"id": "hvTeType001"},
            "organisationUnits": [{"id": "hvOuFacil01"}, {"id": "hvOuFacil02"}],
            "programTrackedEntityAttributes": attributes,
            // As copies of other servers have them: whole within the program.
            "programRuleVariables": [variable("hvRuleVar01", "height", current, element("hvDeHeight1"))]}],
        "programStages": [
            stage("hvStage0001", json!({})),
            stage("hvStage0003", json!({"validationStrategy": "ON_COMPLETE"})),
            stage("hvStgRead01", json!({"access": {"data": {"read": true, "write": false}}}))
        ],
        "constants": [{"id": "hvConstant1", "name": "Heavy", "value": 200.0}],
        "programRuleVariables": [
            variable("hvRuleVar02", "weight", current, element("hvDeWeight1")),
            variable("hvRuleVar03", "before", "DATAELEMENT_PREVIOUS_EVENT", element("hvDeWeight1")),
            variable("hvRuleVar04", "age", "TEI_ATTRIBUTE", attribute("hvAttrAge01")),
            variable("hvRuleVar05", "squared", "CALCULATED_VALUE", json!({"valueType": "NUMBER"}))
        ],
        "programRules": [
            rule("hvRuleHeavy", 1, "#{weight} > C{hvConstant1}", "hvActHeavy1"),
            rule("hvRuleWarn1", 1, "#{weight} > 100", "hvActWarn01"),
            rule("hvRuleLost1", 1, "d2:hasValue('before') && #{before} > #{weight} * 2", "hvActLost01"),
            rule("hvRuleDone1", 1, "V{event_status} == 'COMPLETED' && !d2:hasValue(#{height})", "hvActDone01"),
            rule("hvRuleMust1", 1, "#{weight} > 150", "hvActMust01"),
            rule("hvRuleSqua1", 1, "d2:hasValue(#{height})", "hvActSqua01"),
            rule("hvRuleIndex", 2, "#{squared} > 0", "hvActIndex1"),
            rule("hvRuleCode1", 1, "A{age} > 60", "hvActCode01"),
            rule("hvRuleGroup", 1, "#{age} >= 18", "hvActGroup1"),
            rule("hvRuleBroke", 1, "#{weight > ", "hvActHeavy1"),
            rule("hvRuleElse1", 1, "true", "hvActElse01"),
            rule("hvRulePlan1", 1, "#{weight} == 50", "hvActPlan01"),
            rule("hvRulePlan2", 1, "#{weight} == 51", "hvActPlan02"),
            rule("hvRulePlan3", 1, "#{weight} == 52", "hvActPlan03")
        ],
        "programRuleActions": [
            action("hvActHeavy1", "SHOWERROR", json!({"content": "cannot be heavier, but is", "data": "#{weight}", "dataElement": {"id": "hvDeWeight1"}})),
            action("hvActWarn01", "SHOWWARNING", json!({"content": "look again"})),
            action("hvActLost01", "SHOWERROR", json!({"content": "lost half"})),
            action("hvActDone01", "ERRORONCOMPLETE", json!({"content": "measure the height"})),
            action("hvActMust01", "SETMANDATORYFIELD", element("hvDeNote001")),
            action("hvActSqua01", "ASSIGN", json!({"content": "#{squared}", "data": "#{height} * #{height}"})),
            action("hvActIndex1", "ASSIGN", json!({"data": "d2:round(#{weight} / #{squared}, 1)", "dataElement": {"id": "hvDeIndex01"}})),
            action("hvActCode01", "SETMANDATORYFIELD", attribute("hvAttrCode1")),
            action("hvActGroup1", "ASSIGN", json!({"data": "'adult'", "trackedEntityAttribute": {"id": "hvAttrGroup"}})),
            action("hvActElse01", "SETMANDATORYFIELD", element("hvDeOther01")),
            action("hvActPlan01", "SCHEDULEEVENT", plan("hvStage0003", "d2:addDays(V{event_date}, 28)")),
            action("hvActPlan02", "SCHEDULEEVENT", plan("hvStage0003", "'soon'")),
            action("hvActPlan03", "SCHEDULEEVENT", plan("hvStgRead01", "V{event_date}"))
        ]
    })
}

/// One person of thirty with an event, and the rules; ada enters data.
async fn world() -> Client {
    let client = Client::with_users("hvOuRoot001").await;
    client.put(family(1, "hvOuFacil01")).await;
    let told = client.post("/api/metadata", metadata()).await;
    assert_eq!(told.status, 200, "{}", told.text);
    client.user("ada")
}

fn event(n: u32, values: Value, more: Value) -> Value {
    let values: Vec<Value> = values
        .as_object()
        .unwrap()
        .iter()
        .map(|(id, value)| json!({"dataElement": id, "value": value}))
        .collect();
    let mut event = json!({"event": format!("hvEv{n:07}"), "enrollment": "hvEn0000001", "program": "hvProgram01", "programStage": "hvStage0001",
        "orgUnit": "hvOuFacil01", "occurredAt": "2026-10-05", "dataValues": values});
    event
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    json!({ "events": [event] })
}

fn enrollment(attributes: Value) -> Value {
    let mut all: Vec<Value> = attributes
        .as_object()
        .unwrap()
        .iter()
        .map(|(id, value)| json!({"attribute": id, "value": value}))
        .collect();
    all.push(json!({"attribute": "hvAttrName1", "value": "N"}));
    json!({"enrollments": [{"enrollment": "hvEn0000001", "trackedEntity": "hvTe0000001", "program": "hvProgram01", "orgUnit": "hvOuFacil01",
        "enrolledAt": "2026-10-01", "occurredAt": "2026-10-01", "attributes": all}]})
}

async fn values(client: &Client, n: u32) -> Value {
    let told = client
        .json(&format!("/api/tracker/events/hvEv{n:07}"))
        .await;
    let all = told["dataValues"].as_array().unwrap();
    let pairs = all.iter().map(|value| {
        (
            value["dataElement"].as_str().unwrap().to_owned(),
            value["value"].clone(),
        )
    });
    Value::Object(pairs.collect())
}

#[tokio::test]
async fn every_code_of_a_rule_is_given_for_its_reason() {
    let ada = world().await;
    let mut seen = BTreeSet::new();
    let is_error = |code: &str| {
        !matches!(
            code,
            "E1308" | "E1310" | "E1319" | "E1320" | "E1321" | "E1322"
        )
    };
    let none = json!({});
    for (code, body) in [
        (
            "E1300",
            event(
                5,
                json!({"hvDeWeight1": "300", "hvDeNote001": "x"}),
                none.clone(),
            ),
        ),
        ("E1300", event(5, json!({"hvDeWeight1": "4"}), none.clone())),
        (
            "E1300",
            event(
                5,
                json!({"hvDeWeight1": "10"}),
                json!({"status": "COMPLETED"}),
            ),
        ),
        (
            "E1301",
            event(5, json!({"hvDeWeight1": "160"}), none.clone()),
        ),
        (
            "E1314",
            event(
                5,
                json!({"hvDeWeight1": "160", "hvDeNote001": null}),
                none.clone(),
            ),
        ),
        (
            "E1307",
            event(
                5,
                json!({"hvDeWeight1": "80", "hvDeHeight1": "2", "hvDeIndex01": "21"}),
                none.clone(),
            ),
        ),
        (
            "E1308",
            event(
                6,
                json!({"hvDeWeight1": "80", "hvDeHeight1": "2"}),
                none.clone(),
            ),
        ),
        (
            "E1308",
            event(
                6,
                json!({"hvDeWeight1": "80", "hvDeHeight1": "2", "hvDeIndex01": "20.0"}),
                none.clone(),
            ),
        ),
        (
            "E1320",
            event(7, json!({"hvDeWeight1": "50"}), none.clone()),
        ),
        (
            "E1322",
            event(7, json!({"hvDeWeight1": "50"}), none.clone()),
        ),
        (
            "E1319",
            event(7, json!({"hvDeWeight1": "51"}), none.clone()),
        ),
        ("E1321", event(7, json!({"hvDeWeight1": "52"}), none)),
        ("E1306", enrollment(json!({"hvAttrAge01": "61"}))),
        (
            "E1317",
            enrollment(json!({"hvAttrAge01": "61", "hvAttrCode1": null})),
        ),
        ("E1309", enrollment(json!({"hvAttrGroup": "child"}))),
        ("E1310", enrollment(json!({}))),
        ("E1310", enrollment(json!({"hvAttrGroup": "adult"}))),
    ] {
        let told = ada.import(WARNED, body.clone()).await;
        let report = &told.json()["validationReport"];
        let list = if is_error(code) {
            "errorReports"
        } else {
            "warningReports"
        };
        let codes: Vec<&str> = report[list]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["errorCode"].as_str().unwrap())
            .collect();
        assert!(codes.contains(&code), "{code} {body}: {}", told.text);
        assert_eq!(
            told.status,
            if is_error(code) { 409 } else { 200 },
            "{body}: {}",
            told.text
        );
        assert_eq!(
            report["errorReports"].as_array().unwrap().is_empty(),
            !is_error(code),
            "{}",
            told.text
        );
        seen.insert(code);
    }
    let source = SOURCES.concat();
    let written: BTreeSet<&str> = source
        .split('"')
        .filter(|text| {
            text.len() == 5
                && text.starts_with('E')
                && text[1..].bytes().all(|b| b.is_ascii_digit())
        })
        .collect();
    assert_eq!(
        written, seen,
        "a code without a case, or a case without a code"
    );
}

#[tokio::test]
async fn an_error_says_what_its_maker_wrote_with_what_was_entered() {
    let ada = world().await;
    let heavy = event(
        5,
        json!({"hvDeWeight1": "300", "hvDeNote001": "x"}),
        json!({}),
    );
    let told = ada.import("", heavy.clone()).await.json();
    let error = &told["validationReport"]["errorReports"][0];
    assert_eq!(error["errorCode"], "E1300");
    assert_eq!(error["uid"], "hvEv0000005");
    assert_eq!(
        error["message"],
        "Program rule `hvRuleHeavy`: cannot be heavier, but is 300"
    );
    assert_eq!(ada.get("/api/tracker/events/hvEv0000005").await.status, 404);
    // With the default mode nothing of a request is stored of which a rule refuses something.
    let both = json!({"events": [heavy["events"][0], event(6, json!({"hvDeWeight1": "10"}), json!({}))["events"][0]]});
    let told = ada.post("/api/tracker?async=false", both.clone()).await;
    assert_eq!(told.status, 409);
    assert_eq!(ada.get("/api/tracker/events/hvEv0000006").await.status, 404);
    ada.import("", both).await;
    assert_eq!(ada.get("/api/tracker/events/hvEv0000006").await.status, 200);
}

#[tokio::test]
async fn a_warning_and_a_rule_that_cannot_be_read_refuse_nothing() {
    let ada = world().await;
    let big = event(5, json!({"hvDeWeight1": "120"}), json!({}));
    let told = ada.import(WARNED, big.clone()).await;
    assert_eq!(told.status, 200, "{}", told.text);
    let told = told.json();
    let warnings = told["validationReport"]["warningReports"]
        .as_array()
        .unwrap();
    let has = |text: &str| {
        warnings
            .iter()
            .any(|one| one["message"].as_str().unwrap().contains(text))
    };
    assert!(has("`hvRuleWarn1`: look again"), "{warnings:?}");
    assert!(
        has("`hvRuleBroke` was passed over: it cannot be read"),
        "{warnings:?}"
    );
    assert_eq!(values(&ada, 5).await, json!({"hvDeWeight1": "120"}));
    // Who does not ask for warnings hears of none.
    assert!(!ada.import("", big).await.text.contains("look again"));
}

#[tokio::test]
async fn calculated_values_are_put_in_and_follow_what_they_are_made_of() {
    let ada = world().await;
    ada.put(event(
        5,
        json!({"hvDeWeight1": "80", "hvDeHeight1": "2"}),
        json!({}),
    ))
    .await;
    assert_eq!(
        values(&ada, 5).await,
        json!({"hvDeWeight1": "80", "hvDeHeight1": "2", "hvDeIndex01": "20"})
    );
    // Only what changed is sent; the rest is known.
    ada.put(event(5, json!({"hvDeWeight1": "90"}), json!({})))
        .await;
    assert_eq!(values(&ada, 5).await["hvDeIndex01"], "22.5");
    // And sending it all again is no edit.
    let told = ada.json("/api/tracker/events/hvEv0000005").await;
    ada.put(json!({ "events": [told] })).await;
    assert_eq!(ada.json("/api/tracker/events/hvEv0000005").await, told);
    ada.put(enrollment(json!({"hvAttrAge01": "40"}))).await;
    let told = ada
        .json("/api/tracker/enrollments/hvEn0000001?fields=attributes")
        .await;
    assert!(told.to_string().contains("adult"), "{told}");
    ada.put(enrollment(
        json!({"hvAttrAge01": "70", "hvAttrCode1": "A-1"}),
    ))
    .await;
}

#[tokio::test]
async fn rules_heed_other_events_statuses_and_the_strategy_of_the_stage() {
    let ada = world().await;
    let codes = async |body: Value| {
        let codes = ada.codes("importMode=VALIDATE", body).await;
        codes.into_iter().map(|(_, code)| code).collect::<Vec<_>>()
    };
    // The event before this one, of the second of October, has a weight of 10.
    let light = json!({"hvDeWeight1": "4"});
    assert_eq!(codes(event(5, light.clone(), json!({}))).await, ["E1300"]);
    assert_eq!(
        codes(event(5, light.clone(), json!({"occurredAt": "2026-10-01"}))).await,
        [""; 0]
    );
    let planned = json!({"status": "SCHEDULE", "scheduledAt": "2026-10-05"});
    assert_eq!(codes(event(5, json!({}), json!({}))).await, ["E1300"]);
    assert_eq!(codes(event(5, json!({}), planned)).await, [""; 0]);
    // Values of this stage are looked at once an event is completed.
    let late = |status: &str| json!({"programStage": "hvStage0003", "status": status});
    assert_eq!(
        codes(event(5, light.clone(), late("ACTIVE"))).await,
        [""; 0]
    );
    let done = codes(event(5, light, late("COMPLETED"))).await;
    assert_eq!(done, ["E1300", "E1300"], "of the weight and of the height");
}

#[tokio::test]
async fn the_old_api_heeds_rules_and_who_asks_for_none_gets_none() {
    let ada = world().await;
    let old = json!({"events": [{"event": "hvEv0000005", "enrollment": "hvEn0000001", "program": "hvProgram01", "programStage": "hvStage0001",
        "orgUnit": "hvOuFacil01", "eventDate": "2026-10-05", "dataValues": [{"dataElement": "hvDeWeight1", "value": "300"}, {"dataElement": "hvDeNote001", "value": "x"}]}]});
    let told = ada.post("/api/events?strategy=SYNC", old).await;
    assert_eq!(told.status, 409, "{}", told.text);
    let summary = &told.json()["response"]["importSummaries"][0];
    assert_eq!(summary["status"], "ERROR");
    let conflict = &summary["conflicts"][0];
    assert_eq!(conflict["object"], "hvDeWeight1", "{summary}");
    assert!(
        conflict["value"]
            .as_str()
            .unwrap()
            .contains("cannot be heavier, but is 300")
    );
    let heavy = event(5, json!({"hvDeWeight1": "300"}), json!({}));
    let told = ada.import("skipRuleEngine=true", heavy.clone()).await;
    assert_eq!(told.status, 200, "{}", told.text);
    // As a job as well.
    let job = ada
        .post("/api/tracker?atomicMode=OBJECT", heavy)
        .await
        .json();
    ada.host.run_jobs();
    let id = job["response"]["id"].as_str().unwrap();
    let report = ada.json(&format!("/api/tracker/jobs/{id}/report")).await;
    assert_eq!(report["status"], "ERROR", "{report}");
}

#[tokio::test]
async fn rules_hold_from_when_they_are_made_until_they_are_gone() {
    let ada = world().await;
    let root = ada.user("root");
    let heavy = event(
        5,
        json!({"hvDeWeight1": "300", "hvDeNote001": "x"}),
        json!({}),
    );
    assert_eq!(ada.import("", heavy.clone()).await.status, 409);
    let constant = json!([{"op": "replace", "path": "/value", "value": 400}]);
    let told = root
        .send("PATCH", "/api/constants/hvConstant1", &constant.to_string())
        .await;
    assert_eq!(told.status, 200, "{}", told.text);
    ada.put(heavy).await;
    let more = event(
        5,
        json!({"hvDeWeight1": "500", "hvDeNote001": "x"}),
        json!({}),
    );
    assert_eq!(ada.import("", more.clone()).await.status, 409);
    assert_eq!(
        root.send("DELETE", "/api/programRules/hvRuleHeavy", "")
            .await
            .status,
        200
    );
    ada.put(more).await;
}

fn fixture(name: &str) -> Value {
    let beside = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let shared = std::env::var_os("HAVERSACK_SHARED").map_or(beside, std::path::PathBuf::from);
    let path = shared.join("fixtures/dhis2").join(name);
    let text = std::fs::read(&path);
    let text = text.unwrap_or_else(|_| {
        panic!(
            "there is no {}: set HAVERSACK_SHARED to the folder that holds fixtures/dhis2",
            path.display()
        )
    });
    serde_json::from_slice(&text).unwrap()
}

#[tokio::test]
async fn the_real_data_of_a_program_with_rules_refuses_and_warns_as_it_says() {
    let client = Client::with_users("hvOuRoot001").await;
    let mut programs = fixture("program/programs.json");
    let mut program = programs["programs"][0].take();
    let id = program["id"].as_str().unwrap().to_owned();
    program["organisationUnits"] = json!([{"id": "hvOuFacil01"}]);
    let mut rules = fixture("program/program_rules.json");
    let element = "vANAXwtLwcT";
    let metadata = json!({
        "programs": [program], "programRules": rules["programRules"].take(),
        "dataElements": [{"id": element, "name": "Hemoglobin", "valueType": "NUMBER"}],
        "programStages": [{"id": "hvStgHemo01", "name": "Visit", "program": {"id": id}, "repeatable": true,
            "programStageDataElements": [{"dataElement": {"id": element}}]}]
    });
    let told = client.post("/api/metadata", metadata).await;
    assert_eq!(told.status, 200, "{}", told.text);
    for (value, code, sentence) in [
        ("100", "E1300", "The hemoglobin value cannot be above 99"),
        ("8", "E1300", "Hemoglobin value lower than normal"),
        ("12", "", ""),
    ] {
        let event = json!({"events": [{"event": "hvEvHemo001", "program": id, "programStage": "hvStgHemo01",
            "orgUnit": "hvOuFacil01", "occurredAt": "2026-10-05", "dataValues": [{"dataElement": element, "value": value}]}]});
        let told = client.import(WARNED, event).await;
        assert_eq!(
            told.status,
            if value == "100" { 409 } else { 200 },
            "{}",
            told.text
        );
        assert!(
            told.text.contains(code) && told.text.contains(sentence),
            "{}",
            told.text
        );
        assert!(
            value != "12" || !told.text.contains("E1300"),
            "{}",
            told.text
        );
    }
}
