//! What type a field has, found from all its values.

use haversack_model::FieldType;
use serde_json::Value as Json;

use haversack_sqlite::gpkg::datetime;

/// What has been seen of one field.
#[expect(
    clippy::struct_excessive_bools,
    reason = "one mark for each kind of value"
)]
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    flags: bool,
    small: bool,
    big: bool,
    real: bool,
    date: bool,
    instant: bool,
    text: bool,
}

impl Seen {
    /// Notes one value.
    pub(super) fn note(&mut self, value: &Json) {
        match value {
            Json::Null => {}
            Json::Bool(_) => self.flags = true,
            Json::Number(n) => match n.as_i64() {
                Some(n) if i32::try_from(n).is_ok() => self.small = true,
                Some(_) => self.big = true,
                None => self.real = true,
            },
            Json::String(text) if is_date(text) => self.date = true,
            Json::String(text) if instant(text).is_some() => self.instant = true,
            Json::String(_) | Json::Array(_) | Json::Object(_) => self.text = true,
        }
    }

    /// The narrowest type that holds all values unchanged. Without any value it is text.
    pub(super) fn kind(&self) -> FieldType {
        let number = self.small || self.big || self.real;
        match (self.flags, number, self.date, self.instant, self.text) {
            (true, false, false, false, false) => FieldType::SmallInteger,
            (false, true, false, false, false) if self.real => FieldType::Double,
            (false, true, false, false, false) if self.big => FieldType::BigInteger,
            (false, true, false, false, false) => FieldType::Integer,
            (false, false, true, false, false) => FieldType::DateOnly,
            (false, false, false, true, false) => FieldType::Date,
            _ => FieldType::String,
        }
    }
}

fn is_date(text: &str) -> bool {
    text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok()
}

/// The time of a text that names one with an offset from UTC, to the millisecond: others stay text, so that nothing is guessed.
pub(super) fn instant(text: &str) -> Option<i64> {
    if text.len() < 20 || text.as_bytes().get(10) != Some(&b'T') {
        return None;
    }
    let at: jiff::Timestamp = text.parse().ok()?;
    let is_whole = at.subsec_nanosecond() % 1_000_000 == 0;
    // What the file cannot hold is not a date either.
    (is_whole && datetime::to_text(at.as_millisecond()).is_some()).then(|| at.as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(values: &[Json]) -> FieldType {
        let mut seen = Seen::default();
        values.iter().for_each(|v| seen.note(v));
        seen.kind()
    }

    #[test]
    fn a_field_gets_the_narrowest_type_that_holds_all_its_values() {
        use serde_json::json;
        for (values, expected) in [
            (vec![json!(null)], FieldType::String),
            (vec![json!(1), json!(null)], FieldType::Integer),
            (
                vec![json!(1), json!(5_000_000_000_i64)],
                FieldType::BigInteger,
            ),
            (vec![json!(1), json!(1.5)], FieldType::Double),
            (vec![json!(u64::MAX)], FieldType::Double),
            (vec![json!(true)], FieldType::SmallInteger),
            (vec![json!(true), json!(2)], FieldType::String),
            (vec![json!("2026-02-28")], FieldType::DateOnly),
            (vec![json!("2026-02-30")], FieldType::String),
            (vec![json!("2026-02-28T10:00:00Z")], FieldType::Date),
            (vec![json!("2026-02-28T10:00:00.0001Z")], FieldType::String),
            (vec![json!("2026-02-28T10:00:00")], FieldType::String),
            (vec![json!("2026-02-28"), json!("soon")], FieldType::String),
            (vec![json!({"a": 1})], FieldType::String),
        ] {
            assert_eq!(kind(&values), expected, "{values:?}");
        }
    }
}
