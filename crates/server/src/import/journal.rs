//! What an import has loaded, noted in the transaction of its rows: a server that was killed does not load them again.
//!
//! It is kept where the store keeps what it answered to a batch, under the import's key, since the end of the job is
//! noted after that, in another file.

use uuid::Uuid;

use haversack_model::store::StoredReply;
use haversack_model::{BatchNumber, ReadTx, ReplicaId, WriteTx};

use super::Loaded;
use crate::error::{Error, Result};

/// The layers that an import has loaded; `None` if it is not done.
pub(super) fn load(tx: &dyn ReadTx, key: Uuid) -> Result<Option<Vec<Loaded>>> {
    let kept = tx.stored_reply(ReplicaId(key))?;
    kept.map(|kept| serde_json::from_slice(&kept.reply))
        .transpose()
        .map_err(|e| Error::invalid("the journal of an import", e.to_string()))
}

/// Notes what was loaded, in the same transaction.
pub(super) fn store(tx: &mut dyn WriteTx, key: Uuid, layers: &[Loaded]) -> Result<()> {
    let reply = serde_json::to_vec(layers).expect("names and numbers are JSON");
    let kept = StoredReply {
        batch: BatchNumber(layers.iter().map(|layer| layer.records).sum()),
        hash: [0; 32],
        reply,
    };
    Ok(tx.store_reply(ReplicaId(key), &kept)?)
}
