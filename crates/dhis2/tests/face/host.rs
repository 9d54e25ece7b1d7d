//! A server for tests: users by name, services in a folder.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use haversack_model::documents::DocumentStore;
use haversack_model::host::{Binding, JobRunner, LoginError, Origin, StoredFile, Token};
use haversack_model::{
    Access, Error, Host, Job, JobStatus, Principal, Result, Right, Service, Store, Timestamp,
};
use haversack_sqlite::SqliteStore;
use uuid::Uuid;

/// Password of every user.
pub(crate) const PASSWORD: &str = "secret";

#[derive(Debug)]
pub(crate) struct TestHost {
    folder: tempfile::TempDir,
    id: Uuid,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    stores: BTreeMap<String, Arc<SqliteStore>>,
    tokens: BTreeMap<String, Principal>,
    clock: i64,
    jobs: Vec<Job>,
    runners: BTreeMap<String, Arc<dyn JobRunner>>,
    /// Whether no more jobs are taken.
    is_crowded: bool,
}

impl TestHost {
    /// A server: `root` administers, `ada` may write, `pat` may publish, `eve` may only read, `mallory` may nothing.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            folder: tempfile::tempdir().unwrap(),
            id: Uuid::new_v4(),
            state: Mutex::new(State {
                clock: 1_795_262_400_000,
                ..State::default()
            }),
        })
    }
    /// The same data directory after the process was killed.
    pub(crate) fn restart(&self) {
        let mut state = self.state.lock().unwrap();
        let names: Vec<String> = state.stores.keys().cloned().collect();
        state.stores.clear();
        for name in names {
            let path = self.folder.path().join(format!("{name}.gpkg"));
            state
                .stores
                .insert(name, Arc::new(SqliteStore::open(path).unwrap()));
        }
    }
    /// A service's file as it is by now.
    #[allow(dead_code, reason = "the tests of the uplink use it")]
    pub(crate) fn backup(&self, name: &str) -> Vec<u8> {
        let (file, copy) = (
            self.folder.path().join(format!("{name}.gpkg")),
            self.folder.path().join("backup"),
        );
        let db = rusqlite::Connection::open(file).unwrap();
        let _old = std::fs::remove_file(&copy);
        db.execute("VACUUM INTO ?1", [copy.to_str().unwrap()])
            .unwrap();
        std::fs::read(&copy).unwrap()
    }
    /// The service is put back to a backup, which begins a new history.
    #[allow(dead_code, reason = "the tests of the uplink use it")]
    pub(crate) fn put_back(&self, name: &str, backup: &[u8]) {
        let path = self.folder.path().join(format!("{name}.gpkg"));
        self.state.lock().unwrap().stores.remove(name);
        for ending in ["-wal", "-shm"] {
            let _none = std::fs::remove_file(format!("{}{ending}", path.display()));
        }
        std::fs::write(&path, backup).unwrap();
        let store = SqliteStore::open(&path).unwrap();
        let mut tx = store.begin_write(Timestamp(0)).unwrap();
        tx.start_history(haversack_model::HistoryId(Uuid::new_v4()))
            .unwrap();
        tx.commit().unwrap();
        self.state
            .lock()
            .unwrap()
            .stores
            .insert(name.to_owned(), Arc::new(store));
    }
    /// Forgets the history of a service that nobody pins by now.
    #[allow(dead_code, reason = "the tests of the uplink use it")]
    pub(crate) fn prune(&self, name: &str) {
        let store = self.state.lock().unwrap().stores[name].clone();
        let head = store.read_documents().unwrap().head().unwrap();
        let mut tx = store.begin_write(self.now()).unwrap();
        tx.prune_history(head.generation).unwrap();
        tx.commit().unwrap();
    }
    /// Runs all jobs that were ever asked for, those that were done as well, as after a restart in the middle.
    pub(crate) fn run_jobs(&self) {
        let (jobs, runners) = {
            let state = self.state.lock().unwrap();
            (state.jobs.clone(), state.runners.clone())
        };
        for job in jobs {
            runners[&job.kind].run(&job, &mut |_, _, _| {}).unwrap();
        }
    }
    /// Gives up all jobs that were asked for, as a server does that ended each time they ran.
    pub(crate) fn fail_jobs(&self, why: &str) {
        for job in &mut self.state.lock().unwrap().jobs {
            job.status = JobStatus::Failed;
            why.clone_into(&mut job.result);
        }
    }
    /// Forgets all jobs.
    pub(crate) fn forget_jobs(&self) {
        self.state.lock().unwrap().jobs.clear();
    }
    /// Takes no more jobs.
    pub(crate) fn crowd(&self) {
        self.state.lock().unwrap().is_crowded = true;
    }
    /// Moves the clock.
    pub(crate) fn wait(&self, ms: i64) {
        self.state.lock().unwrap().clock += ms;
    }
}

