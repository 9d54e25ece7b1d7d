//! Sharing: objects and their data for everybody, for users and for groups; by both APIs, and by no other way.

use serde_json::{Value, json};

use crate::scope::{SECRETS, country, reads};
use crate::tracker::family;
use crate::web::Client;

/// What has data that are shared.
const SHARED: [(&str, &str); 7] = [
    ("programs", "hvProgram01"),
    ("programs", "hvEventPrg1"),
    ("programStages", "hvStage0001"),
    ("programStages", "hvStage0002"),
    ("trackedEntityTypes", "hvTeType001"),
    ("relationshipTypes", "hvRelType01"),
    ("dataSets", "hvDataSet01"),
];

async fn patch(client: &Client, collection: &str, id: &str, members: Value) {
    let path = format!("/api/{collection}/{id}");
    let told = client.send("PATCH", &path, &members.to_string()).await;
    assert_eq!(told.status, 200, "{path}: {}", told.text);
}

async fn share(client: &Client, what: &[(&str, &str)], sharing: &Value) {
    for (collection, id) in what {
        patch(client, collection, id, sharing.clone()).await;
    }
}

/// Ada, by a sharing of every kind, and nobody else.
async fn for_ada(client: &Client) -> Vec<Value> {
    let groups = json!({"userGroups": [
        {"id": "hvGroup0001", "name": "Knows its users", "users": [{"id": "hvUser00ada"}]},
        {"id": "hvGroup0002", "name": "Is known by its users"},
        {"id": "hvGroup0003", "name": "Of others", "users": [{"id": "hvUser00bob"}]}
    ]});
    assert_eq!(client.post("/api/metadata", groups).await.status, 200);
    let own = json!({"userGroups": [{"id": "hvGroup0002"}]});
    patch(client, "users", "hvUser00ada", own).await;
    let new = |users: Value, groups: Value| json!({"sharing": {"public": "--------", "owner": "hvUser00xyz", "external": false, "users": users, "userGroups": groups}});
    let all = json!({"access": "rwrw----"});
    let none = json!({"access": "--------"});
    vec![
        new(json!({"hvUser00ada": all, "hvUser00bob": none}), json!({})),
        new(json!({}), json!({"hvGroup0001": all, "hvGroup0003": none})),
        new(json!({}), json!({"hvGroup0002": all})),
        json!({"sharing": null, "publicAccess": "--------", "userAccesses": [{"id": "hvUser00ada", "access": "rwrw----"}]}),
        json!({"sharing": null, "publicAccess": "--------", "userAccesses": [], "userGroupAccesses": [{"userGroupUid": "hvGroup0001", "access": "rwrw----"}]}),
    ]
}

/// Answers to all questions about data.
async fn data(client: &Client, file: &str, job: &str) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for path in reads(file, job) {
        let is_of_data = ["racke", "nrollment", "vents", "elation", "ata", "iles"];
        if is_of_data.iter().any(|word| path.contains(word)) && !path.starts_with("metadata") {
            let told = client.get(&format!("/api/{path}")).await;
            all.push((path, told.text));
        }
    }
    all
}

#[tokio::test]
async fn data_are_for_those_they_are_shared_with_and_are_told_to_others_by_no_way_of_reading() {
    let (client, file, job) = country().await;
    let (ada, bob) = (client.user("ada"), client.user("bob"));
    // Units keep nothing from bob.
    let everywhere = json!({"organisationUnits": [{"id": "hvOuRoot001"}]});
    patch(&client, "users", "hvUser00bob", everywhere).await;
    let before = data(&ada, &file, &job).await;
    let open = data(&bob, &file, &job).await;
    let seen = open
        .iter()
        .filter(|(_, text)| SECRETS.iter().any(|secret| text.contains(secret)));
    assert!(seen.count() > 50, "bob sees what is not shared");
    for sharing in for_ada(&client).await {
        share(&client, &SHARED, &sharing).await;
        assert_eq!(data(&ada, &file, &job).await, before, "{sharing}");
        for path in reads(&file, &job) {
            let told = bob.get(&format!("/api/{path}")).await;
            assert!(told.status < 500, "{path}: {}", told.text);
            // What a request names is named in its refusal.
            for secret in SECRETS.iter().filter(|_| told.status < 400) {
                assert!(!told.text.contains(secret), "{path}: {}", told.text);
            }
        }
        // A superuser passes.
        let all = client
            .uids("/api/tracker/trackedEntities?program=hvProgram01")
            .await;
        assert_eq!(all.len(), 2);
        let nothing = json!({"sharing": null, "publicAccess": null, "userAccesses": null, "userGroupAccesses": null});
        share(&client, &SHARED, &nothing).await;
    }
    assert_eq!(data(&bob, &file, &job).await, open, "open again");
}

