//! Metadata, who may ask, and what a client asks first.

use serde_json::{Value, json};

use crate::web::{Client, metadata};

#[tokio::test]
async fn a_client_finds_the_server_and_itself() {
    let client = Client::new().await;
    let nobody = client.user("");
    assert_eq!(nobody.get("/api/ping").await.text, "pong");
    assert_eq!(
        nobody.json("/api/loginConfig").await["apiVersion"],
        "2.41.0"
    );
    for path in [
        "/api/system/info",
        "/api/41/system/info.json",
        "/api/system/info?fields=version,serverDate",
    ] {
        assert_eq!(client.json(path).await["version"], "2.41.0", "{path}");
    }
    let me = client
        .json("/api/me?fields=id,username,organisationUnits[id,path],authorities")
        .await;
    assert_eq!(me["username"], "root");
    assert_eq!(
        me["organisationUnits"],
        json!([{"id": "hvOuRoot001", "path": "/hvOuRoot001"}])
    );
    assert_eq!(me["authorities"], json!(["ALL"]));
    assert_eq!(client.json("/api/me/authorization").await, json!(["ALL"]));
    assert_eq!(
        client
            .get("/api/dataStore/ANDROID_SETTINGS_APP/info")
            .await
            .status,
        404
    );
}

#[tokio::test]
async fn who_may_not_is_refused_and_learns_nothing() {
    let client = Client::new().await;
    let nobody = client.user("");
    for path in [
        "/api/me",
        "/api/programs",
        "/api/nothing",
        "/api/system/info",
        "/api/%6De",
    ] {
        assert_eq!(nobody.get(path).await.status, 401, "{path}");
    }
    assert_eq!(
        client.user("mallory").get("/api/programs").await.status,
        403
    );
    assert_eq!(client.user("mallory").get("/api/me").await.status, 403);
    for user in ["eve", "ada"] {
        let told = client
            .user(user)
            .send("POST", "/api/metadata", &metadata())
            .await;
        assert_eq!(told.status, 403, "{user}");
        assert_eq!(told.json()["httpStatus"], "Forbidden");
    }
    let me = client.user("eve").json("/api/me").await;
    assert_eq!(
        (&me["organisationUnits"], &me["authorities"]),
        (&json!([]), &json!([]))
    );
    assert_eq!(
        Client::empty().user("eve").get("/api/me").await.status,
        403,
        "only an administrator makes the instance"
    );
}

#[tokio::test]
async fn a_user_has_the_scope_and_the_roles_of_its_object() {
    let client = Client::new().await;
    let users = json!({
        "userRoles": [{"id": "hvRole00001", "name": "Nurse", "authorities": ["F_TEI_CASCADE_DELETE"]}],
        "users": [{"id": "hvUser00ada", "username": "ada", "firstName": "Ada", "userRoles": [{"id": "hvRole00001"}],
            "organisationUnits": [{"id": "hvOuFacil01"}], "teiSearchOrganisationUnits": [{"id": "hvOuRoot001"}]}]
    });
    assert_eq!(client.post("/api/metadata", users).await.status, 200);
    let me = client.user("ada").json("/api/me").await;
    assert_eq!(me["id"], "hvUser00ada");
    assert_eq!(me["firstName"], "Ada");
    assert_eq!(
        me["organisationUnits"][0]["path"],
        "/hvOuRoot001/hvOuFacil01"
    );
    assert_eq!(
        client.user("ada").json("/api/me/authorization").await,
        json!(["F_TEI_CASCADE_DELETE"])
    );
}

