//! Files of a server, fetched in parts: what was cut costs what it carried last, not the whole.
//!
//! Owns: ranges, and when a part travels compressed. Does not own: what a partial file belongs to ([`super::checkout`]).

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::blocking::Response;
use reqwest::{Method, StatusCode};
use sha2::{Digest as _, Sha256};

use haversack_model::{Error, Result};

use super::remote::{Client, answered, invalid, is_silence};
use super::waiting::{GLANCE, pieces};

/// What progress says while parts arrive.
pub(super) const DOWNLOADING: &str = "downloading";

/// Files come in parts, so that a connection that stands still is noticed. The first one is small: it shows how fast the way is.
const FIRST_BYTES: u64 = 1024 * 1024;
const PART_BYTES: u64 = 16 * 1024 * 1024;
/// What the server compresses at once.
pub(super) const PACKED_BYTES: u64 = 4 * 1024 * 1024;
/// Below so many bytes in a second it pays to compress: above, compressing takes longer than sending.
const PAYS_BELOW: f64 = 50e6;
const PART: Duration = Duration::from_mins(5);
const TRIES_WITHOUT_PROGRESS: u32 = 5;

/// Whether files travel compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Where the way is slow.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// A file on its way.
pub(super) struct Fetch<'a> {
    /// What has arrived, from the beginning.
    pub(super) file: &'a mut File,
    /// How much of it.
    pub(super) done: u64,
    /// All of it, once known.
    pub(super) total: Option<u64>,
    /// Which version of the server's file.
    pub(super) etag: Option<String>,
    /// Told before bytes of another version are written: version and size.
    pub(super) begun: &'a mut dyn FnMut(&str, u64) -> Result<()>,
}

impl Client {
    /// Fetches a file in parts into `target`. A connection that is cut continues where it was.
    ///
    /// # Errors
    /// [`Error::Network`] if that is of no use any more.
    pub fn download(
        &self,
        path: &str,
        target: &Path,
        progress: &mut dyn FnMut(&str, u64, Option<u64>),
    ) -> Result<()> {
        let part = beside(target, "part");
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .open(&part)
            .map_err(|e| write_failed(&e))?;
        let mut fetch = Fetch {
            file: &mut file,
            done: 0,
            total: None,
            etag: None,
            begun: &mut |_etag, _size| Ok(()),
        };
        self.fetch(path, &mut fetch, progress)?;
        file.sync_all()
            .and_then(|()| std::fs::rename(&part, target))
            .map_err(|e| write_failed(&e))
    }

    /// Fetches what is missing of a file.
    pub(super) fn fetch(
        &self,
        path: &str,
        fetch: &mut Fetch<'_>,
        progress: &mut dyn FnMut(&str, u64, Option<u64>),
    ) -> Result<()> {
        let mut failures = 0;
        let mut pays = self.compression == Compression::Always;
        // The first answer names the version, by which compressed parts are asked for.
        let mut length = if pays { 1 } else { FIRST_BYTES };
        while fetch.total.is_none_or(|total| fetch.done < total) {
            self.check_stop()
                .map_err(|stopped| Error::Network(Box::new(stopped)))?;
            let (before, begun) = (fetch.done, Instant::now());
            let done = match (&fetch.etag, fetch.total) {
                (Some(etag), Some(total)) if pays => {
                    let upto = total.min(fetch.done + PACKED_BYTES);
                    let etag = etag.clone();
                    self.fetch_packed(path, fetch, &etag, upto)
                }
                _ => self.fetch_range(path, fetch, length),
            };
            match done {
                Ok(()) => failures = 0,
                Err(error @ Error::Network(_)) => {
                    failures = if fetch.done > before { 0 } else { failures + 1 };
                    // Who has been silent for as long as is waited is not waited for again.
                    let is_over = failures > 0 && is_silence(&error);
                    if is_over || failures >= TRIES_WITHOUT_PROGRESS {
                        return Err(error);
                    }
                    std::thread::sleep(Duration::from_millis(100 << failures));
                }
                Err(error) => return Err(error),
            }
            let rate = fetch.done.saturating_sub(before) as f64 / begun.elapsed().as_secs_f64();
            pays |= self.compression == Compression::Auto && rate < PAYS_BELOW;
            length = PART_BYTES;
            progress(DOWNLOADING, fetch.done, fetch.total);
        }
        Ok(())
    }

