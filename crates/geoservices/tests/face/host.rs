//! A server for tests: users by name, grants by a table, jobs that run when the test says so, files in a folder.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use haversack_model::host::{Binding, JobRunner, LoginError, Origin, StoredFile, Token};
use haversack_model::{
    Access, CollectionId, Error, Filter, Host, Job, JobStatus, Principal, Result, Right, Store,
    Timestamp,
};
use haversack_sqlite::SqliteStore;
use uuid::Uuid;

/// Password of every user.
pub(crate) const PASSWORD: &str = "secret";
/// The largest body.
pub(crate) const MAX_BODY: usize = 1 << 20;

#[derive(Debug)]
pub(crate) struct TestHost {
    pub(crate) store: Arc<SqliteStore>,
    folder: tempfile::TempDir,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    access: BTreeMap<String, Access>,
    tokens: BTreeMap<String, Principal>,
    files: BTreeMap<Uuid, StoredFile>,
    jobs: BTreeMap<Uuid, Job>,
    runners: Vec<Arc<dyn JobRunner>>,
    clock: i64,
    issued: u32,
    /// Most rows and bytes of a copy, if there is a limit.
    largest_copy: Option<(u64, u64)>,
}

const ALL: [Right; 6] = [
    Right::Read,
    Right::Edit,
    Right::Sync,
    Right::Extract,
    Right::Publish,
    Right::Admin,
];

impl TestHost {
    /// A host of one service, which `service` describes, with the rights that tests start from: `ada` and `bob` may
    /// read, edit, synchronise and extract; `eve` may only read and synchronise; the anonymous user may read;
    /// `root` administers.
    pub(crate) fn new() -> Arc<Self> {
        Self::of(&super::sample::service(), &super::sample::fill)
    }

    /// The same of another service.
    pub(crate) fn of(service: &haversack_model::Service, fill: &dyn Fn(&dyn Store)) -> Arc<Self> {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::create(folder.path().join("trees.gpkg"), service);
        let host = Self {
            store: Arc::new(store.unwrap()),
            folder,
            state: Mutex::new(State {
                clock: 1_800_000_000_000,
                ..State::default()
            }),
        };
        let editor = &ALL[..4];
        host.grant("ada", editor, Vec::new());
        host.grant("bob", editor, Vec::new());
        host.grant("eve", &[Right::Read, Right::Sync], Vec::new());
        host.grant("", &[Right::Read], Vec::new());
        fill(host.store.as_ref());
        Arc::new(host)
    }

    pub(crate) fn grant(&self, user: &str, rights: &[Right], filters: Vec<(CollectionId, Filter)>) {
        let access = Access {
            rights: rights.to_vec(),
            filters,
            levels: Vec::new(),
        };
        self.state
            .lock()
            .unwrap()
            .access
            .insert(user.to_owned(), access);
    }

    /// Limits the rows of a copy and the bytes of its attachments.
    pub(crate) fn limit_copies(&self, rows: u64, bytes: u64) {
        self.state.lock().unwrap().largest_copy = Some((rows, bytes));
    }

    /// Runs all jobs that wait, as a server does; `false` if none waited.
    pub(crate) fn run_jobs(&self) -> bool {
        let (jobs, runner) = {
            let state = self.state.lock().unwrap();
            let waiting = state
                .jobs
                .values()
                .filter(|job| job.status == JobStatus::Pending);
            (
                waiting.cloned().collect::<Vec<_>>(),
                Arc::clone(&state.runners[0]),
            )
        };
        for mut job in jobs.clone() {
            let outcome = runner.run(&job, &mut |_, _, _| {});
            job.status = if outcome.is_ok() {
                JobStatus::Completed
            } else {
                JobStatus::Failed
            };
            job.result = outcome.unwrap_or_else(|error| error);
            self.state.lock().unwrap().jobs.insert(job.id, job);
        }
        !jobs.is_empty()
    }

    /// Runs all jobs but forgets that they ended: what a server that is killed then finds when it starts again.
    pub(crate) fn run_jobs_and_die(&self) {
        let before = self.state.lock().unwrap().jobs.clone();
        self.run_jobs();
        self.state.lock().unwrap().jobs = before;
    }

    /// Digest, head and number of replicas: equal before and after whatever must change nothing.
    pub(crate) fn fingerprint(&self) -> String {
        let tx = self.store.begin_read().unwrap();
        let digests = [0, 1, 2].map(|id| {
            let id = CollectionId(id);
            tx.digest(id, &Filter::All).unwrap()
        });
        let attached = tx
            .digest(CollectionId(0).attachments(), &Filter::All)
            .unwrap();
        let generation = tx.head().unwrap().generation;
        format!(
            "{digests:?} {attached:?} {generation} {:?}",
            tx.replicas().unwrap()
        )
    }

