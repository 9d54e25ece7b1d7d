//! Which objects a request asks for, and their pages.
//!
//! Source: `spec/dhis2.md` 5.1.

use std::ops::ControlFlow;

use haversack_model::Timestamp;
use haversack_model::store::Flow;
use serde_json::{Value, json};

use super::scope::{Scope, is_below};
use crate::face::call::Call;
use crate::face::metadata::filter::{self, Order};
use crate::face::problem::{Problem, Result};
use crate::wire::tracker::Kind;
use crate::wire::{date, uid};

/// Objects on a page if the client does not say, and at most.
const PAGE_SIZE: u64 = 50;
const MAX_PAGE_SIZE: u64 = 5000;

/// Which organisation units are meant.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Units {
    /// All that may be seen.
    Any,
    /// All in which data may be entered.
    Capture,
    /// These.
    These(Vec<String>),
    /// Those below these paths.
    Below(Vec<String>),
    /// Those directly below these paths, and themselves.
    Children(Vec<String>),
}

impl Units {
    /// Reads the parameters of both spellings.
    pub(crate) fn of(call: &Call, scope: &Scope<'_>) -> Result<Self> {
        let uids = uids(call, &["orgUnits", "orgUnit", "ou"])?;
        let mode = ["orgUnitMode", "ouMode"]
            .iter()
            .find_map(|name| call.param(name));
        let mode = mode.unwrap_or(if uids.is_empty() {
            "ACCESSIBLE"
        } else {
            "SELECTED"
        });
        let needs = matches!(mode, "SELECTED" | "CHILDREN" | "DESCENDANTS");
        if needs == uids.is_empty() {
            let message = if needs { "needs" } else { "must have no" };
            return Err(Problem::bad(format!(
                "the mode {mode} {message} organisation units"
            )));
        }
        let mut paths = Vec::new();
        for uid in &uids {
            let unit = scope.catalog.units.get(uid);
            let unit = unit
                .ok_or_else(|| Problem::bad(format!("Organisation unit does not exist: {uid}")))?;
            if !scope.searches(uid) {
                return Err(Problem::forbidden(format!(
                    "Organisation unit is not part of your search scope: {uid}"
                )));
            }
            paths.push(unit.path.clone());
        }
        Ok(match mode {
            "SELECTED" => Self::These(uids),
            "CHILDREN" => Self::Children(paths),
            "DESCENDANTS" => Self::Below(paths),
            "ACCESSIBLE" => Self::Any,
            "CAPTURE" => Self::Capture,
            "ALL" if scope.user.has_all() => Self::Any,
            "ALL" => {
                return Err(Problem::forbidden(
                    "Current user is not authorized to query across all organisation units",
                ));
            }
            other => return Err(Problem::bad(format!("the mode {other:?} is not known"))),
        })
    }
    /// Whether a unit is one of them.
    pub(crate) fn holds(&self, scope: &Scope<'_>, unit: &str) -> bool {
        let path = scope
            .catalog
            .units
            .get(unit)
            .map_or("", |unit| unit.path.as_str());
        match self {
            Self::Any => true,
            Self::Capture => scope.captures(unit),
            Self::These(uids) => uids.iter().any(|uid| uid == unit),
            Self::Below(roots) => roots.iter().any(|root| is_below(path, root)),
            Self::Children(roots) => roots.iter().any(|root| {
                path == root
                    || path
                        .rsplit_once('/')
                        .is_some_and(|(parent, _)| parent == root)
            }),
        }
    }
}

/// Uids of a parameter in any of its spellings, separated by `,` or `;`.
pub(crate) fn uids(call: &Call, names: &[&str]) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for name in names {
        for text in call.params(name) {
            for one in text.split([',', ';']).filter(|one| !one.is_empty()) {
                if !uid::is_uid(one) {
                    return Err(Problem::bad(format!(
                        "{name} must be valid UIDs, not {:?}",
                        one.chars().take(40).collect::<String>()
                    )));
                }
                found.push(one.to_owned());
            }
        }
    }
    Ok(found)
}

/// A single uid.
pub(crate) fn one_uid(call: &Call, name: &str) -> Result<Option<String>> {
    Ok(uids(call, &[name])?.into_iter().next())
}

/// A time.
pub(crate) fn time(call: &Call, name: &str) -> Result<Option<Timestamp>> {
    let Some(text) = call.param(name).filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    // A plus sign of an offset that was not encoded arrives as a blank.
    let read = date::parse(&text.replace(' ', "+"));
    read.map(Some)
        .ok_or_else(|| Problem::bad(format!("{name} is no date")))
}

/// A page, and what is told of it.
#[derive(Debug)]
pub(crate) struct Window {
    page: u64,
    size: u64,
    is_paged: bool,
    /// Whether the answer tells how many there are on all pages.
    with_total: bool,
    /// How many there are on all pages, if that is known without counting.
    pub(super) known_total: Option<u64>,
    /// How many were counted up to here.
    pub(super) seen: u64,
}

