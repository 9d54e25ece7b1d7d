//! JSON as this dialect accepts it: strict ([`haversack_model::json`]), no NUL in text, no integer beyond 64 bits; and what clients
//! spell in several ways. Everything that a client sends goes through here.

use std::io::{self, Write};

use haversack_model::json::{self, Accept, Strict};
use serde_json::{Map, Value};

use crate::{Error, Result};

/// Reads one whole document. `at` names it in errors.
///
/// # Errors
/// [`Error::Document`] with the place of the first mistake.
pub fn parse(text: &[u8], at: &str) -> Result<Value> {
    json::parse(text, Accept::default()).map_err(|e| Error::document(at, e.to_string()))
}

/// What a JSON error says, without the internals of the reader.
pub(crate) fn problem(error: &serde_json::Error) -> String {
    format!("not acceptable JSON: {error}")
}

/// Reads one value of a larger document under the same rules.
pub(crate) fn strict() -> Strict {
    Strict::new(Accept::default())
}

/// Name of a value's type, for errors.
pub fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// A member by name, ignoring ASCII case, as clients spell keys differently.
pub fn member<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    object
        .get(name)
        .or_else(|| {
            let found = object
                .iter()
                .find(|(key, _)| key.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value)
        })
        .filter(|value| !value.is_null())
}

/// Integer of a JSON number, also when it is written with a zero fraction, or of a numeric text.
pub fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Number(n) => n.as_i64().or_else(|| n.as_f64().and_then(whole)),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// The integer that a float holds exactly.
pub(crate) fn whole(x: f64) -> Option<i64> {
    // 2^63 as a float; comparisons with NaN are false.
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    (x.fract() == 0.0 && (-LIMIT..LIMIT).contains(&x)).then_some(x as i64)
}

/// Writes a JSON string with its quotes.
pub fn write_text(out: &mut dyn Write, text: &str) -> io::Result<()> {
    serde_json::to_writer(out, text).map_err(io::Error::from)
}

/// Writes a number; one that is not finite becomes `null`, which is what readers of the dialect expect.
pub fn write_number(out: &mut dyn Write, x: f64) -> io::Result<()> {
    serde_json::to_writer(out, &x).map_err(io::Error::from)
}

/// Writes any value.
pub fn write_value(out: &mut dyn Write, value: &Value) -> io::Result<()> {
    serde_json::to_writer(out, value).map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nul_and_large_integers_are_refused() {
        for text in [r#"{"a":"x\u0000y"}"#, "18446744073709551615"] {
            let refused = parse(text.as_bytes(), "body").expect_err(text);
            assert!(refused.to_string().contains("not acceptable JSON"));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_value_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes, "body");
        }
    }
}
