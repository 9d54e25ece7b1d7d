//! Columns of a copy's tables: names that people can read, types that their programs understand.

use std::collections::HashSet;

use haversack_model::{Domain, Field, FieldType, Value};

/// What a value of an attribute or data element is called and may be.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Described {
    /// Its uid.
    pub id: String,
    /// Its name.
    pub name: String,
    /// `TEXT`, `INTEGER` and so on.
    pub value_type: String,
    /// Code and name of what may be chosen.
    pub options: Vec<(String, String)>,
}

/// A text column.
pub(super) fn text(name: &str) -> Field {
    field(name, name, FieldType::String)
}

/// A column of any type.
pub(super) fn field(name: &str, alias: &str, kind: FieldType) -> Field {
    Field {
        name: name.to_owned(),
        alias: alias.to_owned(),
        kind,
        length: None,
        nullable: true,
        editable: true,
        domain: None,
        default: Value::Null,
    }
}

/// The column of a value, under a name that none of `taken` has.
pub(super) fn of_value(described: &Described, taken: &mut HashSet<String>) -> Field {
    let mut name = slug(&described.name);
    if name.is_empty() {
        name = described.id.to_lowercase();
    }
    if taken.contains(&name) {
        name = format!("{name}_{}", described.id);
    }
    taken.insert(name.to_lowercase());
    let mut made = field(&name, &described.name, kind_of(&described.value_type));
    made.domain = domain(described);
    made
}

/// What may be chosen, for programs that show lists. Codes are texts; where the column holds numbers a list of texts would
/// match nothing.
pub(super) fn domain(described: &Described) -> Option<Domain> {
    let is_text = kind_of(&described.value_type) == FieldType::String;
    let choices: Vec<(Value, String)> = match described.value_type.as_str() {
        "BOOLEAN" => vec![("true".into(), "yes".into()), ("false".into(), "no".into())],
        "TRUE_ONLY" => vec![("true".into(), "yes".into())],
        _ => {
            let all = described.options.iter();
            all.map(|(code, name)| (code.as_str().into(), name.clone()))
                .collect()
        }
    };
    (is_text && !choices.is_empty()).then(|| Domain::Coded {
        name: format!("dhis2_{}", described.id),
        values: choices,
    })
}

/// The type of the column for values of a type.
pub(super) fn kind_of(value_type: &str) -> FieldType {
    match value_type {
        "INTEGER" | "INTEGER_POSITIVE" | "INTEGER_NEGATIVE" | "INTEGER_ZERO_OR_POSITIVE" => {
            FieldType::BigInteger
        }
        "NUMBER" | "PERCENTAGE" | "UNIT_INTERVAL" => FieldType::Double,
        "DATE" | "AGE" => FieldType::DateOnly,
        _ => FieldType::String,
    }
}

/// A value as a column holds it; what does not fit stays the text that it is.
pub fn value_in(kind: FieldType, text: &str) -> Value {
    let number = || {
        let starts = text.starts_with(|c: char| c.is_ascii_digit() || c == '-' || c == '.');
        text.parse::<f64>().ok().filter(|x| starts && x.is_finite())
    };
    match kind {
        FieldType::BigInteger => {
            let whole = |x: f64| (x.fract() == 0.0 && x.abs() < 9e15).then_some(x as i64);
            match (text.parse::<i64>().ok(), number()) {
                (Some(n), _) => Value::Integer(n),
                (None, Some(x)) => whole(x).map_or(Value::Real(x), Value::Integer),
                (None, None) => text.into(),
            }
        }
        FieldType::Double => number().map_or_else(|| text.into(), Value::Real),
        _ => text.into(),
    }
}

/// A value as the wire holds it; `None` removes it.
pub fn value_out(value: &Value) -> Option<String> {
    match value {
        Value::Null | Value::Blob(_) => None,
        Value::Integer(n) => Some(n.to_string()),
        Value::Real(x) => Some(x.to_string()),
        Value::Text(text) => Some(text.clone()),
    }
}

/// A name of letters, digits and single `_`, in lower case.
pub(super) fn slug(name: &str) -> String {
    let mut clean = String::new();
    for c in name.trim().chars().take(60) {
        if c.is_alphanumeric() {
            clean.extend(c.to_lowercase());
        } else if !clean.is_empty() && !clean.ends_with('_') {
            clean.push('_');
        }
    }
    let clean = clean.trim_end_matches('_');
    if clean.starts_with("haversack_") {
        format!("_{clean}")
    } else {
        clean.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_numbers_and_what_is_none_stays_what_it_is() {
        for (kind, text, value) in [
            (FieldType::BigInteger, "007", Value::Integer(7)),
            (FieldType::BigInteger, "1e3", Value::Integer(1000)),
            (FieldType::BigInteger, "7.5", Value::Real(7.5)),
            (FieldType::BigInteger, "many", "many".into()),
            (FieldType::Double, "40.10", Value::Real(40.1)),
            (FieldType::Double, "inf", "inf".into()),
            (FieldType::Double, "NaN", "NaN".into()),
            (FieldType::DateOnly, "2026-10-02", "2026-10-02".into()),
            (FieldType::String, "1", "1".into()),
        ] {
            assert_eq!(value_in(kind, text), value, "{text}");
        }
        assert_eq!(value_out(&Value::Real(40.0)).as_deref(), Some("40"));
        assert_eq!(value_out(&Value::Null), None);
    }

    #[test]
    fn columns_have_names_of_their_own() {
        let mut taken = HashSet::from(["org_unit".to_owned()]);
        let describe = |id: &str, name: &str| Described {
            id: id.to_owned(),
            name: name.to_owned(),
            ..Described::default()
        };
        let mut named = |id: &str, name: &str| of_value(&describe(id, name), &mut taken).name;
        assert_eq!(
            named("aaaaaaaaaa1", "First name (given)"),
            "first_name_given"
        );
        assert_eq!(
            named("aaaaaaaaaa2", "first NAME, given"),
            "first_name_given_aaaaaaaaaa2"
        );
        assert_eq!(named("aaaaaaaaaa3", "Org unit"), "org_unit_aaaaaaaaaa3");
        assert_eq!(named("Aaaaaaaaaa4", "***"), "aaaaaaaaaa4");
        assert_eq!(named("aaaaaaaaaa5", "Haversack_x"), "_haversack_x");
    }
}
