//! Query answers as protocol buffers, for clients that draw.
//!
//! Coordinates are whole numbers on a grid, each x and y after the first of a part as the step to it, z and m as they are;
//! polygons run as on the JSON wire. The messages are those of the public `FeatureCollection` definition, version as
//! clients expect it. Counts and ids have messages of their own; extents have none and come as JSON.

use haversack_model::query::Query;
use haversack_model::schema::GeometryKind;
use haversack_model::{Collection, Geometry, Position, ReadTx, Record, Shape, Value as Field};
use prost::Message;
use serde_json::Value as Json;

use super::super::answer::{Answer, Spool};
use super::super::metadata::layer;
use super::super::problem::{Problem, Result};
use super::records::{Style, stream};
use super::simplify::{Grid, HEIGHT_STEP, steps_of_heights, thinned};
use crate::wire::crs;
use crate::wire::feature::Column;
use crate::wire::params::Params;

/// The geometry type of rows without a place.
const NO_GEOMETRY: i32 = 127;

/// The root message.
#[derive(Clone, PartialEq, Message)]
struct FeatureCollection {
    #[prost(string, tag = "1")]
    version: String,
    #[prost(message, optional, tag = "2")]
    result: Option<QueryResult>,
}

#[derive(Clone, PartialEq, Message)]
struct QueryResult {
    #[prost(message, optional, tag = "1")]
    features: Option<FeatureResult>,
    #[prost(message, optional, tag = "2")]
    count: Option<CountResult>,
    #[prost(message, optional, tag = "3")]
    ids: Option<IdsResult>,
}

#[derive(Clone, PartialEq, Message)]
struct CountResult {
    #[prost(uint64, tag = "1")]
    count: u64,
}

#[derive(Clone, PartialEq, Message)]
struct IdsResult {
    #[prost(string, tag = "1")]
    object_id_field: String,
    #[prost(uint64, repeated, tag = "3")]
    ids: Vec<u64>,
}

#[derive(Clone, PartialEq, Message)]
struct FeatureResult {
    #[prost(string, tag = "1")]
    object_id_field: String,
    #[prost(message, optional, tag = "2")]
    unique_id_field: Option<UniqueIdField>,
    #[prost(string, tag = "3")]
    global_id_field: String,
    #[prost(int32, tag = "7")]
    geometry_type: i32,
    #[prost(message, optional, tag = "8")]
    spatial_reference: Option<SpatialReference>,
    #[prost(bool, tag = "9")]
    exceeded_transfer_limit: bool,
    #[prost(bool, tag = "10")]
    has_z: bool,
    #[prost(bool, tag = "11")]
    has_m: bool,
    #[prost(message, optional, tag = "12")]
    transform: Option<Transform>,
    #[prost(message, repeated, tag = "13")]
    fields: Vec<FieldMessage>,
    #[prost(message, repeated, tag = "15")]
    features: Vec<Feature>,
}

#[derive(Clone, PartialEq, Message)]
struct UniqueIdField {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(bool, tag = "2")]
    is_system_maintained: bool,
}

#[derive(Clone, PartialEq, Message)]
struct SpatialReference {
    #[prost(uint32, tag = "1")]
    wkid: u32,
    #[prost(uint32, tag = "2")]
    latest_wkid: u32,
}

#[derive(Clone, PartialEq, Message)]
struct FieldMessage {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(int32, tag = "2")]
    kind: i32,
    #[prost(string, tag = "3")]
    alias: String,
}

#[derive(Clone, PartialEq, Message)]
struct Transform {
    #[prost(int32, tag = "1")]
    origin: i32,
    #[prost(message, optional, tag = "2")]
    scale: Option<Four>,
    #[prost(message, optional, tag = "3")]
    translate: Option<Four>,
}

#[derive(Clone, PartialEq, Message)]
struct Four {
    #[prost(double, tag = "1")]
    x: f64,
    #[prost(double, tag = "2")]
    y: f64,
    #[prost(double, tag = "3")]
    m: f64,
    #[prost(double, tag = "4")]
    z: f64,
}

#[derive(Clone, PartialEq, Message)]
struct Feature {
    #[prost(message, repeated, tag = "1")]
    attributes: Vec<Value>,
    #[prost(message, optional, tag = "2")]
    geometry: Option<GeometryMessage>,
}

#[derive(Clone, PartialEq, Message)]
struct GeometryMessage {
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(uint32, repeated, tag = "2")]
    lengths: Vec<u32>,
    #[prost(sint64, repeated, tag = "3")]
    coords: Vec<i64>,
}

#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(oneof = "Content", tags = "1, 3, 8")]
    content: Option<Content>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Content {
    #[prost(string, tag = "1")]
    Text(String),
    #[prost(double, tag = "3")]
    Real(f64),
    #[prost(sint64, tag = "8")]
    Integer(i64),
}

