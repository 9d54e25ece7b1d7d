//! What a replica is made of: asked for at checkout, kept in its header, asked for again when it must be renewed.

use std::collections::BTreeMap;

use haversack_model::local::ReplicaHeader;
use haversack_model::{CollectionId, Envelope, Service, SyncModel};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use crate::wire::metadata::SyncCapabilities;
use crate::{Error, Result};

/// Which part of a service a replica shall hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CheckoutRequest {
    /// Name for people, on the server too.
    pub name: String,
    /// The layers and tables; empty: all.
    pub layers: Vec<CollectionId>,
    /// Conditions in the dialect's query language, per layer.
    pub conditions: BTreeMap<CollectionId, String>,
    /// Box that limits layers with geometry, and the EPSG code of its coordinates.
    pub area: Option<(Envelope, i32)>,
    /// Whether attachments come along.
    pub attachments: bool,
}

/// The request as the header keeps it, with what only this dialect needs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Kept {
    pub(super) request: CheckoutRequest,
    /// `perReplica` or `perLayer`.
    pub(super) sync_model: SyncModel,
}

impl Kept {
    pub(super) fn of(header: &ReplicaHeader) -> Result<Self> {
        serde_json::from_str(&header.filter).map_err(|e| {
            Error::document(
                "the replica's header",
                format!("the request of its checkout is damaged: {e}"),
            )
        })
    }
    pub(super) fn to_text(&self) -> String {
        json!(self).to_string()
    }

    /// The layers that the replica holds, in ascending order.
    pub(super) fn layers(&self, service: &Service) -> Result<Vec<CollectionId>> {
        let mut ids = self.request.layers.clone();
        if ids.is_empty() {
            ids.extend(service.collections.iter().map(|c| c.id));
        }
        ids.sort_unstable();
        ids.dedup();
        for id in &ids {
            if service.collection(*id).is_none() {
                return Err(Error::parameter(
                    "layers",
                    format!("the service has no layer {id}"),
                ));
            }
        }
        Ok(ids)
    }
}

/// The model to use: one generation for the replica where the server can, as it needs one cursor only.
pub(super) fn sync_model(capabilities: SyncCapabilities) -> Result<SyncModel> {
    if capabilities.per_replica {
        Ok(SyncModel::PerReplica)
    } else if capabilities.per_layer {
        Ok(SyncModel::PerLayer)
    } else {
        Err(Error::document(
            "the service",
            "cannot synchronise replicas",
        ))
    }
}

/// The dialect's name of a model.
pub(super) fn model_word(model: SyncModel) -> &'static str {
    match model {
        SyncModel::PerReplica => "perReplica",
        SyncModel::PerLayer => "perLayer",
    }
}

/// Parameters of createReplica.
pub(super) fn create_params(
    kept: &Kept,
    service: &Service,
    capabilities: SyncCapabilities,
) -> Result<Vec<(&'static str, String)>> {
    let request = &kept.request;
    let ids = kept.layers(service)?;
    let mut queries = serde_json::Map::new();
    for id in &ids {
        let condition = request.conditions.get(id).map(String::as_str);
        let has_geometry = service
            .collection(*id)
            .is_some_and(|c| c.geometry.is_some());
        let is_limited = condition.is_some() || (has_geometry && request.area.is_some());
        // Said for every layer, because servers differ in what they take a layer for that is not named.
        let mut query = json!({
            "queryOption": if is_limited { "useFilter" } else { "all" },
            "useGeometry": has_geometry,
            "includeRelated": false,
        });
        if let Some(condition) = condition {
            query["where"] = json!(condition);
        }
        queries.insert(id.to_string(), query);
    }
    let list: Vec<String> = ids.iter().map(ToString::to_string).collect();
    let mut params = vec![
        ("replicaName", request.name.clone()),
        ("layers", list.join(",")),
        ("layerQueries", Json::Object(queries).to_string()),
        ("transportType", "esriTransportTypeUrl".to_owned()),
        ("returnAttachments", request.attachments.to_string()),
        ("returnAttachmentsDataByUrl", "true".to_owned()),
        (
            "attachmentsSyncDirection",
            if request.attachments {
                "bidirectional"
            } else {
                "none"
            }
            .to_owned(),
        ),
        ("syncModel", model_word(kept.sync_model).to_owned()),
        ("async", capabilities.jobs.to_string()),
        ("dataFormat", "json".to_owned()),
        ("replicaOptions", String::new()),
    ];
    if let Some((area, srid)) = &request.area {
        let sides = [area.min_x, area.min_y, area.max_x, area.max_y];
        let sides: Vec<String> = sides.iter().map(f64::to_string).collect();
        params.push(("geometry", sides.join(",")));
        params.push(("geometryType", "esriGeometryEnvelope".to_owned()));
        params.push(("inSR", srid.to_string()));
    }
    Ok(params)
}
