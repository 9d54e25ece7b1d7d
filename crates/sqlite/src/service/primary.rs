//! A collection as others copy it: [`Primary`] of the reconciliation.

use std::cell::Cell;
use std::ops::ControlFlow;

use haversack_model::documents::body_of;
use haversack_model::store::{Flow, ReadTx};
use haversack_model::{CollectionId, Generation, GlobalId, HistoryId, Result, Revision, Timestamp};
use haversack_sync::reconcile::{Delivered, Item, Primary, PrimaryState, Snapshot, Span, Sum};

use super::SqliteStore;
use super::read::SqliteRead;
use super::schema::{Layer, record_at};
use super::summary::{Side, Summary, item};
use super::view::{View, each_row};
use crate::error::{corrupt, while_doing};

/// A collection of a store, for others to copy.
#[derive(Debug)]
pub struct SqlitePrimary<'a> {
    store: &'a SqliteStore,
    id: CollectionId,
    now: Timestamp,
    /// Whether the width of the leaves was looked at: once for each question is enough.
    looked: Cell<bool>,
}

impl SqliteStore {
    /// A collection for others to copy. `now` dates what must be prepared for it.
    pub fn primary(&self, id: CollectionId, now: Timestamp) -> SqlitePrimary<'_> {
        SqlitePrimary {
            store: self,
            id,
            now,
            looked: Cell::new(false),
        }
    }

    /// Checks the summaries of a collection and builds those anew that do not hold. Whether all held.
    ///
    /// # Errors
    /// The database's.
    pub fn check_summaries(&self, id: CollectionId, now: Timestamp) -> Result<bool> {
        self.ready(id, now, false)?;
        let mut all_hold = true;
        for side in [Side::Here, Side::Up] {
            let held = {
                let read = self.read()?;
                let view = read.view();
                view.summary(id, side)?.is_none_or(|summary| summary.stale)
                    || view.has_unfolded(id)?
                    || view.summary_holds(id, side)?
            };
            if held && side == Side::Here {
                continue;
            }
            all_hold &= held;
            let mut tx = self.write(now)?;
            if !held {
                tx.mark_stale(id, side)?;
            }
            if side == Side::Up {
                tx.prepare_summary(id, side)?;
            }
            haversack_model::WriteTx::commit(Box::new(tx))?;
            if side == Side::Here {
                self.build_aside(id, now)?;
            }
        }
        Ok(all_hold)
    }

    /// Makes the summary of a collection ready, if it is not.
    pub(super) fn ready(&self, id: CollectionId, now: Timestamp, looked: bool) -> Result<()> {
        let side = Side::Here;
        let (mut is_built, is_folded) = {
            let read = self.read()?;
            let view = read.view();
            view.layer(id)?;
            let summary = view.summary(id, side)?;
            let is_built = summary.is_some_and(|summary| !summary.stale)
                && (looked || view.drifted(id, side)?.is_none());
            (is_built, !view.has_unfolded(id)?)
        };
        if is_built && !is_folded {
            let mut tx = self.write(now)?;
            tx.fold_notes(id)?;
            // What does not fit shows that the summary is damaged.
            is_built = tx.view().summary(id, side)?.is_some_and(|s| !s.stale);
            haversack_model::WriteTx::commit(Box::new(tx))?;
        }
        if !is_built {
            self.build_aside(id, now)?;
        }
        Ok(())
    }
}

impl Primary for SqlitePrimary<'_> {
    fn snapshot(&self) -> Result<Box<dyn Snapshot + '_>> {
        self.store
            .ready(self.id, self.now, self.looked.replace(true))?;
        let read = self.store.read()?;
        let summary = read.view().summary(self.id, Side::Here)?;
        Ok(Box::new(Copied {
            summary: summary.ok_or_else(|| corrupt("a summary is missing"))?,
            read,
            id: self.id,
        }))
    }
}

/// A snapshot of a collection that others copy.
struct Copied<'a> {
    read: SqliteRead<'a>,
    id: CollectionId,
    summary: Summary,
}

