//! Aggregated states: a tracked entity, an enrollment or an event is as bad as the worst of what belongs to it.
//!
//! Nothing of this is stored: it follows from the outbox and the open conflicts, so it is never stale. The rule of which state is worse is
//! [`aggregated`](haversack_sync::states::aggregated). A relationship counts for its `from` side. Rule source: `spec/dhis2.md` 4.

use std::collections::BTreeMap;

use haversack_model::{GlobalId, Record, ReplicaTx, Result, SyncState};
use haversack_sync::states;

use super::layout::{Layout, Role, Table};
use crate::wire::tracker::Kind;

/// How many objects of each kind are in which aggregated state. Those where nothing waits are not counted.
pub fn counts(tx: &dyn ReplicaTx) -> Result<BTreeMap<Kind, BTreeMap<SyncState, u64>>> {
    let layout = Layout::of(&tx.collections()?);
    let mut families: BTreeMap<(Kind, String), SyncState> = BTreeMap::new();
    let mut add = |collection, id: &GlobalId, known: Option<&Record>, own| -> Result<()> {
        let Some(table) = layout.table(collection) else {
            return Ok(());
        };
        // What was deleted here is known from its base.
        let row = tx.row(collection, id)?.or_else(|| known.cloned());
        let mut next = match (table.role.kind(), &row) {
            (Some(kind), _) => Some((kind, id.to_string())),
            (None, Some(row)) => parent(table, row),
            (None, None) => None,
        };
        let mut row = row.filter(|_| table.role.kind().is_some());
        while let Some(member) = next {
            let of = families.entry(member.clone()).or_insert(SyncState::Synced);
            *of = states::aggregated(*of, [own]);
            let found = match row.take() {
                Some(row) => Some((table, row)),
                None => find(tx, &layout, &member)?,
            };
            next = found.and_then(|(table, row)| parent(table, &row));
        }
        Ok(())
    };
    for entry in tx.entries()? {
        let base = entry.base.as_ref().map(|(record, _)| record);
        add(entry.collection, &entry.global_id, base, entry.state)?;
    }
    for conflict in tx.conflicts(true)? {
        let known = conflict.mine.as_ref().or(conflict.base.as_ref());
        let own = SyncState::Warning;
        add(conflict.collection, &conflict.global_id, known, own)?;
    }
    let mut counted: BTreeMap<Kind, BTreeMap<SyncState, u64>> = BTreeMap::new();
    for ((kind, _), state) in families {
        *counted.entry(kind).or_default().entry(state).or_default() += 1;
    }
    Ok(counted)
}

/// What a record belongs to.
fn parent(table: &Table, row: &Record) -> Option<(Kind, String)> {
    let (kind, uid) = match (&table.role, table.role.kind()) {
        (Role::Notes, _) => {
            let (_, kind, uid) = table.note(row);
            (kind?, uid)
        }
        (_, Some(Kind::Enrollment)) => (Kind::TrackedEntity, table.text(row, "tracked_entity")),
        (Role::Events { .. }, _) => (Kind::Enrollment, table.text(row, "enrollment")),
        (Role::Relationships, _) => {
            let relationship = table.relationship(row);
            let (kind, uid) = relationship.from.object()?;
            (kind, uid.to_owned())
        }
        _ => return None,
    };
    (!uid.is_empty()).then_some((kind, uid))
}

fn find<'a>(
    tx: &dyn ReplicaTx,
    layout: &'a Layout,
    (kind, uid): &(Kind, String),
) -> Result<Option<(&'a Table, Record)>> {
    let id = GlobalId::Text(uid.as_str().into());
    for table in layout.of_kind(*kind) {
        if let Some(row) = tx.row(table.id(), &id)? {
            return Ok(Some((table, row)));
        }
    }
    Ok(None)
}
