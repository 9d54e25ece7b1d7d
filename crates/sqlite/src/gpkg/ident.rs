//! Quoting: the only ways in which names and constants enter SQL text.

use haversack_model::Value;

use super::datetime;

/// An identifier in double quotes.
pub fn quote_ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text constant in single quotes, for DDL, where nothing can be bound.
pub fn quote_text(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A constant for a `DEFAULT` clause. `is_date`: integers are times, written as text.
pub fn quote_value(value: &Value, is_date: bool) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Integer(ms) if is_date => match datetime::to_text(*ms) {
            Some(text) => quote_text(&text),
            None => "NULL".to_owned(),
        },
        Value::Integer(n) => n.to_string(),
        Value::Real(x) => format!("{x:?}"),
        Value::Text(text) => quote_text(text),
        Value::Blob(bytes) => {
            use std::fmt::Write as _;
            let mut hex = String::with_capacity(2 * bytes.len() + 3);
            hex.push_str("x'");
            for byte in bytes {
                let _infallible = write!(hex, "{byte:02x}");
            }
            hex.push('\'');
            hex
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_inside_names_and_texts_are_doubled() {
        assert_eq!(quote_ident(r#"a"b"#), r#""a""b""#);
        assert_eq!(quote_text("it's"), "'it''s'");
        assert_eq!(quote_value(&Value::Blob(vec![1, 255]), false), "x'01ff'");
        assert_eq!(
            quote_value(&Value::Integer(0), true),
            "'1970-01-01T00:00:00.000Z'"
        );
    }
}
