//! Evaluates a filter on a record in memory, with SQL's three-valued logic.
//!
//! For stores without a query language (the simulator's) and as the oracle that a store's printed SQL is
//! compared with. Spatial relations are decided on envelopes: exact for points against boxes, an
//! over-estimate otherwise; stores with planar geometry do better. Operands of different kinds (text against
//! number) compare as unknown. Stores may call [`call_function`], [`compute`], [`compare`] and [`is_like`] from
//! their queries, so that there is one meaning of each.

use std::cmp::Ordering;

use super::{Arithmetic, CastType, Comparison, Expr, Filter, Function, SpatialRelation, TimePart};
use crate::schema::FieldType;
use crate::{Collection, CollectionId, Envelope, GlobalId, Record, Value};

/// Looks parents up for [`Filter::ParentMatches`].
pub trait Parents {
    /// The live record of this id, with its collection's definition.
    fn parent(&self, collection: CollectionId, id: &GlobalId) -> Option<(Collection, Record)>;
}

/// For collections whose filters look at no other record.
#[derive(Clone, Copy, Debug)]
pub struct NoParents;

impl Parents for NoParents {
    fn parent(&self, _: CollectionId, _: &GlobalId) -> Option<(Collection, Record)> {
        None
    }
}

impl Filter {
    /// Whether the record is in: the condition is true, neither false nor unknown.
    pub fn matches(&self, collection: &Collection, record: &Record, parents: &dyn Parents) -> bool {
        Row {
            collection,
            record,
            parents,
        }
        .truth(self)
            == Some(true)
    }
}

struct Row<'a> {
    collection: &'a Collection,
    record: &'a Record,
    parents: &'a dyn Parents,
}

/// A computed value, and whether it is a point in time (milliseconds).
#[derive(Clone, Debug)]
struct Computed {
    value: Value,
    is_time: bool,
}

impl From<Value> for Computed {
    fn from(value: Value) -> Self {
        Self {
            value,
            is_time: false,
        }
    }
}

const NULL: Computed = Computed {
    value: Value::Null,
    is_time: false,
};
const MS_PER_DAY: f64 = 86_400_000.0;

