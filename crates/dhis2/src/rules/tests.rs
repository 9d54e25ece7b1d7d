//! What expressions and rules come to.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::expression::Expression;
use super::fault::Fault;
use super::*;

struct World {
    constants: BTreeMap<String, String>,
    roles: BTreeSet<String>,
    groups: BTreeMap<String, BTreeSet<String>>,
}

impl World {
    fn new() -> Self {
        let unit = BTreeSet::from(["unit".to_owned()]);
        Self {
            constants: BTreeMap::from([("pi".to_owned(), "3.14".to_owned())]),
            roles: BTreeSet::from(["nurse".to_owned()]),
            groups: BTreeMap::from([("rural".to_owned(), unit)]),
        }
    }
    fn facts(&self) -> Facts<'_> {
        let known = |kind, all: &[&str]| Known {
            kind,
            value: all.first().map(|text| (*text).to_owned()),
            candidates: all.iter().map(|text| (*text).to_owned()).collect(),
            date: all.first().map(|_| "2026-03-01".to_owned()),
        };
        let variables = [
            ("weight", known(Kind::Number, &["12.5", "10", "-1"])),
            ("empty", known(Kind::Number, &[])),
            ("name", known(Kind::Text, &["Ada"])),
            ("none", known(Kind::Text, &[])),
            ("smokes", known(Kind::Bool, &["true"])),
            ("unset", known(Kind::Bool, &[])),
            ("born", known(Kind::Text, &["2020-02-29"])),
            ("code", known(Kind::Text, &["ABC-007-X"])),
            ("odd", known(Kind::Number, &["ten"])),
        ];
        Facts {
            variables: variables
                .into_iter()
                .map(|(name, known)| (name.to_owned(), known))
                .collect(),
            environment: BTreeMap::from([
                ("event_date", known(Kind::Text, &["2026-03-01"])),
                ("event_count", known(Kind::Number, &["3"])),
            ]),
            constants: &self.constants,
            roles: &self.roles,
            groups: &self.groups,
            unit: "unit",
        }
    }
}

fn told(text: &str) -> Result<String, Fault> {
    let world = World::new();
    let value = world.facts().value(&Expression::parse(text)?)?;
    Ok(value.to_text())
}

#[test]
fn expressions_come_to_what_the_dialect_says() {
    for (text, expected) in [
        ("1 + 2 * 3", "7"),
        ("(1 + 2) * 3", "9"),
        ("10 - 2 - 3", "5"),
        ("2 * 3 % 4", "2"),
        ("-2 + 3", "1"),
        ("0.1 + 0.2", "0.3"),
        ("7 / 2", "3.5"),
        ("2 ^ 3", "8"),
        ("1 < 2 && 2 <= 2 && 3 > 2 && 3 >= 3", "true"),
        ("true and not false", "true"),
        ("false or false || true", "true"),
        ("!true == false", "true"),
        ("1 != 1", "false"),
        ("'a' == \"a\"", "true"),
        (r"'it\'s'", "it's"),
        ("'1' == 1", "true"),
        ("#{weight} > 12", "true"),
        ("#{empty} == 0", "true"),
        ("#{none} == ''", "true"),
        ("!#{unset}", "true"),
        ("#{smokes} && #{name} == 'Ada'", "true"),
        ("A{name} == 'Ada'", "true"),
        ("C{pi} * 2", "6.28"),
        ("V{event_count} + 1", "4"),
        ("V{event_date} == '2026-03-01'", "true"),
        ("#{ weight }", "12.5"),
        // What decides alone is not asked for the rest.
        ("false && #{odd} > 1", "false"),
        ("true || #{odd} > 1", "true"),
    ] {
        assert_eq!(told(text).as_deref(), Ok(expected), "{text}");
    }
}

