//! Aggregate functions that SQLite lacks: sample variance, standard deviation and the box of geometries.

use haversack_model::Envelope;
use rusqlite::functions::{Aggregate, Context, FunctionFlags};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Result};

use super::blob;

pub(super) fn register(connection: &Connection) -> Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    connection.create_aggregate_function(
        "haversack_variance",
        1,
        flags,
        Variance { root: false },
    )?;
    connection.create_aggregate_function("haversack_stddev", 1, flags, Variance { root: true })?;
    connection.create_aggregate_function("haversack_extent", 1, flags, Extent)
}

/// Sample variance by Welford's recurrence; null for fewer than two numbers.
struct Variance {
    root: bool,
}

#[derive(Default)]
struct Moments {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Aggregate<Moments, Option<f64>> for Variance {
    fn init(&self, _: &mut Context<'_>) -> Result<Moments> {
        Ok(Moments::default())
    }
    fn step(&self, context: &mut Context<'_>, moments: &mut Moments) -> Result<()> {
        let x = match context.get_raw(0) {
            ValueRef::Integer(n) => n as f64,
            ValueRef::Real(x) => x,
            _ => return Ok(()),
        };
        moments.count += 1.0;
        let from_mean = x - moments.mean;
        moments.mean += from_mean / moments.count;
        moments.squares += from_mean * (x - moments.mean);
        Ok(())
    }
    fn finalize(&self, _: &mut Context<'_>, moments: Option<Moments>) -> Result<Option<f64>> {
        Ok(moments.filter(|m| m.count >= 2.0).map(|m| {
            let variance = m.squares / (m.count - 1.0);
            if self.root { variance.sqrt() } else { variance }
        }))
    }
}

/// The box around all geometries as four little-endian doubles: min x, min y, max x, max y.
struct Extent;

impl Aggregate<Option<Envelope>, Option<Vec<u8>>> for Extent {
    fn init(&self, _: &mut Context<'_>) -> Result<Option<Envelope>> {
        Ok(None)
    }
    fn step(&self, context: &mut Context<'_>, all: &mut Option<Envelope>) -> Result<()> {
        if let ValueRef::Blob(bytes) = context.get_raw(0)
            && let Some(one) = blob::envelope(bytes)
        {
            *all = Some(all.map_or(one, |e| e.union(one)));
        }
        Ok(())
    }
    fn finalize(
        &self,
        _: &mut Context<'_>,
        all: Option<Option<Envelope>>,
    ) -> Result<Option<Vec<u8>>> {
        Ok(all.flatten().map(|e| {
            [e.min_x, e.min_y, e.max_x, e.max_y]
                .iter()
                .flat_map(|bound| bound.to_le_bytes())
                .collect()
        }))
    }
}

/// Reads what `haversack_extent` gives.
pub fn extent_of(bytes: &[u8]) -> Option<Envelope> {
    let (bounds, []) = bytes.as_chunks::<8>() else {
        return None;
    };
    let [min_x, min_y, max_x, max_y] = bounds else {
        return None;
    };
    Some(Envelope {
        min_x: f64::from_le_bytes(*min_x),
        min_y: f64::from_le_bytes(*min_y),
        max_x: f64::from_le_bytes(*max_x),
        max_y: f64::from_le_bytes(*max_y),
    })
}
