//! Words and small parts that all documents of replicas share.

use haversack_model::{CollectionId, Generation};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::Result;
use crate::wire::params::Params;

/// How a result is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TransportType {
    /// As a file with a URL.
    Url,
    /// In the answer itself.
    Embedded,
}

impl TransportType {
    /// The dialect's name.
    pub fn word(self) -> &'static str {
        match self {
            Self::Url => "esriTransportTypeUrl",
            Self::Embedded => "esriTransportTypeEmbedded",
        }
    }
    pub(super) fn read(params: &Params) -> Result<Self> {
        let legal = [
            (Self::Url.word(), Self::Url),
            (Self::Embedded.word(), Self::Embedded),
        ];
        Ok(params.choice("transportType", &legal)?.unwrap_or(Self::Url))
    }
}

/// What a document holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ResponseType {
    /// All records.
    Data,
    /// The registration only.
    Info,
    /// Changes.
    Edits,
    /// No changes either way.
    NoEdits,
    /// All records anew.
    ReplacementData,
    /// Changes of some layers, all records of others.
    EditsAndData,
    /// Changes, answered by extractChanges.
    DataChanges,
}

impl ResponseType {
    /// The dialect's name.
    pub fn word(self) -> &'static str {
        match self {
            Self::Data => "esriReplicaResponseTypeData",
            Self::Info => "esriReplicaResponseTypeInfo",
            Self::Edits => "esriReplicaResponseTypeEdits",
            Self::NoEdits => "esriReplicaResponseTypeNoEdits",
            Self::ReplacementData => "esriReplicaResponseTypeReplacementData",
            Self::EditsAndData => "esriReplicaResponseTypeEditsAndData",
            Self::DataChanges => "esriDataChangesResponseTypeEdits",
        }
    }
}

/// The generation numbers of a document, in the form of its sync model.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Generations {
    /// None: nothing is registered, or an upload only.
    #[default]
    None,
    /// One for the replica.
    Replica(Generation),
    /// One per layer.
    Layers(Vec<(CollectionId, Generation)>),
}

impl Generations {
    /// Adds the members to a document.
    pub fn describe(&self, document: &mut Map<String, Value>) {
        match self {
            Self::None => {}
            Self::Replica(generation) => {
                document.insert("replicaServerGen".to_owned(), json!(generation.0));
            }
            Self::Layers(layers) => {
                // A client's replica has no sibling, which is written as -1.
                let layers = layers.iter().map(|(id, generation)| {
                    json!({"id": id.0, "serverGen": generation.0, "serverSibGen": -1})
                });
                document.insert("layerServerGens".to_owned(), layers.collect());
            }
        }
    }
}
