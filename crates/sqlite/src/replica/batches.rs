//! Frozen batches that wait for their answer, and the receipts of those that were answered.

use haversack_model::local::FrozenBatch;
use haversack_model::{
    BatchNumber, CollectionId, Cursor, Edit, Generation, HistoryId, Outcome, Receipt, Result, Seal,
};
use rusqlite::{Connection, OptionalExtension, params};

use super::fault::{Doing, damaged};
use super::header;
use super::json::{from_json, json};

/// The oldest batch that no answer settled.
pub(super) fn unanswered(conn: &Connection) -> Result<Option<FrozenBatch>> {
    let found: Option<(i64, String, i64, String, Option<String>)> = conn
        .prepare_cached(
            "SELECT number, history, generation, edits, seal FROM haversack_batches ORDER BY number LIMIT 1",
        )
        .and_then(|mut statement| {
            statement
                .query_row([], |row| {
                    Ok((
                        row.get(0)?,
                        row.get(1)?,
                        row.get(2)?,
                        row.get(3)?,
                        row.get(4)?,
                    ))
                })
                .optional()
        })
        .doing("reading a batch")?;
    let Some((number, history, generation, edits, seal)) = found else {
        return Ok(None);
    };
    Ok(Some(FrozenBatch {
        number: BatchNumber(number as u64),
        edits: from_json("haversack_batches.edits", &edits)?,
        cursor: Cursor {
            history: history
                .parse::<HistoryId>()
                .map_err(|why| damaged("haversack_batches.history", why))?,
            generation: Generation(generation as u64),
            seal: match seal {
                Some(text) => Some(header::seal("haversack_batches.seal", &text)?),
                None => None,
            },
        },
    }))
}
/// Keeps a frozen batch; one of the same number is replaced.
pub(super) fn store(conn: &Connection, batch: &FrozenBatch) -> Result<()> {
    conn
        .prepare_cached(
            "INSERT INTO haversack_batches (number, history, generation, edits, seal) VALUES (?1, ?2, ?3, ?4, ?5) \
             ON CONFLICT (number) DO UPDATE SET history = excluded.history, generation = excluded.generation, \
             edits = excluded.edits, seal = excluded.seal",
        )
        .and_then(|mut statement| {
            statement.execute(params![
                batch.number.0 as i64,
                batch.cursor.history.to_string(),
                batch.cursor.generation.0 as i64,
                json("haversack_batches.edits", &batch.edits)
                    .map_err(|why| rusqlite::Error::ToSqlConversionFailure(Box::new(why)))?,
                batch.cursor.seal.map(Seal::to_hex)
            ])
        })
        .doing("keeping a batch")?;
    Ok(())
}
/// Forgets a settled batch.
pub(super) fn remove(conn: &Connection, number: BatchNumber) -> Result<()> {
    conn.execute(
        "DELETE FROM haversack_batches WHERE number = ?1",
        [number.0 as i64],
    )
    .doing("forgetting a batch")?;
    Ok(())
}
/// Keeps what became of an edit: a new history of the server wants it back.
pub(super) fn store_receipt(
    conn: &Connection,
    generation: Generation,
    edit: &Edit,
    receipt: &Receipt,
) -> Result<()> {
    let (edit, answer) = (
        json("haversack_receipts.edit", edit)?,
        json("haversack_receipts.receipt", receipt)?,
    );
    conn
        .prepare_cached(
            "INSERT INTO haversack_receipts (generation, collection, global_id, outcome, edit, receipt) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )
        .and_then(|mut statement| {
            statement.execute(params![
                generation.0 as i64,
                receipt.collection.0,
                receipt.global_id.to_string(),
                outcome_word(&receipt.outcome),
                edit,
                answer
            ])
        })
        .doing("keeping a receipt")?;
    Ok(())
}
/// The edits that the server confirmed above a generation, oldest first.
pub(super) fn receipts_above(
    conn: &Connection,
    generation: Generation,
) -> Result<Vec<(CollectionId, Edit)>> {
    let rows: Vec<(u32, String)> = conn
        .prepare_cached(
            "SELECT collection, edit FROM haversack_receipts WHERE generation > ?1 ORDER BY no",
        )
        .and_then(|mut statement| {
            statement
                .query_map([generation.0 as i64], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect()
        })
        .doing("reading receipts")?;
    rows.into_iter()
        .map(|(collection, edit)| {
            Ok((
                CollectionId(collection),
                from_json("haversack_receipts.edit", &edit)?,
            ))
        })
        .collect()
}

/// A word for people.
fn outcome_word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Applied => "applied",
        Outcome::Merged => "merged",
        Outcome::Conflict { .. } => "conflict",
        Outcome::Rejected { .. } => "rejected",
    }
}
