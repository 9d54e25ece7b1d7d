//! Data values and completions: down, edited by plain SQL, up, with clashes, refusals and answers of every version.

use std::cell::RefCell;
use std::rc::Rc;

use haversack_dhis2::remote::copy;
use haversack_dhis2::remote::http::Answer;
use haversack_dhis2::remote::pull::{self, AggregateDownloaded, AggregateRequest};
use haversack_model::Timestamp;
use haversack_sqlite::replica::ReplicaFile;
use serde_json::{Value, json};

use crate::world::{Meddler, NEW, World, cut, status};

const NOW: Timestamp = Timestamp(1_795_262_400_000);
const OF_THE_YEAR: [(&str, &str); 5] = [
    ("dataSet", "hvDataSet01"),
    ("startDate", "2025-01-01"),
    ("endDate", "2027-12-31"),
    ("orgUnit", "hvOuRoot001"),
    ("children", "true"),
];

impl World {
    /// A copy with the server's metadata.
    pub(crate) fn with_metadata() -> Self {
        Self::new().synced()
    }
    pub(crate) fn synced(self) -> Self {
        let world = self;
        // The administrator enters data everywhere.
        let unit = json!({"users": [{"id": "userRoot001", "username": "root", "organisationUnits": [{"id": "hvOuRoot001"}]}]});
        world.http.post("metadata", &[], Some(&unit)).unwrap();
        let mut file = ReplicaFile::open(&world.path).unwrap();
        copy::sync_metadata(&world.server(), &mut file, NOW, &mut |_| {}).unwrap();
        world
    }
    pub(crate) fn fetch_values(&self, request: &AggregateRequest) -> AggregateDownloaded {
        let mut file = ReplicaFile::open(&self.path).unwrap();
        pull::aggregate(&self.server(), &mut file, request, &|| NOW, &mut |_| {}).unwrap()
    }
    fn values(&self) -> Vec<(String, String)> {
        let told = self.http.get("dataValueSets", &OF_THE_YEAR).unwrap();
        let all = told["dataValues"].as_array().unwrap().iter();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut all: Vec<_> = all
            .map(|one| (text(&one["period"]), text(&one["value"])))
            .collect();
        all.sort();
        all
    }
    fn complete(&self) -> usize {
        let path = "completeDataSetRegistrations";
        let told = self.http.get(path, &OF_THE_YEAR).unwrap();
        told[path].as_array().unwrap().len()
    }
    fn server_has(&self, values: &[(&str, &str)]) {
        let values: Vec<Value> = values.iter().map(|(period, value)| json!({"dataElement": "hvDeCases01", "period": period, "orgUnit": "hvOuFacil01", "value": value})).collect();
        let told = self
            .http
            .post(
                "dataValueSets",
                &[],
                Some(&json!({"dataSet": "hvDataSet01", "dataValues": values})),
            )
            .unwrap();
        assert_eq!(told.status, 200, "{}", told.body);
    }
    fn enter(&self, period: &str, value: &str) {
        self.sql(&format!(
            "INSERT INTO data_values (data_element, period, org_unit, value) VALUES ('hvDeCases01', '{period}', 'hvOuFacil01', '{value}')"
        ));
    }
}

fn pair(period: &str, value: &str) -> (String, String) {
    (period.to_owned(), value.to_owned())
}

