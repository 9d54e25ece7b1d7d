//! Three-way merge by field, and what the policies make of it.
//!
//! Owns: which fields clash, and which version a policy stores. The geometry is one field. Equal values never clash.
//! Called by `apply` on the server and by the client when it rebases a later edit. Rule source: DESIGN 5.

use haversack_model::{Changes, ConflictKind, Policy, Record, Value, Winner};

/// My changes, split by whether the other side changed the same.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Merge {
    /// Fields that only I changed, with my values.
    pub free: Changes,
    /// Fields that both changed, to different values; with my values.
    pub clashes: Changes,
}

/// Compares what I set with what both started from and what they have now.
///
/// A field that is missing in `base` counts as changed by them, unless they have my value: the base is then unknown,
/// and a doubt is a clash.
pub fn three_way(base: &Changes, mine: &Changes, theirs: &Record) -> Merge {
    let mut merge = Merge::default();
    for (&at, value) in &mine.values {
        let their = theirs.values.get(at).unwrap_or(&Value::Null);
        let was = base.values.get(&at);
        if value == their || was == Some(value) {
            continue;
        }
        let side = if was == Some(their) {
            &mut merge.free
        } else {
            &mut merge.clashes
        };
        side.values.insert(at, value.clone());
    }
    if let Some(geometry) = &mine.geometry
        && *geometry != theirs.geometry
        && base.geometry.as_ref() != Some(geometry)
    {
        let side = if base.geometry.as_ref() == Some(&theirs.geometry) {
            &mut merge.free
        } else {
            &mut merge.clashes
        };
        side.geometry = Some(geometry.clone());
    }
    merge
}

/// All of a record as changes.
pub fn whole(record: &Record) -> Changes {
    Changes {
        values: record.values.iter().cloned().enumerate().collect(),
        geometry: Some(record.geometry.clone()),
    }
}

/// The version that a policy stores when two versions clash.
///
/// `merge` and `server` keep the server's version of what clashes, deletions included; they differ in what becomes
/// of the fields beside it, which `merge` stores.
pub fn winner(policy: Policy, kind: ConflictKind, has_free_fields: bool) -> Winner {
    match (policy, kind) {
        (Policy::Client, _) => Winner::Mine,
        (Policy::Merge, ConflictKind::UpdateUpdate) if has_free_fields => Winner::Merged,
        (Policy::Merge | Policy::Server, _) => Winner::Theirs,
    }
}
