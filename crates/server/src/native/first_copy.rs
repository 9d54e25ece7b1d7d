//! The first copy of a large collection: a file that the other server prepares, fetched in ranges, taken over in one transaction.
//!
//! Beside the service's file lie `.part`, what has arrived, and `.part.json`, what it belongs to, so that the next
//! synchronisation goes on after a cut or a kill. A file that is not what it says is refused and thrown away.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::Method as Verb;
use reqwest::StatusCode;
use serde::{Deserialize, Serialize};

use haversack_model::{CollectionId, Error, Result, Timestamp};
use haversack_sqlite::SqliteStore;
use haversack_sqlite::service::SqliteSecondary;
use haversack_sync::reconcile::Proof;

use super::download::{Fetch, beside, digest_here, write_failed};
use super::remote::{Client, LONG, answered, json_of};
use super::wire::{JobInfo, PreparedFile};
use crate::clock;
use crate::error::at_path;

/// Progress: what is being done, how much of it is done, how much there is if that is known.
type Progress<'a> = &'a mut dyn FnMut(&str, u64, Option<u64>);

/// A file that was taken over.
#[derive(Clone, Copy, Debug)]
pub(super) struct FirstCopy {
    /// Documents and tombstones in it.
    pub(super) items: u64,
    /// Its size.
    pub(super) bytes: u64,
    /// What the copy is since then.
    pub(super) proof: Proof,
}

/// What a partial file belongs to.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Note {
    origin: String,
    service: String,
    collection: String,
    /// Where the prepared file is on the server.
    path: String,
    /// Which version of it the part is of, and its size, once they are known.
    version: Option<(String, u64)>,
}

/// What has arrived of a file, and where it lies.
struct Part {
    path: PathBuf,
    note_path: PathBuf,
}

impl Part {
    fn beside(target: &Path) -> Self {
        Self {
            path: beside(target, "part"),
            note_path: beside(target, "part.json"),
        }
    }
    fn note(&self) -> Option<Note> {
        let text = std::fs::read(&self.note_path).ok()?;
        serde_json::from_slice(&text).ok()
    }
    fn remove(&self) {
        // What stays behind is thrown away by the next synchronisation, or gone on with.
        let _removed = std::fs::remove_file(&self.note_path);
        let _removed = std::fs::remove_file(&self.path);
    }
}

impl Note {
    fn save(&self, part: &Part) -> Result<()> {
        let text = serde_json::to_vec(self).map_err(|e| Error::Corrupt(e.to_string()))?;
        let scratch = beside(&part.note_path, "new");
        std::fs::write(&scratch, text)
            .and_then(|()| std::fs::rename(&scratch, &part.note_path))
            .map_err(|e| write_failed(&e))
    }
}

/// In the name of what arrives of a copy, before the collection's number.
const COPY: &str = ".copy-";

/// Where what arrives of a copy lies.
fn beside_store(store: &SqliteStore, id: CollectionId) -> PathBuf {
    store
        .path()
        .with_extension(format!("{}{}", &COPY[1..], id.0))
}

/// Removes what arrived of copies in a folder and nobody went on with since some time.
pub(super) fn sweep(folder: &Path, since: Timestamp) -> crate::Result<()> {
    let entries = std::fs::read_dir(folder).map_err(at_path("listing", folder))?;
    for entry in entries {
        let entry = entry.map_err(at_path("listing", folder))?;
        let name = entry.file_name();
        let is_part = name.to_str().is_some_and(|name| {
            let of_copy = name.split_once(COPY);
            of_copy.is_some_and(|(_, rest)| rest.contains(".part"))
        });
        let age = entry.metadata().and_then(|found| found.modified());
        let is_old = age.is_ok_and(|at| clock::at(at) < since);
        if is_part && is_old {
            let path = entry.path();
            std::fs::remove_file(&path).map_err(at_path("removing", &path))?;
        }
    }
    Ok(())
}

/// Whether some of a file has arrived for a copy.
pub(super) fn is_begun(store: &SqliteStore, id: CollectionId) -> bool {
    let part = Part::beside(&beside_store(store, id));
    std::fs::metadata(&part.path).is_ok_and(|found| found.len() > 0)
}

/// Throws away what has arrived of a file for a copy.
pub(super) fn forget(store: &SqliteStore, id: CollectionId) {
    Part::beside(&beside_store(store, id)).remove();
}

/// Fills a copy of a collection of a service there, if it has nothing yet and the collection is worth a file.
///
/// # Errors
/// [`Error::Network`] and [`Error::DiskFull`]: the next call goes on from there. Any other leaves the copy empty.
pub(super) fn begin(
    client: &Client,
    (service, collection): (&str, &str),
    store: &SqliteStore,
    copy: &mut SqliteSecondary<'_>,
    progress: Progress<'_>,
) -> Result<Option<FirstCopy>> {
    let beside = beside_store(store, copy.id());
    if !copy.is_new()? {
        Part::beside(&beside).remove();
        return Ok(None);
    }
    client.first_copy(service, collection, copy, &beside, progress)
}

