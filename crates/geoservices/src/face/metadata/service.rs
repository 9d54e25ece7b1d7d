//! The root document of a service.

use haversack_model::{Collection, Principal, ReadTx, Right};
use serde_json::{Value, json};

use super::super::call::{Call, Opened};
use super::super::extract::filegdb;
use super::super::portal::{VERSION, items};
use super::super::problem::Result;
use super::extent;
use crate::wire::crs;
use crate::wire::geometry::geometry_type;

/// Formats that queries answer in.
pub(crate) const QUERY_FORMATS: &str = "JSON, geoJSON, PBF";

/// The root document.
pub(crate) fn describe(call: &Call, opened: &Opened) -> Result<Value> {
    let tx = opened.store.begin_read()?;
    let service = &opened.service;
    let extent = extent::of_service(tx.as_ref(), opened, service.srid)?;
    let extent = extent::published(extent, service.srid);
    let is_layer = |c: &&Collection| c.geometry.is_some();
    let (layers, tables): (Vec<_>, Vec<_>) = service.collections.iter().partition(is_layer);
    let largest = service.collections.iter().map(|c| c.max_record_count);
    let mut told = json!({
        "currentVersion": VERSION,
        "serviceItemId": items::id_of(call, &opened.name),
        "serviceDescription": service.description,
        "hasVersionedData": false,
        "hasArchivedData": false,
        "maxRecordCount": largest.max().unwrap_or(1000),
        "supportedQueryFormats": QUERY_FORMATS,
        "supportedExportFormats": export_formats(opened),
        "capabilities": service.capabilities.join(","),
        "description": service.description,
        "copyrightText": service.copyright,
        "spatialReference": crs::to_json(service.srid),
        "initialExtent": extent.clone(),
        "fullExtent": extent,
        "allowGeometryUpdates": allows(opened, "Update"),
        "units": if crs::is_geographic(service.srid) { "esriDecimalDegrees" } else { "esriMeters" },
        "supportsApplyEditsWithGlobalIds": true,
        "supportsAppend": false,
        "supportsDisconnectedEditing": service.has_capability("Sync"),
        "syncEnabled": service.has_capability("Sync"),
        "editorTrackingInfo": editor_tracking(call, opened),
        "layers": layers.into_iter().map(entry).collect::<Vec<_>>(),
        "tables": tables.into_iter().map(entry).collect::<Vec<_>>(),
        "relationships": relationships(opened),
    });
    if service.has_capability("Sync") || service.has_capability("Extract") {
        told["syncCapabilities"] = sync_capabilities(opened);
    }
    if service.has_capability("ChangeTracking") {
        told["changeTrackingInfo"] = change_tracking(tx.as_ref(), opened)?;
        told["extractChangesCapabilities"] = json!({
            "supportsReturnIdsOnly": true,
            "supportsReturnExtentOnly": true,
            "supportsReturnAttachments": true,
            "supportsLayerQueries": true,
            "supportsGeometry": true,
            "supportsServerGens": true,
            "supportsReturnFeature": true,
            // Updates can be narrowed to fields, but the dialect's own `fieldUpdates` is not answered.
            "supportsFieldsToCompare": false,
        });
    }
    Ok(told)
}

/// Formats of copies, where copies may be made and the tool is there.
fn export_formats(opened: &Opened) -> &'static str {
    if opened.service.has_capability("Extract") && filegdb::is_available() {
        "filegdb"
    } else {
        ""
    }
}

/// Whether the service advertises an editing word, by itself or through `Editing`.
pub(crate) fn allows(opened: &Opened, word: &str) -> bool {
    opened.service.has_capability(word) || opened.service.has_capability("Editing")
}

fn entry(collection: &Collection) -> Value {
    let mut told = json!({
        "id": collection.id.0,
        "name": collection.name,
        "parentLayerId": -1,
        "defaultVisibility": true,
        "subLayerIds": null,
        "minScale": 0,
        "maxScale": 0,
        "type": if collection.geometry.is_some() { "Feature Layer" } else { "Table" },
    });
    if let Some(column) = &collection.geometry {
        told["geometryType"] = json!(geometry_type(column.kind));
    }
    told
}

fn sync_capabilities(opened: &Opened) -> Value {
    let sync = opened.service.has_capability("Sync");
    json!({
        "supportsRegisteringExistingData": false,
        "supportsPerReplicaSync": sync,
        "supportsPerLayerSync": sync,
        "supportsSyncModelNone": true,
        "supportsAttachmentsSyncDirection": true,
        "supportsRollbackOnFailure": true,
        "supportsSyncDirectionControl": true,
        "supportsAsync": true,
        "supportsBiDirectionalSyncForServer": false,
        "supportedSyncDataOptions": 0,
        "advancedReplicasResourceCapabilities": {
            "supportsVersion": false,
            "supportsReturnVersion": false,
            "supportsReturnLastSyncDate": true,
        },
    })
}

fn change_tracking(tx: &dyn ReadTx, opened: &Opened) -> Result<Value> {
    let head = tx.head()?;
    let layers = opened.service.collections.iter().map(|collection| {
        json!({
            "id": collection.id.0,
            "minServerGen": head.floor.0,
            "serverGen": head.generation.0,
        })
    });
    Ok(json!({
        "lastSyncDate": head.stamp.0,
        "layerServerGens": layers.collect::<Vec<_>>(),
    }))
}

fn editor_tracking(call: &Call, opened: &Opened) -> Value {
    let anonymous = call.host.access(&Principal::anonymous(), &opened.name);
    let tracked = opened.service.collections.iter();
    json!({
        "enableEditorTracking": tracked.clone().any(|c| c.editor_fields.is_some()),
        "enableOwnershipAccessControl": false,
        "allowOthersToQuery": true,
        "allowOthersToUpdate": true,
        "allowOthersToDelete": true,
        "allowAnonymousToQuery": anonymous.allows(Right::Read),
        "allowAnonymousToUpdate": anonymous.allows(Right::Edit),
        "allowAnonymousToDelete": anonymous.allows(Right::Edit),
    })
}

fn relationships(opened: &Opened) -> Vec<Value> {
    let mut all = Vec::new();
    for collection in &opened.service.collections {
        for relationship in collection.relationships.iter().filter(|r| r.is_origin) {
            all.push(json!({"id": relationship.id, "name": relationship.name}));
        }
    }
    all
}
