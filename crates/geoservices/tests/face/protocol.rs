//! What holds for every resource: paths, methods, formats, headers, sizes, credentials.

use axum::body::Body;
use http::header;

use crate::host::MAX_BODY;
use crate::web::{Client, SERVICE, code, json};

#[tokio::test]
async fn get_and_post_trailing_and_doubled_slashes_mean_the_same() {
    let client = Client::new();
    let plain = client.get(&format!("{SERVICE}/0?f=json")).await;
    assert_eq!(plain["name"], "Trees");
    for path in [
        "Trees/FeatureServer//0",
        "Trees/FeatureServer/0/",
        "Trees//featureserver/0?x=1",
    ] {
        let path = format!("/arcgis/rest/services/{path}");
        assert_eq!(
            client.post_to(&path, &[("f", "json")]).await,
            plain,
            "{path}"
        );
    }
}

#[tokio::test]
async fn paths_that_hide_something_are_refused() {
    let client = Client::new();
    for path in ["a%2fb", "%2e%2e/x", "a%00", "a%252e", "%c0%af", "..%5c"] {
        let (parts, body) = client.fetch(&format!("/arcgis/rest/services/{path}")).await;
        assert_eq!(parts.status, 400, "{path}");
        assert!(
            String::from_utf8(body).unwrap().contains("\"error\""),
            "{path}"
        );
    }
}

#[tokio::test]
async fn unknown_methods_services_layers_and_resources_are_told_apart() {
    let client = Client::new();
    let put = client.request("PUT", SERVICE).body(Body::empty()).unwrap();
    assert_eq!(code(&json(client.send(put).await).await), 405);
    for path in [
        "/arcgis/nowhere",
        "/arcgis/rest/services/Gone/FeatureServer",
        "/arcgis/rest/services/Trees/FeatureServer/9",
        "/arcgis/rest/services/Trees/FeatureServer/0/nothing",
        "/arcgis/rest/services/Trees/FeatureServer/0/777",
        "/arcgis/rest/services/Trees/FeatureServer/jobs/7",
        "/arcgis/rest/files/00000000000000000000000000000000.json",
    ] {
        assert_eq!(code(&client.get(path).await), 404, "{path}");
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_before_it_is_read() {
    let client = Client::new().user("ada");
    let big = "x".repeat(MAX_BODY);
    let answer = client.post("0/query", &[("where", &big)]).await;
    assert_eq!(code(&answer), 413);
    let announced = client
        .request("POST", &format!("{SERVICE}/0/query"))
        .header(header::CONTENT_LENGTH, (MAX_BODY + 1).to_string())
        .body(Body::empty())
        .unwrap();
    assert_eq!(code(&json(client.send(announced).await).await), 413);
}

#[tokio::test]
async fn pretty_json_and_pages_show_the_same_and_escape_it() {
    let client = Client::new();
    let (_, pretty) = client.fetch(&format!("{SERVICE}?f=pjson")).await;
    assert!(
        String::from_utf8(pretty)
            .unwrap()
            .contains("\n  \"currentVersion\"")
    );
    let path = "/arcgis/rest/services/%3Cscript%3E/FeatureServer?f=html";
    let (parts, page) = client.fetch(path).await;
    let page = String::from_utf8(page).unwrap();
    assert!(
        parts.headers[header::CONTENT_TYPE]
            .to_str()
            .unwrap()
            .starts_with("text/html")
    );
    assert!(
        page.contains("&lt;script&gt;") && !page.contains("<script>"),
        "{page}"
    );
}

#[tokio::test]
async fn answers_are_not_stored_by_anybody_and_carry_a_request_id() {
    let (parts, _) = Client::new().fetch(SERVICE).await;
    assert_eq!(parts.headers[header::CACHE_CONTROL], "no-store, private");
    assert_eq!(parts.headers[header::REFERRER_POLICY], "no-referrer");
    assert_eq!(parts.headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
    assert!(parts.headers.contains_key("x-request-id"));
}

#[tokio::test]
async fn only_listed_origins_may_read_in_a_browser() {
    let client = Client::new();
    for (origin, listed) in [
        ("https://maps.example", true),
        ("https://evil.example", false),
    ] {
        for method in ["GET", "OPTIONS"] {
            let request = client
                .request(method, SERVICE)
                .header(header::ORIGIN, origin);
            let (parts, _) = client.raw(request.body(Body::empty()).unwrap()).await;
            let allowed = parts.headers.get(header::ACCESS_CONTROL_ALLOW_ORIGIN);
            assert_eq!(allowed.is_some(), listed, "{method} {origin}");
            assert!(
                !parts
                    .headers
                    .contains_key(header::ACCESS_CONTROL_ALLOW_CREDENTIALS)
            );
        }
    }
}

#[tokio::test]
async fn tokens_count_in_header_query_body_and_cookie() {
    let client = Client::new();
    let token = client.host.token("ada");
    let path = format!("{SERVICE}/replicas?f=json");
    assert_eq!(code(&client.get(&path).await), 499);
    for (name, value) in [
        ("X-Esri-Authorization", format!("Bearer {token}")),
        ("Authorization", format!("Bearer {token}")),
        ("Cookie", format!("x=1; agstoken=\"{token}\"")),
    ] {
        let request = client.request("GET", &path).header(name, value);
        let answer = json(client.send(request.body(Body::empty()).unwrap()).await).await;
        assert_eq!(answer, serde_json::json!([]), "{name}");
    }
    let by_query = client.get(&format!("{path}&token={token}")).await;
    let by_body = client.post("replicas", &[("token", &token)]).await;
    assert_eq!(
        (by_query, by_body),
        (serde_json::json!([]), serde_json::json!([]))
    );
    assert_eq!(code(&client.get(&format!("{path}&token=wrong")).await), 498);
}

#[tokio::test]
async fn a_cookie_does_not_count_for_the_page_of_another_origin() {
    let client = Client::new();
    let token = client.host.token("ada");
    for (name, value) in [
        ("Origin", "https://evil.example"),
        ("Sec-Fetch-Site", "cross-site"),
    ] {
        let request = client
            .request("POST", &format!("{SERVICE}/replicas?f=json"))
            .header("Cookie", format!("agstoken={token}"))
            .header(name, value);
        let answer = json(client.send(request.body(Body::empty()).unwrap()).await).await;
        assert_eq!(code(&answer), 499, "{name}");
    }
}

#[tokio::test]
async fn an_unencoded_form_body_is_read() {
    // QGIS sends bodies like this.
    let client = Client::new().user("ada");
    let body = r#"f=json&features=[{"attributes":{"name":"a & b"},"geometry":{"x":1,"y":2}}]"#;
    let request = client
        .request("POST", &format!("{SERVICE}/0/addFeatures"))
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Body::from(body))
        .unwrap();
    let answer = json(client.send(request).await).await;
    assert_eq!(answer["addResults"][0]["success"], true, "{answer}");
}
