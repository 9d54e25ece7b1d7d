//! Requests to one server: login and session, limits, errors of the dialect.
//!
//! The first request carries the credentials; the session that the server opens for it is used from then on, and the
//! credentials again when that has ended. Source: `spec/dhis2.md` 1 and 2.

use std::io::Read;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use reqwest::blocking::multipart::{Form, Part};
use reqwest::blocking::{Client, RequestBuilder, Response};
use reqwest::{Method, StatusCode, Url, header};
use serde_json::Value as Json;

use super::error::{Error, Result};
use crate::wire::json;

/// Largest answer that is read.
const MAX_JSON_BYTES: u64 = 256 << 20;
/// An answer may take this many times the longest silence.
const MAX_TIMES_SILENCE: u32 = 20;

/// Who we are for the server.
#[derive(Clone)]
pub enum Credentials {
    /// Nobody.
    Anonymous,
    /// User name and password.
    Basic {
        /// User name.
        user: String,
        /// Password.
        password: String,
    },
    /// A personal access token, `d2pat_...`.
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
}

impl Default for Options {
    fn default() -> Self {
        Self {
            ca: None,
            insecure: false,
            insecure_http: false,
            silence: Duration::from_mins(1),
        }
    }
}

/// What a server answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The document; null if there is none.
    pub body: Json,
}

/// A file of the server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FetchedFile {
    /// Its name there; empty if it is not told.
    pub name: String,
    /// What it is, `image/png`.
    pub content_type: String,
    /// Its bytes.
    pub content: Vec<u8>,
}

/// A connection to one server.
pub struct Http {
    client: Client,
    /// Ends with `/api/`.
    base: Url,
    credentials: Credentials,
    /// The session's cookie.
    session: Mutex<Option<String>>,
    silence: Duration,
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
    /// Prepares a connection to `https://server/`, with or without `/api` at the end.
    ///
    /// # Errors
    /// [`Error::Parameter`] for an address or certificate that does not do.
    pub fn new(url: &str, credentials: Credentials, options: &Options) -> Result<Self> {
        let base = base_url(url)?;
        let is_local = base.host_str().is_some_and(is_loopback);
        let is_secret = !matches!(credentials, Credentials::Anonymous);
        if base.scheme() == "http" && is_secret && !is_local && !options.insecure_http {
            let problem = "credentials would cross the network in the clear; use https".to_owned();
            return Err(Error::Parameter {
                what: "url",
                problem,
            });
        }
        // Another part of the program may have been first; all use the same one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = Client::builder()
            .connect_timeout(options.silence.min(Duration::from_secs(15)))
            .timeout(options.silence)
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .user_agent(concat!("haversack/", env!("CARGO_PKG_VERSION")))
            .tls_danger_accept_invalid_certs(options.insecure);
        if let Some(path) = &options.ca {
            let problem = |e: String| Error::Parameter {
                what: "ca",
                problem: format!("{}: {e}", path.display()),
            };
            let pem = std::fs::read(path).map_err(|e| problem(e.kind().to_string()))?;
            let certificates =
                reqwest::Certificate::from_pem_bundle(&pem).map_err(|e| problem(e.to_string()))?;
            builder = builder.tls_certs_merge(certificates);
        }
        let client = builder.build().map_err(|source| Error::Network {
            doing: "preparing the connection",
            source,
        })?;
        Ok(Self {
            client,
            base,
            credentials,
            session: Mutex::new(None),
            silence: options.silence,
        })
    }

    /// The server's address, without `/api` and without a slash at the end.
    pub fn url(&self) -> &str {
        self.base.as_str().trim_end_matches("/api/")
    }

