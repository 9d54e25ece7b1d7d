//! The document database of the sample: `test` in `_system`, some hundred readings of a weather station's sensors.

use std::sync::Arc;

use haversack_model::documents::{DocumentStore as _, document};
use haversack_model::{Host as _, Service};
use serde_json::json;

use super::chance::Chance;
use crate::error::{Error, Result};
use crate::{Server, clock, secret};

/// Where clients look when no database is named.
const DATABASE: &str = "_system";
const COLLECTION: &str = "test";
/// How many documents.
const READINGS: u32 = 400;
const SEED: u64 = 0x7e57;

/// Makes the collection if it is not there, whole or not at all.
pub(super) fn publish(server: &Arc<Server>) -> Result<()> {
    if server.services.store(DATABASE).is_none() {
        server.create_service(&Service::of_documents(DATABASE), |_empty| Ok(()))?;
    }
    let store = server
        .services
        .store(DATABASE)
        .ok_or_else(|| Error::invalid("the sample's database", "it was removed"))?;
    let mut tx = store.write_documents(clock::now())?;
    let mut service = tx.service()?;
    if service.collection_named(COLLECTION).is_some() {
        return Ok(());
    }
    let mut collection = service.new_documents(COLLECTION, false)?;
    let id = collection.id;
    // Exact in JavaScript.
    let number = secret::random_uuid().as_u64_pair().0 >> 11;
    haversack_arangodb::identify(&mut collection, server.server_id(), number);
    service.collections.push(collection);
    tx.store_service(&service)?;
    let mut chance = Chance::new(SEED);
    for number in 1..=READINGS {
        let reading = json!({
            "number": number,
            "station": chance.pick(&["Alcatraz", "Bolinas", "Crescent City", "Drakes Bay"]),
            "temperature": chance.number(-5.0, 35.0, 1),
            "wind": {"speed": chance.number(0.0, 25.0, 1), "from": chance.whole(0, 359)},
            "tags": if chance.whole(0, 3) == 0 { json!(["checked"]) } else { json!([]) },
        });
        tx.put(
            id,
            &document(&format!("reading-{number:03}"), reading.to_string()),
            None,
        )?;
    }
    tx.seal()?;
    tx.commit()?;
    Ok(())
}
