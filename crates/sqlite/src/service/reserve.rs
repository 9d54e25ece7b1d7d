//! Eight mebibytes beside the file, given back to a full disk so that work in progress can end.
//!
//! A full disk cannot be cleaned by deleting rows: that writes too. Measured: GUARANTEES 2.4.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

const SIZE: u64 = 8 << 20;

/// The reserve of one service file.
#[derive(Debug)]
pub(super) struct Reserve {
    path: PathBuf,
}

impl Reserve {
    pub(super) fn beside(file: &Path) -> Self {
        let mut path = file.as_os_str().to_owned();
        path.push("-reserve");
        Self { path: path.into() }
    }

    /// Makes sure that it is there; does without it where there is no room.
    pub(super) fn fill(&self) {
        let whole = fs::metadata(&self.path).is_ok_and(|found| found.len() == SIZE);
        if !whole && let Err(error) = self.write() {
            tracing::warn!(%error, "no room for the reserve of a service file");
            self.release();
        }
    }

    fn write(&self) -> std::io::Result<()> {
        let mut file = File::create(&self.path)?;
        let zeros = vec![0; 1 << 20];
        for _ in 0..SIZE >> 20 {
            file.write_all(&zeros)?;
        }
        file.sync_all()
    }

    /// Gives the space back.
    pub(super) fn release(&self) {
        match fs::remove_file(&self.path) {
            Ok(()) => {
                tracing::warn!("the disk is full: the reserve of a service file was released");
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::error!(%error, "the reserve of a service file cannot be released");
            }
        }
    }
}
