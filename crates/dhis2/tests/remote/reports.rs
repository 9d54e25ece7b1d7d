//! Data sets and files whose answers fail, are cut or make no sense.

use haversack_dhis2::remote::files::{self, MAX_BYTES};
use haversack_dhis2::remote::pull::{self, AggregateDownloaded, AggregateRequest};
use serde_json::{Value as Json, json};

use crate::fake::{Asked, Copy, Does, Fake, NOW, UNIT};

const SETS: [&str; 2] = ["setFirst001", "setSecond01"];

/// A server with two data sets; the second has a value in this month and a completion.
fn server() -> Fake {
    let fake = Fake::start("2.41.0");
    fake.add("dataElements", json!({"id": "elemCases01", "name": "Cases", "valueType": "INTEGER", "domainType": "AGGREGATE"}));
    fake.add(
        "dataElements",
        json!({"id": "elemPhoto01", "name": "Photo", "valueType": "FILE_RESOURCE"}),
    );
    for id in SETS {
        fake.add(
            "dataSets",
            json!({"id": id, "name": id, "periodType": "Monthly", "dataSetElements": [{"dataElement": {"id": "elemCases01"}}, {"dataElement": {"id": "elemPhoto01"}}]}),
        );
    }
    fake.add_program();
    fake
}

fn answer(asked: &Asked) -> Option<Json> {
    let is_second = asked.param("dataSet").as_deref() == Some(SETS[1]);
    let some = |member: &str, of: Json| {
        if is_second {
            json!({ member: [of] })
        } else {
            json!({})
        }
    };
    Some(match asked.path.as_str() {
        "dataValueSets" => some(
            "dataValues",
            json!({"dataElement": "elemCases01", "period": "202610", "orgUnit": UNIT, "value": "7"}),
        ),
        "completeDataSetRegistrations" => some(
            "completeDataSetRegistrations",
            json!({"dataSet": SETS[1], "period": "202610", "organisationUnit": UNIT, "completed": true}),
        ),
        _ => return None,
    })
}

fn download(copy: &mut Copy, fake: &Fake) -> AggregateDownloaded {
    let request = AggregateRequest::default();
    let server = fake.server();
    pull::aggregate(&server, &mut copy.file, &request, &|| NOW, &mut |_| {}).unwrap()
}

fn faults(member: &str) -> Vec<Does> {
    vec![
        Does::Answers(500, json!({"message": "no"})),
        Does::Answers(409, json!({"message": "no"})),
        Does::Cuts(json!({ member: [] })),
        Does::Hangs,
        Does::Says("<html>"),
        Does::Says(""),
        Does::Answers(
            200,
            json!({"httpStatus": "Conflict", "status": "ERROR", "message": "no"}),
        ),
        Does::Answers(200, json!({ member: "none" })),
        Does::Answers(200, json!([])),
    ]
}

#[test]
fn a_data_set_that_fails_is_named_and_asked_for_again_next_time() {
    let fake = server();
    for path in ["dataValueSets", "completeDataSetRegistrations"] {
        let member = if path == "dataValueSets" {
            "dataValues"
        } else {
            path
        };
        let most = if path == member { 3 } else { usize::MAX };
        for fault in faults(member).into_iter().take(most) {
            let mut copy = fake.copy();
            copy.edit(&format!("INSERT INTO Data_values (data_element, period, org_unit, value) VALUES ('elemCases01', '202609', '{UNIT}', '5')"));
            let does = fault.clone();
            fake.script(move |asked| {
                let fails =
                    asked.path == path && asked.param("dataSet").as_deref() == Some(SETS[0]);
                if fails {
                    return Some(does.clone());
                }
                answer(asked).map(|body| Does::Answers(200, body))
            });
            let done = download(&mut copy, &fake);
            let failed: Vec<&str> = done
                .failed
                .iter()
                .map(|one| one.data_set.as_str())
                .collect();
            assert_eq!(failed, [SETS[0]], "{path} {fault:?}: {done:?}");
            assert_eq!((done.values, done.completions), (1, 1), "{fault:?}");
            fake.script(|asked| answer(asked).map(|body| Does::Answers(200, body)));
            fake.asked("");
            let done = download(&mut copy, &fake);
            assert_eq!(done.failed, [], "{fault:?}");
            // Its mark had not moved, that of the other one had.
            let asked = fake.asked("dataValueSets");
            let since: Vec<bool> = asked
                .iter()
                .map(|one| one.param("lastUpdated").is_some())
                .collect();
            assert_eq!(since, [false, true], "{path} {fault:?}");
            let unsent = "SELECT count(*) FROM Data_values WHERE value = '5'";
            assert_eq!(copy.number(unsent), 1);
            assert_eq!(copy.number("SELECT count(*) FROM haversack_outbox"), 1);
        }
    }
}

