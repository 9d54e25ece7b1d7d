//! Downloads of tracker data into a copy: in bulk with limits, only what changed, or by uid.
//!
//! A page that fails is skipped and reported, the next one is asked for; the mark of its bundle does not move then, so the next
//! download asks for it again. Every page is one transaction. Source: `spec/dhis2.md` 5.2, and section 0 where it differs from
//! the SDK. Otherwise than there, a download of changes has no limit: what lies beyond it would be missed for good.

mod aggregate;
mod apply;
mod bundle;
mod glass;
mod request;

use std::collections::{BTreeSet, HashSet};
use std::hash::{BuildHasher as _, RandomState};

use haversack_model::local::LocalReplica;
use haversack_model::{GlobalId, ReplicaTx, Timestamp};
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use super::error::{Error, Result};
use super::layout::{Layout, Table};
use super::metadata;
use super::server::Server;
use crate::wire::date;
use crate::wire::tracker::{Enrollment, Event, Kind, TrackedEntity};
use apply::{Changes, Rest};
use bundle::{Bundle, Known, Mark};
use request::Part;

pub(crate) use aggregate::data_sets;
pub use aggregate::{
    AggregateDownloaded, AggregateRequest, FailedDataSet, aggregate, value_changed_at,
};
pub use glass::{Denied, break_glass, by_uid};

/// Objects on a page.
const PAGE: usize = 50;
/// Pages of one combination that may fail one after the other before it is left for the next download.
const MAX_FAILURES: usize = 3;
/// How often the pages of a combination are read again because objects moved between them meanwhile.
const MAX_AGAIN: usize = 3;
/// Uids in one request for stubs.
const STUBS: usize = 50;

/// What to download.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct Request {
    /// At most so many tracked entities, and so many single events, in each bundle; as is chosen for apps, else [`Self::usual`]. A limit
    /// that is chosen for one program goes before it, unless [`Self::program`] names that one.
    pub limit: Option<usize>,
    /// The limit where none is asked for or chosen.
    pub usual: usize,
    /// The limit holds for each program by itself, whatever is chosen.
    pub by_program: bool,
    /// The limit holds for each organisation unit by itself, whatever is chosen.
    pub by_unit: bool,
    /// Only this program.
    pub program: Option<String>,
    /// Only entities with an enrollment of this status (`ACTIVE`), whatever is chosen.
    pub status: Option<String>,
    /// Whether what the administrators chose for apps is heeded ([`Settings`](super::settings::Settings)).
    pub as_chosen: bool,
    /// Everything, not only what changed since the last download.
    pub full: bool,
}

impl Default for Request {
    fn default() -> Self {
        Self {
            limit: None,
            usual: bundle::LIMIT,
            by_program: false,
            by_unit: false,
            program: None,
            status: None,
            as_chosen: true,
            full: false,
        }
    }
}

/// A page that could not be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedPage {
    /// Of what.
    pub kind: Kind,
    /// In which program.
    pub program: String,
    /// Its number.
    pub page: usize,
    /// Why.
    pub reason: String,
}

/// What a download did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Downloaded {
    /// Tracked entities that came.
    pub entities: usize,
    /// Events without registration that came.
    pub events: usize,
    /// Records added or replaced.
    pub put: usize,
    /// Records removed.
    pub removed: usize,
    /// Records that were left alone since they hold unsent work; the server's version is kept beside.
    pub protected: usize,
    /// Conflicts that were opened: edited here, deleted there.
    pub conflicts: usize,
    /// Far sides of relationships that were fetched.
    pub stubs: usize,
    /// Relationships that were dropped because their far side cannot be had.
    pub dropped_relationships: usize,
    /// Pages that failed.
    pub failed: Vec<FailedPage>,
    /// Types, programs and stages of objects that the copy does not know: download the metadata first.
    pub unknown: BTreeSet<String>,
    /// Whether the user has no organisation unit at all.
    pub no_units: bool,
}

/// Where a download stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress<'a> {
    /// What is being fetched.
    pub what: &'a str,
    /// Tracked entities and single events so far.
    pub objects: usize,
}

