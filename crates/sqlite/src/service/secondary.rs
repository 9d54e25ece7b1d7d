//! A document collection as a copy of another one: [`Secondary`] of the reconciliation, with its stage in the same file.
//!
//! What a walk stages is collected and written with the walk's own state in one transaction, so that both fit together
//! after a crash. The merge is in `merge.rs`.

pub(super) mod difference;
mod upstream;

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::hash::{Hash as _, Hasher as _};
use std::ops::ControlFlow;

use haversack_model::copies::Merging;
use haversack_model::{CollectionId, Generation, GlobalId, Result, Revision, Timestamp, WriteTx};
use haversack_sync::reconcile::{
    Base, Delivered, FpKey, Item, LeafBits, Proof, Secondary, SecondaryState, Span, Sum,
};
use rusqlite::{OptionalExtension, params};

pub use self::difference::{Change, Difference};
use self::upstream::{Upstream, base_number, upstream};
use super::SqliteStore;
use super::primary::content_of;
use super::read::SqliteRead;
use super::stage::kind;
use super::summary::Side;
use super::view::{View, each_row};
use super::write::SqliteWrite;
use crate::error::{corrupt, invalid, while_doing};

/// A collection of a store that is a copy of another one.
#[derive(Debug)]
pub struct SqliteSecondary<'a> {
    store: &'a SqliteStore,
    id: CollectionId,
    now: Timestamp,
    /// What is staged and not written yet.
    waiting: RefCell<HashMap<String, Staged>>,
    /// A snapshot that reads share until something is written.
    read: RefCell<Option<SqliteRead<'a>>>,
    /// Hashes of the keys that are in the stage; `None` if they are not all known, or too many.
    known: RefCell<Option<HashSet<u64>>>,
    /// Whether the copy has no record at all.
    is_empty: bool,
    /// What changes together with the documents when they are merged.
    merging: Option<&'a mut dyn Merging>,
}

/// Keys of a stage that are remembered: eight bytes each.
const KNOWN: usize = 4_000_000;

fn hash_of(key: &str) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}

#[derive(Clone, Debug)]
struct Staged {
    kind: i64,
    generation: Generation,
    revision: Revision,
    body: Option<String>,
}

impl SqliteStore {
    /// A document collection as the copy of another one. `now` dates what is committed.
    ///
    /// # Errors
    /// [`haversack_model::Error::Invalid`] if it is none of documents.
    pub fn secondary(&self, id: CollectionId, now: Timestamp) -> Result<SqliteSecondary<'_>> {
        let mut tx = self.write(now)?;
        let schema = tx.schema();
        let layer = schema.layer(id)?;
        if !layer.collection.is_documents() {
            return Err(invalid(
                layer.collection.name.as_str(),
                "it is a layer; only a document collection can be a copy",
            ));
        }
        let doing = "beginning a copy";
        tx.view()
            .prepare(
                "INSERT OR IGNORE INTO haversack_upstreams (collection) VALUES (?1)",
                doing,
            )?
            .execute([id.0])
            .map_err(while_doing(doing))?;
        tx.prepare_summary(id, Side::Up)?;
        Box::new(tx).commit()?;
        Ok(SqliteSecondary {
            store: self,
            id,
            now,
            waiting: RefCell::default(),
            read: RefCell::default(),
            known: RefCell::default(),
            is_empty: false,
            merging: None,
        })
    }
}

