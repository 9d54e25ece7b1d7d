//! The collection that a pull makes equal: found, or begun.

use std::sync::Arc;

use haversack_model::{Collection, CollectionId, Service, Store as _};
use haversack_sqlite::SqliteStore;

use super::making::Making;
use super::pull::missing;
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
    /// Whether its service was.
    pub(super) made_service: bool,
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
        made_service: false,
    }))
}

/// The collection here; one that is not there is begun.
pub(super) fn here(
    server: &Server,
    service: &str,
    name: &str,
    dry_run: bool,
    there: &Collection,
) -> Result<Here> {
    let known = server.services.store(service);
    let made_service = known.is_none();
    let store = match known {
        Some(store) => store,
        None if dry_run => return Err(missing("service", service)),
        None => server
            .services
            .create(&Service::of_documents(service), |_store| Ok(()))?,
    };
    let begun = begun(&store, name, dry_run, there);
    let (id, making) = match begun {
        Ok(found) => found,
        Err(error) => {
            if made_service {
                remove_empty(server, service)?;
            }
            return Err(error);
        }
    };
    Ok(Here {
        service: service.to_owned(),
        name: name.to_owned(),
        store,
        id,
        making,
        made_service,
    })
}

/// Removes a service that was made for a copy that failed, unless somebody has put something into it.
pub(super) fn remove_empty(server: &Server, service: &str) -> Result<()> {
    if let Some(store) = server.services.store(service)
        && store.begin_read()?.service()?.collections.is_empty()
    {
        server.services.remove(service)?;
    }
    Ok(())
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
