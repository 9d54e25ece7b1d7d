//! What the administrators of a server chose for its apps: how much of which program and data set is downloaded, how many values are
//! reserved, how large a file may be.
//!
//! The settings app keeps it in the data store of the server, a copy has it with its metadata. What the caller of a download asks for
//! goes before it. Numbers may be texts, and what cannot be read was not chosen. Source: `spec/dhis2.md` 3, 5.2 and 8 to 10.

use std::collections::BTreeMap;

use haversack_model::{ReplicaTx, Result};
use jiff::ToSpan as _;
use jiff::civil::Date;
use serde_json::Value as Json;

use super::copy;
use super::metadata::SETTING;

/// Most periods of a data set that are fetched for its settings.
const MOST_PERIODS: usize = 1000;

/// All of it that a download heeds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Values in a full pool of reserved values.
    pub reserved_values: Option<u64>,
    /// Most bytes of a file that is fetched.
    pub max_file_bytes: Option<usize>,
    programs: Choices<OfProgram>,
    past_periods: Choices<Option<usize>>,
}

/// What is chosen for all objects of a type, and for single ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Choices<T> {
    all: T,
    single: BTreeMap<String, T>,
}

/// What is chosen for a program. `None`: nothing is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OfProgram {
    /// At most so many tracked entities.
    pub entities: Option<usize>,
    /// At most so many events without registration.
    pub events: Option<usize>,
    /// What the limit holds for.
    pub scope: Option<Scope>,
    /// Whether only entities with an active enrollment are fetched.
    pub only_active: Option<bool>,
    /// How long ago they may be enrolled.
    pub enrolled: Option<Span>,
    /// How long ago events may have happened.
    pub happened: Option<Span>,
    /// How long ago they may have changed, the first time.
    pub changed: Option<Span>,
}

/// What a limit holds for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope {
    /// For each organisation unit by itself.
    pub by_unit: bool,
    /// For each program by itself.
    pub by_program: bool,
}

/// How long ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// Whenever.
    Any,
    /// So many months at most.
    Months(i8),
}

impl Span {
    /// The day that is so long before another; `None` for whenever.
    pub fn before(self, day: Date) -> Option<Date> {
        match self {
            Self::Any => None,
            Self::Months(months) => day.checked_sub(i32::from(months).months()).ok(),
        }
    }
    fn read(text: &str) -> Option<Self> {
        Some(match text {
            "ANY" => Self::Any,
            "LAST_MONTH" => Self::Months(1),
            "LAST_3_MONTHS" => Self::Months(3),
            "LAST_6_MONTHS" => Self::Months(6),
            "LAST_12_MONTHS" => Self::Months(12),
            _ => return None,
        })
    }
}

impl OfProgram {
    /// What is not chosen here is as there.
    fn or(self, other: Self) -> Self {
        Self {
            entities: self.entities.or(other.entities),
            events: self.events.or(other.events),
            scope: self.scope.or(other.scope),
            only_active: self.only_active.or(other.only_active),
            enrolled: self.enrolled.or(other.enrolled),
            happened: self.happened.or(other.happened),
            changed: self.changed.or(other.changed),
        }
    }
    fn read(told: &Json) -> Self {
        let text = |name: &str| told.get(name).and_then(Json::as_str);
        let span = |name: &str| text(name).and_then(Span::read);
        let scope = |by_unit, by_program| {
            Some(Scope {
                by_unit,
                by_program,
            })
        };
        Self {
            entities: number(told, "teiDownload"),
            events: number(told, "eventsDownload"),
            scope: text("settingDownload").and_then(|word| match word {
                "ALL_ORG_UNITS" | "GLOBAL" => scope(false, false),
                "PER_ORG_UNIT" => scope(true, false),
                "PER_PROGRAM" => scope(false, true),
                "PER_OU_AND_PROGRAM" => scope(true, true),
                _ => None,
            }),
            only_active: text("enrollmentDownload").and_then(|word| match word {
                "ALL" => Some(false),
                "ONLY_ACTIVE" => Some(true),
                _ => None,
            }),
            enrolled: span("enrollmentDateDownload"),
            happened: span("eventDateDownload"),
            changed: span("updateDownload"),
        }
    }
}

