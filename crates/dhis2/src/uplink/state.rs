//! How an uplink stands, for those who look after it.

use haversack_model::local::LocalReplica;
use haversack_model::{SyncState, Timestamp};

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
    let who = tx.notes(WHO)?;
    for stored in stored_conflicts(&*tx)? {
        let of = who.iter().find(|(name, _)| {
            named(name).is_some_and(|(_, id)| id.to_string() == stored.conflict.object)
        });
        state.said.push(Said {
            user: of.map(|(_, user)| user.clone()).unwrap_or_default(),
            conflict: stored.conflict,
            at: stored.at,
        });
    }
    Ok(state)
}
