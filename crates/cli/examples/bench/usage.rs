//! What a process has used so far: time of its threads on a processor, and bytes that it had written to a disk.
//!
//! Other programs on the machine lengthen the wall clock, hardly these. Linux only.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// Used since the start, or between two looks.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// On a processor, system calls included.
    pub(crate) cpu: Duration,
    /// Bytes of pages that were made dirty in files.
    pub(crate) written: u64,
}

impl Usage {
    /// Of a process until now. Threads that have ended are not counted.
    pub(crate) fn of(process: u32) -> Result<Self> {
        let mut nanoseconds = 0;
        for task in fs::read_dir(format!("/proc/{process}/task"))? {
            // A thread may have ended since.
            if let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) {
                let first = text.split_whitespace().next();
                nanoseconds += first.context("Linux tells the time")?.parse::<u64>()?;
            }
        }
        let io = fs::read_to_string(format!("/proc/{process}/io"))?;
        let line = io
            .lines()
            .find_map(|line| line.strip_prefix("write_bytes: "));
        Ok(Self {
            cpu: Duration::from_nanos(nanoseconds),
            written: line.context("Linux tells what was written")?.parse()?,
        })
    }

    /// Used since an earlier look.
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(before.cpu),
            written: self.written.saturating_sub(before.written),
        }
    }

    /// Adds another span.
    pub(crate) fn add(&mut self, other: Self) {
        self.cpu += other.cpu;
        self.written += other.written;
    }
}
