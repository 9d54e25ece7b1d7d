//! Makes a collection of this server a copy of one elsewhere: what the job `pull` does, and who may start it.
//!
//! A server connects to others only where its operator allowed that: by the list of endpoints, or by naming one on the command line of
//! its own machine. Credentials for the other server stay in memory. A job that a restart cut off asks for them again and goes on
//! where it was, since all that arrived is in the file.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use axum::body::Bytes;
use axum::response::Response;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use haversack_model::host::JobRunner;
use haversack_model::{Collection, CollectionId, Host as _, Job, Right};
use haversack_sqlite::service::Difference;
use haversack_sync::reconcile::{self, Base, Limits, Method, Options, Secondary as _};

use super::admin::job_info;
use super::answer::{json, parse, unpack};
use super::call::Call;
use super::first_copy;
use super::here::{Here, here, known};
use super::making::Making;
use super::problem::{Problem, Result as Answer};
use super::pull_arangodb;
use super::reconcile_client::Fetching;
use super::remote::{Client, Credentials, Trust};
use super::visits::{Visit, Visits};
use crate::accounts::OPERATOR;
use crate::error::{Error, Result};
use crate::{Server, clock};

const KIND: &str = "pull";
/// Most questions of one copy. Those that are asked again after a cut count, too.
pub(super) const MOST_ROUNDS: u32 = 100_000;
/// Differences that a comparison lists, unless told otherwise.
pub(super) const LISTED: usize = 1000;

/// What is told while it goes on: what it does, how much is done, how much there is.
pub(super) type Progress<'a> = dyn FnMut(&str, u64, Option<u64>) + 'a;

/// What to copy from where.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(clippy::struct_excessive_bools, reason = "they are flags of a request")]
pub struct Request {
    /// The other server: `tcp://`, `ssl://`, `http://` or `https://`, host and port.
    pub from: String,
    /// The service (database) there; that of the same name if empty.
    pub database: String,
    /// The collection there; that of the same name if empty.
    pub collection: String,
    /// Change nothing; say what would change.
    pub dry_run: bool,
    /// Compare contents, too: finds damage that no generation tells of. Reads everything on both sides.
    pub deep: bool,
    /// Of a server that speaks only ArangoDB's protocols: fetch what differs. Otherwise that is always so.
    pub incremental: bool,
    /// Of such a server: nothing is to be done while its tick is this one.
    pub since: Option<String>,
    /// Seconds that the other server may be silent.
    pub max_wait_s: Option<u64>,
    /// Certificates (PEM) by which the other server may show who it is, beside those that the operator named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// Do not check the other server's certificate.
    pub insecure: bool,
    /// How many differences a dry run lists.
    pub list: Option<usize>,
}

/// Who asks at the other server.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Login {
    /// User name.
    pub user: String,
    /// Password.
    pub password: String,
    /// A token instead.
    pub token: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Login({})", self.user)
    }
}

impl Login {
    fn credentials(&self) -> Credentials {
        if !self.token.is_empty() {
            Credentials::Token(self.token.clone())
        } else if self.user.is_empty() {
            Credentials::Anonymous
        } else {
            Credentials::Basic {
                user: self.user.clone(),
                password: self.password.clone(),
            }
        }
    }
}

/// Body of a request for a job.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Asked {
    /// What to copy.
    #[serde(flatten)]
    pub request: Request,
    /// Who asks there.
    #[serde(default)]
    pub login: Login,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The service here.
    pub service: String,
    /// The collection here.
    pub collection: String,
    /// Whether the collection was made for it.
    pub created: bool,
    /// Whether nothing was changed.
    pub dry_run: bool,
    /// What the walk did, or would have done.
    pub walk: reconcile::Report,
    /// Of a dry run: the first that differ, by key.
    pub differences: Vec<Difference>,
    /// Whether there are more of them.
    pub more: bool,
    /// Of a server that speaks only ArangoDB's protocols: the tick of its snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tick: Option<String>,
}

