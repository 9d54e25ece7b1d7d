//! Runs `haversack demo` as a user would and checks what it claims by reading the files that it leaves.
#![allow(
    clippy::unwrap_used,
    reason = "a panic with its line is what a test wants"
)]

use std::path::Path;
use std::process::{Command, Stdio};

use rusqlite::{Connection, OpenFlags};
use serde_json::Value as Json;

fn demo(folder: &Path, args: &[&str]) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_haversack"))
        .args(args)
        .current_dir(folder)
        .env("PATH", "")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn open(path: &Path) -> Connection {
    Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap()
}

/// All points of a file as text, in order of their identity; object ids differ between files.
fn points(path: &Path, table: &str) -> Vec<String> {
    let db = open(path);
    let sql = format!(
        "SELECT GlobalID || '|' || name || '|' || coalesce(status, '') || '|' || coalesce(personnel, '') || '|' || coalesce(remarks, '') || '|' || hex(geom) FROM \"{table}\" ORDER BY GlobalID"
    );
    let mut statement = db.prepare(&sql).unwrap();
    let rows = statement.query_map([], |row| row.get(0)).unwrap();
    rows.map(Result::unwrap).collect()
}

#[test]
fn the_demo_keeps_its_promises() {
    let temp = tempfile::tempdir().unwrap();
    let out = demo(temp.path(), &["--json", "demo"]);
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    let told: Json = serde_json::from_slice(&out.stdout).unwrap();
    assert!(told["seconds"].as_f64().unwrap() < 60.0, "{told}");

    let folder = temp.path().join("haversack-demo");
    let table = told["table"].as_str().unwrap();
    let ada = points(&folder.join("ada.gpkg"), table);
    let ben = points(&folder.join("ben.gpkg"), table);
    let server = points(
        &folder.join("data/services/WildfireSync.gpkg"),
        "response_points",
    );
    assert!(ada.len() > 100, "{}", ada.len());
    assert_eq!(ada, ben);
    assert_eq!(ada, server);

    let row = |id: &Json| {
        ada.iter()
            .find(|row| row.starts_with(id.as_str().unwrap()))
            .unwrap()
    };
    let merged = row(&told["merged"]["globalId"]);
    assert!(merged.contains("|contained|12|"), "{merged}");
    let clashed = row(&told["conflict"]["globalId"]);
    assert!(clashed.contains("Bridge repaired"), "{clashed}");
    assert!(ada.iter().any(|row| row.contains("New water source")));

    let conflicts: i64 = open(&folder.join("ben.gpkg"))
        .query_row("SELECT count(*) FROM haversack_conflicts", [], |row| {
            row.get(0)
        })
        .unwrap();
    assert_eq!(conflicts, 1);
}

#[test]
fn the_demo_speaks_to_newcomers_and_leaves_a_used_folder_alone() {
    let temp = tempfile::tempdir().unwrap();
    let out = demo(temp.path(), &["demo", "--dir", "here"]);
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(out.status.success(), "{text}");
    for part in [
        "base",
        "mine",
        "theirs",
        "Bridge is out",
        "Bridge repaired",
        "equal",
        "QGIS",
        "here",
    ] {
        assert!(text.contains(part), "{part:?} is missing in:\n{text}");
    }
    assert!(!text.contains('\u{1b}'), "no colours without a terminal");
    let again = demo(temp.path(), &["demo", "--dir", "here"]);
    assert_eq!(again.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&again.stderr).contains("not empty"));
}
