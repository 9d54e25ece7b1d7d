//! The server behind its listener: what all faces, the native API and commands on the data directory share.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use uuid::Uuid;

use haversack_arangodb::aside::is_unfinished;
use haversack_model::copies::Copies;
use haversack_model::documents::DocumentStore;
use haversack_model::host::{
    Binding, JobRunner, Kept, LoginError, Origin, StoredFile, Token, Users, ValuesAbove,
};
use haversack_model::{
    Access, Collection, CollectionId, Filter, Generation, Host, Job, Level, Principal, Right,
    Service, Store, Timestamp,
};

use crate::accounts::{ANONYMOUS, Accounts, OPERATOR};
use crate::clock;
use crate::course::Course;
use crate::cursors::Cursors;
use crate::datadir::DataDir;
use crate::db::Db;
use crate::error::{Error, Result};
use crate::files::Files;
use crate::grants::{ALL_RIGHTS, Grant, Grants};
use crate::jobs::Jobs;
use crate::kept::Notes;
use crate::marks::Marks;
use crate::services::Services;
use crate::upstream::Upstream;
use crate::{Config, secret};

/// A data directory, open: everything of a server but its listener.
#[derive(Debug)]
pub struct Server {
    /// The settings in force.
    pub config: Config,
    /// The folder, held for this process.
    pub dir: DataDir,
    /// Users and tokens.
    pub accounts: Accounts,
    /// Who may do what.
    pub grants: Grants,
    /// Long work.
    pub jobs: Arc<Jobs>,
    /// Prepared and uploaded files.
    pub files: Files,
    /// The published services.
    pub services: Services,
    pub(crate) cursors: Cursors,
    pub(crate) pulls: crate::native::pull::Pulls,
    pub(crate) notes: Notes,
    pub(crate) upstream: OnceLock<Arc<Upstream>>,
    course: Course,
    marks: Marks,
    id: Uuid,
    operator_token: String,
}

/// A crash may have come between the end of a collection and that of its grants: the next one of that number must not have them.
/// Only at the start: later, one that is just being made may have its grants before it is there.
fn forget_dropped(services: &Services, grants: &Grants) -> Result<()> {
    for (service, id) in grants.named_collections()? {
        let Some(store) = services.store(&service) else {
            continue;
        };
        let definition = store.begin_read()?.service()?;
        if definition.collection(id).is_none_or(is_unfinished) {
            grants.forget_collection(&service, id)?;
        }
    }
    Ok(())
}

impl Server {
    /// Opens a data directory with the settings of its own file.
    pub fn open(root: &Path) -> Result<Arc<Self>> {
        let config = Config::load(root)?;
        Self::open_with(root, config)
    }

    /// Opens a data directory with the given settings.
    ///
    /// # Errors
    /// [`Error::Locked`] if another process holds it.
    pub fn open_with(root: &Path, config: Config) -> Result<Arc<Self>> {
        let dir = DataDir::open(root)?;
        let db = Db::open(&dir.database())?;
        let services = Services::open(dir.services())?;
        let marks = Marks::new(db.clone());
        marks.check(&services)?;
        let grants = Grants::new(db.clone());
        forget_dropped(&services, &grants)?;
        Ok(Arc::new(Self {
            id: Uuid::from_bytes(db.value_or("server id", || *secret::random_uuid().as_bytes())?),
            operator_token: secret::random_token(),
            accounts: Accounts::new(db.clone(), &config),
            course: Course::new(db.clone()),
            notes: Notes::new(db.clone()),
            cursors: Cursors::new(&db)?,
            pulls: crate::native::pull::Pulls::default(),
            upstream: OnceLock::new(),
            grants,
            jobs: Arc::new(Jobs::new(db.clone(), &config)),
            files: Files::new(db, dir.files(), &config),
            services,
            marks,
            dir,
            config,
        }))
    }

    /// Makes the first administrator of a new data directory; does nothing if there are users.
    ///
    /// Gives the password if it was made up here: it is told once and kept nowhere.
    pub fn ensure_administrator(
        &self,
        name: Option<&str>,
        password: Option<&str>,
    ) -> Result<Option<(String, String)>> {
        if !self.accounts.list()?.is_empty() {
            return Ok(None);
        }
        let name = name.unwrap_or("admin");
        let now = clock::now();
        if let Some(password) = password {
            self.accounts.add(name, password, true, now)?;
            return Ok(None);
        }
        let password = secret::random_password();
        self.accounts.add(name, &password, true, now)?;
        Ok(Some((name.to_owned(), password)))
    }

    /// The secret by which commands on the data directory act as administrator.
    pub(crate) fn operator_token(&self) -> &str {
        &self.operator_token
    }

