//! A service file in a folder that goes away with it.

#![allow(dead_code, reason = "each test file uses a part")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use haversack_model::documents::{DocumentRead, DocumentStore, DocumentWrite};
use haversack_model::store::{ReadTx, Store, WriteTx};
use haversack_model::{Result, Service, Timestamp};
use haversack_sqlite::SqliteStore;
use rusqlite::Connection;

/// A store and its folder.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) store: SqliteStore,
    pub(crate) path: PathBuf,
    folder: tempfile::TempDir,
}

impl Held {
    /// A new store of a service.
    pub(crate) fn new(service: &Service) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("service.gpkg");
        Self {
            store: SqliteStore::create(&path, service).unwrap(),
            path,
            folder,
        }
    }

    /// Closes the file and keeps its folder.
    pub(crate) fn closed(self) -> tempfile::TempDir {
        self.folder
    }

    /// Closes the file and opens it again.
    pub(crate) fn reopened(self) -> Self {
        drop(self.store);
        Self {
            store: SqliteStore::open(&self.path).unwrap(),
            ..self
        }
    }
}

impl Store for Held {
    fn begin_read(&self) -> Result<Box<dyn ReadTx + '_>> {
        self.store.begin_read()
    }
    fn begin_write(&self, now: Timestamp) -> Result<Box<dyn WriteTx + '_>> {
        self.store.begin_write(now)
    }
}

impl DocumentStore for Held {
    fn read_documents(&self) -> Result<Box<dyn DocumentRead + '_>> {
        self.store.read_documents()
    }
    fn write_documents(&self, now: Timestamp) -> Result<Box<dyn DocumentWrite + '_>> {
        self.store.write_documents(now)
    }
}

/// The counter, the feed and the rows agree; the spatial index holds exactly the rows with a place.
pub(crate) fn check(file: &Path) {
    let plain = Connection::open(file).unwrap();
    let one = |sql: &str| -> i64 { plain.query_row(sql, [], |row| row.get(0)).unwrap() };
    let untracked = "SELECT count(*) FROM places t LEFT JOIN haversack_track k \
        ON k.collection = 0 AND k.object_id = t.OBJECTID AND k.global_id = t.GlobalID \
        AND k.deleted = 0 WHERE k.object_id IS NULL";
    assert_eq!(one(untracked), 0, "rows without tracking");
    assert_eq!(
        one("SELECT count(*) FROM haversack_track WHERE collection = 0 AND deleted = 0"),
        one("SELECT count(*) FROM places"),
        "tracking without rows"
    );
    let head = one("SELECT generation FROM haversack_counter");
    assert_eq!(
        one("SELECT coalesce(max(generation), 0) FROM haversack_track"),
        head
    );
    assert_eq!(
        one("SELECT count(*) FROM haversack_history_places WHERE haversack_until <= 0"),
        0
    );
    assert_eq!(
        one("SELECT count(*) FROM rtree_places_geom WHERE id NOT IN (SELECT OBJECTID FROM places)"),
        0,
        "the index holds rows that are gone"
    );
    assert_eq!(
        one("SELECT count(*) FROM places WHERE OBJECTID NOT IN (SELECT id FROM rtree_places_geom)"),
        0
    );
    let integrity: String = plain
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(integrity, "ok");
}
