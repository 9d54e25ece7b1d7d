//! Contents of attachments on their way: fetched ones wait in files until the replica stores them, sent ones are
//! remembered by their upload.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Write};

use haversack_model::BlobHash;
use serde_json::Value as Json;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use super::http::{Http, unwrapped};
use crate::wire::json::member;
use crate::wire::sync::{AttachmentContent, UploadContent};
use crate::{Error, Result};

/// A content that was made ready for a batch.
#[derive(Debug)]
enum Sent {
    /// It is on the server, under this id.
    Upload(String),
    /// It goes along with the batch.
    Data(Vec<u8>),
}

#[derive(Debug)]
pub(super) struct Blobs {
    folder: TempDir,
    sent: HashMap<BlobHash, Sent>,
}

impl Blobs {
    pub(super) fn new() -> Result<Self> {
        Ok(Self {
            folder: tempfile::tempdir()?,
            sent: HashMap::new(),
        })
    }

    /// Makes a content ready for the batch that names it: uploaded where the server takes uploads.
    pub(super) fn send(
        &mut self,
        http: &mut Http,
        uploads: bool,
        hash: BlobHash,
        content: &[u8],
    ) -> Result<()> {
        if self.sent.contains_key(&hash) {
            return Ok(());
        }
        let sent = if uploads {
            Sent::Upload(upload(http, hash, content)?)
        } else {
            Sent::Data(content.to_vec())
        };
        self.sent.insert(hash, sent);
        Ok(())
    }

    /// What a batch says of a content; `None` if it was not made ready.
    pub(super) fn content(&self, hash: BlobHash) -> Option<UploadContent<'_>> {
        Some(match self.sent.get(&hash)? {
            Sent::Upload(id) => UploadContent::Upload(id),
            Sent::Data(content) => UploadContent::Data(content),
        })
    }
    /// Forgets what was made ready: the batch is answered.
    pub(super) fn forget_sent(&mut self) {
        self.sent.clear();
    }

    /// Keeps the content of an attachment that a document tells of; gives its hash and size, `None` if it cannot be had.
    pub(super) fn fetched(
        &self,
        http: &Http,
        content: AttachmentContent,
    ) -> Result<Option<(BlobHash, u64)>> {
        match content {
            AttachmentContent::Data(bytes) => self.keep(bytes.as_slice()).map(Some),
            AttachmentContent::Unknown => Ok(None),
            AttachmentContent::Url(url) => match http.fetch(&http.named(&url)?, 0) {
                Ok(response) => {
                    let max = http.options.max_document_bytes;
                    let body = Http::limited(response, max, http.options.patience);
                    self.keep(body).map(Some)
                }
                // A content that the server lost fails this attachment alone.
                Err(Error::Refused { .. } | Error::Status { status: 404 | 410 }) => Ok(None),
                Err(error) => Err(error),
            },
        }
    }

    fn keep(&self, mut from: impl Read) -> Result<(BlobHash, u64)> {
        let mut file = tempfile::NamedTempFile::new_in(self.folder.path())?;
        let mut hash = Sha256::new();
        let mut chunk = vec![0; 64 << 10];
        let mut bytes = 0;
        loop {
            let count = from.read(&mut chunk).map_err(unwrapped)?;
            if count == 0 {
                break;
            }
            hash.update(&chunk[..count]);
            file.write_all(&chunk[..count])?;
            bytes += count as u64;
        }
        let hash = BlobHash(hash.finalize().into());
        file.persist(self.folder.path().join(hash.to_string()))
            .map_err(|e| Error::Io(e.error))?;
        Ok((hash, bytes))
    }

    /// The content, if it is at hand; it is removed from here.
    pub(super) fn take(&self, hash: BlobHash) -> Result<Option<Vec<u8>>> {
        let path = self.folder.path().join(hash.to_string());
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let mut content = Vec::new();
        file.read_to_end(&mut content)?;
        std::fs::remove_file(path)?;
        Ok(Some(content))
    }
}

fn upload(http: &mut Http, hash: BlobHash, content: &[u8]) -> Result<String> {
    http.ensure_token()?;
    let url = http.below("uploads/upload");
    let name = format!("{hash}.bin");
    let answer = http.send_file(&url, name.clone(), content.to_vec());
    let answer = if http.is_stale(&answer) {
        http.log_in()?;
        http.send_file(&url, name, content.to_vec())?
    } else {
        answer?
    };
    let item = answer.as_object().and_then(|answer| member(answer, "item"));
    let id = item
        .and_then(Json::as_object)
        .and_then(|item| member(item, "itemID"));
    let id = id.and_then(Json::as_str).filter(|id| !id.is_empty());
    id.map(str::to_owned)
        .ok_or_else(|| Error::document("the answer to an upload", "names no item"))
}
