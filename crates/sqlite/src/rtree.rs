//! Bulk loader of SQLite's R-tree: boxes sorted by tiles (sort-tile-recursive) and packed into full nodes, which are
//! written straight into the shadow tables `_node`, `_parent` and `_rowid`.
//!
//! A million boxes take a second instead of the twenty that inserting them one after another takes, and the tree is
//! the better one. Memory is 40 bytes a box. Does not own the triggers that keep the index afterwards
//! (`gpkg::layer`). Source: the node format at the head of SQLite's `rtree.c`; Leutenegger et al. 1997 for the tiles.

use haversack_model::{Envelope, Result};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, params};

use crate::error::{corrupt, while_doing};
use crate::gpkg::{blob, quote_ident};

/// Cells of a full node: `RTREE_MAXCELLS`, which every page of 4096 bytes or more allows.
const FAN_OUT: usize = 51;
/// Bytes of a cell: an id and four 32-bit coordinates.
const CELL_BYTES: usize = 24;
/// Bytes of a node: depth and count, then cells.
const NODE_BYTES: usize = 4 + FAN_OUT * CELL_BYTES;

/// A box as the index keeps it: 32-bit, never smaller than the true one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cell {
    /// Row id, or number of a node below.
    pub id: i64,
    /// Smallest x, largest x, smallest y, largest y.
    pub bounds: [f32; 4],
}

impl Cell {
    /// The cell of a row's box: minima rounded down, maxima rounded up.
    pub fn new(id: i64, envelope: &Envelope) -> Self {
        Self {
            id,
            bounds: [
                down(envelope.min_x),
                up(envelope.max_x),
                down(envelope.min_y),
                up(envelope.max_y),
            ],
        }
    }

    /// Twice the centre; exact enough to sort by.
    fn centre(&self, axis: usize) -> f32 {
        self.bounds[2 * axis] / 2.0 + self.bounds[2 * axis + 1] / 2.0
    }
}

fn down(x: f64) -> f32 {
    let near = x as f32;
    if f64::from(near) > x {
        near.next_down()
    } else {
        near
    }
}

fn up(x: f64) -> f32 {
    let near = x as f32;
    if f64::from(near) < x {
        near.next_up()
    } else {
        near
    }
}

/// Fills the empty R-tree of a table from the geometries in it. Gives the exact box around all of them.
///
/// # Errors
/// [`haversack_model::Error::Corrupt`] if the R-tree is not empty or not of the expected form, else the database's.
pub fn index_table(
    connection: &Connection,
    table: &str,
    object_id: &str,
    geometry: &str,
    rtree: &str,
) -> Result<Option<Envelope>> {
    let failed = while_doing("reading geometries for the spatial index");
    let mut statement = connection
        .prepare(&format!(
            "SELECT {}, {geometry} FROM {} WHERE {geometry} IS NOT NULL",
            quote_ident(object_id),
            quote_ident(table),
            geometry = quote_ident(geometry),
        ))
        .map_err(&failed)?;
    let mut rows = statement.query([]).map_err(&failed)?;
    let mut cells = Vec::new();
    let mut extent: Option<Envelope> = None;
    while let Some(row) = rows.next().map_err(&failed)? {
        let ValueRef::Blob(bytes) = row.get_ref(1).map_err(&failed)? else {
            continue;
        };
        let Some(envelope) = blob::envelope(bytes) else {
            continue;
        };
        cells.push(Cell::new(row.get(0).map_err(&failed)?, &envelope));
        extent = Some(extent.map_or(envelope, |all| all.union(envelope)));
    }
    load(connection, rtree, cells)?;
    Ok(extent)
}

