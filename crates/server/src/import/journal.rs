//! How far an import has come, kept in the transactions of its rows: a server that was killed goes on behind the last one.
//!
//! It is kept where the store keeps what it answered to a batch, under the import's key. It stays there when the import is
//! done, since the end of the job is noted after that, in another file.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use haversack_model::store::StoredReply;
use haversack_model::{BatchNumber, ReadTx, ReplicaId, WriteTx};

use super::Loaded;
use crate::error::{Error, Result};

/// An import that a server may go on with.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Journal {
    /// The layers of the file in their order, each with the records that are in it for good.
    pub(super) layers: Vec<Loaded>,
    /// Whether that is all.
    pub(super) is_done: bool,
}

impl Journal {
    /// What is known of an import.
    pub(super) fn load(tx: &dyn ReadTx, key: Uuid) -> Result<Option<Self>> {
        let kept = tx.stored_reply(ReplicaId(key))?;
        kept.map(|kept| serde_json::from_slice(&kept.reply))
            .transpose()
            .map_err(|e| Error::invalid("the journal of an import", e.to_string()))
    }

    /// Notes it in the transaction of what it tells of.
    pub(super) fn store(&self, tx: &mut dyn WriteTx, key: Uuid) -> Result<()> {
        let reply = serde_json::to_vec(self).expect("names and numbers are JSON");
        let kept = StoredReply {
            batch: BatchNumber(self.layers.iter().map(|layer| layer.records).sum()),
            hash: [0; 32],
            reply,
        };
        Ok(tx.store_reply(ReplicaId(key), &kept)?)
    }
}
