use proptest::prelude::*;

use super::*;

const NOON: Timestamp = Timestamp(1_795_262_400_000); // 2026-11-21, a Saturday

fn given(code: &str) -> Given<'_> {
    Given {
        org_unit_code: Some(code),
        now: NOON,
    }
}

#[test]
fn a_pattern_is_filled_in_as_the_original_does() {
    for (pattern, generated, key, value) in [
        (
            r#"RANDOM(###)+"-"+ORG_UNIT_CODE(...)"#,
            "046",
            "RANDOM(###)-OU_",
            "046-OU_",
        ),
        (
            r#"ORG_UNIT_CODE(...) + "-" + CURRENT_DATE(yyyy) + "-" + SEQUENTIAL(#####)"#,
            "00007",
            "OU_-2026-SEQUENTIAL(#####)",
            "OU_-2026-00007",
        ),
        ("ORG_UNIT_CODE(...$)", "", "559", "559"),
        (
            "ORG_UNIT_CODE(^.)+ORG_UNIT_CODE()",
            "",
            "OOU_559",
            "OOU_559",
        ),
        (
            r#""a\"b+c"+CURRENT_DATE(dd.MM.yy)"#,
            "",
            "a\"b+c21.11.26",
            "a\"b+c21.11.26",
        ),
        ("CURRENT_DATE(YYYY-'w'ww)", "", "2026-w47", "2026-w47"),
    ] {
        let read = TextPattern::parse(pattern).unwrap();
        assert_eq!(read.key(&given("OU_559")).unwrap(), key, "{pattern}");
        assert_eq!(
            read.render(&given("OU_559"), generated).unwrap(),
            value,
            "{pattern}"
        );
        assert!(read.fits(value), "{pattern} {value}");
    }
}

#[test]
fn what_cannot_be_read_is_refused_with_the_place() {
    for pattern in [
        "",
        "R",
        "\"open",
        "RANDOM()",
        "RANDOM(##",
        "RANDOM(#############)",
        "SEQUENTIAL(X)",
        "OTHER(#)",
        "\"a\" \"b\"",
        "\"a\"+",
        "RANDOM(#)+SEQUENTIAL(#)",
        "CURRENT_DATE()",
        "CURRENT_DATE(MMMM)",
        "CURRENT_DATE(q)",
        "ORG_UNIT_CODE(x)",
        "ORG_UNIT_CODE(^.$)",
    ] {
        assert!(TextPattern::parse(pattern).is_err(), "{pattern}");
    }
}

#[test]
fn what_is_needed_and_missing_is_named() {
    let pattern = TextPattern::parse("ORG_UNIT_CODE(....)+RANDOM(#)").unwrap();
    assert!(pattern.needs_org_unit());
    let nothing = Given {
        now: NOON,
        ..Given::default()
    };
    let error = pattern.key(&nothing).unwrap_err();
    assert_eq!(error.to_string(), "Missing required values: ORG_UNIT_CODE");
    assert!(matches!(
        pattern.key(&given("abc")),
        Err(BadPattern::ShortCode { needed: 4, .. })
    ));
}

#[test]
fn a_sequence_counts_from_one_to_its_last_number_and_no_further() {
    let pattern = TextPattern::parse("SEQUENTIAL(##)").unwrap();
    assert_eq!(pattern.capacity(), 99);
    assert_eq!(pattern.nth(0), None);
    assert_eq!(pattern.nth(1).as_deref(), Some("01"));
    assert_eq!(pattern.nth(99).as_deref(), Some("99"));
    assert_eq!(pattern.nth(100), None);
    assert!(!pattern.fits("00"), "counting begins at 1");
    assert_eq!(
        TextPattern::parse("RANDOM(#Xx*)").unwrap().capacity(),
        10 * 26 * 26 * 62
    );
    assert_eq!(TextPattern::parse("\"a\"").unwrap().capacity(), 1);
}

