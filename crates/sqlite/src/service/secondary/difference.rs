//! What a merge of the stage would change: what `pull --dry-run` and `compare` tell. Changes nothing.

use haversack_model::Result;
use haversack_sync::reconcile::Base;
use rusqlite::params;
use serde::{Deserialize, Serialize};

use super::{SqliteSecondary, place};
use crate::error::while_doing;

/// A document that a merge would change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// Its key.
    pub key: String,
    /// What would become of it.
    pub change: Change,
}

/// What a merge would do to a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// It is not here.
    Insert,
    /// It is another one here.
    Replace,
    /// The primary does not have it.
    Remove,
}

impl SqliteSecondary<'_> {
    /// What the stage would change, by key, at most so many of them. Equal documents are no difference, whatever their generations.
    ///
    /// # Errors
    /// The database's.
    pub fn differences(&self, most: usize) -> Result<Vec<Difference>> {
        self.flush()?;
        let doing = "reading what would change";
        self.reading(|view| {
            let layer = view.layer(self.id)?;
            let kept = self.upstream(view)?.base == Base::Kept;
            let sql = format!(
                "SELECT s.global_id, CASE WHEN s.kind IN (1, 2) THEN 2 WHEN t.{key} IS NULL THEN 0 ELSE 1 END \
                 FROM haversack_stage s LEFT JOIN {table} t ON t.{key} = s.global_id \
                 WHERE s.collection = ?1 AND s.kind <> 3 AND NOT (s.kind IN (1, 2) AND t.{key} IS NULL) \
                 AND NOT (s.kind = 0 AND t.document IS s.body) \
                 UNION ALL SELECT k.global_id, 2 FROM haversack_track k WHERE k.collection = ?1 \
                 AND k.deleted = 0 AND (NOT ?2 OR k.up_generation IS NULL) AND NOT EXISTS \
                 (SELECT 1 FROM haversack_stage s WHERE s.collection = ?1 AND s.global_id = k.global_id) \
                 ORDER BY 1 LIMIT ?3",
                key = layer.key_column,
                table = layer.table,
            );
            let mut statement = view.prepare(&sql, doing)?;
            let rows = statement
                .query_map(params![self.id.0, kept, place(most as u64)], |row| {
                    let change = match row.get::<_, i64>(1)? {
                        0 => Change::Insert,
                        1 => Change::Replace,
                        _ => Change::Remove,
                    };
                    Ok(Difference {
                        key: row.get(0)?,
                        change,
                    })
                })
                .map_err(while_doing(doing))?;
            rows.collect::<rusqlite::Result<_>>()
                .map_err(while_doing(doing))
        })
    }
}