#[tokio::test]
async fn what_is_open_to_all_to_see_is_not_open_to_all_to_change() {
    let (client, file, job) = country().await;
    let ada = client.user("ada");
    let before = data(&ada, &file, &job).await;
    share(
        &client,
        &SHARED,
        &json!({"sharing": {"public": "r-r-----"}}),
    )
    .await;
    assert_eq!(data(&ada, &file, &job).await, before);
    let one = family(5, "hvOuFacil01");
    let event = json!({"events": [{"event": "hvEv0000008", "enrollment": "hvEn0000001", "program": "hvProgram01", "programStage": "hvStage0001",
        "orgUnit": "hvOuFacil01", "occurredAt": "2026-10-05"}]});
    let plain = json!({"events": [{"event": "hvEvPlain09", "program": "hvEventPrg1", "programStage": "hvStage0002", "orgUnit": "hvOuFacil01",
        "occurredAt": "2026-10-05"}]});
    let enrollment = json!({"enrollments": [{"enrollment": "hvEn0000001", "trackedEntity": "hvTe0000001", "program": "hvProgram01",
        "orgUnit": "hvOuFacil01", "enrolledAt": "2026-10-01", "occurredAt": "2026-10-01"}]});
    let tie = json!({"relationships": [{"relationship": "hvRe0000009", "relationshipType": "hvRelType01",
        "from": {"trackedEntity": {"trackedEntity": "hvTe0000001"}}, "to": {"trackedEntity": {"trackedEntity": "hvTe0000001"}}}]});
    let delete = "importStrategy=DELETE";
    for (parameters, body, code) in [
        ("", &one, "E1001"),
        ("", &enrollment, "E1091"),
        ("", &event, "E1095"),
        ("", &plain, "E1091"),
        ("", &tie, "E4020"),
        (
            delete,
            &json!({"trackedEntities": [{"trackedEntity": "hvTe0000001"}]}),
            "E1001",
        ),
        (delete, &enrollment, "E1091"),
        (
            delete,
            &json!({"events": [{"event": "hvEv0000001"}]}),
            "E1095",
        ),
        (
            delete,
            &json!({"events": [{"event": "hvEvPlain01"}]}),
            "E1091",
        ),
    ] {
        let codes = ada.codes(parameters, body.clone()).await;
        assert!(
            codes.first().is_some_and(|(_, told)| told == code),
            "{code} {body}: {codes:?}"
        );
    }
    let old = json!({"events": [{"event": "hvEv0000008", "enrollment": "hvEn0000001", "program": "hvProgram01", "programStage": "hvStage0001",
        "orgUnit": "hvOuFacil01", "eventDate": "2026-10-05"}]});
    let told = ada.post("/api/events?strategy=SYNC", old).await;
    assert_eq!(told.status, 409, "{}", told.text);
    assert!(
        told.text.contains("no data write access to ProgramStage"),
        "{}",
        told.text
    );
    for (method, path, body) in [
        (
            "POST",
            "dataValueSets",
            json!({"dataValues": [{"dataElement": "hvDeCases01", "period": "202602", "orgUnit": "hvOuFacil01", "value": "1"}]}),
        ),
        (
            "POST",
            "completeDataSetRegistrations",
            json!({"completeDataSetRegistrations": [{"dataSet": "hvDataSet01", "period": "202602", "organisationUnit": "hvOuFacil01"}]}),
        ),
        ("DELETE", "events/hvEv0000001", Value::Null),
        ("DELETE", "trackedEntityInstances/hvTe0000001", Value::Null),
    ] {
        let told = ada
            .send(method, &format!("/api/{path}"), &body.to_string())
            .await;
        assert_eq!(told.status, 409, "{method} {path}: {}", told.text);
    }
    assert_eq!(data(&ada, &file, &job).await, before);
}

