//! SQL functions of ours: those that a GeoPackage's R-tree triggers call, and those that printed filters call.
//!
//! What a function means is said once, by the evaluator in `model`; SQL calls it. The bundled SQLite has no
//! mathematical functions, and its text functions know ASCII only.

use haversack_model::filter::{self, Arithmetic, CastType, Function, TimePart};
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
            let args: Vec<Value> = (0..context.len()).map(|at| argument(context, at)).collect();
            Ok(column::bind(&filter::call_function(*function, &args)))
        })?;
    }
    connection.create_scalar_function("haversack_ms", 1, PURE, |context| {
        Ok(match context.get_raw(0) {
            ValueRef::Text(text) => std::str::from_utf8(text).ok().and_then(datetime::from_text),
            ValueRef::Integer(ms) => Some(ms),
            _ => None,
        })
    })?;
    connection.create_scalar_function("haversack_negate", 1, PURE, |context| {
        Ok(column::bind(&filter::negate(&argument(context, 0))))
    })?;
    connection.create_scalar_function("haversack_compare", 2, PURE, |context| {
        let order = filter::compare(&argument(context, 0), &argument(context, 1));
        Ok(order.map(|order| order as i64))
    })?;
    connection.create_scalar_function("haversack_compute", 5, PURE, compute_of)?;
    connection.create_scalar_function("haversack_like", 3, PURE, |context| Ok(like_of(context)))?;
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
    let bound = |name: &str, bound: fn(Envelope) -> f64| {
        connection.create_scalar_function(name, 1, PURE, move |context| {
            Ok(bounds_of(context).map(bound))
        })
    };
    bound("ST_MinX", |e| e.min_x)?;
    bound("ST_MinY", |e| e.min_y)?;
    bound("ST_MaxX", |e| e.max_x)?;
    bound("ST_MaxY", |e| e.max_y)?;
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

/// `haversack_like(value, pattern, escape)`.
fn like_of(context: &Context<'_>) -> Option<bool> {
    let ValueRef::Text(pattern) = context.get_raw(1) else {
        return None;
    };
    let pattern = String::from_utf8_lossy(pattern);
    let escape = match context.get_raw(2) {
        ValueRef::Text(bytes) => String::from_utf8_lossy(bytes).chars().next(),
        _ => None,
    };
    filter::is_like(&column::plain(context.get_raw(0)), &pattern, escape)
}

/// `haversack_compute(left, left is a time, operator, right, right is a time)`.
fn compute_of(context: &Context<'_>) -> Result<rusqlite::types::Value> {
    let operator: i64 = context.get(2)?;
    let Some(operator) = usize::try_from(operator)
        .ok()
        .and_then(|at| OPERATORS.get(at))
    else {
        return Ok(rusqlite::types::Value::Null);
    };
    let side = |at: usize| Ok::<_, rusqlite::Error>((argument(context, at), context.get(at + 1)?));
    Ok(column::bind(&filter::compute(
        side(0)?,
        *operator,
        side(3)?,
    )))
}

fn argument(context: &Context<'_>, at: usize) -> Value {
    column::plain(context.get_raw(at))
}

const OPERATORS: [Arithmetic; 6] = [
    Arithmetic::Add,
    Arithmetic::Subtract,
    Arithmetic::Multiply,
    Arithmetic::Divide,
    Arithmetic::Modulo,
    Arithmetic::Concat,
];

/// The number under which an operator is passed to SQL.
pub(crate) fn operator_code(operator: Arithmetic) -> i64 {
    OPERATORS
        .iter()
        .position(|known| *known == operator)
        .expect("all operators are listed") as i64
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_functions_of_filters_and_of_r_trees_are_there() {
        let connection = Connection::open_in_memory().unwrap();
        register(&connection).unwrap();
        let one = |sql: &str| -> rusqlite::types::Value {
            connection.query_row(sql, [], |row| row.get(0)).unwrap()
        };
        assert_eq!(one("SELECT haversack_sqrt(9)"), 3.0.into());
        assert_eq!(
            one("SELECT haversack_upper('Žďár')"),
            "ŽĎÁR".to_owned().into()
        );
        assert_eq!(one("SELECT haversack_like('100%', '100!%', '!')"), 1.into());
        assert_eq!(
            one("SELECT haversack_compare(1, 'x')"),
            rusqlite::types::Value::Null
        );
        assert_eq!(one("SELECT haversack_compute(7, 0, 4, 4, 0)"), 3.into());
        assert_eq!(one("SELECT ST_IsEmpty(NULL)"), rusqlite::types::Value::Null);
    }

    #[test]
    fn a_hostile_pattern_ends_quickly() {
        let text = Value::Text("a".repeat(10_000));
        let pattern = format!("{}b", "%a".repeat(20));
        assert_eq!(filter::is_like(&text, &pattern, None), Some(false));
    }
}