/// Downloads in bulk. Objects are stored page by page: what came before an error stays.
///
/// # Errors
/// Those of the copy, and of a login that is not accepted. Pages that fail are in the result.
pub fn download(
    server: &Server,
    local: &mut dyn LocalReplica,
    request: &Request,
    now: &dyn Fn() -> Timestamp,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Downloaded> {
    let known = read(local, Known::load)?;
    let mut run = Run {
        server,
        local,
        layout: known.layout.clone(),
        now,
        progress,
        done: Downloaded::default(),
        rest: Rest::default(),
        is_troubled: false,
        hasher: RandomState::new(),
    };
    if known.capture.is_empty() {
        run.done.no_units = true;
        return Ok(run.done);
    }
    for bundle in bundle::plan(&known, request) {
        run.bundle(&bundle, request)?;
    }
    run.finish()?;
    Ok(run.done)
}

/// When a tracked entity changed last, as the server tells; `None` if it does not tell of it. A deleted one is told, too.
///
/// # Errors
/// The server's.
pub fn changed_at(server: &Server, uid: &str) -> Result<Option<Timestamp>> {
    let found = match request::some(server, Kind::TrackedEntity, &[uid]) {
        Err(error) if error.status() == Some(404) => return Ok(None),
        found => found?,
    };
    let told = found
        .first()
        .map(|one| [&one["updatedAt"], &one["lastUpdated"]]);
    let mut texts = told.into_iter().flatten().filter_map(Json::as_str);
    Ok(texts.find_map(date::parse))
}

/// Reads in one transaction, which is dropped.
fn read<T>(
    local: &mut dyn LocalReplica,
    work: impl FnOnce(&dyn ReplicaTx) -> haversack_model::Result<T>,
) -> Result<T> {
    let tx = local.begin()?;
    Ok(work(&*tx)?)
}

fn write<T>(
    local: &mut dyn LocalReplica,
    work: impl FnOnce(&mut dyn ReplicaTx) -> haversack_model::Result<T>,
) -> Result<T> {
    let mut tx = local.begin()?;
    let done = work(&mut *tx)?;
    tx.commit()?;
    Ok(done)
}

/// A program and the units in it, and how far its pages were taken.
struct Combination {
    part: Part,
    /// Objects taken, or skipped with a page that failed.
    offset: usize,
    /// Pages that failed one after the other.
    failures: usize,
    /// Objects that came, each counted once.
    came: HashSet<u64>,
    /// How many there were when the first page was read, if the server counts.
    total: Option<usize>,
    /// How often its pages were read again.
    again: usize,
    is_exhausted: bool,
}

struct Run<'a> {
    server: &'a Server,
    local: &'a mut dyn LocalReplica,
    layout: Layout,
    now: &'a dyn Fn() -> Timestamp,
    progress: &'a mut dyn FnMut(Progress<'_>),
    done: Downloaded,
    rest: Rest,
    /// Whether something of the present bundle did not come.
    is_troubled: bool,
    hasher: RandomState,
}

