//! Locks, journals and crashes: another program writes at the same time, or anybody is killed in the middle.

use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use haversack_model::Value;
use haversack_model::local::LocalReplica;
use haversack_sqlite::replica::ReplicaFile;

use crate::support::{Fixture, PARKS, gid, park, python_command, version};

/// A program that is edited by hand: it says a line, and waits for one.
struct Editor {
    child: Child,
    out: BufReader<std::process::ChildStdout>,
}

impl Editor {
    fn start(path: &Path, script: &str) -> Self {
        let mut child = python_command()
            .arg("-c")
            .arg(format!(
                "import sys, sqlite3\nc = sqlite3.connect(sys.argv[1], timeout=30, isolation_level=None)\n\
                 def say(x):\n  print(x, flush=True)\n{script}"
            ))
            .arg(path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 cannot be run: install it");
        let out = BufReader::new(child.stdout.take().unwrap());
        Self { child, out }
    }
    fn hear(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }
    fn go_on(&mut self) {
        self.child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    }
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
    fn finish(mut self) {
        drop(self.child.stdin.take());
        assert!(self.child.wait().unwrap().success());
    }
}

#[test]
fn a_transaction_waits_while_another_program_writes_and_then_sees_its_edit() {
    let fixture = Fixture::new(3);
    let mut editor = Editor::start(
        &fixture.path,
        "c.execute('BEGIN IMMEDIATE'); c.execute(\"UPDATE City_parks SET name = 'theirs' WHERE OBJECTID = 1\")\n\
         say('locked'); sys.stdin.readline(); c.execute('COMMIT'); say('done')\n",
    );
    assert_eq!(editor.hear(), "locked");
    let path = fixture.path.clone();
    let waiting = std::thread::spawn(move || {
        let mut file = ReplicaFile::open(&path).unwrap();
        let tx = file.begin().unwrap();
        tx.entries().unwrap().len()
    });
    editor.go_on();
    assert_eq!(editor.hear(), "done");
    assert_eq!(waiting.join().unwrap(), 1);
    editor.finish();
}

#[test]
fn patience_ends_with_a_sentence_and_nothing_is_lost() {
    let fixture = Fixture::new(1);
    let mut editor = Editor::start(
        &fixture.path,
        "c.execute('BEGIN IMMEDIATE'); say('locked'); sys.stdin.readline()\n",
    );
    assert_eq!(editor.hear(), "locked");
    let mut file = fixture.open();
    file.set_patience(Duration::from_millis(50)).unwrap();
    let error = match file.begin() {
        Ok(_) => panic!("the file is locked"),
        Err(error) => error.to_string(),
    };
    assert!(error.contains("another program"), "{error}");
    editor.kill();
    assert!(file.begin().is_ok());
}

#[test]
fn an_edit_by_another_program_during_our_transaction_is_captured_after_it() {
    let fixture = Fixture::new(3);
    let mut file = fixture.open();
    let mut tx = file.begin().unwrap();
    let mut theirs = park(1);
    theirs.values[1] = Value::Real(5.0);
    tx.put_row(PARKS, &theirs).unwrap();
    let mut editor = Editor::start(
        &fixture.path,
        "say('begins'); c.execute(\"UPDATE City_parks SET name = 'edited' WHERE OBJECTID <= 2\"); say('done')\n",
    );
    assert_eq!(editor.hear(), "begins");
    tx.store_version(PARKS, &gid(1), Some(version(50))).unwrap();
    tx.commit().unwrap();
    assert_eq!(editor.hear(), "done");
    editor.finish();
    let entries = fixture.entries();
    assert_eq!(entries.len(), 2, "capture was on for the other program");
    let (base, at) = entries[0].base.as_ref().unwrap();
    assert!(base.same_content(&theirs));
    assert_eq!(*at, version(50));
}

#[test]
fn a_file_left_in_wal_mode_by_an_editor_is_recovered() {
    for killed in [false, true] {
        let fixture = Fixture::new(3);
        let mut editor = Editor::start(
            &fixture.path,
            "c.execute('PRAGMA journal_mode = WAL'); c.execute('PRAGMA wal_autocheckpoint = 0')\n\
             c.execute(\"UPDATE City_parks SET name = 'in the wal' WHERE OBJECTID = 1\")\n\
             c.execute('BEGIN'); c.execute('DELETE FROM City_parks'); say('open'); sys.stdin.readline()\n",
        );
        assert_eq!(editor.hear(), "open");
        assert!(fixture.path.with_extension("gpkg-wal").exists());
        if killed {
            editor.kill();
        } else {
            editor.finish();
        }
        let entries = fixture.entries();
        assert_eq!(entries.len(), 1, "the committed edit, not the open one");
        assert_eq!(fixture.row(&gid(1)).unwrap().values[0], "in the wal".into());
        assert_eq!(fixture.ids().len(), 3);
    }
}

#[test]
fn an_editor_killed_in_the_middle_of_a_rollback_journal_leaves_nothing() {
    let fixture = Fixture::new(2000);
    let mut editor = Editor::start(
        &fixture.path,
        "c.execute('PRAGMA cache_size = 5'); c.execute('BEGIN'); c.execute('UPDATE City_parks SET trees = trees + 1')\n\
         say('spilled'); sys.stdin.readline()\n",
    );
    assert_eq!(editor.hear(), "spilled");
    assert!(fixture.path.with_extension("gpkg-journal").exists());
    editor.kill();
    assert!(fixture.entries().is_empty());
    assert_eq!(fixture.row(&gid(7)).unwrap().values[2], Value::Integer(7));
}

#[test]
fn our_own_process_killed_in_a_transaction_leaves_capture_on_and_no_half_page() {
    for mode in ["DELETE", "WAL"] {
        let fixture = Fixture::new(2000);
        fixture.plain_sql(&format!("PRAGMA journal_mode = {mode}"));
        // This test again, as a process of its own that is killed inside the transaction.
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "journal::holds_a_transaction_until_it_is_killed",
                "--exact",
                "--nocapture",
            ])
            .env("HAVERSACK_TEST_HOLD", &fixture.path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while !line.contains("holding") {
            line.clear();
            assert_ne!(
                out.read_line(&mut line).unwrap(),
                0,
                "the process ended early"
            );
        }
        child.kill().unwrap();
        child.wait().unwrap();

        let file = fixture.open();
        assert!(file.problems().unwrap().is_empty(), "{mode}");
        assert_eq!(file.header().unwrap().next_batch.0, 1);
        drop(file);
        assert!(fixture.row(&gid(9)).unwrap().same_content(&park(9)));
        fixture.plain_sql("UPDATE City_parks SET name = 'after' WHERE OBJECTID = 9");
        assert_eq!(fixture.entries().len(), 1, "{mode}");
    }
}

