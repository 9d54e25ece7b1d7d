//! Imports: what is taken in, what is refused and with which code, jobs and their reports.

use haversack_dhis2::wire::report::{self, Progress, Report, Verdict};
use haversack_dhis2::wire::tracker::Kind;
use serde_json::{Value, json};

use crate::tracker::family;
use crate::web::Client;

fn entity(n: u32) -> String {
    format!("/api/tracker/trackedEntities/hvTe{n:07}?program=hvProgram01&fields=*")
}

#[tokio::test]
async fn a_family_is_taken_in_and_told_again() {
    let client = Client::new().await;
    let told = client.import("", family(1, "hvOuFacil01")).await;
    assert_eq!(told.status, 200, "{}", told.text);
    let report = Report::of_job(&told.json()).unwrap();
    assert_eq!((report.stats.created, report.stats.total), (3, 3));
    assert_eq!(
        report.outcome(Kind::Event, "hvEv0000001").unwrap().verdict,
        Verdict::Success
    );
    let found = client.json(&entity(1)).await;
    assert_eq!(found["orgUnit"], "hvOuFacil01");
    assert_eq!(
        found["programOwners"],
        json!([{"trackedEntity": "hvTe0000001", "program": "hvProgram01", "orgUnit": "hvOuFacil01"}])
    );
    let enrollment = &found["enrollments"][0];
    assert_eq!(enrollment["status"], "ACTIVE");
    assert_eq!(enrollment["attributes"].as_array().unwrap().len(), 2);
    let event = &enrollment["events"][0];
    assert_eq!(
        (
            &event["enrollment"],
            &event["trackedEntity"],
            &event["program"]
        ),
        (
            &json!("hvEn0000001"),
            &json!("hvTe0000001"),
            &json!("hvProgram01")
        )
    );
    assert_eq!(event["dataValues"][0]["value"], "10");
    assert!(
        event["updatedAt"]
            .as_str()
            .unwrap()
            .starts_with("2026-11-21T")
    );
}

#[tokio::test]
async fn the_same_payload_twice_changes_nothing() {
    let client = Client::new().await;
    client.put(family(1, "hvOuFacil01")).await;
    let before = client.json(&entity(1)).await;
    let told = client.import("", family(1, "hvOuFacil01")).await.json();
    assert_eq!(
        told["stats"],
        json!({"created": 0, "updated": 3, "deleted": 0, "ignored": 0, "total": 3})
    );
    let mut after = client.json(&entity(1)).await;
    after["updatedAt"] = before["updatedAt"].clone();
    for (path, object) in [
        ("/enrollments/0", &before),
        ("/enrollments/0/events/0", &before),
    ] {
        let updated = object.pointer(path).unwrap()["updatedAt"].clone();
        after.pointer_mut(path).unwrap()["updatedAt"] = updated;
    }
    assert_eq!(after, before);
}