    fn fetch_range(&self, path: &str, fetch: &mut Fetch<'_>, length: u64) -> Result<()> {
        let last = fetch.done + length - 1;
        let mut request = self
            .request(Method::GET, path)?
            .timeout(PART)
            .header("range", format!("bytes={}-{last}", fetch.done));
        if let Some(etag) = &fetch.etag {
            request = request.header("if-range", etag);
        }
        let response = self.waiting(|| answered(request))?;
        let total = if response.status() == StatusCode::PARTIAL_CONTENT {
            header(&response, "content-range")
                .and_then(|range| range.rsplit_once('/'))
                .and_then(|(_, total)| total.parse().ok())
        } else {
            // The whole file, or another version of it: from the beginning.
            fetch.done = 0;
            response.content_length()
        };
        let etag = header(&response, "etag").map(str::to_owned);
        if etag != fetch.etag || total != fetch.total {
            fetch.cut()?;
            let (etag, total) = (etag.clone().unwrap_or_default(), total.unwrap_or(0));
            (fetch.begun)(&etag, total)?;
        }
        (fetch.total, fetch.etag) = (total, etag);
        fetch.receive(self, response)?;
        if fetch.total.is_none() {
            fetch.total = Some(fetch.done);
        }
        Ok(())
    }

    fn fetch_packed(&self, path: &str, fetch: &mut Fetch<'_>, etag: &str, upto: u64) -> Result<()> {
        let path = format!("{path}/bytes?from={}&upto={upto}", fetch.done);
        let request = self
            .request(Method::GET, &path)?
            .timeout(PART)
            .header("accept-encoding", "zstd")
            .header("if-match", etag);
        match self.waiting(|| answered(request)) {
            Ok(response) => fetch.receive(self, response),
            Err(Error::Refused { code: 412, .. }) => {
                // Another version by now: the next range begins with it.
                (fetch.done, fetch.etag, fetch.total) = (0, None, None);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// The SHA-256 of a file as the server has it.
    pub(super) fn digest_of(&self, path: &str) -> Result<Option<[u8; 32]>> {
        let request = self
            .request(Method::GET, path)?
            .timeout(self.within(PART))
            .header("range", "bytes=0-0")
            .header("want-repr-digest", "sha-256=1");
        let response = self.waiting(|| answered(request))?;
        let text = header(&response, "repr-digest").and_then(|text| {
            text.strip_prefix("sha-256=:")
                .and_then(|text| text.strip_suffix(':'))
        });
        Ok(text
            .and_then(|text| STANDARD.decode(text).ok())
            .and_then(|bytes| bytes.try_into().ok()))
    }
}

impl Fetch<'_> {
    /// Cuts off what lies behind what has arrived.
    fn cut(&mut self) -> Result<()> {
        let done = self.done;
        self.file.set_len(done).map_err(|e| write_failed(&e))
    }

    /// Writes an answer behind what has arrived.
    fn receive(&mut self, client: &Client, response: Response) -> Result<()> {
        self.cut()?;
        self.file
            .seek(SeekFrom::Start(self.done))
            .map_err(|e| write_failed(&e))?;
        let arriving = pieces(move || Ok(response));
        let mut heard = Instant::now();
        loop {
            match arriving.recv_timeout(GLANCE) {
                Ok(piece) => {
                    let piece = piece?;
                    self.file.write_all(&piece).map_err(|e| write_failed(&e))?;
                    self.done += piece.len() as u64;
                    heard = Instant::now();
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
            client.check_silence(heard)?;
        }
    }
}

/// The SHA-256 of a file here.
pub(super) fn digest_here(file: &mut File) -> Result<[u8; 32]> {
    let mut hasher = Sha256::new();
    let mut piece = vec![0; 256 * 1024];
    file.seek(SeekFrom::Start(0))
        .map_err(|e| write_failed(&e))?;
    loop {
        let count = file.read(&mut piece).map_err(|e| write_failed(&e))?;
        if count == 0 {
            return Ok(hasher.finalize().into());
        }
        hasher.update(&piece[..count]);
    }
}

fn header<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    response.headers().get(name).and_then(|v| v.to_str().ok())
}

pub(super) fn beside(target: &Path, extension: &str) -> PathBuf {
    let mut name = target.as_os_str().to_owned();
    name.push(".");
    name.push(extension);
    name.into()
}

pub(super) fn write_failed(error: &std::io::Error) -> Error {
    if error.kind() == std::io::ErrorKind::StorageFull {
        return Error::DiskFull;
    }
    invalid("file", error.to_string())
}
