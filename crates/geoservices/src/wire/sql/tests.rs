use haversack_model::filter::{Arithmetic, Comparison, Function};
use haversack_model::query::{Order, StatisticKind};
use haversack_model::{Geometry, GlobalId, ObjectId, Position, Record, Shape, Value};
use proptest::prelude::*;
use serde_json::json;
use sqlparser::dialect::GenericDialect;
use uuid::Uuid;

use super::*;
use crate::wire::feature::tests::trees;

/// 2026-05-01T12:00:00Z.
const NOW: Timestamp = Timestamp(1_777_636_800_000);
const DAY: i64 = 86_400_000;

fn filter(text: &str) -> Filter {
    condition(text, &trees(), NOW).unwrap_or_else(|e| panic!("{text}: {e}"))
}

fn refusal(text: &str) -> String {
    let parsed = condition(text, &trees(), NOW);
    parsed.expect_err(text).to_string()
}

/// An oak of height 12.5 and age 40, planted two days before now, seen on 2026-05-01.
fn oak() -> Record {
    let mut values = vec![Value::Null; 16];
    values[0] = Value::from("O'Brian's 50% oak");
    values[1] = Value::Real(12.5);
    values[3] = Value::Integer(40);
    values[6] = Value::Integer(NOW.0 - 2 * DAY);
    values[7] = Value::from("2026-05-01");
    values[10] = Value::from("{0F1E2D3C-4B5A-6978-8796-A5B4C3D2E1F0}");
    Record {
        global_id: GlobalId::Uuid(Uuid::from_u128(5)),
        object_id: Some(ObjectId(7)),
        values,
        geometry: Some(Geometry::from_shape(&Shape::Point(Some(Position::xy(
            1.0, 2.0,
        ))))),
    }
}

fn holds(text: &str) -> bool {
    filter(text).matches(&trees(), &oak(), &haversack_model::filter::NoParents)
}

#[test]
fn conditions_mean_what_sql_says() {
    for yes in [
        "",
        "1=1",
        "1 = 1 AND age = 40",
        "name = 'O''Brian''s 50% oak'",
        "name = N'O''Brian''s 50% oak'",
        "NAME LIKE 'O%oak'",
        "name LIKE '%50!% oak' ESCAPE '!'",
        "UPPER(name) LIKE '%OAK'",
        "age LIKE '4%'",
        "\"age\" BETWEEN 39 AND 41 AND [height] > 12",
        "age NOT BETWEEN 41 AND 50",
        "Trees.age = 40",
        "age = '40'",
        "OBJECTID IN (1, 7, 9)",
        "OBJECTID NOT IN (1, 2)",
        "GlobalID = '{00000000-0000-0000-0000-000000000005}'",
        "globalid = '00000000-0000-0000-0000-000000000005'",
        "park = '0f1e2d3c4b5a69788796a5b4c3d2e1f0'",
        "girth IS NULL AND age IS NOT NULL",
        "NOT age = 41",
        "NOT (age = 41 OR height < 0)",
        "age = 41 OR age = 40 AND height = 12.5",
        "planted > CURRENT_TIMESTAMP - 3",
        "planted < CURRENT_TIMESTAMP - INTERVAL '1' DAY",
        "planted > CURRENT_TIMESTAMP - INTERVAL '1' MONTH",
        "planted + INTERVAL '3' DAY > CURRENT_TIMESTAMP",
        "planted = DATE '2026-04-29' + INTERVAL '12' HOUR",
        "planted = TIMESTAMP '2026-04-29 12:00:00'",
        "planted > '2026-04-29'",
        "planted < CURRENT_DATE",
        "seen_on = DATE '2026-05-01'",
        "seen_on > '2026-04-30'",
        "EXTRACT(YEAR FROM planted) = 2026",
        "CAST(age AS VARCHAR(1)) = '4'",
        "CAST('12' AS INTEGER) < age",
        "SUBSTRING(name FROM 1 FOR 1) = 'O'",
        "SUBSTRING(name, 3, 5) = 'Brian'",
        "POSITION('oak' IN name) > 0",
        "CHAR_LENGTH(name) = 17",
        "age / 4 + 2 * -3 = 4",
        "name || '!' = 'O''Brian''s 50% oak!'",
        "COALESCE(girth, height) = 12.5",
        "MOD(age, 7) = 5 AND ABS(-age) = 40 AND ROUND(height) >= 12",
        "age <> 41 AND age != 42",
    ] {
        assert!(holds(yes), "{yes}: {:?}", filter(yes));
    }
    for no in [
        "1=0",
        "age = NULL",
        "NOT girth = 3",
        "age = 40 AND name LIKE 'o%'",
        "OBJECTID IN (1)",
        "girth NOT IN (1, 2)",
        "planted > CURRENT_TIMESTAMP - 1",
        "1=1 AND 1=2 OR age = 41",
    ] {
        assert!(!holds(no), "{no}: {:?}", filter(no));
    }
}

