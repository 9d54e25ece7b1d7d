//! A server on a port of its own, and a copy of it.

use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use haversack_dhis2::face;
use haversack_dhis2::remote::PROTOCOL;
use haversack_dhis2::remote::error::{Error, Result};
use haversack_dhis2::remote::http::{Answer, Credentials, Http, Options};
use haversack_dhis2::remote::layout::{
    Described, EntityType, Layout, Program, Schema, Stage, plan,
};
use haversack_dhis2::remote::push::{
    Courier, Importer, Pace, StoredConflict, Uploader, prepare, stored_conflicts,
};
use haversack_dhis2::remote::server::Server;
use haversack_dhis2::wire::version::{Api, Version};
use haversack_model::local::{LocalReplica as _, ReplicaHeader};
use haversack_model::{
    BatchNumber, Cursor, Direction, Generation, HistoryId, Policy, ReplicaId, Timestamp, Versions,
};
use haversack_sqlite::replica::{self, ReplicaFile};
use haversack_sync::client::{self, Summary};
use haversack_sync::states;
use serde_json::Value;
use uuid::Uuid;

use crate::host::{PASSWORD, TestHost};

pub(crate) const NEW: Api = Api::New;
pub(crate) const OLD: Api = Api::Old;

pub(crate) struct World {
    pub(crate) host: Arc<TestHost>,
    pub(crate) http: Http,
    pub(crate) path: PathBuf,
    _folder: tempfile::TempDir,
    _runtime: tokio::runtime::Runtime,
}

/// Jobs run whenever someone waits for one.
#[derive(Debug)]
pub(crate) struct Working(pub(crate) Arc<TestHost>);

impl Pace for Working {
    fn wait(&mut self, _: Duration) {
        self.0.run_jobs();
    }
    fn now(&self) -> Timestamp {
        Timestamp(1_795_262_400_000)
    }
}

fn described(id: &str, name: &str, value_type: &str) -> Described {
    Described {
        id: id.to_owned(),
        name: name.to_owned(),
        value_type: value_type.to_owned(),
        options: Vec::new(),
    }
}

fn stage(id: &str, name: &str) -> Stage {
    Stage {
        id: id.to_owned(),
        name: name.to_owned(),
        feature_type: "NONE".to_owned(),
        elements: vec![described("hvDeWeight1", "Weight", "NUMBER")],
    }
}

pub(crate) fn schema() -> Schema {
    let attributes = vec![
        described("hvAttrName1", "Given name", "TEXT"),
        described("hvAttrAge01", "Age", "INTEGER_ZERO_OR_POSITIVE"),
        described("hvAttrCode1", "Register code", "TEXT"),
    ];
    let program = |id: &str, name: &str, entity_type: &str, attributes, stage| Program {
        id: id.to_owned(),
        name: name.to_owned(),
        entity_type: entity_type.to_owned(),
        feature_type: "NONE".to_owned(),
        attributes,
        stages: vec![stage],
    };
    Schema {
        entity_types: vec![EntityType {
            id: "hvTeType001".to_owned(),
            name: "Person".to_owned(),
            feature_type: "NONE".to_owned(),
            attributes: attributes.clone(),
        }],
        programs: vec![
            program(
                "hvProgram01",
                "Follow-up",
                "hvTeType001",
                attributes,
                stage("hvStage0001", "Visit"),
            ),
            program(
                "hvEventPrg1",
                "Single visit",
                "",
                Vec::new(),
                stage("hvStage0002", "Form"),
            ),
        ],
    }
}

