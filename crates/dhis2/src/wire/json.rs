//! JSON as this dialect accepts it: strict ([`haversack_model::json`]), without zero characters in texts.

use haversack_model::json::{self, Accept};
use serde::de::Error as _;
use serde_json::{Map, Value};

/// What this dialect takes besides plain JSON: integers as large as they are written.
const ACCEPT: Accept = Accept {
    nul: false,
    unsigned: true,
};

/// JSON that is not accepted.
#[derive(Debug, thiserror::Error)]
#[error("not acceptable JSON: {0}")]
pub struct BadJson(#[from] serde_json::Error);

/// Reads one whole document.
///
/// # Errors
/// [`BadJson`] with the place of the first mistake.
pub fn parse(text: &[u8]) -> Result<Value, BadJson> {
    Ok(json::parse(text, ACCEPT)?)
}

/// Reads one whole object.
///
/// # Errors
/// [`BadJson`], also for other values.
pub fn parse_object(text: &[u8]) -> Result<Map<String, Value>, BadJson> {
    match parse(text)? {
        Value::Object(members) => Ok(members),
        _ => Err(BadJson(serde_json::Error::custom("an object is needed"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_readers_could_read_differently_is_refused() {
        for text in [
            r#"{"a":1,"a":2}"#,
            r#"{"t":"a\u0000"}"#,
            r#"{"a\u0000":1}"#,
            "{\"a\":NaN}",
            "{} {}",
            "",
        ] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn an_object_is_told_from_other_values() {
        assert!(parse_object(br#"{"n":18446744073709551615}"#).is_ok());
        assert!(parse_object(b"[]").is_err());
    }
}
