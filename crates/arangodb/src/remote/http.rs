//! Requests to the primary: limits, waits, retries; no redirects, no proxies.
//!
//! `initialSyncMaxWaitTime` bounds the wait for the beginning of an answer, retries included, and each silence within it;
//! `requestTimeout` bounds a whole request. So a long copy that keeps arriving is healthy, and a primary that falls silent is given up
//! in time. Source: `spec/arangodb.md` 3 and 17; `GUARANTEES.md` 4.2, 2.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use reqwest::{Client, Method, redirect};
use tokio::time::Instant;

use super::{Error, Order, Result};
use crate::wire::endpoint::Endpoint;
use crate::wire::key;

/// Attempts of a request that may be repeated.
const ATTEMPTS: u32 = 3;
/// Pause between them.
const PAUSE: Duration = Duration::from_secs(2);
/// How often it is looked whether to stop.
const GLANCE: Duration = Duration::from_millis(50);
/// The longest that connecting may take in all.
const MAX_CONNECTING: Duration = Duration::from_mins(1);
/// Largest answer.
const MAX_ANSWER: usize = 256 << 20;

/// A connection to one database of a primary.
pub(super) struct Http<'a> {
    pub(super) runtime: tokio::runtime::Runtime,
    pub(super) requests: Requests,
    max_wait: Duration,
    request_timeout: Duration,
    stop: &'a AtomicBool,
    /// Where the primary is.
    pub(super) addresses: Vec<SocketAddr>,
    /// Requests that were answered, and bytes of the answers.
    pub(super) cost: Mutex<(u32, u64)>,
}

/// What makes requests; the timer has one, too.
#[derive(Clone, Debug)]
pub(super) struct Requests {
    client: Client,
    base: String,
    authorization: Option<String>,
}

/// An answer of the primary.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    headers: reqwest::header::HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Reply {
    /// The text of a header.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// One request.
#[derive(Clone, Debug)]
pub(super) struct Asked<'a> {
    /// What it is, for errors.
    pub(super) what: &'static str,
    pub(super) method: Method,
    /// Path and query below the database.
    pub(super) path: &'a str,
    pub(super) body: Option<String>,
    /// Whether the client comes back for the answer.
    pub(super) is_async: bool,
}

enum Failure {
    /// Nothing was sent, or it does no harm to send it again.
    Again(Error),
    Final(Error),
}

fn certificates(pem: &[u8]) -> Result<Vec<reqwest::Certificate>> {
    let found = reqwest::Certificate::from_pem_bundle(pem).ok();
    found
        .filter(|found| !found.is_empty())
        .ok_or_else(|| Error::Certificates("it holds none in PEM form".to_owned()))
}

