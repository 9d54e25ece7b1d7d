//! Where things are: extents of layers and services, as the asking principal may know them.
//!
//! A published extent is padded: the Python client sends it back with three decimals as the filter of a replica, and a
//! tight one would cut records off at the border. An empty layer has the world as its extent, because QGIS wants a finite one.

use haversack_model::query::{Query, Select};
use haversack_model::store::Flow;
use haversack_model::{Collection, Envelope, QueryRow, ReadTx};
use serde_json::{Value, json};

use super::super::call::Opened;
use super::super::problem::Result;
use crate::wire::crs::{self, Transform};

/// The tight box around what the principal may see of a layer; `None` if there is nothing.
pub(crate) fn of_layer(
    tx: &dyn ReadTx,
    opened: &Opened,
    collection: &Collection,
) -> Result<Option<Envelope>> {
    if collection.geometry.is_none() {
        return Ok(None);
    }
    let query = Query {
        select: Select::Extent,
        ..Query::records(collection.id, opened.access.filter(collection.id))
    };
    let mut found = None;
    tx.query(&query, &mut |row| {
        if let QueryRow::Extent(extent) = row {
            found = extent;
        }
        Ok(Flow::Continue(()))
    })?;
    Ok(found)
}

/// The box around all layers, in a given reference.
pub(crate) fn of_service(tx: &dyn ReadTx, opened: &Opened, srid: i32) -> Result<Option<Envelope>> {
    let mut all: Option<Envelope> = None;
    for collection in &opened.service.collections {
        let (Some(column), Some(extent)) =
            (&collection.geometry, of_layer(tx, opened, collection)?)
        else {
            continue;
        };
        // A box that has no image in the service's reference says nothing; the world stands for it.
        let extent = match Transform::between(column.srid, srid)? {
            Some(transform) => transform.envelope(&extent).unwrap_or_else(|_| world(srid)),
            None => extent,
        };
        all = Some(all.map_or(extent, |e| e.union(extent)));
    }
    Ok(all)
}

/// The extent to publish: padded, or the world if there is nothing.
pub(crate) fn published(extent: Option<Envelope>, srid: i32) -> Value {
    let extent = extent.map_or_else(|| world(srid), |e| padded(e, srid));
    to_json(&extent, srid)
}

/// A box with its reference.
pub(crate) fn to_json(extent: &Envelope, srid: i32) -> Value {
    json!({
        "xmin": extent.min_x,
        "ymin": extent.min_y,
        "xmax": extent.max_x,
        "ymax": extent.max_y,
        "spatialReference": crs::to_json(srid),
    })
}

fn padded(extent: Envelope, srid: i32) -> Envelope {
    let least = if crs::is_geographic(srid) { 0.01 } else { 10.0 };
    let dx = ((extent.max_x - extent.min_x) * 0.01).max(least);
    let dy = ((extent.max_y - extent.min_y) * 0.01).max(least);
    Envelope {
        min_x: extent.min_x - dx,
        min_y: extent.min_y - dy,
        max_x: extent.max_x + dx,
        max_y: extent.max_y + dy,
    }
}

fn world(srid: i32) -> Envelope {
    let (x, y) = if crs::is_geographic(srid) {
        (180.0, 90.0)
    } else {
        (20_037_508.342_789, 20_037_508.342_789)
    };
    Envelope {
        min_x: -x,
        min_y: -y,
        max_x: x,
        max_y: y,
    }
}
