//! How two geometries relate, in the plane, by the `geo` crate.

use geo::{Intersects, Relate};
use geo_types::{
    Coord, Geometry as Planar, LineString, MultiLineString, MultiPoint, MultiPolygon, Point,
    Polygon,
};
use haversack_model::filter::SpatialRelation;
use haversack_model::{Envelope, Position, Shape};

/// The geometry of a question, decoded once per statement.
#[derive(Debug)]
pub struct Given {
    planar: Planar<f64>,
    envelope: Option<Envelope>,
}

fn line(positions: &[Position]) -> LineString<f64> {
    LineString(positions.iter().map(|p| Coord { x: p.x, y: p.y }).collect())
}

fn polygon(rings: &[Vec<Position>]) -> Polygon<f64> {
    let mut rings = rings.iter().map(|ring| line(ring));
    let exterior = rings.next().unwrap_or_else(|| LineString(Vec::new()));
    Polygon::new(exterior, rings.collect())
}

/// The planar form of a shape: x and y only.
pub fn to_planar(shape: &Shape) -> Planar<f64> {
    let points = |positions: &[Position]| {
        MultiPoint(positions.iter().map(|p| Point::new(p.x, p.y)).collect())
    };
    match shape {
        Shape::Point(Some(p)) => Point::new(p.x, p.y).into(),
        Shape::Point(None) => MultiPoint(Vec::new()).into(),
        Shape::MultiPoint(positions) => points(positions).into(),
        Shape::LineString(positions) => line(positions).into(),
        Shape::MultiLineString(lines) => {
            MultiLineString(lines.iter().map(|l| line(l)).collect()).into()
        }
        Shape::Polygon(rings) => polygon(rings).into(),
        Shape::MultiPolygon(polygons) => {
            MultiPolygon(polygons.iter().map(|rings| polygon(rings)).collect()).into()
        }
    }
}

impl Given {
    /// Prepares the geometry that records are compared with.
    pub fn new(shape: &Shape, envelope: Option<Envelope>) -> Self {
        Self {
            planar: to_planar(shape),
            envelope,
        }
    }

    /// Whether a record's geometry stands in this relation to it. Unknown if either is empty.
    ///
    /// `shape` is asked for only when the boxes leave the question open.
    pub fn relates(
        &self,
        relation: SpatialRelation,
        envelope: Option<Envelope>,
        shape: impl FnOnce() -> Option<Shape>,
    ) -> Option<bool> {
        let (own, given) = (envelope?, self.envelope?);
        if !own.intersects(&given) {
            return Some(false);
        }
        if relation == SpatialRelation::EnvelopeIntersects {
            return Some(true);
        }
        let planar = to_planar(&shape()?);
        Some(match relation {
            SpatialRelation::Intersects => planar.intersects(&self.planar),
            SpatialRelation::EnvelopeIntersects => true,
            SpatialRelation::Contains => planar.relate(&self.planar).is_contains(),
            SpatialRelation::Within => planar.relate(&self.planar).is_within(),
            SpatialRelation::Crosses => planar.relate(&self.planar).is_crosses(),
            SpatialRelation::Overlaps => planar.relate(&self.planar).is_overlaps(),
            SpatialRelation::Touches => planar.relate(&self.planar).is_touches(),
        })
    }
}

/// The number under which a relation is passed to SQL.
pub(crate) fn relation_code(relation: SpatialRelation) -> i64 {
    RELATIONS
        .iter()
        .position(|known| *known == relation)
        .expect("all relations are listed") as i64
}

/// The relation of a number.
pub(crate) fn relation_of(code: i64) -> Option<SpatialRelation> {
    RELATIONS.get(usize::try_from(code).ok()?).copied()
}

const RELATIONS: [SpatialRelation; 7] = [
    SpatialRelation::Intersects,
    SpatialRelation::EnvelopeIntersects,
    SpatialRelation::Contains,
    SpatialRelation::Within,
    SpatialRelation::Crosses,
    SpatialRelation::Overlaps,
    SpatialRelation::Touches,
];

#[cfg(test)]
mod tests {
    use haversack_model::Geometry;

    use super::*;

    fn area(min: f64, max: f64) -> Geometry {
        Envelope {
            min_x: min,
            min_y: min,
            max_x: max,
            max_y: max,
        }
        .to_polygon()
    }

    fn relation(own: &Geometry, relation: SpatialRelation, given: &Geometry) -> Option<bool> {
        Given::new(&given.shape(), given.envelope())
            .relates(relation, own.envelope(), || Some(own.shape()))
    }
    fn relates(own: &Geometry, wanted: SpatialRelation, given: &Geometry) -> bool {
        relation(own, wanted, given).unwrap()
    }

    #[test]
    fn the_record_is_the_subject_of_the_relation() {
        let (small, big) = (area(1.0, 2.0), area(0.0, 3.0));
        assert!(relates(&small, SpatialRelation::Within, &big));
        assert!(!relates(&small, SpatialRelation::Contains, &big));
        assert!(relates(&big, SpatialRelation::Contains, &small));
        assert!(relates(
            &area(0.0, 2.0),
            SpatialRelation::Overlaps,
            &area(1.0, 3.0)
        ));
        assert!(relates(
            &area(0.0, 1.0),
            SpatialRelation::Touches,
            &area(1.0, 2.0)
        ));
        assert!(!relates(
            &area(0.0, 1.0),
            SpatialRelation::Overlaps,
            &area(1.0, 2.0)
        ));
        let road = Geometry::from_shape(&Shape::LineString(vec![
            Position::xy(-1.0, 1.5),
            Position::xy(5.0, 1.5),
        ]));
        assert!(relates(&road, SpatialRelation::Crosses, &big));
    }

    #[test]
    fn how_an_empty_geometry_relates_is_unknown() {
        let empty = Geometry::from_shape(&Shape::Point(None));
        for wanted in RELATIONS {
            assert_eq!(relation(&empty, wanted, &area(0.0, 1.0)), None);
            assert_eq!(relation(&area(0.0, 1.0), wanted, &empty), None);
        }
    }
}
