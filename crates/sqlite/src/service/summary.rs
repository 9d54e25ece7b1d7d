//! The sums over a collection's items, kept in the transaction of every change: what makes two copies comparable.
//!
//! Side `Here` is over the generations of this service, side `Up` over those of the primary that a copy has. A change notes
//! which items come and go; sealing folds the notes, one row for each node. Edits of other programs are noted by triggers in
//! plain SQL, since SQLite has no hash, and folded by whoever writes or compares next. A summary that is missing or
//! damaged is built anew by one scan. Rule source: DESIGN 6, RECONCILIATION 3.2.

use std::collections::BTreeSet;

use haversack_model::{CollectionId, Error, Generation, GlobalId, Result};
use haversack_sync::reconcile::{
    Deltas, FpKey, Item, LEVELS, LeafBits, Node, NodeRows, SelfCheck, Sum,
};
use rusqlite::{Connection, OptionalExtension, params};

use super::schema::Layer;
use super::view::{View, each_row};
use super::write::SqliteWrite;
use crate::error::{corrupt, while_doing};

/// Whose generations a summary is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Side {
    /// This service's.
    Here = 0,
    /// Those of the primary of a copy.
    Up = 1,
}

/// How a summary is made.
#[derive(Clone, Debug)]
pub(super) struct Summary {
    pub(super) key: FpKey,
    pub(super) bits: LeafBits,
    /// Whether it must be built anew.
    pub(super) stale: bool,
}

/// A key that nobody can guess.
pub(super) fn fresh_key() -> Result<FpKey> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| Error::Store {
        doing: "drawing a key",
        source: error.to_string().into(),
    })?;
    Ok(FpKey::new(bytes))
}

/// Writes how a summary is made, in place of what was there.
pub(super) fn define(
    connection: &Connection,
    id: CollectionId,
    side: Side,
    key: &FpKey,
    bits: LeafBits,
) -> Result<()> {
    connection
        .execute(
            "INSERT OR REPLACE INTO haversack_summaries VALUES (?1, ?2, ?3, ?4, 0)",
            params![id.0, side as i64, key.as_bytes(), bits.bits()],
        )
        .map(|_| ())
        .map_err(while_doing("defining a summary"))
}

/// Name and SQL of the triggers that note edits of other programs.
const TRIGGERS: [(&str, &str); 3] = [
    (
        "haversack_note_insert",
        "CREATE TRIGGER haversack_note_insert AFTER INSERT ON haversack_track BEGIN \
         INSERT INTO haversack_unfolded SELECT s.collection, 0, NEW.global_id, NEW.generation, NEW.deleted, 1 \
         FROM haversack_summaries s WHERE s.collection = NEW.collection AND s.side = 0; \
         UPDATE haversack_upstreams SET unnumbered = 1 WHERE collection = NEW.collection; END",
    ),
    (
        "haversack_note_delete",
        "CREATE TRIGGER haversack_note_delete AFTER DELETE ON haversack_track BEGIN \
         INSERT INTO haversack_unfolded SELECT s.collection, s.side, OLD.global_id, \
         CASE s.side WHEN 0 THEN OLD.generation ELSE OLD.up_generation END, OLD.deleted, -1 \
         FROM haversack_summaries s WHERE s.collection = OLD.collection AND CASE s.side \
         WHEN 0 THEN OLD.deleted = 0 OR OLD.generation > (SELECT floor FROM haversack_counter) \
         ELSE OLD.up_generation IS NOT NULL END; END",
    ),
    (
        "haversack_note_update",
        "CREATE TRIGGER haversack_note_update AFTER UPDATE OF generation, deleted ON haversack_track \
         WHEN OLD.generation <> NEW.generation OR OLD.deleted <> NEW.deleted BEGIN \
         INSERT INTO haversack_unfolded SELECT s.collection, s.side, OLD.global_id, \
         CASE s.side WHEN 0 THEN OLD.generation ELSE OLD.up_generation END, OLD.deleted, -1 \
         FROM haversack_summaries s WHERE s.collection = OLD.collection AND CASE s.side \
         WHEN 0 THEN OLD.deleted = 0 OR OLD.generation > (SELECT floor FROM haversack_counter) \
         ELSE OLD.up_generation IS NOT NULL END; \
         INSERT INTO haversack_unfolded SELECT s.collection, 0, NEW.global_id, NEW.generation, NEW.deleted, 1 \
         FROM haversack_summaries s WHERE s.collection = NEW.collection AND s.side = 0; \
         UPDATE haversack_track SET up_generation = NULL WHERE collection = NEW.collection \
         AND object_id = NEW.object_id AND up_generation IS NOT NULL; \
         UPDATE haversack_upstreams SET unnumbered = 1 WHERE collection = NEW.collection; END",
    ),
];

