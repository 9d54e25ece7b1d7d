//! Native.

use haversack_model::local::FrozenBatch;
use haversack_model::remote::BatchReply;
use haversack_model::remote::Page;
use haversack_model::{Cursor, Error, ReadTx, Replica, Result, Timestamp, WriteTx};

use crate::{Ids, Uploader};

/// What a replica asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pull {
    /// Up to where it has stored the server's changes. Generation zero asks for everything.
    pub cursor: Cursor,
    /// Version of the schema in its file.
    pub schema_version: u32,
    /// Most changes of one page.
    pub max_changes: usize,
}

/// Applies a numbered batch.
pub fn push(
    tx: &mut dyn WriteTx,
    replica: &Replica,
    by: &Uploader<'_>,
    batch: &FrozenBatch,
    hash: [u8; 32],
    encode: &dyn Fn(&BatchReply) -> Vec<u8>,
    now: Timestamp,
    ids: &mut Ids<'_>,
) -> Result<Vec<u8>> {
    let _ = (tx, replica, by, batch, hash, encode, now, ids);
    Err(Error::Corrupt("unfinished".into()))
}

/// One page of changes.
pub fn pull(tx: &dyn ReadTx, replica: &Replica, asked: &Pull) -> Result<Page> {
    let _ = (tx, replica, asked);
    Err(Error::Corrupt("unfinished".into()))
}

/// Starts a new history if a valid cursor of the present one is above the head: proof that the server was rewound.
pub fn start_history_if_rewound(
    tx: &mut dyn WriteTx,
    cursor: Cursor,
    ids: &mut Ids<'_>,
) -> Result<bool> {
    let head = tx.head()?;
    if cursor.history != head.history || cursor.generation <= head.generation {
        return Ok(false);
    }
    tx.start_history(haversack_model::HistoryId((ids.0)()))?;
    Ok(true)
}
