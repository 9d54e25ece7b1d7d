//! Exports: pages, what changed, and who sees what.

use serde_json::json;

use crate::tracker::family;
use crate::web::Client;

const LIST: &str =
    "/api/tracker/trackedEntities?program=hvProgram01&orgUnits=hvOuRoot001&orgUnitMode=DESCENDANTS";

#[tokio::test]
async fn pages_give_every_entity_once_the_newest_first() {
    let client = Client::new().await;
    for n in 1..=7 {
        client.put(family(n, "hvOuFacil01")).await;
    }
    let mut seen = Vec::new();
    for page in 1..=4 {
        let path = format!("{LIST}&pageSize=3&page={page}");
        let told = client.json(&path).await;
        assert_eq!(
            told["pager"],
            json!({"page": page, "pageSize": 3, "total": 7, "pageCount": 3})
        );
        let uids = client.uids(&path).await;
        // Who does not ask for the number of all gets the same page, and no number.
        let path = format!("{path}&totalPages=false");
        assert_eq!(client.uids(&path).await, uids);
        let told = client.json(&path).await;
        assert_eq!(told["pager"], json!({"page": page, "pageSize": 3}));
        assert_eq!(told.get("total"), None);
        seen.extend(uids);
    }
    let expected: Vec<String> = (1..=7).rev().map(|n| format!("hvTe{n:07}")).collect();
    assert_eq!(seen, expected);
    let all = client.json(&format!("{LIST}&paging=false&order=createdAt:asc&fields=trackedEntity,enrollments[events[event]]")).await;
    assert_eq!(all.get("pager"), None);
    assert_eq!(
        all["trackedEntities"][0],
        json!({"trackedEntity": "hvTe0000001", "enrollments": [{"events": [{"event": "hvEv0000001"}]}]})
    );
}

#[tokio::test]
async fn a_changed_event_brings_its_entity_and_what_did_not_change_stays_away() {
    let client = Client::new().await;
    for n in 1..=5 {
        client.put(family(n, "hvOuFacil01")).await;
    }
    let mark = client.json("/api/system/info").await["serverDate"]
        .as_str()
        .unwrap()
        .to_owned();
    let since = format!("{LIST}&updatedAfter={mark}&includeDeleted=true");
    assert_eq!(client.uids(&since).await, Vec::<String>::new());
    let event = json!({"events": [{"event": "hvEv0000003", "enrollment": "hvEn0000003", "programStage": "hvStage0001", "orgUnit": "hvOuFacil01",
        "occurredAt": "2026-10-09"}]});
    client.put(event).await;
    assert_eq!(client.uids(&since).await, ["hvTe0000003"]);
    client
        .import(
            "importStrategy=DELETE",
            json!({"trackedEntities": [{"trackedEntity": "hvTe0000005"}]}),
        )
        .await;
    client
        .import(
            "importStrategy=DELETE",
            json!({"events": [{"event": "hvEv0000001"}]}),
        )
        .await;
    assert_eq!(
        client.uids(&since).await,
        ["hvTe0000005", "hvTe0000003", "hvTe0000001"]
    );
    let events = format!("/api/tracker/events?updatedAfter={mark}&includeDeleted=true");
    assert_eq!(
        client.uids(&events).await,
        ["hvEv0000005", "hvEv0000003", "hvEv0000001"]
    );
    // The same with a mark far in the past and in the future: clocks decide nothing.
    assert_eq!(
        client
            .uids(&format!("{LIST}&updatedAfter=1970-01-01"))
            .await
            .len(),
        4
    );
    assert_eq!(
        client
            .uids(&format!(
                "{LIST}&updatedAfter=2999-01-01T00:00:00.000%2B02:00"
            ))
            .await
            .len(),
        0
    );
}

#[tokio::test]
async fn a_mark_taken_before_a_change_finds_it_whatever_the_clock_does() {
    let client = Client::new().await;
    client.put(family(1, "hvOuFacil01")).await;
    client.host.wait(-10 * 365 * 86_400_000);
    let mark = client.json("/api/system/info").await["serverDate"]
        .as_str()
        .unwrap()
        .to_owned();
    client.put(family(2, "hvOuFacil01")).await;
    assert_eq!(
        client.uids(&format!("{LIST}&updatedAfter={mark}")).await,
        ["hvTe0000002"]
    );
}

