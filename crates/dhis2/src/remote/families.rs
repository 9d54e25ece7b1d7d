//! Aggregated states: a tracked entity, an enrollment or an event is as bad as the worst of what belongs to it.
//!
//! Nothing of this is stored: it follows from the outbox and the open conflicts, so it is never stale. The rule of which state is worse is
//! [`aggregated`](haversack_sync::states::aggregated). A relationship counts for its `from` side, and for its `to` side if its
//! type is bidirectional. Rule source: `spec/dhis2.md` 4.

use std::collections::{BTreeMap, BTreeSet};

use haversack_model::{GlobalId, Record, ReplicaTx, Result, SyncState};
use haversack_sync::states;

use super::layout::{Layout, Role, Table};
use crate::wire::tracker::Kind;

/// How many objects of each kind are in which aggregated state. Those where nothing waits are not counted.
pub fn counts(tx: &dyn ReplicaTx) -> Result<BTreeMap<Kind, BTreeMap<SyncState, u64>>> {
    let layout = Layout::of(&tx.collections()?);
    let both_ways = bidirectional(tx, &layout)?;
    let mut families: BTreeMap<(Kind, String), SyncState> = BTreeMap::new();
    let mut add = |collection, id: &GlobalId, known: Option<&Record>, own| -> Result<()> {
        let Some(table) = layout.table(collection) else {
            return Ok(());
        };
        // What was deleted here is known from its base.
        let row = tx.row(collection, id)?.or_else(|| known.cloned());
        let mut next: Vec<(Kind, String)> = Vec::new();
        if let Some(kind) = table.role.kind() {
            next.push((kind, id.to_string()));
        }
        if let Some(row) = &row {
            next.extend(parents(table, row, &both_ways));
        }
        let mut seen = BTreeSet::new();
        while let Some(member) = next.pop() {
            // Two sides of a relationship may be of one family.
            if !seen.insert(member.clone()) {
                continue;
            }
            let of = families.entry(member.clone()).or_insert(SyncState::Synced);
            *of = states::aggregated(*of, [own]);
            if let Some((table, row)) = find(tx, &layout, &member)? {
                next.extend(parents(table, &row, &both_ways));
            }
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
fn parents(table: &Table, row: &Record, both_ways: &BTreeSet<String>) -> Vec<(Kind, String)> {
    let mut found = Vec::new();
    match (&table.role, table.role.kind()) {
        (Role::Notes, _) => {
            let (_, kind, uid) = table.note(row);
            found.extend(kind.map(|kind| (kind, uid)));
        }
        (_, Some(Kind::Enrollment)) => {
            found.push((Kind::TrackedEntity, table.text(row, "tracked_entity")));
        }
        (Role::Events { .. }, _) => found.push((Kind::Enrollment, table.text(row, "enrollment"))),
        (Role::Relationships, _) => {
            let tie = table.relationship(row);
            let is_both = both_ways.contains(&tie.relationship_type);
            let sides = [Some(&tie.from), is_both.then_some(&tie.to)];
            let sides = sides.into_iter().flatten().filter_map(|side| side.object());
            found.extend(sides.map(|(kind, uid)| (kind, uid.to_owned())));
        }
        _ => {}
    }
    found.retain(|(_, uid)| !uid.is_empty());
    found
}

/// Types of relationships that count for both of their sides.
fn bidirectional(tx: &dyn ReplicaTx, layout: &Layout) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    let Some(table) = layout.metadata("relationshipTypes") else {
        return Ok(found);
    };
    for id in tx.confirmed(table.id())? {
        if let Some(row) = tx.row(table.id(), &id)? {
            let object: serde_json::Value =
                serde_json::from_str(&table.text(&row, "object")).unwrap_or_default();
            if object["bidirectional"] == true {
                found.insert(id.to_string());
            }
        }
    }
    Ok(found)
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