impl<'a> Http<'a> {
    pub(super) fn open(order: &'a Order<'a>) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(|error| Error::NoResponse(error.to_string()))?;
        let config = order.config;
        let connecting = config.connect_timeout.min(config.initial_sync_max_wait);
        let addresses = runtime.block_on(resolve(&order.endpoint, connecting))?;
        // Another part of the program may have been first; all use the same one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut client = Client::builder()
            .connect_timeout(connecting)
            .redirect(redirect::Policy::none())
            .referer(false)
            .no_proxy()
            .tls_danger_accept_invalid_certs(order.insecure)
            .resolve_to_addrs(&order.endpoint.host, &addresses);
        if let Some(path) = &order.ca {
            let pem = std::fs::read(path)
                .map_err(|error| Error::Certificates(error.kind().to_string()))?;
            client = client.tls_certs_merge(certificates(&pem)?);
        }
        if let Some(pem) = order.more_ca {
            client = client.tls_certs_merge(certificates(pem.as_bytes())?);
        }
        let client = client
            .build()
            .map_err(|error| Error::NoResponse(error.to_string()))?;
        Ok(Self {
            runtime,
            requests: Requests {
                client,
                base: format!(
                    "{}/_db/{}",
                    order.endpoint.url(),
                    key::encode(order.there())
                ),
                authorization: authorization(config),
            },
            max_wait: config.initial_sync_max_wait,
            request_timeout: config.request_timeout,
            stop: &order.stop,
            addresses,
            cost: Mutex::default(),
        })
    }

    /// Sends a request until it is answered with success.
    pub(super) fn send(&self, asked: &Asked<'_>) -> Result<Reply> {
        let reply = self.send_any(asked)?;
        match reply.status {
            200..=299 => Ok(reply),
            300..=399 => Err(Error::invalid(format!(
                "{} was redirected, which is not followed",
                asked.what
            ))),
            status => Err(Error::Leader {
                what: asked.what,
                status,
                body: String::from_utf8_lossy(&reply.body)
                    .chars()
                    .filter(|c| !c.is_control())
                    .take(500)
                    .collect(),
            }),
        }
    }

    fn send_any(&self, asked: &Asked<'_>) -> Result<Reply> {
        let deadline = Instant::now() + self.max_wait;
        self.runtime.block_on(async {
            let mut attempt = 1;
            loop {
                let once = self.once(asked, deadline);
                let failure = tokio::select! {
                    done = once => match done {
                        Ok(reply) => return Ok(reply),
                        Err(failure) => failure,
                    },
                    () = self.stopped() => return Err(Error::Stopped),
                };
                let error = match failure {
                    Failure::Again(error)
                        if attempt < ATTEMPTS && Instant::now() + PAUSE < deadline =>
                    {
                        error
                    }
                    Failure::Again(error) | Failure::Final(error) => return Err(error),
                };
                tracing::debug!(%error, what = asked.what, "asking again");
                attempt += 1;
                tokio::select! {
                    () = tokio::time::sleep(PAUSE) => {}
                    () = self.stopped() => return Err(Error::Stopped),
                }
            }
        })
    }

    /// Waits, unless it must stop.
    pub(super) fn pause(&self, wait: Duration) -> Result<()> {
        self.runtime.block_on(async {
            tokio::select! {
                () = tokio::time::sleep(wait) => Ok(()),
                () = self.stopped() => Err(Error::Stopped),
            }
        })
    }

    async fn stopped(&self) {
        while !self.stop.load(Ordering::Relaxed) {
            tokio::time::sleep(GLANCE).await;
        }
    }

    async fn once(&self, asked: &Asked<'_>, deadline: Instant) -> Result<Reply, Failure> {
        let whole = Instant::now() + self.request_timeout;
        let silence = |what: &str| {
            Error::NoResponse(format!(
                "{} {what} within {} s",
                asked.what,
                self.max_wait.as_secs_f64()
            ))
        };
        let sent = tokio::time::timeout_at(deadline.min(whole), self.requests.start(asked)).await;
        let mut response = match sent {
            Err(_late) => return Err(Failure::Final(silence("was not answered"))),
            Ok(Err(error)) if error.is_connect() => {
                return Err(Failure::Again(Error::NoResponse(format!(
                    "could not connect to leader: {}",
                    reason(&error)
                ))));
            }
            Ok(Err(error)) => {
                let error = Error::NoResponse(reason(&error));
                let again = asked.method != Method::POST;
                return Err(if again {
                    Failure::Again(error)
                } else {
                    Failure::Final(error)
                });
            }
            Ok(Ok(response)) => response,
        };
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let mut body = Vec::new();
        loop {
            let until = whole.min(Instant::now() + self.max_wait);
            match tokio::time::timeout_at(until, response.chunk()).await {
                Err(_late) => return Err(Failure::Final(silence("was not answered whole"))),
                Ok(Err(error)) => {
                    let error = Error::Cut(format!(
                        "the answer to {} was cut: {}",
                        asked.what,
                        reason(&error)
                    ));
                    let again = asked.method != Method::POST;
                    return Err(if again {
                        Failure::Again(error)
                    } else {
                        Failure::Final(error)
                    });
                }
                Ok(Ok(None)) => break,
                Ok(Ok(Some(part))) if body.len() + part.len() > MAX_ANSWER => {
                    return Err(Failure::Final(Error::invalid(format!(
                        "the answer to {} does not end",
                        asked.what
                    ))));
                }
                Ok(Ok(Some(part))) => body.extend_from_slice(&part),
            }
        }
        let mut cost = self.cost.lock().unwrap_or_else(PoisonError::into_inner);
        *cost = (cost.0 + 1, cost.1 + body.len() as u64);
        drop(cost);
        Ok(Reply {
            status,
            headers,
            body,
        })
    }

    /// The longest wait for an answer.
    pub(super) fn max_wait(&self) -> Duration {
        self.max_wait.min(MAX_CONNECTING)
    }
    /// The whole of the longest wait.
    pub(super) fn patience(&self) -> Duration {
        self.max_wait
    }
}

