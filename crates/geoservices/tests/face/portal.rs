//! The portal part: login in its ways, search, items.

use axum::body::Body;
use http::header;
use serde_json::{Value, json};

use crate::host::PASSWORD;
use crate::web::{Client, SERVICE, code, form, json as answer_of, path_of};

const SHARING: &str = "/arcgis/sharing/rest";

#[tokio::test]
async fn info_names_the_place_of_tokens_and_the_owning_system() {
    let client = Client::new();
    for path in [
        "/arcgis/info",
        "/arcgis/rest/info",
        "/arcgis/sharing/rest/info",
    ] {
        let info = client.get(&format!("{path}?f=json")).await;
        assert_eq!(
            info["owningSystemUrl"], "http://server.example:8443/arcgis",
            "{path}"
        );
        let tokens = path_of(&info["authInfo"]["tokenServicesUrl"]);
        assert_eq!(tokens, "/arcgis/sharing/rest/generateToken");
    }
    let root = client.get(&format!("{SHARING}?f=json")).await;
    assert_eq!(root["currentVersion"], "11.3");
}

#[tokio::test]
async fn a_password_gives_a_token_and_a_token_another() {
    let client = Client::new();
    let path = format!("{SHARING}/generateToken");
    let login = [("username", "ada"), ("password", PASSWORD), ("f", "json")];
    let answer = client.post_to(&path, &login).await;
    let token = answer["token"].as_str().unwrap();
    assert!(answer["expires"].as_i64().unwrap() > 0);
    let own = client
        .get(&format!("{SHARING}/portals/self?f=json&token={token}"))
        .await;
    assert_eq!(own["user"]["username"], "ada");
    let exchange = [
        ("token", token),
        ("serverUrl", "https://server.example/arcgis"),
        ("f", "json"),
    ];
    let other = client.post_to(&path, &exchange).await;
    assert_ne!(other["token"].as_str().unwrap(), token);
}

#[tokio::test]
async fn a_token_is_bound_as_asked_and_what_is_made_of_it_likewise() {
    let client = Client::new();
    let path = format!("{SHARING}/generateToken");
    let login = [("username", "ada"), ("password", PASSWORD), ("f", "json")];
    let bound = [
        ("client", "referer"),
        ("referer", "https://maps.example/app"),
    ];
    let token = client.post_to(&path, &[&login[..], &bound].concat()).await["token"].clone();
    let exchanged = client
        .post_to(&path, &[("token", token.as_str().unwrap()), ("f", "json")])
        .await["token"]
        .clone();
    let code_exchange = [
        ("grant_type", "authorization_code"),
        ("code", token.as_str().unwrap()),
    ];
    let redeemed = client
        .post_to(&format!("{SHARING}/oauth2/token"), &code_exchange)
        .await["access_token"]
        .clone();
    for (referer, expected) in [
        (Some("https://maps.example/other"), 0),
        (Some("https://evil.example/"), 498),
        (None, 0),
    ] {
        for token in [&exchanged, &redeemed] {
            let path = format!("{SHARING}/community/self?f=json");
            let mut request = client.request("GET", &path);
            let bearer = format!("Bearer {}", token.as_str().unwrap());
            request = request.header("X-Esri-Authorization", bearer);
            if let Some(referer) = referer {
                request = request.header("Referer", referer);
            }
            let request = request.body(Body::empty()).unwrap();
            let answer = answer_of(client.send(request).await).await;
            assert_eq!(
                answer["error"]["code"].as_i64().unwrap_or(0),
                expected,
                "{referer:?}: {answer}"
            );
        }
    }
    let nowhere = client
        .post_to(&path, &[&login[..], &bound[..1]].concat())
        .await;
    assert_eq!(nowhere["error"]["details"][0], "'referer': is required");
    let odd = [("client", "moon")];
    let odd = client.post_to(&path, &[&login[..], &odd].concat()).await;
    assert!(odd.to_string().contains("'client'"), "{odd}");
}

