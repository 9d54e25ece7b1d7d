//! Which layers, and which of their records.

use haversack_model::filter::SpatialRelation;
use haversack_model::{Collection, CollectionId, Filter, Geometry, Service, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::wire::crs::{self, Transform};
use crate::wire::geometry::from_text;
use crate::wire::json::{kind, member};
use crate::wire::params::{Params, choose};
use crate::wire::sql;
use crate::{Error, Result};

/// Which records of a layer a replica holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum QueryOption {
    /// None of its own; related ones may come in.
    None,
    /// Those that match the where clause and the geometry.
    UseFilter,
    /// All; the geometry is ignored.
    All,
}

/// One layer of a replica, with the texts that the client sent. They are kept with the replica and read again through
/// the same parser whenever they are used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LayerQuery {
    /// Which layer or table.
    pub id: CollectionId,
    /// Which of its records.
    pub query_option: QueryOption,
    /// Condition on attributes.
    #[serde(rename = "where")]
    pub condition: Option<String>,
    /// Whether the replica's geometry limits this layer.
    pub use_geometry: bool,
    /// Whether records related to the chosen ones of other layers come in.
    pub include_related: bool,
}

impl LayerQuery {
    /// A layer without a query of its own.
    pub fn new(id: CollectionId) -> Self {
        Self {
            id,
            query_option: QueryOption::UseFilter,
            condition: None,
            use_geometry: true,
            include_related: true,
        }
    }

    /// The filter that this query and the replica's area make. Related records are not followed here.
    ///
    /// # Errors
    /// [`Error::Sql`] for the where clause; [`Error::Reproject`] if the area has no image in the layer's reference.
    pub fn filter(
        &self,
        collection: &Collection,
        area: Option<&AreaFilter>,
        now: Timestamp,
    ) -> Result<Filter> {
        match self.query_option {
            QueryOption::None => return Ok(Filter::Nothing),
            QueryOption::All => return Ok(Filter::All),
            QueryOption::UseFilter => {}
        }
        let text = self.condition.as_deref().unwrap_or("");
        let condition = sql::condition(text, collection, now).map_err(|source| Error::Sql {
            parameter: format!("layerQueries[{}].where", self.id),
            source,
        })?;
        let (Some(area), Some(column)) = (area.filter(|_| self.use_geometry), &collection.geometry)
        else {
            return Ok(condition);
        };
        let geometry = match Transform::between(area.srid.unwrap_or(column.srid), column.srid)? {
            Some(transform) => transform.geometry(&area.geometry)?,
            None => area.geometry.clone(),
        };
        Ok(condition.and(Filter::Spatial {
            relation: SpatialRelation::Intersects,
            geometry,
        }))
    }

    /// As it is shown in the description of a replica.
    pub fn describe(&self) -> Value {
        json!({
            "id": self.id.0,
            "queryOption": match self.query_option {
                QueryOption::None => "none",
                QueryOption::UseFilter => "useFilter",
                QueryOption::All => "all",
            },
            "useGeometry": self.use_geometry,
            "includeRelated": self.include_related,
            "where": self.condition.as_deref().unwrap_or(""),
        })
    }
}

/// The area that limits a replica.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AreaFilter {
    /// Its outline.
    pub geometry: Geometry,
    /// EPSG code of its reference; `None`: each layer's own.
    pub srid: Option<i32>,
}

impl AreaFilter {
    /// Reads `geometry`, `inSR` and `geometryType`.
    ///
    /// # Errors
    /// [`Error::Parameter`] or [`Error::Geometry`].
    pub fn read(params: &Params) -> Result<Option<Self>> {
        let Some(text) = params.text("geometry") else {
            return Ok(None);
        };
        let sent = from_text(text, "geometry")?;
        let named = params
            .text("inSR")
            .map(|text| crs::from_text(text, "inSR"))
            .transpose()?;
        Ok(Some(Self {
            geometry: sent.geometry,
            srid: sent.srid.or(named),
        }))
    }
}

/// Reads `layers` and `layerQueries`: the chosen layers in ascending order. Without `layers` all of the service.
///
/// # Errors
/// [`Error::Parameter`] for an unknown layer or a query that is not understood. Keys of `layerQueries` that are no layer
/// numbers are ignored: the Python client sends one.
pub fn layer_queries(params: &Params, service: &Service) -> Result<Vec<LayerQuery>> {
    let mut ids: Vec<CollectionId> = Vec::new();
    match params.ids("layers")? {
        None => ids.extend(service.collections.iter().map(|c| c.id)),
        Some(chosen) => {
            for id in chosen {
                let found = u32::try_from(id).ok().map(CollectionId);
                let found = found.filter(|id| service.collection(*id).is_some());
                let id = found.ok_or_else(|| unknown_layer("layers", id, service))?;
                ids.push(id);
            }
        }
    }
    ids.sort_unstable();
    ids.dedup();
    if ids.is_empty() {
        return Err(Error::parameter("layers", "names no layer"));
    }
    let queries = params.object("layerQueries")?.unwrap_or_default();
    ids.into_iter()
        .map(|id| layer_query(id, &queries))
        .collect()
}

pub(super) fn unknown_layer(name: &str, id: i64, service: &Service) -> Error {
    let known: Vec<String> = service
        .collections
        .iter()
        .map(|c| c.id.to_string())
        .collect();
    Error::parameter(
        name,
        format!("there is no layer {id}; legal: {}", known.join(", ")),
    )
}

fn layer_query(id: CollectionId, queries: &Map<String, Value>) -> Result<LayerQuery> {
    let mut query = LayerQuery::new(id);
    let given = queries
        .iter()
        .find(|(key, _)| key.trim().parse() == Ok(id.0));
    let Some((_, given)) = given else {
        return Ok(query);
    };
    let name = |member: &str| format!("layerQueries[{id}].{member}");
    let members = match given {
        Value::Object(members) => members,
        Value::Null => return Ok(query),
        other => {
            return Err(Error::parameter(
                format!("layerQueries[{id}]"),
                format!("must be an object, not {}", kind(other)),
            ));
        }
    };
    query.condition = match member(members, "where") {
        None => None,
        Some(Value::String(text)) => Some(text.clone()).filter(|text| !text.trim().is_empty()),
        Some(other) => {
            let problem = format!("must be text, not {}", kind(other));
            return Err(Error::parameter(name("where"), problem));
        }
    };
    if let Some(option) = member(members, "queryOption") {
        let word = option.as_str().unwrap_or_default();
        let legal = [
            ("none", QueryOption::None),
            ("useFilter", QueryOption::UseFilter),
            ("all", QueryOption::All),
        ];
        query.query_option = choose(&name("queryOption"), word, &legal)?;
    }
    for (key, flag) in [
        ("useGeometry", &mut query.use_geometry),
        ("includeRelated", &mut query.include_related),
    ] {
        if let Some(value) = member(members, key) {
            *flag = boolean(value).ok_or_else(|| {
                Error::parameter(
                    name(key),
                    format!("must be true or false, not {}", kind(value)),
                )
            })?;
        }
    }
    Ok(query)
}

/// A boolean as clients write it in JSON.
pub(super) fn boolean(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(flag) => Some(*flag),
        Value::String(text) if text.eq_ignore_ascii_case("true") => Some(true),
        Value::String(text) if text.eq_ignore_ascii_case("false") => Some(false),
        Value::Number(n) if n.as_i64() == Some(1) => Some(true),
        Value::Number(n) if n.as_i64() == Some(0) => Some(false),
        _ => None,
    }
}