#[test]
fn values_that_cannot_be_placed_keep_no_other_out() {
    let fake = server();
    let mut copy = fake.copy();
    fake.script(|asked| {
        let body = match asked.path.as_str() {
            "dataValueSets" => json!({"dataValues": [
                7, null, "a text", {}, {"dataElement": {"id": 3}, "period": 202_610},
                {"dataElement": "elemCases01", "period": "202610", "orgUnit": UNIT, "value": "7"},
                {"dataElement": "elemCases01", "period": "202610", "orgUnit": UNIT, "value": "7"},
                {"dataElement": "'); DROP TABLE Data_values; --", "period": "soon", "orgUnit": "../..", "value": "8"}]}),
            "completeDataSetRegistrations" => json!({}),
            _ => return None,
        };
        Some(Does::Answers(200, body))
    });
    for _ in 0..2 {
        let done = download(&mut copy, &fake);
        assert_eq!(done.failed, []);
        let good =
            "SELECT count(*) FROM Data_values WHERE data_element = 'elemCases01' AND value = '7'";
        assert_eq!(copy.number(good), 1);
    }
}

#[test]
fn a_file_whose_answer_makes_no_sense_stays_and_waits() {
    let fake = server();
    for (fault, is_final) in [
        (Does::Answers(503, json!({"message": "busy"})), false),
        (Does::Answers(409, json!({"message": "no"})), true),
        (Does::Cuts(json!({})), false),
        (Does::Hangs, false),
        (Does::Says("<html>"), false),
        (
            Does::Answers(200, json!({"status": "ERROR", "message": "no"})),
            true,
        ),
        (
            Does::Answers(200, json!({"response": {"fileResource": {"id": 7}}})),
            true,
        ),
    ] {
        let mut copy = fake.copy();
        copy.edit("INSERT INTO Files (uid, name, content) VALUES ('fileLocal01', 'a.png', CAST('signed' AS BLOB))");
        let does = fault.clone();
        fake.script(move |asked| (asked.path == "fileResources").then(|| does.clone()));
        let sent = files::send(&fake.server().http, &mut copy.file);
        assert!(sent.is_err() || sent.unwrap().refused.len() == 1);
        let kept = "SELECT count(*) FROM Files WHERE uid = 'fileLocal01' AND content = CAST('signed' AS BLOB)";
        assert_eq!(copy.number(kept), 1, "{fault:?}");
        assert_eq!(copy.number("SELECT count(*) FROM haversack_outbox"), 1);
        fake.script(|asked| {
            let given = json!({"response": {"fileResource": {"id": "fileAbove01"}}});
            (asked.path == "fileResources").then(|| Does::Answers(202, given.clone()))
        });
        if is_final {
            let again = files::send(&fake.server().http, &mut copy.file).unwrap();
            assert_eq!(again.sent, 0, "{fault:?}");
            copy.retry();
        }
        assert_eq!(
            files::send(&fake.server().http, &mut copy.file)
                .unwrap()
                .sent,
            1
        );
        assert_eq!(copy.number("SELECT count(*) FROM haversack_outbox"), 0);
    }
}

#[test]
fn a_picture_that_does_not_come_is_named_and_comes_next_time() {
    let fake = server();
    let value = json!({"dataElement": "elemPhoto01", "period": "202610", "orgUnit": UNIT, "value": "fileAbove01"});
    for fault in [
        Does::Answers(500, json!({"message": "no"})),
        Does::Answers(404, json!({"message": "no"})),
        Does::Cuts(json!("some")),
        Does::Hangs,
        Does::Redirects("http://127.0.0.1:1/".to_owned()),
    ] {
        let mut copy = fake.copy();
        let script = |does: Does, value: Json| {
            move |asked: &Asked| match asked.path.as_str() {
                "dataValueSets" => Some(Does::Answers(200, json!({"dataValues": [value]}))),
                "completeDataSetRegistrations" => Some(Does::Answers(200, json!({}))),
                "dataValues/files" => Some(does.clone()),
                _ => None,
            }
        };
        fake.script(script(fault.clone(), value.clone()));
        download(&mut copy, &fake);
        let fetched = files::fetch(&fake.server(), &mut copy.file, MAX_BYTES, &mut |_| {}).unwrap();
        assert_eq!((fetched.fetched, fetched.failed.len()), (0, 1), "{fault:?}");
        fake.script(script(Does::Says("smile"), value.clone()));
        let fetched = files::fetch(&fake.server(), &mut copy.file, MAX_BYTES, &mut |_| {}).unwrap();
        assert_eq!((fetched.fetched, fetched.failed.len()), (1, 0), "{fault:?}");
        let kept = "SELECT count(*) FROM Files WHERE CAST(content AS TEXT) = 'smile'";
        assert_eq!(copy.number(kept), 1);
    }
}
