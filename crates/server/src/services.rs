//! The services of a data directory: one GeoPackage file each, `services/<name>.gpkg`, opened when the server starts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use haversack_model::Service;
use haversack_sqlite::SqliteStore;

use crate::error::{Error, Result, at_path};

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

    /// Makes the file of a new service.
    ///
    /// # Errors
    /// [`Error::Exists`] if the name is taken, [`Error::Invalid`] if it does not do in URLs and file names.
    pub fn create(&self, service: &Service) -> Result<Arc<SqliteStore>> {
        check_name(&service.name)?;
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        if open
            .keys()
            .any(|known| known.eq_ignore_ascii_case(&service.name))
        {
            return Err(Error::Exists {
                what: "service",
                name: service.name.clone(),
            });
        }
        let path = self.folder.join(format!("{}.gpkg", service.name));
        let store = Arc::new(SqliteStore::create(path, service)?);
        open.insert(service.name.clone(), Arc::clone(&store));
        Ok(store)
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
pub(crate) fn check_name(name: &str) -> Result<()> {
    let fits = (1..=80).contains(&name.len())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
        && name.starts_with(|c: char| c.is_ascii_alphabetic());
    if !fits {
        return Err(Error::invalid(
            format!("service name {name:?}"),
            "it must be 1 to 80 letters, digits, _ or -, beginning with a letter",
        ));
    }
    Ok(())
}
