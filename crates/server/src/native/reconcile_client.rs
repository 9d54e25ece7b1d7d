//! The secondary's side of a collection sync over HTTP: carries the questions of a walk until the copy is proven equal.
//!
//! What arrived is kept in the copy's file every so often with the state of the walk: a connection that is cut, or a process
//! that is killed, goes on from there.

use std::io::Read as _;
use std::time::Duration;

use reqwest::Method as Verb;

use haversack_model::{Error, Result};
use haversack_sqlite::service::SqliteSecondary;
use haversack_sync::reconcile::{self, Base, Options, Report, Secondary as _, Step, Walk};

use super::reconcile::FRAMES;
use super::remote::{Client, LONG, answered};

/// Staged records after which the stage and the walk are written.
const KEPT_EVERY: usize = 20_000;
/// Bytes that are read of an answer at once.
const PIECE: usize = 256 << 10;
const TRIES_WITHOUT_PROGRESS: u32 = 5;

/// How a collection is fetched.
#[derive(Clone, Debug, Default)]
pub struct Fetching {
    /// What the walk is to do.
    pub options: Options,
    /// Longest time that one request may take.
    pub max_wait: Option<Duration>,
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
            // What is staged led to a failure: the next one begins anew.
            copy.begin(Base::Kept)?;
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
        loop {
            let before = walk.report().bytes_received;
            match self.ask(path, &question, walk, copy, how, told) {
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
                    let moved = walk.report().bytes_received > before;
                    failures = if moved { 0 } else { failures + 1 };
                    if failures >= TRIES_WITHOUT_PROGRESS {
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
        path: &str,
        question: &[u8],
        walk: &mut Walk,
        copy: &mut SqliteSecondary<'_>,
        how: &Fetching,
        told: Told<'_>,
    ) -> Result<Step> {
        let request = self
            .request(Verb::POST, path)?
            .timeout(how.max_wait.unwrap_or(LONG))
            .header("content-type", FRAMES)
            .body(question.to_vec());
        let mut response = answered(request)?;
        let mut piece = vec![0; PIECE];
        let mut last = Step::More;
        loop {
            let read = response
                .read(&mut piece)
                .map_err(|error| Error::Network(Box::new(error)))?;
            if read == 0 {
                break;
            }
            last = walk.feed(copy, &piece[..read]).map_err(failed)?;
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
