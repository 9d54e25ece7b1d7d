//! Random filters: what the printed SQL finds must be what the evaluator in memory finds, now and as of before.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use haversack_model::filter::{
    Arithmetic, CastType, Comparison, Expr, Function, Parents, SpatialRelation, TimePart,
};
use haversack_model::schema::GeometryKind;
use haversack_model::store::{ChangeQuery, ReadTx, Store};
use haversack_model::{
    Collection, CollectionId, CollectionKind, Envelope, Field, FieldType, Filter, Generation,
    Geometry, GeometryColumn, GlobalId, ObjectId, Position, Query, QueryRow, Record, Select,
    Service, Shape, Timestamp, Value,
};
use haversack_sqlite::SqliteStore;
use proptest::prelude::*;
use uuid::Uuid;

const CHILD: CollectionId = CollectionId(0);
const PARENT: CollectionId = CollectionId(1);
const WORDS: [&str; 8] = ["", "oak", "Oak", "o%k", "50!%", "Žďár", "12", "a_b"];

fn collection(id: CollectionId, table: &str) -> Collection {
    let field = |name: &str, kind| Field {
        name: name.into(),
        alias: name.into(),
        kind,
        length: None,
        nullable: true,
        editable: true,
        domain: None,
        default: Value::Null,
    };
    Collection {
        id,
        name: table.into(),
        table: table.into(),
        kind: CollectionKind::Layer,
        description: String::new(),
        object_id_field: "OBJECTID".into(),
        global_id_field: "GlobalID".into(),
        display_field: None,
        geometry: Some(GeometryColumn {
            name: "geom".into(),
            kind: GeometryKind::Point,
            srid: 4326,
            has_z: false,
            has_m: false,
        }),
        fields: vec![
            field("whole", FieldType::Integer),
            field("real", FieldType::Double),
            field("text", FieldType::String),
            field("day", FieldType::Date),
            field("parent", FieldType::Guid),
        ],
        has_attachments: false,
        relationships: vec![],
        editor_fields: None,
        max_record_count: 1000,
        indexes: Vec::new(),
        properties: std::collections::BTreeMap::new(),
    }
}

fn id(n: u128) -> GlobalId {
    GlobalId::Uuid(Uuid::from_u128(n))
}

fn value_of(kind: usize, dice: u64) -> Value {
    if dice.is_multiple_of(5) {
        return Value::Null;
    }
    let n = (dice % 7) as i64 - 3;
    match kind {
        0 => Value::Integer(n),
        1 => Value::Real(n as f64 / 2.0),
        2 => WORDS[(dice % 8) as usize].into(),
        3 => Value::Integer(n * 43_200_000),
        _ => id(100 + u128::from(dice % 7)).braced().into(),
    }
}

/// A record that depends on its number and its version alone.
fn record(n: u128, version: u64) -> Record {
    let mut dice = (n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        ^ version.wrapping_mul(0xff51_afd7_ed55_8ccd);
    let mut roll = || {
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        dice >> 8
    };
    let values = (0..5).map(|kind| value_of(kind, roll())).collect();
    let place = roll();
    let shape = match place % 6 {
        0 => None,
        1 => Some(Shape::Point(None)),
        _ => Some(Shape::Point(Some(Position::xy(
            (place / 7 % 5) as f64,
            (place / 35 % 5) as f64,
        )))),
    };
    Record {
        global_id: id(n),
        object_id: None,
        values,
        geometry: shape.map(|shape| Geometry::from_shape(&shape)),
    }
}

/// A store with two collections: numbers 1 to 40 are children, 100 to 106 parents. After `since`, a third of the
/// children was changed, some were deleted and some added.
fn store(dir: &std::path::Path) -> (SqliteStore, Generation) {
    let service = Service {
        name: "s".into(),
        title: String::new(),
        description: String::new(),
        copyright: String::new(),
        capabilities: vec![],
        srid: 4326,
        schema_version: 1,
        collections: vec![collection(CHILD, "children"), collection(PARENT, "parents")],
    };
    let store = SqliteStore::create(dir.join("s.gpkg"), &service).unwrap();
    let mut tx = store.begin_write(Timestamp(1)).unwrap();
    for n in 1..=40 {
        tx.put(CHILD, &record(n, 0), None).unwrap();
    }
    for n in 100..=104 {
        tx.put(PARENT, &record(n, 0), None).unwrap();
    }
    let since = tx.commit().unwrap().generation;
    let mut tx = store.begin_write(Timestamp(2)).unwrap();
    for n in (1..=40).step_by(3) {
        tx.put(CHILD, &record(n, 1), None).unwrap();
    }
    for n in [4, 11, 12] {
        tx.delete(CHILD, &id(n), None).unwrap();
    }
    for n in 41..=45 {
        tx.put(CHILD, &record(n, 1), None).unwrap();
    }
    tx.put(PARENT, &record(101, 1), None).unwrap();
    tx.delete(PARENT, &id(102), None).unwrap();
    tx.put(PARENT, &record(105, 1), None).unwrap();
    // Children whose parents changed are touched, as the core does.
    for n in 13..=40 {
        tx.touch(CHILD, &id(n)).unwrap();
    }
    tx.commit().unwrap();
    (store, since)
}

/// Parents as of a generation, or now.
struct At<'a>(&'a dyn ReadTx, Option<Generation>);

