//! Single metadata objects, lists in them, and short addresses for long questions.

use serde_json::{Value, json};

use crate::tracker::family;
use crate::web::Client;

const GROUPS: &str = "/api/organisationUnitGroups";

impl Client {
    /// Sends something that must succeed.
    async fn done(&self, method: &str, path: &str, body: Value) -> Value {
        let told = self.send(method, path, &body.to_string()).await;
        assert!(
            matches!(told.status, 200 | 201),
            "{method} {path}: {}",
            told.text
        );
        told.json()
    }
}

#[tokio::test]
async fn an_object_is_made_replaced_patched_and_deleted() {
    let client = Client::new().await;
    let told = client
        .send("POST", GROUPS, r#"{"name": "Clinics", "shortName": "C"}"#)
        .await;
    assert_eq!(told.status, 201, "{}", told.text);
    let id = told.json()["response"]["uid"].as_str().unwrap().to_owned();
    let path = format!("{GROUPS}/{id}");
    let made = client.json(&path).await;
    assert_eq!(
        (&made["name"], &made["id"]),
        (&json!("Clinics"), &json!(id))
    );
    let again = client
        .send("POST", GROUPS, &json!({"id": id, "name": "x"}).to_string())
        .await;
    assert_eq!(again.status, 409);
    assert_eq!(
        again.json()["response"]["errorReports"][0]["errorCode"],
        "E5003"
    );

    client
        .done("PUT", &path, json!({"name": "All clinics"}))
        .await;
    let replaced = client.json(&path).await;
    assert_eq!(replaced["name"], "All clinics");
    assert_eq!(replaced.get("shortName"), None, "what is not sent is gone");
    assert_eq!(replaced["created"], made["created"]);
    assert!(replaced["lastUpdated"].as_str() > made["lastUpdated"].as_str());

    client.done("PATCH", &path, json!([{"op": "add", "path": "/code", "value": "ALL"}, {"op": "replace", "path": "/name", "value": "Clinics"}])).await;
    let patched = client.json(&path).await;
    assert_eq!(
        (&patched["code"], &patched["name"]),
        (&json!("ALL"), &json!("Clinics"))
    );
    let half = json!([{"op": "replace", "path": "/name", "value": "x"}, {"op": "remove", "path": "/nothing"}]);
    assert_eq!(
        client.send("PATCH", &path, &half.to_string()).await.status,
        400
    );
    assert_eq!(
        client.json(&path).await["name"],
        "Clinics",
        "all of a patch or nothing"
    );
    let other = json!([{"op": "replace", "path": "/id", "value": "aBcDeFgHiJk"}]);
    assert_eq!(
        client.send("PATCH", &path, &other.to_string()).await.status,
        409
    );

    client.done("DELETE", &path, Value::Null).await;
    for method in ["GET", "PUT", "PATCH", "DELETE"] {
        assert_eq!(
            client.send(method, &path, "{}").await.status,
            404,
            "{method}"
        );
    }
}

#[tokio::test]
async fn references_are_added_to_a_list_and_taken_from_it() {
    let client = Client::new().await;
    client
        .done(
            "POST",
            GROUPS,
            json!({"id": "hvOuGroup01", "name": "Clinics"}),
        )
        .await;
    let list = format!("{GROUPS}/hvOuGroup01/organisationUnits");
    let ids = async || {
        let told = client.json(&format!("{list}?fields=id&order=id")).await;
        let units = told["organisationUnits"].as_array().unwrap().clone();
        units
            .iter()
            .map(|unit| unit["id"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert!(ids().await.is_empty());
    for _ in 0..2 {
        client
            .done("POST", &format!("{list}/hvOuFacil01"), Value::Null)
            .await;
    }
    client
        .done(
            "POST",
            &list,
            json!({"additions": [{"id": "hvOuFacil02"}, {"id": "hvOuRoot001"}]}),
        )
        .await;
    assert_eq!(
        ids().await,
        ["hvOuFacil01", "hvOuFacil02", "hvOuRoot001"],
        "each once"
    );
    let page = client
        .json(&format!("{list}?pageSize=2&page=2&fields=name"))
        .await;
    assert_eq!(
        page["pager"],
        json!({"page": 2, "pageSize": 2, "pageCount": 2, "total": 3})
    );
    assert_eq!(page["organisationUnits"], json!([{"name": "Haverland"}]));
    client
        .done("DELETE", &format!("{list}/hvOuFacil01"), Value::Null)
        .await;
    client
        .done(
            "POST",
            &list,
            json!({"additions": [], "deletions": [{"id": "hvOuRoot001"}]}),
        )
        .await;
    assert_eq!(ids().await, ["hvOuFacil02"]);
    client
        .done(
            "PUT",
            &list,
            json!({"identifiableObjects": [{"id": "hvOuFacil01"}]}),
        )
        .await;
    assert_eq!(ids().await, ["hvOuFacil01"]);
    for (method, path, status) in [
        ("POST", format!("{list}/short"), 400),
        (
            "POST",
            format!("{GROUPS}/hvOuGroup01/nothing/hvOuFacil01"),
            404,
        ),
        ("GET", format!("{GROUPS}/hvOuGroup01/nothing"), 404),
        (
            "POST",
            format!("{GROUPS}/aBcDeFgHiJk/organisationUnits/hvOuFacil01"),
            404,
        ),
        ("PATCH", format!("{list}/hvOuFacil01"), 405),
    ] {
        assert_eq!(
            client.send(method, &path, "{}").await.status,
            status,
            "{method} {path}"
        );
    }
}

#[tokio::test]
async fn who_moves_a_unit_moves_what_is_below_and_with_it_who_sees_what() {
    let client = Client::with_users("").await;
    let units = "/api/organisationUnits";
    // Paths and levels are told from the parents.
    client
        .done(
            "POST",
            units,
            json!({"id": "hvOuWard001", "name": "Ward", "parent": {"id": "hvOuFacil02"}}),
        )
        .await;
    client
        .done(
            "POST",
            units,
            json!({"id": "hvOuBed0001", "name": "Bed", "parent": {"id": "hvOuWard001"}}),
        )
        .await;
    let bed = client
        .json(&format!("{units}/hvOuBed0001?fields=path,level"))
        .await;
    assert_eq!(
        bed,
        json!({"path": "/hvOuRoot001/hvOuFacil02/hvOuWard001/hvOuBed0001", "level": 4})
    );
    let program =
        json!([{"op": "add", "path": "/organisationUnits/-", "value": {"id": "hvOuBed0001"}}]);
    client
        .done("PATCH", "/api/programs/hvProgram01", program)
        .await;
    client.put(family(1, "hvOuBed0001")).await;
    let list = "/api/tracker/trackedEntities?program=hvProgram01";
    assert_eq!(client.user("bob").uids(list).await.len(), 1);
    assert!(client.user("ada").uids(list).await.is_empty());
    let parent = json!([{"op": "replace", "path": "/parent", "value": {"id": "hvOuFacil01"}}]);
    client
        .done("PATCH", &format!("{units}/hvOuWard001"), parent)
        .await;
    let bed = client
        .json(&format!("{units}/hvOuBed0001?fields=path,level"))
        .await;
    assert_eq!(
        bed,
        json!({"path": "/hvOuRoot001/hvOuFacil01/hvOuWard001/hvOuBed0001", "level": 4})
    );
    assert!(client.user("bob").uids(list).await.is_empty());
    assert_eq!(client.user("ada").uids(list).await.len(), 1);
    for (id, parent) in [
        ("hvOuWard001", "hvOuBed0001"),
        ("hvOuWard001", "aBcDeFgHiJk"),
        ("hvOuWard001", "hvOuWard001"),
    ] {
        let wrong = json!([{"op": "replace", "path": "/parent", "value": {"id": parent}}]);
        let told = client
            .send("PATCH", &format!("{units}/{id}"), &wrong.to_string())
            .await;
        assert_eq!(told.status, 409, "{parent}: {}", told.text);
    }
    let told = client
        .send("DELETE", &format!("{units}/hvOuWard001"), "")
        .await;
    assert_eq!(
        told.json()["response"]["errorReports"][0]["errorCode"],
        "E4030",
        "there is a bed in it"
    );
}

#[tokio::test]
async fn only_who_may_publish_changes_metadata() {
    let client = Client::with_users("hvOuRoot001").await;
    let ada = client.user("ada");
    for (method, path) in [
        ("POST", "/api/dataElements"),
        ("PUT", "/api/dataElements/hvDeCases01"),
        ("PATCH", "/api/users/hvUser00ada"),
        ("DELETE", "/api/dataElements/hvDeCases01"),
        (
            "POST",
            "/api/organisationUnitGroups/hvOuGroup01/organisationUnits/hvOuFacil01",
        ),
    ] {
        let told = ada.send(method, path, r#"{"name": "x"}"#).await;
        assert_eq!(told.status, 403, "{method} {path}: {}", told.text);
    }
}

#[tokio::test]
async fn a_long_question_is_asked_by_its_short_address() {
    let client = Client::with_users("").await;
    client.put(family(1, "hvOuFacil01")).await;
    let target = format!(
        "https://any.example/hv/api/41/tracker/trackedEntities?program=hvProgram01&fields=trackedEntity&x={}",
        "y".repeat(10_000)
    );
    let made = client
        .done("POST", "/api/41/query/alias", json!({ "target": target }))
        .await;
    assert_eq!(made["target"], json!(target));
    let href = made["href"].as_str().unwrap();
    assert_eq!(
        client.json(href).await["trackedEntities"],
        json!([{"trackedEntity": "hvTe0000001"}])
    );
    let same = client
        .done("POST", "/api/query/alias", json!({ "target": target }))
        .await;
    assert_eq!(same["id"], made["id"]);
    // It is a question of whoever asks it.
    assert_eq!(
        client.user("bob").json(href).await["trackedEntities"],
        json!([])
    );
    assert_eq!(client.user("mallory").get(href).await.status, 403);
    assert_eq!(client.user("").get(href).await.status, 401);
    assert_eq!(client.send("DELETE", href, "").await.status, 405);
    assert_eq!(client.get("/api/query/alias/none").await.status, 404);
    let told = client
        .post("/api/query/alias/redirect", json!({ "target": target }))
        .await;
    assert_eq!(told.status, 303);
    for target in [
        "",
        "/",
        "https://any.example",
        "/other/me",
        "/api/query/alias/x",
        "/api/41/query/alias",
        "/api/..%2f",
        "/api/me?x=%zz",
    ] {
        let told = client
            .post("/api/query/alias", json!({ "target": target }))
            .await;
        assert_eq!(told.status, 400, "{target}");
    }
}

#[tokio::test]
async fn enrollments_are_listed_by_both_apis_within_the_scope_of_who_asks() {
    let client = Client::with_users("").await;
    for n in 1..=4 {
        client
            .put(family(
                n,
                if n == 2 { "hvOuFacil02" } else { "hvOuFacil01" },
            ))
            .await;
    }
    let mark = client.json("/api/system/info").await["serverDate"]
        .as_str()
        .unwrap()
        .to_owned();
    let done = json!({"enrollments": [{"enrollment": "hvEn0000003", "trackedEntity": "hvTe0000003", "program": "hvProgram01", "orgUnit": "hvOuFacil01",
        "status": "COMPLETED", "enrolledAt": "2026-09-01"}]});
    client.put(done).await;
    let delete = json!({"enrollments": [{"enrollment": "hvEn0000004"}]});
    client.import("importStrategy=DELETE", delete).await;
    let listed = async |client: &Client, path: &str| {
        let told = client.json(path).await;
        let list = told["enrollments"].as_array().unwrap().clone();
        list.iter()
            .map(|one| {
                one["enrollment"].as_str().unwrap()[8..]
                    .parse::<u32>()
                    .unwrap()
            })
            .collect::<Vec<_>>()
    };
    for (more, expected) in [
        ("", vec![3, 2, 1]),
        ("&includeDeleted=true", vec![4, 3, 2, 1]),
        ("&order=createdAt:asc", vec![1, 2, 3]),
        ("&status=COMPLETED", vec![3]),
        ("&enrolledAfter=2026-09-15", vec![2, 1]),
        ("&enrolledBefore=2026-09-15", vec![3]),
        ("&trackedEntity=hvTe0000002", vec![2]),
        ("&enrollments=hvEn0000001,hvEn0000003", vec![1, 3]),
        ("&orgUnits=hvOuFacil02", vec![2]),
        (
            "&orgUnits=hvOuRoot001&orgUnitMode=DESCENDANTS",
            vec![3, 2, 1],
        ),
        ("&trackedEntityType=hvTeType001&pageSize=1&page=2", vec![2]),
        (
            &format!("&updatedAfter={mark}&includeDeleted=true"),
            vec![4, 3],
        ),
    ] {
        assert_eq!(
            listed(
                &client,
                &format!("/api/tracker/enrollments?program=hvProgram01{more}")
            )
            .await,
            expected,
            "{more}"
        );
    }
    for path in [
        "/api/tracker/enrollments",
        "/api/enrollments",
        "/api/enrollments?program=hvProgram01",
        "/api/tracker/enrollments?enrollments=hvEn0000001;hvEn0000002;hvEn0000003",
    ] {
        let mut own = listed(&client.user("ada"), path).await;
        own.sort_unstable();
        assert_eq!(own, [1, 3], "{path}");
        assert_eq!(listed(&client.user("bob"), path).await, [2], "{path}");
    }
    let old = client
        .json("/api/enrollments?ou=hvOuFacil01&programStatus=COMPLETED&lastUpdated=2000-01-01")
        .await;
    assert_eq!(old["enrollments"][0]["enrollmentDate"], "2026-09-01");
    assert_eq!(old["pager"]["total"], 1);
    assert_eq!(
        client
            .get("/api/tracker/enrollments?program=aBcDeFgHiJk")
            .await
            .status,
        400
    );
}
