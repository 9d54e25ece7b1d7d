//! What an operation answers, and how it becomes an HTTP response.
//!
//! Large answers are written to a spool: in memory up to a limit, then in a temporary file. So memory is bounded, a slow
//! client holds no snapshot, a failure half way is still the dialect's error, and every answer has a `Content-Length`,
//! which the Python client reads best. Called by `face::handle`.

use std::fmt::Write as _;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

use axum::body::Body;
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};
use serde_json::Value;

use super::problem::{Problem, Result};

/// Bytes that a spool keeps in memory.
const SPOOL_IN_MEMORY: usize = 1 << 20;
/// Bytes sent at a time.
const CHUNK: usize = 64 << 10;

/// The answer of an operation.
#[derive(Debug)]
pub(crate) enum Answer {
    /// A JSON document.
    Json(Value),
    /// A page, complete.
    Page(String),
    /// A large document that was written as it arose.
    Spooled {
        /// Its content.
        content: Spool,
        /// Its media type.
        content_type: &'static str,
    },
    /// Bytes of a client, such as an attachment: never shown as a page of this server.
    Bytes {
        /// The content.
        content: Vec<u8>,
        /// The media type that was stored with it.
        content_type: String,
        /// Its name for people.
        name: String,
    },
    /// A file of the server.
    File {
        /// Where it is.
        path: PathBuf,
        /// Its media type.
        content_type: String,
        /// Its name for people.
        name: String,
    },
    /// Another address.
    Redirect(String),
}

/// Which JSON the client wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Compact.
    Json,
    /// Indented.
    Pretty,
    /// A page for people.
    Html,
}

/// A place to write an answer of any size.
#[derive(Debug)]
pub(crate) struct Spool(tempfile::SpooledTempFile);

impl Spool {
    /// An empty spool.
    pub(crate) fn new() -> Self {
        Self(tempfile::spooled_tempfile(SPOOL_IN_MEMORY))
    }
    /// Copies the content into `out`.
    pub(crate) fn copy_to(&mut self, out: &mut dyn Write) -> io::Result<u64> {
        self.0.seek(SeekFrom::Start(0))?;
        io::copy(&mut self.0, &mut Dyn(out))
    }
}

struct Dyn<'a>(&'a mut dyn Write);
impl Write for Dyn<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Write for Spool {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Answer {
    /// The HTTP response.
    pub(crate) fn into_response(self, format: Format, range: Option<&str>) -> Result<Response> {
        match self {
            Self::Json(value) => Ok(json(&value, format)),
            Self::Page(html) => Ok(page(html)),
            Self::Redirect(to) => {
                let to = HeaderValue::try_from(to).map_err(|_not_a_header| {
                    Problem::parameter("redirect_uri", "not an address")
                })?;
                let mut response = Response::new(Body::empty());
                *response.status_mut() = StatusCode::FOUND;
                response.headers_mut().insert(header::LOCATION, to);
                Ok(response)
            }
            Self::Spooled {
                content,
                content_type,
            } => {
                let mut file = content.0;
                let failed = |error: io::Error| Problem::io("reading a spooled answer", &error);
                let length = file.seek(SeekFrom::End(0)).map_err(failed)?;
                file.seek(SeekFrom::Start(0)).map_err(failed)?;
                Ok(stream(file, length, content_type))
            }
            Self::Bytes {
                content,
                content_type,
                name,
            } => {
                let length = content.len() as u64;
                let source = io::Cursor::new(content);
                ranged(source, length, safe_type(&content_type), &name, range)
            }
            Self::File {
                path,
                content_type,
                name,
            } => {
                let failed = |error: io::Error| Problem::io("opening a stored file", &error);
                let file = std::fs::File::open(&path).map_err(failed)?;
                let length = file.metadata().map_err(failed)?.len();
                ranged(file, length, safe_type(&content_type), &name, range)
            }
        }
    }
}

/// A JSON response, or a page that shows it.
pub(crate) fn json(value: &Value, format: Format) -> Response {
    let text = match format {
        Format::Json => value.to_string(),
        Format::Pretty | Format::Html => format!("{value:#}"),
    };
    if format == Format::Html {
        return page(html_of(
            "Haversack",
            &format!("<pre>{}</pre>", escape(&text)),
        ));
    }
    let mut response = Response::new(Body::from(text));
    set(
        &mut response,
        header::CONTENT_TYPE,
        "application/json; charset=utf-8",
    );
    response
}

/// A whole page around a body that is already HTML.
pub(crate) fn html_of(title: &str, body: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>{}</title>\n</head>\n<body>\n{body}\n</body>\n</html>\n",
        escape(title)
    )
}