#[test]
fn values_and_completions_go_up_and_come_down_elsewhere() {
    let world = World::with_metadata();
    world.server_has(&[("202601", "1"), ("202602", "2"), ("202603", "3")]);
    let done = world.fetch_values(&AggregateRequest::default());
    assert_eq!(
        (done.values, done.put, done.failed.len()),
        (3, 3, 0),
        "{done:?}"
    );
    assert_eq!(
        world.cell("SELECT value FROM data_values WHERE period = '202602'"),
        "2"
    );

    world.enter("202604", "4");
    world.sql(
        "UPDATE data_values SET value = '20', comment = 'counted again' WHERE period = '202602';
         DELETE FROM data_values WHERE period = '202603';
         INSERT INTO data_set_completions (data_set, period, org_unit) VALUES ('hvDataSet01', '202601', 'hvOuFacil01');",
    );
    let told = world.upload(NEW);
    assert_eq!(told.rejected, []);
    assert_eq!((told.applied, told.untold), (4, 0));
    assert_eq!(world.states(), []);
    let expected = [
        pair("202601", "1"),
        pair("202602", "20"),
        pair("202604", "4"),
    ];
    assert_eq!(world.values(), expected);
    assert_eq!(world.complete(), 1);

    // What comes back are the same rows.
    let done = world.fetch_values(&AggregateRequest::default());
    assert_eq!(done.failed, []);
    assert_eq!(world.cell("SELECT count(*) FROM data_values"), "3");
    assert_eq!(world.cell("SELECT count(*) FROM data_set_completions"), "1");
    assert_eq!(
        world.cell("SELECT stored_by FROM data_values WHERE period = '202604'"),
        "root"
    );

    // Others take back and delete.
    world.sql("DELETE FROM data_set_completions; UPDATE data_values SET value = NULL, comment = NULL WHERE period = '202604';");
    assert_eq!(world.upload(NEW).applied, 2);
    assert_eq!((world.complete(), world.values().len()), (0, 2));
    let done = world.fetch_values(&AggregateRequest {
        full: true,
        ..AggregateRequest::default()
    });
    assert_eq!(done.failed, []);
    assert_eq!(world.cell("SELECT count(*) FROM data_values"), "2");
    assert_eq!(world.upload(NEW).applied, 0, "nothing is left to send");
}

#[test]
fn a_row_that_is_added_for_a_value_that_is_there_is_an_edit_of_it() {
    let world = World::with_metadata();
    world.server_has(&[("202601", "1")]);
    world.fetch_values(&AggregateRequest::default());
    world.enter("202601", "10");
    world.enter("202601", "11");
    world.enter("202602", "2");
    world.enter("202602", "2");
    let told = world.upload(NEW);
    assert_eq!((told.applied, told.rejected.len()), (2, 0));
    assert_eq!(world.values(), [pair("202601", "11"), pair("202602", "2")]);
    assert_eq!(world.cell("SELECT count(*) FROM data_values"), "2");
    // The same again changes nothing.
    world.enter("202601", "11");
    assert_eq!(world.upload(NEW).applied, 0);
    assert_eq!(world.states(), []);
    // Deleted and entered anew in one go.
    world.sql("DELETE FROM data_values WHERE period = '202601'");
    world.enter("202601", "12");
    assert_eq!(world.upload(NEW).applied, 1);
    assert_eq!(world.values()[0], pair("202601", "12"));
}

#[test]
fn what_a_value_is_about_is_not_changed() {
    let world = World::with_metadata();
    world.server_has(&[("202601", "1")]);
    world.fetch_values(&AggregateRequest::default());
    world.sql("UPDATE data_values SET period = '202605'");
    let told = world.upload(NEW);
    assert_eq!(told.rejected.len(), 1);
    assert!(
        told.rejected[0].2.contains("delete the row"),
        "{}",
        told.rejected[0].2
    );
    assert_eq!(world.values(), [pair("202601", "1")]);
}

#[test]
fn one_value_that_does_not_fit_is_refused_alone_and_goes_when_it_is_corrected() {
    let world = World::with_metadata();
    world.enter("202601", "1");
    world.enter("202602", "many");
    world.enter("202603", "3");
    let told = world.upload(NEW);
    assert_eq!((told.applied, told.rejected.len()), (2, 1), "{told:?}");
    let unsettled = world.unsettled();
    assert_eq!(unsettled.len(), 1);
    assert_eq!(unsettled[0].1, "ERROR");
    let said = world.conflicts();
    let said = &said[0].conflict;
    assert_eq!(
        (
            said.kind.as_str(),
            said.code.as_str(),
            said.field.as_str(),
            said.value.as_str()
        ),
        ("dataValue", "E7619", "hvDeCases01", "many")
    );
    assert!(!said.hint.is_empty());
    assert_eq!(
        world.upload(NEW).applied,
        0,
        "it is not sent again by itself"
    );
    world.sql("UPDATE data_values SET value = '2' WHERE value = 'many'");
    assert_eq!(world.upload(NEW).applied, 1);
    assert_eq!((world.values().len(), world.conflicts().len()), (3, 0));
}

#[test]
fn a_value_that_was_refused_and_then_deleted_is_gone() {
    let world = World::with_metadata();
    world.enter("202601", "many");
    assert_eq!(world.upload(NEW).rejected.len(), 1);
    world.sql("DELETE FROM data_values");
    let told = world.upload(NEW);
    assert_eq!(told.rejected, []);
    assert_eq!(world.states(), []);
}

