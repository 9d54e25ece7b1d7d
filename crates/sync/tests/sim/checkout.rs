//! Replicas before anything happens to them: filters, registration, and the files that clients get.

use std::collections::BTreeMap;

use haversack_model::local::ReplicaHeader;
use haversack_model::{
    BatchNumber, CollectionId, Cursor, Direction, Filter, Generation, Policy, Record, Replica,
    ReplicaId, RowVersion, SyncModel,
};
use haversack_sync::{Ids, NewReplica};

use crate::client::Native;
use crate::foreign::Foreign;
use crate::ground::{self, Key, PLOTS, SIZES, TREES, VISITS, pictures};
use crate::memory::{MemoryReplica, SharedReplica};
use crate::oracle::Check;
use crate::server::user_name;
use crate::world::{World, fail};

impl World<'_> {
    /// Fills the service and checks replicas out.
    pub fn populate(&mut self) -> Check {
        for _ in 0..4 + self.chance.below(8) {
            self.online(true)?;
        }
        for user in 0..3 {
            if self.chance.percent(30) {
                self.change_grant(user);
            }
        }
        for _ in 0..2 + self.chance.below(2) {
            let user = self.chance.below(3);
            self.check_out(user)?;
        }
        for at in 0..self.chance.below(3) {
            let user = self.chance.below(3);
            let mut layers = vec![TREES, PLOTS, VISITS, pictures()];
            if self.chance.percent(30) {
                layers = vec![TREES, VISITS];
            }
            let shapes = self.shapes(&layers)?;
            let mut client = Foreign::new(ReplicaId(self.chance.uuid()), user, shapes);
            client.layers = layers;
            client.whole_rows = self.chance.percent(50);
            client.per_layer = self.chance.percent(40);
            self.foreigns.push(client);
            self.foreign_check_out(at)?;
        }
        Ok(())
    }

    pub fn shapes(&self, layers: &[CollectionId]) -> Check<Vec<haversack_model::Collection>> {
        let tx = self.server.store.begin_read().map_err(fail)?;
        layers
            .iter()
            .map(|layer| tx.collection(*layer).map_err(fail))
            .collect()
    }

    pub fn some_filter(&mut self, collection: CollectionId) -> Filter {
        match self.chance.below(6) {
            0 | 1 => Filter::All,
            2 if collection != VISITS && collection.attachments_of().is_none() => {
                ground::west_of(self.chance.below(8))
            }
            3 if collection == VISITS => {
                ground::of_trees(ground::size_up_to(self.chance.below(SIZES)))
            }
            _ if collection.attachments_of().is_some() => Filter::All,
            _ => ground::size_up_to(self.chance.below(SIZES)),
        }
    }

    /// Registers a replica and reads its part, in one transaction.
    pub fn register(
        &mut self,
        user: usize,
        layers: &[CollectionId],
        native: bool,
    ) -> Check<(Replica, Generation, BTreeMap<Key, Record>)> {
        let policy = [Policy::Merge, Policy::Client, Policy::Server][self.chance.below(3)];
        let layers = layers
            .iter()
            .map(|layer| (*layer, self.some_filter(*layer)))
            .collect();
        let new = NewReplica {
            name: String::new(),
            owner: user_name(user),
            native,
            sync_model: SyncModel::PerReplica,
            direction: Direction::Bidirectional,
            policy,
            layers,
            dialect: String::new(),
        };
        let access = self.server.users[user].clone();
        let mut tx = self.server.begin(&mut self.chance).map_err(fail)?;
        let now = self.server.now(&mut self.chance);
        let ids = &mut || self.chance.uuid();
        let replica = haversack_sync::register(&mut *tx, new.clone(), &access, now, &mut Ids(ids))
            .map_err(fail)?;
        tx.commit().map_err(fail)?;
        self.registered.insert(replica.id, (user, new));
        let cursor = self
            .server
            .store
            .begin_read()
            .and_then(|tx| tx.head())
            .map_err(fail)?;
        let view = crate::oracle::server_view(self.server.store, replica.id).map_err(fail)?;
        let rows = view
            .into_iter()
            .map(|(key, row)| {
                let record = Record {
                    object_id: None,
                    ..row.record
                };
                (key, record)
            })
            .collect();
        Ok((replica, cursor.generation, rows))
    }

    /// A new native client with a checked-out file, filled or empty.
    fn check_out(&mut self, user: usize) -> Check {
        let layers = [TREES, PLOTS, VISITS, pictures()];
        let (replica, generation, rows) = self.register(user, &layers, true)?;
        let prepared = self.chance.percent(70);
        let tx = self.server.store.begin_read().map_err(fail)?;
        let head = tx.head().map_err(fail)?;
        let service = tx.service().map_err(fail)?;
        let header = ReplicaHeader {
            id: replica.id,
            name: String::new(),
            url: String::new(),
            protocol: "native".to_owned(),
            cursor: Cursor::bare(
                head.history,
                if prepared {
                    generation
                } else {
                    Generation::ZERO
                },
            ),
            layer_cursors: Vec::new(),
            direction: Direction::Bidirectional,
            policy: replica.policy,
            next_batch: BatchNumber(1),
            schema_version: service.schema_version,
            // An empty file is filled by a comparison with all that the server has.
            resyncing: !prepared,
            download: None,
            ahead: haversack_model::Versions::default(),
            synced_at: None,
            filter: String::new(),
        };
        let file = SharedReplica::new(MemoryReplica::new(header, self.shapes(&layers)?), self.bug);
        let at = self.natives.len();
        self.natives.push(Native::new(file));
        if prepared {
            let mut versions = Vec::new();
            for key in rows.keys() {
                let track = tx.track(key.0, &key.1).map_err(fail)?;
                versions.push(track.map(|track| RowVersion {
                    revision: track.revision,
                    generation: track.generation,
                }));
            }
            drop(tx);
            let calm = std::mem::replace(&mut self.calm, true);
            self.step(at, |tx, _| {
                for ((key, row), version) in rows.iter().zip(versions) {
                    tx.put_row(key.0, row)?;
                    tx.store_version(key.0, &key.1, version)?;
                }
                Ok(())
            })?;
            self.calm = calm;
        }
        self.trace.note(&format!(
            "n{at} checks out, as user {user}, {:?}",
            replica.policy
        ));
        Ok(())
    }
}
