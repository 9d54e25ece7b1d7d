//! Items: one for every service that the asking principal may read.

use std::fmt::Write as _;

use haversack_model::{Envelope, Principal, Right};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::super::call::Call;
use super::super::metadata::{self, extent};
use super::super::problem::{Problem, Result};
use super::ITEM_OWNER;

/// The id of a service's item: 32 hex digits, the same for ever, different on every server.
pub(crate) fn id_of(call: &Call, service: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(call.host.server_id().as_bytes());
    hash.update(service.as_bytes());
    let digest = hash.finalize();
    let mut id = String::new();
    for byte in digest.iter().take(16) {
        let _ = write!(id, "{byte:02x}");
    }
    id
}

/// All items that the asking principal may see.
pub(crate) fn all(call: &Call) -> Result<Vec<Value>> {
    let mut items = Vec::new();
    for name in metadata::listed(call)? {
        items.push(describe(call, &name)?);
    }
    Ok(items)
}

/// One item.
pub(crate) fn item(call: &Call, id: &str) -> Result<Value> {
    let unknown = || Problem::NotFound("this item".to_owned());
    let names = call.host.service_names();
    let mut names = names.into_iter().filter(|name| id_of(call, name) == id);
    let name = names.next().ok_or_else(unknown)?;
    let access = call.host.access(&call.principal, &name);
    call.require(&access, Right::Read)?;
    describe(call, &name)
}

fn describe(call: &Call, name: &str) -> Result<Value> {
    let opened = call.open(name, Right::Read)?;
    let tx = opened.store.begin_read()?;
    let head = tx.head()?;
    let world = Envelope {
        min_x: -180.0,
        min_y: -90.0,
        max_x: 180.0,
        max_y: 90.0,
    };
    let place = extent::of_service(tx.as_ref(), &opened, 4326)?.unwrap_or(world);
    let everyone = call.host.access(&Principal::anonymous(), name);
    let service = &opened.service;
    Ok(json!({
        "id": id_of(call, name),
        "owner": ITEM_OWNER,
        "title": if service.title.is_empty() { name } else { &service.title },
        "name": name,
        "type": "Feature Service",
        "typeKeywords": ["ArcGIS Server", "Data", "Feature Access", "Feature Service", "Service"],
        "description": service.description,
        "snippet": service.description,
        "tags": [name],
        "thumbnail": null,
        "documentation": null,
        "extent": [[place.min_x, place.min_y], [place.max_x, place.max_y]],
        "spatialReference": service.srid.to_string(),
        "accessInformation": service.copyright,
        "licenseInfo": null,
        "culture": "en",
        "url": call.service_url(name),
        "access": if everyone.allows(Right::Read) { "public" } else { "private" },
        "size": -1,
        "created": head.stamp.0,
        "modified": head.stamp.0,
        "numComments": 0,
        "numRatings": 0,
        "avgRating": 0,
        "numViews": 0,
        "scoreCompleteness": 0,
        "ownerFolder": null,
        "protected": false,
    }))
}
