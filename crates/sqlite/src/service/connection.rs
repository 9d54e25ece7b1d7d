//! Connections of a service file, how they are set up, and the time limit of their queries.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use haversack_model::Result;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::checkpoint;
use crate::error::while_doing;
use crate::gpkg::functions;

/// How long a writer waits for another program that holds the file.
const BUSY: Duration = Duration::from_secs(10);
/// Statements kept prepared per connection.
const STATEMENTS: usize = 200;
/// Page cache of a connection that reads, in KiB (negative, as SQLite wants it). There are many, and the system caches pages, too.
const READ_CACHE: i64 = -2_000;
/// Page cache of the connection that writes, in KiB.
pub(super) const USUAL_CACHE_KIB: i64 = 32_000;
/// Virtual machine steps between two looks at the clock.
const STEPS: i32 = 20_000;

/// A time after which the statements of a connection are stopped.
#[derive(Clone, Debug)]
pub(super) struct Deadline {
    start: Instant,
    /// Microseconds after `start`; zero means none.
    at: Arc<AtomicU64>,
}

impl Deadline {
    fn new() -> Self {
        Self {
            start: Instant::now(),
            at: Arc::default(),
        }
    }
    fn now(&self) -> u64 {
        self.start.elapsed().as_micros() as u64
    }
    fn has_passed(&self) -> bool {
        let at = self.at.load(Ordering::Relaxed);
        at != 0 && self.now() >= at
    }
    /// Starts the clock; dropping the guard stops it.
    pub(super) fn arm(&self, limit: Duration) -> Armed<'_> {
        let at = self.now() + (limit.as_micros() as u64).max(1);
        let before = self.at.swap(at, Ordering::Relaxed);
        Armed {
            deadline: self,
            before,
        }
    }
}

/// A running time limit.
pub(super) struct Armed<'a> {
    deadline: &'a Deadline,
    before: u64,
}

impl Armed<'_> {
    /// Does something that does not count: the visitor's work, which may wait for a slow client.
    pub(super) fn paused<T>(&self, work: impl FnOnce() -> T) -> T {
        let at = self.deadline.at.swap(0, Ordering::Relaxed);
        let began = self.deadline.now();
        let done = work();
        let at = at + (self.deadline.now() - began);
        self.deadline.at.store(at, Ordering::Relaxed);
        done
    }
}

impl Drop for Armed<'_> {
    fn drop(&mut self) {
        self.deadline.at.store(self.before, Ordering::Relaxed);
    }
}

/// A connection with our functions and a time limit.
#[derive(Debug)]
pub(super) struct Linked {
    pub(super) connection: Connection,
    pub(super) deadline: Deadline,
}

fn link(path: &Path, flags: OpenFlags) -> rusqlite::Result<Linked> {
    // Names of files are paths, unless they begin with `file:`, as those of attached ones may.
    let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let mut connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    // Without it every binding of some statements compiles them again (measured: most of the time of an upload).
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    functions::register(&connection)?;
    let deadline = Deadline::new();
    let watched = deadline.clone();
    connection.progress_handler(STEPS, Some(move || watched.has_passed()))?;
    Ok(Linked {
        connection,
        deadline,
    })
}

/// The one connection that writes. Triggers do not run on it: it keeps R-trees and tracking itself.
pub(super) fn writer(path: &Path, create: bool) -> Result<Linked> {
    let failed = while_doing("opening a service file for writing");
    let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE;
    if create {
        flags |= OpenFlags::SQLITE_OPEN_CREATE;
    }
    let linked = link(path, flags).map_err(&failed)?;
    let connection = &linked.connection;
    connection
        .pragma_update(None, "journal_mode", "WAL")
        .and_then(|()| connection.pragma_update(None, "synchronous", "FULL"))
        .and_then(|()| connection.pragma_update(None, "cache_size", -USUAL_CACHE_KIB))
        .and_then(|()| connection.pragma_update(None, "wal_autocheckpoint", checkpoint::MOST))
        .and_then(|()| connection.pragma_update(None, "journal_size_limit", 64 << 20))
        .and_then(|()| connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false))
        .map_err(&failed)?;
    Ok(linked)
}

/// A connection that reads.
pub(super) fn reader(path: &Path) -> Result<Linked> {
    let failed = while_doing("opening a service file for reading");
    let linked = link(path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(&failed)?;
    linked
        .connection
        .pragma_update(None, "cache_size", READ_CACHE)
        .map_err(&failed)?;
    Ok(linked)
}

/// A connection that reads the service and may attach a file to write to.
pub(super) fn exporter(path: &Path) -> Result<Linked> {
    link(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
    )
    .map_err(while_doing("opening a service file for an export"))
}
