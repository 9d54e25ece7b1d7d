//! One request, as the operations see it: who asks, for what, from where, and what the server offers.

use std::fmt::Write as _;
use std::sync::Arc;

use haversack_model::host::Binding;
use haversack_model::{
    Access, Collection, CollectionId, Host, Principal, Right, Service, Store, Timestamp,
};
use http::Method;
use uuid::Uuid;

use super::body::FilePart;
use super::problem::{Problem, Result};
use crate::wire::params::Params;

/// A request after routing, parsing and login.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// The server.
    pub(crate) host: Arc<dyn Host>,
    /// Who asks.
    pub(crate) principal: Principal,
    /// What is asked.
    pub(crate) params: Params,
    /// Files that came with it.
    pub(crate) files: Vec<FilePart>,
    /// Method; only few operations look at it.
    pub(crate) method: Method,
    /// Absolute URL of the face's root, without a slash at the end.
    pub(crate) base: String,
    /// Address of the client, for limits.
    pub(crate) address: String,
    /// What the token of this request is bound to: what is made of it is bound likewise.
    pub(crate) binding: Binding,
    /// Set in a job: the id of what the operation makes, the same in every run of the job.
    pub(crate) job: Option<Uuid>,
}

/// A service that a request works on.
#[derive(Clone, Debug)]
pub(crate) struct Opened {
    /// Its name.
    pub(crate) name: String,
    /// Its data.
    pub(crate) store: Arc<dyn Store>,
    /// What the asking principal may do with it.
    pub(crate) access: Access,
    /// Its definition when it was opened.
    pub(crate) service: Service,
    /// The time of the request: what `CURRENT_TIMESTAMP` stands for.
    pub(crate) now: Timestamp,
}

impl Call {
    /// Opens a service for something that needs a right.
    pub(crate) fn open(&self, name: &str, right: Right) -> Result<Opened> {
        let store = self
            .host
            .service(name)
            .ok_or_else(|| Problem::NotFound(format!("service '{name}'")))?;
        let access = self.host.access(&self.principal, name);
        self.require(&access, right)?;
        let mut service = store.begin_read()?.service()?;
        service.collections.retain(|c| !c.is_documents());
        Ok(Opened {
            name: name.to_owned(),
            store,
            access,
            service,
            now: self.now(),
        })
    }
    /// Refuses who lacks a right: credentials are asked for first.
    pub(crate) fn require(&self, access: &Access, right: Right) -> Result<()> {
        if access.allows(right) {
            return Ok(());
        }
        if self.principal.is_anonymous() {
            return Err(Problem::TokenRequired);
        }
        let what = match right {
            Right::Read => "read this service",
            Right::Edit => "edit this service",
            Right::Sync => "synchronise this service",
            Right::Extract => "extract from this service",
            Right::Publish => "publish to this service",
            Right::Admin => "administer this service",
        };
        Err(Problem::Forbidden(what.to_owned()))
    }
    /// The file sent under a name; a single file counts whatever its name.
    pub(crate) fn file(&self, name: &str) -> Option<&FilePart> {
        let named = self
            .files
            .iter()
            .find(|f| f.field.eq_ignore_ascii_case(name));
        named.or_else(|| (self.files.len() == 1).then(|| &self.files[0]))
    }
    /// The id of what this operation makes: fixed in a job, fresh otherwise.
    pub(crate) fn fixed_id(&self) -> Uuid {
        self.job.unwrap_or_else(|| self.host.fresh_uuid())
    }
    /// Wall-clock time.
    pub(crate) fn now(&self) -> Timestamp {
        self.host.now()
    }
    /// URL of a service's root.
    pub(crate) fn service_url(&self, name: &str) -> String {
        format!(
            "{}/rest/services/{}/FeatureServer",
            self.base,
            encode_segment(name)
        )
    }
}

impl Opened {
    /// A layer or table by its number.
    pub(crate) fn collection(&self, id: CollectionId) -> Result<&Collection> {
        self.service
            .collection(id)
            .ok_or_else(|| Problem::NotFound(format!("layer {id}")))
    }
    /// Refuses what the service does not advertise.
    pub(crate) fn offers(&self, word: &str) -> Result<()> {
        let editing = ["Create", "Update", "Delete"]
            .iter()
            .any(|w| w.eq_ignore_ascii_case(word))
            && self.service.has_capability("Editing");
        if editing || self.service.has_capability(word) {
            return Ok(());
        }
        Err(Problem::NotOffered(format!("the capability {word}")))
    }
}

/// A text as one segment of a URL.
pub(crate) fn encode_segment(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}