impl Snapshot for Copied<'_> {
    fn state(&self) -> Result<PrimaryState> {
        let view = self.read.view();
        Ok(PrimaryState {
            history: view.head.history,
            generation: view.head.generation,
            floor: view.head.floor,
            key: self.summary.key.clone(),
            bits: self.summary.bits,
            root: view.root(self.id, Side::Here)?,
        })
    }
    fn common_with(&self, history: HistoryId) -> Result<Option<Generation>> {
        ReadTx::common_with(&self.read, history)
    }
    fn nodes(
        &self,
        level: u8,
        from: u64,
        upto: u64,
        visit: &mut dyn FnMut(u64, Sum) -> Result<()>,
    ) -> Result<()> {
        self.read
            .view()
            .nodes(self.id, Side::Here, level, (from, upto), visit)
    }
    fn items(&self, spans: &[Span], visit: &mut dyn FnMut(Item) -> Result<()>) -> Result<()> {
        let doing = "reading items";
        let view = self.read.view();
        let layer = view.layer(self.id)?;
        let mut statement = view.prepare(
            "SELECT k.generation, k.global_id, k.deleted FROM haversack_track k \
             WHERE k.collection = ?1 AND k.generation BETWEEN ?2 AND ?3 \
             AND (k.deleted = 0 OR k.generation > ?4) ORDER BY k.generation",
            doing,
        )?;
        for span in spans {
            let rows = statement
                .query(bounds(&view, self.id, *span))
                .map_err(while_doing(doing))?;
            each_row(rows, doing, |row| {
                let read = || -> rusqlite::Result<(i64, String, bool)> {
                    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
                };
                let (generation, key, deleted) = read().map_err(while_doing(doing))?;
                visit(item(layer, &key, Generation(generation as u64), deleted))?;
                Ok(ControlFlow::Continue(()))
            })?;
        }
        Ok(())
    }
    fn records(
        &self,
        spans: &[Span],
        visit: &mut dyn FnMut(Delivered) -> Result<Flow>,
    ) -> Result<()> {
        let doing = "reading records";
        let view = self.read.view();
        let layer = view.layer(self.id)?;
        let sql = format!(
            "SELECT {}, k.generation, k.global_id, k.deleted, k.revision \
             FROM haversack_track k LEFT JOIN {} t ON t.{} = k.object_id AND k.deleted = 0 \
             WHERE k.collection = ?1 AND k.generation BETWEEN ?2 AND ?3 \
             AND (k.deleted = 0 OR k.generation > ?4) ORDER BY k.generation",
            layer.columns("t"),
            layer.table,
            layer.object_id
        );
        let at = layer.width();
        let mut statement = view.prepare(&sql, doing)?;
        for span in spans {
            let mut stopped = false;
            let rows = statement
                .query(bounds(&view, self.id, *span))
                .map_err(while_doing(doing))?;
            each_row(rows, doing, |row| {
                let read = || -> rusqlite::Result<(i64, String, bool, i64)> {
                    Ok((
                        row.get(at)?,
                        row.get(at + 1)?,
                        row.get(at + 2)?,
                        row.get(at + 3)?,
                    ))
                };
                let (generation, key, deleted, revision) = read().map_err(while_doing(doing))?;
                let body = if deleted {
                    None
                } else {
                    Some(body_at(row, layer)?)
                };
                let generation = Generation(generation as u64);
                let flow = visit(Delivered {
                    global_id: item(layer, &key, generation, deleted).global_id,
                    generation,
                    revision: Revision(revision as u64),
                    body: body.map(|body| body.into_bytes().into_boxed_slice()),
                })?;
                stopped = flow.is_break();
                Ok(flow)
            })?;
            if stopped {
                break;
            }
        }
        Ok(())
    }
    fn contents(&self, visit: &mut dyn FnMut(Item) -> Result<()>) -> Result<()> {
        let doing = "reading contents";
        let view = self.read.view();
        let layer = view.layer(self.id)?;
        let sql = format!(
            "SELECT {}, k.generation FROM {} t JOIN haversack_track k ON k.collection = {} \
             AND k.object_id = t.{}",
            layer.columns("t"),
            layer.table,
            self.id.0,
            layer.object_id
        );
        let mut statement = view.prepare(&sql, doing)?;
        let rows = statement.query([]).map_err(while_doing(doing))?;
        each_row(rows, doing, |row| {
            let failed = while_doing(doing);
            let generation: i64 = row.get(layer.width()).map_err(&failed)?;
            let key = layer.global_id(row.get_ref(1).map_err(&failed)?)?;
            visit(Item {
                global_id: GlobalId::Text(haversack_model::documents::key_of(&key).into()),
                generation: Generation(generation as u64),
                deleted: false,
                content: content_of(body_at(row, layer)?.as_bytes()),
            })?;
            Ok(ControlFlow::Continue(()))
        })
    }
}

fn bounds(view: &View<'_>, id: CollectionId, span: Span) -> [i64; 4] {
    let stored = |place: u64| i64::try_from(place).unwrap_or(i64::MAX);
    [
        i64::from(id.0),
        stored(span.from),
        stored(span.upto),
        stored(view.head.floor.0),
    ]
}

/// The JSON text of the record in the columns of a layer.
fn body_at(row: &rusqlite::Row<'_>, layer: &Layer) -> Result<String> {
    if layer.collection.is_documents() {
        return row.get(3).map_err(while_doing("reading a document"));
    }
    Ok(body_of(&layer.collection, &record_at(row, layer, 0)?))
}

/// The hash by which copies that were made apart compare their contents.
pub(super) fn content_of(body: &[u8]) -> u128 {
    let hash = blake3::hash(body);
    let (half, _) = hash
        .as_bytes()
        .split_first_chunk::<16>()
        .expect("a BLAKE3 hash has 32 bytes");
    u128::from_le_bytes(*half)
}
