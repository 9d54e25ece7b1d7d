//! The secondary's side of a collection sync over HTTP: carries the questions of a walk until the copy is proven equal.
//!
//! What arrived is kept in the copy's file every so often with the state of the walk: a connection that is cut, or a process
//! that is killed, goes on from there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use http::HeaderValue;
use reqwest::Method as Verb;

use haversack_model::{Error, Result};
use haversack_sqlite::service::SqliteSecondary;
use haversack_sync::reconcile::{self, Options, Report, Step, Walk};

use super::reconcile::{COPY, FRAMES};
use super::remote::{Client, LONG, answered};
use super::waiting::{GLANCE, pieces};

/// Staged records after which the stage and the walk are written.
const KEPT_EVERY: usize = 20_000;
const TRIES_WITHOUT_PROGRESS: u32 = 5;

/// How a collection is fetched.
#[derive(Clone, Debug, Default)]
pub struct Fetching {
    /// What the walk is to do.
    pub options: Options,
    /// Longest silence of the other server, all that is asked again included.
    pub max_wait: Option<Duration>,
    /// Set when it must stop.
    pub stop: Option<Arc<AtomicBool>>,
    /// Server, service and collection of the copy, with `/` between: the primary refuses if that is itself.
    pub copy: String,
}

impl Fetching {
    pub(super) fn is_stopped(&self) -> bool {
        let stop = self.stop.as_ref();
        stop.is_some_and(|stop| stop.load(Ordering::Relaxed))
    }
    /// What is wrong after so long a silence, if anything.
    fn interrupted(&self, heard: Instant) -> Option<Error> {
        let (kind, why) = if self.is_stopped() {
            (std::io::ErrorKind::Interrupted, "it was told to stop")
        } else if heard.elapsed() >= self.max_wait.unwrap_or(LONG) {
            (std::io::ErrorKind::TimedOut, "no answer in time")
        } else {
            return None;
        };
        Some(Error::Network(Box::new(std::io::Error::new(kind, why))))
    }
}

/// What is told while it goes on: what it did so far.
pub type Told<'a> = &'a mut dyn FnMut(&Report);

impl Client {
    /// Makes a copy equal to a collection of this server, or says what that would change.
    ///
    /// # Errors
    /// [`Error::Network`] if the server cannot be reached any more; the next call goes on from there. Anything else leaves the copy as it was.
    pub fn fetch_collection(
        &self,
        service: &str,
        collection: &str,
        copy: &mut SqliteSecondary<'_>,
        how: &Fetching,
        told: Told<'_>,
    ) -> Result<Report> {
        let path = format!("/v1/services/{service}/collections/{collection}/reconcile");
        let fetched = self.walk(&path, copy, how, told);
        if let Err(error) = &fetched
            && !matches!(error, Error::Network(_))
        {
            // What is staged led to a failure, or the sums of the copy did: the next one begins anew.
            copy.give_up()?;
        }
        fetched
    }

    fn walk(
        &self,
        path: &str,
        copy: &mut SqliteSecondary<'_>,
        how: &Fetching,
        told: Told<'_>,
    ) -> Result<Report> {
        let saved = copy.saved()?.filter(|_| !how.options.dry_run);
        let mut resumed = saved.and_then(|state| serde_json::from_str::<Walk>(&state).ok());
        let mut walk = resumed.take().map_or_else(
            || (Walk::new(how.options.clone()), false),
            |walk| (walk, true),
        );
        let mut question = if walk.1 {
            walk.0.resume(copy).map_err(failed)?
        } else {
            walk.0.start(copy).map_err(failed)?
        };
        let walk = &mut walk.0;
        let mut failures = 0;
        let mut heard = Instant::now();
        loop {
            let before = walk.report().bytes_of_records;
            match self.ask((path, &question), walk, copy, how, told, &mut heard) {
                Ok(Step::Done(report)) => {
                    told(&report);
                    return Ok(*report);
                }
                Ok(Step::Ask(next)) => {
                    failures = 0;
                    if copy.unwritten() > 0 {
                        keep(walk, copy)?;
                    }
                    question = next;
                }
                Ok(Step::More) => {
                    return Err(Error::Corrupt("the server's answer has no end".to_owned()));
                }
                Err(error @ Error::Network(_)) => {
                    // Bytes alone are no progress: they may be the same ones again, or none of ours.
                    let moved = walk.report().bytes_of_records > before;
                    failures = if moved { 0 } else { failures + 1 };
                    if failures >= TRIES_WITHOUT_PROGRESS || how.interrupted(heard).is_some() {
                        keep(walk, copy)?;
                        return Err(error);
                    }
                    std::thread::sleep(Duration::from_millis(50 << failures));
                    question = walk.resume(copy).map_err(failed)?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// One question and its answer.
    fn ask(
        &self,
        (path, question): (&str, &[u8]),
        walk: &mut Walk,
        copy: &mut SqliteSecondary<'_>,
        how: &Fetching,
        told: Told<'_>,
        heard: &mut Instant,
    ) -> Result<Step> {
        let mut request = self.request(Verb::POST, path)?;
        if let Ok(copy) = HeaderValue::from_bytes(how.copy.as_bytes()) {
            request = request.header(COPY, copy);
        }
        let request = request
            .timeout(LONG)
            .header("content-type", FRAMES)
            .body(question.to_vec());
        let receive = pieces(move || answered(request));
        let mut last = Step::More;
        loop {
            let piece = match receive.recv_timeout(GLANCE) {
                Ok(piece) => piece?,
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => match how.interrupted(*heard) {
                    Some(error) => return Err(error),
                    None => continue,
                },
            };
            last = walk.feed(copy, &piece).map_err(failed)?;
            *heard = Instant::now();
            if how.is_stopped()
                && let Some(error) = how.interrupted(*heard)
            {
                return Err(error);
            }
            if copy.unwritten() >= KEPT_EVERY {
                keep(walk, copy)?;
                told(walk.report());
            }
        }
        if last == Step::More {
            let cut = std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "the answer was cut");
            return Err(Error::Network(Box::new(cut)));
        }
        Ok(last)
    }
}

fn keep(walk: &Walk, copy: &SqliteSecondary<'_>) -> Result<()> {
    let state = serde_json::to_string(walk)
        .map_err(|error| Error::Corrupt(format!("the state of a synchronisation: {error}")))?;
    copy.save(Some(&state))
}

/// What a failed walk means to who asked for it.
fn failed(error: reconcile::Error) -> Error {
    match error {
        reconcile::Error::Store(error) => error,
        error => Error::Refused {
            code: 502,
            message: error.to_string(),
        },
    }
}
