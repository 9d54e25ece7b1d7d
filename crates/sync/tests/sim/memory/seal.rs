//! What a commit of the store in memory is made of: the work is brought onto the newest state, and gets its generations.

use std::sync::Arc;

use haversack_model::{Generation, Result, Timestamp};

use super::bug::Bug;
use super::state::{OldVersion, Row, State};
use super::store::{Transaction, refused};

impl Transaction<'_> {
    /// Brings the work onto the newest committed state. Refused if that changed what this transaction changed.
    pub(super) fn merge_onto(&mut self, newest: &Arc<State>) -> Result<()> {
        if Arc::ptr_eq(newest, &self.base) {
            return Ok(());
        }
        let (changed, mine) = (&self.work.changed, &self.work.state);
        let clash = changed.everything
            || changed
                .records
                .iter()
                .any(|key| newest.rows.get(key) != self.base.rows.get(key))
            || changed
                .replicas
                .iter()
                .any(|id| newest.replicas.get(id) != self.base.replicas.get(id))
            || changed
                .conflicts
                .iter()
                .any(|id| newest.conflicts.get(id) != self.base.conflicts.get(id))
            || (changed.service && newest.service != self.base.service);
        if clash {
            return Err(refused("commit"));
        }
        let mut merged = (**newest).clone();
        for key in &changed.records {
            copy(&mut merged.rows, &mine.rows, key);
            copy(&mut merged.history, &mine.history, key);
        }
        for (collection, next) in mine.next_object.iter() {
            let slot = merged.next_object.entry(*collection).or_insert(*next);
            *slot = (*slot).max(*next);
        }
        changed
            .replicas
            .iter()
            .for_each(|id| copy(&mut merged.replicas, &mine.replicas, id));
        changed
            .replies
            .iter()
            .for_each(|id| copy(&mut merged.replies, &mine.replies, id));
        changed
            .last_edits
            .iter()
            .for_each(|key| copy(&mut merged.last_edits, &mine.last_edits, key));
        changed
            .conflicts
            .iter()
            .for_each(|id| copy(&mut merged.conflicts, &mine.conflicts, id));
        changed
            .blobs
            .iter()
            .for_each(|hash| copy(&mut merged.blobs, &mine.blobs, hash));
        if changed.service {
            merged.set_service(Arc::clone(&mine.service));
        }
        merged.head.revision = merged.head.revision.max(mine.head.revision);
        self.work.state = merged;
        self.base = Arc::clone(newest);
        Ok(())
    }

    /// Gives every changed record its generation, on the newest state, and moves replaced versions to the history.
    pub(super) fn number(&mut self) {
        let stamp = Timestamp(self.now.0.max(self.base.head.stamp.0 + 1));
        let mut generation = self.base.head.generation.0 + self.work.changed.extra_generations;
        for key in self.work.changed.records.clone() {
            let before = self.base.rows.get(&key).cloned();
            let state = &mut self.work.state;
            let Some(row) = state.rows.get_mut(&key) else {
                continue;
            };
            let was_live = before.as_ref().is_some_and(|row| row.record.is_some());
            if row.record.is_none() && !was_live {
                // Made and removed in one transaction: nothing happened.
                copy(&mut state.rows, &self.base.rows, &key);
                continue;
            }
            if self.store.bug == Some(Bug::GenerationAtStart) && row.track.generation.0 != u64::MAX
            {
                generation = generation.max(row.track.generation.0);
            } else {
                generation += 1;
                row.track.generation = Generation(generation);
            }
            let is_touch = self.work.changed.touched.contains(&key)
                && before.as_ref().is_some_and(|b| b.record == row.record);
            row.track.stamp = stamp;
            if !is_touch {
                row.content_since = row.track.generation;
            }
            let until = row.track.generation;
            if row.record.is_none() && self.store.bug == Some(Bug::NoTombstones) {
                state.rows.remove(&key);
            }
            if let Some(Row {
                track,
                content_since,
                record: Some(record),
            }) = before.filter(|_| !is_touch)
            {
                let old = OldVersion {
                    track,
                    from: content_since,
                    until,
                    record,
                };
                state.history.entry(key).or_default().push(old);
            }
        }
        let head = &mut self.work.state.head;
        if generation > head.generation.0 {
            head.generation = Generation(generation);
            head.stamp = stamp;
        }
    }
}

fn copy<K: Ord + Clone, V: Clone>(
    to: &mut std::collections::BTreeMap<K, V>,
    from: &std::collections::BTreeMap<K, V>,
    key: &K,
) {
    match from.get(key) {
        Some(value) => drop(to.insert(key.clone(), value.clone())),
        None => drop(to.remove(key)),
    }
}
