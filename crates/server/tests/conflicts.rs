//! A conflict is closed by a decision, on whichever side, and then on both.

#![allow(clippy::unwrap_used, reason = "a test ends there")]

mod support;

use std::path::PathBuf;

use haversack_model::conflict::Decided;
use haversack_model::local::LocalReplica as _;
use haversack_model::{Conflict, Error, GlobalId, Remote as _, Resolution, Timestamp, Value};
use haversack_server::Handle;
use haversack_server::grants::{Grant, parse_rights};
use haversack_server::native::NativeRemote;
use haversack_server::native::remote::Credentials;
use haversack_server::native::wire::Decision;
use haversack_sqlite::replica::ReplicaFile;
use haversack_sync::client::{Choice, apply_decisions, resolve, to_exchange};
use support::{
    POINTS, any_record, checkout, client, edit_with_sql, is_equal, remote, row, start, sync,
};

const SERVICE: &str = "WildfireSync";

/// A server, two files of which the second has met a conflict about the remarks of one point.
struct Ground {
    dir: tempfile::TempDir,
    handle: Handle,
    remote: NativeRemote,
    first: ReplicaFile,
    second: ReplicaFile,
    id: GlobalId,
}

impl Ground {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let handle = start(&dir);
        let mut remote = remote(&handle);
        let (one, two) = (dir.path().join("one.gpkg"), dir.path().join("two.gpkg"));
        let mut first = checkout(&remote, "one", &one);
        let mut second = checkout(&remote, "two", &two);
        let id = any_record(&handle, POINTS).global_id;
        let mut ground = {
            edit(&one, &first, &id, "remarks = 'from one'");
            edit(&two, &second, &id, "remarks = 'from two'");
            sync(&mut first, &mut remote).unwrap();
            assert_eq!(sync(&mut second, &mut remote).unwrap().conflicts, 1);
            Self {
                dir,
                handle,
                remote,
                first,
                second,
                id,
            }
        };
        assert_eq!(ground.here().resolution, None);
        assert_eq!(ground.there().resolution, None);
        ground
    }
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
    /// The conflict in the second file.
    fn here(&mut self) -> Conflict {
        let tx = self.second.begin().unwrap();
        tx.conflicts(false).unwrap().remove(0)
    }
    /// The conflict at the server.
    fn there(&self) -> Conflict {
        let mut all = self.remote.client().conflicts(SERVICE, true).unwrap();
        assert_eq!(all.len(), 1);
        all.remove(0)
    }
    fn decide_here(&mut self, choice: Choice) {
        let id = self.here().id;
        let mut tx = self.second.begin().unwrap();
        resolve(&mut *tx, id, choice, "ben", Timestamp(1_000)).unwrap();
        tx.commit().unwrap();
    }
    fn decide_there(&self, keep: &str) -> haversack_model::Result<Conflict> {
        let decision = Decision {
            keep: keep.to_owned(),
            record: None,
        };
        let client = self.remote.client();
        client.resolve(SERVICE, self.there().id, &decision)
    }
    fn sync(&mut self) {
        sync(&mut self.second, &mut self.remote).unwrap();
        sync(&mut self.first, &mut self.remote).unwrap();
        sync(&mut self.second, &mut self.remote).unwrap();
        assert!(is_equal(&self.first, &self.remote) && is_equal(&self.second, &self.remote));
    }
    fn value(&mut self, name: &str) -> Value {
        let at = self.first.collections()[0].field_index(name).unwrap();
        row(&mut self.first, POINTS, &self.id).unwrap().values[at].clone()
    }
}

fn edit(path: &std::path::Path, file: &ReplicaFile, id: &GlobalId, set: &str) {
    let table = file.table(POINTS).unwrap();
    let id = id.braced();
    edit_with_sql(
        path,
        &format!("UPDATE {table} SET {set} WHERE GlobalID = '{id}'"),
    );
}

