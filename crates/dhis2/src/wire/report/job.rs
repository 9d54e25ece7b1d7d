//! Jobs of the new importer: accepted, under way, and their reports.

use serde_json::{Value, json};

use super::{NotAReport, Outcome, Problem, Report, Stats, Verdict, list, text};
use crate::wire::conflict_text;
use crate::wire::tracker::Kind;

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It is under way.
    Running,
    /// Its report can be asked for.
    Completed,
}

/// The id of the job that an import was accepted as.
///
/// # Errors
/// [`NotAReport`] if none was accepted.
pub fn job_id(body: &Value) -> Result<String, NotAReport> {
    let id = body.get("response").and_then(|response| response.get("id"));
    let id = id.and_then(Value::as_str).filter(|id| !id.is_empty());
    id.map(str::to_owned)
        .ok_or_else(|| NotAReport::of("accepted job", body))
}

/// Where a job stands, by the list of what it did: done when any entry says so.
///
/// # Errors
/// [`NotAReport`] if it is no such list.
pub fn progress(body: &Value) -> Result<Progress, NotAReport> {
    let entries = body
        .as_array()
        .ok_or_else(|| NotAReport::of("progress of a job", body))?;
    let is_done = |entry: &Value| entry.get("completed").and_then(Value::as_bool) == Some(true);
    Ok(if entries.iter().any(is_done) {
        Progress::Completed
    } else {
        Progress::Running
    })
}

pub(super) fn read(body: &Value) -> Result<Report, NotAReport> {
    // The report itself, or in the message that a refusing server wraps it in.
    let is_report = |value: &Value| {
        value.get("validationReport").is_some() || value.get("bundleReport").is_some()
    };
    let report = match body.get("response") {
        Some(inner) if is_report(inner) => inner,
        _ if is_report(body) => body,
        _ => return Err(NotAReport::of("report of a job", body)),
    };
    let mut found = Report {
        stats: report.get("stats").map(stats).unwrap_or_default(),
        ..Report::default()
    };
    let validation = report.get("validationReport").unwrap_or(&Value::Null);
    for (name, is_warning) in [("errorReports", false), ("warningReports", true)] {
        for said in list(validation, name) {
            let kind = Kind::of_name(&text(said, "trackerType"));
            let problem = problem(said, is_warning);
            let outcome = Outcome {
                verdict: if is_warning {
                    Verdict::Success
                } else {
                    Verdict::Error
                },
                problems: vec![problem],
            };
            match kind {
                Some(kind) if is_warning => {
                    // Not an outcome by itself: whether the object is stored is told elsewhere in the report.
                    found.note_warning(kind, &text(said, "uid"), outcome);
                }
                Some(kind) => found.note(kind, &text(said, "uid"), outcome),
                None => found.unnamed.push(outcome),
            }
        }
    }
    let types = report
        .get("bundleReport")
        .and_then(|bundle| bundle.get("typeReportMap"));
    for (name, of_type) in types.and_then(Value::as_object).into_iter().flatten() {
        let Some(kind) = Kind::of_name(name) else {
            continue;
        };
        for object in list(of_type, "objectReports") {
            let errors = list(object, "errorReports");
            let verdict = if errors.is_empty() {
                Verdict::Success
            } else {
                Verdict::Error
            };
            let problems = errors.iter().map(|said| problem(said, false)).collect();
            found.note(kind, &text(object, "uid"), Outcome { verdict, problems });
        }
    }
    found.settle_warnings();
    Ok(found)
}

impl Report {
    fn note_warning(&mut self, kind: Kind, uid: &str, outcome: Outcome) {
        self.pending
            .entry((kind, uid.to_owned()))
            .or_default()
            .extend(outcome.problems);
    }
    /// Warnings join the outcomes that are told; of objects without one they are kept as said without an object.
    fn settle_warnings(&mut self) {
        for (object, problems) in std::mem::take(&mut self.pending) {
            match self.outcomes.get_mut(&object) {
                Some(known) => known.problems.extend(problems),
                None => self.unnamed.push(Outcome {
                    verdict: Verdict::Warning,
                    problems,
                }),
            }
        }
    }

    /// As the new importer's report. Without `has_bundle` nothing was committed and the part that tells of it is left out;
    /// `with_warnings` as the sender's `reportMode` asks for them.
    pub fn to_job(
        &self,
        of_kinds: &[(Kind, Stats)],
        has_bundle: bool,
        with_warnings: bool,
    ) -> Value {
        let said = |is_warning: bool| -> Vec<Value> {
            let of = |(key, outcome): (&(Kind, String), &Outcome)| -> Vec<Value> {
                let matching = outcome
                    .problems
                    .iter()
                    .filter(|problem| problem.is_warning == is_warning);
                matching
                    .map(|problem| {
                        json!({"message": problem.message, "errorCode": problem.code, "trackerType": key.0.name(),
                            "uid": key.1, "args": []})
                    })
                    .collect()
            };
            self.outcomes.iter().flat_map(of).collect()
        };
        let mut validation = json!({"errorReports": said(false)});
        if with_warnings {
            validation["warningReports"] = Value::Array(said(true));
        }
        let status = if self.has_errors() {
            "ERROR"
        } else if self.has_warnings() {
            "WARNING"
        } else {
            "OK"
        };
        let mut report =
            json!({"status": status, "validationReport": validation, "stats": self.stats});
        if has_bundle {
            // Clients need all four, whatever was sent.
            let types = Kind::ALL.map(|kind| {
                let stored = self.outcomes.iter().filter(|(key, outcome)| key.0 == kind && outcome.verdict != Verdict::Error);
                let objects: Vec<Value> = stored
                    .enumerate()
                    .map(|(index, (key, _))| json!({"trackerType": kind.name(), "uid": key.1, "index": index, "errorReports": []}))
                    .collect();
                let numbers = of_kinds.iter().find(|(of, _)| *of == kind).map_or(Stats::default(), |(_, stats)| *stats);
                (kind.name().to_owned(), json!({"trackerType": kind.name(), "stats": numbers, "objectReports": objects}))
            });
            let types: serde_json::Map<String, Value> = types.into_iter().collect();
            report["bundleReport"] =
                json!({"status": "OK", "typeReportMap": types, "stats": self.stats});
        }
        report
    }
}

fn problem(said: &Value, is_warning: bool) -> Problem {
    if let Some(message) = said.as_str() {
        return Problem {
            message: message.to_owned(),
            is_warning,
            ..Problem::default()
        };
    }
    let mut problem = conflict_text::in_report(&text(said, "message"));
    let code = text(said, "errorCode");
    if !code.is_empty() {
        problem.code = code;
    }
    problem.is_warning = is_warning;
    problem
}

fn stats(value: &Value) -> Stats {
    let number = |name: &str| value.get(name).and_then(Value::as_u64).unwrap_or(0);
    Stats {
        created: number("created"),
        updated: number("updated"),
        deleted: number("deleted"),
        ignored: number("ignored"),
        total: number("total"),
    }
}
