//! Small things that faces keep over restarts, in the server's own database.

use haversack_model::host::Kept;
use rusqlite::params;

use crate::Server;
use crate::db::Db;
use crate::error::{Result, while_doing};
use crate::state::model_error;

/// What their keys begin with.
const KEPT: &str = "kept ";

/// What faces keep.
#[derive(Debug)]
pub(crate) struct Notes {
    db: Db,
}

impl Notes {
    pub(crate) fn new(db: Db) -> Self {
        Self { db }
    }

    fn change(&self, sql: &str, key: &str, value: Option<&[u8]>) -> Result<()> {
        let key = format!("{KEPT}{key}");
        let failed = while_doing("keeping something of a face");
        let connection = self.db.lock();
        let done = match value {
            Some(value) => connection.execute(sql, params![key, value]),
            None => connection.execute(sql, params![key]),
        };
        done.map(|_count| ()).map_err(failed)
    }

    fn all(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>> {
        let doing = "reading what a face keeps";
        let begin = format!("{KEPT}{prefix}");
        let connection = self.db.lock();
        let mut statement = connection
            .prepare("SELECT substr(key, ?2), value FROM meta WHERE substr(key, 1, length(?1)) = ?1 ORDER BY key")
            .map_err(while_doing(doing))?;
        let rows = statement
            .query_map(params![begin, KEPT.len() as i64 + 1], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .map_err(while_doing(doing))?;
        rows.collect::<rusqlite::Result<_>>()
            .map_err(while_doing(doing))
    }
}

impl Kept for Server {
    fn keep(&self, key: &str, value: &[u8]) -> haversack_model::Result<()> {
        let sql = "INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)";
        self.notes
            .change(sql, key, Some(value))
            .map_err(model_error)
    }
    fn forget(&self, key: &str) -> haversack_model::Result<()> {
        self.notes
            .change("DELETE FROM meta WHERE key = ?1", key, None)
            .map_err(model_error)
    }
    fn kept(&self, prefix: &str) -> haversack_model::Result<Vec<(String, Vec<u8>)>> {
        self.notes.all(prefix).map_err(model_error)
    }
}
