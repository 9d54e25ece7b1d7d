//! Writer of GeoJSON geometry (RFC 7946: exteriors counter-clockwise, no m).

use std::io::{self, Write};

use haversack_model::{Geometry, Position, Shape};

use super::rings::turned;
use super::write::{GeometryOptions, rounded};
use crate::wire::json::write_number;

/// Writes a geometry as GeoJSON; its coordinates must be WGS 84 already. One part is written as the single type.
pub fn write_geojson(
    out: &mut dyn Write,
    geometry: &Geometry,
    options: GeometryOptions,
) -> io::Result<()> {
    let mut writer = Writer { out, options };
    match geometry.shape() {
        Shape::Point(None) => writer.raw("null"),
        Shape::Point(Some(p)) => writer.typed("Point", |w| w.position(&p)),
        Shape::MultiPoint(points) => writer.typed("MultiPoint", |w| w.positions(&points)),
        Shape::LineString(line) => writer.typed("LineString", |w| w.positions(&line)),
        Shape::MultiLineString(lines) => match lines.as_slice() {
            [line] => writer.typed("LineString", |w| w.positions(line)),
            lines => writer.typed("MultiLineString", |w| w.lists(lines)),
        },
        Shape::Polygon(rings) => writer.typed("Polygon", |w| w.rings(rings)),
        Shape::MultiPolygon(mut polygons) => {
            if polygons.len() == 1 {
                let rings = polygons.remove(0);
                return writer.typed("Polygon", |w| w.rings(rings));
            }
            writer.typed("MultiPolygon", |w| w.listed(polygons, Writer::rings))
        }
    }
}

struct Writer<'a> {
    out: &'a mut dyn Write,
    options: GeometryOptions,
}

impl Writer<'_> {
    fn raw(&mut self, text: &str) -> io::Result<()> {
        self.out.write_all(text.as_bytes())
    }
    fn typed(
        &mut self,
        name: &str,
        coordinates: impl FnOnce(&mut Self) -> io::Result<()>,
    ) -> io::Result<()> {
        write!(self.out, r#"{{"type":"{name}","coordinates":"#)?;
        coordinates(self)?;
        self.raw("}")
    }
    fn listed<T>(
        &mut self,
        items: impl IntoIterator<Item = T>,
        mut one: impl FnMut(&mut Self, T) -> io::Result<()>,
    ) -> io::Result<()> {
        self.raw("[")?;
        for (at, item) in items.into_iter().enumerate() {
            if at > 0 {
                self.raw(",")?;
            }
            one(self, item)?;
        }
        self.raw("]")
    }
    fn position(&mut self, p: &Position) -> io::Result<()> {
        let z = p.z.filter(|_| self.options.z);
        let numbers = [Some(p.x), Some(p.y), z];
        self.listed(numbers.into_iter().flatten(), |w, x| {
            write_number(w.out, rounded(x, w.options.precision))
        })
    }
    fn positions(&mut self, positions: &[Position]) -> io::Result<()> {
        self.listed(positions, Self::position)
    }
    fn lists(&mut self, lists: &[Vec<Position>]) -> io::Result<()> {
        self.listed(lists, |w, list| w.positions(list))
    }
    fn rings(&mut self, rings: Vec<Vec<Position>>) -> io::Result<()> {
        let turned: Vec<_> = rings
            .into_iter()
            .enumerate()
            .map(|(at, ring)| turned(ring, at == 0))
            .collect();
        self.lists(&turned)
    }
}