impl Requests {
    pub(super) async fn start(&self, asked: &Asked<'_>) -> reqwest::Result<reqwest::Response> {
        let url = format!("{}{}", self.base, asked.path);
        let mut request = self.client.request(asked.method.clone(), url);
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        if asked.is_async {
            request = request.header("x-arango-async", "store");
        }
        if let Some(body) = &asked.body {
            request = request
                .header("content-type", "application/json")
                .body(body.clone());
        }
        request.send().await
    }
}

fn authorization(config: &crate::wire::config::Config) -> Option<String> {
    use base64::Engine as _;
    if !config.username.is_empty() {
        let pair = format!("{}:{}", config.username, config.password);
        return Some(format!(
            "Basic {}",
            base64::engine::general_purpose::STANDARD.encode(pair)
        ));
    }
    (!config.jwt.is_empty()).then(|| format!("bearer {}", config.jwt))
}

/// What a failed request says without its address and what is in it.
fn reason(error: &reqwest::Error) -> String {
    let mut source: &dyn std::error::Error = error;
    while let Some(inner) = source.source() {
        source = inner;
    }
    source.to_string()
}

/// The addresses of a host, looked up once: what is connected to was checked.
async fn resolve(endpoint: &Endpoint, wait: Duration) -> Result<Vec<SocketAddr>> {
    let looked_up = tokio::net::lookup_host((endpoint.host.as_str(), endpoint.port));
    let found = tokio::time::timeout(wait, looked_up).await;
    let found = found
        .map_err(|_late| Error::NoResponse("the leader's name was not found in time".to_owned()))?;
    let found: Vec<SocketAddr> = found
        .map_err(|error| Error::NoResponse(format!("the leader's name was not found: {error}")))?
        .collect();
    let is_named = endpoint.host.parse::<IpAddr>().is_ok() || endpoint.host == "localhost";
    if !is_named && found.iter().any(|address| is_special(address.ip())) {
        return Err(Error::NotAllowed);
    }
    if found.is_empty() {
        return Err(Error::NoResponse(
            "the leader's name has no address".to_owned(),
        ));
    }
    Ok(found)
}

/// Addresses that no name of another machine should lead to.
fn is_special(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            v4.is_loopback()
                || v4.is_link_local()
                || v4.is_unspecified()
                || v4.is_multicast()
                || v4.is_broadcast()
        }
        IpAddr::V6(v6) => {
            v6.is_loopback()
                || v6.is_unspecified()
                || v6.is_multicast()
                || v6.is_unicast_link_local()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_other_machines_do_not_lead_to_this_one() {
        for text in [
            "127.0.0.1",
            "169.254.169.254",
            "0.0.0.0",
            "::1",
            "::ffff:127.0.0.1",
            "fe80::1",
            "224.0.0.1",
        ] {
            assert!(is_special(text.parse().unwrap()), "{text}");
        }
        for text in ["10.0.0.1", "93.184.216.34", "2001:db8::1"] {
            assert!(!is_special(text.parse().unwrap()), "{text}");
        }
    }
}
