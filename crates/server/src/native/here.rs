//! The collection that a pull makes equal: found, or begun.

use std::sync::Arc;

use haversack_model::{Collection, CollectionId, Service, Store as _};
use haversack_sqlite::SqliteStore;

use super::making::Making;
use super::pull::missing;
use super::visits::Visit;
use crate::error::Result;
use crate::{Server, clock};

/// The collection here.
pub(super) struct Here {
    pub(super) service: String,
    pub(super) name: String,
    pub(super) store: Arc<SqliteStore>,
    pub(super) id: CollectionId,
    /// If it is made for this.
    pub(super) making: Option<Making>,
}

/// A collection here that was a copy of another server's before.
pub(super) fn known(server: &Server, service: &str, name: &str) -> Result<Option<Here>> {
    let Some(store) = server.services.store(service) else {
        return Ok(None);
    };
    let definition = store.begin_read()?.service()?;
    let found = definition
        .collection_named(name)
        .filter(|c| c.is_documents());
    let Some(id) = found.map(|found| found.id) else {
        return Ok(None);
    };
    let is_copy = store.is_copy(id)?;
    Ok(is_copy.then(|| Here {
        service: service.to_owned(),
        name: name.to_owned(),
        store,
        id,
        making: None,
    }))
}

/// The collection here; one that is not there is begun.
pub(super) fn here(
    server: &Server,
    visit: &Visit<'_>,
    (service, name): (&str, &str),
    dry_run: bool,
    there: &Collection,
) -> Result<Here> {
    let store = match server.services.store(service) {
        Some(store) => store,
        None if dry_run => return Err(missing("service", service)),
        None => made(server, visit, service)?,
    };
    let (id, making) = begun(&store, name, dry_run, there)?;
    Ok(Here {
        service: service.to_owned(),
        name: name.to_owned(),
        store,
        id,
        making,
    })
}

/// Makes a service for a copy; another pull may be quicker.
pub(super) fn made(server: &Server, visit: &Visit<'_>, service: &str) -> Result<Arc<SqliteStore>> {
    let created = server
        .services
        .create(&Service::of_documents(service), |_store| Ok(()));
    match created {
        Ok(store) => {
            visit.made();
            Ok(store)
        }
        Err(error) => server.services.store(service).ok_or(error),
    }
}

fn begun(
    store: &SqliteStore,
    name: &str,
    dry_run: bool,
    there: &Collection,
) -> Result<(CollectionId, Option<Making>)> {
    let mut tx = store.begin_write(clock::now())?;
    let mut definition = tx.service()?;
    if let Some(found) = definition.collection_named(name) {
        return Ok((found.id, None));
    }
    if dry_run {
        return Err(missing("collection", name));
    }
    let making = Making::begin(&mut definition, name, there)?;
    tx.store_service(&definition)?;
    tx.commit()?;
    Ok((making.id, Some(making)))
}
