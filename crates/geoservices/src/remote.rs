//! The client of a feature service with Sync: check out, upload, download, release.
//!
//! Blocking. Nothing that a server says is trusted: answers are limited in size and time, redirects are not followed,
//! tokens go to the server's own origin only, documents are read completely before the first row of them is stored.
//!
//! **Conflicts.** The dialect has neither versions nor conflicts: the last sync wins, silently. So before an upload this
//! client asks what changed since the replica's cursor, merges by field here, and sends only what does not clash (or, under
//! the policy `client`, all of it). What clashed becomes a conflict of the replica, with base, mine and theirs. Two things
//! remain that the dialect cannot give: a change that reaches the server between that question and the upload is
//! overwritten field by field, and a record that the server deleted cannot be brought back from a partial edit, so
//! there the deletion stands and mine is kept in the conflict. A server that names no result for an edit of an upload
//! that succeeded as a whole is taken at its word.
//!
//! **Repeats.** A lost answer is repeated with the same generation; what took effect the first time then equals mine
//! and is not sent again. Source: `spec/geoservices.md` 6.

mod blobs;
mod checkout;
mod document;
mod http;
mod job;
mod login;
mod merge;
mod pull;
mod push;
mod request;

use haversack_model::local::{FrozenBatch, ReplicaHeader};
use haversack_model::remote::{BatchReply, Page, Remote, Renewed};
use haversack_model::{BlobHash, CollectionId, GlobalId, ReplicaId, Service};
use reqwest::Url;
use serde_json::{Map, Value as Json};

pub use checkout::Checkout;
pub use http::{Credentials, Options};
pub use request::CheckoutRequest;

use crate::wire::json::member;
use crate::wire::metadata::{SyncCapabilities, layer_ids, read_service};
use crate::{Error, Result};
use blobs::Blobs;
use http::Http;
use pull::Staged;

/// What [`ReplicaHeader::protocol`] says of a replica of this dialect.
pub const PROTOCOL: &str = "geoservices";

/// A feature service elsewhere.
#[derive(Debug)]
pub struct GeoServicesRemote {
    http: Http,
    service: Service,
    capabilities: SyncCapabilities,
    blobs: Blobs,
    /// A download of which pages are still to be given.
    staged: Option<Staged>,
}

/// A replica in a server's list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedReplica {
    /// Its name.
    pub name: String,
    /// Its id as the server writes it.
    pub id: String,
}

impl GeoServicesRemote {
    /// Connects to `.../FeatureServer`: logs in and reads what the service holds.
    ///
    /// # Errors
    /// [`Error::Parameter`] for an address or certificate that does not do; [`Error::Refused`] for wrong credentials;
    /// [`Error::Document`] if it is no feature service, or has a layer that cannot be synchronised.
    pub fn connect(url: &str, credentials: Credentials, options: Options) -> Result<Self> {
        let mut http = Http::new(url, credentials, options)?;
        let root = http.ask("", &[])?;
        let mut layers = Vec::new();
        for id in layer_ids(&root)? {
            layers.push(http.ask(&id.to_string(), &[])?);
        }
        let service = read_service(&service_name(http.base()), &root, &layers)?;
        Ok(Self {
            http,
            capabilities: SyncCapabilities::read(&root),
            service,
            blobs: Blobs::new()?,
            staged: None,
        })
    }

    /// What the service holds.
    pub fn service(&self) -> &Service {
        &self.service
    }
    /// Its address, without a slash at the end.
    pub fn url(&self) -> &str {
        self.http.base().as_str()
    }

    /// The replicas that the server shows to this user.
    pub fn replicas(&mut self) -> Result<Vec<ListedReplica>> {
        let listed = match self.http.ask_any("replicas", &[])? {
            Json::Array(listed) => listed,
            // Some stacks wrap the list.
            Json::Object(members) => match member(&members, "replicas") {
                Some(Json::Array(listed)) => listed.clone(),
                _ => return Err(Error::document("the list of replicas", "is no list")),
            },
            _ => return Err(Error::document("the list of replicas", "is no list")),
        };
        let text = |entry: &Map<String, Json>, name: &str| {
            let value = member(entry, name).and_then(Json::as_str);
            value.unwrap_or_default().to_owned()
        };
        let entries = listed.iter().filter_map(Json::as_object);
        Ok(entries
            .map(|entry| ListedReplica {
                name: text(entry, "replicaName"),
                id: text(entry, "replicaID"),
            })
            .collect())
    }

