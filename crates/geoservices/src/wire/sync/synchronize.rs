//! Parameters of synchronizeReplica.

use std::str::FromStr as _;

use haversack_model::{CollectionId, Generation, ReplicaId, SyncModel};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::create::DataFormat;
use super::document::TransportType;
use crate::wire::json::{integer, kind, member};
use crate::wire::params::{Params, choose, illegal};
use crate::{Error, Result};

/// What flows in one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SyncDirection {
    /// Both ways.
    Bidirectional,
    /// Only to the server.
    Upload,
    /// Only from the server.
    Download,
    /// Everything anew.
    Snapshot,
}

impl SyncDirection {
    const LEGAL: [(&'static str, Self); 4] = [
        ("bidirectional", Self::Bidirectional),
        ("upload", Self::Upload),
        ("download", Self::Download),
        ("snapshot", Self::Snapshot),
    ];
    /// The dialect's name.
    pub fn word(self) -> &'static str {
        match self {
            Self::Bidirectional => "bidirectional",
            Self::Upload => "upload",
            Self::Download => "download",
            Self::Snapshot => "snapshot",
        }
    }
    /// Whether edits of the client are taken.
    pub fn uploads(self) -> bool {
        matches!(self, Self::Bidirectional | Self::Upload)
    }
    /// Whether changes after the client's generation are given.
    pub fn downloads(self) -> bool {
        matches!(self, Self::Bidirectional | Self::Download)
    }
}

/// One layer of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncLayer {
    /// Which layer.
    pub id: CollectionId,
    /// The client's generation; `None` if it was not sent and is not needed.
    pub generation: Option<Generation>,
    /// What flows.
    pub direction: SyncDirection,
}

/// What synchronizeReplica was asked for.
#[derive(Clone, Debug, PartialEq)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "one for each flag of the protocol"
)]
pub struct Synchronize {
    /// How the result is delivered.
    pub transport: TransportType,
    /// Direction of a replica with one generation, and of layers that name none.
    pub direction: SyncDirection,
    /// The layers of this call: all of the replica, or those named by a replica with one generation per layer.
    pub layers: Vec<SyncLayer>,
    /// Upload that holds the edits.
    pub upload: Option<String>,
    /// Format of the upload.
    pub upload_format: DataFormat,
    /// Whether ids of added rows are told.
    pub ids_for_adds: bool,
    /// Whether contents of attachments are given by URL.
    pub attachments_by_url: bool,
    /// Format of the result.
    pub format: DataFormat,
    /// All edits or none.
    pub rollback: bool,
    /// Whether to answer with a job.
    pub is_async: bool,
    /// Whether the replica ends with this call.
    pub close: bool,
}

/// Reads `replicaID`, with or without braces, in any case.
pub(crate) fn replica_id(params: &Params) -> Result<ReplicaId> {
    let text = params.required("replicaID")?;
    ReplicaId::from_str(text)
        .map_err(|_not_an_id| illegal("replicaID", text, "the id of a replica"))
}

impl Synchronize {
    /// Reads the id of the replica, which decides how the other parameters are read.
    ///
    /// # Errors
    /// [`Error::Parameter`].
    pub fn replica_id(params: &Params) -> Result<ReplicaId> {
        replica_id(params)
    }

