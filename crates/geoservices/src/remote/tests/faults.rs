//! What goes wrong on the way to a foreign server: silence, cuts, lies, redirects. The server is a stand-in that must misbehave.

use haversack_model::Policy;
use haversack_model::remote::Remote as _;
use serde_json::json;

use super::standin::{Fault, StandIn};
use crate::Error;
use crate::remote::{Checkout, CheckoutRequest, Credentials, GeoServicesRemote, Options};

fn connect(server: &StandIn, credentials: Credentials) -> Result<GeoServicesRemote, Error> {
    GeoServicesRemote::connect(&server.url, credentials, StandIn::options())
}

fn checkout(server: &StandIn) -> Result<Checkout, Error> {
    let request = CheckoutRequest {
        name: "field".into(),
        ..CheckoutRequest::default()
    };
    server
        .connect()
        .checkout(request, Policy::Merge, &mut |_| {})
}

fn with_rows() -> StandIn {
    let server = StandIn::start();
    for number in 0..50_u32 {
        server.edit(
            &format!("{{{number:08X}-0000-4000-8000-000000000000}}"),
            Some(json!({"name": "oak", "age": number})),
        );
    }
    server
}

#[test]
fn a_silent_or_endless_server_is_given_up() {
    for fault in [Fault::Silence, Fault::Trickle] {
        let server = StandIn::start();
        server.fail("FeatureServer", fault.clone());
        let remote =
            GeoServicesRemote::connect(&server.url, Credentials::Anonymous, StandIn::impatient());
        let error = remote.expect_err("no answer");
        // `Trickle` ends by the limit on the whole answer or by the silence between two bytes.
        assert!(
            matches!(
                error,
                Error::Network { .. } | Error::TooSlow { .. } | Error::Io(_)
            ),
            "{fault:?}: {error:?}"
        );
    }
}

#[test]
fn a_redirect_is_not_followed() {
    let server = StandIn::start();
    let other = StandIn::start();
    server.fail("FeatureServer", Fault::Redirect(other.url.clone()));
    let error = connect(&server, Credentials::Token("secret-token".into())).expect_err("elsewhere");
    assert!(
        matches!(&error, Error::Redirected { to } if *to == other.url),
        "{error}"
    );
    assert_eq!(other.count("FeatureServer"), 0);
}

