//! Definitions of indexes, as the wire has them and as the store does.

use haversack_model::documents::Index;
use serde_json::{Map, Value, json};

/// Kinds that can be made.
const KINDS: [&str; 9] = [
    "persistent",
    "hash",
    "skiplist",
    "geo",
    "ttl",
    "fulltext",
    "inverted",
    "mdi",
    "zkd",
];
/// What an index is told with besides what it was given.
const OWN: [&str; 8] = [
    "id",
    "type",
    "name",
    "fields",
    "unique",
    "sparse",
    "isNewlyCreated",
    "collection",
];

/// An index as the wire has it, its id without the collection's name.
pub(crate) fn to_json(index: &Index) -> Value {
    let mut told = json!({
        "id": index.id, "type": index.kind, "name": index.name, "fields": index.fields, "unique": index.unique,
        "sparse": index.sparse,
    });
    for (name, value) in &index.properties {
        told[name.as_str()] = value.clone();
    }
    told
}

/// Reads a definition; `id` is used where it names none.
pub(crate) fn from_json(body: &Map<String, Value>, id: u64) -> Result<Index, &'static str> {
    let text = |name: &str| {
        body.get(name)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
    };
    let flag = |name: &str| body.get(name).and_then(Value::as_bool);
    let kind = text("type").unwrap_or_default();
    if !KINDS.contains(&kind) {
        return Err("this type of index is not known");
    }
    let fields: Option<Vec<String>> =
        body.get("fields")
            .and_then(Value::as_array)
            .and_then(|fields| {
                let name = |field: &Value| match field {
                    Value::String(name) => Some(name.clone()),
                    Value::Object(members) => members.get("name")?.as_str().map(str::to_owned),
                    _ => None,
                };
                fields.iter().map(name).collect()
            });
    let fields = fields.filter(|fields| !fields.is_empty() && fields.iter().all(|f| !f.is_empty()));
    let fields = fields.ok_or("'fields' must be names of attributes")?;
    let is_value = matches!(kind, "persistent" | "hash" | "skiplist");
    let id = text("id").map_or_else(
        || id.to_string(),
        |id| id.rsplit('/').next().unwrap_or(id).to_owned(),
    );
    let is_plain = |text: &str| {
        text.bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
    };
    if !is_plain(&id) {
        return Err("'id' is none");
    }
    let properties = body
        .iter()
        .filter(|(name, _)| !OWN.contains(&name.as_str()) && *name != "inBackground");
    Ok(Index {
        name: text("name").map_or_else(|| format!("idx_{id}"), str::to_owned),
        kind: kind.to_owned(),
        unique: is_value && flag("unique").unwrap_or(false),
        sparse: flag("sparse").unwrap_or(!is_value),
        properties: properties
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect(),
        id,
        fields,
    })
}

/// Whether two definitions make the same index.
pub(crate) fn is_same(a: &Index, b: &Index) -> bool {
    let family = |index: &Index| match index.kind.as_str() {
        "hash" | "skiplist" => "persistent".to_owned(),
        other => other.to_owned(),
    };
    family(a) == family(b) && a.fields == b.fields && a.unique == b.unique && a.sparse == b.sparse
}
