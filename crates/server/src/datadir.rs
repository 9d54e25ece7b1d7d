//! A data directory: where everything of one server lives, and the lock by which one process holds it.
//!
//! A running server leaves its address and a private token in `server.json` (readable by its owner alone), so that commands
//! on the directory go through it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, at_path};

/// A data directory that this process holds.
#[derive(Debug)]
pub struct DataDir {
    root: PathBuf,
    is_new: bool,
    _lock: File,
}

/// How to reach the server that holds a directory.
#[derive(Clone, Serialize, Deserialize)]
pub struct Running {
    /// Where it listens, on this machine.
    pub url: String,
    /// Secret that makes a request an administrator's; in `Authorization: Bearer`.
    pub token: String,
    /// Its process.
    pub pid: u32,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running")
            .field("url", &self.url)
            .field("pid", &self.pid)
            .finish_non_exhaustive()
    }
}

impl DataDir {
    const LOCK: &'static str = "haversack.lock";
    const DATABASE: &'static str = "haversack.db";
    const RUNNING: &'static str = "server.json";

    /// Takes hold of a directory, making it if it is new.
    ///
    /// # Errors
    /// [`Error::Locked`] if another process holds it; [`Error::Invalid`] if it holds other things.
    pub fn open(root: &Path) -> Result<Self> {
        let is_new = !root.join(Self::DATABASE).exists();
        if is_new {
            refuse_foreign_content(root)?;
        }
        create_private_dir(root)?;
        let path = root.join(Self::LOCK);
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(at_path("opening", &path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::Locked {
                    dir: root.to_owned(),
                    url: read_running(root).map(|running| running.url),
                });
            }
            Err(TryLockError::Error(source)) => return Err(at_path("locking", path)(source)),
        }
        for folder in ["services", "files"] {
            create_private_dir(&root.join(folder))?;
        }
        let root = root
            .canonicalize()
            .map_err(at_path("resolving", root.to_owned()))?;
        Ok(Self {
            root,
            is_new,
            _lock: lock,
        })
    }

    /// The server that holds a directory now; `None` if none does.
    pub fn running(root: &Path) -> Option<Running> {
        let lock = OpenOptions::new()
            .write(true)
            .open(root.join(Self::LOCK))
            .ok()?;
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) => read_running(root),
            _ => None,
        }
    }

    /// Whether a folder is a data directory.
    pub fn exists(root: &Path) -> bool {
        root.join(Self::DATABASE).exists()
    }

    /// Whether nothing was in it before.
    pub fn is_new(&self) -> bool {
        self.is_new
    }
    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }
    /// The database of users, jobs and files.
    pub fn database(&self) -> PathBuf {
        self.root.join(Self::DATABASE)
    }
    /// The folder of the services' files.
    pub fn services(&self) -> PathBuf {
        self.root.join("services")
    }
    /// The folder of prepared and uploaded files.
    pub fn files(&self) -> PathBuf {
        self.root.join("files")
    }

    /// Says where the server listens.
    pub fn announce(&self, running: &Running) -> Result<()> {
        let text = serde_json::to_vec_pretty(running).expect("three plain fields are JSON");
        write_private(&self.root.join(Self::RUNNING), &text)
    }
    /// Takes the announcement back.
    pub fn withdraw(&self) {
        // A leftover is harmless: readers look at the lock first.
        let _ = std::fs::remove_file(self.root.join(Self::RUNNING));
    }
}

fn read_running(root: &Path) -> Option<Running> {
    let text = std::fs::read(root.join(DataDir::RUNNING)).ok()?;
    serde_json::from_slice(&text).ok()
}

fn refuse_foreign_content(root: &Path) -> Result<()> {
    let Ok(entries) = std::fs::read_dir(root) else {
        return Ok(());
    };
    // What a first start that was cut off may have left.
    let known = [
        DataDir::LOCK,
        DataDir::RUNNING,
        crate::Config::FILE,
        "services",
        "files",
    ];
    for entry in entries.flatten() {
        let name = entry.file_name();
        if !known.iter().any(|k| name == *k) {
            return Err(Error::invalid(
                root.display().to_string(),
                format!(
                    "it is not a data directory and holds {}; name an empty or a new folder",
                    name.display()
                ),
            ));
        }
    }
    Ok(())
}

fn create_private_dir(path: &Path) -> Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt as _;
        builder.mode(0o700);
    }
    builder.create(path).map_err(at_path("making", path))
}

/// Writes a file that only its owner can read, whole or not at all.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> Result<()> {
    let aside = path.with_extension("new");
    let _ = std::fs::remove_file(&aside);
    let mut options = OpenOptions::new();
    options.create_new(true).write(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    let mut file = options.open(&aside).map_err(at_path("making", &aside))?;
    file.write_all(content)
        .and_then(|()| file.sync_all())
        .map_err(at_path("writing", &aside))?;
    std::fs::rename(&aside, path).map_err(at_path("renaming", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_refused_and_told_where_the_first_listens() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("data");
        let held = DataDir::open(&root).unwrap();
        assert!(held.is_new());
        let running = Running {
            url: "https://127.0.0.1:9".to_owned(),
            token: "t".to_owned(),
            pid: 1,
        };
        held.announce(&running).unwrap();
        let refused = DataDir::open(&root).unwrap_err();
        assert!(refused.to_string().contains("https://127.0.0.1:9"));
        assert_eq!(DataDir::running(&root).unwrap().token, "t");
        drop(held);
        assert!(DataDir::running(&root).is_none());
        DataDir::open(&root).unwrap();
    }

    #[test]
    fn a_folder_with_other_things_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("thesis.odt"), "x").unwrap();
        let refused = DataDir::open(dir.path()).unwrap_err().to_string();
        assert!(refused.contains("thesis.odt"), "{refused}");
    }

    #[cfg(unix)]
    #[test]
    fn the_announcement_is_readable_by_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("server.json");
        write_private(&path, b"secret").unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