#[tokio::test]
async fn everyone_sees_what_their_units_own_in_every_way_of_reading() {
    let client = Client::with_users("").await;
    client.put(family(1, "hvOuFacil01")).await;
    client.put(family(2, "hvOuFacil02")).await;
    client.put(json!({"relationships": [{"relationship": "hvRe0000001", "relationshipType": "hvRelType01",
        "from": {"trackedEntity": {"trackedEntity": "hvTe0000001"}}, "to": {"trackedEntity": {"trackedEntity": "hvTe0000002"}}}]})).await;
    let (ada, bob) = (client.user("ada"), client.user("bob"));
    for path in [
        "/api/tracker/trackedEntities?program=hvProgram01",
        "/api/tracker/trackedEntities?trackedEntityType=hvTeType001",
        "/api/tracker/trackedEntities?trackedEntities=hvTe0000001,hvTe0000002&updatedAfter=2000-01-01",
    ] {
        assert_eq!(ada.uids(path).await, ["hvTe0000001"], "{path}");
        assert_eq!(bob.uids(path).await, ["hvTe0000002"], "{path}");
        assert_eq!(
            ada.json(path).await["pager"]["total"],
            1,
            "counts tell nothing either"
        );
        assert_eq!(client.uids(path).await.len(), 2, "{path}");
    }
    for path in [
        "/api/tracker/events?",
        "/api/tracker/events?events=hvEv0000001;hvEv0000002",
        "/api/tracker/events?program=hvProgram01",
    ] {
        assert_eq!(ada.uids(path).await, ["hvEv0000001"], "{path}");
    }
    for path in [
        "trackedEntities/hvTe0000002",
        "trackedEntities/hvTe0000002?program=hvProgram01",
        "trackedEntities/hvTe0000002?includeDeleted=true",
        "enrollments/hvEn0000002",
        "events/hvEv0000002",
        "relationships/hvRe0000001",
    ] {
        let path = format!("/api/tracker/{path}");
        assert_eq!(ada.get(&path).await.status, 404, "{path}");
        assert_eq!(client.get(&path).await.status, 200, "{path}");
    }
    let own = ada
        .json("/api/tracker/trackedEntities/hvTe0000001?fields=relationships")
        .await;
    assert_eq!(
        own["relationships"],
        json!([]),
        "its other side is out of sight"
    );
    assert_eq!(
        ada.get(&format!("{LIST}&x=1")).await.status,
        403,
        "a unit above the own one"
    );
    assert_eq!(
        client
            .user("eve")
            .uids("/api/tracker/trackedEntities?program=hvProgram01")
            .await,
        Vec::<String>::new()
    );
}

#[tokio::test]
async fn nobody_writes_where_they_do_not_enter_data() {
    let client = Client::with_users("hvOuRoot001").await;
    client.put(family(2, "hvOuFacil02")).await;
    let ada = client.user("ada");
    assert_eq!(
        ada.codes("", family(1, "hvOuFacil02")).await[0],
        ("hvTe0000001".to_owned(), "E1000".to_owned())
    );
    ada.put(family(3, "hvOuFacil01")).await;
    let blind = Client::with_users("").await;
    blind.put(family(2, "hvOuFacil02")).await;
    let ada = blind.user("ada");
    let taken = family(2, "hvOuFacil01");
    let codes = ada.codes("", taken).await;
    assert!(
        codes.contains(&("hvTe0000002".to_owned(), "E1324".to_owned())),
        "naming the own unit takes nothing over: {codes:?}"
    );
    assert_eq!(
        ada.codes(
            "importStrategy=DELETE",
            json!({"events": [{"event": "hvEv0000002"}]})
        )
        .await[0]
            .1,
        "E1000"
    );
}

#[tokio::test]
async fn a_protected_program_is_closed_to_who_may_only_search() {
    let client = Client::with_users("hvOuRoot001").await;
    client.put(family(1, "hvOuFacil01")).await;
    let bob = client.user("bob");
    assert_eq!(
        bob.uids("/api/tracker/trackedEntities?program=hvProgram01")
            .await,
        ["hvTe0000001"]
    );
    let mut program = client.json("/api/programs/hvProgram01").await;
    program["accessLevel"] = json!("PROTECTED");
    assert_eq!(
        client
            .post("/api/metadata", json!({"programs": [program]}))
            .await
            .status,
        200
    );
    assert_eq!(
        bob.uids("/api/tracker/trackedEntities?program=hvProgram01")
            .await,
        Vec::<String>::new()
    );
    let denied = bob
        .get("/api/tracker/trackedEntities/hvTe0000001?program=hvProgram01")
        .await;
    assert_eq!(
        (denied.status, &denied.json()["errorCode"]),
        (404, &json!("E1005"))
    );
    let without = bob
        .json("/api/tracker/trackedEntities/hvTe0000001?fields=programOwners,enrollments")
        .await;
    assert_eq!(without["enrollments"], json!([]));
    assert_eq!(
        without["programOwners"][0]["orgUnit"], "hvOuFacil01",
        "by this a client knows whom to ask"
    );
    assert_eq!(
        client
            .user("ada")
            .uids("/api/tracker/trackedEntities?program=hvProgram01")
            .await,
        ["hvTe0000001"]
    );
}

