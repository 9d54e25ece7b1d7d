//! Geometry as canonical bytes: ISO WKB, little endian, with or without z and m.
//!
//! Bytes make equality exact, copying cheap and z/m lossless. [`Shape`] is the readable form for codecs and
//! editors of coordinates. Planar algorithms live elsewhere: this crate has none.
//! Source: OGC 06-103r4 section 8 (WKB), ISO 13249-3 (z and m type codes).

use serde::{Deserialize, Serialize};

use crate::schema::GeometryKind;

mod wkb;

/// A validated geometry in canonical WKB.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<u8>", into = "Vec<u8>")]
pub struct Geometry(Box<[u8]>);

/// One coordinate: `xy` in the CRS's stored order (easting or longitude first), then optional z and m.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Position {
    /// Easting or longitude.
    pub x: f64,
    /// Northing or latitude.
    pub y: f64,
    /// Height, if the geometry has z.
    pub z: Option<f64>,
    /// Measure, if the geometry has m.
    pub m: Option<f64>,
}

impl Position {
    /// A position without z and m.
    pub fn xy(x: f64, y: f64) -> Self {
        Self {
            x,
            y,
            z: None,
            m: None,
        }
    }
}

/// Bounding box in x and y.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Envelope {
    /// Smallest x.
    pub min_x: f64,
    /// Smallest y.
    pub min_y: f64,
    /// Largest x.
    pub max_x: f64,
    /// Largest y.
    pub max_y: f64,
}

impl Envelope {
    /// The box of one position.
    pub fn of(position: &Position) -> Self {
        Self {
            min_x: position.x,
            min_y: position.y,
            max_x: position.x,
            max_y: position.y,
        }
    }
    /// The smallest box that holds both.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self {
            min_x: self.min_x.min(other.min_x),
            min_y: self.min_y.min(other.min_y),
            max_x: self.max_x.max(other.max_x),
            max_y: self.max_y.max(other.max_y),
        }
    }
    /// Whether the boxes share a point, borders included.
    pub fn intersects(&self, other: &Self) -> bool {
        self.min_x <= other.max_x
            && other.min_x <= self.max_x
            && self.min_y <= other.max_y
            && other.min_y <= self.max_y
    }
    /// Whether `other` lies within, borders included.
    pub fn contains(&self, other: &Self) -> bool {
        self.min_x <= other.min_x
            && other.max_x <= self.max_x
            && self.min_y <= other.min_y
            && other.max_y <= self.max_y
    }
    /// The box as a closed polygon, counter-clockwise from the lower left.
    pub fn to_polygon(self) -> Geometry {
        let ring = [
            (self.min_x, self.min_y),
            (self.max_x, self.min_y),
            (self.max_x, self.max_y),
            (self.min_x, self.max_y),
            (self.min_x, self.min_y),
        ];
        Geometry::from_shape(&Shape::Polygon(vec![
            ring.iter().map(|&(x, y)| Position::xy(x, y)).collect(),
        ]))
    }
}

/// The readable form of a geometry. Rings are closed (first position repeated), exterior ring first.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// A point; `None` is the empty point.
    Point(Option<Position>),
    /// Several points.
    MultiPoint(Vec<Position>),
    /// One line.
    LineString(Vec<Position>),
    /// Several lines.
    MultiLineString(Vec<Vec<Position>>),
    /// Rings of one polygon, exterior first.
    Polygon(Vec<Vec<Position>>),
    /// Several polygons.
    MultiPolygon(Vec<Vec<Vec<Position>>>),
}

/// Bytes that are not a geometry of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GeometryError {
    /// The bytes end before the geometry does.
    #[error("the geometry ends after {at} bytes, in the middle")]
    Truncated {
        /// Offset of the first missing byte.
        at: usize,
    },
    /// A type code that is not one of the six simple types.
    #[error("geometry type code {code} is not supported")]
    UnknownType {
        /// The code read.
        code: u32,
    },
    /// A coordinate is NaN or infinite outside an empty point.
    #[error("a coordinate is not a finite number")]
    NotFinite,
    /// Bytes follow the geometry.
    #[error("{count} bytes follow the geometry")]
    Trailing {
        /// How many.
        count: usize,
    },
}

