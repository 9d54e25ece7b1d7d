//! Places: GeoJSON as the dialect writes it, and geometries as copies hold them.

use haversack_model::{Geometry, Position, Shape};
use serde_json::{Value, json};

/// The geometry of a GeoJSON object; `None` if it is none, or one that cannot be drawn.
pub fn read(value: &Value) -> Option<Geometry> {
    let coordinates = value.get("coordinates")?;
    let shape = match value.get("type")?.as_str()? {
        "Point" => Shape::Point(Some(position(coordinates)?)),
        "MultiPoint" => Shape::MultiPoint(positions(coordinates, 1)?),
        "LineString" => Shape::LineString(positions(coordinates, 2)?),
        "MultiLineString" => Shape::MultiLineString(each(coordinates, |line| positions(line, 2))?),
        "Polygon" => Shape::Polygon(rings(coordinates)?),
        "MultiPolygon" => Shape::MultiPolygon(each(coordinates, rings)?),
        _ => return None,
    };
    Some(Geometry::from_shape(&shape))
}

/// A geometry as GeoJSON. Empty ones are null.
pub fn write(geometry: &Geometry) -> Value {
    let line = |line: &[Position]| line.iter().map(write_position).collect::<Vec<_>>();
    let lines = |lines: &[Vec<Position>]| lines.iter().map(|l| line(l)).collect::<Vec<_>>();
    match geometry.shape() {
        Shape::Point(None) => Value::Null,
        Shape::Point(Some(at)) => json!({"type": "Point", "coordinates": write_position(&at)}),
        Shape::MultiPoint(points) => json!({"type": "MultiPoint", "coordinates": line(&points)}),
        Shape::LineString(points) => json!({"type": "LineString", "coordinates": line(&points)}),
        Shape::MultiLineString(all) => {
            json!({"type": "MultiLineString", "coordinates": lines(&all)})
        }
        Shape::Polygon(all) => json!({"type": "Polygon", "coordinates": lines(&all)}),
        Shape::MultiPolygon(all) => {
            let all: Vec<_> = all.iter().map(|rings| lines(rings)).collect();
            json!({"type": "MultiPolygon", "coordinates": all})
        }
    }
}

fn write_position(at: &Position) -> Value {
    match at.z {
        Some(z) => json!([at.x, at.y, z]),
        None => json!([at.x, at.y]),
    }
}

fn position(value: &Value) -> Option<Position> {
    let numbers = value.as_array()?;
    let at = |index: usize| numbers.get(index).and_then(Value::as_f64);
    let (x, y) = at(0).zip(at(1))?;
    // A height of one vertex alone would be lost in most programs; places are flat here.
    (x.is_finite() && y.is_finite()).then(|| Position::xy(x, y))
}

fn each<T>(value: &Value, read: impl Fn(&Value) -> Option<T>) -> Option<Vec<T>> {
    let items = value.as_array().filter(|items| !items.is_empty())?;
    items.iter().map(read).collect()
}

fn positions(value: &Value, least: usize) -> Option<Vec<Position>> {
    each(value, position).filter(|found| found.len() >= least)
}

/// Rings are closed, whatever was sent.
fn rings(value: &Value) -> Option<Vec<Vec<Position>>> {
    each(value, |ring| {
        let mut ring = positions(ring, 3)?;
        if ring.first() != ring.last() {
            ring.extend(ring.first().copied());
        }
        (ring.len() >= 4).then_some(ring)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_place_comes_back_as_it_was() {
        for place in [
            json!({"type": "Point", "coordinates": [-11.78, 8.25]}),
            json!({"type": "MultiPoint", "coordinates": [[1.0, 2.0], [3.0, 4.0]]}),
            json!({"type": "LineString", "coordinates": [[1.0, 2.0], [3.0, 4.0]]}),
            json!({"type": "MultiLineString", "coordinates": [[[1.0, 2.0], [3.0, 4.0]]]}),
            json!({"type": "Polygon", "coordinates": [[[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 0.0]]]}),
            json!({"type": "MultiPolygon", "coordinates": [[[[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 0.0]]]]}),
        ] {
            assert_eq!(write(&read(&place).unwrap()), place);
        }
    }

    #[test]
    fn an_open_ring_is_closed_and_what_is_no_place_is_nothing() {
        let open = json!({"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1]]]});
        let closed = write(&read(&open).unwrap());
        assert_eq!(closed["coordinates"][0].as_array().unwrap().len(), 4);
        for place in [
            json!(null),
            json!({"type": "Point", "coordinates": []}),
            json!({"type": "Point", "coordinates": ["1", 2]}),
            json!({"type": "Polygon", "coordinates": [[[0, 0], [0, 0]]]}),
            json!({"type": "Circle", "coordinates": [1, 2]}),
            json!("Point"),
        ] {
            assert!(read(&place).is_none(), "{place}");
        }
    }
}
