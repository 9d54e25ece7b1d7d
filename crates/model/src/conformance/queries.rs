//! Questions and the meaning of filters.

use super::fixture::{
    AREAS, HOSTILE, PLACES, VISITS, commit, id, matching, place, point, put_places, rows, visit,
};
use crate::filter::{Arithmetic, Comparison, Expr, Function, SpatialRelation, TimePart};
use crate::query::{Order, Select, Statistic, StatisticKind};
use crate::store::Store;
use crate::{
    CollectionId, Envelope, Error, Filter, Geometry, ObjectId, Position, Query, QueryRow, Record,
    Shape, Timestamp, Value,
};

fn column(name: &str) -> Expr {
    Expr::Field(name.into())
}

fn compare(left: Expr, op: Comparison, right: impl Into<Value>) -> Filter {
    Filter::Compare {
        left,
        op,
        right: Expr::Literal(right.into()),
    }
}

fn like(pattern: &str, escape: Option<char>) -> Filter {
    Filter::Like {
        expr: column("name"),
        pattern: pattern.into(),
        escape,
    }
}

fn values(store: &dyn Store, query: &Query) -> Vec<Vec<Value>> {
    let tx = store.begin_read().unwrap();
    let rows = rows(&*tx, query).unwrap().into_iter().map(|row| match row {
        QueryRow::Values(values) => values,
        other => panic!("not values: {other:?}"),
    });
    rows.collect()
}

fn select(select: Select) -> Query {
    Query {
        select,
        ..Query::records(PLACES, Filter::All)
    }
}

fn statistic(kind: StatisticKind, of: Option<&str>, name: &str) -> Statistic {
    Statistic {
        kind,
        expr: of.map(column),
        name: name.into(),
    }
}

pub fn null_is_neither_equal_nor_different(store: &dyn Store) {
    let mut nameless = place(2, "");
    nameless.values[0] = Value::Null;
    put_places(store, &[place(1, "a"), nameless]);
    let same = || compare(column("name"), Comparison::Equal, "a");
    assert_eq!(matching(store, same()), [1]);
    assert!(matching(store, compare(column("name"), Comparison::NotEqual, "a")).is_empty());
    assert!(matching(store, Filter::Not(Box::new(same()))).is_empty());
    assert_eq!(matching(store, Filter::IsNull(column("name"))), [2]);
    let either = Filter::Or(vec![same(), Filter::IsNull(column("name"))]);
    assert_eq!(matching(store, either), [1, 2]);
    let both = Filter::And(vec![Filter::Not(Box::new(same())), Filter::All]);
    assert!(matching(store, both).is_empty());
    assert_eq!(matching(store, Filter::And(vec![])), [1, 2]);
    assert!(matching(store, Filter::Or(vec![])).is_empty());
}

pub fn like_heeds_case_and_escapes(store: &dyn Store) {
    let names = ["100%", "1000", "Oak", "oak", "a_b", "axb"];
    let places: Vec<Record> = names
        .iter()
        .zip(1..)
        .map(|(name, n)| place(n, name))
        .collect();
    put_places(store, &places);
    assert_eq!(matching(store, like("100!%", Some('!'))), [1]);
    assert_eq!(matching(store, like("100%", None)), [1, 2]);
    assert_eq!(matching(store, like("o%", None)), [4]);
    assert_eq!(matching(store, like("a_b", None)), [5, 6]);
    assert_eq!(matching(store, like("a\\_b", Some('\\'))), [5]);
}

