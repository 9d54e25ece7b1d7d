//! The services of a data directory: one GeoPackage file each, `services/<name>.gpkg`, opened when the server starts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use haversack_model::Service;
use haversack_sqlite::SqliteStore;

use crate::error::{Error, Result, at_path, while_doing};

/// All services of a server, open.
#[derive(Debug)]
pub struct Services {
    folder: PathBuf,
    open: RwLock<BTreeMap<String, Arc<SqliteStore>>>,
}

impl Services {
    /// Opens every file in the folder.
    ///
    /// # Errors
    /// The first file that cannot be opened ends it: a server does not start with half of its services.
    pub fn open(folder: PathBuf) -> Result<Self> {
        let mut open = BTreeMap::new();
        let entries = std::fs::read_dir(&folder).map_err(at_path("listing", &folder))?;
        for entry in entries {
            let path = entry.map_err(at_path("listing", &folder))?.path();
            if is_unfinished(&path) {
                std::fs::remove_dir_all(&path).map_err(at_path("removing", &path))?;
            }
            let Some(name) = service_name(&path) else {
                continue;
            };
            open.insert(name, Arc::new(SqliteStore::open(&path)?));
        }
        Ok(Self {
            folder,
            open: RwLock::new(open),
        })
    }

    /// Names in order.
    pub fn names(&self) -> Vec<String> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        open.keys().cloned().collect()
    }

    /// The name as it was given at creation, for one in any case.
    pub fn canonical(&self, name: &str) -> Option<String> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        open.keys()
            .find(|known| known.eq_ignore_ascii_case(name))
            .cloned()
    }

    /// The store of a service; the case of the name does not matter.
    pub fn store(&self, name: &str) -> Option<Arc<SqliteStore>> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        open.get(name).cloned().or_else(|| {
            open.iter()
                .find(|(known, _)| known.eq_ignore_ascii_case(name))
                .map(|(_, store)| Arc::clone(store))
        })
    }

    /// Makes the file of a new service and fills it. It appears when it is complete: whatever ends this before leaves
    /// nothing behind.
    ///
    /// # Errors
    /// [`Error::Exists`] if the name is taken, [`Error::Invalid`] if it does not do in URLs and file names.
    pub fn create(
        &self,
        service: &Service,
        fill: impl FnOnce(&SqliteStore) -> Result<()>,
    ) -> Result<Arc<SqliteStore>> {
        check_name(&service.name)?;
        self.check_free(&service.name)?;
        let aside = self.aside()?;
        let name = format!("{}.gpkg", service.name);
        let (path, scratch) = (self.folder.join(&name), aside.path().join(&name));
        let store = SqliteStore::create(&scratch, service)?;
        fill(&store)?;
        drop(store);
        complete(&scratch)?;
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        let is_free = !path.exists() && !open.keys().any(|n| n.eq_ignore_ascii_case(&service.name));
        if !is_free {
            return Err(taken(&service.name));
        }
        // A crash in the middle of a removal may have left the log of an earlier service.
        remove_beside(&path);
        std::fs::rename(&scratch, &path).map_err(at_path("publishing", &path))?;
        if let Ok(folder) = std::fs::File::open(&self.folder) {
            // Not every file system can sync a folder; the rename itself has been done.
            let _best_effort = folder.sync_all();
        }
        let store = Arc::new(SqliteStore::open(&path)?);
        open.insert(service.name.clone(), Arc::clone(&store));
        Ok(store)
    }

    /// Removes a service and its file. Who reads it now reads on to the end. `false` if there is none.
    ///
    /// # Errors
    /// If the file cannot be removed; the service is gone then until the next start, or its file until then.
    pub fn remove(&self, name: &str) -> Result<bool> {
        let aside = self.aside()?;
        {
            let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
            let Some(store) = open.remove(name) else {
                return Ok(false);
            };
            let path = store.path().to_owned();
            drop(store);
            let file = path.file_name().unwrap_or_default();
            std::fs::rename(&path, aside.path().join(file)).map_err(at_path("removing", &path))?;
            remove_beside(&path);
        }
        // To give a large file's space back takes a while, and every request asks which services there are.
        let path = aside.path().to_owned();
        aside.close().map_err(at_path("removing", &path))?;
        Ok(true)
    }

    /// A folder beside the services, which is removed at the next start if not before.
    fn aside(&self) -> Result<tempfile::TempDir> {
        tempfile::Builder::new()
            .prefix(UNFINISHED)
            .tempdir_in(&self.folder)
            .map_err(at_path("making a folder in", &self.folder))
    }

    fn check_free(&self, name: &str) -> Result<()> {
        match self.canonical(name) {
            Some(_) => Err(taken(name)),
            None => Ok(()),
        }
    }

    /// Closes the files and moves their write-ahead logs into them, so that the data directory can be copied file by file
    /// afterwards. A file that a job still works on keeps a small log until that ends.
    pub(crate) fn close(&self) {
        let open = std::mem::take(&mut *self.open.write().unwrap_or_else(PoisonError::into_inner));
        for (name, store) in open {
            let path = store.path().to_owned();
            drop(store);
            if let Err(error) = fold_log(&path) {
                tracing::warn!(%error, service = name, "the write-ahead log stays beside the file; nothing is lost");
            }
        }
    }
}

