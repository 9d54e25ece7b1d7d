use serde_json::json;

use super::*;

/// Runs a query over documents in memory, as the face does over a collection.
fn run(text: &str, bind: &Value) -> Result<Vec<Value>, BadQuery> {
    let query = Query::parse(text, bind.as_object().unwrap())?;
    assert_eq!(query.collection, "c");
    let mut rows: Vec<Map<String, Value>> = [
        json!({"_key": "a", "n": 3, "town": "Bonn", "at": {"x": 1}}),
        json!({"_key": "b", "n": 1, "town": "Köln", "at.x": 5}),
        json!({"_key": "c", "n": 2, "town": "Bonn", "at": {"x": 2}}),
        json!({"_key": "d", "town": null}),
    ]
    .into_iter()
    .map(|row| row.as_object().unwrap().clone())
    .collect();
    let random = &mut || 0.5;
    for step in &query.steps {
        match step {
            Step::Filter(condition) => rows.retain(|row| condition.holds(row, random)),
            Step::Sort(keys) => rows.sort_by(|a, b| {
                let orders = keys.iter().map(|(key, descending)| {
                    let found = order(&key.value(a, &mut || 0.5), &key.value(b, &mut || 0.5));
                    if *descending { found.reverse() } else { found }
                });
                orders.fold(std::cmp::Ordering::Equal, std::cmp::Ordering::then)
            }),
            Step::Limit { offset, count } => {
                let count = count.map_or(usize::MAX, |count| count as usize);
                rows = rows
                    .into_iter()
                    .skip(*offset as usize)
                    .take(count)
                    .collect();
            }
        }
    }
    let End::Return { result, .. } = &query.end else {
        panic!("{text} gives nothing");
    };
    Ok(rows.iter().map(|row| result.value(row, random)).collect())
}

fn keys(text: &str, bind: &Value) -> String {
    let rows = run(text, bind).unwrap_or_else(|error| panic!("{text}: {error}"));
    rows.iter().map(|row| row.as_str().unwrap()).collect()
}

#[test]
fn queries_of_python_arango_are_understood() {
    let name = json!({"@collection": "c"});
    assert_eq!(
        keys("FOR doc IN @@collection RETURN doc._key", &name),
        "abcd"
    );
    let all = "
            FOR doc IN @@collection
                LIMIT 1, null
                RETURN doc
        ";
    assert_eq!(run(all, &name).unwrap().len(), 3);
    let random = "FOR doc IN @@collection SORT RAND() LIMIT 1 RETURN doc";
    assert_eq!(run(random, &name).unwrap().len(), 1);
    let find = "
            FOR doc IN @@collection
                FILTER doc[@filter_field_0] == @filter_value_0 AND (HAS(doc, @filter_field_1) ? doc[@filter_field_1] : doc[@filter_field_1_0][@filter_field_1_1]) == @filter_value_1
                LIMIT 0, null
                SORT doc[@sort_field_0] DESC
                RETURN doc._key";
    let bind = json!({
        "@collection": "c", "filter_field_0": "town", "filter_value_0": "Bonn", "filter_field_1": "at.x",
        "filter_field_1_0": "at", "filter_field_1_1": "x", "filter_value_1": 2, "sort_field_0": "n",
    });
    assert_eq!(keys(find, &bind), "c");
    let range = "
        FOR doc IN @@collection
            FILTER doc.@field >= @lower && doc.@field < @upper
            LIMIT @skip, @limit
            RETURN doc._key";
    let bind = json!({"@collection": "c", "field": "n", "lower": 1, "upper": 3, "skip": 0, "limit": 2_147_483_647});
    assert_eq!(keys(range, &bind), "bc");
}

#[test]
fn queries_of_arangojs_templates_are_understood() {
    let text = "\n for d in @@value0 filter d.town == @value1 sort d.n return d._key ";
    assert_eq!(keys(text, &json!({"@value0": "c", "value1": "Bonn"})), "ca");
    let text = "FOR d IN c RETURN {k: d._key, \"t\": d.town, list: [d.n, -1, 'x'], d}";
    let rows = run(text, &json!({})).unwrap();
    assert_eq!(rows[1]["list"], json!([1, -1, "x"]));
    assert_eq!(rows[1]["d"]["_key"], "b");
}

