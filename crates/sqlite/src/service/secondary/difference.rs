//! What a merge of the stage would change: what `pull --dry-run` and `compare` tell. Changes nothing.

use haversack_model::{CollectionId, Result};
use haversack_sync::reconcile::Base;
use rusqlite::params;

pub use haversack_model::documents::{Difference, WouldBe as Change};

use super::super::view::View;
use super::{SqliteSecondary, place};
use crate::error::while_doing;

/// What becomes of documents that are not staged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::service) enum Unstaged {
    /// They stay.
    Stay,
    /// Those without a generation of the primary go.
    GoUnnumbered,
    /// They go.
    Go,
}

impl SqliteSecondary<'_> {
    /// What the stage would change, by key, at most so many of them. Equal documents are no difference, whatever their generations.
    ///
    /// # Errors
    /// The database's.
    pub fn differences(&self, most: usize) -> Result<Vec<Difference>> {
        self.flush()?;
        self.reading(|view| {
            let unstaged = if self.upstream(view)?.base == Base::Kept {
                Unstaged::GoUnnumbered
            } else {
                Unstaged::Go
            };
            view.staged_differences(self.id, unstaged, most)
        })
    }
}

impl View<'_> {
    /// What the stage would change.
    pub(in crate::service) fn staged_differences(
        &self,
        id: CollectionId,
        unstaged: Unstaged,
        most: usize,
    ) -> Result<Vec<Difference>> {
        let doing = "reading what would change";
        let layer = self.layer(id)?;
        let sql = format!(
            "SELECT s.global_id, CASE WHEN s.kind IN (1, 2) THEN 2 WHEN t.{key} IS NULL THEN 0 ELSE 1 END \
             FROM haversack_stage s LEFT JOIN {table} t ON t.{key} = s.global_id \
             WHERE s.collection = ?1 AND s.kind <> 3 AND NOT (s.kind IN (1, 2) AND t.{key} IS NULL) \
             AND NOT (s.kind = 0 AND t.document IS s.body) \
             UNION ALL SELECT k.global_id, 2 FROM haversack_track k WHERE k.collection = ?1 \
             AND k.deleted = 0 AND (?2 OR (?4 AND k.up_generation IS NULL)) AND NOT EXISTS \
             (SELECT 1 FROM haversack_stage s WHERE s.collection = ?1 AND s.global_id = k.global_id) \
             ORDER BY 1 LIMIT ?3",
            key = layer.key_column,
            table = layer.table,
        );
        let mut statement = self.prepare(&sql, doing)?;
        let (all, unnumbered) = (unstaged == Unstaged::Go, unstaged == Unstaged::GoUnnumbered);
        let rows = statement
            .query_map(params![id.0, all, place(most as u64), unnumbered], |row| {
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
    }
}
