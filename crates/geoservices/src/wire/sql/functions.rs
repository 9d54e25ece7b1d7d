//! Functions, typed literals and intervals.

use haversack_model::filter::{CastType, Expr, Function, TimePart};
use haversack_model::query::StatisticKind;
use haversack_model::{Timestamp, Value};
use jiff::tz::TimeZone;

use super::SqlError;
use super::parser::Parser;
use super::tokens::Token;
use super::types::{Kind, kind_of};
use crate::wire::feature::date_text;

type Result<T> = std::result::Result<T, SqlError>;

/// A span of time beside a time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Interval {
    pub(super) months: i64,
    pub(super) ms: i64,
}

impl Interval {
    pub(super) fn negated(self) -> Self {
        Self {
            months: -self.months,
            ms: -self.ms,
        }
    }
    /// The time after this span; `None` if it is out of range.
    pub(super) fn after(self, time: Timestamp) -> Option<Timestamp> {
        let instant = jiff::Timestamp::from_millisecond(time.0).ok()?;
        let months = jiff::Span::new().try_months(self.months).ok()?;
        let shifted = instant.to_zoned(TimeZone::UTC).checked_add(months).ok()?;
        let ms = shifted.timestamp().as_millisecond().checked_add(self.ms)?;
        Some(Timestamp(ms))
    }
}

/// What a function takes.
#[derive(Clone, Copy)]
enum Takes {
    /// Text in all places.
    Text,
    /// Numbers in all places.
    Numbers,
    /// Text first, numbers after it.
    TextThenNumbers,
    /// Anything.
    Anything,
}

/// Name, function, least and most arguments, and what they are.
const FUNCTIONS: [(&str, Function, usize, usize, Takes); 23] = [
    ("LOWER", Function::Lower, 1, 1, Takes::Text),
    ("UPPER", Function::Upper, 1, 1, Takes::Text),
    ("TRIM", Function::Trim, 1, 1, Takes::Text),
    ("CHAR_LENGTH", Function::CharLength, 1, 1, Takes::Text),
    ("CHARACTER_LENGTH", Function::CharLength, 1, 1, Takes::Text),
    ("LENGTH", Function::CharLength, 1, 1, Takes::Text),
    (
        "SUBSTRING",
        Function::Substring,
        2,
        3,
        Takes::TextThenNumbers,
    ),
    ("SUBSTR", Function::Substring, 2, 3, Takes::TextThenNumbers),
    ("POSITION", Function::Position, 2, 2, Takes::Text),
    ("CONCAT", Function::Concat, 1, 100, Takes::Anything),
    ("ABS", Function::Abs, 1, 1, Takes::Numbers),
    ("CEILING", Function::Ceiling, 1, 1, Takes::Numbers),
    ("CEIL", Function::Ceiling, 1, 1, Takes::Numbers),
    ("FLOOR", Function::Floor, 1, 1, Takes::Numbers),
    ("ROUND", Function::Round, 1, 2, Takes::Numbers),
    ("TRUNCATE", Function::Truncate, 1, 2, Takes::Numbers),
    ("TRUNC", Function::Truncate, 1, 2, Takes::Numbers),
    ("SQRT", Function::Sqrt, 1, 1, Takes::Numbers),
    ("POWER", Function::Power, 2, 2, Takes::Numbers),
    ("MOD", Function::Mod, 2, 2, Takes::Numbers),
    ("COALESCE", Function::Coalesce, 1, 100, Takes::Anything),
    ("NULLIF", Function::NullIf, 2, 2, Takes::Anything),
    ("ISNULL", Function::Coalesce, 2, 2, Takes::Anything),
];

const AGGREGATES: [(&str, StatisticKind); 7] = [
    ("COUNT", StatisticKind::Count),
    ("SUM", StatisticKind::Sum),
    ("MIN", StatisticKind::Min),
    ("MAX", StatisticKind::Max),
    ("AVG", StatisticKind::Average),
    ("STDDEV", StatisticKind::StandardDeviation),
    ("VAR", StatisticKind::Variance),
];

const PARTS: [(&str, TimePart); 6] = [
    ("YEAR", TimePart::Year),
    ("MONTH", TimePart::Month),
    ("DAY", TimePart::Day),
    ("HOUR", TimePart::Hour),
    ("MINUTE", TimePart::Minute),
    ("SECOND", TimePart::Second),
];

/// Names of cast targets, and whether a length may follow in parentheses.
const CASTS: [(&str, CastType); 17] = [
    ("INT", CastType::Integer),
    ("INTEGER", CastType::Integer),
    ("SMALLINT", CastType::Integer),
    ("BIGINT", CastType::Integer),
    ("FLOAT", CastType::Real),
    ("REAL", CastType::Real),
    ("DOUBLE", CastType::Real),
    ("NUMERIC", CastType::Real),
    ("DECIMAL", CastType::Real),
    ("CHAR", CastType::Text),
    ("CHARACTER", CastType::Text),
    ("VARCHAR", CastType::Text),
    ("NVARCHAR", CastType::Text),
    ("TEXT", CastType::Text),
    ("DATE", CastType::Date),
    ("DATETIME", CastType::Date),
    ("TIMESTAMP", CastType::Date),
];

