//! The functions of expressions: those of the dialect whose names begin with `d2:`.
//!
//! Growth by age and height (`zScore..`) and the fields of bar codes need tables that this server does not hold: a rule that asks for them is passed over.

use jiff::civil::Date;

use super::expression::Expression;
use super::facts::{Facts, Known};
use super::fault::Fault;
use super::value::{Value, parse_number};
use crate::wire::date;

/// A function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    AddDays,
    Ceil,
    Concatenate,
    Count,
    CountIfValue,
    CountIfZeroPos,
    DaysBetween,
    Floor,
    HasUserRole,
    HasValue,
    InOrgUnitGroup,
    LastEventDate,
    Left,
    Length,
    MaxValue,
    MinValue,
    MinutesBetween,
    Modulus,
    MonthsBetween,
    Oizp,
    Right,
    Round,
    Split,
    Substring,
    ValidatePattern,
    WeeksBetween,
    YearsBetween,
    Zing,
    Zpvc,
}

/// Names without `d2:`, with the fewest and the most arguments.
const TABLE: [(&str, Function, usize, usize); 29] = [
    ("addDays", Function::AddDays, 2, 2),
    ("ceil", Function::Ceil, 1, 1),
    ("concatenate", Function::Concatenate, 1, usize::MAX),
    ("count", Function::Count, 1, 1),
    ("countIfValue", Function::CountIfValue, 2, 2),
    ("countIfZeroPos", Function::CountIfZeroPos, 1, 1),
    ("daysBetween", Function::DaysBetween, 2, 2),
    ("floor", Function::Floor, 1, 1),
    ("hasUserRole", Function::HasUserRole, 1, 1),
    ("hasValue", Function::HasValue, 1, 1),
    ("inOrgUnitGroup", Function::InOrgUnitGroup, 1, 1),
    ("lastEventDate", Function::LastEventDate, 1, 1),
    ("left", Function::Left, 2, 2),
    ("length", Function::Length, 1, 1),
    ("maxValue", Function::MaxValue, 1, 1),
    ("minValue", Function::MinValue, 1, 1),
    ("minutesBetween", Function::MinutesBetween, 2, 2),
    ("modulus", Function::Modulus, 2, 2),
    ("monthsBetween", Function::MonthsBetween, 2, 2),
    ("oizp", Function::Oizp, 1, 1),
    ("right", Function::Right, 2, 2),
    ("round", Function::Round, 1, 2),
    ("split", Function::Split, 3, 3),
    ("substring", Function::Substring, 3, 3),
    ("validatePattern", Function::ValidatePattern, 2, 2),
    ("weeksBetween", Function::WeeksBetween, 2, 2),
    ("yearsBetween", Function::YearsBetween, 2, 2),
    ("zing", Function::Zing, 1, 1),
    ("zpvc", Function::Zpvc, 1, usize::MAX),
];

/// Functions of others that this server does not have.
const NOT_KEPT: [&str; 5] = [
    "zScoreWFA",
    "zScoreHFA",
    "zScoreWFH",
    "extractDataMatrixValue",
    "relationshipCount",
];

impl Function {
    pub(super) fn named(name: &str) -> Result<Self, Fault> {
        let bare = name.strip_prefix("d2:").unwrap_or_default();
        let found = TABLE.iter().find(|(known, ..)| *known == bare);
        found.map(|(_, function, ..)| *function).ok_or_else(|| {
            let name = name.chars().take(60).collect();
            if NOT_KEPT.contains(&bare) {
                Fault::NotKept(name)
            } else {
                Fault::NoFunction(name)
            }
        })
    }
    /// Whether it takes so many arguments.
    pub(super) fn takes(self, count: usize) -> bool {
        let mut found = TABLE.iter().filter(|(_, function, ..)| *function == self);
        found.any(|(_, _, fewest, most)| (*fewest..=*most).contains(&count))
    }
    /// Whether its first argument is a variable, and not the value of one.
    pub(super) fn takes_variable(self) -> bool {
        matches!(
            self,
            Self::Count
                | Self::CountIfValue
                | Self::CountIfZeroPos
                | Self::HasValue
                | Self::LastEventDate
                | Self::MaxValue
                | Self::MinValue
        )
    }
    fn name(self) -> String {
        let found = TABLE.iter().find(|(_, function, ..)| *function == self);
        found.map_or_else(String::new, |(name, ..)| format!("d2:{name}"))
    }

