//! Cursors and histories: what a server says of its past is sealed, and a past that was put back is noticed.

#![allow(clippy::unwrap_used, reason = "a test ends there")]

mod support;

use std::path::Path;

use haversack_model::local::LocalReplica as _;
use haversack_model::store::Head;
use haversack_model::{Cursor, Error, Generation, HistoryId, Remote as _, Seal, Store as _};
use haversack_server::Handle;
use haversack_server::native::NativeRemote;
use haversack_server::native::remote::Credentials;
use haversack_sqlite::replica::ReplicaFile;
use haversack_sync::client::{Step, freeze, start_resync, synchronise, thaw};
use support::{checkout, client, edit_with_sql, editor, is_equal, remote, start, sync};

const JUMP: u64 = 1 << 40;

fn head(handle: &Handle) -> Head {
    let store = handle.server.services.store("WildfireSync").unwrap();
    store.begin_read().unwrap().head().unwrap()
}

fn count(handle: &Handle, name: &str) -> i64 {
    let store = handle.server.services.store("WildfireSync").unwrap();
    rusqlite::Connection::open(store.path())
        .unwrap()
        .query_row(
            "SELECT count(*) FROM inspections WHERE name = ?1",
            [name],
            |row| row.get(0),
        )
        .unwrap()
}

/// Replaces the cursor of a file, as nobody should.
fn set_cursor(file: &mut ReplicaFile, cursor: Cursor) {
    let mut tx = file.begin().unwrap();
    let mut header = tx.header().unwrap();
    header.cursor = cursor;
    tx.store_header(&header).unwrap();
    tx.commit().unwrap();
}

fn cursor(file: &ReplicaFile) -> Cursor {
    file.header().unwrap().cursor
}

#[test]
fn what_is_handed_out_is_sealed_and_opaque_on_the_wire() {
    let dir = tempfile::tempdir().unwrap();
    let handle = start(&dir);
    let mut remote = remote(&handle);
    let path = dir.path().join("one.gpkg");
    let mut file = checkout(&remote, "one", &path);
    let prepared = cursor(&file);
    assert!(prepared.seal.is_some(), "in the prepared file");
    edit_with_sql(&path, "UPDATE inspections SET score = 1 WHERE OBJECTID = 1");
    sync(&mut file, &mut remote).unwrap();
    assert!(cursor(&file).generation > prepared.generation);
    assert!(cursor(&file).seal.is_some(), "in the last page");
    let info = remote.client().service("WildfireSync").unwrap();
    assert!(serde_json::to_value(info.cursor).unwrap().is_string());
    let digests = remote
        .client()
        .digests("WildfireSync", file.header().unwrap().id);
    assert!(digests.unwrap().cursor.seal.is_some());
}

#[test]
fn a_forged_altered_or_foreign_cursor_is_refused_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let handle = start(&dir);
    let mut remote = remote(&handle);
    let (one, two) = (dir.path().join("one.gpkg"), dir.path().join("two.gpkg"));
    let mut file = checkout(&remote, "one", &one);
    let other = checkout(&remote, "two", &two);
    let real = cursor(&file);
    let wrong = [
        (
            "made up",
            Cursor {
                seal: Some(Seal([7; 16])),
                ..real
            },
        ),
        (
            "altered",
            Cursor {
                generation: Generation(real.generation.0 - 1),
                ..real
            },
        ),
        (
            "far ahead",
            Cursor {
                generation: Generation(real.generation.0 + 1_000),
                ..real
            },
        ),
        (
            "of another history",
            Cursor {
                history: HistoryId(uuid::Uuid::from_u128(1)),
                ..real
            },
        ),
        ("of another replica", cursor(&other)),
    ];
    for (at, (what, cursor)) in wrong.into_iter().enumerate() {
        set_cursor(&mut file, cursor);
        let before = head(&handle);
        let refused = sync(&mut file, &mut remote).unwrap_err();
        assert!(
            matches!(&refused, Error::Refused { code: 400, message } if message.contains("did not hand it out")),
            "{what}: {refused:?}"
        );
        // With something to send it is the batch that names the cursor.
        let edit = format!("UPDATE inspections SET score = {at} + 50 WHERE OBJECTID = 1");
        edit_with_sql(&one, &edit);
        assert!(sync(&mut file, &mut remote).is_err(), "{what}");
        assert_eq!(head(&handle), before, "{what}");
        let waiting = file.begin().unwrap().entries().unwrap().len();
        assert_eq!(waiting, 1, "{what}: the edit still waits");

        // The way out that the refusal names.
        let mut tx = file.begin().unwrap();
        thaw(&mut *tx).unwrap();
        let history = tx.header().unwrap().cursor.history;
        start_resync(&mut *tx, history).unwrap();
        tx.commit().unwrap();
        let summary = sync(&mut file, &mut remote).unwrap();
        // After an unknown history all that was ever sent is sent again, and may meet itself as a conflict.
        let told = summary.applied + summary.conflicts;
        assert_eq!(told, 1, "{what}: {summary:?}");
        assert!(is_equal(&file, &remote), "{what}");
    }
    assert!(head(&handle).generation.0 < JUMP, "no new history began");
}