    /// Asks for a document. Paths are relative to `/api/`; segments must be uids or words.
    ///
    /// # Errors
    /// [`Error::Refused`] and the like for everything but success.
    pub fn get(&self, path: &str, params: &[(&str, &str)]) -> Result<Json> {
        let answer = self.ask(&Method::GET, path, params, None)?;
        if !(200..300).contains(&answer.status) {
            return Err(refusal(path, &answer));
        }
        Ok(answer.body)
    }
    /// Sends a document, or none. Answers 200 to 299 and 409 are given as they are: imports answer with either; all
    /// others are errors.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn post(&self, path: &str, params: &[(&str, &str)], body: Option<&Json>) -> Result<Answer> {
        self.send(&Method::POST, path, params, body)
    }
    /// As [`Self::post`].
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn put(&self, path: &str, params: &[(&str, &str)], body: Option<&Json>) -> Result<Answer> {
        self.send(&Method::PUT, path, params, body)
    }
    /// As [`Self::post`].
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn delete(&self, path: &str, params: &[(&str, &str)]) -> Result<Answer> {
        self.send(&Method::DELETE, path, params, None)
    }

    /// Sends a file as the part `file` of a form.
    ///
    /// # Errors
    /// As [`Self::get`]. [`Error::Parameter`] for a content type that is none.
    pub fn post_file(
        &self,
        path: &str,
        name: &str,
        content_type: &str,
        content: &[u8],
    ) -> Result<Answer> {
        let part = |content: Vec<u8>| {
            let part = Part::bytes(content).file_name(name.to_owned());
            let part = part.mime_str(content_type);
            part.map_err(|_no_type| Error::Parameter {
                what: "content type",
                problem: format!("{content_type:?} is none; write image/jpeg and so on"),
            })
        };
        part(Vec::new())?;
        let response = self.exchange(&Method::POST, path, &[], |request| {
            // It was tried just now.
            match part(content.to_vec()) {
                Ok(part) => request.multipart(Form::new().part("file", part)),
                Err(_) => request,
            }
        })?;
        let answer = self.read(path, response)?;
        if (200..300).contains(&answer.status) || answer.status == 409 {
            return Ok(answer);
        }
        Err(refusal(path, &answer))
    }
    /// Asks for a file; `None` if it is larger than `max_bytes`.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn get_file(
        &self,
        path: &str,
        params: &[(&str, &str)],
        max_bytes: usize,
    ) -> Result<Option<FetchedFile>> {
        let mut response = self.exchange(&Method::GET, path, params, |request| {
            request.header(header::ACCEPT, "*/*")
        })?;
        if !response.status().is_success() {
            let answer = self.read(path, response)?;
            return Err(refusal(path, &answer));
        }
        let text = |name: header::HeaderName| {
            let found = response.headers().get(name);
            found
                .and_then(|text| text.to_str().ok())
                .unwrap_or_default()
                .to_owned()
        };
        let content_type = text(header::CONTENT_TYPE);
        let name = file_name(&text(header::CONTENT_DISPOSITION));
        let content = self.bytes(path, &mut response, max_bytes as u64)?;
        Ok(content.map(|content| FetchedFile {
            name,
            content_type,
            content,
        }))
    }

    fn send(
        &self,
        method: &Method,
        path: &str,
        params: &[(&str, &str)],
        body: Option<&Json>,
    ) -> Result<Answer> {
        let answer = self.ask(method, path, params, body)?;
        if (200..300).contains(&answer.status) || answer.status == 409 {
            return Ok(answer);
        }
        Err(refusal(path, &answer))
    }

    fn ask(
        &self,
        method: &Method,
        path: &str,
        params: &[(&str, &str)],
        body: Option<&Json>,
    ) -> Result<Answer> {
        let response = self.exchange(method, path, params, |request| {
            let request = request.header(header::ACCEPT, "application/json");
            match body {
                Some(body) => request.json(body),
                None => request,
            }
        })?;
        self.read(path, response)
    }

    /// Makes a request, with the session if there is one, else with the credentials.
    fn exchange(
        &self,
        method: &Method,
        path: &str,
        params: &[(&str, &str)],
        filled: impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<Response> {
        let url = address(&self.base, path)?;
        let request = || {
            let request = self
                .client
                .request(method.clone(), url.clone())
                .query(params)
                // Without it some versions answer with a login page.
                .header("X-Requested-With", "XMLHttpRequest");
            filled(request)
        };
        if let Some(session) = self.session() {
            let response = sent(request().header(header::COOKIE, session))?;
            if response.status() != StatusCode::UNAUTHORIZED {
                return Ok(response);
            }
            self.keep_session(None);
        }
        let response = sent(self.with_credentials(request()))?;
        self.remember(&response);
        Ok(response)
    }

    fn with_credentials(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.credentials {
            Credentials::Anonymous => request,
            Credentials::Basic { user, password } => request.basic_auth(user, Some(password)),
            Credentials::Token(token) => {
                request.header(header::AUTHORIZATION, format!("ApiToken {token}"))
            }
        }
    }

    /// Keeps the session that a server opened for a request with a password.
    fn remember(&self, response: &Response) {
        if !response.status().is_success() || !matches!(self.credentials, Credentials::Basic { .. })
        {
            return;
        }
        let cookies = response.headers().get_all(header::SET_COOKIE).iter();
        let mut pairs = cookies.filter_map(|cookie| cookie.to_str().ok()?.split(';').next());
        if let Some(session) = pairs.find(|pair| pair.trim_start().starts_with("JSESSIONID=")) {
            self.keep_session(Some(session.trim().to_owned()));
        }
    }
    fn session(&self) -> Option<String> {
        // Whoever panicked with the lock left a whole value.
        let session = self.session.lock();
        session
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone()
    }
    fn keep_session(&self, session: Option<String>) {
        let mut kept = self.session.lock();
        match &mut kept {
            Ok(kept) => **kept = session,
            Err(poisoned) => **poisoned.get_mut() = session,
        }
    }

    /// The bytes of an answer; `None` if there are more than `most`.
    fn bytes(&self, path: &str, response: &mut Response, most: u64) -> Result<Option<Vec<u8>>> {
        let wrong = |problem: &str| Error::Answer {
            path: path.to_owned(),
            problem: problem.to_owned(),
        };
        let until = Instant::now() + self.silence * MAX_TIMES_SILENCE;
        let mut bytes = Vec::new();
        let mut chunk = vec![0; 64 << 10];
        loop {
            match response.read(&mut chunk) {
                Ok(0) => return Ok(Some(bytes)),
                Ok(count) => bytes.extend_from_slice(&chunk[..count]),
                Err(_) => return Err(wrong("broke off")),
            }
            if bytes.len() as u64 > most {
                return Ok(None);
            }
            if Instant::now() > until {
                return Err(wrong("takes too long"));
            }
        }
    }

    fn read(&self, path: &str, mut response: Response) -> Result<Answer> {
        let wrong = |problem: &str| Error::Answer {
            path: path.to_owned(),
            problem: problem.to_owned(),
        };
        let status = response.status();
        if status.is_redirection() {
            let to = response.headers().get(header::LOCATION);
            let to = to.and_then(|to| to.to_str().ok()).unwrap_or_default();
            return Err(Error::Redirected {
                to: to.chars().take(200).collect(),
            });
        }
        let bytes = self.bytes(path, &mut response, MAX_JSON_BYTES)?;
        let bytes = bytes.ok_or_else(|| wrong("is too large"))?;
        let body = if bytes.iter().all(u8::is_ascii_whitespace) {
            Json::Null
        } else {
            match json::parse(&bytes) {
                Ok(body) => body,
                // Proxies answer with pages of their own.
                Err(_) if !status.is_success() => Json::Null,
                Err(error) => return Err(wrong(&error.to_string())),
            }
        };
        Ok(Answer {
            status: status.as_u16(),
            body,
        })
    }
}