impl<'a> SqliteSecondary<'a> {
    /// The same, with something that changes in the transaction of the merge.
    #[must_use]
    pub fn with_merging(mut self, merging: &'a mut dyn Merging) -> Self {
        self.merging = Some(merging);
        self
    }
    pub(super) fn store(&self) -> &'a SqliteStore {
        self.store
    }
    /// Which collection it is.
    pub fn id(&self) -> CollectionId {
        self.id
    }
    pub(super) fn now(&self) -> Timestamp {
        self.now
    }
    /// Ends the snapshot that reads share.
    pub(super) fn let_go(&self) {
        *self.read.borrow_mut() = None;
    }
    /// How much is staged and not written yet.
    pub fn unwritten(&self) -> usize {
        self.waiting.borrow().len()
    }
    /// Writes what is staged, together with the state of the walk that staged it.
    ///
    /// # Errors
    /// The database's.
    pub fn save(&self, walk: Option<&str>) -> Result<()> {
        self.writing(|tx, id| {
            let doing = "keeping the state of a synchronisation";
            tx.view()
                .prepare(
                    "UPDATE haversack_upstreams SET walk = ?2 WHERE collection = ?1",
                    doing,
                )?
                .execute(params![id.0, walk])
                .map(|_| ())
                .map_err(while_doing(doing))
        })
    }
    /// Ends a walk that failed: its stage is emptied, and sums that do not hold are built anew. Whatever is wrong with them, the
    /// next walk does not meet it again.
    ///
    /// # Errors
    /// The database's.
    pub fn give_up(&mut self) -> Result<()> {
        self.begin(Base::Kept)?;
        self.let_go();
        self.store
            .check_summaries(self.id, self.now)
            .map(|_held| ())
    }
    /// The state of the walk that was interrupted, if one was.
    ///
    /// # Errors
    /// The database's.
    pub fn saved(&self) -> Result<Option<String>> {
        let doing = "reading the state of a synchronisation";
        self.reading(|view| {
            view.prepare(
                "SELECT walk FROM haversack_upstreams WHERE collection = ?1",
                doing,
            )?
            .query_row([self.id.0], |row| row.get(0))
            .map_err(while_doing(doing))
        })
    }

    /// Changes the documents, and together with them what changes with them.
    pub(super) fn with_definition(
        &mut self,
        tx: &mut SqliteWrite<'_>,
        documents: impl FnOnce(&mut SqliteWrite<'_>, CollectionId) -> Result<()>,
    ) -> Result<()> {
        let id = self.id;
        around(self.merging.as_deref_mut(), tx, |tx| documents(tx, id))
    }

    fn reading<T>(&self, work: impl FnOnce(&View<'_>) -> Result<T>) -> Result<T> {
        let mut read = self.read.borrow_mut();
        if read.is_none() {
            *read = Some(self.store.read()?);
        }
        let read = read.as_ref().ok_or_else(|| corrupt("a snapshot is gone"))?;
        work(&read.view())
    }

    /// One write transaction; what waits is written first.
    fn writing(
        &self,
        work: impl FnOnce(&mut SqliteWrite<'_>, CollectionId) -> Result<()>,
    ) -> Result<()> {
        self.let_go();
        let mut tx = self.store.write(self.now)?;
        let doing = "staging records";
        let waiting = self.waiting.borrow();
        let mut all: Vec<_> = waiting.iter().collect();
        all.sort_unstable_by_key(|(_, staged)| staged.generation);
        for (key, staged) in all {
            let sql = if staged.kind == kind::ADOPTED {
                "INSERT INTO haversack_stage VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
                 ON CONFLICT (collection, global_id) DO UPDATE SET generation = excluded.generation, \
                 kind = CASE WHEN kind = 0 THEN 0 ELSE excluded.kind END"
            } else {
                "INSERT OR REPLACE INTO haversack_stage VALUES (?1, ?2, ?3, ?4, ?5, ?6)"
            };
            tx.view()
                .prepare(sql, doing)?
                .execute(params![
                    self.id.0,
                    key,
                    staged.kind,
                    staged.generation.0 as i64,
                    staged.revision.0 as i64,
                    staged.body
                ])
                .map_err(while_doing(doing))?;
        }
        drop(waiting);
        work(&mut tx, self.id)?;
        Box::new(tx).commit()?;
        self.waiting.borrow_mut().clear();
        Ok(())
    }

    /// Writes what waits. The walk that staged it is not kept with it, so that one cannot go on after a crash.
    fn flush(&self) -> Result<()> {
        if self.waiting.borrow().is_empty() {
            return Ok(());
        }
        self.save(None)
    }

    fn upstream(&self, view: &View<'_>) -> Result<Upstream> {
        upstream(view, self.id)
    }

    fn know(&self, key: &str) {
        let mut known = self.known.borrow_mut();
        if let Some(keys) = known.as_mut() {
            keys.insert(hash_of(key));
            if keys.len() > KNOWN {
                *known = None;
            }
        }
    }

    fn put_waiting(&self, id: &GlobalId, staged: Staged) {
        let key = haversack_model::documents::key_of(id);
        self.know(&key);
        self.waiting.borrow_mut().insert(key, staged);
    }
}

fn place(place: u64) -> i64 {
    i64::try_from(place).unwrap_or(i64::MAX)
}

impl Secondary for SqliteSecondary<'_> {
    fn state(&self) -> Result<SecondaryState> {
        let doing = "reading where a copy stands";
        self.reading(|view| {
            let upstream = self.upstream(view)?;
            let summary = view.summary(self.id, Side::Up)?;
            let root = view.root(self.id, Side::Up)?;
            let newest: Option<i64> = view
                .prepare(
                    "SELECT max(up_generation) FROM haversack_track \
                     WHERE collection = ?1 AND up_generation IS NOT NULL",
                    doing,
                )?
                .query_row([self.id.0], |row| row.get(0))
                .map_err(while_doing(doing))?;
            let has_records = view
                .prepare("SELECT 1 FROM haversack_track WHERE collection = ?1", doing)?
                .exists([self.id.0])
                .map_err(while_doing(doing))?;
            let is_proven = upstream.proven.is_some();
            Ok(SecondaryState {
                history: upstream.history,
                bits: summary
                    .as_ref()
                    .map_or(LeafBits::NARROWEST, |summary| summary.bits),
                key: summary.map(|summary| summary.key),
                root,
                since: if is_proven {
                    upstream.since
                } else {
                    Generation(newest.unwrap_or(0) as u64)
                },
                // What was added here has no item, so that the sums alone do not tell of it.
                complete: upstream.proven == Some(root) && !upstream.unnumbered,
                has_records,
            })
        })
    }

    fn nodes(
        &self,
        level: u8,
        from: u64,
        upto: u64,
        visit: &mut dyn FnMut(u64, Sum) -> Result<()>,
    ) -> Result<()> {
        self.reading(|view| view.nodes(self.id, Side::Up, level, (from, upto), visit))
    }

    fn items(&self, spans: &[Span], visit: &mut dyn FnMut(Item) -> Result<()>) -> Result<()> {
        self.flush()?;
        let doing = "reading the items of a copy";
        self.reading(|view| {
            let kept = self.upstream(view)?.base == Base::Kept;
            let mut statement = view.prepare(
                "SELECT k.up_generation, k.global_id, k.deleted FROM haversack_track k \
                 WHERE ?4 AND k.collection = ?1 AND k.up_generation BETWEEN ?2 AND ?3 AND NOT EXISTS \
                 (SELECT 1 FROM haversack_stage s WHERE s.collection = ?1 AND s.global_id = k.global_id) \
                 UNION ALL SELECT generation, global_id, kind = 1 FROM haversack_stage \
                 WHERE collection = ?1 AND generation BETWEEN ?2 AND ?3 AND kind <> 2 ORDER BY 1",
                doing,
            )?;
            for span in spans {
                let rows = statement
                    .query(params![self.id.0, place(span.from), place(span.upto), kept])
                    .map_err(while_doing(doing))?;
                each_row(rows, doing, |row| {
                    let read = || -> rusqlite::Result<Item> {
                        Ok(Item {
                            generation: Generation(row.get::<_, i64>(0)? as u64),
                            global_id: GlobalId::Text(row.get::<_, String>(1)?.into()),
                            deleted: row.get(2)?,
                            content: 0,
                        })
                    };
                    visit(read().map_err(while_doing(doing))?)?;
                    Ok(ControlFlow::Continue(()))
                })?;
            }
            Ok(())
        })
    }

    fn tombstones(
        &self,
        upto: Generation,
        visit: &mut dyn FnMut(Item) -> Result<()>,
    ) -> Result<()> {
        let all = Span {
            from: 0,
            upto: upto.0,
        };
        self.flush()?;
        let mut found = Vec::new();
        let doing = "reading the tombstones of a copy";
        // The index of tombstones first: a copy has few of them.
        let is_worth_it = self.reading(|view| {
            view.prepare(
                "SELECT 1 FROM haversack_track WHERE collection = ?1 AND deleted = 1 \
                 AND up_generation <= ?2 UNION ALL SELECT 1 FROM haversack_stage \
                 WHERE collection = ?1 AND kind = 1 LIMIT 1",
                doing,
            )?
            .exists(params![self.id.0, place(upto.0)])
            .map_err(while_doing(doing))
        })?;
        if is_worth_it {
            self.items(&[all], &mut |item| {
                if item.deleted {
                    found.push(item);
                }
                Ok(())
            })?;
        }
        found.into_iter().try_for_each(visit)
    }

    fn contents(&self, visit: &mut dyn FnMut(Item) -> Result<()>) -> Result<()> {
        self.flush()?;
        let doing = "reading the contents of a copy";
        self.reading(|view| {
            let base = self.upstream(view)?.base;
            let layer = view.layer(self.id)?;
            let up = if base == Base::Kept {
                "coalesce(k.up_generation, 0)"
            } else {
                "0"
            };
            let staged = "EXISTS (SELECT 1 FROM haversack_stage s WHERE s.collection = ?1 \
                 AND s.global_id = k.global_id)";
            let sql = format!(
                "SELECT k.global_id, {up}, t.document FROM {table} t JOIN haversack_track k \
                 ON k.collection = ?1 AND k.object_id = t.{oid} WHERE ?2 AND NOT {staged} \
                 UNION ALL SELECT s.global_id, s.generation, coalesce(s.body, \
                 (SELECT t.document FROM {table} t WHERE t.{key} = s.global_id)) \
                 FROM haversack_stage s WHERE s.collection = ?1 AND s.kind IN (0, 3)",
                table = layer.table,
                oid = layer.object_id,
                key = layer.key_column,
            );
            let mut statement = view.prepare(&sql, doing)?;
            let rows = statement
                .query(params![self.id.0, base != Base::Void])
                .map_err(while_doing(doing))?;
            each_row(rows, doing, |row| {
                let read = || -> rusqlite::Result<(String, i64, Option<String>)> {
                    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
                };
                let (key, generation, body) = read().map_err(while_doing(doing))?;
                visit(Item {
                    global_id: GlobalId::Text(key.into()),
                    generation: Generation(generation as u64),
                    deleted: false,
                    content: content_of(body.unwrap_or_default().as_bytes()),
                })?;
                Ok(ControlFlow::Continue(()))
            })
        })
    }

    fn held(&self, id: &GlobalId) -> Result<Option<Item>> {
        let key = haversack_model::documents::key_of(id);
        let item = |generation: Generation, deleted: bool| Item {
            global_id: GlobalId::Text(key.as_str().into()),
            generation,
            deleted,
            content: 0,
        };
        if let Some(staged) = self.waiting.borrow().get(&key) {
            return Ok((staged.kind != kind::DROPPED)
                .then(|| item(staged.generation, staged.kind == kind::TOMBSTONE)));
        }
        let is_staged = self
            .known
            .borrow()
            .as_ref()
            .is_none_or(|known| known.contains(&hash_of(&key)));
        if !is_staged && self.is_empty {
            return Ok(None);
        }
        let doing = "looking for a record of a copy";
        self.reading(|view| {
            let staged: Option<(i64, i64)> = view
                .prepare(
                    "SELECT kind, generation FROM haversack_stage \
                     WHERE collection = ?1 AND global_id = ?2",
                    doing,
                )?
                .query_row(params![self.id.0, key], |row| {
                    Ok((row.get(0)?, row.get(1)?))
                })
                .optional()
                .map_err(while_doing(doing))?;
            if let Some((what, generation)) = staged {
                let generation = Generation(generation as u64);
                return Ok(
                    (what != kind::DROPPED).then(|| item(generation, what == kind::TOMBSTONE))
                );
            }
            let base = self.upstream(view)?.base;
            if base == Base::Void {
                return Ok(None);
            }
            let Some(numbered) = view.numbered(self.id, &key)? else {
                return Ok(None);
            };
            let up = numbered.up.filter(|_| base == Base::Kept);
            Ok((!numbered.deleted || up.is_some())
                .then(|| item(up.unwrap_or_default(), numbered.deleted)))
        })
    }

    fn rekey(&mut self, key: &FpKey) -> Result<()> {
        self.writing(|tx, id| {
            let bits = tx.view().summary(id, Side::Up)?;
            let bits = bits.map_or(LeafBits::NARROWEST, |summary| summary.bits);
            tx.rebuild(id, Side::Up, key, bits)?;
            tx.forget_walk(id)
        })
    }

    fn begin(&mut self, base: Base) -> Result<()> {
        self.waiting.borrow_mut().clear();
        *self.known.borrow_mut() = Some(HashSet::new());
        self.is_empty = !self.state()?.has_records;
        self.writing(|tx, id| {
            tx.empty_stage(id)?;
            let doing = "beginning a stage";
            tx.view()
                .prepare(
                    "UPDATE haversack_upstreams SET base = ?2, walk = NULL, \
                     unnumbered = CASE ?2 WHEN 1 THEN 2 ELSE unnumbered END WHERE collection = ?1 \
                     AND (base <> ?2 OR walk IS NOT NULL OR ?2 = 1)",
                    doing,
                )?
                .execute(params![id.0, base_number(base)])
                .map(|_| ())
                .map_err(while_doing(doing))
        })
    }

    fn stage(&mut self, record: Delivered) -> Result<()> {
        let body = record
            .body
            .map(|body| String::from_utf8(body.into_vec()))
            .transpose()
            .map_err(|_not_utf8| invalid("document", "it is not UTF-8"))?;
        self.put_waiting(
            &record.global_id,
            Staged {
                kind: if body.is_some() {
                    kind::PUT
                } else {
                    kind::TOMBSTONE
                },
                generation: record.generation,
                revision: record.revision,
                body,
            },
        );
        Ok(())
    }

    fn mark_dropped(&mut self, id: &GlobalId) -> Result<()> {
        self.put_waiting(
            id,
            Staged {
                kind: kind::DROPPED,
                generation: Generation::ZERO,
                revision: Revision(0),
                body: None,
            },
        );
        Ok(())
    }

    fn adopt(&mut self, id: &GlobalId, generation: Generation) -> Result<()> {
        let key = haversack_model::documents::key_of(id);
        let mut waiting = self.waiting.borrow_mut();
        match waiting.get_mut(&key) {
            Some(staged) if staged.kind == kind::PUT => staged.generation = generation,
            _ => {
                self.know(&key);
                let staged = Staged {
                    kind: kind::ADOPTED,
                    generation,
                    revision: Revision(0),
                    body: None,
                };
                waiting.insert(key, staged);
            }
        }
        Ok(())
    }

    fn commit(&mut self, proof: &Proof) -> Result<()> {
        let mut merging = self.merging.take();
        let done = self.writing(|tx, id| {
            around(merging.as_deref_mut(), tx, |tx| {
                let upstream = upstream(&tx.view(), id)?;
                if upstream.was_edited && upstream.base == Base::Unnumbered {
                    // What was equal when it was matched may be so no more, and no generation tells.
                    return Err(corrupt("the copy was edited while it was matched by key"));
                }
                tx.merge_copy(id, upstream.base, upstream.unnumbered)?;
                tx.seal()?;
                let view = tx.view();
                // A summary that was given up may have any root.
                let is_kept = view.summary(id, Side::Up)?.is_some_and(|s| !s.stale);
                if !is_kept || view.root(id, Side::Up)? != proof.root {
                    return Err(corrupt("the copy is not what was proven"));
                }
                tx.note_proof(id, proof)
            })
        });
        self.merging = merging;
        done
    }
}

/// Documents change, and together with them what changes with them.
fn around(
    mut merging: Option<&mut (dyn Merging + '_)>,
    tx: &mut SqliteWrite<'_>,
    documents: impl FnOnce(&mut SqliteWrite<'_>) -> Result<()>,
) -> Result<()> {
    if let Some(merging) = merging.as_deref_mut() {
        merging.before(tx)?;
    }
    documents(tx)?;
    merging.map_or(Ok(()), |merging| merging.after(tx))
}
