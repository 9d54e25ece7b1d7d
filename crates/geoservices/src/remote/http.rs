//! Requests to one server: limits, errors of the dialect, tokens.

use std::io::{self, Read};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use reqwest::blocking::{Client, RequestBuilder, Response};
use reqwest::{Method, Url, header};
use serde_json::{Map, Value as Json};

use crate::wire::codes;
use crate::wire::json::parse;
use crate::wire::sync::DocumentHead;
use crate::{Error, Result};

/// Largest answer that is read into memory.
const MAX_JSON_BYTES: u64 = 64 << 20;
/// An answer may take this many times the longest silence.
const MAX_TIMES_SILENCE: u32 = 20;

/// Who we are for the server.
#[derive(Clone, Default)]
pub enum Credentials {
    /// Nobody.
    #[default]
    Anonymous,
    /// A token made elsewhere.
    Token(String),
    /// A login, exchanged for tokens at the server's own token service.
    Password {
        /// User name.
        user: String,
        /// Its password.
        password: String,
    },
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Anonymous => "Anonymous",
            Self::Token(_) => "Token",
            Self::Password { .. } => "Password",
        })
    }
}

impl Credentials {
    pub(super) fn user(&self) -> &str {
        match self {
            Self::Password { user, .. } => user,
            _ => "",
        }
    }
}

/// How the server is spoken to.
#[derive(Clone, Debug)]
pub struct Options {
    /// A PEM file with certificates to trust, beside the system's.
    pub ca: Option<PathBuf>,
    /// Any certificate will do.
    pub insecure: bool,
    /// Send credentials over plain http to hosts other than this machine.
    pub insecure_http: bool,
    /// Longest silence of the server.
    pub silence: Duration,
    /// Longest wait for a job, and for a document.
    pub patience: Duration,
    /// Largest document or attachment.
    pub max_document_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            ca: None,
            insecure: false,
            insecure_http: false,
            silence: Duration::from_mins(1),
            patience: Duration::from_hours(1),
            max_document_bytes: 16 << 30,
        }
    }
}

/// A connection to one service.
pub(super) struct Http {
    client: Client,
    base: Url,
    pub(super) credentials: Credentials,
    pub(super) token: Option<String>,
    pub(super) options: Options,
}

impl std::fmt::Debug for Http {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Http")
            .field("base", &self.base.as_str())
            .field("credentials", &self.credentials)
            .finish_non_exhaustive()
    }
}

impl Http {
    pub(super) fn new(url: &str, credentials: Credentials, options: Options) -> Result<Self> {
        let base = base_url(url)?;
        let is_local = base.host_str().is_some_and(is_loopback);
        let is_secret = !matches!(credentials, Credentials::Anonymous);
        if base.scheme() == "http" && is_secret && !is_local && !options.insecure_http {
            let problem = "credentials would cross the network in the clear; use https";
            return Err(Error::parameter("url", problem));
        }
        // Another part of the program may have been first; all use the same one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = Client::builder()
            .connect_timeout(options.silence.min(Duration::from_secs(15)))
            .timeout(options.silence)
            .tcp_keepalive(Duration::from_secs(30))
            .tcp_keepalive_interval(Duration::from_secs(10))
            .tcp_keepalive_retries(3)
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .user_agent(concat!("haversack/", env!("CARGO_PKG_VERSION")))
            .tls_danger_accept_invalid_certs(options.insecure);
        if let Some(path) = &options.ca {
            let problem = |e: String| Error::parameter("ca", format!("{}: {e}", path.display()));
            let pem = std::fs::read(path).map_err(|e| problem(e.kind().to_string()))?;
            let certificates =
                reqwest::Certificate::from_pem_bundle(&pem).map_err(|e| problem(e.to_string()))?;
            if certificates.is_empty() {
                return Err(problem("it holds no certificate in PEM form".to_owned()));
            }
            builder = builder.tls_certs_merge(certificates);
        }
        let client = builder.build().map_err(|source| Error::Network {
            doing: "preparing the connection",
            source,
        })?;
        let token = match &credentials {
            Credentials::Token(token) => Some(token.clone()),
            _ => None,
        };
        Ok(Self {
            client,
            base,
            credentials,
            token,
            options,
        })
    }

