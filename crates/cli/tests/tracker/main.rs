//! Runs `haversack tracker` against `haversack serve --sample`: login, download, edits by a plain SQLite program, what others do
//! on the server meanwhile, and the states of it all.
#![allow(
    clippy::unwrap_used,
    reason = "a panic with its line is what a test wants"
)]

mod example;
mod json;
mod login;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rusqlite::Connection;
use serde_json::{Value as Json, json};

struct Server {
    child: Child,
    address: String,
    folder: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It has ended, mostly.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_haversack"))
            .args(["--json", "serve", "data", "--sample", "--port", "0"])
            .args(["--user", "ada", "--password", "secret"])
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        let told: Json = serde_json::from_str(&line).unwrap();
        let url = told["url"].as_str().unwrap();
        let address = url.rsplit('/').find(|part| !part.is_empty()).unwrap();
        Self {
            address: address.to_owned(),
            child,
            folder,
        }
    }
    fn copy(&self) -> PathBuf {
        self.folder.path().join("copy.gpkg")
    }
    fn run(&self, args: &[&str]) -> (i32, Json) {
        let (code, told, _) = self.run_with(args, &[]);
        (code, told)
    }
    /// As [`Self::run`], with more of the environment; gives what was said as well.
    fn run_with(&self, args: &[&str], more: &[(&str, &str)]) -> (i32, Json, String) {
        let (code, out, said) = self.output_with(args, more);
        let told = serde_json::from_str(&out).unwrap_or(Json::Null);
        (code, told, said)
    }
    /// The code, and what was printed and said, as it is.
    fn output(&self, args: &[&str]) -> (i32, String, String) {
        self.output_with(args, &[])
    }
    fn output_with(&self, args: &[&str], more: &[(&str, &str)]) -> (i32, String, String) {
        let out = Command::new(env!("CARGO_BIN_EXE_haversack"))
            .args(["--json", "tracker"])
            .args(args)
            .current_dir(self.folder.path())
            .env("HAVERSACK_USER", "ada")
            .env("HAVERSACK_PASSWORD", "secret")
            .env("XDG_CONFIG_HOME", self.folder.path())
            .envs(more.iter().copied())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(!said.contains("panicked"), "{said}");
        let told = String::from_utf8(out.stdout).unwrap();
        (out.status.code().unwrap(), told, said.into_owned())
    }
    fn stop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
    fn login(&self) -> Json {
        let url = format!("http://{}", self.address);
        let (code, told) = self.run(&["login", &url, "-o", "copy.gpkg"]);
        assert_eq!(code, 0, "{told}");
        told
    }
    fn download(&self, more: &[&str]) -> (i32, Json) {
        let mut args = vec!["download", "copy.gpkg"];
        args.extend_from_slice(more);
        self.run(&args)
    }
    /// What another client sends to the server.
    fn import(&self, strategy: &str, payload: &Json) -> Json {
        let body = payload.to_string();
        let mut stream = TcpStream::connect(&self.address).unwrap();
        write!(
            stream,
            "POST /api/tracker?async=false&importStrategy={strategy} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Basic YWRhOnNlY3JldA==\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        serde_json::from_str(&body[body.find('{').unwrap()..=body.rfind('}').unwrap()]).unwrap()
    }
}

fn number(path: &Path, sql: &str) -> i64 {
    let db = Connection::open(path).unwrap();
    db.query_row(sql, [], |row| row.get(0)).unwrap()
}

fn edit(path: &Path, sql: &str) {
    let db = Connection::open(path).unwrap();
    assert_eq!(db.execute(sql, []).unwrap(), 1, "{sql}");
}

