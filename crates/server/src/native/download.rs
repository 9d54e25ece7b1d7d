//! Files of a server, fetched in parts: a connection that is cut costs what it carried last, not the whole.

use std::fs::{File, OpenOptions};
use std::io::{Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::{Method, StatusCode};

use haversack_model::{Error, Result};

use super::remote::{Client, answered, invalid, network};

/// Files come in parts of this size, so that a connection that stands still is noticed and little is fetched again.
const PART_BYTES: u64 = 16 * 1024 * 1024;
const PART: Duration = Duration::from_mins(5);
const TRIES_WITHOUT_PROGRESS: u32 = 5;

impl Client {
    /// Fetches a file in parts into `target`. A connection that is cut continues where it was.
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
            done: 0,
            total: None,
            etag: None,
        };
        let mut failures = 0;
        while fetch.total.is_none_or(|total| fetch.done < total) {
            let before = fetch.done;
            match self.fetch_part(path, &mut file, &mut fetch) {
                Ok(()) => failures = 0,
                Err(error @ Error::Network(_)) => {
                    failures = if fetch.done > before { 0 } else { failures + 1 };
                    if failures >= TRIES_WITHOUT_PROGRESS {
                        return Err(error);
                    }
                    std::thread::sleep(Duration::from_millis(100 << failures));
                }
                Err(error) => return Err(error),
            }
            progress("downloading", fetch.done, fetch.total);
        }
        file.sync_all()
            .and_then(|()| std::fs::rename(&part, target))
            .map_err(|e| write_failed(&e))
    }

    fn fetch_part(&self, path: &str, file: &mut File, fetch: &mut Fetch) -> Result<()> {
        let last = fetch.done + PART_BYTES - 1;
        let mut request = self
            .request(Method::GET, path)?
            .timeout(PART)
            .header("range", format!("bytes={}-{last}", fetch.done));
        if let Some(etag) = &fetch.etag {
            request = request.header("if-range", etag);
        }
        let mut response = answered(request)?;
        let header = |name| response.headers().get(name).and_then(|v| v.to_str().ok());
        let etag = header("etag").map(str::to_owned);
        let total = if response.status() == StatusCode::PARTIAL_CONTENT {
            header("content-range")
                .and_then(|range| range.rsplit_once('/'))
                .and_then(|(_, total)| total.parse().ok())
        } else {
            // The whole file, or another version of it: from the beginning.
            fetch.done = 0;
            response.content_length()
        };
        fetch.total = total;
        fetch.etag = etag;
        file.set_len(fetch.done)
            .and_then(|()| file.seek(SeekFrom::Start(fetch.done)).map(|_at| ()))
            .map_err(|e| write_failed(&e))?;
        let begun = fetch.done;
        let mut counted = Counted { file, count: 0 };
        let copied = response.copy_to(&mut counted);
        fetch.done = begun + counted.count;
        copied.map_err(network)?;
        if fetch.total.is_none() {
            fetch.total = Some(fetch.done);
        }
        Ok(())
    }
}

struct Fetch {
    done: u64,
    total: Option<u64>,
    etag: Option<String>,
}

/// Counts what reached the file, so that a cut transfer continues there.
struct Counted<'a> {
    file: &'a mut File,
    count: u64,
}

impl std::io::Write for Counted<'_> {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        let written = self.file.write(buf)?;
        self.count += written as u64;
        Ok(written)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

fn beside(target: &Path, extension: &str) -> PathBuf {
    let mut name = target.as_os_str().to_owned();
    name.push(".");
    name.push(extension);
    name.into()
}

fn write_failed(error: &std::io::Error) -> Error {
    if error.kind() == std::io::ErrorKind::StorageFull {
        return Error::DiskFull;
    }
    invalid("file", error.to_string())
}
