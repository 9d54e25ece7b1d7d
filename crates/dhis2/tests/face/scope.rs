//! Every way of reading and of writing, by somebody whose units are others: nothing foreign is seen, named or changed.

use serde_json::{Value, json};

use crate::tracker::family;
use crate::web::Client;

/// What bob may never see: texts that stand in ada's records alone.
pub(crate) const SECRETS: [&str; 9] = [
    "hvTe0000001",
    "hvEn0000001",
    "hvEv0000001",
    "hvEvPlain01",
    "hvRe0000001",
    "Name 1",
    "424242",
    "signed by one",
    "13131313",
];

/// Addresses by which something of ada's would be told to who may see it.
pub(crate) fn reads(file: &str, job: &str) -> Vec<String> {
    let value = "de=hvDeCases01&pe=202601&ou=hvOuFacil01&co=hvCatOptCb1";
    let set = "dataSet=hvDataSet01&period=202601&includeDeleted=true";
    let mut reads: Vec<String> = [
        "tracker/trackedEntities?program=hvProgram01",
        "tracker/trackedEntities?trackedEntityType=hvTeType001&fields=*",
        "tracker/trackedEntities?program=hvProgram01&includeDeleted=true&paging=false&order=createdAt:asc",
        "tracker/trackedEntities?program=hvProgram01&updatedAfter=2000-01-01",
        "tracker/trackedEntities?trackedEntities=hvTe0000001,hvTe0000002&fields=*",
        "tracker/trackedEntities?program=hvProgram01&filter=hvAttrName1:like:Name",
        "tracker/trackedEntities?program=hvProgram01&orgUnits=hvOuFacil01",
        "tracker/trackedEntities?program=hvProgram01&orgUnits=hvOuRoot001&orgUnitMode=DESCENDANTS",
        "tracker/trackedEntities?program=hvProgram01&orgUnits=hvOuRoot001&orgUnitMode=CHILDREN",
        "tracker/trackedEntities?program=hvProgram01&orgUnitMode=ALL",
        "tracker/trackedEntities?program=hvProgram01&orgUnitMode=CAPTURE",
        "tracker/trackedEntities/hvTe0000001",
        "tracker/trackedEntities/hvTe0000001?program=hvProgram01&fields=*",
        "tracker/trackedEntities/hvTe0000002?fields=*,relationships[*]&includeDeleted=true",
        "tracker/trackedEntities/hvTe0000001/attributes/hvAttrFile1/file",
        "tracker/enrollments",
        "tracker/enrollments?program=hvProgram01&includeDeleted=true&fields=*",
        "tracker/enrollments?enrollments=hvEn0000001,hvEn0000002&fields=*",
        "tracker/enrollments?trackedEntity=hvTe0000001",
        "tracker/enrollments/hvEn0000001?fields=*",
        "tracker/events",
        "tracker/events?program=hvProgram01&fields=*&includeDeleted=true",
        "tracker/events?program=hvEventPrg1&fields=*",
        "tracker/events?events=hvEv0000001,hvEvPlain01&fields=*",
        "tracker/events?enrollment=hvEn0000001",
        "tracker/events?orgUnit=hvOuFacil01",
        "tracker/events/hvEv0000001?fields=*",
        "tracker/events/hvEvPlain01?fields=*",
        "tracker/events/hvEv0000001/dataValues/hvDeFile001/file",
        "tracker/relationships?trackedEntity=hvTe0000001",
        "tracker/relationships?trackedEntity=hvTe0000002&fields=*",
        "tracker/relationships?enrollment=hvEn0000001",
        "tracker/relationships?event=hvEv0000001",
        "tracker/relationships/hvRe0000001?fields=*",
        "trackedEntityInstances?program=hvProgram01&includeAllAttributes=true&fields=*",
        "trackedEntityInstances?trackedEntityType=hvTeType001&ou=hvOuRoot001&ouMode=DESCENDANTS",
        "trackedEntityInstances?trackedEntityInstance=hvTe0000001;hvTe0000002&ouMode=ACCESSIBLE&fields=*",
        "trackedEntityInstances/hvTe0000001?program=hvProgram01&fields=*",
        "trackedEntityInstances/hvTe0000002?fields=*",
        "trackedEntityInstances/hvTe0000001/hvAttrFile1/file",
        "trackedEntityInstances/hvTe0000001/hvAttrFile1/image",
        "enrollments?program=hvProgram01&fields=*",
        "enrollments/hvEn0000001",
        "events?program=hvProgram01&includeDeleted=true",
        "events?event=hvEv0000001;hvEvPlain01&ouMode=ACCESSIBLE",
        "events/hvEv0000001",
        "events/hvEvPlain01",
        "events/files?eventUid=hvEv0000001&dataElementUid=hvDeFile001",
        "relationships?tei=hvTe0000001",
        "relationships?tei=hvTe0000002",
        "relationships/hvRe0000001",
        "dataValueSets?dataSet=hvDataSet01&lastUpdated=2000-01-01&orgUnit=hvOuRoot001&children=true",
        "users",
        "users/hvUser00ada?fields=*",
        "users?fields=*&filter=username:eq:ada",
        "users?filter=phoneNumber:like:1313",
        "metadata?users=true",
        "metadata",
        "userRoles?fields=*,users[*]",
        "organisationUnits?fields=*,users[*]&paging=false",
    ]
    .map(str::to_owned)
    .to_vec();
    for unit in [
        "orgUnit=hvOuFacil01",
        "orgUnit=hvOuRoot001&children=true",
        "orgUnit=hvOuFacil01&children=true",
    ] {
        reads.push(format!("dataValueSets?{set}&{unit}"));
        reads.push(format!("completeDataSetRegistrations?{set}&{unit}"));
    }
    reads.push(format!("dataValues?{value}"));
    reads.push(format!("dataValues/files?{value}"));
    reads.push(format!("fileResources/{file}"));
    reads.push(format!("fileResources/{file}/data"));
    reads.push(format!("tracker/jobs/{job}"));
    reads.push(format!("tracker/jobs/{job}/report"));
    reads
}

