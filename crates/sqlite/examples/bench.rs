//! Measures the store: `bench tracking|upload|changes [rows]` prints one JSON line per figure.
//!
//! Every figure is a ratio of two things done in this run on this machine, in folders beside each other.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a measuring program: it prints figures and fails by panicking"
)]

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

use haversack_model::schema::GeometryKind;
use haversack_model::store::{ChangeQuery, Store};
use haversack_model::{
    Collection, CollectionId, CollectionKind, Field, FieldType, Filter, Geometry, GeometryColumn,
    GlobalId, Position, Record, Service, Shape, Timestamp, Value,
};
use haversack_sqlite::SqliteStore;
use haversack_sqlite::gpkg::{blob, column, core, datetime, functions, layer};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, params_from_iter};
use uuid::Uuid;

const LAYER: CollectionId = CollectionId(0);
const BATCH: u64 = 1_000;

fn main() {
    let mut args = std::env::args().skip(1);
    let name = args.next().unwrap_or_default();
    let rows = args.next().and_then(|n| n.parse().ok());
    match name.as_str() {
        "tracking" => tracking(rows.unwrap_or(200_000)),
        "upload" => upload(rows.unwrap_or(100_000)),
        "changes" => changes(rows.unwrap_or(1_000_000)),
        _ => println!("usage: bench tracking|upload|changes [rows]"),
    }
}

fn report(name: &str, figure: &str, value: f64, unit: &str) {
    println!(
        "{}",
        serde_json::json!({ "bench": name, "figure": figure, "value": value, "unit": unit })
    );
}

/// CPU time of this thread.
fn cpu() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split_whitespace().next().unwrap().parse().unwrap())
}

fn service() -> Service {
    let kinds = [
        FieldType::String,
        FieldType::String,
        FieldType::String,
        FieldType::Integer,
        FieldType::Integer,
        FieldType::BigInteger,
        FieldType::Double,
        FieldType::Double,
        FieldType::Date,
        FieldType::Date,
    ];
    let fields = kinds.iter().enumerate().map(|(n, kind)| Field {
        name: format!("f{n}"),
        alias: format!("f{n}"),
        kind: *kind,
        length: None,
        nullable: true,
        editable: true,
        domain: None,
        default: Value::Null,
    });
    Service {
        name: "bench".into(),
        title: String::new(),
        description: String::new(),
        copyright: String::new(),
        capabilities: vec![],
        srid: 4326,
        schema_version: 1,
        collections: vec![Collection {
            id: LAYER,
            name: "Points".into(),
            table: "points".into(),
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
            fields: fields.collect(),
            has_attachments: false,
            relationships: vec![],
            editor_fields: None,
            max_record_count: 2_000,
            indexes: Vec::new(),
            properties: std::collections::BTreeMap::new(),
        }],
    }
}