#[test]
fn values_of_another_shape_do_not_fit() {
    let pattern =
        TextPattern::parse(r#"ORG_UNIT_CODE(...) + "-" + CURRENT_DATE(yyyyMM) + "-" + RANDOM(X#)"#)
            .unwrap();
    assert!(pattern.fits("HVF-202611-A7"));
    for value in [
        "HVF-202613-A7",
        "HVF-202611-a7",
        "HVF-202611-A77",
        "HVF-202611-AA",
        "HV-202611-A7",
        "",
        "HVF202611A7",
        "HVF-2026é1-A7",
    ] {
        assert!(!pattern.fits(value), "{value}");
    }
    let whole = TextPattern::parse("ORG_UNIT_CODE() + RANDOM(#)").unwrap();
    assert!(whole.fits("A-1-57") && !whole.fits("7") && !whole.fits("AB"));
}

#[test]
fn values_go_stale_when_the_date_in_them_does() {
    for (pattern, day) in [
        ("CURRENT_DATE(yyyy-ww)", Some("2026-11-23")),
        ("CURRENT_DATE(MM-yyyy)", Some("2026-12-01")),
        ("CURRENT_DATE(YYYY)", Some("2027-01-01")),
        ("CURRENT_DATE(yyyy)", Some("2027-01-01")),
        ("CURRENT_DATE(yyyyMMdd)", Some("2026-11-22")),
        ("\"M\"+RANDOM(#)", None),
    ] {
        let read = TextPattern::parse(pattern).unwrap();
        let expected = day.and_then(date::parse);
        assert_eq!(read.changes_at(NOON), expected, "{pattern}");
    }
    let year = TextPattern::parse("CURRENT_DATE(yy)").unwrap();
    let last = date::parse("2026-12-31T23:59:59.999").unwrap();
    assert_eq!(year.changes_at(last), date::parse("2027-01-01"));
}

fn segments() -> impl Strategy<Value = String> {
    let text = "[a-z0-9 .+-]{1,5}".prop_map(|text| format!("\"{text}\""));
    let code = prop::sample::select(vec![
        "ORG_UNIT_CODE(..)",
        "ORG_UNIT_CODE(.$)",
        "ORG_UNIT_CODE()",
    ]);
    let day = prop::sample::select(vec![
        "CURRENT_DATE(yyyy)",
        "CURRENT_DATE(yyMMdd)",
        "CURRENT_DATE(D/w)",
    ]);
    prop_oneof![
        text,
        code.prop_map(str::to_owned),
        day.prop_map(str::to_owned)
    ]
}

proptest! {
    #[test]
    fn every_value_fits_the_pattern_that_made_it(
        before in prop::collection::vec(segments(), 0..3),
        generated in prop_oneof!["RANDOM\\([#Xx*]{1,12}\\)", "SEQUENTIAL\\(#{1,12}\\)"],
        after in prop::collection::vec(segments(), 0..3),
        code in "[A-Za-z0-9_]{2,9}",
        n in 1..10_u64,
        days in 0..20_000_i64,
        chance in any::<u64>(),
    ) {
        let all: Vec<String> = before.into_iter().chain([generated]).chain(after).collect();
        let pattern = TextPattern::parse(&all.join(" + ")).unwrap();
        let given = Given { org_unit_code: Some(&code), now: Timestamp(days * 86_400_000) };
        let mut left = chance;
        let piece = pattern.nth(n).unwrap_or_else(|| pattern.random(|below| {
            left = left.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (left >> 33) as usize % below
        }));
        let value = pattern.render(&given, &piece).unwrap();
        prop_assert!(pattern.fits(&value), "{value}");
        if let Some(at) = pattern.changes_at(given.now) {
            prop_assert!(at > given.now);
            // Until then nothing but the generated piece differs, unless hours are in it.
            let later = Given { now: Timestamp(at.0 - 1), ..given };
            prop_assert_eq!(pattern.key(&later).unwrap(), pattern.key(&given).unwrap());
        }
    }

    #[test]
    fn no_value_of_a_sequence_comes_twice(a in 1..100_000_u64, b in 1..100_000_u64) {
        let pattern = TextPattern::parse("SEQUENTIAL(######)").unwrap();
        prop_assert_eq!(pattern.nth(a) == pattern.nth(b), a == b);
    }

    #[test]
    fn no_text_breaks_the_reader(text in ".{0,60}", value in ".{0,30}") {
        if let Ok(pattern) = TextPattern::parse(&text) {
            let _fits = pattern.fits(&value);
        }
    }
}