#[test]
fn unsent_values_are_protected_and_a_deletion_of_one_that_was_edited_is_a_conflict() {
    let world = World::with_metadata();
    world.server_has(&[("202601", "1"), ("202602", "2")]);
    world.fetch_values(&AggregateRequest::default());
    world.sql("UPDATE data_values SET value = '100'");
    world.server_has(&[("202601", "5")]);
    let gone = json!({"dataValues": [{"dataElement": "hvDeCases01", "period": "202602", "orgUnit": "hvOuFacil01", "value": "2", "deleted": true}]});
    world.http.post("dataValueSets", &[], Some(&gone)).unwrap();
    let done = world.fetch_values(&AggregateRequest::default());
    assert_eq!((done.protected, done.conflicts), (2, 1), "{done:?}");
    assert_eq!(
        world.cell("SELECT count(*) FROM data_values WHERE value = '100'"),
        "2"
    );
    let done = world.fetch_values(&AggregateRequest::default());
    assert_eq!(done.conflicts, 0, "the same deletion is told again");
}

/// What a server of another version, or in another mood, answers to values.
fn answering(world: &World, body: Value, code: u16) -> Meddler<'_> {
    let mut meddler = Meddler::new(&world.http);
    meddler.before = Box::new(move |line, _| {
        (line == "POST dataValueSets").then(|| {
            Ok(Answer {
                status: code,
                body: body.clone(),
            })
        })
    });
    meddler
}

#[test]
fn answers_of_every_version_are_understood() {
    let summary = |status: &str, conflicts: Value| json!({"responseType": "ImportSummary", "status": status, "importCount": {"imported": 0, "updated": 0, "ignored": 0, "deleted": 0}, "conflicts": conflicts});
    let wrapped = |status: &str, conflicts: Value| json!({"status": "OK", "response": summary(status, conflicts)});
    let of_one = json!([{"object": "many", "value": "Data value is not a positive integer, must match data element type: hvDeCases01"}]);
    let world = World::with_metadata();
    let cases = [
        (
            "bare, before 2.38",
            200,
            summary("SUCCESS", json!([])),
            2,
            0,
        ),
        ("wrapped", 200, wrapped("OK", json!([])), 2, 0),
        (
            "200 with errors",
            200,
            wrapped("WARNING", of_one.clone()),
            1,
            1,
        ),
        (
            "409 with a normal body",
            409,
            wrapped("WARNING", of_one),
            1,
            1,
        ),
        (
            "numbered",
            409,
            wrapped(
                "WARNING",
                json!([{"object": "x", "value": "no", "indexes": [0]}]),
            ),
            1,
            1,
        ),
        (
            "a number that is none",
            409,
            wrapped(
                "WARNING",
                json!([{"object": "x", "value": "no", "indexes": [70]}]),
            ),
            0,
            2,
        ),
        ("an error of all", 409, wrapped("ERROR", json!([])), 0, 2),
        (
            "no summary in it",
            409,
            json!({"httpStatusCode": 409, "message": "Period is closed"}),
            0,
            2,
        ),
    ];
    for (year, (name, code, body, applied, refused)) in (2001..).zip(cases) {
        world.enter(&format!("{year}01"), "many");
        world.enter(&format!("{year}02"), "2");
        let told = world
            .upload_by(&answering(&world, body, code), NEW)
            .unwrap();
        assert_eq!(
            (told.applied, told.rejected.len()),
            (applied, refused),
            "{name}: {told:?}"
        );
    }
}

#[test]
fn the_real_data_of_dhis2_tells_what_became_of_values() {
    let shared = std::env::var("HAVERSACK_SHARED").expect("HAVERSACK_SHARED names the shared data");
    let path = std::path::Path::new(&shared).join("fixtures/dhis2/datavalueset");
    for (name, code, applied) in [("success", 200, 1), ("warning", 409, 0)] {
        let text = std::fs::read_to_string(path.join(format!("data_value_set_{name}.json")));
        let world = World::with_metadata();
        world.enter("202601", "40L");
        let body = serde_json::from_str(&text.unwrap()).unwrap();
        let told = world
            .upload_by(&answering(&world, body, code), NEW)
            .unwrap();
        assert_eq!(told.applied, applied, "{name}");
        assert_eq!(told.rejected.len() as u64, 1 - applied, "{name}");
    }
}