impl Geometry {
    /// Reads ISO WKB or EWKB of either byte order and keeps it canonically.
    ///
    /// # Errors
    /// [`GeometryError`] for anything that is not exactly one simple geometry.
    pub fn from_wkb(bytes: &[u8]) -> Result<Self, GeometryError> {
        wkb::read(bytes).map(|shape| Self::from_shape(&shape))
    }
    /// Canonical bytes of a shape. z and m are written if the first position has them.
    pub fn from_shape(shape: &Shape) -> Self {
        Self(wkb::write(shape).into_boxed_slice())
    }
    /// The canonical WKB.
    pub fn as_wkb(&self) -> &[u8] {
        &self.0
    }
    /// The readable form.
    pub fn shape(&self) -> Shape {
        wkb::read(&self.0).expect("the bytes were validated when the value was made")
    }
    /// The bounding box; `None` for an empty geometry.
    pub fn envelope(&self) -> Option<Envelope> {
        let mut all: Option<Envelope> = None;
        self.shape().for_each_position(&mut |p| {
            let one = Envelope::of(p);
            all = Some(all.map_or(one, |e| e.union(one)));
        });
        all
    }
    /// Whether it has no position at all.
    pub fn is_empty(&self) -> bool {
        self.envelope().is_none()
    }
    /// The kind of layer that it fits.
    pub fn kind(&self) -> GeometryKind {
        match self.shape() {
            Shape::Point(_) => GeometryKind::Point,
            Shape::MultiPoint(_) => GeometryKind::Multipoint,
            Shape::LineString(_) | Shape::MultiLineString(_) => GeometryKind::Polyline,
            Shape::Polygon(_) | Shape::MultiPolygon(_) => GeometryKind::Polygon,
        }
    }
}

impl std::fmt::Debug for Geometry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Geometry({:?})", self.shape())
    }
}

impl TryFrom<Vec<u8>> for Geometry {
    type Error = GeometryError;
    fn try_from(bytes: Vec<u8>) -> Result<Self, GeometryError> {
        Self::from_wkb(&bytes)
    }
}
impl From<Geometry> for Vec<u8> {
    fn from(geometry: Geometry) -> Self {
        geometry.0.into_vec()
    }
}

impl Shape {
    /// Calls `visit` for each position, in order.
    pub fn for_each_position(&self, visit: &mut dyn FnMut(&Position)) {
        match self {
            Self::Point(point) => point.iter().for_each(visit),
            Self::MultiPoint(points) | Self::LineString(points) => points.iter().for_each(visit),
            Self::MultiLineString(lines) | Self::Polygon(lines) => {
                lines.iter().flatten().for_each(visit);
            }
            Self::MultiPolygon(polygons) => polygons.iter().flatten().flatten().for_each(visit),
        }
    }
    /// The same shape with each position replaced, as a reprojection does.
    #[must_use]
    pub fn map_positions(&self, change: &mut dyn FnMut(&Position) -> Position) -> Self {
        let mut line = |points: &Vec<Position>| points.iter().map(&mut *change).collect::<Vec<_>>();
        match self {
            Self::Point(point) => Self::Point(point.as_ref().map(change)),
            Self::MultiPoint(points) => Self::MultiPoint(line(points)),
            Self::LineString(points) => Self::LineString(line(points)),
            Self::MultiLineString(lines) => Self::MultiLineString(lines.iter().map(line).collect()),
            Self::Polygon(rings) => Self::Polygon(rings.iter().map(line).collect()),
            Self::MultiPolygon(polygons) => Self::MultiPolygon(
                polygons
                    .iter()
                    .map(|rings| rings.iter().map(&mut line).collect())
                    .collect(),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_polygon_with_z_survives_the_round_trip() {
        let p = |x, y| Position {
            x,
            y,
            z: Some(3.0),
            m: None,
        };
        let shape = Shape::MultiPolygon(vec![
            vec![vec![p(0.0, 0.0), p(1.0, 0.0), p(1.0, 1.0), p(0.0, 0.0)]],
            vec![],
        ]);
        let geometry = Geometry::from_shape(&shape);
        assert_eq!(geometry.shape(), shape);
        assert_eq!(Geometry::from_wkb(geometry.as_wkb()), Ok(geometry.clone()));
        assert_eq!(
            geometry.envelope(),
            Some(Envelope {
                min_x: 0.0,
                min_y: 0.0,
                max_x: 1.0,
                max_y: 1.0
            })
        );
    }

    #[test]
    fn a_count_beyond_the_bytes_is_refused_without_allocating() {
        let bytes = [1, 2, 0, 0, 0, 255, 255, 255, 255];
        assert!(matches!(
            Geometry::from_wkb(&bytes),
            Err(GeometryError::Truncated { .. })
        ));
    }

    #[test]
    fn an_empty_point_is_empty_and_keeps_its_kind() {
        let geometry = Geometry::from_shape(&Shape::Point(None));
        assert!(geometry.is_empty());
        assert_eq!(geometry.kind(), GeometryKind::Point);
        assert_eq!(geometry.shape(), Shape::Point(None));
    }

    #[test]
    fn every_prefix_of_a_geometry_is_an_error() {
        let line =
            Shape::MultiLineString(vec![vec![Position::xy(1.0, 2.0), Position::xy(3.0, 4.0)]]);
        let geometry = Geometry::from_shape(&line);
        for end in 0..geometry.as_wkb().len() {
            assert!(
                Geometry::from_wkb(&geometry.as_wkb()[..end]).is_err(),
                "prefix of {end} bytes"
            );
        }
    }
}
