//! What the server's report means for each object that was sent.
//!
//! Owns: which outcome an object has, what is kept of it for people. Does not own: reading reports
//! ([`report`](crate::wire::report)), states and the outbox (the sync core). Pure.
//!
//! Source: `spec/dhis2.md` 6, 7.2 and 7.4, with the corrections of 4 and 15: what no report names waits and is sent again;
//! warnings are kept, and the object counts as stored.

use haversack_model::RejectCode;

use crate::wire::conflict_text;
use crate::wire::report::{Outcome, Problem, Report, Verdict};
use crate::wire::tracker::Kind;
use crate::wire::version::Api;

/// An object that was sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// What it is; notes go with their parents and are none.
    pub kind: Option<Kind>,
    /// Its uid.
    pub uid: String,
    /// Whether it was to be deleted.
    pub is_delete: bool,
    /// Whether the server had not confirmed it before.
    pub is_new: bool,
    /// What it belongs to, the nearest first.
    pub parents: Vec<(Kind, String)>,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is stored, or gone where it was to go.
    Stored,
    /// It is stored, and the old importer warns of something in it, which it may have left out.
    Warned(String),
    /// It was refused.
    Refused(RejectCode, String),
    /// It is to be sent again.
    Waits(String),
}

impl Fate {
    /// Whether the server has done what it was to do.
    pub fn is_stored(&self) -> bool {
        matches!(self, Self::Stored | Self::Warned(_))
    }
}

/// Something that an importer said about an object, for whoever has to do something about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportConflict {
    /// What the object is, `event`.
    pub kind: String,
    /// Its uid.
    pub object: String,
    /// The importer's code, `E1064`; empty if it gave none.
    pub code: String,
    /// Uid of the attribute or data element; empty if it is about none.
    pub field: String,
    /// The value that it is about; empty if that is not known.
    pub value: String,
    /// Whether the object is stored all the same.
    pub is_warning: bool,
    /// What the importer said, word for word.
    pub message: String,
    /// What can be done about it; empty if the message says all.
    pub hint: String,
}

/// What became of an object, and what was said about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// What became of it.
    pub fate: Fate,
    /// What was said.
    pub conflicts: Vec<ImportConflict>,
}

/// Not there (any more): what was to be deleted is gone.
const GONE: &[&str] = &[
    "E1063", "E1032", "E1081", "E4016", "E1114", "E1082", "E1113", "E4017",
];
/// What it depends on was refused.
const DEPENDS: &str = "E5000";

/// The hint for a code that is not known here.
const UNKNOWN: &str =
    "the server's words say what is wrong: correct it, or ask an administrator, and upload again";

/// Decides about one of the objects that went in a request with the others in `all`.
pub fn decide(api: Api, sent: &Sent, all: &[Sent], report: &Report) -> Told {
    let told = sent.kind.and_then(|kind| report.outcome(kind, &sent.uid));
    let Some(told) = told else {
        return Told {
            fate: without_word(api, sent, all, report),
            conflicts: Vec::new(),
        };
    };
    let is_error = told.verdict == Verdict::Error;
    if is_error && sent.is_delete && is_gone(told) {
        return Told {
            fate: Fate::Stored,
            conflicts: Vec::new(),
        };
    }
    let conflicts: Vec<ImportConflict> = told
        .problems
        .iter()
        .map(|problem| conflict(sent, problem, !is_error))
        .collect();
    let fate = match told.verdict {
        Verdict::Error => refused(api, sent, told),
        Verdict::Warning if !sent.is_delete => warned(sent, told),
        Verdict::Warning | Verdict::Success => Fate::Stored,
    };
    Told { fate, conflicts }
}

fn is_gone(told: &Outcome) -> bool {
    let mut problems = told.problems.iter().filter(|problem| !problem.is_warning);
    problems.next().is_some_and(names_gone) && problems.all(names_gone)
}

fn names_gone(problem: &Problem) -> bool {
    GONE.contains(&problem.code.as_str()) || is_not_present(&problem.message)
}

/// As the old importer says it of tracked entities.
fn is_not_present(message: &str) -> bool {
    message.contains("cannot be deleted as it is not present in the system")
}

fn refused(api: Api, sent: &Sent, told: &Outcome) -> Fate {
    let reason = reason(&told.problems, false);
    let errors = || told.problems.iter().filter(|problem| !problem.is_warning);
    let is_dependent = errors().next().is_some() && errors().all(|p| p.code == DEPENDS);
    // A tie is no child of either side, so nothing tells when its side was mended: it is tried with every upload. The old
    // importer's refusals of ties are taken so altogether, as its clients do.
    if sent.kind == Some(Kind::Relationship) && (is_dependent || api == Api::Old) {
        return Fate::Waits(reason);
    }
    let code = errors().next().map_or(RejectCode::Refused, reject_code);
    Fate::Refused(code, reason)
}