/// Bits that look random, the same in every run.
fn scatter(n: u64) -> u64 {
    let mut x = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn id(n: u64) -> GlobalId {
    GlobalId::Uuid(Uuid::from_u64_pair(scatter(n), scatter(!n)))
}

fn record(n: u64, version: i64) -> Record {
    let dice = scatter(n);
    let (x, y) = (dice % 36_000, dice / 36_000 % 18_000);
    Record {
        global_id: id(n),
        object_id: None,
        values: vec![
            format!("place number {n}").into(),
            "observed".into(),
            format!("note {version} on {}", dice % 1000).into(),
            Value::Integer(version),
            Value::Integer((dice % 100) as i64),
            Value::Integer(dice as i64 >> 8),
            Value::Real(dice as f64 / 1e9),
            Value::Real(version as f64 / 3.0),
            Value::Integer(1_600_000_000_000 + (dice % 100_000_000) as i64),
            Value::Integer(1_700_000_000_000 + version),
        ],
        geometry: Some(Geometry::from_shape(&Shape::Point(Some(Position::xy(
            x as f64 / 100.0 - 180.0,
            y as f64 / 100.0 - 90.0,
        ))))),
    }
}

fn store_with(path: &Path, rows: u64) -> SqliteStore {
    let store = SqliteStore::create(path, &service()).unwrap();
    fill(&store, rows);
    store
}

fn fill(store: &SqliteStore, rows: u64) {
    for first in (0..rows).step_by(BATCH as usize) {
        let mut tx = store.begin_write(Timestamp(1_700_000_000_000)).unwrap();
        for n in first..rows.min(first + BATCH) {
            tx.put(LAYER, &record(n, 0), None).unwrap();
        }
        tx.commit().unwrap();
    }
}

/// The same table, index and R-tree without any tracking. `triggers`: the R-tree is kept by its triggers, as other
/// programs do it, instead of by a statement of its own.
fn untracked(path: &Path, rows: u64, triggers: bool) -> Connection {
    let connection = Connection::open(path).unwrap();
    functions::register(&connection).unwrap();
    core::create(&connection).unwrap();
    connection
        .pragma_update(None, "journal_mode", "WAL")
        .unwrap();
    connection
        .pragma_update(None, "synchronous", "FULL")
        .unwrap();
    connection
        .pragma_update(None, "cache_size", -32_000)
        .unwrap();
    let collection = &service().collections[0];
    let options = layer::TableOptions {
        spatial_index: true,
        unique_global_id: true,
    };
    layer::create(&connection, collection, options).unwrap();
    connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, triggers)
        .unwrap();
    let names = layer::ident_list(&layer::column_names(collection), "");
    let insert = format!(
        "INSERT INTO points ({names}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)"
    );
    let index = "INSERT OR REPLACE INTO rtree_points_geom VALUES (?1, ?2, ?3, ?4, ?5)";
    for first in (0..rows).step_by(BATCH as usize) {
        connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        for n in first..rows.min(first + BATCH) {
            let record = record(n, 0);
            let (bytes, envelope) = blob::encode(record.geometry.as_ref().unwrap(), 4326);
            let mut statement = connection.prepare_cached(&insert).unwrap();
            statement.raw_bind_parameter(1, bytes).unwrap();
            statement
                .raw_bind_parameter(2, column::global_id_text(&record.global_id).unwrap())
                .unwrap();
            for (at, (field, value)) in collection.fields.iter().zip(&record.values).enumerate() {
                let stored = column::to_sql(field, value).unwrap();
                statement.raw_bind_parameter(at + 3, stored).unwrap();
            }
            statement.raw_execute().unwrap();
            if let (false, Some(e)) = (triggers, envelope) {
                let row = connection.last_insert_rowid() as f64;
                let bounds = [row, e.min_x, e.max_x, e.min_y, e.max_y];
                connection
                    .prepare_cached(index)
                    .unwrap()
                    .execute(params_from_iter(bounds))
                    .unwrap();
            }
        }
        connection.execute_batch("COMMIT").unwrap();
    }
    connection
}

