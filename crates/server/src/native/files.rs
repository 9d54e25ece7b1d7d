//! Prepared files, in whole or in ranges. Authorised at every fetch; never run by a browser.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    ACCEPT_RANGES, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_SECURITY_POLICY,
    CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_MATCH, IF_RANGE, RANGE,
};
use http::{HeaderName, StatusCode};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio_util::io::ReaderStream;
use uuid::Uuid;

use haversack_model::Host as _;
use haversack_model::host::StoredFile;

use super::answer::packed_bytes;
use super::call::{Incoming, answer, caller};
use super::download::PACKED_BYTES;
use super::problem::{Problem, Result};
use crate::Server;

const CHUNK: usize = 256 * 1024;
const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");
/// Types that are told as they are; everything else is bytes.
const TYPES: [&str; 5] = [
    "application/geopackage+sqlite3",
    "application/json",
    "application/zip",
    "image/png",
    "image/jpeg",
];

/// Sends a file of the caller.
pub(super) async fn fetch(server: Arc<Server>, incoming: Incoming, id: Uuid) -> Response {
    let headers = incoming.headers.clone();
    let found = tokio::task::spawn_blocking(move || {
        let who = caller(&server, &incoming)?;
        server
            .file(id, &who)
            .ok_or_else(|| Problem::missing("file"))
    });
    match found.await {
        Ok(Ok(file)) => send(&file, &headers).await.unwrap_or_else(|error| {
            tracing::error!(%error, file = %id, "a file could not be sent");
            Problem::missing("file").into_response()
        }),
        Ok(Err(problem)) => problem.into_response(),
        Err(_panicked) => Problem::internal().into_response(),
    }
}

async fn send(file: &StoredFile, asked: &HeaderMap) -> std::io::Result<Response> {
    let mut opened = tokio::fs::File::open(&file.path).await?;
    let size = opened.metadata().await?.len();
    let etag = etag_of(file, size);
    let range = match range_of(asked, &etag, size) {
        Asked::All => None,
        Asked::Part(first, last) => Some((first, last)),
        Asked::Beyond => {
            let whole = format!("bytes */{size}");
            return Ok(
                (StatusCode::RANGE_NOT_SATISFIABLE, [(CONTENT_RANGE, whole)]).into_response(),
            );
        }
    };
    let (first, length) = range.map_or((0, size), |(first, last)| (first, last - first + 1));
    let digest = if wants_digest(asked) {
        Some(digest(&mut opened).await?)
    } else {
        None
    };
    opened.seek(SeekFrom::Start(first)).await?;
    let stream = ReaderStream::with_capacity(opened.take(length), CHUNK);
    let mut response = Body::from_stream(stream).into_response();
    if let Some((first, last)) = range {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        set(
            response.headers_mut(),
            CONTENT_RANGE,
            &format!("bytes {first}-{last}/{size}"),
        );
    }
    let kind = TYPES
        .into_iter()
        .find(|known| *known == file.content_type)
        .unwrap_or("application/octet-stream");
    let headers = response.headers_mut();
    set(headers, CONTENT_TYPE, kind);
    set(headers, CONTENT_LENGTH, &length.to_string());
    set(headers, ETAG, &etag);
    set(headers, ACCEPT_RANGES, "bytes");
    if let Some(digest) = digest {
        set(headers, REPR_DIGEST, &digest);
    }
    set(
        headers,
        CONTENT_SECURITY_POLICY,
        "sandbox; default-src 'none'",
    );
    let name: String = file
        .name
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "._- ".contains(c) {
                c
            } else {
                '_'
            }
        })
        .collect();
    set(
        headers,
        CONTENT_DISPOSITION,
        &format!("attachment; filename=\"{name}\""),
    );
    Ok(response)
}

/// Changes with the file: what is prepared anew has another id.
fn etag_of(file: &StoredFile, size: u64) -> String {
    format!("\"{}-{size:x}\"", file.id.simple())
}

/// RFC 9530, section 4.
fn wants_digest(asked: &HeaderMap) -> bool {
    let wanted = asked.get("want-repr-digest").and_then(|v| v.to_str().ok());
    wanted.is_some_and(|wanted| wanted.contains("sha-256"))
}

async fn digest(file: &mut tokio::fs::File) -> std::io::Result<String> {
    let mut hasher = Sha256::new();
    let mut piece = vec![0; CHUNK];
    loop {
        let count = file.read(&mut piece).await?;
        if count == 0 {
            let text = STANDARD.encode(hasher.finalize());
            return Ok(format!("sha-256=:{text}:"));
        }
        hasher.update(&piece[..count]);
    }
}

/// Which bytes of a file.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct BytesQuery {
    from: u64,
    upto: u64,
}

