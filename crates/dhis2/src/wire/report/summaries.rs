//! Import summaries of the old importer, nested as the objects are.

use serde_json::{Value, json};

use super::{NotAReport, Outcome, Problem, Report, Stats, Verdict, list, text};
use crate::wire::conflict_text;
use crate::wire::tracker::Kind;

pub(super) fn read(kind: Kind, body: &Value) -> Result<Report, NotAReport> {
    let inner = match body.get("response") {
        Some(inner) if inner.is_object() => inner,
        _ => body,
    };
    let mut report = Report::default();
    if inner.get("importSummaries").is_some() {
        report.stats = stats(inner);
        for summary in list(inner, "importSummaries") {
            one(kind, summary, &mut report);
        }
        return Ok(report);
    }
    if inner.get("importCount").is_some() || text(inner, "responseType") == "ImportSummary" {
        report.stats = inner.get("importCount").map_or(Stats::default(), stats);
        one(kind, inner, &mut report);
        return Ok(report);
    }
    Err(NotAReport::of("import summary", body))
}

fn one(kind: Kind, summary: &Value, report: &mut Report) {
    let verdict = match text(summary, "status").as_str() {
        "ERROR" => Verdict::Error,
        "WARNING" => Verdict::Warning,
        _ => Verdict::Success,
    };
    let mut problems: Vec<Problem> = list(summary, "conflicts")
        .iter()
        .map(|conflict| {
            let mut problem =
                conflict_text::in_summary(&text(conflict, "object"), &text(conflict, "value"));
            // Some servers tell it beside a sentence that is not known here.
            if problem.code.is_empty() {
                problem.code = text(conflict, "errorCode");
            }
            problem.is_warning = verdict != Verdict::Error;
            problem
        })
        .collect();
    let description = text(summary, "description");
    // A success says that it was one; only together with a worse status it is about a problem.
    if problems.is_empty() && verdict != Verdict::Success && !description.is_empty() {
        problems.push(Problem {
            is_warning: verdict != Verdict::Error,
            ..conflict_text::in_summary("", &description)
        });
    }
    report.note(
        kind,
        &text(summary, "reference"),
        Outcome { verdict, problems },
    );
    for (name, kind) in [
        ("enrollments", Kind::Enrollment),
        ("events", Kind::Event),
        ("relationships", Kind::Relationship),
    ] {
        let nested = summary.get(name).unwrap_or(&Value::Null);
        for child in list(nested, "importSummaries") {
            one(kind, child, report);
        }
    }
}

fn stats(of: &Value) -> Stats {
    let number = |name: &str| of.get(name).and_then(Value::as_u64).unwrap_or(0);
    let counted = Stats {
        created: number("imported"),
        updated: number("updated"),
        deleted: number("deleted"),
        ignored: number("ignored"),
        total: 0,
    };
    Stats {
        total: counted.created + counted.updated + counted.deleted + counted.ignored,
        ..counted
    }
}

/// An object of an upload, with what is nested in it, as it is told in summaries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// What it is, and its uid.
    pub object: Option<(Kind, String)>,
    /// What was done with it.
    pub count: Stats,
    /// What is nested in it.
    pub children: Vec<Self>,
}

impl Report {
    /// As the old importer's answer: HTTP status and body.
    pub fn to_summaries(&self, told: &[Told]) -> (u16, Value) {
        let body = self.summaries(told);
        let is_error = self.has_errors();
        let status = if is_error { 409 } else { 200 };
        let message = if is_error {
            "An error occurred, please check import summary."
        } else {
            "Import was successful."
        };
        let answer = json!({
            "httpStatus": if is_error { "Conflict" } else { "OK" }, "httpStatusCode": status,
            "status": if is_error { "ERROR" } else { "OK" }, "message": message, "response": body,
        });
        (status, answer)
    }

    fn summaries(&self, told: &[Told]) -> Value {
        let mut sum = Stats::default();
        let mut worst = Verdict::Success;
        let all: Vec<Value> = told
            .iter()
            .map(|one| {
                sum += one.count;
                worst = worst.max(self.verdict(one));
                self.summary(one)
            })
            .collect();
        json!({
            "responseType": "ImportSummaries", "status": status(worst), "imported": sum.created, "updated": sum.updated,
            "deleted": sum.deleted, "ignored": sum.ignored, "total": told.len(), "importSummaries": all,
        })
    }

    fn verdict(&self, told: &Told) -> Verdict {
        let outcome = told
            .object
            .as_ref()
            .and_then(|object| self.outcomes.get(object));
        outcome.map_or(Verdict::Success, |outcome| outcome.verdict)
    }

    fn summary(&self, told: &Told) -> Value {
        let outcome = told
            .object
            .as_ref()
            .and_then(|object| self.outcomes.get(object));
        let problems = outcome.map_or(&[][..], |outcome| outcome.problems.as_slice());
        let conflicts: Vec<Value> = problems
            .iter()
            .map(|problem| {
                let field = problem.data_element.as_ref().or(problem.attribute.as_ref());
                json!({"object": field.map_or("", String::as_str), "value": problem.message, "errorCode": problem.code})
            })
            .collect();
        let mut summary = json!({
            "responseType": "ImportSummary", "status": status(self.verdict(told)),
            "importCount": {"imported": told.count.created, "updated": told.count.updated, "ignored": told.count.ignored,
                "deleted": told.count.deleted},
            "conflicts": conflicts,
        });
        if let Some(first) = problems
            .first()
            .filter(|_| self.verdict(told) == Verdict::Error)
        {
            summary["description"] = json!(first.message);
        }
        if let Some((kind, uid)) = &told.object {
            summary["reference"] = json!(uid);
            let below = match kind {
                Kind::TrackedEntity => Some("enrollments"),
                Kind::Enrollment => Some("events"),
                Kind::Event | Kind::Relationship => None,
            };
            if let Some(below) = below {
                summary[below] = self.summaries(&told.children);
            }
        }
        summary
    }
}

fn status(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Success => "SUCCESS",
        Verdict::Warning => "WARNING",
        Verdict::Error => "ERROR",
    }
}
