//! A small server that says it is a DHIS2: answers are scripted, requests are written down.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use haversack_dhis2::remote::http::{Credentials, Options};
use haversack_dhis2::remote::pull::{Downloaded, Progress, Request};
use haversack_dhis2::remote::server::Server;
use haversack_dhis2::remote::{copy, pull};
use haversack_model::Timestamp;
use haversack_model::local::LocalReplica as _;
use haversack_sqlite::replica::{Options as FileOptions, ReplicaFile};
use serde_json::{Value as Json, json};

/// A device's clock.
pub(crate) const NOW: Timestamp = Timestamp(1_795_262_400_000);
pub(crate) const UNIT: &str = "DiszpKrYNg8";

/// What the server does with a request.
#[derive(Clone, Debug)]
pub(crate) enum Does {
    Answers(u16, Json),
    /// Promises more bytes than it sends.
    Cuts(Json),
    /// Says nothing for longer than anybody waits.
    Hangs,
    Redirects(String),
    /// Something that is no JSON.
    Says(&'static str),
}

/// A request, as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) authorization: Option<String>,
    pub(crate) cookie: Option<String>,
}

impl Asked {
    pub(crate) fn param(&self, name: &str) -> Option<String> {
        let pairs = self
            .query
            .split('&')
            .filter_map(|pair| pair.split_once('='));
        let mut found = pairs.filter(|(key, _)| *key == name);
        found.next().map(|(_, value)| decode(value))
    }
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let hex = [rest.next().unwrap(), rest.next().unwrap()];
                let hex = std::str::from_utf8(&hex).unwrap().to_owned();
                bytes.push(u8::from_str_radix(&hex, 16).unwrap());
            }
            b'+' => bytes.push(b' '),
            byte => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).unwrap()
}

type Script = dyn Fn(&Asked) -> Option<Does> + Send + Sync;

struct State {
    version: String,
    date: String,
    metadata: BTreeMap<&'static str, Vec<Json>>,
    script: Box<Script>,
    asked: Vec<Asked>,
}

pub(crate) struct Fake {
    state: Arc<Mutex<State>>,
    pub(crate) url: String,
}