#[test]
fn functions_come_to_what_the_dialect_says() {
    for (text, expected) in [
        ("d2:ceil(1.2)", "2"),
        ("d2:floor(-1.2)", "-2"),
        ("d2:round(2.5)", "3"),
        ("d2:round(1.005, 2)", "1.01"),
        ("d2:round(12.345,1)", "12.3"),
        ("d2:modulus(7, 4)", "3"),
        ("d2:zing(-3)", "0"),
        ("d2:zing(3)", "3"),
        ("d2:oizp(0)", "1"),
        ("d2:oizp(-1)", "0"),
        ("d2:zpvc(1, 0, -1)", "2"),
        ("d2:concatenate('a', 1, true)", "a1true"),
        ("d2:daysBetween('2026-02-27', '2026-03-01')", "2"),
        ("d2:daysBetween('2026-03-01', '2026-02-27')", "-2"),
        ("d2:weeksBetween('2026-01-01', '2026-01-14')", "1"),
        ("d2:monthsBetween('2026-01-31', '2026-02-28')", "0"),
        ("d2:monthsBetween('2026-03-15', '2026-01-20')", "-1"),
        ("d2:yearsBetween(#{born}, V{event_date})", "6"),
        ("d2:yearsBetween(#{born}, '2026-02-28')", "5"),
        (
            "d2:minutesBetween('2026-01-01T10:00', '2026-01-01T11:30:59')",
            "90",
        ),
        ("d2:addDays('2026-02-27', 2)", "2026-03-01"),
        ("d2:addDays('2026-03-01', -1)", "2026-02-28"),
        ("d2:count(#{weight})", "3"),
        ("d2:count('weight')", "3"),
        ("d2:countIfValue('weight', 10)", "1"),
        ("d2:countIfZeroPos(#{weight})", "2"),
        ("d2:maxValue('weight')", "12.5"),
        ("d2:minValue('weight')", "-1"),
        ("d2:lastEventDate('weight')", "2026-03-01"),
        ("d2:hasValue('weight')", "true"),
        ("d2:hasValue(#{none})", "false"),
        ("d2:hasValue(V{event_date})", "true"),
        ("d2:hasUserRole('nurse')", "true"),
        ("d2:hasUserRole('chief')", "false"),
        ("d2:inOrgUnitGroup('rural')", "true"),
        ("d2:inOrgUnitGroup('urban')", "false"),
        ("d2:left(#{code}, 3)", "ABC"),
        ("d2:right(#{code}, 1)", "X"),
        ("d2:right('ab', 9)", "ab"),
        ("d2:substring(#{code}, 4, 7)", "007"),
        ("d2:substring('ab', 5, 9)", ""),
        ("d2:split(#{code}, '-', 1)", "007"),
        ("d2:split(#{code}, '-', 9)", ""),
        ("d2:length('äöü')", "3"),
        ("d2:validatePattern(#{code}, '[A-Z]{3}-[0-9]+-.')", "true"),
        (r"d2:validatePattern('abc7', '[a-z]+\d')", "true"),
        (r"d2:validatePattern('abc7', '[a-z]+\\d')", "true"),
        ("d2:validatePattern('abc', '[a-z]')", "false"),
        // The recipe for the same day a year later.
        (
            "d2:concatenate(d2:floor(d2:left(V{event_date}, 4)) + 1, d2:substring(V{event_date}, 5, 7))",
            "202703",
        ),
    ] {
        assert_eq!(told(text).as_deref(), Ok(expected), "{text}");
    }
}

#[test]
fn what_cannot_be_read_or_has_no_value_says_why() {
    let name = |name: &str| name.to_owned();
    for (text, fault) in [
        ("", Fault::Syntax(0)),
        ("1 +", Fault::Syntax(3)),
        ("(1", Fault::Syntax(2)),
        ("1 2", Fault::Syntax(2)),
        ("'open", Fault::Syntax(5)),
        ("#{open", Fault::Syntax(2)),
        ("1.2.3", Fault::Syntax(0)),
        ("d2:nothing(1)", Fault::NoFunction(name("d2:nothing"))),
        ("system('rm')", Fault::NoFunction(name("system"))),
        (
            "d2:zScoreWFA(1, 2, 'M')",
            Fault::NotKept(name("d2:zScoreWFA")),
        ),
        ("d2:left('a')", Fault::Arguments(name("d2:left"))),
        ("d2:count(1 + 1)", Fault::Arguments(name("d2:count"))),
        ("#{nobody}", Fault::NoVariable(name("nobody"))),
        ("V{nothing}", Fault::NoVariable(name("nothing"))),
        ("C{nothing}", Fault::NoVariable(name("nothing"))),
        ("#{odd} + 1", Fault::NoNumber),
        ("'x' + 1", Fault::NoNumber),
        ("1 / 0", Fault::NotFinite),
        ("d2:modulus(1, 0)", Fault::NotFinite),
        ("d2:yearsBetween(#{none}, V{event_date})", Fault::NoDate),
        ("d2:addDays('2026-01-01', 99999999999)", Fault::NoNumber),
        ("d2:validatePattern('a', '(')", Fault::Pattern),
        ("d2:maxValue('none')", Fault::NotFinite),
    ] {
        assert_eq!(told(text), Err(fault), "{text}");
    }
}

