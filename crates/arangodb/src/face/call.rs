//! One request, as the operations see it: who asks, for what, of which database.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use haversack_model::documents::DocumentStore;
use haversack_model::{Access, Collection, Filter, Host, Level, Principal, Right, Service};
use http::{HeaderMap, Method};

use super::Face;
use super::problem::{Problem, Result};
use super::route::{Route, SYSTEM};
use crate::known;
use crate::wire::errors::ErrorNum;

/// A request after routing and login.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) face: Arc<Face>,
    /// Who asks.
    pub(crate) principal: Principal,
    /// Where it goes.
    pub(crate) route: Route,
    /// Its method.
    pub(crate) method: Method,
    /// Its query.
    pub(crate) query: BTreeMap<String, String>,
    /// Its headers.
    pub(crate) headers: HeaderMap,
    /// Its body.
    pub(crate) body: Bytes,
    /// Address of the client, for limits.
    pub(crate) address: String,
}

/// A database that a request works on.
#[derive(Clone, Debug)]
pub(crate) struct Opened {
    /// Its name.
    pub(crate) name: String,
    /// Its data.
    pub(crate) store: Arc<dyn DocumentStore>,
    /// What the asking principal may do with it.
    pub(crate) access: Access,
}

impl Call {
    /// The server.
    pub(crate) fn host(&self) -> &dyn Host {
        self.face.host.as_ref()
    }
    /// Refuses who is nobody.
    pub(crate) fn require_login(&self) -> Result<()> {
        if self.principal.is_anonymous() {
            return Err(Problem::Unauthorized);
        }
        Ok(())
    }
    /// Refuses who does not administer the server.
    pub(crate) fn require_admin(&self) -> Result<()> {
        self.require_login()?;
        if self.principal.is_admin {
            return Ok(());
        }
        Err(Problem::of(ErrorNum::Forbidden))
    }
    /// Refuses what only the system database does.
    pub(crate) fn require_system(&self) -> Result<()> {
        if self.route.database == SYSTEM {
            return Ok(());
        }
        Err(Problem::of(ErrorNum::OnlyInSystem))
    }
    /// Opens the database for something that needs a right.
    ///
    /// Who has no right at all is told the same of databases that exist and that do not.
    pub(crate) fn open(&self, right: Right) -> Result<Opened> {
        let name = &self.route.database;
        let access = self.host().access(&self.principal, name);
        if !access.allows(right) {
            self.require_login()?;
            return Err(Problem::of(ErrorNum::Forbidden));
        }
        let store = match self.host().documents(name) {
            Some(store) => store,
            None if name == SYSTEM => self.make_system()?,
            None => return Err(Problem::of(ErrorNum::DatabaseNotFound)),
        };
        Ok(Opened {
            name: name.clone(),
            store,
            access,
        })
    }
    /// Opens the database for something that changes documents; of which collection is asked when that is found.
    pub(crate) fn open_to_edit(&self) -> Result<Opened> {
        let access = self.host().access(&self.principal, &self.route.database);
        let edits_some = access
            .levels
            .iter()
            .any(|(_, level)| *level == Level::Write);
        self.open(if edits_some { Right::Read } else { Right::Edit })
    }
    /// The system database is there for whoever may see it; its file is made when it is first asked for.
    fn make_system(&self) -> Result<Arc<dyn DocumentStore>> {
        let made = self.host().create_service(&Service::of_documents(SYSTEM));
        // Somebody else may have been first.
        match self.host().documents(SYSTEM) {
            Some(store) => Ok(store),
            None => Err(made.err().map_or_else(
                || Problem::Internal("the system database could not be made".to_owned()),
                Problem::Model,
            )),
        }
    }
}

impl Opened {
    /// A collection by its name, number or global id. One of which not every row may be seen is not there.
    pub(crate) fn find<'a>(&self, service: &'a Service, text: &str) -> Result<&'a Collection> {
        let found = known::find(service, text);
        let found = found.ok_or_else(|| Problem::of(ErrorNum::CollectionNotFound))?;
        if self.may_see(found) {
            return Ok(found);
        }
        if self.access.level(found.id) == Some(Level::None) {
            return Err(Problem::of(ErrorNum::Forbidden));
        }
        Err(Problem::told(
            ErrorNum::Forbidden,
            "this collection has a row filter for you, which this protocol cannot keep",
        ))
    }
    /// The collections that may be seen.
    pub(crate) fn visible<'a>(
        &'a self,
        service: &'a Service,
    ) -> impl Iterator<Item = &'a Collection> {
        known::all(service).filter(|collection| self.may_see(collection))
    }
    /// Whether all rows of a collection may be seen.
    fn may_see(&self, collection: &Collection) -> bool {
        self.access.filter(collection.id) == Filter::All
    }
    /// The same for something that changes documents in it.
    pub(crate) fn find_writable<'a>(
        &self,
        service: &'a Service,
        text: &str,
    ) -> Result<&'a Collection> {
        let found = self.find(service, text)?;
        Self::allowed(self.access.may_edit(found.id), found)
    }
    /// The same for something that changes what it is.
    pub(crate) fn find_alterable<'a>(
        &self,
        service: &'a Service,
        text: &str,
    ) -> Result<&'a Collection> {
        let found = self.find(service, text)?;
        Self::allowed(self.access.may_alter(found.id), found)
    }
    fn allowed(is_granted: bool, found: &Collection) -> Result<&Collection> {
        if !is_granted {
            return Err(Problem::told(
                ErrorNum::Forbidden,
                "your grant lets you read this collection and not change it",
            ));
        }
        if found.is_documents() {
            return Ok(found);
        }
        Err(Problem::told(
            ErrorNum::ReadOnly,
            "this collection is a layer or table: it is read-only for this protocol",
        ))
    }
}