/// CPU of tracked inserts over that of the same inserts untracked, in batches of 1,000.
fn tracking(rows: u64) {
    let folder = tempfile::tempdir_in(".").unwrap();
    let timed = |work: &dyn Fn()| {
        let before = cpu();
        work();
        (cpu().saturating_sub(before)).as_secs_f64()
    };
    let mut tracked = Vec::new();
    let mut plain = Vec::new();
    let mut by_triggers = Vec::new();
    for round in 0..3 {
        let path = |kind: &str| folder.path().join(format!("{kind}{round}.gpkg"));
        let store = SqliteStore::create(path("tracked"), &service()).unwrap();
        tracked.push(timed(&|| fill(&store, rows)));
        plain.push(timed(&|| drop(untracked(&path("plain"), rows, false))));
        by_triggers.push(timed(&|| drop(untracked(&path("triggers"), rows, true))));
    }
    let (tracked, plain, by_triggers) = (median(tracked), median(plain), median(by_triggers));
    let each = 1e6 / rows as f64;
    report("tracking", "tracked", tracked * each, "µs CPU per row");
    report("tracking", "untracked", plain * each, "µs CPU per row");
    report(
        "tracking",
        "untracked, R-tree by triggers",
        by_triggers * each,
        "µs CPU per row",
    );
    report(
        "tracking",
        "cost",
        (tracked / plain - 1.0) * 100.0,
        "% of CPU",
    );
    report(
        "tracking",
        "cost over triggers",
        (tracked / by_triggers - 1.0) * 100.0,
        "% of CPU",
    );
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// 10,000 updates through the store against the same by plain SQL, each durable in one transaction.
fn upload(rows: u64) {
    const EDITS: u64 = 10_000;
    let folder = tempfile::tempdir_in(".").unwrap();
    let store = store_with(&folder.path().join("tracked.gpkg"), rows);
    let connection = untracked(&folder.path().join("plain.gpkg"), rows, false);
    let edited: Vec<u64> = (0..EDITS)
        .map(|n| n * (rows / EDITS).max(1) % rows)
        .collect();
    let by_sql = |version: i64, records: &[Record]| {
        connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        for record in records {
            connection
                .prepare_cached(
                    "UPDATE points SET f2 = ?2, f3 = ?3, f7 = ?4, f9 = ?5 WHERE GlobalID = ?1",
                )
                .unwrap()
                .execute((
                    record.global_id.braced(),
                    record.values[2].as_text(),
                    version,
                    version as f64 / 3.0,
                    datetime::to_text(1_700_000_000_000 + version),
                ))
                .unwrap();
        }
        connection.execute_batch("COMMIT").unwrap();
    };
    let by_store = |read: bool, records: &[Record]| {
        let mut tx = store.begin_write(Timestamp(1_700_000_000_000)).unwrap();
        for record in records {
            if read {
                let present = tx.record(LAYER, &record.global_id).unwrap().unwrap();
                assert_eq!(present.record.values.len(), record.values.len());
            }
            tx.put(LAYER, record, None).unwrap();
        }
        tx.commit().unwrap();
    };
    // In turns, so that none always runs first or last.
    let mut wall: [Vec<f64>; 3] = Default::default();
    let mut busy: [Vec<f64>; 3] = Default::default();
    for round in 0..9 {
        let version = round as i64 + 1;
        let records: Vec<Record> = edited.iter().map(|n| record(*n, version)).collect();
        let which = round % 3;
        let (began, before) = (Instant::now(), cpu());
        match which {
            0 => by_sql(version, &records),
            1 => by_store(false, &records),
            _ => by_store(true, &records),
        }
        wall[which].push(began.elapsed().as_secs_f64());
        busy[which].push(cpu().saturating_sub(before).as_secs_f64());
    }
    let names = ["plain updates", "put", "read and put"];
    let (wall, busy) = (wall.map(median), busy.map(median));
    for (name, seconds) in names.iter().zip(wall) {
        report("upload", name, EDITS as f64 / seconds, "rows/s");
    }
    for (name, seconds) in names.iter().zip(busy) {
        report(
            "upload",
            name,
            seconds * 1e6 / EDITS as f64,
            "µs CPU per row",
        );
    }
    report("upload", "put over plain", wall[0] / wall[1], "of the rate");
    report(
        "upload",
        "read and put over plain",
        wall[0] / wall[2],
        "of the rate",
    );
    report(
        "upload",
        "read and put over plain, CPU",
        busy[0] / busy[2],
        "of the rate",
    );
}

/// 100 changes out of many rows against 100 out of 10,000.
fn changes(rows: u64) {
    let folder = tempfile::tempdir_in(".").unwrap();
    let mut seconds = Vec::new();
    for (name, rows) in [("few", 10_000), ("many", rows)] {
        let store = store_with(&folder.path().join(format!("{name}.gpkg")), rows);
        let since = store.begin_read().unwrap().head().unwrap().generation;
        let mut tx = store.begin_write(Timestamp(1_700_000_000_000)).unwrap();
        for n in 0..100 {
            tx.put(LAYER, &record(n * (rows / 100), 1), None).unwrap();
        }
        let upto = tx.commit().unwrap().generation;
        let mut times = Vec::new();
        for _ in 0..201 {
            let began = Instant::now();
            let tx = store.begin_read().unwrap();
            let query = ChangeQuery {
                collection: LAYER,
                since,
                upto,
                filter: &Filter::All,
                filter_then: &Filter::All,
            };
            let mut seen = 0;
            tx.changes(&query, &mut |_| {
                seen += 1;
                Ok(ControlFlow::Continue(()))
            })
            .unwrap();
            assert_eq!(seen, 100);
            times.push(began.elapsed().as_secs_f64());
        }
        let median = median(times);
        report("changes", &format!("100 of {rows}"), median * 1e6, "µs");
        seconds.push(median);
    }
    report("changes", "ratio", seconds[1] / seconds[0], "times");
}