/// Makes sure that edits of other programs are noted. Where they were not, no summary holds.
pub(super) fn ensure_notes(connection: &Connection) -> Result<()> {
    let failed = while_doing("creating the triggers of summaries");
    for (name, sql) in TRIGGERS {
        let present: Option<String> = connection
            .query_row(
                "SELECT sql FROM sqlite_schema WHERE type = 'trigger' AND name = ?1",
                [name],
                |row| row.get(0),
            )
            .optional()
            .map_err(&failed)?;
        if present.as_deref() != Some(sql) {
            connection
                .execute_batch(&format!(
                    "DROP TRIGGER IF EXISTS {name}; {sql}; UPDATE haversack_summaries SET stale = 1"
                ))
                .map_err(&failed)?;
        }
    }
    Ok(())
}

/// Gives the summaries of a collection up, since it was edited without notes.
pub(super) fn distrust(connection: &Connection, id: CollectionId) -> Result<()> {
    connection
        .execute(
            "UPDATE haversack_summaries SET stale = 1 WHERE collection = ?1",
            [id.0],
        )
        .map(|_| ())
        .map_err(while_doing("giving a summary up"))
}

/// The item of a record by a generation. Features stand under the text of their UUID, as their documents do.
pub(super) fn item(layer: &Layer, key: &str, generation: Generation, deleted: bool) -> Item {
    let key = if layer.collection.is_documents() {
        key
    } else {
        key.trim_matches(['{', '}'])
    };
    Item {
        global_id: GlobalId::Text(key.into()),
        generation,
        deleted,
        content: 0,
    }
}

/// The rows of a summary within a transaction.
struct Rows<'a> {
    view: View<'a>,
    id: CollectionId,
    side: Side,
}

impl NodeRows for Rows<'_> {
    fn load_node(&mut self, node: Node) -> Result<Sum> {
        self.view.node(self.id, self.side, node)
    }
    fn store_node(&mut self, node: Node, sum: Sum) -> Result<()> {
        self.view.store_sum(self.id, self.side, node, sum)
    }
}

impl View<'_> {
    /// Writes a row of a summary; one that is zero is removed.
    fn store_sum(&self, id: CollectionId, side: Side, node: Node, sum: Sum) -> Result<()> {
        let doing = "keeping a summary";
        let (level, index) = (node.level, node.index as i64);
        if sum.is_zero() {
            self
                .prepare(
                    "DELETE FROM haversack_sums WHERE collection = ?1 AND side = ?2 AND level = ?3 AND idx = ?4",
                    doing,
                )?
                .execute(params![id.0, side as i64, level, index])
        } else {
            self
                .prepare(
                    "INSERT OR REPLACE INTO haversack_sums VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                    doing,
                )?
                .execute(params![
                    id.0,
                    side as i64,
                    level,
                    index,
                    sum.count as i64,
                    sum.high as i64,
                    sum.low as i64
                ])
        }
        .map(|_| ())
        .map_err(while_doing(doing))
    }
}

