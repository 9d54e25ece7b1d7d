//! Reader of EsriJSON geometry.

use haversack_model::schema::{GeometryColumn, GeometryKind};
use haversack_model::{Envelope, Geometry, Position, Shape};
use serde_json::{Map, Value};

use super::rings::{Ring, assemble, signed_area};
use crate::wire::crs;
use crate::wire::json::{kind, member, parse};
use crate::wire::params::illegal;
use crate::{Error, Result};

/// A geometry as it came, with the reference that it named.
#[derive(Clone, Debug, PartialEq)]
pub struct EsriGeometry {
    /// Its coordinates as sent.
    pub geometry: Geometry,
    /// EPSG code of its reference, if it named one.
    pub srid: Option<i32>,
}

/// Reads any EsriJSON geometry; an envelope becomes a polygon.
///
/// # Errors
/// [`Error::Geometry`] that says what is wrong; true curves are refused by name. [`Error::UnknownWkid`].
pub fn read(value: &Value) -> Result<EsriGeometry> {
    let Value::Object(members) = value else {
        return Err(Error::geometry(format!(
            "must be an object with x and y, points, paths or rings, not {}",
            kind(value)
        )));
    };
    for curves in ["curvePaths", "curveRings"] {
        if members.contains_key(curves) {
            return Err(Error::geometry(format!(
                "'{curves}' holds true curves, which are not supported; send straight segments"
            )));
        }
    }
    let srid = member(members, "spatialReference")
        .map(|reference| crs::from_json(reference, "spatialReference"))
        .transpose()?;
    let geometry = Geometry::from_shape(&shape(members)?);
    Ok(EsriGeometry { geometry, srid })
}

fn shape(members: &Map<String, Value>) -> Result<Shape> {
    if let Some(points) = members.get("points") {
        return Ok(Shape::MultiPoint(positions(points, members, "points")?));
    }
    if let Some(paths) = members.get("paths") {
        let mut lines = Vec::new();
        for path in list(paths, "paths")? {
            let line = positions(path, members, "paths")?;
            match line.len() {
                0 => {}
                1 => return Err(Error::geometry("a path needs two positions")),
                _ => lines.push(line),
            }
        }
        return Ok(Shape::MultiLineString(lines));
    }
    if let Some(rings) = members.get("rings") {
        return polygon(rings, members);
    }
    if members.contains_key("xmin") {
        return Ok(envelope(members)?.to_polygon().shape());
    }
    if members.contains_key("x") || members.contains_key("y") {
        return point(members);
    }
    Err(Error::geometry("has none of x and y, points, paths, rings"))
}

fn polygon(value: &Value, members: &Map<String, Value>) -> Result<Shape> {
    let list = list(value, "rings")?;
    let mut rings: Vec<Ring> = Vec::new();
    for ring in list {
        let mut ring = positions(ring, members, "rings")?;
        if let (Some(first), Some(last)) = (ring.first().copied(), ring.last())
            && (first.x, first.y) != (last.x, last.y)
        {
            ring.push(first);
        }
        // Clipping leaves rings that collapsed to a line; they enclose nothing.
        if ring.len() >= 4 && signed_area(&ring) != 0.0 {
            rings.push(ring);
        }
    }
    if rings.is_empty()
        && list
            .iter()
            .any(|ring| ring.as_array().is_some_and(|r| !r.is_empty()))
    {
        return Err(Error::geometry("no ring encloses an area"));
    }
    assemble(rings)
        .map(Shape::MultiPolygon)
        .ok_or_else(|| Error::geometry("has too many rings"))
}

fn point(members: &Map<String, Value>) -> Result<Shape> {
    let ordinate = |name: &str| -> Result<Option<f64>> {
        match members.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text.eq_ignore_ascii_case("nan") => Ok(None),
            Some(value) => number(value).map(Some),
        }
    };
    match (ordinate("x")?, ordinate("y")?) {
        (Some(x), Some(y)) => Ok(Shape::Point(Some(Position {
            x,
            y,
            z: ordinate("z")?,
            m: ordinate("m")?,
        }))),
        (None, None) => Ok(Shape::Point(None)),
        _ => Err(Error::geometry("a point needs both x and y")),
    }
}

/// A finite number; numeric text is accepted, as some clients quote coordinates.
fn number(value: &Value) -> Result<f64> {
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    number.filter(|x| x.is_finite()).ok_or_else(|| {
        Error::geometry(format!(
            "a coordinate must be a number, not {}",
            kind(value)
        ))
    })
}

fn list<'a>(value: &'a Value, name: &str) -> Result<&'a Vec<Value>> {
    value
        .as_array()
        .ok_or_else(|| Error::geometry(format!("'{name}' must be an array, not {}", kind(value))))
}