impl Fake {
    pub(crate) fn start(version: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State {
            version: version.to_owned(),
            date: "2026-11-22T10:00:00.000".to_owned(),
            metadata: BTreeMap::new(),
            script: Box::new(|_| None),
            asked: Vec::new(),
        }));
        let shared = Arc::clone(&state);
        // The thread ends with the test's process: it waits for nobody.
        thread::spawn(move || {
            for stream in listener.incoming() {
                let shared = Arc::clone(&shared);
                thread::spawn(move || serve(stream.unwrap(), &shared));
            }
        });
        let fake = Self { state, url };
        let unit = json!({"id": UNIT, "name": "Ngelehun", "path": format!("/{UNIT}"), "level": 1});
        fake.add("organisationUnits", unit);
        fake
    }
    pub(crate) fn add(&self, of: &'static str, object: Json) {
        let mut state = self.state.lock().unwrap();
        let all = state.metadata.entry(of).or_default();
        if !all.iter().any(|there| there["id"] == object["id"]) {
            all.push(object);
        }
    }
    /// A program with registration, its type and a stage, with one value each.
    pub(crate) fn add_program(&self) {
        self.add(
            "trackedEntityAttributes",
            json!({"id": "attrName001", "name": "Name", "valueType": "TEXT"}),
        );
        self.add(
            "dataElements",
            json!({"id": "elemWeight1", "name": "Weight", "valueType": "NUMBER"}),
        );
        self.add(
            "trackedEntityTypes",
            json!({"id": "typePerson1", "name": "Person", "trackedEntityTypeAttributes": [{"trackedEntityAttribute": {"id": "attrName001"}}]}),
        );
        self.add(
            "programs",
            json!({"id": "progChild01", "name": "Child", "programType": "WITH_REGISTRATION", "trackedEntityType": {"id": "typePerson1"}, "accessLevel": "PROTECTED"}),
        );
        self.add(
            "programStages",
            json!({"id": "stageVisit1", "name": "Visit", "program": {"id": "progChild01"}, "programStageDataElements": [{"dataElement": {"id": "elemWeight1"}}]}),
        );
        self.link();
    }
    /// Links all programs and data sets to all units.
    pub(crate) fn link(&self) {
        let mut state = self.state.lock().unwrap();
        for of in ["programs", "dataSets"] {
            let all = state.metadata.get(of).cloned().unwrap_or_default();
            let all: Vec<Json> = all.iter().map(|one| json!({"id": one["id"]})).collect();
            for unit in state.metadata.get_mut("organisationUnits").unwrap() {
                unit[of] = json!(all);
            }
        }
    }
    pub(crate) fn set_date(&self, date: &str) {
        date.clone_into(&mut self.state.lock().unwrap().date);
    }
    /// What is done with requests; `None` leaves one to the metadata.
    pub(crate) fn script(&self, script: impl Fn(&Asked) -> Option<Does> + Send + Sync + 'static) {
        self.state.lock().unwrap().script = Box::new(script);
    }
    /// The requests since the last time whose paths hold a text.
    pub(crate) fn asked(&self, path: &str) -> Vec<Asked> {
        let all = std::mem::take(&mut self.state.lock().unwrap().asked);
        all.into_iter().filter(|a| a.path.contains(path)).collect()
    }
    pub(crate) fn server(&self) -> Server {
        self.connect().unwrap()
    }
    pub(crate) fn connect(&self) -> haversack_dhis2::remote::error::Result<Server> {
        let login = Credentials::Basic {
            user: "ada".to_owned(),
            password: "secret".to_owned(),
        };
        let options = Options {
            silence: Duration::from_secs(2),
            ..Options::default()
        };
        Server::connect(&self.url, login, &options)
    }
    /// A copy with the server's metadata.
    pub(crate) fn copy(&self) -> Copy {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("copy.gpkg");
        let header = copy::header(&self.url, "copy");
        let options = FileOptions {
            spatial_index: false,
        };
        let mut file = ReplicaFile::create(&path, &copy::collections(), &header, options).unwrap();
        copy::sync_metadata(&self.server(), &mut file, NOW, &mut |_| {}).unwrap();
        Copy {
            file,
            path,
            _folder: folder,
        }
    }
}

/// A copy in a folder of its own.
pub(crate) struct Copy {
    pub(crate) file: ReplicaFile,
    path: std::path::PathBuf,
    _folder: tempfile::TempDir,
}

impl Copy {
    pub(crate) fn download(&mut self, fake: &Fake) -> Downloaded {
        self.download_as(fake, &Request::default())
    }
    pub(crate) fn download_as(&mut self, fake: &Fake, request: &Request) -> Downloaded {
        let ignore = &mut |_: Progress<'_>| {};
        pull::download(&fake.server(), &mut self.file, request, &|| NOW, ignore).unwrap()
    }
    /// Makes what was refused pending again.
    pub(crate) fn retry(&mut self) {
        let mut tx = self.file.begin().unwrap();
        haversack_sync::client::retry(&mut *tx).unwrap();
        tx.commit().unwrap();
    }
    pub(crate) fn number(&self, sql: &str) -> i64 {
        let db = rusqlite::Connection::open(&self.path).unwrap();
        db.query_row(sql, [], |row| row.get(0)).unwrap()
    }
    pub(crate) fn edit(&self, sql: &str) {
        let db = rusqlite::Connection::open(&self.path).unwrap();
        assert_eq!(db.execute(sql, []).unwrap(), 1, "{sql}");
    }
}

/// A page of objects in the shape of a version.
pub(crate) fn page(version: &str, kind: &str, objects: &[Json]) -> Json {
    if version >= "2.41" {
        json!({"pager": {"page": 1, "pageSize": 50}, kind: objects})
    } else {
        json!({"page": 1, "pageSize": 50, "instances": objects})
    }
}

