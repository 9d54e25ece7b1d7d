//! The server's store: one service in one GeoPackage file.
//!
//! Layers and tables are ordinary tables that GIS programs open; beside them are `haversack_*` tables with tracking,
//! history, replicas, replies and conflicts, so that everything that must commit together is in one file. One
//! connection writes, a pool of connections reads snapshots (WAL, `synchronous=FULL`).

mod alter;
mod books;
mod build;
mod bulk;
mod capture;
mod changes;
mod checkpoint;
mod connection;
mod documents;
mod history;
mod indexes;
mod journal;
mod merge;
mod migrate;
mod prepared;
mod primary;
mod query;
mod read;
mod readable;
mod retention;
mod rows;
mod schema;
mod secondary;
mod stage;
mod summary;
mod view;
mod write;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use haversack_model::documents::{DocumentRead, DocumentStore, DocumentWrite};
use haversack_model::store::{Head, ReadTx, Store, WriteTx};
use haversack_model::{Error, HistoryId, Result, Service, Timestamp};
use rusqlite::{Connection, params};
use uuid::Uuid;

pub use self::primary::SqlitePrimary;
pub use self::secondary::{Change, Difference, SqliteSecondary};

use self::checkpoint::Checkpoints;
use self::connection::{Deadline, Linked};
use self::read::SqliteRead;
use self::schema::Schema;
use self::view::View;
use self::write::SqliteWrite;
use crate::error::{corrupt, invalid, while_doing};
use crate::gpkg::{core, layer};
use crate::reserve::Reserve;

/// Read connections kept open when nobody uses them.
const IDLE_READERS: usize = 16;
/// How long a query may take, unless configured otherwise.
pub const DEFAULT_QUERY_LIMIT: Duration = Duration::from_secs(30);

/// A service in a GeoPackage file.
#[derive(Debug)]
pub struct SqliteStore {
    path: PathBuf,
    checkpoints: Checkpoints,
    writer: Mutex<Linked>,
    readers: Mutex<Vec<Linked>>,
    /// Held by whoever builds sums.
    building: Mutex<()>,
    schema: Mutex<Arc<Schema>>,
    reserve: Reserve,
    query_limit_ms: AtomicU64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic in a transaction rolled it back; nothing in memory is half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SqliteStore {
    /// Makes a new file for a service, with a history of its own.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the file exists or a name of the service cannot be.
    pub fn create(path: impl AsRef<Path>, service: &Service) -> Result<Self> {
        let path = path.as_ref();
        if path.exists() {
            return Err(invalid(path.display().to_string(), "the file exists"));
        }
        let writer = connection::writer(path, true)?;
        // Into the main file at once: programs read its first page past the log, and a damaged log must not take the
        // tables along.
        let filled = fill(&writer.connection, service).and_then(|()| {
            writer
                .connection
                .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_row| Ok(()))
                .map_err(while_doing("writing a new service file"))
        });
        match filled {
            Ok(()) => Self::with_writer(path, writer),
            Err(error) => {
                drop(writer);
                for suffix in ["", "-wal", "-shm"] {
                    let mut name = path.as_os_str().to_owned();
                    name.push(suffix);
                    // What cannot be removed is found by the next attempt, which says so.
                    let _best_effort = std::fs::remove_file(name);
                }
                Err(error)
            }
        }
    }

