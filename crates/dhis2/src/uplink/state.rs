//! How an uplink stands, for those who look after it.

use std::collections::BTreeMap;

use haversack_model::local::LocalReplica;
use haversack_model::{ConflictId, GlobalId, Record, ReplicaTx, SyncState, Timestamp};

use super::{Result, WHO, aggregate, named};
use crate::remote::layout::{COMPLETIONS, DATA_VALUES, FILES, Layout, Table};
use crate::remote::push::{ImportConflict, stored_conflicts};
use crate::wire::date;

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
    /// What aggregate data are about; empty of other records.
    pub about: String,
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
    /// What aggregate data are about, and the name of a file; empty of other records.
    pub about: String,
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
            about: match (table, conflict.mine.as_ref().or(conflict.theirs.as_ref())) {
                (Some(table), Some(record)) if aggregate::collection_of(table).is_some() => {
                    about(table, record)
                }
                _ => String::new(),
            },
            fields: fields.collect(),
            reason: conflict.reason.clone(),
            user: conflict.user.clone(),
            at: conflict.at,
        });
    }
    let entries = tx.entries()?;
    for entry in &entries {
        match entry.state {
            SyncState::Error => state.refused += 1,
            _ => state.waiting += 1,
        }
    }
    let users = users(&*tx)?;
    let user = |object: &str| users.get(object).cloned().unwrap_or_default();
    for stored in stored_conflicts(&*tx)? {
        let table = match stored.conflict.kind.as_str() {
            "dataValue" => layout.table(DATA_VALUES),
            "completion" => layout.table(COMPLETIONS),
            _ => None,
        };
        let id = GlobalId::Text(stored.conflict.object.as_str().into());
        let row = table.map(|table| tx.row(table.id(), &id)).transpose()?;
        state.said.push(Said {
            user: user(&stored.conflict.object),
            about: table
                .zip(row.flatten())
                .map_or_else(String::new, |(table, row)| about(table, &row)),
            conflict: stored.conflict,
            at: stored.at,
        });
    }
    let refused = entries.iter().filter(|entry| entry.collection == FILES);
    for file in refused.filter(|entry| entry.state == SyncState::Error) {
        let object = file.global_id.to_string();
        let again = super::files::again_at(&*tx, &object)?;
        let again = again.map(|at| format!("; it is offered again after {}", date::format(at)));
        state.said.push(Said {
            user: user(&object),
            about: match (layout.table(FILES), tx.row(FILES, &file.global_id)?) {
                (Some(table), Some(row)) => table.text(&row, "name"),
                _ => String::new(),
            },
            conflict: ImportConflict {
                kind: "file".to_owned(),
                object,
                message: file.reason.clone().unwrap_or_default(),
                hint: format!(
                    "what names it waits; name another file there{}",
                    again.unwrap_or_default()
                ),
                ..ImportConflict::default()
            },
            at: String::new(),
        });
    }
    for broken in super::glass::open(&*tx)? {
        let Some(refusal) = &broken.refusal else {
            state.waiting += 1;
            continue;
        };
        state.said.push(Said {
            user: broken.user.clone(),
            about: String::new(),
            conflict: ImportConflict {
                kind: "brokenGlass".to_owned(),
                object: broken.tracked_entity.clone(),
                message: refusal.clone(),
                hint: "the glass is broken here, and the country does not know it".to_owned(),
                is_warning: true,
                ..ImportConflict::default()
            },
            at: broken.created.clone(),
        });
    }
    Ok(state)
}

/// What a record of aggregate data is about: an element or a data set, a period and a unit. Its uid says nothing to people.
fn about(table: &Table, record: &Record) -> String {
    let parts = ["data_element", "data_set", "period", "org_unit"]
        .iter()
        .filter(|column| !(table.id() == DATA_VALUES && **column == "data_set"))
        .map(|column| table.text(record, column));
    let parts: Vec<String> = parts.filter(|part| !part.is_empty()).collect();
    parts.join(" ")
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
