//! Building the sums of a collection beside its writers.
//!
//! A scan of a snapshot makes the sums; they are written in slices while they do not count yet; a last short transaction
//! brings them up to the present and lets them count. What changed since the snapshot stands in the feed; what it was before, in
//! the snapshot, which is open until then. So no writer waits longer than a slice takes.

use std::collections::HashSet;
use std::ops::ControlFlow;

use haversack_model::store::WriteTx;
use haversack_model::{CollectionId, Generation, Result, Timestamp};
use haversack_sync::reconcile::{Deltas, FpKey, LEVELS, LeafBits, Node};
use rusqlite::params;

use super::read::SqliteRead;
use super::summary::{Side, define, fresh_key, item};
use super::view::{View, each_row};
use super::write::SqliteWrite;
use super::{SqliteStore, lock};
use crate::error::{invalid, while_doing};

/// Rows of sums in one transaction: some milliseconds.
const SLICE: usize = 1000;
/// Changes since the snapshot that one transaction catches up with.
const CATCH_UP: u64 = 1000;
/// How often a snapshot is taken again because writers were faster.
const TRIES: u32 = 5;

/// Sums of a snapshot.
struct Built<'a> {
    read: SqliteRead<'a>,
    key: FpKey,
    all: Deltas,
}

impl SqliteStore {
    /// Builds the sums of a collection over the generations of this service anew.
    pub(super) fn build_aside(&self, id: CollectionId, now: Timestamp) -> Result<()> {
        let _one_at_a_time = lock(&self.building);
        for attempt in 1..=TRIES {
            let Some(bits) = self.wants_build(id)? else {
                return Ok(());
            };
            self.give_up_sums(id, bits, now)?;
            let built = self.scan(id)?;
            self.write_slices(id, &built.all, now)?;
            let mut tx = self.write(now)?;
            let then = built.read.view().head;
            let behind = tx.began.generation.0 - then.generation.0;
            // What was deleted and purged since the snapshot stands nowhere any more.
            let is_lost = tx.began.history != then.history || tx.began.floor > then.generation;
            if is_lost || (behind > CATCH_UP && attempt < TRIES) {
                continue;
            }
            tx.catch_up(id, &built)?;
            Box::new(tx).commit()?;
            return Ok(());
        }
        Err(invalid(
            "the collection",
            "it changes too fast to be summed up; try again",
        ))
    }

    /// The leaves that the sums should have, if they must be built.
    fn wants_build(&self, id: CollectionId) -> Result<Option<LeafBits>> {
        let read = self.read()?;
        let view = read.view();
        Ok(match view.summary(id, Side::Here)? {
            None => Some(LeafBits::NARROWEST),
            Some(summary) if summary.stale => Some(summary.bits),
            Some(_) => view.drifted(id, Side::Here)?,
        })
    }

    /// From now on no sums count until they are built; those that were there are removed.
    fn give_up_sums(&self, id: CollectionId, bits: LeafBits, now: Timestamp) -> Result<()> {
        let doing = "giving a summary up";
        let tx = self.write(now)?;
        let key = match tx.view().summary(id, Side::Here)? {
            Some(summary) => summary.key,
            None => fresh_key()?,
        };
        define(&tx.linked.connection, id, Side::Here, &key, bits)?;
        tx.mark_stale(id, Side::Here)?;
        Box::new(tx).commit()?;
        loop {
            let tx = self.write(now)?;
            let removed = tx
                .view()
                .prepare(
                    "DELETE FROM haversack_sums WHERE collection = ?1 AND side = 0 AND (level, idx) IN \
                     (SELECT level, idx FROM haversack_sums WHERE collection = ?1 AND side = 0 LIMIT ?2)",
                    doing,
                )?
                .execute(params![id.0, SLICE as i64])
                .map_err(while_doing(doing))?;
            Box::new(tx).commit()?;
            if removed < SLICE {
                return Ok(());
            }
        }
    }

    fn scan(&self, id: CollectionId) -> Result<Built<'_>> {
        let read = self.read()?;
        let (key, all) = {
            let view = read.view();
            let layer = view.layer(id)?;
            let summary = view.summary(id, Side::Here)?;
            let (key, bits) = match summary {
                Some(summary) => (summary.key, summary.bits),
                None => (fresh_key()?, LeafBits::NARROWEST),
            };
            let all = view.scan_items(layer, Side::Here, &key, bits)?;
            (key, all)
        };
        Ok(Built { read, key, all })
    }

    fn write_slices(&self, id: CollectionId, all: &Deltas, now: Timestamp) -> Result<()> {
        for level in 0..=LEVELS {
            for slice in all.level(level).chunks(SLICE) {
                let tx = self.write(now)?;
                for (index, sum) in slice {
                    let node = Node {
                        level,
                        index: *index,
                    };
                    tx.store_sum(id, Side::Here, node, *sum)?;
                }
                Box::new(tx).commit()?;
            }
        }
        Ok(())
    }
}

/// A tracking row as far as it is an item.
struct Tracked {
    key: String,
    generation: Generation,
    deleted: bool,
}

