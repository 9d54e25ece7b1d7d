//! SQL functions of ours: those that a GeoPackage's R-tree triggers call, and those that printed filters call.
//!
//! The bundled SQLite has no mathematical functions, and its text functions know ASCII only.

use haversack_model::filter::{CastType, Function, TimePart};
use haversack_model::{Envelope, Value};
use rusqlite::functions::{Context, FunctionFlags};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Result};

use super::spatial::{Given, relation_of};
use super::{aggregate, blob, column, datetime};

const PURE: FunctionFlags = FunctionFlags::SQLITE_UTF8
    .union(FunctionFlags::SQLITE_DETERMINISTIC)
    .union(FunctionFlags::SQLITE_INNOCUOUS);

/// Registers all of them on a connection.
///
/// # Errors
/// The database's, if it is out of memory.
pub fn register(connection: &Connection) -> Result<()> {
    register_bounds(connection)?;
    for (name, function) in NAMES {
        connection.create_scalar_function(*name, -1, PURE, move |context| {
            let args: Vec<Value> = (0..context.len())
                .map(|at| column::plain(context.get_raw(at)))
                .collect();
            Ok(column::bind(&call(*function, &args)))
        })?;
    }
    connection.create_scalar_function("haversack_ms", 1, PURE, |context| {
        Ok(match context.get_raw(0) {
            ValueRef::Text(text) => std::str::from_utf8(text).ok().and_then(datetime::from_text),
            ValueRef::Integer(ms) => Some(ms),
            _ => None,
        })
    })?;
    connection.create_scalar_function("haversack_number", 1, PURE, |context| {
        Ok(column::bind(&number(&column::plain(context.get_raw(0)))))
    })?;
    connection.create_scalar_function("haversack_iso", 1, PURE, |context| {
        Ok(match context.get_raw(0) {
            ValueRef::Integer(ms) => datetime::to_text(ms),
            _ => None,
        })
    })?;
    connection.create_scalar_function("haversack_like", 3, PURE, like_of)?;
    connection.create_scalar_function("haversack_relate", 3, PURE, relate_of)?;
    aggregate::register(connection)
}

fn bounds_of(context: &Context<'_>) -> Option<Envelope> {
    match context.get_raw(0) {
        ValueRef::Blob(bytes) => blob::envelope(bytes),
        _ => None,
    }
}

fn register_bounds(connection: &Connection) -> Result<()> {
    let bounds: [(&str, fn(Envelope) -> f64); 4] = [
        ("ST_MinX", |e| e.min_x),
        ("ST_MinY", |e| e.min_y),
        ("ST_MaxX", |e| e.max_x),
        ("ST_MaxY", |e| e.max_y),
    ];
    for (name, bound) in bounds {
        connection.create_scalar_function(name, 1, PURE, move |context| {
            Ok(bounds_of(context).map(bound))
        })?;
    }
    connection.create_scalar_function("ST_IsEmpty", 1, PURE, |context| {
        Ok(match context.get_raw(0) {
            ValueRef::Null => None,
            _ => Some(bounds_of(context).is_none()),
        })
    })
}

/// `haversack_relate(geometry, relation, given)`.
fn relate_of(context: &Context<'_>) -> Result<Option<bool>> {
    let (ValueRef::Blob(own), ValueRef::Integer(code)) = (context.get_raw(0), context.get_raw(1))
    else {
        return Ok(None);
    };
    let Some(relation) = relation_of(code) else {
        return Ok(None);
    };
    let given = context.get_or_create_aux(2, |stored| match stored {
        ValueRef::Blob(bytes) => {
            let geometry = blob::decode(bytes)?;
            Ok(Given::new(&geometry.shape(), geometry.envelope()))
        }
        _ => Err(crate::error::corrupt(
            "the geometry of a filter is no geometry",
        )),
    })?;
    Ok(given.relates(relation, blob::envelope(own), || blob::decode_shape(own)))
}