impl Window {
    pub(crate) fn of(call: &Call) -> Result<Self> {
        let size = call.number("pageSize", PAGE_SIZE)?;
        if size > MAX_PAGE_SIZE {
            return Err(Problem::bad(format!(
                "pageSize must be at most {MAX_PAGE_SIZE}"
            )));
        }
        Ok(Self {
            page: call.number("page", 1)?,
            size,
            is_paged: call.flag("paging", true) && !call.flag("skipPaging", false),
            with_total: call.flag("totalPages", true),
            known_total: None,
            seen: 0,
        })
    }
    /// Counts one more object that is asked for: whether it is on the page.
    pub(crate) fn takes(&mut self) -> bool {
        let at = self.seen;
        self.seen += 1;
        let from = (self.page - 1).saturating_mul(self.size);
        !self.is_paged || (at >= from && at < from.saturating_add(self.size))
    }
    /// The number of the page, if there are pages.
    pub(super) fn number(&self) -> Option<u64> {
        self.is_paged.then_some(self.page)
    }
    /// Whether the page is full, and exactly so.
    pub(super) fn is_full(&self) -> bool {
        self.is_paged && self.seen == self.page.saturating_mul(self.size)
    }
    /// Stops where whatever follows would change nothing: the page is full, and nobody needs to count how many there are.
    pub(super) fn flow(&self) -> Flow {
        let is_full = self.is_paged && self.seen >= self.page.saturating_mul(self.size);
        if is_full && (!self.with_total || self.known_total.is_some()) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }
    /// The answer with its pager: nested, and flat as 2.41 has it besides. Clients read `pageCount` without having asked for it, so it is told
    /// unless they say `totalPages=false`.
    pub(crate) fn answer(&self, name: &str, objects: &[Value]) -> Value {
        let mut answer = json!({ name: objects });
        if self.is_paged {
            let total = self.known_total.unwrap_or_default().max(self.seen);
            let pages = total.div_ceil(self.size).max(1);
            let numbers = [
                ("page", self.page),
                ("pageSize", self.size),
                ("total", total),
                ("pageCount", pages),
            ];
            let told = if self.with_total { 4 } else { 2 };
            for (member, value) in numbers.into_iter().take(told) {
                answer["pager"][member] = json!(value);
                answer[member] = json!(value);
            }
        }
        answer
    }
}

/// In which order objects come.
#[derive(Debug)]
pub(crate) enum Sort {
    /// In which they were made, the oldest first if true.
    Made(bool),
    /// By what is in them.
    By(Vec<Order>),
}

/// Members by which objects of a kind can be ordered.
fn sortable(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::TrackedEntity => &["trackedEntity", "inactive"],
        Kind::Enrollment => &[
            "enrollment",
            "enrolledAt",
            "occurredAt",
            "completedAt",
            "status",
        ],
        Kind::Event => &[
            "event",
            "occurredAt",
            "scheduledAt",
            "completedAt",
            "status",
            "programStage",
            "enrollment",
        ],
        Kind::Relationship => &[],
    }
}

/// Reads `order`, by the names of both APIs. Entities and events can be ordered by an attribute or a data element.
pub(crate) fn sort(call: &Call, kind: Kind) -> Result<Sort> {
    let mut keys = Vec::new();
    let text = call.param("order").unwrap_or_default();
    for key in text.split(',').filter(|key| !key.is_empty()) {
        let (name, direction) = key.split_once(':').unwrap_or((key, "asc"));
        let name = match name {
            "created" => "createdAt",
            "lastUpdated" => "updatedAt",
            "createdAtClient" | "updatedAtClient" | "createdAt" | "updatedAt" | "orgUnit"
            | "program" => name,
            "enrollmentDate" => "enrolledAt",
            "eventDate" | "incidentDate" => "occurredAt",
            "dueDate" => "scheduledAt",
            "completedDate" => "completedAt",
            "trackedEntityInstance" => "trackedEntity",
            other => other,
        };
        let is_common = matches!(
            name,
            "createdAt"
                | "updatedAt"
                | "createdAtClient"
                | "updatedAtClient"
                | "orgUnit"
                | "program"
        );
        let is_value = uid::is_uid(name) && matches!(kind, Kind::TrackedEntity | Kind::Event);
        if !(is_common || sortable(kind).contains(&name) || is_value)
            || !matches!(direction, "asc" | "desc")
        {
            let shown: String = key.chars().take(40).collect();
            return Err(Problem::bad(format!(
                "{} cannot be ordered by {shown:?}",
                kind.word()
            )));
        }
        keys.push(format!("{name}:{direction}"));
    }
    Ok(match keys.first().map(String::as_str) {
        None | Some("createdAt:desc") => Sort::Made(false),
        Some("createdAt:asc") => Sort::Made(true),
        Some(_) => Sort::By(filter::order(&keys.join(","))?),
    })
}
