//! A server that decides edit by edit and forgets to say what became of some, as importers of tracker data do: random edits,
//! failures and answers lead only where the table of states leads, and nothing that was not sent is lost.

use std::collections::BTreeMap;

use haversack_model::local::{FrozenBatch, LocalReplica as _, ReplicaHeader};
use haversack_model::remote::{BatchReply, Page, Renewed};
use haversack_model::{
    BatchNumber, BlobHash, CollectionId, Cursor, Direction, Edit, Error, Generation, GlobalId,
    HistoryId, OutboxEntry, Outcome, Policy, Receipt, Record, RejectCode, Remote, ReplicaId,
    Result, SyncState, Value,
};
use haversack_sync::client::{self, Summary};
use haversack_sync::states::{self, Event};
use proptest::prelude::*;
use uuid::Uuid;

use crate::ground::{BRANCHES, TREES, id, service, set, tree};
use crate::memory::{MemoryReplica, SharedReplica};

type Key = (CollectionId, GlobalId);

/// What the server does, one number for each occasion; when they are used up all goes well.
#[derive(Debug, Default)]
struct Importer {
    rows: BTreeMap<Key, Record>,
    fates: Vec<u8>,
    pushes: usize,
}

fn take(rows: &mut BTreeMap<Key, Record>, collection: CollectionId, edit: &Edit) {
    let key = (collection, edit.global_id().clone());
    match edit {
        Edit::Add { record, .. } => {
            rows.insert(key, record.clone());
        }
        // Of a record that is not there an update makes one, as whole as it is itself.
        Edit::Update {
            global_id, mine, ..
        } => {
            let row = rows.entry(key).or_insert_with(|| Record {
                global_id: global_id.clone(),
                object_id: None,
                values: vec!["never told".into(); if collection == TREES { 3 } else { 2 }],
                geometry: None,
            });
            mine.apply_to(row);
        }
        Edit::Delete { .. } => {
            rows.remove(&key);
        }
    }
}

impl Importer {
    fn fate(&mut self) -> u8 {
        self.fates.pop().unwrap_or(0)
    }

    /// A branch whose tree is not here.
    fn is_orphan(&self, collection: CollectionId, edit: &Edit) -> bool {
        let Edit::Add { record, .. } = edit else {
            return false;
        };
        let tree = record.values[0].as_text().unwrap_or_default();
        let tree = GlobalId::parse_uuid(tree);
        collection == BRANCHES && !tree.is_ok_and(|tree| self.rows.contains_key(&(TREES, tree)))
    }

    fn decide(&mut self, collection: CollectionId, edit: &Edit) -> Outcome {
        let rejected = |code, reason: &str| Outcome::Rejected {
            code,
            reason: reason.to_owned(),
        };
        if self.is_orphan(collection, edit) {
            return rejected(RejectCode::NoParent, "E5000");
        }
        // What it has taken before it takes again.
        let mut after = self.rows.clone();
        take(&mut after, collection, edit);
        let is_repeat = after == self.rows;
        match self.fate() % 8 {
            1 if !is_repeat => rejected(RejectCode::InvalidValue, "E1007"),
            2 => rejected(RejectCode::Untold, "not named"),
            3 => {
                self.rows = after;
                rejected(RejectCode::Untold, "not named")
            }
            _ => {
                self.rows = after;
                Outcome::Applied
            }
        }
    }
}

fn cut() -> Error {
    Error::Network("the connection was cut".into())
}

fn unused<T>() -> Result<T> {
    Err(Error::Corrupt("an upload does not ask for this".to_owned()))
}

