//! Every code with which an import refuses something, each with a request that is refused so.

#![expect(
    clippy::needless_pass_by_value,
    reason = "the cases read better without borrows"
)]

mod world;

use std::collections::BTreeSet;

use serde_json::{Value, json};

use world::{attribute, enrollment, entity, event, late, note, planned, side, tie, with, world};

/// Where refusals are made.
const SOURCES: [&str; 7] = [
    include_str!("../../src/face/tracker/check.rs"),
    include_str!("../../src/face/tracker/check/enrollment.rs"),
    include_str!("../../src/face/tracker/check/event.rs"),
    include_str!("../../src/face/tracker/check/relationship.rs"),
    include_str!("../../src/face/tracker/delete.rs"),
    include_str!("../../src/face/tracker/import.rs"),
    include_str!("../../src/face/tracker/notes.rs"),
];

const UPDATE: &str = "importStrategy=UPDATE";
const CREATE: &str = "importStrategy=CREATE";
const DELETE: &str = "importStrategy=DELETE";
const NONE: &str = "aBcDeFgHiJk";

/// Code, who asks, parameters, what is sent.
type Case = (&'static str, &'static str, &'static str, Value);

fn of_entities(taken: &str) -> Vec<Case> {
    let uid = |uid: &str| json!({"trackedEntities": [{"trackedEntity": uid}]});
    vec![
        (
            "E1000",
            "ada",
            "",
            entity(7, json!({"orgUnit": "hvOuFacil02"})),
        ),
        ("E1000", "ada", DELETE, uid("hvTe0000002")),
        (
            "E1001",
            "root",
            "",
            entity(7, json!({"trackedEntityType": "hvTypeRead1"})),
        ),
        ("E1002", "root", CREATE, entity(1, json!({}))),
        (
            "E1005",
            "root",
            "",
            entity(7, json!({"trackedEntityType": NONE})),
        ),
        ("E1006", "root", "", attribute(NONE, json!("x"))),
        ("E1007", "root", "", attribute("hvAttrAge01", json!("old"))),
        (
            "E1008",
            "root",
            "",
            attribute("hvAttrRand1", json!("nothing")),
        ),
        ("E1009", "root", "", attribute("hvAttrFile1", json!(taken))),
        (
            "E1048",
            "root",
            "",
            entity(7, json!({"trackedEntity": "1; DROP"})),
        ),
        ("E1049", "root", "", entity(7, json!({"orgUnit": NONE}))),
        ("E1063", "root", UPDATE, entity(7, json!({}))),
        ("E1063", "root", DELETE, uid(NONE)),
        ("E1063", "root", DELETE, uid("no uid")),
        ("E1064", "root", "", attribute("hvAttrCode1", json!("A-17"))),
        ("E1075", "root", "", attribute("", json!("x"))),
        (
            "E1077",
            "root",
            "",
            attribute("hvAttrName1", json!("x".repeat(1201))),
        ),
        ("E1084", "root", "", attribute("hvAttrFile1", json!(NONE))),
        (
            "E1090",
            "root",
            "",
            entity(7, json!({"trackedEntityType": "hvTypeMust1"})),
        ),
        (
            "E1076",
            "root",
            "",
            entity(
                7,
                json!({"trackedEntityType": "hvTypeMust1", "attributes": [{"attribute": "hvAttrCode1", "value": null}]}),
            ),
        ),
        ("E1100", "ada", DELETE, uid("hvTe0000001")),
        ("E1114", "root", "", entity(9, json!({}))),
        ("E1114", "root", DELETE, uid("hvTe0000009")),
        ("E1121", "root", "", entity(7, json!({"orgUnit": null}))),
        ("E1125", "root", "", attribute("hvAttrSex01", json!("X"))),
        (
            "E1126",
            "root",
            "",
            entity(1, json!({"trackedEntityType": "hvTypeOther"})),
        ),
        ("E1324", "cat", "", entity(2, json!({}))),
    ]
}

fn of_enrollments() -> Vec<Case> {
    let own = "hvProgram01";
    let uid = |uid: &str| json!({"enrollments": [{"enrollment": uid}]});
    let more = |more: Value| enrollment(7, 3, "hvPrgOnce01", more);
    let both = json!({"trackedEntities": entity(7, json!({"orgUnit": NONE}))["trackedEntities"], "enrollments": enrollment(7, 7, own, json!({}))["enrollments"]});
    let mut unnamed = entity(7, json!({"attributes": []}));
    unnamed["enrollments"] =
        enrollment(7, 7, own, json!({"attributes": []}))["enrollments"].clone();
    vec![
        ("E1000", "ada", "", more(json!({"orgUnit": "hvOuFacil02"}))),
        ("E1000", "ada", DELETE, uid("hvEn0000002")),
        (
            "E1014",
            "root",
            "",
            enrollment(7, 3, "hvEventPrg1", json!({})),
        ),
        ("E1015", "root", "", enrollment(7, 3, own, json!({}))),
        (
            "E1016",
            "root",
            "",
            enrollment(7, 1, "hvPrgOnce01", json!({"status": "COMPLETED"})),
        ),
        ("E1018", "root", "", unnamed),
        (
            "E1019",
            "root",
            "",
            more(json!({"attributes": [{"attribute": "hvAttrSex01", "value": "F"}]})),
        ),
        (
            "E1020",
            "root",
            "",
            more(json!({"enrolledAt": "2030-01-01"})),
        ),
        (
            "E1021",
            "root",
            "",
            more(json!({"occurredAt": "2030-01-01"})),
        ),
        (
            "E1022",
            "root",
            "",
            enrollment(7, 3, "hvPrgPlace1", json!({})),
        ),
        ("E1023", "root", "", more(json!({"occurredAt": null}))),
        ("E1025", "root", "", more(json!({"enrolledAt": "soon"}))),
        ("E1041", "root", "", more(json!({"orgUnit": "hvOuFacil02"}))),
        ("E1052", "root", "", more(json!({"status": "DONE"}))),
        ("E1068", "root", "", enrollment(7, 7, own, json!({}))),
        ("E1069", "root", "", enrollment(7, 3, NONE, json!({}))),
        ("E1070", "root", "", more(json!({"orgUnit": NONE}))),
        ("E1080", "root", CREATE, enrollment(1, 1, own, json!({}))),
        ("E1081", "root", UPDATE, more(json!({}))),
        ("E1081", "root", DELETE, uid(NONE)),
        (
            "E1091",
            "root",
            "",
            enrollment(7, 3, "hvPrgRead01", json!({})),
        ),
        (
            "E1102",
            "bob",
            "",
            enrollment(6, 5, "hvPrgClose1", json!({})),
        ),
        ("E1102", "cat", DELETE, uid("hvEn0000011")),
        ("E1103", "ada", DELETE, uid("hvEn0000001")),
        (
            "E1104",
            "root",
            "",
            enrollment(7, 3, "hvPrgHide01", json!({})),
        ),
        ("E1113", "root", "", enrollment(9, 9, own, json!({}))),
        ("E1113", "root", DELETE, uid("hvEn0000009")),
        ("E1122", "root", "", more(json!({"trackedEntity": null}))),
        (
            "E1127",
            "root",
            "",
            enrollment(1, 1, "hvPrgOnce01", json!({})),
        ),
        ("E5000", "root", "", both),
    ]
}

fn of_events(taken: &str) -> Vec<Case> {
    let uid = |uid: &str| json!({"events": [{"event": uid}]});
    let value = |id: &str, value: Value| {
        event(
            7,
            json!({"dataValues": [{"dataElement": id, "value": value}]}),
        )
    };
    vec![
        (
            "E1000",
            "ada",
            "",
            event(7, json!({"orgUnit": "hvOuFacil02"})),
        ),
        ("E1000", "ada", DELETE, uid("hvEv0000002")),
        (
            "E1009",
            "root",
            "",
            value("hvDeFile001", json!(taken)).clone(),
        ),
        ("E1010", "root", "", event(7, json!({"program": NONE}))),
        ("E1011", "root", "", event(7, json!({"orgUnit": NONE}))),
        ("E1013", "root", "", event(7, json!({"programStage": NONE}))),
        (
            "E1029",
            "root",
            "",
            event(
                7,
                json!({"program": "hvEventPrg1", "programStage": "hvStage0002", "enrollment": null, "orgUnit": "hvOuFacil02"}),
            ),
        ),
        ("E1030", "root", CREATE, event(1, json!({}))),
        ("E1031", "root", "", event(7, json!({"occurredAt": null}))),
        ("E1032", "root", UPDATE, event(7, json!({}))),
        ("E1032", "root", DELETE, uid(NONE)),
        ("E1033", "root", "", event(7, json!({"enrollment": null}))),
        (
            "E1039",
            "root",
            "",
            event(7, json!({"programStage": "hvStgOne001"})),
        ),
        (
            "E1043",
            "ada",
            "",
            late(json!({"occurredAt": "2026-11-15", "status": "COMPLETED"})),
        ),
        ("E1046", "ada", "", late(json!({"occurredAt": null}))),
        (
            "E1047",
            "ada",
            "",
            late(json!({"occurredAt": "2026-10-15"})),
        ),
        ("E1050", "root", "", event(7, json!({"status": "SCHEDULE"}))),
        (
            "E1051",
            "root",
            "",
            event(7, json!({"completedAt": "2026-10-02"})),
        ),
        ("E1052", "root", "", event(7, json!({"status": "DONE"}))),
        (
            "E1079",
            "root",
            "",
            event(
                7,
                json!({"program": "hvPrgOnce01", "programStage": "hvStgOnce01"}),
            ),
        ),
        ("E1081", "root", "", event(7, json!({"enrollment": NONE}))),
        ("E1082", "root", "", event(9, json!({}))),
        ("E1082", "root", DELETE, uid("hvEv0000009")),
        ("E1084", "root", "", value("hvDeFile001", json!(NONE))),
        (
            "E1089",
            "root",
            "",
            event(7, json!({"programStage": "hvStgOnce01"})),
        ),
        (
            "E1095",
            "root",
            "",
            event(7, json!({"programStage": "hvStgRead01"})),
        ),
        (
            "E1096",
            "root",
            "",
            event(
                7,
                json!({"program": "hvPrgDark01", "programStage": "hvStgDark01"}),
            ),
        ),
        (
            "E1104",
            "root",
            "",
            event(
                7,
                json!({"program": "hvPrgHide01", "programStage": "hvStgHide01"}),
            ),
        ),
        ("E1102", "cat", DELETE, uid("hvEv0000011")),
        (
            "E1119",
            "root",
            "reportMode=WARNINGS",
            event(
                4,
                json!({"programStage": "hvStgOne001", "notes": note("not seen")}),
            ),
        ),
        ("E1123", "root", "", event(7, json!({"orgUnit": null}))),
        (
            "E1128",
            "root",
            "",
            event(1, json!({"programStage": "hvStgOne001"})),
        ),
        ("E1302", "root", "", value("hvDeWeight1", json!("heavy"))),
        (
            "E1303",
            "root",
            "",
            event(
                7,
                json!({"programStage": "hvStgOnce01", "program": "hvPrgOnce01", "enrollment": "hvEn0000004", "status": "COMPLETED"}),
            ),
        ),
        (
            "E1313",
            "root",
            "",
            event(7, json!({"enrollment": "hvEn0000013"})),
        ),
        (
            "E1315",
            "root",
            "",
            planned(
                7,
                json!({"dataValues": [{"dataElement": "hvDeWeight1", "value": "10"}]}),
            ),
        ),
        ("E1316", "root", "", planned(1, json!({}))),
        (
            "E1318",
            "root",
            "",
            planned(
                7,
                json!({"program": "hvEventPrg1", "programStage": "hvStage0002", "enrollment": null}),
            ),
        ),
        ("E1304", "root", "", value(NONE, json!("1"))),
        ("E1305", "root", "", value("hvDeCases01", json!("1"))),
    ]
}

fn of_relationships() -> Vec<Case> {
    let own = "hvRelType01";
    let uid = |uid: &str| json!({"relationships": [{"relationship": uid}]});
    let both = with(side(1), &json!({"event": {"event": "hvEv0000001"}}));
    vec![
        ("E1124", "root", "", tie(7, "", side(1), side(5))),
        ("E4000", "root", "", tie(7, own, side(1), side(1))),
        ("E4001", "root", "", tie(7, own, both, side(5))),
        ("E4001", "root", "", tie(7, own, side(1), json!({}))),
        ("E4006", "root", "", tie(7, NONE, side(1), side(5))),
        ("E4010", "root", "", tie(7, "hvRelEvent1", side(1), side(5))),
        ("E4012", "root", "", tie(7, own, side(1), side(7))),
        ("E4014", "root", "", tie(7, "hvRelTyped1", side(1), side(5))),
        ("E4015", "root", CREATE, tie(1, own, side(1), side(3))),
        ("E4016", "root", UPDATE, tie(7, own, side(1), side(5))),
        ("E4016", "root", DELETE, uid(NONE)),
        ("E4017", "root", "", tie(9, own, side(1), side(9))),
        ("E4017", "root", DELETE, uid("hvRe0000009")),
        ("E4018", "root", "", tie(7, own, side(1), side(3))),
        ("E4020", "root", "", tie(7, "hvRelRead01", side(1), side(5))),
    ]
}

#[tokio::test]
async fn every_code_with_which_an_import_refuses_is_given_for_its_reason() {
    let (client, taken) = world().await;
    let mut seen = BTreeSet::new();
    let cases = [
        of_entities(&taken),
        of_enrollments(),
        of_events(&taken),
        of_relationships(),
    ]
    .concat();
    let mut wrong = Vec::new();
    for (code, who, parameters, body) in cases {
        let parameters = format!("importMode=VALIDATE&{parameters}");
        let codes = client.user(who).codes(&parameters, body.clone()).await;
        if !codes.iter().any(|(_, found)| found == code) {
            wrong.push(format!(
                "{code} by {who} with {parameters}, not {codes:?}: {body}"
            ));
        }
        seen.insert(code.to_owned());
    }
    assert_eq!(wrong, Vec::<String>::new(), "{}", wrong.join("\n"));
    let text = SOURCES.concat();
    let quoted = text
        .match_indices("\"E")
        .filter_map(|(at, _)| text.get(at + 1..at + 6));
    let given: BTreeSet<String> = quoted
        .filter(|code| code[1..].bytes().all(|byte| byte.is_ascii_digit()))
        .map(str::to_owned)
        .collect();
    assert_eq!(
        given, seen,
        "a code without a case, or a case without a code"
    );
}

#[tokio::test]
async fn what_is_not_wrong_is_not_refused() {
    let (client, taken) = world().await;
    let ada = client.user("ada");
    for (what, who, body) in [
        (
            "the file of the same value",
            "root",
            event(
                4,
                json!({"programStage": "hvStgOne001", "dataValues": [{"dataElement": "hvDeFile001", "value": taken}]}),
            ),
        ),
        (
            "a period that has ended some days ago",
            "ada",
            late(json!({"event": "hvEvLate002", "occurredAt": "2026-11-01"})),
        ),
        (
            "an expired one by who has every authority",
            "root",
            late(json!({"event": "hvEvLate003", "occurredAt": "2026-01-01"})),
        ),
        (
            "a completed event that is edited in time",
            "ada",
            late(
                json!({"event": "hvEvLate004", "occurredAt": "2026-11-20", "completedAt": "2026-11-20", "status": "COMPLETED"}),
            ),
        ),
        (
            "an enrollment that was cancelled does not count",
            "root",
            enrollment(7, 1, "hvPrgOnce01", json!({"status": "CANCELLED"})),
        ),
        (
            "an enrollment is no second one of itself",
            "root",
            enrollment(4, 1, "hvPrgOnce01", json!({"status": "COMPLETED"})),
        ),
        (
            "the same relationship again",
            "root",
            tie(1, "hvRelType01", side(1), side(3)),
        ),
        (
            "a relationship the other way round of one that was deleted",
            "root",
            tie(7, "hvRelType01", side(5), side(1)),
        ),
    ] {
        let told = client.user(who).import("", body).await;
        assert_eq!(told.status, 200, "{what}: {}", told.text);
    }
    let expired = late(json!({"occurredAt": "2026-10-15"}));
    assert_eq!(ada.codes("", expired.clone()).await[0].1, "E1047");
    let role = json!({"userRoles": [{"id": "hvRole00001", "authorities": ["F_EDIT_EXPIRED"]}]});
    client.post("/api/metadata", role).await;
    assert_eq!(ada.import("", expired).await.status, 200);
    // A second enrollment that is taken up again beside an active one.
    let other = enrollment(8, 3, "hvProgram01", json!({"status": "COMPLETED"}));
    client.put(other).await;
    let again = enrollment(8, 3, "hvProgram01", json!({"status": "ACTIVE"}));
    assert_eq!(
        client.codes("", again).await,
        [("hvEn0000008".to_owned(), "E1015".to_owned())]
    );
}