impl Client {
    /// Fills a copy that has nothing yet. `None` if the collection is asked for record by record instead.
    ///
    /// # Errors
    /// [`Error::Network`] and [`Error::DiskFull`]: the next call goes on from there. Any other leaves the copy empty.
    fn first_copy(
        &self,
        service: &str,
        collection: &str,
        copy: &mut SqliteSecondary<'_>,
        target: &Path,
        progress: Progress<'_>,
    ) -> Result<Option<FirstCopy>> {
        let part = Part::beside(target);
        let fetched = self.fetch_prepared(service, collection, &part, progress);
        let path = match fetched {
            Ok(Some(path)) => path,
            Ok(None) => return Ok(None),
            Err(error @ (Error::Network(_) | Error::DiskFull)) => return Err(error),
            Err(error) => {
                part.remove();
                return Err(error);
            }
        };
        progress("taking the copy over", 0, None);
        let bytes = std::fs::metadata(&part.path).map_or(0, |found| found.len());
        let taken = copy.take_prepared(&part.path);
        if !matches!(taken, Err(Error::DiskFull)) {
            part.remove();
            // It expires by itself.
            let _best_effort = self.remove_file(&path);
        }
        let proof = taken?;
        Ok(Some(FirstCopy {
            items: proof.root.count,
            bytes,
            proof,
        }))
    }

    /// Has the collection prepared, unless that was done, and fetches what is missing. Where it is on the server.
    fn fetch_prepared(
        &self,
        service: &str,
        collection: &str,
        part: &Part,
        progress: Progress<'_>,
    ) -> Result<Option<String>> {
        let origin = self.origin().to_string();
        let found = part.note().filter(|note| {
            (
                &note.origin,
                note.service.as_str(),
                note.collection.as_str(),
            ) == (&origin, service, collection)
        });
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(found.is_none())
            .read(true)
            .write(true)
            .open(&part.path)
            .map_err(|e| write_failed(&e))?;
        if let Some(mut note) = found {
            match self.fetch_part(part, &mut note, &mut file, progress) {
                Ok(()) => return Ok(Some(note.path)),
                // It has expired by now.
                Err(Error::Refused { code: 404, .. }) => {
                    file.set_len(0).map_err(|e| write_failed(&e))?;
                }
                Err(error) => return Err(error),
            }
        }
        let Some(prepared) = self.prepare_collection(service, collection, progress)? else {
            part.remove();
            return Ok(None);
        };
        let mut note = Note {
            origin,
            service: service.to_owned(),
            collection: collection.to_owned(),
            path: prepared.path,
            version: None,
        };
        note.save(part)?;
        self.fetch_part(part, &mut note, &mut file, progress)?;
        Ok(Some(note.path))
    }

    /// Has a collection prepared. `None` if the server would rather be asked for its records, or cannot.
    fn prepare_collection(
        &self,
        service: &str,
        collection: &str,
        progress: Progress<'_>,
    ) -> Result<Option<PreparedFile>> {
        let path = format!("/v1/services/{service}/collections/{collection}/file");
        let request = self.request(Verb::POST, &path)?.timeout(self.within(LONG));
        let asked = self.waiting(|| match answered(request)? {
            response if response.status() == StatusCode::NO_CONTENT => Ok(None),
            response => json_of::<JobInfo>(response).map(Some),
        });
        let job = match asked {
            Ok(Some(job)) => job,
            Ok(None) => return Ok(None),
            Err(error @ Error::Network(_)) => return Err(error),
            // An older server; what else is wrong is told by the first question.
            Err(_refused) => return Ok(None),
        };
        match self.wait_at_most(Some(self.patience()), job.id, progress) {
            Ok(result) => serde_json::from_value(result)
                .map(Some)
                .map_err(|e| Error::Corrupt(format!("the server's answer: {e}"))),
            Err(error @ Error::Network(_)) => Err(error),
            Err(error) => {
                tracing::warn!(%error, "a collection was not prepared and is asked for record by record");
                Ok(None)
            }
        }
    }

    fn fetch_part(
        &self,
        part: &Part,
        note: &mut Note,
        file: &mut File,
        progress: Progress<'_>,
    ) -> Result<()> {
        let arrived = file.metadata().map_err(|e| write_failed(&e))?.len();
        let known = note.version.clone().filter(|(_, bytes)| arrived <= *bytes);
        let done = if known.is_some() { arrived } else { 0 };
        let path = note.path.clone();
        let mut fetch = Fetch {
            file,
            done,
            total: known.as_ref().map(|(_, bytes)| *bytes),
            etag: known.map(|(etag, _)| etag),
            begun: &mut |etag, bytes| {
                note.version = Some((etag.to_owned(), bytes));
                note.save(part)
            },
        };
        self.fetch(&path, &mut fetch, progress)?;
        if done == 0 {
            return Ok(());
        }
        // A machine that lost its power may have kept the length of what had arrived and not the bytes.
        progress("checking", 0, None);
        let there = self.digest_of(&path)?;
        if there.is_none_or(|there| digest_here(file).is_ok_and(|here| here == there)) {
            return Ok(());
        }
        file.set_len(0).map_err(|e| write_failed(&e))?;
        self.fetch_part(part, note, file, progress)
    }

    fn remove_file(&self, path: &str) -> Result<()> {
        let request = self.request(Verb::DELETE, path)?;
        let request = request.timeout(self.within(Duration::from_mins(1)));
        self.waiting(|| answered(request)).map(|_done| ())
    }
}