/// The n-th person, enrolled, with one visit.
pub(crate) fn person(n: u32) -> Json {
    json!({"trackedEntity": format!("person{n:05}"), "trackedEntityType": "typePerson1", "orgUnit": UNIT,
        "attributes": [{"attribute": "attrName001", "value": format!("Ada {n}")}],
        "enrollments": [{"enrollment": format!("enroll{n:05}"), "program": "progChild01", "orgUnit": UNIT, "status": "ACTIVE",
            "events": [{"event": format!("events{n:05}"), "program": "progChild01", "programStage": "stageVisit1", "orgUnit": UNIT,
                "dataValues": [{"dataElement": "elemWeight1", "value": "40.5"}]}]}]})
}

fn serve(stream: TcpStream, state: &Mutex<State>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut stream = stream;
    while let Some(asked) = request(&mut reader) {
        let does = {
            let mut state = state.lock().unwrap();
            state.asked.push(asked.clone());
            (state.script)(&asked).unwrap_or_else(|| usual(&state, &asked))
        };
        let (status, body, promised) = match does {
            Does::Answers(status, body) => (status, body.to_string(), None),
            Does::Cuts(body) => (200, body.to_string(), Some(1000)),
            Does::Says(text) => (200, text.to_owned(), None),
            Does::Hangs => {
                // Whoever asks gives up before.
                thread::sleep(Duration::from_secs(5));
                return;
            }
            Does::Redirects(to) => {
                let _gone = write!(
                    stream,
                    "HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n"
                );
                continue;
            }
        };
        let length = body.len() + promised.unwrap_or(0);
        let sent = write!(
            stream,
            "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nSet-Cookie: JSESSIONID=s1; Path=/\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        if sent.is_err() || promised.is_some() {
            return;
        }
    }
}

fn request(reader: &mut BufReader<TcpStream>) -> Option<Asked> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let address = line.split(' ').nth(1)?.to_owned();
    let (mut authorization, mut cookie, mut length) = (None, None, 0);
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let header = header.trim_end();
        if header.is_empty() {
            break;
        }
        let (name, value) = header.split_once(": ")?;
        match name.to_ascii_lowercase().as_str() {
            "authorization" => authorization = Some(value.to_owned()),
            "cookie" => cookie = Some(value.to_owned()),
            "content-length" => length = value.parse().ok()?,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let (path, query) = address.split_once('?').unwrap_or((&address, ""));
    Some(Asked {
        path: path.trim_start_matches("/api/").to_owned(),
        query: query.to_owned(),
        authorization,
        cookie,
    })
}

fn usual(state: &State, asked: &Asked) -> Does {
    let roots = json!([{"id": UNIT, "path": format!("/{UNIT}")}]);
    let answer = match asked.path.as_str() {
        "system/info" => json!({"version": state.version, "serverDate": state.date}),
        "me" => {
            json!({"id": "userAda0001", "username": "ada", "organisationUnits": roots, "teiSearchOrganisationUnits": roots})
        }
        "me/authorization" => json!(["ALL"]),
        "userSettings" | "systemSettings" => json!({}),
        path if path.starts_with("dataStore/") => {
            return Does::Answers(404, json!({"httpStatusCode": 404}));
        }
        path if path.contains("tracker/")
            || path == "trackedEntityInstances"
            || path == "events" =>
        {
            return Does::Answers(
                404,
                json!({"httpStatusCode": 404, "message": "not scripted"}),
            );
        }
        of => {
            let none = Vec::new();
            let all = state.metadata.get(of).unwrap_or(&none);
            let filter = asked.param("filter").unwrap_or_default();
            let wanted = filter
                .strip_prefix("id:in:[")
                .map(|rest| rest.trim_end_matches(']').to_owned());
            let found: Vec<&Json> = all
                .iter()
                .filter(|object| match &wanted {
                    Some(ids) => ids.split(',').any(|id| object["id"] == id),
                    None => true,
                })
                .collect();
            json!({ of: found })
        }
    };
    Does::Answers(200, answer)
}
