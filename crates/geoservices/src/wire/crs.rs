//! Spatial references by their codes, and transforms between them.
//!
//! Data is stored in the layer's own reference and transformed on request only; equal references are never
//! transformed. No grids are used, so pairs with a datum shift are as good as their seven parameters (metres, not
//! millimetres); projections on one datum agree with PROJ to 0.1 mm (DEPENDENCIES 4).

use haversack_model::{Envelope, Geometry, Position};
use proj4rs::Proj;
use serde_json::{Map, Value, json};

use crate::wire::json::{integer, kind, member};
use crate::{Error, Result};

/// Latitudes that Web Mercator and its kin have an image of.
pub const MERCATOR_LATITUDE: f64 = 85.06;

/// Codes that mean EPSG:3857.
const WEB_MERCATOR: [i64; 4] = [3857, 102_100, 102_113, 900_913];

/// The code of this program for a well-known id.
///
/// # Errors
/// [`Error::UnknownWkid`] if no definition of the code is known.
pub fn epsg(wkid: i64) -> Result<i32> {
    if WEB_MERCATOR.contains(&wkid) {
        return Ok(3857);
    }
    u16::try_from(wkid)
        .ok()
        .filter(|code| crs_definitions::from_code(*code).is_some())
        .map(i32::from)
        .ok_or(Error::UnknownWkid { wkid })
}

/// Reads `4326`, `"102100"` or `{"wkid":102100,"latestWkid":3857}`.
///
/// # Errors
/// [`Error::UnknownWkid`]; [`Error::Parameter`] if it is none of these forms, such as `{"wkt":..}`.
pub fn from_json(value: &Value, name: &str) -> Result<i32> {
    match value {
        Value::Object(members) => from_object(members, name),
        other => integer(other)
            .ok_or_else(|| {
                Error::parameter(
                    name,
                    format!("must be a code or a spatial reference, not {}", kind(other)),
                )
            })
            .and_then(epsg),
    }
}

fn from_object(members: &Map<String, Value>, name: &str) -> Result<i32> {
    let code = |key| member(members, key).and_then(integer);
    // Old clients write no latestWkid, and some write a wkid that only they know beside a latestWkid that we do.
    let codes = [code("latestWkid"), code("wkid")];
    let mut unknown = None;
    for wkid in codes.into_iter().flatten() {
        match epsg(wkid) {
            Ok(found) => return Ok(found),
            Err(error) => unknown = unknown.or(Some(error)),
        }
    }
    Err(unknown.unwrap_or_else(|| {
        Error::parameter(
            name,
            "needs a spatial reference with 'wkid'; well-known text is not supported",
        )
    }))
}

/// Reads the text of a parameter such as `outSR`: a code or a JSON object.
pub fn from_text(text: &str, name: &str) -> Result<i32> {
    let trimmed = text.trim();
    if trimmed.starts_with('{') {
        return from_json(&crate::wire::json::parse(trimmed.as_bytes(), name)?, name);
    }
    // `EPSG:4326` occurs in scripts.
    let digits = trimmed
        .strip_prefix("EPSG:")
        .or_else(|| trimmed.strip_prefix("epsg:"))
        .unwrap_or(trimmed);
    digits
        .parse::<i64>()
        .map_err(|_not_a_number| {
            crate::wire::params::illegal(
                name,
                text,
                "a code such as 4326, or a spatial reference in JSON",
            )
        })
        .and_then(epsg)
}

/// The pair of codes that clients expect: Web Mercator keeps its old number beside the new one.
pub fn to_json(srid: i32) -> Value {
    let wkid = if srid == 3857 { 102_100 } else { srid };
    json!({ "wkid": wkid, "latestWkid": srid })
}

/// Whether coordinates of a reference are degrees.
pub fn is_geographic(srid: i32) -> bool {
    projection(srid).is_ok_and(|proj| proj.is_latlong())
}

fn projection(srid: i32) -> Result<Proj> {
    let wkid = i64::from(srid);
    let definition = u16::try_from(srid)
        .ok()
        .and_then(crs_definitions::from_code)
        .ok_or(Error::UnknownWkid { wkid })?;
    Proj::from_proj_string(definition.proj4).map_err(|_unsupported| Error::UnknownWkid { wkid })
}

/// A transform between two references.
#[derive(Debug)]
pub struct Transform {
    from: (i32, Proj),
    to: (i32, Proj),
}

impl Transform {
    /// The transform from one reference to another; `None` if they are the same and coordinates stay untouched.
    ///
    /// # Errors
    /// [`Error::UnknownWkid`] if one of them cannot be computed with.
    pub fn between(from: i32, to: i32) -> Result<Option<Self>> {
        if from == to {
            return Ok(None);
        }
        Ok(Some(Self {
            from: (from, projection(from)?),
            to: (to, projection(to)?),
        }))
    }

    /// Transforms one coordinate, easting or longitude first.
    ///
    /// # Errors
    /// [`Error::Reproject`] if it lies outside the projection's area.
    pub fn xy(&self, x: f64, y: f64) -> Result<(f64, f64)> {
        let fail = |problem: String| Error::Reproject {
            from: self.from.0,
            to: self.to.0,
            problem,
        };
        let (x_in, y_in) = if self.from.1.is_latlong() {
            (x.to_radians(), y.to_radians())
        } else {
            (x, y)
        };
        let (x_out, y_out) = proj4rs::adaptors::transform_xy(&self.from.1, &self.to.1, x_in, y_in)
            .map_err(|e| fail(format!("({x}, {y}): {e}")))?;
        let (x_out, y_out) = if self.to.1.is_latlong() {
            (x_out.to_degrees(), y_out.to_degrees())
        } else {
            (x_out, y_out)
        };
        if x_out.is_finite() && y_out.is_finite() {
            Ok((x_out, y_out))
        } else {
            Err(fail(format!("({x}, {y}) has no image")))
        }
    }

