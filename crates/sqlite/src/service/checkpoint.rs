//! Moves the log of a service file into the file, aside from the commits that fill it.
//!
//! A commit is durable when the log is. Moving pages from the log to their places, all over the file, takes longer than
//! the commit itself; SQLite would do it inside the commit that finds the log long enough. Here a thread does it, with
//! a connection of its own, while the answer is on its way and the next change is under work.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rusqlite::{Connection, OpenFlags};

/// Pages of the log that are worth a checkpoint: as many as SQLite itself takes.
const WORTH: i64 = 1000;
/// Pages of the log at which a commit waits for its checkpoint after all: 64 MB.
pub(super) const MOST: i64 = 16_384;

/// The checkpoints of one file.
#[derive(Debug)]
pub(super) struct Checkpoints {
    path: PathBuf,
    is_busy: Arc<AtomicBool>,
    last: Mutex<Option<JoinHandle<()>>>,
}

impl Checkpoints {
    pub(super) fn of(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            is_busy: Arc::default(),
            last: Mutex::default(),
        }
    }

    /// The connection has committed: begins a checkpoint if the log is long and none is under way.
    pub(super) fn committed(&self, connection: &Connection) {
        let lengths = connection.query_row("PRAGMA wal_checkpoint(NOOP)", [], |row| {
            Ok((row.get::<_, i64>(1)?, row.get::<_, i64>(2)?))
        });
        // Without an answer the commits themselves keep the log short, as SQLite does by default.
        let waiting = lengths.map_or(0, |(all, done)| all - done);
        if waiting < WORTH || self.is_busy.swap(true, Ordering::AcqRel) {
            return;
        }
        let (path, is_busy) = (self.path.clone(), Arc::clone(&self.is_busy));
        let begun = std::thread::Builder::new()
            .name("checkpoint".to_owned())
            .spawn(move || {
                if let Err(error) = checkpoint(&path) {
                    tracing::warn!(%error, "a log could not be moved into its file, the next commit tries again");
                }
                is_busy.store(false, Ordering::Release);
            });
        match begun {
            Ok(thread) => *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread),
            Err(error) => {
                tracing::warn!(%error, "there is no thread for a checkpoint");
                self.is_busy.store(false, Ordering::Release);
            }
        }
    }
}

impl Drop for Checkpoints {
    fn drop(&mut self) {
        let last = self.last.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = last.take() {
            // A panic there was told when it happened; the file is as whole as before.
            let _ended = thread.join();
        }
    }
}

/// Takes what no reader needs any more; waits for nobody.
fn checkpoint(path: &Path) -> rusqlite::Result<()> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_row| Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(connection: &Connection) -> (i64, i64) {
        connection
            .query_row("PRAGMA wal_checkpoint(NOOP)", [], |row| {
                Ok((row.get(1)?, row.get(2)?))
            })
            .unwrap()
    }

    #[test]
    fn a_long_log_is_moved_into_the_file_by_another_thread() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.db");
        let connection = Connection::open(&path).unwrap();
        connection
            .execute_batch(
                "PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; CREATE TABLE t (x)",
            )
            .unwrap();
        let checkpoints = Checkpoints::of(&path);
        connection
            .execute("INSERT INTO t VALUES (zeroblob(1000000))", [])
            .unwrap();
        checkpoints.committed(&connection);
        let (short, _) = lengths(&connection);
        assert!(short < WORTH && checkpoints.last.lock().unwrap().is_none());
        connection
            .execute("INSERT INTO t VALUES (zeroblob(10000000))", [])
            .unwrap();
        checkpoints.committed(&connection);
        drop(checkpoints);
        let (all, done) = lengths(&connection);
        assert!(all > WORTH);
        assert_eq!(done, all);
    }
}
