//! What a face needs of the server that mounts it: services, users, jobs, files, time and fresh ids.
//!
//! The server implements it once; each face translates its dialect to these calls. All calls block.

use std::fmt::{Debug, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::copies::Copies;
use crate::documents::DocumentStore;
use crate::{Access, CollectionId, Error, Level, Principal, Result, Service, Store, Timestamp};

/// The server behind a face.
pub trait Host: Send + Sync + Debug {
    /// Names of all services.
    fn service_names(&self) -> Vec<String>;
    /// A service's store.
    fn service(&self, name: &str) -> Option<Arc<dyn Store>>;
    /// A service's store, for its documents. A host without them has none.
    fn documents(&self, name: &str) -> Option<Arc<dyn DocumentStore>> {
        let _ = name;
        None
    }
    /// Makes a new service, empty but for its collections.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the name is taken or cannot be.
    fn create_service(&self, service: &Service) -> Result<()> {
        Err(Error::Invalid {
            what: service.name.clone(),
            problem: "this server makes no services".to_owned(),
        })
    }
    /// Removes a service with all that is in it. `false` if there is none.
    ///
    /// # Errors
    /// The store's.
    fn remove_service(&self, name: &str) -> Result<bool> {
        let _ = name;
        Ok(false)
    }
    /// Whether this server may connect to another one for somebody: only those that its operator listed.
    fn allows_endpoint(&self, endpoint: &str) -> bool {
        let _ = endpoint;
        false
    }
    /// More certificates (PEM) by which other servers may show who they are, beside those of the system.
    fn endpoint_ca(&self) -> Option<PathBuf> {
        None
    }
    /// Sets a flag when the host stops, so that work for a client does not keep it from that.
    fn stop_with_me(&self, _flag: &Arc<AtomicBool>) {}
    /// What copies collections from other servers of this kind. A host without it leaves that to its faces.
    fn copies(&self) -> Option<&dyn Copies> {
        None
    }
    /// Where values that nobody else may get are reserved, if not here: at a server above this one, which gives them out for others, too.
    fn values_above(&self) -> Option<&dyn ValuesAbove> {
        None
    }
    /// The users, for faces that manage them. A host that lets nobody manage them has none.
    fn users(&self) -> Option<&dyn Users> {
        None
    }
    /// What faces keep over restarts. A host that keeps nothing has none.
    fn kept(&self) -> Option<&dyn Kept> {
        None
    }
    /// What a principal may do with a service. Default deny: no grant, no rights.
    fn access(&self, principal: &Principal, service: &str) -> Access;

    /// The principal of a user name and password; `None` if they do not fit. Takes the same time for unknown users.
    ///
    /// # Errors
    /// [`LoginError::TooManyAttempts`] when an address or account tries too often.
    fn login(
        &self,
        user: &str,
        password: &str,
        address: &str,
    ) -> Result<Option<Principal>, LoginError>;
    /// A new token for a principal, which counts only where `binding` allows it. Its text ends in
    /// [`Binding::suffix`].
    fn issue_token(&self, principal: &Principal, lifetime_ms: u64, binding: &Binding) -> Token;
    /// The principal of a token; `None` if unknown, expired, revoked or bound to another place.
    fn verify_token(&self, token: &str, origin: Origin<'_>) -> Option<Principal>;
    /// Ends a token.
    fn revoke_token(&self, token: &str);

    /// Wall-clock time.
    fn now(&self) -> Timestamp;
    /// A fresh random UUID.
    fn fresh_uuid(&self) -> Uuid;
    /// A random id of the server that stays the same, for portal and organisation ids.
    fn server_id(&self) -> Uuid;
    /// Configured public base URL (scheme, host, port), if any; otherwise faces build URLs from the request's own
    /// connection and `Host`.
    fn base_url(&self) -> Option<String>;
    /// Whether pages of another origin (`https://maps.example`) may read answers in a browser. None may unless listed.
    fn allows_origin(&self, origin: &str) -> bool {
        let _ = origin;
        false
    }
    /// Largest accepted request body in bytes.
    fn max_body_bytes(&self) -> usize;
    /// Most rows, attachments included, of a copy that a face makes for one request.
    fn max_copy_rows(&self) -> u64 {
        u64::MAX
    }
    /// Most bytes of attachments within such a copy.
    fn max_copy_bytes(&self) -> u64 {
        u64::MAX
    }

    /// Starts a durable job. `request` is all that [`JobRunner::run`] of its kind needs, also after a restart.
    ///
    /// # Errors
    /// [`Error::Invalid`] if this owner has too many jobs running.
    fn start_job(
        &self,
        kind: &str,
        owner: &Principal,
        service: &str,
        request: String,
    ) -> Result<Job>;
    /// A job; `None` if unknown or expired.
    fn job(&self, id: Uuid) -> Option<Job>;
    /// Who runs jobs of a kind; registered by faces when they are mounted, before jobs of an earlier run continue.
    fn register_job_runner(&self, kind: &str, runner: Arc<dyn JobRunner>);

    /// Path for a new file that only its owner may fetch, e.g. an upload or a replica's data. `extension` without dot.
    /// Kept until it expires (24 h) or is removed.
    fn create_file(&self, owner: &Principal, extension: &str) -> Result<StoredFile>;
    /// A file by its id; `None` if unknown, expired or another's (administrators see all).
    fn file(&self, id: Uuid, principal: &Principal) -> Option<StoredFile>;
    /// Remembers what a file is called and what is in it.
    fn describe_file(&self, file: &StoredFile) -> Result<()>;
    /// Removes a file.
    fn remove_file(&self, id: Uuid) -> Result<()>;
}

/// Small things that faces keep over restarts. Keys begin with the face's name.
pub trait Kept: Debug {
    /// Keeps bytes under a key, instead of what was there.
    fn keep(&self, key: &str, value: &[u8]) -> Result<()>;
    /// Keeps nothing under a key.
    fn forget(&self, key: &str) -> Result<()>;
    /// All whose keys begin so, by key.
    fn kept(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>>;
}

/// Values of generated attributes that a server above this one reserved.
pub trait ValuesAbove: Debug {
    /// Takes values of an attribute out of the pool; nobody else gets them. `unit_code`: the code of the organisation unit that is in them.
    ///
    /// # Errors
    /// [`ValuesError`] if there are fewer; none is taken then.
    fn take(
        &self,
        attribute: &str,
        unit_code: Option<&str>,
        count: u64,
    ) -> Result<Vec<ReservedValue>, ValuesError>;
}

/// A value that was reserved, with what the server above said of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReservedValue {
    /// The value.
    pub value: String,
    /// The part of its pattern that is the same in all values of the pool.
    pub key: String,
    /// When the reservation ends; `None` if that is not known.
    pub expires_at: Option<Timestamp>,
}

/// Why no values were taken, for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ValuesError(pub String);

/// Users and what they are granted.
pub trait Users: Debug {
    /// All users by name.
    fn list(&self) -> Result<Vec<Principal>>;
    /// Makes a user without rights.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a name or a password that does not do.
    fn add(&self, name: &str, password: &str) -> Result<()>;
    /// Changes a password; all tokens of the user end.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a password that does not do, or if there is no such user.
    fn set_password(&self, name: &str, password: &str) -> Result<()>;
    /// Removes a user with all grants and tokens.
    ///
    /// # Errors
    /// [`Error::Invalid`] for the last administrator, or if there is no such user.
    fn remove(&self, name: &str) -> Result<()>;
    /// Sets what a user may do with a service; without rights nothing, whatever wider grants say.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there is no such user or service.
    fn grant(&self, user: &str, service: &str, rights: &[crate::Right]) -> Result<()>;
    /// Removes the grant of a user for a service and those for its collections, so that wider ones hold. `false` if there was none.
    fn revoke(&self, user: &str, service: &str) -> Result<bool>;
    /// What a user was granted for this very service (`*`: all of them), if anything was.
    fn granted(&self, user: &str, service: &str) -> Result<Option<Vec<crate::Right>>>;
    /// What a user was granted for single collections of this very service; `None` stands for all that are not named.
    fn levels(&self, user: &str, service: &str) -> Result<Vec<(Option<CollectionId>, Level)>>;
    /// Sets what a user may do with one collection of a service, or with all that are not named. Of all services (`*`) only that.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there is no such user or service.
    fn grant_collection(
        &self,
        user: &str,
        service: &str,
        collection: Option<CollectionId>,
        level: Level,
    ) -> Result<()>;
    /// Removes such a grant. `false` if there was none.
    fn revoke_collection(
        &self,
        user: &str,
        service: &str,
        collection: Option<CollectionId>,
    ) -> Result<bool>;
    /// Removes what anybody was granted for one collection, which is gone or not there yet.
    fn forget_collection(&self, service: &str, collection: CollectionId) -> Result<()>;
}

/// How a request came in; the server puts one into the extensions of every request. Faces build absolute URLs from it and
/// the request's `Host` where [`Host::base_url`] is not configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Whether it is encrypted: URLs begin with `https` then.
    pub is_tls: bool,
    /// The other end; its address is what [`Host::login`] limits by.
    pub peer: SocketAddr,
}

/// A login that was not even tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoginError {
    /// Try again later.
    #[error("too many attempts; try again in {retry_after_s} s")]
    TooManyAttempts {
        /// Seconds to wait.
        retry_after_s: u32,
    },
}

