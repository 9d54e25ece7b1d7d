//! What accounts are granted of single collections, wider or narrower than their grant for the service.
//!
//! A collection's own level holds before that of all collections of the service, that before the one of all collections of all
//! services, and that before the grant for the service. Who may not read the service gets nothing from any of them.
//! Source: `spec/arangodb.md` 10.

use rusqlite::params;

use haversack_model::{CollectionId, Level};

use super::Grants;
use crate::error::{Error, Result, while_doing};

/// What stands for all collections that are not named.
const ALL: i64 = -1;

/// A level, and of which collection; `None` is all that are not named.
pub(crate) type OfOne = (Option<CollectionId>, Level);

fn word(level: Level) -> &'static str {
    match level {
        Level::None => "none",
        Level::Read => "ro",
        Level::Write => "rw",
    }
}

fn number(collection: Option<CollectionId>) -> i64 {
    collection.map_or(ALL, |id| i64::from(id.0))
}

impl Grants {
    /// Sets what an account may do with a collection of a service, or with all that are not named.
    ///
    /// # Errors
    /// [`Error::Invalid`] for one collection of all services.
    pub fn set_level(
        &self,
        account: &str,
        service: &str,
        collection: Option<CollectionId>,
        level: Level,
    ) -> Result<()> {
        if service == "*" && collection.is_some() {
            let problem = "of all services only all collections can be granted";
            return Err(Error::invalid("collection", problem));
        }
        self.db
            .lock()
            .execute(
                "INSERT OR REPLACE INTO collection_access (principal, service, collection, level) VALUES (?1, ?2, ?3, ?4)",
                params![account, service, number(collection), word(level)],
            )
            .map(|_count| ())
            .map_err(while_doing("storing the grant of a collection"))
    }

    /// Removes such a grant. `false` if there was none.
    pub fn remove_level(
        &self,
        account: &str,
        service: &str,
        collection: Option<CollectionId>,
    ) -> Result<bool> {
        self.db
            .lock()
            .execute(
                "DELETE FROM collection_access WHERE principal = ?1 AND service = ?2 AND collection = ?3",
                params![account, service, number(collection)],
            )
            .map(|count| count > 0)
            .map_err(while_doing("removing the grant of a collection"))
    }

    /// Removes what anybody was granted of one collection.
    pub fn forget_collection(&self, service: &str, collection: CollectionId) -> Result<()> {
        self.db
            .lock()
            .execute(
                "DELETE FROM collection_access WHERE service = ?1 AND collection = ?2",
                params![service, number(Some(collection))],
            )
            .map(|_count| ())
            .map_err(while_doing("removing the grants of a collection"))
    }

    /// Collections of which somebody was granted something.
    pub(crate) fn named_collections(&self) -> Result<Vec<(String, CollectionId)>> {
        let doing = "reading which collections are granted";
        let connection = self.db.lock();
        let mut statement = connection
            .prepare_cached(
                "SELECT DISTINCT service, collection FROM collection_access WHERE collection >= 0",
            )
            .map_err(while_doing(doing))?;
        let rows = statement
            .query_map([], |row| Ok((row.get(0)?, CollectionId(row.get(1)?))))
            .map_err(while_doing(doing))?;
        rows.collect::<Result<_, _>>().map_err(while_doing(doing))
    }

    /// What an account was granted of collections of this very service (`*`: of all).
    pub fn levels(&self, account: &str, service: &str) -> Result<Vec<OfOne>> {
        let doing = "reading the grants of collections";
        let connection = self.db.lock();
        let mut statement = connection
            .prepare_cached(
                "SELECT collection, level FROM collection_access WHERE principal = ?1 AND service = ?2 ORDER BY collection",
            )
            .map_err(while_doing(doing))?;
        let rows = statement
            .query_map(params![account, service], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .map_err(while_doing(doing))?;
        let rows: Vec<(i64, String)> =
            rows.collect::<Result<_, _>>().map_err(while_doing(doing))?;
        let read = |(collection, level): (i64, String)| {
            // A word that is not known denies.
            let known = [Level::Read, Level::Write]
                .into_iter()
                .find(|known| word(*known) == level);
            let id = u32::try_from(collection).ok().map(CollectionId);
            (id, known.unwrap_or(Level::None))
        };
        Ok(rows.into_iter().map(read).collect())
    }

    /// The levels that hold for an account on a service.
    pub fn holding_levels(&self, account: &str, service: &str) -> Result<Vec<OfOne>> {
        let mut held = self.levels(account, service)?;
        if held.iter().all(|(of, _)| of.is_some()) {
            held.extend(self.levels(account, "*")?);
        }
        Ok(held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::Db;

    const A: Option<CollectionId> = Some(CollectionId(0));
    const B: Option<CollectionId> = Some(CollectionId(1));

    fn grants() -> (tempfile::TempDir, Grants) {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open(&dir.path().join("haversack.db")).unwrap();
        (dir, Grants::new(db))
    }

    #[test]
    fn the_nearest_level_of_all_collections_holds() {
        let (_dir, grants) = grants();
        grants.set_level("ada", "*", None, Level::None).unwrap();
        grants.set_level("ada", "shop", A, Level::Read).unwrap();
        let held = [(A, Level::Read), (None, Level::None)];
        assert_eq!(grants.holding_levels("Ada", "shop").unwrap(), held);
        grants.set_level("ada", "shop", None, Level::Write).unwrap();
        let held = [(None, Level::Write), (A, Level::Read)];
        assert_eq!(grants.holding_levels("ada", "shop").unwrap(), held);
        assert_eq!(
            grants.holding_levels("ada", "other").unwrap(),
            [(None, Level::None)]
        );
        assert_eq!(grants.holding_levels("eve", "shop").unwrap(), []);
        assert!(grants.set_level("ada", "*", A, Level::Read).is_err());
    }

    #[test]
    fn levels_go_one_by_one_and_with_their_collection_service_and_grant() {
        let (_dir, grants) = grants();
        let fill = || {
            for (user, collection) in [("ada", A), ("ada", B), ("eve", A)] {
                grants
                    .set_level(user, "shop", collection, Level::Read)
                    .unwrap();
            }
        };
        let left = || {
            ["ada", "eve"].map(|user| {
                let levels = grants.levels(user, "shop").unwrap();
                levels.into_iter().map(|(of, _)| of).collect::<Vec<_>>()
            })
        };
        fill();
        assert!(grants.remove_level("ada", "shop", A).unwrap());
        assert!(!grants.remove_level("ada", "shop", A).unwrap());
        assert_eq!(left(), [vec![B], vec![A]]);
        fill();
        grants.forget_collection("shop", CollectionId(0)).unwrap();
        assert_eq!(left(), [vec![B], vec![]]);
        fill();
        assert!(grants.remove("ada", "shop").unwrap());
        assert_eq!(left(), [vec![], vec![A]]);
        fill();
        grants.forget_service("shop").unwrap();
        assert_eq!(left(), [vec![], vec![]]);
    }
}
