//! How an uplink stands, for those who look after it.

use std::collections::BTreeMap;

use haversack_model::local::LocalReplica;
use haversack_model::{ReplicaTx, SyncState, Timestamp};

use super::{Result, WHO, named};
use crate::remote::push::{ImportConflict, stored_conflicts};

/// How an uplink stands.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Edits of devices that the upper server does not have yet.
    pub waiting: usize,
    /// Edits that it refused.
    pub refused: usize,
    /// Open conflicts.
    pub conflicts: usize,
    /// What it said of edits, refusals and warnings.
    pub said: Vec<Said>,
    /// When a download was last finished.
    pub synced_at: Option<Timestamp>,
}

/// What the upper server said of an edit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Its sentence.
    pub conflict: ImportConflict,
    /// Who of this server made the edit; empty if that is not known.
    pub user: String,
    /// When it was said.
    pub at: String,
}

/// Reads it from the copy.
///
/// # Errors
/// Those of the copy.
pub fn state(copy: &mut dyn LocalReplica) -> Result<State> {
    let tx = copy.begin()?;
    let mut state = State {
        conflicts: tx.conflicts(true)?.len(),
        synced_at: tx.header()?.synced_at,
        ..State::default()
    };
    for entry in tx.entries()? {
        match entry.state {
            SyncState::Error => state.refused += 1,
            _ => state.waiting += 1,
        }
    }
    let users = users(&*tx)?;
    for stored in stored_conflicts(&*tx)? {
        let user = users.get(&stored.conflict.object).cloned();
        state.said.push(Said {
            user: user.unwrap_or_default(),
            conflict: stored.conflict,
            at: stored.at,
        });
    }
    Ok(state)
}

/// Who made the edits that wait or were refused, by uid. Empty for a copy that is no uplink.
///
/// # Errors
/// Those of the copy.
pub fn users(tx: &dyn ReplicaTx) -> haversack_model::Result<BTreeMap<String, String>> {
    let all = tx.notes(WHO)?.into_iter();
    let named = all.filter_map(|(name, user)| Some((named(&name)?.1.to_string(), user)));
    Ok(named.collect())
}