/// Where a request with a token comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Origin<'a> {
    /// The `Referer` header, if one was sent.
    pub referer: Option<&'a str>,
    /// Address of the client.
    pub address: &'a str,
}

/// What a token is bound to. It is part of the token's text, so that whoever checks the text checks it, too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Binding {
    /// Nothing: it counts anywhere.
    #[default]
    None,
    /// Pages of this host: a request that names a referer must name one of it. Programs send none and are let through.
    Referer(String),
    /// One address.
    Address(String),
}

impl Binding {
    /// The end of a token that is bound so; a server's own part of a token has no dot in it.
    pub fn suffix(&self) -> String {
        let hex = |text: &str| {
            text.bytes().fold(String::new(), |mut out, byte| {
                let _ = write!(out, "{byte:02x}");
                out
            })
        };
        match self {
            Self::None => String::new(),
            Self::Referer(referer) => format!(".r{}", hex(&host_of(referer))),
            Self::Address(address) => format!(".a{}", hex(address.trim())),
        }
    }
    /// The binding of a token; what can be made of it is bound like it.
    pub fn of(token: &str) -> Self {
        let text = |hex: &str| {
            let bytes = (0..hex.len()).step_by(2).map(|at| {
                let pair = hex.get(at..at + 2)?;
                u8::from_str_radix(pair, 16).ok()
            });
            String::from_utf8(bytes.collect::<Option<Vec<u8>>>()?).ok()
        };
        let bound = token.split_once('.').map_or("", |(_, bound)| bound);
        let referer = bound.strip_prefix('r').and_then(text).map(Self::Referer);
        let address = bound.strip_prefix('a').and_then(text).map(Self::Address);
        referer.or(address).unwrap_or_default()
    }
    /// Whether a token counts for a request from there.
    pub fn allows(token: &str, origin: Origin<'_>) -> bool {
        let Some((_, bound)) = token.split_once('.') else {
            return true;
        };
        let same = |binding: Self| binding.suffix().strip_prefix('.') == Some(bound);
        match origin.referer.filter(|text| !text.trim().is_empty()) {
            _ if bound.starts_with('a') => same(Self::Address(origin.address.to_owned())),
            Some(referer) => same(Self::Referer(referer.to_owned())),
            None => true,
        }
    }
}

