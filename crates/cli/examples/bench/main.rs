//! The project's numbers, measured in one run as ratios: `cargo xtask bench [NAME]`.
//!
//! Each measurement compares Haversack with what one would do without it, on the same machine, disk and rows, in the same
//! run, so that the ratios mean something on any machine. The table goes to `docs/benchmarks.md`.
#![allow(
    clippy::print_stdout,
    reason = "a measuring program; what it prints is its result"
)]

mod checkout;
mod collections;
mod layer;
mod phases;
mod report;
mod syncing;
mod tracker;
mod tracking;
mod usage;

use std::path::Path;

use anyhow::{Result, bail, ensure};
use haversack_server::DataDir;

use layer::{BIG, Child, LARGE, SMALL, TINY};
use report::Figure;

/// What can be measured by itself.
const NAMES: [&str; 6] = [
    "checkout",
    "collections",
    "download",
    "tracker",
    "tracking",
    "upload",
];

fn main() -> Result<()> {
    let only = std::env::args().nth(1);
    let wanted = |name: &str| only.as_deref().is_none_or(|only| only == name);
    ensure!(
        !cfg!(debug_assertions),
        "measure with --release: cargo xtask bench"
    );
    let folder = tempfile::Builder::new()
        .prefix("haversack-bench-")
        .tempdir_in(scratch()?)?;
    let mut figures = Vec::new();
    let mut notes = String::new();

    if wanted("tracking") {
        figures.push(tracking::measure(folder.path())?);
    }
    if ["checkout", "download", "upload"]
        .iter()
        .any(|name| wanted(name))
    {
        let data = folder.path().join("data");
        publish(&data)?;
        let server = Child::start(&data)?;
        if wanted("checkout") {
            figures.extend(checkout::measure(&server, &data, folder.path())?);
        }
        if wanted("download") {
            figures.push(syncing::measure_download(&server, folder.path())?);
        }
        if wanted("upload") {
            let (figure, phases) = syncing::measure_upload(&server, &data, folder.path())?;
            figures.push(figure);
            notes = phases;
        }
    }
    let mut missed = Vec::new();
    if wanted("collections") {
        let documents = number(2)?.unwrap_or(collections::DOCUMENTS);
        let part = std::env::args().nth(3);
        let measured = collections::measure(folder.path(), documents, part.as_deref())?;
        println!("\n{}", measured.section);
        if documents == collections::DOCUMENTS && part.is_none() {
            report::write_section(&measured.section)?;
        }
        missed.extend(measured.missed);
    }
    if wanted("tracker") {
        let entities = number(2)?.unwrap_or(tracker::ENTITIES);
        let measured = tracker::measure(folder.path(), entities)?;
        println!("\n{}", measured.section);
        if entities == tracker::ENTITIES {
            report::write_section(&measured.section)?;
        }
        missed.extend(measured.missed);
    }
    if only.as_deref().is_some_and(|only| !NAMES.contains(&only)) {
        bail!("there are the measurements {}", NAMES.join(", "));
    }
    if matches!(only.as_deref(), Some("collections" | "tracker")) {
        ensure!(missed.is_empty(), "missed: {}", missed.join(", "));
        return Ok(());
    }

    let table = report::table(&figures);
    println!("\n{table}\n{notes}");
    if only.is_none() {
        report::write(&table, &notes)?;
    }
    let figures = figures.iter().filter(|f| !f.is_met());
    missed.extend(figures.map(|f| f.name.to_owned()));
    ensure!(missed.is_empty(), "missed: {}", missed.join(", "));
    Ok(())
}

/// A number among the arguments.
fn number(at: usize) -> Result<Option<u64>> {
    Ok(std::env::args()
        .nth(at)
        .map(|text| text.parse())
        .transpose()?)
}

/// The scratch folder lies on the disk of the build, which is not always that of the system's temporary files.
fn scratch() -> Result<std::path::PathBuf> {
    let program = std::env::current_exe()?;
    let folder = program
        .parent()
        .unwrap_or(Path::new("."))
        .join("../../bench");
    std::fs::create_dir_all(&folder)?;
    Ok(folder.canonicalize()?)
}

/// Makes the two services, one large and one small.
fn publish(data: &Path) -> Result<()> {
    println!("making {LARGE} and {SMALL} rows ..");
    let dir = DataDir::open(data)?;
    layer::publish(&dir.services(), BIG, LARGE)?;
    layer::publish(&dir.services(), TINY, SMALL)
}

/// The middle of some durations in seconds.
fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds.get(seconds.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Seconds that a step took.
fn timed(step: impl FnOnce() -> Result<()>) -> Result<f64> {
    let begun = std::time::Instant::now();
    step()?;
    Ok(begun.elapsed().as_secs_f64())
}

/// A figure and its bound, in one line.
fn figure(name: &'static str, what: String, ratio: f64, bound: report::Bound) -> Figure {
    println!("  {name}: {what}: {ratio:.3}");
    Figure {
        name,
        what,
        ratio,
        bound,
    }
}