#[test]
fn what_is_not_in_the_language_is_refused_by_name() {
    for (bad, words) in [
        (
            "colour = 'red'",
            r#"there is no field "colour" in "Trees" (at character 1)"#,
        ),
        ("age = 1; DROP TABLE trees", "without ';'"),
        ("age = 1 -- all", "comments are not allowed"),
        ("age /* x */ = 1", "comments are not allowed"),
        (
            "age = 1 age",
            r#"did not expect "age" here (at character 9)"#,
        ),
        (
            "age IN (SELECT age FROM trees)",
            r#"there is no field "SELECT""#,
        ),
        ("EXISTS (SELECT 1)", "there is no function EXISTS"),
        (
            "load_extension('x') = 1",
            "there is no function LOAD_EXTENSION",
        ),
        ("age", "expected a condition"),
        ("age = ", "expected a value, found the end"),
        ("(age = 1", "expected )"),
        ("name = 'x", "is missing at the end"),
        (
            "name > 5 AND height > 'tall'",
            "a number cannot be compared with text",
        ),
        ("planted > 'soon'", "a time cannot be compared with text"),
        ("age LIKE name", "LIKE needs a pattern"),
        ("name LIKE 'a!' ESCAPE '!'", "ends with its escape"),
        ("name LIKE 'a' ESCAPE 'ab'", "exactly one character"),
        (
            "UPPER(name, name) = 'A'",
            "UPPER takes 1 arguments, found 2",
        ),
        ("UPPER(height) = 'A'", "expected text, found a number"),
        ("SUM(age) > 1", "only allowed in 'having'"),
        ("planted > DATE 'x'", "expected a date"),
        ("age > INTERVAL '1' DAY", "needs a time beside it"),
        (
            "age + INTERVAL '1' DAY > 1",
            "expected a time beside the interval",
        ),
        (
            "planted + INTERVAL '1' MONTH > CURRENT_DATE",
            "only be added to a fixed time",
        ),
        ("EXTRACT(MOOD FROM planted) = 1", "legal: YEAR"),
        ("CAST(age AS money) = 1", "cannot cast to"),
        ("other.age = 1", r#"there is no table "other""#),
        ("age = ?", "has no meaning here"),
        ("age = 1 = 2", "found a condition"),
        ("name = \"unknown\"", r#"no field "unknown""#),
        ("9999999999999999999999999999e999 = age", "out of range"),
        ("5x = age", "runs into a word"),
        ("name = 'a\0b'", "NUL"),
    ] {
        let refused = refusal(bad);
        assert!(refused.contains(words), "{bad}: {refused}");
    }
}

#[test]
fn limits_of_length_depth_and_lists_are_kept_on_both_sides() {
    let list = |n: usize| format!("OBJECTID IN ({})", vec!["1"; n].join(","));
    assert!(matches!(filter(&list(MAX_IN)), Filter::In { list, .. } if list.len() == MAX_IN));
    assert!(refusal(&list(MAX_IN + 1)).contains("more than 10000 items"));
    let nested = |n: usize| format!("{}age = 1{}", "(".repeat(n), ")".repeat(n));
    filter(&nested(60));
    assert!(refusal(&nested(64)).contains("nested deeper than 64"));
    let sum = |n: usize| format!("age = 1{}", "+1".repeat(n));
    filter(&sum(60));
    assert!(refusal(&sum(64)).contains("nested deeper than 64"));
    assert!(refusal(&sum(32_000)).contains("nested deeper than 64"));
    assert!(refusal(&format!("name = '{}'", "x".repeat(MAX_LENGTH))).contains("longer than"));
    let chain = format!("age = 2{}", " OR age = 3".repeat(5_900));
    assert!(matches!(filter(&chain), Filter::Or(all) if all.len() == 5_901));
    let products = "ABS(".repeat(30) + "age" + &")".repeat(30);
    filter(&format!("{products} = 1"));
}

#[test]
fn calls_cannot_nest_deeper_by_being_chained() {
    // Each level adds a chain: 40 levels of 40 links would be a tree 1,600 deep.
    let mut text = "age".to_owned();
    for _ in 0..40 {
        text = format!("({text}{})", "+1".repeat(40));
    }
    assert!(refusal(&format!("{text} = 1")).contains("nested deeper than 64"));
}

#[test]
fn names_take_the_spelling_of_the_schema() {
    let Filter::Compare { left, op, right } = filter("NAME = 5") else {
        panic!("a comparison");
    };
    assert_eq!(left, Expr::Field("name".into()));
    assert_eq!(
        (op, right),
        (Comparison::Equal, Expr::Literal(Value::from("5")))
    );
}

#[test]
fn order_is_read_with_directions_expressions_and_result_columns() {
    let statistics = statistics(
        &json!([{"statisticType": "COUNT", "onStatisticField": "OBJECTID", "outStatisticFieldName": "n"}]),
        &trees(),
        NOW,
    )
    .expect("statistics");
    let order =
        order_by("NAME desc, UPPER(name), N ASC", &trees(), &statistics, NOW).expect("order");
    assert_eq!(order.len(), 3);
    assert_eq!(
        order[0],
        Order {
            expr: Expr::Field("name".into()),
            descending: true
        }
    );
    assert!(matches!(
        &order[1].expr,
        Expr::Call {
            function: Function::Upper,
            ..
        }
    ));
    assert_eq!(
        order[2],
        Order {
            expr: Expr::Field("n".into()),
            descending: false
        }
    );
    for bad in ["name sideways", "colour", "name,,age", "name; x"] {
        assert!(order_by(bad, &trees(), &[], NOW).is_err(), "{bad}");
    }
}

#[test]
fn statistics_and_having_go_together() {
    let trees = trees();
    let keys = group_by("name, EXTRACT(YEAR FROM planted)", &trees, NOW).expect("keys");
    assert_eq!(
        keys.iter().map(|k| k.name.as_str()).collect::<Vec<_>>(),
        ["name", "EXPR_2"]
    );
    let wanted = json!([
        {"statisticType": "count", "onStatisticField": "*"},
        {"statisticType": "avg", "onStatisticField": "height * 2", "outStatisticFieldName": "tall"},
        {"statisticType": "max", "onStatisticField": "planted"},
    ]);
    let statistics = statistics(&wanted, &trees, NOW).expect("statistics");
    let names: Vec<&str> = statistics.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["count_1", "tall", "max_planted"]);
    let condition = having(
        "COUNT(*) > 1 AND tall < 9 AND name <> 'x' AND COUNT(DISTINCT age) > 2",
        &trees,
        &statistics,
        &keys,
        NOW,
    );
    let Ok(Filter::And(all)) = condition else {
        panic!("{condition:?}");
    };
    let aggregate = |kind, expr: Option<Expr>| Expr::Aggregate {
        kind,
        field: expr.map(Box::new),
    };
    let left = |filter: &Filter| match filter {
        Filter::Compare { left, .. } => left.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(left(&all[0]), aggregate(StatisticKind::Count, None));
    let doubled = Expr::Binary {
        left: Box::new(Expr::Field("height".into())),
        op: Arithmetic::Multiply,
        right: Box::new(Expr::Literal(Value::Integer(2))),
    };
    assert_eq!(
        left(&all[1]),
        aggregate(StatisticKind::Average, Some(doubled))
    );
    assert_eq!(
        left(&all[3]),
        aggregate(
            StatisticKind::CountDistinct,
            Some(Expr::Field("age".into()))
        )
    );
    let refused = having("age > 1", &trees, &statistics, &keys, NOW).expect_err("not grouped");
    assert!(
        refused.to_string().contains("is not grouped by"),
        "{refused}"
    );
}

#[test]
fn statistics_that_cannot_be_computed_are_refused_by_name() {
    for (bad, words) in [
        (json!({}), "must be a JSON array"),
        (json!([]), "empty list"),
        (json!([{"onStatisticField": "age"}]), "statisticType"),
        (
            json!([{"statisticType": "median", "onStatisticField": "age"}]),
            "legal: count, sum",
        ),
        (
            json!([{"statisticType": "sum", "onStatisticField": "name"}]),
            "needs a number, found text",
        ),
        (json!([{"statisticType": "sum"}]), "onStatisticField"),
        (
            json!([{"statisticType": "sum", "onStatisticField": "colour"}]),
            "no field",
        ),
        (
            json!([{"statisticType": "sum", "onStatisticField": "age"}, {"statisticType": "sum", "onStatisticField": "age"}]),
            "occurs twice",
        ),
    ] {
        let refused = statistics(&bad, &trees(), NOW)
            .expect_err("refused")
            .to_string();
        assert!(refused.contains(words), "{bad}: {refused}");
    }
}

#[test]
fn calculations_set_values_or_expressions() {
    let trees = trees();
    let read = |json| calculation(&json, &trees, NOW);
    let two = read(
        json!([{"field": "NAME", "value": "ash"}, {"field": "height", "sqlExpression": "height * 2"}]),
    );
    let two = two.expect("assignments");
    assert_eq!(
        two[0],
        Assignment {
            field: 0,
            to: Assigned::Value(Value::from("ash"))
        }
    );
    assert!(matches!(&two[1].to, Assigned::Expr(Expr::Binary { .. })));
    let now = read(json!({"field": "planted", "sqlExpression": "CURRENT_TIMESTAMP"})).expect("one");
    assert_eq!(now[0].to, Assigned::Expr(Expr::Time(NOW)));
    for (bad, words) in [
        (json!([]), "names no field"),
        (json!([{"value": 1}]), "needs 'field'"),
        (
            json!([{"field": "OBJECTID", "value": 1}]),
            "'OBJECTID': does not exist or cannot be set",
        ),
        (json!([{"field": "age", "value": "old"}]), "field 'age'"),
        (json!([{"field": "age"}]), "needs 'value'"),
        (
            json!([{"field": "age", "value": 1, "sqlExpression": "2"}]),
            "not both",
        ),
        (
            json!([{"field": "age", "sqlExpression": "name"}]),
            "the field needs a number, the expression gives text",
        ),
        (
            json!([{"field": "age", "value": 1}, {"field": "AGE", "value": 2}]),
            "set twice",
        ),
    ] {
        let refused = read(bad.clone()).expect_err("refused").to_string();
        assert!(refused.contains(words), "{bad}: {refused}");
    }
}

fn clause() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        Just("age"),
        Just("name"),
        Just("planted"),
        Just("\"height\""),
        Just("1"),
        Just("2.5"),
        Just("'x'"),
        Just("NULL"),
        Just("("),
        Just(")"),
        Just("="),
        Just("<"),
        Just("AND"),
        Just("OR"),
        Just("NOT"),
        Just("IN"),
        Just("LIKE"),
        Just("BETWEEN"),
        Just("IS"),
        Just("+"),
        Just("-"),
        Just("*"),
        Just("||"),
        Just(","),
        Just("UPPER("),
        Just("CAST("),
        Just("AS"),
        Just("INTEGER"),
        Just("EXTRACT("),
        Just("YEAR"),
        Just("FROM"),
        Just("DATE '2026-01-01'"),
        Just("CURRENT_TIMESTAMP"),
        Just("INTERVAL '1' DAY"),
        Just("POSITION("),
        Just("ESCAPE"),
    ];
    proptest::collection::vec(word, 1..14).prop_map(|words| words.join(" "))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_text_gives_a_filter_or_an_error(text in "\\PC{0,60}") {
        let trees = trees();
        let _ = condition(&text, &trees, NOW);
        let _ = expression(&text, &trees, NOW);
        let _ = order_by(&text, &trees, &[], NOW);
        let _ = group_by(&text, &trees, NOW);
        let _ = having(&text, &trees, &[], &[], NOW);
    }

    /// Whatever is accepted is one SQL expression in the eyes of a general parser too: nothing follows it.
    #[test]
    fn what_is_accepted_is_one_expression_for_a_general_parser(text in clause()) {
        if let Ok(filter) = condition(&text, &trees(), NOW) {
            let dialect = GenericDialect {};
            let mut parser = sqlparser::parser::Parser::new(&dialect).try_with_sql(&text).expect("tokens");
            let parsed = parser.parse_expr();
            prop_assert!(parsed.is_ok(), "{text}: {parsed:?}");
            prop_assert_eq!(parser.peek_token().token, sqlparser::tokenizer::Token::EOF, "{}", text);
            // And evaluating it never panics.
            let _ = filter.matches(&trees(), &oak(), &haversack_model::filter::NoParents);
        }
    }
}
