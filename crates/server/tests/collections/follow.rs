//! What keeps a copy following: the question that is answered when something changes, and certificates that a pull names.

use std::time::Duration;

use haversack_model::Error;
use haversack_server::clock;
use haversack_server::grants::{Grant, parse_rights};
use haversack_server::native::pull::Request;

use crate::support::gate::Gate;
use crate::{client, contents, edit, pair, pull, run};

/// Longer than any test waits.
const LONG: Duration = Duration::from_mins(1);

#[test]
fn whoever_waits_for_a_change_is_told_when_it_is_committed() {
    let pair = pair(10);
    let proof = pull(&pair).walk.proof.unwrap();
    let editor = client(&pair.primary, "editor", "secret");
    let of = ("_system", "notes");
    let waited = editor.wait_for_change(of, &proof, Duration::from_secs(1));
    assert!(!waited.unwrap(), "nothing has changed");
    let gate = Gate::start(pair.primary.address);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let url = format!("http://{}", gate.address);
            let editor = crate::client_at(&url, "editor", "secret");
            editor.wait_for_change(of, &proof, LONG)
        });
        while gate.seen().is_empty() {
            std::thread::yield_now();
        }
        assert!(!waiting.is_finished());
        edit(&pair.primary, [("new".to_owned(), Some("{}".to_owned()))]);
        assert!(waiting.join().unwrap().unwrap());
    });
    // Told at once, if it was before the question.
    assert!(editor.wait_for_change(of, &proof, LONG).unwrap());
    let proof = pull(&pair).walk.proof.unwrap();
    let store = pair.primary.server.services.store("_system").unwrap();
    let file = rusqlite::Connection::open(store.path()).unwrap();
    file.execute(
        "UPDATE notes SET document = '{\"by\":\"other\"}' WHERE _key = 'k3'",
        [],
    )
    .unwrap();
    assert!(
        editor.wait_for_change(of, &proof, LONG).unwrap(),
        "of another program"
    );
}

#[test]
fn a_server_that_stops_waits_for_no_change() {
    let pair = pair(1);
    let proof = pull(&pair).walk.proof.unwrap();
    std::thread::scope(|scope| {
        let url = pair.primary.http_url();
        let waiting = scope.spawn(move || {
            let editor = crate::client_at(&url, "editor", "secret");
            editor.wait_for_change(("_system", "notes"), &proof, LONG)
        });
        while pair.primary.server.waiting() == 0 {
            std::thread::yield_now();
        }
        pair.primary.stop();
        // It is answered, that nothing changed. A server that did not heed the stop would cut it off at last.
        let told = waiting.join().unwrap();
        assert!(matches!(told, Ok(false)), "{told:?}");
    });
}

#[test]
fn who_may_not_copy_is_not_told_of_changes() {
    let pair = pair(1);
    let proof = pull(&pair).walk.proof.unwrap();
    let server = &pair.primary.server;
    server
        .accounts
        .add("ben", "secret", false, clock::now())
        .unwrap();
    let ask = |user| {
        let asked = client(&pair.primary, user, "secret");
        match asked.wait_for_change(("_system", "notes"), &proof, LONG) {
            Err(Error::Refused { code, .. }) => code,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(ask("ben"), 404);
    let grant = Grant {
        principal: "ben".to_owned(),
        service: "_system".to_owned(),
        rights: parse_rights("read").unwrap(),
        filters: Vec::new(),
    };
    server.grant(&grant).unwrap();
    assert_eq!(ask("ben"), 403);
    assert_eq!(ask("nobody"), 401);
}

#[test]
fn an_encrypted_primary_is_known_by_the_certificate_that_a_pull_names() {
    let pair = pair(10);
    let mut asked = Request {
        from: format!("https://127.0.0.1:{}", pair.primary.address.port()),
        ..Request::default()
    };
    let unknown = run(&pair, &asked).unwrap_err().to_string();
    assert!(unknown.contains("cannot be reached"), "{unknown}");
    asked.ca = Some("no certificate".to_owned());
    let refused = run(&pair, &asked).unwrap_err().to_string();
    assert!(refused.contains("certificate"), "{refused}");
    asked.ca = Some(std::fs::read_to_string(pair.primary.certificate()).unwrap());
    run(&pair, &asked).unwrap();
    assert_eq!(contents(&pair.primary), contents(&pair.secondary));
}
