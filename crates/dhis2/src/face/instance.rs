//! The service that holds everything of this face, and its collections.

use std::ops::ControlFlow;
use std::sync::Arc;

use haversack_model::documents::{DocumentRead, DocumentStore, body_of, key_of};
use haversack_model::{
    Collection, CollectionId, GlobalId, Host, Principal, Right, Service, Timestamp, Versioned,
};
use serde_json::{Map, Value};

use super::call::Call;
use super::memory::Memory;
use super::metadata::TYPES;
use super::problem::{Problem, Result};

/// Name of the service.
pub const INSTANCE: &str = "dhis2";

/// Collections that are no metadata.
const OWN: &[&str] = &[
    "reservedValues",
    "reservedCounters",
    "takenValues",
    "temporaryOwners",
    "trackedEntities",
    "enrollments",
    "events",
    "relationships",
    "trackerJobs",
    "dataValues",
    "completions",
    "dataStore",
    "fileResources",
    "fileContents",
];

/// The service, open, with what the asking principal may do.
#[derive(Debug)]
pub(crate) struct Instance {
    store: Arc<dyn DocumentStore>,
    service: Service,
    rights: Vec<Right>,
    memory: Arc<Memory>,
}

impl Instance {
    /// Opens it for somebody who is logged in and has a right.
    pub(crate) fn open(call: &Call, right: Right) -> Result<Self> {
        call.require_login()?;
        Self::open_as(&call.host, &call.memory, &call.principal, right)
    }
    /// Opens it for a principal, who need not be there any more.
    pub(crate) fn open_as(
        host: &Arc<dyn Host>,
        memory: &Arc<Memory>,
        principal: &Principal,
        right: Right,
    ) -> Result<Self> {
        let access = host.access(principal, INSTANCE).of_all_collections();
        if !access.allows(right) {
            return Err(Problem::forbidden("You are not allowed to do this"));
        }
        let store = match host.documents(INSTANCE) {
            Some(store) => store,
            None => make(host.as_ref(), principal)?,
        };
        let mut service = store.read_documents()?.service()?;
        if names().any(|name| service.collection_named(name).is_none()) {
            service = complete(store.as_ref(), host.now())?;
        }
        Ok(Self {
            store,
            service,
            rights: access.rights,
            memory: Arc::clone(memory),
        })
    }
    /// Whether the asking principal has a right.
    pub(crate) fn allows(&self, right: Right) -> bool {
        self.rights.contains(&right)
    }
    /// What is remembered of it.
    pub(crate) fn memory(&self) -> &Memory {
        &self.memory
    }
    /// Its data.
    pub(crate) fn store(&self) -> &dyn DocumentStore {
        self.store.as_ref()
    }
    /// A collection.
    pub(crate) fn collection(&self, name: &str) -> Result<CollectionId> {
        let found = self.service.collection_named(name);
        found
            .map(|collection| collection.id)
            .ok_or_else(|| Problem::Internal(format!("there is no collection {name}")))
    }
    /// A metadata object.
    pub(crate) fn object(
        &self,
        tx: &dyn DocumentRead,
        collection: &str,
        id: &str,
    ) -> Result<Option<Stored>> {
        let found = tx.record(self.collection(collection)?, &key(id))?;
        found.as_ref().map(Stored::read).transpose()
    }
    /// All objects of a collection in the order of their ids.
    pub(crate) fn each(
        &self,
        tx: &dyn DocumentRead,
        collection: &str,
        visit: impl FnMut(Stored) -> Result<()>,
    ) -> Result<()> {
        self.each_with(tx, collection, "", visit)
    }
    /// All objects whose ids begin with a text, in the order of the ids; reads no others.
    pub(crate) fn each_with(
        &self,
        tx: &dyn DocumentRead,
        collection: &str,
        prefix: &str,
        mut visit: impl FnMut(Stored) -> Result<()>,
    ) -> Result<()> {
        let mut failed = None;
        tx.by_key(
            self.collection(collection)?,
            Some(prefix).filter(|prefix| !prefix.is_empty()),
            &mut |found| match Stored::read(&found).and_then(|found| {
                let is_past = !found.id.starts_with(prefix);
                if is_past {
                    Ok(None)
                } else {
                    visit(found).map(Some)
                }
            }) {
                Ok(None) => Ok(ControlFlow::Break(())),
                Ok(Some(())) => Ok(ControlFlow::Continue(())),
                Err(problem) => {
                    failed = Some(problem);
                    Ok(ControlFlow::Break(()))
                }
            },
        )?;
        failed.map_or(Ok(()), Err)
    }
}

/// A document, read.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    /// Its key.
    pub(crate) id: String,
    /// Its members.
    pub(crate) members: Map<String, Value>,
    /// When it last changed here.
    pub(crate) stamp: Timestamp,
}

impl Stored {
    pub(crate) fn read(found: &Versioned) -> Result<Self> {
        // Only documents are asked for, whose definition does not matter for their body.
        let shape = Collection::documents(CollectionId(0), "", "", false);
        let body = body_of(&shape, &found.record);
        let members = serde_json::from_str(&body).map_err(|error| {
            Problem::Internal(format!("a stored document is no object: {error}"))
        })?;
        Ok(Self {
            id: key_of(&found.record.global_id),
            members,
            stamp: found.track.stamp,
        })
    }
    /// A member that is a text.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.members
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }
}

/// A key as the store knows it.
pub(crate) fn key(id: &str) -> GlobalId {
    GlobalId::Text(id.into())
}

fn names() -> impl Iterator<Item = &'static str> {
    TYPES.iter().chain(OWN).copied()
}

fn make(host: &dyn Host, principal: &Principal) -> Result<Arc<dyn DocumentStore>> {
    if !principal.is_admin {
        return Err(Problem::forbidden(
            "this server holds no DHIS2 instance yet; an administrator makes it with the first request",
        ));
    }
    let mut service = Service::of_documents(INSTANCE);
    for name in names() {
        let collection = service.new_documents(name, false)?;
        service.collections.push(collection);
    }
    let made = host.create_service(&service);
    // Somebody else may have been first.
    match host.documents(INSTANCE) {
        Some(store) => Ok(store),
        None => Err(made.err().map_or_else(
            || Problem::Internal("the instance could not be made".to_owned()),
            Problem::Model,
        )),
    }
}

/// Adds the collections that an older version did not have.
fn complete(store: &dyn DocumentStore, now: Timestamp) -> Result<Service> {
    let mut tx = store.write_documents(now)?;
    let mut service = tx.service()?;
    for name in names() {
        if service.collection_named(name).is_none() {
            let collection = service.new_documents(name, false)?;
            service.collections.push(collection);
        }
    }
    tx.store_service(&service)?;
    tx.commit()?;
    Ok(service)
}