#[test]
fn a_copy_is_made_filled_edited_and_brought_up_to_date() {
    let server = Server::start();
    let told = server.login();
    assert_eq!(told["objects"]["programs"], 2, "{told}");
    assert_eq!(told["missingReferences"], 0, "{told}");
    let copy = server.copy();

    let (code, told) = server.download(&[]);
    assert_eq!((code, &told["trackedEntities"]), (0, &json!(300)), "{told}");
    assert_eq!(number(&copy, "SELECT count(*) FROM Person"), 300);
    assert_eq!(
        number(&copy, "SELECT count(*) FROM Follow_up_enrollments"),
        300
    );
    assert_eq!(number(&copy, "SELECT count(*) FROM Follow_up_Visit"), 600);
    assert_eq!(
        number(
            &copy,
            "SELECT count(*) FROM Person WHERE geom IS NOT NULL AND given_name LIKE '% %'"
        ),
        300
    );
    assert_eq!(
        number(
            &copy,
            "SELECT count(*) FROM Follow_up_Visit WHERE typeof(weight) = 'real'"
        ),
        600
    );

    // Nothing changed: nothing comes.
    let (code, told) = server.download(&[]);
    assert_eq!((code, &told["trackedEntities"]), (0, &json!(0)), "{told}");

    // One edit here, one there, and one of the same record on both sides.
    edit(
        &copy,
        "UPDATE Person SET given_name = 'mine' WHERE uid = 'hvTe0000001'",
    );
    let change = |n: u32| {
        json!({"trackedEntity": format!("hvTe{n:07}"), "trackedEntityType": "hvTeType001", "orgUnit": if n.is_multiple_of(3) { "hvOuFacil02" } else { "hvOuFacil01" },
        "attributes": [{"attribute": "hvAttrName1", "value": "theirs"}]})
    };
    let report = server.import(
        "CREATE_AND_UPDATE",
        &json!({"trackedEntities": [change(1), change(2)]}),
    );
    assert_eq!(report["stats"]["updated"], 2, "{report}");
    let (code, told) = server.download(&[]);
    assert_eq!(code, 0, "{told}");
    assert_eq!(told["trackedEntities"], 2, "only what changed: {told}");
    assert_eq!(told["protected"], 1, "{told}");
    for (uid, name) in [("hvTe0000001", "mine"), ("hvTe0000002", "theirs")] {
        let sql =
            format!("SELECT count(*) FROM Person WHERE uid = '{uid}' AND given_name = '{name}'");
        assert_eq!(number(&copy, &sql), 1, "{uid}");
    }
    let (_, told) = server.run(&["status", "copy.gpkg"]);
    assert_eq!(told["states"], json!({"TO_UPDATE": 1}), "{told}");
    assert_eq!(told["objects"]["events"]["rows"], 600, "{told}");
}

#[test]
fn both_apis_bring_the_same_and_limits_hold_where_they_are_asked_for() {
    let server = Server::start();
    server.login();
    let event = |n: u32| {
        json!({"event": format!("single{n:05}"), "program": "hvEventPrg1", "programStage": "hvStage0002", "orgUnit": "hvOuFacil01",
            "status": "COMPLETED", "occurredAt": "2024-05-01", "dataValues": []})
    };
    let tie = json!({"relationship": "hvRel000001", "relationshipType": "hvRelType01", "from": {"trackedEntity": {"trackedEntity": "hvTe0000001"}},
        "to": {"trackedEntity": {"trackedEntity": "hvTe0000002"}}});
    let report = server.import(
        "CREATE_AND_UPDATE",
        &json!({"events": (0..60).map(event).collect::<Vec<_>>(), "relationships": [tie]}),
    );
    assert_eq!(report["stats"]["created"], 61, "{report}");
    let (code, told) = server.download(&[]);
    assert_eq!((code, &told["events"]), (0, &json!(60)), "{told}");
    let copy = server.copy();
    let old = server.folder.path().join("old.gpkg");
    let url = format!("http://{}", server.address);
    assert_eq!(server.run(&["login", &url, "-o", "old.gpkg"]).0, 0);
    let (code, told) = server.run(&["download", "old.gpkg", "--api", "old"]);
    assert_eq!(
        (code, &told["trackedEntities"], &told["events"]),
        (0, &json!(300), &json!(60)),
        "{told}"
    );
    let db = Connection::open(&copy).unwrap();
    let path = old.to_str().unwrap();
    db.execute("ATTACH ?1 AS old", [path]).unwrap();
    for table in [
        "Person",
        "Follow_up_enrollments",
        "Follow_up_Visit",
        "Single_visit_Form",
        "Relationships",
    ] {
        let columns: Vec<String> = db
            .prepare(&format!(
                "SELECT name FROM pragma_table_info('{table}') WHERE name <> 'fid'"
            ))
            .unwrap()
            .query_map([], |row| row.get(0))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        let columns = columns.join(", ");
        let differ: i64 = db
            .query_row(
                &format!("SELECT count(*) FROM (SELECT {columns} FROM main.{table} EXCEPT SELECT {columns} FROM old.{table})"),
                [],
                |row| row.get(0),
            )
            .unwrap();
        let rows = number(&copy, &format!("SELECT count(*) FROM {table}"));
        assert_eq!((differ, rows > 0), (0, true), "{table}");
    }

    for (limit, stored) in [
        (vec!["--limit-by-orgunit"], 20),
        (vec!["--limit-by-program"], 10),
        (vec!["--program", "hvProgram01"], 10),
        (vec!["--program", "hvEventPrg1"], 0),
    ] {
        let name = format!("{stored}{}.gpkg", limit.join(""));
        assert_eq!(server.run(&["login", &url, "-o", &name]).0, 0);
        let mut args = vec!["download", name.as_str(), "--limit", "10"];
        args.extend_from_slice(&limit);
        let (code, told) = server.run(&args);
        assert_eq!(code, 0, "{told}");
        let people = number(
            &server.folder.path().join(&name),
            "SELECT count(*) FROM Person WHERE is_stub = 0",
        );
        assert_eq!(people, stored, "{limit:?} {told}");
    }
}