    /// Opens the file of a service and brings it to this program's format.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it is not a service file or a newer program's.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let writer = connection::writer(path, false)?;
        let is_service = core::has_table(&writer.connection, "haversack_counter")
            .map_err(while_doing("opening a service file"))?;
        if !is_service {
            return Err(invalid(
                path.display().to_string(),
                "it is not the file of a service",
            ));
        }
        in_transaction(&writer.connection, |connection| {
            let migrated = migrate::run(connection)?;
            summary::ensure_notes(connection)?;
            let (_, version) = view::read_counter(connection)?;
            for layer in load_schema(connection, version)?.layers() {
                let indexed = layer::restore_rtree(connection, &layer.collection)
                    .map_err(while_doing("restoring a spatial index"))?;
                if indexed {
                    tracing::warn!(
                        layer = layer.collection.table,
                        "a spatial index was missing and is there again"
                    );
                }
                if !capture::ensure(connection, &layer.collection)? && !migrated {
                    let found = capture::reconcile(connection, &layer.collection)?;
                    summary::distrust(connection, layer.collection.id)?;
                    tracing::warn!(
                        layer = layer.collection.table,
                        found,
                        "capture triggers were missing and are there again"
                    );
                }
            }
            Ok(())
        })?;
        Self::with_writer(path, writer)
    }

    fn with_writer(path: &Path, writer: Linked) -> Result<Self> {
        let (_, version) = view::read_counter(&writer.connection)?;
        let schema = load_schema(&writer.connection, version)?;
        let reserve = Reserve::beside(path);
        reserve.fill();
        Ok(Self {
            path: path.to_owned(),
            checkpoints: Checkpoints::of(path),
            writer: Mutex::new(writer),
            readers: Mutex::default(),
            building: Mutex::default(),
            schema: Mutex::new(schema),
            reserve,
            query_limit_ms: AtomicU64::new(DEFAULT_QUERY_LIMIT.as_millis() as u64),
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Sets how long a query may take.
    pub fn set_query_limit(&self, limit: Duration) {
        self.query_limit_ms
            .store(limit.as_millis() as u64, Ordering::Relaxed);
    }

    fn query_limit(&self) -> Duration {
        Duration::from_millis(self.query_limit_ms.load(Ordering::Relaxed))
    }

    /// A connection for an export: a snapshot of the service as `main`, and the file at `target`, created if need
    /// be, attached as `target` for writing.
    ///
    /// The target is written without journal and without sync: a file that is thrown away if anything fails.
    ///
    /// # Errors
    /// The database's.
    pub fn snapshot_into(&self, target: &Path) -> Result<ServiceSnapshot> {
        let failed = while_doing("opening a snapshot for an export");
        let Linked {
            connection,
            deadline,
        } = connection::exporter(&self.path)?;
        connection
            .execute(
                "ATTACH DATABASE ?1 AS target",
                [target.to_string_lossy().as_ref()],
            )
            .map_err(&failed)?;
        connection
            .execute_batch(
                "PRAGMA target.journal_mode = OFF; PRAGMA target.synchronous = OFF; \
                 PRAGMA target.cache_size = -16000; BEGIN",
            )
            .map_err(&failed)?;
        let (head, version) = view::read_counter(&connection)?;
        let schema = self.schema_of(&connection, version)?;
        Ok(ServiceSnapshot {
            connection,
            deadline,
            head,
            schema,
            limit: self.query_limit(),
        })
    }

    /// Fills the reserve again after space was freed.
    pub fn refill_reserve(&self) {
        self.reserve.fill();
    }

    fn give_back(&self, linked: Linked) {
        if linked.connection.execute_batch("ROLLBACK").is_ok() {
            let mut readers = lock(&self.readers);
            if readers.len() < IDLE_READERS {
                readers.push(linked);
            }
        }
    }

    /// The schema of a version, from memory if it is the one last seen.
    fn schema_of(&self, connection: &Connection, version: u32) -> Result<Arc<Schema>> {
        let known = Arc::clone(&lock(&self.schema));
        if known.service.schema_version == version {
            return Ok(known);
        }
        let loaded = load_schema(connection, version)?;
        self.remember(&loaded);
        Ok(loaded)
    }

    fn remember(&self, schema: &Arc<Schema>) {
        *lock(&self.schema) = Arc::clone(schema);
    }

    /// Looks at an error on its way to the caller: a full disk gets the reserve.
    fn note(&self, error: Error) -> Error {
        if matches!(error, Error::DiskFull) {
            self.reserve.release();
        }
        error
    }
}

impl SqliteStore {
    fn read(&self) -> Result<SqliteRead<'_>> {
        let idle = lock(&self.readers).pop();
        let linked = match idle {
            Some(linked) => linked,
            None => connection::reader(&self.path)?,
        };
        linked
            .connection
            .execute_batch("BEGIN")
            .map_err(while_doing("beginning to read"))?;
        let (head, version) = view::read_counter(&linked.connection)?;
        let schema = self.schema_of(&linked.connection, version)?;
        Ok(SqliteRead::new(self, linked, schema, head))
    }

    fn write(&self, now: Timestamp) -> Result<SqliteWrite<'_>> {
        let linked = lock(&self.writer);
        linked
            .connection
            .execute_batch("BEGIN IMMEDIATE")
            .map_err(while_doing("beginning to write"))
            .map_err(|error| self.note(error))?;
        let begun = view::read_counter(&linked.connection).and_then(|(head, version)| {
            let schema = self.schema_of(&linked.connection, version)?;
            Ok((head, schema))
        });
        match begun {
            Ok((head, schema)) => Ok(SqliteWrite::new(self, linked, schema, head, now)),
            Err(error) => {
                // The error that is being told is the cause; this only frees the lock.
                let _rolled_back = linked.connection.execute_batch("ROLLBACK");
                Err(error)
            }
        }
    }
}

