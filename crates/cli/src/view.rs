//! Records, edits and conflicts as people read them, and as JSON for programs.

use haversack_model::schema::{CollectionKind, attachment_field};
use haversack_model::{
    Changes, Collection, CollectionId, Conflict, Domain, Field, FieldType, Geometry, Record, Shape,
    SyncState, Value,
};
use haversack_sqlite::replica::{LayerStatus, Status};
use serde_json::{Map, Value as Json, json};

use crate::output::{Output, time};

/// What stands for a value that is not there.
pub(crate) const NOTHING: &str = "(empty)";

/// A value as text: dates as times, codes with their names.
pub(crate) fn value(field: &Field, value: &Value) -> String {
    let plain = match value {
        Value::Null => return NOTHING.to_owned(),
        Value::Integer(ms) if field.kind == FieldType::Date => {
            return time(haversack_model::Timestamp(*ms));
        }
        Value::Integer(n) => n.to_string(),
        Value::Real(x) => x.to_string(),
        // Empty text is not the same as nothing.
        Value::Text(text) if text.is_empty() => return "\"\"".to_owned(),
        Value::Text(text) => text.clone(),
        Value::Blob(bytes) => return format!("{} bytes", bytes.len()),
    };
    if let Some(Domain::Coded { values, .. }) = &field.domain
        && let Some((_, name)) = values.iter().find(|(code, _)| code == value)
    {
        return format!("{name} ({plain})");
    }
    plain
}

/// A geometry in a few words.
pub(crate) fn geometry(geometry: Option<&Geometry>) -> String {
    let Some(geometry) = geometry else {
        return NOTHING.to_owned();
    };
    let vertices = |shape: &Shape| {
        let mut n = 0;
        shape.for_each_position(&mut |_| n += 1);
        n
    };
    let shape = geometry.shape();
    match &shape {
        Shape::Point(Some(p)) => format!("point {:.6} {:.6}", p.x, p.y),
        Shape::Point(None) => "empty point".to_owned(),
        Shape::MultiPoint(points) => format!("{} points", points.len()),
        Shape::LineString(_) | Shape::MultiLineString(_) => {
            format!("line with {} vertices", vertices(&shape))
        }
        Shape::Polygon(_) | Shape::MultiPolygon(_) => {
            format!("area with {} vertices", vertices(&shape))
        }
    }
}

/// A value as JSON; dates stay milliseconds.
pub(crate) fn value_json(value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Integer(n) => json!(n),
        Value::Real(x) => json!(x),
        Value::Text(text) => json!(text),
        Value::Blob(bytes) => json!({ "bytes": bytes.len() }),
    }
}

/// A record as a JSON object of its fields; the geometry in words.
pub(crate) fn record_json(collection: &Collection, record: Option<&Record>) -> Json {
    let Some(record) = record else {
        return Json::Null;
    };
    let mut fields: Map<String, Json> = collection
        .fields
        .iter()
        .zip(&record.values)
        .map(|(field, value)| (field.name.clone(), value_json(value)))
        .collect();
    if let Some(column) = &collection.geometry {
        fields.insert(
            column.name.clone(),
            json!(geometry(record.geometry.as_ref())),
        );
    }
    Json::Object(fields)
}

/// One line of a comparison: the field, and its value in each version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    /// Name of the field.
    pub(crate) field: String,
    /// Its value per version.
    pub(crate) values: Vec<String>,
}

/// The fields in which versions differ; `None` is a version that does not exist.
pub(crate) fn differences(collection: &Collection, versions: &[Option<&Record>]) -> Vec<Row> {
    let mut rows = Vec::new();
    for (at, field) in collection.fields.iter().enumerate() {
        let values: Vec<_> = versions
            .iter()
            .map(|v| v.and_then(|r| r.values.get(at)))
            .collect();
        if values.windows(2).any(|pair| pair[0] != pair[1]) {
            rows.push(Row {
                field: field.name.clone(),
                values: values
                    .into_iter()
                    .map(|v| v.map_or_else(|| "-".to_owned(), |v| value(field, v)))
                    .collect(),
            });
        }
    }
    if let Some(column) = &collection.geometry {
        let shapes: Vec<_> = versions
            .iter()
            .map(|v| v.map(|r| r.geometry.as_ref()))
            .collect();
        if shapes.windows(2).any(|pair| pair[0] != pair[1]) {
            rows.push(Row {
                field: column.name.clone(),
                values: shapes
                    .into_iter()
                    .map(|shape| shape.map_or_else(|| "-".to_owned(), geometry))
                    .collect(),
            });
        }
    }
    rows
}

/// Names of the fields that changes set.
pub(crate) fn names(collection: &Collection, changes: &Changes) -> Vec<String> {
    let fields = changes
        .values
        .keys()
        .filter_map(|at| collection.fields.get(*at));
    let geometry = collection
        .geometry
        .as_ref()
        .filter(|_| changes.geometry.is_some());
    fields
        .map(|f| f.name.clone())
        .chain(geometry.map(|g| g.name.clone()))
        .collect()
}