/// Positions of one list. The third number is z unless the geometry says that it has only m.
fn positions(value: &Value, members: &Map<String, Value>, name: &str) -> Result<Vec<Position>> {
    let says = |key| member(members, key).and_then(Value::as_bool);
    let only_m = says("hasM") == Some(true) && says("hasZ") != Some(true);
    let one = |item: &Value| -> Result<Position> {
        if item.is_object() {
            return Err(Error::geometry(format!(
                "'{name}' holds a curve, which is not supported"
            )));
        }
        let numbers = list(item, name)?;
        let optional = |at: usize| -> Result<Option<f64>> {
            match numbers.get(at) {
                None | Some(Value::Null) => Ok(None),
                Some(value) => number(value).map(Some),
            }
        };
        let (Some(x), Some(y)) = (optional(0)?, optional(1)?) else {
            return Err(Error::geometry(format!(
                "a position in '{name}' needs two numbers"
            )));
        };
        let (third, fourth) = (optional(2)?, optional(3)?);
        let (z, m) = if only_m {
            (None, third)
        } else {
            (third, fourth)
        };
        Ok(Position { x, y, z, m })
    };
    list(value, name)?.iter().map(one).collect()
}

fn envelope(members: &Map<String, Value>) -> Result<Envelope> {
    let side = |name: &str| -> Result<f64> {
        let value = members
            .get(name)
            .ok_or_else(|| Error::geometry(format!("an envelope needs '{name}'")))?;
        number(value)
    };
    ordered(Envelope {
        min_x: side("xmin")?,
        min_y: side("ymin")?,
        max_x: side("xmax")?,
        max_y: side("ymax")?,
    })
}

fn ordered(envelope: Envelope) -> Result<Envelope> {
    if envelope.min_x > envelope.max_x || envelope.min_y > envelope.max_y {
        return Err(Error::geometry(
            "an envelope's minimum is above its maximum",
        ));
    }
    Ok(envelope)
}

/// Reads `xmin,ymin,xmax,ymax`; blanks around the numbers are allowed.
///
/// # Errors
/// [`Error::Parameter`] under `name`.
pub fn envelope_from_text(text: &str, name: &str) -> Result<Envelope> {
    let legal = "xmin,ymin,xmax,ymax";
    let numbers: Vec<f64> = text
        .split(',')
        .map(|part| part.trim().parse::<f64>().ok().filter(|x| x.is_finite()))
        .collect::<Option<_>>()
        .ok_or_else(|| illegal(name, text, legal))?;
    let &[min_x, min_y, max_x, max_y] = numbers.as_slice() else {
        return Err(illegal(name, text, legal));
    };
    ordered(Envelope {
        min_x,
        min_y,
        max_x,
        max_y,
    })
    .map_err(|_reversed| illegal(name, text, "a minimum that is not above the maximum"))
}

/// Reads the `geometry` parameter: JSON, `x,y` or `xmin,ymin,xmax,ymax`.
///
/// Old clients put the whole filter into it, with `geometry` and `geometryType` inside; it is unwrapped.
///
/// # Errors
/// [`Error::Parameter`] under `name`, or what [`read`] says.
pub fn from_text(text: &str, name: &str) -> Result<EsriGeometry> {
    let trimmed = text.trim();
    if !trimmed.starts_with('{') {
        let numbers = trimmed.split(',').count();
        if numbers == 2 {
            let parts: Vec<&str> = trimmed.split(',').collect();
            let ordinate = |text: &str| text.trim().parse::<f64>().ok().filter(|x| x.is_finite());
            let (Some(x), Some(y)) = (ordinate(parts[0]), ordinate(parts[1])) else {
                return Err(illegal(name, text, "x,y"));
            };
            let geometry = Geometry::from_shape(&Shape::Point(Some(Position::xy(x, y))));
            return Ok(EsriGeometry {
                geometry,
                srid: None,
            });
        }
        let envelope = envelope_from_text(trimmed, name)?;
        return Ok(EsriGeometry {
            geometry: envelope.to_polygon(),
            srid: None,
        });
    }
    let value = parse(trimmed.as_bytes(), name)?;
    match value.get("geometry") {
        Some(Value::String(inner)) => read(&parse(inner.as_bytes(), name)?),
        Some(inner @ Value::Object(_)) => read(inner),
        _ => read(&value),
    }
}

/// Makes a geometry fit a layer: refuses another kind, adds a missing z (0) or m, drops what the layer does not have.
///
/// # Errors
/// [`Error::Geometry`] that names both kinds.
pub fn fit(geometry: &Geometry, column: &GeometryColumn) -> Result<Geometry> {
    let given = geometry.kind();
    if given != column.kind {
        return Err(Error::geometry(format!(
            "is a {}, the layer holds {}s",
            word(given),
            word(column.kind)
        )));
    }
    let shape = geometry
        .shape()
        .map_positions(&mut |p: &Position| Position {
            x: p.x,
            y: p.y,
            // Offline forms send flat geometry for layers with z; refusing it would lose the row.
            z: column
                .has_z
                .then(|| p.z.filter(|z| z.is_finite()).unwrap_or(0.0)),
            m: column.has_m.then(|| p.m.unwrap_or(f64::NAN)),
        });
    Ok(Geometry::from_shape(&shape))
}

fn word(kind: GeometryKind) -> &'static str {
    match kind {
        GeometryKind::Point => "point",
        GeometryKind::Multipoint => "multipoint",
        GeometryKind::Polyline => "polyline",
        GeometryKind::Polygon => "polygon",
    }
}