impl Run<'_> {
    fn bundle(&mut self, bundle: &Bundle, request: &Request) -> Result<()> {
        let since = if request.full {
            None
        } else {
            read(self.local, |tx| bundle.since(&self.layout, tx))?
        };
        let limit = if since.is_some() {
            usize::MAX
        } else {
            bundle.limit
        };
        let parts = bundle.parts(since.as_ref(), &self.server.server_date);
        let mut combinations: Vec<Combination> = parts
            .into_iter()
            .map(|part| Combination {
                part,
                offset: 0,
                failures: 0,
                came: HashSet::new(),
                total: None,
                again: 0,
                is_exhausted: false,
            })
            .collect();
        self.is_troubled = false;
        let mut seen = BTreeSet::new();
        // An entity in two programs comes twice and counts once, so what is left is dealt out again.
        for _ in 0..limit.saturating_mul(2).max(1000) {
            combinations.retain(|combination| !combination.is_exhausted);
            if combinations.is_empty() || seen.len() >= limit {
                break;
            }
            let quota = (limit - seen.len()).div_ceil(combinations.len());
            for combination in &mut combinations {
                let left = quota.min(limit.saturating_sub(seen.len()));
                self.take(bundle.kind, combination, left, &mut seen)?;
            }
        }
        if !self.is_troubled {
            let is_whole = combinations.iter().all(|one| one.is_exhausted);
            let most = match since {
                // What changed has come; what was left out at first is still left out.
                Some(mark) => mark.most,
                // Where nothing was left out a larger limit brings nothing more.
                None => (!is_whole).then_some(bundle.limit),
            };
            let mark = Mark {
                date: self.server.server_date.clone(),
                most,
            };
            let at = (self.now)();
            let layout = &self.layout;
            write(self.local, |tx| bundle.mark(layout, tx, &mark, at))?;
        }
        Ok(())
    }

    /// Takes at most `most` objects of a combination that were not taken before.
    fn take(
        &mut self,
        kind: Kind,
        combination: &mut Combination,
        most: usize,
        seen: &mut BTreeSet<String>,
    ) -> Result<()> {
        let mut taken = 0;
        while taken < most && !combination.is_exhausted {
            let (number, skip) = (combination.offset / PAGE + 1, combination.offset % PAGE);
            let page = request::page(self.server, kind, &combination.part, number, PAGE);
            let objects = match page {
                Ok((objects, total)) => {
                    if combination.offset == 0 {
                        combination.total = total;
                        combination.came.clear();
                    }
                    objects
                }
                Err(
                    error @ (Error::BadCredentials
                    | Error::AccountDisabled
                    | Error::AccountLocked
                    | Error::Model(_)),
                ) => return Err(error),
                Err(error) => {
                    self.is_troubled = true;
                    self.done.failed.push(FailedPage {
                        kind,
                        program: combination.part.program.clone(),
                        page: number,
                        reason: error.to_string(),
                    });
                    combination.failures += 1;
                    combination.offset = number * PAGE;
                    combination.is_exhausted = combination.failures >= MAX_FAILURES;
                    continue;
                }
            };
            combination.failures = 0;
            let count = objects.len();
            let wanted: Vec<Json> = objects.into_iter().skip(skip).take(most - taken).collect();
            taken += wanted.len();
            combination.offset += wanted.len();
            let is_short = count < PAGE;
            combination.is_exhausted = is_short && skip + wanted.len() >= count;
            let uids = wanted.iter().filter_map(|object| object.get(kind.member()));
            combination
                .came
                .extend(uids.map(|uid| self.hasher.hash_one(uid.to_string())));
            self.store(kind, wanted, Some(&combination.part.program), number, seen)?;
            if combination.is_exhausted && number > 1 {
                self.look_for_moved(kind, combination);
            }
        }
        Ok(())
    }

    /// What leaves a list while its pages are read moves the rest up: one of them may pass from a page that is still to come to one
    /// that was read. Then fewer have come than there were at the first page, and the pages are read again.
    fn look_for_moved(&mut self, kind: Kind, combination: &mut Combination) {
        let came = combination.came.len();
        // Some servers do not count, and a page that failed is known to be missing.
        let is_whole = combination.total.is_none_or(|total| came >= total);
        if is_whole || self.is_troubled {
            return;
        }
        if combination.again < MAX_AGAIN {
            combination.again += 1;
            combination.offset = 0;
            combination.is_exhausted = false;
        } else {
            self.is_troubled = true;
            self.done.failed.push(FailedPage {
                kind,
                program: combination.part.program.clone(),
                page: 1,
                reason: "objects move while the pages are read".to_owned(),
            });
        }
    }

    /// Stores objects of a page in one transaction.
    fn store(
        &mut self,
        kind: Kind,
        objects: Vec<Json>,
        program: Option<&str>,
        page: usize,
        seen: &mut BTreeSet<String>,
    ) -> Result<()> {
        let mut entities: Vec<TrackedEntity> = Vec::new();
        let mut events: Vec<Event> = Vec::new();
        for object in objects {
            let read = match kind {
                Kind::Event => typed(object).map(|event| events.push(event)),
                _ => typed(object).map(|entity| entities.push(entity)),
            };
            if let Err(reason) = read {
                self.is_troubled = true;
                self.done.failed.push(FailedPage {
                    kind,
                    program: program.unwrap_or_default().to_owned(),
                    page,
                    reason,
                });
            }
        }
        let now = (self.now)();
        let (layout, done) = (&self.layout, &mut self.done);
        done.entities += entities.len();
        done.events += events.len();
        seen.extend(entities.iter().map(|entity| entity.tracked_entity.clone()));
        seen.extend(events.iter().map(|event| event.event.clone()));
        let rest = write(self.local, |tx| {
            let mut changes = Changes::new(layout, tx)?;
            for entity in &entities {
                changes.entity(entity, program)?;
            }
            for event in &events {
                changes.event(event, None)?;
            }
            changes.store(now, done)
        })?;
        self.is_troubled |= !rest.unknown.is_empty();
        self.done.unknown.extend(rest.unknown.iter().cloned());
        self.rest.add(rest);
        (self.progress)(Progress {
            what: kind.collection(),
            objects: self.done.entities + self.done.events,
        });
        Ok(())
    }

    /// Fetches what the pages only named: far sides of relationships, and organisation units.
    fn finish(&mut self) -> Result<()> {
        let missing = std::mem::take(&mut self.rest.missing);
        // An event brings its enrollment, an enrollment its tracked entity.
        let mut wanted: BTreeSet<(Kind, String)> = missing;
        for kind in [Kind::Event, Kind::Enrollment, Kind::TrackedEntity] {
            let of_kind: Vec<String> = wanted
                .iter()
                .filter(|(of, _)| *of == kind)
                .map(|(_, uid)| uid.clone())
                .collect();
            for some in of_kind.chunks(STUBS) {
                let more = self.stubs(kind, some)?;
                wanted.extend(more);
            }
        }
        self.units()?;
        let now = (self.now)();
        write(self.local, |tx| {
            let mut header = tx.header()?;
            header.synced_at = Some(now);
            tx.store_header(&header)
        })
    }

    /// Fetches stubs; gives the parents that they name.
    fn stubs(&mut self, kind: Kind, uids: &[String]) -> Result<Vec<(Kind, String)>> {
        let (layout, now) = (&self.layout, (self.now)());
        let here = read(self.local, |tx| {
            let mut here = BTreeSet::new();
            for uid in uids {
                if holder(layout, tx, kind, uid)?.is_some() {
                    here.insert(uid.clone());
                }
            }
            Ok(here)
        })?;
        let wanted: Vec<&str> = uids
            .iter()
            .filter(|uid| !here.contains(*uid))
            .map(String::as_str)
            .collect();
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let fetched = match request::some(self.server, kind, &wanted) {
            Ok(objects) => objects,
            Err(error @ Error::BadCredentials) => return Err(error),
            // It may be had next time.
            Err(error) => {
                self.done.failed.push(FailedPage {
                    kind,
                    program: String::new(),
                    page: 1,
                    reason: error.to_string(),
                });
                return Ok(Vec::new());
            }
        };
        let mut parents = Vec::new();
        let mut came = BTreeSet::new();
        let done = &mut self.done;
        let rest = write(self.local, |tx| {
            let mut counted = Downloaded::default();
            let mut changes = Changes::new(layout, tx)?;
            changes.as_stubs();
            for object in fetched {
                match kind {
                    Kind::Event => {
                        let Ok(event) = typed::<Event>(object) else {
                            continue;
                        };
                        if event.deleted {
                            continue;
                        }
                        came.insert(event.event.clone());
                        if !event.enrollment.is_empty() {
                            parents.push((Kind::Enrollment, event.enrollment.clone()));
                        }
                        changes.event(&event, None)?;
                    }
                    Kind::Enrollment => {
                        let Ok(mut enrollment) = typed::<Enrollment>(object) else {
                            continue;
                        };
                        if enrollment.deleted {
                            continue;
                        }
                        came.insert(enrollment.enrollment.clone());
                        parents.push((Kind::TrackedEntity, enrollment.tracked_entity.clone()));
                        enrollment.events.clear();
                        changes.bare_enrollment(&enrollment)?;
                    }
                    _ => {
                        let Ok(mut entity) = typed::<TrackedEntity>(object) else {
                            continue;
                        };
                        if entity.deleted {
                            continue;
                        }
                        came.insert(entity.tracked_entity.clone());
                        entity.enrollments.clear();
                        changes.entity(&entity, Some(""))?;
                    }
                }
            }
            let rest = changes.store(now, &mut counted)?;
            done.stubs += came.len();
            for uid in wanted.iter().filter(|uid| !came.contains(**uid)) {
                done.dropped_relationships += apply::drop_ties(layout, tx, uid)?;
            }
            Ok(rest)
        })?;
        self.rest.units.extend(rest.units);
        Ok(parents)
    }

    /// Fetches organisation units that objects name and the copy does not know.
    fn units(&mut self) -> Result<()> {
        let units: Vec<String> = std::mem::take(&mut self.rest.units).into_iter().collect();
        for some in units.chunks(STUBS) {
            match metadata::units(self.server, some) {
                Ok(found) => {
                    let layout = &self.layout;
                    write(self.local, |tx| {
                        metadata::put_units(tx, layout, &found)?;
                        Ok(())
                    })?;
                }
                Err(error @ Error::BadCredentials) => return Err(error),
                // Their names are missing in lists; nothing else needs them.
                Err(error) => tracing::warn!(%error, "organisation units cannot be fetched"),
            }
        }
        Ok(())
    }
}

/// The layer that holds an object.
fn holder<'a>(
    layout: &'a Layout,
    tx: &dyn ReplicaTx,
    kind: Kind,
    uid: &str,
) -> haversack_model::Result<Option<&'a Table>> {
    let id = GlobalId::Text(uid.into());
    for table in layout.of_kind(kind) {
        if tx.version(table.id(), &id)?.is_some() || tx.entry(table.id(), &id)?.is_some() {
            return Ok(Some(table));
        }
    }
    Ok(None)
}

fn typed<T: DeserializeOwned>(object: Json) -> std::result::Result<T, String> {
    serde_json::from_value(object).map_err(|error| format!("an object cannot be read: {error}"))
}
