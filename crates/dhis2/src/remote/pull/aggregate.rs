//! Downloads of aggregate data: values and completions of each data set for the periods around today.
//!
//! One request of each kind for a data set, with a mark of its own: later ones ask for what changed. The server compares days, and its own
//! clock may lag behind its records, so 24 hours are taken off a mark. A data set that fails is named and its mark stays.
//! Source: `spec/dhis2.md` 8.

use haversack_model::local::LocalReplica;
use haversack_model::{Collection, GlobalId, Record, ReplicaTx, Timestamp};
use jiff::ToSpan as _;
use jiff::civil::Date;
use serde_json::Value as Json;

use super::apply::Changes;
use super::{Downloaded, Progress, read, write};
use crate::remote::aggregate;
use crate::remote::copy;
use crate::remote::error::{Error, Result};
use crate::remote::layout::{COMPLETIONS, DATA_VALUES, Layout, MARKS, Role, Table};
use crate::remote::metadata;
use crate::remote::server::Server;
use crate::remote::settings::Settings;
use crate::wire::date;
use crate::wire::period::Period;

/// Records stored in one transaction.
const AT_ONCE: usize = 1000;
/// Periods before the present one, by type.
const PAST: &[(&str, usize)] = &[
    ("Daily", 60),
    ("Weekly", 13),
    ("BiWeekly", 13),
    ("Monthly", 12),
    ("BiMonthly", 6),
];
/// Of all other types.
const PAST_LONG: usize = 5;
/// Periods in one request: they stand in its address.
const MOST_PERIODS: usize = 100;

/// What of the aggregate data to download.
#[derive(Clone, Debug)]
pub struct AggregateRequest {
    /// Only these data sets; all if there are none.
    pub data_sets: Vec<String>,
    /// Only these periods, of whatever types. They are asked for whole, and marks neither heeded nor moved.
    pub periods: Vec<String>,
    /// So many periods before the present one, instead of what is chosen for apps, else the usual number of each type.
    pub past: Option<usize>,
    /// Whether what is chosen for apps is heeded.
    pub as_chosen: bool,
    /// Everything, not only what changed since the last download.
    pub full: bool,
}

impl Default for AggregateRequest {
    fn default() -> Self {
        Self {
            data_sets: Vec::new(),
            periods: Vec::new(),
            past: None,
            as_chosen: true,
            full: false,
        }
    }
}

/// A data set whose data could not be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedDataSet {
    /// Which.
    pub data_set: String,
    /// Why.
    pub reason: String,
}

/// What a download of aggregate data did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AggregateDownloaded {
    /// Values that came.
    pub values: usize,
    /// Completions that came.
    pub completions: usize,
    /// Records added or replaced.
    pub put: usize,
    /// Records removed.
    pub removed: usize,
    /// Records that were left alone since they hold unsent work; the server's version is kept beside.
    pub protected: usize,
    /// Conflicts that were opened: edited here, deleted there.
    pub conflicts: usize,
    /// Data sets that failed.
    pub failed: Vec<FailedDataSet>,
}

/// A data set of the copy.
pub(crate) struct DataSet {
    pub(crate) id: String,
    period_type: String,
    future: usize,
    /// Their uids, with commas between them.
    pub(crate) elements: String,
    /// Periods before the present one, as is chosen for apps.
    past: Option<usize>,
}

