//! How long a writer of the primary waits while its collection is copied and compared.
//!
//! Servers of one machine share its disk: what the secondary writes is flushed before a commit of the primary is durable,
//! and a commit was seen to wait a fifth of a second for that. Two servers of the field do not share one, so what a
//! synchronisation does to its primary is measured with the secondary on another file system; both figures are told.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};

use super::pair::{self, Pair};
use super::{Differences, Table};
use crate::layer::Child;

/// How long a writer of the primary waits at most, with and without a synchronisation beside it.
pub(crate) fn measure(folder: &Path, documents: u64, table: &mut Table) -> Result<()> {
    const WHAT: &str = "longest write of the primary during a full copy and a comparison";
    let primary = |name: &str| folder.join(name).join("primary");
    let shared = folder.join("one-disk").join("secondary");
    let (longest, of, idle) = longest_write([primary("one-disk"), shared], documents)?;
    let measured = |longest: Duration, of: u64, idle: Duration| {
        let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
        format!(
            "{:.1} ms of {of} writes (without a synchronisation {:.1} ms)",
            milliseconds(longest),
            milliseconds(idle)
        )
    };
    table.note(
        &format!("{WHAT}, both servers on one disk"),
        &measured(longest, of, idle),
    );
    let Some(other) = other_disk(folder)? else {
        table.note(
            &format!("{WHAT}, each server on a disk of its own"),
            "this machine has no second disk with 2 GB left",
        );
        return Ok(());
    };
    let apart = other.path().join("secondary");
    let (longest, of, idle) = longest_write([primary("two-disks"), apart], documents)?;
    table.line(
        &format!("{WHAT}, each server on a disk of its own"),
        &measured(longest, of, idle),
        "at most 50 ms",
        longest <= Duration::from_millis(50),
    );
    Ok(())
}

/// The longest write of a primary beside a comparison and a full copy, how many were made, and the longest without.
fn longest_write(folders: [PathBuf; 2], documents: u64) -> Result<(Duration, u64, Duration)> {
    println!("making {documents} documents ..");
    let pair = Pair::start_in(folders, documents)?;
    let mut differences = Differences::of(documents);
    pair.sync(&pair.near)?;
    pair::edit(
        &pair.secondary,
        &differences.next((documents / 10).min(100_000)),
    )?;
    // What making the documents left to be written is not the writer's to wait for.
    ensure!(
        std::process::Command::new("sync").status()?.success(),
        "the disks could not be brought up to date"
    );
    let (idle, _) = beside(&pair.primary, || {
        std::thread::sleep(Duration::from_secs(3));
        Ok(())
    })?;
    let compared = beside(&pair.primary, || pair.sync(&pair.near).map(|_cost| ()))?;
    pair.forget()?;
    let copied = beside(&pair.primary, || pair.sync(&pair.near).map(|_cost| ()))?;
    pair.sync(&pair.near)?;
    ensure!(pair.is_equal()?, "the copies are not equal in the end");
    Ok((compared.0.max(copied.0), compared.1 + copied.1, idle))
}

/// A folder on another file system than this one, with room for a secondary: one in memory will do.
fn other_disk(folder: &Path) -> Result<Option<tempfile::TempDir>> {
    use std::os::unix::fs::MetadataExt as _;
    let memory = Path::new("/dev/shm");
    let is_other = || -> Result<bool> {
        let room = rustix::fs::statvfs(memory)?;
        let is_roomy = room.f_bavail.saturating_mul(room.f_frsize) > 2_000_000_000;
        Ok(is_roomy && memory.metadata()?.dev() != folder.metadata()?.dev())
    };
    if !memory.is_dir() || !is_other()? {
        return Ok(None);
    }
    let made = tempfile::Builder::new()
        .prefix("haversack-bench-")
        .tempdir_in(memory)?;
    Ok(Some(made))
}

fn beside(server: &Child, work: impl FnOnce() -> Result<()>) -> Result<(Duration, u64)> {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| pair::write_until(server, &stop));
        let done = work();
        stop.store(true, Ordering::Relaxed);
        let written = writer
            .join()
            .map_err(|_panic| anyhow::anyhow!("the writer panicked"))?;
        done?;
        written
    })
}
