//! The GeoPackage form of a geometry: a header with CRS and box, then WKB.
//!
//! Lines and areas carry their box; points do not, since their two coordinates are it. The empty bit is set
//! for geometries without a position. Source: OGC 12-128r17, 2.1.3.

use haversack_model::{Envelope, Geometry, Result, Shape};

use crate::error::corrupt;

const LITTLE_ENDIAN: u8 = 0x01;
const ENVELOPE_XY: u8 = 0x02;
const EMPTY: u8 = 0x10;
const EXTENDED: u8 = 0x20;

/// The blob of a geometry, and its box, which the index needs too.
pub fn encode(geometry: &Geometry, srid: i32) -> (Vec<u8>, Option<Envelope>) {
    let wkb = geometry.as_wkb();
    let point = point_of(wkb);
    let is_point = !matches!(point, Point::None);
    let envelope = match point {
        Point::At(envelope) => Some(envelope),
        Point::Empty => None,
        Point::None => geometry.envelope(),
    };
    let mut blob = Vec::with_capacity(40 + wkb.len());
    blob.extend(b"GP\0");
    blob.push(match &envelope {
        None => LITTLE_ENDIAN | EMPTY,
        Some(_) if is_point => LITTLE_ENDIAN,
        Some(_) => LITTLE_ENDIAN | ENVELOPE_XY,
    });
    blob.extend(srid.to_le_bytes());
    if let (Some(e), false) = (&envelope, is_point) {
        for bound in [e.min_x, e.max_x, e.min_y, e.max_y] {
            blob.extend(bound.to_le_bytes());
        }
    }
    blob.extend(wkb);
    (blob, envelope)
}

/// A WKB geometry, looked at as a point.
enum Point {
    At(Envelope),
    Empty,
    None,
}

fn point_of(wkb: &[u8]) -> Point {
    match coordinates_of(wkb) {
        None => Point::None,
        Some((x, y)) if x.is_nan() || y.is_nan() => Point::Empty,
        Some((x, y)) => Point::At(Envelope {
            min_x: x,
            min_y: y,
            max_x: x,
            max_y: y,
        }),
    }
}

fn coordinates_of(wkb: &[u8]) -> Option<(f64, f64)> {
    let little = *wkb.first()? != 0;
    let code = read_u32(wkb.get(1..5)?, little)?;
    if (code & 0x0fff_ffff) % 1000 != 1 || code & 0x2000_0000 != 0 {
        return None;
    }
    Some((
        read_f64(wkb.get(5..13)?, little)?,
        read_f64(wkb.get(13..21)?, little)?,
    ))
}

fn read_u32(bytes: &[u8], little: bool) -> Option<u32> {
    let bytes = bytes.try_into().ok()?;
    Some(if little {
        u32::from_le_bytes(bytes)
    } else {
        u32::from_be_bytes(bytes)
    })
}

fn read_f64(bytes: &[u8], little: bool) -> Option<f64> {
    let bytes = bytes.try_into().ok()?;
    Some(if little {
        f64::from_le_bytes(bytes)
    } else {
        f64::from_be_bytes(bytes)
    })
}

/// The parts of a blob.
struct Header<'a> {
    empty: bool,
    envelope: Option<Envelope>,
    wkb: &'a [u8],
}

fn header(blob: &[u8]) -> Option<Header<'_>> {
    let (head, rest) = blob.split_at_checked(8)?;
    let flags = head[3];
    if &head[..2] != b"GP" || flags & EXTENDED != 0 {
        return None;
    }
    let little = flags & LITTLE_ENDIAN != 0;
    let bounds = match (flags >> 1) & 7 {
        0 => 0,
        1 => 4,
        2 | 3 => 6,
        4 => 8,
        _ => return None,
    };
    let (box_bytes, wkb) = rest.split_at_checked(bounds * 8)?;
    let bound = |at: usize| read_f64(box_bytes.get(at * 8..at * 8 + 8)?, little);
    let envelope = match (bound(0), bound(1), bound(2), bound(3)) {
        (Some(min_x), Some(max_x), Some(min_y), Some(max_y)) if !min_x.is_nan() => Some(Envelope {
            min_x,
            min_y,
            max_x,
            max_y,
        }),
        _ => None,
    };
    Some(Header {
        empty: flags & EMPTY != 0,
        envelope,
        wkb,
    })
}