impl Row<'_> {
    fn truth(&self, filter: &Filter) -> Option<bool> {
        match filter {
            Filter::All => Some(true),
            Filter::Nothing => Some(false),
            Filter::And(all) => self.fold(all, false),
            Filter::Or(any) => self.fold(any, true),
            Filter::Not(one) => self.truth(one).map(|truth| !truth),
            Filter::Compare { left, op, right } => {
                let order = compare(&self.value(left).value, &self.value(right).value)?;
                Some(match op {
                    Comparison::Equal => order == Ordering::Equal,
                    Comparison::NotEqual => order != Ordering::Equal,
                    Comparison::Less => order == Ordering::Less,
                    Comparison::LessOrEqual => order != Ordering::Greater,
                    Comparison::Greater => order == Ordering::Greater,
                    Comparison::GreaterOrEqual => order != Ordering::Less,
                })
            }
            Filter::Like {
                expr,
                pattern,
                escape,
            } => is_like(&self.value(expr).value, pattern, *escape),
            Filter::In { expr, list } => {
                let value = self.value(expr).value;
                if list.is_empty() {
                    return Some(false);
                }
                let mut all_known = !value.is_null();
                for item in list {
                    match compare(&value, &self.value(item).value) {
                        Some(Ordering::Equal) => return Some(true),
                        Some(_) => {}
                        None => all_known = false,
                    }
                }
                all_known.then_some(false)
            }
            Filter::IsNull(expr) => Some(self.value(expr).value.is_null()),
            Filter::ObjectIds(ids) => {
                Some(self.record.object_id.is_some_and(|id| ids.contains(&id)))
            }
            Filter::GlobalIds(ids) => Some(ids.contains(&self.record.global_id)),
            Filter::Spatial { relation, geometry } => {
                let own = self.record.geometry.as_ref()?.envelope()?;
                Some(relates(*relation, &own, &geometry.envelope()?))
            }
            Filter::ParentMatches {
                field,
                parent,
                filter,
            } => {
                let at = self.collection.field_index(field)?;
                let id = GlobalId::parse_uuid(self.record.values.get(at)?.as_text()?).ok()?;
                let found = self.parents.parent(*parent, &id);
                Some(found.is_some_and(|(collection, record)| {
                    filter.matches(&collection, &record, self.parents)
                }))
            }
        }
    }

    /// `Or` stops at true (`decides = true`), `And` at false; an unknown part makes the rest unknown.
    fn fold(&self, parts: &[Filter], decides: bool) -> Option<bool> {
        let mut all_known = true;
        for part in parts {
            match self.truth(part) {
                Some(truth) if truth == decides => return Some(decides),
                Some(_) => {}
                None => all_known = false,
            }
        }
        all_known.then_some(!decides)
    }

    fn value(&self, expr: &Expr) -> Computed {
        match expr {
            Expr::Field(name) => self
                .collection
                .field_index(name)
                .map_or(NULL, |at| Computed {
                    value: self.record.values.get(at).cloned().unwrap_or_default(),
                    is_time: self.collection.fields[at].kind == FieldType::Date,
                }),
            Expr::ObjectId => self
                .record
                .object_id
                .map_or(NULL, |id| Value::Integer(id.0).into()),
            Expr::GlobalId => Value::Text(self.record.global_id.to_string()).into(),
            Expr::Literal(value) => value.clone().into(),
            Expr::Time(time) => Computed {
                value: Value::Integer(time.0),
                is_time: true,
            },
            Expr::Negate(inner) => negate(&self.value(inner).value).into(),
            Expr::Binary { left, op, right } => {
                arithmetic(&self.value(left), *op, &self.value(right))
            }
            Expr::Call { function, args } => {
                let args: Vec<_> = args.iter().map(|arg| self.value(arg)).collect();
                call(*function, &args)
            }
            Expr::Aggregate { .. } => NULL,
        }
    }
}

/// The value of a function of plain values.
pub fn call_function(function: Function, args: &[Value]) -> Value {
    let args: Vec<Computed> = args.iter().cloned().map(Computed::from).collect();
    call(function, &args).value
}

/// The value of an operation; each operand says whether it is a point in time.
pub fn compute(left: (Value, bool), op: Arithmetic, right: (Value, bool)) -> Value {
    let computed = |(value, is_time)| Computed { value, is_time };
    arithmetic(&computed(left), op, &computed(right)).value
}

/// The value of a negation.
pub fn negate(value: &Value) -> Value {
    match value {
        Value::Integer(n) => Value::Integer(n.wrapping_neg()),
        Value::Real(x) => Value::Real(-x),
        _ => Value::Null,
    }
}

/// SQL `LIKE`, case-sensitive; unknown for what is no text and no integer.
pub fn is_like(value: &Value, pattern: &str, escape: Option<char>) -> Option<bool> {
    let text: Vec<char> = to_text(value)?.chars().collect();
    let pattern: Vec<char> = pattern.chars().collect();
    Some(fits(&text, &pattern, escape))
}

/// Order of two values; unknown if either is null or their kinds differ.
pub fn compare(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Integer(a), Value::Integer(b)) => Some(a.cmp(b)),
        (Value::Integer(_) | Value::Real(_), Value::Integer(_) | Value::Real(_)) => {
            to_real(a)?.partial_cmp(&to_real(b)?)
        }
        (Value::Text(a), Value::Text(b)) => Some(a.as_bytes().cmp(b.as_bytes())),
        (Value::Blob(a), Value::Blob(b)) => Some(a.cmp(b)),
        _ => None,
    }
}

fn to_real(value: &Value) -> Option<f64> {
    match value {
        Value::Integer(n) => Some(*n as f64),
        Value::Real(x) => Some(*x),
        _ => None,
    }
}

fn to_text(value: &Value) -> Option<String> {
    match value {
        Value::Text(text) => Some(text.clone()),
        Value::Integer(n) => Some(n.to_string()),
        _ => None,
    }
}