impl At<'_> {
    fn record(&self, collection: CollectionId, id: &GlobalId) -> Option<Record> {
        let found = match self.1 {
            None => self.0.record(collection, id),
            Some(at) => self.0.record_as_of(collection, id, at),
        };
        found.unwrap().map(|versioned| versioned.record)
    }
}

impl Parents for At<'_> {
    fn parent(&self, id: CollectionId, global_id: &GlobalId) -> Option<(Collection, Record)> {
        let record = self.record(id, global_id)?;
        Some((collection(id, "parents"), record))
    }
}

fn literal() -> impl Strategy<Value = Expr> {
    prop_oneof![
        Just(Value::Null),
        (-4i64..5).prop_map(Value::Integer),
        (-4i64..5).prop_map(|n| Value::Real(n as f64 / 2.0)),
        (0..WORDS.len()).prop_map(|at| WORDS[at].into()),
    ]
    .prop_map(Expr::Literal)
}

fn function() -> impl Strategy<Value = (Function, usize)> {
    prop::sample::select(vec![
        (Function::Lower, 1),
        (Function::Upper, 1),
        (Function::Trim, 1),
        (Function::CharLength, 1),
        (Function::Substring, 2),
        (Function::Substring, 3),
        (Function::Position, 2),
        (Function::Concat, 2),
        (Function::Abs, 1),
        (Function::Ceiling, 1),
        (Function::Floor, 1),
        (Function::Round, 2),
        (Function::Truncate, 1),
        (Function::Sqrt, 1),
        (Function::Power, 2),
        (Function::Mod, 2),
        (Function::Coalesce, 2),
        (Function::NullIf, 2),
        (Function::Extract(TimePart::Day), 1),
        (Function::Extract(TimePart::Hour), 1),
        (Function::Cast(CastType::Integer), 1),
        (Function::Cast(CastType::Real), 1),
        (Function::Cast(CastType::Text), 1),
    ])
}

fn expr() -> impl Strategy<Value = Expr> {
    let leaf = prop_oneof![
        4 => prop::sample::select(vec!["whole", "real", "text", "DAY", "day"])
            .prop_map(|name| Expr::Field(name.into())),
        3 => literal(),
        1 => (-3i64..4).prop_map(|n| Expr::Time(Timestamp(n * 43_200_000))),
        1 => Just(Expr::ObjectId),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        let operator = prop::sample::select(vec![
            Arithmetic::Add,
            Arithmetic::Subtract,
            Arithmetic::Multiply,
            Arithmetic::Divide,
            Arithmetic::Modulo,
            Arithmetic::Concat,
        ]);
        prop_oneof![
            (inner.clone(), operator, inner.clone()).prop_map(|(left, op, right)| Expr::Binary {
                left: Box::new(left),
                op,
                right: Box::new(right)
            }),
            inner.clone().prop_map(|e| Expr::Negate(Box::new(e))),
            (function(), prop::collection::vec(inner, 3)).prop_map(
                |((function, arity), mut args)| {
                    args.truncate(arity);
                    Expr::Call { function, args }
                }
            ),
        ]
    })
}