#[tokio::test]
async fn metadata_is_listed_page_by_page_filtered_and_projected() {
    let client = Client::new().await;
    let page = client
        .json("/api/organisationUnits?pageSize=2&order=id:asc&fields=id,parent[id,name]")
        .await;
    assert_eq!(
        page["pager"],
        json!({"page": 1, "pageSize": 2, "pageCount": 2, "total": 3})
    );
    assert_eq!(
        page["organisationUnits"][0],
        json!({"id": "hvOuFacil01", "parent": {"id": "hvOuRoot001", "name": "Haverland"}})
    );
    let all = client
        .json("/api/organisationUnits?paging=false&filter=path:like:hvOuRoot001&fields=id")
        .await;
    assert_eq!(all.get("pager"), None);
    assert_eq!(all["organisationUnits"].as_array().unwrap().len(), 3);
    let programs = client
        .json("/api/programs?filter=id:in:[hvProgram01,other]&filter=access.data.read:eq:true&fields=id,programStages[id,name,programStageDataElements[dataElement[valueType]]]&paging=false")
        .await;
    assert_eq!(
        programs["programs"],
        json!([{"id": "hvProgram01", "programStages": [{"id": "hvStage0001", "name": "Visit",
            "programStageDataElements": [{"dataElement": {"valueType": "NUMBER"}}]}]}])
    );
    let stages = client.json("/api/programStages?filter=program.id:in:[hvEventPrg1]&fields=:identifiable&paging=false").await;
    assert_eq!(stages["programStages"][0]["name"], "Form");
    let one = client
        .json("/api/programs/hvProgram01.json?fields=id,name")
        .await;
    assert_eq!(one, json!({"id": "hvProgram01", "name": "Follow-up"}));
    assert_eq!(client.get("/api/programs/aBcDeFgHiJk").await.status, 404);
    let or = client.json("/api/organisationUnits?rootJunction=OR&filter=code:eq:HVF1&filter=code:eq:HVF2&fields=id").await;
    assert_eq!(or["organisationUnits"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn what_cannot_be_read_is_a_bad_request() {
    let client = Client::new().await;
    for path in [
        "/api/programs?fields=id[",
        "/api/programs?filter=id;drop%20table:eq:1",
        "/api/programs?filter=id:within:1",
        "/api/programs?order=name%27:asc",
        "/api/programs?page=0",
        "/api/programs?pageSize=many",
        "/api/programs?page=18446744073709551616",
        "/api/programs?fields=%ff",
    ] {
        let told = client.get(path).await;
        assert_eq!(told.status, 400, "{path}: {}", told.text);
        assert_eq!(told.json()["httpStatusCode"], 400, "{path}");
    }
    let far = client
        .json("/api/programs?page=18446744073709551615&pageSize=18446744073709551615")
        .await;
    assert_eq!(far["programs"], json!([]));
    for body in [
        "",
        "[]",
        "{\"programs\":[],\"programs\":[]}",
        "{\"programs\":",
    ] {
        assert_eq!(
            client.send("POST", "/api/metadata", body).await.status,
            400,
            "{body}"
        );
    }
    assert_eq!(client.send("DELETE", "/api/programs", "").await.status, 405);
    assert_eq!(client.get("/api/sqlViews").await.status, 404);
}

#[tokio::test]
async fn one_object_that_is_refused_keeps_all_others_out_unless_asked_otherwise() {
    let client = Client::new().await;
    let body = json!({"constants": [{"id": "hvConstant1", "value": 1}, {"id": "short", "value": 2}],
        "trackedEntityAttributes": [{"id": "hvAttrBad01", "generated": true, "pattern": "RANDOM("}]});
    let told = client.post("/api/metadata", body.clone()).await;
    assert_eq!(told.status, 409);
    let response = told.json()["response"].clone();
    assert_eq!(response["status"], "ERROR");
    assert_eq!(
        response["stats"],
        json!({"created": 0, "updated": 0, "deleted": 0, "ignored": 3, "total": 3})
    );
    let codes: Vec<&Value> = response["typeReports"]
        .as_array()
        .unwrap()
        .iter()
        .map(|report| &report["objectReports"][0]["errorReports"][0]["errorCode"])
        .collect();
    assert_eq!(codes, ["E4014", "E4000"]);
    assert_eq!(client.get("/api/constants/hvConstant1").await.status, 404);
    let told = client.post("/api/metadata?atomicMode=NONE", body).await;
    assert_eq!(told.json()["response"]["stats"]["created"], 1);
    assert_eq!(client.get("/api/constants/hvConstant1").await.status, 200);
}

#[tokio::test]
async fn the_strategy_decides_what_is_done_and_loading_again_changes_nothing() {
    let client = Client::new().await;
    let before = client.json("/api/programs/hvProgram01").await;
    let again = client
        .send("POST", "/api/metadata", &metadata())
        .await
        .json();
    assert_eq!(again["response"]["stats"]["created"], 0);
    assert_eq!(
        client.json("/api/programs/hvProgram01").await,
        before,
        "not even its date"
    );
    let constant = || json!({"constants": [{"id": "hvConstant1", "name": "Pi", "value": 3}]});
    let with = async |strategy: &str| {
        let told = client
            .post(
                &format!("/api/metadata?importStrategy={strategy}"),
                constant(),
            )
            .await;
        let stats = told.json()["response"]["stats"].clone();
        (
            told.status,
            stats["created"].clone(),
            stats["updated"].clone(),
            stats["deleted"].clone(),
        )
    };
    assert_eq!(with("UPDATE").await.0, 409);
    assert_eq!(with("CREATE").await, (200, json!(1), json!(0), json!(0)));
    assert_eq!(with("CREATE").await.0, 409);
    assert_eq!(with("UPDATE").await, (200, json!(0), json!(1), json!(0)));
    assert_eq!(with("DELETE").await, (200, json!(0), json!(0), json!(1)));
    assert_eq!(with("NOTHING").await.0, 400);
    client
        .post("/api/metadata?importMode=VALIDATE", constant())
        .await;
    assert_eq!(client.get("/api/constants/hvConstant1").await.status, 404);
}

#[tokio::test]
async fn the_server_date_moves_past_every_change() {
    let client = Client::new().await;
    let mut last = String::new();
    for value in 0..3 {
        let date = client.json("/api/system/info").await["serverDate"]
            .as_str()
            .unwrap()
            .to_owned();
        assert!(date > last);
        let body = json!({"constants": [{"id": "hvConstant1", "value": value}]});
        assert_eq!(client.post("/api/metadata", body).await.status, 200);
        let changed = client.json("/api/constants/hvConstant1").await;
        let changed = changed["lastUpdated"].as_str().unwrap();
        assert!(changed >= date.as_str(), "{changed} {date}");
        last = date;
    }
}

#[tokio::test]
async fn metadata_that_is_kept_between_requests_is_never_older_than_what_is_stored() {
    let client = Client::with_users("hvOuRoot001").await;
    client.put(crate::tracker::family(1, "hvOuFacil01")).await;
    let list = "/api/tracker/trackedEntities?program=hvProgram01";
    let mut program = client.json("/api/programs/hvProgram01").await;
    // Somebody reads all the time, from before to after each change.
    let reader = client.user("bob");
    let reading = tokio::spawn(async move {
        for _ in 0..40 {
            let told = reader.get(list).await;
            assert!(matches!(told.status, 200 | 400), "{}", told.text);
        }
    });
    for n in 0..10 {
        let is_open = n % 2 == 0;
        program["accessLevel"] = json!(if is_open { "OPEN" } else { "CLOSED" });
        let told = client
            .post("/api/metadata", json!({"programs": [program]}))
            .await;
        assert_eq!(told.status, 200, "{}", told.text);
        assert_eq!(
            client.user("bob").uids(list).await.len(),
            usize::from(is_open),
            "{n}"
        );
        // Writes of other things do not bring an old state back.
        client
            .put(crate::tracker::family(2 + n, "hvOuFacil02"))
            .await;
        let delete = format!(
            r#"{{"trackedEntities": [{{"trackedEntity": "hvTe{:07}"}}]}}"#,
            2 + n
        );
        client
            .send(
                "POST",
                "/api/tracker?async=false&importStrategy=DELETE",
                &delete,
            )
            .await;
        assert_eq!(
            client.user("bob").uids(list).await.len(),
            usize::from(is_open),
            "{n}"
        );
    }
    reading.await.unwrap();
    // What is deleted is gone at once as well: a role with its authorities, and a program.
    let role =
        json!({"userRoles": [{"id": "hvRole00001", "authorities": ["F_TEI_CASCADE_DELETE"]}]});
    client.post("/api/metadata", role.clone()).await;
    assert_eq!(
        client.user("ada").json("/api/me/authorization").await,
        json!(["F_TEI_CASCADE_DELETE"])
    );
    client
        .post("/api/metadata?importStrategy=DELETE", role)
        .await;
    assert_eq!(
        client.user("ada").json("/api/me/authorization").await,
        json!([])
    );
    client
        .post(
            "/api/metadata?importStrategy=DELETE",
            json!({"programs": [{"id": "hvProgram01"}]}),
        )
        .await;
    assert_eq!(client.get(list).await.status, 400);
}

#[tokio::test]
async fn objects_are_found_without_their_type_and_levels_are_those_that_units_have() {
    let client = Client::new().await;
    let found = client
        .json("/api/identifiableObjects/hvDeCases01?fields=id,name")
        .await;
    assert_eq!(found, json!({"id": "hvDeCases01", "name": "Cases"}));
    let none = client.get("/api/identifiableObjects/aBcDeFgHiJk").await;
    assert_eq!(none.status, 404);
    let levels = client.json("/api/filledOrganisationUnitLevels").await;
    let numbers: Vec<&Value> = levels
        .as_array()
        .unwrap()
        .iter()
        .map(|l| &l["level"])
        .collect();
    assert_eq!(numbers, [1, 2]);
    assert!(
        levels
            .as_array()
            .unwrap()
            .iter()
            .all(|l| l["name"].is_string()),
        "{levels}"
    );
    let boards = json!({"dashboards": [{"id": "hvDashbrd01", "name": "All"}]});
    assert_eq!(client.post("/api/metadata", boards).await.status, 200);
    let told = client.json("/api/dashboards?fields=id").await;
    assert_eq!(told["dashboards"], json!([{"id": "hvDashbrd01"}]));
}

#[tokio::test]
async fn fields_without_a_comma_after_a_bracket_are_read_as_with_it() {
    let client = Client::new().await;
    let told = client
        .json("/api/dataSets/hvDataSet01?fields=organisationUnits[id]name")
        .await;
    assert_eq!(told["name"], "Monthly cases");
    assert_eq!(told["organisationUnits"][0]["id"], "hvOuFacil01");
    for wrong in [
        "name]",
        "organisationUnits[id]]",
        "organisationUnits[id][id]",
    ] {
        let told = client
            .get(&format!("/api/dataSets/hvDataSet01?fields={wrong}"))
            .await;
        assert_eq!(told.status, 400, "{wrong}");
    }
}

#[tokio::test]
async fn what_the_sdk_asks_of_metadata_in_ways_of_its_own_is_answered() {
    let client = Client::new().await;
    let rule = |id: &str, left: &str, right: &str| json!({"id": id, "name": id, "operator": "equal_to", "leftSide": {"expression": left}, "rightSide": {"expression": right}});
    let more = json!({
        "categoryOptions": [{"id": "hvCatOptNor", "name": "North alone", "organisationUnits": [{"id": "hvOuFacil01"}]}],
        "validationRules": [rule("hvRule00001", "#{hvDeCases01}", "#{hvDeCases01.hvCatOptCb1} + 1"), rule("hvRule00002", "#{hvDeCases01}", "#{hvDeWeight1}"), rule("hvRule00003", "1", "2")],
    });
    assert_eq!(client.post("/api/metadata", more).await.status, 200);
    let units = client
        .json("/api/categoryOptions/orgUnits?categoryOptions=hvCatOptNor,hvCatOption,aBcDeFgHiJk")
        .await;
    assert_eq!(
        units,
        json!({"hvCatOptNor": ["hvOuFacil01"], "hvCatOption": []})
    );
    assert_eq!(
        client
            .get("/api/categoryOptions/orgUnits?categoryOptions=x")
            .await
            .status,
        400
    );
    let rules = client
        .json("/api/validationRules?dataSet=hvDataSet01&fields=id")
        .await;
    assert_eq!(rules["validationRules"], json!([{"id": "hvRule00001"}]));
    assert_eq!(
        client
            .get("/api/validationRules?dataSet=aBcDeFgHiJk")
            .await
            .status,
        404
    );
    assert_eq!(
        client
            .json("/api/dataApprovals/multiple?wf=a&pe=202601&ou=hvOuFacil01&aoc=hvCatOptCb1")
            .await,
        json!([])
    );
}

#[tokio::test]
async fn outlines_of_units_are_told_as_geojson() {
    let client = Client::new().await;
    let mut unit = client.json("/api/organisationUnits/hvOuFacil01").await;
    unit["geometry"] = json!({"type": "Point", "coordinates": [-11.5, 8.25]});
    assert_eq!(
        client
            .post("/api/metadata", json!({"organisationUnits": [unit]}))
            .await
            .status,
        200
    );
    let one = client
        .json("/api/organisationUnits/hvOuFacil01.geojson")
        .await;
    assert_eq!(
        (&one["type"], &one["geometry"]["coordinates"]),
        (&json!("Feature"), &json!([-11.5, 8.25]))
    );
    for (path, count) in [
        ("", 1),
        ("?level=2", 1),
        ("?level=1", 0),
        ("?level=1,2&parent=hvOuRoot001", 1),
        ("?parent=hvOuFacil01", 0),
    ] {
        let all = client
            .json(&format!("/api/organisationUnits.geojson{path}"))
            .await;
        assert_eq!(all["features"].as_array().unwrap().len(), count, "{path}");
    }
    assert_eq!(
        client
            .get("/api/organisationUnits.geojson?level=x")
            .await
            .status,
        400
    );
    assert_eq!(
        client
            .get("/api/organisationUnits/aBcDeFgHiJk.geojson")
            .await
            .status,
        404
    );
}

/// What a host holds (stores, folders, locks) ends with it, whatever was mounted on it.
#[tokio::test]
async fn a_host_that_is_let_go_is_not_held_by_the_face() {
    let client = Client::new().await;
    let host = std::sync::Arc::downgrade(&client.host);
    assert!(host.upgrade().is_some());
    drop(client);
    assert!(host.upgrade().is_none());
}
