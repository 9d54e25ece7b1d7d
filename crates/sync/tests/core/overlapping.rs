//! Uploads in several batches: the server works on one while the answer to the one before is settled and the next is frozen.

use std::cell::RefCell;

use haversack_model::local::{FrozenBatch, ReplicaHeader};
use haversack_model::remote::{BatchReply, Page, Renewed};
use haversack_model::{BlobHash, CollectionId, Filter, GlobalId, Policy, Remote, Result};
use haversack_sync::client;

use crate::ground::{Ground, TREES, all_rights, id, set, tree};
use crate::loopback::Loopback;
use crate::memory::SharedReplica;

/// A server that has answered before the client comes to the rest of its work.
#[derive(Debug)]
struct Swift<'a>(Loopback<'a>);

impl Remote for Swift<'_> {
    fn push(&mut self, header: &ReplicaHeader, batch: &FrozenBatch) -> Result<BatchReply> {
        self.0.push(header, batch)
    }
    fn push_while(
        &mut self,
        header: &ReplicaHeader,
        batch: &FrozenBatch,
        meanwhile: &mut dyn FnMut(),
    ) -> Result<BatchReply> {
        let reply = self.0.push(header, batch);
        meanwhile();
        reply
    }
    fn pull(&mut self, header: &ReplicaHeader) -> Result<Page> {
        self.0.pull(header)
    }
    fn push_blob(&mut self, header: &ReplicaHeader, hash: BlobHash, content: &[u8]) -> Result<()> {
        self.0.push_blob(header, hash, content)
    }
    fn pull_blob(
        &mut self,
        header: &ReplicaHeader,
        collection: CollectionId,
        attachment: &GlobalId,
        hash: BlobHash,
    ) -> Result<Vec<u8>> {
        self.0.pull_blob(header, collection, attachment, hash)
    }
    fn renew(&mut self, header: &ReplicaHeader) -> Result<Renewed> {
        self.0.renew(header)
    }
    fn release(&mut self, header: &ReplicaHeader) -> Result<()> {
        self.0.release(header)
    }
}

const TREES_EDITED: u128 = 7;
const MOST: usize = 2;

/// Edits seven trees and uploads them in pairs; the program is killed at a commit, and starts again. Gives whether it lived
/// to that commit.
fn killed_at(commit: u32) -> bool {
    let ground = Ground::new();
    for number in 1..=TREES_EDITED {
        ground.add(&tree(number, "oak", 1));
    }
    let replies = RefCell::default();
    let mut remote = Swift(Loopback {
        ground: &ground,
        user: "ann".to_owned(),
        access: all_rights(),
        page_size: 100,
        lose_reply: false,
        replies: &replies,
    });
    let mut file = SharedReplica::new(remote.0.checkout("ann", Policy::Merge, Filter::All), None);
    let mut sync = |file: &mut SharedReplica| {
        let now = || ground.now();
        client::synchronise_in_batches(file, &mut remote, MOST, &now, &mut |_| {})
    };
    sync(&mut file).expect("a download");
    let identity = file.file().header.id;
    for number in 1..=TREES_EDITED {
        assert!(file.edit(|file| file.edit_update(TREES, &id(number), &set(0, "yew"))));
    }
    file.crash_in(Some(commit));
    let lived = sync(&mut file).is_err();
    file.crash_in(None);
    let summary = sync(&mut file).expect("the sync after it");
    assert_eq!(file.file().header.id, identity, "killed at {commit}");
    assert!(!summary.resynced && file.file().outbox.is_empty());
    assert!(file.file().batches.is_empty() && file.file().answers.is_empty());
    let sent = replies.borrow().len();
    assert_eq!(sent, 4, "batches were stored, killed at {commit}");
    for number in 1..=TREES_EDITED {
        let stored = ground.record(TREES, &id(number)).expect("it is there");
        assert_eq!(stored.record.values[0], "yew".into());
    }
    lived
}

#[test]
fn a_sync_that_is_killed_at_any_commit_goes_on_and_sends_each_edit_once() {
    let commits = (0..100).take_while(|commit| killed_at(*commit)).count();
    assert!(commits > 8, "it was killed {commits} times");
}