fn named<T: Copy>(list: &[(&str, T)], word: &str) -> Option<T> {
    let found = list
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(word));
    found.map(|(_, value)| *value)
}

impl Parser<'_> {
    /// `DATE '..'`, `TIMESTAMP '..'` and `TIME '..'`; `None` if the word is none of these.
    pub(super) fn typed_text(&mut self, _from: usize, upper: &str) -> Result<Option<Expr>> {
        if !["DATE", "TIMESTAMP", "DATETIME", "TIME"].contains(&upper) {
            return Ok(None);
        }
        let at = self.position();
        let Token::Text(text) = self.take() else {
            return Ok(None);
        };
        if upper == "TIME" {
            return match text.trim().parse::<jiff::civil::Time>() {
                Ok(time) => Ok(Some(Expr::Literal(Value::Text(time.to_string())))),
                Err(_not_a_time) => self.error_from(at, "expected a time such as '12:30:00'"),
            };
        }
        match date_text(&text) {
            Some(ms) => Ok(Some(Expr::Time(Timestamp(ms)))),
            None => self.error_from(
                at,
                "expected a date such as '2026-05-01' or '2026-05-01 12:30:00'",
            ),
        }
    }

    /// What follows INTERVAL: `'n' unit`.
    pub(super) fn interval(&mut self) -> Result<Interval> {
        let at = self.position();
        let number = match self.take() {
            Token::Text(text) => text.trim().parse::<f64>().ok(),
            Token::Integer(n) => Some(n as f64),
            Token::Real(x) => Some(x),
            _ => None,
        };
        let Some(number) = number.filter(|x| x.abs() < 1e9) else {
            return self.error_from(at, "expected an interval such as INTERVAL '1' DAY");
        };
        let unit_at = self.position();
        let Token::Word(unit) = self.take() else {
            return self.error_from(unit_at, "an interval needs a unit such as DAY or HOUR");
        };
        let unit = unit.to_ascii_uppercase();
        let ms_each = match unit.trim_end_matches('S') {
            "WEEK" => 604_800_000.0,
            "DAY" => 86_400_000.0,
            "HOUR" => 3_600_000.0,
            "MINUTE" => 60_000.0,
            "SECOND" => 1000.0,
            calendar @ ("MONTH" | "YEAR") => {
                let each = if calendar == "YEAR" { 12.0 } else { 1.0 };
                if number.fract() != 0.0 || number.abs() > 100_000.0 {
                    return self.error_from(at, "months and years must be whole");
                }
                return Ok(Interval {
                    months: (number * each) as i64,
                    ms: 0,
                });
            }
            _ => {
                return self.error_from(
                    unit_at,
                    format!("{unit:?} is no unit of time; legal: YEAR, MONTH, WEEK, DAY, HOUR, MINUTE, SECOND"),
                );
            }
        };
        Ok(Interval {
            months: 0,
            ms: (number * ms_each).round() as i64,
        })
    }

    /// A call; the next word is its opening parenthesis.
    pub(super) fn call(&mut self, from: usize, name: &str) -> Result<Expr> {
        self.needs("(")?;
        match name {
            "EXTRACT" => return self.extract(),
            "CAST" => return self.cast(),
            "CURRENT_TIMESTAMP" | "NOW" => {
                self.needs(")")?;
                return Ok(Expr::Time(self.scope.now));
            }
            _ => {}
        }
        if let Some(kind) = named(&AGGREGATES, name) {
            return self.aggregate(from, name, kind);
        }
        let known = FUNCTIONS.iter().find(|(known, ..)| *known == name);
        let Some(&(_, function, least, most, takes)) = known else {
            let shown: String = name.chars().take(60).collect();
            return self.error_from(from, format!("there is no function {shown}"));
        };
        let args_from = self.position();
        let args = self.arguments(function)?;
        if args.len() < least || args.len() > most {
            let wanted = if least == most {
                least.to_string()
            } else {
                format!("{least} to {most}")
            };
            return self.error_from(
                from,
                format!("{name} takes {wanted} arguments, found {}", args.len()),
            );
        }
        for (at, arg) in args.iter().enumerate() {
            match takes {
                Takes::Anything => {}
                Takes::Numbers => self.need_kind(args_from, arg, Kind::is_number, "a number")?,
                Takes::TextThenNumbers if at > 0 => {
                    self.need_kind(args_from, arg, Kind::is_number, "a number")?;
                }
                Takes::Text | Takes::TextThenNumbers => {
                    self.need_kind(args_from, arg, Kind::is_textual, "text")?;
                }
            }
        }
        let args = self.alike(args_from, function, args)?;
        self.shallow(Expr::Call { function, args })
    }

    /// Arguments of NULLIF and COALESCE are adapted to the first one.
    fn alike(&self, from: usize, function: Function, args: Vec<Expr>) -> Result<Vec<Expr>> {
        if !matches!(function, Function::NullIf | Function::Coalesce) {
            return Ok(args);
        }
        let mut args = args.into_iter();
        let Some(first) = args.next() else {
            return Ok(Vec::new());
        };
        let mut all = vec![first];
        for arg in args {
            let (_, arg) = self.aligned(from, all[0].clone(), arg)?;
            all.push(arg);
        }
        Ok(all)
    }

    /// Arguments up to the closing parenthesis, with the keyword forms of SUBSTRING, POSITION and TRIM.
    fn arguments(&mut self, function: Function) -> Result<Vec<Expr>> {
        let mut args = Vec::new();
        if self.takes_symbol(")") {
            return Ok(args);
        }
        if function == Function::Trim && self.takes("BOTH") {
            self.needs("FROM")?;
        }
        if function == Function::Position {
            // IN is an operator of values elsewhere, so the needle is read up to it.
            args.push(self.operand()?);
            if self.takes("IN") || self.takes_symbol(",") {
                args.push(self.value()?);
            }
            self.needs(")")?;
            return Ok(args);
        }
        loop {
            args.push(self.value()?);
            let keyword = function == Function::Substring
                && ((args.len() == 1 && self.takes("FROM"))
                    || (args.len() == 2 && self.takes("FOR")));
            if !keyword && !self.takes_symbol(",") {
                break;
            }
        }
        self.needs(")")?;
        Ok(args)
    }

    fn extract(&mut self) -> Result<Expr> {
        let at = self.position();
        let word = self.take();
        let part = match &word {
            Token::Word(word) => named(&PARTS, word),
            _ => None,
        };
        let Some(part) = part else {
            let names: Vec<&str> = PARTS.iter().map(|(name, _)| *name).collect();
            return self.error_from(
                at,
                format!(
                    "{} is no part of a time; legal: {}",
                    word.shown(),
                    names.join(", ")
                ),
            );
        };
        self.needs("FROM")?;
        let from = self.position();
        let time = self.value()?;
        self.need_kind(
            from,
            &time,
            |k| matches!(k, Kind::Time | Kind::Null),
            "a time",
        )?;
        self.needs(")")?;
        self.shallow(Expr::Call {
            function: Function::Extract(part),
            args: vec![time],
        })
    }

    fn cast(&mut self) -> Result<Expr> {
        let value = self.value()?;
        self.needs("AS")?;
        let at = self.position();
        let word = self.take();
        let target = match &word {
            Token::Word(word) => named(&CASTS, word),
            _ => None,
        };
        let Some(target) = target else {
            return self.error_from(at, format!("cannot cast to {}", word.shown()));
        };
        if word.is("DOUBLE") {
            self.takes("PRECISION");
        }
        if word.is("CHARACTER") {
            self.takes("VARYING");
        }
        let mut length = None;
        if self.takes_symbol("(") {
            let at = self.position();
            let Token::Integer(n @ 0..=1_000_000) = self.take() else {
                return self.error_from(at, "expected a length");
            };
            length = Some(n);
            if self.takes_symbol(",") && !matches!(self.take(), Token::Integer(_)) {
                return self.error("expected a number of decimals");
            }
            self.needs(")")?;
        }
        self.needs(")")?;
        let from_kind = kind_of(&value, self.scope.collection);
        if from_kind == Kind::Blob {
            return self.error_from(at, "bytes cannot be cast");
        }
        let cast = Expr::Call {
            function: Function::Cast(target),
            args: vec![value],
        };
        let cast = match length {
            Some(length) if target == CastType::Text => Expr::Call {
                function: Function::Substring,
                args: vec![
                    cast,
                    Expr::Literal(Value::Integer(1)),
                    Expr::Literal(Value::Integer(length)),
                ],
            },
            _ => cast,
        };
        self.shallow(cast)
    }

    fn aggregate(&mut self, from: usize, name: &str, kind: StatisticKind) -> Result<Expr> {
        if !self.scope.aggregates {
            return self.error_from(from, format!("{name} is only allowed in 'having'"));
        }
        let (mut kind, mut field) = (kind, None);
        if kind == StatisticKind::Count && self.takes_symbol("*") {
            self.needs(")")?;
            return Ok(Expr::Aggregate { kind, field });
        }
        if kind == StatisticKind::Count && self.takes("DISTINCT") {
            kind = StatisticKind::CountDistinct;
        }
        // Within an aggregate, fields of single rows are meant, and no aggregate again.
        let outer = self.scope;
        (
            self.scope.aggregates,
            self.scope.outputs,
            self.scope.group_by,
        ) = (false, &[], None);
        let inner = self.value();
        self.scope = outer;
        let inner = inner?;
        if matches!(
            kind,
            StatisticKind::Sum
                | StatisticKind::Average
                | StatisticKind::StandardDeviation
                | StatisticKind::Variance
        ) {
            self.need_kind(from, &inner, Kind::is_number, "a number")?;
        }
        field.get_or_insert(Box::new(inner));
        self.needs(")")?;
        self.shallow(Expr::Aggregate { kind, field })
    }
}