    /// Transforms a geometry; z and m stay.
    pub fn geometry(&self, geometry: &Geometry) -> Result<Geometry> {
        let mut failure = None;
        let shape = geometry
            .shape()
            .map_positions(&mut |p: &Position| match self.xy(p.x, p.y) {
                Ok((x, y)) => Position { x, y, ..*p },
                Err(error) => {
                    failure.get_or_insert(error);
                    *p
                }
            });
        match failure {
            Some(error) => Err(error),
            None => Ok(Geometry::from_shape(&shape)),
        }
    }

    /// The box around the image of a box, whose borders are followed in steps because they may bend. The poles, which Web
    /// Mercator does not have, are cut off.
    pub fn envelope(&self, envelope: &Envelope) -> Result<Envelope> {
        match self.image(envelope) {
            Err(Error::Reproject { .. }) if self.from.1.is_latlong() => self.image(&Envelope {
                min_x: envelope.min_x.clamp(-180.0, 180.0),
                min_y: envelope.min_y.clamp(-MERCATOR_LATITUDE, MERCATOR_LATITUDE),
                max_x: envelope.max_x.clamp(-180.0, 180.0),
                max_y: envelope.max_y.clamp(-MERCATOR_LATITUDE, MERCATOR_LATITUDE),
            }),
            other => other,
        }
    }

    fn image(&self, envelope: &Envelope) -> Result<Envelope> {
        const STEPS: u32 = 20;
        let mut all: Option<Envelope> = None;
        for step in 0..=STEPS {
            let part = f64::from(step) / f64::from(STEPS);
            let x = envelope.min_x + (envelope.max_x - envelope.min_x) * part;
            let y = envelope.min_y + (envelope.max_y - envelope.min_y) * part;
            for (x, y) in [
                (x, envelope.min_y),
                (x, envelope.max_y),
                (envelope.min_x, y),
                (envelope.max_x, y),
            ] {
                let (x, y) = self.xy(x, y)?;
                let one = Envelope::of(&Position::xy(x, y));
                all = Some(all.map_or(one, |e| e.union(one)));
            }
        }
        all.ok_or_else(|| Error::geometry("an empty box"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_four_numbers_of_web_mercator_are_one_reference() {
        for wkid in WEB_MERCATOR {
            assert_eq!(epsg(wkid).ok(), Some(3857));
        }
        assert_eq!(from_text(r#"{"wkid":102100}"#, "outSR").ok(), Some(3857));
        assert!(Transform::between(3857, 3857).expect("known").is_none());
        assert_eq!(
            to_json(3857).to_string(),
            r#"{"wkid":102100,"latestWkid":3857}"#
        );
    }

    #[test]
    fn an_unknown_code_is_named() {
        assert_eq!(
            epsg(999_999).expect_err("unknown").to_string(),
            "spatial reference 999999 is not known"
        );
        assert!(
            from_text("north", "inSR")
                .expect_err("no code")
                .to_string()
                .contains("'inSR'")
        );
        assert_eq!(
            from_text(r#"{"wkid":999999,"latestWkid":4326}"#, "outSR").ok(),
            Some(4326)
        );
    }

    #[test]
    fn prague_lands_where_proj_puts_it() {
        let to = |srid| {
            Transform::between(4326, srid)
                .expect("known")
                .expect("different")
        };
        // Made with: echo "14.42 50.09" | gdaltransform -s_srs EPSG:4326 -t_srs EPSG:N (GDAL 3.6.2, PROJ 9.1.1)
        for (srid, x, y) in [
            (3857, 1_605_227.057_239, 6_461_876.869_155),
            (32633, 458_510.869_726, 5_548_798.472_520),
        ] {
            let (got_x, got_y) = to(srid).xy(14.42, 50.09).expect("inside");
            assert!(
                (got_x - x).abs() < 1e-3 && (got_y - y).abs() < 1e-3,
                "{srid}: {got_x} {got_y}"
            );
        }
        let (x, y) = to(3857).xy(14.42, 50.09).expect("inside");
        let back = Transform::between(3857, 4326)
            .expect("known")
            .expect("different");
        let (lon, lat) = back.xy(x, y).expect("inside");
        assert!((lon - 14.42).abs() < 1e-9 && (lat - 50.09).abs() < 1e-9);
    }

    #[test]
    fn a_pole_has_no_image_in_web_mercator() {
        let transform = Transform::between(4326, 3857)
            .expect("known")
            .expect("different");
        assert!(transform.xy(0.0, 90.0).is_err());
        let world = Envelope {
            min_x: -180.0,
            min_y: -90.0,
            max_x: 180.0,
            max_y: 90.0,
        };
        let image = transform.envelope(&world).expect("the poles are cut off");
        assert!(
            image.min_x < -20_037_508.0 && image.max_y > 20_000_000.0,
            "{image:?}"
        );
    }
}