/// `haversack_like(text, pattern, escape)`.
fn like_of(context: &Context<'_>) -> Result<Option<bool>> {
    let text = match column::plain(context.get_raw(0)) {
        Value::Text(text) => text,
        Value::Integer(n) => n.to_string(),
        Value::Real(x) => format!("{x:?}"),
        Value::Null | Value::Blob(_) => return Ok(None),
    };
    let ValueRef::Text(pattern) = context.get_raw(1) else {
        return Ok(None);
    };
    let pattern = String::from_utf8_lossy(pattern);
    let escape = match context.get_raw(2) {
        ValueRef::Text(bytes) => String::from_utf8_lossy(bytes).chars().next(),
        _ => None,
    };
    Ok(Some(like(&text, &pattern, escape)))
}

/// One element of a `LIKE` pattern.
#[derive(Clone, Copy, PartialEq)]
enum Piece {
    Any,
    One,
    Literal(char),
}

fn pieces(pattern: &str, escape: Option<char>) -> Vec<Piece> {
    let mut found = Vec::with_capacity(pattern.len());
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        found.push(if Some(c) == escape {
            // An escape at the end stands for itself.
            Piece::Literal(chars.next().unwrap_or(c))
        } else if c == '%' {
            Piece::Any
        } else if c == '_' {
            Piece::One
        } else {
            Piece::Literal(c)
        });
    }
    found
}

/// SQL `LIKE`, case-sensitive. Linear in text times pattern, whatever the pattern.
pub fn like(text: &str, pattern: &str, escape: Option<char>) -> bool {
    let pieces = pieces(pattern, escape);
    let text: Vec<char> = text.chars().collect();
    let (mut at, mut piece) = (0, 0);
    // Where to go on when the present attempt fails: after the last `%`, one character further.
    let mut retry: Option<(usize, usize)> = None;
    while at < text.len() {
        match pieces.get(piece) {
            Some(Piece::Any) => {
                retry = Some((piece, at));
                piece += 1;
            }
            Some(Piece::One) => (at, piece) = (at + 1, piece + 1),
            Some(Piece::Literal(c)) if *c == text[at] => (at, piece) = (at + 1, piece + 1),
            _ => match retry {
                Some((any, from)) => {
                    retry = Some((any, from + 1));
                    (at, piece) = (from + 1, any + 1);
                }
                None => return false,
            },
        }
    }
    pieces[piece..].iter().all(|p| *p == Piece::Any)
}

/// The SQL names of the functions of filters.
const NAMES: &[(&str, Function)] = &[
    ("haversack_lower", Function::Lower),
    ("haversack_upper", Function::Upper),
    ("haversack_trim", Function::Trim),
    ("haversack_char_length", Function::CharLength),
    ("haversack_substring", Function::Substring),
    ("haversack_position", Function::Position),
    ("haversack_concat", Function::Concat),
    ("haversack_abs", Function::Abs),
    ("haversack_ceiling", Function::Ceiling),
    ("haversack_floor", Function::Floor),
    ("haversack_round", Function::Round),
    ("haversack_truncate", Function::Truncate),
    ("haversack_sqrt", Function::Sqrt),
    ("haversack_power", Function::Power),
    ("haversack_mod", Function::Mod),
    ("haversack_coalesce", Function::Coalesce),
    ("haversack_nullif", Function::NullIf),
    ("haversack_year", Function::Extract(TimePart::Year)),
    ("haversack_month", Function::Extract(TimePart::Month)),
    ("haversack_day", Function::Extract(TimePart::Day)),
    ("haversack_hour", Function::Extract(TimePart::Hour)),
    ("haversack_minute", Function::Extract(TimePart::Minute)),
    ("haversack_second", Function::Extract(TimePart::Second)),
    ("haversack_to_integer", Function::Cast(CastType::Integer)),
    ("haversack_to_real", Function::Cast(CastType::Real)),
    ("haversack_to_text", Function::Cast(CastType::Text)),
    ("haversack_to_date", Function::Cast(CastType::Date)),
];

/// The SQL name of a function.
pub(crate) fn sql_name(function: Function) -> &'static str {
    NAMES
        .iter()
        .find(|(_, known)| *known == function)
        .map(|(name, _)| *name)
        .expect("all functions are listed")
}

fn real(x: f64) -> Value {
    if x.is_finite() {
        Value::Real(x)
    } else {
        Value::Null
    }
}

fn as_real(value: &Value) -> Option<f64> {
    match number(value) {
        Value::Integer(n) => Some(n as f64),
        Value::Real(x) => Some(x),
        _ => None,
    }
}

