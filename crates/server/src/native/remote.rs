//! The client's side: a server that speaks `/v1`.
//!
//! Blocking. What may be repeated safely is: a batch has its number, a page its cursor, a file its ranges.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use reqwest::blocking::{RequestBuilder, Response};
use reqwest::{Method, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use haversack_model::{CollectionId, Conflict, ConflictId, Error, JobStatus, ReplicaId, Result};

use super::download::Compression;
use super::wire::{
    API, Decision, Detail, Digests, Discovery, JobInfo, KeptConflicts, LoggedIn, Login,
    PreparedFile, ProblemBody, Registered, ReplicaInfo, ServiceInfo, ServiceSummary,
};

const CONNECT: Duration = Duration::from_secs(15);
const SHORT: Duration = Duration::from_mins(1);
/// A batch waits for the server's write lock and the commit.
pub(super) const LONG: Duration = Duration::from_mins(10);
const LEVEL: i32 = 1;

/// Who logs in.
#[derive(Clone, Default)]
pub enum Credentials {
    /// Nobody.
    #[default]
    Anonymous,
    /// With every request.
    Basic {
        /// User name.
        user: String,
        /// Password.
        password: String,
    },
    /// From a log in.
    Token(String),
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Anonymous => "Anonymous",
            Self::Basic { .. } => "Basic",
            Self::Token(_) => "Token",
        })
    }
}

/// Which certificates are trusted.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// A PEM file with more of them.
    pub ca: Option<PathBuf>,
    /// More certificates, as the text of such a file.
    pub pem: Option<String>,
    /// Any certificate will do.
    pub insecure: bool,
    /// A host name and the only addresses that it may have: those that were found for it and checked.
    pub pinned: Option<(String, Vec<SocketAddr>)>,
}

/// A server that speaks this API.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::blocking::Client,
    origin: Url,
    credentials: Credentials,
    pub(super) compression: Compression,
    patience: Duration,
    stop: Option<Arc<AtomicBool>>,
}

/// What a request failed with, before it is known what that means.
#[derive(Debug, thiserror::Error)]
#[error("{message} (HTTP {status})")]
struct ServerFailed {
    status: u16,
    message: String,
}

impl Client {
    /// A client for the origin of a URL. Nothing is asked yet.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a URL or certificate file that does not do.
    pub fn new(url: &str, credentials: Credentials, trust: &Trust) -> Result<Self> {
        let origin = origin_of(url)?;
        let is_usual =
            trust.ca.is_none() && trust.pem.is_none() && trust.pinned.is_none() && !trust.insecure;
        let http = if is_usual { shared()? } else { http(trust)? };
        Ok(Self {
            http,
            origin,
            credentials,
            compression: Compression::default(),
            patience: LONG,
            stop: None,
        })
    }

    /// The same, with files compressed as told.
    #[must_use]
    pub fn with_compression(mut self, compression: Compression) -> Self {
        self.compression = compression;
        self
    }

    /// The same, which waits no longer for any one answer.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// The same, which gives long work up when this is set.
    #[must_use]
    pub fn with_stop(mut self, stop: Arc<AtomicBool>) -> Self {
        self.stop = Some(stop);
        self
    }

    /// Whether it may be told to stop.
    pub(super) fn can_be_stopped(&self) -> bool {
        self.stop.is_some()
    }

    /// How long it waits for a silent server.
    pub(super) fn patience(&self) -> Duration {
        self.patience
    }

    /// Whether long work is to be given up.
    pub(super) fn check_stop(&self) -> std::io::Result<()> {
        let stop = self.stop.as_ref();
        if stop.is_some_and(|stop| stop.load(Ordering::Relaxed)) {
            // Not `Interrupted`, after which readers and writers just try again.
            return Err(std::io::Error::new(
                std::io::ErrorKind::ConnectionAborted,
                "it was told to stop",
            ));
        }
        Ok(())
    }

    /// How long to wait for an answer that may take so long.
    pub(super) fn within(&self, longest: Duration) -> Duration {
        longest.min(self.patience)
    }

    /// Scheme, host and port.
    pub(super) fn origin(&self) -> &Url {
        &self.origin
    }

