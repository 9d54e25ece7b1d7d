//! Writer of EsriJSON geometry, straight to a stream.

use std::io::{self, Write};

use haversack_model::schema::GeometryKind;
use haversack_model::{Envelope, Geometry, Position, Shape};

use super::rings::turned;
use crate::wire::crs;
use crate::wire::json::{write_number, write_value};

/// What of a geometry is written, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GeometryOptions {
    /// Write z, if there is one.
    pub z: bool,
    /// Write m, if there is one.
    pub m: bool,
    /// Decimal places; `None` writes all that a float holds.
    pub precision: Option<u8>,
    /// Name this reference in the geometry itself.
    pub srid: Option<i32>,
}

impl GeometryOptions {
    /// Everything, at full precision, without naming the reference.
    pub const ALL: Self = Self {
        z: true,
        m: true,
        precision: None,
        srid: None,
    };
}

/// The dialect's name of a kind.
pub fn geometry_type(kind: GeometryKind) -> &'static str {
    match kind {
        GeometryKind::Point => "esriGeometryPoint",
        GeometryKind::Multipoint => "esriGeometryMultipoint",
        GeometryKind::Polyline => "esriGeometryPolyline",
        GeometryKind::Polygon => "esriGeometryPolygon",
    }
}

/// The kind of a name; `None` for names of other kinds.
pub fn kind_of_type(name: &str) -> Option<GeometryKind> {
    [
        GeometryKind::Point,
        GeometryKind::Multipoint,
        GeometryKind::Polyline,
        GeometryKind::Polygon,
    ]
    .into_iter()
    .find(|kind| geometry_type(*kind).eq_ignore_ascii_case(name))
}

pub(super) fn rounded(x: f64, precision: Option<u8>) -> f64 {
    match precision {
        None => x,
        Some(places) => {
            let factor = 10_f64.powi(i32::from(places.min(17)));
            let scaled = (x * factor).round() / factor;
            if scaled.is_finite() { scaled } else { x }
        }
    }
}

struct Writer<'a> {
    out: &'a mut dyn Write,
    options: GeometryOptions,
    z: bool,
    m: bool,
}

/// Writes a geometry as EsriJSON: exteriors clockwise, holes counter-clockwise.
pub fn write_esri(
    out: &mut dyn Write,
    geometry: &Geometry,
    options: GeometryOptions,
) -> io::Result<()> {
    let shape = geometry.shape();
    let (mut z, mut m) = (false, false);
    shape.for_each_position(&mut |p| {
        z |= p.z.is_some();
        m |= p.m.is_some();
    });
    let mut writer = Writer {
        out,
        options,
        z: z && options.z,
        m: m && options.m,
    };
    writer.shape(shape)
}

impl Writer<'_> {
    fn raw(&mut self, text: &str) -> io::Result<()> {
        self.out.write_all(text.as_bytes())
    }
    fn number(&mut self, x: f64) -> io::Result<()> {
        write_number(self.out, rounded(x, self.options.precision))
    }

    fn shape(&mut self, shape: Shape) -> io::Result<()> {
        match shape {
            Shape::Point(None) => self.raw(r#"{"x":null,"y":null"#)?,
            Shape::Point(Some(p)) => {
                self.raw(r#"{"x":"#)?;
                self.number(p.x)?;
                self.raw(r#","y":"#)?;
                self.number(p.y)?;
                if let Some(z) = p.z.filter(|_| self.z) {
                    self.raw(r#","z":"#)?;
                    self.number(z)?;
                }
                if let Some(m) = p.m.filter(|_| self.m) {
                    self.raw(r#","m":"#)?;
                    self.number(m)?;
                }
            }
            Shape::MultiPoint(points) => {
                self.head("points")?;
                self.positions(&points)?;
            }
            Shape::LineString(line) => self.paths(&[line])?,
            Shape::MultiLineString(lines) => self.paths(&lines)?,
            Shape::Polygon(rings) => self.polygons(vec![rings])?,
            Shape::MultiPolygon(polygons) => self.polygons(polygons)?,
        }
        if let Some(srid) = self.options.srid {
            self.raw(r#","spatialReference":"#)?;
            write_value(self.out, &crs::to_json(srid))?;
        }
        self.raw("}")
    }

    /// Opens the object up to its list.
    fn head(&mut self, list: &str) -> io::Result<()> {
        self.raw("{")?;
        if self.z {
            self.raw(r#""hasZ":true,"#)?;
        }
        if self.m {
            self.raw(r#""hasM":true,"#)?;
        }
        write!(self.out, r#""{list}":"#)
    }

    fn position(&mut self, p: &Position) -> io::Result<()> {
        self.raw("[")?;
        self.number(p.x)?;
        self.raw(",")?;
        self.number(p.y)?;
        if self.z {
            self.raw(",")?;
            self.number(p.z.unwrap_or(0.0))?;
        }
        if self.m {
            self.raw(",")?;
            self.number(p.m.unwrap_or(f64::NAN))?;
        }
        self.raw("]")
    }

    fn positions(&mut self, positions: &[Position]) -> io::Result<()> {
        self.raw("[")?;
        for (at, position) in positions.iter().enumerate() {
            if at > 0 {
                self.raw(",")?;
            }
            self.position(position)?;
        }
        self.raw("]")
    }

    fn lists(&mut self, name: &str, lists: &[Vec<Position>]) -> io::Result<()> {
        self.head(name)?;
        self.raw("[")?;
        let filled = lists.iter().filter(|list| !list.is_empty());
        for (at, list) in filled.enumerate() {
            if at > 0 {
                self.raw(",")?;
            }
            self.positions(list)?;
        }
        self.raw("]")
    }

    fn paths(&mut self, lines: &[Vec<Position>]) -> io::Result<()> {
        self.lists("paths", lines)
    }

    fn polygons(&mut self, polygons: Vec<Vec<Vec<Position>>>) -> io::Result<()> {
        let rings: Vec<Vec<Position>> = polygons
            .into_iter()
            .flat_map(|polygon| {
                let turn = |(at, ring)| turned(ring, at != 0);
                polygon.into_iter().enumerate().map(turn)
            })
            .collect();
        self.lists("rings", &rings)
    }
}

/// Writes a box as an EsriJSON envelope with its reference.
pub fn write_envelope(out: &mut dyn Write, envelope: &Envelope, srid: i32) -> io::Result<()> {
    let sides = [
        ("xmin", envelope.min_x),
        ("ymin", envelope.min_y),
        ("xmax", envelope.max_x),
        ("ymax", envelope.max_y),
    ];
    for (at, (name, side)) in sides.into_iter().enumerate() {
        write!(out, "{}\"{name}\":", if at == 0 { '{' } else { ',' })?;
        write_number(out, side)?;
    }
    write!(out, r#","spatialReference":{}}}"#, crs::to_json(srid))
}
