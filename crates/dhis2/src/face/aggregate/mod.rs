//! Aggregate data: values of data elements for a period and a unit, and which data sets are complete for them.
//!
//! Each value and each completion is a document of its own, under a key made of what it is about. A deleted one stays, with `deleted`: devices learn
//! of it from that. When it changed is told by its commit. Source: `spec/dhis2.md` 8.

pub(crate) mod completions;
pub(crate) mod values;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use haversack_model::Timestamp;
use haversack_model::documents::DocumentRead;
use jiff::civil::Date;
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::Answer;
use super::call::Call;
use super::instance::{Instance, Stored, key};
use super::problem::{Problem, Result};
use super::sharing::Access;
use super::system::User;
use super::tracker::catalog::{Catalog, Ref, typed};
use super::tracker::scope::{Scope, is_below};
use crate::wire::date;
use crate::wire::period::Period;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SetElement {
    data_element: Ref,
}

/// Data elements that are entered together.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct DataSet {
    period_type: String,
    open_future_periods: u16,
    #[serde(rename = "dataSetElements")]
    elements: Vec<SetElement>,
    #[serde(flatten)]
    access: Access,
}

impl DataSet {
    fn has(&self, element: &str) -> bool {
        let mut all = self.elements.iter();
        all.any(|member| member.data_element.id == element)
    }
    /// Whether data may be entered for a period: not for one that lies further ahead than the set says. The present one is open.
    fn is_open(&self, period: Period, today: Date) -> bool {
        let mut last = Period::of(period.kind(), today);
        for _ in 0..self.open_future_periods {
            last = last.and_then(|last| last.next());
        }
        last.is_none_or(|last| period.start <= last.start)
    }
}

/// Data sets, and what their values are broken down by.
#[derive(Debug)]
pub(crate) struct Sets {
    by_id: BTreeMap<String, DataSet>,
    /// Uids of the combinations of category options.
    combos: BTreeSet<String>,
    /// The combination of what has no categories.
    default_combo: String,
}

impl Sets {
    fn load(instance: &Instance, tx: &dyn DocumentRead) -> Result<Arc<Self>> {
        let of = ["dataSets", "categoryOptionCombos"];
        let kept = &instance.memory().sets;
        kept.get(instance, tx, &of, || Self::read(instance, tx))
    }
    fn read(instance: &Instance, tx: &dyn DocumentRead) -> Result<Self> {
        let mut combos = BTreeSet::new();
        // What instances without one of their own have.
        let mut default_combo = "HllvX50cXC0".to_owned();
        instance.each(tx, "categoryOptionCombos", |combo| {
            if combo.text("name") == "default" {
                default_combo.clone_from(&combo.id);
            }
            combos.insert(combo.id);
            Ok(())
        })?;
        Ok(Self {
            by_id: typed(instance, tx, "dataSets")?,
            combos,
            default_combo,
        })
    }
    fn get(&self, id: &str) -> Option<&DataSet> {
        self.by_id.get(id)
    }
    /// Whether something holds of one of the sets with a data element, or there is none.
    fn allow(&self, element: &str, holds: impl Fn(&DataSet) -> bool) -> bool {
        let mut sets = self
            .by_id
            .values()
            .filter(|set| set.has(element))
            .peekable();
        sets.peek().is_none() || sets.any(holds)
    }
}

/// Who asks, and what there is.
struct Ground {
    user: User,
    catalog: Arc<Catalog>,
    sets: Arc<Sets>,
    today: Date,
}

impl Ground {
    fn load(call: &Call, instance: &Instance, tx: &dyn DocumentRead) -> Result<Self> {
        let now = call.host.now();
        Ok(Self {
            user: User::find(&call.principal, instance, tx, now)?,
            catalog: Catalog::load(instance, tx)?,
            sets: Sets::load(instance, tx)?,
            today: date::civil(now).date(),
        })
    }
    fn captures(&self, unit: &str) -> bool {
        let scope = Scope {
            user: &self.user,
            catalog: &self.catalog,
        };
        scope.captures(unit)
    }
    /// Whether values of an element may be read: elements of data sets by who may read one of these.
    fn reads_element(&self, id: &str) -> bool {
        self.sets.allow(id, |set| set.access.reads_data(&self.user))
    }
    fn has_combo(&self, id: &str) -> bool {
        id == self.sets.default_combo || self.sets.combos.contains(id)
    }
    /// A data set that may be read.
    fn readable(&self, id: &str) -> Result<&DataSet> {
        let set = self.sets.get(id);
        let set = set.filter(|set| set.access.reads_data(&self.user));
        set.ok_or_else(|| Problem::Conflict(format!("there is no data set {id} that you may read")))
    }
}

/// Which of the stored a request asks for: by period, unit and time of change.
struct Wanted {
    periods: BTreeSet<String>,
    between: Option<(Date, Date)>,
    units: BTreeSet<String>,
    paths: Vec<String>,
    since: Option<Timestamp>,
}

