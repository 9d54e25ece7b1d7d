//! The clinic: the tracker data of this server is synchronised with a DHIS2 server above it, by one thread.
//!
//! Owns: when that happens, the login, the file of the copy, what is shown of it. Does not own: what passes up and down
//! ([`haversack_dhis2::uplink`]). Devices never wait for the network: a round that fails is tried again.

mod decisions;
mod turns;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use haversack_dhis2::remote::copy;
use haversack_dhis2::remote::error::Error as RemoteError;
use haversack_dhis2::remote::http::{Credentials, Http, Options};
use haversack_dhis2::remote::push::{Courier, Pace};
use haversack_dhis2::remote::reserved::Away;
use haversack_dhis2::remote::server::Server as Above;
use haversack_dhis2::uplink::{self, Done, Error as RoundError, House, Round, Said, State, values};
use haversack_model::host::{ReservedValue, ValuesAbove, ValuesError};
use haversack_model::{Host, Principal, Timestamp};
use haversack_sqlite::replica::{self, ReplicaFile};
use serde_json::{Value as Json, json};

use crate::accounts::OPERATOR;
use crate::clock;
use crate::error::{Error, Result, at_path};
use crate::state::Server;
use turns::Turns;

/// How long after a failure it is tried again, if the interval is longer.
const AGAIN: Duration = Duration::from_secs(30);
/// How long after a refused login: accounts are locked for guessing.
const AFTER_REFUSAL: Duration = Duration::from_mins(5);

/// How long somebody waits for a round that was asked for.
const ASKED: Duration = Duration::from_mins(5);
/// How long a device waits for the upper server when the pool of values is low.
const PATIENCE: Duration = Duration::from_secs(10);

/// Who this server is for the upper one, where that is not in a file.
#[derive(Clone, Debug)]
pub enum Login {
    /// The password of the configured user.
    Password(Secret),
    /// A personal access token.
    Token(Secret),
}

/// A text that is not shown.
#[derive(Clone)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

/// How it stands, in short.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// Whether the last round reached the upper server and came to its end.
    pub is_reached: bool,
    /// When a round was last finished.
    pub synced_at: Option<Timestamp>,
    /// Why the last round was not.
    pub problem: Option<String>,
    /// Edits of devices that wait to be sent.
    pub waiting: usize,
    /// Edits that the upper server refused.
    pub refused: usize,
    /// Open conflicts.
    pub conflicts: usize,
}

