//! The stores that a simulated server runs on: the one in memory, and the real one on SQLite.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use haversack_model::store::{ReadTx, Store, WriteTx};
use haversack_model::{HistoryId, Result, Service, Timestamp};
use haversack_sqlite::SqliteStore;
use tempfile::TempDir;

use crate::memory::{MemoryStore, State};
use crate::server::SimStore;

/// What a server had committed at some time.
#[derive(Clone, Debug)]
pub enum Backup {
    Memory(Arc<State>),
    /// A copy of the file with what is in its log.
    File(PathBuf),
}

impl SimStore for MemoryStore {
    fn backup(&self) -> Backup {
        Backup::Memory(Self::backup(self))
    }
    fn restore(&self, backup: &Backup) {
        match backup {
            Backup::Memory(state) => Self::restore(self, Arc::clone(state)),
            Backup::File(path) => panic!("{} is of another store", path.display()),
        }
    }
    fn is_concurrent(&self) -> bool {
        true
    }
}

/// A service's file in a folder of its own, which goes with it.
#[derive(Debug)]
pub struct SqliteFile {
    first: Opened,
    folder: TempDir,
}

/// A file that is served, until a backup of it is restored as `next`.
#[derive(Debug)]
struct Opened {
    store: SqliteStore,
    path: PathBuf,
    next: OnceLock<Box<Self>>,
}

impl SqliteFile {
    /// A new file. Its history is the seed's, so that a case replays.
    pub fn new(service: &Service, history: HistoryId) -> Self {
        let folder = folder().expect("a folder");
        let path = folder.path().join("service.gpkg");
        let store = SqliteStore::create(&path, service).expect("a service file");
        let mut tx = store.begin_write(Timestamp(0)).expect("a transaction");
        tx.start_history(history).expect("a history");
        tx.commit().expect("a commit");
        let first = Opened {
            store,
            path,
            next: OnceLock::new(),
        };
        Self { first, folder }
    }

    fn served(&self) -> &Opened {
        let mut opened = &self.first;
        while let Some(next) = opened.next.get() {
            opened = next;
        }
        opened
    }

    /// A copy of a file and its log under a name that is free.
    fn copy(&self, from: &Path) -> PathBuf {
        let number = std::fs::read_dir(self.folder.path())
            .expect("a folder")
            .count();
        let to = self.folder.path().join(format!("{number}.gpkg"));
        assert!(!to.exists(), "a free name");
        std::fs::copy(from, &to).expect("a copy");
        if log(from).exists() {
            std::fs::copy(log(from), log(&to)).expect("a copy of the log");
        }
        to
    }
}

/// In memory where there is such a folder: whether a disk keeps what was synced is no question of a seed.
fn folder() -> std::io::Result<TempDir> {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir())
}

fn log(path: &Path) -> PathBuf {
    path.with_extension("gpkg-wal")
}

impl Store for SqliteFile {
    fn begin_read(&self) -> Result<Box<dyn ReadTx + '_>> {
        self.served().store.begin_read()
    }
    fn begin_write(&self, now: Timestamp) -> Result<Box<dyn WriteTx + '_>> {
        self.served().store.begin_write(now)
    }
}

impl SimStore for SqliteFile {
    fn backup(&self) -> Backup {
        Backup::File(self.copy(&self.served().path))
    }
    fn restore(&self, backup: &Backup) {
        let Backup::File(path) = backup else {
            panic!("a backup of another store");
        };
        let path = self.copy(path);
        let store = SqliteStore::open(&path).expect("the restored file");
        let next = Box::new(Opened {
            store,
            path,
            next: OnceLock::new(),
        });
        assert!(self.served().next.set(next).is_ok(), "restored once");
    }
    fn is_concurrent(&self) -> bool {
        false
    }
}
