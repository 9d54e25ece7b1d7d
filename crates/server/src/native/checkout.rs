//! The client's side of a checkout: register, wait for the file, fetch it, over as many runs of the program as it takes.
//!
//! Beside an unfinished file `X` lie `X.part`, what has arrived, and `X.part.json`, what it belongs to. The same command goes on
//! from there; what belongs to another request is thrown away and its registration given back.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use haversack_model::{Error, ReplicaId, Result};

use super::download::{Fetch, beside, digest_here, write_failed};
use super::remote::{Client, invalid};
use super::wire::{PreparedFile, Registered, ReplicaRequest};
use crate::secret;

/// How often a file may be prepared anew in one run because the server's had expired or was lost.
const MAX_PREPARED: usize = 3;

/// Progress: what is being done, how much of it is done, how much there is if that is known.
type Progress<'a> = &'a mut dyn FnMut(&str, u64, Option<u64>);

/// What a partial file belongs to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Note {
    origin: String,
    service: String,
    /// With a key of its own, so that asking twice registers once.
    request: ReplicaRequest,
    replica: Option<ReplicaId>,
    job: Option<Uuid>,
    /// Where the prepared file is on the server, which version of it the part is of, and its size.
    path: Option<String>,
    etag: Option<String>,
    bytes: Option<u64>,
}

/// A partial file, held by this process.
struct Partial {
    file: File,
    part: PathBuf,
    note_path: PathBuf,
    note: Note,
}

impl Client {
    /// Registers a replica and fetches its file into `target`.
    ///
    /// If the network or the disk fails, a login has ended, or the program is killed, what has arrived stays beside `target`,
    /// and the same call goes on from there with the same registration. Any other failure takes both back.
    ///
    /// # Errors
    /// Those of the server, the network and the disk; [`Error::Invalid`] if another process is at it.
    pub fn checkout(
        &self,
        service: &str,
        request: &ReplicaRequest,
        target: &Path,
        progress: Progress<'_>,
    ) -> Result<ReplicaId> {
        let mut partial = self.open_partial(service, request, target)?;
        match self.complete(&mut partial, progress) {
            Ok(replica) => {
                partial.finish(target)?;
                Ok(replica)
            }
            Err(error @ (Error::Network(_) | Error::DiskFull)) => Err(error),
            // A login that has ended is not the end of what was begun with it.
            Err(error @ Error::Refused { code: 401, .. }) if partial.note.replica.is_some() => {
                Err(error)
            }
            Err(error) => {
                // The first error is the one to tell.
                let _expires = self.abandon(&partial.note);
                partial.remove();
                Err(error)
            }
        }
    }