/// Removes what lies beside a service's file that is not there: it means nothing without it.
fn remove_beside(path: &Path) {
    for suffix in ["-wal", "-shm", "-reserve"] {
        let mut beside = path.to_owned().into_os_string();
        beside.push(suffix);
        let _best_effort = std::fs::remove_file(beside);
    }
}

/// What the name of a folder begins with in which a service's file is made, or removed.
const UNFINISHED: &str = ".new-";

/// Whether a path is what an interrupted creation or removal left.
fn is_unfinished(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    path.is_dir() && name.is_some_and(|name| name.starts_with(UNFINISHED))
}

fn taken(name: &str) -> Error {
    Error::Exists {
        what: "service",
        name: name.to_owned(),
    }
}

/// Makes a file that was just written whole and durable by itself, without the log beside it.
fn complete(path: &Path) -> Result<()> {
    let doing = "completing a service file";
    fold_log(path).map_err(while_doing(doing))?;
    std::fs::File::options()
        .write(true)
        .open(path)
        .and_then(|file| file.sync_all())
        .map_err(at_path(doing, path))
}

/// The last connection to a file may have been one that only reads, which leaves the log behind.
fn fold_log(path: &Path) -> rusqlite::Result<()> {
    let connection = rusqlite::Connection::open(path)?;
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_row| Ok(()))
}

fn service_name(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?.strip_suffix(".gpkg")?;
    check_name(name).ok().map(|()| name.to_owned())
}

/// Refuses names that do not do in URLs and file names.
///
/// # Errors
/// [`Error::Invalid`] says what would do.
pub fn check_name(name: &str) -> Result<()> {
    let fits = (1..=80).contains(&name.len())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
        && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if !fits {
        return Err(Error::invalid(
            format!("service name {name:?}"),
            "it must be 1 to 80 letters, digits, _ or -, beginning with a letter or _",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use haversack_model::documents::DocumentStore as _;
    use haversack_model::{Store as _, Timestamp};

    use super::*;

    fn service(name: &str) -> Service {
        Service {
            name: name.to_owned(),
            title: name.to_owned(),
            description: String::new(),
            copyright: String::new(),
            capabilities: Vec::new(),
            srid: 4326,
            schema_version: 1,
            collections: Vec::new(),
        }
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_service_that_could_not_be_filled_was_never_there() {
        let folder = tempfile::tempdir().unwrap();
        let services = Services::open(folder.path().to_owned()).unwrap();
        let refused = services.create(&service("Parks"), |_store| {
            Err(Error::invalid("row 7", "it does not fit"))
        });
        assert!(refused.is_err());
        assert!(services.names().is_empty());
        assert!(names(folder.path()).is_empty());
        services.create(&service("Parks"), |_store| Ok(())).unwrap();
        assert!(services.store("parks").is_some());
        let again = services.create(&service("PARKS"), |_store| Ok(()));
        assert!(matches!(again, Err(Error::Exists { .. })));
    }

    #[test]
    fn a_new_service_takes_nothing_from_the_log_of_a_removed_one() {
        let folder = tempfile::tempdir().unwrap();
        let services = Services::open(folder.path().to_owned()).unwrap();
        let mut old = service("Parks");
        let store = services.create(&old, |_store| Ok(())).unwrap();
        let before = store.begin_read().unwrap().head().unwrap();
        old.collections
            .push(old.new_documents("trees", false).unwrap());
        let mut tx = store.write_documents(Timestamp(1)).unwrap();
        tx.store_service(&old).unwrap();
        tx.commit().unwrap();
        let log = folder.path().join("Parks.gpkg-wal");
        let left = std::fs::read(&log).unwrap();
        assert!(!left.is_empty());
        drop(store);
        assert!(services.remove("Parks").unwrap());
        assert!(!log.exists());
        std::fs::write(&log, left).unwrap();
        let store = services.create(&service("Parks"), |_store| Ok(())).unwrap();
        let read = store.begin_read().unwrap();
        assert!(read.service().unwrap().collections.is_empty());
        assert_eq!(read.head().unwrap().generation, before.generation);
    }

    #[test]
    fn a_removed_service_leaves_no_file_and_its_name_is_free() {
        let folder = tempfile::tempdir().unwrap();
        let services = Services::open(folder.path().to_owned()).unwrap();
        services
            .create(&service("_system"), |_store| Ok(()))
            .unwrap();
        assert!(services.remove("_system").unwrap());
        assert!(!services.remove("_system").unwrap());
        assert!(names(folder.path()).is_empty());
        services
            .create(&service("_system"), |_store| Ok(()))
            .unwrap();
    }

    #[test]
    fn what_a_crash_left_of_a_new_service_does_not_keep_a_server_from_starting() {
        let folder = tempfile::tempdir().unwrap();
        let services = Services::open(folder.path().to_owned()).unwrap();
        services.create(&service("Parks"), |_store| Ok(())).unwrap();
        services.close();
        drop(services);
        let left = folder.path().join(format!("{UNFINISHED}0a1b"));
        std::fs::create_dir(&left).unwrap();
        std::fs::write(left.join("Roads.gpkg"), b"half").unwrap();
        let services = Services::open(folder.path().to_owned()).unwrap();
        assert_eq!(services.names(), ["Parks"]);
        services.close();
        assert!(!left.exists());
    }
}