impl World {
    /// A server with metadata, and an empty copy of it.
    pub(crate) fn new() -> Self {
        let host = TestHost::new();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let router = face::router(Arc::clone(&host) as _);
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        runtime.spawn(async move { axum::serve(listener, router).await });
        let login = Credentials::Basic {
            user: "root".to_owned(),
            password: PASSWORD.to_owned(),
        };
        let http = Http::new(&url, login, &Options::default()).unwrap();
        let metadata: Value =
            serde_json::from_str(include_str!("../../samples/metadata.json")).unwrap();
        let told = http.post("metadata", &[], Some(&metadata)).unwrap();
        assert_eq!(told.status, 200, "{}", told.body);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("copy.gpkg");
        let header = ReplicaHeader {
            id: ReplicaId(Uuid::new_v4()),
            name: "copy".to_owned(),
            url,
            protocol: PROTOCOL.to_owned(),
            cursor: Cursor::bare(HistoryId(Uuid::nil()), Generation(1)),
            layer_cursors: Vec::new(),
            direction: Direction::Bidirectional,
            policy: Policy::Merge,
            next_batch: BatchNumber(1),
            schema_version: 1,
            resyncing: false,
            download: None,
            ahead: Versions::default(),
            synced_at: None,
            filter: "{}".to_owned(),
        };
        let options = replica::Options {
            spatial_index: false,
        };
        let mut file = ReplicaFile::create(&path, &plan(&[], &schema()), &header, options).unwrap();
        let layout = Layout::of(&file.collections());
        let table = layout.metadata("trackedEntityAttributes").unwrap();
        let mut tx = file.begin().unwrap();
        for attribute in metadata["trackedEntityAttributes"].as_array().unwrap() {
            let text = |name: &str| attribute[name].as_str().unwrap_or_default();
            let row = table.record(text("id"), &[("value_type", text("valueType"))]);
            tx.put_row(table.id(), &row).unwrap();
        }
        tx.commit().unwrap();
        Self {
            host,
            http,
            path,
            _folder: folder,
            _runtime: runtime,
        }
    }

    /// Somebody edits the copy with a program of their own.
    pub(crate) fn sql(&self, text: &str) {
        let done = rusqlite::Connection::open(&self.path)
            .unwrap()
            .execute_batch(text);
        done.unwrap_or_else(|error| panic!("{error}: {text}"));
    }
    /// A person with an enrollment and a visit.
    pub(crate) fn family(&self, n: u32) {
        self.sql(&format!(
            "INSERT INTO person (uid, org_unit, given_name, age) VALUES ('hvTe{n:07}', 'hvOuFacil01', 'Name {n}', 30);
             INSERT INTO follow_up_enrollments (uid, tracked_entity, org_unit, status, enrolled_at, occurred_at)
               VALUES ('hvEn{n:07}', 'hvTe{n:07}', 'hvOuFacil01', 'ACTIVE', '2026-10-01', '2026-10-01');
             INSERT INTO follow_up_visit (uid, enrollment, org_unit, status, occurred_at, weight)
               VALUES ('hvEv{n:07}', 'hvEn{n:07}', 'hvOuFacil01', 'ACTIVE', '2026-10-02', 10);"
        ));
    }
    /// The server as a client finds it.
    pub(crate) fn server(&self) -> Server {
        let login = Credentials::Basic {
            user: "root".to_owned(),
            password: PASSWORD.to_owned(),
        };
        Server::connect(self.http.url(), login, &Options::default()).unwrap()
    }
    /// What stands in a place of the copy.
    pub(crate) fn cell(&self, sql: &str) -> String {
        let db = rusqlite::Connection::open(&self.path).unwrap();
        let found = db.query_row(sql, [], |row| row.get::<_, rusqlite::types::Value>(0));
        match found.unwrap_or_else(|error| panic!("{error}: {sql}")) {
            rusqlite::types::Value::Text(text) => text,
            rusqlite::types::Value::Integer(number) => number.to_string(),
            other => format!("{other:?}"),
        }
    }
    pub(crate) fn upload(&self, api: Api) -> Summary {
        self.upload_by(&self.http, api).unwrap()
    }
    /// Uploads by way of something that meddles.
    pub(crate) fn upload_by(
        &self,
        courier: &dyn Courier,
        api: Api,
    ) -> haversack_model::Result<Summary> {
        self.upload_to(courier, Version::OURS, api)
    }
    /// Uploads as to a server of another version.
    pub(crate) fn upload_as(
        &self,
        courier: &dyn Courier,
        line: u16,
    ) -> haversack_model::Result<Summary> {
        let version = Version { line, patch: 0 };
        self.upload_to(courier, version, version.importer(None))
    }
    fn upload_to(
        &self,
        courier: &dyn Courier,
        version: Version,
        api: Api,
    ) -> haversack_model::Result<Summary> {
        let importer = Importer { version, api };
        let mut file = ReplicaFile::open(&self.path).unwrap();
        let mut tx = file.begin().unwrap();
        prepare(&mut *tx).unwrap();
        tx.commit().unwrap();
        let again = Box::new(ReplicaFile::open(&self.path).unwrap());
        let pace = Box::new(Working(Arc::clone(&self.host)));
        let mut uploader = Uploader::new(courier, importer, again, pace);
        client::upload(&mut file, &mut uploader, 2000, &mut |_| {})
    }
    /// Uid, state and reason of what is not settled.
    pub(crate) fn unsettled(&self) -> Vec<(String, String, String)> {
        let mut file = ReplicaFile::open(&self.path).unwrap();
        let mut found: Vec<_> = file
            .begin()
            .unwrap()
            .entries()
            .unwrap()
            .iter()
            .map(|entry| {
                let reason = entry.reason.clone().unwrap_or_default();
                (
                    entry.global_id.to_string(),
                    states::shown(entry).to_owned(),
                    reason,
                )
            })
            .collect();
        found.sort();
        found
    }
    /// Uid and state of what is not settled.
    pub(crate) fn states(&self) -> Vec<(String, String)> {
        let all = self.unsettled().into_iter();
        all.map(|(uid, state, _)| (uid, state)).collect()
    }
    pub(crate) fn conflicts(&self) -> Vec<StoredConflict> {
        let mut file = ReplicaFile::open(&self.path).unwrap();
        let tx = file.begin().unwrap();
        stored_conflicts(&*tx).unwrap()
    }
    pub(crate) fn entity(&self, n: u32) -> Value {
        let path = format!("tracker/trackedEntities/hvTe{n:07}");
        let params = [("program", "hvProgram01"), ("fields", "*")];
        self.http.get(&path, &params).unwrap()
    }
}

