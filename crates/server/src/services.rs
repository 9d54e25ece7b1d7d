//! The services of a data directory: one store each, by name.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use haversack_model::Store;

use crate::error::{Error, Result};

/// All services of a server, open.
#[derive(Debug, Default)]
pub struct Services {
    open: RwLock<BTreeMap<String, Arc<dyn Store>>>,
}

impl Services {
    /// Names in order.
    pub fn names(&self) -> Vec<String> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        open.keys().cloned().collect()
    }

    /// The store of a service. Names are compared exactly first, then ignoring case.
    pub fn store(&self, name: &str) -> Option<Arc<dyn Store>> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        open.get(name).cloned().or_else(|| {
            open.iter()
                .find(|(known, _)| known.eq_ignore_ascii_case(name))
                .map(|(_, store)| Arc::clone(store))
        })
    }

    /// Adds an open store.
    ///
    /// # Errors
    /// [`Error::Exists`] if the name is taken, [`Error::Invalid`] if it does not do in URLs and file names.
    pub fn insert(&self, name: &str, store: Arc<dyn Store>) -> Result<()> {
        check_name(name)?;
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        if open.keys().any(|known| known.eq_ignore_ascii_case(name)) {
            return Err(Error::Exists {
                what: "service",
                name: name.to_owned(),
            });
        }
        open.insert(name.to_owned(), store);
        Ok(())
    }
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
