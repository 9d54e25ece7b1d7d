//! A country and a clinic, each with an address of its own, and the copy between them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use haversack_dhis2::face;
use haversack_dhis2::remote::copy;
use haversack_dhis2::remote::http::{Credentials, Http, Options};
use haversack_dhis2::remote::push::Pace;
use haversack_dhis2::remote::server::Server;
use haversack_dhis2::uplink::{self, Done, House, Round, State};
use haversack_model::local::LocalReplica as _;
use haversack_model::{Conflict, Host, Principal, Timestamp};
use haversack_sqlite::replica::{self, ReplicaFile};
use serde_json::{Value, json};

use crate::gate::Gate;
use crate::host::{PASSWORD, TestHost};

pub(crate) struct Place {
    pub(crate) host: Arc<TestHost>,
    pub(crate) url: String,
    pub(crate) http: Http,
    pub(crate) gate: Arc<Gate>,
}

pub(crate) struct World {
    pub(crate) country: Place,
    pub(crate) clinic: Place,
    /// The copy of the country.
    pub(crate) path: PathBuf,
    pub(crate) folder: tempfile::TempDir,
    _runtime: tokio::runtime::Runtime,
}

/// Jobs of the country run whenever the clinic waits for one. Something may happen before the first one runs.
pub(crate) struct Working {
    host: Arc<TestHost>,
    meanwhile: Option<Box<dyn FnOnce() + Send>>,
}

impl Working {
    pub(crate) fn of(country: &Place) -> Self {
        Self {
            host: Arc::clone(&country.host),
            meanwhile: None,
        }
    }
}

impl std::fmt::Debug for Working {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Working")
    }
}

impl Pace for Working {
    fn wait(&mut self, _: Duration) {
        if let Some(meanwhile) = self.meanwhile.take() {
            meanwhile();
        }
        self.host.run_jobs();
    }
    fn now(&self) -> Timestamp {
        NOW
    }
}

const NOW: Timestamp = Timestamp(1_795_262_400_000);

pub(crate) fn login(user: &str) -> Credentials {
    Credentials::Basic {
        user: user.to_owned(),
        password: PASSWORD.to_owned(),
    }
}

impl Place {
    fn new(runtime: &tokio::runtime::Runtime) -> Self {
        let host = TestHost::new();
        let gate = Gate::new();
        let router = gate.before(face::router(Arc::clone(&host) as _));
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        runtime.spawn(async move { axum::serve(listener, router).await });
        let http = Http::new(&url, login("root"), &Options::default()).unwrap();
        Self {
            host,
            url,
            http,
            gate,
        }
    }
    pub(crate) fn now(&self) -> Timestamp {
        self.host.now()
    }
    /// Sends objects as a device does; all are taken.
    pub(crate) fn send(&self, payload: &Value) {
        send_by(&self.http, "CREATE_AND_UPDATE", payload);
    }
    pub(crate) fn delete(&self, payload: &Value) {
        send_by(&self.http, "DELETE", payload);
    }
    pub(crate) fn send_as(&self, user: &str, payload: &Value) {
        let http = Http::new(&self.url, login(user), &Options::default()).unwrap();
        send_by(&http, "CREATE_AND_UPDATE", payload);
    }
    /// A tracked entity with all that is in it; null if there is none.
    pub(crate) fn entity(&self, n: u32) -> Value {
        let fields = "*,enrollments[*,notes[*],events[*,notes[*]]],relationships[*]";
        let path = format!("tracker/trackedEntities/hvTe{n:07}");
        let params = [("program", "hvProgram01"), ("fields", fields)];
        self.http.get(&path, &params).unwrap_or_default()
    }
    pub(crate) fn name(&self, n: u32) -> String {
        value_of(&self.entity(n)["attributes"], "hvAttrName1")
    }
    pub(crate) fn age(&self, n: u32) -> String {
        value_of(&self.entity(n)["attributes"], "hvAttrAge01")
    }
    pub(crate) fn event(&self, n: u32) -> Value {
        let path = format!("tracker/events/hvEv{n:07}");
        self.http.get(&path, &[("fields", "*")]).unwrap_or_default()
    }
    /// The generation of the service's last change.
    pub(crate) fn generation(&self) -> u64 {
        let store = self.host.documents("dhis2").unwrap();
        let head = store.read_documents().unwrap().head().unwrap();
        head.generation.0
    }
}