    /// Removes what has expired.
    pub(crate) fn sweep(&self) {
        let now = clock::now();
        let swept = [
            self.files.sweep(now).map(|_count| ()),
            self.accounts.sweep(now),
            self.jobs.sweep(now),
            self.prune(now),
            self.sweep_copies(now),
            self.marks.set(&self.services),
        ];
        for error in swept.into_iter().filter_map(Result::err) {
            tracing::error!(%error, "sweeping failed; the next sweep tries again");
        }
    }

    /// Forgets history that nobody needs any more: beyond the limits of count and age, but never what a replica needs that
    /// still counts. Replicas that have not synchronised for long count no more, and at last are forgotten, too.
    pub fn prune(&self, now: Timestamp) -> Result<()> {
        const DAY_MS: i64 = 86_400_000;
        let ago = |days: u64| {
            let days = i64::try_from(days.max(1)).unwrap_or(i64::MAX);
            Timestamp(now.0.saturating_sub(days.saturating_mul(DAY_MS)))
        };
        let dormant_since = ago(self.config.replica_expiry_d);
        let forgotten_since = ago(self
            .config
            .replica_forget_d
            .max(self.config.replica_expiry_d));
        for name in self.services.names() {
            let Some(store) = self.services.store(&name) else {
                continue;
            };
            let (head, replicas) = {
                let tx = store.begin_read()?;
                (tx.head()?, tx.replicas()?)
            };
            let (forgotten, rest): (Vec<_>, Vec<_>) = replicas
                .into_iter()
                .partition(|replica| replica.synced_at < forgotten_since);
            let dormant: Vec<_> = rest
                .into_iter()
                .filter(|replica| replica.synced_at < dormant_since && !replica.is_dormant)
                .collect();
            let by_count = head
                .generation
                .0
                .saturating_sub(self.config.history_generations);
            let by_age = self
                .course
                .reached(&name, &head, now, ago(self.config.history_d))?;
            let upto = by_age.max(Generation(by_count));
            if forgotten.is_empty() && dormant.is_empty() && upto <= head.floor {
                continue;
            }
            let mut tx = store.begin_write(now)?;
            for replica in forgotten {
                tx.remove_replica(replica.id)?;
                tracing::info!(service = name, replica = %replica.id, "an abandoned replica was forgotten");
            }
            for mut replica in dormant {
                replica.is_dormant = true;
                tx.store_replica(&replica)?;
                tracing::info!(service = name, replica = %replica.id, "a replica no longer holds history back");
            }
            if upto > head.floor {
                let floor = tx.prune_history(upto)?;
                tracing::info!(service = name, %floor, "history was pruned");
            }
            tx.commit()?;
        }
        Ok(())
    }

    /// Begins to synchronise with an upper server.
    ///
    /// # Errors
    /// If a thread cannot be made.
    pub(crate) fn start_upstream(self: &Arc<Self>, upstream: Upstream) -> Result<()> {
        let upstream = self.upstream.get_or_init(|| Arc::new(upstream));
        upstream.start(self)
    }

    /// Ends the work: no new jobs; running ones get until the deadline.
    pub(crate) fn stop(&self, deadline: Instant) {
        self.pulls.stop();
        if let Some(upstream) = self.upstream.get() {
            upstream.stop(deadline);
        }
        self.jobs.stop(deadline);
        if let Err(error) = self.marks.set(&self.services) {
            tracing::warn!(%error, "it could not be noted how far the services are");
        }
        self.services.close();
        self.dir.withdraw();
    }

    fn find_access(&self, principal: &Principal, service: &str) -> Result<Access> {
        if principal.is_admin {
            return Ok(Access {
                rights: ALL_RIGHTS.to_vec(),
                ..Access::default()
            });
        }
        let Some(grant) = self.grants.holding(principal, service)? else {
            return Ok(Access::default());
        };
        let filters = self.parse_filters(service, &grant)?;
        let rights = if grant.rights.contains(&Right::Admin) {
            ALL_RIGHTS.to_vec()
        } else {
            grant.rights
        };
        let mut access = Access {
            rights,
            filters,
            levels: self.grants.holding_levels(&principal.name, service)?,
        };
        self.spare_system(service, &mut access)?;
        Ok(access)
    }

