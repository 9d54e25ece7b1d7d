//! Grants: who may do what with which service, and which rows they may see. Default deny.
//!
//! A grant is for an account, for `*` (whoever is logged in) or for `anonymous` (everybody). **The most specific grant that
//! exists holds alone**: an account's before `*` before `anonymous`, and within each a named service before `*`. So a row
//! filter can never be got round by a wider grant beside it.
//!
//! Single collections may be granted to an account apart from their service, wider or narrower: see `levels`.

pub(crate) mod levels;

use rusqlite::{OptionalExtension, params};
use serde::{Deserialize, Serialize};

use haversack_model::{CollectionId, Principal, Right};

use crate::accounts::ANONYMOUS;
use crate::db::Db;
use crate::error::{Error, Result, while_doing};

/// One grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// An account, `*` or `anonymous`.
    pub principal: String,
    /// A service, or `*` for all.
    pub service: String,
    /// What may be done. `edit`, `sync`, `extract` and more include `read`. Empty: nothing, whatever wider grants say.
    pub rights: Vec<Right>,
    /// Row filters by collection, as where clauses; a collection that is not listed is unfiltered.
    #[serde(default)]
    pub filters: Vec<(CollectionId, String)>,
}

/// The grants of a server.
#[derive(Clone, Debug)]
pub struct Grants {
    db: Db,
}

/// The word for a right in commands and configuration.
pub fn right_word(right: Right) -> &'static str {
    match right {
        Right::Read => "read",
        Right::Edit => "edit",
        Right::Sync => "sync",
        Right::Extract => "extract",
        Right::Publish => "publish",
        Right::Admin => "admin",
    }
}

/// Every right.
pub const ALL_RIGHTS: [Right; 6] = [
    Right::Read,
    Right::Edit,
    Right::Sync,
    Right::Extract,
    Right::Publish,
    Right::Admin,
];

/// Parses a comma-separated list of rights; `none` is the empty one.
///
/// # Errors
/// [`Error::Invalid`] names the unknown word.
pub fn parse_rights(text: &str) -> Result<Vec<Right>> {
    let words = text.split(',').map(str::trim).filter(|w| !w.is_empty());
    let mut rights = Vec::new();
    for word in words.filter(|w| !w.eq_ignore_ascii_case("none")) {
        let right = ALL_RIGHTS
            .into_iter()
            .find(|r| right_word(*r).eq_ignore_ascii_case(word))
            .ok_or_else(|| {
                Error::invalid(
                    format!("right {word:?}"),
                    "it must be read, edit, sync, extract, publish, admin or none",
                )
            })?;
        if !rights.contains(&right) {
            rights.push(right);
        }
    }
    if !rights.is_empty() && !rights.contains(&Right::Read) {
        rights.insert(0, Right::Read);
    }
    Ok(rights)
}

impl Grants {
    /// The grants in a database.
    pub fn new(db: Db) -> Self {
        Self { db }
    }

    /// All grants.
    pub fn list(&self) -> Result<Vec<Grant>> {
        let doing = "listing grants";
        let connection = self.db.lock();
        let mut statement = connection
            .prepare_cached(
                "SELECT principal, service, rights, filters FROM access ORDER BY principal, service",
            )
            .map_err(while_doing(doing))?;
        let rows = statement
            .query_map([], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
            })
            .map_err(while_doing(doing))?;
        let rows: Vec<(String, String, String, String)> =
            rows.collect::<Result<_, _>>().map_err(while_doing(doing))?;
        drop(statement);
        rows.into_iter()
            .map(|(principal, service, rights, filters)| {
                grant_of(principal, service, &rights, &filters)
            })
            .collect()
    }

    /// Adds a grant, or replaces the one of the same principal and service.
    pub fn set(&self, grant: &Grant) -> Result<()> {
        let rights: Vec<_> = grant.rights.iter().map(|r| right_word(*r)).collect();
        let filters = serde_json::to_string(&grant.filters)
            .map_err(|e| Error::invalid("filters", e.to_string()))?;
        self.db
            .lock()
            .execute(
                "INSERT OR REPLACE INTO access (principal, service, rights, filters) VALUES (?1, ?2, ?3, ?4)",
                params![
                    stored_principal(&grant.principal),
                    grant.service,
                    rights.join(","),
                    filters
                ],
            )
            .map(|_count| ())
            .map_err(while_doing("storing a grant"))
    }

    /// Removes a grant, and what was granted with it of single collections. `false` if there was none.
    pub fn remove(&self, principal: &str, service: &str) -> Result<bool> {
        let doing = "removing a grant";
        let of = params![stored_principal(principal), service];
        let mut connection = self.db.lock();
        let tx = connection.transaction().map_err(while_doing(doing))?;
        let mut removed = 0;
        for table in ["access", "collection_access"] {
            let sql = format!("DELETE FROM {table} WHERE principal = ?1 AND service = ?2");
            removed += tx.execute(&sql, of).map_err(while_doing(doing))?;
        }
        tx.commit().map_err(while_doing(doing))?;
        Ok(removed > 0)
    }

    /// Removes all grants on one service and its collections.
    pub fn forget_service(&self, service: &str) -> Result<()> {
        let doing = "removing the grants of a service";
        let mut connection = self.db.lock();
        let tx = connection.transaction().map_err(while_doing(doing))?;
        for table in ["access", "collection_access"] {
            let sql = format!("DELETE FROM {table} WHERE service = ?1");
            tx.execute(&sql, [service]).map_err(while_doing(doing))?;
        }
        tx.commit().map_err(while_doing(doing))
    }

    /// The grant of a principal for this very service (`*`: for all), if there is one.
    pub fn of(&self, principal: &str, service: &str) -> Result<Option<Grant>> {
        let principal = stored_principal(principal);
        let found = self.list()?.into_iter().find(|grant| {
            stored_principal(&grant.principal).eq_ignore_ascii_case(principal)
                && grant.service == service
        });
        Ok(found)
    }

    /// The grant that holds for a principal on a service, if any. Administrators need none.
    pub fn holding(&self, principal: &Principal, service: &str) -> Result<Option<Grant>> {
        let row = self
            .db
            .lock()
            .prepare_cached(
                "SELECT principal, service, rights, filters FROM access
                 WHERE (principal = '' OR (?1 <> '' AND principal IN (?1, '*'))) AND service IN (?2, '*')
                 ORDER BY CASE principal WHEN '' THEN 2 WHEN '*' THEN 1 ELSE 0 END, service = '*' LIMIT 1",
            )
            .and_then(|mut statement| {
                statement
                    .query_row(params![principal.name, service], |row| {
                        let row: (String, String, String, String) =
                            (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
                        Ok(row)
                    })
                    .optional()
            })
            .map_err(while_doing("reading a grant"))?;
        row.map(|(principal, service, rights, filters)| {
            grant_of(principal, service, &rights, &filters)
        })
        .transpose()
    }
}