impl Host for TestHost {
    fn service_names(&self) -> Vec<String> {
        self.state.lock().unwrap().stores.keys().cloned().collect()
    }
    fn service(&self, name: &str) -> Option<Arc<dyn Store>> {
        let store = self.state.lock().unwrap().stores.get(name).cloned()?;
        Some(store as Arc<dyn Store>)
    }
    fn documents(&self, name: &str) -> Option<Arc<dyn DocumentStore>> {
        let store = self.state.lock().unwrap().stores.get(name).cloned()?;
        Some(store as Arc<dyn DocumentStore>)
    }
    fn create_service(&self, service: &Service) -> Result<()> {
        let path = self.folder.path().join(format!("{}.gpkg", service.name));
        let store = SqliteStore::create(path, service)?;
        let mut state = self.state.lock().unwrap();
        state.stores.insert(service.name.clone(), Arc::new(store));
        Ok(())
    }
    fn remove_service(&self, name: &str) -> Result<bool> {
        Ok(self.state.lock().unwrap().stores.remove(name).is_some())
    }
    fn access(&self, principal: &Principal, _service: &str) -> Access {
        let rights = match principal.name.as_str() {
            "root" => vec![Right::Read, Right::Edit, Right::Sync, Right::Publish],
            "ada" | "bob" | "cat" => vec![Right::Read, Right::Edit, Right::Sync],
            "pat" => vec![Right::Read, Right::Edit, Right::Publish],
            "eve" => vec![Right::Read],
            _ => Vec::new(),
        };
        Access {
            rights,
            filters: Vec::new(),
            levels: Vec::new(),
        }
    }
    fn login(
        &self,
        user: &str,
        password: &str,
        _address: &str,
    ) -> std::result::Result<Option<Principal>, LoginError> {
        let known = ["root", "ada", "eve", "bob", "cat", "pat", "mallory"].contains(&user)
            && password == PASSWORD;
        Ok(known.then(|| Principal {
            name: user.to_owned(),
            is_admin: user == "root",
        }))
    }
    fn issue_token(&self, principal: &Principal, lifetime_ms: u64, _binding: &Binding) -> Token {
        let text = Uuid::new_v4().simple().to_string();
        let mut state = self.state.lock().unwrap();
        state.tokens.insert(text.clone(), principal.clone());
        Token {
            text,
            expires_at: Timestamp(state.clock + lifetime_ms as i64),
        }
    }
    fn verify_token(&self, token: &str, _origin: Origin<'_>) -> Option<Principal> {
        self.state.lock().unwrap().tokens.get(token).cloned()
    }
    fn revoke_token(&self, token: &str) {
        self.state.lock().unwrap().tokens.remove(token);
    }
    fn now(&self) -> Timestamp {
        let mut state = self.state.lock().unwrap();
        state.clock += 1;
        Timestamp(state.clock)
    }
    fn fresh_uuid(&self) -> Uuid {
        Uuid::new_v4()
    }
    fn server_id(&self) -> Uuid {
        self.id
    }
    fn base_url(&self) -> Option<String> {
        None
    }
    fn max_body_bytes(&self) -> usize {
        16 << 20
    }
    fn start_job(
        &self,
        kind: &str,
        owner: &Principal,
        service: &str,
        request: String,
    ) -> Result<Job> {
        let job = Job {
            id: Uuid::new_v4(),
            kind: kind.to_owned(),
            owner: owner.clone(),
            service: service.to_owned(),
            request,
            status: JobStatus::Pending,
            phase: String::new(),
            progress: (0, None),
            result: String::new(),
            submitted_at: Timestamp(0),
            updated_at: Timestamp(0),
        };
        let mut state = self.state.lock().unwrap();
        if state.is_crowded {
            return Err(Error::Invalid {
                what: "jobs".to_owned(),
                problem: "too many wait".to_owned(),
            });
        }
        state.jobs.push(job.clone());
        Ok(job)
    }
    fn job(&self, id: Uuid) -> Option<Job> {
        let state = self.state.lock().unwrap();
        state.jobs.iter().find(|job| job.id == id).cloned()
    }
    fn register_job_runner(&self, kind: &str, runner: Arc<dyn JobRunner>) {
        let mut state = self.state.lock().unwrap();
        state.runners.insert(kind.to_owned(), runner);
    }
    fn create_file(&self, _owner: &Principal, _extension: &str) -> Result<StoredFile> {
        Err(unused())
    }
    fn file(&self, _id: Uuid, _principal: &Principal) -> Option<StoredFile> {
        None
    }
    fn describe_file(&self, _file: &StoredFile) -> Result<()> {
        Err(unused())
    }
    fn remove_file(&self, _id: Uuid) -> Result<()> {
        Err(unused())
    }
}

fn unused() -> Error {
    Error::Corrupt("this face keeps no files of the host".to_owned())
}
