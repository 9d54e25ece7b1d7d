//! Parameters of createReplica.

use haversack_model::{Direction, Service, SyncModel};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::document::TransportType;
use super::layers::{AreaFilter, LayerQuery, layer_queries};
use crate::wire::crs;
use crate::wire::json::member;
use crate::wire::params::Params;
use crate::{Error, Result};

/// Longest name of a replica.
const MAX_NAME: usize = 255;

/// What createReplica was asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct CreateReplica {
    /// Name for people; the server makes one if none was sent.
    pub name: Option<String>,
    /// The layers, in ascending order.
    pub layers: Vec<LayerQuery>,
    /// The area that limits them.
    pub area: Option<AreaFilter>,
    /// EPSG code of geometry in answers and later edits; `None` is each layer's own.
    pub srid: Option<i32>,
    /// How the result is delivered.
    pub transport: TransportType,
    /// Whether attachments belong to the replica.
    pub attachments: bool,
    /// Whether their content is given by URL, not in the document.
    pub attachments_by_url: bool,
    /// Which way attachments flow, for the replica's life.
    pub attachments_direction: AttachmentsDirection,
    /// Whether to answer with a job.
    pub is_async: bool,
    /// How generations are counted; `None`: nothing is registered (`syncModel=none`).
    pub sync_model: Option<SyncModel>,
    /// For whom the replica is.
    pub target: Target,
    /// What may flow.
    pub direction: Direction,
    /// Format of the data.
    pub format: DataFormat,
    /// The client has the data already.
    pub existing: Option<ExistingData>,
}

/// For whom a replica is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    /// A device.
    Client,
    /// Another server.
    Server,
}

/// Which way attachments flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AttachmentsDirection {
    /// Not at all after creation.
    None,
    /// To the server only.
    Upload,
    /// Both ways.
    Bidirectional,
}

impl AttachmentsDirection {
    /// The dialect's name.
    pub fn word(self) -> &'static str {
        match self {
            Self::None => "esriAttachmentsSyncDirectionNone",
            Self::Upload => "esriAttachmentsSyncDirectionUpload",
            Self::Bidirectional => "esriAttachmentsSyncDirectionBidirectional",
        }
    }
}

/// Format of a replica's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub enum DataFormat {
    Json,
    Sqlite,
    FileGeodatabase,
    Shapefile,
    Csv,
}

impl DataFormat {
    /// The dialect's name.
    pub fn word(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Sqlite => "sqlite",
            Self::FileGeodatabase => "filegdb",
            Self::Shapefile => "shapefile",
            Self::Csv => "csv",
        }
    }
    /// Reads `dataFormat`; JSON if it was not sent.
    ///
    /// # Errors
    /// [`Error::Parameter`] that names the legal formats.
    pub fn read(params: &Params, legal: &[Self]) -> Result<Self> {
        let legal: Vec<(&str, Self)> = legal.iter().map(|f| (f.word(), *f)).collect();
        Ok(params.choice("dataFormat", &legal)?.unwrap_or(Self::Json))
    }
}

/// Registering data that the client has already (`replicaOptions`), as it was sent.
#[derive(Clone, Debug, PartialEq)]
pub struct ExistingData {
    /// The options.
    pub options: Value,
}

