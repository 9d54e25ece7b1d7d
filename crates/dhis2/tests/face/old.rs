//! The tracker API up to 2.41.

use haversack_dhis2::wire::report::{Report, Verdict};
use haversack_dhis2::wire::tracker::Kind;
use serde_json::{Value, json};

use crate::tracker::family;
use crate::web::{Client, Told};

/// The family of the other tests, as the old API has it.
fn old_family(n: u32) -> Value {
    json!({"trackedEntityInstances": [{
        "trackedEntityInstance": format!("hvTe{n:07}"), "trackedEntityType": "hvTeType001", "orgUnit": "hvOuFacil01",
        "attributes": [{"attribute": "hvAttrName1", "value": format!("Name {n}")}, {"attribute": "hvAttrAge01", "value": "30"}],
        "enrollments": [{
            "enrollment": format!("hvEn{n:07}"), "program": "hvProgram01", "orgUnit": "hvOuFacil01", "enrollmentDate": "2026-10-01",
            "incidentDate": "2026-10-01",
            "events": [{"event": format!("hvEv{n:07}"), "programStage": "hvStage0001", "orgUnit": "hvOuFacil01", "status": "ACTIVE",
                "eventDate": "2026-10-02", "dataValues": [{"dataElement": "hvDeWeight1", "value": "10"}]}]
        }]
    }]})
}

async fn sync(client: &Client, body: Value) -> (Told, Report) {
    let told = client
        .post("/api/trackedEntityInstances?strategy=SYNC", body)
        .await;
    let report = Report::of_summaries(Kind::TrackedEntity, &told.json()).unwrap();
    (told, report)
}

