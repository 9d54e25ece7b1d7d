//! What became of each object of an upload, in one shape: read from import summaries of the old importer and from job reports of
//! the new one, and written as either.
//!
//! An object that a report does not name has no outcome in it: the sender treats it as not done. Old answers come with HTTP 200 and
//! 409 alike. Source: `spec/dhis2.md` 6 and 7.

mod job;
mod summaries;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::tracker::Kind;

pub use job::{Progress, job_id, progress};
pub use summaries::Told;

/// How it ended for an object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Verdict {
    /// It is stored, or gone where it was to go.
    #[default]
    Success,
    /// It is stored, and something about it should be looked at.
    Warning,
    /// It was refused.
    Error,
}

/// Something that an importer says about an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// The importer's code, `E1064`; empty if it gave none and the text was not recognised.
    pub code: String,
    /// What it says, as it was sent.
    pub message: String,
    /// The attribute that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attribute: Option<String>,
    /// The data element that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_element: Option<String>,
    /// The value that was refused, where the text tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Whether the object is stored all the same.
    #[serde(default)]
    pub is_warning: bool,
}

/// What became of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// How it ended.
    pub verdict: Verdict,
    /// What was said about it.
    pub problems: Vec<Problem>,
}

/// Numbers of objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Stats {
    pub created: u64,
    pub updated: u64,
    pub deleted: u64,
    pub ignored: u64,
    pub total: u64,
}

impl std::ops::AddAssign for Stats {
    fn add_assign(&mut self, more: Self) {
        self.created += more.created;
        self.updated += more.updated;
        self.deleted += more.deleted;
        self.ignored += more.ignored;
        self.total += more.total;
    }
}

/// What became of an upload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// What became of the objects that it names.
    pub outcomes: BTreeMap<(Kind, String), Outcome>,
    /// Its numbers.
    pub stats: Stats,
    /// What it says without naming an object.
    pub unnamed: Vec<Outcome>,
    /// Warnings, until all outcomes are read.
    pending: BTreeMap<(Kind, String), Vec<Problem>>,
}

/// A body that is no report: cut, or of something else.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the answer is no {what}: {told}")]
pub struct NotAReport {
    /// What was expected.
    pub what: &'static str,
    /// What the server says, shortened.
    pub told: String,
}

impl NotAReport {
    fn of(what: &'static str, body: &Value) -> Self {
        let said = body.get("message").and_then(Value::as_str);
        let told = said.map_or_else(|| body.to_string(), str::to_owned);
        Self {
            what,
            told: told.chars().take(200).collect(),
        }
    }
}

impl Report {
    /// Reads the answer of the old importer to objects of a kind: wrapped or bare, of many or of one.
    ///
    /// # Errors
    /// [`NotAReport`] if there are no summaries in it.
    pub fn of_summaries(kind: Kind, body: &Value) -> Result<Self, NotAReport> {
        summaries::read(kind, body)
    }
    /// Reads the report of a job of the new importer.
    ///
    /// # Errors
    /// [`NotAReport`] if it is none.
    pub fn of_job(body: &Value) -> Result<Self, NotAReport> {
        job::read(body)
    }
    /// What became of an object; `None` if the report does not name it.
    pub fn outcome(&self, kind: Kind, uid: &str) -> Option<&Outcome> {
        self.outcomes.get(&(kind, uid.to_owned()))
    }
    /// Notes what became of an object; the worse of two verdicts counts, and nothing that was said is lost.
    pub fn note(&mut self, kind: Kind, uid: &str, outcome: Outcome) {
        if uid.is_empty() {
            self.unnamed.push(outcome);
            return;
        }
        let known = self.outcomes.entry((kind, uid.to_owned())).or_default();
        known.verdict = known.verdict.max(outcome.verdict);
        known.problems.extend(outcome.problems);
    }
    /// Whether an object was refused.
    pub fn has_errors(&self) -> bool {
        let all = self.outcomes.values().chain(&self.unnamed);
        all.into_iter()
            .any(|outcome| outcome.verdict == Verdict::Error)
    }
    /// Whether something should be looked at.
    pub fn has_warnings(&self) -> bool {
        let mut all = self.outcomes.values().chain(&self.unnamed);
        all.any(|outcome| outcome.problems.iter().any(|problem| problem.is_warning))
    }
}

/// A member as text; empty if it is not there.
fn text(of: &Value, name: &str) -> String {
    let found = of.get(name).and_then(Value::as_str);
    found.unwrap_or_default().to_owned()
}

/// A list that may be absent or null.
fn list<'a>(of: &'a Value, name: &str) -> &'a [Value] {
    of.get(name)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests;
