//! What a replica was asked to be, as text: kept with it, shown to its owner, and read again by the same parsers whenever
//! it is used. A stored text is never trusted more than a fresh one.

use std::collections::BTreeMap;

use haversack_model::{CollectionId, Direction, Replica};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Which way attachments go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum AttachmentsDirection {
    /// Not at all.
    #[default]
    None,
    /// Only to the server.
    Upload,
    /// Both ways.
    Bidirectional,
}

impl AttachmentsDirection {
    /// Its name on the wire.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Upload => "upload",
            Self::Bidirectional => "bidirectional",
        }
    }
}

/// How a layer's records are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum QueryOption {
    /// None of its own, at most related ones.
    None,
    /// Those that match condition and geometry.
    UseFilter,
    /// All, whatever the geometry.
    All,
}

impl QueryOption {
    fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::UseFilter => "useFilter",
            Self::All => "all",
        }
    }
}

/// What was asked for one layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LayerQuery {
    pub(crate) option: QueryOption,
    pub(crate) condition: Option<String>,
    pub(crate) use_geometry: bool,
    /// `None`: not said.
    pub(crate) include_related: Option<bool>,
}

impl Default for LayerQuery {
    fn default() -> Self {
        Self {
            option: QueryOption::UseFilter,
            condition: None,
            use_geometry: true,
            include_related: None,
        }
    }
}

/// Everything of a replica that the core does not know.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Dialect {
    pub(crate) geometry: Option<String>,
    pub(crate) geometry_type: Option<String>,
    pub(crate) spatial_rel: Option<String>,
    pub(crate) in_sr: Option<i32>,
    pub(crate) replica_sr: Option<i32>,
    pub(crate) layers: BTreeMap<u32, LayerQuery>,
    pub(crate) return_attachments: bool,
    pub(crate) attachments_by_url: bool,
    pub(crate) attachments: AttachmentsDirection,
}

impl Dialect {
    /// What was stored; nothing special for replicas that another protocol made.
    pub(crate) fn of(replica: &Replica) -> Self {
        serde_json::from_str(&replica.dialect).unwrap_or_default()
    }
    /// The text to store.
    pub(crate) fn to_text(&self) -> String {
        json!(self).to_string()
    }
    /// The query of a layer.
    pub(crate) fn layer(&self, id: CollectionId) -> LayerQuery {
        self.layers.get(&id.0).cloned().unwrap_or_default()
    }
    /// The geometry as it was sent: JSON, or the numbers of a box as text.
    pub(crate) fn geometry_json(&self) -> Value {
        match &self.geometry {
            None => Value::Null,
            Some(text) => {
                serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.clone()))
            }
        }
    }
    /// A layer as replica info shows it.
    pub(crate) fn describe_layer(&self, id: CollectionId) -> Value {
        let query = self.layer(id);
        json!({
            "id": id.0,
            "queryOption": query.option.name(),
            "useGeometry": query.use_geometry,
            "includeRelated": query.include_related.unwrap_or(true),
            "where": query.condition.unwrap_or_default(),
        })
    }
}

/// Name of a direction.
pub(crate) fn direction_name(direction: Direction) -> &'static str {
    match direction {
        Direction::Bidirectional => "bidirectional",
        Direction::Upload => "upload",
        Direction::Download => "download",
    }
}
