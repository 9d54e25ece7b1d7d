//! Applies edits.

use haversack_model::{
    Access, CollectionId, Conflict, Edit, Error, Generation, Policy, Receipt, ReplicaId, Result,
    Timestamp, WriteTx,
};
use uuid::Uuid;

/// Who uploads, and under which rules.
#[derive(Clone, Copy, Debug)]
pub struct Uploader<'a> {
    /// User name, for conflicts and editor tracking; empty for the anonymous user.
    pub user: &'a str,
    /// The replica that uploads; `None` for an online edit.
    pub replica: Option<ReplicaId>,
    /// What to do about conflicts.
    pub policy: Policy,
    /// What the user may do.
    pub access: &'a Access,
    /// Up to where the sender had seen the service's changes, if it says so.
    pub cursor: Option<Generation>,
}

/// A source of fresh ids.
pub struct Ids<'a>(pub &'a mut dyn FnMut() -> Uuid);

impl std::fmt::Debug for Ids<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ids")
    }
}

/// What became of a request's edits.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Applied {
    /// One per edit, in order.
    pub receipts: Vec<Receipt>,
    /// The conflicts met, as stored.
    pub conflicts: Vec<Conflict>,
    /// All or nothing was asked, an edit failed, and nothing was stored.
    pub rolled_back: bool,
}

/// Applies edits in order and seals the transaction: afterwards only its books can be written.
///
/// Edits that fail are rejected with a reason and do not hinder the others, unless `all_or_nothing`.
///
/// # Errors
/// Those of the store. A rejected edit is no error.
pub fn apply_edits(
    tx: &mut dyn WriteTx,
    by: &Uploader<'_>,
    edits: &[(CollectionId, Edit)],
    all_or_nothing: bool,
    now: Timestamp,
    ids: &mut Ids<'_>,
) -> Result<Applied> {
    let _ = (tx, by, edits, all_or_nothing, now, ids);
    Err(Error::Corrupt("unfinished".into()))
}