/// The way up.
#[derive(Debug)]
pub(crate) struct Upstream {
    url: String,
    user: String,
    password_file: Option<PathBuf>,
    login: Option<Login>,
    options: Options,
    interval: Duration,
    metadata_interval: Duration,
    /// Reserved values of a full pool.
    full_pool: u64,
    /// Whether what is chosen for apps is heeded.
    as_chosen: bool,
    /// Whether values were taken since the pools were filled.
    is_drained: AtomicBool,
    file: PathBuf,
    status: Mutex<Status>,
    /// What was logged of what the upper server said.
    logged: Mutex<Vec<Said>>,
    turns: Turns,
    thread: Mutex<Option<JoinHandle<()>>>,
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Upstream {
    /// What the settings say; `None` if there is no upper server.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an address or a login that does not do, and for a directory that is the clinic of another server.
    pub(crate) fn of(server: &Server, login: Option<Login>) -> Result<Option<Self>> {
        let config = &server.config;
        if config.upstream.is_empty() {
            return Ok(None);
        }
        let file = file_of(server.dir.root());
        let password_file = Some(&config.upstream_password_file)
            .filter(|path| !path.is_empty())
            .map(|path| server.dir.root().join(path));
        if login.is_none() && (config.upstream_user.is_empty() || password_file.is_none()) {
            return Err(Error::invalid(
                "upstream",
                "the upper server wants to know who this one is: --upstream-user with --upstream-password-file or HAVERSACK_UPSTREAM_PASSWORD, or HAVERSACK_UPSTREAM_TOKEN",
            ));
        }
        let upstream = Self {
            url: config.upstream.clone(),
            user: config.upstream_user.clone(),
            password_file,
            login,
            options: Options {
                ca: server.endpoint_ca(),
                ..Options::default()
            },
            interval: Duration::from_secs(config.upstream_interval_s.max(1)),
            metadata_interval: Duration::from_secs(config.upstream_metadata_s),
            full_pool: config.upstream_reserved_values.max(1),
            as_chosen: !config.upstream_ignore_settings,
            is_drained: AtomicBool::new(true),
            file,
            status: Mutex::default(),
            logged: Mutex::default(),
            turns: Turns::default(),
            thread: Mutex::default(),
        };
        upstream.check()?;
        Ok(Some(upstream))
    }

    /// Refuses at the start what would fail in every round.
    fn check(&self) -> Result<()> {
        let credentials = self.credentials()?;
        let http = Http::new(&self.url, credentials, &self.options)
            .map_err(|error| Error::invalid("upstream", error.to_string()))?;
        if self.file.exists() {
            let of = ReplicaFile::open(&self.file)?.header()?.url;
            if of != http.url() {
                return Err(Error::invalid(
                    "upstream",
                    format!(
                        "this directory is synchronised with {of}, not with {}; use another directory",
                        http.url()
                    ),
                ));
            }
        }
        Ok(())
    }

    /// The login as it is by now: a password file may have been changed.
    fn credentials(&self) -> Result<Credentials> {
        let basic = |password: String| Credentials::Basic {
            user: self.user.clone(),
            password,
        };
        match (&self.login, &self.password_file) {
            (Some(Login::Token(token)), _) => Ok(Credentials::Token(token.0.clone())),
            (Some(Login::Password(password)), _) => Ok(basic(password.0.clone())),
            (None, Some(path)) => {
                let text = std::fs::read_to_string(path)
                    .map_err(at_path("reading the password of the upper server", path))?;
                Ok(basic(text.trim_end_matches(['\r', '\n']).to_owned()))
            }
            (None, None) => Ok(Credentials::Anonymous),
        }
    }

    /// Begins.
    pub(crate) fn start(self: &Arc<Self>, server: &Arc<Server>) -> Result<()> {
        let (of, host) = (Arc::clone(self), Arc::clone(server) as Arc<dyn Host>);
        let thread = std::thread::Builder::new()
            .name("upstream".to_owned())
            .spawn(move || of.run(&host))
            .map_err(at_path("starting the thread for", &self.file))?;
        *lock(&self.thread) = Some(thread);
        Ok(())
    }

    /// Ends; a request under way is waited for until the deadline. What a round leaves unfinished the next one continues.
    pub(crate) fn stop(&self, deadline: Instant) {
        self.turns.end();
        let Some(thread) = lock(&self.thread).take() else {
            return;
        };
        while !thread.is_finished() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        if thread.is_finished() {
            // A panic was logged by the hook.
            let _ = thread.join();
        }
    }

    /// Has a round made at once, and waits for its end; `false` if that takes too long.
    pub(crate) fn ask(&self) -> bool {
        self.turns.ask(ASKED)
    }
    /// All that somebody who looks after it wants to know.
    pub(crate) fn report(&self) -> Result<Json> {
        let status = self.status();
        let state = if self.file.exists() {
            uplink::state(&mut ReplicaFile::open(&self.file)?)
                .map_err(|error| Error::invalid("upstream", error.to_string()))?
        } else {
            State::default()
        };
        let said = state.said.iter().map(|said| {
            let of = &said.conflict;
            json!({"kind": of.kind, "object": of.object, "code": of.code, "field": of.field, "value": of.value, "message": of.message,
                "hint": of.hint, "about": said.about, "isWarning": of.is_warning, "user": said.user, "at": said.at})
        });
        let clashes = state.clashes.iter().map(|clash| {
            let fields = clash.fields.iter().map(|field| {
                json!({"field": field.name, "base": field.base, "mine": field.mine, "theirs": field.theirs})
            });
            json!({"id": clash.id.to_string(), "layer": clash.layer, "object": clash.object, "about": clash.about, "fields": fields.collect::<Vec<_>>(),
                "reason": clash.reason, "user": clash.user, "at": clash.at.0})
        });
        Ok(json!({
            "url": self.url, "reached": status.is_reached, "syncedAt": status.synced_at.map(|at| at.0), "problem": status.problem,
            "waiting": state.waiting, "said": said.collect::<Vec<_>>(), "conflicts": clashes.collect::<Vec<_>>(),
        }))
    }
    /// How it stands.
    pub(crate) fn status(&self) -> Status {
        lock(&self.status).clone()
    }

    fn run(&self, host: &Arc<dyn Host>) {
        tracing::info!(
            url = self.url,
            interval_s = self.interval.as_secs(),
            "synchronising with the upper server"
        );
        let mut metadata_at: Option<Instant> = None;
        loop {
            let serving = self.turns.begin();
            let is_due = metadata_at.is_none_or(|at| at.elapsed() >= self.metadata_interval);
            let done = self.round(host, is_due);
            let wait = match &done {
                Ok(done) => {
                    if done.lacks_metadata {
                        metadata_at = None;
                    } else if is_due {
                        metadata_at = Some(Instant::now());
                    }
                    self.interval
                }
                Err(RoundFailed::Login(_)) => self.interval.max(AFTER_REFUSAL),
                Err(_) => self.interval.min(AGAIN),
            };
            self.tell(done);
            if !self.turns.wait(serving, wait) {
                return;
            }
        }
    }

    /// One round. What needs no network is done in any case.
    fn round(&self, host: &Arc<dyn Host>, with_metadata: bool) -> Result<Done, RoundFailed> {
        let operator = Principal {
            name: OPERATOR.to_owned(),
            is_admin: true,
        };
        let house = House::open(host, &operator)?;
        let above = self.connect();
        if !self.file.exists() {
            self.make(above.as_ref().map_err(RoundFailed::again)?)?;
        }
        let mut file = ReplicaFile::open(&self.file)?;
        let done = match above {
            Ok(above) => {
                let again = Box::new(ReplicaFile::open(&self.file)?);
                let round = Round {
                    house: &house,
                    server: &above,
                    with_metadata,
                    as_chosen: self.as_chosen,
                    now: &clock::now,
                };
                let pace = Box::new(Patient(clock::now));
                let done = round.run(&mut file, again, pace).map_err(RoundFailed::of);
                let is_low = |done: &Done| {
                    let is_drained = self.is_drained.swap(false, Ordering::AcqRel);
                    is_drained || with_metadata || done.was_put_back
                };
                if done.as_ref().is_ok_and(is_low) {
                    values::fill(&mut file, &above.http, self.full_pool, clock::now())?;
                }
                done
            }
            Err(error) => {
                uplink::local(&house, &mut file, clock::now())?;
                Err(error)
            }
        };
        let state = uplink::state(&mut file)?;
        self.note(&state);
        done
    }

    fn connect(&self) -> Result<Above, RoundFailed> {
        let credentials = self
            .credentials()
            .map_err(|error| RoundFailed::Login(error.to_string()))?;
        Above::connect(&self.url, credentials, &self.options)
            .map_err(|error| RoundFailed::of(error.into()))
    }

    /// Makes the copy. It appears under its name when metadata is in it.
    fn make(&self, above: &Above) -> Result<(), RoundFailed> {
        let io =
            |source| RoundFailed::Here(at_path("making the copy", &self.file)(source).to_string());
        if let Some(folder) = self.file.parent() {
            std::fs::create_dir_all(folder).map_err(io)?;
        }
        let filling = self.file.with_extension("filling");
        if filling.exists() {
            std::fs::remove_file(&filling).map_err(io)?;
        }
        let header = copy::header(above.http.url(), "upstream");
        let options = replica::Options {
            spatial_index: false,
        };
        let mut file = ReplicaFile::create(&filling, &copy::collections(), &header, options)?;
        copy::sync_metadata(above, &mut file, clock::now(), &mut |_| {})
            .map_err(|error| RoundFailed::of(error.into()))?;
        Ok(file.publish(&self.file)?)
    }

    fn note(&self, state: &State) {
        let mut status = lock(&self.status);
        status.waiting = state.waiting;
        status.refused = state.refused;
        status.conflicts = state.clashes.len();
        drop(status);
        let mut logged = lock(&self.logged);
        for said in state.said.iter().filter(|said| !logged.contains(said)) {
            log(said);
        }
        logged.clone_from(&state.said);
    }

    fn tell(&self, done: Result<Done, RoundFailed>) {
        let mut status = lock(&self.status);
        match done {
            Ok(done) => {
                status.is_reached = true;
                status.synced_at = Some(clock::now());
                status.problem = None;
                let is_news = done.collected + done.installed + done.metadata + done.files > 0
                    || done.refused > 0;
                if is_news {
                    tracing::info!(
                        sent = done.sent,
                        refused = done.refused,
                        conflicts = done.clashes,
                        received = done.installed,
                        metadata = done.metadata,
                        waiting = status.waiting,
                        "synchronised with the upper server"
                    );
                }
            }
            Err(failed) => {
                let problem = failed.to_string();
                // Once, not with every attempt.
                if status.problem.as_ref() != Some(&problem) {
                    tracing::warn!(
                        url = self.url,
                        problem,
                        waiting = status.waiting,
                        "the upper server: this round failed, it is tried again"
                    );
                }
                status.is_reached = false;
                status.problem = Some(problem);
            }
        }
        drop(status);
        self.measure();
    }

    fn measure(&self) {
        let status = self.status();
        metrics::gauge!("haversack_upstream_reached").set(f64::from(u8::from(status.is_reached)));
        metrics::gauge!("haversack_upstream_waiting").set(status.waiting as f64);
        metrics::gauge!("haversack_upstream_refused").set(status.refused as f64);
        metrics::gauge!("haversack_upstream_conflicts").set(status.conflicts as f64);
        if let Some(at) = status.synced_at {
            metrics::gauge!("haversack_upstream_synced_timestamp_seconds")
                .set(at.0 as f64 / 1000.0);
        }
    }
}

impl ValuesAbove for Upstream {
    fn take(
        &self,
        attribute: &str,
        unit_code: Option<&str>,
        count: u64,
    ) -> Result<Vec<ReservedValue>, ValuesError> {
        let refuse = |problem: String| {
            ValuesError(format!(
                "Values come from the country, and cannot be taken: {problem}"
            ))
        };
        let status = self.status();
        if !self.file.exists() {
            return Err(refuse("this server has not reached it yet".to_owned()));
        }
        let mut file = ReplicaFile::open(&self.file).map_err(|error| refuse(error.to_string()))?;
        self.is_drained.store(true, Ordering::Release);
        let options = Options {
            silence: PATIENCE,
            ..self.options.clone()
        };
        // Whoever asks does not wait for a country that was not reached just now.
        let courier: Box<dyn Courier> = match self.credentials() {
            Ok(credentials) if status.is_reached => Box::new(
                Http::new(&self.url, credentials, &options)
                    .map_err(|error| refuse(error.to_string()))?,
            ),
            _ => Box::new(Away(status.problem.unwrap_or_default())),
        };
        let wanted = (attribute, unit_code);
        values::take(
            &mut file,
            courier.as_ref(),
            wanted,
            (self.full_pool, count),
            clock::now(),
        )
    }
}

fn log(said: &Said) {
    let conflict = &said.conflict;
    tracing::warn!(
        kind = conflict.kind,
        object = conflict.object,
        code = conflict.code,
        field = conflict.field,
        value = conflict.value,
        hint = conflict.hint,
        user = said.user,
        is_warning = conflict.is_warning,
        "the upper server refused an edit: {}",
        conflict.message
    );
}

/// The computer's own time, for an upload.
struct Patient(fn() -> Timestamp);

impl std::fmt::Debug for Patient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Patient")
    }
}