fn stored_principal(name: &str) -> &str {
    if name.eq_ignore_ascii_case(ANONYMOUS) {
        ""
    } else {
        name
    }
}

fn grant_of(principal: String, service: String, rights: &str, filters: &str) -> Result<Grant> {
    Ok(Grant {
        principal: if principal.is_empty() {
            ANONYMOUS.to_owned()
        } else {
            principal
        },
        service,
        rights: parse_rights(rights)?,
        filters: serde_json::from_str(filters)
            .map_err(|e| Error::invalid("stored filters of a grant", e.to_string()))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grants() -> (tempfile::TempDir, Grants) {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open(&dir.path().join("haversack.db")).unwrap();
        (dir, Grants::new(db))
    }
    fn grant(principal: &str, service: &str, rights: &str) -> Grant {
        Grant {
            principal: principal.to_owned(),
            service: service.to_owned(),
            rights: parse_rights(rights).unwrap(),
            filters: Vec::new(),
        }
    }
    fn user(name: &str) -> Principal {
        Principal {
            name: name.to_owned(),
            is_admin: false,
        }
    }

    #[test]
    fn without_a_grant_nothing_is_allowed() {
        let (_dir, grants) = grants();
        grants.set(&grant("ada", "Parks", "edit")).unwrap();
        for (who, what) in [
            (user("eve"), "Parks"),
            (user("ada"), "Ports"),
            (Principal::anonymous(), "Parks"),
        ] {
            assert_eq!(grants.holding(&who, what).unwrap(), None);
        }
    }

    #[test]
    fn the_most_specific_grant_holds_alone() {
        let (_dir, grants) = grants();
        grants.set(&grant("anonymous", "*", "read")).unwrap();
        grants.set(&grant("*", "Parks", "sync")).unwrap();
        grants.set(&grant("ada", "*", "edit")).unwrap();
        grants.set(&grant("ada", "Ports", "none")).unwrap();
        let rights = |who: &Principal, what| grants.holding(who, what).unwrap().unwrap().rights;
        assert_eq!(
            rights(&user("Ada"), "Parks"),
            [Right::Read, Right::Edit],
            "the case of a name does not matter"
        );
        assert_eq!(rights(&user("ada"), "Ports"), []);
        assert_eq!(rights(&user("eve"), "Parks"), [Right::Read, Right::Sync]);
        assert_eq!(rights(&user("eve"), "Ports"), [Right::Read]);
        assert_eq!(rights(&Principal::anonymous(), "Parks"), [Right::Read]);
    }

    #[test]
    fn a_grant_replaces_the_one_before_it_and_can_be_removed() {
        let (_dir, grants) = grants();
        grants.set(&grant("ada", "Parks", "edit")).unwrap();
        let mut narrower = grant("ada", "Parks", "read");
        narrower.filters = vec![(CollectionId(0), "state = 'OR'".to_owned())];
        grants.set(&narrower).unwrap();
        assert_eq!(grants.list().unwrap(), [narrower]);
        assert!(grants.remove("ada", "Parks").unwrap());
        assert!(!grants.remove("ada", "Parks").unwrap());
    }

    #[test]
    fn an_unknown_right_is_named() {
        let refused = parse_rights("read,wirte").unwrap_err().to_string();
        assert!(refused.contains("wirte"), "{refused}");
    }
}
