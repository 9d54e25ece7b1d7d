//! Parameters of extractChanges.

use haversack_model::{CollectionId, Generation, Service};
use serde_json::Value;

use super::create::DataFormat;
use super::document::TransportType;
use super::layers::{AreaFilter, LayerQuery, layer_queries, unknown_layer};
use super::synchronize::generation;
use crate::wire::crs;
use crate::wire::json::{integer, kind, member};
use crate::wire::params::Params;
use crate::{Error, Result};

/// What extractChanges was asked for.
#[derive(Clone, Debug, PartialEq)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "one for each flag of the protocol"
)]
pub struct ExtractChanges {
    /// The layers, in ascending order.
    pub layers: Vec<LayerQuery>,
    /// Per layer, in the same order: changes above the first, up to and including the second (`None`: now).
    pub ranges: Vec<(Generation, Option<Generation>)>,
    /// The area that limits them.
    pub area: Option<AreaFilter>,
    /// Give added records.
    pub inserts: bool,
    /// Give changed records.
    pub updates: bool,
    /// Give removed records.
    pub deletes: bool,
    /// Give object ids only.
    pub ids_only: bool,
    /// Give removed records with their last content.
    pub deleted_features: bool,
    /// Give the box around the changes only.
    pub extent_only: bool,
    /// Give attachments.
    pub attachments: bool,
    /// Give their content by URL.
    pub attachments_by_url: bool,
    /// EPSG code of geometry in the answer.
    pub srid: Option<i32>,
    /// Updates count only if one of these fields changed.
    pub fields_to_compare: Option<Vec<String>>,
    /// How the result is delivered.
    pub transport: TransportType,
    /// Whether to answer with a job; other than elsewhere the default is yes.
    pub is_async: bool,
    /// Format of the result.
    pub format: DataFormat,
}

impl ExtractChanges {
    /// Reads the parameters.
    ///
    /// # Errors
    /// [`Error`] that names the parameter and the legal values.
    pub fn read(params: &Params, service: &Service) -> Result<Self> {
        let layers = layer_queries(params, service)?;
        let ranges = ranges(params, service, &layers)?;
        let fields = params.words("fieldsToCompare");
        // Also sent as an object: {"fields": [..]}.
        let fields_to_compare = match fields {
            Ok(words)
                if !params
                    .text("fieldsToCompare")
                    .is_some_and(|t| t.trim().starts_with('{')) =>
            {
                words
            }
            _ => {
                let members = params.object("fieldsToCompare")?.unwrap_or_default();
                let list = member(&members, "fields").and_then(Value::as_array);
                list.map(|list| {
                    let names = list.iter().filter_map(Value::as_str);
                    names.map(str::to_owned).collect()
                })
            }
        };
        Ok(Self {
            layers,
            ranges,
            area: AreaFilter::read(params)?,
            inserts: params.flag("returnInserts", false)?,
            updates: params.flag("returnUpdates", false)?,
            deletes: params.flag("returnDeletes", false)?,
            ids_only: params.flag("returnIdsOnly", false)?,
            deleted_features: params.flag("returnDeletedFeatures", false)?,
            extent_only: params.flag("returnExtentOnly", false)?,
            attachments: params.flag("returnAttachments", false)?,
            attachments_by_url: params.flag("returnAttachmentsDataByUrl", true)?,
            srid: params
                .text("outSR")
                .map(|text| crs::from_text(text, "outSR"))
                .transpose()?,
            fields_to_compare,
            transport: TransportType::read(params)?,
            is_async: params.flag("async", true)?,
            format: DataFormat::read(params, &[DataFormat::Json])?,
        })
    }
}

/// `serverGens` for all layers or `layerServerGens` for each.
fn ranges(
    params: &Params,
    service: &Service,
    layers: &[LayerQuery],
) -> Result<Vec<(Generation, Option<Generation>)>> {
    if let Some(items) = params.array("layerServerGens")? {
        let mut known: Vec<(CollectionId, (Generation, Option<Generation>))> = Vec::new();
        for item in &items {
            let Value::Object(members) = item else {
                let problem = format!("must hold objects, not {}", kind(item));
                return Err(Error::parameter("layerServerGens", problem));
            };
            let id = member(members, "id").and_then(integer).unwrap_or(-1);
            let found = u32::try_from(id).ok().map(CollectionId);
            let found = found
                .filter(|id| service.collection(*id).is_some())
                .ok_or_else(|| unknown_layer("layerServerGens", id, service))?;
            let number = |key: &str| {
                let value = member(members, key);
                let name = format!("layerServerGens.{key}");
                value.map(|value| generation(&name, value)).transpose()
            };
            // With a lower bound, serverGen is the upper one.
            let range = match (number("minServerGen")?, number("serverGen")?) {
                (Some(low), high) => (low, high),
                (None, Some(low)) => (low, None),
                (None, None) => {
                    return Err(Error::parameter(
                        "layerServerGens",
                        "an item needs 'serverGen'",
                    ));
                }
            };
            known.push((found, range));
        }
        return layers
            .iter()
            .map(|layer| {
                let found = known.iter().find(|(id, _)| *id == layer.id);
                found.map(|(_, range)| *range).ok_or_else(|| {
                    Error::parameter(
                        "layerServerGens",
                        format!("has no item for layer {}", layer.id),
                    )
                })
            })
            .collect();
    }
    let numbers = params
        .ids("serverGens")?
        .ok_or_else(|| Error::parameter("layerServerGens", "is required, or 'serverGens'"))?;
    let number = |n: i64| {
        u64::try_from(n)
            .map(Generation)
            .map_err(|_negative| Error::parameter("serverGens", "must not be negative"))
    };
    let range = match numbers.as_slice() {
        [low] => (number(*low)?, None),
        [low, high] => (number(*low)?, Some(number(*high)?)),
        _ => return Err(Error::parameter("serverGens", "needs one or two numbers")),
    };
    Ok(vec![range; layers.len()])
}