/// Ada's records in the north and bob's in the south, of everything that there is; a file and a job of ada's.
pub(crate) async fn country() -> (Client, String, String) {
    let client = Client::with_users("").await;
    let mut program = client.json("/api/programs/hvProgram01").await;
    let file = json!({"trackedEntityAttribute": {"id": "hvAttrFile1"}});
    program["programTrackedEntityAttributes"]
        .as_array_mut()
        .unwrap()
        .push(file);
    let stage = |id: &str| json!({"programStageDataElements": [{"dataElement": {"id": "hvDeWeight1"}}, {"dataElement": {"id": "hvDeFile001"}}], "id": id, "repeatable": true});
    let mut stages = vec![stage("hvStage0001"), stage("hvStage0002")];
    stages[0]["program"] = json!({"id": "hvProgram01"});
    stages[1]["program"] = json!({"id": "hvEventPrg1"});
    let mut ada = client.json("/api/users/hvUser00ada").await;
    ada["phoneNumber"] = json!("13131313");
    let more = json!({"programs": [program], "programStages": stages, "users": [ada],
        "trackedEntityAttributes": [{"id": "hvAttrFile1", "name": "Consent", "valueType": "FILE_RESOURCE"}],
        "dataElements": [{"id": "hvDeFile001", "name": "Scan", "valueType": "FILE_RESOURCE", "domainType": "TRACKER"}]});
    assert_eq!(client.post("/api/metadata", more).await.status, 200);
    let (ada, bob) = (client.user("ada"), client.user("bob"));
    let mut files = Vec::new();
    for _ in 0..2 {
        let body = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.txt\"\r\n\r\nsigned by one\r\n--b--\r\n";
        let told = ada
            .send_as(
                "POST",
                "/api/fileResources",
                "multipart/form-data; boundary=b",
                body,
            )
            .await;
        files.push(
            told.json()["response"]["fileResource"]["id"]
                .as_str()
                .unwrap()
                .to_owned(),
        );
    }
    let mut one = family(1, "hvOuFacil01");
    let enrollment = &mut one["trackedEntities"][0]["enrollments"][0];
    enrollment["attributes"]
        .as_array_mut()
        .unwrap()
        .push(json!({"attribute": "hvAttrFile1", "value": files[0]}));
    enrollment["events"][0]["dataValues"] = json!([{"dataElement": "hvDeWeight1", "value": "424242"}, {"dataElement": "hvDeFile001", "value": files[1]}]);
    ada.put(one).await;
    bob.put(family(2, "hvOuFacil02")).await;
    ada.put(json!({"events": [{"event": "hvEvPlain01", "program": "hvEventPrg1", "programStage": "hvStage0002", "orgUnit": "hvOuFacil01", "occurredAt": "2026-10-02",
        "dataValues": [{"dataElement": "hvDeWeight1", "value": "424242"}]}]})).await;
    let side = |uid: &str| json!({"trackedEntity": {"trackedEntity": uid}});
    client.put(json!({"relationships": [{"relationship": "hvRe0000001", "relationshipType": "hvRelType01", "from": side("hvTe0000001"), "to": side("hvTe0000002")}]})).await;
    let value = json!({"dataSet": "hvDataSet01", "dataValues": [{"dataElement": "hvDeCases01", "period": "202601", "orgUnit": "hvOuFacil01", "value": "424242"}]});
    assert_eq!(ada.post("/api/dataValueSets", value).await.status, 200);
    let done = json!({"completeDataSetRegistrations": [{"dataSet": "hvDataSet01", "period": "202601", "organisationUnit": "hvOuFacil01", "storedBy": "Name 1"}]});
    assert_eq!(
        ada.post("/api/completeDataSetRegistrations", done)
            .await
            .status,
        200
    );
    let job = ada
        .post(
            "/api/tracker?atomicMode=OBJECT",
            json!({"trackedEntities": [{"trackedEntity": "hvTe0000001", "orgUnit": null}]}),
        )
        .await;
    let job = job.json()["response"]["id"].as_str().unwrap().to_owned();
    client.host.run_jobs();
    (client, files[0].clone(), job)
}