#[test]
fn what_is_no_feature_service_is_told() {
    for (fault, words) in [
        (Fault::Body("<html>".into()), "not acceptable JSON"),
        (Fault::Body("[]".into()), "no JSON object"),
        (Fault::Body("{}".into()), "FeatureServer"),
        (
            Fault::Body(r#"{"layers":[{"id":"x"}]}"#.into()),
            "has no number",
        ),
        (Fault::Status(502), "HTTP status 502"),
        (
            Fault::Body(r#"{"error":{"code":499,"message":"Token Required","details":[]}}"#.into()),
            "Token Required",
        ),
    ] {
        let server = StandIn::start();
        server.fail("FeatureServer", fault);
        let error = connect(&server, Credentials::Anonymous)
            .expect_err(words)
            .to_string();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn a_file_that_breaks_off_is_continued_where_it_was() {
    let server = with_rows();
    server.fail("replica.json", Fault::HalfBody);
    server.fail("replica.json", Fault::LostAnswer);
    let checkout = checkout(&server).expect("continued");
    assert_eq!(checkout.records(), 50);
    assert_eq!(server.count("replica.json"), 3);
}

#[test]
fn a_document_that_lies_leaves_no_replica_behind() {
    for body in [
        r#"{"layers":[{"id":0,"features":[{"attributes":{"GlobalID":"x"}}]}]}"#,
        r#"{"layers":[{"id":7,"features":[]}]}"#,
        r#"{"layers":[{"id":0,"features":[{"attributes":{"GlobalID":"{0000000A-0000-4000-8000-000000000000}","age":"old"}}]}]}"#,
        r#"{"layers":[{"id":0,"features":["#,
        r#"{"layers":[]}"#,
        r#"{"nothing":1}"#,
        "<html>",
    ] {
        let server = with_rows();
        server.fail("replica.json", Fault::Body(body.into()));
        let error = checkout(&server).expect_err(body);
        assert!(
            matches!(error, Error::Document { .. } | Error::Field { .. }),
            "{body}: {error}"
        );
        assert_eq!(server.count("unRegisterReplica"), 1, "{body}");
    }
}

#[test]
fn an_answer_of_changes_that_lies_changes_nothing() {
    let server = with_rows();
    let checkout = checkout(&server).expect("checked out");
    let mut remote = server.connect();
    for body in [
        json!({"edits": [{"id": 0, "features": {"updates": [{"attributes": {"age": 1}}]}}], "replicaServerGen": 99}),
        json!({"edits": [], "replicaServerGen": 3}),
        json!({"edits": []}),
        json!({"edits": [], "replicaServerGen": "many"}),
    ] {
        server.fail("synchronizeReplica", Fault::Body(body.to_string()));
        let error = remote.pull(checkout.header()).expect_err("a lie");
        assert!(
            matches!(error, haversack_model::Error::Network(_)),
            "{body}: {error}"
        );
    }
}

#[test]
fn a_document_beyond_the_limit_is_refused() {
    let server = with_rows();
    let options = Options {
        max_document_bytes: 500,
        ..StandIn::options()
    };
    let mut remote = GeoServicesRemote::connect(&server.url, Credentials::Anonymous, options)
        .expect("connected");
    let error = remote
        .checkout(CheckoutRequest::default(), Policy::Merge, &mut |_| {})
        .expect_err("too large");
    assert!(
        matches!(error, Error::TooLarge { max_bytes: 500 }),
        "{error:?}"
    );
}

#[test]
fn a_job_that_fails_or_never_ends_is_told() {
    for (status, words) in [
        (
            json!({"status": "Failed", "description": "no space"}),
            "no space",
        ),
        (json!({"nothing": 1}), "has no 'status'"),
    ] {
        let server = with_rows();
        server.with(|state| state.jobs = true);
        server.fail("1", Fault::Body(status.to_string()));
        let error = checkout(&server).expect_err(words).to_string();
        assert!(error.contains(words), "{error}");
    }
    let server = with_rows();
    server.with(|state| state.jobs = true);
    for _ in 0..100 {
        server.fail(
            "1",
            Fault::Body(json!({"status": "ExportingData"}).to_string()),
        );
    }
    let options = Options {
        patience: StandIn::impatient().patience,
        ..StandIn::options()
    };
    let remote = GeoServicesRemote::connect(&server.url, Credentials::Anonymous, options);
    let error = remote
        .expect("connected")
        .checkout(CheckoutRequest::default(), Policy::Merge, &mut |_| {})
        .expect_err("never ends");
    assert!(matches!(error, Error::TooSlow { .. }), "{error}");
}

#[test]
fn a_password_is_exchanged_for_a_token_and_renewed_when_it_has_ended() {
    let server = with_rows();
    server.with(|state| state.wants_token = Some("t1".into()));
    let login = Credentials::Password {
        user: "ann".into(),
        password: "secret".into(),
    };
    let mut remote = connect(&server, login).expect("logged in");
    assert_eq!(server.count("generateToken"), 1);
    server.with(|state| state.wants_token = Some("t2".into()));
    remote
        .replicas()
        .expect_err("the stand-in has no list, but the token was renewed");
    assert_eq!(server.count("generateToken"), 2);
    assert!(server.with(|state| state.tokens.contains(&"t2".to_owned())));
    let wrong = Credentials::Password {
        user: "ann".into(),
        password: "guess".into(),
    };
    let error = connect(&server, wrong)
        .expect_err("wrong password")
        .to_string();
    assert!(error.contains("Invalid username or password"), "{error}");
}

#[test]
fn a_password_is_sent_to_no_other_host() {
    let server = StandIn::start();
    server.with(|state| state.token_service = Some("https://tokens.example/generateToken".into()));
    let login = Credentials::Password {
        user: "ann".into(),
        password: "secret".into(),
    };
    let error = connect(&server, login).expect_err("elsewhere").to_string();
    assert!(error.contains("tokens.example"), "{error}");
    assert_eq!(server.count("generateToken"), 0);
}

#[test]
fn addresses_that_would_give_credentials_away_are_refused() {
    let token = || Credentials::Token("t".into());
    for (url, words) in [
        (
            "http://gis.example/rest/services/P/FeatureServer",
            "in the clear",
        ),
        (
            "https://ann:secret@gis.example/rest/services/P/FeatureServer",
            "user name or password",
        ),
        ("ftp://gis.example/", "no http"),
        ("parks", "no address"),
    ] {
        let error = GeoServicesRemote::connect(url, token(), StandIn::options())
            .expect_err(words)
            .to_string();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn a_result_elsewhere_without_https_is_not_fetched() {
    let server = with_rows();
    let other = with_rows();
    let url = format!("{}/replica.json", other.url);
    server.fail(
        "createReplica",
        Fault::Body(json!({"replicaID": super::standin::REPLICA, "URL": url}).to_string()),
    );
    let error = checkout(&server).expect_err("elsewhere").to_string();
    assert!(error.contains("leads elsewhere"), "{error}");
    assert_eq!(other.count("replica.json"), 0);
}
