//! Which parts are downloaded together under one limit and one mark. Source: `spec/dhis2.md` 5.2.

use std::collections::{BTreeMap, BTreeSet};

use haversack_model::{GlobalId, ReplicaTx, Result, Timestamp};

use super::Request;
use super::request::Part;
use crate::remote::layout::{INSTANCE, Layout, MARKS, Role};
use crate::remote::metadata;
use crate::wire::date;
use crate::wire::tracker::Kind;

/// The limit of a mark under which nothing was left out.
const ALL: &str = "all";

/// Up to when the copy has a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// By the server's clock.
    pub(super) date: String,
    /// The limit that left something out; `None`: nothing was.
    pub(super) most: Option<usize>,
}

/// What of a copy decides what there is to download.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    pub(super) layout: Layout,
    /// Roots of where the user enters data.
    pub(super) capture: Vec<String>,
    /// Programs with registration.
    tracker: Vec<String>,
    /// Programs without.
    single: Vec<String>,
    /// Programs by unit of the capture scope.
    linked: BTreeMap<String, BTreeSet<String>>,
}

impl Known {
    pub(super) fn load(tx: &dyn ReplicaTx) -> Result<Self> {
        let layout = Layout::of(&tx.collections()?);
        let mut known = Self::default();
        if let Some(table) = layout.table(INSTANCE)
            && let Some(row) = tx.row(table.id(), &GlobalId::Text("capture".into()))?
        {
            let roots = table.text(&row, "value");
            let roots = roots.split(',').filter(|root| !root.is_empty());
            known.capture = roots.map(str::to_owned).collect();
        }
        if let Some(table) = layout.metadata("programs") {
            for id in tx.confirmed(table.id())? {
                let Some(row) = tx.row(table.id(), &id)? else {
                    continue;
                };
                if table.text(&row, "program_type") == "WITHOUT_REGISTRATION" {
                    known.single.push(id.to_string());
                } else {
                    known.tracker.push(id.to_string());
                }
            }
        }
        if let Some(table) = layout.metadata("organisationUnits") {
            for id in tx.confirmed(table.id())? {
                let Some(row) = tx.row(table.id(), &id)? else {
                    continue;
                };
                if table.text(&row, "scope") == "capture" {
                    let object: serde_json::Value =
                        serde_json::from_str(&table.text(&row, "object")).unwrap_or_default();
                    let programs = object["programs"].as_array().into_iter().flatten();
                    let programs = programs.filter_map(|p| p["id"].as_str().map(str::to_owned));
                    known.linked.insert(id.to_string(), programs.collect());
                }
            }
        }
        known.tracker.sort();
        known.single.sort();
        known.layout = layout;
        Ok(known)
    }
}

/// Parts under one limit and one mark.
#[derive(Clone, Debug)]
pub(super) struct Bundle {
    pub(super) kind: Kind,
    /// The program, if the bundle has one alone.
    program: Option<String>,
    programs: Vec<String>,
    units: Vec<String>,
    mode: &'static str,
    status: Option<String>,
}

/// All bundles of a request: tracked entities first, then single events.
pub(super) fn plan(known: &Known, request: &Request) -> Vec<Bundle> {
    let mut bundles = Vec::new();
    for (kind, programs) in [
        (Kind::TrackedEntity, &known.tracker),
        (Kind::Event, &known.single),
    ] {
        let wanted: Vec<String> = programs
            .iter()
            .filter(|program| request.program.as_ref().is_none_or(|of| of == *program))
            .cloned()
            .collect();
        if wanted.is_empty() {
            continue;
        }
        let places: Vec<(Vec<String>, &'static str, Vec<String>)> = if request.by_unit {
            let linked = known.linked.iter().map(|(unit, programs)| {
                let both = wanted.iter().filter(|program| programs.contains(*program));
                (vec![unit.clone()], "SELECTED", both.cloned().collect())
            });
            linked.collect()
        } else {
            vec![(known.capture.clone(), "DESCENDANTS", wanted.clone())]
        };
        for (units, mode, programs) in places {
            let bundle = |programs: Vec<String>, program: Option<String>| Bundle {
                kind,
                program,
                programs,
                units: units.clone(),
                mode,
                status: request.status.clone(),
            };
            if request.by_program || request.program.is_some() {
                let each = programs.into_iter();
                bundles.extend(each.map(|program| bundle(vec![program.clone()], Some(program))));
            } else if !programs.is_empty() {
                bundles.push(bundle(programs, None));
            }
        }
    }
    bundles
}

