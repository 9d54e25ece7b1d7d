//! How an uplink stands, for those who look after it.

use std::collections::BTreeMap;

use haversack_model::local::LocalReplica;
use haversack_model::{ConflictId, Record, ReplicaTx, SyncState, Timestamp};

use super::{Result, WHO, named};
use crate::remote::layout::Layout;
use crate::remote::push::{ImportConflict, stored_conflicts};

/// How an uplink stands.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Edits of devices that the upper server does not have yet.
    pub waiting: usize,
    /// Edits that it refused.
    pub refused: usize,
    /// Open conflicts.
    pub clashes: Vec<Open>,
    /// What it said of edits, refusals and warnings.
    pub said: Vec<Said>,
    /// When a download was last finished.
    pub synced_at: Option<Timestamp>,
}

/// An open conflict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// Its id.
    pub id: ConflictId,
    /// The layer of the copy.
    pub layer: String,
    /// The uid of the record.
    pub object: String,
    /// The fields that both sides changed.
    pub fields: Vec<Field>,
    /// One sentence for people.
    pub reason: String,
    /// Who of this server made the edit; empty if that is not known.
    pub user: String,
    /// When it was found.
    pub at: Timestamp,
}

/// A field that both sides changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its column.
    pub name: String,
    /// What both had started from.
    pub base: Option<String>,
    /// What a device entered.
    pub mine: Option<String>,
    /// What the upper server had.
    pub theirs: Option<String>,
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
        synced_at: tx.header()?.synced_at,
        ..State::default()
    };
    let layout = Layout::of(&tx.collections()?);
    for conflict in tx.conflicts(true)? {
        let table = layout.table(conflict.collection);
        let value = |of: &Option<Record>, name: &str| {
            let text = table?.text(of.as_ref()?, name);
            (!text.is_empty()).then_some(text)
        };
        let fields = conflict.fields.iter().map(|name| Field {
            base: value(&conflict.base, name),
            mine: value(&conflict.mine, name),
            theirs: value(&conflict.theirs, name),
            name: name.clone(),
        });
        state.clashes.push(Open {
            id: conflict.id,
            layer: table.map_or_else(String::new, |table| table.collection.name.clone()),
            object: conflict.global_id.to_string(),
            fields: fields.collect(),
            reason: conflict.reason.clone(),
            user: conflict.user.clone(),
            at: conflict.at,
        });
    }
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
