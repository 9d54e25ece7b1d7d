//! Foreign clients.

use haversack_model::{
    Changes, CollectionId, Error, Generation, GlobalId, Record, Replica, Result, Timestamp, WriteTx,
};

use crate::{Applied, Ids, Sent, Uploader};

/// One edit of a client that knows no base versions.
#[derive(Clone, Debug, PartialEq)]
pub enum ForeignEdit {
    /// A new record, and which of its fields were given.
    Add(Record, Changes),
    /// New values; clients send whole rows or only what changed.
    Update {
        /// Of which record.
        global_id: GlobalId,
        /// What was given.
        mine: Changes,
    },
    /// Removal.
    Delete(GlobalId),
}

/// Imports.
pub fn import(
    tx: &mut dyn WriteTx,
    replica: &Replica,
    cursors: &[(CollectionId, Option<Generation>)],
    by: &Uploader<'_>,
    edits: &[(CollectionId, ForeignEdit)],
    all_or_nothing: bool,
    now: Timestamp,
    ids: &mut Ids<'_>,
) -> Result<(Applied, Sent)> {
    let _ = (tx, replica, cursors, by, edits, all_or_nothing, now, ids);
    Err(Error::Corrupt("unfinished".into()))
}