fn filter() -> impl Strategy<Value = Filter> {
    let comparison = prop::sample::select(vec![
        Comparison::Equal,
        Comparison::NotEqual,
        Comparison::Less,
        Comparison::LessOrEqual,
        Comparison::Greater,
        Comparison::GreaterOrEqual,
    ]);
    let leaf = prop_oneof![
        1 => Just(Filter::All),
        1 => Just(Filter::Nothing),
        8 => (expr(), comparison, expr())
            .prop_map(|(left, op, right)| Filter::Compare { left, op, right }),
        3 => (expr(), "[oak%_!]{0,4}", prop::option::of(Just('!')))
            .prop_map(|(expr, pattern, escape)| Filter::Like { expr, pattern, escape }),
        3 => (expr(), prop::collection::vec(literal(), 0..4))
            .prop_map(|(expr, list)| Filter::In { expr, list }),
        1 => (prop::collection::vec(-4i64..5, 17..40), prop::bool::ANY).prop_map(|(list, real)| {
            Filter::In {
                expr: Expr::Field(if real { "real" } else { "whole" }.into()),
                list: list.into_iter().map(|n| Expr::Literal(Value::Integer(n))).collect(),
            }
        }),
        2 => expr().prop_map(Filter::IsNull),
        1 => prop::collection::vec(1i64..50, 0..5)
            .prop_map(|ids| Filter::ObjectIds(ids.into_iter().map(ObjectId).collect())),
        1 => prop::collection::vec(1u128..50, 0..5)
            .prop_map(|ids| Filter::GlobalIds(ids.into_iter().map(id).collect())),
        2 => (0..5i32, 0..5i32, 0..5i32, prop::bool::ANY).prop_map(|(x, y, side, exact)| {
            Filter::Spatial {
                relation: if exact { SpatialRelation::Intersects } else { SpatialRelation::EnvelopeIntersects },
                geometry: Envelope {
                    min_x: f64::from(x) - 0.5,
                    min_y: f64::from(y) - 0.5,
                    max_x: f64::from(x + side) + 0.25,
                    max_y: f64::from(y + side) + 0.25,
                }
                .to_polygon(),
            }
        }),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Filter::And),
            prop::collection::vec(inner.clone(), 0..4).prop_map(Filter::Or),
            inner.clone().prop_map(|one| Filter::Not(Box::new(one))),
            inner.prop_map(|one| Filter::ParentMatches {
                field: "parent".into(),
                parent: PARENT,
                filter: Box::new(one)
            }),
        ]
    })
}

fn found(tx: &dyn ReadTx, filter: &Filter) -> BTreeSet<GlobalId> {
    let mut ids = BTreeSet::new();
    let query = Query {
        select: Select::Ids,
        ..Query::records(CHILD, filter.clone())
    };
    tx.query(&query, &mut |row| {
        if let QueryRow::Ids(_, id) = row {
            ids.insert(id);
        }
        Ok(ControlFlow::Continue(()))
    })
    .unwrap();
    ids
}

#[test]
fn printed_filters_find_what_the_evaluator_finds() {
    let dir = tempfile::tempdir().unwrap();
    let (store, since) = store(dir.path());
    let tx = store.begin_read().unwrap();
    let children = collection(CHILD, "children");
    let config = ProptestConfig {
        cases: 300,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let told_apart = std::cell::Cell::new(0);
    proptest!(config, |(now in filter(), then in filter())| {
        let tx = &*tx;
        let at = |at| At(tx, at);
        let expected: BTreeSet<GlobalId> = (1..=45)
            .filter_map(|n| at(None).record(CHILD, &id(n)))
            .filter(|record| now.matches(&children, record, &at(None)))
            .map(|record| record.global_id)
            .collect();
        let telling = !expected.is_empty() && expected.len() < 42;
        told_apart.set(told_apart.get() + usize::from(telling));
        prop_assert_eq!(&found(tx, &now), &expected);
        prop_assert_eq!(tx.digest(CHILD, &now).unwrap().count as usize, expected.len());

        let query = ChangeQuery {
            collection: CHILD,
            since,
            upto: tx.head().unwrap().generation,
            filter: &now,
            filter_then: &then,
        };
        let mut wrong = Vec::new();
        tx.changes(&query, &mut |change| {
            let matched = at(Some(since))
                .record(CHILD, &change.global_id)
                .is_some_and(|record| then.matches(&children, &record, &at(Some(since))));
            if change.matches != expected.contains(&change.global_id) || change.matched != matched {
                wrong.push((change.global_id, change.matches, change.matched, matched));
            }
            Ok(ControlFlow::Continue(()))
        })
        .unwrap();
        prop_assert!(wrong.is_empty(), "{:?}", wrong);
    });
    let told_apart = told_apart.get();
    assert!(
        told_apart > 50,
        "only {told_apart} filters told records apart"
    );
}