#[tokio::test]
async fn what_is_sent_by_one_api_is_read_by_the_other() {
    let client = Client::new().await;
    let (told, report) = sync(&client, old_family(1)).await;
    assert_eq!(told.status, 200, "{}", told.text);
    for (kind, uid) in [
        (Kind::TrackedEntity, "hvTe0000001"),
        (Kind::Enrollment, "hvEn0000001"),
        (Kind::Event, "hvEv0000001"),
    ] {
        assert_eq!(
            report.outcome(kind, uid).unwrap().verdict,
            Verdict::Success,
            "{uid}"
        );
    }
    assert_eq!(
        told.json()["response"]["importSummaries"][0]["importCount"]["imported"],
        1
    );
    let new = client
        .json("/api/tracker/trackedEntities/hvTe0000001?program=hvProgram01&fields=*")
        .await;
    assert_eq!(new["enrollments"][0]["enrolledAt"], "2026-10-01");
    assert_eq!(
        new["enrollments"][0]["attributes"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    client.put(family(2, "hvOuFacil01")).await;
    let path = "/api/trackedEntityInstances?program=hvProgram01&ou=hvOuRoot001&ouMode=DESCENDANTS&order=created:desc&includeAllAttributes=true\
        &includeDeleted=true&fields=trackedEntityInstance,lastUpdated,attributes[attribute],enrollments[enrollmentDate,events[event,eventDate]]";
    let page = client.json(path).await;
    assert_eq!(page["pager"]["pageCount"], 1);
    assert_eq!(page.get("page"), None);
    let first = &page["trackedEntityInstances"][0];
    assert_eq!(first["trackedEntityInstance"], "hvTe0000002");
    assert_eq!(
        first["attributes"],
        json!([{"attribute": "hvAttrName1"}, {"attribute": "hvAttrAge01"}])
    );
    assert_eq!(
        first["enrollments"],
        json!([{"enrollmentDate": "2026-10-01", "events": [{"event": "hvEv0000002", "eventDate": "2026-10-02"}]}])
    );
    let one = client
        .json("/api/trackedEntityInstances/hvTe0000002?program=hvProgram01&fields=*")
        .await;
    assert_eq!(one["programOwners"][0]["ownerOrgUnit"], "hvOuFacil01");
    let events = client.json("/api/events?orgUnit=hvOuFacil01&program=hvProgram01&startDate=2026-10-01&fields=event,dueDate,eventDate").await;
    assert_eq!(events["events"].as_array().unwrap().len(), 2);
    assert_eq!(
        client.json("/api/enrollments/hvEn0000001").await["incidentDate"],
        "2026-10-01"
    );
}

#[tokio::test]
async fn summaries_are_nested_as_the_objects_are_and_come_with_409() {
    let client = Client::new().await;
    let mut body = old_family(1);
    body["trackedEntityInstances"][0]["enrollments"][0]["events"][0]["dataValues"][0]["value"] =
        json!("heavy");
    let more = old_family(2)["trackedEntityInstances"][0].clone();
    body["trackedEntityInstances"]
        .as_array_mut()
        .unwrap()
        .push(more);
    let (told, report) = sync(&client, body).await;
    assert_eq!(told.status, 409);
    assert_eq!(told.json()["httpStatus"], "Conflict");
    let verdict = |kind, uid: &str| report.outcome(kind, uid).unwrap().verdict;
    assert_eq!(
        verdict(Kind::TrackedEntity, "hvTe0000001"),
        Verdict::Success
    );
    assert_eq!(verdict(Kind::Event, "hvEv0000001"), Verdict::Error);
    assert_eq!(verdict(Kind::Event, "hvEv0000002"), Verdict::Success);
    let event = &told.json()["response"]["importSummaries"][0]["enrollments"]["importSummaries"][0]
        ["events"]["importSummaries"][0];
    assert_eq!(
        (&event["reference"], &event["importCount"]["ignored"]),
        (&json!("hvEv0000001"), &json!(1))
    );
    assert_eq!(event["conflicts"][0]["object"], "hvDeWeight1");
    assert_eq!(client.get("/api/events/hvEv0000001").await.status, 404);
}

#[tokio::test]
async fn sync_deletes_what_is_marked_and_doing_it_again_succeeds() {
    let client = Client::new().await;
    sync(&client, old_family(1)).await;
    let mut body = old_family(1);
    body["trackedEntityInstances"][0]["enrollments"][0]["events"][0]["deleted"] = json!(true);
    for _ in 0..2 {
        let (told, report) = sync(&client, body.clone()).await;
        assert_eq!(told.status, 200, "{}", told.text);
        assert_eq!(
            report.outcome(Kind::Event, "hvEv0000001").unwrap().verdict,
            Verdict::Success
        );
    }
    let told = client.json("/api/trackedEntityInstances/hvTe0000001?program=hvProgram01&includeDeleted=true&fields=enrollments[events[event,deleted]]").await;
    assert_eq!(
        told["enrollments"][0]["events"],
        json!([{"event": "hvEv0000001", "deleted": true}])
    );
    for _ in 0..2 {
        assert_eq!(
            client
                .send("DELETE", "/api/trackedEntityInstances/hvTe0000001", "")
                .await
                .status,
            200
        );
    }
    assert_eq!(
        client
            .get("/api/trackedEntityInstances/hvTe0000001")
            .await
            .status,
        404
    );
}

#[tokio::test]
async fn the_old_ways_of_reading_show_no_more_than_the_new() {
    let client = Client::with_users("").await;
    client.put(family(1, "hvOuFacil01")).await;
    client.put(family(2, "hvOuFacil02")).await;
    let ada = client.user("ada");
    for path in [
        "/api/trackedEntityInstances?program=hvProgram01",
        "/api/trackedEntityInstances?trackedEntityInstance=hvTe0000001;hvTe0000002",
        "/api/trackedEntityInstances?program=hvProgram01&lastUpdatedStartDate=2000-01-01",
    ] {
        let told = ada
            .json(&format!("{path}&fields=trackedEntityInstance"))
            .await;
        assert_eq!(
            told["trackedEntityInstances"],
            json!([{"trackedEntityInstance": "hvTe0000001"}]),
            "{path}"
        );
    }
    let events = ada
        .json("/api/events?program=hvProgram01&fields=event")
        .await;
    assert_eq!(events["events"], json!([{"event": "hvEv0000001"}]));
    for path in [
        "trackedEntityInstances/hvTe0000002",
        "enrollments/hvEn0000002",
        "events/hvEv0000002",
    ] {
        assert_eq!(
            ada.get(&format!("/api/{path}?fields=*&includeDeleted=true"))
                .await
                .status,
            404,
            "{path}"
        );
    }
    let (told, _) = sync(&client.user("ada"), json!({"trackedEntityInstances": [{"trackedEntityInstance": "hvTe0000002", "deleted": true}]})).await;
    assert_eq!(told.status, 409, "{}", told.text);
    assert_eq!(
        client
            .user("eve")
            .post("/api/events", json!({"events": []}))
            .await
            .status,
        403
    );
    assert_eq!(client.user("").get("/api/events").await.status, 401);
    for body in ["", "[]", "{\"events\":1}", "{\"events\":[1]}"] {
        assert_eq!(
            client.send("POST", "/api/events", body).await.status,
            400,
            "{body}"
        );
    }
}
