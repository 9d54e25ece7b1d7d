//! Coarser geometry for maps: fewer positions (`maxAllowableOffset`) and whole numbers (`quantizationParameters`).
//!
//! Only what is drawn is made coarser; stored geometry never is. Source: GeoServices "Query", the two parameters.

use std::io::{self, Write};

use haversack_model::{Geometry, Position, Shape};

use super::super::problem::{Problem, Result};
use crate::wire::crs;
use crate::wire::params::Params;

/// Step in which z and m are told on a grid, whatever the size of its cells: they lose nothing that matters.
pub(crate) const HEIGHT_STEP: f64 = 1e-4;

/// z and m of a position in steps of [`HEIGHT_STEP`], those that are wanted; an unknown one is told as 0.
pub(crate) fn steps_of_heights(
    (z, m): (bool, bool),
    p: &Position,
) -> impl Iterator<Item = i64> + use<> {
    let steps = |value: Option<f64>| {
        let value = value.filter(|value| value.is_finite()).unwrap_or(0.0);
        (value / HEIGHT_STEP).round() as i64
    };
    let (z, m) = (z.then(|| steps(p.z)), m.then(|| steps(p.m)));
    z.into_iter().chain(m)
}

/// Removes positions that are nearer than `tolerance` to the line without them.
pub(crate) fn thinned(geometry: &Geometry, tolerance: f64) -> Geometry {
    let line = |points: &Vec<Position>| thin(points, tolerance, 2);
    let ring = |points: &Vec<Position>| thin(points, tolerance, 4);
    let shape = match geometry.shape() {
        Shape::LineString(points) => Shape::LineString(line(&points)),
        Shape::MultiLineString(lines) => Shape::MultiLineString(lines.iter().map(line).collect()),
        Shape::Polygon(rings) => Shape::Polygon(rings.iter().map(ring).collect()),
        Shape::MultiPolygon(polygons) => Shape::MultiPolygon(
            polygons
                .iter()
                .map(|rings| rings.iter().map(ring).collect())
                .collect(),
        ),
        points => points,
    };
    Geometry::from_shape(&shape)
}

/// Ramer, Douglas and Peucker, with a stack of its own; a result below `least` positions is given up.
fn thin(points: &[Position], tolerance: f64, least: usize) -> Vec<Position> {
    if points.len() <= least {
        return points.to_vec();
    }
    let mut keep = vec![false; points.len()];
    let end = points.len() - 1;
    (keep[0], keep[end]) = (true, true);
    let mut spans = vec![(0, end)];
    while let Some((from, to)) = spans.pop() {
        let farthest = (from + 1..to)
            .map(|at| (at, distance(&points[at], &points[from], &points[to])))
            .max_by(|a, b| a.1.total_cmp(&b.1));
        if let Some((at, _)) = farthest.filter(|(_, apart)| *apart > tolerance) {
            keep[at] = true;
            spans.push((from, at));
            spans.push((at, to));
        }
    }
    let kept: Vec<Position> = points
        .iter()
        .zip(&keep)
        .filter(|(_, keep)| **keep)
        .map(|(p, _)| *p)
        .collect();
    if kept.len() < least {
        points.to_vec()
    } else {
        kept
    }
}

fn distance(p: &Position, a: &Position, b: &Position) -> f64 {
    let (dx, dy) = (b.x - a.x, b.y - a.y);
    let length = dx.hypot(dy);
    if length == 0.0 {
        return (p.x - a.x).hypot(p.y - a.y);
    }
    let along = (((p.x - a.x) * dx + (p.y - a.y) * dy) / (length * length)).clamp(0.0, 1.0);
    (p.x - (a.x + along * dx)).hypot(p.y - (a.y + along * dy))
}

/// A grid of whole numbers on which coordinates are written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Grid {
    /// Size of a cell.
    pub(crate) tolerance: f64,
    /// Coordinate of column zero.
    pub(crate) left: f64,
    /// Coordinate of row zero: the top of the extent, or its bottom.
    pub(crate) origin_y: f64,
    /// Whether rows count downwards.
    pub(crate) from_top: bool,
}

impl Grid {
    /// Reads `quantizationParameters`.
    pub(crate) fn of_params(params: &Params) -> Result<Option<Self>> {
        const NAME: &str = "quantizationParameters";
        let Some(members) = params.object(NAME)? else {
            return Ok(None);
        };
        let wrong = |problem: &str| Problem::parameter(NAME, problem);
        let tolerance = members.get("tolerance").and_then(serde_json::Value::as_f64);
        let tolerance = tolerance.unwrap_or(1.0);
        if !(tolerance.is_finite() && tolerance > 0.0) {
            return Err(wrong("'tolerance' must be a number above 0"));
        }
        let extent = members
            .get("extent")
            .ok_or_else(|| wrong("'extent' is required"))?;
        let sides = ["xmin", "ymin", "xmax", "ymax"].map(|side| extent[side].as_f64());
        let [Some(left), Some(bottom), Some(_), Some(top)] = sides else {
            return Err(wrong("'extent' needs xmin, ymin, xmax and ymax"));
        };
        if let Some(reference) = extent.get("spatialReference") {
            crs::from_json(reference, NAME)?;
        }
        let from_top = match members.get("originPosition").and_then(|v| v.as_str()) {
            None => true,
            Some(word) if word.eq_ignore_ascii_case("upperLeft") => true,
            Some(word) if word.eq_ignore_ascii_case("lowerLeft") => false,
            Some(_) => return Err(wrong("'originPosition' must be upperLeft or lowerLeft")),
        };
        Ok(Some(Self {
            tolerance,
            left,
            origin_y: if from_top { top } else { bottom },
            from_top,
        }))
    }