/// One page of records.
pub(crate) fn answer(
    tx: &dyn ReadTx,
    style: &Style<'_>,
    query: &Query,
    page: u64,
    params: &Params,
) -> Result<Answer> {
    let collection = style.collection;
    let wants = style.geometry.is_some();
    let grid = Grid::of_params(params)?.unwrap_or_else(|| fine_grid(style.srid));
    let (has_z, has_m) = style.z_and_m();
    let kind = collection.geometry.as_ref().map(|column| column.kind);
    let mut features = Vec::new();
    let more = stream(tx, query, page, &mut |record| {
        let attributes = style.columns.iter().map(|column| value(*column, &record));
        let placed = if wants { style.placed(&record)? } else { None };
        features.push(Feature {
            attributes: attributes.collect(),
            geometry: placed.map(|geometry| {
                let geometry = match style.thin {
                    Some(tolerance) => thinned(&geometry, tolerance),
                    None => geometry,
                };
                to_message(grid, (has_z, has_m), &geometry)
            }),
        });
        Ok(())
    })?;
    let result = FeatureResult {
        object_id_field: collection.object_id_field.clone(),
        unique_id_field: Some(UniqueIdField {
            name: collection.object_id_field.clone(),
            is_system_maintained: true,
        }),
        global_id_field: collection.global_id_field.clone(),
        geometry_type: kind.filter(|_| wants).map_or(NO_GEOMETRY, type_number),
        spatial_reference: wants.then(|| reference(style.srid)),
        exceeded_transfer_limit: more,
        has_z,
        has_m,
        transform: wants.then_some(Transform {
            origin: i32::from(!grid.from_top),
            scale: Some(Four {
                x: grid.tolerance,
                y: grid.tolerance,
                m: HEIGHT_STEP,
                z: HEIGHT_STEP,
            }),
            translate: Some(Four {
                x: grid.left,
                y: grid.origin_y,
                m: 0.0,
                z: 0.0,
            }),
        }),
        fields: style
            .columns
            .iter()
            .map(|c| field(*c, collection))
            .collect(),
        features,
    };
    spool(QueryResult {
        features: Some(result),
        ..QueryResult::default()
    })
}

/// Rows that were computed: fields as JSON tells them, and the values in their order.
pub(crate) fn table(fields: &[Json], rows: &[Vec<Field>], more: bool) -> Result<Answer> {
    let text = |field: &Json, name: &str| field[name].as_str().unwrap_or_default().to_owned();
    let fields = fields.iter().map(|field| FieldMessage {
        name: text(field, "name"),
        kind: field_type(field["type"].as_str().unwrap_or_default()),
        alias: text(field, "alias"),
    });
    let features = rows.iter().map(|row| Feature {
        attributes: row.iter().map(|value| content(Some(value))).collect(),
        geometry: None,
    });
    spool(QueryResult {
        features: Some(FeatureResult {
            geometry_type: NO_GEOMETRY,
            exceeded_transfer_limit: more,
            fields: fields.collect(),
            features: features.collect(),
            ..FeatureResult::default()
        }),
        ..QueryResult::default()
    })
}

/// The number of records.
pub(crate) fn count(count: i64) -> Result<Answer> {
    spool(QueryResult {
        count: Some(CountResult {
            count: count.unsigned_abs(),
        }),
        ..QueryResult::default()
    })
}

/// Object ids.
pub(crate) fn ids(collection: &Collection, ids: &[i64]) -> Result<Answer> {
    spool(QueryResult {
        ids: Some(IdsResult {
            object_id_field: collection.object_id_field.clone(),
            ids: ids.iter().map(|id| id.unsigned_abs()).collect(),
        }),
        ..QueryResult::default()
    })
}

fn spool(result: QueryResult) -> Result<Answer> {
    let message = FeatureCollection {
        version: String::new(),
        result: Some(result),
    };
    let mut content = Spool::new();
    std::io::Write::write_all(&mut content, &message.encode_to_vec())
        .map_err(|error| Problem::io("writing an answer", &error))?;
    Ok(Answer::Spooled {
        content,
        content_type: "application/x-protobuf",
    })
}

/// A grid that loses nothing that matters: a tenth of a millimetre. Rows count downwards, because there are parsers
/// (arcgis-pbf-parser 0.0.4) that know no other way.
fn fine_grid(srid: i32) -> Grid {
    Grid {
        tolerance: if crs::is_geographic(srid) { 1e-9 } else { 1e-4 },
        left: 0.0,
        origin_y: 0.0,
        from_top: true,
    }
}

