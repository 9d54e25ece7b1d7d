//! Other programs that keep copies equal, on rows like ours, in the same run: rsync and PouchDB.
//!
//! rsync works on a SQLite file with the same documents; it counts its bytes itself. PouchDB replicates from another one over
//! the counting way, of fewer documents, as a million would take it ten minutes. `sqlite3_rsync` is in no registry.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rusqlite::{Connection, params};
use serde_json::Value as Json;

use super::Differences;
use super::pair::{Edit, body, key};
use super::proxy::Proxy;

/// As many as PouchDB copies in a minute.
const OF_POUCHDB: u64 = 100_000;
/// Differences that are measured.
const DIFFERENCES: [u64; 4] = [0, 10, 1_000, 100_000];

/// The table of the peers. `modules`: where their npm packages are.
pub(crate) fn measure(folder: &Path, documents: u64, modules: Option<&Path>) -> Result<String> {
    let mut table = String::from(
        "| peer | full copy | nothing to do | 10 | 1,000 | 100,000 |\n| --- | --- | --- | --- | --- | --- |\n",
    );
    let rows = [
        rsync(&folder.join("rsync"), documents)?,
        pouchdb(&folder.join("pouchdb"), modules, documents.min(OF_POUCHDB))?,
    ];
    for row in rows {
        println!("  {row}");
        writeln!(table, "{row}")?;
    }
    Ok(table)
}

fn rsync(folder: &Path, documents: u64) -> Result<String> {
    let Ok(version) = Command::new("rsync").arg("--version").output() else {
        return Ok("| rsync | not on this machine | | | | |".to_owned());
    };
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    let version = version.split_whitespace().nth(2).unwrap_or_default();
    println!("rsync {version}, {documents} rows of a SQLite file ..");
    std::fs::create_dir_all(folder)?;
    let (first, copy) = (folder.join("first.db"), folder.join("copy.db"));
    let connection = Connection::open(&first)?;
    connection.execute_batch(
        "CREATE TABLE documents (key TEXT PRIMARY KEY, revision INTEGER NOT NULL, document TEXT NOT NULL)",
    )?;
    write(&connection, (0..documents).map(|n| Edit::Put(n, 0)))?;
    let mut cells = vec![run_rsync(&first, &copy)?];
    let mut differences = Differences::of(documents);
    for d in DIFFERENCES {
        if d > 0 {
            let edits = differences.next(d.min(documents / 10));
            write(&connection, edits.into_iter())?;
        }
        cells.push(run_rsync(&first, &copy)?);
    }
    let row = format!("| rsync {version}, the file of {documents} rows |");
    Ok(cells
        .iter()
        .fold(row, |row, cell| format!("{row} {cell} |")))
}

fn write(connection: &Connection, edits: impl Iterator<Item = Edit>) -> Result<()> {
    let transaction = connection.unchecked_transaction()?;
    {
        let mut put = connection.prepare("INSERT OR REPLACE INTO documents VALUES (?1, ?2, ?3)")?;
        let mut delete = connection.prepare("DELETE FROM documents WHERE key = ?1")?;
        for edit in edits {
            match edit {
                Edit::Put(n, version) => {
                    put.execute(params![key(n), i64::try_from(version)?, body(n, version)])?
                }
                Edit::Delete(n) => delete.execute([key(n)])?,
            };
        }
    }
    transaction.commit()?;
    Ok(())
}

/// Makes the copy equal; tells bytes both ways and time.
fn run_rsync(from: &Path, to: &Path) -> Result<String> {
    let begun = Instant::now();
    let told = Command::new("rsync")
        .args(["--no-whole-file", "--inplace", "--ignore-times", "--stats"])
        .args([from, to])
        .env("LC_ALL", "C")
        .output()?;
    let seconds = begun.elapsed().as_secs_f64();
    ensure!(
        told.status.success(),
        "{}",
        String::from_utf8_lossy(&told.stderr)
    );
    ensure!(
        Command::new("cmp").args([from, to]).status()?.success(),
        "rsync did not make the files equal"
    );
    let told = String::from_utf8(told.stdout)?;
    let bytes = |what: &str| -> Result<u64> {
        let line = told.lines().find_map(|line| line.strip_prefix(what));
        let digits: String = line
            .context("rsync tells its bytes")?
            .chars()
            .filter(char::is_ascii_digit)
            .collect();
        Ok(digits.parse()?)
    };
    Ok(cell(
        bytes("Total bytes sent:")? + bytes("Total bytes received:")?,
        seconds,
    ))
}

fn cell(bytes: u64, seconds: f64) -> String {
    format!("{bytes} B, {seconds:.2} s")
}

fn pouchdb(folder: &Path, modules: Option<&Path>, documents: u64) -> Result<String> {
    let Some(modules) = modules else {
        return Ok("| PouchDB | not on this machine | | | | |".to_owned());
    };
    let package = std::fs::read_to_string(modules.join("pouchdb/package.json"))?;
    let package: Json = serde_json::from_str(&package)?;
    let version = package["version"].as_str().unwrap_or_default();
    println!("PouchDB {version}, {documents} documents ..");
    let mut primary = Pouch::start(&folder.join("primary"), modules)?;
    let mut secondary = Pouch::start(&folder.join("secondary"), modules)?;
    primary.tell(&format!("fill {documents}"))?;
    let port = primary.tell("serve")?["port"].as_u64();
    let port = u16::try_from(port.context("a server tells its port")?)?;
    let proxy = Proxy::start(SocketAddr::from(([127, 0, 0, 1], port)), Duration::ZERO)?;
    let mut pull = |wanted: u64| -> Result<String> {
        proxy.take();
        let told = secondary.tell(&format!("pull http://{}/documents", proxy.address()))?;
        ensure!(
            told["written"] == wanted && told["failed"] == 0,
            "PouchDB was to copy {wanted} documents: {told}"
        );
        let seconds = told["seconds"].as_f64().context("it tells its time")?;
        Ok(cell(proxy.take().bytes(), seconds))
    };
    let mut row = format!(
        "| PouchDB {version}, {documents} documents | {} |",
        pull(documents)?
    );
    for d in DIFFERENCES {
        if d > documents / 10 {
            row.push_str(" |");
            continue;
        }
        if d > 0 {
            primary.tell(&format!("edit {d}"))?;
        }
        write!(row, " {} |", pull(d)?)?;
    }
    Ok(row)
}

/// A PouchDB in a process of its own.
#[derive(Debug)]
struct Pouch {
    process: Child,
    tells: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Pouch {
    fn start(folder: &Path, modules: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        let script = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/examples/bench/peers/pouchdb.cjs"
        );
        let mut process = Command::new("node")
            .arg(script)
            .arg(folder)
            .env("NODE_PATH", modules)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let tells = process.stdin.take().context("it listens")?;
        let answers = process.stdout.take().context("it answers")?;
        Ok(Self {
            process,
            tells,
            answers: BufReader::new(answers).lines(),
        })
    }

    fn tell(&mut self, line: &str) -> Result<Json> {
        writeln!(self.tells, "{line}")?;
        let answer = self.answers.next().context("PouchDB has ended")??;
        Ok(serde_json::from_str(&answer)?)
    }
}

impl Drop for Pouch {
    fn drop(&mut self) {
        // Its work is thrown away with the folder.
        let _ended = self.process.kill().and_then(|()| self.process.wait());
    }
}