/// Downloads aggregate data. Data are stored data set by data set: what came before an error stays.
///
/// # Errors
/// Those of the copy, and of a login that is not accepted. Data sets that fail are in the result.
pub fn aggregate(
    server: &Server,
    local: &mut dyn LocalReplica,
    request: &AggregateRequest,
    now: &dyn Fn() -> Timestamp,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<AggregateDownloaded> {
    if let Some(bad) = request
        .periods
        .iter()
        .find(|id| Period::parse(id).is_none())
    {
        let problem = format!("{bad:?} is no period; write 202611, 2026W5, 2026Q4 and so on");
        return Err(Error::Parameter {
            what: "periods",
            problem,
        });
    }
    let mut done = AggregateDownloaded::default();
    let (collections, units, sets) = write(local, |tx| {
        let collections = tx.collections()?;
        aggregate::settle(tx, &collections)?;
        let units = copy::fact(tx, "capture")?.unwrap_or_default();
        let sets = data_sets(tx, &Layout::of(&collections))?;
        Ok((collections, units, sets))
    })?;
    let known: Vec<&str> = sets.iter().map(|set| set.id.as_str()).collect();
    for id in &request.data_sets {
        if !known.contains(&id.as_str()) {
            done.failed.push(FailedDataSet {
                data_set: id.clone(),
                reason: "the copy knows no such data set".to_owned(),
            });
        }
    }
    if units.is_empty() {
        return Ok(done);
    }
    // The device's clock may be wrong by years.
    let today = date::parse(&server.server_date).unwrap_or_else(now);
    for set in &sets {
        if !request.data_sets.is_empty() && !request.data_sets.contains(&set.id) {
            continue;
        }
        let mut run = Run {
            server,
            local: &mut *local,
            collections: &collections,
            units: &units,
            request,
            now,
        };
        match run.data_set(set, date::civil(today).date(), &mut done) {
            Ok(()) => {}
            Err(
                error @ (Error::BadCredentials
                | Error::AccountDisabled
                | Error::AccountLocked
                | Error::Model(_)),
            ) => return Err(error),
            Err(error) => done.failed.push(FailedDataSet {
                data_set: set.id.clone(),
                reason: error.to_string(),
            }),
        }
        progress(Progress {
            what: "dataValues",
            objects: done.values + done.completions,
        });
    }
    Ok(done)
}

/// When a data value changed last, as the server tells; `None` if it does not tell of it. One that was deleted is told, too.
///
/// # Errors
/// The server's.
pub fn value_changed_at(
    server: &Server,
    table: &Table,
    record: &Record,
) -> Result<Option<Timestamp>> {
    let of = |column: &str| table.text(record, column);
    let (set, period, unit) = (of("data_set"), of("period"), of("org_unit"));
    let params = [
        ("dataSet", set.as_str()),
        ("period", &period),
        ("orgUnit", &unit),
        ("paging", "false"),
        ("includeDeleted", "true"),
    ];
    let told = server.http.get("dataValueSets", &params)?;
    let mut all = told["dataValues"].as_array().into_iter().flatten();
    let found = all.find(|one| table.of_data_value(one, &set).global_id == record.global_id);
    Ok(found.and_then(|one| date::parse(one["lastUpdated"].as_str()?)))
}

/// The data sets that a copy knows.
pub(crate) fn data_sets(
    tx: &dyn ReplicaTx,
    layout: &Layout,
) -> haversack_model::Result<Vec<DataSet>> {
    let Some(table) = layout.metadata("dataSets") else {
        return Ok(Vec::new());
    };
    let settings = Settings::load(tx)?;
    let mut found = Vec::new();
    for id in tx.confirmed(table.id())? {
        let Some(row) = tx.row(table.id(), &id)? else {
            continue;
        };
        let object: Json = serde_json::from_str(&table.text(&row, "object")).unwrap_or_default();
        let elements = object["dataSetElements"].as_array().into_iter().flatten();
        let mut elements: Vec<&str> = elements
            .filter_map(|member| member["dataElement"]["id"].as_str())
            .collect();
        elements.sort_unstable();
        let future = object["openFuturePeriods"].as_u64().unwrap_or(0);
        found.push(DataSet {
            id: id.to_string(),
            period_type: table.text(&row, "period_type"),
            future: usize::try_from(future).unwrap_or(0).min(MOST_PERIODS),
            elements: elements.join(","),
            past: settings.past_periods(&id.to_string()),
        });
    }
    found.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(found)
}

struct Run<'a> {
    server: &'a Server,
    local: &'a mut dyn LocalReplica,
    collections: &'a [Collection],
    /// Roots of where the user enters data.
    units: &'a str,
    request: &'a AggregateRequest,
    now: &'a dyn Fn() -> Timestamp,
}