#[tokio::test]
async fn a_wrong_password_an_unknown_user_and_haste_are_refused() {
    let client = Client::new();
    let path = format!("{SHARING}/generateToken");
    let wrong = client
        .post_to(&path, &[("username", "ada"), ("password", "no")])
        .await;
    let unknown = client
        .post_to(&path, &[("username", "nobody"), ("password", "no")])
        .await;
    assert_eq!(wrong, unknown);
    assert_eq!(code(&wrong), 400);
    let hasty = client
        .post_to(&path, &[("username", "hasty"), ("password", "no")])
        .await;
    assert_eq!(code(&hasty), 429);
    let in_url = client
        .get(&format!("{path}?username=ada&password={PASSWORD}&f=json"))
        .await;
    assert_eq!(code(&in_url), 405);
    let nothing = client.post_to(&path, &[("f", "json")]).await;
    assert!(nothing.to_string().contains("'username'"));
    let stale = client
        .post_to(&path, &[("token", "stale"), ("f", "json")])
        .await;
    assert!(stale.to_string().contains("'username'"));
}

/// The page of step 1 and the state in it, found as the Python client finds it.
async fn authorize(client: &Client, redirect_uri: &str, kind: &str) -> (String, Option<String>) {
    let query = form(&[
        ("response_type", kind),
        ("client_id", "pythonapi"),
        ("redirect_uri", redirect_uri),
        ("state", "s-1"),
    ]);
    let (_, page) = client
        .fetch(&format!("{SHARING}/oauth2/authorize?{query}"))
        .await;
    let page = String::from_utf8(page).unwrap();
    let line = page
        .lines()
        .find(|line| line.contains("oauth_state") && line.contains("var "));
    let state = line.map(|line| {
        let object = &line[line.find('{').unwrap()..=line.rfind('}').unwrap()];
        let object: Value = serde_json::from_str(object).unwrap();
        object["oauth_state"].as_str().unwrap().to_owned()
    });
    (page, state)
}

async fn sign_in(client: &Client, state: &str, password: &str) -> (http::response::Parts, String) {
    let body = form(&[
        ("oauth_state", state),
        ("username", "ada"),
        ("password", password),
    ]);
    let request = client
        .request("POST", "/arcgis/sharing/oauth2/signin")
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Body::from(body))
        .unwrap();
    let (parts, body) = client.raw(request).await;
    (parts, String::from_utf8(body).unwrap())
}

#[tokio::test]
async fn the_form_leads_back_with_a_token_in_the_fragment() {
    let client = Client::new();
    let (_, state) = authorize(&client, "https://server.example:8443", "token").await;
    let (parts, _) = sign_in(&client, &state.unwrap(), PASSWORD).await;
    assert_eq!(parts.status, 302);
    let target = parts.headers[header::LOCATION].to_str().unwrap();
    let fragment = target.strip_prefix("https://server.example:8443#").unwrap();
    let value = |name: &str| {
        let pair = fragment
            .split('&')
            .find_map(|pair| pair.strip_prefix(&format!("{name}=")));
        pair.unwrap().to_owned()
    };
    assert_eq!(
        (value("state"), value("username"), value("ssl")),
        ("s-1".into(), "ada".into(), "true".into())
    );
    let token = value("access_token");
    let own = client
        .get(&format!("{SHARING}/community/self?f=json&token={token}"))
        .await;
    assert_eq!(own["username"], "ada");
}

#[tokio::test]
async fn a_wrong_password_on_the_form_says_so_as_the_client_expects() {
    let client = Client::new();
    let (_, state) = authorize(&client, "https://server.example:8443", "token").await;
    let (parts, page) = sign_in(&client, &state.unwrap(), "no").await;
    assert_eq!(parts.status, 200);
    assert!(page.contains("OAUTH_0015") && page.contains("Invalid username or password."));
}

