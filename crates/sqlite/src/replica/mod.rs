//! Replica files: a checked-out part of a service as a GeoPackage that any program can edit.
//!
//! Layers are ordinary tables. `haversack_*` tables beside them say where the file came from, which version of each row
//! the server confirmed, and what was edited since; triggers in plain SQL keep that in the same transaction as the edit.
//! No secrets are in the file. `docs/replica-files.md` describes it for people.
//!
//! Called by the client's side of the sync core through [`LocalReplica`], by the command line for status and diff, and
//! by the server to prepare a file for checkout ([`prepare_replica`]).

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use haversack_model::local::{LocalReplica, ReplicaHeader};
use haversack_model::{Collection, CollectionId, Error, ReplicaTx, Result};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

mod attachments;
mod batches;
mod check;
mod conflicts;
mod fault;
mod header;
mod json;
mod layer;
mod migrate;
mod notes;
mod outbox;
mod prepare;
mod prune;
mod rebuild;
mod recent;
mod repair;
mod row;
mod shape;
mod status;
mod tables;
mod triggers;
mod tx;

pub use check::{Problem, in_words};
use fault::Doing;
use layer::Layer;
pub use prepare::{Checkout, PrepareProgress, Prepared, Sealer, prepare_replica};
pub use prune::Pruned;
pub use repair::{Repaired, ServerRows, TakeRow};
pub use status::{LayerStatus, Status, Troubled, VisitEdit};

use crate::reserve::Reserve;

/// How long a transaction waits for another program's lock before it gives up.
const PATIENCE: Duration = Duration::from_mins(1);

/// How to make a replica file.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Whether layers get a spatial index. Programs without spatial functions cannot insert rows or change
    /// geometries in a layer with one.
    pub spatial_index: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            spatial_index: true,
        }
    }
}

/// A replica file.
pub struct ReplicaFile {
    path: PathBuf,
    conn: Connection,
    known: Known,
}

/// What is kept in memory of a file: its layers as last read with the version of the database's shape at that time, and
/// the batches that were frozen last.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    layers: Vec<Layer>,
    schema_version: i64,
    texts: batches::Texts,
}

impl Known {
    /// Reads the layers again if another program changed the shape of the file.
    fn refresh(&mut self, conn: &Connection) -> Result<()> {
        let version = schema_version(conn)?;
        if version != self.schema_version || self.layers.is_empty() {
            self.layers = tables::load_layers(conn)?;
            self.schema_version = version;
        }
        Ok(())
    }
}

/// Grows with every change of the file's tables and triggers, by any program.
fn schema_version(conn: &Connection) -> Result<i64> {
    conn.query_row("PRAGMA schema_version", [], |row| row.get(0))
        .doing("reading the version of the file's shape")
}

impl fmt::Debug for ReplicaFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplicaFile")
            .field("path", &self.path)
            .field("layers", &self.known.layers.len())
            .finish_non_exhaustive()
    }
}

impl ReplicaFile {
    /// Makes a new file with empty layers, ready for edits and for [`LocalReplica::begin`]. It appears under its name
    /// only when it is complete. Hidden attachment collections are made only if they are among `collections`.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there is a file of this name already.
    pub fn create(
        path: &Path,
        collections: &[Collection],
        header: &ReplicaHeader,
        options: Options,
    ) -> Result<Self> {
        if path.exists() {
            return Err(Error::Invalid {
                what: path.display().to_string(),
                problem: "there is a file of this name already".to_owned(),
            });
        }
        let scratch = scratch_path(path);
        remove_file(&scratch)?;
        let mut conn = connect(
            &scratch,
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
        )?;
        let doing = "creating a replica file";
        let tx = conn.transaction().doing(doing)?;
        let layers = tables::create(&tx, collections, header, options.spatial_index)?;
        for layer in &layers {
            tables::start_capture(&tx, layer)?;
        }
        tx.commit().doing(doing)?;
        conn.close()
            .map_err(|(_conn, source)| fault::fault(doing, source))?;
        publish(&scratch, path)?;
        Self::open(path)
    }