    /// The level of all collections is not one of those of the system, whose names begin with `_`: they go with their service.
    fn spare_system(&self, service: &str, access: &mut Access) -> Result<()> {
        let of_all = access.levels.iter().any(|(of, _)| of.is_none());
        let Some(store) = self.services.store(service).filter(|_| of_all) else {
            return Ok(());
        };
        let level = match (access.allows(Right::Read), access.allows(Right::Edit)) {
            (_, true) => Level::Write,
            (true, false) => Level::Read,
            (false, false) => Level::None,
        };
        let definition = store.begin_read()?.service()?;
        let system = definition
            .collections
            .iter()
            .filter(|collection| collection.name.starts_with('_'));
        let system = system.map(|collection| (Some(collection.id), level));
        access.levels.extend(system);
        Ok(())
    }

    /// The row filters of a grant. One that does not fit the schema any more lets no row through.
    fn parse_filters(&self, service: &str, grant: &Grant) -> Result<Vec<(CollectionId, Filter)>> {
        if grant.filters.is_empty() {
            return Ok(Vec::new());
        }
        let Some(store) = self.services.store(service) else {
            return Ok(Vec::new());
        };
        let tx = store.begin_read()?;
        let mut filters = Vec::with_capacity(grant.filters.len());
        for (id, text) in &grant.filters {
            let parsed = tx
                .collection(*id)
                .map_err(Error::from)
                .and_then(|collection| parse_condition(text, &collection));
            filters.push((
                *id,
                parsed.unwrap_or_else(|error| {
                    tracing::error!(%error, service, collection = %id, "a row filter cannot be used: no row passes it");
                    Filter::Nothing
                }),
            ));
        }
        Ok(filters)
    }

    /// Adds or replaces a grant, after checking what it names.
    ///
    /// # Errors
    /// [`Error::Missing`] for an unknown user or service; [`Error::Invalid`] for a filter that does not fit the layer.
    pub fn grant(&self, grant: &Grant) -> Result<()> {
        let is_group = grant.principal == "*" || grant.principal.eq_ignore_ascii_case(ANONYMOUS);
        if !is_group && !self.accounts.exists(&grant.principal)? {
            return Err(Error::Missing {
                what: "user",
                name: grant.principal.clone(),
            });
        }
        let mut grant = grant.clone();
        if grant.service == "*" {
            if !grant.filters.is_empty() {
                return Err(Error::invalid("filters", "they need one named service"));
            }
        } else {
            let missing = || Error::Missing {
                what: "service",
                name: grant.service.clone(),
            };
            let name = self
                .services
                .canonical(&grant.service)
                .ok_or_else(missing)?;
            let store = self.services.store(&name).ok_or_else(missing)?;
            let tx = store.begin_read()?;
            for (id, text) in &grant.filters {
                parse_condition(text, &tx.collection(*id)?)?;
            }
            grant.service = name;
        }
        self.grants.set(&grant)
    }

    /// Publishes a new service.
    ///
    /// # Errors
    /// As [`Services::create`].
    pub fn create_service(
        &self,
        service: &Service,
        fill: impl FnOnce(&dyn Store) -> Result<()>,
    ) -> Result<()> {
        self.services
            .create(service, |store| fill(store))
            .map(|_store| ())
    }
}

/// Parses a where clause of standardised queries for a collection.
///
/// # Errors
/// [`Error::Invalid`] says what in the text is wrong.
pub fn parse_condition(text: &str, collection: &Collection) -> Result<Filter> {
    haversack_geoservices::wire::sql::condition(text, collection, clock::now())
        .map_err(|error| Error::invalid(format!("where clause {text:?}"), error.to_string()))
}

pub(crate) fn model_error(error: Error) -> haversack_model::Error {
    match error {
        Error::Model(error) => error,
        Error::Invalid { what, problem } => haversack_model::Error::Invalid { what, problem },
        other => haversack_model::Error::Store {
            doing: "serving",
            source: Box::new(other),
        },
    }
}

/// Logs an error and gives what stands for "no": callers that cannot fail deny.
fn or_deny<T: Default>(result: Result<T>, doing: &'static str) -> T {
    result.unwrap_or_else(|error| {
        tracing::error!(%error, "{doing} failed");
        T::default()
    })
}