/// Host and port of a referer, or the whole of what is no URL, in lower case.
fn host_of(referer: &str) -> String {
    let rest = referer.trim().split_once("://");
    let rest = rest.map_or(referer.trim(), |(_, rest)| rest);
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    rest[..end]
        .chars()
        .take(100)
        .collect::<String>()
        .to_lowercase()
}

/// A credential that stands for a login.
#[derive(Clone, Debug)]
pub struct Token {
    /// The secret text.
    pub text: String,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// A file of the server.
#[derive(Clone, Debug)]
pub struct StoredFile {
    /// Random id.
    pub id: Uuid,
    /// Where it is.
    pub path: PathBuf,
    /// Who may fetch it: a user name, empty for everyone anonymous.
    pub owner: String,
    /// Extension for URLs.
    pub extension: String,
    /// Name for people, for `Content-Disposition`.
    pub name: String,
    /// Media type.
    pub content_type: String,
    /// Free for the face: for uploads their description and state (JSON).
    pub note: String,
}

/// A piece of long work.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Random id.
    pub id: Uuid,
    /// Which runner.
    pub kind: String,
    /// Who started it.
    pub owner: Principal,
    /// On which service.
    pub service: String,
    /// What was asked (JSON of the face).
    pub request: String,
    /// Where it stands.
    pub status: JobStatus,
    /// What it is doing, and how much of it is done.
    pub phase: String,
    /// Done units, and all units if known.
    pub progress: (u64, Option<u64>),
    /// What came out (JSON of the face), or the error text.
    pub result: String,
    /// When it was asked for.
    pub submitted_at: Timestamp,
    /// When this row last changed.
    pub updated_at: Timestamp,
}