/// The number of a value: texts that are numbers count as such.
fn number(value: &Value) -> Value {
    match value {
        Value::Integer(_) | Value::Real(_) => value.clone(),
        Value::Text(text) => {
            let text = text.trim();
            text.parse()
                .map(Value::Integer)
                .unwrap_or_else(|_not_whole| text.parse().map_or(Value::Null, real))
        }
        Value::Null | Value::Blob(_) => Value::Null,
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::Text(text) => Some(text.clone()),
        Value::Integer(n) => Some(n.to_string()),
        Value::Real(x) => Some(format!("{x:?}")),
        Value::Null | Value::Blob(_) => None,
    }
}

fn map_text(value: Option<&Value>, change: impl FnOnce(&str) -> Value) -> Value {
    value
        .and_then(text)
        .map_or(Value::Null, |text| change(&text))
}

/// Applies a rounding to reals; integers stay as they are unless digits are given.
fn rounded(args: &[Value], round: fn(f64) -> f64) -> Value {
    let digits = match args.get(1).map(number) {
        None => 0,
        Some(Value::Integer(digits)) => digits.clamp(-18, 18) as i32,
        Some(_) => return Value::Null,
    };
    match args.first().map(number) {
        Some(Value::Integer(n)) if digits >= 0 => Value::Integer(n),
        Some(Value::Integer(n)) => {
            let scale = 10f64.powi(-digits);
            real(round(n as f64 / scale) * scale)
        }
        Some(Value::Real(x)) => {
            let scale = 10f64.powi(digits);
            real(round(x * scale) / scale)
        }
        _ => Value::Null,
    }
}

fn remainder(a: Option<&Value>, b: Option<&Value>) -> Value {
    match (a.map(number), b.map(number)) {
        (Some(Value::Integer(a)), Some(Value::Integer(b))) => {
            if b == 0 {
                Value::Null
            } else {
                Value::Integer(a.wrapping_rem(b))
            }
        }
        (Some(a), Some(b)) => match (as_real(&a), as_real(&b)) {
            (Some(a), Some(b)) => real(a % b),
            _ => Value::Null,
        },
        _ => Value::Null,
    }
}

/// `SUBSTRING(text, start, length)` as the standard has it: positions before the text count.
fn substring(args: &[Value]) -> Value {
    let whole = |at: usize| match args.get(at).map(number) {
        Some(Value::Integer(n)) => Some(n),
        Some(Value::Real(x)) => Some(x as i64),
        _ => None,
    };
    let Some(start) = whole(1) else {
        return Value::Null;
    };
    let end = match (args.len(), whole(2)) {
        (0..=2, _) => i64::MAX,
        (_, Some(length)) => start.saturating_add(length.max(0)),
        (_, None) => return Value::Null,
    };
    map_text(args.first(), |text| {
        let skip = (start.max(1) - 1) as usize;
        let take = end.saturating_sub(start.max(1)).max(0) as usize;
        Value::Text(text.chars().skip(skip).take(take).collect())
    })
}

fn position(args: &[Value]) -> Value {
    match (args.first().and_then(text), args.get(1).and_then(text)) {
        (Some(needle), Some(text)) => Value::Integer(
            text.find(&needle)
                .map_or(0, |at| text[..at].chars().count() as i64 + 1),
        ),
        _ => Value::Null,
    }
}

fn cast(value: &Value, to: CastType) -> Value {
    match to {
        CastType::Integer => match number(value) {
            Value::Real(x) if x.abs() < 9.2e18 => Value::Integer(x.trunc() as i64),
            Value::Real(_) => Value::Null,
            other => other,
        },
        CastType::Real => as_real(value).map_or(Value::Null, Value::Real),
        CastType::Text => text(value).map_or(Value::Null, Value::Text),
        CastType::Date => match value {
            Value::Text(text) => datetime::from_text(text).map_or(Value::Null, Value::Integer),
            Value::Integer(ms) => Value::Integer(*ms),
            _ => Value::Null,
        },
    }
}

fn extract(value: Option<&Value>, part: TimePart) -> Value {
    match value.map(|v| cast(v, CastType::Date)) {
        Some(Value::Integer(ms)) => Value::Integer(datetime::parts(ms)[part as usize]),
        _ => Value::Null,
    }
}