/// The geometry of a blob, written by us or by another program.
///
/// # Errors
/// [`haversack_model::Error::Corrupt`] if it is not a GeoPackage geometry of a simple type.
pub fn decode(blob: &[u8]) -> Result<Geometry> {
    let head = header(blob).ok_or_else(|| corrupt("a geometry has no GeoPackage header"))?;
    Geometry::from_wkb(head.wkb).map_err(|problem| corrupt(format!("a geometry: {problem}")))
}

/// The readable form of a blob's geometry, without keeping bytes.
pub(crate) fn decode_shape(blob: &[u8]) -> Option<Shape> {
    decode(blob).ok().map(|geometry| geometry.shape())
}

/// The box of a blob's geometry; `None` if it is empty or unreadable. Reads the header where that is enough.
pub fn envelope(blob: &[u8]) -> Option<Envelope> {
    let head = header(blob)?;
    if head.empty {
        return None;
    }
    match (head.envelope, point_of(head.wkb)) {
        (Some(envelope), _) | (None, Point::At(envelope)) => Some(envelope),
        (None, Point::Empty) => None,
        (None, Point::None) => Geometry::from_wkb(head.wkb).ok()?.envelope(),
    }
}

#[cfg(test)]
mod tests {
    use haversack_model::Position;

    use super::*;

    #[test]
    fn a_line_carries_its_box_and_comes_back() {
        let line = Geometry::from_shape(&Shape::LineString(vec![
            Position::xy(3.0, -1.0),
            Position::xy(1.0, 2.0),
        ]));
        let (blob, envelope) = encode(&line, 4326);
        assert_eq!(&blob[..8], b"GP\0\x03\xe6\x10\0\0");
        assert_eq!(super::envelope(&blob), envelope);
        assert!(envelope.is_some_and(|e| e.contains(&Envelope::of(&Position::xy(1.0, -1.0)))));
        assert_eq!(decode(&blob).unwrap(), line);
    }

    #[test]
    fn an_empty_geometry_has_the_empty_bit_and_no_box() {
        for shape in [
            Shape::Point(None),
            Shape::MultiPolygon(vec![]),
            Shape::LineString(vec![]),
        ] {
            let empty = Geometry::from_shape(&shape);
            let (blob, envelope) = encode(&empty, 3857);
            assert_eq!(blob[3], 0x11);
            assert_eq!(envelope, None);
            assert_eq!(super::envelope(&blob), None);
            assert_eq!(decode(&blob).unwrap(), empty);
        }
    }

    #[test]
    fn a_point_is_its_own_box() {
        let point = Geometry::from_shape(&Shape::Point(Some(Position::xy(5.0, 6.0))));
        let (blob, envelope) = encode(&point, 3857);
        assert_eq!(blob.len(), 8 + 21);
        assert_eq!(super::envelope(&blob), envelope);
        assert_eq!(envelope, Some(Envelope::of(&Position::xy(5.0, 6.0))));
    }

    #[test]
    fn every_prefix_of_a_blob_is_refused_without_a_panic() {
        let area = Envelope {
            min_x: 0.0,
            min_y: 0.0,
            max_x: 1.0,
            max_y: 1.0,
        }
        .to_polygon();
        let (blob, _) = encode(&area, 4326);
        for end in 0..blob.len() {
            assert!(decode(&blob[..end]).is_err(), "prefix of {end} bytes");
            let _must_not_panic = envelope(&blob[..end]);
        }
    }
}
