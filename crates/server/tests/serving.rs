//! A real listener, asked by a real client: one port for https and http, health, log in, shutdown, slow and hostile clients.

#![allow(clippy::unwrap_used, reason = "a test ends there")]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use haversack_model::Host as _;
use haversack_model::host::Origin;
use haversack_server::{Handle, Options};

fn start(dir: &tempfile::TempDir) -> Handle {
    let options = Options {
        dir: dir.path().join("data"),
        port: Some(0),
        user: Some("editor".to_owned()),
        password: Some("secret".to_owned()),
        ..Options::default()
    };
    haversack_server::start(&options).unwrap()
}

fn client(handle: &Handle) -> reqwest::blocking::Client {
    // Another test of this process may have been first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let pem = std::fs::read(handle.certificate()).unwrap();
    reqwest::blocking::Client::builder()
        .tls_certs_only([reqwest::Certificate::from_pem(&pem).unwrap()])
        .build()
        .unwrap()
}

#[test]
fn one_port_answers_https_and_http() {
    let dir = tempfile::tempdir().unwrap();
    let handle = start(&dir);
    let client = client(&handle);
    for url in [
        handle.url(),
        handle.http_url(),
        format!("https://localhost:{}", handle.address.port()),
    ] {
        let answer = client.get(format!("{url}/health")).send().unwrap();
        assert_eq!(answer.status(), 200, "{url}");
        assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
        assert!(answer.headers().contains_key("x-request-id"));
        assert_eq!(answer.text().unwrap(), r#"{"status":"ok"}"#);
    }
}

#[test]
fn a_start_that_fails_does_not_use_up_the_password_that_is_shown_once() {
    let dir = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let options = |port| Options {
        dir: dir.path().join("data"),
        port: Some(port),
        ..Options::default()
    };
    let port = taken.local_addr().unwrap().port();
    assert!(haversack_server::start(&options(port)).is_err());
    let handle = haversack_server::start(&options(0)).unwrap();
    assert!(handle.first_login.is_some());
}

#[test]
fn metrics_are_shown_to_the_machine_itself() {
    let dir = tempfile::tempdir().unwrap();
    let handle = start(&dir);
    let client = client(&handle);
    client
        .get(format!("{}/health", handle.url()))
        .send()
        .unwrap();
    let text = client
        .get(format!("{}/metrics", handle.http_url()))
        .send()
        .unwrap()
        .text()
        .unwrap();
    assert!(text.contains("haversack_requests_total"), "{text}");
    assert!(text.contains("haversack_services"), "{text}");
}

#[test]
fn a_path_with_two_readings_is_refused_before_dispatch() {
    let dir = tempfile::tempdir().unwrap();
    let handle = start(&dir);
    let mut stream = TcpStream::connect(handle.address).unwrap();
    stream
        .write_all(b"GET /v1/..%2fhealth HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert!(answer.contains("badPath"), "{answer}");
}

#[test]
fn an_origin_is_allowed_only_if_it_is_listed() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        dir: dir.path().join("data"),
        port: Some(0),
        cors_origins: vec!["https://map.example.org".to_owned()],
        ..Options::default()
    };
    let handle = haversack_server::start(&options).unwrap();
    let client = client(&handle);
    let allowed = |origin: &str| {
        let answer = client
            .get(format!("{}/health", handle.http_url()))
            .header("origin", origin)
            .send()
            .unwrap();
        answer.headers().get("access-control-allow-origin").cloned()
    };
    assert_eq!(
        allowed("https://map.example.org").unwrap(),
        "https://map.example.org"
    );
    assert_eq!(allowed("https://evil.example"), None);
    let of_face = client
        .get(format!("{}/arcgis/rest/info?f=json", handle.http_url()))
        .header("origin", "https://map.example.org")
        .send()
        .unwrap();
    let named = of_face.headers().get_all("access-control-allow-origin");
    assert_eq!(named.iter().count(), 1, "browsers refuse two");
    assert!(handle.server.allows_origin("https://map.example.org"));
    assert!(!handle.server.allows_origin("https://evil.example"));
    let (name, password) = handle.first_login.clone().unwrap();
    assert_eq!((name.as_str(), password.len()), ("admin", 20));
    let login = handle.server.login(&name, &password, "127.0.0.1").unwrap();
    assert!(login.unwrap().is_admin);
}

#[test]
fn clients_that_say_nothing_do_not_hold_the_end_up() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    std::fs::create_dir_all(&data).unwrap();
    std::fs::write(data.join("haversack.toml"), "shutdown_s = 3600\n").unwrap();
    let handle = start(&dir);
    let silent = TcpStream::connect(handle.address).unwrap();
    let mut half = TcpStream::connect(handle.address).unwrap();
    half.write_all(b"GET /hea").unwrap();
    let mut tls = TcpStream::connect(handle.address).unwrap();
    tls.write_all(&[0x16, 3, 1]).unwrap();
    client(&handle)
        .get(format!("{}/health", handle.url()))
        .send()
        .unwrap();
    let address = handle.address;
    let (ended, end) = mpsc::channel();
    thread::spawn(move || {
        handle.stop();
        ended.send(())
    });
    end.recv_timeout(Duration::from_mins(1))
        .expect("the server ends, long before the hour that requests under way would get");
    assert!(TcpStream::connect(address).is_err());
    drop((silent, half, tls));
}