/// What a function of filters gives. Arguments of a wrong type give null, never an error.
pub fn call(function: Function, args: &[Value]) -> Value {
    let first = args.first();
    let first_real = || first.and_then(as_real);
    match function {
        Function::Lower => map_text(first, |t| Value::Text(t.to_lowercase())),
        Function::Upper => map_text(first, |t| Value::Text(t.to_uppercase())),
        Function::Trim => map_text(first, |t| Value::Text(t.trim_matches(' ').to_owned())),
        Function::CharLength => map_text(first, |t| Value::Integer(t.chars().count() as i64)),
        Function::Substring => substring(args),
        Function::Position => position(args),
        Function::Concat => Value::Text(args.iter().filter_map(text).collect()),
        Function::Abs => match first.map(number) {
            Some(Value::Integer(n)) => Value::Integer(n.saturating_abs()),
            Some(Value::Real(x)) => Value::Real(x.abs()),
            _ => Value::Null,
        },
        Function::Ceiling => rounded(&args[..args.len().min(1)], f64::ceil),
        Function::Floor => rounded(&args[..args.len().min(1)], f64::floor),
        Function::Round => rounded(args, f64::round),
        Function::Truncate => rounded(args, f64::trunc),
        Function::Sqrt => first_real().map_or(Value::Null, |x| real(x.sqrt())),
        Function::Power => match (first_real(), args.get(1).and_then(as_real)) {
            (Some(x), Some(y)) => real(x.powf(y)),
            _ => Value::Null,
        },
        Function::Mod => remainder(first, args.get(1)),
        Function::Coalesce => {
            let found = args.iter().find(|v| !v.is_null());
            found.cloned().unwrap_or_default()
        }
        Function::NullIf => match (first, args.get(1)) {
            (Some(a), Some(b)) if same(a, b) => Value::Null,
            (Some(a), _) => a.clone(),
            _ => Value::Null,
        },
        Function::Extract(part) => extract(first, part),
        Function::Cast(to) => first.map_or(Value::Null, |v| cast(v, to)),
    }
}

fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Integer(n), Value::Real(x)) | (Value::Real(x), Value::Integer(n)) => {
            *n as f64 == *x
        }
        _ => a == b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn like_takes_the_pattern_literally_where_it_is_escaped() {
        assert!(like("100%", "100!%", Some('!')));
        assert!(!like("100x", "100!%", Some('!')));
        assert!(like("a_b", "_\\__", Some('\\')));
        assert!(like("Žďár", "_ď%r", None));
        assert!(!like("Oak", "oak", None));
        assert!(like("", "%", None) && !like("", "_", None));
        assert!(like("aXbXc", "a%X%c", None));
    }

    #[test]
    fn a_hostile_pattern_ends_quickly() {
        let text = "a".repeat(10_000);
        assert!(!like(&text, &format!("{}b", "%a".repeat(20)), None));
    }

    #[test]
    fn substring_counts_from_one_and_before() {
        let sub = |start: i64, length: i64| {
            call(
                Function::Substring,
                &["příklad".into(), start.into(), length.into()],
            )
        };
        assert_eq!(sub(1, 3), "pří".into());
        assert_eq!(sub(-1, 3), "p".into());
        assert_eq!(sub(8, 3), "".into());
    }

    #[test]
    fn functions_of_nothing_are_null() {
        for (name, function) in NAMES {
            let given = call(*function, &[Value::Null, Value::Null]);
            let expected = if *function == Function::Concat {
                "".into()
            } else {
                Value::Null
            };
            assert_eq!(given, expected, "{name}");
        }
        assert_eq!(call(Function::Sqrt, &[Value::Integer(-1)]), Value::Null);
        assert_eq!(call(Function::Mod, &[7.into(), 0.into()]), Value::Null);
    }

    #[test]
    fn rounding_keeps_integers_whole() {
        assert_eq!(
            call(Function::Round, &[Value::Integer(5)]),
            Value::Integer(5)
        );
        assert_eq!(
            call(Function::Round, &[Value::Real(2.345), 2.into()]),
            Value::Real(2.35)
        );
        assert_eq!(
            call(Function::Floor, &[Value::Real(-1.5)]),
            Value::Real(-2.0)
        );
    }
}