    /// The partial file of this request, as far as it has come, or an empty one.
    fn open_partial(
        &self,
        service: &str,
        request: &ReplicaRequest,
        target: &Path,
    ) -> Result<Partial> {
        let (part, note_path) = (beside(target, "part"), beside(target, "part.json"));
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&part)
            .map_err(|e| write_failed(&e))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let problem = "another checkout is writing this file".to_owned();
                return Err(invalid(&part.display().to_string(), problem));
            }
            Err(TryLockError::Error(error)) => return Err(write_failed(&error)),
        }
        // Another checkout may have held the lock a moment ago and have made this part the file.
        if target.exists() {
            if file.metadata().is_ok_and(|found| found.len() == 0) {
                let _best_effort = std::fs::remove_file(&part);
            }
            let problem = "there is a file of this name already".to_owned();
            return Err(invalid(&target.display().to_string(), problem));
        }
        let mut wanted = Note {
            origin: self.origin().to_string(),
            service: service.to_owned(),
            request: request.clone(),
            replica: None,
            job: None,
            path: None,
            etag: None,
            bytes: None,
        };
        let found: Option<Note> = std::fs::read(&note_path)
            .ok()
            .and_then(|text| serde_json::from_slice(&text).ok());
        let note = match found {
            Some(found) if found.is_for(&wanted) => found,
            other => {
                if let Some(other) = other.filter(|other| other.origin == wanted.origin) {
                    self.abandon(&other)?;
                }
                file.set_len(0).map_err(|e| write_failed(&e))?;
                wanted.request.key = Some(secret::random_uuid());
                wanted
            }
        };
        let partial = Partial {
            file,
            part,
            note_path,
            note,
        };
        partial.save()?;
        Ok(partial)
    }

    fn complete(&self, partial: &mut Partial, progress: Progress<'_>) -> Result<ReplicaId> {
        let mut prepared_anew = 0;
        let mut inherited = partial.note.job.is_some();
        loop {
            let replica = match partial.note.replica {
                Some(replica) => replica,
                None => self.register_noted(partial)?,
            };
            let found = match partial.note.job {
                Some(job) => self.wait_for(job, progress),
                None => self.prepare_noted(partial, replica, progress),
            };
            let fetched = found.and_then(|result| {
                let prepared: PreparedFile = serde_json::from_value(result)
                    .map_err(|e| Error::Corrupt(format!("the server's answer: {e}")))?;
                self.fetch_noted(partial, &prepared, progress)
            });
            match fetched {
                Ok(()) => return Ok(replica),
                // Whatever is left of an earlier run may be gone by now: the file, the job, the registration.
                Err(Error::NoReplica(_)) if prepared_anew < MAX_PREPARED => {
                    partial.note.replica = None;
                    partial.note.job = None;
                }
                Err(Error::Refused { code: 404, .. }) if prepared_anew < MAX_PREPARED => {
                    partial.note.job = None;
                }
                Err(Error::Refused { code: 500, .. }) if inherited => partial.note.job = None,
                Err(error) => return Err(error),
            }
            inherited = false;
            prepared_anew += 1;
            partial.save()?;
        }
    }

    fn register_noted(&self, partial: &mut Partial) -> Result<ReplicaId> {
        let path = format!("/v1/services/{}/replicas", partial.note.service);
        let registered: Registered = self.post(&path, &partial.note.request)?;
        partial.note.replica = Some(registered.replica);
        partial.note.job = Some(registered.job);
        partial.save()?;
        Ok(registered.replica)
    }

    fn prepare_noted(
        &self,
        partial: &mut Partial,
        replica: ReplicaId,
        progress: Progress<'_>,
    ) -> Result<serde_json::Value> {
        let job = self.prepare_again(&partial.note.service, replica)?;
        partial.note.job = Some(job);
        partial.save()?;
        self.wait_for(job, progress)
    }

    fn fetch_noted(
        &self,
        partial: &mut Partial,
        prepared: &PreparedFile,
        progress: Progress<'_>,
    ) -> Result<()> {
        let Partial {
            file,
            note,
            note_path,
            ..
        } = partial;
        if note.path.as_deref() != Some(&prepared.path) {
            note.path = Some(prepared.path.clone());
            (note.etag, note.bytes) = (None, None);
        }
        let arrived = file.metadata().map_err(|e| write_failed(&e))?.len();
        let known = note.etag.is_some() && note.bytes.is_some_and(|bytes| arrived <= bytes);
        let done = if known { arrived } else { 0 };
        let (etag, total) = (note.etag.clone(), note.bytes.filter(|_| known));
        let mut fetch = Fetch {
            file,
            done,
            total,
            etag: etag.filter(|_| known),
            begun: &mut |etag, bytes| {
                note.etag = Some(etag.to_owned());
                note.bytes = Some(bytes);
                note.save(note_path)
            },
        };
        self.fetch(&prepared.path, &mut fetch, progress)?;
        if done == 0 {
            return Ok(());
        }
        // A machine that lost its power may have kept the length of what had arrived and not the bytes.
        progress("checking", 0, None);
        let there = self.digest_of(&prepared.path)?;
        if there.is_none_or(|there| digest_here(file).is_ok_and(|here| here == there)) {
            return Ok(());
        }
        file.set_len(0).map_err(|e| write_failed(&e))?;
        let mut fetch = Fetch {
            file,
            done: 0,
            total: None,
            etag: None,
            begun: &mut |_etag, _bytes| Ok(()),
        };
        self.fetch(&prepared.path, &mut fetch, progress)
    }

    /// Without its file a registration is of no use. One that the server refuses to release expires.
    ///
    /// # Errors
    /// [`Error::Network`]: it may still be there.
    fn abandon(&self, note: &Note) -> Result<()> {
        match note.replica.map(|id| self.release(&note.service, id)) {
            Some(Err(error @ Error::Network(_))) => Err(error),
            _ => Ok(()),
        }
    }
}

impl Note {
    /// Whether a part with this note is of the same request.
    fn is_for(&self, wanted: &Self) -> bool {
        let mut request = self.request.clone();
        request.key = None;
        let same = (&self.origin, &self.service) == (&wanted.origin, &wanted.service);
        same && request == wanted.request && self.request.key.is_some()
    }

    fn save(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_vec(self).map_err(|e| Error::Corrupt(e.to_string()))?;
        let scratch = beside(path, "new");
        std::fs::write(&scratch, text)
            .and_then(|()| std::fs::rename(&scratch, path))
            .map_err(|e| write_failed(&e))
    }
}

impl Partial {
    fn save(&self) -> Result<()> {
        self.note.save(&self.note_path)
    }

    fn finish(self, target: &Path) -> Result<()> {
        self.file
            .sync_all()
            .and_then(|()| std::fs::rename(&self.part, target))
            .map_err(|e| write_failed(&e))?;
        // What stays behind belongs to no file any more and is thrown away by the next checkout of this name.
        let _removed = std::fs::remove_file(&self.note_path);
        Ok(())
    }

    fn remove(self) {
        // What stays behind is taken for what it is by the next checkout of this name.
        let _removed = std::fs::remove_file(&self.note_path);
        let _removed = std::fs::remove_file(&self.part);
    }
}