impl Wanted {
    /// Reads the parameters, which both kinds of data share.
    fn of(call: &Call, ground: &Ground) -> Result<Self> {
        let periods: BTreeSet<String> = words(call, "period").collect();
        if let Some(bad) = periods.iter().find(|id| Period::parse(id).is_none()) {
            return Err(Problem::bad(format!("{bad:?} is no period")));
        }
        let day = |name: &str| -> Result<Option<Timestamp>> {
            let Some(text) = call.param(name) else {
                return Ok(None);
            };
            let at = date::parse(text);
            at.map(Some)
                .ok_or_else(|| Problem::bad(format!("{name} must be a date, not {text:?}")))
        };
        let between = day("startDate")?.zip(day("endDate")?);
        let since = day("lastUpdated")?;
        if periods.is_empty() && between.is_none() && since.is_none() {
            return Err(Problem::Conflict(
                "name a period, startDate and endDate, or lastUpdated".to_owned(),
            ));
        }
        let units: BTreeSet<String> = words(call, "orgUnit").collect();
        if units.is_empty() {
            return Err(Problem::Conflict("name an orgUnit".to_owned()));
        }
        let path = |id: &String| ground.catalog.units.get(id).map(|unit| unit.path.clone());
        let paths = if call.flag("children", false) {
            units.iter().filter_map(path).collect()
        } else {
            Vec::new()
        };
        Ok(Self {
            periods,
            between: between
                .map(|(from, upto)| (date::civil(from).date(), date::civil(upto).date())),
            units,
            paths,
            since,
        })
    }
    /// Whether a stored one is asked for, and whoever asks may see its unit.
    fn has(&self, ground: &Ground, stored: &Stored, unit: &str) -> bool {
        let id = stored.text("period");
        let in_time = self.since.is_none_or(|since| stored.stamp >= since)
            && (self.periods.is_empty() || self.periods.contains(id))
            && self.between.is_none_or(|(from, upto)| {
                Period::parse(id).is_some_and(|period| from <= period.start && period.end() <= upto)
            });
        in_time && self.has_unit(ground, unit) && ground.captures(unit)
    }
    fn has_unit(&self, ground: &Ground, id: &str) -> bool {
        let path = || ground.catalog.units.get(id).map(|unit| unit.path.as_str());
        self.units.contains(id)
            || path().is_some_and(|path| self.paths.iter().any(|root| is_below(path, root)))
    }
}

/// All values of a parameter, which may be given often and hold commas.
fn words<'a>(call: &'a Call, name: &'a str) -> impl Iterator<Item = String> + 'a {
    let all = call.params(name).flat_map(|text| text.split(','));
    all.filter(|word| !word.is_empty()).map(str::to_owned)
}

/// What became of an import, in the dialect's summary.
#[derive(Debug, Default)]
struct Summary {
    imported: u64,
    updated: u64,
    deleted: u64,
    ignored: u64,
    conflicts: Vec<Value>,
}

impl Summary {
    /// One that is not stored: which object, the code of the dialect, the sentence, and its place in the request.
    fn refuse(&mut self, at: usize, (object, code, why): (&str, &str, String)) {
        self.ignored += 1;
        self.conflicts
            .push(json!({"object": object, "value": why, "errorCode": code, "indexes": [at]}));
    }
    fn answer(&self, is_dry: bool) -> Answer {
        let (status, word, message) = if self.conflicts.is_empty() {
            (200, "SUCCESS", "Import was successful.")
        } else {
            (
                409,
                "WARNING",
                "An error occurred, please check import summary.",
            )
        };
        let told = json!({
            "response": {
                "responseType": "ImportSummary", "status": word, "description": "Import process completed successfully",
                "importOptions": {"dryRun": is_dry, "async": false},
                "importCount": {"imported": self.imported, "updated": self.updated, "ignored": self.ignored, "deleted": self.deleted},
                "conflicts": self.conflicts, "dataSetComplete": "false",
            },
            "status": if status == 200 { "OK" } else { word },
        });
        Answer::message(status, message, &told)
    }
}

/// What an import may do to what is there and to what is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Strategy {
    Create,
    Update,
    CreateAndUpdate,
    Delete,
}

impl Strategy {
    fn of(call: &Call) -> Result<Self> {
        match call
            .param("importStrategy")
            .or_else(|| call.param("strategy"))
        {
            None | Some("" | "CREATE_AND_UPDATE" | "NEW_AND_UPDATES" | "SYNC") => {
                Ok(Self::CreateAndUpdate)
            }
            Some("CREATE" | "NEW") => Ok(Self::Create),
            Some("UPDATE" | "UPDATES") => Ok(Self::Update),
            Some("DELETE" | "DELETES") => Ok(Self::Delete),
            Some(other) => Err(Problem::bad(format!(
                "importStrategy {other:?} is not known; use CREATE_AND_UPDATE, CREATE, UPDATE or DELETE"
            ))),
        }
    }
}

/// What is stored under a key, deleted or not.
fn stored(
    instance: &Instance,
    tx: &dyn DocumentRead,
    collection: &str,
    id: &str,
) -> Result<Option<Stored>> {
    let found = tx.record(instance.collection(collection)?, &key(id))?;
    found.as_ref().map(Stored::read).transpose()
}

fn is_deleted(stored: &Stored) -> bool {
    stored.members.get("deleted") == Some(&Value::Bool(true))
}