    pub(super) fn base(&self) -> &Url {
        &self.base
    }

    /// The address of a resource below the service.
    pub(super) fn below(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        if !path.is_empty() {
            url.set_path(&format!(
                "{}/{path}",
                self.base.path().trim_end_matches('/')
            ));
        }
        url
    }

    /// An address that the server named: relative ones are completed; another origin is allowed over https only, and
    /// never gets the token.
    pub(super) fn named(&self, text: &str) -> Result<Url> {
        let refused = |problem: &str| {
            Error::document("an address of the server", format!("{text:?} {problem}"))
        };
        let url = self
            .base
            .join(text.trim())
            .map_err(|_not_a_url| refused("is no address"))?;
        if url.origin() != self.base.origin() && url.scheme() != "https" {
            return Err(refused("leads elsewhere without https"));
        }
        Ok(url)
    }

    /// Asks for a JSON object: a POST with these parameters.
    pub(super) fn ask(&mut self, path: &str, params: &[(&str, &str)]) -> Result<Map<String, Json>> {
        match self.ask_any(path, params)? {
            Json::Object(members) => Ok(members),
            _ => Err(Error::document("the server's answer", "is no JSON object")),
        }
    }

    /// As [`Self::ask`], for answers that may be something else than an object.
    pub(super) fn ask_any(&mut self, path: &str, params: &[(&str, &str)]) -> Result<Json> {
        self.ensure_token()?;
        let url = self.below(path);
        let answer = self.post(&url, params);
        if self.is_stale(&answer) {
            self.log_in()?;
            return self.post(&url, params);
        }
        answer
    }

    /// Asks at a whole address, without logging in first.
    pub(super) fn ask_at(&self, url: &Url, params: &[(&str, &str)]) -> Result<Json> {
        self.post(url, params)
    }

    fn post(&self, url: &Url, params: &[(&str, &str)]) -> Result<Json> {
        let response = self.send_form(url, params)?;
        read_json(Self::limited(
            response,
            MAX_JSON_BYTES,
            self.options.silence * MAX_TIMES_SILENCE,
        ))
    }

    /// Whether the answer says that the token has ended and a new one can be had.
    pub(super) fn is_stale<T>(&self, answer: &Result<T>) -> bool {
        let ended = matches!(
            answer,
            Err(Error::Refused {
                code: codes::INVALID_TOKEN | codes::TOKEN_REQUIRED,
                ..
            })
        );
        ended && matches!(self.credentials, Credentials::Password { .. })
    }

    /// Logs in if there is a password and no token yet.
    pub(super) fn ensure_token(&mut self) -> Result<()> {
        if self.token.is_none() && matches!(self.credentials, Credentials::Password { .. }) {
            self.log_in()?;
        }
        Ok(())
    }

    /// Sends a form. The token goes with it if the address is the service's own origin.
    pub(super) fn send_form(&self, url: &Url, params: &[(&str, &str)]) -> Result<Response> {
        let mut form: Vec<(&str, &str)> = vec![("f", "json")];
        form.extend_from_slice(params);
        if let Some(token) = self.token.as_deref().filter(|_| self.is_own(url)) {
            form.push(("token", token));
        }
        self.sent(
            self.request(Method::POST, url).form(&form),
            "asking the server",
        )
    }

    /// Sends a file as one part of a form.
    pub(super) fn send_file(&self, url: &Url, name: String, content: Vec<u8>) -> Result<Json> {
        let part = reqwest::blocking::multipart::Part::bytes(content).file_name(name);
        let mut form = reqwest::blocking::multipart::Form::new()
            .text("f", "json")
            .part("file", part);
        if let Some(token) = self.token.clone().filter(|_| self.is_own(url)) {
            form = form.text("token", token);
        }
        let request = self
            .request(Method::POST, url)
            .timeout(self.options.patience);
        let response = self.sent(request.multipart(form), "uploading a file")?;
        read_json(Self::limited(
            response,
            MAX_JSON_BYTES,
            self.options.patience,
        ))
    }

