//! Pictures and documents: sent before what names them, fetched on demand.

use haversack_dhis2::remote::error::Error;
use haversack_dhis2::remote::files::{self, FetchedFiles, MAX_BYTES, SentFiles};
use haversack_dhis2::remote::http::{Credentials, Http, Options};
use haversack_dhis2::remote::pull::{self, AggregateRequest};
use haversack_model::Timestamp;
use haversack_sqlite::replica::ReplicaFile;
use serde_json::{Value, json};

use crate::world::{NEW, World};

impl World {
    /// A world in which people, visits and reports have pictures or documents.
    fn with_files() -> Self {
        let world = Self::new();
        let of = |path: &str| world.http.get(path, &[("fields", "*")]).unwrap();
        let grow = |path: &str, list: &str, member: Value| {
            let mut object = of(path);
            object[list].as_array_mut().unwrap().push(member);
            object
        };
        let metadata = json!({
            "trackedEntityAttributes": [{"id": "hvAttrFile1", "name": "Consent", "valueType": "FILE_RESOURCE"}],
            "dataElements": [{"id": "hvDePhoto01", "name": "Photo", "valueType": "IMAGE"}, {"id": "hvDeReport1", "name": "Report", "valueType": "FILE_RESOURCE"}],
            "trackedEntityTypes": [grow("trackedEntityTypes/hvTeType001", "trackedEntityTypeAttributes", json!({"trackedEntityAttribute": {"id": "hvAttrFile1"}}))],
            "programStages": [grow("programStages/hvStage0002", "programStageDataElements", json!({"dataElement": {"id": "hvDePhoto01"}}))],
            "dataSets": [grow("dataSets/hvDataSet01", "dataSetElements", json!({"dataElement": {"id": "hvDeReport1"}}))],
        });
        let told = world.http.post("metadata", &[], Some(&metadata)).unwrap();
        assert_eq!(told.status, 200, "{}", told.body);
        world.synced()
    }
    fn add_file(&self, uid: &str, name: &str, content: &str) {
        self.sql(&format!(
            "INSERT INTO files (uid, name, content_type, content) VALUES ('{uid}', '{name}', 'image/png', CAST('{content}' AS BLOB))"
        ));
    }
    fn send_files(&self, http: &Http) -> Result<SentFiles, Error> {
        let mut file = ReplicaFile::open(&self.path).unwrap();
        files::send(http, &mut file)
    }
    /// A person, a visit and a report that name files.
    fn name_files(&self, consent: &str, photo: &str, report: &str) {
        self.sql(&format!(
            "INSERT INTO person (uid, org_unit, given_name, consent) VALUES ('hvTe0000001', 'hvOuFacil01', 'Ada', '{consent}');
             INSERT INTO follow_up_enrollments (uid, tracked_entity, org_unit, status, enrolled_at, occurred_at)
               VALUES ('hvEn0000001', 'hvTe0000001', 'hvOuFacil01', 'ACTIVE', '2026-10-01', '2026-10-01');
             INSERT INTO single_visit_form (uid, org_unit, status, occurred_at, photo) VALUES ('hvEv0000001', 'hvOuFacil01', 'ACTIVE', '2026-10-02', '{photo}');
             INSERT INTO data_values (data_element, period, org_unit, value) VALUES ('hvDeReport1', '202601', 'hvOuFacil01', '{report}');"
        ));
    }
}

#[test]
fn files_go_before_what_names_them_and_come_to_another_copy() {
    let world = World::with_files();
    world.add_file("fileLocal01", "consent.png", "signed");
    world.add_file("fileLocal02", "photo.png", "smile");
    world.add_file("fileLocal03", "report.png", "numbers");
    world.name_files("fileLocal01", "fileLocal02", "fileLocal03");
    let sent = world.send_files(&world.http).unwrap();
    assert_eq!((sent.sent, sent.refused.len()), (3, 0));
    let told = world.upload(NEW);
    assert_eq!((told.rejected.len(), told.applied), (0, 4), "{told:?}");
    assert_eq!(world.states(), []);
    // The values name them by the uids of the server, here as there.
    let consent = world.cell("SELECT consent FROM person");
    assert_ne!(consent, "fileLocal01");
    let found = world.http.get(&format!("fileResources/{consent}"), &[]);
    assert_eq!(found.unwrap()["name"], "consent.png");
    assert_eq!(
        world.cell("SELECT count(*) FROM files f JOIN person p ON p.consent = f.uid"),
        "1"
    );
    assert_eq!(world.send_files(&world.http).unwrap(), SentFiles::default());

    // Elsewhere: the data, then the files, then nothing more.
    let elsewhere = world.copy_elsewhere();
    let now = || Timestamp(1_795_262_400_000);
    let mut file = ReplicaFile::open(&elsewhere.path).unwrap();
    pull::download(
        &world.server(),
        &mut file,
        &pull::Request::default(),
        &now,
        &mut |_| {},
    )
    .unwrap();
    let request = AggregateRequest::default();
    let done = pull::aggregate(&world.server(), &mut file, &request, &now, &mut |_| {}).unwrap();
    assert_eq!((done.put, done.failed.len()), (1, 0), "{done:?}");
    drop(file);
    let fetched = elsewhere.fetch_from(&world, 5);
    assert_eq!(
        (fetched.fetched, fetched.too_large.len()),
        (1, 2),
        "{fetched:?}"
    );
    let fetched = elsewhere.fetch_from(&world, MAX_BYTES);
    assert_eq!((fetched.fetched, fetched.known), (2, 1), "{fetched:?}");
    assert_eq!(fetched.failed, []);
    assert_eq!(
        elsewhere.cell("SELECT name || ' ' || content_type || ' ' || CAST(content AS TEXT) FROM files JOIN person ON consent = files.uid"),
        "consent.png image/png signed"
    );
    // What nothing names any more goes.
    elsewhere.sql("UPDATE person SET consent = NULL");
    assert_eq!(elsewhere.fetch_from(&world, MAX_BYTES).dropped, 1);
}