/// The name in `attachment; filename="photo.jpg"`; empty if there is none.
fn file_name(disposition: &str) -> String {
    let mut parts = disposition.split(';').map(str::trim);
    let name = parts.find_map(|part| part.strip_prefix("filename="));
    let name = name.unwrap_or_default().trim_matches('"');
    // A path in it is not ours to follow.
    name.rsplit(['/', '\\'])
        .next()
        .unwrap_or_default()
        .to_owned()
}

/// The address of a path below `/api/`. Uids in it come from servers and files, so it is made of words alone: nothing in it leads up, to
/// another host or into the parameters.
fn address(base: &Url, path: &str) -> Result<Url> {
    let is_word = |word: &str| {
        let mut all = word.bytes();
        let are_plain = all.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
        are_plain && word.bytes().any(|b| b != b'.')
    };
    let wrong = |problem: String| Error::Parameter {
        what: "path",
        problem: format!("{path:?} {problem}"),
    };
    if !path.split('/').all(is_word) {
        return Err(wrong("is not made of words".to_owned()));
    }
    base.join(path)
        .map_err(|problem| wrong(problem.to_string()))
}

fn sent(request: RequestBuilder) -> Result<Response> {
    request.send().map_err(|source| Error::Network {
        doing: "asking the server",
        source: source.without_url(),
    })
}