/// Text made safe within HTML.
pub(crate) fn escape(text: &str) -> String {
    text.chars().fold(String::new(), |mut out, c| {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(c),
        }
        out
    })
}

fn page(html: String) -> Response {
    let mut response = Response::new(Body::from(html));
    set(
        &mut response,
        header::CONTENT_TYPE,
        "text/html; charset=utf-8",
    );
    set(
        &mut response,
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'",
    );
    response
}

fn set(response: &mut Response, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::try_from(value) {
        response.headers_mut().insert(name, value);
    }
}

fn stream(source: impl Read + Send + 'static, length: u64, content_type: &str) -> Response {
    let chunks = Chunks {
        source: Some(source.take(length)),
    };
    let mut response = Response::new(Body::from_stream(chunks.into_stream()));
    set(&mut response, header::CONTENT_TYPE, content_type);
    set(&mut response, header::CONTENT_LENGTH, &length.to_string());
    response
}

struct Chunks<R> {
    source: Option<io::Take<R>>,
}

impl<R: Read + Send + 'static> Chunks<R> {
    /// Reads on a thread for blocking work, one chunk at a time as the client takes them.
    fn into_stream(self) -> impl futures_util::Stream<Item = io::Result<bytes::Bytes>> + Send {
        futures_util::stream::try_unfold(self, |mut this| async move {
            let Some(mut source) = this.source.take() else {
                return Ok(None);
            };
            let read = tokio::task::spawn_blocking(move || {
                let mut chunk = vec![0; CHUNK];
                let count = source.read(&mut chunk)?;
                chunk.truncate(count);
                Ok::<_, io::Error>((source, chunk))
            });
            let (source, chunk) = read.await.map_err(io::Error::other)??;
            this.source = Some(source);
            Ok((!chunk.is_empty()).then(|| (bytes::Bytes::from(chunk), this)))
        })
    }
}

/// A download: whole, or one range of it. It is never interpreted as a page, whatever its content.
fn ranged(
    mut source: impl Read + Seek + Send + 'static,
    length: u64,
    content_type: &str,
    name: &str,
    range: Option<&str>,
) -> Result<Response> {
    let asked = range.map_or(Asked::Whole, |text| parse_range(text, length));
    let mut response = match asked {
        Asked::Whole => stream(source, length, content_type),
        Asked::Outside => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
            set(
                &mut response,
                header::CONTENT_RANGE,
                &format!("bytes */{length}"),
            );
            response
        }
        Asked::Part(first, last) => {
            source
                .seek(SeekFrom::Start(first))
                .map_err(|error| Problem::io("reading a stored file", &error))?;
            let mut response = stream(source, last - first + 1, content_type);
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            set(
                &mut response,
                header::CONTENT_RANGE,
                &format!("bytes {first}-{last}/{length}"),
            );
            response
        }
    };
    set(&mut response, header::ACCEPT_RANGES, "bytes");
    set(
        &mut response,
        header::CONTENT_SECURITY_POLICY,
        "sandbox; default-src 'none'",
    );
    set(
        &mut response,
        header::CONTENT_DISPOSITION,
        &disposition(name),
    );
    Ok(response)
}

