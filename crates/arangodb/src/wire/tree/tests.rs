use proptest::prelude::*;

use super::*;

fn tree(revisions: &[u64]) -> Tree {
    let mut tree = Tree::default();
    for &revision in revisions {
        tree.add(revision).unwrap();
    }
    tree
}

fn at(year: u64) -> u64 {
    // Good enough for the width of a range.
    ((year - 1970) * 31_556_952_000) << 20
}

#[test]
fn the_reference_hashes_hold() {
    assert_eq!(hash(0), 12_161_962_213_042_174_405);
    assert_eq!(hash(1), 9_929_646_806_074_584_996);
    assert_eq!(hash(1_853_070_350_745_600_000), 15_996_821_495_037_482_884);
}

#[test]
fn the_range_doubles_as_the_reference_says() {
    for (year, exponent) in [(2022, 55), (2024, 57), (2026, 58), (2031, 59)] {
        assert_eq!(tree(&[at(year)]).width, 1 << exponent, "{year}");
    }
    assert_eq!(tree(&[at(2026)]).bucket_width(), 1 << 40, "17.5 minutes");
}

#[test]
fn an_older_revision_grows_the_tree_to_the_left() {
    let old = 1_639_882_683_390_623_744;
    let both = tree(&[at(2026), old]);
    assert!(both.min <= old && at(2026) < both.max());
    assert!(
        both.origin
            .abs_diff(both.min)
            .is_multiple_of(both.bucket_width())
    );
    assert_eq!(both.count(), 2);
    assert_eq!(both.hash(), hash(old) ^ hash(at(2026)));
}

#[test]
fn a_revision_that_no_range_reaches_is_told() {
    let mut tree = tree(&[at(2026)]);
    assert_eq!(tree.add(7), Err(TreeError::OutOfRange(7)));
}

#[test]
fn the_text_skips_empty_buckets_and_keeps_exact_numbers() {
    let tree = tree(&[ORIGIN, ORIGIN + 64, ORIGIN + 3 * 64, ORIGIN + 9 * 64]);
    let text = tree.to_json(true, &Digest::default());
    let (one, skip) = (hash(ORIGIN + 64), "{},");
    assert!(
        text.contains(&format!(r#"{{"count":1,"hash":{one}}},{skip}"#)),
        "{text}"
    );
    assert!(text.contains(r#"{"skip":5}"#), "{text}");
    assert!(
        text.contains(r#""initialRangeMin":"_bpq8a-----""#),
        "{text}"
    );
    assert!(text.len() < 600, "{}", text.len());
    let whole = tree.to_json(false, &Digest::default());
    assert_eq!(whole.matches(r#""count""#).count(), BUCKETS + 1);
    for text in [text, whole] {
        let value = serde_json::from_str(&text).unwrap();
        assert_eq!(Tree::from_json(&value).unwrap(), tree);
    }
}

#[test]
fn a_tree_that_does_not_add_up_is_refused() {
    let good: Value =
        serde_json::from_str(&tree(&[at(2025), at(2026)]).to_json(true, &Digest::default()))
            .unwrap();
    assert!(Tree::from_json(&good).is_ok());
    for (name, value) in [
        ("version", Value::from(2)),
        ("maxDepth", Value::from(5)),
        ("count", Value::from(3)),
        ("hash", Value::from(3)),
        ("rangeMax", Value::from("_bpq8a-----")),
        ("rangeMin", Value::from("?")),
        ("initialRangeMin", Value::from("_bpq8a----_")),
        ("nodes", serde_json::json!([{"skip": 300_000}])),
        ("nodes", serde_json::json!([7])),
        ("nodes", serde_json::json!([{}, {"skip": u64::MAX}])),
    ] {
        let mut bad = good.clone();
        bad[name] = value.clone();
        assert!(Tree::from_json(&bad).is_err(), "{name} {value}");
        bad.as_object_mut().unwrap().remove(name);
        assert!(Tree::from_json(&bad).is_err(), "{name} missing");
    }
}

#[test]
fn a_range_far_away_costs_no_more_than_a_near_one() {
    let far = 1 << 62;
    let text = format!(
        r#"{{"version":1,"maxDepth":6,"rangeMin":"{}","rangeMax":"{}","initialRangeMin":"_bpq8a-----","count":1,"hash":7,"nodes":[{{"count":1,"hash":7}}]}}"#,
        revision::encode(far),
        revision::encode(far + FIRST_WIDTH),
    );
    let far = Tree::from_json(&serde_json::from_str(&text).unwrap()).unwrap();
    let ranges = tree(&[ORIGIN]).differences(&far).unwrap();
    assert_eq!(ranges, [(ORIGIN, ORIGIN + 63), (1 << 62, (1 << 62) + 63)]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn the_order_of_additions_leaves_the_same_content(
        mut revisions in prop::collection::vec(at(2012)..at(2040), 1..12),
    ) {
        let forward = tree(&revisions);
        revisions.reverse();
        let backward = tree(&revisions);
        // The range may have grown the other way round: what counts is that nothing differs.
        prop_assert_eq!(forward.count(), backward.count());
        prop_assert_eq!(forward.hash(), backward.hash());
        if forward.differences(&backward).is_ok_and(|ranges| !ranges.is_empty()) {
            prop_assert!(false, "equal sets differ");
        }
    }

    #[test]
    fn every_difference_lies_in_a_reported_range(
        common in prop::collection::btree_set(at(2012)..at(2040), 0..12),
        ours in prop::collection::btree_set(at(2012)..at(2040), 0..6),
        theirs in prop::collection::btree_set(at(2012)..at(2040), 0..6),
    ) {
        let with = |extra: &std::collections::BTreeSet<u64>| {
            let all: Vec<u64> = common.iter().chain(extra).copied().collect();
            tree(&all)
        };
        if let Ok(ranges) = with(&ours).differences(&with(&theirs)) {
            for different in ours.symmetric_difference(&theirs) {
                let found = ranges.iter().any(|(low, high)| (low..=high).contains(&different));
                prop_assert!(found, "{different} is in none of {ranges:?}");
            }
            for pair in ranges.windows(2) {
                prop_assert!(pair[0].1 + 1 < pair[1].0, "adjacent ranges are merged");
            }
        }
    }
}

#[test]
fn a_digest_tells_who_has_which_revision() {
    let digest = |pairs: &[(&str, u64)]| {
        let mut digest = Digest::default();
        for (key, revision) in pairs {
            digest.add(key, *revision);
        }
        digest
    };
    let one = digest(&[("a", 1), ("b", 2)]);
    assert_eq!(
        one,
        digest(&[("b", 2), ("a", 1)]),
        "the order does not matter"
    );
    assert_ne!(one, digest(&[("a", 2), ("b", 1)]), "but the pairs do");
}
