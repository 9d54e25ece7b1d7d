//! One attribute value in JSON, by the type of its field.

use std::io::{self, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use haversack_model::schema::{Field, FieldType};
use haversack_model::{GlobalId, Value};
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use serde_json::Value as Json;

use crate::wire::json::{integer, kind, whole, write_number, write_text};
use crate::{Error, Result};

/// Reads a value for a field.
///
/// # Errors
/// [`Error::Field`] that names the field, what came and what would fit.
pub fn read_value(field: &Field, json: &Json) -> Result<Value> {
    if json.is_null() {
        return Ok(Value::Null);
    }
    let wrong = |expected: &str| {
        let shown: String = json.to_string().chars().take(60).collect();
        Error::field(
            &field.name,
            format!("needs {expected}, got {} {shown}", kind(json)),
        )
    };
    let whole_within = |min: i64, max: i64| {
        integer(json)
            .filter(|n| (min..=max).contains(n))
            .map(Value::Integer)
            .ok_or_else(|| wrong(&format!("a whole number from {min} to {max}")))
    };
    match field.kind {
        FieldType::SmallInteger => whole_within(i16::MIN.into(), i16::MAX.into()),
        FieldType::Integer => whole_within(i32::MIN.into(), i32::MAX.into()),
        FieldType::BigInteger => whole_within(i64::MIN, i64::MAX),
        FieldType::Single => real(json)
            .map(|x| f64::from(x as f32))
            .filter(|x| x.is_finite())
            .map(Value::Real)
            .ok_or_else(|| wrong("a number of 32 bits")),
        FieldType::Double => real(json).map(Value::Real).ok_or_else(|| wrong("a number")),
        FieldType::String => text(json).map(Value::Text).ok_or_else(|| wrong("text")),
        FieldType::Date => milliseconds(json)
            .map(Value::Integer)
            .ok_or_else(|| wrong("milliseconds since 1970 or a date such as 2026-05-01T12:00:00Z")),
        FieldType::DateOnly => json
            .as_str()
            .and_then(|t| t.trim().parse::<Date>().ok())
            .map(|date| Value::Text(date.to_string()))
            .ok_or_else(|| wrong("a date such as 2026-05-01")),
        FieldType::TimeOnly => json
            .as_str()
            .and_then(|t| t.trim().parse::<Time>().ok())
            .map(|time| Value::Text(time.to_string()))
            .ok_or_else(|| wrong("a time such as 12:30:00")),
        FieldType::TimestampOffset => json
            .as_str()
            .filter(|t| t.trim().parse::<jiff::Timestamp>().is_ok())
            .map(|t| Value::Text(t.trim().to_owned()))
            .ok_or_else(|| wrong("a time with offset such as 2026-05-01T12:00:00+02:00")),
        FieldType::Guid => json
            .as_str()
            .and_then(|t| GlobalId::parse_uuid(t).ok())
            .map(|id| Value::Text(id.braced()))
            .ok_or_else(|| wrong("a GUID")),
        FieldType::Blob => json
            .as_str()
            .and_then(|t| STANDARD.decode(t.trim()).ok())
            .map(Value::Blob)
            .ok_or_else(|| wrong("bytes in base64")),
    }
}

fn real(json: &Json) -> Option<f64> {
    match json {
        Json::Number(number) => number.as_f64(),
        Json::String(text) => text.trim().parse().ok(),
        _ => None,
    }
    .filter(|x: &f64| x.is_finite())
}

/// Text as sent; a number becomes its text, as ArcGIS servers do.
fn text(json: &Json) -> Option<String> {
    match json {
        Json::String(text) => Some(text.clone()),
        Json::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Milliseconds of a number, or of ISO 8601 text (UTC where it names no offset).
fn milliseconds(json: &Json) -> Option<i64> {
    let ms = match json {
        // Fractions of a millisecond come from clients that divide; they are cut off.
        Json::Number(number) => number
            .as_i64()
            .or_else(|| number.as_f64().and_then(|x| whole(x.trunc())))?,
        Json::String(text) => date_text(text).or_else(|| text.trim().parse().ok())?,
        _ => return None,
    };
    jiff::Timestamp::from_millisecond(ms).ok().map(|_| ms)
}

/// Milliseconds of ISO 8601 text, in UTC where it names no offset.
pub(crate) fn date_text(text: &str) -> Option<i64> {
    let text = text.trim();
    if let Ok(instant) = text.parse::<jiff::Timestamp>() {
        return Some(instant.as_millisecond());
    }
    // Plain digits are milliseconds, which the caller reads: ISO's basic format would take them for a date.
    if text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let civil = text.parse::<DateTime>().ok()?;
    let zoned = civil.to_zoned(TimeZone::UTC).ok()?;
    Some(zoned.timestamp().as_millisecond())
}

/// Writes a value of a field.
pub fn write_field_value(out: &mut dyn Write, kind: FieldType, value: &Value) -> io::Result<()> {
    match (kind, value) {
        // The shortest text that reads back as the same 32-bit float.
        (FieldType::Single, Value::Real(x)) if f64::from(*x as f32).to_bits() == x.to_bits() => {
            serde_json::to_writer(out, &(*x as f32)).map_err(io::Error::from)
        }
        _ => write_plain_value(out, value),
    }
}

/// Writes a value that has no field, such as a statistic.
pub fn write_plain_value(out: &mut dyn Write, value: &Value) -> io::Result<()> {
    match value {
        Value::Null => out.write_all(b"null"),
        Value::Integer(n) => write!(out, "{n}"),
        Value::Real(x) => write_number(out, *x),
        Value::Text(text) => write_text(out, text),
        Value::Blob(bytes) => write_text(out, &STANDARD.encode(bytes)),
    }
}
