//! The end of a case: faults cease, everything arrives, everybody synchronises until nothing is left to do.
//!
//! At rest means: no message under way, no transaction open, no batch unanswered, nothing pending, no download under
//! way, and every cursor at the head.

use std::collections::BTreeSet;

use haversack_model::SyncState;

use crate::ground::{Key, tokens};
use crate::oracle::{Check, check_equal, check_theirs, refused_tokens, server_view};
use crate::world::{World, fail};

/// More rounds than any case needs.
const MOST_ROUNDS: usize = 12;

impl World<'_> {
    /// Brings the case to rest and looks at everything.
    pub fn come_to_rest(&mut self) -> Check {
        self.calm = true;
        self.faults.held = 0;
        self.trace.note("faults cease");
        self.settle()?;
        let mut refused = BTreeSet::new();
        for native in &self.natives {
            refused.extend(refused_tokens(&native.file.file()));
        }
        let kept = self.natives.iter().flat_map(|native| {
            let file = native.file.file();
            let mine = file.conflicts.values().filter_map(|c| c.mine.as_ref());
            mine.flat_map(|mine| tokens(mine).collect::<Vec<_>>())
                .collect::<Vec<_>>()
        });
        let told: BTreeSet<u64> = kept.map(|(_, token)| token).collect();
        self.oracle.all_ended(&refused, &told)?;
        for at in 0..self.natives.len() {
            let file = self.natives[at].file.file();
            let view = server_view(self.server.store, file.header.id).map_err(fail)?;
            check_theirs(&file, &view).map_err(|found| format!("n{at}: {found}"))?;
        }
        self.check_conflicts()?;
        for at in 0..self.natives.len() {
            let unsent: Vec<Key> = self.natives[at]
                .file
                .file()
                .outbox
                .keys()
                .cloned()
                .collect();
            for key in unsent {
                self.native_discard(at, &key)?;
            }
        }
        for at in 0..self.foreigns.len() {
            self.foreign_discard(at);
        }
        self.settle()?;
        for at in 0..self.natives.len() {
            let native = &self.natives[at];
            let id = native.file.file().header.id;
            let view = server_view(self.server.store, id).map_err(fail)?;
            check_equal(&format!("n{at}"), &native.rows(), &view)?;
        }
        for at in 0..self.foreigns.len() {
            let client = &self.foreigns[at];
            let view = server_view(self.server.store, client.replica).map_err(fail)?;
            let mut rows = client.rows();
            for row in rows.values_mut() {
                row.object_id = None;
            }
            let view = view
                .into_iter()
                .map(|(key, mut row)| {
                    let known = rows.get(&key).map_or(usize::MAX, |row| row.values.len());
                    // Columns that were added since are not in an old file.
                    row.record.values.truncate(known);
                    (key, row)
                })
                .collect();
            check_equal(&format!("f{at}"), &rows, &view)?;
        }
        Ok(())
    }

    fn settle(&mut self) -> Check {
        for _ in 0..MOST_ROUNDS {
            self.flush()?;
            for at in 0..self.natives.len() {
                self.synchronise(at)?;
            }
            for at in 0..self.foreigns.len() {
                self.foreign_give_up(at);
                if self.foreigns[at].is_outdated {
                    self.foreign_check_out(at)?;
                }
                self.foreign_send(at);
                self.flush()?;
            }
            if self.is_at_rest()? {
                return Ok(());
            }
        }
        Err(format!(
            "the case does not come to rest: {}",
            self.unrest()?
        ))
    }

    fn is_at_rest(&self) -> Check<bool> {
        Ok(self.unrest()?.is_empty())
    }

    /// Why it is not at rest.
    fn unrest(&self) -> Check<String> {
        let head = self
            .server
            .store
            .begin_read()
            .and_then(|tx| tx.head())
            .map_err(fail)?;
        if !self.bag.is_empty() || !self.server.open.is_empty() {
            return Ok("something is under way".to_owned());
        }
        for (at, native) in self.natives.iter().enumerate() {
            let file = native.file.file();
            let header = &file.header;
            let pending = file
                .outbox
                .values()
                .any(|entry| !matches!(entry.state, SyncState::Error | SyncState::Warning));
            if pending || !file.batches.is_empty() {
                return Ok(format!("n{at} has unsent edits"));
            }
            let at_head = header.cursor.history == head.history
                && header.cursor.generation == head.generation
                && !header.resyncing
                && header.download.is_none();
            if !at_head {
                return Ok(format!("n{at} stands at {:?}", header.cursor.generation));
            }
        }
        for (at, client) in self.foreigns.iter().enumerate() {
            let at_head = client
                .cursors
                .values()
                .all(|cursor| *cursor == head.generation);
            if client.is_waiting() || client.is_outdated || !at_head {
                return Ok(format!("f{at} is behind"));
            }
        }
        Ok(String::new())
    }

    /// Conflicts of a replica are on both sides (G6).
    fn check_conflicts(&self) -> Check {
        for (at, native) in self.natives.iter().enumerate() {
            let file = native.file.file();
            for id in file.conflicts.keys() {
                let known = self.oracle.ledger.conflicts.contains(id);
                if !known && !native.conflicts_lost {
                    return Err(format!(
                        "G6: n{at} keeps a conflict that the server has not"
                    ));
                }
            }
            if native.is_copied || native.conflicts_lost {
                continue;
            }
            let tx = self.server.store.begin_read().map_err(fail)?;
            for (id, here) in file.conflicts.iter() {
                let there = tx.conflict(*id).map_err(fail)?.and_then(|c| c.resolution);
                let same = match (&here.resolution, &there) {
                    (None, None) => true,
                    // Told, and not taken: who may not edit cannot close a conflict there.
                    (Some(made), None) => !made.told,
                    (made, there) => made == there,
                };
                if !same {
                    return Err(format!(
                        "G6: n{at} knows another decision than the server: {:?} for {there:?}",
                        here.resolution
                    ));
                }
            }
            let mut missing = false;
            tx.conflicts(false, &mut |conflict| {
                missing |= conflict.replica == Some(file.header.id)
                    && !file.conflicts.contains_key(&conflict.id);
                Ok(haversack_model::store::Flow::Continue(()))
            })
            .map_err(fail)?;
            if missing {
                return Err(format!("G6: a conflict of n{at} is on the server only"));
            }
        }
        Ok(())
    }
}
