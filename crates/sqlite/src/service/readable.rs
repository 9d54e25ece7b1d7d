//! Records as JSON objects by column name: readable in the file, and exact.

use haversack_model::{Collection, Geometry, GlobalId, Record, Result, Value};
use serde_json::{Map, Value as Json, json};

use crate::error::corrupt;

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else {
        return None;
    };
    pairs
        .iter()
        .map(|[high, low]| {
            let digit = |c: u8| char::from(c).to_digit(16);
            Some((digit(*high)? << 4 | digit(*low)?) as u8)
        })
        .collect()
}

fn value_to_json(value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Integer(n) => json!(n),
        Value::Real(x) => json!(x),
        Value::Text(text) => json!(text),
        Value::Blob(bytes) => json!({ "hex": hex(bytes) }),
    }
}

fn value_from_json(json: &Json) -> Option<Value> {
    Some(match json {
        Json::Null => Value::Null,
        Json::Number(n) => match n.as_i64() {
            Some(n) => Value::Integer(n),
            None => Value::Real(n.as_f64()?),
        },
        Json::String(text) => Value::Text(text.clone()),
        Json::Object(blob) => Value::Blob(unhex(blob.get("hex")?.as_str()?)?),
        Json::Bool(_) | Json::Array(_) => return None,
    })
}

/// The JSON text of a record; geometry as hexadecimal WKB under its column's name.
pub(super) fn to_text(collection: &Collection, record: &Record) -> String {
    let mut object = Map::new();
    object.insert(
        collection.global_id_field.clone(),
        json!(record.global_id.to_string()),
    );
    if let Some(id) = record.object_id {
        object.insert(collection.object_id_field.clone(), json!(id.0));
    }
    for (field, value) in collection.fields.iter().zip(&record.values) {
        object.insert(field.name.clone(), value_to_json(value));
    }
    if let (Some(column), Some(geometry)) = (&collection.geometry, &record.geometry) {
        object.insert(column.name.clone(), json!(hex(geometry.as_wkb())));
    }
    Json::Object(object).to_string()
}

fn parse(collection: &Collection, text: &str) -> Option<Record> {
    let object: Map<String, Json> = serde_json::from_str(text).ok()?;
    let geometry = match collection
        .geometry
        .as_ref()
        .and_then(|g| object.get(&g.name))
    {
        None => None,
        Some(wkb) => Some(Geometry::from_wkb(&unhex(wkb.as_str()?)?).ok()?),
    };
    let values = collection
        .fields
        .iter()
        .map(|field| match object.get(&field.name) {
            // The field is younger than the text.
            None => Some(field.default.clone()),
            Some(json) => value_from_json(json),
        });
    Some(Record {
        global_id: GlobalId::parse_uuid(object.get(&collection.global_id_field)?.as_str()?).ok()?,
        object_id: object
            .get(&collection.object_id_field)
            .and_then(Json::as_i64)
            .map(haversack_model::ObjectId),
        values: values.collect::<Option<_>>()?,
        geometry,
    })
}

/// Reads what [`to_text`] wrote.
pub(super) fn from_text(collection: &Collection, text: &str) -> Result<Record> {
    parse(collection, text).ok_or_else(|| {
        corrupt(format!(
            "a kept record of {} is unreadable",
            collection.name
        ))
    })
}