    /// What the server is; `None` if it does not speak this API.
    pub fn discover(&self) -> Result<Option<Discovery>> {
        let request = self
            .request(Method::GET, "/v1")?
            .timeout(self.within(SHORT));
        let response = self.waiting(|| request.send().map_err(network))?;
        // Something on the way that cannot reach the server says nothing of what the server speaks.
        if matches!(response.status().as_u16(), 401 | 502..=504) {
            return Err(failure(response));
        }
        if !response.status().is_success() {
            return Ok(None);
        }
        let found: Option<Discovery> = response.json().ok();
        Ok(found.filter(|d| d.product == "haversack" && d.api == API))
    }

    /// Exchanges user name and password for a token.
    pub fn log_in(&self, user: &str, password: &str, lifetime: Duration) -> Result<LoggedIn> {
        let login = Login {
            user: user.to_owned(),
            password: password.to_owned(),
            lifetime_ms: Some(lifetime.as_millis() as u64),
        };
        self.post("/v1/login", &login)
    }

    /// The services that this user may read.
    pub fn services(&self) -> Result<Vec<ServiceSummary>> {
        self.get("/v1/services")
    }
    /// One service.
    pub fn service(&self, name: &str) -> Result<ServiceInfo> {
        self.get(&format!("/v1/services/{name}"))
    }
    /// This user's replicas of a service.
    pub fn replicas(&self, service: &str) -> Result<Vec<ReplicaInfo>> {
        self.get(&format!("/v1/services/{service}/replicas"))
    }
    /// Unregisters a replica.
    pub fn release(&self, service: &str, id: ReplicaId) -> Result<()> {
        let path = format!("/v1/services/{service}/replicas/{id}");
        answered(
            self.request(Method::DELETE, &path)?
                .timeout(self.within(SHORT)),
        )?;
        Ok(())
    }
    /// Digests of what a replica may hold.
    pub fn digests(&self, service: &str, id: ReplicaId) -> Result<Digests> {
        let path = format!("/v1/services/{service}/replicas/{id}/digest");
        json_of(answered(
            self.request(Method::GET, &path)?.timeout(self.within(LONG)),
        )?)
    }
    /// Conflicts of this user's uploads that the server keeps.
    pub fn conflicts(&self, service: &str, all: bool) -> Result<Vec<Conflict>> {
        self.get(&format!("/v1/services/{service}/conflicts?all={all}"))
    }
    /// Conflicts of a clinic with the DHIS2 server above it; `None` if the server is no clinic.
    pub fn upstream_conflicts(&self, all: bool) -> Result<Option<KeptConflicts>> {
        match self.get(&format!("/v1/upstream/conflicts?all={all}")) {
            Err(Error::Refused { code: 404, .. }) => Ok(None),
            found => found.map(Some),
        }
    }
    /// Closes a conflict of a clinic with the DHIS2 server above it.
    pub fn resolve_upstream(&self, id: ConflictId, decision: &Decision) -> Result<Conflict> {
        self.post(&format!("/v1/upstream/conflicts/{id}"), decision)
    }
    /// Closes a conflict on the server.
    pub fn resolve(&self, service: &str, id: ConflictId, decision: &Decision) -> Result<Conflict> {
        self.post(&format!("/v1/services/{service}/conflicts/{id}"), decision)
    }

    /// Fetches the file of a registered replica as the server would prepare it now, to compare with.
    pub fn fetch_again(
        &self,
        service: &str,
        id: ReplicaId,
        target: &Path,
        progress: &mut dyn FnMut(&str, u64, Option<u64>),
    ) -> Result<()> {
        let job = self.prepare_again(service, id)?;
        let prepared: PreparedFile = serde_json::from_value(self.wait_for(job, progress)?)
            .map_err(|e| Error::Corrupt(format!("the server's answer: {e}")))?;
        self.download(&prepared.path, target, progress)
    }

