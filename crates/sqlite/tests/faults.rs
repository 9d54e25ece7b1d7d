//! Faults of process and disk: a writer killed at any point, a torn write-ahead log, a full disk. After each the file
//! opens, nothing acknowledged is missing, and counter, rows and tracking agree. Rule source: GUARANTEES 2.4, 3.4.
//!
//! Runs itself again as the process that is killed, so it has a `main` instead of the usual harness.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test program: it prints its results and fails by panicking"
)]

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::{Held, check};
use haversack_model::conformance::fixture::{self, PLACES, commit, id, place, put_places};
use haversack_model::store::Store;
use haversack_model::{BlobHash, Error, Timestamp};
use haversack_sqlite::SqliteStore;

const TESTS: [(&str, fn()); 4] = [
    (
        "a_writer_killed_at_any_point_loses_nothing_acknowledged",
        a_writer_killed_at_any_point_loses_nothing_acknowledged,
    ),
    (
        "a_torn_log_leaves_a_whole_prefix_of_commits",
        a_torn_log_leaves_a_whole_prefix_of_commits,
    ),
    (
        "a_full_disk_is_told_and_the_reserve_lets_work_end",
        a_full_disk_is_told_and_the_reserve_lets_work_end,
    ),
    (
        "a_transaction_that_fails_half_way_leaves_no_trace",
        a_transaction_that_fails_half_way_leaves_no_trace,
    ),
];

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [mode, file, first] = args.as_slice()
        && mode == "writer"
    {
        write_for_ever(Path::new(file), first.parse().unwrap());
    }
    let wanted: Vec<&String> = args.iter().filter(|arg| !arg.starts_with('-')).collect();
    if args.iter().any(|arg| arg == "--list") {
        TESTS.iter().for_each(|(name, _)| println!("{name}: test"));
        return;
    }
    for (name, test) in TESTS {
        if wanted.is_empty() || wanted.iter().any(|part| name.contains(part.as_str())) {
            print!("test {name} ... ");
            std::io::stdout().flush().unwrap();
            test();
            println!("ok");
        }
    }
}

/// Transaction `n` adds place `n`, changes its neighbour and deletes one of every four.
fn work(store: &SqliteStore, n: u32) -> u64 {
    let mut tx = store.begin_write(Timestamp(i64::from(n))).unwrap();
    tx.put(PLACES, &place(n, "new"), None).unwrap();
    if n > 1 {
        tx.put(PLACES, &place(n - 1, "changed"), None).unwrap();
    }
    if n.is_multiple_of(4) {
        tx.delete(PLACES, &id(u128::from(n - 2)), None).unwrap();
    }
    tx.store_blob(BlobHash([n as u8; 32]), &vec![n as u8; 3_000])
        .unwrap();
    tx.commit().unwrap().generation.0
}

fn write_for_ever(file: &Path, first: u32) -> ! {
    let store = SqliteStore::open(file).unwrap();
    let mut out = std::io::stdout().lock();
    for n in first.. {
        let generation = work(&store, n);
        writeln!(out, "{n} {generation}").unwrap();
        out.flush().unwrap();
    }
    unreachable!("the writer is killed before it runs out of numbers")
}

/// Which transactions are in: all up to the returned one, and none after it.
fn last_transaction(store: &SqliteStore, file: &Path) -> u32 {
    check(file);
    let tx = store.begin_read().unwrap();
    let known = |n: u32| tx.track(PLACES, &id(u128::from(n))).unwrap().is_some();
    let last = (1..u32::MAX).take_while(|n| known(*n)).last().unwrap_or(0);
    assert!(
        !known(last + 1) && !known(last + 2),
        "a transaction is missing in between"
    );
    if last > 1 {
        let neighbour = tx
            .record(PLACES, &id(u128::from(last - 1)))
            .unwrap()
            .unwrap();
        assert_eq!(
            neighbour.record.values[0],
            "changed".into(),
            "half a transaction"
        );
    }
    last
}