pub(crate) fn send_by(http: &Http, strategy: &str, payload: &Value) {
    let params = [("async", "false"), ("importStrategy", strategy)];
    let told = http.post("tracker", &params, Some(payload)).unwrap();
    assert_eq!(told.body["status"], "OK", "{}", told.body);
}

fn value_of(attributes: &Value, id: &str) -> String {
    let mut all = attributes.as_array().into_iter().flatten();
    let found = all.find(|one| one["attribute"] == id);
    let text = found.and_then(|one| one["value"].as_str());
    text.unwrap_or_default().to_owned()
}

impl World {
    /// A country with three people, and a clinic that has had its first round.
    pub(crate) fn new() -> Self {
        let world = Self::empty();
        world.fill();
        world
    }
    /// The same, where the country says that it is of a version.
    pub(crate) fn of_version(version: &'static str) -> Self {
        let world = Self::empty();
        world.country.gate.says(version);
        world.fill();
        world
    }
    fn fill(&self) {
        self.country
            .send(&json!({"trackedEntities": [person(1), person(2), person(3)]}));
        self.round_with_metadata(true);
    }
    /// A country with metadata alone, and a clinic that does not know it yet.
    pub(crate) fn empty() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let (country, clinic) = (Place::new(&runtime), Place::new(&runtime));
        let metadata: Value =
            serde_json::from_str(include_str!("../../samples/metadata.json")).unwrap();
        let told = country.http.post("metadata", &[], Some(&metadata)).unwrap();
        assert_eq!(told.status, 200, "{}", told.body);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("copy.gpkg");
        let header = copy::header(&country.url, "copy");
        let options = replica::Options {
            spatial_index: false,
        };
        ReplicaFile::create(&path, &copy::collections(), &header, options).unwrap();
        Self {
            country,
            clinic,
            path,
            folder,
            _runtime: runtime,
        }
    }

    pub(crate) fn house(&self) -> House {
        let root = Principal {
            name: "root".to_owned(),
            is_admin: true,
        };
        let host = Arc::clone(&self.clinic.host) as Arc<dyn Host>;
        House::open(&host, &root).unwrap()
    }
    /// What a clinic does while the country is away.
    pub(crate) fn alone(&self) -> Done {
        let mut file = ReplicaFile::open(&self.path).unwrap();
        uplink::local(&self.house(), &mut file, self.clinic.host.now()).unwrap()
    }
    pub(crate) fn round(&self) -> Done {
        self.round_with_metadata(false)
    }
    pub(crate) fn round_with_metadata(&self, with_metadata: bool) -> Done {
        let server = self.server();
        let pace = Working::of(&self.country);
        self.run(&server, with_metadata, pace).unwrap()
    }
    /// A round that may fail, already when the country is first asked.
    pub(crate) fn try_round(
        &self,
        meanwhile: impl FnOnce() + Send + 'static,
    ) -> uplink::Result<Done> {
        let server = Server::connect(&self.country.url, login("root"), &Options::default())?;
        let pace = Working {
            meanwhile: Some(Box::new(meanwhile)),
            ..Working::of(&self.country)
        };
        self.run(&server, false, pace)
    }
    /// A round in which something happens before the country has done what was sent to it.
    pub(crate) fn round_with(&self, meanwhile: impl FnOnce() + Send + 'static) -> Done {
        self.try_round(meanwhile).unwrap()
    }
    pub(crate) fn server(&self) -> Server {
        Server::connect(&self.country.url, login("root"), &Options::default()).unwrap()
    }
    fn run(&self, server: &Server, with_metadata: bool, pace: Working) -> uplink::Result<Done> {
        let round = Round {
            house: &self.house(),
            server,
            with_metadata,
            as_chosen: true,
            now: &|| self.clinic.host.now(),
        };
        let mut file = ReplicaFile::open(&self.path).unwrap();
        let again = Box::new(ReplicaFile::open(&self.path).unwrap());
        round.run(&mut file, again, Box::new(pace))
    }
    pub(crate) fn state(&self) -> State {
        uplink::state(&mut ReplicaFile::open(&self.path).unwrap()).unwrap()
    }
    pub(crate) fn conflicts(&self) -> Vec<Conflict> {
        let mut file = ReplicaFile::open(&self.path).unwrap();
        let tx = file.begin().unwrap();
        tx.conflicts(true).unwrap()
    }
    /// Both sides tell the same of these people.
    pub(crate) fn assert_equal(&self, people: &[u32]) {
        for n in people {
            let (above, here) = (bare(self.country.entity(*n)), bare(self.clinic.entity(*n)));
            assert_eq!(here, above, "person {n}");
        }
    }
}