/// Writes cells into an empty two-dimensional R-tree. The order of `cells` does not matter; their ids are unique.
///
/// # Errors
/// [`haversack_model::Error::Corrupt`] if the R-tree is not empty or not of the expected form, else the database's.
pub fn load(connection: &Connection, rtree: &str, mut cells: Vec<Cell>) -> Result<()> {
    let failed = while_doing("writing the spatial index");
    let shadow = |part: &str| quote_ident(&format!("{rtree}_{part}"));
    let (node, parent, rowid) = (shadow("node"), shadow("parent"), shadow("rowid"));
    let root: Vec<u8> = connection
        .query_row(
            &format!("SELECT data FROM {node} WHERE nodeno = 1"),
            [],
            |row| row.get(0),
        )
        .map_err(&failed)?;
    if root.len() != NODE_BYTES || root[..4] != [0; 4] {
        return Err(corrupt(format!(
            "the spatial index {rtree} is not an empty one of the usual form"
        )));
    }
    if cells.is_empty() {
        return Ok(());
    }

    let mut insert_node = connection
        .prepare(&format!(
            "INSERT INTO {node} (nodeno, data) VALUES (?1, ?2)"
        ))
        .map_err(&failed)?;
    let mut insert_parent = connection
        .prepare(&format!(
            "INSERT INTO {parent} (nodeno, parentnode) VALUES (?1, ?2)"
        ))
        .map_err(&failed)?;
    let mut leaf_of: Vec<(i64, u32)> = Vec::with_capacity(cells.len());
    let mut next_number: u32 = 2;
    let mut depth: u16 = 0;
    loop {
        if cells.len() <= FAN_OUT {
            for cell in &cells {
                if depth == 0 {
                    leaf_of.push((cell.id, 1));
                } else {
                    insert_parent
                        .execute(params![cell.id, 1])
                        .map_err(&failed)?;
                }
            }
            connection
                .execute(
                    &format!("UPDATE {node} SET data = ?1 WHERE nodeno = 1"),
                    [encode(depth, &cells)],
                )
                .map_err(&failed)?;
            break;
        }
        tile(&mut cells);
        // Boxes of this level's nodes, whose ids are the nodes' numbers.
        let mut above = Vec::new();
        for group in groups(&cells) {
            let number = next_number;
            next_number += 1;
            // Only the root says the depth.
            insert_node
                .execute(params![number, encode(0, group)])
                .map_err(&failed)?;
            for cell in group {
                if depth == 0 {
                    leaf_of.push((cell.id, number));
                } else {
                    insert_parent
                        .execute(params![cell.id, number])
                        .map_err(&failed)?;
                }
            }
            above.push(around(number, group));
        }
        cells = above;
        depth += 1;
    }

    // In the order of the key, so that every row is an append.
    leaf_of.sort_unstable();
    let mut insert_rowid = connection
        .prepare(&format!(
            "INSERT INTO {rowid} (rowid, nodeno) VALUES (?1, ?2)"
        ))
        .map_err(&failed)?;
    for (id, number) in leaf_of {
        insert_rowid.execute(params![id, number]).map_err(&failed)?;
    }
    Ok(())
}

/// Cells of one vertical slice: as many whole nodes as there are slices.
fn slice_length(count: usize) -> usize {
    let nodes = count.div_ceil(FAN_OUT);
    let slices = (nodes as f64).sqrt().ceil() as usize;
    slices.max(1) * FAN_OUT
}

/// Sorts cells into vertical slices by x, and each slice by y.
fn tile(cells: &mut [Cell]) {
    let length = slice_length(cells.len());
    cells.sort_unstable_by(|a, b| a.centre(0).total_cmp(&b.centre(0)));
    for slice in cells.chunks_mut(length) {
        slice.sort_unstable_by(|a, b| a.centre(1).total_cmp(&b.centre(1)));
    }
}

/// The cells of each node: full ones, but for the last of a slice.
fn groups(cells: &[Cell]) -> impl Iterator<Item = &[Cell]> {
    cells
        .chunks(slice_length(cells.len()))
        .flat_map(|slice| slice.chunks(FAN_OUT))
}

/// The box of a node.
fn around(number: u32, cells: &[Cell]) -> Cell {
    let mut bounds = [
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::INFINITY,
        f32::NEG_INFINITY,
    ];
    for cell in cells {
        for axis in [0, 2] {
            bounds[axis] = bounds[axis].min(cell.bounds[axis]);
            bounds[axis + 1] = bounds[axis + 1].max(cell.bounds[axis + 1]);
        }
    }
    Cell {
        id: i64::from(number),
        bounds,
    }
}