impl Remote for Importer {
    fn push(&mut self, header: &ReplicaHeader, batch: &FrozenBatch) -> Result<BatchReply> {
        self.pushes += 1;
        let fate = self.fate() % 8;
        if fate == 1 {
            return Err(cut());
        }
        let receipt = |(collection, edit): &(CollectionId, Edit)| Receipt {
            collection: *collection,
            global_id: edit.global_id().clone(),
            outcome: self.decide(*collection, edit),
            object_id: None,
            after: None,
            version: None,
            left: false,
        };
        let receipts = batch.edits.iter().map(receipt).collect();
        if fate == 2 {
            return Err(cut());
        }
        Ok(BatchReply {
            receipts,
            conflicts: Vec::new(),
            generation: header.cursor.generation.next(),
        })
    }
    fn pull(&mut self, _: &ReplicaHeader) -> Result<Page> {
        unused()
    }
    fn push_blob(&mut self, _: &ReplicaHeader, _: BlobHash, _: &[u8]) -> Result<()> {
        unused()
    }
    fn pull_blob(
        &mut self,
        _: &ReplicaHeader,
        _: CollectionId,
        _: &GlobalId,
        _: BlobHash,
    ) -> Result<Vec<u8>> {
        unused()
    }
    fn renew(&mut self, _: &ReplicaHeader) -> Result<Renewed> {
        unused()
    }
    fn release(&mut self, _: &ReplicaHeader) -> Result<()> {
        unused()
    }
}

fn file() -> SharedReplica {
    let service = service();
    let header = ReplicaHeader {
        id: ReplicaId(Uuid::from_u128(7)),
        name: "ann".to_owned(),
        url: String::new(),
        protocol: "importer".to_owned(),
        cursor: Cursor::bare(HistoryId(Uuid::nil()), Generation::ZERO),
        layer_cursors: Vec::new(),
        direction: Direction::Bidirectional,
        policy: Policy::Client,
        next_batch: BatchNumber(1),
        schema_version: service.schema_version,
        resyncing: false,
        download: None,
        ahead: haversack_model::Versions::default(),
        synced_at: None,
        filter: String::new(),
    };
    SharedReplica::new(MemoryReplica::new(header, service.collections), None)
}

fn branch(number: u128, of: u128, label: &str) -> Record {
    Record {
        global_id: id(100 + number),
        object_id: None,
        values: vec![Value::Text(id(of).braced()), label.into()],
        geometry: None,
    }
}

fn upload(file: &mut SharedReplica, server: &mut Importer) -> Result<Summary> {
    client::upload(file, server, 3, &mut |_| {})
}

/// State and base of every record that has an entry.
fn states_of(file: &SharedReplica) -> BTreeMap<Key, OutboxEntry> {
    let file = file.file();
    let entries = file.outbox.values().cloned();
    entries
        .map(|entry| ((entry.collection, entry.global_id.clone()), entry))
        .collect()
}

fn check(before: &BTreeMap<Key, OutboxEntry>, file: &SharedReplica, events: &[Event]) {
    let after = states_of(file);
    for key in before.keys().chain(after.keys()) {
        let state = |of: &BTreeMap<Key, OutboxEntry>| of.get(key).map(|entry| entry.state);
        let (from, to) = (state(before), state(&after));
        let may = states::reachable(from, events);
        assert!(
            may.contains(&to),
            "{key:?}: {from:?} to {to:?} by {events:?}"
        );
    }
    for entry in after.values() {
        assert!(states::is_coherent(entry), "{entry:?}");
    }
}

const EDITS: &[Event] = &[Event::Create, Event::Edit, Event::Delete];
const UPLOAD: &[Event] = &[
    Event::Freeze,
    Event::Accepted,
    Event::Rejected,
    Event::Untold,
    Event::ParentRejected,
    Event::Retry,
];

/// Somebody edits a tree or a branch.
fn edit(file: &SharedReplica, what: u8, number: u8, value: u8) {
    let number = u128::from(number % 3) + 1;
    file.edit(|file| {
        let exists = |of: CollectionId, which: &GlobalId| {
            file.rows().any(|((c, i), _)| *c == of && i == which)
        };
        let has_tree = exists(TREES, &id(number));
        let has_branch = exists(BRANCHES, &id(100 + number));
        match what % 6 {
            // A settled edit of the row would be the same again; deletions in the middle make it anew.
            0 | 1 if has_tree => {
                _ = file.edit_update(TREES, &id(number), &set(1, i64::from(value)));
            }
            0 | 1 => file.edit_insert(TREES, tree(number, "oak", i64::from(value))),
            2 if has_branch => {
                _ = file.edit_update(BRANCHES, &id(100 + number), &set(1, format!("b{value}")));
            }
            2 if has_tree => file.edit_insert(BRANCHES, branch(number, number, "b")),
            3 if has_branch => _ = file.edit_delete(BRANCHES, &id(100 + number)),
            4 if has_tree && !has_branch => _ = file.edit_delete(TREES, &id(number)),
            _ => {}
        }
    });
}

