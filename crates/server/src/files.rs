//! Prepared and uploaded files: random names, an owner each, a day to live, a quota.

use std::path::{Path, PathBuf};

use rusqlite::{OptionalExtension, Row, params};
use uuid::Uuid;

use haversack_model::host::StoredFile;
use haversack_model::{Principal, Timestamp};

use crate::db::Db;
use crate::error::{Error, Result, while_doing};
use crate::{Config, secret};

const COLUMNS: &str = "id, owner, extension, name, content_type, note";

/// The files of a server.
#[derive(Debug)]
pub struct Files {
    db: Db,
    folder: PathBuf,
    retention_ms: i64,
    quota_bytes: u64,
    per_owner: u32,
    disk_reserve_bytes: u64,
}

impl Files {
    /// The files in a folder, known by a database.
    pub fn new(db: Db, folder: PathBuf, config: &Config) -> Self {
        Self {
            db,
            folder,
            retention_ms: config.file_retention_h.max(1) as i64 * 3_600_000,
            quota_bytes: config.file_quota_bytes,
            per_owner: config.files_per_owner,
            disk_reserve_bytes: config.disk_reserve_bytes,
        }
    }

    /// A new file; nothing is written yet.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the owner's files are too many or take more than the quota; [`haversack_model::Error::DiskFull`]
    /// if the disk's reserve would be used up.
    pub fn create(&self, owner: &Principal, extension: &str, now: Timestamp) -> Result<StoredFile> {
        if free_bytes(&self.folder).is_some_and(|free| free < self.disk_reserve_bytes) {
            return Err(haversack_model::Error::DiskFull.into());
        }
        let (count, used) = self.used(&owner.name)?;
        if count >= self.per_owner {
            return Err(Error::invalid(
                "files",
                format!("there are {count}, more are not allowed; wait until some expire"),
            ));
        }
        if used >= self.quota_bytes {
            return Err(Error::invalid(
                "files",
                format!(
                    "they take {used} bytes, {} are allowed; wait until some expire",
                    self.quota_bytes
                ),
            ));
        }
        let extension: String = extension
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .take(10)
            .collect();
        let id = secret::random_uuid();
        let file = StoredFile {
            id,
            path: self.path(id, &extension),
            owner: owner.name.clone(),
            name: format!("{}.{extension}", id.simple()),
            content_type: "application/octet-stream".to_owned(),
            note: String::new(),
            extension,
        };
        self.db
            .lock()
            .execute(
                "INSERT INTO file (id, owner, extension, name, content_type, note, created_at, expires_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                params![
                    id.simple().to_string(),
                    file.owner,
                    file.extension,
                    file.name,
                    file.content_type,
                    file.note,
                    now.0,
                    now.0.saturating_add(self.retention_ms)
                ],
            )
            .map_err(while_doing("registering a file"))?;
        Ok(file)
    }

    /// A file that this principal may fetch.
    pub fn load(&self, id: Uuid, who: &Principal, now: Timestamp) -> Result<Option<StoredFile>> {
        let file = self
            .db
            .lock()
            .query_row(
                &format!("SELECT {COLUMNS} FROM file WHERE id = ?1 AND expires_at > ?2"),
                params![id.simple().to_string(), now.0],
                |row| self.read(row),
            )
            .optional()
            .map_err(while_doing("reading a file's entry"))?;
        Ok(file.filter(|f| f.owner.is_empty() || who.is_admin || f.owner == who.name))
    }

    /// Remembers name, type and note.
    pub fn describe(&self, file: &StoredFile) -> Result<()> {
        self.db
            .lock()
            .execute(
                "UPDATE file SET name = ?2, content_type = ?3, note = ?4 WHERE id = ?1",
                params![
                    file.id.simple().to_string(),
                    file.name,
                    file.content_type,
                    file.note
                ],
            )
            .map(|_count| ())
            .map_err(while_doing("describing a file"))
    }

    /// Removes a file; one that is gone already is fine.
    pub fn remove(&self, id: Uuid) -> Result<()> {
        // To give a large file's space back takes a while, and every request needs the database.
        if let Some(path) = self.forget(id)? {
            // What the system refuses to remove now goes with the next sweep.
            let _ = std::fs::remove_file(path);
        }
        Ok(())
    }

    /// Removes a file's entry; gives where the file is.
    fn forget(&self, id: Uuid) -> Result<Option<PathBuf>> {
        let extension: Option<String> = self
            .db
            .lock()
            .query_row(
                "DELETE FROM file WHERE id = ?1 RETURNING extension",
                [id.simple().to_string()],
                |row| row.get(0),
            )
            .optional()
            .map_err(while_doing("removing a file"))?;
        Ok(extension.map(|extension| self.path(id, &extension)))
    }

    /// Removes what has expired and what no entry names. Gives the number of files removed.
    pub fn sweep(&self, now: Timestamp) -> Result<usize> {
        let doing = "sweeping files";
        let live: std::collections::HashSet<PathBuf> = {
            let connection = self.db.lock();
            connection
                .execute("DELETE FROM file WHERE expires_at <= ?1", [now.0])
                .map_err(while_doing(doing))?;
            let mut statement = connection
                .prepare(&format!("SELECT {COLUMNS} FROM file"))
                .map_err(while_doing(doing))?;
            let rows = statement
                .query_map([], |row| self.read(row))
                .map_err(while_doing(doing))?;
            rows.map(|row| row.map(|f| f.path))
                .collect::<Result<_, _>>()
                .map_err(while_doing(doing))?
        };
        let mut removed = 0;
        for entry in std::fs::read_dir(&self.folder)
            .into_iter()
            .flatten()
            .flatten()
        {
            // Files beside one (a journal, a part) share its stem and live as long.
            let belongs = live.iter().any(|path| {
                path.file_stem()
                    .is_some_and(|stem| is_beside(&entry.path(), stem))
            });
            if !belongs && std::fs::remove_file(entry.path()).is_ok() {
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// How many files an owner has, and their bytes.
    fn used(&self, owner: &str) -> Result<(u32, u64)> {
        let doing = "adding file sizes up";
        let connection = self.db.lock();
        let mut statement = connection
            .prepare_cached(&format!("SELECT {COLUMNS} FROM file WHERE owner = ?1"))
            .map_err(while_doing(doing))?;
        let rows = statement
            .query_map([owner], |row| self.read(row))
            .map_err(while_doing(doing))?;
        let (mut count, mut sum) = (0, 0);
        for file in rows {
            let path = file.map_err(while_doing(doing))?.path;
            count += 1;
            sum += std::fs::metadata(path).map_or(0, |m| m.len());
        }
        Ok((count, sum))
    }

    fn path(&self, id: Uuid, extension: &str) -> PathBuf {
        self.folder.join(format!("{}.{extension}", id.simple()))
    }

    fn read(&self, row: &Row<'_>) -> rusqlite::Result<StoredFile> {
        let id: String = row.get(0)?;
        let id = Uuid::try_parse(&id).map_err(|e| {
            rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(e))
        })?;
        let extension: String = row.get(2)?;
        Ok(StoredFile {
            id,
            path: self.path(id, &extension),
            owner: row.get(1)?,
            extension,
            name: row.get(3)?,
            content_type: row.get(4)?,
            note: row.get(5)?,
        })
    }
}

/// What is free on the disk of a folder, for others than its administrator; `None` where that cannot be known.
fn free_bytes(folder: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(folder).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

fn is_beside(path: &Path, stem: &std::ffi::OsStr) -> bool {
    match (path.file_name().and_then(|n| n.to_str()), stem.to_str()) {
        (Some(name), Some(stem)) => name.starts_with(stem),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_700_000_000_000);

    fn files(config: &Config) -> (tempfile::TempDir, Files) {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open(&dir.path().join("haversack.db")).unwrap();
        let folder = dir.path().join("files");
        std::fs::create_dir(&folder).unwrap();
        (dir, Files::new(db, folder, config))
    }
    fn user(name: &str, is_admin: bool) -> Principal {
        Principal {
            name: name.to_owned(),
            is_admin,
        }
    }

    #[test]
    fn a_file_is_its_owners_and_the_administrators() {
        let (_dir, files) = files(&Config::default());
        let file = files.create(&user("ada", false), "gpkg", NOW).unwrap();
        std::fs::write(&file.path, "x").unwrap();
        let may = |who: &Principal| files.load(file.id, who, NOW).unwrap().is_some();
        assert!(may(&user("ada", false)) && may(&user("root", true)));
        assert!(!may(&user("eve", false)) && !may(&Principal::anonymous()));
        let open = files.create(&Principal::anonymous(), "json", NOW).unwrap();
        assert!(
            files
                .load(open.id, &user("eve", false), NOW)
                .unwrap()
                .is_some()
        );
    }

    #[test]
    fn a_file_expires_after_a_day_and_is_swept_with_what_lies_beside_it() {
        let (dir, files) = files(&Config::default());
        let old = files.create(&user("ada", false), "gpkg", NOW).unwrap();
        let later = Timestamp(NOW.0 + 25 * 3_600_000);
        let new = files.create(&user("ada", false), "gpkg", later).unwrap();
        for path in [&old.path, &new.path] {
            std::fs::write(path, "x").unwrap();
            std::fs::write(path.with_extension("gpkg-journal"), "x").unwrap();
        }
        std::fs::write(dir.path().join("files/stray"), "x").unwrap();
        assert!(
            files
                .load(old.id, &user("ada", false), later)
                .unwrap()
                .is_none()
        );
        assert_eq!(files.sweep(later).unwrap(), 3);
        assert!(new.path.exists() && new.path.with_extension("gpkg-journal").exists());
    }

    #[test]
    fn an_owner_has_so_many_files_and_no_more() {
        let config = Config {
            files_per_owner: 2,
            ..Config::default()
        };
        let (_dir, files) = files(&config);
        let ada = user("ada", false);
        let first = files.create(&ada, "upload", NOW).unwrap();
        files.create(&ada, "upload", NOW).unwrap();
        let refused = files.create(&ada, "upload", NOW).unwrap_err().to_string();
        assert!(refused.contains("there are 2"), "{refused}");
        assert!(files.create(&user("bob", false), "upload", NOW).is_ok());
        files.remove(first.id).unwrap();
        assert!(files.create(&ada, "upload", NOW).is_ok());
    }

    #[test]
    fn the_reserve_of_the_disk_is_left_alone() {
        let config = Config {
            disk_reserve_bytes: u64::MAX,
            ..Config::default()
        };
        let (_dir, files) = files(&config);
        let refused = files.create(&user("ada", false), "gpkg", NOW);
        assert!(matches!(
            refused,
            Err(Error::Model(haversack_model::Error::DiskFull))
        ));
    }

    #[test]
    fn beyond_the_quota_no_file_is_made_and_extensions_hold_no_path() {
        let config = Config {
            file_quota_bytes: 3,
            ..Config::default()
        };
        let (dir, files) = files(&config);
        let ada = user("ada", false);
        let file = files.create(&ada, "../../zip", NOW).unwrap();
        assert_eq!(file.path.parent(), Some(dir.path().join("files").as_path()));
        std::fs::write(&file.path, "four").unwrap();
        assert!(files.create(&ada, "zip", NOW).is_err());
        assert!(files.create(&user("bob", false), "zip", NOW).is_ok());
        files.remove(file.id).unwrap();
        assert!(!file.path.exists());
        assert!(files.create(&ada, "zip", NOW).is_ok());
    }
}