#[test]
fn no_text_makes_the_reader_go_too_deep() {
    for deep in [
        "(".repeat(20_000),
        "!".repeat(20_000),
        "-".repeat(9_999),
        "d2:ceil(".repeat(2_000),
        format!("1{}", "+1".repeat(9_000)),
        format!("1{}", "^1".repeat(9_000)),
        format!("true{}", " && true".repeat(2_000)),
        format!("{}1{}", "(".repeat(5_000), ")".repeat(5_000)),
        "x".repeat(30_000),
        format!("d2:validatePattern('a', '{}')", "(".repeat(9_000)),
        format!("d2:validatePattern('a', '{}')", "(a{1000}){1000}"),
    ] {
        let told = told(&deep);
        assert!(told.is_err(), "{:?}", &deep[..20]);
    }
}

proptest! {
    #[test]
    fn no_text_breaks_the_reader(text in ".{0,200}") {
        let _read_or_not = told(&text);
    }

    #[test]
    fn no_row_of_words_breaks_the_reader(words in prop::collection::vec(prop::sample::select(vec![
        "1", "0.5", "'a'", "\"", "'", "\\", "#{weight}", "#{none}", "A{name}", "V{event_date}", "C{pi}", "#{", "}", "(", ")", ",", "!", "not",
        "-", "+", "*", "/", "%", "^", "==", "!=", "<", ">=", "&&", "||", "and", "or", "true", "d2:ceil(", "d2:count(", "d2:left(", "d2:substring(",
        "d2:addDays(", "d2:round(", "d2:yearsBetween(", "d2:validatePattern(", "d2:split(", "-1", "999999999999", " "
    ]), 0..40)) {
        let _read_or_not = told(&words.concat());
    }

    #[test]
    fn sums_are_sums(a in -1000_i32..1000, b in -1000_i32..1000, c in 1_i32..100) {
        let told = told(&format!("({a} + {b}) * {c} - {b}"));
        prop_assert_eq!(told, Ok(((a + b) * c - b).to_string()));
    }

    #[test]
    fn no_pattern_breaks_the_matcher(text in ".{0,40}", pattern in "[a-z\\[\\](){}|*+?^$.0-9,]{0,30}") {
        let _matched_or_not = told(&format!("d2:validatePattern(\"{}\", \"{pattern}\")", text.replace(['"', '\\'], "")));
    }
}

fn variable(name: &str, source: Source) -> Variable {
    Variable {
        name: name.to_owned(),
        source,
        kind: Kind::Number,
        options: BTreeMap::new(),
    }
}

fn visits() -> Subject<'static> {
    let visit = |stage, at: &str, value| Occurrence {
        stage,
        at: at.to_owned(),
        values: vec![("weight", value)],
    };
    Subject {
        attributes: vec![("age", "30")],
        events: vec![
            visit("other", "2026-03-01T00:00:00.000", "9"),
            visit("own", "2026-02-01T00:00:00.000", "8"),
            visit("own", "2026-01-01T00:00:00.000", "7"),
        ],
        current: Some(1),
    }
}

#[test]
fn variables_take_their_values_from_where_they_say() {
    let weight = || "weight".to_owned();
    let newest = |stage: Option<&str>| Source::Newest {
        element: weight(),
        stage: stage.map(str::to_owned),
    };
    for (source, value, candidates) in [
        (Source::Current(weight()), Some("8"), 1),
        (newest(None), Some("9"), 3),
        (newest(Some("own")), Some("8"), 2),
        (newest(Some("none")), None, 0),
        (Source::Previous(weight()), Some("7"), 1),
        (Source::Attribute("age".to_owned()), Some("30"), 1),
        (Source::Attribute("sex".to_owned()), None, 0),
        (Source::Constant("5".to_owned()), Some("5"), 1),
        (Source::Calculated, None, 0),
    ] {
        let known = variable("v", source.clone()).known(&visits());
        assert_eq!(known.value.as_deref(), value, "{source:?}");
        assert_eq!(known.candidates.len(), candidates, "{source:?}");
    }
    let mut named = variable("v", Source::Current(weight()));
    named.options.insert("8".to_owned(), "Eight".to_owned());
    assert_eq!(named.known(&visits()).value.as_deref(), Some("Eight"));
}