    /// Reads the parameters for a replica of this model with these layers.
    ///
    /// # Errors
    /// [`Error`] that names the parameter and the legal values.
    pub fn read(params: &Params, model: SyncModel, layers: &[CollectionId]) -> Result<Self> {
        let direction = params
            .choice("syncDirection", &SyncDirection::LEGAL)?
            .unwrap_or(SyncDirection::Bidirectional);
        let layers = match model {
            SyncModel::PerReplica => {
                let generation = params
                    .integer("replicaServerGen", 0..=i64::MAX)?
                    .map(|n| Generation(n as u64));
                if direction.downloads() && generation.is_none() {
                    let problem = format!("is required for syncDirection={}", direction.word());
                    return Err(Error::parameter("replicaServerGen", problem));
                }
                let one = |id: &CollectionId| SyncLayer {
                    id: *id,
                    generation,
                    direction,
                };
                // The Python client sends syncLayers=perReplica here, which means nothing.
                layers.iter().map(one).collect()
            }
            SyncModel::PerLayer => sync_layers(params, direction, layers)?,
        };
        let formats = [DataFormat::Json];
        let upload_formats = [(DataFormat::Json.word(), DataFormat::Json)];
        let request = Self {
            transport: TransportType::read(params)?,
            direction,
            layers,
            upload: params.text("editsUploadID").map(str::to_owned),
            upload_format: params
                .choice("editsUploadFormat", &upload_formats)?
                .unwrap_or(DataFormat::Json),
            ids_for_adds: params.flag("returnIdsForAdds", false)?,
            attachments_by_url: params.flag("returnAttachmentsDataByUrl", true)?,
            format: DataFormat::read(params, &formats)?,
            rollback: params.flag("rollbackOnFailure", false)?,
            is_async: params.flag("async", false)?,
            close: params.flag("closeReplica", false)?,
        };
        if request.upload.is_some() && params.has("edits") {
            return Err(Error::parameter(
                "editsUploadID",
                "cannot be sent together with 'edits'",
            ));
        }
        if request.is_async && request.transport == TransportType::Embedded {
            let problem = "esriTransportTypeEmbedded is for async=false only";
            return Err(Error::parameter("transportType", problem));
        }
        Ok(request)
    }
}

fn sync_layers(
    params: &Params,
    default: SyncDirection,
    known: &[CollectionId],
) -> Result<Vec<SyncLayer>> {
    const NAME: &str = "syncLayers";
    let items = params.array(NAME)?.ok_or_else(|| {
        Error::parameter(NAME, "is required for a replica with syncModel=perLayer")
    })?;
    let mut layers: Vec<SyncLayer> = Vec::new();
    for item in items {
        let Value::Object(members) = &item else {
            let problem = format!("must hold objects, not {}", kind(&item));
            return Err(Error::parameter(NAME, problem));
        };
        let id = member(members, "id").and_then(integer);
        let id = id
            .and_then(|id| u32::try_from(id).ok())
            .map(CollectionId)
            .filter(|id| known.contains(id))
            .ok_or_else(|| {
                let known: Vec<String> = known.iter().map(ToString::to_string).collect();
                let problem = format!("an item needs 'id'; legal: {}", known.join(", "));
                Error::parameter(NAME, problem)
            })?;
        if layers.iter().any(|layer| layer.id == id) {
            return Err(Error::parameter(NAME, format!("names layer {id} twice")));
        }
        let direction = match member(members, "syncDirection") {
            None => default,
            Some(word) => choose(
                "syncLayers.syncDirection",
                word.as_str().unwrap_or_default(),
                &SyncDirection::LEGAL,
            )?,
        };
        let generation = match member(members, "serverGen") {
            None => None,
            Some(value) => Some(generation("syncLayers.serverGen", value)?),
        };
        if direction.downloads() && generation.is_none() {
            let problem = format!("is required for syncDirection={}", direction.word());
            return Err(Error::parameter("syncLayers.serverGen", problem));
        }
        layers.push(SyncLayer {
            id,
            generation,
            direction,
        });
    }
    if layers.is_empty() {
        return Err(Error::parameter(NAME, "names no layer"));
    }
    Ok(layers)
}

/// A generation as clients write it.
pub(super) fn generation(name: &str, value: &Value) -> Result<Generation> {
    integer(value)
        .and_then(|n| u64::try_from(n).ok())
        .map(Generation)
        .ok_or_else(|| {
            let problem = format!(
                "needs a generation, a whole number from 0, not {}",
                kind(value)
            );
            Error::parameter(name, problem)
        })
}
