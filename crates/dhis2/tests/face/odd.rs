//! Odd requests: every method at every address with values that nobody expects. What comes back is the dialect's refusal, and the server goes on.

use serde_json::{Value, json};

use crate::tracker::family;
use crate::web::{Client, Told};

/// Every address; `{}` is where a uid or a name goes.
#[rustfmt::skip]
const ROUTES: [&str; 64] = [
    "", "{}", "ping", "loginConfig", "system/info", "me", "me/authorization", "userSettings", "systemSettings", "dataStore", "dataStore/{}",
    "dataStore/{}/{}", "dataValueSets", "dataValues", "dataValues/files", "fileResources", "fileResources/{}", "fileResources/{}/data",
    "completeDataSetRegistrations", "metadata", "query/alias", "query/alias/redirect", "query/alias/{}", "trackedEntityAttributes/{}/generate",
    "trackedEntityAttributes/{}/generateAndReserve", "trackedEntityAttributes/{}/requiredValues", "tracker", "tracker/ownership/override",
    "tracker/ownership/transfer", "tracker/ownership/{}", "tracker/jobs", "tracker/jobs/{}", "tracker/jobs/{}/report", "tracker/trackedEntities",
    "tracker/trackedEntities/{}", "tracker/trackedEntities/{}/attributes/{}/file", "tracker/enrollments", "tracker/enrollments/{}", "tracker/events",
    "tracker/events/{}", "tracker/events/{}/dataValues/{}/image", "tracker/relationships", "tracker/relationships/{}", "trackedEntityInstances",
    "trackedEntityInstances/{}", "trackedEntityInstances/{}/{}/image", "enrollments", "enrollments/{}", "events", "events/{}", "events/files",
    "relationships", "relationships/{}", "programs", "programs/{}", "programs/{}/organisationUnits", "programs/{}/organisationUnits/{}", "users",
    "users/{}", "organisationUnits", "organisationUnits/{}", "dataElements/{}/{}", "options", "41/tracker/{}/{}",
];

const METHODS: [&str; 7] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];

/// Every parameter that some operation reads.
#[rustfmt::skip]
const PARAMETERS: [&str; 40] = [
    "fields", "filter", "order", "page", "pageSize", "paging", "totalPages", "program", "programStage", "trackedEntityType", "orgUnit", "ouMode",
    "trackedEntities", "trackedEntity", "enrollments", "events", "updatedAfter", "lastUpdated", "startDate", "endDate", "occurredAfter",
    "enrolledAfter", "status", "programStatus", "followUp", "includeDeleted", "importStrategy", "atomicMode", "async", "numberToReserve",
    "expiration", "ORG_UNIT_CODE", "dataSet", "period", "children", "de", "pe", "ou", "reason", "domain",
];

/// Texts that a uid, a name, a number or a list is replaced by.
fn odd() -> Vec<String> {
    let mut odd: Vec<String> = [
        "",
        "'",
        "\"",
        "' OR 1=1; DROP TABLE trackedEntities; --",
        "0",
        "-1",
        "1e9",
        "18446744073709551615",
        "18446744073709551616",
        "NaN",
        "null",
        "*",
        "[",
        "]]",
        ":",
        "a:in:[",
        "a:in:[]",
        "a:like:%",
        "!",
        "!!null",
        ":all,!*",
        "🦠",
        "\u{202e}x",
        "aBcDeFgHiJk",
        "hvTe0000001",
        "hvOuRoot001;hvOuRoot001",
        ",;,",
        "0000-00-00",
        "9999-12-31T23:59:59.999Z",
        "-262144-01-01",
        "99999W99",
        "true",
        "DESCENDANTS",
        "name:desc,id:asc",
        "hvAttrName1:eq:x",
        " ",
        "\u{1}",
    ]
    .map(str::to_owned)
    .to_vec();
    odd.push("x".repeat(3000));
    odd.push("a[".repeat(2000));
    odd.push("a.".repeat(1000) + "b:eq:1");
    odd
}

