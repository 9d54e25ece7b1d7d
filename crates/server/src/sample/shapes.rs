//! Shapes of the sample: wandering lines, round areas, holes.

use haversack_model::{Geometry, Position, Shape};

use super::chance::Chance;

/// Where the sample burns, in metres of EPSG:3857: the hills behind the Californian and Oregon coast.
const BOX: [f64; 4] = [-13_780_000.0, 4_480_000.0, -13_440_000.0, 5_560_000.0];

pub(super) fn place(chance: &mut Chance) -> Position {
    Position::xy(
        chance.number(BOX[0], BOX[2], 2),
        chance.number(BOX[1], BOX[3], 2),
    )
}

pub(super) fn point(at: Position) -> Geometry {
    Geometry::from_shape(&Shape::Point(Some(at)))
}

/// A line of several legs that never turns back.
pub(super) fn wander(chance: &mut Chance, legs: i64) -> Vec<Position> {
    let mut at = place(chance);
    let mut heading = chance.number(0.0, std::f64::consts::TAU, 6);
    let mut line = vec![at];
    for _ in 0..legs {
        heading += chance.number(-0.8, 0.8, 6);
        let step = chance.number(200.0, 1500.0, 2);
        at = Position::xy(
            cents(at.x + heading.cos() * step),
            cents(at.y + heading.sin() * step),
        );
        line.push(at);
    }
    line
}

/// A closed ring around a centre, with an uneven edge; counter-clockwise, as exterior rings are.
pub(super) fn ring(
    chance: &mut Chance,
    centre: Position,
    radius: f64,
    corners: i64,
) -> Vec<Position> {
    let mut ring: Vec<Position> = (0..corners)
        .map(|corner| {
            let angle = std::f64::consts::TAU * corner as f64 / corners as f64;
            let reach = radius * chance.number(0.75, 1.0, 4);
            Position::xy(
                cents(centre.x + angle.cos() * reach),
                cents(centre.y + angle.sin() * reach),
            )
        })
        .collect();
    ring.push(ring[0]);
    ring
}

/// One polygon: a ring, and in it a hole if asked for.
pub(super) fn area(
    chance: &mut Chance,
    centre: Position,
    radius: f64,
    has_hole: bool,
) -> Vec<Vec<Position>> {
    let mut rings = vec![ring(chance, centre, radius, 14)];
    if has_hole {
        // At most half as wide as the narrowest part of the edge: it stays inside.
        let mut hole = ring(chance, centre, radius * 0.35, 8);
        hole.reverse();
        rings.push(hole);
    }
    rings
}

fn cents(metres: f64) -> f64 {
    (metres * 100.0).round() / 100.0
}
