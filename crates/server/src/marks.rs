//! How far each service has come, kept outside its file: so a file that was put back from a backup is noticed at the start,
//! and a new history begins before any replica could take what follows for what it saw before.
//!
//! A mark lags behind its service, never ahead of it. When the whole data directory was put back, marks tell nothing: then
//! the cursor of the first replica that is ahead does (`native::sync`).

use std::sync::Arc;

use rusqlite::{OptionalExtension, params};

use haversack_model::{Cursor, HistoryId, Store};

use crate::db::Db;
use crate::error::{Result, while_doing};
use crate::services::Services;
use crate::{clock, secret};

/// The marks in a database.
#[derive(Clone, Debug)]
pub(crate) struct Marks {
    db: Db,
}

impl Marks {
    pub(crate) fn new(db: Db) -> Self {
        Self { db }
    }

    /// Begins a new history in every service that is behind its mark.
    pub(crate) fn check(&self, services: &Services) -> Result<()> {
        for (name, store) in stores(services) {
            let (Some(mark), now) = (self.load(&name)?, head_of(store.as_ref())?) else {
                continue;
            };
            if mark.history != now.history || mark.generation <= now.generation {
                continue;
            }
            let mut tx = store.begin_write(clock::now())?;
            tx.start_history(HistoryId(secret::random_uuid()))?;
            let head = tx.commit()?;
            tracing::warn!(service = name, had = %mark.generation, found = %now.generation, history = %head.history, "the file is older than it was: a new history begins");
        }
        self.set(services)
    }

    /// Remembers how far the services are.
    pub(crate) fn set(&self, services: &Services) -> Result<()> {
        for (name, store) in stores(services) {
            let now = head_of(store.as_ref())?;
            if self.load(&name)? == Some(now) {
                continue;
            }
            let text = serde_json::to_vec(&now).expect("an id and a number are JSON");
            self.db
                .lock()
                .execute(
                    "INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)",
                    params![key(&name), text],
                )
                .map_err(while_doing("storing a mark"))?;
        }
        Ok(())
    }

    fn load(&self, name: &str) -> Result<Option<Cursor>> {
        let text: Option<Vec<u8>> = self
            .db
            .lock()
            .query_row(
                "SELECT value FROM meta WHERE key = ?1",
                [key(name)],
                |row| row.get(0),
            )
            .optional()
            .map_err(while_doing("reading a mark"))?;
        // One that cannot be read is as good as none.
        Ok(text.and_then(|text| serde_json::from_slice(&text).ok()))
    }
}

fn key(service: &str) -> String {
    format!("mark of {service}")
}

fn stores(services: &Services) -> Vec<(String, Arc<dyn Store>)> {
    let names = services.names().into_iter();
    names
        .filter_map(|name| {
            let store = services.store(&name)?;
            Some((name, store as Arc<dyn Store>))
        })
        .collect()
}

fn head_of(store: &dyn Store) -> Result<Cursor> {
    let head = store.begin_read()?.head()?;
    Ok(Cursor::bare(head.history, head.generation))
}
