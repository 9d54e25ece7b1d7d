//! A face on a port of its own, and people in the field with replica files.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use haversack_geoservices::face;
use haversack_geoservices::remote::{CheckoutRequest, Credentials, GeoServicesRemote, Options};
use haversack_model::local::LocalReplica as _;
use haversack_model::{
    Collection, CollectionId, Conflict, GlobalId, Policy, Record, Timestamp, Value,
};
use haversack_sqlite::replica::{Options as FileOptions, ReplicaFile};
use haversack_sync::client::{Summary, synchronise};

use crate::host::{PASSWORD, TestHost};
use crate::sample::TREES;

/// The server.
pub(crate) struct Town {
    pub(crate) host: Arc<TestHost>,
    url: String,
    folder: tempfile::TempDir,
    runtime: Option<tokio::runtime::Runtime>,
    ends: Arc<AtomicBool>,
    jobs: Option<JoinHandle<()>>,
}

impl Town {
    pub(crate) fn new() -> Self {
        let host = TestHost::new();
        let router = Router::new().nest("/arcgis", face::router(Arc::clone(&host) as _));
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .unwrap();
        let port = listener.local_addr().unwrap().port();
        runtime.spawn(async move { axum::serve(listener, router).await });
        let ends = Arc::new(AtomicBool::new(false));
        let jobs = {
            let (host, ends) = (Arc::clone(&host), Arc::clone(&ends));
            std::thread::spawn(move || {
                while !ends.load(Ordering::Relaxed) {
                    host.run_jobs();
                    std::thread::park_timeout(Duration::from_millis(5));
                }
            })
        };
        Self {
            host,
            url: format!("http://127.0.0.1:{port}/arcgis/rest/services/Trees/FeatureServer"),
            folder: tempfile::tempdir().unwrap(),
            runtime: Some(runtime),
            ends,
            jobs: Some(jobs),
        }
    }

    pub(crate) fn connect(&self, user: &str) -> GeoServicesRemote {
        let credentials = Credentials::Password {
            user: user.to_owned(),
            password: PASSWORD.to_owned(),
        };
        GeoServicesRemote::connect(&self.url, credentials, Options::default()).unwrap()
    }

    /// Checks a replica out; `attachments` come along.
    pub(crate) fn person(&self, user: &str, policy: Policy) -> Person {
        self.person_with(user, policy, |_| {})
    }
    pub(crate) fn person_with(
        &self,
        user: &str,
        policy: Policy,
        choose: impl FnOnce(&mut CheckoutRequest),
    ) -> Person {
        let mut remote = self.connect(user);
        let mut request = CheckoutRequest {
            name: user.to_owned(),
            attachments: true,
            ..CheckoutRequest::default()
        };
        choose(&mut request);
        let checkout = remote.checkout(request, policy, &mut |_| {}).unwrap();
        let path = self
            .folder
            .path()
            .join(format!("{user}-{}.gpkg", checkout.header().id));
        // Without R-tree: its triggers call functions that a plain SQLite does not have.
        let options = FileOptions {
            spatial_index: false,
        };
        let mut file =
            ReplicaFile::create(&path, checkout.collections(), checkout.header(), options).unwrap();
        checkout
            .fill(&mut remote, &mut file, &mut |_, _| {})
            .unwrap();
        Person { remote, file, path }
    }
}

impl Drop for Town {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(jobs) = self.jobs.take() {
            jobs.join().ok();
        }
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Somebody with a replica file.
pub(crate) struct Person {
    pub(crate) remote: GeoServicesRemote,
    pub(crate) file: ReplicaFile,
    path: PathBuf,
}

impl Person {
    /// Edits the file as a GIS tool would.
    pub(crate) fn sql(&self, sql: &str) {
        let db = rusqlite::Connection::open(&self.path).unwrap();
        db.execute_batch(sql)
            .unwrap_or_else(|e| panic!("{sql}: {e}"));
    }
    pub(crate) fn sync(&mut self) -> Summary {
        let mut now = 1_800_000_000_000;
        let mut tick = move || {
            now += 1;
            Timestamp(now)
        };
        let clock = std::cell::RefCell::new(&mut tick);
        synchronise(
            &mut self.file,
            &mut self.remote,
            &|| (clock.borrow_mut())(),
            &mut |_| {},
        )
        .unwrap()
    }
    pub(crate) fn conflicts(&mut self) -> Vec<Conflict> {
        self.file.begin().unwrap().conflicts(true).unwrap()
    }
    pub(crate) fn collection(&self, id: CollectionId) -> Collection {
        let all = self.file.collections();
        all.into_iter().find(|c| c.id == id).unwrap()
    }
    /// All rows of a collection, by global id.
    pub(crate) fn rows(&mut self, id: CollectionId) -> Vec<Record> {
        let tx = self.file.begin().unwrap();
        let mut ids: Vec<GlobalId> = tx.confirmed(id).unwrap();
        ids.sort();
        let row = |of: &GlobalId| {
            let mut record = tx.row(id, of).unwrap().unwrap();
            record.object_id = None;
            record
        };
        ids.iter().map(row).collect()
    }
    /// The name of a tree.
    pub(crate) fn name(&mut self, of: &GlobalId) -> Option<String> {
        let row = self.file.begin().unwrap().row(TREES, of).unwrap()?;
        row.values[0].as_text().map(str::to_owned)
    }
    pub(crate) fn value(&mut self, of: &GlobalId, field: &str) -> Value {
        let at = self.collection(TREES).field_index(field).unwrap();
        let row = self.file.begin().unwrap().row(TREES, of).unwrap();
        row.unwrap().values[at].clone()
    }
}