    /// Unregisters a replica. One that the server does not know any more is released already.
    pub fn unregister(&mut self, id: ReplicaId) -> Result<()> {
        let id_text = id.to_string().to_uppercase();
        match self
            .http
            .ask("unRegisterReplica", &[("replicaID", &id_text)])
        {
            Ok(answer) => match member(&answer, "success").and_then(Json::as_bool) {
                Some(false) => Err(Error::Refused {
                    code: 0,
                    message: "the replica was not unregistered".to_owned(),
                }),
                _ => Ok(()),
            },
            Err(error @ Error::Refused { .. }) if self.knows(id)? => Err(error),
            Err(Error::Refused { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Whether the server has a replica of this id that this user may see.
    fn knows(&mut self, id: ReplicaId) -> Result<bool> {
        let path = format!("replicas/{}", id.to_string().to_uppercase());
        match self.http.ask(&path, &[]) {
            // Credentials that were refused say nothing of the replica.
            Ok(_)
            | Err(Error::Refused {
                code: 401 | 403 | 498 | 499,
                ..
            }) => Ok(true),
            Err(Error::Refused { .. } | Error::Status { status: 404 }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// What a refusal of a replica's request means to the replica.
    fn refusal(&mut self, header: &ReplicaHeader, error: Error) -> haversack_model::Error {
        let Error::Refused { code, message } = &error else {
            return error.into();
        };
        if matches!(code, 401 | 403 | 498 | 499) {
            return error.into();
        }
        match self.knows(header.id) {
            Ok(false) => haversack_model::Error::NoReplica(header.id),
            Ok(true) if message.to_ascii_lowercase().contains("generation") => {
                haversack_model::Error::Resync {
                    asked: header.cursor.generation,
                    reason: "the server does not keep changes from there on any more",
                }
            }
            _ => error.into(),
        }
    }
}

/// The name in an address such as `.../services/Parks/FeatureServer`.
fn service_name(url: &Url) -> String {
    let segments: Vec<&str> = url.path().split('/').filter(|s| !s.is_empty()).collect();
    let at = segments
        .iter()
        .position(|s| s.eq_ignore_ascii_case("FeatureServer"));
    let name = at
        .and_then(|at| at.checked_sub(1))
        .and_then(|at| segments.get(at));
    let name = name.copied().unwrap_or("service");
    name.chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '_' || c == '-' {
                c
            } else {
                '_'
            }
        })
        .collect()
}

impl Remote for GeoServicesRemote {
    fn push(
        &mut self,
        header: &ReplicaHeader,
        batch: &FrozenBatch,
    ) -> haversack_model::Result<BatchReply> {
        match push::push(self, header, batch) {
            Ok(reply) => Ok(reply),
            Err(error) => Err(self.refusal(header, error)),
        }
    }
    fn pull(&mut self, header: &ReplicaHeader) -> haversack_model::Result<Page> {
        match pull::page(self, header) {
            Ok(page) => Ok(page),
            Err(error) => Err(self.refusal(header, error)),
        }
    }
    fn push_blob(
        &mut self,
        _: &ReplicaHeader,
        hash: BlobHash,
        content: &[u8],
    ) -> haversack_model::Result<()> {
        let uploads = self.service.has_capability("Uploads");
        Ok(self.blobs.send(&mut self.http, uploads, hash, content)?)
    }
    fn pull_blob(
        &mut self,
        _: &ReplicaHeader,
        collection: CollectionId,
        attachment: &GlobalId,
        hash: BlobHash,
    ) -> haversack_model::Result<Vec<u8>> {
        match self.blobs.take(hash)? {
            Some(content) => Ok(content),
            // Downloads fetch content as they name it, so only a page of an earlier process gets here.
            None => Err(haversack_model::Error::Refused {
                code: 404,
                message: format!(
                    "the content of attachment {attachment} of {collection} is not at hand"
                ),
            }),
        }
    }
    fn renew(&mut self, header: &ReplicaHeader) -> haversack_model::Result<Renewed> {
        self.staged = None;
        Ok(checkout::renew(self, header)?)
    }
    fn release(&mut self, header: &ReplicaHeader) -> haversack_model::Result<()> {
        Ok(self.unregister(header.id)?)
    }
}

#[cfg(test)]
mod tests;