/// Copies under way, and logins of jobs.
#[derive(Debug, Default)]
pub(crate) struct Pulls {
    running: Arc<Mutex<HashSet<(String, CollectionId)>>>,
    logins: Mutex<HashMap<Uuid, Login>>,
    stopping: Arc<AtomicBool>,
    /// Flags of others that are set together with it.
    watched: Mutex<Vec<Weak<AtomicBool>>>,
    /// Services that something is copied into.
    pub(super) visits: Visits,
    /// Each request that waits for a change holds it, too.
    waiters: Arc<()>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One copy at a time for each collection.
#[derive(Debug)]
pub(super) struct Running {
    all: Arc<Mutex<HashSet<(String, CollectionId)>>>,
    of: (String, CollectionId),
}

impl Drop for Running {
    fn drop(&mut self) {
        lock(&self.all).remove(&self.of);
    }
}

impl Pulls {
    /// Ends what is under way: it goes on when it is asked for again.
    pub(crate) fn stop(&self) {
        let watched = lock(&self.watched);
        self.stopping.store(true, Ordering::SeqCst);
        for flag in watched.iter().filter_map(Weak::upgrade) {
            flag.store(true, Ordering::SeqCst);
        }
    }
    /// Sets a flag when what is under way must end.
    pub(crate) fn watch(&self, flag: &Arc<AtomicBool>) {
        let mut watched = lock(&self.watched);
        watched.retain(|flag| flag.strong_count() > 0);
        watched.push(Arc::downgrade(flag));
        if self.stopping.load(Ordering::SeqCst) {
            flag.store(true, Ordering::SeqCst);
        }
    }
    /// Set when what is under way must end.
    pub(super) fn stopping(&self) -> &Arc<AtomicBool> {
        &self.stopping
    }
    /// Counts a request that waits for a change for as long as what it gets is held.
    pub(super) fn wait(&self) -> Arc<()> {
        Arc::clone(&self.waiters)
    }
    /// How many of them there are.
    pub(crate) fn waiting(&self) -> usize {
        Arc::strong_count(&self.waiters) - 1
    }
    pub(super) fn begin(&self, service: &str, id: CollectionId) -> Result<Running> {
        let of = (service.to_lowercase(), id);
        if !lock(&self.running).insert(of.clone()) {
            return Err(Error::invalid(
                "pull",
                "this collection is being synchronised already; wait for that to end",
            ));
        }
        Ok(Running {
            all: Arc::clone(&self.running),
            of,
        })
    }
}

/// What a job needs; the login is named, not kept.
#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    request: Request,
    collection: String,
    login: Option<Uuid>,
}

/// Names the runner of these jobs.
pub(super) fn register_runner(server: &Arc<Server>) {
    let runner = Runner {
        server: Arc::downgrade(server),
    };
    server.jobs.register(KIND, Arc::new(runner));
}

/// Starts a job that makes a collection a copy of another server's.
pub(super) fn start(
    call: &Call,
    service: &str,
    collection: &str,
    body: &Bytes,
) -> Answer<Response> {
    if call.server.services.canonical(service).is_some() {
        let (store, access) = call.service(service, Right::Publish)?;
        let definition = store.begin_read()?.service()?;
        // One that is not there yet has the level of those that are not named.
        let id = definition
            .collection_named(collection)
            .map(|found| found.id);
        if !access.may_alter(id.unwrap_or(CollectionId(u32::MAX))) {
            return Err(Problem::forbidden(
                "your grant does not let you replace this collection",
            ));
        }
    } else {
        call.admin()?;
    }
    let asked: Asked = parse(&unpack(&call.headers, body, call.max_json())?)?;
    // Whoever has the operator's token may read and write the data directory itself.
    let is_operator = call.who.is_admin && call.who.name == OPERATOR;
    if !is_operator && !call.server.allows_endpoint(&asked.request.from) {
        return Err(Problem::forbidden(
            "this server may not connect there; its operator can allow it with --allow-endpoint",
        ));
    }
    let login = asked
        .login
        .credentials_given()
        .then(crate::secret::random_uuid);
    if let Some(id) = login {
        lock(&call.server.pulls.logins).insert(id, asked.login);
    }
    let stored = Stored {
        request: asked.request,
        collection: collection.to_owned(),
        login,
    };
    let stored = serde_json::to_string(&stored).expect("names and numbers are JSON");
    let job = call.server.start_job(KIND, &call.who, service, stored)?;
    let mut response = json(&job_info(&job))?;
    *response.status_mut() = StatusCode::ACCEPTED;
    Ok(response)
}

impl Login {
    fn credentials_given(&self) -> bool {
        !self.user.is_empty() || !self.token.is_empty()
    }
}

#[derive(Debug)]
struct Runner {
    server: Weak<Server>,
}

