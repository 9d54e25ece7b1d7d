//! Reserved values.

use std::collections::BTreeSet;

use haversack_model::Host as _;
use serde_json::{Value, json};

use crate::web::Client;

const SEQUENCE: &str =
    "/api/trackedEntityAttributes/hvAttrSeq01/generateAndReserve?ORG_UNIT_CODE=HVF1";
const RANDOM: &str = "/api/trackedEntityAttributes/hvAttrRand1/generateAndReserve";

fn values(told: &Value) -> Vec<String> {
    let rows = told.as_array().unwrap();
    rows.iter()
        .map(|row| row["value"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn values_are_given_out_with_their_key_and_their_expiry() {
    let client = Client::new().await.user("ada");
    let told = client.json(&format!("{SEQUENCE}&numberToReserve=3")).await;
    assert_eq!(
        values(&told),
        ["HVF-2026-00001", "HVF-2026-00002", "HVF-2026-00003"]
    );
    let first = &told[0];
    assert_eq!(first["ownerObject"], "TRACKEDENTITYATTRIBUTE");
    assert_eq!(first["ownerUid"], "hvAttrSeq01");
    assert_eq!(first["key"], "HVF-2026-SEQUENTIAL(#####)");
    assert!(
        first["created"]
            .as_str()
            .unwrap()
            .starts_with("2026-11-21T")
    );
    assert!(
        first["expiryDate"]
            .as_str()
            .unwrap()
            .starts_with("2027-01-20T")
    );
    let random = client
        .json("/api/trackedEntityAttributes/hvAttrRand1/generate")
        .await;
    assert!(random["value"].as_str().unwrap().starts_with("R-"));
    assert!(
        random["expiryDate"]
            .as_str()
            .unwrap()
            .starts_with("2026-11-24T")
    );
    let required = client
        .json("/api/trackedEntityAttributes/hvAttrSeq01/requiredValues")
        .await;
    assert_eq!(
        required,
        json!({"REQUIRED": ["ORG_UNIT_CODE"], "OPTIONAL": ["CURRENT_DATE", "SEQUENTIAL"]})
    );
}

#[tokio::test]
async fn what_cannot_be_reserved_is_refused_with_the_words_that_clients_look_for() {
    let client = Client::new().await;
    for (path, status, words) in [
        (
            "/api/trackedEntityAttributes/hvAttrSeq01/generateAndReserve",
            409,
            "Missing required values: ORG_UNIT_CODE",
        ),
        (
            "/api/trackedEntityAttributes/hvAttrSeq01/generateAndReserve?ORG_UNIT_CODE=H",
            409,
            "shorter",
        ),
        (
            "/api/trackedEntityAttributes/hvAttrName1/generateAndReserve",
            400,
            "Attribute does not contain pattern.",
        ),
        (
            "/api/trackedEntityAttributes/aBcDeFgHiJk/generateAndReserve",
            404,
            "could not be found",
        ),
        (
            &format!("{RANDOM}?numberToReserve=0"),
            400,
            "numberToReserve",
        ),
        (
            &format!("{RANDOM}?numberToReserve=1001"),
            400,
            "numberToReserve",
        ),
        (
            &format!("{RANDOM}?numberToReserve=x"),
            400,
            "numberToReserve",
        ),
    ] {
        let told = client.get(path).await;
        assert_eq!(told.status, status, "{path}: {}", told.text);
        assert!(
            told.json()["message"].as_str().unwrap().contains(words),
            "{path}: {}",
            told.text
        );
    }
    assert_eq!(
        client.user("eve").get(RANDOM).await.status,
        403,
        "who may only read takes nothing"
    );
    assert_eq!(client.user("").get(RANDOM).await.status, 401);
}

#[tokio::test]
async fn a_pool_that_is_used_up_gives_nothing_rather_than_something_twice() {
    let client = Client::new().await;
    let attribute = |id: &str, pattern: &str| json!({"id": id, "name": id, "generated": true, "unique": true, "pattern": pattern});
    let body = json!({"trackedEntityAttributes": [
        attribute("hvAttrDigit", "RANDOM(#)"), attribute("hvAttrNine1", "SEQUENTIAL(#)"), attribute("hvAttrConst", "\"only\"")
    ]});
    assert_eq!(client.post("/api/metadata", body).await.status, 200);
    for (id, count) in [("hvAttrDigit", 10), ("hvAttrNine1", 9), ("hvAttrConst", 1)] {
        let path = format!("/api/trackedEntityAttributes/{id}/generateAndReserve?numberToReserve=");
        let more = client.get(&format!("{path}{}", count + 1)).await;
        assert_eq!(more.status, 409, "{}", more.text);
        assert!(
            more.text.contains("Not enough values left to reserve"),
            "{}",
            more.text
        );
        let all = values(&client.json(&format!("{path}{count}")).await);
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), count, "{all:?}");
        assert_eq!(client.get(&format!("{path}1")).await.status, 409, "{id}");
    }
    // What was not used comes back when it has expired; a number of a sequence never does.
    client.host.wait(61 * 86_400_000);
    assert_eq!(
        client
            .get("/api/trackedEntityAttributes/hvAttrDigit/generate")
            .await
            .status,
        200
    );
    assert_eq!(
        client
            .get("/api/trackedEntityAttributes/hvAttrNine1/generate")
            .await
            .status,
        409
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nobody_gets_the_value_of_another_however_many_ask_at_once() {
    let client = Client::new().await;
    let mut asking = Vec::new();
    for _ in 0..20 {
        for path in [SEQUENCE, RANDOM] {
            let client = client.clone();
            let path = format!(
                "{path}{}numberToReserve=20",
                if path.contains('?') { '&' } else { '?' }
            );
            asking.push(tokio::spawn(
                async move { values(&client.json(&path).await) },
            ));
        }
    }
    let mut given = Vec::new();
    for one in asking {
        given.extend(one.await.unwrap());
    }
    assert_eq!(given.len(), 800);
    assert_eq!(given.iter().collect::<BTreeSet<_>>().len(), 800);
    // Nothing of a sequence is left out: every number up to the last was given to somebody.
    assert!(given.contains(&"HVF-2026-00400".to_owned()));
}

#[tokio::test]
async fn what_was_given_out_stays_so_when_the_server_begins_anew() {
    let client = Client::new().await;
    let before = values(&client.json(&format!("{SEQUENCE}&numberToReserve=5")).await);
    client.host.restart();
    let after = values(&client.json(&format!("{SEQUENCE}&numberToReserve=5")).await);
    assert!(
        before.iter().all(|value| !after.contains(value)),
        "{after:?}"
    );
    assert_eq!(after[0], "HVF-2026-00006");
}

#[tokio::test]
async fn reservations_that_expired_are_removed_and_numbers_are_not_given_again() {
    let client = Client::new().await;
    let stored = || {
        let store = client.host.documents("dhis2").unwrap();
        let tx = store.read_documents().unwrap();
        let values = tx
            .service()
            .unwrap()
            .collection_named("reservedValues")
            .unwrap()
            .id;
        tx.count(values).unwrap()
    };
    let random = "/api/trackedEntityAttributes/hvAttrRand1/generateAndReserve?ORG_UNIT_CODE=HVF1&numberToReserve=";
    let counted = "/api/trackedEntityAttributes/hvAttrSeq01/generateAndReserve?ORG_UNIT_CODE=HVF1&numberToReserve=";
    let first = client.json(&format!("{counted}20")).await;
    assert_eq!(stored(), 20);
    client.json(&format!("{random}20")).await;
    assert_eq!(stored(), 40);
    client.host.wait(59 * 86_400_000);
    client.json(&format!("{random}5")).await;
    assert_eq!(stored(), 45);
    client.host.wait(2 * 86_400_000);
    client.json(&format!("{random}5")).await;
    assert_eq!(stored(), 10, "what expired is gone, the rest is kept");
    let later = client.json(&format!("{counted}1")).await;
    let given: Vec<_> = first
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["value"].clone())
        .collect();
    assert!(
        !given.contains(&later[0]["value"]),
        "a number is never given again"
    );
}
