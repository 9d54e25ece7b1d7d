//! A service file in a folder that goes away with it.

#![allow(dead_code, reason = "each test file uses a part")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::PathBuf;

use haversack_model::store::{ReadTx, Store, WriteTx};
use haversack_model::{Result, Service, Timestamp};
use haversack_sqlite::SqliteStore;

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