impl View<'_> {
    /// Tracking rows of a run of generations.
    fn tracked(
        &self,
        id: CollectionId,
        (after, upto): (Generation, Generation),
        condition: &str,
    ) -> Result<Vec<Tracked>> {
        let doing = "reading what changed";
        let mut found = Vec::new();
        let mut statement = self.prepare(
            &format!(
                "SELECT global_id, generation, deleted FROM haversack_track \
                 WHERE collection = ?1 AND generation > ?2 AND generation <= ?3 AND {condition}"
            ),
            doing,
        )?;
        let rows = statement
            .query(params![id.0, after.0 as i64, upto.0 as i64])
            .map_err(while_doing(doing))?;
        each_row(rows, doing, |row| {
            let read = || -> rusqlite::Result<Tracked> {
                Ok(Tracked {
                    key: row.get(0)?,
                    generation: Generation(row.get::<_, i64>(1)? as u64),
                    deleted: row.get(2)?,
                })
            };
            found.push(read().map_err(while_doing(doing))?);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(found)
    }
}

impl SqliteWrite<'_> {
    /// Brings sums of an earlier snapshot up to the present, and lets them count.
    fn catch_up(&mut self, id: CollectionId, built: &Built<'_>) -> Result<()> {
        let schema = self.schema();
        let layer = schema.layer(id)?;
        let (then, now) = (built.read.view(), self.state.head);
        let mut deltas = Deltas::new(built.all.bits());
        let hash = |tracked: &Tracked| {
            let item = item(layer, &tracked.key, tracked.generation, tracked.deleted);
            (item.generation.0, built.key.numbered(&item))
        };
        let mut changed = HashSet::new();
        for present in self
            .view()
            .tracked(id, (then.head.generation, now.generation), "1")?
        {
            if !present.deleted || present.generation > now.floor {
                let (place, hash) = hash(&present);
                deltas.add(place, hash);
            }
            let before = then.numbered(id, &present.key)?;
            let before = before.map(|before| Tracked {
                key: present.key.clone(),
                generation: before.generation,
                deleted: before.deleted,
            });
            if let Some(before) = before.filter(|b| !b.deleted || b.generation > then.head.floor) {
                let (place, hash) = hash(&before);
                deltas.remove(place, hash);
            }
            changed.insert(present.key);
        }
        // Tombstones that were purged meanwhile.
        for gone in then.tracked(id, (then.head.floor, now.floor), "deleted = 1")? {
            if !changed.contains(&gone.key) {
                let (place, hash) = hash(&gone);
                deltas.remove(place, hash);
            }
        }
        self.fold(id, Side::Here, &deltas)?;
        let doing = "letting a summary count";
        for sql in [
            "DELETE FROM haversack_unfolded WHERE collection = ?1 AND side = 0",
            "UPDATE haversack_summaries SET stale = 0 WHERE collection = ?1 AND side = 0",
        ] {
            self.view()
                .prepare(sql, doing)?
                .execute([id.0])
                .map_err(while_doing(doing))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use haversack_model::conformance::documents::{NOTES, with_documents};
    use haversack_model::documents::document;
    use haversack_model::{GlobalId, Store as _};

    use super::*;

    const NOW: Timestamp = Timestamp(1_700_000_000_000);

    fn edit(store: &SqliteStore, all: &[(u64, Option<u64>)]) {
        let mut tx = store.begin_write(NOW).unwrap();
        for (n, version) in all {
            let key = format!("k{n}");
            if let Some(version) = version {
                let body = format!("{{\"version\":{version}}}");
                tx.put(NOTES, &document(&key, body), None).unwrap();
            } else {
                assert!(tx.delete(NOTES, &GlobalId::Text(key.into()), None).unwrap());
            }
        }
        tx.commit().unwrap();
    }

    fn store(folder: &tempfile::TempDir) -> SqliteStore {
        let path = folder.path().join("a.gpkg");
        let store = SqliteStore::create(path, &with_documents()).unwrap();
        let all: Vec<_> = (0..3000).map(|n| (n, Some(0))).collect();
        edit(&store, &all);
        edit(&store, &[(1, None), (2, None), (3, None)]);
        store
    }

    fn is_right(store: &SqliteStore) {
        let read = store.read().unwrap();
        let view = read.view();
        let summary = view.summary(NOTES, Side::Here).unwrap().unwrap();
        assert!(!summary.stale && view.summary_holds(NOTES, Side::Here).unwrap());
        let layer = view.layer(NOTES).unwrap();
        let all = view
            .scan_items(layer, Side::Here, &summary.key, summary.bits)
            .unwrap();
        assert_eq!(view.root(NOTES, Side::Here).unwrap(), all.total());
    }

    #[test]
    fn what_is_written_while_sums_are_built_is_in_them() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder);
        store.give_up_sums(NOTES, LeafBits::NARROWEST, NOW).unwrap();
        let built = store.scan(NOTES).unwrap();
        // Replaced, deleted, new, brought back, deleted twice over, and tombstones purged.
        edit(
            &store,
            &[(10, Some(1)), (11, None), (5000, Some(0)), (1, Some(1))],
        );
        edit(&store, &[(10, Some(2)), (12, Some(1)), (5000, None)]);
        let mut tx = store.write(NOW).unwrap();
        tx.prune_history(built.read.view().head.generation).unwrap();
        assert!(tx.state.head.floor > Generation::ZERO);
        Box::new(tx).commit().unwrap();
        edit(&store, &[(12, None), (13, Some(3))]);
        store.write_slices(NOTES, &built.all, NOW).unwrap();
        let mut tx = store.write(NOW).unwrap();
        tx.catch_up(NOTES, &built).unwrap();
        Box::new(tx).commit().unwrap();
        drop(built);
        is_right(&store);
        edit(&store, &[(14, Some(4)), (13, None)]);
        is_right(&store);
    }

    #[test]
    fn sums_are_built_under_a_writer_that_never_stops() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder);
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for n in 0.. {
                    edit(&store, &[(n % 40 + 20, Some(n))]);
                    if done.load(std::sync::atomic::Ordering::Relaxed) {
                        return;
                    }
                }
            });
            for _ in 0..5 {
                let tx = store.write(NOW).unwrap();
                tx.mark_stale(NOTES, Side::Here).unwrap();
                Box::new(tx).commit().unwrap();
                store.build_aside(NOTES, NOW).unwrap();
                is_right(&store);
            }
            done.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        is_right(&store);
    }
}