type Before = dyn Fn(&str, &Value) -> Option<Result<Answer>>;
type After = dyn Fn(&str, Answer) -> Result<Answer>;

/// Stands between the client and the server.
pub(crate) struct Meddler<'a> {
    pub(crate) http: &'a Http,
    /// Answers instead of the server.
    pub(crate) before: Box<Before>,
    /// Changes what the server answered.
    pub(crate) after: Box<After>,
    /// What was asked.
    pub(crate) asked: RefCell<Vec<String>>,
}

impl<'a> Meddler<'a> {
    pub(crate) fn new(http: &'a Http) -> Self {
        Self {
            http,
            before: Box::new(|_, _| None),
            after: Box::new(|_, answer| Ok(answer)),
            asked: RefCell::default(),
        }
    }
    pub(crate) fn count(&self, begin: &str) -> usize {
        let asked = self.asked.borrow();
        asked.iter().filter(|line| line.starts_with(begin)).count()
    }
    fn pass(
        &self,
        line: String,
        body: &Value,
        send: impl FnOnce() -> Result<Answer>,
    ) -> Result<Answer> {
        let told = match (self.before)(&line, body) {
            Some(told) => told,
            None => send().and_then(|answer| (self.after)(&line, answer)),
        };
        self.asked.borrow_mut().push(line);
        told
    }
}

/// The connection broke.
pub(crate) fn cut() -> Error {
    Error::Answer {
        path: "somewhere".to_owned(),
        problem: "broke off".to_owned(),
    }
}

/// The server refuses.
pub(crate) fn status(status: u16, message: &str) -> Error {
    Error::Refused {
        path: "somewhere".to_owned(),
        status,
        code: None,
        message: message.to_owned(),
    }
}

impl Courier for Meddler<'_> {
    fn ask(&self, path: &str, params: &[(&str, &str)]) -> Result<Value> {
        let body = Value::Null;
        let send = || {
            self.http
                .get(path, params)
                .map(|body| Answer { status: 200, body })
        };
        Ok(self.pass(format!("GET {path}"), &body, send)?.body)
    }
    fn post(&self, path: &str, params: &[(&str, &str)], body: Option<&Value>) -> Result<Answer> {
        let send = || self.http.post(path, params, body);
        self.pass(format!("POST {path}"), body.unwrap_or(&Value::Null), send)
    }
    fn put(&self, path: &str, params: &[(&str, &str)]) -> Result<Answer> {
        let send = || self.http.put(path, params, None);
        self.pass(format!("PUT {path}"), &Value::Null, send)
    }
    fn delete(&self, path: &str, params: &[(&str, &str)]) -> Result<Answer> {
        let send = || self.http.delete(path, params);
        self.pass(format!("DELETE {path}"), &Value::Null, send)
    }
}