impl CreateReplica {
    /// Reads the parameters. `formats` are the data formats that this server can write.
    ///
    /// # Errors
    /// [`Error`] that names the parameter and the legal values, also for combinations that do not go together.
    pub fn read(params: &Params, service: &Service, formats: &[DataFormat]) -> Result<Self> {
        let name = params.text("replicaName").map(str::trim);
        if name
            .is_some_and(|name| name.chars().count() > MAX_NAME || name.contains(char::is_control))
        {
            let problem = format!("must be printable and at most {MAX_NAME} characters long");
            return Err(Error::parameter("replicaName", problem));
        }
        let models = [
            ("perReplica", Some(SyncModel::PerReplica)),
            ("perLayer", Some(SyncModel::PerLayer)),
            ("none", None),
        ];
        let model = params.choice("syncModel", &models)?;
        let targets = [("client", Target::Client), ("server", Target::Server)];
        let target = params
            .choice("targetType", &targets)?
            .unwrap_or(Target::Client);
        let request = Self {
            name: name.map(str::to_owned),
            layers: layer_queries(params, service)?,
            area: AreaFilter::read(params)?,
            srid: params
                .text("replicaSR")
                .map(|text| crs::from_text(text, "replicaSR"))
                .transpose()?,
            transport: TransportType::read(params)?,
            attachments: params.flag("returnAttachments", false)?,
            attachments_by_url: params.flag("returnAttachmentsDataByUrl", true)?,
            attachments_direction: attachments_direction(params)?,
            is_async: params.flag("async", false)?,
            sync_model: model.unwrap_or(Some(SyncModel::PerReplica)),
            target,
            direction: direction(params, target)?,
            format: DataFormat::read(params, formats)?,
            existing: existing(params)?,
        };
        request.check()?;
        Ok(request)
    }

    /// What no single parameter says.
    fn check(&self) -> Result<()> {
        let is_archive = matches!(
            self.format,
            DataFormat::FileGeodatabase | DataFormat::Shapefile | DataFormat::Csv
        );
        if is_archive && self.sync_model.is_some() {
            let problem = format!("{} is for syncModel=none only", self.format.word());
            return Err(Error::parameter("dataFormat", problem));
        }
        if self.format != DataFormat::Json && self.transport == TransportType::Embedded {
            let problem = "esriTransportTypeEmbedded is for dataFormat=json only";
            return Err(Error::parameter("transportType", problem));
        }
        if self.is_async && self.transport == TransportType::Embedded {
            let problem = "esriTransportTypeEmbedded is for async=false only";
            return Err(Error::parameter("transportType", problem));
        }
        Ok(())
    }
}

fn direction(params: &Params, target: Target) -> Result<Direction> {
    let word = params.text("syncDirection");
    match (target, word) {
        // The Python client's default is a word of synchronizeReplica.
        (Target::Client, None) => Ok(Direction::Bidirectional),
        (Target::Client, Some(_)) => {
            let legal = [
                ("bidirectional", Direction::Bidirectional),
                ("upload", Direction::Upload),
                ("download", Direction::Download),
                ("snapshot", Direction::Bidirectional),
            ];
            Ok(params
                .choice("syncDirection", &legal)?
                .unwrap_or(Direction::Bidirectional))
        }
        (Target::Server, _) => {
            let legal = [
                ("upload", Direction::Upload),
                ("download", Direction::Download),
            ];
            Ok(params
                .choice("syncDirection", &legal)?
                .unwrap_or(Direction::Download))
        }
    }
}

fn attachments_direction(params: &Params) -> Result<AttachmentsDirection> {
    let legal = [
        ("none", AttachmentsDirection::None),
        ("upload", AttachmentsDirection::Upload),
        ("bidirectional", AttachmentsDirection::Bidirectional),
        // Spelt out by some clients.
        (
            AttachmentsDirection::None.word(),
            AttachmentsDirection::None,
        ),
        (
            AttachmentsDirection::Upload.word(),
            AttachmentsDirection::Upload,
        ),
        (
            AttachmentsDirection::Bidirectional.word(),
            AttachmentsDirection::Bidirectional,
        ),
    ];
    let default = if params.flag("returnAttachments", false)? {
        AttachmentsDirection::Bidirectional
    } else {
        AttachmentsDirection::None
    };
    Ok(params
        .choice("attachmentsSyncDirection", &legal)?
        .unwrap_or(default))
}

/// Options that ask for the registration of existing data. Other options are accepted and ignored.
fn existing(params: &Params) -> Result<Option<ExistingData>> {
    let Some(options) = params.object("replicaOptions")? else {
        return Ok(None);
    };
    let names = [
        "refReplicaId",
        "registerExistingData",
        "replicaServerGen",
        "layerServerGens",
    ];
    let asks = names.iter().any(|name| match member(&options, name) {
        None | Some(Value::Bool(false)) => false,
        Some(_) => true,
    });
    Ok(asks.then_some(ExistingData {
        options: Value::Object(options),
    }))
}
