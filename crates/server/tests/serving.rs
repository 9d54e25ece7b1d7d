//! A real listener, asked by a real client: one port for https and http, health, log in, shutdown, slow and hostile clients.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use haversack_model::Host as _;
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
    let (name, password) = handle.first_login.clone().unwrap();
    assert_eq!((name.as_str(), password.len()), ("admin", 20));
    let login = handle.server.login(&name, &password, "127.0.0.1").unwrap();
    assert!(login.unwrap().is_admin);
}

#[test]
fn clients_that_say_nothing_do_not_hold_the_end_up() {
    let dir = tempfile::tempdir().unwrap();
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
    let begun = Instant::now();
    handle.stop();
    assert!(begun.elapsed() < Duration::from_secs(10));
    drop((silent, half, tls));
}

#[test]
fn the_data_directory_is_free_after_the_end_and_knows_its_users() {
    let dir = tempfile::tempdir().unwrap();
    let handle = start(&dir);
    let running = haversack_server::DataDir::running(&dir.path().join("data")).unwrap();
    assert_eq!(running.url, handle.http_url());
    let operator = handle.server.verify_token(&running.token).unwrap();
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