    /// How a client gets coordinates back.
    pub(crate) fn to_json(self) -> serde_json::Value {
        serde_json::json!({
            "originPosition": if self.from_top { "upperLeft" } else { "lowerLeft" },
            "scale": [self.tolerance, self.tolerance, HEIGHT_STEP, HEIGHT_STEP],
            "translate": [self.left, self.origin_y, 0, 0],
        })
    }

    /// The cell of a position.
    pub(crate) fn cell(self, p: &Position) -> (i64, i64) {
        let rows = (p.y - self.origin_y) / self.tolerance;
        let rows = if self.from_top { -rows } else { rows };
        let columns = (p.x - self.left) / self.tolerance;
        (columns.round() as i64, rows.round() as i64)
    }

    /// Writes a geometry: the first cell of each part as it is, each further one as the step to it, z and m (those of
    /// `heights`) as they are.
    pub(crate) fn write(
        self,
        out: &mut dyn Write,
        geometry: &Geometry,
        heights: (bool, bool),
    ) -> io::Result<()> {
        let mut writer = GridWriter {
            grid: self,
            heights,
            out,
        };
        writer.geometry(geometry)
    }
}

struct GridWriter<'a> {
    grid: Grid,
    heights: (bool, bool),
    out: &'a mut dyn Write,
}

impl GridWriter<'_> {
    fn geometry(&mut self, geometry: &Geometry) -> io::Result<()> {
        match geometry.shape() {
            Shape::Point(None) => self.out.write_all(b"null"),
            Shape::Point(Some(p)) => {
                let (x, y) = self.grid.cell(&p);
                write!(self.out, "{{\"x\":{x},\"y\":{y}")?;
                let mut steps = steps_of_heights(self.heights, &p);
                for (name, _) in [("z", self.heights.0), ("m", self.heights.1)]
                    .iter()
                    .filter(|(_, wanted)| *wanted)
                {
                    write!(self.out, ",\"{name}\":{}", steps.next().unwrap_or(0))?;
                }
                self.out.write_all(b"}")
            }
            Shape::MultiPoint(points) => {
                self.open("points")?;
                self.part(points.iter(), true)?;
                self.out.write_all(b"}")
            }
            Shape::LineString(line) => self.parts("paths", &[line], false),
            Shape::MultiLineString(lines) => self.parts("paths", &lines, false),
            Shape::Polygon(rings) => self.parts("rings", &rings, true),
            Shape::MultiPolygon(polygons) => {
                let rings: Vec<_> = polygons.into_iter().flatten().collect();
                self.parts("rings", &rings, true)
            }
        }
    }

    fn open(&mut self, name: &str) -> io::Result<()> {
        self.out.write_all(b"{")?;
        for (name, wanted) in [("hasZ", self.heights.0), ("hasM", self.heights.1)] {
            if wanted {
                write!(self.out, "\"{name}\":true,")?;
            }
        }
        write!(self.out, "\"{name}\":")
    }

    fn parts(&mut self, name: &str, parts: &[Vec<Position>], turned: bool) -> io::Result<()> {
        self.open(name)?;
        self.out.write_all(b"[")?;
        for (at, part) in parts.iter().enumerate() {
            if at > 0 {
                self.out.write_all(b",")?;
            }
            // On the wire exteriors run clockwise, inside the other way.
            if turned {
                self.part(part.iter().rev(), false)?;
            } else {
                self.part(part.iter(), false)?;
            }
        }
        self.out.write_all(b"]}")
    }

    fn part<'a>(
        &mut self,
        points: impl Iterator<Item = &'a Position>,
        keep_equal: bool,
    ) -> io::Result<()> {
        self.out.write_all(b"[")?;
        let mut before: Option<(i64, i64)> = None;
        for point in points {
            let (x, y) = self.grid.cell(point);
            match before {
                None => write!(self.out, "[{x},{y}")?,
                Some(old) if old == (x, y) && !keep_equal => continue,
                Some((old_x, old_y)) => write!(self.out, ",[{},{}", x - old_x, y - old_y)?,
            }
            for step in steps_of_heights(self.heights, point) {
                write!(self.out, ",{step}")?;
            }
            self.out.write_all(b"]")?;
            before = Some((x, y));
        }
        self.out.write_all(b"]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(points: &[(f64, f64)]) -> Geometry {
        let points = points.iter().map(|&(x, y)| Position::xy(x, y)).collect();
        Geometry::from_shape(&Shape::LineString(points))
    }

    #[test]
    fn a_position_near_the_line_is_dropped_and_a_far_one_kept() {
        let bent = line(&[(0.0, 0.0), (1.0, 0.1), (2.0, 5.0), (3.0, 0.0)]);
        let expected = line(&[(0.0, 0.0), (2.0, 5.0), (3.0, 0.0)]);
        assert_eq!(thinned(&bent, 3.0), expected);
        assert_eq!(thinned(&bent, 0.0), bent);
    }

    #[test]
    fn a_ring_never_falls_below_a_triangle() {
        let ring = [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0), (0.0, 0.0)];
        let ring = ring.iter().map(|&(x, y)| Position::xy(x, y)).collect();
        let square = Geometry::from_shape(&Shape::Polygon(vec![ring]));
        assert_eq!(thinned(&square, 100.0), square);
    }

    #[test]
    fn cells_count_from_the_upper_left_and_steps_follow() {
        let grid = Grid {
            tolerance: 10.0,
            left: 0.0,
            origin_y: 100.0,
            from_top: true,
        };
        let mut out = Vec::new();
        grid.write(
            &mut out,
            &line(&[(0.0, 100.0), (20.0, 70.0), (21.0, 70.0), (50.0, 0.0)]),
            (false, false),
        )
        .unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            r#"{"paths":[[[0,0],[2,3],[3,7]]]}"#
        );
    }
}