impl Run<'_> {
    fn data_set(
        &mut self,
        set: &DataSet,
        today: Date,
        done: &mut AggregateDownloaded,
    ) -> Result<()> {
        let layout = Layout::of(self.collections);
        let is_chosen = !self.request.periods.is_empty();
        let chosen = set.past.filter(|_| self.request.as_chosen);
        let past = self.request.past.or(chosen);
        let past = past.unwrap_or_else(|| usual(&set.period_type));
        let periods = if is_chosen {
            self.request.periods.clone()
        } else {
            around(&set.period_type, today, past, set.future).ok_or_else(|| Error::Parameter {
                what: "period type",
                problem: format!("{:?} is not known", set.period_type),
            })?
        };
        let selection = format!(
            "dataValues {} {past} {} {}",
            set.period_type, set.future, set.elements
        );
        let since = if is_chosen || self.request.full {
            None
        } else {
            self.since(&layout, set, &selection)?
        };
        for some in periods.chunks(MOST_PERIODS) {
            let periods = some.join(",");
            let values = self.ask(
                "dataValueSets",
                "dataValues",
                set,
                &periods,
                since.as_deref(),
            )?;
            done.values += values.len();
            self.store(&layout, &values, Some(&set.id), done)?;
            let of = "completeDataSetRegistrations";
            let completions = self.ask(of, of, set, &periods, since.as_deref())?;
            done.completions += completions.len();
            self.store(&layout, &completions, None, done)?;
        }
        if is_chosen {
            return Ok(());
        }
        let at = (self.now)();
        let (units, date) = (self.units, self.server.server_date.as_str());
        write(self.local, |tx| {
            let Some(table) = layout.table(MARKS) else {
                return Ok(());
            };
            let record = table.record(
                &mark(set),
                &[
                    ("program", ""),
                    ("org_units", units),
                    ("selection", &selection),
                    ("most", "all"),
                    ("server_date", date),
                    ("downloaded_at", &date::format(at)),
                ],
            );
            metadata::put(tx, table, &record)?;
            Ok(())
        })
    }

    /// The day from which on changes are asked for; `None`: all of it is due.
    fn since(&mut self, layout: &Layout, set: &DataSet, selection: &str) -> Result<Option<String>> {
        let units = self.units;
        let id = GlobalId::Text(mark(set).into());
        read(self.local, |tx| {
            let Some(table) = layout.table(MARKS).filter(|t| t.role == Role::Kept) else {
                return Ok(None);
            };
            let Some(row) = tx.row(table.id(), &id)? else {
                return Ok(None);
            };
            let fits = table.text(&row, "selection") == selection
                && table.text(&row, "org_units") == units;
            let at = date::parse(&table.text(&row, "server_date")).filter(|_| fits);
            let day = at.and_then(|at| date::civil(at).date().checked_sub(1.day()).ok());
            Ok(day.map(|day| day.to_string()))
        })
    }

    fn ask(
        &self,
        path: &str,
        member: &str,
        set: &DataSet,
        periods: &str,
        since: Option<&str>,
    ) -> Result<Vec<Json>> {
        let mut params = vec![
            ("dataSet", set.id.as_str()),
            ("period", periods),
            ("orgUnit", self.units),
            ("children", "true"),
            ("paging", "false"),
            ("includeDeleted", "true"),
        ];
        params.extend(since.map(|since| ("lastUpdated", since)));
        match self.server.http.get(path, &params)? {
            Json::Object(mut members) => match members.remove(member) {
                Some(Json::Array(all)) => Ok(all),
                // Servers leave an empty list out.
                None if members.is_empty() => Ok(Vec::new()),
                _ => Err(cut(path, member)),
            },
            _ => Err(cut(path, member)),
        }
    }

    /// Stores values of a data set, or (`None`) completions.
    fn store(
        &mut self,
        layout: &Layout,
        told: &[Json],
        of_set: Option<&str>,
        done: &mut AggregateDownloaded,
    ) -> Result<()> {
        let now = (self.now)();
        for some in told.chunks(AT_ONCE) {
            let mut counted = Downloaded::default();
            write(self.local, |tx| {
                let mut changes = Changes::new(layout, tx)?;
                for one in some {
                    match of_set {
                        Some(set) => changes.data_value(one, set)?,
                        None => changes.completion(one)?,
                    }
                }
                changes.store(now, &mut counted)
            })?;
            done.put += counted.put;
            done.removed += counted.removed;
            done.protected += counted.protected;
            done.conflicts += counted.conflicts;
        }
        Ok(())
    }
}