    /// What it gives for arguments.
    pub(super) fn call(self, facts: &Facts<'_>, arguments: &[Expression]) -> Result<Value, Fault> {
        if self.takes_variable() {
            return self.of_variable(facts, arguments);
        }
        let values: Vec<Value> = arguments
            .iter()
            .map(|argument| facts.value(argument))
            .collect::<Result<_, _>>()?;
        let given = Arguments { of: self, values };
        match self {
            Self::Ceil => Value::number(given.number(0)?.ceil()),
            Self::Floor => Value::number(given.number(0)?.floor()),
            Self::Round => round(given.number(0)?, given.whole(1).unwrap_or(0)),
            Self::Modulus => Value::number(given.number(0)? % given.number(1)?),
            Self::Zing => Value::number(given.number(0)?.max(0.0)),
            Self::Oizp => Ok(Value::count(i64::from(given.number(0)? >= 0.0))),
            Self::Zpvc => {
                let all = given
                    .values
                    .iter()
                    .filter_map(|value| value.to_number().ok());
                Ok(counted(all.filter(|number| *number >= 0.0).count()))
            }
            Self::AddDays => {
                let day = given.value(0)?.to_date()?;
                let span = jiff::Span::new().try_days(given.whole(1)?);
                let moved = span.ok().and_then(|span| day.checked_add(span).ok());
                moved
                    .map(|day| Value::text(day.to_string()))
                    .ok_or(Fault::NoDate)
            }
            Self::DaysBetween => between(&given, days),
            Self::WeeksBetween => between(&given, |a, b| days(a, b) / 7),
            Self::MonthsBetween => between(&given, months),
            Self::YearsBetween => between(&given, |a, b| months(a, b) / 12),
            Self::MinutesBetween => {
                let at = |which| -> Result<i64, Fault> {
                    let at = date::parse(&given.text(which)?).ok_or(Fault::NoDate)?;
                    Ok(at.0.div_euclid(60_000))
                };
                Ok(Value::count(at(1)? - at(0)?))
            }
            Self::Concatenate => {
                let parts = given.values.iter().map(Value::to_text);
                Ok(Value::Text(parts.collect()))
            }
            Self::Length => Ok(counted(given.text(0)?.chars().count())),
            Self::Left => Ok(piece(&given.text(0)?, 0, given.whole(1)?)),
            Self::Right => {
                let text = given.text(0)?;
                let length = i32::try_from(text.chars().count()).unwrap_or(i32::MAX);
                Ok(piece(&text, length.saturating_sub(given.whole(1)?), length))
            }
            Self::Substring => Ok(piece(&given.text(0)?, given.whole(1)?, given.whole(2)?)),
            Self::Split => Ok(split(&given.text(0)?, &given.text(1)?, given.whole(2)?)),
            Self::ValidatePattern => matches(&given.text(0)?, &given.text(1)?).map(Value::Bool),
            Self::HasUserRole => Ok(Value::Bool(facts.roles.contains(&given.text(0)?))),
            Self::InOrgUnitGroup => {
                let units = facts.groups.get(&given.text(0)?);
                Ok(Value::Bool(
                    units.is_some_and(|units| units.contains(facts.unit)),
                ))
            }
            _ => Err(Fault::NoFunction(self.name())),
        }
    }

    fn of_variable(self, facts: &Facts<'_>, arguments: &[Expression]) -> Result<Value, Fault> {
        let Some(Expression::Variable(_, name) | Expression::Text(name)) = arguments.first() else {
            return Err(Fault::Arguments(self.name()));
        };
        let known = facts.known(name)?;
        let numbers = || -> Result<Vec<f64>, Fault> {
            known
                .candidates
                .iter()
                .map(|text| parse_number(text))
                .collect()
        };
        match self {
            Self::HasValue => Ok(Value::Bool(known.value.is_some())),
            Self::Count => Ok(counted(known.candidates.len())),
            Self::CountIfValue => {
                let wanted = match arguments.get(1) {
                    Some(wanted) => facts.value(wanted)?,
                    None => return Err(Fault::Arguments(self.name())),
                };
                Ok(counted(count_of(known, &wanted)))
            }
            Self::CountIfZeroPos => {
                let all = numbers()?;
                Ok(counted(all.iter().filter(|number| **number >= 0.0).count()))
            }
            Self::MaxValue => Value::number(numbers()?.into_iter().fold(f64::NAN, f64::max)),
            Self::MinValue => Value::number(numbers()?.into_iter().fold(f64::NAN, f64::min)),
            Self::LastEventDate => known.date.clone().map(Value::Text).ok_or(Fault::NoDate),
            _ => Err(Fault::NoFunction(self.name())),
        }
    }
}