#[test]
fn the_data_directory_is_free_after_the_end_and_knows_its_users() {
    let dir = tempfile::tempdir().unwrap();
    let handle = start(&dir);
    let running = haversack_server::DataDir::running(&dir.path().join("data")).unwrap();
    assert_eq!(running.url, handle.http_url());
    let operator = handle
        .server
        .verify_token(&running.token, Origin::default())
        .unwrap();
    assert!(operator.is_admin);
    let id = handle.server.server_id();
    handle.stop();
    assert!(haversack_server::DataDir::running(&dir.path().join("data")).is_none());
    let again = start(&dir);
    assert_eq!(again.server.server_id(), id);
    assert!(again.first_login.is_none());
    let login = again.server.login("editor", "secret", "127.0.0.1").unwrap();
    assert_eq!(login.unwrap().name, "editor");
}

#[test]
fn commands_on_a_data_directory_go_through_the_server_that_holds_it() {
    use haversack_server::native::Client;
    use haversack_server::native::remote::{Credentials, Trust};
    use serde_json::json;

    let dir = tempfile::tempdir().unwrap();
    let handle = start(&dir);
    let running = haversack_server::DataDir::running(&dir.path().join("data")).unwrap();
    let token = Credentials::Token(running.token);
    let operator = Client::new(&running.url, token, &Trust::default()).unwrap();
    let file = dir.path().join("wells.geojson");
    std::fs::write(&file, r#"{"type": "FeatureCollection", "features": [{"type": "Feature", "properties": {"depth": 7}, "geometry": {"type": "Point", "coordinates": [1, 2]}}]}"#).unwrap();
    let job = operator
        .import("Wells", &file, "geojson", None, None)
        .unwrap();
    let report = operator.wait_for(job, &mut |_, _, _| {}).unwrap();
    assert_eq!(report["layers"][0]["records"], 1, "{report}");
    let bob = json!({ "name": "bob", "password": "builder1" });
    operator.send("POST", "/v1/users", Some(&bob)).unwrap();
    assert!(operator.send("POST", "/v1/users", Some(&bob)).is_err());
    let mut grant = json!({ "principal": "bob", "service": "wells", "rights": ["Edit", "Read"], "filters": [[0, "depth > 5"]] });
    operator.send("PUT", "/v1/grants", Some(&grant)).unwrap();
    grant["filters"][0][1] = json!("width > 5");
    let refused = operator
        .send("PUT", "/v1/grants", Some(&grant))
        .unwrap_err();
    assert!(refused.to_string().contains("width"), "{refused}");
    let login = handle.server.login("bob", "builder1", "127.0.0.1").unwrap();
    let access = handle.server.access(&login.unwrap(), "Wells");
    assert_eq!((access.rights.len(), access.filters.len()), (2, 1));
}

#[test]
fn the_native_api_asks_who_it_is_and_describes_itself() {
    let dir = tempfile::tempdir().unwrap();
    let handle = start(&dir);
    let client = client(&handle);
    let url = |path: &str| format!("{}{path}", handle.http_url());
    let status =
        |request: reqwest::blocking::RequestBuilder| request.send().unwrap().status().as_u16();
    assert_eq!(status(client.get(url("/v1"))), 200);
    assert_eq!(status(client.get(url("/v1/openapi.json"))), 200);
    assert_eq!(status(client.get(url("/v1/users"))), 401);
    assert_eq!(
        status(
            client
                .get(url("/v1/users"))
                .basic_auth("editor", Some("secret"))
        ),
        200
    );
    assert_eq!(
        status(
            client
                .get(url("/v1/users"))
                .basic_auth("editor", Some("wrong"))
        ),
        401
    );
    assert_eq!(
        status(client.get(url("/v1/users")).bearer_auth("made-up")),
        401
    );
    let login = r#"{"user": "editor", "password": "secret"}"#;
    let answer = client.post(url("/v1/login")).body(login).send().unwrap();
    let answer: serde_json::Value = answer.json().unwrap();
    let token = answer["token"].as_str().unwrap().to_owned();
    assert_eq!(
        status(client.get(url("/v1/users")).bearer_auth(&token)),
        200
    );
    assert_eq!(
        status(client.post(url("/v1/logout")).bearer_auth(&token)),
        204
    );
    assert_eq!(
        status(client.get(url("/v1/users")).bearer_auth(&token)),
        401
    );
    let twice = r#"{"user": "editor", "password": "secret", "user": "x"}"#;
    assert_eq!(status(client.post(url("/v1/login")).body(twice)), 400);
    assert_eq!(status(client.get(url("/arcgis/rest/info?f=json"))), 200);
}

#[test]
fn databases_of_documents_are_no_feature_services() {
    let dir = tempfile::tempdir().unwrap();
    let handle = start(&dir);
    let client = client(&handle);
    let get = |path: &str| {
        let request = client.get(format!("{}{path}", handle.url()));
        request.basic_auth("editor", Some("secret")).send().unwrap()
    };
    // Asking is what makes the system database.
    assert_eq!(get("/_api/collection").status(), 200);
    assert!(
        handle
            .server
            .service_names()
            .contains(&"_system".to_owned())
    );
    let login = [
        ("username", "editor"),
        ("password", "secret"),
        ("f", "json"),
    ];
    let told = client
        .post(format!("{}/arcgis/tokens/generateToken", handle.url()))
        .form(&login)
        .send()
        .unwrap();
    let told: serde_json::Value = told.json().unwrap();
    let token = told["token"].as_str().unwrap();
    for path in ["rest/services", "sharing/rest/search"] {
        let path = format!("/arcgis/{path}?f=json&q=*&token={token}");
        let text = get(&path).text().unwrap();
        assert!(!text.contains("error"), "{text}");
        assert!(!text.contains("_system"), "{text}");
    }
}