/// Bodies that are no payloads, or nearly.
fn bodies() -> Vec<String> {
    let mut bodies: Vec<String> = [
        "",
        "null",
        "1",
        "[]",
        "{}",
        "{\"a\":",
        "\u{0}",
        "[1]",
        "{\"target\":1}",
        "[{\"op\":\"add\",\"path\":\"/-/-/-\"}]",
    ]
    .map(str::to_owned)
    .to_vec();
    for name in [
        "trackedEntities",
        "enrollments",
        "events",
        "relationships",
        "trackedEntityInstances",
        "dataValues",
        "completeDataSetRegistrations",
        "programs",
        "organisationUnits",
        "users",
        "additions",
    ] {
        for value in [
            json!(1),
            json!({}),
            json!([null]),
            json!([1, "x"]),
            json!([{}]),
            json!([{"id": 1}]),
            json!([{"trackedEntity": [], "event": {}, "attributes": 3}]),
        ] {
            bodies.push(json!({ name: value }).to_string());
        }
    }
    let nested = json!([{"trackedEntity": "hvTe0000001", "trackedEntityType": "hvTeType001", "attributes": [{}], "enrollments": [{"events": [{"dataValues": [{}]}]}]}]);
    bodies.push(json!({ "trackedEntities": nested }).to_string());
    let dates = json!([{"event": "hvEv0000001", "programStage": "hvStage0001", "orgUnit": "hvOuFacil01", "enrollment": "hvEn0000001", "status": "COMPLETED",
        "occurredAt": "-009999-01-01T00:00:00Z", "completedAt": "9999-12-31T23:59:59.999999999+14:00", "geometry": {"type": "Point", "coordinates": "x"}}]);
    bodies.push(json!({ "events": dates }).to_string());
    bodies.push("[".repeat(20_000));
    bodies.push("{\"a\":".repeat(20_000));
    bodies
}

fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| {
            if byte.is_ascii_alphanumeric() {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}

/// Nothing failed, and what is refused is refused in the words of the dialect.
fn check(what: &str, method: &str, told: &Told) {
    let shown: String = what.chars().take(300).collect();
    assert!(told.status < 500, "{shown}: {} {}", told.status, told.text);
    if told.status >= 400 && method != "HEAD" {
        let body: Value = serde_json::from_str(&told.text)
            .unwrap_or_else(|_| panic!("{shown}: no JSON: {}", told.text));
        let is_refusal = body["httpStatusCode"] == told.status && body["message"].is_string();
        let is_report = body["validationReport"].is_object();
        assert!(
            is_refusal || is_report,
            "{shown}: {} {}",
            told.status,
            told.text
        );
    }
}

#[tokio::test]
async fn no_method_at_no_address_with_no_value_makes_the_server_fail() {
    let client = Client::with_users("hvOuRoot001").await;
    client.put(family(1, "hvOuFacil01")).await;
    let (odd, bodies) = (odd(), bodies());
    let (mut turn, mut asked) = (0, 0);
    let mut next = |of: &[String]| -> String {
        turn += 7;
        of[turn % of.len()].clone()
    };
    for route in ROUTES {
        for method in METHODS {
            for n in 0..5 {
                let mut path = format!("/api/{route}");
                while path.contains("{}") {
                    path = path.replacen("{}", &encoded(&next(&odd)), 1);
                }
                // Each parameter by itself makes some operations go further than all at once.
                asked += 11;
                let start = asked % PARAMETERS.len();
                let count = [0, 1, 2, 5, PARAMETERS.len()][n];
                let parameters = PARAMETERS.iter().cycle().skip(start).take(count);
                let query: Vec<String> = parameters
                    .map(|name| format!("{name}={}", encoded(&next(&odd))))
                    .collect();
                let path = format!("{path}?{}", query.join("&"));
                let body = if method == "GET" || method == "HEAD" {
                    String::new()
                } else {
                    next(&bodies)
                };
                let user = if n % 2 == 0 { "root" } else { "ada" };
                let told = client.user(user).send(method, &path, &body).await;
                check(&format!("{method} {path} {body}"), method, &told);
            }
        }
    }
    assert_eq!(client.get("/api/ping").await.text, "pong");
}

#[tokio::test]
async fn every_parameter_of_every_list_takes_or_refuses_every_odd_value() {
    let client = Client::with_users("hvOuRoot001").await;
    client.put(family(1, "hvOuFacil01")).await;
    let odd = odd();
    for (list, usual) in [
        ("tracker/trackedEntities", "program=hvProgram01"),
        ("tracker/enrollments", "program=hvProgram01"),
        ("tracker/events", "program=hvProgram01"),
        ("trackedEntityInstances", "trackedEntityType=hvTeType001"),
        (
            "dataValueSets",
            "dataSet=hvDataSet01&orgUnit=hvOuRoot001&children=true&lastUpdated=2000-01-01",
        ),
        ("organisationUnits", "fields=id"),
    ] {
        for (at, name) in PARAMETERS.iter().enumerate() {
            for value in odd.iter().skip(at % 3).step_by(3) {
                let path = format!("/api/{list}?{name}={}&{usual}", encoded(value));
                check(&path, "GET", &client.get(&path).await);
            }
        }
    }
}

#[tokio::test]
async fn odd_texts_in_records_come_back_as_they_were_sent() {
    let client = Client::new().await;
    let mut texts = odd();
    texts.retain(|text| !text.is_empty() && text.len() <= 1200);
    for (n, text) in (1..).zip(&texts) {
        let mut one = family(n, "hvOuFacil01");
        one["trackedEntities"][0]["attributes"][0]["value"] = json!(text);
        one["trackedEntities"][0]["enrollments"][0]["attributes"][0]["value"] = json!(text);
        client.put(one).await;
        let told = client
            .json(&format!("/api/tracker/trackedEntities/hvTe{n:07}"))
            .await;
        assert_eq!(told["attributes"][0]["value"], json!(text));
        let path = format!(
            "/api/tracker/trackedEntities?program=hvProgram01&filter=hvAttrName1:eq:{}",
            encoded(text)
        );
        assert_eq!(
            client.uids(&path).await,
            [format!("hvTe{n:07}")],
            "{text:?}"
        );
    }
}

#[tokio::test]
async fn pages_of_any_size_and_number_are_given_or_refused() {
    let client = Client::new().await;
    client.put(family(1, "hvOuFacil01")).await;
    for (size, page, status) in [
        ("1", "1", 200),
        ("5000", "1", 200),
        ("5001", "1", 400),
        ("18446744073709551615", "1", 400),
        ("5000", "18446744073709551615", 200),
        ("0", "1", 400),
        ("1", "0", 400),
        ("-1", "1", 400),
        ("1.5", "1", 400),
        ("1", "1%20", 400),
    ] {
        for list in [
            "tracker/trackedEntities?program=hvProgram01",
            "tracker/events?program=hvProgram01",
            "tracker/enrollments?program=hvProgram01",
        ] {
            let told = client
                .get(&format!("/api/{list}&pageSize={size}&page={page}"))
                .await;
            assert_eq!(told.status, status, "{list} {size} {page}: {}", told.text);
        }
        let told = client
            .get(&format!("/api/programs?pageSize={size}&page={page}"))
            .await;
        assert!(told.status < 500, "{size} {page}: {}", told.text);
    }
}

#[tokio::test]
async fn what_other_servers_have_and_this_one_does_not_is_said_in_words() {
    let root = Client::new().await;
    for (path, word) in [
        ("sharing?type=program&id=hvProgram01", "the member sharing"),
        ("analytics?dimension=dx:hvDeCases01", "no analytics"),
        ("analytics/events/query/hvEventPrg1", "no analytics"),
        ("userDataStore/app/key", "keep them in dataStore"),
        ("dataStore/app/key/metaData", "leave out metaData"),
        ("me/authorization/F_USER_VIEW", "ask me/authorization"),
        ("me/changePassword", "its administrator"),
        ("me/password", "its administrator"),
        ("userSettings/keyUiLocale", "ask userSettings"),
        ("systemSettings/keyFlag", "systemSettings?key="),
        ("dataApprovals?ds=a", "dataApprovals/multiple"),
        ("dataApprovals/approvals", "no approvals"),
        ("tracker/events/hvEv0000001/changeLogs", "updatedAt"),
        ("tracker/enrollments/hvEn0000001/note", "in notes"),
        ("enrollments/hvEn0000001/note", "in notes"),
        ("events/hvEv0000001/note", "in notes"),
        ("enrollments/hvEn0000001/completed", "new status"),
        ("enrollments/hvEn0000001/cancelled", "new status"),
        ("trackedEntityInstances/query", "ask trackedEntityInstances"),
        ("events/query.json", "ask events itself"),
        ("tracker/events.csv", "ask tracker/events"),
        (
            "41/tracker/trackedEntities.csv",
            "ask tracker/trackedEntities",
        ),
        ("messageConversations", "COMPAT.md"),
        ("tracker/nothing", "COMPAT.md"),
        ("tracker/jobs/a/b/c", "COMPAT.md"),
        ("fileResources/a/b/c", "COMPAT.md"),
        ("programs/a/b/c/d", "COMPAT.md"),
    ] {
        let told = root.get(&format!("/api/{path}")).await;
        assert_eq!(told.status, 404, "{path}");
        let message = told.json()["message"].clone();
        assert!(
            message.as_str().unwrap().contains(word),
            "{path}: {message}"
        );
        // Who is nobody learns no addresses.
        let nobody = root.user("").get(&format!("/api/{path}")).await;
        assert_eq!(nobody.status, 401, "{path}");
    }
    for query in ["fields=.", "filter=a:eq:1"] {
        let told = root.get(&format!("/api/dataStore/app?{query}")).await;
        assert_eq!(told.status, 400, "{query}");
        assert!(told.text.contains("ask for each"), "{}", told.text);
    }
}