fn encode(depth: u16, cells: &[Cell]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(NODE_BYTES);
    bytes.extend(depth.to_be_bytes());
    bytes.extend((cells.len() as u16).to_be_bytes());
    for cell in cells {
        bytes.extend(cell.id.to_be_bytes());
        for bound in cell.bounds {
            bytes.extend(bound.to_be_bytes());
        }
    }
    bytes.resize(NODE_BYTES, 0);
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tree(cells: Vec<Cell>) -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch("CREATE VIRTUAL TABLE t USING rtree(id, minx, maxx, miny, maxy)")
            .unwrap();
        load(&connection, "t", cells).unwrap();
        connection
    }

    fn check(connection: &Connection) -> String {
        connection
            .query_row("SELECT rtreecheck('t')", [], |row| row.get(0))
            .unwrap()
    }

    fn window(connection: &Connection, w: &Envelope) -> Vec<i64> {
        connection
            .prepare("SELECT id FROM t WHERE maxx >= ?1 AND minx <= ?2 AND maxy >= ?3 AND miny <= ?4 ORDER BY id")
            .unwrap()
            .query_map([w.min_x, w.max_x, w.min_y, w.max_y], |row| row.get(0))
            .unwrap()
            .map(Result::unwrap)
            .collect()
    }

    fn boxes() -> impl Strategy<Value = Vec<Envelope>> {
        let one = (
            -180.0..180.0_f64,
            -90.0..90.0_f64,
            0.0..3.0_f64,
            0.0..3.0_f64,
        );
        proptest::collection::vec(one, 0..6000).prop_map(|all| {
            all.into_iter()
                .map(|(x, y, w, h)| Envelope {
                    min_x: x,
                    min_y: y,
                    max_x: x + w,
                    max_y: y + h,
                })
                .collect()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn a_window_finds_what_brute_force_finds(
            boxes in boxes(),
            x in -180.0..180.0_f64,
            y in -90.0..90.0_f64,
            size in 0.0..60.0_f64,
        ) {
            let id = |at: usize| at as i64 * 3 - 500;
            let connection = tree(boxes.iter().enumerate().map(|(at, b)| Cell::new(id(at), b)).collect());
            prop_assert_eq!(check(&connection), "ok");
            let wanted = Envelope { min_x: x, min_y: y, max_x: x + size, max_y: y + size };
            let found = window(&connection, &wanted);
            // 32-bit boxes may be larger than the true ones by a unit in the last place, never smaller.
            let slack = 1e-4;
            let wider = Envelope { min_x: x - slack, min_y: y - slack, max_x: x + size + slack, max_y: y + size + slack };
            for (at, one) in boxes.iter().enumerate() {
                let is_found = found.binary_search(&id(at)).is_ok();
                prop_assert!(is_found || !one.intersects(&wanted), "box {} was not found", at);
                prop_assert!(!is_found || one.intersects(&wider), "box {} was found", at);
            }
        }
    }

    #[test]
    fn a_loaded_tree_can_be_edited_afterwards() {
        let cells = (0..5000)
            .map(|n| {
                let (x, y) = (f64::from(n % 71), f64::from(n / 71));
                Cell::new(
                    i64::from(n),
                    &Envelope {
                        min_x: x,
                        min_y: y,
                        max_x: x,
                        max_y: y,
                    },
                )
            })
            .collect();
        let connection = tree(cells);
        connection
            .execute_batch(
                "DELETE FROM t WHERE id % 3 = 0; INSERT INTO t SELECT id + 100000, minx, maxx, miny, maxy FROM t;
                 UPDATE t SET maxx = maxx + 1 WHERE id % 7 = 0",
            )
            .unwrap();
        assert_eq!(check(&connection), "ok");
        let count: i64 = connection
            .query_row("SELECT count(*) FROM t", [], |row| row.get(0))
            .unwrap();
        assert_eq!(count, 2 * (5000 - 1667));
    }

    #[test]
    fn sizes_around_full_nodes_make_sound_trees() {
        for count in [0, 1, 50, 51, 52, 102, 2601, 2602, 2653] {
            let cells = (0..count)
                .map(|n| Cell {
                    id: n,
                    bounds: [n as f32, n as f32, 1.0, 1.0],
                })
                .collect();
            assert_eq!(check(&tree(cells)), "ok", "{count} cells");
        }
    }

    #[test]
    fn a_tree_that_is_not_empty_is_left_alone() {
        let connection = tree(vec![Cell {
            id: 1,
            bounds: [0.0; 4],
        }]);
        let error = load(
            &connection,
            "t",
            vec![Cell {
                id: 2,
                bounds: [0.0; 4],
            }],
        )
        .unwrap_err();
        assert!(error.to_string().contains("not an empty one"), "{error}");
    }

    #[test]
    fn boxes_are_rounded_outwards() {
        let x = 0.1_f64;
        assert!(f64::from(down(x)) <= x && f64::from(up(x)) >= x);
        assert!(f64::from(down(-x)) <= -x && f64::from(up(-x)) >= -x);
        assert_eq!((down(2.0), up(2.0)), (2.0, 2.0));
    }
}
