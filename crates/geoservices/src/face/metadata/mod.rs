//! What clients read before they query: the catalogue, the service, its layers and tables.
//!
//! The key set is kept stable: clients break on surprises. What is not there is not advertised.
//! Source: `spec/geoservices.md` 1, 3 and 4.

pub(crate) mod extent;
pub(crate) mod layer;
pub(crate) mod service;

use haversack_model::Right;
use serde_json::{Value, json};

use super::answer::Answer;
use super::call::Call;
use super::portal::VERSION;
use super::problem::Result;

/// `/rest/services`: the services that the asking principal may read.
pub(crate) fn catalogue(call: &Call) -> Result<Answer> {
    let mut names = listed(call)?;
    names.sort();
    let services: Vec<Value> = names
        .iter()
        .map(|name| json!({"name": name, "type": "FeatureServer", "url": call.service_url(name)}))
        .collect();
    Ok(Answer::Json(
        json!({"currentVersion": VERSION, "folders": [], "services": services}),
    ))
}

/// The services that the asking principal may read and that have something for feature clients: not databases of documents.
pub(crate) fn listed(call: &Call) -> Result<Vec<String>> {
    let mut listed = Vec::new();
    for name in call.host.service_names() {
        if !call.host.access(&call.principal, &name).allows(Right::Read) {
            continue;
        }
        let Some(store) = call.host.service(&name) else {
            continue;
        };
        if store
            .begin_read()?
            .service()?
            .layers_and_tables()
            .next()
            .is_some()
        {
            listed.push(name);
        }
    }
    Ok(listed)
}

/// The service's root document.
pub(crate) fn service(call: &Call, name: &str) -> Result<Answer> {
    let opened = call.open(name, Right::Read)?;
    service::describe(call, &opened).map(Answer::Json)
}

/// `/layers`: all layers and tables in full.
pub(crate) fn layers(call: &Call, name: &str) -> Result<Answer> {
    let opened = call.open(name, Right::Read)?;
    let tx = opened.store.begin_read()?;
    let (mut layers, mut tables) = (Vec::new(), Vec::new());
    for collection in &opened.service.collections {
        let told = layer::describe(call, &opened, tx.as_ref(), collection)?;
        if collection.geometry.is_some() {
            layers.push(told);
        } else {
            tables.push(told);
        }
    }
    Ok(Answer::Json(json!({"layers": layers, "tables": tables})))
}

/// One layer or table.
pub(crate) fn one_layer(
    call: &Call,
    name: &str,
    id: haversack_model::CollectionId,
) -> Result<Answer> {
    let opened = call.open(name, Right::Read)?;
    let collection = opened.collection(id)?;
    let tx = opened.store.begin_read()?;
    layer::describe(call, &opened, tx.as_ref(), collection).map(Answer::Json)
}