#[test]
fn a_bare_cursor_above_the_head_is_compared_anew_and_never_starts_a_history() {
    let dir = tempfile::tempdir().unwrap();
    let handle = start(&dir);
    let mut remote = remote(&handle);
    let mut file = checkout(&remote, "one", &dir.path().join("one.gpkg"));
    let before = head(&handle);
    let ahead = Generation(before.generation.0 + 1_000);
    set_cursor(&mut file, Cursor::bare(before.history, ahead));
    let summary = sync(&mut file, &mut remote).unwrap();
    assert!(summary.resynced);
    assert_eq!(head(&handle), before);
    assert!(cursor(&file).seal.is_some() && is_equal(&file, &remote));
}

#[test]
fn a_file_that_was_checked_out_before_cursors_were_sealed_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let handle = start(&dir);
    let mut remote = remote(&handle);
    let path = dir.path().join("old.gpkg");
    drop(checkout(&remote, "old", &path));
    rusqlite::Connection::open(&path)
        .unwrap()
        .execute_batch(
            "UPDATE haversack_header SET value = '1' WHERE name = 'format';
             DROP TABLE haversack_answers;
             DROP TABLE haversack_recent;
             DROP TABLE haversack_notes;
             DELETE FROM haversack_header WHERE name = 'seal';
             ALTER TABLE haversack_batches DROP COLUMN seal;
             UPDATE inspections SET score = 12 WHERE OBJECTID = 1;",
        )
        .unwrap();
    let mut file = ReplicaFile::open(&path).unwrap();
    assert_eq!(cursor(&file).seal, None);
    let summary = sync(&mut file, &mut remote).unwrap();
    assert_eq!((summary.applied, summary.resynced), (1, false));
    assert!(cursor(&file).seal.is_some() && is_equal(&file, &remote));
}

#[test]
fn a_copy_of_a_file_continues_under_its_new_identity() {
    let dir = tempfile::tempdir().unwrap();
    let handle = start(&dir);
    let mut remote = remote(&handle);
    let (one, two) = (dir.path().join("one.gpkg"), dir.path().join("two.gpkg"));
    let mut first = checkout(&remote, "one", &one);
    std::fs::copy(&one, &two).unwrap();
    let mut second = ReplicaFile::open(&two).unwrap();
    edit_with_sql(&one, "UPDATE inspections SET score = 1 WHERE OBJECTID = 1");
    edit_with_sql(&two, "UPDATE inspections SET score = 2 WHERE OBJECTID = 2");
    sync(&mut first, &mut remote).unwrap();
    let summary = sync(&mut second, &mut remote).unwrap();
    assert_ne!(first.header().unwrap().id, second.header().unwrap().id);
    assert!(!summary.resynced && is_equal(&second, &remote));
}

/// What a restore puts back.
#[derive(Clone, Copy, PartialEq, Eq)]
enum PutBack {
    Service,
    Everything,
}

/// A server, and a copy of its data directory that can be put back.
struct Ground {
    dir: tempfile::TempDir,
    handle: Option<Handle>,
}

impl Ground {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let handle = Some(start(&dir));
        Self { dir, handle }
    }
    fn handle(&self) -> &Handle {
        self.handle.as_ref().unwrap()
    }
    fn remote(&self, credentials: &Credentials) -> NativeRemote {
        NativeRemote::new(client(self.handle(), credentials.clone()), "WildfireSync")
    }
    fn file(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }
    fn places(&self) -> [(std::path::PathBuf, std::path::PathBuf); 2] {
        let data = self.file("data");
        [
            (
                data.join("services/WildfireSync.gpkg"),
                self.file("service.bak"),
            ),
            (data.join("haversack.db"), self.file("database.bak")),
        ]
    }
    fn back_up(&mut self) {
        self.handle.take().unwrap().stop();
        for (from, to) in self.places() {
            std::fs::copy(from, to).unwrap();
        }
        self.handle = Some(start(&self.dir));
    }
    fn put_back(&mut self, what: PutBack) {
        self.handle.take().unwrap().stop();
        let [service, database] = self.places();
        let mut put = vec![service];
        if what == PutBack::Everything {
            put.push(database);
        }
        for (to, from) in put {
            for suffix in ["-wal", "-shm"] {
                let _ = std::fs::remove_file(beside(&to, suffix));
            }
            std::fs::copy(from, to).unwrap();
        }
        self.handle = Some(start(&self.dir));
    }
}

