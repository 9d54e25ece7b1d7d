//! Three-way merge by field, and what the policies make of it.
//!
//! Owns: which fields clash, and which version a policy stores. The geometry is one field. Equal values never clash.
//! Called by `apply` on the server and by the client when it rebases a later edit. Rule source: DESIGN 5.

use haversack_model::{Changes, Collection, ConflictKind, Policy, Record, Value, Winner};

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

/// Gives a version of an older schema the fields that it lacks.
pub(crate) fn widen(record: &mut Record, collection: &Collection) {
    for field in collection.fields.iter().skip(record.values.len()) {
        record.values.push(field.default.clone());
    }
}

/// Copies the named fields of one version to another, as a conflict names them: what is no field is the geometry.
pub(crate) fn take_fields(
    collection: &Collection,
    names: &[String],
    from: &Record,
    to: &mut Record,
) {
    for name in names {
        match collection.field_index(name) {
            Some(at) => {
                if let (Some(to), Some(from)) = (to.values.get_mut(at), from.values.get(at)) {
                    to.clone_from(from);
                }
            }
            None => to.geometry.clone_from(&from.geometry),
        }
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

#[cfg(test)]
mod tests {
    use haversack_model::{Geometry, GlobalId, Position, Shape};
    use proptest::prelude::*;

    use super::*;

    const FIELDS: usize = 4;

    /// Few values, so that sides agree often.
    fn value() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            (0..3_i64).prop_map(Value::Integer),
            prop::sample::select(vec!["a", "b"]).prop_map(Value::from),
        ]
    }

    fn place() -> impl Strategy<Value = Option<Geometry>> {
        prop::option::of((0..3_u8).prop_map(|x| {
            Geometry::from_shape(&Shape::Point(Some(Position::xy(f64::from(x), 0.0))))
        }))
    }

    fn record() -> impl Strategy<Value = Record> {
        (prop::collection::vec(value(), FIELDS), place()).prop_map(|(values, geometry)| Record {
            global_id: GlobalId::Text("7".into()),
            object_id: None,
            values,
            geometry,
        })
    }

    fn merged(base: &Record, mine: &Record, theirs: &Record) -> (Record, Merge) {
        let merge = three_way(&whole(base), &Changes::between(base, mine), theirs);
        let mut record = theirs.clone();
        merge.free.apply_to(&mut record);
        (record, merge)
    }

    proptest! {
        #[test]
        fn equal_versions_never_clash(base in record(), mine in record()) {
            let (record, merge) = merged(&base, &mine, &mine);
            prop_assert!(merge.clashes.is_empty());
            prop_assert_eq!(record, mine);
        }

        #[test]
        fn what_only_one_side_changed_is_kept_whole(base in record(), mine in record()) {
            let (record, merge) = merged(&base, &mine, &base);
            prop_assert!(merge.clashes.is_empty());
            prop_assert_eq!(record, mine.clone());
            let (record, merge) = merged(&mine, &mine, &base);
            prop_assert!(merge.free.is_empty() && merge.clashes.is_empty());
            prop_assert_eq!(record, base);
        }

        #[test]
        fn no_field_is_lost(base in record(), mine in record(), theirs in record()) {
            let (record, merge) = merged(&base, &mine, &theirs);
            for at in 0..FIELDS {
                let (b, m, t) = (&base.values[at], &mine.values[at], &theirs.values[at]);
                let clashes = merge.clashes.values.contains_key(&at);
                prop_assert_eq!(clashes, b != m && b != t && m != t);
                let wanted = if b == t && !clashes { m } else { t };
                prop_assert_eq!(&record.values[at], wanted);
            }
            let (b, m, t) = (&base.geometry, &mine.geometry, &theirs.geometry);
            prop_assert_eq!(merge.clashes.geometry.is_some(), b != m && b != t && m != t);
        }

        #[test]
        fn without_clashes_it_does_not_matter_who_came_first(
            base in record(),
            mine in record(),
            theirs in record(),
        ) {
            let (one, first) = merged(&base, &mine, &theirs);
            let (other, second) = merged(&base, &theirs, &mine);
            prop_assert_eq!(
                first.clashes.values.keys().collect::<Vec<_>>(),
                second.clashes.values.keys().collect::<Vec<_>>()
            );
            if first.clashes.is_empty() {
                prop_assert_eq!(one, other);
            }
        }

        #[test]
        fn merging_again_changes_nothing(base in record(), mine in record(), theirs in record()) {
            let (once, first) = merged(&base, &mine, &theirs);
            let again = three_way(&whole(&base), &Changes::between(&base, &mine), &once);
            prop_assert!(again.free.is_empty());
            prop_assert_eq!(again.clashes, first.clashes);
        }

        #[test]
        fn a_base_that_is_not_known_makes_every_difference_a_clash(
            mine in record(),
            theirs in record(),
        ) {
            let merge = three_way(&Changes::default(), &whole(&mine), &theirs);
            prop_assert!(merge.free.is_empty());
            prop_assert_eq!(merge.clashes, Changes::between(&theirs, &mine));
        }
    }

    #[test]
    fn only_the_client_policy_lets_the_uploader_win() {
        use ConflictKind::{AddAdd, DeleteUpdate, UpdateDelete, UpdateUpdate};
        for kind in [AddAdd, DeleteUpdate, UpdateDelete, UpdateUpdate] {
            assert_eq!(winner(Policy::Client, kind, true), Winner::Mine);
            assert_eq!(winner(Policy::Server, kind, true), Winner::Theirs);
            assert_eq!(winner(Policy::Merge, kind, false), Winner::Theirs);
        }
        assert_eq!(winner(Policy::Merge, UpdateUpdate, true), Winner::Merged);
    }
}