#[test]
fn what_names_a_file_that_is_not_sent_waits_for_it_and_nothing_else_does() {
    let world = World::with_files();
    world.sql("INSERT INTO files (uid, name) VALUES ('fileLocal01', 'empty.png')");
    world.add_file("fileLocal02", "photo.png", "smile");
    world.name_files("fileLocal01", "fileLocal02", "fileLocal01");
    let sent = world.send_files(&world.http).unwrap();
    assert_eq!((sent.sent, sent.refused.len()), (1, 1));
    assert!(sent.refused[0].1.contains("no content"));
    world.upload(NEW);
    let states = world.states();
    assert!(
        !states.iter().any(|(uid, _)| uid == "hvEv0000001"),
        "{states:?}"
    );
    assert!(
        states.contains(&("fileLocal01".to_owned(), "ERROR".to_owned())),
        "{states:?}"
    );
    assert!(
        states.contains(&("hvTe0000001".to_owned(), "TO_POST".to_owned())),
        "{states:?}"
    );
    // Its content comes, and all goes.
    world.sql("UPDATE files SET content = CAST('signed' AS BLOB) WHERE uid = 'fileLocal01'");
    assert_eq!(world.send_files(&world.http).unwrap().sent, 1);
    let told = world.upload(NEW);
    assert_eq!((told.rejected.len(), told.untold), (0, 0));
    assert_eq!(world.states(), []);
}

#[test]
fn a_file_that_the_server_does_not_take_is_named_and_a_broken_network_loses_none() {
    let world = World::with_files();
    world.sql(&format!(
        "INSERT INTO files (uid, name, content_type, content) VALUES ('fileLocal01', 'large.png', 'image/png', zeroblob({}))",
        MAX_BYTES + 1
    ));
    world.add_file("fileLocal02", "photo.png", "smile");
    let nowhere = Http::new(
        "http://127.0.0.1:9",
        Credentials::Anonymous,
        &Options::default(),
    );
    assert!(matches!(
        world.send_files(&nowhere.unwrap()),
        Err(Error::Network { .. })
    ));
    assert_eq!(world.states().len(), 2);
    let sent = world.send_files(&world.http).unwrap();
    assert_eq!((sent.sent, sent.refused.len()), (1, 1));
    assert_eq!(sent.refused[0].0, "fileLocal01");
    assert_eq!(
        world.states(),
        [("fileLocal01".to_owned(), "ERROR".to_owned())]
    );
    world.sql("DELETE FROM files WHERE uid = 'fileLocal01'");
    assert_eq!(world.send_files(&world.http).unwrap(), SentFiles::default());
    assert_eq!(world.states(), []);
}

#[test]
fn a_file_on_the_server_does_not_change_and_its_copy_may_go() {
    let world = World::with_files();
    world.add_file("fileLocal02", "photo.png", "smile");
    assert_eq!(world.send_files(&world.http).unwrap().sent, 1);
    world.sql("UPDATE files SET content = CAST('frown' AS BLOB)");
    let sent = world.send_files(&world.http).unwrap();
    assert_eq!(sent.refused.len(), 1);
    assert!(
        sent.refused[0].1.contains("add another"),
        "{:?}",
        sent.refused
    );
    world.sql("UPDATE files SET content = CAST('smile' AS BLOB), name = 'mine.png'");
    assert_eq!(world.send_files(&world.http).unwrap(), SentFiles::default());
    assert_eq!(world.states(), []);
    world.sql("DELETE FROM files");
    assert_eq!(world.send_files(&world.http).unwrap(), SentFiles::default());
    assert_eq!(world.states(), []);
}

/// Another device with a copy of the same server.
struct Elsewhere {
    path: std::path::PathBuf,
    _folder: tempfile::TempDir,
}

impl World {
    fn copy_elsewhere(&self) -> Elsewhere {
        use haversack_dhis2::remote::copy;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("copy.gpkg");
        let header = copy::header(self.http.url(), "elsewhere");
        let options = haversack_sqlite::replica::Options {
            spatial_index: false,
        };
        let mut file = ReplicaFile::create(&path, &copy::collections(), &header, options).unwrap();
        let now = Timestamp(1_795_262_400_000);
        copy::sync_metadata(&self.server(), &mut file, now, &mut |_| {}).unwrap();
        Elsewhere {
            path,
            _folder: folder,
        }
    }
}

impl Elsewhere {
    fn fetch_from(&self, world: &World, max_bytes: usize) -> FetchedFiles {
        let mut file = ReplicaFile::open(&self.path).unwrap();
        files::fetch(&world.server(), &mut file, max_bytes, &mut |_| {}).unwrap()
    }
    fn sql(&self, text: &str) {
        let db = rusqlite::Connection::open(&self.path).unwrap();
        db.execute_batch(text).unwrap();
    }
    fn cell(&self, sql: &str) -> String {
        let db = rusqlite::Connection::open(&self.path).unwrap();
        db.query_row(sql, [], |row| row.get(0)).unwrap()
    }
}
