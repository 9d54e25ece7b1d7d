//! Data values and completions of data sets.

use serde_json::{Value, json};

use crate::web::{Client, Told};

const SET: &str = "hvDataSet01";
const OF_THE_YEAR: &str =
    "dataSet=hvDataSet01&startDate=2026-01-01&endDate=2026-12-31&orgUnit=hvOuRoot001&children=true";

fn cases(period: &str, unit: &str, value: impl Into<Value>) -> Value {
    json!({"dataElement": "hvDeCases01", "period": period, "orgUnit": unit, "value": value.into()})
}

async fn send(client: &Client, values: &[Value]) -> Told {
    client
        .post(
            "/api/dataValueSets",
            json!({"dataSet": SET, "dataValues": values}),
        )
        .await
}

async fn values(client: &Client, query: &str) -> Vec<Value> {
    let told = client.json(&format!("/api/dataValueSets?{query}")).await;
    told["dataValues"].as_array().unwrap().clone()
}

fn counts(told: &Told) -> (u64, u64, u64, u64) {
    let counts = &told.json()["response"]["importCount"];
    let of = |name: &str| counts[name].as_u64().unwrap();
    (of("imported"), of("updated"), of("deleted"), of("ignored"))
}

fn codes(told: &Told) -> Vec<(String, String)> {
    let told = told.json();
    let conflicts = told["response"]["conflicts"].as_array().unwrap();
    let text = |of: &Value| of.as_str().unwrap().to_owned();
    conflicts
        .iter()
        .map(|one| (text(&one["object"]), text(&one["errorCode"])))
        .collect()
}

#[tokio::test]
async fn values_are_stored_changed_deleted_and_told() {
    let client = Client::with_users("hvOuRoot001").await.user("ada");
    let first = send(
        &client,
        &[
            cases("202601", "hvOuFacil01", "12"),
            cases("202602", "hvOuFacil01", 3),
        ],
    )
    .await;
    assert_eq!(
        (first.status, counts(&first)),
        (200, (2, 0, 0, 0)),
        "{}",
        first.text
    );
    assert_eq!(first.json()["response"]["status"], "SUCCESS");
    let mark = client.json("/api/system/info").await["serverDate"].clone();

    let again = send(
        &client,
        &[
            cases("202601", "hvOuFacil01", "12"),
            cases("202602", "hvOuFacil01", "4"),
        ],
    )
    .await;
    assert_eq!(counts(&again), (0, 1, 0, 1));
    let changed = format!("{OF_THE_YEAR}&lastUpdated={}", mark.as_str().unwrap());
    let told = values(&client, &changed).await;
    assert_eq!(told.len(), 1, "only what changed: {told:?}");
    assert_eq!(
        (&told[0]["period"], &told[0]["value"], &told[0]["storedBy"]),
        (&json!("202602"), &json!("4"), &json!("ada"))
    );
    assert_eq!(told[0]["categoryOptionCombo"], "hvCatOptCb1");

    let mut gone = cases("202601", "hvOuFacil01", "12");
    gone["deleted"] = json!(true);
    assert_eq!(counts(&send(&client, &[gone.clone()]).await), (0, 0, 1, 0));
    assert_eq!(
        counts(&send(&client, &[gone]).await),
        (0, 0, 0, 1),
        "deleting it twice is no mistake"
    );
    assert_eq!(values(&client, OF_THE_YEAR).await.len(), 1);
    let all = values(&client, &format!("{OF_THE_YEAR}&includeDeleted=true")).await;
    let deleted: Vec<bool> = all.iter().map(|one| one["deleted"] == true).collect();
    assert_eq!(deleted, [true, false]);
    assert_eq!(
        counts(&send(&client, &[cases("202601", "hvOuFacil01", "1")]).await),
        (1, 0, 0, 0),
        "it may come again"
    );
}