/// The old importer has it, and something about it should be looked at.
fn warned(sent: &Sent, told: &Outcome) -> Fate {
    let reason = reason(&told.problems, true);
    match sent.kind {
        // Nothing can be mended in a tie: it is tried again, as its clients do.
        Some(Kind::Relationship) => Fate::Waits(reason),
        _ => Fate::Warned(reason),
    }
}

/// The object is in no place of the report.
fn without_word(api: Api, sent: &Sent, all: &[Sent], report: &Report) -> Fate {
    let parent = |wanted: &(Kind, String)| {
        let mut others = all.iter();
        others.find(|other| other.kind == Some(wanted.0) && other.uid == wanted.1)
    };
    let verdict = |of: &Sent| {
        let kind = of.kind?;
        report.outcome(kind, &of.uid).map(|told| told.verdict)
    };
    let parents = || sent.parents.iter().filter_map(parent);
    if api == Api::Old && sent.is_delete {
        let goes_with = sent.kind == Some(Kind::Enrollment)
            && parents()
                .any(|parent| matches!(verdict(parent), Some(Verdict::Success | Verdict::Warning)));
        if goes_with || is_unnamed_gone(sent, all, report) {
            return Fate::Stored;
        }
    }
    if parents().any(|parent| parent.is_new && verdict(parent) == Some(Verdict::Error)) {
        return Fate::Refused(
            RejectCode::NoParent,
            "what it belongs to was refused".to_owned(),
        );
    }
    Fate::Waits("the server's report does not name it".to_owned())
}

/// The old importer does not name a tracked entity that it does not know: as many as it speaks of, of those that were to be deleted and
/// are not named, are gone.
fn is_unnamed_gone(sent: &Sent, all: &[Sent], report: &Report) -> bool {
    if sent.kind != Some(Kind::TrackedEntity) {
        return false;
    }
    let problems = report.unnamed.iter().flat_map(|told| &told.problems);
    let said: Vec<&str> = problems
        .map(|problem| problem.message.as_str())
        .filter(|message| is_not_present(message))
        .collect();
    if said.iter().any(|message| message.contains(&sent.uid)) {
        return true;
    }
    let unnamed = all.iter().filter(|other| {
        other.kind == sent.kind
            && other.is_delete
            && report.outcome(Kind::TrackedEntity, &other.uid).is_none()
    });
    !said.is_empty() && said.len() >= unnamed.count()
}

fn reject_code(problem: &Problem) -> RejectCode {
    match problem.code.as_str() {
        "E1000" | "E1001" | "E1003" | "E1091" | "E1095" | "E1100" | "E1102" | "E1103" | "E1104"
        | "E1324" => RejectCode::Forbidden,
        "E1063" | "E1032" | "E1081" | "E4016" => RejectCode::NotFound,
        "E1082" | "E1113" | "E1114" | "E4017" => RejectCode::Deleted,
        DEPENDS => RejectCode::NoParent,
        _ if problem.attribute.is_some() || problem.data_element.is_some() => {
            RejectCode::InvalidValue
        }
        _ => RejectCode::Refused,
    }
}

/// One sentence for people: the first problem with what can be done about it, and how many more there are.
fn reason(problems: &[Problem], is_warning: bool) -> String {
    let mut said = problems.iter().filter(|of| of.is_warning == is_warning);
    let Some(first) = said.next() else {
        let done = if is_warning { "warns" } else { "refused it" };
        return format!("the server {done} and does not say why");
    };
    let mut text = if first.code.is_empty() {
        first.message.clone()
    } else {
        format!("{}: {}", first.code, first.message)
    };
    if let Some(hint) = conflict_text::hint(&first.code) {
        text.push_str(" (");
        text.push_str(hint);
        text.push(')');
    }
    match said.count() {
        0 => text,
        more => format!("{text}; and {more} more"),
    }
}

fn conflict(sent: &Sent, problem: &Problem, is_stored: bool) -> ImportConflict {
    let field = problem.data_element.as_ref().or(problem.attribute.as_ref());
    ImportConflict {
        kind: sent.kind.map_or("note", Kind::member).to_owned(),
        object: sent.uid.clone(),
        code: problem.code.clone(),
        field: field.cloned().unwrap_or_default(),
        value: problem.value.clone().unwrap_or_default(),
        is_warning: is_stored || problem.is_warning,
        message: problem.message.clone(),
        hint: hint(problem).to_owned(),
    }
}

fn hint(problem: &Problem) -> &'static str {
    // Words for problems with values have no code.
    let has_word = problem.code.is_empty() && problem.data_element.is_some();
    let code = if has_word { "E1302" } else { &problem.code };
    match conflict_text::hint(code) {
        Some(hint) => hint,
        None if problem.is_warning || code.is_empty() => "",
        None => UNKNOWN,
    }
}