impl<T: Default> Choices<T> {
    fn read(told: Option<&Json>, read: impl Fn(&Json) -> T) -> Self {
        let single = told.and_then(|told| told.get("specificSettings")?.as_object());
        let all = told.and_then(|told| told.get("globalSettings"));
        let single = single.into_iter().flatten();
        Self {
            all: all.map(&read).unwrap_or_default(),
            single: single.map(|(id, one)| (id.clone(), read(one))).collect(),
        }
    }
}

impl Settings {
    /// As a copy has them.
    ///
    /// # Errors
    /// The copy's.
    pub fn load(tx: &dyn ReplicaTx) -> Result<Self> {
        let document = |name: &str| -> Result<Json> {
            let text = copy::fact(tx, &format!("{SETTING}{name}"))?;
            let read = text.and_then(|text| serde_json::from_str(&text).ok());
            Ok(read.unwrap_or_default())
        };
        let sync = document("synchronization")?;
        let (general, first_general) =
            (document("generalSettings")?, document("general_settings")?);
        // The first version of the app had a document for each.
        let (programs, data_sets) = (document("program_settings")?, document("dataSet_settings")?);
        let programs = sync.get("programSettings").unwrap_or(&programs);
        let data_sets = sync.get("dataSetSettings").unwrap_or(&data_sets);
        let reserved = [&general, &first_general].map(|told| number(told, "reservedValues"));
        let reserved = reserved.into_iter().flatten().find(|count| *count > 0);
        Ok(Self {
            reserved_values: reserved.map(|count| count as u64),
            max_file_bytes: number(&sync, "fileMaxLengthBytes"),
            programs: Choices::read(Some(programs), OfProgram::read),
            past_periods: Choices::read(Some(data_sets), |told| number(told, "periodDSDownload")),
        })
    }

    /// What holds for programs that nothing is chosen for.
    pub fn of_all(&self) -> OfProgram {
        self.programs.all
    }
    /// What is chosen for a program by itself; `None` if nothing is.
    pub fn of_program(&self, program: &str) -> Option<OfProgram> {
        let chosen = self.programs.single.get(program)?;
        Some(chosen.or(self.programs.all))
    }
    /// Periods of a data set before the present one.
    pub fn past_periods(&self, data_set: &str) -> Option<usize> {
        let single = self.past_periods.single.get(data_set).copied().flatten();
        let past = single.or(self.past_periods.all)?;
        Some(past.min(MOST_PERIODS))
    }
}

/// A number, which may be written as a text.
fn number(told: &Json, name: &str) -> Option<usize> {
    let found = told.get(name)?;
    let text = found.as_str().map(str::trim);
    let number = text.map_or_else(|| found.as_u64(), |text| text.parse().ok())?;
    usize::try_from(number).ok()
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_may_be_texts_and_what_cannot_be_read_was_not_chosen() {
        let read = OfProgram::read(
            &json!({"teiDownload": "40", "eventsDownload": -3, "settingDownload": "PER_PLANET",
            "enrollmentDownload": 7, "enrollmentDateDownload": "LAST_3_MONTHS", "updateDownload": "SINCE_MONDAY"}),
        );
        let expected = OfProgram {
            entities: Some(40),
            enrolled: Some(Span::Months(3)),
            ..OfProgram::default()
        };
        assert_eq!(read, expected);
    }

    #[test]
    fn months_end_where_the_calendar_does() {
        assert_eq!(Span::Any.before(date(2026, 3, 31)), None);
        let month = Span::Months(1).before(date(2026, 3, 31));
        assert_eq!(month, Some(date(2026, 2, 28)));
        let quarter = Span::Months(3).before(date(2026, 1, 15));
        assert_eq!(quarter, Some(date(2025, 10, 15)));
    }
}