pub fn dates_compare_and_count_days(store: &dyn Store) {
    put_places(store, &[place(1, "a"), place(2, "b"), place(3, "c")]);
    let day = 86_400_000;
    let after = |right| Filter::Compare {
        left: column("seen"),
        op: Comparison::Greater,
        right,
    };
    assert_eq!(matching(store, after(Expr::Time(Timestamp(day)))), [2, 3]);
    let shifted = Expr::Binary {
        left: Box::new(Expr::Time(Timestamp(day))),
        op: Arithmetic::Add,
        right: Box::new(Expr::Literal(Value::Real(1.5))),
    };
    assert_eq!(matching(store, after(shifted)), [3]);
    let extracted = Filter::Compare {
        left: Expr::Call {
            function: Function::Extract(TimePart::Day),
            args: vec![column("seen")],
        },
        op: Comparison::Equal,
        right: Expr::Literal(Value::Integer(4)),
    };
    assert_eq!(matching(store, extracted), [3]);
}

pub fn lists_may_be_long_and_hold_nulls(store: &dyn Store) {
    put_places(store, &[place(1, "a"), place(2, "b"), place(3, "c")]);
    let list = |values: Vec<Value>| Filter::In {
        expr: column("count"),
        list: values.into_iter().map(Expr::Literal).collect(),
    };
    let long: Vec<Value> = (2..40_000).map(Value::Integer).collect();
    assert_eq!(matching(store, list(long)), [2, 3]);
    assert_eq!(
        matching(store, list(vec![Value::Null, Value::Integer(1)])),
        [1]
    );
    let not_in = Filter::Not(Box::new(list(vec![Value::Null, Value::Integer(1)])));
    assert!(matching(store, not_in).is_empty());
    assert!(matching(store, list(vec![])).is_empty());
    let objects: Vec<ObjectId> = (1..20_000).map(ObjectId).collect();
    assert_eq!(matching(store, Filter::ObjectIds(objects)).len(), 3);
    let ids = (2..20_000).map(id).collect();
    assert_eq!(matching(store, Filter::GlobalIds(ids)), [2, 3]);
}

pub fn functions_compute(store: &dyn Store) {
    put_places(store, &[place(4, "Oak"), place(9, " elm ")]);
    let call = |function, args: Vec<Expr>| Expr::Call { function, args };
    let holds = |left: Expr, right: Value| matching(store, compare(left, Comparison::Equal, right));
    assert_eq!(
        holds(call(Function::Upper, vec![column("name")]), "OAK".into()),
        [4]
    );
    assert_eq!(
        holds(call(Function::Trim, vec![column("name")]), "elm".into()),
        [9]
    );
    assert_eq!(
        holds(
            call(Function::Sqrt, vec![column("count")]),
            Value::Real(3.0)
        ),
        [9]
    );
    assert_eq!(
        holds(
            call(
                Function::Mod,
                vec![column("count"), Expr::Literal(4.into())]
            ),
            1.into()
        ),
        [9]
    );
    let divided = Expr::Binary {
        left: Box::new(column("count")),
        op: Arithmetic::Divide,
        right: Box::new(Expr::Literal(0.into())),
    };
    assert_eq!(matching(store, Filter::IsNull(divided)).len(), 2);
}

pub fn pages_are_stable_and_ordered(store: &dyn Store) {
    let places: Vec<Record> = (1..=10)
        .map(|n| place(n, if n % 2 == 0 { "even" } else { "odd" }))
        .collect();
    put_places(store, &places);
    let page = |offset| Query {
        order: vec![Order {
            expr: column("name"),
            descending: true,
        }],
        offset,
        limit: Some(4),
        ..Query::records(PLACES, Filter::All)
    };
    let tx = store.begin_read().unwrap();
    let mut all = Vec::new();
    for offset in [0, 4, 8] {
        for row in rows(&*tx, &page(offset)).unwrap() {
            let QueryRow::Record(found) = row else {
                panic!("not a record: {row:?}");
            };
            all.push(found.record.values[1].as_integer().unwrap());
        }
    }
    assert_eq!(all, [1, 3, 5, 7, 9, 2, 4, 6, 8, 10]);
}

