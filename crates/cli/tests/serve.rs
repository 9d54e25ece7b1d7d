//! Runs `haversack serve` as a shell would, with what a shell may do to it.
#![allow(
    clippy::unwrap_used,
    reason = "a panic with its line is what a test wants"
)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::Value as Json;

/// A process that does not outlive its test.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        // It has ended, mostly.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn ask(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// As in `haversack serve DIR | head -1`, or when the terminal that it was started from is closed.
#[test]
fn a_server_whose_log_nobody_reads_any_more_serves_and_ends_as_before() {
    let temp = tempfile::tempdir().unwrap();
    let command = Command::new(env!("CARGO_BIN_EXE_haversack"))
        .args([
            "--json",
            "serve",
            "data",
            "--port",
            "0",
            "--user",
            "ada",
            "--password",
            "secret",
        ])
        .current_dir(temp.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut server = Started(command.unwrap());
    let mut line = String::new();
    let mut out = BufReader::new(server.0.stdout.take().unwrap());
    out.read_line(&mut line).unwrap();
    drop(out);
    drop(server.0.stderr.take());
    let told: Json = serde_json::from_str(&line).unwrap();
    let url = told["url"].as_str().unwrap();
    let address = url.rsplit('/').find(|part| !part.is_empty()).unwrap();

    for path in [
        "/health",
        "/arcgis/rest/services?f=json",
        "/nowhere",
        "/health",
    ] {
        let answer = ask(address, path);
        assert!(answer.starts_with("HTTP/1.1 "), "{path}: {answer:?}");
    }
    assert!(ask(address, "/health").ends_with(r#"{"status":"ok"}"#));

    let id = server.0.id().to_string();
    let told = Command::new("kill").args(["-TERM", &id]).status().unwrap();
    assert!(told.success());
    let ended = (0..600).find_map(|_| {
        thread::sleep(Duration::from_millis(100));
        server.0.try_wait().unwrap()
    });
    assert_eq!(ended.and_then(|status| status.code()), Some(0));
}