/// What people call a record: its display field, else the start of its global id.
pub(crate) fn title(
    collection: &Collection,
    record: Option<&Record>,
    id: &haversack_model::GlobalId,
) -> String {
    let shown = match collection.kind {
        CollectionKind::Attachments { .. } => Some(attachment_field::NAME),
        _ => collection
            .display_field
            .as_deref()
            .and_then(|name| collection.field_index(name)),
    };
    let text = record
        .and_then(|r| r.values.get(shown?))
        .and_then(Value::as_text);
    match text {
        Some(text) if !text.is_empty() => format!("{text:?}"),
        _ => short(id),
    }
}

/// The start of a global id, enough to recognise it.
pub(crate) fn short(id: &haversack_model::GlobalId) -> String {
    let text = id.to_string();
    let bare = text.trim_matches(|c| c == '{' || c == '}');
    format!("{}…", bare.chars().take(8).collect::<String>())
}

/// A state as users and documents call it.
pub(crate) fn state(state: SyncState, deleted: bool) -> &'static str {
    match (state, deleted) {
        (SyncState::ToPost | SyncState::ToUpdate, true) => "TO_DELETE",
        (SyncState::Synced, _) => "SYNCED",
        (SyncState::ToPost, _) => "TO_POST",
        (SyncState::ToUpdate, _) => "TO_UPDATE",
        (SyncState::Uploading, _) => "UPLOADING",
        (SyncState::Warning, _) => "WARNING",
        (SyncState::Error, _) => "ERROR",
        (SyncState::Relationship, _) => "RELATIONSHIP",
    }
}

/// The same for people who have never seen the codes.
pub(crate) fn state_in_words(of: SyncState, deleted: bool) -> &'static str {
    match state(of, deleted) {
        "TO_DELETE" => "deletion not sent",
        "SYNCED" => "as the server has it",
        "TO_POST" => "addition not sent",
        "TO_UPDATE" => "change not sent",
        "UPLOADING" => "sent without an answer",
        "WARNING" => "stored with a remark",
        "ERROR" => "refused by the server",
        _ => "waits for another record",
    }
}

/// The layers and tables of a file that people see, with their rows.
fn visible<'a>(
    status: &'a Status,
    collections: &'a [Collection],
) -> impl Iterator<Item = &'a LayerStatus> {
    status.layers.iter().filter(|layer| {
        collections
            .iter()
            .any(|c| c.id == layer.collection && is_visible(c))
    })
}

/// The layers of a file as JSON.
pub(crate) fn layers_json(status: &Status, collections: &[Collection]) -> Vec<Json> {
    visible(status, collections)
        .map(|l| json!({"id": l.collection.0, "name": l.name, "table": l.table, "rows": l.rows}))
        .collect()
}

/// The layers of a file as a table.
pub(crate) fn print_layers(status: &Status, collections: &[Collection], out: Output) {
    let rows = visible(status, collections)
        .map(|l| {
            vec![
                l.collection.to_string(),
                l.name.clone(),
                l.table.clone(),
                l.rows.to_string(),
            ]
        })
        .collect();
    out.table(&["", "layer", "table", "rows"], rows);
}

/// The definition of a collection among those of a file, hidden ones included.
pub(crate) fn collection(
    collections: &[Collection],
    id: CollectionId,
) -> anyhow::Result<&Collection> {
    collections
        .iter()
        .find(|c| c.id == id)
        .ok_or_else(|| anyhow::Error::new(haversack_model::Error::NoCollection(id)))
}

/// Whether people see the collection as a layer or table of its own.
pub(crate) fn is_visible(collection: &Collection) -> bool {
    !matches!(collection.kind, CollectionKind::Attachments { .. })
}

/// A conflict as JSON, its three versions side by side.
pub(crate) fn conflict_json(collection: &Collection, conflict: &Conflict) -> Json {
    json!({
        "id": conflict.id.to_string(),
        "layer": collection.name,
        "globalId": conflict.global_id.to_string(),
        "kind": format!("{:?}", conflict.kind),
        "fields": conflict.fields,
        "reason": conflict.reason,
        "policy": format!("{:?}", conflict.policy).to_lowercase(),
        "stored": format!("{:?}", conflict.winner).to_lowercase(),
        "at": conflict.at.0,
        "user": conflict.user,
        "base": record_json(collection, conflict.base.as_ref()),
        "mine": record_json(collection, conflict.mine.as_ref()),
        "theirs": record_json(collection, conflict.theirs.as_ref()),
        "resolution": conflict.resolution.as_ref().map(|r| json!({"kept": r.kept, "user": r.user, "at": r.at.0})),
    })
}
