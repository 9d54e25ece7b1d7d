//! Values and geometries of files as the model's: nothing is rounded or guessed on the way.

use serde_json::Value as Json;

use haversack_geoservices::wire::geometry::normalised;
use haversack_model::schema::GeometryKind;
use haversack_model::{FieldType, Geometry, Position, Shape, Value};

use super::infer;

/// A JSON value for a field of a type. `None` if it does not fit.
pub(super) fn value(kind: FieldType, json: &Json) -> Option<Value> {
    Some(match (kind, json) {
        (_, Json::Null) => Value::Null,
        (
            FieldType::SmallInteger | FieldType::Integer | FieldType::BigInteger,
            Json::Bool(flag),
        ) => Value::Integer(i64::from(*flag)),
        (FieldType::SmallInteger | FieldType::Integer | FieldType::BigInteger, Json::Number(n)) => {
            let whole = n.as_f64().filter(|x| x.fract() == 0.0 && x.abs() < 9e15);
            Value::Integer(n.as_i64().or(whole.map(|x| x as i64))?)
        }
        (FieldType::Single | FieldType::Double, Json::Number(n)) => Value::Real(n.as_f64()?),
        (FieldType::Date, Json::String(text)) => Value::Integer(infer::instant(text)?),
        (FieldType::Date, Json::Number(n)) => Value::Integer(n.as_i64()?),
        (
            FieldType::String
            | FieldType::DateOnly
            | FieldType::TimeOnly
            | FieldType::TimestampOffset
            | FieldType::Guid,
            Json::String(text),
        ) => Value::Text(text.clone()),
        (FieldType::String, other) => Value::Text(other.to_string()),
        _ => return None,
    })
}

/// A value of one type for a field of another. `None` if it does not fit without loss.
pub(super) fn recast(kind: FieldType, value: Value) -> Option<Value> {
    use FieldType as F;
    Some(match (kind, value) {
        (F::Single | F::Double, Value::Integer(n)) if n.abs() < 1 << 53 => Value::Real(n as f64),
        (F::SmallInteger | F::Integer | F::BigInteger, Value::Real(x))
            if x.fract() == 0.0 && x.abs() < 9e15 =>
        {
            Value::Integer(x as i64)
        }
        (F::String, Value::Integer(n)) => Value::Text(n.to_string()),
        (F::String, Value::Real(x)) => Value::Text(x.to_string()),
        (F::Date, Value::Text(text)) => Value::Integer(infer::instant(&text)?),
        (_, value) => value,
    })
}

/// A GeoJSON geometry. `Ok(None)` for null and for empty ones.
pub(super) fn geometry(json: &Json) -> Result<Option<Shape>, String> {
    if json.is_null() {
        return Ok(None);
    }
    let kind = json.get("type").and_then(Json::as_str).unwrap_or_default();
    let coordinates = json
        .get("coordinates")
        .and_then(Json::as_array)
        .ok_or_else(|| format!("a geometry of type {kind:?} is not supported"))?;
    let shape = match kind {
        "Point" if coordinates.is_empty() => return Ok(None),
        "Point" => Shape::Point(Some(position(coordinates)?)),
        "MultiPoint" => Shape::MultiPoint(line(coordinates)?),
        "LineString" => Shape::LineString(line(coordinates)?),
        "MultiLineString" => Shape::MultiLineString(nested(coordinates, line)?),
        "Polygon" => Shape::Polygon(nested(coordinates, ring)?),
        "MultiPolygon" => Shape::MultiPolygon(nested(coordinates, |rings| nested(rings, ring))?),
        other => return Err(format!("a geometry of type {other:?} is not supported")),
    };
    let mut count = 0;
    shape.for_each_position(&mut |_| count += 1);
    Ok((count > 0).then_some(shape))
}

fn nested<T>(list: &[Json], of: impl Fn(&[Json]) -> Result<T, String>) -> Result<Vec<T>, String> {
    list.iter()
        .map(|item| {
            let inner = item
                .as_array()
                .ok_or("coordinates are not nested as they should be")?;
            of(inner)
        })
        .collect()
}

fn line(list: &[Json]) -> Result<Vec<Position>, String> {
    nested(list, position)
}

/// A ring that its writer did not close is closed.
fn ring(list: &[Json]) -> Result<Vec<Position>, String> {
    let mut ring = line(list)?;
    if let (Some(first), Some(last)) = (ring.first().copied(), ring.last())
        && first != *last
    {
        ring.push(first);
    }
    Ok(ring)
}

fn position(list: &[Json]) -> Result<Position, String> {
    let number = |at: usize| list.get(at).and_then(Json::as_f64);
    let (Some(x), Some(y)) = (number(0), number(1)) else {
        return Err("a position has fewer than two numbers".to_owned());
    };
    Ok(Position {
        x,
        y,
        z: number(2),
        m: None,
    })
}

/// The shape as the layer wants it: points as multi-points where the layer holds several, heights where it has them; lines
/// and areas in the one form in which feature services tell them, so that an unchanged geometry that comes back is equal.
pub(super) fn fit(shape: &Shape, kind: GeometryKind, has_z: bool, has_m: bool) -> Geometry {
    let shape = match (kind, shape) {
        (GeometryKind::Multipoint, Shape::Point(point)) => {
            Shape::MultiPoint(point.iter().copied().collect())
        }
        (_, shape) => shape.clone(),
    };
    let fitted = shape.map_positions(&mut |p| Position {
        z: has_z.then(|| p.z.unwrap_or(0.0)),
        m: has_m.then(|| p.m.unwrap_or(0.0)),
        ..*p
    });
    normalised(&Geometry::from_shape(&fitted))
}