    /// The head of the service's history.
    pub(crate) fn store_generation(&self) -> u64 {
        self.store
            .begin_read()
            .unwrap()
            .head()
            .unwrap()
            .generation
            .0
    }

    /// All conflicts.
    pub(crate) fn conflicts(&self) -> Vec<haversack_model::Conflict> {
        let mut all = Vec::new();
        let tx = self.store.begin_read().unwrap();
        tx.conflicts(false, &mut |conflict| {
            all.push(conflict);
            Ok(std::ops::ControlFlow::Continue(()))
        })
        .unwrap();
        all
    }

    /// A token of a user.
    pub(crate) fn token(&self, user: &str) -> String {
        let principal = Principal {
            name: user.to_owned(),
            is_admin: user == "root",
        };
        self.issue_token(&principal, 1000, &Binding::None).text
    }
}

impl Host for TestHost {
    fn service_names(&self) -> Vec<String> {
        vec!["Trees".to_owned()]
    }
    fn service(&self, name: &str) -> Option<Arc<dyn Store>> {
        (name == "Trees").then(|| Arc::clone(&self.store) as Arc<dyn Store>)
    }
    fn access(&self, principal: &Principal, _service: &str) -> Access {
        if principal.is_admin {
            return Access {
                rights: ALL.to_vec(),
                ..Access::default()
            };
        }
        let state = self.state.lock().unwrap();
        state
            .access
            .get(&principal.name)
            .cloned()
            .unwrap_or_default()
    }
    fn login(
        &self,
        user: &str,
        password: &str,
        _address: &str,
    ) -> std::result::Result<Option<Principal>, LoginError> {
        if user == "hasty" {
            return Err(LoginError::TooManyAttempts { retry_after_s: 7 });
        }
        let known = ["ada", "bob", "eve", "root"].contains(&user) && password == PASSWORD;
        Ok(known.then(|| Principal {
            name: user.to_owned(),
            is_admin: user == "root",
        }))
    }
    fn issue_token(&self, principal: &Principal, lifetime_ms: u64, binding: &Binding) -> Token {
        let mut state = self.state.lock().unwrap();
        state.issued += 1;
        let text = format!(
            "token-{}-{}{}",
            principal.name,
            state.issued,
            binding.suffix()
        );
        state.tokens.insert(text.clone(), principal.clone());
        Token {
            text,
            expires_at: Timestamp(state.clock + lifetime_ms as i64),
        }
    }
    fn verify_token(&self, token: &str, origin: Origin<'_>) -> Option<Principal> {
        if !Binding::allows(token, origin) {
            return None;
        }
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
        Uuid::from_u128(7)
    }
    fn base_url(&self) -> Option<String> {
        None
    }
    fn allows_origin(&self, origin: &str) -> bool {
        origin == "https://maps.example"
    }
    fn max_body_bytes(&self) -> usize {
        MAX_BODY
    }
    fn max_copy_rows(&self) -> u64 {
        let limits = self.state.lock().unwrap().largest_copy;
        limits.map_or(u64::MAX, |(rows, _)| rows)
    }
    fn max_copy_bytes(&self) -> u64 {
        let limits = self.state.lock().unwrap().largest_copy;
        limits.map_or(u64::MAX, |(_, bytes)| bytes)
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
            submitted_at: Timestamp(1),
            updated_at: Timestamp(2),
        };
        self.state.lock().unwrap().jobs.insert(job.id, job.clone());
        Ok(job)
    }
    fn job(&self, id: Uuid) -> Option<Job> {
        self.state.lock().unwrap().jobs.get(&id).cloned()
    }
    fn register_job_runner(&self, _kind: &str, runner: Arc<dyn JobRunner>) {
        self.state.lock().unwrap().runners.push(runner);
    }
    fn create_file(&self, owner: &Principal, extension: &str) -> Result<StoredFile> {
        let id = Uuid::new_v4();
        let path: PathBuf = self.folder.path().join(id.simple().to_string());
        std::fs::write(&path, []).map_err(|_io| Error::DiskFull)?;
        Ok(StoredFile {
            id,
            path,
            owner: owner.name.clone(),
            extension: extension.to_owned(),
            name: String::new(),
            content_type: String::new(),
            note: String::new(),
        })
    }
    fn file(&self, id: Uuid, principal: &Principal) -> Option<StoredFile> {
        let state = self.state.lock().unwrap();
        let file = state.files.get(&id)?;
        (principal.is_admin || file.owner == principal.name).then(|| file.clone())
    }
    fn describe_file(&self, file: &StoredFile) -> Result<()> {
        self.state
            .lock()
            .unwrap()
            .files
            .insert(file.id, file.clone());
        Ok(())
    }
    fn remove_file(&self, id: Uuid) -> Result<()> {
        self.state.lock().unwrap().files.remove(&id);
        Ok(())
    }
}
