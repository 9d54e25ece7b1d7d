//! A replica that holds tree 7, an oak, in single steps: what is sent, answered and downloaded, in any order.

use std::cell::RefCell;

use haversack_model::local::{FrozenBatch, LocalReplica, ReplicaHeader};
use haversack_model::remote::{BatchReply, Page};
use haversack_model::{Filter, OutboxEntry, Policy, Remote, ReplicaTx, Result, Value};
use haversack_sync::client;

use crate::ground::{Ground, all_rights, id, tree};
use crate::loopback::Loopback;
use crate::memory::MemoryReplica;

/// A replica and its server, step by step.
pub(crate) struct Scene<'a> {
    pub(crate) ground: &'a Ground,
    pub(crate) remote: Loopback<'a>,
    pub(crate) file: MemoryReplica,
}

impl<'a> Scene<'a> {
    /// A replica that holds tree 7, `oak`.
    pub(crate) fn new(ground: &'a Ground, replies: &'a RefCell<Vec<BatchReply>>) -> Self {
        Self::filtered(ground, replies, Filter::All)
    }

    pub(crate) fn filtered(
        ground: &'a Ground,
        replies: &'a RefCell<Vec<BatchReply>>,
        filter: Filter,
    ) -> Self {
        ground.add(&tree(7, "oak", 1));
        let remote = Loopback {
            ground,
            user: "ann".to_owned(),
            access: all_rights(),
            page_size: 100,
            lose_reply: false,
            replies,
        };
        let file = remote.checkout("ann", Policy::Merge, filter);
        let mut scene = Self {
            ground,
            remote,
            file,
        };
        scene.sync();
        scene
    }

    pub(crate) fn sync(&mut self) {
        let ground = self.ground;
        client::synchronise(
            &mut self.file,
            &mut self.remote,
            &|| ground.now(),
            &mut |_| {},
        )
        .expect("a sync");
    }

    pub(crate) fn freeze(&mut self) -> FrozenBatch {
        let mut tx = self.file.begin().expect("a transaction");
        let batch = client::freeze(&mut *tx, self.ground.now());
        let batch = batch.expect("frozen").expect("a batch");
        tx.commit().expect("a commit");
        batch
    }

    pub(crate) fn push(&mut self, batch: &FrozenBatch) -> BatchReply {
        let header = self.file.header().clone();
        self.remote.push(&header, batch).expect("a reply")
    }

    pub(crate) fn pull(&mut self) -> (ReplicaHeader, Page) {
        let header = self.file.header().clone();
        let page = self.remote.pull(&header).expect("a page");
        (header, page)
    }

    pub(crate) fn store_page(&mut self, (asked, page): &(ReplicaHeader, Page)) {
        let mut tx = self.file.begin().expect("a transaction");
        assert!(
            client::apply_page(&mut *tx, asked, page)
                .expect("a page stored")
                .is_some()
        );
        tx.commit().expect("a commit");
    }

    /// The answer to an upload is lost, and the next page shows what arrived.
    pub(crate) fn send_and_see_it_in_a_page(&mut self) {
        let batch = self.freeze();
        self.push(&batch);
        let page = self.pull();
        self.store_page(&page);
    }

    pub(crate) fn store_reply(&mut self, batch: &FrozenBatch, reply: &BatchReply) -> usize {
        let mut tx = self.file.begin().expect("a transaction");
        let outcomes = client::apply_reply(&mut *tx, batch.number, reply, self.ground.now());
        let count = outcomes.expect("a reply stored").len();
        tx.commit().expect("a commit");
        count
    }

    /// One transaction on the file.
    pub(crate) fn write<T>(&mut self, work: impl FnOnce(&mut dyn ReplicaTx) -> Result<T>) -> T {
        let mut tx = self.file.begin().expect("a transaction");
        let done = work(&mut *tx).expect("a step");
        tx.commit().expect("a commit");
        done
    }

    /// The outbox entry of tree 7.
    pub(crate) fn entry(&self) -> Option<&OutboxEntry> {
        self.file.outbox().find(|entry| entry.global_id == id(7))
    }

    pub(crate) fn name(&self) -> Option<Value> {
        let found = self.file.rows().find(|((_, of), _)| *of == id(7));
        found.map(|(_, row)| row.values[0].clone())
    }
}
