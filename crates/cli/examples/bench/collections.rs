//! A collection kept equal between two servers: bytes, round trips, CPU, memory and time of what a difference costs.
//!
//! Two processes of the program on this machine; the way between them counts every byte, headers included. Differences are
//! made in two ways: by edits of the primary since the last synchronisation, which the secondary's cursor tells apart, and by as
//! many edits of the secondary itself, scattered over everything, which no cursor tells of. What is measured is checked: each
//! synchronisation ends with a proof, and in the end both files are compared document by document.

mod pair;
mod peers;
pub(crate) mod proxy;
mod upkeep;
mod writers;

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use pair::{Cost, Edit, Pair};

/// How many documents are measured with, unless told otherwise.
pub(crate) const DOCUMENTS: u64 = 1_000_000;
/// How often nothing is to do, to learn what that costs.
const TIMES: u32 = 50;

/// The section of `docs/benchmarks.md`, and what was missed.
pub(crate) struct Measured {
    pub(crate) section: String,
    pub(crate) missed: Vec<String>,
}

/// Lines of the table.
#[derive(Debug, Default)]
pub(crate) struct Table {
    pub(crate) text: String,
    pub(crate) missed: Vec<String>,
}

impl Table {
    pub(crate) fn line(&mut self, what: &str, measured: &str, wanted: &str, is_met: bool) {
        let verdict = if is_met { "met" } else { "**missed**" };
        println!("  {what}: {measured} ({wanted}: {verdict})");
        // Writing to a string cannot fail.
        let _ok = writeln!(self.text, "| {what} | {measured} | {wanted} | {verdict} |");
        if !is_met {
            self.missed.push(what.to_owned());
        }
    }

    /// What is told and not judged.
    fn note(&mut self, what: &str, measured: &str) {
        println!("  {what}: {measured}");
        // Writing to a string cannot fail.
        let _ok = writeln!(self.text, "| {what} | {measured} | | |");
    }

    /// A synchronisation of some differences.
    fn sync(&mut self, what: &str, cost: &Cost, most_bytes: u64) {
        let measured = format!(
            "{} B in {} round trips, {:.2} s, CPU {:.2} + {:.2} s, memory {:.0} and {:.0} MB{}",
            cost.traffic.bytes(),
            cost.traffic.round_trips,
            cost.seconds,
            cost.cpu.0,
            cost.cpu.1,
            cost.memory.0 as f64 / 1e6,
            cost.memory.1 as f64 / 1e6,
            method(cost),
        );
        let wanted = format!("at most {most_bytes} B, 8 round trips, 150 MB");
        let is_met = cost.traffic.bytes() <= most_bytes
            && cost.traffic.round_trips <= 8
            && cost.megabytes() < 150.0;
        self.line(what, &measured, &wanted, is_met);
    }
}

fn method(cost: &Cost) -> String {
    let walk = cost.report.as_ref().map(|report| &report.walk);
    walk.map_or_else(String::new, |walk| format!(", by {:?}", walk.method))
}

/// Measures everything with so many documents, or one part alone: `copies`, `differences`, `far`, `writers`,
/// `peers` or `upkeep`.
pub(crate) fn measure(folder: &Path, documents: u64, only: Option<&str>) -> Result<Measured> {
    let wanted = |part: &str| only.is_none_or(|only| only == part);
    let mut table = Table::default();
    let is_of_servers = ["copies", "differences", "far"].map(wanted);
    if is_of_servers.contains(&true) {
        println!("making {documents} documents ..");
        let pair = Pair::start(folder, documents)?;
        servers(&pair, documents, &wanted, &mut table)?;
    }
    if wanted("writers") {
        writers::measure(folder, documents, &mut table)?;
    }
    let mut peers = String::new();
    if wanted("peers") {
        let modules = std::env::var_os("HAVERSACK_BENCH_PEERS");
        peers = peers::measure(folder, documents, modules.as_deref().map(Path::new))?;
    }
    if wanted("upkeep") {
        upkeep(folder, documents, &mut table)?;
    }
    Ok(Measured {
        section: section(documents, &table.text, &peers),
        missed: table.missed,
    })
}

