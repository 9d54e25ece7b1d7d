//! A replica file with confirmed rows, and the programs that edit it.

use std::path::{Path, PathBuf};
use std::process::Command;

use haversack_model::local::{LocalReplica, OutboxEntry, ReplicaHeader, RowVersion};
use haversack_model::schema::{GeometryColumn, GeometryKind};
use haversack_model::{
    BatchNumber, Collection, CollectionId, CollectionKind, Cursor, Direction, Field, FieldType,
    Generation, Geometry, GlobalId, HistoryId, Policy, Position, Record, ReplicaId, Revision,
    Shape, Value,
};
use haversack_sqlite::replica::{Options, ReplicaFile};
use uuid::Uuid;

/// The layer of most tests.
pub(crate) const PARKS: CollectionId = CollectionId(0);

pub(crate) fn field(name: &str, kind: FieldType) -> Field {
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

pub(crate) fn layer(
    id: u32,
    name: &str,
    kind: Option<GeometryKind>,
    fields: Vec<Field>,
) -> Collection {
    Collection {
        id: CollectionId(id),
        name: name.to_owned(),
        table: format!("layer_{id}"),
        kind: if kind.is_some() {
            CollectionKind::Layer
        } else {
            CollectionKind::Table
        },
        description: String::new(),
        object_id_field: "OBJECTID".to_owned(),
        global_id_field: "GlobalID".to_owned(),
        display_field: None,
        geometry: kind.map(|kind| GeometryColumn {
            name: "SHAPE".to_owned(),
            kind,
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

pub(crate) fn parks() -> Collection {
    layer(
        PARKS.0,
        "City parks",
        Some(GeometryKind::Point),
        vec![
            field("name", FieldType::String),
            field("area", FieldType::Double),
            field("trees", FieldType::Integer),
            field("visited", FieldType::Date),
        ],
    )
}

pub(crate) fn header() -> ReplicaHeader {
    ReplicaHeader {
        id: ReplicaId(Uuid::from_u128(1)),
        name: "test".to_owned(),
        url: "http://127.0.0.1:1/arcgis/rest/services/s/FeatureServer".to_owned(),
        protocol: "native".to_owned(),
        cursor: Cursor::bare(HistoryId(Uuid::from_u128(2)), Generation(100)),
        layer_cursors: Vec::new(),
        direction: Direction::Bidirectional,
        policy: Policy::Merge,
        next_batch: BatchNumber(1),
        schema_version: 1,
        resyncing: false,
        download: None,
        ahead: haversack_model::Versions::default(),
        synced_at: None,
        filter: "{}".to_owned(),
    }
}

pub(crate) fn gid(n: u32) -> GlobalId {
    GlobalId::Uuid(Uuid::from_u128(0xabcd_0000 + u128::from(n)))
}

pub(crate) fn park(n: u32) -> Record {
    Record {
        global_id: gid(n),
        object_id: None,
        values: vec![
            format!("park {n}").into(),
            (f64::from(n) + 0.1).into(),
            i64::from(n).into(),
            Value::Integer(1_700_000_000_000 + i64::from(n)),
        ],
        geometry: Some(Geometry::from_shape(&Shape::Point(Some(Position::xy(
            f64::from(n) / 7.0,
            f64::from(n) / 11.0,
        ))))),
    }
}

pub(crate) fn version(n: u32) -> RowVersion {
    RowVersion {
        revision: Revision(1000 + u64::from(n)),
        generation: Generation(u64::from(n)),
    }
}

/// A folder with a replica of `count` confirmed parks, whose object ids are 1 to `count`.
pub(crate) struct Fixture {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) path: PathBuf,
}

impl Fixture {
    pub(crate) fn new(count: u32) -> Self {
        Self::with(count, Options::default())
    }
    pub(crate) fn with(count: u32, options: Options) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("parks.gpkg");
        let mut file = ReplicaFile::create(&path, &[parks()], &header(), options).unwrap();
        let mut tx = file.begin().unwrap();
        for n in 1..=count {
            tx.put_row(PARKS, &park(n)).unwrap();
            tx.store_version(PARKS, &gid(n), Some(version(n))).unwrap();
        }
        tx.commit().unwrap();
        Self { folder, path }
    }
    pub(crate) fn open(&self) -> ReplicaFile {
        ReplicaFile::open(&self.path).unwrap()
    }
    /// All entries of the outbox, as they stand after `pending` dropped edits that are none.
    pub(crate) fn entries(&self) -> Vec<OutboxEntry> {
        let mut file = self.open();
        let tx = file.begin().unwrap();
        tx.pending(usize::MAX).unwrap();
        let entries = tx.entries().unwrap();
        tx.commit().unwrap();
        entries
    }
    pub(crate) fn row(&self, id: &GlobalId) -> Option<Record> {
        self.open().begin().unwrap().row(PARKS, id).unwrap()
    }
    /// Ids of all rows, as plain SQL sees them.
    pub(crate) fn ids(&self) -> Vec<(i64, String)> {
        let conn = rusqlite::Connection::open(&self.path).unwrap();
        let mut statement = conn
            .prepare("SELECT OBJECTID, GlobalID FROM City_parks ORDER BY 1")
            .unwrap();
        let rows = statement
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap();
        rows.map(Result::unwrap).collect()
    }
    /// Runs Python with GDAL's bindings; `path` is the replica file in it.
    pub(crate) fn python(&self, script: &str) -> String {
        python(&self.path, script)
    }
    /// Runs SQL by Python's `sqlite3`, which knows no spatial functions.
    pub(crate) fn plain_sql(&self, sql: &str) -> String {
        self.python(&format!(
            "import sqlite3\nc = sqlite3.connect(path)\nc.executescript({sql:?})\nc.commit()\nc.close()\n"
        ))
    }
}

/// The Python that has GDAL's bindings: `HAVERSACK_GDAL_PYTHON`, or the system's.
pub(crate) fn python_command() -> Command {
    Command::new(
        std::env::var_os("HAVERSACK_GDAL_PYTHON").unwrap_or_else(|| "/usr/bin/python3".into()),
    )
}

pub(crate) fn python(path: &Path, script: &str) -> String {
    let prelude = "import sys\n\
                   from osgeo import gdal, ogr\n\
                   gdal.UseExceptions(); ogr.UseExceptions()\n\
                   path = sys.argv[1]\n";
    run(python_command()
        .arg("-c")
        .arg(format!("{prelude}{script}"))
        .arg(path))
}

/// Runs a program and gives its output.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|why| {
        panic!("{command:?} cannot be run ({why}): install gdal-bin and python3-gdal")
    });
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{command:?} failed: {text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}