    /// Fetches an address, from a byte on.
    pub(super) fn fetch(&self, url: &Url, from: u64) -> Result<Response> {
        let mut request = self
            .request(Method::GET, url)
            // Ranges count bytes of the file, not of a compressed form of it.
            .header(header::ACCEPT_ENCODING, "identity");
        if from > 0 {
            request = request.header(header::RANGE, format!("bytes={from}-"));
        }
        if let Some(token) = self.token.as_deref().filter(|_| self.is_own(url)) {
            request = request.header("X-Esri-Authorization", format!("Bearer {token}"));
        }
        self.sent(request, "fetching a file")
    }

    fn is_own(&self, url: &Url) -> bool {
        url.origin() == self.base.origin()
    }

    fn request(&self, method: Method, url: &Url) -> RequestBuilder {
        // Tokens are bound to this word, as by the dialect's Python client.
        self.client
            .request(method, url.clone())
            .header(header::REFERER, "http")
    }

    fn sent(&self, request: RequestBuilder, doing: &'static str) -> Result<Response> {
        let response = request.send().map_err(|source| Error::Network {
            doing,
            source: source.without_url(),
        })?;
        let status = response.status();
        if status.is_redirection() {
            let to = response.headers().get(header::LOCATION);
            let to = to.and_then(|to| to.to_str().ok()).unwrap_or_default();
            return Err(Error::Redirected {
                to: to.chars().take(200).collect(),
            });
        }
        if status.is_success() || status.as_u16() == 416 {
            return Ok(response);
        }
        // Some stacks put the dialect's error into an HTTP error.
        let body = Self::limited(response, 64 << 10, self.options.silence);
        match read_json(body) {
            Err(error @ Error::Refused { .. }) => Err(error),
            _ => Err(Error::Status {
                status: status.as_u16(),
            }),
        }
    }

    /// The body of an answer, which ends in an error when it is too large or too slow.
    pub(super) fn limited(response: Response, max_bytes: u64, within: Duration) -> Limited {
        Limited {
            response,
            left: max_bytes,
            max_bytes,
            until: Instant::now() + within,
            within,
        }
    }
}

/// A body with limits.
#[derive(Debug)]
pub(super) struct Limited {
    response: Response,
    left: u64,
    max_bytes: u64,
    until: Instant,
    within: Duration,
}

impl Read for Limited {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if Instant::now() > self.until {
            let error = Error::TooSlow {
                doing: "an answer",
                seconds: self.within.as_secs(),
            };
            return Err(io::Error::new(io::ErrorKind::TimedOut, error));
        }
        let count = self.response.read(buffer)?;
        self.left = self.left.checked_sub(count as u64).ok_or_else(|| {
            let max_bytes = self.max_bytes;
            io::Error::new(io::ErrorKind::FileTooLarge, Error::TooLarge { max_bytes })
        })?;
        Ok(count)
    }
}

/// The error of ours within an I/O error, if there is one.
pub(super) fn unwrapped(error: io::Error) -> Error {
    if error
        .get_ref()
        .is_some_and(<dyn std::error::Error + Send + Sync>::is::<Error>)
        && let Some(inner) = error.into_inner()
    {
        return match inner.downcast::<Error>() {
            Ok(ours) => *ours,
            Err(other) => Error::Io(io::Error::other(other)),
        };
    }
    Error::Io(io::Error::other("the connection broke off"))
}

fn read_json(mut body: Limited) -> Result<Json> {
    let mut bytes = Vec::new();
    body.read_to_end(&mut bytes).map_err(unwrapped)?;
    let value = parse(&bytes, "the server's answer")?;
    match &value {
        Json::Object(members) => {
            let head = DocumentHead {
                members: members.clone(),
                ..DocumentHead::default()
            };
            match head.error() {
                Some((code, message)) => Err(Error::Refused { code, message }),
                None => Ok(value),
            }
        }
        _ => Ok(value),
    }
}

/// An http or https address without query, without user name, without a slash at the end.
fn base_url(text: &str) -> Result<Url> {
    let wrong = |problem: &str| Error::parameter("url", format!("{text:?} {problem}"));
    let mut url = Url::parse(text.trim()).map_err(|_not_a_url| wrong("is no address"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(wrong("is no http or https address"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("must not hold a user name or password"));
    }
    url.set_query(None);
    url.set_fragment(None);
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.eq_ignore_ascii_case("localhost")
        || bare
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback())
}
