//! Strict JSON for everything that another program sends: no name twice, bounded depth, numbers kept exactly.
//!
//! A name that occurs twice lets two readers of one document see two different requests, so it is refused. What dialects
//! differ in is an [`Accept`]. Rule source: GUARANTEES 4.2, item 12.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Deepest nesting of arrays and objects that is read.
pub const MAX_DEPTH: u32 = 64;

/// What a dialect accepts beyond the least.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accept {
    /// `\u0000` in text, which ends a text early in many databases.
    pub nul: bool,
    /// Integers above the signed ones of 64 bits.
    pub unsigned: bool,
}

/// JSON that is not accepted.
#[derive(Debug, thiserror::Error)]
#[error("not acceptable JSON: {0}")]
pub struct BadJson(#[from] serde_json::Error);

/// Reads one whole document.
///
/// # Errors
/// [`BadJson`] with the place of the first mistake.
pub fn parse(text: &[u8], accept: Accept) -> Result<Value, BadJson> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    let value = Strict::new(accept).deserialize(&mut reader)?;
    reader.end()?;
    Ok(value)
}

/// Reads one whole object.
///
/// # Errors
/// [`BadJson`], also for other values.
pub fn parse_object(text: &[u8], accept: Accept) -> Result<Map<String, Value>, BadJson> {
    match parse(text, accept)? {
        Value::Object(members) => Ok(members),
        _ => Err(BadJson(serde_json::Error::custom("an object is needed"))),
    }
}

/// Reads one value, which may be within a larger document.
#[derive(Clone, Copy, Debug)]
pub struct Strict {
    depth_left: u32,
    accept: Accept,
}

impl Strict {
    /// A value at the top of its document.
    pub fn new(accept: Accept) -> Self {
        Self {
            depth_left: MAX_DEPTH,
            accept,
        }
    }
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        let depth_left = self
            .depth_left
            .checked_sub(1)
            .ok_or_else(|| E::custom(format!("nested deeper than {MAX_DEPTH} levels")))?;
        Ok(Self { depth_left, ..self })
    }
    fn check<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        if !self.accept.nul && text.contains('\0') {
            return Err(E::custom("a text holds a NUL character"));
        }
        Ok(())
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
        if !self.accept.unsigned && i64::try_from(n).is_err() {
            return Err(E::custom(format!("{n} is beyond 64 bits")));
        }
        Ok(Value::Number(n.into()))
    }
    fn visit_f64<E: serde::de::Error>(self, x: f64) -> Result<Value, E> {
        Number::from_f64(x)
            .map(Value::Number)
            .ok_or_else(|| E::custom("a number is not finite"))
    }
    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Value, E> {
        self.visit_string(text.to_owned())
    }
    fn visit_string<E: serde::de::Error>(self, text: String) -> Result<Value, E> {
        self.check(&text)?;
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
            self.check(&key)?;
            if members.contains_key(&key) {
                return Err(A::Error::custom(format!("the key {key:?} occurs twice")));
            }
            let value = map.next_value_seed(deeper)?;
            members.insert(key, value);
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Accept = Accept {
        nul: true,
        unsigned: true,
    };

    fn refusal(text: &str, accept: Accept) -> String {
        parse(text.as_bytes(), accept).expect_err(text).to_string()
    }

    #[test]
    fn a_key_that_occurs_twice_is_refused_at_any_depth() {
        for accept in [ALL, Accept::default()] {
            assert!(refusal(r#"{"a":1,"a":2}"#, accept).contains(r#""a" occurs twice"#));
            assert!(refusal(r#"[{"b":[{"c":1,"\u0063":1}]}]"#, accept).contains(r#""c" occurs"#));
        }
    }

    #[test]
    fn nesting_is_accepted_to_the_limit_and_not_beyond() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(nested(64).as_bytes(), ALL).is_ok());
        assert!(refusal(&nested(65), ALL).contains("nested deeper than 64"));
    }

    #[test]
    fn what_dialects_differ_in_is_refused_unless_accepted() {
        for (text, why) in [
            (r#"{"a":"x\u0000y"}"#, "NUL"),
            (r#"{"x\u0000y":1}"#, "NUL"),
            ("18446744073709551615", "beyond 64 bits"),
        ] {
            assert!(refusal(text, Accept::default()).contains(why), "{text}");
            assert!(parse(text.as_bytes(), ALL).is_ok(), "{text}");
        }
    }

    #[test]
    fn what_two_readers_could_read_differently_is_refused() {
        for text in ["NaN", "[Infinity]", "1e999", "{} {}", "\"\\ud800\"", ""] {
            refusal(text, ALL);
        }
    }
}