fn beside(path: &Path, suffix: &str) -> std::path::PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Makes a replica, backs the server up, edits, and puts the backup back: the edit is there in the end, once.
fn an_edit_survives_a_restore(what: PutBack, credentials: &Credentials) {
    let mut ground = Ground::new();
    let path = ground.file("one.gpkg");
    let mut file = checkout(&ground.remote(credentials), "one", &path);
    ground.back_up();
    edit_with_sql(
        &path,
        "INSERT INTO inspections (name, score) VALUES ('after the backup', 1)",
    );
    let summary = sync(&mut file, &mut ground.remote(credentials)).unwrap();
    assert_eq!(summary.applied, 1);
    let before = head(ground.handle());
    ground.put_back(what);
    let mut remote = ground.remote(credentials);
    sync(&mut file, &mut remote).unwrap();
    sync(&mut file, &mut remote).unwrap();
    assert!(is_equal(&file, &remote));
    assert_eq!(count(ground.handle(), "after the backup"), 1);
    let now = head(ground.handle());
    assert_ne!(now.history, before.history);
    assert!(now.generation.0 >= JUMP && now.floor.0.is_multiple_of(JUMP));
    assert!(now.generation.0 < 1 << 53);
}

#[test]
fn a_service_file_that_was_put_back_is_noticed_at_the_start_and_gets_the_lost_edits_again() {
    an_edit_survives_a_restore(PutBack::Service, &Credentials::Anonymous);
}

#[test]
fn a_data_directory_that_was_put_back_is_noticed_by_whoever_is_ahead() {
    an_edit_survives_a_restore(PutBack::Everything, &editor());
    // The seal is the proof: who brings it does not matter.
    an_edit_survives_a_restore(PutBack::Everything, &Credentials::Anonymous);
}

#[test]
fn a_new_history_records_what_it_branched_off() {
    let mut ground = Ground::new();
    let path = ground.file("one.gpkg");
    let mut file = checkout(&ground.remote(&editor()), "one", &path);
    ground.back_up();
    let old = head(ground.handle());
    edit_with_sql(&path, "UPDATE inspections SET score = 1 WHERE OBJECTID = 1");
    sync(&mut file, &mut ground.remote(&editor())).unwrap();
    ground.put_back(PutBack::Everything);
    sync(&mut file, &mut ground.remote(&editor())).unwrap();
    let store = ground
        .handle()
        .server
        .services
        .store("WildfireSync")
        .unwrap();
    let (parent, fork, first): (String, i64, i64) = rusqlite::Connection::open(store.path())
        .unwrap()
        .query_row(
            "SELECT parent, fork_generation, first_generation FROM haversack_histories WHERE history = ?1",
            [head(ground.handle()).history.to_string()],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )
        .unwrap();
    assert_eq!(
        (parent, fork, first),
        (
            old.history.to_string(),
            old.generation.0 as i64,
            JUMP as i64
        )
    );
}

#[test]
fn a_replica_that_the_restored_backup_does_not_know_is_registered_again_and_loses_nothing() {
    let mut ground = Ground::new();
    ground.back_up();
    let path = ground.file("late.gpkg");
    let mut file = checkout(&ground.remote(&editor()), "late", &path);
    edit_with_sql(
        &path,
        "INSERT INTO inspections (name, score) VALUES ('sent before', 1)",
    );
    sync(&mut file, &mut ground.remote(&editor())).unwrap();
    edit_with_sql(
        &path,
        "INSERT INTO inspections (name, score) VALUES ('not sent yet', 2)",
    );
    let old = file.header().unwrap().id;
    ground.put_back(PutBack::Everything);
    let held: Vec<_> = file.collections().iter().map(|c| c.id).collect();
    let mut remote = ground.remote(&editor()).holding(held);
    sync(&mut file, &mut remote).unwrap();
    assert_ne!(file.header().unwrap().id, old);
    for name in ["sent before", "not sent yet"] {
        assert_eq!(count(ground.handle(), name), 1, "{name}");
    }
    assert!(is_equal(&file, &remote));
}

