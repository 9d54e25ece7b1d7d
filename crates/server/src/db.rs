//! The database `haversack.db` of a data directory: users, grants, tokens, jobs and files.
//!
//! What must commit together with records is not here but in the service's own file.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OptionalExtension, params};

use crate::error::{Error, Result, while_doing};

const MIGRATIONS: &[&str] = &[
    include_str!("migrations/0001_initial.sql"),
    include_str!("migrations/0002_course.sql"),
    include_str!("migrations/0003_collection_access.sql"),
];

/// One connection, shared: statements here are short.
#[derive(Clone, Debug)]
pub struct Db {
    connection: Arc<Mutex<Connection>>,
}

impl Db {
    /// Opens the file, creating or migrating it.
    ///
    /// # Errors
    /// [`Error::NewerFormat`] if a newer program wrote it.
    pub fn open(path: &Path) -> Result<Self> {
        let mut connection = Connection::open(path).map_err(while_doing("opening haversack.db"))?;
        connection
            .execute_batch(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 5000;
                 PRAGMA trusted_schema = OFF;",
            )
            .map_err(while_doing("preparing haversack.db"))?;
        let found: i64 = connection
            .query_row("PRAGMA user_version", [], |row| row.get(0))
            .map_err(while_doing("reading the format of haversack.db"))?;
        let known = MIGRATIONS.len() as i64;
        if found > known {
            return Err(Error::NewerFormat {
                path: path.to_owned(),
                found,
                known,
            });
        }
        for (at, sql) in MIGRATIONS.iter().enumerate().skip(found as usize) {
            let migrate = |connection: &mut Connection| {
                let tx = connection.transaction()?;
                tx.execute_batch(sql)?;
                tx.execute_batch(&format!("PRAGMA user_version = {}", at + 1))?;
                tx.commit()
            };
            migrate(&mut connection).map_err(while_doing("migrating haversack.db"))?;
        }
        Ok(Self {
            connection: Arc::new(Mutex::new(connection)),
        })
    }

    /// The connection, for one short piece of work.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Connection> {
        // A panic while the lock was held rolled its transaction back: the connection is as good as before.
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The value under a key; made and kept at the first call.
    pub(crate) fn value_or<const N: usize>(
        &self,
        key: &str,
        make: impl FnOnce() -> [u8; N],
    ) -> Result<[u8; N]> {
        let connection = self.lock();
        let kept: Option<Vec<u8>> = connection
            .query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| {
                row.get(0)
            })
            .optional()
            .map_err(while_doing("reading a key"))?;
        if let Some(kept) = kept {
            return kept
                .try_into()
                .map_err(|_other_length| Error::invalid(key, "its stored value is damaged"));
        }
        let value = make();
        connection
            .execute(
                "INSERT INTO meta (key, value) VALUES (?1, ?2)",
                params![key, value],
            )
            .map_err(while_doing("storing a key"))?;
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_made_once_and_kept_over_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("haversack.db");
        let first = Db::open(&path).unwrap().value_or("k", || [1; 16]).unwrap();
        let second = Db::open(&path).unwrap().value_or("k", || [2; 16]).unwrap();
        assert_eq!((first, second), ([1; 16], [1; 16]));
    }

    #[test]
    fn a_file_of_each_earlier_format_is_migrated_with_what_is_in_it() {
        for earlier in 1..MIGRATIONS.len() {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("haversack.db");
            let old = Connection::open(&path).unwrap();
            for sql in &MIGRATIONS[..earlier] {
                old.execute_batch(sql).unwrap();
            }
            old.execute_batch(&format!(
                "INSERT INTO access VALUES ('ada', 'Parks', 'read', '[]'); PRAGMA user_version = {earlier}"
            ))
            .unwrap();
            drop(old);
            let db = Db::open(&path).unwrap();
            let count = |table: &str| -> i64 {
                let sql = format!("SELECT count(*) FROM {table}");
                db.lock().query_row(&sql, [], |row| row.get(0)).unwrap()
            };
            assert_eq!(count("access"), 1, "from {earlier}");
            assert_eq!(count("course"), 0, "from {earlier}");
            assert_eq!(count("collection_access"), 0, "from {earlier}");
        }
    }

    #[test]
    fn a_newer_format_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("haversack.db");
        let db = Db::open(&path).unwrap();
        db.lock().execute_batch("PRAGMA user_version = 99").unwrap();
        drop(db);
        assert!(matches!(
            Db::open(&path),
            Err(Error::NewerFormat { found: 99, .. })
        ));
    }
}