#[test]
fn what_the_server_deletes_goes_and_what_was_edited_here_is_kept_on_both_sides() {
    let server = Server::start();
    server.login();
    server.download(&[]);
    let copy = server.copy();
    edit(
        &copy,
        "UPDATE Follow_up_Visit SET weight = 71.5 WHERE uid = 'hvEv0000100'",
    );
    let gone = json!({"trackedEntities": [{"trackedEntity": "hvTe0000001"}, {"trackedEntity": "hvTe0000002"}]});
    let report = server.import("DELETE", &gone);
    assert_eq!(report["stats"]["deleted"], 2, "{report}");

    let (code, told) = server.download(&[]);
    assert_eq!((code, &told["conflicts"]), (3, &json!(1)), "{told}");
    assert_eq!(
        number(
            &copy,
            "SELECT count(*) FROM Person WHERE uid IN ('hvTe0000001', 'hvTe0000002')"
        ),
        0
    );
    assert_eq!(
        number(
            &copy,
            "SELECT count(*) FROM Follow_up_Visit WHERE uid LIKE 'hvEv00002%'"
        ),
        0
    );
    assert_eq!(
        number(
            &copy,
            "SELECT count(*) FROM Follow_up_Visit WHERE uid = 'hvEv0000100' AND weight = 71.5"
        ),
        1
    );
    let (_, told) = server.run(&["conflicts", "copy.gpkg"]);
    assert_eq!(told["conflicts"][0]["object"], "hvEv0000100", "{told}");
    // Told again, it is no second conflict.
    let (_, told) = server.download(&["--full"]);
    assert_eq!(told["conflicts"], 0, "{told}");

    let (code, _) = server.run(&["wipe", "copy.gpkg", "--level", "data"]);
    assert_eq!(code, 1, "unsent work is not wiped without being asked for");
    assert_eq!(number(&copy, "SELECT count(*) FROM haversack_outbox"), 1);
    let (code, _) = server.run(&["wipe", "copy.gpkg", "--level", "data", "--discard-unsent"]);
    assert_eq!(code, 0);
    assert_eq!(number(&copy, "SELECT count(*) FROM Person"), 0);
    assert_eq!(number(&copy, "SELECT count(*) FROM DHIS2_programs"), 2);
    let (code, told) = server.download(&[]);
    assert_eq!(
        (code, &told["trackedEntities"]),
        (0, &json!(300)),
        "no mark is left: {told}"
    );
    let (code, _) = server.run(&["wipe", "copy.gpkg", "--level", "everything"]);
    assert_eq!((code, copy.exists()), (0, false));
}

#[test]
fn a_row_that_a_plain_program_adds_gets_a_uid() {
    let server = Server::start();
    server.login();
    server.download(&["--limit", "3"]);
    let copy = server.copy();
    assert_eq!(number(&copy, "SELECT count(*) FROM Person"), 3);
    edit(
        &copy,
        "INSERT INTO Person (given_name, org_unit) VALUES ('New', 'hvOuFacil01')",
    );
    edit(
        &copy,
        "INSERT INTO Person (uid, given_name) VALUES ('aBcDeFgHiJ1', 'Named')",
    );
    edit(
        &copy,
        "INSERT INTO Person (uid, given_name) VALUES ('not a uid', 'Odd')",
    );
    let of = "SELECT count(*) FROM Person WHERE length(uid) = 11 AND uid GLOB '[A-Za-z]*' AND uid NOT GLOB '*[^A-Za-z0-9]*'";
    assert_eq!(number(&copy, of), 6);
    assert_eq!(
        number(
            &copy,
            "SELECT count(*) FROM Person WHERE uid = 'aBcDeFgHiJ1'"
        ),
        1
    );
    let (_, told) = server.run(&["status", "copy.gpkg"]);
    assert_eq!(told["states"], json!({"TO_POST": 3}), "{told}");
}