/// Without what each server says of its own times.
fn bare(value: Value) -> Value {
    const OWN: [&str; 6] = [
        "createdAt",
        "updatedAt",
        "createdAtClient",
        "updatedAtClient",
        "storedAt",
        "storedBy",
    ];
    match value {
        Value::Object(members) => {
            let kept = members
                .into_iter()
                .filter(|(k, _)| !OWN.contains(&k.as_str()));
            Value::Object(kept.map(|(name, member)| (name, bare(member))).collect())
        }
        Value::Array(items) => {
            let mut items: Vec<Value> = items.into_iter().map(bare).collect();
            items.sort_by_key(ToString::to_string);
            Value::Array(items)
        }
        other => other,
    }
}

/// A person with an enrollment and a visit.
pub(crate) fn person(n: u32) -> Value {
    json!({
        "trackedEntity": format!("hvTe{n:07}"), "trackedEntityType": "hvTeType001", "orgUnit": "hvOuFacil01",
        "geometry": {"type": "Point", "coordinates": [-11.5, 8.25]},
        "enrollments": [{
            "enrollment": format!("hvEn{n:07}"), "program": "hvProgram01", "orgUnit": "hvOuFacil01", "enrolledAt": "2026-10-01", "occurredAt": "2026-10-01",
            "attributes": [{"attribute": "hvAttrName1", "value": format!("Name {n}")}, {"attribute": "hvAttrAge01", "value": "30"}],
            "events": [visit(n, "10.5", "ACTIVE")],
        }],
    })
}

pub(crate) fn visit(n: u32, weight: &str, status: &str) -> Value {
    json!({"event": format!("hvEv{n:07}"), "enrollment": format!("hvEn{n:07}"), "programStage": "hvStage0001", "orgUnit": "hvOuFacil01", "status": status,
        "occurredAt": "2026-10-02", "dataValues": [{"dataElement": "hvDeWeight1", "value": weight}]})
}

/// A person's name alone.
pub(crate) fn named(n: u32, name: &str) -> Value {
    json!({"trackedEntities": [{"trackedEntity": format!("hvTe{n:07}"), "trackedEntityType": "hvTeType001", "orgUnit": "hvOuFacil01",
        "attributes": [{"attribute": "hvAttrName1", "value": name}]}]})
}

/// A person's age alone, which is an attribute of the program.
pub(crate) fn aged(n: u32, age: &str) -> Value {
    json!({"enrollments": [{"enrollment": format!("hvEn{n:07}"), "trackedEntity": format!("hvTe{n:07}"), "program": "hvProgram01", "orgUnit": "hvOuFacil01",
        "enrolledAt": "2026-10-01", "occurredAt": "2026-10-01", "attributes": [{"attribute": "hvAttrAge01", "value": age}]}]})
}
