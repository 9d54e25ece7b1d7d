//! Who may do what: one set of users, roles and grants behind all faces.

use serde::{Deserialize, Serialize};

use crate::{CollectionId, Filter};

/// Someone who makes a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Principal {
    /// User name; empty for the anonymous user.
    pub name: String,
    /// Whether this user administers the server: every right on every service.
    pub is_admin: bool,
}

impl Principal {
    /// The user without credentials.
    pub fn anonymous() -> Self {
        Self {
            name: String::new(),
            is_admin: false,
        }
    }
    /// Whether this is the user without credentials.
    pub fn is_anonymous(&self) -> bool {
        self.name.is_empty()
    }
}

/// One thing that may be done with a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Right {
    /// See its records.
    Read,
    /// Change its records.
    Edit,
    /// Check replicas out and synchronise them.
    Sync,
    /// Take copies out in file formats.
    Extract,
    /// Change what is published.
    Publish,
    /// Administer it: see all replicas, unregister others'.
    Admin,
}

/// What one principal may do with one service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Access {
    /// Granted rights. Empty: the service does not exist for this principal.
    pub rights: Vec<Right>,
    /// Row filters, per collection; a collection that is not listed is unfiltered.
    pub filters: Vec<(CollectionId, Filter)>,
}

impl Access {
    /// Whether a right is granted.
    pub fn allows(&self, right: Right) -> bool {
        self.rights.contains(&right)
    }
    /// The row filter for a collection.
    pub fn filter(&self, collection: CollectionId) -> Filter {
        self.filters
            .iter()
            .find(|(id, _)| *id == collection)
            .map_or(Filter::All, |(_, filter)| filter.clone())
    }
}