#[tokio::test]
async fn nothing_of_other_units_is_told_by_any_way_of_reading() {
    let (client, file, job) = country().await;
    let bob = client.user("bob");
    let mut told_to_others = 0;
    for path in reads(&file, &job) {
        let path = format!("/api/{path}");
        let told = bob.get(&path).await;
        assert!(told.status < 500, "{path}: {}", told.text);
        if told.status < 400 {
            for secret in SECRETS.iter().chain([&file.as_str()]) {
                assert!(
                    !told.text.contains(secret),
                    "{path} tells {secret}: {}",
                    told.text
                );
            }
        }
        // The number of all is that of what is seen.
        let body: Value = serde_json::from_str(&told.text).unwrap_or_default();
        if let Some(total) = body["pager"]["total"]
            .as_u64()
            .filter(|_| path.contains("racke"))
        {
            let lists = body
                .as_object()
                .unwrap()
                .values()
                .filter_map(Value::as_array);
            assert_eq!(
                total,
                lists.map(|list| list.len() as u64).sum::<u64>(),
                "{path}"
            );
        }
        // And it is no question that tells nobody anything.
        let all = client.get(&path).await;
        let is_answered =
            all.status == 200 && SECRETS.iter().any(|secret| all.text.contains(secret));
        told_to_others += usize::from(is_answered);
    }
    assert!(
        told_to_others > 60,
        "only {told_to_others} of the questions ask for what there is"
    );
    // What is one's own is seen.
    let own = bob
        .uids("/api/tracker/trackedEntities?program=hvProgram01")
        .await;
    assert_eq!(own, ["hvTe0000002"]);
    assert_eq!(
        bob.json("/api/users?fields=username").await["users"],
        json!([{"username": "bob"}])
    );
}

