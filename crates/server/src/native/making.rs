//! A collection that a pull makes: beside the others, until its documents are whole; then it gets its name, in the same transaction.
//!
//! A pull that fails leaves nothing that anybody sees. What has arrived stays where nobody looks, for the next pull to go on with.

use haversack_arangodb::aside;
use haversack_model::copies::Merging;
use haversack_model::documents::{DocumentStore as _, DocumentWrite};
use haversack_model::{Collection, CollectionId, Error, Result, Service};
use haversack_sqlite::SqliteStore;

use super::first_copy;
use crate::{clock, secret};

/// A collection that is being made.
#[derive(Debug)]
pub(super) struct Making {
    pub(super) id: CollectionId,
    name: String,
    /// What it is to be like.
    there: Collection,
}

impl Making {
    /// Begins one in a definition, or goes on with what an earlier pull left.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it cannot have the name.
    pub(super) fn begin(service: &mut Service, name: &str, there: &Collection) -> Result<Self> {
        let edges = there.kind == haversack_model::CollectionKind::Documents { edges: true };
        let found = aside::of(service, name).map(|found| found.id);
        let id = if let Some(id) = found {
            id
        } else {
            // What cannot be its name in the end is refused at the beginning.
            service.new_documents(name, edges)?;
            // Exact in JavaScript.
            let number = secret::random_uuid().as_u64_pair().0 >> 11;
            aside::begin(service, name, edges, number)?
        };
        aside::work_on(service, id, clock::now());
        Ok(Self {
            id,
            name: name.to_owned(),
            there: there.clone(),
        })
    }

    fn finish(&self, tx: &mut dyn DocumentWrite) -> Result<()> {
        let mut service = tx.service()?;
        let is_taken = |c: &Collection| c.name == self.name && c.id != self.id;
        if service.collections.iter().any(is_taken) {
            return Err(Error::Invalid {
                what: self.name.clone(),
                problem: "another collection was given this name meanwhile".to_owned(),
            });
        }
        let made = service.collections.iter_mut().find(|c| c.id == self.id);
        let Some(made) = made.filter(|made| aside::is_unfinished(made)) else {
            return Ok(());
        };
        if self.there.is_documents() {
            made.kind = self.there.kind;
            made.indexes.clone_from(&self.there.indexes);
            made.properties.clone_from(&self.there.properties);
        }
        aside::finish(made, &self.name);
        service.schema_version += 1;
        tx.store_service(&service)
    }

    /// After all went well: it has its name, also where there was nothing to merge.
    pub(super) fn end(&self, store: &SqliteStore) -> Result<()> {
        let mut tx = store.write_documents(clock::now())?;
        self.finish(tx.as_mut())?;
        tx.commit()?;
        Ok(())
    }

    /// After a failure: removes it, unless something arrived with which the next pull goes on.
    pub(super) fn give_up(&self, store: &SqliteStore, goes_on: bool) -> Result<()> {
        let arrived =
            store.read_documents()?.staged(self.id)? > 0 || first_copy::is_begun(store, self.id);
        if goes_on && arrived {
            return Ok(());
        }
        first_copy::forget(store, self.id);
        aside::remove(store, self.id, clock::now())
    }
}

impl Merging for Making {
    fn before(&mut self, _tx: &mut dyn DocumentWrite) -> Result<()> {
        Ok(())
    }
    fn after(&mut self, tx: &mut dyn DocumentWrite) -> Result<()> {
        self.finish(tx)
    }
}
