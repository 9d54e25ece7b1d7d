//! A server for tests: databases in a folder, users by name, any endpoint of this machine allowed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use haversack_model::documents::DocumentStore;
use haversack_model::host::{Binding, JobRunner, Kept, LoginError, Origin, StoredFile, Token};
use haversack_model::{
    Access, CollectionId, Error, Host, Job, Level, Principal, Result, Right, Service, Store,
    Timestamp,
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
    kept: BTreeMap<String, Vec<u8>>,
    granted: BTreeMap<String, Access>,
    clock: i64,
}

impl TestHost {
    /// A server with the database `_system`: `root` administers, `ada` may write, `eve` may only read.
    pub(crate) fn new() -> Arc<Self> {
        // Two servers seldom write in the same millisecond; a test that wants it says so.
        let apart = i64::from(Uuid::new_v4().as_fields().0 % 1_000_000);
        Self::at(1_800_000_000_000 + apart * 1000)
    }
    /// The same, its clock at a time.
    pub(crate) fn at(clock: i64) -> Arc<Self> {
        let host = Self {
            folder: tempfile::tempdir().unwrap(),
            id: Uuid::new_v4(),
            state: Mutex::new(State {
                clock,
                ..State::default()
            }),
        };
        host.create_service(&Service::of_documents("_system"))
            .unwrap();
        Arc::new(host)
    }
    /// What would be there if it were killed now, or brought back later from a copy of now; its clock at a time.
    pub(crate) fn as_of_now(&self, clock: i64) -> Arc<Self> {
        let folder = tempfile::tempdir().unwrap();
        for file in std::fs::read_dir(self.folder.path()).unwrap() {
            let file = file.unwrap();
            if !file.file_name().to_string_lossy().ends_with("-shm") {
                std::fs::copy(file.path(), folder.path().join(file.file_name())).unwrap();
            }
        }
        let name = "_system".to_owned();
        let store = SqliteStore::open(folder.path().join("_system.gpkg")).unwrap();
        let state = State {
            stores: BTreeMap::from([(name, Arc::new(store))]),
            clock,
            ..State::default()
        };
        Arc::new(Self {
            folder,
            id: self.id,
            state: Mutex::new(state),
        })
    }
    /// Sets the clock.
    pub(crate) fn turn_to(&self, clock: i64) {
        self.state.lock().unwrap().clock = clock;
    }
    /// Grants a user something else.
    pub(crate) fn grant(
        &self,
        user: &str,
        rights: &[Right],
        levels: &[(Option<CollectionId>, Level)],
    ) {
        let access = Access {
            rights: rights.to_vec(),
            levels: levels.to_vec(),
            ..Access::default()
        };
        let mut state = self.state.lock().unwrap();
        state.granted.insert(user.to_owned(), access);
    }
    /// How many pins there are in the system database.
    pub(crate) fn pins(&self) -> usize {
        let store = self.documents("_system").unwrap();
        let tx = store.read_documents().unwrap();
        tx.pins().unwrap().len()
    }
    /// What every write of the system database moves: its generation, and the version of its definition.
    pub(crate) fn mark(&self) -> (haversack_model::Generation, u64) {
        let store = self.documents("_system").unwrap();
        let tx = store.read_documents().unwrap();
        let version = tx.service().unwrap().schema_version;
        (tx.head().unwrap().generation, version.into())
    }
    /// How many documents wait beside the collections of the system database.
    pub(crate) fn staged(&self) -> u64 {
        let store = self.documents("_system").unwrap();
        let tx = store.read_documents().unwrap();
        let service = tx.service().unwrap();
        let all = service.collections.iter().map(|one| tx.staged(one.id));
        all.map(Result::unwrap).sum()
    }
    /// Everything that can be seen of the system database but the generation.
    pub(crate) fn fingerprint(&self) -> String {
        let store = self.documents("_system").unwrap();
        let tx = store.read_documents().unwrap();
        let service = tx.service().unwrap();
        let all = service.collections.iter().map(|collection| {
            let digest = tx
                .digest(collection.id, &haversack_model::Filter::All)
                .unwrap();
            format!("{collection:?} {digest:?}")
        });
        all.collect::<Vec<_>>().join("\n")
    }
}

impl Kept for TestHost {
    fn keep(&self, key: &str, value: &[u8]) -> Result<()> {
        let mut state = self.state.lock().unwrap();
        state.kept.insert(key.to_owned(), value.to_owned());
        Ok(())
    }
    fn forget(&self, key: &str) -> Result<()> {
        self.state.lock().unwrap().kept.remove(key);
        Ok(())
    }
    fn kept(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>> {
        let state = self.state.lock().unwrap();
        let found = state.kept.iter().filter(|(key, _)| key.starts_with(prefix));
        Ok(found
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect())
    }
}

impl Host for TestHost {
    fn kept(&self) -> Option<&dyn Kept> {
        Some(self)
    }
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
    fn allows_endpoint(&self, endpoint: &str) -> bool {
        endpoint.starts_with("tcp://127.0.0.1:")
    }
    fn access(&self, principal: &Principal, _service: &str) -> Access {
        let rights = match principal.name.as_str() {
            "root" | "ada" => vec![Right::Read, Right::Edit, Right::Sync, Right::Publish],
            "eve" => vec![Right::Read],
            _ => Vec::new(),
        };
        let granted = self.state.lock().unwrap().granted.clone();
        granted.get(&principal.name).cloned().unwrap_or(Access {
            rights,
            ..Access::default()
        })
    }
    fn login(
        &self,
        user: &str,
        password: &str,
        _address: &str,
    ) -> std::result::Result<Option<Principal>, LoginError> {
        let known = ["root", "ada", "eve", "mallory"].contains(&user) && password == PASSWORD;
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
        _kind: &str,
        _owner: &Principal,
        _service: &str,
        _request: String,
    ) -> Result<Job> {
        Err(unused())
    }
    fn job(&self, _id: Uuid) -> Option<Job> {
        None
    }
    fn register_job_runner(&self, _kind: &str, _runner: Arc<dyn JobRunner>) {}
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
    Error::Corrupt("this face keeps neither jobs nor files of the host".to_owned())
}
