//! Collections that are being made: beside the others, under a name that nobody sees, until their content is whole.
//!
//! The content and the name that is wanted come in one transaction, so that nobody ever sees an empty or half a collection. What is
//! left of work that was killed is found again by the wanted name.

use haversack_model::documents::DocumentStore;
use haversack_model::{Collection, CollectionId, Error, Result, Service, Timestamp};
use serde_json::Value;

use crate::known::{UNFINISHED, WORKED_ON};

/// Whether a collection is being made.
pub fn is_unfinished(collection: &Collection) -> bool {
    collection.properties.contains_key(UNFINISHED)
}

/// The collection that is being made to have a name.
pub fn of<'a>(service: &'a Service, name: &str) -> Option<&'a Collection> {
    service.collections.iter().find(|collection| {
        let of = collection
            .properties
            .get(UNFINISHED)
            .and_then(Value::as_str);
        of == Some(name)
    })
}

/// Adds a collection that is to have a name, to a definition. `number` is one that nothing else has.
///
/// # Errors
/// [`Error::Invalid`] for a name that cannot be.
pub fn begin(service: &mut Service, name: &str, edges: bool, number: u64) -> Result<CollectionId> {
    let mut made = service.new_documents(&format!("_unfinished_{number}"), edges)?;
    if let Ok(wanted) = service.new_documents(name, edges) {
        // Its table is called as it will be.
        made.table = wanted.table;
    }
    made.properties
        .insert(UNFINISHED.to_owned(), Value::from(name));
    let id = made.id;
    service.collections.push(made);
    Ok(id)
}

/// Notes that it is worked on, if it is being made.
pub fn work_on(service: &mut Service, id: CollectionId, now: Timestamp) {
    let found = service.collections.iter_mut().find(|c| c.id == id);
    if let Some(found) = found.filter(|found| is_unfinished(found)) {
        let at = Value::from(now.0);
        found.properties.insert(WORKED_ON.to_owned(), at);
        service.schema_version += 1;
    }
}

/// Gives it its name: from now on it is a collection as any other.
pub fn finish(collection: &mut Collection, name: &str) {
    name.clone_into(&mut collection.name);
    collection.properties.remove(UNFINISHED);
    collection.properties.remove(WORKED_ON);
}

/// Removes it and what was staged for it, unless it is finished.
///
/// # Errors
/// The store's.
pub fn remove(store: &dyn DocumentStore, id: CollectionId, now: Timestamp) -> Result<()> {
    let mut tx = store.write_documents(now)?;
    let mut service = tx.service()?;
    let found = service.collection(id).ok_or(Error::NoCollection(id))?;
    if !is_unfinished(found) {
        return Ok(());
    }
    tx.clear_stage(id)?;
    service.collections.retain(|collection| collection.id != id);
    service.schema_version += 1;
    tx.store_service(&service)?;
    tx.commit()?;
    Ok(())
}
