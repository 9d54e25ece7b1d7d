//! Preparing a replica of many points: seconds per step, and of `ogr2ogr` copying the same layer on the same disk.
//!
//! `cargo bench -p haversack-sqlite --bench prepare -- 1000000`; needs `ogr2ogr`. Without a number it takes 20,000 points.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a program that prints what it measured"
)]

use std::process::Command;
use std::time::Instant;

use haversack_model::local::ReplicaHeader;
use haversack_model::schema::{GeometryColumn, GeometryKind};
use haversack_model::{
    BatchNumber, Collection, CollectionId, CollectionKind, Cursor, Direction, Field, FieldType,
    Filter, Generation, Geometry, GlobalId, HistoryId, Policy, Position, Record, ReplicaId,
    Service, Shape, Store, Timestamp, Value,
};
use haversack_sqlite::SqliteStore;
use haversack_sqlite::replica::{Checkout, Options, prepare_replica};
use uuid::Uuid;

fn field(name: &str, kind: FieldType) -> Field {
    Field {
        name: name.to_owned(),
        alias: name.to_owned(),
        kind,
        length: None,
        nullable: true,
        editable: true,
        domain: None,
        default: Value::Null,
    }
}

fn service() -> Service {
    let kinds = [
        FieldType::String,
        FieldType::Integer,
        FieldType::Double,
        FieldType::Date,
        FieldType::String,
    ];
    let fields = (0..10)
        .map(|n| field(&format!("a{n}"), kinds[n % kinds.len()]))
        .collect();
    let points = Collection {
        id: CollectionId(0),
        name: "points".to_owned(),
        table: "points".to_owned(),
        kind: CollectionKind::Layer,
        description: String::new(),
        object_id_field: "OBJECTID".to_owned(),
        global_id_field: "GlobalID".to_owned(),
        display_field: None,
        geometry: Some(GeometryColumn {
            name: "SHAPE".to_owned(),
            kind: GeometryKind::Point,
            srid: 4326,
            has_z: false,
            has_m: false,
        }),
        fields,
        has_attachments: false,
        relationships: Vec::new(),
        editor_fields: None,
        max_record_count: 1000,
        indexes: Vec::new(),
        properties: std::collections::BTreeMap::new(),
    };
    Service {
        name: "bench".to_owned(),
        title: "bench".to_owned(),
        description: String::new(),
        copyright: String::new(),
        capabilities: Vec::new(),
        srid: 4326,
        schema_version: 1,
        collections: vec![points],
    }
}

/// A generator that needs no crate; the same points every time.
fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

fn record(state: &mut u64) -> Record {
    let (a, b) = (next(state), next(state));
    let unit = |n: u64| (n >> 11) as f64 / (1_u64 << 53) as f64;
    let one = |n: u64| -> [Value; 5] {
        [
            format!("name of {n:x}").into(),
            ((n % 100_000) as i64).into(),
            unit(n).into(),
            Value::Integer(1_700_000_000_000 + (n % 1_000_000_000) as i64),
            "some text".into(),
        ]
    };
    Record {
        global_id: GlobalId::Uuid(Uuid::from_u64_pair(a, b)),
        object_id: None,
        values: [one(a), one(b)].concat(),
        geometry: Some(Geometry::from_shape(&Shape::Point(Some(Position::xy(
            unit(a) * 360.0 - 180.0,
            unit(b) * 180.0 - 90.0,
        ))))),
    }
}

fn main() {
    let count: u64 = std::env::args()
        .find_map(|word| word.parse().ok())
        .unwrap_or(20_000);
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("service.gpkg");
    let store = SqliteStore::create(&source, &service()).unwrap();
    let mut state = 0x9e37_79b9_7f4a_7c15;
    let began = Instant::now();
    for batch in 0..count.div_ceil(5000) {
        let mut tx = store.begin_write(Timestamp(1_700_000_000_000)).unwrap();
        for _ in 0..5000.min(count - batch * 5000) {
            tx.put(CollectionId(0), &record(&mut state), None).unwrap();
        }
        tx.commit().unwrap();
    }
    println!(
        "{count} points stored in {:.2} s",
        began.elapsed().as_secs_f64()
    );

    let checkout = Checkout {
        seal: &(),
        layers: vec![(CollectionId(0), &Filter::All)],
        header: ReplicaHeader {
            id: ReplicaId(Uuid::from_u128(1)),
            name: "bench".to_owned(),
            url: String::new(),
            protocol: "native".to_owned(),
            cursor: Cursor::bare(HistoryId(Uuid::nil()), Generation(0)),
            layer_cursors: Vec::new(),
            direction: Direction::Bidirectional,
            policy: Policy::Merge,
            next_batch: BatchNumber(1),
            schema_version: 1,
            resyncing: false,
            download: None,
            ahead: haversack_model::Versions::default(),
            synced_at: None,
            filter: String::new(),
        },
        options: Options::default(),
        content: true,
    };
    let replica = folder.path().join("replica.gpkg");
    for _ in 0..3 {
        let began = Instant::now();
        let mut last = Instant::now();
        let mut step = String::new();
        prepare_replica(&store, &checkout, &replica, &mut |name, _, _| {
            if !step.is_empty() {
                println!("  {step}: {:.2} s", last.elapsed().as_secs_f64());
            }
            last = Instant::now();
            name.clone_into(&mut step);
        })
        .unwrap();
        println!("  {step}: {:.2} s", last.elapsed().as_secs_f64());
        println!("prepared in {:.2} s", began.elapsed().as_secs_f64());
    }
    let began = Instant::now();
    let status = Command::new("ogr2ogr")
        .args(["-f", "GPKG"])
        .arg(folder.path().join("copy.gpkg"))
        .arg(&source)
        .arg("points")
        .status()
        .unwrap();
    assert!(status.success(), "ogr2ogr failed");
    println!("ogr2ogr in {:.2} s", began.elapsed().as_secs_f64());
}
