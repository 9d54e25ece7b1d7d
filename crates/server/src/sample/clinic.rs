//! The DHIS2 instance of the sample: a country with two clinics, and some hundred people who come to them.

use std::sync::Arc;

use haversack_dhis2::face::{self, INSTANCE};
use haversack_model::documents::DocumentStore as _;
use haversack_model::{Host, Principal};
use serde_json::{Value, json};

use crate::Server;
use crate::accounts::OPERATOR;
use crate::error::{Error, Result};

/// How many people.
const PEOPLE: u32 = 300;
const METADATA: &str = include_str!("../../../dhis2/samples/metadata.json");
#[rustfmt::skip]
const NAMES: [&str; 12] = ["Ada", "Amara", "Bola", "Chidi", "Emeka", "Fatu", "Ishmael", "Kadie", "Mariama", "Musa", "Sia", "Tamba"];

/// Loads what is not there: never into an instance that somebody fills themselves.
pub(super) fn publish(server: &Arc<Server>) -> Result<()> {
    if let Some(store) = server.services.store(INSTANCE) {
        let tx = store.read_documents()?;
        let service = tx.service()?;
        let count = |name: &str| {
            service
                .collection_named(name)
                .map_or(Ok(0), |found| tx.count(found.id))
        };
        // One that was interrupted has our organisation units and nobody in them.
        let is_ours = service
            .collection_named("organisationUnits")
            .map(|units| {
                tx.record(
                    units.id,
                    &haversack_model::GlobalId::Text("hvOuRoot001".into()),
                )
            })
            .transpose()?
            .flatten()
            .is_some();
        if count("trackedEntities")? > 0 || (count("organisationUnits")? > 0 && !is_ours) {
            return Ok(());
        }
    }
    let host: Arc<dyn Host> = Arc::clone(server) as Arc<dyn Host>;
    let operator = Principal {
        name: OPERATOR.to_owned(),
        is_admin: true,
    };
    let people = json!({"trackedEntities": (1..=PEOPLE).map(person).collect::<Vec<Value>>()});
    for (path, query, body) in [
        ("/api/metadata", "", METADATA.to_owned()),
        ("/api/tracker", "async=false", people.to_string()),
    ] {
        face::post(&host, &operator, path, query, body)
            .map_err(|refusal| Error::invalid("the sample of DHIS2", refusal))?;
    }
    Ok(())
}

/// The n-th of them: enrolled once, with one to three visits, in 2024.
fn person(n: u32) -> Value {
    let unit = if n.is_multiple_of(3) {
        "hvOuFacil02"
    } else {
        "hvOuFacil01"
    };
    let day = |offset: u32| {
        format!(
            "2024-{:02}-{:02}",
            1 + (n + offset) % 12,
            1 + (n * 7 + offset) % 28
        )
    };
    let visits: Vec<Value> = (0..=n % 3)
        .map(|visit| {
            json!({"event": format!("hvEv{n:05}{visit:02}"), "programStage": "hvStage0001", "orgUnit": unit, "status": "COMPLETED",
                "occurredAt": day(visit), "completedAt": day(visit),
                "dataValues": [{"dataElement": "hvDeWeight1", "value": format!("{}.{}", 40 + n % 50, visit)}]})
        })
        .collect();
    let (east, north) = (f64::from(n % 20) / 100.0, f64::from(n / 20) / 100.0);
    json!({
        "trackedEntity": format!("hvTe{n:07}"), "trackedEntityType": "hvTeType001", "orgUnit": unit,
        "geometry": {"type": "Point", "coordinates": [-11.8 + east, 8.2 + north]},
        "enrollments": [{
            "enrollment": format!("hvEn{n:07}"), "program": "hvProgram01", "orgUnit": unit, "enrolledAt": day(0), "occurredAt": day(0),
            "attributes": [
                {"attribute": "hvAttrName1", "value": format!("{} {n}", NAMES[n as usize % NAMES.len()])},
                {"attribute": "hvAttrAge01", "value": (n % 90).to_string()}
            ],
            "events": visits
        }]
    })
}