#[tokio::test]
async fn what_does_not_fit_is_refused_by_itself() {
    let client = Client::with_users("hvOuRoot001").await.user("ada");
    let with = |name: &str, value: Value| {
        let mut one = cases("202601", "hvOuFacil01", "1");
        one[name] = value;
        one
    };
    let told = send(
        &client,
        &[
            cases("202603", "hvOuFacil01", "7"),
            cases("202601", "hvOuFacil01", "many"),
            with("dataElement", json!("hvDeNothing")),
            with("dataElement", json!("hvDeWeight1")),
            cases("false_period", "hvOuFacil01", "1"),
            cases("203001", "hvOuFacil01", "1"),
            cases("202601", "hvOuNowhere", "1"),
            cases("202601", "hvOuFacil02", "1"),
            with("categoryOptionCombo", json!("hvNoSuchCb1")),
            with("value", Value::Null),
            json!("no object"),
        ],
    )
    .await;
    assert_eq!(told.status, 409, "{}", told.text);
    let body = told.json();
    assert_eq!(
        (&body["status"], &body["response"]["status"]),
        (&json!("WARNING"), &json!("WARNING"))
    );
    let expected = [
        ("hvDeCases01", "E7619"),
        ("hvDeNothing", "E7610"),
        ("hvDeWeight1", "E7633"),
        ("false_period", "E7611"),
        ("203001", "E7641"),
        ("hvOuNowhere", "E7612"),
        ("hvOuFacil02", "E7617"),
        ("hvNoSuchCb1", "E7613"),
        ("hvDeCases01", "E7618"),
        ("", "E7610"),
    ];
    assert_eq!(
        codes(&told),
        expected.map(|(object, code)| (object.to_owned(), code.to_owned()))
    );
    assert_eq!(body["response"]["conflicts"][0]["indexes"], json!([1]));
    assert_eq!(counts(&told), (1, 0, 0, 10));
    assert_eq!(
        values(&client, OF_THE_YEAR).await.len(),
        1,
        "the good one is stored"
    );
}

#[tokio::test]
async fn values_are_told_to_who_enters_data_in_their_unit() {
    let root = Client::with_users("hvOuRoot001").await;
    send(
        &root,
        &[
            cases("202601", "hvOuFacil01", 1),
            cases("202601", "hvOuFacil02", 2),
        ],
    )
    .await;
    assert_eq!(values(&root, OF_THE_YEAR).await.len(), 2);
    let (ada, bob) = (root.user("ada"), root.user("bob"));
    assert_eq!(values(&ada, OF_THE_YEAR).await[0]["orgUnit"], "hvOuFacil01");
    assert_eq!(values(&bob, OF_THE_YEAR).await[0]["orgUnit"], "hvOuFacil02");
    let other = "/api/dataValues?de=hvDeCases01&pe=202601&ou=hvOuFacil02";
    assert_eq!(ada.get(other).await.status, 409);
    assert_eq!(bob.json(other).await, json!(["2"]));
    assert_eq!(
        root.user("mallory")
            .get(&format!("/api/dataValueSets?{OF_THE_YEAR}"))
            .await
            .status,
        403
    );
    assert_eq!(
        root.user("eve")
            .send("POST", &format!("{other}&value=3"), "")
            .await
            .status,
        403
    );

    let shut = json!({"dataSets": [{"id": SET, "name": "Monthly cases", "periodType": "Monthly", "dataSetElements": [{"dataElement": {"id": "hvDeCases01"}}],
        "access": {"data": {"read": false, "write": false}}}]});
    assert_eq!(root.post("/api/metadata", shut).await.status, 200);
    assert_eq!(
        ada.get(&format!("/api/dataValueSets?{OF_THE_YEAR}"))
            .await
            .status,
        409
    );
    assert_eq!(
        values(
            &ada,
            "dataElement=hvDeCases01&period=202601&orgUnit=hvOuFacil01"
        )
        .await,
        Vec::<Value>::new()
    );
    assert_eq!(
        send(&ada, &[cases("202602", "hvOuFacil01", 1)])
            .await
            .status,
        409
    );
}

#[tokio::test]
async fn one_value_is_set_read_and_deleted_by_itself() {
    let client = Client::with_users("hvOuRoot001").await.user("ada");
    let path = "/api/dataValues?de=hvDeCases01&pe=202601&ou=hvOuFacil01";
    assert_eq!(
        client
            .send("POST", &format!("{path}&value=5"), "")
            .await
            .status,
        201
    );
    assert_eq!(
        client
            .send("POST", &format!("{path}&value=6"), "")
            .await
            .status,
        200
    );
    assert_eq!(
        client
            .send("POST", &format!("{path}&value=six"), "")
            .await
            .status,
        409
    );
    assert_eq!(client.json(path).await, json!(["6"]));
    let told = client
        .post("/api/dataValues", cases("202601", "hvOuFacil01", "7"))
        .await;
    assert_eq!(told.status, 200, "{}", told.text);
    assert_eq!(client.json(path).await, json!(["7"]));
    let other = format!("{path}&ao=hvNoSuchCb1");
    assert_eq!(client.get(&other).await.status, 409);
    assert_eq!(client.send("DELETE", path, "").await.status, 200);
    assert_eq!(client.get(path).await.status, 409);
}