/// Matches `%` and `_` by trying the last `%` again, which is linear in text times pattern.
fn fits(text: &[char], pattern: &[char], escape: Option<char>) -> bool {
    let (mut t, mut p) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    loop {
        let step = match pattern.get(p) {
            Some('%') if escape != Some('%') => {
                retry = Some((p + 1, t));
                p += 1;
                continue;
            }
            Some(c) if Some(*c) == escape => match (pattern.get(p + 1), text.get(t)) {
                (Some(wanted), Some(have)) if wanted == have => Some(2),
                _ => None,
            },
            Some('_') if t < text.len() => Some(1),
            Some(c) if text.get(t) == Some(c) => Some(1),
            None if t == text.len() => return true,
            _ => None,
        };
        match (step, retry) {
            (Some(width), _) => {
                p += width;
                t += 1;
            }
            (None, Some((after, from))) if from < text.len() => {
                retry = Some((after, from + 1));
                p = after;
                t = from + 1;
            }
            (None, _) => return false,
        }
    }
}

fn relates(relation: SpatialRelation, own: &Envelope, given: &Envelope) -> bool {
    match relation {
        SpatialRelation::Within => given.contains(own),
        SpatialRelation::Contains => own.contains(given),
        SpatialRelation::Intersects
        | SpatialRelation::EnvelopeIntersects
        | SpatialRelation::Crosses
        | SpatialRelation::Overlaps
        | SpatialRelation::Touches => own.intersects(given),
    }
}

fn arithmetic(left: &Computed, op: Arithmetic, right: &Computed) -> Computed {
    if op == Arithmetic::Concat {
        return match (to_text(&left.value), to_text(&right.value)) {
            (Some(a), Some(b)) => Value::Text(a + &b).into(),
            _ => NULL,
        };
    }
    if left.is_time || right.is_time {
        return time_arithmetic(left, op, right);
    }
    if let (Value::Integer(a), Value::Integer(b)) = (&left.value, &right.value) {
        let exact = match op {
            Arithmetic::Add => a.checked_add(*b),
            Arithmetic::Subtract => a.checked_sub(*b),
            Arithmetic::Multiply => a.checked_mul(*b),
            Arithmetic::Divide | Arithmetic::Modulo if *b == 0 => return NULL,
            Arithmetic::Divide => a.checked_div(*b),
            Arithmetic::Modulo => a.checked_rem(*b),
            Arithmetic::Concat => None,
        };
        if let Some(n) = exact {
            return Value::Integer(n).into();
        }
    }
    let (Some(a), Some(b)) = (to_real(&left.value), to_real(&right.value)) else {
        return NULL;
    };
    let result = match op {
        Arithmetic::Add => a + b,
        Arithmetic::Subtract => a - b,
        Arithmetic::Multiply => a * b,
        Arithmetic::Divide => a / b,
        Arithmetic::Modulo | Arithmetic::Concat => a % b,
    };
    if result.is_finite() {
        Value::Real(result).into()
    } else {
        NULL
    }
}

/// A time plus or minus a number counts days; the difference of two times is in days.
fn time_arithmetic(left: &Computed, op: Arithmetic, right: &Computed) -> Computed {
    let (Some(a), Some(b)) = (to_real(&left.value), to_real(&right.value)) else {
        return NULL;
    };
    let time = |ms: f64| Computed {
        value: Value::Integer(ms.round() as i64),
        is_time: true,
    };
    match (left.is_time, op, right.is_time) {
        (true, Arithmetic::Add, false) => time(a + b * MS_PER_DAY),
        (false, Arithmetic::Add, true) => time(a * MS_PER_DAY + b),
        (true, Arithmetic::Subtract, false) => time(a - b * MS_PER_DAY),
        (true, Arithmetic::Subtract, true) => Value::Real((a - b) / MS_PER_DAY).into(),
        _ => NULL,
    }
}

