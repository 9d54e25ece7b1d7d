//! The users, for faces that manage them.

use haversack_model::host::Users;
use haversack_model::{CollectionId, Error, Level, Principal, Result, Right};

use crate::clock;
use crate::grants::Grant;
use crate::state::{Server, model_error};

impl Users for Server {
    fn list(&self) -> Result<Vec<Principal>> {
        let accounts = self.accounts.list().map_err(refused)?;
        let principals = accounts.into_iter().map(|account| Principal {
            name: account.name,
            is_admin: account.is_admin,
        });
        Ok(principals.collect())
    }
    fn add(&self, name: &str, password: &str) -> Result<()> {
        let added = self.accounts.add(name, password, false, clock::now());
        added.map_err(refused)
    }
    fn set_password(&self, name: &str, password: &str) -> Result<()> {
        self.accounts.set_password(name, password).map_err(refused)
    }
    fn remove(&self, name: &str) -> Result<()> {
        self.accounts.remove(name).map_err(refused)
    }
    fn grant(&self, user: &str, service: &str, rights: &[Right]) -> Result<()> {
        let grant = Grant {
            principal: user.to_owned(),
            service: service.to_owned(),
            rights: rights.to_vec(),
            filters: Vec::new(),
        };
        Self::grant(self, &grant).map_err(refused)
    }
    fn revoke(&self, user: &str, service: &str) -> Result<bool> {
        let service = self.canonical(service);
        self.grants.remove(user, &service).map_err(refused)
    }
    fn granted(&self, user: &str, service: &str) -> Result<Option<Vec<Right>>> {
        let found = self.grants.of(user, &self.canonical(service));
        Ok(found.map_err(refused)?.map(|grant| grant.rights))
    }
    fn levels(&self, user: &str, service: &str) -> Result<Vec<(Option<CollectionId>, Level)>> {
        let found = self.grants.levels(user, &self.canonical(service));
        found.map_err(refused)
    }
    fn grant_collection(
        &self,
        user: &str,
        service: &str,
        collection: Option<CollectionId>,
        level: Level,
    ) -> Result<()> {
        if !self.accounts.exists(user).map_err(refused)? {
            let name = user.to_owned();
            return Err(refused(crate::Error::Missing { what: "user", name }));
        }
        let service = self.canonical(service);
        let set = self.grants.set_level(user, &service, collection, level);
        set.map_err(refused)
    }
    fn revoke_collection(
        &self,
        user: &str,
        service: &str,
        collection: Option<CollectionId>,
    ) -> Result<bool> {
        let service = self.canonical(service);
        let removed = self.grants.remove_level(user, &service, collection);
        removed.map_err(refused)
    }
    fn forget_collection(&self, service: &str, collection: CollectionId) -> Result<()> {
        let service = self.canonical(service);
        let forgotten = self.grants.forget_collection(&service, collection);
        forgotten.map_err(refused)
    }
}

impl Server {
    /// The name of a service as it is written where grants are kept.
    fn canonical(&self, service: &str) -> String {
        let known = self.services.canonical(service);
        known.unwrap_or_else(|| service.to_owned())
    }
}

/// What was wrong with a name or password is told; anything else is a failure of the server.
fn refused(error: crate::error::Error) -> Error {
    use crate::error::Error as E;
    match error {
        E::Missing { .. } | E::Exists { .. } => Error::Invalid {
            what: "user or service".to_owned(),
            problem: error.to_string(),
        },
        other => model_error(other),
    }
}
