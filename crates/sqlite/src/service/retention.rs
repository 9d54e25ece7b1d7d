//! How far history is kept, and new histories.

use haversack_model::store::Head;
use haversack_model::{Generation, HistoryId, Result, Timestamp};
use rusqlite::{OptionalExtension, params};

use super::view::View;
use crate::error::{corrupt, while_doing};

/// A new history starts at the next multiple of this.
const JUMP: u64 = 1 << 40;
/// How long a blob may wait for the attachment that names it: seven days.
const UNNAMED_MS: i64 = 7 * 86_400_000;
/// Integers up to here survive clients that read numbers as doubles.
const LARGEST: u64 = 1 << 53;

impl View<'_> {
    /// How far history may go when it is not needed up to `upto`: never past a replica's cursor or a pin.
    pub(super) fn floor_for(&self, upto: Generation, now: Timestamp) -> Result<Generation> {
        let doing = "pruning history";
        let failed = while_doing(doing);
        let pinned = self
            .replicas()?
            .iter()
            .filter(|replica| !replica.is_dormant)
            .flat_map(|replica| replica.layers.iter().map(|layer| layer.cursor))
            .min();
        self.prepare("DELETE FROM haversack_pins WHERE expires_at <= ?1", doing)?
            .execute([now.0])
            .map_err(&failed)?;
        let read_on = self.pins()?.iter().map(|pin| pin.generation).min();
        let floor = upto
            .min(self.head.generation)
            .min(pinned.unwrap_or(upto))
            .min(read_on.unwrap_or(upto))
            .max(self.head.floor);
        Ok(floor)
    }

    /// Removes tombstones and versions at or below the new floor.
    pub(super) fn prune(&self, floor: Generation, now: Timestamp) -> Result<()> {
        let doing = "pruning history";
        let failed = while_doing(doing);
        for layer in self.schema.layers() {
            self.prepare(
                &format!(
                    "DELETE FROM {} WHERE haversack_until BETWEEN 1 AND ?1",
                    layer.history
                ),
                doing,
            )?
            .execute([floor.0 as i64])
            .map_err(&failed)?;
            self.prepare(
                "DELETE FROM haversack_track WHERE collection = ?1 AND deleted = 1 AND generation <= ?2 \
                 AND up_generation IS NULL",
                doing,
            )?
            .execute(params![layer.collection.id.0, floor.0 as i64])
            .map_err(&failed)?;
        }
        self.prune_blobs(now)?;
        self.prepare(
            "UPDATE haversack_counter SET floor = ?1 WHERE id = 1",
            doing,
        )?
        .execute([floor.0 as i64])
        .map(|_| ())
        .map_err(&failed)
    }

    /// Removes blobs that no attachment names, now or in the retained history. Young ones stay: blobs arrive before
    /// the batch that names them.
    fn prune_blobs(&self, now: Timestamp) -> Result<()> {
        let doing = "collecting blobs";
        let mut named = Vec::new();
        for layer in self.schema.layers() {
            if layer.collection.id.attachments_of().is_some() {
                for table in [&layer.table, &layer.history] {
                    named.push(format!(
                        "SELECT lower(sha256) FROM {table} WHERE sha256 IS NOT NULL"
                    ));
                }
            }
        }
        if named.is_empty() {
            named.push("SELECT NULL WHERE 0".to_owned());
        }
        self.prepare(
            &format!(
                "DELETE FROM haversack_blobs WHERE stored_at < ?1 AND lower(hex(hash)) NOT IN ({})",
                named.join(" UNION ALL ")
            ),
            doing,
        )?
        .execute([now.0 - UNNAMED_MS])
        .map(|_| ())
        .map_err(while_doing(doing))
    }

    /// The last generation that the present history shares with another one, if that is an ancestor.
    pub(super) fn common_with(&self, history: HistoryId) -> Result<Option<Generation>> {
        let doing = "comparing histories";
        let mut at = self.head.history;
        let mut common = self.head.generation;
        while at != history {
            let parent: Option<(Option<String>, i64)> = self
                .prepare(
                    "SELECT parent, fork_generation FROM haversack_histories WHERE history = ?1",
                    doing,
                )?
                .query_row([at.to_string()], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()
                .map_err(while_doing(doing))?;
            let Some((Some(parent), fork)) = parent else {
                return Ok(None);
            };
            at = parent
                .parse()
                .map_err(|_not_an_id| corrupt(format!("history id {parent:?}")))?;
            common = common.min(Generation(fork as u64));
        }
        Ok(Some(common))
    }

    /// Begins a new history above everything that a client of the old one can have kept.
    pub(super) fn start_history(&self, id: HistoryId, now: Timestamp) -> Result<Head> {
        let doing = "starting a new history";
        let failed = while_doing(doing);
        let fork = self.head.generation;
        let first = Generation((fork.0 / JUMP + 1) * JUMP);
        if first.0 >= LARGEST {
            return Err(crate::error::invalid(
                "the history",
                "the generations are used up: make a new service",
            ));
        }
        self.prepare(
            "INSERT INTO haversack_histories VALUES (?1, ?2, ?3, ?4, ?5)",
            doing,
        )?
        .execute(params![
            id.to_string(),
            self.head.history.to_string(),
            fork.0 as i64,
            first.0 as i64,
            now.0
        ])
        .map_err(&failed)?;
        self.prepare(
            "UPDATE haversack_counter SET history = ?1, generation = ?2, floor = ?2 WHERE id = 1",
            doing,
        )?
        .execute(params![id.to_string(), first.0 as i64])
        .map_err(&failed)?;
        Ok(Head {
            history: id,
            generation: first,
            floor: first,
            ..self.head
        })
    }
}