impl Host for Server {
    fn service_names(&self) -> Vec<String> {
        self.services.names()
    }
    fn values_above(&self) -> Option<&dyn ValuesAbove> {
        let upstream = self.upstream.get()?;
        Some(upstream.as_ref())
    }
    fn service(&self, name: &str) -> Option<Arc<dyn Store>> {
        self.services
            .store(name)
            .map(|store| store as Arc<dyn Store>)
    }
    fn documents(&self, name: &str) -> Option<Arc<dyn DocumentStore>> {
        self.services
            .store(name)
            .map(|store| store as Arc<dyn DocumentStore>)
    }
    fn create_service(&self, service: &Service) -> haversack_model::Result<()> {
        self.services
            .create(service, |_store| Ok(()))
            .map(|_store| ())
            .map_err(model_error)
    }
    fn remove_service(&self, name: &str) -> haversack_model::Result<bool> {
        let Some(name) = self.services.canonical(name) else {
            return Ok(false);
        };
        // First: a service made later under this name must not inherit them.
        self.grants.forget_service(&name).map_err(model_error)?;
        self.services.remove(&name).map_err(model_error)
    }
    fn allows_endpoint(&self, endpoint: &str) -> bool {
        crate::endpoints::allows(&self.config.allow_endpoints, endpoint)
    }
    fn endpoint_ca(&self) -> Option<PathBuf> {
        let file = &self.config.endpoint_ca;
        // A relative path is one of the data directory, where the setting is, too.
        (!file.is_empty()).then(|| self.dir.root().join(file))
    }
    fn stop_with_me(&self, flag: &Arc<AtomicBool>) {
        self.pulls.watch(flag);
    }
    fn copies(&self) -> Option<&dyn Copies> {
        Some(self)
    }
    fn users(&self) -> Option<&dyn Users> {
        Some(self)
    }
    fn kept(&self) -> Option<&dyn Kept> {
        Some(self)
    }
    fn access(&self, principal: &Principal, service: &str) -> Access {
        let known = self.services.canonical(service);
        let service = known.as_deref().unwrap_or(service);
        or_deny(self.find_access(principal, service), "looking up a grant")
    }
    fn login(
        &self,
        user: &str,
        password: &str,
        address: &str,
    ) -> Result<Option<Principal>, LoginError> {
        self.accounts.login(user, password, address)
    }
    fn issue_token(&self, principal: &Principal, lifetime_ms: u64, binding: &Binding) -> Token {
        let issued = self
            .accounts
            .issue_token(principal, clock::now(), lifetime_ms, binding);
        issued.unwrap_or_else(|error| {
            tracing::error!(%error, "a token could not be kept and will not be accepted");
            Token {
                text: secret::random_token(),
                expires_at: clock::now(),
            }
        })
    }
    fn verify_token(&self, token: &str, origin: Origin<'_>) -> Option<Principal> {
        if secret::same_secret(token.as_bytes(), self.operator_token.as_bytes()) {
            return Some(Principal {
                name: OPERATOR.to_owned(),
                is_admin: true,
            });
        }
        or_deny(
            self.accounts.verify_token(token, origin, clock::now()),
            "verifying a token",
        )
    }
    fn revoke_token(&self, token: &str) {
        or_deny(self.accounts.revoke_token(token), "revoking a token");
    }
    fn now(&self) -> Timestamp {
        clock::now()
    }
    fn fresh_uuid(&self) -> Uuid {
        secret::random_uuid()
    }
    fn server_id(&self) -> Uuid {
        self.id
    }
    fn base_url(&self) -> Option<String> {
        let url = self.config.base_url.trim_end_matches('/');
        (!url.is_empty()).then(|| url.to_owned())
    }
    fn allows_origin(&self, origin: &str) -> bool {
        crate::http::cors::is_listed(&self.config.cors_origins, origin)
    }
    fn max_body_bytes(&self) -> usize {
        self.config.max_body_bytes as usize
    }
    fn max_copy_rows(&self) -> u64 {
        self.config.max_copy_rows
    }
    fn max_copy_bytes(&self) -> u64 {
        self.config.max_copy_bytes
    }
    fn start_job(
        &self,
        kind: &str,
        owner: &Principal,
        service: &str,
        request: String,
    ) -> haversack_model::Result<Job> {
        self.jobs
            .add(kind, owner, service, request)
            .map_err(model_error)
    }
    fn job(&self, id: Uuid) -> Option<Job> {
        or_deny(self.jobs.load(id), "reading a job")
    }
    fn register_job_runner(&self, kind: &str, runner: Arc<dyn JobRunner>) {
        self.jobs.register(kind, runner);
    }
    fn create_file(
        &self,
        owner: &Principal,
        extension: &str,
    ) -> haversack_model::Result<StoredFile> {
        self.files
            .create(owner, extension, clock::now())
            .map_err(model_error)
    }
    fn file(&self, id: Uuid, principal: &Principal) -> Option<StoredFile> {
        or_deny(
            self.files.load(id, principal, clock::now()),
            "looking up a file",
        )
    }
    fn describe_file(&self, file: &StoredFile) -> haversack_model::Result<()> {
        self.files.describe(file).map_err(model_error)
    }
    fn remove_file(&self, id: Uuid) -> haversack_model::Result<()> {
        self.files.remove(id).map_err(model_error)
    }
}