impl Bundle {
    /// What pages are asked of. Single events are asked of one unit at a time.
    pub(super) fn parts(&self, since: Option<&str>) -> Vec<Part> {
        let places: Vec<Vec<String>> = if self.kind == Kind::Event {
            self.units.iter().map(|unit| vec![unit.clone()]).collect()
        } else {
            vec![self.units.clone()]
        };
        let mut parts = Vec::new();
        for program in &self.programs {
            parts.extend(places.iter().map(|units| Part {
                program: program.clone(),
                units: units.clone(),
                mode: self.mode,
                status: self.status.clone(),
                since: since.map(str::to_owned),
            }));
        }
        parts
    }

    /// What tells the selection of one mark from that of another, but for the program.
    fn selection(&self) -> (String, String) {
        let status = self.status.as_deref().unwrap_or("ANY");
        let kind = self.kind.collection();
        (
            self.units.join(","),
            format!("{kind} {} {status}", self.mode),
        )
    }
    fn key(&self, program: Option<&str>) -> GlobalId {
        let (units, selection) = self.selection();
        // The units may be many: the key is short, the row says all.
        let whole = format!("{selection}\n{units}\n{}", program.unwrap_or("*"));
        GlobalId::Text(short(&whole).into())
    }
    /// Up to when the copy has all of it, by the server's clock; `None`: a full download is due.
    /// A mark that was set with a smaller limit does not count.
    pub(super) fn since(
        &self,
        layout: &Layout,
        tx: &dyn ReplicaTx,
        limit: usize,
    ) -> Result<Option<Mark>> {
        let Some(table) = layout.table(MARKS).filter(|t| t.role == Role::Kept) else {
            return Ok(None);
        };
        for program in [self.program.as_deref(), None] {
            let Some(row) = tx.row(table.id(), &self.key(program))? else {
                continue;
            };
            let most = table.text(&row, "most").parse().ok();
            if most.is_some_and(|most: usize| most < limit) {
                continue;
            }
            let date = table.text(&row, "server_date");
            // One of a time that cannot be read would be refused, or taken for none.
            if date::parse(&date).is_some() {
                return Ok(Some(Mark { date, most }));
            }
        }
        Ok(None)
    }
    /// Notes that all of it was downloaded.
    pub(super) fn mark(
        &self,
        layout: &Layout,
        tx: &mut dyn ReplicaTx,
        mark: &Mark,
        now: Timestamp,
    ) -> Result<()> {
        let Some(table) = layout.table(MARKS) else {
            return Ok(());
        };
        let program = self.program.as_deref();
        let key = self.key(program).to_string();
        let (units, selection) = self.selection();
        let record = table.record(
            &key,
            &[
                ("program", program.unwrap_or("*")),
                ("org_units", &units),
                ("selection", &selection),
                (
                    "most",
                    &mark.most.map_or(ALL.to_owned(), |most| most.to_string()),
                ),
                ("server_date", &mark.date),
                ("downloaded_at", &date::format(now)),
            ],
        );
        metadata::put(tx, table, &record)?;
        Ok(())
    }
}

/// A short name for a long text.
pub(super) fn short(text: &str) -> String {
    use sha2::Digest as _;
    let hash = sha2::Sha256::digest(text.as_bytes());
    let bits = hash
        .iter()
        .take(16)
        .fold(0_u128, |bits, byte| bits << 8 | u128::from(*byte));
    crate::wire::uid::from_random(bits)
}
