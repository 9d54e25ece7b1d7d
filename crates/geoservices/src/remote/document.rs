//! Documents of a server: asked for, fetched into a file, read as a stream.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom, Write};

use haversack_model::Service;
use reqwest::StatusCode;

use super::http::{Http, unwrapped};
use super::job;
use crate::wire::json::member;
use crate::wire::sync::{DocumentHead, DocumentVisitor, read_document};
use crate::{Error, Result};

/// How often a download that makes no progress is tried again.
const MAX_TRIES: u32 = 5;

/// Sends a request whose answer is a document, or leads to one: as a job, or with its address.
pub(super) fn ask(
    http: &mut Http,
    operation: &str,
    params: &[(&str, &str)],
    progress: &mut dyn FnMut(&str),
) -> Result<Document> {
    http.ensure_token()?;
    let mut answer = Document::of_answer(http, operation, params);
    if http.is_stale(&answer) {
        http.log_in()?;
        answer = Document::of_answer(http, operation, params);
    }
    let mut document = answer?;
    let status_url = document
        .short
        .as_ref()
        .and_then(|head| head.text("statusUrl"));
    if let Some(status_url) = status_url.map(str::to_owned) {
        let status = job::wait(http, &status_url, progress)?;
        document.short = Some(DocumentHead {
            members: status,
            ..DocumentHead::default()
        });
    }
    let url = document
        .short
        .as_ref()
        .and_then(|head| head.url())
        .map(str::to_owned);
    if let Some(url) = url {
        document.file = download(http, &url, progress)?;
    }
    Ok(document)
}

/// A document in a temporary file.
#[derive(Debug)]
pub(super) struct Document {
    file: File,
    /// The answer itself, if it was a short one.
    pub(super) short: Option<DocumentHead>,
}

impl Document {
    fn of_answer(http: &Http, operation: &str, params: &[(&str, &str)]) -> Result<Self> {
        let response = http.send_form(&http.below(operation), params)?;
        let body = Http::limited(
            response,
            http.options.max_document_bytes,
            http.options.patience,
        );
        let mut file = tempfile::tempfile()?;
        copy(body, &mut file)?;
        let mut document = Self { file, short: None };
        // An answer without data is read whole: it is an error, or leads to a job or a file.
        if let Some(head) = document.peek()? {
            if let Some((code, message)) = head.error() {
                return Err(Error::Refused { code, message });
            }
            document.short = Some(head);
        }
        Ok(document)
    }

    /// The members of a document without data; `None` if it is too large to be a short answer or has data.
    fn peek(&mut self) -> Result<Option<DocumentHead>> {
        const SHORT: u64 = 64 << 10;
        if self.file.metadata()?.len() > SHORT {
            return Ok(None);
        }
        self.file.seek(SeekFrom::Start(0))?;
        let mut text = Vec::new();
        Read::by_ref(&mut self.file)
            .take(SHORT)
            .read_to_end(&mut text)?;
        let value = crate::wire::json::parse(&text, "the server's answer")?;
        let members = value
            .as_object()
            .ok_or_else(|| Error::document("the server's answer", "is no JSON object"))?;
        let has_data = ["layers", "edits"]
            .iter()
            .any(|list| member(members, list).is_some());
        Ok((!has_data).then(|| DocumentHead {
            members: members.clone(),
            ..DocumentHead::default()
        }))
    }

    /// Reads the document. An answer that led to it fills in what the document itself does not say.
    pub(super) fn read(
        &mut self,
        service: &Service,
        visitor: &mut dyn DocumentVisitor,
    ) -> Result<DocumentHead> {
        self.file.seek(SeekFrom::Start(0))?;
        let mut head = read_document(BufReader::new(&mut self.file), service, None, visitor)?;
        if let Some((code, message)) = head.error() {
            return Err(Error::Refused { code, message });
        }
        if let Some(short) = &self.short {
            for (name, value) in &short.members {
                if !head.members.contains_key(name) {
                    head.members.insert(name.clone(), value.clone());
                }
            }
        }
        Ok(head)
    }
}

fn copy(mut from: impl Read, to: &mut File) -> Result<u64> {
    let mut chunk = vec![0; 64 << 10];
    let mut copied = 0;
    loop {
        let count = from.read(&mut chunk).map_err(unwrapped)?;
        if count == 0 {
            return Ok(copied);
        }
        to.write_all(&chunk[..count])?;
        copied += count as u64;
    }
}

/// Fetches a file; a connection that is cut continues where it was, if the server knows ranges.
pub(super) fn download(http: &mut Http, url: &str, progress: &mut dyn FnMut(&str)) -> Result<File> {
    let url = http.named(url)?;
    let mut file = tempfile::tempfile()?;
    let mut done: u64 = 0;
    let mut tries = 0;
    loop {
        let before = done;
        match part(http, &url, &mut file, &mut done) {
            Ok(()) => return Ok(file),
            Err(error @ (Error::Network { .. } | Error::Io(_))) => {
                tries = if done > before { 0 } else { tries + 1 };
                if tries == MAX_TRIES {
                    return Err(error);
                }
                progress("the connection broke off; continuing");
                std::thread::sleep(std::time::Duration::from_millis(50 << tries));
            }
            Err(error) => return Err(error),
        }
    }
}

fn part(http: &mut Http, url: &reqwest::Url, file: &mut File, done: &mut u64) -> Result<()> {
    let response = http.fetch(url, *done)?;
    if response.status() == StatusCode::RANGE_NOT_SATISFIABLE {
        // All of it is here already, or it is another file now: its length tells.
        let range = response
            .headers()
            .get("content-range")
            .and_then(|v| v.to_str().ok());
        let total = range
            .and_then(|r| r.rsplit_once('/'))
            .and_then(|(_, total)| total.parse().ok());
        if total == Some(*done) {
            return Ok(());
        }
        *done = 0;
        file.set_len(0)?;
        return Err(Error::Io(std::io::Error::other(
            "the file changed meanwhile",
        )));
    }
    if response.status() != StatusCode::PARTIAL_CONTENT {
        *done = 0;
    }
    let continues = response
        .headers()
        .get("content-range")
        .and_then(|v| v.to_str().ok());
    let starts_there = continues.is_none_or(|range| {
        range
            .trim()
            .starts_with(&format!("bytes {done}-", done = *done))
    });
    if !starts_there {
        return Err(Error::document(
            "a file of the server",
            "continues at another place than asked for",
        ));
    }
    file.set_len(*done)?;
    file.seek(SeekFrom::Start(*done))?;
    let left = http.options.max_document_bytes.saturating_sub(*done);
    let mut body = Http::limited(response, left, http.options.patience);
    let mut chunk = vec![0; 64 << 10];
    loop {
        let count = body.read(&mut chunk).map_err(unwrapped)?;
        if count == 0 {
            return Ok(());
        }
        file.write_all(&chunk[..count])?;
        *done += count as u64;
    }
}