fn retry_all(file: &mut SharedReplica) {
    let mut tx = file.begin().expect("a transaction");
    client::retry(&mut *tx).expect("a retry");
    tx.commit().expect("a commit");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn whatever_an_importer_answers_no_state_is_new_and_nothing_is_lost(
        steps in prop::collection::vec((0..9_u8, any::<u8>(), any::<u8>()), 1..40),
        fates in prop::collection::vec(any::<u8>(), 0..120),
    ) {
        let mut file = file();
        let mut server = Importer { fates, ..Importer::default() };
        for (what, number, value) in steps {
            let before = states_of(&file);
            match what {
                0..6 => {
                    edit(&file, what, number, value);
                    check(&before, &file, EDITS);
                }
                6 => {
                    retry_all(&mut file);
                    check(&before, &file, &[Event::Retry]);
                }
                _ => {
                    // A lost answer is an error, and the batch stays.
                    let _lost = upload(&mut file, &mut server);
                    check(&before, &file, UPLOAD);
                }
            }
        }
        server.fates.clear();
        for _ in 0..8 {
            upload(&mut file, &mut server).expect("an upload");
            retry_all(&mut file);
        }
        prop_assert!(states_of(&file).is_empty(), "{:?}", states_of(&file));
        let here: Vec<(Key, Vec<Value>)> = file.edit(|file| {
            file.rows().map(|(key, row)| (key.clone(), row.values.clone())).collect()
        });
        let there: Vec<(Key, Vec<Value>)> = server.rows.iter().map(|(key, row)| (key.clone(), row.values.clone())).collect();
        prop_assert_eq!(here, there);
    }
}

#[test]
fn an_edit_that_the_answer_does_not_name_waits_and_goes_behind_all_others() {
    let mut file = file();
    file.edit(|file| {
        for number in 1..=4 {
            file.edit_insert(TREES, tree(number, "oak", 1));
        }
    });
    // Popped from the end: the request is answered, the first tree is not named, the others are stored.
    let mut server = Importer {
        fates: vec![0, 0, 0, 0, 0, 0, 2, 0],
        ..Importer::default()
    };
    let summary = upload(&mut file, &mut server).expect("an upload");
    assert_eq!((summary.applied, summary.untold), (4, 1), "{summary:?}");
    assert_eq!(server.pushes, 3);
    assert!(states_of(&file).is_empty());
}

#[test]
fn an_upload_ends_when_the_server_says_nothing_of_any_edit() {
    let mut file = file();
    file.edit(|file| {
        for number in 1..=7 {
            file.edit_insert(TREES, tree(number, "oak", 1));
        }
    });
    // Every request is answered, no edit is named.
    let mut server = Importer {
        fates: [2, 2, 2, 0].repeat(50),
        ..Importer::default()
    };
    let summary = upload(&mut file, &mut server).expect("an upload");
    assert!(server.pushes <= 2, "{}", server.pushes);
    assert_eq!((summary.applied, summary.rejected.len()), (0, 0));
    let entries = states_of(&file);
    assert_eq!(entries.len(), 7);
    assert!(
        entries
            .values()
            .all(|entry| entry.state == SyncState::ToPost)
    );
}

#[test]
fn what_is_made_again_after_a_deletion_of_which_nothing_was_told_is_sent_whole() {
    let mut file = file();
    file.edit(|file| file.edit_insert(TREES, tree(2, "oak", 1)));
    let mut server = Importer::default();
    upload(&mut file, &mut server).expect("an upload");
    file.edit(|file| file.edit_delete(TREES, &id(2)));
    // Taken, and not named in the answer.
    server.fates = vec![3, 0];
    upload(&mut file, &mut server).expect("an upload");
    assert!(server.rows.is_empty());
    file.edit(|file| file.edit_insert(TREES, tree(2, "oak", 1)));
    upload(&mut file, &mut server).expect("an upload");
    assert_eq!(
        server.rows[&(TREES, id(2))].values,
        tree(2, "oak", 1).values
    );
    assert!(states_of(&file).is_empty());
}
