//! Random edits of a real file by plain SQL, random answers of an importer: no state is reached that the table does not list, nothing
//! is lost, and in the end both sides have the same.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use haversack_dhis2::remote::copy;
use haversack_dhis2::remote::error::Result;
use haversack_dhis2::remote::http::Answer;
use haversack_dhis2::remote::layout::plan;
use haversack_dhis2::remote::push::{Courier, Importer, Pace, Uploader, prepare};
use haversack_dhis2::wire::version::{Api, Version};
use haversack_model::local::LocalReplica as _;
use haversack_model::{CollectionId, GlobalId, OutboxEntry, Timestamp};
use haversack_sqlite::replica::{Options, ReplicaFile};
use haversack_sync::client;
use haversack_sync::states::{self, Event};
use proptest::prelude::*;
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::world::{NEW, OLD, cut, schema, status};

/// An importer in every mood: one number for each occasion; when they are used up all goes well.
#[derive(Debug, Default)]
struct Moody(RefCell<State>);

#[derive(Debug, Default)]
pub(crate) struct State {
    fates: Vec<u8>,
    /// Objects by uid or key, each with its values.
    pub(crate) rows: BTreeMap<String, BTreeMap<String, String>>,
}

impl State {
    pub(crate) fn fate(&mut self) -> u8 {
        self.fates.pop().unwrap_or(0) % 6
    }
    fn set(&mut self, key: &str, name: &str, value: &Value) {
        let row = self.rows.entry(key.to_owned()).or_default();
        match value.as_str() {
            Some(text) => drop(row.insert(name.to_owned(), text.to_owned())),
            None => drop(row.remove(name)),
        }
    }
    pub(crate) fn store(&mut self, object: &Value, key: &str) {
        self.rows.entry(key.to_owned()).or_default();
        for one in object["attributes"].as_array().into_iter().flatten() {
            self.set(key, one["attribute"].as_str().unwrap(), &one["value"]);
        }
        if object.get("enrollment").is_some() {
            self.set(key, "status", &object["status"]);
        }
    }

    fn tracker(&mut self, is_delete: bool, body: &Value) -> Value {
        let mut errors = Vec::new();
        let mut warnings = Vec::new();
        let mut named: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
        for (list, member, kind) in [
            ("trackedEntities", "trackedEntity", "TRACKED_ENTITY"),
            ("enrollments", "enrollment", "ENROLLMENT"),
        ] {
            for object in body[list].as_array().into_iter().flatten() {
                let uid = object[member].as_str().unwrap();
                let about = |code: &str| json!({"trackerType": kind, "uid": uid, "errorCode": code, "message": "so it is"});
                let parent = object["trackedEntity"].as_str().unwrap_or_default();
                if kind == "ENROLLMENT" && !is_delete && !self.rows.contains_key(parent) {
                    errors.push(about("E5000"));
                    continue;
                }
                let before = self.rows.clone();
                if is_delete {
                    self.rows.remove(uid);
                } else {
                    self.store(object, uid);
                }
                match self.fate() {
                    // What it took before it takes again.
                    1 if before != self.rows => {
                        self.rows = before;
                        errors.push(about("E1007"));
                    }
                    2 => warnings.push(about("E1300")),
                    4 => {
                        self.rows = before;
                        continue;
                    }
                    _ => {}
                }
                if errors.last().is_none_or(|last| last["uid"] != uid) && self.fate() != 3 {
                    named.entry(kind).or_default().push(json!({"uid": uid}));
                }
            }
        }
        let of =
            |kind: &str| json!({"objectReports": named.get(kind).cloned().unwrap_or_default()});
        json!({"status": if errors.is_empty() { "OK" } else { "ERROR" },
            "validationReport": {"errorReports": errors, "warningReports": warnings},
            "bundleReport": {"typeReportMap": {"TRACKED_ENTITY": of("TRACKED_ENTITY"), "ENROLLMENT": of("ENROLLMENT"),
                "EVENT": of("EVENT"), "RELATIONSHIP": of("RELATIONSHIP")}}})
    }