#[tokio::test]
async fn a_trial_and_the_strategies_do_what_they_say() {
    let client = Client::with_users("hvOuRoot001").await.user("ada");
    let post = async |parameters: &str, value: u64| {
        let body = json!({"dataValues": [cases("202601", "hvOuFacil01", value)]});
        counts(
            &client
                .post(&format!("/api/dataValueSets?{parameters}"), body)
                .await,
        )
    };
    assert_eq!(post("dryRun=true", 1).await, (1, 0, 0, 0));
    assert_eq!(values(&client, OF_THE_YEAR).await.len(), 0);
    assert_eq!(post("importStrategy=UPDATE", 1).await, (0, 0, 0, 1));
    assert_eq!(post("importStrategy=CREATE", 1).await, (1, 0, 0, 0));
    assert_eq!(post("importStrategy=CREATE", 2).await, (0, 0, 0, 1));
    assert_eq!(post("importStrategy=DELETE", 2).await, (0, 0, 1, 0));
    let unknown = client
        .post(
            "/api/dataValueSets?importStrategy=WISH",
            json!({"dataValues": []}),
        )
        .await;
    assert_eq!(unknown.status, 400);
}

#[tokio::test]
async fn data_sets_are_completed_and_opened_again() {
    let client = Client::with_users("hvOuRoot001").await.user("ada");
    let path = "/api/completeDataSetRegistrations";
    let complete = |period: &str, unit: &str| json!({"dataSet": SET, "period": period, "organisationUnit": unit});
    let told = client
        .post(
            path,
            json!({"completeDataSetRegistrations": [complete("202601", "hvOuFacil01"), complete("2026", "hvOuFacil01"),
                complete("202601", "hvOuFacil02"), complete("202602", "hvOuFacil01")]}),
        )
        .await;
    assert_eq!(
        (told.status, counts(&told)),
        (409, (2, 0, 0, 2)),
        "{}",
        told.text
    );
    assert_eq!(
        codes(&told),
        [("2026", "E7611"), ("hvOuFacil02", "E7617")].map(|(a, b)| (a.to_owned(), b.to_owned()))
    );
    let list = async || {
        let told = client.json(&format!("{path}?{OF_THE_YEAR}")).await;
        let all = told["completeDataSetRegistrations"]
            .as_array()
            .unwrap()
            .clone();
        all.iter()
            .map(|one| one["period"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(list().await, ["202601", "202602"]);
    let gone = client
        .send(
            "DELETE",
            &format!("{path}?ds={SET}&pe=202601&ou=hvOuFacil01&multiOu=false"),
            "",
        )
        .await;
    assert_eq!((gone.status, gone.text.as_str()), (204, ""));
    assert_eq!(list().await, ["202602"]);
    let told = client
        .json(&format!("{path}?{OF_THE_YEAR}&includeDeleted=true"))
        .await;
    assert_eq!(told["completeDataSetRegistrations"][0]["completed"], false);

    let with_values = json!({"dataSet": SET, "period": "202603", "orgUnit": "hvOuFacil01", "completeDate": "2026-04-01",
        "dataValues": [{"dataElement": "hvDeCases01", "value": "9"}]});
    assert_eq!(
        client.post("/api/dataValueSets", with_values).await.status,
        200
    );
    assert_eq!(list().await, ["202602", "202603"]);
}

#[tokio::test]
async fn questions_without_a_set_a_time_or_a_place_are_refused_by_name() {
    let client = Client::with_users("hvOuRoot001").await;
    for (query, status, word) in [
        ("period=202601&orgUnit=hvOuRoot001", 409, "dataSet"),
        ("dataSet=hvDataSet01&orgUnit=hvOuRoot001", 409, "period"),
        ("dataSet=hvDataSet01&period=202601", 409, "orgUnit"),
        (
            "dataSet=hvDataSet01&period=x'--&orgUnit=hvOuRoot001",
            400,
            "period",
        ),
        (
            "dataSet=hvNoSuchSet&period=202601&orgUnit=hvOuRoot001",
            409,
            "hvNoSuchSet",
        ),
        (
            "dataSet=hvDataSet01&lastUpdated=soon&orgUnit=hvOuRoot001",
            400,
            "lastUpdated",
        ),
    ] {
        for path in ["/api/dataValueSets", "/api/completeDataSetRegistrations"] {
            let told = client.get(&format!("{path}?{query}")).await;
            assert_eq!(told.status, status, "{path}?{query}: {}", told.text);
            assert!(told.text.contains(word), "{path}?{query}: {}", told.text);
        }
    }
}
