//! A country in which something can be wrong in every way, and what is sent to it.

use haversack_model::Host as _;
use haversack_model::documents::document;
use serde_json::{Value, json};

use crate::tracker::family;
use crate::web::Client;

/// Metadata in which something can be wrong in every way.
fn metadata() -> Value {
    let hidden = json!({"data": {"read": false, "write": true}});
    let read_only = json!({"data": {"read": true, "write": false}});
    let program = |id: &str, of: &str, more: Value| {
        let mut program = json!({"id": id, "name": id, "programType": "WITH_REGISTRATION", "trackedEntityType": {"id": of},
            "organisationUnits": [{"id": "hvOuFacil01"}], "programTrackedEntityAttributes": [{"trackedEntityAttribute": {"id": "hvAttrName1"}}]});
        program
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        program
    };
    let stage = |id: &str, of: &str, more: Value| {
        let mut stage = json!({"id": id, "name": id, "program": {"id": of}, "repeatable": true, "programStageDataElements": [
            {"dataElement": {"id": "hvDeWeight1"}, "compulsory": true}, {"dataElement": {"id": "hvDeFile001"}}]});
        stage
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        stage
    };
    let attribute = |id: &str| json!({"mandatory": true, "trackedEntityAttribute": {"id": id}});
    json!({
        "optionSets": [{"id": "hvOptionSet", "name": "Sex", "valueType": "TEXT"}],
        "options": [{"id": "hvOption001", "code": "F", "name": "Female", "optionSet": {"id": "hvOptionSet"}}],
        "trackedEntityAttributes": [
            {"id": "hvAttrSex01", "name": "Sex", "valueType": "TEXT", "optionSet": {"id": "hvOptionSet"}},
            {"id": "hvAttrFile1", "name": "Consent", "valueType": "FILE_RESOURCE"}
        ],
        "dataElements": [{"id": "hvDeFile001", "name": "Scan", "valueType": "FILE_RESOURCE", "domainType": "TRACKER"}],
        "trackedEntityTypes": [
            {"id": "hvTypeRead1", "name": "Not ours", "access": read_only},
            {"id": "hvTypeHide1", "name": "Not ours to see", "access": hidden},
            {"id": "hvTypeOther", "name": "Place"},
            {"id": "hvTypeMust1", "name": "With a code", "trackedEntityTypeAttributes": [attribute("hvAttrCode1")]}
        ],
        "programs": [
            program("hvPrgRead01", "hvTeType001", json!({ "access": read_only })),
            program("hvPrgOnce01", "hvTeType001", json!({"onlyEnrollOnce": true, "displayIncidentDate": true})),
            program("hvPrgHide01", "hvTypeHide1", json!({})),
            program("hvPrgDark01", "hvTeType001", json!({ "access": hidden })),
            program("hvPrgPlace1", "hvTypeOther", json!({})),
            program("hvPrgClose1", "hvTeType001", json!({"accessLevel": "PROTECTED", "programTrackedEntityAttributes": [attribute("hvAttrCode1"), attribute("hvAttrName1")]})),
            program("hvPrgLate01", "", json!({"programType": "WITHOUT_REGISTRATION", "expiryDays": 5, "expiryPeriodType": "Monthly", "completeEventsExpiryDays": 3}))
        ],
        "programStages": [
            stage("hvStgOnce01", "hvPrgOnce01", json!({})),
            stage("hvStgHide01", "hvPrgHide01", json!({})),
            stage("hvStgDark01", "hvPrgDark01", json!({})),
            stage("hvStgRead01", "hvProgram01", json!({ "access": read_only })),
            stage("hvStgOne001", "hvProgram01", json!({"repeatable": false})),
            stage("hvStgLate01", "hvPrgLate01", json!({}))
        ],
        "relationshipTypes": [
            {"id": "hvRelTyped1", "name": "Lives at", "fromConstraint": {"relationshipEntity": "TRACKED_ENTITY_INSTANCE"},
                "toConstraint": {"relationshipEntity": "TRACKED_ENTITY_INSTANCE", "trackedEntityType": {"id": "hvTypeOther"}}},
            {"id": "hvRelRead01", "name": "Not ours", "access": read_only, "fromConstraint": {"relationshipEntity": "TRACKED_ENTITY_INSTANCE"},
                "toConstraint": {"relationshipEntity": "TRACKED_ENTITY_INSTANCE"}},
            {"id": "hvRelEvent1", "name": "Seen in", "fromConstraint": {"relationshipEntity": "TRACKED_ENTITY_INSTANCE"},
                "toConstraint": {"relationshipEntity": "PROGRAM_STAGE_INSTANCE"}}
        ]
    })
}

pub(super) fn with(mut object: Value, more: &Value) -> Value {
    object
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    object
}

pub(super) fn entity(n: u32, more: Value) -> Value {
    let entity = json!({"trackedEntity": format!("hvTe{n:07}"), "trackedEntityType": "hvTeType001", "orgUnit": "hvOuFacil01",
        "attributes": [{"attribute": "hvAttrName1", "value": "N"}]});
    json!({"trackedEntities": [with(entity, &more)]})
}

pub(super) fn attribute(id: &str, value: Value) -> Value {
    let given =
        json!([{"attribute": "hvAttrName1", "value": "N"}, {"attribute": id, "value": value}]);
    entity(7, json!({ "attributes": given }))
}