/// Sends some bytes of a file as a resource of their own, so that they may be compressed: a range of a compressed file
/// would be of no use to whoever has the beginning of the file itself.
pub(super) async fn fetch_bytes(
    server: Arc<Server>,
    incoming: Incoming,
    id: Uuid,
    query: BytesQuery,
) -> Response {
    answer(server, incoming, move |call| {
        let file = call.server.file(id, &call.who);
        let file = file.ok_or_else(|| Problem::missing("file"))?;
        bytes_of(&file, query, &call.headers)
    })
    .await
}

fn bytes_of(file: &StoredFile, query: BytesQuery, asked: &HeaderMap) -> Result<Response> {
    let BytesQuery { from, upto } = query;
    if from >= upto || upto - from > PACKED_BYTES {
        let message = format!("it must be above from, by {PACKED_BYTES} at most");
        return Err(Problem::bad("upto", message));
    }
    let mut bytes = Vec::with_capacity((upto - from) as usize);
    let mut read = || -> std::io::Result<u64> {
        let mut opened = std::fs::File::open(&file.path)?;
        let size = opened.metadata()?.len();
        opened.seek(SeekFrom::Start(from))?;
        opened.take(upto - from).read_to_end(&mut bytes)?;
        Ok(size)
    };
    let size = read().map_err(|error| {
        tracing::error!(%error, file = %file.id, "a file could not be read");
        Problem::missing("file")
    })?;
    let wanted = asked.get(IF_MATCH).and_then(|v| v.to_str().ok());
    let etag = etag_of(file, size);
    if wanted.is_some_and(|wanted| wanted != etag) {
        let message = "the file is another one by now";
        return Err(Problem::new(
            StatusCode::PRECONDITION_FAILED,
            "changed",
            message,
            "if-match",
        ));
    }
    if bytes.is_empty() {
        return Err(Problem::bad("from", format!("the file has {size} bytes")));
    }
    let mut response = packed_bytes(asked, bytes)?;
    let headers = response.headers_mut();
    set(headers, CONTENT_TYPE, "application/octet-stream");
    set(headers, ETAG, &etag);
    Ok(response)
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Asked {
    All,
    Part(u64, u64),
    Beyond,
}

/// The one range that was asked for. Several, and units other than bytes, get the whole file, as the standard allows
/// (RFC 9110, section 14.2); so does a range of another version of the file.
fn range_of(asked: &HeaderMap, etag: &str, size: u64) -> Asked {
    let text = |name| asked.get(name).and_then(|v: &HeaderValue| v.to_str().ok());
    if text(IF_RANGE).is_some_and(|wanted| wanted != etag) {
        return Asked::All;
    }
    let Some((first, last)) = text(RANGE)
        .and_then(|range| range.strip_prefix("bytes="))
        .and_then(|range| range.split_once('-'))
    else {
        return Asked::All;
    };
    let (first, last) = (first.trim(), last.trim());
    let (first, last) = if first.is_empty() {
        match last.parse::<u64>() {
            Ok(count) if count > 0 && size > 0 => (size.saturating_sub(count), size - 1),
            Ok(_) => return Asked::Beyond,
            Err(_) => return Asked::All,
        }
    } else {
        let Ok(first) = first.parse::<u64>() else {
            return Asked::All;
        };
        let last = if last.is_empty() {
            u64::MAX
        } else {
            match last.parse() {
                Ok(last) => last,
                Err(_) => return Asked::All,
            }
        };
        if first >= size {
            return Asked::Beyond;
        }
        (first, last.min(size - 1))
    };
    if first > last {
        return Asked::All;
    }
    Asked::Part(first, last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(range: &str) -> Asked {
        let mut headers = HeaderMap::new();
        headers.insert(RANGE, range.parse().unwrap());
        range_of(&headers, "\"e\"", 10)
    }

    #[test]
    fn ranges_are_cut_to_the_file_and_odd_ones_get_it_all() {
        assert_eq!(asked("bytes=0-3"), Asked::Part(0, 3));
        assert_eq!(asked("bytes=4-"), Asked::Part(4, 9));
        assert_eq!(asked("bytes=-3"), Asked::Part(7, 9));
        assert_eq!(asked("bytes=-30"), Asked::Part(0, 9));
        assert_eq!(asked("bytes=9-99"), Asked::Part(9, 9));
        assert_eq!(asked("bytes=10-"), Asked::Beyond);
        assert_eq!(asked("bytes=-0"), Asked::Beyond);
        for odd in ["bytes=0-1,4-5", "lines=0-1", "bytes=x-y", "bytes=5-2"] {
            assert_eq!(asked(odd), Asked::All, "{odd}");
        }
    }

    #[test]
    fn a_range_of_another_version_gets_the_whole_file() {
        let mut headers = HeaderMap::new();
        headers.insert(RANGE, "bytes=4-".parse().unwrap());
        headers.insert(IF_RANGE, "\"old\"".parse().unwrap());
        assert_eq!(range_of(&headers, "\"e\"", 10), Asked::All);
    }
}