#[tokio::test]
async fn events_go_by_their_stage_and_enrollments_by_their_program() {
    let (client, _, _) = country().await;
    let ada = client.user("ada");
    let event = json!({"events": [{"event": "hvEv0000008", "enrollment": "hvEn0000001", "program": "hvProgram01", "programStage": "hvStage0001",
        "orgUnit": "hvOuFacil01", "occurredAt": "2026-10-05"}]});
    // Whoever sees the program and enters data of the stage enters events.
    share(
        &client,
        &SHARED[..1],
        &json!({"sharing": {"public": "r-r-----"}}),
    )
    .await;
    ada.put(event.clone()).await;
    // Without the program there is no stage either.
    share(
        &client,
        &SHARED[..1],
        &json!({"sharing": {"public": "r-------"}}),
    )
    .await;
    let codes = ada.codes("", event.clone()).await;
    assert_eq!(codes[0].1, "E1096", "{codes:?}");
    share(&client, &SHARED[..1], &json!({ "sharing": null })).await;
    // A stage that is not for her is not told with its enrollment.
    let enrollment = "/api/tracker/enrollments/hvEn0000001?fields=events[event]";
    let events = async || {
        ada.json(enrollment).await["events"]
            .as_array()
            .unwrap()
            .len()
    };
    assert_eq!(events().await, 2);
    share(
        &client,
        &SHARED[2..3],
        &json!({"sharing": {"public": "rw------"}}),
    )
    .await;
    assert_eq!(events().await, 0);
    assert_eq!(ada.get("/api/tracker/events/hvEv0000008").await.status, 404);
}

#[tokio::test]
async fn metadata_that_are_not_shared_are_told_by_no_address() {
    let client = Client::with_users("hvOuRoot001").await;
    let rules = json!({
        "programRules": [{"id": "hvRule00001", "name": "Secret rule", "program": {"id": "hvProgram01", "name": "Follow-up"}, "condition": "false"}],
        "programRuleActions": [{"id": "hvRuleAct01", "programRule": {"id": "hvRule00001"}, "programRuleActionType": "SHOWERROR", "content": "Secret action"}],
        "trackedEntityAttributes": [{"id": "hvAttrSecr1", "name": "Secret attribute", "valueType": "TEXT", "generated": true, "pattern": "RANDOM(####)"}]
    });
    assert_eq!(client.post("/api/metadata", rules).await.status, 200);
    let ada = client.user("ada");
    let paths = [
        "programs?fields=*",
        "programs?filter=id:eq:hvProgram01&fields=*",
        "programs/hvProgram01",
        "programs/hvProgram01/programStages",
        "programStages?fields=*,program[*]",
        "programStages/hvStage0001?fields=*,program[*]",
        "programRules?fields=*,program[*]",
        "programRules/hvRule00001?fields=*,program[name]",
        "programRuleActions?fields=*,programRule[*,program[*]]",
        "organisationUnits?fields=*,programs[*]",
        "trackedEntityAttributes?fields=*",
        "trackedEntityAttributes/hvAttrSecr1",
        "trackedEntityAttributes/hvAttrSecr1/generateAndReserve",
        "trackedEntityAttributes/hvAttrSecr1/requiredValues",
        "metadata",
        "metadata?programRules=true",
    ];
    let words = ["Follow-up", "Secret", "hvAttrSecr1", "hvStage0001\",\"name"];
    let mut told = 0;
    for path in paths {
        let answer = ada.get(&format!("/api/{path}")).await;
        told += usize::from(answer.status == 200);
    }
    assert_eq!(told, paths.len(), "all of it is open");
    let shut = json!({"sharing": {"public": "--rw----", "users": {"hvUser00bob": {"access": "r-------"}}}});
    for (collection, id) in [
        ("programs", "hvProgram01"),
        ("trackedEntityAttributes", "hvAttrSecr1"),
    ] {
        patch(&client, collection, id, shut.clone()).await;
    }
    for path in paths {
        let answer = ada.get(&format!("/api/{path}")).await;
        for word in words.iter().filter(|_| answer.status != 404) {
            assert!(!answer.text.contains(word), "{path}: {}", answer.text);
        }
    }
    let bob = client.user("bob");
    let found = bob
        .json("/api/programs?fields=id,access[data,update]&filter=access.data.read:eq:true")
        .await;
    assert_eq!(
        found["programs"][0],
        json!({"id": "hvProgram01", "access": {"data": {"read": true, "write": true}, "update": false}})
    );
    // Who may not see the object may have its data all the same.
    ada.put(family(1, "hvOuFacil01")).await;
}