#[tokio::test]
async fn a_token_is_never_carried_to_a_stranger() {
    let client = Client::new();
    for stranger in [
        "https://evil.example",
        "https://server.example:8443@evil.example",
        "https://server.example:8443.evil.example",
        "javascript:alert(1)",
        "",
    ] {
        let (page, state) = authorize(&client, stranger, "token").await;
        assert!(
            page.contains("Invalid redirect_uri") && state.is_none(),
            "{stranger}"
        );
    }
    // The state is not signed: what it holds is checked again.
    let (_, state) = authorize(&client, "https://server.example:8443", "token").await;
    let forged = base64_of(&json!(["https://evil.example", "s", false]).to_string());
    assert_ne!(Some(&forged), state.as_ref());
    let (parts, body) = sign_in(&client, &forged, PASSWORD).await;
    assert_eq!(parts.status, 200);
    assert!(body.contains("'oauth_state'"), "{body}");
}

fn base64_of(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text)
}

#[tokio::test]
async fn the_code_flow_shows_a_code_that_works_once() {
    let client = Client::new();
    let (_, state) = authorize(&client, "urn:ietf:wg:oauth:2.0:oob", "code").await;
    let (_, page) = sign_in(&client, &state.unwrap(), PASSWORD).await;
    let code_text = page.split("<title>SUCCESS code=").nth(1).unwrap();
    let code_text = code_text.split("</title>").next().unwrap().to_owned();
    let path = format!("{SHARING}/oauth2/token");
    let params = [
        ("grant_type", "authorization_code"),
        ("code", code_text.as_str()),
    ];
    let answer = client.post_to(&path, &params).await;
    assert_eq!(answer["username"], "ada");
    assert_eq!(code(&client.post_to(&path, &params).await), 400);
    let token = answer["access_token"].as_str().unwrap();
    let revoke = format!("{SHARING}/oauth2/revokeToken");
    client.post_to(&revoke, &[("auth_token", token)]).await;
    let own = client
        .get(&format!("{SHARING}/portals/self?f=json&token={token}"))
        .await;
    assert_eq!(code(&own), 498);
}

#[tokio::test]
async fn users_see_themselves_and_no_others() {
    let client = Client::new().user("ada");
    let own = client
        .get(&format!("{SHARING}/community/users/ada?f=json"))
        .await;
    assert!(own["privileges"].is_array() && own["role"] == "org_user");
    let other = client
        .get(&format!("{SHARING}/community/users/bob?f=json"))
        .await;
    assert_eq!(code(&other), 404);
    let anonymous = Client::new()
        .get(&format!("{SHARING}/portals/self?f=json"))
        .await;
    assert!(anonymous.get("user").is_none());
}

#[tokio::test]
async fn the_search_of_the_python_client_finds_the_item_and_echoes_the_page_size() {
    let client = Client::new();
    let own = client.get(&format!("{SHARING}/portals/self?f=json")).await;
    let query = format!(
        "Trees of the town AND  (type:\"feature service\") accountid:{}",
        own["id"].as_str().unwrap()
    );
    let params = [
        ("q", query.as_str()),
        ("start", "1"),
        ("num", "10"),
        ("sortField", "avgRating"),
    ];
    let answer = client.post_to(&format!("{SHARING}/search"), &params).await;
    assert_eq!(
        (&answer["total"], &answer["num"], &answer["nextStart"]),
        (&json!(1), &json!(10), &json!(-1))
    );
    let item = &answer["results"][0];
    assert_eq!(item["type"], "Feature Service");
    assert_eq!(path_of(&item["url"]), SERVICE);
    let id = item["id"].as_str().unwrap();
    let same = client
        .post_to(&format!("{SHARING}/content/items/{id}"), &[("f", "json")])
        .await;
    assert_eq!(same, *item);
    let data = client
        .get(&format!("{SHARING}/content/items/{id}/data?f=json"))
        .await;
    assert_eq!(data, json!({}));
    let owner = item["owner"].as_str().unwrap();
    let owner = client
        .get(&format!("{SHARING}/community/users/{owner}?f=json"))
        .await;
    assert!(owner["username"].is_string());
}

#[tokio::test]
async fn items_of_services_that_may_not_be_read_are_not_found() {
    let client = Client::new();
    client.host.grant("", &[], Vec::new());
    let answer = client
        .get(&format!("{SHARING}/search?q=trees&f=json"))
        .await;
    assert_eq!(answer["total"], 0);
}
