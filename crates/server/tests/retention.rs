//! History is kept for a time and a number of generations, and for as long as a replica that counts needs it.

#![allow(clippy::unwrap_used, reason = "a test ends there")]

mod support;

use haversack_model::store::Head;
use haversack_model::{ReplicaId, Store as _, Timestamp};
use haversack_server::{Config, Handle};
use haversack_sqlite::replica::ReplicaFile;
use support::{checkout, edit_with_sql, is_equal, remote, start, sync};

const DAY_MS: i64 = 86_400_000;

fn head(handle: &Handle) -> Head {
    let store = handle.server.services.store("WildfireSync").unwrap();
    store.begin_read().unwrap().head().unwrap()
}

fn days_on(days: i64) -> Timestamp {
    Timestamp(haversack_server::clock::now().0 + days * DAY_MS)
}

fn is_dormant(handle: &Handle, id: ReplicaId) -> Option<bool> {
    let store = handle.server.services.store("WildfireSync").unwrap();
    let replica = store.begin_read().unwrap().replica(id).unwrap();
    replica.map(|replica| replica.is_dormant)
}

/// Ends and starts the server with other settings.
fn restart(dir: &tempfile::TempDir, handle: Handle, config: &Config) -> Handle {
    handle.stop();
    let file = dir.path().join("data").join(Config::FILE);
    std::fs::write(file, config.to_file_text()).unwrap();
    start(dir)
}

#[test]
fn history_goes_by_age_and_by_count_but_never_past_a_replica_that_counts() {
    let dir = tempfile::tempdir().unwrap();
    let handle = start(&dir);
    let mut here = remote(&handle);
    let path = dir.path().join("one.gpkg");
    let mut file = checkout(&here, "one", &path);
    let id = file.header().unwrap().id;
    let pinned = file.header().unwrap().cursor.generation;
    let other = dir.path().join("two.gpkg");
    let mut second = checkout(&here, "two", &other);
    for score in 1..=3 {
        edit_with_sql(&other, &format!("UPDATE inspections SET score = {score}"));
        sync(&mut second, &mut here).unwrap();
        sync(&mut second, &mut here).unwrap();
    }
    let after = head(&handle).generation;
    assert!(after > pinned);

    // A replica holds history for half a year; without one it goes after a year.
    handle.server.prune(days_on(0)).unwrap();
    handle.server.prune(days_on(100)).unwrap();
    assert!(head(&handle).floor <= pinned);
    assert_eq!(is_dormant(&handle, id), Some(false));
    handle.server.prune(days_on(200)).unwrap();
    assert_eq!(is_dormant(&handle, id), Some(true), "it holds nothing back");
    assert!(
        head(&handle).floor <= pinned,
        "what is young enough stays all the same"
    );
    // What was noted on the hundredth day is older than a year now.
    handle.server.prune(days_on(467)).unwrap();
    assert_eq!(head(&handle).floor, after, "older than a year");

    // Its edits are not lost: everything is compared anew, and it counts again.
    edit_with_sql(
        &path,
        "INSERT INTO inspections (name, score) VALUES ('late', 9)",
    );
    let summary = sync(&mut file, &mut here).unwrap();
    assert!(summary.resynced && summary.applied == 1, "{summary:?}");
    assert!(is_equal(&file, &here));
    assert_eq!(is_dormant(&handle, id), Some(false));
    handle.server.prune(days_on(731)).unwrap();
    assert_eq!(is_dormant(&handle, id), None, "forgotten after two years");
}

#[test]
fn the_limit_of_count_is_a_setting_that_works() {
    let dir = tempfile::tempdir().unwrap();
    let handle = start(&dir);
    let config = Config {
        history_generations: 5,
        ..Config::default()
    };
    let handle = restart(&dir, handle, &config);
    let before = head(&handle);
    handle.server.prune(days_on(0)).unwrap();
    assert_eq!(head(&handle).floor.0, before.generation.0 - 5);
}

#[test]
fn a_replica_that_was_put_to_sleep_is_known_by_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let handle = start(&dir);
    let mut here = remote(&handle);
    let path = dir.path().join("one.gpkg");
    drop(checkout(&here, "one", &path));
    let mut file = ReplicaFile::open(&path).unwrap();
    handle.server.prune(days_on(181)).unwrap();
    let summary = sync(&mut file, &mut here).unwrap();
    assert!(!summary.resynced, "nothing that it needs has gone yet");
}
