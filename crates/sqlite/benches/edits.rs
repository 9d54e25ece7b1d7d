//! Replica files at work: storing pages of a download, capturing a bulk edit, reading the outbox, digest.
//!
//! `cargo bench -p haversack-sqlite --bench edits -- 100000`.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a program that prints what it measured"
)]

use std::time::Instant;

use haversack_model::local::{LocalReplica, ReplicaHeader};
use haversack_model::schema::{GeometryColumn, GeometryKind};
use haversack_model::{
    BatchNumber, Collection, CollectionId, CollectionKind, Cursor, Direction, Field, FieldType,
    Generation, Geometry, GlobalId, HistoryId, Policy, Position, Record, ReplicaId, Revision,
    RowVersion, Shape, Value,
};
use haversack_sqlite::replica::{Options, ReplicaFile};
use uuid::Uuid;

const LAYER: CollectionId = CollectionId(0);

fn collection() -> Collection {
    let fields = (0..10)
        .map(|n| Field {
            name: format!("a{n}"),
            alias: format!("a{n}"),
            kind: if n % 2 == 0 {
                FieldType::String
            } else {
                FieldType::Double
            },
            length: None,
            nullable: true,
            editable: true,
            domain: None,
            default: Value::Null,
        })
        .collect();
    Collection {
        id: LAYER,
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
    }
}

fn header() -> ReplicaHeader {
    ReplicaHeader {
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
    }
}

fn record(n: u64) -> Record {
    // Spread over the id space, as random ids are.
    let high = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    Record {
        global_id: GlobalId::Uuid(Uuid::from_u64_pair(high, n)),
        object_id: None,
        values: (0..10)
            .map(|at| match at % 2 {
                0 => format!("value {n} of {at}").into(),
                _ => (n as f64 / 7.0).into(),
            })
            .collect(),
        geometry: Some(Geometry::from_shape(&Shape::Point(Some(Position::xy(
            (n % 3600) as f64 / 10.0 - 180.0,
            (n % 1777) as f64 / 10.0 - 88.0,
        ))))),
    }
}

fn timed<T>(what: &str, rows: u64, work: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let done = work();
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "{what}: {seconds:.2} s for {rows} rows, {:.1} µs a row",
        seconds * 1e6 / rows as f64
    );
    done
}

fn main() {
    let count: u64 = std::env::args()
        .find_map(|word| word.parse().ok())
        .unwrap_or(10_000);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("replica.gpkg");
    let mut file =
        ReplicaFile::create(&path, &[collection()], &header(), Options::default()).unwrap();
    for what in ["pages of new rows", "pages of changed rows"] {
        timed(what, count, || {
            for page in 0..count.div_ceil(10_000) {
                let mut tx = file.begin().unwrap();
                for n in page * 10_000..count.min((page + 1) * 10_000) {
                    let mut row = record(n);
                    row.values[1] = Value::Real(what.len() as f64);
                    tx.put_row(LAYER, &row).unwrap();
                    let version = RowVersion {
                        revision: Revision(n),
                        generation: Generation(n),
                    };
                    tx.store_version(LAYER, &row.global_id, Some(version))
                        .unwrap();
                }
                tx.commit().unwrap();
            }
        });
    }
    let plain = rusqlite::Connection::open(&path).unwrap();
    timed("bulk edit, captured", count, || {
        plain.execute("UPDATE points SET a1 = 2", []).unwrap()
    });
    timed("the same rows again", count, || {
        plain.execute("UPDATE points SET a1 = 3", []).unwrap()
    });
    plain
        .execute("CREATE TABLE untracked AS SELECT * FROM points", [])
        .unwrap();
    timed("the same without capture", count, || {
        plain.execute("UPDATE untracked SET a1 = 4", []).unwrap()
    });
    timed("status", count, || file.status().unwrap());
    timed("first batch of 2000 from the outbox", 2000, || {
        file.begin().unwrap().pending(2000).unwrap()
    });
    timed("digest", count, || file.digest(LAYER).unwrap());
}