// A released replica used to stay released, which left its unsent edits without a way to the server: docs/decisions/0016.
#[test]
fn a_released_file_is_registered_again_by_its_next_sync_and_loses_nothing() {
    let ground = Ground::new();
    let path = ground.file("one.gpkg");
    let mut file = checkout(&ground.remote(&editor()), "one", &path);
    let held: Vec<_> = file.collections().iter().map(|c| c.id).collect();
    let mut remote = ground.remote(&editor()).holding(held);
    edit_with_sql(
        &path,
        "INSERT INTO inspections (name, score) VALUES ('sent before', 1)",
    );
    sync(&mut file, &mut remote).unwrap();
    // Of what comes now the server stores a part, and its answer is lost.
    edit_with_sql(
        &path,
        "INSERT INTO inspections (name, score) VALUES ('unheard', 2)",
    );
    let batch = {
        let mut tx = file.begin().unwrap();
        let batch = freeze(&mut *tx, haversack_model::Timestamp(0)).unwrap();
        tx.commit().unwrap();
        batch.unwrap()
    };
    remote.push(&file.header().unwrap(), &batch).unwrap();
    for sql in [
        "INSERT INTO inspections (name, score) VALUES ('not sent', 3)",
        "UPDATE inspections SET name = 'changed' WHERE OBJECTID = 1",
        "DELETE FROM inspections WHERE OBJECTID = 2",
    ] {
        edit_with_sql(&path, sql);
    }
    let old = file.header().unwrap().id;
    remote.client().release("WildfireSync", old).unwrap();

    let mut told = Vec::new();
    let clock = haversack_server::clock::now;
    let summary = synchronise(&mut file, &mut remote, &clock, &mut |step| told.push(step)).unwrap();
    assert!(told.contains(&Step::RegisteredAgain), "{told:?}");
    assert!(summary.rejected.is_empty() && summary.conflicts == 0);
    let new = file.header().unwrap().id;
    assert_ne!(new, old);
    for name in ["sent before", "unheard", "not sent", "changed"] {
        assert_eq!(count(ground.handle(), name), 1, "{name}");
    }
    assert!(is_equal(&file, &remote));
    assert_eq!(file.status().unwrap().pending, 0);
    let listed = remote.client().replicas("WildfireSync").unwrap();
    assert_eq!(listed.iter().map(|r| r.id).collect::<Vec<_>>(), [new]);
    // It goes on as any other.
    edit_with_sql(
        &path,
        "UPDATE inspections SET name = 'later' WHERE OBJECTID = 3",
    );
    assert_eq!(sync(&mut file, &mut remote).unwrap().applied, 1);
}

#[test]
fn a_comparison_that_was_cut_and_then_released_is_registered_again_too() {
    let ground = Ground::new();
    let path = ground.file("one.gpkg");
    let mut file = checkout(&ground.remote(&editor()), "one", &path);
    let held: Vec<_> = file.collections().iter().map(|c| c.id).collect();
    let mut remote = ground.remote(&editor()).holding(held);
    edit_with_sql(
        &path,
        "INSERT INTO inspections (name, score) VALUES ('not sent', 3)",
    );
    let mut tx = file.begin().unwrap();
    let history = tx.header().unwrap().cursor.history;
    start_resync(&mut *tx, history).unwrap();
    tx.commit().unwrap();
    let old = file.header().unwrap().id;
    remote.client().release("WildfireSync", old).unwrap();
    sync(&mut file, &mut remote).unwrap();
    assert_ne!(file.header().unwrap().id, old);
    assert_eq!(count(ground.handle(), "not sent"), 1);
    assert!(is_equal(&file, &remote));
}

#[test]
fn a_wrong_login_does_not_take_a_file_over() {
    let ground = Ground::new();
    let path = ground.file("one.gpkg");
    let mut file = checkout(&ground.remote(&editor()), "one", &path);
    let accounts = &ground.handle().server.accounts;
    let now = haversack_server::clock::now();
    accounts.add("bob", "builder1", false, now).unwrap();
    let bob = Credentials::Basic {
        user: "bob".to_owned(),
        password: "builder1".to_owned(),
    };
    let held: Vec<_> = file.collections().iter().map(|c| c.id).collect();
    let mut remote = ground.remote(&bob).holding(held);
    let id = file.header().unwrap().id;
    let refused = sync(&mut file, &mut remote).unwrap_err();
    assert!(matches!(refused, Error::NoReplica(of) if of == id));
    assert_eq!(file.header().unwrap().id, id);
    let listed = remote.client().replicas("WildfireSync").unwrap();
    assert!(listed.is_empty(), "{listed:?}");
}