/// Where a job stands. Every job reaches one of the last two, also after a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum JobStatus {
    /// Waits for its turn.
    Pending,
    /// Is being worked on.
    Running,
    /// Is done.
    Completed,
    /// Was given up; the result says why.
    Failed,
}

/// Does the jobs of one kind. Running a job again after a restart must do no harm.
pub trait JobRunner: Send + Sync + Debug {
    /// Does the work; the answer becomes [`Job::result`], an error text likewise.
    fn run(
        &self,
        job: &Job,
        progress: &mut dyn FnMut(&str, u64, Option<u64>),
    ) -> std::result::Result<String, String>;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(referer: Option<&str>) -> Origin<'_> {
        Origin {
            referer,
            address: "127.0.0.1",
        }
    }

    #[test]
    fn a_token_bound_to_a_referer_counts_for_pages_of_that_host() {
        let token = format!(
            "abc{}",
            Binding::Referer("https://Maps.example:8443/app".to_owned()).suffix()
        );
        for (referer, counts) in [
            (Some("https://maps.example:8443/other?x=1"), true),
            (Some("maps.example:8443"), true),
            (Some("https://maps.example/app"), false),
            (Some("https://evil.example/maps.example:8443"), false),
            (Some("http"), false),
            (None, true),
            (Some(""), true),
        ] {
            assert_eq!(
                Binding::allows(&token, from(referer)),
                counts,
                "{referer:?}"
            );
        }
        let python = format!("abc{}", Binding::Referer("http".to_owned()).suffix());
        assert_eq!(Binding::of(&python), Binding::Referer("http".to_owned()));
        assert!(Binding::allows(&python, from(Some("http"))));
    }

    #[test]
    fn a_token_bound_to_an_address_counts_from_there_alone() {
        let here = format!("abc{}", Binding::Address("127.0.0.1".to_owned()).suffix());
        let there = format!("abc{}", Binding::Address("127.0.0.2".to_owned()).suffix());
        assert!(Binding::allows(&here, from(Some("https://any.example"))));
        assert!(!Binding::allows(&there, from(None)));
    }

    #[test]
    fn an_unbound_token_counts_anywhere() {
        assert_eq!(Binding::None.suffix(), "");
        assert!(Binding::allows("abc", from(Some("https://any.example"))));
    }
}
