//! JSON as this dialect accepts it: strict ([`haversack_model::json`]), without zero characters in texts.

use haversack_model::json::{self, Accept, BadJson};
use serde_json::{Map, Value};

/// What this dialect takes besides plain JSON: integers as large as they are written.
const ACCEPT: Accept = Accept {
    nul: false,
    unsigned: true,
};

/// Reads one whole document.
///
/// # Errors
/// [`BadJson`] with the place of the first mistake.
pub fn parse(text: &[u8]) -> Result<Value, BadJson> {
    json::parse(text, ACCEPT)
}

/// Reads one whole object.
///
/// # Errors
/// [`BadJson`], also for other values.
pub fn parse_object(text: &[u8]) -> Result<Map<String, Value>, BadJson> {
    json::parse_object(text, ACCEPT)
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
