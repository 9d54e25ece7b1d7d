//! Decisions on their way: what this replica decided goes to the server, what was decided there closes the conflict here.

use haversack_model::conflict::Decided;
use haversack_model::{ConflictId, ReplicaTx, Resolution, Result};

/// Decisions made here that the server does not know yet, and the conflicts that wait for one.
pub fn to_exchange(tx: &dyn ReplicaTx) -> Result<(Vec<Decided>, Vec<ConflictId>)> {
    let open = tx.conflicts(true)?.iter().map(|found| found.id).collect();
    Ok((tx.untold_decisions()?, open))
}

/// Stores the decisions that stand at the server. Where another one was first, it replaces the one made here; what was
/// decided here has been sent as an edit and stays.
pub fn apply_decisions(tx: &mut dyn ReplicaTx, stand: &[Decided]) -> Result<()> {
    for decided in stand {
        let Some(mut conflict) = tx.conflict(decided.conflict)? else {
            continue;
        };
        conflict.resolution = Some(Resolution {
            told: true,
            ..decided.resolution.clone()
        });
        tx.store_conflict(&conflict)?;
    }
    Ok(())
}

/// In a new history nobody knows what was told in the former one.
pub(super) fn tell_again(tx: &mut dyn ReplicaTx) -> Result<()> {
    for mut conflict in tx.conflicts(false)? {
        if let Some(resolution) = conflict.resolution.as_mut().filter(|r| r.told) {
            resolution.told = false;
            tx.store_conflict(&conflict)?;
        }
    }
    Ok(())
}