/// Values that were given to a function.
struct Arguments {
    of: Function,
    values: Vec<Value>,
}

impl Arguments {
    fn value(&self, at: usize) -> Result<&Value, Fault> {
        let value = self.values.get(at);
        value.ok_or_else(|| Fault::Arguments(self.of.name()))
    }
    fn number(&self, at: usize) -> Result<f64, Fault> {
        self.value(at)?.to_number()
    }
    fn whole(&self, at: usize) -> Result<i32, Fault> {
        self.value(at)?.to_whole()
    }
    fn text(&self, at: usize) -> Result<String, Fault> {
        Ok(self.value(at)?.to_text())
    }
}

fn counted(count: usize) -> Value {
    Value::count(i64::try_from(count).unwrap_or(i64::MAX))
}

fn count_of(known: &Known, wanted: &Value) -> usize {
    let all = known.candidates.iter();
    all.filter(|text| Value::text((*text).clone()).equals(wanted))
        .count()
}

/// Halves go away from zero, as people round.
fn round(number: f64, places: i32) -> Result<Value, Fault> {
    let scale = 10_f64.powi(places.clamp(-15, 15));
    let scaled = Value::number(number * scale)?.to_number()?;
    Value::number(scaled.round() / scale)
}

fn between(given: &Arguments, count: fn(Date, Date) -> i64) -> Result<Value, Fault> {
    let (from, upto) = (given.value(0)?.to_date()?, given.value(1)?.to_date()?);
    Ok(Value::count(count(from, upto)))
}

fn days(from: Date, upto: Date) -> i64 {
    let number = |day: Date| date::of_day(day).map_or(0, |at| at.0.div_euclid(86_400_000));
    number(upto) - number(from)
}

/// Whole months; one that has not ended does not count.
fn months(from: Date, upto: Date) -> i64 {
    let number = |day: Date| i64::from(day.year()) * 12 + i64::from(day.month());
    let months = number(upto) - number(from);
    if months > 0 && upto.day() < from.day() {
        months - 1
    } else if months < 0 && upto.day() > from.day() {
        months + 1
    } else {
        months
    }
}

/// The characters from a place up to another, as far as there are any.
fn piece(text: &str, from: i32, upto: i32) -> Value {
    let from = usize::try_from(from).unwrap_or(0);
    let upto = usize::try_from(upto).unwrap_or(0);
    let piece = text.chars().take(upto).skip(from);
    Value::Text(piece.collect())
}

/// A part between separators; empty parts at the end are none.
fn split(text: &str, separator: &str, at: i32) -> Value {
    let mut parts: Vec<String> = if separator.is_empty() {
        text.chars().map(String::from).collect()
    } else {
        text.split(separator).map(str::to_owned).collect()
    };
    while parts.last().is_some_and(String::is_empty) {
        parts.pop();
    }
    let part = usize::try_from(at).ok().and_then(|at| parts.get(at));
    Value::text(part.cloned().unwrap_or_default())
}

/// Whether a whole text is of a pattern. The matcher takes time by the length of both and never more.
fn matches(text: &str, pattern: &str) -> Result<bool, Fault> {
    use regex_automata::nfa::thompson::pikevm::PikeVM;
    use regex_automata::nfa::thompson::{self, NFA};
    use regex_automata::util::syntax;

    // Far more than any pattern of a phone number or a name.
    const MAX_BYTES: usize = 1 << 20;
    let compiled = NFA::compiler()
        .configure(thompson::Config::new().nfa_size_limit(Some(MAX_BYTES)))
        .syntax(syntax::Config::new().nest_limit(50))
        .build(&format!("^(?:{pattern})$"));
    let compiled = compiled.map_err(|_unreadable| Fault::Pattern)?;
    let machine = PikeVM::new_from_nfa(compiled).map_err(|_too_large| Fault::Pattern)?;
    Ok(machine.is_match(&mut machine.create_cache(), text))
}