pub fn distinct_values_come_once(store: &dyn Store) {
    put_places(store, &[place(1, "b"), place(2, "a"), place(3, "b")]);
    let query = select(Select::Distinct(vec![column("name")]));
    assert_eq!(values(store, &query), [["a".into()], ["b".into()]]);
}

pub fn statistics_group_and_having_selects(store: &dyn Store) {
    put_places(
        store,
        &[place(1, "a"), place(3, "a"), place(8, "b"), place(2, "c")],
    );
    let query = Query {
        order: vec![Order {
            expr: column("total"),
            descending: true,
        }],
        ..select(Select::Statistics {
            group_by: vec![column("name")],
            statistics: vec![
                statistic(StatisticKind::Sum, Some("count"), "total"),
                statistic(StatisticKind::Count, None, "n"),
                statistic(StatisticKind::Average, Some("count"), "mean"),
                statistic(StatisticKind::Variance, Some("count"), "var"),
                statistic(StatisticKind::Max, Some("seen"), "last"),
            ],
            having: Filter::Compare {
                left: Expr::Aggregate {
                    kind: StatisticKind::Sum,
                    field: Some(Box::new(column("count"))),
                },
                op: Comparison::Greater,
                right: Expr::Literal(2.into()),
            },
        })
    };
    let day = 86_400_000;
    assert_eq!(
        values(store, &query),
        [
            vec![
                "b".into(),
                8.into(),
                1.into(),
                8.0.into(),
                Value::Null,
                (8 * day).into()
            ],
            vec![
                "a".into(),
                4.into(),
                2.into(),
                2.0.into(),
                2.0.into(),
                (3 * day).into()
            ],
        ]
    );
}

pub fn statistics_of_nothing_are_one_row(store: &dyn Store) {
    let query = select(Select::Statistics {
        group_by: vec![],
        statistics: vec![
            statistic(StatisticKind::Count, None, "n"),
            statistic(StatisticKind::Sum, Some("count"), "total"),
            statistic(StatisticKind::StandardDeviation, Some("count"), "sd"),
        ],
        having: Filter::All,
    });
    assert_eq!(
        values(store, &query),
        [vec![0.into(), Value::Null, Value::Null]]
    );
    assert_eq!(values(store, &select(Select::Count)), [[0.into()]]);
}

pub fn the_extent_is_of_what_matches(store: &dyn Store) {
    let mut nowhere = place(5, "nowhere");
    nowhere.geometry = Some(Geometry::from_shape(&Shape::Point(None)));
    put_places(
        store,
        &[place(1, "a"), place(2, "b"), place(9, "c"), nowhere],
    );
    let tx = store.begin_read().unwrap();
    let extent = |filter| {
        let query = Query {
            select: Select::Extent,
            ..Query::records(PLACES, filter)
        };
        rows(&*tx, &query).unwrap()
    };
    let few = compare(column("count"), Comparison::Less, 3);
    let expected = Envelope {
        min_x: 1.0,
        min_y: 1.0,
        max_x: 2.0,
        max_y: 2.0,
    };
    assert_eq!(extent(few), [QueryRow::Extent(Some(expected))]);
    assert_eq!(extent(Filter::Nothing), [QueryRow::Extent(None)]);
    let query = Query {
        select: Select::Extent,
        ..Query::records(VISITS, Filter::All)
    };
    assert_eq!(rows(&*tx, &query).unwrap(), [QueryRow::Extent(None)]);
}