    fn values(&mut self, body: &Value) -> Value {
        let mut conflicts = Vec::new();
        for (at, object) in body["dataValues"].as_array().unwrap().iter().enumerate() {
            if self.fate() == 1 {
                conflicts.push(
                    json!({"object": "x", "value": "no", "errorCode": "E7619", "indexes": [at]}),
                );
                continue;
            }
            let key = object["period"].as_str().unwrap();
            if object["deleted"] == true {
                self.rows.remove(key);
            } else {
                self.set(key, "value", &object["value"]);
            }
        }
        json!({"responseType": "ImportSummary", "status": if conflicts.is_empty() { "SUCCESS" } else { "WARNING" },
            "importCount": {"imported": 0}, "conflicts": conflicts})
    }
}

impl Courier for Moody {
    fn ask(&self, _: &str, _: &[(&str, &str)]) -> Result<Value> {
        Err(status(404, "there is none"))
    }
    fn post(&self, path: &str, params: &[(&str, &str)], body: Option<&Value>) -> Result<Answer> {
        let mut state = self.0.borrow_mut();
        let fate = state.fate();
        match fate {
            1 => return Err(cut()),
            2 => return Err(status(503, "busy")),
            3 => {
                let body = json!({"httpStatusCode": 409, "message": "I do not like it"});
                return Ok(Answer { status: 409, body });
            }
            _ => {}
        }
        let told = if path == "tracker" {
            let is_delete = params.contains(&("importStrategy", "DELETE"));
            state.tracker(is_delete, body.unwrap())
        } else if path == "dataValueSets" {
            state.values(body.unwrap())
        } else {
            state.old(path, body.unwrap())
        };
        // It was done, and nobody hears of it.
        if fate == 4 {
            return Err(cut());
        }
        // The old importer says with 409 that something was refused; some proxies make 200 of it.
        let is_refused = told["status"] == "ERROR" && path != "tracker" && fate != 5;
        Ok(Answer {
            status: if is_refused { 409 } else { 200 },
            body: told,
        })
    }
    fn put(&self, _: &str, _: &[(&str, &str)]) -> Result<Answer> {
        Err(status(404, "there is none"))
    }
    fn delete(&self, _: &str, _: &[(&str, &str)]) -> Result<Answer> {
        Err(status(404, "there is none"))
    }
}

#[derive(Debug)]
struct AtOnce;

impl Pace for AtOnce {
    fn wait(&mut self, _: Duration) {}
    fn now(&self) -> Timestamp {
        Timestamp(1_795_262_400_000)
    }
}

/// An empty copy, made once.
fn template() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("copy.gpkg");
        let header = copy::header("http://127.0.0.1:1", "copy");
        let options = Options {
            spatial_index: false,
        };
        drop(ReplicaFile::create(&path, &plan(&[], &schema()), &header, options).unwrap());
        std::fs::read(&path).unwrap()
    })
}

fn upload(file: &mut ReplicaFile, server: &Moody, api: Api) -> haversack_model::Result<()> {
    let mut tx = file.begin().unwrap();
    prepare(&mut *tx).unwrap();
    tx.commit().unwrap();
    let importer = Importer {
        version: Version::OURS,
        api,
    };
    let again = Box::new(ReplicaFile::open(file.path()).unwrap());
    let mut uploader = Uploader::new(server, importer, again, Box::new(AtOnce));
    client::upload(file, &mut uploader, 3, &mut |_| {}).map(drop)
}

fn retry(file: &mut ReplicaFile) {
    let mut tx = file.begin().unwrap();
    client::retry(&mut *tx).unwrap();
    tx.commit().unwrap();
}

