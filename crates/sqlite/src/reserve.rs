//! Some mebibytes beside a file, given back to a full disk so that work in progress can end.
//!
//! A full disk cannot be cleaned by deleting rows, nor can a replica send its edits without writing down what it sends: both
//! need room for a journal. Measured: GUARANTEES 2.4.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

const MEBIBYTE: u64 = 1 << 20;

/// The most that is kept.
pub(crate) const WHOLE: u64 = 8 * MEBIBYTE;

/// The reserve of one file.
#[derive(Debug)]
pub(crate) struct Reserve {
    path: PathBuf,
    size: u64,
}

impl Reserve {
    pub(crate) fn beside(file: &Path) -> Self {
        let mut path = file.as_os_str().to_owned();
        path.push("-reserve");
        Self {
            path: path.into(),
            size: WHOLE,
        }
    }

    /// The same for a file that may be small: as large as that, within bounds.
    pub(crate) fn like(file: &Path) -> Self {
        let size = fs::metadata(file).map_or(MEBIBYTE, |found| found.len());
        Self {
            size: (size / MEBIBYTE * MEBIBYTE).clamp(MEBIBYTE, WHOLE),
            ..Self::beside(file)
        }
    }

    /// Makes sure that it is there; does without it where there is no room.
    pub(crate) fn fill(&self) {
        // One that a smaller file had will do for a while.
        let will_do = fs::metadata(&self.path).is_ok_and(|found| found.len() * 2 > self.size);
        if !will_do && let Err(error) = self.write() {
            tracing::warn!(%error, "no room for the reserve of a file");
            self.release();
        }
    }

    fn write(&self) -> std::io::Result<()> {
        let mut file = File::create(&self.path)?;
        let zeros = vec![0; MEBIBYTE as usize];
        for _ in 0..self.size / MEBIBYTE {
            file.write_all(&zeros)?;
        }
        file.sync_all()
    }

    /// Gives the space back; whether there was any.
    pub(crate) fn release(&self) -> bool {
        match fs::remove_file(&self.path) {
            Ok(()) => {
                tracing::warn!("the disk is full: the reserve of a file was released");
                true
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
            Err(error) => {
                tracing::error!(%error, "the reserve of a file cannot be released");
                false
            }
        }
    }

    /// Removes it with the use for it.
    pub(crate) fn remove(&self) {
        // What stays behind is a file of zeros with a telling name.
        let _best_effort = fs::remove_file(&self.path);
    }
}