#[tokio::test]
async fn nothing_of_other_units_is_changed_by_any_way_of_writing() {
    let (client, file, job) = country().await;
    let before = everything(&client, &file, &job).await;
    let bob = client.user("bob");
    let entity = json!({"trackedEntity": "hvTe0000001", "trackedEntityType": "hvTeType001", "orgUnit": "hvOuFacil02", "attributes": [{"attribute": "hvAttrName1", "value": "X"}]});
    let enrollment = json!({"enrollment": "hvEn0000001", "trackedEntity": "hvTe0000001", "program": "hvProgram01", "orgUnit": "hvOuFacil02", "enrolledAt": "2026-10-01",
        "occurredAt": "2026-10-01", "status": "CANCELLED", "attributes": [{"attribute": "hvAttrName1", "value": "X"}]});
    let second = json!({"enrollment": "hvEn0000077", "trackedEntity": "hvTe0000001", "program": "hvProgram01", "orgUnit": "hvOuFacil02", "enrolledAt": "2026-10-01", "occurredAt": "2026-10-01"});
    let event = |uid: &str| json!({"event": uid, "enrollment": "hvEn0000001", "program": "hvProgram01", "programStage": "hvStage0001", "orgUnit": "hvOuFacil02", "occurredAt": "2026-10-05"});
    let plain = json!({"event": "hvEvPlain01", "program": "hvEventPrg1", "programStage": "hvStage0002", "orgUnit": "hvOuFacil02", "occurredAt": "2026-10-05"});
    let tie = json!({"relationship": "hvRe0000077", "relationshipType": "hvRelType01", "from": {"event": {"event": "hvEvPlain01"}}, "to": {"trackedEntity": {"trackedEntity": "hvTe0000001"}}});
    let old_entity = json!({"trackedEntityInstance": "hvTe0000001", "trackedEntityType": "hvTeType001", "orgUnit": "hvOuFacil02", "deleted": true});
    for (method, path, body) in [
        (
            "POST",
            "tracker?async=false&atomicMode=OBJECT",
            json!({"trackedEntities": [entity]}),
        ),
        (
            "POST",
            "tracker?async=false&atomicMode=OBJECT",
            json!({"enrollments": [enrollment]}),
        ),
        (
            "POST",
            "tracker?async=false&atomicMode=OBJECT",
            json!({"enrollments": [second]}),
        ),
        (
            "POST",
            "tracker?async=false&atomicMode=OBJECT",
            json!({"events": [event("hvEv0000001")]}),
        ),
        (
            "POST",
            "tracker?async=false&atomicMode=OBJECT",
            json!({"events": [event("hvEv0000077")]}),
        ),
        (
            "POST",
            "tracker?async=false&atomicMode=OBJECT",
            json!({"events": [plain]}),
        ),
        (
            "POST",
            "tracker?async=false&atomicMode=OBJECT",
            json!({"relationships": [tie]}),
        ),
        (
            "POST",
            "tracker?async=false&atomicMode=OBJECT&importStrategy=DELETE",
            json!({"trackedEntities": [entity]}),
        ),
        (
            "POST",
            "tracker?async=false&atomicMode=OBJECT&importStrategy=DELETE",
            json!({"enrollments": [enrollment]}),
        ),
        (
            "POST",
            "tracker?async=false&atomicMode=OBJECT&importStrategy=DELETE",
            json!({"events": [event("hvEv0000001")]}),
        ),
        (
            "POST",
            "tracker?async=false&atomicMode=OBJECT&importStrategy=DELETE",
            json!({"events": [plain]}),
        ),
        (
            "POST",
            "tracker?async=false&atomicMode=OBJECT&importStrategy=DELETE",
            json!({"relationships": [{"relationship": "hvRe0000001"}]}),
        ),
        (
            "POST",
            "trackedEntityInstances?strategy=SYNC",
            json!({"trackedEntityInstances": [old_entity]}),
        ),
        (
            "PUT",
            "trackedEntityInstances/hvTe0000001",
            old_entity.clone(),
        ),
        ("DELETE", "trackedEntityInstances/hvTe0000001", Value::Null),
        ("DELETE", "enrollments/hvEn0000001", Value::Null),
        ("DELETE", "events/hvEv0000001", Value::Null),
        ("DELETE", "events/hvEvPlain01", Value::Null),
        ("DELETE", "relationships/hvRe0000001", Value::Null),
        (
            "PUT",
            "tracker/ownership/transfer?trackedEntity=hvTe0000001&program=hvProgram01&orgUnit=hvOuFacil02",
            Value::Null,
        ),
        (
            "POST",
            "tracker/ownership/override?trackedEntity=hvTe0000001&program=hvProgram01&reason=x",
            Value::Null,
        ),
        (
            "POST",
            "dataValueSets",
            json!({"dataValues": [{"dataElement": "hvDeCases01", "period": "202601", "orgUnit": "hvOuFacil01", "value": "1"}]}),
        ),
        (
            "POST",
            "dataValues?de=hvDeCases01&pe=202601&ou=hvOuFacil01&value=1",
            Value::Null,
        ),
        (
            "DELETE",
            "dataValues?de=hvDeCases01&pe=202601&ou=hvOuFacil01",
            Value::Null,
        ),
        (
            "POST",
            "completeDataSetRegistrations",
            json!({"completeDataSetRegistrations": [{"dataSet": "hvDataSet01", "period": "202601", "organisationUnit": "hvOuFacil01", "completed": false}]}),
        ),
        (
            "DELETE",
            "completeDataSetRegistrations?ds=hvDataSet01&pe=202601&ou=hvOuFacil01",
            Value::Null,
        ),
        (
            "PATCH",
            "users/hvUser00bob",
            json!([{"op": "replace", "path": "/organisationUnits", "value": [{"id": "hvOuRoot001"}]}]),
        ),
        (
            "POST",
            "metadata",
            json!({"users": [{"id": "hvUser00bob", "username": "bob", "organisationUnits": [{"id": "hvOuRoot001"}]}]}),
        ),
    ] {
        let told = bob
            .send(method, &format!("/api/{path}"), &body.to_string())
            .await;
        // By the old API a deletion of what is out of sight is one of what is gone, which is no failure.
        let is_gone = path == "relationships/hvRe0000001";
        assert!(
            (400..500).contains(&told.status) || is_gone,
            "{method} {path} {body}: {} {}",
            told.status,
            told.text
        );
    }
    assert_eq!(everything(&client, &file, &job).await, before);
}

/// All that an administrator is told by all ways of reading.
async fn everything(client: &Client, file: &str, job: &str) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for path in reads(file, job) {
        all.push((path.clone(), client.get(&format!("/api/{path}")).await.text));
    }
    all
}