#[tokio::test]
async fn values_are_set_one_by_one_and_null_removes_them() {
    let client = Client::new().await;
    client.put(family(1, "hvOuFacil01")).await;
    let change = json!({"trackedEntities": [{"trackedEntity": "hvTe0000001", "trackedEntityType": "hvTeType001", "orgUnit": "hvOuFacil01",
        "attributes": [{"attribute": "hvAttrCode1", "value": "A-17"}]}],
        "events": [{"event": "hvEv0000001", "enrollment": "hvEn0000001", "programStage": "hvStage0001", "orgUnit": "hvOuFacil01",
            "occurredAt": "2026-10-03", "dataValues": [{"dataElement": "hvDeWeight1", "value": null}]}]});
    client.put(change).await;
    let found = client.json(&entity(1)).await;
    let values: Vec<&Value> = found["attributes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|attribute| &attribute["value"])
        .collect();
    assert_eq!(values, ["Name 1", "30", "A-17"]);
    let event = &found["enrollments"][0]["events"][0];
    assert_eq!(
        (&event["dataValues"], &event["occurredAt"]),
        (&json!([]), &json!("2026-10-03"))
    );
    let removed = json!({"trackedEntities": [{"trackedEntity": "hvTe0000001", "trackedEntityType": "hvTeType001", "orgUnit": "hvOuFacil01",
        "attributes": [{"attribute": "hvAttrCode1", "value": null}]}]});
    client.put(removed).await;
    assert_eq!(
        client.json(&entity(1)).await["attributes"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
}

#[tokio::test]
async fn what_does_not_fit_is_refused_with_its_code() {
    let client = Client::new().await;
    client.put(family(1, "hvOuFacil01")).await;
    let change = |pointer: &str, value: Value| {
        let mut body = family(2, "hvOuFacil01");
        *body
            .pointer_mut(pointer)
            .unwrap_or_else(|| panic!("{pointer}")) = value;
        body
    };
    let te = "/trackedEntities/0";
    let en = "/trackedEntities/0/enrollments/0";
    let ev = "/trackedEntities/0/enrollments/0/events/0";
    for (pointer, value, code) in [
        (format!("{te}/trackedEntity"), json!("short"), "E1048"),
        (
            format!("{te}/trackedEntityType"),
            json!("aBcDeFgHiJk"),
            "E1005",
        ),
        (format!("{te}/trackedEntityType"), json!(null), "E1121"),
        (format!("{te}/orgUnit"), json!("aBcDeFgHiJk"), "E1049"),
        (
            format!("{te}/attributes/0/attribute"),
            json!("aBcDeFgHiJk"),
            "E1006",
        ),
        (
            format!("{te}/attributes/0/value"),
            json!("x".repeat(1201)),
            "E1077",
        ),
        (
            format!("{te}/attributes/0"),
            json!({"attribute": "hvAttrRand1", "value": "nothing"}),
            "E1008",
        ),
        (format!("{en}/program"), json!("aBcDeFgHiJk"), "E1069"),
        (format!("{en}/program"), json!(""), "E1122"),
        (format!("{en}/program"), json!("hvEventPrg1"), "E1014"),
        (format!("{en}/orgUnit"), json!("aBcDeFgHiJk"), "E1070"),
        (format!("{en}/enrolledAt"), json!(null), "E1025"),
        (format!("{en}/enrolledAt"), json!("2030-01-01"), "E1020"),
        (format!("{en}/occurredAt"), json!("2030-01-01"), "E1021"),
        (format!("{en}/trackedEntity"), json!("x"), ""),
        (format!("{en}/attributes/1/value"), json!("-3"), "E1007"),
        (format!("{en}/attributes/0/value"), json!(null), "E1076"),
        (format!("{ev}/programStage"), json!("aBcDeFgHiJk"), "E1013"),
        (format!("{ev}/programStage"), json!("hvStage0002"), "E1089"),
        (format!("{ev}/orgUnit"), json!(null), "E1123"),
        (format!("{ev}/orgUnit"), json!("aBcDeFgHiJk"), "E1011"),
        (format!("{ev}/occurredAt"), json!("yesterday"), "E1031"),
        (format!("{ev}/status"), json!("SCHEDULE"), "E1050"),
        (format!("{ev}/status"), json!("DONE"), "E1052"),
        (format!("{ev}/dataValues/0/value"), json!("heavy"), "E1302"),
        (
            format!("{ev}/dataValues/0/dataElement"),
            json!("hvDeCases01"),
            "E1305",
        ),
        (
            format!("{ev}/dataValues/0/dataElement"),
            json!("aBcDeFgHiJk"),
            "E1304",
        ),
    ] {
        if code.is_empty() {
            continue;
        }
        let codes = client
            .codes("importMode=VALIDATE", change(&pointer, value))
            .await;
        assert!(
            codes.iter().any(|(_, found)| found == code),
            "{pointer} {code}: {codes:?}"
        );
        assert_eq!(
            client.get(&entity(2)).await.status,
            404,
            "nothing is stored by a validation"
        );
    }
}

#[tokio::test]
async fn a_value_that_must_be_unique_is_taken_once_and_free_again_when_it_is_given_up() {
    let client = Client::new().await;
    let with_code = |n: u32, code: Value| {
        json!({"trackedEntities": [{"trackedEntity": format!("hvTe{n:07}"), "trackedEntityType": "hvTeType001", "orgUnit": "hvOuFacil01",
            "attributes": [{"attribute": "hvAttrCode1", "value": code}]}]})
    };
    client.put(with_code(1, json!("A-17"))).await;
    client.put(with_code(1, json!("A-17"))).await;
    let taken = vec![("hvTe0000002".to_owned(), "E1064".to_owned())];
    assert_eq!(client.codes("", with_code(2, json!("A-17"))).await, taken);
    client.put(with_code(1, json!(null))).await;
    client.put(with_code(2, json!("A-17"))).await;
    client
        .import("importStrategy=DELETE", with_code(2, json!("A-17")))
        .await;
    client.put(with_code(3, json!("A-17"))).await;
}

#[tokio::test]
async fn what_depends_on_something_refused_is_left_out_with_it_and_the_rest_is_stored() {
    let client = Client::new().await;
    let mut body = family(1, "hvOuFacil01");
    let mut bad = family(2, "hvOuFacil01");
    bad["trackedEntities"][0]["orgUnit"] = json!("aBcDeFgHiJk");
    body["trackedEntities"]
        .as_array_mut()
        .unwrap()
        .push(bad["trackedEntities"][0].clone());
    let told = client.import("", body.clone()).await;
    assert_eq!(told.status, 409);
    let report = Report::of_job(&told.json()).unwrap();
    let code = |kind, uid: &str| report.outcome(kind, uid).unwrap().problems[0].code.clone();
    assert_eq!(code(Kind::TrackedEntity, "hvTe0000002"), "E1049");
    assert_eq!(code(Kind::Enrollment, "hvEn0000002"), "E5000");
    assert_eq!(code(Kind::Event, "hvEv0000002"), "E5000");
    assert_eq!((report.stats.created, report.stats.ignored), (3, 3));
    assert_eq!(client.get(&entity(1)).await.status, 200);
    let other = Client::new().await;
    let told = other.post("/api/tracker?async=false", body).await;
    assert_eq!(told.status, 409);
    assert_eq!(
        told.json()["stats"],
        json!({"created": 0, "updated": 0, "deleted": 0, "ignored": 6, "total": 6})
    );
    assert_eq!(
        told.json().get("bundleReport"),
        None,
        "nothing was committed"
    );
    assert_eq!(other.get(&entity(1)).await.status, 404);
}

#[tokio::test]
async fn a_second_active_enrollment_and_a_repeated_single_event_are_refused() {
    let client = Client::new().await;
    client.put(family(1, "hvOuFacil01")).await;
    let mut second = family(1, "hvOuFacil01");
    second["trackedEntities"][0]["enrollments"][0]["enrollment"] = json!("hvEn9999999");
    let codes = client.codes("", second).await;
    assert_eq!(codes[0], ("hvEn9999999".to_owned(), "E1015".to_owned()));
    let stage = json!({"programStages": [{"id": "hvStage0001", "program": {"id": "hvProgram01"}, "repeatable": false,
        "programStageDataElements": [{"dataElement": {"id": "hvDeWeight1"}, "compulsory": true}]}]});
    assert_eq!(client.post("/api/metadata", stage).await.status, 200);
    let event = |uid: &str, status: &str| {
        json!({"events": [{"event": uid, "enrollment": "hvEn0000001", "programStage": "hvStage0001", "orgUnit": "hvOuFacil01",
            "occurredAt": "2026-10-02", "status": status}]})
    };
    assert_eq!(
        client.codes("", event("hvEv9999999", "ACTIVE")).await[0].1,
        "E1039"
    );
    // Deleted first, then made anew: how a device sends it in one upload.
    client
        .import("importStrategy=DELETE", event("hvEv0000001", "ACTIVE"))
        .await;
    assert_eq!(
        client.codes("", event("hvEv9999999", "COMPLETED")).await[0].1,
        "E1303"
    );
    client.put(event("hvEv9999999", "ACTIVE")).await;
}

#[tokio::test]
async fn events_without_registration_need_no_enrollment() {
    let client = Client::new().await;
    let event = json!({"events": [{"event": "hvEv0000009", "program": "hvEventPrg1", "programStage": "hvStage0002", "orgUnit": "hvOuFacil01",
        "occurredAt": "2026-10-02", "geometry": {"type": "Point", "coordinates": [1, 2]}}]});
    client.put(event.clone()).await;
    let found = client.json("/api/tracker/events/hvEv0000009").await;
    assert_eq!(found["geometry"]["coordinates"], json!([1, 2]));
    let mut elsewhere = event;
    elsewhere["events"][0]["event"] = json!("hvEv0000008");
    elsewhere["events"][0]["orgUnit"] = json!("hvOuFacil02");
    assert_eq!(client.codes("", elsewhere).await[0].1, "E1029");
}

#[tokio::test]
async fn relationships_tie_objects_that_are_there() {
    let client = Client::new().await;
    client.put(family(1, "hvOuFacil01")).await;
    client.put(family(2, "hvOuFacil01")).await;
    let tie = |uid: &str, from: &str, to: &str| {
        let side = |uid: &str| json!({"trackedEntity": {"trackedEntity": uid}});
        json!({"relationships": [{"relationship": uid, "relationshipType": "hvRelType01", "from": side(from), "to": side(to)}]})
    };
    client
        .put(tie("hvRe0000001", "hvTe0000001", "hvTe0000002"))
        .await;
    client
        .put(tie("hvRe0000001", "hvTe0000001", "hvTe0000002"))
        .await;
    for uid in ["hvTe0000001", "hvTe0000002"] {
        let told = client
            .json(&format!("/api/tracker/relationships?trackedEntity={uid}"))
            .await;
        assert_eq!(
            told["relationships"][0]["relationshipName"], "Sibling",
            "{uid}"
        );
    }
    assert_eq!(
        client
            .codes("", tie("hvRe0000002", "hvTe0000001", "hvTe0000001"))
            .await[0]
            .1,
        "E4000"
    );
    assert_eq!(
        client
            .codes("", tie("hvRe0000003", "hvTe0000001", "aBcDeFgHiJk"))
            .await[0]
            .1,
        "E4012"
    );
    client
        .import(
            "importStrategy=DELETE",
            json!({"relationships": [{"relationship": "hvRe0000001"}]}),
        )
        .await;
    assert_eq!(
        client
            .get("/api/tracker/relationships/hvRe0000001")
            .await
            .status,
        404
    );
}

#[tokio::test]
async fn deletions_take_what_is_below_along_and_are_remembered() {
    let client = Client::with_users("hvOuRoot001").await;
    client.put(family(1, "hvOuFacil01")).await;
    let entity_only = || json!({"trackedEntities": [{"trackedEntity": "hvTe0000001"}]});
    let ada = client.user("ada");
    assert_eq!(
        ada.codes("importStrategy=DELETE", entity_only()).await[0].1,
        "E1100",
        "ada may not delete what is below"
    );
    let told = client
        .import("importStrategy=DELETE", entity_only())
        .await
        .json();
    assert_eq!(
        told["stats"]["deleted"], 1,
        "what went along is not counted"
    );
    assert_eq!(client.get(&entity(1)).await.status, 404);
    let gone = client
        .json(&format!("{}&includeDeleted=true", entity(1)))
        .await;
    assert_eq!(
        (
            &gone["deleted"],
            &gone["enrollments"][0]["deleted"],
            &gone["enrollments"][0]["events"][0]["deleted"]
        ),
        (&json!(true), &json!(true), &json!(true))
    );
    for (strategy, code) in [("DELETE", "E1114"), ("CREATE_AND_UPDATE", "E1114")] {
        let codes = client
            .codes(
                &format!("importStrategy={strategy}"),
                family(1, "hvOuFacil01"),
            )
            .await;
        assert!(
            codes
                .iter()
                .any(|(uid, found)| uid == "hvTe0000001" && found == code),
            "{codes:?}"
        );
    }
    let unknown = json!({"trackedEntities": [{"trackedEntity": "aBcDeFgHiJk"}], "enrollments": [{"enrollment": "aBcDeFgHiJk"}], "events": [{"event": "aBcDeFgHiJk"}]});
    let codes: Vec<String> = client
        .codes("importStrategy=DELETE", unknown)
        .await
        .into_iter()
        .map(|(_, code)| code)
        .collect();
    assert_eq!(codes, ["E1063", "E1081", "E1032"]);
}

#[tokio::test]
async fn a_job_is_accepted_followed_and_reported_and_takes_effect_once() {
    let client = Client::new().await.user("ada");
    let grown = client.user("root");
    grown.post("/api/metadata", json!({"users": [{"id": "hvUser00ada", "username": "ada", "organisationUnits": [{"id": "hvOuRoot001"}]}]})).await;
    let accepted = client
        .post(
            "/api/tracker?atomicMode=OBJECT&importStrategy=CREATE_AND_UPDATE",
            family(1, "hvOuFacil01"),
        )
        .await;
    assert_eq!(accepted.status, 200, "{}", accepted.text);
    let id = report::job_id(&accepted.json()).unwrap();
    let path = format!("/api/tracker/jobs/{id}");
    assert_eq!(
        report::progress(&client.json(&path).await).unwrap(),
        Progress::Running
    );
    assert_eq!(client.get(&format!("{path}/report")).await.status, 404);
    client.host.run_jobs();
    assert_eq!(
        report::progress(&client.json(&path).await).unwrap(),
        Progress::Completed
    );
    let first = client.json(&format!("{path}/report")).await;
    assert_eq!(first["stats"]["created"], 3);
    // The server ended before it had noted that the job is done, and runs it again.
    client.host.restart();
    client.host.run_jobs();
    assert_eq!(client.json(&format!("{path}/report")).await, first);
    assert_eq!(
        client.user("bob").get(&path).await.status,
        404,
        "it is the job of another"
    );
    assert_eq!(
        client.get("/api/tracker/jobs/aBcDeFgHiJk").await.status,
        404
    );
    client.host.crowd();
    assert_eq!(
        client
            .post("/api/tracker", family(2, "hvOuFacil01"))
            .await
            .status,
        409
    );
}

#[tokio::test]
async fn a_body_that_cannot_be_read_is_a_bad_request_and_changes_nothing() {
    let client = Client::new().await;
    for body in [
        "",
        "[]x",
        "{\"events\":7}",
        "{\"events\":[{\"event\":{}}]}",
        "{\"events\":[],\"events\":[]}",
        "{\"a\":\"\\u0000\"}",
        "[1]",
    ] {
        let told = client.send("POST", "/api/tracker?async=false", body).await;
        assert_eq!(told.status, 400, "{body}: {}", told.text);
    }
    for parameters in ["importStrategy=SYNC_ALL", "atomicMode=NONE"] {
        assert_eq!(
            client
                .post(&format!("/api/tracker?async=false&{parameters}"), json!({}))
                .await
                .status,
            400,
            "{parameters}"
        );
    }
    assert_eq!(
        client
            .user("eve")
            .import("", family(1, "hvOuFacil01"))
            .await
            .status,
        403
    );
    assert_eq!(
        client
            .user("")
            .import("", family(1, "hvOuFacil01"))
            .await
            .status,
        401
    );
}

#[tokio::test]
async fn a_note_is_warned_of_if_its_uid_has_another_text_and_not_when_it_is_sent_again() {
    let client = Client::new().await;
    client.put(family(1, "hvOuFacil01")).await;
    let noted = |text: &str| {
        let notes = json!([{"note": "hvNote00001", "value": text}]);
        json!({"events": [{"event": "hvEv0000001", "enrollment": "hvEn0000001", "programStage": "hvStage0001", "program": "hvProgram01",
            "orgUnit": "hvOuFacil01", "occurredAt": "2026-10-02", "notes": notes}]})
    };
    for (parameters, text, status, warned) in [
        ("reportMode=WARNINGS", "seen", "OK", 0),
        ("reportMode=WARNINGS", "seen", "OK", 0),
        ("reportMode=WARNINGS", "not seen", "WARNING", 1),
        ("", "not seen", "OK", 0),
    ] {
        let told = client.import(parameters, noted(text)).await;
        assert_eq!(told.status, 200, "{}", told.text);
        let report = told.json();
        let warnings = report["validationReport"]["warningReports"].as_array();
        assert_eq!(
            (&report["status"], warnings.map_or(0, Vec::len)),
            (&json!(status), warned),
            "{report}"
        );
        assert_eq!(report["stats"]["ignored"], 0, "{report}");
        let event = client
            .json("/api/tracker/events/hvEv0000001?fields=notes")
            .await;
        assert_eq!(event["notes"].as_array().unwrap().len(), 1, "{event}");
        assert_eq!(event["notes"][0]["value"], "seen", "{event}");
    }
}
