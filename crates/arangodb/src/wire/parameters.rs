//! What a server tells of a collection: its parameters in an inventory, and the definitions of its indexes.
//!
//! Source: `spec/arangodb.md` 6.4 and 10.

use serde_json::{Map, Value, json};

/// Kind of a collection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CollectionType {
    /// Documents.
    #[default]
    Document,
    /// Edges: documents with `_from` and `_to`.
    Edge,
}

impl CollectionType {
    /// The number on the wire.
    pub fn number(self) -> u64 {
        match self {
            Self::Document => 2,
            Self::Edge => 3,
        }
    }
    /// The kind of a number.
    pub fn of(number: u64) -> Option<Self> {
        match number {
            2 => Some(Self::Document),
            3 => Some(Self::Edge),
            _ => None,
        }
    }
}

/// One collection as the wire names it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parameters {
    /// Decimal number, as text; unique within the server.
    pub id: String,
    /// Name.
    pub name: String,
    /// Kind.
    pub kind: CollectionType,
    /// Identity that survives copying.
    pub guid: String,
    /// Whether it is gone.
    pub deleted: bool,
    /// Whether the revision tree can be asked for.
    pub sync_by_revision: bool,
    /// What a server keeps and tells without acting upon it: `waitForSync`, `keyOptions`, `schema`, `computedValues`,
    /// `cacheEnabled`.
    pub kept: Map<String, Value>,
}

/// Properties that are kept as they were given, with their defaults.
const KEPT: [(&str, &str); 5] = [
    ("waitForSync", "false"),
    (
        "keyOptions",
        r#"{"allowUserKeys":true,"type":"traditional","lastValue":0}"#,
    ),
    ("schema", "null"),
    ("computedValues", "null"),
    ("cacheEnabled", "false"),
];

/// What a collection's properties say that are kept as given, from the body of a request or an inventory.
pub fn kept_properties(body: &Map<String, Value>) -> Map<String, Value> {
    let given = KEPT.iter().filter_map(|(name, default)| {
        let value = body.get(*name)?;
        let default: Value = serde_json::from_str(default).ok()?;
        let fits =
            default.is_null() || std::mem::discriminant(value) == std::mem::discriminant(&default);
        fits.then(|| ((*name).to_owned(), value.clone()))
    });
    given.collect()
}

impl Parameters {
    /// Reads the parameters of an inventory.
    ///
    /// `None` if a field is missing without which a collection cannot be copied.
    pub fn from_json(value: &Value) -> Option<Self> {
        let members = value.as_object()?;
        let text = |name: &str| members.get(name).and_then(Value::as_str);
        let flag = |name: &str| members.get(name).and_then(Value::as_bool);
        let id = text("id").or_else(|| text("cid")).unwrap_or_default();
        Some(Self {
            id: id.to_owned(),
            name: text("name").filter(|name| !name.is_empty())?.to_owned(),
            kind: match members.get("type") {
                None => CollectionType::Document,
                Some(kind) => CollectionType::of(kind.as_u64()?)?,
            },
            guid: text("globallyUniqueId").unwrap_or_default().to_owned(),
            deleted: flag("deleted").unwrap_or(false),
            sync_by_revision: flag("syncByRevision").unwrap_or(false),
            kept: kept_properties(members),
        })
    }

    /// The few properties of a listing.
    pub fn to_brief(&self) -> Value {
        json!({
            "id": self.id, "name": self.name, "type": self.kind.number(), "status": 3, "statusString": "loaded",
            "isSystem": super::key::is_system(&self.name), "globallyUniqueId": self.guid,
        })
    }

    /// All properties.
    pub fn to_properties(&self) -> Value {
        let mut members = self.to_brief();
        for (name, default) in KEPT {
            let default = serde_json::from_str(default).unwrap_or(Value::Null);
            members[name] = self.kept.get(name).cloned().unwrap_or(default);
        }
        members["syncByRevision"] = Value::Bool(self.sync_by_revision);
        members["usesRevisionsAsDocumentIds"] = Value::Bool(true);
        members["isSmart"] = Value::Bool(false);
        members["isDisjoint"] = Value::Bool(false);
        members["writeConcern"] = Value::from(1);
        members
    }

    /// The parameters of an inventory.
    pub fn to_inventory(&self) -> Value {
        let mut members = self.to_properties();
        let more = json!({
            "cid": self.id, "planId": self.id, "deleted": self.deleted, "version": 8, "numberOfShards": 1,
            "shardKeys": ["_key"], "shards": {}, "replicationFactor": 1, "minReplicationFactor": 1,
        });
        for (name, value) in more.as_object().into_iter().flatten() {
            members[name.as_str()] = value.clone();
        }
        members
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parameters_of_an_inventory_read_back() {
        let parameters = Parameters {
            id: "123".to_owned(),
            name: "places".to_owned(),
            kind: CollectionType::Edge,
            guid: "h1/123".to_owned(),
            sync_by_revision: true,
            kept: kept_properties(
                json!({"waitForSync": true, "keyOptions": 7, "x": 1})
                    .as_object()
                    .unwrap(),
            ),
            ..Parameters::default()
        };
        let written = parameters.to_inventory();
        assert_eq!(written["cid"], "123");
        assert_eq!(written["keyOptions"]["type"], "traditional");
        let read = Parameters::from_json(&written).unwrap();
        assert_eq!(read.to_inventory(), written);
        assert_eq!(read.kept["waitForSync"], true);
    }

    #[test]
    fn parameters_without_a_name_or_of_another_kind_are_refused() {
        for bad in [
            json!({"type": 2}),
            json!({"name": ""}),
            json!({"name": "a", "type": 4}),
            json!(7),
        ] {
            assert!(Parameters::from_json(&bad).is_none(), "{bad}");
        }
    }
}
