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

/// What is granted of one collection, where that is not what holds for its service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Level {
    /// Nothing: none of its records may be seen.
    None,
    /// See its records.
    Read,
    /// See and change its records.
    Write,
}

/// What one principal may do with one service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Access {
    /// Granted rights. Empty: the service does not exist for this principal.
    pub rights: Vec<Right>,
    /// Row filters, per collection; a collection that is not listed is unfiltered.
    pub filters: Vec<(CollectionId, Filter)>,
    /// Levels of single collections; that of `None` holds for each that is not named. They count only for who may read the service.
    #[serde(default)]
    pub levels: Vec<(Option<CollectionId>, Level)>,
}

impl Access {
    /// Whether a right is granted.
    pub fn allows(&self, right: Right) -> bool {
        self.rights.contains(&right)
    }
    /// The level of a collection, if it has one of its own.
    pub fn level(&self, collection: CollectionId) -> Option<Level> {
        let of = |wanted| self.levels.iter().find(|(of, _)| *of == wanted);
        let found = of(Some(collection)).or_else(|| of(None));
        found.map(|(_, level)| *level)
    }
    /// Whether records of a collection may be changed.
    pub fn may_edit(&self, collection: CollectionId) -> bool {
        match self.level(collection) {
            None => self.allows(Right::Edit),
            Some(level) => level == Level::Write && self.allows(Right::Read),
        }
    }
    /// Whether the definition of a collection may be changed.
    pub fn may_alter(&self, collection: CollectionId) -> bool {
        let level = self.level(collection);
        self.allows(Right::Publish) && level.is_none_or(|level| level == Level::Write)
    }
    /// The same for whoever looks at services as a whole: only what holds for each of their collections.
    #[must_use]
    pub fn of_all_collections(mut self) -> Self {
        match self.levels.iter().map(|(_, level)| *level).min() {
            Some(Level::None) => self.rights.clear(),
            Some(Level::Read) => self.rights.retain(|right| *right == Right::Read),
            Some(Level::Write) | None => {}
        }
        self
    }
    /// The row filter for a collection.
    pub fn filter(&self, collection: CollectionId) -> Filter {
        if self.level(collection) == Some(Level::None) {
            return Filter::Nothing;
        }
        self.filters
            .iter()
            .find(|(id, _)| *id == collection)
            .map_or(Filter::All, |(_, filter)| filter.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: CollectionId = CollectionId(0);
    const B: CollectionId = CollectionId(1);

    fn access(rights: &[Right], levels: &[(Option<CollectionId>, Level)]) -> Access {
        Access {
            rights: rights.to_vec(),
            filters: Vec::new(),
            levels: levels.to_vec(),
        }
    }

    #[test]
    fn a_level_widens_and_narrows_what_holds_for_the_service() {
        let all = [Right::Read, Right::Edit, Right::Publish];
        for (rights, level, (sees, edits, alters)) in [
            (&all[..], None, (true, true, true)),
            (&all, Some(Level::Write), (true, true, true)),
            (&all, Some(Level::Read), (true, false, false)),
            (&all, Some(Level::None), (false, false, false)),
            (&all[..1], None, (true, false, false)),
            (&all[..1], Some(Level::Write), (true, true, false)),
            (&all[..1], Some(Level::Read), (true, false, false)),
            (&all[..1], Some(Level::None), (false, false, false)),
            (&[], Some(Level::Write), (true, false, false)),
        ] {
            let levels: Vec<_> = level.map(|level| (Some(A), level)).into_iter().collect();
            let access = access(rights, &levels);
            let found = (
                access.filter(A) == Filter::All,
                access.may_edit(A),
                access.may_alter(A),
            );
            assert_eq!(found, (sees, edits, alters), "{rights:?} {level:?}");
        }
    }

    #[test]
    fn the_level_of_all_collections_holds_where_none_is_named() {
        let levels = [(None, Level::None), (Some(B), Level::Read)];
        let access = access(&[Right::Read, Right::Edit], &levels);
        assert_eq!(access.level(A), Some(Level::None));
        assert_eq!(access.level(B), Some(Level::Read));
    }

    #[test]
    fn whoever_looks_at_services_as_a_whole_sees_the_lowest_level() {
        let all = [Right::Read, Right::Edit];
        for (level, rights) in [
            (Level::Write, &all[..]),
            (Level::Read, &all[..1]),
            (Level::None, &[]),
        ] {
            let access = access(&all, &[(Some(A), level)]).of_all_collections();
            assert_eq!(access.rights, rights, "{level:?}");
        }
    }
}
