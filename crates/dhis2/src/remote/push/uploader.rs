//! The importer as the sync core speaks to it.

use haversack_model::local::{FrozenBatch, LocalReplica, ReplicaHeader};
use haversack_model::remote::{BatchReply, Page, Renewed};
use haversack_model::{BlobHash, CollectionId, Error, GlobalId, Remote, Result};

use super::{Courier, Importer, Pace, push};

/// Takes uploads of a copy. Downloads of this dialect know no cursor of generations: see [`pull`](crate::remote::pull).
///
/// It has the copy open beside whoever freezes the batches, to read whole records and to keep the ids of jobs.
pub struct Uploader<'a> {
    courier: &'a dyn Courier,
    importer: Importer,
    file: Box<dyn LocalReplica + 'a>,
    pace: Box<dyn Pace>,
}

impl std::fmt::Debug for Uploader<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Uploader")
            .field("importer", &self.importer)
            .finish_non_exhaustive()
    }
}

impl<'a> Uploader<'a> {
    /// Uploads to this server; `file` is the copy, opened once more.
    pub fn new(
        courier: &'a dyn Courier,
        importer: Importer,
        file: Box<dyn LocalReplica + 'a>,
        pace: Box<dyn Pace>,
    ) -> Self {
        Self {
            courier,
            importer,
            file,
            pace,
        }
    }
}

fn only_uploads<T>() -> Result<T> {
    Err(Error::Invalid {
        what: "a copy of a DHIS2 server".to_owned(),
        problem: "this way leads up only; `haversack tracker download` fetches".to_owned(),
    })
}

impl Remote for Uploader<'_> {
    fn push(&mut self, header: &ReplicaHeader, batch: &FrozenBatch) -> Result<BatchReply> {
        let (file, pace) = (&mut *self.file, &mut *self.pace);
        Ok(push(
            self.courier,
            self.importer,
            file,
            pace,
            header,
            batch,
        )?)
    }
    fn pull(&mut self, _: &ReplicaHeader) -> Result<Page> {
        only_uploads()
    }
    fn push_blob(&mut self, _: &ReplicaHeader, _: BlobHash, _: &[u8]) -> Result<()> {
        only_uploads()
    }
    fn pull_blob(
        &mut self,
        _: &ReplicaHeader,
        _: CollectionId,
        _: &GlobalId,
        _: BlobHash,
    ) -> Result<Vec<u8>> {
        only_uploads()
    }
    fn renew(&mut self, _: &ReplicaHeader) -> Result<Renewed> {
        only_uploads()
    }
    /// The server knows nothing of copies.
    fn release(&mut self, _: &ReplicaHeader) -> Result<()> {
        Ok(())
    }
}