/// What an answer that is no success means.
pub fn refusal(path: &str, answer: &Answer) -> Error {
    let text = |name: &str| answer.body.get(name).and_then(Json::as_str);
    let message = text("message").unwrap_or_default();
    if answer.status == 401 && !message.contains("OWNERSHIP_ACCESS_DENIED") {
        return if message.contains("Account disabled") {
            Error::AccountDisabled
        } else if message.contains("Account locked") {
            Error::AccountLocked
        } else if message.contains("PROGRAM_ACCESS_CLOSED") {
            refused(path, answer, message)
        } else {
            Error::BadCredentials
        };
    }
    refused(path, answer, message)
}

fn refused(path: &str, answer: &Answer, message: &str) -> Error {
    let code = answer.body.get("errorCode").and_then(Json::as_str);
    Error::Refused {
        path: path.to_owned(),
        status: answer.status,
        code: code.map(str::to_owned),
        message: if message.is_empty() {
            "it says no more".to_owned()
        } else {
            message.chars().take(500).collect()
        },
    }
}

/// An http or https address that ends with `/api/`, without query, without user name.
fn base_url(text: &str) -> Result<Url> {
    let wrong = |problem: &str| Error::Parameter {
        what: "url",
        problem: format!("{text:?} {problem}"),
    };
    let mut url = Url::parse(text.trim()).map_err(|_not_a_url| wrong("is no address"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(wrong("is no http or https address"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("must not hold a user name or password"));
    }
    url.set_query(None);
    url.set_fragment(None);
    let path = url.path().trim_end_matches('/');
    let path = path.strip_suffix("/api").unwrap_or(path).to_owned();
    url.set_path(&format!("{path}/api/"));
    Ok(url)
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.eq_ignore_ascii_case("localhost")
        || bare
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_address_is_taken_with_or_without_its_api() {
        for text in [
            "https://h/dhis",
            "https://h/dhis/",
            "https://h/dhis/api",
            "https://h/dhis/api/?x=1#y",
        ] {
            assert_eq!(
                base_url(text).unwrap().as_str(),
                "https://h/dhis/api/",
                "{text}"
            );
        }
        for text in ["h", "ftp://h", "https://u:p@h/", ""] {
            assert!(base_url(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_password_does_not_cross_the_network_in_the_clear() {
        let login = || Credentials::Basic {
            user: "u".to_owned(),
            password: "p".to_owned(),
        };
        assert!(Http::new("http://example.org", login(), &Options::default()).is_err());
        assert!(Http::new("http://127.0.0.1:1", login(), &Options::default()).is_ok());
        let open = Options {
            insecure_http: true,
            ..Options::default()
        };
        assert!(Http::new("http://example.org", login(), &open).is_ok());
    }

    #[test]
    fn refusals_of_accounts_are_told_apart() {
        let of = |status, message: &str| {
            refusal(
                "me",
                &Answer {
                    status,
                    body: json!({"message": message}),
                },
            )
        };
        assert!(matches!(
            of(401, "Account disabled"),
            Error::AccountDisabled
        ));
        assert!(matches!(of(401, "Account locked"), Error::AccountLocked));
        assert!(matches!(of(401, "Unauthorized"), Error::BadCredentials));
        assert_eq!(of(401, "OWNERSHIP_ACCESS_DENIED").status(), Some(401));
        assert_eq!(of(404, "no").status(), Some(404));
        assert!(of(503, "").is_passing() && !of(409, "").is_passing());
    }
}