#[test]
fn only_a_decision_closes_a_conflict() {
    let mut ground = Ground::new();
    ground.sync();
    let (one, id) = (ground.path("one.gpkg"), ground.id.clone());
    edit(&one, &ground.first, &id, "remarks = 'and on it goes'");
    ground.sync();
    ground.sync();
    assert_eq!(ground.here().resolution, None);
    assert_eq!(ground.there().resolution, None);
}

#[test]
fn a_decision_in_the_file_closes_the_row_of_the_server_with_the_next_sync() {
    let mut ground = Ground::new();
    ground.decide_here(Choice::Mine);
    assert_eq!(ground.there().resolution, None, "not before the sync");
    ground.sync();
    let there = ground.there().resolution.unwrap();
    assert_eq!((there.kept.as_str(), there.at), ("mine", Timestamp(1_000)));
    assert_eq!(there.user, "editor", "who logged in, not who a file names");
    assert!(ground.here().resolution.unwrap().told);
    assert_eq!(ground.value("remarks"), Value::from("from two"));
}

#[test]
fn a_decision_whose_answer_was_lost_is_told_again_and_changes_nothing() {
    let mut ground = Ground::new();
    ground.decide_here(Choice::Theirs);
    let header = ground.second.header().unwrap();
    let (decided, open) = to_exchange(&*ground.second.begin().unwrap()).unwrap();
    assert_eq!((decided.len(), open.len()), (1, 0));
    // It arrives, and the file never hears of it.
    let exchange = ground.remote.exchange_decisions(&header, &decided, &open);
    let first = ground.there().resolution;
    assert_eq!(exchange.unwrap()[0].resolution, first.clone().unwrap());
    assert!(!ground.here().resolution.unwrap().told);
    ground.sync();
    assert_eq!(ground.there().resolution, first);
    assert!(ground.here().resolution.unwrap().told);
    let left = to_exchange(&*ground.second.begin().unwrap()).unwrap();
    assert_eq!(left, (Vec::new(), Vec::new()), "nothing is told for ever");
}

#[test]
fn a_decision_at_the_server_reaches_every_file_that_carries_the_conflict() {
    let mut ground = Ground::new();
    let copy = ground.path("copy.gpkg");
    std::fs::copy(ground.path("two.gpkg"), &copy).unwrap();
    ground.decide_there("mine").unwrap();
    assert_eq!(ground.here().resolution, None);
    ground.sync();
    let here = ground.here().resolution.unwrap();
    assert_eq!((here.kept.as_str(), here.user.as_str()), ("mine", "editor"));
    assert_eq!(ground.value("remarks"), Value::from("from two"));

    // A copy of the file has, or gets, another identity; the conflict is the same.
    let mut copied = ReplicaFile::open(&copy).unwrap();
    edit(&copy, &copied, &ground.id, "personnel = 3");
    sync(&mut copied, &mut ground.remote).unwrap();
    let carried = copied.begin().unwrap().conflicts(false).unwrap();
    assert_eq!(carried[0].resolution.as_ref().unwrap().kept, "mine");
}

#[test]
fn where_both_sides_decide_the_first_at_the_server_stands_and_no_edit_is_lost() {
    let mut ground = Ground::new();
    ground.decide_there("theirs").unwrap();
    ground.decide_here(Choice::Mine);
    ground.sync();
    let there = ground.there().resolution.unwrap();
    assert_eq!(there.kept, "theirs");
    let here = ground.here().resolution.unwrap();
    assert_eq!((here.kept.as_str(), here.told), ("theirs", true));
    // What was decided in the file was an edit after that.
    assert_eq!(ground.value("remarks"), Value::from("from two"));
}

#[test]
fn a_decision_at_the_server_sets_only_what_the_conflict_was_about() {
    let mut ground = Ground::new();
    let (one, id) = (ground.path("one.gpkg"), ground.id.clone());
    edit(&one, &ground.first, &id, "personnel = 77");
    ground.sync();
    ground.decide_there("mine").unwrap();
    ground.sync();
    assert_eq!(ground.value("remarks"), Value::from("from two"));
    assert_eq!(ground.value("personnel"), Value::Integer(77));
}