/// What is measured between two servers.
fn servers(
    pair: &Pair,
    documents: u64,
    wanted: &dyn Fn(&str) -> bool,
    table: &mut Table,
) -> Result<()> {
    let mut edits = Differences::of(documents);
    if wanted("copies") {
        full_copies(pair, documents, table)?;
    }
    pair.sync(&pair.near)?;
    if wanted("differences") {
        nothing(pair, table)?;
        differences(pair, &mut edits, table)?;
        lost_cursor(pair, &mut edits, table)?;
    }
    if wanted("far") {
        far_away(pair, &mut edits, table)?;
    }
    ensure!(pair.is_equal()?, "the copies are not equal in the end");
    Ok(())
}

fn differences(pair: &Pair, edits: &mut Differences, table: &mut Table) -> Result<()> {
    for (d, most) in [(10, 15_000), (1_000, 300_000), (100_000, 30_000_000)] {
        let d = d.min(edits.documents / 10);
        pair::edit(&pair.primary, &edits.next(d))?;
        let cost = pair.sync(&pair.near)?;
        table.sync(&format!("{d} edits of the primary since"), &cost, most);
        pair::edit(&pair.secondary, &edits.next(d))?;
        let cost = pair.sync(&pair.near)?;
        table.sync(
            &format!("{d} differences, no cursor tells of them"),
            &cost,
            most,
        );
    }
    Ok(())
}

/// Edits that were not made yet.
struct Differences {
    documents: u64,
    version: u64,
}

impl Differences {
    fn of(documents: u64) -> Self {
        Self {
            documents,
            version: 0,
        }
    }
    /// Of ten, eight updates, a deletion and an insert, scattered over everything.
    fn next(&mut self, d: u64) -> Vec<Edit> {
        self.version += 1;
        let (n, version) = (self.documents, self.version);
        (0..d)
            .map(|at| {
                let of = (at * (n / d).max(1) + version * 31) % n;
                match at % 10 {
                    0 => Edit::Put(n * version + at, version),
                    1 => Edit::Delete(of),
                    _ => Edit::Put(of, version),
                }
            })
            .collect()
    }
    fn inserts(&mut self, d: u64) -> Vec<Edit> {
        self.version += 1;
        let (n, version) = (self.documents, self.version);
        (0..d)
            .map(|at| Edit::Put(n * version + at, version))
            .collect()
    }
}

fn full_copies(pair: &Pair, documents: u64, table: &mut Table) -> Result<()> {
    let rate = |cost: &Cost| documents as f64 / cost.seconds;
    let mut copied = |what: &str, cost: &Cost, least: f64| {
        let measured = format!(
            "{:.0} documents/s ({:.2} s, {} B, CPU {:.2} + {:.2} s, memory {:.0} and {:.0} MB)",
            rate(cost),
            cost.seconds,
            cost.traffic.bytes(),
            cost.cpu.0,
            cost.cpu.1,
            cost.memory.0 as f64 / 1e6,
            cost.memory.1 as f64 / 1e6,
        );
        let wanted = format!("at least {least}/s, 150 MB");
        table.line(
            what,
            &measured,
            &wanted,
            rate(cost) >= least && cost.megabytes() < 150.0,
        );
    };
    let cost = pair.dump()?;
    copied("full copy by ArangoDB's dump protocol", &cost, 50_000.0);
    ensure!(pair.is_equal()?, "the dump is not equal");
    pair.forget()?;
    let cost = pair.sync(&pair.near)?;
    copied("full copy natively", &cost, 150_000.0);
    ensure!(pair.is_equal()?, "the copy is not equal");
    Ok(())
}