/// Somebody edits a person, an enrollment or a value.
fn edit(path: &Path, what: u8, number: u8, value: u8) {
    let db = Connection::open(path).unwrap();
    let n = number % 3;
    let has = |sql: &str| db.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap() > 0;
    let has_person = has(&format!(
        "SELECT count(*) FROM person WHERE uid = 'hvTe000000{n}'"
    ));
    let has_enrollment = has(&format!(
        "SELECT count(*) FROM follow_up_enrollments WHERE uid = 'hvEn000000{n}'"
    ));
    let has_value = has(&format!(
        "SELECT count(*) FROM data_values WHERE period = '20260{}'",
        n + 1
    ));
    let word = if value.is_multiple_of(2) {
        "ACTIVE"
    } else {
        "COMPLETED"
    };
    let sql = match what % 7 {
        0 | 1 if has_person && value.is_multiple_of(5) => {
            format!("UPDATE person SET age = NULL WHERE uid = 'hvTe000000{n}'")
        }
        0 | 1 if has_person => {
            format!("UPDATE person SET age = {value} WHERE uid = 'hvTe000000{n}'")
        }
        0 | 1 => format!(
            "INSERT INTO person (uid, org_unit, given_name, age) VALUES ('hvTe000000{n}', 'hvOuFacil01', 'N', {value})"
        ),
        2 if has_enrollment => format!(
            "UPDATE follow_up_enrollments SET status = '{word}' WHERE uid = 'hvEn000000{n}'"
        ),
        2 if has_person => format!(
            "INSERT INTO follow_up_enrollments (uid, tracked_entity, org_unit, status) VALUES ('hvEn000000{n}', 'hvTe000000{n}', 'hvOuFacil01', '{word}')"
        ),
        3 => format!("DELETE FROM follow_up_enrollments WHERE uid = 'hvEn000000{n}'"),
        4 if has_person && !has_enrollment => {
            format!("DELETE FROM person WHERE uid = 'hvTe000000{n}'")
        }
        5 if has_value => format!(
            "UPDATE data_values SET value = '{value}' WHERE period = '20260{}'",
            n + 1
        ),
        5 => format!(
            "INSERT INTO data_values (data_element, period, org_unit, value) VALUES ('hvDeCases01', '20260{}', 'hvOuFacil01', '{value}')",
            n + 1
        ),
        6 => format!("DELETE FROM data_values WHERE period = '20260{}'", n + 1),
        _ => return,
    };
    db.execute_batch(&sql).unwrap();
}

type Key = (CollectionId, GlobalId);

fn entries(file: &mut ReplicaFile) -> BTreeMap<Key, OutboxEntry> {
    let all = file.read(|tx| tx.entries()).unwrap().into_iter();
    all.map(|entry| ((entry.collection, entry.global_id.clone()), entry))
        .collect()
}

fn check(before: &BTreeMap<Key, OutboxEntry>, file: &mut ReplicaFile, events: &[Event]) {
    let after = entries(file);
    for key in before.keys().chain(after.keys()) {
        let state = |of: &BTreeMap<Key, OutboxEntry>| of.get(key).map(|entry| entry.state);
        let (from, to) = (state(before), state(&after));
        let may = states::reachable(from, events);
        assert!(
            may.contains(&to),
            "{key:?}: {from:?} to {to:?} by {events:?}"
        );
    }
    for entry in after.values() {
        assert!(states::is_coherent(entry), "{entry:?}");
    }
}

/// What the copy holds, as the server would have it.
fn held(path: &Path) -> BTreeMap<String, BTreeMap<String, String>> {
    let db = Connection::open(path).unwrap();
    let mut found: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for (name, sql) in [
        ("hvAttrName1", "SELECT uid, given_name FROM person"),
        ("hvAttrAge01", "SELECT uid, CAST(age AS TEXT) FROM person"),
        ("status", "SELECT uid, status FROM follow_up_enrollments"),
        ("value", "SELECT period, value FROM data_values"),
    ] {
        let mut rows = db.prepare(sql).unwrap();
        let rows = rows.query_map([], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, Option<String>>(1)?))
        });
        for (key, value) in rows.unwrap().map(std::result::Result::unwrap) {
            let row = found.entry(key).or_default();
            row.extend(value.map(|value| (name.to_owned(), value)));
        }
    }
    found
}

const EDITS: &[Event] = &[Event::Create, Event::Edit, Event::Delete];
const UPLOAD: &[Event] = &[
    // A row that was added for a value which is there becomes an edit of it.
    Event::Create,
    Event::Edit,
    Event::Delete,
    Event::Freeze,
    Event::Accepted,
    Event::Warned,
    Event::Rejected,
    Event::Untold,
    Event::ParentRejected,
    Event::Retry,
];

