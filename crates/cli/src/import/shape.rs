//! Learns the shape of schemaless rows: which fields there are, and the narrowest type that holds all their values.

use std::collections::HashMap;

use haversack_model::{FieldType, Value};
use serde_json::Value as Json;

use super::SourceField;

/// What has been seen of one field, from narrow to wide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Seen {
    Nothing,
    Bool,
    Int,
    Long,
    Real,
    Text,
}

impl Seen {
    /// The narrowest that holds both. Truth values among numbers become text: 1 and true are not the same thing.
    fn with(self, other: Self) -> Self {
        match (self, other) {
            (Self::Nothing, one) | (one, Self::Nothing) => one,
            (a, b) if a == b => a,
            (Self::Bool, _) | (_, Self::Bool) => Self::Text,
            (a, b) => a.max(b),
        }
    }
}

/// Fields in the order of their first appearance.
#[derive(Debug, Default)]
pub(super) struct Shaper {
    order: Vec<(String, Seen)>,
    places: HashMap<String, usize>,
}

impl Shaper {
    /// Looks at one value.
    pub(super) fn see(&mut self, name: &str, value: &Json) {
        let at = if let Some(&at) = self.places.get(name) {
            at
        } else {
            self.places.insert(name.to_owned(), self.order.len());
            self.order.push((name.to_owned(), Seen::Nothing));
            self.order.len() - 1
        };
        let new = match value {
            Json::Null => return,
            Json::Bool(_) => Seen::Bool,
            Json::Number(n) => match n.as_i64() {
                Some(n) if i32::try_from(n).is_ok() => Seen::Int,
                Some(_) => Seen::Long,
                None => Seen::Real,
            },
            Json::String(_) | Json::Array(_) | Json::Object(_) => Seen::Text,
        };
        self.order[at].1 = self.order[at].1.with(new);
    }

    /// Takes over what another one saw.
    pub(super) fn absorb(&mut self, other: Self) {
        for (name, seen) in other.order {
            if let Some(&at) = self.places.get(&name) {
                self.order[at].1 = self.order[at].1.with(seen);
            } else {
                self.places.insert(name.clone(), self.order.len());
                self.order.push((name, seen));
            }
        }
    }

    /// The fields found.
    pub(super) fn fields(&self) -> Vec<SourceField> {
        self.order
            .iter()
            .map(|(name, seen)| SourceField {
                name: name.clone(),
                kind: match seen {
                    Seen::Bool => FieldType::SmallInteger,
                    Seen::Int => FieldType::Integer,
                    Seen::Long => FieldType::BigInteger,
                    Seen::Real => FieldType::Double,
                    Seen::Nothing | Seen::Text => FieldType::String,
                },
                length: None,
            })
            .collect()
    }
}

/// A JSON value as an attribute of the given type, which [`Shaper`] chose so that it fits.
pub(super) fn to_value(json: &Json, kind: FieldType) -> Value {
    match (json, kind) {
        (Json::Null, _) => Value::Null,
        (Json::String(text), _) => Value::Text(text.clone()),
        (Json::Bool(truth), FieldType::SmallInteger) => Value::Integer(i64::from(*truth)),
        (Json::Number(n), FieldType::Integer | FieldType::BigInteger) => {
            n.as_i64().map_or(Value::Null, Value::Integer)
        }
        (Json::Number(n), FieldType::Double) => n.as_f64().map_or(Value::Null, Value::Real),
        (other, _) => Value::Text(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn kind_of(values: &[Json]) -> FieldType {
        let mut shaper = Shaper::default();
        for value in values {
            shaper.see("x", value);
        }
        shaper.fields()[0].kind
    }

    #[test]
    fn the_narrowest_type_that_holds_all_values_is_chosen() {
        assert_eq!(kind_of(&[json!(null), json!(1)]), FieldType::Integer);
        assert_eq!(
            kind_of(&[json!(1), json!(5_000_000_000_i64)]),
            FieldType::BigInteger
        );
        assert_eq!(kind_of(&[json!(1), json!(1.5)]), FieldType::Double);
        assert_eq!(kind_of(&[json!(1), json!("a")]), FieldType::String);
        assert_eq!(kind_of(&[json!(true)]), FieldType::SmallInteger);
        assert_eq!(kind_of(&[json!(true), json!(1)]), FieldType::String);
        assert_eq!(kind_of(&[json!(null)]), FieldType::String);
    }

    #[test]
    fn a_nested_value_is_kept_as_its_json_text() {
        let value = to_value(&json!({"a": [1]}), FieldType::String);
        assert_eq!(value, Value::Text("{\"a\":[1]}".to_owned()));
    }
}