#[test]
fn values_are_ordered_across_types() {
    let sorted = [
        json!(null),
        json!(false),
        json!(true),
        json!(-1),
        json!(1),
        json!(1.5),
        json!(u64::MAX),
        json!(""),
        json!("a"),
        json!([]),
        json!([1]),
        json!({}),
        json!({"a": 1}),
    ];
    for (at, left) in sorted.iter().enumerate() {
        for (to, right) in sorted.iter().enumerate() {
            assert_eq!(order(left, right), at.cmp(&to), "{left} {right}");
        }
    }
    assert!(order(&json!(1), &json!(1.0)).is_eq());
    assert_eq!(
        keys("FOR d IN c FILTER d.n < 2 RETURN d._key", &json!({})),
        "bd",
        "null is less"
    );
}

#[test]
fn conditions_combine() {
    for (condition, expected) in [
        ("d.n IN [1, 2]", "bc"),
        ("d.n NOT IN [1, 2]", "ad"),
        ("NOT (d.town == 'Bonn')", "bd"),
        ("!d.town", "d"),
        ("d.at.x == 1 || d['at.x'] == 5", "ab"),
        ("d.n != null /* and */ AND d.n >= 2 // two\n", "ac"),
        ("d.`town` > \"K\"", "b"),
        ("HAS(d, 'at')", "ac"),
        ("d.n == 1 ? false : true", "acd"),
    ] {
        let text = format!("FOR d IN c FILTER {condition} RETURN d._key");
        assert_eq!(keys(&text, &json!({})), expected, "{condition}");
    }
}

#[test]
fn what_is_not_understood_is_named() {
    for (text, word) in [
        ("RETURN 1", "FOR"),
        ("FOR d IN c FOR e IN c RETURN e", "only FILTER"),
        ("FOR d IN c INSERT d IN c", "INSERT"),
        ("FOR d IN c REMOVE d IN e", "collection of the loop"),
        ("FOR d IN c REMOVE 'k' IN c", "document of the loop"),
        ("FOR d IN c REMOVE d", "IN is needed"),
        ("FOR d IN c UPDATE d IN c", "WITH is needed"),
        (
            "FOR d IN c REMOVE d IN c OPTIONS {ignoreErrors: 1}",
            "true or false",
        ),
        ("FOR d IN c REMOVE d IN c RETURN OLD", "after a change"),
        ("FOR d IN NEAR(c, 1, 2) RETURN d", "functions"),
        ("FOR d IN c RETURN LENGTH(d)", "LENGTH"),
        ("FOR d IN c RETURN x", "'x'"),
        ("FOR d IN c LIMIT -1 RETURN d", "LIMIT"),
        ("FOR d IN c RETURN d; DROP", "unexpected"),
        ("FOR d IN c RETURN d d", "RETURN"),
        ("FOR d IN c FILTER d.x = 1 RETURN d", "unexpected"),
        ("FOR d IN c FILTER 'x RETURN d", "does not end"),
        ("FOR d IN c FILTER d.a == RETURN d", "understood"),
        ("FOR d IN @@c RETURN d", "bind"),
        ("FOR d IN c RETURN @x", "bind"),
        ("", "FOR"),
    ] {
        let refused = run(text, &json!({})).unwrap_err().to_string();
        assert!(refused.contains(word), "{text}: {refused}");
    }
    let deep = format!("FOR d IN c RETURN {}1{}", "(".repeat(100), ")".repeat(100));
    assert!(run(&deep, &json!({})).is_err());
    let deep = format!(
        "FOR d IN c RETURN {}1{}",
        "[".repeat(9000),
        "]".repeat(9000)
    );
    assert!(run(&deep, &json!({})).is_err());
}

#[test]
fn changes_of_drivers_are_understood() {
    let write = |text: &str, bind: Value| match Query::parse(text, bind.as_object().unwrap()) {
        Ok(Query {
            end: End::Write(write),
            ..
        }) => write,
        other => panic!("{text}: {other:?}"),
    };
    let update = "
            FOR doc IN @@collection
                FILTER doc[@f] == @v
                LIMIT 3
                UPDATE doc WITH @body IN @@collection
                OPTIONS { keepNull: @keep_none, mergeObjects: @merge , waitForSync: True }
        ";
    let bind = json!({"@collection": "c", "f": "n", "v": 1, "body": {"a": 1}, "keep_none": false, "merge": null});
    let told = write(update, bind);
    assert_eq!(
        told.change,
        Change::Update(Expr::Value(json!({"a": 1}))),
        "{told:?}"
    );
    assert!(!told.keep_null && told.merge_objects && !told.ignore_errors);
    let told = write(
        "for d in c replace d with {n: d.n} into c options {ignoreErrors: true}",
        json!({}),
    );
    assert!(matches!(told.change, Change::Replace(Expr::Object(_))) && told.ignore_errors);
    let told = write("FOR d IN @@c REMOVE d._key IN @@c", json!({"@c": "c"}));
    assert_eq!(told.change, Change::Remove);
}