impl JobRunner for Runner {
    fn run(
        &self,
        job: &Job,
        progress: &mut dyn FnMut(&str, u64, Option<u64>),
    ) -> std::result::Result<String, String> {
        let server = self.server.upgrade().ok_or("the server is stopping")?;
        let stored: Stored =
            serde_json::from_str(&job.request).map_err(|error| error.to_string())?;
        let login = match stored.login {
            None => Login::default(),
            Some(id) => lock(&server.pulls.logins).remove(&id).ok_or(
                "the server was restarted, and credentials are not kept on disk; ask again: what arrived is kept",
            )?,
        };
        let done = run(
            &server,
            &job.service,
            &stored.collection,
            &stored.request,
            &login,
            progress,
        );
        match done {
            Ok(report) => serde_json::to_string(&report).map_err(|error| error.to_string()),
            Err(_) if server.pulls.stopping().load(Ordering::Relaxed) => {
                Err("the server was stopped; ask again: what arrived is kept".to_owned())
            }
            Err(error) => {
                tracing::error!(%error, job = %job.id, "a collection could not be copied");
                Err(error.to_string())
            }
        }
    }
}

/// Makes a collection of this server a copy of another server's.
///
/// # Errors
/// Whatever keeps it from being proven equal. The collection is as it was then.
pub fn run(
    server: &Server,
    service: &str,
    name: &str,
    request: &Request,
    login: &Login,
    progress: &mut dyn FnMut(&str, u64, Option<u64>),
) -> Result<Report> {
    let visit = Visit::begin(server, service);
    let done = in_service(server, &visit, (service, name), request, login, progress);
    if done.is_ok() {
        visit.keep();
    }
    done
}

fn in_service(
    server: &Server,
    visit: &Visit<'_>,
    (service, name): (&str, &str),
    request: &Request,
    login: &Login,
    progress: &mut Progress<'_>,
) -> Result<Report> {
    progress("asking the other server", 0, None);
    if let Some(here) = known(server, service, name)? {
        let there = There::new(server, service, name, request, login)?;
        match fetch(server, &there, here, request, progress) {
            // Whoever has nothing of the kind, or is gone, is asked what is the matter.
            Err(Error::Model(
                haversack_model::Error::Network(_)
                | haversack_model::Error::Refused { code: 404, .. },
            )) => {}
            done => return done,
        }
    }
    let there = There::new(server, service, name, request, login)?;
    let Some((id, definition)) = there.find(&request.from)? else {
        return pull_arangodb::run(server, visit, (service, name), request, login, progress);
    };
    let is_same = there.service.eq_ignore_ascii_case(service) && definition.name == name;
    if id == Some(server.server_id()) && is_same {
        return Err(Error::invalid(
            request.from.as_str(),
            format!("it is this server: {name:?} cannot be a copy of itself"),
        ));
    }
    let here = here(server, visit, (service, name), request.dry_run, &definition)?;
    fetch(server, &there, here, request, progress)
}

/// Makes the copy equal, or says what that would change; one that was made for it and fails is gone again.
fn fetch(
    server: &Server,
    there: &There,
    mut here: Here,
    request: &Request,
    progress: &mut dyn FnMut(&str, u64, Option<u64>),
) -> Result<Report> {
    let _running = server.pulls.begin(&here.service, here.id)?;
    let mut making = here.making.take();
    let done = walk(server, there, &here, making.as_mut(), request, progress);
    let Some(making) = making else { return done };
    match done {
        Ok(report) => {
            making.end(&here.store)?;
            Ok(report)
        }
        Err(error) => {
            use haversack_model::Error as E;
            let goes_on = matches!(error, Error::Model(E::Network(_) | E::DiskFull));
            if let Err(left) = making.give_up(&here.store, goes_on) {
                tracing::warn!(%left, "what was begun stays until it expires");
            }
            Err(error)
        }
    }
}

