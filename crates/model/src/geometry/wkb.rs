//! Reader of foreign WKB and writer of the canonical form.

use super::{GeometryError, Position, Shape};

/// z or m ordinates, read from the type code.
#[derive(Clone, Copy)]
struct Dimensions {
    z: bool,
    m: bool,
}

impl Dimensions {
    fn bytes_per_position(self) -> usize {
        8 * (2 + usize::from(self.z) + usize::from(self.m))
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

pub(super) fn read(bytes: &[u8]) -> Result<Shape, GeometryError> {
    let mut reader = Reader { bytes, at: 0 };
    let shape = reader.geometry()?;
    let count = bytes.len() - reader.at;
    if count == 0 {
        Ok(shape)
    } else {
        Err(GeometryError::Trailing { count })
    }
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], GeometryError> {
        let end = self.at + N;
        let slice = self
            .bytes
            .get(self.at..end)
            .ok_or(GeometryError::Truncated {
                at: self.bytes.len(),
            })?;
        self.at = end;
        Ok(slice.try_into().expect("the slice has N bytes"))
    }
    fn u32(&mut self, little: bool) -> Result<u32, GeometryError> {
        let bytes = self.take::<4>()?;
        Ok(if little {
            u32::from_le_bytes(bytes)
        } else {
            u32::from_be_bytes(bytes)
        })
    }
    fn f64(&mut self, little: bool) -> Result<f64, GeometryError> {
        let bytes = self.take::<8>()?;
        Ok(if little {
            f64::from_le_bytes(bytes)
        } else {
            f64::from_be_bytes(bytes)
        })
    }

    /// Byte order, type (1 to 6) and dimensions of the geometry that starts here.
    fn header(&mut self) -> Result<(bool, u32, Dimensions), GeometryError> {
        let little = self.take::<1>()?[0] != 0;
        let code = self.u32(little)?;
        // EWKB flags z, m and srid in the high bits; ISO adds thousands.
        let (ewkb_z, ewkb_m, has_srid) = (
            code & 0x8000_0000 != 0,
            code & 0x4000_0000 != 0,
            code & 0x2000_0000 != 0,
        );
        let iso = code & 0x1fff_ffff;
        if iso >= 4000 {
            return Err(GeometryError::UnknownType { code });
        }
        if has_srid {
            self.u32(little)?;
        }
        let thousands = iso / 1000;
        let dimensions = Dimensions {
            z: ewkb_z || thousands & 1 == 1,
            m: ewkb_m || thousands & 2 == 2,
        };
        Ok((little, iso % 1000, dimensions))
    }

    fn position(
        &mut self,
        little: bool,
        dimensions: Dimensions,
    ) -> Result<Position, GeometryError> {
        let (x, y) = (self.f64(little)?, self.f64(little)?);
        let z = if dimensions.z {
            Some(self.f64(little)?)
        } else {
            None
        };
        let m = if dimensions.m {
            Some(self.f64(little)?)
        } else {
            None
        };
        Ok(Position { x, y, z, m })
    }

    fn positions(
        &mut self,
        little: bool,
        dimensions: Dimensions,
    ) -> Result<Vec<Position>, GeometryError> {
        let count = self.count(little, dimensions.bytes_per_position())?;
        (0..count)
            .map(|_| {
                let position = self.position(little, dimensions)?;
                if position.x.is_finite() && position.y.is_finite() {
                    Ok(position)
                } else {
                    Err(GeometryError::NotFinite)
                }
            })
            .collect()
    }

    /// A count that the remaining bytes can hold, so that a lie cannot allocate.
    fn count(&mut self, little: bool, bytes_each: usize) -> Result<usize, GeometryError> {
        let count = self.u32(little)? as usize;
        if count > (self.bytes.len() - self.at) / bytes_each {
            return Err(GeometryError::Truncated {
                at: self.bytes.len(),
            });
        }
        Ok(count)
    }

    fn rings(
        &mut self,
        little: bool,
        dimensions: Dimensions,
    ) -> Result<Vec<Vec<Position>>, GeometryError> {
        let count = self.count(little, 4)?;
        (0..count)
            .map(|_| self.positions(little, dimensions))
            .collect()
    }

    fn geometry(&mut self) -> Result<Shape, GeometryError> {
        let (little, kind, dimensions) = self.header()?;
        match kind {
            1 => self.point(little, dimensions).map(Shape::Point),
            2 => self.positions(little, dimensions).map(Shape::LineString),
            3 => self.rings(little, dimensions).map(Shape::Polygon),
            4 => {
                let parts = self.parts(little, 1, Reader::point)?;
                parts
                    .into_iter()
                    .map(|p| p.ok_or(GeometryError::NotFinite))
                    .collect::<Result<_, _>>()
                    .map(Shape::MultiPoint)
            }
            5 => self
                .parts(little, 2, Self::positions)
                .map(Shape::MultiLineString),
            6 => self.parts(little, 3, Self::rings).map(Shape::MultiPolygon),
            code => Err(GeometryError::UnknownType { code }),
        }
    }

    fn point(
        &mut self,
        little: bool,
        dimensions: Dimensions,
    ) -> Result<Option<Position>, GeometryError> {
        let position = self.position(little, dimensions)?;
        match (
            position.x.is_nan() && position.y.is_nan(),
            position.x.is_finite() && position.y.is_finite(),
        ) {
            (true, _) => Ok(None),
            (false, true) => Ok(Some(position)),
            (false, false) => Err(GeometryError::NotFinite),
        }
    }

    fn parts<T>(
        &mut self,
        little: bool,
        kind: u32,
        read: impl Fn(&mut Self, bool, Dimensions) -> Result<T, GeometryError>,
    ) -> Result<Vec<T>, GeometryError> {
        let count = self.count(little, 9)?;
        (0..count)
            .map(|_| {
                let (little, part_kind, dimensions) = self.header()?;
                if part_kind == kind {
                    read(self, little, dimensions)
                } else {
                    Err(GeometryError::UnknownType { code: part_kind })
                }
            })
            .collect()
    }
}

pub(super) fn write(shape: &Shape) -> Vec<u8> {
    let mut first = None;
    shape.for_each_position(&mut |p| {
        first.get_or_insert((p.z.is_some(), p.m.is_some()));
    });
    let (z, m) = first.unwrap_or_default();
    let mut writer = Writer {
        bytes: Vec::new(),
        dimensions: Dimensions { z, m },
    };
    writer.shape(shape);
    writer.bytes
}

struct Writer {
    bytes: Vec<u8>,
    dimensions: Dimensions,
}

impl Writer {
    fn header(&mut self, kind: u32) {
        let code = kind + 1000 * u32::from(self.dimensions.z) + 2000 * u32::from(self.dimensions.m);
        self.bytes.push(1);
        self.bytes.extend(code.to_le_bytes());
    }
    fn count(&mut self, count: usize) {
        self.bytes.extend((count as u32).to_le_bytes());
    }
    fn position(&mut self, p: &Position) {
        self.bytes.extend(p.x.to_le_bytes());
        self.bytes.extend(p.y.to_le_bytes());
        if self.dimensions.z {
            self.bytes.extend(p.z.unwrap_or(0.0).to_le_bytes());
        }
        if self.dimensions.m {
            self.bytes.extend(p.m.unwrap_or(f64::NAN).to_le_bytes());
        }
    }
    fn positions(&mut self, points: &[Position]) {
        self.count(points.len());
        points.iter().for_each(|p| self.position(p));
    }
    fn rings(&mut self, rings: &[Vec<Position>]) {
        self.count(rings.len());
        rings.iter().for_each(|ring| self.positions(ring));
    }
    fn point(&mut self, point: Option<&Position>) {
        self.header(1);
        self.position(point.unwrap_or(&Position::xy(f64::NAN, f64::NAN)));
    }

    fn shape(&mut self, shape: &Shape) {
        match shape {
            Shape::Point(point) => self.point(point.as_ref()),
            Shape::LineString(points) => {
                self.header(2);
                self.positions(points);
            }
            Shape::Polygon(rings) => {
                self.header(3);
                self.rings(rings);
            }
            Shape::MultiPoint(points) => {
                self.header(4);
                self.count(points.len());
                points.iter().for_each(|p| self.point(Some(p)));
            }
            Shape::MultiLineString(lines) => {
                self.header(5);
                self.count(lines.len());
                for line in lines {
                    self.header(2);
                    self.positions(line);
                }
            }
            Shape::MultiPolygon(polygons) => {
                self.header(6);
                self.count(polygons.len());
                for rings in polygons {
                    self.header(3);
                    self.rings(rings);
                }
            }
        }
    }
}