impl Pace for Patient {
    fn wait(&mut self, how_long: Duration) {
        std::thread::sleep(how_long);
    }
    fn now(&self) -> Timestamp {
        (self.0)()
    }
}

/// Why a round was not finished.
#[derive(Debug, thiserror::Error)]
enum RoundFailed {
    /// The login is not accepted.
    #[error("{0}")]
    Login(String),
    /// The other side, or the way to it.
    #[error("{0}")]
    There(String),
    /// Something here.
    #[error("{0}")]
    Here(String),
}

impl RoundFailed {
    fn of(error: RoundError) -> Self {
        match error {
            RoundError::Remote(
                error @ (RemoteError::BadCredentials
                | RemoteError::AccountDisabled
                | RemoteError::AccountLocked),
            ) => Self::Login(error.to_string()),
            RoundError::Remote(error) => Self::There(causes(&error)),
            error => Self::Here(error.to_string()),
        }
    }
    fn again(error: &Self) -> Self {
        match error {
            Self::Login(text) => Self::Login(text.clone()),
            Self::There(text) => Self::There(text.clone()),
            Self::Here(text) => Self::Here(text.clone()),
        }
    }
}

impl From<RoundError> for RoundFailed {
    fn from(error: RoundError) -> Self {
        Self::of(error)
    }
}

impl From<haversack_model::Error> for RoundFailed {
    fn from(error: haversack_model::Error) -> Self {
        Self::Here(error.to_string())
    }
}

/// An error with what caused it.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

/// Where the copy of the upper server is, in a data directory.
pub fn file_of(root: &Path) -> PathBuf {
    root.join("upstream").join("dhis2.gpkg")
}