/// The process of the test above; alone it does nothing but check that it was not asked.
#[test]
fn holds_a_transaction_until_it_is_killed() {
    let Some(path) = std::env::var_os("HAVERSACK_TEST_HOLD") else {
        assert!(std::env::var_os("HAVERSACK_TEST_HOLD").is_none());
        return;
    };
    let mut file = ReplicaFile::open(Path::new(&path)).unwrap();
    let mut tx = file.begin().unwrap();
    let mut header = tx.header().unwrap();
    header.next_batch.0 = 9;
    tx.store_header(&header).unwrap();
    for n in 1..=2000 {
        let mut record = park(n);
        record.values[0] = "half a page ".repeat(200).into();
        tx.put_row(PARKS, &record).unwrap();
    }
    let mut out = std::io::stdout();
    writeln!(out, "holding").unwrap();
    out.flush().unwrap();
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
}

/// Bytes that differ from run to run of the loop and are the same every time.
fn noise(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

#[test]
fn a_torn_wal_keeps_a_prefix_of_the_edits_with_their_outbox_entries() {
    let fixture = Fixture::new(40);
    let mut editor = Editor::start(
        &fixture.path,
        "c.execute('PRAGMA journal_mode = WAL'); c.execute('PRAGMA wal_autocheckpoint = 0')\n\
         for n in range(1, 31):\n  c.execute('UPDATE City_parks SET trees = 1000 WHERE OBJECTID = ?', (n,))\n\
         say('open'); sys.stdin.readline()\n",
    );
    assert_eq!(editor.hear(), "open");
    let base = std::fs::read(&fixture.path).unwrap();
    let wal = std::fs::read(fixture.path.with_extension("gpkg-wal")).unwrap();
    editor.kill();
    let mut state = 7;
    let mut lengths = std::collections::BTreeSet::new();
    for _ in 0..40 {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("torn.gpkg");
        std::fs::write(&path, &base).unwrap();
        let mut torn = wal.clone();
        let at = noise(&mut state) as usize % torn.len();
        match noise(&mut state) % 3 {
            0 => torn.truncate(at),
            1 => torn[at] ^= 0x10,
            _ => torn[at..].fill(0),
        }
        std::fs::write(path.with_extension("gpkg-wal"), &torn).unwrap();
        lengths.insert(assert_edits_and_entries_agree(&path));
    }
    assert!(
        lengths.len() > 5,
        "the damage was at different places: {lengths:?}"
    );
}

#[test]
fn a_torn_rollback_journal_leaves_the_file_before_or_after_the_edit() {
    let fixture = Fixture::new(40);
    let before = std::fs::read(&fixture.path).unwrap();
    let mut editor = Editor::start(
        &fixture.path,
        "c.execute('PRAGMA cache_size = 3'); c.execute('BEGIN')\n\
         c.execute('UPDATE City_parks SET trees = 1000, name = hex(zeroblob(2000))'); say('open'); sys.stdin.readline()\n",
    );
    assert_eq!(editor.hear(), "open");
    let journal = std::fs::read(fixture.path.with_extension("gpkg-journal")).unwrap();
    editor.kill();
    // Pages are overwritten only after the journal was synced, so a torn journal stands beside the old file.
    let mut state = 99;
    for _ in 0..40 {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("torn.gpkg");
        std::fs::write(&path, &before).unwrap();
        let mut torn = journal.clone();
        torn.truncate(noise(&mut state) as usize % journal.len());
        std::fs::write(path.with_extension("gpkg-journal"), &torn).unwrap();
        assert_eq!(assert_edits_and_entries_agree(&path), 0);
    }
}

/// The file opens, is sound, and has an entry for each edited row and for no other. Gives how many.
fn assert_edits_and_entries_agree(path: &Path) -> usize {
    let mut file = ReplicaFile::open(path).unwrap();
    assert!(file.problems().unwrap().is_empty());
    let tx = file.begin().unwrap();
    let entries = tx.pending(usize::MAX).unwrap();
    for n in 1..=40 {
        let row = tx.row(PARKS, &gid(n)).unwrap().unwrap();
        let is_edited = row.values[2] == Value::Integer(1000);
        let entry = entries.iter().find(|e| e.global_id == gid(n));
        assert_eq!(is_edited, entry.is_some(), "park {n}");
        if let Some(entry) = entry {
            assert!(entry.base.as_ref().unwrap().0.same_content(&park(n)));
        }
    }
    entries.len()
}