#[tokio::test]
async fn metadata_are_changed_by_those_who_may_write_them() {
    let client = Client::with_users("hvOuRoot001").await;
    let pat = client.user("pat");
    let users = json!({"users": [{"id": "hvUser00pat", "username": "pat"}]});
    assert_eq!(client.post("/api/metadata", users).await.status, 200);
    let path = "/api/programs/hvProgram01";
    let rename = json!({"name": "Renamed"}).to_string();
    let whole = client.json(path).await;
    let all = json!({ "programs": [whole] });
    for (sharing, status) in [
        (json!({"public": "r-rw----"}), 409),
        (
            json!({"public": "r-rw----", "users": {"hvUser00pat": {"access": "rw------"}}}),
            200,
        ),
        (json!({"public": "--------", "owner": "hvUser00pat"}), 200),
        (json!({"public": "--------"}), 404),
    ] {
        patch(
            &client,
            "programs",
            "hvProgram01",
            json!({ "sharing": sharing }),
        )
        .await;
        let told = pat.send("PATCH", path, &rename).await;
        assert_eq!(told.status, status, "{sharing}: {}", told.text);
        let told = pat.post("/api/metadata", all.clone()).await;
        let expected = if status == 200 { 200 } else { 409 };
        assert_eq!(told.status, expected, "{sharing}: {}", told.text);
        // What comes without sharing leaves it as it is.
        assert_eq!(client.json(path).await["sharing"], sharing);
        if status != 200 {
            assert_eq!(pat.send("DELETE", path, "").await.status, status);
            if status == 409 {
                assert!(told.text.contains("E3001"), "{}", told.text);
            }
        }
    }
    assert_eq!(client.send("PATCH", path, &rename).await.status, 200);
}

#[tokio::test]
async fn what_is_told_of_access_is_not_kept_when_the_object_comes_back() {
    let client = Client::with_users("hvOuRoot001").await;
    let pat = client.user("pat");
    let path = "/api/programs/hvProgram01";
    let users = json!({"users": [{"id": "hvUser00pat", "username": "pat"}]});
    assert_eq!(client.post("/api/metadata", users).await.status, 200);
    let sharing = json!({"public": "rw------", "users": {"hvUser00ada": {"access": "rwrw----"}}});
    patch(
        &client,
        "programs",
        "hvProgram01",
        json!({ "sharing": sharing }),
    )
    .await;
    let seen = pat.json(path).await;
    assert_eq!(
        seen["access"]["data"],
        json!({"read": false, "write": false})
    );
    assert_eq!(pat.send("PUT", path, &seen.to_string()).await.status, 200);
    client.user("ada").put(family(1, "hvOuFacil01")).await;
}