/// What a `Range` header asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// Everything; also for what is not a single range of bytes.
    Whole,
    /// From the first to the last byte, both included.
    Part(u64, u64),
    /// Nothing that exists.
    Outside,
}

fn parse_range(text: &str, length: u64) -> Asked {
    read_range(text, length).unwrap_or(Asked::Whole)
}

fn read_range(text: &str, length: u64) -> Option<Asked> {
    let (first, last) = text.trim().strip_prefix("bytes=")?.split_once('-')?;
    let (first, last) = (first.trim(), last.trim());
    let end = length.saturating_sub(1);
    if first.is_empty() {
        let count: u64 = last.parse().ok()?;
        return Some(if count > 0 && length > 0 {
            Asked::Part(length.saturating_sub(count), end)
        } else {
            Asked::Outside
        });
    }
    let first: u64 = first.parse().ok()?;
    let last = if last.is_empty() {
        end
    } else {
        last.parse::<u64>().ok()?.min(end)
    };
    Some(if first < length && first <= last {
        Asked::Part(first, last)
    } else {
        Asked::Outside
    })
}

/// Media types that a browser shows without running anything; all others are bytes.
fn safe_type(stored: &str) -> &str {
    const SAFE: [&str; 18] = [
        "image/jpeg",
        "image/jpg",
        "image/png",
        "image/gif",
        "image/webp",
        "image/tiff",
        "image/bmp",
        "image/heic",
        "text/plain",
        "text/csv",
        "application/json",
        "application/pdf",
        "application/zip",
        "application/geo+json",
        "application/geopackage+sqlite3",
        "audio/mpeg",
        "video/mp4",
        "video/quicktime",
    ];
    SAFE.iter()
        .find(|safe| safe.eq_ignore_ascii_case(stored.trim()))
        .copied()
        .unwrap_or("application/octet-stream")
}

/// `Content-Disposition` with a harmless name, and the true one in the extended form.
fn disposition(name: &str) -> String {
    let plain: String = name
        .chars()
        .map(|c| match c {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '-' | '_' | ' ' => c,
            _ => '_',
        })
        .take(120)
        .collect();
    let mut extended = String::new();
    for byte in name
        .chars()
        .filter(|c| !c.is_control())
        .take(120)
        .collect::<String>()
        .bytes()
    {
        if byte.is_ascii_alphanumeric() || b".-_".contains(&byte) {
            extended.push(char::from(byte));
        } else {
            let _ = write!(extended, "%{byte:02X}");
        }
    }
    format!("attachment; filename=\"{plain}\"; filename*=UTF-8''{extended}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_http_defines_them() {
        assert_eq!(parse_range("bytes=0-9", 100), Asked::Part(0, 9));
        assert_eq!(parse_range("bytes=90-", 100), Asked::Part(90, 99));
        assert_eq!(parse_range("bytes=-10", 100), Asked::Part(90, 99));
        assert_eq!(parse_range("bytes=0-999", 100), Asked::Part(0, 99));
        assert_eq!(parse_range("bytes=100-", 100), Asked::Outside);
        assert_eq!(parse_range("bytes=5-4", 100), Asked::Outside);
        assert_eq!(parse_range("bytes=0-1,4-5", 100), Asked::Whole);
        assert_eq!(parse_range("bytes=-1", 0), Asked::Outside);
    }

    #[test]
    fn a_name_cannot_break_out_of_its_header() {
        let header = disposition("a\"; x=\r\n<b>ä.png");
        assert!(!header.contains('\r') && !header.contains('<'), "{header}");
        assert!(
            header.starts_with("attachment; filename=\"a__ x____b__.png\""),
            "{header}"
        );
    }

    #[test]
    fn a_type_that_a_browser_would_run_is_sent_as_bytes() {
        assert_eq!(safe_type("text/html"), "application/octet-stream");
        assert_eq!(safe_type("image/svg+xml"), "application/octet-stream");
        assert_eq!(safe_type("image/PNG"), "image/png");
    }
}
