//! Which parts are downloaded together under one limit and one mark. Source: `spec/dhis2.md` 5.2.

use std::collections::{BTreeMap, BTreeSet};

use haversack_model::{GlobalId, ReplicaTx, Result, Timestamp};

use super::Request;
use super::request::Part;
use crate::remote::layout::{INSTANCE, Layout, MARKS, Role};
use crate::remote::metadata;
use crate::remote::settings::{OfProgram, Scope, Settings, Span};
use crate::wire::date;
use crate::wire::tracker::Kind;

/// The limit of a mark under which nothing was left out.
const ALL: &str = "all";
/// Objects of a kind in each bundle, unless something else is asked for or chosen.
pub(super) const LIMIT: usize = 500;

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
    /// What is chosen for apps.
    settings: Settings,
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
        known.settings = Settings::load(tx)?;
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
    /// At most so many objects.
    pub(super) limit: usize,
    /// The program, if the bundle has one alone.
    program: Option<String>,
    programs: Vec<String>,
    /// The programs of the bundle that has all those which have none of their own.
    together: Vec<String>,
    units: Vec<String>,
    mode: &'static str,
    status: Option<String>,
    /// How long ago they may have begun: enrollments, or events.
    begun: Span,
    /// How long ago they may have changed, where there is no mark.
    changed: Span,
}

/// All bundles of a request: tracked entities first, then single events.
pub(super) fn plan(known: &Known, request: &Request) -> Vec<Bundle> {
    let settings = if request.as_chosen {
        known.settings.clone()
    } else {
        Settings::default()
    };
    let mut bundles = Vec::new();
    for (kind, programs) in [
        (Kind::TrackedEntity, &known.tracker),
        (Kind::Event, &known.single),
    ] {
        let is_each = request.by_program || settings.of_all().scope.is_some_and(|s| s.by_program);
        let is_alone = |program: &String| is_each || settings.of_program(program).is_some();
        let (alone, together): (Vec<String>, Vec<String>) =
            programs.iter().cloned().partition(is_alone);
        let planner = Planner {
            known,
            request,
            kind,
            together: &together,
        };
        if let Some(named) = &request.program {
            if programs.contains(named) {
                let chosen = settings.of_program(named).unwrap_or(settings.of_all());
                bundles.extend(planner.bundles(std::slice::from_ref(named), Some(named), chosen));
            }
            continue;
        }
        bundles.extend(planner.bundles(&together, None, settings.of_all()));
        for program in &alone {
            let chosen = settings.of_program(program);
            let (own, of_all) = (chosen.is_some(), settings.of_all());
            let mut chosen = chosen.unwrap_or(of_all);
            if let Some(limit) = request.limit.filter(|_| !own) {
                (chosen.entities, chosen.events) = (Some(limit), Some(limit));
            }
            let some = std::slice::from_ref(program);
            bundles.extend(planner.bundles(some, Some(program), chosen));
        }
    }
    bundles
}

/// Plans the bundles of a kind.
struct Planner<'a> {
    known: &'a Known,
    request: &'a Request,
    kind: Kind,
    together: &'a [String],
}