pub fn spatial_filters_find_by_geometry_not_by_box(store: &dyn Store) {
    let triangle = Geometry::from_shape(&Shape::Polygon(vec![vec![
        Position::xy(0.0, 0.0),
        Position::xy(10.0, 0.0),
        Position::xy(0.0, 10.0),
        Position::xy(0.0, 0.0),
    ]]));
    let mut bare = place(8, "bare");
    bare.geometry = None;
    let mut corner = place(9, "corner");
    corner.geometry = Some(point(9.0, 9.0));
    put_places(store, &[place(2, "in"), place(50, "far"), corner, bare]);
    let spatial = |relation| Filter::Spatial {
        relation,
        geometry: triangle.clone(),
    };
    assert_eq!(matching(store, spatial(SpatialRelation::Intersects)), [2]);
    assert_eq!(
        matching(store, spatial(SpatialRelation::EnvelopeIntersects)),
        [2, 9]
    );
    assert_eq!(matching(store, spatial(SpatialRelation::Within)), [2]);
    let outside = Filter::Not(Box::new(spatial(SpatialRelation::Intersects)));
    assert_eq!(
        matching(store, outside),
        [50, 9],
        "where nothing is, is unknown"
    );

    let area = Record {
        global_id: id(1),
        object_id: None,
        values: vec!["t".into()],
        geometry: Some(triangle.clone()),
    };
    commit(store, 2, |tx| {
        tx.put(AREAS, &area, None).unwrap();
    });
    let tx = store.begin_read().unwrap();
    for (relation, expected) in [
        (SpatialRelation::Contains, true),
        (SpatialRelation::Within, false),
    ] {
        let filter = Filter::Spatial {
            relation,
            geometry: point(1.0, 1.0),
        };
        assert_eq!(tx.matches(AREAS, &id(1), &filter).unwrap(), expected);
    }
}

pub fn a_filter_on_parents_looks_at_the_live_parent(store: &dyn Store) {
    commit(store, 1, |tx| {
        tx.put(PLACES, &place(1, "oak"), None).unwrap();
        tx.put(PLACES, &place(2, "ash"), None).unwrap();
        tx.put(PLACES, &place(3, "oak"), None).unwrap();
        tx.delete(PLACES, &id(3), None).unwrap();
        for n in 1..=4 {
            tx.put(VISITS, &visit(10 + n, n, "x"), None).unwrap();
        }
    });
    let tx = store.begin_read().unwrap();
    let filter = Filter::ParentMatches {
        field: "place".into(),
        parent: PLACES,
        filter: Box::new(compare(column("name"), Comparison::Equal, "oak")),
    };
    let found: Vec<u128> = (11..=14)
        .filter(|n| tx.matches(VISITS, &id(*n), &filter).unwrap())
        .collect();
    assert_eq!(found, [11]);
}

pub fn an_unknown_field_is_named(store: &dyn Store) {
    let tx = store.begin_read().unwrap();
    let query = Query::records(PLACES, compare(column("nme"), Comparison::Equal, 1));
    let error = rows(&*tx, &query).unwrap_err();
    assert!(
        matches!(&error, Error::NoField { field, .. } if field == "nme"),
        "{error}"
    );
}

pub fn an_unknown_collection_is_named(store: &dyn Store) {
    let tx = store.begin_read().unwrap();
    let missing = CollectionId(77);
    let error = tx.record(missing, &id(1)).unwrap_err();
    assert!(matches!(error, Error::NoCollection(found) if found == missing));
}

pub fn an_order_by_expression_sorts(store: &dyn Store) {
    put_places(store, &[place(1, "a"), place(5, "b"), place(3, "c")]);
    let query = Query {
        order: vec![Order {
            expr: Expr::Negate(Box::new(column("count"))),
            descending: false,
        }],
        ..select(Select::Distinct(vec![column("count")]))
    };
    assert_eq!(values(store, &query), [[5.into()], [3.into()], [1.into()]]);
}

pub fn names_that_look_like_sql_are_only_names(store: &dyn Store) {
    let mut odd = place(1, "a");
    odd.values[4] = "'; DROP TABLE places; --".into();
    put_places(store, &[odd]);
    let filter = compare(
        column(HOSTILE),
        Comparison::Equal,
        "'; DROP TABLE places; --",
    );
    assert_eq!(matching(store, filter), [1]);
    let query = select(Select::Distinct(vec![column(HOSTILE)]));
    assert_eq!(values(store, &query).len(), 1);
}
