//! Logging in without a network, and what a wipe keeps.

use std::io::{BufRead as _, BufReader, Write as _};

use serde_json::json;

use crate::{Server, edit, number};

#[test]
fn a_login_needs_no_network_but_the_right_password_and_ends_with_the_account() {
    let mut server = Server::start();
    server.login();
    let again =
        |server: &Server, more: &[(&str, &str)]| server.run_with(&["login", "copy.gpkg"], more);
    let (code, told, _) = again(&server, &[]);
    assert_eq!((code, &told["offline"]), (0, &json!(false)), "{told}");
    server.stop();
    let (code, told, said) = again(&server, &[]);
    assert_eq!(
        (code, &told["offline"], &told["user"]),
        (0, &json!(true), &json!("ada")),
        "{said}"
    );
    for (more, word) in [
        (("HAVERSACK_PASSWORD", "other"), "BAD_CREDENTIALS"),
        (("HAVERSACK_USER", "eve"), "NO_AUTHENTICATED_USER_OFFLINE"),
        (
            ("XDG_CONFIG_HOME", "elsewhere"),
            "NO_AUTHENTICATED_USER_OFFLINE",
        ),
    ] {
        let (code, _, said) = again(&server, &[more]);
        assert_eq!(code, 4, "{more:?}");
        assert!(said.contains(word), "{more:?}: {said}");
    }
    // A logout leaves it possible; the copy tells no password.
    server.run(&["logout", "copy.gpkg"]);
    assert_eq!(again(&server, &[]).0, 0);
    let bytes = std::fs::read(server.copy()).unwrap();
    for secret in [&b"secret"[..], b"argon2"] {
        assert!(!bytes.windows(secret.len()).any(|part| part == secret));
    }

    // The server ends the account: the login is gone here too, the work is not.
    edit(
        &server.copy(),
        "INSERT INTO Person (org_unit) VALUES ('hvOuFacil01')",
    );
    let ended = std::net::TcpListener::bind(&server.address).unwrap();
    let answering = std::thread::spawn(move || {
        let (mut stream, _) = ended.accept().unwrap();
        let mut asked = BufReader::new(stream.try_clone().unwrap());
        let mut line = String::new();
        while asked.read_line(&mut line).unwrap() > 2 {
            line.clear();
        }
        let body = r#"{"httpStatusCode":401,"message":"Account disabled"}"#;
        write!(stream, "HTTP/1.1 401 X\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
    });
    let (code, _, said) = server.run_with(&["download", "copy.gpkg"], &[]);
    answering.join().unwrap();
    assert_eq!(code, 4);
    assert!(
        said.contains("disabled") && said.contains("--export"),
        "{said}"
    );
    let (code, _, said) = again(&server, &[]);
    assert_eq!(code, 4);
    assert!(said.contains("NO_AUTHENTICATED_USER_OFFLINE"), "{said}");
    assert_eq!(number(&server.copy(), "SELECT count(*) FROM Person"), 1);
}

#[test]
fn a_wipe_keeps_what_was_not_sent_where_it_is_told_to() {
    let server = Server::start();
    server.login();
    let copy = server.copy();
    edit(
        &copy,
        "INSERT INTO Person (org_unit, given_name) VALUES ('hvOuFacil01', 'kept')",
    );
    for level in ["data", "everything"] {
        assert_eq!(server.run(&["wipe", "copy.gpkg", "--level", level]).0, 1);
    }
    std::fs::write(server.folder.path().join("there.gpkg"), "mine").unwrap();
    let wipe = ["wipe", "copy.gpkg", "--level", "data", "--export"];
    let (code, _) = server.run(&[&wipe[..], &["there.gpkg"]].concat());
    assert_eq!(code, 1, "what is there is not replaced");
    assert_eq!(
        number(&copy, "SELECT count(*) FROM Person"),
        1,
        "nothing was removed"
    );
    let (code, told) = server.run(&[&wipe[..], &["kept.gpkg"]].concat());
    assert_eq!((code, &told["discarded"]), (0, &json!(0)), "{told}");
    assert_eq!(number(&copy, "SELECT count(*) FROM Person"), 0);
    // What was kept goes up from there.
    let (code, told) = server.run(&["upload", "kept.gpkg"]);
    assert_eq!((code, &told["stored"]), (0, &json!(1)), "{told}");
    let args = [
        "wipe",
        "copy.gpkg",
        "--level",
        "everything",
        "--export",
        "empty.gpkg",
    ];
    assert_eq!(server.run(&args).0, 0);
    assert!(!copy.exists());
    assert_eq!(server.run(&["status", "empty.gpkg"]).0, 0);
}