#[test]
fn what_was_edited_goes_up_and_what_is_refused_says_what_to_do() {
    let server = Server::start();
    server.login();
    let copy = server.copy();
    let (code, told) = server.download(&[]);
    assert_eq!(code, 0, "{told}");
    edit(
        &copy,
        "UPDATE person SET given_name = 'Renamed' WHERE fid = 1",
    );
    edit(
        &copy,
        "UPDATE follow_up_enrollments SET age = -4 WHERE fid = 2",
    );
    let (code, told) = server.run(&["upload", "copy.gpkg"]);
    assert_eq!((code, &told["stored"]), (3, &json!(1)), "{told}");
    let refused = &told["conflicts"][0];
    assert_eq!(
        (&refused["code"], &refused["value"]),
        (&json!("E1007"), &json!("-4")),
        "{told}"
    );
    assert!(refused["hint"].as_str().unwrap().contains("correct it"));
    let (code, told) = server.run(&["upload", "copy.gpkg", "--retry-errors"]);
    assert_eq!(
        (code, told["refused"].as_array().unwrap().len()),
        (3, 1),
        "{told}"
    );
    edit(
        &copy,
        "UPDATE follow_up_enrollments SET age = 4 WHERE fid = 2",
    );
    let (code, told) = server.run(&["upload", "copy.gpkg", "--api", "old"]);
    assert_eq!(
        (code, &told["stored"], &told["waiting"]),
        (0, &json!(1), &json!(0)),
        "{told}"
    );
    // What was sent stays when it comes back, and when others were changed since.
    let (code, told) = server.download(&[]);
    assert_eq!((code, &told["removed"]), (0, &json!(0)), "{told}");
    let same = "SELECT (SELECT count(*) FROM person WHERE given_name = 'Renamed') + (SELECT count(*) FROM follow_up_enrollments WHERE fid = 2 AND age = 4)";
    assert_eq!(number(&copy, same), 2);
    assert_eq!(number(&copy, "SELECT count(*) FROM person"), 300);
    assert_eq!(number(&copy, "SELECT count(*) FROM haversack_outbox"), 0);
}

#[test]
fn reserved_values_are_given_out_once_without_a_server_too() {
    let mut server = Server::start();
    server.login();
    let (code, told) = server.run(&["reserve", "copy.gpkg", "--full", "10"]);
    assert_eq!(code, 0, "{told}");
    let pools = told["pools"].as_array().unwrap();
    assert!(pools.len() >= 2, "{told}");
    assert!(pools.iter().all(|pool| pool["left"] == 10), "{told}");
    let take = [
        "reserve",
        "copy.gpkg",
        "--attribute",
        "hvAttrRand1",
        "--take",
    ];
    let (_, first) = server.run(&take);
    server.child.kill().unwrap();
    server.child.wait().unwrap();
    let (_, second) = server.run(&take);
    let value = |told: &Json| told["pools"][0]["value"].as_str().unwrap().to_owned();
    assert_ne!(value(&first), value(&second));
    assert_eq!(second["pools"][0]["left"], 8);
}

#[test]
fn the_far_side_of_a_relationship_is_not_edited_and_says_so() {
    let server = Server::start();
    server.login();
    let tie = json!({"relationship": "hvRel000001", "relationshipType": "hvRelType01", "from": {"trackedEntity": {"trackedEntity": "hvTe0000001"}},
        "to": {"trackedEntity": {"trackedEntity": "hvTe0000002"}}});
    let report = server.import("CREATE_AND_UPDATE", &json!({"relationships": [tie]}));
    assert_eq!(report["stats"]["created"], 1, "{report}");
    let (code, told) = server.download(&["--uid", "hvTe0000001"]);
    assert_eq!(code, 0, "{told}");
    let copy = server.copy();
    edit(
        &copy,
        "UPDATE Person SET given_name = 'mine' WHERE uid = 'hvTe0000002' AND is_stub = 1",
    );
    let (code, told) = server.run(&["upload", "copy.gpkg"]);
    assert_eq!((code, &told["stored"]), (3, &json!(0)), "{told}");
    let refused = &told["refused"][0];
    assert_eq!(refused["uid"], "hvTe0000002", "{told}");
    let reason = refused["reason"].as_str().unwrap();
    assert!(reason.contains("other side of a relationship"), "{reason}");
    // The work is still here.
    let mine = "SELECT count(*) FROM Person WHERE uid = 'hvTe0000002' AND given_name = 'mine'";
    assert_eq!(number(&copy, mine), 1);
}