impl Changes<'_> {
    fn data_value(&mut self, told: &Json, data_set: &str) -> haversack_model::Result<()> {
        let Some(table) = self.layout.table(DATA_VALUES) else {
            return Ok(());
        };
        let record = table.of_data_value(told, data_set);
        if told["deleted"] == true {
            return self.remove_known(table, &record);
        }
        self.put(table, record)
    }
    fn completion(&mut self, told: &Json) -> haversack_model::Result<()> {
        let Some(table) = self.layout.table(COMPLETIONS) else {
            return Ok(());
        };
        let record = table.of_completion(told);
        // Servers before 2.32 do not say it: what they tell is complete.
        if told["completed"] == false || told["deleted"] == true {
            return self.remove_known(table, &record);
        }
        self.put(table, record)
    }
    /// Removes what is here: deletions are told again for days. What was entered anew since is no edit of what was deleted.
    fn remove_known(&mut self, table: &Table, record: &Record) -> haversack_model::Result<()> {
        let is_known = self.holds(table, &record.global_id)?;
        if is_known && !self.is_new(table, &record.global_id)? {
            self.remove(table.id(), &record.global_id.to_string());
        }
        Ok(())
    }
}

/// The mark of a data set.
fn mark(set: &DataSet) -> String {
    super::bundle::short(&format!("dataValues\n{}", set.id))
}

fn usual(period_type: &str) -> usize {
    let of = PAST.iter().find(|(name, _)| *name == period_type);
    of.map_or(PAST_LONG, |(_, past)| *past)
}

/// Ids of the periods of a type around a day, the oldest first; `None` for a type that is not known.
fn around(period_type: &str, day: Date, past: usize, future: usize) -> Option<Vec<String>> {
    let present = Period::of(period_type, day)?;
    let before = std::iter::successors(Some(present), |later| {
        Period::of(period_type, later.start.yesterday().ok()?)
    });
    let mut all: Vec<String> = before.take(past + 1).map(|period| period.id()).collect();
    all.reverse();
    let after = std::iter::successors(present.next(), Period::next);
    all.extend(after.take(future).map(|period| period.id()));
    Some(all)
}

fn cut(path: &str, member: &str) -> Error {
    Error::Answer {
        path: path.to_owned(),
        problem: format!("holds no {member}"),
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn periods_reach_back_as_far_as_their_type_says_and_ahead_as_far_as_is_open() {
        let day = date(2026, 11, 22);
        let of = |kind: &str, future| around(kind, day, usual(kind), future).unwrap();
        let months = of("Monthly", 1);
        assert_eq!((months.len(), months[0].as_str()), (14, "202511"));
        assert_eq!(months[12..], ["202611", "202612"]);
        assert_eq!(of("Daily", 0).len(), 61);
        assert_eq!(of("Weekly", 0).first().unwrap(), "2026W34");
        assert_eq!(
            of("Quarterly", 0),
            ["2025Q3", "2025Q4", "2026Q1", "2026Q2", "2026Q3", "2026Q4"]
        );
        assert_eq!(of("FinancialApril", 0).last().unwrap(), "2026April");
        assert!(around("Lunar", day, 1, 0).is_none());
    }
}
