//! Which ring is a hole of which.

use haversack_model::{Envelope, Geometry, Position, Shape};

/// A closed list of positions.
pub(super) type Ring = Vec<Position>;

/// Most comparisons of a hole with an exterior; beyond, a polygon is refused rather than looked at for minutes.
const MAX_COMPARISONS: usize = 50_000_000;

/// Most rings that are sorted by nesting when their orientation says nothing.
const MAX_NESTED: usize = 2_000;

/// Twice the signed area: positive when counter-clockwise.
pub(super) fn signed_area(ring: &[Position]) -> f64 {
    let Some(origin) = ring.first() else {
        return 0.0;
    };
    // Relative to the first position: far from the origin, products of large numbers would swallow small rings.
    ring.windows(2)
        .map(|pair| {
            let (a, b) = (&pair[0], &pair[1]);
            (a.x - origin.x) * (b.y - origin.y) - (b.x - origin.x) * (a.y - origin.y)
        })
        .sum()
}

fn envelope(ring: &[Position]) -> Option<Envelope> {
    ring.iter().map(Envelope::of).reduce(Envelope::union)
}

/// Whether a position lies within a ring; on the border it may say either.
fn surrounds(ring: &[Position], p: &Position) -> bool {
    let crossings = ring.windows(2).filter(|pair| {
        let (a, b) = (&pair[0], &pair[1]);
        (a.y > p.y) != (b.y > p.y) && p.x < (b.x - a.x) * (p.y - a.y) / (b.y - a.y) + a.x
    });
    crossings.count() % 2 == 1
}

/// Whether most of a few positions of `inner` lie within `outer`: single ones may lie on its border.
fn holds(outer: &[Position], inner: &[Position]) -> bool {
    let step = (inner.len() / 5).max(1);
    let probes: Vec<_> = inner.iter().step_by(step).take(5).collect();
    let inside = probes.iter().filter(|p| surrounds(outer, p)).count();
    inside * 2 > probes.len()
}

struct Measured {
    ring: Ring,
    area: f64,
    envelope: Envelope,
}

/// Sorts closed rings into polygons. Clockwise rings are exteriors; a ring the other way is a hole of the smallest
/// exterior around it. If a hole has no exterior, the orientation is not that of this dialect (GeoJSON has it the
/// other way round), and nesting decides alone.
///
/// `None` if there are too many rings to compare.
pub(super) fn assemble(rings: Vec<Ring>) -> Option<Vec<Vec<Ring>>> {
    let measured = rings.into_iter().filter_map(|ring| {
        let area = signed_area(&ring);
        let envelope = envelope(&ring)?;
        Some(Measured {
            ring,
            area,
            envelope,
        })
    });
    let (exteriors, holes): (Vec<_>, Vec<_>) = measured.partition(|m| m.area <= 0.0);
    if exteriors.len().saturating_mul(holes.len()) > MAX_COMPARISONS {
        return None;
    }
    let owners: Vec<Option<usize>> = holes.iter().map(|h| owner(&exteriors, h)).collect();
    if owners.contains(&None) && exteriors.len() + holes.len() <= MAX_NESTED {
        return Some(nest(exteriors.into_iter().chain(holes).collect()));
    }
    let mut polygons: Vec<Vec<Ring>> = exteriors
        .into_iter()
        .map(|m| vec![turned(m.ring, true)])
        .collect();
    for (hole, owner) in holes.into_iter().zip(owners) {
        match owner {
            Some(at) => polygons[at].push(turned(hole.ring, false)),
            None => polygons.push(vec![turned(hole.ring, true)]),
        }
    }
    Some(polygons)
}

/// The smallest of the exteriors that holds a hole.
fn owner(exteriors: &[Measured], hole: &Measured) -> Option<usize> {
    let mut candidates: Vec<usize> = (0..exteriors.len())
        .filter(|&at| exteriors[at].envelope.contains(&hole.envelope))
        .collect();
    if candidates.len() <= 1 {
        return candidates.pop();
    }
    candidates.sort_by(|&a, &b| exteriors[b].area.total_cmp(&exteriors[a].area));
    candidates
        .iter()
        .copied()
        .find(|&at| holds(&exteriors[at].ring, &hole.ring))
}

/// Even depth is an exterior, odd depth a hole of the ring directly around it.
fn nest(mut rings: Vec<Measured>) -> Vec<Vec<Ring>> {
    rings.sort_by(|a, b| b.area.abs().total_cmp(&a.area.abs()));
    let mut depths: Vec<usize> = Vec::with_capacity(rings.len());
    let mut parents: Vec<Option<usize>> = Vec::with_capacity(rings.len());
    for (at, ring) in rings.iter().enumerate() {
        // Larger rings come first, so the last one that holds this ring is the one directly around it.
        let parent = (0..at).rev().find(|&outer| {
            rings[outer].envelope.contains(&ring.envelope) && holds(&rings[outer].ring, &ring.ring)
        });
        depths.push(parent.map_or(0, |outer| depths[outer] + 1));
        parents.push(parent);
    }
    let mut places = vec![0; rings.len()];
    let mut polygons: Vec<Vec<Ring>> = Vec::new();
    for (at, measured) in rings.into_iter().enumerate() {
        if let Some(parent) = parents[at].filter(|_| depths[at] % 2 == 1) {
            places[at] = places[parent];
            polygons[places[parent]].push(turned(measured.ring, false));
        } else {
            places[at] = polygons.len();
            polygons.push(vec![turned(measured.ring, true)]);
        }
    }
    polygons
}

/// The ring in the wanted orientation.
pub(super) fn turned(mut ring: Ring, counter_clockwise: bool) -> Ring {
    let area = signed_area(&ring);
    if (counter_clockwise && area < 0.0) || (!counter_clockwise && area > 0.0) {
        ring.reverse();
    }
    ring
}

/// The form that every geometry has after a way through this dialect: multi-part, exteriors counter-clockwise, holes
/// clockwise. Two geometries that look the same to a client are equal in this form.
pub fn normalised(geometry: &Geometry) -> Geometry {
    let rings = |rings: Vec<Ring>| -> Vec<Ring> {
        let turn = |(at, ring)| turned(ring, at == 0);
        rings.into_iter().enumerate().map(turn).collect()
    };
    let shape = match geometry.shape() {
        Shape::LineString(line) if line.is_empty() => Shape::MultiLineString(Vec::new()),
        Shape::LineString(line) => Shape::MultiLineString(vec![line]),
        Shape::Polygon(polygon) if polygon.is_empty() => Shape::MultiPolygon(Vec::new()),
        Shape::Polygon(polygon) => Shape::MultiPolygon(vec![rings(polygon)]),
        Shape::MultiPolygon(polygons) => {
            Shape::MultiPolygon(polygons.into_iter().map(rings).collect())
        }
        same => same,
    };
    Geometry::from_shape(&shape)
}