/// Goes through steps with a server in these moods.
fn run(api: Api, steps: Vec<(u8, u8, u8)>, fates: Vec<u8>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("copy.gpkg");
    std::fs::write(&path, template()).unwrap();
    let server = Moody(RefCell::new(State {
        fates,
        ..State::default()
    }));
    let mut file = ReplicaFile::open(&path).unwrap();
    for (what, number, value) in steps {
        let before = entries(&mut file);
        match what {
            0..7 => {
                edit(&path, what, number, value);
                check(&before, &mut file, EDITS);
            }
            7 => {
                retry(&mut file);
                check(&before, &mut file, &[Event::Retry]);
            }
            _ => {
                // A lost answer is an error, and the batch stays.
                let _lost = upload(&mut file, &server, api);
                check(&before, &mut file, UPLOAD);
            }
        }
    }
    server.0.borrow_mut().fates.clear();
    for _ in 0..8 {
        upload(&mut file, &server, api).unwrap();
        if entries(&mut file).is_empty() {
            break;
        }
        retry(&mut file);
    }
    let left = entries(&mut file);
    assert!(left.is_empty(), "{left:?}");
    let there = server.0.borrow().rows.clone();
    assert_eq!(held(&path), there);
}

type Story = (Vec<(u8, u8, u8)>, Vec<u8>);

/// Edits and uploads, and the moods of the server meanwhile.
fn story() -> impl Strategy<Value = Story> {
    let step = (0..10_u8, any::<u8>(), any::<u8>());
    let fates = prop::collection::vec(any::<u8>(), 0..80);
    (prop::collection::vec(step, 8..24), fates)
}

/// Each case is slow: a sixteenth of what `PROPTEST_CASES` says.
fn config() -> ProptestConfig {
    let all = ProptestConfig::default();
    ProptestConfig {
        cases: (all.cases / 16).max(1),
        ..all
    }
}

proptest! {
    #![proptest_config(config())]
    #[test]
    fn whatever_happens_to_a_file_no_state_is_new_and_nothing_is_lost((steps, fates) in story()) {
        run(NEW, steps, fates);
    }
    #[test]
    fn whatever_the_old_importer_says_no_state_is_new_and_nothing_is_lost((steps, fates) in story()) {
        run(OLD, steps, fates);
    }
}

/// What a lost answer left open is not closed by a refusal of the repetition: the server may have what was sent the first time.
#[test]
fn what_was_changed_after_a_lost_answer_reaches_the_server_though_the_repetition_is_refused() {
    const LOST: [u8; 3] = [4, 0, 0];
    const REFUSED: [u8; 1] = [3];
    const UPLOAD: (u8, u8, u8) = (8, 0, 0);
    let moods = |all: &[&[u8]]| all.concat().into_iter().rev().collect::<Vec<u8>>();
    // A new person whose age is emptied; a person whose age is emptied and put back.
    run(
        NEW,
        vec![(0, 0, 1), UPLOAD, (0, 0, 5), UPLOAD],
        moods(&[&LOST, &REFUSED]),
    );
    run(
        NEW,
        vec![(0, 0, 1), UPLOAD, (0, 0, 5), UPLOAD, (0, 0, 1), UPLOAD],
        moods(&[&[0; 3], &LOST, &REFUSED]),
    );
}

/// The server tells of a value by what it is about, and the file forgets that with the row: nothing else would tell which one to delete.
#[test]
fn a_value_that_was_deleted_after_a_lost_answer_is_deleted_on_the_server_though_the_repetition_is_refused()
 {
    const ADD: (u8, u8, u8) = (5, 1, 39);
    const DELETE: (u8, u8, u8) = (6, 1, 0);
    const UPLOAD: (u8, u8, u8) = (8, 0, 0);
    // The request is carried out and its answer lost; the repetition is refused.
    let moods = || vec![3, 0, 4];
    run(NEW, vec![ADD, UPLOAD, DELETE, UPLOAD], moods());
    run(NEW, vec![ADD, UPLOAD, UPLOAD, DELETE], moods());
}