#[tokio::test]
async fn entities_are_found_by_what_is_in_them() {
    let client = Client::new().await;
    for n in 1..=3 {
        client
            .put(family(
                n,
                if n == 2 { "hvOuFacil02" } else { "hvOuFacil01" },
            ))
            .await;
    }
    let done = json!({"enrollments": [{"enrollment": "hvEn0000003", "trackedEntity": "hvTe0000003", "program": "hvProgram01", "orgUnit": "hvOuFacil01",
        "status": "COMPLETED", "enrolledAt": "2026-09-01"}]});
    client.put(done).await;
    let base = "/api/tracker/trackedEntities?program=hvProgram01";
    for (more, expected) in [
        ("&programStatus=COMPLETED", vec![3]),
        ("&enrollmentStatus=ACTIVE", vec![2, 1]),
        ("&enrollmentEnrolledAfter=2026-09-15", vec![2, 1]),
        ("&enrollmentEnrolledBefore=2026-09-15", vec![3]),
        ("&orgUnit=hvOuFacil02", vec![2]),
        ("&orgUnits=hvOuFacil02,hvOuFacil01", vec![3, 2, 1]),
        ("&ou=hvOuRoot001&ouMode=CHILDREN", vec![3, 2, 1]),
        ("&orgUnit=hvOuRoot001", vec![]),
        ("&filter=hvAttrName1:eq:Name%202", vec![2]),
        (
            "&filter=hvAttrName1:like:Name&filter=hvAttrName1:!eq:Name%202",
            vec![3, 1],
        ),
        ("&filter=hvAttrName1:ew:1", vec![1]),
        ("&unknownParameter=1&trackedEntity=hvTe0000001", vec![1]),
    ] {
        let expected: Vec<String> = expected.iter().map(|n| format!("hvTe{n:07}")).collect();
        assert_eq!(
            client.uids(&format!("{base}{more}")).await,
            expected,
            "{more}"
        );
    }
}

#[tokio::test]
async fn questions_that_make_no_sense_are_bad_requests() {
    let client = Client::new().await;
    for more in [
        "",
        "?program=hvProgram01%27",
        "?program=aBcDeFgHiJk",
        "?trackedEntityType=hvTeType001&programStatus=ACTIVE",
        "?program=hvProgram01&orgUnitMode=SELECTED",
        "?program=hvProgram01&orgUnits=hvOuRoot001&orgUnitMode=ALL",
        "?program=hvProgram01&orgUnits=short",
        "?program=hvProgram01&orgUnits=aBcDeFgHiJk",
        "?program=hvProgram01&orgUnitMode=SIDEWAYS&orgUnits=hvOuRoot001",
        "?program=hvProgram01&updatedAfter=yesterday",
        "?program=hvProgram01&order=createdAt;drop",
        "?program=hvProgram01&pageSize=100000",
        "?program=hvProgram01&filter=name:eq:1",
        "?program=hvProgram01&fields=a[",
    ] {
        let told = client
            .get(&format!("/api/tracker/trackedEntities{more}"))
            .await;
        assert_eq!(told.status, 400, "{more}: {}", told.text);
    }
    assert_eq!(
        client
            .send("DELETE", "/api/tracker/trackedEntities/hvTe0000001", "")
            .await
            .status,
        405
    );
    assert_eq!(client.get("/api/tracker/nothing").await.status, 404);
}

#[tokio::test]
async fn what_was_stored_is_there_after_a_restart() {
    let client = Client::new().await;
    client.put(family(1, "hvOuFacil01")).await;
    let before = client.json(&format!("{LIST}&fields=*")).await;
    client.host.restart();
    assert_eq!(client.json(&format!("{LIST}&fields=*")).await, before);
}