#[test]
fn a_value_of_ones_own_is_kept_for_any_field() {
    let mut ground = Ground::new();
    let mut record = ground.here().theirs.unwrap();
    let at = |name: &str| ground.first.collections()[0].field_index(name).unwrap();
    let (remarks, personnel) = (at("remarks"), at("personnel"));
    record.values[remarks] = Value::from("from both");
    record.values[personnel] = Value::Integer(123);
    ground.decide_here(Choice::Edited(record));
    ground.sync();
    assert_eq!(ground.value("remarks"), Value::from("from both"));
    assert_eq!(ground.value("personnel"), Value::Integer(123));
}

#[test]
fn a_base_that_is_not_known_cannot_be_kept() {
    let mut ground = Ground::new();
    let mut conflict = ground.there();
    conflict.base = None;
    {
        use haversack_model::Store as _;
        let store = ground.handle.server.services.store(SERVICE).unwrap();
        let mut tx = store.begin_write(Timestamp(1)).unwrap();
        tx.store_conflict(&conflict).unwrap();
        tx.commit().unwrap();
    }
    let refused = ground.decide_there("base").unwrap_err();
    assert!(matches!(refused, Error::Refused { code: 400, .. }));
    ground.sync();
    assert_eq!(ground.there().resolution, None);
    assert!(row(&mut ground.first, POINTS, &ground.id.clone()).is_some());
}

#[test]
fn nobody_closes_the_conflict_of_another() {
    let ground = Ground::new();
    let accounts = &ground.handle.server.accounts;
    let now = haversack_server::clock::now();
    accounts.add("bob", "builder1", false, now).unwrap();
    let grant = Grant {
        principal: "bob".to_owned(),
        service: SERVICE.to_owned(),
        rights: parse_rights("edit,sync").unwrap(),
        filters: Vec::new(),
    };
    ground.handle.server.grant(&grant).unwrap();
    let bob = Credentials::Basic {
        user: "bob".to_owned(),
        password: "builder1".to_owned(),
    };
    let mut his = NativeRemote::new(client(&ground.handle, bob), SERVICE);
    let file = checkout(&his, "his", &ground.path("his.gpkg"));
    let told = Decided {
        conflict: ground.there().id,
        resolution: Resolution {
            kept: "mine".to_owned(),
            user: "editor".to_owned(),
            at: now,
            told: false,
        },
    };
    let header = file.header().unwrap();
    let ids = [told.conflict];
    let answer = his.exchange_decisions(&header, std::slice::from_ref(&told), &ids);
    assert_eq!(answer.unwrap(), [told], "as of one that does not exist");
    assert_eq!(ground.there().resolution, None);
}

#[test]
fn a_server_that_forgot_a_decision_is_told_again() {
    let mut ground = Ground::new();
    ground.decide_here(Choice::Theirs);
    ground.sync();
    let mut forgotten = ground.there();
    forgotten.resolution = None;
    {
        use haversack_model::Store as _;
        let store = ground.handle.server.services.store(SERVICE).unwrap();
        let mut tx = store.begin_write(Timestamp(1)).unwrap();
        tx.store_conflict(&forgotten).unwrap();
        let history = haversack_model::HistoryId(uuid::Uuid::from_u128(5));
        tx.start_history(history).unwrap();
        tx.commit().unwrap();
    }
    ground.sync();
    assert_eq!(ground.there().resolution.unwrap().kept, "theirs");
}

#[test]
fn a_stray_answer_about_an_unknown_conflict_is_ignored() {
    let mut ground = Ground::new();
    let stray = Decided {
        conflict: haversack_model::ConflictId(uuid::Uuid::from_u128(9)),
        resolution: Resolution {
            kept: "mine".to_owned(),
            user: String::new(),
            at: Timestamp(1),
            told: true,
        },
    };
    let mut tx = ground.second.begin().unwrap();
    apply_decisions(&mut *tx, &[stray]).unwrap();
    tx.commit().unwrap();
    assert_eq!(ground.here().resolution, None);
}