fn simple(id: &str, priority: Option<i64>, condition: &str, actions: Vec<Action>) -> Rule {
    Rule::new(id.to_owned(), None, priority, condition, actions)
}

fn shown(deed: Deed, data: &str) -> Action {
    Action::new(deed, Target::Nothing, "text".to_owned(), data)
}

fn assigned(name: &str, data: &str) -> Action {
    Action::new(Deed::Assign, Target::Nothing, format!("#{{{name}}}"), data)
}

#[test]
fn rules_come_in_the_order_of_their_priorities_and_pass_values_on() {
    let rules = vec![
        simple(
            "last",
            None,
            "#{sum} == 6",
            vec![shown(Deed::Error, "#{sum} + 1")],
        ),
        simple(
            "second",
            Some(2),
            "true",
            vec![assigned("sum", "#{sum} * 3")],
        ),
        simple("first", Some(1), "true", vec![assigned("sum", "2")]),
    ];
    let rules = ProgramRules::new(rules, vec![variable("sum", Source::Calculated)]);
    let world = World::new();
    let mut facts = world.facts();
    facts.variables = rules.known(&Subject::default());
    let ruling = rules.rule(&mut facts, None, |_| true);
    assert_eq!(ruling.faults, []);
    assert_eq!(ruling.effects.len(), 1);
    assert_eq!(ruling.effects[0].data.as_deref(), Some("7"));
}

#[test]
fn a_rule_holds_for_its_stage_and_its_targets_alone() {
    let element = Action::new(
        Deed::Mandatory,
        Target::Element("de".to_owned()),
        String::new(),
        "",
    );
    let mut of_stage = simple("a", None, "true", vec![element, shown(Deed::Warning, "")]);
    of_stage.stage = Some("own".to_owned());
    let rules = ProgramRules::new(vec![of_stage], Vec::new());
    let world = World::new();
    let count = |stage, keeps: fn(&Target) -> bool| {
        let ruling = rules.rule(&mut world.facts(), stage, keeps);
        ruling.effects.len()
    };
    assert_eq!(count(Some("own"), |_| true), 2);
    assert_eq!(count(Some("own"), |target| *target == Target::Nothing), 1);
    assert_eq!(count(Some("other"), |_| true), 0);
    assert_eq!(count(None, |_| true), 0);
}

#[test]
fn a_rule_that_cannot_be_read_or_evaluated_is_passed_over_and_the_others_hold() {
    let rules = vec![
        simple("syntax", Some(1), "1 +", vec![shown(Deed::Error, "")]),
        simple(
            "unknown",
            Some(2),
            "#{nobody} > 1",
            vec![shown(Deed::Error, "")],
        ),
        simple(
            "action",
            Some(3),
            "true",
            vec![shown(Deed::Error, "1 / 0"), shown(Deed::Warning, "")],
        ),
        simple("number", Some(4), "1", vec![shown(Deed::Error, "")]),
        simple("empty", Some(5), "", vec![shown(Deed::Error, "")]),
        simple("good", Some(6), "true", vec![shown(Deed::Error, "")]),
    ];
    let world = World::new();
    let ruling = ProgramRules::new(rules, Vec::new()).rule(&mut world.facts(), None, |_| true);
    let faulty: Vec<&str> = ruling.faults.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(faulty, ["syntax", "unknown", "action"]);
    let effects: Vec<_> = ruling
        .effects
        .iter()
        .map(|effect| (effect.rule.as_str(), effect.deed))
        .collect();
    assert_eq!(effects, [("action", Deed::Warning), ("good", Deed::Error)]);
}

#[test]
fn other_events_are_asked_for_only_if_a_rule_needs_them() {
    let newest = || {
        variable(
            "w",
            Source::Newest {
                element: "weight".to_owned(),
                stage: None,
            },
        )
    };
    let needs = |condition: &str, variable| {
        ProgramRules::new(
            vec![simple("a", None, condition, Vec::new())],
            vec![variable],
        )
        .looks_around()
    };
    assert!(needs("#{w} > 1", newest()));
    assert!(needs("d2:count('w') > 1", newest()));
    assert!(needs("V{event_count} > 1", newest()));
    assert!(!needs("V{event_date} == ''", newest()));
    assert!(!needs(
        "#{w} > 1",
        variable("w", Source::Current("weight".to_owned()))
    ));
}