/// The sum in the columns from `at` on.
fn sum_at(row: &rusqlite::Row<'_>, at: usize) -> rusqlite::Result<Sum> {
    Ok(Sum {
        count: row.get::<_, i64>(at)? as u64,
        high: row.get::<_, i64>(at + 1)? as u64,
        low: row.get::<_, i64>(at + 2)? as u64,
    })
}

impl View<'_> {
    pub(super) fn summary(&self, id: CollectionId, side: Side) -> Result<Option<Summary>> {
        let doing = "reading a summary";
        let found: Option<([u8; 32], u8, bool)> = self
            .prepare(
                "SELECT fp_key, bits, stale FROM haversack_summaries WHERE collection = ?1 AND side = ?2",
                doing,
            )?
            .query_row(params![id.0, side as i64], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })
            .optional()
            .map_err(while_doing(doing))?;
        found
            .map(|(key, bits, stale)| {
                Ok(Summary {
                    key: FpKey::new(key),
                    bits: LeafBits::new(bits)
                        .ok_or_else(|| corrupt("a summary has no such leaves"))?,
                    stale,
                })
            })
            .transpose()
    }

    fn node(&self, id: CollectionId, side: Side, node: Node) -> Result<Sum> {
        let doing = "reading a summary";
        self.prepare(
            "SELECT items, high, low FROM haversack_sums \
             WHERE collection = ?1 AND side = ?2 AND level = ?3 AND idx = ?4",
            doing,
        )?
        .query_row(
            params![id.0, side as i64, node.level, node.index as i64],
            |row| sum_at(row, 0),
        )
        .optional()
        .map(Option::unwrap_or_default)
        .map_err(while_doing(doing))
    }

    /// The sum of everything.
    pub(super) fn root(&self, id: CollectionId, side: Side) -> Result<Sum> {
        self.node(id, side, Node::ROOT)
    }

    /// Rows of a level in a run, in order.
    pub(super) fn nodes(
        &self,
        id: CollectionId,
        side: Side,
        level: u8,
        (from, upto): (u64, u64),
        visit: &mut dyn FnMut(u64, Sum) -> Result<()>,
    ) -> Result<()> {
        let doing = "reading a summary";
        let stored = |index: u64| i64::try_from(index).unwrap_or(i64::MAX);
        let mut statement = self.prepare(
            "SELECT idx, items, high, low FROM haversack_sums \
             WHERE collection = ?1 AND side = ?2 AND level = ?3 AND idx BETWEEN ?4 AND ?5 ORDER BY idx",
            doing,
        )?;
        let rows = statement
            .query(params![
                id.0,
                side as i64,
                level,
                stored(from),
                stored(upto)
            ])
            .map_err(while_doing(doing))?;
        each_row(rows, doing, |row| {
            let index: i64 = row.get(0).map_err(while_doing(doing))?;
            visit(index as u64, sum_at(row, 1).map_err(while_doing(doing))?)?;
            Ok(std::ops::ControlFlow::Continue(()))
        })
    }

    /// The sums of everything, of one scan.
    pub(super) fn scan_items(
        &self,
        layer: &Layer,
        side: Side,
        key: &FpKey,
        bits: LeafBits,
    ) -> Result<Deltas> {
        let doing = "building a summary";
        let sql = match side {
            Side::Here => {
                "SELECT global_id, generation, deleted FROM haversack_track \
                 WHERE collection = ?1 AND (deleted = 0 OR generation > ?2)"
            }
            Side::Up => {
                "SELECT global_id, up_generation, deleted FROM haversack_track \
                 WHERE collection = ?1 AND up_generation IS NOT NULL AND ?2 >= 0"
            }
        };
        let mut all = Deltas::new(bits);
        let mut statement = self.prepare(sql, doing)?;
        let floor = self.head.floor.0 as i64;
        let rows = statement
            .query(params![layer.collection.id.0, floor])
            .map_err(while_doing(doing))?;
        each_row(rows, doing, |row| {
            let read = || -> rusqlite::Result<(String, i64, bool)> {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            };
            let (text, generation, deleted) = read().map_err(while_doing(doing))?;
            let item = item(layer, &text, Generation(generation as u64), deleted);
            all.add(item.generation.0, key.numbered(&item));
            Ok(std::ops::ControlFlow::Continue(()))
        })?;
        Ok(all)
    }

    /// Whether edits of other programs are not folded yet.
    pub(super) fn has_unfolded(&self, id: CollectionId) -> Result<bool> {
        let doing = "looking for edits of other programs";
        self.prepare(
            "SELECT 1 FROM haversack_unfolded WHERE collection = ?1",
            doing,
        )?
        .exists([id.0])
        .map_err(while_doing(doing))
    }

    /// Whether a summary agrees with itself and with the number of records.
    pub(super) fn summary_holds(&self, id: CollectionId, side: Side) -> Result<bool> {
        let mut check = SelfCheck::default();
        for level in 0..=LEVELS {
            self.nodes(id, side, level, (0, u64::MAX), &mut |index, sum| {
                check.see(Node { level, index }, sum);
                Ok(())
            })?;
        }
        let condition = match side {
            Side::Here => "deleted = 0 OR generation > ?2",
            Side::Up => "up_generation IS NOT NULL AND ?2 >= 0",
        };
        let doing = "counting items";
        let count: i64 = self
            .prepare(
                &format!(
                    "SELECT count(*) FROM haversack_track WHERE collection = ?1 AND ({condition})"
                ),
                doing,
            )?
            .query_row(params![id.0, self.head.floor.0 as i64], |row| row.get(0))
            .map_err(while_doing(doing))?;
        Ok(check.holds(Some(count as u64)))
    }

    /// The width that a summary's leaves should have by now, if that is another.
    pub(super) fn drifted(&self, id: CollectionId, side: Side) -> Result<Option<LeafBits>> {
        let Some(summary) = self.summary(id, side)? else {
            return Ok(None);
        };
        let doing = "counting leaves";
        let leaves: i64 = self
            .prepare(
                "SELECT count(*) FROM haversack_sums WHERE collection = ?1 AND side = ?2 AND level = 0",
                doing,
            )?
            .query_row(params![id.0, side as i64], |row| row.get(0))
            .map_err(while_doing(doing))?;
        let root = self.root(id, side)?;
        Ok(summary.bits.drifted(root.count, leaves as u64))
    }
}

