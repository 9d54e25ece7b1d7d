//! What administrators do: pruning, grants, backups and restores, copies of files, new columns.

use haversack_model::access::{Access, Right};
use haversack_model::{Field, Generation, HistoryId, Service, Value};

use crate::client::Native;
use crate::ground::{PLOTS, TREES, VISITS, text_field, tokens};
use crate::memory::bug::Bug;
use crate::message::Party;
use crate::oracle::{Check, tokens_of};
use crate::server::Written;
use crate::sometimes::Rare;
use crate::world::{World, fail, rights};

impl World<'_> {
    pub fn prune(&mut self) -> Check {
        let mut tx = self.server.begin(&mut self.chance).map_err(fail)?;
        let head = tx.head().map_err(fail)?;
        let upto = Generation(
            head.generation
                .0
                .saturating_sub(self.chance.below(4) as u64),
        );
        let floor = tx.prune_history(upto).map_err(fail)?;
        tx.commit().map_err(fail)?;
        if floor > head.floor {
            self.seen.saw(Rare::Pruned);
        }
        self.trace.note(&format!("history up to {floor} is pruned"));
        self.observed(&Written::default())
    }

    pub fn change_grant(&mut self, user: usize) {
        let mut filters = Vec::new();
        for collection in [TREES, PLOTS, VISITS] {
            if self.chance.percent(40) {
                filters.push((collection, self.some_filter(collection)));
            }
        }
        let mut all = rights();
        if self.chance.percent(10) {
            all.retain(|right| *right != Right::Edit);
        }
        self.server.users[user] = Access {
            rights: all,
            filters,
            levels: Vec::new(),
        };
        self.trace
            .note(&format!("the grants of user {user} change"));
    }

    pub fn restore_server(&mut self) -> Check {
        let Some((state, ledger)) = self.chance.pick(&self.backups).cloned() else {
            return Ok(());
        };
        self.server.open.clear();
        self.server.store.restore(&state);
        self.oracle.restored(ledger);
        self.natives
            .iter_mut()
            .for_each(|n| n.conflicts_lost = true);
        self.trace.note("the server is restored from a backup");
        if self.columns > 0 {
            self.widen_service()?;
        }
        if self.bug == Some(Bug::SameHistory) {
            return Ok(());
        }
        // An administrator who forgets the new history: the first request of whoever is ahead proves the rewind.
        let head = self
            .server
            .store
            .begin_read()
            .and_then(|tx| tx.head())
            .map_err(fail)?;
        let ahead = self.natives.iter().position(|native| {
            let cursor = native.file.file().header.cursor;
            cursor.history == head.history && cursor.generation > head.generation
        });
        if let Some(at) = ahead
            && self.chance.percent(50)
        {
            let header = self.natives[at].file.file().header.clone();
            if self
                .server
                .rewound(&header, &mut self.chance)
                .map_err(fail)?
            {
                self.seen.saw(Rare::RewindNoticed);
            }
        } else {
            let mut tx = self.server.begin(&mut self.chance).map_err(fail)?;
            tx.start_history(HistoryId(self.chance.uuid()))
                .map_err(fail)?;
            tx.commit().map_err(fail)?;
        }
        let written = Written {
            new_history: true,
            ..Written::default()
        };
        self.observed(&written)
    }

    pub fn restore_file(&mut self, at: usize) {
        let client = &mut self.natives[at];
        let Some((copy, local)) = self.chance.pick(&client.backups) else {
            return;
        };
        let file = client.file.file();
        let frozen = file.batches.values().flat_map(|batch| &batch.edits);
        let gone = frozen.flat_map(|(_, edit)| tokens_of(edit));
        let gone: Vec<u64> = gone.chain(client.local.pending()).collect();
        drop(file);
        let old = copy.file();
        let frozen = old.batches.values().flat_map(|batch| &batch.edits);
        let kept = frozen.flat_map(|(_, edit)| tokens_of(edit));
        let kept: Vec<u64> = kept.chain(local.pending()).collect();
        drop(old);
        for token in gone {
            if !kept.contains(&token) {
                self.oracle.change(token, |mark| mark.lost = true);
            }
        }
        let told = client.file.file().receipts.clone();
        let kept = copy.file().receipts.clone();
        for (.., edit) in told.iter().filter(|receipt| !kept.contains(receipt)) {
            for token in tokens_of(edit) {
                self.oracle.change(token, |mark| mark.frail = true);
            }
        }
        for conflict in client.file.file().conflicts.values() {
            if !copy.file().conflicts.contains_key(&conflict.id) {
                for (_, token) in conflict.mine.iter().flat_map(tokens) {
                    self.oracle.change(token, |mark| mark.frail = true);
                }
            }
        }
        client.file = copy.copy();
        client.local = local.clone();
        client.session += 1;
        client.is_copied = true;
        self.trace.note(&format!("n{at} is restored from a backup"));
        // What this file did since is unknown to it: its own edits are like another's.
        for mark in &mut self.oracle.marks {
            if mark.party == Party::Native(at) {
                mark.exempt = true;
            }
        }
    }

    pub fn clone_file(&mut self, at: usize) {
        if self.natives.len() >= 5 {
            return;
        }
        self.forget_own(at);
        let client = &mut self.natives[at];
        client.is_copied = true;
        let mut twin = Native::new(client.file.copy());
        twin.local = client.local.clone();
        twin.graves.clone_from(&client.graves);
        twin.is_copied = true;
        twin.conflicts_lost = client.conflicts_lost;
        twin.forgotten.clone_from(&client.forgotten);
        self.trace
            .note(&format!("n{} is a copy of n{at}", self.natives.len()));
        self.natives.push(twin);
    }

    pub fn add_column(&mut self) -> Check {
        if self.columns >= 1 || !self.server.open.is_empty() {
            return Ok(());
        }
        self.columns += 1;
        self.trace.note("a column is added");
        self.widen_service()?;
        self.observed(&Written::default())
    }

    /// Adds the column, unless it is there. Whoever puts an old copy of the service back does it again: a schema that
    /// loses columns is another service to its replicas.
    fn widen_service(&mut self) -> Check {
        let mut tx = self.server.begin(&mut self.chance).map_err(fail)?;
        let mut service: Service = tx.service().map_err(fail)?;
        if service.schema_version > 1 {
            return Ok(());
        }
        service.schema_version += 1;
        for collection in &mut service.collections {
            let extra = Field {
                default: Value::from("plain"),
                ..text_field("extra")
            };
            collection.fields.push(extra);
        }
        tx.store_service(&service).map_err(fail)?;
        tx.commit().map_err(fail)?;
        self.oracle.ledger.widen(&service);
        Ok(())
    }
}