#[test]
fn an_answer_that_is_lost_leads_to_the_same_values_again() {
    let world = World::with_metadata();
    world.enter("202601", "1");
    let mut meddler = Meddler::new(&world.http);
    meddler.after = Box::new(|line, answer| {
        if line == "POST dataValueSets" {
            Err(cut())
        } else {
            Ok(answer)
        }
    });
    assert!(world.upload_by(&meddler, NEW).is_err());
    assert_eq!(world.states()[0].1, "UPLOADING");
    // It was corrected meanwhile: the frozen one is sent first, the correction after it.
    world.sql("UPDATE data_values SET value = '2'");
    let told = world.upload(NEW);
    assert_eq!((told.applied, told.rejected.len()), (2, 0));
    assert_eq!(world.values(), [pair("202601", "2")]);
    assert_eq!(world.states(), []);
}

#[test]
fn a_value_that_is_deleted_and_entered_anew_while_it_is_under_way_is_what_was_entered_last() {
    let world = World::with_metadata();
    world.enter("202601", "1");
    let mut meddler = Meddler::new(&world.http);
    meddler.after = Box::new(|line, answer| {
        if line == "POST dataValueSets" {
            Err(cut())
        } else {
            Ok(answer)
        }
    });
    assert!(world.upload_by(&meddler, NEW).is_err());
    world.sql("DELETE FROM data_values");
    world.enter("202601", "2");
    assert_eq!(world.upload(NEW).rejected, []);
    assert_eq!(world.values(), [pair("202601", "2")]);
    assert_eq!(world.cell("SELECT count(*) FROM data_values"), "1");
    assert_eq!(world.states(), []);
}

#[test]
fn a_value_that_spoils_a_payload_does_not_block_the_others() {
    let world = World::with_metadata();
    for month in 1..=9 {
        world.enter(&format!("20260{month}"), &month.to_string());
    }
    let mut meddler = Meddler::new(&world.http);
    meddler.before = Box::new(|line, body| {
        let is_bad = line == "POST dataValueSets" && body.to_string().contains("202605");
        is_bad.then(|| Err(status(400, "cannot be read")))
    });
    let told = world.upload_by(&meddler, NEW).unwrap();
    assert_eq!((told.applied, told.rejected.len()), (8, 1));
    assert_eq!(world.values().len(), 8);
}

#[test]
fn values_go_by_data_set_from_2_39_on_and_together_before() {
    let sent = |line: u16| {
        let world = World::with_metadata();
        world.enter("202601", "1");
        let bodies: Rc<RefCell<Vec<Value>>> = Rc::default();
        let kept = Rc::clone(&bodies);
        let mut meddler = Meddler::new(&world.http);
        meddler.before = Box::new(move |line, body| {
            if line == "POST dataValueSets" {
                kept.borrow_mut().push(body.clone());
            }
            None
        });
        world.upload_as(&meddler, line).unwrap();
        bodies.take()
    };
    assert_eq!(sent(39)[0]["dataSet"], "hvDataSet01");
    assert_eq!(sent(38)[0].get("dataSet"), None);
}

#[test]
fn only_what_changed_is_asked_for_and_chosen_periods_leave_marks_alone() {
    let world = World::with_metadata();
    world.server_has(&[("202601", "1")]);
    assert_eq!(world.fetch_values(&AggregateRequest::default()).values, 1);
    // The server's time is that of its changes; a day is taken off a mark.
    world.host.wait(3 * 86_400_000);
    world.server_has(&[("202602", "2")]);
    assert_eq!(world.fetch_values(&AggregateRequest::default()).values, 2);
    world.host.wait(3 * 86_400_000);
    world.server_has(&[("202603", "3")]);
    let chosen = AggregateRequest {
        periods: vec!["202601".to_owned()],
        ..AggregateRequest::default()
    };
    assert_eq!(world.fetch_values(&chosen).values, 1, "the chosen, whole");
    let done = world.fetch_values(&AggregateRequest::default());
    assert_eq!(done.values, 2, "what changed since the day before the mark");
    let none = AggregateRequest {
        data_sets: vec!["hvNothing01".to_owned()],
        ..AggregateRequest::default()
    };
    let done = world.fetch_values(&none);
    assert_eq!((done.values, done.failed.len()), (0, 1));
    // More periods than before: all of it is due.
    let more = AggregateRequest {
        past: Some(24),
        ..AggregateRequest::default()
    };
    assert_eq!(world.fetch_values(&more).values, 3);
}