/// Of an equal copy it costs a single question.
fn walk(
    server: &Server,
    there: &There,
    here: &Here,
    making: Option<&mut Making>,
    request: &Request,
    progress: &mut dyn FnMut(&str, u64, Option<u64>),
) -> Result<Report> {
    let created = making.is_some();
    let mut copy = here.store.secondary(here.id, clock::now())?;
    if let Some(making) = making {
        copy = copy.with_merging(making);
    }
    let first = if request.dry_run {
        None
    } else {
        let of = (there.service.as_str(), there.name.as_str());
        first_copy::begin(&there.client, of, &here.store, &mut copy, progress)?
    };
    let how = Fetching {
        options: Options {
            dry_run: request.dry_run,
            deep: request.deep,
            limits: Limits {
                max_rounds: MOST_ROUNDS,
                ..Limits::default()
            },
        },
        max_wait: request.max_wait_s.map(Duration::from_secs),
        stop: Some(Arc::clone(server.pulls.stopping())),
        copy: there.copy.clone(),
    };
    let walked =
        there
            .client
            .fetch_collection(&there.service, &there.name, &mut copy, &how, &mut |walk| {
                let documents = walk.inserted + walk.replaced + walk.removed + walk.dropped;
                let text = format!("fetched {} kB", walk.bytes_received / 1000);
                progress(&text, documents, None);
            });
    let mut walk = match (walked, first) {
        // It is whole since the file was taken over; what came later is for the next pull.
        (Err(haversack_model::Error::Network(error)), Some(first)) => {
            tracing::info!(%error, "a copy is complete; whether there is more could not be asked");
            reconcile::Report {
                proof: Some(first.proof),
                ..reconcile::Report::default()
            }
        }
        (walked, _) => walked?,
    };
    if let Some(first) = first {
        walk.method = Method::FullCopy;
        walk.inserted += first.items;
        walk.bytes_received += first.bytes;
        walk.bytes_of_records += first.bytes;
    }
    let (mut differences, mut more) = (Vec::new(), false);
    if request.dry_run {
        let most = request.list.unwrap_or(LISTED);
        differences = copy.differences(most.saturating_add(1))?;
        more = differences.len() > most;
        differences.truncate(most);
        copy.begin(Base::Kept)?;
    }
    Ok(Report {
        service: here.service.clone(),
        collection: here.name.clone(),
        created,
        dry_run: request.dry_run,
        walk,
        differences,
        more,
        tick: None,
    })
}

/// The collection at the other server.
struct There {
    client: Client,
    service: String,
    name: String,
    /// Server, service and collection here, so that nothing becomes a copy of itself.
    copy: String,
}

impl There {
    /// Nothing is asked yet.
    fn new(
        server: &Server,
        service: &str,
        name: &str,
        request: &Request,
        login: &Login,
    ) -> Result<Self> {
        let trust = Trust {
            ca: server.endpoint_ca(),
            pem: request.ca.clone(),
            insecure: request.insecure,
            pinned: None,
        };
        let mut client = Client::new(&web_url(&request.from), login.credentials(), &trust)?
            .with_stop(Arc::clone(server.pulls.stopping()));
        if let Some(seconds) = request.max_wait_s {
            client = client.with_patience(Duration::from_secs(seconds));
        }
        let or = |given: &str, same: &str| if given.is_empty() { same } else { given }.to_owned();
        Ok(Self {
            client,
            service: or(&request.database, service),
            name: or(&request.collection, name),
            copy: format!("{}/{service}/{name}", server.server_id().simple()),
        })
    }

    /// The id of the server, and what the collection is; `None` if no Haversack answers there.
    fn find(&self, from: &str) -> Result<Option<(Option<Uuid>, Collection)>> {
        let found = self.client.discover().map_err(|error| match error {
            haversack_model::Error::Network(cause) => {
                Error::invalid(from, format!("it cannot be reached ({cause})"))
            }
            other => other.into(),
        })?;
        let Some(discovered) = found else {
            return Ok(None);
        };
        let definition = self.client.service(&self.service)?.service;
        let found = definition.collection_named(&self.name).cloned();
        let definition = found.ok_or_else(|| {
            let (service, name) = (&self.service, &self.name);
            Error::invalid(
                from,
                format!("its service {service:?} has no collection {name:?}"),
            )
        })?;
        Ok(Some((discovered.server, definition)))
    }
}

/// The URL of an endpoint, whose scheme may be one of ArangoDB's.
fn web_url(endpoint: &str) -> String {
    for (own, web) in [
        ("tcp://", "http://"),
        ("http+tcp://", "http://"),
        ("ssl://", "https://"),
        ("http+ssl://", "https://"),
    ] {
        if let Some(rest) = endpoint.strip_prefix(own) {
            return format!("{web}{rest}");
        }
    }
    endpoint.to_owned()
}

pub(super) fn missing(what: &'static str, name: &str) -> Error {
    Error::Missing {
        what,
        name: name.to_owned(),
    }
}