#[tokio::test]
async fn a_value_in_use_is_not_given_out() {
    let client = Client::new().await;
    let attribute = json!({"trackedEntityAttributes": [{"id": "hvAttrDigit", "generated": true, "unique": true, "pattern": "RANDOM(#)", "valueType": "TEXT"}]});
    assert_eq!(client.post("/api/metadata", attribute).await.status, 200);
    let body = json!({"trackedEntities": [{"trackedEntityType": "hvTeType001", "orgUnit": "hvOuFacil01",
        "attributes": [{"attribute": "hvAttrDigit", "value": "7"}]}]});
    client.put(body).await;
    let path = "/api/trackedEntityAttributes/hvAttrDigit/generateAndReserve?numberToReserve=";
    assert_eq!(client.get(&format!("{path}10")).await.status, 409);
    let all = client.json(&format!("{path}9")).await;
    assert!(
        all.as_array()
            .unwrap()
            .iter()
            .all(|row| row["value"] != "7"),
        "{all}"
    );
}

async fn protect(client: &Client, level: &str) {
    let mut program = client.json("/api/programs/hvProgram01").await;
    program["accessLevel"] = json!(level);
    assert_eq!(
        client
            .post("/api/metadata", json!({"programs": [program]}))
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn glass_is_broken_with_a_reason_for_one_user_and_for_three_hours() {
    let client = Client::with_users("hvOuRoot001").await;
    client.put(family(1, "hvOuFacil01")).await;
    protect(&client, "PROTECTED").await;
    let bob = client.user("bob");
    let seen = "/api/tracker/trackedEntities/hvTe0000001?program=hvProgram01";
    let glass = "/api/tracker/ownership/override?program=hvProgram01&trackedEntity";
    assert_eq!(
        bob.post(&format!("{glass}=hvTe0000001"), json!({}))
            .await
            .status,
        400,
        "a reason is needed"
    );
    assert_eq!(bob.get(seen).await.status, 404);
    let told = bob
        .post(
            &format!("{glass}Instance=hvTe0000001&reason=emergency"),
            json!({}),
        )
        .await;
    assert_eq!(
        (told.status, &told.json()["message"]),
        (200, &json!("Temporary Ownership granted"))
    );
    assert_eq!(
        bob.json(&format!("{seen}&fields=enrollments[events[event]]"))
            .await["enrollments"][0]["events"][0]["event"],
        "hvEv0000001"
    );
    assert_eq!(
        bob.uids("/api/tracker/trackedEntities?program=hvProgram01")
            .await,
        ["hvTe0000001"]
    );
    assert_eq!(
        client.user("eve").get(seen).await.status,
        404,
        "for nobody else"
    );
    client.host.wait(3 * 3_600_000);
    assert_eq!(bob.get(seen).await.status, 404);
    protect(&client, "CLOSED").await;
    let closed = bob
        .post(&format!("{glass}=hvTe0000001&reason=emergency"), json!({}))
        .await;
    assert_eq!(
        (closed.status, &closed.json()["message"]),
        (403, &json!("PROGRAM_ACCESS_CLOSED"))
    );
    assert_eq!(
        bob.post(&format!("{glass}=aBcDeFgHiJk&reason=x"), json!({}))
            .await
            .status,
        404
    );
}

#[tokio::test]
async fn an_entity_is_handed_over_by_its_owner_and_by_nobody_else() {
    let client = Client::with_users("").await;
    client.put(family(1, "hvOuFacil01")).await;
    let (ada, bob) = (client.user("ada"), client.user("bob"));
    let seen = "/api/tracker/trackedEntities/hvTe0000001?program=hvProgram01";
    let path = "/api/tracker/ownership/transfer?trackedEntity=hvTe0000001&program=hvProgram01";
    assert_eq!(
        bob.send("PUT", &format!("{path}&ou=hvOuFacil02"), "")
            .await
            .status,
        404
    );
    assert_eq!(
        ada.send("PUT", &format!("{path}&ou=aBcDeFgHiJk"), "")
            .await
            .status,
        409
    );
    assert_eq!(ada.send("PUT", path, "").await.status, 400);
    assert_eq!(ada.get(&format!("{path}&ou=hvOuFacil02")).await.status, 405);
    let mark = client.json("/api/system/info").await["serverDate"]
        .as_str()
        .unwrap()
        .to_owned();
    let told = ada
        .send("PUT", &format!("{path}&orgUnit=hvOuFacil02"), "")
        .await;
    assert_eq!(
        (told.status, &told.json()["message"]),
        (200, &json!("Ownership transferred"))
    );
    assert_eq!(ada.get(seen).await.status, 404);
    assert_eq!(
        bob.json(&format!("{seen}&fields=programOwners")).await["programOwners"][0]["orgUnit"],
        "hvOuFacil02"
    );
    let changed = format!("/api/tracker/trackedEntities?program=hvProgram01&updatedAfter={mark}");
    assert_eq!(
        bob.uids(&changed).await,
        ["hvTe0000001"],
        "the new owner's devices find it"
    );
}
