//! The seam between the sync core and a server elsewhere. Blocking: callers run it on a thread of its own.

use serde::{Deserialize, Serialize};

use crate::conflict::{ConflictId, Decided};
use crate::local::{FrozenBatch, Removal, ReplicaHeader, RowVersion};
use crate::{
    BlobHash, CollectionId, Cursor, Generation, GlobalId, Receipt, Record, Result, Service,
};

/// One change of a download, as a replica stores it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum RemoteChange {
    /// A record to add or replace.
    Put {
        /// In which collection.
        collection: CollectionId,
        /// The record.
        record: Record,
        /// Its version.
        version: RowVersion,
    },
    /// A record to remove.
    Remove {
        /// In which collection.
        collection: CollectionId,
        /// Which record.
        global_id: GlobalId,
        /// Why.
        removal: Removal,
    },
}

/// One page of a download.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Page {
    /// The schema, if it changed since the replica's; applied before any row.
    pub schema: Option<Service>,
    /// Changes in generation order.
    pub changes: Vec<RemoteChange>,
    /// The cursor after this page.
    pub cursor: Cursor,
    /// Cursors per layer, for dialects that keep one each.
    pub layer_cursors: Vec<(CollectionId, Generation)>,
    /// Whether more pages follow.
    pub more: bool,
    /// What a native server wants back with the request for the next page; `None` on the last one.
    pub download: Option<crate::local::Download>,
    /// Of [`ReplicaHeader::ahead`], the versions that stand and were left out of the changes.
    #[serde(default)]
    pub held: crate::Versions,
}

/// The answer to a batch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BatchReply {
    /// One receipt per edit, in the batch's order.
    pub receipts: Vec<Receipt>,
    /// Conflicts that the batch met.
    pub conflicts: Vec<crate::Conflict>,
    /// Generation at which the server stood after it.
    pub generation: Generation,
}

/// A replica's new identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renewed {
    /// Its new id; its next batch is number 1.
    pub id: crate::ReplicaId,
    /// Whether its cursor can be continued; otherwise a full resync follows.
    pub continues: bool,
    /// The cursor that continues, sealed for the new identity, where the server seals its cursors.
    #[serde(default)]
    pub cursor: Option<Cursor>,
}

/// Progress of a transfer: bytes or rows done, and the total if known.
pub type Progress<'a> = &'a mut dyn FnMut(u64, Option<u64>);

/// A server that a replica synchronises with.
pub trait Remote {
    /// Sends a frozen batch and waits for its answer. Safe to repeat.
    ///
    /// # Errors
    /// [`Error::Network`](crate::Error::Network) if the outcome is unknown; [`Error::BatchReused`](crate::Error::BatchReused) if the
    /// server knows the number with other content.
    fn push(&mut self, header: &ReplicaHeader, batch: &FrozenBatch) -> Result<BatchReply>;
    /// As [`Self::push`]; the sender does something else `meanwhile`, once, before the answer is given.
    ///
    /// A remote that can wait and work at once overrides this.
    fn push_while(
        &mut self,
        header: &ReplicaHeader,
        batch: &FrozenBatch,
        meanwhile: &mut dyn FnMut(),
    ) -> Result<BatchReply> {
        meanwhile();
        self.push(header, batch)
    }
    /// Fetches the page of changes after the header's cursor.
    ///
    /// # Errors
    /// [`Error::Resync`](crate::Error::Resync) if the cursor cannot be continued.
    fn pull(&mut self, header: &ReplicaHeader) -> Result<Page>;
    /// Sends the content of an attachment ahead of the batch that names it. Safe to repeat; skips what is there.
    fn push_blob(&mut self, header: &ReplicaHeader, hash: BlobHash, content: &[u8]) -> Result<()>;
    /// Fetches the content of an attachment.
    fn pull_blob(
        &mut self,
        header: &ReplicaHeader,
        collection: CollectionId,
        attachment: &GlobalId,
        hash: BlobHash,
    ) -> Result<Vec<u8>>;
    /// Registers the replica anew, with the layers and filters of the header: its file was cloned, or rewound to a
    /// backup, or the server forgot it.
    fn renew(&mut self, header: &ReplicaHeader) -> Result<Renewed>;
    /// Tells the server which conflicts were decided in the file, and asks about those that are open in it. Gives the
    /// decisions that stand there. Safe to repeat. A server that keeps no conflicts knows all that it needs.
    fn exchange_decisions(
        &mut self,
        header: &ReplicaHeader,
        decided: &[Decided],
        open: &[ConflictId],
    ) -> Result<Vec<Decided>> {
        let _ = (header, open);
        Ok(decided.to_vec())
    }
    /// Unregisters the replica.
    fn release(&mut self, header: &ReplicaHeader) -> Result<()>;
}
