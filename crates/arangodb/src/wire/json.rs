//! JSON as this dialect accepts it: strict ([`haversack_model::json`]), but text may hold `\u0000`, which it stores, and integers
//! may be unsigned ones of 64 bits, as the hashes of revision trees are.

use haversack_model::json::{self, Accept, BadJson};
use serde_json::{Map, Value};

const ACCEPT: Accept = Accept {
    nul: true,
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
    fn a_document_keeps_its_order_and_its_numbers() {
        let text = r#"{"z":18446744073709551615,"a":1.0,"n":-7,"t":"\u0000"}"#;
        assert_eq!(parse(text.as_bytes()).unwrap().to_string(), text);
    }

    #[test]
    fn what_two_readers_could_read_differently_is_refused() {
        let deep = "[".repeat(70) + &"]".repeat(70);
        for text in [
            r#"{"a":1,"a":2}"#,
            r#"{"a":{"b":1,"\u0062":2}}"#,
            r#""\ud800""#,
            "{\"a\":NaN}",
            "1e999",
            "{} {}",
            "",
            &deep,
        ] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn an_object_is_told_from_other_values() {
        assert!(parse_object(b"{}").is_ok());
        assert!(parse_object(b"[]").is_err());
    }
}