#[test]
fn a_family_is_as_bad_as_its_worst_member() {
    let server = Server::start();
    server.login();
    server.download(&[]);
    let copy = server.copy();
    let aggregated = || {
        let (_, told) = server.run(&["status", "copy.gpkg"]);
        told["aggregated"].clone()
    };
    assert_eq!(aggregated(), json!({}));
    edit(
        &copy,
        "UPDATE Follow_up_enrollments SET age = -4 WHERE uid = 'hvEn0000001'",
    );
    edit(
        &copy,
        "INSERT INTO Follow_up_Visit (uid, enrollment, org_unit, occurred_at) VALUES ('newEvent001', 'hvEn0000004', 'hvOuFacil01', '2025-01-01')",
    );
    edit(
        &copy,
        "DELETE FROM Follow_up_Visit WHERE fid = (SELECT min(fid) FROM Follow_up_Visit WHERE enrollment = 'hvEn0000002')",
    );
    assert_eq!(
        aggregated(),
        json!({"trackedEntities": {"TO_UPDATE": 3}, "enrollments": {"TO_UPDATE": 3}, "events": {"TO_UPDATE": 2}})
    );
    let (code, told) = server.run(&["upload", "copy.gpkg"]);
    assert_eq!((code, &told["stored"]), (3, &json!(2)), "{told}");
    assert_eq!(
        aggregated(),
        json!({"trackedEntities": {"ERROR": 1}, "enrollments": {"ERROR": 1}}),
        "what is refused shows above"
    );
}

#[test]
fn aggregate_data_go_up_and_down_with_the_rest() {
    let server = Server::start();
    server.login();
    let copy = server.copy();
    edit(
        &copy,
        "INSERT INTO data_values (data_element, period, org_unit, value) VALUES ('hvDeCases01', '202601', 'hvOuFacil01', '7')",
    );
    edit(
        &copy,
        "INSERT INTO data_values (data_element, period, org_unit, value) VALUES ('hvDeCases01', '202602', 'hvOuFacil01', 'many')",
    );
    let (code, told) = server.run(&["upload", "copy.gpkg"]);
    assert_eq!((code, &told["stored"]), (3, &json!(1)), "{told}");
    assert_eq!(told["refused"][0]["kind"], "dataValue");
    assert_eq!(told["conflicts"][0]["code"], "E7619");
    let (_, told) = server.run(&["status", "copy.gpkg"]);
    assert_eq!(told["objects"]["dataValues"]["ERROR"], 1, "{told}");
    edit(
        &copy,
        "UPDATE data_values SET value = '8' WHERE value = 'many'",
    );
    assert_eq!(server.run(&["upload", "copy.gpkg"]).0, 0);

    let periods = ["--only", "aggregate", "--periods", "202601,202602"];
    let (code, told) = server.download(&periods);
    assert_eq!(code, 0, "{told}");
    assert_eq!(told["aggregate"]["dataValues"], 2, "{told}");
    assert!(told.get("trackedEntities").is_none());
    assert_eq!(number(&copy, "SELECT count(*) FROM data_values"), 2);
    let (code, _) = server.download(&["--only", "aggregate", "--periods", "soon"]);
    assert_eq!(code, 1, "that is no period");
    // A file goes before what names it.
    edit(
        &copy,
        "INSERT INTO files (uid, name, content) VALUES ('fileLocal01', 'a.txt', CAST('x' AS BLOB))",
    );
    let (code, told) = server.run(&["upload", "copy.gpkg"]);
    assert_eq!((code, &told["files"]["sent"]), (0, &json!(1)), "{told}");
    let (code, told) = server.download(&["--only", "aggregate", "--files"]);
    assert_eq!(
        (code, &told["files"]["dropped"]),
        (0, &json!(1)),
        "nothing names it: {told}"
    );
    let (code, told) = server.download(&["--only", "aggregate", "--data-sets", "hvDataSet99"]);
    assert_eq!(
        (code, told["aggregate"]["failed"].as_array().unwrap().len()),
        (3, 1)
    );
}
