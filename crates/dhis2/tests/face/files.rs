//! Files that values name.

use serde_json::{Value, json};

use crate::web::{Client, Told};

async fn send(client: &Client, content: &str) -> Told {
    let body = format!(
        "--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a \u{e9}.txt\"\r\nContent-Type: text/plain\r\n\r\n{content}\r\n--x--\r\n"
    );
    client
        .send_as(
            "POST",
            "/api/fileResources",
            "multipart/form-data; boundary=x",
            &body,
        )
        .await
}

async fn sent(client: &Client, content: &str) -> String {
    let told = send(client, content).await;
    assert_eq!(told.status, 202, "{}", told.text);
    told.json()["response"]["fileResource"]["id"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// An attribute, a data element of a stage and one of a data set that hold files.
async fn client() -> Client {
    let client = Client::with_users("hvOuRoot001").await;
    let stage = client.json("/api/programStages/hvStage0002").await;
    let mut elements = stage["programStageDataElements"]
        .as_array()
        .unwrap()
        .clone();
    elements.push(json!({"compulsory": false, "dataElement": {"id": "hvDePhoto01"}}));
    let mut grown: Value = stage.clone();
    grown["programStageDataElements"] = json!(elements);
    let mut kind = client.json("/api/trackedEntityTypes/hvTeType001").await;
    let attributes = kind["trackedEntityTypeAttributes"].as_array_mut().unwrap();
    attributes.push(json!({"trackedEntityAttribute": {"id": "hvAttrFile1"}, "mandatory": false}));
    let more = json!({
        "trackedEntityAttributes": [{"id": "hvAttrFile1", "name": "Consent", "valueType": "FILE_RESOURCE"}],
        "dataElements": [{"id": "hvDePhoto01", "name": "Photo", "valueType": "IMAGE"}, {"id": "hvDeReport1", "name": "Report", "valueType": "FILE_RESOURCE"}],
        "programStages": [grown],
        "trackedEntityTypes": [kind],
    });
    let told = client.post("/api/metadata", more).await;
    assert_eq!(told.status, 200, "{}", told.text);
    client
}

fn person(uid: &str, unit: &str, file: &str) -> Value {
    json!({"trackedEntities": [{"trackedEntity": uid, "trackedEntityType": "hvTeType001", "orgUnit": unit,
        "attributes": [{"attribute": "hvAttrFile1", "value": file}]}]})
}

fn visit(file: &str) -> Value {
    json!({"events": [{"event": "hvEvent0001", "program": "hvEventPrg1", "programStage": "hvStage0002", "orgUnit": "hvOuFacil01", "status": "ACTIVE",
        "occurredAt": "2026-11-01", "dataValues": [{"dataElement": "hvDePhoto01", "value": file}]}]})
}

#[tokio::test]
async fn a_file_is_described_kept_and_given_back() {
    let root = client().await;
    let ada = root.user("ada");
    let told = send(&ada, "signed").await.json();
    let file = &told["response"]["fileResource"];
    assert_eq!(
        (&file["name"], &file["contentType"], &file["contentLength"]),
        (&json!("a \u{e9}.txt"), &json!("text/plain"), &json!(6))
    );
    assert_eq!(file["contentMd5"], "43ca94dd646dbbaa78034918d61043e9");
    let id = file["id"].as_str().unwrap();
    root.host.restart();
    let path = format!("/api/fileResources/{id}");
    assert_eq!(ada.json(&path).await["domain"], "DATA_VALUE");
    assert_eq!(ada.get(&format!("{path}/data")).await.text, "signed");
    for stranger in ["bob", "eve"] {
        assert_eq!(
            root.user(stranger).get(&path).await.status,
            404,
            "{stranger}"
        );
        assert_eq!(
            root.user(stranger)
                .get(&format!("{path}/data"))
                .await
                .status,
            404,
            "{stranger}"
        );
    }
    assert_eq!(send(&root.user("eve"), "x").await.status, 403);
    for (kind, body) in [
        ("application/json", "{}"),
        ("multipart/form-data", "x"),
        ("multipart/form-data; boundary=x", "--y"),
    ] {
        let told = ada.send_as("POST", "/api/fileResources", kind, body).await;
        assert_eq!(told.status, 400, "{kind}: {}", told.text);
    }
}

#[tokio::test]
async fn a_file_is_read_by_who_sees_the_record_that_names_it() {
    let root = client().await;
    let (ada, bob) = (root.user("ada"), root.user("bob"));
    let (consent, photo, report) = (
        sent(&ada, "consent").await,
        sent(&ada, "photo").await,
        sent(&ada, "report").await,
    );
    ada.put(person("hvPerson001", "hvOuFacil01", &consent))
        .await;
    ada.put(visit(&photo)).await;
    let value = json!({"dataValues": [{"dataElement": "hvDeReport1", "period": "202601", "orgUnit": "hvOuFacil01", "value": report}]});
    assert_eq!(ada.post("/api/dataValueSets", value).await.status, 200);
    for (path, content) in [
        (
            "/api/tracker/trackedEntities/hvPerson001/attributes/hvAttrFile1/file",
            "consent",
        ),
        (
            "/api/trackedEntityInstances/hvPerson001/hvAttrFile1/image",
            "consent",
        ),
        (
            "/api/tracker/events/hvEvent0001/dataValues/hvDePhoto01/image",
            "photo",
        ),
        (
            "/api/events/files?eventUid=hvEvent0001&dataElementUid=hvDePhoto01",
            "photo",
        ),
        (
            "/api/dataValues/files?de=hvDeReport1&pe=202601&ou=hvOuFacil01",
            "report",
        ),
    ] {
        let told = ada.get(path).await;
        assert_eq!((told.status, told.text.as_str()), (200, content), "{path}");
        let told = root.user("mallory").get(path).await;
        assert_eq!(told.status, 403, "{path}");
    }
    let elsewhere = "/api/dataValues/files?de=hvDeReport1&pe=202601&ou=hvOuFacil01";
    assert_eq!(bob.get(elsewhere).await.status, 404);
    assert_eq!(
        ada.get("/api/tracker/trackedEntities/hvPerson001/attributes/hvAttrName1/file")
            .await
            .status,
        404
    );
}

#[tokio::test]
async fn a_value_that_names_no_file_is_refused() {
    let ada = client().await.user("ada");
    for file in ["hvNoFile001", "not a uid"] {
        let codes = ada
            .codes(
                "importStrategy=CREATE_AND_UPDATE",
                person("hvPerson001", "hvOuFacil01", file),
            )
            .await;
        assert_eq!(codes, [("hvPerson001".to_owned(), "E1084".to_owned())]);
        let codes = ada
            .codes("importStrategy=CREATE_AND_UPDATE", visit(file))
            .await;
        assert_eq!(codes, [("hvEvent0001".to_owned(), "E1084".to_owned())]);
        let value = json!({"dataValues": [{"dataElement": "hvDeReport1", "period": "202601", "orgUnit": "hvOuFacil01", "value": file}]});
        let told = ada.post("/api/dataValueSets", value).await;
        assert_eq!(
            (
                told.status,
                &told.json()["response"]["conflicts"][0]["errorCode"]
            ),
            (409, &json!("E7619")),
            "{}",
            told.text
        );
    }
}