    /// Has the file of a registered replica prepared; gives the job.
    pub(super) fn prepare_again(&self, service: &str, id: ReplicaId) -> Result<Uuid> {
        let path = format!("/v1/services/{service}/replicas/{id}/file");
        let registered: Registered = self.post(&path, &serde_json::json!({}))?;
        Ok(registered.job)
    }

    /// Imports a file into a service on the server; gives the job to [`Self::wait_for`].
    pub fn import(
        &self,
        service: &str,
        file: &Path,
        format: &str,
        layer: Option<CollectionId>,
        name: Option<&str>,
    ) -> Result<Uuid> {
        let opened =
            File::open(file).map_err(|e| invalid(&file.display().to_string(), e.to_string()))?;
        let mut request = self
            .request(Method::POST, &format!("/v1/services/{service}/import"))?
            .query(&[("format", format)]);
        if let Some(layer) = layer {
            request = request.query(&[("layer", layer.0)]);
        }
        if let Some(name) = name {
            request = request.query(&[("name", name)]);
        }
        let job: JobInfo = json_of(answered(request.body(opened))?)?;
        Ok(job.id)
    }

    /// Waits for the end of a job; gives its result.
    ///
    /// # Errors
    /// [`Error::Refused`] with the reason of its failure.
    pub fn wait_for(
        &self,
        job: Uuid,
        progress: &mut dyn FnMut(&str, u64, Option<u64>),
    ) -> Result<serde_json::Value> {
        self.wait_at_most(None, job, progress)
    }

    /// The same, but no longer than so without that the job gets on.
    pub(super) fn wait_at_most(
        &self,
        longest: Option<Duration>,
        job: Uuid,
        progress: &mut dyn FnMut(&str, u64, Option<u64>),
    ) -> Result<serde_json::Value> {
        const LONGEST: Duration = Duration::from_secs(1);
        let mut pause = Duration::from_millis(10);
        let (mut seen, mut got_on) = (None, Instant::now());
        loop {
            self.check_stop()
                .map_err(|stopped| Error::Network(Box::new(stopped)))?;
            let info: JobInfo = self.get(&format!("/v1/jobs/{job}"))?;
            let now = (info.status, info.phase.clone(), info.done);
            if seen.as_ref() != Some(&now) {
                (seen, got_on) = (Some(now), Instant::now());
            } else if longest.is_some_and(|longest| got_on.elapsed() >= longest) {
                let late = std::io::Error::new(
                    std::io::ErrorKind::TimedOut,
                    "the server works without getting on",
                );
                return Err(Error::Network(Box::new(late)));
            }
            match info.status {
                JobStatus::Completed => return Ok(info.result),
                JobStatus::Failed => {
                    let message = info.result.as_str().unwrap_or_default().to_owned();
                    return Err(Error::Refused { code: 500, message });
                }
                JobStatus::Pending => progress("waiting for the server", 0, None),
                JobStatus::Running => progress(&info.phase, info.done, info.total),
            }
            let left = longest.map_or(pause, |longest| longest.saturating_sub(got_on.elapsed()));
            std::thread::sleep(pause.min(left));
            pause = (pause * 5 / 4).min(LONGEST);
        }
    }

    pub(super) fn request(&self, method: Method, path: &str) -> Result<RequestBuilder> {
        let url = self
            .origin
            .join(path)
            .map_err(|e| invalid(path, e.to_string()))?;
        let request = self.http.request(method, url);
        Ok(match &self.credentials {
            Credentials::Anonymous => request,
            Credentials::Basic { user, password } => request.basic_auth(user, Some(password)),
            Credentials::Token(token) => request.bearer_auth(token),
        })
    }
    pub(crate) fn get<T: DeserializeOwned + Send + 'static>(&self, path: &str) -> Result<T> {
        let request = self.request(Method::GET, path)?.timeout(self.within(SHORT));
        self.waiting(|| json_of(answered(request)?))
    }
    pub(super) fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T> {
        let request = self.request(Method::POST, path)?.timeout(self.within(LONG));
        let request = request.header("content-type", "application/json");
        json_of(answered(packed(request, &to_json(body)?)?)?)
    }
    /// A question about users or grants, or a change of them, sent as it is; gives the answer's body.
    pub fn send(
        &self,
        method: &str,
        path: &str,
        body: Option<&serde_json::Value>,
    ) -> Result<serde_json::Value> {
        let method =
            Method::from_bytes(method.as_bytes()).map_err(|e| invalid("method", e.to_string()))?;
        let mut request = self.request(method, path)?.timeout(self.within(LONG));
        if let Some(body) = body {
            request = request.json(body);
        }
        let bytes = answered(request)?.bytes().map_err(network)?;
        if bytes.is_empty() {
            return Ok(serde_json::Value::Null);
        }
        serde_json::from_slice(&bytes)
            .map_err(|e| Error::Corrupt(format!("the server's answer is not understood: {e}")))
    }
}