impl SqliteWrite<'_> {
    /// Folds what this transaction and other programs changed. A summary into which that does not fit is built anew later:
    /// the edit itself is not its fault.
    pub(super) fn fold_summaries(&mut self) -> Result<()> {
        self.journal.absorb();
        let folded = std::mem::take(&mut self.journal.folded);
        let touched: BTreeSet<CollectionId> = folded.keys().map(|(id, _)| *id).collect();
        let schema = self.schema();
        for id in touched {
            if schema.layer(id).is_ok() && self.view().has_unfolded(id)? {
                self.fold_notes(id)?;
            }
        }
        for ((id, side), deltas) in folded {
            if schema.layer(id).is_ok() {
                self.fold(id, side, &deltas)?;
            }
        }
        for id in std::mem::take(&mut self.journal.edited) {
            let doing = "noting an edit of a copy";
            self.view()
                .prepare(
                    "UPDATE haversack_upstreams SET unnumbered = 1 WHERE collection = ?1",
                    doing,
                )?
                .execute([id.0])
                .map_err(while_doing(doing))?;
        }
        Ok(())
    }

    pub(super) fn fold(&self, id: CollectionId, side: Side, deltas: &Deltas) -> Result<()> {
        let mut rows = Rows {
            view: self.view(),
            id,
            side,
        };
        match deltas.fold_into(&mut rows) {
            Err(Error::Corrupt(problem)) => {
                tracing::error!(collection = %id, problem, "a summary is damaged and will be built anew");
                self.mark_stale(id, side)
            }
            done => done,
        }
    }

    pub(super) fn mark_stale(&self, id: CollectionId, side: Side) -> Result<()> {
        let doing = "giving a summary up";
        self.view()
            .prepare(
                "UPDATE haversack_summaries SET stale = 1 WHERE collection = ?1 AND side = ?2",
                doing,
            )?
            .execute(params![id.0, side as i64])
            .map(|_| ())
            .map_err(while_doing(doing))
    }

    /// Folds edits of other programs.
    pub(super) fn fold_notes(&mut self, id: CollectionId) -> Result<()> {
        let doing = "folding edits of other programs";
        let schema = self.schema();
        let layer = schema.layer(id)?;
        for side in [Side::Here, Side::Up] {
            let Some(summary) = self.view().summary(id, side)?.filter(|s| !s.stale) else {
                continue;
            };
            let mut deltas = Deltas::new(summary.bits);
            let view = self.view();
            let mut statement = view.prepare(
                "SELECT global_id, generation, deleted, sign FROM haversack_unfolded \
                 WHERE collection = ?1 AND side = ?2",
                doing,
            )?;
            let rows = statement
                .query(params![id.0, side as i64])
                .map_err(while_doing(doing))?;
            each_row(rows, doing, |row| {
                let read = || -> rusqlite::Result<(String, i64, bool, i64)> {
                    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
                };
                let (key, generation, deleted, sign) = read().map_err(while_doing(doing))?;
                let item = item(layer, &key, Generation(generation as u64), deleted);
                let hash = summary.key.numbered(&item);
                if sign > 0 {
                    deltas.add(item.generation.0, hash);
                } else {
                    deltas.remove(item.generation.0, hash);
                }
                Ok(std::ops::ControlFlow::Continue(()))
            })?;
            drop(statement);
            self.fold(id, side, &deltas)?;
        }
        self.view()
            .prepare(
                "DELETE FROM haversack_unfolded WHERE collection = ?1",
                doing,
            )?
            .execute([id.0])
            .map(|_| ())
            .map_err(while_doing(doing))
    }

    /// Builds a summary anew, by one scan.
    pub(super) fn rebuild(
        &mut self,
        id: CollectionId,
        side: Side,
        key: &FpKey,
        bits: LeafBits,
    ) -> Result<()> {
        let doing = "building a summary";
        let schema = self.schema();
        let layer = schema.layer(id)?;
        for table in ["haversack_sums", "haversack_unfolded"] {
            self.view()
                .prepare(
                    &format!("DELETE FROM {table} WHERE collection = ?1 AND side = ?2"),
                    doing,
                )?
                .execute(params![id.0, side as i64])
                .map_err(while_doing(doing))?;
        }
        define(&self.linked.connection, id, side, key, bits)?;
        let all = self.view().scan_items(layer, side, key, bits)?;
        self.journal.forget(id);
        self.fold(id, side, &all)
    }

    pub(super) fn store_sum(
        &self,
        id: CollectionId,
        side: Side,
        node: Node,
        sum: Sum,
    ) -> Result<()> {
        self.view().store_sum(id, side, node, sum)
    }

    /// Brings a summary to what it must be: there, folded, with leaves of the right width.
    pub(super) fn prepare_summary(&mut self, id: CollectionId, side: Side) -> Result<()> {
        // First, since what does not fit shows that a summary is damaged.
        if self.view().has_unfolded(id)? {
            self.fold_notes(id)?;
        }
        match (self.view().summary(id, side)?, side) {
            (None, Side::Up) => return Ok(()),
            (None, Side::Here) => {
                self.rebuild(id, side, &fresh_key()?, LeafBits::NARROWEST)?;
            }
            (Some(summary), _) if summary.stale => {
                self.rebuild(id, side, &summary.key, summary.bits)?;
            }
            _ => {}
        }
        if let Some(bits) = self.view().drifted(id, side)?
            && let Some(summary) = self.view().summary(id, side)?
        {
            self.rebuild(id, side, &summary.key, bits)?;
        }
        Ok(())
    }
}
