//! Which items a transaction adds to the sums of its collections, and which it takes from them.
//!
//! Notes wait in a list as far back as the savepoint, so that a rollback drops them; older ones are summed up by leaf.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use haversack_model::store::Flow;
use haversack_model::{CollectionId, Generation, Result, Track};
use haversack_sync::reconcile::{Deltas, FpKey, Item, ItemHash, LeafBits};
use rusqlite::params;

use super::schema::Layer;
use super::summary::{Side, item};
use super::view::each_row;
use super::write::SqliteWrite;
use crate::error::while_doing;

/// What a transaction changes in the sums.
#[derive(Debug, Default)]
pub(super) struct Journal {
    /// Which summaries collections have, looked up once.
    kept: HashMap<CollectionId, [Option<(FpKey, LeafBits)>; 2]>,
    pub(super) folded: BTreeMap<(CollectionId, Side), Deltas>,
    /// Since the savepoint.
    pending: Vec<Entry>,
    /// Copies in which a record lost its generation of the primary.
    pub(super) edited: BTreeSet<CollectionId>,
}

#[derive(Debug)]
struct Entry {
    id: CollectionId,
    side: Side,
    place: u64,
    hash: ItemHash,
    comes: bool,
}

impl Journal {
    /// What a refused change may be undone to.
    pub(super) fn mark(&self) -> usize {
        self.pending.len()
    }
    pub(super) fn undo(&mut self, mark: usize) {
        self.pending.truncate(mark);
    }
    /// What was noted so far stays, whatever is undone.
    pub(super) fn absorb(&mut self) {
        for entry in self.pending.drain(..) {
            let [here, up] = &self.kept[&entry.id];
            let kept = if entry.side == Side::Here { here } else { up };
            let Some((_, bits)) = kept else { continue };
            let deltas = self
                .folded
                .entry((entry.id, entry.side))
                .or_insert_with(|| Deltas::new(*bits));
            if entry.comes {
                deltas.add(entry.place, entry.hash);
            } else {
                deltas.remove(entry.place, entry.hash);
            }
        }
    }
    /// A summary was defined or built in this very transaction.
    pub(super) fn forget(&mut self, id: CollectionId) {
        self.kept.remove(&id);
        self.folded.retain(|(of, _), _| *of != id);
    }
}

impl SqliteWrite<'_> {
    fn kept(&mut self, id: CollectionId) -> Result<&[Option<(FpKey, LeafBits)>; 2]> {
        if !self.journal.kept.contains_key(&id) {
            let view = self.view();
            let of = |side| -> Result<_> {
                let summary = view.summary(id, side)?.filter(|summary| !summary.stale);
                Ok(summary.map(|summary| (summary.key, summary.bits)))
            };
            let kept = [of(Side::Here)?, of(Side::Up)?];
            self.journal.kept.insert(id, kept);
        }
        Ok(&self.journal.kept[&id])
    }

    pub(super) fn note_item(
        &mut self,
        id: CollectionId,
        side: Side,
        item: &Item,
        comes: bool,
    ) -> Result<()> {
        let kept = &self.kept(id)?[side as usize];
        let Some((key, _)) = kept else { return Ok(()) };
        let entry = Entry {
            id,
            side,
            place: item.generation.0,
            hash: key.numbered(item),
            comes,
        };
        self.journal.pending.push(entry);
        Ok(())
    }

    /// Notes that a record's tracking changed.
    pub(super) fn note_change(
        &mut self,
        layer: &Layer,
        key: &str,
        before: Option<&Track>,
        after: &Track,
    ) -> Result<()> {
        let id = layer.collection.id;
        if self.kept(id)?[Side::Here as usize].is_none() {
            return Ok(());
        }
        // A tombstone below the floor has no item any more, also where its row waits for the primary's floor.
        let floor = self.state.head.floor;
        if let Some(track) = before.filter(|t| !t.deleted || t.generation > floor) {
            let before = item(layer, key, track.generation, track.deleted);
            self.note_item(id, Side::Here, &before, false)?;
        }
        let after = item(layer, key, after.generation, after.deleted);
        self.note_item(id, Side::Here, &after, true)
    }

    /// Notes that a copy has a record without a generation of the primary.
    pub(super) fn note_edit(&mut self, id: CollectionId) -> Result<()> {
        if self.kept(id)?[Side::Up as usize].is_some() {
            self.journal.edited.insert(id);
        }
        Ok(())
    }

    /// Notes that tombstones are purged: their items go.
    pub(super) fn note_purge(&mut self, floor: Generation) -> Result<()> {
        let doing = "purging tombstones";
        let schema = self.schema();
        let old = self.state.head.floor;
        for layer in schema.layers() {
            let id = layer.collection.id;
            if self.kept(id)?[Side::Here as usize].is_none() {
                continue;
            }
            let mut gone: Vec<(String, i64)> = Vec::new();
            let view = self.view();
            let mut statement = view.prepare(
                "SELECT global_id, generation FROM haversack_track WHERE collection = ?1 \
                 AND deleted = 1 AND generation > ?2 AND generation <= ?3",
                doing,
            )?;
            let rows = statement
                .query(params![id.0, old.0 as i64, floor.0 as i64])
                .map_err(while_doing(doing))?;
            each_row(rows, doing, |row| {
                let read = || Ok((row.get(0)?, row.get(1)?));
                gone.push(read().map_err(while_doing(doing))?);
                Ok(Flow::Continue(()))
            })?;
            drop(statement);
            for (key, generation) in gone {
                let gone = item(layer, &key, Generation(generation as u64), true);
                self.note_item(id, Side::Here, &gone, false)?;
            }
        }
        Ok(())
    }

    /// Takes the primary's generation of a record away, as an edit does. `deleted`: what its item says now.
    pub(super) fn unnumber(
        &mut self,
        layer: &Layer,
        key: &str,
        object_id: i64,
        deleted: bool,
    ) -> Result<()> {
        let id = layer.collection.id;
        // One that was given up is built anew of the generations that records have: edits count there, too.
        let is_kept = self.kept(id)?[Side::Up as usize].is_some();
        if !is_kept && self.view().summary(id, Side::Up)?.is_none() {
            return Ok(());
        }
        self.note_edit(id)?;
        if let Some(up) = self.view().up_generation(id, object_id)? {
            self.note_item(id, Side::Up, &item(layer, key, up, deleted), false)?;
            self.set_up(id, object_id, None)?;
        }
        Ok(())
    }

    pub(super) fn set_up(
        &self,
        id: CollectionId,
        object_id: i64,
        up: Option<Generation>,
    ) -> Result<()> {
        let doing = "keeping the primary's generation";
        self.view()
            .prepare(
                "UPDATE haversack_track SET up_generation = ?3 WHERE collection = ?1 AND object_id = ?2",
                doing,
            )?
            .execute(params![id.0, object_id, up.map(|up| up.0 as i64)])
            .map(|_| ())
            .map_err(while_doing(doing))
    }
}
