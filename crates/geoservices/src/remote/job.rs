//! Work that the server does as a job: its status is asked for until it ends.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Map, Value as Json};

use super::http::Http;
use crate::wire::json::member;
use crate::{Error, Result};

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Waits for the end of a job and gives its last status, which names the result.
///
/// # Errors
/// [`Error::Refused`] if it failed; [`Error::TooSlow`] if it does not end.
pub(super) fn wait(
    http: &mut Http,
    status_url: &str,
    progress: &mut dyn FnMut(&str),
) -> Result<Map<String, Json>> {
    let url = http.named(status_url)?;
    let until = Instant::now() + http.options.patience;
    let mut pause = FIRST_PAUSE;
    loop {
        let answer = http.ask_at(&url, &[]);
        let answer = if http.is_stale(&answer) {
            http.log_in()?;
            http.ask_at(&url, &[])?
        } else {
            answer?
        };
        let Json::Object(status) = answer else {
            return Err(Error::document("the status of a job", "is no JSON object"));
        };
        // Some stacks write "Completed With Errors", others "esriJobSucceeded".
        let word: String = member(&status, "status")
            .or_else(|| member(&status, "jobStatus"))
            .and_then(Json::as_str)
            .unwrap_or_default()
            .chars()
            .filter(|c| !c.is_whitespace())
            .collect();
        match word.to_ascii_lowercase().as_str() {
            "completed" | "completedwitherrors" | "esrijobsucceeded" => return Ok(status),
            "failed" | "esrijobfailed" | "esrijobcancelled" => {
                let text = |name: &str| member(&status, name).and_then(Json::as_str);
                let why = text("description")
                    .or_else(|| text("message"))
                    .unwrap_or("it does not say why");
                return Err(Error::Refused {
                    code: 500,
                    message: format!("the server's job failed: {why}"),
                });
            }
            "" => return Err(Error::document("the status of a job", "has no 'status'")),
            _ => progress(&word),
        }
        if Instant::now() > until {
            return Err(Error::TooSlow {
                doing: "the server's job",
                seconds: http.options.patience.as_secs(),
            });
        }
        thread::sleep(pause);
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