fn call(function: Function, args: &[Computed]) -> Computed {
    let arg = |at: usize| args.get(at).map_or(&Value::Null, |c| &c.value);
    let text = |at: usize| to_text(arg(at));
    let real = |at: usize| to_real(arg(at));
    let number = |x: Option<f64>| {
        x.filter(|x| x.is_finite())
            .map_or(NULL, |x| Value::Real(x).into())
    };
    let computed = |value: Option<Value>| value.map_or(NULL, Computed::from);
    match function {
        Function::Lower => computed(text(0).map(|t| Value::Text(t.to_lowercase()))),
        Function::Upper => computed(text(0).map(|t| Value::Text(t.to_uppercase()))),
        Function::Trim => computed(text(0).map(|t| Value::Text(t.trim_matches(' ').to_owned()))),
        Function::CharLength => computed(text(0).map(|t| Value::Integer(t.chars().count() as i64))),
        Function::Substring => computed(substring(
            text(0),
            arg(1).as_integer(),
            args.get(2).map(|c| &c.value),
        )),
        Function::Position => computed(text(0).zip(text(1)).map(|(needle, hay)| {
            let at = hay
                .find(&needle)
                .map_or(0, |byte| hay[..byte].chars().count() + 1);
            Value::Integer(at as i64)
        })),
        Function::Concat => computed(
            args.iter()
                .map(|c| to_text(&c.value))
                .collect::<Option<Vec<_>>>()
                .map(|t| Value::Text(t.concat())),
        ),
        Function::Abs => match arg(0) {
            Value::Integer(n) => Value::Integer(n.wrapping_abs()).into(),
            _ => number(real(0).map(f64::abs)),
        },
        Function::Ceiling => number(real(0).map(f64::ceil)),
        Function::Floor => number(real(0).map(f64::floor)),
        Function::Round => number(real(0).map(|x| at_digits(x, arg(1), f64::round))),
        Function::Truncate => number(real(0).map(|x| at_digits(x, arg(1), f64::trunc))),
        Function::Sqrt => number(real(0).map(f64::sqrt)),
        Function::Power => number(real(0).zip(real(1)).map(|(x, y)| x.powf(y))),
        Function::Mod => arithmetic(
            args.first().unwrap_or(&NULL),
            Arithmetic::Modulo,
            args.get(1).unwrap_or(&NULL),
        ),
        Function::Coalesce => Computed {
            is_time: args.iter().all(|c| c.is_time),
            ..args
                .iter()
                .find(|c| !c.value.is_null())
                .cloned()
                .unwrap_or(NULL)
        },
        Function::NullIf => match compare(arg(0), arg(1)) {
            Some(Ordering::Equal) => NULL,
            _ => args.first().cloned().unwrap_or(NULL),
        },
        Function::Extract(part) => computed(
            arg(0)
                .as_integer()
                .map(|ms| Value::Integer(extract(part, ms))),
        ),
        Function::Cast(to) => cast(to, args.first().unwrap_or(&NULL)),
    }
}

fn at_digits(x: f64, digits: &Value, change: fn(f64) -> f64) -> f64 {
    let scale = 10f64.powi(digits.as_integer().unwrap_or(0).clamp(-15, 15) as i32);
    change(x * scale) / scale
}

/// Characters from the 1-based `start`; a start before the first counts from there. A null argument gives null.
fn substring(text: Option<String>, start: Option<i64>, length: Option<&Value>) -> Option<Value> {
    let (text, start) = (text?, start?.max(1));
    let length = match length {
        Some(length) => length.as_integer()?.max(0) as usize,
        None => usize::MAX,
    };
    Some(Value::Text(
        text.chars()
            .skip((start - 1) as usize)
            .take(length)
            .collect(),
    ))
}

fn cast(to: CastType, from: &Computed) -> Computed {
    match (to, &from.value) {
        (_, Value::Null) => NULL,
        (CastType::Date, Value::Integer(ms)) => Computed {
            value: Value::Integer(*ms),
            is_time: true,
        },
        (CastType::Integer, value) => match value {
            Value::Text(text) => text
                .trim()
                .parse()
                .map_or(NULL, |n: i64| Value::Integer(n).into()),
            _ => to_real(value).map_or(NULL, |x| Value::Integer(x as i64).into()),
        },
        (CastType::Real, value) => match value {
            Value::Text(text) => text
                .trim()
                .parse()
                .map_or(NULL, |x: f64| Value::Real(x).into()),
            _ => to_real(value).map_or(NULL, |x| Value::Real(x).into()),
        },
        (CastType::Text, value) => to_text(value).map_or(NULL, |text| Value::Text(text).into()),
        (CastType::Date, _) => NULL,
    }
}