    /// Opens a file. A journal that an editor or a crash left behind is recovered; an older layout is brought up to date.
    ///
    /// What is wrong with it does not fail here: see [`Self::problems`].
    ///
    /// # Errors
    /// [`Error::Invalid`] if it is not a replica file.
    pub fn open(path: &Path) -> Result<Self> {
        let not_a_replica = |problem: &str| Error::Invalid {
            what: path.display().to_string(),
            problem: problem.to_owned(),
        };
        if path.is_dir() {
            return Err(not_a_replica("this is a folder, not a replica file"));
        }
        if !path.is_file() {
            return Err(not_a_replica("there is no such file"));
        }
        let mut conn = match connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE) {
            Err(Error::Corrupt(_)) => {
                return Err(not_a_replica(
                    "this is not a replica file, nor any GeoPackage: it cannot be read as one",
                ));
            }
            other => other?,
        };
        let is_replica = ["haversack_header", "haversack_layers", "haversack_outbox"]
            .iter()
            .all(|table| crate::gpkg::core::has_table(&conn, table).unwrap_or(false));
        if !is_replica {
            return Err(not_a_replica(
                "this is not a replica file; `haversack checkout` makes one",
            ));
        }
        header::load(&conn)?;
        migrate::run(&mut conn)?;
        let mut known = Known::default();
        known.refresh(&conn)?;
        Ok(Self {
            path: path.to_owned(),
            conn,
            known,
        })
    }

    /// Makes a file durable that was made and filled under another name, and gives it its name.
    ///
    /// # Errors
    /// [`Error::DiskFull`]; it stays under its first name then.
    pub fn publish(self, target: &Path) -> Result<()> {
        let Self { path, conn, .. } = self;
        conn.close()
            .map_err(|(_conn, source)| fault::fault("finishing a replica file", source))?;
        publish(&path, target)
    }

    /// Keeps some space of the disk beside the file, to send its edits home from a disk that is full.
    pub fn keep_reserve(&self) {
        Reserve::like(&self.path).fill();
    }
    /// Gives that space back to a full disk; `false` if there was none.
    pub fn give_up_reserve(&self) -> bool {
        Reserve::like(&self.path).release()
    }
    /// Does without it from now on.
    pub fn remove_reserve(&self) {
        Reserve::like(&self.path).remove();
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
    /// The header.
    pub fn header(&self) -> Result<ReplicaHeader> {
        header::load(&self.conn)
    }
    /// Definitions of the collections in the file, attachment collections included.
    pub fn collections(&self) -> Vec<Collection> {
        self.known
            .layers
            .iter()
            .map(|l| l.collection.clone())
            .collect()
    }
    /// Name of the table in which people edit a collection.
    pub fn table(&self, collection: CollectionId) -> Option<&str> {
        let layer = self.known.layers.iter().find(|l| l.id() == collection)?;
        Some(&layer.table)
    }
    /// Why edits may have been missed; empty if nothing is wrong. [`LocalReplica::begin`] refuses a file with problems.
    pub fn problems(&self) -> Result<Vec<Problem>> {
        check::problems(&self.conn, &self.known.layers)
    }
    /// Reads in one transaction: one moment of the file, also while another program has edits open.
    ///
    /// # Errors
    /// [`Error::Invalid`] if edits may have been missed, as [`LocalReplica::begin`].
    pub fn read<T>(&mut self, read: impl FnOnce(&dyn ReplicaTx) -> Result<T>) -> Result<T> {
        read(&tx::Tx::begin_reading(&self.conn, &mut self.known)?)
    }
    /// Whether another program is writing at this moment, so that a sync would have to wait.
    pub fn is_locked(&mut self) -> Result<bool> {
        self.set_patience(Duration::ZERO)?;
        let tried = self.conn.execute_batch("BEGIN IMMEDIATE; ROLLBACK");
        self.set_patience(PATIENCE)?;
        match tried {
            Ok(()) => Ok(false),
            Err(why) if fault::is_busy(&why) => Ok(true),
            Err(why) => Err(fault::fault("looking for locks", why)),
        }
    }
    /// How long to wait for another program's lock (60 s unless told).
    pub fn set_patience(&mut self, patience: Duration) -> Result<()> {
        self.conn
            .busy_timeout(patience)
            .doing("setting the patience")
    }

    /// How much of the file is kept in memory at most, in KiB (16,000 unless told). The rest is read again, mostly from the system's cache.
    pub fn set_cache(&self, kib: u32) -> Result<()> {
        self.conn
            .pragma_update(None, "cache_size", -i64::from(kib))
            .doing("setting the size of the cache")
    }

    fn layer(&self, id: CollectionId) -> Result<&Layer> {
        find(&self.known.layers, id)
    }
}