fn reference(srid: i32) -> SpatialReference {
    let told = crs::to_json(srid);
    let number = |name: &str| told[name].as_u64().and_then(|n| u32::try_from(n).ok());
    SpatialReference {
        wkid: number("wkid").unwrap_or_default(),
        latest_wkid: number("latestWkid").unwrap_or_default(),
    }
}

fn type_number(kind: GeometryKind) -> i32 {
    match kind {
        GeometryKind::Point => 0,
        GeometryKind::Multipoint => 1,
        GeometryKind::Polyline => 2,
        GeometryKind::Polygon => 3,
    }
}

/// The number of a field type: its place in the enumeration of the definition.
fn field_type(name: &str) -> i32 {
    const TYPES: [&str; 17] = [
        "esriFieldTypeSmallInteger",
        "esriFieldTypeInteger",
        "esriFieldTypeSingle",
        "esriFieldTypeDouble",
        "esriFieldTypeString",
        "esriFieldTypeDate",
        "esriFieldTypeOID",
        "esriFieldTypeGeometry",
        "esriFieldTypeBlob",
        "esriFieldTypeRaster",
        "esriFieldTypeGUID",
        "esriFieldTypeGlobalID",
        "esriFieldTypeXML",
        "esriFieldTypeBigInteger",
        "esriFieldTypeDateOnly",
        "esriFieldTypeTimeOnly",
        "esriFieldTypeTimestampOffset",
    ];
    let place = TYPES.iter().position(|known| *known == name);
    place.and_then(|at| i32::try_from(at).ok()).unwrap_or(4)
}

fn field(column: Column, collection: &Collection) -> FieldMessage {
    let kind = field_type(match column {
        Column::ObjectId => "esriFieldTypeOID",
        Column::GlobalId => "esriFieldTypeGlobalID",
        Column::Field(at) => layer::type_names(collection.fields[at].kind).0,
    });
    let alias = match column {
        Column::Field(at) => &collection.fields[at].alias,
        _ => column.name(collection),
    };
    FieldMessage {
        name: column.name(collection).to_owned(),
        kind,
        alias: alias.to_owned(),
    }
}

fn value(column: Column, record: &Record) -> Value {
    match column {
        Column::ObjectId => content(record.object_id.map(|id| Field::Integer(id.0)).as_ref()),
        Column::GlobalId => content(Some(&Field::Text(record.global_id.braced()))),
        Column::Field(at) => content(record.values.get(at)),
    }
}

fn content(value: Option<&Field>) -> Value {
    let content = match value {
        Some(Field::Integer(n)) => Some(Content::Integer(*n)),
        Some(Field::Real(x)) => Some(Content::Real(*x)),
        Some(Field::Text(text)) => Some(Content::Text(text.clone())),
        Some(Field::Null | Field::Blob(_)) | None => None,
    };
    Value { content }
}

fn to_message(grid: Grid, heights: (bool, bool), geometry: &Geometry) -> GeometryMessage {
    let mut message = GeometryMessage {
        kind: type_number(geometry.kind()),
        ..GeometryMessage::default()
    };
    let mut part = |points: &mut dyn Iterator<Item = &Position>| {
        let (mut before, mut count) = ((0, 0), 0);
        for point in points {
            let (x, y) = grid.cell(point);
            message.coords.extend([x - before.0, y - before.1]);
            message.coords.extend(steps_of_heights(heights, point));
            before = (x, y);
            count += 1;
        }
        message.lengths.push(count);
    };
    match geometry.shape() {
        Shape::Point(None) => {}
        Shape::Point(Some(point)) => part(&mut std::iter::once(&point)),
        Shape::MultiPoint(points) | Shape::LineString(points) => part(&mut points.iter()),
        Shape::MultiLineString(lines) => {
            for line in &lines {
                part(&mut line.iter());
            }
        }
        Shape::Polygon(rings) => {
            for ring in &rings {
                part(&mut ring.iter().rev());
            }
        }
        Shape::MultiPolygon(polygons) => {
            for ring in polygons.iter().flatten() {
                part(&mut ring.iter().rev());
            }
        }
    }
    if geometry.kind() == GeometryKind::Point {
        // A point has no parts.
        message.lengths.clear();
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_is_turned_and_told_in_steps() {
        let ring = [(0.0, 0.0), (2.0, 0.0), (2.0, 2.0), (0.0, 0.0)];
        let ring = ring.iter().map(|&(x, y)| Position::xy(x, y)).collect();
        let triangle = Geometry::from_shape(&Shape::Polygon(vec![ring]));
        let grid = Grid {
            tolerance: 1.0,
            ..fine_grid(3857)
        };
        let message = to_message(grid, (false, false), &triangle);
        assert_eq!(message.lengths, [4]);
        assert_eq!(message.coords, [0, 0, 2, -2, 0, 2, -2, 0]);
    }
}