pub(super) fn enrollment(n: u32, of: u32, program: &str, more: Value) -> Value {
    let enrollment = json!({"enrollment": format!("hvEn{n:07}"), "trackedEntity": format!("hvTe{of:07}"), "program": program, "orgUnit": "hvOuFacil01",
        "enrolledAt": "2026-10-01", "occurredAt": "2026-10-01", "attributes": [{"attribute": "hvAttrName1", "value": "N"}]});
    json!({"enrollments": [with(enrollment, &more)]})
}

pub(super) fn event(n: u32, more: Value) -> Value {
    let event = json!({"event": format!("hvEv{n:07}"), "enrollment": "hvEn0000001", "programStage": "hvStage0001", "program": "hvProgram01",
        "orgUnit": "hvOuFacil01", "occurredAt": "2026-10-02"});
    json!({"events": [with(event, &more)]})
}

/// One that is still to come.
pub(super) fn planned(n: u32, more: Value) -> Value {
    let to_come = json!({"occurredAt": null, "scheduledAt": "2026-12-02", "status": "SCHEDULE"});
    event(n, with(to_come, &more))
}

/// An event of the program whose events expire; the server's clock stands at 2026-11-21.
pub(super) fn late(more: Value) -> Value {
    let late = json!({"event": "hvEvLate001", "programStage": "hvStgLate01", "program": "hvPrgLate01", "orgUnit": "hvOuFacil01",
        "dataValues": [{"dataElement": "hvDeWeight1", "value": "10"}]});
    json!({"events": [with(late, &more)]})
}

pub(super) fn tie(n: u32, of: &str, from: Value, to: Value) -> Value {
    json!({"relationships": [{"relationship": format!("hvRe{n:07}"), "relationshipType": of, "from": from, "to": to}]})
}

pub(super) fn side(n: u32) -> Value {
    json!({"trackedEntity": {"trackedEntity": format!("hvTe{n:07}")}})
}

async fn file(client: &Client) -> String {
    let kind = "multipart/form-data; boundary=b";
    let body = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.txt\"\r\nContent-Type: text/plain\r\n\r\nsigned\r\n--b--\r\n";
    let told = client
        .send_as("POST", "/api/fileResources", kind, body)
        .await;
    assert_eq!(told.status, 202, "{}", told.text);
    told.json()["response"]["fileResource"]["id"]
        .as_str()
        .unwrap()
        .to_owned()
}

pub(super) fn note(text: &str) -> Value {
    json!([{"note": "hvNote00001", "value": text}])
}

/// A country with everything in it that requests below refer to.
pub(super) async fn world() -> (Client, String) {
    let client = Client::with_users("hvOuRoot001").await;
    let told = client.post("/api/metadata", metadata()).await;
    assert_eq!(told.status, 200, "{}", told.text);
    // Who enters data in one unit, and may search no other.
    let cat = json!({"users": [{"id": "hvUser00cat", "username": "cat", "userRoles": [{"id": "hvRole00001"}],
        "organisationUnits": [{"id": "hvOuFacil01"}]}]});
    assert_eq!(client.post("/api/metadata", cat).await.status, 200);
    for n in [1, 3, 5, 9, 11, 13] {
        client.put(family(n, "hvOuFacil01")).await;
    }
    client.put(family(2, "hvOuFacil02")).await;
    let handed_over = "/api/tracker/ownership/transfer?trackedEntity=hvTe0000011&program=hvProgram01&orgUnit=hvOuFacil02";
    assert_eq!(client.send("PUT", handed_over, "").await.status, 200);
    client
        .put(enrollment(
            4,
            1,
            "hvPrgOnce01",
            json!({"status": "COMPLETED"}),
        ))
        .await;
    let code = json!([{"attribute": "hvAttrCode1", "value": "A-17"}, {"attribute": "hvAttrName1", "value": "N"}]);
    client
        .put(enrollment(6, 5, "hvPrgClose1", json!({"attributes": code})))
        .await;
    client
        .put(event(
            4,
            json!({"programStage": "hvStgOne001", "notes": note("seen")}),
        ))
        .await;
    client.put(tie(1, "hvRelType01", side(1), side(3))).await;
    client.put(tie(9, "hvRelType01", side(1), side(9))).await;
    client
        .put(late(
            json!({"occurredAt": "2026-11-15", "status": "COMPLETED", "completedAt": "2026-11-15"}),
        ))
        .await;
    let taken = file(&client).await;
    let scan = json!({"dataValues": [{"dataElement": "hvDeFile001", "value": taken}]});
    client
        .put(event(
            4,
            with(scan, &json!({"programStage": "hvStgOne001"})),
        ))
        .await;
    let gone = json!({"trackedEntities": [{"trackedEntity": "hvTe0000009"}]});
    client.import("importStrategy=DELETE", gone).await;
    lose(&client, "hvTe0000013");
    (client, taken)
}

/// Removes a tracked entity from below its enrollments, as a damaged file would.
fn lose(client: &Client, uid: &str) {
    let store = client.host.documents("dhis2").unwrap();
    let mut tx = store.write_documents(client.host.now()).unwrap();
    let service = tx.service().unwrap();
    let entities = service.collection_named("trackedEntities").unwrap().id;
    assert!(
        tx.delete(entities, &document(uid, "").global_id, None)
            .unwrap()
    );
    tx.commit().unwrap();
}