impl LocalReplica for ReplicaFile {
    fn begin(&mut self) -> Result<Box<dyn ReplicaTx + '_>> {
        Ok(Box::new(tx::Tx::begin(&self.conn, &mut self.known)?))
    }
}

/// The layer of a collection.
fn find(layers: &[Layer], id: CollectionId) -> Result<&Layer> {
    layers
        .iter()
        .find(|layer| layer.id() == id)
        .ok_or(Error::NoCollection(id))
}

/// A connection with our functions, which waits for other programs.
fn connect(path: &Path, flags: OpenFlags) -> Result<Connection> {
    let doing = "opening the replica file";
    let conn =
        Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX).doing(doing)?;
    // SQLite's own handler backs off in growing steps of up to 100 ms.
    conn.busy_timeout(PATIENCE).doing(doing)?;
    conn.set_prepared_statement_cache_capacity(128);
    // Without it every binding of some statements compiles them again.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)
        .doing(doing)?;
    crate::gpkg::functions::register(&conn).doing(doing)?;
    conn.execute_batch(
        "PRAGMA synchronous = FULL; PRAGMA foreign_keys = OFF; PRAGMA cache_size = -16000;",
    )
    .doing(doing)?;
    Ok(conn)
}

/// The name under which a file is built.
fn scratch_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    PathBuf::from(name)
}

fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(why) if why.kind() != std::io::ErrorKind::NotFound => {
            Err(io_fault("removing an unfinished file", why))
        }
        _ => Ok(()),
    }
}

/// Makes a finished file durable and gives it its name.
fn publish(scratch: &Path, path: &Path) -> Result<()> {
    let doing = "finishing a replica file";
    fs::File::options()
        .write(true)
        .open(scratch)
        .and_then(|file| file.sync_all())
        .map_err(|why| io_fault(doing, why))?;
    fs::rename(scratch, path).map_err(|why| io_fault(doing, why))?;
    if let Some(folder) = path.parent().filter(|p| !p.as_os_str().is_empty())
        && let Ok(folder) = fs::File::open(folder)
    {
        // Not every file system can sync a folder; the rename itself has been done.
        let _best_effort = folder.sync_all();
    }
    Ok(())
}

fn io_fault(doing: &'static str, why: std::io::Error) -> Error {
    if why.kind() == std::io::ErrorKind::StorageFull {
        Error::DiskFull
    } else {
        Error::Store {
            doing,
            source: Box::new(why),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_keeps_no_more_in_memory_than_it_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("copy.gpkg");
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
        let conn = connect(&path, flags).expect("a connection");
        let known = Known::default();
        let file = ReplicaFile { path, conn, known };
        file.set_cache(4000).expect("a smaller cache");
        let kept = file
            .conn
            .query_row("PRAGMA cache_size", [], |row| row.get::<_, i64>(0));
        assert_eq!(kept.expect("its size"), -4000);
    }
}