impl Store for SqliteStore {
    fn begin_read(&self) -> Result<Box<dyn ReadTx + '_>> {
        Ok(Box::new(self.read()?))
    }
    fn begin_write(&self, now: Timestamp) -> Result<Box<dyn WriteTx + '_>> {
        Ok(Box::new(self.write(now)?))
    }
}

impl DocumentStore for SqliteStore {
    fn read_documents(&self) -> Result<Box<dyn DocumentRead + '_>> {
        Ok(Box::new(self.read()?))
    }
    fn write_documents(&self, now: Timestamp) -> Result<Box<dyn DocumentWrite + '_>> {
        Ok(Box::new(self.write(now)?))
    }
}

/// A snapshot of a service on a connection of its own, with a target attached.
#[derive(Debug)]
pub struct ServiceSnapshot {
    connection: Connection,
    deadline: Deadline,
    head: Head,
    schema: Arc<Schema>,
    limit: Duration,
}

impl ServiceSnapshot {
    /// The connection, in a transaction: tables of the service in `main`, the target in `target`.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }
    fn view(&self) -> View<'_> {
        View {
            connection: &self.connection,
            deadline: &self.deadline,
            schema: &self.schema,
            head: self.head,
            limit: self.limit,
            memory: None,
        }
    }
    /// Where the history stands in the snapshot.
    pub fn head(&self) -> Head {
        self.head
    }
    /// The definition in the snapshot.
    pub fn service(&self) -> &Service {
        &self.schema.service
    }
    /// Ends the transaction and closes the target.
    ///
    /// # Errors
    /// The database's: the target is not complete then.
    pub fn finish(self) -> Result<()> {
        self.connection
            .execute_batch("COMMIT; DETACH DATABASE target")
            .map_err(while_doing("ending an export"))
    }
}

fn in_transaction(
    connection: &Connection,
    work: impl FnOnce(&Connection) -> Result<()>,
) -> Result<()> {
    let failed = while_doing("preparing a service file");
    connection
        .execute_batch("BEGIN IMMEDIATE")
        .map_err(&failed)?;
    let done = work(connection);
    let end = if done.is_ok() { "COMMIT" } else { "ROLLBACK" };
    let ended = connection.execute_batch(end).map_err(&failed);
    done.and(ended)
}

fn fill(connection: &Connection, service: &Service) -> Result<()> {
    in_transaction(connection, |connection| {
        let failed = while_doing("creating a service file");
        core::create(connection).map_err(&failed)?;
        migrate::run(connection)?;
        summary::ensure_notes(connection)?;
        let history = HistoryId(Uuid::new_v4()).to_string();
        connection
            .execute(
                "INSERT INTO haversack_counter VALUES (1, ?1, 0, 0, 0, 0, ?2)",
                params![history, service.schema_version],
            )
            .map_err(&failed)?;
        connection
            .execute(
                "INSERT INTO haversack_histories VALUES (?1, NULL, 0, 0, 0)",
                [history],
            )
            .map_err(&failed)?;
        core::register_srs(connection, service.srid).map_err(&failed)?;
        for layer in Schema::new(service.clone()).layers() {
            alter::create_collection(connection, &layer.collection)?;
        }
        alter::store(connection, service)
    })
}

fn load_schema(connection: &Connection, version: u32) -> Result<Arc<Schema>> {
    let text: String = connection
        .query_row(
            "SELECT definition FROM haversack_service WHERE id = 1",
            [],
            |row| row.get(0),
        )
        .map_err(while_doing("reading the definition of a service"))?;
    let service: Service = books::from_json("the definition of the service", &text)?;
    if service.schema_version != version {
        return Err(corrupt(
            "the definition of the service has another version than the counter",
        ));
    }
    Ok(Arc::new(Schema::new(service)))
}