/// The service's name in the URL of a feature service, such as `https://host/arcgis/rest/services/Parks/FeatureServer`.
pub fn service_in_url(url: &str) -> Option<String> {
    let url = Url::parse(url).ok()?;
    let segments: Vec<_> = url.path_segments()?.filter(|s| !s.is_empty()).collect();
    let at = segments
        .iter()
        .position(|s| s.eq_ignore_ascii_case("FeatureServer"))?;
    segments.get(at.checked_sub(1)?).map(|s| (*s).to_owned())
}

/// Waits until a server answers `/health`, for programs that have just started one.
pub fn wait_until_healthy(client: &Client, patience: Duration) -> Result<()> {
    let deadline = Instant::now() + patience;
    loop {
        match answered(client.request(Method::GET, "/health")?.timeout(CONNECT)) {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() >= deadline => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// Whether a server did not answer in time.
pub(super) fn is_silence(error: &Error) -> bool {
    let Error::Network(cause) = error else {
        return false;
    };
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(cause.as_ref());
    while let Some(error) = cause {
        let is_late = error
            .downcast_ref::<reqwest::Error>()
            .is_some_and(reqwest::Error::is_timeout)
            || error
                .downcast_ref::<std::io::Error>()
                .is_some_and(|error| error.kind() == std::io::ErrorKind::TimedOut);
        if is_late {
            return true;
        }
        cause = error.source();
    }
    false
}

/// A way to servers whose certificates are trusted so, with its connections.
fn http(trust: &Trust) -> Result<reqwest::blocking::Client> {
    // Another part of the program may have been first; all use the same one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = reqwest::blocking::Client::builder()
        .connect_timeout(CONNECT)
        .timeout(None)
        // A connection whose other end has gone without a word is noticed within a minute.
        .tcp_keepalive(Duration::from_secs(30))
        .tcp_keepalive_interval(Duration::from_secs(10))
        .tcp_keepalive_retries(3)
        .redirect(reqwest::redirect::Policy::none())
        .tls_danger_accept_invalid_certs(trust.insecure);
    if let Some((host, addresses)) = &trust.pinned {
        builder = builder.no_proxy().resolve_to_addrs(host, addresses);
    }
    if let Some(path) = &trust.ca {
        let refused = |e: String| invalid(&format!("certificate file {}", path.display()), e);
        let pem = std::fs::read(path).map_err(|e| refused(e.kind().to_string()))?;
        builder = builder.tls_certs_merge(certificates(&pem).map_err(refused)?);
    }
    if let Some(pem) = &trust.pem {
        let refused = |e| invalid("certificates", e);
        builder = builder.tls_certs_merge(certificates(pem.as_bytes()).map_err(refused)?);
    }
    builder.build().map_err(network)
}

fn certificates(pem: &[u8]) -> std::result::Result<Vec<reqwest::Certificate>, String> {
    let found = reqwest::Certificate::from_pem_bundle(pem).map_err(|error| error.to_string())?;
    if found.is_empty() {
        return Err("it holds no certificate in PEM form".to_owned());
    }
    Ok(found)
}

/// The way to servers that anybody trusts. Making one reads all certificates of the system, so there is one, and connections
/// that are open are used again.
fn shared() -> Result<reqwest::blocking::Client> {
    static SHARED: OnceLock<reqwest::blocking::Client> = OnceLock::new();
    if let Some(made) = SHARED.get() {
        return Ok(made.clone());
    }
    let made = http(&Trust::default())?;
    Ok(SHARED.get_or_init(|| made).clone())
}

fn origin_of(url: &str) -> Result<Url> {
    let refused = |problem: String| invalid(&format!("URL {url:?}"), problem);
    let mut origin = Url::parse(url).map_err(|e| refused(e.to_string()))?;
    if !matches!(origin.scheme(), "http" | "https") || origin.host().is_none() {
        return Err(refused("it must begin with https:// or http://".to_owned()));
    }
    if !origin.username().is_empty() || origin.password().is_some() {
        return Err(refused("it must not hold credentials".to_owned()));
    }
    origin.set_path("/");
    origin.set_query(None);
    origin.set_fragment(None);
    Ok(origin)
}

pub(super) fn invalid(what: &str, problem: String) -> Error {
    Error::Invalid {
        what: what.to_owned(),
        problem,
    }
}

pub(super) fn network(error: reqwest::Error) -> Error {
    // Without the URL, which may hold what is nobody's business in a log.
    Error::Network(Box::new(error.without_url()))
}

pub(super) fn to_json(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|e| Error::Corrupt(format!("it is no JSON: {e}")))
}

pub(super) fn packed(request: RequestBuilder, bytes: &[u8]) -> Result<RequestBuilder> {
    let packed = zstd::bulk::compress(bytes, LEVEL).map_err(|e| Error::Corrupt(e.to_string()))?;
    Ok(request.header("content-encoding", "zstd").body(packed))
}

pub(super) fn answered(request: RequestBuilder) -> Result<Response> {
    let response = request.send().map_err(network)?;
    if response.status().is_success() {
        return Ok(response);
    }
    Err(failure(response))
}

pub(super) fn json_of<T: DeserializeOwned>(response: Response) -> Result<T> {
    let bytes = response.bytes().map_err(network)?;
    serde_json::from_slice(&bytes)
        .map_err(|e| Error::Corrupt(format!("the server's answer is not understood: {e}")))
}

/// What an answer that is no success means to a replica.
fn failure(response: Response) -> Error {
    let status = response.status();
    let problem: Option<ProblemBody> = response
        .bytes()
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let message = problem.as_ref().map_or_else(
        || "the server gave no reason".to_owned(),
        |p| p.message.clone(),
    );
    match problem.and_then(|p| p.detail) {
        Some(Detail::NoReplica(id)) => Error::NoReplica(id),
        Some(Detail::Resync { asked }) => Error::Resync {
            asked,
            reason: "the server does not keep history so far back",
        },
        Some(Detail::NewHistory { history, fork }) => Error::NewHistory { history, fork },
        Some(Detail::BatchOrder { sent, last }) => Error::BatchOrder { sent, last },
        Some(Detail::BatchReused(number)) => Error::BatchReused(number),
        // Whether the request took effect is not known: it is repeated.
        None if status.is_server_error() => Error::Network(Box::new(ServerFailed {
            status: status.as_u16(),
            message,
        })),
        None => Error::Refused {
            code: i64::from(status.as_u16()),
            message,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_is_found_in_the_url_of_a_feature_service() {
        for (url, service) in [
            (
                "https://h:1/arcgis/rest/services/Parks/FeatureServer",
                Some("Parks"),
            ),
            (
                "http://h/arcgis/rest/services/Parks/FeatureServer/0?f=json",
                Some("Parks"),
            ),
            (
                "http://h/arcgis//rest/services/Parks/featureserver/",
                Some("Parks"),
            ),
            ("http://h/v1/services/Parks", None),
            ("not a url", None),
        ] {
            assert_eq!(service_in_url(url).as_deref(), service, "{url}");
        }
    }

    #[test]
    fn a_url_with_credentials_or_of_another_scheme_is_refused() {
        for url in ["ftp://h/x", "https://user:secret@h/x", "h/x"] {
            assert!(origin_of(url).is_err(), "{url}");
        }
        assert_eq!(
            origin_of("https://h:8443/arcgis/rest?x=1#y")
                .unwrap()
                .as_str(),
            "https://h:8443/"
        );
    }
}
