//! Frozen batches that wait for their answer or for its settling, and the receipts of those that are settled.

use std::collections::VecDeque;

use haversack_model::local::FrozenBatch;
use haversack_model::remote::BatchReply;
use haversack_model::{
    BatchNumber, CollectionId, Cursor, Edit, Generation, HistoryId, Outcome, Receipt, Result, Seal,
};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, params};

use super::fault::{Doing, damaged};
use super::header;
use super::json::{from_json, json};

const EDITS: &str = "haversack_batches.edits";
const REPLY: &str = "haversack_answers.reply";

/// The texts of the batches that this program froze last, by which it knows them again without reading them.
#[derive(Clone, Debug, Default)]
pub(super) struct Texts(VecDeque<(BatchNumber, String)>);

impl Texts {
    /// One batch is sent while the next is frozen and the one before is settled.
    const ROOM: usize = 3;

    fn note(&mut self, number: BatchNumber, text: String) {
        self.0.retain(|(known, _)| *known != number);
        self.0.truncate(Self::ROOM - 1);
        self.0.push_front((number, text));
    }
    fn of(&self, number: BatchNumber) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| *known == number);
        found.map(|(_, text)| text.as_str())
    }
}

/// A batch that is not settled.
pub(super) fn batch(conn: &Connection, number: BatchNumber) -> Result<Option<FrozenBatch>> {
    read(conn, "b.number = ?1", params![number.0 as i64])
}

/// The oldest batch without an answer.
pub(super) fn unanswered(conn: &Connection) -> Result<Option<FrozenBatch>> {
    const UNANSWERED: &str =
        "NOT EXISTS (SELECT 1 FROM haversack_answers a WHERE a.number = b.number)";
    read(conn, UNANSWERED, params![])
}

fn read(
    conn: &Connection,
    condition: &str,
    params: impl rusqlite::Params,
) -> Result<Option<FrozenBatch>> {
    let sql = format!(
        "SELECT number, history, generation, edits, seal FROM haversack_batches b WHERE {condition} \
         ORDER BY number LIMIT 1"
    );
    let found: Option<(i64, String, i64, String, Option<String>)> = conn
        .prepare_cached(&sql)
        .and_then(|mut statement| {
            statement
                .query_row(params, |row| {
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
        edits: from_json(EDITS, &edits)?,
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

/// Whether a batch is in the file as it is here.
pub(super) fn has(conn: &Connection, texts: &Texts, batch: &FrozenBatch) -> Result<bool> {
    let doing = "comparing a batch";
    let mut statement = conn
        .prepare_cached("SELECT edits FROM haversack_batches WHERE number = ?1")
        .doing(doing)?;
    let mut rows = statement.query([batch.number.0 as i64]).doing(doing)?;
    let Some(row) = rows.next().doing(doing)? else {
        return Ok(false);
    };
    let ValueRef::Text(stored) = row.get_ref(0).doing(doing)? else {
        return Ok(false);
    };
    match texts.of(batch.number) {
        Some(known) if known.as_bytes() == stored => Ok(true),
        _ => Ok(json(EDITS, &batch.edits)?.as_bytes() == stored),
    }
}

/// Keeps a frozen batch; one of the same number is replaced.
pub(super) fn store(conn: &Connection, texts: &mut Texts, batch: &FrozenBatch) -> Result<()> {
    let edits = json(EDITS, &batch.edits)?;
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
                edits,
                batch.cursor.seal.map(Seal::to_hex)
            ])
        })
        .doing("keeping a batch")?;
    texts.note(batch.number, edits);
    Ok(())
}

/// Forgets a settled batch and its answer.
pub(super) fn remove(conn: &Connection, number: BatchNumber) -> Result<()> {
    for sql in [
        "DELETE FROM haversack_batches WHERE number = ?1",
        "DELETE FROM haversack_answers WHERE number = ?1",
    ] {
        conn.execute(sql, [number.0 as i64])
            .doing("forgetting a batch")?;
    }
    Ok(())
}

/// Keeps the answer to a batch that is in the file.
pub(super) fn store_answer(
    conn: &Connection,
    number: BatchNumber,
    answer: &BatchReply,
) -> Result<()> {
    conn.prepare_cached(
        "INSERT INTO haversack_answers (number, reply) SELECT number, ?2 FROM haversack_batches WHERE number = ?1 \
         ON CONFLICT (number) DO NOTHING",
    )
    .doing("keeping an answer")?
    .execute(params![number.0 as i64, json(REPLY, answer)?])
    .doing("keeping an answer")?;
    Ok(())
}

/// The oldest batch that has an answer, and the answer.
pub(super) fn answered(conn: &Connection) -> Result<Option<(BatchNumber, BatchReply)>> {
    let found: Option<(i64, String)> = conn
        .prepare_cached("SELECT number, reply FROM haversack_answers ORDER BY number LIMIT 1")
        .and_then(|mut statement| {
            statement
                .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()
        })
        .doing("reading an answer")?;
    found
        .map(|(number, reply)| Ok((BatchNumber(number as u64), from_json(REPLY, &reply)?)))
        .transpose()
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

/// Forgets what became of the edits that the server confirmed above a generation.
pub(super) fn remove_receipts_above(conn: &Connection, generation: Generation) -> Result<()> {
    conn.execute(
        "DELETE FROM haversack_receipts WHERE generation > ?1",
        [generation.0 as i64],
    )
    .doing("forgetting receipts")?;
    Ok(())
}

/// A word for people.
fn outcome_word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Applied => "applied",
        Outcome::Merged => "merged",
        Outcome::Warned { .. } => "warned",
        Outcome::Conflict { .. } => "conflict",
        Outcome::Rejected { .. } => "rejected",
    }
}