fn a_writer_killed_at_any_point_loses_nothing_acknowledged() {
    let held = Held::new(&fixture::service());
    let file = held.path.clone();
    let keep = held.closed();
    let mut next = 1;
    for round in 0..25u32 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["writer", file.to_str().unwrap(), &next.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut acknowledged = (next - 1, 0);
        // Killed after a different number of acknowledgements each time, somewhere in the transaction that follows.
        for _ in 0..=round % 7 {
            let line = lines.next().unwrap().unwrap();
            let (n, generation) = line.split_once(' ').unwrap();
            acknowledged = (n.parse().unwrap(), generation.parse().unwrap());
        }
        for _ in 0..round * 2_000 {
            std::hint::spin_loop();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What it said before it died counts too.
        for line in lines.map_while(Result::ok) {
            if let Some((n, generation)) = line.split_once(' ')
                && let (Ok(n), Ok(generation)) = (n.parse(), generation.parse())
            {
                acknowledged = (n, generation);
            }
        }
        let store = SqliteStore::open(&file).unwrap();
        let last = last_transaction(&store, &file);
        assert!(
            last >= acknowledged.0,
            "round {round}: {last} < {acknowledged:?}"
        );
        let reached = store.begin_read().unwrap().head().unwrap();
        assert!(reached.generation.0 >= acknowledged.1);
        next = last + 1;
    }
    drop(keep);
}

fn a_torn_log_leaves_a_whole_prefix_of_commits() {
    const COMMITS: u32 = 12;
    let held = Held::new(&fixture::service());
    for n in 1..=COMMITS {
        work(&held.store, n);
    }
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy.gpkg");
    let log = PathBuf::from(format!("{}-wal", copy.display()));
    let original = fs::read(&held.path).unwrap();
    let original_log = fs::read(format!("{}-wal", held.path.display())).unwrap();
    assert!(original_log.len() > 50_000, "the log holds the commits");
    let mut shortest = COMMITS;
    for case in 0..120u64 {
        let mut torn = original_log.clone();
        let at = (case.wrapping_mul(0x9e37_79b9_7f4a_7c15) % torn.len() as u64) as usize;
        match case % 3 {
            0 => torn.truncate(at),
            1 => torn[at] ^= 0x40,
            _ => {
                let end = (at + 512).min(torn.len());
                torn[at..end].fill(0);
            }
        }
        fs::write(&copy, &original).unwrap();
        fs::write(&log, &torn).unwrap();
        let _absent_before_the_first = fs::remove_file(format!("{}-shm", copy.display()));
        // The tables themselves may be in the torn part: then there is no service, and opening says so.
        let Ok(store) = SqliteStore::open(&copy) else {
            continue;
        };
        let last = last_transaction(&store, &copy);
        assert!(last <= COMMITS);
        shortest = shortest.min(last);
        work(&store, last + 1);
        assert_eq!(last_transaction(&store, &copy), last + 1, "it goes on");
    }
    assert!(
        shortest < COMMITS,
        "no case lost a commit: the log was not torn"
    );
}

/// A small file system in memory, unmounted when dropped.
struct Small(PathBuf);

impl Small {
    /// `None` where mounting is not allowed.
    fn mount(at: &Path, size: &str) -> Option<Self> {
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(at)
            .stderr(Stdio::null())
            .status();
        status
            .is_ok_and(|s| s.success())
            .then(|| Self(at.to_owned()))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _best_effort = Command::new("umount").arg(&self.0).status();
    }
}

fn a_full_disk_is_told_and_the_reserve_lets_work_end() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = Small::mount(folder.path(), "16m") else {
        println!("skipped: 1 (mounting a small disk is not allowed here)");
        return;
    };
    let path = disk.0.join("s.gpkg");
    let reserve = disk.0.join("s.gpkg-reserve");
    let store = SqliteStore::create(&path, &fixture::service()).unwrap();
    assert!(reserve.exists());
    let mut acknowledged: u32 = 0;
    let error = loop {
        let n = acknowledged + 1;
        let mut tx = store.begin_write(Timestamp(1)).unwrap();
        let mut hash = [0; 32];
        hash[..4].copy_from_slice(&n.to_le_bytes());
        let done = tx
            .put(PLACES, &place(n, "x"), None)
            .and_then(|_| tx.store_blob(BlobHash(hash), &vec![7; 200_000]))
            .and_then(|()| tx.commit().map(|_| ()));
        match done {
            Ok(()) => acknowledged = n,
            Err(error) => break error,
        }
        assert!(acknowledged < 1_000, "the disk never got full");
    };
    assert!(matches!(error, Error::DiskFull), "{error}");
    assert!(acknowledged > 5);
    assert!(!reserve.exists(), "the reserve was not released");
    // Everything acknowledged is there, and there is room to go on.
    let tx = store.begin_read().unwrap();
    for n in 1..=acknowledged {
        assert!(tx.record(PLACES, &id(u128::from(n))).unwrap().is_some());
    }
    assert!(
        tx.record(PLACES, &id(u128::from(acknowledged + 1)))
            .unwrap()
            .is_none()
    );
    drop(tx);
    put_places(&store, &[place(9_999, "after")]);
    check(&path);
    drop(store);
    let store = SqliteStore::open(&path).unwrap();
    let tx = store.begin_read().unwrap();
    assert!(tx.record(PLACES, &id(9_999)).unwrap().is_some());
    drop(tx);
    drop(store);
    drop(disk);
}

fn a_transaction_that_fails_half_way_leaves_no_trace() {
    let held = Held::new(&fixture::service());
    let before = commit(&held, 1, |tx| {
        tx.put(PLACES, &place(1, "kept"), None).unwrap();
    });
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let mut tx = held.store.begin_write(Timestamp(2)).unwrap();
        tx.put(PLACES, &place(1, "lost"), None).unwrap();
        tx.put(PLACES, &place(2, "lost"), None).unwrap();
        std::panic::resume_unwind(Box::new("the caller's own failure"));
    }));
    assert!(panicked.is_err());
    let after = held.begin_read().unwrap().head().unwrap();
    assert_eq!(after.generation, before);
    check(&held.path);
    put_places(&held, &[place(3, "goes on")]);
    check(&held.path);
}