/// A part of a UTC time, proleptic Gregorian.
fn extract(part: TimePart, ms: i64) -> i64 {
    let second_of_day = ms.div_euclid(1000).rem_euclid(86_400);
    match part {
        TimePart::Hour => second_of_day / 3600,
        TimePart::Minute => second_of_day / 60 % 60,
        TimePart::Second => second_of_day % 60,
        TimePart::Year | TimePart::Month | TimePart::Day => {
            let (year, month, day) = civil(ms.div_euclid(86_400_000));
            match part {
                TimePart::Year => year,
                TimePart::Month => month,
                _ => day,
            }
        }
    }
}

/// Year, month and day of a day number since 1970: years are counted from 1 March, so that the leap day is last.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn like(text: &str, pattern: &str, escape: Option<char>) -> bool {
        is_like(&text.into(), pattern, escape) == Some(true)
    }

    #[test]
    fn like_knows_runs_single_characters_and_escapes() {
        assert!(like("San Francisco", "San%co", None));
        assert!(like("aXbXc", "a%X_", None));
        assert!(!like("aXbX", "a%X_", None));
        assert!(like("50% off", "50!% %", Some('!')));
        assert!(!like("500 off", "50!% %", Some('!')));
        assert!(!like("ABC", "abc", None));
        assert!(like("", "%", None) && !like("", "_", None));
    }

    #[test]
    fn parts_of_a_time_are_in_utc() {
        // 2024-02-29T23:59:58.500Z and the millisecond before 1970.
        let leap = 1_709_251_198_500;
        let parts = [
            TimePart::Year,
            TimePart::Month,
            TimePart::Day,
            TimePart::Hour,
            TimePart::Minute,
            TimePart::Second,
        ];
        assert_eq!(
            parts.map(|part| extract(part, leap)),
            [2024, 2, 29, 23, 59, 58]
        );
        assert_eq!(
            parts.map(|part| extract(part, -1)),
            [1969, 12, 31, 23, 59, 59]
        );
    }

    #[test]
    fn null_makes_a_comparison_unknown_and_not_does_not_help() {
        let collection = Collection {
            fields: Vec::new(),
            ..sample()
        };
        let record = Record {
            global_id: GlobalId::Text("a".into()),
            object_id: None,
            values: vec![],
            geometry: None,
        };
        let unknown = || Filter::Compare {
            left: Expr::Literal(Value::Null),
            op: Comparison::Equal,
            right: Expr::Literal(Value::Integer(1)),
        };
        let is_in = |filter: Filter| filter.matches(&collection, &record, &NoParents);
        assert!(!is_in(unknown()));
        assert!(!is_in(Filter::Not(Box::new(unknown()))));
        assert!(is_in(Filter::Or(vec![unknown(), Filter::All])));
        assert!(!is_in(Filter::And(vec![unknown(), Filter::All])));
        assert!(is_in(Filter::Not(Box::new(Filter::And(vec![
            unknown(),
            Filter::Nothing
        ])))));
    }

    fn sample() -> Collection {
        Collection {
            id: CollectionId(0),
            name: String::new(),
            table: String::new(),
            kind: crate::CollectionKind::Table,
            description: String::new(),
            object_id_field: "OBJECTID".to_owned(),
            global_id_field: "GlobalID".to_owned(),
            display_field: None,
            geometry: None,
            fields: Vec::new(),
            has_attachments: false,
            relationships: Vec::new(),
            editor_fields: None,
            max_record_count: 1000,
            indexes: Vec::new(),
            properties: std::collections::BTreeMap::new(),
        }
    }
}