fn nothing(pair: &Pair, table: &mut Table) -> Result<()> {
    let cost = pair.sync_often(&pair.near, TIMES)?;
    let each = |all: f64| all / f64::from(TIMES);
    let (bytes, cpu) = (
        each(cost.traffic.bytes() as f64),
        (each(cost.cpu.0) * 1e3, each(cost.cpu.1) * 1e3),
    );
    let round_trips = each(cost.traffic.round_trips as f64);
    let measured = format!(
        "{bytes:.0} B in {round_trips:.1} round trips, {:.1} ms, CPU {:.1} + {:.1} ms, memory {:.0} and {:.0} MB",
        each(cost.seconds) * 1e3,
        cpu.0,
        cpu.1,
        cost.memory.0 as f64 / 1e6,
        cost.memory.1 as f64 / 1e6,
    );
    let is_met = bytes <= 1000.0
        && cpu.0 < 5.0
        && cpu.1 < 5.0
        && round_trips <= 2.0
        && cost.megabytes() < 150.0;
    table.line(
        "nothing to do",
        &measured,
        "at most 1000 B, 5 ms, 2 round trips, 150 MB",
        is_met,
    );
    Ok(())
}

fn lost_cursor(pair: &Pair, differences: &mut Differences, table: &mut Table) -> Result<()> {
    let inserts = differences.inserts(1000);
    pair::edit(&pair.primary, &inserts)?;
    pair.lose_cursor()?;
    let cost = pair.sync(&pair.near)?;
    let report = cost.report.as_ref().context("a pull reports")?;
    let records = report.walk.bytes_of_records;
    table.sync(
        &format!("1000 new documents ({records} B), cursor lost"),
        &cost,
        records + 4096,
    );
    Ok(())
}

/// The same over a way of 200 ms there and back.
fn far_away(pair: &Pair, differences: &mut Differences, table: &mut Table) -> Result<()> {
    let mut line = |what: &str, cost: &Cost, most: u64| {
        let measured = format!(
            "{} round trips, {:.2} s, {} B{}",
            cost.traffic.round_trips,
            cost.seconds,
            cost.traffic.bytes(),
            method(cost)
        );
        table.line(
            &format!("at 200 ms: {what}"),
            &measured,
            &format!("at most {most} round trips"),
            cost.traffic.round_trips <= most,
        );
    };
    line("nothing to do", &pair.sync(&pair.far)?, 2);
    for d in [10, 1_000, 100_000] {
        let d = d.min(differences.documents / 10);
        pair::edit(&pair.secondary, &differences.next(d))?;
        let cost = pair.sync(&pair.far)?;
        line(
            &format!("{d} differences, no cursor tells of them"),
            &cost,
            8,
        );
    }
    Ok(())
}

fn upkeep(folder: &Path, documents: u64, table: &mut Table) -> Result<()> {
    let (inserts, updates) = upkeep::measure(folder, documents.min(50_000))?;
    for (what, ratio) in [("inserts", inserts), ("updates", updates)] {
        table.line(
            &format!("upkeep of the sums, CPU of {what}, 100 a transaction"),
            &format!("{:+.1} %", (ratio - 1.0) * 100.0),
            "at most +20 %",
            ratio <= 1.2,
        );
    }
    Ok(())
}

fn section(documents: u64, lines: &str, peers: &str) -> String {
    format!(
        "## Collections kept equal\n\n\
         {documents} documents of about 150 bytes on two servers, two processes of the program on this machine. Every byte both ways between\n\
         them counts, headers included; a round trip is a turn of a connection, opening one counts as one. CPU and peak of memory are the\n\
         primary's and the secondary's.\n\n\
         | what | measured | wanted | |\n| --- | --- | --- | --- |\n\
         {lines}\n\
         Others in the same run, by number of differences (PouchDB's are updates only):\n\n\
         {peers}\n\
         Of sqlite3_rsync, which no registry has, our own earlier figures on this kind of machine, for a file of as many rows with a unique index\n\
         more: 1,061 B and 0.3 to 1.2 s of CPU with nothing to do, 54 KB for 10 updates, 4.5 MB for 1,000, 144 MB for 100,000; a full copy takes\n\
         1.2 to 1.6 s, as it copies pages.\n"
    )
}
