//! A record of a layer or table as a document: its attributes by field name, its geometry as GeoJSON.
//!
//! Coordinates stay in the layer's own CRS, dates are milliseconds since 1970 UTC, bytes are hexadecimal. The object
//! id is left out: it is local to a file.

use serde_json::{Map, Value as Json, json};

use crate::{Collection, Geometry, GlobalId, Position, Record, Shape, Value};

/// The key of a record: that of a document, or the UUID of a feature with hyphens in upper case.
pub fn key_of(id: &GlobalId) -> String {
    match id {
        GlobalId::Uuid(uuid) => format!("{:X}", uuid.hyphenated()),
        GlobalId::Text(text) => text.to_string(),
    }
}

/// The JSON text of a record's body: that of a document as it is, a feature's made of its attributes and geometry.
pub fn body_of(collection: &Collection, record: &Record) -> String {
    if collection.is_documents() {
        let body = record.values.first().and_then(Value::as_text);
        return body.unwrap_or("{}").to_owned();
    }
    let mut body = Map::new();
    for (field, value) in collection.fields.iter().zip(&record.values) {
        let value = match value {
            Value::Null => Json::Null,
            Value::Integer(n) => json!(n),
            Value::Real(x) => json!(x),
            Value::Text(text) => json!(text),
            Value::Blob(bytes) => json!(hex(bytes)),
        };
        body.insert(field.name.clone(), value);
    }
    if let Some(column) = &collection.geometry {
        let shape = record.geometry.as_ref().map_or(Json::Null, geo_json);
        body.insert(column.name.clone(), shape);
    }
    Json::Object(body).to_string()
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

fn geo_json(geometry: &Geometry) -> Json {
    let of = |kind: &str, coordinates: Json| json!({"type": kind, "coordinates": coordinates});
    match geometry.shape() {
        Shape::Point(None) => of("Point", json!([])),
        Shape::Point(Some(at)) => of("Point", position(&at)),
        Shape::MultiPoint(points) => of("MultiPoint", line(&points)),
        Shape::LineString(points) => of("LineString", line(&points)),
        Shape::MultiLineString(lines) => of("MultiLineString", lists(&lines)),
        Shape::Polygon(rings) => of("Polygon", lists(&rings)),
        Shape::MultiPolygon(polygons) => {
            let all = polygons.iter().map(|rings| lists(rings)).collect();
            of("MultiPolygon", Json::Array(all))
        }
    }
}

fn position(at: &Position) -> Json {
    match at.z {
        Some(z) => json!([at.x, at.y, z]),
        None => json!([at.x, at.y]),
    }
}

fn line(points: &[Position]) -> Json {
    Json::Array(points.iter().map(position).collect())
}

fn lists(lines: &[Vec<Position>]) -> Json {
    Json::Array(lines.iter().map(|points| line(points)).collect())
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::schema::{Field, FieldType, GeometryColumn, GeometryKind};
    use crate::{CollectionId, CollectionKind};

    #[test]
    fn a_feature_is_a_document_with_its_attributes_and_geo_json() {
        let field = |name: &str, kind| Field {
            name: name.to_owned(),
            kind,
            nullable: true,
            ..Collection::documents(CollectionId(1), "x", "x", false).fields[0].clone()
        };
        let layer = Collection {
            kind: CollectionKind::Layer,
            geometry: Some(GeometryColumn {
                name: "geom".into(),
                kind: GeometryKind::Polygon,
                srid: 4326,
                has_z: false,
                has_m: false,
            }),
            fields: vec![
                field("name", FieldType::String),
                field("n", FieldType::Double),
                field("raw", FieldType::Blob),
            ],
            ..Collection::documents(CollectionId(1), "x", "x", false)
        };
        let ring = [(0.0, 0.0), (1.0, 0.0), (1.0, 1.5), (0.0, 0.0)];
        let ring = ring.iter().map(|&(x, y)| Position::xy(x, y)).collect();
        let record = Record {
            global_id: GlobalId::Uuid(Uuid::from_u128(0xab)),
            object_id: None,
            values: vec!["ash \"1\"".into(), Value::Null, Value::Blob(vec![0, 255])],
            geometry: Some(Geometry::from_shape(&Shape::Polygon(vec![ring]))),
        };
        assert_eq!(
            key_of(&record.global_id),
            "00000000-0000-0000-0000-0000000000AB"
        );
        assert_eq!(
            body_of(&layer, &record),
            r#"{"name":"ash \"1\"","n":null,"raw":"00ff","geom":{"type":"Polygon","coordinates":[[[0.0,0.0],[1.0,0.0],[1.0,1.5],[0.0,0.0]]]}}"#
        );
    }
}
