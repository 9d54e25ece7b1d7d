//! Strict JSON: no duplicate keys, bounded depth, no NUL in text, no integer beyond 64 bits.
//!
//! A duplicate key lets two readers of one document see two different requests, and a NUL ends a text early in
//! many databases, so both are refused (GUARANTEES 4.2, item 12). Everything that a client sends goes through here.

use std::fmt;
use std::io::{self, Write};

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::{Error, Result};

/// Deepest nesting of arrays and objects that is read.
pub const MAX_DEPTH: u32 = 64;

/// Reads one whole document. `at` names it in errors.
///
/// # Errors
/// [`Error::Document`] with the place of the first mistake.
pub fn parse(text: &[u8], at: &str) -> Result<Value> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    let value = Strict::new()
        .deserialize(&mut reader)
        .and_then(|value| reader.end().map(|()| value));
    value.map_err(|e| Error::document(at, problem(&e)))
}

/// What a JSON error says, without the internals of the reader.
pub(crate) fn problem(error: &serde_json::Error) -> String {
    format!("not acceptable JSON: {error}")
}

/// Reads one value of a larger document under the same rules.
#[derive(Clone, Copy, Debug)]
pub struct Strict {
    depth_left: u32,
}

impl Strict {
    /// A value at the top of its document.
    pub fn new() -> Self {
        Self {
            depth_left: MAX_DEPTH,
        }
    }
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        let depth_left = self
            .depth_left
            .checked_sub(1)
            .ok_or_else(|| E::custom(format!("nested deeper than {MAX_DEPTH} levels")))?;
        Ok(Self { depth_left })
    }
}

impl Default for Strict {
    fn default() -> Self {
        Self::new()
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
        Ok(Value::Bool(flag))
    }
    fn visit_i64<E>(self, n: i64) -> Result<Value, E> {
        Ok(Value::Number(n.into()))
    }
    fn visit_u64<E: serde::de::Error>(self, n: u64) -> Result<Value, E> {
        i64::try_from(n)
            .map(|n| Value::Number(n.into()))
            .map_err(|_too_large| E::custom(format!("{n} is beyond 64 bits")))
    }
    fn visit_f64<E: serde::de::Error>(self, x: f64) -> Result<Value, E> {
        Number::from_f64(x)
            .map(Value::Number)
            .ok_or_else(|| E::custom("a number is not finite"))
    }
    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Value, E> {
        checked(text)?;
        Ok(Value::String(text.to_owned()))
    }
    fn visit_string<E: serde::de::Error>(self, text: String) -> Result<Value, E> {
        checked(&text)?;
        Ok(Value::String(text))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let deeper = self.deeper()?;
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(deeper)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let deeper = self.deeper()?;
        let mut members = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            checked(&key)?;
            if members.contains_key(&key) {
                return Err(A::Error::custom(format!("the key {key:?} occurs twice")));
            }
            let value = map.next_value_seed(deeper)?;
            members.insert(key, value);
        }
        Ok(Value::Object(members))
    }
}

fn checked<E: serde::de::Error>(text: &str) -> Result<(), E> {
    if text.contains('\0') {
        return Err(E::custom("a text holds a NUL character"));
    }
    Ok(())
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

    fn refusal(text: &str) -> String {
        parse(text.as_bytes(), "body").expect_err(text).to_string()
    }

    #[test]
    fn a_key_that_occurs_twice_is_refused_at_any_depth() {
        assert!(refusal(r#"{"a":1,"a":2}"#).contains(r#""a" occurs twice"#));
        assert!(refusal(r#"[{"b":[{"c":1,"c":1}]}]"#).contains(r#""c" occurs twice"#));
    }

    #[test]
    fn nesting_is_accepted_to_the_limit_and_not_beyond() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(nested(64).as_bytes(), "body").is_ok());
        assert!(refusal(&nested(65)).contains("nested deeper than 64"));
    }

    #[test]
    fn nul_large_integers_nan_and_trailing_text_are_refused() {
        assert!(refusal(r#"{"a":"x\u0000y"}"#).contains("NUL"));
        assert!(refusal("18446744073709551615").contains("beyond 64 bits"));
        for text in ["NaN", "[Infinity]", "1e999", "{} {}", "\"\\ud800\"", ""] {
            refusal(text);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_value_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes, "body");
        }
    }
}
