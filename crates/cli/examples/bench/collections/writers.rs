//! How long a writer of the primary waits while its collection is copied and compared.
//!
//! A commit is durable when the disk says so, and a disk that has something else to do says so late: of writers that no
//! synchronisation was beside the longest waited for 161 ms on one machine. So what a synchronisation itself holds a writer is measured
//! with the files of both servers in memory, where nothing waits for a disk. So is what is waited for with each server on a disk of
//! its own, as in the field, beside what is waited for without a synchronisation in as much time; with both on one disk it is told.

use std::fmt;
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::pair::{self, Pair};
use super::{Differences, Table};
use crate::layer::Child;

const WHAT: &str = "longest write of the primary during a full copy and a comparison";

/// How long a writer of the primary waits at most, with and without a synchronisation beside it.
///
/// Two disks come before one: what the pair on one disk writes would still be on its way.
pub(crate) fn measure(folder: &Path, documents: u64, table: &mut Table) -> Result<()> {
    if let Some(memory) = memory(folder)? {
        let near = memory.path().join("memory");
        let waited = longest_write(&near, &near, documents)?;
        table.line(
            &format!("{WHAT}, the files of both in memory"),
            &waited.to_string(),
            "at most 50 ms",
            waited.longest <= Duration::from_millis(50),
        );
        std::fs::remove_dir_all(&near)?;
        let near = folder.join("two-disks");
        let waited = longest_write(&near, memory.path(), documents)?;
        table.line(
            &format!("{WHAT}, each server on a disk of its own"),
            &waited.to_string(),
            "at most 50 ms",
            waited.longest <= Duration::from_millis(50),
        );
    } else {
        println!("this machine has no 4 GB left for files in memory");
    }
    let near = folder.join("one-disk");
    let waited = longest_write(&near, &near, documents)?;
    table.note(
        &format!("{WHAT}, both servers on one disk"),
        &waited.to_string(),
    );
    Ok(())
}

/// How long the writes of a primary took.
struct Waited {
    /// The longest beside a comparison and a full copy.
    longest: Duration,
    /// How many were made beside them.
    writes: u64,
    /// The longest without, in as much time.
    idle: Duration,
}

impl fmt::Display for Waited {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
        write!(
            to,
            "{:.1} ms of {} writes (without a synchronisation, in as much time, {:.1} ms)",
            milliseconds(self.longest),
            self.writes,
            milliseconds(self.idle)
        )
    }
}

/// The writes of a primary in `near`, whose secondary is in `far`.
fn longest_write(near: &Path, far: &Path, documents: u64) -> Result<Waited> {
    println!("making {documents} documents ..");
    let pair = Pair::start_in([near.join("primary"), far.join("secondary")], documents)?;
    let mut differences = Differences::of(documents);
    pair.sync(&pair.near)?;
    pair::edit(
        &pair.secondary,
        &differences.next((documents / 10).min(100_000)),
    )?;
    settle(near)?;
    let begun = Instant::now();
    let compared = beside(&pair.primary, || pair.sync(&pair.near).map(|_cost| ()))?;
    let mut took = begun.elapsed();
    pair.forget()?;
    settle(near)?;
    let begun = Instant::now();
    let copied = beside(&pair.primary, || pair.sync(&pair.near).map(|_cost| ()))?;
    took += begun.elapsed();
    settle(near)?;
    let (idle, _) = beside(&pair.primary, || {
        std::thread::sleep(took);
        Ok(())
    })?;
    pair.sync(&pair.near)?;
    ensure!(pair.is_equal()?, "the copies are not equal in the end");
    Ok(Waited {
        longest: compared.0.max(copied.0),
        writes: compared.1 + copied.1,
        idle,
    })
}

/// Waits until the disk has nothing left to do from before, at most a minute: that is not the writer's to wait for.
fn settle(folder: &Path) -> Result<()> {
    const QUIET: Duration = Duration::from_millis(15);
    ensure!(
        std::process::Command::new("sync").status()?.success(),
        "the disks could not be brought up to date"
    );
    let mut file = tempfile::tempfile_in(folder)?;
    let mut quiet_for = 0;
    for _ in 0..600 {
        let start = Instant::now();
        file.write_all(&[0; 4096])?;
        file.sync_data()?;
        quiet_for = if start.elapsed() < QUIET {
            quiet_for + 1
        } else {
            0
        };
        if quiet_for == 30 {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    println!("the disk did not come to rest in a minute");
    Ok(())
}

/// A folder in memory with room for two servers; that it is no part of the other folder's disk is all that counts.
fn memory(folder: &Path) -> Result<Option<tempfile::TempDir>> {
    use std::os::unix::fs::MetadataExt as _;
    let memory = Path::new("/dev/shm");
    let is_other = || -> Result<bool> {
        let room = rustix::fs::statvfs(memory)?;
        let is_roomy = room.f_bavail.saturating_mul(room.f_frsize) > 4_000_000_000;
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