impl Planner<'_> {
    /// Those of some programs: one, or one for each unit.
    fn bundles(
        &self,
        programs: &[String],
        program: Option<&String>,
        chosen: OfProgram,
    ) -> Vec<Bundle> {
        let (known, request) = (self.known, self.request);
        let is_entity = self.kind == Kind::TrackedEntity;
        let of_kind = if is_entity {
            chosen.entities
        } else {
            chosen.events
        };
        // Of a program that has a limit of its own only who names it knows better.
        let is_asked = program.is_none() || request.program.is_some();
        let asked = request.limit.filter(|_| is_asked);
        let begun = if is_entity {
            chosen.enrolled
        } else {
            chosen.happened
        };
        let is_active = is_entity && chosen.only_active == Some(true);
        let status = request.status.clone();
        let by_unit = request.by_unit || chosen.scope.is_some_and(|Scope { by_unit, .. }| by_unit);
        let bundle = |units: Vec<String>, mode, programs: Vec<String>| Bundle {
            kind: self.kind,
            limit: asked.or(of_kind).unwrap_or(request.usual),
            program: program.cloned(),
            programs,
            together: self.together.to_vec(),
            units,
            mode,
            status: status
                .clone()
                .or_else(|| is_active.then(|| "ACTIVE".to_owned())),
            begun: begun.unwrap_or(Span::Any),
            changed: chosen.changed.unwrap_or(Span::Any),
        };
        let mut bundles = Vec::new();
        if by_unit {
            for (unit, linked) in &known.linked {
                let both = programs.iter().filter(|program| linked.contains(*program));
                bundles.push(bundle(
                    vec![unit.clone()],
                    "SELECTED",
                    both.cloned().collect(),
                ));
            }
        } else {
            bundles.push(bundle(
                known.capture.clone(),
                "DESCENDANTS",
                programs.to_vec(),
            ));
        }
        bundles.retain(|bundle| !bundle.programs.is_empty());
        bundles
    }
}

impl Bundle {
    /// What pages are asked of: what changed since a mark, or all that is wanted at the server's present time. Single events are asked of
    /// one unit at a time.
    pub(super) fn parts(&self, since: Option<&Mark>, server_date: &str) -> Vec<Part> {
        let today = date::parse(server_date).map(|now| date::civil(now).date());
        let day = |span: Span| today.and_then(|today| span.before(today));
        let begun = day(self.begun).map(|day| day.to_string());
        let since = match since {
            Some(mark) => Some(mark.date.clone()),
            None => day(self.changed).map(|day| format!("{day}T00:00:00.000")),
        };
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
                begun: begun.clone(),
                since: since.clone(),
            }));
        }
        parts
    }

    /// What tells the selection of one mark from that of another, but for the program.
    fn selection(&self) -> (String, String) {
        let status = self.status.as_deref().unwrap_or("ANY");
        let mut selection = format!("{} {} {status}", self.kind.collection(), self.mode);
        for (what, span) in [("begun", self.begun), ("changed", self.changed)] {
            if let Span::Months(months) = span {
                selection = format!("{selection} {what} in {months} months");
            }
        }
        (self.units.join(","), selection)
    }
    fn key(&self, programs: &str) -> GlobalId {
        let (units, selection) = self.selection();
        // The units may be many: the key is short, the row says all.
        let whole = format!("{selection}\n{units}\n{programs}");
        GlobalId::Text(short(&whole).into())
    }
    /// The keys under which a mark may be that tells of all of it, its own first: a program of which the bundle of many told is
    /// up to date by that one's mark. One that joins it later is none of those that it told of.
    fn keys(&self) -> Vec<GlobalId> {
        let of_all = || self.key(&format!("* {}", self.together.join(",")));
        match &self.program {
            None => vec![of_all()],
            Some(program) => {
                let mut keys = vec![self.key(program)];
                if self.together.contains(program) {
                    keys.push(of_all());
                }
                keys
            }
        }
    }
    /// Up to when the copy has all of it, by the server's clock; `None`: a full download is due.
    /// A mark that was set with a smaller limit does not count.
    pub(super) fn since(&self, layout: &Layout, tx: &dyn ReplicaTx) -> Result<Option<Mark>> {
        let Some(table) = layout.table(MARKS).filter(|t| t.role == Role::Kept) else {
            return Ok(None);
        };
        for key in self.keys() {
            let Some(row) = tx.row(table.id(), &key)? else {
                continue;
            };
            let most = table.text(&row, "most").parse().ok();
            if most.is_some_and(|most: usize| most < self.limit) {
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
        let Some(key) = self.keys().into_iter().next() else {
            return Ok(());
        };
        let (units, selection) = self.selection();
        let record = table.record(
            &key.to_string(),
            &[
                ("program", self.program.as_deref().unwrap_or("*")),
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
